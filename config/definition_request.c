#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/definition.h"
#include "config/definition_parts.h"
#include "config/inference.h"
#include "config/source_bridge.h"
#include "config/source_kafka.h"
#include "config/source_kind.h"

static const SourceKind *find_kind(const char *name) {
    for (size_t i = 0; source_kinds[i]; i++)
        if (strcmp(source_kinds[i]->name, name) == 0) return source_kinds[i];
    return NULL;
}

#define NOT_BUILT_MAX 8

static size_t refuse_kinds_not_built(const char *reason, Refusal refused[static NOT_BUILT_MAX + 1]) {
    size_t count = 0;
    for (; kinds_not_built[count]; count++) {
        check(count < NOT_BUILT_MAX);
        refused[count] = (Refusal){kinds_not_built[count], reason};
    }
    refused[count] = (Refusal){0};
    return count;
}

/* Before all other fields, since it decides which ones there are. */
static int read_kind(Fault *fault, const Node *body, const SourceKind **ret_kind) {
    Refusal not_kinds[NOT_BUILT_MAX + 1];
    refuse_kinds_not_built("which " FIELD_NOT_BUILT ": use http", not_kinds);
    int index = 0;
    if (!json_is_object(body->value)) return fault_at(fault, body, "must be an object, not %s", json_kind(body->value));
    Node node = node_member(body, "type");
    int r = node_given(&node) ? node_choice(fault, &node, source_kind_names, not_kinds, &index) : 0;
    if (r == 0) *ret_kind = find_kind(source_kind_names[index]);
    return r;
}

#define OTHERS_MAX 32

/* The fields of other kinds, which the source could have with another `type`, or in another
 * build. */
static void refuse_other_kinds(const SourceKind *kind, Refusal refused[static OTHERS_MAX + 1], char (*reasons)[96]) {
    _Static_assert(NOT_BUILT_MAX <= OTHERS_MAX, "all kinds that are not built fit");
    size_t count = refuse_kinds_not_built(FIELD_NOT_BUILT, refused);
    for (size_t i = 0; source_kinds[i]; i++) {
        const SourceKind *other = source_kinds[i];
        for (const FieldInfo *field = other->fields->fields; other != kind && field->name; field++) {
            if (field_table_has(kind->fields, field->name) || field_table_has(&source_fields, field->name)) continue;
            check(count < OTHERS_MAX);
            (void)snprintf(reasons[count], sizeof *reasons, "is only for sources of type \"%s\"", other->name);
            refused[count] = (Refusal){field->name, reasons[count]};
            count++;
        }
    }
    refused[count] = (Refusal){0};
}

int source_read(Fault *fault, const Node *body, const Source *old, Source **ret_source) {
    const SourceKind *kind = NULL;
    int r = read_kind(fault, body, &kind);
    if (r != 0) return r;
    _cleanup_(cleanup_source_unref) Source *source = source_new(kind);
    FieldPart parts[] = {{&source_fields, source}, {kind->fields, source->part}, {&source_state_fields, source}};
    Refusal others[OTHERS_MAX + 1];
    char reasons[OTHERS_MAX][96];
    refuse_other_kinds(kind, others, reasons);
    r = fields_read(fault, body, parts, 3, others);
    if (r != 0) return r;
    if (old && old->kind != kind) {
        Node type = node_member(body, "type");
        return fault_at(fault, &type, "cannot be changed");
    }
    if (kind->complete) kind->complete(source->part, old ? old->part : NULL);
    source_check(source);
    *ret_source = steal(source);
    return 0;
}

int source_from_request(const json_t *body, Source **ret_source, Error *error) {
    Fault fault = {.error = error};
    Node root = {.value = body};
    return source_read(&fault, &root, NULL, ret_source);
}

/* ---- sink ---- */

int sink_read(Fault *fault, const Node *body, bool first_rejects, const Sink *old, Sink **ret_sink) {
    _cleanup_(cleanup_sink_unref) Sink *sink = sink_new();
    sink->on_invalid = old ? old->on_invalid : first_rejects ? ON_INVALID_REJECT : ON_INVALID_QUARANTINE;
    FieldPart parts[] = {{&sink_fields, sink}, {&sink_state_fields, sink}};
    int r = fields_read(fault, body, parts, 2, NULL);
    if (r != 0) return r;
    sink_check(sink);
    *ret_sink = steal(sink);
    return 0;
}

