/* Rows of a broker with damage around them, among other rows, and with a real destination. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/cursor.h"
#include "storage/environment_private.h"
#include "storage/ledger_private.h"
#include "storage/pack.h"
#include "storage/partitions_private.h"
#include "tests/support/memory-files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */
#define APPEND(...) fixture_append_runs(fixture, (FixtureRun[]){__VA_ARGS__}, sizeof((FixtureRun[]){__VA_ARGS__}) / sizeof(FixtureRun))

static void flush(Fixture *fixture, uint32_t sink) {
    fixture_close(fixture, sink, CLOSE_FLUSH);
    fixture_run(fixture);
}

static PartitionProgress progress_of(Fixture *fixture, size_t partition) {
    return fixture_progress(fixture, 1, false).partitions[partition];
}

static void verify(Fixture *fixture, uint64_t end) {
    Error error = {0};
    Txn *txn;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    if (ledger_verify(txn, 1, end, &error) < 0) fail_msg("%s", error.text);
    txn_abort(txn);
}

/* A file of the sink with rows of partitions 0 and 1, which waits. */
static void add_file(Fixture *fixture, int64_t first, bool sets_end) {
    APPEND({.sink = 1, .partition = 0, .first = first, .next = first + 10, .rows = 4, .sets_end = sets_end},
           {.sink = 1, .partition = 1, .first = first, .next = first + 10, .rows = 3, .sets_end = sets_end});
    fixture_run(fixture);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
}

static void three_files(Fixture *fixture) {
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 7, NEVER);
    for (int64_t i = 0; i < 3; i++) add_file(fixture, 10 * i, i == 0);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 3);
}

typedef struct NthSlice {
    unsigned left;
    SliceRecord slice;
} NthSlice;

static int find_slice(void *context, const SliceRecord *slice, Error *error) {
    NthSlice *nth = context;
    if (nth->left-- == 0) nth->slice = *slice;
    return 0;
}

static SliceRecord slice_of(Fixture *fixture, unsigned n) {
    Txn *txn;
    NthSlice nth = {.left = n};
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(ledger_visit_slices(txn, 1, 1, UINT64_MAX / 2, find_slice, &nth, NULL), 0);
    txn_abort(txn);
    assert_true(nth.slice.rows > 0);
    return nth.slice;
}

/* In the row text of the n-th slice. */
static void damage_pack(Fixture *fixture, unsigned n) {
    char path[64];
    SliceRecord slice = slice_of(fixture, n);
    pack_path(&slice.pack, path);
    assert_int_equal(memory_files_flip(fixture->files, path, 8 * (slice.offset + slice.length / 2), NULL), 0);
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* The files before it are imported, its records and those behind are read again: nothing is lost,
 * and nothing comes twice. */
static void test_damage_in_a_pack_that_waits(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    damage_pack(fixture, 1);
    fixture->result = SINK_DONE;
    flush(fixture, 1);
    SinkTotals totals = fixture_statistics(fixture, 1).totals;
    assert_int_equal(fixture->arrived, 7);
    assert_int_equal(totals.returned_rows, 14);
    assert_int_equal(totals.dropped_rows, 0); /* it is no loss */
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(progress_of(fixture, i).end, -1);
        assert_int_equal(fixture->positions[i], 10);
    }
    verify(fixture, 22);
    add_file(fixture, 10, true); /* the bridge goes back */
    add_file(fixture, 20, false);
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 21);
    assert_true(fixture_has(fixture, "0:10-3") && fixture_has(fixture, "1:20-2"));
    assert_int_equal(progress_of(fixture, 0).end, 30);
    assert_int_equal(fixture->misplaced, 0);
    verify(fixture, 36);
}

/* Somebody else has imported what is damaged here: nothing has to be read again. */
static void test_damage_of_records_that_somebody_else_imported(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    damage_pack(fixture, 0);
    fixture->positions[0] = fixture->positions[1] = 20;
    fixture->result = SINK_DONE;
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 7);
    assert_int_equal(progress_of(fixture, 0).from, 30);
    assert_int_equal(progress_of(fixture, 0).end, 30);
    verify(fixture, 22);
}

