/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/replace-cases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()

static const PositionsOwner owner = {.instance = {.bytes = {0x22}}, .sink_label = "shop/orders"};

void replace_use_run(BridgeCase *bridge, uint64_t run) {
    char *group = run_group("g", run);
    const char *own = arena_copy(&bridge->box.arena, span_of(group));
    for (size_t i = 0; i < bridge->position_count; i++) bridge->positions[i].key.group = own;
    free(group);
}

void replace_init(BridgeCase *bridge, const char *table, bool keyed, size_t files, size_t partitions, uint64_t run) {
    bridge_init(bridge, table, keyed, files, partitions);
    bridge->box.target.table.strategy = STRATEGY_REPLACE;
    replace_use_run(bridge, run);
}

void replace_deinit(BridgeCase *bridge) {
    bridge_deinit(bridge);
}

SinkResult replace_try_claim(SinkSession *session, BridgeCase *bridge, PositionClaim *ret_claims, RunState *ret_state, uint64_t *ret_later,
                             Error *error) {
    PositionClaim claims[8];
    for (size_t i = 0; i < bridge->position_count; i++) claims[i] = (PositionClaim){.key = bridge->positions[i].key, .start = 1000};
    ClaimJob job = {.owner = owner, .target = &bridge->box.target, .claims = claims, .count = bridge->position_count};
    *error = (Error){0};
    SinkResult result = driver->positions->claim(session, &job, error);
    if (ret_state) *ret_state = job.state;
    if (ret_later) *ret_later = job.later_run;
    for (size_t i = 0; i < bridge->position_count && ret_claims; i++) ret_claims[i] = claims[i];
    return result;
}

RunState replace_claim(SinkSession *session, BridgeCase *bridge) {
    RunState state = 0;
    Error error = {0};
    must(replace_try_claim(session, bridge, NULL, &state, NULL, &error), &error);
    return state;
}

SinkResult replace_try_swap(SinkSession *session, BridgeCase *bridge, int64_t limit, bool allow_empty, SwapJob *ret_job, Error *error) {
    SwapLimit limits[8];
    for (size_t i = 0; i < bridge->position_count; i++) limits[i] = (SwapLimit){.key = bridge->positions[i].key, .limit = limit};
    SwapJob job = {.owner = owner,
                   .target = &bridge->box.target,
                   .group = bridge->positions[0].key.group,
                   .limits = limits,
                   .limit_count = bridge->position_count,
                   .allow_empty = allow_empty};
    *error = (Error){0};
    SinkResult result = driver->positions->swap(session, &job, error);
    job.limits = NULL;
    if (ret_job) *ret_job = job;
    return result;
}

SwapOutcome replace_swap(SinkSession *session, BridgeCase *bridge, int64_t limit) {
    SwapJob job;
    Error error = {0};
    must(replace_try_swap(session, bridge, limit, false, &job, &error), &error);
    return job.outcome;
}

/* Old rows: offsets from `first` on, of partition 9. */
static void make_table(const char *table, bool keyed, int first, int count) {
    char sql[400];
    (void)snprintf(sql, sizeof sql, "CREATE TABLE %s (p bigint%s, o bigint%s, v text%s)", table, keyed ? " NOT NULL" : "",
                   keyed ? " NOT NULL" : "", keyed ? ", PRIMARY KEY (p, o)" : "");
    run_sql(sql);
    for (int i = 0; i < count; i++) {
        (void)snprintf(sql, sizeof sql, "INSERT INTO %s VALUES (9, %d, 'old')", table, first + i);
        run_sql(sql);
    }
}

static void assert_count(const char *what, const char *wanted) {
    char sql[300];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", what);
    assert_rows(sql, wanted);
}

static void assert_marks(const char *table, const char *wanted) {
    char sql[300];
    (void)snprintf(
        sql, sizeof sql,
        "SELECT topic, next_offset, topic_id FROM %s WHERE cluster = '' AND table_name IN ('%s', 'public.%s') ORDER BY topic DESC",
        positions_table, table, table);
    assert_rows(sql, wanted);
}

/* ---- a run from its begin to its end ---- */

