/*
 * The thread of backups, K. It makes one backup at a time, of a gateway that runs
 * (docs/operations.md, docs/delivery.md). The order of the copies is what makes a backup
 * consistent: the point (writer/backup_point.h), the database of the gateway, the staging files that this
 * database names, the other files, and last the SQLite tables, which are newer. A backup is written
 * under a temporary name and renamed when it is complete and synced.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/mailbox.h"
#include "base/uuid.h"
#include "config/connection.h"
#include "storage/environment.h"

typedef struct Backups Backups;

typedef struct BackupsOptions {
    Environment *environment; /* borrowed, as all of these */
    const char *data_directory;
    const char *directory; /* of the backups; relative to the data directory unless it is absolute */
    const Connections *connections;
    const char *const *files;   /* names of small files of the data directory; those that are missing are left out; ends with NULL */
    const char *const *folders; /* names of folders with small files, likewise */
    Uuid instance;
    unsigned format; /* of the data directory */
    size_t kept;
    Mailbox *writer;
    Clock *clock;
} BackupsOptions;

int backups_start(const BackupsOptions *options, Backups **ret_backups, Error *error);
/* Takes MESSAGE_BACKUP. */
Mailbox *backups_mailbox(Backups *backups);
/* Cancels a backup that runs, and joins the thread. The writer must still answer. NULL-safe. */
void backups_stop(Backups *backups);
void backups_free(Backups *backups); /* after backups_stop; NULL-safe */
