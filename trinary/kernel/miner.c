/* SPDX-License-Identifier: Apache-2.0
 *
 * The bundle miner: which obsolete tag of transaction 0 gives a bundle hash
 * whose signature gives away the least of a key that has signed before.
 *
 * The tag's lowest trit is the 81st of the second word of transaction 0, so
 * one step is one addition of 3^81.  A candidate is hashed, and only the
 * fragments that are signed become trytes; one with a 13 is out.  The others
 * are judged by a sum of table values, one per tryte, as if trytes were
 * independent; what comes near the largest such sum so far is judged exactly.
 * Threads take blocks of candidates in turn; which does which has no influence
 * on the result.
 */
#define _POSIX_C_SOURCE 200809L
#include "codec.h"
#include "exposure.h"
#include "kernel.h"
#include "lanes.h"
#include "threads.h"
#include "winternitz.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FRAGMENT_TRYTES EXPOSURE_FRAGMENT_TRYTES
#define VALUES EXPOSURE_VALUES
#define LEVEL_MAX 3
#define TRYTES_MAX (LEVEL_MAX * FRAGMENT_TRYTES)
#define TAG_TRITS 81
#define TAG_END_TRYTES 54 /* where in the second word the tag ends */
#define ESSENCE_TRYTES (2 * WORD_TRYTES)
#define ESSENCES_MAX 1000
#define BLOCK_CANDIDATES 1024

/* Sums of table values miss the exact bits by an offset common to all and by a
 * rest, which grows with the bits that are at stake: among the best of 400,000
 * in 60 searches at all levels, after one to four signatures, it stayed below
 * three quarters of this.  While a tryte is untouched sums say nothing: then
 * every candidate is judged exactly. */
#define MARGIN_BITS 4.0
#define MARGIN_SHARE (1.0 / 48)
/* The table is exact around trytes that have been signed up to here at least:
 * about what a mined second signature leaves. */
#define REFERENCE_VALUE 4

/* x / 3^n is x times a reciprocal of ten limbs; the four limbs of it around
 * limb j of x decide the first four limbs of the fraction. */
#define RECIPROCAL_LIMBS 10
#define FRACTION_LIMBS 4
#define KEPT_LIMBS 3
/* Above what is cut off, far below the distance of two fractions: so that one
 * at the very beginning of a tryte does not fall into the one before. */
#define FRACTION_BIAS 16
/* Digits taken from a fraction at once. */
#define GROUP_TRYTES 6
#define GROUP_POWER 387420489u /* 27^6 */
/* Normalising moves no value behind the 14th: with that many at one end, what
 * is behind can not add up to the other. */
#define STILL_TRYTE 15
#define POWER_40 12157665459056928801ULL /* 3^40 */

__extension__ typedef unsigned __int128 uint128;

/* Limb 0 is the least significant. */
typedef struct {
    uint64_t limb[RECIPROCAL_LIMBS];
} reciprocal;

typedef struct {
    const sk_lanes_engine *engine;
    uint64_t *message; /* padded, in lanes of the sponge, the tag's word zero */
    size_t blocks;
    sk_word tag;       /* the word that holds the tag, for candidate 0 */
    sk_word step;
    reciprocal reciprocals[LEVEL_MAX];
    int level;
    const int8_t *reach;
    const double *estimates; /* VALUES for each tryte */
    int64_t count;
    int64_t next; /* first candidate that no thread has taken */
    double margin_bits;
    const int32_t *cancel;
    pthread_mutex_t lock;
    sk_mined best;
} mine;

