/* Files and slices of a bridge's sink: their runs, what is left out of them, and what becomes of
 * damage. */
#include "tests/unit/storage/fixture.h"

#include "base/buffer.h"
#include "storage/ledger.h"
#include "storage/ledger_private.h"
#include "storage/pack.h"
#include "storage/partitions.h"
#include "storage/record.h"
#include "storage/repair.h"
#include "storage/totals.h"
#include "tests/support/memory-files.h"

/* Two slices: rows 1 to 6 and 7 to 9. Runs without rows stand in front, between and behind. */
static const OffsetRun all_runs[] = {{.sink = 1, .partition = 1, .first = 0, .next = 2},
                                     {.sink = 1, .partition = 1, .first = 2, .next = 4, .rows = 4},
                                     {.sink = 1, .partition = 2, .first = 50, .next = 60},
                                     {.sink = 1, .partition = 2, .first = 60, .next = 61, .rows = 2},
                                     {.sink = 1, .partition = 1, .first = 4, .next = 9, .rows = 1},
                                     {.sink = 1, .partition = 2, .first = 61, .next = 62, .rows = 2},
                                     {.sink = 1, .partition = 1, .first = 9, .next = 10}};
enum { FIRST_RUNS = 4, ALL_RUNS = 7 };

typedef struct World {
    Fixture fixture;
    Files *files;
    FileRecord file; /* its texts are literals */
} World;

static SliceRecord make_slice(const FileRecord *file, uint64_t pack, uint64_t first_row, uint64_t rows, uint32_t run_count) {
    return (SliceRecord){.pack = fixture_id(pack),
                         .offset = 64,
                         .length = 100,
                         .sink = file->sink,
                         .mapping_version = file->mapping_version,
                         .first_row = first_row,
                         .rows = rows,
                         .bytes = rows * 4,
                         .checksum = rows,
                         .first_time = 5,
                         .last_time = 6,
                         .file = file->id,
                         .run_count = run_count};
}

static void put_slice(PackWriter *writer, SliceRecord *slice, const OffsetRun *runs, const Partitions *partitions) {
    assert_ok(pack_begin_slice_with_runs(writer, slice, SPAN("{\"table\":\"t\"}"), runs, partitions, error));
    for (uint64_t i = 0; i < slice->rows; i++) assert_ok(pack_add_rows(writer, SPAN("row\n"), error));
    assert_ok(pack_end_slice(writer, slice, error));
}

/* A closed file of sink 1 with the runs above, in pack 50. */
static void world_init(World *world) {
    static const Uuid instance = {.bytes = {9}};
    Partitions partitions = {0};
    *world = (World){.file = {.id = fixture_id(1),
                              .sink = 1,
                              .mapping_version = 1,
                              .first_row = 1,
                              .target = (char *)"{\"table\":\"t\"}",
                              .label = (char *)"a/b"}};
    fixture_init(&world->fixture, 4 << 20);
    world->files = memory_files_new(NULL, NULL);
    assert_ok(world->files->make_directory(world->files, "staging", 0700, error));
    Txn *txn = fixture_write(&world->fixture);
    uint32_t number;
    Partition key = {.cluster = (char *)"c", .group = (char *)"g", .topic = (char *)"t", .topic_id = (char *)""};
    assert_ok(partitions_add(txn, &partitions, &key, &number, error));
    key.partition = 1;
    assert_ok(partitions_add(txn, &partitions, &key, &number, error));

    FileRecord *file = &world->file;
    PackRecord pack = {.id = fixture_id(50)};
    PackWriter *writer;
    SliceRecord one = make_slice(file, 50, 1, 6, FIRST_RUNS), two = make_slice(file, 50, 7, 3, ALL_RUNS - FIRST_RUNS);
    assert_ok(pack_create(world->files, &pack.id, &instance, &writer, error));
    put_slice(writer, &one, all_runs, &partitions);
    put_slice(writer, &two, all_runs + FIRST_RUNS, &partitions);
    assert_ok(pack_finish(writer, &pack.bytes, error));
    assert_ok(ledger_open_file(txn, file, error));
    assert_ok(ledger_add_pack(txn, &pack, error));
    assert_ok(ledger_add_slice(txn, file, &one, all_runs, error));
    assert_ok(ledger_add_slice(txn, file, &two, all_runs + FIRST_RUNS, error));
    assert_ok(ledger_close_file(txn, file, CLOSE_SIZE, 7, error));
    assert_ok(ledger_verify(txn, 1, 10, error));
    assert_ok(ledger_verify_packs(txn, error));
    SinkTotals totals;
    totals_init(&totals, 1);
    totals.next_row = totals.staged_row = 10;
    totals.received.rows = totals.staged.rows = 9;
    assert_ok(totals_store(txn, &totals, error));
    assert_ok(totals_store_as_of(txn, &(TotalsAsOf){.commit = 1}, error));
    fixture_commit(txn);
    partitions_deinit(&partitions);
}

