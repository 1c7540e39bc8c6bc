/* Measuring the roofs. Work is handed to the pool in short bursts, and the best burst counts. A burst
 * lasts as long as the processor time of its slowest worker, which on an idle machine is the time on the
 * wall and on a busy one leaves out what the neighbours took. */
#include "kernels/peaks.h"

#include "base/mem.h"

#include <string.h>
#include <time.h>

#define BURSTS 6
#define BURST_NS 12000000

typedef enum { MEASURE_FMA, MEASURE_BF16, MEASURE_BYTES, MEASURE_READ } What;

/* One burst, as the workers see it. */
typedef struct {
    const Kernels *k;
    What what;
    int64_t steps;       /* of the arithmetic loops */
    const char *memory;  /* of the reading loop, shared out among `readers` */
    int readers;
    struct {
        int64_t done, ns;
        double sink;
        char pad[40]; /* a cache line each */
    } worker[POOL_THREADS_MAX];
} Burst;

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void work(void *arg, int thread, int threads)
{
    Burst *const b = arg;
    const int64_t start = thread_ns();
    double sink = 0;
    int64_t done = 0;
    (void)threads;
    if (b->what == MEASURE_FMA) {
        done = b->k->measure_fma(b->steps, &sink);
    } else if (b->what == MEASURE_BF16) {
        done = b->k->bf16->measure(b->steps, &sink);
    } else if (b->what == MEASURE_BYTES) {
        done = b->k->measure_bytes(b->steps, &sink);
    } else if (thread < b->readers) {
        const int64_t share = (int64_t)PEAKS_BYTES / b->readers / 4096 * 4096;
        done = b->k->measure_read(b->memory + share * thread, share, &sink);
    }
    b->worker[thread].ns = thread_ns() - start;
    b->worker[thread].done = done;
    b->worker[thread].sink = sink;
}

/* Operations (or bytes) a second of one burst. */
static double burst_rate(Burst *b, ThreadPool *pool, int64_t *ns)
{
    int64_t total = 0;
    pool_run(pool, work, b);
    *ns = 0;
    for (int t = 0; t < pool_threads(pool); t++) {
        total += b->worker[t].done;
        *ns = b->worker[t].ns > *ns ? b->worker[t].ns : *ns;
    }
    return *ns > 0 ? (double)total * 1e9 / (double)*ns : 0;
}

/* Bursts of at least BURST_NS: the number of steps is found on the way. */
static double best_arithmetic(Burst *b, ThreadPool *pool)
{
    double best = 0;
    int64_t ns = 0;
    b->steps = 10000;
    while (burst_rate(b, pool, &ns) > 0 && ns < BURST_NS)
        b->steps *= ns < BURST_NS / 8 ? 8 : 2;
    for (int i = 0; i < BURSTS; i++) {
        const double rate = burst_rate(b, pool, &ns);
        best = rate > best ? rate : best;
    }
    return best;
}

static void best_reading(Peaks *out, Burst *b, ThreadPool *pool)
{
    int64_t ns;
    b->what = MEASURE_READ;
    out->read_bytes = 0;
    for (b->readers = 1; b->readers <= pool_threads(pool); b->readers++)
        for (int i = 0; i < BURSTS / 2; i++) {
            const double rate = burst_rate(b, pool, &ns);
            if (rate > out->read_bytes) {
                out->read_bytes = rate;
                out->read_threads = b->readers;
            }
        }
}

Status peaks_measure(Peaks *out, const Kernels *k, ThreadPool *pool, Error *err)
{
    char *const memory = mem_alloc_pages(PEAKS_BYTES);
    Burst *const b = mem_alloc(1, sizeof *b);
    if (!memory || !b) {
        mem_free(b);
        if (memory)
            mem_free_pages(memory, PEAKS_BYTES);
        return error_set(err, ST_NOMEM, "no memory to measure the machine's speed");
    }
    memset(memory, 1, PEAKS_BYTES); /* pages that were never written are one page of zeros */
    b->k = k;
    b->memory = memory;
    b->what = MEASURE_FMA;
    out->flops = best_arithmetic(b, pool);
    out->bf16_flops = out->flops;
    b->what = MEASURE_BF16;
    if (k->bf16 && k->bf16->measure != k->measure_fma)
        out->bf16_flops = best_arithmetic(b, pool);
    b->what = MEASURE_BYTES;
    out->byte_ops = best_arithmetic(b, pool);
    best_reading(out, b, pool);
    mem_free(b);
    mem_free_pages(memory, PEAKS_BYTES);
    return ST_OK;
}
