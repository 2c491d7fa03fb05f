/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "threads.h"

#include "kernel.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

typedef struct {
    void (*run)(void *shared, int number);
    void *shared;
    int number;
    pthread_t handle;
} worker;

static void *run_worker(void *argument)
{
    const worker *self = argument;

    self->run(self->shared, self->number);
    return NULL;
}

int sk_run_threads(int count, void (*run)(void *shared, int number),
                   void *shared)
{
    worker *workers = calloc((size_t)count, sizeof *workers);
    sigset_t all_signals, previous;
    int started = 1;

    if (workers == NULL)
        return SK_ERR_MEMORY;
    for (int i = 0; i < count; i++)
        workers[i] = (worker){.run = run, .shared = shared, .number = i};
    /* New threads inherit the mask: signals stay with the caller's threads. */
    sigfillset(&all_signals);
    pthread_sigmask(SIG_SETMASK, &all_signals, &previous);
    while (started < count &&
           pthread_create(&workers[started].handle, NULL, run_worker,
                          &workers[started]) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    run_worker(&workers[0]);
    for (int i = 1; i < started; i++)
        pthread_join(workers[i].handle, NULL);
    free(workers);
    return SK_OK;
}
