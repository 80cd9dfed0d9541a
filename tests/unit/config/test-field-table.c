/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
/* clang-format on */

#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition_parts.h"
#include "config/field_table.h"
#include "config/options_table.h"
#include "config/settings_parts.h"
#include "config/source_kind.h"

/* ---- a table with a field of each type ------------------------------------------------------- */

typedef enum Shape { SHAPE_ROUND, SHAPE_FLAT } Shape;

typedef struct Part {
    char *label;
} Part;

typedef struct Thing {
    char *text, *note;
    char **names;
    size_t name_count;
    uint64_t memory;
    usec_t patience;
    bool flag;
    uint32_t count, width, made;
    Shape shape;
    Part *parts;
    size_t part_count;
} Thing;

static const char *const shapes[] = {"round", "flat", "ring", NULL};
static const unsigned shape_values[] = {SHAPE_ROUND, SHAPE_FLAT, SHAPE_ROUND};
static const char *const words[] = {"thing", NULL};

static const FieldInfo part_rows[] = {
    {.name = "label",
     .type = FIELD_TEXT,
     .offset = offsetof(Part, label),
     .least = 1,
     .most = 5,
     .needed = "a \"label\"",
     .sentence = "L."},
    {0},
};
static const FieldTable part_fields = {.owners = "parts", .fields = part_rows, .size = sizeof(Part)};
static const FieldInfo size_rows[] = {
    {.name = "width",
     .type = FIELD_COUNT,
     .offset = offsetof(Thing, width),
     .least = 1,
     .most = 9,
     .unit = "metres",
     .needed = "\"width\"",
     .sentence = "W."},
    {0},
};
static const FieldTable size_fields = {.owners = "sizes", .fields = size_rows, .size = sizeof(Thing)};
static int refuse_nobody(Fault *fault, const Node *field) {
    return strcmp(json_string_value(field->value), "nob") == 0 ? fault_at(fault, field, "is nobody") : 0;
}

static const FieldInfo thing_rows[] = {
    {.name = "type", .type = FIELD_WORD, .choices = words, .sentence = "Ty."},
    {.name = "text", .type = FIELD_TEXT, .offset = offsetof(Thing, text), .default_value = "none", .most = 9, .sentence = "T."},
    {.name = "note",
     .type = FIELD_TEXT,
     .offset = offsetof(Thing, note),
     .most = 9,
     .kinds = 1U << SHAPE_FLAT,
     .is_secret = true,
     .sentence = "N."},
    {.name = "flag", .type = FIELD_BOOL, .offset = offsetof(Thing, flag), .default_value = "true", .is_optional = true, .sentence = "F."},
    {.name = "count",
     .type = FIELD_COUNT,
     .offset = offsetof(Thing, count),
     .default_value = "3",
     .least = 1,
     .most = 5,
     .unit = "pieces",
     .sentence = "C."},
    {.name = "size", .type = FIELD_OBJECT, .fields = &size_fields, .is_optional = true, .sentence = "Z."},
    {.name = "parts",
     .type = FIELD_LIST,
     .offset = offsetof(Thing, parts),
     .count_offset = offsetof(Thing, part_count),
     .most = 2,
     .fields = &part_fields,
     .is_optional = true,
     .sentence = "P."},
    {.name = "names",
     .type = FIELD_TEXTS,
     .offset = offsetof(Thing, names),
     .count_offset = offsetof(Thing, name_count),
     .least = 0,
     .most = 3,
     .item_max = 4,
     .validate = refuse_nobody,
     .is_optional = true,
     .sentence = "N."},
    {.name = "memory",
     .type = FIELD_SIZE,
     .offset = offsetof(Thing, memory),
     .default_value = "2KB",
     .least = 1024,
     .most = 4096,
     .is_optional = true,
     .sentence = "M."},
    {.name = "patience",
     .type = FIELD_DURATION,
     .offset = offsetof(Thing, patience),
     .default_value = "30s",
     .least = USEC_SECOND,
     .most = USEC_MINUTE,
     .is_optional = true,
     .sentence = "P."},
    {.name = "made",
     .type = FIELD_COUNT,
     .offset = offsetof(Thing, made),
     .unit = "times",
     .most = 9,
     .read_only = "is ours",
     .sentence = "M."},
    {0},
};
static FieldInfo rows[sizeof thing_rows / sizeof *thing_rows + 1];
static FieldTable thing_fields;

