/* How far a backup is, what waits for it, and which backups may be restored. */
#pragma once

#include "gateway/delivery/writer/state.h"
#include "storage/backup_marks.h"

typedef enum BackupPhase {
    BACKUP_IDLE,
    BACKUP_SETTLES, /* what was received before is brought into closed files */
    BACKUP_HOLDS,   /* nothing new is taken, and the rest is brought into closed files */
    BACKUP_HELD,    /* all of it is there: nothing is taken, and no file is changed */
    BACKUP_RUNS,    /* the copy has begun */
} BackupPhase;

typedef struct BackupState {
    BackupPhase phase;
    usec_t until;          /* boot: the phase ends then; not of BACKUP_IDLE and BACKUP_RUNS */
    BackupOrder *asked;    /* BACKUP_SETTLES, BACKUP_HOLDS: waits for the point */
    uint64_t number;       /* from BACKUP_HELD on */
    bool keeps_packs;      /* no staging file is removed */
    Message *first, *last; /* taken, and not handled yet; linked by next */
    BackupMarks marks;
} BackupState;

/* The number of the latest backup in which a file of the sink waits that begins at this row; 0: it
 * waits in none. */
uint64_t writer_backup_of(const Writer *writer, const SinkState *sink, uint64_t first_row);