static void world_deinit(World *world) {
    files_free(world->files);
    fixture_deinit(&world->fixture);
}

static int see_range(void *context, const RangeRecord *range, Error *error) {
    static const char letters[] = "siexdDor";
    char **at = context;
    *at += sprintf(*at, "%c%" PRIu64 "+%" PRIu64 " ", letters[range->state], range->first_row, range->rows);
    return 0;
}

static void assert_ranges(Txn *txn, const char *expected) {
    char text[500] = "", *at = text;
    assert_ok(ledger_visit_ranges(txn, 1, see_range, &at, error));
    assert_string_equal(text, expected);
    uint64_t end;
    assert_ok(ledger_end_row(txn, 1, &end, error));
    assert_ok(ledger_verify(txn, 1, end, error));
    assert_ok(ledger_verify_packs(txn, error));
}

static void assert_runs(Txn *txn, const Uuid *id, const OffsetRun *expected, size_t count) {
    OffsetRuns runs = {0};
    FileRecord file;
    assert_ok(ledger_find_file(txn, id, &file, error));
    assert_ok(ledger_file_runs(txn, &file, &runs, error));
    assert_int_equal(runs.count, count);
    if (count) assert_true(offset_runs_equal(runs.items, expected, count));
    offset_runs_deinit(&runs);
    file_record_deinit(&file);
}

static int count_runs(void *context, const SliceRecord *slice, Error *error) {
    *(size_t *)context += slice->run_count;
    return 0;
}

static void test_slices_have_runs(void **state) {
    World world;
    world_init(&world);
    fixture_reopen(&world.fixture);
    Txn *txn = fixture_read(&world.fixture);
    OffsetRuns runs = {0};
    size_t count = 0;
    assert_ok(ledger_visit_slices(txn, 1, 0, UINT64_MAX, count_runs, &count, error));
    assert_int_equal(count, ALL_RUNS);
    assert_ok(ledger_read_runs(txn, 1, 7, &runs, error));
    assert_int_equal(runs.count, ALL_RUNS - FIRST_RUNS);
    assert_true(offset_runs_equal(runs.items, all_runs + FIRST_RUNS, runs.count));
    assert_int_equal(ledger_read_runs(txn, 1, 2, &runs, NULL), LEDGER_NOT_FOUND);
    offset_runs_deinit(&runs);
    assert_runs(txn, &world.file.id, all_runs, ALL_RUNS);
    txn_abort(txn);
    world_deinit(&world);
}

