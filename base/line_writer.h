/*
 * Writes lines to a descriptor, which may be a pipe that nobody reads. The lines go into a bounded
 * buffer, and one thread writes the buffer. A thread that adds a line never waits for the reader.
 * If a line does not fit, it is dropped and counted. All further lines are dropped as well until
 * the reader has read the whole buffer. Then one line reports how many were dropped. So the first
 * lines are kept, and a slow reader gets continuous parts.
 *
 * The descriptor may be shared with other processes, so its flags are not changed. The thread calls
 * poll() before each write. It writes at most PIPE_BUF bytes at a time, and whole lines if they
 * fit, so that the lines of several processes do not mix. If poll() was wrong, or does not support
 * the kind of descriptor, only this thread may hang in write().
 */
#pragma once

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/span.h"
#include "base/thread.h"

enum {
    LINE_WRITER_BYTES = 64 * 1024,
    LINE_WRITER_LONGEST_LINE = LINE_WRITER_BYTES / 2,
};

typedef struct LineWriter {
    int fd;
    /* Writes the line that reports `dropped` lines, including the newline, and returns its size in
     * bytes. Called on the thread of the LineWriter. */
    size_t (*note)(uint64_t dropped, char *out, size_t capacity);
    Thread thread;

    pthread_mutex_t lock; /* protects all fields below */
    pthread_cond_t work;  /* the thread waits for it */
    pthread_cond_t done;  /* flush and stop wait for it */
    char bytes[LINE_WRITER_BYTES];
    size_t first, used; /* a ring buffer; bytes that are being written still count as used */
    uint64_t dropped;   /* lines, since the last note */
    bool full;          /* lines are dropped until the ring is empty */
    bool failing;       /* the last write failed; a note is tried again with the next line */
    bool writing;
    bool ending, ended;

    atomic_bool given_up; /* the thread does not wait for the reader any more */
} LineWriter;

/* Starts the thread. `writer` must exist until line_writer_stop has returned true. SIGPIPE is
 * blocked on the thread. */
int line_writer_start(LineWriter *writer, int fd, size_t (*note)(uint64_t dropped, char *out, size_t capacity), Error *error);
/* Adds a line, which ends with a newline and has at most LINE_WRITER_LONGEST_LINE bytes. Any
 * thread; never waits for the reader. */
void line_writer_add(LineWriter *writer, Span line);
/* Waits at most `longest` until all added lines are written, or cannot be written. Returns false if
 * the reader is too slow. Any thread except the writer's own, also one that holds the lock because
 * of a bug in this module. */
bool line_writer_flush(LineWriter *writer, usec_t longest);
/* Flushes and ends the thread. Returns false if the thread hangs in write(): then `writer` must
 * exist for ever. Lines that are added later are lost. */
bool line_writer_stop(LineWriter *writer, usec_t longest);
