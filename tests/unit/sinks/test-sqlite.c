/* The SQLite driver on real files. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/sinks/sqlite-case.h"

static void creates_a_strict_table(void **state) {
    SESSION;
    CASE("in.c-shop.orders", "id:text:key n:integer x:number d:decimal b:boolean t:timestamp y:date j:json z:bytes", 1);
    prepare(session, &box);
    prepare(session, &box);
    assert_rows("SELECT name || ' ' || type FROM pragma_table_info('in.c-shop.orders')",
                "id TEXT\nn INTEGER\nx REAL\nd TEXT\nb INTEGER\nt TEXT\ny TEXT\nj TEXT\nz BLOB");
    assert_rows("SELECT strict FROM pragma_table_list WHERE name = 'in.c-shop.orders'", "1");
    assert_rows("PRAGMA journal_mode", "wal");
    assert_rows("SELECT count(*) FROM _sluice_files", "0");
}

static void names_every_difference(void **state) {
    SESSION;
    sql("CREATE TABLE differs (k INT PRIMARY KEY, a INTEGER, b NUMERIC, extra TEXT NOT NULL, fine TEXT NOT NULL DEFAULT '', g AS (a) "
        "STORED)");
    CASE("differs", "a:text b:decimal missing:integer g:text", 1);
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    const char *const words[] = {"column \"a\" is INTEGER and should be TEXT",
                                 "column \"b\" is NUMERIC and should be TEXT",
                                 "column \"missing\" (INTEGER) is missing",
                                 "column \"g\" is generated",
                                 "column \"extra\" is not in the sink, but is NOT NULL without a default",
                                 "column \"k\" is part of the table's primary key, but not of the sink's"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!strstr(error.text, words[i])) fail_msg("\"%s\" is missing in: %s", words[i], error.text);
    }
    assert_null(strstr(error.text, "fine"));
}

static void accepts_and_evolves(void **state) {
    SESSION;
    sql("CREATE TABLE lenient (B VARCHAR(20), A, note TEXT)");
    CASE("lenient", "a:text b:text c:integer", 1);
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    box.target.table.on_schema_drift = SCHEMA_DRIFT_EVOLVE;
    prepare(session, &box);
    ADD(&box.rows[0], "12345678901234567890", "1.50", "7");
    import(session, &box);
    assert_rows("SELECT a, b, c, typeof(a), typeof(b) FROM lenient", "12345678901234567890|1.50|7|text|text");
}

/* Types of existing tables: each value is kept, or its row is refused. */
static void types_of_existing_tables(void **state) {
    static const struct {
        const char *type, *data_type, *cell, *kept; /* kept: "VALUE|TYPE"; NULL: the row is refused */
        bool strict;
    } cases[] = {
        {"int", "integer", "9223372036854775807", "9223372036854775807|integer", true},
        {"any", "integer", "42", "42|integer", true},
        {"any", "text", "42", "42|text", true},
        {"any", "decimal", "1.50", "1.50|text", true},
        {"real", "number", "0.1", "0.1|real", true},
        {"integer", "number", "2.0", "2|integer", true},
        {"integer", "number", "2.5", NULL, true},
        {"text", "json", "1.50", "1.50|text", true},
        {"text", "timestamp", "2006-01-02T15:04:05.123456Z", "2006-01-02T15:04:05.123456Z|text", true},
        {"blob", "bytes", "\\x00ff", "00FF|blob", true},
        {"BIGINT", "integer", "42", "42|integer", false},
        {"BIGINT", "number", "2.5", "2.5|real", false},
        {"VARCHAR(2)", "text", "abc", "abc|text", false},
        {"DOUBLE", "number", "0.1", "0.1|real", false},
        {"NUMERIC", "integer", "9223372036854775807", "9223372036854775807|integer", false},
        {"NUMERIC(10,2)", "number", "1.5", "1.5|real", false},
        {"DECIMAL", "number", "3.0", "3|integer", false},
        {"BOOLEAN", "boolean", "true", "1|integer", false},
        {"DATETIME", "timestamp", "2006-01-02T15:04:05.123456Z", "2006-01-02T15:04:05.123456Z|text", false},
        {"DATE", "date", "2006-01-02", "2006-01-02|text", false},
        {"UUID", "uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001|text", false},
    };
    static const struct {
        const char *type, *data_type;
    } refused[] = {{"NUMERIC", "text"}, {"NUMERIC", "decimal"}, {"JSON", "json"}, {"REAL", "integer"}, {"TEXT", "integer"}};
    SESSION;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Buffer text = {0};
        buffer_printf(&text, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (v %s)%s", cases[i].type, cases[i].strict ? " STRICT" : "");
        sql(buffer_text(&text));
        buffer_clear(&text);
        buffer_printf(&text, "v:%s", cases[i].data_type);
        CASE("typed", buffer_text(&text), 1);
        prepare(session, &box);
        ADD(&box.rows[0], cases[i].cell);
        import(session, &box);
        assert_int_equal(box.reject_count, cases[i].kept ? 0 : 1);
        assert_rows("SELECT CASE typeof(v) WHEN 'blob' THEN hex(v) ELSE v END, typeof(v) FROM typed", cases[i].kept ? cases[i].kept : "");
        buffer_deinit(&text);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        Buffer text = {0};
        buffer_printf(&text, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (v %s)", refused[i].type);
        sql(buffer_text(&text));
        buffer_clear(&text);
        buffer_printf(&text, "v:%s", refused[i].data_type);
        CASE("typed", buffer_text(&text), 1);
        assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
        buffer_deinit(&text);
    }
}

/* What prepare would do; nothing is there afterwards that was not before. */
static void inspects_and_changes_nothing(void **state) {
    SESSION;
    TableInspection inspection = {0};
    CASE("looked_at", "a:text b:text c:integer", 1);
    table_inspection_deinit(&inspection);
    must(driver->inspect(session, &box.target, &inspection, &error), &error);
    assert_true(inspection.creates);
    assert_rows("SELECT count(*) FROM sqlite_schema", "0");
    sql("CREATE TABLE looked_at (b TEXT, a TEXT)");
    table_inspection_deinit(&inspection);
    assert_int_equal(driver->inspect(session, &box.target, &inspection, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "column \"c\" (INTEGER) is missing"));
    box.target.table.on_schema_drift = SCHEMA_DRIFT_EVOLVE;
    table_inspection_deinit(&inspection);
    must(driver->inspect(session, &box.target, &inspection, &error), &error);
    assert_false(inspection.creates || inspection.adds[0] || inspection.adds[1]);
    assert_true(inspection.adds[2]);
    assert_rows("SELECT count(*) FROM pragma_table_info('looked_at')", "2");
    box.target.table.table_id = (char *)"_sluice_files";
    table_inspection_deinit(&inspection);
    assert_int_equal(driver->inspect(session, &box.target, &inspection, &error), SINK_REFUSED);
    table_inspection_deinit(&inspection);
}

static void refuses_what_is_no_table(void **state) {
    SESSION;
    sql("CREATE VIEW looks AS SELECT 1 AS a");
    CASE("looks", "a:text", 1);
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    box.target.table.table_id = (char *)"_SLUICE_files";
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "ledger"));
    box.target.table.table_id = (char *)"sqlite_mine";
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    box.target.table.table_id = (char *)"odd\"; DROP VIEW looks; --";
    prepare(session, &box);
    ADD(&box.rows[0], "x");
    import(session, &box);
    assert_rows("SELECT a FROM \"odd\"\"; DROP VIEW looks; --\"", "x");
}

