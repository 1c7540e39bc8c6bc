/* Argument records of kernels that take too much for a parameter list. */
#ifndef PLUMB_KERNELS_ARGS_H
#define PLUMB_KERNELS_ARGS_H

#include "kernels/forms.h"

/* Which rows and columns of a product to compute. */
typedef struct {
    const PackForm *form;
    const void *panels;     /* packed w, all panels */
    int64_t N, K;
    int64_t panel0, panel1; /* outputs 16·panel0 … min(16·panel1, N) − 1 */
    int64_t M;              /* rows of x and y */
} LinearShape;

/* Attention of consecutive rows of one sequence over one key/value head. The cache is paged: page p
 * holds the keys and values of positions 64p … 64p+63 of this layer; inside a page this head has
 *     keys    [head_dim][64]            at byte offset key_offset   (transposed: lanes are keys)
 *     values  [64][value_pad]           at byte offset value_offset (value_pad = head_dim up to ×16)
 * of type F32 or F16 in f32 tables (real in the f64 table). Unwritten entries are zero. */
#define ATTENTION_PAGE 64
typedef struct {
    const void *const *pages;
    size_t key_offset, value_offset;
    Dtype kv_type;          /* DT_F32 or DT_F16; ignored by the f64 table, whose cache is double */
    int64_t head_dim;       /* 1 … 4,000 */
    int64_t group;          /* query heads that share this key/value head */
    const void *q;          /* real [rows][ld_q]: heads h·head_dim … of this group, consecutive */
    void *out;              /* real [rows][ld_out], same layout */
    int64_t ld_q, ld_out;
    int64_t rows;
    int64_t position;       /* of the first row; row r sees keys 0 … position+r */
    int64_t window;         /* > 0: only the last `window` keys (itself included); 0: all */
    double scale;           /* on q·k */

    /* Compressed entries, a second set of keys (deepseek-v4.md §2.4), in pages of the same layout: entry j is
     * seen from position (j+1)·entry_tokens − 1 on. entry_tokens 0: there are none. */
    const void *const *entry_pages;
    size_t entry_key_offset, entry_value_offset;
    int64_t entry_tokens;
    const int32_t *chosen;  /* [rows][chosen_count] entries that a row sees, ascending, −1 behind the last (one that is
                             * not visible yet ends a list, too); NULL: all that are visible */
    int64_t chosen_count;
    const void *sinks;      /* real [group]: a score without a value, in the denominator only; NULL: none */
    void *lse;              /* real [rows][ld_lse], group of them a row: log of the denominator; NULL: not wanted */
    int64_t ld_lse;
} AttentionArgs;

/* Gradients of the attention of one whole sequence (position 0, rows = all of it) over one key/value head. */
typedef struct {
    const AttentionArgs *forward; /* out and lse as the forward pass left them */
    const void *dout;             /* real [rows][ld_dout], the group's heads as in out */
    int64_t ld_dout;
    void *dq;                     /* real [rows][ld_dq] = */
    int64_t ld_dq;
    /* += at row i for the key at position i. dv may be dk: keys that are their own values (as entries always
     * are), of which only `keys` are read. The cache is of type F32. A non-finite key that some row sees may
     * reach the gradients of rows that do not see it; one that no row sees is as if not there. */
    void *dk, *dv;
    int64_t ld_dk, ld_dv;
    void *dentries;               /* real [entries][ld_de] += , both as keys and as values */
    int64_t ld_de;
    void *dsinks;                 /* real [rows][ld_ds], group of them a row = ; NULL without sinks */
    int64_t ld_ds;
} AttentionBackArgs;

#endif
