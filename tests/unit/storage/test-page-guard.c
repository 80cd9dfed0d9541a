/* LMDB's pages are damaged. A process of its own meets the damage: it ends with exit code 2 and a
 * text, or gets an error with one. Without the guard it is killed by a signal. */
#include "tests/unit/storage/fixture.h"

#include <fcntl.h>
#include <sys/wait.h>

#define KEYS 400
#define PAGE sysconf(_SC_PAGESIZE)
#define TEXT_SIZE 4000

static void fill(Fixture *fixture) {
    fixture_init(fixture, 4 << 20);
    Txn *txn = fixture_write(fixture);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[32], value[200];
        (void)snprintf(key, sizeof key, "key %05u", i * 7919 % KEYS);
        memset(value, 'v', sizeof value);
        assert_ok(db_put(txn, DB_CATALOG, (Span){key, strlen(key)}, (Span){value, sizeof value}, error));
    }
    fixture_commit(txn);
}

/* Reads every key, and writes one if `writes`. 0, or 1 when LMDB reports an error. Other bytes are not noticed
 * here: each record has a checksum for that. */
static int use(Environment *environment, bool writes) {
    Txn *txn;
    Error error = {0};
    int r = txn_begin_write(environment, &txn, &error);
    for (unsigned i = 0; i < KEYS && r >= 0; i++) {
        char key[32];
        Span value = {0};
        (void)snprintf(key, sizeof key, "key %05u", i);
        r = db_get(txn, DB_CATALOG, (Span){key, strlen(key)}, &value, &error);
        for (size_t k = 0; r == 0 && k < value.size; k++) (void)*(const volatile char *)(value.data + k);
    }
    if (r >= 0 && writes) r = db_put(txn, DB_CATALOG, SPAN("key 00000"), SPAN("w"), &error);
    if (r >= 0) r = txn_commit(txn, &error);
    if (r < 0) (void)fprintf(stderr, "%s\n", error.text);
    return r >= 0 ? 0 : 1;
}

/* Returns the exit code, and what the process wrote to stderr. `cut`: the file ends behind the meta
 * pages, once it is open. */
static int in_process(const Fixture *fixture, const char *file, bool cut, bool writes, char text[static TEXT_SIZE]) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        Environment *environment;
        Error error = {0};
        EnvironmentOptions options = {.path = fixture->path, .map_bytes = fixture->map_bytes, .no_sync = true};
        (void)dup2(ends[1], STDERR_FILENO);
        if (environment_open(&options, &environment, &error) < 0) {
            (void)fprintf(stderr, "%s\n", error.text);
            _exit(1);
        }
        if (cut && truncate(file, 2 * PAGE) < 0) _exit(3);
        _exit(use(environment, writes));
    }
    (void)close(ends[1]);
    size_t size = 0;
    for (ssize_t got; size < TEXT_SIZE - 1 && (got = read(ends[0], text + size, TEXT_SIZE - 1 - size)) > 0;) size += (size_t)got;
    text[size] = '\0';
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status)) fail_msg("killed by signal %d: %s", WTERMSIG(status), text);
    return WEXITSTATUS(status);
}

static void assert_advice(const char *text, const char *path) {
    if (!strstr(text, path) || !strstr(text, "sluice verify")) fail_msg("no advice: %s", text);
}

static void close_and_name(Fixture *fixture, char file[static 400]) {
    environment_close(fixture->environment);
    fixture->environment = NULL;
    (void)snprintf(file, 400, "%s/data.mdb", fixture->path);
}

static void test_pages_that_are_not_there(void **state) {
    Fixture fixture;
    char text[TEXT_SIZE], file[400];
    fill(&fixture);
    close_and_name(&fixture, file);
    assert_int_equal(in_process(&fixture, file, true, false, text), 2);
    assert_advice(text, fixture.path);
    fixture_deinit(&fixture);
}

/* Each page in turn, with each of these in its header. LMDB writes where a header says that there is
 * room, so pages with other numbers there are only read. */
static void test_pages_with_other_bytes(void **state) {
    static const unsigned char damages[][8] = {{0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0, 0, 1, 0, 0xf0, 0xff, 0xff, 0x7f}};
    Fixture fixture;
    char text[TEXT_SIZE], file[400];
    unsigned ended = 0;
    fill(&fixture);
    close_and_name(&fixture, file);
    int fd = open(file, O_RDWR);
    struct stat status;
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    char *whole = malloc((size_t)status.st_size);
    assert_int_equal(pread(fd, whole, (size_t)status.st_size, 0), status.st_size);
    for (off_t at = 2 * PAGE; at < status.st_size; at += PAGE) {
        for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
            assert_int_equal(pwrite(fd, damages[i], 8, at + 10), 8);
            int code = in_process(&fixture, file, false, i == 0, text);
            if (code == 2) ended++;
            assert_true(code >= 0 && code <= 2);
            if (code != 0) assert_advice(text, fixture.path);
            assert_int_equal(pwrite(fd, whole, (size_t)status.st_size, 0), status.st_size);
            assert_int_equal(ftruncate(fd, status.st_size), 0);
        }
    }
    assert_true(ended > 0);
    free(whole);
    (void)close(fd);
    fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pages_that_are_not_there), cmocka_unit_test(test_pages_with_other_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
