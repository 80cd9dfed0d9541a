/*
 * The map of inferred columns at a destination: what the tests of all SQL drivers share. The
 * program that includes this brings `driver`, sessions and assertions (postgres-case.h,
 * sqlite-case.h). cmocka must be included before it.
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
extern const char *const map_table; /* "sluice.columns" */

/* The cases, each with setup and teardown (may be NULL). How many failed. */
int run_columns_cases(int (*setup)(void **state), int (*teardown)(void **state));
