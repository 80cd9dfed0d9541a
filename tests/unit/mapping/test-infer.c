/*
 * Sinks that infer: nothing of an event is lost. Random objects are mapped, columns are made of
 * what was discovered, as the control thread does it, and each row, its columns, variants and rest,
 * is put together to what the event was.
 *
 *   SLUICE_SEED=N      begins with these objects
 *   SLUICE_MS=N        how long seeds are tried, in milliseconds (2,000)
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/inference.h"
#include "config/inferred_type.h"
#include "mapping/field_value.h"
#include "mapping/json_text.h"
#include "mapping/plan.h"
#include "mapping/row.h"
#include "mapping/value.h"
#include "tests/support/random-json.h"

#define SINKS_MAX 4

/* ---- sinks ----------------------------------------------------------------------------------- */

static Source *source;

static int make_source(void **state) {
    (void)state;
    json_t *body = json_pack("{s:s}", "name", "s");
    int r = source_from_request(body, &source, NULL);
    json_decref(body);
    return r;
}

static int drop_source(void **state) {
    (void)state;
    source_unref(source);
    return 0;
}

/* `columns`: of the API, as JSON; `hints` and `exclude` end in NULL. */
static Sink *make_sink(const char *id, const char *columns, unsigned depth, unsigned max_columns, const TypeHint *hints,
                       const char *const *exclude) {
    char text[2048];
    (void)snprintf(text, sizeof text, "{\"sinkId\":\"%s\",\"name\":\"%s\",\"table\":{\"tableId\":\"%s\",\"mapping\":{\"columns\":%s}}}", id,
                   id, id, columns);
    json_t *body = json_loads(text, 0, NULL);
    Error error = {0};
    Sink *sink = NULL;
    if (!body || sink_from_request(body, true, &sink, &error) != 0) fail_msg("%s: %s", text, error.text);
    json_decref(body);
    if (depth == 0) return sink;
    Inference *infer = sink->target.infer = calloc(1, sizeof *infer);
    assert_non_null(infer);
    infer->depth = depth;
    infer->max_columns = max_columns;
    for (; hints && hints->path; hints++) {
        array_extend(infer->hints, infer->hint_count);
        infer->hints[infer->hint_count++] = (TypeHint){.path = text_copy(hints->path), .type = hints->type};
    }
    for (; exclude && *exclude; exclude++) {
        array_extend(infer->exclude, infer->exclude_count);
        infer->exclude[infer->exclude_count++] = text_copy(*exclude);
    }
    sink_complete(source, sink);
    return sink;
}

static bool is_taken(void *context, const char *name) {
    const Sink *sink = context;
    for (size_t i = 0; i < sink->target.column_count; i++)
        if (span_equal_nocase(span_of(sink->target.columns[i].name), span_of(name))) return true;
    return false;
}

/* ---- a run ----------------------------------------------------------------------------------- */

typedef struct Run {
    Sink *sinks[SINKS_MAX];
    size_t count;
    Plan *plan;
    Mapper *mapper;
    Buffer rows[SINKS_MAX];
    Buffer *row_list[SINKS_MAX];
    MapFailure failures[SINKS_MAX];
    InferredColumn *pending[SINKS_MAX]; /* what was discovered and has no column yet */
    size_t pending_count[SINKS_MAX];
    uint64_t versions, discoveries, variants;
} Run;

static void run_compile(Run *run) {
    Error error = {0};
    plan_unref(run->plan);
    if (plan_compile(source, run->sinks, run->count, &run->plan, &error) < 0) fail_msg("%s", error.text);
}

static void run_start(Run *run) {
    run->mapper = mapper_new(1 << 20);
    for (size_t i = 0; i < SINKS_MAX; i++) run->row_list[i] = &run->rows[i];
    run_compile(run);
}

static void run_end(Run *run) {
    plan_unref(run->plan);
    mapper_free(run->mapper);
    for (size_t i = 0; i < SINKS_MAX; i++) {
        buffer_deinit(&run->rows[i]);
        inferred_columns_free(run->pending[i], run->pending_count[i]);
        if (i < run->count) sink_unref(run->sinks[i]);
    }
}

