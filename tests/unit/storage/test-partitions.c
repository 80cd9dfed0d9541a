#include "tests/unit/storage/fixture.h"

#include "base/buffer.h"
#include "base/random.h"
#include "storage/commit_log.h"
#include "storage/ledger.h"
#include "storage/pack.h"
#include "storage/partitions.h"
#include "storage/partitions_private.h"
#include "storage/record.h"
#include "storage/repair.h"
#include "storage/totals.h"
#include "tests/support/memory-files.h"

/* Its texts are literals. */
static Partition make(const char *topic, uint32_t generation, int32_t partition) {
    return (Partition){.cluster = (char *)"kafka-1",
                       .group = (char *)"sluice",
                       .topic = (char *)(uintptr_t)topic,
                       .topic_id = (char *)"",
                       .generation = generation,
                       .partition = partition};
}

static uint32_t add(Txn *txn, Partitions *partitions, Partition key) {
    uint32_t number;
    assert_ok(partitions_add(txn, partitions, &key, &number, error));
    return number;
}

static void assert_number(const Partitions *partitions, Partition key, uint32_t number) {
    const Partition *found = partitions_find(partitions, &key);
    if (number == 0) {
        assert_null(found);
        return;
    }
    assert_non_null(found);
    assert_int_equal(found->number, number);
    assert_int_equal(partition_compare(found, &key), 0);
    assert_ptr_equal(partitions_get(partitions, number), found);
}

static void test_numbers(void **state) {
    Fixture fixture;
    Partitions partitions = {0}, loaded;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    Partition other = make("orders", 0, 1);
    other.topic_id = (char *)"an id";
    assert_int_equal(add(txn, &partitions, make("orders", 0, 3)), 1);
    assert_int_equal(add(txn, &partitions, other), 2);
    assert_int_equal(add(txn, &partitions, make("orders", 1, 3)), 3);
    assert_int_equal(add(txn, &partitions, make("a", 7, 0)), 4);
    other = make("orders", 0, 3);
    other.group = (char *)"another";
    assert_number(&partitions, other, 0);
    assert_int_equal(add(txn, &partitions, other), 5);
    fixture_commit(txn);

    /* What is aborted was never given. */
    txn = fixture_write(&fixture);
    assert_int_equal(add(txn, &partitions, make("b", 0, 0)), 6);
    assert_int_equal(add(txn, &partitions, make("orders", 0, 0)), 7);
    txn_abort(txn);
    partitions_undo(&partitions, 5);
    assert_number(&partitions, make("b", 0, 0), 0);
    assert_number(&partitions, make("orders", 0, 0), 0);
    assert_null(partitions_get(&partitions, 6));

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ok(partitions_load(txn, &loaded, error));
    assert_int_equal(loaded.count, 5);
    Partitions *both[] = {&partitions, &loaded};
    for (size_t i = 0; i < 2; i++) {
        assert_number(both[i], make("orders", 0, 3), 1);
        assert_number(both[i], make("orders", 0, 1), 2);
        assert_number(both[i], make("orders", 1, 3), 3);
        assert_number(both[i], make("a", 7, 0), 4);
        assert_number(both[i], other, 5);
        assert_number(both[i], make("orders", 1, 1), 0);
        assert_null(partitions_get(both[i], 0));
    }
    assert_string_equal(partitions_get(&loaded, 2)->topic_id, "an id");
    assert_int_equal(add(txn, &loaded, make("b", 0, 0)), 6);

    Partition found;
    assert_ok(partition_find(txn, 4, &found, error));
    assert_int_equal(found.number, 4);
    assert_string_equal(found.cluster, "kafka-1");
    assert_string_equal(found.group, "sluice");
    assert_string_equal(found.topic, "a");
    assert_int_equal(found.generation, 7);
    partition_deinit(&found);
    assert_int_equal(partition_find(txn, 9, &found, NULL), PARTITION_NOT_FOUND);
    fixture_commit(txn);

    /* Number 6 is given up; the next one is another all the same. */
    txn = fixture_write(&fixture);
    char key[5] = {'P', 0, 0, 0, 6};
    assert_ok(db_remove(txn, DB_CURSORS, (Span){.data = key, .size = 5}, error));
    partitions_deinit(&loaded);
    assert_ok(partitions_load(txn, &loaded, error));
    assert_int_equal(add(txn, &loaded, make("c", 0, 0)), 7);
    assert_ok(partition_put_last_number(txn, UINT32_MAX, error));
    uint32_t number;
    Partition last = make("d", 0, 0);
    assert_fails(partitions_add(txn, &loaded, &last, &number, error), -EOVERFLOW);
    txn_abort(txn);
    partitions_deinit(&loaded);
    partitions_deinit(&partitions);
    fixture_deinit(&fixture);
}

