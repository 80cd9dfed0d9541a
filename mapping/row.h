/*
 * The text of rows: CSV as in RFC 4180 with `\n` and no header. NULL is an empty unquoted cell. A
 * cell is quoted if it is empty, if it contains a comma, quote, CR, LF or backslash, or if it
 * begins or ends with white space. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "mapping/words.h"

/* Appends one cell. Then the caller calls row_next_cell or row_end. Each byte of `text` is copied
 * once. */
void row_put(Buffer *out, Span text);
void row_put_null(Buffer *out);
/* The same for a text that needs quotes. */
void row_put_quoted(Buffer *out, Span text);
/* The same for a JSON object or array. White space outside its strings is removed. */
void row_put_compact(Buffer *out, Span json);
enum { ROW_LONE_SURROGATE = 1, ROW_HOLDS_NUL };
/* The same for the text that a JSON string means. `inner` is the string without its quotes, in
 * memory that can be read up to `readable`. If the result is not 0, `out` is unchanged. */
int row_put_unescaped(Buffer *out, Span inner, const char *readable);
/* The same for a text that needs no quotes: an id, a number. */
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
    const char *data; /* points into the text, or into the scratch memory of the reader; valid until the next row */
    size_t size;
    bool is_null;
} RowCell;

/* Reads rows from text that row_put wrote. To begin, set all to zero and then `text`. */
typedef struct RowReader {
    Span text;      /* the rest of the text */
    Buffer scratch; /* unescaped quoted cells */
} RowReader;

enum { ROW_READ_END = 1 };
/* Reads a row of exactly `count` cells. Returns 0, ROW_READ_END at the end of the text, or -EBADMSG
 * if the text is not a row of `count` cells of such CSV. */
int row_read(RowReader *reader, RowCell *cells, size_t count);
/* Returns the size in bytes of the first row of `text` with its newline, or 0 if there is no
 * complete row. */
size_t row_size(Span text);
void row_reader_deinit(RowReader *reader);
