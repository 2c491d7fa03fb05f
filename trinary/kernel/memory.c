/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for secrets: not swapped, not dumped, not inherited, between guard
 * pages; and one large arena in huge pages.
 *
 * Source: mmap(2), mlock(2), madvise(2), prctl(2), as of Linux 4.14.
 */
#define _GNU_SOURCE
#include "kernel.h"
#include "wipe.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define MAPPING_BYTES_MAX ((size_t)1 << 40)

static size_t round_up(size_t size_bytes, size_t unit_bytes)
{
    return (size_bytes + unit_bytes - 1) / unit_bytes * unit_bytes;
}

/* Reserve address space that faults when touched. */
static int reserve(sk_mapping *mapping, size_t base_bytes)
{
    void *base = mmap(NULL, base_bytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return SK_ERR_MEMORY;
    memset(mapping, 0, sizeof *mapping);
    mapping->base = base;
    mapping->base_bytes = base_bytes;
    return SK_OK;
}

static void release(sk_mapping *mapping)
{
    munmap(mapping->base, mapping->base_bytes);
    memset(mapping, 0, sizeof *mapping);
}

/* Open the data part of a reservation and keep it out of dumps and children.
 * A kernel too old for either call is refused: nothing is left half done. */
static int open_data(sk_mapping *mapping, void *data, size_t data_bytes)
{
    mapping->data = data;
    mapping->data_bytes = data_bytes;
    if (mprotect(data, data_bytes, PROT_READ | PROT_WRITE) != 0 ||
        madvise(data, data_bytes, MADV_DONTDUMP) != 0 ||
        madvise(data, data_bytes, MADV_WIPEONFORK) != 0) {
        release(mapping);
        return SK_ERR_MEMORY;
    }
    return SK_OK;
}

static void lock_data(sk_mapping *mapping)
{
    mapping->locked = mlock(mapping->data, mapping->data_bytes) == 0;
    mapping->lock_errno = mapping->locked ? 0 : errno;
}

/* SK_ERR_LOCK leaves a usable mapping: the caller decides. */
int sk_map_locked(size_t size_bytes, sk_mapping *out)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t data_bytes;
    int status;

    if (size_bytes == 0 || size_bytes > MAPPING_BYTES_MAX)
        return SK_ERR_RANGE;
    data_bytes = round_up(size_bytes, page_bytes);
    status = reserve(out, data_bytes + 2 * page_bytes);
    if (status == SK_OK)
        status = open_data(out, (char *)out->base + page_bytes, data_bytes);
    if (status != SK_OK)
        return status;
    lock_data(out);
    return out->locked ? SK_OK : SK_ERR_LOCK;
}

int sk_map_huge(size_t size_bytes, sk_mapping *out)
{
    size_t data_bytes;
    uintptr_t aligned;
    int status;

    if (size_bytes == 0 || size_bytes > MAPPING_BYTES_MAX)
        return SK_ERR_RANGE;
    data_bytes = round_up(size_bytes, HUGE_PAGE_BYTES);
    /* What alignment leaves over on both sides stays closed: guards. */
    status = reserve(out, data_bytes + 2 * HUGE_PAGE_BYTES);
    if (status != SK_OK)
        return status;
    aligned = round_up((uintptr_t)out->base + 1, HUGE_PAGE_BYTES);
    status = open_data(out, (void *)aligned, data_bytes);
    if (status != SK_OK)
        return status;
    /* Advice only: without huge pages it is slower, not wrong. */
    (void)madvise(out->data, data_bytes, MADV_HUGEPAGE);
    /* Touch every page now, or the first hash would pay for the faults. */
    sk_wipe(out->data, data_bytes);
    lock_data(out);
    return out->locked ? SK_OK : SK_ERR_LOCK;
}

int sk_unmap(sk_mapping *mapping)
{
    if (mapping->base == NULL)
        return SK_OK;
    sk_wipe(mapping->data, mapping->data_bytes);
    release(mapping);
    return SK_OK;
}

int sk_wipe_bytes(void *data, size_t size_bytes)
{
    sk_wipe(data, size_bytes);
    return SK_OK;
}

int sk_lock_all_memory(void)
{
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        return SK_ERR_LOCK;
    return SK_OK;
}

int sk_make_undumpable(void)
{
    const struct rlimit no_core = {0, 0};

    if (setrlimit(RLIMIT_CORE, &no_core) != 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return SK_ERR_FAULT;
    return SK_OK;
}
