/* What a bridge learns from the writer, and how it goes on: chains of runs, positions that the
 * destination said, marks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/random.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "storage/environment_private.h"
#include "storage/partitions.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */
#define APPEND(...) fixture_append_runs(fixture, (FixtureRun[]){__VA_ARGS__}, sizeof((FixtureRun[]){__VA_ARGS__}) / sizeof(FixtureRun))

/* ---- chains ---------------------------------------------------------------------------------- */

static void test_what_is_returned_ends_its_chain(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture->positions[0] = 5; /* the database was restored */
    fixture_append_tens(fixture, 10, 30, true);
    APPEND({.sink = 1, .partition = 1, .first = 0, .next = 3, .rows = 3, .sets_end = true});
    fixture_run(fixture);
    fixture_chain_is(fixture, 0, 10, 30);
    fixture_flush(fixture, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 20);
    fixture_chain_is(fixture, 0, -1, -1);
    fixture_chain_is(fixture, 1, 3, 3); /* another partition */
    assert_int_equal(fixture_stored_end(fixture, 1, 1), -1);
    fixture_append_tens(fixture, 30, 40, false);
    assert_int_equal(fixture->misplaced, 1);
    assert_int_equal(fixture->ends[0], -1);
    fixture_append_tens(fixture, 5, 25, true);
    fixture_chain_is(fixture, 0, 5, 25);
    fixture_flush(fixture, 1);
    fixture_chain_is(fixture, 0, 25, 25);
    assert_int_equal(fixture->positions[0], 25);
}

/* The runs that do not follow lie before those that were read again, all in one file: these go in
 * all the same, and keep their chain. */
static void test_a_new_chain_outlives_the_runs_of_the_old_one(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture->positions[0] = 0;
    fixture_append_tens(fixture, 0, 10, true);
    fixture_flush(fixture, 1);
    fixture_append_tens(fixture, 10, 40, false); /* waits */
    fixture->positions[0] = 4;                   /* somebody set the position back */
    fixture_append_tens(fixture, 4, 54, true);   /* and the bridge heard of it */
    fixture_chain_is(fixture, 0, 4, 54);
    fixture_flush(fixture, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 30);
    assert_int_equal(fixture->positions[0], 54);
    fixture_chain_is(fixture, 0, 54, 54);
    fixture_append_tens(fixture, 54, 64, false);
    assert_int_equal(fixture->misplaced, 0);
}

static void test_what_somebody_else_imported_moves_the_beginning(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 40, true);
    fixture->positions[0] = 20;
    fixture_flush(fixture, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.overtaken_rows, 20);
    fixture_chain_is(fixture, 0, 40, 40);
    fixture_append_tens(fixture, 40, 50, false);
    fixture->positions[0] = 70;
    fixture_flush(fixture, 1);
    fixture_chain_is(fixture, 0, -1, -1); /* the bridge jumps forward */
    assert_int_equal(fixture_position_of(fixture, 0), 70);
}

/* Runs without rows of an old chain are not decided about once more. */
static void test_runs_without_rows_go_with_their_chain(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture->positions[0] = 3;
    APPEND({.sink = 1, .partition = 0, .first = 10, .next = 20, .sets_end = true},
           {.sink = 1, .partition = 1, .first = 0, .next = 8, .sets_end = true});
    fixture_run(fixture);
    APPEND({.sink = 1, .partition = 0, .first = 3, .next = 30, .sets_end = true});
    fixture_run(fixture);
    fixture_chain_is(fixture, 0, 3, 30);
    fixture_pass(fixture, 6 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(fixture->positions[0], 30);
    assert_int_equal(fixture->positions[1], 8);
    fixture_chain_is(fixture, 0, 30, 30);
    fixture_chain_is(fixture, 1, 8, 8);
}

/* At that byte of its value; in its last ones are row texts. */
static void damage_group(Fixture *fixture, uint64_t commit, size_t byte) {
    Txn *txn;
    char key[8];
    Span value;
    store_be64(key, commit);
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_get(txn, DB_LOG, (Span){key, 8}, &value, NULL), 0);
    char *copy = malloc(value.size);
    memcpy(copy, value.data, value.size);
    copy[(byte + value.size) % value.size] ^= 1;
    assert_int_equal(db_put(txn, DB_LOG, (Span){key, 8}, (Span){copy, value.size}, NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    free(copy);
}

/* Nobody knows whose runs they were; those of which nothing waits are left alone. */
static void test_damage_in_the_log_ends_the_chains_that_wait(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 2, .first = 0, .next = 3, .rows = 3, .sets_end = true});
    fixture_flush(fixture, 1);
    fixture_append_tens(fixture, 0, 10, true);
    fixture_append_tens(fixture, 10, 20, false);
    fixture->result = SINK_RETRY;
    damage_group(fixture, 3, (size_t)-2); /* the last one: no run behind it would show that it is missing */
    fixture_flush(fixture, 1);
    fixture_chain_is(fixture, 0, -1, -1);
    fixture_chain_is(fixture, 2, 3, 3);
    assert_int_equal(fixture_stored_end(fixture, 1, 1), -1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 10);
    fixture->result = SINK_DONE;
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture_position_of(fixture, 0), 10);
    fixture_append_tens(fixture, 10, 30, true);
    fixture_flush(fixture, 1);
    assert_int_equal(fixture->positions[0], 30);
}

