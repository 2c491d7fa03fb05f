/* SPDX-License-Identifier: Apache-2.0
 *
 * Keccak in the lanes of a vector, for one vector width.  Included once per
 * width with
 *
 *   ENGINE_LANES    how many 64-bit lanes a vector has
 *   ENGINE_TARGET   the function attribute that allows the instructions
 *   ENGINE_NAME     the engine's symbol
 *   ENGINE_BSWAP(v) the bytes of each lane reversed
 *   ENGINE_FORGET() clear the vector registers
 *
 * and with ROTATE, XOR3 and CHI_LANE of keccak_round.h.  No helper takes a
 * vector by value: that would need the wide registers in the calling
 * convention of translation units without them.  Branches depend on the
 * numbers of steps only.
 */
typedef uint64_t vector __attribute__((vector_size(8 * ENGINE_LANES)));
typedef int64_t signed_vector __attribute__((vector_size(8 * ENGINE_LANES)));

/* Half a chain: chains that do not fill the lanes evenly are shared out. */
#define STEPS_AT_ONCE (CHAIN_STEPS / 2)

#define LANE vector
#include "keccak_round.h"

/* One word per lane; limb 0 is the most significant. */
typedef struct {
    vector limb[WORD_LIMBS];
} words;

ENGINE_TARGET static void permute(vector lanes[KECCAK_LANES])
{
    DECLARE(A);
    DECLARE(E);

    ALL_PLANES(LOAD, A);
    for (int round = 0; round < KECCAK_ROUNDS; round += 2) {
        ROUND(A, E, sk_keccak_constants[round]);
        ROUND(E, A, sk_keccak_constants[round + 1]);
    }
    ALL_PLANES(STORE, A);
}

/* In each lane, which limbs of a sum are carried into; a carry is a lane of
 * ones, as comparing gives it, so that adding it is subtracting.  Only the last
 * line waits for the limb before. */
#define CARRIES(carry, sum, term)                                             \
    for (int i = WORD_LIMBS - 1; i >= 0; i--) {                               \
        const vector made = (vector)((sum)[i] < (term)[i]);                   \
        const vector passed_on = (vector)((sum)[i] == ~(vector){0});          \
                                                                              \
        (carry)[i] = made | (passed_on & (carry)[i + 1]);                     \
    }

/* sk_word_reduce() in every lane. */
ENGINE_TARGET static inline void reduce(words *word)
{
    const vector negative = (vector)((signed_vector)word->limb[0] < 0);
    vector carry[WORD_LIMBS + 1];
    vector sum[WORD_LIMBS];
    vector term[WORD_LIMBS];

    for (int i = 0; i < WORD_LIMBS; i++) {
        term[i] = word->limb[i] ^ negative;
        sum[i] = term[i] + ~sk_word_max.limb[i];
    }
    carry[WORD_LIMBS] = negative;
    CARRIES(carry, sum, term);
    for (int i = 0; i < WORD_LIMBS; i++) {
        term[i] = carry[0] & ((negative & sk_word_power.limb[i]) |
                              (~negative & sk_word_minus_power.limb[i]));
        sum[i] = word->limb[i] + term[i];
    }
    carry[WORD_LIMBS] = (vector){0};
    CARRIES(carry, sum, term);
    for (int i = 0; i < WORD_LIMBS; i++)
        word->limb[i] = sum[i] - carry[i + 1];
}

/* The digest in a finished state, not reduced. */
ENGINE_TARGET static inline void read_digest(words *word,
                                             const vector lanes[KECCAK_LANES])
{
    for (int i = 0; i < WORD_LIMBS; i++)
        word->limb[i] = ENGINE_BSWAP(lanes[i]);
}

/* sk_word_keccak() in every lane. */
ENGINE_TARGET static void hash_words(words *word)
{
    vector lanes[KECCAK_LANES] = {{0}};

    for (int i = 0; i < WORD_LIMBS; i++)
        lanes[i] = ENGINE_BSWAP(word->limb[i]);
    lanes[WORD_LIMBS] += 1;
    lanes[KECCAK_384_RATE_LANES - 1] += (uint64_t)1 << 63;
    permute(lanes);
    read_digest(word, lanes);
}

ENGINE_TARGET static inline void put_lane(words *to, int lane,
                                          const sk_word *word)
{
    for (int i = 0; i < WORD_LIMBS; i++)
        to->limb[i][lane] = word->limb[i];
}

ENGINE_TARGET static inline void get_lane(sk_word *word, const words *from,
                                          int lane)
{
    for (int i = 0; i < WORD_LIMBS; i++)
        word->limb[i] = from->limb[i][lane];
}