static void imports_once(void **state) {
    SESSION;
    CASE("once", "a:text b:text", 1);
    bool found = true;
    must(driver->look_up(session, &box.files[0].id, &found, &error), &error); /* no ledger yet */
    assert_false(found);
    prepare(session, &box);
    ADD(&box.rows[0], "1", "");
    ADD(&box.rows[0], "2", NULL);
    import(session, &box);
    assert_false(box.files[0].already_imported);
    must(driver->look_up(session, &box.files[0].id, &found, &error), &error);
    assert_true(found);
    import(session, &box);
    assert_true(box.files[0].already_imported);
    assert_rows("SELECT a, b FROM once ORDER BY a", "1|\n2|NULL");
    assert_rows("SELECT instance, sink, table_name, first_row, rows, bytes, checksum FROM _sluice_files",
                "11111111-1111-1111-1111-111111111111|shop/orders|once|1|2|8|fedcba9876543210");
    box.files[0].reader = NULL;
    ImportJob *job = sink_case_job(&box);
    job->files[0].checksum = 1;
    assert_int_equal(driver->import(session, job, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "ledgerConflict"));
    assert_non_null(strstr(error.text, "checksum fedcba9876543210 instead of 0000000000000001"));

    /* One of its three rows was damaged after an import of which nobody heard. Fewer rows, and more
     * than there can be, are a conflict. */
    sql("UPDATE _sluice_files SET rows = 3");
    error = (Error){0};
    job = sink_case_job(&box);
    job->files[0].damaged_rows = 1;
    must(driver->import(session, job, &error), &error);
    assert_true(job->files[0].already_imported);
    assert_int_equal(job->files[0].rows, 3);
    sql("UPDATE _sluice_files SET rows = 1");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "rows 1 instead of 2"));
    error = (Error){0};
    sql("UPDATE _sluice_files SET rows = 3");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "ledgerConflict"));
    assert_non_null(strstr(error.text, "rows 3 instead of 2"));
}