/* Found while the file is divided, since it takes too long. */
static void test_damage_of_a_file_that_is_divided(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    damage_pack(fixture, 2);
    fixture->result = SINK_DONE;
    fixture->fast_rows = 5;
    flush(fixture, 1);
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 14);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 7);
    assert_int_equal(progress_of(fixture, 1).end, -1);
    assert_int_equal(fixture->positions[1], 20);
    verify(fixture, 22);
}

static void remove_pack(Fixture *fixture, unsigned n) {
    SliceRecord slice = slice_of(fixture, n);
    assert_int_equal(pack_remove(fixture->files, &slice.pack, NULL), 0);
}

/* An admin gives up what is not there at a start: the broker has it still. */
static void test_a_pack_that_is_given_up(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    fixture_stop(fixture, false);
    EnvironmentOptions options = {.path = fixture->directory, .map_bytes = fixture->map_bytes, .no_sync = true};
    assert_int_equal(environment_open(&options, &fixture->environment, NULL), 0);
    remove_pack(fixture, 1);
    environment_close(fixture->environment);
    fixture->options.give_up_missing = true;
    fixture->result = SINK_DONE;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 7, NEVER);
    flush(fixture, 1);
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 7);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 14);
    assert_int_equal(progress_of(fixture, 0).end, -1);
    assert_int_equal(fixture->positions[0], 10);
    verify(fixture, 22);
}

/* No record says any more which partition it was, and the database does not miss it: its slices are
 * returned, the others' records too. */
static void test_runs_of_a_partition_that_is_not_known(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    fixture_define(fixture, 2, false, 1000, NEVER);
    APPEND({.sink = 2, .partition = 2, .first = 0, .next = 5, .rows = 5, .sets_end = true});
    fixture_run(fixture);
    fixture_stop(fixture, false);
    EnvironmentOptions options = {.path = fixture->directory, .map_bytes = fixture->map_bytes, .no_sync = true};
    assert_int_equal(environment_open(&options, &fixture->environment, NULL), 0);
    Txn *txn;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_remove(txn, DB_CURSORS, SPAN("P\0\0\0\2"), NULL), 0); /* partition 1 */
    assert_int_equal(txn_commit(txn, NULL), 0);
    environment_close(fixture->environment);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 7, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture->result = SINK_DONE;
    flush(fixture, 1);
    flush(fixture, 2);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 21);
    assert_int_equal(fixture->arrived, 5); /* another sink is not concerned */
    assert_int_equal(progress_of(fixture, 0).end, -1);
    assert_int_equal(progress_of(fixture, 1).end, -1);
    verify(fixture, 22);
    for (int64_t i = 0; i < 3; i++) add_file(fixture, 10 * i, i == 0); /* it has a new number */
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 5 + 21);
    assert_int_equal(fixture->positions[1], 30);
    assert_int_equal(fixture->broken, 0);
}

/* ---- rows with runs and rows without --------------------------------------------------------- */

static void begin_again(Fixture *fixture) {
    fixture_stop(fixture, false);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_run(fixture);
}

/* A stream is read by positions, then by acknowledgements, then by positions again: a file has one
 * kind of rows, and all arrive in order. */
static void rows_of_both_kinds(Fixture *fixture, bool stages_each, bool restarts) {
    fixture->result = SINK_RETRY;
    fixture->upload_rows = stages_each;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 5, .rows = 5, .sets_end = true});
    fixture_run(fixture);
    if (restarts) begin_again(fixture);
    fixture_append(fixture, 1, "acknowledged", 3, 20);
    fixture_run(fixture);
    if (restarts) begin_again(fixture);
    APPEND({.sink = 1, .partition = 0, .first = 5, .next = 9, .rows = 4});
    fixture_run(fixture);
    flush(fixture, 1);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 3);
    if (restarts) begin_again(fixture);
    fixture->result = SINK_DONE;
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 5 + 3 + 4);
    assert_int_equal(fixture->positions[0], 9);
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_int_equal(statistics.totals.returned_rows + statistics.totals.dropped_rows + statistics.files_waiting, 0);
    buffer_append_byte(&fixture->table, '\0');
    const char *table = fixture->table.data, *first = strstr(table, "0:0-4"), *second = strstr(table, "acknowledged-0"),
               *third = strstr(table, "0:5-0");
    assert_true(first && second && third && first < second && second < third);
    verify(fixture, 13);
}

