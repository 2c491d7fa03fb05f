/* SPDX-License-Identifier: Apache-2.0
 *
 * 128-bit vectors: SSE2 or NEON, and plain C where there is neither.
 */
#include "pow.h"

#include <string.h>

#define ENGINE_BITS 128
#define ENGINE_TARGET
#define ENGINE_NAME sk_pow_engine_128
#include "pow_engine.h"
