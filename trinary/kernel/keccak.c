/* SPDX-License-Identifier: Apache-2.0
 *
 * Keccak-f[1600] on 64-bit lanes and the Keccak-384 sponge.
 *
 * Source: The Keccak reference, version 3.0 (2011): section 1.2 for the
 * permutation, 1.1.1 for the padding (a one bit, zeros, a one bit).
 */
#include "keccak.h"

#include "kernel.h"
#include "wipe.h"

#include <string.h>

#define ROUNDS 24

static const uint64_t round_constants[ROUNDS] = {
    0x0000000000000001ULL, 0x0000000000008082ULL, 0x800000000000808aULL,
    0x8000000080008000ULL, 0x000000000000808bULL, 0x0000000080000001ULL,
    0x8000000080008081ULL, 0x8000000000008009ULL, 0x000000000000008aULL,
    0x0000000000000088ULL, 0x0000000080008009ULL, 0x000000008000000aULL,
    0x000000008000808bULL, 0x800000000000008bULL, 0x8000000000008089ULL,
    0x8000000000008003ULL, 0x8000000000008002ULL, 0x8000000000000080ULL,
    0x000000000000800aULL, 0x800000008000000aULL, 0x8000000080008081ULL,
    0x8000000000008080ULL, 0x0000000080000001ULL, 0x8000000080008008ULL,
};

#define ROTATE(lane, bits) (((lane) << (bits)) | ((lane) >> (64 - (bits))))

/* Lanes are named by plane (b g k m s, from y = 0) and sheet (a e i o u, from
 * x = 0), as in the reference, so that a whole state stays in local
 * variables.  Two names per lane, one for even and one for odd rounds, spare
 * the copy between rounds. */
#define DECLARE(set)                                                          \
    uint64_t set##ba, set##be, set##bi, set##bo, set##bu,                     \
        set##ga, set##ge, set##gi, set##go, set##gu,                          \
        set##ka, set##ke, set##ki, set##ko, set##ku,                          \
        set##ma, set##me, set##mi, set##mo, set##mu,                          \
        set##sa, set##se, set##si, set##so, set##su

/* Chi over one plane of five lanes already rotated and moved. */
#define CHI(out, y)                                                           \
    out##y##a = c0 ^ (~c1 & c2);                                              \
    out##y##e = c1 ^ (~c2 & c3);                                              \
    out##y##i = c2 ^ (~c3 & c4);                                              \
    out##y##o = c3 ^ (~c4 & c0);                                              \
    out##y##u = c4 ^ (~c0 & c1)

