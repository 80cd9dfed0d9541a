/* Where a sink of a bridge goes on: decisions alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/sources/bridge_positions.h"

static void where_a_sink_begins(void **state) {
    (void)state;
    const struct {
        int64_t from, end, position, next;
        bool sets_end;
    } cases[] = {
        {-1, -1, -1, -1, false},                                                  /* nobody knows */
        {-1, -1, 70, 70, true},  {50, 90, 70, 90, false},                         /* what waits leads there */
        {50, 90, 50, 90, false}, {50, 90, 90, 90, false}, {50, 90, 49, 49, true}, /* a hole before it */
        {50, 90, 91, 91, true},                                                   /* somebody else was there */
        {50, 90, -1, 90, false},                                                  /* the destination does not answer */
        {0, 0, 0, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BridgeAim aim = bridge_aim((BridgeChain){cases[i].from, cases[i].end}, cases[i].position);
        assert_int_equal(aim.next, cases[i].next);
        assert_int_equal(aim.sets_end, cases[i].sets_end);
    }
}

static void where_a_sink_goes_on_that_was_read_for_meanwhile(void **state) {
    (void)state;
    const struct {
        int64_t now;
        bool now_sets;
        int64_t from, position, next;
        bool sets_end;
    } cases[] = {
        {120, false, 50, 70, 120, false}, {120, false, 50, 120, 120, false}, {120, false, 50, 40, 40, true},
        {120, false, 50, 121, 121, true}, {120, false, -1, 120, 120, false}, {120, false, -1, 110, 110, true},
        {120, true, 50, 120, 120, true},  {120, true, 50, 70, 70, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BridgeAim aim = bridge_aim_again((BridgeAim){.next = cases[i].now, .sets_end = cases[i].now_sets}, cases[i].from,
                                         cases[i].position);
        assert_int_equal(aim.next, cases[i].next);
        assert_int_equal(aim.sets_end, cases[i].sets_end);
    }
}

static void the_source_reads_from_the_least(void **state) {
    (void)state;
    const int64_t next[] = {-1, 30, 20, -1, 40};
    assert_int_equal(bridge_min(next, 5), 20);
    assert_int_equal(bridge_min(next, 1), -1);
    assert_int_equal(bridge_min(next, 0), -1);
}

static void what_the_writer_says_is_news(void **state) {
    (void)state;
    const struct {
        PartitionProgress said;
        int64_t next;
        bool sets_end, posted;
        BridgeNews news;
    } cases[] = {
        {{.from = 50, .end = 90, .left = -1, .position = 70, .missing = false}, 90, false, false, BRIDGE_NEWS_NONE},
        {{.from = -1, .end = -1, .left = -1, .position = 70, .missing = false}, 90, false, false, BRIDGE_NEWS_LOOK}, /* its chain is lost */
        {{.from = -1, .end = -1, .left = -1, .position = 70, .missing = false},
         90,
         false,
         true,
         BRIDGE_NEWS_NONE}, /* the writer will say so of what was posted */
        {{.from = 50, .end = 80, .left = -1, .position = 70, .missing = false}, 90, false, false, BRIDGE_NEWS_LOOK},
        {{.from = 50, .end = 90, .left = -1, .position = 70, .missing = true}, 90, false, false, BRIDGE_NEWS_MISSING},
        {{.from = 50, .end = 90, .left = -1, .position = 70, .missing = false}, -1, false, false, BRIDGE_NEWS_NONE},
        {{.from = 50, .end = 90, .left = -1, .position = 70, .missing = false},
         30,
         true,
         false,
         BRIDGE_NEWS_LOOK}, /* moved before anything was read from there */
        {{.from = 50, .end = 90, .left = -1, .position = 30, .missing = false}, 30, true, false, BRIDGE_NEWS_NONE},
        {{.from = -1, .end = -1, .left = -1, .position = -1, .missing = false}, 30, true, false, BRIDGE_NEWS_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BridgeAim now = {.next = cases[i].next, .sets_end = cases[i].sets_end};
        assert_int_equal(bridge_news(&cases[i].said, now, cases[i].posted), cases[i].news);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_a_sink_begins),
        cmocka_unit_test(where_a_sink_goes_on_that_was_read_for_meanwhile),
        cmocka_unit_test(the_source_reads_from_the_least),
        cmocka_unit_test(what_the_writer_says_is_news),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
