#include "tests/unit/storage/fixture.h"

#include "base/random.h"
#include "storage/copies.h"
#include "storage/ledger_private.h"
#include "storage/pack.h"
#include "storage/recovery.h"
#include "tests/support/memory-files.h"

static const Uuid instance = {.bytes = {7}};

static void put_file(Files *files, const char *path) {
    File *file = NULL;
    assert_ok(files->create(files, path, 0600, &file, error));
    assert_ok(files->append(files, file, SPAN("content"), error));
    assert_ok(files->sync(files, file, error));
    files->close(files, file);
}

static void put_pack(Files *files, uint64_t id) {
    char path[64];
    Uuid pack = fixture_id(id);
    pack_path(&pack, path);
    put_file(files, path);
}

static bool has(Files *files, const char *path) {
    FileInfo info;
    return files->info(files, path, &info, NULL) == 0;
}

static bool has_pack(Files *files, const char *prefix, uint64_t id) {
    char name[64], path[128];
    Uuid pack = fixture_id(id);
    pack_path(&pack, name);
    (void)snprintf(path, sizeof path, "%s%s", prefix, name + strlen("staging/"));
    return has(files, path);
}

static Files *new_staging(Random *random, Clock *clock) {
    Files *files = memory_files_new(random, clock);
    assert_ok(files->make_directory(files, "staging", 0700, error));
    assert_ok(files->make_directory(files, "staging/expired", 0700, error));
    assert_ok(files->sync_directory(files, "", error));
    assert_ok(files->sync_directory(files, "staging", error));
    return files;
}

static void test_sweep(void **state) {
    Fixture fixture;
    RecoveryReport report;
    fixture_init(&fixture, 1 << 20);
    Files *files = new_staging(NULL, NULL);
    Txn *txn = fixture_write(&fixture);
    assert_ok(ledger_add_pack(txn, &(PackRecord){.id = fixture_id(1), .bytes = 7}, error));
    assert_ok(ledger_add_pack(txn, &(PackRecord){.id = fixture_id(2), .bytes = 7}, error));
    fixture_commit(txn);
    put_pack(files, 1);
    put_pack(files, 3);
    put_file(files, "staging/01000000-0000-0000-0000-000000000000.pack.tmp");
    put_file(files, "staging/notes.txt"); /* not ours: stays */

    txn = fixture_read(&fixture);
    assert_ok(recovery_sweep_staging(files, txn, &instance, 1000 * USEC_SECOND, &report, error));
    assert_true(report.temporary_removed == 1 && report.orphans == 1);
    memory_files_crash(files);
    assert_true(has_pack(files, "staging/", 1));
    assert_false(has_pack(files, "staging/", 3));
    assert_true(has_pack(files, "staging/orphans/1000-", 3));
    assert_false(has(files, "staging/01000000-0000-0000-0000-000000000000.pack.tmp"));

    assert_ok(recovery_sweep_staging(files, txn, &instance, 2000 * USEC_SECOND, &report, error)); /* nothing is left to do */
    assert_true(report.temporary_removed == 0 && report.orphans == 0);
    txn_abort(txn);
    files_free(files);
    fixture_deinit(&fixture);
}

/* With a million packs retained one of their records may be damaged: that is no reason to leave
 * unknown packs and half-written ones. */
static void test_sweep_beside_a_damaged_record(void **state) {
    Fixture fixture;
    RecoveryReport report;
    fixture_init(&fixture, 1 << 20);
    Files *files = new_staging(NULL, NULL);
    Txn *txn = fixture_write(&fixture);
    for (uint64_t id = 1; id <= 3; id++) assert_ok(ledger_add_pack(txn, &(PackRecord){.id = fixture_id(id), .bytes = 7}, error));
    fixture_commit(txn);
    Uuid damaged = fixture_id(2);
    LedgerKey key = ledger_id_key(LEDGER_PACK, &damaged);
    fixture_flip(&fixture, DB_FILES, ledger_key_span(&key), 20);
    for (uint64_t id = 1; id <= 4; id++) put_pack(files, id);

    txn = fixture_read(&fixture);
    assert_ok(recovery_sweep_staging(files, txn, &instance, 1000 * USEC_SECOND, &report, error));
    txn_abort(txn);
    assert_int_equal(report.orphans, 1);
    for (uint64_t id = 1; id <= 3; id++) assert_true(has_pack(files, "staging/", id));
    assert_true(has_pack(files, "staging/orphans/1000-", 4));
    files_free(files);
    fixture_deinit(&fixture);
}

