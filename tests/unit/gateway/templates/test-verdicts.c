#include "gateway/templates/verdicts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/definition.h"

static void good_ones_are_remembered_and_failures_told_once(void **state) {
    (void)state;
    TemplateVerdicts *verdicts = template_verdicts_new();
    Error error = {0}, told = {0};
    assert_int_equal(template_verdicts_find(verdicts, "1", &told), TEMPLATE_UNKNOWN);
    template_verdicts_set(verdicts, "1", 0, &error);
    (void)error_set(&error, -EINVAL, "it is wrong");
    template_verdicts_set(verdicts, "wrong", -EINVAL, &error);
    assert_int_equal(template_verdicts_find(verdicts, "1", &told), 0);
    assert_int_equal(template_verdicts_find(verdicts, "1", &told), 0);
    assert_int_equal(template_verdicts_find(verdicts, "wrong", &told), -EINVAL);
    assert_string_equal(told.text, "it is wrong");
    assert_int_equal(template_verdicts_find(verdicts, "wrong", &told), TEMPLATE_UNKNOWN);
    template_verdicts_free(verdicts);
}

static void those_of_one_source_are_there_together(void **state) {
    (void)state;
    TemplateVerdicts *verdicts = template_verdicts_new();
    Error error = {0};
    char text[16];
    for (int round = 0; round < 10000; round++) {
        (void)snprintf(text, sizeof text, "%d", round);
        template_verdicts_set(verdicts, text, 0, &error);
    }
    for (int at = 10000 - SINKS_A_SOURCE_MAX * COLUMNS_A_SINK_MAX; at < 10000; at++) {
        (void)snprintf(text, sizeof text, "%d", at);
        assert_int_equal(template_verdicts_find(verdicts, text, &error), 0);
    }
    assert_int_equal(template_verdicts_find(verdicts, "0", &error), TEMPLATE_UNKNOWN);
    template_verdicts_free(verdicts);
    template_verdicts_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones_are_remembered_and_failures_told_once),
        cmocka_unit_test(those_of_one_source_are_there_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
