/* The PostgreSQL driver against a real server. What goes wrong with the server is in
 * test-postgres-faults.c. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/sinks/postgres-case.h"

static void creates_schema_and_table(void **state) {
    SESSION;
    CASE("in.c-shop.orders", "id:text:key n:integer x:number d:decimal b:boolean t:timestamp y:date j:json z:bytes", 1);
    prepare(session, &box);
    prepare(session, &box);
    assert_rows("SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute"
                " WHERE attrelid = '\"in.c-shop\".orders'::regclass AND attnum > 0",
                "id text, n bigint, x double precision, d numeric, b boolean, t timestamp with time zone, y date, j jsonb, z bytea");
    assert_rows("SELECT indisprimary, pg_get_indexdef(indexrelid, 1, true) FROM pg_index WHERE indrelid = '\"in.c-shop\".orders'::regclass",
                "t|id");
    assert_rows("SELECT count(*) FROM sluice.files", "0");
    assert_rows("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'sluice %'", "sluice shop/orders");
}

static void names_every_difference(void **state) {
    SESSION;
    test_postgres_sql(server,
                      "CREATE TABLE differs (k int, a bigint, b money, c bit(5), extra text NOT NULL, fine text NOT NULL DEFAULT '',"
                      " g text GENERATED ALWAYS AS ('x') STORED, PRIMARY KEY (k))");
    CASE("differs", "a:text b:decimal c:text missing:integer g:text", 1);
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    const char *const words[] = {"column \"a\" is bigint and should be text",
                                 "column \"b\" is money and should be numeric",
                                 "column \"c\" is bit(5) and should be text",
                                 "column \"missing\" (bigint) is missing",
                                 "column \"g\" is generated",
                                 "column \"extra\" is not in the sink, but is NOT NULL without a default",
                                 "column \"k\" is part of the table's primary key, but not of the sink's"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!strstr(error.text, words[i])) fail_msg("\"%s\" is missing in: %s", words[i], error.text);
    }
    assert_null(strstr(error.text, "fine"));
    box.target.table.on_schema_drift = SCHEMA_DRIFT_EVOLVE;
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    assert_rows("SELECT count(*) FROM pg_attribute WHERE attrelid = 'differs'::regclass AND attname = 'missing'", "0");
}

static void accepts_what_differs_without_harm(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE DOMAIN short AS text CHECK (length(VALUE) < 4);"
                              "CREATE TABLE lenient (b varchar(20), serial bigserial, a short, j jsonb)");
    CASE("lenient", "a:text b:text j:json", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "abc", "x", "{\"b\":1,\"a\":2}");
    ADD(&box.rows[0], "abcd", "y", NULL);
    import(session, &box);
    assert_rows("SELECT a, b, serial > 0, j FROM lenient", "abc|x|t|{\"a\": 2, \"b\": 1}");
    assert_int_equal(box.reject_count, 1);
}

static void evolves(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE TABLE evolving (a text)");
    CASE("evolving", "a:text b:integer c:json", 1);
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    box.target.table.on_schema_drift = SCHEMA_DRIFT_EVOLVE;
    prepare(session, &box);
    ADD(&box.rows[0], "x", "1", "[]");
    import(session, &box);
    assert_rows("SELECT * FROM evolving", "x|1|[]");
}

/* What prepare would do; nothing is there afterwards that was not before. */
static void inspects_and_changes_nothing(void **state) {
    SESSION;
    TableInspection inspection = {0};
    CASE("elsewhere.looked_at", "a:text b:text c:integer", 1);
    table_inspection_deinit(&inspection);
    must(driver->inspect(session, &box.target, &inspection, &error), &error);
    assert_true(inspection.creates);
    assert_rows("SELECT count(*) FROM pg_namespace WHERE nspname = 'elsewhere'", "0");
    test_postgres_sql(server, "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.looked_at (b text, a text)");
    table_inspection_deinit(&inspection);
    assert_int_equal(driver->inspect(session, &box.target, &inspection, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "column \"c\" (bigint) is missing"));
    box.target.table.on_schema_drift = SCHEMA_DRIFT_EVOLVE;
    table_inspection_deinit(&inspection);
    must(driver->inspect(session, &box.target, &inspection, &error), &error);
    assert_false(inspection.creates || inspection.adds[0] || inspection.adds[1]);
    assert_true(inspection.adds[2]);
    table_inspection_deinit(&inspection);
    assert_rows("SELECT count(*) FROM pg_attribute WHERE attrelid = 'elsewhere.looked_at'::regclass AND attnum > 0", "2");
}

