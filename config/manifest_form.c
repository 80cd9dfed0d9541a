#include "config/manifest_form.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "config/definition_parts.h"
#include "config/source_kind.h"

static const FieldTable *kind_fields(const json_t *source) {
    const char *type = json_string_value(json_object_get(source, "type"));
    for (size_t i = 0; type && source_kinds[i]; i++)
        if (strcmp(source_kinds[i]->name, type) == 0) return source_kinds[i]->fields;
    return source_kinds[0]->fields;
}

/* Of an object as shown: the members that a request may have. */
static void copy_fields(const json_t *shown, const FieldTable *table, const FieldTable *more, json_t *out) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)shown, key, value) if (field_table_takes(table, key) || (more && field_table_takes(more, key)))
        check(json_object_set(out, key, value) == 0);
}

static void copy_settings(const json_t *settings, json_t *out) {
    json_t *object = json_object();
    check(object);
    size_t index;
    json_t *item;
    json_array_foreach(settings, index, item) {
        const char *key = json_string_value(json_object_get(item, "key"));
        if (key && json_is_true(json_object_get(item, "overwritten")))
            check(json_object_set(object, key, json_object_get(item, "value")) == 0);
    }
    if (json_object_size(object) > 0) check(json_object_set(out, "settings", object) == 0);
    json_decref(object);
}

static void drop_inferred(json_t *sink) {
    json_t *mapping = json_object_get(json_object_get(sink, "table"), "mapping"), *columns = json_object_get(mapping, "columns");
    for (size_t i = json_array_size(columns); i > 0; i--) {
        const char *by = json_string_value(json_object_get(json_array_get(columns, i - 1), "inferred"));
        if (by && strcmp(by, "declared") != 0) check(json_array_remove(columns, i - 1) == 0);
    }
    if (columns && json_array_size(columns) == 0) check(json_object_del(mapping, "columns") == 0);
}

json_t *manifest_form(const json_t *source, const json_t *settings, const json_t *sinks, const json_t *sink_settings) {
    json_t *manifest = json_pack("{s:s}", "kind", "source"), *list = json_array();
    check(manifest && list);
    copy_fields(source, &source_fields, kind_fields(source), manifest);
    copy_settings(settings, manifest);
    for (size_t i = 0; i < json_array_size(sinks); i++) {
        json_t *copy = json_deep_copy(json_array_get(sinks, i)), *sink = json_object();
        check(copy && sink);
        copy_fields(copy, &sink_fields, NULL, sink);
        drop_inferred(sink);
        copy_settings(json_array_get(sink_settings, i), sink);
        check(json_array_append_new(list, sink) == 0);
        json_decref(copy);
    }
    check(json_object_set_new(manifest, "sinks", list) == 0);
    return manifest;
}