static size_t run_map(Run *run, Span body) {
    Event event = {.body = body, .kind = BODY_JSON, .received = 1795262400 * USEC_SECOND};
    for (size_t i = 0; i < SINKS_MAX; i++) buffer_clear(&run->rows[i]);
    return mapper_map(run->mapper, run->plan, &event, run->row_list, run->failures);
}

static void add_pending(Run *run, const MapDiscovery *found) {
    InferredColumn **list = &run->pending[found->sink];
    size_t *count = &run->pending_count[found->sink];
    run->discoveries++;
    run->variants += found->is_variant;
    for (size_t i = 0; i < *count; i++) {
        InferredColumn *column = &(*list)[i];
        if (!span_equal(span_of(column->path), found->path) || column->is_variant != found->is_variant) continue;
        if (!found->is_variant) column->type = inferred_type_widen(column->type, found->type);
        if (!found->is_variant || column->type == found->type) return;
    }
    array_extend(*list, *count);
    (*list)[(*count)++] = (InferredColumn){
        .path = strndup(found->path.data, found->path.size), .is_variant = found->is_variant, .type = found->type};
}

static void take_discoveries(Run *run) {
    size_t count;
    const MapDiscovery *found = mapper_discoveries(run->mapper, &count);
    for (size_t i = 0; i < count; i++) {
        _cleanup_(buffer_deinit) Buffer canonical = {0};
        assert_true(found[i].sink < run->count && run->sinks[found[i].sink]->target.infer);
        assert_true(inferred_type_valid(found[i].type));
        assert_true(field_path_canonical(found[i].path, &canonical));
        assert_true(span_equal(found[i].path, buffer_span(&canonical)));
        for (size_t k = 0; k < i; k++) assert_false(found[k].sink == found[i].sink && span_equal(found[k].path, found[i].path));
        add_pending(run, &found[i]);
    }
}

/* Makes columns of what is pending. */
static void next_version(Run *run) {
    for (size_t i = 0; i < run->count; i++) {
        if (!run->sinks[i]->target.infer) continue;
        Sink *sink = sink_copy(run->sinks[i]);
        for (size_t k = 0; k < run->pending_count[i]; k++) {
            InferredColumn *column = &run->pending[i][k];
            char name[COLUMN_NAME_SIZE], own[COLUMN_NAME_SIZE];
            column_name_of_field(span_of(column->path), is_taken, sink, name);
            if (column->is_variant) {
                (void)snprintf(own, sizeof own, "%s", name);
                column_name_of_variant(own, span_of(column->path), column->type, is_taken, sink, name);
            }
            column->name = text_copy(name);
            (void)inference_add(&sink->target, column, 1);
        }
        assert_true(sink->target.column_count <= sink->target.infer->max_columns ||
                    sink->target.column_count == run->sinks[i]->target.column_count);
        inferred_columns_free(run->pending[i], run->pending_count[i]);
        run->pending[i] = NULL;
        run->pending_count[i] = 0;
        sink_unref(run->sinks[i]);
        run->sinks[i] = sink;
    }
    run->versions++;
    run_compile(run);
}

/* ---- what an event is, leaf by leaf ---------------------------------------------------------- */

typedef struct Leaf {
    char *path;  /* of steps */
    char *value; /* the same for values that are equal */
} Leaf;

typedef struct Leaves {
    Leaf *items;
    size_t count;
} Leaves;

static void leaves_free(Leaves *leaves) {
    for (size_t i = 0; i < leaves->count; i++) {
        free(leaves->items[i].path);
        free(leaves->items[i].value);
    }
    free(leaves->items);
    *leaves = (Leaves){0};
}

static const Leaf *find_leaf(const Leaves *leaves, Span path) {
    for (size_t i = 0; i < leaves->count; i++)
        if (span_equal(span_of(leaves->items[i].path), path)) return &leaves->items[i];
    return NULL;
}

static void add_leaf(Leaves *leaves, Span path, Span value) {
    array_extend(leaves->items, leaves->count);
    leaves->items[leaves->count++] = (Leaf){strndup(path.data, path.size), strndup(value.data, value.size)};
}

/* Text in a form that holds no NUL. */
static void put_text(Buffer *out, Span text) {
    const char *reason;
    if (value_is_exact_time(text)) {
        buffer_append_text(out, "time ");
        assert_int_equal(value_put(out, DATA_TIMESTAMP, text, 0, &reason), 0);
        return;
    }
    buffer_append_text(out, "text ");
    json_quote(out, text);
}

