#include "tests/unit/storage/fixture.h"

#include "base/random.h"
#include "storage/conditions.h"

static const Conditions usual = {.upload_rows = 100,
                                 .upload_bytes = 1000,
                                 .upload_age = 30 * USEC_SECOND,
                                 .import_rows = 500,
                                 .import_bytes = 5000,
                                 .import_age = 60 * USEC_SECOND};

static void check_verdict(Waiting waiting, bool failing, bool stage, CloseReason close, usec_t next) {
    ConditionsVerdict verdict = conditions_evaluate(&usual, &waiting, failing);
    assert_int_equal(verdict.stage, stage);
    assert_int_equal(verdict.close, close);
    assert_int_equal(verdict.next, next);
}

static void test_judge(void **state) {
    const usec_t s = USEC_SECOND;
    check_verdict((Waiting){0}, false, false, CLOSE_NONE, USEC_NEVER);
    check_verdict((Waiting){.log_age = 99 * s, .file_age = 99 * s}, false, false, CLOSE_NONE, USEC_NEVER);
    check_verdict((Waiting){.log_rows = 99, .log_bytes = 999, .log_age = 29 * s}, false, false, CLOSE_NONE, 1 * s);
    check_verdict((Waiting){.log_rows = 100, .log_bytes = 1}, false, true, CLOSE_NONE, 60 * s);
    check_verdict((Waiting){.log_rows = 1, .log_bytes = 1000}, false, true, CLOSE_NONE, 60 * s);
    check_verdict((Waiting){.log_rows = 1, .log_age = 30 * s}, false, true, CLOSE_NONE, 30 * s);
    /* Buffered and staged count together, and what is buffered is staged before the file closes. */
    check_verdict((Waiting){.log_rows = 1, .file_rows = 499}, false, true, CLOSE_COUNT, USEC_NEVER);
    check_verdict((Waiting){.file_rows = 500, .file_bytes = 9000, .file_age = 99 * s}, false, false, CLOSE_COUNT, USEC_NEVER);
    check_verdict((Waiting){.log_rows = 1, .log_bytes = 1, .file_rows = 1, .file_bytes = 4999}, false, true, CLOSE_SIZE, USEC_NEVER);
    check_verdict((Waiting){.log_rows = 1, .log_age = 60 * s}, false, true, CLOSE_TIME, USEC_NEVER);
    check_verdict((Waiting){.log_rows = 1, .file_rows = 1, .file_age = 60 * s}, false, true, CLOSE_TIME, USEC_NEVER);
    check_verdict((Waiting){.log_rows = 1, .log_age = 5 * s, .file_rows = 1, .file_age = 45 * s}, false, false, CLOSE_NONE, 15 * s);
    /* While imports fail, time alone closes nothing; count and size do. */
    check_verdict((Waiting){.file_rows = 1, .file_age = 999 * s}, true, false, CLOSE_NONE, USEC_NEVER);
    check_verdict((Waiting){.log_rows = 1, .file_rows = 1, .file_age = 999 * s}, true, false, CLOSE_NONE, 30 * s);
    check_verdict((Waiting){.file_rows = 500, .file_age = 999 * s}, true, false, CLOSE_COUNT, USEC_NEVER);
}

/* `next` is what it says: just before it the verdict is the same, at it another one. */
static void test_next_is_exact(void **state) {
    Random random = {.state = 42};
    for (int i = 0; i < 20000; i++) {
        Waiting waiting = {.log_rows = random_below(&random, 3) * 40,
                           .log_bytes = random_below(&random, 1100),
                           .log_age = (usec_t)random_below(&random, 70) * USEC_SECOND,
                           .file_rows = random_below(&random, 3) * 200,
                           .file_bytes = random_below(&random, 5000),
                           .file_age = (usec_t)random_below(&random, 70) * USEC_SECOND};
        bool failing = random_below(&random, 2);
        ConditionsVerdict now = conditions_evaluate(&usual, &waiting, failing);
        assert_true(now.next > 0);
        Waiting later = waiting;
        usec_t step = now.next == USEC_NEVER ? 365 * USEC_DAY : now.next;
        later.log_age += step - 1;
        later.file_age += step - 1;
        ConditionsVerdict then = conditions_evaluate(&usual, &later, failing);
        assert_true(then.stage == now.stage && then.close == now.close);
        if (now.next == USEC_NEVER) continue;
        later.log_age += 1;
        later.file_age += 1;
        then = conditions_evaluate(&usual, &later, failing);
        assert_true(then.stage != now.stage || then.close != now.close);
    }
}

static void test_from_settings(void **state) {
    Conditions conditions;
    conditions_from_settings(&conditions, NULL, NULL);
    assert_int_equal(conditions.upload_rows, 10000);
    assert_int_equal(conditions.upload_bytes, 5 << 20);
    assert_int_equal(conditions.upload_age, 30 * USEC_SECOND);
    assert_int_equal(conditions.import_rows, 50000);
    assert_int_equal(conditions.import_bytes, 50 << 20);
    assert_int_equal(conditions.import_age, USEC_MINUTE);

    Settings source = {0}, sink = {0};
    source.set[SETTING_IMPORT_COUNT] = sink.set[SETTING_IMPORT_COUNT] = source.set[SETTING_UPLOAD_INTERVAL] = true;
    source.value[SETTING_IMPORT_COUNT] = 7;
    sink.value[SETTING_IMPORT_COUNT] = 1;
    source.value[SETTING_UPLOAD_INTERVAL] = USEC_SECOND;
    conditions_from_settings(&conditions, &source, &sink);
    assert_int_equal(conditions.import_rows, 1);
    assert_int_equal(conditions.upload_age, USEC_SECOND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_next_is_exact),
        cmocka_unit_test(test_from_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
