#include "tests/unit/gateway/control/harness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "gateway/api/router.h"
#include "gateway/delivery/load_job.h"
#include "sinks/driver.h"
#include "storage/catalog.h"
#include "storage/rejects.h"

#define TURNS_MAX 1000

const char *const harness_sink = "{\"name\":\"Orders\",\"table\":{\"connection\":\"local\",\"tableId\":\"orders\",\"mapping\":{\"columns\":"
                                 "[{\"name\":\"id\",\"type\":\"id\"},{\"name\":\"body\",\"type\":\"body\"}]}}}";

/* ---- the clock, and whom loaders_post means -------------------------------------------------- */

static Harness *running;

static usec_t wall(Clock *clock) {
    (void)clock;
    return clock_system()->wall(clock_system()) + running->time_passed + running->wall_jump;
}

static usec_t boot(Clock *clock) {
    (void)clock;
    return clock_system()->boot(clock_system()) + running->time_passed;
}

static Clock test_clock = {.wall = wall, .boot = boot};

/* ---- the loader and the templates ------------------------------------------------------------ */

static LoadJob *waiting_job;
static LoadJob *waiting_tests; /* linked by their messages */

void loaders_post(Loaders *loaders, LoadJob *take_job) {
    (void)loaders;
    if (take_job->request.message.kind == MESSAGE_TEST_CONNECTION) {
        take_job->request.message.next = (Message *)waiting_tests;
        waiting_tests = take_job;
        return;
    }
    assert_null(waiting_job);
    waiting_job = take_job;
}

static void answer_tests(Harness *harness) {
    while (waiting_tests) {
        LoadJob *job = waiting_tests;
        waiting_tests = (LoadJob *)job->request.message.next;
        harness->tested_tables = job->table_count;
        harness->tested_positions = job->test->with_positions;
        harness->tested[0] = 0;
        for (size_t i = 0, used = 0; i < job->table_count; i++)
            used += (size_t)snprintf(harness->tested + used, sizeof harness->tested - used, "%s ", job->tables[i]);
        job->test->fault = harness->fault;
        const char *says = harness->prepare_says ? harness->prepare_says : "";
        if (harness->fault != SINK_SOUND) (void)error_set(&job->request.error, -EIO, "%s", says);
        job->request.result = SINK_DONE;
        request_answer(&job->request);
    }
}

/* Notes what is done, "remove sluice-1-s t ", and that others have set positions since, if
 * `foreign_positions`. */
static void answer_positions(Harness *harness, LoadJob *job) {
    static const char *const deeds[] = {[GROUP_REMOVE] = "remove", [GROUP_COPY] = "copy", [GROUP_GIVE_UP] = "giveUp"};
    size_t used = strlen(harness->positions);
    (void)snprintf(harness->positions + used, sizeof harness->positions - used, "%s %s %s%s%s ", deeds[job->deed], job->group,
                   job->deed == GROUP_COPY ? sink_target_name(&job->copied_from) : "", job->deed == GROUP_COPY ? ">" : "",
                   sink_target_name(&job->target));
    job->request.result = (int)harness->prepare;
    job->changed = harness->foreign_positions ? 0 : 3;
    job->listed_count = harness->foreign_positions ? 2 : 0;
    if (harness->prepare != SINK_DONE) (void)error_set(&job->request.error, -EIO, "%s", harness->prepare_says ? harness->prepare_says : "");
    request_answer(&job->request);
}

/* The path is the name; of variants with their type. */
static void name_columns(Harness *harness, LoadJob *job) {
    harness->namings++;
    job->request.result = (int)harness->naming;
    job->named = calloc(job->wanted_count + 1, sizeof *job->named);
    assert_non_null(job->named);
    for (size_t i = 0; i < job->wanted_count && harness->naming == SINK_DONE && i < job->columns_max; i++) {
        if (harness->nameless && strcmp(job->wanted[i].path, harness->nameless) == 0) continue;
        InferredColumn *column = &job->named[job->named_count++];
        *column = inferred_column_copy(&job->wanted[i]);
        check(asprintf(&column->name, "%.40s%s%s", column->path, column->is_variant ? "__v_" : "",
                       column->is_variant ? data_type_name(column->type) : "") > 0);
    }
    if (harness->naming != SINK_DONE) (void)error_set(&job->request.error, -EIO, "the destination is down");
    request_answer(&job->request);
}