static void test_another_table_has_other_positions(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 20, true);
    fixture_redefine(fixture, 1, "with-another-column", NULL);
    fixture_run(fixture);
    fixture_chain_is(fixture, 0, 0, 20); /* of the same table */
    fixture_redefine(fixture, 1, NULL, "elsewhere");
    fixture_run(fixture);
    fixture_chain_is(fixture, 0, -1, -1);
    assert_int_equal(fixture_stored_end(fixture, 1, 1), -1);
    assert_int_equal(fixture_progress(fixture, 1, false).partitions[0].left, 20); /* the other table may begin there */
    fixture_run(fixture);
    fixture_restart(fixture);
    fixture_chain_is(fixture, 0, -1, -1);
    fixture_redefine(fixture, 1, NULL, "elsewhere again");
    fixture_run(fixture);
    assert_int_equal(fixture_progress(fixture, 1, false).partitions[0].left, 20);
    fixture_append_tens(fixture, 20, 30, true);
    assert_int_equal(fixture_progress(fixture, 1, false).partitions[0].left, -1);
    fixture_restart(fixture);
    assert_int_equal(fixture_progress(fixture, 1, false).partitions[0].end, 30);
    assert_int_equal(fixture_progress(fixture, 1, false).partitions[0].left, -1);
}

static void test_discard_and_erase_end_the_chains(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 20, true);
    fixture_discard(fixture, 1);
    fixture_run(fixture);
    fixture_chain_is(fixture, 0, -1, -1);
    assert_int_equal(fixture_stored_end(fixture, 1, 1), -1);
    fixture_append_tens(fixture, 20, 30, false);
    assert_int_equal(fixture->misplaced, 1);
}

/* That the sink is one of a bridge is not forgotten with its chains: its files do not pass each
 * other, and do not expire. */
static void test_files_stay_in_order_without_a_chain(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 5, NEVER);
    fixture->fast_rows = 15; /* the first file takes too long, the other one would not */
    fixture->unproven = true;
    APPEND({.sink = 1, .partition = 0, .first = 5, .next = 25, .rows = 20, .sets_end = true});
    fixture_run(fixture);
    fixture_append_tens(fixture, 25, 35, false);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
    fixture->positions[0] = 2;
    assert_int_equal(fixture_position_of(fixture, 0), 2);
    fixture_chain_is(fixture, 0, -1, -1);
    fixture_restart(fixture);
    fixture_define(fixture, 1, false, 5, NEVER);
    fixture_live(fixture, 30 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 2);
    fixture->fast_rows = 0;
    fixture->positions[0] = 5;
    fixture_flush(fixture, 1);
    assert_int_equal(fixture->positions[0], 35);
    assert_int_equal(fixture->arrived, 30);
}

/* A new chain that begins where the old one ended: records without rows are joined to the last run,
 * which has both then. */
static void test_a_run_of_two_chains(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 10, 20, true);
    fixture->positions[0] = 3;
    assert_int_equal(fixture_position_of(fixture, 0), 3);
    fixture_chain_is(fixture, 0, -1, -1);
    fixture->positions[0] = 20; /* another reader was there */
    APPEND({.sink = 1, .partition = 0, .first = 20, .next = 25, .sets_end = true});
    fixture_run(fixture);
    fixture->positions[0] = 22;
    fixture_flush(fixture, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 10);
    fixture_chain_is(fixture, 0, -1, -1); /* the records from 22 on wait nowhere */
}

