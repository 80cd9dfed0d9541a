#include "tests/unit/storage/fixture.h"

#include "base/buffer.h"
#include "base/random.h"
#include "storage/ledger.h"
#include "storage/ledger_private.h"
#include "storage/record.h"

/* A file of sink `sink` whose texts are literals: the ledger copies what it stores. */
static FileRecord make_file(uint64_t id, uint32_t sink, uint64_t first_row) {
    return (FileRecord){.id = fixture_id(id),
                        .sink = sink,
                        .mapping_version = 1,
                        .first_row = first_row,
                        .opened = 11,
                        .target = (char *)"{}",
                        .label = (char *)"a/b"};
}

static SliceRecord make_slice(const FileRecord *file, uint64_t pack, uint64_t rows) {
    return (SliceRecord){.pack = fixture_id(pack),
                         .offset = 64,
                         .length = 100,
                         .sink = file->sink,
                         .mapping_version = file->mapping_version,
                         .first_row = file->first_row + file->rows,
                         .rows = rows,
                         .bytes = rows * 10,
                         .checksum = rows * 7,
                         .first_time = (usec_t)(file->first_row + file->rows),
                         .last_time = (usec_t)(file->first_row + file->rows + rows),
                         .file = file->id};
}

static void add_pack(Txn *txn, uint64_t id) {
    PackRecord pack = {.id = fixture_id(id), .bytes = 1000, .slices = 9, .done = 9};
    assert_ok(ledger_add_pack(txn, &pack, error));
}

static void add_slice(Txn *txn, FileRecord *file, uint64_t pack, uint64_t rows) {
    SliceRecord slice = make_slice(file, pack, rows);
    assert_ok(ledger_add_slice(txn, file, &slice, NULL, error));
}

static int see_ranges(void *context, const RangeRecord *range, Error *error) {
    static const char letters[] = "siexdDor";
    char **at = context;
    *at += sprintf(*at, "%c%" PRIu64 "+%" PRIu64 " ", letters[range->state], range->first_row, range->rows);
    return 0;
}

static void assert_ranges(Txn *txn, uint32_t sink, const char *expected) {
    char text[1000] = "", *at = text;
    assert_ok(ledger_visit_ranges(txn, sink, see_ranges, &at, error));
    assert_string_equal(text, expected);
}

static int count_any(void *context, const void *record) {
    ++*(size_t *)context;
    return 0;
}
static int count_file(void *context, const FileRecord *file, Error *error) {
    return count_any(context, file);
}
static int count_slice(void *context, const SliceRecord *slice, Error *error) {
    return count_any(context, slice);
}
static int count_pack(void *context, const PackRecord *pack, Error *error) {
    return count_any(context, pack);
}

static void assert_counts(Txn *txn, size_t files, size_t slices, size_t packs) {
    size_t seen_files = 0, seen_slices = 0, seen_packs = 0;
    assert_ok(ledger_visit_files(txn, 0, count_file, &seen_files, error));
    assert_ok(ledger_visit_slices(txn, 1, 0, UINT64_MAX, count_slice, &seen_slices, error));
    assert_ok(ledger_visit_packs(txn, count_pack, &seen_packs, error));
    assert_int_equal(seen_files, files);
    assert_int_equal(seen_slices, slices);
    assert_int_equal(seen_packs, packs);
}

/* open, slices, damage, closed, failed, imported, forgotten; with a close and open of the
 * environment after each step. */
