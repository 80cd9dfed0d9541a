/*
 * Rejects: events that a mapping refused under `quarantine`, kept as they came, or without their
 * body where values are masked, and rows that a destination refused. Rows are stored pending under
 * (file, row) before the destination's commit and made visible when the file is recorded as
 * imported. Writer's transactions.
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
    uint64_t number; /* by sink, from 1, given by rejects_add or when made visible */
    uint32_t sink;
    usec_t at;      /* wall time */
    usec_t running; /* running time (totals.h) at that moment: what its age counts from; 0: of a program that did not count it */
    bool is_row;    /* false: an event; data is its body, content_type set. true: data is the row's CSV text */
    Uuid id;        /* event: its id; row: its file's */
    uint64_t row;   /* row number; 0 for an event */
    uint32_t mapping_version;
    Span column; /* empty: none */
    Span reason;
    Span content_type;
    Span data;
    Span place;           /* of an event that was read from a broker: its meta value `bridge` (mapping/meta.h); empty: none */
    bool dropped;         /* an event that was not kept: data is empty */
    uint64_t event_bytes; /* that it had; 0 when it was kept */
} Reject;

int rejects_add(Txn *txn, Reject *reject, Error *error); /* visible at once; sets number */
/* Replaces what is pending for the file; each is a row of that file (is_row, id), no row twice
 * (-EEXIST). */
int rejects_put_pending(Txn *txn, const Uuid *file, Reject *rejects, size_t count, Error *error);
int rejects_count_pending(Txn *txn, const Uuid *file, uint64_t *ret_rows, Error *error);
int rejects_publish(Txn *txn, const Uuid *file, uint64_t *ret_rows, Error *error); /* pending -> visible, by row */
int rejects_drop_pending(Txn *txn, const Uuid *file, Error *error);
/* Visible ones, by number. < 0 from the visit ends the walk; it must not write. */
typedef int (*RejectVisit)(void *context, const Reject *reject, Error *error);
int rejects_forget_sink(Txn *txn, uint32_t sink, Error *error); /* an erased one: its number never comes again */
int rejects_visit(Txn *txn, uint32_t sink, uint64_t after_number, RejectVisit visit, void *context, Error *error);
/* How many are visible. Constant time: their numbers have no gaps, since they are given in order
 * and removed from the front. */
int rejects_count(Txn *txn, uint32_t sink, uint64_t *ret_count, Error *error);
int rejects_remove(Txn *txn, uint32_t sink, uint64_t up_to_number, uint64_t *ret_removed, Error *error); /* visible ones */
uint64_t rejects_bytes(Txn *txn); /* that all of them take, pending ones too: for the cap. Constant time */
