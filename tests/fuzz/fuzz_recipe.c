/* Recipes: whatever the bytes are, they are refused with one line that names the file, or they make a recipe
 * whose numbers are in range, whose record lets itself go on, and whose configuration is JSON. Behind a zero
 * byte, when there is one, stands a --set. */
#include "base/json.h"
#include "base/mem.h"
#include "train/recipe.h"
#include "train/schedule.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_recipe(const Recipe *r)
{
    CHECK(r->data.source_count >= 1);
    CHECK(r->train.steps >= 1);
    CHECK(r->train.length >= 2);
    CHECK(r->optimiser.adamw_betas.count == 2);
    for (int64_t step = 0; step < 3; step++) {
        CHECK(schedule_share(r, step) >= 0);
        CHECK(schedule_share(r, r->train.steps - step) <= 1);
    }
    ByteBuf record = {0}, config = {0};
    CHECK(recipe_record(r, &record, NULL) == ST_OK);
    CHECK(recipe_check_record(r, (const char *)record.data, record.count, NULL) == ST_OK);
    const RecipeVocabulary v = {300, 0, -1};
    if (!*r->model.from && recipe_write_config(r, &v, &config, NULL) == ST_OK) {
        JsonReader j;
        json_init(&j, config.data, config.count);
        CHECK(json_next(&j, NULL) == ST_OK);
        CHECK(json_skip(&j, NULL) == ST_OK);
        json_deinit(&j);
    }
    bytebuf_free(&record);
    bytebuf_free(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t text = zero ? (size_t)(zero - data) : size;
    char *set = zero ? mem_strndup((const char *)zero + 1, size - text - 1) : NULL;
    const char *sets[] = {set};
    Recipe r;
    Error err = {0};
    const Status st = recipe_parse(&r, "f", text ? (const char *)data : "", text, sets, zero ? 1 : 0, &err);
    if (st == ST_OK) {
        check_recipe(&r);
        recipe_free(&r);
    } else {
        CHECK(strncmp(err.msg, "f:", 2) == 0 || strncmp(err.msg, "--set ", 6) == 0);
    }
    mem_free(set);
    return 0;
}