static void put_number(Buffer *out, Span number) {
    buffer_append_text(out, "number ");
    buffer_append_span(out, span_equal(number, SPAN("-0")) ? SPAN("0") : number);
}

/* A JSON value. */
static void put_value(Buffer *out, Span text) {
    _cleanup_(buffer_deinit) Buffer scratch = {0};
    ScanValue value = field_value_of(text);
    if (value.kind == SCAN_NUMBER) {
        put_number(out, text);
    } else if (value.kind == SCAN_STRING) {
        if (json_unescape(&scratch, (Span){text.data + 1, text.size - 2}) == 0)
            put_text(out, buffer_span(&scratch));
        else
            buffer_append_span(out, text);
    } else {
        json_compact(out, text);
    }
}

static const char *pass_space(const char *p) {
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
    return p;
}

static void put_step(Buffer *path, Span key) {
    _cleanup_(buffer_deinit) Buffer meant = {0};
    buffer_append_byte(path, '[');
    if (json_unescape(&meant, key) == 0)
        json_quote(path, buffer_span(&meant));
    else
        buffer_append_span(path, key); /* half a surrogate pair */
    buffer_append_byte(path, ']');
}

/* How a sink sees objects. */
typedef struct View {
    unsigned depth;
    const char *const *excluded; /* NULL, or a list that ends in NULL */
    const char *whole;           /* a path that is declared: an object there is a value */
} View;

/* Leaves of an object, by a plain walk: the first of equal keys; null is as if it were missing. */
static void walk(Leaves *leaves, Buffer *path, const char *p, const char *end, unsigned level, const View *view) {
    Leaves seen = {0};
    size_t path_size = path->size;
    for (p = pass_space(p + 1); *p != '}'; p = pass_space(*p == ',' ? p + 1 : p)) {
        Span key = {p + 1, (size_t)(scan_value_end(p, end) - p - 2)};
        const char *value = pass_space(pass_space(key.data + key.size + 1) + 1), *stop = scan_value_end(value, end);
        p = pass_space(stop);
        path->size = path_size;
        put_step(path, key);
        Span at = buffer_span(path);
        if (find_leaf(&seen, at)) continue;
        add_leaf(&seen, at, (Span){"", 0});
        bool is_excluded = false;
        for (const char *const *one = view->excluded; one && *one; one++) is_excluded = is_excluded || span_equal(at, span_of(*one));
        if (is_excluded || *value == 'n') continue;
        bool is_whole = view->whole && span_equal(at, span_of(view->whole));
        if (*value == '{' && level < view->depth && !is_whole && *pass_space(value + 1) != '}') {
            walk(leaves, path, value, end, level + 1, view);
            continue;
        }
        _cleanup_(buffer_deinit) Buffer text = {0};
        put_value(&text, (Span){value, (size_t)(stop - value)});
        add_leaf(leaves, at, buffer_span(&text));
    }
    path->size = path_size;
    leaves_free(&seen);
}

static Leaves leaves_of(Span object, const View *view) {
    Leaves leaves = {0};
    _cleanup_(buffer_deinit) Buffer path = {0}, copy = {0};
    buffer_append_span(&copy, object);
    buffer_append_byte(&copy, 0);
    walk(&leaves, &path, pass_space(copy.data), copy.data + object.size, 1, view);
    return leaves;
}

/* The path of a column, step by step as put_step has it. */
static void put_column_path(Buffer *out, const char *path) {
    PathSet *set = pathset_new();
    uint32_t slot;
    assert_int_equal(pathset_add(set, span_of(path), &slot, NULL), 0);
    for (size_t i = 0; i < pathset_step_count(set, slot); i++) {
        buffer_append_byte(out, '[');
        json_quote(out, pathset_step(set, slot, i));
        buffer_append_byte(out, ']');
    }
    pathset_free(set);
}

