/*
 * Packs: immutable files of slices. A slice is a JSON frame (instance, file id, connection, table,
 * columns, first row, count, checksum) and a zstd frame (RFC 8878) with the row text. The pack ends
 * with a directory, the footer. A pack is written under a temporary name, synced and renamed, and
 * its directory is synced. It is never changed afterwards. It can be read without LMDB.
 * docs/formats.md has each byte.
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

/* After a call on a writer has failed, all further calls fail: abandon it. */

/* Begins staging/<id>.pack.tmp. There is no file with the final name until pack_finish. */
int pack_create(Files *files, const Uuid *id, const Uuid *instance, PackWriter **ret_writer, Error *error);
/* Begins a slice. The caller sets the sink, mapping_version, first_row, rows, times, ids and file of
 * `slice`. The functions set pack, offset, length, bytes and checksum. `description`: JSON text of
 * the target. Then the row text follows in pieces of whole rows (pack_add_rows), and
 * pack_end_slice. */
int pack_begin_slice(PackWriter *writer, SliceRecord *slice, Span description, Error *error);
/* The same for a slice of a bridge's sink. `runs`: slice->run_count runs with its rows.
 * `partitions`: the known ones of the partitions that the runs name (partitions_of_runs). -E2BIG:
 * their text is longer than a description may be. */
int pack_begin_slice_with_runs(PackWriter *writer, SliceRecord *slice, Span description, const OffsetRun *runs,
                               const Partitions *partitions, Error *error);
int pack_add_rows(PackWriter *writer, Span rows, Error *error);
int pack_end_slice(PackWriter *writer, SliceRecord *slice, Error *error);
uint64_t pack_bytes(const PackWriter *writer); /* bytes written so far */
/* Writes the footer, syncs and renames the file, and syncs the directory. Frees the writer.
 * Failpoints: pack.before-sync, pack.before-rename, pack.after-rename. */
int pack_finish(PackWriter *take_writer, uint64_t *ret_bytes, Error *error);
void pack_abandon(PackWriter *writer); /* removes the temporary file and frees the writer; NULL-safe */

/* Reads the row text of one slice, block by block; on a loader's thread. */
typedef struct SliceReader SliceReader;
/* Opens a slice. Damage means that bytes were read and are not valid; the first slice_read reports
 * it. What cannot be read is not damage, and may be there later: here and in slice_read that is an
 * error of the file system (-ENOENT: no such pack; -ENODATA: the file ends too early). */
int slice_open(Files *files, const SliceRecord *slice, SliceReader **ret_reader, Error *error);
enum { SLICE_READ_END = 1, SLICE_READ_DAMAGED = 2 };
/* The same for a slice of the pack at `path`, as pack_read_directory returned it. The file may be
 * in any place and have any name. */
int slice_open_at(Files *files, const char *path, const SliceRecord *slice, SliceReader **ret_reader, Error *error);
/* Returns the next whole rows, at most about 256 KB, or one longer row. SLICE_READ_DAMAGED: the
 * frame or the checksum is not valid, which is found before the last block is returned. */
/* `error` also says what is damaged. After < 0 (I/O) the reader is rewound */
int slice_read(SliceReader *reader, Span *ret_rows, Error *error);
int slice_rewind(SliceReader *reader, Error *error);
/* The runs of the slice and the partitions that they name, from its description. There are none if
 * it is not a slice of a bridge's sink. Returns 0, SLICE_READ_DAMAGED or < 0. The ledger has the
 * same information; this is for callers that do not have the ledger. */
typedef struct SliceRuns {
    OffsetRuns runs;
    Partitions partitions;
} SliceRuns;
int slice_runs(SliceReader *reader, SliceRuns *ret_runs, Error *error);
void slice_runs_deinit(SliceRuns *runs);
/* Appends the JSON text that describes the slice (docs/formats.md) to `out`. Returns 0,
 * SLICE_READ_DAMAGED or < 0. */
int slice_description(SliceReader *reader, Buffer *out, Error *error);
void slice_close(SliceReader *reader); /* NULL-safe */
/* Reads the whole slice once. Returns 0, SLICE_READ_DAMAGED, or < 0. */
int slice_verify(Files *files, const SliceRecord *slice, Error *error);
int slice_verify_at(Files *files, const char *path, const SliceRecord *slice, Error *error);

/* The header and the footer of a pack, verified. Its rows are not read. -EBADMSG: a part is not
 * valid. For any path, so that a pack can be read that the ledger does not know. */
typedef struct PackDirectory {
    Uuid id, instance;
    SliceRecord *slices; /* owned; in the order of the file */
    size_t count;
} PackDirectory;
int pack_read_directory(Files *files, const char *path, PackDirectory *ret_directory, Error *error);
void pack_directory_deinit(PackDirectory *directory);

/* Also returns 0 if there is no such pack. */
int pack_remove(Files *files, const Uuid *id, Error *error);
/* Writes "staging/<id>.pack". */
void pack_path(const Uuid *id, char out[static 64]);
