/*
 * Definitions, and events under them. Lines up to an empty one are columns: a letter for the type,
 * one for the dataType, one for flags (1 primaryKey, 2 rawString, 4 the column goes to the second
 * sink, 8 there is a default; 80 it has a mask, which 70 chooses; 40 without 80 it is a uuid, a
 * jsonText, or a time in the format that 30 chooses), then the path or template, with a default a
 * tab and its text; in a template 1E stands for a newline. The rest is the body of the event, JSON,
 * or a form behind 1D, or something else behind 1C.
 *
 * The paths are added to a path set by themselves, the templates go through the lexer. A definition
 * that is accepted is stored, loaded and compiled, for both sinks and for each alone; the rows must
 * be the same, and row_read must find cells that fit their types. A third sink infers: once it has
 * the columns that the event asks for, the event asks for no more.
 */
#include <errno.h>
#include <jansson.h>

#include "base/buffer.h"
#include "config/column_name.h"
#include "config/definition.h"
#include "config/inference.h"
#include "config/mask_keys.h"
#include "config/mask_table.h"
#include "mapping/pathset.h"
#include "mapping/plan.h"
#include "mapping/row.h"
#include "mapping/scanner.h"
#include "mapping/template_lexer.h"
#include "mapping/words.h"
#include "tests/fuzz/fuzz.h"

enum { LINES_MAX = 24 };

static Guard guard;

static const char *const types[] = {"path", "path", "template", "id", "datetime", "ip", "body", "headers"};
static const char *const data_types[] = {"text", "integer", "number", "decimal", "boolean", "timestamp", "date", "json", "bytes"};

typedef struct Input {
    json_t *columns[2];
    PathSet *paths;
    bool paths_hold;  /* all of them */
    unsigned choices; /* of the lines, folded: for what else is to be chosen */
    Span body;
    BodyKind kind;
} Input;

static void take_path(Input *input, Span path) {
    uint32_t slot, again;
    Error error = {0};
    int r = pathset_add(input->paths, path, &slot, &error);
    if (r) {
        check(r == -EINVAL && error.text[0]);
        input->paths_hold = false;
        return;
    }
    uint32_t count = input->paths->slot_count;
    check(slot < count);
    check(pathset_add(input->paths, path, &again, &error) == 0 && again == slot && input->paths->slot_count == count);
}

static void visit_std(void *context, Span name) {
    *(size_t *)context += 1 + name.size;
}

/* Whether the lexer takes `before`, the text and `after`. */
static bool lexer_takes(Span text, const char *before, const char *after) {
    Buffer whole = {0};
    Error error = {0};
    size_t names = 0;
    buffer_append_text(&whole, before);
    buffer_append_span(&whole, text);
    buffer_append_text(&whole, after);
    Span bytes = {malloc(whole.size + 1), whole.size};
    check(bytes.data);
    if (whole.size) memcpy((char *)(uintptr_t)bytes.data, whole.data, whole.size);
    int r = template_lex(bytes, visit_std, &names, &error);
    check(r == 0 || (r == -EINVAL && strncmp(error.text, "line ", 5) == 0));
    check(template_lex(bytes, NULL, NULL, NULL) == r);
    check(names <= 2 * bytes.size + 2);
    for (unsigned fields = 0; fields < 3; fields++) {
        Span found = template_find_meta(bytes, fields);
        check(!found.data || (found.data >= bytes.data && found.size <= bytes.size - (size_t)(found.data - bytes.data)));
    }
    bool deep = r && strstr(error.text, "nested too deep");
    free((char *)(uintptr_t)bytes.data);
    buffer_deinit(&whole);
    return r == 0 || deep;
}

/* -- what Jsonnet takes for code, told again in a plain way -- */

static Span rest_of(Span text, size_t at) {
    return (Span){text.data + at, text.size - at};
}

static bool begins(Span text, const char *with) {
    size_t size = strlen(with);
    return text.size >= size && memcmp(text.data, with, size) == 0;
}

