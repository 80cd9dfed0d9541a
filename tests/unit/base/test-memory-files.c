#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "tests/support/memory-files.h"

static Files *files;

/* Nothing that was not synced survives. */
static int set_up(void **state) {
    files = memory_files_new(NULL, NULL);
    return 0;
}

static int tear_down(void **state) {
    files_free(files);
    return 0;
}

static File *create(const char *path, const char *text) {
    File *file;
    assert_int_equal(files->create(files, path, 0600, &file, NULL), 0);
    assert_int_equal(files->append(files, file, span_of(text), NULL), 0);
    return file;
}

static void put(const char *path, const char *text) {
    File *file = create(path, text);
    assert_int_equal(files->sync(files, file, NULL), 0);
    files->close(files, file);
}

static bool exists(const char *path) {
    FileInfo info;
    int result = files->info(files, path, &info, NULL);
    assert_true(result == 0 || result == -ENOENT);
    return result == 0;
}

static void assert_content(const char *path, const char *expected) {
    char *text;
    assert_int_equal(files_read_all(files, path, 1 << 20, &text, NULL, NULL), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void only_synced_bytes_survive(void **state) {
    File *file = create("a", "kept");
    assert_int_equal(files->sync(files, file, NULL), 0);
    assert_int_equal(files->append(files, file, SPAN(" lost"), NULL), 0);
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    assert_int_equal(memory_files_unsynced(files), 5);
    memory_files_crash(files);
    files->close(files, file);
    assert_content("a", "kept");
    assert_int_equal(memory_files_unsynced(files), 0);
    assert_int_equal(memory_files_used(files), 4);
}

static void a_name_needs_the_sync_of_its_folder(void **state) {
    put("a", "synced, but nobody can find it");
    memory_files_crash(files);
    assert_false(exists("a"));
    assert_int_equal(memory_files_used(files), 0);

    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    put("d/a", "x");
    assert_int_equal(files->sync_directory(files, "d", NULL), 0);
    memory_files_crash(files);
    assert_false(exists("d")); /* its own folder was not synced */

    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    put("d/a", "x");
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    memory_files_crash(files);
    assert_true(exists("d"));
    assert_false(exists("d/a"));
}

static void rename_and_remove_come_back_until_synced(void **state) {
    put("a", "old");
    put("gone", "x");
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    put("b", "new");
    assert_int_equal(files->rename(files, "b", "a", NULL), 0);
    assert_int_equal(files->remove(files, "gone", NULL), 0);
    assert_content("a", "new");
    assert_false(exists("gone"));
    memory_files_crash(files);
    assert_content("a", "old");
    assert_content("gone", "x");
    assert_false(exists("b"));

    put("b", "new");
    assert_int_equal(files->rename(files, "b", "a", NULL), 0);
    assert_int_equal(files->remove(files, "gone", NULL), 0);
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    memory_files_crash(files);
    assert_content("a", "new");
    assert_false(exists("gone"));
    assert_false(exists("b"));
}

static void a_rename_between_folders_is_two_changes_and_loses_nothing(void **state) {
    assert_int_equal(files->make_directory(files, "x", 0700, NULL), 0);
    assert_int_equal(files->make_directory(files, "y", 0700, NULL), 0);
    put("x/a", "1");
    put("x/b", "2");
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    assert_int_equal(files->sync_directory(files, "x", NULL), 0);
    assert_int_equal(files->rename(files, "x/a", "y/a", NULL), 0);
    assert_int_equal(files->sync_directory(files, "y", NULL), 0);
    memory_files_crash(files);
    assert_content("y/a", "1");
    assert_content("x/a", "1"); /* x was not synced */

    assert_int_equal(files->rename(files, "x/b", "y/b", NULL), 0);
    assert_int_equal(files->sync_directory(files, "x", NULL), 0);
    memory_files_crash(files);
    assert_content("y/b", "2"); /* the old name may go only when the new one stays */
    assert_false(exists("x/b"));
    assert_int_equal(files->rename(files, "x", "y/x", NULL), -EXDEV);
}

static void files_replace_is_all_or_nothing(void **state) {
    assert_int_equal(files_replace(files, "f", SPAN("one"), 0600, NULL), 0);
    assert_int_equal(memory_files_unsynced(files), 0);
    uint64_t before = memory_files_calls(files);
    assert_int_equal(files_replace(files, "f", SPAN("two"), 0600, NULL), 0);
    uint64_t calls = memory_files_calls(files) - before;

    for (uint64_t nth = 1; nth <= calls; nth++) {
        for (int for_good = 0; for_good < 2; for_good++) {
            assert_int_equal(files_replace(files, "f", SPAN("old"), 0600, NULL), 0);
            Error error = {0};
            memory_files_fail(files, nth, EIO, for_good);
            assert_int_equal(files_replace(files, "f", SPAN("new"), 0600, &error), -EIO);
            assert_int_equal(error.code, -EIO);
            memory_files_fail(files, 0, 0, false);
            /* only the last step, the sync of the folder, leaves the new one in sight */
            assert_content("f", nth == calls ? "new" : "old");
            memory_files_crash(files);
            assert_content("f", "old");
        }
    }
}

static void the_nth_call_fails_once_or_for_good(void **state) {
    FileInfo info;
    put("a", "");
    memory_files_fail(files, 3, -ENOMEM, false);
    assert_int_equal(files->info(files, "a", &info, NULL), 0);
    assert_int_equal(files->info(files, "a", &info, NULL), 0);
    assert_int_equal(files->info(files, "a", &info, NULL), -ENOMEM);
    assert_int_equal(files->info(files, "a", &info, NULL), 0);
    memory_files_fail(files, 2, EIO, true);
    assert_int_equal(files->info(files, "a", &info, NULL), 0);
    assert_int_equal(files->info(files, "a", &info, NULL), -EIO);
    assert_int_equal(files->remove(files, "a", NULL), -EIO);
    memory_files_fail_call(files, MEMORY_FILES_RENAME, 1, EIO, true);
    memory_files_fail(files, 0, 0, false);
    assert_int_equal(files->rename(files, "a", "b", NULL), 0);
    memory_files_fail_call(files, MEMORY_FILES_RENAME, 2, EDQUOT, false);
    assert_int_equal(files->rename(files, "b", "a", NULL), 0);
    assert_int_equal(files->info(files, "a", &info, NULL), 0);
    assert_int_equal(files->rename(files, "a", "b", NULL), -EDQUOT);
    assert_true(exists("a"));
    assert_false(exists("b"));
}

static void calls_are_counted_by_kind(void **state) {
    put("a", "x");
    (void)exists("a");
    (void)exists("b");
    assert_int_equal(memory_files_calls_of(files, MEMORY_FILES_CREATE), 1);
    assert_int_equal(memory_files_calls_of(files, MEMORY_FILES_APPEND), 1);
    assert_int_equal(memory_files_calls_of(files, MEMORY_FILES_SYNC), 1);
    assert_int_equal(memory_files_calls_of(files, MEMORY_FILES_INFO), 2);
    assert_int_equal(memory_files_calls(files), 5);
}

static void a_failed_sync_loses_its_bytes_for_good(void **state) {
    File *file = create("a", "one ");
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    assert_int_equal(files->sync(files, file, NULL), 0);
    assert_int_equal(files->append(files, file, SPAN("two"), NULL), 0);
    memory_files_fail(files, 1, EIO, false);
    assert_int_equal(files->sync(files, file, NULL), -EIO);
    assert_int_equal(files->sync(files, file, NULL), -EIO);
    assert_int_equal(files->append(files, file, SPAN("three"), NULL), -EIO);
    files->close(files, file);
    assert_content("a", "one two");

    /* who syncs through another descriptor is told that all is well */
    assert_int_equal(files->open(files, "a", &file, NULL), 0);
    assert_int_equal(files->sync(files, file, NULL), 0);
    files->close(files, file);
    memory_files_crash(files);
    assert_content("a", "one ");
}

static void a_full_disk_takes_what_fits(void **state) {
    uint64_t free_bytes, total_bytes;
    memory_files_capacity(files, 10);
    File *file = create("a", "1234567");
    assert_int_equal(files->space(files, &free_bytes, &total_bytes, NULL), 0);
    assert_int_equal(free_bytes, 3);
    assert_int_equal(total_bytes, 10);
    assert_int_equal(files->append(files, file, SPAN("abcdef"), NULL), -ENOSPC);
    assert_content("a", "1234567abc");
    assert_int_equal(files->remove(files, "a", NULL), 0);
    files->close(files, file);

    /* room comes back when the removal is durable: until then a crash may bring the file back */
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    assert_int_equal(memory_files_used(files), 0);
    put("b", "1234567890");
    memory_files_capacity(files, 0);
    put("c", "1");
}

static void files_of_before_the_crash_are_dead(void **state) {
    char byte;
    put("a", "x");
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    File *writer = create("b", "x"), *reader;
    assert_int_equal(files->open(files, "a", &reader, NULL), 0);
    memory_files_crash(files);
    assert_int_equal(files->append(files, writer, SPAN("x"), NULL), -EBADF);
    assert_int_equal(files->sync(files, writer, NULL), -EBADF);
    assert_int_equal(files->read(files, reader, 0, &byte, 1, NULL), -EBADF);
    files->close(files, writer);
    files->close(files, reader);
    files->close(files, NULL);
}

static void a_flipped_bit_shows(void **state) {
    put("a", "abc");
    assert_int_equal(memory_files_flip(files, "a", 8, NULL), 0);
    assert_content("a", "acc");
    assert_int_equal(memory_files_flip(files, "a", 24, NULL), -EINVAL);
    assert_int_equal(memory_files_flip(files, "b", 0, NULL), -ENOENT);
}

static int remove_visited(void *context, const char *name, const FileInfo *info) {
    ++*(int *)context;
    return files->remove(files, name, NULL);
}

static void visits_may_change_the_folder(void **state) {
    int count = 0;
    put("a", "");
    put("b", "");
    put("c", "");
    assert_int_equal(files->list(files, "", remove_visited, &count, NULL), 0);
    assert_int_equal(count, 3);
    assert_false(exists("b"));
}

/* ---- by chance ---- */

/* Each outcome that is allowed is seen, and no other. */
static void what_was_not_synced_survives_by_chance(void **state) {
    unsigned whole = 0, part = 0, zeros = 0, gone = 0, renamed = 0;
    for (uint64_t seed = 0; seed < 500; seed++) {
        Random random = {.state = seed};
        files = memory_files_new(&random, NULL);
        put("old", "old");
        assert_int_equal(files->sync_directory(files, "", NULL), 0);
        File *file = create("f", "synced");
        assert_int_equal(files->sync(files, file, NULL), 0);
        assert_int_equal(files->append(files, file, SPAN("unsynced"), NULL), 0);
        assert_int_equal(files->rename(files, "old", "new", NULL), 0);
        memory_files_crash(files);
        files->close(files, file);

        assert_true(exists("old") != exists("new"));
        renamed += exists("new");
        assert_content(exists("new") ? "new" : "old", "old");
        if (!exists("f")) {
            gone++;
        } else {
            char *text;
            size_t size;
            assert_int_equal(files_read_all(files, "f", 100, &text, &size, NULL), 0);
            assert_in_range(size, 6, 14);
            assert_memory_equal(text, "syncedunsynced", 6);
            for (size_t i = 6; i < size; i++) assert_true(text[i] == "syncedunsynced"[i] || text[i] == 0);
            if (size > 6 && text[size - 1] == 0)
                zeros++;
            else if (size == 14)
                whole++;
            else
                part++;
            free(text);
        }
        assert_int_equal(memory_files_unsynced(files), 0);
        uint64_t used = memory_files_used(files);
        memory_files_crash(files); /* what survived is durable now */
        assert_int_equal(memory_files_used(files), used);
        files_free(files);
    }
    assert_in_range(renamed, 200, 300);
    assert_in_range(gone, 200, 300);
    assert_true(whole > 20 && part > 20 && zeros > 5);
}

static void the_same_seed_gives_the_same_crash(void **state) {
    Buffer outcome[2] = {0};
    for (int round = 0; round < 2; round++) {
        Random random = {.state = 99};
        files = memory_files_new(&random, NULL);
        for (char name[2] = "a"; *name <= 'z'; ++*name) files->close(files, create(name, "some bytes that nobody synced"));
        memory_files_crash(files);
        for (char name[2] = "a"; *name <= 'z'; ++*name) {
            char *text;
            size_t size;
            if (files_read_all(files, name, 100, &text, &size, NULL) < 0) continue;
            buffer_append_text(&outcome[round], name);
            buffer_append(&outcome[round], text, size);
            free(text);
        }
        files_free(files);
    }
    assert_true(outcome[0].size > 26);
    assert_true(span_equal(buffer_span(&outcome[0]), buffer_span(&outcome[1])));
    buffer_deinit(&outcome[0]);
    buffer_deinit(&outcome[1]);
}

/* The protocol of all durable files, cut off by a crash after any call, with any luck: the old or
 * the new, never a mix or nothing. */
static void replace_survives_a_crash_after_any_call(void **state) {
    unsigned seen_new = 0, seen_old = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        Random random = {.state = seed};
        files = memory_files_new(&random, NULL);
        assert_int_equal(files_replace(files, "f", SPAN("old content"), 0600, NULL), 0);
        memory_files_fail(files, random_below(&random, 7) + 1, EIO, true);
        int result = files_replace(files, "f", SPAN("new content, longer"), 0600, NULL);
        memory_files_fail(files, 0, 0, false);
        memory_files_crash(files);
        char *text;
        assert_int_equal(files_read_all(files, "f", 100, &text, NULL, NULL), 0);
        bool is_new = strcmp(text, "new content, longer") == 0;
        assert_true(is_new || strcmp(text, "old content") == 0);
        if (result == 0) assert_true(is_new);
        seen_new += is_new;
        seen_old += !is_new;
        free(text);
        files_free(files);
    }
    assert_true(seen_new > 20 && seen_old > 20);
}

/* ---- the same as the real one ---- */

static int describe(void *context, const char *name, const FileInfo *info) {
    unsigned *sum = context;
    unsigned hash = 5381;
    for (; *name; name++) hash = hash * 33 + (unsigned char)*name;
    *sum += hash * (info->is_directory ? 3 : 7 + (unsigned)info->bytes); /* by sum: the order is free */
    return 0;
}

static int one_step(Files *on, Random *random) {
    static const char *const paths[] = {"a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "f/x", "a/b", "", "../a", "/a"};
    enum { PATHS = sizeof paths / sizeof *paths };
    const char *path = paths[random_below(random, PATHS)], *other = paths[random_below(random, PATHS)];
    uint64_t bytes = random_below(random, 50), action = random_below(random, 9);
    static const char data[] = "some bytes to write, which are of no further interest";
    char into[50];
    unsigned sum = 0;
    FileInfo info;
    File *file;
    int result;

    switch (action) {
    case 0:
    case 1:
        if (*path == '\0') return 0; /* the kernel has a word of its own for this one */
        result = on->create(on, path, 0600, &file, NULL);
        if (result < 0) return result;
        result = on->append(on, file, (Span){.data = data, .size = bytes}, NULL);
        if (result == 0) result = on->sync(on, file, NULL);
        on->close(on, file);
        return result;
    case 2:
        result = on->open(on, *path ? path : "none", &file, NULL);
        if (result < 0) return result;
        result = on->read(on, file, bytes / 2, into, bytes / 2 + 1, NULL);
        on->close(on, file);
        return result;
    case 3: result = on->info(on, path, &info, NULL); return result < 0 ? result : info.is_directory ? 1000 : (int)info.bytes;
    case 4:
        /* folders between folders: only the real one can */
        if (!*path || !*other || on->info(on, path, &info, NULL) < 0 || info.is_directory) return 0;
        return on->rename(on, path, other, NULL);
    case 5: return *path ? on->remove(on, path, NULL) : 0;
    case 6: return on->make_directory(on, path, 0700, NULL);
    case 7: return on->sync_directory(on, path, NULL);
    default: result = on->list(on, path, describe, &sum, NULL); return result < 0 ? result : (int)(sum & 0x7FFFFFFF);
    }
}

static int remove_entry(void *context, const char *name, const FileInfo *info) {
    char path[300];
    Files *on = ((Files **)context)[0];
    const char *folder = ((const char **)context)[1];
    (void)snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name);
    const void *inner[2] = {on, path};
    if (info->is_directory) (void)on->list(on, path, remove_entry, inner, NULL);
    return on->remove(on, path, NULL);
}

static void any_sequence_answers_as_the_real_file_system_does(void **state) {
    char root[4096];
    const char *base = getenv("TMPDIR");
    Files *real;
    (void)snprintf(root, sizeof root, "%s/sluice-memory-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(root));
    assert_int_equal(files_open(root, &real, NULL), 0);

    for (uint64_t seed = 1; seed <= 20; seed++) {
        Random random = {.state = seed};
        files = memory_files_new(NULL, NULL);
        for (int step = 0; step < 300; step++) {
            Random same = random;
            int expected = one_step(real, &random), got = one_step(files, &same);
            if (expected != got) fail_msg("seed %lu, step %d: %d, the real one says %d", seed, step, got, expected);
        }
        files_free(files);
        const void *top[2] = {real, ""};
        assert_int_equal(real->list(real, "", remove_entry, top, NULL), 0);
    }
    files_free(real);
    assert_int_equal(rmdir(root), 0);
}

#define test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        test(only_synced_bytes_survive),
        test(a_name_needs_the_sync_of_its_folder),
        test(rename_and_remove_come_back_until_synced),
        test(a_rename_between_folders_is_two_changes_and_loses_nothing),
        test(files_replace_is_all_or_nothing),
        test(the_nth_call_fails_once_or_for_good),
        test(calls_are_counted_by_kind),
        test(a_failed_sync_loses_its_bytes_for_good),
        test(a_full_disk_takes_what_fits),
        test(files_of_before_the_crash_are_dead),
        test(a_flipped_bit_shows),
        test(visits_may_change_the_folder),
        cmocka_unit_test(what_was_not_synced_survives_by_chance),
        cmocka_unit_test(the_same_seed_gives_the_same_crash),
        cmocka_unit_test(replace_survives_a_crash_after_any_call),
        cmocka_unit_test(any_sequence_answers_as_the_real_file_system_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