static void add_cell(Leaves *leaves, const Column *column, Span cell) {
    _cleanup_(buffer_deinit) Buffer path = {0}, value = {0};
    put_column_path(&path, column->path);
    switch (column->data_type) {
    case DATA_INTEGER:
    case DATA_DECIMAL: put_number(&value, cell); break;
    case DATA_TEXT:
    case DATA_TIMESTAMP: put_text(&value, cell); break;
    case DATA_JSON:
    case DATA_JSON_TEXT: put_value(&value, cell); break;
    default: buffer_append_span(&value, cell);
    }
    if (find_leaf(leaves, buffer_span(&path))) fail_msg("path %s twice", buffer_text(&path));
    add_leaf(leaves, buffer_span(&path), buffer_span(&value));
}

/* What columns, variants and rest of a row say. */
static Leaves leaves_of_row(const Sink *sink, Span row) {
    Leaves leaves = {0};
    const SinkTarget *target = &sink->target;
    RowReader reader = {.text = row};
    RowCell *cells = calloc(target->column_count, sizeof *cells);
    assert_non_null(cells);
    assert_int_equal(row_read(&reader, cells, target->column_count), 0);
    for (size_t i = 0; i < target->column_count; i++) {
        Span cell = {cells[i].data, cells[i].size};
        if (cells[i].is_null || span_equal(cell, SPAN("\"(missing)\""))) continue;
        if (target->columns[i].type == COLUMN_PATH) add_cell(&leaves, &target->columns[i], cell);
        if (target->columns[i].type != COLUMN_REST) continue;
        ScanFault fault;
        assert_int_equal(scan_validate(cell, &fault), 0);
        Leaves rest = leaves_of(cell, &(View){.depth = target->infer->depth});
        for (size_t k = 0; k < rest.count; k++) {
            Span path = span_of(rest.items[k].path);
            if (find_leaf(&leaves, path)) fail_msg("path %s is in a column and in the rest", rest.items[k].path);
            add_leaf(&leaves, path, span_of(rest.items[k].value));
        }
        leaves_free(&rest);
    }
    free(cells);
    row_reader_deinit(&reader);
    return leaves;
}

static void assert_nothing_is_lost(const Run *run, size_t index, Span body, const char *const *excluded, const char *whole) {
    const Sink *sink = run->sinks[index];
    View view = {.depth = sink->target.infer->depth, .excluded = excluded, .whole = whole};
    Leaves expected = leaves_of(body, &view), found = leaves_of_row(sink, buffer_span(&run->rows[index]));
    bool same = expected.count == found.count;
    for (size_t i = 0; i < expected.count; i++) {
        const Leaf *leaf = find_leaf(&found, span_of(expected.items[i].path));
        if (leaf && strcmp(leaf->value, expected.items[i].value) == 0) continue;
        print_error("%s: %s, not %s\n", expected.items[i].path, leaf ? leaf->value : "(nothing)", expected.items[i].value);
        same = false;
    }
    if (!same) {
        for (size_t i = 0; i < found.count; i++) print_error("found %s: %s\n", found.items[i].path, found.items[i].value);
        print_error("sink %s, body %.*s\nrow %.*s\n", sink->sink_id, (int)body.size, body.data, (int)run->rows[index].size,
                    run->rows[index].data);
        fail();
    }
    leaves_free(&expected);
    leaves_free(&found);
}

/* ---- random objects -------------------------------------------------------------------------- */

static const char *const keys[] = {
    "a",
    "b",
    "c",
    "A",
    "a b",
    "a-b",
    "a_b",
    "a.b",
    "a__b",
    "",
    "1",
    "01",
    "\\u0061",
    "\\u00e9",
    "\xc3\xa9",
    "x\\ny",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\u0000",
    "d\\\"e",
    "d\\\\e",
    "hint",
    "secret",
    "declared",
    "a rather long name of a field, of more than the sixty-four bytes of a block",
};
static const char *const values[] = {
    "0",
    "1",
    "-1",
    "-0",
    "12345678901",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "1.5",
    "-0.0",
    "1e3",
    "1E-7",
    "1e2000",
    "0.1234567890123456789012345678901234567890",
    "true",
    "false",
    "null",
    "\"\"",
    "\"abc\"",
    "\"true\"",
    "\"1\"",
    "\" x \"",
    "\"a,b\"",
    "\"two\\nlines\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\u00e9\xf0\x9f\x98\x80\"",
    "\"2026-11-30T16:00:00Z\"",
    "\"2026-11-30t16:00:00.123456+02:00\"",
    "\"2026-11-30T16:00:00.1234567Z\"",
    "\"2026-11-30T16:00:00.1234560000Z\"",
    "\"2016-12-31T23:59:60Z\"",
    "\"2026-11-30 16:00:00Z\"",
    "\"2026-11-30\"",
    "\"2026\\u002d11-30T16:00:00Z\"",
    "\"0001-01-01T00:00:00+01:00\"",
    "[]",
    "[1,{\"a\":null}]",
    "[ 1 , 2 ]",
    "{}",
    "{ }",
    "\"a text that is longer than a block of sixty-four bytes, with a comma, and without anything else\"",
};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void put_space(RandomJson *random, Buffer *out) {
    if (random_json_below(random, 12) == 0) buffer_append_text(out, random_json_below(random, 2) ? " " : "\n\t");
}

