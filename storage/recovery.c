#include "storage/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "storage/ledger.h"
#include "storage/pack.h"

#define STAGING "staging"
#define ORPHANS "staging/orphans"
#define EXPIRED "staging/expired"
#define PACK_SUFFIX ".pack"
#define TEMPORARY_SUFFIX ".pack.tmp"

typedef struct Name {
    char *name;
    usec_t modified;
} Name;

typedef struct Names {
    Name *names;
    size_t count, capacity;
} Names;

static void names_deinit(Names *names) {
    for (size_t i = 0; i < names->count; i++) free(names->names[i].name);
    free(names->names);
}

/* Collected before anything is changed: what a walk over a folder gives while it changes is not defined. */
static int collect(void *context, const char *name, const FileInfo *info) {
    Names *names = context;
    if (info->is_directory) return 0;
    array_reserve(names->names, names->count, names->capacity);
    Name *next = &names->names[names->count++];
    *next = (Name){.name = strdup(name), .modified = info->modified};
    check(next->name);
    return 0;
}

static char *path_in(const char *folder, const char *name) {
    Buffer path = {0};
    buffer_printf(&path, "%s/%s", folder, name);
    return buffer_take(&path);
}

static bool pack_of(const char *name, Uuid *ret_id) {
    size_t suffix = strlen(PACK_SUFFIX);
    if (strlen(name) != UUID_TEXT_SIZE + suffix || strcmp(name + UUID_TEXT_SIZE, PACK_SUFFIX) != 0) return false;
    return uuid_parse((Span){.data = name, .size = UUID_TEXT_SIZE}, ret_id);
}

/* The name says since when it lies there: a rename leaves the modification time as it was. */
static int move_to_orphans(Files *files, const char *name, const char *why, usec_t now, Error *error) {
    Buffer to = {0};
    _cleanup_free_ char *from = path_in(STAGING, name);
    buffer_printf(&to, ORPHANS "/%" PRId64 "-%s", now / USEC_SECOND, name);
    _cleanup_free_ char *path = buffer_take(&to);
    int result = files->rename(files, from, path, error);
    if (result == 0) log_warning("the pack %s %s: moved to \"%s\", kept for some days", name, why, path);
    return result;
}

int recovery_set_aside(Files *files, const Uuid *pack, usec_t now, Error *error) {
    char path[64];
    FileInfo info;
    pack_path(pack, path);
    int result = files->info(files, path, &info, error);
    if (result < 0) return result;
    result = move_to_orphans(files, path + strlen(STAGING "/"), "holds rows that were quarantined", now, error);
    if (result == 0) result = files->sync_directory(files, ORPHANS, error);
    return result == 0 ? files->sync_directory(files, STAGING, error) : result;
}

static int sweep_name(Files *files, Txn *txn, const char *name, usec_t now, RecoveryReport *report, Error *error) {
    Uuid id;
    if (text_ends(span_of(name), span_of(TEMPORARY_SUFFIX))) {
        _cleanup_free_ char *path = path_in(STAGING, name);
        int result = files->remove(files, path, error);
        if (result == 0) report->temporary_removed++;
        return result;
    }
    if (!pack_of(name, &id)) return 0;
    PackRecord pack;
    int result = ledger_find_pack(txn, &id, &pack, error);
    if (result != LEDGER_NOT_FOUND) return result;
    result = move_to_orphans(files, name, "is not in the ledger", now, error);
    if (result == 0) report->orphans++;
    return result;
}

int recovery_sweep_staging(Files *files, Txn *read_txn, usec_t now, RecoveryReport *ret_report, Error *error) {
    _cleanup_(names_deinit) Names names = {0};
    RecoveryReport report = {0};
    int result = files->make_directory(files, STAGING, 0700, error);
    if (result == 0) result = files->make_directory(files, ORPHANS, 0700, error);
    if (result == 0) result = files->make_directory(files, EXPIRED, 0700, error);
    /* Nothing is moved into a folder that a crash could take away. */
    if (result == 0) result = files->sync_directory(files, STAGING, error);
    if (result == 0) result = files->sync_directory(files, "", error);
    if (result == 0) result = files->list(files, STAGING, collect, &names, error);
    for (size_t i = 0; i < names.count && result == 0; i++) result = sweep_name(files, read_txn, names.names[i].name, now, &report, error);
    /* The new names before the old ones go: a crash in between must not lose a pack that somebody may want back. */
    if (result == 0 && report.orphans) result = files->sync_directory(files, ORPHANS, error);
    if (result == 0) result = files->sync_directory(files, STAGING, error);
    if (result < 0) return result;
    *ret_report = report;
    return 0;
}

/* When it came here: "<seconds since 1970>-<name>", else its modification time. */
static usec_t since(const Name *name) {
    char *end;
    errno = 0;
    long long seconds = strtoll(name->name, &end, 10);
    bool named = errno == 0 && end != name->name && *end == '-' && name->name[0] != '-';
    return named && strlen(end + 1) > UUID_TEXT_SIZE && seconds <= INT64_MAX / USEC_SECOND ? (usec_t)seconds * USEC_SECOND : name->modified;
}

static int expire_folder(Files *files, const char *folder, usec_t now, usec_t keep, Error *error) {
    _cleanup_(names_deinit) Names names = {0};
    if (keep == 0) return 0;
    int result = files->list(files, folder, collect, &names, error);
    if (result == -ENOENT) return 0;
    for (size_t i = 0; i < names.count && result == 0; i++) {
        if (now - since(&names.names[i]) < keep) continue;
        _cleanup_free_ char *path = path_in(folder, names.names[i].name);
        result = files->remove(files, path, error);
        if (result == -ENOENT) result = 0;
        if (result == 0) log_info("removed \"%s\": its time is over", path);
    }
    return result;
}

int recovery_expire(Files *files, usec_t now, usec_t orphans_for, usec_t expired_for, Error *error) {
    int result = expire_folder(files, ORPHANS, now, orphans_for, error);
    return result < 0 ? result : expire_folder(files, EXPIRED, now, expired_for, error);
}