static void refuses_names_and_views(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE VIEW looks AS SELECT 'x'::text AS a");
    CASE("looks", "a:text", 1);
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    box.target.table.table_id = (char *)"sluice.files";
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "ledger"));
    box.target.table.table_id = (char *)"a.";
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    char name[80];
    memset(name, 'n', sizeof name);
    name[64] = '\0';
    box.target.table.table_id = name;
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    box.target.table.table_id = (char *)"odd\"; DROP TABLE looks; --.ta\"ble";
    prepare(session, &box);
    ADD(&box.rows[0], "x");
    import(session, &box);
    assert_rows("SELECT * FROM \"odd\"\"; DROP TABLE looks; --\".\"ta\"\"ble\"", "x");
}

static void imports_once(void **state) {
    SESSION;
    CASE("once.t", "a:text b:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1", "x");
    ADD(&box.rows[0], "2", NULL);
    bool found = true;
    must(driver->look_up(session, &box.files[0].id, &found, &error), &error);
    assert_false(found);
    import(session, &box);
    assert_false(box.files[0].already_imported);
    assert_int_equal(box.job.rejected_rows, 0);
    must(driver->look_up(session, &box.files[0].id, &found, &error), &error);
    assert_true(found);
    import(session, &box);
    assert_true(box.files[0].already_imported);
    assert_rows("SELECT a, b FROM once.t ORDER BY a", "1|x\n2|NULL");
    assert_rows("SELECT instance, sink, table_name, first_row, rows, bytes, checksum FROM sluice.files WHERE table_name = 'once.t'",
                "11111111-1111-1111-1111-111111111111|shop/orders|once.t|1|2|7|fedcba9876543210");

    /* One of its three rows was damaged after an import of which nobody heard. Fewer rows, and more
     * than there can be, are a conflict. */
    test_postgres_sql(server, "UPDATE sluice.files SET rows = 3 WHERE table_name = 'once.t'");
    ImportJob *job = sink_case_job(&box);
    job->files[0].damaged_rows = 1;
    must(driver->import(session, job, &error), &error);
    assert_true(job->files[0].already_imported);
    assert_int_equal(job->files[0].rows, 3);
    test_postgres_sql(server, "UPDATE sluice.files SET rows = 1 WHERE table_name = 'once.t'");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "rows 1 instead of 2"));
    error = (Error){0};
    test_postgres_sql(server, "UPDATE sluice.files SET rows = 3 WHERE table_name = 'once.t'");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "ledgerConflict"));
    assert_non_null(strstr(error.text, "rows 3 instead of 2"));
    assert_rows("SELECT count(*) FROM once.t", "2");
}

static void takes_several_files_and_forgets_settled_ones(void **state) {
    SESSION;
    CASE("several", "a:integer", 3);
    prepare(session, &box);
    ADD(&box.rows[0], "1");
    ADD(&box.rows[1], "2");
    ADD(&box.rows[1], "3");
    box.job.file_count = 1;
    import(session, &box);
    box.job.file_count = 2;
    import(session, &box);
    assert_true(box.files[0].already_imported);
    assert_false(box.files[1].already_imported);
    assert_rows("SELECT string_agg(a::text, ',' ORDER BY a) FROM several", "1,2,3");
    Uuid settled[] = {box.files[0].id, box.files[2].id};
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "4");
    box.job.file_count = 1;
    box.job.settled = settled;
    box.job.settled_count = 2;
    import(session, &box);
    bool found = true;
    must(driver->look_up(session, &settled[0], &found, &error), &error);
    assert_false(found);
    must(driver->look_up(session, &box.files[1].id, &found, &error), &error);
    assert_true(found);
}

