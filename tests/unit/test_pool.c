/* The thread pool: jobs, barriers and the work queue, with more threads than cores too.
 * PLUMB_BENCH=1 also prints what a barrier costs. */
#include "base/pool.h"

#include "base/clock.h"
#include "base/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const int thread_counts[] = {1, 2, 3, 4, 8};
#define COUNTS (sizeof thread_counts / sizeof thread_counts[0])

static ThreadPool *pool_of(int threads)
{
    ThreadPool *pool = NULL;
    Error err = {0};
    assert_int_equal(pool_create(&pool, threads, &err), ST_OK);
    assert_int_equal(pool_threads(pool), threads);
    return pool;
}

typedef struct {
    int calls[POOL_THREADS_MAX]; /* plain ints: the pool alone must order these accesses */
    int threads_seen;
} Calls;

static void count_call(void *arg, int thread, int threads)
{
    Calls *c = arg;
    c->calls[thread]++;
    if (thread == 0)
        c->threads_seen = threads;
}

static void every_worker_runs_every_job_once(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNTS; k++) {
        ThreadPool *pool = pool_of(thread_counts[k]);
        Calls c = {0};
        for (int job = 1; job <= 500; job++) {
            pool_run(pool, count_call, &c);
            for (int t = 0; t < POOL_THREADS_MAX; t++)
                assert_int_equal(c.calls[t], t < thread_counts[k] ? job : 0);
        }
        assert_int_equal(c.threads_seen, thread_counts[k]);
        pool_destroy(pool);
    }
}

#define ROUNDS 2000

typedef struct {
    ThreadPool *pool;
    int64_t value[2][POOL_THREADS_MAX]; /* plain: a missing barrier is a wrong sum or a race report */
    int rounds;
    atomic_int wrong;
} Sums;

/* Each round every worker writes its own number and reads everybody's of the round before. */
static void sum_rounds(void *arg, int thread, int threads)
{
    Sums *s = arg;
    for (int r = 0; r < s->rounds; r++) {
        s->value[r % 2][thread] = (int64_t)r * 100 + thread;
        pool_barrier(s->pool);
        int64_t sum = 0;
        for (int t = 0; t < threads; t++)
            sum += s->value[r % 2][t];
        if (sum != (int64_t)r * 100 * threads + threads * (threads - 1) / 2)
            atomic_fetch_add(&s->wrong, 1);
    }
}

static void barrier_shows_everyone_what_was_written_before_it(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNTS; k++) {
        Sums s = {.pool = pool_of(thread_counts[k]), .rounds = ROUNDS};
        for (int job = 0; job < 3; job++)
            pool_run(s.pool, sum_rounds, &s);
        assert_int_equal(atomic_load(&s.wrong), 0);
        pool_destroy(s.pool);
    }
}

/* Workers that come late at random, so that the others spin, sleep and are woken. */
static void straggle(void *arg, int thread, int threads)
{
    Sums *s = arg;
    uint32_t x = (uint32_t)thread + 1;
    for (int r = 0; r < 200; r++) {
        x = x * 1664525u + 1013904223u;
        if ((x >> 24) % (unsigned)threads == (unsigned)thread)
            nanosleep(&(struct timespec){.tv_nsec = (long)(x >> 16) % 40000}, NULL);
        s->value[0][thread] = r;
        pool_barrier(s->pool);
        for (int t = 0; t < threads; t++)
            if (s->value[0][t] != r)
                atomic_fetch_add(&s->wrong, 1);
        pool_barrier(s->pool);
    }
}

static void sleepers_are_woken(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNTS; k++) {
        Sums s = {.pool = pool_of(thread_counts[k])};
        pool_run(s.pool, straggle, &s);
        assert_int_equal(atomic_load(&s.wrong), 0);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* idle workers sleep too */
        pool_run(s.pool, straggle, &s);
        assert_int_equal(atomic_load(&s.wrong), 0);
        pool_destroy(s.pool);
    }
}

static void pools_come_and_go_without_a_job(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        pool_destroy(pool_of(1 + i % 8));
    pool_destroy(pool_of(POOL_THREADS_MAX));
    pool_destroy(NULL);
}

