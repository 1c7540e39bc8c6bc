/* plumb ls: the models on this machine; --all: also those that can be fetched. */
#include "cli/model_path.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

static bool is_here(const StoreList *list, const CatalogueModel *known)
{
    for (size_t k = 0; k < list->count; k++)
        if (!list->items[k].problem && strcmp(list->items[k].name, known->name) == 0)
            return true;
    return false;
}

/* ---- JSON ---- */

static void write_pair(JsonWriter *w, const char *key, const char *value)
{
    if (!value)
        return;
    json_write_key(w, key);
    json_write_string(w, value);
}

static void write_digest(JsonWriter *w, const char *sha256)
{
    char digest[80];
    if (!sha256)
        return;
    snprintf(digest, sizeof digest, "sha256:%.64s", sha256);
    write_pair(w, "digest", digest);
}

static void write_model(JsonWriter *w, const StoreModel *m)
{
    json_write_object_begin(w);
    write_pair(w, "name", m->name);
    json_write_key(w, "here");
    json_write_bool(w, !m->problem);
    write_pair(w, "title", m->title);
    json_write_key(w, "bytes");
    json_write_int(w, m->bytes);
    write_digest(w, m->sha256);
    write_pair(w, "licence", m->licence);
    write_pair(w, "source", m->source);
    write_pair(w, "pulled", m->pulled);
    write_pair(w, "path", m->path);
    write_pair(w, "problem", m->problem);
    json_write_key(w, "embedded");
    json_write_bool(w, m->embedded);
    json_write_object_end(w);
}

static void write_known(JsonWriter *w, const CatalogueModel *c)
{
    json_write_object_begin(w);
    write_pair(w, "name", c->name);
    json_write_key(w, "here");
    json_write_bool(w, false);
    write_pair(w, "title", c->title);
    write_pair(w, "licence", c->licence);
    if (c->file_count > 0) {
        json_write_key(w, "bytes");
        json_write_int(w, c->files[0].bytes);
        write_digest(w, c->files[0].sha256);
        json_write_key(w, "download_bytes");
        json_write_int(w, c->source.bytes);
    }
    json_write_key(w, "embedded");
    json_write_bool(w, catalogue_is_embedded(c));
    json_write_object_end(w);
}

static int print_json(const Cli *cli, const Models *models, const StoreList *list, bool all)
{
    JsonWriter w;
    json_write_init(&w, 0, (size_t)64 << 20);
    json_write_object_begin(&w);
    write_pair(&w, "directory", store_dir(models->store));
    json_write_key(&w, "models");
    json_write_array_begin(&w);
    for (size_t k = 0; k < list->count; k++)
        write_model(&w, &list->items[k]);
    for (size_t k = 0; all && k < catalogue_count(models->catalogue); k++)
        if (!is_here(list, catalogue_at(models->catalogue, k)))
            write_known(&w, catalogue_at(models->catalogue, k));
    json_write_array_end(&w);
    json_write_object_end(&w);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

/* ---- For people ---- */

static void print_row(int width, const char *name, double bytes, const char *licence, const char *note)
{
    char size[24];
    format_bytes(size, sizeof size, bytes);
    printf("%-*s  %9s  %-12s  %s\n", width, name, size, licence ? licence : "-", note);
}

static int name_width(const Models *models, const StoreList *list)
{
    size_t width = 4;
    for (size_t k = 0; k < list->count; k++)
        if (strlen(list->items[k].name) > width)
            width = strlen(list->items[k].name);
    for (size_t k = 0; k < catalogue_count(models->catalogue); k++)
        if (strlen(catalogue_at(models->catalogue, k)->name) > width)
            width = strlen(catalogue_at(models->catalogue, k)->name);
    return (int)width;
}

static const char *note_of(const StoreModel *m)
{
    if (m->problem)
        return "unusable";
    if (m->embedded)
        return "comes with Plumb";
    return m->pulled ? m->pulled : "-";
}

static void print_known(int width, const CatalogueModel *c)
{
    if (catalogue_is_embedded(c))
        printf("%-*s  %9s  %-12s  %s\n", width, c->name, "-", c->licence, "(comes with Plumb, not found)");
    else
        print_row(width, c->name, (double)c->files[0].bytes, c->licence, "(plumb pull)");
}

static void print_table(const Cli *cli, const Models *models, const StoreList *list, bool all)
{
    const int width = name_width(models, list);
    if (list->count > 0 || all)
        printf("%-*s  %9s  %-12s  %s\n", width, "NAME", "SIZE", "LICENCE", "PULLED");
    for (size_t k = 0; k < list->count; k++) {
        const StoreModel *m = &list->items[k];
        print_row(width, m->name, (double)m->bytes, m->licence, note_of(m));
        if (m->problem && m->embedded)
            cli_warn(cli, "%s: %s; it comes with Plumb, whose files have to be brought again", m->name, m->problem);
        else if (m->problem)
            cli_warn(cli, "%s: %s; 'plumb rm %s' removes it", m->name, m->problem, m->name);
    }
    for (size_t k = 0; all && k < catalogue_count(models->catalogue); k++) {
        const CatalogueModel *c = catalogue_at(models->catalogue, k);
        if (!is_here(list, c))
            print_known(width, c);
    }
    if (list->count == 0 && !all)
        fprintf(stderr, "no models in %s; 'plumb ls --all' lists those that can be fetched\n",
                store_dir(models->store));
}

static void print_names(const Models *models, const StoreList *list, bool all)
{
    for (size_t k = 0; k < list->count; k++)
        printf("%s\n", list->items[k].name);
    for (size_t k = 0; all && k < catalogue_count(models->catalogue); k++)
        if (!is_here(list, catalogue_at(models->catalogue, k)))
            printf("%s\n", catalogue_at(models->catalogue, k)->name);
}

static int run_ls(Cli *cli)
{
    Error err = {0};
    Models models = {0};
    StoreList list = {0};
    int code = 0;
    Status st = models_open(&models, &err);
    if (st == ST_OK)
        st = store_list(models.store, models.catalogue, &list, &err);
    if (st != ST_OK)
        code = cli_fail(cli, st, &err);
    else if (cli_json(cli))
        code = print_json(cli, &models, &list, cli_flag(cli, "all"));
    else if (cli_flag(cli, "quiet"))
        print_names(&models, &list, cli_flag(cli, "all"));
    else
        print_table(cli, &models, &list, cli_flag(cli, "all"));
    store_list_free(&list);
    models_close(&models);
    return code;
}

static const CliOption options[] = {
    {.name = "all", .letter = 'a', .kind = OPT_FLAG, .help = "also the models that 'plumb pull' can fetch"},
    {.name = "quiet", .letter = 'q', .kind = OPT_FLAG, .help = "names only"},
    CLI_OPTION_JSON,
    {0},
};

const CliCommand cmd_ls = {
    .name = "ls",
    .also = "list",
    .help = "list the models on this machine",
    .options = options,
    .common = true,
    .run = run_ls,
};
