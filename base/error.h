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

/* Sets the code (< 0), the place and the text unless `error` is NULL; evaluates to the code. A code
 * of 0, from a library that fails without an errno, becomes -EIO. A positive code is a bug.
 * `error->text` may be an argument of the new text. */
#define error_set(error, code, ...) error_is_negative(error_set_at((error), __FILE__, __LINE__, (code), __VA_ARGS__))

/* Tells compilers and analyzers that error_set never returns 0, so that they do not warn about
 * outputs that were not set. */
static inline int error_is_negative(int code) {
    if (code >= 0) __builtin_unreachable();
    return code;
}

/* Puts "TEXT: " before the text of the error, to add context on the way up. Evaluates to the code
 * of the error (-EIO if none is set). */
int error_prefix(Error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

int error_set_at(Error *error, const char *file, int line, int code, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Ends the process and writes file, line and text to stderr. For bugs, never for invalid input. It
 * is active in release builds, too. If nobody reads stderr, the process ends after about one second
 * without the text. */
_Noreturn void bug_at(const char *file, int line, const char *what);
#define check(condition) ((condition) ? (void)0 : bug_at(__FILE__, __LINE__, #condition))
/* The same for inner loops, where the check would be too slow. It is active only in builds with
 * AddressSanitizer, which all tests and fuzzers use. */
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

/* Sets the function that writes the message of a bug, including the newline. The log sets it, so
 * that the message comes behind earlier lines. It is called on any thread, which may hold any lock,
 * and must return soon. It returns whether the line was written; if not, bug_at writes it. NULL:
 * bug_at always writes it. */
typedef bool (*BugWriter)(const char *line);
void bug_set_writer(BugWriter write_line);
