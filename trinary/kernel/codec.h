/* SPDX-License-Identifier: Apache-2.0
 *
 * Trytes to words and back.  Not in constant time: for public values, and for
 * seeds at import only.
 */
#ifndef SALTKEEP_CODEC_H
#define SALTKEEP_CODEC_H

#include "word.h"

#include <stddef.h>
#include <stdint.h>

#define TRITS_PER_TRYTE 3
#define TRYTE_INVALID 127

/* -13..13, or TRYTE_INVALID. */
int8_t sk_tryte_value(char tryte);
/* The tryte of -13..13. */
char sk_tryte_of(int value);

/* SK_OK, or SK_ERR_TRYTE for the first character that is no tryte. */
int sk_check_trytes(const char *trytes, size_t length_trytes);

/* Read 81 trytes; the 243rd trit is taken as 0. */
int sk_word_from_trytes(sk_word *word, const char trytes[WORD_TRYTES]);
/* Write a reduced word. */
void sk_word_to_trytes(const sk_word *word, char trytes[WORD_TRYTES]);

/* Trytes to trits of -1, 0, 1, the lowest first; three per tryte. */
int sk_trits_from_trytes(int8_t *trits, const char *trytes,
                         size_t length_trytes);
void sk_trytes_from_trits(char *trytes, const int8_t *trits,
                          size_t length_trytes);

#endif
