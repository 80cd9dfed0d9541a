/*
 * The SQLite driver on a disk that fails: each write and each sync of an import in turn. What a
 * crash would leave is looked at in a copy of database and write-ahead log without the shared
 * memory, which the next process would make from them.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/sinks/sqlite-case.h"

/* ---- a file system that fails ---- */

typedef enum Call { CALL_WRITE, CALL_SYNC, CALL_COUNT } Call;

static struct {
    uint64_t calls[CALL_COUNT];
    uint64_t fail_at[CALL_COUNT]; /* this one (from 1) fails; 0: none */
    int code;
    uint64_t failed;
} disk;

/* A file of ours, with the real one behind it. */
typedef struct ShimFile {
    sqlite3_file file;
    sqlite3_file *real;
} ShimFile;

static sqlite3_vfs *real_vfs;

static sqlite3_file *real_of(sqlite3_file *file) {
    return ((ShimFile *)(void *)file)->real;
}

static bool fails(Call call) {
    disk.calls[call]++;
    bool now = disk.calls[call] == disk.fail_at[call];
    disk.failed += now;
    return now;
}

static int shim_close(sqlite3_file *file) {
    sqlite3_file *real = real_of(file);
    int r = real->pMethods->xClose(real);
    sqlite3_free(real);
    return r;
}

static int shim_read(sqlite3_file *file, void *data, int size, sqlite3_int64 offset) {
    return real_of(file)->pMethods->xRead(real_of(file), data, size, offset);
}

static int shim_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 offset) {
    if (fails(CALL_WRITE)) return disk.code;
    return real_of(file)->pMethods->xWrite(real_of(file), data, size, offset);
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size) {
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

/* What was written stays in the file, as in the page cache of a kernel whose disk said no. */
static int shim_sync(sqlite3_file *file, int flags) {
    if (fails(CALL_SYNC)) return SQLITE_IOERR_FSYNC;
    return real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *ret_size) {
    return real_of(file)->pMethods->xFileSize(real_of(file), ret_size);
}

static int shim_lock(sqlite3_file *file, int level) {
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int shim_unlock(sqlite3_file *file, int level) {
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int shim_reserved(sqlite3_file *file, int *ret_reserved) {
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret_reserved);
}

static int shim_control(sqlite3_file *file, int what, void *argument) {
    return real_of(file)->pMethods->xFileControl(real_of(file), what, argument);
}

static int shim_sector(sqlite3_file *file) {
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int shim_device(sqlite3_file *file) {
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int shim_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret_page) {
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, ret_page);
}

static int shim_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}

static void shim_barrier(sqlite3_file *file) {
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int shim_unmap(sqlite3_file *file, int remove) {
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_device,
    .xShmMap = shim_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_barrier,
    .xShmUnmap = shim_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags) {
    ShimFile *shim = (ShimFile *)(void *)file;
    *shim = (ShimFile){.real = sqlite3_malloc(real_vfs->szOsFile)};
    check(shim->real);
    int r = real_vfs->xOpen(real_vfs, name, shim->real, flags, ret_flags);
    if (r == SQLITE_OK)
        shim->file.pMethods = &shim_methods;
    else
        sqlite3_free(shim->real);
    return r;
}

static sqlite3_vfs shim_vfs;

static int use_shim(void **state) {
    real_vfs = sqlite3_vfs_find(NULL);
    shim_vfs = *real_vfs;
    shim_vfs.zName = "shim";
    shim_vfs.szOsFile = sizeof(ShimFile);
    shim_vfs.xOpen = shim_open;
    shim_vfs.pNext = NULL;
    return sqlite3_vfs_register(&shim_vfs, 1) == SQLITE_OK ? 0 : -1;
}

static int leave_shim(void **state) {
    return sqlite3_vfs_unregister(&shim_vfs) == SQLITE_OK ? 0 : -1;
}

static void disk_fails(Call call, uint64_t from_now, int code) {
    disk.fail_at[call] = disk.calls[call] + from_now;
    disk.code = code;
    disk.failed = 0;
}

static void disk_works(void) {
    disk.fail_at[CALL_WRITE] = disk.fail_at[CALL_SYNC] = 0;
}

/* ---- what a crash now would leave ---- */

static void copy(const char *suffix) {
    char from[128], to[128], block[4096];
    (void)snprintf(from, sizeof from, "%s/tables.db%s", directory, suffix);
    (void)snprintf(to, sizeof to, "%s/crash.db%s", directory, suffix);
    FILE *in = fopen(from, "re"), *out = fopen(to, "we");
    assert_non_null(out);
    for (size_t n; in && (n = fread(block, 1, sizeof block, in)) > 0;) assert_int_equal(fwrite(block, 1, n, out), n);
    if (in) (void)fclose(in);
    (void)fclose(out);
}

static int count_in(sqlite3 *database, const char *query) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(database, query, -1, &statement, NULL) != SQLITE_OK) fail_msg("%s: %s", query, sqlite3_errmsg(database));
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int count = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    return count;
}

