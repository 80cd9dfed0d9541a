/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/replace-cases.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

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
    /* The earlier one: its rows are left out, also by a job without rows, and it is told which run
     * won. */
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
            must(bridge_import(session, &bridge, &error), &error);
            assert_int_equal(bridge.box.files[0].left_out, 1);
            assert_true(bridge.positions[0].over && !bridge.positions[0].found);
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
static void a_side_table_takes_no_rows_of_another_sink(void **state) {
    SESSION;
    make_table("taken", false, 0, 1);
    REPLACE("taken", false, 1, 1, 7);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    BridgeCase other;
    bridge_init(&other, "taken__replace", false, 1, 1);
    error = (Error){0};
    assert_int_equal(driver->prepare(session, &other.box.target, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "side table"));
    bridge_deinit(&other);
}

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

/* ---- rows ---- */

/* Of a case with one partition: a record with one row, at the offset, with key p and o as it is
 * given; "d" in `deletes`, or NULL. */
static void add_keyed(BridgeCase *bridge, int64_t offset, const char *p, const char *o, const char *v, const char *deletes) {
    bridge_add_empty(bridge, 0, 0, offset, offset + 1);
    bridge->runs[0][bridge->run_count[0] - 1].rows = 1;
    ADD(&bridge->box.rows[0], p, o, v, deletes);
}

/* Within a run a later row replaces an earlier one of its key, in one import and in the next. */
static void rows_with_a_key(void **state) {
    for (int newer = 0; newer < 2; newer++) {
        SESSION;
        const char *table = newer ? "newest" : "latest";
        REPLACE(table, true, 1, 1, 5);
        bridge.box.columns[1].primary_key = false;
        bridge.box.target.table.delete_on.tombstone = true;
        if (newer) bridge.box.target.table.newer_by = bridge.box.columns[1].name;
        assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
        char sql[200];
        (void)snprintf(sql, sizeof sql, "INSERT INTO %s VALUES (1, 99, 'old'), (7, 99, 'old')", table);
        run_sql(sql);
        bridge_next_files(&bridge);
        add_keyed(&bridge, 0, "1", "5", "a", NULL);
        add_keyed(&bridge, 1, "2", "5", "a", NULL);
        add_keyed(&bridge, 2, "3", "5", "a", NULL);
        add_keyed(&bridge, 3, "1", "4", "b", NULL);
        must(bridge_import(session, &bridge, &error), &error);
        bridge_next_files(&bridge);
        add_keyed(&bridge, 4, "2", "3", "c", NULL);
        add_keyed(&bridge, 5, "3", "6", NULL, "d");
        add_keyed(&bridge, 6, "2", "2", NULL, "d");
        add_keyed(&bridge, 7, "4", "1", "d", NULL);
        must(bridge_import(session, &bridge, &error), &error);
        assert_int_equal(replace_swap(session, &bridge, 8), SWAP_REPLACED);
        (void)snprintf(sql, sizeof sql, "SELECT p, o, v FROM %s ORDER BY p", table);
        assert_rows(sql, newer ? "1|5|a\n2|5|a\n4|1|d" : "1|4|b\n4|1|d");
    }
}

/* What the table would refuse is refused when it comes, so that it does not stand in the way of the
 * swap. */
static void rows_that_the_table_refuses(void **state) {
    SESSION;
    run_sql("CREATE TABLE picky (p bigint NOT NULL, o bigint, v text CHECK (v <> 'bad'), extra bigint DEFAULT 7)");
    run_sql("CREATE UNIQUE INDEX picky_unique ON picky (p, o)");
    run_sql("CREATE UNIQUE INDEX picky_partial ON picky (v) WHERE v <> 'x' AND v <> 'same'");
    run_sql("INSERT INTO picky VALUES (1, 1, 'old', 1)");
    REPLACE("picky", false, 1, 1, 5);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    bridge_add_text(&bridge, 0, 0, 0, "bad");
    bridge_add(&bridge, 0, 0, 1, 4);
    bridge_add_text(&bridge, 0, 0, 4, "once");
    bridge_add_text(&bridge, 0, 0, 5, "once"); /* a duplicate */
    bridge_add_empty(&bridge, 0, 0, 6, 7);
    bridge.runs[0][bridge.run_count[0] - 1].rows = 2;
    ADD(&bridge.box.rows[0], NULL, "6", "x");
    ADD(&bridge.box.rows[0], "0", "3", "x"); /* a duplicate */
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(bridge.box.job.rejected_rows, 4);
    SwapJob job;
    must(replace_try_swap(session, &bridge, 7, false, &job, &error), &error);
    assert_int_equal(job.outcome, SWAP_REPLACED);
    assert_int_equal(job.rows, 4);
    assert_rows("SELECT o, v, extra FROM picky ORDER BY o", "1|x|7\n2|x|7\n3|x|7\n4|once|7");
}

