/* SPDX-License-Identifier: Apache-2.0
 *
 * 512-bit vectors: to be used where the processor has AVX-512 F and BW.
 */
#include "argon2.h"

#if defined(__x86_64__)
#include "wipe.h"

#include <immintrin.h>

#define ENGINE_WORDS 8
#define ENGINE_TARGET __attribute__((target("avx512f,avx512bw")))
#define ENGINE_NAME sk_fill_segment_512
#define ENGINE_FORGET() FORGET_VECTORS_512()

#define MULTIPLY(a, b) (vector)_mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#define ROTATE(a, bits) (vector)_mm512_ror_epi64((__m512i)(a), (bits))
#define JOIN(a, b)                                                            \
    (vector)_mm512_shuffle_pd((__m512d)(a), (__m512d)(b), 0x55)
#define TURN_1 0x39
#define TURN_2 0x4e
#define TURN_3 0x93
#define TURN(a, n) (vector)_mm512_permutex_epi64((__m512i)(a), TURN_##n)
#define LOWER(a, b)                                                           \
    (vector)_mm512_shuffle_i64x2((__m512i)(a), (__m512i)(b), 0x44)
#define UPPER(a, b)                                                           \
    (vector)_mm512_shuffle_i64x2((__m512i)(a), (__m512i)(b), 0xee)
#include "argon2_fill.h"
#endif
