/* Graphs: shape rules, and what they say about a graph that cannot be. */
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

typedef struct {
    Graph g;
    NodeId ids, embedding, x; /* x: [rows, 8] */
} Fixture;

static int setup(void **state)
{
    static Fixture f;
    graph_init(&f.g);
    assert_int_equal(graph_add(&f.g, OP_IDS, NULL, 0, NULL, &f.ids, NULL), ST_OK);
    assert_int_equal(graph_leaf(&f.g, OP_WEIGHT, 0, shape_2d(100, 8), &f.embedding, NULL), ST_OK);
    assert_int_equal(graph_add(&f.g, OP_EMBED, (NodeId[]){f.embedding, f.ids}, 2, NULL, &f.x, NULL), ST_OK);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    graph_deinit(&((Fixture *)*state)->g);
    return 0;
}

static void embedding_has_a_row_for_every_id(void **state)
{
    Fixture *f = *state;
    const Shape *s = &graph_node(&f->g, f->x)->shape;
    assert_int_equal(s->ndim, 2);
    assert_int_equal(s->dims[0], DIM_ROWS);
    assert_int_equal(s->dims[1], 8);
}

static void linear_turns_columns_into_outputs(void **state)
{
    Fixture *f = *state;
    NodeId w, y;
    assert_int_equal(graph_leaf(&f->g, OP_WEIGHT, 1, shape_2d(24, 8), &w, NULL), ST_OK);
    assert_int_equal(graph_add(&f->g, OP_LINEAR, (NodeId[]){f->x, w}, 2, NULL, &y, NULL), ST_OK);
    assert_int_equal(shape_row_elements(&graph_node(&f->g, y)->shape), 24);
    assert_true(op_row(OP_LINEAR)->cost(&f->g, graph_node(&f->g, y)) == 2.0 * 24 * 8);
}

static void linear_refuses_a_weight_of_other_width_and_names_both(void **state)
{
    Fixture *f = *state;
    NodeId w, y = 77;
    Error err;
    f->g.site = "ffn.up";
    f->g.layer = 3;
    assert_int_equal(graph_leaf(&f->g, OP_WEIGHT, 1, shape_2d(24, 9), &w, NULL), ST_OK);
    assert_int_equal(graph_add(&f->g, OP_LINEAR, (NodeId[]){f->x, w}, 2, NULL, &y, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "ffn.up"));
    assert_non_null(strstr(err.msg, "layer 3"));
    assert_non_null(strstr(err.msg, "9"));
    assert_non_null(strstr(err.msg, "8"));
    assert_int_equal(y, 77);
}

static void attention_refuses_heads_that_do_not_share_evenly(void **state)
{
    Fixture *f = *state;
    NodeId kv, y;
    Error err;
    assert_int_equal(graph_leaf(&f->g, OP_STATE, 0, shape_2d(3, 2), &kv, NULL), ST_OK);
    const OpParams p = {.heads = 4, .kv_heads = 3, .head_dim = 2, .scale = 1};
    assert_int_equal(graph_add(&f->g, OP_ATTENTION, (NodeId[]){f->x, kv}, 2, &p, &y, &err), ST_INVALID);
}

static void selected_rows_cannot_be_added_to_all_rows(void **state)
{
    Fixture *f = *state;
    NodeId some, y;
    assert_int_equal(graph_add(&f->g, OP_SELECT_ROWS, &f->x, 1, NULL, &some, NULL), ST_OK);
    assert_int_equal(graph_node(&f->g, some)->shape.dims[0], DIM_LOGIT_ROWS);
    assert_int_equal(graph_add(&f->g, OP_ADD, (NodeId[]){f->x, some}, 2, NULL, &y, NULL), ST_INVALID);
}

static void every_op_has_a_name_and_a_shape_rule(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        assert_non_null(op_row((Op)op)->name);
        assert_non_null(op_row((Op)op)->shape);
        assert_true(op_row((Op)op)->inputs_max <= NODE_INPUTS_MAX);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(embedding_has_a_row_for_every_id),
        T(linear_turns_columns_into_outputs),
        T(linear_refuses_a_weight_of_other_width_and_names_both),
        T(attention_refuses_heads_that_do_not_share_evenly),
        T(selected_rows_cannot_be_added_to_all_rows),
        T(every_op_has_a_name_and_a_shape_rule),
    };
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
