/* SPDX-License-Identifier: Apache-2.0
 *
 * Which vectors to use: the widest that the processor has, or fewer bits where
 * a test or the environment asks for that.  Results never depend on it.
 */
#include "kernel.h"

#include <stdlib.h>

#define ENVIRONMENT "SALTKEEP_VECTOR_BITS"
#define NO_LIMIT 512
#define NOT_READ 0

/* The most bits to use, a power of two from 64 to 512. */
static int limit_bits = NOT_READ;

static int is_width(long bits)
{
    return bits == 64 || bits == 128 || bits == 256 || bits == 512;
}

static int processor_bits(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        return 512;
    if (__builtin_cpu_supports("avx2"))
        return 256;
#endif
    return 128;
}

static int limit_of_environment(void)
{
    const char *text = getenv(ENVIRONMENT);
    const long bits = text == NULL ? NO_LIMIT : strtol(text, NULL, 10);

    return is_width(bits) ? (int)bits : NO_LIMIT;
}

int sk_vector_bits(void)
{
    const int processor = processor_bits();
    int limit = __atomic_load_n(&limit_bits, __ATOMIC_RELAXED);

    if (limit == NOT_READ) {
        limit = limit_of_environment();
        __atomic_store_n(&limit_bits, limit, __ATOMIC_RELAXED);
    }
    return limit < processor ? limit : processor;
}

int sk_limit_vector_bits(int bits)
{
    if (bits != 0 && !is_width(bits))
        return SK_ERR_RANGE;
    __atomic_store_n(&limit_bits, bits == 0 ? NO_LIMIT : bits,
                     __ATOMIC_RELAXED);
    return SK_OK;
}
