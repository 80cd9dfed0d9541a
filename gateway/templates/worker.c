/*
 * sluice-template-worker: evaluates the Jsonnet templates of one source for the gateway's template broker. Started by it with one socket and
 * nothing else; not for people.
 *
 * libjsonnet parses its standard library anew for every evaluation, so there is only one: a program that pulls events and pushes results
 * through native functions, for ever. The process is forked (zygote.h) inside the first of these calls, when all is loaded.
 *
 * Templates must not reach these natives, files or the environment: they stand in a function above all that the program defines, which gets `std` as
 * a parameter, without the functions that lead out; imports are refused; the process has no files, no privileges and little memory. They are part of
 * the program, since each import costs a parse of the standard library: half of the start, and 3.5 MB.
 */
#include <errno.h>
#include <fcntl.h>
#include <libjsonnet.h>
#include <libjsonnet_fmt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "gateway/templates/lexer.h"
#include "gateway/templates/throw.h"
#include "gateway/templates/view.h"
#include "gateway/templates/zygote.h"
#include "mapping/json_text.h"
#include "mapping/words.h"

typedef struct JsonnetJsonValue Value;

enum {
    CHECK_CPU_SECONDS = 3,    /* of the check of one text, usually 50 ms: some texts take libjsonnet minutes to read */
    TOGETHER_CPU_SECONDS = 1, /* of many texts at once: what takes longer is checked one by one */
    STACK_BYTES = 8 << 20,
    FILES_MAX = 16,
    GC_OBJECTS_MIN = 10000, /* a new process copies each page that a collection marks: seldom, and a few MB of garbage */
    HEAD_LINES = 1,         /* above the templates' text */
    ITEM_HEAD_LINES = 1,    /* above each template of the program */
    ITEM_TAIL_LINES = 1,    /* below it */
};

#define PARAMETERS "std, Body, BodyStr, Header, HeaderStr, Ip, Now"
#define ARGUMENTS "safe, Body, BodyStr, Header, HeaderStr, Ip, Now"

typedef struct Worker {
    struct JsonnetVm *vm;
    Zygote *zygote;
    TemplateView *view;
    TemplateLoad load;
    char name[33]; /* of the document that holds the templates, followed by a 0: nobody can guess it */
    bool running;  /* in the evaluating process */

    const TemplateEventMessage *event;
    uint32_t template_index;
    Buffer failure; /* why the template's result must not count; empty: it counts */
    Buffer text;    /* scratch */
    Span found;     /* JSON that hasBody found last; no data: there is none */
} Worker;

/* -- values -- */

static Value *make_null(Worker *worker) {
    return jsonnet_json_make_null(worker->vm);
}

