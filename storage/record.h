/*
 * The envelope of every value outside the log: u8 kind, u8 version, fields (little-endian), u64
 * XXH3-64 of all bytes before it. Any thread.
 */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/span.h"

#define RECORD_OVERHEAD 10 /* bytes around the fields */

void record_begin(Buffer *out, uint8_t kind, uint8_t version); /* clears `out` first */
void record_seal(Buffer *out);
/* Opens a record. `ret_fields` begins at the fields and ends before the checksum. -EBADMSG, naming
 * `what`: another kind, a version above `newest`, or damage. */
int record_open(Span value, uint8_t kind, uint8_t newest, const char *what, Cursor *ret_fields, Error *error);
/* The version of a value that record_open has opened. */
static inline uint8_t record_version(Span value) {
    return (uint8_t)value.data[1];
}
/* Returns -EBADMSG if the fields were shorter or longer than what was read. */
int record_read_whole(const Cursor *fields, const char *what, Error *error);
