/* One gateway: a real control, writer, stager and loaders on a real LMDB environment and a file
 * system in memory; and loops that map. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/failpoint.h"
#include "mapping/row.h"
#include "storage/commit_log.h"
#include "storage/ledger.h"
#include "storage/rejects.h"
#include "tests/simulation/shape/node_parts.h"
#include "tests/support/memory-files.h"

static Gateway *running;
static Gateway *known_nodes[NODES_MOST];

/* ---- the loops ------------------------------------------------------------------------------- */

typedef struct Ticket {
    size_t request;
} Ticket;

static SnapshotSource *source_of(const Loop *loop) {
    SnapshotSource *source = snapshot_find(loop->snapshot, span_of(SOURCE));
    return source && source->plan ? source : NULL;
}

const Sink *node_sink(Gateway *node, SinkKind kind) {
    const SnapshotSource *source = source_of(&node->loops[0]);
    for (size_t i = 0; source && i < plan_sink_count(source->plan); i++)
        if (strcmp(plan_sink(source->plan, i)->sink_id, node_sink_ids[kind]) == 0) return plan_sink(source->plan, i);
    return NULL;
}

/* The rows that an event gave a sink. */
static void note_rows(const Gateway *node, size_t event, const Sink *sink, Span rows) {
    Sent *sent = &world->sent;
    size_t version = events_version(node->index, node->life, sink);
    for (unsigned element = 0; rows.size > 0; element++) {
        size_t size = row_size(rows);
        expect(size > 0);
        array_reserve(sent->rows, sent->row_count, sent->row_room);
        SentRow *row = &sent->rows[sent->row_count++];
        *row = (SentRow){.event = event, .element = element, .version = version, .text = strndup(rows.data, size), .size = size};
        check(row->text);
        row->deletes = sink_target_deletes(&sink->target) && size > 2 && memcmp(row->text + size - 3, ",d\n", 3) == 0;
        const json_t *op = json_object_get(sent->events[event].body, "op");
        if (sink_target_deletes(&sink->target) && row->deletes != (op && strcmp(json_string_value(op), "d") == 0))
            fail("event %zu deletes its row, or not: %s", event, row->text);
        sum.deletions += row->deletes;
        sent->events[event].row_count++;
        rows.data += size;
        rows.size -= size;
    }
}

/* Sinks that must be able to map it. */
static bool must_map(const SentEvent *event, SinkKind kind) {
    return event->body && (kind != SINK_ROWS || json_object_get(event->body, "items"));
}

static void map_event(Gateway *node, Loop *loop, RowPart *part, const Plan *plan, bool all) {
    Sent *sent = &world->sent;
    json_t *body;
    char *text = events_make(all, &body);
    array_reserve(sent->events, sent->event_count, sent->event_room);
    size_t number = sent->event_count++;
    sent->events[number] = (SentEvent){
        .body = body, .request = sent->request_count - 1, .node = node->index, .life = node->life, .first_row = sent->row_count};
    sent->requests[sent->request_count - 1].event_count++;
    Event event = {.body = span_of(text), .kind = BODY_JSON, .received = course.clock.wall_now, .ip = SPAN("127.0.0.1")};
    events_id(number, &event.id);
    (void)row_batch_map(&loop->batch, part, &event);
    for (size_t i = 0; i < plan_sink_count(plan); i++) {
        const Sink *sink = plan_sink(plan, i);
        const MapFailure *failure = row_batch_failure(&loop->batch, i);
        bool must = must_map(&sent->events[number], events_kind(sink->target.table.table_id));
        if (must != !failure) fail("event %zu, sink %s: %s", number, sink->sink_id, failure ? failure->message : "it is mapped");
        sent->events[number].failed += failure != NULL;
        if (!failure) note_rows(node, number, sink, row_batch_row(part, i));
    }
    expect(row_batch_keep(&loop->batch, part, &event, SPAN("application/json")));
    free(text);
    sum.events++;
}

