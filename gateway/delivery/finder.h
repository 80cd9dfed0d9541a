/*
 * The finder F: follows an event through the log, the packs and the rejects, by the id of the event.
 * Answers may take seconds, so it has a thread of its own, with short read transactions. It changes
 * nothing.
 *
 * An event is looked for where the ids of a group entry or slice may have it. If the target of the
 * rows has a column of type `id` without a mask, their text is read, so the place is exact to the
 * row. Otherwise the place says in which entry or slice the row is, if the event gave the sink one.
 *
 * The id of an event of HTTP has its time. First, only what was received in that time is looked at.
 * If that has nothing, everything is. A search ends after FIND_TIME_MAX.
 */
#pragma once

#include <stdatomic.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/mailbox.h"
#include "base/uuid.h"
#include "gateway/flow/request.h"
#include "storage/environment.h"
#include "storage/ledger.h"

#define FIND_TIME_MAX (5 * USEC_SECOND)
#define FIND_PLACES_MAX 100

typedef enum EventState {
    EVENT_IN_LOG,   /* committed, not staged */
    EVENT_STAGED,   /* in a slice of an open file */
    EVENT_WAITING,  /* in a closed file */
    EVENT_IMPORTED, /* in the table */
    EVENT_REJECTED, /* refused by the mapping or by the destination */
    EVENT_EXPIRED,  /* its file failed for too long */
    EVENT_DELETED,  /* with its file */
    EVENT_QUARANTINED,
    EVENT_DISCARDED, /* with its sink, before it was staged */
    EVENT_OVERTAKEN,
    EVENT_RETURNED,
} EventState;

typedef enum EventPrecision {
    EVENT_TO_FILE,  /* the event is in this slice of the file if it gave the sink a row */
    EVENT_TO_GROUP, /* the same for the entry of a commit group */
    EVENT_TO_ROW,   /* `first_row` and `rows` are its rows, or it is this reject */
} EventPrecision;

/* Where an event is in one sink. */
typedef struct FoundPlace {
    uint32_t sink, mapping_version;
    EventState state;
    EventPrecision precision;
    uint64_t first_row, rows;     /* of the event if `precision` is EVENT_TO_ROW, otherwise of the entry or slice. 0: a rejected event */
    usec_t first_time, last_time; /* receive times of the entry or slice; of a reject, its time; wall */
    char *connection, *table;     /* owned; NULL: not known */
    uint64_t commit;              /* number of the group; 0: it is not in the log any more */
    usec_t commit_time;           /* wall */
    Uuid pack;                    /* nil: it is in no slice */
    uint64_t pack_offset;         /* of the slice */
    Uuid file;                    /* nil: it is in no file */
    bool has_file;                /* the ledger knows the file: the fields below are set */
    FileState file_state;
    uint32_t attempts;             /* failed ones */
    usec_t closed, done, next_try; /* wall; 0: not yet */
    char *last_error;              /* owned; NULL: none */
    uint64_t reject;               /* number of the reject; 0: none */
    char *reason;                  /* owned; of the reject. NULL: none */
    bool is_unread;                /* the rows should have been read for the exact place, and could not be */
} FoundPlace;

/* C -> F -> C. Freed with find_event_free. */
typedef struct FindEvent {
    Request request; /* result: 0; -ECANCELED: the gateway shuts down; another negated errno: the database cannot be read */
    Uuid id;
    uint32_t *sinks; /* owned; numbers of the sinks to look at, ascending */
    size_t sink_count;
    FoundPlace *places; /* out; owned; by sink and row */
    size_t place_count;
    bool is_cut;    /* out: the time or FIND_PLACES_MAX was not enough for everything */
    size_t damaged; /* out: records and slices that could not be read */
    usec_t since;   /* out, without places: rows received since then are still there for each of the sinks. 0: nothing was forgotten */
} FindEvent;

FindEvent *find_event_new(const Uuid *id);
void find_event_free(FindEvent *find); /* NULL-safe */

typedef struct Finder Finder;
/* `end`: a search stops when it is set. All are borrowed. */
Finder *finder_new(Environment *environment, Files *files, Clock *clock, const atomic_bool *end);
Mailbox *finder_mailbox(Finder *finder);
/* Handles one message; false if there is none. */
bool finder_step(Finder *finder);
void finder_free(Finder *finder); /* NULL-safe; sends waiting messages back as failed */
