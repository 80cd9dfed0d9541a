#include "base/line_writer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"

enum {
    POLL_MS = 100, /* the thread looks this often whether it was given up */
    NOTE_MAX = 512,
};

/* What the thread writes next, copied so that nothing is locked meanwhile. */
typedef struct Chunk {
    char bytes[PIPE_BUF];
    size_t size;
    uint64_t told; /* lines that were dropped, if it is a note: it is not of the ring */
} Chunk;

static struct timespec deadline_of(clockid_t clock, usec_t longest) {
    struct timespec at;
    check(clock_gettime(clock, &at) == 0);
    int64_t nanoseconds = at.tv_nsec + longest % USEC_SECOND * 1000;
    at.tv_sec += longest / USEC_SECOND + nanoseconds / 1000000000;
    at.tv_nsec = nanoseconds % 1000000000;
    return at;
}

/* Under the lock. */
static bool has_work(const LineWriter *writer) {
    return writer->used > 0 || (writer->dropped > 0 && !writer->failing);
}

static void count_dropped(LineWriter *writer, uint64_t lines) {
    writer->dropped += lines;
    metrics_add(METRIC_LOG_LINES_DROPPED, lines);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* As many whole lines as fit, a part of one that is longer. */
static void take_lines(const LineWriter *writer, Chunk *chunk) {
    chunk->size = writer->used < sizeof chunk->bytes ? writer->used : sizeof chunk->bytes;
    size_t front = sizeof writer->bytes - writer->first;
    if (front > chunk->size) front = chunk->size;
    memcpy(chunk->bytes, writer->bytes + writer->first, front);
    memcpy(chunk->bytes + front, writer->bytes, chunk->size - front);
    const char *last = memrchr(chunk->bytes, '\n', chunk->size);
    if (last) chunk->size = (size_t)(last - chunk->bytes) + 1;
}

static void drop_all(LineWriter *writer) {
    uint64_t lines = 0;
    for (size_t i = 0; i < writer->used; i++) lines += writer->bytes[(writer->first + i) % sizeof writer->bytes] == '\n';
    writer->used = 0;
    writer->full = false;
    count_dropped(writer, lines);
}

/* 0, or a negated errno; -ECANCELED: given up. */
static int write_chunk(LineWriter *writer, const Chunk *chunk, size_t *ret_written) {
    for (*ret_written = 0; *ret_written < chunk->size;) {
        if (atomic_load(&writer->given_up)) return -ECANCELED;
        struct pollfd ready = {.fd = writer->fd, .events = POLLOUT};
        int r = poll(&ready, 1, POLL_MS);
        if (r == 0 || (r < 0 && errno == EINTR)) continue;
        if (r < 0) return -errno;
        ssize_t result = write(writer->fd, chunk->bytes + *ret_written, chunk->size - *ret_written);
        if (result > 0) {
            *ret_written += (size_t)result;
        } else if (result < 0 && errno == EAGAIN) {
            (void)poll(NULL, 0, POLL_MS / 10); /* another process made the descriptor non-blocking, and poll() promised too much */
        } else if (result == 0 || errno != EINTR) {
            return result == 0 ? -EIO : -errno;
        }
    }
    return 0;
}

/* Under the lock, which is let go while it writes. */
static void write_next(LineWriter *writer, Chunk *chunk) {
    if (writer->used == 0) writer->full = false;
    uint64_t told = writer->full ? 0 : writer->dropped;
    if (told == 0) take_lines(writer, chunk);
    writer->writing = true;
    check(pthread_mutex_unlock(&writer->lock) == 0);

    chunk->told = told;
    if (told > 0) {
        chunk->size = writer->note(told, chunk->bytes, NOTE_MAX);
        check(chunk->size > 0 && chunk->size <= NOTE_MAX);
    }
    size_t written;
    int r = write_chunk(writer, chunk, &written);

    check(pthread_mutex_lock(&writer->lock) == 0);
    writer->writing = false;
    writer->failing = r < 0;
    if (told == 0) {
        check(written <= writer->used);
        writer->first = (writer->first + written) % sizeof writer->bytes;
        writer->used -= written;
    } else if (r == 0) {
        check(told <= writer->dropped);
        writer->dropped -= told;
    }
    if (r < 0) drop_all(writer);
}

static void *run(void *context) {
    LineWriter *writer = context;
    Chunk chunk;
    check(pthread_mutex_lock(&writer->lock) == 0);
    while (!atomic_load(&writer->given_up)) {
        if (has_work(writer)) {
            write_next(writer, &chunk);
            if (!has_work(writer)) check(pthread_cond_broadcast(&writer->done) == 0);
        } else if (writer->ending) {
            break;
        } else {
            check(pthread_cond_wait(&writer->work, &writer->lock) == 0);
        }
    }
    writer->ended = true;
    check(pthread_cond_broadcast(&writer->done) == 0);
    check(pthread_mutex_unlock(&writer->lock) == 0);
    return NULL;
}

/* ---- from any thread ------------------------------------------------------------------------- */

int line_writer_start(LineWriter *writer, int fd, size_t (*note)(uint64_t dropped, char *out, size_t capacity), Error *error) {
    *writer = (LineWriter){.fd = fd, .note = note};
    check(pthread_mutex_init(&writer->lock, NULL) == 0);
    check(pthread_cond_init(&writer->work, NULL) == 0);
    pthread_condattr_t attributes;
    check(pthread_condattr_init(&attributes) == 0);
    check(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&writer->done, &attributes) == 0);
    check(pthread_condattr_destroy(&attributes) == 0);
    return thread_start(&writer->thread, "log", run, writer, error);
}

