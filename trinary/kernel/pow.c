/* SPDX-License-Identifier: Apache-2.0
 *
 * Proof of work: a nonce after which a transaction's Curl-P-81 hash ends in a
 * given number of zero trits.  All blocks but the last are absorbed once; the
 * threads then try nonces on the last transform, many at a time.
 */
#define _POSIX_C_SOURCE 200809L
#include "pow.h"

#include "codec.h"
#include "kernel.h"
#include "threads.h"

#include <stdlib.h>
#include <string.h>

#define TRANSACTION_TRYTES 2673
#define WEIGHT_MAX 243
#define CACHE_LINE_BYTES 64

typedef struct {
    sk_pow_search *search;
    const sk_pow_engine *engine;
    void **scratch; /* one for each thread */
} crew;

static const sk_pow_engine *best_engine(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return &sk_pow_engine_256;
#endif
    return &sk_pow_engine_128;
}

int sk_pow_width_bits(void)
{
    return best_engine()->width_bits;
}

int sk_cancel(int32_t *cancel)
{
    __atomic_store_n(cancel, 1, __ATOMIC_RELAXED);
    return SK_OK;
}

int sk_pow_should_stop(const sk_pow_search *search)
{
    return __atomic_load_n(&search->done, __ATOMIC_RELAXED) != 0 ||
           __atomic_load_n(search->cancel, __ATOMIC_RELAXED) != 0;
}

void sk_pow_report(sk_pow_search *search, const int8_t nonce[NONCE_TRITS])
{
    int32_t expected = 0;

    if (__atomic_compare_exchange_n(&search->done, &expected, 1, 0,
                                    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        memcpy(search->nonce, nonce, NONCE_TRITS);
}

void sk_pow_lane_nonce(int8_t nonce[NONCE_TRITS],
                       const int8_t counter[NONCE_TRITS], unsigned lane)
{
    memmove(nonce, counter, NONCE_TRITS);
    for (int i = 0; i < LANE_TRITS; i++, lane /= 3)
        nonce[i] = (int8_t)((int)(lane % 3) - 1);
}

/* Absorb the transaction up to the nonce. */
static int prepare_search(sk_pow_search *search, const char *trytes,
                          const char *start)
{
    sk_curl_state curl;
    int8_t block[CURL_BLOCK_TRITS];

    sk_curl_init(&curl, CURL_P_81);
    for (size_t at = 0; at < TRANSACTION_TRYTES; at += CURL_BLOCK_TRYTES) {
        const int status =
            sk_trits_from_trytes(block, trytes + at, CURL_BLOCK_TRYTES);

        if (status != SK_OK)
            return status;
        if (at != 0)
            sk_curl_transform(&curl);
        sk_curl_load(&curl, 0, block);
    }
    sk_curl_read(&curl, search->state, CURL_STATE_TRITS);
    return sk_trits_from_trytes(search->start, start, NONCE_TRYTES);
}

/* Hash the nonce found once more, one lane and other code: wrong hardware or
 * a wrong kernel is not to reach the network. */
static int check_nonce(const sk_pow_search *search)
{
    sk_curl_state curl;
    int8_t state[CURL_STATE_TRITS];

    memcpy(state, search->state, sizeof state);
    memcpy(state + NONCE_OFFSET, search->nonce, NONCE_TRITS);
    sk_curl_init(&curl, CURL_P_81);
    for (unsigned i = 0; i < CURL_STATE_TRITS; i += CURL_BLOCK_TRITS)
        sk_curl_load(&curl, i, state + i);
    sk_curl_transform(&curl);
    sk_curl_read(&curl, state, CURL_BLOCK_TRITS);
    for (int i = 1; i <= search->min_weight_magnitude; i++)
        if (state[CURL_BLOCK_TRITS - i] != 0)
            return SK_ERR_FAULT;
    return SK_OK;
}

static void run_worker(void *shared, int thread)
{
    const crew *self = shared;

    self->engine->run(self->search, thread, self->scratch[thread]);
}

/* The engine of a width, or NULL when this processor can not run it. */
static const sk_pow_engine *engine_of(int width_bits)
{
    const sk_pow_engine *best = best_engine();

    if (width_bits == 0 || width_bits == best->width_bits)
        return best;
    return width_bits == 128 ? &sk_pow_engine_128 : NULL;
}

static int run_search(sk_pow_search *search, const sk_pow_engine *engine,
                      int threads)
{
    void **scratch = calloc((size_t)threads, sizeof *scratch);
    crew all = {search, engine, scratch};
    int status = scratch == NULL ? SK_ERR_MEMORY : SK_OK;

    for (int i = 0; i < threads && status == SK_OK; i++)
        if (posix_memalign(&scratch[i], CACHE_LINE_BYTES,
                           engine->scratch_bytes) != 0) {
            scratch[i] = NULL;
            status = SK_ERR_MEMORY;
        }
    if (status == SK_OK)
        status = sk_run_threads(threads, run_worker, &all);
    for (int i = 0; i < threads && scratch != NULL; i++)
        free(scratch[i]);
    free(scratch);
    if (status == SK_OK && !search->done)
        status = SK_ERR_CANCELLED;
    return status;
}

int sk_pow(const char *trytes, size_t length_trytes, int min_weight_magnitude,
           int threads, const char *start, size_t start_trytes,
           int width_bits, const int32_t *cancel, char *out_27)
{
    const sk_pow_engine *engine = engine_of(width_bits);
    sk_pow_search search = {.min_weight_magnitude = min_weight_magnitude,
                            .cancel = cancel};
    int status;

    if (length_trytes != TRANSACTION_TRYTES || start_trytes != NONCE_TRYTES)
        return SK_ERR_LENGTH;
    if (min_weight_magnitude < 1 || min_weight_magnitude > WEIGHT_MAX ||
        threads < 1 || threads > THREADS_MAX || engine == NULL)
        return SK_ERR_RANGE;
    status = prepare_search(&search, trytes, start);
    if (status == SK_OK)
        status = run_search(&search, engine, threads);
    if (status == SK_OK)
        status = check_nonce(&search);
    if (status == SK_OK)
        sk_trytes_from_trits(out_27, search.nonce, NONCE_TRYTES);
    return status;
}
