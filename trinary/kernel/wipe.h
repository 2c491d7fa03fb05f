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

#endif