static void post_request(Gateway *node, Loop *loop, bool all) {
    SnapshotSource *source = source_of(loop);
    Sent *sent = &world->sent;
    if (!source) return;
    RowPart part;
    row_batch_begin(&loop->batch, loop->snapshot, source, (UsageClaim){0}, &part);
    array_reserve(sent->requests, sent->request_count, sent->request_room);
    sent->requests[sent->request_count++] = (SentRequest){.first_event = sent->event_count};
    for (uint64_t count = all ? 1 : 1 + below(chance(20) ? 12 : 3); count > 0; count--) map_event(node, loop, &part, source->plan, all);
    expect(row_batch_admit(&loop->batch, &part));
    row_batch_end(&loop->batch, &part);
    Append *append = row_batch_seal(&loop->batch);
    Ticket *ticket = arena_zalloc(&append->arena, sizeof *ticket);
    ticket->request = sent->request_count - 1;
    append->tickets = ticket;
    append->message.kind = MESSAGE_APPEND;
    append->reply = loop->mailbox;
    node->in_flight++;
    sum.requests++;
    mailbox_post(writer_mailbox(node->writer), &append->message);
}

static void append_back(Gateway *node, Loop *loop, Append *append) {
    SentRequest *request = &world->sent.requests[((Ticket *)append->tickets)->request];
    expect(request->fate == FATE_OPEN);
    request->fate = append->result == APPEND_DONE ? FATE_ACKNOWLEDGED : FATE_REFUSED;
    sum.refused += request->fate == FATE_REFUSED;
    node->in_flight--;
    row_maker_settle(loop->maker, append);
    row_maker_recycle(loop->maker, append);
}

static void loop_take(Gateway *node, Loop *loop) {
    for (Message *message = mailbox_take(loop->mailbox), *next; message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_APPEND) {
            append_back(node, loop, (Append *)message);
        } else {
            expect(message->kind == MESSAGE_SNAPSHOT);
            SnapshotNews *news = (SnapshotNews *)message;
            snapshot_unref(loop->snapshot);
            loop->snapshot = news->snapshot;
            free(news);
        }
    }
}

bool node_probe(Gateway *node) {
    if (!node->is_named) return false;
    post_request(node, &node->loops[0], true);
    return true;
}

/* ---- start and end --------------------------------------------------------------------------- */

static const SinkDriver *driver_of(void *context, const ConnectionType *type) {
    return &shape_driver;
}

static void post_job(void *context, LoadJob *take_job) {
    loaders_post(((Gateway *)context)->loaders, take_job);
}

static void dispatch(void *context) {
    (void)writer_step(((Gateway *)context)->writer);
}

static void route(Control *control, ApiCall *take_call) {
    fail("nobody calls the API");
}

static void show_nothing(SourceRunner *runner, Snapshot *snapshot) {
}

static size_t drain_nothing(SourceRunner *runner, usec_t until) {
    return 0;
}

static void start_writer(Gateway *node) {
    Error error = {0};
    node->stager = stager_new(node->environment, node->data.files, &node->data.instance);
    WriterOptions writer = {
        .checks_all = true,
        .environment = node->environment,
        .files = node->data.files,
        .clock = &course.clock.clock,
        .usage = &node->usage,
        .instance = node->data.instance,
        .stager = stager_mailbox(node->stager),
        .control = control_mailbox(node->control),
        .post_import = post_job,
        .post_import_context = node,
        .seed = random_next(&course.random),
        .disk_budget = 1u << 30,
        .disk_share_percent = 50,
        .log_high_mark = chance(30) ? 20000 : 256u << 20,
        .retain_imported = chance(50) ? 0 : (usec_t)below((uint64_t)USEC_HOUR),
        .retain_failed = 300 * USEC_DAY,
        .retain_expired = 30 * USEC_DAY,
        .retain_orphans = 7 * USEC_DAY,
        .retain_rejects = 300 * USEC_DAY,
        .rejects_bytes = 1u << 30,
    };
    int r;
    while ((r = writer_open(&writer, &node->writer, &error)) < 0) {
        if (r == -EBADMSG || r == -EILSEQ) fail("cannot open: %s", error.text);
        memory_files_fail(node->data.files, 0, 0, false);
        failpoint_clear();
    }
}

static void start_loaders(Gateway *node) {
    Error error = {0};
    LoadersOptions loaders = {
        .connections = &node->options.list,
        .data_directory = node->directory,
        .files = node->data.files,
        .instance = node->data.instance,
        .writer = writer_mailbox(node->writer),
        .import_timeout = USEC_HOUR,
        .bad_rows_max = 10000,
        .driver_of = driver_of,
        .dispatch = dispatch,
        .dispatch_context = node,
    };
    if (loaders_start(&loaders, &node->loaders, &error) < 0) fail("%s", error.text);
}

