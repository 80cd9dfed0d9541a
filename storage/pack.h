/*
 * Packs: immutable files of slices. A slice is a JSON frame (instance, file id, connection, table,
 * columns, first row, count, checksum) and one zstd frame (RFC 8878) of row text; the pack ends
 * with a footer directory. Written under a temporary name, synced, renamed, folder synced; never
 * changed after. Readable without LMDB. docs/formats.md has each byte.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/files.h"
#include "base/span.h"
#include "storage/ledger.h"
#include "storage/partitions.h"

typedef struct PackWriter PackWriter; /* the stager's thread */

/* Once a call on a writer failed, each further one fails: abandon it. */

/* Begins staging/<id>.pack.tmp; nothing is at the final name until pack_finish. */
int pack_create(Files *files, const Uuid *id, const Uuid *instance, PackWriter **ret_writer, Error *error);
/* `slice`: sink, mapping_version, first_row, rows, times, file are given; pack, offset, length,
 * bytes and checksum are filled in. `description`: JSON text of the table target. Begins the slice;
 * then its row text in pieces of whole rows; then pack_end_slice. */
int pack_begin_slice(PackWriter *writer, SliceRecord *slice, Span description, Error *error);
/* The same for a slice of a bridge's sink: `runs`, slice->run_count of them, have its rows.
 * `partitions`: those that they name, as far as they are known (partitions_of_runs). -E2BIG: their
 * text is longer than a description may be. */
int pack_begin_slice_with_runs(PackWriter *writer, SliceRecord *slice, Span description, const OffsetRun *runs,
                               const Partitions *partitions, Error *error);
int pack_add_rows(PackWriter *writer, Span rows, Error *error);
int pack_end_slice(PackWriter *writer, SliceRecord *slice, Error *error);
uint64_t pack_bytes(const PackWriter *writer); /* so far */
/* Footer, sync, rename, sync of the folder. Frees the writer. Failpoints: pack.before-sync,
 * pack.before-rename, pack.after-rename. */
int pack_finish(PackWriter *take_writer, uint64_t *ret_bytes, Error *error);
void pack_abandon(PackWriter *writer); /* removes the temporary file; NULL-safe */

/* Row text of one slice, decompressed block by block; a loader's thread. */
typedef struct SliceReader SliceReader;
/* Damage is what was read and does not hold; the first slice_read reports it. What cannot be read
 * is no damage and may be there later: an error of the file system (-ENOENT: no such pack,
 * -ENODATA: the file ends too early), here or from slice_read. */
int slice_open(Files *files, const SliceRecord *slice, SliceReader **ret_reader, Error *error);
enum { SLICE_READ_END = 1, SLICE_READ_DAMAGED = 2 };
/* The same for a slice of the pack at `path`, which pack_read_directory read: wherever the file lies,
 * and whatever its name is. */
int slice_open_at(Files *files, const char *path, const SliceRecord *slice, SliceReader **ret_reader, Error *error);
/* Next whole rows, about 256 KB at most (or one longer row). SLICE_READ_DAMAGED: frame or checksum
 * do not hold (found before the last block is given). */
int slice_read(SliceReader *reader, Span *ret_rows, Error *error); /* `error` says what is damaged, too. After < 0 (I/O): as rewound */
int slice_rewind(SliceReader *reader, Error *error);
/* The runs of the slice, as its description says, and the partitions that they name; none: it is
 * not of a bridge's sink. 0, SLICE_READ_DAMAGED or < 0. What the ledger says is the same; this is
 * for who does not have it, or not any more. */
typedef struct SliceRuns {
    OffsetRuns runs;
    Partitions partitions;
} SliceRuns;
int slice_runs(SliceReader *reader, SliceRuns *ret_runs, Error *error);
void slice_runs_deinit(SliceRuns *runs);
/* The JSON text that describes the slice (docs/formats.md), appended to `out`. 0,
 * SLICE_READ_DAMAGED or < 0. */
int slice_description(SliceReader *reader, Buffer *out, Error *error);
void slice_close(SliceReader *reader); /* NULL-safe */
/* Reads the slice through once: 0 or SLICE_READ_DAMAGED. */
int slice_verify(Files *files, const SliceRecord *slice, Error *error);
int slice_verify_at(Files *files, const char *path, const SliceRecord *slice, Error *error);

/* What a pack says of itself: header and footer, verified; its rows are not read. -EBADMSG: a part
 * does not hold. For any path, so that a pack can be read that the ledger does not know. */
typedef struct PackDirectory {
    Uuid id, instance;
    SliceRecord *slices; /* owned; in the order of the file */
    size_t count;
} PackDirectory;
int pack_read_directory(Files *files, const char *path, PackDirectory *ret_directory, Error *error);
void pack_directory_deinit(PackDirectory *directory);

/* 0 also when there is none. */
int pack_remove(Files *files, const Uuid *id, Error *error);
/* "staging/<id>.pack" */
void pack_path(const Uuid *id, char out[static 64]);
