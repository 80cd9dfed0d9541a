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

#include "tests/unit/sinks/changes-cases.h"
#include "tests/unit/sinks/sqlite-case.h"

#define NAME "\"odd \"\"table\""
#define OLD "\"odd \"\"table_old\""

static void place_clean(void) {
    sql("DROP TABLE " NAME "; DROP TABLE IF EXISTS " OLD);
}

static const ChangesPlace place = {.driver = &sink_driver_sqlite,
                                   .table_id = "odd \"table",
                                   .name = NAME,
                                   .sql = sql,
                                   .rows = rows_of,
                                   .kept = "SELECT count(*) FROM " NAME,
                                   .clean = place_clean};

static void the_statements_help(void **state) {
    static const ChangesCase cases[] = {
        {"(a TEXT)", "VALUES ('x')", "a:text b:integer c:timestamp d:json",
         "ADD COLUMN \"b\" INTEGER; ALTER TABLE \"odd \"\"table\" ADD COLUMN \"c\" TEXT;"},
        {"(a TEXT, extra TEXT NOT NULL)", "VALUES ('x', 'y')", "a:text", "INSERT INTO"},
        {"(a TEXT)", "VALUES ('7')", "a:integer", NULL},
        {"(a INTEGER)", "VALUES (7)", "a:text b:text", "RENAME TO \"odd \"\"table_old\"; CREATE TABLE"},
        {"(a TEXT, g AS (a) STORED)", "VALUES ('x')", "a:text g:text", NULL},
        {"(k TEXT, v TEXT)", "VALUES ('1', '2')", "k:text:key v:text", NULL},
        {"(k TEXT, v TEXT, o TEXT PRIMARY KEY)", "VALUES ('1', '2', '3')", "k:text:key v:text", NULL},
        {"(v TEXT)", NULL, "k\"ey:integer:key v:text", NULL},
        {"(k TEXT PRIMARY KEY, v TEXT)", "VALUES ('1', '2')", "k:text v:text", NULL},
        {"(id TEXT PRIMARY KEY, v TEXT)", "VALUES ('1', '2')", "v:text", NULL},
    };
    SESSION;
    changes_run(&place, session, cases, sizeof cases / sizeof cases[0]);
}

/* More changes than an error has room for: columns are added a part at a time, and a new table is
 * left to Sluice. */
static void changes_without_room(void **state) {
    char columns[3000] = "";
    for (int i = 0; i < 80; i++) (void)snprintf(columns + strlen(columns), sizeof columns - strlen(columns), "column_%d:timestamp ", i);
    const ChangesCase wide = {"(a TEXT)", "VALUES ('x')", columns, NULL};
    const ChangesCase rebuilt = {"(column_1 INTEGER)", NULL, columns, "ALTER TABLE \"odd \"\"table\" RENAME TO \"odd \"\"table_old\";"};
    SESSION;
    changes_run(&place, session, &wide, 1);
    changes_run(&place, session, &rebuilt, 1);
}

static void a_key_may_fill_itself(void **state) {
    static const char *const definitions[] = {
        "(id INTEGER PRIMARY KEY, a TEXT)",
        "(id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, a TEXT)",
        "(id INTEGER PRIMARY KEY, a TEXT, loud TEXT AS (a || '!') STORED NOT NULL) STRICT",
        "(id TEXT PRIMARY KEY DEFAULT (hex(randomblob(16))), a TEXT) WITHOUT ROWID",
        "(id TEXT DEFAULT (hex(randomblob(16))) NOT NULL, a TEXT, PRIMARY KEY (a, id)) STRICT",
    };
    SESSION;
    for (size_t i = 0; i < sizeof definitions / sizeof definitions[0]; i++) {
        CASE("filling", "a:text", 1);
        char text[300];
        (void)snprintf(text, sizeof text, "CREATE TABLE filling %s", definitions[i]);
        sql(text);
        prepare(session, &box);
        ADD(&box.rows[0], "x");
        ADD(&box.rows[0], "y");
        import(session, &box);
        assert_int_equal(box.reject_count, 0);
        assert_rows("SELECT count(DISTINCT id), min(a), max(a) FROM filling", "2|x|y");
        box.columns[0].primary_key = true;
        box.target.table.strategy = STRATEGY_MERGE;
        assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
        sql("DROP TABLE filling");
    }
}

static void a_key_that_does_not_is_refused(void **state) {
    static const char *const definitions[] = {
        "(id INT PRIMARY KEY, a TEXT)",
        "(id INTEGER PRIMARY KEY, a TEXT) WITHOUT ROWID",
        "(id INTEGER PRIMARY KEY DESC, a TEXT)",
        "(id TEXT PRIMARY KEY DEFAULT NULL, a TEXT)",
        "(id INTEGER, k INTEGER, a TEXT, PRIMARY KEY (id, k))",
    };
    SESSION;
    for (size_t i = 0; i < sizeof definitions / sizeof definitions[0]; i++) {
        CASE("empty_key", "a:text", 1);
        char text[300];
        (void)snprintf(text, sizeof text, "CREATE TABLE empty_key %s", definitions[i]);
        sql(text);
        assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
        assert_non_null(strstr(error.text, "column \"id\" is part of the table's primary key, but not of the sink's"));
        sql("DROP TABLE empty_key");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_statements_help),
        TEST(changes_without_room),
        TEST(a_key_may_fill_itself),
        TEST(a_key_that_does_not_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