/* The row that `kinds` refers to comes first. */
static int set_up(void **state) {
    (void)state;
    rows[0] = (FieldInfo){.name = "shape",
                          .type = FIELD_CHOICE,
                          .offset = offsetof(Thing, shape),
                          .choices = shapes,
                          .values = shape_values,
                          .needed = "a \"shape\"",
                          .sentence = "S."};
    memcpy(rows + 1, thing_rows, sizeof thing_rows);
    thing_fields = (FieldTable){.owners = "things", .fields = rows, .size = sizeof(Thing), .kind = "shape"};
    return 0;
}

static int read_thing(const char *text, Thing *thing, Error *error) {
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    Fault fault = {.error = error};
    Node root = {.value = json};
    FieldPart part = {&thing_fields, thing};
    int r = fields_read(&fault, &root, &part, 1, NULL);
    json_decref(json);
    return r;
}

static char *written(const Thing *thing, bool with_secrets) {
    json_t *json = json_object();
    fields_write(&thing_fields, thing, with_secrets, json);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

static void assert_written(const Thing *thing, bool with_secrets, const char *expected) {
    _cleanup_free_ char *text = written(thing, with_secrets);
    assert_string_equal(text, expected);
}

static void what_is_missing_gets_its_default(void **state) {
    (void)state;
    Thing thing = {0};
    assert_int_equal(read_thing("{\"shape\":\"ring\",\"note\":null}", &thing, NULL), 0);
    assert_string_equal(thing.text, "none");
    assert_null(thing.note);
    assert_true(thing.flag);
    assert_int_equal(thing.count, 3);
    assert_int_equal(thing.shape, SHAPE_ROUND);
    assert_int_equal(thing.name_count, 0);
    assert_int_equal(thing.memory, 2048);
    assert_int_equal(thing.patience, 30 * USEC_SECOND);
    assert_true(fields_hold(&thing_fields, &thing));
    assert_written(&thing, true, "{\"shape\":\"round\",\"type\":\"thing\",\"text\":\"none\",\"count\":3,\"made\":0}");
    fields_free(&thing_fields, &thing);
}

#define FULL                                                                                                                               \
    "{\"shape\":\"flat\",\"type\":\"thing\",\"text\":\"t\",\"note\":\"n\",\"flag\":false,\"count\":5,\"size\":{\"width\":7},"              \
    "\"parts\":[{\"label\":\"a\"},{\"label\":\"b\"}],\"names\":[\"x\",\"y\"],\"memory\":\"4KB\",\"patience\":\"1500ms\""

static void what_was_read_is_written_and_copied(void **state) {
    (void)state;
    Thing thing = {0};
    assert_int_equal(read_thing(FULL "}", &thing, NULL), 0);
    assert_written(&thing, true, FULL ",\"made\":0}");
    _cleanup_free_ char *open = written(&thing, false);
    assert_null(strstr(open, "note"));
    Thing copy = thing;
    fields_unshare(&thing_fields, &copy);
    assert_true(fields_equal(&thing_fields, &thing, &copy));
    assert_ptr_not_equal(copy.parts, thing.parts);
    copy.parts[1].label[0] = 'c';
    assert_false(fields_equal(&thing_fields, &thing, &copy));
    assert_string_equal(thing.parts[1].label, "b");
    copy.parts[1].label[0] = 'b';
    copy.names[1][0] = 'z';
    assert_false(fields_equal(&thing_fields, &thing, &copy));
    assert_string_equal(thing.names[1], "y");
    copy.names[1][0] = 'y';
    assert_true(fields_equal(&thing_fields, &thing, &copy));
    copy.memory++;
    assert_false(fields_equal(&thing_fields, &thing, &copy));
    copy.memory--;
    copy.patience++;
    assert_false(fields_equal(&thing_fields, &thing, &copy));
    fields_free(&thing_fields, &copy);
    assert_null(copy.text);
    assert_int_equal(copy.part_count, 0);
    assert_null(copy.names);
    assert_int_equal(copy.name_count, 0);
    fields_free(&thing_fields, &thing);
}

static void each_row_is_kept(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{}", "The definition needs a \"shape\""},
        {"{\"shape\":\"square\"}", "Field \"shape\" must be one of round, flat, ring, not \"square\""},
        {"{\"shape\":\"round\",\"note\":\"n\"}", "Field \"note\" is only for things of shape \"flat\""},
        {"{\"shape\":\"flat\",\"note\":\"0123456789\"}", "Field \"note\" must have 0 to 9 bytes, not 10"},
        {"{\"shape\":\"flat\",\"count\":6}", "Field \"count\" must be 1 to 5, not 6"},
        {"{\"shape\":\"flat\",\"type\":\"other\"}", "Field \"type\" must be one of thing"},
        {"{\"shape\":\"flat\",\"flag\":1}", "Field \"flag\" must be true or false, not an integer"},
        {"{\"shape\":\"flat\",\"size\":{}}", "Field \"size\" needs \"width\""},
        {"{\"shape\":\"flat\",\"size\":{\"width\":2,\"x\":1}}", "Field \"size.x\" is not known here (allowed: width)"},
        {"{\"shape\":\"flat\",\"parts\":[{\"label\":\"a\"},{}]}", "Field \"parts[1]\" needs a \"label\""},
        {"{\"shape\":\"flat\",\"parts\":[{},{},{}]}", "Field \"parts\" must have 0 to 2 items, not 3"},
        {"{\"shape\":\"flat\",\"names\":\"a\"}", "Field \"names\" must be an array, not a string"},
        {"{\"shape\":\"flat\",\"names\":[\"a\",\"b\",\"c\",\"d\"]}", "Field \"names\" must have 0 to 3 items, not 4"},
        {"{\"shape\":\"flat\",\"names\":[\"a\",\"\"]}", "Field \"names[1]\" must have 1 to 4 bytes, not 0"},
        {"{\"shape\":\"flat\",\"names\":[\"abcde\"]}", "Field \"names[0]\" must have 1 to 4 bytes, not 5"},
        {"{\"shape\":\"flat\",\"names\":[\"a\",2]}", "Field \"names[1]\" must be a string, not an integer"},
        {"{\"shape\":\"flat\",\"names\":[\"a\\n\"]}", "Field \"names[0]\" must not contain control characters"},
        {"{\"shape\":\"flat\",\"names\":[\"a\",\"b\",\"a\"]}", "Field \"names[2]\" is a duplicate of item 0"},
        {"{\"shape\":\"flat\",\"names\":[\"a\",\"nob\"]}", "Field \"names[1]\" is nobody"},
        {"{\"shape\":\"flat\",\"memory\":\"5KB\"}", "Field \"memory\" must be a size such as 8MB in 1KB..4KB, not \"5KB\""},
        {"{\"shape\":\"flat\",\"memory\":\"much\"}", "Field \"memory\" must be a size such as 8MB in 1KB..4KB, not \"much\""},
        {"{\"shape\":\"flat\",\"memory\":1}", "Field \"memory\" must be a size such as 8MB in 1KB..4KB, not 1"},
        {"{\"shape\":\"flat\",\"memory\":-2000}", "Field \"memory\" must be a size such as 8MB in 1KB..4KB, not -2000"},
        {"{\"shape\":\"flat\",\"memory\":[]}", "Field \"memory\" must be a size such as 8MB in 1KB..4KB, not an array"},
        {"{\"shape\":\"flat\",\"patience\":\"2m\"}", "Field \"patience\" must be a length of time such as 30s in 1s..1m, not \"2m\""},
        {"{\"shape\":\"flat\",\"patience\":30}", "Field \"patience\" must be a length of time such as 30s in 1s..1m, not 30"},
        {"{\"shape\":\"flat\",\"made\":1}", "Field \"made\" is ours"},
        {"{\"shape\":\"flat\",\"cuont\":1}", "Field \"cuont\" is not known here: did you mean \"count\"? (allowed: shape, type, text,"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Thing thing = {0};
        Error error = {0};
        assert_int_equal(read_thing(cases[i].text, &thing, &error), -EINVAL);
        if (!strstr(error.text, cases[i].says)) fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].text, error.text, cases[i].says);
        fields_free(&thing_fields, &thing);
    }
}