static void merges_and_the_last_wins(void **state) {
    SESSION;
    CASE("merged", "k:text:key l:integer:key v:text", 2);
    prepare(session, &box);
    ADD(&box.rows[0], "a", "1", "first");
    ADD(&box.rows[0], "b", "1", "other");
    ADD(&box.rows[0], "a", "1", "second");
    ADD(&box.rows[1], "b", "1", "later");
    ADD(&box.rows[1], "a", "2", NULL);
    import(session, &box);
    assert_rows("SELECT * FROM merged ORDER BY k, l", "a|1|second\na|2|NULL\nb|1|later");
    sink_case_next_file(&box, 0);
    box.job.file_count = 1;
    ADD(&box.rows[0], "a", "1", NULL);
    import(session, &box);
    assert_rows("SELECT * FROM merged ORDER BY k, l", "a|1|NULL\na|2|NULL\nb|1|later");
    assert_int_equal(box.store_calls, 0);
}

static void merges_keys_alone(void **state) {
    SESSION;
    CASE("keys", "k:text:key", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "\\.");
    ADD(&box.rows[0], "a");
    ADD(&box.rows[0], "a");
    import(session, &box);
    assert_rows("SELECT count(*), min(k) FROM keys", "2|\\.");
}

static void append_with_a_key_refuses_duplicates(void **state) {
    SESSION;
    CASE("appended", "v:text k:text:key", 1);
    box.target.table.strategy = STRATEGY_APPEND;
    prepare(session, &box);
    test_postgres_sql(server, "INSERT INTO appended VALUES ('old', 'there')");
    ADD(&box.rows[0], "1", "a");
    ADD(&box.rows[0], "multi\nline", "there");
    ADD(&box.rows[0], "3", "b");
    ADD(&box.rows[0], "4", "a");
    import(session, &box);
    assert_rows("SELECT v, k FROM appended ORDER BY k", "1|a\n3|b\nold|there");
    assert_int_equal(box.job.rejected_rows, 2);
    assert_int_equal(box.reject_count, 2);
    assert_int_equal(box.rejects[0].row, 2);
    assert_true(span_equal(box.rejects[0].csv, SPAN("\"multi\nline\",there\n")));
    assert_non_null(strstr(box.rejects[0].reason, "the table already has"));
    assert_int_equal(box.rejects[1].row, 4);
    assert_non_null(strstr(box.rejects[1].reason, "earlier row of the same import"));
}

static void bad_rows_cost_only_themselves(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE TABLE checked (a text, n bigint CHECK (n <> 13), u text UNIQUE)");
    CASE("checked", "a:text n:integer u:text", 1);
    prepare(session, &box);
    char number[16];
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(number, sizeof number, "%d", i == 7 || i == 8 || i == 1500 || i == 2999 ? 13 : i + 100);
        ADD(&box.rows[0], i % 3 == 0 ? "a\nb\nc" : "\r\r", number,
            i == 2000                                            ? "100"
            : number[0] == '1' && number[1] == '3' && !number[2] ? NULL
                                                                 : number);
    }
    box.rows[0].block_bytes = 500;
    import(session, &box);
    assert_rows("SELECT count(*), count(*) FILTER (WHERE n = 13) FROM checked", "2995|0");
    assert_int_equal(box.reject_count, 5);
    const uint64_t wanted[] = {8, 9, 1501, 2001, 3000};
    for (size_t i = 0; i < 5; i++) assert_int_equal(box.rejects[i].row, wanted[i]);
    assert_non_null(strstr(box.rejects[0].reason, "checked_n_check"));
    assert_non_null(strstr(box.rejects[3].reason, "Key (u)=(100) already exists"));
    assert_int_equal(box.store_calls, 1);
}