static void takes_several_files_and_forgets_settled_ones(void **state) {
    SESSION;
    CASE("several", "a:integer", 3);
    prepare(session, &box);
    ADD(&box.rows[0], "1");
    ADD(&box.rows[1], "2");
    box.job.file_count = 1;
    import(session, &box);
    box.job.file_count = 2;
    import(session, &box);
    assert_true(box.files[0].already_imported);
    assert_false(box.files[1].already_imported);
    assert_rows("SELECT group_concat(a) FROM several", "1,2");
    Uuid settled[] = {box.files[0].id, box.files[2].id};
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "3");
    box.job.file_count = 1;
    box.job.settled = settled;
    box.job.settled_count = 2;
    import(session, &box);
    assert_rows("SELECT count(*) FROM _sluice_files", "2");
}

static void merges_and_appends_by_key(void **state) {
    SESSION;
    CASE("merged", "k:text:key l:integer:key v:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "a", "1", "first");
    ADD(&box.rows[0], "b", "1", "other");
    ADD(&box.rows[0], "a", "1", "second");
    import(session, &box);
    assert_rows("SELECT * FROM merged ORDER BY k", "a|1|second\nb|1|other");
    sink_case_next_file(&box, 0);
    box.target.table.strategy = STRATEGY_APPEND;
    ADD(&box.rows[0], "a", "1", "third");
    ADD(&box.rows[0], "c", "1", "line\nbreak");
    ADD(&box.rows[0], "c", "1", "line\nbreak");
    ADD(&box.rows[0], NULL, "1", "no key");
    import(session, &box);
    assert_rows("SELECT k, l FROM merged ORDER BY k", "a|1\nb|1\nc|1");
    assert_int_equal(box.reject_count, 3);
    assert_int_equal(box.job.rejected_rows, 3);
    assert_int_equal(box.rejects[0].row, 4);
    assert_non_null(strstr(box.rejects[0].reason, "UNIQUE constraint failed: merged.k, merged.l"));
    assert_true(span_equal(box.rejects[1].csv, SPAN("c,1,\"line\nbreak\"\n")));
    assert_non_null(strstr(box.rejects[2].reason, "NULL in a primary key"));
}

/* SQLite would invent a value for NULL in an INTEGER PRIMARY KEY. */
static void integer_keys(void **state) {
    SESSION;
    CASE("numbered", "k:integer:key", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "9223372036854775807");
    ADD(&box.rows[0], "9223372036854775807");
    ADD(&box.rows[0], NULL);
    import(session, &box);
    assert_rows("SELECT k FROM numbered", "9223372036854775807");
    assert_int_equal(box.reject_count, 1);
}

static void bad_rows_cost_only_themselves(void **state) {
    SESSION;
    sql("CREATE TABLE checked (n INTEGER CHECK (n <> 13), u TEXT UNIQUE, v TEXT NOT NULL)");
    CASE("checked", "n:integer u:text v:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1", "a", "x");
    ADD(&box.rows[0], "13", "b", "x");
    ADD(&box.rows[0], "2", "a", "x");
    ADD(&box.rows[0], "3", "c", NULL);
    ADD(&box.rows[0], "four", "d", "x");
    ADD(&box.rows[0], "5", "e", "x");
    import(session, &box);
    assert_rows("SELECT n FROM checked", "1\n5");
    assert_int_equal(box.reject_count, 4);
    for (size_t i = 0; i < 4; i++) assert_int_equal(box.rejects[i].row, i + 2);
    assert_non_null(strstr(box.rejects[0].reason, "CHECK constraint failed"));
    assert_non_null(strstr(box.rejects[1].reason, "UNIQUE constraint failed: checked.u"));
    assert_non_null(strstr(box.rejects[2].reason, "NOT NULL constraint failed: checked.v"));
    assert_non_null(strstr(box.rejects[3].reason, "column \"n\" needs integer"));
    sink_case_next_file(&box, 0);
    for (int i = 0; i < 4; i++) ADD(&box.rows[0], "13", NULL, "x");
    box.job.bad_rows_max = 3;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "more than 3 rows"));
    assert_rows("SELECT count(*) FROM _sluice_files", "1");
}

static void add_numbers(TextRows *rows, int count) {
    char number[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(number, sizeof number, "%d", i);
        ADD(rows, number, "x");
    }
}

