/* A flipped bit in any record of the local database costs what it hit, is named, and the rest goes
 * on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "storage/catalog.h"
#include "storage/environment_private.h"
#include "storage/ledger.h"
#include "tests/support/memory-files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */

/* ---- bits ------------------------------------------------------------------------------------ */

typedef struct Key {
    Database database;
    char bytes[64];
    size_t size;
} Key;

/* The n-th record that is not empty; false: there are fewer. */
static bool find_key(Fixture *fixture, Database database, size_t n, Key *ret_key) {
    Txn *txn;
    MDB_cursor *cursor;
    Span key = {0}, value;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_cursor(txn, database, &cursor, NULL), 0);
    int r = db_move(cursor, MDB_FIRST, &key, &value, NULL);
    for (; r == 0; r = db_move(cursor, MDB_NEXT, &key, &value, NULL)) {
        if (value.size == 0 || n-- > 0) continue;
        assert_true(key.size <= sizeof ret_key->bytes);
        *ret_key = (Key){.database = database, .size = key.size};
        memcpy(ret_key->bytes, key.data, key.size);
        break;
    }
    mdb_cursor_close(cursor);
    txn_abort(txn);
    return r == 0;
}

static void flip(Fixture *fixture, const Key *key) {
    Txn *txn;
    Span at = {.data = key->bytes, .size = key->size}, value;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_get(txn, key->database, at, &value, NULL), 0);
    char *copy = malloc(value.size);
    assert_non_null(copy);
    memcpy(copy, value.data, value.size);
    copy[value.size / 2] ^= 4;
    assert_int_equal(db_put(txn, key->database, at, (Span){.data = copy, .size = value.size}, NULL), 0);
    free(copy);
    assert_int_equal(txn_commit(txn, NULL), 0);
}

/* No checksum tells of these two. */
static void remove_record(Fixture *fixture, const Key *key, bool put_elsewhere) {
    Txn *txn;
    char other[64];
    Span at = {.data = key->bytes, .size = key->size}, value;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_get(txn, key->database, at, &value, NULL), 0);
    char *copy = malloc(value.size + 1);
    assert_non_null(copy);
    memcpy(copy, value.data, value.size);
    assert_int_equal(db_remove(txn, key->database, at, NULL), 0);
    memcpy(other, key->bytes, key->size);
    other[key->size / 2] ^= 4;
    Span to = {.data = other, .size = key->size};
    if (put_elsewhere) assert_int_equal(db_put(txn, key->database, to, (Span){.data = copy, .size = value.size}, NULL), 0);
    free(copy);
    assert_int_equal(txn_commit(txn, NULL), 0);
}

static Key ledger_key(Fixture *fixture, char kind, size_t n) {
    Key key;
    for (size_t i = 0; find_key(fixture, DB_FILES, i, &key); i++)
        if (key.bytes[0] == kind && n-- == 0) return key;
    fail_msg("there is no such record of kind %c", kind);
    return key;
}

/* ---- a world --------------------------------------------------------------------------------- */

static void define(Fixture *fixture) {
    fixture_define(fixture, 1, false, 10, NEVER);
    fixture_define(fixture, 2, false, 10, NEVER);
}

/* Of sink 1 two files wait and 5 rows are in the log; of sink 2 one file. */
static void fill(Fixture *fixture) {
    fixture->result = SINK_RETRY;
    define(fixture);
    fixture_append(fixture, 1, "first", 10, 20);
    fixture_run(fixture);
    fixture_append(fixture, 1, "second", 10, 20);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
    fixture_append(fixture, 2, "other", 10, 20);
    fixture_run(fixture);
    fixture_append(fixture, 1, "third", 5, 20);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 2);
    fixture->result = SINK_DONE;
}

static void flush(Fixture *fixture) {
    for (uint32_t sink = 1; sink <= 2; sink++) {
        unsigned closes = fixture->closes;
        fixture_close(fixture, sink, CLOSE_FLUSH);
        fixture_run(fixture);
        assert_true(fixture->closes > closes || fixture->broken); /* it never hangs */
    }
}

