#include "config/yaml_write.h"

#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/span.h"
#include "base/text.h"
#include "config/yaml_scalar.h"

#define IN_ONE_LINE 100 /* bytes of JSON */

static int append(void *context, unsigned char *bytes, size_t size) {
    buffer_append(context, bytes, size);
    return 1;
}

static void emit(yaml_emitter_t *emitter, yaml_event_t *event) {
    check(yaml_emitter_emit(emitter, event) == 1);
}

/* Would the parser read the plain text as another kind of value? */
static bool needs_quotes(Span text) {
    json_t *resolved = NULL;
    Error ignored = {0};
    bool is_text = yaml_scalar_resolve(text, true, &resolved, &ignored) == 0 && json_is_string(resolved);
    json_decref(resolved);
    return !is_text;
}

static void emit_scalar(yaml_emitter_t *emitter, Span text, bool quotes, bool is_text) {
    yaml_event_t event;
    yaml_scalar_style_t style = quotes ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE;
    if (is_text && text.size > 0 && memchr(text.data, '\n', text.size)) style = YAML_LITERAL_SCALAR_STYLE;
    check(yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)(text.size > 0 ? text.data : ""), (int)text.size, 1, 1,
                                       style) == 1);
    emit(emitter, &event);
}

/* What would be replaced by a variable or a file is not. */
static void emit_text(yaml_emitter_t *emitter, Span text) {
    _cleanup_(buffer_deinit) Buffer out = {0};
    for (size_t at = 0; at < text.size; at++) {
        Span rest = {text.data + at, text.size - at};
        if (text_begins(rest, SPAN("${ENV:")) || text_begins(rest, SPAN("${FILE:"))) buffer_append_byte(&out, '$');
        buffer_append_byte(&out, text.data[at]);
    }
    emit_scalar(emitter, buffer_span(&out), needs_quotes(buffer_span(&out)), true);
}

/* Scalars alone, and little of them. */
static bool is_short(const json_t *value) {
    const char *key;
    json_t *item;
    size_t index;
    json_object_foreach((json_t *)(uintptr_t)value, key, item) if (json_is_object(item) || json_is_array(item)) return false;
    json_array_foreach(value, index, item) if (json_is_object(item) || json_is_array(item)) return false;
    return json_dumpb(value, NULL, 0, 0) <= IN_ONE_LINE;
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value, int level);

static void emit_collection(yaml_emitter_t *emitter, const json_t *value, int level) {
    yaml_event_t event;
    bool flow = level > 0 && is_short(value);
    const char *key;
    json_t *item;
    size_t index;
    if (json_is_object(value)) {
        check(yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, flow ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE) == 1);
        emit(emitter, &event);
        json_object_foreach((json_t *)(uintptr_t)value, key, item) {
            emit_text(emitter, span_of(key));
            emit_value(emitter, item, level + 1);
        }
        check(yaml_mapping_end_event_initialize(&event) == 1);
    } else {
        check(yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, flow ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE) ==
              1);
        emit(emitter, &event);
        json_array_foreach(value, index, item) emit_value(emitter, item, level + 1);
        check(yaml_sequence_end_event_initialize(&event) == 1);
    }
    emit(emitter, &event);
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value, int level) {
    if (json_is_object(value) || json_is_array(value)) {
        emit_collection(emitter, value, level);
    } else if (json_is_string(value)) {
        emit_text(emitter, (Span){json_string_value(value), json_string_length(value)});
    } else {
        _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY);
        check(text);
        emit_scalar(emitter, span_of(text), false, false);
    }
}

void yaml_write(const json_t *value, Buffer *out) {
    yaml_emitter_t emitter;
    yaml_event_t event;
    check(yaml_emitter_initialize(&emitter) == 1);
    yaml_emitter_set_output(&emitter, append, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    check(yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) == 1);
    emit(&emitter, &event);
    check(yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) == 1);
    emit(&emitter, &event);
    emit_value(&emitter, value, 0);
    check(yaml_document_end_event_initialize(&event, 1) == 1);
    emit(&emitter, &event);
    check(yaml_stream_end_event_initialize(&event) == 1);
    emit(&emitter, &event);
    yaml_emitter_delete(&emitter);
}
