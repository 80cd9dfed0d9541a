#include "tests/unit/storage/fixture.h"

#include "base/buffer.h"
#include "storage/record.h"
#include "storage/totals.h"

static void test_fold(void **state) {
    SinkTotals totals;
    totals_init(&totals, 3);
    GroupEntry entry = {.sink = 3, .first_row = 1, .rows = 10, .bytes = 100, .first_time = 5, .last_time = 9};
    assert_ok(totals_add(&totals, 4, 1000, &entry, error));
    entry = (GroupEntry){.sink = 3, .first_row = 11, .rows = 2, .bytes = 20, .first_time = 10, .last_time = 12};
    assert_ok(totals_add(&totals, 6, 2000, &entry, error));
    assert_int_equal(totals.next_row, 13);
    assert_int_equal(totals.staged_row, 1);
    assert_int_equal(totals.first_commit, 4);
    assert_int_equal(totals.oldest_commit_time, 1000);
    assert_int_equal(totals.received.rows, 12);
    assert_int_equal(totals.received.bytes, 120);
    assert_int_equal(totals.received.first_time, 5);
    assert_int_equal(totals.received.last_time, 12);

    SinkTotals before = totals;
    GroupEntry wrong[] = {{.sink = 3, .first_row = 14, .rows = 1},
                          {.sink = 3, .first_row = 12, .rows = 1},
                          {.sink = 3, .first_row = 14},
                          {.sink = 3, .first_row = 13, .rows = UINT64_MAX}};
    for (size_t i = 0; i < 4; i++) assert_fails(totals_add(&totals, 7, 1, &wrong[i], error), -EBADMSG);
    /* What became no rows changes nothing, not even what waits. */
    entry = (GroupEntry){.sink = 3, .first_row = 13, .first_time = 20, .last_time = 20};
    assert_ok(totals_add(&totals, 7, 3000, &entry, error));
    assert_memory_equal(&before, &totals, sizeof totals);
}

typedef struct Seen {
    SinkTotals totals[4];
    size_t count;
} Seen;

static int see(void *context, const SinkTotals *totals, Error *error) {
    Seen *seen = context;
    if (totals->sink == 404) return error_set(error, -ECANCELED, "enough");
    assert_true(seen->count < 4);
    seen->totals[seen->count++] = *totals;
    return 0;
}

/* All but the padding behind the sink's number. */
static void assert_same(const SinkTotals *a, const SinkTotals *b) {
    size_t from = offsetof(SinkTotals, next_row);
    assert_int_equal(a->sink, b->sink);
    assert_memory_equal((const char *)a + from, (const char *)b + from, sizeof *a - from);
}

