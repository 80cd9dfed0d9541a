#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/line_writer.h"
#include "base/metrics.h"

enum {
    PLACES_MAX = 64,
    LINES_A_SECOND = 10,
    TEXT_MAX = 4096,   /* bytes of one message; the rest is cut off */
    ESCAPED_MAX = 6,   /* bytes that one byte of a message may become: \u0001 */
    AROUND_MAX = 1024, /* bytes of a line that are not of its message */
};
_Static_assert(TEXT_MAX *ESCAPED_MAX + AROUND_MAX <= LINE_WRITER_LONGEST_LINE, "the longest line fits into the buffer");

/* How long the end of the process waits for the reader of stderr. */
#define FLUSH_LONGEST USEC_SECOND

/* A line of the program that logged lately. */
typedef struct LogPlace {
    const char *file; /* NULL: free */
    int line;
    const char *what;
    usec_t since; /* start of its second, boot time */
    unsigned lines;
    uint64_t left_out;
} LogPlace;

typedef enum Way {
    WAY_DIRECT, /* the caller writes, and waits for the reader */
    WAY_THREAD, /* the thread of `writer` does */
    WAY_NONE,   /* the process ends and the reader did not read in time */
} Way;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int min_level = LOG_INFO;
static atomic_int json = -1;        /* -1: not decided */
static LogPlace places[PLACES_MAX]; /* under the lock */
static atomic_int way = WAY_DIRECT;
static LineWriter writer;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_setup(LogLevel least, int format) {
    atomic_store_explicit(&min_level, least, memory_order_relaxed);
    atomic_store_explicit(&json, format == 1 ? 1 : format == 2 ? 0 : -1, memory_order_relaxed);
}

/* Length of the UTF-8 character at `at`, 0 when it is not one (overlong, surrogate, cut off). */
static size_t character_size(const unsigned char *at, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = at[0] < 0x80 ? 1 : at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
    if (size == 0 || size > left) return 0;
    if (size == 1) return 1;

    uint32_t value = at[0] & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (at[i] & 0x3Fu);
    }
    return value < least[size] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000) ? 0 : size;
}

/* Control characters (also the C1 ones, which some terminals obey) are escaped; bytes that are not
 * UTF-8 become U+FFFD. */
static void append_escaped(Buffer *out, Span text, bool quoted) {
    const unsigned char *at = (const unsigned char *)text.data, *end = at + text.size;
    while (at < end) {
        size_t size = character_size(at, (size_t)(end - at));
        if (size == 0) {
            buffer_append_text(out, "\xEF\xBF\xBD");
            at++;
            continue;
        }
        if (quoted && (*at == '"' || *at == '\\')) {
            buffer_append_byte(out, '\\');
            buffer_append(out, at, 1);
        } else if (*at < 0x20 || *at == 0x7F) {
            buffer_printf(out, "\\u%04x", *at);
        } else if (size == 2 && *at == 0xC2 && at[1] < 0xA0) {
            buffer_printf(out, "\\u%04x", at[1]);
        } else {
            buffer_append(out, at, size);
        }
        at += size;
    }
}

/* The compiler is given paths relative to the build folder. */
static const char *short_path(const char *file) {
    while (strncmp(file, "../", 3) == 0) file += 3;
    return file;
}

static void write_line(Buffer *line) {
    buffer_append_byte(line, '\n');
    switch ((Way)atomic_load(&way)) {
    case WAY_THREAD: line_writer_add(&writer, (Span){.data = line->data, .size = line->size}); return;
    case WAY_NONE: metrics_add(METRIC_LOG_LINES_DROPPED, 1); return;
    case WAY_DIRECT: break;
    }
    for (size_t written = 0; written < line->size;) {
        ssize_t result = write(STDERR_FILENO, line->data + written, line->size - written);
        if (result < 0 && errno == EINTR) continue;
        if (result <= 0) return; /* nobody to tell */
        written += (size_t)result;
    }
}

static void format_line(LogLevel level, const char *file, int line, Span text, uint64_t left_out, Buffer *out) {
    char time[25];
    Clock *clock = clock_system();
    clock_format_utc(clock->wall(clock), time);
    int as_json = atomic_load_explicit(&json, memory_order_relaxed);
    if (as_json < 0) {
        as_json = isatty(STDERR_FILENO) == 0;
        atomic_store_explicit(&json, as_json, memory_order_relaxed);
    }

    if (as_json) {
        buffer_printf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"at\":\"", time, level_names[level]);
        append_escaped(out, span_of(short_path(file)), true);
        buffer_printf(out, ":%d\",\"message\":\"", line);
        append_escaped(out, text, true);
        buffer_append_text(out, "\"");
        if (left_out) buffer_printf(out, ",\"left_out\":%lu", left_out);
        buffer_append_text(out, "}");
    } else {
        buffer_printf(out, "%s %-7s ", time, level_names[level]);
        append_escaped(out, text, false);
        if (left_out) buffer_printf(out, " (%lu similar lines were left out)", left_out);
        buffer_printf(out, "  [%s:%d]", short_path(file), line);
    }
}

