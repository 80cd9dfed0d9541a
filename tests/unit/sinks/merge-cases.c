/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/merge-cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()
#define QUERY "SELECT k, v FROM merged ORDER BY k"

/* Rows (k, v, n), where n tells. */
static void begin(SinkCase *box, SinkSession *session, const char *type) {
    char columns[64];
    Error error = {0};
    (void)snprintf(columns, sizeof columns, "k:text:key v:text n:%s", type);
    run_sql("DROP TABLE IF EXISTS merged");
    sink_case_init(box, "merged", columns, 1);
    box->target.table.newer_by = box->columns[2].name;
    must(driver->prepare(session, &box->target, &error), &error);
}

/* One import of "k=v@n …", where @- is NULL. All its rows count as imported. */
static void import_rows(SinkCase *box, SinkSession *session, const char *rows) {
    char *copy = strdup(rows), *rest = NULL;
    Error error = {0};
    sink_case_next_file(box, 0);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '='), *newer = strchr(word, '@');
        assert_true(value && newer);
        *value++ = *newer++ = '\0';
        ADD(&box->rows[0], word, value, strcmp(newer, "-") == 0 ? NULL : newer);
    }
    free(copy);
    ImportJob *job = sink_case_job(box);
    must(driver->import(session, job, &error), &error);
    assert_int_equal(job->rejected_rows, 0);
    assert_int_equal(job->swallowed_rows, 0);
}

static void an_older_row_never_replaces_a_newer_one(void **state) {
    static const struct {
        const char *name, *type, *imports[4], *wanted;
    } cases[] = {
        {"a newer row replaces", "integer", {"a=1@5", "a=2@6"}, "a|2"},
        {"an older row does not", "integer", {"a=1@5", "a=2@4", "b=1@0"}, "a|1\nb|1"},
        {"of equal ones the later row wins", "integer", {"a=1@5", "a=2@5"}, "a|2"},
        {"of equal ones of an import as well", "integer", {"a=1@5 a=2@5"}, "a|2"},
        {"the newest row of an import wins", "integer", {"a=1@5 a=2@9 a=3@7"}, "a|2"},
        {"but not over one that is newer still", "integer", {"a=0@10", "a=1@5 a=2@9 a=3@7"}, "a|0"},
        {"numbers are not compared as text", "integer", {"a=1@9 b=1@-1", "a=2@10 b=2@-2"}, "a|2\nb|1"},
        {"NULL is older than all values", "integer", {"a=1@-9", "a=2@-"}, "a|1"},
        {"a value is newer than NULL", "integer", {"a=1@-", "a=2@-9"}, "a|2"},
        {"NULL is as new as NULL", "integer", {"a=1@-", "a=2@-"}, "a|2"},
        {"NULL loses within an import", "integer", {"a=1@1 a=2@-"}, "a|1"},
        {"two of NULL within an import", "integer", {"a=1@- a=2@-"}, "a|2"},
        {"some of an import are older", "integer", {"a=1@5 b=1@5 c=1@5", "a=2@4 b=2@6 c=2@- d=2@0"}, "a|1\nb|2\nc|1\nd|2"},
        {"all of an import are older", "integer", {"a=1@5 b=1@5", "a=2@4 b=2@4"}, "a|1\nb|1"},
        {"the largest integers", "integer", {"a=1@9223372036854775806", "a=2@9223372036854775807"}, "a|2"},
        {"neighbours that no double tells apart", "integer", {"a=1@9007199254740993", "a=2@9007199254740992"}, "a|1"},
        {"doubles", "number", {"a=1@1e3 b=1@-0.5", "a=2@999.5 b=2@-0.25"}, "a|1\nb|2"},
        {"decimals", "decimal", {"a=1@10.10 b=1@9.9 c=1@-2", "a=2@9.99 b=2@10.1 c=2@-10"}, "a|1\nb|2\nc|1"},
        {"equal decimals", "decimal", {"a=1@1.50 b=1@100", "a=2@1.5 b=2@1e2"}, "a|2\nb|2"},
        {"decimals that no double tells apart",
         "decimal",
         {"a=1@123456789012345678901234567890.1 b=1@0.0000000000000000000000000000000001",
          "a=2@123456789012345678901234567890.0 b=2@0.0000000000000000000000000000000002"},
         "a|1\nb|2"},
        {"times",
         "timestamp",
         {"a=1@2026-01-02T03:04:05.000001Z b=1@2026-01-02T03:04:05.000001Z",
          "a=2@2026-01-02T03:04:05.000000Z b=2@2026-01-02T03:04:05.000002Z"},
         "a|1\nb|2"},
        {"days", "date", {"a=1@2026-01-02 b=1@2026-12-31", "a=2@2026-01-01 b=2@2027-01-01"}, "a|1\nb|2"},
    };
    SESSION;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        _cleanup_(sink_case_deinit) SinkCase box;
        print_message("%s\n", cases[i].name);
        begin(&box, session, cases[i].type);
        for (size_t at = 0; at < sizeof cases[i].imports / sizeof cases[i].imports[0] && cases[i].imports[at]; at++)
            import_rows(&box, session, cases[i].imports[at]);
        assert_rows(QUERY, cases[i].wanted);
    }
}

enum { KEYS = 5, ROWS = 400 };

/* What is in the table is, for each key, the newest row, and the last of those, however the rows come and are divided. */
static void any_order_gives_the_newest_rows(void **state) {
    SESSION;
    for (unsigned seed = 1; seed <= 5; seed++) {
        _cleanup_(sink_case_deinit) SinkCase box;
        int newest[KEYS], winner[KEYS];
        srandom(seed);
        begin(&box, session, "integer");
        for (int key = 0; key < KEYS; key++) newest[key] = winner[key] = -1;
        for (int row = 0; row < ROWS;) {
            char rows[2000] = "";
            for (long left = 1 + random() % 40; left > 0 && row < ROWS; left--, row++) {
                int key = (int)(random() % KEYS), n = (int)(random() % 50) - 1; /* -1: NULL */
                char number[16];
                (void)snprintf(number, sizeof number, "%d", n);
                (void)snprintf(rows + strlen(rows), sizeof rows - strlen(rows), "%c=%d@%s ", 'a' + key, row, n < 0 ? "-" : number);
                if (winner[key] >= 0 && n < newest[key]) continue;
                newest[key] = n;
                winner[key] = row;
            }
            import_rows(&box, session, rows);
        }
        char wanted[200] = "";
        for (int key = 0; key < KEYS; key++)
            (void)snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%c|%d", key > 0 ? "\n" : "", 'a' + key, winner[key]);
        assert_rows(QUERY, wanted);
    }
}

int run_merge_cases(int (*setup)(void **state), int (*teardown)(void **state)) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_older_row_never_replaces_a_newer_one, setup, teardown),
        cmocka_unit_test_setup_teardown(any_order_gives_the_newest_rows, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