static void run_loader(Harness *harness) {
    if (!harness->loader_stands) answer_tests(harness);
    if (!waiting_job || harness->loader_stands) return;
    LoadJob *job = steal(waiting_job);
    if (job->request.message.kind == MESSAGE_GROUP_POSITIONS) {
        answer_positions(harness, job);
        return;
    }
    if (job->request.message.kind == MESSAGE_COLUMNS) {
        name_columns(harness, job);
        return;
    }
    harness->prepares += !job->inspects;
    harness->inspections += job->inspects;
    bool refused = harness->refused_table && strcmp(harness->refused_table, job->target.table.table_id) == 0;
    job->request.result = (int)(refused ? SINK_REFUSED : harness->prepare);
    job->inspection.creates = !harness->known_table || strcmp(harness->known_table, job->target.table.table_id) != 0;
    if (job->request.result != SINK_DONE)
        (void)error_set(&job->request.error, -EIO, "%s", harness->prepare_says ? harness->prepare_says : "");
    request_answer(&job->request);
}

static TemplateCheck *waiting_checks; /* linked by message.next */

void templates_post_check(Templates *templates, TemplateCheck *take_check) {
    (void)templates;
    take_check->request.message.next = (Message *)waiting_checks;
    waiting_checks = take_check;
}

/* What holds WRONG is wrong; at what holds SLOW the time is over. */
static void run_checks(Harness *harness) {
    while (waiting_checks && !harness->checks_stand) {
        TemplateCheck *asked = waiting_checks;
        waiting_checks = (TemplateCheck *)(void *)asked->request.message.next;
        harness->checked_templates += asked->count;
        while (asked->passed < asked->count && !strstr(asked->texts[asked->passed], "WRONG") &&
               !strstr(asked->texts[asked->passed], "SLOW"))
            asked->passed++;
        if (asked->passed < asked->count && strstr(asked->texts[asked->passed], "SLOW"))
            asked->request.result = error_set(&asked->request.error, -ETIME, "the time of a check was over");
        else if (asked->passed < asked->count)
            asked->request.result = error_set(&asked->request.error, -EINVAL, "line 1, column 7: it is wrong");
        asked->request.message.kind = asked->reply_kind;
        request_answer(&asked->request);
    }
}

/* Every template of every event gives 42. */
static void evaluate(TemplateBatch *take_batch) {
    size_t count = plan_template_count(take_batch->plan);
    for (size_t i = 0; i < take_batch->count; i++) {
        take_batch->events[i].unavailable = false;
        for (size_t k = 0; k < count; k++) take_batch->events[i].results[k] = (TemplateResult){.text = SPAN("42")};
    }
    take_batch->request.message.kind = take_batch->reply_kind;
    request_answer(&take_batch->request);
}

static TemplateBatch *waiting_batches; /* linked by message.next */

void templates_post(Templates *templates, TemplateBatch *take_batch) {
    (void)templates;
    take_batch->request.message.next = (Message *)waiting_batches;
    waiting_batches = take_batch;
}

