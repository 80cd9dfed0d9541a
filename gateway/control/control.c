#include "gateway/control/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "gateway/control/change_parts.h"
#include "gateway/control/expiry.h"
#include "gateway/control/left_runs.h"
#include "storage/catalog.h"

#define BEGIN_LONGEST (60 * USEC_SECOND) /* the writer's first answer */
#define LATE_INTERVAL (200 * USEC_MS)
#define PARKED_MAX 64 /* each holds a body of up to 8 MB */

/* ---- start ----------------------------------------------------------------------------------- */

static void wake(void *context) {
    const Control *control = context;
    uint64_t one = 1;
    ssize_t written = write(control->wake_fd, &one, sizeof one);
    check(written == (ssize_t)sizeof one || errno == EAGAIN); /* EAGAIN: it is awake for a long time */
}

int control_new(const ControlOptions *options, Control **ret_control, Error *error) {
    Control *control = calloc(1, sizeof *control);
    check(control);
    control->options = *options;
    control->signal_fd = -1;
    control->view = (ControlView){
        .options = options->options,
        .registry = &control->registry,
        .pauses = &control->pauses,
        .usage = options->usage,
        .clock = options->clock,
        .environment = options->environment,
        .started = options->clock->boot(options->clock),
    };
    control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->wake_fd < 0) {
        int r = error_set(error, -errno, "no event descriptor: %s", strerrordesc_np(errno));
        free(control);
        return r;
    }
    control->mailbox = mailbox_new(wake, control);
    control->tasks = tasks_new(options->clock, options->environment, options->usage);
    control->verdicts = template_verdicts_new();
    int r = tokens_load(&control->tokens, options->environment, error);
    if (r == 0) r = registry_load(&control->registry, options->environment, error);
    if (r == 0) r = mask_keys_load(options->options, &control->mask_keys, error);
    control->registry.mask_keys = control->mask_keys;
    control->registry.files = options->directory->files;
    if (r == 0) r = pauses_load(&control->pauses, options->environment, error);
    if (r < 0) {
        control_free(control);
        return r;
    }
    *ret_control = control;
    return 0;
}

Mailbox *control_mailbox(Control *control) {
    return control->mailbox;
}

void control_connect(Control *control, const ControlPeers *peers) {
    check(!control->view.connected && peers->writer == control->peers.writer && peers->writer);
    source_runners_check(peers->runners);
    control->peers = *peers;
    control->view.intake_url = peers->intake_url;
    control->view.connected = true;
}

/* The first token. Its file is written before the catalog knows it: a crash between leaves a file
 * that the next start replaces, and never a catalog with a token that nobody has. */
static int make_first_token(Control *control, Define *define, Error *error) {
    if (control->tokens.count > 0) return 0;
    char text[TOKEN_CHARACTERS + 2];
    const Token *token = tokens_make(&control->tokens, ROLE_ADMIN, "admin.token", control->options.clock->wall(control->options.clock),
                                     text);
    text[TOKEN_CHARACTERS] = '\n';
    Files *files = control->options.directory->files;
    int r = files_replace(files, TOKEN_FILE, (Span){.data = text, .size = TOKEN_CHARACTERS + 1}, 0600, error);
    if (r < 0) return error_prefix(error, "the first admin token");
    json_t *stored = token_store(token);
    define_put(define, CATALOG_TOKENS, (Span){.data = (const char *)token->hash, .size = TOKEN_HASH_BYTES}, stored);
    json_decref(stored);
    log_info("the first start created an admin token: %s/" TOKEN_FILE, control->options.directory->path);
    return 0;
}

static int compile_all(Control *control, Error *error) {
    for (size_t i = 0; i < control->registry.count; i++) {
        RegistrySource *source = control->registry.sources[i];
        int r = registry_compile(&control->registry, source, NULL, NULL, NULL, 0, &source->shown, error);
        if (r < 0) return error_prefix(error, "source \"%s\"", source->source->source_id);
    }
    return 0;
}