static void verify(Fixture *fixture) {
    Txn *txn;
    Error error = {0};
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    for (uint32_t sink = 1; sink <= 2; sink++) {
        uint64_t end = fixture_statistics(fixture, sink).totals.staged_row;
        if (ledger_verify(txn, sink, end, &error) != 0) fail_msg("%s", error.text);
    }
    if (ledger_verify_packs(txn, &error) != 0) fail_msg("%s", error.text);
    txn_abort(txn);
}

static int count_pack(void *context, const char *name, const FileInfo *info) {
    *(unsigned *)context += !info->is_directory;
    return 0;
}

static void nothing_is_lost(Fixture *fixture, bool all_was_read) {
    /* The destination of this test keeps no ledger: what was not recorded arrives twice. */
    assert_true(all_was_read ? fixture->arrived == 35 : fixture->arrived >= 35);
    assert_true(fixture_has(fixture, "first-9") && fixture_has(fixture, "second-9") && fixture_has(fixture, "third-4"));
    for (uint32_t sink = 1; sink <= 2; sink++) {
        SinkStatistics statistics = fixture_statistics(fixture, sink);
        assert_int_equal(statistics.totals.dropped_rows, 0);
        assert_int_equal(statistics.files_waiting, 0);
        assert_int_equal(statistics.totals.imported.rows, sink == 1 ? 25 : 10);
        assert_string_equal(statistics.last_error, "");
    }
    if (all_was_read) verify(fixture);
    assert_int_equal(fixture->broken, 0);
}

/* What is retained goes all the same. */
static void all_packs_go(Fixture *fixture) {
    unsigned packs = 0;
    fixture_live(fixture, 3 * USEC_DAY);
    assert_int_equal(fixture->files->list(fixture->files, "staging", count_pack, &packs, NULL), 0);
    assert_int_equal(packs, 0);
    assert_int_equal(fixture->broken, 0);
}

static void restart(Fixture *fixture) {
    fixture_stop(fixture, true);
    fixture_start(fixture);
    define(fixture);
    fixture_run(fixture);
}

static bool is_named(Fixture *fixture) {
    return fixture_statistics(fixture, 1).damage[0] || fixture_statistics(fixture, 2).damage[0];
}

/* ---- every record ---------------------------------------------------------------------------- */

typedef enum When { BEFORE_A_START, WHILE_IT_RUNS, AFTER_IMPORTS } When;

/* false: there are not so many records. */
static bool damage_record(Database database, size_t n, When when) {
    void *state = NULL;
    Key key;
    assert_int_equal(fixture_setup(&state), 0);
    Fixture *fixture = state;
    fill(fixture);
    if (when == AFTER_IMPORTS) flush(fixture);
    bool found = find_key(fixture, database, n, &key);
    if (found) {
        uint64_t before = metrics_read(METRIC_DAMAGED_RECORDS);
        flip(fixture, &key);
        if (when != WHILE_IT_RUNS) restart(fixture);
        flush(fixture);
        if (fixture->broken) { /* the process ends and is started again */
            fixture->broken = 0;
            fixture_stop(fixture, false);
            fixture_start(fixture);
            define(fixture);
            fixture_run(fixture);
            flush(fixture);
        }
        nothing_is_lost(fixture, when == BEFORE_A_START);
        all_packs_go(fixture);
        if (when == BEFORE_A_START && database == DB_FILES) {
            assert_true(metrics_read(METRIC_DAMAGED_RECORDS) > before);
            assert_true(is_named(fixture) || strchr("POB", key.bytes[0]));
            restart(fixture);
            assert_true(is_named(fixture) || strchr("POB", key.bytes[0]));
        }
    }
    assert_int_equal(fixture_teardown(&state), 0);
    return found;
}

static void test_any_record_before_a_start(void **state) {
    static const Database databases[] = {DB_FILES, DB_STATISTICS, DB_CATALOG};
    for (size_t d = 0; d < 3; d++) {
        size_t n = 0;
        while (damage_record(databases[d], n, BEFORE_A_START)) n++;
        assert_true(n > 1);
    }
}

static void test_any_record_while_it_runs(void **state) {
    size_t n = 0;
    while (damage_record(DB_FILES, n, WHILE_IT_RUNS)) n++;
    assert_true(n > 10);
}

