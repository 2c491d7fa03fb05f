/* SPDX-License-Identifier: Apache-2.0
 *
 * Argon2's fill loop, for one vector width.  Included once per width with
 *
 *   ENGINE_WORDS     how many 64-bit words a vector has: 2, 4 or 8
 *   ENGINE_TARGET    the function attribute that allows the instructions
 *   ENGINE_NAME      the function's name
 *   ENGINE_FORGET()  clear the vector registers
 *   MULTIPLY(a, b)   the products of the lower halves of each word
 *   ROTATE(a, n)     rotate right by 16, 24, 32 or 63 bits
 *   JOIN(a, b)       of each pair of words the upper one of a, the lower of b
 *   TURN(a, n)       of each four words the one n places on (4 and 8 words)
 *   LOWER(a, b), UPPER(a, b)  the halves of two vectors together (8 words)
 *
 * A block is eight rows of sixteen words; it is mixed along the rows and then
 * along columns two words wide.  What is looked back at next is told by word 0
 * of the new block, and word 0 is done with the first group of columns: while
 * the others are worked on, that block is on its way from memory.
 *
 * Source: RFC 9106, sections 3.4 to 3.6.
 */
typedef uint64_t vector
    __attribute__((vector_size(8 * ENGINE_WORDS), may_alias));

#define VECTORS (BLOCK_WORDS / ENGINE_WORDS)
#define ROW_VECTORS (16 / ENGINE_WORDS)
#define UNROLLED _Pragma("GCC unroll 16")

#define ADD(a, b) (a) += (b) + 2 * MULTIPLY(a, b)
#define MIX(a, b, c, d, turn_d, turn_b)                                       \
    do {                                                                      \
        ADD(a, b);                                                            \
        (d) = ROTATE((d) ^ (a), turn_d);                                      \
        ADD(c, d);                                                            \
        (b) = ROTATE((b) ^ (c), turn_b);                                      \
    } while (0)
/* Two independent ones at a time: each alone would wait for itself. */
#define MIX_BOTH(a, b, c, d, e, f, g, h)                                      \
    do {                                                                      \
        MIX(a, b, c, d, 32, 24);                                              \
        MIX(e, f, g, h, 32, 24);                                              \
        MIX(a, b, c, d, 16, 63);                                              \
        MIX(e, f, g, h, 16, 63);                                              \
    } while (0)

/* Mix sixteen words that lie two by two in a0 a1 b0 b1 c0 c1 d0 d1, and as many
 * more beside them as there is room for. */
#define PERMUTE_PAIRS(a0, a1, b0, b1, c0, c1, d0, d1)                         \
    do {                                                                      \
        vector b2_, b3_, d2_, d3_;                                            \
                                                                              \
        MIX_BOTH(a0, b0, c0, d0, a1, b1, c1, d1);                             \
        b2_ = JOIN(b0, b1);                                                   \
        b3_ = JOIN(b1, b0);                                                   \
        d2_ = JOIN(d1, d0);                                                   \
        d3_ = JOIN(d0, d1);                                                   \
        MIX_BOTH(a0, b2_, c1, d2_, a1, b3_, c0, d3_);                         \
        b0 = JOIN(b3_, b2_);                                                  \
        b1 = JOIN(b2_, b3_);                                                  \
        d0 = JOIN(d2_, d3_);                                                  \
        d1 = JOIN(d3_, d2_);                                                  \
    } while (0)

/* Mix twice sixteen words, each lying four by four. */
#define PERMUTE_FOURS(a, b, c, d, e, f, g, h)                                 \
    do {                                                                      \
        MIX_BOTH(a, b, c, d, e, f, g, h);                                     \
        b = TURN(b, 1);                                                       \
        c = TURN(c, 2);                                                       \
        d = TURN(d, 3);                                                       \
        f = TURN(f, 1);                                                       \
        g = TURN(g, 2);                                                       \
        h = TURN(h, 3);                                                       \
        MIX_BOTH(a, b, c, d, e, f, g, h);                                     \
        b = TURN(b, 3);                                                       \
        c = TURN(c, 2);                                                       \
        d = TURN(d, 1);                                                       \
        f = TURN(f, 3);                                                       \
        g = TURN(g, 2);                                                       \
        h = TURN(h, 1);                                                       \
    } while (0)

ENGINE_TARGET static inline __attribute__((always_inline)) void
mix_rows(vector z[VECTORS])
{
#if ENGINE_WORDS == 8
    UNROLLED for (vector *row = z; row < z + VECTORS; row += 8)
    {
        vector a = LOWER(row[0], row[2]), b = UPPER(row[0], row[2]);
        vector c = LOWER(row[1], row[3]), d = UPPER(row[1], row[3]);
        vector e = LOWER(row[4], row[6]), f = UPPER(row[4], row[6]);
        vector g = LOWER(row[5], row[7]), h = UPPER(row[5], row[7]);

        PERMUTE_FOURS(a, b, c, d, e, f, g, h);
        row[0] = LOWER(a, b), row[2] = UPPER(a, b);
        row[1] = LOWER(c, d), row[3] = UPPER(c, d);
        row[4] = LOWER(e, f), row[6] = UPPER(e, f);
        row[5] = LOWER(g, h), row[7] = UPPER(g, h);
    }
#elif ENGINE_WORDS == 4
    for (vector *row = z; row < z + VECTORS; row += 8)
        PERMUTE_FOURS(row[0], row[1], row[2], row[3], row[4], row[5], row[6],
                      row[7]);
#else
    for (vector *row = z; row < z + VECTORS; row += 8)
        PERMUTE_PAIRS(row[0], row[1], row[2], row[3], row[4], row[5], row[6],
                      row[7]);
#endif
}

