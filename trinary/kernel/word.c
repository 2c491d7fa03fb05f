/* SPDX-License-Identifier: Apache-2.0 */
#include "word.h"

#include <string.h>

__extension__ typedef unsigned __int128 uint128;

const sk_word sk_word_max = {{
    0x5e69ebefa87fabdfULL, 0xaa06a805a9f6808bULL, 0x48bbae3679a4c702ULL,
    0x50979d570c24486eULL, 0x3ade00d91484504fULL, 0x9f007669a5ce8964ULL,
}};

const sk_word sk_word_power = {{
    0xbcd3d7df50ff57bfULL, 0x540d500b53ed0116ULL, 0x91775c6cf3498e04ULL,
    0xa12f3aae184890dcULL, 0x75bc01b22908a09fULL, 0x3e00ecd34b9d12c9ULL,
}};
const sk_word sk_word_minus_power = {{
    0x432c2820af00a840ULL, 0xabf2aff4ac12fee9ULL, 0x6e88a3930cb671fbULL,
    0x5ed0c551e7b76f23ULL, 0x8a43fe4dd6f75f60ULL, 0xc1ff132cb462ed37ULL,
}};

void sk_word_from_bytes(sk_word *word, const uint8_t bytes[WORD_BYTES])
{
    for (int i = 0; i < WORD_LIMBS; i++) {
        uint64_t limb;

        memcpy(&limb, bytes + 8 * i, sizeof limb);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        limb = __builtin_bswap64(limb);
#endif
        word->limb[i] = limb;
    }
}

void sk_word_to_bytes(const sk_word *word, uint8_t bytes[WORD_BYTES])
{
    for (int i = 0; i < WORD_BYTES; i++)
        bytes[i] = (uint8_t)(word->limb[i / 8] >> (56 - 8 * (i % 8)));
}

/* Add with carry in and out; wraps modulo 2^384. */
static inline uint64_t add(sk_word *sum, const sk_word *a, const sk_word *b,
                           uint64_t carry)
{
    for (int i = WORD_LIMBS - 1; i >= 0; i--) {
        const uint128 limb = (uint128)a->limb[i] + b->limb[i] + carry;

        sum->limb[i] = (uint64_t)limb;
        carry = (uint64_t)(limb >> 64);
    }
    return carry;
}

void sk_word_add(sk_word *sum, const sk_word *a, const sk_word *b)
{
    (void)add(sum, a, b, 0);
}

void sk_word_reduce(sk_word *word)
{
    const uint64_t negative = (uint64_t)0 - (word->limb[0] >> 63);
    sk_word magnitude;
    sk_word scratch;
    sk_word addend;
    uint64_t above;

    /* For v >= 0 take v, for v < 0 take ~v = -v - 1; then v is too large when
     * magnitude + ~max carries out (magnitude > max), and too small when
     * magnitude + ~max + 1 does (-v - 1 >= max). */
    for (int i = 0; i < WORD_LIMBS; i++) {
        magnitude.limb[i] = word->limb[i] ^ negative;
        scratch.limb[i] = ~sk_word_max.limb[i];
    }
    above = (uint64_t)0 - add(&scratch, &magnitude, &scratch, negative & 1);
    for (int i = 0; i < WORD_LIMBS; i++)
        addend.limb[i] = above & ((negative & sk_word_power.limb[i]) |
                                  (~negative & sk_word_minus_power.limb[i]));
    sk_word_add(word, word, &addend);
}

void sk_sponge_absorb_word(sk_sponge *sponge, const sk_word *word)
{
    for (int i = 0; i < WORD_LIMBS; i++) {
        const size_t lane = sponge->filled_bytes / 8;

        sponge->lanes[lane] ^= __builtin_bswap64(word->limb[i]);
        sponge->filled_bytes += 8;
        if (sponge->filled_bytes == KECCAK_384_RATE_BYTES) {
            sk_keccak_f1600(sponge->lanes);
            sponge->filled_bytes = 0;
        }
    }
}

void sk_sponge_digest(const sk_sponge *sponge, sk_word *digest)
{
    for (int i = 0; i < WORD_LIMBS; i++)
        digest->limb[i] = __builtin_bswap64(sponge->lanes[i]);
}

void sk_word_keccak(sk_word *word)
{
    uint64_t lanes[KECCAK_LANES] = {0};

    for (int i = 0; i < WORD_LIMBS; i++)
        lanes[i] = __builtin_bswap64(word->limb[i]);
    lanes[WORD_LIMBS] = 1;
    lanes[KECCAK_384_RATE_LANES - 1] = (uint64_t)1 << 63;
    sk_keccak_f1600(lanes);
    for (int i = 0; i < WORD_LIMBS; i++)
        word->limb[i] = __builtin_bswap64(lanes[i]);
}

void sk_kerl_words(sk_word *hash, const sk_word *words, int count)
{
    sk_sponge sponge;

    sk_sponge_init(&sponge);
    for (int i = 0; i < count; i++)
        sk_sponge_absorb_word(&sponge, &words[i]);
    sk_sponge_finish(&sponge);
    sk_sponge_digest(&sponge, hash);
    sk_word_reduce(hash);
}