static void test_life_of_a_file(void **state) {
    Fixture fixture;
    uint64_t end;
    FileRecord file = make_file(1, 1, 1), found;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(ledger_end_row(txn, 1, &end, error));
    assert_int_equal(end, 1);
    add_pack(txn, 100);
    assert_ok(ledger_open_file(txn, &file, error));
    add_slice(txn, &file, 100, 10);
    assert_int_equal(file.rows, 10);
    assert_string_equal(file.target, "{}");
    fixture_commit(txn);

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ok(ledger_skip_rows(txn, 1, 11, 5, error));
    add_pack(txn, 101);
    FileRecord stale = file;
    stale.rows = 15; /* only to make the slice: what is stored decides */
    SliceRecord slice = make_slice(&stale, 101, 4);
    assert_ok(ledger_add_slice(txn, &file, &slice, NULL, error));
    assert_int_equal(file.rows, 19);
    assert_int_equal(file.damaged_rows, 5);
    assert_int_equal(file.bytes, 140);
    assert_int_equal(file.first_time, 1);
    assert_int_equal(file.last_time, 20);
    assert_ranges(txn, 1, "s1+10 x11+5 s16+4 ");
    assert_ok(ledger_verify(txn, 1, 20, error));
    fixture_commit(txn);

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ok(ledger_find_open_file(txn, 1, &found, error));
    assert_true(uuid_equal(&found.id, &file.id));
    file_record_deinit(&found);
    assert_ok(ledger_close_file(txn, &file, CLOSE_SIZE, 22, error));
    assert_int_equal(ledger_find_open_file(txn, 1, &found, NULL), LEDGER_NOT_FOUND);
    file.attempts = 3;
    file.next_try = 44;
    file.last_error = (char *)"no";
    assert_ok(ledger_update_file(txn, &file, error));
    /* A slice that cannot be read after all. */
    assert_ok(ledger_quarantine_rows(txn, &file, 16, 4, error));
    assert_ranges(txn, 1, "s1+10 x11+9 ");
    assert_ok(ledger_verify(txn, 1, 20, error));
    /* Some are at the destination: those in a slice come first. */
    assert_fails(ledger_restore_rows(txn, &file, 10, error), -EBADMSG);
    assert_ok(ledger_restore_rows(txn, &file, 4, error));
    assert_int_equal(file.damaged_rows, 5);
    assert_ranges(txn, 1, "s1+10 x11+5 s16+4 ");
    assert_ok(ledger_restore_rows(txn, &file, 2, error));
    assert_ranges(txn, 1, "s1+12 x13+3 s16+4 ");
    assert_int_equal(file.damaged_rows, 3);
    assert_ok(ledger_quarantine_rows(txn, &file, 11, 2, error));
    assert_ok(ledger_quarantine_rows(txn, &file, 16, 4, error));
    assert_ranges(txn, 1, "s1+10 x11+9 ");
    assert_ok(ledger_verify(txn, 1, 20, error));
    fixture_commit(txn);

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ok(ledger_find_file(txn, &file.id, &found, error));
    assert_string_equal(found.last_error, "no");
    assert_string_equal(found.label, "a/b");
    assert_true(found.attempts == 3 && found.next_try == 44 && found.state == FILE_CLOSED && found.reason == CLOSE_SIZE &&
                found.closed == 22 && found.opened == 11);
    assert_true(found.damaged_rows == 9 && found.checksum == file.checksum && found.checksum != 0);
    file_record_deinit(&found);
    file.rejected_rows = 2;
    assert_ok(ledger_end_file(txn, &file, FILE_IMPORTED, 55, 55, error));
    assert_int_equal(file.state, FILE_IMPORTED);
    assert_ranges(txn, 1, "i1+10 x11+9 ");
    assert_ok(ledger_verify(txn, 1, 20, error));
    assert_ok(ledger_verify_packs(txn, error));
    assert_counts(txn, 1, 2, 2);
    fixture_commit(txn);

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    ForgottenPack *packs;
    size_t count;
    assert_ok(ledger_forget_packs(txn, 54, 10, &packs, &count, error));
    assert_true(count == 0 && packs == NULL);
    assert_ok(ledger_forget_packs(txn, 55, 1, &packs, &count, error));
    assert_int_equal(count, 1);
    free(packs);
    assert_counts(txn, 1, 1, 1);
    assert_ok(ledger_verify(txn, 1, 20, error));
    assert_ok(ledger_forget_packs(txn, 55, 10, &packs, &count, error));
    assert_int_equal(count, 1);
    free(packs);
    assert_counts(txn, 0, 0, 0);
    assert_int_equal(ledger_find_file(txn, &file.id, &found, NULL), LEDGER_NOT_FOUND);
    assert_ranges(txn, 1, "i1+10 x11+9 ");
    assert_ok(ledger_verify(txn, 1, 20, error));
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

/* Everything that does not fit what is stored is refused, and nothing changes: the ledger verifies
 * after each. */
static void test_violations_are_refused(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    FileRecord file = make_file(1, 1, 1), other = make_file(2, 1, 1), unknown = make_file(3, 1, 11);
    FileRecord late = make_file(4, 1, 2);
    assert_fails(ledger_open_file(txn, &late, error), -EBADMSG); /* a hole before it */
    add_pack(txn, 100);
    assert_fails(ledger_add_pack(txn, &(PackRecord){.id = fixture_id(100)}, error), -EBADMSG);
    assert_ok(ledger_open_file(txn, &file, error));
    assert_fails(ledger_open_file(txn, &other, error), -EBADMSG);                /* one is open */
    assert_fails(ledger_close_file(txn, &file, CLOSE_TIME, 1, error), -EBADMSG); /* no rows */
    SliceRecord slice = make_slice(&file, 100, 10);
    slice.first_row = 2;
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG);
    slice = make_slice(&file, 100, 10);
    slice.mapping_version = 2;
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG);
    slice = make_slice(&file, 100, 10);
    slice.sink = 2;
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG);
    slice = make_slice(&file, 100, 10);
    slice.file = fixture_id(9);
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG);
    slice = make_slice(&file, 999, 10);
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG); /* no such pack */
    slice = make_slice(&file, 100, UINT64_MAX);
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG);
    slice = make_slice(&unknown, 100, 10);
    assert_fails(ledger_add_slice(txn, &unknown, &slice, NULL, error), -EBADMSG);
    assert_ok(ledger_verify(txn, 1, 1, error));

    slice = make_slice(&file, 100, 10);
    assert_ok(ledger_add_slice(txn, &file, &slice, NULL, error));
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG); /* twice */
    assert_fails(ledger_skip_rows(txn, 1, 10, 1, error), -EBADMSG);
    assert_fails(ledger_skip_rows(txn, 1, 12, 1, error), -EBADMSG);
    assert_fails(ledger_discard_rows(txn, 1, 11, 1, error), -EBADMSG); /* a file is open */
    assert_fails(ledger_quarantine_rows(txn, &file, 5, 7, error), -EBADMSG);
    assert_fails(ledger_end_file(txn, &file, FILE_IMPORTED, 1, 1, error), -EBADMSG);
    assert_fails(ledger_end_file(txn, &file, FILE_EXPIRED, 1, 1, error), -EBADMSG);
    assert_fails(ledger_update_file(txn, &file, error), -EBADMSG);
    assert_ok(ledger_verify(txn, 1, 11, error));

    assert_ok(ledger_close_file(txn, &file, CLOSE_TIME, 1, error));
    assert_fails(ledger_close_file(txn, &file, CLOSE_TIME, 1, error), -EBADMSG);
    slice = make_slice(&file, 100, 1);
    assert_fails(ledger_add_slice(txn, &file, &slice, NULL, error), -EBADMSG);
    assert_fails(
        ledger_open_file(txn, &(FileRecord){.id = file.id, .sink = 1, .first_row = 11, .target = (char *)"", .label = (char *)""}, error),
        -EBADMSG);
    file.rejected_rows = 11;
    assert_fails(ledger_end_file(txn, &file, FILE_IMPORTED, 1, 1, error), -EBADMSG);
    file.rejected_rows = 0;
    assert_fails(ledger_end_file(txn, &unknown, FILE_IMPORTED, 1, 1, error), -EBADMSG);
    assert_ok(ledger_end_file(txn, &file, FILE_IMPORTED, 1, 1, error));
    assert_fails(ledger_end_file(txn, &file, FILE_IMPORTED, 1, 1, error), -EBADMSG);
    assert_fails(ledger_quarantine_rows(txn, &file, 1, 1, error), -EBADMSG);
    assert_ok(ledger_verify(txn, 1, 11, error));
    assert_ok(ledger_verify_packs(txn, error));
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

