#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "gateway/templates/worker_parts.h"
#include "mapping/template_lexer.h"

enum {
    HEAD_LINES = 1,      /* above the templates' text */
    ITEM_HEAD_LINES = 1, /* above each template of the program */
    ITEM_TAIL_LINES = 1, /* below it */
};

#define PARAMETERS "std, Body, BodyStr, Header, HeaderStr, Ip, Meta, Now"
#define ARGUMENTS "safe, Body, BodyStr, Header, HeaderStr, Ip, Meta, Now"

/* -- documents and program -- */

static char *give(Worker *worker, Span text) {
    char *copy = jsonnet_realloc(worker->vm, NULL, text.size + 1);
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

/* The one document is the template that is checked alone. */
char *worker_import(void *context, const char *base, const char *path, char **ret_found, int *ret_ok) {
    Worker *worker = context;
    size_t prefix = strlen(worker->name);
    check(prefix == sizeof worker->name - 1);
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

/* The templates as text, each in brackets of its own: each was accepted as a document of its own,
 * and its brackets were counted when it was loaded. Above everything else of the program, under a
 * name that nobody can guess: so they see nothing of it. */
void worker_put_templates(const Worker *worker, Buffer *program) {
    check(worker->load.count > 0);
    buffer_printf(program, "local t%.31s = function(" PARAMETERS ") [\n", worker->name);
    for (uint32_t i = 0; i < worker->load.count; i++) {
        buffer_append_text(program, "function() (\n");
        buffer_append_span(program, worker->load.texts[i]);
        buffer_append_text(program, "\n),\n");
    }
    buffer_append_text(program, "];\n");
}

/* A default that is left out is `absent`, an object with a field of a name that nobody can guess:
 * `tailstrict` evaluates defaults, too, so to evaluate one must not yet mean that it was needed. */
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
                       "Meta = std.native('meta'),\n"
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

void worker_put_program(const Worker *worker, Buffer *program) {
    worker_put_templates(worker, program);
    put_wrapper(worker, program);
    /* Tail calls keep memory flat over any number of events: a comprehension over them would grow.
     * '' + makes text as std.toString does, for a fifth of the instructions. */
    buffer_printf(program,
                  "local templates = t%.31s(" ARGUMENTS ");\n"
                  "local run(k) = run(step('' + [templates[k]()])) tailstrict;\n"
                  "if std.foldl(function(all, f) all && std.isFunction(f), templates, true) then run(first())\n",
                  worker->name);
}

/* -- places -- */

/* Of the template that is being checked, the head is all that is around it. */
static unsigned lines_above_each(const Worker *worker) {
    return worker->load.check_only ? 0 : ITEM_HEAD_LINES;
}

/* Puts "line 3, column 1: ", as the template's author counts; nothing for a place that is in no
 * template's own text. */
void worker_put_place(const Worker *worker, const TemplatePlace *place, Buffer *out) {
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
unsigned worker_last_line(const Worker *worker) {
    unsigned line = HEAD_LINES;
    for (uint32_t i = 0; i < worker->load.count; i++)
        line += ITEM_HEAD_LINES + template_line_count(worker->load.texts[i]) + ITEM_TAIL_LINES;
    return line;
}

/* -- errors as people read them -- */

Span worker_first_line(Span text) {
    const char *end = text.size ? memchr(text.data, '\n', text.size) : NULL;
    return end ? (Span){text.data, (size_t)(end - text.data)} : text;
}

static bool take_prefix(Span *text, Span prefix) {
    if (text->size < prefix.size || memcmp(text->data, prefix.data, prefix.size) != 0) return false;
    *text = (Span){text->data + prefix.size, text->size - prefix.size};
    return true;
}

/* "STATIC ERROR: NAME0:4:1-4: Unknown variable: bar" -> "line 3, column 1: Unknown variable:
 * bar" */
void worker_describe(const Worker *worker, const char *message, Buffer *out) {
    Span text = worker_first_line(span_of(message));
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
    worker_put_place(worker, &place, out);
    buffer_append(out, colon + 2, (size_t)(rest.data + rest.size - colon) - 2);
}