static void review(Fixture *fixture, Files *files, usec_t running, const CopiesKept *kept) {
    Copies copies;
    Txn *txn = fixture_read(fixture);
    assert_ok(copies_review(files, txn, running, kept, &copies, error));
    txn_abort(txn);
    txn = fixture_write(fixture);
    assert_ok(copies_record(txn, &copies, running, error));
    fixture_commit(txn);
    copies_remove(files, &copies);
    copies_deinit(&copies);
}

/* How long a copy lies there by running time: neither its name nor its modification time count. */
static void test_copies_go_after_their_time(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 1 << 20);
    Files *files = memory_files_new(NULL, NULL);
    CopiesKept kept = {.orphans = 7 * USEC_DAY, .expired = 30 * USEC_DAY};
    review(&fixture, files, 0, &kept); /* no such folder yet */
    files_free(files);
    files = new_staging(NULL, NULL);
    assert_ok(files->make_directory(files, "staging/orphans", 0700, error));
    put_file(files, "staging/orphans/1000-00000000-0000-0000-0000-000000000000.pack");
    put_file(files, "staging/expired/01901234-0000-0000-0000-000000000000.slices");
    put_file(files, "staging/expired/x.slices.tmp"); /* being written */
    usec_t start = 100 * USEC_DAY;
    review(&fixture, files, start, &kept); /* seen for the first time */
    Txn *txn = fixture_write(&fixture);
    put_file(files, "staging/expired/noted.slices");
    assert_ok(copies_note(txn, "staging/expired/noted.slices", start + USEC_DAY, 5, error));
    fixture_commit(txn);
    review(&fixture, files, start + 7 * USEC_DAY - 1, &kept);
    assert_true(has(files, "staging/orphans/1000-00000000-0000-0000-0000-000000000000.pack"));
    review(&fixture, files, start + 7 * USEC_DAY, &(CopiesKept){0}); /* for ever */
    assert_true(has(files, "staging/orphans/1000-00000000-0000-0000-0000-000000000000.pack"));
    review(&fixture, files, start + 7 * USEC_DAY, &kept);
    assert_false(has(files, "staging/orphans/1000-00000000-0000-0000-0000-000000000000.pack"));
    assert_true(has(files, "staging/expired/01901234-0000-0000-0000-000000000000.slices"));
    review(&fixture, files, start + 30 * USEC_DAY, &kept);
    assert_false(has(files, "staging/expired/01901234-0000-0000-0000-000000000000.slices"));
    assert_true(has(files, "staging/expired/noted.slices"));

    /* One that is taken away and put back begins anew. */
    assert_ok(files->rename(files, "staging/expired/noted.slices", "staging/away", error));
    review(&fixture, files, start + 30 * USEC_DAY, &kept);
    assert_ok(files->rename(files, "staging/away", "staging/expired/noted.slices", error));
    review(&fixture, files, start + 40 * USEC_DAY, &kept);
    review(&fixture, files, start + 69 * USEC_DAY, &kept);
    assert_true(has(files, "staging/expired/noted.slices"));
    review(&fixture, files, start + 70 * USEC_DAY, &kept);
    assert_false(has(files, "staging/expired/noted.slices"));
    assert_true(has(files, "staging/expired/x.slices.tmp"));

    /* A start ends what a crash left half written. */
    RecoveryReport report;
    txn = fixture_read(&fixture);
    assert_ok(recovery_sweep_staging(files, txn, &instance, 0, &report, error));
    txn_abort(txn);
    assert_int_equal(report.temporary_removed, 1);
    assert_false(has(files, "staging/expired/x.slices.tmp"));
    files_free(files);
    fixture_deinit(&fixture);
}

/* A sweep that fails or is cut off by a crash loses no pack, and the next one does what is left. */
static void test_fail_the_nth_call(void **state) {
    Fixture fixture;
    Random random = {.state = 4};
    RecoveryReport report;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_read(&fixture);
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        assert_true(nth < 50);
        Files *files = new_staging(&random, NULL);
        for (uint64_t id = 1; id <= 3; id++) put_pack(files, id);
        assert_ok(files->sync_directory(files, "staging", error));
        memory_files_fail(files, nth, EIO, false);
        done = recovery_sweep_staging(files, txn, &instance, 1000 * USEC_SECOND, &report, NULL) == 0;
        memory_files_fail(files, 0, 0, false);
        memory_files_crash(files);
        assert_ok(recovery_sweep_staging(files, txn, &instance, 1000 * USEC_SECOND, &report, error));
        for (uint64_t id = 1; id <= 3; id++) assert_true(has_pack(files, "staging/orphans/1000-", id));
        files_free(files);
    }
    txn_abort(txn);
    fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_sweep_beside_a_damaged_record),
        cmocka_unit_test(test_copies_go_after_their_time),
        cmocka_unit_test(test_fail_the_nth_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
