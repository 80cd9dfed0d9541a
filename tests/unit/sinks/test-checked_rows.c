/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdio.h>

#include "sinks/checked_rows.h"
#include "sinks/csv_record.h"
#include "tests/support/sink-case.h"

/* "no…" does not fit, and "change" becomes other text. */
static const char *check_text(const void *context, Span text, Buffer *changed) {
    assert_string_equal(context, "context");
    if (span_equal(text, SPAN("change"))) buffer_append_text(changed, "a \"new\", one");
    return text.size >= 2 && memcmp(text.data, "no", 2) == 0 ? "is a no" : NULL;
}

static const CellRule rules[3] = {{0}, {.test = check_text, .context = "context", .subject = "column \"b\""}, {0}};

typedef struct Refusals {
    Buffer text; /* "ROW REASON: CSV" of each */
    int left;    /* more than this fail */
} Refusals;

static int refuse(void *context, uint64_t row, const char *reason, Span csv, Error *error) {
    Refusals *refusals = context;
    if (refusals->left-- == 0) return error_set(error, -E2BIG, "enough");
    buffer_printf(&refusals->text, "%llu %s: %.*s", (unsigned long long)row, reason, (int)csv.size, csv.data);
    return 0;
}

/* The blocks that are given, each with the number of its first row and how many it has. */
static int read_all(CheckedRows *rows, uint64_t from, Buffer *out, Error *error) {
    Span csv;
    uint64_t first, count;
    int r = rows->rows.seek(&rows->rows, from, error);
    assert_int_equal(r, 0);
    buffer_clear(out);
    while ((r = rows->rows.block(&rows->rows, &csv, &first, &count, error)) == 0) {
        assert_int_equal(csv_record_sizes(csv, count), csv.size);
        buffer_printf(out, "%llu+%llu[%.*s]", (unsigned long long)first, (unsigned long long)count, (int)csv.size, csv.data);
    }
    return r;
}

static void add(TextRows *rows, const char *const *values, size_t count) {
    for (size_t i = 0; i < count; i++) ADD(rows, "a\"", values[i], "c");
}

static void leaves_out_and_changes(void **state) {
    static const char *const values[] = {"no", "x", "change", "\"", "no, no", "change", "no", NULL, "no"};
    /* Whatever the source's blocks are. */
    for (size_t block = 1; block < 200; block += 7) {
        TextRows source = {0};
        CheckedRows rows;
        Refusals refusals = {.left = 100};
        Buffer out = {0}, numbers = {0};
        Error error = {0};
        text_rows_init(&source, 3, 10);
        add(&source, values, sizeof values / sizeof values[0]);
        source.block_bytes = block;
        checked_rows_init(&rows, &source.rows, rules, 3, refuse, &refusals);
        assert_int_equal(rows.rule_count, 2);
        assert_int_equal(read_all(&rows, 10, &out, &error), SINK_ROWS_END);
        if (block > 190)
            assert_string_equal(buffer_text(&out), "11+3[\"a\"\"\",x,c\n\"a\"\"\",\"a \"\"new\"\", one\",c\n\"a\"\"\",\"\"\"\",c\n]"
                                                   "15+1[\"a\"\"\",\"a \"\"new\"\", one\",c\n]17+1[\"a\"\"\",,c\n]");
        /* Read once more, from any row on, as they are in the source: nothing is reported again. */
        rows.sends_originals = true;
        assert_int_equal(read_all(&rows, 15, &out, &error), SINK_ROWS_END);
        assert_string_equal(buffer_text(&out), "15+1[\"a\"\"\",change,c\n]17+1[\"a\"\"\",,c\n]");
        assert_string_equal(buffer_text(&refusals.text), "10 column \"b\": the value is a no: \"a\"\"\",no,c\n"
                                                         "14 column \"b\": the value is a no: \"a\"\"\",\"no, no\",c\n"
                                                         "16 column \"b\": the value is a no: \"a\"\"\",no,c\n"
                                                         "18 column \"b\": the value is a no: \"a\"\"\",no,c\n");
        assert_int_equal(rows.refused, 4);
        buffer_deinit(&out);
        buffer_deinit(&numbers);
        buffer_deinit(&refusals.text);
        checked_rows_deinit(&rows);
        text_rows_deinit(&source);
    }
}

static void ends_when_it_may_refuse_no_more(void **state) {
    static const char *const values[] = {"x", "no", "y", "no", "z"};
    TextRows source = {0};
    CheckedRows rows;
    Refusals refusals = {.left = 1};
    Buffer out = {0};
    Error error = {0};
    text_rows_init(&source, 3, 0);
    add(&source, values, sizeof values / sizeof values[0]);
    source.block_bytes = 1000;
    checked_rows_init(&rows, &source.rows, rules, 3, refuse, &refusals);
    assert_int_equal(read_all(&rows, 0, &out, &error), -E2BIG);
    assert_true(rows.has_failed);
    assert_string_equal(buffer_text(&out), "0+1[\"a\"\"\",x,c\n]2+1[\"a\"\"\",y,c\n]");
    buffer_deinit(&out);
    buffer_deinit(&refusals.text);
    checked_rows_deinit(&rows);
    text_rows_deinit(&source);
}

/* A reader that fails, and a block that is cut off. */
static void failures_of_the_source(void **state) {
    static const char *const values[] = {"x", "no", "y"};
    TextRows source = {0};
    CheckedRows rows;
    Refusals refusals = {.left = 1};
    Buffer out = {0};
    Error error = {0};
    text_rows_init(&source, 3, 0);
    add(&source, values, sizeof values / sizeof values[0]);
    source.block_bytes = 1;
    source.fail_at_block = 3;
    checked_rows_init(&rows, &source.rows, rules, 3, refuse, &refusals);
    assert_int_equal(read_all(&rows, 0, &out, &error), -EIO);
    assert_false(rows.has_failed);
    buffer_deinit(&out);
    buffer_deinit(&refusals.text);
    checked_rows_deinit(&rows);
    text_rows_deinit(&source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_out_and_changes),
        cmocka_unit_test(ends_when_it_may_refuse_no_more),
        cmocka_unit_test(failures_of_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
