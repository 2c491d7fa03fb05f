/* SPDX-License-Identifier: Apache-2.0
 *
 * The same work on several threads.
 */
#ifndef SALTKEEP_THREADS_H
#define SALTKEEP_THREADS_H

#define THREADS_MAX 729

/* Call run(shared, number) for each number below `count`, each on a thread of
 * its own, the caller's for 0, and wait for all.  When the system has fewer
 * threads to give, the highest numbers are not called: work has to be shared
 * out so that this is slower, not wrong. */
int sk_run_threads(int count, void (*run)(void *shared, int number),
                   void *shared);

#endif