/* A chain that was set while a job was on its way began at a position that is newer than what the
 * job read. */
static void test_what_a_job_read_earlier_says_nothing_of_a_new_chain(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 10, true);
    fixture_flush(fixture, 1);
    (void)fixture_progress(fixture, 1, true);
    (void)writer_step(fixture->writer);              /* the job is given out */
    while (loaders_step(fixture->loaders)) continue; /* and has read the position: 10 */
    fixture->positions[0] = 50;
    APPEND({.sink = 1, .partition = 0, .first = 50, .next = 60, .rows = 10, .sets_end = true});
    Message *back = mailbox_take(writer_mailbox(fixture->writer)); /* the Append is committed before the job comes back */
    assert_int_equal(back->kind, MESSAGE_POSITIONS);
    Message *append = back->next;
    mailbox_post(writer_mailbox(fixture->writer), append);
    mailbox_post(writer_mailbox(fixture->writer), back);
    fixture_run(fixture);
    fixture_chain_is(fixture, 0, 50, 60);
    fixture_flush(fixture, 1);
    assert_int_equal(fixture->positions[0], 60);
}

/* ---- a start --------------------------------------------------------------------------------- */

static void test_a_start_finds_where_the_chains_begin(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_append_tens(fixture, 100, 120, true);
    APPEND({.sink = 1, .partition = 1, .first = 7, .next = 9, .rows = 2, .sets_end = true},
           {.sink = 1, .partition = 1, .first = 50, .next = 60, .rows = 2, .sets_end = true}, /* it began anew */
           {.sink = 2, .partition = 0, .first = 0, .next = 9, .rows = 1, .sets_end = true});
    fixture_flush(fixture, 1); /* a file that waits */
    fixture_append_tens(fixture, 120, 140, false);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);                          /* another one */
    fixture_append_tens(fixture, 140, 150, false); /* the log */
    APPEND({.sink = 1, .partition = 0, .first = 150, .next = 155}, {.sink = 1, .partition = 3, .first = 4, .next = 6, .sets_end = true});
    fixture_run(fixture);
    for (unsigned i = 0; i < 3; i++) {
        fixture_chain_is(fixture, 0, 100, 155);
        fixture_chain_is(fixture, 1, 50, 60);
        fixture_chain_is(fixture, 3, 4, 6);
        assert_int_equal(fixture_progress(fixture, 2, false).partitions[0].from, 0);
        assert_int_equal(fixture_progress(fixture, 2, false).partitions[0].end, 9);
        fixture_restart(fixture);
        fixture_define(fixture, 1, false, 1000, NEVER);
        fixture_define(fixture, 2, false, 1000, NEVER);
        fixture_run(fixture);
    }
    fixture->result = SINK_DONE;
    fixture->positions[0] = 100;
    fixture->positions[1] = 50;
    fixture->positions[3] = 4;
    fixture_live(fixture, USEC_HOUR);
    fixture_flush(fixture, 1);
    fixture_live(fixture, USEC_MINUTE);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fixture_position_of(fixture, 0), 155);
        fixture_chain_is(fixture, 0, 155, 155);
        fixture_chain_is(fixture, 1, 60, 60);
        fixture_chain_is(fixture, 3, 6, 6);
        fixture_restart(fixture);
        fixture_define(fixture, 1, false, 1000, NEVER);
        fixture_run(fixture);
    }
}

/* What waits does not reach the end that is stored: nobody knows what is missing. */
static void test_a_start_after_damage_has_no_chain(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 10, true);
    APPEND({.sink = 1, .partition = 1, .first = 0, .next = 9, .rows = 1, .sets_end = true});
    fixture_run(fixture);
    fixture_append_tens(fixture, 10, 20, false);
    fixture_stop(fixture, false);
    EnvironmentOptions options = {.path = fixture->directory, .map_bytes = fixture->map_bytes, .no_sync = true};
    assert_int_equal(environment_open(&options, &fixture->environment, NULL), 0);
    damage_group(fixture, 3, 20);
    environment_close(fixture->environment);
    fixture_start(fixture);
    fixture_chain_is(fixture, 0, -1, -1);
    fixture_chain_is(fixture, 1, 0, 9);
    assert_int_equal(fixture_stored_end(fixture, 1, 1), -1);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_flush(fixture, 1);
    assert_int_equal(fixture->positions[0], 10);
    assert_int_equal(fixture->positions[1], 9);
}

