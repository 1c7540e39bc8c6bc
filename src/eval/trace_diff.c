/* Comparing two safetensors files tensor by tensor, layers first. */
#include "eval/trace_diff.h"

#include "base/mem.h"
#include "formats/tensordir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Layers in their order, then logits, then the rest by name. */
static int64_t rank(const char *name)
{
    if (strncmp(name, "hidden.", 7) == 0)
        return strtol(name + 7, NULL, 10);
    return strcmp(name, "logits") == 0 ? INT64_MAX - 1 : INT64_MAX;
}

static int in_trace_order(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    const int64_t rx = rank(x), ry = rank(y);
    return rx != ry ? (rx < ry ? -1 : 1) : strcmp(x, y);
}

static bool same_shape(const TensorEntry *a, const TensorEntry *b)
{
    return a->ndim == b->ndim && memcmp(a->dims, b->dims, (size_t)a->ndim * sizeof a->dims[0]) == 0;
}

static void compare_values(TensorDiff *d, const double *a, const double *b, int64_t n, int64_t width,
                           double tolerance)
{
    d->first_row = -1;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(a[i]) && fabs(a[i]) > d->magnitude)
            d->magnitude = fabs(a[i]);
    const double limit = tolerance * (d->magnitude > 1 ? d->magnitude : 1);
    for (int64_t i = 0; i < n; i++) {
        if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i])))
            continue;
        const double raw = fabs(a[i] - b[i]), difference = isnan(raw) ? (double)INFINITY : raw;
        if (difference > limit && d->first_row < 0)
            d->first_row = i / width;
        if (difference > d->max_difference) {
            d->max_difference = difference;
            d->row = i / width;
            d->column = i % width;
        }
    }
    d->parts = d->first_row >= 0;
}

MUST_USE static Status compare_tensor(TensorDiff *d, const TensorEntry *a, const TensorEntry *b, double tolerance,
                                      Error *err)
{
    d->only_in_one = !a || !b;
    d->shapes_differ = a && b && !same_shape(a, b);
    d->parts = d->only_in_one || d->shapes_differ;
    if (d->parts)
        return ST_OK;
    if (!dtype_info(a->dtype)->is_real || !dtype_info(b->dtype)->is_real)
        return error_set(err, ST_UNSUPPORTED, "tensor '%s' is of a type that holds no real numbers", a->name);
    double *values = mem_alloc((size_t)a->elements, 2 * sizeof *values);
    if (!values)
        return error_set(err, ST_NOMEM, "no memory to compare '%s'", a->name);
    dtype_decode_f64(a->dtype, values, a->data, a->elements);
    dtype_decode_f64(b->dtype, values + a->elements, b->data, b->elements);
    const int64_t width = a->ndim ? a->dims[a->ndim - 1] : 1;
    compare_values(d, values, values + a->elements, a->elements, width ? width : 1, tolerance);
    mem_free(values);
    return ST_OK;
}

/* The names of both files, each once. */
MUST_USE static Status all_names(const char ***out, int64_t *count, const TensorDir *a, const TensorDir *b,
                                 Error *err)
{
    const int64_t na = tensordir_count(a), nb = tensordir_count(b);
    const char **names = mem_alloc((size_t)(na + nb), sizeof *names);
    if (!names)
        return error_set(err, ST_NOMEM, "no memory for %lld names", (long long)(na + nb));
    int64_t n = 0;
    for (int64_t i = 0; i < na; i++)
        names[n++] = tensordir_at(a, i)->name;
    for (int64_t i = 0; i < nb; i++)
        if (!tensordir_find(a, tensordir_at(b, i)->name))
            names[n++] = tensordir_at(b, i)->name;
    qsort(names, (size_t)n, sizeof *names, in_trace_order);
    *out = names;
    *count = n;
    return ST_OK;
}

Status trace_diff(const char *path_a, const char *path_b, double tolerance, TensorDiffFn fn, void *arg,
                  bool *parted, Error *err)
{
    TensorDir *a = NULL, *b = NULL;
    const char **names = NULL;
    int64_t count = 0;
    Status st = ST_OK;
    *parted = false;
    TRY(tensordir_open(&a, path_a, err));
    TRY(tensordir_open(&b, path_b, err));
    TRY(all_names(&names, &count, a, b, err));
    for (int64_t i = 0; i < count; i++) {
        TensorDiff d = {.name = names[i], .first_row = -1};
        TRY(compare_tensor(&d, tensordir_find(a, names[i]), tensordir_find(b, names[i]), tolerance, err));
        *parted = *parted || d.parts;
        fn(arg, &d);
    }
out:
    mem_free(names);
    tensordir_close(a);
    tensordir_close(b);
    return st;
}
