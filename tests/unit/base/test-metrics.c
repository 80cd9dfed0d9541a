#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"
#include "base/thread.h"

enum { THREADS = 4, ROUNDS = 50000 };

static void *count(void *context) {
    for (int i = 0; i < ROUNDS; i++) metrics_add(METRIC_COMMITS, 2);
    return NULL;
}

static void all_threads_are_summed_also_those_that_ended(void **state) {
    Thread threads[THREADS];
    uint64_t before = metrics_read(METRIC_COMMITS), other = metrics_read(METRIC_ORPHANS);
    metrics_add(METRIC_COMMITS, 5);
    for (int i = 0; i < THREADS; i++) assert_int_equal(thread_start(&threads[i], "counter", count, NULL, NULL), 0);
    for (int i = 0; i < 1000; i++) assert_true(metrics_read(METRIC_COMMITS) >= before + 5);
    for (int i = 0; i < THREADS; i++) thread_join(&threads[i]);
    assert_true(metrics_read(METRIC_COMMITS) == before + 5 + THREADS * ROUNDS * 2);
    /* many more threads, one after another, count on in the cells of those that ended */
    for (int i = 0; i < 50; i++) {
        assert_int_equal(thread_start(&threads[0], "counter", count, NULL, NULL), 0);
        thread_join(&threads[0]);
    }
    assert_true(metrics_read(METRIC_COMMITS) == before + 5 + (THREADS + 50) * ROUNDS * 2);
    assert_true(metrics_read(METRIC_ORPHANS) == other);
}

static void the_text_names_every_metric_once(void **state) {
    Buffer out = {0};
    metrics_add(METRIC_TEMPLATE_RESTARTS, 12345678901234567890u);
    metrics_format(&out);
    const char *text = buffer_text(&out);
    int helps = 0;
    for (const char *at = text; (at = strstr(at, "# HELP sluice_")); at++) helps++;
    assert_int_equal(helps, METRIC_COUNT_);
    assert_non_null(strstr(text, "# TYPE sluice_template_restarts_total counter\nsluice_template_restarts_total 12345678901234567890\n"));
    assert_int_equal(out.data[out.size - 1], '\n');
    buffer_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_threads_are_summed_also_those_that_ended),
        cmocka_unit_test(the_text_names_every_metric_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