static void random_object(RandomJson *random, Buffer *out, unsigned level) {
    uint32_t count = random_json_below(random, level == 1 ? 9 : 5);
    buffer_append_byte(out, '{');
    put_space(random, out);
    for (uint32_t i = 0; i < count; i++) {
        /* Some names are frequent, so that fields have columns. */
        size_t key = random_json_below(random, 3) ? random_json_below(random, 4) : random_json_below(random, COUNT(keys));
        if (i > 0) buffer_append_byte(out, ',');
        put_space(random, out);
        buffer_printf(out, "\"%s\"", keys[key]);
        put_space(random, out);
        buffer_append_byte(out, ':');
        put_space(random, out);
        if (level < 5 && random_json_below(random, 4) == 0)
            random_object(random, out, level + 1);
        else
            buffer_append_text(out, values[random_json_below(random, COUNT(values))]);
        put_space(random, out);
    }
    buffer_append_byte(out, '}');
}

/* ---- tests ----------------------------------------------------------------------------------- */

static const TypeHint hints[] = {{(char *)(uintptr_t) "hint", DATA_TEXT}, {(char *)(uintptr_t) "a.hint", DATA_TIMESTAMP}, {0}};
static const char *const excluded_paths[] = {"secret", "a.secret", NULL};
static const char *const excluded_steps[] = {"[\"secret\"]", "[\"a\"][\"secret\"]", NULL};

#define ID_COLUMN "{\"type\":\"id\",\"name\":\"own_id\"}"

static void try_seed(uint64_t seed, Run *totals) {
    RandomJson random = {.state = seed};
    unsigned most = 5 + random_json_below(&random, 60);
    Run run = {.count = 4};
    run.sinks[0] = make_sink("flat", "[" ID_COLUMN "]", 1, most, NULL, NULL);
    run.sinks[1] = make_sink("deep", "[" ID_COLUMN "]", 3, 400, hints, excluded_paths);
    run.sinks[2] = make_sink(
        "plain",
        "[{\"type\":\"path\",\"name\":\"x\",\"path\":\"a.b.c\",\"defaultValue\":\"\"},{\"type\":\"path\",\"name\":\"y\","
        "\"path\":\"b[0].a\",\"defaultValue\":\"\"},{\"type\":\"path\",\"name\":\"z\",\"path\":\"a.1.b\",\"defaultValue\":\"\"}]",
        0, 0, NULL, NULL);
    run.sinks[3] = make_sink(
        "mixed",
        "[{\"type\":\"path\",\"name\":\"declared\",\"path\":\"declared\",\"dataType\":\"jsonText\",\"defaultValue\":\"(missing)\"}]", 2,
        most, NULL, NULL);
    run_start(&run);
    Buffer body = {0};
    for (int event = 0; event < 120; event++) {
        buffer_clear(&body);
        random_object(&random, &body, 1);
        if (run_map(&run, buffer_span(&body)) > 0)
            for (size_t i = 0; i < run.count; i++)
                if (run.failures[i].error) fail_msg("seed %llu: %s", (unsigned long long)seed, run.failures[i].message);
        assert_nothing_is_lost(&run, 0, buffer_span(&body), NULL, NULL);
        assert_nothing_is_lost(&run, 1, buffer_span(&body), excluded_steps, NULL);
        assert_nothing_is_lost(&run, 3, buffer_span(&body), NULL, "[\"declared\"]");
        take_discoveries(&run);
        if (random_json_below(&random, 6) == 0) next_version(&run);
    }
    totals->versions += run.versions;
    totals->discoveries += run.discoveries;
    totals->variants += run.variants;
    buffer_deinit(&body);
    run_end(&run);
}