/* As many as a large cluster has, in an order that has nothing to do with that of their keys. */
static void test_ten_thousand_partitions(void **state) {
    Fixture fixture;
    Partitions partitions = {0};
    enum { COUNT = 10000 };
    fixture_init(&fixture, 16 << 20);
    Txn *txn = fixture_write(&fixture);
    for (int32_t i = 0; i < COUNT; i++)
        assert_int_equal(add(txn, &partitions, make(i % 2 ? "x" : "y", (uint32_t)i % 3, (i * 7919) % COUNT)), i + 1);
    fixture_commit(txn);
    txn = fixture_read(&fixture);
    Partitions loaded;
    assert_ok(partitions_load(txn, &loaded, error));
    assert_int_equal(loaded.count, COUNT);
    for (int32_t i = 0; i < COUNT; i++)
        assert_number(&loaded, make(i % 2 ? "x" : "y", (uint32_t)i % 3, (i * 7919) % COUNT), (uint32_t)i + 1);
    partitions_deinit(&loaded);

    OffsetRun runs[] = {{.partition = 900}, {.partition = 4}, {.partition = 900}, {.partition = 77777}, {.partition = 5}};
    assert_ok(partitions_of_runs(txn, runs, 5, &loaded, error));
    assert_int_equal(loaded.count, 3);
    assert_true(loaded.items[0].number == 4 && loaded.items[1].number == 5 && loaded.items[2].number == 900);
    partitions_deinit(&loaded);
    assert_ok(partitions_of_runs(txn, NULL, 0, &loaded, error));
    assert_int_equal(loaded.count, 0);
    txn_abort(txn);
    partitions_deinit(&loaded);
    partitions_deinit(&partitions);
    fixture_deinit(&fixture);
}

static int see_end(void *context, uint32_t sink, uint32_t partition, int64_t end, int64_t left, Error *error) {
    char **at = context;
    *at += sprintf(*at, "%" PRIu32 ":%" PRIu32 "=%" PRId64 " ", sink, partition, end);
    if (left >= 0) *at += sprintf(*at, "left %" PRId64 " ", left);
    return 0;
}

static void assert_ends(Txn *txn, uint32_t sink, const char *expected) {
    char text[500] = "", *at = text;
    assert_ok(partition_ends_visit(txn, sink, see_end, &at, error));
    assert_string_equal(text, expected);
}

static void test_ends(void **state) {
    Fixture fixture;
    int64_t end;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ends(txn, 0, "");
    OffsetRun runs[] = {{.sink = 1, .partition = 1, .first = 0, .next = 10, .rows = 3},
                        {.sink = 1, .partition = 2, .first = 5, .next = 6},
                        {.sink = 1, .partition = 1, .first = 10, .next = 11},
                        {.sink = 1, .partition = 1, .first = 11, .next = INT64_MAX},
                        {.sink = 2, .partition = 1, .first = 3, .next = 4}};
    assert_ok(partition_ends_set(txn, runs, 5, error));
    assert_ok(partition_end_set(txn, 256, 7, 0, error));
    fixture_commit(txn);
    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ends(txn, 0, "1:1=9223372036854775807 1:2=6 2:1=4 256:7=0 ");
    assert_ends(txn, 1, "1:1=9223372036854775807 1:2=6 ");
    assert_ends(txn, 3, "");
    assert_ok(partition_end_find(txn, 2, 1, &end, error));
    assert_int_equal(end, 4);
    assert_int_equal(partition_end_find(txn, 2, 2, &end, NULL), PARTITION_NOT_FOUND);
    assert_ok(partition_end_set(txn, 2, 1, 2, error)); /* a seek goes back */
    assert_ok(partition_end_forget(txn, 1, 2, -1, error));
    assert_ok(partition_end_forget(txn, 1, 2, -1, error));
    assert_ends(txn, 0, "1:1=9223372036854775807 1:2=-1 2:1=2 256:7=0 "); /* it still says that sink 1 is a bridge's */
    assert_int_equal(partition_end_find(txn, 1, 2, &end, NULL), PARTITION_NOT_FOUND);
    for (int i = 0; i < 3; i++) { /* its rows go to another table */
        const int64_t left[] = {0, 8, INT64_MAX - 1};
        char text[40];
        (void)snprintf(text, sizeof text, "256:7=-1 left %" PRId64 " ", left[i]);
        assert_ok(partition_end_forget(txn, 256, 7, left[i], error));
        assert_ends(txn, 256, text);
        assert_int_equal(partition_end_find(txn, 256, 7, &end, NULL), PARTITION_NOT_FOUND);
    }
    assert_ok(partition_end_set(txn, 256, 7, 0, error));
    assert_ok(partition_end_set(txn, 1, 2, 8, error));
    assert_ends(txn, 1, "1:1=9223372036854775807 1:2=8 ");
    assert_ok(partition_end_set(txn, 1, 9, 9, error));
    assert_ok(partition_ends_forget(txn, 1, error));
    assert_ends(txn, 0, "2:1=2 256:7=0 ");
    txn_abort(txn);
    fixture_deinit(&fixture);
}

