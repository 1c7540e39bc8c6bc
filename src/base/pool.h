/* Threads that work on one job together, and the two things such a job needs: a barrier, and a
 * queue of blocks that is dealt out evenly first and stolen from afterwards.
 *
 * Waiting (for a job, at a barrier) spins about 10 µs and then sleeps on a futex: a quiet barrier on
 * two cores costs a fraction of a microsecond, and a core that somebody else needs is given up.
 *
 * A job never fails by itself: what can go wrong inside is recorded through `arg`. */
#ifndef PLUMB_BASE_POOL_H
#define PLUMB_BASE_POOL_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdint.h>

#define POOL_THREADS_MAX 64

typedef struct ThreadPool ThreadPool;

/* The job as each worker runs it: worker number `thread` of `threads`. */
typedef void (*PoolFn)(void *arg, int thread, int threads);

/* Start a pool of 1..POOL_THREADS_MAX workers. The thread that calls pool_run is worker 0, so
 * threads - 1 are started, with every signal blocked. ST_INVALID for another count. *out is owned. */
MUST_USE Status pool_create(ThreadPool **out, int threads, Error *err);
void pool_destroy(ThreadPool *pool); /* NULL is fine; not while a job runs */

int pool_threads(const ThreadPool *pool);

/* Run fn(arg, t, threads) once on every worker and return when all have returned. What the caller
 * wrote before is visible to the workers, what they wrote is visible to the caller afterwards.
 * One job at a time: a call while another runs, from inside it too, is a CHECK failure. */
void pool_run(ThreadPool *pool, PoolFn fn, void *arg);

/* Inside a job only, and by every worker the same number of times: wait until all have arrived.
 * What was written before the barrier is visible behind it. */
void pool_barrier(ThreadPool *pool);

/* Blocks 0 … blocks-1 of a piece of work. Every worker first gets its own consecutive share and then
 * takes what is left of the others' shares, so a slow worker delays nobody for long. Which worker gets
 * a block changes from run to run: the result of a block must not depend on that.
 *
 * Set up by one thread while nobody takes from it (before pool_run, or with a barrier between), then
 * any worker takes. A job with several steps alternates two queues: worker 0 sets up the queue of step
 * i + 1 before the barrier that ends step i. */
typedef struct {
    int threads;
    struct {
        _Atomic int64_t next;
        int64_t end;
        char pad[64 - 2 * sizeof(int64_t)]; /* a cache line for each worker's counter */
    } share[POOL_THREADS_MAX];
} WorkQueue;

void work_init(WorkQueue *queue, int64_t blocks, int threads);

/* The next block for this worker into *block; false when all are taken. */
bool work_next(WorkQueue *queue, int thread, int64_t *block);

#endif