static void nothing_is_lost(void **state) {
    (void)state;
    const char *given = getenv("SLUICE_MS");
    usec_t stop = clock_system()->boot(clock_system()) + (given && *given ? strtoll(given, NULL, 10) : 2000) * USEC_MS;
    const char *first = getenv("SLUICE_SEED");
    uint64_t seed = first && *first ? strtoull(first, NULL, 10) : 20261130;
    Run totals = {0};
    unsigned seeds = 0;
    do {
        try_seed(seed++, &totals);
        seeds++;
    } while (clock_system()->boot(clock_system()) < stop);
    print_message("%u seeds, %llu versions, %llu discoveries, %llu of variants\n", seeds, (unsigned long long)totals.versions,
                  (unsigned long long)totals.discoveries, (unsigned long long)totals.variants);
    assert_true(totals.versions > seeds && totals.variants > seeds && totals.discoveries > 10 * seeds);
}

/* ---- examples -------------------------------------------------------------------------------- */

static Run one_sink(const char *columns, unsigned depth, unsigned max_columns, const TypeHint *with_hints, const char *const *exclude) {
    Run run = {.count = 1};
    run.sinks[0] = make_sink("s", columns, depth, max_columns, with_hints, exclude);
    return run;
}

/* The row without its id and time, and what was discovered. */
static void assert_mapped(Run *run, const char *body, const char *row, const char *discovered) {
    static const char front[] = "00000000-0000-0000-0000-000000000000,2026-11-21T12:00:00.000000Z,";
    _cleanup_(buffer_deinit) Buffer text = {0};
    size_t count;
    if (run_map(run, span_of(body)) > 0) fail_msg("%s", run->failures[0].message);
    Span found = buffer_span(&run->rows[0]);
    assert_true(text_begins(found, span_of(front)));
    found = (Span){found.data + sizeof front - 1, found.size - sizeof front};
    if (!span_equal(found, span_of(row))) fail_msg("%s: row %.*s, not %s", body, (int)found.size, found.data, row);
    const MapDiscovery *list = mapper_discoveries(run->mapper, &count);
    for (size_t i = 0; i < count; i++)
        buffer_printf(&text, "%s%.*s%s%s", i ? " " : "", (int)list[i].path.size, list[i].path.data, list[i].is_variant ? "~" : ":",
                      data_type_name(list[i].type));
    assert_string_equal(buffer_text(&text), discovered);
    take_discoveries(run);
}

static void fields_become_columns(void **state) {
    (void)state;
    Run run = one_sink("[" ID_COLUMN "]", 1, 200, NULL, NULL);
    static const char own[] = "00000000-0000-0000-0000-000000000000,";
    char row[512];
#define ROW(text) ((void)snprintf(row, sizeof row, "%s%s", own, text), row)
    run_start(&run);
    assert_mapped(&run, "{}", ROW(""), "");
    assert_mapped(&run, "{\"n\":null}", ROW("\"{\"\"n\"\":null}\""), "");
    assert_mapped(&run, "{\"i\":1,\"d\":1.5,\"t\":\"x\",\"o\":{\"k\" : [1, 2]},\"i\":\"second\",\"\\u0069\":3}",
                  ROW("\"{\"\"i\"\":1,\"\"d\"\":1.5,\"\"t\"\":\"\"x\"\",\"\"o\"\":{\"\"k\"\":[1,2]}}\""),
                  "i:integer d:decimal t:text o:json");
    assert_mapped(&run, "{\"t\":\"2026-01-02T03:04:05Z\",\"b\":true,\"at\":\"2026-01-02T03:04:05Z\",\"i\":2}",
                  ROW("\"{\"\"t\"\":\"\"2026-01-02T03:04:05Z\"\",\"\"b\"\":true,\"\"at\"\":\"\"2026-01-02T03:04:05Z\"\",\"\"i\"\":2}\""),
                  "t:timestamp b:boolean at:timestamp i:integer");
    next_version(&run); /* i d t o b at: a time and a text are text */
    assert_mapped(&run, "{\"t\":\"2026-01-02T03:04:05Z\",\"b\":false,\"at\":\"2026-01-02T05:04:05+02:00\",\"i\":2,\"d\":7,\"o\":\"x\"}",
                  ROW("2,7,2026-01-02T03:04:05Z,\"\"\"x\"\"\",false,2026-01-02T03:04:05.000000Z,"), "");
    assert_mapped(&run, "{\"i\":\"2\",\"d\":null,\"new\":1,\"at\":\"never\"}",
                  ROW(",,,,,,\"{\"\"new\"\":1,\"\"i\"\":\"\"2\"\",\"\"at\"\":\"\"never\"\"}\""), "new:integer i~text at~text");
    next_version(&run);
    assert_mapped(&run, "{\"i\":\"2\",\"at\":\"2026-01-02T05:04:05Z\"}", ROW(",,,,,2026-01-02T05:04:05.000000Z,,2,,"), "");
    assert_mapped(&run, "{\"i\":1.5,\"at\":1}", ROW(",,,,,,,,,\"{\"\"i\"\":1.5,\"\"at\"\":1}\""), "i~decimal at~integer");
    run_end(&run);
}

