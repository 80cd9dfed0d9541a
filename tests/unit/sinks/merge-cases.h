/*
 * The strategy merge at a destination: what the tests of all SQL drivers share. The program that
 * includes this brings `driver`, sessions and assertions (postgres-case.h, sqlite-case.h). cmocka
 * must be included before it.
 */
#pragma once

#include "base/cleanup.h"
#include "sinks/driver.h"
#include "tests/support/sink-case.h"

/* Of the program. */
extern const SinkDriver *const driver;
SinkSession *open_session(void);
void cleanup_session(SinkSession **session);
void assert_rows(const char *sql, const char *wanted);
void must(SinkResult result, const Error *error);
void run_sql(const char *text);
extern const char hold_keys[];  /* SQL after which the rows kc and kq of the table owners (k, v) cannot be deleted */
extern const char refuse_bad[]; /* SQL after which the table merged refuses rows whose v is 'bad' */

/* The cases, each with setup and teardown (may be NULL). How many failed. */
int run_merge_cases(int (*setup)(void **state), int (*teardown)(void **state));