static void the_rows_of_a_run_replace_those_of_the_table(void **state) {
    for (int keyed = 0; keyed < 2; keyed++) {
        SESSION;
        const char *table = keyed ? "runs_keyed" : "runs", *side = keyed ? "runs_keyed__replace" : "runs__replace";
        make_table(table, keyed, 0, 5);
        REPLACE(table, keyed, 1, 2, 7);
        PositionClaim claims[8];
        RunState run = 0;
        must(replace_try_claim(session, &bridge, claims, &run, NULL, &error), &error);
        assert_int_equal(run, RUN_OPEN);
        assert_false(claims[0].was_there);
        assert_int_equal(claims[1].next, 0);
        bridge_add(&bridge, 0, 0, 0, 10);
        bridge_add(&bridge, 0, 1, 0, 4);
        bridge_add_empty(&bridge, 0, 1, 4, 10);
        must(bridge_import(session, &bridge, &error), &error);
        assert_count(table, "5");
        assert_count(side, "14");
        /* What a claim of the run finds again. */
        must(replace_try_claim(session, &bridge, claims, &run, NULL, &error), &error);
        assert_int_equal(run, RUN_OPEN);
        assert_true(claims[0].was_there && claims[1].was_there);
        assert_int_equal(claims[0].next, 10);
        assert_count(side, "14");
        assert_int_equal(replace_swap(session, &bridge, 11), SWAP_NOT_COMPLETE);
        assert_count(table, "5");
        SwapJob job;
        must(replace_try_swap(session, &bridge, 10, false, &job, &error), &error);
        assert_int_equal(job.outcome, SWAP_REPLACED);
        assert_int_equal(job.rows, 14);
        assert_int_equal(job.swallowed_rows, 0);
        assert_count(table, "14");
        assert_offsets(table, 0, 0, 10);
        assert_offsets(table, 1, 0, 4);
        assert_marks(table, "run|7|g#7\ndone|7|g#7");
        /* Asked once more, as when the answer to COMMIT was lost. */
        assert_int_equal(replace_swap(session, &bridge, 10), SWAP_DONE_BEFORE);
        must(replace_try_claim(session, &bridge, claims, &run, NULL, &error), &error);
        assert_int_equal(run, RUN_DONE);
        assert_int_equal(claims[0].next, 10);
        /* A file that comes late: its rows are left out. */
        bridge_next_files(&bridge);
        bridge_add(&bridge, 0, 0, 10, 12);
        must(bridge_import(session, &bridge, &error), &error);
        assert_int_equal(bridge.box.files[0].left_out, 2);
        assert_int_equal(bridge.runs[0][0].outcome, RUN_OVERTAKEN);
        assert_true(bridge.positions[0].over && !bridge.positions[0].found);
        assert_count(table, "14");
        /* The next run. */
        replace_use_run(&bridge, 8);
        assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
        assert_count(side, "0");
        assert_marks(table, "run|8|g#8\ndone|7|g#7");
        bridge_next_files(&bridge);
        bridge_add(&bridge, 0, 0, 0, 3);
        must(bridge_import(session, &bridge, &error), &error);
        assert_int_equal(replace_swap(session, &bridge, 0), SWAP_REPLACED);
        assert_offsets(table, 0, 0, 3);
        assert_offsets(table, 1, 0, 0);
        assert_marks(table, "run|8|g#8\ndone|8|g#8");
        char sql[200];
        (void)snprintf(sql, sizeof sql, "SELECT DISTINCT group_id FROM %s WHERE table_name IN ('%s', 'public.%s') AND group_id <> ''",
                       positions_table, table, table);
        assert_rows(sql, "g#8");
    }
}

static void a_later_run_wins(void **state) {
    SESSION;
    make_table("raced", false, 0, 1);
    REPLACE("raced", false, 1, 1, 100);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    bridge_add(&bridge, 0, 0, 0, 5);
    must(bridge_import(session, &bridge, &error), &error);
    replace_use_run(&bridge, 101);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_count("raced__replace", "0");
    /* The earlier one: its rows are left out, also by a job without rows, and it is told which run won. */
    replace_use_run(&bridge, 100);
    bridge_next_files(&bridge);
    bridge_add(&bridge, 0, 0, 5, 9);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(bridge.box.files[0].left_out, 4);
    assert_count("raced__replace", "0");
    ImportRun empty = {.first = 9, .next = 10};
    PositionsJob advance = {
        .owner = owner, .target = &bridge.box.target, .positions = bridge.positions, .position_count = 1, .runs = &empty, .run_count = 1};
    must(driver->positions->advance(session, &advance, &error), &error);
    assert_int_equal(empty.outcome, RUN_OVERTAKEN);
    SwapJob job;
    must(replace_try_swap(session, &bridge, 5, false, &job, &error), &error);
    assert_int_equal(job.outcome, SWAP_SUPERSEDED);
    assert_int_equal(job.later_run, 101);
    RunState run = 0;
    uint64_t later = 0;
    must(replace_try_claim(session, &bridge, NULL, &run, &later, &error), &error);
    assert_int_equal(run, RUN_SUPERSEDED);
    assert_int_equal(later, 101);
    assert_count("raced", "1");
    assert_marks("raced", "run|101|g#101");
    /* Of another group, too. */
    bridge.positions[0].key.group = "f#99";
    must(replace_try_claim(session, &bridge, NULL, &run, &later, &error), &error);
    assert_int_equal(run, RUN_SUPERSEDED);
    bridge.positions[0].key.group = "f#102";
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    replace_use_run(&bridge, 101);
    assert_int_equal(replace_swap(session, &bridge, 0), SWAP_SUPERSEDED);
    /* One that was never claimed is not complete. */
    replace_use_run(&bridge, 103);
    assert_int_equal(replace_swap(session, &bridge, 0), SWAP_NOT_COMPLETE);
}

