/* SPDX-License-Identifier: Apache-2.0
 *
 * Wipes that the compiler may not leave out.
 */
#ifndef SALTKEEP_WIPE_H
#define SALTKEEP_WIPE_H

#include <stddef.h>

/* Overwrite `size_bytes` at `data` with zeros. */
void sk_wipe(void *data, size_t size_bytes);

/* Overwrite the stack below the caller's frame: what the functions it has
 * called so far left there, spilled registers included. */
void sk_wipe_stack(void);

#if defined(__x86_64__)
/* Clear the vector registers, which nothing else may do before they are used
 * again: of AVX2, and of AVX-512 F. */
#define LOW_VECTORS_                                                          \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",           \
    "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",              \
    "xmm15"
#define HIGH_VECTORS_                                                         \
    "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",            \
    "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",            \
    "xmm30", "xmm31"
#define FORGET_VECTORS_256() __asm__ __volatile__("vzeroall" : : : LOW_VECTORS_)
#define FORGET_ZMM_(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define FORGET_VECTORS_512()                                                  \
    __asm__ __volatile__("vzeroall\n\t"                                       \
        FORGET_ZMM_(16) FORGET_ZMM_(17) FORGET_ZMM_(18) FORGET_ZMM_(19)       \
        FORGET_ZMM_(20) FORGET_ZMM_(21) FORGET_ZMM_(22) FORGET_ZMM_(23)       \
        FORGET_ZMM_(24) FORGET_ZMM_(25) FORGET_ZMM_(26) FORGET_ZMM_(27)       \
        FORGET_ZMM_(28) FORGET_ZMM_(29) FORGET_ZMM_(30) FORGET_ZMM_(31)       \
        : : : LOW_VECTORS_, HIGH_VECTORS_)
#endif

#endif
