#include "tests/unit/storage/fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/catalog.h"
#include "storage/data_directory.h"
#include "storage/ledger.h"
#include "storage/pack.h"

static void path_in(char out[static 512], const char *folder, const char *name) {
    int size = snprintf(out, 512, "%s/%s", folder, name);
    assert_in_range(size, 1, 511);
}

static void put(const char *folder, const char *name, const char *text) {
    char path[512];
    path_in(path, folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void copy_format(const char *folder, char text[static 400]) {
    char path[512];
    path_in(path, folder, "format");
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t size = read(fd, text, 399);
    assert_true(size > 0);
    text[size] = '\0';
    assert_int_equal(close(fd), 0);
}

static void assert_refused(const char *path, int code, const char *words) {
    DataDirectory directory;
    Error error = {0};
    int result = data_directory_open(path, &directory, &error);
    if (result == 0) data_directory_close(&directory);
    assert_int_equal(result, code);
    if (!strstr(error.text, words)) fail_msg("\"%s\" does not say \"%s\"", error.text, words);
}

static Uuid open_and_close(const char *path, bool is_new) {
    DataDirectory directory;
    assert_ok(data_directory_open(path, &directory, error));
    assert_int_equal(directory.is_new, is_new);
    Uuid instance = directory.instance;
    assert_false(uuid_is_nil(&instance));
    data_directory_close(&directory);
    return instance;
}

static void test_first_and_later_starts(void **state) {
    char folder[256], path[512], inside[512];
    struct stat status;
    DataDirectory directory;
    fixture_make_folder(folder);
    path_in(path, folder, "some/where/data");
    Uuid first = open_and_close(path, true);
    Uuid second = open_and_close(path, false);
    assert_true(uuid_equal(&first, &second));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    path_in(inside, path, "staging/orphans");
    assert_int_equal(stat(inside, &status), 0);

    /* By a relative path; and the environment can be opened beside. */
    char old[400];
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(folder), 0);
    assert_ok(data_directory_open("some/where/data", &directory, error));
    assert_int_equal(chdir(old), 0);
    assert_string_equal(directory.path, path);
    path_in(inside, path, "sluice.mdb");
    Environment *environment;
    assert_ok(environment_open(&(EnvironmentOptions){.path = inside, .map_bytes = 1 << 20}, &environment, error));
    environment_close(environment);

    /* Taken: by this process, and seen from another one. */
    char pid[32];
    (void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_refused(path, -EBUSY, pid);
    data_directory_close(&directory);
    (void)open_and_close(path, false);
    fixture_remove_folder(folder);
}

static void test_lock_ends_with_its_process(void **state) {
    char folder[256];
    int ready[2], status;
    fixture_make_folder(folder);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        DataDirectory directory;
        char byte = data_directory_open(folder, &directory, NULL) == 0;
        if (write(ready[1], &byte, 1) != 1) _exit(1);
        for (;;) (void)pause();
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    char words[40];
    (void)snprintf(words, sizeof words, "process %ld", (long)child);
    assert_refused(folder, -EBUSY, words);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)open_and_close(folder, false);
    (void)close(ready[0]);
    (void)close(ready[1]);
    fixture_remove_folder(folder);
}

static void test_lock_without_its_file(void **state) {
    char folder[256], lock[512];
    DataDirectory directory;
    fixture_make_folder(folder);
    path_in(lock, folder, "lock");
    for (int i = 0; i < 2; i++) { /* a new environment, and one that was there */
        assert_int_equal(data_directory_open(folder, &directory, NULL), 0);
        assert_int_equal(unlink(lock), 0);
        assert_refused(folder, -EBUSY, "in use by another process");
        data_directory_close(&directory);
    }
    (void)open_and_close(folder, false);
    fixture_remove_folder(folder);
}

static ino_t synced[64]; /* inodes, by fsync */
static size_t synced_count;

/* In the place of libc's, which knows nothing of tests. */
int fsync(int fd) {
    struct stat info;
    if (fstat(fd, &info) == 0 && synced_count < sizeof synced / sizeof *synced) synced[synced_count++] = info.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

static bool was_synced(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    for (size_t i = 0; i < synced_count; i++)
        if (synced[i] == info.st_ino) return true;
    return false;
}

/* A start that died between making a folder and syncing its parent. */
static void test_parents_are_synced_though_the_folders_exist(void **state) {
    char folder[256], path[512], middle[512], environment[512];
    fixture_make_folder(folder);
    path_in(middle, folder, "middle");
    path_in(path, folder, "middle/data");
    path_in(environment, folder, "middle/data/sluice.mdb");
    assert_int_equal(mkdir(middle, 0700), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(mkdir(environment, 0700), 0);
    synced_count = 0;
    (void)open_and_close(path, true);
    assert_true(was_synced(folder));
    assert_true(was_synced(middle));
    assert_true(was_synced(path));
    fixture_remove_folder(folder);
}

static void test_format_numbers(void **state) {
    char folder[256], format[400], again[400];
    fixture_make_folder(folder);
    Uuid instance = open_and_close(folder, true), same;
    copy_format(folder, format);
    assert_non_null(strstr(format, "{\"format\":4,\"instance\":\""));

    put(folder, "format", "{\"format\":5,\"instance\":\"?\",\"program\":\"9.9\"}");
    assert_refused(folder, -EPROTO, "format 5, written by version 9.9");
    static const char *const damaged[] = {"",
                                          "{",
                                          "[]",
                                          "{\"format\":0,\"instance\":\"x\",\"program\":\"1\"}",
                                          "{\"format\":1,\"instance\":\"x\",\"program\":\"1\"}",
                                          "{\"format\":\"1\",\"program\":\"1\"}"};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        put(folder, "format", damaged[i]);
        assert_refused(folder, -EBADMSG, "format\" is damaged");
    }
    char path[512];
    path_in(path, folder, "format");
    assert_int_equal(unlink(path), 0);
    assert_refused(folder, -EILSEQ, "no file \"format\"");

    /* Written by an older program: the file says who wrote here last. */
    char older[400], id[UUID_TEXT_SIZE + 1] = "";
    uuid_format(&instance, id);
    (void)snprintf(older, sizeof older, "{\"format\":1,\"instance\":\"%s\",\"program\":\"0.0.1\"}", id);
    put(folder, "format", older);
    same = open_and_close(folder, false);
    assert_true(uuid_equal(&instance, &same));
    copy_format(folder, again);
    assert_string_equal(again, format);
    /* Of each format before, by the very same program: the number goes up before anything else is
     * written. */
    for (int number = 1; number < DATA_FORMAT; number++) {
        (void)strcpy(older, format);
        older[strlen("{\"format\":")] = (char)('0' + number);
        put(folder, "format", older);
        (void)open_and_close(folder, false);
        copy_format(folder, again);
        assert_string_equal(again, format);
    }
    fixture_remove_folder(folder);
}

static void move(const char *folder, const char *from, const char *to) {
    char from_path[512], to_path[512];
    path_in(from_path, folder, from);
    path_in(to_path, folder, to);
    assert_int_equal(rename(from_path, to_path), 0);
}

static void test_environment_and_staging_must_match(void **state) {
    static const char pack[] = "data/staging/01901234-0000-7000-8000-000000000000.pack";
    char folder[256], path[512], other[512];
    fixture_make_folder(folder);
    path_in(path, folder, "data");
    path_in(other, folder, "other");
    Uuid first = open_and_close(path, true), second = open_and_close(other, true);
    put(folder, pack, "x");
    (void)open_and_close(path, false);

    move(folder, "data/sluice.mdb", "kept");
    assert_refused(path, -EILSEQ, "sluice.mdb is missing");
    move(folder, "other/sluice.mdb", "data/sluice.mdb");
    assert_refused(path, -EILSEQ, "another instance");
    /* Without staged files it may go on as the other one. */
    move(folder, pack, "pack");
    Uuid adopted = open_and_close(path, false);
    assert_true(uuid_equal(&adopted, &second));
    move(folder, "pack", pack);
    (void)open_and_close(path, false);

    move(folder, "data/sluice.mdb", "other/sluice.mdb");
    move(folder, "kept", "data/sluice.mdb");
    assert_refused(path, -EILSEQ, "another instance"); /* the format file says the other one now */
    move(folder, pack, "pack");
    adopted = open_and_close(path, false);
    assert_true(uuid_equal(&adopted, &first));

    /* No environment and nothing staged: a new instance. */
    move(folder, "data/sluice.mdb", "kept");
    Uuid third = open_and_close(path, true);
    assert_false(uuid_equal(&third, &first));
    fixture_remove_folder(folder);
}

/* Runs `change` on the environment of a directory that nobody has open. */
static void change_environment(const char *path, void (*change)(Fixture *fixture, void *context), void *context) {
    Fixture fixture = {.map_bytes = 1 << 20};
    int size = snprintf(fixture.path, sizeof fixture.path, "%s/sluice.mdb", path);
    assert_in_range(size, 1, (int)sizeof fixture.path - 1);
    fixture_open(&fixture);
    change(&fixture, context);
    environment_close(fixture.environment);
}

static void flip_instance(Fixture *fixture, void *context) {
    fixture_flip(fixture, DB_CATALOG, SPAN("Minstance"), *(const size_t *)context);
}

static void add_pack(Fixture *fixture, void *context) {
    Txn *txn = fixture_write(fixture);
    assert_ok(ledger_add_pack(txn, &(PackRecord){.id = *(const Uuid *)context, .bytes = 1}, error));
    fixture_commit(txn);
}

static void write_pack(const char *path, Uuid id, const Uuid *instance) {
    Files *files;
    PackWriter *writer;
    SliceRecord slice = {.sink = 1, .mapping_version = 1, .first_row = 1, .rows = 1, .file = fixture_id(99)};
    uint64_t bytes;
    assert_ok(files_open(path, &files, error));
    assert_ok(pack_create(files, &id, instance, &writer, error));
    assert_ok(pack_begin_slice(writer, &slice, SPAN("null"), error));
    assert_ok(pack_add_rows(writer, SPAN("a\n"), error));
    assert_ok(pack_end_slice(writer, &slice, error));
    assert_ok(pack_finish(writer, &bytes, error));
    files_free(files);
}

/* It stands in the format file, and in the header of each pack. */
static void remove_instance(Fixture *fixture, void *context) {
    Txn *txn = fixture_write(fixture);
    assert_ok(db_remove(txn, DB_CATALOG, SPAN("Minstance"), error));
    assert_ok(txn_commit(txn, error));
}

/* The environment holds other records: it is not new. */
static void test_a_missing_instance_is_written_anew(void **state) {
    char folder[256], path[512];
    fixture_make_folder(folder);
    path_in(path, folder, "data");
    Uuid instance = open_and_close(path, true), known = fixture_id(2);
    change_environment(path, add_pack, &known);
    write_pack(path, known, &instance);
    change_environment(path, remove_instance, NULL);
    Uuid found = open_and_close(path, false);
    assert_true(uuid_equal(&found, &instance));
    fixture_remove_folder(folder);
}

static void test_a_damaged_instance_is_written_anew(void **state) {
    char folder[256], path[512];
    fixture_make_folder(folder);
    path_in(path, folder, "data");
    Uuid instance = open_and_close(path, true);
    for (size_t bit = 0; bit < (2 + UUID_TEXT_SIZE + 2 + 8) * 8; bit += 13) {
        change_environment(path, flip_instance, &bit);
        Uuid found = open_and_close(path, false);
        assert_true(uuid_equal(&found, &instance));
    }
    /* Beside staged files, of which one that the ledger knows is there and shows whose they are. */
    Uuid away = fixture_id(1), known = fixture_id(2);
    size_t bit = 100;
    change_environment(path, add_pack, &away);
    change_environment(path, add_pack, &known);
    write_pack(path, known, &instance);
    write_pack(path, fixture_id(3), &away); /* unknown to the ledger, and of another directory: an orphan to be */
    change_environment(path, flip_instance, &bit);
    Uuid found = open_and_close(path, false);
    assert_true(uuid_equal(&found, &instance));
    found = open_and_close(path, false);
    assert_true(uuid_equal(&found, &instance));
    fixture_remove_folder(folder);
}

/* No id is made up: what the staged files say decides, and where they say nothing the refusal names
 * a command that helps. */
static void test_a_damaged_instance_beside_staged_files_of_others(void **state) {
    char folder[256], path[512], command[1200];
    fixture_make_folder(folder);
    path_in(path, folder, "data");
    Uuid instance = open_and_close(path, true), known = fixture_id(2), foreign = fixture_id(50);
    size_t bit = 100;
    write_pack(path, known, &foreign);
    change_environment(path, flip_instance, &bit);
    assert_refused(path, -EILSEQ, "knows none of the staged files");
    change_environment(path, add_pack, &known);
    assert_refused(path, -EILSEQ, "of another instance");

    DataDirectory directory;
    Error error = {0};
    assert_int_equal(data_directory_open(path, &directory, &error), -EILSEQ);
    const char *found = strstr(error.text, "mv '");
    assert_non_null(found);
    (void)snprintf(command, sizeof command, "%s", found);
    assert_int_equal(system(command), 0);
    Uuid now = open_and_close(path, false);
    assert_true(uuid_equal(&now, &instance));
    fixture_remove_folder(folder);
}

/* An environment in which no instance was written (a crash at the first start) is new. */
/* The power was lost when LMDB had made its file: a part of the meta pages is there, or only their
 * room. */
static void test_half_a_new_environment(void **state) {
    static const char *const contents[] = {"", "half", "whole pages"};
    for (size_t i = 0; i < 3; i++) {
        char folder[256], inside[512];
        fixture_make_folder(folder);
        path_in(inside, folder, "sluice.mdb");
        assert_int_equal(mkdir(inside, 0700), 0);
        put(inside, "data.mdb", contents[i]);
        path_in(inside, folder, "sluice.mdb/data.mdb");
        if (i == 2) assert_int_equal(truncate(inside, 2 * sysconf(_SC_PAGESIZE)), 0);
        Uuid instance = open_and_close(folder, true);
        /* With its id in the format file it had more, and is refused. */
        if (i > 0) {
            assert_int_equal(truncate(inside, 100), 0);
            assert_refused(folder, -EILSEQ, "damaged");
        } else {
            Uuid again = open_and_close(folder, false);
            assert_true(uuid_equal(&instance, &again));
        }
        fixture_remove_folder(folder);
    }
}

static void test_crash_at_the_first_start(void **state) {
    char folder[256], environment_path[512];
    Environment *environment;
    fixture_make_folder(folder);
    path_in(environment_path, folder, "sluice.mdb");
    assert_ok(environment_open(&(EnvironmentOptions){.path = environment_path, .map_bytes = 1 << 20}, &environment, error));
    environment_close(environment);
    (void)open_and_close(folder, true);
    (void)open_and_close(folder, false);
    assert_refused("", -EINVAL, "empty");
    char file[512];
    put(folder, "file", "x");
    path_in(file, folder, "file/data");
    assert_refused(file, -ENOTDIR, "data directory");
    fixture_remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_and_later_starts),
        cmocka_unit_test(test_lock_ends_with_its_process),
        cmocka_unit_test(test_lock_without_its_file),
        cmocka_unit_test(test_parents_are_synced_though_the_folders_exist),
        cmocka_unit_test(test_format_numbers),
        cmocka_unit_test(test_environment_and_staging_must_match),
        cmocka_unit_test(test_crash_at_the_first_start),
        cmocka_unit_test(test_half_a_new_environment),
        cmocka_unit_test(test_a_missing_instance_is_written_anew),
        cmocka_unit_test(test_a_damaged_instance_is_written_anew),
        cmocka_unit_test(test_a_damaged_instance_beside_staged_files_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
