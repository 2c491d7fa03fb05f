/* SPDX-License-Identifier: Apache-2.0
 *
 * An allocator that hands out one piece of memory: for libraries that take
 * function pointers for theirs and nothing to know an arena by.  Python could
 * make such functions as well, but only in memory that is writable and
 * executable at once, which a hardened service denies.
 */
#include "kernel.h"

#include <stddef.h>
#include <stdint.h>

static _Thread_local uint8_t *lent;
static _Thread_local size_t lent_bytes;

void sk_lend(void *memory, size_t size_bytes)
{
    lent = memory;
    lent_bytes = size_bytes;
}

int sk_take_lent(uint8_t **memory, size_t size_bytes)
{
    if (lent == NULL || size_bytes > lent_bytes) {
        return SK_NOTHING_LENT;
    }
    *memory = lent;
    return 0;
}

void sk_give_back(uint8_t *memory, size_t size_bytes)
{
    (void)memory;
    (void)size_bytes;
}