static void objects_are_descended_into(void **state) {
    (void)state;
    static const TypeHint some[] = {{(char *)(uintptr_t) "a.b", DATA_DECIMAL}, {0}};
    static const char *const none[] = {"a[\"p.w\"]", NULL};
    Run run = one_sink("[{\"type\":\"path\",\"name\":\"d\",\"path\":\"a.d\",\"dataType\":\"integer\",\"defaultValue\":\"0\"}]", 2, 200,
                       some, none);
    run_start(&run);
    assert_mapped(&run, "{\"a\":{\"b\":1,\"c\":{\"x\":1},\"p.w\":\"secret\",\"d\":5,\"x.y\":true},\"e\":{}}",
                  "5,\"{\"\"a\"\":{\"\"c\"\":{\"\"x\"\":1},\"\"x.y\"\":true,\"\"b\"\":1},\"\"e\"\":{}}\"",
                  "a.c:json a[\"x.y\"]:boolean a.b:decimal");
    next_version(&run);
    assert_mapped(&run, "{\"a\":{\"b\":1,\"c\":2,\"x.y\":null,\"p.w\":1}}", "0,2,,1,", "");
    assert_mapped(&run, "{\"a\":[1]}", "0,,,,\"{\"\"a\"\":[1]}\"", "a:json");
    next_version(&run);
    assert_mapped(&run, "{\"a\":{\"b\":1}}", "0,,,1,,", "");
    assert_mapped(&run, "{\"a\":{}}", "0,,,,,\"{\"\"a\"\":{}}\"", "");
    assert_mapped(&run, "{\"a\":\"x\"}", "0,,,,\"\"\"x\"\"\",", "");
    run_end(&run);
}

/* A target that is full discovers nothing, and still loses nothing. */
static void there_is_a_limit(void **state) {
    (void)state;
    Run run = one_sink("[" ID_COLUMN "]", 1, 6, NULL, NULL);
    static const char body[] = "{\"a\":1,\"b\":2,\"c\":3}";
    size_t count;
    run_start(&run);
    assert_int_equal(run_map(&run, span_of(body)), 0);
    (void)mapper_discoveries(run.mapper, &count);
    assert_int_equal(count, 2); /* _id, _at, own_id and _rest are there */
    take_discoveries(&run);
    next_version(&run);
    assert_int_equal(run_map(&run, span_of(body)), 0);
    (void)mapper_discoveries(run.mapper, &count);
    assert_int_equal(count, 0);
    assert_nothing_is_lost(&run, 0, span_of(body), NULL, NULL);
    run_end(&run);
}

