/*
 * Errors. A function returns
 *    0  done,
 *   >0  an enum of that function, which the caller must handle,
 *   <0  fatal for what was asked: a negated errno, passed up unchanged; the text for people is in `Error`.
 * The last argument of a function that can fail is `Error *error`; it may be NULL. Any thread, no globals.
 */
#pragma once

#include <stdbool.h>

#define ERROR_TEXT_SIZE 1536 /* room for what differs at a table, and for the statements that change it */

typedef struct Error {
    int code;         /* negated errno; 0: nothing set */
    const char *file; /* where it was set first */
    int line;
    char text[ERROR_TEXT_SIZE]; /* UTF-8, one sentence without newline, never a secret */
} Error;

/* Sets code (< 0), place and text unless `error` is NULL; evaluates to code. A code of 0, from a
 * library that fails without an errno, becomes -EIO; a positive one is a bug. `text` may be an
 * argument of its own next text. */
#define error_set(error, code, ...) error_is_negative(error_set_at((error), __FILE__, __LINE__, (code), __VA_ARGS__))

/* Lets compilers and analyzers know that error_set never looks like "done", so that they do not
 * warn of outputs that were not set. */
static inline int error_is_negative(int code) {
    if (code >= 0) __builtin_unreachable();
    return code;
}

/* Puts "TEXT: " before what is set, for context on the way up; evaluates to the code that is set
 * (or -EIO). */
int error_prefix(Error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

int error_set_at(Error *error, const char *file, int line, int code, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Ends the process with file, line and text on stderr: for bugs, never for input. Stays on in
 * release builds. A stderr that nobody reads delays the end by about a second at most, and is then
 * left without the text. */
_Noreturn void bug_at(const char *file, int line, const char *what);
#define check(condition) ((condition) ? (void)0 : bug_at(__FILE__, __LINE__, #condition))
/* The same in inner loops, where it would cost too much: only in builds with AddressSanitizer, as
 * all tests and fuzzers are. */
#if defined(__SANITIZE_ADDRESS__)
#define check_debug(condition) check(condition)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define check_debug(condition) check(condition)
#endif
#endif
#ifndef check_debug
#define check_debug(condition) ((void)sizeof(!(condition))) /* not evaluated */
#endif
#define unreachable() bug_at(__FILE__, __LINE__, "cannot get here")

/* Who writes the line of a bug, newline included, from then on: the log, so that it comes behind
 * the lines before it. It is called on any thread, whatever that has locked, must return soon, and
 * says whether the line was written; if not, bug_at tries. NULL: bug_at alone. */
typedef bool (*BugWriter)(const char *line);
void bug_set_writer(BugWriter write_line);