/* The step from the temporary table has no line to hint at the row: halving. */
static void bad_rows_of_a_merge(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE TABLE checked_merge (k bigint PRIMARY KEY, v text NOT NULL, r bigint)");
    CASE("checked_merge", "k:integer:key v:text r:integer", 1);
    prepare(session, &box);
    char key[16], turn[16];
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof key, "%d", i % 500);
        (void)snprintf(turn, sizeof turn, "%d", i);
        ADD(&box.rows[0], i == 444 ? NULL : key, i == 3 || i == 1999 || i == 1000 ? NULL : "x", turn);
    }
    import(session, &box);
    assert_int_equal(box.reject_count, 4);
    const uint64_t wanted[] = {4, 445, 1001, 2000};
    for (size_t i = 0; i < 4; i++) assert_int_equal(box.rejects[i].row, wanted[i]);
    /* Every key has its last good row. */
    assert_rows("SELECT count(*), sum(r), min(r), max(r) FROM checked_merge", "500|874250|1499|1998");
}

static void deferred_constraints_and_triggers(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE TABLE parents (id bigint PRIMARY KEY); INSERT INTO parents VALUES (1);"
                              "CREATE TABLE children (p bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED, v text);"
                              "CREATE FUNCTION no_zebra() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'saw %', NEW.v;"
                              " IF NEW.v = 'zebra' THEN RAISE EXCEPTION 'no zebras'; END IF; RETURN NEW; END $$;"
                              "CREATE TRIGGER z BEFORE INSERT ON children FOR EACH ROW EXECUTE FUNCTION no_zebra()");
    CASE("children", "p:integer v:text", 1);
    prepare(session, &box);
    for (int i = 0; i < 200; i++) ADD(&box.rows[0], i == 50 ? "2" : "1", i == 120 ? "zebra" : "horse");
    box.rows[0].block_bytes = 100;
    import(session, &box);
    assert_rows("SELECT count(*) FROM children", "198");
    assert_int_equal(box.reject_count, 2);
    assert_int_equal(box.rejects[0].row, 51);
    assert_int_equal(box.rejects[1].row, 121);
    assert_string_equal(box.rejects[1].reason, "no zebras");
}

static void too_many_bad_rows(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE TABLE picky (n bigint CHECK (n % 2 = 0))");
    CASE("picky", "n:integer", 1);
    prepare(session, &box);
    char number[16];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(number, sizeof number, "%d", i);
        ADD(&box.rows[0], number);
    }
    box.job.bad_rows_max = 49;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "more than 49 rows"));
    assert_int_equal(box.store_calls, 0);
    assert_rows("SELECT count(*) FROM picky", "0");
    box.job.bad_rows_max = 50;
    import(session, &box);
    assert_rows("SELECT count(*) FROM picky", "50");
    assert_int_equal(box.reject_count, 50);
}

static void keeps_every_cell(void **state) {
    SESSION;
    CASE("cells", "n:integer a:text b:text", 1);
    prepare(session, &box);
    static const char *const cells[] = {"\\.",  "\n\\.\n",  "a\\.\nb",
                                        "\"",   "\"\"",     "a\"b,c",
                                        "\r\n", "\r",       " x ",
                                        "\t",   "",         "\xf0\x9f\x98\x80\xe2\x80\xa8",
                                        "NULL", "\\N",      "'; DROP TABLE cells; --",
                                        ",",    "\xc2\xa0", "\\x41"};
    enum { CELLS = sizeof cells / sizeof cells[0] };
    char number[16];
    for (size_t i = 0; i < CELLS; i++) {
        (void)snprintf(number, sizeof number, "%zu", i);
        ADD(&box.rows[0], number, cells[i], i % 2 == 0 ? NULL : cells[i]);
    }
    import(session, &box);
    assert_int_equal(box.store_calls, 0);
    for (size_t i = 0; i < CELLS; i++) {
        char sql[100];
        Buffer wanted = {0};
        (void)snprintf(sql, sizeof sql, "SELECT a, b FROM cells WHERE n = %zu", i);
        buffer_printf(&wanted, "%s|%s", cells[i], i % 2 == 0 ? "NULL" : cells[i]);
        assert_rows(sql, buffer_text(&wanted));
        buffer_deinit(&wanted);
    }
    assert_rows("SELECT count(*) FROM cells WHERE b IS NULL", "9");
}