static void other_bodies_are_refused(void **state) {
    (void)state;
    static const char *const bodies[] = {"[]", "1", "null", "\"{}\"", " [{\"a\":1}] "};
    Run run = one_sink("[" ID_COLUMN "]", 1, 200, NULL, NULL);
    run_start(&run);
    for (size_t i = 0; i < COUNT(bodies); i++) {
        assert_int_equal(run_map(&run, span_of(bodies[i])), 1);
        assert_int_equal(run.failures[0].error, MAP_WRONG_TYPE);
        assert_non_null(strstr(run.failures[0].message, "is not a JSON object"));
        assert_int_equal(run.rows[0].size, 0);
    }
    assert_int_equal(run_map(&run, SPAN("{\"a\":")), 1);
    assert_int_equal(run.failures[0].error, MAP_NOT_JSON);
    Event form = {.body = SPAN("a=1&b=x"), .kind = BODY_FORM};
    assert_int_equal(mapper_map(run.mapper, run.plan, &form, run.row_list, run.failures), 0);
    size_t count;
    (void)mapper_discoveries(run.mapper, &count);
    assert_int_equal(count, 2);
    run_end(&run);
}

/* What is discovered of an event that is not mapped is forgotten. */
static void a_row_that_is_too_large(void **state) {
    (void)state;
    Run run = one_sink("[" ID_COLUMN "]", 1, 200, NULL, NULL);
    run_start(&run);
    mapper_free(run.mapper);
    run.mapper = mapper_new(200);
    _cleanup_(buffer_deinit) Buffer body = {0};
    buffer_printf(&body, "{\"a\":\"%0*d\"}", 500, 1);
    assert_int_equal(run_map(&run, buffer_span(&body)), 1);
    assert_int_equal(run.failures[0].error, MAP_ROW_TOO_LARGE);
    size_t count;
    (void)mapper_discoveries(run.mapper, &count);
    assert_int_equal(count, 0);
    run_end(&run);
}

static void paths_that_are_no_fields(void **state) {
    (void)state;
    static const struct {
        const char *path, *what;
    } rows[] = {
        {"a.b", "exclude, path \"a.b\": has more steps than the depth (1)"}, {".", "is the whole body"}, {"a[", "brackets at byte 1"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *const exclude[] = {rows[i].path, NULL};
        Sink *sink = make_sink("s", "[" ID_COLUMN "]", 1, 200, NULL, exclude);
        Plan *plan = NULL;
        Error error = {0};
        assert_int_equal(plan_compile(source, &sink, 1, &plan, &error), -EINVAL);
        if (!strstr(error.text, rows[i].what)) fail_msg("%s", error.text);
        sink_unref(sink);
    }
}

/* An event of a hundred thousand new fields: each goes to the rest, and what is discovered is no
 * more than there is room for. */
static void an_event_of_new_fields(void **state) {
    (void)state;
    Run run = one_sink("[" ID_COLUMN "]", 3, 200, NULL, NULL);
    _cleanup_(buffer_deinit) Buffer body = {0};
    buffer_append_byte(&body, '{');
    for (unsigned i = 0; body.size < 900000; i++) {
        if (i > 0) buffer_append_byte(&body, ',');
        if (i % 3 == 0)
            buffer_printf(&body, "\"\\u006e%u\":{\"x\":%u,\"x\":1,\"y\":{\"z\":1}}", i / 2, i);
        else
            buffer_printf(&body, "\"n%u\":%u", i / 2, i);
    }
    buffer_append_byte(&body, '}');
    run_start(&run);
    usec_t begin = clock_system()->boot(clock_system());
    for (int i = 0; i < 3; i++) assert_int_equal(run_map(&run, buffer_span(&body)), 0);
    usec_t took = clock_system()->boot(clock_system()) - begin;
    print_message("%zu bytes in %.1f ms\n", body.size, (double)took / 3 / 1000);
    size_t count;
    (void)mapper_discoveries(run.mapper, &count);
    assert_int_equal(count, 196);
    take_discoveries(&run);
    next_version(&run);
    assert_int_equal(run.sinks[0]->target.column_count, 200);
    assert_int_equal(run_map(&run, buffer_span(&body)), 0);
    run_end(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_become_columns),   cmocka_unit_test(objects_are_descended_into),
        cmocka_unit_test(there_is_a_limit),        cmocka_unit_test(other_bodies_are_refused),
        cmocka_unit_test(a_row_that_is_too_large), cmocka_unit_test(paths_that_are_no_fields),
        cmocka_unit_test(an_event_of_new_fields),  cmocka_unit_test(nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, make_source, drop_source);
}
