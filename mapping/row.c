#include "mapping/row.h"

#include <errno.h>

#include "base/error.h"
#include "mapping/cell.h"
#include "mapping/json_text.h"

/* Up to here quotes are not counted before there is room for twice the text. */
#define COUNTED_FROM_BYTES 4096

static bool is_special(char c) {
    return c == ',' || c == '"' || c == '\r' || c == '\n' || c == '\\';
}

char *cell_put_long_string(char *to, const char *from, size_t size) {
    check_debug(size > BLOCK_BYTES);
    bool quoted = *from == ' ' || from[size - 1] == ' ';
    for (size_t at = 0; at < size && !quoted; at += BLOCK_BYTES) {
        if (at > size - BLOCK_BYTES) at = size - BLOCK_BYTES; /* the last block overlaps */
        Block block = block_load(from + at);
        block_store(to + at, block);
        quoted = block_equal(block, ',') != 0;
    }
    if (!quoted) return to + size;
    *to++ = '"';
    memcpy(to, from, size);
    to += size;
    *to++ = '"';
    return to;
}

char *cell_put_long_text(char *to, const char *from, size_t size) {
    check_debug(size > BLOCK_BYTES);
    for (size_t at = 0; at < size; at += BLOCK_BYTES) {
        if (at > size - BLOCK_BYTES) at = size - BLOCK_BYTES;
        Block block = block_load(from + at);
        if (block_special(block)) return NULL;
        block_store(to + at, block);
    }
    return to + size;
}

void row_put(Buffer *out, Span text) {
    if (!text.data) text.data = "";
    char *end = cell_put_text(buffer_reserve(out, text.size + CELL_ROOM), text.data, text.size, text.data + text.size);
    if (end)
        out->size = (size_t)(end - out->data);
    else
        row_put_quoted(out, text);
}

/* Of 16 bits. Not every processor can do it at once, and a call would cost more. */
static size_t count_bits(unsigned bits) {
    bits -= bits >> 1 & 0x5555;
    bits = (bits & 0x3333) + (bits >> 2 & 0x3333);
    bits = (bits + (bits >> 4)) & 0x0f0f;
    return (bits + (bits >> 8)) & 0x1f;
}

static size_t count_quotes(Span text) {
    const char *p = text.data, *end = p + text.size;
    size_t count = 0;
    for (; end - p >= BLOCK_BYTES; p += BLOCK_BYTES) count += count_bits(block_equal(block_load(p), '"'));
    for (; p < end; p++) count += *p == '"';
    return count;
}

/* Room for the text as a quoted cell. When it is large the quotes are counted, since twice the text
 * would be much for nothing. */
static char *reserve_quoted(Buffer *out, Span text) {
    size_t doubled = text.size <= COUNTED_FROM_BYTES ? text.size : count_quotes(text);
    check_debug(doubled <= text.size);
    return buffer_reserve(out, text.size + doubled + CELL_ROOM);
}

/* The block at `p`, of which `size` bytes count, with its quotes doubled. `p` is followed by a
 * block that can be read. */
static inline char *put_doubled(char *to, const char *p, size_t size) {
    Block block = block_load(p);
    unsigned quotes = block_equal(block, '"') & block_first(size);
    block_store(to, block);
    for (; quotes; quotes &= quotes - 1) {
        /* Once more from the quote on, one place further: it and what follows. */
        size_t at = (size_t)__builtin_ctz(quotes);
        to++;
        block_store(to + at, block_load(p + at));
    }
    return to + size;
}

void row_put_quoted(Buffer *out, Span text) {
    if (!text.data) text.data = "";
    char *to = reserve_quoted(out, text);
    *to++ = '"';
    const char *p = text.data, *end = p + text.size;
    for (; end - p >= 2 * BLOCK_BYTES; p += BLOCK_BYTES) to = put_doubled(to, p, BLOCK_BYTES);
    char rest[3 * BLOCK_BYTES] = {0};
    size_t left = (size_t)(end - p);
    if (left) memcpy(rest, p, left);
    for (size_t at = 0; at < left; at += BLOCK_BYTES) to = put_doubled(to, rest + at, left - at < BLOCK_BYTES ? left - at : BLOCK_BYTES);
    *to++ = '"';
    out->size = (size_t)(to - out->data);
    check(out->size <= out->capacity);
}

/* Where the block before ended. */
typedef struct Inside {
    unsigned string; /* all bits: in a string, else none */
    unsigned escape; /* 1: its last byte was the backslash of an escape */
} Inside;

/* The bytes behind a backslash that is one itself. */
static unsigned find_escaped(unsigned backslashes, Inside *inside) {
    unsigned escaped = inside->escape;
    for (backslashes &= ~escaped; backslashes;) {
        unsigned at = (unsigned)__builtin_ctz(backslashes);
        escaped |= 2u << at;
        backslashes &= ~(3u << at);
    }
    inside->escape = escaped >> BLOCK_BYTES;
    return escaped;
}

