/*
 * The text of rows: CSV as in RFC 4180 with `\n` and no header. NULL is an empty unquoted cell. A
 * cell is quoted when it is empty, holds a comma, quote, CR, LF or backslash, or begins or ends
 * with white space. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "mapping/words.h"

/* One cell, then (by the caller) row_next_cell or row_end. Each byte of `text` is copied once. */
void row_put(Buffer *out, Span text);
void row_put_null(Buffer *out);
/* The same for a text of which it is known that it needs quotes. */
void row_put_quoted(Buffer *out, Span text);
/* The same for a JSON object or array that may hold white space outside its strings, which goes. */
void row_put_compact(Buffer *out, Span json);
enum { ROW_LONE_SURROGATE = 1, ROW_HOLDS_NUL };
/* The same for what a JSON string means; `inner` is without its quotes. When it is not 0 then `out`
 * is as it was. */
int row_put_unescaped(Buffer *out, Span inner);
/* The same for a text of which it is known that it needs no quotes: an id, a number. */
static inline void row_put_plain(Buffer *out, Span text) {
    text_copy_short(buffer_reserve(out, text.size), text.data, text.size);
    out->size += text.size;
}
static inline void row_next_cell(Buffer *out) {
    buffer_append_byte(out, ',');
}
static inline void row_end(Buffer *out) {
    buffer_append_byte(out, '\n');
}

typedef struct RowCell {
    const char *data; /* into the text, or into the reader's scratch; valid until the next row */
    size_t size;
    bool is_null;
} RowCell;

/* Reads rows from text that row_put wrote. All-zero, then `text` set, is ready. */
typedef struct RowReader {
    Span text;      /* what is left */
    Buffer scratch; /* unescaped quoted cells */
} RowReader;

enum { ROW_READ_END = 1 };
/* Fills exactly `count` cells. 0, ROW_READ_END at the end of the text, -EBADMSG when the text is
 * not `count` cells of such CSV. */
int row_read(RowReader *reader, RowCell *cells, size_t count);
/* Size in bytes of the first row of `text` with its newline, 0 if there is no whole row. */
size_t row_size(Span text);
void row_reader_deinit(RowReader *reader);
