/* The cases in the folder tests/mapping, as far as they need no template: an event and a sink's
 * columns -> the cells of the row, or the reason why it is refused. And what is JSON stays JSON
 * wherever it stands in another document, for every kernel of the scanner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "case-file.h"
#include "config/source_kind.h"
#include "guard.h"
#include "mapping/framing.h"
#include "mapping/meta.h"
#include "mapping/plan.h"
#include "mapping/row.h"
#include "mapping/scanner.h"

#define HEADERS_MAX 64
#define BODY_PLACED_MAX 1024 /* a longer body is not placed elsewhere */
#define PADDING_MAX 130      /* two blocks of a scanner that looks at 64 bytes at a time */

/* A kind whose events have every field, beside the one that there is: the list that this program
 * defines goes before that of the library. */
static const SourceKind every_field = {.name = "every", .meta_fields = META_BIT(META_FIELD_COUNT_) - 1};
const SourceKind *const source_kinds[] = {&source_kind_http, &every_field, NULL};
const char *const source_kind_names[] = {"http", "every", NULL};
const char *const kinds_not_built[] = {NULL};

static const char *folder;
static MappingCases cases;

static Span text_of(const json_t *string) {
    return (Span){json_string_value(string), json_string_length(string)};
}

static Sink *sink_of(const MappingCase *item) {
    json_t *body = json_pack("{s:s, s:s, s:s, s:{s:s, s:o}}", "sinkId", "sink", "name", "sink", "type", "table", "table", "tableId", "in.t",
                             "mapping", mapping_case_mapping(item));
    assert_non_null(body);
    Sink *sink = NULL;
    Error error = {0};
    if (sink_from_request(body, true, &sink, &error) < 0) fail_msg("%s: case \"%s\": %s", item->file, item->name, error.text);
    json_decref(body);
    return sink;
}

/* `cells` NULL: they do not matter. */
static void check_row(const MappingCase *item, RowReader *reader, const json_t *cells, size_t count, Span text) {
    RowCell got[COLUMNS_A_SINK_MAX];
    if (row_read(reader, got, count) != 0)
        fail_msg("%s: case \"%s\": the row is not %zu cells: %.*s", item->file, item->name, count, (int)text.size, text.data);
    for (size_t i = 0; i < count && cells; i++) {
        const json_t *cell = json_array_get(cells, i);
        if (json_is_null(cell) != got[i].is_null || (!got[i].is_null && !span_equal(text_of(cell), (Span){got[i].data, got[i].size})))
            fail_msg("%s: case \"%s\": cell %zu is %.*s, not %s", item->file, item->name, i + 1, got[i].is_null ? 4 : (int)got[i].size,
                     got[i].is_null ? "NULL" : got[i].data, json_is_null(cell) ? "NULL" : json_string_value(cell));
    }
}

static void check_rows(const MappingCase *item, Span text, uint32_t told) {
    RowReader reader = {.text = text};
    RowCell got[COLUMNS_A_SINK_MAX];
    size_t count = item->columns ? json_array_size(item->columns) : 1, rows = item->rows ? json_array_size(item->rows) : 1;
    if (told != rows) fail_msg("%s: case \"%s\": %u rows, not %zu", item->file, item->name, told, rows);
    if (!item->rows) assert_int_equal(row_size(text), text.size);
    for (size_t i = 0; i < rows; i++) check_row(item, &reader, item->rows ? json_array_get(item->rows, i) : item->cells, count, text);
    assert_int_equal(row_read(&reader, got, count), ROW_READ_END);
    row_reader_deinit(&reader);
}

static void check_refused(const MappingCase *item, const MapFailure *failure, Span row) {
    if (failure->error == MAP_OK) fail_msg("%s: case \"%s\": was not refused: %.*s", item->file, item->name, (int)row.size, row.data);
    int status = failure->error == MAP_ROW_TOO_LARGE ? 413 : 422;
    if (status != item->status) fail_msg("%s: case \"%s\": status %d, not %d", item->file, item->name, status, item->status);
    if (item->error && !strstr(failure->message, item->error))
        fail_msg("%s: case \"%s\": \"%s\" is not in the reason: %s", item->file, item->name, item->error, failure->message);
    assert_int_equal(row.size, 0);
    assert_int_equal(failure->rows, 0);
    assert_true(strlen(failure->message) > 10);
}