static void test_rows_with_runs_and_without_share_no_file(void **state) {
    for (unsigned i = 0; i < 4; i++) {
        void *made;
        assert_int_equal(fixture_setup(&made), 0);
        rows_of_both_kinds(made, i & 1, i & 2);
        assert_int_equal(fixture_teardown(&made), 0);
    }
}

/* Whatever made it: it is refused visibly, nothing of it is imported without its position, and the
 * other sinks go on. */
static void test_a_file_with_both_is_not_imported(void **state) {
    Fixture *fixture = *state;
    fixture->upload_rows = 1;
    fixture_define(fixture, 1, false, 1000, NEVER);
    for (int64_t i = 0; i < 2; i++) {
        APPEND({.sink = 1, .partition = 0, .first = 10 * i, .next = 10 * i + 10, .rows = 5, .sets_end = i == 0});
        fixture_run(fixture);
    }
    SliceRecord before = slice_of(fixture, 0), slice = slice_of(fixture, 1);
    assert_true(uuid_equal(&slice.file, &before.file));
    Txn *txn;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    slice.run_count = 0;
    assert_int_equal(ledger_put_slice(txn, &slice, NULL, NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_append(fixture, 2, "other", 3, 20);
    flush(fixture, 1);
    flush(fixture, 2);
    assert_int_equal(fixture->arrived, 3);
    assert_non_null(strstr(fixture_statistics(fixture, 1).last_error, "has rows of a broker's records and others"));
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 3);
    assert_int_equal(fixture->positions[0], 0);
    assert_int_equal(fixture->broken, 0);
}

/* ---- positions that go first ----------------------------------------------------------------- */

/* Also when an admin expedites the sink: else the rows would not follow. */
static void test_rows_never_pass_positions_that_came_before_them(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 4, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .sets_end = true});
    fixture->result = SINK_RETRY;
    fixture_run(fixture);
    fixture_pass(fixture, 10 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 1);
    APPEND({.sink = 1, .partition = 0, .first = 4, .next = 9, .rows = 4});
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
    for (unsigned i = 0; i < 5; i++) {
        flush(fixture, 1);
        assert_int_equal(fixture->close_result, -ECANCELED);
        (void)fixture_progress(fixture, 1, true);
        fixture_run(fixture);
        fixture_pass(fixture, USEC_HOUR);
        fixture_run(fixture);
    }
    assert_int_equal(fixture->imports, 0);
    assert_true(fixture->advances > 5);
    fixture->result = SINK_DONE;
    flush(fixture, 1);
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->imports, 1);
    assert_int_equal(fixture->positions[0], 9);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 0);
}

/* Who waits until all is imported waits for the positions over records without rows as well. */
static void test_a_close_waits_for_positions(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .sets_end = true});
    flush(fixture, 1); /* at once: nothing waits for rows that may follow */
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->closes, 1);
    assert_int_equal(fixture->positions[0], 4);
    fixture->result = SINK_RETRY;
    APPEND({.sink = 1, .partition = 0, .first = 4, .next = 8});
    flush(fixture, 1);
    assert_int_equal(fixture->close_result, -ECANCELED);
    APPEND({.sink = 1, .partition = 0, .first = 8, .next = 10, .rows = 2});
    fixture->result = SINK_DONE;
    flush(fixture, 1);
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->positions[0], 10);
}

/* ---- a real destination ---------------------------------------------------------------------- */

static int64_t ask_table(Fixture *fixture, const char *sql) {
    char path[300];
    sqlite3 *database;
    sqlite3_stmt *statement;
    (void)snprintf(path, sizeof path, "%s/tables.db", fixture->directory);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK) fail_msg("%s", sqlite3_errmsg(database));
    int64_t value = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(database);
    return value;
}

/* As a bridge has a loader do it. */
static void with_session(Fixture *fixture, bool seeks, int64_t next) {
    SinkSession *session;
    Error error = {0};
    const SinkDriver *driver = &sink_driver_sqlite;
    PartitionKey key = {.cluster = "cluster", .group = "group", .topic = "orders", .partition = 0};
    PositionsOwner owner = {.sink_label = "a/b"};
    const SinkTarget *target = &fixture->sinks[1]->target;
    if (driver->connect(&fixture->connections.items[0], fixture->directory, "test", NULL, &session, &error) != SINK_DONE)
        fail_msg("%s", error.text);
    PositionClaim claim = {.key = key, .start = next, .earliest = 0};
    ClaimJob claims = {.owner = owner, .target = target, .claims = &claim, .count = 1};
    ImportPosition position = {.key = key, .next = next};
    SeekJob seek = {.owner = owner, .target = target, .positions = &position, .count = 1, .backwards = true};
    SinkResult result = seeks ? driver->positions->seek(session, &seek, &error) : driver->positions->claim(session, &claims, &error);
    if (result != SINK_DONE) fail_msg("%s", error.text);
    driver->disconnect(session);
}

