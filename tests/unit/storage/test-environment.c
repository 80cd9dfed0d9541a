#include "tests/unit/storage/fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/failpoint.h"

static void test_commit_abort_reopen(void **state) {
    Fixture fixture;
    Span value;
    fixture_init(&fixture, 1 << 20);
    assert_true(environment_is_new(fixture.environment));

    Txn *txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_CATALOG, SPAN("kept"), SPAN("1"), error));
    fixture_commit(txn);
    txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_CATALOG, SPAN("lost"), SPAN("2"), error));
    txn_abort(txn);
    txn_abort(NULL);

    fixture_reopen(&fixture);
    assert_false(environment_is_new(fixture.environment));
    txn = fixture_read(&fixture);
    assert_ok(db_get(txn, DB_CATALOG, SPAN("kept"), &value, error));
    assert_true(span_equal(value, SPAN("1")));
    assert_int_equal(db_get(txn, DB_CATALOG, SPAN("lost"), &value, NULL), DB_NOT_FOUND);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* One thread may read twice while it writes, as the simulation does. */
static void test_transactions_beside_each_other(void **state) {
    Fixture fixture;
    Span value;
    fixture_init(&fixture, 1 << 20);
    Txn *before = fixture_read(&fixture);
    Txn *write = fixture_write(&fixture);
    assert_ok(db_put(write, DB_CATALOG, SPAN("k"), SPAN("v"), error));
    fixture_commit(write);
    Txn *after = fixture_read(&fixture);
    assert_int_equal(db_get(before, DB_CATALOG, SPAN("k"), &value, NULL), DB_NOT_FOUND);
    assert_ok(db_get(after, DB_CATALOG, SPAN("k"), &value, error));
    fixture_commit(before);
    txn_abort(after);
    fixture_deinit(&fixture);
}

static void *read_many(void *context) {
    Fixture *fixture = context;
    Txn *txns[16];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 16; i++) check(txn_begin_read(fixture->environment, &txns[i], NULL) == 0);
        for (int i = 0; i < 16; i++) txn_abort(txns[i]);
    }
    return NULL;
}

/* Threads that come and go leave no reader slot behind. */
static void test_readers_of_many_threads(void **state) {
    Fixture fixture;
    pthread_t threads[8];
    fixture_init(&fixture, 1 << 20);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_many, &fixture), 0);
        for (int i = 0; i < 8; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    Txn *txns[512];
    size_t count = 0;
    while (count < 512 && txn_begin_read(fixture.environment, &txns[count], NULL) == 0) count++;
    assert_true(count >= 500);
    for (size_t i = 0; i < count; i++) txn_abort(txns[i]);
    fixture_deinit(&fixture);
}

/* A map that is smaller than what is used: there is room to delete, and to write what has to be
 * written for that. */
static void test_the_map_holds_what_is_used_and_a_reserve(void **state) {
    static char block[64 << 10];
    Fixture fixture;
    uint64_t used, map, key = 0;
    fixture_init(&fixture, 8 << 20);
    for (; key < 80; key++) {
        Txn *txn = fixture_write(&fixture);
        assert_ok(db_put(txn, DB_LOG, (Span){.data = (char *)&key, .size = 8}, (Span){.data = block, .size = sizeof block}, error));
        fixture_commit(txn);
    }
    environment_close(fixture.environment);
    EnvironmentOptions options = {.path = fixture.path, .map_bytes = 1 << 20, .reserve_bytes = 2 << 20, .no_sync = true};
    for (int round = 0; round < 2; round++) {
        assert_ok(environment_open(&options, &fixture.environment, error));
        environment_usage(fixture.environment, &used, &map);
        assert_in_range(map, used + (2 << 20), used + (3 << 20));
        Txn *txn = fixture_write(&fixture);
        assert_ok(db_put(txn, DB_CATALOG, SPAN("more"), (Span){.data = block, .size = sizeof block}, error));
        fixture_commit(txn);
        environment_close(fixture.environment);
    }
    assert_ok(environment_open(&options, &fixture.environment, error));
    for (uint64_t i = 0; i < key; i++) {
        Txn *txn = fixture_write(&fixture);
        assert_ok(db_remove(txn, DB_LOG, (Span){.data = (char *)&i, .size = 8}, error));
        fixture_commit(txn);
    }
    environment_usage(fixture.environment, &used, &map);
    assert_in_range(used, 1, 256 << 10);
    fixture_deinit(&fixture);
}

