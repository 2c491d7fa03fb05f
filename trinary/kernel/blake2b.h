/* SPDX-License-Identifier: Apache-2.0
 *
 * BLAKE2b without a key, and the long hash that Argon2 makes of it.
 */
#ifndef SALTKEEP_BLAKE2B_H
#define SALTKEEP_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

#define BLAKE2B_BLOCK_BYTES 128
#define BLAKE2B_OUT_BYTES 64

/* A hash that is being fed. */
typedef struct {
    uint64_t chain[8];
    uint8_t block[BLAKE2B_BLOCK_BYTES];
    size_t filled_bytes; /* of the block; a full one waits for more */
    uint64_t total_bytes; /* compressed so far */
    size_t out_bytes;
} sk_blake2b;

/* For a digest of 1 to 64 bytes. */
void sk_blake2b_init(sk_blake2b *state, size_t out_bytes);
void sk_blake2b_update(sk_blake2b *state, const uint8_t *data,
                       size_t size_bytes);
void sk_blake2b_update_32(sk_blake2b *state, uint32_t number);
/* Write the digest and wipe the state. */
void sk_blake2b_finish(sk_blake2b *state, uint8_t *out);

/* RFC 9106, section 3.3: a digest of any length. */
void sk_long_hash(uint8_t *out, uint32_t out_bytes, const uint8_t *data,
                  size_t size_bytes);

#endif