/* Each RAISE before and after the insert, for 3 of 2,000 rows: they cost only themselves, and leave
 * nothing behind. */
static void raises(void **state) {
    static const char *const actions[] = {"ABORT, 'not this'", "FAIL, 'not this'", "ROLLBACK, 'not this'", "IGNORE"};
    for (size_t action = 0; action < 4; action++) {
        for (int after = 0; after < 2; after++) {
            for (int keyed = 0; keyed < 2; keyed++) {
                SESSION;
                char text[800];
                (void)snprintf(
                    text, sizeof text,
                    "DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS log; CREATE TABLE log (n); CREATE TABLE t (n INTEGER %s, v TEXT);"
                    "CREATE TRIGGER guard %s INSERT ON t WHEN NEW.n IN (13, 14, 1500)"
                    " BEGIN INSERT INTO log VALUES (NEW.n); SELECT RAISE(%s); END",
                    keyed ? "PRIMARY KEY NOT NULL" : "", after ? "AFTER" : "BEFORE", actions[action]);
                sql(text);
                CASE("t", keyed ? "n:integer:key v:text" : "n:integer v:text", 1);
                prepare(session, &box);
                add_numbers(&box.rows[0], 2000);
                import(session, &box);
                bool ignored = action == 3;
                /* RAISE(IGNORE) after the insert leaves the row where it is. */
                assert_rows("SELECT count(*) FROM t", ignored && after ? "2000" : "1997");
                assert_rows("SELECT count(*) FROM log", ignored ? "3" : "0");
                assert_int_equal(box.reject_count, ignored && after ? 0 : 3);
                static const uint64_t rows[] = {14, 15, 1501};
                for (size_t i = 0; i < box.reject_count; i++) {
                    assert_int_equal(box.rejects[i].row, rows[i]);
                    assert_string_equal(box.rejects[i].reason, ignored ? "not stored by a trigger of the table" : "not this");
                }
                assert_int_equal(box.job.swallowed_rows, ignored && !after ? 3 : 0);
                assert_rows("SELECT count(*) FROM _sluice_files WHERE rows = 2000", "1");
                sql("DELETE FROM _sluice_files");
            }
        }
    }
}

/* A constraint with ON CONFLICT FAIL ends the statement and leaves what it did so far, wherever it
 * stands: the refused row takes all of it out. */