/* Bytes of the blanks that `text` begins with. */
static size_t blanks(Span text) {
    size_t size = 0;
    while (size < text.size && (text.data[size] == ' ' || text.data[size] == '\t')) size++;
    return size;
}

static size_t line_size(Span text) {
    const char *end = text.size ? memchr(text.data, '\n', text.size) : NULL;
    return end ? (size_t)(end + 1 - text.data) : text.size;
}

/* Size of a text block, or 0 when it is not one. */
static size_t block_size(Span text) {
    size_t at = 3 + blanks(rest_of(text, 3));
    if (!begins(rest_of(text, at), "\n")) return 0;
    at++;
    while (begins(rest_of(text, at), "\n")) at++;
    Span indent = {text.data + at, blanks(rest_of(text, at))};
    if (indent.size == 0) return 0;
    while (at < text.size) {
        Span rest = rest_of(text, at);
        bool goes_on = begins(rest, "\n") || (rest.size >= indent.size && memcmp(rest.data, indent.data, indent.size) == 0);
        if (!goes_on) {
            at += blanks(rest);
            return begins(rest_of(text, at), "|||") ? at + 3 : 0;
        }
        at += line_size(rest);
    }
    return 0;
}

/* Size of the string that begins at a quote, or 0. */
static size_t string_size(Span text, bool verbatim) {
    char quote = text.data[0];
    for (size_t at = 1; at < text.size; at++) {
        if (text.data[at] == '\\' && !verbatim)
            at++;
        else if (text.data[at] == quote && verbatim && at + 1 < text.size && text.data[at + 1] == quote)
            at++;
        else if (text.data[at] == quote)
            return at + 1;
    }
    return 0;
}

/* Size of what is no code at the start of `text`; 0: there is code. False: it has no end, Jsonnet
 * does not take it. */
static bool pass_no_code(Span text, size_t *ret_size) {
    *ret_size = 0;
    if (begins(text, "#") || begins(text, "//")) {
        *ret_size = line_size(text);
        return true;
    }
    if (begins(text, "/*")) {
        const char *end = text.size > 4 ? memmem(text.data + 2, text.size - 2, "*/", 2) : begins(text, "/**/") ? text.data + 2 : NULL;
        *ret_size = end ? (size_t)(end + 2 - text.data) : 0;
        return end != NULL;
    }
    if (begins(text, "|||")) {
        *ret_size = block_size(text);
    } else if (begins(text, "\"") || begins(text, "'")) {
        *ret_size = string_size(text, false);
    } else if (begins(text, "@\"") || begins(text, "@'")) {
        *ret_size = string_size(rest_of(text, 1), true);
        if (*ret_size) ++*ret_size;
    } else {
        return true;
    }
    return *ret_size > 0;
}

/* The code of `text`, all else made blank; false: Jsonnet does not take it. */
static bool code_of(Span text, Buffer *out) {
    while (text.size) {
        size_t size;
        if (!pass_no_code(text, &size)) return false;
        buffer_append_byte(out, size ? ' ' : *text.data);
        (void)fuzz_take(&text, size ? size : 1);
    }
    return true;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || text_is_digit(c);
}

/* No import, and every bracket has its own. */
static void check_code(Span code) {
    Buffer open = {0};
    for (size_t at = 0; at < code.size; at++) {
        char c = code.data[at];
        size_t size = 0;
        while (at + size < code.size && is_word(code.data[at + size])) size++;
        Span word = {code.data + at, size};
        check(!span_equal(word, SPAN("import")) && !span_equal(word, SPAN("importstr")) && !span_equal(word, SPAN("importbin")));
        if (size) {
            at += size - 1;
        } else if (c == '(' || c == '[' || c == '{') {
            buffer_append_byte(&open, c == '(' ? ')' : (char)(c + 2));
        } else if (c == ')' || c == ']' || c == '}') {
            check(open.size && open.data[--open.size] == c);
        }
    }
    check(open.size == 0);
    buffer_deinit(&open);
}

/* A template that is taken stays inside the brackets that are put around it, and what is forbidden
 * stays so behind it. */
