#include "tests/unit/storage/fixture.h"

#include <time.h>

#include "storage/commit_log.h"
#include "storage/pack.h"
#include "storage/unrecorded.h"
#include "tests/support/memory-files.h"

static const Uuid instance = {.bytes = {7}};

static Files *new_files(void) {
    Files *files = memory_files_new(NULL, NULL);
    assert_ok(files->make_directory(files, "staging", 0700, error));
    assert_ok(files->sync_directory(files, "", error));
    return files;
}

/* The row `number` of a sink, as log and packs have it. */
static Span row_text(uint64_t number, char out[static 32]) {
    return (Span){.data = out, .size = (size_t)snprintf(out, 32, "%" PRIu64 "\n", number)};
}

/* A group of one row of each of `sinks` sinks. */
static void log_row(Txn *txn, uint64_t commit, uint64_t row, uint32_t mapping_version, uint32_t sinks) {
    char text[32];
    Span piece = row_text(row, text);
    GroupSegment segments[8];
    for (uint32_t i = 0; i < sinks; i++) {
        segments[i] = (GroupSegment){
            .entry = {.sink = i + 1, .mapping_version = mapping_version, .first_row = row, .rows = 1, .bytes = piece.size},
            .pieces = &piece,
            .piece_count = 1};
    }
    assert_ok(commit_log_append(txn, commit, (usec_t)commit, segments, sinks, error));
}

/* A group that has no rows, only runs of another mapping version. */
static void log_runs(Txn *txn, uint64_t commit, uint64_t next_row, uint32_t sinks) {
    GroupSegment segments[8];
    OffsetRun runs[8];
    for (uint32_t i = 0; i < sinks; i++) {
        runs[i] = (OffsetRun){.sink = i + 1, .partition = 1, .first = (int64_t)commit, .next = (int64_t)commit + 1};
        segments[i] = (GroupSegment){
            .entry = {.sink = i + 1, .mapping_version = 99, .first_row = next_row}, .runs = &runs[i], .run_count = 1};
    }
    assert_ok(commit_log_append(txn, commit, (usec_t)commit, segments, sinks, error));
}

typedef struct Part {
    uint32_t sink;
    uint64_t first, rows;
    uint64_t wrong_row; /* its text is another one; 0: none */
} Part;

static void put_pack(Files *files, const Uuid *id, const Part *parts, size_t count) {
    PackWriter *writer = NULL;
    uint64_t bytes;
    assert_ok(pack_create(files, id, &instance, &writer, error));
    for (size_t i = 0; i < count; i++) {
        SliceRecord slice = {.sink = parts[i].sink, .mapping_version = 3, .first_row = parts[i].first, .rows = parts[i].rows, .file = *id};
        assert_ok(pack_begin_slice(writer, &slice, SPAN("{}"), error));
        for (uint64_t row = slice.first_row; row < slice.first_row + slice.rows; row++) {
            char text[32];
            assert_ok(pack_add_rows(writer, row_text(row == parts[i].wrong_row ? 0 : row, text), error));
        }
        assert_ok(pack_end_slice(writer, &slice, error));
    }
    assert_ok(pack_finish(writer, &bytes, error));
}

/* The log has the rows 11..30 of two sinks, 21..30 of another mapping version, and in front of each
 * row a group without rows. */
static void test_all_rows_must_be_there(void **state) {
    static const struct {
        Part parts[3];
        size_t count;
        bool found;
    } packs[] = {
        {{{1, 11, 5, 0}}, 1, true},
        {{{1, 11, 5, 0}}, 1, true}, /* the same rows once more */
        {{{1, 13, 8, 0}, {2, 11, 10, 0}}, 2, true},
        {{{1, 16, 3, 0}, {1, 11, 5, 0}, {1, 19, 2, 0}}, 3, true},
        {{{1, 11, 5, 13}}, 1, false}, /* another text */
        {{{1, 9, 5, 0}}, 1, false},   /* begins before the log */
        {{{1, 18, 4, 0}}, 1, false},  /* goes on into another mapping version */
        {{{1, 21, 4, 0}}, 1, false},
        {{{1, 40, 4, 0}}, 1, false},
        {{{3, 11, 5, 0}}, 1, false},
        {{{1, 11, 5, 0}, {2, 28, 5, 0}}, 2, false}, /* one of two */
    };
    enum { PACKS = sizeof packs / sizeof packs[0] };
    Fixture fixture;
    fixture_init(&fixture, 8 << 20);
    Txn *txn = fixture_write(&fixture);
    for (uint64_t row = 11; row <= 30; row++) {
        log_runs(txn, 2 * row, row, 2);
        log_row(txn, 2 * row + 1, row, row <= 20 ? 3 : 4, 2);
    }
    fixture_commit(txn);
    Files *files = new_files();
    Uuid ids[PACKS + 1];
    bool unrecorded[PACKS + 1];
    for (size_t i = 0; i < PACKS; i++) {
        ids[i] = fixture_id(i);
        put_pack(files, &ids[i], packs[i].parts, packs[i].count);
    }
    ids[PACKS] = fixture_id(PACKS); /* there is no such file */
    txn = fixture_read(&fixture);
    assert_ok(unrecorded_find(files, txn, &instance, ids, PACKS + 1, unrecorded, error));
    for (size_t i = 0; i < PACKS; i++) {
        if (unrecorded[i] != packs[i].found) fail_msg("pack %zu: %d", i, unrecorded[i]);
    }
    assert_false(unrecorded[PACKS]);
    static const Uuid other = {.bytes = {8}};
    assert_ok(unrecorded_find(files, txn, &other, ids, 1, unrecorded, error));
    assert_false(unrecorded[0]);
    txn_abort(txn);
    files_free(files);
    fixture_deinit(&fixture);
}

#define ENTRIES 100000
#define SLICES 20000

static double processor_seconds(void) {
    struct timespec time;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), 0);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Each entry of the log must not look at each slice: with sanitizers that takes 16 s, and the
 * search 0.1 s. Time of the processor, so other load does not count. */
static void test_a_long_log_and_many_slices(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 256 << 20);
    Txn *txn = fixture_write(&fixture);
    for (uint64_t row = 1; row <= ENTRIES; row++) log_row(txn, row, row, 3, 1);
    fixture_commit(txn);
    Files *files = new_files();
    Part *parts = calloc(SLICES, sizeof *parts);
    for (uint64_t i = 0; i < SLICES; i++) parts[i] = (Part){.sink = 1, .first = 1 + i, .rows = 1};
    Uuid id = fixture_id(1);
    put_pack(files, &id, parts, SLICES);
    txn = fixture_read(&fixture);
    bool unrecorded = false;
    double began = processor_seconds();
    assert_ok(unrecorded_find(files, txn, &instance, &id, 1, &unrecorded, error));
    double took = processor_seconds() - began;
    (void)printf("%d entries, %d slices: %.3f s\n", ENTRIES, SLICES, took);
    assert_true(unrecorded);
    assert_true(took < 3);
    txn_abort(txn);
    files_free(files);
    free(parts);
    fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_rows_must_be_there),
        cmocka_unit_test(test_a_long_log_and_many_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
