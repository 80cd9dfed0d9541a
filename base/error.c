#include "base/error.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUG_WAITS_MS = 500 };

/* Cuts a character that did not fit off the end, and keeps the text on one line. */
static void tidy(char *text, size_t capacity) {
    size_t size = strlen(text);

    if (size == capacity - 1) {
        size_t start = size;
        while (start > 0 && size - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) start--;
        if (start > 0) {
            unsigned char lead = (unsigned char)text[start - 1];
            size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
            if (lead >= 0xC0 && size - (start - 1) < length) size = start - 1;
        }
        text[size] = '\0';
    }
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7F) *at = ' ';
}

int error_set_at(Error *error, const char *file, int line, int code, const char *format, ...) {
    check(code <= 0);
    /* A library that fails without an errno must not turn into "done". */
    if (code == 0) code = -EIO;
    if (!error) return code;

    /* The arguments may point into error->text. */
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    tidy(text, sizeof text);

    error->code = code;
    error->file = file;
    error->line = line;
    memcpy(error->text, text, strlen(text) + 1);
    return code;
}

int error_prefix(Error *error, const char *format, ...) {
    if (!error) return -EIO;

    char prefix[sizeof error->text];
    char text[2 * sizeof error->text + 2];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    (void)snprintf(text, sizeof text, "%s: %s", prefix, error->text);
    text[sizeof error->text - 1] = '\0';
    tidy(text, sizeof error->text);
    memcpy(error->text, text, strlen(text) + 1);
    if (error->code == 0) error->code = -EIO;
    return error->code;
}

static _Atomic(BugWriter) bug_writer;

void bug_set_writer(BugWriter write_line) {
    atomic_store(&bug_writer, write_line);
}

void bug_at(const char *file, int line, const char *what) {
    char text[1024];
    int size = snprintf(text, sizeof text, "%s:%d: bug: %s\n", file, line, what);
    if (size >= (int)sizeof text) {
        size = sizeof text - 1;
        text[size - 1] = '\n';
    }

    /* Taken out, since the writer may have the bug. */
    BugWriter writer = atomic_exchange(&bug_writer, NULL);
    if (size > 0 && (!writer || !writer(text))) {
        struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
        if (poll(&ready, 1, BUG_WAITS_MS) > 0) (void)!write(STDERR_FILENO, text, (size_t)size);
    }
    abort();
}
