/* linear at every level: the products of hostile weights and rows, in all forms and shapes.
 *
 * The oracle is a plain double sum over dtype_decode_f32 of the stored rows, which knows nothing of
 * panels. Floats must stay within K·u·Σ|x·w| of it, doubles within the same with their u; beyond that
 * every float level must give the bits of the scalar one, any split into panel ranges the bits of the
 * whole, and every row alone the bits it has in the batch. */
#include "weights.h"

static const Dtype types[] = {DT_F32,  DT_F16,  DT_BF16, DT_F8_E4M3, DT_Q4_0, DT_Q4_1, DT_Q5_0,
                              DT_Q5_1, DT_Q8_0, DT_Q2_K, DT_Q3_K,    DT_Q4_K, DT_Q5_K, DT_Q6_K};

typedef struct {
    Dtype type;
    int64_t N, K, M;
    InputKind kind;
    bool bias;
} Shape;

/* Operands of a shape: values as floats, and the stored and packed weights. */
typedef struct {
    Shape shape;
    PackForm form;
    uint8_t *stored;
    Guarded panels;
    float *x, *bias; /* [M][K], [N] */
} Operands;

static Operands operands(Run *run, const Shape *shape)
{
    Operands o = {.shape = *shape, .form = form_of_dtype(shape->type)};
    o.stored = random_weights(run, shape->type, shape->N * shape->K, shape->kind);
    o.panels = guarded(form_bytes(&o.form, shape->N, shape->K));
    for (int64_t p = 0; p * PANEL_ROWS < shape->N; p++)
        form_pack_panel(&o.form, o.panels.p + form_panel_bytes(&o.form, shape->K) * (size_t)p,
                        shape->type, o.stored, p, shape->N, shape->K);
    o.x = random_floats(run, shape->kind, shape->M * shape->K);
    o.bias = random_floats(run, shape->kind, shape->N);
    return o;
}

static void operands_free(Run *run, Operands *o)
{
    if (!guarded_free(&o->panels))
        failed(run, "wrote in front of the panels");
    mem_free(o->stored);
    mem_free(o->x);
    mem_free(o->bias);
}

/* Rows row0 … row0+M−1 of the product at `level`, panels [p0, p1), into y (row stride ldy). */
static void product(Run *run, const Level *level, const Operands *o, void *y, int64_t ldy,
                    int64_t row0, int64_t M, int64_t p0, int64_t p1)
{
    const Shape *const s = &o->shape;
    const int64_t ldx = s->K + 3;
    const LinearShape shape = {&o->form, o->panels.p, s->N, s->K, p0, p1, M};
    Guarded x = reals(level, M > 0 ? (M - 1) * ldx + s->K : 0);
    Guarded bias = reals_of(level, o->bias, s->N);
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < s->K; k++)
            real_set(level, x.p, m * ldx + k, o->x[(row0 + m) * s->K + k]);
    level->k->linear(&shape, y, ldy, x.p, ldx, s->bias ? bias.p : NULL, run->scratch.p);
    if (!GUARDED_FREE(&x, &bias))
        failed(run, "%s: wrote in front of a buffer", dtype_info(s->type)->name);
}

static void describe(Run *run, const Shape *s, const char *what, int64_t row, int64_t column)
{
    failed(run, "%s N %d K %d M %d, %s: %s at row %d, column %d", dtype_info(s->type)->name, (int)s->N,
           (int)s->K, (int)s->M, input_names[s->kind], what, (int)row, (int)column);
}

/* y of the whole, as a guarded matrix with rows of N + 2. */
static Guarded whole(Run *run, const Level *level, const Operands *o)
{
    const Shape *const s = &o->shape;
    Guarded y = reals(level, s->M * (s->N + 2));
    product(run, level, o, y.p, s->N + 2, 0, s->M, 0, (s->N + PANEL_ROWS - 1) / PANEL_ROWS);
    for (int64_t m = 0; m < s->M; m++)
        if (!is_canary(real_at(level, y.p, m * (s->N + 2) + s->N), 2 * level->k->real_bytes))
            describe(run, s, "wrote behind the columns", m, s->N);
    return y;
}

static void compare_oracle(Run *run, const Operands *o, const void *y)
{
    const Shape *const s = &o->shape;
    const double u = roundoff(&run->level);
    float *const w = floats(s->K);
    const size_t row_bytes = dtype_row_bytes(s->type, s->K);
    for (int64_t n = 0; n < s->N; n++) {
        dtype_decode_f32(s->type, w, o->stored + row_bytes * (size_t)n, s->K);
        for (int64_t m = 0; m < s->M; m++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < s->K; k++) {
                const double p = (double)o->x[m * s->K + k] * (double)w[k];
                sum += p;
                size += fabs(p);
            }
            if (s->bias) {
                sum += (double)o->bias[n];
                size += fabs((double)o->bias[n]);
            }
            const double found = real_get(&run->level, y, m * (s->N + 2) + n);
            const double allowed = (double)(s->K + 2) * (u * size + (is_double(&run->level) ? 0 : 0x1p-149));
            if (size < 3e38 && !(fabs(found - sum) <= allowed))
                describe(run, s, "far from the exact sum", m, n);
        }
    }
    mem_free(w);
}

