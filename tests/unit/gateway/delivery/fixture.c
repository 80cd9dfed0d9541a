#include "tests/unit/gateway/delivery/fixture.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "mapping/row.h"
#include "sinks/import_runs.h"
#include "tests/support/definitions.h"
#include "tests/support/memory-files.h"

static const Uuid instance = {.bytes = {7}};
static Fixture *current; /* a driver has no context of its own */

/* ---- the destination ------------------------------------------------------------------------- */

struct SinkSession {
    Fixture *fixture;
};

static SinkResult fake_connect(const Connection *connection, const char *data_directory, const char *application_name,
                               const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    current->connects++;
    if (current->result == SINK_UNREACHABLE) {
        (void)error_set(error, -ECONNREFUSED, "nobody there");
        return SINK_UNREACHABLE;
    }
    *ret_session = calloc(1, sizeof **ret_session);
    (*ret_session)->fixture = current;
    return SINK_DONE;
}

static SinkResult fake_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    return SINK_DONE;
}

static void read_positions(const Fixture *fixture, ImportPosition *positions, size_t count) {
    assert_true(positions_are_ordered(positions, count));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(positions[i].key.topic, "orders");
        positions[i].found = !fixture->missing[positions[i].key.partition];
        positions[i].read = positions[i].found ? fixture->positions[positions[i].key.partition] : 0;
    }
    positions_begin(positions, count);
}

static void keep_positions(Fixture *fixture, const ImportPosition *positions, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (positions[i].found) fixture->positions[positions[i].key.partition] = positions[i].next;
}

static SinkResult decide(const Fixture *fixture, ImportJob *job, Error *error) {
    if (!import_has_runs(job)) return SINK_DONE;
    read_positions(fixture, job->positions, job->position_count);
    SinkResult result = import_runs_begin(job, error);
    if (result != SINK_DONE) return result;
    for (size_t i = 0; i < job->file_count; i++) {
        import_runs_decide(job, i);
        import_runs_leave_out(&job->files[i]);
    }
    return SINK_DONE;
}

static SinkResult fake_advance(SinkSession *session, PositionsJob *job, Error *error) {
    Fixture *fixture = session->fixture;
    fixture->advances++;
    if (fixture->result != SINK_DONE) {
        (void)error_set(error, -EIO, "as the test wants it");
        return fixture->result;
    }
    read_positions(fixture, job->positions, job->position_count);
    SinkResult result = positions_job_decide(job, error);
    if (result != SINK_DONE) return result;
    keep_positions(fixture, job->positions, job->position_count);
    return SINK_DONE;
}

static SinkResult fake_import(SinkSession *session, ImportJob *job, Error *error) {
    Fixture *fixture = session->fixture;
    fixture->imports++;
    if (fixture->result != SINK_DONE) {
        (void)error_set(error, -EIO, "as the test wants it");
        return fixture->result;
    }
    uint64_t job_rows = 0;
    for (size_t i = 0; i < job->file_count; i++) job_rows += job->files[i].rows;
    if (fixture->fast_rows > 0 && job_rows > fixture->fast_rows) {
        (void)error_set(error, -ETIMEDOUT, "it takes too long");
        job->took_too_long = true;
        job->proven_absent = !fixture->unproven;
        return SINK_RETRY;
    }
    SinkResult decided = decide(fixture, job, error);
    if (decided != SINK_DONE) return decided;
    if (fixture->in_ledger) {
        job->files[0].already_imported = true;
        job->files[0].rows = fixture->in_ledger;
        fixture->in_ledger = 0;
        return SINK_DONE;
    }
    Buffer rows = {0};
    SinkReject rejects[64];
    uint64_t arrived = 0;
    SinkResult result = SINK_DONE;
    size_t rejected = 0;
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        ImportFile *file = &job->files[i];
        uint64_t read = 0;
        Span csv;
        uint64_t first, count;
        int r = file->reader->seek(file->reader, file->first_row, error);
        while (r == 0 && (r = file->reader->block(file->reader, &csv, &first, &count, error)) == 0) {
            for (; count > 0; count--, first++, read++) {
                size_t size = row_size(csv);
                if (memmem(csv.data, size, "FILE", 4)) {
                    (void)error_set(error, -EINVAL, "this file never");
                    result = SINK_REFUSED;
                } else if (fixture->refused[0] && memmem(csv.data, size, fixture->refused, strlen(fixture->refused))) {
                    rejects[rejected++] = (SinkReject){.row = first, .file = &file->id, .reason = "no", .csv = {"x\n", 2}};
                } else {
                    buffer_append(&rows, csv.data, size);
                    arrived++;
                }
                csv.data += size;
                csv.size -= size;
            }
        }
        if (r < 0) result = SINK_RETRY;
        if (result == SINK_DONE) assert_int_equal(read, file->rows - file->left_out);
    }
    if (result == SINK_DONE && rejected > 0 && job->store_rejects(job->context, rejects, rejected, error) != 0) result = SINK_RETRY;
    if (result == SINK_DONE) {
        buffer_append_span(&fixture->table, buffer_span(&rows));
        fixture->arrived += arrived;
        keep_positions(fixture, job->positions, job->position_count);
        fixture->settled += job->settled_count;
        job->rejected_rows = rejected;
    }
    buffer_deinit(&rows);
    return result;
}

