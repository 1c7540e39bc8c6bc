/* Thread pool: see pool.h.
 *
 * Everything waits on a Gate, a counter that only grows. No wake-up is lost because both sides do
 * their two steps in opposite order, all sequentially consistent: the opener advances the counter and
 * then looks for sleepers; a sleeper announces itself and then lets the kernel compare the counter
 * with the value it has seen. One of them sees the other. */
#include "base/pool.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_NS 10000
#define SPINS_PER_CLOCK 32 /* pauses between two looks at the clock */

typedef struct {
    _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
    char pad[64 - 2 * sizeof(uint32_t)];
} Gate;

typedef struct {
    ThreadPool *pool;
    pthread_t id;
    int thread;
} Worker;

struct ThreadPool {
    Gate start; /* advanced once for every job, and once to end the workers */
    Gate done;  /* the barrier: advanced by the last to arrive */
    _Atomic int arrived;
    char pad[64 - sizeof(int)];
    PoolFn fn; /* NULL: leave. Written before `start` advances, read after. */
    void *arg;
    atomic_bool running;
    int threads;
    int started; /* workers that exist, worker 0 included */
    Worker workers[POOL_THREADS_MAX];
};

static inline void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_open(Gate *g)
{
    atomic_fetch_add(&g->value, 1);
    if (atomic_load(&g->sleepers) > 0)
        syscall(SYS_futex, &g->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Spin for a while; true when the gate has moved on from `seen`. */
static bool gate_spin(Gate *g, uint32_t seen)
{
    int64_t stop = 0;
    for (;;) {
        for (int i = 0; i < SPINS_PER_CLOCK; i++) {
            if (atomic_load_explicit(&g->value, memory_order_acquire) != seen)
                return true;
            cpu_pause();
        }
        const int64_t now = clock_ns();
        if (stop == 0)
            stop = now + SPIN_NS;
        else if (now >= stop)
            return false;
    }
}

/* Wait until the gate has moved on from `seen`. */
static void gate_wait(Gate *g, uint32_t seen)
{
    if (gate_spin(g, seen))
        return;
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->value) == seen) /* the kernel compares again, and may return early */
        syscall(SYS_futex, &g->value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&g->sleepers, 1);
}

/* The value must be read before arriving: afterwards the last one may open the gate at any time. */
static void barrier(ThreadPool *pool)
{
    const uint32_t seen = atomic_load(&pool->done.value);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 < pool->threads) {
        gate_wait(&pool->done, seen);
    } else {
        atomic_store(&pool->arrived, 0); /* before anyone can arrive at the next one */
        gate_open(&pool->done);
    }
}

static void *worker_main(void *p)
{
    Worker *const w = p;
    ThreadPool *const pool = w->pool;
    for (uint32_t seen = 0;; seen++) {
        gate_wait(&pool->start, seen);
        if (!pool->fn)
            return NULL;
        pool->fn(pool->arg, w->thread, pool->threads);
        barrier(pool);
    }
}

static Status start_worker(ThreadPool *pool, int thread, Error *err)
{
    Worker *const w = &pool->workers[thread];
    w->pool = pool;
    w->thread = thread;
    const int e = pthread_create(&w->id, NULL, worker_main, w);
    if (e != 0) {
        errno = e;
        return error_errno(err, "cannot start thread %d of %d", thread + 1, pool->threads);
    }
    char name[16];
    snprintf(name, sizeof name, "plumb-%u", (unsigned)thread % POOL_THREADS_MAX);
    pthread_setname_np(w->id, name);
    pool->started++;
    return ST_OK;
}

Status pool_create(ThreadPool **out, int threads, Error *err)
{
    if (threads < 1 || threads > POOL_THREADS_MAX)
        return error_set(err, ST_INVALID, "number of threads is %d, must be 1 to %d", threads,
                         POOL_THREADS_MAX);
    ThreadPool *const pool = mem_alloc(1, sizeof *pool);
    if (!pool)
        return error_set(err, ST_NOMEM, "no memory for a pool of %d threads", threads);
    pool->threads = threads;
    pool->started = 1;

    /* Signals belong to the program's own threads; workers inherit this mask. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    Status st = ST_OK;
    for (int t = 1; t < threads && st == ST_OK; t++)
        st = start_worker(pool, t, err);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (st != ST_OK) {
        pool_destroy(pool);
        return st;
    }
    *out = pool;
    return ST_OK;
}

void pool_destroy(ThreadPool *pool)
{
    if (!pool)
        return;
    CHECK(!atomic_load(&pool->running));
    pool->fn = NULL;
    gate_open(&pool->start);
    for (int t = 1; t < pool->started; t++)
        pthread_join(pool->workers[t].id, NULL);
    mem_free(pool);
}

int pool_threads(const ThreadPool *pool)
{
    return pool->threads;
}

void pool_run(ThreadPool *pool, PoolFn fn, void *arg)
{
    CHECK(fn);
    CHECK(!atomic_exchange(&pool->running, true)); /* one job at a time, none inside another */
    pool->fn = fn;
    pool->arg = arg;
    if (pool->threads > 1)
        gate_open(&pool->start);
    fn(arg, 0, pool->threads);
    barrier(pool);
    atomic_store(&pool->running, false);
}

void pool_barrier(ThreadPool *pool)
{
    barrier(pool);
}

void work_init(WorkQueue *queue, int64_t blocks, int threads)
{
    CHECK(threads >= 1);
    CHECK(threads <= POOL_THREADS_MAX);
    CHECK(blocks >= 0);
    queue->threads = threads;
    for (int t = 0; t < threads; t++) {
        const int64_t each = blocks / threads, extra = blocks % threads;
        const int64_t begin = t * each + (t < extra ? t : extra);
        atomic_store_explicit(&queue->share[t].next, begin, memory_order_relaxed);
        queue->share[t].end = begin + each + (t < extra ? 1 : 0);
    }
}

/* Relaxed: only the number must be unique; the job's barriers order the data. The look before the
 * add keeps an empty share's counter from running away. */
static bool take(WorkQueue *queue, int share, int64_t *block)
{
    const int64_t end = queue->share[share].end;
    if (atomic_load_explicit(&queue->share[share].next, memory_order_relaxed) >= end)
        return false;
    const int64_t b =
        atomic_fetch_add_explicit(&queue->share[share].next, 1, memory_order_relaxed);
    if (b >= end)
        return false;
    *block = b;
    return true;
}

bool work_next(WorkQueue *queue, int thread, int64_t *block)
{
    for (int i = 0; i < queue->threads; i++) {
        const int t = thread + i < queue->threads ? thread + i : thread + i - queue->threads;
        if (take(queue, t, block))
            return true;
    }
    return false;
}