static void compare_scalar(Run *run, const Operands *o, const void *y)
{
    const Shape *const s = &o->shape;
    const Level scalar = scalar_level(run);
    Guarded twin = whole(run, &scalar, o);
    for (int64_t m = 0; m < s->M; m++) {
        const int64_t at = m * (s->N + 2);
        const int64_t d = first_difference(&scalar, real_at(&scalar, y, at), real_at(&scalar, twin.p, at),
                                           s->N);
        if (d >= 0)
            describe(run, s, "not the scalar bits", m, d);
    }
    guarded_free(&twin);
}

/* A few rows, each alone; and the whole in two ranges of panels. */
static void compare_parts(Run *run, const Operands *o, const void *y)
{
    const Shape *const s = &o->shape;
    const Level *const level = &run->level;
    const int64_t panels = (s->N + PANEL_ROWS - 1) / PANEL_ROWS, ld = s->N + 2;
    for (int i = 0; i < 3 && s->M > 0; i++) {
        const int64_t row = random_below(run, s->M);
        Guarded alone = reals(level, s->N);
        product(run, level, o, alone.p, s->N, row, 1, 0, panels);
        const int64_t d = first_difference(level, alone.p, real_at(level, y, row * ld), s->N);
        if (d >= 0)
            describe(run, s, "another value when alone", row, d);
        guarded_free(&alone);
    }
    const int64_t cut = random_below(run, panels + 1);
    const int64_t edge = cut * PANEL_ROWS < s->N ? cut * PANEL_ROWS : s->N;
    Guarded parts = reals(level, s->M * ld);
    product(run, level, o, parts.p, ld, 0, s->M, cut, panels);
    for (int64_t m = 0; m < s->M; m++)
        if (!is_canary(real_at(level, parts.p, m * ld), (size_t)edge * level->k->real_bytes))
            describe(run, s, "wrote outside its panels", m, 0);
    product(run, level, o, parts.p, ld, 0, s->M, 0, cut);
    for (int64_t m = 0; m < s->M; m++) {
        const int64_t d = first_difference(level, real_at(level, parts.p, m * ld),
                                           real_at(level, y, m * ld), s->N);
        if (d >= 0)
            describe(run, s, "another value in panel ranges", m, d);
    }
    guarded_free(&parts);
}

static void check_shape(Run *run, const Shape *shape)
{
    Operands o = operands(run, shape);
    Guarded y = whole(run, &run->level, &o);
    run->cases++;
    if (has_twin(run))
        compare_scalar(run, &o, y.p);
    else
        compare_oracle(run, &o, y.p);
    compare_parts(run, &o, y.p);
    if (!guarded_free(&y))
        describe(run, shape, "wrote in front of y", 0, 0);
    operands_free(run, &o);
}

/* K of a type: as many blocks; floats take the odd sizes themselves. */
static int64_t length_of(Dtype t, int64_t size)
{
    const int64_t el = dtype_info(t)->block_elements;
    return el == 1 ? size : (size + el - 1) / el * el;
}

/* Every number of rows that has a tile of its own. */
static void linear_rows(Run *run)
{
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int64_t M = 0; M <= (run->quick ? 7 : 26); M++) {
            const Shape s = {types[t], M % 3 ? 77 : 161, length_of(types[t], 70), M, IN_PLAIN, M % 2};
            check_shape(run, &s);
        }
}

static void linear_shapes(Run *run)
{
    static const int64_t sizes[] = {0, 1, 15, 16, 17, 31, 33, 97, 257, 576, 600};
    static const int64_t rows[] = {1, 1, 2, 3, 5, 6, 7, 12, 13, 17, 31, 96, 97, 110, 200};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int i = 0; i < (run->quick ? 4 : 40); i++) {
            Shape s = {types[t], 0, length_of(types[t], PICK(run, sizes)), PICK(run, rows), IN_PLAIN, false};
            do
                s.N = PICK(run, sizes);
            while (s.N == 0 || s.N * s.K * s.M > 4000000);
            s.kind = i % 2 ? IN_PLAIN : (InputKind)(i / 2 % IN_COUNT);
            s.bias = i % 3 == 0;
            check_shape(run, &s);
        }
}

/* x = unit vectors: the product is the decoded weight itself, every bit of it. */
static void linear_reads_weights_exactly(Run *run)
{
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int M = 1; M <= 3; M += 2) {
            const int64_t N = 19, K = length_of(types[t], 96);
            const Shape shape = {types[t], N, K, M, IN_PLAIN, false};
            Operands o = operands(run, &shape);
            float *const w = floats(K);
            for (int64_t k = 0; k < K; k++) {
                memset(o.x, 0, (size_t)(M * K) * sizeof *o.x);
                for (int m = 0; m < M; m++)
                    o.x[m * K + k] = 1;
                Guarded y = whole(run, &run->level, &o);
                run->cases++;
                for (int64_t n = 0; n < N; n++) {
                    dtype_decode_f32(types[t], w, o.stored + dtype_row_bytes(types[t], K) * (size_t)n, K);
                    for (int m = 0; m < M; m++)
                        if (real_get(&run->level, y.p, m * (N + 2) + n) != (double)w[k])
                            describe(run, &shape, "not the weight", m, n);
                }
                guarded_free(&y);
            }
            mem_free(w);
            operands_free(run, &o);
        }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"linear_rows", linear_rows},
        {"linear_shapes", linear_shapes},
        {"linear_reads_weights_exactly", linear_reads_weights_exactly},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
