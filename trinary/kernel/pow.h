/* SPDX-License-Identifier: Apache-2.0
 *
 * What the proof-of-work searches of different vector widths share.
 */
#ifndef SALTKEEP_POW_H
#define SALTKEEP_POW_H

#include "curl.h"

#include <stddef.h>
#include <stdint.h>

#define NONCE_TRITS 81
#define NONCE_TRYTES 27
/* The nonce is the end of the last block absorbed. */
#define NONCE_OFFSET (CURL_BLOCK_TRITS - NONCE_TRITS)

/* How a nonce's trits are shared out, the lowest first: 6 tell the lanes of
 * one vector apart (3^6 = 729), 6 tell the threads apart, the rest counts up
 * from the caller's random start. */
#define LANE_TRITS 6
#define THREAD_TRITS 6
#define COUNTER_OFFSET (LANE_TRITS + THREAD_TRITS)

/* One search, shared by its threads. */
typedef struct {
    int8_t state[CURL_STATE_TRITS]; /* before the last transform, nonce unset */
    int8_t start[NONCE_TRITS];
    int min_weight_magnitude;
    const int32_t *cancel; /* nonzero stops the search */
    int32_t done;          /* a thread has found a nonce */
    int8_t nonce[NONCE_TRITS];
} sk_pow_search;

/* One vector width. */
typedef struct {
    int width_bits;
    size_t scratch_bytes;
    /* Search until found, done or cancelled, from thread number `thread`. */
    void (*run)(sk_pow_search *search, int thread, void *scratch);
} sk_pow_engine;

extern const sk_pow_engine sk_pow_engine_128;
extern const sk_pow_engine sk_pow_engine_256;

int sk_pow_should_stop(const sk_pow_search *search);
/* Hand in a nonce; the first one counts. */
void sk_pow_report(sk_pow_search *search, const int8_t nonce[NONCE_TRITS]);
/* The nonce of one lane: `counter` with the lane's number in its first trits. */
void sk_pow_lane_nonce(int8_t nonce[NONCE_TRITS],
                       const int8_t counter[NONCE_TRITS], unsigned lane);

#endif