static void one_column(void **state) {
    SESSION;
    CASE("one", "a:text", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "x");
    ADD(&box.rows[0], "\\.");
    ADD(&box.rows[0], NULL);
    ADD(&box.rows[0], "");
    ADD(&box.rows[0], "y\n\\.\nz");
    import(session, &box);
    assert_rows("SELECT count(*), count(a), count(*) FILTER (WHERE a = ''), count(*) FILTER (WHERE a = '\\.') FROM one", "5|4|1|1");
}

static const struct {
    const char *type, *text, *wanted;
} values[] = {
    {"integer", "-9223372036854775808", "-9223372036854775808"},
    {"integer", "9223372036854775807", "9223372036854775807"},
    {"integer", "0", "0"},
    {"number", "1.7976931348623157e308", "1.7976931348623157e+308"},
    {"number", "-0.1", "-0.1"},
    {"number", "5e-324", "5e-324"},
    {"number", "12345678901234567890", "1.2345678901234567e+19"},
    {"decimal", "1.50", "1.50"},
    {"decimal", "12345678901234567890.000000000000000000001", "12345678901234567890.000000000000000000001"},
    {"decimal", "1e5", "100000"},
    {"boolean", "true", "t"},
    {"boolean", "false", "f"},
    {"timestamp", "2006-01-02T15:04:05.123456Z", "2006-01-02 15:04:05.123456+00"},
    {"timestamp", "0001-01-01T00:00:00.000000Z", "0001-01-01 00:00:00+00"},
    {"timestamp", "9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999+00"},
    {"date", "2024-02-29", "2024-02-29"},
    {"json", "{\"b\":1,\"a\":2.50}", "{\"a\": 2.50, \"b\": 1}"},
    {"json", "null", "null"},
    {"jsonText", "{\"b\":1,\"a\":\"\\u0000\",\"b\":2.50}", "{\"b\":1,\"a\":\"\\u0000\",\"b\":2.50}"},
    {"uuid", "0190163d-8694-739b-aea5-966c26f8ad91", "0190163d-8694-739b-aea5-966c26f8ad91"},
    {"bytes", "\\x", "\\x"},
    {"bytes", "\\x00ff5c2e0a", "\\x00ff5c2e0a"},
    {"text", "", ""},
};

static void every_type(void **state) {
    SESSION;
    test_postgres_sql(server, "ALTER DATABASE postgres SET TimeZone = 'UTC'");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char column[40], name[40], sql[100];
        (void)snprintf(column, sizeof column, "v:%s", values[i].type);
        (void)snprintf(name, sizeof name, "types.t%zu", i);
        (void)snprintf(sql, sizeof sql, "SELECT v FROM %s", name);
        CASE(name, column, 1);
        prepare(session, &box);
        ADD(&box.rows[0], values[i].text);
        import(session, &box);
        assert_rows(sql, values[i].wanted);
    }
}

static void interrupts_and_store_failures_change_nothing(void **state) {
    _cleanup_(cleanup_session) SinkSession *session = open_session();
    test_postgres_sql(server, "CREATE TABLE interrupted (v text CHECK (v <> 'bad'))");
    CASE("interrupted", "v:text", 1);
    prepare(session, &box);
    for (int i = 0; i < 1000; i++) ADD(&box.rows[0], i == 900 ? "bad" : "good");
    box.rows[0].block_bytes = 100;
    box.store_fails = true;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "rejectsFull"));
    box.store_fails = false;
    box.interrupt_at = 300;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "interrupted"));
    box.interrupt_at = 0;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_UNREACHABLE);
    driver->disconnect(session);
    session = open_session();
    import(session, &box);
    assert_rows("SELECT count(*) FROM interrupted", "999");
}

static void a_hole_in_the_numbers(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE TABLE holed (v text CHECK (v <> 'bad'))");
    CASE("holed", "v:text", 1);
    prepare(session, &box);
    for (int i = 0; i < 100; i++) {
        if (i == 30) box.rows[0].next_number += 5000;
        if (i == 60) box.rows[0].next_number += UINT32_MAX;
        ADD(&box.rows[0], i == 29 || i == 30 || i == 59 || i == 90 ? "bad" : "good");
    }
    import(session, &box);
    assert_rows("SELECT count(*) FROM holed", "96");
    assert_int_equal(box.reject_count, 4);
    assert_int_equal(box.rejects[1].row, 31 + 5000);
}