static void a_file_of_two_runs(void **state) {
    SESSION;
    make_table("mixed", false, 0, 1);
    REPLACE("mixed", false, 1, 2, 5);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    /* Partition 0 of the given up run, partition 1 of the present one. */
    bridge.position_count = 2;
    bridge.positions[0].key.group = "g#4";
    bridge_add(&bridge, 0, 0, 0, 5);
    bridge_add(&bridge, 0, 1, 0, 3);
    bridge_add(&bridge, 0, 0, 5, 6);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(bridge.box.files[0].left_out, 6);
    assert_count("mixed__replace", "3");
    assert_true(bridge.positions[0].over && !bridge.positions[1].over);
    assert_int_equal(bridge.positions[1].next, 3);
}

static void what_is_lost_is_begun_anew(void **state) {
    SESSION;
    char sql[300];
    make_table("lost", false, 0, 2);
    REPLACE("lost", false, 1, 1, 3);
    for (int way = 0; way < 2; way++) {
        assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
        bridge_next_files(&bridge);
        bridge_add(&bridge, 0, 0, 0, 5);
        must(bridge_import(session, &bridge, &error), &error);
        bridge_next_files(&bridge);
        bridge_add(&bridge, 0, 0, 5, 6);
        if (way == 0) {
            run_sql("DROP TABLE lost__replace");
            assert_int_equal(bridge_import(session, &bridge, &error), SINK_REFUSED);
            assert_int_equal(error.code, -ENOTDIR);
            assert_non_null(strstr(error.text, "sideTableMissing"));
            assert_int_equal(bridge.box.files[0].left_out, 0);
        } else {
            (void)snprintf(sql, sizeof sql, "DELETE FROM %s WHERE group_id = 'g#3'", positions_table);
            run_sql(sql);
            assert_int_equal(bridge_import(session, &bridge, &error), SINK_REFUSED);
            assert_int_equal(error.code, -ENODATA);
        }
        assert_int_equal(replace_swap(session, &bridge, 5), SWAP_NOT_COMPLETE);
        assert_count("lost", "2");
        PositionClaim claims[8];
        must(replace_try_claim(session, &bridge, claims, NULL, NULL, &error), &error);
        assert_false(claims[0].was_there);
        assert_int_equal(claims[0].next, 0);
        assert_count("lost__replace", "0");
    }
}

static void a_run_without_rows(void **state) {
    SESSION;
    make_table("vain", false, 0, 2);
    REPLACE("vain", false, 1, 1, 3);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_int_equal(replace_swap(session, &bridge, 0), SWAP_EMPTY);
    assert_count("vain", "2");
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    SwapJob job;
    must(replace_try_swap(session, &bridge, 0, true, &job, &error), &error);
    assert_int_equal(job.outcome, SWAP_REPLACED);
    assert_int_equal(job.rows, 0);
    assert_count("vain", "0");
    assert_int_equal(replace_claim(session, &bridge), RUN_DONE);
}

static void a_table_of_somebody_else_is_no_side_table(void **state) {
    SESSION;
    make_table("named", false, 0, 1);
    make_table("named__replace", false, 0, 3);
    REPLACE("named", false, 1, 1, 3);
    assert_int_equal(replace_try_claim(session, &bridge, NULL, NULL, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "named__replace"));
    assert_count("named__replace", "3");
    run_sql("DROP TABLE named__replace");
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
}

/* The table is made by the claim, and a table that does not fit is refused there. */
static void the_claim_makes_the_table(void **state) {
    SESSION;
    REPLACE("fresh", true, 1, 1, 3);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_count("fresh", "0");
    bridge_add(&bridge, 0, 0, 0, 2);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(replace_swap(session, &bridge, 2), SWAP_REPLACED);
    assert_count("fresh", "2");
    run_sql("DROP TABLE fresh");
    run_sql("CREATE TABLE fresh (p bigint, v text)");
    replace_use_run(&bridge, 4);
    assert_int_equal(replace_try_claim(session, &bridge, NULL, NULL, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "column \"o\""));
}

static const struct CMUnitTest cases[] = {
    cmocka_unit_test(the_rows_of_a_run_replace_those_of_the_table),
    cmocka_unit_test(a_later_run_wins),
    cmocka_unit_test(a_file_of_two_runs),
    cmocka_unit_test(what_is_lost_is_begun_anew),
    cmocka_unit_test(a_run_without_rows),
    cmocka_unit_test(a_table_of_somebody_else_is_no_side_table),
    cmocka_unit_test(the_claim_makes_the_table),
};

int run_replace_cases(int (*setup)(void **state), int (*teardown)(void **state)) {
    struct CMUnitTest tests[sizeof cases / sizeof cases[0]];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tests[i] = cases[i];
        tests[i].setup_func = setup;
        tests[i].teardown_func = teardown;
    }
    return cmocka_run_group_tests_name("replace", tests, NULL, NULL);
}