static void take_template(Span text) {
    if (!lexer_takes(text, "", "")) return;
    Buffer code = {0};
    if (code_of(text, &code) && template_lex(text, NULL, NULL, NULL) == 0) check_code(buffer_span(&code));
    buffer_deinit(&code);
    check(lexer_takes(text, "(", "\n)"));
    check(!lexer_takes(text, "(", "\n"));
    check(!lexer_takes(text, "", "\n)"));
    check(!lexer_takes(text, "(", "\n]"));
    check(!lexer_takes(text, "", "\n;import 'x'"));
    check(!lexer_takes(text, "", "\n;std.native('x')"));
}

/* A mask that the dataType may have. NULL: there is none. */
static json_t *mask_of(unsigned choice, unsigned data_type) {
    for (unsigned i = 0; i < MASK_KIND_COUNT_; i++) {
        const MaskInfo *info = &mask_table[(3 * choice + i) % MASK_KIND_COUNT_];
        for (DataType type = 0; type < DATA_TYPE_COUNT; type++) {
            if (strcmp(data_type_name(type), data_types[data_type]) != 0 || !(info->types & 1u << type)) continue;
            json_t *text = json_sprintf("%s%s", info->name, info->parameter == MASK_HAS_KEY ? ":k" : info->kind == MASK_FIXED ? ":1" : "");
            check(text);
            return text;
        }
    }
    return NULL;
}

/* A text behind 1C is JSON of a number, a boolean or null. */
static json_t *default_of(Span text) {
    json_t *literal = NULL;
    if (text.size > 1 && *text.data == 0x1c) literal = json_loadb(text.data + 1, text.size - 1, JSON_DECODE_ANY, NULL);
    return literal ? literal : json_stringn_nocheck(text.size ? text.data : "", text.size);
}

/* What came later: other types in the place of some, and formats of times. */
static void vary_type(json_t *column, const char *data_type, unsigned choice) {
    static const char *const formats[] = {"unix", "unixMs", "%Y-%m-%d %H:%M:%S.%f%z", "%a %b %e %I:%M %p %y"};
    if (strcmp(data_type, "text") == 0) json_object_set_new(column, "dataType", json_string("uuid"));
    if (strcmp(data_type, "json") == 0) json_object_set_new(column, "dataType", json_string("jsonText"));
    if (strcmp(data_type, "timestamp") == 0 || strcmp(data_type, "date") == 0)
        json_object_set_new(column, "format", json_string(formats[choice]));
}

static void take_line(Input *input, Span line, size_t number) {
    unsigned type = fuzz_byte(&line) % 8, data_type = fuzz_byte(&line) % 9, third = fuzz_byte(&line), flags = third % 16;
    input->choices = input->choices * 31 + type + data_type * 8 + flags;
    char name[16], *copy = malloc(line.size + 1);
    check(copy);
    (void)snprintf(name, sizeof name, "c%zu", number);
    json_t *column = json_pack("{s:s, s:s, s:s}", "type", types[type], "name", name, "dataType", data_types[data_type]);
    if (flags & 1) json_object_set_new(column, "primaryKey", json_true());
    if ((third & 0xc0) == 0x40) vary_type(column, data_types[data_type], third >> 4 & 3);
    json_t *mask = third & 0x80 ? mask_of(third >> 4 & 7, data_type) : NULL;
    if (mask) json_object_set_new(column, "mask", mask);
    if (flags & 2 && type < 3) json_object_set_new(column, "rawString", json_true());
    if (type < 2) {
        Span path = flags & 8 ? fuzz_part(&line, '\t') : line;
        take_path(input, path);
        json_object_set_new(column, "path", json_stringn_nocheck(path.size ? path.data : "", path.size));
        if (flags & 8) json_object_set_new(column, "defaultValue", default_of(line));
    } else if (type == 2) {
        for (size_t i = 0; i < line.size; i++) copy[i] = line.data[i] == 0x1e ? '\n' : line.data[i];
        Span text = {copy, line.size};
        if (!line.size || !memchr(copy, 0, line.size)) take_template(text);
        json_t *content = json_stringn_nocheck(copy, line.size);
        json_object_set_new(column, "template", json_pack("{s:s, s:o}", "language", "jsonnet", "content", content));
    }
    json_array_append_new(input->columns[flags & 4 ? 1 : 0], column);
    free(copy);
}

