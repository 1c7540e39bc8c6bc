/* Checks of a kernel against a formula in long double: calls with all arguments guarded, results compared with
 * the scalar level's bits and with the formula, gradients with differences of the formula. */
#ifndef PLUMB_TESTS_KERNELS_FORMULA_H
#define PLUMB_TESTS_KERNELS_FORMULA_H

#include "check.h"

#define BUFFERS 12

/* ---- calls of a kernel ---- */

typedef enum { ARG_IN, ARG_OUT, ARG_INOUT } ArgKind;

typedef struct {
    ArgKind kind;
    int64_t rows, n; /* rows of n elements, some canaries behind each row where pad is not 0 */
    int64_t pad;
    float *init; /* [rows][n], owned; NULL for ARG_OUT */
    bool ints;
} Arg;

typedef struct Call {
    const char *what;
    const void *shape;
    void (*kernel)(const Kernels *k, const struct Call *c, void *const *p);
    Arg arg[BUFFERS];
    int count;
    InputKind kind;
} Call;

static int64_t ld(const Call *c, int i)
{
    return c->arg[i].n + c->arg[i].pad;
}

static int add_in(Run *run, Call *c, int64_t rows, int64_t n, int64_t pad)
{
    c->arg[c->count] = (Arg){.kind = ARG_IN, .rows = rows, .n = n, .pad = pad};
    c->arg[c->count].init = random_floats(run, c->kind, rows * n);
    return c->count++;
}

static int add_out(Call *c, int64_t rows, int64_t n, int64_t pad)
{
    c->arg[c->count] = (Arg){.kind = ARG_OUT, .rows = rows, .n = n, .pad = pad};
    return c->count++;
}

static void call_free(Call *c)
{
    for (int i = 0; i < c->count; i++)
        mem_free(c->arg[i].init);
}

/* ints lie in memory as int32, and in results as doubles */
static double element(const Level *level, const Arg *a, const void *p, int64_t i)
{
    return a->ints ? (double)((const int32_t *)p)[i] : real_get(level, p, i);
}

/* Run it; out[i] is [rows][n] for every argument that is not only read, to be freed. */
static void run_call(Run *run, const Level *level, const Call *c, double **out)
{
    Guarded g[BUFFERS];
    void *p[BUFFERS];
    for (int i = 0; i < c->count; i++) {
        const Arg *const a = &c->arg[i];
        const size_t bytes = a->ints ? sizeof(int32_t) : level->k->real_bytes;
        g[i] = guarded((size_t)(a->rows * ld(c, i)) * bytes);
        p[i] = g[i].p;
        for (int64_t t = 0; a->init && t < a->rows; t++)
            for (int64_t j = 0; j < a->n; j++)
                real_set(level, p[i], t * ld(c, i) + j, a->init[t * a->n + j]);
        for (int64_t t = 0; a->kind == ARG_OUT && !a->ints && t < a->rows; t++) /* what is not written shows */
            for (int64_t j = 0; j < a->n; j++)
                real_set(level, p[i], t * ld(c, i) + j, NAN);
    }
    c->kernel(level->k, c, p);
    for (int i = 0; i < c->count; i++) {
        const Arg *const a = &c->arg[i];
        const size_t bytes = a->ints ? sizeof(int32_t) : level->k->real_bytes;
        out[i] = mem_alloc((size_t)(a->rows * a->n) + 1, sizeof(double));
        for (int64_t t = 0; t < a->rows; t++) {
            const char *const row = (const char *)p[i] + (size_t)(t * ld(c, i)) * bytes;
            for (int64_t j = 0; j < a->n; j++)
                out[i][t * a->n + j] = element(level, a, row, j);
            if (!is_canary(row + (size_t)a->n * bytes, (size_t)a->pad * bytes))
                failed(run, "%s: wrote behind a row of argument %d", c->what, i);
        }
        if (a->kind == ARG_IN)
            for (int64_t j = 0; j < a->rows * a->n; j++)
                if (!same_float((float)out[i][j], a->init[j])) {
                    failed(run, "%s: changed argument %d", c->what, i);
                    break;
                }
        if (!guarded_free(&g[i]))
            failed(run, "%s: wrote in front of argument %d", c->what, i);
    }
}

static void free_results(const Call *c, double **out)
{
    for (int i = 0; i < c->count; i++)
        mem_free(out[i]);
}

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* Run it, compare with the scalar level's bits, return the results. */
static void run_checked(Run *run, const Call *c, double **out)
{
    double *twin[BUFFERS];
    run->cases++;
    run_call(run, &run->level, c, out);
    if (!has_twin(run))
        return;
    const Level scalar = scalar_level(run);
    run_call(run, &scalar, c, twin);
    for (int i = 0; i < c->count; i++)
        for (int64_t j = 0; j < c->arg[i].rows * c->arg[i].n; j++)
            if (!same_double(out[i][j], twin[i][j])) {
                failed(run, "%s %s: argument %d, element %d: %a is not the scalar %a", c->what, input_names[c->kind],
                       i, (int)j, out[i][j], twin[i][j]);
                break;
            }
    free_results(c, twin);
}

/* ---- formulas ---- */

typedef long double wide;

/* One row of results from one row of each of the inputs. `whole`: all rows are one. */
typedef struct {
    void (*of)(const void *shape, wide *const *in, wide *out);
    int inputs;
    bool whole;
} Formula;

