#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "config/manifest.h"

typedef struct Parsed {
    YamlDocument **documents;
    size_t count;
    Error error;
    int result;
} Parsed;

static Parsed parse_bytes(const char *text, size_t size) {
    Parsed parsed = {0};
    parsed.result = yaml_parse("m.yaml", text, size, &parsed.documents, &parsed.count, &parsed.error);
    return parsed;
}

static Parsed parse(const char *text) {
    return parse_bytes(text, strlen(text));
}

static void done(Parsed *parsed) {
    yaml_documents_free(parsed->documents, parsed->count);
}

static void assert_json(const char *yaml, const char *json) {
    Parsed parsed = parse(yaml);
    if (parsed.result != 0) fail_msg("%s: %s", yaml, parsed.error.text);
    assert_int_equal(parsed.count, 1);
    char *text = json_dumps(yaml_json(parsed.documents[0]), JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    assert_string_equal(text, json);
    free(text);
    done(&parsed);
}

static void assert_refused(const char *yaml, const char *says) {
    Parsed parsed = parse(yaml);
    assert_int_equal(parsed.result, -EINVAL);
    if (strstr(parsed.error.text, says) == NULL) fail_msg("\"%s\" lacks \"%s\"", parsed.error.text, says);
}

static void scalars_follow_the_core_schema(void **state) {
    assert_json("[null, Null, NULL, ~, ]", "[null,null,null,null]");
    assert_json("a:\nb: ''", "{\"a\":null,\"b\":\"\"}");
    assert_json("[true, True, TRUE, false, yes, no, on]", "[true,true,true,false,\"yes\",\"no\",\"on\"]");
    assert_json("[0, -7, +7, 010, 0o17, 0x1F, 9223372036854775807]", "[0,-7,7,10,15,31,9223372036854775807]");
    assert_json("[1.5, .5, 1e3, -1.5e-2, 1., 1_000, 1.2.3, e5, '5', \"1.5\", -, .]",
                "[1.5,0.5,1000.0,-0.015,1.0,\"1_000\",\"1.2.3\",\"e5\",\"5\",\"1.5\",\"-\",\".\"]");
    assert_json("a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}");
    assert_json("\xEF\xBB\xBF"
                "a: \xC3\xA9",
                "{\"a\":\"\xC3\xA9\"}");
    assert_refused("a: .inf", "m.yaml:1:4: infinity");
    assert_refused("a: 1e999", "m.yaml:1:4: a number that is too large");
    assert_refused("a: 99999999999999999999", "m.yaml:1:4: an integer beyond 64 bits");
}

static void wrong_yaml_says_where(void **state) {
    assert_refused("a: 1\nb: [1,\n", "m.yaml:3:1: ");
    assert_refused("a: 1\na: 2", "m.yaml:2:1: this key is given twice");
    assert_refused("a: !!str 5", "m.yaml:1:4: tags are not allowed");
    assert_refused("!x {}", "m.yaml:1:1: tags are not allowed");
    assert_refused("!x a: b", "tags are not allowed");
    assert_refused("? [a]\n: b", "m.yaml:1:3: a key must be a scalar");
    assert_refused("a: \"\\x00\"\n\"\\x00\": 1", "m.yaml:2:1: a key must be UTF-8 without NUL");
    assert_refused("a: *b", "m.yaml:1:4: there is no finished anchor");
    assert_refused("a: &b [*b]", "m.yaml:1:8: there is no finished anchor");
    assert_refused("a\tb: @", "m.yaml:1:");
    assert_refused("x: 1\ny: \xFF", "m.yaml:2:4: ");
    Parsed parsed = parse_bytes("a: b\0c", 6);
    assert_int_equal(parsed.result, -EINVAL);
}

static void documents_and_aliases(void **state) {
    Parsed parsed = parse("a: 1\n---\nb: 2\n---\n");
    assert_int_equal(parsed.result, 0);
    assert_int_equal(parsed.count, 3);
    assert_true(json_is_null(yaml_json(parsed.documents[2])));
    done(&parsed);
    parsed = parse("# only a comment\n");
    assert_int_equal(parsed.result, 0);
    assert_int_equal(parsed.count, 0);
    done(&parsed);
    assert_json("a: &x {b: [1]}\nc: *x\nd: &x 5\ne: *x", "{\"a\":{\"b\":[1]},\"c\":{\"b\":[1]},\"d\":5,\"e\":5}");
    /* Anchors end with their document. */
    assert_refused("a: &x 1\n---\nb: *x", "m.yaml:3:4: there is no finished anchor");
}

static void a_billion_laughs_are_refused(void **state) {
    Buffer text = {0};
    buffer_append_text(&text, "a0: &a0 [lol]\n");
    for (int i = 1; i < 20; i++) {
        buffer_printf(&text, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++) buffer_printf(&text, "%s*a%d", j ? "," : "", i - 1);
        buffer_append_text(&text, "]\n");
    }
    assert_refused(buffer_text(&text), "aliases make the document too large");
    buffer_deinit(&text);
}

static void depth_is_limited(void **state) {
    for (int depth = 64; depth <= 65; depth++) {
        Buffer text = {0};
        for (int i = 0; i < depth; i++) buffer_append_byte(&text, '[');
        for (int i = 0; i < depth; i++) buffer_append_byte(&text, ']');
        Parsed parsed = parse(buffer_text(&text));
        assert_int_equal(parsed.result, depth == 64 ? 0 : -EINVAL);
        done(&parsed);
        buffer_deinit(&text);
    }
    Buffer text = {0};
    for (int i = 0; i < 100000; i++) buffer_append_byte(&text, '[');
    Parsed parsed = parse(buffer_text(&text));
    assert_int_equal(parsed.result, -EINVAL);
    buffer_deinit(&text);
}

static void aliases_do_not_nest_past_the_limit(void **state) {
    for (int anchors = 64; anchors <= 65; anchors++) {
        Buffer text = {0};
        /* The list is a level of its own. */
        buffer_append_text(&text, "- &a1 []\n");
        for (int i = 2; i < anchors; i++) buffer_printf(&text, "- &a%d [*a%d]\n", i, i - 1);
        Parsed parsed = parse(buffer_text(&text));
        assert_int_equal(parsed.result, anchors == 64 ? 0 : -EINVAL);
        if (parsed.result) assert_non_null(strstr(parsed.error.text, "m.yaml:64:9: nested too deeply"));
        done(&parsed);
        buffer_deinit(&text);
    }
}

static void errors_point_at_nodes(void **state) {
    Parsed parsed = parse("name: x\nsinks:\n  - table:\n      tableId: t\n  - &s\n    b/c~d: 5\n");
    assert_int_equal(parsed.result, 0);
    static const struct {
        const char *path;
        bool at_key;
        const char *place;
    } cases[] = {
        {"", false, "m.yaml:1:1: t"},
        {"name", false, "m.yaml:1:7: t"},
        {"name", true, "m.yaml:1:1: t"},
        {"sinks", false, "m.yaml:2:1: t"},
        {"sinks/0", false, "m.yaml:3:5: t"},
        {"sinks/0/table", false, "m.yaml:3:5: t"},
        {"sinks/0/table/tableId", false, "m.yaml:4:16: t"},
        {"sinks/0/table/mapping/columns", false, "m.yaml:3:5: t"},
        {"sinks/1/b~1c~0d", false, "m.yaml:6:12: t"},
        {"sinks/7", false, "m.yaml:2:1: t"},
        {"sinks/", false, "m.yaml:2:1: t"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error error = {0};
        int r = cases[i].at_key ? yaml_error_at_key(parsed.documents[0], cases[i].path, &error, "%s", "t")
                                : yaml_error(parsed.documents[0], cases[i].path, &error, "%s", "t");
        assert_int_equal(r, -EINVAL);
        assert_string_equal(error.text, cases[i].place);
    }
    done(&parsed);
}

static void environment_and_files_are_replaced(void **state) {
    char folder[] = "/tmp/sluice-yaml-XXXXXX", path[64], text[400];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/secret", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("hush\n\n", file);
    assert_int_equal(fclose(file), 0);
    setenv("YAML_TEST_NAME", "value", 1);
    setenv("YAML_TEST_NUMBER", "42", 1);
    setenv("YAML_TEST_EMPTY", "", 1);
    unsetenv("YAML_TEST_NONE");
    assert_json("- a${ENV:YAML_TEST_NAME}b${ENV:YAML_TEST_EMPTY}\n- '$${ENV:X}'\n- ${X}\n- $\n- [\"${ENV:YAML_TEST_NAME}\"]\n",
                "[\"avalueb\",\"${ENV:X}\",\"${X}\",\"$\",[\"value\"]]");
    assert_json("a: ${ENV:YAML_TEST_NUMBER}\nb: \"${ENV:YAML_TEST_NUMBER}\"\nc: ${ENV:YAML_TEST_EMPTY}\nd: '${ENV:YAML_TEST_EMPTY}'",
                "{\"a\":42,\"b\":\"42\",\"c\":null,\"d\":\"\"}");
    assert_refused("a: 1\nb: ${ENV:YAML_TEST_NONE}", "m.yaml:2:4: the environment variable \"YAML_TEST_NONE\" is not set");
    assert_refused("a: ${ENV:YAML_TEST", "needs a name and a closing brace");
    assert_refused("a: ${FILE:}", "needs a name and a closing brace");
    (void)snprintf(text, sizeof text, "a: ${FILE:%s}", path);
    assert_json(text, "{\"a\":\"hush\\n\"}");
    (void)snprintf(text, sizeof text, "a: ${FILE:%s.none}", path);
    assert_refused(text, "m.yaml:1:4: the file \"");
    (void)snprintf(text, sizeof text, "a: ${FILE:%s}", folder);
    assert_refused(text, "cannot be read: Is a directory");
    /* Relative to the folder of the document. */
    (void)snprintf(text, sizeof text, "%s/m.yaml", folder);
    YamlDocument **documents;
    size_t count;
    assert_int_equal(yaml_parse(text, "a: ${FILE:secret}", 17, &documents, &count, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(yaml_json(documents[0]), "a")), "hush\n");
    yaml_documents_free(documents, count);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void endless_files_are_refused(void **state) {
    assert_refused("a: ${FILE:/dev/zero}", "larger than 1 MB");
    char *text;
    size_t size;
    Error error = {0};
    assert_int_equal(yaml_read_file("/dev/zero", &text, &size, &error), -EFBIG);
    assert_int_equal(yaml_read_file("/nonexistent/x", &text, &size, &error), -ENOENT);
    assert_int_equal(yaml_read_file("/tmp", &text, &size, &error), -EISDIR);
}

/* Every single-byte change and every prefix of a good text: parsed or refused, never a crash (the
 * sanitizers watch). */
static void broken_texts_do_no_harm(void **state) {
    static const char good[] = "a: &x [1, 'b', \"c\\u00e9\"]\nd: {e: *x, ? f : |\n g\n}\n--- # h\n- ${ENV:HOME}\n...\n";
    static const char changes[] = "\0\n:-[]{}&*!|>'\"%@`#,?\t\xFF\xC3";
    for (size_t at = 0; at < sizeof good - 1; at++) {
        Parsed parsed = parse_bytes(good, at);
        done(&parsed);
        for (size_t i = 0; i < sizeof changes - 1; i++) {
            char text[sizeof good];
            memcpy(text, good, sizeof good);
            text[at] = changes[i];
            parsed = parse_bytes(text, sizeof good - 1);
            assert_true(parsed.result == 0 || (parsed.result == -EINVAL && parsed.error.text[0] != 0));
            done(&parsed);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_follow_the_core_schema),
        cmocka_unit_test(wrong_yaml_says_where),
        cmocka_unit_test(documents_and_aliases),
        cmocka_unit_test(a_billion_laughs_are_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(aliases_do_not_nest_past_the_limit),
        cmocka_unit_test(errors_point_at_nodes),
        cmocka_unit_test(environment_and_files_are_replaced),
        cmocka_unit_test(endless_files_are_refused),
        cmocka_unit_test(broken_texts_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
