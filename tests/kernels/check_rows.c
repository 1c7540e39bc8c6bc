/* rmsnorm_rows, rope_rows, silu_mul, add and logsumexp at every level, against the formulas in double
 * (long double where the level itself is double), against the scalar level's bits, and in place. */
#include "check.h"

static const int64_t sizes[] = {0, 1, 15, 16, 17, 31, 33, 97, 257, 1025};

static bool finite_row(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* |found − expected| within `units` roundoffs of the level, and a denormal or two. */
static bool near(const Run *run, double found, long double expected, double units)
{
    const bool wide = is_double(&run->level);
    const long double least = wide ? 0x1p-1074L : 0x1p-149L;
    if (isnan(expected))
        return isnan(found);
    if (fabsl(expected) > (wide ? 1.7e308L : 3.4e38L))
        return true; /* at the edge of the range: only the bits are compared */
    return fabsl((long double)found - expected) <=
           (long double)(units * roundoff(&run->level)) * fabsl(expected) + 2 * least;
}

/* ---- rmsnorm ---- */

typedef struct {
    int64_t rows, d, ldx, ldy;
    float *x, *gain;
    double eps;
} Norm;

static Guarded normalised(Run *run, const Level *level, const Norm *n, bool in_place)
{
    const int64_t ld = in_place ? n->ldx : n->ldy;
    Guarded x = reals(level, n->rows * n->ldx), y = reals(level, n->rows * n->ldy);
    Guarded gain = reals_of(level, n->gain, n->d);
    for (int64_t r = 0; r < n->rows; r++)
        for (int64_t i = 0; i < n->d; i++)
            real_set(level, x.p, r * n->ldx + i, n->x[r * n->d + i]);
    level->k->rmsnorm_rows(in_place ? x.p : y.p, ld, x.p, n->ldx, gain.p, n->rows, n->d, n->eps);
    Guarded out = reals(level, n->rows * n->d);
    const void *const from = in_place ? x.p : y.p;
    for (int64_t r = 0; r < n->rows; r++) {
        memcpy(real_at(level, out.p, r * n->d), real_at(level, from, r * ld),
               (size_t)n->d * level->k->real_bytes);
        if (!is_canary(real_at(level, from, r * ld + n->d), (size_t)(ld - n->d) * level->k->real_bytes))
            failed(run, "rmsnorm d %d: wrote behind a row", (int)n->d);
    }
    if (!GUARDED_FREE(&x, &y, &gain))
        failed(run, "rmsnorm d %d: wrote in front of a buffer", (int)n->d);
    return out;
}

static void check_norm(Run *run, const Norm *n, InputKind kind)
{
    Guarded y = normalised(run, &run->level, n, false);
    Guarded same = normalised(run, &run->level, n, true);
    if (first_difference(&run->level, y.p, same.p, n->rows * n->d) >= 0)
        failed(run, "rmsnorm d %d %s: another value in place", (int)n->d, input_names[kind]);
    guarded_free(&same);
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = normalised(run, &scalar, n, false);
        if (first_difference(&scalar, y.p, twin.p, n->rows * n->d) >= 0)
            failed(run, "rmsnorm d %d %s: not the scalar bits", (int)n->d, input_names[kind]);
        guarded_free(&twin);
    }
    for (int64_t r = 0; r < n->rows && (kind == IN_PLAIN || kind == IN_WIDE || kind == IN_ZEROS); r++) {
        long double sum = 0;
        for (int64_t i = 0; i < n->d; i++)
            sum += (long double)n->x[r * n->d + i] * (long double)n->x[r * n->d + i];
        const long double scale = 1 / sqrtl(sum / (long double)n->d + (long double)n->eps);
        for (int64_t i = 0; i < n->d; i++)
            if (!near(run, real_get(&run->level, y.p, r * n->d + i),
                      (long double)n->gain[i] * (long double)n->x[r * n->d + i] * scale,
                      8 + (double)n->d / 16))
                failed(run, "rmsnorm d %d %s: element %d is wrong", (int)n->d, input_names[kind], (int)i);
    }
    guarded_free(&y);
    run->cases++;
}

static void rmsnorm(Run *run)
{
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            Norm n = {.rows = 3, .d = sizes[s], .ldx = sizes[s] + 5, .ldy = sizes[s] + 2, .eps = 1e-5};
            n.x = random_floats(run, (InputKind)kind, n.rows * n.d);
            n.gain = random_floats(run, IN_PLAIN, n.d);
            check_norm(run, &n, (InputKind)kind);
            mem_free(n.x);
            mem_free(n.gain);
        }
}

/* ---- rope ---- */

typedef struct {
    int64_t rows, heads, head_dim, rot;
    bool interleaved;
    const int32_t *positions;
    const float *angles, *x;
} Rotation;

