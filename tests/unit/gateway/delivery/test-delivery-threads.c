/*
 * Writer, stager and loaders on their threads, with the real clock, file system and SQLite: every
 * row of two loops is in its table once. Mostly for ThreadSanitizer; what can go wrong in which
 * order is the simulation's.
 */
#include <ftw.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/thread.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/stager.h"
#include "gateway/delivery/writer/writer.h"
#include "mapping/row.h"
#include "tests/support/definitions.h"

#define LOOPS 2
#define APPENDS 150
#define SINKS 3
#define ROWS 4 /* of one sink in one Append */
#define PATIENCE (60 * USEC_SECOND)

typedef struct Gateway {
    char directory[256];
    Files *files;
    Environment *environment;
    Usage usage;
    Mailbox *control;
    Stager *stager;
    Writer *writer;
    Loaders *loaders;
    Connections connections;
    Thread writer_thread, stager_thread;
    atomic_bool end;
} Gateway;

static void post_import(void *context, LoadJob *take_job) {
    loaders_post(((Gateway *)context)->loaders, take_job);
}

static void *run_writer(void *context) {
    Gateway *gateway = context;
    while (!atomic_load(&gateway->end)) {
        usec_t next = writer_step(gateway->writer);
        (void)mailbox_wait(writer_mailbox(gateway->writer), next);
    }
    return NULL;
}

static void *run_stager(void *context) {
    Gateway *gateway = context;
    while (!atomic_load(&gateway->end))
        if (!stager_step(gateway->stager)) (void)mailbox_wait(stager_mailbox(gateway->stager), USEC_NEVER);
    return NULL;
}

