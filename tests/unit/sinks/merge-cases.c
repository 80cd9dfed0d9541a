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

/* Rows (k, v, n), where n tells, unless the type is "". */
static void begin(SinkCase *box, SinkSession *session, const char *type, bool deletes) {
    char columns[64];
    Error error = {0};
    (void)snprintf(columns, sizeof columns, "k:text:key v:text n:%s%s", *type ? type : "integer", deletes ? " deletes" : "");
    run_sql("DROP TABLE IF EXISTS merged");
    sink_case_init(box, "merged", columns, 1);
    if (*type) box->target.table.newer_by = box->columns[2].name;
    must(driver->prepare(session, &box->target, &error), &error);
}

/* One import of "k=v@n …", where @- is NULL and "k!@n" deletes. All its rows count as imported. */
static void import_rows(SinkCase *box, SinkSession *session, const char *rows) {
    char *copy = strdup(rows), *rest = NULL;
    Error error = {0};
    sink_case_next_file(box, 0);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strpbrk(word, "=!"), *newer = strchr(word, '@');
        assert_true(value && newer);
        const char *mark = *value == '!' ? "d" : NULL;
        *value++ = *newer++ = '\0';
        ADD(&box->rows[0], word, mark ? NULL : value, strcmp(newer, "-") == 0 ? NULL : newer, mark);
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
        begin(&box, session, cases[i].type, i % 2 > 0); /* it makes no difference while none deletes */
        for (size_t at = 0; at < sizeof cases[i].imports / sizeof cases[i].imports[0] && cases[i].imports[at]; at++)
            import_rows(&box, session, cases[i].imports[at]);
        assert_rows(QUERY, cases[i].wanted);
    }
}

static void a_row_may_delete_its_key(void **state) {
    static const struct {
        const char *name, *type, *imports[4], *wanted;
    } cases[] = {
        {"a deletion", "", {"a=1@1 b=1@1", "a!@-"}, "b|1"},
        {"a key that is not there", "", {"a=1@1", "b!@-"}, "a|1"},
        {"only deletions", "", {"a=1@1 b=1@1 c=1@1", "a!@- c!@- d!@-"}, "b|1"},
        {"a row, then its deletion", "", {"a=1@1 a!@-"}, ""},
        {"a deletion, then a row", "", {"a=0@1", "a!@- a=1@1"}, "a|1"},
        {"the last one of an import counts", "", {"a=1@1 a!@- a=2@1 b!@- b=1@1 b!@-"}, "a|2"},
        {"rows of other keys beside", "", {"a=1@1 b=1@1", "c=1@1 a!@- b=2@1 d!@-"}, "b|2\nc|1"},
        {"of the next import", "", {"a=1@1", "a!@-", "a=2@1"}, "a|2"},
        {"a newer deletion", "integer", {"a=1@5", "a!@6"}, ""},
        {"an older deletion deletes nothing", "integer", {"a=1@5 b=1@5", "a!@4 b!@5"}, "a|1"},
        {"of equal ones the later counts", "integer", {"a=1@5 a!@5", "b!@5 b=1@5"}, "b|1"},
        {"an older row behind a deletion of its import", "integer", {"a=0@1", "a!@9 a=1@5"}, ""},
        {"an older row behind one of an earlier import", "integer", {"a=0@1", "a!@9", "a=1@5"}, "a|1"},
        {"a newer row behind a deletion", "integer", {"a=0@1", "a!@5 a=1@9"}, "a|1"},
        {"deletions in any order", "integer", {"a=0@1", "a!@9 a!@3 a=1@5"}, ""},
        {"NULL is older than all values", "integer", {"a=1@1 b=1@-", "a!@- b!@-"}, "a|1"},
        {"a deletion of NULL before a row", "integer", {"a!@- a=1@-"}, "a|1"},
        {"a deletion hides a row of NULL", "integer", {"a!@0 a=1@-"}, ""},
        {"decimals", "decimal", {"a=1@10.5 b=1@9", "a!@9.75 b!@10"}, "a|1"},
        {"decimals of an import", "decimal", {"a!@10 a=1@9.5 b!@9.5 b=1@10"}, "b|1"},
        {"times", "timestamp", {"a=1@2026-01-02T03:04:05.000001Z", "a!@2026-01-02T03:04:05.000000Z"}, "a|1"},
    };
    SESSION;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        _cleanup_(sink_case_deinit) SinkCase box;
        print_message("%s\n", cases[i].name);
        begin(&box, session, cases[i].type, true);
        for (size_t at = 0; at < sizeof cases[i].imports / sizeof cases[i].imports[0] && cases[i].imports[at]; at++)
            import_rows(&box, session, cases[i].imports[at]);
        assert_rows(QUERY, cases[i].wanted);
    }
}