/* As many columns as a vector is wide, beginning with vector `at` of a row. */
ENGINE_TARGET static inline __attribute__((always_inline)) void
mix_columns(vector z[VECTORS], int at)
{
    vector *column = z + at;

    PERMUTE_PAIRS(column[0 * ROW_VECTORS], column[1 * ROW_VECTORS],
                  column[2 * ROW_VECTORS], column[3 * ROW_VECTORS],
                  column[4 * ROW_VECTORS], column[5 * ROW_VECTORS],
                  column[6 * ROW_VECTORS], column[7 * ROW_VECTORS]);
}

/* Make a block of the one before and the one looked back at; on later passes
 * the one that it replaces comes in too.  Given a segment, return what the
 * block at `next` of it will look back at, already on its way. */
ENGINE_TARGET static inline __attribute__((always_inline)) const sk_block *
make_block(sk_block *block, const sk_block *before, const sk_block *back,
           int over, const sk_fill *fill, uint32_t next)
{
    const vector *x = (const vector *)before->word;
    const vector *y = (const vector *)back->word;
    vector *out = (vector *)block->word;
    const sk_block *next_back = NULL;
    vector z[VECTORS];

    UNROLLED for (int i = 0; i < VECTORS; i++)
        z[i] = x[i] ^ y[i];
    mix_rows(z);
    mix_columns(z, 0);
    if (fill != NULL) {
        const uint64_t word = z[0][0] ^ before->word[0] ^ back->word[0] ^
                              (over ? block->word[0] : 0);

        next_back = sk_fill_reference(fill, next, word);
        sk_fill_prefetch(next_back);
    }
    UNROLLED for (int at = 1; at < ROW_VECTORS; at++)
        mix_columns(z, at);
    if (over)
        UNROLLED for (int i = 0; i < VECTORS; i++)
            out[i] ^= z[i] ^ x[i] ^ y[i];
    else
        UNROLLED for (int i = 0; i < VECTORS; i++)
            out[i] = z[i] ^ x[i] ^ y[i];
    return next_back;
}

/* The next 128 pseudo-random words of an independent segment. */
ENGINE_TARGET static __attribute__((noinline)) void
make_addresses(sk_block *addresses, const sk_fill *fill, uint64_t counter)
{
    const sk_block zero = {{0}};
    const sk_block input = {{fill->pass, fill->lane, fill->slice,
                             (uint64_t)fill->lane_blocks * fill->lanes,
                             fill->passes, fill->variant, counter}};
    sk_block half;

    make_block(&half, &zero, &input, 0, NULL, 0);
    make_block(addresses, &zero, &half, 0, NULL, 0);
}

ENGINE_TARGET static void fill_independently(const sk_fill *fill,
                                             sk_block *lane, uint32_t first)
{
    const uint32_t begin = fill->slice * fill->segment_blocks;
    const int over = fill->pass > 0;
    const sk_block *back = NULL;
    sk_block addresses;

    make_addresses(&addresses, fill, 1);
    if (first < fill->segment_blocks)
        back = sk_fill_reference(fill, first, addresses.word[first]);
    for (uint32_t i = first; i < fill->segment_blocks; i++) {
        const uint32_t at = begin + i;
        const uint32_t next = i + 1;
        const sk_block *now = back;

        if (next % BLOCK_WORDS == 0)
            make_addresses(&addresses, fill, next / BLOCK_WORDS + 1);
        if (next < fill->segment_blocks) {
            back = sk_fill_reference(fill, next,
                                     addresses.word[next % BLOCK_WORDS]);
            sk_fill_prefetch(back);
        }
        make_block(&lane[at],
                   &lane[at == 0 ? fill->lane_blocks - 1 : at - 1], now, over,
                   NULL, 0);
    }
}

ENGINE_TARGET static void fill_dependently(const sk_fill *fill,
                                           sk_block *lane)
{
    const uint32_t begin = fill->slice * fill->segment_blocks;
    const int over = fill->pass > 0;
    const sk_block *before =
        &lane[begin == 0 ? fill->lane_blocks - 1 : begin - 1];
    const sk_block *back = sk_fill_reference(fill, 0, before->word[0]);

    for (uint32_t i = 0; i < fill->segment_blocks; i++) {
        sk_block *block = &lane[begin + i];

        /* What the segment's last block tells is of no use, and harmless. */
        back = make_block(block, before, back, over, fill, i + 1);
        before = block;
    }
}

ENGINE_TARGET void ENGINE_NAME(const sk_fill *fill)
{
    sk_block *lane = fill->memory + (size_t)fill->lane * fill->lane_blocks;

    /* The first two blocks of a lane are made before. */
    if (sk_fill_is_independent(fill))
        fill_independently(fill, lane,
                           fill->pass == 0 && fill->slice == 0 ? 2 : 0);
    else
        fill_dependently(fill, lane);
    ENGINE_FORGET();
}
