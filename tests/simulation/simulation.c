/*
 * The proof that rows are neither lost nor doubled: writer, stager, loaders, two loops, a fake
 * destination, clock and file system are run from one seed, in an order that the seed chooses;
 * everything in memory is thrown away at any moment, and what was acknowledged must be at the
 * destination in the end, once, byte for byte.
 *
 *   test-simulation [first-seed [count]]     SLUICE_SIMULATION_VERBOSE=1 tells what happens
 */
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/stager.h"
#include "gateway/delivery/writer/writer.h"
#include "storage/pack.h"
#include "storage/totals.h"
#include "tests/simulation/event_ids.h"
#include "tests/simulation/world.h"
#include "tests/support/definitions.h"
#include "tests/support/memory-files.h"

#define SEEDS_USUAL 1000
#define STEPS_USUAL 200

World *world;

/* What a crash throws away, and how to get at what it leaves. */
typedef struct Gateway {
    char directory[256];
    Files *files;
    Random files_random;
    Environment *environment;
    Usage usage;
    Mailbox *loops[LOOPS];
    Mailbox *control;
    Stager *stager;
    Writer *writer;
    Loaders *loaders;
    Connections connections;
    SinkGate *gates[SINKS_MAX];
    Source *source;
    uint64_t in_flight;
    unsigned broken;
    unsigned crashes, changes;
    usec_t retain_imported, retain_failed;
    uint64_t log_high_mark;
    uint32_t confirmed[SINKS_MAX]; /* versions */
    unsigned closes_out;
    bool dispatching;
    enum { BACKUP_NONE, BACKUP_ASKED, BACKUP_IS_HELD, BACKUP_RELEASING, BACKUP_COPIES, BACKUP_ENDING } backup;
    uint64_t backup_number;
    bool backup_late; /* the copy did not begin in time */
    Uuid *packs;      /* owned: that the backup copies */
    size_t pack_count, pack_capacity;
} Gateway;

static Gateway gateway;

/* What all seeds together did: a course in which nothing happens proves nothing. */
static struct Sum {
    uint64_t acknowledged, refused, refused_there, rows, rejected, events, imports, found_imported, slow_imports, crashes, expired, changes,
        backups;
    uint64_t judged;   /* ledgers that were compared with what waited at a start */
    uint64_t with_ids; /* groups and slices whose ids were compared with their rows */
} sum;

/* ---- start and crash ------------------------------------------------------------------------- */

static const SinkDriver *driver_of(void *context, const ConnectionType *type) {
    return &simulated_driver;
}

static void post_import(void *context, LoadJob *take_job) {
    loaders_post(gateway.loaders, take_job);
}

static void dispatch(void *context) {
    gateway.dispatching = true;
    (void)writer_step(gateway.writer);
    gateway.dispatching = false;
}

static void post_define(size_t index, bool import_now, bool discard);

static void start(void) {
    Error error = {0};
    EnvironmentOptions options = {.path = gateway.directory, .map_bytes = 64u << 20, .no_sync = true};
    if (environment_open(&options, &gateway.environment, &error) < 0) fail("%s", error.text);
    static const Uuid instance = {.bytes = {1, 2, 3}};
    gateway.stager = stager_new(gateway.environment, gateway.files, &instance);
    atomic_store(&gateway.usage.broken, false);
    WriterOptions writer = {
        .checks_all = true,
        .environment = gateway.environment,
        .files = gateway.files,
        .clock = &course.clock.clock,
        .usage = &gateway.usage,
        .instance = instance,
        .stager = stager_mailbox(gateway.stager),
        .control = gateway.control,
        .post_import = post_import,
        .seed = random_next(&course.random),
        .disk_budget = 1u << 30,
        .disk_share_percent = 50,
        .log_high_mark = gateway.log_high_mark,
        .retain_imported = gateway.retain_imported,
        .retain_failed = gateway.retain_failed,
        .retain_expired = 30 * USEC_DAY,
        .retain_orphans = 7 * USEC_DAY,
        .retain_rejects = 300 * USEC_DAY,
        .rejects_bytes = 1u << 30,
    };
    int r;
    /* A file system that fails for a moment may fail a start, too; the next one works. */
    while ((r = writer_open(&writer, &gateway.writer, &error)) < 0) {
        if (r == -EBADMSG || r == -EILSEQ) fail("cannot open: %s", error.text);
        memory_files_fail(gateway.files, 0, 0, false);
    }
    LoadersOptions loaders = {
        .connections = &gateway.connections,
        .data_directory = "",
        .files = gateway.files,
        .instance = instance,
        .writer = writer_mailbox(gateway.writer),
        .import_timeout = USEC_HOUR,
        .bad_rows_max = 10000,
        .driver_of = driver_of,
        .dispatch = dispatch,
    };
    if (loaders_start(&loaders, &gateway.loaders, &error) < 0) fail("%s", error.text);
    for (size_t i = 0; i < world->model.sink_count; i++) post_define(i, false, false);
}

