/* SPDX-License-Identifier: Apache-2.0
 *
 * How likely a random bundle hash can be signed with what a key gave away.
 *
 * A signature with value n at a tryte gives away the chain from there on, so
 * that every value up to n can be signed by anybody.  The normalised fragment
 * is made from 27 raw values by moving the first ones until the sum is 0.  Let
 * k be the last one moved:
 *
 *   sum too large: values before k end at -13, value k at 13 k - S,
 *   sum too small: values before k end at +13, value k at -13 k - S,
 *
 * where S is the sum of the values behind k, which stay as they are.  So the
 * probability is a sum over k and S of the ways in which the values behind k
 * stay within reach and add up to S.  Everything added is positive: nothing is
 * lost to cancellation, however small the result.
 *
 * Raw values are taken as independent.  26 of a fragment's 27 are uniform in
 * -13..13; so is the last one but in the third fragment, where it is the top of
 * the whole number: see last_weights.
 */
#include "exposure.h"

#include "kernel.h"

#include <math.h>
#include <string.h>

#define TRYTES EXPOSURE_FRAGMENT_TRYTES
#define TRYTE_MAX EXPOSURE_TRYTE_MAX
#define VALUES EXPOSURE_VALUES
#define LEVEL_MAX 3
#define LAST_FRAGMENT (LEVEL_MAX - 1)
#define SUM_MAX (TRYTES * TRYTE_MAX)

/* Beyond 3^242 / 2 either way a digest of 384 bits wraps around.  There are
 * 2^384 / 3^242 = 1.35573... digests to a word: one to each within 0.32213...
 * times 3^242 of zero, two to each beyond.  Each last tryte, -4 to 4, has a
 * ninth of the words; of those of 3 and -3, from 0.27778 to 0.38889, the outer
 * part counts twice. */
#define ONCE 0.0819563857206350
#define PARTLY_TWICE 0.1311962642571428
#define TWICE 0.1639127714412699
static const double last_weights[VALUES] = {
    [TRYTE_MAX - 4] = TWICE, [TRYTE_MAX - 3] = PARTLY_TWICE,
    [TRYTE_MAX - 2] = ONCE,  [TRYTE_MAX - 1] = ONCE,
    [TRYTE_MAX] = ONCE,      [TRYTE_MAX + 1] = ONCE,
    [TRYTE_MAX + 2] = ONCE,  [TRYTE_MAX + 3] = PARTLY_TWICE,
    [TRYTE_MAX + 4] = TWICE,
};

/* Room for windows that reach beyond the sums there are. */
#define MARGIN_SUMS 64
#define CENTRE (MARGIN_SUMS + SUM_MAX)
#define ROOM (2 * CENTRE + 1)

/* chance[CENTRE + S]: the probability that the values behind some place are
 * within reach and add up to S; zero beyond SUM_MAX. */
typedef struct {
    double chance[ROOM];
} sums;

/* Begin with the last value of all. */
static void begin(sums *ways, int reach, int fragment)
{
    memset(ways, 0, sizeof *ways);
    for (int value = -TRYTE_MAX; value <= reach; value++)
        ways->chance[CENTRE + value] = fragment == LAST_FRAGMENT
                                           ? last_weights[value + TRYTE_MAX]
                                           : 1.0 / VALUES;
}

/* Bring in the uniform value at `at`: each new sum is that of a window of
 * `reach` + 14 old ones.  It is put together from windows of 1, 2, 4, 8 and 16,
 * each two of those before. */
static void bring_in(sums *ways, int reach, int at)
{
    const int length = reach + TRYTE_MAX + 1;
    /* Further sums are not reached, or can not be made up for any more. */
    const int made = (TRYTES - at) * TRYTE_MAX;
    const int useful = at * TRYTE_MAX;
    const int span = made < useful ? made : useful;
    const int first = CENTRE - span;
    sums windows = *ways;

    memset(ways, 0, sizeof *ways);
    for (int bit = 1, done = 0; bit <= length; bit *= 2) {
        if (length & bit) {
            const double *from = windows.chance + first - reach + done;

            for (int i = 0; i <= 2 * span; i++)
                ways->chance[first + i] += from[i];
            done += bit;
        }
        for (int i = first - MARGIN_SUMS / 2; i <= CENTRE + span + TRYTE_MAX;
             i++)
            windows.chance[i] += windows.chance[i + bit];
    }
    for (int i = 0; i <= 2 * span; i++)
        ways->chance[first + i] /= VALUES;
}

static double ways_to(const sums *ways, int sum)
{
    return sum >= -SUM_MAX && sum <= SUM_MAX ? ways->chance[CENTRE + sum] : 0;
}

/* The part of the probability in which the value at k is the last one moved.
 * Values before it may be anything; what they become is within reach, or at
 * the top is when `top_before`. */
static double moved_last(const sums *ways, int k, int reach, int top_before)
{
    double part = 0;

    for (int value = -TRYTE_MAX; value <= reach; value++) {
        /* Lowered to `value` from any of value + 1 .. 13. */
        part += ways_to(ways, TRYTE_MAX * k - value) * (TRYTE_MAX - value);
        /* Raised to `value` from any of -13 .. value - 1. */
        if (top_before)
            part +=
                ways_to(ways, -TRYTE_MAX * k - value) * (value + TRYTE_MAX);
    }
    return part / VALUES;
}

double sk_fragment_bits(const int8_t reach[TRYTES], int fragment)
{
    sums ways;
    double probability = 0;
    int top_until = 0; /* how many trytes from the first reach 13 */

    for (int i = 0; i < TRYTES; i++)
        if (reach[i] == EXPOSURE_NOTHING)
            return INFINITY;
    while (top_until < TRYTES && reach[top_until] == TRYTE_MAX)
        top_until++;
    /* The last value is never moved: its weights do not matter there. */
    begin(&ways, reach[TRYTES - 1], fragment);
    for (int k = TRYTES - 2; k >= 0; k--) {
        probability += moved_last(&ways, k, reach[k], top_until >= k);
        bring_in(&ways, reach[k], k);
    }
    probability += ways_to(&ways, 0); /* nothing moved: the sum was 0 */
    return probability < 1 ? -log2(probability) : 0;
}

/* Check the reach of one to three fragments. */
static int check_reach(const int8_t *reach, size_t trytes)
{
    if (trytes == 0 || trytes % TRYTES != 0 || trytes > LEVEL_MAX * TRYTES)
        return SK_ERR_LENGTH;
    for (size_t i = 0; i < trytes; i++)
        if (reach[i] < EXPOSURE_NOTHING || reach[i] > TRYTE_MAX)
            return SK_ERR_RANGE;
    return SK_OK;
}

int sk_exposure(const int8_t *reach, size_t trytes, double *out_bits)
{
    const int status = check_reach(reach, trytes);

    if (status != SK_OK)
        return status;
    *out_bits = 0;
    for (size_t i = 0; i < trytes / TRYTES; i++)
        *out_bits += sk_fragment_bits(reach + i * TRYTES, (int)i);
    return SK_OK;
}
