/* SPDX-License-Identifier: Apache-2.0
 *
 * What signing and mining share.
 */
#ifndef SALTKEEP_WINTERNITZ_H
#define SALTKEEP_WINTERNITZ_H

#include <stdint.h>

#define FRAGMENT_CHUNKS 27
#define TRYTE_MAX 13

/* Balance one third of a hash so that its values sum to zero, moving the
 * first that can still move. */
void sk_normalise_fragment(int8_t values[FRAGMENT_CHUNKS]);

#endif