static void test_map_full_leaves_it_usable(void **state) {
    static char block[64 << 10];
    Fixture fixture;
    uint64_t used, map, key = 0;
    fixture_init(&fixture, 1 << 20);
    for (;; key++) {
        Txn *txn = fixture_write(&fixture);
        Error error = {0};
        int result = db_put(txn, DB_LOG, (Span){.data = (char *)&key, .size = 8}, (Span){.data = block, .size = sizeof block}, &error);
        if (result < 0) {
            assert_int_equal(result, -ENOSPC);
            txn_abort(txn);
            break;
        }
        fixture_commit(txn);
        environment_usage(fixture.environment, &used, &map);
        assert_int_equal(map, 1 << 20);
        assert_in_range(used, (key + 1) * sizeof block, map);
    }
    assert_true(key > 8);
    assert_false(environment_is_broken(fixture.environment));

    /* What is deleted can be written again, and is no longer counted. */
    for (uint64_t i = 0; i < key; i++) {
        Txn *txn = fixture_write(&fixture);
        assert_ok(db_remove(txn, DB_LOG, (Span){.data = (char *)&i, .size = 8}, error));
        fixture_commit(txn);
    }
    environment_usage(fixture.environment, &used, &map);
    assert_in_range(used, 1, 256 << 10);
    Txn *txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_LOG, SPAN("again"), (Span){.data = block, .size = sizeof block}, error));
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

static void test_usage_survives_reopen(void **state) {
    Fixture fixture;
    uint64_t before, after, map;
    static char block[100000];
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_REJECTS, SPAN("k"), (Span){.data = block, .size = sizeof block}, error));
    fixture_commit(txn);
    environment_usage(fixture.environment, &before, &map);
    fixture_reopen(&fixture);
    environment_usage(fixture.environment, &after, &map);
    /* The free list of the last commit is only seen afterwards. */
    assert_in_range(after, before, before + 2 * 4096);
    assert_int_equal(map, 4 << 20);
    fixture_deinit(&fixture);
}

static void check_failed_commit(const char *failpoint, int expected_value) {
    Fixture fixture;
    Span value;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_CATALOG, SPAN("k"), SPAN("v"), error));
    assert_ok(failpoint_set(failpoint, error));
    assert_fails(txn_commit(txn, error), -EIO);
    failpoint_clear();
    assert_true(environment_is_broken(fixture.environment));
    assert_fails(txn_begin_write(fixture.environment, &txn, error), -EROFS);

    txn = fixture_read(&fixture); /* reading goes on */
    assert_int_equal(db_get(txn, DB_CATALOG, SPAN("k"), &value, NULL), expected_value);
    txn_abort(txn);
    fixture_reopen(&fixture);
    assert_false(environment_is_broken(fixture.environment));
    txn_abort(fixture_write(&fixture));
    fixture_deinit(&fixture);
}

static void test_failed_commit_breaks_it(void **state) {
    check_failed_commit("storage.before-commit=error", DB_NOT_FOUND);
    check_failed_commit("storage.after-commit=error", 0);
}

/* Pages that the kernel refuses to take, in the middle of a commit: what was committed before
 * stands. */
static void test_failed_write_breaks_it(void **state) {
    Fixture fixture;
    Span value;
    struct rlimit usual, small;
    static char block[1 << 20];
    fixture_init(&fixture, 16 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_CATALOG, SPAN("before"), SPAN("1"), error));
    fixture_commit(txn);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    small = usual;
    small.rlim_cur = 256 << 10;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_CATALOG, SPAN("large"), (Span){.data = block, .size = sizeof block}, error));
    int result = txn_commit(txn, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &usual), 0);
    (void)signal(SIGXFSZ, handler);
    assert_true(result < 0);
    assert_true(environment_is_broken(fixture.environment));
    assert_fails(txn_begin_write(fixture.environment, &txn, error), -EROFS);

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ok(db_get(txn, DB_CATALOG, SPAN("before"), &value, error));
    assert_int_equal(db_get(txn, DB_CATALOG, SPAN("large"), &value, NULL), DB_NOT_FOUND);
    assert_ok(db_put(txn, DB_CATALOG, SPAN("large"), (Span){.data = block, .size = sizeof block}, error));
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

