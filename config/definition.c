#include "config/definition.h"

#include <string.h>

#include "base/text.h"
#include "config/definition_parts.h"
#include "config/source_kind.h"

const char *const column_type_names[] = {"id",       "datetime", "ip",   "body", "headers", "path",
                                         "template", "meta",     "rest", "uuid", "json",    NULL};
const char *const data_type_names[] = {"text", "integer", "number", "decimal", "boolean",  "timestamp",
                                       "date", "json",    "bytes",  "uuid",    "jsonText", NULL};
_Static_assert(sizeof data_type_names / sizeof *data_type_names == DATA_TYPE_COUNT + 1, "a name for each data type, then NULL");
const DataTraits data_traits[] = {
    [DATA_TEXT] = {.holds_any = true, .keeps_json = true, .may_be_key = true},
    [DATA_INTEGER] = {.holds_number = true, .may_be_key = true, .has_order = true},
    [DATA_NUMBER] = {.holds_number = true, .may_be_key = true, .has_order = true},
    [DATA_DECIMAL] = {.holds_number = true, .may_be_key = true, .has_order = true},
    [DATA_BOOLEAN] = {.may_be_key = true},
    [DATA_TIMESTAMP] = {.holds_time = true, .may_be_key = true, .has_order = true},
    [DATA_DATE] = {.holds_time = true, .is_date = true, .may_be_key = true, .has_order = true},
    [DATA_JSON] = {.holds_json = true, .keeps_json = true, .is_json = true},
    [DATA_BYTES] = {.holds_any = true, .may_be_key = true, .is_binary = true},
    [DATA_UUID] = {.holds_uuid = true, .may_be_key = true},
    [DATA_JSON_TEXT] = {.holds_json = true, .keeps_json = true},
};
_Static_assert(sizeof data_traits / sizeof *data_traits == DATA_TYPE_COUNT, "traits of each data type");
const char *const on_invalid_names[] = {"reject", "quarantine", NULL};
const char *const strategy_names[] = {"append", "merge", "replace", NULL};
const char *const schema_drift_names[] = {"fail", "evolve", "ignore", NULL};
const char *const body_policy_names[] = {"drop", "keep", NULL};
const char *const framing_names[] = {"single", "ndjson", "array", "concatenated", "lines", NULL};
const char *const error_detail_names[] = {"full", "minimal", NULL};

const char *column_type_name(ColumnType type) {
    check(type <= COLUMN_REST);
    return column_type_names[type];
}

const char *data_type_name(DataType type) {
    check(type < DATA_TYPE_COUNT);
    return data_type_names[type];
}

bool sink_masks(const Sink *sink) {
    for (size_t i = 0; i < sink->target.column_count; i++)
        if (sink->target.columns[i].mask) return true;
    return false;
}

bool meta_field_fits(MetaField field, DataType type) {
    check(type < DATA_TYPE_COUNT);
    const DataTraits *traits = &data_traits[type];
    if (traits->holds_any) return true;
    switch (field) {
    case META_PARTITION:
    case META_OFFSET:
    case META_SEQUENCE: return traits->holds_number;
    case META_TIMESTAMP: return traits->holds_time;
    case META_KEY: return true; /* its sender decides */
    case META_TOPIC:
    case META_SUBJECT:
    case META_STREAM:
    case META_BRIDGE: return false;
    case META_FIELD_COUNT_: break;
    }
    unreachable();
}

bool column_type_fits(const Column *column) {
    check(column->data_type < DATA_TYPE_COUNT);
    const DataTraits *traits = &data_traits[column->data_type];
    if (traits->holds_any) return true;
    switch (column->type) {
    case COLUMN_ID: return traits->holds_uuid;
    case COLUMN_IP: return false;
    case COLUMN_DATETIME: return traits->holds_time;
    case COLUMN_HEADERS:
    case COLUMN_REST: return traits->holds_json;
    case COLUMN_BODY:
    case COLUMN_PATH:
    case COLUMN_TEMPLATE: return true;
    case COLUMN_META: return meta_field_fits(column->meta_field, column->data_type);
    }
    unreachable();
}

unsigned source_meta_fields(const Source *source) {
    return source->kind->meta_fields;
}

