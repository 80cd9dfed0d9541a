#include "config/field.h"

#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/units.h"

Node node_member(const Node *object, const char *key) {
    return (Node){.value = json_object_get(object->value, key), .parent = object, .key = key};
}

Node node_item(const Node *array, size_t index) {
    return (Node){.value = json_array_get(array->value, index), .parent = array, .index = index};
}

bool node_given(const Node *node) {
    return node->value != NULL && !json_is_null(node->value);
}

const char *json_kind(const json_t *value) {
    if (value == NULL) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction or an exponent";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    unreachable();
}

/* One step of the pointer, whole or not at all. */
static bool append_step(char *path, size_t size, size_t *used, const Node *node) {
    char step[300];
    size_t length = 0;
    if (node->key == NULL) {
        length = (size_t)snprintf(step, sizeof step, "%zu", node->index);
    } else {
        for (const char *c = node->key; *c; c++) {
            if (length + 2 >= sizeof step) return false;
            if (*c == '~' || *c == '/') {
                step[length++] = '~';
                step[length++] = *c == '~' ? '0' : '1';
            } else {
                step[length++] = *c;
            }
        }
    }
    size_t separator = *used > 0 ? 1 : 0;
    if (*used + separator + length >= size) return false;
    if (separator) path[(*used)++] = '/';
    memcpy(path + *used, step, length);
    *used += length;
    path[*used] = 0;
    return true;
}

static bool write_pointer(char *path, size_t size, size_t *used, const Node *node) {
    if (node->parent == NULL) return true;
    return write_pointer(path, size, used, node->parent) && append_step(path, size, used, node);
}

/* "table.mapping.columns[2].name" */
static void write_name(Buffer *out, const Node *node) {
    if (node->parent == NULL) return;
    write_name(out, node->parent);
    if (node->key == NULL) {
        buffer_printf(out, "[%zu]", node->index);
        return;
    }
    char excerpt[TEXT_EXCERPT_SIZE];
    buffer_printf(out, "%s%s", node->parent->parent ? "." : "", text_excerpt(span_of(node->key), excerpt));
}

static int set_fault(Fault *fault, const Node *node, const char *prefix, const char *format, va_list arguments) {
    _cleanup_free_ char *text = NULL;
    size_t used = 0;
    fault->path[0] = 0;
    fault->at_key = false;
    (void)write_pointer(fault->path, sizeof fault->path, &used, node);
    check(vasprintf(&text, format, arguments) >= 0);
    (void)error_set(fault->error, -EINVAL, "%s%s", prefix, text);
    return -EINVAL;
}

int fault_at(Fault *fault, const Node *node, const char *format, ...) {
    _cleanup_(buffer_deinit) Buffer prefix = {0};
    if (node->parent == NULL) {
        buffer_append_text(&prefix, "The definition ");
    } else {
        buffer_append_text(&prefix, "Field \"");
        write_name(&prefix, node);
        buffer_append_text(&prefix, "\" ");
    }
    va_list arguments;
    va_start(arguments, format);
    int r = set_fault(fault, node, buffer_text(&prefix), format, arguments);
    va_end(arguments);
    return r;
}

bool fault_goes_on(Fault *fault, int result) {
    if (result == 0) return true;
    if (!fault->keep) return false;
    if (fault->error->code != 0) fault->keep(fault->context, fault); /* else what was within has given it already */
    *fault->error = (Error){0};
    fault->path[0] = 0;
    fault->at_key = false;
    return true;
}

int fault_plain(Fault *fault, const Node *node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int r = set_fault(fault, node, "", format, arguments);
    va_end(arguments);
    return r;
}

static size_t count_names(const char *const *names) {
    size_t count = 0;
    while (names[count]) count++;
    return count;
}

static void list_names(Buffer *out, const char *const *names) {
    for (size_t i = 0; names[i]; i++) buffer_printf(out, "%s%s", i > 0 ? ", " : "", names[i]);
}

static const char *reason_of(const Refusal *refused, const char *name) {
    for (; refused != NULL && refused->name != NULL; refused++)
        if (strcmp(refused->name, name) == 0) return refused->reason;
    return NULL;
}

static bool names_have(const char *const *names, const char *name) {
    for (; *names; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

static int refuse_unknown(Fault *fault, const Node *member, const char *const *allowed) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    buffer_append_text(&text, "is not known here");
    size_t before = text.size;
    buffer_append_text(&text, ": did you mean ");
    size_t mark = text.size;
    text_near(&text, span_of(member->key), allowed, count_names(allowed));
    if (text.size == mark) {
        text.size = before;
    } else {
        buffer_append_text(&text, "?");
    }
    buffer_append_text(&text, " (allowed: ");
    list_names(&text, allowed);
    buffer_append_text(&text, ")");
    return fault_at(fault, member, "%s", buffer_text(&text));
}

int node_object(Fault *fault, const Node *node, const char *const *allowed, const Refusal *refused) {
    if (!json_is_object(node->value)) return fault_at(fault, node, "must be an object, not %s", json_kind(node->value));
    /* jansson's iterator takes no const, and changes nothing. */
    json_t *object = (json_t *)(uintptr_t)node->value;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        if (names_have(allowed, key)) continue;
        Node member = {.value = value, .parent = node, .key = key};
        const char *reason = reason_of(refused, key);
        int r = reason ? fault_at(fault, &member, "%s", reason) : refuse_unknown(fault, &member, allowed);
        fault->at_key = true;
        return r;
    }
    return 0;
}

