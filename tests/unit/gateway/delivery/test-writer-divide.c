/* Files that a destination cannot take in the time that an import may take. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/ledger.h"
#include "tests/support/memory-files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */

static void verify(Fixture *fixture, uint64_t staged_row) {
    Txn *txn;
    Error error = {0};
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    if (ledger_verify(txn, 1, staged_row, &error) != 0 || ledger_verify_packs(txn, &error) != 0) fail_msg("%s", error.text);
    txn_abort(txn);
}

/* The rows PREFIX-0 to PREFIX-(count-1) have arrived once each, in order, and nothing else has. */
static void assert_arrived(Fixture *fixture, const char *prefix, unsigned count) {
    char wanted[64];
    const char *at = buffer_text(&fixture->table);
    assert_int_equal(fixture->arrived, count);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(wanted, sizeof wanted, "%s-%u,", prefix, i);
        at = strstr(at, wanted);
        if (!at) fail_msg("row %s is missing, or out of order", wanted);
        at++;
    }
}

/* Who waits for the import is answered when the last part is in, and no pause lies between. */
static void test_a_file_that_takes_too_long_goes_on_in_parts(void **state) {
    Fixture *fixture = *state;
    for (uint32_t sink = 1; sink <= 2; sink++) {
        fixture->fast_rows = 3;
        fixture->arrived = fixture->imports = 0;
        buffer_clear(&fixture->table);
        fixture_define(fixture, sink, sink == 2, 1000, NEVER);
        fixture_append(fixture, sink, "row", 100, 20);
        fixture_close(fixture, sink, CLOSE_FLUSH);
        fixture_run(fixture);
        assert_int_equal(fixture->close_result, 0);
        assert_int_equal(fixture->close_rows, 100);
        assert_arrived(fixture, "row", 100);
        assert_true(fixture->imports > 40);
        SinkStatistics statistics = fixture_statistics(fixture, sink);
        assert_int_equal(statistics.files_waiting, 0);
        assert_int_equal(statistics.staging.rows, 0);
        assert_int_equal(statistics.totals.imported.rows, 100);
        assert_false(statistics.failing);
    }
    verify(fixture, 101);
}

static void test_files_that_were_drawn_together_are_tried_alone_first(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_UNREACHABLE;
    fixture_define(fixture, 1, false, 10, NEVER);
    for (unsigned i = 0; i < 3; i++) {
        fixture_append(fixture, 1, "row", 10, 20);
        fixture_close(fixture, 1, CLOSE_CHANGE);
        fixture_run(fixture);
    }
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 3);
    fixture->result = SINK_DONE;
    fixture->fast_rows = 10;
    fixture->imports = 0;
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->arrived, 30);
    assert_int_equal(fixture->imports, 4); /* all of them, then each */
    verify(fixture, 31);
}

static void test_a_file_that_may_be_there_is_never_divided(void **state) {
    Fixture *fixture = *state;
    fixture->fast_rows = 10;
    fixture->unproven = true;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "row", 20, 20);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, -ECANCELED);
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_int_equal(statistics.files_waiting, 1);
    assert_int_equal(statistics.files_failed, 1);
    fixture->unproven = false;
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, 0);
    assert_arrived(fixture, "row", 20);
}

/* A step at a time, with a crash after each number of them: parts that nobody recorded are no
 * files, and those that were stay so. */
static void test_a_crash_between_any_two_steps(void **state) {
    Fixture *fixture = *state;
    for (unsigned steps = 1; steps < 40; steps++) {
        fixture->fast_rows = 4;
        fixture->arrived = 0;
        buffer_clear(&fixture->table);
        fixture_define(fixture, 1, true, 1000, NEVER);
        fixture_append(fixture, 1, "row", 30, 20);
        fixture_close(fixture, 1, CLOSE_CHANGE);
        for (unsigned i = 0; i < steps; i++) {
            if (i % 3 == 0) (void)writer_step(fixture->writer);
            if (i % 3 == 1) (void)stager_step(fixture->stager);
            if (i % 3 == 2) (void)loaders_step(fixture->loaders);
        }
        fixture_stop(fixture, false);
        fixture_start(fixture);
        uint64_t before = fixture->arrived;
        fixture_define(fixture, 1, true, 1000, NEVER);
        fixture_close(fixture, 1, CLOSE_FLUSH);
        fixture_run(fixture);
        assert_int_equal(fixture->close_result, 0);
        assert_true(fixture->arrived >= before);
        /* The destination of this test keeps no ledger: a part of which the crash hid that it was
         * in comes once more. */
        assert_true(fixture->arrived >= 30 && fixture->arrived <= 34);
        verify(fixture, (uint64_t)steps * 30 + 1);
        assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    }
}

enum { SLICES = 3, SLICE_ROWS = 10 };

typedef struct Packs {
    unsigned count;
    char names[2 * SLICES][80];
} Packs;

static int note_pack(void *context, const char *name, const FileInfo *info) {
    Packs *packs = context;
    if (info->is_directory) return 0;
    assert_true(packs->count < 2 * SLICES);
    (void)snprintf(packs->names[packs->count++], sizeof packs->names[0], "%s", name);
    return 0;
}