static int column_fault(Fault *fault, const Node *body, size_t index, const char *name, const char *text) {
    Node table = node_member(body, "table"), mapping = node_member(&table, "mapping"), columns = node_member(&mapping, "columns");
    Node item = node_item(&columns, index), field = node_member(&item, name);
    return fault_at(fault, &field, "%s", text);
}

int sink_suits(Fault *fault, const Node *body, const Source *source, const Sink *sink) {
    const char *paths_wrong = source_paths_wrong(source);
    _cleanup_free_ char *start_wrong = source_sink_start_wrong(source, sink);
    if (start_wrong) {
        Node start = node_member(body, "startFrom");
        return fault_at(fault, &start, "%s", start_wrong);
    }
    _cleanup_free_ char *replace_wrong = source_sink_replace_wrong(source, sink);
    if (replace_wrong) {
        Node in = node_member(body, "table"), strategy = node_member(&in, "strategy");
        return fault_at(fault, &strategy, "%s", replace_wrong);
    }
    if (sink->target.infer && paths_wrong) {
        Node table = node_member(body, "table"), mapping = node_member(&table, "mapping"), infer = node_member(&mapping, "infer");
        return fault_at(fault, &infer, "needs columns of type \"path\", %s", paths_wrong);
    }
    if (sink->target.explode && paths_wrong) {
        Node table = node_member(body, "table"), mapping = node_member(&table, "mapping"), explode = node_member(&mapping, "explode");
        return fault_at(fault, &explode, "needs a path, %s", paths_wrong);
    }
    if (sink->target.infer) {
        _cleanup_(cleanup_sink_unref) Sink *complete = sink_copy(sink);
        bool is_newer_by;
        sink_complete(source, complete);
        _cleanup_free_ char *wrong = inference_wrong(&complete->target, &is_newer_by);
        Node table = node_member(body, "table"), outer = node_member(&table, is_newer_by ? "mergeIf" : "mapping");
        Node infer = node_member(&outer, "infer"),
             field = node_member(is_newer_by ? &outer : &infer, is_newer_by ? "newerBy" : "maxColumns");
        if (wrong) return fault_at(fault, &field, "%s", wrong);
    }
    const DeleteOn *on = &sink->target.table.delete_on;
    Node table = node_member(body, "table"), delete_on = node_member(&table, "deleteOn");
    if (on->path && paths_wrong) {
        Node path = node_member(&delete_on, "path");
        return fault_at(fault, &path, "is a path, %s", paths_wrong);
    }
    if (on->tombstone && source_without_tombstones(source)) {
        Node tombstone = node_member(&delete_on, "tombstone");
        return fault_at(fault, &tombstone, "is true, %s", source_without_tombstones(source));
    }
    for (size_t i = 0; i < sink->target.column_count; i++) {
        const Column *column = &sink->target.columns[i];
        _cleanup_(buffer_deinit) Buffer text = {0};
        if (column->type == COLUMN_PATH && paths_wrong) {
            buffer_printf(&text, "of column \"%s\" is \"path\", %s", column->name, paths_wrong);
            return column_fault(fault, body, i, "type", buffer_text(&text));
        }
        if (column->type != COLUMN_META || source_meta_fields(source) & META_BIT(column->meta_field)) continue;
        buffer_printf(&text, "is \"%s\", but ", meta_field_name(column->meta_field));
        source_meta_words(source, &text);
        return column_fault(fault, body, i, "field", buffer_text(&text));
    }
    return 0;
}

int sink_from_request(const json_t *body, bool first_rejects, Sink **ret_sink, Error *error) {
    Fault fault = {.error = error};
    Node root = {.value = body};
    return sink_read(&fault, &root, first_rejects, NULL, ret_sink);
}

void sink_complete(const Source *source, Sink *sink) {
    check(atomic_load_explicit(&sink->references, memory_order_relaxed) == 1);
    if (sink->target.infer) inference_complete(source_meta_fields(source), &sink->target);
    sink_check(sink);
}

