/* The closed files of one sink that are waiting for their import, in the order of their rows. The
 * rows stay on disk, so a backlog needs little memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/uuid.h"

typedef struct WaitingFile {
    Uuid id;
    uint32_t mapping_version;
    uint32_t attempts;
    uint64_t first_row, rows, bytes; /* rows that can be read are rows less damaged */
    uint64_t damaged;
    uint64_t digest; /* digest of its target */
    usec_t first_time, last_time;
    usec_t next_try;     /* boot */
    usec_t waits_since;  /* running clock: when the file was closed, or found after the start of the program */
    usec_t first_failed; /* running clock: when a try failed first; 0: none has failed */
    unsigned tries;      /* failed tries since the start of the program */
    usec_t expire_after; /* boot: not before, since its copy could not be written */
    struct WriterConnection *connection;
    bool keyed;     /* later files may not be imported before it: its table has a key, or it belongs to a bridge */
    bool bridge;    /* its rows have runs: it does not expire */
    bool alone;     /* it was refused: its job contains no other file */
    bool importing; /* a loader has it; at most one of these three flags is set */
    bool expiring;  /* the stager has it */
    bool dividing;  /* with the stager */
} WaitingFile;

typedef struct WaitingFiles {
    WaitingFile *items;
    size_t count, capacity;
    uint64_t rows, bytes; /* of all: the rows that can be read */
} WaitingFiles;

/* Has neither a loader nor the stager the file? */
static inline bool waiting_is_at_rest(const WaitingFile *file) {
    return !file->importing && !file->expiring && !file->dividing;
}

/* Inserts a copy of the file in the order of the rows. The pointer is valid until a file is
 * added or removed. */
WaitingFile *waiting_add(WaitingFiles *files, const WaitingFile *file);
void waiting_remove(WaitingFiles *files, WaitingFile *file);
WaitingFile *waiting_find(const WaitingFiles *files, const Uuid *id); /* NULL: the file is not waiting; valid as above */
/* `rows` rows of the file are unreadable; or they are readable, or at the destination, after
 * all. */
void waiting_lose_rows(WaitingFiles *files, WaitingFile *file, uint64_t rows);
void waiting_regain_rows(WaitingFiles *files, WaitingFile *file, uint64_t rows);
/* The file goes to a loader or to the stager, or comes back. `flag` is one of its three flags. */
void waiting_leave_rest(WaitingFile *file, bool *flag);
void waiting_come_back(bool *flag);
/* Asserts that the sums are correct, that the files are in row order, and that each file is in one
 * state. */
void waiting_check(const WaitingFiles *files);
void waiting_deinit(WaitingFiles *files);
