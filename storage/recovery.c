#include "storage/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/text.h"
#include "storage/ledger.h"
#include "storage/names.h"
#include "storage/pack.h"
#include "storage/unrecorded.h"

#define STAGING "staging"
#define ORPHANS "staging/orphans"
#define EXPIRED "staging/expired"
#define PACK_SUFFIX ".pack"
#define TEMPORARY_SUFFIX ".pack.tmp"
#define HALF_COPY_SUFFIX ".slices.tmp"

static bool pack_of(const char *name, Uuid *ret_id) {
    size_t suffix = strlen(PACK_SUFFIX);
    if (strlen(name) != UUID_TEXT_SIZE + suffix || strcmp(name + UUID_TEXT_SIZE, PACK_SUFFIX) != 0) return false;
    return uuid_parse((Span){.data = name, .size = UUID_TEXT_SIZE}, ret_id);
}

/* The name says since when it lies there: a rename leaves the modification time as it was. */
static int move_to_orphans(Files *files, const char *name, const char *why, usec_t now, Error *error) {
    Buffer to = {0};
    _cleanup_free_ char *from = name_in(STAGING, name);
    buffer_printf(&to, ORPHANS "/%" PRId64 "-%s", now / USEC_SECOND, name);
    _cleanup_free_ char *path = buffer_take(&to);
    int result = files->rename(files, from, path, error);
    if (result == 0) log_warning("the pack %s %s: moved to \"%s\", kept for retention.orphans", name, why, path);
    return result;
}

int recovery_set_aside(Files *files, const Uuid *pack, usec_t now, Error *error) {
    check(!uuid_is_nil(pack));
    char path[64];
    FileInfo info;
    pack_path(pack, path);
    int result = files->info(files, path, &info, error);
    if (result < 0) return result;
    result = move_to_orphans(files, path + strlen(STAGING "/"), "has rows that were quarantined", now, error);
    if (result == 0) result = files->sync_directory(files, ORPHANS, error);
    return result == 0 ? files->sync_directory(files, STAGING, error) : result;
}

/* What lies in staging/: collected before anything is changed, since a walk over a folder that
 * changes gives what it likes. Of packs only the ids: there may be a million of them. */
typedef struct Staged {
    Uuid *packs;
    size_t count, capacity;
    Names temporary;
} Staged;

static int collect(void *context, const char *name, const FileInfo *info) {
    Staged *staged = context;
    Uuid id;
    if (info->is_directory) return 0;
    if (text_ends(span_of(name), span_of(TEMPORARY_SUFFIX))) {
        names_add(&staged->temporary, name);
    } else if (pack_of(name, &id)) {
        array_reserve(staged->packs, staged->count, staged->capacity);
        staged->packs[staged->count++] = id;
    }
    return 0;
}

static int remove_temporary(Files *files, const Names *temporary, RecoveryReport *report, Error *error) {
    int result = 0;
    for (size_t i = 0; i < temporary->count && result == 0; i++) {
        _cleanup_free_ char *path = name_in(STAGING, temporary->names[i]);
        result = failpoint_error("recovery.before-remove-temporary", error);
        if (result == 0) result = files->remove(files, path, error);
        if (result == 0) report->temporary_removed++;
    }
    return result;
}

static int sweep_unknown(Files *files, const Uuid *pack, bool unrecorded, usec_t now, RecoveryReport *report, Error *error) {
    char path[64];
    pack_path(pack, path);
    const char *name = path + strlen(STAGING "/");
    int result = failpoint_error("recovery.before-unknown-pack", error);
    if (result < 0) return result;
    result = unrecorded ? files->remove(files, path, error) : move_to_orphans(files, name, "is not in the ledger", now, error);
    if (result < 0) return result;
    if (unrecorded) log_info("the pack %s was not recorded, but all its rows are in the log: removed", name);
    if (unrecorded)
        report->unrecorded++;
    else
        report->orphans++;
    return 0;
}

static int sweep_all_unknown(Files *files, Txn *txn, const Uuid *instance, const Uuid *unknown, size_t count, usec_t now,
                             RecoveryReport *report, Error *error) {
    if (count == 0) return 0;
    bool *unrecorded = calloc(count, sizeof *unrecorded);
    check(unrecorded);
    int result = unrecorded_find(files, txn, instance, unknown, count, unrecorded, error);
    for (size_t i = 0; i < count && result == 0; i++) result = sweep_unknown(files, &unknown[i], unrecorded[i], now, report, error);
    free(unrecorded);
    return result;
}

/* What a crash left of a copy: its file still waits and is copied anew, if it has to be. */
static int remove_half_copies(Files *files, RecoveryReport *report, Error *error) {
    _cleanup_(names_deinit) Names names = {0};
    int result = names_list(files, EXPIRED, &names, error);
    for (size_t i = 0; i < names.count && result == 0; i++) {
        if (!text_ends(span_of(names.names[i]), span_of(HALF_COPY_SUFFIX))) continue;
        _cleanup_free_ char *path = name_in(EXPIRED, names.names[i]);
        result = files->remove(files, path, error);
        if (result == 0) report->temporary_removed++;
    }
    return result;
}

int recovery_make_folders(Files *files, Error *error) {
    int result = files->make_directory(files, STAGING, 0700, error);
    if (result == 0) result = files->make_directory(files, ORPHANS, 0700, error);
    if (result == 0) result = files->make_directory(files, EXPIRED, 0700, error);
    /* Nothing is moved into a folder that a crash could take away. */
    if (result == 0) result = files->sync_directory(files, STAGING, error);
    return result == 0 ? files->sync_directory(files, "", error) : result;
}

int recovery_sweep_staging(Files *files, Txn *read_txn, const Uuid *instance, usec_t now, RecoveryReport *ret_report, Error *error) {
    check(!uuid_is_nil(instance));
    RecoveryReport report = {0};
    Staged staged = {0};
    int result = recovery_make_folders(files, error);
    if (result == 0) result = files->names(files, STAGING, collect, &staged, error);
    if (result == 0) result = remove_temporary(files, &staged.temporary, &report, error);
    if (result == 0) result = ledger_keep_unknown_packs(read_txn, staged.packs, &staged.count, error);
    check(staged.count <= staged.capacity);
    if (result == 0) result = sweep_all_unknown(files, read_txn, instance, staged.packs, staged.count, now, &report, error);
    free(staged.packs);
    names_deinit(&staged.temporary);
    /* The new names before the old ones go: a crash in between must not lose a pack that somebody
     * may want back. */
    if (result == 0) result = failpoint_error("recovery.before-sync", error);
    if (result == 0 && report.orphans) result = files->sync_directory(files, ORPHANS, error);
    if (result == 0) result = files->sync_directory(files, STAGING, error);
    if (result == 0) result = remove_half_copies(files, &report, error);
    if (result < 0) return result;
    *ret_report = report;
    return 0;
}
