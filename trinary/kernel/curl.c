/* SPDX-License-Identifier: Apache-2.0
 *
 * A round of Curl-P is new[j] = f(old[364 j], old[364 j + 364]), indices
 * modulo 729.  Kept in place and in order, that is a gather of single trits.
 * But store old trit j at bit j * stride, and put new trit j where old trit
 * 364 j was: then every bit meets the bit 364 * stride further on, which is
 * one rotation of a 729-bit number, and only the stride changes from round to
 * round.  A hash is then word-wide logic throughout.
 *
 * Source: Curl-P as deployed by IOTA since 2016 (81 rounds for transactions,
 * 27 in earlier use); f is its 3 x 3 truth table in two-bit logic.
 */
#include "curl.h"

#include "codec.h"
#include "kernel.h"

#include <string.h>

#define WORD_BITS 64
#define STEP 364
/* 729 = 11 * 64 + 25: where the second copy begins in a doubled state. */
#define WRAP_WORD 11
#define WRAP_BITS 25
#define DOUBLED_WORDS 25

/* The state twice in a row, so that a rotation is a read further on. */
static void double_up(uint64_t doubled[DOUBLED_WORDS],
                      const uint64_t bits[CURL_WORDS])
{
    memset(doubled, 0, DOUBLED_WORDS * sizeof *doubled);
    memcpy(doubled, bits, CURL_WORDS * sizeof *bits);
    for (int i = 0; i < CURL_WORDS; i++) {
        doubled[WRAP_WORD + i] |= bits[i] << WRAP_BITS;
        doubled[WRAP_WORD + 1 + i] |= bits[i] >> (WORD_BITS - WRAP_BITS);
    }
}

static void transform_round(sk_curl_state *state, unsigned rotation)
{
    const unsigned word = rotation / WORD_BITS;
    const unsigned bit = rotation % WORD_BITS;
    uint64_t low[DOUBLED_WORDS];
    uint64_t high[DOUBLED_WORDS];

    double_up(low, state->low);
    double_up(high, state->high);
    for (unsigned i = 0; i < CURL_WORDS; i++) {
        const uint64_t *l = low + word + i;
        const uint64_t *h = high + word + i;
        const uint64_t a_low = low[i];
        const uint64_t a_high = high[i];
        /* Two shifts on the left: bit may be 0. */
        const uint64_t b_low = l[0] >> bit | l[1] << 1 << (63 - bit);
        const uint64_t b_high = h[0] >> bit | h[1] << 1 << (63 - bit);
        const uint64_t delta = (a_low | ~b_high) & (b_low ^ a_high);

        state->low[i] = ~delta;
        state->high[i] = (a_low ^ b_high) | delta;
    }
    /* Only 25 bits of the last word belong to the state. */
    state->low[WRAP_WORD] &= ((uint64_t)1 << WRAP_BITS) - 1;
    state->high[WRAP_WORD] &= ((uint64_t)1 << WRAP_BITS) - 1;
}

void sk_curl_init(sk_curl_state *state, int rounds)
{
    for (int i = 0; i < CURL_WORDS; i++)
        state->low[i] = state->high[i] = ~(uint64_t)0;
    state->low[WRAP_WORD] = state->high[WRAP_WORD] =
        ((uint64_t)1 << WRAP_BITS) - 1;
    state->stride = 1;
    state->rounds = rounds;
}

void sk_curl_load(sk_curl_state *state, unsigned first,
                  const int8_t trits[CURL_BLOCK_TRITS])
{
    unsigned at = first * state->stride % CURL_STATE_TRITS;

    for (int j = 0; j < CURL_BLOCK_TRITS; j++) {
        const uint64_t mask = (uint64_t)1 << (at % WORD_BITS);

        state->low[at / WORD_BITS] |= mask;
        state->high[at / WORD_BITS] |= mask;
        if (trits[j] > 0)
            state->low[at / WORD_BITS] ^= mask;
        if (trits[j] < 0)
            state->high[at / WORD_BITS] ^= mask;
        at = (at + state->stride) % CURL_STATE_TRITS;
    }
}

void sk_curl_transform(sk_curl_state *state)
{
    for (int round = 0; round < state->rounds; round++) {
        state->stride = state->stride * STEP % CURL_STATE_TRITS;
        transform_round(state, state->stride);
    }
}

void sk_curl_read(const sk_curl_state *state, int8_t *trits, unsigned count)
{
    unsigned at = 0;

    for (unsigned j = 0; j < count; j++) {
        const int low = (int)(state->low[at / WORD_BITS] >> (at % WORD_BITS));
        const int high =
            (int)(state->high[at / WORD_BITS] >> (at % WORD_BITS));

        trits[j] = (int8_t)((high & 1) - (low & 1));
        at = (at + state->stride) % CURL_STATE_TRITS;
    }
}

int sk_curl(const char *trytes, size_t length_trytes, int rounds, char *out_81)
{
    sk_curl_state state;
    int8_t trits[CURL_BLOCK_TRITS];

    if (length_trytes == 0 || length_trytes % CURL_BLOCK_TRYTES != 0)
        return SK_ERR_LENGTH;
    if (rounds != CURL_P_81 && rounds != CURL_P_27)
        return SK_ERR_RANGE;
    sk_curl_init(&state, rounds);
    for (size_t at = 0; at < length_trytes; at += CURL_BLOCK_TRYTES) {
        const int status =
            sk_trits_from_trytes(trits, trytes + at, CURL_BLOCK_TRYTES);

        if (status != SK_OK)
            return status;
        sk_curl_load(&state, 0, trits);
        sk_curl_transform(&state);
    }
    sk_curl_read(&state, trits, CURL_BLOCK_TRITS);
    sk_trytes_from_trits(out_81, trits, CURL_BLOCK_TRYTES);
    return SK_OK;
}
