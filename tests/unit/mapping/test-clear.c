/* Which definitions would hold in the clear what another column masks, and what keys masks need. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/array.h"
#include "config/source_bridge.h"
#include "config/source_kind.h"
#include "mapping/plan.h"

/* Definitions are made by hand here: column lists that end in a nameless one. The references are
 * never given back to the last. */
static Sink sink_with(const char *id, Column *columns) {
    Sink sink = {.references = 1, .sink_id = (char *)(uintptr_t)id, .target.columns = columns};
    while (columns[sink.target.column_count].name) sink.target.column_count++;
    return sink;
}

#define NAME(text) .name = (char *)(uintptr_t)(text)
#define PATH(text) .type = COLUMN_PATH, .path = (char *)(uintptr_t)(text)
#define TEMPLATE(text) .type = COLUMN_TEMPLATE, .template_text = (char *)(uintptr_t)(text)
#define MASK(text) .mask = (char *)(uintptr_t)(text)
#define DEFAULT(text) .default_value = (char *)(uintptr_t)(text)

static void refuses_plan(const Source *source, Column *first, Column *second, const PlanMasks *masks, const char *words) {
    Sink sinks[] = {sink_with("one", first), sink_with("two", second ? second : first)}, *list[] = {&sinks[0], &sinks[1]};
    Plan *plan;
    Error error = {0};
    int r = plan_compile_masked(source, list, second ? 2 : 1, masks, &plan, &error);
    if (!words && r < 0) fail_msg("%s", error.text);
    if (words && (r != -EINVAL || !strstr(error.text, words))) fail_msg("\"%s\" is not in \"%s\"", words, r ? error.text : "(compiled)");
    if (r == 0) plan_unref(plan);
}

static void what_would_be_in_the_clear_is_refused(void **state) {
    static const struct {
        const char *masked, *clear;
        bool refused;
    } paths[] = {{"a.b", ".", true},          {"a.b", "a", true},       {"a.b", "a.b", false},         {"a.b", "a.c", false},
                 {"a.b", "a.b.c", false},     {"a[1].x", "a[1]", true}, {"a[1].x", "a.1", true},       {"a[1].x", "a[2]", false},
                 {"a[\"b.c\"].d", "a", true}, {"ab.c", "a", false},     {"a[\"b.c\"].d", "a.b", false}};
    Source drop = {.kind = &source_kind_http}, keep = {.kind = &source_kind_http, .body_policy = BODY_POLICY_KEEP};
    Column hidden[] = {{NAME("h"), PATH("hidden"), MASK("stars")}, {0}};
    Sink off = sink_with("off", hidden), *disabled = &off;
    PlanMasks none = {0}, elsewhere = {.disabled = &disabled, .disabled_count = 1};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        Column masked[] = {{NAME("m"), PATH(paths[i].masked), MASK("stars")}, {0}}, clear[] = {{NAME("c"), PATH(paths[i].clear)}, {0}};
        Column covered[] = {{NAME("c"), PATH(paths[i].clear), MASK("stars")}, {0}};
        refuses_plan(&drop, masked, clear, &none, paths[i].refused ? "sink \"two\", column \"c\": " : NULL);
        refuses_plan(&drop, clear, masked, &none, paths[i].refused ? "sink \"one\", column \"c\": " : NULL);
        refuses_plan(&drop, masked, covered, &none, NULL);
        refuses_plan(&keep, masked, clear, &none, NULL);
        refuses_plan(&drop, clear, NULL, &none, NULL);
    }
    Column masked[] = {{NAME("m"), .type = COLUMN_HEADERS, MASK("stars")}, {0}}, body[] = {{NAME("b"), .type = COLUMN_BODY}, {0}};
    Column covered[] = {{NAME("b"), .type = COLUMN_BODY, MASK("hash:plain")}, {0}};
    refuses_plan(&drop, body, NULL, &none, NULL);
    refuses_plan(&drop, body, NULL, &elsewhere, "it would contain the whole event");
    refuses_plan(&keep, body, NULL, &elsewhere, NULL);
    refuses_plan(&drop, masked, body, &none,
                 "sink \"two\", column \"b\": it would contain the whole event, and values of the event are masked: give it a mask, or the "
                 "source \"bodyPolicy\": \"keep\"");
    refuses_plan(&drop, masked, covered, &none, NULL);
}

