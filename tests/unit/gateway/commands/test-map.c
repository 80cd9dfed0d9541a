/* `sluice map` of sources whose events are records: the option --meta, which a program has when one
 * of its kinds of sources has meta fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/app/program.h"

static char folder[] = "/tmp/map-XXXXXX";

static void write_file(const char *name, const char *text) {
    FILE *file = fopen(name, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static char *read_file(const char *name) {
    static char text[4096];
    FILE *file = fopen(name, "re");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    assert_int_equal(fclose(file), 0);
    return text;
}

static int redirect(int to, const char *name, int flags) {
    (void)fflush(stdout);
    (void)fflush(stderr);
    int kept = dup(to), file = open(name, flags | O_CLOEXEC, 0600);
    assert_true(kept >= 0 && file >= 0 && dup2(file, to) == to);
    assert_int_equal(close(file), 0);
    return kept;
}

static void restore(int to, int kept) {
    (void)fflush(stdout);
    (void)fflush(stderr);
    assert_true(dup2(kept, to) == to);
    assert_int_equal(close(kept), 0);
}

/* Exit code; what was printed is in the files "out" and "err". */
static int map(const char *const *words) {
    char *argv[24] = {(char *)"sluice", (char *)"map"};
    int argc = 2;
    while (*words) argv[argc++] = (char *)(uintptr_t)*words++;
    int in = redirect(0, "event", O_RDONLY), out = redirect(1, "out", O_WRONLY | O_CREAT | O_TRUNC);
    int err = redirect(2, "err", O_WRONLY | O_CREAT | O_TRUNC);
    int code = program_run(argc, argv);
    restore(0, in);
    restore(1, out);
    restore(2, err);
    return code;
}
#define MAP(...) map((const char *const[]){__VA_ARGS__, NULL})

#define SINK                                                                                                                               \
    "sinks:\n  - {sinkId: k, name: k, table: {tableId: k, mapping: {columns: [\n"                                                          \
    "      {name: b, type: meta, field: bridge, primaryKey: true}, {name: k, type: meta, field: key, dataType: bytes},\n"                  \
    "      {name: o, type: meta, field: offset, dataType: integer}, {name: n, type: path, path: n}]}}}\n"

static void events_have_the_values_that_are_given(void **state) {
    (void)state;
    write_file("tap.yaml", "kind: source\nsourceId: t\nname: t\ntype: tap\n" SINK);
    write_file("event", "{\"n\":1}\n{\"n\":2}\n");
    assert_int_equal(MAP("-f", "tap.yaml", "--meta", "topic=a=b", "--meta=partition=3", "--meta", "offset=17", "--meta", "key=\xff"), 0);
    assert_string_equal(
        read_file("out"),
        "{\"sinkId\":\"k\",\"tableId\":\"k\",\"row\":{\"b\":\"kafka:a=b:3:17\",\"k\":\"\\\\xff\",\"o\":\"17\",\"n\":\"1\"}}\n"
        "{\"sinkId\":\"k\",\"tableId\":\"k\",\"row\":{\"b\":\"kafka:a=b:3:17\",\"k\":\"\\\\xff\",\"o\":\"17\",\"n\":\"2\"}}\n");
    assert_string_equal(read_file("err"), "");
    assert_int_equal(MAP("-f", "tap.yaml"), EXIT_INVALID);
    assert_non_null(strstr(read_file("err"), "Column \"b\" is part of the primary key, which cannot be null."));
}

static void wrong_values_are_refused(void **state) {
    (void)state;
    assert_int_equal(MAP("-f", "tap.yaml", "--meta", "offset"), EXIT_USAGE);
    assert_non_null(strstr(read_file("err"), "--meta needs 'FIELD=VALUE', not \"offset\""));
    assert_int_equal(MAP("-f", "tap.yaml", "--meta", "offset=x"), EXIT_INVALID);
    assert_non_null(strstr(read_file("err"), "the meta field \"offset\" is \"x\", which is not a whole number from 0"));
    assert_int_equal(MAP("-f", "tap.yaml", "--meta", "stream=x"), EXIT_INVALID);
    assert_non_null(strstr(read_file("err"), "there is no meta field \"stream\": sources of type \"tap\" have topic"));
}

static void a_manifest_names_the_place_of_a_field_that_is_not_there(void **state) {
    (void)state;
    write_file("http.yaml", "kind: source\nsourceId: h\nname: h\n" SINK);
    assert_int_equal(MAP("-f", "http.yaml"), EXIT_INVALID);
    assert_non_null(strstr(read_file("err"),
                           "http.yaml:6:36: Field \"sinks[0].table.mapping.columns[0].field\" is \"bridge\", but sources of "
                           "type \"http\" have no meta fields"));
}

static void a_template_that_asks_for_another_field_is_told_once(void **state) {
    (void)state;
    write_file("tap.yaml", "kind: source\nsourceId: t\nname: t\ntype: tap\nsinks:\n"
                           "  - {sinkId: k, name: k, table: {tableId: k, mapping: {columns: [\n"
                           "      {name: x, type: template, template: {language: jsonnet, content: \"1 + Meta('stream')\"}}]}}}\n");
    assert_int_equal(MAP("-f", "tap.yaml"), EXIT_INVALID);
    assert_string_equal(read_file("out"), "");
    assert_string_equal(read_file("err"), "sluice map: sink k: the template of column \"x\": line 1, column 11: \"stream\" is not there: "
                                          "sources of type \"tap\" have topic, partition, offset, key, timestamp, bridge\n");
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    static const char *const names[] = {"tap.yaml", "http.yaml", "event", "out", "err"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) (void)unlink(names[i]);
    return chdir("/") == 0 ? rmdir(folder) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_have_the_values_that_are_given),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(a_template_that_asks_for_another_field_is_told_once),
        cmocka_unit_test(a_manifest_names_the_place_of_a_field_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
