/* The `headers` cell: a JSON object of canonical names, sorted. The values of a repeated name are
 * joined by ", ". One thread. */
#pragma once

#include "base/buffer.h"
#include "mapping/plan.h"

/* Is it a header that columns, templates, rejects and the log never get, because it may have a
 * secret? */
bool header_is_secret(Span name);

/* Scratch memory. All-zero is ready. */
typedef struct HeaderWriter {
    Buffer names;   /* canonical names, one behind the other */
    Buffer entries; /* of HeaderEntry */
    Buffer value;
} HeaderWriter;

/* Appends the object. A value that is not UTF-8 is read as ISO 8859-1, the former meaning of such
 * bytes in HTTP. */
void headers_to_json(HeaderWriter *writer, const EventHeader *headers, size_t count, Buffer *out);
void header_writer_deinit(HeaderWriter *writer);