/* An array that is exploded has masked values in each of its elements, whichever index another
 * column names. */
static void exploded_arrays_and_what_is_masked(void **state) {
    static const struct {
        const char *masked_explode, *masked, *clear_explode, *clear;
        bool refused;
    } cases[] = {
        {"items", "items.x", NULL, "items[0]", true},     {"items", "items.x", NULL, "items.0", true},
        {"items", "items.x", NULL, "items", true},        {"items", "items.x", NULL, "items[0].x", false},
        {"items", "items.x", NULL, "items[0].y", false},  {"items", "items.x", NULL, "items[\"0\"]", false},
        {"items", "items.x.y", NULL, "items[7].x", true}, {NULL, "items[0].x.y", "items", "items.x", true},
        {NULL, "items[0].x", "items", "items", true},     {NULL, "items[0].x", "items", "items.x", false},
        {NULL, "items[0].x", "items", "other", false},    {"items", "items.x", "items", "items", true},
        {"items", "other.x", NULL, "other", true},        {NULL, "items[\"0\"].x.y", "items", "items.x", false},
    };
    Source drop = {.kind = &source_kind_http};
    PlanMasks none = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Column masked[] = {{NAME("m"), PATH(cases[i].masked), MASK("stars")}, {0}}, clear[] = {{NAME("c"), PATH(cases[i].clear)}, {0}};
        Sink sinks[] = {sink_with("one", masked), sink_with("two", clear)}, *list[] = {&sinks[0], &sinks[1]};
        sinks[0].target.explode = (char *)(uintptr_t)cases[i].masked_explode;
        sinks[1].target.explode = (char *)(uintptr_t)cases[i].clear_explode;
        Plan *plan;
        Error error = {0};
        int r = plan_compile_masked(&drop, list, 2, &none, &plan, &error);
        if ((r < 0) != cases[i].refused) fail_msg("%s, %s: %s", cases[i].masked, cases[i].clear, r ? error.text : "compiled");
        if (r == 0) plan_unref(plan);
        if (r < 0 && !strstr(error.text, "sink \"two\", column \"c\": the value at path")) fail_msg("%s", error.text);
    }
}