static void collect(void);
static void verify_ledger(void);
static void verify_event_ids(void);

/* What the clocks may say at the next start: a machine that was off for long, one whose clock is
 * wrong, one that was started anew. */
static void be_off(void) {
    SimClock *clock = &course.clock;
    if (chance(20)) clock->wall_now += (usec_t)below((uint64_t)(600 * USEC_DAY));
    if (chance(10)) clock->wall_now += 400 * USEC_DAY;
    if (chance(10) && clock->wall_now > 500 * USEC_DAY) clock->wall_now -= 400 * USEC_DAY;
    if (chance(20)) clock->boot_now = (usec_t)below((uint64_t)USEC_HOUR) + 1;
    if (chance(20)) clock->boot_now += (usec_t)below((uint64_t)(30 * USEC_DAY));
}

/* Everything in memory is gone, and of the files what was not synced. */
static void crash(bool orderly) {
    say("%s", orderly ? "stop" : "crash");
    failpoint_clear();
    loaders_free(gateway.loaders);
    stager_free(gateway.stager);
    if (orderly) {
        writer_close(gateway.writer);
    } else {
        writer_abandon(gateway.writer);
    }
    collect();
    environment_close(gateway.environment);
    memory_files_fail(gateway.files, 0, 0, false);
    if (!orderly) memory_files_crash(gateway.files);
    gateway.backup = BACKUP_NONE;
    world->begun.count = 0;
    gateway.broken = 0;
    gateway.crashes++;
    world->crash_soon = false;
    be_off();
    start();
    verify_ledger();
    verify_event_ids();
}

/* ---- the loops ------------------------------------------------------------------------------- */

typedef struct Ticket {
    Append append; /* first */
    size_t model;
} Ticket;

static void add_rows(Ticket *ticket, AppendSink *out, ModelSink *sink, uint32_t version) {
    uint64_t rows = 1 + below(chance(10) ? 60 : 6);
    *out = (AppendSink){
        .sink = sink->number, .mapping_version = version, .first_time = course.clock.wall_now, .last_time = course.clock.wall_now};
    out->pieces = arena_alloc(&ticket->append.arena, (size_t)rows * sizeof *out->pieces);
    for (uint64_t i = 0; i < rows; i++) {
        size_t start = out->rows.size;
        model_add_row(&world->model, ticket->model, sink, version, &out->rows);
        if (i > 0 && chance(70)) {
            out->pieces[out->piece_count - 1].bytes += out->rows.size - start;
            out->pieces[out->piece_count - 1].rows++;
        } else {
            out->pieces[out->piece_count++] = (AppendPiece){.offset = start, .bytes = out->rows.size - start, .rows = 1};
        }
    }
    for (size_t i = 0; i < out->piece_count; i++) {
        AppendPiece *piece = &out->pieces[i];
        (void)event_ids_of_rows((Span){.data = out->rows.data + piece->offset, .size = piece->bytes}, &piece->ids);
    }
}

static void add_event(Ticket *ticket, AppendReject *out, const ModelSink *sink) {
    char text[32];
    (void)snprintf(text, sizeof text, "%zu", ticket->model);
    *out = (AppendReject){.sink = sink->number,
                          .mapping_version = sink->version,
                          .at = course.clock.wall_now,
                          .column = SPAN("payload"),
                          .reason = SPAN("It does not fit."),
                          .content_type = SPAN("text/plain")};
    out->body = (Span){arena_copy(&ticket->append.arena, span_of(text)), strlen(text)};
    world->model.appends[ticket->model].events++;
}

static void post_append(unsigned loop) {
    Model *model = &world->model;
    Ticket *ticket = calloc(1, sizeof *ticket);
    check(ticket);
    Append *append = &ticket->append;
    append->message.kind = MESSAGE_APPEND;
    append->reply = gateway.loops[loop];
    ticket->model = model_add_append(model, loop);
    append->sinks = arena_zalloc(&append->arena, SINKS_MAX * sizeof *append->sinks);
    append->rejects = arena_zalloc(&append->arena, SINKS_MAX * sizeof *append->rejects);
    for (size_t i = 0; i < model->sink_count; i++) {
        ModelSink *sink = &model->sinks[i];
        if (chance(40)) continue;
        /* While a change is on its way, some loop still maps with the version before. */
        uint32_t version = sink->defined > 0 && chance(10) ? sink->defined : sink->version;
        add_rows(ticket, &append->sinks[append->sink_count++], sink, version);
        if (chance(5)) add_event(ticket, &append->rejects[append->reject_count++], sink);
    }
    gateway.in_flight++;
    mailbox_post(writer_mailbox(gateway.writer), &append->message);
}

