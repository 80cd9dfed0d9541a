/*
 * The file system, behind a seam: the real one, and in tests one in memory that forgets what was
 * not synced when it "crashes" and fails the n-th call. Paths are relative to the root that the
 * Files was made for, with '/' between parts. Everything returns 0 or a negated errno (EINTR and
 * short writes are dealt with inside). Any thread. A path that is absolute or has a ".." part is
 * -EINVAL. A last part that is a symbolic link is not followed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"

typedef struct Files Files;
typedef struct File File; /* an open file; one thread at a time */

typedef struct FileInfo {
    uint64_t bytes;
    usec_t modified; /* wall time */
    bool is_directory;
} FileInfo;

typedef int (*FilesVisit)(void *context, const char *name, const FileInfo *info); /* not 0 ends the walk and is returned */

struct Files {
    int (*create)(Files *files, const char *path, mode_t mode, File **ret_file, Error *error); /* must not exist */
    int (*open)(Files *files, const char *path, File **ret_file, Error *error);                /* to read; -EINVAL: a pipe or a device */
    int (*append)(Files *files, File *file, Span bytes, Error *error);
    /* Exactly `size` bytes from `offset`, else -ENODATA. */
    int (*read)(Files *files, File *file, uint64_t offset, void *buffer, size_t size, Error *error);
    int (*info)(Files *files, const char *path, FileInfo *ret_info, Error *error); /* -ENOENT when there is none */
    /* fdatasync. After a failed append or sync every further one of that file fails at once: remove
     * it and write anew. */
    int (*sync)(Files *files, File *file, Error *error);
    void (*close)(Files *files, File *file);                                          /* NULL-safe */
    int (*rename)(Files *files, const char *from, const char *to, Error *error);      /* replaces */
    int (*remove)(Files *files, const char *path, Error *error);                      /* a file or an empty directory */
    int (*make_directory)(Files *files, const char *path, mode_t mode, Error *error); /* 0 when it exists already */
    int (*sync_directory)(Files *files, const char *path, Error *error);              /* "" is the root */
    /* Pipes, sockets and devices are left out. */
    int (*list)(Files *files, const char *path, FilesVisit visit, void *context, Error *error);
    /* As list, but only the name and `is_directory` of each entry are set: no stat() for each, as
     * there may be very many. */
    int (*names)(Files *files, const char *path, FilesVisit visit, void *context, Error *error);
    int (*space)(Files *files, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, Error *error);
    void (*free)(Files *files); /* NULL-safe through files_free */
};

/* Whether a path stays below its root, see above: for implementations of Files. */
bool files_path_inside(const char *path);

/* The real file system below the existing directory `root` (copied). */
int files_open(const char *root, Files **ret_files, Error *error);
void files_free(Files *files);

/* May others than its owner get at the file or directory? False also when nobody can tell. */
bool files_open_to_others(const char *path);

/* Write a small file whole and durably: temporary name (PATH.new, what a crash left there is
 * replaced), sync, rename, sync of its folder. One thread at a time for one path. Failed: the old
 * file stands, unless only the last step failed. */
int files_replace(Files *files, const char *path, Span bytes, mode_t mode, Error *error);
/* A small file whole, NUL-terminated, free(); -EFBIG above max_bytes. */
int files_read_all(Files *files, const char *path, size_t max_bytes, char **ret_text, size_t *ret_bytes, Error *error);