/* A trigger can refuse the swap: the table has its old rows, the run stays, and it goes well once
 * the trigger is gone. */
static void a_swap_that_the_table_refuses(void **state) {
    SESSION;
    make_table("guarded_rows", false, 0, 3);
    make_trigger("guarded_rows", TRIGGER_REFUSES);
    REPLACE("guarded_rows", false, 1, 1, 5);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    bridge_add(&bridge, 0, 0, 0, 4);
    bridge_add_text(&bridge, 0, 0, 4, "bad");
    must(bridge_import(session, &bridge, &error), &error);
    for (int i = 0; i < 2; i++) {
        SwapJob job;
        assert_int_equal(replace_try_swap(session, &bridge, 5, false, &job, &error), SINK_REFUSED);
        assert_non_null(strstr(error.text, "not this one"));
        assert_int_equal(job.outcome, 0);
        assert_rows("SELECT count(*), min(v), max(v) FROM guarded_rows", "3|old|old");
        assert_count("guarded_rows__replace", "5");
    }
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    drop_trigger("guarded_rows");
    assert_int_equal(replace_swap(session, &bridge, 5), SWAP_REPLACED);
    assert_count("guarded_rows", "5");
}

static void a_trigger_that_keeps_the_old_rows(void **state) {
    SESSION;
    make_table("clinging", false, 0, 3);
    make_trigger("clinging", TRIGGER_KEEPS);
    REPLACE("clinging", false, 1, 1, 5);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    bridge_add(&bridge, 0, 0, 0, 2);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(replace_try_swap(session, &bridge, 2, false, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "5 rows"));
    assert_rows("SELECT count(*), max(v) FROM clinging", "3|old");
    assert_count("clinging__replace", "2");
}

static void a_trigger_that_swallows_rows(void **state) {
    SESSION;
    make_table("hungry", false, 0, 3);
    make_trigger("hungry", TRIGGER_SWALLOWS);
    REPLACE("hungry", false, 1, 1, 5);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    bridge_add_text(&bridge, 0, 0, 0, "gone");
    bridge_add(&bridge, 0, 0, 1, 4);
    bridge_add_text(&bridge, 0, 0, 4, "gone");
    must(bridge_import(session, &bridge, &error), &error);
    SwapJob job;
    must(replace_try_swap(session, &bridge, 5, false, &job, &error), &error);
    assert_int_equal(job.rows, 3);
    assert_int_equal(job.swallowed_rows, 2);
    assert_count("hungry", "3");
}

/* As a run without rows. */
static void a_trigger_that_swallows_all_rows(void **state) {
    SESSION;
    make_table("starved", false, 0, 3);
    make_trigger("starved", TRIGGER_SWALLOWS);
    REPLACE("starved", false, 1, 1, 5);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    bridge_add_text(&bridge, 0, 0, 0, "gone");
    bridge_add_text(&bridge, 0, 0, 1, "gone");
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(replace_swap(session, &bridge, 2), SWAP_EMPTY);
    assert_rows("SELECT count(*), max(v) FROM starved", "3|old");
    assert_count("starved__replace", "2");
    SwapJob job;
    must(replace_try_swap(session, &bridge, 2, true, &job, &error), &error);
    assert_int_equal(job.outcome, SWAP_REPLACED);
    assert_int_equal(job.rows, 0);
    assert_int_equal(job.swallowed_rows, 2);
    assert_count("starved", "0");
}

/* ---- the table changes ---- */