static Guarded rotated(Run *run, const Level *level, const Rotation *p)
{
    const int64_t d = p->heads * p->head_dim, ld = d + 1;
    Guarded x = reals(level, p->rows * ld), out = reals(level, p->rows * d);
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t i = 0; i < d; i++)
            real_set(level, x.p, r * ld + i, p->x[r * d + i]);
    level->k->rope_rows(x.p, ld, p->positions, p->angles, p->rows, p->heads, p->head_dim, p->rot,
                        p->interleaved);
    for (int64_t r = 0; r < p->rows; r++) {
        memcpy(real_at(level, out.p, r * d), real_at(level, x.p, r * ld), (size_t)d * level->k->real_bytes);
        if (!is_canary(real_at(level, x.p, r * ld + d), level->k->real_bytes))
            failed(run, "rope: wrote behind a row");
    }
    if (!guarded_free(&x))
        failed(run, "rope: wrote in front of x");
    return out;
}

/* Element i of a head by the formula. Two products: the error is measured on their sizes. */
static void rotate_one(const Rotation *p, const float *head, int32_t position, int64_t i, long double *value,
                       long double *size)
{
    const int64_t half = p->rot / 2;
    if (i >= p->rot) {
        *value = (long double)head[i];
        *size = 0;
        return;
    }
    const int64_t pair = p->interleaved ? i / 2 : i % half;
    const bool second = p->interleaved ? i % 2 == 1 : i >= half;
    const float *const angles = p->angles + (int64_t)position * p->rot;
    const long double a = (long double)head[p->interleaved ? 2 * pair : pair];
    const long double b = (long double)head[p->interleaved ? 2 * pair + 1 : pair + half];
    const long double c = (long double)angles[pair], s = (long double)angles[half + pair];
    *value = second ? b * c + a * s : a * c - b * s;
    *size = fabsl(a) + fabsl(b);
}

static void check_rotation(Run *run, const Rotation *p)
{
    const Level *const level = &run->level;
    const int64_t d = p->heads * p->head_dim;
    Guarded y = rotated(run, level, p);
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = rotated(run, &scalar, p);
        if (first_difference(&scalar, y.p, twin.p, p->rows * d) >= 0)
            failed(run, "rope head %d rot %d: not the scalar bits", (int)p->head_dim, (int)p->rot);
        guarded_free(&twin);
    }
    for (int64_t i = 0; i < p->rows * d; i++) {
        const int64_t row = i / d, in_head = i % d % p->head_dim;
        long double value, size;
        rotate_one(p, p->x + i - in_head, p->positions[row], in_head, &value, &size);
        if (!(fabsl((long double)real_get(level, y.p, i) - value) <=
              2 * (long double)roundoff(level) * size + 0x1p-149L))
            failed(run, "rope head %d rot %d%s: element %d is wrong", (int)p->head_dim, (int)p->rot,
                   p->interleaved ? " in pairs" : "", (int)in_head);
    }
    guarded_free(&y);
    run->cases++;
}

static void rope(Run *run)
{
    static const int64_t dims[][2] = {{6, 6}, {6, 2}, {22, 22}, {64, 64}, {64, 32}, {80, 34}, {128, 128}, {3, 0}};
    static const int32_t positions[] = {0, 5, 6, 7, 3};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (int mode = 0; mode < 2; mode++) {
            Rotation p = {.rows = 5, .heads = 3, .head_dim = dims[i][0], .rot = dims[i][1],
                          .interleaved = mode == 1, .positions = positions};
            float *const x = random_floats(run, IN_WIDE, p.rows * p.heads * p.head_dim);
            float *const angles = random_floats(run, IN_PLAIN, 8 * p.rot);
            p.x = x;
            p.angles = angles;
            check_rotation(run, &p);
            mem_free(x);
            mem_free(angles);
        }
}

/* ---- element-wise ---- */

static long double silu_of(long double x)
{
    return isinf(x) && x < 0 ? 0 : x / (1 + expl(-x));
}

/* The result for these inputs; alias: 0 none, 1 y is a, 2 y is b. */
static Guarded elementwise(Run *run, const Level *level, bool silu, const float *a, const float *b,
                           int64_t n, int alias)
{
    Guarded p = reals_of(level, a, n), q = reals_of(level, b, n), y = reals(level, n);
    void *const out = alias == 1 ? p.p : alias == 2 ? q.p : y.p;
    if (silu)
        level->k->silu_mul(out, p.p, q.p, n, 0);
    else
        level->k->add(out, p.p, q.p, n);
    memmove(y.p, out, (size_t)n * level->k->real_bytes);
    if (!GUARDED_FREE(&p, &q))
        failed(run, "wrote in front of an input");
    return y;
}

