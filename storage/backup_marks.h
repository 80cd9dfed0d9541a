/*
 * The backups from which this directory may be restored, in the database `statistics`
 * (docs/formats.md). Files whose rows are in one of them keep their ids in the ledger of the
 * destination, because a restored directory looks for these ids there. The writer's thread; also
 * commands that read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "storage/environment.h"

typedef struct BackupMark {
    uint64_t number; /* from 1, ascending */
    bool complete;   /* false: it has not ended, or it failed and a crash kept its mark */
    usec_t running;  /* running time of its point */
} BackupMark;

typedef struct BackupRow {
    uint32_t sink;
    uint64_t row; /* the latest backup has the rows before this one */
} BackupRow;

typedef struct BackupMarks {
    BackupMark *items; /* owned; ascending numbers */
    size_t count, capacity;
    BackupRow *rows; /* owned */
    size_t row_count, row_capacity;
} BackupMarks;

#define BACKUP_MARKS_MAX 1000

int backup_marks_store(Txn *txn, const BackupMarks *marks, Error *error);
/* Without a record there are no marks. -EBADMSG: the record is damaged. */
int backup_marks_load(Txn *txn, BackupMarks *ret_marks, Error *error);
void backup_marks_add(BackupMarks *marks, const BackupMark *mark);
void backup_marks_add_row(BackupMarks *marks, uint32_t sink, uint64_t row);
/* The backup with the number is complete: only the `kept` latest complete ones are kept, and what
 * is later than the oldest of them. */
void backup_marks_complete(BackupMarks *marks, uint64_t number, size_t kept);
void backup_marks_remove(BackupMarks *marks, uint64_t number);
/* The lowest number; UINT64_MAX: there is none. */
uint64_t backup_marks_oldest(const BackupMarks *marks);
void backup_marks_deinit(BackupMarks *marks);
