/* The parts of a repair: repair.c finds what is damaged and calls the others, each of which writes
 * one kind of record anew. */
#pragma once

#include <errno.h>

#include "base/buffer.h"
#include "storage/ledger_private.h"
#include "storage/partitions_private.h"
#include "storage/repair.h"
#include "storage/totals.h"

/* A key of the ledger whose value cannot be read. */
typedef struct BadRecord {
    Buffer key;
    char why[200];
} BadRecord;

typedef struct Repair {
    Txn *txn;
    Files *files;
    usec_t running;
    BadRecord *bad;
    size_t count, capacity;
    Damages *damages;
    uint32_t *sinks; /* to be verified */
    size_t sink_count, sink_capacity;
    Uuid *packs; /* to be counted anew: files of theirs were given up */
    size_t pack_count, pack_capacity;
} Repair;

/* Ends a walk and is not passed up. */
enum { REPAIR_ENOUGH = -ECANCELED };

static inline uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Notes what became of a record; its sink is verified at the end. `rows`: that were quarantined
 * because of it. */
Damage *repair_report(Repair *repair, uint32_t sink, uint64_t rows, const char *why, const char *done);

/* A record that is to be written anew; once only. */
void repair_note_bad(Repair *repair, Span key, const char *why);
void repair_note_sink(Repair *repair, uint32_t sink);
int repair_open_file_id(Span value, uint32_t *ret_sink, uint64_t *ret_first_row, Error *error);

/* ---- repair_links.c: all records can be read by now ---- */
/* Removes what lies under a damaged key, and notes what is missing of targets, ranges, slices,
 * files and their ids. */
int repair_find_misplaced(Repair *repair, Error *error);
/* After those were repaired: notes rows that wait and are in no slice, and packs that do not count
 * their slices. */
int repair_find_uncounted(Repair *repair, Error *error);
/* So that each is verified. */
int repair_note_all_sinks(Repair *repair, Error *error);

/* Each from what stands in those before it: targets, ranges, slices, files, ids of files, packs.
 * -EBADMSG: what it would be made from is not there either. */
int repair_target(Repair *repair, const BadRecord *bad, Error *error);
int repair_range(Repair *repair, const BadRecord *bad, Error *error);
int repair_slice(Repair *repair, const BadRecord *bad, Error *error);
int repair_file(Repair *repair, const BadRecord *bad, Error *error);
int repair_file_id(Repair *repair, const BadRecord *bad, Error *error);
int repair_pack(Repair *repair, const BadRecord *bad, Error *error);

/* ---- repair_ranges.c ---- */
/* First row of the next record of that kind and sink; UINT64_MAX: there is none. */
int repair_next_row(Txn *txn, char kind, uint32_t sink, uint64_t after, uint64_t *ret_row, Error *error);
/* The file that has the row: 0 or DB_NOT_FOUND. */
int repair_file_at(Txn *txn, uint32_t sink, uint64_t row, FileRecord *ret_file, Error *error);

/* ---- repair_files.c ---- */
/* Nothing says where its rows go: those that wait are quarantined, or returned when `is_bridge`.
 * The caller writes `file`. */
int repair_lose_file(Repair *repair, const BadRecord *bad, FileRecord *file, bool is_bridge, Error *error);

/* ---- repair_targets.c: texts are owned, NULL: found nowhere ---- */
typedef struct RepairTexts {
    const FileRecord *wanted;
    char *label, *target;
} RepairTexts;

int repair_texts_of_other_files(Repair *repair, RepairTexts *texts, Error *error);
char *repair_label_of_sink(Txn *txn, uint32_t number);
char *repair_target_in_pack(Repair *repair, const SliceRecord *slice);
char *repair_noted_target(Txn *txn, uint32_t sink, uint32_t version);

/* ---- repair_partitions.c ---- */
/* Partitions and how far they were read. Before the ledger. */
int repair_partitions(Repair *repair, Error *error);
/* Does a bridge write to the sink, as far as can be told? */
int repair_is_bridge(Txn *txn, uint32_t sink, bool *ret_is, Error *error);

/* ---- repair_totals.c ---- */
typedef void (*RepairFound)(void *context, uint32_t sink, const char *why, const char *done);
/* Totals, and what they are true for. After the ledger. */
int repair_totals(Txn *txn, RepairFound found, void *context, Error *error);
/* Of a sink that has rows in the ledger. After those. */
int repair_missing_totals(Txn *txn, uint32_t sink, RepairFound found, void *context, Error *error);