/* As put_doubled, without the white space outside strings. */
static inline char *put_compact(char *to, const char *p, size_t size, Inside *inside) {
    Block block = block_load(p);
    unsigned quotes = block_equal(block, '"') & block_first(size), backslashes = block_equal(block, '\\');
    unsigned strings = backslashes | inside->escape ? quotes & ~find_escaped(backslashes, inside) : quotes;
    for (unsigned shift = 1; shift < BLOCK_BYTES; shift *= 2) strings ^= strings << shift; /* from each quote to before the next */
    strings = (strings ^ inside->string) & block_first(BLOCK_BYTES);
    inside->string = strings >> (BLOCK_BYTES - 1) ? block_first(BLOCK_BYTES) : 0;
    unsigned spaces = block_space_or_control(block) & ~strings & block_first(size);
    if (!spaces) return put_doubled(to, p, size);
    if (spaces == block_first(BLOCK_BYTES)) return to;
    for (size_t i = 0; i < size; i++) {
        to[0] = p[i];
        to[1] = '"';
        to += !(spaces >> i & 1) + (quotes >> i & 1);
    }
    return to;
}

void row_put_compact(Buffer *out, Span json) {
    /* A backslash stands in strings only, and brackets are at the edges. */
    bool quoted = memchr(json.data, '"', json.size) || memchr(json.data, ',', json.size);
    char *to = reserve_quoted(out, json);
    if (quoted) *to++ = '"';
    const char *p = json.data, *end = p + json.size;
    Inside inside = {0};
    for (; end - p >= 2 * BLOCK_BYTES; p += BLOCK_BYTES) to = put_compact(to, p, BLOCK_BYTES, &inside);
    char rest[3 * BLOCK_BYTES] = {0};
    size_t left = (size_t)(end - p);
    memcpy(rest, p, left);
    for (size_t at = 0; at < left; at += BLOCK_BYTES)
        to = put_compact(to, rest + at, left - at < BLOCK_BYTES ? left - at : BLOCK_BYTES, &inside);
    if (quoted) *to++ = '"';
    out->size = (size_t)(to - out->data);
    check(out->size <= out->capacity && inside.string == 0 && inside.escape == 0); /* a whole value: no string is open at its end */
}

int row_put_unescaped(Buffer *out, Span inner, const char *readable) {
    JsonFound found;
    char *start = buffer_reserve(out, inner.size + CELL_ROOM);
    char *text = start + 1, *end = json_unescape_to(text, inner, readable, true, &found);
    if (!end) return ROW_LONE_SURROGATE;
    size_t size = (size_t)(end - text);
    check(size <= inner.size); /* no escape is shorter than what it means */
    if (found.nul) return ROW_HOLDS_NUL;
    if (found.special || size == 0 || cell_is_blank(text[0]) || cell_is_blank(end[-1])) {
        *start = '"';
        *end = '"';
        size += 2;
    } else {
        memmove(start, text, size);
    }
    out->size += size;
    check(out->size <= out->capacity);
    return 0;
}

void row_put_null(Buffer *out) {
}

/* Behind the quoted cell that begins at `p`, or NULL when it has no end; counts the doubled quotes
 * in it. */
static const char *pass_quoted(const char *p, const char *end, size_t *ret_doubled) {
    *ret_doubled = 0;
    check_debug(p < end && *p == '"');
    for (p++;;) {
        p = p < end ? memchr(p, '"', (size_t)(end - p)) : NULL;
        if (!p) return NULL;
        if (++p == end || *p != '"') return p;
        p++;
        ++*ret_doubled;
    }
}

static const char *pass_unquoted(const char *p, const char *end) {
    for (; end - p >= BLOCK_BYTES; p += BLOCK_BYTES) {
        unsigned found = block_special(block_load(p));
        if (found) return p + __builtin_ctz(found);
    }
    while (p < end && !is_special(*p)) p++;
    return p;
}

size_t row_size(Span text) {
    if (text.size == 0) return 0;
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
            check(p - start >= 2);
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
                check(to == cell->data + cell->size && reader->scratch.size <= reader->scratch.capacity);
            }
        } else {
            p = pass_unquoted(p, end);
            *cell = (RowCell){.data = start, .size = (size_t)(p - start), .is_null = p == start};
        }
        if (p == end || *p != (i + 1 < count ? ',' : '\n')) return -EBADMSG;
        p++;
        if (p == end && i + 1 < count) return -EBADMSG;
    }
    check(p > reader->text.data && p <= end); /* a row is at least its newline */
    reader->text = (Span){p, (size_t)(end - p)};
    return 0;
}

void row_reader_deinit(RowReader *reader) {
    buffer_deinit(&reader->scratch);
    *reader = (RowReader){0};
}
