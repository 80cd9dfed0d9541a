/*
 * The `Files` seam in memory, for tests and the simulation: a disk that forgets what was not synced
 * when it crashes, fails a chosen call, and can be full. Any thread: one lock inside; the visits of
 * `list` run outside of it.
 *
 * What a crash keeps for certain:
 *   - the bytes of a file up to its last sync that succeeded;
 *   - names made, renamed or removed in a folder before the last successful sync_directory of that folder (of either folder for a rename
 *     between two, as far as the name in that folder goes), if the folder itself is kept.
 * Everything younger survives or vanishes, each by itself, as a Random says; with these bounds, which real file systems keep too:
 *   - a rename within a folder is atomic, and a rename between two never loses the file: the old name goes only if the new one stays;
 *   - a change to a name survives only if the changes before it to that name did.
 * Of bytes that were not synced a part from the front may survive, or zeros in their place.
 * Modes are ignored. A folder can be renamed only within its folder (-EXDEV).
 */
#pragma once

#include <stdint.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/random.h"

typedef enum MemoryFilesCall {
    MEMORY_FILES_CREATE,
    MEMORY_FILES_OPEN,
    MEMORY_FILES_APPEND,
    MEMORY_FILES_READ,
    MEMORY_FILES_INFO,
    MEMORY_FILES_SYNC,
    MEMORY_FILES_RENAME,
    MEMORY_FILES_REMOVE,
    MEMORY_FILES_MAKE_DIRECTORY,
    MEMORY_FILES_SYNC_DIRECTORY,
    MEMORY_FILES_LIST,
    MEMORY_FILES_SPACE,
    MEMORY_FILES_CALLS_
} MemoryFilesCall;

/* An empty root. `random` decides what survives a crash (borrowed, used under the lock); NULL:
 * nothing that was not synced survives. `clock` gives the modification times (borrowed); NULL: the
 * system's. Freed by files_free; open files must be closed before (checked). */
Files *memory_files_new(Random *random, Clock *clock);

/* The power goes and comes back. Files that are open now answer -EBADF from here on and have still
 * to be closed. Planned failures and counters stay. */
void memory_files_crash(Files *files);

/*
 * The nth call from now (1: the next; close and free do not count) fails with `code`, an errno, positive or negated; if `for_good`, so do
 * all after it. nth = 0 takes every plan back. A call that fails changes nothing, but
 *   - an append may have written some of the bytes (as the Random says);
 *   - a sync that fails loses the file's unsynced bytes to the disk for good, as Linux does: they can still be read, no later sync keeps
 *     them, and that handle refuses every further append and sync.
 * One plan of this kind at a time, and one for each kind of call (memory_files_fail_call: the nth call of that kind).
 */
void memory_files_fail(Files *files, uint64_t nth, int code, bool for_good);
void memory_files_fail_call(Files *files, MemoryFilesCall call, uint64_t nth, int code, bool for_good);

/* Bytes that all files may hold together, also those that are removed but open; 0: no limit. More
 * is -ENOSPC, and the bytes that fitted are written. What is there already stays. */
void memory_files_capacity(Files *files, uint64_t bytes);

/* Calls so far, failed ones counted. */
uint64_t memory_files_calls(Files *files);
uint64_t memory_files_calls_of(Files *files, MemoryFilesCall call);

/* Bytes that all files hold now. */
uint64_t memory_files_used(Files *files);
/* Changes to names and appended bytes that a crash could lose now. 0: everything is durable. */
uint64_t memory_files_unsynced(Files *files);

/* Flips one bit of a file, as a bad disk would, synced or not: for tests of checksums. -ENOENT, or
 * -EINVAL beyond its end. */
int memory_files_flip(Files *files, const char *path, uint64_t bit, Error *error);