static void constraints_that_fail_half_way(void **state) {
    static const struct {
        const char *tables;
        bool keyed;
        const char *wanted; /* in t */
        size_t refused;
    } cases[] = {
        /* Of a table that a trigger writes to. */
        {"CREATE TABLE log (v UNIQUE ON CONFLICT FAIL); CREATE TABLE t (n INTEGER, v TEXT);"
         "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.v); END",
         false, "0", 2},
        {"CREATE TABLE log (v UNIQUE ON CONFLICT FAIL); CREATE TABLE t (n INTEGER PRIMARY KEY NOT NULL, v TEXT);"
         "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.v); END",
         true, "0", 2},
        /* Of the table itself, after its trigger. */
        {"CREATE TABLE log (v); CREATE TABLE t (n INTEGER, v TEXT UNIQUE ON CONFLICT FAIL);"
         "CREATE TRIGGER g BEFORE INSERT ON t BEGIN INSERT INTO log VALUES (NEW.v); END",
         false, "0", 2},
        /* Behind a trigger that a trigger fires. */
        {"CREATE TABLE log (v NOT NULL ON CONFLICT FAIL UNIQUE ON CONFLICT\n FAIL); CREATE TABLE middle (v); CREATE TABLE t (n INTEGER, v "
         "TEXT);"
         "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO middle VALUES (NEW.v); END;"
         "CREATE TRIGGER h AFTER INSERT ON middle BEGIN INSERT INTO log VALUES (NEW.v); END",
         false, "0", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        SESSION;
        sql("DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS log; DROP TABLE IF EXISTS middle");
        sql(cases[i].tables);
        CASE("t", cases[i].keyed ? "n:integer:key v:text" : "n:integer v:text", 1);
        prepare(session, &box);
        add_numbers(&box.rows[0], 3); /* all with the same v */
        import(session, &box);
        assert_int_equal(box.reject_count, cases[i].refused);
        assert_non_null(strstr(box.rejects[0].reason, "UNIQUE constraint failed"));
        assert_rows("SELECT group_concat(n) FROM t", cases[i].wanted);
        assert_rows("SELECT count(*) FROM log", "1");
        sql("DELETE FROM _sluice_files");
    }
}

/*
 * Everything that can happen to a row, in every order, around the ends of batches: stored, refused
 * half-way, refused by its type, not stored. A batch that is undone takes nothing with it, and
 * counts nothing twice.
 */
static void rows_of_a_batch_do_not_mix(void **state) {
    SESSION;
    Buffer wanted = {0}, rejects = {0}, got = {0};
    sql("CREATE TABLE log (n); CREATE TABLE t (n INTEGER, v TEXT);"
        "CREATE TRIGGER before BEFORE INSERT ON t BEGIN INSERT INTO log VALUES (NEW.n); SELECT RAISE(IGNORE) WHERE NEW.v = 'ignore'; END;"
        "CREATE TRIGGER after AFTER INSERT ON t WHEN NEW.v = 'fail' BEGIN SELECT RAISE(FAIL, 'failed'); END");
    CASE("t", "n:integer v:text", 1);
    prepare(session, &box);
    box.job.bad_rows_max = 2000;
    uint64_t state_of_random = 42, swallowed = 0;
    for (int i = 0; i < 3000; i++) {
        char number[16];
        state_of_random = state_of_random * 6364136223846793005u + 1442695040888963407u;
        /* Parts with hardly any bad rows, and parts of nothing else. */
        uint64_t kind = (state_of_random >> 33) % (i / 300 % 3 == 0 ? 200 : i / 300 % 3 == 1 ? 12 : 3);
        (void)snprintf(number, sizeof number, "%d", i);
        if (kind == 0) {
            ADD(&box.rows[0], number, "fail");
            buffer_printf(&rejects, "%d failed\n", i + 1);
        } else if (kind == 1) {
            ADD(&box.rows[0], "none", "x");
            buffer_printf(&rejects, "%d column \"n\" needs integer\n", i + 1);
        } else if (kind == 2) {
            ADD(&box.rows[0], number, "ignore");
            buffer_printf(&rejects, "%d not stored by a trigger of the table\n", i + 1);
            swallowed++;
        } else {
            ADD(&box.rows[0], number, "x");
            buffer_printf(&wanted, "%s%d", wanted.size > 0 ? "," : "", i);
        }
    }
    import(session, &box);
    for (size_t i = 0; i < box.reject_count; i++) buffer_printf(&got, "%d %s\n", (int)box.rejects[i].row, box.rejects[i].reason);
    assert_string_equal(buffer_text(&got), buffer_text(&rejects));
    assert_int_equal(box.job.swallowed_rows, swallowed);
    assert_rows("SELECT group_concat(n) FROM (SELECT n FROM t ORDER BY n)", buffer_text(&wanted));
    /* RAISE(IGNORE) keeps what its trigger did; a refused row leaves nothing. */
    buffer_clear(&got);
    buffer_printf(&got, "%d", (int)swallowed);
    assert_rows("SELECT count(*) FROM log WHERE n NOT IN (SELECT n FROM t)", buffer_text(&got));
    assert_rows("SELECT count(*) = count(DISTINCT n) FROM log", "1");
    buffer_deinit(&wanted);
    buffer_deinit(&rejects);
    buffer_deinit(&got);
}

static void rollbacks_have_a_limit(void **state) {
    SESSION;
    sql("CREATE TABLE t (n INTEGER, v TEXT); CREATE TRIGGER guard BEFORE INSERT ON t WHEN NEW.n % 2 = 0 BEGIN SELECT RAISE(ROLLBACK, "
        "'even'); END");
    CASE("t", "n:integer v:text", 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 60);
    box.job.bad_rows_max = 29;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "More than 29 rows"));
    assert_int_equal(box.store_calls, 0);
    assert_rows("SELECT count(*) FROM t", "0");
    box.job.bad_rows_max = 30;
    import(session, &box);
    assert_int_equal(box.reject_count, 30);
    assert_rows("SELECT count(*) FROM t", "30");
    /* It may be interrupted between two of them. */
    sink_case_next_file(&box, 0);
    add_numbers(&box.rows[0], 60);
    box.interrupt_at = 1;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "interrupted"));
    assert_rows("SELECT count(*) FROM t", "30");
}

