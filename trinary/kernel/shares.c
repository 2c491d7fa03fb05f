/* SPDX-License-Identifier: Apache-2.0
 *
 * Shamir's secret sharing over GF(2^8): a polynomial through given points, byte
 * by byte.  Where the points are is public; their values are secret, and no
 * table is looked up with them.
 *
 * Source: SLIP-0039, "Sharing a secret"; the field is that of AES, with
 * x^8 + x^4 + x^3 + x + 1.
 */
#include "kernel.h"
#include "wipe.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define FIELD_POLYNOMIAL 0x11bu
#define POINTS_MAX 16
#define X_MAX 255

/* All bits of bit `at` of a number. */
static uint32_t spread(uint32_t number, int at)
{
    return 0u - ((number >> at) & 1);
}

static uint8_t multiply(uint8_t left, uint8_t right)
{
    uint32_t product = 0;
    uint32_t shifted = left;

    for (int i = 0; i < 8; i++) {
        product ^= shifted & spread(right, i);
        shifted = (shifted << 1) ^ (FIELD_POLYNOMIAL & spread(shifted, 7));
    }
    return (uint8_t)product;
}

/* number^254, which is 1 / number, and 0 for 0. */
static uint8_t invert(uint8_t number)
{
    uint8_t power = number;

    for (int i = 0; i < 6; i++)
        power = multiply(multiply(power, power), number);
    return multiply(power, power);
}

/* What the value of point `at` counts for at x: Lagrange's basis. */
static uint8_t basis(const uint8_t *xs, size_t count, size_t at, uint8_t x)
{
    uint8_t above = 1;
    uint8_t below = 1;

    for (size_t i = 0; i < count; i++)
        if (i != at) {
            above = multiply(above, x ^ xs[i]);
            below = multiply(below, xs[at] ^ xs[i]);
        }
    return multiply(above, invert(below));
}

static int check_points(const uint8_t *xs, size_t count, int x)
{
    if (count == 0 || count > POINTS_MAX || x < 0 || x > X_MAX)
        return SK_ERR_RANGE;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (xs[i] == xs[j])
                return SK_ERR_RANGE;
    return SK_OK;
}

/* Not inlined, so that the stack wipe of the caller covers its frame. */
static __attribute__((noinline)) void
interpolate(const uint8_t *xs, const uint8_t *values, size_t count,
            size_t size_bytes, uint8_t x, uint8_t *out)
{
    memset(out, 0, size_bytes);
    for (size_t i = 0; i < count; i++) {
        const uint8_t weight = basis(xs, count, i, x);

        for (size_t j = 0; j < size_bytes; j++)
            out[j] ^= multiply(values[i * size_bytes + j], weight);
    }
}

int sk_interpolate(const uint8_t *xs, const uint8_t *values, size_t count,
                   size_t size_bytes, int x, uint8_t *out)
{
    const int status = check_points(xs, count, x);

    if (status != SK_OK)
        return status;
    interpolate(xs, values, count, size_bytes, (uint8_t)x, out);
    sk_wipe_stack();
    return SK_OK;
}

int sk_random(uint8_t *out, size_t size_bytes)
{
    for (size_t done = 0; done < size_bytes;) {
        const ssize_t got = getrandom(out + done, size_bytes - done, 0);

        if (got < 0 && errno != EINTR)
            return SK_ERR_FAULT;
        if (got > 0)
            done += (size_t)got;
    }
    return SK_OK;
}
