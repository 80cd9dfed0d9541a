#include "gateway/delivery/writer/log_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"

#define CHUNK_BYTES (1u << 20)

void log_state_grew(LogState *log, uint64_t commit, uint64_t bytes) {
    log->bytes += bytes;
    if (log->count > 0) {
        LogChunk *last = &log->chunks[log->first + log->count - 1];
        check(commit > last->last_commit); /* a group is committed once */
        if (last->bytes < CHUNK_BYTES) {
            last->bytes += bytes;
            last->last_commit = commit;
            return;
        }
    }
    if (log->first > 0 && log->first + log->count == log->capacity) {
        memmove(log->chunks, log->chunks + log->first, log->count * sizeof *log->chunks);
        log->first = 0;
    }
    array_reserve(log->chunks, log->first + log->count, log->capacity);
    log->chunks[log->first + log->count++] = (LogChunk){.last_commit = commit, .bytes = bytes};
}

void log_state_let_go(LogState *log, uint64_t commit) {
    if (commit <= log->trim_to) return;
    log->trim_to = commit;
    log->trim_more = true;
}

void log_state_keep(LogState *log, uint64_t from, uint64_t to) {
    check(from > 0 && from <= to);
    if (log->kept_to == 0 || from < log->kept_from) log->kept_from = from;
    if (to > log->kept_to) log->kept_to = to;
}

void log_state_trimmed(LogState *log) {
    log->trim_more = false;
    while (log->count > 0 && log->chunks[log->first].last_commit < log->trim_to) {
        check(log->bytes >= log->chunks[log->first].bytes);
        log->bytes -= log->chunks[log->first].bytes;
        log->first++;
        log->count--;
    }
}

uint64_t log_state_oldest(const LogState *log, uint64_t bytes) {
    uint64_t seen = 0, commit = 0;
    for (size_t i = 0; i < log->count && seen < bytes; i++) {
        seen += log->chunks[log->first + i].bytes;
        commit = log->chunks[log->first + i].last_commit;
    }
    return commit;
}

void log_state_check(const LogState *log) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < log->count; i++) {
        const LogChunk *chunk = &log->chunks[log->first + i];
        check(i == 0 || chunk->last_commit > chunk[-1].last_commit);
        check(chunk->last_commit <= log->last_commit);
        bytes += chunk->bytes;
    }
    check(bytes == log->bytes);
    check(log->trim_to <= log->last_commit + 1 && log->kept_from <= log->kept_to);
}

void log_state_deinit(LogState *log) {
    free(log->chunks);
    *log = (LogState){0};
}