static void rows_that_are_not_stored(void **state) {
    SESSION;
    sql("CREATE TABLE other (n); CREATE TABLE t (n INTEGER, v TEXT);"
        "CREATE TRIGGER route BEFORE INSERT ON t BEGIN INSERT INTO other VALUES (NEW.n); SELECT RAISE(IGNORE); END");
    CASE("t", "n:integer v:text", 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 5);
    import(session, &box);
    assert_int_equal(box.store_calls, 0);
    assert_int_equal(box.job.swallowed_rows, 5);
    assert_rows("SELECT count(*) FROM other", "5");

    /* The table's own ON CONFLICT IGNORE. */
    sql("DROP TABLE t; CREATE TABLE t (n INTEGER UNIQUE ON CONFLICT IGNORE, v TEXT)");
    sink_case_next_file(&box, 0);
    add_numbers(&box.rows[0], 5);
    ADD(&box.rows[0], "3", "again");
    import(session, &box);
    assert_int_equal(box.job.swallowed_rows, 1);
    assert_int_equal(box.rejects[0].row, box.files[0].first_row + 5);

    /* Keys alone: those that are there are no loss. */
    sql("CREATE TABLE k (n INTEGER PRIMARY KEY NOT NULL); INSERT INTO k VALUES (1);"
        "CREATE TRIGGER no_two BEFORE INSERT ON k WHEN NEW.n = 2 BEGIN SELECT RAISE(IGNORE); END");
    sink_case_deinit(&box);
    sink_case_init(&box, "k", "n:integer:key", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1");
    ADD(&box.rows[0], "2");
    ADD(&box.rows[0], "3");
    import(session, &box);
    assert_int_equal(box.reject_count, 1);
    assert_int_equal(box.rejects[0].row, 2);
    assert_rows("SELECT group_concat(n) FROM k", "1,3");
}

static void errors_of_functions(void **state) {
    SESSION;
    sql("CREATE TABLE t (n INTEGER, v TEXT CHECK (json_extract(v, '$.a') IS NOT 7))");
    CASE("t", "n:integer v:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1", "{}");
    ADD(&box.rows[0], "2", "{bad");
    ADD(&box.rows[0], "3", "{}");
    import(session, &box);
    assert_int_equal(box.reject_count, 1);
    assert_int_equal(box.rejects[0].row, 2);
    assert_string_equal(box.rejects[0].reason, "malformed JSON");
    assert_rows("SELECT count(*) FROM t", "2");
    /* All rows: it may as well be the table. */
    sink_case_next_file(&box, 0);
    for (int i = 0; i < 3; i++) ADD(&box.rows[0], "2", "{bad");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "malformed JSON"));
    assert_int_equal(box.store_calls, 0);
}

static void a_changed_table_is_named_before_rows_are_refused(void **state) {
    static const char *const changes[] = {"ALTER TABLE t ADD COLUMN region TEXT NOT NULL DEFAULT NULL",
                                          "DROP TABLE t; CREATE TABLE t (n INTEGER, v TEXT, region TEXT NOT NULL)"};
    for (size_t i = 0; i < 2; i++) {
        SESSION;
        sql("DROP TABLE IF EXISTS t; CREATE TABLE t (n INTEGER, v TEXT)");
        CASE("t", "n:integer v:text", 1);
        prepare(session, &box);
        add_numbers(&box.rows[0], 3);
        sql(changes[i]);
        assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
        assert_non_null(strstr(error.text, "region"));
        assert_int_equal(box.store_calls, 0);
    }
}

static const struct {
    const char *type, *text, *wanted; /* wanted: typeof|quote */
} values[] = {
    {"integer", "-9223372036854775808", "integer|-9223372036854775808"},
    {"integer", "9223372036854775807", "integer|9223372036854775807"},
    {"number", "-0.1", "real|-0.1"},
    {"number", "2.5e10", "real|25000000000.0"},
    {"number", "3", "real|3.0"},
    {"decimal", "12345678901234567890.10", "text|'12345678901234567890.10'"},
    {"decimal", "1.50", "text|'1.50'"},
    {"boolean", "true", "integer|1"},
    {"boolean", "false", "integer|0"},
    {"timestamp", "9999-12-31T23:59:59.999999Z", "text|'9999-12-31T23:59:59.999999Z'"},
    {"date", "2024-02-29", "text|'2024-02-29'"},
    {"json", "{\"b\":1,\"a\":2.50}", "text|'{\"b\":1,\"a\":2.50}'"},
    {"jsonText", "{\"b\":1,\"b\":2}", "text|'{\"b\":1,\"b\":2}'"},
    {"uuid", "0190163d-8694-739b-aea5-966c26f8ad91", "text|'0190163d-8694-739b-aea5-966c26f8ad91'"},
    {"bytes", "\\x", "blob|X''"},
    {"bytes", "\\x00ff5C2e0a", "blob|X'00FF5C2E0A'"},
    {"text", "", "text|''"},
    {"text", "\\.\r\n\"\xf0\x9f\x98\x80", "text|'\\.\r\n\"\xf0\x9f\x98\x80'"},
    {"text", "123", "text|'123'"},
    {"text", NULL, "null|NULL"},
    {"integer", "1.5", NULL},
    {"integer", "9223372036854775808", NULL},
    {"integer", "", NULL},
    {"number", "1e999", NULL},
    {"number", "x", NULL},
    {"boolean", "TRUE", NULL},
    {"bytes", "abc", NULL},
    {"bytes", "\\x0", NULL},
    {"bytes", "\\xzz", NULL},
};

