#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "config/definition.h"
#include "config/definition_parts.h"
#include "config/source_kind.h"

static void set(json_t *object, const char *key, json_t *take_value) {
    check(take_value != NULL && json_object_set_new(object, key, take_value) == 0);
}

static void set_text(json_t *object, const char *key, const char *text) {
    set(object, key, json_string(text));
}

static json_t *object_new(void) {
    json_t *object = json_object();
    check(object != NULL);
    return object;
}

/* ---- the forms that a request would have ---- */

static json_t *source_form(const Source *source, bool with_secrets) {
    json_t *json = object_new();
    source_check(source);
    fields_write(&source_fields, source, with_secrets, json);
    fields_write(source->kind->fields, source->part, with_secrets, json);
    return json;
}

json_t *source_request_form(const Source *source) {
    return source_form(source, true);
}

/* With the columns that the server made. */
static json_t *sink_form(const Sink *sink) {
    json_t *json = object_new();
    sink_check(sink);
    fields_write(&sink_fields, sink, true, json);
    return json;
}

json_t *sink_request_form(const Sink *sink) {
    json_t *json = sink_form(sink);
    json_t *mapping = json_object_get(json_object_get(json, "table"), "mapping"), *columns = json_object_get(mapping, "columns");
    for (size_t i = json_array_size(columns); i > 0; i--)
        if (json_object_get(json_array_get(columns, i - 1), "inferred")) check(json_array_remove(columns, i - 1) == 0);
    if (json_array_size(columns) == 0) check(json_object_del(mapping, "columns") == 0);
    return json;
}

/* ---- what the API shows ---- */

static void set_time(json_t *object, const char *key, usec_t wall) {
    char text[25];
    clock_format_utc(wall, text);
    set_text(object, key, text);
}

json_t *pause_to_json(const Pause *pause) {
    if (pause->at == 0) return json_null();
    json_t *json = object_new();
    set_time(json, "at", pause->at);
    set_text(json, "by", pause->by);
    return json;
}

json_t *source_to_json(const Source *source, const char *public_url, uint32_t project, bool show_secret) {
    SourcePlace place = {.public_url = public_url, .project = project, .show_secret = show_secret};
    json_t *json = source_form(source, false);
    if (source->kind->describe) source->kind->describe(source, &place, json);
    fields_write(&source_state_fields, source, false, json);
    return json;
}

json_t *sink_to_json(const Sink *sink) {
    json_t *json = sink_form(sink);
    fields_write(&sink_state_fields, sink, false, json);
    return json;
}

/* ---- what the catalog keeps: {definition: as in a request, state: what the server decided} ---- */

json_t *pause_store(const Pause *pause) {
    json_t *stored = object_new();
    set(stored, "at", json_integer(pause->at));
    set(stored, "running", json_integer(pause->running));
    set_text(stored, "by", pause->by ? pause->by : "");
    return stored;
}

static json_t *state_store(uint32_t number, const Settings *settings, const DefinitionVersion *version, usec_t created, bool disabled,
                           const Pause *paused, usec_t deleted, usec_t deleted_running) {
    json_t *state = object_new(), *stored = object_new();
    set(stored, "number", json_integer(version->number));
    set(stored, "at", json_integer(version->at));
    set_text(stored, "by", version->by ? version->by : "");
    set_text(stored, "description", version->description ? version->description : "");
    set(state, "number", json_integer(number));
    set(state, "settings", settings_store(settings));
    json_t *declared = settings_store_declared(settings);
    if (declared) set(state, "declaredSettings", declared);
    set(state, "version", stored);
    set(state, "created", json_integer(created));
    set(state, "disabled", json_boolean(disabled));
    if (paused->at != 0) set(state, "paused", pause_store(paused));
    set(state, "deleted", json_integer(deleted));
    if (deleted != 0) set(state, "deletedRunning", json_integer(deleted_running));
    return state;
}

json_t *source_store(const Source *source) {
    json_t *stored = object_new();
    json_t *state = state_store(source->number, &source->settings, &source->version, source->created, source->disabled, &source->paused,
                                source->deleted, source->deleted_running);
    if (source->run != 0) set(state, "run", json_integer(source->run / USEC_MS));
    set(stored, "definition", source_request_form(source));
    set(stored, "state", state);
    return stored;
}

static void origin_store(const SinkOrigin *origin, json_t *state) {
    if (origin->joins) set(state, "joins", json_true());
    if (origin->key) set_text(state, "originKey", origin->key);
    if (origin->former_count == 0) return;
    json_t *former = json_array();
    check(former);
    for (size_t i = 0; i < origin->former_count; i++) check(json_array_append_new(former, sink_target_store(&origin->former[i])) == 0);
    set(state, "former", former);
}