static void run_case(const MappingCase *item, Mapper *mapper, const Guard *guard) {
    Sink *sink = sink_of(item);
    Source source = {.source_id = (char *)"source", .kind = &every_field};
    Plan *plan;
    Error error = {0};
    if (plan_compile(&source, &sink, 1, &plan, &error) < 0) fail_msg("%s: case \"%s\": %s", item->file, item->name, error.text);
    EventHeader headers[HEADERS_MAX];
    size_t header_count = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)item->headers, key, value) {
        assert_true(header_count < HEADERS_MAX);
        headers[header_count++] = (EventHeader){span_of(key), text_of(value)};
    }
    EventMeta meta = {.fields = every_field.meta_fields};
    Arena arena = {0};
    json_object_foreach((json_t *)(uintptr_t)item->meta, key, value) {
        Buffer bytes = {0};
        if (mapping_case_meta(value, &bytes)) {
            Span text = {arena_copy(&arena, buffer_span(&bytes)), bytes.size};
            if (event_meta_set(&meta, &source, span_of(key), text, &error) < 0)
                fail_msg("%s: case \"%s\": %s", item->file, item->name, error.text);
        }
        buffer_deinit(&bytes);
    }
    event_meta_complete(&meta, &arena);
    FrameReader frames;
    Frame frame;
    frames_start(&frames, FRAMING_SINGLE, item->content_type, guard_place(guard, item->body.data, item->body.size));
    assert_int_equal(frames_next(&frames, &frame, NULL), 0);
    Event event = {.body = frame.body,
                   .kind = frame.kind,
                   .received = 1136214245000000,
                   .headers = headers,
                   .header_count = header_count,
                   .meta = item->meta ? &meta : NULL};
    Buffer row = {0}, *rows = &row;
    MapFailure failure = {0};
    (void)mapper_map(mapper, plan, &event, &rows, &failure);
    if (item->status) {
        check_refused(item, &failure, buffer_span(&row));
    } else {
        if (failure.error) fail_msg("%s: case \"%s\": %s", item->file, item->name, failure.message);
        check_rows(item, buffer_span(&row), failure.rows);
    }
    buffer_deinit(&row);
    arena_deinit(&arena);
    plan_unref(plan);
    sink_unref(sink);
}

static void every_case_holds(void **state) {
    Mapper *mapper = mapper_new(1536u << 10);
    Guard guard = guard_new(4u << 20);
    size_t ran = 0;
    for (size_t i = 0; i < cases.count; i++) {
        if (mapping_case_has_template(&cases.items[i])) continue;
        run_case(&cases.items[i], mapper, &guard);
        ran++;
    }
    guard_free(&guard);
    mapper_free(mapper);
    assert_true(cases.file_count >= 6 && ran > 1000);
}

/* ---- elsewhere in a document ----------------------------------------------------------------- */

typedef struct Places {
    Scanner scanner;
    PathSet *set;
    Guard guard;
    Buffer text;
    const ScanKernel *kernels;
    size_t kernel_count, scans;
} Places;

/* The text is accepted or not by all kernels alike; `at`: where the fault must be, SIZE_MAX:
 * somewhere. */
static void scan_placed(Places *places, const MappingCase *item, bool accepted, size_t at) {
    ScanFault fault, first = {0};
    Span text = guard_place(&places->guard, places->text.data, places->text.size);
    for (size_t k = 0; k < places->kernel_count; k++) {
        places->scanner.generation++;
        bool taken = places->kernels[k].run(&places->scanner, places->set, text, &fault) == 0;
        if (taken != accepted)
            fail_msg("%s: case \"%s\": %s by kernel %s in %.*s", item->file, item->name, taken ? "accepted" : "refused",
                     places->kernels[k].name, (int)text.size, text.data);
        places->scans++;
        if (taken) continue;
        if (k == 0) first = fault;
        if (fault.offset != first.offset || strcmp(fault.what, first.what) != 0 || (at != SIZE_MAX && fault.offset != at))
            fail_msg("%s: case \"%s\": kernel %s finds the fault at byte %zu (%s), %s at %zu (%s), in %.*s", item->file, item->name,
                     places->kernels[k].name, fault.offset, fault.what, places->kernels[0].name, first.offset, first.what, (int)text.size,
                     text.data);
    }
}

