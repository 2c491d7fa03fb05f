/* SPDX-License-Identifier: Apache-2.0
 *
 * 256-bit vectors: to be used where the processor has AVX2.
 */
#include "pow.h"

#include <string.h>

#define ENGINE_BITS 256
#if defined(__x86_64__)
#define ENGINE_TARGET __attribute__((target("avx2")))
#else
#define ENGINE_TARGET
#endif
#define ENGINE_NAME sk_pow_engine_256
#include "pow_engine.h"
