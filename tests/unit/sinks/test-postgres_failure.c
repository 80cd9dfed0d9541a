/* What the SQLSTATEs of PostgreSQL mean: for the import, for its rows, and for a second session
 * that is refused. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>

#include "sinks/postgres_failure.h"

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* Each class of appendix A of PostgreSQL's manual, and some that a trigger may make up. */
static const struct {
    const char *class;
    PostgresBlame blame;
} classes[] = {
    {"00", POSTGRES_BLAME_MAYBE}, {"01", POSTGRES_BLAME_MAYBE}, {"02", POSTGRES_BLAME_ROW},   {"03", POSTGRES_BLAME_MAYBE},
    {"08", POSTGRES_BLAME_MAYBE}, {"09", POSTGRES_BLAME_ROW},   {"0A", POSTGRES_BLAME_MAYBE}, {"0B", POSTGRES_BLAME_MAYBE},
    {"0F", POSTGRES_BLAME_MAYBE}, {"0L", POSTGRES_BLAME_MAYBE}, {"0P", POSTGRES_BLAME_MAYBE}, {"0Z", POSTGRES_BLAME_MAYBE},
    {"20", POSTGRES_BLAME_ROW},   {"21", POSTGRES_BLAME_ROW},   {"22", POSTGRES_BLAME_ROW},   {"23", POSTGRES_BLAME_ROW},
    {"24", POSTGRES_BLAME_MAYBE}, {"25", POSTGRES_BLAME_MAYBE}, {"26", POSTGRES_BLAME_MAYBE}, {"27", POSTGRES_BLAME_MAYBE},
    {"28", POSTGRES_BLAME_MAYBE}, {"2B", POSTGRES_BLAME_MAYBE}, {"2D", POSTGRES_BLAME_MAYBE}, {"2F", POSTGRES_BLAME_ROW},
    {"34", POSTGRES_BLAME_MAYBE}, {"38", POSTGRES_BLAME_ROW},   {"39", POSTGRES_BLAME_ROW},   {"3B", POSTGRES_BLAME_MAYBE},
    {"3D", POSTGRES_BLAME_MAYBE}, {"3F", POSTGRES_BLAME_MAYBE}, {"40", POSTGRES_BLAME_TABLE}, {"42", POSTGRES_BLAME_MAYBE},
    {"44", POSTGRES_BLAME_ROW},   {"53", POSTGRES_BLAME_TABLE}, {"54", POSTGRES_BLAME_ROW},   {"55", POSTGRES_BLAME_TABLE},
    {"57", POSTGRES_BLAME_TABLE}, {"58", POSTGRES_BLAME_TABLE}, {"72", POSTGRES_BLAME_MAYBE}, {"F0", POSTGRES_BLAME_MAYBE},
    {"HV", POSTGRES_BLAME_MAYBE}, {"P0", POSTGRES_BLAME_ROW},   {"XX", POSTGRES_BLAME_MAYBE}, {"U0", POSTGRES_BLAME_ROW},
    {"ZZ", POSTGRES_BLAME_ROW},
};

static void each_class_has_its_blame(void **state) {
    static const char *const ends[] = {"000", "001", "501", "P01", "P03", "014", "ZZZ"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        for (size_t k = 0; k < sizeof ends / sizeof ends[0]; k++) {
            char sqlstate[6];
            (void)snprintf(sqlstate, sizeof sqlstate, "%s%s", classes[i].class, ends[k]);
            if (postgres_blame_of(sqlstate, NULL) != classes[i].blame) fail_msg("%s", sqlstate);
        }
    }
    assert_int_equal(postgres_blame_of("", NULL), POSTGRES_BLAME_TABLE);
    assert_int_equal(postgres_blame_of("42501", "ExecWithCheckOptions"), POSTGRES_BLAME_ROW);
    assert_int_equal(postgres_blame_of("42501", "aclcheck_error"), POSTGRES_BLAME_MAYBE);
    assert_int_equal(postgres_blame_of("40501", "ExecWithCheckOptions"), POSTGRES_BLAME_TABLE);
}

