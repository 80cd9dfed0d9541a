#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

static char root[4096];
static Files *files;

static int set_up(void **state) {
    const char *base = getenv("TMPDIR");
    (void)snprintf(root, sizeof root, "%s/sluice-files-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(root)) return -1;
    return files_open(root, &files, NULL);
}

static int remove_entry(void *context, const char *name, const FileInfo *info) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s%s%s", (const char *)context, *(const char *)context ? "/" : "", name);
    if (info->is_directory) {
        int result = files->list(files, path, remove_entry, path, NULL);
        if (result != 0) return result;
    }
    return files->remove(files, path, NULL);
}

static int tear_down(void **state) {
    char top[1] = "";
    int result = files->list(files, "", remove_entry, top, NULL);
    files_free(files);
    files_free(NULL);
    return result ? result : rmdir(root);
}

static void put(const char *path, const char *text) {
    File *file;
    assert_int_equal(files->create(files, path, 0600, &file, NULL), 0);
    assert_int_equal(files->append(files, file, span_of(text), NULL), 0);
    assert_int_equal(files->sync(files, file, NULL), 0);
    files->close(files, file);
}

static void assert_content(const char *path, const char *expected) {
    char *text = NULL;
    size_t bytes = 0;
    assert_int_equal(files_read_all(files, path, 1 << 24, &text, &bytes, NULL), 0);
    assert_int_equal(bytes, strlen(expected));
    assert_string_equal(text, expected);
    free(text);
}

static void a_file_is_written_and_read(void **state) {
    File *file;
    char bytes[8] = "";
    Error error = {0};
    assert_int_equal(files->create(files, "a", 0640, &file, &error), 0);
    assert_int_equal(files->append(files, file, SPAN("hello "), &error), 0);
    assert_int_equal(files->append(files, file, (Span){0}, &error), 0);
    assert_int_equal(files->append(files, file, SPAN("world"), &error), 0);
    assert_int_equal(files->sync(files, file, &error), 0);
    files->close(files, file);
    files->close(files, NULL);

    assert_int_equal(files->open(files, "a", &file, &error), 0);
    assert_int_equal(files->read(files, file, 6, bytes, 5, &error), 0);
    assert_memory_equal(bytes, "world", 5);
    assert_int_equal(files->read(files, file, 6, bytes, 6, &error), -ENODATA);
    assert_int_equal(files->read(files, file, 1000, bytes, 1, &error), -ENODATA);
    assert_int_equal(files->read(files, file, UINT64_MAX, bytes, 2, &error), -ENODATA);
    assert_int_equal(files->read(files, file, 11, bytes, 0, &error), 0);
    files->close(files, file);
}

static void an_existing_file_is_not_created_again(void **state) {
    File *file = NULL;
    Error error = {0};
    put("a", "x");
    assert_int_equal(files->create(files, "a", 0600, &file, &error), -EEXIST);
    assert_null(file);
    assert_string_equal(error.text, "cannot create \"a\": File exists");
    assert_int_equal(files->open(files, "none", &file, &error), -ENOENT);
    assert_null(file);
}

static void info_tells_size_kind_and_time(void **state) {
    FileInfo info;
    Clock *clock = clock_system();
    put("a", "12345");
    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    assert_int_equal(files->info(files, "a", &info, NULL), 0);
    assert_int_equal(info.bytes, 5);
    assert_false(info.is_directory);
    assert_true(llabs(clock->wall(clock) - info.modified) < 60 * USEC_SECOND);
    assert_int_equal(files->info(files, "d", &info, NULL), 0);
    assert_true(info.is_directory);
    assert_int_equal(files->info(files, "", &info, NULL), 0);
    assert_true(info.is_directory);
    assert_int_equal(files->info(files, "none", &info, NULL), -ENOENT);
}

static void rename_replaces_and_remove_removes(void **state) {
    put("a", "new");
    put("b", "old");
    assert_int_equal(files->rename(files, "a", "b", NULL), 0);
    assert_content("b", "new");
    Error error = {0};
    assert_int_equal(files->rename(files, "a", "c", &error), -ENOENT);
    assert_string_equal(error.text, "to \"c\": cannot rename \"a\": No such file or directory");
    assert_int_equal(files->remove(files, "b", NULL), 0);
    assert_int_equal(files->remove(files, "b", NULL), -ENOENT);
    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    put("d/x", "x");
    assert_int_equal(files->remove(files, "d", NULL), -ENOTEMPTY);
    assert_int_equal(files->remove(files, "d/x", NULL), 0);
    assert_int_equal(files->remove(files, "d", NULL), 0);
}

