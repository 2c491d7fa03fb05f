/* SPDX-License-Identifier: Apache-2.0
 *
 * Four hashes at a time: to be used where the processor has AVX2.
 */
#include "lanes.h"

#include "wipe.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define ENGINE_LANES 4
#define ENGINE_TARGET __attribute__((target("avx2")))
#define ENGINE_NAME sk_lanes_256
#define ENGINE_BSWAP(v)                                                       \
    (vector)_mm256_shuffle_epi8(                                              \
        (__m256i)(v),                                                         \
        _mm256_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607,             \
                          0x08090a0b0c0d0e0f, 0x0001020304050607))
#define ENGINE_FORGET() FORGET_VECTORS_256()

#define ROTATE(lane, bits) (((lane) << (bits)) | ((lane) >> (64 - (bits))))
#define XOR3(a, b, c) ((a) ^ (b) ^ (c))
#define CHI_LANE(a, b, c) ((a) ^ (~(b) & (c)))
#include "lanes_engine.h"
#endif