/* Rollbacks, resources, states of objects, an operator, the system: with whatever behind the class,
 * and no other class does the same. */
static void five_classes_are_never_a_row(void **state) {
    size_t found = 0;
    for (size_t a = 0; digits[a]; a++) {
        for (size_t b = 0; digits[b]; b++) {
            char class[3] = {digits[a], digits[b], 0};
            bool never = strstr("40 53 55 57 58", class) != NULL;
            for (size_t c = 0; digits[c]; c++) {
                for (size_t d = 0; digits[d]; d++) {
                    char sqlstate[6] = {digits[a], digits[b], digits[c], digits[d], digits[(c + d) % 36], 0};
                    PostgresBlame blame = postgres_blame_of(sqlstate, NULL);
                    if ((blame == POSTGRES_BLAME_TABLE) != never) fail_msg("%s", sqlstate);
                }
            }
            found += never;
        }
    }
    assert_int_equal(found, 5);
}

static void what_it_means_for_the_import(void **state) {
    static const struct {
        const char *sqlstate;
        bool is_fatal;
        SinkResult result;
    } cases[] = {
        {"", false, SINK_UNREACHABLE},     {"40001", false, SINK_RETRY},      {"40P01", false, SINK_RETRY},
        {"53100", false, SINK_RETRY},      {"53300", true, SINK_RETRY},       {"55P03", false, SINK_RETRY},
        {"57014", false, SINK_RETRY},      {"57P01", true, SINK_UNREACHABLE}, {"57P03", true, SINK_UNREACHABLE},
        {"58030", false, SINK_RETRY},      {"25P03", true, SINK_RETRY},       {"25006", false, SINK_UNREACHABLE},
        {"08006", false, SINK_RETRY},      {"08006", true, SINK_UNREACHABLE}, {"28000", false, SINK_RETRY},
        {"28P01", true, SINK_UNREACHABLE}, {"XX000", false, SINK_RETRY},      {"42P01", false, SINK_REFUSED},
        {"42501", false, SINK_REFUSED},    {"23505", false, SINK_REFUSED},    {"22P02", false, SINK_REFUSED},
        {"P0001", false, SINK_REFUSED},    {"55000", false, SINK_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        PostgresFailure failure = {.is_fatal = cases[i].is_fatal};
        (void)snprintf(failure.sqlstate, sizeof failure.sqlstate, "%s", cases[i].sqlstate);
        if (postgres_failure_result(&failure) != cases[i].result) fail_msg("%s", cases[i].sqlstate);
    }
}

static void what_a_refused_session_proves(void **state) {
    static const char *const lives[] = {"53000", "53100", "53200", "53300", "53400"};
    static const char *const proves_nothing[] = {"",      "08P01", "08006", "28000", "28P01", "3D000", "42501", "57P01",
                                                 "57P02", "57P03", "57P05", "58030", "XX000", "55000", "0A000"};
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        assert_true(postgres_refusal_is_life(lives[i], false));
        assert_true(postgres_refusal_is_life(lives[i], true));
    }
    for (size_t i = 0; i < sizeof proves_nothing / sizeof proves_nothing[0]; i++) {
        assert_false(postgres_refusal_is_life(proves_nothing[i], false));
        /* A pooler's own words. */
        assert_int_equal(postgres_refusal_is_life(proves_nothing[i], true), strncmp(proves_nothing[i], "08", 2) == 0);
    }
}

static void secrets_are_hidden(void **state) {
    char text[] = "user a, secret hunter2, again hunter2!";
    postgres_hide(text, "hunter2");
    assert_string_equal(text, "user a, secret *******, again *******!");
    postgres_hide(text, "");
    postgres_hide(text, NULL);
    assert_string_equal(text, "user a, secret *******, again *******!");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_class_has_its_blame),     cmocka_unit_test(five_classes_are_never_a_row),
        cmocka_unit_test(what_it_means_for_the_import), cmocka_unit_test(what_a_refused_session_proves),
        cmocka_unit_test(secrets_are_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