static SinkResult fake_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    (void)session, (void)target, (void)error;
    *ret_inspection = (TableInspection){0};
    return SINK_DONE;
}

static void fake_disconnect(SinkSession *session) {
    free(session);
}

static const PositionsDriver positions_driver = {.advance = fake_advance};

static const SinkDriver driver = {.transactional = true,
                                  .positions = &positions_driver,
                                  .keeps_ledger = true,
                                  .keeps_order = true,
                                  .connect = fake_connect,
                                  .prepare = fake_prepare,
                                  .inspect = fake_inspect,
                                  .import = fake_import,
                                  .disconnect = fake_disconnect};

static const SinkDriver *driver_of(void *context, const ConnectionType *type) {
    return current->real ? &sink_driver_sqlite : &driver;
}

/* ---- start and stop -------------------------------------------------------------------------- */

static usec_t fake_wall(Clock *clock) {
    return ((FixtureClock *)clock)->wall_now;
}

static usec_t fake_boot(Clock *clock) {
    return ((FixtureClock *)clock)->boot_now;
}

static void post_import(void *context, LoadJob *take_job) {
    loaders_post(((Fixture *)context)->loaders, take_job);
}

static void dispatch(void *context) {
    (void)writer_step(((Fixture *)context)->writer);
}

void fixture_start(Fixture *fixture) {
    Error error = {0};
    EnvironmentOptions environment = {.path = fixture->directory, .map_bytes = fixture->map_bytes, .no_sync = true};
    assert_int_equal(environment_open(&environment, &fixture->environment, &error), 0);
    fixture->stager = stager_new(fixture->environment, fixture->files, &instance);
    fixture->options.environment = fixture->environment;
    fixture->options.stager = stager_mailbox(fixture->stager);
    if (writer_open(&fixture->options, &fixture->writer, &error) < 0) fail_msg("%s", error.text);
    LoadersOptions loaders = {.connections = &fixture->connections,
                              .data_directory = fixture->directory,
                              .files = fixture->files,
                              .instance = instance,
                              .writer = writer_mailbox(fixture->writer),
                              .import_timeout = USEC_HOUR,
                              .bad_rows_max = 60,
                              .driver_of = driver_of,
                              .dispatch = dispatch,
                              .dispatch_context = fixture};
    assert_int_equal(loaders_start(&loaders, &fixture->loaders, &error), 0);
}

void fixture_use_sqlite(Fixture *fixture) {
    static char *values[] = {(char *)(uintptr_t) "tables.db", NULL, NULL, NULL};
    static Connection connection = {.name = (char *)(uintptr_t) "there", .type = &connection_type_sqlite, .values = values};
    fixture_stop(fixture, true);
    fixture->connections.items = &connection;
    fixture->real = true;
    fixture_start(fixture);
}