/* Templates, headers and meta fields. */
static void what_templates_and_headers_would_hold_is_refused(void **state) {
    static const BridgeKind reads = {.connection_type = "tap"};
    static const SourceKind bridge = {.name = "tap", .meta_fields = META_KAFKA, .bridge = &reads};
    static BridgeSource part;
    static const struct {
        Column masked, clear;
        const char *words; /* NULL: nothing is wrong */
    } cases[] = {
        {{PATH("a.b")}, {TEMPLATE("Body('a')")}, "reads a value that contains a masked value"},
        {{PATH("a.b")}, {TEMPLATE("Body()")}, "reads the whole event"},
        {{PATH("a.b")}, {TEMPLATE("Body('.').a.b")}, "reads the whole event"},
        {{PATH("a.b")}, {TEMPLATE("BodyStr()")}, "reads the whole event"},
        {{PATH("a.b")}, {TEMPLATE("local f = BodyStr; f()")}, "reads the whole event"},
        {{PATH("a.b")}, {TEMPLATE("local f = Body; f('c')")}, "not written out"},
        {{PATH("a.b")}, {TEMPLATE("Body('a' + '.c')")}, "not written out"},
        {{PATH("a.b")}, {TEMPLATE("Body(path='c')")}, "not written out"},
        {{PATH("a.b")}, {TEMPLATE("Body('\\u0061')")}, "not written out"},
        {{PATH("a.b")}, {TEMPLATE("Body('x', Body('a', null))")}, "reads a value that contains a masked value"},
        {{PATH("a.b")}, {TEMPLATE("Body('a.b')")}, NULL}, /* it says so itself */
        {{PATH("a.b")}, {TEMPLATE("Body('a.c', 1) + Body(\"d\")")}, NULL},
        {{PATH("a.b")}, {TEMPLATE("'Body()' + self.Body() /* Body() */")}, NULL},
        {{PATH("a.b")}, {TEMPLATE("Body()"), MASK("stars")}, NULL},
        {{PATH("a.b")}, {TEMPLATE("HeaderStr()")}, NULL},
        {{.type = COLUMN_IP}, {TEMPLATE("Body()")}, NULL},
        {{TEMPLATE("Body('a.b')")}, {PATH("a")}, "the value at path \"a\" contains a masked value"},
        {{TEMPLATE("Body('a.b')")}, {TEMPLATE("Body('a')")}, "reads a value that contains a masked value"},
        {{TEMPLATE("Body('a.b')")}, {PATH("a.b")}, NULL},
        {{TEMPLATE("local p = 'a'; Body(p)")}, {TEMPLATE("Body()")}, "reads the whole event"},
        {{.type = COLUMN_HEADERS}, {.type = COLUMN_HEADERS}, "all headers"},
        {{.type = COLUMN_HEADERS}, {TEMPLATE("Header()")}, "all headers"},
        {{.type = COLUMN_HEADERS}, {TEMPLATE("HeaderStr()")}, "all headers"},
        {{.type = COLUMN_HEADERS}, {TEMPLATE("Header(std.asciiLower('X-A'))")}, "not written out"},
        {{.type = COLUMN_HEADERS}, {TEMPLATE("Header('x-a')")}, NULL},
        {{TEMPLATE("Header('x-a')")}, {.type = COLUMN_HEADERS}, "all headers"},
        {{PATH("a")}, {.type = COLUMN_HEADERS}, NULL},
        {{.type = COLUMN_META, .meta_field = META_KEY}, {TEMPLATE("local f = 'key'; Meta(f)")}, "a meta field whose name"},
        {{.type = COLUMN_META, .meta_field = META_KEY}, {TEMPLATE("Meta('key')")}, NULL},
        {{.type = COLUMN_META, .meta_field = META_KEY}, {.type = COLUMN_META, .meta_field = META_TOPIC}, NULL},
    };
    Source drop = {.kind = &bridge, .part = &part}, keep = {.kind = &bridge, .part = &part, .body_policy = BODY_POLICY_KEEP};
    PlanMasks none = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Column masked[] = {cases[i].masked, {0}}, clear[] = {cases[i].clear, {0}};
        masked->name = (char *)(uintptr_t) "m";
        masked->mask = (char *)(uintptr_t) "redact";
        clear->name = (char *)(uintptr_t) "c";
        refuses_plan(&drop, masked, clear, &none, cases[i].words);
        if (cases[i].words) refuses_plan(&drop, clear, masked, &none, "sink \"one\", column \"c\": ");
        refuses_plan(&keep, masked, clear, &none, NULL);
        Sink off = sink_with("off", masked), *disabled = &off;
        refuses_plan(&drop, clear, NULL, &(PlanMasks){.disabled = &disabled, .disabled_count = 1}, cases[i].words);
        refuses_plan(&drop, masked, clear, &(PlanMasks){.in_force = true}, NULL);
    }
}