/* product = word * factor, for words that are not negative. */
static void multiply(sk_word *product, const sk_word *word, uint64_t factor)
{
    uint128 carry = 0;

    for (int i = WORD_LIMBS - 1; i >= 0; i--) {
        carry += (uint128)word->limb[i] * factor;
        product->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

static void divide(reciprocal *number, uint64_t divisor, uint128 rest)
{
    for (int i = RECIPROCAL_LIMBS - 1; i >= 0; i--) {
        rest = (rest << 64) | number->limb[i];
        number->limb[i] = (uint64_t)(rest / divisor);
        rest %= divisor;
    }
}

/* 2^640 / 3^(81 (fragment + 1)), rounded down. */
static void make_reciprocal(reciprocal *number, int fragment)
{
    memset(number, 0, sizeof *number);
    divide(number, 3, 1);
    for (int i = 0; i <= fragment; i++) {
        if (i > 0)
            divide(number, 3, 0);
        divide(number, POWER_40, 0);
        divide(number, POWER_40, 0);
    }
}

/* The fraction of x / 3^(81 (fragment + 1)), x the word shifted to be positive:
 * its digits in base 27 are the fragment's trytes, the last one first. */
static void fraction_of(uint64_t fraction[KEPT_LIMBS], const sk_word *hash,
                        const reciprocal *by)
{
    uint64_t sum[FRACTION_LIMBS] = {0};
    sk_word shifted;

    sk_word_add(&shifted, hash, &sk_word_max);
    for (int j = 0; j < WORD_LIMBS; j++) {
        const uint64_t limb = shifted.limb[WORD_LIMBS - 1 - j];
        const uint64_t *window =
            by->limb + RECIPROCAL_LIMBS - FRACTION_LIMBS - j;
        uint128 carry = 0;

        for (int i = 0; i < FRACTION_LIMBS; i++) {
            carry += (uint128)limb * window[i] + sum[i];
            sum[i] = (uint64_t)carry;
            carry >>= 64;
        }
    }
    memcpy(fraction, sum + FRACTION_LIMBS - KEPT_LIMBS,
           KEPT_LIMBS * sizeof *fraction);
    for (uint64_t i = 0, carry = FRACTION_BIAS; i < KEPT_LIMBS; i++) {
        fraction[i] += carry;
        carry = fraction[i] < carry;
    }
}

/* Multiply a fraction; returns the whole part. */
static uint32_t take_digits(uint64_t fraction[KEPT_LIMBS], uint32_t factor)
{
    uint128 carry = 0;

    for (int i = 0; i < KEPT_LIMBS; i++) {
        carry += (uint128)fraction[i] * factor;
        fraction[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return (uint32_t)carry;
}

/* Six digits, the first one last. */
static void split_group(int8_t values[GROUP_TRYTES], uint32_t group)
{
    for (int i = 0; i < GROUP_TRYTES; i += 2) {
        const uint32_t pair = group % (27 * 27);

        group /= 27 * 27;
        values[i] = (int8_t)((int)(pair % 27) - TRYTE_MAX);
        values[i + 1] = (int8_t)((int)(pair / 27) - TRYTE_MAX);
    }
}

/* The values of one fragment before normalising; 0 when there is a 13 that
 * normalising will not move. */
static int read_fragment(const mine *search, const sk_word *hash, int fragment,
                         int8_t values[FRAGMENT_TRYTES])
{
    uint64_t fraction[KEPT_LIMBS];
    int8_t first[GROUP_TRYTES];
    int at = FRAGMENT_TRYTES;

    fraction_of(fraction, hash, &search->reciprocals[fragment]);
    while (at >= GROUP_TRYTES) {
        at -= GROUP_TRYTES;
        split_group(values + at, take_digits(fraction, GROUP_POWER));
        if (at == STILL_TRYTE &&
            memchr(values + at, TRYTE_MAX, FRAGMENT_TRYTES - STILL_TRYTE))
            return 0;
    }
    split_group(first, take_digits(fraction, 27 * 27 * 27));
    memcpy(values, first, (size_t)at);
    /* The last tryte of all has no highest trit: -4..4, not -13..13. */
    if (fragment == LEVEL_MAX - 1)
        values[FRAGMENT_TRYTES - 1] += TRYTE_MAX - 4;
    return 1;
}

/* The normalised values that are signed; 0 when one of them is 13. */
static int read_values(const mine *search, const sk_word *hash,
                       int8_t values[TRYTES_MAX])
{
    for (int fragment = 0; fragment < search->level; fragment++) {
        int8_t *part = values + fragment * FRAGMENT_TRYTES;

        if (!read_fragment(search, hash, fragment, part))
            return 0;
        sk_normalise_fragment(part);
        if (memchr(part, TRYTE_MAX, FRAGMENT_TRYTES) != NULL)
            return 0;
    }
    return 1;
}

static double estimate(const mine *search, const int8_t values[TRYTES_MAX])
{
    const int trytes = search->level * FRAGMENT_TRYTES;
    double sum = 0;

    for (int i = 0; i < trytes; i++)
        sum += search->estimates[i * VALUES + values[i] + TRYTE_MAX];
    return sum;
}

/* The bits that the key has left with these values signed too. */
static double exact_bits(const mine *search, const int8_t values[TRYTES_MAX])
{
    double bits = 0;

    for (int fragment = 0; fragment < search->level; fragment++) {
        const int first = fragment * FRAGMENT_TRYTES;
        int8_t reach[FRAGMENT_TRYTES];

        for (int i = 0; i < FRAGMENT_TRYTES; i++)
            reach[i] = values[first + i] > search->reach[first + i]
                           ? values[first + i]
                           : search->reach[first + i];
        bits += sk_fragment_bits(reach, fragment);
    }
    return bits;
}

/* Is it worth an exact judgement? */
static int contends(mine *search, double estimated)
{
    int answer;

    pthread_mutex_lock(&search->lock);
    answer = estimated > search->best.top_estimate - search->margin_bits;
    if (estimated > search->best.top_estimate)
        search->best.top_estimate = estimated;
    pthread_mutex_unlock(&search->lock);
    return answer;
}

/* Of two as good the earlier one counts, whoever comes first. */
static void report(mine *search, int64_t candidate, double bits)
{
    sk_mined *best = &search->best;

    pthread_mutex_lock(&search->lock);
    if (bits > best->bits ||
        (bits == best->bits && candidate < best->candidate)) {
        best->bits = bits;
        best->candidate = candidate;
    }
    pthread_mutex_unlock(&search->lock);
}

static void judge(mine *search, int64_t candidate, const sk_word *hash)
{
    int8_t values[TRYTES_MAX];

    if (read_values(search, hash, values) &&
        contends(search, estimate(search, values)))
        report(search, candidate, exact_bits(search, values));
}

static void try_block(mine *search, int64_t first, int64_t end)
{
    const int lanes = search->engine->lanes;
    sk_word tags[LANES_MAX];
    sk_word hashes[LANES_MAX];
    sk_word tag;

    multiply(&tag, &search->step, (uint64_t)first);
    sk_word_add(&tag, &tag, &search->tag);
    for (int64_t at = first; at < end; at += lanes) {
        for (int lane = 0; lane < lanes; lane++) {
            tags[lane] = tag;
            sk_word_add(&tag, &tag, &search->step);
        }
        search->engine->hash_tags(search->message, search->blocks, tags,
                                  hashes);
        for (int lane = 0; lane < lanes && at + lane < end; lane++)
            judge(search, at + lane, &hashes[lane]);
    }
}

static void run_worker(void *shared, int number)
{
    mine *search = shared;

    (void)number;
    while (__atomic_load_n(search->cancel, __ATOMIC_RELAXED) == 0) {
        const int64_t first = __atomic_fetch_add(
            &search->next, BLOCK_CANDIDATES, __ATOMIC_RELAXED);
        const int64_t left = search->count - first;

        if (left <= 0)
            return;
        try_block(search, first,
                  first + (left < BLOCK_CANDIDATES ? left : BLOCK_CANDIDATES));
    }
}

/* Is what stands behind the tag the same for the last candidate? */
static int tags_suffice(const mine *search)
{
    char first[WORD_TRYTES];
    char last[WORD_TRYTES];
    sk_word word;

    multiply(&word, &search->step, (uint64_t)search->count - 1);
    sk_word_add(&word, &word, &search->tag);
    sk_word_reduce(&word);
    sk_word_to_trytes(&search->tag, first);
    sk_word_to_trytes(&word, last);
    return memcmp(first + TAG_END_TRYTES, last + TAG_END_TRYTES,
                  WORD_TRYTES - TAG_END_TRYTES) == 0;
}

/* Pad the essences to whole blocks, and take the word with the tag out. */
static int prepare_message(mine *search, const char *trytes,
                           size_t length_trytes)
{
    const size_t lanes = length_trytes / WORD_TRYTES * WORD_LIMBS;

    search->blocks = lanes / KECCAK_384_RATE_LANES + 1;
    search->message =
        calloc(search->blocks * KECCAK_384_RATE_LANES, sizeof(uint64_t));
    if (search->message == NULL)
        return SK_ERR_MEMORY;
    for (size_t i = 0; i < lanes; i += WORD_LIMBS) {
        sk_word word;
        const int status = sk_word_from_trytes(
            &word, trytes + i / WORD_LIMBS * WORD_TRYTES);

        if (status != SK_OK)
            return status;
        for (size_t j = 0; j < WORD_LIMBS && i != TAG_LANE; j++)
            search->message[i + j] = __builtin_bswap64(word.limb[j]);
        if (i == TAG_LANE)
            search->tag = word;
    }
    search->message[lanes] ^= 1;
    search->message[search->blocks * KECCAK_384_RATE_LANES - 1] ^=
        (uint64_t)1 << 63;
    return SK_OK;
}

static int prepare(mine *search, const char *trytes, size_t length_trytes)
{
    sk_word step = {{0, 0, 0, 0, 0, 3}};
    const int status = prepare_message(search, trytes, length_trytes);

    multiply(&step, &step, POWER_40);
    multiply(&search->step, &step, POWER_40);
    for (int i = 0; i < search->level; i++)
        make_reciprocal(&search->reciprocals[i], i);
    if (status == SK_OK && !tags_suffice(search))
        return SK_ERR_RANGE;
    return status;
}

static int check_request(size_t length_trytes, size_t reach_trytes,
                         int64_t count, int threads)
{
    if (length_trytes == 0 || length_trytes % ESSENCE_TRYTES != 0 ||
        length_trytes > (size_t)ESSENCES_MAX * ESSENCE_TRYTES ||
        reach_trytes == 0 || reach_trytes % FRAGMENT_TRYTES != 0 ||
        reach_trytes > TRYTES_MAX)
        return SK_ERR_LENGTH;
    if (count < 1 || count > SK_MINE_MAX || threads < 1 ||
        threads > THREADS_MAX)
        return SK_ERR_RANGE;
    return SK_OK;
}

int sk_mine(const char *essences, size_t length_trytes, const int8_t *reach,
            size_t reach_trytes, const double *estimates, int64_t count,
            int threads, const int32_t *cancel, sk_mined *best)
{
    mine search = {.engine = sk_lanes(),
                   .level = (int)(reach_trytes / FRAGMENT_TRYTES),
                   .reach = reach,
                   .estimates = estimates,
                   .count = count,
                   .cancel = cancel,
                   .lock = PTHREAD_MUTEX_INITIALIZER,
                   .best = *best};
    double bits = 0;
    int status =
        check_request(length_trytes, reach_trytes, count, threads);

    search.best.candidate = SK_MINE_NONE;
    if (status == SK_OK)
        status = sk_exposure(reach, reach_trytes, &bits);
    search.margin_bits = MARGIN_BITS + MARGIN_SHARE * bits;
    if (status == SK_OK)
        status = prepare(&search, essences, length_trytes);
    if (status == SK_OK)
        status = sk_run_threads(threads, run_worker, &search);
    free(search.message);
    if (status == SK_OK && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0)
        status = SK_ERR_CANCELLED;
    *best = search.best;
    return status;
}

int sk_mine_estimates(const int8_t *reach, size_t reach_trytes, double *out)
{
    int8_t around[TRYTES_MAX];
    double bits;
    const int status = sk_exposure(reach, reach_trytes, &bits);

    if (status != SK_OK)
        return status;
    for (size_t i = 0; i < reach_trytes; i++)
        around[i] = reach[i] > REFERENCE_VALUE ? reach[i] : REFERENCE_VALUE;
    for (size_t i = 0; i < reach_trytes; i++) {
        const size_t fragment = i / FRAGMENT_TRYTES;
        const int8_t there = around[i];

        for (int value = -TRYTE_MAX; value <= TRYTE_MAX; value++) {
            double *to = &out[i * VALUES + (size_t)(value + TRYTE_MAX)];

            around[i] = (int8_t)(value > reach[i] ? value : reach[i]);
            /* Below what has been signed nothing changes. */
            *to = value > -TRYTE_MAX && value <= reach[i]
                      ? to[-1]
                      : sk_fragment_bits(around + fragment * FRAGMENT_TRYTES,
                                         (int)fragment);
        }
        around[i] = there;
    }
    return SK_OK;
}
