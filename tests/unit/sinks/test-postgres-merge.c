/* The strategy merge in PostgreSQL: the cases of all drivers, and tables that swallow rows. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/merge-cases.h"
#include "tests/unit/sinks/postgres-case.h"

#include <stdio.h>

const char hold_keys[] = "CREATE TABLE held (k text REFERENCES owners (k)); INSERT INTO held VALUES ('kc'), ('kq')";
const char refuse_bad[] = "ALTER TABLE merged ADD CHECK (v <> 'bad')";

void run_sql(const char *text) {
    test_postgres_sql(server, text);
}

/* A row that is older is imported; one that a trigger swallows is not there, and is named. */
static void an_older_row_is_not_a_swallowed_one(void **state) {
    SESSION;
    run_sql("CREATE TABLE picky (k text PRIMARY KEY, v text, n bigint);"
            "CREATE FUNCTION picky_before() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.v = 'bad' THEN RETURN NULL; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON picky FOR EACH ROW EXECUTE FUNCTION picky_before()");
    CASE("picky", "k:text:key v:text n:integer", 1);
    box.target.table.newer_by = (char *)(uintptr_t) "n";
    prepare(session, &box);
    ADD(&box.rows[0], "a", "1", "5");
    ADD(&box.rows[0], "b", "1", "5");
    import(session, &box);
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "a", "2", "4");
    ADD(&box.rows[0], "b", "bad", "6");
    ADD(&box.rows[0], "c", "bad", NULL);
    ADD(&box.rows[0], "d", "1", "1");
    import(session, &box);
    assert_int_equal(box.job.rejected_rows, 2);
    assert_rows("SELECT k, v FROM picky ORDER BY k", "a|1\nb|1\nd|1");
}

static void a_deletion_that_a_trigger_ignores_is_named(void **state) {
    SESSION;
    run_sql("CREATE TABLE keeping (k text PRIMARY KEY, v text);"
            "CREATE FUNCTION keeping_before() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF OLD.v = 'keep' THEN RETURN NULL; END IF; RETURN OLD; END $$;"
            "CREATE TRIGGER t BEFORE DELETE ON keeping FOR EACH ROW EXECUTE FUNCTION keeping_before()");
    CASE("keeping", "k:text:key v:text deletes", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "a", "keep", NULL);
    ADD(&box.rows[0], "b", "1", NULL);
    import(session, &box);
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "a", NULL, "d");
    ADD(&box.rows[0], "b", NULL, "d");
    ADD(&box.rows[0], "c", NULL, "d");
    ADD(&box.rows[0], "d", "1", NULL);
    import(session, &box);
    assert_int_equal(box.job.rejected_rows, 1);
    assert_string_equal(box.rejects[0].csv.data, "a,,d\n");
    assert_rows("SELECT k FROM keeping ORDER BY k", "a\nd");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_older_row_is_not_a_swallowed_one),
                                       cmocka_unit_test(a_deletion_that_a_trigger_ignores_is_named)};
    server = test_postgres_start();
    if (!server) {
        (void)printf("no PostgreSQL binaries on this machine\n");
        return 77; /* meson: skipped */
    }
    int failed = run_merge_cases(NULL, NULL) + cmocka_run_group_tests(tests, NULL, NULL);
    test_postgres_stop(server);
    return failed;
}