static void a_column_that_went_before_the_swap(void **state) {
    for (int evolve = 0; evolve < 2; evolve++) {
        SESSION;
        const char *table = evolve ? "drifted_evolve" : "drifted";
        char sql[200];
        make_table(table, false, 0, 3);
        REPLACE(table, false, 1, 1, 5);
        bridge.box.target.table.on_schema_drift = evolve ? SCHEMA_DRIFT_EVOLVE : SCHEMA_DRIFT_FAIL;
        assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
        bridge_add(&bridge, 0, 0, 0, 2);
        must(bridge_import(session, &bridge, &error), &error);
        (void)snprintf(sql, sizeof sql, "ALTER TABLE %s DROP COLUMN v", table);
        run_sql(sql);
        SwapJob job;
        SinkResult result = replace_try_swap(session, &bridge, 2, false, &job, &error);
        if (!evolve) {
            assert_int_equal(result, SINK_REFUSED);
            assert_non_null(strstr(error.text, "\"v\""));
            assert_count(table, "3");
            (void)snprintf(sql, sizeof sql, "ALTER TABLE %s ADD COLUMN v text", table);
            run_sql(sql);
            result = replace_try_swap(session, &bridge, 2, false, &job, &error);
        }
        must(result, &error);
        assert_int_equal(job.outcome, SWAP_REPLACED);
        assert_offsets(table, 0, 0, 2);
        /* Of a run that is over, the table is no matter. */
        (void)snprintf(sql, sizeof sql, "ALTER TABLE %s DROP COLUMN o", table);
        run_sql(sql);
        bridge.box.target.table.on_schema_drift = SCHEMA_DRIFT_FAIL;
        assert_int_equal(replace_claim(session, &bridge), RUN_DONE);
        assert_int_equal(replace_swap(session, &bridge, 2), SWAP_DONE_BEFORE);
    }
}

/* A sink that infers gets columns in the middle of a run. */
static void columns_that_come_in_the_middle_of_a_run(void **state) {
    SESSION;
    run_sql("CREATE TABLE growing (p bigint, o bigint)");
    REPLACE("growing", false, 1, 1, 5);
    bridge.box.target.column_count = 2;
    bridge.box.target.table.on_schema_drift = SCHEMA_DRIFT_EVOLVE;
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    bridge_next_files(&bridge);
    bridge_add_empty(&bridge, 0, 0, 0, 1);
    bridge.runs[0][0].rows = 1;
    ADD(&bridge.box.rows[0], "0", "0");
    must(bridge_import(session, &bridge, &error), &error);
    bridge.box.target.column_count = 3;
    must(driver->prepare(session, &bridge.box.target, &error), &error);
    bridge_next_files(&bridge);
    bridge_add(&bridge, 0, 0, 1, 2);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(replace_swap(session, &bridge, 2), SWAP_REPLACED);
    assert_rows("SELECT o, v FROM growing ORDER BY o", "0|NULL\n1|x");
}

/* ---- removal, interruption ---- */

static void a_run_that_is_removed(void **state) {
    SESSION;
    const Uuid own = owner.instance, other = {.bytes = {0x99}};
    uint64_t count = 0;
    make_table("purged", false, 0, 3);
    make_table("purged_by", false, 0, 3);
    REPLACE("purged", false, 1, 2, 5);
    SinkTarget *target = &bridge.box.target;
    must(driver->positions->remove(session, target, "g#5", NULL, &count, &error), &error); /* also when there is nothing */
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    must(driver->positions->remove(session, target, "g#5", &other, &count, &error), &error);
    assert_int_equal(count, 0);
    assert_count("purged__replace", "0");
    must(driver->positions->remove(session, target, "g#4", &own, &count, &error), &error);
    assert_count("purged__replace", "0");
    assert_marks("purged", "run|5|g#5");
    must(driver->positions->remove(session, target, "g#5", &own, &count, &error), &error);
    assert_int_equal(count, 2);
    assert_marks("purged", "");
    assert_count("purged", "3");
    /* Given up: nothing of another run, and all of the open one. */
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    must(driver->positions->give_up(session, target, "g#4", &own, &count, &error), &error);
    must(driver->positions->give_up(session, target, "g#5", &other, &count, &error), &error);
    assert_marks("purged", "run|5|g#5");
    assert_count("purged__replace", "0");
    must(driver->positions->give_up(session, target, "g#5", &own, &count, &error), &error);
    assert_int_equal(count, 2);
    assert_marks("purged", "");
    /* The side table is gone with it: one of that name is somebody else's now. */
    run_sql("CREATE TABLE purged__replace (a bigint)");
    run_sql("DROP TABLE purged__replace");
    /* Of a run that is done. */
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    SwapJob job;
    must(replace_try_swap(session, &bridge, 0, true, &job, &error), &error);
    must(driver->positions->give_up(session, target, "g#5", &own, &count, &error), &error);
    assert_int_equal(count, 0); /* the table has its rows */
    assert_marks("purged", "run|5|g#5\ndone|5|g#5");
    must(driver->positions->remove(session, target, "g#5", NULL, &count, &error), &error);
    assert_int_equal(count, 2);
    assert_marks("purged", "");
    /* The mark of the run before goes with an open one. */
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    must(replace_try_swap(session, &bridge, 0, true, &job, &error), &error);
    replace_use_run(&bridge, 6);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    must(driver->positions->remove(session, target, "g#6", &own, &count, &error), &error);
    assert_int_equal(count, 2);
    assert_marks("purged", "");
}