static void test_runs_that_do_not_have_the_rows_are_refused(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    FileRecord file = world.file;
    PackRecord pack = {.id = fixture_id(51)};
    file.id = fixture_id(2);
    file.first_row = 10;
    file.state = FILE_OPEN;
    file.rows = file.bytes = file.checksum = 0;
    assert_ok(ledger_open_file(txn, &file, error));
    assert_ok(ledger_add_pack(txn, &pack, error));
    SliceRecord slice = make_slice(&file, 51, 10, 4, 2);
    const OffsetRun wrong[][2] = {
        {{1, 1, 9, 10, 4}, {1, 1, 10, 11, 1}},          /* too many rows */
        {{1, 1, 9, 10, 3}, {1, 1, 10, 11, 0}},          /* too few */
        {{1, 1, 9, 10, 2}, {2, 1, 10, 11, 2}},          /* another sink */
        {{1, 1, 9, 10, 2}, {1, 0, 10, 11, 2}},          /* no partition */
        {{1, 1, 9, 10, 2}, {1, 1, 10, 10, 2}},          /* no records */
        {{1, 1, -1, 10, 2}, {1, 1, 10, 11, 2}},         /* below the first offset */
        {{1, 1, 9, 10, UINT64_MAX}, {1, 1, 10, 11, 5}}, /* more than can be added */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_fails(ledger_add_slice(txn, &file, &slice, wrong[i], error), -EBADMSG);
    const OffsetRun right[] = {{1, 1, 10, 12, 0}, {1, 2, 62, 99, 4}};
    assert_ok(ledger_add_slice(txn, &file, &slice, right, error));
    assert_ranges(txn, "s1+13 ");
    txn_abort(txn);
    world_deinit(&world);
}

/* Overtaken and returned rows, in the transaction in which their file ends. */
static void test_what_is_left_out_of_an_import(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    FileRecord file = world.file;
    const RangeRecord ranges[] = {{.first_row = 1, .rows = 4, .state = RANGE_OVERTAKEN},
                                  {.first_row = 7, .rows = 1, .state = RANGE_RETURNED}};
    assert_ok(ledger_leave_out(txn, &file, ranges, 2, error));
    assert_int_equal(file.left_out, 5);
    assert_int_equal(file_readable_rows(&file), 4);
    assert_ranges(txn, "o1+4 s5+2 r7+1 s8+2 ");
    file.rejected_rows = 5;
    assert_fails(ledger_end_file(txn, &file, FILE_IMPORTED, 8, 8, error), -EBADMSG);
    file.rejected_rows = 4;
    assert_ok(ledger_end_file(txn, &file, FILE_IMPORTED, 8, 8, error));
    assert_ranges(txn, "o1+4 i5+2 r7+1 i8+2 ");
    fixture_commit(txn);

    fixture_reopen(&world.fixture);
    txn = fixture_write(&world.fixture);
    FileRecord found;
    assert_ok(ledger_find_file(txn, &file.id, &found, error));
    assert_true(found.left_out == 5 && found.rejected_rows == 4 && found.state == FILE_IMPORTED);
    file_record_deinit(&found);
    /* It waits no more. */
    assert_fails(ledger_leave_out(txn, &file, ranges, 1, error), -EBADMSG);
    ForgottenPack *packs;
    size_t count;
    assert_ok(ledger_forget_packs(txn, 8, 10, &packs, &count, error));
    assert_int_equal(count, 1);
    assert_false(packs[0].quarantined);
    free(packs);
    assert_ranges(txn, "o1+4 i5+2 r7+1 i8+2 ");
    txn_abort(txn);
    world_deinit(&world);
}

static void test_all_of_a_file_is_left_out(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    FileRecord file = world.file;
    const RangeRecord ranges[] = {{.first_row = 1, .rows = 5, .state = RANGE_OVERTAKEN},
                                  {.first_row = 6, .rows = 4, .state = RANGE_RETURNED}};
    assert_ok(ledger_leave_out(txn, &file, ranges, 2, error));
    assert_ok(ledger_end_file(txn, &file, FILE_IMPORTED, 8, 8, error));
    assert_ranges(txn, "o1+5 r6+4 ");
    txn_abort(txn);
    world_deinit(&world);
}

static void test_wrong_ranges_change_nothing(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    FileRecord file = world.file;
    const RangeRecord wrong[][2] = {
        {{.first_row = 1, .rows = 2, .state = RANGE_OVERTAKEN}, {.first_row = 2, .rows = 2, .state = RANGE_OVERTAKEN}}, /* overlap */
        {{.first_row = 5, .rows = 1, .state = RANGE_OVERTAKEN}, {.first_row = 1, .rows = 1, .state = RANGE_RETURNED}},  /* not in order */
        {{.first_row = 1, .rows = 1, .state = RANGE_OVERTAKEN}, {.first_row = 9, .rows = 2, .state = RANGE_RETURNED}},  /* beyond the end */
        {{.first_row = 1, .rows = 1, .state = RANGE_OVERTAKEN}, {.first_row = 0, .rows = 1, .state = RANGE_RETURNED}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_fails(ledger_leave_out(txn, &file, wrong[i], 2, error), -EBADMSG);
        assert_ranges(txn, "s1+9 ");
    }
    const RangeRecord once = {.first_row = 3, .rows = 1, .state = RANGE_RETURNED};
    assert_ok(ledger_leave_out(txn, &file, &once, 1, error));
    assert_fails(ledger_leave_out(txn, &file, &once, 1, error), -EBADMSG);
    FileRecord unknown = {.id = fixture_id(99)};
    assert_fails(ledger_leave_out(txn, &unknown, &once, 1, error), -EBADMSG);
    txn_abort(txn);
    world_deinit(&world);
}

/* The broker still has its records; a file without runs may. */
static void test_a_file_of_a_bridge_never_expires(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    FileRecord file = world.file;
    assert_fails(ledger_end_file(txn, &file, FILE_EXPIRED, 8, 8, error), -EBADMSG);
    assert_ranges(txn, "s1+9 ");
    assert_runs(txn, &file.id, all_runs, ALL_RUNS);
    /* Deleted: its runs were given back before, and are with its slices until these go. */
    assert_ok(ledger_end_file(txn, &file, FILE_DELETED, 8, 8, error));
    assert_ranges(txn, "d1+9 ");
    txn_abort(txn);
    world_deinit(&world);
}

static void test_a_damaged_slice_is_returned(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    FileRecord file = world.file;
    RangeState became;
    SliceRecord slice = make_slice(&file, 50, 1, 6, FIRST_RUNS);
    assert_ok(ledger_lose_slice(txn, &file, &slice, &became, error));
    assert_int_equal(became, RANGE_RETURNED);
    assert_true(file.left_out == 6 && file.damaged_rows == 0);
    assert_ranges(txn, "r1+6 s7+3 ");
    assert_runs(txn, &file.id, all_runs + FIRST_RUNS, ALL_RUNS - FIRST_RUNS);
    /* So much turns out to be at the destination. */
    assert_fails(ledger_restore_rows(txn, &file, 7, error), -EBADMSG);
    assert_ok(ledger_restore_rows(txn, &file, 6, error));
    assert_int_equal(file.left_out, 0);
    assert_ranges(txn, "s1+9 ");
    assert_ok(ledger_lose_slice(txn, &file, &slice, &became, error));
    assert_ok(ledger_end_file(txn, &file, FILE_IMPORTED, 8, 8, error));
    assert_ranges(txn, "r1+6 i7+3 ");
    txn_abort(txn);

    /* Without runs: quarantined, as ever. */
    txn = fixture_write(&world.fixture);
    file = world.file;
    slice.run_count = 0;
    assert_ok(ledger_lose_slice(txn, &file, &slice, &became, error));
    assert_int_equal(became, RANGE_QUARANTINED);
    assert_ranges(txn, "x1+6 s7+3 ");
    txn_abort(txn);
    world_deinit(&world);
}

static void test_damage_in_the_log_is_returned(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    assert_ok(ledger_return_rows(txn, 1, 10, 5, error)); /* no file is open */
    FileRecord file = world.file;
    file.id = fixture_id(2);
    file.first_row = 15;
    file.state = FILE_OPEN;
    file.rows = file.bytes = file.checksum = 0;
    assert_ok(ledger_open_file(txn, &file, error));
    PackRecord pack = {.id = fixture_id(51)};
    assert_ok(ledger_add_pack(txn, &pack, error));
    SliceRecord slice = make_slice(&file, 51, 15, 1, 1);
    const OffsetRun run = {1, 1, 10, 11, 1};
    assert_ok(ledger_add_slice(txn, &file, &slice, &run, error));
    assert_ok(ledger_return_rows(txn, 1, 16, 2, error));
    assert_ok(ledger_skip_rows(txn, 1, 18, 1, error));
    assert_fails(ledger_return_rows(txn, 1, 18, 1, error), -EBADMSG);
    assert_ok(ledger_find_file(txn, &file.id, &file, error));
    assert_true(file.rows == 4 && file.left_out == 2 && file.damaged_rows == 1);
    file_record_deinit(&file);
    assert_ranges(txn, "s1+9 r10+5 s15+1 r16+2 x18+1 ");
    txn_abort(txn);
    world_deinit(&world);
}

/* ---- divided --------------------------------------------------------------------------------- */

static void test_where_to_cut(void **state) {
    uint64_t rows;
    assert_int_equal(offset_runs_cut(all_runs, ALL_RUNS, 1, &rows), 2);
    assert_int_equal(rows, 4);
    assert_int_equal(offset_runs_cut(all_runs, ALL_RUNS, 4, &rows), 2);
    assert_int_equal(offset_runs_cut(all_runs, ALL_RUNS, 5, &rows), 4);
    assert_int_equal(rows, 6);
    assert_int_equal(offset_runs_cut(all_runs, ALL_RUNS, 9, &rows), 6);
    assert_int_equal(offset_runs_cut(all_runs, ALL_RUNS, 99, &rows), ALL_RUNS);
    assert_int_equal(rows, 9);
    assert_int_equal(offset_runs_cut(NULL, 0, 1, &rows), 0);
    assert_int_equal(rows, 0);
}

static void test_a_file_is_divided_at_ends_of_runs(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    PackRecord pack = {.id = fixture_id(51), .bytes = 500};
    assert_ok(ledger_add_pack(txn, &pack, error));
    FileRecord file = world.file;
    Uuid second = fixture_id(2);
    /* Rows 1 to 4 | 5, 6 and 7, 8, 9: the second slice goes to the second part. */
    SliceRecord parts[] = {make_slice(&file, 51, 1, 4, 2), make_slice(&file, 51, 5, 2, 2), make_slice(&file, 51, 7, 3, 3)};
    parts[1].file = parts[2].file = second;

    SliceRecord wrong[3];
    memcpy(wrong, parts, sizeof wrong);
    wrong[0].rows = 5, wrong[1].first_row = 6, wrong[1].rows = 1; /* inside a run */
    assert_fails(ledger_divide_file(txn, &file.id, wrong, 3, all_runs, 9, error), -EBADMSG);
    memcpy(wrong, parts, sizeof wrong);
    wrong[2].run_count = 2; /* the last run is missing */
    assert_fails(ledger_divide_file(txn, &file.id, wrong, 3, all_runs, 9, error), -EBADMSG);
    for (size_t i = 0; i < 3; i++) wrong[i].run_count = 0;
    assert_fails(ledger_divide_file(txn, &file.id, wrong, 3, NULL, 9, error), -EBADMSG);
    OffsetRun other[ALL_RUNS];
    memcpy(other, all_runs, sizeof other);
    other[4].next++;
    assert_fails(ledger_divide_file(txn, &file.id, parts, 3, other, 9, error), -EBADMSG);
    assert_ranges(txn, "s1+9 ");

    assert_ok(ledger_divide_file(txn, &file.id, parts, 3, all_runs, 9, error));
    assert_ranges(txn, "s1+9 ");
    assert_runs(txn, &file.id, all_runs, 2);
    assert_runs(txn, &second, all_runs + 2, ALL_RUNS - 2);
    txn_abort(txn);
    world_deinit(&world);
}

/* A slice that was lost goes on in its part, with its runs. */
static void test_a_file_with_a_lost_slice_is_divided(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    PackRecord pack = {.id = fixture_id(51), .bytes = 500};
    assert_ok(ledger_add_pack(txn, &pack, error));
    FileRecord file = world.file;
    RangeState became;
    SliceRecord lost = make_slice(&file, 50, 7, 3, ALL_RUNS - FIRST_RUNS);
    assert_ok(ledger_lose_slice(txn, &file, &lost, &became, error));
    Uuid second = fixture_id(2);
    SliceRecord parts[] = {make_slice(&file, 51, 1, 4, 2), make_slice(&file, 51, 5, 2, 2)};
    parts[1].file = second;
    assert_ok(ledger_divide_file(txn, &file.id, parts, 2, all_runs, 9, error));
    assert_ranges(txn, "s1+6 r7+3 ");
    FileRecord part;
    assert_ok(ledger_find_file(txn, &second, &part, error));
    assert_true(part.first_row == 5 && part.rows == 5 && part.left_out == 3 && part.damaged_rows == 0);
    assert_runs(txn, &second, all_runs + 2, 2);
    OffsetRuns runs = {0};
    assert_ok(ledger_read_runs(txn, 1, 7, &runs, error));
    assert_int_equal(runs.count, ALL_RUNS - FIRST_RUNS);
    offset_runs_deinit(&runs);
    assert_ok(ledger_end_file(txn, &part, FILE_IMPORTED, 10, 10, error));
    file_record_deinit(&part);
    assert_ranges(txn, "s1+4 i5+2 r7+3 ");
    txn_abort(txn);
    world_deinit(&world);
}

/* ---- damaged records ------------------------------------------------------------------------- */

typedef void (*Prepare)(Txn *txn, World *world);

static void leave(Txn *txn, World *world) {
    const RangeRecord ranges[] = {{.first_row = 1, .rows = 2, .state = RANGE_OVERTAKEN},
                                  {.first_row = 5, .rows = 2, .state = RANGE_RETURNED}};
    assert_ok(ledger_leave_out(txn, &world->file, ranges, 2, error));
    assert_ok(ledger_end_file(txn, &world->file, FILE_IMPORTED, 8, 8, error));
}

static void leave_all(Txn *txn, World *world) {
    const RangeRecord range = {.first_row = 1, .rows = 9, .state = RANGE_OVERTAKEN};
    assert_ok(ledger_leave_out(txn, &world->file, &range, 1, error));
    assert_ok(ledger_end_file(txn, &world->file, FILE_IMPORTED, 8, 8, error));
}

static void lose_both(Txn *txn, World *world) {
    const RangeRecord range = {.first_row = 1, .rows = 9, .state = RANGE_RETURNED};
    assert_ok(ledger_leave_out(txn, &world->file, &range, 1, error));
}

static void lose_first(Txn *txn, World *world) {
    const RangeRecord range = {.first_row = 1, .rows = 6, .state = RANGE_RETURNED};
    assert_ok(ledger_leave_out(txn, &world->file, &range, 1, error));
}

static void remove_pack(Txn *txn, World *world) {
    Uuid id = fixture_id(50);
    assert_ok(pack_remove(world->files, &id, error));
}

static const struct {
    const char *name;
    Prepare prepare;
    Database database;
    const char *key; /* hexadecimal */
    const char *ranges;
    uint64_t returned; /* as the damage says */
    FileState state;
    uint64_t left_out;
    size_t runs; /* of the file */
} cases[] = {
    {"a slice", NULL, DB_FILES, "53000000010000000000000001", "s1+9 ", 0, FILE_CLOSED, 0, ALL_RUNS},
    {"a slice whose pack is not there", remove_pack, DB_FILES, "53000000010000000000000001", "r1+6 s7+3 ", 6, FILE_CLOSED, 6,
     ALL_RUNS - FIRST_RUNS},
    {"a file that waits", NULL, DB_FILES, "46000000010000000000000001", "s1+9 ", 0, FILE_CLOSED, 0, ALL_RUNS},
    {"a file of which some was lost", lose_first, DB_FILES, "46000000010000000000000001", "r1+6 s7+3 ", 0, FILE_CLOSED, 6,
     ALL_RUNS - FIRST_RUNS},
    {"a file of which all was lost", lose_both, DB_FILES, "46000000010000000000000001", "r1+9 ", 0, FILE_CLOSED, 9, 0},
    {"a file that was imported in part", leave, DB_FILES, "46000000010000000000000001", "o1+2 i3+2 r5+2 i7+3 ", 0, FILE_IMPORTED, 4, 3},
    {"a file of which all was overtaken", leave_all, DB_FILES, "46000000010000000000000001", "o1+9 ", 0, FILE_IMPORTED, 9, 0},
    {"a range that was returned", leave, DB_FILES, "52000000010000000000000005", "o1+2 i3+2 r5+2 i7+3 ", 0, FILE_IMPORTED, 4, 3},
    {"a range of rows that were imported", leave, DB_FILES, "52000000010000000000000003", "o1+2 i3+2 r5+2 i7+3 ", 0, FILE_IMPORTED, 4, 3},
    {"a range of a file of which all was lost", lose_both, DB_FILES, "52000000010000000000000001", "r1+9 ", 0, FILE_CLOSED, 9, 0},
};

static Span from_hex(const char *text, char out[static 16]) {
    size_t size = strlen(text) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
        out[i] = (char)byte;
    }
    return (Span){.data = out, .size = size};
}

static void test_damaged_records_are_written_anew(void **state) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        World world;
        char key[16];
        world_init(&world);
        Txn *txn = fixture_write(&world.fixture);
        if (cases[i].prepare) cases[i].prepare(txn, &world);
        fixture_commit(txn);
        fixture_flip(&world.fixture, cases[i].database, from_hex(cases[i].key, key), 90);
        txn = fixture_write(&world.fixture);
        Damages damages;
        assert_ok(repair_records(txn, world.files, 10, &damages, error));
        if (damages.count != 1)
            fail_msg("%s: %zu damages, such as %s", cases[i].name, damages.count, damages.count ? damages.items[0].text : "");
        assert_int_equal(damages.items[0].rows, 0);
        if (damages.items[0].stays) fail_msg("%s: %s", cases[i].name, damages.items[0].text);
        assert_int_equal(damages.items[0].returned, cases[i].returned);
        free(damages.items);
        assert_ranges(txn, cases[i].ranges);
        FileRecord file;
        assert_ok(ledger_find_file(txn, &world.file.id, &file, error));
        assert_int_equal(file.state, cases[i].state);
        assert_int_equal(file.left_out, cases[i].left_out);
        assert_int_equal(file.damaged_rows, 0);
        OffsetRuns runs = {0};
        assert_ok(ledger_file_runs(txn, &file, &runs, error));
        if (runs.count != cases[i].runs) fail_msg("%s: %zu runs", cases[i].name, runs.count);
        offset_runs_deinit(&runs);
        file_record_deinit(&file);
        fixture_commit(txn);
        world_deinit(&world);
    }
}