/* ---- changes ---- */

#define PATCH_DEPTH_MAX 32

/* RFC 7396. `target` is a form of ours: shallow, and not shared. */
static int merge(json_t *target, const json_t *patch, int depth, Error *error) {
    if (depth > PATCH_DEPTH_MAX) return error_set(error, -EINVAL, "The change is nested deeper than %d levels", PATCH_DEPTH_MAX);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value) {
        if (json_is_null(value)) {
            /* A field that is not there stays as null, which is read as missing: so that a name
             * that nobody knows is still found. */
            if (json_object_del(target, key) != 0) check(json_object_set(target, key, value) == 0);
            continue;
        }
        if (!json_is_object(value)) {
            check(json_object_set(target, key, value) == 0);
            continue;
        }
        json_t *member = json_object_get(target, key);
        if (!json_is_object(member)) {
            member = json_object();
            check(member != NULL && json_object_set_new(target, key, member) == 0);
        }
        int r = merge(member, value, depth + 1, error);
        if (r != 0) return r;
    }
    return 0;
}

static void json_drop(json_t **json) {
    json_decref(*json);
}

static int merge_form(json_t *form, const json_t *patch, Error *error) {
    if (!json_is_object(patch)) return error_set(error, -EINVAL, "The change must be an object, not %s", json_kind(patch));
    return merge(form, patch, 0, error);
}

/* `form` may leave it out. */
static int refuse_new_id(const char *field, const json_t *form, const char *old, Error *error) {
    const json_t *id = json_object_get(form, field);
    if (id == NULL || (json_is_string(id) && strcmp(json_string_value(id), old) == 0)) return 0;
    return error_set(error, -EINVAL, "Field \"%s\" cannot be changed", field);
}

static int source_replaced(const Source *old, const json_t *form, Source **ret_source, Error *error) {
    _cleanup_(cleanup_source_unref) Source *source = NULL;
    Fault fault = {.error = error};
    Node root = {.value = form};
    int r = source_read(&fault, &root, old, &source);
    if (r != 0) return r;
    source_copy_state(source, old);
    *ret_source = steal(source);
    return 0;
}

static int sink_replaced(const Sink *old, const json_t *form, Sink **ret_sink, Error *error) {
    _cleanup_(cleanup_sink_unref) Sink *sink = NULL;
    Fault fault = {.error = error};
    Node root = {.value = form};
    int r = sink_read(&fault, &root, false, old, &sink);
    if (r != 0) return r;
    sink_copy_state(sink, old);
    inference_keep(&old->target, &sink->target);
    /* 0 asks the next stamp for its number: the table changed with that version. */
    if (sink_target_differs(old, sink)) sink->mapping_version = 0;
    *ret_sink = steal(sink);
    return 0;
}

int source_patched(const Source *old, const json_t *patch, Source **ret_source, Error *error) {
    _cleanup_(json_drop) json_t *form = source_request_form(old);
    int r = merge_form(form, patch, error);
    if (r == 0) r = refuse_new_id("sourceId", patch, old->source_id, error);
    return r == 0 ? source_replaced(old, form, ret_source, error) : r;
}

int sink_patched(const Sink *old, const json_t *patch, Sink **ret_sink, Error *error) {
    _cleanup_(json_drop) json_t *form = sink_request_form(old);
    int r = merge_form(form, patch, error);
    if (r == 0) r = refuse_new_id("sinkId", patch, old->sink_id, error);
    return r == 0 ? sink_replaced(old, form, ret_sink, error) : r;
}

int source_declared(const Source *old, const json_t *body, Source **ret_source, Error *error) {
    int r = refuse_new_id("sourceId", body, old->source_id, error);
    return r == 0 ? source_replaced(old, body, ret_source, error) : r;
}

int sink_declared(const Sink *old, const json_t *body, Sink **ret_sink, Error *error) {
    int r = refuse_new_id("sinkId", body, old->sink_id, error);
    return r == 0 ? sink_replaced(old, body, ret_sink, error) : r;
}
