/* SPDX-License-Identifier: Apache-2.0
 *
 * One hash at a time, in plain C: for processors without wide vectors, and
 * what the other engines are tested against.
 */
#include "lanes.h"

#include "kernel.h"

#include <string.h>

static void run_chains(sk_word *words, const uint8_t *steps, int count)
{
    for (int i = 0; i < count; i++)
        for (int step = 0; step < steps[i]; step++) {
            sk_word_keccak(&words[i]);
            sk_word_reduce(&words[i]);
        }
}

static void derive_chains(sk_word *words, const sk_word *subseed,
                          const uint8_t *steps, int count)
{
    sk_word digest = *subseed;

    for (int i = 0; i < count; i++) {
        sk_word_keccak(&digest);
        words[i] = digest;
        sk_word_reduce(&words[i]);
        /* Kerl squeezes on by hashing the digest with every bit flipped. */
        for (int j = 0; j < WORD_LIMBS; j++)
            digest.limb[j] = ~digest.limb[j];
    }
    run_chains(words, steps, count);
}

static void hash_fragments(sk_word *digests, const sk_word *words,
                           int fragments)
{
    for (int i = 0; i < fragments; i++)
        sk_kerl_words(&digests[i], words + i * FRAGMENT_WORDS, FRAGMENT_WORDS);
}

static void hash_tags(const uint64_t *message, size_t blocks,
                      const sk_word *tags, sk_word *hashes)
{
    uint64_t lanes[KECCAK_LANES] = {0};

    for (int i = 0; i < WORD_LIMBS; i++)
        lanes[TAG_LANE + i] = __builtin_bswap64(tags->limb[i]);
    for (size_t block = 0; block < blocks; block++) {
        for (int i = 0; i < KECCAK_384_RATE_LANES; i++)
            lanes[i] ^= message[block * KECCAK_384_RATE_LANES + (size_t)i];
        sk_keccak_f1600(lanes);
    }
    for (int i = 0; i < WORD_LIMBS; i++)
        hashes->limb[i] = __builtin_bswap64(lanes[i]);
    sk_word_reduce(hashes);
}

const sk_lanes_engine sk_lanes_64 = {1, run_chains, derive_chains,
                                     hash_fragments, hash_tags};

int sk_longest_chains(const uint8_t *left, int count, int lanes, int *chains)
{
    int of_length[CHAIN_STEPS + 1] = {0};
    int length = CHAIN_STEPS;
    int room = lanes;
    int chosen = 0;

    for (int i = 0; i < count; i++)
        of_length[left[i]]++;
    while (length > 0 && of_length[length] <= room)
        room -= of_length[length--];
    /* All longer ones have room, and this many of this length. */
    if (length == 0)
        room = 0;
    for (int i = 0; i < count; i++)
        if (left[i] > length || (left[i] == length && room-- > 0))
            chains[chosen++] = i;
    return chosen;
}

const sk_lanes_engine *sk_lanes(void)
{
#if defined(__x86_64__)
    const int bits = sk_vector_bits();

    if (bits >= 512)
        return &sk_lanes_512;
    if (bits >= 256)
        return &sk_lanes_256;
#endif
    return &sk_lanes_64;
}
