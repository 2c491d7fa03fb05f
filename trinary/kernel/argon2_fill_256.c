/* SPDX-License-Identifier: Apache-2.0
 *
 * 256-bit vectors: to be used where the processor has AVX2.
 */
#include "argon2.h"

#if defined(__x86_64__)
#include "wipe.h"

#include <immintrin.h>

#define ENGINE_WORDS 4
#define ENGINE_TARGET __attribute__((target("avx2")))
#define ENGINE_NAME sk_fill_segment_256
#define ENGINE_FORGET() FORGET_VECTORS_256()

#define MULTIPLY(a, b) (vector)_mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#define BYTES(a, upper, lower)                                                \
    (vector)_mm256_shuffle_epi8(                                              \
        (__m256i)(a), _mm256_set_epi64x(upper, lower, upper, lower))
#define ROTATE(a, bits)                                                       \
    ((bits) == 32   ? (vector)_mm256_shuffle_epi32((__m256i)(a), 0xb1)        \
     : (bits) == 24 ? BYTES(a, 0x0a09080f0e0d0c0b, 0x0201000706050403)        \
     : (bits) == 16 ? BYTES(a, 0x09080f0e0d0c0b0a, 0x0100070605040302)        \
                    : (vector)(((a) >> 63) | ((a) + (a))))
#define JOIN(a, b)                                                            \
    (vector)_mm256_shuffle_pd((__m256d)(a), (__m256d)(b), 0x5)
#define TURN_1 0x39
#define TURN_2 0x4e
#define TURN_3 0x93
#define TURN(a, n)                                                            \
    (vector)_mm256_permute4x64_epi64((__m256i)(a), TURN_##n)
#include "argon2_fill.h"
#endif
