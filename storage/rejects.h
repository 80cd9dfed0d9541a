/*
 * Rejects: events that a mapping refused under `quarantine`, and rows that a destination refused.
 * Events are stored as they came, or without their body if values are masked. Rows are stored as
 * pending under (file, row) before the destination's commit. They become visible when the file is
 * recorded as imported. In transactions of the writer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "base/uuid.h"
#include "storage/environment.h"

typedef struct Reject {
    uint64_t number; /* number in its sink, from 1, set by rejects_add or when it becomes visible */
    uint32_t sink;
    usec_t at;      /* wall time */
    usec_t running; /* running time (totals.h) at that moment, from which its age counts; 0: stored by a program that did not record it */
    bool is_row;    /* false: an event; data is its body, content_type set. true: data is the row's CSV text */
    Uuid id;        /* id of the event, or of the row's file */
    uint64_t row;   /* row number; 0 for an event */
    uint32_t mapping_version;
    Span column; /* empty: none */
    Span reason;
    Span content_type;
    Span data;
    Span place;           /* for an event that was read from a broker: its meta value `bridge` (mapping/meta.h); otherwise empty */
    bool dropped;         /* the body of the event was not stored: data is empty */
    uint64_t event_bytes; /* size of that body; 0 if it was stored */
} Reject;

int rejects_add(Txn *txn, Reject *reject, Error *error); /* the reject is visible at once; sets number */
/* Replaces the pending rejects of the file. Each one is a row of that file (is_row, id); a row that
 * occurs twice is -EEXIST. */
int rejects_put_pending(Txn *txn, const Uuid *file, Reject *rejects, size_t count, Error *error);
int rejects_count_pending(Txn *txn, const Uuid *file, uint64_t *ret_rows, Error *error);
int rejects_publish(Txn *txn, const Uuid *file, uint64_t *ret_rows, Error *error); /* makes pending rejects visible, ordered by row */
int rejects_drop_pending(Txn *txn, const Uuid *file, Error *error);
/* Visits visible rejects by number. A result < 0 of the visit ends the walk; it must not write. */
typedef int (*RejectVisit)(void *context, const Reject *reject, Error *error);
/* removes all rejects of a sink that is deleted for good; its number is never used again */
int rejects_forget_sink(Txn *txn, uint32_t sink, Error *error);
int rejects_visit(Txn *txn, uint32_t sink, uint64_t after_number, RejectVisit visit, void *context, Error *error);
/* Returns the number of visible rejects, in constant time: numbers have no gaps, because they are
 * given in order and removed from the front. */
int rejects_count(Txn *txn, uint32_t sink, uint64_t *ret_count, Error *error);
int rejects_remove(Txn *txn, uint32_t sink, uint64_t up_to_number, uint64_t *ret_removed, Error *error); /* removes visible rejects */
uint64_t rejects_bytes(Txn *txn); /* size of all rejects, including pending ones, for their limit; in constant time */
