/* Reading JSON objects with known keys into structs: what catalogue and manifests share. Internal. */
#ifndef PLUMB_STORE_RECORD_H
#define PLUMB_STORE_RECORD_H

#include "base/json.h"
#include "store/catalogue.h"

#define RECORD_TEXT_MAX 1024 /* bytes of one string */
#define RECORD_ITEMS_MAX 4096 /* elements of one list */

typedef enum {
    FIELD_TEXT,   /* char *, owned by the struct */
    FIELD_INT,    /* int64_t, >= 0 */
    FIELD_BOOL,   /* bool */
    FIELD_CUSTOM, /* read(reader, target, err) takes the whole value */
} FieldKind;

typedef struct {
    const char *key;
    FieldKind kind;
    bool required;
    void *target;
    Status (*read)(JsonReader *r, void *target, Error *err);
} Field;

/* One object whose begin is the next token (or, with `begun`, the current one). Unknown keys are skipped, so
 * a newer writer may add some; a key given twice or a missing one that is required is ST_CORRUPT. On
 * failure the texts read so far are in place, for the owner to free. */
MUST_USE Status record_read(JsonReader *r, bool begun, const Field *fields, size_t count, Error *err);

/* Every element of an array, the next value: each(reader, target, err) finds the element's first token read. */
MUST_USE Status record_read_array(JsonReader *r, Status (*each)(JsonReader *r, void *target, Error *err),
                                  void *target, Error *err);

/* For a FIELD_CUSTOM named "version": the one that *(const int *)target says, else ST_UNSUPPORTED at once. */
MUST_USE Status record_read_version(JsonReader *r, void *target, Error *err);

/* The current token as an owned text of at most RECORD_TEXT_MAX bytes without control characters. */
MUST_USE Status record_text(JsonReader *r, char **out, Error *err);

/* A file of a model, whose object has begun: name, bytes and sha256, checked, and `member` if it is there. On failure
 * as record_read. */
MUST_USE Status record_read_file(JsonReader *r, CatalogueFile *out, Error *err);
void record_file_deinit(CatalogueFile *f); /* zeroed is fine */

/* May it be a component of a path in the store: letters, digits and . _ - + : only, not beginning with a
 * dot or dash, at most 128 bytes. */
bool record_name_is_safe(const char *name);
bool record_is_sha256(const char *hex);

#endif
