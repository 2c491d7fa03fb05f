/* SPDX-License-Identifier: Apache-2.0
 *
 * What signatures of one key have given away.
 */
#ifndef SALTKEEP_EXPOSURE_H
#define SALTKEEP_EXPOSURE_H

#include <stdint.h>

#define EXPOSURE_FRAGMENT_TRYTES 27
#define EXPOSURE_TRYTE_MAX 13
#define EXPOSURE_VALUES 27
#define EXPOSURE_NOTHING (-14) /* a tryte that no signature has touched */

/* The bits of one fragment: -log2 of the probability that a random normalised
 * fragment is, in every tryte, at most `reach`, and so can be signed by
 * whoever holds the signatures.  Infinite when a tryte is untouched. */
double sk_fragment_bits(const int8_t reach[EXPOSURE_FRAGMENT_TRYTES],
                        int fragment);

#endif