static void directories_are_made_once_and_synced(void **state) {
    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    put("a", "");
    assert_int_equal(files->make_directory(files, "a", 0700, NULL), -EEXIST);
    assert_int_equal(files->make_directory(files, "no/where", 0700, NULL), -ENOENT);
    assert_int_equal(files->sync_directory(files, "d", NULL), 0);
    assert_int_equal(files->sync_directory(files, "", NULL), 0);
    assert_int_equal(files->sync_directory(files, "none", NULL), -ENOENT);
    assert_int_equal(files->sync_directory(files, "a", NULL), -ENOTDIR);
}

typedef struct Listing {
    int count;
    int stop_at;
    uint64_t bytes;
} Listing;

static int note_entry(void *context, const char *name, const FileInfo *info) {
    Listing *listing = context;
    assert_true(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    listing->bytes += info->is_directory ? 0 : info->bytes;
    return ++listing->count == listing->stop_at ? 17 : 0;
}

static void list_visits_each_entry_until_told_to_stop(void **state) {
    put("a", "1");
    put("b", "22");
    put("c", "333");
    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    Listing all = {0}, some = {.stop_at = 2}, none = {0};
    assert_int_equal(files->list(files, "", note_entry, &all, NULL), 0);
    assert_int_equal(all.count, 4);
    assert_int_equal(all.bytes, 6);
    assert_int_equal(files->list(files, "", note_entry, &some, NULL), 17);
    assert_int_equal(some.count, 2);
    assert_int_equal(files->list(files, "d", note_entry, &none, NULL), 0);
    assert_int_equal(none.count, 0);
    assert_int_equal(files->list(files, "none", note_entry, &none, NULL), -ENOENT);
}

static void paths_stay_below_the_root(void **state) {
    static const char *const outside[] = {"/etc/passwd", "..", "../x", "d/../../x", "d/..", "a//../b"};
    static const char *const inside[] = {"", "a", "..a", "a..", "a/..b/c", "...", "./a"};
    File *file;
    FileInfo info;
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        assert_false(files_path_inside(outside[i]));
        assert_int_equal(files->create(files, outside[i], 0600, &file, NULL), -EINVAL);
        assert_int_equal(files->open(files, outside[i], &file, NULL), -EINVAL);
        assert_int_equal(files->info(files, outside[i], &info, NULL), -EINVAL);
        assert_int_equal(files->remove(files, outside[i], NULL), -EINVAL);
        assert_int_equal(files->rename(files, outside[i], "x", NULL), -EINVAL);
        assert_int_equal(files->rename(files, "x", outside[i], NULL), -EINVAL);
        assert_int_equal(files->make_directory(files, outside[i], 0700, NULL), -EINVAL);
        assert_int_equal(files->sync_directory(files, outside[i], NULL), -EINVAL);
        assert_int_equal(files->list(files, outside[i], note_entry, NULL, NULL), -EINVAL);
    }
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) assert_true(files_path_inside(inside[i]));
}

static void links_are_not_followed(void **state) {
    char path[5000];
    File *file;
    FileInfo info;
    (void)snprintf(path, sizeof path, "%s/link", root);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(files->open(files, "link", &file, NULL), -ELOOP);
    assert_int_equal(files->info(files, "link", &info, NULL), 0);
    assert_false(info.is_directory);
}