#define INPUTS 5

typedef struct {
    wide *in[INPUTS], *out; /* of all rows */
    int64_t n[INPUTS], rows[INPUTS], n_out, rows_out;
} Values;

static wide *wide_alloc(int64_t n)
{
    wide *const p = mem_alloc((size_t)n + 1, sizeof *p);
    if (!p)
        exit(3);
    return p;
}

/* which[i]: the argument that is input i; out: that of the result (or its gradient's). */
static Values values_of(const Formula *f, const Call *c, const int *which, int out)
{
    Values v = {0};
    for (int i = 0; i < f->inputs; i++) {
        const Arg *const a = &c->arg[which[i]];
        v.n[i] = f->whole ? a->rows * a->n : a->n;
        v.rows[i] = f->whole ? 1 : a->rows;
        v.in[i] = wide_alloc(a->rows * a->n);
        for (int64_t j = 0; j < a->rows * a->n; j++)
            v.in[i][j] = (wide)a->init[j];
    }
    v.n_out = f->whole ? c->arg[out].rows * c->arg[out].n : c->arg[out].n;
    v.rows_out = f->whole ? 1 : c->arg[out].rows;
    v.out = wide_alloc(v.n_out);
    return v;
}

static void values_free(const Formula *f, Values *v)
{
    for (int i = 0; i < f->inputs; i++)
        mem_free(v->in[i]);
    mem_free(v->out);
}

/* Inputs of one row only serve all. */
static void evaluate(const Formula *f, const void *shape, const Values *v, int64_t t)
{
    wide *in[INPUTS];
    for (int i = 0; i < f->inputs; i++)
        in[i] = v->in[i] + (v->rows[i] == 1 ? 0 : t) * v->n[i];
    f->of(shape, in, v->out);
}

/* Both are one row of n; the error is measured against the row's largest element, or against `size` where that
 * is more: a gradient may be the small difference of large terms. */
static void compare_row(Run *run, const Call *c, const char *what, const double *found, const wide *expected,
                        int64_t n, double units, double rest, double size)
{
    wide max = (wide)size;
    for (int64_t j = 0; j < n; j++)
        max = fabsl(expected[j]) > max ? fabsl(expected[j]) : max;
    for (int64_t j = 0; j < n; j++)
        if (!(fabsl((wide)found[j] - expected[j]) <= (wide)(units * roundoff(&run->level) + rest) * max)) {
            failed(run, "%s %s: element %d of %d is %.17g, should be %.17Lg (off by %.1f units)", c->what, what, (int)j,
                   (int)n, found[j], expected[j],
                   (double)(fabsl((wide)found[j] - expected[j]) / max) / roundoff(&run->level));
            return;
        }
}

static void check_forward(Run *run, const Call *c, const Formula *f, const int *in, int out, double units)
{
    double *found[BUFFERS];
    Values v = values_of(f, c, in, out);
    run_checked(run, c, found);
    for (int64_t t = 0; t < v.rows_out && c->kind == IN_PLAIN; t++) {
        evaluate(f, c->shape, &v, t);
        compare_row(run, c, "forward", found[out] + t * v.n_out, v.out, v.n_out, units, 0, 0);
    }
    values_free(f, &v);
    free_results(c, found);
}

/* Σ dout·out of row t */
static wide objective(const Formula *f, const Call *c, const Values *v, int64_t t, const float *dout)
{
    wide sum = 0;
    evaluate(f, c->shape, v, t);
    for (int64_t j = 0; j < v->n_out; j++)
        sum += (wide)dout[t * v->n_out + j] * v->out[j];
    return sum;
}

/* Differences of fourth order. */
static wide difference(const Formula *f, const Call *c, const Values *v, int64_t t, const float *dout, wide *x)
{
    const wide at = *x, h = 2e-5L;
    wide y[4];
    for (int i = 0; i < 4; i++) {
        static const int steps[] = {1, -1, 2, -2};
        *x = at + (wide)steps[i] * h;
        y[i] = objective(f, c, v, t, dout);
    }
    *x = at;
    return (8 * (y[0] - y[1]) - (y[2] - y[3])) / (12 * h);
}

/* grad[i]: the argument with the gradient of input i, one row for each row of results; sizes[i]: see compare_row. */
static void check_backward(Run *run, const Call *c, const Formula *f, const int *in, int dout, const int *grad,
                           double units, const double *sizes)
{
    double *found[BUFFERS];
    Values v = values_of(f, c, in, dout);
    run_checked(run, c, found);
    for (int i = 0; i < f->inputs && c->kind == IN_PLAIN; i++) {
        wide *const expected = wide_alloc(v.n[i]);
        for (int64_t t = 0; t < v.rows_out; t++) {
            wide *const x = v.in[i] + (v.rows[i] == 1 ? 0 : t) * v.n[i];
            char what[32];
            for (int64_t j = 0; j < v.n[i]; j++)
                expected[j] = difference(f, c, &v, t, c->arg[dout].init, x + j);
            snprintf(what, sizeof what, "gradient %d", i);
            compare_row(run, c, what, found[grad[i]] + t * v.n[i], expected, v.n[i], units, 1e-10,
                        sizes ? sizes[i] : 0);
        }
        mem_free(expected);
    }
    values_free(f, &v);
    free_results(c, found);
}

#endif