static Packs packs_in(Fixture *fixture, const char *folder) {
    Packs packs = {0};
    assert_int_equal(fixture->files->list(fixture->files, folder, note_pack, &packs, NULL), 0);
    return packs;
}

static bool holds(const Packs *packs, const char *name) {
    for (unsigned i = 0; i < packs->count; i++)
        if (strstr(packs->names[i], name)) return true;
    return false;
}

/* A file of three slices waits, each in a pack of its own; its import cannot take more than
 * `fast_rows`. */
static void wait_in_slices(Fixture *fixture, uint64_t fast_rows, char packs[SLICES][80]) {
    fixture->fast_rows = fast_rows;
    fixture->arrived = 0;
    buffer_clear(&fixture->table);
    fixture_define(fixture, 1, true, 1000, NEVER);
    fixture->sinks[1]->settings.value[SETTING_UPLOAD_COUNT] = SLICE_ROWS;
    for (unsigned i = 0; i < SLICES; i++) {
        char prefix[8];
        Packs before = packs_in(fixture, "staging");
        (void)snprintf(prefix, sizeof prefix, "slice%u", i);
        fixture_append(fixture, 1, prefix, SLICE_ROWS, 20);
        fixture_run(fixture);
        Packs after = packs_in(fixture, "staging");
        assert_int_equal(after.count, before.count + 1);
        for (unsigned k = 0; k < after.count; k++)
            if (!holds(&before, after.names[k])) (void)snprintf(packs[i], 80, "%s", after.names[k]);
    }
}

static void damage(Fixture *fixture, const char *pack) {
    char path[280];
    FileInfo info;
    (void)snprintf(path, sizeof path, "staging/%s", pack);
    assert_int_equal(fixture->files->info(fixture->files, path, &info, NULL), 0);
    assert_int_equal(memory_files_flip(fixture->files, path, info.bytes / 3 * 8, NULL), 0);
}

/* No import has the time to come to the damage. What can be read arrives, and the damaged packs,
 * which may hold more than nothing, stay for their retention and are then set aside. */
static void test_damaged_slices_are_quarantined_and_their_packs_kept(void **state) {
    Fixture *fixture = *state;
    uint64_t rows = 0, dropped = 0;
    for (unsigned damaged = 1; damaged < 1 << SLICES; damaged++) {
        char packs[SLICES][80];
        unsigned bad = 0;
        wait_in_slices(fixture, 3, packs);
        for (unsigned i = 0; i < SLICES; i++) {
            if ((damaged >> i & 1) == 0) continue;
            damage(fixture, packs[i]);
            bad++;
        }
        fixture_close(fixture, 1, CLOSE_FLUSH);
        fixture_run(fixture);
        assert_int_equal(fixture->close_result, 0);
        assert_int_equal(fixture->arrived, (SLICES - bad) * SLICE_ROWS);
        rows += (uint64_t)SLICES * SLICE_ROWS;
        dropped += (uint64_t)bad * SLICE_ROWS;
        SinkStatistics statistics = fixture_statistics(fixture, 1);
        assert_int_equal(statistics.files_waiting, 0);
        assert_int_equal(statistics.totals.dropped_rows, dropped);
        verify(fixture, rows + 1);
        Packs left = packs_in(fixture, "staging");
        for (unsigned i = 0; i < SLICES; i++) {
            char name[32];
            bool is_bad = damaged >> i & 1;
            (void)snprintf(name, sizeof name, "slice%u-9,", i);
            assert_int_equal(fixture_has(fixture, name), !is_bad);
            if (is_bad) assert_true(holds(&left, packs[i]));
        }
        fixture_live(fixture, 3 * USEC_HOUR);
        left = packs_in(fixture, "staging");
        assert_int_equal(left.count, 0);
        Packs aside = packs_in(fixture, "staging/orphans");
        for (unsigned i = 0; i < SLICES; i++) assert_int_equal(holds(&aside, packs[i]), damaged >> i & 1);
        for (unsigned i = 0; i < aside.count; i++) {
            char path[128];
            (void)snprintf(path, sizeof path, "staging/orphans/%s", aside.names[i]);
            assert_int_equal(fixture->files->remove(fixture->files, path, NULL), 0);
        }
        verify(fixture, rows + 1);
    }
}

/* What the file system answers is no damage: the file is tried again, and nothing is given up. */
static void test_a_slice_that_cannot_be_read_now_is_no_damage(void **state) {
    Fixture *fixture = *state;
    char packs[SLICES][80];
    wait_in_slices(fixture, 3, packs);
    memory_files_fail_call(fixture->files, MEMORY_FILES_READ, 1, EIO, true);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, -ECANCELED);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    memory_files_fail_call(fixture->files, MEMORY_FILES_READ, 0, 0, false);
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, SLICES * SLICE_ROWS);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    verify(fixture, SLICES * SLICE_ROWS + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_that_takes_too_long_goes_on_in_parts),         TEST(test_files_that_were_drawn_together_are_tried_alone_first),
        TEST(test_a_file_that_may_be_there_is_never_divided),           TEST(test_a_crash_between_any_two_steps),
        TEST(test_damaged_slices_are_quarantined_and_their_packs_kept), TEST(test_a_slice_that_cannot_be_read_now_is_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
