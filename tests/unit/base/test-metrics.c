#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
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

static void families_have_labels_that_are_escaped(void **state) {
    Buffer out = {0};
    metrics_begin(&out, FAMILY_SINK_ROWS);
    metrics_put(&out, FAMILY_SINK_ROWS, (const char *const[]){"shop", "a\"b\\c\nd\xc3\xa4", "local"}, UINT64_MAX);
    metrics_begin(&out, FAMILY_SOURCES);
    metrics_put(&out, FAMILY_SOURCES, NULL, 0);
    const char *text = buffer_text(&out), *type = strstr(text, "# TYPE sluice_sink_rows gauge\n");
    assert_ptr_equal(strstr(text, "# HELP sluice_sink_rows "), text);
    assert_non_null(type);
    assert_non_null(
        strstr(type, "gauge\nsluice_sink_rows{source=\"shop\",sink=\"a\\\"b\\\\c\\nd\xc3\xa4\",level=\"local\"} 18446744073709551615\n"));
    assert_non_null(strstr(type, "\n# TYPE sluice_sources gauge\nsluice_sources 0\n"));
    buffer_deinit(&out);
}

static void every_family_is_sound(void **state) {
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++) {
        const MetricFamilyInfo *info = metrics_family(family);
        assert_true(strncmp(info->name, "sluice_", 7) == 0);
        size_t size = strlen(info->name);
        bool is_counter = strcmp(info->type, "counter") == 0, is_total = strcmp(info->name + size - 6, "_total") == 0;
        assert_true(is_counter == is_total);
        assert_null(strpbrk(info->help, "\\\n"));
        size_t labels = 0;
        while (info->labels[labels]) labels++;
        switch (info->scope) {
        case SCOPE_GATEWAY: assert_int_equal(labels, 0); break;
        case SCOPE_CONNECTION:
            assert_int_equal(labels, 1);
            assert_string_equal(info->labels[0], "connection");
            break;
        case SCOPE_SINK:
            assert_in_range(labels, 2, METRIC_LABELS_MAX);
            assert_string_equal(info->labels[0], "source");
            assert_string_equal(info->labels[1], "sink");
            break;
        case SCOPE_BRIDGE:
            assert_in_range(labels, 1, METRIC_LABELS_MAX);
            assert_string_equal(info->labels[0], "source");
            break;
        default: fail_msg("%s has no scope", info->name);
        }
        for (MetricFamily other = 0; other < family; other++) assert_string_not_equal(metrics_family(other)->name, info->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_threads_are_summed_also_those_that_ended),
        cmocka_unit_test(the_text_names_every_metric_once),
        cmocka_unit_test(families_have_labels_that_are_escaped),
        cmocka_unit_test(every_family_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