static void every_type(void **state) {
    SESSION;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char column[80], name[40], query[100];
        (void)snprintf(column, sizeof column, "v:%s w:bytes", values[i].type);
        (void)snprintf(name, sizeof name, "t%zu", i);
        (void)snprintf(query, sizeof query, "SELECT typeof(v), quote(v) FROM t%zu WHERE w = X'0102'", i);
        CASE(name, column, 1);
        prepare(session, &box);
        ADD(&box.rows[0], values[i].text, "\\x0102");
        import(session, &box);
        assert_rows(query, values[i].wanted ? values[i].wanted : "");
        assert_int_equal(box.reject_count, values[i].wanted ? 0 : 1);
    }
}

/* SQLite's own reading and writing of numbers is not exact to the last bit; the stored double must
 * be. */
static void doubles_are_exact(void **state) {
    static const char *const numbers[] = {"1.7976931348623157e308", "5e-324", "0.1", "123456789.12345679", "9007199254740993"};
    SESSION;
    CASE("doubles", "v:number", 1);
    prepare(session, &box);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) ADD(&box.rows[0], numbers[i]);
    import(session, &box);
    sqlite3 *user = open_user();
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(user, "SELECT v FROM doubles ORDER BY rowid", -1, &statement, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        double there = sqlite3_column_double(statement, 0), wanted = strtod(numbers[i], NULL);
        assert_memory_equal(&there, &wanted, sizeof there);
    }
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(user);
}

static void busy_and_interrupted(void **state) {
    SESSION;
    CASE("busy", "v:text", 1);
    prepare(session, &box);
    for (int i = 0; i < 5000; i++) ADD(&box.rows[0], "x");
    sqlite3 *user = open_user();
    assert_int_equal(sqlite3_exec(user, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_int_equal(sqlite3_exec(user, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    /* A reader does not hold the import up. */
    assert_int_equal(sqlite3_exec(user, "BEGIN; SELECT count(*) FROM busy", NULL, NULL, NULL), SQLITE_OK);
    box.interrupt_at = 2000;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "interrupted"));
    box.interrupt_at = 0;
    import(session, &box);
    (void)sqlite3_close(user);
    assert_rows("SELECT count(*) FROM busy", "5000");
}

static void failures_change_nothing(void **state) {
    SESSION;
    sql("CREATE TABLE kept (v TEXT CHECK (v <> 'bad'))");
    CASE("kept", "v:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "good");
    ADD(&box.rows[0], "bad");
    box.store_fails = true;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "rejectsFull"));
    box.store_fails = false;
    ImportJob *job = sink_case_job(&box);
    job->files[0].rows++;
    assert_int_equal(driver->import(session, job, &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "should have 3 rows"));
    sql("ALTER TABLE kept RENAME TO gone");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "no such table: kept"));
    sql("ALTER TABLE gone RENAME TO kept");
    import(session, &box);
    assert_rows("SELECT * FROM kept", "good");
    assert_rows("SELECT count(*) FROM _sluice_files", "1");
}

static void files_that_cannot_be_used(void **state) {
    SinkSession *session = NULL;
    Error error = {0};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/tables.db", directory);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 200; i++) (void)fputs("this is no database\n", file);
    (void)fclose(file);
    assert_int_equal(try_open("tables.db", &session, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "not a database"));
    assert_non_null(strstr(error.text, path));
    assert_int_equal(try_open("no/such/folder/x.db", &session, &error), SINK_UNREACHABLE);
    assert_int_equal(try_open(".", &session, &error), SINK_UNREACHABLE);
    assert_null(session);
}

static void notices_that_its_file_is_gone(void **state) {
    SESSION;
    CASE("gone", "a:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1");
    (void)remove_directory(state);
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "removed or replaced"));

    SinkSession *fresh = open_session();
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY); /* another file of that name */
    prepare(fresh, &box);
    import(fresh, &box);
    driver->disconnect(fresh);
    assert_false(box.files[0].already_imported);
    assert_rows("SELECT a FROM gone", "1");
}

/* The file goes while its rows are on their way: COMMIT succeeds, and nobody could read them. */
static int remove_tables(void *context, const SinkReject *rejects, size_t count, Error *error) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/tables.db", directory);
    return unlink(path);
}

