/* Newton-Schulz iterations: see muon.h. Works on the side with the smaller Gram matrix: a tall matrix is transposed. */
#include "train/muon.h"

#include <math.h>
#include <string.h>

/* Sides of the matrix as it is worked on, rows <= columns. */
typedef struct {
    int64_t rows, columns;
    const Kernels *k;
    float *x, *y;      /* [rows][columns] */
    float *gram, *mix; /* [rows][rows] */
    void *panels;      /* packed operand */
    void *scratch;     /* of the kernels */
} Workspace;

static const PackForm plain = {FORM_F32, 1, 0, 0, false};

static size_t aligned(size_t n)
{
    return (n + 63) / 64 * 64;
}

static size_t panel_bytes(int64_t rows, int64_t columns)
{
    return form_bytes(&plain, rows, columns);
}

size_t muon_scratch_bytes(int64_t n, int64_t m)
{
    const int64_t rows = n < m ? n : m, columns = n < m ? m : n;
    const size_t wide = aligned((size_t)(rows * columns) * sizeof(float)), square = aligned((size_t)(rows * rows) * sizeof(float));
    return 2 * wide + 2 * square + aligned(panel_bytes(rows, columns)) + LINEAR_SCRATCH;
}

static Workspace open_workspace(int64_t n, int64_t m, const Kernels *k, void *scratch)
{
    Workspace w = {.rows = n < m ? n : m, .columns = n < m ? m : n, .k = k};
    const size_t wide = aligned((size_t)(w.rows * w.columns) * sizeof(float));
    const size_t square = aligned((size_t)(w.rows * w.rows) * sizeof(float));
    char *p = scratch;
    w.x = (float *)(void *)p;
    w.y = (float *)(void *)(p += wide);
    w.gram = (float *)(void *)(p += wide);
    w.mix = (float *)(void *)(p += square);
    w.panels = p += square;
    w.scratch = p + aligned(panel_bytes(w.rows, w.columns));
    return w;
}

static LinearShape pack(const Workspace *w, const float *operand, int64_t rows, int64_t columns)
{
    const int64_t panels = (rows + PANEL_ROWS - 1) / PANEL_ROWS;
    for (int64_t i = 0; i < panels; i++)
        form_pack_panel(&plain, (char *)w->panels + (size_t)i * form_panel_bytes(&plain, columns), DT_F32, operand, i, rows,
                        columns);
    return (LinearShape){&plain, w->panels, rows, columns, 0, panels, w->rows};
}

/* x ← a·x + (b·A + c·A²)·x */
static void iterate(const Workspace *w, float a, float b, float c)
{
    const int64_t n = w->rows, m = w->columns;
    LinearShape s = pack(w, w->x, n, m);
    w->k->linear(&s, w->gram, n, w->x, m, NULL, w->scratch);
    s = pack(w, w->gram, n, n);
    w->k->linear(&s, w->mix, n, w->gram, n, NULL, w->scratch); /* A is its own transpose */
    for (int64_t i = 0; i < n * n; i++)
        w->mix[i] = b * w->gram[i] + c * w->mix[i];
    s = pack(w, w->x, n, m);
    s.panel1 = (m + PANEL_ROWS - 1) / PANEL_ROWS;
    w->k->grad->linear_back(&s, w->y, m, w->mix, n, w->scratch);
    for (int64_t i = 0; i < n * m; i++)
        w->x[i] = a * w->x[i] + w->y[i];
}

/* Element (i, j) of the [n,m] matrix in the workspace's orientation. */
static int64_t place_of(const Workspace *w, int64_t n, int64_t i, int64_t j)
{
    return w->rows == n ? i * w->columns + j : j * w->columns + i;
}

void muon_direction(float *out, float *M, const float *grad, int64_t n, int64_t m, double scale, const MuonParams *p,
                    const Kernels *k, void *scratch)
{
    const Workspace w = open_workspace(n, m, k, scratch);
    const float mu = (float)p->momentum, g = (float)scale;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            const int64_t at = i * m + j;
            M[at] = mu * M[at] + g * grad[at];
            w.x[place_of(&w, n, i, j)] = mu * M[at] + g * grad[at];
        }
    const double norm = sqrt(k->grad->sum_squares(w.x, n * m));
    if (!(norm > 0)) {
        memset(out, 0, (size_t)(n * m) * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < n * m; i++)
        w.x[i] *= (float)(1 / norm);
    for (int64_t i = 0; i < p->iterations; i++) {
        if (i + 2 < p->iterations)
            iterate(&w, 3.4445f, -4.7750f, 2.0315f);
        else
            iterate(&w, 2.0f, -1.5f, 0.5f);
    }
    const float size = (float)(p->rms * sqrt((double)(n > m ? n : m)));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            out[i * m + j] = size * w.x[place_of(&w, n, i, j)];
}
