/* The columns of a stream manifest's sink: what its options say of those that it declares, or which
 * ones inference begins with. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/inference.h"
#include "config/meta_field.h"
#include "config/stream_parts.h"

/* The column of that path or name, of those that the manifest declares. */
static json_t *declared_column(const Stream *stream, const char *field) {
    size_t index;
    json_t *column;
    json_array_foreach(stream->columns, index, column) {
        const char *path = json_string_value(json_object_get(column, "path")), *name = json_string_value(json_object_get(column, "name"));
        if ((path && strcmp(path, field) == 0) || (name && strcmp(name, field) == 0)) return column;
    }
    return NULL;
}

/* What an option says of a field, as far as it has a place of its own: nodes of the option and of
 * the entry in it. */
typedef struct OptionEntry {
    Node option, entry;
    bool has_entry;
} OptionEntry;

static bool is_option(const char *key, const char *option) {
    for (; *key && (*key == *option || (*key == '-' && *option == '_')); key++) option++;
    return *key == *option;
}

static bool begins_with_name(const json_t *item, const char *field) {
    const char *text = json_string_value(item);
    size_t size = strlen(field);
    return text && strncmp(text, field, size) == 0 && (!text[size] || text[size] == ':');
}

static void find_entry(const Node *options, const char *option, const char *field, OptionEntry *ret_entry) {
    const char *key;
    json_t *value;
    *ret_entry = (OptionEntry){.option = *options};
    json_object_foreach((json_t *)(uintptr_t)options->value, key, value) {
        if (!is_option(key, option)) continue;
        ret_entry->option = (Node){.value = value, .parent = options, .key = key};
    }
    const Node *found = &ret_entry->option;
    if (json_is_object(found->value)) {
        ret_entry->entry = node_member(found, field);
        ret_entry->has_entry = node_given(&ret_entry->entry);
    }
    for (size_t i = 0; i < json_array_size(found->value) && !ret_entry->has_entry; i++) {
        ret_entry->entry = node_item(found, i);
        ret_entry->has_entry = begins_with_name(ret_entry->entry.value, field);
    }
}

static void add_entry_origin(Stream *stream, const Node *options, const char *option, const char *field, const char *to) {
    char from[STREAM_POINTER_SIZE];
    OptionEntry found;
    find_entry(options, option, field, &found);
    stream_add_origin(stream, to, stream_pointer_of(found.has_entry ? &found.entry : &found.option, from));
}

/* A field of that column is what the entry says. */
static void add_column_origin(Stream *stream, const Node *options, const char *option, const char *field, const json_t *columns,
                              const json_t *column, const char *of_column) {
    char to[64];
    size_t at = 0;
    while (json_array_get(columns, at) != column) at++;
    (void)snprintf(to, sizeof to, "sinks/0/table/mapping/columns/%zu%s", at, of_column);
    add_entry_origin(stream, options, option, field, to);
}

/* An error about a field that an option names, at its place there. */
static int refuse_entry(Stream *stream, const Node *options, const char *option, const char *field, const char *what) {
    char excerpt[TEXT_EXCERPT_SIZE];
    OptionEntry found;
    find_entry(options, option, field, &found);
    return fault_at(stream->fault, found.has_entry ? &found.entry : &found.option, "names \"%s\", %s",
                    text_excerpt(span_of(field), excerpt), what);
}

static int lacks_column(Stream *stream, const Node *options, const char *option, const char *field) {
    return refuse_entry(stream, options, option, field, "which none of the \"columns\" has as its path or name");
}

/* Which of the options have the key: the sink's count when both have one, as they are read last. */
static const Node *keys_of(const Node *sink_options, const Node *source_options) {
    bool in_sink = json_object_get(sink_options->value, "primary_key") || json_object_get(sink_options->value, "primary-key");
    return in_sink ? sink_options : source_options;
}

/* What the options say of columns that the manifest declares. */
int stream_complete_columns(Stream *stream, const Node *sink_options, const Node *source_options) {
    size_t index;
    const char *field;
    json_t *value, *column;
    json_array_foreach(stream->keys, index, value) {
        field = json_string_value(value);
        if (!(column = declared_column(stream, field)))
            return lacks_column(stream, keys_of(sink_options, source_options), "primary_key", field);
        check(json_object_set_new(column, "primaryKey", json_true()) == 0);
        add_column_origin(stream, keys_of(sink_options, source_options), "primary_key", field, stream->columns, column, "/primaryKey");
    }
    json_object_foreach(stream->hints, field, value) {
        if (!(column = declared_column(stream, field))) return lacks_column(stream, source_options, "type_hints", field);
        if (json_object_get(column, "dataType")) continue;
        check(json_object_set(column, "dataType", value) == 0);
        add_column_origin(stream, source_options, "type_hints", field, stream->columns, column, "/dataType");
    }
    json_object_foreach(stream->masks, field, value) {
        if (!(column = declared_column(stream, field))) return lacks_column(stream, source_options, "mask", field);
        check(json_object_set(column, "mask", value) == 0);
        add_column_origin(stream, source_options, "mask", field, stream->columns, column, "/mask");
    }
    return 0;
}

