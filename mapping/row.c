#include "mapping/row.h"

#include <errno.h>

#include "base/error.h"
#include "mapping/text.h"

static bool is_special(char c) {
    return c == ',' || c == '"' || c == '\r' || c == '\n' || c == '\\';
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static uint64_t mask_special(uint64_t word) {
    return text_mask_equal(word, ',') | text_mask_equal(word, '"') | text_mask_equal(word, '\\') | text_mask_equal(word, '\r') |
           text_mask_equal(word, '\n');
}

/* Copies the text until something in it asks for quotes; false: it did, and what was copied is no cell. */
static bool copy_plain(char *to, Span text) {
    if (text.size == 0 || *text.data == '"' || is_blank(text.data[0]) || is_blank(text.data[text.size - 1])) return false;
    if (text.size < 8) {
        if (mask_special(text_load_short(text.data, text.size))) return false;
        text_copy(to, text.data, text.size);
        return true;
    }
    for (size_t at = 0; at < text.size; at += 8) {
        if (at > text.size - 8) at = text.size - 8; /* the last eight overlap */
        if (mask_special(text_load8(text.data + at))) return false;
        memcpy(to + at, text.data + at, 8);
    }
    return true;
}

void row_put(Buffer *out, Span text) {
    /* Eight bytes are stored at a time, of which fewer may count: room for them behind the worst case, in which each byte is a quote. */
    char *to = buffer_reserve(out, text.size * 2 + 2 + 8);
    if (copy_plain(to, text)) {
        out->size += text.size;
        return;
    }
    *to++ = '"';
    const char *p = text.data, *end = p + text.size;
    while (end - p >= 8) {
        uint64_t quotes = text_mask_equal(text_load8(p), '"');
        memcpy(to, p, 8);
        if (!quotes) {
            p += 8;
            to += 8;
            continue;
        }
        size_t count = text_mask_first(quotes) + 1;
        p += count;
        to += count;
        *to++ = '"';
    }
    for (; p < end; p++) {
        *to++ = *p;
        if (*p == '"') *to++ = '"';
    }
    *to++ = '"';
    out->size = (size_t)(to - out->data);
}

void row_put_null(Buffer *out) {
}

/* Behind the quoted cell that begins at `p`, or NULL when it has no end; counts the doubled quotes in it. */
static const char *pass_quoted(const char *p, const char *end, size_t *ret_doubled) {
    *ret_doubled = 0;
    for (p++;;) {
        p = p < end ? memchr(p, '"', (size_t)(end - p)) : NULL;
        if (!p) return NULL;
        if (++p == end || *p != '"') return p;
        p++;
        ++*ret_doubled;
    }
}

static const char *pass_unquoted(const char *p, const char *end) {
    while (p < end && !is_special(*p)) p++;
    return p;
}

size_t row_size(Span text) {
    const char *p = text.data, *end = p + text.size;
    while (p < end) {
        size_t doubled;
        p = *p == '"' ? pass_quoted(p, end, &doubled) : pass_unquoted(p, end);
        if (!p || p == end) return 0;
        if (*p == '\n') return (size_t)(p + 1 - text.data);
        /* Not such text otherwise: go on, row_read says so. */
        p++;
    }
    return 0;
}

int row_read(RowReader *reader, RowCell *cells, size_t count) {
    check(count > 0);
    if (reader->text.size == 0) return ROW_READ_END;
    const char *p = reader->text.data, *end = p + reader->text.size;
    bool reserved = false;
    buffer_clear(&reader->scratch);
    for (size_t i = 0; i < count; i++) {
        RowCell *cell = &cells[i];
        const char *start = p;
        if (*p == '"') {
            size_t doubled;
            p = pass_quoted(p, end, &doubled);
            if (!p) return -EBADMSG;
            *cell = (RowCell){.data = start + 1, .size = (size_t)(p - start) - 2};
            if (doubled) {
                /* All that this row can need at once, so that cells that were given do not move. */
                if (!reserved) {
                    size_t row = row_size((Span){start, (size_t)(end - start)});
                    if (row == 0) return -EBADMSG;
                    buffer_reserve(&reader->scratch, row);
                    reserved = true;
                }
                char *to = reader->scratch.data + reader->scratch.size;
                const char *from = cell->data, *stop = p - 1;
                cell->data = to;
                while (from < stop) {
                    const char *quote = memchr(from, '"', (size_t)(stop - from));
                    size_t part = (size_t)((quote ? quote + 1 : stop) - from);
                    memcpy(to, from, part);
                    to += part;
                    from += part + (quote ? 1 : 0);
                }
                cell->size -= doubled;
                reader->scratch.size += cell->size;
                check(to == cell->data + cell->size);
            }
        } else {
            p = pass_unquoted(p, end);
            *cell = (RowCell){.data = start, .size = (size_t)(p - start), .is_null = p == start};
        }
        if (p == end || *p != (i + 1 < count ? ',' : '\n')) return -EBADMSG;
        p++;
        if (p == end && i + 1 < count) return -EBADMSG;
    }
    reader->text = (Span){p, (size_t)(end - p)};
    return 0;
}

void row_reader_deinit(RowReader *reader) {
    buffer_deinit(&reader->scratch);
    *reader = (RowReader){0};
}
