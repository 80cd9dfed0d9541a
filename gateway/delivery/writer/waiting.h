/* The closed files of one sink that wait for their import, in row order. Their records stay on
 * disk, so that a backlog costs little memory. */
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
    uint64_t digest; /* of its target */
    usec_t first_time, last_time;
    usec_t next_try;     /* boot */
    usec_t waits_since;  /* running: when it was closed, or this start found it */
    usec_t first_failed; /* running: its first try that failed; 0: none did */
    unsigned tries;      /* since this start, that failed */
    usec_t expire_after; /* boot: not before, since its copy could not be written */
    struct WriterConnection *connection;
    bool keyed;     /* nothing passes it: its table has a key, or it is of a bridge */
    bool bridge;    /* its rows have runs: it does not expire */
    bool alone;     /* was refused: no other file is drawn into its job */
    bool importing; /* with a loader; of these three at most one */
    bool expiring;  /* with the stager */
    bool dividing;  /* with the stager */
} WaitingFile;

typedef struct WaitingFiles {
    WaitingFile *items;
    size_t count, capacity;
    uint64_t rows, bytes; /* of all: the rows that can be read */
} WaitingFiles;

/* Neither with a loader nor with the stager. */
static inline bool waiting_is_at_rest(const WaitingFile *file) {
    return !file->importing && !file->expiring && !file->dividing;
}

/* Puts it where its rows belong; valid until a file is added or removed. */
WaitingFile *waiting_add(WaitingFiles *files, const WaitingFile *file);
void waiting_remove(WaitingFiles *files, WaitingFile *file);
WaitingFile *waiting_find(const WaitingFiles *files, const Uuid *id); /* NULL: it does not wait; valid as above */
/* Rows of it turned out to be unreadable, or are readable (or at the destination) after all. */
void waiting_lose_rows(WaitingFiles *files, WaitingFile *file, uint64_t rows);
void waiting_regain_rows(WaitingFiles *files, WaitingFile *file, uint64_t rows);
/* It goes to a loader or to the stager (`flag`: one of its three), or comes back. */
void waiting_leave_rest(WaitingFile *file, bool *flag);
void waiting_come_back(bool *flag);
/* Asserts that the files add up to the sums, are in row order, and that each is in one state. */
void waiting_check(const WaitingFiles *files);
void waiting_deinit(WaitingFiles *files);
