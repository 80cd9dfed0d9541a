#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/path_text.h"
#include "gateway/templates/worker_parts.h"
#include "mapping/json_text.h"

static Value *refuse_call(Worker *worker, int *ok, const char *text) {
    *ok = 0;
    return jsonnet_json_make_string(worker->vm, text);
}

static const char *text_argument(Worker *worker, NativeArguments arguments) {
    return jsonnet_json_extract_string(worker->vm, arguments[0]);
}

/* True: worker->found is the value, without data when the body has no fields at all: that is noted,
 * and no default may hide it. */
static bool find_body(Worker *worker, Span path) {
    check(worker->event && worker->running);
    worker->found = (Span){0};
    buffer_clear(&worker->text);
    int r = template_view_find(worker->view, path, &worker->found, &worker->text);
    if (r != VIEW_FAILED) return r == 0;
    worker_note(worker, "Body(%.*s): %s", (int)(path.size < 64 ? path.size : 64), path.data, buffer_text(&worker->text));
    return true;
}

static Value *native_has_body(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    const char *path = text_argument(worker, arguments);
    if (!path) return refuse_call(worker, ok, "Body(path): the path is a string");
    *ok = 1;
    return jsonnet_json_make_bool(worker->vm, find_body(worker, span_of(path)));
}

/* Directly behind native_has_body that said true: nothing is evaluated in between. */
static Value *native_found_body(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    *ok = 1;
    if (!worker->found.data) return worker_make_null(worker);
    const char *at = worker->found.data;
    return worker_make_value(worker, &at, at + worker->found.size);
}

static Value *native_miss_body(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    const char *path = text_argument(worker, arguments);
    const char *what;
    buffer_clear(&worker->text);
    if (path && path_is_misspelt(span_of(path), &what, &worker->text))
        worker_note(worker, "no value at %.200s and no default; the path %s, write it as %.200s", path, what, buffer_text(&worker->text));
    else
        worker_note(worker, "no value at %.200s and no default", path ? path : "that path");
    *ok = 1;
    return worker_make_null(worker);
}

static Value *native_body_text(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    Span body = worker->event->body;
    *ok = 1;
    if (text_check(body) < body.size) {
        worker_note(worker, "BodyStr(): the body is not UTF-8 text at byte %zu", text_check(body));
        return worker_make_null(worker);
    }
    buffer_clear(&worker->text);
    buffer_append_span(&worker->text, body);
    return jsonnet_json_make_string(worker->vm, buffer_text(&worker->text));
}

static Value *make_text(Worker *worker, Span text) {
    buffer_clear(&worker->text);
    buffer_append_span(&worker->text, text);
    return jsonnet_json_make_string(worker->vm, buffer_text(&worker->text));
}

static Value *native_has_header(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    const char *name = text_argument(worker, arguments);
    if (!name) return refuse_call(worker, ok, "Header(name): the name is a string");
    *ok = 1;
    Span value;
    return jsonnet_json_make_bool(worker->vm, !*name || template_view_header(worker->view, span_of(name), &value));
}

/* The empty name: all of them. */
static Value *native_get_header(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    const char *name = text_argument(worker, arguments);
    *ok = 1;
    Span json = template_view_headers(worker->view);
    if (name && *name && !template_view_header(worker->view, span_of(name), &json)) return worker_make_null(worker);
    const char *at = json.data;
    return worker_make_value(worker, &at, at + json.size);
}

static Value *native_miss_header(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    const char *name = text_argument(worker, arguments);
    worker_note(worker, "no header %.200s and no default", name ? name : "of that name");
    *ok = 1;
    return worker_make_null(worker);
}

static Value *native_header_text(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    *ok = 1;
    buffer_clear(&worker->text);
    Span name, value;
    for (const char *at = NULL; template_view_next_header(worker->view, &at, &name, &value);) {
        (void)json_unescape(&worker->text, (Span){name.data + 1, name.size - 2});
        buffer_append_text(&worker->text, ": ");
        (void)json_unescape(&worker->text, (Span){value.data + 1, value.size - 2});
        buffer_append_byte(&worker->text, '\n');
    }
    return jsonnet_json_make_string(worker->vm, buffer_text(&worker->text));
}

static Value *native_ip(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    *ok = 1;
    return make_text(worker, worker->event->ip);
}

#define EXACT_NUMBER_MAX (UINT64_C(1) << 53)

/* A number as a number, exactly; any other field as text. NULL is null: a record without a key is
 * none that failed. */
static Value *make_meta(Worker *worker, MetaField field, Span value) {
    if (!value.data) return worker_make_null(worker);
    if (field != META_PARTITION && field != META_OFFSET && field != META_SEQUENCE) {
        size_t bad = text_check(value);
        if (bad == value.size) return make_text(worker, value);
        worker_note(worker, "Meta('%s'): it is not UTF-8 text without NUL at byte %zu", meta_field_name(field), bad);
        return worker_make_null(worker);
    }
    uint64_t number = 0;
    for (size_t i = 0; i < value.size && number <= EXACT_NUMBER_MAX; i++) number = number * 10 + (uint64_t)(value.data[i] - '0');
    if (number <= EXACT_NUMBER_MAX) return jsonnet_json_make_number(worker->vm, (double)number);
    worker_note(worker, "Meta('%s'): it is too large for a number of a template, only a column of type meta has it",
                meta_field_name(field));
    return worker_make_null(worker);
}

static Value *native_meta(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    const char *name = text_argument(worker, arguments);
    MetaField field;
    if (!name) return refuse_call(worker, ok, "Meta(field): the field is a string");
    *ok = 1;
    check(worker->event && worker->running);
    const EventMeta *meta = worker->event->meta;
    if (meta && meta_field_find(span_of(name), &field) && meta->fields & META_BIT(field))
        return make_meta(worker, field, meta->values[field]);
    Buffer fields = {0};
    if (meta) meta_fields_list(meta->fields, &fields);
    worker_note(worker, "Meta('%.100s'): the source has no such field%s%s", name, meta ? ", but " : "", meta ? buffer_text(&fields) : "");
    buffer_deinit(&fields);
    return worker_make_null(worker);
}

static Value *native_now(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    const char *format = text_argument(worker, arguments);
    if (!format) return refuse_call(worker, ok, "Now(format): the format is a string");
    *ok = 1;
    buffer_clear(&worker->text);
    if (!template_view_now(worker->view, format, &worker->text)) {
        worker_note(worker, "Now(format): the text is longer than %d bytes", VIEW_NOW_BYTES_MAX);
        return worker_make_null(worker);
    }
    return jsonnet_json_make_string(worker->vm, buffer_text(&worker->text));
}

void worker_add_natives(Worker *worker) {
    static const char *const none[] = {NULL};
    static const char *const one[] = {"value", NULL};
    static const char *const field[] = {"field", NULL};
    static const struct {
        const char *name;
        JsonnetNativeCallback *callback;
        const char *const *parameters;
    } natives[] = {
        {"hasBody", native_has_body, one},
        {"foundBody", native_found_body, none},
        {"missBody", native_miss_body, one},
        {"bodyText", native_body_text, none},
        {"hasHeader", native_has_header, one},
        {"getHeader", native_get_header, one},
        {"missHeader", native_miss_header, one},
        {"headerText", native_header_text, none},
        {"ip", native_ip, none},
        {"meta", native_meta, field},
        {"now", native_now, one},
    };
    for (size_t i = 0; i < sizeof natives / sizeof *natives; i++)
        jsonnet_native_callback(worker->vm, natives[i].name, natives[i].callback, worker, natives[i].parameters);
}