static void left_store(const Sink *sink, json_t *state) {
    if (sink->left_count == 0) return;
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < sink->left_count; i++) {
        json_t *left = object_new();
        set(left, "target", sink_target_store(&sink->left[i].target));
        set_text(left, "group", sink->left[i].group);
        check(json_array_append_new(list, left) == 0);
    }
    set(state, "left", list);
}

json_t *sink_store(const Sink *sink) {
    json_t *stored = object_new();
    json_t *state = state_store(sink->number, &sink->settings, &sink->version, sink->created, sink->disabled, &sink->paused, sink->deleted,
                                sink->deleted_running);
    set(state, "mappingVersion", json_integer(sink->mapping_version));
    origin_store(&sink->origin, state);
    left_store(sink, state);
    set(stored, "definition", sink_form(sink));
    set(stored, "state", state);
    return stored;
}

json_t *sink_store_past(const Sink *sink) {
    Sink *past = sink_copy(sink);
    SinkTarget *target = &past->target;
    size_t kept = 0;
    for (size_t i = 0; i < target->column_count; i++) {
        Column *column = &target->columns[i];
        if (column_is_inferred(column))
            fields_free(&column_fields, column);
        else
            target->columns[kept++] = *column;
    }
    target->column_count = kept;
    json_t *stored = sink_store(past);
    sink_unref(past);
    return stored;
}

#define RUN_MAX (INT64_MAX / USEC_MS / 2)

typedef struct State {
    uint32_t number;
    Settings settings;
    uint32_t version;
    usec_t at;
    const char *by, *description; /* borrowed from the JSON */
    usec_t created;
    bool disabled;
    Pause paused; /* owned, until it is taken */
    usec_t deleted, deleted_running;
} State;

static int member_u32(Fault *fault, const Node *object, const char *key, uint32_t *ret_value) {
    Node node = node_member(object, key);
    int64_t value = 0;
    int r = node_integer(fault, &node, 0, UINT32_MAX, &value);
    if (r == 0) *ret_value = (uint32_t)value;
    return r;
}

static int member_time(Fault *fault, const Node *object, const char *key, usec_t *ret_value) {
    Node node = node_member(object, key);
    return node_integer(fault, &node, INT64_MIN, INT64_MAX, ret_value);
}

static int member_text(Fault *fault, const Node *object, const char *key, const char **ret_text) {
    Node node = node_member(object, key);
    return node_text(fault, &node, 0, SIZE_MAX, ret_text);
}

static int member_bool(Fault *fault, const Node *object, const char *key, bool *ret_value) {
    Node node = node_member(object, key);
    return node_bool(fault, &node, ret_value);
}

static int pause_read(Fault *fault, const Node *node, Pause *ret_pause) {
    usec_t at = 0, running = 0;
    const char *by = "";
    Node running_node = node_member(node, "running");
    int r = member_time(fault, node, "at", &at);
    if (r == 0 && node_given(&running_node)) r = member_time(fault, node, "running", &running);
    if (r == 0) r = member_text(fault, node, "by", &by);
    if (r == 0 && at != 0) pause_begin(ret_pause, at, running, by);
    return r;
}

int pause_load(const json_t *stored, Pause *ret_pause, Error *error) {
    Fault fault = {.error = error};
    Node root = {.value = stored};
    Pause pause = {0};
    int r = pause_read(&fault, &root, &pause);
    if (r == 0) *ret_pause = pause;
    return r;
}

static int state_load(Fault *fault, const Node *node, State *state) {
    Node version = node_member(node, "version"), settings = node_member(node, "settings"), paused = node_member(node, "paused");
    Node deleted_running = node_member(node, "deletedRunning"); /* an earlier program did not count it */
    Node declared = node_member(node, "declaredSettings");
    int r = member_u32(fault, node, "number", &state->number);
    if (r == 0) r = member_u32(fault, &version, "number", &state->version);
    if (r == 0) r = member_time(fault, &version, "at", &state->at);
    if (r == 0) r = member_text(fault, &version, "by", &state->by);
    if (r == 0) r = member_text(fault, &version, "description", &state->description);
    if (r == 0) r = member_time(fault, node, "created", &state->created);
    if (r == 0) r = member_bool(fault, node, "disabled", &state->disabled);
    if (r == 0) r = member_time(fault, node, "deleted", &state->deleted);
    if (r == 0 && node_given(&deleted_running)) r = member_time(fault, node, "deletedRunning", &state->deleted_running);
    if (r == 0) r = settings_load(&state->settings, settings.value, declared.value, fault->error);
    if (r == 0 && node_given(&paused)) r = pause_read(fault, &paused, &state->paused); /* last: nothing to free before */
    return r;
}

