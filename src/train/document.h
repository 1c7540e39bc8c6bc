/* One document from the bytes of a file. */
#ifndef PLUMB_TRAIN_DOCUMENT_H
#define PLUMB_TRAIN_DOCUMENT_H

#include "train/corpus.h"

/* A line of JSON Lines. `out` may be NULL: the line is only checked. ST_CORRUPT says at which byte and what was
 * expected; ST_UNSUPPORTED names a role that is none. */
MUST_USE Status document_from_json(Document *out, const uint8_t *line, size_t size, Error *err);

/* Text as it is, ill-formed sequences as U+FFFD. */
MUST_USE Status document_from_text(Document *out, const uint8_t *text, size_t size, Error *err);

/* How many bytes of the text belong to no character. */
int64_t text_bad_bytes(const uint8_t *text, size_t size);

#endif
