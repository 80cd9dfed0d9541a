/*
 * The log of the program on stderr: one JSON object per line, or text on a terminal. Control
 * characters are escaped. A line that repeats (same file and line) is limited to 10 per second. The
 * number of omitted lines is added to the next line of any place after that second. Messages are
 * cut at 4 KB. errno is kept. Any thread. Never pass a secret.
 *
 * Between log_start and log_stop a separate thread writes, so that no other thread waits for the
 * reader of stderr. If a slow reader leaves no room, lines are dropped and counted in a metric.
 * When the reader reads again, one line reports their number (line_writer.h). Before and after that
 * time the caller writes, which is for commands.
 */
#pragma once

#include "base/error.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR } LogLevel;

int log_start(Error *error); /* once, before other threads log */
void log_flush(void);        /* waits up to one second for the reader; call it before _exit */
void log_stop(void);         /* the same, then ends the thread; call it when no other thread logs any more */

/* format: 0 text on a terminal, otherwise JSON; 1 JSON; 2 text. Called again when options change */
void log_setup(LogLevel least, int format);
#define log_debug(...) log_at(LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __FILE__, __LINE__, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)
void log_at(LogLevel level, const char *file, int line, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Logs an Error and the place where it was set. `what` says what could not be done. */
void log_failure(LogLevel level, const char *what, const Error *error);