void source_meta_words(const Source *source, Buffer *out) {
    unsigned fields = source_meta_fields(source);
    buffer_printf(out, "sources of type \"%s\" have ", source_kind_name(source));
    if (fields)
        meta_fields_list(fields, out);
    else
        buffer_append_text(out, "no meta fields");
}

const char *source_kind_name(const Source *source) {
    return source->kind->name;
}

bool source_first_sink_rejects(const Source *source) {
    return source->kind->first_sink_rejects(source->part);
}

Framing source_framing(const Source *source) {
    return source->kind->framing(source->part);
}

const char *source_without_sink(const Source *source) {
    return source->kind->without_sink(source->part);
}

Source *source_new(const SourceKind *kind) {
    Source *source = calloc(1, sizeof *source);
    check(source != NULL);
    source->kind = kind;
    source->part = calloc(1, kind->fields->size);
    check(source->part);
    atomic_init(&source->references, 1);
    return source;
}

Sink *sink_new(void) {
    Sink *sink = calloc(1, sizeof *sink);
    check(sink != NULL);
    atomic_init(&sink->references, 1);
    return sink;
}

/* A reference may be taken of what is otherwise read-only: the count is the one field that
 * changes. */
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

void sink_target_deinit(SinkTarget *target) {
    fields_free(&table_fields, target);
    *target = (SinkTarget){0};
}

const char *sink_target_name(const SinkTarget *target) {
    switch (target->type) {
    case TARGET_TABLE: return target->table.table_id;
    }
    unreachable();
}

static void origin_deinit(SinkOrigin *origin) {
    for (size_t i = 0; i < origin->former_count; i++) sink_target_deinit(&origin->former[i]);
    free(origin->former);
    free(origin->key);
    *origin = (SinkOrigin){0};
}

static void left_run_deinit(LeftRun *left) {
    sink_target_deinit(&left->target);
    free(left->group);
}

static void left_deinit(Sink *sink) {
    for (size_t i = 0; i < sink->left_count; i++) left_run_deinit(&sink->left[i]);
    free(sink->left);
    sink->left = NULL;
    sink->left_count = 0;
}

/* `to` is all-zero. */
static void target_copy(SinkTarget *to, const SinkTarget *from) {
    *to = *from;
    fields_unshare(&table_fields, to);
}

static void origin_copy(SinkOrigin *to, const SinkOrigin *from) {
    *to = *from;
    to->key = text_copy(from->key);
    to->former = calloc(from->former_count + 1, sizeof *to->former);
    check(to->former);
    for (size_t i = 0; i < from->former_count; i++) target_copy(&to->former[i], &from->former[i]);
}

static void left_copy(Sink *to, const Sink *from) {
    to->left = calloc(from->left_count + 1, sizeof *to->left);
    check(to->left);
    for (size_t i = 0; i < from->left_count; i++) {
        target_copy(&to->left[i].target, &from->left[i].target);
        to->left[i].group = text_copy(from->left[i].group);
    }
}

bool sink_note_left(Sink *sink, const SinkTarget *old, const char *group) {
    bool fits = sink->left_count < SINK_FORMER_MAX;
    if (!fits) left_run_deinit(&sink->left[--sink->left_count]);
    LeftRun *left = calloc(sink->left_count + 1, sizeof *left);
    check(left);
    target_copy(&left[0].target, old);
    left[0].group = text_copy(group);
    if (sink->left_count > 0) memcpy(left + 1, sink->left, sink->left_count * sizeof *left);
    free(sink->left);
    sink->left = left;
    sink->left_count++;
    return fits;
}

void sink_forget_left(Sink *sink, size_t index) {
    check(index < sink->left_count);
    left_run_deinit(&sink->left[index]);
    sink->left_count--;
    memmove(sink->left + index, sink->left + index + 1, (sink->left_count - index) * sizeof *sink->left);
}

bool sink_target_same_place(const SinkTarget *a, const SinkTarget *b) {
    return a->type == b->type && strcmp(a->connection, b->connection) == 0 && strcmp(sink_target_name(a), sink_target_name(b)) == 0;
}

