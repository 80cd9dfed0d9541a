#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "guard.h"
#include "mapping/cell.h"
#include "mapping/json_text.h"
#include "mapping/row.h"

/* This runs twice: with the kernels of the processor at hand and, as test-row-portable, with those
 * for any. Both are held against the same plain loops here. */

static const char pieces[] = "\"\"\"\",,\n\r\\ \tabcdefghijklmnopq\xc3\xa9\xff\x01";

static uint64_t random_state = 1181783497276652981;
static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

static void text_of_one(const char *text, size_t size, const char *expected) {
    Buffer row = {0};
    row_put(&row, (Span){text, size});
    assert_string_equal(buffer_text(&row), expected);
    buffer_deinit(&row);
}

static void cells_are_quoted_when_they_must(void **state) {
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"", "\"\""},
        {"a", "a"},
        {"a b", "a b"},
        {" a", "\" a\""},
        {"a ", "\"a \""},
        {"\ta", "\"\ta\""},
        {"a\v", "\"a\v\""},
        {"a,b", "\"a,b\""},
        {"a\"b", "\"a\"\"b\""},
        {"\"", "\"\"\"\""},
        {"\"abcdefghijkl\"", "\"\"\"abcdefghijkl\"\"\""},
        {"\"\"\"\"\"\"\"\"\"\"", "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""},
        {"\\.", "\"\\.\""},
        {"a\\", "\"a\\\""},
        {"a\rb", "\"a\rb\""},
        {"a\nb", "\"a\nb\""},
        {"abcdefghijklmnop,", "\"abcdefghijklmnop,\""},
        {"NULL", "NULL"},
        {"'x'", "'x'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) text_of_one(rows[i].text, strlen(rows[i].text), rows[i].expected);
    text_of_one(NULL, 0, "\"\"");
    assert_int_equal(row_size((Span){0}), 0);
}

static void random_cells_come_back(void **state) {
    Guard guard = guard_new(1 << 14);
    for (int round = 0; round < 20000; round++) {
        char texts[5][64];
        RowCell cells[5], got[5];
        size_t count = 1 + random_below(5), row_count = 1 + random_below(3);
        Buffer rows = {0};
        for (size_t i = 0; i < count; i++) {
            size_t size = random_below(5) ? random_below(8) : random_below(64);
            for (size_t j = 0; j < size; j++) texts[i][j] = random_below(20) ? pieces[random_below(sizeof pieces - 1)] : 0;
            cells[i] = (RowCell){.data = texts[i], .size = size, .is_null = random_below(6) == 0};
        }
        for (size_t r = 0; r < row_count; r++) {
            for (size_t i = 0; i < count; i++) {
                if (i) row_next_cell(&rows);
                if (cells[i].is_null)
                    row_put_null(&rows);
                else
                    row_put(&rows, guard_place(&guard, cells[i].data, cells[i].size));
            }
            row_end(&rows);
        }
        Span text = guard_place(&guard, rows.data, rows.size);
        assert_int_equal(row_size(text), rows.size / row_count);
        for (size_t cut = 0; cut < rows.size / row_count; cut++) assert_int_equal(row_size(guard_place(&guard, rows.data, cut)), 0);
        RowReader reader = {.text = guard_place(&guard, rows.data, rows.size)};
        for (size_t r = 0; r < row_count; r++) {
            assert_int_equal(row_read(&reader, got, count), 0);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(got[i].is_null, cells[i].is_null);
                if (cells[i].is_null) continue;
                assert_int_equal(got[i].size, cells[i].size);
                if (got[i].size) assert_memory_equal(got[i].data, cells[i].data, got[i].size);
            }
        }
        assert_int_equal(row_read(&reader, got, count), ROW_READ_END);
        row_reader_deinit(&reader);
        buffer_deinit(&rows);
    }
    guard_free(&guard);
}