static bool stop_at_once(void *context, uint64_t rows_done, bool working) {
    return true;
}

static void a_swap_that_is_interrupted(void **state) {
    SESSION;
    make_table("halted", false, 0, 3);
    run_sql("CREATE TABLE halted_log (v text)");
    REPLACE("halted", false, 1, 1, 5);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    for (int64_t i = 0; i < 40; i++) bridge_add(&bridge, 0, 0, 1000 * i, 1000 * (i + 1));
    must(bridge_import(session, &bridge, &error), &error);
    make_trigger("halted", TRIGGER_SWALLOWS); /* it takes its time */
    SwapJob job = {.owner = owner,
                   .target = &bridge.box.target,
                   .group = bridge.positions[0].key.group,
                   .progress = stop_at_once,
                   .patience = USEC_SECOND};
    SinkResult result = driver->positions->swap(session, &job, &error);
    if (result != SINK_DONE) { /* a fast machine has done it before anybody was asked */
        assert_true(result == SINK_RETRY || result == SINK_UNREACHABLE);
        assert_int_equal(job.outcome, 0);
        assert_rows("SELECT count(*), max(v) FROM halted", "3|old");
    }
    driver->disconnect(session);
    session = open_session();
    SwapOutcome outcome = replace_swap(session, &bridge, 40000);
    assert_int_equal(outcome, result == SINK_DONE ? SWAP_DONE_BEFORE : SWAP_REPLACED);
    assert_count("halted", "40000");
}

/* ---- many sessions ---- */

enum { NODES = 3, NODE_RUNS = 12, NODE_RECORDS = 60 };

typedef struct Node {
    Thread thread;
    unsigned seed;
    Error error; /* of a refusal */
} Node;

static _Atomic(uint64_t) last_run;
static _Atomic(bool) nodes_run;
static atomic_uint replacements;

/* One step of a node: SINK_RETRY when it is to do it again. Other sessions are in its way, so that
 * is no failure. */
static bool may_go_on(Node *node, const char *step, SinkResult result, const Error *error) {
    if (result == SINK_REFUSED) {
        node->error = *error;
        (void)error_prefix(&node->error, "%s", step);
    }
    return result == SINK_DONE;
}

/* Reads a run from where it stands, in files of a few records, and swaps at its end. Rows of a run
 * have its number. */
static void read_run(Node *node, SinkSession *session, BridgeCase *bridge, uint64_t run) {
    char text[24];
    PositionClaim claims[8];
    RunState state = 0;
    Error error = {0};
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)run);
    replace_use_run(bridge, run);
    while (!may_go_on(node, "claim", replace_try_claim(session, bridge, claims, &state, NULL, &error), &error))
        if (node->error.code != 0) return;
    if (state != RUN_OPEN) return;
    int64_t at[2] = {claims[0].next, claims[1].next};
    while (at[0] < NODE_RECORDS || at[1] < NODE_RECORDS) {
        bridge_next_files(bridge);
        for (size_t p = 0; p < 2; p++) {
            int64_t next = at[p] + 1 + rand_r(&node->seed) % 20;
            for (; at[p] < next && at[p] < NODE_RECORDS; at[p]++) bridge_add_text(bridge, 0, p, at[p], text);
        }
        SinkResult result;
        while (!may_go_on(node, "import", result = bridge_import(session, bridge, &error), &error)) {
            if (node->error.code != 0) return;
        }
        for (size_t p = 0; p < 2; p++) {
            if (bridge->positions[p].over) return;
            at[p] = bridge->positions[p].next;
        }
    }
    SwapJob job;
    while (!may_go_on(node, "swap", replace_try_swap(session, bridge, NODE_RECORDS, false, &job, &error), &error))
        if (node->error.code != 0) return;
    if (job.outcome == SWAP_REPLACED) replacements++;
    if (job.outcome == SWAP_EMPTY || job.outcome == SWAP_NOT_COMPLETE) {
        /* All of it is there, unless the run was begun anew, which nobody does here. */
        (void)error_set(&node->error, -EPROTO, "outcome %d", job.outcome);
    }
}

