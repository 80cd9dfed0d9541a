#include "tests/unit/storage/fixture.h"

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/cursor.h"
#include "base/random.h"
#include "storage/commit_log.h"

static Span key_of(uint64_t commit, char out[static 8]) {
    store_be64(out, commit);
    return (Span){.data = out, .size = 8};
}

/* One sink, one row, text made from the commit number. */
static void append_one(Txn *txn, uint64_t commit) {
    char text[64];
    int size = snprintf(text, sizeof text, "row %" PRIu64 "\n", commit);
    Span piece = {.data = text, .size = (size_t)size};
    GroupSegment segment = {
        .entry = {.sink = 7, .mapping_version = 2, .first_row = commit, .rows = 1, .bytes = piece.size, .first_time = 5, .last_time = 6},
        .pieces = &piece,
        .piece_count = 1};
    assert_ok(commit_log_append(txn, commit, (usec_t)commit * 10, &segment, 1, error));
}

static void test_round_trip(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 64 << 20);
    Random random = {.state = 1};
    char *noise = malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i++) noise[i] = (char)random_next(&random);

    /* Three sinks: tiny in many pieces, larger than a run in odd pieces, exactly a run. */
    Span tiny[] = {{.data = "a\n", .size = 2}, {0}, {.data = "bc\n", .size = 3}};
    Span large[] = {{.data = noise, .size = 70001}, {.data = noise + 5, .size = 1}, {.data = noise + 9, .size = 300000}};
    Span exact[] = {{.data = noise, .size = 64 << 10}};
    GroupSegment segments[] = {
        {.entry = {.sink = 1,
                   .mapping_version = 9,
                   .first_row = 1,
                   .rows = 2,
                   .bytes = 5,
                   .first_time = 100,
                   .last_time = 200,
                   .ids = {.first.bytes = {1, [15] = 2}, .last.bytes = {1, [15] = 3}}},
         .pieces = tiny,
         .piece_count = 3},
        {.entry = {.sink = 5, .mapping_version = 1, .first_row = 77, .rows = 3, .bytes = 370002, .first_time = -1, .last_time = 4},
         .pieces = large,
         .piece_count = 3},
        {.entry = {.sink = UINT32_MAX, .mapping_version = 1, .first_row = 1, .rows = 1, .bytes = 64 << 10},
         .pieces = exact,
         .piece_count = 1},
    };
    Txn *txn = fixture_write(&fixture);
    assert_ok(commit_log_append(txn, 1, 12345, segments, 3, error));
    assert_ok(commit_log_append(txn, 2, 12346, NULL, 0, error));
    fixture_commit(txn);
    assert_int_equal(segments[0].entry.checksum, checksum_of("a\nbc\n", 5));
    assert_int_equal(segments[2].entry.checksum, checksum_of(noise, 64 << 10));

    fixture_reopen(&fixture);
    txn = fixture_read(&fixture);
    CommitLogReader *reader;
    GroupView view;
    assert_ok(commit_log_reader_new(txn, 0, &reader, error));
    assert_ok(commit_log_read(reader, &view, error));
    assert_int_equal(view.commit, 1);
    assert_int_equal(view.commit_time, 12345);
    assert_int_equal(view.count, 3);
    assert_int_equal(view.value_bytes, 32 + 3 * 88 + 8 + 5 + 370002 + (64 << 10));
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(&view.entries[i], &segments[i].entry, sizeof(GroupEntry));
        assert_true(group_rows_intact(&view.entries[i], view.rows[i]));
        const char *at = view.rows[i].data;
        for (size_t k = 0; k < segments[i].piece_count; k++) {
            if (segments[i].pieces[k].size) assert_memory_equal(at, segments[i].pieces[k].data, segments[i].pieces[k].size);
            at += segments[i].pieces[k].size;
        }
    }
    assert_ok(commit_log_read(reader, &view, error));
    assert_int_equal(view.commit, 2);
    assert_int_equal(view.count, 0);
    assert_int_equal(commit_log_read(reader, &view, NULL), COMMIT_LOG_READ_END);
    commit_log_reader_free(reader);
    commit_log_reader_free(NULL);
    txn_abort(txn);
    free(noise);
    fixture_deinit(&fixture);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static const OffsetRun runs_of_2[] = {{.sink = 2, .partition = 1, .first = 0, .next = 3},
                                      {.sink = 2, .partition = 1, .first = 3, .next = 5, .rows = 1},
                                      {.sink = 2, .partition = 9, .first = INT64_MAX - 1, .next = INT64_MAX, .rows = 1}};