static void other_text_is_refused(void **state) {
    static const struct {
        const char *text;
        size_t count;
    } rows[] = {{"a", 1},      {"a,b", 2}, {"a\n", 2},   {"a,b\n", 1}, {"\"a\n", 1},     {"\"a\"b\n", 1}, {"a\"b\n", 1}, {"a\r\n", 1},
                {"a\\b\n", 1}, {"a,", 2},  {"\"a\"", 1}, {",\n", 1},   {"\"a\"\"\n", 1}, {"\n", 2},       {"\"\"x", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        RowReader reader = {.text = span_of(rows[i].text)};
        RowCell cells[2];
        assert_int_equal(row_read(&reader, cells, rows[i].count), -EBADMSG);
        row_reader_deinit(&reader);
    }
}

static void damaged_rows_are_never_read_beyond(void **state) {
    Guard guard = guard_new(1 << 12);
    for (int round = 0; round < 50000; round++) {
        char text[40];
        size_t size = random_below(sizeof text);
        for (size_t i = 0; i < size; i++) text[i] = pieces[random_below(12)];
        RowReader reader = {.text = guard_place(&guard, text, size)};
        RowCell cells[3];
        (void)row_size(reader.text);
        while (row_read(&reader, cells, 1 + random_below(3)) == 0) assert_true(reader.text.size < size);
        row_reader_deinit(&reader);
    }
    guard_free(&guard);
}

static unsigned mask_where(const char *bytes, bool (*is)(unsigned char)) {
    unsigned mask = 0;
    for (unsigned i = 0; i < BLOCK_BYTES; i++) mask |= (is((unsigned char)bytes[i]) ? 1u : 0u) << i;
    return mask;
}

static bool is_row_special(unsigned char c) {
    return c == ',' || c == '"' || c == '\\' || c == '\r' || c == '\n';
}

static bool is_json_special(unsigned char c) {
    return c < 0x20 || c == '"' || c == '\\';
}

static bool is_space_or_control(unsigned char c) {
    return c <= 0x20;
}

static bool is_not_ascii_text(unsigned char c) {
    return c == 0 || c >= 0x80;
}

static char equal_to;
static bool is_equal(unsigned char c) {
    return (char)c == equal_to;
}

static void blocks_are_what_their_bytes_are(void **state) {
    static const char near[] = ",\"\\\r\n\x00\x01\x1f\x20\x21\x23\x2b\x2d\x5b\x5d\x7f\x80\x81\xa2\xac\xdc\xff";
    Guard guard = guard_new(64);
    for (int round = 0; round < 100000; round++) {
        char bytes[BLOCK_BYTES];
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = round % 2 ? near[random_below(sizeof near - 1)] : (char)random_below(256);
        Block block = block_load(guard_place(&guard, bytes, sizeof bytes).data);
        char copy[BLOCK_BYTES];
        block_store(copy, block);
        assert_memory_equal(copy, bytes, sizeof bytes);
        equal_to = near[random_below(sizeof near - 1)];
        assert_int_equal(block_equal(block, equal_to), mask_where(bytes, is_equal));
        assert_int_equal(block_special(block), mask_where(bytes, is_row_special));
        assert_int_equal(block_json_special(block), mask_where(bytes, is_json_special));
        assert_int_equal(block_space_or_control(block), mask_where(bytes, is_space_or_control));
        assert_int_equal(block_not_ascii_text(block), mask_where(bytes, is_not_ascii_text));
        char hex[2 * BLOCK_BYTES], expected[2 * BLOCK_BYTES + 1];
        block_put_hex(hex, bytes);
        for (size_t i = 0; i < sizeof bytes; i++) snprintf(expected + 2 * i, 3, "%02x", (unsigned char)bytes[i]);
        assert_memory_equal(hex, expected, sizeof hex);
        size_t size = random_below(BLOCK_BYTES + 1);
        Span part = guard_place(&guard, bytes, size);
        block_store(copy, block_load_part(part.data, size, part.data + size));
        assert_memory_equal(copy, bytes, size);
        for (size_t i = size; i < sizeof copy; i++) assert_int_equal(copy[i], 0);
        assert_int_equal(block_first(size), (1ul << size) - 1);
        Uuid id;
        memcpy(id.bytes, bytes, sizeof id.bytes);
        char text[UUID_TEXT_SIZE + CELL_ROOM], same[UUID_TEXT_SIZE];
        assert_ptr_equal(cell_put_id(text, &id), text + UUID_TEXT_SIZE);
        uuid_format(&id, same);
        assert_memory_equal(text, same, sizeof same);
    }
    guard_free(&guard);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The rule as row.h says it, byte by byte. Gives the size. */
static size_t plain_cell(char *to, const char *text, size_t size) {
    bool quoted = size == 0 || is_space(text[0]) || is_space(text[size - 1]);
    for (size_t i = 0; i < size; i++) quoted = quoted || is_row_special((unsigned char)text[i]);
    char *start = to;
    if (quoted) *to++ = '"';
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"') *to++ = '"';
        *to++ = text[i];
    }
    if (quoted) *to++ = '"';
    return (size_t)(to - start);
}

enum { LONGEST = 300 };

static void is_cell(const char *start, const char *end, const char *text, size_t size) {
    char expected[2 * LONGEST + 8];
    size_t expected_size = plain_cell(expected, text, size);
    assert_non_null(end);
    assert_int_equal(end - start, expected_size);
    assert_memory_equal(start, expected, expected_size);
}

/* Any text as a cell, of any size, from the end of a page, into the room that is asked for and not
 * a byte more. */
static void cells_keep_to_their_room(void **state) {
    static const char plain[] = "abcdefgh 0123456789.:;[]{}'\x7f\x80\xff", string[] = "abcdefghijk 012, \xc3\xa9\xe6\x97\xa5;";
    Guard from = guard_new(1 << 12), to = guard_new(1 << 12);
    char text[LONGEST];
    for (int round = 0; round < 60000; round++) {
        size_t size = random_below(4) ? random_below(40) : random_below(LONGEST - 40), behind = random_below(40);
        const char *letters = round % 3 == 0 ? pieces : round % 3 == 1 ? plain : string;
        size_t count = round % 3 == 0 ? sizeof pieces - 1 : round % 3 == 1 ? sizeof plain - 1 : sizeof string - 1;
        uint32_t spread = random_below(3);
        for (size_t i = 0; i < size + behind; i++) text[i] = spread && random_below(64) ? 'x' : letters[random_below((uint32_t)count)];
        const char *place = guard_place(&from, text, size + behind).data, *end = place + size + behind;
        char *room = to.map + to.bytes - size - CELL_ROOM;

        Buffer row = {0};
        row_put(&row, guard_place(&from, text, size));
        is_cell(row.data, row.data + row.size, text, size);
        buffer_deinit(&row);

        place = guard_place(&from, text, size + behind).data;
        char *stop = cell_copy(room, place, size, end);
        assert_int_equal(stop - room, size);
        assert_memory_equal(room, text, size);
        stop = cell_put_text(room, place, size, end);
        char expected[2 * LONGEST + 8];
        bool quoted = plain_cell(expected, text, size) != size;
        assert_int_equal(!stop, quoted);
        if (stop) is_cell(room, stop, text, size);
        bool is_string = true;
        for (size_t i = 0; i < size; i++) is_string = is_string && !is_json_special((unsigned char)text[i]);
        if (is_string) {
            is_cell(room, cell_put_string(room, place, size, end), text, size);
            if (size + 2 <= LONGEST) {
                char with_quotes[LONGEST + 2];
                with_quotes[0] = with_quotes[size + 1] = '"';
                memcpy(with_quotes + 1, text, size);
                place = guard_place(&from, with_quotes, size + 2).data;
                room = to.map + to.bytes - (size + 2) - CELL_ROOM;
                is_cell(room, cell_put_quoted_string(room, place, size + 2, place + size + 2), with_quotes, size + 2);
            }
        }
        if (quoted) {
            row_put_quoted(&row, guard_place(&from, text, size));
            is_cell(row.data, row.data + row.size, text, size);
            buffer_deinit(&row);
        }
    }
    guard_free(&from);
    guard_free(&to);
}

/* Random JSON with white space between its tokens, and the same without, side by side. */
typedef struct Document {
    Buffer spaced, compact;
} Document;

static void add_token(Document *document, const char *text) {
    for (uint32_t i = random_below(3) ? 0 : random_below(20); i > 0; i--) buffer_append_byte(&document->spaced, " \t\r\n"[random_below(4)]);
    buffer_append_text(&document->spaced, text);
    buffer_append_text(&document->compact, text);
}

static void add_string(Document *document) {
    static const char *const parts[] = {"a", " ", "\\\"", "\\\\", "\\u0041", ",", "{", "0123456789abcdefghi", "\xc3\xa9", "\\n", "  "};
    char text[512] = "\"";
    for (uint32_t i = random_below(8); i > 0; i--) strcat(text, parts[random_below(11)]);
    strcat(text, "\"");
    add_token(document, text);
}

static void add_value(Document *document, int depth) {
    uint32_t kind = depth == 0 ? random_below(2) : depth > 4 ? random_below(4) + 2 : random_below(6), count = random_below(4);
    switch (kind) {
    case 0:
        add_token(document, "{");
        for (uint32_t i = 0; i < count; i++) {
            if (i) add_token(document, ",");
            add_string(document);
            add_token(document, ":");
            add_value(document, depth + 1);
        }
        add_token(document, "}");
        break;
    case 1:
        add_token(document, "[");
        for (uint32_t i = 0; i < count; i++) {
            if (i) add_token(document, ",");
            add_value(document, depth + 1);
        }
        add_token(document, "]");
        break;
    case 2: add_token(document, "-1.5e+3"); break;
    case 3: add_token(document, "null"); break;
    default: add_string(document); break;
    }
}

static void white_space_goes_on_the_way(void **state) {
    Guard guard = guard_new(1 << 16);
    for (int round = 0; round < 20000; round++) {
        Document document = {0};
        Buffer row = {0}, expected = {0}, compact = {0};
        add_value(&document, 0);
        size_t lead = 0;
        while (document.spaced.data[lead] <= ' ') lead++;
        Span text = guard_place(&guard, document.spaced.data + lead, document.spaced.size - lead);
        row_put_compact(&row, text);
        row_put(&expected, buffer_span(&document.compact));
        assert_int_equal(row.size, expected.size);
        assert_memory_equal(row.data, expected.data, row.size);
        json_compact(&compact, text);
        assert_int_equal(compact.size, document.compact.size);
        assert_memory_equal(compact.data, document.compact.data, compact.size);
        buffer_deinit(&row);
        buffer_deinit(&expected);
        buffer_deinit(&compact);
        buffer_deinit(&document.spaced);
        buffer_deinit(&document.compact);
    }
    guard_free(&guard);
}

static void escapes_go_on_the_way(void **state) {
    static const struct {
        const char *escaped, *text;
    } parts[] = {{"a", "a"},
                 {" ", " "},
                 {"0123456789abcdefghijklmnopq", "0123456789abcdefghijklmnopq"},
                 {"\\\"", "\""},
                 {"\\u0022", "\""},
                 {"\\\\", "\\"},
                 {"\\/", "/"},
                 {"\\n", "\n"},
                 {"\\t", "\t"},
                 {"\\b", "\b"},
                 {"\\u00e9", "\xc3\xa9"},
                 {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
                 {"\xe6\x97\xa5", "\xe6\x97\xa5"},
                 {",", ","},
                 {"\\u0041", "A"},
                 {"\\u002c", ","},
                 {"\\u005C", "\\"},
                 {"\\u000a", "\n"},
                 {"\\u000D", "\r"},
                 {"\\u0020", " "},
                 {"\\r", "\r"},
                 {"\\f", "\f"},
                 {"\\u9aBc", "\xe9\xaa\xbc"}};
    static const char behind[] = "\",\\,\"\n\\\\,\r\0 \",\\,\"\n\\\\,\r\0 "; /* what a string that is read beyond its end would show */
    Guard guard = guard_new(1 << 12);
    Buffer escaped = {0}, text = {0}, row = {0}, expected = {0};
    for (int round = 0; round < 60000; round++) {
        buffer_clear(&escaped);
        buffer_clear(&text);
        buffer_clear(&expected);
        buffer_append_byte(&escaped, '\\'); /* there is one escape at least */
        buffer_append_byte(&escaped, '/');
        buffer_append_byte(&text, '/');
        if (round % 2) escaped.size = text.size = 0;
        for (uint32_t i = random_below(12); i > 0; i--) {
            size_t part = random_below(sizeof parts / sizeof *parts);
            buffer_append_text(&escaped, parts[part].escaped);
            buffer_append_text(&text, parts[part].text);
        }
        Buffer fresh = {0};
        size_t size = escaped.size, more = random_below(sizeof behind);
        buffer_append(&escaped, behind, more);
        Span placed = guard_place(&guard, escaped.data, escaped.size);
        escaped.size = size;
        assert_int_equal(row_put_unescaped(&fresh, (Span){placed.data, size}, placed.data + placed.size), 0);
        row_put(&expected, buffer_span(&text));
        assert_int_equal(fresh.size, expected.size);
        assert_memory_equal(fresh.data, expected.data, fresh.size);
        buffer_deinit(&fresh);
        buffer_append_text(&escaped, random_below(2) ? "\\u0000" : "\\u0000x");
        assert_int_equal(row_put_unescaped(&row, buffer_span(&escaped), escaped.data + escaped.size), ROW_HOLDS_NUL);
        buffer_append_text(&escaped, random_below(2) ? "\\udc00" : "\\ud800\\u0041");
        assert_int_equal(row_put_unescaped(&row, buffer_span(&escaped), escaped.data + escaped.size), ROW_LONE_SURROGATE);
        assert_int_equal(row.size, 0);
    }
    buffer_deinit(&escaped);
    buffer_deinit(&text);
    buffer_deinit(&row);
    buffer_deinit(&expected);
    guard_free(&guard);
}

static void large_cells_take_little_more_than_themselves(void **state) {
    enum { SIZE = 20 << 20 };
    char *text = malloc(SIZE);
    assert_non_null(text);
    memset(text, 'x', SIZE);
    text[SIZE / 2] = ',';
    Buffer row = {0};
    row_put(&row, (Span){text, SIZE});
    assert_int_equal(row.size, SIZE + 2);
    assert_true(row.capacity < SIZE + (SIZE >> 4));
    buffer_deinit(&row);
    text[SIZE / 3] = text[SIZE / 2] = text[SIZE - 1] = '"';
    row_put(&row, (Span){text, SIZE});
    assert_int_equal(row.size, SIZE + 5);
    row_end(&row);
    RowReader reader = {.text = buffer_span(&row)};
    RowCell cell;
    assert_int_equal(row_read(&reader, &cell, 1), 0);
    assert_int_equal(cell.size, SIZE);
    assert_memory_equal(cell.data, text, SIZE);
    row_reader_deinit(&reader);
    buffer_deinit(&row);
    memset(text, '"', SIZE);
    row_put(&row, (Span){text, SIZE});
    assert_int_equal(row.size, 2 * SIZE + 2);
    buffer_deinit(&row);
    memset(text, ' ', SIZE);
    text[0] = '[';
    text[SIZE - 1] = ']';
    row_put_compact(&row, (Span){text, SIZE});
    assert_int_equal(row.size, 2);
    assert_true(row.capacity < SIZE + (SIZE >> 4));
    buffer_deinit(&row);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_quoted_when_they_must),
        cmocka_unit_test(random_cells_come_back),
        cmocka_unit_test(blocks_are_what_their_bytes_are),
        cmocka_unit_test(cells_keep_to_their_room),
        cmocka_unit_test(white_space_goes_on_the_way),
        cmocka_unit_test(escapes_go_on_the_way),
        cmocka_unit_test(large_cells_take_little_more_than_themselves),
        cmocka_unit_test(other_text_is_refused),
        cmocka_unit_test(damaged_rows_are_never_read_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