/* ---- tests of a connection ------------------------------------------------------------------- */

static SinkFault test_at(const char *uri, const char *password_file, const char *const *tables, size_t table_count, SinkTest *test,
                         Error *error) {
    char name[] = "warehouse";
    _cleanup_free_ char *copy = strdup(uri), *file = password_file ? strdup(password_file) : NULL;
    char *fields[] = {copy, file, NULL, NULL, NULL};
    Connection connection = {.name = name, .type = &connection_type_postgres, .values = fields};
    *test = (SinkTest){.tables = tables, .table_count = table_count};
    *error = (Error){0};
    return driver->test(&connection, "/tmp", test, error);
}

static void assert_fault_at(const char *uri, const char *password_file, const char *const *tables, size_t table_count, SinkFault fault,
                            const char *words) {
    SinkTest test;
    Error error;
    SinkFault found = test_at(uri, password_file, tables, table_count, &test, &error);
    if (found != fault || !strstr(error.text, words)) fail_msg("%s: fault %d: %s", uri, found, error.text);
    assert_int_equal(test.fault, fault);
    assert_null(strchr(error.text, '\n'));
    assert_null(strstr(error.text, "LOCATION"));
}

static char *uri_of(const char *user, const char *database, const char *rest) {
    char *uri;
    assert_true(asprintf(&uri, "postgresql://%s@127.0.0.1:%d/%s%s", user, server->port, database, rest) > 0);
    return uri;
}
#define URI(name, user, database, rest) _cleanup_free_ char *name = uri_of(user, database, rest)

static void a_test_says_what_is_wrong(void **state) {
    URI(guarded, "guarded", "postgres", "");
    URI(missing, "postgres", "nowhere", "");
    URI(encrypted, "postgres", "postgres", "?sslmode=require");
    assert_fault_at("postgresql://postgres@127.0.0.1:1/postgres", NULL, NULL, 0, SINK_FAULT_UNREACHABLE, "refused");
    assert_fault_at(guarded, NULL, NULL, 0, SINK_FAULT_LOGIN, "password");
    assert_fault_at(guarded, "/nowhere/password", NULL, 0, SINK_FAULT_LOGIN, "/nowhere/password");
    assert_fault_at(missing, NULL, NULL, 0, SINK_FAULT_DATABASE, "database \"nowhere\" does not exist");
    assert_fault_at(encrypted, NULL, NULL, 0, SINK_FAULT_TLS, "SSL");
    assert_fault_at("postgresql://[", NULL, NULL, 0, SINK_FAULT_OTHER, "URI");

    char path[] = "/tmp/sluice-password-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "wrong\n", 6), 6);
    assert_fault_at(guarded, path, NULL, 0, SINK_FAULT_LOGIN, "authentication failed");
    assert_int_equal(pwrite(fd, "correct horse\n", 14, 0), 14);
    assert_fault_at(guarded, path, NULL, 0, SINK_FAULT_RIGHTS, "sluice"); /* it got in */
    (void)close(fd);
    (void)unlink(path);
}