bool sink_origin_counts(const SinkOrigin *origin, const char *key) {
    return !origin->key || !key || strcmp(origin->key, key) == 0;
}

void sink_note_former(Sink *sink, const SinkTarget *old, const char *key) {
    bool counts = sink_origin_counts(&sink->origin, key);
    SinkOrigin made = {
        .key = text_copy(key), .joins = counts && sink->origin.joins, .former = calloc(SINK_FORMER_MAX, sizeof *made.former)};
    check(made.former);
    target_copy(&made.former[made.former_count++], old);
    for (size_t i = 0; counts && i < sink->origin.former_count && made.former_count < SINK_FORMER_MAX; i++) {
        const SinkTarget *former = &sink->origin.former[i];
        if (!sink_target_same_place(former, old) && !sink_target_same_place(former, &sink->target))
            target_copy(&made.former[made.former_count++], former);
    }
    origin_deinit(&sink->origin);
    sink->origin = made;
}

void sink_unref(Sink *sink) {
    if (sink == NULL || !drop_reference(&sink->references)) return;
    fields_free(&sink_fields, sink);
    origin_deinit(&sink->origin);
    left_deinit(sink);
    version_deinit(&sink->version);
    pause_end(&sink->paused);
    free(sink);
}

void source_unref(Source *source) {
    if (source == NULL || !drop_reference(&source->references)) return;
    fields_free(&source_fields, source);
    fields_free(source->kind->fields, source->part);
    free(source->part);
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

void source_copy_state(Source *to, const Source *from) {
    to->number = from->number;
    to->settings = from->settings;
    version_copy(&to->version, &from->version);
    to->created = from->created;
    to->disabled = from->disabled;
    pause_copy(&to->paused, &from->paused);
    to->run = from->run;
    to->deleted = from->deleted;
    to->deleted_running = from->deleted_running;
}

void sink_copy_state(Sink *to, const Sink *from) {
    to->number = from->number;
    to->mapping_version = from->mapping_version;
    origin_copy(&to->origin, &from->origin);
    left_copy(to, from);
    to->left_count = from->left_count;
    to->settings = from->settings;
    version_copy(&to->version, &from->version);
    to->created = from->created;
    to->disabled = from->disabled;
    pause_copy(&to->paused, &from->paused);
    to->deleted = from->deleted;
    to->deleted_running = from->deleted_running;
}

Source *source_copy(const Source *source) {
    Source *copy = source_new(source->kind);
    source_check(source);
    copy->source_id = source->source_id;
    copy->name = source->name;
    copy->description = source->description;
    copy->body_policy = source->body_policy;
    fields_unshare(&source_fields, copy);
    memcpy(copy->part, source->part, source->kind->fields->size);
    fields_unshare(source->kind->fields, copy->part);
    source_copy_state(copy, source);
    return copy;
}

Sink *sink_copy(const Sink *sink) {
    Sink *copy = sink_new();
    sink_check(sink);
    copy->sink_id = sink->sink_id;
    copy->name = sink->name;
    copy->description = sink->description;
    copy->on_invalid = sink->on_invalid;
    copy->start = sink->start;
    copy->target = sink->target;
    fields_unshare(&sink_fields, copy);
    sink_copy_state(copy, sink);
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
    source_check(source);
    version_stamp(&source->version, version, at, by, description);
}

void source_begin_run(Source *source, usec_t now) {
    check(atomic_load_explicit(&source->references, memory_order_relaxed) == 1);
    usec_t run = now > 0 ? now / USEC_MS * USEC_MS : 0;
    source->run = run > source->run ? run : source->run + USEC_MS;
}

void sink_stamp(Sink *sink, uint32_t version, usec_t at, const char *by, const char *description) {
    check(atomic_load_explicit(&sink->references, memory_order_relaxed) == 1);
    sink_check(sink);
    version_stamp(&sink->version, version, at, by, description);
    if (sink->mapping_version == 0) sink->mapping_version = version;
}

/* Strategy and drift count too: a file keeps its own copy of the whole table part. */
bool sink_target_differs(const Sink *a, const Sink *b) {
    return a->target.type != b->target.type || !fields_equal(&table_fields, &a->target, &b->target);
}