static void collect(Fixture *fixture) {
    Message *next = NULL;
    for (Message *message = mailbox_take(fixture->loop); message; message = next) {
        next = message->next;
        Append *append = (Append *)message;
        fixture->done += append->result == APPEND_DONE;
        fixture->full += append->result == APPEND_FULL;
        fixture->rejects_full += append->result == APPEND_REJECTS_FULL;
        fixture->failed += append->result == APPEND_FAILED;
        fixture->misplaced += append->result == APPEND_MISPLACED;
        for (size_t i = 0; append->result == APPEND_MISPLACED && i < append->sinks[0].run_count; i++)
            fixture->ends[i] = append->sinks[0].runs[i].end;
        for (size_t i = 0; i < append->sink_count; i++) buffer_deinit(&append->sinks[i].rows);
        arena_deinit(&append->arena);
        free(append);
    }
    for (Message *message = mailbox_take(fixture->control); message; message = next) {
        next = message->next;
        switch (message->kind) {
        case MESSAGE_DEFINE:
            if (fixture->define) {
                arena_deinit(&fixture->define->arena);
                free(fixture->define);
            }
            fixture->define = (Define *)message;
            continue;
        case MESSAGE_CLOSE:
            fixture->closes++;
            fixture->close_result = ((Close *)message)->request.result;
            fixture->close_rows = ((Close *)message)->rows;
            break;
        case MESSAGE_DRAINED: fixture->drained++; break;
        case MESSAGE_BROKEN: fixture->broken++; break;
        default: break;
        }
        free(message);
    }
}

void fixture_stop(Fixture *fixture, bool orderly) {
    loaders_free(fixture->loaders);
    stager_free(fixture->stager);
    if (orderly) {
        writer_close(fixture->writer);
    } else {
        writer_abandon(fixture->writer);
    }
    collect(fixture);
    environment_close(fixture->environment);
    fixture->writer = NULL;
}

static void make_folders(const Fixture *fixture) {
    static const char *const folders[] = {"staging", "staging/orphans", "staging/expired"};
    for (size_t i = 0; i < 3; i++) (void)fixture->files->make_directory(fixture->files, folders[i], 0700, NULL);
}

void fixture_use_real_files(Fixture *fixture) {
    fixture_stop(fixture, true);
    files_free(fixture->files);
    assert_int_equal(files_open(fixture->directory, &fixture->files, NULL), 0);
    fixture->options.files = fixture->files;
    make_folders(fixture);
}

