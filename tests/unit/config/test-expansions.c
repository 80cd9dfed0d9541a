#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config/expansions.h"
#include "config/options.h"
#include "sinks/driver.h"

static void is_hidden_as(const char *value, const char *text, const char *wanted) {
    _cleanup_(expansions_deinit) Expansions expansions = {0};
    Error error = {0};
    expansions_add(&expansions, SPAN("${ENV:X}"), span_of(value));
    (void)error_set(&error, -EINVAL, "%s", text);
    expansions_hide(&expansions, &error);
    assert_string_equal(error.text, wanted);
    assert_int_equal(error.code, -EINVAL);
}

static void whole_values_become_their_names(void **state) {
    is_hidden_as("hunter2-and-more", "must be one of a, b, not \"hunter2-and-more\"", "must be one of a, b, not \"${ENV:X}\"");
    is_hidden_as("hunter2", "hunter2hunter2 and hunter2", "${ENV:X}${ENV:X} and ${ENV:X}");
    is_hidden_as("5", "must be 1 to 4, not 5; 15 and a5 are others", "must be 1 to 4, not ${ENV:X}; 15 and a5 are others");
    is_hidden_as("", "nothing to hide", "nothing to hide");
}

static void parts_of_values_are_hidden(void **state) {
    is_hidden_as("p@ss/word:7", "invalid port: \"word:7\" of host \"p@ss\"", "invalid port: \"…\" of host \"…\"");
    is_hidden_as("line one\nline two", "not \"line one?line...\"", "not \"…...\"");
    /* An excerpt shows the beginning alone. */
    is_hidden_as("-----BEGIN PRIVATE KEY-----MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
                 "not \"-----BEGIN PRIVATE KEY-----MIIEvQIBADANBgkqhkiG9w0BAQEFA...\"", "not \"…...\"");
}

static void names_of_fields_stay(void **state) {
    is_hidden_as("pass-wordFile", "Field \"c.passwordFile\" must not be \"pass-wordFile\"",
                 "Field \"c.passwordFile\" must not be \"${ENV:X}\"");
    is_hidden_as("hidden-key", "Field \"c.hidden-key\" is not known here", "Field \"c.${ENV:X}\" is not known here");
}

static void messages_about_long_texts_stay_readable(void **state) {
    char value[4000] = "";
    while (strlen(value) + 60 < sizeof value) strcat(value, "local total = Body('total'); { rows: total, field: 'x' } \n");
    is_hidden_as(value, "the template, line 3: unknown field total", "the template, line 3: unknown field total");
}

static void the_config_file_keeps_them_from_what_is_printed(void **state) {
    char name[] = "/tmp/sluice-expansions-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    (void)fprintf(file, "connections:\n  w:\n    type: postgres\n    uri: postgresql://${ENV:SLUICE_TEST_USER}@h/d\n"
                        "    passwordFile: ${ENV:SLUICE_TEST_PASSWORD}\n");
    (void)fclose(file);
    (void)setenv("SLUICE_TEST_USER", "shown-to-nobody", 1);
    (void)setenv("SLUICE_TEST_PASSWORD", "hunter2-and-more", 1);
    Options options;
    Error error = {0};
    int r = options_load(name, NULL, connection_types, &options, &error);
    (void)unlink(name);
    assert_int_equal(r, 0);
    const Connection *connection = connections_find(&options.list, "w");
    assert_string_equal(connection_value(connection, "passwordFile"), "hunter2-and-more");
    (void)error_set(&error, -ENOENT, "The password file /data/hunter2-and-more cannot be read.");
    expansions_hide(connection->expansions, &error);
    assert_string_equal(error.text, "The password file /data/${ENV:SLUICE_TEST_PASSWORD} cannot be read.");
    Buffer text = {0};
    options_print(&options, &text);
    assert_non_null(strstr(buffer_text(&text), "uri: \"postgresql://${ENV:SLUICE_TEST_USER}@h/d\"\n"));
    assert_non_null(strstr(buffer_text(&text), "passwordFile: \"${ENV:SLUICE_TEST_PASSWORD}\"\n"));
    buffer_deinit(&text);
    options_deinit(&options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_values_become_their_names),
        cmocka_unit_test(parts_of_values_are_hidden),
        cmocka_unit_test(names_of_fields_stay),
        cmocka_unit_test(messages_about_long_texts_stay_readable),
        cmocka_unit_test(the_config_file_keeps_them_from_what_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