/* A sink that infers has columns of all that it is not kept from, and the rest in its last one. */
static void a_sink_that_infers_beside_one_that_masks(void **state) {
    static const struct {
        Column masked;
        const char *masked_explode;
        uint32_t depth;
        const char *exclude;
        Column beside; /* another column of the sink that infers; without a name: none */
        const char *words;
    } cases[] = {
        {{PATH("a")},
         NULL,
         1,
         NULL,
         {0},
         "sink \"two\": its columns are inferred to a depth of 1, and would store unmasked what column \"m\" of sink \"one\" masks: let "
         "\"infer\" exclude \"a\""},
        {{PATH("a")}, NULL, 1, "a", {0}, NULL},
        {{PATH("a")}, NULL, 1, "b", {0}, "exclude \"a\""},
        {{PATH("a")}, NULL, 1, NULL, {NAME("x"), PATH("a"), MASK("md5")}, NULL},
        {{PATH("a")}, NULL, 1, NULL, {NAME("x"), PATH("a")}, NULL}, /* it says so itself */
        {{PATH("a.b")}, NULL, 1, NULL, {0}, "exclude \"a\""},
        {{PATH("a.b")}, NULL, 1, "a", {0}, NULL},
        {{PATH("a.b")}, NULL, 2, "a", {0}, NULL},
        {{PATH("a.b")}, NULL, 2, "a.b", {0}, NULL},
        {{PATH("a.b")}, NULL, 2, "a.c", {0}, "exclude \"a.b\""},
        {{PATH("a.b")}, NULL, 1, NULL, {NAME("x"), PATH("a.b"), MASK("md5")}, "exclude \"a\""},
        {{PATH("a.b")}, NULL, 1, NULL, {NAME("x"), PATH("a.b")}, "exclude \"a\""},
        {{PATH("a.b")}, NULL, 1, NULL, {NAME("x"), PATH("a"), MASK("md5")}, NULL},
        {{PATH("a.b")}, NULL, 2, NULL, {NAME("x"), PATH("a.b"), MASK("md5")}, NULL},
        {{PATH("a.b")}, NULL, 2, NULL, {NAME("x"), PATH("a")}, "exclude \"a.b\""},
        {{PATH("a.b")}, NULL, 2, "a.b", {NAME("x"), PATH("a")}, "the value at path \"a\" contains a masked value"},
        {{PATH("a[0].b")}, NULL, 3, "a", {0}, NULL},
        {{PATH("a.0")}, NULL, 2, "a.0", {0}, "exclude \"a\""}, /* of an array too */
        {{PATH("a[\"0\"]")}, NULL, 2, "a.0", {0}, NULL},
        {{PATH("0")}, NULL, 1, "0", {0}, NULL}, /* an event is an object */
        {{PATH("items.x")}, "items", 2, "items.x", {0}, "exclude \"items\""},
        {{PATH("items.x")}, "items", 2, "items", {0}, NULL},
        {{PATH("x")}, "items", 2, "items", {0}, "exclude \"x\""},
        {{PATH(".")}, NULL, 1, NULL, {0}, NULL},
        {{.type = COLUMN_BODY}, NULL, 1, NULL, {0}, NULL},
        {{TEMPLATE("Body('a')")}, NULL, 1, NULL, {0}, "exclude \"a\""},
        {{TEMPLATE("Body('a')")}, NULL, 1, "a", {0}, NULL},
        {{TEMPLATE("Body()")}, NULL, 1, NULL, {0}, NULL},
        {{TEMPLATE("local p = 'a'; Body(p)")}, NULL, 1, NULL, {0}, "write the paths out"},
        {{.type = COLUMN_DATETIME}, NULL, 1, NULL, {0}, "has the column \"_at\""},
        {{.type = COLUMN_IP}, NULL, 1, NULL, {0}, NULL},
    };
    Source drop = {.kind = &source_kind_http}, keep = {.kind = &source_kind_http, .body_policy = BODY_POLICY_KEEP};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Column masked[] = {cases[i].masked, {0}};
        masked->name = (char *)(uintptr_t) "m";
        masked->mask = (char *)(uintptr_t) "md5";
        Column rest = {NAME("_rest"), .type = COLUMN_REST, .data_type = DATA_JSON, .inferred = COLUMN_BASE};
        Column with[] = {{NAME("_at"), .type = COLUMN_DATETIME, .inferred = COLUMN_BASE}, cases[i].beside, rest, {0}};
        Column without[] = {{NAME("_at"), .type = COLUMN_DATETIME, .inferred = COLUMN_BASE}, rest, {0}};
        char *exclude = (char *)(uintptr_t)cases[i].exclude;
        Inference infer = {.depth = cases[i].depth, .max_columns = 10, .exclude = &exclude, .exclude_count = exclude != NULL};
        Sink sinks[] = {sink_with("one", masked), sink_with("two", cases[i].beside.name ? with : without)};
        Sink *list[] = {&sinks[0], &sinks[1]}, *disabled[] = {&sinks[0]};
        sinks[0].target.explode = (char *)(uintptr_t)cases[i].masked_explode;
        sinks[1].target.infer = &infer;
        for (unsigned way = 0; way < 3; way++) { /* beside it, disabled, and as the bodyPolicy allows */
            PlanMasks masks = {.disabled = disabled, .disabled_count = way == 1};
            Plan *plan;
            Error error = {0};
            int r = plan_compile_masked(way == 2 ? &keep : &drop, way == 1 ? &list[1] : list, way == 1 ? 1 : 2, &masks, &plan, &error);
            const char *words = way == 2 ? NULL : cases[i].words;
            if ((r < 0) != (words != NULL) || (words && !strstr(error.text, words)))
                fail_msg("case %zu, %u: %s", i, way, r ? error.text : "compiled");
            if (r == 0) plan_unref(plan);
        }
    }
}

