/*
 * The program's log on stderr: one JSON object a line, or text on a terminal. Control characters
 * are escaped, a line that repeats (same file and line) is limited to 10 a second with a count of
 * what was left out, told with the next line of any place after that second. Messages are cut at 4
 * KB. errno is kept. Any thread. Never pass a secret.
 *
 * Between log_start and log_stop a thread of its own writes, so that no other one waits for the
 * reader of stderr: what a slow reader leaves no room for is dropped, counted in a metric, and told
 * in a line once the reader reads again (line_writer.h). Before and after, the caller writes: that
 * is for commands.
 */
#pragma once

#include "base/error.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR } LogLevel;

int log_start(Error *error); /* once, before other threads log */
void log_flush(void);        /* waits up to a second for the reader: before _exit */
void log_stop(void);         /* the same, then the thread ends; when no other thread logs any more */

void log_setup(LogLevel least, int format); /* format: 0 by terminal, 1 JSON, 2 text; again when options change */
#define log_debug(...) log_at(LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __FILE__, __LINE__, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)
void log_at(LogLevel level, const char *file, int line, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* An Error with where it came from; `what` is what could not be done. */
void log_failure(LogLevel level, const char *what, const Error *error);