/* Nothing says any more which table its rows go to. */
static void test_a_file_whose_target_is_lost_is_returned(void **state) {
    World world;
    Uuid pack = fixture_id(50);
    uint64_t digest;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    assert_ok(ledger_keep_target(txn, &world.file, &digest, error));
    assert_ok(pack_remove(world.files, &pack, error));
    fixture_commit(txn);
    char key[17] = {'T'};
    store_be32(key + 1, 1);
    store_be32(key + 5, 1);
    store_be64(key + 9, digest);
    fixture_flip(&world.fixture, DB_FILES, (Span){.data = key, .size = sizeof key}, 90);
    txn = fixture_write(&world.fixture);
    Damages damages;
    assert_ok(repair_records(txn, world.files, 10, &damages, error));
    assert_int_equal(damages.count, 1);
    assert_true(damages.items[0].returned == 9 && damages.items[0].rows == 0 && !damages.items[0].stays);
    assert_non_null(strstr(damages.items[0].text, "read again"));
    free(damages.items);
    FileRecord file;
    assert_ok(ledger_find_file(txn, &world.file.id, &file, error));
    assert_true(file.state == FILE_DELETED && file.left_out == 9);
    file_record_deinit(&file);
    RangeRecord range;
    assert_ok(ranges_find(txn, 1, 1, &range, error));
    assert_true(range.state == RANGE_RETURNED && range.rows == 9);
    assert_ok(ledger_verify(txn, 1, 10, error));
    assert_ok(ledger_verify_packs(txn, error));
    fixture_commit(txn);
    world_deinit(&world);
}