/* What is deeper than the depth is in a column that holds an object, or an array. */
static void masks_where_columns_are_inferred(void **state) {
    static const struct {
        const char *path;
        uint32_t depth;
        bool refused;
    } cases[] = {{"a", 1, false}, {"a.b", 1, true}, {"a.b", 2, false}, {"a[0]", 2, true}, {"a.0", 2, true}, {"a[\"0\"]", 2, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Column columns[] = {{NAME("m"), PATH(cases[i].path), MASK("stars")},
                            {NAME("_rest"), .type = COLUMN_REST, .data_type = DATA_JSON, .inferred = COLUMN_BASE},
                            {0}};
        Inference infer = {.depth = cases[i].depth, .max_columns = 10};
        Sink sink = sink_with("one", columns), *list = &sink;
        sink.target.infer = &infer;
        Source drop = {.kind = &source_kind_http}, keep = {.kind = &source_kind_http, .body_policy = BODY_POLICY_KEEP};
        Plan *plan;
        Error error = {0};
        int r = plan_compile(&drop, &list, 1, &plan, &error);
        if (r < 0 && !cases[i].refused) fail_msg("%s", error.text);
        assert_int_equal(r, cases[i].refused ? -EINVAL : 0);
        if (r == 0) {
            Mapper *mapper = mapper_new(1 << 20);
            Buffer row = {0}, *rows = &row;
            MapFailure failure;
            assert_int_equal(mapper_map(mapper, plan, &(Event){.body = SPAN("{}")}, &rows, &failure), 0);
            assert_string_equal(buffer_text(&row), ",\n"); /* both are NULL */
            buffer_deinit(&row);
            mapper_free(mapper);
            plan_unref(plan);
        } else
            assert_non_null(strstr(error.text, "would store unmasked what column \"m\" of sink \"one\" masks"));
        assert_int_equal(plan_compile(&keep, &list, 1, &plan, &error), 0);
        plan_unref(plan);
    }
}

static void keys_of_masks(void **state) {
    static const BridgeKind reads = {.connection_type = "tap"};
    static const SourceKind bridge = {.name = "tap", .bridge = &reads};
    static BridgeSource part;
    Source http = {.kind = &source_kind_http}, tapped = {.kind = &bridge, .part = &part};
    MaskKeys *own = mask_keys_new(), *shared = mask_keys_new();
    mask_keys_set_own(own, SPAN("0123456789abcdef"));
    mask_keys_set_shared(shared, SPAN("0123456789abcdef"));
    mask_keys_set_named(shared, SPAN("crm"), SPAN("fedcba9876543210"));
    PlanMasks none = {0}, with_own = {.keys = own}, with_shared = {.keys = shared};
    Column plain[] = {{NAME("a"), .type = COLUMN_IP, MASK("hash:plain"), .primary_key = true}, {0}};
    Column keyed[] = {{NAME("a"), .type = COLUMN_IP, MASK("hash")}, {0}},
           key[] = {{NAME("a"), .type = COLUMN_IP, MASK("uuid"), .primary_key = true}, {0}};
    Column named[] = {{NAME("a"), .type = COLUMN_IP, MASK("hmac:crm"), .primary_key = true}, {0}};
    refuses_plan(&http, plain, NULL, &none, NULL);
    refuses_plan(&tapped, plain, NULL, &with_own, NULL);
    refuses_plan(&http, keyed, NULL, &none,
                 "sink \"one\", column \"a\": mask \"hash\": there is no mask key: set the option mask-key-file");
    refuses_plan(&http, keyed, NULL, &with_own, NULL);
    refuses_plan(&http, key, NULL, &with_own, "mask \"uuid\": it needs the option mask-key-file: a primary key");
    refuses_plan(&tapped, keyed, NULL, &with_own, "mask \"hash\": it needs the option mask-key-file: sources of type \"tap\"");
    refuses_plan(&http, key, NULL, &with_shared, NULL);
    refuses_plan(&tapped, keyed, key, &with_shared, NULL);
    refuses_plan(&http, named, NULL, &with_own, "there is no key \"crm\"");
    refuses_plan(&tapped, named, NULL, &with_shared, NULL);
    Column wrong[] = {{NAME("a"), PATH("a"), MASK("year_only"), DEFAULT("never")}, {0}};
    refuses_plan(&http, wrong, NULL, &none, "defaultValue \"never\" is not an RFC 3339 time");
    mask_keys_free(own);
    mask_keys_free(shared);
}

/* ---- a value that is searched for ------------------------------------------------------------ */

static uint64_t random_state = 88172645463325252;
static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

#define SECRET "zqplanted"
#define DIGIT(text) ((text)[0] >= '0' && (text)[0] <= '9')

/* Steps of paths in this test are single characters; `*` is each element of an array. */
static void put_event(Buffer *out, const char *steps) {
    if (!*steps) {
        buffer_append_text(out, "\"" SECRET "\"");
        return;
    }
    bool each = *steps == '*', as_array = each || (DIGIT(steps) && random_below(2));
    buffer_append_text(out, as_array ? "[" : "{");
    unsigned items = as_array ? (each ? 3 : (unsigned)(*steps - '0') + 1) : 1;
    for (unsigned i = 0; i < items; i++) {
        if (i) buffer_append_byte(out, ',');
        if (!as_array) buffer_printf(out, "\"%c\":", *steps);
        if (as_array && !each && i + 1 < items)
            buffer_append_text(out, "1");
        else
            put_event(out, steps + 1);
    }
    buffer_append_text(out, as_array ? "]" : ",\"n\":{\"x\":[1]}}");
}

/* Of one to four steps. */
static void random_steps(char steps[5]) {
    static const char keys[] = "aab01";
    unsigned count = 1 + random_below(4);
    steps[0] = random_below(3) ? 'a' : 'b';
    for (unsigned i = 1; i < count; i++) steps[i] = keys[random_below(5)];
    steps[count] = 0;
}

static char *path_of(const char *steps) {
    Buffer path = {0};
    for (const char *at = steps; *at; at++)
        buffer_printf(&path, at > steps && DIGIT(at) && random_below(2) ? "[%c]" : at > steps ? ".%c" : "%c", *at);
    return buffer_take(&path);
}

/* Whatever a definition says: the value at a masked path comes to no row, but by a column that
 * names this very path, or one in it. */
static void a_masked_value_is_in_no_row(void **state) {
    Source drop = {.kind = &source_kind_http};
    size_t refused = 0, compiled = 0, inferred = 0, exploded = 0, shown = 0;
    for (unsigned round = 0; round < 40000; round++) {
        char steps[5], clear_steps[5], array[5], left_out[5], event_steps[8];
        random_steps(steps);
        random_steps(clear_steps);
        random_steps(left_out);
        /* Related more often than chance has it. */
        if (random_below(2)) (void)snprintf(clear_steps, sizeof clear_steps, "%.*s", 1 + (int)random_below(4), steps);
        if (random_below(2)) (void)snprintf(left_out, sizeof left_out, "%.*s", 1 + (int)random_below(4), steps);
        (void)snprintf(array, sizeof array, "%.*s", 1 + (int)random_below(3), random_below(2) ? steps : clear_steps);
        char *masked_path = path_of(steps), *clear_path = path_of(clear_steps), *array_path = path_of(array), *exclude = path_of(left_out);
        bool masked_explodes = random_below(3) == 0, clear_explodes = random_below(3) == 0, infers = !clear_explodes && random_below(2);
        Column masked[] = {{NAME("m"), PATH(masked_path), MASK("redact"), .optional = true}, {0}};
        Column rest = {NAME("_rest"), .type = COLUMN_REST, .data_type = DATA_JSON, .inferred = COLUMN_BASE};
        Column clear[] = {{NAME("c"), PATH(clear_path), .optional = true}, infers ? rest : (Column){0}, {0}};
        if (infers && random_below(2)) clear[0] = rest, clear[1] = (Column){0};
        Inference infer = {.depth = 1 + random_below(4), .max_columns = 10, .exclude = &exclude, .exclude_count = 1};
        Sink sinks[] = {sink_with("one", masked), sink_with("two", clear)}, *list[] = {&sinks[0], &sinks[1]};
        if (masked_explodes) sinks[0].target.explode = array_path;
        if (clear_explodes) sinks[1].target.explode = array_path;
        if (infers) sinks[1].target.infer = &infer;
        Plan *plan;
        int r = plan_compile(&drop, list, 2, &plan, NULL);
        refused += r < 0;
        if (r == 0) {
            compiled++;
            inferred += infers;
            exploded += masked_explodes || clear_explodes;
            size_t below = strlen(array);
            bool is_each = masked_explodes && strncmp(steps, array, below) == 0;
            if (is_each)
                (void)snprintf(event_steps, sizeof event_steps, "%s*%s", array, steps + below);
            else
                (void)snprintf(event_steps, sizeof event_steps, "%s", steps);
            /* Does the column name this place, or one in it? */
            char named[8];
            bool clear_each = clear_explodes && strncmp(clear_steps, array, below) == 0;
            (void)snprintf(named, sizeof named, clear_each ? "%.*s*%s" : "%.*s%s", (int)below, clear_steps,
                           strlen(clear_steps) > below ? clear_steps + below : "");
            bool names_it = clear[0].type == COLUMN_PATH && strlen(named) >= strlen(event_steps);
            for (size_t i = 0; names_it && event_steps[i]; i++) {
                bool meets = named[i] == event_steps[i] || (named[i] == '*' && DIGIT(event_steps + i)) ||
                             (event_steps[i] == '*' && DIGIT(named + i));
                names_it = names_it && meets;
            }
            Mapper *mapper = mapper_new(1 << 20);
            for (unsigned again = 0; again < 3; again++) {
                Buffer event = {0}, rows[2] = {{0}}, *row_list[] = {&rows[0], &rows[1]};
                MapFailure failures[2];
                put_event(&event, event_steps);
                (void)mapper_map(mapper, plan, &(Event){.body = buffer_span(&event)}, row_list, failures);
                for (unsigned i = 0; i < 2; i++) {
                    bool is_shown = rows[i].size && strstr(buffer_text(&rows[i]), SECRET);
                    shown += is_shown;
                    if (is_shown && (i == 0 || !names_it))
                        fail_msg("masked %s, column %s, explode %s (%d, %d), infer %d to %u without %s: %s gives %s", masked_path,
                                 clear[0].path ? clear_path : "(none)", array_path, masked_explodes, clear_explodes, infers, infer.depth,
                                 exclude, buffer_text(&event), buffer_text(&rows[i]));
                    buffer_deinit(&rows[i]);
                }
                buffer_deinit(&event);
            }
            mapper_free(mapper);
            plan_unref(plan);
        }
        free(masked_path);
        free(clear_path);
        free(array_path);
        free(exclude);
    }
    assert_true(refused > 2000 && compiled > 2000 && inferred > 500 && exploded > 500 && shown > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_would_be_in_the_clear_is_refused),
        cmocka_unit_test(exploded_arrays_and_what_is_masked),
        cmocka_unit_test(what_templates_and_headers_would_hold_is_refused),
        cmocka_unit_test(a_sink_that_infers_beside_one_that_masks),
        cmocka_unit_test(masks_where_columns_are_inferred),
        cmocka_unit_test(keys_of_masks),
        cmocka_unit_test(a_masked_value_is_in_no_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
