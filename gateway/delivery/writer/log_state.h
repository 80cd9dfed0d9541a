/* The commit log as a whole: how large it is, and up to where it may be trimmed. No disk: it
 * mirrors what stands there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

/* About 1 MB of the log: how large is what lies before a commit? */
typedef struct LogChunk {
    uint64_t last_commit;
    uint64_t bytes;
} LogChunk;

typedef struct LogState {
    uint64_t last_commit;
    usec_t last_commit_time;
    LogChunk *chunks; /* oldest first, from `first` */
    size_t first, count, capacity;
    uint64_t bytes;              /* of all chunks */
    uint64_t trim_to;            /* groups before this commit are needed by nobody, */
    uint64_t kept_from, kept_to; /* but for these, as found at the start: rows of sinks that are stopped */
    bool trim_more;              /* groups before trim_to are still there */
    uint64_t forced_to;          /* sinks in groups up to this one are forced to a file already */
} LogState;

void log_state_grew(LogState *log, uint64_t commit, uint64_t bytes);
/* Groups before `commit` are needed by nobody. */
void log_state_let_go(LogState *log, uint64_t commit);
/* But for these. */
void log_state_keep(LogState *log, uint64_t from, uint64_t to);
/* All that may go has gone. */
void log_state_trimmed(LogState *log);
/* The last commit of the oldest chunks that hold `bytes`; 0: there are none. */
uint64_t log_state_oldest(const LogState *log, uint64_t bytes);
/* Asserts that the chunks are in order and add up to the sum. */
void log_state_check(const LogState *log);
void log_state_deinit(LogState *log);