static void append_back(Append *append) {
    ModelAppend *model = &world->model.appends[((Ticket *)append)->model];
    expect(model->fate == FATE_OPEN);
    model->fate = append->result == APPEND_DONE ? FATE_ACKNOWLEDGED : FATE_REFUSED;
    for (size_t i = 0; i < append->sink_count; i++) buffer_deinit(&append->sinks[i].rows);
    arena_deinit(&append->arena);
    free(append);
    gateway.in_flight--;
}

/* ---- the control thread ---------------------------------------------------------------------- */

static void set_settings(Settings *settings) {
    static const int64_t counts[] = {1, 5, 40, 1000, 10000};
    static const int64_t sizes[] = {100, 1000, 20000, 1 << 20, 5 << 20};
    const SettingId upload[] = {SETTING_UPLOAD_COUNT, SETTING_UPLOAD_SIZE, SETTING_UPLOAD_INTERVAL};
    const SettingId import[] = {SETTING_IMPORT_COUNT, SETTING_IMPORT_SIZE, SETTING_IMPORT_INTERVAL};
    for (size_t i = 0; i < 3; i++) settings->set[upload[i]] = settings->set[import[i]] = true;
    settings->value[SETTING_UPLOAD_COUNT] = counts[below(5)];
    settings->value[SETTING_UPLOAD_SIZE] = sizes[below(5)];
    settings->value[SETTING_UPLOAD_INTERVAL] = (int64_t)(1 + below(60)) * USEC_SECOND;
    settings->value[SETTING_IMPORT_COUNT] = counts[below(5)];
    settings->value[SETTING_IMPORT_SIZE] = sizes[below(5)];
    settings->value[SETTING_IMPORT_INTERVAL] = (int64_t)(30 + below(200)) * USEC_SECOND;
}

typedef struct SimDefine {
    Define define; /* first */
    SinkOrder order;
    size_t index;
} SimDefine;

static void post_define(size_t index, bool import_now, bool discard) {
    ModelSink *sink = &world->model.sinks[index];
    SimDefine *message = calloc(1, sizeof *message);
    check(message);
    message->index = index;
    message->define.request.message.kind = MESSAGE_DEFINE;
    message->define.request.reply = gateway.control;
    message->define.sinks = &message->order;
    message->define.sink_count = 1;
    message->order = (SinkOrder){.source = source_ref(gateway.source),
                                 .sink = model_definition(sink, sink->version),
                                 .gate = sink_gate_ref(gateway.gates[index]),
                                 .discard = discard,
                                 .import_now = import_now};
    set_settings(&message->order.sink->settings);
    mailbox_post(writer_mailbox(gateway.writer), &message->define.request.message);
}

static void define_back(SimDefine *message) {
    if (message->define.request.result < 0 && message->define.request.result != -ECANCELED && message->define.request.result != -EROFS &&
        message->define.request.result != -EIO)
        fail("a definition was refused: %s", message->define.request.error.text);
    if (message->define.request.result == 0) gateway.confirmed[message->index] = message->order.sink->mapping_version;
    source_unref(message->order.source);
    sink_unref(message->order.sink);
    sink_gate_unref(message->order.gate);
    free(message);
}

typedef struct SimClose {
    Close close; /* first */
    size_t rows; /* that the model had when it was asked for */
} SimClose;

static void post_close(size_t index, CloseReason reason, bool wait) {
    SimClose *close = calloc(1, sizeof *close);
    check(close);
    Close *message = &close->close;
    close->rows = world->model.row_count;
    message->request.message.kind = MESSAGE_CLOSE;
    message->request.reply = gateway.control;
    message->sink = world->model.sinks[index].number;
    message->reason = reason;
    message->wait_imported = wait;
    gateway.closes_out++;
    mailbox_post(writer_mailbox(gateway.writer), &message->request.message);
}

static int note_loss(void *context, const RangeRecord *range, Error *error) {
    if (range->state == RANGE_QUARANTINED) fail("rows of sink %u are said to be damaged", range->sink);
    if (range->state == RANGE_EXPIRED || range->state == RANGE_DISCARDED) world->model.sinks[range->sink - 1].lossy = true;
    return 0;
}