static void test_store_and_load(void **state) {
    Fixture fixture;
    TotalsAsOf as_of = {9, 9, 9};
    Seen seen = {0};
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(totals_load_as_of(txn, &as_of, error));
    assert_true(as_of.commit == 0 && as_of.commit_time == 0 && as_of.running == 0);
    SinkTotals one = {.sink = 256,
                      .next_row = 3,
                      .staged_row = 2,
                      .first_commit = 4,
                      .oldest_commit_time = 5,
                      .received = {6, 7, 8, 9},
                      .staged = {10, 11, 12, 13},
                      .imported = {14, 15, 16, 17},
                      .rejected_rows = 18,
                      .rejected_events = 19,
                      .dropped_rows = 20,
                      .overtaken_rows = 31,
                      .returned_rows = 32,
                      .cleared_rows = 21,
                      .cleared_bytes = 22,
                      .skipped_events = 23,
                      .empty_events = 33};
    SinkTotals two = {.sink = 2, .next_row = 1, .staged_row = 1}, three = {.sink = 77, .next_row = 1, .staged_row = 1};
    assert_ok(totals_store(txn, &one, error));
    assert_ok(totals_store(txn, &two, error));
    assert_ok(totals_store(txn, &three, error));
    assert_ok(totals_remove(txn, 77, error));
    assert_ok(totals_remove(txn, 78, error));
    assert_ok(totals_store_as_of(txn, &(TotalsAsOf){.commit = 123, .commit_time = 456, .running = 789}, error));
    fixture_commit(txn);

    fixture_reopen(&fixture);
    txn = fixture_read(&fixture);
    assert_ok(totals_load_as_of(txn, &as_of, error));
    assert_true(as_of.commit == 123 && as_of.commit_time == 456 && as_of.running == 789);
    assert_ok(totals_load(txn, see, &seen, error));
    assert_int_equal(seen.count, 2);
    assert_same(&seen.totals[0], &two);
    assert_same(&seen.totals[1], &one);
    txn_abort(txn);

    char key[5] = {'T', 0, 0, 0, 2};
    for (size_t bit = 0; bit < 8; bit++) {
        fixture_flip(&fixture, DB_STATISTICS, (Span){.data = key, .size = 5}, 8 * 20 + bit);
        txn = fixture_read(&fixture);
        assert_fails(totals_load(txn, see, &seen, error), -EBADMSG);
        txn_abort(txn);
        fixture_flip(&fixture, DB_STATISTICS, (Span){.data = key, .size = 5}, 8 * 20 + bit);
    }
    txn = fixture_write(&fixture);
    seen.count = 0;
    assert_ok(totals_store(txn, &(SinkTotals){.sink = 404, .next_row = 1, .staged_row = 1}, error));
    assert_fails(totals_load(txn, see, &seen, error), -ECANCELED);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* Version 1 ended before skipped_events, version 2 behind it, version 3 before empty_events. */
static void test_earlier_versions(void **state) {
    Fixture fixture;
    Buffer record = {0};
    fixture_init(&fixture, 1 << 20);
    for (uint8_t version = 1; version <= 3; version++) {
        Seen seen = {0};
        Txn *txn = fixture_write(&fixture);
        record_begin(&record, 'T', version);
        buffer_put_u32(&record, 2);
        for (uint64_t i = 21; i >= 1; i--) buffer_put_u64(&record, i);
        if (version >= 2) buffer_put_u64(&record, 77);
        for (uint64_t i = 78; version == 3 && i <= 79; i++) buffer_put_u64(&record, i);
        record_seal(&record);
        char key[5] = {'T', 0, 0, 0, 2};
        assert_ok(db_put(txn, DB_STATISTICS, (Span){.data = key, .size = 5}, buffer_span(&record), error));
        fixture_commit(txn);
        txn = fixture_read(&fixture);
        assert_ok(totals_load(txn, see, &seen, error));
        assert_int_equal(seen.count, 1);
        const SinkTotals *totals = &seen.totals[0];
        assert_true(totals->next_row == 21 && totals->cleared_bytes == 1);
        assert_int_equal(totals->skipped_events, version >= 2 ? 77 : 0);
        assert_int_equal(totals->overtaken_rows, version == 3 ? 78 : 0);
        assert_int_equal(totals->returned_rows, version == 3 ? 79 : 0);
        assert_int_equal(totals->empty_events, 0);
        txn_abort(txn);
    }
    buffer_deinit(&record);
    fixture_deinit(&fixture);
}

static void test_lost_rows_are_counted_and_taken_back(void **state) {
    SinkTotals totals;
    totals_init(&totals, 3);
    totals_lose(&totals, RANGE_QUARANTINED, 5);
    totals_lose(&totals, RANGE_RETURNED, 7);
    assert_true(totals.dropped_rows == 5 && totals.returned_rows == 7);
    totals_regain(&totals, 2, 3);
    assert_true(totals.dropped_rows == 3 && totals.returned_rows == 4);
    totals_regain(&totals, 9, 9); /* they were counted anew */
    assert_true(totals.dropped_rows == 0 && totals.returned_rows == 0);
}

/* More rows staged than were given, under a checksum that holds: named, as any damage, and never
 * asserted. */
static void test_numbers_that_cannot_be(void **state) {
    Fixture fixture;
    SinkTotals totals;
    fixture_init(&fixture, 1 << 20);
    for (uint64_t staged = 0; staged <= 3; staged++) {
        _cleanup_(buffer_deinit) Buffer record = {0};
        char key[5] = {'T', 0, 0, 0, 2};
        Txn *txn = fixture_write(&fixture);
        record_begin(&record, 'T', 1);
        buffer_put_u32(&record, 2);
        buffer_put_u64(&record, 2); /* the next row */
        buffer_put_u64(&record, staged);
        for (size_t i = 3; i <= 21; i++) buffer_put_u64(&record, 0);
        record_seal(&record);
        assert_ok(db_put(txn, DB_STATISTICS, (Span){.data = key, .size = 5}, buffer_span(&record), error));
        if (staged == 1 || staged == 2)
            assert_ok(totals_find(txn, 2, &totals, error));
        else
            assert_fails(totals_find(txn, 2, &totals, error), -EBADMSG);
        txn_abort(txn);
    }
    fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fold),
        cmocka_unit_test(test_store_and_load),
        cmocka_unit_test(test_numbers_that_cannot_be),
        cmocka_unit_test(test_earlier_versions),
        cmocka_unit_test(test_lost_rows_are_counted_and_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