/* One round: theta's column parities, then rho, pi and chi plane by plane. */
#define ROUND(in, out, constant)                                              \
    do {                                                                      \
        uint64_t pa = in##ba ^ in##ga ^ in##ka ^ in##ma ^ in##sa;             \
        uint64_t pe = in##be ^ in##ge ^ in##ke ^ in##me ^ in##se;             \
        uint64_t pi = in##bi ^ in##gi ^ in##ki ^ in##mi ^ in##si;             \
        uint64_t po = in##bo ^ in##go ^ in##ko ^ in##mo ^ in##so;             \
        uint64_t pu = in##bu ^ in##gu ^ in##ku ^ in##mu ^ in##su;             \
        uint64_t da = pu ^ ROTATE(pe, 1);                                     \
        uint64_t de = pa ^ ROTATE(pi, 1);                                     \
        uint64_t di = pe ^ ROTATE(po, 1);                                     \
        uint64_t dO = pi ^ ROTATE(pu, 1);                                     \
        uint64_t du = po ^ ROTATE(pa, 1);                                     \
        uint64_t c0, c1, c2, c3, c4;                                          \
                                                                              \
        c0 = in##ba ^ da;                                                     \
        c1 = ROTATE(in##ge ^ de, 44);                                         \
        c2 = ROTATE(in##ki ^ di, 43);                                         \
        c3 = ROTATE(in##mo ^ dO, 21);                                         \
        c4 = ROTATE(in##su ^ du, 14);                                         \
        CHI(out, b);                                                          \
        out##ba ^= (constant);                                                \
                                                                              \
        c0 = ROTATE(in##bo ^ dO, 28);                                         \
        c1 = ROTATE(in##gu ^ du, 20);                                         \
        c2 = ROTATE(in##ka ^ da, 3);                                          \
        c3 = ROTATE(in##me ^ de, 45);                                         \
        c4 = ROTATE(in##si ^ di, 61);                                         \
        CHI(out, g);                                                          \
                                                                              \
        c0 = ROTATE(in##be ^ de, 1);                                          \
        c1 = ROTATE(in##gi ^ di, 6);                                          \
        c2 = ROTATE(in##ko ^ dO, 25);                                         \
        c3 = ROTATE(in##mu ^ du, 8);                                          \
        c4 = ROTATE(in##sa ^ da, 18);                                         \
        CHI(out, k);                                                          \
                                                                              \
        c0 = ROTATE(in##bu ^ du, 27);                                         \
        c1 = ROTATE(in##ga ^ da, 36);                                         \
        c2 = ROTATE(in##ke ^ de, 10);                                         \
        c3 = ROTATE(in##mi ^ di, 15);                                         \
        c4 = ROTATE(in##so ^ dO, 56);                                         \
        CHI(out, m);                                                          \
                                                                              \
        c0 = ROTATE(in##bi ^ di, 62);                                         \
        c1 = ROTATE(in##go ^ dO, 55);                                         \
        c2 = ROTATE(in##ku ^ du, 39);                                         \
        c3 = ROTATE(in##ma ^ da, 41);                                         \
        c4 = ROTATE(in##se ^ de, 2);                                          \
        CHI(out, s);                                                          \
    } while (0)

#define PLANE(action, set, y, first)                                          \
    action(set##y##a, lanes[first]);                                          \
    action(set##y##e, lanes[(first) + 1]);                                    \
    action(set##y##i, lanes[(first) + 2]);                                    \
    action(set##y##o, lanes[(first) + 3]);                                    \
    action(set##y##u, lanes[(first) + 4])
#define ALL_PLANES(action, set)                                               \
    PLANE(action, set, b, 0);                                                 \
    PLANE(action, set, g, 5);                                                 \
    PLANE(action, set, k, 10);                                                \
    PLANE(action, set, m, 15);                                                \
    PLANE(action, set, s, 20)
#define LOAD(variable, lane) variable = lane
#define STORE(variable, lane) lane = variable

void sk_keccak_f1600(uint64_t lanes[KECCAK_LANES])
{
    DECLARE(A);
    DECLARE(E);

    ALL_PLANES(LOAD, A);
    for (int round = 0; round < ROUNDS; round += 2) {
        ROUND(A, E, round_constants[round]);
        ROUND(E, A, round_constants[round + 1]);
    }
    ALL_PLANES(STORE, A);
}

void sk_sponge_init(sk_sponge *sponge)
{
    memset(sponge, 0, sizeof *sponge);
}

static void absorb_byte(sk_sponge *sponge, uint8_t byte)
{
    const size_t at = sponge->filled_bytes;

    sponge->lanes[at / 8] ^= (uint64_t)byte << (8 * (at % 8));
    sponge->filled_bytes = at + 1;
    if (sponge->filled_bytes == KECCAK_384_RATE_BYTES) {
        sk_keccak_f1600(sponge->lanes);
        sponge->filled_bytes = 0;
    }
}

void sk_sponge_absorb(sk_sponge *sponge, const uint8_t *data,
                      size_t length_bytes)
{
    for (size_t i = 0; i < length_bytes; i++)
        absorb_byte(sponge, data[i]);
}

void sk_sponge_finish(sk_sponge *sponge)
{
    const size_t at = sponge->filled_bytes;

    sponge->lanes[at / 8] ^= (uint64_t)1 << (8 * (at % 8));
    sponge->lanes[KECCAK_384_RATE_LANES - 1] ^= (uint64_t)1 << 63;
    sk_keccak_f1600(sponge->lanes);
}

int sk_keccak_384(const uint8_t *data, size_t length_bytes, uint8_t *out_48)
{
    sk_sponge sponge;

    sk_sponge_init(&sponge);
    sk_sponge_absorb(&sponge, data, length_bytes);
    sk_sponge_finish(&sponge);
    for (size_t i = 0; i < KECCAK_384_DIGEST_BYTES; i++)
        out_48[i] = (uint8_t)(sponge.lanes[i / 8] >> (8 * (i % 8)));
    sk_wipe(&sponge, sizeof sponge);
    sk_wipe_stack();
    return SK_OK;
}
