/* The parsers of the store: a catalogue that comes from a file of the user, and manifests. What is read
 * as a manifest must be the same after it was written and read again. */
#include "base/mem.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_text(const char *a, const char *b)
{
    if (!a != !b || (a && strcmp(a, b) != 0))
        abort();
}

static void write_and_read_again(const StoreModel *m)
{
    ByteBuf text = {0};
    StoreModel again = {0};
    if (manifest_write(&text, m, NULL) != ST_OK || manifest_parse(&again, text.data, text.count, NULL) != ST_OK)
        abort();
    same_text(m->title, again.title);
    same_text(m->licence, again.licence);
    same_text(m->source, again.source);
    same_text(m->pulled, again.pulled);
    same_text(m->file, again.file);
    same_text(m->sha256, again.sha256);
    if (m->bytes != again.bytes)
        abort();
    store_model_free(&again);
    bytebuf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Catalogue *catalogue = NULL;
    StoreModel m = {0};
    if (catalogue_parse(&catalogue, data, size, "input", &err) == ST_OK) {
        for (size_t k = 0; k < catalogue_count(catalogue); k++)
            if (!catalogue_find(catalogue, catalogue_at(catalogue, k)->name))
                abort();
        catalogue_close(catalogue);
    }
    if (manifest_parse(&m, data, size, &err) == ST_OK)
        write_and_read_again(&m);
    store_model_free(&m);
    ManifestFiles files = {0};
    if (manifest_parse_files(&files, data, size, &err) == ST_OK && files.count == 0)
        abort();
    manifest_files_free(&files);
    return 0;
}
