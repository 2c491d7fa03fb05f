/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process, notes every write, truncation, removal and sync of
 * files under one folder, in order, so that a test can rebuild what a power cut
 * would have left: what was synced, and nothing else.
 *
 * LOST_WRITES_FOLDER  absolute path of the folder
 * LOST_WRITES_LOG     file the records are appended to
 *
 * A record: kind (W T S U), then three little-endian 64-bit numbers (length of the
 * name, offset or size, length of the data), the name, the data. A removal counts
 * at once, which is the worse case for a log that is removed after a checkpoint.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void note(char kind, const char *name, uint64_t offset, const void *data,
                 uint64_t length)
{
    static int log_fd = -1;
    const char *path = getenv("LOST_WRITES_LOG");
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!path) return;
    pthread_mutex_lock(&one_at_a_time);
    if (log_fd < 0) log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    uint64_t size = strlen(name), total = 25 + size + length;
    unsigned char *record = malloc(total);
    if (record) {
        record[0] = (unsigned char)kind;
        memcpy(record + 1, &size, 8);
        memcpy(record + 9, &offset, 8);
        memcpy(record + 17, &length, 8);
        memcpy(record + 25, name, size);
        if (length) memcpy(record + 25 + size, data, length);
        if (real(log_fd, record, total) != (ssize_t)total) abort();
        free(record);
    }
    pthread_mutex_unlock(&one_at_a_time);
}

/* Returns the name of a file inside the folder, or NULL. */
static const char *inside(const char *path)
{
    const char *folder = getenv("LOST_WRITES_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    if (!length || strncmp(path, folder, length) || path[length] != '/') return NULL;
    return path + length + 1;
}

static const char *name_of(int fd, char *buffer, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, size - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return inside(buffer);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    char buffer[4096];
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    ssize_t done = real(fd, data, length, offset);
    const char *name = done > 0 ? name_of(fd, buffer, sizeof buffer) : NULL;
    if (name) note('W', name, (uint64_t)offset, data, (uint64_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite64(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length)
{
    char buffer[4096];
    REAL(ssize_t, "write", int, const void *, size_t);
    const char *name = fd > 2 ? name_of(fd, buffer, sizeof buffer) : NULL;
    off_t offset = name ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, data, length);
    if (name && done > 0) note('W', name, (uint64_t)offset, data, (uint64_t)done);
    return done;
}

int ftruncate64(int fd, off64_t size)
{
    char buffer[4096];
    REAL(int, "ftruncate64", int, off64_t);
    int failed = real(fd, size);
    const char *name = failed ? NULL : name_of(fd, buffer, sizeof buffer);
    if (name) note('T', name, (uint64_t)size, NULL, 0);
    return failed;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, int failed)
{
    char buffer[4096];
    const char *name = failed ? NULL : name_of(fd, buffer, sizeof buffer);
    if (name) note('S', name, 0, NULL, 0);
    return failed;
}

int fsync(int fd)
{
    REAL(int, "fsync", int);
    return synced(fd, real(fd));
}

int fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    return synced(fd, real(fd));
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    int failed = real(path);
    const char *name = failed ? NULL : inside(path);
    if (name) note('U', name, 0, NULL, 0);
    return failed;
}