static void *be_node(void *context) {
    Node *node = context;
    SinkSession *session = open_session();
    BridgeCase bridge;
    replace_init(&bridge, "contested", false, 1, 2, 1);
    for (int i = 0; i < NODE_RUNS && node->error.code == 0; i++) {
        /* The present run with others, or a new one. */
        uint64_t run = i % 3 == 2 ? atomic_fetch_add(&last_run, 1) + 1 : atomic_load(&last_run);
        read_run(node, session, &bridge, run);
    }
    replace_deinit(&bridge);
    driver->disconnect(session);
    return NULL;
}

/* Looks at the table all the time: it has the rows of one run, all of them, each once. */
static void *watch(void *context) {
    unsigned *looks = context;
    while (atomic_load(&nodes_run)) {
        assert_rows("SELECT count(*) = 120 AND count(DISTINCT p * 1000 + o) = 120 AND min(v) = max(v) OR count(*) = 1 AND max(v) = 'old'"
                    " FROM contested",
                    true_word);
        ++*looks;
    }
    return NULL;
}

static void nodes_that_contest(void **state) {
    SESSION;
    static Node nodes[NODES];
    unsigned looks = 0;
    Thread watcher;
    make_table("contested", false, 0, 1);
    atomic_store(&last_run, 1);
    atomic_store(&nodes_run, true);
    atomic_store(&replacements, 0);
    REPLACE("contested", false, 1, 2, 1);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_int_equal(thread_start(&watcher, "watcher", watch, &looks, NULL), 0);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i] = (Node){.seed = i + 1};
        assert_int_equal(thread_start(&nodes[i].thread, "node", be_node, &nodes[i], NULL), 0);
    }
    for (unsigned i = 0; i < NODES; i++) thread_join(&nodes[i].thread);
    atomic_store(&nodes_run, false);
    thread_join(&watcher);
    for (unsigned i = 0; i < NODES; i++)
        if (nodes[i].error.code != 0) fail_msg("node %u: %s", i, nodes[i].error.text);
    assert_true(looks > 0 && atomic_load(&replacements) > 0);
    /* The last run is read to its end now, if it was not. */
    Node last = {.seed = 77};
    read_run(&last, session, &bridge, atomic_load(&last_run));
    assert_int_equal(replace_claim(session, &bridge), RUN_DONE);
    char sql[100], wanted[60];
    (void)snprintf(sql, sizeof sql, "SELECT count(*), min(v), max(v) FROM contested");
    (void)snprintf(wanted, sizeof wanted, "120|%llu|%llu", (unsigned long long)last_run, (unsigned long long)last_run);
    assert_rows(sql, wanted);
}

static const struct CMUnitTest cases[] = {
    cmocka_unit_test(the_rows_of_a_run_replace_those_of_the_table),
    cmocka_unit_test(a_later_run_wins),
    cmocka_unit_test(a_file_of_two_runs),
    cmocka_unit_test(what_is_lost_is_begun_anew),
    cmocka_unit_test(a_run_without_rows),
    cmocka_unit_test(a_table_of_somebody_else_is_no_side_table),
    cmocka_unit_test(a_side_table_takes_no_rows_of_another_sink),
    cmocka_unit_test(the_claim_makes_the_table),
    cmocka_unit_test(rows_with_a_key),
    cmocka_unit_test(rows_that_the_table_refuses),
    cmocka_unit_test(a_swap_that_the_table_refuses),
    cmocka_unit_test(a_trigger_that_keeps_the_old_rows),
    cmocka_unit_test(a_trigger_that_swallows_rows),
    cmocka_unit_test(a_trigger_that_swallows_all_rows),
    cmocka_unit_test(a_column_that_went_before_the_swap),
    cmocka_unit_test(columns_that_come_in_the_middle_of_a_run),
    cmocka_unit_test(a_run_that_is_removed),
    cmocka_unit_test(a_swap_that_is_interrupted),
    cmocka_unit_test(nodes_that_contest),
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