static bool is_taken(void *context, const char *name) {
    size_t index;
    json_t *column;
    json_array_foreach((json_t *)context, index, column) if (span_equal_nocase(span_of(json_string_value(json_object_get(column, "name"))),
                                                                               span_of(name))) return true;
    return false;
}

/* As inferred columns are named; a path that is none is found when the column is read. */
static json_t *column_name(json_t *columns, const char *path) {
    char name[COLUMN_NAME_SIZE];
    _cleanup_(buffer_deinit) Buffer canonical = {0};
    if (!field_path_canonical(span_of(path), &canonical)) return json_string(path);
    column_name_of_field(buffer_span(&canonical), is_taken, columns, name);
    return json_string(name);
}

/*
 * Keys and masked fields are declared; all others are inferred. A name of a base column is that
 * column; `options` with `option` name the field.
 */
static int add_column(Stream *stream, const Node *options, const char *option, json_t *columns, const char *path, json_t **ret_column) {
    size_t index;
    json_t *column;
    json_array_foreach(columns, index, column) {
        const char *known = json_string_value(json_object_get(column, "path"));
        *ret_column = column;
        if (strcmp(known ? known : json_string_value(json_object_get(column, "name")), path) == 0) return 0;
    }
    column = inference_base_form(path, stream->is_nats ? META_NATS : META_KAFKA);
    if (!column && inference_reserves(span_of(path)))
        return refuse_entry(stream, options, option, path, "a name that only other columns of inference have (docs/inference.md)");
    if (!column) {
        const char *type = json_string_value(json_object_get(stream->hints, path));
        if (!type) type = "text";
        column = json_pack("{s:o, s:s, s:s, s:s}", "name", column_name(columns, path), "type", "path", "path", path, "dataType", type);
        check(column);
        if (strcmp(type, "text") == 0) check(json_object_set_new(column, "rawString", json_true()) == 0);
        (void)json_object_del(stream->hints, path);
    }
    check(json_array_append_new(columns, column) == 0);
    add_column_origin(stream, options, option, path, columns, column, "");
    *ret_column = column;
    return 0;
}

/* Base columns have their types. */
static int drop_base_hints(Stream *stream, const Node *options) {
    const char *field;
    json_t *value;
    void *next;
    json_object_foreach_safe(stream->hints, next, field, value) {
        json_t *base = inference_base_form(field, stream->is_nats ? META_NATS : META_KAFKA);
        if (!base) continue;
        bool is_same = json_equal(json_object_get(base, "dataType"), value);
        json_decref(base);
        if (!is_same) return refuse_entry(stream, options, "type_hints", field, "a column whose type is fixed (docs/inference.md)");
        check(json_object_del(stream->hints, field) == 0);
    }
    return 0;
}

static int add_columns(Stream *stream, const Node *sink_options, const Node *source_options, json_t *columns) {
    size_t index;
    const char *field;
    json_t *value, *column;
    int r = drop_base_hints(stream, source_options);
    json_array_foreach(stream->keys, index, value) {
        field = json_string_value(value);
        if (r == 0) r = add_column(stream, keys_of(sink_options, source_options), "primary_key", columns, field, &column);
        if (r == 0) check(json_object_set_new(column, "primaryKey", json_true()) == 0);
    }
    json_object_foreach(stream->masks, field, value) {
        if (r == 0) r = add_column(stream, source_options, "mask", columns, field, &column);
        if (r < 0) return r;
        check(json_object_set(column, "mask", value) == 0);
        add_column_origin(stream, source_options, "mask", field, columns, column, "/mask");
    }
    return r;
}

int stream_infer_columns(Stream *stream, const Node *sink_options, const Node *source_options) {
    json_t *columns = json_array(), *infer = json_pack("{s:i}", "depth", 1), *mapping = json_object();
    check(columns && infer && mapping);
    stream_add_origin(stream, "sinks/0/table/mapping", "spec/sink/options");
    int r = add_columns(stream, sink_options, source_options, columns);
    if (json_object_size(stream->hints) > 0) {
        check(json_object_set(infer, "typeHints", stream->hints) == 0);
        stream_add_origin(stream, "sinks/0/table/mapping/infer/typeHints", "spec/source/options/type_hints");
    }
    if (json_array_size(columns) > 0) check(json_object_set(mapping, "columns", columns) == 0);
    check(json_object_set_new(mapping, "infer", infer) == 0 && json_object_set_new(stream->table, "mapping", mapping) == 0);
    json_decref(columns);
    return r;
}
