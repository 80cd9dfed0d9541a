/*
 * The file system, as an interface with two implementations. One is the real file system. The other
 * one is for tests: it is in memory, loses everything that was not synced when it "crashes", and
 * fails the n-th call. Paths are relative to the root of the Files, with '/' between parts. An
 * absolute path, or one with a ".." part, is -EINVAL. If the last part is a symbolic link, it is
 * not followed. All functions return 0 or a negated errno; EINTR and short writes are handled
 * inside. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"

typedef struct Files Files;
typedef struct File File; /* an open file; used by one thread at a time */

typedef struct FileInfo {
    uint64_t bytes;
    usec_t modified; /* wall time */
    bool is_directory;
} FileInfo;

typedef int (*FilesVisit)(void *context, const char *name, const FileInfo *info); /* a result other than 0 ends the walk and is returned */

struct Files {
    int (*create)(Files *files, const char *path, mode_t mode, File **ret_file, Error *error); /* the file must not exist */
    /* for reading; -EINVAL if it is a pipe or a device */
    int (*open)(Files *files, const char *path, File **ret_file, Error *error);
    int (*append)(Files *files, File *file, Span bytes, Error *error);
    /* Reads exactly `size` bytes from `offset`; -ENODATA if there are fewer. */
    int (*read)(Files *files, File *file, uint64_t offset, void *buffer, size_t size, Error *error);
    int (*info)(Files *files, const char *path, FileInfo *ret_info, Error *error); /* -ENOENT if there is no such file */
    /* fdatasync. After a failed append or sync, every further append or sync of that file fails at
     * once: the caller removes the file and writes a new one. */
    int (*sync)(Files *files, File *file, Error *error);
    void (*close)(Files *files, File *file);                                          /* NULL-safe */
    int (*rename)(Files *files, const char *from, const char *to, Error *error);      /* replaces */
    int (*remove)(Files *files, const char *path, Error *error);                      /* a file or an empty directory */
    int (*make_directory)(Files *files, const char *path, mode_t mode, Error *error); /* 0 when it exists already */
    int (*sync_directory)(Files *files, const char *path, Error *error);              /* "" is the root */
    /* Calls `visit` for each entry except pipes, sockets and devices. */
    int (*list)(Files *files, const char *path, FilesVisit visit, void *context, Error *error);
    /* Like list, but only the name and `is_directory` are set. There is no stat() for each entry,
     * because there may be very many. */
    int (*names)(Files *files, const char *path, FilesVisit visit, void *context, Error *error);
    int (*space)(Files *files, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, Error *error);
    void (*free)(Files *files); /* NULL-safe through files_free */
};

/* Does the path stay below its root, as described above? For implementations of Files. */
bool files_path_inside(const char *path);

/* The real file system below the existing directory `root` (copied). */
int files_open(const char *root, Files **ret_files, Error *error);
void files_free(Files *files);

/* May users other than the owner read the file or directory? Also false if this is not known. */
bool files_open_to_others(const char *path);

/* Replaces a small file as a whole and durably: writes PATH.new (one that a crash left is
 * replaced), syncs it, renames it, and syncs the directory. One thread at a time for one path.
 * After a failure the old file is unchanged, unless only the last step failed. */
int files_replace(Files *files, const char *path, Span bytes, mode_t mode, Error *error);
/* Reads a small file as a whole. The text is NUL-terminated; the caller owns it (free()). -EFBIG if
 * it has more than max_bytes. */
int files_read_all(Files *files, const char *path, size_t max_bytes, char **ret_text, size_t *ret_bytes, Error *error);
