/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks for what the signing code leaves behind and for what it lets show.
 *
 *   probe stack   derive and sign on a stack of its own, then search that
 *                 stack for the seed, the key and the inside of every chain
 *   probe argon2  run Argon2 on such a stack, then search it for the salt,
 *                 which is the seed again, and for the tag
 *   probe paths   derive and walk the chains on a seed that valgrind takes for
 *                 uninitialised: it reports each branch or address made of it
 *   probe shares  the same for the values of shares
 *   probe leak    the same with a branch put in, to see the report
 *
 * Compiled with -DKEEP_SECRETS the wipes do nothing, to see the search find.
 */
#define _GNU_SOURCE
#include "winternitz.c"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size) ((void)(address))
#define VALGRIND_MAKE_MEM_DEFINED(address, size) ((void)(address))
#endif

#define STACK_BYTES (256 * 1024)
#define SECRET_STEPS 14
#define ARENA_KIB 64

#ifdef KEEP_SECRETS
void sk_wipe(void *data, size_t size_bytes)
{
    (void)data;
    (void)size_bytes;
}

void sk_wipe_stack(void)
{
}
#endif

static uint8_t *seed;
static uint64_t secrets[2 * WORD_LIMBS * (3 + KEY_CHUNKS * SECRET_STEPS)];
static size_t secret_count;

static void remember(const sk_word *word)
{
    for (int i = 0; i < WORD_LIMBS; i++) {
        secrets[secret_count++] = word->limb[i];
        secrets[secret_count++] = __builtin_bswap64(word->limb[i]);
    }
}

static int compare(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* An empty password puts the salt where the stack search would see it. */
static void use_argon2(uint8_t tag[WORD_BYTES])
{
    static _Alignas(64) uint8_t arena[ARENA_KIB * 1024];
    const sk_argon2_request request = {.variant = SK_ARGON2_ID,
                                       .passes = 2,
                                       .memory_kib = ARENA_KIB,
                                       .lanes = 1,
                                       .salt = seed,
                                       .salt_bytes = WORD_BYTES,
                                       .arena = arena,
                                       .arena_bytes = sizeof arena,
                                       .out = tag,
                                       .out_bytes = WORD_BYTES};

    if (sk_argon2(&request) != SK_OK)
        abort();
}

/* For a hash of zeros a signature is 13 steps on: all before is secret.  The
 * signature itself is no secret and wiped all the same: it shows that the
 * search looks where the lanes of vectors have been. */
static void remember_all(void)
{
    sk_word key[KEY_CHUNKS];
    uint8_t tag[WORD_BYTES];
    const uint8_t no_steps[KEY_CHUNKS] = {0};
    sk_word word;

    use_argon2(tag);
    sk_word_from_bytes(&word, tag);
    remember(&word);
    sk_word_from_bytes(&word, seed);
    remember(&word);
    derive_subseed(&word, seed, 0);
    remember(&word);
    sk_lanes_64.derive_chains(key, &word, no_steps, KEY_CHUNKS);
    for (int i = 0; i < KEY_CHUNKS; i++)
        for (int step = 0; step < SECRET_STEPS; step++) {
            remember(&key[i]);
            sk_word_keccak(&key[i]);
            sk_word_reduce(&key[i]);
        }
    qsort(secrets, secret_count, sizeof *secrets, compare);
}

static void *use_seed(void *unused)
{
    static char hash[WORD_TRYTES];
    static char signature[LEVEL_MAX * FRAGMENT_TRYTES];
    static char address[WORD_TRYTES];

    (void)unused;
    memset(hash, '9', sizeof hash);
    for (int level = 1; level <= LEVEL_MAX; level++)
        if (sk_address(seed, WORD_BYTES, level, 0, address) != SK_OK ||
            sk_sign(seed, WORD_BYTES, level, 0, hash, WORD_TRYTES, signature,
                    (size_t)level * FRAGMENT_TRYTES) != SK_OK)
            abort();
    return NULL;
}

static void *use_salt(void *unused)
{
    static uint8_t tag[WORD_BYTES];

    (void)unused;
    use_argon2(tag);
    return NULL;
}

static int search_stack(void *(*use)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;
    size_t found = 0;
    uint64_t *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (stack == MAP_FAILED)
        return 1;
    remember_all();
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK_BYTES);
    if (pthread_create(&thread, &attributes, use, NULL) != 0 ||
        pthread_join(thread, NULL) != 0)
        return 1;
    for (size_t i = 0; i < STACK_BYTES / sizeof *stack; i++)
        found += bsearch(&stack[i], secrets, secret_count, sizeof *secrets,
                         compare) != NULL;
    printf("%zu\n", found);
    return 0;
}

static int walk_paths(int leak)
{
    sk_word chunks[FRAGMENT_CHUNKS];
    sk_word digest;
    uint8_t steps[FRAGMENT_CHUNKS];

    for (int i = 0; i < FRAGMENT_CHUNKS; i++)
        steps[i] = (uint8_t)i;
    VALGRIND_MAKE_MEM_UNDEFINED(seed, WORD_BYTES);
    derive_subseed(&digest, seed, 7);
    sk_lanes()->derive_chains(chunks, &digest, steps, FRAGMENT_CHUNKS);
    sk_lanes()->run_chains(chunks, steps, FRAGMENT_CHUNKS);
    if (leak && (chunks[0].limb[0] & 1))
        puts("odd");
    sk_lanes()->hash_fragments(&digest, chunks, 1);
    VALGRIND_MAKE_MEM_DEFINED(&digest, sizeof digest);
    printf("%016llx\n", (unsigned long long)digest.limb[0]);
    return 0;
}

static int walk_shares(void)
{
    static const uint8_t xs[] = {3, 254, 255};
    uint8_t value[WORD_BYTES / 3];

    VALGRIND_MAKE_MEM_UNDEFINED(seed, WORD_BYTES);
    if (sk_interpolate(xs, seed, sizeof xs, sizeof value, 7, value) != SK_OK)
        return 1;
    VALGRIND_MAKE_MEM_DEFINED(value, sizeof value);
    printf("%02x\n", value[0]);
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    seed = malloc(WORD_BYTES);
    if (seed == NULL)
        return 1;
    for (int i = 0; i < WORD_BYTES; i++)
        seed[i] = (uint8_t)(0x5a + 37 * i);
    if (strcmp(arguments[1], "stack") == 0)
        return search_stack(use_seed);
    if (strcmp(arguments[1], "argon2") == 0)
        return search_stack(use_salt);
    if (strcmp(arguments[1], "shares") == 0)
        return walk_shares();
    return walk_paths(strcmp(arguments[1], "leak") == 0);
}