static void what_no_reading_leaves_does_not_hold(void **state) {
    (void)state;
    Thing thing = {0};
    assert_int_equal(read_thing(FULL "}", &thing, NULL), 0);
    assert_true(fields_hold(&thing_fields, &thing));
    Thing wrong = thing;
    wrong.count = 6;
    assert_false(fields_hold(&thing_fields, &wrong));
    wrong = thing;
    wrong.shape = (Shape)2;
    assert_false(fields_hold(&thing_fields, &wrong));
    wrong = thing;
    wrong.shape = SHAPE_ROUND; /* with a note */
    assert_false(fields_hold(&thing_fields, &wrong));
    wrong = thing;
    wrong.part_count = 3;
    assert_false(fields_hold(&thing_fields, &wrong));
    wrong = thing;
    wrong.memory = 0;
    assert_false(fields_hold(&thing_fields, &wrong));
    wrong = thing;
    wrong.patience = 2 * USEC_MINUTE;
    assert_false(fields_hold(&thing_fields, &wrong));
    thing.names[1][0] = 0;
    assert_false(fields_hold(&thing_fields, &thing));
    thing.names[1][0] = 'y';
    assert_true(fields_hold(&thing_fields, &thing));
    thing.parts[0].label[0] = 0;
    assert_false(fields_hold(&thing_fields, &thing));
    fields_free(&thing_fields, &thing);
}