int node_array(Fault *fault, const Node *node, size_t least, size_t most) {
    if (!json_is_array(node->value)) return fault_at(fault, node, "must be an array, not %s", json_kind(node->value));
    size_t size = json_array_size(node->value);
    if (size < least || size > most) return fault_at(fault, node, "must have %zu to %zu items, not %zu", least, most, size);
    return 0;
}

int node_text(Fault *fault, const Node *node, size_t least, size_t most, const char **ret_text) {
    if (!json_is_string(node->value)) return fault_at(fault, node, "must be a string, not %s", json_kind(node->value));
    const char *text = json_string_value(node->value);
    size_t size = json_string_length(node->value);
    if (strlen(text) != size) return fault_at(fault, node, "must not contain a NUL character");
    if (!text_is_utf8((Span){text, size})) return fault_at(fault, node, "must be UTF-8");
    if (size < least || size > most) return fault_at(fault, node, "must have %zu to %zu bytes, not %zu", least, most, size);
    *ret_text = text;
    return 0;
}

int node_bool(Fault *fault, const Node *node, bool *ret_value) {
    if (!json_is_boolean(node->value)) return fault_at(fault, node, "must be true or false, not %s", json_kind(node->value));
    *ret_value = json_is_true(node->value);
    return 0;
}

int node_integer(Fault *fault, const Node *node, int64_t least, int64_t most, int64_t *ret_value) {
    if (!json_is_integer(node->value)) return fault_at(fault, node, "must be an integer, not %s", json_kind(node->value));
    int64_t value = json_integer_value(node->value);
    if (value < least || value > most)
        return fault_at(fault, node, "must be %lld to %lld, not %lld", (long long)least, (long long)most, (long long)value);
    *ret_value = value;
    return 0;
}

/* `must be a size such as 8MB in 1MB..1GB, not "x"` */
static int refuse_units(Fault *fault, const Node *node, const char *wanted, Buffer *range) {
    char excerpt[TEXT_EXCERPT_SIZE];
    if (json_is_string(node->value))
        return fault_at(fault, node, "must be %s in %s, not \"%s\"", wanted, buffer_text(range),
                        text_excerpt(span_of(json_string_value(node->value)), excerpt));
    if (json_is_integer(node->value))
        return fault_at(fault, node, "must be %s in %s, not %" JSON_INTEGER_FORMAT, wanted, buffer_text(range),
                        json_integer_value(node->value));
    return fault_at(fault, node, "must be %s in %s, not %s", wanted, buffer_text(range), json_kind(node->value));
}

int node_size(Fault *fault, const Node *node, uint64_t least, uint64_t most, uint64_t *ret_bytes) {
    uint64_t bytes = 0;
    int r = -EINVAL;
    if (json_is_string(node->value)) r = units_parse_size((Span){json_string_value(node->value), json_string_length(node->value)}, &bytes);
    if (json_is_integer(node->value) && json_integer_value(node->value) >= 0) {
        bytes = (uint64_t)json_integer_value(node->value);
        r = 0;
    }
    if (r == 0 && bytes >= least && bytes <= most) {
        *ret_bytes = bytes;
        return 0;
    }
    _cleanup_(buffer_deinit) Buffer range = {0};
    units_format_size(&range, least);
    buffer_append_text(&range, "..");
    units_format_size(&range, most);
    return refuse_units(fault, node, "a size such as 8MB", &range);
}

int node_duration(Fault *fault, const Node *node, usec_t least, usec_t most, usec_t *ret_usec) {
    usec_t usec = 0;
    int r = -EINVAL;
    if (json_is_string(node->value)) r = units_parse_time((Span){json_string_value(node->value), json_string_length(node->value)}, &usec);
    if (r == 0 && usec >= least && usec <= most) {
        *ret_usec = usec;
        return 0;
    }
    _cleanup_(buffer_deinit) Buffer range = {0};
    units_format_time(&range, least);
    buffer_append_text(&range, "..");
    units_format_time(&range, most);
    return refuse_units(fault, node, "a length of time such as 30s", &range);
}

int node_choice(Fault *fault, const Node *node, const char *const *choices, const Refusal *refused, int *ret_choice) {
    const char *text = "";
    int r = node_text(fault, node, 0, SIZE_MAX, &text);
    if (r != 0) return r;
    for (int i = 0; choices[i]; i++)
        if (strcmp(choices[i], text) == 0) {
            *ret_choice = i;
            return 0;
        }
    const char *reason = reason_of(refused, text);
    if (reason) return fault_at(fault, node, "is \"%s\", %s", text, reason);
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer list = {0};
    list_names(&list, choices);
    return fault_at(fault, node, "must be one of %s, not \"%s\"", buffer_text(&list), text_excerpt(span_of(text), excerpt));
}