static void assert_mark(Txn *txn, uint32_t partition, const char *expected) {
    Span mark;
    assert_ok(partition_mark_find(txn, partition, &mark, error));
    assert_true(span_equal(mark, span_of(expected)));
}

/* A mark is replaced whole, and goes with its transaction. */
static void test_marks(void **state) {
    Fixture fixture;
    Span mark;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_int_equal(partition_mark_find(txn, 1, &mark, NULL), PARTITION_NOT_FOUND);
    assert_ok(partition_mark_set(txn, 1, SPAN("1-99, 105-107"), error));
    assert_ok(partition_mark_set(txn, 256, SPAN("another"), error));
    assert_ok(partition_mark_set(txn, 1, SPAN("1-107"), error));
    fixture_commit(txn);
    txn = fixture_write(&fixture);
    assert_ok(partition_mark_set(txn, 1, SPAN("of a transaction that is aborted"), error));
    txn_abort(txn);
    fixture_reopen(&fixture);
    txn = fixture_read(&fixture);
    assert_mark(txn, 1, "1-107");
    assert_mark(txn, 256, "another");
    assert_int_equal(partition_mark_find(txn, 2, &mark, NULL), PARTITION_NOT_FOUND);
    assert_ends(txn, 0, ""); /* it is no end */
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* Each bit of each record: named, and never taken for something else. */
static void test_flipped_bits_are_noticed(void **state) {
    Fixture fixture;
    Partitions partitions = {0};
    int64_t end;
    Span mark;
    uint32_t number;
    Partition found;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    (void)add(txn, &partitions, make("orders", 0, 3));
    assert_ok(partition_end_set(txn, 1, 1, 99, error));
    assert_ok(partition_mark_set(txn, 1, SPAN("1-7"), error));
    fixture_commit(txn);
    const struct {
        Span key;
        size_t bytes;
    } records[] = {{SPAN("P\0\0\0\1"), 10 + 4 * 4 + 19 + 8},
                   {SPAN("N"), 10 + 4},
                   {SPAN("C\0\0\0\1\0\0\0\1"), 10 + 8},
                   {SPAN("M\0\0\0\1"), 10 + 4 + 3}};
    for (size_t i = 0; i < 4; i++) {
        for (size_t bit = 0; bit < 8 * records[i].bytes; bit++) {
            fixture_flip(&fixture, DB_CURSORS, records[i].key, bit);
            txn = fixture_write(&fixture);
            Partition key = make("another", 0, 0);
            if (i == 0) assert_fails(partitions_load(txn, &partitions, error), -EBADMSG);
            if (i == 0) assert_fails(partition_find(txn, 1, &found, error), -EBADMSG);
            if (i == 1) assert_fails(partitions_add(txn, &partitions, &key, &number, error), -EBADMSG);
            if (i == 2) assert_fails(partition_end_find(txn, 1, 1, &end, error), -EBADMSG);
            if (i == 3) assert_fails(partition_mark_find(txn, 1, &mark, error), -EBADMSG);
            txn_abort(txn);
            fixture_flip(&fixture, DB_CURSORS, records[i].key, bit);
        }
    }
    partitions_deinit(&partitions);
    fixture_deinit(&fixture);
}

/* ---- repair ---------------------------------------------------------------------------------- */

typedef struct Repaired {
    Fixture fixture;
    Files *files;
    SliceRecord slice;
} Repaired;

static const OffsetRun runs_of_slice[] = {{.sink = 1, .partition = 2, .first = 4, .next = 9, .rows = 1},
                                          {.sink = 1, .partition = 1, .first = 70, .next = 71}};

/* Partitions 1 to 3; a file of sink 1 waits whose slice has rows of partition 2 and only runs of 1;
 * the log has a run of 5. */
static void repaired_init(Repaired *all) {
    static const Uuid instance = {.bytes = {9}};
    Partitions partitions = {0};
    *all = (Repaired){0};
    fixture_init(&all->fixture, 1 << 20);
    all->files = memory_files_new(NULL, NULL);
    assert_ok(all->files->make_directory(all->files, "staging", 0700, error));
    Txn *txn = fixture_write(&all->fixture);
    for (int32_t i = 0; i < 3; i++) (void)add(txn, &partitions, make("orders", 2, i));
    for (uint32_t i = 1; i <= 3; i++) assert_ok(partition_end_set(txn, 1, i, 10, error));
    assert_ok(partition_end_set(txn, 7, 2, 10, error));

    FileRecord file = {
        .id = fixture_id(1), .sink = 1, .mapping_version = 1, .first_row = 1, .target = (char *)"{}", .label = (char *)"a/b"};
    PackRecord pack = {.id = fixture_id(50)};
    PackWriter *writer;
    SliceRecord slice = {.sink = 1, .mapping_version = 1, .first_row = 1, .rows = 1, .file = file.id, .run_count = 2};
    assert_ok(pack_create(all->files, &pack.id, &instance, &writer, error));
    assert_ok(pack_begin_slice_with_runs(writer, &slice, SPAN("{}"), runs_of_slice, &partitions, error));
    assert_ok(pack_add_rows(writer, SPAN("row\n"), error));
    assert_ok(pack_end_slice(writer, &slice, error));
    assert_ok(pack_finish(writer, &pack.bytes, error));
    assert_ok(ledger_open_file(txn, &file, error));
    assert_ok(ledger_add_pack(txn, &pack, error));
    assert_ok(ledger_add_slice(txn, &file, &slice, runs_of_slice, error));
    OffsetRun logged = {.sink = 1, .partition = 5, .first = 0, .next = 1};
    GroupSegment segment = {.entry = {.sink = 1, .mapping_version = 1, .first_row = 2}, .runs = &logged, .run_count = 1};
    assert_ok(commit_log_append(txn, 1, 1, &segment, 1, error));
    const SinkTotals totals = {.sink = 1,
                               .next_row = 2,
                               .staged_row = 2,
                               .received = {.rows = 1, .bytes = slice.bytes},
                               .staged = {.rows = 1, .bytes = slice.bytes}};
    assert_ok(totals_store(txn, &totals, error));
    fixture_commit(txn);
    all->slice = slice;
    partitions_deinit(&partitions);
}

static void repair(Repaired *all, const char *says) {
    Damages damages;
    Txn *txn = fixture_write(&all->fixture);
    assert_ok(repair_records(txn, all->files, 1, &damages, error));
    assert_int_equal(damages.count, 1);
    if (!strstr(damages.items[0].text, says)) fail_msg("\"%s\" does not say \"%s\"", damages.items[0].text, says);
    assert_true(damages.items[0].sink == 0 && damages.items[0].rows == 0 && !damages.items[0].stays);
    free(damages.items);
    fixture_commit(txn);
    txn = fixture_write(&all->fixture);
    assert_ok(repair_records(txn, all->files, 1, &damages, error));
    assert_int_equal(damages.count, 0);
    txn_abort(txn);
}

static void repaired_deinit(Repaired *all) {
    files_free(all->files);
    fixture_deinit(&all->fixture);
}

static void test_an_end_is_forgotten(void **state) {
    Repaired all;
    repaired_init(&all);
    fixture_flip(&all.fixture, DB_CURSORS, SPAN("C\0\0\0\1\0\0\0\3"), 20);
    repair(&all, "the end of partition number 3 for sink 1 is damaged: its checksum differs; it is removed, nothing is lost");
    Txn *txn = fixture_read(&all.fixture);
    assert_ends(txn, 0, "1:1=10 1:2=10 1:3=-1 7:2=10 ");
    txn_abort(txn);
    repaired_deinit(&all);
}

/* The broker sends once more what it was not told of; nothing else is touched. */
static void test_a_mark_is_forgotten(void **state) {
    Repaired all;
    Span mark;
    repaired_init(&all);
    Txn *txn = fixture_write(&all.fixture);
    assert_ok(partition_mark_set(txn, 2, SPAN("1-7"), error));
    assert_ok(partition_mark_set(txn, 3, SPAN("1-8"), error));
    fixture_commit(txn);
    fixture_flip(&all.fixture, DB_CURSORS, SPAN("M\0\0\0\2"), 120);
    repair(
        &all,
        "the mark of partition number 2 is damaged: its checksum differs; it is removed: messages that the broker still has may be stored");
    txn = fixture_read(&all.fixture);
    assert_int_equal(partition_mark_find(txn, 2, &mark, NULL), PARTITION_NOT_FOUND);
    assert_mark(txn, 3, "1-8");
    assert_ends(txn, 0, "1:1=10 1:2=10 1:3=10 7:2=10 ");
    txn_abort(txn);
    repaired_deinit(&all);
}

static void test_a_partition_is_read_again_from_a_pack(void **state) {
    Repaired all;
    Partition found;
    repaired_init(&all);
    for (uint32_t number = 1; number <= 2; number++) {
        char key[5] = {'P', 0, 0, 0, (char)number};
        fixture_flip(&all.fixture, DB_CURSORS, (Span){.data = key, .size = 5}, 100);
        repair(&all, "it was read again from a staging file, nothing is lost");
        Txn *txn = fixture_read(&all.fixture);
        Partition wanted = make("orders", 2, (int32_t)number - 1);
        assert_ok(partition_find(txn, number, &found, error));
        assert_int_equal(partition_compare(&found, &wanted), 0);
        assert_ends(txn, 0, "1:1=10 1:2=10 1:3=10 7:2=10 ");
        txn_abort(txn);
        partition_deinit(&found);
    }
    repaired_deinit(&all);
}

/* No pack has rows of it, or the pack is not there: its number is given to nobody else. */
static void test_a_partition_that_nothing_says_is_forgotten(void **state) {
    for (int pack_is_there = 0; pack_is_there < 2; pack_is_there++) {
        Repaired all;
        Partition found;
        Partitions partitions;
        repaired_init(&all);
        char key[5] = {'P', 0, 0, 0, pack_is_there ? 3 : 2};
        Span mark;
        Txn *marks = fixture_write(&all.fixture);
        assert_ok(partition_mark_set(marks, (uint32_t)key[4], SPAN("1-7"), error));
        fixture_commit(marks);
        if (!pack_is_there) assert_ok(pack_remove(all.files, &all.slice.pack, error));
        fixture_flip(&all.fixture, DB_CURSORS, (Span){.data = key, .size = 5}, 100);
        repair(&all, "no staging file has it: it is removed, and its waiting records are read again");
        Txn *txn = fixture_write(&all.fixture);
        assert_int_equal(partition_find(txn, (uint32_t)key[4], &found, NULL), PARTITION_NOT_FOUND);
        assert_ends(txn, 0, pack_is_there ? "1:1=10 1:2=10 1:3=-1 7:2=10 " : "1:1=10 1:2=-1 1:3=10 7:2=-1 ");
        assert_int_equal(partition_mark_find(txn, (uint32_t)key[4], &mark, NULL), PARTITION_NOT_FOUND);
        assert_ok(partitions_load(txn, &partitions, error));
        assert_int_equal(partitions.count, 2);
        assert_int_equal(add(txn, &partitions, make("orders", 2, key[4] - 1)), 4);
        txn_abort(txn);
        partitions_deinit(&partitions);
        repaired_deinit(&all);
    }
}

/* Above all that is in use anywhere: in the log it is 5. */
static void test_the_last_number_is_found_again(void **state) {
    Repaired all;
    Partitions partitions;
    repaired_init(&all);
    fixture_flip(&all.fixture, DB_CURSORS, SPAN("N"), 30);
    repair(&all, "it is the highest number in use");
    Txn *txn = fixture_write(&all.fixture);
    assert_ok(partitions_load(txn, &partitions, error));
    assert_int_equal(add(txn, &partitions, make("new", 0, 0)), 6);
    partitions_deinit(&partitions);
    txn_abort(txn);
    repaired_deinit(&all);
}

static void test_an_unknown_key_is_removed(void **state) {
    Repaired all;
    Span value;
    repaired_init(&all);
    Txn *txn = fixture_write(&all.fixture);
    assert_ok(db_put(txn, DB_CURSORS, SPAN("C\0\0"), SPAN("x"), error));
    fixture_commit(txn);
    repair(&all, "it is removed");
    txn = fixture_read(&all.fixture);
    assert_int_equal(db_get(txn, DB_CURSORS, SPAN("C\0\0"), &value, NULL), DB_NOT_FOUND);
    txn_abort(txn);
    repaired_deinit(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_ten_thousand_partitions),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_flipped_bits_are_noticed),
        cmocka_unit_test(test_an_end_is_forgotten),
        cmocka_unit_test(test_a_mark_is_forgotten),
        cmocka_unit_test(test_a_partition_is_read_again_from_a_pack),
        cmocka_unit_test(test_a_partition_that_nothing_says_is_forgotten),
        cmocka_unit_test(test_the_last_number_is_found_again),
        cmocka_unit_test(test_an_unknown_key_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
