/* The record of the backups, and the directory of one. */
#include "tests/unit/storage/fixture.h"

#include <fcntl.h>

#include "storage/backup_folder.h"
#include "storage/backup_marks.h"

static void test_marks(void **state) {
    Fixture fixture_of_test, *fixture = &fixture_of_test;
    fixture_init(fixture, 1u << 20);
    BackupMarks marks = {0}, read = {0};
    Txn *txn;
    assert_ok(txn_begin_write(fixture->environment, &txn, error));
    assert_ok(backup_marks_load(txn, &read, error));
    assert_int_equal(read.count, 0);
    assert_true(backup_marks_oldest(&read) == UINT64_MAX);
    for (uint64_t number = 1; number <= 4; number++) backup_marks_add(&marks, &(BackupMark){.number = number, .running = 1000});
    backup_marks_add_row(&marks, 7, 101);
    backup_marks_complete(&marks, 1, 2); /* of those behind it, none is complete */
    assert_int_equal(marks.count, 4);
    backup_marks_complete(&marks, 3, 2);
    assert_int_equal(marks.count, 4);
    backup_marks_complete(&marks, 4, 2);
    assert_int_equal(marks.count, 2);
    assert_int_equal(backup_marks_oldest(&marks), 3);
    backup_marks_remove(&marks, 3);
    assert_int_equal(marks.count, 1);
    assert_ok(backup_marks_store(txn, &marks, error));
    assert_ok(txn_commit(txn, error));

    assert_ok(txn_begin_read(fixture->environment, &txn, error));
    assert_ok(backup_marks_load(txn, &read, error));
    txn_abort(txn);
    assert_int_equal(read.count, 1);
    assert_int_equal(read.items[0].number, 4);
    assert_true(read.items[0].complete);
    assert_int_equal(read.items[0].running, 1000);
    assert_int_equal(read.row_count, 1);
    assert_int_equal(read.rows[0].sink, 7);
    assert_int_equal(read.rows[0].row, 101);
    backup_marks_deinit(&read);

    /* Every flipped bit is noticed. */
    Span key = {.data = "B", .size = 1}, value;
    assert_ok(txn_begin_write(fixture->environment, &txn, error));
    assert_ok(db_get(txn, DB_STATISTICS, key, &value, error));
    char bytes[256];
    size_t size = value.size;
    assert_true(size < sizeof bytes);
    memcpy(bytes, value.data, size);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        assert_ok(db_put(txn, DB_STATISTICS, key, (Span){bytes, size}, error));
        assert_fails(backup_marks_load(txn, &read, error), -EBADMSG);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    txn_abort(txn);
    backup_marks_deinit(&marks);
    fixture_deinit(fixture);
}

static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void test_names(void **state) {
    static const char *const good[] = {"a", "20261201T031500Z", "a.b_c-d"}, *const bad[] = {"",   ".a", "..",  "a/b",
                                                                                            "-a", "_a", "a b", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(backup_name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(backup_name_is_valid(bad[i]));
    char name[BACKUP_NAME_MAX + 2];
    memset(name, 'a', sizeof name);
    name[BACKUP_NAME_MAX + 1] = '\0';
    assert_false(backup_name_is_valid(name));
    name[BACKUP_NAME_MAX] = '\0';
    assert_true(backup_name_is_valid(name));
}

static void test_folder(void **state) {
    char root[256];
    fixture_make_folder(root);
    char folder[300], from[320], to[320];
    uint64_t bytes, checksum;
    atomic_bool cancel = true;
    (void)snprintf(folder, sizeof folder, "%s/backup/deep", root);
    (void)snprintf(from, sizeof from, "%s/from", root);
    (void)snprintf(to, sizeof to, "%s/to", folder);
    assert_ok(backup_make_folder(folder, error));
    assert_ok(backup_make_folder(folder, error));
    assert_fails(backup_copy_file(from, to, NULL, &bytes, &checksum, error), -ENOENT);
    write_file(from, "some bytes");
    assert_fails(backup_copy_file(from, to, &cancel, &bytes, &checksum, error), -ECANCELED);
    assert_int_equal(unlink(to), 0);
    assert_ok(backup_copy_file(from, to, NULL, &bytes, &checksum, error));
    assert_int_equal(bytes, 10);
    assert_fails(backup_copy_file(from, to, NULL, &bytes, &checksum, error), -EEXIST);

    BackupManifest manifest = {
        .number = 3, .commit = 9, .rows = 5, .at = 1700000000000001, .format = 4, .kept = 2, .packs = 1, .pack_bytes = 7};
    BackupManifest read = {0};
    manifest.instance.bytes[0] = 1;
    backup_manifest_add(&manifest, "to", bytes, checksum);
    assert_fails(backup_manifest_read(folder, &read, error), -ENOENT);
    assert_ok(backup_manifest_write(folder, &manifest, error));
    assert_ok(backup_manifest_read(folder, &read, error));
    assert_true(uuid_equal(&read.instance, &manifest.instance));
    assert_true(read.number == 3 && read.commit == 9 && read.rows == 5 && read.at == manifest.at && read.format == 4 && read.kept == 2);
    assert_true(read.packs == 1 && read.pack_bytes == 7 && read.count == 1);
    assert_ok(backup_check_file(to, &read.files[0], error));
    write_file(to, "other bytes");
    assert_fails(backup_check_file(to, &read.files[0], error), -EBADMSG);
    write_file(to, "some Bytes");
    assert_fails(backup_check_file(to, &read.files[0], error), -EBADMSG);
    backup_manifest_deinit(&read);

    static const char *const bad[] = {
        "{",
        "{}",
        "{\"backup\":1,\"instance\":\"x\",\"number\":1,\"format\":4,\"files\":[]}",
        "{\"backup\":1,\"instance\":\"01000000-0000-0000-0000-000000000000\",\"number\":1,\"format\":4}",
        ("{\"backup\":1,\"instance\":\"01000000-0000-0000-0000-000000000000\",\"number\":1,\"format\":4,\"files\":[{\"path\":\"../x\","
         "\"bytes\":1,\"checksum\":\"0000000000000000\"}]}"),
    };
    char path[320];
    (void)snprintf(path, sizeof path, "%s/" BACKUP_MANIFEST, folder);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file(path, bad[i]);
        assert_fails(backup_manifest_read(folder, &read, error), -EBADMSG);
    }
    write_file(path, "{\"backup\":2}");
    assert_fails(backup_manifest_read(folder, &read, error), -EPROTO);
    assert_ok(backup_sync_tree(folder, error));
    (void)snprintf(folder, sizeof folder, "%s/backup", root);
    assert_ok(backup_remove_tree(folder, error));
    assert_int_not_equal(access(folder, F_OK), 0);
    assert_ok(backup_remove_tree(folder, error));
    backup_manifest_deinit(&manifest);
    fixture_remove_folder(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
