/* SPDX-License-Identifier: Apache-2.0
 *
 * Source: RFC 7693, sections 2 and 3, for BLAKE2b; RFC 9106, section 3.3, for
 * the long hash.
 */
#include "blake2b.h"

#include "wipe.h"

#include <string.h>

#define ROUNDS 12
#define WORD_BYTES 8
#define LONG_STEP_BYTES 32

static const uint64_t initial[8] = {
    0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL,
    0xa54ff53a5f1d36f1ULL, 0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL,
    0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
};

/* Which word of the message goes where; the last two rounds are the first two
 * again. */
static const uint8_t order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t load(const uint8_t *bytes)
{
    uint64_t word = 0;

    for (int i = WORD_BYTES - 1; i >= 0; i--)
        word = word << 8 | bytes[i];
    return word;
}

static uint64_t rotate(uint64_t word, int bits)
{
    return word >> bits | word << (64 - bits);
}

static void mix(uint64_t *v, int a, int b, int c, int d, uint64_t x,
                uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotate(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 63);
}

/* Take in the block; `last` is all ones for the last one. */
static void compress(sk_blake2b *state, uint64_t last)
{
    uint64_t message[16];
    uint64_t v[16];

    for (int i = 0; i < 16; i++)
        message[i] = load(state->block + WORD_BYTES * i);
    memcpy(v, state->chain, sizeof state->chain);
    memcpy(v + 8, initial, sizeof initial);
    v[12] ^= state->total_bytes;
    v[14] ^= last;
    for (int round = 0; round < ROUNDS; round++) {
        const uint8_t *at = order[round % 10];

        for (int i = 0; i < 4; i++)
            mix(v, i, 4 + i, 8 + i, 12 + i, message[at[2 * i]],
                message[at[2 * i + 1]]);
        for (int i = 0; i < 4; i++)
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4,
                message[at[8 + 2 * i]], message[at[8 + 2 * i + 1]]);
    }
    for (int i = 0; i < 8; i++)
        state->chain[i] ^= v[i] ^ v[i + 8];
}

void sk_blake2b_init(sk_blake2b *state, size_t out_bytes)
{
    memset(state, 0, sizeof *state);
    memcpy(state->chain, initial, sizeof initial);
    /* The parameter block: no key, fanout and depth 1. */
    state->chain[0] ^= 0x01010000 ^ (uint64_t)out_bytes;
    state->out_bytes = out_bytes;
}

void sk_blake2b_update(sk_blake2b *state, const uint8_t *data,
                       size_t size_bytes)
{
    for (size_t taken = 0, part; taken < size_bytes; taken += part) {
        size_t room = BLAKE2B_BLOCK_BYTES - state->filled_bytes;

        if (room == 0) {
            state->total_bytes += BLAKE2B_BLOCK_BYTES;
            compress(state, 0);
            state->filled_bytes = 0;
            room = BLAKE2B_BLOCK_BYTES;
        }
        part = size_bytes - taken < room ? size_bytes - taken : room;
        memcpy(state->block + state->filled_bytes, data + taken, part);
        state->filled_bytes += part;
    }
}

void sk_blake2b_update_32(sk_blake2b *state, uint32_t number)
{
    const uint8_t bytes[4] = {(uint8_t)number, (uint8_t)(number >> 8),
                              (uint8_t)(number >> 16),
                              (uint8_t)(number >> 24)};

    sk_blake2b_update(state, bytes, sizeof bytes);
}

void sk_blake2b_finish(sk_blake2b *state, uint8_t *out)
{
    memset(state->block + state->filled_bytes, 0,
           BLAKE2B_BLOCK_BYTES - state->filled_bytes);
    state->total_bytes += state->filled_bytes;
    compress(state, ~(uint64_t)0);
    for (size_t i = 0; i < state->out_bytes; i++)
        out[i] = (uint8_t)(state->chain[i / WORD_BYTES] >>
                           (8 * (i % WORD_BYTES)));
    sk_wipe(state, sizeof *state);
}

void sk_long_hash(uint8_t *out, uint32_t out_bytes, const uint8_t *data,
                  size_t size_bytes)
{
    uint8_t value[BLAKE2B_OUT_BYTES];
    uint32_t left = out_bytes;
    sk_blake2b state;

    sk_blake2b_init(&state, left < sizeof value ? left : sizeof value);
    sk_blake2b_update_32(&state, out_bytes);
    sk_blake2b_update(&state, data, size_bytes);
    sk_blake2b_finish(&state, value);
    /* Half of each digest is put out, of the last one all. */
    for (; left > sizeof value; left -= LONG_STEP_BYTES) {
        const uint32_t behind = left - LONG_STEP_BYTES;

        memcpy(out, value, LONG_STEP_BYTES);
        out += LONG_STEP_BYTES;
        sk_blake2b_init(&state,
                        behind < sizeof value ? behind : sizeof value);
        sk_blake2b_update(&state, value, sizeof value);
        sk_blake2b_finish(&state, value);
    }
    memcpy(out, value, left);
    sk_wipe(value, sizeof value);
}