/* Blocks for the one message that the writer owes; nothing else is on its way yet. */
static int wait_for_define(Control *control, Define **ret_define, Error *error) {
    Clock *clock = control->options.clock;
    usec_t deadline = clock->boot(clock) + BEGIN_LONGEST;
    bool found = false;
    for (;;) {
        for (Message *message = mailbox_take(control->mailbox), *next; message; message = next) {
            next = message->next;
            if (message->kind == MESSAGE_DEFINE) {
                *ret_define = (Define *)message;
                found = true;
                continue; /* it may break in the same turn */
            }
            check(message->kind == MESSAGE_BROKEN);
            free(message);
            control->broken = true;
        }
        if (found) return 0;
        usec_t left = deadline - clock->boot(clock);
        if (left <= 0) return error_set(error, -ETIMEDOUT, "the writer does not answer");
        if (control->options.dispatch) {
            control->options.dispatch(control->options.dispatch_context);
            continue;
        }
        struct pollfd wait = {.fd = control->wake_fd, .events = POLLIN};
        (void)poll(&wait, 1, (int)(left / USEC_MS) + 1);
        uint64_t count;
        (void)!read(control->wake_fd, &count, sizeof count);
    }
}

int control_begin(Control *control, Mailbox *writer, Snapshot **ret_first, Error *error) {
    control->peers.writer = writer;
    thread_owner_bind(&control->owner);
    int r = compile_all(control, error);
    if (r < 0) return r;
    Define *define = define_new(control->mailbox, NULL);
    registry_order_all(&control->registry, define);
    pauses_order_all(&control->pauses, define);
    r = make_first_token(control, define, error);
    if (r < 0) {
        define_free(define);
        return r;
    }
    mailbox_post(writer, &define->request.message);
    r = wait_for_define(control, &define, error);
    if (r < 0) return r;
    r = define->request.result;
    if (r < 0) r = error_set(error, r, "the writer cannot store a change: %s", define->request.error.text);
    define_free(define);
    if (r < 0) return r;
    control_publish(control);
    *ret_first = snapshot_ref(control->current);
    return 0;
}

/* ---- pending_requests and snapshots ---------------------------------------------------------- */

void pending_request_begin(Control *control, PendingRequest *pending) {
    check_on_thread(&control->owner);
    check(pending->back && !pending->link);
    pending->next = control->pending_requests;
    pending->link = &control->pending_requests;
    if (pending->next) pending->next->link = &pending->next;
    control->pending_requests = pending;
}

void *pending_request_new(size_t bytes, void (*back)(Control *control, PendingRequest *pending, Message *take_message),
                          void (*drop)(PendingRequest *pending), ApiCall *take_call) {
    check(bytes >= sizeof(PendingRequest) && back);
    PendingRequest *pending = calloc(1, bytes);
    check(pending);
    pending->back = back;
    pending->drop = drop;
    pending->call = take_call;
    return pending;
}

void pending_request_end(PendingRequest *pending) {
    if (pending->link) {
        check(*pending->link == pending);
        *pending->link = pending->next;
        if (pending->next) pending->next->link = pending->link;
    }
    if (pending->drop) pending->drop(pending);
    api_call_free(pending->call);
    free(pending);
}

/* It may be on its way already: then it asks once more. */
static void go(Control *control, PendingRequest *pending, Request *request) {
    check_on_thread(&control->owner);
    check(control->view.connected && (!request->context || request->context == pending));
    if (!pending->link) pending_request_begin(control, pending);
    request->reply = control->mailbox;
    request->context = pending;
}

void control_ask_writer(Control *control, PendingRequest *pending, Request *take_request) {
    go(control, pending, take_request);
    mailbox_post(control->peers.writer, &take_request->message);
}

void control_ask_loaders(Control *control, PendingRequest *pending, LoadJob *take_job) {
    go(control, pending, &take_job->request);
    loaders_post(control->peers.loaders, take_job);
}