static void test_any_record_of_what_is_retained(void **state) {
    size_t n = 0;
    while (damage_record(DB_FILES, n, AFTER_IMPORTS)) n++;
    assert_true(n > 10);
}

/* ---- records that are missing, or lie under another key -------------------------------------- */

static bool find_any_key(Fixture *fixture, size_t n, Key *ret_key) {
    Txn *txn;
    MDB_cursor *cursor;
    Span key = {0}, value;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_cursor(txn, DB_FILES, &cursor, NULL), 0);
    int r = db_move(cursor, MDB_FIRST, &key, &value, NULL);
    while (r == 0 && n-- > 0) r = db_move(cursor, MDB_NEXT, &key, &value, NULL);
    if (r == 0) {
        *ret_key = (Key){.database = DB_FILES, .size = key.size};
        memcpy(ret_key->bytes, key.data, key.size);
    }
    mdb_cursor_close(cursor);
    txn_abort(txn);
    return r == 0;
}

static bool lose_record(size_t n, bool put_elsewhere, When when) {
    void *state = NULL;
    Key key;
    assert_int_equal(fixture_setup(&state), 0);
    Fixture *fixture = state;
    fill(fixture);
    if (when == AFTER_IMPORTS) flush(fixture);
    bool found = find_any_key(fixture, n, &key);
    if (found) {
        remove_record(fixture, &key, put_elsewhere);
        restart(fixture);
        flush(fixture);
        if (fixture->broken) {
            fixture->broken = 0;
            fixture_stop(fixture, false);
            fixture_start(fixture);
            define(fixture);
            fixture_run(fixture);
            flush(fixture);
        }
        nothing_is_lost(fixture, false);
        /* Nothing asks for a pack of which only the note is lost that all of it is done: its file
         * stays until another repair. */
        if (key.bytes[0] != 'D' || put_elsewhere) all_packs_go(fixture);
    }
    assert_int_equal(fixture_teardown(&state), 0);
    return found;
}

static void test_any_record_that_is_missing(void **state) {
    size_t n = 0;
    while (lose_record(n, false, BEFORE_A_START)) n++;
    assert_true(n > 20);
    for (n = 0; lose_record(n, false, AFTER_IMPORTS);) n++;
    assert_true(n > 10);
}

static void test_any_record_under_another_key(void **state) {
    size_t n = 0;
    while (lose_record(n, true, BEFORE_A_START)) n++;
    assert_true(n > 20);
}

/* ---- what stands nowhere else ---------------------------------------------------------------- */

static int find_first_pack(void *context, const char *name, const FileInfo *info) {
    char *path = context;
    if (info->is_directory || (path[0] && strcmp(path + strlen("staging/"), name) < 0)) return 0;
    (void)snprintf(path, 128, "staging/%s", name);
    return 0;
}

/* The footer of the oldest pack is lost too. */
static void spoil_first_pack(Fixture *fixture) {
    char path[128] = "";
    FileInfo info;
    File *file;
    Files *files = fixture->files;
    assert_int_equal(files->list(files, "staging", find_first_pack, path, NULL), 0);
    assert_int_equal(files->info(files, path, &info, NULL), 0);
    assert_int_equal(files->remove(files, path, NULL), 0);
    assert_int_equal(files->create(files, path, 0600, &file, NULL), 0);
    char *text = calloc(1, (size_t)info.bytes);
    assert_non_null(text);
    assert_int_equal(files->append(files, file, (Span){.data = text, .size = (size_t)info.bytes}, NULL), 0);
    free(text);
    files->close(files, file);
}

static void test_rows_that_nothing_points_to_are_quarantined(void **state) {
    Fixture *fixture = *state;
    fill(fixture);
    Key key = ledger_key(fixture, 'S', 0);
    flip(fixture, &key);
    spoil_first_pack(fixture);
    flush(fixture);
    assert_int_equal(fixture->arrived, 25);
    assert_false(fixture_has(fixture, "first-0"));
    assert_true(fixture_has(fixture, "second-9") && fixture_has(fixture, "other-9") && fixture_has(fixture, "third-4"));
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_int_equal(statistics.totals.dropped_rows, 10);
    assert_int_equal(statistics.files_waiting, 0);
    assert_non_null(strstr(statistics.damage, "rows 1 to 10 are quarantined"));
    assert_string_equal(fixture_statistics(fixture, 2).damage, "");
    verify(fixture);
    restart(fixture);
    assert_non_null(strstr(fixture_statistics(fixture, 1).damage, "rows 1 to 10 are quarantined"));
    all_packs_go(fixture);
}