/* The first path of the columns: of an array to be exploded, or of the value that says whether an
 * event deletes. NULL: there is none. */
static json_t *first_path(const json_t *columns) {
    for (size_t i = 0; i < json_array_size(columns); i++) {
        json_t *path = json_object_get(json_array_get(columns, i), "path");
        if (path) return path;
    }
    return NULL;
}

static Sink *sink_of(json_t *columns, unsigned choices) {
    if (json_array_size(columns) == 0) return NULL;
    json_t *body = json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:O}}}", "sinkId", "sink", "name", "sink", "type", "table", "table", "tableId",
                             "in.t", "mapping", "columns", columns);
    check(body);
    json_t *table = json_object_get(body, "table"), *path = first_path(columns);
    if (path && choices % 3 == 1) json_object_set(json_object_get(table, "mapping"), "explode", path);
    if (path && choices % 4 == 2) json_object_set_new(table, "deleteOn", json_pack("{s:O, s:s}", "path", path, "equals", "1"));
    Sink *sink = NULL, *loaded = NULL;
    Error error = {0};
    int r = sink_from_request(body, true, &sink, &error);
    check(r == 0 || (r == -EINVAL && error.text[0]));
    json_decref(body);
    if (r) return NULL;
    json_t *stored = sink_store(sink);
    if (sink_load(stored, &loaded, &error) < 0) bug_at(__FILE__, __LINE__, error.text);
    json_t *again = sink_store(loaded);
    check(json_equal(stored, again));
    json_decref(stored);
    json_decref(again);
    sink_unref(sink);
    return loaded;
}

static bool is_number(Span text) {
    ScanFault fault;
    return scan_validate(text, &fault) == 0 && scan_kind(text) == SCAN_NUMBER;
}

static bool is_integer(Span text) {
    if (text.size && *text.data == '-') (void)fuzz_byte(&text);
    if (text.size == 0 || text.size > 19 || (text.size > 1 && *text.data == '0')) return false;
    for (size_t i = 0; i < text.size; i++)
        if (!text_is_digit(text.data[i])) return false;
    return true;
}

static bool matches(Span text, const char *pattern) {
    if (text.size != strlen(pattern)) return false;
    for (size_t i = 0; i < text.size; i++)
        if (pattern[i] == '0' ? !text_is_digit(text.data[i]) : pattern[i] != text.data[i]) return false;
    return true;
}

/* Of two digits at `at`. */
static bool between(Span text, size_t at, int least, int most) {
    int value = (text.data[at] - '0') * 10 + text.data[at + 1] - '0';
    return value >= least && value <= most;
}

/* Years 0001 to 9999; which days a month has is the unit tests' question. */
static bool is_date(Span text) {
    Span day = {text.data, text.size < 10 ? text.size : 10};
    return matches(day, "0000-00-00") && !begins(day, "0000") && between(day, 5, 1, 12) && between(day, 8, 1, 31);
}

static bool is_time(Span text) {
    return matches(text, "0000-00-00T00:00:00.000000Z") && is_date(text) && between(text, 11, 0, 23) && between(text, 14, 0, 59) &&
           between(text, 17, 0, 59);
}

static bool is_uuid(Span text) {
    for (size_t i = 0; i < text.size; i++) {
        bool is_hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_hyphen ? text.data[i] != '-' : text_hex(text.data[i]) < 0 || (text.data[i] >= 'A' && text.data[i] <= 'F')) return false;
    }
    return text.size == 36;
}