/* The second import is of a file that comes back: keys that were there keep their rows. */
static void existing_rows_can_be_kept(void **state) {
    static const struct {
        const char *name, *type, *first, *back, *wanted;
        uint64_t existing; /* rows of the file that changed nothing */
    } cases[] = {
        {"new keys alone", "", "a=1@1", "b=2@1 c=2@1", "a|1\nb|2\nc|2", 0},
        {"keys that were there", "", "a=1@1 b=1@1", "a=2@9 b=2@9", "a|1\nb|1", 2},
        {"both", "", "a=1@1", "b=2@1 a=2@1 c=2@1", "a|1\nb|2\nc|2", 1},
        {"the last row of a new key counts", "", "a=1@1", "b=2@1 a=2@1 b=3@1 a=3@1", "a|1\nb|3", 2},
        {"a deletion of a key that was there", "", "a=1@1", "a!@- b=2@1", "a|1\nb|2", 1},
        {"a deletion of a key that was not there", "", "a=1@1", "b!@- c=2@1", "a|1\nc|2", 0},
        {"a new key that is deleted", "", "a=1@1", "b=2@1 b!@-", "a|1", 0},
        {"a new key, deleted and new again", "", "a=1@1", "b=2@1 b!@- b=3@1 a=2@1", "a|1\nb|3", 1},
        {"a newer row of a key that was there", "integer", "a=1@1", "a=2@9 b=2@1", "a|1\nb|2", 1},
        {"of a new key the newest row counts", "integer", "a=1@1", "b=2@9 b=3@5", "a|1\nb|2", 0},
        {"an older row behind the deletion of a new key", "integer", "a=1@1", "b!@9 b=3@5", "a|1", 0},
    };
    SESSION;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        _cleanup_(sink_case_deinit) SinkCase box;
        print_message("%s\n", cases[i].name);
        begin(&box, session, cases[i].type, true);
        import_rows(&box, session, cases[i].first);
        assert_int_equal(box.job.existing_rows, 0);
        box.target.table.keeps_rows = true;
        import_rows(&box, session, cases[i].back);
        assert_rows(QUERY, cases[i].wanted);
        assert_int_equal(box.job.existing_rows, cases[i].existing);
        box.target.table.keeps_rows = false;
        import_rows(&box, session, "a=7@99");
        assert_int_equal(box.job.existing_rows, 0);
    }
}

/* An append refuses keys that are there. A file that comes back leaves them, and refuses only keys
 * that it has twice itself. */
static void an_append_can_keep_existing_rows(void **state) {
    SESSION;
    _cleanup_(sink_case_deinit) SinkCase box;
    Error error = {0};
    run_sql("DROP TABLE IF EXISTS merged");
    sink_case_init(&box, "merged", "k:text:key v:text", 1);
    box.target.table.strategy = STRATEGY_APPEND;
    must(driver->prepare(session, &box.target, &error), &error);
    ADD(&box.rows[0], "a", "1");
    ADD(&box.rows[0], "b", "1");
    must(driver->import(session, sink_case_job(&box), &error), &error);
    box.target.table.keeps_rows = true;
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "a", "2");
    ADD(&box.rows[0], "c", "2");
    ADD(&box.rows[0], "b", "2");
    ADD(&box.rows[0], "c", "3");
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_rows(QUERY, "a|1\nb|1\nc|2");
    assert_int_equal(box.job.existing_rows, 2);
    assert_int_equal(box.job.rejected_rows, 1);
    assert_string_equal(box.rejects[0].csv.data, "c,3\n");
}

/* A bad row among them makes several attempts of one import: keys of an earlier attempt are not
 * those that were there before. */
static void a_refused_row_changes_nothing_about_kept_ones(void **state) {
    SESSION;
    _cleanup_(sink_case_deinit) SinkCase box;
    begin(&box, session, "", true);
    import_rows(&box, session, "a=1@1 b=1@1");
    run_sql(refuse_bad);
    Error error = {0};
    box.target.table.keeps_rows = true;
    sink_case_next_file(&box, 0);
    for (int i = 0; i < 40; i++) {
        char value[8];
        (void)snprintf(value, sizeof value, "%d", i);
        ADD(&box.rows[0], i == 20 ? "e" : i % 3 == 0 ? "a" : i % 3 == 1 ? "c" : "d", i == 20 ? "bad" : value, NULL, NULL);
    }
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_int_equal(box.job.rejected_rows, 1);
    assert_int_equal(box.job.existing_rows, 14);
    assert_rows(QUERY, "a|1\nb|1\nc|37\nd|38");
}

/* A table that is nothing but its key. */
static void a_key_alone_is_deleted(void **state) {
    SESSION;
    _cleanup_(sink_case_deinit) SinkCase box;
    Error error = {0};
    run_sql("DROP TABLE IF EXISTS keys");
    sink_case_init(&box, "keys", "a:integer:key b:text:key deletes", 1);
    must(driver->prepare(session, &box.target, &error), &error);
    ADD(&box.rows[0], "1", "x", NULL);
    ADD(&box.rows[0], "1", "y", NULL);
    ADD(&box.rows[0], "2", "x", NULL);
    must(driver->import(session, sink_case_job(&box), &error), &error);
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "1", "y", "d");
    ADD(&box.rows[0], "2", "x", "d");
    ADD(&box.rows[0], "2", "x", NULL);
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_int_equal(box.job.rejected_rows + box.job.swallowed_rows, 0);
    assert_rows("SELECT a, b FROM keys ORDER BY a, b", "1|x\n2|x");
}

