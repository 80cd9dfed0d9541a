#include "config/definition.h"

#include <string.h>

#include "base/text.h"
#include "config/definition_parts.h"

const char *const column_type_names[] = {"id", "datetime", "ip", "body", "headers", "path", "template", NULL};
const char *const data_type_names[] = {"text", "integer", "number", "decimal", "boolean", "timestamp", "date", "json", "bytes", NULL};
const char *const on_invalid_names[] = {"reject", "quarantine", NULL};
const char *const strategy_names[] = {"append", "merge", NULL};
const char *const schema_drift_names[] = {"fail", "evolve", NULL};
const char *const framing_names[] = {"single", "ndjson", "array", "concatenated", "lines", NULL};
const char *const error_detail_names[] = {"full", "minimal", NULL};

const char *column_type_name(ColumnType type) {
    check(type <= COLUMN_TEMPLATE);
    return column_type_names[type];
}

const char *data_type_name(DataType type) {
    check(type <= DATA_BYTES);
    return data_type_names[type];
}

Source *source_new(void) {
    Source *source = calloc(1, sizeof *source);
    check(source != NULL);
    atomic_init(&source->references, 1);
    return source;
}

Sink *sink_new(void) {
    Sink *sink = calloc(1, sizeof *sink);
    check(sink != NULL);
    atomic_init(&sink->references, 1);
    return sink;
}

/* A reference may be taken of what is otherwise read-only: the count is the one field that changes. */
static void take_reference(const atomic_uint *references) {
    unsigned before = atomic_fetch_add_explicit((atomic_uint *)(uintptr_t)references, 1, memory_order_relaxed);
    check(before > 0 && before < UINT32_MAX);
}

static bool drop_reference(atomic_uint *references) {
    unsigned before = atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel);
    check(before > 0);
    return before == 1;
}

Sink *sink_ref(const Sink *sink) {
    take_reference(&sink->references);
    return (Sink *)(uintptr_t)sink;
}

Source *source_ref(const Source *source) {
    take_reference(&source->references);
    return (Source *)(uintptr_t)source;
}

static void version_deinit(DefinitionVersion *version) {
    free(version->by);
    free(version->description);
}

static void column_deinit(Column *column) {
    free(column->name);
    free(column->path);
    free(column->default_value);
    free(column->template_text);
}

void table_target_deinit(TableTarget *table) {
    free(table->connection);
    free(table->table_id);
    for (size_t i = 0; i < table->column_count; i++) column_deinit(&table->columns[i]);
    free(table->columns);
    *table = (TableTarget){0};
}

void sink_unref(Sink *sink) {
    if (sink == NULL || !drop_reference(&sink->references)) return;
    free(sink->sink_id);
    free(sink->name);
    free(sink->description);
    table_target_deinit(&sink->table);
    version_deinit(&sink->version);
    pause_end(&sink->paused);
    free(sink);
}

void source_unref(Source *source) {
    if (source == NULL || !drop_reference(&source->references)) return;
    free(source->source_id);
    free(source->name);
    free(source->description);
    free(source->secret);
    version_deinit(&source->version);
    pause_end(&source->paused);
    free(source);
}

static void version_copy(DefinitionVersion *to, const DefinitionVersion *from) {
    *to = (DefinitionVersion){
        .number = from->number, .at = from->at, .by = text_copy(from->by), .description = text_copy(from->description)};
}

void pause_copy(Pause *to, const Pause *from) {
    *to = (Pause){.at = from->at, .running = from->running, .by = text_copy(from->by)};
}

void pause_end(Pause *pause) {
    free(pause->by);
    *pause = (Pause){0};
}

static void table_copy(TableTarget *to, const TableTarget *from) {
    *to = *from;
    to->connection = text_copy(from->connection);
    to->table_id = text_copy(from->table_id);
    to->columns = calloc(from->column_count > 0 ? from->column_count : 1, sizeof *to->columns);
    check(to->columns != NULL);
    for (size_t i = 0; i < from->column_count; i++) {
        to->columns[i] = from->columns[i];
        to->columns[i].name = text_copy(from->columns[i].name);
        to->columns[i].path = text_copy(from->columns[i].path);
        to->columns[i].default_value = text_copy(from->columns[i].default_value);
        to->columns[i].template_text = text_copy(from->columns[i].template_text);
    }
}