/* The first failure stands. Natives go on with null, since an error would end the evaluation, and a new process costs far more. */
static void note(Worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(Worker *worker, const char *format, ...) {
    if (worker->failure.size > 0) return;
    char text[TEMPLATE_REASON_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buffer_append_text(&worker->failure, text);
}

static Value *refuse_call(Worker *worker, int *ok, const char *text) {
    *ok = 0;
    return jsonnet_json_make_string(worker->vm, text);
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
    buffer_clear(&worker->text);
    if (json_unescape(&worker->text, (Span){start + 1, (size_t)(stop - start) - 2})) {
        note(worker, "the body holds half a surrogate pair");
        return false;
    }
    if (worker->text.size > 0 && memchr(worker->text.data, 0, worker->text.size)) {
        note(worker, "the body holds \\u0000, which a template cannot take");
        return false;
    }
    return true;
}

static Value *make_number(Worker *worker, const char *start, const char *stop) {
    char small[64], *copy = small;
    size_t size = (size_t)(stop - start);
    if (size >= sizeof small) copy = malloc(size + 1);
    check(copy);
    memcpy(copy, start, size);
    copy[size] = '\0';
    double number = strtod(copy, NULL);
    if (copy != small) free(copy);
    if (isfinite(number)) return jsonnet_json_make_number(worker->vm, number);
    note(worker, "the body holds a number that is too large for a template");
    return make_null(worker);
}

static Value *make_value(Worker *worker, const char **cursor, const char *end);

static Value *make_array(Worker *worker, const char **cursor, const char *end) {
    Value *array = jsonnet_json_make_array(worker->vm);
    const char *at = skip_space(*cursor + 1, end);
    while (at < end && *at != ']') {
        jsonnet_json_array_append(worker->vm, array, make_value(worker, &at, end));
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

/* Of equal keys the first counts, but libjsonnet keeps the last that it is given: it gets them from behind. */
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
        field.value = make_value(worker, &at, end);
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

/* From text that the scanner accepted: no deeper than SCAN_DEPTH_MAX. */
static Value *make_value(Worker *worker, const char **cursor, const char *end) {
    const char *at = *cursor, *stop = at;
    if (at >= end) return make_null(worker);
    switch (*at) {
    case '{': return make_object(worker, cursor, end);
    case '[': return make_array(worker, cursor, end);
    case '"':
        stop = skip_string(at, end);
        *cursor = stop;
        return unescape(worker, at, stop) ? jsonnet_json_make_string(worker->vm, buffer_text(&worker->text)) : make_null(worker);
    case 't':
    case 'f':
    case 'n': *cursor = at + (*at == 'f' ? 5 : 4); return *at == 'n' ? make_null(worker) : jsonnet_json_make_bool(worker->vm, *at == 't');
    default:
        while (stop < end && (text_is_digit(*stop) || *stop == '-' || *stop == '+' || *stop == '.' || *stop == 'e' || *stop == 'E')) stop++;
        *cursor = stop > at ? stop : end;
        return make_number(worker, at, stop);
    }
}

/* -- natives that templates use, through the wrapper program -- */

typedef const Value *const *Arguments;

static const char *text_argument(Worker *worker, Arguments arguments) {
    return jsonnet_json_extract_string(worker->vm, arguments[0]);
}

/* True: worker->found is the value, without data when the body has no fields at all: that is noted, and no default may hide it. */
static bool find_body(Worker *worker, Span path) {
    worker->found = (Span){0};
    buffer_clear(&worker->text);
    int r = template_view_find(worker->view, path, &worker->found, &worker->text);
    if (r != VIEW_FAILED) return r == 0;
    note(worker, "Body(%.*s): %s", (int)(path.size < 64 ? path.size : 64), path.data, buffer_text(&worker->text));
    return true;
}

static Value *native_has_body(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    const char *path = text_argument(worker, arguments);
    if (!path) return refuse_call(worker, ok, "Body(path): the path is a string");
    *ok = 1;
    return jsonnet_json_make_bool(worker->vm, find_body(worker, span_of(path)));
}

/* Directly behind native_has_body that said true: nothing is evaluated in between. */
static Value *native_found_body(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    *ok = 1;
    if (!worker->found.data) return make_null(worker);
    const char *at = worker->found.data;
    return make_value(worker, &at, at + worker->found.size);
}

static Value *native_miss_body(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    const char *path = text_argument(worker, arguments);
    note(worker, "no value at %.200s and no default", path ? path : "that path");
    *ok = 1;
    return make_null(worker);
}

static Value *native_body_text(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    Span body = worker->event->body;
    *ok = 1;
    if (text_check(body) < body.size) {
        note(worker, "BodyStr(): the body is not UTF-8 text at byte %zu", text_check(body));
        return make_null(worker);
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

static Value *native_has_header(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    const char *name = text_argument(worker, arguments);
    if (!name) return refuse_call(worker, ok, "Header(name): the name is a string");
    *ok = 1;
    Span value;
    return jsonnet_json_make_bool(worker->vm, !*name || template_view_header(worker->view, span_of(name), &value));
}

/* The empty name: all of them. */
static Value *native_get_header(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    const char *name = text_argument(worker, arguments);
    *ok = 1;
    Span json = template_view_headers(worker->view);
    if (name && *name && !template_view_header(worker->view, span_of(name), &json)) return make_null(worker);
    const char *at = json.data;
    return make_value(worker, &at, at + json.size);
}

static Value *native_miss_header(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    const char *name = text_argument(worker, arguments);
    note(worker, "no header %.200s and no default", name ? name : "of that name");
    *ok = 1;
    return make_null(worker);
}

static Value *native_header_text(void *context, Arguments arguments, int *ok) {
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

static Value *native_ip(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    *ok = 1;
    return make_text(worker, worker->event->ip);
}

static Value *native_now(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    const char *format = text_argument(worker, arguments);
    if (!format) return refuse_call(worker, ok, "Now(format): the format is a string");
    *ok = 1;
    buffer_clear(&worker->text);
    if (!template_view_now(worker->view, format, &worker->text)) {
        note(worker, "Now(format): the text is longer than %d bytes", VIEW_NOW_BYTES_MAX);
        return make_null(worker);
    }
    return jsonnet_json_make_string(worker->vm, buffer_text(&worker->text));
}

static Span first_line(Span text) {
    const char *end = text.size ? memchr(text.data, '\n', text.size) : NULL;
    return end ? (Span){text.data, (size_t)(end - text.data)} : text;
}

/* -- documents -- */

/* Of the template that is being checked, the head is all that is around it. */
static unsigned lines_above_each(const Worker *worker) {
    return worker->load.check_only ? 0 : ITEM_HEAD_LINES;
}

/* Puts "line 3, column 1: ", as the template's author counts; nothing for a place that is in no template's own text. */
static void put_place(const Worker *worker, const TemplatePlace *place, Buffer *out) {
    unsigned above = HEAD_LINES;
    for (uint32_t i = 0; i < worker->load.count; i++) {
        Span text = worker->load.texts[i];
        unsigned lines = template_line_count(text);
        above += lines_above_each(worker);
        if (place->line <= above) return;
        if (place->line <= above + lines) {
            unsigned line = place->line - above, column = place->column;
            template_place(text, &line, &column);
            buffer_printf(out, "line %u, column %u: ", line, column);
            return;
        }
        above += lines + ITEM_TAIL_LINES;
    }
}

/* Of the templates in the program; what is below is the wrapper's. */
static unsigned last_line(const Worker *worker) {
    unsigned line = HEAD_LINES;
    for (uint32_t i = 0; i < worker->load.count; i++)
        line += ITEM_HEAD_LINES + template_line_count(worker->load.texts[i]) + ITEM_TAIL_LINES;
    return line;
}

/* -- the loop: natives that only the wrapper program knows -- */

static Value *begin_template(Worker *worker, uint32_t template_index) {
    worker->template_index = template_index;
    zygote_begin_template(worker->zygote, template_index);
    buffer_clear(&worker->failure);
    return jsonnet_json_make_number(worker->vm, template_index);
}

static Value *begin_event(Worker *worker) {
    worker->event = zygote_next_event(worker->zygote);
    if (worker->event->first_template >= worker->load.count) _exit(2);
    template_view_set(worker->view, worker->event);
    return begin_template(worker, worker->event->first_template);
}

/* A noted failure is why there was a null where the template did not expect one. */
static _Noreturn void give_up(const Worker *worker, Span message) {
    zygote_give_up(worker->zygote, worker->failure.size > 0 ? buffer_span(&worker->failure) : message);
}

static void on_error(void *context, Span message, const TemplatePlace *place) {
    const Worker *worker = context;
    Buffer reason = {0};
    if (place) put_place(worker, place, &reason);
    buffer_append_span(&reason, first_line(message));
    give_up(worker, buffer_span(&reason));
}

/* Everything is loaded: from here on this is the zygote, and this function returns in each evaluating process. */
static Value *native_first(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    *ok = 1;
    zygote_run(worker->zygote);
    worker->running = true;
    template_throw_watch(span_of(worker->name), last_line(worker), on_error, worker);
    return begin_event(worker);
}

/* Takes the JSON text of [result], gives the number of the template to evaluate next. */
static Value *native_step(void *context, Arguments arguments, int *ok) {
    Worker *worker = context;
    Span text = span_of(text_argument(worker, arguments));
    *ok = 1;
    buffer_clear(&worker->text);
    if (worker->failure.size == 0) {
        check(text.size >= 2);
        json_compact(&worker->text, (Span){text.data + 1, text.size - 2});
        if (worker->text.size > TEMPLATE_RESULT_BYTES_MAX) note(worker, "the result is larger than %d bytes", TEMPLATE_RESULT_BYTES_MAX);
    }
    bool failed = worker->failure.size > 0;
    zygote_put_result(worker->zygote, failed, buffer_span(failed ? &worker->failure : &worker->text));
    if (worker->text.capacity > 1 << 20) buffer_deinit(&worker->text);
    if (worker->template_index + 1 < worker->load.count) return begin_template(worker, worker->template_index + 1);
    return begin_event(worker);
}

static void add_natives(Worker *worker) {
    static const char *const none[] = {NULL};
    static const char *const one[] = {"value", NULL};
    static const struct {
        const char *name;
        JsonnetNativeCallback *callback;
        const char *const *parameters;
    } natives[] = {
        {"first", native_first, none},
        {"step", native_step, one},
        {"hasBody", native_has_body, one},
        {"foundBody", native_found_body, none},
        {"missBody", native_miss_body, one},
        {"bodyText", native_body_text, none},
        {"hasHeader", native_has_header, one},
        {"getHeader", native_get_header, one},
        {"missHeader", native_miss_header, one},
        {"headerText", native_header_text, none},
        {"ip", native_ip, none},
        {"now", native_now, one},
    };
    for (size_t i = 0; i < sizeof natives / sizeof *natives; i++)
        jsonnet_native_callback(worker->vm, natives[i].name, natives[i].callback, worker, natives[i].parameters);
}

/* -- documents and program -- */

static char *give(Worker *worker, Span text) {
    char *copy = jsonnet_realloc(worker->vm, NULL, text.size + 1);
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

/* The one document is the template that is checked alone. */
static char *import(void *context, const char *base, const char *path, char **ret_found, int *ret_ok) {
    Worker *worker = context;
    size_t prefix = strlen(worker->name);
    if (!worker->load.check_only || worker->load.count != 1 || strncmp(path, worker->name, prefix) != 0) {
        *ret_ok = 0;
        return give(worker, SPAN("import is not allowed in a template"));
    }
    Buffer text = {0};
    buffer_append_text(&text, "function(" PARAMETERS ") function()\n");
    buffer_append_span(&text, worker->load.texts[0]);
    char *result = give(worker, buffer_span(&text));
    buffer_deinit(&text);
    *ret_found = give(worker, span_of(path));
    *ret_ok = 1;
    return result;
}

/* The templates as text, each in brackets of its own: each was accepted as a document of its own, and its brackets were counted when it was loaded. Above
 * everything else of the program, under a name that nobody can guess: so they see nothing of it. */
static void put_templates(const Worker *worker, Buffer *program) {
    buffer_printf(program, "local t%.31s = function(" PARAMETERS ") [\n", worker->name);
    for (uint32_t i = 0; i < worker->load.count; i++) {
        buffer_append_text(program, "function() (\n");
        buffer_append_span(program, worker->load.texts[i]);
        buffer_append_text(program, "\n),\n");
    }
    buffer_append_text(program, "];\n");
}

/* A default that is left out is `absent`, an object with a field of a name that nobody can guess: `tailstrict` evaluates defaults, too, so
 * to evaluate one must not yet mean that it was needed. */
static void put_wrapper(const Worker *worker, Buffer *program) {
    buffer_printf(program,
                  "local absent = { '%s':: 0 },\n"
                  "isAbsent(x) = std.primitiveEquals(std.type(x), 'object') && std.objectHasAll(x, '%s'),\n",
                  worker->name, worker->name);
    buffer_append_text(program,
                       "first = std.native('first'), step = std.native('step'),\n"
                       "hasBody = std.native('hasBody'), foundBody = std.native('foundBody'), missBody = std.native('missBody'),\n"
                       "hasHeader = std.native('hasHeader'), getHeader = std.native('getHeader'), missHeader = std.native('missHeader'),\n"
                       "now = std.native('now'),\n"
                       "BodyStr = std.native('bodyText'), HeaderStr = std.native('headerText'), Ip = std.native('ip'),\n"
                       "Body(path='.', default=absent) =\n"
                       "  if hasBody(path) then foundBody() else if isAbsent(default) then missBody(path) else default,\n"
                       "Header(name='', default=absent) =\n"
                       "  if hasHeader(name) then getHeader(name) else if isAbsent(default) then missHeader(name) else default,\n"
                       "Now(format='%Y-%m-%dT%H:%M:%S.%fZ') = now(format),\n"
                       "safe = std {\n"
                       "  thisFile:: 'wrapper',\n"
                       "  native:: function(name) error 'std.native is not allowed in a template',\n"
                       "  extVar:: function(x) error 'std.extVar is not allowed in a template',\n"
                       "  trace:: function(str, rest) error 'std.trace is not allowed in a template',\n"
                       "};\n");
}

static void put_program(const Worker *worker, Buffer *program) {
    put_templates(worker, program);
    put_wrapper(worker, program);
    /* Tail calls keep memory flat over any number of events: a comprehension over them would grow. '' + makes text as std.toString does, for a fifth
     * of the instructions. */
    buffer_printf(program,
                  "local templates = t%.31s(" ARGUMENTS ");\n"
                  "local run(k) = run(step('' + [templates[k]()])) tailstrict;\n"
                  "if std.foldl(function(all, f) all && std.isFunction(f), templates, true) then run(first())\n",
                  worker->name);
}

/* -- errors as people read them -- */

static bool take_prefix(Span *text, Span prefix) {
    if (text->size < prefix.size || memcmp(text->data, prefix.data, prefix.size) != 0) return false;
    *text = (Span){text->data + prefix.size, text->size - prefix.size};
    return true;
}

/* "STATIC ERROR: NAME0:4:1-4: Unknown variable: bar" -> "line 3, column 1: Unknown variable: bar" */
static void describe(const Worker *worker, const char *message, Buffer *out) {
    Span text = first_line(span_of(message));
    if (!take_prefix(&text, SPAN("RUNTIME ERROR: "))) (void)take_prefix(&text, SPAN("STATIC ERROR: "));
    Span rest = text;
    char copy[64];
    if (!take_prefix(&rest, span_of(worker->name))) {
        buffer_append_span(out, text);
        return;
    }
    size_t size = rest.size < sizeof copy - 1 ? rest.size : sizeof copy - 1;
    memcpy(copy, rest.data, size);
    copy[size] = '\0';
    /* 0:4:1-4 within a line, 0:(4:1)-(5:3) over several. */
    TemplatePlace place;
    const char *colon = memmem(rest.data, rest.size, ": ", 2);
    if (!colon || (sscanf(copy, "%u:%u:%u", &place.document, &place.line, &place.column) != 3 &&
                   sscanf(copy, "%u:(%u:%u)", &place.document, &place.line, &place.column) != 3)) {
        buffer_append_span(out, text);
        return;
    }
    put_place(worker, &place, out);
    buffer_append(out, colon + 2, (size_t)(rest.data + rest.size - colon) - 2);
}

static _Noreturn void refuse_load(Span reason) {
    Buffer frame = {0};
    template_put_refused(&frame, reason);
    zygote_send(&frame);
    _exit(0);
}

static char *evaluate(Worker *worker, const char *name, Buffer *program, int *ret_failed) {
    return jsonnet_evaluate_snippet(worker->vm, name, buffer_text(program), ret_failed);
}

/* -- is this template well-formed? -- */

typedef struct StdNames {
    Buffer names; /* of Span */
    bool bound_anew;
} StdNames;

static void collect(void *context, Span name) {
    StdNames *names = context;
    if (!name.data) names->bound_anew = true;
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] != '_' && !(name.data[i] >= '0' && name.data[i] <= '9') &&
            !((name.data[i] | 32) >= 'a' && (name.data[i] | 32) <= 'z'))
            return;
    if (name.size > 0) buffer_append(&names->names, &name, sizeof name);
}

/* The first name that std does not have, or NULL. The program gives its number, or -1. */
static const Span *find_unknown(Worker *worker, const StdNames *names) {
    size_t count = names->names.size / sizeof(Span);
    const Span *items = (const Span *)(const void *)names->names.data;
    if (count == 0) return NULL;
    Buffer program = {0};
    buffer_append_text(&program, "local names = [");
    for (size_t i = 0; i < count; i++) buffer_printf(&program, "'%.*s',", (int)items[i].size, items[i].data);
    buffer_append_text(&program, "]; std.foldl(function(at, i) if at < 0 && !std.objectHasAll(std, names[i]) then i else at, "
                                 "std.range(0, std.length(names) - 1), -1)");
    int failed;
    const char *answer = evaluate(worker, "wrapper", &program, &failed);
    long at = failed ? -1 : strtol(answer, NULL, 10);
    return at >= 0 && (size_t)at < count ? &items[at] : NULL;
}

static void check_std_names(Worker *worker, const StdNames *names) {
    const Span *unknown = names->bound_anew ? NULL : find_unknown(worker, names);
    if (!unknown) return;
    unsigned line, column;
    template_place_at(worker->load.texts[0], unknown->data, &line, &column);
    Buffer reason = {0};
    buffer_printf(&reason, "line %u, column %u: std has no %.*s", line, column, (int)unknown->size, unknown->data);
    refuse_load(buffer_span(&reason));
}

static _Noreturn void accept_check(void) {
    Buffer frame = {0};
    template_put_child(&frame, &(TemplateChildMessage){.serial = 1});
    zygote_send(&frame);
    _exit(0);
}

static void limit_check(rlim_t seconds) {
    struct rlimit limit = {.rlim_cur = seconds, .rlim_max = seconds + 1};
    if (setrlimit(RLIMIT_CPU, &limit) < 0) _exit(1);
}

/* A document that can be parsed: an import would take 20 ms, for the standard library. */
static bool is_document(Worker *worker, Span text) {
    Buffer copy = {0};
    buffer_append_span(&copy, text);
    int failed;
    char *formatted = jsonnet_fmt_snippet(worker->vm, worker->name, buffer_text(&copy), &failed);
    if (formatted) (void)jsonnet_realloc(worker->vm, formatted, 0);
    buffer_deinit(&copy);
    return !failed;
}

/* Many at once, with one reading of the standard library: says only that all are well-formed, or not all of them. */
static _Noreturn void check_together(Worker *worker) {
    static const Span no = {.data = "not all of them are well-formed", .size = 31};
    limit_check(TOGETHER_CPU_SECONDS);
    StdNames names = {0};
    for (uint32_t i = 0; i < worker->load.count; i++) {
        size_t before = names.names.size;
        Error error = {0};
        names.bound_anew = false;
        if (template_lex(worker->load.texts[i], collect, &names, &error) < 0 || !is_document(worker, worker->load.texts[i]))
            refuse_load(no);
        if (names.bound_anew) names.names.size = before;
    }
    Buffer program = {0};
    put_templates(worker, &program);
    buffer_append_text(&program, "true");
    int failed;
    (void)evaluate(worker, "wrapper", &program, &failed);
    if (failed || find_unknown(worker, &names)) refuse_load(no);
    accept_check();
}

static _Noreturn void check_template(Worker *worker) {
    limit_check(CHECK_CPU_SECONDS);
    StdNames names = {0};
    Error error = {0};
    if (template_lex(worker->load.texts[0], collect, &names, &error) < 0) refuse_load(span_of(error.text));

    Buffer program = {0}, reason = {0};
    buffer_printf(&program, "std.isFunction(import '%s0')", worker->name);
    int failed;
    const char *answer = evaluate(worker, "wrapper", &program, &failed);
    if (failed) {
        describe(worker, answer, &reason);
        refuse_load(buffer_span(&reason));
    }
    check_std_names(worker, &names);
    accept_check();
}

/* -- the process -- */

static void set_limit(int resource, rlim_t most) {
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0) _exit(1);
    if (limit.rlim_max > most) limit.rlim_max = most;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit((__rlimit_resource_t)resource, &limit) < 0) _exit(1);
}

/* Nothing is left but memory, processor time and the one socket. */
static void harden(void) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0) _exit(1);
    if (close_range(ZYGOTE_CONTROL_FD + 1, ~0U, 0) < 0) _exit(1);
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_FSIZE, 0);
    set_limit(RLIMIT_NOFILE, FILES_MAX);
    set_limit(RLIMIT_STACK, STACK_BYTES);
    if (clearenv() != 0 || setenv("TZ", "UTC0", 1) != 0) _exit(1);
    /* A terminal or a service manager sends these to the whole group: the gateway still needs its workers while it drains. */
    const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (signal(ignored[i], SIG_IGN) == SIG_ERR) _exit(1);
}

static void make_name(Worker *worker) {
    unsigned char random[16];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) _exit(1);
    for (size_t i = 0; i < sizeof random; i++) (void)snprintf(worker->name + 2 * i, 3, "%02x", random[i]);
    /* Its end keeps the number of the document apart. */
    worker->name[31] = '-';
}

