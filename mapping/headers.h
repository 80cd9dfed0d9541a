/* The `headers` cell: a JSON object of canonical names in order, the values of a repeated name
 * joined by ", ". One thread. */
#pragma once

#include "base/buffer.h"
#include "mapping/plan.h"

/* What no column, template, reject or log is given, whoever the secret in it is for. */
bool header_is_secret(Span name);

/* Scratch memory. All-zero is ready. */
typedef struct HeaderWriter {
    Buffer names;   /* canonical, one behind the other */
    Buffer entries; /* of HeaderEntry */
    Buffer value;
} HeaderWriter;

/* Appends the object. A value that is not UTF-8 is taken as ISO 8859-1, which is what HTTP once
 * meant by such bytes. */
void headers_to_json(HeaderWriter *writer, const EventHeader *headers, size_t count, Buffer *out);
void header_writer_deinit(HeaderWriter *writer);