/* A write that is cut short by a limit, and what fails once fails for ever. */
static void a_failed_append_is_final(void **state) {
    struct rlimit before, limit;
    static const char bytes[8192];
    File *file;
    Error error = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 4096;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(files->create(files, "a", 0600, &file, NULL), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int result = files->append(files, file, (Span){.data = bytes, .size = sizeof bytes}, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(result, -EFBIG);
    assert_int_equal(files->append(files, file, SPAN("x"), &error), -EFBIG);
    assert_int_equal(files->sync(files, file, &error), -EFBIG);
    assert_non_null(strstr(error.text, "failed before"));
    files->close(files, file);
    FileInfo info;
    assert_int_equal(files->info(files, "a", &info, NULL), 0);
    assert_int_equal(info.bytes, 4096);
}

static void descriptors_do_not_leak_into_children(void **state) {
    File *file;
    assert_int_equal(files->create(files, "a", 0600, &file, NULL), 0);
    for (int fd = 3; fd < 64; fd++) {
        char path[64], target[4096];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(path, target, sizeof target - 1);
        if (size < 0) continue;
        target[size] = '\0';
        if (strncmp(target, root, strlen(root)) == 0) assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    files->close(files, file);
}

static void replace_swaps_the_whole_content(void **state) {
    FileInfo info;
    assert_int_equal(files_replace(files, "f", SPAN("one"), 0600, NULL), 0);
    assert_content("f", "one");
    put("f.new", "left by a crash");
    assert_int_equal(files_replace(files, "f", SPAN("two and more"), 0600, NULL), 0);
    assert_content("f", "two and more");
    assert_int_equal(files->info(files, "f.new", &info, NULL), -ENOENT);
    assert_int_equal(files->make_directory(files, "d", 0700, NULL), 0);
    assert_int_equal(files_replace(files, "d/f", (Span){0}, 0600, NULL), 0);
    assert_content("d/f", "");
    assert_int_equal(files_replace(files, "none/f", SPAN("x"), 0600, NULL), -ENOENT);
}

static void mode_is_what_was_asked(void **state) {
    char path[5000];
    struct stat status;
    assert_int_equal(files_replace(files, "secret", SPAN("x"), 0600, NULL), 0);
    (void)snprintf(path, sizeof path, "%s/secret", root);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void read_all_has_a_limit(void **state) {
    char *text = NULL;
    put("a", "12345");
    assert_int_equal(files_read_all(files, "a", 4, &text, NULL, NULL), -EFBIG);
    assert_null(text);
    assert_int_equal(files_read_all(files, "", 4, &text, NULL, NULL), -EISDIR);
    assert_int_equal(files_read_all(files, "none", 4, &text, NULL, NULL), -ENOENT);
    assert_int_equal(files_read_all(files, "a", 5, &text, NULL, NULL), 0);
    assert_string_equal(text, "12345");
    free(text);
}

static void space_is_told(void **state) {
    uint64_t free_bytes = 0, total_bytes = 0;
    assert_int_equal(files->space(files, &free_bytes, &total_bytes, NULL), 0);
    assert_true(total_bytes > 0);
    assert_true(free_bytes <= total_bytes);
}

static void a_missing_root_is_an_error(void **state) {
    Files *other = NULL;
    Error error = {0};
    assert_int_equal(files_open("/nonexistent/sluice", &other, &error), -ENOENT);
    assert_null(other);
    assert_non_null(strstr(error.text, "/nonexistent/sluice"));
}

static int count_entry(void *context, const char *name, const FileInfo *info) {
    ++*(unsigned *)context;
    return 0;
}

static void pipes_are_neither_opened_nor_listed(void **state) {
    char path[sizeof root + 8];
    File *file;
    Error error = {0};
    unsigned listed = 0, named = 0;
    (void)snprintf(path, sizeof path, "%s/pipe", root);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)alarm(20); /* an open that waits for a writer never ends */
    assert_int_equal(files->open(files, "pipe", &file, &error), -EINVAL);
    (void)alarm(0);
    assert_non_null(strstr(error.text, "not a regular file"));
    assert_int_equal(files->list(files, "", count_entry, &listed, NULL), 0);
    assert_int_equal(files->names(files, "", count_entry, &named, NULL), 0);
    assert_int_equal(listed + named, 0);
    assert_int_equal(files->remove(files, "pipe", NULL), 0);
}

#define test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        test(a_file_is_written_and_read),
        test(an_existing_file_is_not_created_again),
        test(info_tells_size_kind_and_time),
        test(rename_replaces_and_remove_removes),
        test(directories_are_made_once_and_synced),
        test(list_visits_each_entry_until_told_to_stop),
        test(paths_stay_below_the_root),
        test(links_are_not_followed),
        test(pipes_are_neither_opened_nor_listed),
        test(a_failed_append_is_final),
        test(descriptors_do_not_leak_into_children),
        test(replace_swaps_the_whole_content),
        test(mode_is_what_was_asked),
        test(read_all_has_a_limit),
        test(space_is_told),
        test(a_missing_root_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
