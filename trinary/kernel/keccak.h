/* SPDX-License-Identifier: Apache-2.0
 *
 * Keccak-384 as it was before SHA-3 changed the padding.
 */
#ifndef SALTKEEP_KECCAK_H
#define SALTKEEP_KECCAK_H

#include <stddef.h>
#include <stdint.h>

#define KECCAK_LANES 25
#define KECCAK_ROUNDS 24
#define KECCAK_384_RATE_BYTES 104
#define KECCAK_384_RATE_LANES 13
#define KECCAK_384_DIGEST_BYTES 48
#define KECCAK_384_DIGEST_LANES 6

/* A sponge that is being filled. */
typedef struct {
    uint64_t lanes[KECCAK_LANES];
    size_t filled_bytes; /* of the current block, below the rate */
} sk_sponge;

extern const uint64_t sk_keccak_constants[KECCAK_ROUNDS];

/* Keccak-f[1600] in place. */
void sk_keccak_f1600(uint64_t lanes[KECCAK_LANES]);

void sk_sponge_init(sk_sponge *sponge);
void sk_sponge_absorb(sk_sponge *sponge, const uint8_t *data,
                      size_t length_bytes);
/* Pad and permute; the digest is then in the first six lanes. */
void sk_sponge_finish(sk_sponge *sponge);

#endif
