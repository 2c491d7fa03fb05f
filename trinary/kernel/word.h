/* SPDX-License-Identifier: Apache-2.0
 *
 * A word: 243 trits with the last one 0, held as a 384-bit number.
 *
 * Kerl moves between trits and bytes around every hash.  Because the last trit
 * is always 0, a word is one signed number of 384 bits, and a digest becomes
 * the next word by at most one addition of 3^242: no base conversion inside a
 * chain of hashes.
 *
 * Every function here runs in constant time.
 */
#ifndef SALTKEEP_WORD_H
#define SALTKEEP_WORD_H

#include "keccak.h"

#include <stdint.h>

#define WORD_LIMBS 6
#define WORD_BYTES 48
#define WORD_TRYTES 81

/* Two's complement; limb 0 is the most significant. */
typedef struct {
    uint64_t limb[WORD_LIMBS];
} sk_word;

/* (3^242 - 1) / 2, the largest value of 242 balanced trits. */
extern const sk_word sk_word_max;
/* 3^242 and -3^242, modulo 2^384. */
extern const sk_word sk_word_power;
extern const sk_word sk_word_minus_power;

void sk_word_from_bytes(sk_word *word, const uint8_t bytes[WORD_BYTES]);
void sk_word_to_bytes(const sk_word *word, uint8_t bytes[WORD_BYTES]);

/* sum = a + b modulo 2^384. */
void sk_word_add(sk_word *sum, const sk_word *a, const sk_word *b);

/* Zero the 243rd trit: bring any 384-bit value to -max..max by adding or
 * subtracting 3^242 at most once. */
void sk_word_reduce(sk_word *word);

/* Replace a word by its Keccak-384 digest, not reduced. */
void sk_word_keccak(sk_word *word);

/* Feed one word to a sponge; read a finished sponge's digest, not reduced. */
void sk_sponge_absorb_word(sk_sponge *sponge, const sk_word *word);
void sk_sponge_digest(const sk_sponge *sponge, sk_word *digest);

/* Kerl of some words. */
void sk_kerl_words(sk_word *hash, const sk_word *words, int count);

#endif