/* A hole in the middle: what is behind it waits, but does not follow. */
static void test_a_start_after_damage_begins_behind_the_hole(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 10, true);
    fixture_append_tens(fixture, 10, 20, false);
    fixture_append_tens(fixture, 20, 30, false);
    fixture_stop(fixture, false);
    EnvironmentOptions options = {.path = fixture->directory, .map_bytes = fixture->map_bytes, .no_sync = true};
    assert_int_equal(environment_open(&options, &fixture->environment, NULL), 0);
    damage_group(fixture, 2, 20);
    environment_close(fixture->environment);
    fixture_start(fixture);
    fixture_chain_is(fixture, 0, 20, 30);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_flush(fixture, 1);
    fixture_chain_is(fixture, 0, -1, -1);
    assert_int_equal(fixture->positions[0], 10);
}

/* ---- a reader that always gets to the end ---------------------------------------------------- */

#define RECORDS 4000

typedef struct Reader {
    Fixture *fixture;
    Random random;
    int64_t at; /* it reads there next; -1: it waits for the position */
    bool sets_end;
    unsigned restarts;                /* of its chain */
    unsigned char elsewhere[RECORDS]; /* imported by another reader */
} Reader;

/* As a bridge does: where its chain ends, else where the position is. */
static void ask(Reader *reader) {
    PartitionProgress progress = fixture_progress(reader->fixture, 1, false).partitions[0];
    reader->sets_end = progress.end < 0;
    reader->restarts += reader->sets_end && progress.position >= 0;
    reader->at = progress.end < 0 ? progress.position : progress.end;
}

static void read_some(Reader *reader, int64_t end) {
    Fixture *fixture = reader->fixture;
    for (uint64_t batches = 1 + random_below(&reader->random, 4); batches > 0 && reader->at >= 0 && reader->at < end; batches--) {
        int64_t next = reader->at + 1 + (int64_t)random_below(&reader->random, 30);
        if (next > end) next = end;
        bool filtered = random_below(&reader->random, 5) == 0 && next == reader->at + 1; /* a record that becomes no row */
        if (filtered) reader->elsewhere[reader->at] |= 8;
        APPEND({.sink = 1,
                .partition = 0,
                .first = reader->at,
                .next = next,
                .rows = filtered ? 0 : (unsigned)(next - reader->at),
                .sets_end = reader->sets_end});
        reader->sets_end = false;
        reader->at = next;
        if (random_below(&reader->random, 3) == 0) (void)writer_step(fixture->writer);
    }
}

static void disturb(Reader *reader) {
    Fixture *fixture = reader->fixture;
    int64_t *position = &fixture->positions[0];
    switch (random_below(&reader->random, 8)) {
    case 0: /* another reader imports */
        for (uint64_t n = random_below(&reader->random, 60); n > 0 && *position < RECORDS - 100; n--) reader->elsewhere[(*position)++] |= 1;
        break;
    case 1: fixture->result = random_below(&reader->random, 2) ? SINK_RETRY : SINK_DONE; break;
    case 2:
        fixture_restart(fixture);
        fixture_define(fixture, 1, false, 40, 3 * USEC_SECOND);
        break;
    case 3: fixture_close(fixture, 1, CLOSE_CHANGE); break;
    default: fixture_pass(fixture, (usec_t)random_below(&reader->random, 4 * USEC_SECOND)); break;
    }
}

static void each_record_is_there_once(Reader *reader, int64_t end) {
    unsigned char times[RECORDS] = {0};
    const Buffer *table = &reader->fixture->table;
    for (const char *at = table->data, *stop = table->data + table->size; at < stop;
         at = (const char *)memchr(at, '\n', (size_t)(stop - at)) + 1) {
        char *after;
        int64_t first = strtoll(strchr(at, ':') + 1, &after, 10);
        times[first + strtoll(after + 1, NULL, 10)]++;
    }
    for (int64_t i = 0; i < end; i++) {
        bool elsewhere = reader->elsewhere[i] & 1, filtered = reader->elsewhere[i] & 8;
        if (times[i] > 1 || (times[i] == 1 && elsewhere) || (times[i] == 0 && !elsewhere && !filtered))
            fail_msg("record %lld: %u times here, elsewhere %d, filtered %d", (long long)i, times[i], elsewhere, filtered);
    }
}

/* Whatever happened: when nothing is in the way any more, all that there is arrives, once, and soon
 * the reader goes back no more. */