static const struct {
    const char *before, *padding, *between, *behind;
} places_of[] = {
    {"", " ", "", ""},
    {"[\"", "x", "\",", "]"},
    {"[", "0,", "", ",{}]"},
    {"{\"u\":\"", "\\n", "\",\"k\":", ",\"z\":[1]}"},
    {"{\"", "\xc3\xa9", "\":[0,{\"v\":", " }\n\n]}"},
    {"[[{\"b\":1,\"a\":[", "[],", "[[{\"a\":", "\n}]]]}]]\n\n"},
    {"", "", "", "\t\n                                                              \r"},
};

/* Where a scan of the body alone stops, it stops in another place too, unless what follows there
 * goes on with the body. */
static size_t place_of_fault(const MappingCase *item) {
    ScanFault fault;
    Span body = buffer_span(&item->body);
    if (scan_validate(body, &fault) == 0 || fault.offset >= body.size || strchr(",]}", body.data[fault.offset])) return SIZE_MAX;
    return fault.offset;
}

static void place_everywhere(Places *places, const MappingCase *item, bool accepted) {
    size_t fault = accepted ? SIZE_MAX : place_of_fault(item);
    for (size_t p = 0; p < sizeof places_of / sizeof *places_of; p++) {
        size_t step = strlen(places_of[p].padding);
        for (size_t n = 0; n * step <= PADDING_MAX && (n == 0 || step > 0); n++) {
            buffer_clear(&places->text);
            buffer_append_text(&places->text, places_of[p].before);
            for (size_t i = 0; i < n; i++) buffer_append_text(&places->text, places_of[p].padding);
            buffer_append_text(&places->text, places_of[p].between);
            size_t at = places->text.size;
            buffer_append_span(&places->text, buffer_span(&item->body));
            buffer_append_text(&places->text, places_of[p].behind);
            scan_placed(places, item, accepted, fault == SIZE_MAX ? SIZE_MAX : at + fault);
        }
    }
}

static void what_is_json_is_so_everywhere(void **state) {
    static const char *const paths[] = {"a", "b.c", "u.v", "k.a[1]", "[3].a"};
    Places places = {.set = pathset_new(), .guard = guard_new(4u << 20)};
    uint32_t slot;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) assert_int_equal(pathset_add(places.set, span_of(paths[i]), &slot, NULL), 0);
    assert_int_equal(pathset_seal(places.set, NULL), 0);
    places.kernels = scan_kernels(&places.kernel_count);
    ScanFault fault;
    assert_int_equal(scanner_run(&places.scanner, places.set, SPAN("0"), &fault), 0); /* room for the set */
    size_t accepted = 0, refused = 0;
    for (size_t i = 0; i < cases.count; i++) {
        const MappingCase *item = &cases.items[i];
        if (body_kind(item->content_type) != BODY_JSON || mapping_case_has_template(item)) continue;
        bool is_json = item->status == 0;
        if (item->columns) { /* about something else: the body is what the scanner says */
            is_json = scan_validate(buffer_span(&item->body), &fault) == 0;
            if (!is_json) continue;
        }
        buffer_clear(&places.text);
        buffer_append_span(&places.text, buffer_span(&item->body));
        scan_placed(&places, item, is_json, SIZE_MAX);
        if (item->placed && item->body.size <= BODY_PLACED_MAX) place_everywhere(&places, item, is_json);
        is_json ? accepted++ : refused++;
    }
    print_message("%zu bodies that are JSON and %zu that are not, %zu scans\n", accepted, refused, places.scans);
    assert_true(accepted > 300 && refused > 400);
    assert_int_equal(places.scanner.second_looks, 0); /* no kernel refused at first what is JSON */
    scanner_deinit(&places.scanner);
    pathset_free(places.set);
    guard_free(&places.guard);
    buffer_deinit(&places.text);
}

/* ---- files that are not as README.md says ---------------------------------------------------- */