static const OffsetRun runs_of_4[] = {{.sink = 4, .partition = 1, .first = 0, .next = 5}};

/* Sink 1 has rows and no runs, 2 both, 4 only a run. */
static void append_runs(Txn *txn, uint64_t commit) {
    static const Span rows = {.data = "a\nb\n", .size = 4};
    GroupSegment segments[] = {
        {.entry = {.sink = 1, .mapping_version = 1, .first_row = 7, .rows = 2, .bytes = 4}, .pieces = &rows, .piece_count = 1},
        {.entry = {.sink = 2, .mapping_version = 1, .first_row = 1, .rows = 2, .bytes = 4},
         .pieces = &rows,
         .piece_count = 1,
         .runs = runs_of_2,
         .run_count = 3},
        {.entry = {.sink = 4, .mapping_version = 1, .first_row = 100}, .runs = runs_of_4, .run_count = 1},
    };
    assert_ok(commit_log_append(txn, commit, 50, segments, 3, error));
}

static void test_groups_with_runs(void **state) {
    Fixture fixture;
    char key[8];
    Span value;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    append_runs(txn, 1);
    append_one(txn, 2);
    fixture_commit(txn);

    txn = fixture_read(&fixture);
    assert_ok(db_get(txn, DB_LOG, key_of(1, key), &value, error));
    assert_int_equal(value.size, 32 + 3 * 88 + 4 * 32 + 8 + 8);
    assert_memory_equal(value.data, "SQLG\3\0\0\0", 8);
    assert_memory_equal(value.data + 24, "\3\0\0\0\4\0\0\0", 8);
    /* The second run: sink, partition, first, next, rows. */
    assert_memory_equal(value.data + 32 + 3 * 88 + 32, "\2\0\0\0\1\0\0\0\3\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 32);
    CommitLogReader *reader;
    GroupView view;
    const OffsetRun *runs;
    assert_ok(commit_log_reader_new(txn, 1, &reader, error));
    assert_ok(commit_log_read(reader, &view, error));
    assert_true(view.count == 3 && view.run_count == 4 && view.value_bytes == value.size);
    assert_int_equal(group_runs(&view, 0, &runs), 0);
    assert_null(runs);
    assert_int_equal(group_runs(&view, 1, &runs), 3);
    assert_true(offset_runs_equal(runs, runs_of_2, 3));
    assert_int_equal(group_runs(&view, 2, &runs), 1);
    assert_true(offset_runs_equal(runs, runs_of_4, 1));
    assert_int_equal(view.entries[2].rows, 0);
    assert_int_equal(view.entries[2].first_row, 100);
    for (size_t i = 0; i < 3; i++) assert_true(group_rows_intact(&view.entries[i], view.rows[i]));
    assert_true(span_equal(view.rows[1], SPAN("a\nb\n")));
    /* One without runs comes after it. */
    assert_ok(commit_log_read(reader, &view, error));
    assert_true(view.count == 1 && view.run_count == 0);
    assert_int_equal(group_runs(&view, 0, &runs), 0);
    commit_log_reader_free(reader);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* Each bit of header and directory, of the runs as well. */
static void test_flipped_bits_of_runs_are_noticed(void **state) {
    Fixture fixture;
    char key[8];
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    append_runs(txn, 1);
    fixture_commit(txn);
    for (size_t bit = 0; bit < 8 * (32 + 3 * 88 + 4 * 32 + 8); bit++) {
        CommitLogReader *reader;
        GroupView view;
        fixture_flip(&fixture, DB_LOG, key_of(1, key), bit);
        txn = fixture_read(&fixture);
        assert_ok(commit_log_reader_new(txn, 1, &reader, error));
        assert_int_equal(commit_log_read(reader, &view, NULL), COMMIT_LOG_READ_DAMAGED);
        assert_true(view.count == 0 && view.run_count == 0);
        commit_log_reader_free(reader);
        txn_abort(txn);
        fixture_flip(&fixture, DB_LOG, key_of(1, key), bit);
    }
    fixture_deinit(&fixture);
}

/* Under a checksum that holds. */
static void test_runs_that_cannot_be(void **state) {
    static const struct {
        size_t offset;
        char byte;
    } changes[] = {
        {32 + 3 * 88, 1},       /* the first run is of a sink without runs: it has not so many rows */
        {32 + 3 * 88, 3},       /* of a sink that has no entry */
        {32 + 3 * 88 + 4, 0},   /* of no partition */
        {32 + 3 * 88 + 8, 3},   /* without records */
        {32 + 3 * 88 + 15, -1}, /* below the first offset */
        {32 + 3 * 88 + 24, 1},  /* with a row too many */
        {32 + 2 * 88 + 16, 1},  /* the entry has a row that is in no run */
        {28, 3},                /* a run less than there is room for */
        {28, 5},
        {4, 0}, /* no version */
        {4, 1}, /* a version whose entries are shorter */
        {4, 2},
        {4, 4}, /* a version that is not known */
    };
    Fixture fixture;
    char key[8];
    Span value;
    fixture_init(&fixture, 1 << 20);
    for (size_t i = 0; i <= sizeof changes / sizeof *changes; i++) {
        char bytes[512];
        CommitLogReader *reader;
        GroupView view;
        bool changed = i < sizeof changes / sizeof *changes;
        Txn *txn = fixture_write(&fixture);
        append_runs(txn, 1);
        assert_ok(db_get(txn, DB_LOG, key_of(1, key), &value, error));
        assert_true(value.size <= sizeof bytes);
        memcpy(bytes, value.data, value.size);
        size_t directory = 32 + 3 * 88 + 4 * 32, size = value.size;
        if (changed) bytes[changes[i].offset] = changes[i].byte;
        if (changed && changes[i].offset == 28) directory = 32 + 3 * 88 + 32 * (size_t)changes[i].byte;
        if (directory + 8 > size) directory = size - 8;
        uint64_t checksum = checksum_of(bytes, directory);
        memcpy(bytes + directory, &checksum, 8);
        assert_ok(db_put(txn, DB_LOG, key_of(1, key), (Span){.data = bytes, .size = size}, error));
        assert_ok(commit_log_reader_new(txn, 1, &reader, error));
        int result = commit_log_read(reader, &view, NULL);
        if (result != (changed ? COMMIT_LOG_READ_DAMAGED : 0)) fail_msg("change %zu: %d", i, result);
        commit_log_reader_free(reader);
        txn_abort(txn);
    }
    fixture_deinit(&fixture);
}

static void put_old_header(Buffer *out, uint16_t version, uint32_t entries, uint32_t runs) {
    buffer_append_text(out, "SQLG");
    buffer_put_u16(out, version);
    buffer_put_u16(out, 0);
    buffer_put_u64(out, 1);
    buffer_put_u64(out, 10);
    buffer_put_u32(out, entries);
    buffer_put_u32(out, runs);
}

static void put_old_entry(Buffer *out, uint32_t sink, uint64_t rows, Span text) {
    buffer_put_u32(out, sink);
    buffer_put_u32(out, 2);
    buffer_put_u64(out, 1);
    buffer_put_u64(out, rows);
    buffer_put_u64(out, text.size);
    buffer_put_u64(out, 5);
    buffer_put_u64(out, 6);
    buffer_put_u64(out, checksum_of(text.data, text.size));
}

/* Groups of earlier programs are read; the ids of their events are not known. */
static void test_groups_of_earlier_versions(void **state) {
    Fixture fixture;
    char key[8];
    Span text = SPAN("row 1\n");
    fixture_init(&fixture, 1 << 20);
    for (uint16_t version = 1; version <= 2; version++) {
        Buffer old = {0};
        CommitLogReader *reader;
        GroupView view;
        Txn *txn = fixture_write(&fixture);
        append_one(txn, 1);
        put_old_header(&old, version, 2, version - 1u);
        put_old_entry(&old, 2, 1, text);
        put_old_entry(&old, 7, 1, text);
        if (version == 2) {
            OffsetRun run = {.sink = 7, .partition = 3, .first = 0, .next = 5, .rows = 1};
            buffer_append(&old, &run, sizeof run);
        }
        buffer_put_u64(&old, checksum_of(old.data, old.size));
        buffer_append_span(&old, text);
        buffer_append_span(&old, text);
        assert_ok(db_put(txn, DB_LOG, key_of(1, key), buffer_span(&old), error));
        assert_ok(commit_log_reader_new(txn, 1, &reader, error));
        assert_ok(commit_log_read(reader, &view, error));
        assert_int_equal(view.count, 2);
        assert_int_equal(view.run_count, version - 1u);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(view.entries[i].sink, i == 0 ? 2 : 7);
            assert_int_equal(view.entries[i].last_time, 6);
            assert_true(group_rows_intact(&view.entries[i], view.rows[i]));
            assert_false(uuid_range_is_known(&view.entries[i].ids));
        }
        commit_log_reader_free(reader);
        txn_abort(txn);
        buffer_deinit(&old);
    }
    fixture_deinit(&fixture);
}

static void test_ten_thousand_groups_and_trim(void **state) {
    Fixture fixture;
    uint64_t first, last;
    size_t deleted;
    fixture_init(&fixture, 64 << 20);
    Txn *txn = fixture_read(&fixture);
    assert_ok(commit_log_bounds(txn, &first, &last, error));
    assert_true(first == 0 && last == 0);
    txn_abort(txn);
    for (uint64_t commit = 1; commit <= 10000;) {
        txn = fixture_write(&fixture);
        for (int i = 0; i < 50; i++) append_one(txn, commit++);
        fixture_commit(txn);
    }
    fixture_reopen(&fixture);
    txn = fixture_read(&fixture);
    assert_ok(commit_log_bounds(txn, &first, &last, error));
    assert_true(first == 1 && last == 10000);
    CommitLogReader *reader;
    GroupView view;
    assert_ok(commit_log_reader_new(txn, 4000, &reader, error));
    for (uint64_t commit = 4000; commit <= 10000; commit++) {
        char text[64];
        int size = snprintf(text, sizeof text, "row %" PRIu64 "\n", commit);
        assert_ok(commit_log_read(reader, &view, error));
        assert_int_equal(view.commit, commit);
        assert_int_equal(view.commit_time, commit * 10);
        assert_int_equal(view.entries[0].first_row, commit);
        assert_true(span_equal(view.rows[0], (Span){.data = text, .size = (size_t)size}));
        assert_true(group_rows_intact(&view.entries[0], view.rows[0]));
    }
    assert_int_equal(commit_log_read(reader, &view, NULL), COMMIT_LOG_READ_END);
    commit_log_reader_free(reader);
    txn_abort(txn);

    /* In steps, never beyond what was asked for. */
    for (uint64_t done = 0; done < 8999;) {
        txn = fixture_write(&fixture);
        assert_ok(commit_log_trim(txn, 9000, 1000, &deleted, error));
        fixture_commit(txn);
        assert_int_equal(deleted, done + 1000 <= 8999 ? 1000 : 999);
        done += deleted;
        txn = fixture_read(&fixture);
        assert_ok(commit_log_bounds(txn, &first, &last, error));
        assert_true(first == done + 1 && last == 10000);
        txn_abort(txn);
    }
    txn = fixture_write(&fixture);
    assert_ok(commit_log_trim(txn, 9000, 1000, &deleted, error));
    assert_int_equal(deleted, 0);
    assert_ok(commit_log_trim(txn, UINT64_MAX, 100000, &deleted, error));
    assert_int_equal(deleted, 1001);
    assert_ok(commit_log_bounds(txn, &first, &last, error));
    assert_true(first == 0 && last == 0);
    append_one(txn, 10001); /* numbers go on after all was trimmed */
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

static void test_commit_numbers_only_grow(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    append_one(txn, 5);
    assert_fails(commit_log_append(txn, 5, 1, NULL, 0, error), -EEXIST);
    txn_abort(txn);
    txn = fixture_write(&fixture);
    append_one(txn, 5);
    assert_fails(commit_log_append(txn, 4, 1, NULL, 0, error), -EEXIST);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* The first group of a time, with groups that were trimmed away in between. */
static void test_groups_since_a_time(void **state) {
    Fixture fixture;
    uint64_t commit;
    size_t deleted;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(commit_log_since(txn, 5, &commit, error));
    assert_int_equal(commit, 0);
    for (uint64_t i = 1; i <= 50; i++) assert_ok(commit_log_append(txn, i, (usec_t)(i / 3 * 10), NULL, 0, error));
    assert_ok(commit_log_trim(txn, 4, 100, &deleted, error));
    assert_ok(commit_log_trim_from(txn, 20, 30, 100, &deleted, error));
    for (usec_t time = 0; time <= 180; time++) {
        uint64_t wanted = 4;
        while (wanted <= 50 && ((usec_t)(wanted / 3 * 10) < time || (wanted >= 20 && wanted < 30))) wanted++;
        assert_ok(commit_log_since(txn, time, &commit, error));
        if (commit < wanted) { /* only groups that are gone lie between them */
            assert_true(commit >= 20 && wanted == 30);
        } else {
            assert_int_equal(commit, wanted);
        }
    }
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* Every bit of header and directory is noticed by commit_log_read, every bit of the rows by
 * group_rows_intact. */
static void test_flipped_bits_are_noticed(void **state) {
    Fixture fixture;
    char key[8];
    size_t directory_bits = 8 * (32 + 88 + 8);
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    append_one(txn, 1);
    append_one(txn, 2);
    fixture_commit(txn);
    size_t bits = directory_bits + 8 * strlen("row 1\n");
    for (size_t bit = 0; bit < bits; bit++) {
        CommitLogReader *reader;
        GroupView view;
        fixture_flip(&fixture, DB_LOG, key_of(1, key), bit);
        txn = fixture_read(&fixture);
        assert_ok(commit_log_reader_new(txn, 1, &reader, error));
        int result = commit_log_read(reader, &view, NULL);
        assert_int_equal(view.commit, 1);
        if (bit < directory_bits) {
            assert_int_equal(result, COMMIT_LOG_READ_DAMAGED);
            assert_int_equal(view.count, 0);
        } else {
            assert_int_equal(result, 0);
            assert_false(group_rows_intact(&view.entries[0], view.rows[0]));
        }
        /* Reading goes on behind it. */
        assert_ok(commit_log_read(reader, &view, error));
        assert_int_equal(view.commit, 2);
        assert_true(group_rows_intact(&view.entries[0], view.rows[0]));
        assert_int_equal(commit_log_read(reader, &view, NULL), COMMIT_LOG_READ_END);
        commit_log_reader_free(reader);
        txn_abort(txn);
        fixture_flip(&fixture, DB_LOG, key_of(1, key), bit);
    }
    fixture_deinit(&fixture);
}

static void test_torn_values_are_noticed(void **state) {
    Fixture fixture;
    char key[8];
    Span value;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    append_one(txn, 1);
    assert_ok(db_get(txn, DB_LOG, key_of(1, key), &value, error));
    char whole[256];
    size_t size = value.size;
    memcpy(whole, value.data, size);
    whole[size] = '\n';
    fixture_commit(txn);
    for (size_t length = 0; length <= size + 1; length++) {
        CommitLogReader *reader;
        GroupView view;
        txn = fixture_write(&fixture);
        assert_ok(db_put(txn, DB_LOG, key_of(1, key), (Span){.data = whole, .size = length}, error));
        assert_ok(commit_log_reader_new(txn, 1, &reader, error));
        assert_int_equal(commit_log_read(reader, &view, NULL), length == size ? 0 : COMMIT_LOG_READ_DAMAGED);
        commit_log_reader_free(reader);
        txn_abort(txn);
    }
    /* A whole value at another's place. */
    txn = fixture_write(&fixture);
    CommitLogReader *reader;
    GroupView view;
    assert_ok(db_put(txn, DB_LOG, key_of(2, key), (Span){.data = whole, .size = size}, error));
    assert_ok(commit_log_reader_new(txn, 2, &reader, error));
    assert_int_equal(commit_log_read(reader, &view, NULL), COMMIT_LOG_READ_DAMAGED);
    commit_log_reader_free(reader);
    assert_ok(db_put(txn, DB_LOG, SPAN("short"), SPAN(""), error));
    assert_ok(commit_log_reader_new(txn, 3, &reader, error));
    assert_fails(commit_log_read(reader, &view, error), -EBADMSG);
    commit_log_reader_free(reader);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

static void test_map_full(void **state) {
    Fixture fixture;
    static char rows[100000];
    uint64_t commit = 1, first, last;
    size_t deleted;
    fixture_init(&fixture, 2 << 20);
    for (;; commit++) {
        Span piece = {.data = rows, .size = sizeof rows};
        GroupSegment segment = {
            .entry = {.sink = 1, .first_row = commit, .rows = 1, .bytes = sizeof rows}, .pieces = &piece, .piece_count = 1};
        Txn *txn = fixture_write(&fixture);
        int result = commit_log_append(txn, commit, 1, &segment, 1, NULL);
        if (result < 0) {
            assert_int_equal(result, -ENOSPC);
            txn_abort(txn);
            break;
        }
        fixture_commit(txn);
    }
    assert_true(commit > 10);
    Txn *txn = fixture_write(&fixture);
    assert_ok(commit_log_trim(txn, 5, 100, &deleted, error));
    fixture_commit(txn);
    assert_int_equal(deleted, 4);
    /* Freed pages serve two transactions later. */
    txn = fixture_write(&fixture);
    assert_ok(commit_log_trim(txn, 6, 100, &deleted, error));
    fixture_commit(txn);
    txn = fixture_write(&fixture);
    append_one(txn, commit);
    fixture_commit(txn);
    txn = fixture_read(&fixture);
    assert_ok(commit_log_bounds(txn, &first, &last, error));
    assert_true(first == 6 && last == commit);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_with_runs),
        cmocka_unit_test(test_flipped_bits_of_runs_are_noticed),
        cmocka_unit_test(test_runs_that_cannot_be),
        cmocka_unit_test(test_groups_since_a_time),
        cmocka_unit_test(test_groups_of_earlier_versions),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_ten_thousand_groups_and_trim),
        cmocka_unit_test(test_commit_numbers_only_grow),
        cmocka_unit_test(test_flipped_bits_are_noticed),
        cmocka_unit_test(test_torn_values_are_noticed),
        cmocka_unit_test(test_map_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
