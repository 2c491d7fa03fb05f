/* SPDX-License-Identifier: Apache-2.0
 *
 * 128-bit vectors: SSE2 or NEON, and plain C where there is neither.
 */
#include "argon2.h"

#define ENGINE_WORDS 2
#define ENGINE_TARGET
#define ENGINE_NAME sk_fill_segment_128
#define ENGINE_FORGET() ((void)0)

#define ROTATE(a, bits) (((a) >> (bits)) | ((a) << (64 - (bits))))
#if defined(__SSE2__)
#include <emmintrin.h>

#define MULTIPLY(a, b) (vector)_mm_mul_epu32((__m128i)(a), (__m128i)(b))
#define JOIN(a, b)                                                            \
    (vector)_mm_shuffle_pd((__m128d)(a), (__m128d)(b), 0x1)
#else
#define MULTIPLY(a, b) (((a) & UINT32_MAX) * ((b) & UINT32_MAX))
#define JOIN(a, b) ((vector){(a)[1], (b)[0]})
#endif
#include "argon2_fill.h"
