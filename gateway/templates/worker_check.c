#include <libjsonnet_fmt.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "gateway/templates/worker_parts.h"
#include "mapping/template_lexer.h"

enum {
    CHECK_CPU_SECONDS = 3,    /* of the check of one text, usually 50 ms: some texts take libjsonnet minutes to read */
    TOGETHER_CPU_SECONDS = 1, /* of many texts at once: what takes longer is checked one by one */
};

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
    const char *answer = worker_evaluate(worker, "wrapper", &program, &failed);
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
    worker_refuse_load(buffer_span(&reason));
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

/* Many at once, with one reading of the standard library: says only that all are well-formed, or
 * not all of them. */
_Noreturn void worker_check_together(Worker *worker) {
    static const Span no = {.data = "not all of them are well-formed", .size = 31};
    check(worker->load.check_only && worker->load.count > 1);
    limit_check(TOGETHER_CPU_SECONDS);
    StdNames names = {0};
    for (uint32_t i = 0; i < worker->load.count; i++) {
        size_t before = names.names.size;
        Error error = {0};
        names.bound_anew = false;
        if (template_lex(worker->load.texts[i], collect, &names, &error) < 0 || !is_document(worker, worker->load.texts[i]))
            worker_refuse_load(no);
        if (names.bound_anew) names.names.size = before;
    }
    Buffer program = {0};
    worker_put_templates(worker, &program);
    buffer_append_text(&program, "true");
    int failed;
    (void)worker_evaluate(worker, "wrapper", &program, &failed);
    if (failed || find_unknown(worker, &names)) worker_refuse_load(no);
    accept_check();
}

_Noreturn void worker_check_template(Worker *worker) {
    check(worker->load.check_only && worker->load.count == 1);
    limit_check(CHECK_CPU_SECONDS);
    StdNames names = {0};
    Error error = {0};
    if (template_lex(worker->load.texts[0], collect, &names, &error) < 0) worker_refuse_load(span_of(error.text));

    Buffer program = {0}, reason = {0};
    buffer_printf(&program, "std.isFunction(import '%s0')", worker->name);
    int failed;
    const char *answer = worker_evaluate(worker, "wrapper", &program, &failed);
    if (failed) {
        worker_describe(worker, answer, &reason);
        worker_refuse_load(buffer_span(&reason));
    }
    check_std_names(worker, &names);
    accept_check();
}