/* A few steps at a time for the chains that have the most left. */
ENGINE_TARGET static void run_left(sk_word *all, uint8_t *left, int count)
{
    int chains[ENGINE_LANES];
    words now = {{{0}}};
    int taken;

    while ((taken = sk_longest_chains(left, count, ENGINE_LANES, chains)) > 0) {
        int common = STEPS_AT_ONCE;

        for (int lane = 0; lane < taken; lane++) {
            put_lane(&now, lane, &all[chains[lane]]);
            if (left[chains[lane]] < common)
                common = left[chains[lane]];
        }
        for (int step = 0; step < common; step++) {
            hash_words(&now);
            reduce(&now);
        }
        for (int lane = 0; lane < taken; lane++) {
            get_lane(&all[chains[lane]], &now, lane);
            left[chains[lane]] = (uint8_t)(left[chains[lane]] - common);
        }
    }
}

ENGINE_TARGET static void run_chains(sk_word *all, const uint8_t *steps,
                                     int count)
{
    uint8_t left[CHAINS_MAX];

    memcpy(left, steps, (size_t)count);
    run_left(all, left, count);
    ENGINE_FORGET();
}

/* Words come one from the other, so one lane, the first, derives them all;
 * meanwhile the others advance those that there are. */
ENGINE_TARGET static void derive_chains(sk_word *all, const sk_word *subseed,
                                        const uint8_t *steps, int count)
{
    const vector deriving = {~(uint64_t)0};
    uint8_t left[CHAINS_MAX];
    int chain[ENGINE_LANES]; /* -1: none */
    words now = {{{0}}};
    words reduced;
    int next = 0;

    memcpy(left, steps, (size_t)count);
    memset(chain, -1, sizeof chain);
    put_lane(&now, 0, subseed);
    for (int made = 0; made < count; made++) {
        hash_words(&now);
        reduced = now;
        reduce(&reduced);
        get_lane(&all[made], &reduced, 0);
        /* Kerl squeezes on by hashing the digest with every bit flipped. */
        for (int i = 0; i < WORD_LIMBS; i++)
            now.limb[i] = (deriving & ~now.limb[i]) |
                          (~deriving & reduced.limb[i]);
        for (int lane = 1; lane < ENGINE_LANES; lane++) {
            if (chain[lane] >= 0 && --left[chain[lane]] == 0) {
                get_lane(&all[chain[lane]], &reduced, lane);
                chain[lane] = -1;
            }
            while (next <= made && left[next] == 0)
                next++;
            if (chain[lane] < 0 && next <= made) {
                chain[lane] = next++;
                put_lane(&now, lane, &all[chain[lane]]);
            }
        }
    }
    for (int lane = 1; lane < ENGINE_LANES; lane++)
        if (chain[lane] >= 0)
            get_lane(&all[chain[lane]], &now, lane);
    run_left(all, left, count);
    ENGINE_FORGET();
}

/* XOR one block's lane into the states of all fragments. */
ENGINE_TARGET static inline void absorb_lane(vector *lane, int at,
                                             const sk_word *all, int fragments)
{
    const int word = at / WORD_LIMBS;
    vector limbs = {0};

    if (word < FRAGMENT_WORDS)
        for (int i = 0; i < fragments; i++)
            limbs[i] =
                all[i * FRAGMENT_WORDS + word].limb[at % WORD_LIMBS];
    *lane ^= ENGINE_BSWAP(limbs);
    if (at == FRAGMENT_WORDS * WORD_LIMBS)
        *lane ^= 1;
}

ENGINE_TARGET static void hash_fragments(sk_word *digests, const sk_word *all,
                                         int fragments)
{
    vector lanes[KECCAK_LANES] = {{0}};
    words digest;

    for (int at = 0; at <= FRAGMENT_WORDS * WORD_LIMBS;) {
        for (int i = 0; i < KECCAK_384_RATE_LANES; i++, at++)
            absorb_lane(&lanes[i], at, all, fragments);
        if (at > FRAGMENT_WORDS * WORD_LIMBS)
            lanes[KECCAK_384_RATE_LANES - 1] ^= (uint64_t)1 << 63;
        permute(lanes);
    }
    read_digest(&digest, lanes);
    reduce(&digest);
    for (int i = 0; i < fragments; i++)
        get_lane(&digests[i], &digest, i);
    ENGINE_FORGET();
}

ENGINE_TARGET static void hash_tags(const uint64_t *message, size_t blocks,
                                    const sk_word *tags, sk_word *hashes)
{
    vector lanes[KECCAK_LANES] = {{0}};
    words word;

    for (int lane = 0; lane < ENGINE_LANES; lane++)
        put_lane(&word, lane, &tags[lane]);
    for (int i = 0; i < WORD_LIMBS; i++)
        lanes[TAG_LANE + i] = ENGINE_BSWAP(word.limb[i]);
    for (size_t block = 0; block < blocks; block++) {
        for (int i = 0; i < KECCAK_384_RATE_LANES; i++)
            lanes[i] ^= message[block * KECCAK_384_RATE_LANES + (size_t)i];
        permute(lanes);
    }
    read_digest(&word, lanes);
    reduce(&word);
    for (int lane = 0; lane < ENGINE_LANES; lane++)
        get_lane(&hashes[lane], &word, lane);
}

const sk_lanes_engine ENGINE_NAME = {ENGINE_LANES, run_chains, derive_chains,
                                     hash_fragments, hash_tags};