static void run_templates(Harness *harness) {
    while (waiting_batches && !harness->templates_stand) {
        TemplateBatch *batch = waiting_batches;
        waiting_batches = (TemplateBatch *)(void *)batch->request.message.next;
        evaluate(batch);
    }
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void store(Harness *harness, Define *define) {
    Txn *txn;
    define->request.result = txn_begin_write(harness->environment, &txn, &define->request.error);
    for (size_t i = 0; i < define->change_count && define->request.result == 0; i++) {
        const CatalogChange *change = &define->changes[i];
        define->request.result = change->document.data
                                     ? catalog_put(txn, change->collection, change->key, change->document, &define->request.error)
                                     : catalog_remove(txn, change->collection, change->key, &define->request.error);
    }
    if (define->request.result == 0) {
        define->request.result = txn_commit(txn, &define->request.error);
    } else {
        txn_abort(txn);
    }
    assert_int_equal(define->request.result, 0);
}

static void write_define(Harness *harness, Define *define) {
    bool changes = define->sink_count > 0;
    if (changes && harness->define_result != 0) {
        define->request.result = error_set(&define->request.error, harness->define_result, "the disk is full");
        harness->define_result = 0;
        return;
    }
    store(harness, define);
    harness->defines += changes;
    for (size_t i = 0; i < define->sink_count; i++) {
        assert_in_range(define->sinks[i].sink->number, 1, 63);
        harness->known_versions[define->sinks[i].sink->number] = define->sinks[i].sink->mapping_version;
        harness->last_order = define->sinks[i];
        harness->last_sink_paused = define->sinks[i].sink->paused.at != 0;
        harness->last_source_paused = define->sinks[i].source->paused.at != 0;
        harness->last_sink_deleted = define->sinks[i].sink->deleted != 0;
        if (define->sinks[i].discard) define->discarded_rows += 7;
    }
}

static void run_writer(Harness *harness) {
    if (harness->writer_stands) return;
    for (Message *message = mailbox_take(harness->writer), *next; message; message = next) {
        next = message->next;
        Mailbox *reply = NULL;
        switch (message->kind) {
        case MESSAGE_DEFINE:
            reply = ((Define *)message)->request.reply;
            write_define(harness, (Define *)message);
            break;
        case MESSAGE_CLOSE: {
            Close *close = (Close *)message;
            reply = close->request.reply;
            harness->last_closed = close->sink;
            harness->closes += close->reason == CLOSE_CHANGE;
            harness->flushes += close->reason == CLOSE_FLUSH;
            close->rows = 3;
            break;
        }
        case MESSAGE_TOTALS: {
            TotalsQuery *query = (TotalsQuery *)message;
            reply = query->request.reply;
            for (size_t i = 0; i < query->count; i++) query->statistics[i].totals.imported.rows = query->sinks[i];
            for (size_t i = 0; i < query->connection_count; i++) {
                query->connections[i].failing = harness->connections_fail;
                if (harness->connections_fail) (void)strcpy(query->connections[i].last_error, "nobody there");
            }
            if (query->count > harness->largest_query) harness->largest_query = query->count;
            break;
        }
        case MESSAGE_REJECTS_REMOVE:
            reply = ((RejectsRemove *)message)->request.reply;
            ((RejectsRemove *)message)->removed = 2;
            break;
        default: fail();
        }
        mailbox_post(reply, message);
    }
}

/* ---- the loops ------------------------------------------------------------------------------- */

static void look_at(Harness *harness, Snapshot *snapshot) {
    for (size_t i = 0; i < harness->control->registry.count; i++) {
        SnapshotSource *source = snapshot_find(snapshot, span_of(harness->control->registry.sources[i]->source->source_id));
        for (size_t k = 0; source && source->plan && k < plan_sink_count(source->plan); k++) {
            const Sink *sink = plan_sink(source->plan, k);
            if (harness->known_versions[sink->number] < sink->mapping_version) harness->define_before_snapshot = false;
        }
    }
}

static void run_loops(Harness *harness) {
    if (harness->loops_stand) return;
    for (size_t i = 0; i < HARNESS_LOOPS; i++) {
        for (Message *message = mailbox_take(harness->loops[i]), *next; message; message = next) {
            next = message->next;
            if (message->kind == MESSAGE_DRAIN) {
                harness->drain_until[i] = ((Drain *)message)->until;
                free(message);
                continue;
            }
            assert_int_equal(message->kind, MESSAGE_SNAPSHOT);
            SnapshotNews *news = (SnapshotNews *)message;
            look_at(harness, news->snapshot);
            snapshot_unref(harness->held[i]);
            harness->held[i] = news->snapshot;
            free(news);
        }
    }
}

/* ---- start and end --------------------------------------------------------------------------- */

/* control_begin waits for the writer's first answer. */
static void *answer_first(void *context) {
    Harness *harness = context;
    while (!mailbox_wait(harness->writer, USEC_NEVER)) continue;
    run_writer(harness);
    return NULL;
}

static void show_nothing(SourceRunner *runner, Snapshot *snapshot) {
    (void)runner, (void)snapshot;
}

static size_t drain_nothing(SourceRunner *runner, usec_t until) {
    (void)runner, (void)until;
    return 0;
}

static void load_options(Harness *harness) {
    Error error = {0};
    char *none[] = {NULL}, path[128];
    (void)snprintf(path, sizeof path, "%s/sluice.yaml", harness->directory);
    if (harness->config) {
        FILE *file = fopen(path, "w");
        assert_true(file && fputs(harness->config, file) >= 0 && fclose(file) == 0);
    }
    if (options_load(harness->config ? path : NULL, none, connection_types, &harness->options, &error) < 0) fail_msg("%s", error.text);
}

void harness_start(Harness *harness) {
    Error error = {0};
    running = harness;
    harness->define_before_snapshot = true;
    if (!harness->directory[0]) {
        const char *root = getenv("TMPDIR");
        (void)snprintf(harness->directory, sizeof harness->directory, "%.40s/control-XXXXXX", root ? root : "/tmp");
        assert_non_null(mkdtemp(harness->directory));
    }
    load_options(harness);
    harness->data.path = harness->directory;
    assert_int_equal(files_open(harness->directory, &harness->data.files, &error), 0);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/mdb", harness->directory);
    EnvironmentOptions options = {.path = path, .map_bytes = 64u << 20, .no_sync = true};
    assert_int_equal(environment_open(&options, &harness->environment, &error), 0);

    ControlOptions control = {
        .options = &harness->options,
        .directory = &harness->data,
        .environment = harness->environment,
        .clock = &test_clock,
        .usage = &harness->usage,
        .route = api_route,
    };
    assert_int_equal(control_new(&control, &harness->control, &error), 0);
    harness->writer = mailbox_new(NULL, NULL);
    Thread writer;
    assert_int_equal(thread_start(&writer, "writer", answer_first, harness, &error), 0);
    Snapshot *first;
    assert_int_equal(control_begin(harness->control, harness->writer, &first, &error), 0);
    thread_join(&writer);
    mailbox_pass(harness->writer);
    harness->client = mailbox_new(NULL, NULL);
    for (size_t i = 0; i < HARNESS_LOOPS; i++) {
        harness->loops[i] = mailbox_new(NULL, NULL);
        harness->held[i] = snapshot_ref(first);
    }
    snapshot_unref(first);
    http_runner_init(&harness->http_sources, harness->loops, HARNESS_LOOPS);
    harness->runners[0] = &harness->http_sources.runner;
    for (size_t i = 1; source_kinds[i]; i++) {
        assert_true(i <= sizeof harness->others / sizeof *harness->others);
        harness->others[i - 1] = (SourceRunner){.kind = source_kinds[i], .show = show_nothing, .drain = drain_nothing};
        harness->runners[i] = &harness->others[i - 1];
    }
    ControlPeers peers = {.writer = harness->writer, .runners = harness->runners, .intake_url = "http://127.0.0.1:7000"};
    control_connect(harness->control, &peers);

    char *text;
    size_t size;
    assert_int_equal(files_read_all(harness->data.files, "admin.token", 64, &text, &size, &error), 0);
    (void)snprintf(harness->token, sizeof harness->token, "%.*s", (int)strcspn(text, "\n"), text);
    free(text);
}

void harness_stop(Harness *harness) {
    harness->writer_stands = harness->loops_stand = harness->loader_stands = harness->checks_stand = harness->templates_stand = false;
    run_writer(harness);
    run_loops(harness);
    run_loader(harness);
    run_checks(harness);
    run_templates(harness);
    for (size_t i = 0; i < HARNESS_LOOPS; i++) {
        snapshot_unref(steal(harness->held[i]));
        mailbox_free(harness->loops[i]);
    }
    control_free(harness->control);
    for (ApiCall *call; (call = harness_answer(harness));) api_call_free(call);
    mailbox_free(harness->client);
    mailbox_free(harness->writer);
    environment_close(harness->environment);
    files_free(harness->data.files);
    options_deinit(&harness->options);
}

void harness_remove(Harness *harness) {
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", harness->directory);
    assert_int_equal(system(command), 0);
}

int harness_setup(void **state) {
    Harness *harness = calloc(1, sizeof *harness);
    assert_non_null(harness);
    harness_start(harness);
    *state = harness;
    return 0;
}

int harness_teardown(void **state) {
    Harness *harness = *state;
    assert_true(harness->define_before_snapshot);
    harness_stop(harness);
    harness_remove(harness);
    free(harness);
    return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

void harness_turn(Harness *harness) {
    atomic_store(&harness->usage.running, harness->time_passed); /* as the writer does */
    (void)control_turn(harness->control);
    run_loader(harness);
    run_checks(harness);
    run_templates(harness);
    run_writer(harness);
    run_loops(harness);
}

ApiCall *harness_send(Harness *harness, const char *method, const char *path_and_query, const char *body, usec_t wait) {
    ApiCall *call = calloc(1, sizeof *call);
    assert_non_null(call);
    call->message.kind = MESSAGE_API_CALL;
    call->reply = harness->client;
    const char *mark = strchr(path_and_query, '?');
    call->method = strdup(method);
    call->path = mark ? strndup(path_and_query, (size_t)(mark - path_and_query)) : strdup(path_and_query);
    call->query = strdup(mark ? mark + 1 : "");
    call->token = strdup(harness->token);
    call->if_match = strdup("");
    call->body_type = strdup("application/json");
    call->peer = strdup("127.0.0.1");
    call->wait = wait;
    if (body) buffer_append_text(&call->body, body);
    mailbox_post(harness->control->mailbox, &call->message);
    return call;
}

static Message *answers; /* taken, oldest first */

ApiCall *harness_answer(Harness *harness) {
    if (!answers) answers = mailbox_take(harness->client);
    Message *first = answers;
    if (first) answers = first->next;
    return (ApiCall *)first;
}

static ApiCall *finish(Harness *harness) {
    for (unsigned i = 0; i < TURNS_MAX; i++) {
        harness_turn(harness);
        ApiCall *call = harness_answer(harness);
        if (call) return call;
    }
    fail_msg("no answer");
    return NULL;
}

int harness_call(Harness *harness, const char *method, const char *path_and_query, const char *body, json_t **ret_json) {
    (void)harness_send(harness, method, path_and_query, body, 0);
    ApiCall *call = finish(harness);
    int status = call->status;
    if (ret_json) *ret_json = json_loadb(call->response.data ? call->response.data : "", call->response.size, 0, NULL);
    api_call_free(call);
    return status;
}

const char *harness_task(Harness *harness, const char *method, const char *path_and_query, const char *body, json_t **ret_json) {
    (void)harness_send(harness, method, path_and_query, body, 10 * USEC_SECOND);
    ApiCall *call = finish(harness);
    json_t *json = json_loadb(call->response.data, call->response.size, 0, NULL);
    if (call->status != 202) fail_msg("%s %s: %d %s", method, path_and_query, call->status, buffer_text(&call->response));
    const char *status = json_string_value(json_object_get(json, "status"));
    const char *known = status && strcmp(status, "success") == 0 ? "success" : status && strcmp(status, "error") == 0 ? "error" : "?";
    api_call_free(call);
    if (ret_json) {
        *ret_json = json;
    } else {
        json_decref(json);
    }
    return known;
}
