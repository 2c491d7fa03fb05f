/* SPDX-License-Identifier: Apache-2.0
 *
 * Argon2i and Argon2id: what comes before and after the filling of the memory.
 * Lanes are filled one after the other; with one lane, which is all that the
 * appliance asks for by itself, nothing is lost by that.
 *
 * Where a block is looked for in the memory depends on the password from the
 * second half of Argon2id's first pass on.  That is how Argon2id is made; the
 * first half and Argon2i are without it.
 *
 * Source: RFC 9106.
 */
#include "argon2.h"

#include "blake2b.h"
#include "wipe.h"

#include <string.h>

#define VERSION 0x13
#define SEED_BYTES BLAKE2B_OUT_BYTES
#define OUT_BYTES_MIN 4
#define WORD_BYTES 8

static int fits_32(size_t size_bytes)
{
    return (uint64_t)size_bytes <= UINT32_MAX;
}

static int check_request(const sk_argon2_request *request)
{
    const uint32_t lanes = request->lanes;

    if (request->variant != SK_ARGON2_I && request->variant != SK_ARGON2_ID)
        return SK_ERR_RANGE;
    if (request->passes < 1 || lanes < 1 || lanes > SK_ARGON2_LANES_MAX ||
        request->memory_kib > SK_ARGON2_MEMORY_MAX ||
        request->memory_kib / (2 * SLICES) < lanes ||
        (uintptr_t)request->arena % _Alignof(sk_block) != 0)
        return SK_ERR_RANGE;
    if (!fits_32(request->password_bytes) || !fits_32(request->salt_bytes) ||
        !fits_32(request->secret_bytes) ||
        !fits_32(request->associated_bytes) || !fits_32(request->out_bytes) ||
        request->out_bytes < OUT_BYTES_MIN ||
        request->arena_bytes / BLOCK_BYTES < request->memory_kib)
        return SK_ERR_LENGTH;
    return SK_OK;
}

static sk_fill_segment *best_fill(void)
{
#if defined(__x86_64__)
    const int bits = sk_vector_bits();

    if (bits >= 512)
        return sk_fill_segment_512;
    if (bits >= 256)
        return sk_fill_segment_256;
#endif
    return sk_fill_segment_128;
}

static void update_with_length(sk_blake2b *state, const uint8_t *data,
                               size_t size_bytes)
{
    sk_blake2b_update_32(state, (uint32_t)size_bytes);
    sk_blake2b_update(state, data, size_bytes);
}

/* H_0 of section 3.2. */
static void make_seed(uint8_t seed[SEED_BYTES],
                      const sk_argon2_request *request)
{
    sk_blake2b state;

    sk_blake2b_init(&state, SEED_BYTES);
    sk_blake2b_update_32(&state, request->lanes);
    sk_blake2b_update_32(&state, (uint32_t)request->out_bytes);
    sk_blake2b_update_32(&state, request->memory_kib);
    sk_blake2b_update_32(&state, request->passes);
    sk_blake2b_update_32(&state, VERSION);
    sk_blake2b_update_32(&state, request->variant);
    update_with_length(&state, request->password, request->password_bytes);
    update_with_length(&state, request->salt, request->salt_bytes);
    update_with_length(&state, request->secret, request->secret_bytes);
    update_with_length(&state, request->associated,
                       request->associated_bytes);
    sk_blake2b_finish(&state, seed);
}

/* Write a 32-bit number, the lowest byte first. */
static void put_32(uint8_t *bytes, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
}

/* The first two blocks of each lane. */
static void begin_lanes(const sk_fill *fill, const uint8_t seed[SEED_BYTES])
{
    uint8_t input[SEED_BYTES + 8];
    uint8_t bytes[BLOCK_BYTES];

    memcpy(input, seed, SEED_BYTES);
    for (uint32_t lane = 0; lane < fill->lanes; lane++)
        for (uint32_t i = 0; i < 2; i++) {
            uint64_t *word =
                fill->memory[(size_t)lane * fill->lane_blocks + i].word;

            put_32(input + SEED_BYTES, i);
            put_32(input + SEED_BYTES + 4, lane);
            sk_long_hash(bytes, sizeof bytes, input, sizeof input);
            memset(word, 0, BLOCK_BYTES);
            for (size_t j = 0; j < BLOCK_BYTES; j++)
                word[j / WORD_BYTES] |= (uint64_t)bytes[j]
                                        << (8 * (j % WORD_BYTES));
        }
    sk_wipe(input, sizeof input);
    sk_wipe(bytes, sizeof bytes);
}

static void fill_memory(sk_fill *fill)
{
    sk_fill_segment *fill_segment = best_fill();

    for (fill->pass = 0; fill->pass < fill->passes; fill->pass++)
        for (fill->slice = 0; fill->slice < SLICES; fill->slice++)
            for (fill->lane = 0; fill->lane < fill->lanes; fill->lane++)
                fill_segment(fill);
}

/* The tag of the lanes' last blocks. */
static void finish(const sk_fill *fill, uint8_t *out, uint32_t out_bytes)
{
    uint8_t bytes[BLOCK_BYTES] = {0};

    for (uint32_t lane = 1; lane <= fill->lanes; lane++) {
        const uint64_t *last =
            fill->memory[(size_t)lane * fill->lane_blocks - 1].word;

        for (size_t i = 0; i < BLOCK_BYTES; i++)
            bytes[i] ^= (uint8_t)(last[i / WORD_BYTES] >>
                                  (8 * (i % WORD_BYTES)));
    }
    sk_long_hash(out, out_bytes, bytes, sizeof bytes);
    sk_wipe(bytes, sizeof bytes);
}

/* Not inlined, so that the stack wipe of the caller covers its frame. */
static __attribute__((noinline)) void run(const sk_argon2_request *request)
{
    const uint32_t segment_blocks =
        request->memory_kib / (SLICES * request->lanes);
    sk_fill fill = {.memory = request->arena,
                    .variant = request->variant,
                    .passes = request->passes,
                    .lanes = request->lanes,
                    .lane_blocks = SLICES * segment_blocks,
                    .segment_blocks = segment_blocks};
    uint8_t seed[SEED_BYTES];

    make_seed(seed, request);
    begin_lanes(&fill, seed);
    sk_wipe(seed, sizeof seed);
    fill_memory(&fill);
    finish(&fill, request->out, (uint32_t)request->out_bytes);
    sk_wipe(request->arena,
            (size_t)fill.lanes * fill.lane_blocks * BLOCK_BYTES);
}

int sk_argon2(const sk_argon2_request *request)
{
    const int status = check_request(request);

    if (status != SK_OK)
        return status;
    run(request);
    sk_wipe_stack();
    return SK_OK;
}
