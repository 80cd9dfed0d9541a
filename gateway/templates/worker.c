/*
 * sluice-template-worker: evaluates the Jsonnet templates of one source for the gateway's template
 * broker. Started by it with one socket and nothing else; not for people.
 *
 * libjsonnet parses its standard library anew for every evaluation, so there is only one: a program
 * that pulls events and pushes results through native functions, for ever. The process is forked
 * (zygote.h) inside the first of these calls, when all is loaded.
 *
 * Templates must not reach these natives, files or the environment: they stand in a function above
 * all that the program defines, which gets `std` as a parameter, without the functions that lead
 * out; imports are refused; the process has no files, no privileges and little memory. They are
 * part of the program, since each import costs a parse of the standard library: half of the start,
 * and 3.5 MB.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "gateway/templates/worker_parts.h"
#include "mapping/json_text.h"
#include "mapping/template_lexer.h"

enum {
    STACK_BYTES = 8 << 20,
    FILES_MAX = 16,
    GC_OBJECTS_MIN = 10000, /* a new process copies each page that a collection marks: seldom, and a few MB of garbage */
};

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
    if (place) worker_put_place(worker, place, &reason);
    buffer_append_span(&reason, worker_first_line(message));
    give_up(worker, buffer_span(&reason));
}

/* Everything is loaded: from here on this is the zygote, and this function returns in each
 * evaluating process. */
static Value *native_first(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    *ok = 1;
    check(!worker->running && !worker->load.check_only);
    zygote_run(worker->zygote);
    worker->running = true;
    template_throw_watch(span_of(worker->name), worker_last_line(worker), on_error, worker);
    return begin_event(worker);
}

/* Takes the JSON text of [result], gives the number of the template to evaluate next. */
static Value *native_step(void *context, NativeArguments arguments, int *ok) {
    Worker *worker = context;
    check(worker->running && worker->event && worker->template_index < worker->load.count);
    Span text = span_of(jsonnet_json_extract_string(worker->vm, arguments[0]));
    *ok = 1;
    buffer_clear(&worker->text);
    if (worker->failure.size == 0) {
        check(text.size >= 2);
        json_compact(&worker->text, (Span){text.data + 1, text.size - 2});
        if (worker->text.size > TEMPLATE_RESULT_BYTES_MAX)
            worker_note(worker, "the result is larger than %d bytes", TEMPLATE_RESULT_BYTES_MAX);
    }
    bool failed = worker->failure.size > 0;
    zygote_put_result(worker->zygote, failed, buffer_span(failed ? &worker->failure : &worker->text));
    if (worker->text.capacity > 1 << 20) buffer_deinit(&worker->text);
    if (worker->template_index + 1 < worker->load.count) return begin_template(worker, worker->template_index + 1);
    return begin_event(worker);
}

static void add_loop(Worker *worker) {
    static const char *const none[] = {NULL};
    static const char *const one[] = {"value", NULL};
    jsonnet_native_callback(worker->vm, "first", native_first, worker, none);
    jsonnet_native_callback(worker->vm, "step", native_step, worker, one);
}

_Noreturn void worker_refuse_load(Span reason) {
    Buffer frame = {0};
    template_put_refused(&frame, reason);
    zygote_send(&frame);
    _exit(0);
}

char *worker_evaluate(Worker *worker, const char *name, Buffer *program, int *ret_failed) {
    return jsonnet_evaluate_snippet(worker->vm, name, buffer_text(program), ret_failed);
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
    /* A terminal or a service manager sends these to the whole group: the gateway still needs its
     * workers while it drains. */
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
    jsonnet_import_callback(worker.vm, worker_import, &worker);
    worker_add_natives(&worker);
    add_loop(&worker);
    if (worker.load.check_only && worker.load.count > 1) worker_check_together(&worker);
    if (worker.load.check_only) worker_check_template(&worker);

    for (uint32_t i = 0; i < worker.load.count; i++) {
        Error error = {0};
        if (template_lex(worker.load.texts[i], NULL, NULL, &error) < 0) worker_refuse_load(span_of(error.text));
    }
    Buffer program = {0}, reason = {0};
    worker_put_program(&worker, &program);
    int failed;
    char name[sizeof worker.name + 1];
    (void)snprintf(name, sizeof name, "%s0", worker.name);
    const char *answer = worker_evaluate(&worker, name, &program, &failed);
    worker_describe(&worker, failed ? answer : "the evaluation ended", &reason);
    if (!worker.running) worker_refuse_load(buffer_span(&reason));
    give_up(&worker, buffer_span(&reason));
}