int main(void) {
    harden();
    Worker worker = {0};
    Buffer input = {0};
    Arena arena = {0};
    if (!zygote_receive_load(&input, &arena, &worker.load)) return 1;
    set_limit(RLIMIT_AS, worker.load.memory_bytes);
    set_limit(RLIMIT_DATA, worker.load.memory_bytes);

    make_name(&worker);
    worker.zygote = zygote_new();
    worker.view = template_view_new();
    worker.vm = jsonnet_make();
    jsonnet_max_stack(worker.vm, worker.load.stack_frames);
    jsonnet_max_trace(worker.vm, 1);
    jsonnet_gc_min_objects(worker.vm, GC_OBJECTS_MIN);
    jsonnet_import_callback(worker.vm, import, &worker);
    add_natives(&worker);
    if (worker.load.check_only && worker.load.count > 1) check_together(&worker);
    if (worker.load.check_only) check_template(&worker);

    for (uint32_t i = 0; i < worker.load.count; i++) {
        Error error = {0};
        if (template_lex(worker.load.texts[i], NULL, NULL, &error) < 0) refuse_load(span_of(error.text));
    }
    Buffer program = {0}, reason = {0};
    put_program(&worker, &program);
    int failed;
    char name[sizeof worker.name + 1];
    (void)snprintf(name, sizeof name, "%s0", worker.name);
    const char *answer = evaluate(&worker, name, &program, &failed);
    describe(&worker, failed ? answer : "the evaluation ended", &reason);
    if (!worker.running) refuse_load(buffer_span(&reason));
    give_up(&worker, buffer_span(&reason));
}