/* ---- a ledger without an index --------------------------------------------------------------- */

static void remove_kinds(Fixture *fixture, const char *kinds) {
    Txn *txn;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    for (; *kinds; kinds++) {
        Span key = {.data = kinds, .size = 1}, value;
        MDB_cursor *cursor;
        assert_int_equal(db_cursor(txn, DB_FILES, &cursor, NULL), 0);
        while (db_move(cursor, MDB_SET_RANGE, &key, &value, NULL) == 0 && key.data[0] == *kinds) {
            assert_int_equal(mdb_cursor_del(cursor, 0), 0);
            key = (Span){.data = kinds, .size = 1};
        }
        mdb_cursor_close(cursor);
    }
    assert_int_equal(txn_commit(txn, NULL), 0);
}

static void test_a_ledger_of_an_older_program_gets_an_index(void **state) {
    Fixture *fixture = *state;
    fill(fixture);
    fixture_close(fixture, 2, CLOSE_FLUSH);
    fixture_run(fixture);
    remove_kinds(fixture, "BDUW");
    restart(fixture);
    flush(fixture);
    nothing_is_lost(fixture, true);
    all_packs_go(fixture);
}

/* ---- sinks that are stopped ------------------------------------------------------------------ */

static void put_note_that_stays(Fixture *fixture, const char *key) {
    Txn *txn;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(catalog_put(txn, CATALOG_META, span_of(key), SPAN("{\"text\":\"it is damaged\",\"stays\":true}"), NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
}

static void test_rows_of_a_stopped_sink_stay_behind_older_rows_of_another(void **state) {
    Fixture *fixture = *state;
    define(fixture);
    fixture_append(fixture, 2, "older", 5, 20);
    fixture_run(fixture);
    fixture_append(fixture, 1, "kept", 5, 20);
    fixture_run(fixture);
    put_note_that_stays(fixture, "damage.sink/1");
    restart(fixture);
    assert_true(atomic_load(&fixture->gates[1]->closed));
    fixture_close(fixture, 2, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_true(fixture_has(fixture, "older-4"));
    Key kept;
    assert_true(find_key(fixture, DB_LOG, 0, &kept));
    restart(fixture);
    assert_true(find_key(fixture, DB_LOG, 0, &kept));
    assert_int_equal(fixture->broken, 0);
}

static void test_a_version_of_a_sink_that_cannot_be_is_left_out(void **state) {
    Fixture *fixture = *state;
    char key[9] = {'t', 0x40, 0, 0, 1, 0, 0, 0, 1};
    Txn *txn;
    define(fixture);
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(catalog_put(txn, CATALOG_VERSIONS, (Span){.data = key, .size = sizeof key}, SPAN("{}"), NULL), 0);
    assert_int_equal(catalog_put(txn, CATALOG_META, SPAN(CATALOG_NUMBERS), SPAN("{\"sink\":3,\"source\":2}"), NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    uint64_t before = metrics_read(METRIC_DAMAGED_RECORDS);
    restart(fixture); /* it would take gigabytes */
    assert_int_equal(metrics_read(METRIC_DAMAGED_RECORDS), before + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_record_before_a_start),
        cmocka_unit_test(test_any_record_while_it_runs),
        cmocka_unit_test(test_any_record_of_what_is_retained),
        cmocka_unit_test_setup_teardown(test_a_ledger_of_an_older_program_gets_an_index, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_rows_of_a_stopped_sink_stay_behind_older_rows_of_another, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_version_of_a_sink_that_cannot_be_is_left_out, fixture_setup, fixture_teardown),
        cmocka_unit_test(test_any_record_that_is_missing),
        cmocka_unit_test(test_any_record_under_another_key),
        cmocka_unit_test_setup_teardown(test_rows_that_nothing_points_to_are_quarantined, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