static void check_cell(const Column *column, const RowCell *cell, bool deletes) {
    ScanFault fault;
    Span text = {cell->data, cell->size};
    if (deletes) check(cell->is_null == !column->primary_key);
    if (deletes && cell->is_null) return;
    if (cell->is_null) {
        check(!column->primary_key);
        check(column->type == COLUMN_PATH || column->type == COLUMN_TEMPLATE || column->type == COLUMN_IP || column->type == COLUMN_REST);
        return;
    }
    switch (column->data_type) {
    case DATA_TEXT: check(text_check(text) == text.size); break;
    case DATA_INTEGER: check(is_integer(text)); break;
    case DATA_NUMBER:
    case DATA_DECIMAL: check(is_number(text)); break;
    case DATA_BOOLEAN: check(span_equal(text, SPAN("true")) || span_equal(text, SPAN("false"))); break;
    case DATA_TIMESTAMP: check(is_time(text)); break;
    case DATA_DATE: check(text.size == 10 && is_date(text)); break;
    case DATA_JSON:
    case DATA_JSON_TEXT: check(scan_validate(text, &fault) == 0); break;
    case DATA_UUID: check(is_uuid(text)); break;
    case DATA_BYTES:
        check(text.size >= 2 && text.size % 2 == 0 && memcmp(text.data, "\\x", 2) == 0);
        for (size_t i = 2; i < text.size; i++) check(text_hex(text.data[i]) >= 0);
        break;
    }
}

static void check_rows(const Sink *sink, Span rows, uint32_t told) {
    RowReader reader = {.text = rows};
    size_t count = sink->target.column_count;
    RowCell *cells = calloc(count + 1, sizeof *cells);
    check(cells);
    check(sink->target.explode || (told == 1 && row_size(rows) == rows.size));
    for (uint32_t row = 0; row < told; row++) {
        check(row_read(&reader, cells, sink_target_cells(&sink->target)) == 0);
        bool deletes = sink_target_deletes(&sink->target) && !cells[count].is_null;
        if (deletes) check(cells[count].size == 1 && *cells[count].data == 'd');
        for (size_t i = 0; i < count; i++) check_cell(&sink->target.columns[i], &cells[i], deletes);
    }
    check(row_read(&reader, cells, sink_target_cells(&sink->target)) == ROW_READ_END);
    row_reader_deinit(&reader);
    free(cells);
}

static void check_failure(const MapFailure *failure) {
    Span message = span_of(failure->message);
    check(message.size > 10 && text_check(message) == message.size);
    for (size_t i = 0; i < message.size; i++) check((unsigned char)message.data[i] >= 0x20);
    check(failure->error > MAP_OK && failure->error <= MAP_ROW_TOO_LARGE);
}

/* Maps the event to rows of all sinks of the plan; each is checked, a sink that fails has an empty
 * row. */
static void map(const Plan *plan, const Input *input, Mapper *mapper, Buffer *rows) {
    static const EventHeader headers[] = {{SPAN("x-a"), SPAN("1,\"2\"")}, {SPAN("X-B"), SPAN("caf\xe9")}};
    TemplateResult results[LINES_MAX];
    MapFailure failures[2];
    Buffer *list[] = {&rows[0], &rows[1]};
    size_t templates = plan_template_count(plan);
    check(templates <= LINES_MAX);
    for (size_t i = 0; i < templates; i++) {
        size_t size = strlen(plan_template(plan, i));
        results[i] = (TemplateResult){.failed = size % 5 == 0, .text = input->body};
    }
    Event event = {.body = input->body,
                   .kind = input->kind,
                   .received = (usec_t)(1136214245000000 + input->choices),
                   .ip = input->choices % 3 ? SPAN("127.0.0.1") : (Span){0},
                   .headers = headers,
                   .header_count = 2,
                   .templates = templates ? results : NULL};
    for (size_t i = 0; i < plan_sink_count(plan); i++) {
        buffer_clear(&rows[i]);
        buffer_append_text(&rows[i], "kept");
    }
    size_t failed = mapper_map(mapper, plan, &event, list, failures);
    for (size_t i = 0; i < plan_sink_count(plan); i++) {
        check(rows[i].size >= 4 && memcmp(rows[i].data, "kept", 4) == 0);
        if (failures[i].error) {
            check(rows[i].size == 4);
            check_failure(&failures[i]);
            failed--;
        } else {
            check_rows(plan_sink(plan, i), (Span){rows[i].data + 4, rows[i].size - 4}, failures[i].rows);
        }
    }
    check(failed == 0);
}