bool control_ask_finder(Control *control, PendingRequest *pending, Request *take_request) {
    if (!control->peers.finder) return false;
    go(control, pending, take_request);
    mailbox_post(control->peers.finder, &take_request->message);
    return true;
}

void control_ask_templates(Control *control, PendingRequest *pending, TemplateBatch *take_batch) {
    go(control, pending, &take_batch->request);
    templates_post(control->peers.templates, take_batch);
}

size_t control_pending_requests(const Control *control, void (*back)(Control *control, PendingRequest *pending, Message *take_message)) {
    size_t count = 0;
    for (const PendingRequest *pending = control->pending_requests; pending; pending = pending->next) count += pending->back == back;
    return count;
}

bool control_lent_statistics(const Control *control, TotalsQuery *query) {
    return control->peers.lender && writer_lent_statistics(control->peers.lender, query);
}

const ControlView *control_view(const Control *control) {
    check_on_thread(&control->owner);
    return &control->view;
}

const Token *control_find_token(const Control *control, Span text) {
    return text.size > 0 ? tokens_find(&control->tokens, text) : NULL;
}

void control_publish(Control *control) {
    check_on_thread(&control->owner);
    Snapshot *next = registry_snapshot(&control->registry, ++control->generation, control->mailbox);
    array_reserve(control->living, control->living_count, control->living_room);
    control->living[control->living_count++] = control->generation;
    for (size_t i = 0; control->view.connected && control->peers.runners[i]; i++) {
        SourceRunner *runner = control->peers.runners[i];
        runner->show(runner, next);
    }
    check(!control->current || snapshot_generation(control->current) + 1 == control->generation);
    snapshot_unref(control->current);
    control->current = next;
}

bool control_fenced(const Control *control, uint64_t generation) {
    check(generation > 0 && generation <= control->generation && control->living_count > 0);
    for (size_t i = 0; i < control->living_count; i++)
        if (control->living[i] < generation) return false;
    return true;
}

static void snapshot_gone(Control *control, SnapshotGone *take_message) {
    check(take_message->generation < control->generation); /* control holds the current one */
    for (size_t i = 0; i < control->living_count; i++) {
        if (control->living[i] != take_message->generation) continue;
        control->living[i] = control->living[--control->living_count];
        snapshot_gone_free(take_message);
        return;
    }
    unreachable();
}

/* ---- tasks ----------------------------------------------------------------------------------- */

typedef struct Storing {
    PendingRequest pending; /* first */
    Task *task;             /* NULL: it goes on */
} Storing;

static void storing_back(Control *control, PendingRequest *pending, Message *take_message) {
    Storing *storing = (Storing *)pending;
    Define *define = (Define *)take_message;
    if (define->request.result < 0)
        log_failure(LOG_WARNING, "a task could not be stored; it will be lost at a restart", &define->request.error);
    if (storing->task && define->request.result < 0) {
        tasks_keep(control->tasks, storing->task);
    } else if (storing->task) {
        tasks_left(control->tasks, storing->task);
    }
    pending_request_end(pending);
    define_free(define);
}

static void store_task(Control *control, const Task *task, Task *ended) {
    Storing *storing = pending_request_new(sizeof *storing, storing_back, NULL, NULL);
    storing->task = ended;
    pending_request_begin(control, &storing->pending);
    Define *define = define_new(control->mailbox, storing);
    tasks_store(control->tasks, task, task->status, task->text, define);
    mailbox_post(control->peers.writer, &define->request.message);
}

void control_note_task(Control *control, const Task *task) {
    check(task->status == TASK_PROCESSING);
    store_task(control, task, NULL);
}

void control_store_task(Control *control, Task *task) {
    check(task->status != TASK_PROCESSING);
    store_task(control, task, task);
}