/* Which sinks lost rows because that was asked for, or because their time was over. */
static void note_losses(void) {
    Txn *txn;
    Error error = {0};
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    for (size_t i = 0; i < world->model.sink_count; i++)
        if (ledger_visit_ranges(txn, world->model.sinks[i].number, note_loss, NULL, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
}

/* "All is imported" holds for every row that was received before. */
static void close_back(SimClose *message) {
    const Close *close = &message->close;
    for (size_t i = 0; close->wait_imported && close->request.result == 0 && i < message->rows; i++) {
        const ModelRow *row = &world->model.rows[i];
        if (row->sink != close->sink || world->model.appends[row->append].fate != FATE_ACKNOWLEDGED) continue;
        if (row->arrived > 0 || row->turned_away) continue;
        note_losses();
        if (!world->model.sinks[row->sink - 1].lossy) fail("row %zu of sink %u is not imported, as was said", i, row->sink);
    }
    gateway.closes_out--;
    free(message);
}

static void change_version(size_t index) {
    ModelSink *sink = &world->model.sinks[index];
    sink->defined = gateway.confirmed[index] == sink->version ? sink->version : 0;
    sink->version++;
    if (!sink->keyed && chance(50)) sink->moves++;
    if (!sink->keyed && chance(20)) sink->connection = !sink->connection;
    gateway.changes++;
    say("sink %u: mapping version %u", sink->number, sink->version);
    post_define(index, false, false);
    if (chance(70)) post_close(index, CLOSE_CHANGE, false);
}

/* Statistics are true at any moment: received = local + staging + target + rejected + dropped. */
static void totals_back(TotalsQuery *query) {
    for (size_t i = 0; i < query->count; i++) {
        const SinkStatistics *statistics = &query->statistics[i];
        const SinkTotals *totals = &statistics->totals;
        if (totals->sink == 0) continue; /* sent back unanswered by a writer that ended */
        expect(totals->received.rows == totals->next_row - 1);
        expect(statistics->local.rows == totals->next_row - totals->staged_row);
        expect(totals->received.rows ==
               statistics->local.rows + statistics->staging.rows + totals->imported.rows + totals->rejected_rows + totals->dropped_rows);
        if (world->counted) {
            expect(totals->rejected_events == world->model.sinks[i].events_seen);
            expect(totals->rejected_rows == world->model.sinks[i].rows_rejected);
        }
        expect((totals->first_commit == 0) == (statistics->local.rows == 0));
    }
    free(query->sinks);
    free(query->statistics);
    free(query);
}

static void post_totals(void) {
    TotalsQuery *query = calloc(1, sizeof *query);
    check(query);
    query->request.message.kind = MESSAGE_TOTALS;
    query->request.reply = gateway.control;
    query->count = world->model.sink_count;
    query->sinks = calloc(query->count, sizeof *query->sinks);
    query->statistics = calloc(query->count, sizeof *query->statistics);
    check(query->sinks && query->statistics);
    for (size_t i = 0; i < query->count; i++) query->sinks[i] = world->model.sinks[i].number;
    mailbox_post(writer_mailbox(gateway.writer), &query->request.message);
}

/* ---- backups --------------------------------------------------------------------------------- */

static void post_backup(BackupStep step, bool complete) {
    BackupOrder *order = calloc(1, sizeof *order);
    check(order);
    order->request.message.kind = MESSAGE_BACKUP_ORDER;
    order->request.reply = gateway.control;
    order->step = step;
    order->complete = complete;
    order->number = gateway.backup_number;
    gateway.backup = step == BACKUP_POINT ? BACKUP_ASKED : step == BACKUP_RELEASE ? BACKUP_RELEASING : BACKUP_ENDING;
    mailbox_post(writer_mailbox(gateway.writer), &order->request.message);
}

static int note_backup_file(void *context, const FileRecord *file, Error *error) {
    BackupFiles *files = &world->begun;
    if (file->state == FILE_OPEN) fail("a file of sink %u is open at the point of a backup", file->sink);
    if (file->state != FILE_CLOSED) return 0;
    array_reserve(files->ids, files->count, files->capacity);
    files->ids[files->count++] = file->id;
    return 0;
}

static int note_backup_pack(void *context, const PackRecord *pack, Error *error) {
    array_reserve(gateway.packs, gateway.pack_count, gateway.pack_capacity);
    gateway.packs[gateway.pack_count++] = pack->id;
    return 0;
}

/* All that was received is in closed files. */
static void look_at_point(void) {
    Txn *txn;
    Error error = {0};
    world->begun.count = gateway.pack_count = 0;
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    for (size_t i = 0; i < world->model.sink_count; i++) {
        SinkTotals totals;
        int r = totals_find(txn, world->model.sinks[i].number, &totals, &error);
        if (r < 0) fail("%s", error.text);
        if (r == 0) expect(totals.staged_row == totals.next_row);
    }
    if (ledger_visit_files(txn, 0, note_backup_file, NULL, &error) < 0) fail("%s", error.text);
    if (ledger_visit_packs(txn, note_backup_pack, NULL, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
}

/* Until its end. */
static void look_for_packs(void) {
    for (size_t i = 0; i < gateway.pack_count; i++) {
        char path[64];
        FileInfo info;
        Error error = {0};
        pack_path(&gateway.packs[i], path);
        if (gateway.files->info(gateway.files, path, &info, &error) == -ENOENT) fail("%s is gone, and a backup copies it", path);
    }
}

static void backup_back(BackupOrder *order) {
    int r = order->request.result;
    expect(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EROFS);
    say("backup step %d: %d", (int)order->step, r);
    if (order->step == BACKUP_POINT) {
        gateway.backup = r == 0 ? BACKUP_IS_HELD : BACKUP_NONE;
        gateway.backup_number = order->number;
        if (r == 0) look_at_point();
    } else if (order->step == BACKUP_RELEASE) {
        gateway.backup = BACKUP_COPIES;
        gateway.backup_late = r < 0;
    } else {
        gateway.backup = BACKUP_NONE;
        if (r == 0 && order->complete) {
            BackupFiles before = world->complete;
            world->complete = world->begun;
            world->begun = before;
            sum.backups++;
        }
        world->begun.count = 0;
    }
    free(order);
}

static void go_on_with_backup(void) {
    if (gateway.backup == BACKUP_NONE) {
        post_backup(BACKUP_POINT, false);
    } else if (gateway.backup == BACKUP_IS_HELD) {
        post_backup(BACKUP_RELEASE, false);
    } else if (gateway.backup == BACKUP_COPIES) {
        look_for_packs();
        post_backup(BACKUP_END, !gateway.backup_late && chance(70));
    }
}

typedef struct Draw {
    size_t seen;
    Uuid id;
    uint32_t sink;
} Draw;

static int draw_file(void *context, const FileRecord *file, Error *error) {
    Draw *draw = context;
    if (file->state == FILE_CLOSED && below(++draw->seen) == 0) {
        draw->id = file->id;
        draw->sink = file->sink;
    }
    return 0;
}

static void act_on_some_file(void) {
    Txn *txn;
    Error error = {0};
    Draw draw = {0};
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    if (ledger_visit_files(txn, 0, draw_file, &draw, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
    if (draw.seen == 0) return;
    FileAction *action = calloc(1, sizeof *action);
    check(action);
    action->request.message.kind = MESSAGE_FILE_ACTION;
    action->request.reply = gateway.control;
    action->file = draw.id;
    action->remove = chance(20);
    if (action->remove) world->model.sinks[draw.sink - 1].lossy = true;
    mailbox_post(writer_mailbox(gateway.writer), &action->request.message);
}

static void collect(void) {
    Message *next = NULL;
    for (unsigned loop = 0; loop < LOOPS; loop++) {
        for (Message *message = mailbox_take(gateway.loops[loop]); message; message = next) {
            next = message->next;
            append_back((Append *)message);
        }
    }
    for (Message *message = mailbox_take(gateway.control); message; message = next) {
        next = message->next;
        switch (message->kind) {
        case MESSAGE_DEFINE: define_back((SimDefine *)message); break;
        case MESSAGE_TOTALS: totals_back((TotalsQuery *)message); break;
        case MESSAGE_CLOSE: close_back((SimClose *)message); break;
        case MESSAGE_BROKEN:
            gateway.broken++;
            expect(gateway.broken == 1);
            free(message);
            break;
        case MESSAGE_FILE_ACTION: free(message); break;
        case MESSAGE_BACKUP_ORDER: backup_back((BackupOrder *)message); break;
        case MESSAGE_DRAINED: free(message); break;
        default: fail("a message of kind %d", message->kind);
        }
    }
}

/* ---- what must hold at any moment ------------------------------------------------------------ */

static void verify_ledger(void) {
    Txn *txn;
    Error error = {0};
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    for (size_t i = 0; i < world->model.sink_count; i++) {
        uint64_t end;
        uint32_t number = world->model.sinks[i].number;
        if (ledger_end_row(txn, number, &end, &error) < 0) fail("%s", error.text);
        if (ledger_verify(txn, number, end, &error) < 0) fail("%s", error.text);
    }
    if (ledger_verify_packs(txn, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
}

/* Reads all packs, so it is done less often. */
static void verify_event_ids(void) {
    Txn *txn;
    Error error = {0};
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    sum.with_ids += event_ids_verify(txn, gateway.files, SINKS_MAX);
    txn_abort(txn);
}

/* ---- the course of things -------------------------------------------------------------------- */

static void set_failpoint(void) {
    static const char *const names[] = {
        "storage.before-commit", "storage.after-commit", "writer.before-group",      "writer.before-commit",   "writer.before-close",
        "writer.cursors-moved",  "writer.before-trim",   "writer.rejects-published", "writer.import-recorded", "stager.before-pack",
        "pack.after-create",     "pack.within-slice",    "pack.before-sync",         "pack.before-rename",     "pack.after-rename",
        "pack.after-publish",    "stager.before-divide", "divide.before-record",     "expiry.before-sync",     "expiry.before-rename",
        "expiry.after-rename",   "expiry.before-record", "loader.after-prepare",     "loader.before-import"};
    char text[64];
    (void)snprintf(text, sizeof text, "%s=error@%u", names[below(sizeof names / sizeof *names)], 1 + (unsigned)below(6));
    say("failpoint %s", text);
    Error error = {0};
    if (failpoint_set(text, &error) < 0) fail("%s", error.text);
}

static void disturb(void) {
    static const int codes[] = {EIO, ENOSPC};
    switch (below(8)) {
    case 0: set_failpoint(); break;
    case 1: memory_files_fail(gateway.files, 1 + below(12), codes[below(2)], false); break;
    case 2: world->destinations[below(2)].down ^= true; break;
    case 3: world->destinations[below(2)].refuses_bad_rows ^= true; break;
    case 4: {
        usec_t most = chance(80) ? 2 * USEC_HOUR : 400 * USEC_DAY;
        course.clock.wall_now += (usec_t)below((uint64_t)(2 * most)) - most;
        if (chance(10)) course_pass_time((usec_t)below((uint64_t)(60 * USEC_DAY))); /* the machine slept */
        break;
    }
    case 5: crash(false); break;
    case 6: crash(chance(30)); break;
    case 7: act_on_some_file(); break;
    default: break;
    }
}

static void act(void) {
    uint64_t what = below(100);
    if (what < 25) {
        post_append((unsigned)below(LOOPS));
    } else if (what < 55) {
        (void)writer_step(gateway.writer);
    } else if (what < 68) {
        (void)stager_step(gateway.stager);
    } else if (what < 80) {
        (void)loaders_step(gateway.loaders);
    } else if (what < 90) {
        course_pass_time((usec_t)below((uint64_t)(chance(10) ? 10 * USEC_MINUTE : chance(30) ? 40 * USEC_SECOND : USEC_SECOND)));
    } else if (what < 92) {
        size_t index = (size_t)below(world->model.sink_count);
        if (chance(50)) {
            change_version(index);
        } else {
            post_define(index, chance(50), false);
        }
    } else if (what == 92 && chance(10)) {
        size_t index = (size_t)below(world->model.sink_count);
        world->model.sinks[index].lossy = true;
        say("sink %zu: what waits is dropped", index + 1);
        post_define(index, false, true);
    } else if (what < 93) {
        post_close((size_t)below(world->model.sink_count), CLOSE_FLUSH, chance(50));
    } else if (what < 95) {
        post_totals();
    } else if (what < 97) {
        go_on_with_backup();
    } else {
        disturb();
    }
    collect();
    if (gateway.broken || world->crash_soon) crash(false);
}

static bool all_idle(void) {
    return writer_is_idle(gateway.writer) && gateway.in_flight == 0 && gateway.closes_out == 0;
}

static void run_everything(void) {
    for (unsigned i = 0; i < 200; i++) {
        usec_t next = writer_step(gateway.writer);
        bool worked = false;
        while (stager_step(gateway.stager)) worked = true;
        while (loaders_step(gateway.loaders)) worked = true;
        collect();
        expect(!gateway.broken);
        if (!worked && next > 0) return;
    }
    fail("it runs and runs");
}

static int count_waiting(void *context, const FileRecord *file, Error *error) {
    if (file->state == FILE_OPEN || file->state == FILE_CLOSED) ++*(size_t *)context;
    return 0;
}

/* Files that are not imported, and groups in the log. */
static size_t what_waits(void) {
    Txn *txn;
    Error error = {0};
    size_t files = 0;
    uint64_t first, last;
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    if (ledger_visit_files(txn, 0, count_waiting, &files, &error) < 0) fail("%s", error.text);
    if (commit_log_bounds(txn, &first, &last, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
    return files + (first > 0 ? (size_t)(last - first + 1) : 0);
}

/* Nothing disturbs any more: all that waits gets through by itself, when its conditions hold and
 * its pauses are over. */
static void settle(void) {
    failpoint_clear();
    memory_files_fail(gateway.files, 0, 0, false);
    world->quiet = true;
    for (size_t i = 0; i < 2; i++) world->destinations[i].down = false;
    run_everything();
    while (gateway.backup != BACKUP_NONE) {
        if (gateway.backup == BACKUP_ASKED) course_pass_time(USEC_SECOND);
        go_on_with_backup();
        run_everything();
    }
    for (unsigned round = 0; what_waits() > 0; round++) {
        if (round == 40) fail("it does not come to rest: %zu files and groups wait", what_waits());
        course_pass_time(2 * USEC_MINUTE);
        run_everything();
    }
    expect(all_idle());
    expect(!gateway.usage.intake_stopped);
}

static int no_file_waits(void *context, const FileRecord *file, Error *error) {
    if (file->state == FILE_OPEN || file->state == FILE_CLOSED) fail("a file of sink %u still waits", file->sink);
    if (file->state == FILE_EXPIRED) {
        world->model.sinks[file->sink - 1].lossy = true;
        sum.expired++;
    }
    return 0;
}

static void check_end(void) {
    Txn *txn;
    Error error = {0};
    verify_ledger();
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    if (ledger_visit_files(txn, 0, no_file_waits, NULL, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
    note_losses();
    model_check(&world->model, gateway.environment);
    destination_check();
}

static int count_packs(void *context, const char *name, const FileInfo *info) {
    if (!info->is_directory) {
        say("left: %s", name);
        ++*(size_t *)context;
    }
    return 0;
}

/* What is imported and past its time leaves the disk, and the log is empty. */
static void check_space(void) {
    Txn *txn;
    Error error = {0};
    for (unsigned i = 0; i < 4; i++) {
        course_pass_time(gateway.retain_imported + USEC_DAY); /* a step of that length counts as an hour */
        run_everything();
    }
    uint64_t first, last;
    if (txn_begin_read(gateway.environment, &txn, &error) < 0) fail("%s", error.text);
    if (commit_log_bounds(txn, &first, &last, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
    expect(first == 0 && last == 0);
    size_t packs = 0;
    (void)gateway.files->list(gateway.files, "staging", count_packs, &packs, NULL);
    if (packs > 0) fail("%zu staging files are left", packs);
}

/* ---- one seed -------------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    return remove(path);
}

static void begin_world(uint64_t seed, const char *directory) {
    course_begin("test-simulation", seed);
    world->fault_percent = (unsigned)below(50);
    world->model.sink_count = 1 + (size_t)below(SINKS_MAX);
    for (size_t i = 0; i < world->model.sink_count; i++)
        world->model.sinks[i] = (ModelSink){.number = (uint32_t)i + 1, .version = 1, .keyed = chance(40), .connection = (unsigned)below(2)};

    gateway = (Gateway){0};
    (void)snprintf(gateway.directory, sizeof gateway.directory, "%s/%llu", directory, (unsigned long long)seed);
    gateway.files_random.state = random_next(&course.random);
    gateway.files = memory_files_new(&gateway.files_random, &course.clock.clock);
    static const char *const folders[] = {"staging", "staging/orphans", "staging/expired"};
    Error error = {0};
    for (size_t i = 0; i < 3; i++)
        if (gateway.files->make_directory(gateway.files, folders[i], 0700, &error) < 0) fail("%s", error.text);
    (void)gateway.files->sync_directory(gateway.files, "", NULL);
    (void)gateway.files->sync_directory(gateway.files, "staging", NULL);
    gateway.control = mailbox_new(NULL, NULL);
    for (unsigned i = 0; i < LOOPS; i++) gateway.loops[i] = mailbox_new(NULL, NULL);
    for (size_t i = 0; i < SINKS_MAX; i++) gateway.gates[i] = sink_gate_new();
    static Connection connections[2] = {{.name = (char *)(uintptr_t) "first"}, {.name = (char *)(uintptr_t) "second"}};
    gateway.connections = (Connections){.items = connections, .count = 2};
    gateway.retain_imported = chance(50) ? 0 : (usec_t)below((uint64_t)USEC_HOUR);
    gateway.retain_failed = chance(70) ? 300 * USEC_DAY : USEC_MINUTE;
    gateway.log_high_mark = chance(30) ? 20000 : 256u << 20;
    gateway.source = test_source("simulated");
    gateway.source->number = 1;
    start();
}

static void add_up(void) {
    const Model *model = &world->model;
    for (size_t i = 0; i < model->append_count; i++) {
        const ModelAppend *append = &model->appends[i];
        bool there = append->rows > 0 && model->rows[append->first_row].arrived + model->rows[append->first_row].rejected > 0;
        sum.acknowledged += append->fate == FATE_ACKNOWLEDGED;
        sum.refused += append->fate == FATE_REFUSED;
        sum.refused_there += append->fate == FATE_REFUSED && there;
        sum.events += append->events_seen;
    }
    for (size_t i = 0; i < model->row_count; i++) {
        sum.rows += model->rows[i].arrived;
        sum.rejected += model->rows[i].rejected;
    }
    for (size_t i = 0; i < 2; i++) {
        sum.imports += world->destinations[i].imports;
        sum.found_imported += world->destinations[i].found_imported;
        sum.slow_imports += world->destinations[i].slow_imports;
        sum.judged += world->destinations[i].judged;
    }
    sum.crashes += gateway.crashes;
    sum.changes += gateway.changes;
}

static void end_world(void) {
    add_up();
    loaders_free(gateway.loaders);
    stager_free(gateway.stager);
    writer_close(gateway.writer);
    collect();
    expect(gateway.in_flight == 0);
    environment_close(gateway.environment);
    files_free(gateway.files);
    mailbox_free(gateway.control);
    for (unsigned i = 0; i < LOOPS; i++) mailbox_free(gateway.loops[i]);
    for (size_t i = 0; i < SINKS_MAX; i++) sink_gate_unref(gateway.gates[i]);
    source_unref(gateway.source);
    for (size_t i = 0; i < 2; i++) destination_deinit(&world->destinations[i]);
    model_deinit(&world->model);
    free(world->complete.ids);
    free(world->begun.ids);
    free(gateway.packs);
    (void)nftw(gateway.directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void run_seed(uint64_t seed, const char *directory) {
    World this_world = {0};
    world = &this_world;
    begin_world(seed, directory);
    uint64_t steps = STEPS_USUAL / 2 + below(STEPS_USUAL);
    for (uint64_t i = 0; i < steps; i++) {
        act();
        if (i % 16 == 0) verify_ledger();
    }
    settle();
    check_end();
    /* And the same after a start that finds only what is on disk. */
    crash(chance(50));
    settle();
    check_end();
    world->counted = true;
    post_totals();
    run_everything();
    check_space();
    end_world();
}

int main(int count, char **arguments) {
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : SEEDS_USUAL;
    log_setup(getenv("SLUICE_SIMULATION_VERBOSE") ? LOG_DEBUG : (LogLevel)(LOG_ERROR + 1), 2);
    const char *temporary = getenv("TMPDIR");
    char directory[200];
    (void)snprintf(directory, sizeof directory, "%s/simulation-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    for (uint64_t seed = first; seed < first + seeds; seed++) run_seed(seed, directory);
    (void)rmdir(directory);
    (void)printf("requests: %llu acknowledged, %llu not (%llu of them there); rows: %llu imported, %llu rejected; %llu events rejected\n"
                 "imports: %llu, files found imported: %llu, that took too long: %llu, expired: %llu; crashes: %llu; changes of a mapping: "
                 "%llu; backups: %llu\n"
                 "groups and slices whose ids are those of their rows: %llu\n",
                 (unsigned long long)sum.acknowledged, (unsigned long long)sum.refused, (unsigned long long)sum.refused_there,
                 (unsigned long long)sum.rows, (unsigned long long)sum.rejected, (unsigned long long)sum.events,
                 (unsigned long long)sum.imports, (unsigned long long)sum.found_imported, (unsigned long long)sum.slow_imports,
                 (unsigned long long)sum.expired, (unsigned long long)sum.crashes, (unsigned long long)sum.changes,
                 (unsigned long long)sum.backups, (unsigned long long)sum.with_ids);
    if (seeds >= 100 && sum.with_ids == 0) fail("no ids were compared");
    (void)printf("%llu seeds from %llu: every acknowledged row is there once\n", (unsigned long long)seeds, (unsigned long long)first);
    return 0;
}