/* A deletion that the table refuses is a bad row, and its neighbours go on. */
static void a_refused_deletion_is_a_reject(void **state) {
    SESSION;
    _cleanup_(sink_case_deinit) SinkCase box;
    Error error = {0};
    sink_case_init(&box, "owners", "k:text:key v:text deletes", 1);
    must(driver->prepare(session, &box.target, &error), &error);
    for (int i = 0; i < 20; i++) {
        char key[3] = {'k', (char)('a' + i)};
        ADD(&box.rows[0], key, "1", NULL);
    }
    must(driver->import(session, sink_case_job(&box), &error), &error);
    run_sql(hold_keys);
    sink_case_next_file(&box, 0);
    for (int i = 0; i < 20; i++) {
        char key[3] = {'k', (char)('a' + i)};
        ADD(&box.rows[0], key, i % 2 > 0 ? "2" : NULL, i % 2 > 0 ? NULL : "d");
    }
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_int_equal(box.job.rejected_rows, 2);
    assert_string_equal(box.rejects[0].csv.data, "kc,,d\n");
    assert_string_equal(box.rejects[1].csv.data, "kq,,d\n");
    assert_rows("SELECT count(*), min(v), max(v) FROM owners", "12|1|2");
}

enum { KEYS = 5, ROWS = 400 };

/* One import as it should be: of each key the newest row counts, and the last of those. */
typedef struct Model {
    int newest[KEYS], row[KEYS]; /* -1: NULL; row -1: there is none */
    bool deletes[KEYS];
} Model;

static void model_take(Model *model, int key, int n, int row, bool deletes) {
    if (model->row[key] >= 0 && n < model->newest[key]) return;
    model->newest[key] = n;
    model->row[key] = row;
    model->deletes[key] = deletes;
}

static void model_clear(Model *model) {
    for (int key = 0; key < KEYS; key++) model->row[key] = -1;
}

/* However rows and deletions come and are divided. */
static void any_order_of_deletions_gives_the_newest(void **state) {
    SESSION;
    for (unsigned seed = 1; seed <= 6; seed++) {
        _cleanup_(sink_case_deinit) SinkCase box;
        Model table, import;
        srandom(seed);
        model_clear(&table);
        begin(&box, session, "integer", true);
        for (int row = 0; row < ROWS;) {
            char rows[2000] = "";
            model_clear(&import);
            for (long left = 1 + random() % 40; left > 0 && row < ROWS; left--, row++) {
                int key = (int)(random() % KEYS), n = (int)(random() % 50) - 1;
                bool deletes = random() % 3 == 0;
                char number[16];
                (void)snprintf(number, sizeof number, "%d", n);
                size_t size = strlen(rows);
                if (deletes)
                    (void)snprintf(rows + size, sizeof rows - size, "%c!@%s ", 'a' + key, n < 0 ? "-" : number);
                else
                    (void)snprintf(rows + size, sizeof rows - size, "%c=%d@%s ", 'a' + key, row, n < 0 ? "-" : number);
                model_take(&import, key, n, row, deletes);
            }
            import_rows(&box, session, rows);
            for (int key = 0; key < KEYS; key++) {
                if (import.row[key] < 0 || (table.row[key] >= 0 && import.newest[key] < table.newest[key])) continue;
                if (import.deletes[key])
                    table.row[key] = -1;
                else
                    model_take(&table, key, import.newest[key], import.row[key], false);
            }
            char wanted[200] = "";
            for (int key = 0; key < KEYS; key++)
                if (table.row[key] >= 0)
                    (void)snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%c|%d", *wanted ? "\n" : "", 'a' + key,
                                   table.row[key]);
            assert_rows(QUERY, wanted);
        }
    }
}

/* What is in the table is, for each key, the newest row, and the last of those, however the rows
 * come and are divided. */
static void any_order_gives_the_newest_rows(void **state) {
    SESSION;
    for (unsigned seed = 1; seed <= 5; seed++) {
        _cleanup_(sink_case_deinit) SinkCase box;
        int newest[KEYS], winner[KEYS];
        srandom(seed);
        begin(&box, session, "integer", false);
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
        cmocka_unit_test_setup_teardown(a_row_may_delete_its_key, setup, teardown),
        cmocka_unit_test_setup_teardown(existing_rows_can_be_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(an_append_can_keep_existing_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_row_changes_nothing_about_kept_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_alone_is_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_deletion_is_a_reject, setup, teardown),
        cmocka_unit_test_setup_teardown(any_order_of_deletions_gives_the_newest, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