static void impossible_thread_counts_are_refused(void **state)
{
    (void)state;
    static const int bad[] = {0, -1, POOL_THREADS_MAX + 1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ThreadPool *pool = NULL;
        Error err = {0};
        assert_int_equal(pool_create(&pool, bad[i], &err), ST_INVALID);
        assert_null(pool);
        assert_non_null(strstr(err.msg, "threads"));
    }
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    ThreadPool *pool = NULL;
    mem_fail_at(1);
    const Status st = pool_create(&pool, 2, NULL);
    mem_fail_at(0);
    assert_int_equal(st, ST_NOMEM);
    assert_null(pool);
}

static void run_again(void *arg, int thread, int threads)
{
    (void)threads;
    if (thread == 0)
        pool_run(arg, count_call, NULL);
}

/* In a child, as the check aborts; the message is not ours to show. */
static void a_job_inside_a_job_is_a_check_failure(void **state)
{
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        ThreadPool *pool = NULL;
        if (pool_create(&pool, 1, NULL) == ST_OK)
            pool_run(pool, run_again, pool);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

typedef struct {
    WorkQueue queue[2];
    ThreadPool *pool;
    int64_t blocks;
    int steps;
    atomic_int taken[1000];
    atomic_int outside;
    int lazy; /* this worker takes nothing; -1: none */
} Work;

static void take_all(void *arg, int thread, int threads)
{
    Work *w = arg;
    for (int step = 0; step < w->steps; step++) {
        WorkQueue *q = &w->queue[step % 2];
        int64_t b;
        while (thread != w->lazy && work_next(q, thread, &b)) {
            if (b < 0 || b >= w->blocks)
                atomic_fetch_add(&w->outside, 1);
            else
                atomic_fetch_add(&w->taken[b], 1);
        }
        if (thread == 0)
            work_init(&w->queue[(step + 1) % 2], w->blocks, threads);
        pool_barrier(w->pool);
    }
}

static void check_work(int threads, int64_t blocks, int lazy)
{
    Work *w = mem_alloc(1, sizeof *w);
    assert_non_null(w);
    w->pool = pool_of(threads);
    w->blocks = blocks;
    w->steps = 50;
    w->lazy = lazy;
    work_init(&w->queue[0], blocks, threads);
    pool_run(w->pool, take_all, w);
    assert_int_equal(atomic_load(&w->outside), 0);
    for (int64_t b = 0; b < blocks; b++)
        assert_int_equal(atomic_load(&w->taken[b]), w->steps);
    pool_destroy(w->pool);
    mem_free(w);
}

static void every_block_is_taken_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 7, 8, 9, 63, 1000};
    for (size_t k = 0; k < COUNTS; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            check_work(thread_counts[k], sizes[i], -1);
}

static void blocks_of_an_absent_worker_are_stolen(void **state)
{
    (void)state;
    check_work(2, 100, 1);
    check_work(4, 101, 2);
}

static void own_share_comes_first_and_in_order(void **state)
{
    (void)state;
    static WorkQueue q;
    work_init(&q, 10, 3); /* shares of 4, 3 and 3 */
    static const int64_t expected[] = {4, 5, 6, 7, 8, 9, 0, 1, 2, 3};
    int64_t b;
    for (int i = 0; i < 10; i++) {
        assert_true(work_next(&q, 1, &b));
        assert_int_equal(b, expected[i]);
    }
    for (int t = 0; t < 3; t++)
        assert_false(work_next(&q, t, &b));
}

static void print_barrier_cost(void **state)
{
    (void)state;
    if (!getenv("PLUMB_BENCH"))
        skip();
    for (size_t k = 0; k < COUNTS; k++) {
        Sums s = {.pool = pool_of(thread_counts[k]), .rounds = 100000};
        const int64_t start = clock_ns();
        pool_run(s.pool, sum_rounds, &s);
        print_message("%d threads: %.3f us a barrier\n", thread_counts[k],
                      (double)(clock_ns() - start) / 1e3 / s.rounds);
        assert_int_equal(atomic_load(&s.wrong), 0);
        pool_destroy(s.pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_worker_runs_every_job_once),
        cmocka_unit_test(barrier_shows_everyone_what_was_written_before_it),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(pools_come_and_go_without_a_job),
        cmocka_unit_test(impossible_thread_counts_are_refused),
        cmocka_unit_test(no_memory_is_an_error),
        cmocka_unit_test(a_job_inside_a_job_is_a_check_failure),
        cmocka_unit_test(every_block_is_taken_once),
        cmocka_unit_test(blocks_of_an_absent_worker_are_stolen),
        cmocka_unit_test(own_share_comes_first_and_in_order),
        cmocka_unit_test(print_barrier_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