static void start_loops(Gateway *node, Snapshot *take_first) {
    for (size_t i = 0; i < LOOPS; i++) {
        node->loops[i] = (Loop){.mailbox = mailbox_new(NULL, NULL),
                                .snapshot = snapshot_ref(take_first),
                                .maker = row_maker_new(1 << 20, 8 << 20, &node->usage)};
        node->loops[i].batch.maker = node->loops[i].maker;
        node->mailboxes[i] = node->loops[i].mailbox;
    }
    snapshot_unref(take_first);
    http_runner_init(&node->http, node->mailboxes, LOOPS);
    node->runners[0] = &node->http.runner;
    for (size_t i = 1; source_kinds[i]; i++) {
        expect(i <= sizeof node->others / sizeof *node->others);
        node->others[i - 1] = (SourceRunner){.kind = source_kinds[i], .show = show_nothing, .drain = drain_nothing};
        node->runners[i] = &node->others[i - 1];
    }
    ControlPeers peers = {
        .writer = writer_mailbox(node->writer), .loaders = node->loaders, .runners = node->runners, .intake_url = "http://127.0.0.1:7000"};
    control_connect(node->control, &peers);
}

static int start_control(Gateway *node, Error *error) {
    EnvironmentOptions options = {.path = node->directory, .map_bytes = 64u << 20, .no_sync = true};
    if (environment_open(&options, &node->environment, error) < 0) fail("%s", error->text);
    ControlOptions control = {
        .options = &node->options,
        .directory = &node->data,
        .environment = node->environment,
        .clock = &course.clock.clock,
        .usage = &node->usage,
        .route = route,
        .dispatch = dispatch,
        .dispatch_context = node,
    };
    return control_new(&control, &node->control, error);
}

/* What a start leaves that does not get through. */
static void end_start(Gateway *node) {
    loaders_free(node->loaders);
    stager_free(node->stager);
    writer_abandon(node->writer);
    control_free(node->control);
    environment_close(node->environment);
    memory_files_fail(node->data.files, 0, 0, false);
    failpoint_clear();
}

void node_start(Gateway *node) {
    Error error = {0};
    char *none[] = {NULL};
    Snapshot *first;
    expect(!node->runs && node->depth == 0);
    say("node %u starts", node->index);
    if (options_load(node->config, none, connection_types, &node->options, &error) < 0) fail("%s", error.text);
    node->usage = (Usage){.in_flight_limit = 64u << 20};
    for (unsigned tries = 0;; tries++) {
        if (start_control(node, &error) < 0) fail("%s", error.text);
        start_writer(node);
        start_loaders(node);
        if (control_begin(node->control, writer_mailbox(node->writer), &first, &error) == 0) break;
        if (tries == 3) fail("it does not start: %s", error.text);
        end_start(node);
    }
    start_loops(node, first);
    node->runs = true;
    node->is_named = false;
    node->dies_in = 0;
    node->in_flight = 0;
}

/* Where a change by inference was when the node died. */
static void note_death(const Gateway *node) {
    for (const Change *changing = node->control->changes; changing; changing = changing->next)
        if (changing->request.kind == CHANGE_INFER) sum.died_at[changing->step]++;
}

static void end(Gateway *node, bool orderly) {
    expect(node->runs && node->depth == 0);
    failpoint_clear();
    note_death(node);
    loaders_free(node->loaders);
    stager_free(node->stager);
    if (orderly)
        writer_close(node->writer);
    else
        writer_abandon(node->writer);
    for (size_t i = 0; i < LOOPS; i++) {
        Loop *loop = &node->loops[i];
        loop_take(node, loop);
        snapshot_unref(loop->snapshot);
        row_maker_free(loop->maker);
    }
    expect(node->in_flight == 0);
    control_free(node->control);
    for (size_t i = 0; i < LOOPS; i++) mailbox_free(node->loops[i].mailbox);
    environment_close(node->environment);
    options_deinit(&node->options);
    memory_files_fail(node->data.files, 0, 0, false);
    if (!orderly) memory_files_crash(node->data.files);
    node->runs = false;
    node->dies_in = 0;
}

void node_kill(Gateway *node) {
    say("node %u is killed", node->index);
    sum.kills++;
    end(node, false);
}

void node_stop(Gateway *node) {
    if (node->depth > 0) return;
    say("node %u stops", node->index);
    sum.stops++;
    end(node, true);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    return remove(path);
}