/* Rows of the table t after a crash; there must be all of them with the file's id, or neither. */
static int rows_after_crash(int all) {
    char path[128];
    sqlite3 *database = NULL;
    copy("");
    copy("-wal");
    (void)snprintf(path, sizeof path, "%s/crash.db", directory);
    assert_int_equal(sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, real_vfs->zName), SQLITE_OK);
    int rows = count_in(database, "SELECT count(*) FROM t"), files = count_in(database, "SELECT count(*) FROM _sluice_files");
    (void)sqlite3_close(database);
    assert_int_equal(rows, files * all);
    assert_true(files <= 1);
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/crash.db%s", directory, suffixes[i]);
        (void)remove(path);
    }
    return rows;
}

/* ---- the tests ---- */

#define ROWS 3000

static void add_rows(SinkCase *box) {
    char text[32];
    for (int i = 0; i < ROWS; i++) {
        (void)snprintf(text, sizeof text, "row %d", i);
        ADD(&box->rows[0], text);
    }
}

/*
 * A COMMIT whose sync fails has written all of its frames: this process does not see them, and the
 * next one would. A later try that finds the id absent proves it only when the frames are gone:
 * else the parts that the file is divided into would be rows that come twice.
 */
static void absence_is_proven_for_good(void **state) {
    SESSION;
    CASE("t", "v:text", 1);
    prepare(session, &box);
    add_rows(&box);
    disk_fails(CALL_SYNC, 1, 0);
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_UNREACHABLE);
    assert_int_equal(disk.failed, 1);
    assert_false(box.job.proven_absent);
    assert_int_equal(rows_after_crash(ROWS), ROWS); /* the danger is real */

    box.interrupt_at = 2000;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_true(box.job.proven_absent);
    assert_int_equal(rows_after_crash(ROWS), 0);

    box.interrupt_at = 0;
    import(session, &box);
    assert_rows("SELECT count(*) FROM t", "3000");
    assert_int_equal(rows_after_crash(ROWS), ROWS);
}

/* A disk that takes nothing can prove nothing. */
static void absence_is_not_proven_by_a_failing_disk(void **state) {
    SESSION;
    CASE("t", "v:text", 1);
    prepare(session, &box);
    add_rows(&box);
    box.interrupt_at = 2000;
    for (Call call = CALL_WRITE; call < CALL_COUNT; call++) {
        disk_fails(call, 1, SQLITE_FULL);
        assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
        assert_non_null(strstr(error.text, "interrupted"));
        assert_int_equal(disk.failed, 1);
        disk_works();
        assert_false(box.job.proven_absent);
        assert_int_equal(rows_after_crash(ROWS), 0);
    }
}

/* Each write and each sync in turn; after the failure the process goes on, or ends. */
static void no_failing_call_loses_or_doubles_a_row(void **state) {
    static const struct {
        Call call;
        int code;
    } faults[] = {{CALL_WRITE, SQLITE_FULL}, {CALL_WRITE, SQLITE_IOERR_WRITE}, {CALL_SYNC, SQLITE_IOERR_FSYNC}};
    unsigned failures = 0;
    for (size_t fault = 0; fault < sizeof faults / sizeof faults[0]; fault++) {
        bool went_through = false;
        for (uint64_t call = 1; !went_through; call++) {
            {
                SESSION;
                CASE("t", "v:text", 1);
                prepare(session, &box);
                for (int i = 0; i < 40; i++) ADD(&box.rows[0], "a row");
                disk_fails(faults[fault].call, call, faults[fault].code);
                SinkResult result = driver->import(session, sink_case_job(&box), &error);
                bool failed = disk.failed > 0;
                disk_works();
                went_through = !failed;
                failures += failed && result != SINK_DONE;
                int rows = rows_after_crash(40);
                if (result == SINK_DONE) assert_int_equal(rows, 40);
                import(session, &box);
                assert_rows("SELECT count(*) FROM t", "40");
                assert_int_equal(rows_after_crash(40), 40);
            }
            assert_int_equal(remove_directory(state), 0);
            assert_int_equal(make_directory(state), 0);
        }
    }
    assert_true(failures >= 4);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        TEST(absence_is_proven_for_good),
        TEST(absence_is_not_proven_by_a_failing_disk),
        TEST(no_failing_call_loses_or_doubles_a_row),
    };
    return cmocka_run_group_tests(tests, use_shim, leave_shim);
}