static void check_elements(Run *run, bool silu, const float *a, const float *b, int64_t n)
{
    const char *const name = silu ? "silu_mul" : "add";
    const Level *const level = &run->level;
    Guarded y = elementwise(run, level, silu, a, b, n, 0);
    for (int alias = 1; alias <= 2; alias++) {
        Guarded same = elementwise(run, level, silu, a, b, n, alias);
        if (first_difference(level, y.p, same.p, n) >= 0)
            failed(run, "%s of %d: another value in place", name, (int)n);
        guarded_free(&same);
    }
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = elementwise(run, &scalar, silu, a, b, n, 0);
        const int64_t at = first_difference(&scalar, y.p, twin.p, n);
        if (at >= 0)
            failed(run, "%s(%a, %a): not the scalar bits", name, (double)a[at], (double)b[at]);
        guarded_free(&twin);
    }
    for (int64_t i = 0; i < n; i++) {
        const long double s = silu ? silu_of((long double)a[i]) * (long double)b[i]
                                   : (long double)a[i] + (long double)b[i];
        const double found = real_get(level, y.p, i);
        /* a silu that is denormal has few digits of its own, and times b they show */
        const long double least = is_double(level) ? 0x1p-1071L : 0x1p-146L;
        const long double rest = silu ? fabsl((long double)b[i]) * least : 0;
        if (!near(run, found, s, silu ? 8 : 1) && !(fabsl((long double)found - s) <= rest))
            failed(run, "%s(%a, %a) = %a, should be %La", name, (double)a[i], (double)b[i], found, s);
    }
    if (!guarded_free(&y))
        failed(run, "%s: wrote in front of y", name);
    run->cases++;
}

static void elements(Run *run, bool silu)
{
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            float *const a = random_floats(run, (InputKind)kind, sizes[s]);
            float *const b = random_floats(run, (InputKind)kind, sizes[s]);
            check_elements(run, silu, a, b, sizes[s]);
            mem_free(a);
            mem_free(b);
        }
}

static void add(Run *run)
{
    elements(run, false);
}

static void silu_mul(Run *run)
{
    float a[2048], b[2048];
    elements(run, true);
    for (int i = 0; i < 2048; i++) { /* where the exponential is neither 0 nor 1 */
        a[i] = (float)random_unit(run) * (i % 2 ? 10 : 130);
        b[i] = i % 3 ? 1 : (float)random_unit(run);
    }
    check_elements(run, true, a, b, 2048);
    const float hard[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 88.7f, -88.7f, -104, -1e30f, 1e30f, -200};
    for (int i = 0; i < 11; i++)
        b[i] = 1;
    check_elements(run, true, hard, b, 11);
    Guarded y = elementwise(run, &run->level, true, hard, b, 11, 0);
    if (real_get(&run->level, y.p, 3) != 0 || !signbit(real_get(&run->level, y.p, 3)))
        failed(run, "silu(-inf) is not -0");
    guarded_free(&y);
}

/* ---- logsumexp ---- */

static double lse(Run *run, const Level *level, const float *x, int64_t n)
{
    Guarded p = reals_of(level, x, n);
    const double y = level->k->logsumexp(p.p, n);
    if (!guarded_free(&p))
        failed(run, "logsumexp: wrote in front of x");
    return y;
}

static void check_lse(Run *run, const float *x, int64_t n, const char *what)
{
    const double found = lse(run, &run->level, x, n);
    long double max = -(long double)INFINITY, sum = 0;
    run->cases++;
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        const double twin = lse(run, &scalar, x, n);
        if (memcmp(&twin, &found, sizeof twin) != 0 && !(isnan(twin) && isnan(found)))
            failed(run, "logsumexp of %d %s: not the scalar bits", (int)n, what);
    }
    if (!finite_row(x, n))
        return;
    for (int64_t i = 0; i < n; i++)
        max = (long double)x[i] > max ? (long double)x[i] : max;
    for (int64_t i = 0; i < n; i++)
        sum += expl((long double)x[i] - max);
    const long double expected = n ? max + logl(sum) : max;
    const double error = (double)fabsl((long double)found - expected);
    const double allowed = roundoff(&run->level) * 70 + 0x1p-52 * (double)fabsl(expected);
    if (n ? !(error <= allowed) : found != -(double)INFINITY)
        failed(run, "logsumexp of %d %s: %.17g, should be %.17Lg", (int)n, what, found, expected);
}

static void logsumexp(Run *run)
{
    const float infinite[] = {1, INFINITY, 2}, nothing[] = {-INFINITY, -INFINITY}, nan[] = {-INFINITY, NAN, 1};
    const Level *const level = &run->level;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            float *const x = random_floats(run, (InputKind)kind, sizes[s]);
            check_lse(run, x, sizes[s], input_names[kind]);
            for (int64_t i = 0; i < sizes[s]; i++)
                x[i] *= 40;
            check_lse(run, x, sizes[s], "large");
            mem_free(x);
        }
    float *const vocabulary = random_floats(run, IN_PLAIN, 151936);
    check_lse(run, vocabulary, 151936, "plain");
    mem_free(vocabulary);
    if (lse(run, level, infinite, 3) != (double)INFINITY || lse(run, level, nothing, 2) != -(double)INFINITY ||
        !isnan(lse(run, level, nan, 3)) || !isnan(lse(run, level, nan, 2)))
        failed(run, "logsumexp of infinities and NaNs");
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"rmsnorm_rows", rmsnorm}, {"rope_rows", rope},         {"add", add},
        {"silu_mul", silu_mul},    {"logsumexp", logsumexp},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
