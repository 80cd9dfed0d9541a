/* The imported files of one sink whose ids are still in the ledger of the destination, as far as
 * known. An import deletes some of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/uuid.h"

#define SETTLED_MAX 1000 /* of one sink; what is older stays in the destination's ledger */

typedef struct SettledFile {
    Uuid id;
    usec_t done; /* wall, in the order of imports */
    const struct WriterConnection *connection;
    uint64_t backup; /* number of the latest backup in which it waits; 0: it waits in none */
} SettledFile;

typedef struct SettledFiles {
    SettledFile *items; /* oldest first */
    size_t count, capacity;
    bool loaded;         /* those that the start found are among them */
    uint64_t backup_row; /* the latest backup has the rows before this one */
} SettledFiles;

void settled_add(SettledFiles *files, const SettledFile *file);
void settled_forget(SettledFiles *files, const Uuid *ids, size_t count);
/* By the time at which they were done: after those that a start found are added, in the order of
 * rows. */
void settled_sort(SettledFiles *files);
/* Writes up to `most` ids that may be deleted there, oldest first: not the last one, by which a
 * rewound destination is noticed, and not those that wait in the backup `oldest_backup` or a later
 * one. */
size_t settled_choose(const SettledFiles *files, const struct WriterConnection *connection, uint64_t oldest_backup, Uuid *ret_ids,
                      size_t most);
/* The backup with the number begins: the last file of each connection is the last one in it, too. */
void settled_keep_last(SettledFiles *files, uint64_t backup);
void settled_deinit(SettledFiles *files);