void line_writer_add(LineWriter *writer, Span line) {
    check(line.size > 0 && line.size <= LINE_WRITER_LONGEST_LINE && line.data[line.size - 1] == '\n');
    check(pthread_mutex_lock(&writer->lock) == 0);
    if (line.size > sizeof writer->bytes - writer->used) writer->full = true;
    if (writer->full || writer->ended) {
        count_dropped(writer, 1);
    } else {
        size_t end = (writer->first + writer->used) % sizeof writer->bytes;
        size_t front = sizeof writer->bytes - end;
        if (front > line.size) front = line.size;
        memcpy(writer->bytes + end, line.data, front);
        memcpy(writer->bytes, line.data + front, line.size - front);
        writer->used += line.size;
        check(pthread_cond_signal(&writer->work) == 0);
    }
    check(pthread_mutex_unlock(&writer->lock) == 0);
}

bool line_writer_flush(LineWriter *writer, usec_t longest) {
    struct timespec locked_by = deadline_of(CLOCK_REALTIME, longest), written_by = deadline_of(CLOCK_MONOTONIC, longest);
    if (pthread_mutex_timedlock(&writer->lock, &locked_by) != 0) return false;
    bool in_time = true;
    while (in_time && !writer->ended && (has_work(writer) || writer->writing))
        in_time = pthread_cond_timedwait(&writer->done, &writer->lock, &written_by) != ETIMEDOUT;
    bool written = !has_work(writer) && !writer->writing;
    check(pthread_mutex_unlock(&writer->lock) == 0);
    return written;
}

bool line_writer_stop(LineWriter *writer, usec_t longest) {
    (void)line_writer_flush(writer, longest);
    atomic_store(&writer->given_up, true);
    check(pthread_mutex_lock(&writer->lock) == 0);
    writer->ending = true;
    check(pthread_cond_signal(&writer->work) == 0);
    struct timespec deadline = deadline_of(CLOCK_MONOTONIC, 2 * POLL_MS * USEC_MS);
    bool in_time = true;
    while (in_time && !writer->ended) in_time = pthread_cond_timedwait(&writer->done, &writer->lock, &deadline) != ETIMEDOUT;
    bool ended = writer->ended;
    check(pthread_mutex_unlock(&writer->lock) == 0);
    if (!ended) {
        check(pthread_detach(writer->thread.handle) == 0);
        return false;
    }
    thread_join(&writer->thread);
    return true;
}
