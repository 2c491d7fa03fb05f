/* SPDX-License-Identifier: Apache-2.0
 *
 * What Argon2's fill loops of different vector widths share.
 */
#ifndef SALTKEEP_ARGON2_H
#define SALTKEEP_ARGON2_H

#include "kernel.h"

#define BLOCK_BYTES 1024
#define BLOCK_WORDS 128
#define SLICES 4
#define CACHE_LINE_BYTES 64

typedef struct {
    _Alignas(CACHE_LINE_BYTES) uint64_t word[BLOCK_WORDS];
} sk_block;

/* The memory, and which segment of it is to be filled. */
typedef struct {
    sk_block *memory; /* lane after lane */
    uint32_t variant;
    uint32_t passes;
    uint32_t lanes;
    uint32_t lane_blocks;
    uint32_t segment_blocks;
    uint32_t pass;
    uint32_t slice;
    uint32_t lane;
} sk_fill;

/* One vector width. */
typedef void sk_fill_segment(const sk_fill *fill);
sk_fill_segment sk_fill_segment_128;
sk_fill_segment sk_fill_segment_256;
sk_fill_segment sk_fill_segment_512;

/* Do the blocks looked back at depend on the password?  Where they do not,
 * they are told by address blocks. */
static inline int sk_fill_is_independent(const sk_fill *fill)
{
    return fill->variant == SK_ARGON2_I ||
           (fill->pass == 0 && fill->slice < SLICES / 2);
}

/* The block to look back at for the one at `index` of the segment, by 64
 * pseudo-random bits: RFC 9106, section 3.4.1.3. */
static inline const sk_block *sk_fill_reference(const sk_fill *fill,
                                                uint32_t index,
                                                uint64_t random)
{
    const uint32_t other = (uint32_t)(random >> 32);
    const int first_slice = fill->pass == 0 && fill->slice == 0;
    const uint32_t lane = fill->lanes == 1 || first_slice
                              ? fill->lane
                              : other % fill->lanes;
    /* Finished before this segment, in each lane. */
    uint32_t area = fill->pass == 0
                        ? fill->slice * fill->segment_blocks
                        : fill->lane_blocks - fill->segment_blocks;
    const uint32_t start =
        fill->pass == 0 || fill->slice == SLICES - 1
            ? 0
            : (fill->slice + 1) * fill->segment_blocks;
    uint64_t share = random & UINT32_MAX;
    uint32_t at;

    /* And in the own lane all but the block before; elsewhere the last one is
     * left out while this segment begins. */
    if (lane == fill->lane)
        area += index - 1;
    else if (index == 0)
        area -= 1;
    share = share * share >> 32;
    at = start + area - 1 - (uint32_t)(area * share >> 32);
    if (at >= fill->lane_blocks)
        at -= fill->lane_blocks;
    return fill->memory + (size_t)lane * fill->lane_blocks + at;
}

/* Begin to bring a block into the cache. */
static inline void sk_fill_prefetch(const sk_block *block)
{
    for (int i = 0; i < BLOCK_BYTES; i += CACHE_LINE_BYTES)
        __builtin_prefetch((const char *)block + i);
}

#endif
