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

const uint64_t sk_keccak_constants[KECCAK_ROUNDS] = {
    0x0000000000000001ULL, 0x0000000000008082ULL, 0x800000000000808aULL,
    0x8000000080008000ULL, 0x000000000000808bULL, 0x0000000080000001ULL,
    0x8000000080008081ULL, 0x8000000000008009ULL, 0x000000000000008aULL,
    0x0000000000000088ULL, 0x0000000080008009ULL, 0x000000008000000aULL,
    0x000000008000808bULL, 0x800000000000008bULL, 0x8000000000008089ULL,
    0x8000000000008003ULL, 0x8000000000008002ULL, 0x8000000000000080ULL,
    0x000000000000800aULL, 0x800000008000000aULL, 0x8000000080008081ULL,
    0x8000000000008080ULL, 0x0000000080000001ULL, 0x8000000080008008ULL,
};

#define LANE uint64_t
#define ROTATE(lane, bits) (((lane) << (bits)) | ((lane) >> (64 - (bits))))
#define XOR3(a, b, c) ((a) ^ (b) ^ (c))
#define CHI_LANE(a, b, c) ((a) ^ (~(b) & (c)))
#include "keccak_round.h"

void sk_keccak_f1600(uint64_t lanes[KECCAK_LANES])
{
    DECLARE(A);
    DECLARE(E);

    ALL_PLANES(LOAD, A);
    for (int round = 0; round < KECCAK_ROUNDS; round += 2) {
        ROUND(A, E, sk_keccak_constants[round]);
        ROUND(E, A, sk_keccak_constants[round + 1]);
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
