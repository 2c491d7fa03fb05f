/* SPDX-License-Identifier: Apache-2.0 */
#include "wipe.h"

#include <string.h>

/* Deeper than any call chain below a public function that touches secrets:
 * the largest is sk_sign's frame (under 6 KiB) with eight states of Keccak in
 * vectors below it (under 8 KiB). */
#define STACK_WIPE_BYTES 16384

void sk_wipe(void *data, size_t size_bytes)
{
    memset(data, 0, size_bytes);
    /* The empty statement "reads" the memory, so the memset has to happen. */
    __asm__ __volatile__("" : : "r"(data) : "memory");
}

__attribute__((noinline)) void sk_wipe_stack(void)
{
    unsigned char frame[STACK_WIPE_BYTES];

    sk_wipe(frame, sizeof frame);
}