/* Under the lock, so that lines do not mix. */
static void emit(LogLevel level, const char *file, int line, Span text, uint64_t left_out) {
    Buffer out = {0};
    format_line(level, file, line, text, left_out, &out);
    write_line(&out);
    buffer_deinit(&out);
}

/* On the thread of `writer`, without the lock: a bug may have happened under it. */
static size_t note_dropped(uint64_t dropped, char *out, size_t capacity) {
    char text[128];
    int size = snprintf(text, sizeof text, "%" PRIu64 " log lines dropped: stderr was not read fast enough", dropped);
    check(size > 0 && size < (int)sizeof text);
    Buffer line = {0};
    format_line(LOG_WARNING, __FILE__, __LINE__, (Span){.data = text, .size = (size_t)size}, 0, &line);
    buffer_append_byte(&line, '\n');
    check(line.size <= capacity);
    size = (int)line.size;
    memcpy(out, line.data, line.size);
    buffer_deinit(&line);
    return (size_t)size;
}

/* The line of a bug, behind those that were logged before it. */
static bool write_bug(const char *line) {
    if (atomic_load(&way) != WAY_THREAD || !line_writer_flush(&writer, FLUSH_LONGEST / 2)) return false;
    line_writer_add(&writer, span_of(line));
    return line_writer_flush(&writer, FLUSH_LONGEST / 2);
}

int log_start(Error *error) {
    check(atomic_load(&way) == WAY_DIRECT);
    int r = line_writer_start(&writer, STDERR_FILENO, note_dropped, error);
    if (r < 0) return r;
    atomic_store(&way, WAY_THREAD);
    bug_set_writer(write_bug);
    return 0;
}

void log_flush(void) {
    if (atomic_load(&way) == WAY_THREAD) (void)line_writer_flush(&writer, FLUSH_LONGEST);
}

void log_stop(void) {
    if (atomic_load(&way) != WAY_THREAD) return;
    bug_set_writer(NULL);
    atomic_store(&way, WAY_NONE);
    if (line_writer_stop(&writer, FLUSH_LONGEST)) atomic_store(&way, WAY_DIRECT);
}

static void emit_left_out(LogPlace *place) {
    static const char text[] = "lines from this place were left out";
    emit(LOG_WARNING, place->file, place->line, (Span){.data = text, .size = sizeof text - 1}, place->left_out);
    place->left_out = 0;
}

/* The place's entry: its own, a free one, or that of the place which began its second first. */
static LogPlace *place_of(const char *file, int line, const char *what, usec_t now) {
    LogPlace *oldest = &places[0];
    for (LogPlace *place = places; place < places + PLACES_MAX; place++) {
        if (place->file == file && place->line == line && place->what == what) return place;
        if (!place->file || (oldest->file && place->since < oldest->since)) oldest = place;
    }
    if (oldest->left_out) emit_left_out(oldest);
    *oldest = (LogPlace){.file = file, .line = line, .what = what, .since = now};
    return oldest;
}

static void log_text(LogLevel level, const char *file, int line, const char *what, Span text) {
    Clock *clock = clock_system();
    usec_t now = clock->boot(clock);

    check(pthread_mutex_lock(&lock) == 0);
    LogPlace *mine = place_of(file, line, what, now);
    for (LogPlace *place = places; place < places + PLACES_MAX; place++)
        if (place != mine && place->left_out && now - place->since >= USEC_SECOND) emit_left_out(place);

    if (now - mine->since >= USEC_SECOND) {
        mine->since = now;
        mine->lines = 0;
    }
    if (mine->lines < LINES_A_SECOND) {
        mine->lines++;
        emit(level, file, line, text, mine->left_out);
        mine->left_out = 0;
    } else {
        mine->left_out++;
    }
    check(pthread_mutex_unlock(&lock) == 0);
}

static bool wanted(LogLevel level) {
    check(level >= LOG_DEBUG && level <= LOG_ERROR);
    return (int)level >= atomic_load_explicit(&min_level, memory_order_relaxed);
}

void log_at(LogLevel level, const char *file, int line, const char *format, ...) {
    char text[TEXT_MAX];
    va_list arguments;

    int before = errno; /* logging in an error path must not change what the caller reports */
    if (!wanted(level)) return;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size < 0) size = 0;
    if ((size_t)size >= sizeof text) size = sizeof text - 1;
    log_text(level, file, line, NULL, (Span){.data = text, .size = (size_t)size});
    errno = before;
}

void log_failure(LogLevel level, const char *what, const Error *error) {
    char text[TEXT_MAX];

    int before = errno;
    if (!wanted(level)) return;
    int size = snprintf(text, sizeof text, "%s: %s", what, error && error->code ? error->text : "no reason was given");
    if (size < 0) size = 0;
    if ((size_t)size >= sizeof text) size = sizeof text - 1;
    bool placed = error && error->file;
    log_text(level, placed ? error->file : __FILE__, placed ? error->line : __LINE__, what, (Span){.data = text, .size = (size_t)size});
    errno = before;
}