static void notices_that_its_file_went_before_the_commit(void **state) {
    SESSION;
    CASE("goes", "a:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1");
    ImportJob *job = sink_case_job(&box);
    job->store_none = true;
    job->store_rejects = remove_tables;
    SinkResult result = driver->import(session, job, &error);
    assert_true(result == SINK_RETRY || result == SINK_UNREACHABLE);
}

static const char linger[] = "CREATE TRIGGER slow BEFORE INSERT ON slow WHEN NEW.n = 7 BEGIN SELECT count(*) FROM"
                             " (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) SELECT i FROM c); END";

/* A trigger that works for long on one row: that is progress, and it can be interrupted. */
static void a_slow_statement_is_work_and_can_be_interrupted(void **state) {
    SESSION;
    char text[400];
    CASE("slow", "n:integer", 1);
    prepare(session, &box);
    for (int i = 0; i < 20; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%d", i);
        ADD(&box.rows[0], number);
    }
    (void)snprintf(text, sizeof text, linger, 2000000000);
    sql(text);
    box.most = 300 * USEC_MS;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "interrupted"));
    assert_true(box.times_working > 0);
    assert_true(box.job.proven_absent);
    assert_rows("SELECT count(*) FROM slow", "0");

    sql("DROP TRIGGER slow");
    (void)snprintf(text, sizeof text, linger, 1000000);
    sql(text);
    box.most = 0;
    box.patience = USEC_MINUTE;
    box.times_working = 0;
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_true(box.times_working > 0);
    assert_rows("SELECT count(*) FROM slow", "20");
}

static SinkFault try_test(const char *path, SinkTest *test, Error *error) {
    char name[] = "local", *copy = strdup(path);
    char *fields[] = {copy, NULL, NULL, NULL};
    Connection connection = {.name = name, .type = &connection_type_sqlite, .values = fields};
    *test = (SinkTest){0};
    *error = (Error){0};
    SinkFault fault = driver->test(&connection, directory, test, error);
    assert_int_equal(fault, test->fault);
    free(copy);
    return fault;
}

static void a_test_says_what_is_wrong_and_makes_nothing(void **state) {
    SinkTest test;
    Error error;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/tables.db", directory);
    assert_int_equal(try_test("tables.db", &test, &error), SINK_SOUND);
    assert_non_null(strstr(test.note, "does not exist yet"));
    assert_true(strncmp(test.version, "SQLite 3.", 9) == 0);
    assert_int_equal(access(path, F_OK), -1);

    assert_int_equal(try_test("missing/tables.db", &test, &error), SINK_FAULT_DATABASE);
    assert_non_null(strstr(error.text, "No such file or directory"));
    assert_int_equal(try_test("/tmp", &test, &error), SINK_FAULT_DATABASE);
    assert_non_null(strstr(error.text, "it is not a file"));

    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (int i = 0; i < 200; i++) (void)fputs("this is not a database\n", file);
    (void)fclose(file);
    assert_int_equal(try_test("tables.db", &test, &error), SINK_FAULT_DATABASE);
    assert_non_null(strstr(error.text, "not a database"));
    assert_int_equal(unlink(path), 0);

    SESSION;
    assert_non_null(session);
    assert_int_equal(try_test("tables.db", &test, &error), SINK_SOUND);
    assert_string_equal(test.note, "");
    sql("BEGIN IMMEDIATE; CREATE TABLE t (a); COMMIT");
    assert_int_equal(try_test("tables.db", &test, &error), SINK_SOUND); /* beside an open session */
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        TEST(creates_a_strict_table),
        TEST(names_every_difference),
        TEST(accepts_and_evolves),
        TEST(types_of_existing_tables),
        TEST(inspects_and_changes_nothing),
        TEST(refuses_what_is_no_table),
        TEST(imports_once),
        TEST(takes_several_files_and_forgets_settled_ones),
        TEST(merges_and_appends_by_key),
        TEST(integer_keys),
        TEST(bad_rows_cost_only_themselves),
        TEST(raises),
        TEST(constraints_that_fail_half_way),
        TEST(rows_of_a_batch_do_not_mix),
        TEST(rollbacks_have_a_limit),
        TEST(rows_that_are_not_stored),
        TEST(errors_of_functions),
        TEST(a_changed_table_is_named_before_rows_are_refused),
        TEST(every_type),
        TEST(doubles_are_exact),
        TEST(busy_and_interrupted),
        TEST(a_slow_statement_is_work_and_can_be_interrupted),
        TEST(failures_change_nothing),
        TEST(files_that_cannot_be_used),
        TEST(notices_that_its_file_is_gone),
        TEST(notices_that_its_file_went_before_the_commit),
        TEST(a_test_says_what_is_wrong_and_makes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