int source_load(const json_t *stored, Source **ret_source, Error *error) {
    Fault fault = {.error = error};
    Node root = {.value = stored}, definition = node_member(&root, "definition"), state_node = node_member(&root, "state");
    Node run_node = node_member(&state_node, "run"); /* of a source that ends, and that this program or a later one has stored */
    _cleanup_(cleanup_source_unref) Source *source = NULL;
    State state = {0};
    int64_t run = 0;
    int r = source_read(&fault, &definition, NULL, &source);
    if (r == 0 && node_given(&run_node)) r = node_integer(&fault, &run_node, 1, RUN_MAX, &run);
    if (r == 0) r = state_load(&fault, &state_node, &state);
    if (r < 0) return r;
    source->run = run * USEC_MS;
    source->number = state.number;
    source->settings = state.settings;
    source_stamp(source, state.version, state.at, state.by, state.description);
    source->created = state.created;
    source->disabled = state.disabled;
    source->paused = state.paused;
    source->deleted = state.deleted;
    source->deleted_running = state.deleted_running;
    *ret_source = steal(source);
    return 0;
}

static int origin_load(Fault *fault, const Node *state, SinkOrigin *origin) {
    Node key = node_member(state, "originKey");
    const char *text = NULL;
    if (node_given(&key)) {
        int result = node_text(fault, &key, 0, SIZE_MAX, &text);
        if (result < 0) return result;
        origin->key = text_copy(text);
    }
    Node joins = node_member(state, "joins"), former = node_member(state, "former");
    size_t count = json_array_size(former.value);
    int r = node_given(&joins) ? node_bool(fault, &joins, &origin->joins) : 0;
    if (r < 0 || count == 0) return r;
    if (count > SINK_FORMER_MAX) return fault_at(fault, &former, "must have at most %d items", SINK_FORMER_MAX);
    origin->former = calloc(count, sizeof *origin->former);
    check(origin->former);
    for (size_t i = 0; i < count && r == 0; i++) {
        r = sink_target_load(json_array_get(former.value, i), &origin->former[i], fault->error);
        if (r == 0) origin->former_count++;
    }
    return r;
}

static int left_load(Fault *fault, const Node *state, Sink *sink) {
    Node list = node_member(state, "left");
    size_t count = json_array_size(list.value);
    int r = 0;
    if (count == 0) return 0;
    if (count > SINK_FORMER_MAX) return fault_at(fault, &list, "must have at most %d items", SINK_FORMER_MAX);
    sink->left = calloc(count, sizeof *sink->left);
    check(sink->left);
    for (size_t i = 0; i < count && r == 0; i++) {
        const json_t *item = json_array_get(list.value, i);
        const char *group = json_string_value(json_object_get(item, "group"));
        if (!group) return fault_at(fault, &list, "must name the group of each run");
        r = sink_target_load(json_object_get(item, "target"), &sink->left[i].target, fault->error);
        if (r < 0) break;
        sink->left[i].group = text_copy(group);
        sink->left_count++;
    }
    return r;
}

int sink_load(const json_t *stored, Sink **ret_sink, Error *error) {
    Fault fault = {.error = error, .is_stored = true};
    Node root = {.value = stored}, definition = node_member(&root, "definition"), state_node = node_member(&root, "state");
    _cleanup_(cleanup_sink_unref) Sink *sink = NULL;
    State state = {0};
    int r = sink_read(&fault, &definition, false, NULL, &sink);
    if (r == 0) r = member_u32(&fault, &state_node, "mappingVersion", &sink->mapping_version);
    if (r == 0) r = origin_load(&fault, &state_node, &sink->origin);
    if (r == 0) r = left_load(&fault, &state_node, sink);
    if (r == 0) r = state_load(&fault, &state_node, &state);
    if (r < 0) return r;
    sink->number = state.number;
    sink->settings = state.settings;
    uint32_t mapping_version = sink->mapping_version;
    sink_stamp(sink, state.version, state.at, state.by, state.description);
    sink->mapping_version = mapping_version;
    sink->created = state.created;
    sink->disabled = state.disabled;
    sink->paused = state.paused;
    sink->deleted = state.deleted;
    sink->deleted_running = state.deleted_running;
    *ret_sink = steal(sink);
    return 0;
}