int fixture_setup(void **state) {
    Fixture *fixture = calloc(1, sizeof *fixture);
    current = fixture;
    log_setup((LogLevel)(LOG_ERROR + 1), 2);
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(fixture->directory, sizeof fixture->directory, "%s/delivery-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(fixture->directory)) return -1;
    fixture->clock = (FixtureClock){
        .clock = {.wall = fake_wall, .boot = fake_boot}, .wall_now = 1700000000 * USEC_SECOND, .boot_now = 5000 * USEC_SECOND};
    fixture->files = memory_files_new(NULL, &fixture->clock.clock);
    make_folders(fixture);
    fixture->loop = mailbox_new(NULL, NULL);
    fixture->control = mailbox_new(NULL, NULL);
    static Connection connection = {.name = (char *)(uintptr_t) "there"};
    fixture->connections = (Connections){.items = &connection, .count = 1};
    fixture->map_bytes = 64u << 20;
    fixture->options = (WriterOptions){
        .checks_all = true,
        .files = fixture->files,
        .clock = &fixture->clock.clock,
        .instance = instance,
        .usage = &fixture->usage,
        .control = fixture->control,
        .post_import = post_import,
        .post_import_context = fixture,
        .seed = 1,
        .disk_budget = 1u << 30,
        .disk_share_percent = 50,
        .log_high_mark = 256u << 20,
        .retain_imported = USEC_HOUR,
        .retain_failed = 7 * USEC_DAY,
        .retain_expired = 30 * USEC_DAY,
        .retain_orphans = 7 * USEC_DAY,
        .retain_rejects = 30 * USEC_DAY,
        .rejects_bytes = 1u << 20,
    };
    fixture->source = test_source("source");
    for (size_t i = 0; i < FIXTURE_SINKS; i++) fixture->gates[i] = sink_gate_new();
    fixture_start(fixture);
    *state = fixture;
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    return remove(path);
}

int fixture_teardown(void **state) {
    Fixture *fixture = *state;
    if (fixture->writer) fixture_stop(fixture, true);
    files_free(fixture->files);
    mailbox_free(fixture->loop);
    mailbox_free(fixture->control);
    for (size_t i = 0; i < FIXTURE_SINKS; i++) {
        sink_gate_unref(fixture->gates[i]);
        sink_unref(fixture->sinks[i]);
    }
    source_unref(fixture->source);
    if (fixture->define) {
        arena_deinit(&fixture->define->arena);
        free(fixture->define);
    }
    buffer_deinit(&fixture->table);
    (void)nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

/* ---- what a test does ------------------------------------------------------------------------ */

static void set(Settings *settings, SettingId id, int64_t value) {
    settings->set[id] = true;
    settings->value[id] = value;
}

static Sink *make_sink(uint32_t number, bool keyed, int64_t import_rows, usec_t import_age) {
    Sink *sink = calloc(1, sizeof *sink);
    char name[32];
    (void)snprintf(name, sizeof name, "sink%u", number);
    atomic_init(&sink->references, 1);
    sink->number = number;
    sink->mapping_version = 1;
    sink->sink_id = strdup(name);
    sink->target.connection = strdup("there");
    sink->target.table.table_id = strdup(name);
    sink->target.table.strategy = keyed ? STRATEGY_MERGE : STRATEGY_APPEND;
    sink->target.columns = calloc(2, sizeof(Column));
    sink->target.column_count = 2;
    for (size_t i = 0; i < 2; i++) {
        sink->target.columns[i].name = strdup(i ? "text" : "id");
        sink->target.columns[i].type = COLUMN_BODY;
    }
    sink->target.columns[0].primary_key = keyed;
    set(&sink->settings, SETTING_UPLOAD_COUNT, current->upload_rows > 0 ? current->upload_rows : 10000000);
    set(&sink->settings, SETTING_UPLOAD_SIZE, 500 << 20);
    set(&sink->settings, SETTING_UPLOAD_INTERVAL, 100 * USEC_DAY);
    set(&sink->settings, SETTING_IMPORT_COUNT, import_rows);
    set(&sink->settings, SETTING_IMPORT_SIZE, 500 << 20);
    set(&sink->settings, SETTING_IMPORT_INTERVAL, import_age);
    return sink;
}

static void post_define(Fixture *fixture, uint32_t sink, bool discard) {
    Define *define = calloc(1, sizeof *define);
    define->request.message.kind = MESSAGE_DEFINE;
    define->request.reply = fixture->control;
    define->sinks = arena_zalloc(&define->arena, sizeof *define->sinks);
    define->sink_count = 1;
    define->sinks[0] = (SinkOrder){
        .source = fixture->source, .sink = fixture->sinks[sink], .gate = fixture->gates[sink], .discard = discard};
    mailbox_post(writer_mailbox(fixture->writer), &define->request.message);
}

void fixture_define(Fixture *fixture, uint32_t sink, bool keyed, int64_t import_rows, usec_t import_age) {
    sink_unref(fixture->sinks[sink]);
    fixture->sinks[sink] = make_sink(sink, keyed, import_rows, import_age);
    post_define(fixture, sink, false);
}

static void change_text(char **text, const char *to) {
    if (!to) return;
    free(*text);
    *text = strdup(to);
}

void fixture_redefine(Fixture *fixture, uint32_t sink, const char *column, const char *table) {
    Sink *changed = make_sink(sink, false, 1000, 20 * USEC_HOUR);
    changed->mapping_version = fixture->sinks[sink]->mapping_version + 1;
    change_text(&changed->target.columns[1].name, column ? column : fixture->sinks[sink]->target.columns[1].name);
    change_text(&changed->target.table.table_id, table ? table : fixture->sinks[sink]->target.table.table_id);
    sink_unref(fixture->sinks[sink]);
    fixture->sinks[sink] = changed;
    post_define(fixture, sink, false);
}

void fixture_pause(Fixture *fixture, uint32_t sink, bool paused) {
    if (!paused) pause_end(&fixture->sinks[sink]->paused);
    if (paused) pause_begin(&fixture->sinks[sink]->paused, fixture->clock.wall_now, usage_running(&fixture->usage), "test");
    post_define(fixture, sink, false);
}

void fixture_pause_connection(Fixture *fixture, const char *name, bool paused) {
    Define *define = calloc(1, sizeof *define);
    usec_t *since = &fixture->connection_paused;
    if (!paused) *since = 0;
    if (paused && *since == 0) *since = usage_running(&fixture->usage);
    define->request.message.kind = MESSAGE_DEFINE;
    define->request.reply = fixture->control;
    define->connections = arena_zalloc(&define->arena, sizeof *define->connections);
    define->connection_count = 1;
    define->connections[0] = (ConnectionOrder){
        .name = arena_copy(&define->arena, (Span){.data = name, .size = strlen(name) + 1}), .paused = paused, .running = *since};
    mailbox_post(writer_mailbox(fixture->writer), &define->request.message);
}

void fixture_discard(Fixture *fixture, uint32_t sink) {
    fixture->sinks[sink]->deleted = fixture->clock.wall_now;
    post_define(fixture, sink, true);
}

#define PARTITIONS_MAX 8

static Partition *make_partitions(Arena *arena) {
    Partition *partitions = arena_zalloc(arena, PARTITIONS_MAX * sizeof *partitions);
    for (int32_t i = 0; i < PARTITIONS_MAX; i++)
        partitions[i] = (Partition){.cluster = (char *)(uintptr_t) "cluster",
                                    .group = (char *)(uintptr_t) "group",
                                    .topic = (char *)(uintptr_t) "orders",
                                    .topic_id = (char *)(uintptr_t) "",
                                    .partition = i};
    return partitions;
}

static Append *make_append(Fixture *fixture, bool of_bridge) {
    Append *append = calloc(1, sizeof *append);
    append->message.kind = MESSAGE_APPEND;
    append->reply = fixture->loop;
    if (of_bridge || fixture->mark) {
        append->partitions = make_partitions(&append->arena);
        append->partition_count = PARTITIONS_MAX;
    }
    if (fixture->mark) append->mark = span_of(fixture->mark);
    fixture->mark = NULL;
    return append;
}

void fixture_append(Fixture *fixture, uint32_t sink, const char *prefix, unsigned rows, size_t bytes) {
    Append *append = make_append(fixture, false);
    append->sinks = arena_zalloc(&append->arena, sizeof *append->sinks);
    append->sink_count = 1;
    AppendSink *out = append->sinks;
    *out = (AppendSink){.sink = sink, .mapping_version = 1, .first_time = fixture->clock.wall_now, .last_time = fixture->clock.wall_now};
    out->pieces = arena_zalloc(&append->arena, rows * sizeof *out->pieces);
    for (unsigned i = 0; i < rows; i++) {
        size_t start = out->rows.size;
        buffer_printf(&out->rows, "%s-%u,", prefix, i);
        while (out->rows.size - start + 1 < bytes) buffer_append_byte(&out->rows, 'x');
        buffer_append_text(&out->rows, "y\n");
        out->pieces[out->piece_count++] = (AppendPiece){.offset = start, .bytes = out->rows.size - start, .rows = 1};
    }
    mailbox_post(writer_mailbox(fixture->writer), &append->message);
}

typedef struct NthFile {
    unsigned left;
    Uuid file;
} NthFile;

static int find_nth(void *context, const FileRecord *file, Error *error) {
    NthFile *nth = context;
    if (file->state != FILE_CLOSED || nth->left-- > 0) return 0;
    nth->file = file->id;
    return -ECANCELED;
}

FixtureProgress fixture_progress(Fixture *fixture, uint32_t sink, bool look_now) {
    FixtureProgress result = {0};
    Mailbox *reply = mailbox_new(NULL, NULL);
    SinkProgress asked = {.sink = sink};
    Progress progress = {.request.message.kind = MESSAGE_PROGRESS,
                         .request.reply = reply,
                         .partition_count = PARTITIONS_MAX,
                         .sinks = &asked,
                         .sink_count = 1,
                         .look_now = look_now};
    progress.partitions = make_partitions(&progress.arena);
    mailbox_post(writer_mailbox(fixture->writer), &progress.request.message);
    (void)writer_step(fixture->writer);
    assert_ptr_equal(mailbox_take(reply), &progress.request.message); /* at once */
    assert_int_equal(progress.request.result, 0);
    mailbox_free(reply);
    result.sink = asked;
    result.sink.partitions = NULL;
    for (size_t i = 0; i < PARTITIONS_MAX; i++) {
        result.partitions[i] = asked.partitions[i];
        result.numbers[i] = progress.partitions[i].number;
    }
    if (progress.mark.size > 0) memcpy(result.mark, progress.mark.data, progress.mark.size);
    arena_deinit(&progress.arena);
    return result;
}

void fixture_append_runs(Fixture *fixture, const FixtureRun *runs, size_t count) {
    Append *append = make_append(fixture, true);
    append->sinks = arena_zalloc(&append->arena, count * sizeof *append->sinks);
    for (size_t i = 0; i < count; i++) {
        const FixtureRun *run = &runs[i];
        AppendSink *out = append->sink_count > 0 ? &append->sinks[append->sink_count - 1] : NULL;
        if (!out || out->sink != run->sink) {
            out = &append->sinks[append->sink_count++];
            *out = (AppendSink){
                .sink = run->sink, .mapping_version = 1, .first_time = fixture->clock.wall_now, .last_time = fixture->clock.wall_now};
            out->pieces = arena_zalloc(&append->arena, count * sizeof *out->pieces);
            out->runs = arena_zalloc(&append->arena, count * sizeof *out->runs);
        }
        size_t start = out->rows.size;
        for (unsigned k = 0; k < run->rows; k++) {
            size_t begin = out->rows.size;
            buffer_printf(&out->rows, "%d:%lld-%u,", (int)run->partition, (long long)run->first, k);
            while (out->rows.size - begin + 1 < run->bytes) buffer_append_byte(&out->rows, 'x');
            buffer_append_text(&out->rows, "y\n");
        }
        out->pieces[out->piece_count++] = (AppendPiece){
            .offset = start, .bytes = out->rows.size - start, .rows = run->rows, .run_count = 1};
        out->runs[out->run_count++] = (AppendRun){
            .partition = (size_t)run->partition, .sets_end = run->sets_end, .first = run->first, .next = run->next, .rows = run->rows};
    }
    mailbox_post(writer_mailbox(fixture->writer), &append->message);
}

int fixture_delete_file(Fixture *fixture, uint32_t sink, unsigned index) {
    Txn *txn;
    NthFile nth = {.left = index};
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    (void)ledger_visit_files(txn, sink, find_nth, &nth, NULL);
    txn_abort(txn);
    Mailbox *reply = mailbox_new(NULL, NULL);
    FileAction action = {.request.message.kind = MESSAGE_FILE_ACTION, .request.reply = reply, .file = nth.file, .remove = true};
    mailbox_post(writer_mailbox(fixture->writer), &action.request.message);
    fixture_run(fixture);
    assert_ptr_equal(mailbox_take(reply), &action.request.message);
    mailbox_free(reply);
    return action.request.result;
}

void fixture_close(Fixture *fixture, uint32_t sink, CloseReason reason) {
    Close *close = calloc(1, sizeof *close);
    close->request.message.kind = MESSAGE_CLOSE;
    close->request.reply = fixture->control;
    close->sink = sink;
    close->reason = reason;
    close->wait_imported = true;
    mailbox_post(writer_mailbox(fixture->writer), &close->request.message);
}

void fixture_run(Fixture *fixture) {
    for (unsigned i = 0; i < 1000; i++) {
        usec_t next = writer_step(fixture->writer);
        bool worked = false;
        while (stager_step(fixture->stager)) worked = true;
        while (loaders_step(fixture->loaders)) worked = true;
        collect(fixture);
        if (!worked && next > 0) return;
    }
    fail_msg("it does not come to rest");
}

void fixture_pass(Fixture *fixture, usec_t time) {
    fixture->clock.boot_now += time;
    fixture->clock.wall_now += time;
}

void fixture_live(Fixture *fixture, usec_t time) {
    for (usec_t step; time > 0; time -= step) {
        step = time < 10 * USEC_MINUTE ? time : 10 * USEC_MINUTE;
        fixture_pass(fixture, step);
        fixture_run(fixture);
    }
}

SinkStatistics fixture_statistics(Fixture *fixture, uint32_t sink) {
    SinkStatistics statistics = {0};
    Mailbox *reply = mailbox_new(NULL, NULL);
    TotalsQuery query = {
        .request.message.kind = MESSAGE_TOTALS, .request.reply = reply, .sinks = &sink, .statistics = &statistics, .count = 1};
    mailbox_post(writer_mailbox(fixture->writer), &query.request.message);
    (void)writer_step(fixture->writer);
    assert_ptr_equal(mailbox_take(reply), &query.request.message);
    mailbox_free(reply);
    const SinkTotals *totals = &statistics.totals;
    assert_int_equal(totals->received.rows, statistics.local.rows + statistics.staging.rows + totals->imported.rows +
                                                totals->rejected_rows + totals->dropped_rows + totals->overtaken_rows +
                                                totals->returned_rows);
    return statistics;
}

bool fixture_has(Fixture *fixture, const char *text) {
    return fixture->table.size > 0 && memmem(fixture->table.data, fixture->table.size, text, strlen(text)) != NULL;
}

/* ---- of bridges ------------------------------------------------------------ */

void fixture_flush(Fixture *fixture, uint32_t sink) {
    fixture_close(fixture, sink, CLOSE_FLUSH);
    fixture_run(fixture);
}

int64_t fixture_stored_end(Fixture *fixture, uint32_t sink, uint32_t partition) {
    Txn *txn;
    int64_t end = -1;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    int r = partition_end_find(txn, sink, partition, &end, NULL);
    txn_abort(txn);
    return r == 0 ? end : -1;
}

void fixture_restart(Fixture *fixture) {
    fixture_stop(fixture, false);
    fixture_start(fixture);
}

void fixture_chain_is(Fixture *fixture, size_t partition, int64_t from, int64_t end) {
    PartitionProgress progress = fixture_progress(fixture, 1, false).partitions[partition];
    if (progress.from != from || progress.end != end)
        fail_msg("the chain is [%lld, %lld) and not [%lld, %lld)", (long long)progress.from, (long long)progress.end, (long long)from,
                 (long long)end);
}

int64_t fixture_position_told(Fixture *fixture, size_t partition) {
    return fixture_progress(fixture, 1, false).partitions[partition].position;
}

int64_t fixture_position_of(Fixture *fixture, size_t partition) {
    (void)fixture_progress(fixture, 1, true);
    fixture_run(fixture);
    return fixture_progress(fixture, 1, false).partitions[partition].position;
}

void fixture_append_tens(Fixture *fixture, int64_t first, int64_t next, bool sets_end) {
    for (; first < next; first += 10, sets_end = false)
        fixture_append_runs(
            fixture, &(FixtureRun){.sink = 1, .partition = 0, .first = first, .next = first + 10, .rows = 10, .sets_end = sets_end}, 1);
    fixture_run(fixture);
}