static void test_damaged_totals_are_counted_anew(void **state) {
    World world;
    char key[] = "T\0\0\0\1";
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    leave(txn, &world);
    fixture_commit(txn);
    fixture_flip(&world.fixture, DB_STATISTICS, (Span){.data = key, .size = 5}, 90);
    txn = fixture_write(&world.fixture);
    Damages damages;
    SinkTotals totals;
    assert_ok(repair_records(txn, world.files, 10, &damages, error));
    assert_int_equal(damages.count, 1);
    free(damages.items);
    assert_ok(totals_find(txn, 1, &totals, error));
    assert_true(totals.overtaken_rows == 2 && totals.returned_rows == 2 && totals.imported.rows == 5 && totals.dropped_rows == 0);
    assert_int_equal(totals.received.rows, 9);
    txn_abort(txn);
    world_deinit(&world);
}

/* ---- earlier versions of the records --------------------------------------------------------- */

static void put_raw(Txn *txn, const char *key, Buffer *record) {
    char bytes[16];
    record_seal(record);
    assert_ok(db_put(txn, DB_FILES, from_hex(key, bytes), buffer_span(record), error));
}

static void put_numbers(Buffer *out, uint64_t first, size_t count) {
    for (size_t i = 0; i < count; i++) buffer_put_u64(out, first + i);
}

