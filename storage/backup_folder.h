/*
 * The directory of a backup (docs/formats.md): files that are copied durably, and the manifest,
 * which is written last. Paths are those of the file system. Functions return 0 or a negated errno.
 * Any thread; a manifest is used by one thread at a time.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/uuid.h"

#define BACKUP_MANIFEST "backup.json"
#define BACKUP_NAME_MAX 64

/* Is it a name for a backup: 1 to BACKUP_NAME_MAX of a-z A-Z 0-9 . _ -, the first one a letter or a
 * digit? */
bool backup_name_is_valid(const char *name);

typedef struct BackupFile {
    char *path; /* owned; relative to the backup */
    uint64_t bytes, checksum;
} BackupFile;

typedef struct BackupManifest {
    Uuid instance;
    uint64_t number, commit, rows;
    usec_t at;       /* wall time of the point */
    unsigned format; /* of the data directory */
    uint64_t kept;   /* number of backups that were safe to restore when it was made */
    uint64_t packs, pack_bytes;
    BackupFile *files; /* owned; all but the packs, which have checksums of their own */
    size_t count, capacity;
} BackupManifest;

/* Adds the file with the size and checksum that the copy returned. */
void backup_manifest_add(BackupManifest *manifest, const char *path, uint64_t bytes, uint64_t checksum);
/* Writes FOLDER/backup.json durably. */
int backup_manifest_write(const char *folder, const BackupManifest *manifest, Error *error);
/* -ENOENT: there is none, so the folder is no complete backup. -EBADMSG: it is damaged. -EPROTO: a
 * newer version wrote it. */
int backup_manifest_read(const char *folder, BackupManifest *ret_manifest, Error *error);
void backup_manifest_deinit(BackupManifest *manifest);

/* Copies what can be read from `fd` into a new file `to` (0600) and syncs it. -ECANCELED: `cancel`
 * (may be NULL) was set. */
int backup_copy_stream(int fd, const char *to, const atomic_bool *cancel, uint64_t *ret_bytes, uint64_t *ret_checksum, Error *error);
/* The same from a file. -ENOENT: it is not there. */
int backup_copy_file(const char *from, const char *to, const atomic_bool *cancel, uint64_t *ret_bytes, uint64_t *ret_checksum,
                     Error *error);
/* For files that never change: a second name of the same file if the file system allows it,
 * otherwise a copy. */
int backup_link_file(const char *from, const char *to, const atomic_bool *cancel, uint64_t *ret_bytes, Error *error);
/* Reads the file and compares it with the size and checksum. -EBADMSG: it differs. */
int backup_check_file(const char *path, const BackupFile *file, Error *error);
/* Creates a folder (0700) and the missing ones above it; 0 if it exists. */
int backup_make_folder(const char *path, Error *error);
int backup_sync_folder(const char *path, Error *error);
/* Syncs the folder and all folders in it. */
int backup_sync_tree(const char *path, Error *error);
/* Removes the folder with all that is in it. It does not follow symbolic links. 0 if it is not
 * there. */
int backup_remove_tree(const char *path, Error *error);