static void the_document_has_a_line_a_field(void **state) {
    (void)state;
    _cleanup_(buffer_deinit) Buffer out = {0};
    field_table_document(&thing_fields, &out);
    const char *text = buffer_text(&out);
    assert_non_null(strstr(text, "| `shape` | choice | (required) | `round`, `flat`, `ring` | S. |\n"));
    assert_non_null(strstr(text, "| `note` | text | (none) | 0..9 bytes | `shape` `flat` only. N. |\n"));
    assert_non_null(strstr(text, "| `count` | number | 3 | 1..5 pieces | C. |\n"));
    assert_non_null(strstr(text, "| `size.width` | number | (required) | 1..9 metres | W. |\n"));
    assert_non_null(strstr(text, "| `names` | list of texts | (none) | 0..3 items | N. |\n"));
    assert_non_null(strstr(text, "| `memory` | size | 2KB | 1KB..4KB | M. |\n"));
    assert_non_null(strstr(text, "| `patience` | length of time | 30s | 1s..1m | P. |\n"));
    assert_null(strstr(text, "made"));
    assert_null(strstr(text, "label"));
}

/* ---- what tables promise --------------------------------------------------------------------- */

static bool passes(const FieldTable *table) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        field_table_check(table);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void a_wrong_table_ends_the_program(void **state) {
    assert_true(passes(&thing_fields));
    rows[2].sentence = NULL;
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[2].sentence = "No period";
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[3].name = "text";
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[5].default_value = "6";
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[5].unit = NULL;
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[9].default_value = "5KB";
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[10].default_value = NULL;
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[8].item_max = 0;
    assert_false(passes(&thing_fields));
    set_up(state);
    rows[3].kinds = 1U << 5;
    assert_false(passes(&thing_fields));
    set_up(state);
    static const Refusal refused[] = {{"text", "is not known"}, {0}};
    thing_fields.refused = refused;
    assert_false(passes(&thing_fields));
    set_up(state);
}

static void the_tables_of_the_program_are_sound(void **state) {
    (void)state;
    definition_check_tables();
    options_table_check();
    settings_check_table();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_missing_gets_its_default, set_up),
        cmocka_unit_test_setup(what_was_read_is_written_and_copied, set_up),
        cmocka_unit_test_setup(each_row_is_kept, set_up),
        cmocka_unit_test_setup(what_no_reading_leaves_does_not_hold, set_up),
        cmocka_unit_test_setup(the_document_has_a_line_a_field, set_up),
        cmocka_unit_test_setup(a_wrong_table_ends_the_program, set_up),
        cmocka_unit_test(the_tables_of_the_program_are_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