static void a_wrong_file_is_told(void **state) {
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"[{\"name\":\"n\",\"body\":\"1\",\"accepted\":true}", "/x.json:1:"},
        {"{\"name\":\"n\"}", "/x.json: not a list of cases"},
        {"[1]", "x.json: item 1 of the list is not an object"},
        {"[{\"body\":\"1\",\"accepted\":true}]", "x.json: item 1 of the list has no name"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"accepted\":true},{\"name\":\"n\",\"body\":\"1\",\"accepted\":true}]",
         "x.json: case \"n\": there is another case of this name in the file"},
        {"[{\"name\":\"n\",\"bdy\":\"1\",\"accepted\":true}]", "x.json: case \"n\": there is no field \"bdy\""},
        {"[{\"name\":\"n\",\"body\":\"1\",\"body\":\"2\",\"accepted\":true}]", "duplicate object key"},
        {"[{\"name\":\"n\",\"accepted\":true}]", "x.json: case \"n\": give one of body, bodyHex and bodyRuns"},
        {"[{\"name\":\"n\",\"body\":\"\",\"bodyHex\":\"\",\"accepted\":true}]", "give one of body"},
        {"[{\"name\":\"n\",\"body\":{\"a\":1},\"accepted\":true}]", "body is text"},
        {"[{\"name\":\"n\",\"bodyHex\":\"0\",\"accepted\":true}]", "two hexadecimal digits"},
        {"[{\"name\":\"n\",\"bodyHex\":\"0g\",\"accepted\":true}]", "two hexadecimal digits"},
        {"[{\"name\":\"n\",\"bodyRuns\":[\"a\",3],\"accepted\":true}]", "[text, how often]"},
        {"[{\"name\":\"n\",\"bodyRuns\":[[\"a\",-1]],\"accepted\":true}]", "[text, how often]"},
        {"[{\"name\":\"n\",\"bodyRuns\":[[\"a\",99999999]],\"accepted\":true}]", "4 MB at most"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"contentType\":1,\"accepted\":true}]", "contentType is text"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"headers\":{\"a\":1},\"accepted\":true}]", "headers is an object of texts"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"meta\":[],\"accepted\":true}]", "meta is an object of texts"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"meta\":{\"key\":1},\"accepted\":true}]", "a value of meta is text"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"meta\":{\"key\":{\"hex\":\"0\"}},\"accepted\":true}]", "a value of meta is text"},
        {"[{\"name\":\"n\",\"body\":\"1\"}]", "one of cells, rows, status and accepted"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"accepted\":true,\"status\":422}]", "one of cells, rows, status and accepted"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"accepted\":1}]", "accepted is true or false"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"cells\":[]}]", "columns are missing"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"columns\":[{\"type\":\"body\",\"name\":\"b\"}],\"cells\":[]}]", "as many as there are columns"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"columns\":[{\"type\":\"body\",\"name\":\"b\"}],\"cells\":[1]}]", "a cell is text, or null"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"columns\":[{\"type\":\"body\",\"name\":\"b\"}],\"status\":200}]", "status is 422 or 413"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"columns\":[{\"type\":\"body\",\"name\":\"b\"}],\"accepted\":true}]", "leave columns out"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"accepted\":true,\"error\":\"x\"}]", "error stands where the event is refused"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"accepted\":false,\"error\":1}]", "error is a part of the reason"},
        {"[{\"name\":\"n\",\"body\":\"1\",\"accepted\":true,\"placed\":\"no\"}]", "placed is true or false"},
    };
    char where[] = "/tmp/mapping-cases-XXXXXX", path[64];
    assert_non_null(mkdtemp(where));
    (void)snprintf(path, sizeof path, "%s/x.json", where);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs(rows[i].text, file) >= 0);
        assert_int_equal(fclose(file), 0);
        MappingCases loaded;
        Error error = {0};
        assert_int_equal(mapping_cases_load(where, &loaded, &error), -EINVAL);
        if (!strstr(error.text, rows[i].says)) fail_msg("%s: %s, not: %s", rows[i].text, error.text, rows[i].says);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(where), 0);
}

static int load(void **state) {
    Error error = {0};
    int r = mapping_cases_load(folder, &cases, &error);
    if (r < 0) print_error("%s\n", error.text);
    return r;
}

static int unload(void **state) {
    mapping_cases_deinit(&cases);
    return 0;
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/mapping";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_file_is_told),
        cmocka_unit_test(every_case_holds),
        cmocka_unit_test(what_is_json_is_so_everywhere),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
