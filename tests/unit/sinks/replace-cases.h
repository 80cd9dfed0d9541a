/*
 * Tables that are replaced by runs: what the tests of all SQL drivers share. The program brings
 * what positions-cases.h asks for. cmocka must be included before it.
 */
#pragma once

#include "tests/unit/sinks/positions-cases.h"

/* Of the program: makes a trigger of the table. */
typedef enum TriggerKind {
    TRIGGER_REFUSES,  /* rows whose v is 'bad' */
    TRIGGER_SWALLOWS, /* rows whose v is 'gone', without a word */
    TRIGGER_KEEPS,    /* rows that are deleted */
} TriggerKind;
void make_trigger(const char *table, TriggerKind kind);
void drop_trigger(const char *table);
extern const char true_word[]; /* of the program: how assert_rows sees true */

/* A bridge's case whose table is replaced, of the run of group "g". `keyed`: as bridge_init. */
void replace_init(BridgeCase *bridge, const char *table, bool keyed, size_t files, size_t partitions, uint64_t run);
void replace_deinit(BridgeCase *bridge);
/* Another run: what is added from now on is of it. */
void replace_use_run(BridgeCase *bridge, uint64_t run);
#define REPLACE(table, keyed, files, partitions, run)                                                                                      \
    _cleanup_(replace_deinit) BridgeCase bridge;                                                                                           \
    replace_init(&bridge, (table), (keyed), (files), (partitions), (run));                                                                 \
    Error error = {0};                                                                                                                     \
    (void)error

/* A claim of all partitions of the case, at offset 0. Its state; `ret_claims`: NULL, or one for
 * each partition. */
SinkResult replace_try_claim(SinkSession *session, BridgeCase *bridge, PositionClaim *ret_claims, RunState *ret_state, uint64_t *ret_later,
                             Error *error);
/* It must go well; the state. */
RunState replace_claim(SinkSession *session, BridgeCase *bridge);
/* A swap whose limit is the same for each partition. */
SinkResult replace_try_swap(SinkSession *session, BridgeCase *bridge, int64_t limit, bool allow_empty, SwapJob *ret_job, Error *error);
/* It must go well; the outcome. */
SwapOutcome replace_swap(SinkSession *session, BridgeCase *bridge, int64_t limit);

/* The cases, each with setup and teardown (may be NULL). How many failed. */
int run_replace_cases(int (*setup)(void **state), int (*teardown)(void **state));