static void a_test_names_missing_rights_and_changes_nothing(void **state) {
    test_postgres_sql(server, "DROP SCHEMA IF EXISTS sluice CASCADE; CREATE ROLE poor LOGIN");
    test_postgres_sql(server, "CREATE DATABASE shop");
    test_postgres_sql(server, "REVOKE CONNECT ON DATABASE shop FROM PUBLIC");
    URI(closed, "poor", "shop", "");
    URI(poor, "poor", "postgres", "");
    assert_fault_at(closed, NULL, NULL, 0, SINK_FAULT_RIGHTS, "permission denied for database");
    assert_fault_at(poor, NULL, NULL, 0, SINK_FAULT_RIGHTS,
                    "the schema \"sluice\" of \"files\" is missing, and the role may not create it.");
    test_postgres_sql(server, "CREATE SCHEMA sluice");
    assert_fault_at(poor, NULL, NULL, 0, SINK_FAULT_RIGHTS, "USAGE on the schema \"sluice\"");
    test_postgres_sql(server, "GRANT USAGE ON SCHEMA sluice TO poor");
    assert_fault_at(poor, NULL, NULL, 0, SINK_FAULT_RIGHTS, "the table \"sluice.files\" is missing, and the role may not create it");
    test_postgres_sql(server, "CREATE TABLE sluice.files (file_id uuid); GRANT SELECT, INSERT ON sluice.files TO poor");
    assert_fault_at(poor, NULL, NULL, 0, SINK_FAULT_RIGHTS, "SELECT, INSERT or DELETE on the ledger");
    test_postgres_sql(server, "GRANT DELETE ON sluice.files TO poor");
    SinkTest test;
    Error error;
    assert_int_equal(test_at(poor, NULL, NULL, 0, &test, &error), SINK_SOUND);
    assert_non_null(strstr(test.note, "may not create schemas"));

    /* names with everything that an array literal and an identifier must quote */
    static const char *const tables[] = {"mine", "odd\"{,}\\ schema.odd 'table", "new.table"};
    test_postgres_sql(
        server, "CREATE TABLE mine (a text); CREATE SCHEMA \"odd\"\"{,}\\ schema\"; GRANT USAGE ON SCHEMA \"odd\"\"{,}\\ schema\" TO poor;"
                "CREATE TABLE \"odd\"\"{,}\\ schema\".\"odd 'table\" (a text)");
    assert_fault_at(poor, NULL, tables, 3, SINK_FAULT_RIGHTS, "INSERT on the table \"public.mine\"; 2 more tables have missing rights.");
    test_postgres_sql(server, "GRANT INSERT (a) ON mine TO poor");
    assert_fault_at(poor, NULL, tables, 3, SINK_FAULT_RIGHTS, "\"odd\"{,}\\ schema.odd 'table\"; 1 more table has");
    assert_fault_at(poor, NULL, tables + 2, 1, SINK_FAULT_RIGHTS, "the schema \"new\" of \"table\" is missing");
    assert_int_equal(test_at(poor, NULL, tables, 1, &test, &error), SINK_SOUND);
    assert_int_equal(test_at(server->uri, NULL, tables, 3, &test, &error), SINK_SOUND);
    assert_string_equal(test.note, "");
    assert_true(strncmp(test.version, "PostgreSQL ", 11) == 0 && test.version[11] >= '1');
    assert_rows("SELECT count(*) FROM pg_namespace WHERE nspname = 'new'", "0");
    test_postgres_sql(server, "DROP SCHEMA sluice CASCADE; DROP TABLE mine; DROP OWNED BY poor; DROP ROLE poor");
    test_postgres_sql(server, "DROP DATABASE shop");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(creates_schema_and_table),
        cmocka_unit_test(names_every_difference),
        cmocka_unit_test(accepts_what_differs_without_harm),
        cmocka_unit_test(evolves),
        cmocka_unit_test(inspects_and_changes_nothing),
        cmocka_unit_test(refuses_names_and_views),
        cmocka_unit_test(imports_once),
        cmocka_unit_test(takes_several_files_and_forgets_settled_ones),
        cmocka_unit_test(merges_and_the_last_wins),
        cmocka_unit_test(merges_keys_alone),
        cmocka_unit_test(append_with_a_key_refuses_duplicates),
        cmocka_unit_test(bad_rows_cost_only_themselves),
        cmocka_unit_test(bad_rows_of_a_merge),
        cmocka_unit_test(deferred_constraints_and_triggers),
        cmocka_unit_test(too_many_bad_rows),
        cmocka_unit_test(keeps_every_cell),
        cmocka_unit_test(one_column),
        cmocka_unit_test(every_type),
        cmocka_unit_test(interrupts_and_store_failures_change_nothing),
        cmocka_unit_test(a_hole_in_the_numbers),
        cmocka_unit_test(a_test_says_what_is_wrong),
        cmocka_unit_test(a_test_names_missing_rights_and_changes_nothing),
    };
    RUN_WITH_POSTGRES(tests);
}
