/* JSON objects with known keys. */
#include "store/record.h"

#include "base/mem.h"

#include <string.h>

#define FIELDS_MAX 32

Status record_text(JsonReader *r, char **out, Error *err)
{
    if (r->token != JSON_TOK_STRING)
        return json_error_token(r, err, "a string");
    if (r->str.len > RECORD_TEXT_MAX)
        return error_set(err, ST_CORRUPT, "byte %zu: a string of %zu bytes, at most %d are allowed", r->offset,
                         r->str.len, RECORD_TEXT_MAX);
    for (size_t k = 0; k < r->str.len; k++)
        if ((unsigned char)r->str.ptr[k] < 0x20 || r->str.ptr[k] == 0x7f)
            return error_set(err, ST_CORRUPT, "byte %zu: a string with a control character", r->offset);
    char *text = mem_strndup(r->str.ptr ? r->str.ptr : "", r->str.len);
    if (!text)
        return error_set(err, ST_NOMEM, "no memory for a string");
    *out = text;
    return ST_OK;
}

MUST_USE static Status read_field(JsonReader *r, const Field *f, Error *err)
{
    if (f->kind == FIELD_CUSTOM)
        return f->read(r, f->target, err);
    const Status st = json_next(r, err);
    if (st != ST_OK)
        return st;
    switch (f->kind) {
    case FIELD_TEXT:
        return record_text(r, f->target, err);
    case FIELD_INT:
        if (r->token != JSON_TOK_INT || r->i < 0)
            return json_error_token(r, err, "a whole number, not negative");
        *(int64_t *)f->target = r->i;
        return ST_OK;
    default:
        if (r->token != JSON_TOK_TRUE && r->token != JSON_TOK_FALSE)
            return json_error_token(r, err, "true or false");
        *(bool *)f->target = r->token == JSON_TOK_TRUE;
        return ST_OK;
    }
}

Status record_read(JsonReader *r, bool begun, const Field *fields, size_t count, Error *err)
{
    Status st = ST_OK;
    bool seen[FIELDS_MAX] = {false};
    CHECK(count <= FIELDS_MAX);
    if (!begun)
        TRY(json_next(r, err));
    if (r->token != JSON_TOK_OBJECT_BEGIN)
        TRY(json_error_token(r, err, "an object"));
    const size_t start = r->offset;
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        size_t k = 0;
        while (k < count && !str_eq(r->str, fields[k].key))
            k++;
        if (k == count) {
            TRY(json_skip(r, err));
            continue;
        }
        if (seen[k])
            TRY(error_set(err, ST_CORRUPT, "byte %zu: '%s' is given twice", r->offset, fields[k].key));
        seen[k] = true;
        st = read_field(r, &fields[k], err);
        if (st != ST_OK)
            return error_context(err, st, "'%s'", fields[k].key);
    }
    for (size_t k = 0; k < count; k++)
        if (fields[k].required && !seen[k])
            TRY(error_set(err, ST_CORRUPT, "byte %zu: the object lacks '%s'", start, fields[k].key));
out:
    return st;
}

Status record_read_array(JsonReader *r, Status (*each)(JsonReader *r, void *target, Error *err), void *target,
                         Error *err)
{
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_ARRAY_BEGIN, err));
    for (int n = 0;; n++) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_ARRAY_END)
            break;
        if (n == RECORD_ITEMS_MAX)
            TRY(error_set(err, ST_CORRUPT, "byte %zu: more than %d elements", r->offset, RECORD_ITEMS_MAX));
        TRY(each(r, target, err));
    }
out:
    return st;
}

Status record_read_version(JsonReader *r, void *target, Error *err)
{
    const int want = *(const int *)target;
    const Status st = json_expect(r, JSON_TOK_INT, err);
    if (st == ST_OK && r->i != want)
        return error_set(err, ST_UNSUPPORTED, "found version %lld, this program reads version %d",
                         (long long)r->i, want);
    return st;
}

Status record_read_file(JsonReader *r, CatalogueFile *out, Error *err)
{
    *out = (CatalogueFile){0};
    const Field fields[] = {
        {"name", FIELD_TEXT, true, &out->name, NULL},
        {"member", FIELD_TEXT, false, &out->member, NULL},
        {"bytes", FIELD_INT, true, &out->bytes, NULL},
        {"sha256", FIELD_TEXT, true, &out->sha256, NULL},
    };
    const size_t at = r->offset;
    const Status st = record_read(r, true, fields, sizeof fields / sizeof *fields, err);
    if (st != ST_OK)
        return st;
    if (!record_name_is_safe(out->name))
        return error_set(err, ST_CORRUPT, "byte %zu: '%s' cannot be the name of a file here", at, out->name);
    if (!record_is_sha256(out->sha256))
        return error_set(err, ST_CORRUPT, "byte %zu: 'sha256' is not 64 lower-case hexadecimal digits", at);
    return ST_OK;
}

void record_file_deinit(CatalogueFile *f)
{
    mem_free(f->name);
    mem_free(f->member);
    mem_free(f->sha256);
}

bool record_name_is_safe(const char *name)
{
    const size_t n = strlen(name);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+:";
    return n > 0 && n <= 128 && name[0] != '.' && name[0] != '-' && strspn(name, allowed) == n;
}

bool record_is_sha256(const char *hex)
{
    return strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64;
}