static const MaskKeys *mask_keys(void) {
    static MaskKeys *keys;
    if (keys) return keys;
    keys = mask_keys_new();
    mask_keys_set_shared(keys, SPAN("0123456789abcdef"));
    mask_keys_set_named(keys, SPAN("k"), SPAN("fedcba9876543210"));
    return keys;
}

static bool ends(const char *text, const char *with) {
    size_t size = strlen(text), end = strlen(with);
    return size >= end && strcmp(text + size - end, with) == 0;
}

/* NULL: it is refused; a place too many, or a value that would be in the clear, is the only reason
 * that a set of good paths leaves. */
static Plan *compile(const Input *input, Sink *const *sinks, size_t count, bool *ret_in_the_clear) {
    Source source = {.source_id = (char *)(uintptr_t) "source", .body_policy = input->choices % 2 ? BODY_POLICY_KEEP : BODY_POLICY_DROP};
    Plan *plan = NULL;
    Error error = {0};
    int r = plan_compile_masked(&source, sinks, count, &(PlanMasks){.keys = mask_keys()}, &plan, &error);
    check(r == 0 || (r == -EINVAL && error.text[0]));
    static const char way_out[] = "or give the source \"bodyPolicy\": \"keep\"", other[] = "or the source \"bodyPolicy\": \"keep\"";
    /* At the end: what stands before it may be of the input. */
    bool in_the_clear = r < 0 && (ends(error.text, way_out) || ends(error.text, other));
    check(!in_the_clear || source.body_policy == BODY_POLICY_DROP);
    if (r) check(in_the_clear || strstr(error.text, "path") || strstr(error.text, "defaultValue") || strstr(error.text, "mask"));
    if (ret_in_the_clear) *ret_in_the_clear = *ret_in_the_clear || in_the_clear;
    return plan;
}

static void run_sinks(const Input *input, Sink **sinks, size_t count) {
    Buffer both[2] = {{0}}, alone[2] = {{0}};
    bool hold = true, in_the_clear = false;
    Plan *plan = compile(input, sinks, count, &in_the_clear);
    Mapper *mapper = mapper_new(2000), *other = mapper_new(2000);
    if (plan) {
        map(plan, input, mapper, both);
        map(plan, input, mapper, both);
    }
    for (size_t i = 0; i < count; i++) {
        Plan *single = compile(input, &sinks[i], 1, &in_the_clear);
        hold = hold && single;
        if (single && plan) {
            map(single, input, other, alone);
            check(span_equal(buffer_span(&alone[0]), buffer_span(&both[i])));
        }
        plan_unref(single);
    }
    check(!plan == !hold || (in_the_clear && !plan));                 /* each may hold in the clear what the other one masks */
    if (plan && !input->paths_hold) check(count < 2 || in_the_clear); /* the bad path is of a sink that was refused before */
    plan_unref(plan);
    mapper_free(mapper);
    mapper_free(other);
    for (size_t i = 0; i < 2; i++) {
        buffer_deinit(&both[i]);
        buffer_deinit(&alone[i]);
    }
}

/* -- a sink that infers -- */

static Source *real_source(void) {
    static Source *source;
    if (source) return source;
    json_t *body = json_pack("{s:s}", "name", "source");
    check(body && source_from_request(body, &source, NULL) == 0);
    json_decref(body);
    return source;
}

