/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's whole outside: what the Python face may call.
 *
 * The part between the two cffi marks is read by build_kernel.py as it stands,
 * so it holds plain declarations only.  Rules that hold for every function:
 *
 * - It returns SK_OK or one negative SK_ERR_* code and, on failure, leaves the
 *   outputs without meaning.
 * - It checks every length and range it is given; trytes are ASCII `9A-Z`, not
 *   terminated.
 * - Secrets come in by pointer and are read in place.  What is computed from
 *   them is wiped from heap and stack before the return, and neither a branch
 *   nor an address depends on it.
 */
#ifndef SALTKEEP_KERNEL_H
#define SALTKEEP_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */

#define SK_OK 0
#define SK_ERR_LENGTH -1    /* a buffer has the wrong length */
#define SK_ERR_TRYTE -2     /* a character is not one of 9A-Z */
#define SK_ERR_RANGE -3     /* a number is outside its range */
#define SK_ERR_MEMORY -4    /* memory or a thread could not be had */
#define SK_ERR_CANCELLED -5 /* the caller's flag was raised */
#define SK_ERR_LOCK -6      /* memory could not be locked; errno tells why */
#define SK_ERR_FAULT -7     /* a result failed its own check */

/* One private mapping.  `data` is what callers use; `base` includes guards. */
typedef struct {
    void *base;
    size_t base_bytes;
    void *data;
    size_t data_bytes;
    int locked;
    int lock_errno;
} sk_mapping;

/* The best tag of a search. */
typedef struct {
    int64_t candidate;   /* how far from the first tag, or SK_MINE_NONE */
    double bits;         /* what it leaves of the key */
    double top_estimate; /* the largest sum of table values seen */
} sk_mined;

/* What Argon2 is asked for; pointers may be NULL where there are no bytes. */
typedef struct {
    uint32_t variant; /* SK_ARGON2_I or SK_ARGON2_ID */
    uint32_t passes;
    uint32_t memory_kib; /* at least 8 for each lane */
    uint32_t lanes;
    const uint8_t *password;
    size_t password_bytes;
    const uint8_t *salt;
    size_t salt_bytes;
    const uint8_t *secret;
    size_t secret_bytes;
    const uint8_t *associated;
    size_t associated_bytes;
    void *arena; /* at least memory_kib, aligned to 64 bytes */
    size_t arena_bytes;
    uint8_t *out;
    size_t out_bytes; /* at least 4 */
} sk_argon2_request;

#define SK_ARGON2_I 1
#define SK_ARGON2_ID 2
#define SK_ARGON2_LANES_MAX 16777215
#define SK_ARGON2_MEMORY_MAX 2147483647

#define SK_MINE_NONE -1
#define SK_MINE_MAX 4611686018427387904 /* tags in one call: 2^62 */

int sk_bytes_from_trytes(const char *trytes, size_t length_trytes,
                         uint8_t *out_48);
int sk_trytes_from_bytes(const uint8_t *bytes, size_t length_bytes,
                         char *out_81);

int sk_keccak_384(const uint8_t *data, size_t length_bytes, uint8_t *out_48);
int sk_kerl(const char *trytes, size_t length_trytes, char *out_81);
int sk_curl(const char *trytes, size_t length_trytes, int rounds,
            char *out_81);

int sk_normalise(const char *hash, size_t length_trytes, int8_t *out_81);
int sk_address(const uint8_t *seed, size_t seed_bytes, int level,
               int64_t index, char *out_81);
int sk_sign(const uint8_t *seed, size_t seed_bytes, int level, int64_t index,
            const char *bundle_hash, size_t hash_trytes, char *out,
            size_t out_trytes);
int sk_address_from_signature(const char *fragments, size_t fragments_trytes,
                              const char *bundle_hash, size_t hash_trytes,
                              char *out_81);

/* `width_bits` of 0 takes the widest vectors that this processor has, which
 * sk_pow_width_bits() tells; 128 and 256 are for tests. */
int sk_pow(const char *trytes, size_t length_trytes, int min_weight_magnitude,
           int threads, const char *start, size_t start_trytes,
           int width_bits, const int32_t *cancel, char *out_27);
int sk_pow_width_bits(void);
int sk_cancel(int32_t *cancel);

/* `reach` is the largest value signed in each tryte of the one to three
 * fragments used, -14 where there is none. */
int sk_exposure(const int8_t *reach, size_t reach_trytes, double *out_bits);

/* One table value for each used tryte and value of -13..13: how good it is that
 * a second signature has that value there.  Only differences mean anything. */
int sk_mine_estimates(const int8_t *reach, size_t reach_trytes, double *out);
/* Try `count` obsolete tags of the first transaction, from the one given
 * upward, for more bits than best->bits.  A search in parts hands on `best`,
 * which begins as {-1, -1, -INFINITY}; the candidate is counted anew. */
int sk_mine(const char *essences, size_t length_trytes, const int8_t *reach,
            size_t reach_trytes, const double *estimates, int64_t count,
            int threads, const int32_t *cancel, sk_mined *best);

/* How many bits of vectors are in use.  A limit of 64, 128, 256 or 512 leaves
 * wider ones alone, 0 takes all that the processor has; before the first call
 * the limit is that of the environment: SALTKEEP_VECTOR_BITS. */
int sk_vector_bits(void);
int sk_limit_vector_bits(int bits);

/* The value at x of the polynomial over GF(2^8) through `count` points, 1 to
 * 16, whose values of `size_bytes` each stand one after the other. */
int sk_interpolate(const uint8_t *xs, const uint8_t *values, size_t count,
                   size_t size_bytes, int x, uint8_t *out);
int sk_random(uint8_t *out, size_t size_bytes);

/* RFC 9106, version 0x13, on this thread.  What the arena held is wiped. */
int sk_argon2(const sk_argon2_request *request);

/* Memory for a library on this thread that asks sk_take_lent for it; NULL ends
 * the loan.  The status is ARGON2_MEMORY_ALLOCATION_ERROR of its reference. */
#define SK_NOTHING_LENT -22
void sk_lend(void *memory, size_t size_bytes);
int sk_take_lent(uint8_t **memory, size_t size_bytes);
void sk_give_back(uint8_t *memory, size_t size_bytes);

int sk_map_locked(size_t size_bytes, sk_mapping *out);
int sk_map_huge(size_t size_bytes, sk_mapping *out);
int sk_unmap(sk_mapping *mapping);
int sk_wipe_bytes(void *data, size_t size_bytes);
int sk_lock_all_memory(void);
int sk_make_undumpable(void);

/* cffi: end */

#endif
