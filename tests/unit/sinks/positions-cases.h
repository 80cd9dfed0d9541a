/*
 * Positions at a destination: what the tests of all SQL drivers share. The program that includes
 * this brings `driver`, sessions and assertions (postgres-case.h, sqlite-case.h). cmocka must be
 * included before it.
 */
#pragma once

#include "base/cleanup.h"
#include "sinks/driver.h"
#include "tests/support/sink-case.h"

/* Of the program. */
extern const SinkDriver *const driver;
extern const char positions_table[], ledger_table[]; /* their names in SQL */
SinkSession *open_session(void);
void cleanup_session(SinkSession **session);
void assert_rows(const char *sql, const char *wanted);
void must(SinkResult result, const Error *error);
void run_sql(const char *text);

/* Files of a bridge's sink: rows are (p, o, v): partition, offset, text. */
typedef struct BridgeCase {
    SinkCase box;
    ImportPosition positions[8];
    size_t position_count;
    ImportRun runs[4][64];
    size_t run_count[4];
} BridgeCase;

/* `keyed`: (p, o) is the primary key. The positions are those of topic "t", generation 0,
 * partitions 0 to `partitions` - 1, of group "g" in "c". */
void bridge_init(BridgeCase *bridge, const char *table, bool keyed, size_t files, size_t partitions);
void bridge_deinit(BridgeCase *bridge);
/* The next run of a file: a row for each offset, or none. */
void bridge_add(BridgeCase *bridge, size_t file, size_t partition, int64_t first, int64_t next);
void bridge_add_empty(BridgeCase *bridge, size_t file, size_t partition, int64_t first, int64_t next);
/* Like bridge_add, one row of the text `v`. */
void bridge_add_text(BridgeCase *bridge, size_t file, size_t partition, int64_t first, const char *v);
ImportJob *bridge_job(BridgeCase *bridge);
SinkResult bridge_import(SinkSession *session, BridgeCase *bridge, Error *error);
/* Another id for each file, without runs and rows. */
void bridge_next_files(BridgeCase *bridge);
#define BRIDGE(table, keyed, files, partitions)                                                                                            \
    _cleanup_(bridge_deinit) BridgeCase bridge;                                                                                            \
    bridge_init(&bridge, (table), (keyed), (files), (partitions));                                                                         \
    Error error = {0};                                                                                                                     \
    (void)error

/* Makes the table and claims all of the case's partitions. */
void bridge_claim(SinkSession *session, BridgeCase *bridge, int64_t start);
int64_t bridge_position(SinkSession *session, BridgeCase *bridge, size_t partition);
/* Are the offsets [first, next) of the partition in the table, each once, and no others of it? */
void assert_offsets(const char *table, size_t partition, int64_t first, int64_t next);

/* The cases, each with setup and teardown (may be NULL). How many failed. */
int run_positions_cases(int (*setup)(void **state), int (*teardown)(void **state));