static void make_disk(Gateway *node) {
    Error error = {0};
    node->files_random.state = random_next(&course.random);
    node->data.files = memory_files_new(&node->files_random, &course.clock.clock);
    static const char *const folders[] = {"staging", "staging/orphans", "staging/expired"};
    for (size_t i = 0; i < 3; i++)
        if (node->data.files->make_directory(node->data.files, folders[i], 0700, &error) < 0) fail("%s", error.text);
    (void)node->data.files->sync_directory(node->data.files, "", NULL);
    (void)node->data.files->sync_directory(node->data.files, "staging", NULL);
    uint64_t id = random_next(&course.random);
    memcpy(node->data.instance.bytes, &id, sizeof id);
    node->settings = 0;
}

static void remove_disk(Gateway *node) {
    files_free(node->data.files);
    (void)nftw(node->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

Gateway *node_new(unsigned index, const char *directory) {
    Gateway *node = calloc(1, sizeof *node);
    check(node);
    node->index = index;
    (void)snprintf(node->directory, sizeof node->directory, "%s/node-%u", directory, index);
    (void)snprintf(node->config, sizeof node->config, "%s/sluice-%u.yaml", directory, index);
    FILE *file = fopen(node->config, "w");
    check(file);
    (void)fprintf(file, "connections:\n  " CONNECTION ":\n    type: sqlite\n    path: %s\n", world->connection_path);
    check(fclose(file) == 0);
    node->data.path = node->directory;
    make_disk(node);
    known_nodes[index] = node;
    node_start(node);
    return node;
}

void node_free(Gateway *node) {
    if (node->runs) end(node, chance(50));
    remove_disk(node);
    (void)remove(node->config);
    known_nodes[node->index] = NULL;
    free(node);
}

void node_lose_disk(Gateway *node) {
    expect(!node->runs);
    say("node %u loses its disk", node->index);
    sum.lost_disks++;
    remove_disk(node);
    make_disk(node);
    node->life++;
}

bool node_runs(const Gateway *node) {
    return node->runs;
}

bool node_lost_life(unsigned index, unsigned life) {
    return known_nodes[index]->life != life;
}

bool node_is_running(unsigned index, unsigned life) {
    return running && running->index == index && running->life == life;
}

void node_dies_in(unsigned steps) {
    if (running && running->dies_in == 0) running->dies_in = steps;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static bool step_loaders(Gateway *node) {
    node->depth++;
    bool worked = loaders_step(node->loaders);
    node->depth--;
    return worked;
}

void node_act(Gateway *node) {
    if (!node->runs || node->depth > 0) return;
    Gateway *before = running;
    running = node;
    uint64_t what = below(100);
    if (what < 14) {
        post_request(node, &node->loops[below(LOOPS)], false);
    } else if (what < 40) {
        (void)writer_step(node->writer);
    } else if (what < 50) {
        (void)stager_step(node->stager);
    } else if (what < 65) {
        (void)step_loaders(node);
    } else if (what < 85) {
        (void)control_turn(node->control);
    } else if (what < 98) {
        loop_take(node, &node->loops[below(LOOPS)]);
    } else {
        node_define(node);
    }
    running = before;
    if (node->control->broken || (node->dies_in > 0 && --node->dies_in == 0)) node_kill(node);
}

void node_run(Gateway *node) {
    if (!node->runs) node_start(node);
    running = node;
    unsigned idle = 0; /* turns: what control asks for is done in the next one */
    for (unsigned i = 0; idle < 3; i++) {
        if (i == 400) fail("node %u runs and runs", node->index);
        node_define(node);
        bool worked = writer_step(node->writer) <= 0;
        while (stager_step(node->stager)) worked = true;
        while (step_loaders(node)) worked = true;
        (void)control_turn(node->control);
        for (size_t k = 0; k < LOOPS; k++) loop_take(node, &node->loops[k]);
        if (node->control->broken) { /* of a fault from before */
            node_kill(node);
            node_start(node);
        }
        idle = worked ? 0 : idle + 1;
    }
    running = NULL;
}

/* "import.after-commit" is left out: driver.c notes what a COMMIT stored, and loses the answers to
 * some of them itself. */
void node_disturb(Gateway *node) {
    static const char *const names[] = {
        "storage.before-commit", "storage.after-commit", "writer.before-group",      "writer.before-commit",   "writer.before-close",
        "writer.cursors-moved",  "writer.before-trim",   "writer.rejects-published", "writer.import-recorded", "stager.before-pack",
        "pack.after-create",     "pack.within-slice",    "pack.before-sync",         "pack.before-rename",     "pack.after-rename",
        "pack.after-publish",    "stager.before-divide", "divide.before-record",     "expiry.before-sync",     "expiry.before-rename",
        "expiry.after-rename",   "expiry.before-record", "catalog.before-commit",    "loader.after-prepare",   "loader.before-import",
        "import.before-begin",   "import.after-ledger",  "import.within-rows",       "import.before-commit"};
    static const int codes[] = {EIO, ENOSPC};
    if (!node->runs) return;
    if (chance(50)) {
        memory_files_fail(node->data.files, 1 + below(12), codes[below(2)], false);
        return;
    }
    char text[64];
    Error error = {0};
    (void)snprintf(text, sizeof text, "%s=error@%u", names[below(sizeof names / sizeof *names)], 1 + (unsigned)below(6));
    say("failpoint %s", text);
    if (failpoint_set(text, &error) < 0) fail("%s", error.text);
}

/* ---- looking --------------------------------------------------------------------------------- */

static int count_waiting(void *context, const FileRecord *file, Error *error) {
    if (file->state == FILE_OPEN || file->state == FILE_CLOSED) ++*(size_t *)context;
    return 0;
}

size_t node_waiting(Gateway *node) {
    Txn *txn;
    Error error = {0};
    size_t files = 0;
    uint64_t first, last;
    if (txn_begin_read(node->environment, &txn, &error) < 0) fail("%s", error.text);
    if (ledger_visit_files(txn, 0, count_waiting, &files, &error) < 0) fail("%s", error.text);
    if (commit_log_bounds(txn, &first, &last, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
    return files + (first > 0 ? (size_t)(last - first + 1) : 0) + (node->control->changes != NULL) + !node->is_named + node->in_flight;
}

void node_verify(Gateway *node) {
    Txn *txn;
    Error error = {0};
    if (!node->runs || node->depth > 0) return;
    if (txn_begin_read(node->environment, &txn, &error) < 0) fail("%s", error.text);
    const RegistrySource *source = registry_find(&node->control->registry, SOURCE);
    for (size_t i = 0; source && i < source->sink_count; i++) {
        uint64_t last;
        uint32_t number = source->sinks[i]->sink->number;
        if (ledger_end_row(txn, number, &last, &error) < 0) fail("%s", error.text);
        if (ledger_verify(txn, number, last, &error) < 0) fail("%s", error.text);
    }
    if (ledger_verify_packs(txn, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
}

static int count_reject(void *context, const Reject *reject, Error *error) {
    char id[UUID_TEXT_SIZE];
    unsigned element;
    if (reject->is_row) fail("a row is rejected: %.*s", (int)reject->reason.size, reject->reason.data);
    uuid_format(&reject->id, id);
    world->sent.events[events_number(id, sizeof id, &element)].rejects_seen++;
    sum.rejects++;
    return 0;
}

void node_count_rejects(Gateway *node) {
    Txn *txn;
    Error error = {0};
    if (txn_begin_read(node->environment, &txn, &error) < 0) fail("%s", error.text);
    const RegistrySource *source = registry_find(&node->control->registry, SOURCE);
    for (size_t i = 0; source && i < source->sink_count; i++)
        if (rejects_visit(txn, source->sinks[i]->sink->number, 0, count_reject, NULL, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
}

void node_check_nameless(Gateway *node) {
    const RegistrySource *source = registry_find(&node->control->registry, SOURCE);
    for (size_t i = 0; source && i < source->sink_count; i++) {
        json_t *nameless = control_nameless_json(node->control, source->sinks[i]->sink);
        if (nameless) tables_check_nameless(&source->sinks[i]->sink->target, nameless);
        json_decref(nameless);
    }
}

void node_tell(Gateway *node) {
    (void)fprintf(stderr, "node %u: %zu wait; %s; %llu in flight\n", node->index, node_waiting(node),
                  node->is_named ? "defined" : "not defined", (unsigned long long)node->in_flight);
    for (const Change *changing = node->control->changes; changing; changing = changing->next)
        (void)fprintf(stderr, "  change %d of %s at step %d\n", (int)changing->request.kind, changing->request.sink_id,
                      (int)changing->step);
}