static void test_ranges_merge(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    FileRecord files[4];
    add_pack(txn, 100);
    for (uint64_t i = 0; i < 4; i++) {
        files[i] = make_file(i + 1, UINT32_MAX, i * 10 + 1);
        assert_ok(ledger_open_file(txn, &files[i], error));
        add_slice(txn, &files[i], 100, 10);
        assert_ok(ledger_close_file(txn, &files[i], CLOSE_COUNT, 1, error));
    }
    assert_ranges(txn, UINT32_MAX, "s1+40 ");
    assert_ok(ledger_end_file(txn, &files[2], FILE_IMPORTED, 1, 1, error));
    assert_ranges(txn, UINT32_MAX, "s1+20 i21+10 s31+10 ");
    assert_ok(ledger_end_file(txn, &files[0], FILE_DELETED, 1, 1, error));
    assert_ranges(txn, UINT32_MAX, "d1+10 s11+10 i21+10 s31+10 ");
    assert_ok(ledger_end_file(txn, &files[1], FILE_IMPORTED, 1, 1, error));
    assert_ranges(txn, UINT32_MAX, "d1+10 i11+20 s31+10 ");
    assert_ok(ledger_end_file(txn, &files[3], FILE_IMPORTED, 1, 1, error));
    assert_ranges(txn, UINT32_MAX, "d1+10 i11+30 ");
    assert_ok(ledger_discard_rows(txn, UINT32_MAX, 41, 3, error));
    assert_ok(ledger_discard_rows(txn, UINT32_MAX, 44, 3, error));
    assert_ranges(txn, UINT32_MAX, "d1+10 i11+30 D41+6 ");
    assert_ranges(txn, 1, "");
    assert_ok(ledger_verify(txn, UINT32_MAX, 47, error));
    assert_fails(ledger_verify(txn, UINT32_MAX, 48, error), -EBADMSG);
    assert_fails(ledger_verify(txn, UINT32_MAX, 46, error), -EBADMSG);
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

static void test_slices_of_rows(void **state) {
    Fixture fixture;
    size_t count = 0;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    FileRecord file = make_file(1, 1, 1), neighbour = make_file(2, 2, 1);
    add_pack(txn, 100);
    assert_ok(ledger_open_file(txn, &neighbour, error));
    add_slice(txn, &neighbour, 100, 100);
    assert_ok(ledger_open_file(txn, &file, error));
    for (int i = 0; i < 5; i++) add_slice(txn, &file, 100, 10);
    struct {
        uint64_t first, rows;
        size_t slices;
    } cases[] = {{1, 50, 5}, {1, 10, 1}, {10, 2, 2}, {15, 1, 1}, {20, 21, 3}, {51, 10, 0}, {50, UINT64_MAX, 1}, {0, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        count = 0;
        assert_ok(ledger_visit_slices(txn, 1, cases[i].first, cases[i].rows, count_slice, &count, error));
        assert_int_equal(count, cases[i].slices);
    }
    txn_abort(txn);
    fixture_deinit(&fixture);
}

static int take_slice(void *context, const SliceRecord *slice, Error *error) {
    *(SliceRecord *)context = *slice;
    return 0;
}

/* The ids of the events come back; records of earlier programs have none. */
static void test_ids_of_slices(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    FileRecord file = make_file(1, 3, 1);
    OffsetRun run = {.sink = 3, .partition = 1, .first = 5, .next = 9, .rows = 4};
    assert_ok(ledger_open_file(txn, &file, error));
    add_pack(txn, 50);
    for (uint32_t runs = 0; runs <= 1; runs++) {
        SliceRecord slice = make_slice(&file, 50, 4), read = {0};
        OffsetRuns read_runs = {0};
        slice.run_count = runs;
        slice.ids = (UuidRange){fixture_id(7), fixture_id(70)};
        assert_ok(ledger_add_slice(txn, &file, &slice, &run, error));
        assert_ok(ledger_visit_slices(txn, 3, slice.first_row, 1, take_slice, &read, error));
        assert_true(uuid_equal(&read.ids.first, &slice.ids.first) && uuid_equal(&read.ids.last, &slice.ids.last));
        assert_int_equal(read.run_count, runs);
        assert_ok(ledger_read_runs(txn, 3, slice.first_row, &read_runs, error));
        assert_int_equal(read_runs.count, runs);
        offset_runs_deinit(&read_runs);

        Buffer old = {0};
        LedgerKey key = ledger_row_key(LEDGER_SLICE, 3, slice.first_row);
        record_begin(&old, LEDGER_SLICE, (unsigned char)(1 + runs));
        buffer_append(&old, slice.pack.bytes, 16);
        buffer_put_u64(&old, slice.offset);
        buffer_put_u64(&old, slice.length);
        buffer_put_u32(&old, slice.mapping_version);
        buffer_put_u64(&old, slice.rows);
        buffer_put_u64(&old, slice.bytes);
        buffer_put_u64(&old, slice.checksum);
        buffer_put_u64(&old, (uint64_t)slice.first_time);
        buffer_put_u64(&old, (uint64_t)slice.last_time);
        buffer_append(&old, slice.file.bytes, 16);
        if (runs > 0) offset_runs_put(&old, &run, 1);
        record_seal(&old);
        assert_ok(db_put(txn, DB_FILES, ledger_key_span(&key), buffer_span(&old), error));
        buffer_deinit(&old);
        assert_ok(ledger_visit_slices(txn, 3, slice.first_row, 1, take_slice, &read, error));
        assert_false(uuid_range_is_known(&read.ids));
        assert_true(read.run_count == runs && read.rows == 4 && uuid_equal(&read.file, &slice.file));
    }
    txn_abort(txn);
    fixture_deinit(&fixture);
}

typedef struct SeenSlices {
    uint64_t rows[64];
    size_t count;
} SeenSlices;

static int see_slice(void *context, const SliceRecord *slice, Error *error) {
    SeenSlices *seen = context;
    assert_true(seen->count < 64);
    seen->rows[seen->count++] = slice->first_row;
    return 0;
}

static Uuid id_at(uint64_t ms, unsigned more) {
    Uuid id = {.bytes = {[6] = 0x70, [8] = 0x80, [15] = (unsigned char)more}};
    for (size_t i = 0; i < 6; i++) id.bytes[i] = (unsigned char)(ms >> (40 - 8 * i));
    return id;
}

/* Slices by the id of an event: those between whose ids it lies, within the times; those without ids
 * by their receive times. */
static void test_slices_of_an_event(void **state) {
    enum { SLICES = 40 };
    Fixture fixture;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    FileRecord file = make_file(1, 3, 1);
    assert_ok(ledger_open_file(txn, &file, error));
    add_pack(txn, 50);
    /* A slice has 10 s of 4 rows, and reaches 5 s into the time of the next one. The slices of an
     * earlier program (each 7th) have no ids. There is a gap of damaged rows. */
    for (uint64_t i = 0; i < SLICES; i++) {
        SliceRecord slice = make_slice(&file, 50, 4);
        slice.first_time = (usec_t)(i * 10) * USEC_SECOND;
        slice.last_time = (usec_t)(i * 10 + 15) * USEC_SECOND;
        if (i % 7 != 0) slice.ids = (UuidRange){id_at(i * 10000, 0), id_at(i * 10000 + 15000, 255)};
        assert_ok(ledger_add_slice(txn, &file, &slice, NULL, error));
        if (i == 20) {
            assert_ok(ledger_skip_rows(txn, 3, file.first_row + file.rows, 1000, error));
            file.rows += 1000;
            file.damaged_rows += 1000;
        }
    }
    for (uint64_t ms = 0; ms <= SLICES * 10000 + 20000; ms += 2500) {
        Uuid id = id_at(ms, 7);
        for (usec_t narrow = 0; narrow < 2; narrow++) {
            usec_t time = (usec_t)ms * USEC_MS, from = narrow ? time - 30 * USEC_SECOND : INT64_MIN;
            SeenSlices seen = {0};
            size_t wanted = 0;
            assert_ok(ledger_visit_event_slices(txn, 3, &id, from, narrow ? time + 30 * USEC_SECOND : INT64_MAX, see_slice, &seen, error));
            for (uint64_t i = 0; i < SLICES; i++) {
                bool old = i % 7 == 0;
                uint64_t first = i * 10000, last = first + 15000, slack = old ? 1000 : 0, row = 1 + i * 4 + (i > 20 ? 1000 : 0);
                if (ms + slack < first || ms > last + slack) continue;
                assert_true(wanted < seen.count);
                assert_int_equal(seen.rows[wanted++], row);
            }
            assert_int_equal(seen.count, wanted);
        }
    }
    SliceRecord first;
    RangeState range;
    assert_ok(ledger_first_slice(txn, 3, &first, error));
    assert_int_equal(first.first_row, 1);
    assert_int_equal(ledger_first_slice(txn, 2, &first, NULL), LEDGER_NOT_FOUND);
    assert_int_equal(ledger_first_slice(txn, 4, &first, NULL), LEDGER_NOT_FOUND);
    assert_ok(ledger_row_state(txn, 3, 84, &range, error));
    assert_int_equal(range, RANGE_STAGED);
    assert_ok(ledger_row_state(txn, 3, 85, &range, error));
    assert_int_equal(range, RANGE_QUARANTINED);
    assert_int_equal(ledger_row_state(txn, 3, 5000, &range, NULL), LEDGER_NOT_FOUND);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* Against one look-up for each. */
static void test_unknown_packs_are_found_among_many(void **state) {
    Fixture fixture;
    Random random = {.state = 11};
    fixture_init(&fixture, 1 << 20);
    for (size_t round = 0; round < 50; round++) {
        Txn *txn = fixture_write(&fixture);
        for (size_t i = 0; i < 10; i++) {
            PackRecord pack = {.id = fixture_id(random_below(&random, 400)), .bytes = 1};
            (void)ledger_add_pack(txn, &pack, NULL); /* it may be there */
        }
        Uuid ids[60], expected[60];
        size_t count = 0, wanted = 0;
        for (uint64_t number = random_below(&random, 5); number < 400 && count < 60; number += 1 + random_below(&random, 20))
            ids[count++] = fixture_id(number);
        for (size_t i = 0; i < count; i++) {
            PackRecord found;
            if (ledger_find_pack(txn, &ids[i], &found, NULL) == LEDGER_NOT_FOUND) expected[wanted++] = ids[i];
        }
        for (size_t i = count; i > 1; i--) {
            size_t other = (size_t)random_below(&random, i);
            Uuid kept = ids[i - 1];
            ids[i - 1] = ids[other];
            ids[other] = kept;
        }
        assert_ok(ledger_keep_unknown_packs(txn, ids, &count, error));
        assert_int_equal(count, wanted);
        for (size_t i = 0; i < count; i++) {
            bool found = false;
            for (size_t k = 0; k < wanted; k++) found = found || uuid_equal(&ids[i], &expected[k]);
            assert_true(found && (i == 0 || memcmp(&ids[i - 1], &ids[i], sizeof *ids) < 0));
        }
        fixture_commit(txn);
    }
    fixture_deinit(&fixture);
}

/* A record that is damaged, moved or missing is named by verify, or by who reads it. */
static void test_damage_is_noticed(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    FileRecord file = make_file(1, 1, 1);
    add_pack(txn, 100);
    assert_ok(ledger_open_file(txn, &file, error));
    add_slice(txn, &file, 100, 10);
    add_slice(txn, &file, 100, 10);
    fixture_commit(txn);
    static const char first[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
    static const char second[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 11};
    char keys[7][32];
    size_t sizes[7] = {13, 13, 13, 13, 17, 17, 29};
    const char kinds[] = "FSSRIPK";
    Uuid file_id = fixture_id(1), pack_id = fixture_id(100);
    for (size_t i = 0; i < 7; i++) {
        keys[i][0] = kinds[i];
        memcpy(keys[i] + 1, i == 2 ? second : first, 12);
    }
    memcpy(keys[4] + 1, file_id.bytes, 16);
    memcpy(keys[5] + 1, pack_id.bytes, 16);
    memcpy(keys[6] + 1, pack_id.bytes, 16);
    memcpy(keys[6] + 17, second, 12);
    for (size_t i = 0; i < 7; i++) {
        Span key = {.data = keys[i], .size = sizes[i]}, value;
        txn = fixture_write(&fixture);
        assert_ok(db_get(txn, DB_FILES, key, &value, error));
        size_t bits = value.size * 8;
        assert_ok(db_remove(txn, DB_FILES, key, error));
        Error missing = {0};
        int result = ledger_verify(txn, 1, 21, &missing);
        if (result == 0) result = ledger_verify_packs(txn, &missing);
        assert_int_equal(result, -EBADMSG);
        assert_true(missing.text[0]);
        txn_abort(txn);
        for (size_t bit = 0; bit < bits; bit += 13) {
            fixture_flip(&fixture, DB_FILES, key, bit);
            txn = fixture_read(&fixture);
            result = ledger_verify(txn, 1, 21, NULL);
            if (result == 0) result = ledger_verify_packs(txn, NULL);
            assert_int_equal(result, -EBADMSG);
            txn_abort(txn);
            fixture_flip(&fixture, DB_FILES, key, bit);
        }
    }
    txn = fixture_read(&fixture);
    assert_ok(ledger_verify(txn, 1, 21, error));
    assert_ok(ledger_verify_packs(txn, error));
    txn_abort(txn);
    fixture_deinit(&fixture);
}

static void test_file_without_slices_is_forgotten_at_once(void **state) {
    Fixture fixture;
    FileRecord found;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    FileRecord file = make_file(1, 1, 1);
    assert_ok(ledger_open_file(txn, &file, error));
    assert_ok(ledger_end_file(txn, &file, FILE_DELETED, 1, 1, error));
    assert_int_equal(ledger_find_file(txn, &file.id, &found, NULL), LEDGER_NOT_FOUND);
    file = make_file(2, 1, 1);
    assert_ok(ledger_open_file(txn, &file, error));
    assert_ok(ledger_skip_rows(txn, 1, 1, 3, error));
    assert_ok(ledger_close_file(txn, &file, CLOSE_FLUSH, 1, error));
    assert_ok(ledger_end_file(txn, &file, FILE_IMPORTED, 1, 1, error));
    assert_ranges(txn, 1, "x1+3 ");
    assert_counts(txn, 0, 0, 0);
    assert_ok(ledger_verify(txn, 1, 4, error));
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* A full map: the transaction is given up, and what was there stands. */
static void test_map_full(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 1 << 20);
    FileRecord file = make_file(1, 1, 1);
    Txn *txn = fixture_write(&fixture);
    assert_ok(ledger_open_file(txn, &file, error));
    fixture_commit(txn);
    uint64_t packs = 0;
    for (;; packs++) {
        txn = fixture_write(&fixture);
        FileRecord before = file;
        SliceRecord slice = make_slice(&file, packs, 5);
        int result = ledger_add_pack(txn, &(PackRecord){.id = fixture_id(packs)}, NULL);
        if (result == 0) result = ledger_add_slice(txn, &file, &slice, NULL, NULL);
        if (result < 0) {
            assert_int_equal(result, -ENOSPC);
            assert_int_equal(file.rows, before.rows);
            txn_abort(txn);
            break;
        }
        /* The free list of a commit needs pages, too: nothing was written then, and the environment
         * goes on. */
        result = txn_commit(txn, NULL);
        if (result < 0) {
            assert_int_equal(result, -ENOSPC);
            break;
        }
    }
    assert_false(environment_is_broken(fixture.environment));
    assert_true(packs > 100);
    txn = fixture_read(&fixture);
    assert_ok(ledger_verify(txn, 1, packs * 5 + 1, error));
    assert_ok(ledger_verify_packs(txn, error));
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* --- against a model: the state of every row, from one seed --- */

#define SINKS 3
#define BRIDGE 3 /* the sink that has runs */
#define ROWS 4000

typedef struct Model {
    char rows[SINKS][ROWS]; /* letters as in see_ranges; ' ' beyond the end */
    uint64_t end[SINKS];
    FileRecord files[400];
    size_t file_count;
    uint64_t next_id;
} Model;

static FileRecord *open_file_of(Model *model, uint32_t sink) {
    for (size_t i = 0; i < model->file_count; i++)
        if (model->files[i].sink == sink && model->files[i].state == FILE_OPEN) return &model->files[i];
    return NULL;
}

static void fill(Model *model, uint32_t sink, uint64_t first, uint64_t rows, char from, char to) {
    for (uint64_t row = first; row < first + rows; row++)
        if (!from || model->rows[sink - 1][row] == from) model->rows[sink - 1][row] = to;
}

static void model_verify(Model *model, Txn *txn) {
    for (uint32_t sink = 1; sink <= SINKS; sink++) {
        char expected[20000] = "", *at = expected;
        const char *rows = model->rows[sink - 1];
        uint64_t end = model->end[sink - 1];
        for (uint64_t row = 1, first = 1; row < end; row++) {
            if (row + 1 < end && rows[row + 1] == rows[row]) continue;
            at += sprintf(at, "%c%" PRIu64 "+%" PRIu64 " ", rows[row], first, row + 1 - first);
            first = row + 1;
        }
        char found[20000] = "", *found_at = found;
        assert_ok(ledger_visit_ranges(txn, sink, see_ranges, &found_at, error));
        assert_string_equal(found, expected);
        assert_ok(ledger_verify(txn, sink, end, error));
    }
    assert_ok(ledger_verify_packs(txn, error));
}

static bool waits(const FileRecord *file) {
    return file->state == FILE_OPEN || file->state == FILE_CLOSED;
}

/* A slice with one to three runs, of which some have no rows. */
static void add_bridge_slice(Txn *txn, FileRecord *file, uint64_t pack, uint64_t rows, Random *random) {
    OffsetRun runs[3];
    SliceRecord slice = make_slice(file, pack, rows);
    uint64_t left = rows;
    slice.run_count = (uint32_t)random_below(random, 3) + 1;
    for (uint32_t i = 0; i < slice.run_count; i++) {
        uint64_t of_run = i + 1 == slice.run_count ? left : random_below(random, left + 1);
        int64_t first = (int64_t)random_below(random, 1000);
        runs[i] = (OffsetRun){.sink = file->sink, .partition = i % 2 + 1, .first = first, .next = first + 5, .rows = of_run};
        left -= of_run;
    }
    assert_ok(ledger_add_slice(txn, file, &slice, runs, error));
}

static void step_stage(Model *model, Txn *txn, Random *random) {
    uint64_t pack = model->next_id++;
    add_pack(txn, pack);
    for (uint32_t sink = 1; sink <= SINKS; sink++) {
        uint64_t rows = random_below(random, 8), *end = &model->end[sink - 1];
        if (rows == 0 || *end + rows >= ROWS) continue;
        FileRecord *file = open_file_of(model, sink);
        if (!file) {
            if (model->file_count == 400) return;
            file = &model->files[model->file_count++];
            *file = make_file(model->next_id++, sink, *end);
            assert_ok(ledger_open_file(txn, file, error));
        }
        if (sink == BRIDGE)
            add_bridge_slice(txn, file, pack, rows, random);
        else
            add_slice(txn, file, pack, rows);
        fill(model, sink, *end, rows, 0, 's');
        *end += rows;
    }
}

static void step_damage(Model *model, Txn *txn, Random *random) {
    uint32_t sink = (uint32_t)random_below(random, SINKS) + 1;
    uint64_t rows = random_below(random, 4) + 1, *end = &model->end[sink - 1];
    if (*end + rows >= ROWS) return;
    FileRecord *file = open_file_of(model, sink);
    bool discard = random_below(random, 2) && !file, returned = !discard && sink == BRIDGE && random_below(random, 2);
    if (discard)
        assert_ok(ledger_discard_rows(txn, sink, *end, rows, error));
    else if (returned)
        assert_ok(ledger_return_rows(txn, sink, *end, rows, error));
    else
        assert_ok(ledger_skip_rows(txn, sink, *end, rows, error));
    if (file) {
        file->rows += rows;
        *(returned ? &file->left_out : &file->damaged_rows) += rows;
    }
    fill(model, sink, *end, rows, 0, discard ? 'D' : returned ? 'r' : 'x');
    *end += rows;
}

/* Up to three ranges of rows at random: they are left out when all of them are staged, and nothing
 * is when not. */
static void step_leave_out(Model *model, Txn *txn, Random *random) {
    if (model->file_count == 0) return;
    FileRecord *file = &model->files[random_below(random, model->file_count)];
    RangeRecord ranges[3];
    size_t count = 0;
    uint64_t row = file->first_row, end = file->first_row + file->rows;
    bool staged = waits(file);
    while (count < 3 && row < end) {
        row += random_below(random, 4);
        if (row >= end) break;
        uint64_t most = end - row < 3 ? end - row : 3;
        RangeRecord range = {.first_row = row, .rows = random_below(random, most) + 1};
        range.state = random_below(random, 2) ? RANGE_OVERTAKEN : RANGE_RETURNED;
        for (uint64_t i = row; i < row + range.rows; i++) staged = staged && model->rows[file->sink - 1][i] == 's';
        row += range.rows;
        ranges[count++] = range;
    }
    if (count == 0) return;
    int result = ledger_leave_out(txn, file, ranges, count, NULL);
    assert_int_equal(result, staged ? 0 : -EBADMSG);
    for (size_t i = 0; i < count && result == 0; i++)
        fill(model, file->sink, ranges[i].first_row, ranges[i].rows, 's', ranges[i].state == RANGE_OVERTAKEN ? 'o' : 'r');
}

static void step_file(Model *model, Txn *txn, Random *random) {
    if (model->file_count == 0) return;
    FileRecord *file = &model->files[random_below(random, model->file_count)];
    uint64_t row = file->first_row + random_below(random, file->rows + 1);
    switch (random_below(random, 4)) {
    case 0:
        if (file->state == FILE_OPEN && file->rows) assert_ok(ledger_close_file(txn, file, CLOSE_TIME, 1, error));
        break;
    case 1: /* one row that is staged: quarantined, in a file that waits; refused else */
        if (row >= file->first_row + file->rows) break;
        if (waits(file) && model->rows[file->sink - 1][row] == 's') {
            assert_ok(ledger_quarantine_rows(txn, file, row, 1, error));
            model->rows[file->sink - 1][row] = 'x';
        } else {
            assert_true(ledger_quarantine_rows(txn, file, row, 1, NULL) == -EBADMSG);
        }
        break;
    default: {
        FileState state = (FileState[]){FILE_IMPORTED, FILE_EXPIRED, FILE_DELETED}[random_below(random, 3)];
        bool legal = file->state == FILE_CLOSED || (file->state == FILE_OPEN && state == FILE_DELETED);
        if (file->sink == BRIDGE && state == FILE_EXPIRED && file->bytes > 0) legal = false; /* it has a slice with runs */
        int result = ledger_end_file(txn, file, state, (usec_t)model->next_id, (usec_t)model->next_id, NULL);
        assert_int_equal(result, legal ? 0 : -EBADMSG);
        if (!legal) break;
        fill(model, file->sink, file->first_row, file->rows, 's', state == FILE_IMPORTED ? 'i' : state == FILE_EXPIRED ? 'e' : 'd');
    }
    }
}

static void step_forget(Model *model, Txn *txn, Random *random) {
    ForgottenPack *packs;
    size_t count;
    assert_ok(ledger_forget_packs(txn, (usec_t)random_below(random, model->next_id), 2, &packs, &count, error));
    assert_true(count <= 2);
    free(packs);
    /* Ended files may be gone now: the model asks no more for those. */
    for (size_t i = 0; i < model->file_count; i++) {
        FileRecord found;
        int result = ledger_find_file(txn, &model->files[i].id, &found, NULL);
        if (result == 0) {
            assert_true(found.state == model->files[i].state && found.rows == model->files[i].rows &&
                        found.damaged_rows == model->files[i].damaged_rows && found.left_out == model->files[i].left_out);
            file_record_deinit(&found);
            continue;
        }
        assert_int_equal(result, LEDGER_NOT_FOUND);
        assert_true(model->files[i].state != FILE_OPEN && model->files[i].state != FILE_CLOSED);
        model->files[i--] = model->files[--model->file_count];
    }
}

static void run_model(uint64_t seed) {
    Fixture fixture;
    Random random = {.state = seed};
    Model *model = calloc(1, sizeof *model), *before = malloc(sizeof *model);
    model->next_id = 1;
    for (int i = 0; i < SINKS; i++) model->end[i] = 1;
    fixture_init(&fixture, 16 << 20);
    for (int step = 0; step < 150; step++) {
        Txn *txn = fixture_write(&fixture);
        *before = *model;
        for (uint64_t n = random_below(&random, 4) + 1; n > 0; n--) {
            switch (random_below(&random, 9)) {
            case 0:
            case 1: step_stage(model, txn, &random); break;
            case 2: step_damage(model, txn, &random); break;
            case 3: step_forget(model, txn, &random); break;
            case 4: step_leave_out(model, txn, &random); break;
            default: step_file(model, txn, &random);
            }
        }
        model_verify(model, txn);
        if (random_below(&random, 10) == 0) {
            txn_abort(txn);
            *model = *before;
        } else {
            fixture_commit(txn);
        }
        if (random_below(&random, 40) == 0) fixture_reopen(&fixture);
    }
    Txn *txn = fixture_read(&fixture);
    model_verify(model, txn);
    txn_abort(txn);
    free(model);
    free(before);
    fixture_deinit(&fixture);
}

static void test_against_a_model(void **state) {
    const char *seed = getenv("SLUICE_TEST_SEED");
    if (seed) {
        run_model(strtoull(seed, NULL, 0));
        return;
    }
    for (uint64_t i = 1; i <= 10; i++) {
        print_message("seed %" PRIu64 "\n", i);
        run_model(i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_of_a_file),
        cmocka_unit_test(test_violations_are_refused),
        cmocka_unit_test(test_ranges_merge),
        cmocka_unit_test(test_slices_of_rows),
        cmocka_unit_test(test_ids_of_slices),
        cmocka_unit_test(test_slices_of_an_event),
        cmocka_unit_test(test_unknown_packs_are_found_among_many),
        cmocka_unit_test(test_damage_is_noticed),
        cmocka_unit_test(test_file_without_slices_is_forgotten_at_once),
        cmocka_unit_test(test_map_full),
        cmocka_unit_test(test_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
