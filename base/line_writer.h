/*
 * Lines to a descriptor that may be a pipe which nobody reads: a bounded buffer, and one thread
 * that writes what is in it. Who adds a line never waits for the reader. A line that does not fit
 * is dropped and counted, and so is every further one until the reader has taken all that is in the
 * buffer: then one line tells how many there were. So what was said first stays, and a slow reader
 * gets whole stretches.
 *
 * The descriptor may be shared with other processes: its flags are left as they are. The thread
 * asks poll() before each write, and writes at most PIPE_BUF bytes at a time, whole lines where
 * they fit, so that the lines of several processes do not mix. Where poll() promised too much, or
 * the descriptor is of a kind that poll() knows nothing about, the thread may hang in write(): it
 * alone.
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
    /* Writes the line that tells of `dropped` lines, newline included, and returns its bytes. On
     * the thread of the LineWriter. */
    size_t (*note)(uint64_t dropped, char *out, size_t capacity);
    Thread thread;

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t work;  /* the thread waits for it */
    pthread_cond_t done;  /* flush and stop wait for it */
    char bytes[LINE_WRITER_BYTES];
    size_t first, used; /* a ring; what is being written still counts as used */
    uint64_t dropped;   /* lines, since the last note */
    bool full;          /* lines are dropped until the ring is empty */
    bool failing;       /* the last write failed; a note is tried again with the next line */
    bool writing;
    bool ending, ended;

    atomic_bool given_up; /* the thread does not wait for the reader any more */
} LineWriter;

/* `writer` must stay until line_writer_stop has returned true. SIGPIPE stays blocked on the
 * thread. */
int line_writer_start(LineWriter *writer, int fd, size_t (*note)(uint64_t dropped, char *out, size_t capacity), Error *error);
/* Any thread; never waits for the reader. `line` ends with a newline and has at most
 * LINE_WRITER_LONGEST_LINE bytes. */
void line_writer_add(LineWriter *writer, Span line);
/* Waits at most `longest` until all that was added is written, or could not be. False: it is not,
 * the reader is too slow. Any thread but its own; also one that holds the lock by a bug in here. */
bool line_writer_flush(LineWriter *writer, usec_t longest);
/* Ends the thread after a flush. False: the thread hangs in write(), and `writer` must stay for
 * ever. Lines added later are lost. */
bool line_writer_stop(LineWriter *writer, usec_t longest);