/* What a file, a slice and a range without runs look like is what a program before runs wrote, but
 * for the file, which has one field more. */
static void test_records_of_a_program_without_runs(void **state) {
    World world;
    world_init(&world);
    Txn *txn = fixture_write(&world.fixture);
    Buffer record = {0};
    FileRecord file = {
        .id = fixture_id(3), .sink = 2, .mapping_version = 4, .first_row = 1, .target = (char *)"{\"a\":1}", .label = (char *)"s/k"};
    uint64_t digest;
    assert_ok(ledger_keep_target(txn, &file, &digest, error));

    record_begin(&record, 'F', 3);
    buffer_append(&record, file.id.bytes, 16);
    buffer_put_u32(&record, 4);
    buffer_put_u8(&record, FILE_CLOSED);
    buffer_put_u8(&record, CLOSE_COUNT);
    buffer_put_u64(&record, 20); /* rows */
    buffer_put_u64(&record, 80);
    buffer_put_u64(&record, 0);
    buffer_put_u64(&record, 0);
    put_numbers(&record, 100, 6); /* checksum to done */
    buffer_put_u32(&record, 7);
    put_numbers(&record, 200, 2); /* next try, first failed */
    buffer_put_u8(&record, 1);
    buffer_put_block(&record, SPAN("no"));
    buffer_put_u64(&record, digest);
    buffer_put_block(&record, SPAN("s/k"));
    put_raw(txn, "46000000020000000000000001", &record);
    assert_ok(ledger_put_file_id(txn, &file, error));
    assert_ok(index_file(txn, 2, 1, true, error));

    record_begin(&record, 'S', 1);
    Uuid pack = fixture_id(60);
    buffer_append(&record, pack.bytes, 16);
    put_numbers(&record, 64, 2);
    buffer_put_u32(&record, 4);
    put_numbers(&record, 20, 1); /* rows */
    put_numbers(&record, 80, 4);
    buffer_append(&record, file.id.bytes, 16);
    put_raw(txn, "53000000020000000000000001", &record);
    LedgerKey link = ledger_pack_slice_key(&pack, 2, 1);
    assert_ok(db_put(txn, DB_FILES, ledger_key_span(&link), (Span){0}, error));
    PackRecord pack_record = {.id = pack, .slices = 1};
    assert_ok(ledger_put_pack(txn, &pack_record, error));

    record_begin(&record, 'R', 1);
    buffer_put_u64(&record, 20);
    buffer_put_u8(&record, RANGE_STAGED);
    put_raw(txn, "52000000020000000000000001", &record);
    /* A state that version 1 does not have is damage. */
    record_begin(&record, 'R', 1);
    buffer_put_u64(&record, 20);
    buffer_put_u8(&record, RANGE_RETURNED);
    record_seal(&record);
    RangeRecord range;
    LedgerKey range_key = ledger_row_key('R', 2, 1);
    assert_fails(ledger_decode_range(ledger_key_span(&range_key), buffer_span(&record), &range, error), -EBADMSG);

    assert_ok(ledger_verify(txn, 2, 21, error));
    assert_ok(ledger_verify_packs(txn, error));
    FileRecord found;
    assert_ok(ledger_find_file(txn, &file.id, &found, error));
    assert_true(found.rows == 20 && found.attempts == 7 && found.first_failed == 201 && found.left_out == 0);
    assert_string_equal(found.target, "{\"a\":1}");
    assert_string_equal(found.last_error, "no");
    OffsetRuns runs = {0};
    assert_ok(ledger_file_runs(txn, &found, &runs, error));
    assert_int_equal(runs.count, 0);
    /* It goes on under this program. */
    assert_ok(ledger_end_file(txn, &found, FILE_EXPIRED, 8, 8, error));
    assert_ok(ledger_verify(txn, 2, 21, error));
    file_record_deinit(&found);
    txn_abort(txn);
    buffer_deinit(&record);
    world_deinit(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_have_runs),
        cmocka_unit_test(test_runs_that_do_not_have_the_rows_are_refused),
        cmocka_unit_test(test_what_is_left_out_of_an_import),
        cmocka_unit_test(test_all_of_a_file_is_left_out),
        cmocka_unit_test(test_wrong_ranges_change_nothing),
        cmocka_unit_test(test_a_file_of_a_bridge_never_expires),
        cmocka_unit_test(test_a_damaged_slice_is_returned),
        cmocka_unit_test(test_damage_in_the_log_is_returned),
        cmocka_unit_test(test_where_to_cut),
        cmocka_unit_test(test_a_file_is_divided_at_ends_of_runs),
        cmocka_unit_test(test_a_file_with_a_lost_slice_is_divided),
        cmocka_unit_test(test_damaged_records_are_written_anew),
        cmocka_unit_test(test_a_file_whose_target_is_lost_is_returned),
        cmocka_unit_test(test_damaged_totals_are_counted_anew),
        cmocka_unit_test(test_records_of_a_program_without_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
