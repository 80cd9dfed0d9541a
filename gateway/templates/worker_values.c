#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gateway/templates/worker_parts.h"
#include "mapping/json_text.h"
#include "mapping/words.h"

Value *worker_make_null(Worker *worker) {
    return jsonnet_json_make_null(worker->vm);
}

void worker_note(Worker *worker, const char *format, ...) {
    if (worker->failure.size > 0) return;
    char text[TEMPLATE_REASON_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buffer_append_text(&worker->failure, text);
}

static const char *skip_space(const char *at, const char *end) {
    while (at < end && text_is_space(*at)) at++;
    return at;
}

/* The place behind a string; `at` is on its first quote. */
static const char *skip_string(const char *at, const char *end) {
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\') at++;
    return at < end ? at + 1 : end;
}

/* True: worker->text holds what the JSON string means. */
static bool unescape(Worker *worker, const char *start, const char *stop) {
    check(stop - start >= 2 && *start == '"' && stop[-1] == '"');
    buffer_clear(&worker->text);
    if (json_unescape(&worker->text, (Span){start + 1, (size_t)(stop - start) - 2})) {
        worker_note(worker, "the body contains half a surrogate pair");
        return false;
    }
    if (worker->text.size > 0 && memchr(worker->text.data, 0, worker->text.size)) {
        worker_note(worker, "the body contains \\u0000, which a template cannot process");
        return false;
    }
    return true;
}

static Value *make_number(Worker *worker, const char *start, const char *stop) {
    char small[64], *copy = small;
    check(stop > start); /* the scanner has accepted it */
    size_t size = (size_t)(stop - start);
    if (size >= sizeof small) copy = malloc(size + 1);
    check(copy);
    memcpy(copy, start, size);
    copy[size] = '\0';
    double number = strtod(copy, NULL);
    if (copy != small) free(copy);
    if (isfinite(number)) return jsonnet_json_make_number(worker->vm, number);
    worker_note(worker, "the body contains a number that is too large for a template");
    return worker_make_null(worker);
}

static Value *make_array(Worker *worker, const char **cursor, const char *end) {
    Value *array = jsonnet_json_make_array(worker->vm);
    const char *at = skip_space(*cursor + 1, end);
    while (at < end && *at != ']') {
        jsonnet_json_array_append(worker->vm, array, worker_make_value(worker, &at, end));
        at = skip_space(at, end);
        if (at < end && *at == ',') at = skip_space(at + 1, end);
    }
    *cursor = at + 1;
    return array;
}

typedef struct Field {
    char *name;
    Value *value;
} Field;

/* Of equal keys the first counts, but libjsonnet keeps the last that it is given: it gets them from
 * behind. */
static Value *make_object(Worker *worker, const char **cursor, const char *end) {
    Buffer fields = {0};
    const char *at = skip_space(*cursor + 1, end);
    while (at < end && *at != '}') {
        const char *stop = skip_string(at, end);
        if (!unescape(worker, at, stop)) buffer_clear(&worker->text);
        Field field = {.name = strdup(buffer_text(&worker->text))};
        check(field.name);
        at = skip_space(stop, end);
        at = skip_space(at + 1, end); /* the colon */
        field.value = worker_make_value(worker, &at, end);
        buffer_append(&fields, &field, sizeof field);
        at = skip_space(at, end);
        if (at < end && *at == ',') at = skip_space(at + 1, end);
    }
    *cursor = at + 1;

    Value *object = jsonnet_json_make_object(worker->vm);
    for (size_t i = fields.size / sizeof(Field); i > 0; i--) {
        Field *field = (Field *)(void *)fields.data + i - 1;
        jsonnet_json_object_append(worker->vm, object, field->name, field->value);
        free(field->name);
    }
    buffer_deinit(&fields);
    return object;
}

Value *worker_make_value(Worker *worker, const char **cursor, const char *end) {
    const char *at = *cursor, *stop = at;
    if (at >= end) return worker_make_null(worker);
    switch (*at) {
    case '{': return make_object(worker, cursor, end);
    case '[': return make_array(worker, cursor, end);
    case '"':
        stop = skip_string(at, end);
        *cursor = stop;
        return unescape(worker, at, stop) ? jsonnet_json_make_string(worker->vm, buffer_text(&worker->text)) : worker_make_null(worker);
    case 't':
    case 'f':
    case 'n':
        *cursor = at + (*at == 'f' ? 5 : 4);
        return *at == 'n' ? worker_make_null(worker) : jsonnet_json_make_bool(worker->vm, *at == 't');
    default:
        while (stop < end && (text_is_digit(*stop) || *stop == '-' || *stop == '+' || *stop == '.' || *stop == 'e' || *stop == 'E')) stop++;
        *cursor = stop > at ? stop : end;
        return make_number(worker, at, stop);
    }
}
