/* SPDX-License-Identifier: Apache-2.0
 *
 * IOTA's Winternitz one-time signatures: address, signature, and the address
 * a signature belongs to.
 *
 * A level has one fragment of 27 chunks; a chunk is a word hashed up to 26
 * times.  All chains stay words (see word.h); trytes are made at the ends.
 *
 * Source: IOTA "Kerl" signing as deployed since 2017: subseed = kerl(seed +
 * index); key = kerl's continued squeeze of 27 words a level; a chunk's public
 * end is 26 hashes on; a signature stops 13 - n hashes on, n the normalised
 * tryte of the bundle hash.
 */
#include "winternitz.h"

#include "codec.h"
#include "kernel.h"
#include "lanes.h"
#include "wipe.h"

#include <stdlib.h>
#include <string.h>

#define LEVEL_MAX 3
#define FRAGMENT_TRYTES 2187
#define KEY_CHUNKS (LEVEL_MAX * FRAGMENT_CHUNKS)

/* The word that the private key of one seed and index is squeezed from. */
static void derive_subseed(sk_word *subseed, const uint8_t *seed,
                           int64_t index)
{
    const sk_word offset = {{0, 0, 0, 0, 0, (uint64_t)index}};

    sk_word_from_bytes(subseed, seed);
    sk_word_reduce(subseed);
    sk_word_add(subseed, subseed, &offset);
    sk_word_reduce(subseed);
    sk_word_keccak(subseed);
    sk_word_reduce(subseed);
}

/* The address that the ends of `level` fragments' chains hash to. */
static void address_of_ends(const sk_word *ends, int level, char *out_81)
{
    sk_word digests[LEVEL_MAX];
    sk_word address;

    sk_lanes()->hash_fragments(digests, ends, level);
    sk_kerl_words(&address, digests, level);
    sk_word_to_trytes(&address, out_81);
}

static int check_key_request(size_t seed_bytes, int level, int64_t index)
{
    if (seed_bytes != WORD_BYTES)
        return SK_ERR_LENGTH;
    if (level < 1 || level > LEVEL_MAX || index < 0)
        return SK_ERR_RANGE;
    return SK_OK;
}

void sk_normalise_fragment(int8_t values[FRAGMENT_CHUNKS])
{
    int sum = 0;

    for (int i = 0; i < FRAGMENT_CHUNKS; i++)
        sum += values[i];
    for (int i = 0; sum != 0; i++) {
        const int room = sum > 0 ? -TRYTE_MAX - values[i]
                                 : TRYTE_MAX - values[i];
        const int move = abs(sum) < abs(room) ? -sum : room;

        values[i] = (int8_t)(values[i] + move);
        sum += move;
    }
}

int sk_normalise(const char *hash, size_t length_trytes, int8_t *out_81)
{
    if (length_trytes != WORD_TRYTES)
        return SK_ERR_LENGTH;
    for (int i = 0; i < WORD_TRYTES; i++) {
        out_81[i] = sk_tryte_value(hash[i]);
        if (out_81[i] == TRYTE_INVALID)
            return SK_ERR_TRYTE;
    }
    for (int i = 0; i < LEVEL_MAX; i++)
        sk_normalise_fragment(out_81 + i * FRAGMENT_CHUNKS);
    return SK_OK;
}

/* Not inlined, so that the stack wipe of the caller covers its frame. */
static __attribute__((noinline)) void
compute_address(const uint8_t *seed, int level, int64_t index, char *out_81)
{
    uint8_t steps[KEY_CHUNKS];
    sk_word chunks[KEY_CHUNKS];
    sk_word subseed;
    const int count = level * FRAGMENT_CHUNKS;

    memset(steps, CHAIN_STEPS, sizeof steps);
    derive_subseed(&subseed, seed, index);
    sk_lanes()->derive_chains(chunks, &subseed, steps, count);
    address_of_ends(chunks, level, out_81);
    sk_wipe(chunks, sizeof chunks);
    sk_wipe(&subseed, sizeof subseed);
}

int sk_address(const uint8_t *seed, size_t seed_bytes, int level,
               int64_t index, char *out_81)
{
    const int status = check_key_request(seed_bytes, level, index);

    if (status != SK_OK)
        return status;
    compute_address(seed, level, index, out_81);
    sk_wipe_stack();
    return SK_OK;
}

static __attribute__((noinline)) void
compute_signature(const uint8_t *seed, int level, int64_t index,
                  const int8_t values[KEY_CHUNKS], char *out)
{
    uint8_t steps[KEY_CHUNKS];
    sk_word chunks[KEY_CHUNKS];
    sk_word subseed;
    const int count = level * FRAGMENT_CHUNKS;

    for (int i = 0; i < count; i++)
        steps[i] = (uint8_t)(TRYTE_MAX - values[i]);
    derive_subseed(&subseed, seed, index);
    sk_lanes()->derive_chains(chunks, &subseed, steps, count);
    for (int i = 0; i < count; i++)
        sk_word_to_trytes(&chunks[i], out + i * WORD_TRYTES);
    sk_wipe(chunks, sizeof chunks);
    sk_wipe(&subseed, sizeof subseed);
}

int sk_sign(const uint8_t *seed, size_t seed_bytes, int level, int64_t index,
            const char *bundle_hash, size_t hash_trytes, char *out,
            size_t out_trytes)
{
    int8_t values[WORD_TRYTES];
    int status = check_key_request(seed_bytes, level, index);

    if (status == SK_OK && out_trytes != (size_t)level * FRAGMENT_TRYTES)
        status = SK_ERR_LENGTH;
    if (status == SK_OK)
        status = sk_normalise(bundle_hash, hash_trytes, values);
    if (status != SK_OK)
        return status;
    compute_signature(seed, level, index, values, out);
    sk_wipe_stack();
    return SK_OK;
}

int sk_address_from_signature(const char *fragments, size_t fragments_trytes,
                              const char *bundle_hash, size_t hash_trytes,
                              char *out_81)
{
    int8_t values[WORD_TRYTES];
    uint8_t steps[KEY_CHUNKS];
    sk_word chunks[KEY_CHUNKS];
    const int level = (int)(fragments_trytes / FRAGMENT_TRYTES);
    const int count = level * FRAGMENT_CHUNKS;
    int status;

    if (fragments_trytes % FRAGMENT_TRYTES != 0 || fragments_trytes == 0 ||
        fragments_trytes > LEVEL_MAX * FRAGMENT_TRYTES)
        return SK_ERR_LENGTH;
    status = sk_normalise(bundle_hash, hash_trytes, values);
    for (int i = 0; i < count && status == SK_OK; i++) {
        steps[i] = (uint8_t)(TRYTE_MAX + values[i]);
        status = sk_word_from_trytes(&chunks[i], fragments + i * WORD_TRYTES);
    }
    if (status != SK_OK)
        return status;
    sk_lanes()->run_chains(chunks, steps, count);
    address_of_ends(chunks, level, out_81);
    return SK_OK;
}
