/* SPDX-License-Identifier: Apache-2.0
 *
 * Many hashes at once: one state of Keccak in each lane of a vector.
 *
 * Every engine gives the same results, in constant time but for the numbers of
 * steps, which come from hashes that anyone may know.
 */
#ifndef SALTKEEP_LANES_H
#define SALTKEEP_LANES_H

#include "word.h"

#define LANES_MAX 8
#define FRAGMENT_WORDS 27
/* The most hashes in a chain. */
#define CHAIN_STEPS 26
/* The most chains. */
#define CHAINS_MAX 81
/* In a bundle's message, the lanes of the word that holds the first obsolete
 * tag: the second word. */
#define TAG_LANE WORD_LIMBS

/* One vector width. */
typedef struct {
    int lanes;
    /* Advance each word by its own number of hashes, at most CHAIN_STEPS. */
    void (*run_chains)(sk_word *words, const uint8_t *steps, int count);
    /* Derive the words of a key from its subseed, and advance them. */
    void (*derive_chains)(sk_word *words, const sk_word *subseed,
                          const uint8_t *steps, int count);
    /* Kerl of each fragment's 27 words, for one to three fragments. */
    void (*hash_fragments)(sk_word *digests, const sk_word *words,
                           int fragments);
    /* Hash a padded message of whole blocks once per lane, with another second
     * word in each.  In the message itself that word is zero. */
    void (*hash_tags)(const uint64_t *message, size_t blocks,
                      const sk_word *tags, sk_word *hashes);
} sk_lanes_engine;

/* The engine to use now; see sk_vector_bits(). */
const sk_lanes_engine *sk_lanes(void);

extern const sk_lanes_engine sk_lanes_64;
extern const sk_lanes_engine sk_lanes_256;
extern const sk_lanes_engine sk_lanes_512;

/* Choose the chains with the most hashes left, at most `lanes` of them; returns
 * how many there are, 0 at the end.  Always advancing the longest ones lets all
 * lanes end together. */
int sk_longest_chains(const uint8_t *left, int count, int lanes, int *chains);

#endif