static void test_a_reader_always_gets_to_the_end(void **state) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        void *made;
        assert_int_equal(fixture_setup(&made), 0);
        Fixture *fixture = made;
        Reader *reader = calloc(1, sizeof *reader);
        *reader = (Reader){.fixture = fixture, .random.state = seed, .at = -1};
        fixture_define(fixture, 1, false, 40, 3 * USEC_SECOND);
        fixture->positions[0] = 0;
        fixture_run(fixture);
        for (unsigned i = 0; i < 120; i++) {
            ask(reader);
            read_some(reader, fixture->positions[0] + 300 < RECORDS - 100 ? fixture->positions[0] + 300 : RECORDS - 100);
            disturb(reader);
            if (random_below(&reader->random, 2) == 0) fixture_run(fixture);
        }
        fixture->result = SINK_DONE;
        fixture_live(fixture, USEC_HOUR);
        unsigned before = reader->restarts;
        int64_t end = fixture->positions[0] + 500 < RECORDS ? fixture->positions[0] + 500 : RECORDS;
        for (unsigned i = 0; i < 400 && fixture->positions[0] < end; i++) {
            ask(reader);
            read_some(reader, end);
            fixture_pass(fixture, USEC_SECOND);
            fixture_run(fixture);
        }
        if (fixture->positions[0] < end)
            fail_msg("seed %u: it stays at %lld of %lld", (unsigned)seed, (long long)fixture->positions[0], (long long)end);
        if (reader->restarts - before > 5) fail_msg("seed %u: it began %u times", (unsigned)seed, reader->restarts - before);
        assert_int_equal(fixture->broken, 0);
        each_record_is_there_once(reader, end);
        free(reader);
        assert_int_equal(fixture_teardown(&made), 0);
    }
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void add_run(SinkEnds *ends, int64_t first, int64_t next, uint64_t row, uint64_t commit, bool begins) {
    const OffsetRun run = {.partition = 7, .first = first, .next = next};
    assert_int_equal(sink_ends_add(ends, &run, row, commit), begins);
}

static void test_a_chain(void **state) {
    SinkEnds ends = {0};
    add_run(&ends, 5, 9, 1, 1, true);
    add_run(&ends, 9, 12, 3, 2, false);
    const SinkEnd *chain = sink_ends_find(&ends, 7);
    assert_true(chain->from == 5 && chain->end == 12 && chain->first_row == 1 && chain->begun == 1);
    assert_true(sink_ends_reach(&ends, 7, 9));
    assert_true(sink_ends_reach(&ends, 7, 12));
    assert_false(sink_ends_reach(&ends, 7, 13));
    assert_false(sink_ends_reach(&ends, 7, 11)); /* it was at 12 before */
    assert_true(chain->from == 12 && chain->end == 12);
    sink_ends_forget(&ends, 7);
    assert_true(chain->from == -1 && chain->end == -1 && ends.unsaved == 1 && sink_ends_any(&ends));
    sink_ends_forget(&ends, 7);
    assert_int_equal(ends.unsaved, 1);
    assert_false(sink_ends_reach(&ends, 7, 12));
    sink_ends_saved(&ends);
    sink_ends_check(&ends, 9);
    add_run(&ends, 12, 20, 9, 3, true);
    assert_true(chain->from == 12 && chain->begun == 3);
    sink_ends_forget(&ends, 7);
    add_run(&ends, 0, 1, 9, 4, true); /* the record has the new end */
    assert_int_equal(ends.unsaved, 0);
    sink_ends_deinit(&ends);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_returned_ends_its_chain),
        TEST(test_a_new_chain_outlives_the_runs_of_the_old_one),
        TEST(test_what_somebody_else_imported_moves_the_beginning),
        TEST(test_runs_without_rows_go_with_their_chain),
        TEST(test_damage_in_the_log_ends_the_chains_that_wait),
        TEST(test_another_table_has_other_positions),
        TEST(test_discard_and_erase_end_the_chains),
        TEST(test_files_stay_in_order_without_a_chain),
        TEST(test_a_run_of_two_chains),
        TEST(test_a_start_finds_where_the_chains_begin),
        TEST(test_a_start_after_damage_has_no_chain),
        TEST(test_a_start_after_damage_begins_behind_the_hole),
        TEST(test_what_a_job_read_earlier_says_nothing_of_a_new_chain),
        cmocka_unit_test(test_a_reader_always_gets_to_the_end),
        cmocka_unit_test(test_a_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
