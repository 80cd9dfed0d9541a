/*
 * Records, keys and ranges of the ledger, shared by its modules. All in the database `files`; every part of a key is big-endian:
 *   'F' sink first_row        FileRecord           'S' sink first_row            SliceRecord
 *   'I' file id               where its 'F' is     'P' pack id                   PackRecord
 *   'R' sink first_row        RangeRecord          'K' pack id sink first_row    nothing: the slice lies in the pack
 *   'W' sink first_row        nothing: the file is open or closed
 *   'U' pack id               nothing: the pack has slices that are not done
 *   'D' last_done pack id     nothing: all of its slices are done
 *   'B'                       bytes of all packs; there since the four above are kept
 *   'T' sink version digest   where files of that mapping version go: once, not in each of them
 *   'O' path                  since when an orphan or a copy of an expired file lies there (copies.c)
 */
#pragma once

#include "storage/environment_private.h"
#include "storage/ledger.h"

#define LEDGER_FILE 'F'
#define LEDGER_FILE_ID 'I'
#define LEDGER_SLICE 'S'
#define LEDGER_PACK 'P'
#define LEDGER_PACK_SLICE 'K'
#define LEDGER_RANGE 'R'
#define LEDGER_COPY 'O'
#define LEDGER_WAITING_FILE 'W'
#define LEDGER_WAITING_PACK 'U'
#define LEDGER_DONE_PACK 'D'
#define LEDGER_BYTES 'B'
#define LEDGER_TARGET 'T'

typedef struct LedgerKey {
    char bytes[29];
    size_t size;
} LedgerKey;

static inline Span ledger_key_span(const LedgerKey *key) {
    return (Span){.data = key->bytes, .size = key->size};
}
LedgerKey ledger_row_key(char kind, uint32_t sink, uint64_t first_row);
LedgerKey ledger_id_key(char kind, const Uuid *id);
LedgerKey ledger_pack_slice_key(const Uuid *pack, uint32_t sink, uint64_t first_row);
/* -EBADMSG: not a key of its kind. */
int ledger_parse_row_key(Span key, uint32_t *ret_sink, uint64_t *ret_first_row, Error *error);
int ledger_parse_pack_slice_key(Span key, uint32_t *ret_sink, uint64_t *ret_first_row, Error *error);

int ledger_put_file(Txn *txn, const FileRecord *file, Error *error);
int ledger_put_file_id(Txn *txn, const FileRecord *file, Error *error);
/* `runs`: slice->run_count of them. */
int ledger_put_slice(Txn *txn, const SliceRecord *slice, const OffsetRun *runs, Error *error);
int ledger_put_pack(Txn *txn, const PackRecord *pack, Error *error);
/* `txn`: to find where it goes; NULL: its target is not wanted and is empty. */
int ledger_decode_file(Txn *txn, Span key, Span value, FileRecord *ret_file, Error *error);
/* ledger_target.c. The digest of the text, which is stored when it is not there yet. */
int ledger_keep_target(Txn *txn, const FileRecord *file, uint64_t *ret_digest, Error *error);
int ledger_find_target(Txn *txn, uint32_t sink, uint32_t version, uint64_t digest, char **ret_target, Error *error);
/* A file was forgotten: so is where it went, unless another file of the sink is of the same mapping
 * version. */
int ledger_drop_target(Txn *txn, const FileRecord *file, Error *error);
int ledger_open_target(Span key, Span value, Span *ret_target, Error *error);
int ledger_decode_slice(Span key, Span value, SliceRecord *ret_slice, Error *error);
/* With its runs, which are added to `runs`. */
int ledger_decode_slice_and_runs(Span key, Span value, SliceRecord *ret_slice, OffsetRuns *runs, Error *error);
int ledger_decode_pack(Span key, Span value, PackRecord *ret_pack, Error *error);
int ledger_decode_range(Span key, Span value, RangeRecord *ret_range, Error *error);

/* ---- ledger.c ---- */
/* The file that the caller speaks of, as it is stored; -EBADMSG when it is not. */
int ledger_load_file(Txn *txn, const FileRecord *file, FileRecord *ret_stored, Error *error);
int ledger_load_pack(Txn *txn, const Uuid *id, PackRecord *ret_pack, Error *error);
/* -EBADMSG: "the file cannot be WHAT: it is …". */
int ledger_wrong_state(const FileRecord *file, const char *what, Error *error);
/* Numbers and times of what was stored; the caller's texts stay its own. */
void ledger_bring_up_to_date(FileRecord *file, const FileRecord *stored);
/* ---- ledger_forget.c: the file's own records, not its slices ---- */
int ledger_forget_file(Txn *txn, const FileRecord *file, Error *error);

/* The record of that kind and sink that begins at `row` or is the last to begin before it. 0 or
 * DB_NOT_FOUND; the cursor stands on it. */
int ledger_seek_floor(MDB_cursor *cursor, char kind, uint32_t sink, uint64_t row, Span *ret_key, Span *ret_value, Error *error);

/* Adds rows where the sink's ranges end; -EBADMSG when they do not begin there. */
int ranges_append(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, RangeState state, Error *error);
/* Rows that lie in one range of state `from` become `to`; equal neighbours merge. -EBADMSG when
 * they do not. */
int ranges_change(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, RangeState from, RangeState to, Error *error);
/* The range that `row` is in: 0 or DB_NOT_FOUND. */
int ranges_find(Txn *txn, uint32_t sink, uint64_t row, RangeRecord *ret_range, Error *error);

/* ledger_index.c, called by what writes the records. `before`, `after`: NULL: there is none. */
int index_pack(Txn *txn, const PackRecord *before, const PackRecord *after, Error *error);
int index_file(Txn *txn, uint32_t sink, uint64_t first_row, bool waits, Error *error);
/* Packs of which all is done, at `done_before` or earlier, the oldest first; free(). */
int index_done_packs(Txn *txn, usec_t done_before, size_t most, ForgottenPack **ret_packs, size_t *ret_count, Error *error);

/* Writes a range anew that could not be read; equal neighbours merge. */
int ranges_put_merged(Txn *txn, const RangeRecord *range, Error *error);

/* Slices that lie in the pack, and those of them that are done, whatever its record says. */
int ledger_count_pack(Txn *txn, const Uuid *pack, uint32_t *ret_slices, uint32_t *ret_done, Error *error);

static inline bool range_is_left_out(RangeState state) {
    return state == RANGE_OVERTAKEN || state == RANGE_RETURNED;
}
/* Is a row of that state in a file that waits one that nobody reads? */
static inline bool range_is_unreadable(RangeState state) {
    return state == RANGE_QUARANTINED || range_is_left_out(state);
}

const char *range_state_name(RangeState state);
const char *file_state_name(FileState state);
