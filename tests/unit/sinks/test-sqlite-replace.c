/* Tables that are replaced, in SQLite: the cases of all drivers, and what only it has. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/replace-cases.h"
#include "tests/unit/sinks/sqlite-case.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"

const char positions_table[] = "_sluice_positions", ledger_table[] = "_sluice_files";

void run_sql(const char *text) {
    sql(text);
}

const char true_word[] = "1";

void make_trigger(const char *table, TriggerKind kind) {
    static const char *const bodies[] = {
        [TRIGGER_REFUSES] = "BEFORE INSERT ON %s WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        [TRIGGER_SWALLOWS] = "BEFORE INSERT ON %s WHEN NEW.v = 'gone' BEGIN SELECT RAISE(IGNORE); END",
        [TRIGGER_KEEPS] = "BEFORE DELETE ON %s BEGIN SELECT RAISE(IGNORE); END",
    };
    char text[300];
    int size = snprintf(text, sizeof text, "CREATE TRIGGER of_%s ", table);
    (void)snprintf(text + size, sizeof text - (size_t)size, bodies[kind], table);
    sql(text);
}

void drop_trigger(const char *table) {
    char text[100];
    (void)snprintf(text, sizeof text, "DROP TRIGGER of_%s", table);
    sql(text);
}

#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()

static void collect(SinkSession *session, BridgeCase *bridge, int64_t records) {
    Error error = {0};
    assert_int_equal(replace_claim(session, bridge), RUN_OPEN);
    bridge_next_files(bridge);
    bridge_add(bridge, 0, 0, 0, records);
    must(bridge_import(session, bridge, &error), &error);
}

/* What belongs to the table stays, whatever its definition looks like. */
static void all_of_the_table_stays(void **state) {
    static const char *const definitions[] = {
        "CREATE TABLE kept (p INTEGER, o INTEGER, v TEXT)",
        "CREATE TABLE IF NOT EXISTS main.kept (p INTEGER, o INTEGER, v TEXT) STRICT",
        "create table \"kept\" -- a remark ( ' \"\n (p INTEGER NOT NULL, o INTEGER UNIQUE, v TEXT CHECK (v <> 'kept') DEFAULT 'x')",
        "CREATE TABLE [kept](p INTEGER, /* ) */ o INTEGER, v TEXT, twice INTEGER AS (o * 2) STORED, made TEXT DEFAULT CURRENT_TIMESTAMP)",
        "CREATE TABLE `kept`/* \"kept\" */(id INTEGER PRIMARY KEY AUTOINCREMENT, p INTEGER, o INTEGER, v TEXT)",
    };
    for (size_t i = 0; i < sizeof definitions / sizeof definitions[0]; i++) {
        bool own_key = strstr(definitions[i], "AUTOINCREMENT");
        sql("DROP TABLE IF EXISTS kept; DROP TABLE IF EXISTS kept_log; DROP VIEW IF EXISTS kept_view");
        sql(definitions[i]);
        if (own_key) continue; /* a key that the sink does not have is refused: see below */
        sql("CREATE UNIQUE INDEX \"kept \"\"unique\" ON kept (p, o) WHERE v <> ' ON '; CREATE INDEX kept_index ON kept (lower(v));"
            "CREATE VIEW kept_view AS SELECT count(*) AS n FROM kept; CREATE TABLE kept_log (n INTEGER);"
            "CREATE TRIGGER kept_trigger AFTER DELETE ON kept BEGIN INSERT INTO kept_log VALUES (OLD.o); END;"
            "INSERT INTO kept (p, o, v) VALUES (0, 3, 'old'), (0, 99, 'old')");
        static const char schema[] = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name LIKE 'kept%' ORDER BY 1, 2, 3";
        SESSION;
        REPLACE("kept", false, 1, 1, i + 1);
        char *before = rows_of(schema);
        collect(session, &bridge, 10);
        assert_int_equal(bridge.box.job.rejected_rows, 0);
        assert_int_equal(replace_swap(session, &bridge, 10), SWAP_REPLACED);
        assert_rows(schema, before);
        free(before);
        assert_rows("SELECT n FROM kept_view", "10");
        assert_rows("SELECT group_concat(n) FROM kept_log", "3,99");
        assert_rows("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%replace%'", "0");
    }
    SESSION;
    REPLACE("kept", false, 1, 1, 50);
    assert_int_equal(replace_try_claim(session, &bridge, NULL, NULL, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "\"id\""));
}

/* The process dies when the rows are replaced and not committed, and when they are committed. */
static void a_process_that_dies(void **state) {
    sql("CREATE TABLE mortal (p INTEGER, o INTEGER, v TEXT); INSERT INTO mortal VALUES (0, 0, 'old')");
    REPLACE("mortal", false, 1, 1, 1);
    {
        SESSION;
        collect(session, &bridge, 10);
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (failpoint_set("swap.before-commit=crash", NULL) != 0) _exit(1);
        SinkSession *session = open_session();
        (void)replace_swap(session, &bridge, 10);
        _exit(2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_rows("SELECT count(*), max(v) FROM mortal", "1|old");
    SESSION;
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_int_equal(replace_swap(session, &bridge, 10), SWAP_REPLACED);
    assert_rows("SELECT count(*), max(v) FROM mortal", "10|x");
}

/* In any case of letters, a table and its marks are one. */
static void names_in_any_case(void **state) {
    SESSION;
    sql("CREATE TABLE Mixed (p INTEGER, o INTEGER, v TEXT)");
    REPLACE("MIXED", false, 1, 1, 1);
    collect(session, &bridge, 3);
    bridge.box.target.table.table_id = (char *)(uintptr_t) "mixed";
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_int_equal(replace_swap(session, &bridge, 3), SWAP_REPLACED);
    assert_rows("SELECT count(*) FROM mixed", "3");
    assert_rows("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%replace%'", "0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_of_the_table_stays, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_process_that_dies, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(names_in_any_case, make_directory, remove_directory),
    };
    return run_replace_cases(make_directory, remove_directory) + cmocka_run_group_tests(tests, NULL, NULL);
}