/* The columns of `declared`, if there are, stay. */
static Sink *inferring(const Sink *declared, unsigned choices) {
    json_t *columns = json_pack("[{s:s, s:s}]", "type", "id", "name", "id");
    Sink *sink = declared ? sink_copy(declared) : sink_of(columns, 0);
    json_decref(columns);
    check(sink);
    sink->target.infer = calloc(1, sizeof *sink->target.infer);
    check(sink->target.infer);
    *sink->target.infer = (Inference){.depth = 1 + choices % 5, .max_columns = COLUMNS_INFERRED_MAX};
    sink_complete(real_source(), sink);
    return sink;
}

/* Discoveries of the event; SIZE_MAX: it was not mapped. */
static size_t map_inferring(const Plan *plan, const Input *input, Mapper *mapper, const MapDiscovery **ret_found) {
    Buffer row = {0}, *list[] = {&row};
    MapFailure failure;
    TemplateResult results[LINES_MAX] = {0};
    for (size_t i = 0; i < plan_template_count(plan); i++) results[i] = (TemplateResult){.text = SPAN("1")};
    Event event = {.body = input->body, .kind = input->kind, .ip = SPAN("::1"), .templates = results};
    size_t count = SIZE_MAX;
    if (mapper_map(mapper, plan, &event, list, &failure)) {
        check_failure(&failure);
    } else {
        check_rows(plan_sink(plan, 0), buffer_span(&row), failure.rows);
        *ret_found = mapper_discoveries(mapper, &count);
    }
    buffer_deinit(&row);
    return count;
}

static void run_inferring(const Input *input, const Sink *declared) {
    Sink *sink = inferring(declared, input->choices);
    Plan *plan = compile(input, &sink, 1, NULL);
    Mapper *mapper = mapper_new((size_t)1 << 24);
    const MapDiscovery *found = NULL;
    size_t count = plan ? map_inferring(plan, input, mapper, &found) : SIZE_MAX;
    if (count != SIZE_MAX) {
        size_t room = inference_room(&sink->target);
        Sink *next = sink_copy(sink);
        for (size_t i = 0; i < count; i++) {
            char name[32], *path = strndup(found[i].path.data, found[i].path.size);
            Buffer canonical = {0};
            (void)snprintf(name, sizeof name, "f%zu", i);
            check(path && !found[i].is_variant && field_path_canonical(found[i].path, &canonical));
            check(span_equal(buffer_span(&canonical), found[i].path));
            InferredColumn column = {.path = path, .type = found[i].type, .name = name};
            check(inference_add(&next->target, &column, 1) == 1);
            buffer_deinit(&canonical);
            free(path);
        }
        plan_unref(plan);
        plan = compile(input, &next, 1, NULL);
        check(plan && count <= room);
        size_t again = map_inferring(plan, input, mapper, &found);
        check(again == SIZE_MAX || again == 0 || count == room);
        check(again != SIZE_MAX);
        sink_unref(next);
    }
    plan_unref(plan);
    mapper_free(mapper);
    sink_unref(sink);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Span left = fuzz_input(data, size);
    Input input = {.columns = {json_array(), json_array()}, .paths = pathset_new(), .paths_hold = true};
    for (size_t number = 0; number < LINES_MAX; number++) {
        Span line = fuzz_part(&left, '\n');
        if (line.size == 0) break;
        take_line(&input, line, number);
    }
    if (left.size && (*left.data == 0x1d || *left.data == 0x1c)) input.kind = fuzz_byte(&left) == 0x1d ? BODY_FORM : BODY_OTHER;
    input.body = fuzz_guarded(&guard, left);
    int r = pathset_seal(input.paths, NULL);
    check(r == 0 || r == -EINVAL);
    Sink *sinks[2];
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        sinks[count] = sink_of(input.columns[i], input.choices / (unsigned)(i + 1));
        if (sinks[count]) count++;
    }
    if (count) run_sinks(&input, sinks, count);
    run_inferring(&input, count && input.choices % 3 && !sinks[0]->target.explode ? sinks[0] : NULL);
    for (size_t i = 0; i < count; i++) sink_unref(sinks[i]);
    json_decref(input.columns[0]);
    json_decref(input.columns[1]);
    pathset_free(input.paths);
    return 0;
}