static void test_not_an_environment(void **state) {
    Fixture fixture;
    char data[300];
    Environment *environment;
    fixture_init(&fixture, 1 << 20);
    environment_close(fixture.environment);
    (void)snprintf(data, sizeof data, "%s/data.mdb", fixture.path);
    int fd = open(data, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    char junk[16384];
    memset(junk, 0x5a, sizeof junk);
    assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
    assert_int_equal(close(fd), 0);
    EnvironmentOptions options = {.path = fixture.path, .map_bytes = 1 << 20};
    assert_fails(environment_open(&options, &environment, error), -EILSEQ);

    options.path = data; /* a file, not a folder */
    assert_fails(environment_open(&options, &environment, error), -ENOTDIR);
    char missing[300];
    (void)snprintf(missing, sizeof missing, "%s/no/such", fixture.folder);
    options.path = missing;
    assert_fails(environment_open(&options, &environment, error), -ENOENT);
    fixture_remove_folder(fixture.folder);
}

static void test_map_size_is_kept_when_not_given(void **state) {
    Fixture fixture;
    uint64_t used, map;
    fixture_init(&fixture, (3 << 20) + 1);
    environment_usage(fixture.environment, &used, &map);
    assert_int_equal(map, (3 << 20) + 4096); /* whole pages */
    Txn *txn = fixture_write(&fixture);
    assert_ok(db_put(txn, DB_CATALOG, SPAN("k"), SPAN("v"), error));
    fixture_commit(txn);
    fixture.map_bytes = 0;
    fixture_reopen(&fixture);
    environment_usage(fixture.environment, &used, &map);
    assert_int_equal(map, (3 << 20) + 4096);
    fixture_deinit(&fixture);
}

/* Blocks are there before they are needed, as far as the map goes, and the file is as long as it
 * was. */
static void test_blocks_are_reserved(void **state) {
    char folder[] = "/tmp/reserve-XXXXXX", path[64], command[80];
    struct stat before, after;
    Environment *environment;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/data.mdb", folder);
    EnvironmentOptions options = {.path = folder, .map_bytes = 24u << 20};
    assert_ok(environment_open(&options, &environment, error));
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(environment_reserve(environment, 10u << 20), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_true((uint64_t)after.st_blocks * 512 >= (10u << 20));
    assert_int_equal(environment_reserve(environment, UINT64_MAX), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_true((uint64_t)after.st_blocks * 512 >= (24u << 20));
    assert_true((uint64_t)after.st_blocks * 512 <= (25u << 20));
    environment_close(environment);
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void data_file(const Fixture *fixture, char path[static 300]) {
    (void)snprintf(path, 300, "%s/data.mdb", fixture->path);
}

static void put_number(Fixture *fixture, unsigned from, unsigned to, bool put) {
    static const char value[3000] = "x";
    Txn *txn = fixture_write(fixture);
    for (unsigned i = from; i < to; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%06u", i);
        if (put)
            assert_ok(db_put(txn, DB_CATALOG, span_of(key), (Span){.data = value, .size = sizeof value}, error));
        else
            assert_ok(db_remove(txn, DB_CATALOG, span_of(key), error));
    }
    fixture_commit(txn);
}

/* Opening it would be SIGBUS at the first read of a page that is not there. */
static void test_a_file_that_is_cut_off_is_refused(void **state) {
    Fixture fixture;
    char path[300];
    struct stat status;
    Environment *environment;
    fixture_init(&fixture, 8 << 20);
    data_file(&fixture, path);
    put_number(&fixture, 0, 300, true);
    environment_close(fixture.environment);
    EnvironmentOptions options = {.path = fixture.path, .no_sync = true};
    assert_int_equal(stat(path, &status), 0);
    for (off_t size = status.st_size - 4096; size >= 4096 * 3; size = size * 3 / 4 / 4096 * 4096) {
        Error error = {0};
        assert_int_equal(truncate(path, size), 0);
        assert_int_equal(environment_open(&options, &environment, &error), -EILSEQ);
        assert_non_null(strstr(error.text, "data.mdb\" is cut off"));
    }
    fixture_remove_folder(fixture.folder);
}

static void test_free_pages_at_the_end_may_be_missing(void **state) {
    Fixture fixture;
    char path[300];
    struct stat status;
    fixture_init(&fixture, 8 << 20);
    data_file(&fixture, path);
    put_number(&fixture, 0, 50, true);
    put_number(&fixture, 50, 300, true);
    for (unsigned i = 300; i > 50; i -= 10) put_number(&fixture, i - 10, i, false);
    environment_close(fixture.environment);
    assert_int_equal(stat(path, &status), 0);
    /* As far as the pages are free: found by trying, with a copy of what is there. */
    bool opened = false;
    EnvironmentOptions options = {.path = fixture.path, .no_sync = true};
    assert_int_equal(truncate(path, status.st_size - 4096), 0);
    if (environment_open(&options, &fixture.environment, NULL) == 0) {
        opened = true;
        put_number(&fixture, 400, 500, true);
        Txn *txn = fixture_read(&fixture);
        Span value;
        assert_ok(db_get(txn, DB_CATALOG, SPAN("000049"), &value, error));
        assert_ok(db_get(txn, DB_CATALOG, SPAN("000499"), &value, error));
        txn_abort(txn);
        environment_close(fixture.environment);
    }
    assert_true(opened);
    fixture_remove_folder(fixture.folder);
}

/* Does the kernel read the map page by page? */
static bool reads_scattered(const char *path) {
    char line[1024];
    bool here = false, found = false, scattered = false;
    FILE *maps = fopen("/proc/self/smaps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        if (strstr(line, "/data.mdb")) here = strstr(line, path) != NULL;
        if (!here || strncmp(line, "VmFlags:", 8) != 0) continue;
        found = true;
        scattered = strstr(line, " rr") != NULL;
        here = false;
    }
    (void)fclose(maps);
    assert_true(found);
    return scattered;
}

static void test_reads_of_scattered_pages(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_read(&fixture); /* it may be said while somebody reads */
    assert_false(reads_scattered(fixture.path));
    environment_reads(fixture.environment, true);
    assert_true(reads_scattered(fixture.path));
    environment_reads(fixture.environment, false);
    assert_false(reads_scattered(fixture.path));
    txn_abort(txn);
    fixture_deinit(&fixture);
}

static void *write_elsewhere(void *context) {
    (void)db_put(context, DB_CATALOG, SPAN("key"), SPAN("value"), NULL);
    return NULL;
}

static void write_on_another_thread(Fixture *fixture) {
    pthread_t thread;
    (void)pthread_create(&thread, NULL, write_elsewhere, fixture_write(fixture));
    (void)pthread_join(thread, NULL);
}

static void write_in_a_reader(Fixture *fixture) {
    (void)db_put(fixture_read(fixture), DB_CATALOG, SPAN("key"), SPAN("value"), NULL);
}

static void begin_twice(Fixture *fixture) {
    (void)fixture_write(fixture);
    (void)fixture_write(fixture);
}

static void abort_then_write(Fixture *fixture) {
    Txn *txn = fixture_write(fixture);
    txn_abort(txn);
    (void)db_put(txn, DB_CATALOG, SPAN("key"), SPAN("value"), NULL);
}

/* Each is a bug of the program, which ends at once instead of writing something of which nobody
 * knows what it is. */
static void test_who_writes_has_the_write_transaction(void **state) {
    static void (*const wrong[])(Fixture * fixture) = {write_on_another_thread, write_in_a_reader, begin_twice, abort_then_write};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Fixture fixture;
        int status;
        fixture_init(&fixture, 1 << 20);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)signal(SIGABRT, SIG_DFL);
            (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
            wrong[i](&fixture);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        fixture_deinit(&fixture);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit_abort_reopen),
        cmocka_unit_test(test_transactions_beside_each_other),
        cmocka_unit_test(test_readers_of_many_threads),
        cmocka_unit_test(test_the_map_holds_what_is_used_and_a_reserve),
        cmocka_unit_test(test_map_full_leaves_it_usable),
        cmocka_unit_test(test_usage_survives_reopen),
        cmocka_unit_test(test_failed_commit_breaks_it),
        cmocka_unit_test(test_failed_write_breaks_it),
        cmocka_unit_test(test_not_an_environment),
        cmocka_unit_test(test_map_size_is_kept_when_not_given),
        cmocka_unit_test(test_blocks_are_reserved),
        cmocka_unit_test(test_a_file_that_is_cut_off_is_refused),
        cmocka_unit_test(test_free_pages_at_the_end_may_be_missing),
        cmocka_unit_test(test_reads_of_scattered_pages),
        cmocka_unit_test(test_who_writes_has_the_write_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