int control_show_task(Control *control, const char *task_id, const char *source_id, ApiCall *call, Failure *failure) {
    json_t *shown;
    Error error = {0};
    int r = tasks_find(control->tasks, task_id, source_id, &shown, &error);
    if (r < 0) {
        log_failure(LOG_ERROR, "a task cannot be read", &error);
        return failure_set(failure, 500, "internalError", "The task cannot be read.");
    }
    if (r == TASKS_NOT_FOUND) return failure_set(failure, 404, "taskNotFound", "There is no task \"%.60s\".", task_id);
    Task *live = tasks_live(control->tasks, task_id);
    if (!live) {
        api_call_answer(call, 200, shown);
        return 0;
    }
    json_decref(shown);
    tasks_answer(control->tasks, live, call, 200);
    return 0;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Frees a message that nobody waits for any more. */
static void drop_message(Message *message) {
    switch ((MessageKind)message->kind) {
    case MESSAGE_API_CALL: api_call_free((ApiCall *)message); return;
    case MESSAGE_SNAPSHOT_GONE: snapshot_gone_free((SnapshotGone *)message); return;
    case MESSAGE_DISCOVERED: discoveries_unref(discoveries_of(message)); return;
    case MESSAGE_RUN_ANEW:
    case MESSAGE_DRAINED:
    case MESSAGE_BROKEN: free(message); return;
    default: request_drop((Request *)message); /* what control asked for, and what comes back */
    }
}

static void take_discovered(Control *control, Discoveries *take_discoveries) {
    size_t count;
    InferredColumn *columns = discoveries_take(take_discoveries, &count);
    inference_discovered(control, discoveries_sink(take_discoveries), columns, count);
    inferred_columns_free(columns, count);
    discoveries_unref(take_discoveries);
}

static void dispatch(Control *control, Message *message, bool *fence) {
    switch (message->kind) {
    case MESSAGE_API_CALL: control->options.route(control, (ApiCall *)message); return;
    case MESSAGE_SNAPSHOT_GONE:
        snapshot_gone(control, (SnapshotGone *)message);
        *fence = true;
        return;
    case MESSAGE_DISCOVERED: take_discovered(control, discoveries_of(message)); return;
    case MESSAGE_RUN_ANEW: bridge_run_anew(control, (RunAnew *)message); return;
    case MESSAGE_BROKEN:
        free(message);
        control->broken = true;
        return;
    case MESSAGE_DRAINED: {
        bool writer = ((Drained *)message)->who < 0;
        check(!writer || !control->writer_drained);
        check(writer || control->sources_drained < control->source_threads);
        control->writer_drained = control->writer_drained || writer;
        control->sources_drained += !writer;
        free(message);
        return;
    }
    default: {
        PendingRequest *pending = ((Request *)message)->context;
        check(pending && pending->back);
        pending->back(control, pending, message);
    }
    }
}

/* ---- calls that wait for verdicts on templates ----------------------------------------------- */

struct ParkedCall {
    PendingRequest pending; /* first */
    ParkedCall *next, **link;
};

static void parked_drop(PendingRequest *pending) {
    ParkedCall *parked = (ParkedCall *)pending;
    *parked->link = parked->next;
    if (parked->next) parked->next->link = parked->link;
}

/* All verdicts that the call needs are there when it comes again, since nothing is between. */
static void parked_back(Control *control, PendingRequest *pending, Message *take_message) {
    TemplateCheck *asked = (TemplateCheck *)take_message;
    check(asked->passed <= asked->count && (asked->request.result < 0) == (asked->passed < asked->count));
    for (size_t i = 0; i < asked->passed; i++) template_verdicts_set(control->verdicts, asked->texts[i], 0, &(Error){0});
    if (asked->request.result < 0)
        template_verdicts_set(control->verdicts, asked->texts[asked->passed], asked->request.result, &asked->request.error);
    template_check_free(asked);
    ApiCall *call = steal(pending->call); /* NULL: it was answered when the gateway began to shut down */
    pending_request_end(pending);
    check(control->parked_count > 0);
    control->parked_count--;
    if (call) control->options.route(control, call);
}

int control_park(Control *control, ApiCall *call, TemplateCheck *take_check, Failure *failure) {
    check_on_thread(&control->owner);
    check(take_check->count > 0 && take_check->passed == 0 && !control->view.draining);
    if (control->parked_count >= PARKED_MAX) {
        template_check_free(take_check);
        (void)failure_set(failure, 503, "overloaded", "%zu calls are waiting for the check of their templates already: try again later.",
                          control->parked_count);
        failure->retry_after = 5;
        return -1;
    }
    ParkedCall *parked = pending_request_new(sizeof *parked, parked_back, parked_drop, call);
    parked->next = control->parked;
    parked->link = &control->parked;
    if (parked->next) parked->next->link = &parked->next;
    control->parked = parked;
    control->parked_count++;
    pending_request_begin(control, &parked->pending);
    take_check->request.context = &parked->pending;
    templates_post_check(control->peers.templates, take_check);
    return 0;
}

/* While the gateway shuts down they are answered with that. */
static void answer_parked(Control *control) {
    check(control->view.draining);
    for (ParkedCall *parked = control->parked; parked; parked = parked->next)
        if (parked->pending.call) control->options.route(control, steal(parked->pending.call));
}

/* ---- turns ----------------------------------------------------------------------------------- */

bool control_is_stalled(const Control *control) {
    return usage_is_stalled(control->options.usage, control->options.clock->boot(control->options.clock));
}

/* Calls wait for the writer no longer than its disk may hang. Returns when to look again. */
static usec_t mind_late(Control *control) {
    bool stalled = control_is_stalled(control), any = false;
    for (PendingRequest *pending = control->pending_requests; pending; pending = pending->next) {
        if (!pending->late) continue;
        any = true;
        if (stalled) pending->late(control, pending);
    }
    return any ? LATE_INTERVAL : USEC_NEVER;
}

/* Returns when to look again. */
static usec_t mind_overdue(Control *control) {
    usec_t now = control->options.clock->boot(control->options.clock), next = USEC_NEVER;
    for (PendingRequest *pending = control->pending_requests; pending; pending = pending->next) {
        if (pending->due == 0) continue;
        if (now >= pending->due) {
            pending->due = 0;
            pending->overdue(control, pending);
        }
        if (pending->due > now && pending->due - now < next) next = pending->due - now;
    }
    return next;
}

usec_t control_turn(Control *control) {
    check_on_thread(&control->owner);
    Message *message = mailbox_take(control->mailbox);
    bool fence = false;
    while (message) {
        Message *next = message->next;
        dispatch(control, message, &fence);
        message = next;
    }
    if (fence) changes_fence(control);
    usec_t look_again = mind_late(control), overdue = mind_overdue(control);
    if (overdue < look_again) look_again = overdue;
    size_t parked = 0;
    for (const ParkedCall *at = control->parked; at; at = at->next) parked++;
    check(parked == control->parked_count && parked <= PARKED_MAX);

    usec_t now = control->options.clock->boot(control->options.clock), next = tasks_step(control->tasks);
    if (control->view.connected && !control->view.draining && now >= control->next_expiry) {
        expire(control);
        left_runs_step(control);
        control->next_expiry = now + EXPIRY_INTERVAL;
    }
    usec_t until_expiry = control->view.draining ? USEC_NEVER : control->next_expiry > now ? control->next_expiry - now : 0;
    if (look_again < next) next = look_again;
    return next < until_expiry ? next : until_expiry;
}

/* ---- running --------------------------------------------------------------------------------- */

void control_setup_log(const Options *options) {
    static const char *const levels[] = {"debug", "info", "warning", "error"}; /* as LogLevel */
    size_t level = 0;
    while (strcmp(options->log_level, levels[level]) != 0) check(++level < sizeof levels / sizeof *levels);
    log_setup((LogLevel)level, strcmp(options->log_format, "json") == 0 ? 1 : strcmp(options->log_format, "text") == 0 ? 2 : 0);
}

static void reload(Control *control) {
    Options fresh;
    Error error = {0};
    if (options_load(control->options.config_file, control->options.arguments, connection_types, &fresh, &error) < 0) {
        log_failure(LOG_ERROR, "the options are not reloaded; the old options stay in effect", &error);
        return;
    }
    _cleanup_(buffer_deinit) Buffer ignored = {0};
    options_reload(control->options.options, &fresh, &ignored);
    options_deinit(&fresh);
    control_setup_log(control->options.options);
    if (ignored.size > 0) {
        log_warning("the options are reloaded; these differ and need a restart: %s", buffer_text(&ignored));
    } else {
        log_info("the options are reloaded");
    }
}

static void take_signals(Control *control) {
    struct signalfd_siginfo signal;
    while (read(control->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGHUP) {
            reload(control);
        } else {
            control->terminated = true;
        }
    }
}

/* Sleeps until a message, a signal, or `timeout` has passed. */
static void sleep_until(Control *control, usec_t timeout) {
    struct pollfd waits[2] = {{.fd = control->wake_fd, .events = POLLIN}, {.fd = control->signal_fd, .events = POLLIN}};
    int ms = timeout > USEC_HOUR ? (int)(USEC_HOUR / USEC_MS) : (int)((timeout + USEC_MS - 1) / USEC_MS);
    (void)poll(waits, control->signal_fd >= 0 ? 2 : 1, ms);
    uint64_t count;
    if (waits[0].revents) (void)!read(control->wake_fd, &count, sizeof count);
    if (control->signal_fd >= 0 && waits[1].revents) take_signals(control);
}

ControlEnd control_run(Control *control) {
    check_on_thread(&control->owner);
    check(control->view.connected && control->current);
    sigset_t taken;
    (void)sigemptyset(&taken);
    (void)sigaddset(&taken, SIGTERM);
    (void)sigaddset(&taken, SIGINT);
    (void)sigaddset(&taken, SIGHUP);
    if (control->signal_fd < 0) control->signal_fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    check(control->signal_fd >= 0);
    while (!control->terminated && !control->broken) {
        usec_t next = control_turn(control);
        if (!control->broken) sleep_until(control, next);
    }
    return control->broken ? CONTROL_BROKEN : CONTROL_TERMINATED;
}

static bool drain(Control *control, size_t threads, bool writer, usec_t deadline) {
    check_on_thread(&control->owner);
    Clock *clock = control->options.clock;
    control->view.draining = true;
    tasks_answer_waiting(control->tasks);
    answer_parked(control);
    for (;;) {
        usec_t next = control_turn(control);
        if (control->sources_drained >= threads && (control->writer_drained || !writer)) return true;
        usec_t left = deadline - clock->boot(clock);
        if (left <= 0 || control->broken) return false;
        sleep_until(control, next < left ? next : left);
    }
}

bool control_drain_sources(Control *control, usec_t until, usec_t deadline) {
    check(control->source_threads == 0);
    for (size_t i = 0; control->peers.runners[i]; i++) {
        SourceRunner *runner = control->peers.runners[i];
        control->source_threads += runner->drain(runner, until);
    }
    return drain(control, control->source_threads, false, deadline);
}

bool control_drain_writer(Control *control, usec_t deadline) {
    return drain(control, 0, true, deadline);
}

void control_free(Control *control) {
    if (!control) return;
    snapshot_unref(control->current);
    registry_deinit(&control->registry);
    for (Message *message = mailbox_take(control->mailbox), *next; message; message = next) {
        next = message->next;
        drop_message(message);
    }
    changes_free(control);
    while (control->pending_requests) pending_request_end(control->pending_requests);
    template_verdicts_free(control->verdicts);
    mailbox_free(control->mailbox);
    tasks_free(control->tasks);
    tokens_deinit(&control->tokens);
    pauses_deinit(&control->pauses);
    mask_keys_free(control->mask_keys);
    if (control->wake_fd >= 0) (void)close(control->wake_fd);
    if (control->signal_fd >= 0) (void)close(control->signal_fd);
    free(control->living);
    free(control);
}
