/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "sinks/refused_rows.h"
#include "tests/support/sink-case.h"

static void copies_and_hands_over(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text", 1);
    ImportJob *job = sink_case_job(&box);
    SinkRejects rejects = {0};
    char reason[] = "first line\nsecond line", csv[] = "x\n";
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 7, reason, span_of(csv), NULL), SINK_DONE);
    memset(reason, 'z', sizeof reason - 1);
    csv[0] = 'z';
    assert_int_equal(sink_rejects_store(&rejects, job, NULL), SINK_DONE);
    assert_int_equal(job->rejected_rows, 1);
    assert_int_equal(box.reject_count, 1);
    assert_string_equal(box.rejects[0].reason, "first line second line");
    assert_true(span_equal(box.rejects[0].csv, SPAN("x\n")));
    assert_int_equal(box.rejects[0].row, 7);
    assert_ptr_equal(box.rejects[0].file, &box.files[0].id);
    sink_rejects_deinit(&rejects);
    sink_case_deinit(&box);
}

static void says_when_it_is_too_many(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text", 1);
    ImportJob *job = sink_case_job(&box);
    job->bad_rows_max = 2;
    SinkRejects rejects = {0};
    Error error = {0};
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 1, "no", SPAN("x\n"), &error), SINK_DONE);
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 2, "no", SPAN("x\n"), &error), SINK_DONE);
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 3, "no", SPAN("x\n"), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "more than 2 rows"));
    sink_rejects_deinit(&rejects);
    sink_case_deinit(&box);
}

static void bounds_the_bytes(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text", 1);
    ImportJob *job = sink_case_job(&box);
    SinkRejects rejects = {0};
    size_t size = REJECTS_BYTES_MAX / 2 - 1000;
    char *large = calloc(1, size);
    Span csv = {.data = large, .size = size};
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 1, "no", csv, NULL), SINK_DONE);
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 2, "no", csv, NULL), SINK_DONE);
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 3, "no", csv, NULL), SINK_REFUSED);
    free(large);
    sink_rejects_deinit(&rejects);
    sink_case_deinit(&box);
}

static void retries_when_they_cannot_be_stored(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text", 1);
    ImportJob *job = sink_case_job(&box);
    SinkRejects rejects = {0};
    Error error = {0};
    assert_int_equal(sink_rejects_store(&rejects, job, &error), SINK_DONE);
    assert_int_equal(box.store_calls, 0);
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 1, "no", SPAN("x\n"), NULL), SINK_DONE);
    box.store_fails = true;
    assert_int_equal(sink_rejects_store(&rejects, job, &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "rejectsFull"));
    sink_rejects_deinit(&rejects);
    sink_case_deinit(&box);
}

/* Rows 1 to 4 of a file: one refused, the others swallowed, but for `stored`. */
static void swallow(SinkRejects *rejects, SinkCase *box, size_t file, uint64_t swallowed, uint64_t stored) {
    sink_rejects_begin_file(rejects);
    assert_int_equal(sink_rejects_add(rejects, &box->job, &box->files[file], 1, "no", SPAN("x\n"), NULL), SINK_DONE);
    for (uint64_t i = 0; i < swallowed; i++) sink_rejects_add_swallowed(rejects, &box->job, &box->files[file], 2 + i, SPAN("y\n"));
    sink_rejects_end_file(rejects, &box->job, stored);
}

static void swallowed_rows_are_named_or_counted(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text", 4);
    ImportJob *job = sink_case_job(&box);
    SinkRejects rejects = {0};
    job->bad_rows_max = 4;
    swallow(&rejects, &box, 0, 2, 1); /* by name */
    swallow(&rejects, &box, 1, 3, 0); /* none of the file was stored */
    swallow(&rejects, &box, 2, 3, 1); /* more than may be named */
    assert_int_equal(job->swallowed_rows, 8);
    sink_rejects_begin_file(&rejects);
    assert_true(sink_rejects_may_name(&rejects, job, 1));
    assert_true(sink_rejects_may_name(&rejects, job, 2));
    assert_false(sink_rejects_may_name(&rejects, job, 3));
    assert_false(sink_rejects_may_name(&rejects, job, UINT64_MAX));
    sink_rejects_count_swallowed(&rejects, 7);
    assert_false(sink_rejects_may_name(&rejects, job, 1));
    sink_rejects_end_file(&rejects, job, 1);
    assert_int_equal(job->swallowed_rows, 15);
    assert_int_equal(sink_rejects_store(&rejects, job, NULL), SINK_DONE);
    assert_int_equal(box.reject_count, 5);
    static const uint64_t rows[] = {1, 2, 3, 1, 1};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(box.rejects[i].row, rows[i]);
        assert_string_equal(box.rejects[i].reason, rows[i] == 1 ? "no" : sink_reason_swallowed);
    }
    sink_rejects_deinit(&rejects);
    sink_case_deinit(&box);
}

/* A table that filters rows, and refuses some: what it filters leaves the refused ones the whole
 * limit, in whatever order they come. */
static void swallowed_rows_do_not_count_as_refused(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text", 1);
    ImportJob *job = sink_case_job(&box);
    SinkRejects rejects = {0};
    Error error = {0};
    job->bad_rows_max = 3;
    sink_rejects_begin_file(&rejects);
    for (uint64_t row = 1; row <= 3; row++) sink_rejects_add_swallowed(&rejects, job, &box.files[0], row, SPAN("y\n"));
    for (uint64_t row = 4; row <= 6; row++)
        assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], row, "no", SPAN("x\n"), &error), SINK_DONE);
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 7, "no", SPAN("x\n"), &error), SINK_REFUSED);
    sink_rejects_add_swallowed(&rejects, job, &box.files[0], 8, SPAN("y\n")); /* only counted */
    sink_rejects_end_file(&rejects, job, 1);
    assert_int_equal(job->swallowed_rows, 4);
    assert_int_equal(sink_rejects_store(&rejects, job, NULL), SINK_DONE);
    assert_int_equal(job->rejected_rows, 3); /* one swallowed row has no name, so the others have none either */
    sink_rejects_deinit(&rejects);

    size_t size = SWALLOWED_BYTES_MAX / 2;
    char *large = calloc(1, size);
    Span csv = {.data = large, .size = size};
    sink_rejects_begin_file(&rejects);
    for (uint64_t row = 1; row <= 3; row++) sink_rejects_add_swallowed(&rejects, job, &box.files[0], row, csv);
    assert_int_equal(rejects.count, 2);
    sink_rejects_end_file(&rejects, job, 1);
    csv.size = REJECTS_BYTES_MAX / 8;
    free(large);
    large = calloc(1, csv.size);
    csv.data = large;
    job->bad_rows_max = 100;
    for (uint64_t row = 4; row < 12; row++)
        assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], row, "no", csv, NULL), SINK_DONE);
    assert_int_equal(sink_rejects_add(&rejects, job, &box.files[0], 12, "no", csv, NULL), SINK_REFUSED);
    sink_rejects_deinit(&rejects);
    free(large);
    sink_case_deinit(&box);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_and_hands_over),
        cmocka_unit_test(says_when_it_is_too_many),
        cmocka_unit_test(bounds_the_bytes),
        cmocka_unit_test(retries_when_they_cannot_be_stored),
        cmocka_unit_test(swallowed_rows_are_named_or_counted),
        cmocka_unit_test(swallowed_rows_do_not_count_as_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
