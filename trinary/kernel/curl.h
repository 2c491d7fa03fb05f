/* SPDX-License-Identifier: Apache-2.0
 *
 * Curl-P, one hash at a time, on packed trits.
 */
#ifndef SALTKEEP_CURL_H
#define SALTKEEP_CURL_H

#include <stdint.h>

#define CURL_STATE_TRITS 729
#define CURL_BLOCK_TRITS 243
#define CURL_BLOCK_TRYTES 81
#define CURL_WORDS 12
#define CURL_P_81 81
#define CURL_P_27 27

/* Each trit is two bits, low and high: -1 is (1, 0), 0 is (1, 1), 1 is (0, 1).
 * Trit j of the state is at bit (j * stride) mod 729: see curl.c. */
typedef struct {
    uint64_t low[CURL_WORDS];
    uint64_t high[CURL_WORDS];
    unsigned stride;
    int rounds;
} sk_curl_state;

void sk_curl_init(sk_curl_state *state, int rounds);
/* Overwrite 243 trits from trit `first` on, without a transform. */
void sk_curl_load(sk_curl_state *state, unsigned first,
                  const int8_t trits[CURL_BLOCK_TRITS]);
void sk_curl_transform(sk_curl_state *state);
/* Read the first `count` trits, at most 729. */
void sk_curl_read(const sk_curl_state *state, int8_t *trits, unsigned count);

#endif
