#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "gateway/delivery/scheduler.h"

static void test_timers_come_in_order(void **state) {
    Scheduler scheduler = {0};
    Timer a = {0}, b = {0}, c = {0};
    assert_int_equal(scheduler_next(&scheduler), USEC_NEVER);
    assert_null(scheduler_take(&scheduler, USEC_NEVER));
    scheduler_set(&scheduler, &a, 30);
    scheduler_set(&scheduler, &b, 10);
    scheduler_set(&scheduler, &c, 20);
    scheduler_hasten(&scheduler, &c, 25); /* not later */
    scheduler_hasten(&scheduler, &a, 15);
    assert_int_equal(scheduler_next(&scheduler), 10);
    assert_null(scheduler_take(&scheduler, 9));
    assert_ptr_equal(scheduler_take(&scheduler, 100), &b);
    assert_ptr_equal(scheduler_take(&scheduler, 100), &a);
    scheduler_set(&scheduler, &c, USEC_NEVER);
    scheduler_set(&scheduler, &c, USEC_NEVER);
    assert_null(scheduler_take(&scheduler, 100));
    assert_int_equal(c.place, 0);
    scheduler_deinit(&scheduler);
}

static void test_any_order_of_changes_keeps_the_order(void **state) {
    enum { TIMERS = 100 };
    Random random = {.state = 4};
    for (unsigned round = 0; round < 200; round++) {
        Scheduler scheduler = {0};
        Timer timers[TIMERS] = {0};
        size_t set = 0;
        for (unsigned i = 0; i < 400; i++) {
            Timer *timer = &timers[random_below(&random, TIMERS)];
            scheduler_set(&scheduler, timer, random_below(&random, 4) ? (usec_t)random_below(&random, 50) : USEC_NEVER);
        }
        for (size_t i = 0; i < TIMERS; i++) set += timers[i].place > 0;
        usec_t last = 0;
        for (Timer *timer; (timer = scheduler_take(&scheduler, 1000)); set--) {
            assert_true(timer->due >= last);
            assert_int_equal(timer->place, 0);
            last = timer->due;
        }
        assert_int_equal(set, 0);
        scheduler_deinit(&scheduler);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_come_in_order),
        cmocka_unit_test(test_any_order_of_changes_keeps_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
