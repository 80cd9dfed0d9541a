/* What the tests of storage share: a folder of their own, an environment in it, transactions that
 * must succeed. Include it first. */
#pragma once

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/span.h"
#include "base/uuid.h"
#include "storage/environment.h"
#include "storage/environment_private.h"

#define assert_ok(call)                                                                                                                    \
    do {                                                                                                                                   \
        Error error_ = {0};                                                                                                                \
        Error *error = &error_;                                                                                                            \
        int result_ = (call);                                                                                                              \
        if (result_ != 0) fail_msg("%s: %d %s", #call, result_, error_.text);                                                              \
    } while (0)
#define assert_fails(call, code)                                                                                                           \
    do {                                                                                                                                   \
        Error error_ = {0};                                                                                                                \
        Error *error = &error_;                                                                                                            \
        int result_ = (call);                                                                                                              \
        if (result_ != (code)) fail_msg("%s: %d, not %d: %s", #call, result_, (code), error_.text);                                        \
        assert_true(error_.text[0]);                                                                                                       \
    } while (0)

typedef struct Fixture {
    char folder[256];
    char path[280]; /* of the environment */
    Environment *environment;
    uint64_t map_bytes;
} Fixture;

static int fixture_remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    return remove(path);
}

static inline void fixture_make_folder(char folder[static 256]) {
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(folder, 256, "%s/sluice-storage-XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(folder));
}

static inline void fixture_remove_folder(const char *folder) {
    (void)nftw(folder, fixture_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_open(Fixture *fixture) {
    EnvironmentOptions options = {.path = fixture->path, .map_bytes = fixture->map_bytes, .no_sync = true};
    assert_ok(environment_open(&options, &fixture->environment, error));
}

static inline void fixture_init(Fixture *fixture, uint64_t map_bytes) {
    *fixture = (Fixture){.map_bytes = map_bytes};
    fixture_make_folder(fixture->folder);
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/env", fixture->folder);
    fixture_open(fixture);
}

static inline void fixture_reopen(Fixture *fixture) {
    environment_close(fixture->environment);
    fixture_open(fixture);
}

static inline void fixture_deinit(Fixture *fixture) {
    environment_close(fixture->environment);
    fixture_remove_folder(fixture->folder);
}

static inline Txn *fixture_write(Fixture *fixture) {
    Txn *txn = NULL;
    assert_ok(txn_begin_write(fixture->environment, &txn, error));
    return txn;
}

static inline Txn *fixture_read(Fixture *fixture) {
    Txn *txn = NULL;
    assert_ok(txn_begin_read(fixture->environment, &txn, error));
    return txn;
}

static inline void fixture_commit(Txn *txn) {
    assert_ok(txn_commit(txn, error));
}

/* Changes one bit of a stored value. */
static inline void fixture_flip(Fixture *fixture, Database database, Span key, size_t bit) {
    Txn *txn = fixture_write(fixture);
    Span value;
    assert_ok(db_get(txn, database, key, &value, error));
    assert_true(bit / 8 < value.size);
    char *copy = malloc(value.size);
    memcpy(copy, value.data, value.size);
    copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << (bit % 8)));
    assert_ok(db_put(txn, database, key, (Span){.data = copy, .size = value.size}, error));
    free(copy);
    fixture_commit(txn);
}

static inline Uuid fixture_id(uint64_t number) {
    Uuid id = {.bytes = {1}};
    memcpy(id.bytes + 8, &number, sizeof number);
    return id;
}