static void test_rows_and_positions_in_a_real_table(void **state) {
    Fixture *fixture = *state;
    static const char rows[] = "SELECT count(*) FROM sink1", distinct[] = "SELECT count(DISTINCT id) FROM sink1",
                      position[] = "SELECT next_offset FROM _sluice_positions";
    fixture_use_sqlite(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 5, .next = 10, .rows = 5, .sets_end = true});
    fixture_append(fixture, 2, "of-an-http-source", 3, 20);
    (void)fixture_progress(fixture, 1, false);
    flush(fixture, 1); /* nobody made a position */
    flush(fixture, 2);
    FixtureProgress stopped = fixture_progress(fixture, 1, false);
    assert_true(stopped.partitions[0].missing);
    assert_non_null(strstr(stopped.sink.error, "positionsMissing"));
    assert_int_equal(ask_table(fixture, "SELECT count(*) FROM sink2"), 3);
    with_session(fixture, false, 5);
    (void)fixture_progress(fixture, 1, true);
    fixture_run(fixture);
    FixtureProgress well = fixture_progress(fixture, 1, false);
    assert_int_equal(well.partitions[0].position, 10);
    assert_int_equal(well.partitions[0].from, 10);
    assert_false(well.partitions[0].missing);
    assert_int_equal(ask_table(fixture, rows), 5);

    /* Runs without rows, rows, a start, and files that wait. */
    APPEND({.sink = 1, .partition = 0, .first = 10, .next = 14});
    fixture_run(fixture);
    fixture_pass(fixture, 6 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(ask_table(fixture, position), 14);
    APPEND({.sink = 1, .partition = 0, .first = 14, .next = 20, .rows = 6});
    fixture_run(fixture);
    fixture_stop(fixture, false);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    flush(fixture, 1);
    assert_int_equal(ask_table(fixture, rows), 11);
    assert_int_equal(ask_table(fixture, position), 20);

    /* Somebody seeks: the writer sees it, and the bridge reads again, which the seek said would
     * double records. */
    with_session(fixture, true, 16);
    for (unsigned i = 0; i < 10 && progress_of(fixture, 0).end >= 0; i++) {
        fixture_pass(fixture, USEC_SECOND);
        fixture_run(fixture);
    }
    assert_int_equal(progress_of(fixture, 0).end, -1);
    assert_int_equal(progress_of(fixture, 0).position, 16);
    APPEND({.sink = 1, .partition = 0, .first = 16, .next = 26, .rows = 10, .sets_end = true});
    fixture_run(fixture);
    /* Another node was quicker with some of them. */
    with_session(fixture, true, 20);
    flush(fixture, 1);
    assert_int_equal(progress_of(fixture, 0).end, -1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 10);
    APPEND({.sink = 1, .partition = 0, .first = 20, .next = 26, .rows = 6, .sets_end = true});
    flush(fixture, 1);
    assert_int_equal(ask_table(fixture, position), 26);
    assert_int_equal(ask_table(fixture, rows), 17);
    assert_int_equal(ask_table(fixture, distinct), 17);
    assert_int_equal(fixture_statistics(fixture, 1).totals.imported.rows, 17);
    assert_int_equal(fixture->broken, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_damage_in_a_pack_that_waits),           TEST(test_damage_of_records_that_somebody_else_imported),
        TEST(test_damage_of_a_file_that_is_divided),      TEST(test_a_pack_that_is_given_up),
        TEST(test_runs_of_a_partition_that_is_not_known), cmocka_unit_test(test_rows_with_runs_and_without_share_no_file),
        TEST(test_a_file_with_both_is_not_imported),      TEST(test_rows_never_pass_positions_that_came_before_them),
        TEST(test_a_close_waits_for_positions),           TEST(test_rows_and_positions_in_a_real_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
