/* SPDX-License-Identifier: Apache-2.0
 *
 * Eight hashes at a time: to be used where the processor has AVX-512 F and BW.
 */
#include "lanes.h"

#include "wipe.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define ENGINE_LANES 8
#define ENGINE_TARGET __attribute__((target("avx512f,avx512bw")))
#define ENGINE_NAME sk_lanes_512
#define ENGINE_BSWAP(v)                                                       \
    (vector)_mm512_shuffle_epi8(                                              \
        (__m512i)(v),                                                         \
        _mm512_set4_epi64(0x08090a0b0c0d0e0f, 0x0001020304050607,             \
                          0x08090a0b0c0d0e0f, 0x0001020304050607))
#define ENGINE_FORGET() FORGET_VECTORS_512()

/* The tables of three-input functions: 0x96 is a ^ b ^ c, 0xd2 a ^ (~b & c). */
#define ROTATE(lane, bits) (vector)_mm512_rol_epi64((__m512i)(lane), (bits))
#define XOR3(a, b, c)                                                         \
    (vector)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b),             \
                                      (__m512i)(c), 0x96)
#define CHI_LANE(a, b, c)                                                     \
    (vector)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b),             \
                                      (__m512i)(c), 0xd2)
#include "lanes_engine.h"
#endif