Source *source_copy(const Source *source) {
    Source *copy = source_new();
    copy->number = source->number;
    copy->source_id = text_copy(source->source_id);
    copy->name = text_copy(source->name);
    copy->description = text_copy(source->description);
    copy->secret = text_copy(source->secret);
    copy->framing = source->framing;
    copy->error_detail = source->error_detail;
    copy->rate_events = source->rate_events;
    copy->rate_burst = source->rate_burst;
    copy->discard = source->discard;
    copy->settings = source->settings;
    version_copy(&copy->version, &source->version);
    copy->created = source->created;
    copy->disabled = source->disabled;
    pause_copy(&copy->paused, &source->paused);
    copy->deleted = source->deleted;
    copy->deleted_running = source->deleted_running;
    return copy;
}

Sink *sink_copy(const Sink *sink) {
    Sink *copy = sink_new();
    copy->number = sink->number;
    copy->sink_id = text_copy(sink->sink_id);
    copy->name = text_copy(sink->name);
    copy->description = text_copy(sink->description);
    copy->on_invalid = sink->on_invalid;
    table_copy(&copy->table, &sink->table);
    copy->mapping_version = sink->mapping_version;
    copy->settings = sink->settings;
    version_copy(&copy->version, &sink->version);
    copy->created = sink->created;
    copy->disabled = sink->disabled;
    pause_copy(&copy->paused, &sink->paused);
    copy->deleted = sink->deleted;
    copy->deleted_running = sink->deleted_running;
    return copy;
}

/* Who and why come from outside, and must not make a definition that cannot be written as JSON. */
static char *copy_of_outside(const char *text) {
    char *copy = text_copy(text ? text : "");
    const char *end = copy + strlen(copy);
    for (char *at = copy; at < end;) {
        uint32_t character;
        size_t length = text_decode(at, end, &character);
        if (length == 0) *at = '?';
        at += length > 0 ? length : 1;
    }
    return copy;
}

void pause_begin(Pause *pause, usec_t at, usec_t running, const char *by) {
    if (pause->at != 0) return;
    *pause = (Pause){.at = at, .running = running, .by = copy_of_outside(by)};
}

static void version_stamp(DefinitionVersion *version, uint32_t number, usec_t at, const char *by, const char *description) {
    DefinitionVersion stamped = {.number = number, .at = at, .by = copy_of_outside(by), .description = copy_of_outside(description)};
    version_deinit(version);
    *version = stamped;
}

void source_stamp(Source *source, uint32_t version, usec_t at, const char *by, const char *description) {
    check(atomic_load_explicit(&source->references, memory_order_relaxed) == 1);
    version_stamp(&source->version, version, at, by, description);
}

void sink_stamp(Sink *sink, uint32_t version, usec_t at, const char *by, const char *description) {
    check(atomic_load_explicit(&sink->references, memory_order_relaxed) == 1);
    version_stamp(&sink->version, version, at, by, description);
    if (sink->mapping_version == 0) sink->mapping_version = version;
}

static bool text_differs(const char *a, const char *b) {
    if (a == NULL || b == NULL) return a != b;
    return strcmp(a, b) != 0;
}

static bool column_differs(const Column *a, const Column *b) {
    return a->type != b->type || a->data_type != b->data_type || a->primary_key != b->primary_key || a->raw_string != b->raw_string ||
           text_differs(a->name, b->name) || text_differs(a->path, b->path) || text_differs(a->default_value, b->default_value) ||
           text_differs(a->template_text, b->template_text);
}

bool sink_table_differs(const Sink *a, const Sink *b) {
    const TableTarget *x = &a->table, *y = &b->table;
    /* Strategy and drift count too: a file keeps its own copy of the whole table part. */
    if (text_differs(x->connection, y->connection) || text_differs(x->table_id, y->table_id) || x->strategy != y->strategy ||
        x->on_schema_drift != y->on_schema_drift || x->column_count != y->column_count)
        return true;
    for (size_t i = 0; i < x->column_count; i++)
        if (column_differs(&x->columns[i], &y->columns[i])) return true;
    return false;
}
