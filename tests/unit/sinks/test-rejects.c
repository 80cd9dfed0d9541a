/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "sinks/rejects.h"
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
    job->bad_rows_most = 2;
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
    size_t size = REJECTS_BYTES_MOST / 2 - 1000;
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_and_hands_over),
        cmocka_unit_test(says_when_it_is_too_many),
        cmocka_unit_test(bounds_the_bytes),
        cmocka_unit_test(retries_when_they_cannot_be_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