static void start(Gateway *gateway) {
    Error error = {0};
    char path[300];
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(gateway->directory, sizeof gateway->directory, "%s/threads-XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(gateway->directory));
    static const char *const folders[] = {"staging", "staging/orphans", "staging/expired"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", gateway->directory, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(files_open(gateway->directory, &gateway->files, &error), 0);
    (void)snprintf(path, sizeof path, "%s/sluice.mdb", gateway->directory);
    EnvironmentOptions environment = {.path = path, .map_bytes = 256u << 20, .no_sync = true};
    assert_int_equal(environment_open(&environment, &gateway->environment, &error), 0);
    static const Uuid instance = {.bytes = {9}};
    gateway->control = mailbox_new(NULL, NULL);
    gateway->stager = stager_new(gateway->environment, gateway->files, &instance);
    WriterOptions writer = {.environment = gateway->environment,
                            .files = gateway->files,
                            .clock = clock_system(),
                            .usage = &gateway->usage,
                            .instance = instance,
                            .stager = stager_mailbox(gateway->stager),
                            .control = gateway->control,
                            .post_import = post_import,
                            .post_import_context = gateway,
                            .seed = 1,
                            .disk_budget = 256u << 20,
                            .disk_share_percent = 50,
                            .log_high_mark = 64u << 20,
                            .retain_imported = 0,
                            .retain_failed = USEC_DAY,
                            .retain_expired = USEC_DAY,
                            .retain_rejects = USEC_DAY,
                            .rejects_bytes = 1u << 20};
    assert_int_equal(writer_open(&writer, &gateway->writer, &error), 0);
    static char *values[] = {(char *)(uintptr_t) "tables.db", NULL, NULL, NULL};
    static Connection local = {.name = (char *)(uintptr_t) "local", .type = &connection_type_sqlite, .values = values};
    gateway->connections = (Connections){.items = &local, .count = 1};
    LoadersOptions loaders = {.connections = &gateway->connections,
                              .data_directory = gateway->directory,
                              .files = gateway->files,
                              .instance = instance,
                              .writer = writer_mailbox(gateway->writer),
                              .threads = 3,
                              .import_timeout = USEC_MINUTE,
                              .bad_rows_max = 10};
    assert_int_equal(loaders_start(&loaders, &gateway->loaders, &error), 0);
    assert_int_equal(thread_start(&gateway->stager_thread, "stager", run_stager, gateway, &error), 0);
    assert_int_equal(thread_start(&gateway->writer_thread, "writer", run_writer, gateway, &error), 0);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    return remove(path);
}

static void stop(Gateway *gateway) {
    loaders_free(gateway->loaders);
    atomic_store(&gateway->end, true);
    mailbox_interrupt(stager_mailbox(gateway->stager));
    thread_join(&gateway->stager_thread);
    mailbox_interrupt(writer_mailbox(gateway->writer));
    thread_join(&gateway->writer_thread);
    stager_free(gateway->stager);
    writer_close(gateway->writer);
    assert_null(mailbox_take(gateway->control));
    mailbox_free(gateway->control);
    environment_close(gateway->environment);
    files_free(gateway->files);
    (void)nftw(gateway->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static Message *wait_for(Mailbox *mailbox) {
    assert_true(mailbox_wait(mailbox, PATIENCE));
    return mailbox_take(mailbox);
}

static void define(Gateway *gateway, uint32_t number, Source *source) {
    Sink *sink = calloc(1, sizeof *sink);
    char name[32];
    (void)snprintf(name, sizeof name, "sink%u", number);
    atomic_init(&sink->references, 1);
    sink->number = number;
    sink->mapping_version = 1;
    sink->sink_id = strdup(name);
    sink->target.connection = strdup("local");
    sink->target.table.table_id = strdup(name);
    sink->target.columns = calloc(2, sizeof(Column));
    sink->target.column_count = 2;
    for (size_t i = 0; i < 2; i++) {
        sink->target.columns[i].name = strdup(i ? "value" : "id");
        sink->target.columns[i].type = COLUMN_BODY;
    }
    static const SettingId once[] = {SETTING_UPLOAD_COUNT, SETTING_IMPORT_COUNT};
    for (size_t i = 0; i < 2; i++) {
        sink->settings.set[once[i]] = true;
        sink->settings.value[once[i]] = 1;
    }
    SinkGate *gate = sink_gate_new();
    SinkOrder order = {.source = source, .sink = sink, .gate = gate};
    Define message = {.request.message.kind = MESSAGE_DEFINE, .request.reply = gateway->control, .sinks = &order, .sink_count = 1};
    mailbox_post(writer_mailbox(gateway->writer), &message.request.message);
    assert_ptr_equal(wait_for(gateway->control), &message.request.message);
    assert_int_equal(message.request.result, 0);
    sink_unref(sink);
    sink_gate_unref(gate);
}

typedef struct Loop {
    Thread thread;
    Gateway *gateway;
    unsigned index;
    unsigned acknowledged;
} Loop;

static void post_append(Loop *loop, Mailbox *reply, unsigned number) {
    Append *append = calloc(1, sizeof *append);
    append->message.kind = MESSAGE_APPEND;
    append->reply = reply;
    append->sinks = arena_zalloc(&append->arena, SINKS * sizeof *append->sinks);
    append->sink_count = SINKS;
    for (uint32_t sink = 1; sink <= SINKS; sink++) {
        AppendSink *out = &append->sinks[sink - 1];
        *out = (AppendSink){.sink = sink, .mapping_version = 1, .first_time = 1, .last_time = 1, .piece_count = 1};
        for (unsigned row = 0; row < ROWS; row++) buffer_printf(&out->rows, "%u-%u-%u,x\n", loop->index, number, row);
        out->pieces = arena_zalloc(&append->arena, sizeof *out->pieces);
        out->pieces[0] = (AppendPiece){.bytes = out->rows.size, .rows = ROWS};
    }
    mailbox_post(writer_mailbox(loop->gateway->writer), &append->message);
}

static void *run_loop(void *context) {
    Loop *loop = context;
    Mailbox *reply = mailbox_new(NULL, NULL);
    for (unsigned sent = 0, back = 0; back < APPENDS;) {
        for (; sent < APPENDS && sent - back < 5; sent++) post_append(loop, reply, sent);
        (void)mailbox_wait(reply, PATIENCE);
        for (Message *message = mailbox_take(reply), *next; message; message = next) {
            next = message->next;
            Append *append = (Append *)message;
            loop->acknowledged += append->result == APPEND_DONE;
            for (size_t i = 0; i < append->sink_count; i++) buffer_deinit(&append->sinks[i].rows);
            arena_deinit(&append->arena);
            free(append);
            back++;
        }
    }
    mailbox_free(reply);
    return NULL;
}

static void flush(Gateway *gateway, uint32_t sink) {
    Close close = {.request.message.kind = MESSAGE_CLOSE,
                   .request.reply = gateway->control,
                   .sink = sink,
                   .reason = CLOSE_FLUSH,
                   .wait_imported = true};
    mailbox_post(writer_mailbox(gateway->writer), &close.request.message);
    assert_ptr_equal(wait_for(gateway->control), &close.request.message);
    if (close.request.result != 0) fail_msg("%s", close.request.error.text);
}

static int64_t count(Gateway *gateway, const char *expression, uint32_t sink) {
    char path[300], sql[200];
    sqlite3 *database;
    sqlite3_stmt *statement;
    (void)snprintf(path, sizeof path, "%s/tables.db", gateway->directory);
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM \"sink%u\"", expression, sink);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(database);
    return value;
}

static void test_every_row_is_in_its_table_once(void **state) {
    log_setup(LOG_ERROR, 2);
    Gateway gateway = {0};
    Loop loops[LOOPS] = {0};
    Error error = {0};
    start(&gateway);
    Source *source = test_source("source");
    for (uint32_t sink = 1; sink <= SINKS; sink++) define(&gateway, sink, source);
    for (unsigned i = 0; i < LOOPS; i++) {
        loops[i].gateway = &gateway;
        loops[i].index = i;
        assert_int_equal(thread_start(&loops[i].thread, "loop", run_loop, &loops[i], &error), 0);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        thread_join(&loops[i].thread);
        assert_int_equal(loops[i].acknowledged, APPENDS);
    }
    for (uint32_t sink = 1; sink <= SINKS; sink++) {
        flush(&gateway, sink);
        assert_int_equal(count(&gateway, "count(*)", sink), LOOPS * APPENDS * ROWS);
        assert_int_equal(count(&gateway, "count(DISTINCT id)", sink), LOOPS * APPENDS * ROWS);
    }
    stop(&gateway);
    source_unref(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_row_is_in_its_table_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
