/* SPDX-License-Identifier: Apache-2.0
 *
 * The bit-sliced search, for one vector width.  Included once per width with
 *
 *   ENGINE_BITS    the width: as many nonces are tried at once
 *   ENGINE_TARGET  the function attribute that allows the instructions
 *   ENGINE_NAME    the engine's symbol
 *
 * A state trit is two vectors, low and high, coded as in curl.h, one bit per
 * nonce.  No helper takes a vector by value: that would need the wide
 * registers in the calling convention of translation units without them.
 */
typedef uint64_t vector __attribute__((vector_size(ENGINE_BITS / 8)));

#define ENGINE_LIMBS (ENGINE_BITS / 64)
#define EVEN_STEP 364

typedef struct {
    vector low[CURL_STATE_TRITS];
    vector high[CURL_STATE_TRITS];
} lanes;

typedef struct {
    lanes fixed; /* before the transform */
    lanes work[2];
} engine_scratch;

#define BROADCAST(vec, bit)                                                   \
    do {                                                                      \
        for (int limb_ = 0; limb_ < ENGINE_LIMBS; limb_++)                    \
            (vec)[limb_] = (uint64_t)0 - (uint64_t)(bit);                     \
    } while (0)

ENGINE_TARGET static void set_trit(lanes *state, int at, int8_t trit)
{
    BROADCAST(state->low[at], trit <= 0);
    BROADCAST(state->high[at], trit >= 0);
}

/* Number the lanes in the nonce's first trits. */
ENGINE_TARGET static void set_lane_trits(lanes *state)
{
    int8_t nonce[NONCE_TRITS] = {0};

    for (unsigned lane = 0; lane < ENGINE_BITS; lane++) {
        const uint64_t bit = (uint64_t)1 << (lane % 64);

        sk_pow_lane_nonce(nonce, nonce, lane);
        for (int i = 0; i < LANE_TRITS; i++) {
            if (nonce[i] <= 0)
                state->low[NONCE_OFFSET + i][lane / 64] |= bit;
            if (nonce[i] >= 0)
                state->high[NONCE_OFFSET + i][lane / 64] |= bit;
        }
    }
}

/* One round.  364 j runs 0, 364, 728, 363, 727 ... modulo 729: two pointers
 * that both walk down, taken in turn. */
ENGINE_TARGET static void transform_round(lanes *to, const lanes *from)
{
    vector a_low = from->low[0];
    vector a_high = from->high[0];
    vector b_low, b_high, delta;
    int at = 0;

#define STEP_FROM(index)                                                      \
    b_low = from->low[index];                                                 \
    b_high = from->high[index];                                               \
    delta = (a_low | ~b_high) & (b_low ^ a_high);                             \
    to->low[at] = ~delta;                                                     \
    to->high[at] = (a_low ^ b_high) | delta;                                  \
    at++;                                                                     \
    a_low = b_low;                                                            \
    a_high = b_high

    for (int k = 0; k < EVEN_STEP; k++) {
        STEP_FROM(EVEN_STEP - k);
        STEP_FROM(CURL_STATE_TRITS - 1 - k);
    }
    STEP_FROM(0);
#undef STEP_FROM
}

/* The lane that ends in enough zeros, or -1. */
ENGINE_TARGET static int matching_lane(const lanes *state,
                                       int min_weight_magnitude)
{
    vector zero = {0};

    zero = ~zero;
    for (int i = 1; i <= min_weight_magnitude; i++)
        zero &= state->low[CURL_BLOCK_TRITS - i] &
                state->high[CURL_BLOCK_TRITS - i];
    for (int i = 0; i < ENGINE_LIMBS; i++)
        if (zero[i] != 0)
            return 64 * i + __builtin_ctzll(zero[i]);
    return -1;
}

/* Count up by one and renew the trits that change. */
ENGINE_TARGET static void advance(lanes *state, int8_t counter[NONCE_TRITS])
{
    int at = COUNTER_OFFSET;

    for (; at < NONCE_TRITS && counter[at] == 1; at++) {
        counter[at] = -1;
        set_trit(state, NONCE_OFFSET + at, -1);
    }
    if (at < NONCE_TRITS)
        set_trit(state, NONCE_OFFSET + at, ++counter[at]);
}

ENGINE_TARGET static void prepare(lanes *state, const sk_pow_search *search,
                                  int8_t counter[NONCE_TRITS], int thread)
{
    memset(state, 0, sizeof *state);
    memcpy(counter, search->start, NONCE_TRITS);
    for (int i = LANE_TRITS; i < COUNTER_OFFSET; i++, thread /= 3)
        counter[i] = (int8_t)(thread % 3 - 1);
    for (int i = 0; i < CURL_STATE_TRITS; i++)
        if (i < NONCE_OFFSET || i >= CURL_BLOCK_TRITS)
            set_trit(state, i, search->state[i]);
    for (int i = LANE_TRITS; i < NONCE_TRITS; i++)
        set_trit(state, NONCE_OFFSET + i, counter[i]);
    set_lane_trits(state);
}

ENGINE_TARGET static void run(sk_pow_search *search, int thread, void *memory)
{
    engine_scratch *scratch = memory;
    lanes *work = scratch->work;
    int8_t counter[NONCE_TRITS];

    prepare(&scratch->fixed, search, counter, thread);
    for (; !sk_pow_should_stop(search); advance(&scratch->fixed, counter)) {
        int lane;

        transform_round(&work[0], &scratch->fixed);
        for (int round = 1; round < CURL_P_81; round++)
            transform_round(&work[round % 2], &work[(round + 1) % 2]);
        lane = matching_lane(&work[(CURL_P_81 + 1) % 2],
                             search->min_weight_magnitude);
        if (lane >= 0) {
            sk_pow_lane_nonce(counter, counter, (unsigned)lane);
            sk_pow_report(search, counter);
        }
    }
}

const sk_pow_engine ENGINE_NAME = {ENGINE_BITS, sizeof(engine_scratch), run};
