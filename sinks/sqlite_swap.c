#include "sinks/sqlite_swap.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "sinks/sqlite_position_rows.h"
#include "sinks/sqlite_side.h"
#include "sinks/sqlite_statement.h"
#include "sinks/sqlite_table.h"
#include "sinks/swap.h"
#include "sinks/table_shape.h"

#define STEPS_BETWEEN_PROGRESS 100000 /* of SQLite's machine */

typedef struct SqliteSwap {
    SqliteSession *session;
    SwapJob *job;
    SinkTarget side;
    bool told_to_stop;
} SqliteSwap;

static int look_around(void *context) {
    SqliteSwap *swap = context;
    swap->told_to_stop = swap->job->progress(swap->job->context, 0, true);
    return swap->told_to_stop;
}

/* *ret_outcome: 0: it may go on. */
static SinkResult check_positions(const SqliteSwap *swap, SwapOutcome *ret_outcome, Error *error) {
    const SwapJob *job = swap->job;
    _cleanup_free_ ImportPosition *positions = swap_positions(job);
    SinkResult result = sqlite_position_rows_read(swap->session, job->target, positions, job->limit_count, error);
    if (result == SINK_DONE && !swap_is_complete(job, positions)) *ret_outcome = SWAP_NOT_COMPLETE;
    return result;
}

static SinkResult check_run(const SqliteSwap *swap, SwapOutcome *ret_outcome, Error *error) {
    RunMarks marks;
    bool has_side = false;
    if (!sqlite_positions_are_kept(swap->session)) {
        *ret_outcome = SWAP_NOT_COMPLETE;
        return SINK_DONE;
    }
    SinkResult result = sqlite_marks_read(swap->session, swap->job->target, &marks, error);
    if (result == SINK_DONE) *ret_outcome = swap_outcome_of_marks(swap->job, &marks);
    run_marks_deinit(&marks);
    if (result != SINK_DONE || *ret_outcome) return result;
    result = check_positions(swap, ret_outcome, error);
    if (result != SINK_DONE || *ret_outcome) return result;
    result = sqlite_side_find(swap->session->database, &swap->side, &has_side, error);
    if (result == SINK_DONE && !has_side) *ret_outcome = SWAP_NOT_COMPLETE;
    return result;
}

static SinkResult count_rows(const SqliteSwap *swap, const SinkTarget *target, uint64_t *ret_count, Error *error) {
    STATEMENT select = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT count(*) FROM ");
    sql_put_identifier(&sql, target->table.table_id);
    int r = sqlite3_prepare_v2(swap->session->database, buffer_text(&sql), -1, &select, NULL);
    buffer_deinit(&sql);
    if (r != SQLITE_OK || sqlite3_step(select) != SQLITE_ROW) return sqlite_failure(swap->session->database, "count the rows", error);
    *ret_count = (uint64_t)sqlite3_column_int64(select, 0);
    return SINK_DONE;
}

/* Rows that were inserted, or the failure. */
static SinkResult move_rows(const SqliteSwap *swap, uint64_t *ret_inserted, Error *error) {
    sqlite3 *database = swap->session->database;
    const SinkTarget *target = swap->job->target;
    Buffer sql = {0};
    buffer_append_text(&sql, "DELETE FROM ");
    sql_put_identifier(&sql, target->table.table_id);
    SinkResult result = sqlite_run(database, buffer_text(&sql), "delete the old rows", error);
    buffer_clear(&sql);
    buffer_append_text(&sql, "INSERT INTO ");
    sql_put_identifier(&sql, target->table.table_id);
    buffer_append_text(&sql, " (");
    sql_put_columns(&sql, target, false);
    buffer_append_text(&sql, ") SELECT ");
    sql_put_columns(&sql, target, false);
    buffer_append_text(&sql, " FROM ");
    sql_put_identifier(&sql, swap->side.table.table_id);
    if (result == SINK_DONE) result = sqlite_run(database, buffer_text(&sql), "insert the new rows", error);
    if (result == SINK_DONE) *ret_inserted = (uint64_t)sqlite3_changes64(database);
    buffer_deinit(&sql);
    return result;
}

static SinkResult replace_rows(const SqliteSwap *swap, Error *error) {
    SwapJob *job = swap->job;
    uint64_t collected = 0, inserted = 0, there = 0;
    SinkResult result = count_rows(swap, &swap->side, &collected, error);
    if (result != SINK_DONE) return result;
    if (collected == 0 && !job->allow_empty) {
        job->outcome = SWAP_EMPTY;
        return SINK_DONE;
    }
    result = move_rows(swap, &inserted, error);
    if (result == SINK_DONE) result = count_rows(swap, job->target, &there, error);
    if (result == SINK_DONE) result = swap_check_counts(job, collected, inserted, there, error);
    if (result != SINK_DONE || job->outcome) return result;
    result = sqlite_side_drop(swap->session->database, &swap->side, error);
    if (result == SINK_DONE) result = sqlite_marks_set(swap->session, &job->owner, job->target, REPLACE_MARK_DONE, job->group, error);
    if (result == SINK_DONE) job->outcome = SWAP_REPLACED;
    return result;
}

static SinkResult run_swap(SqliteSwap *swap, Error *error) {
    sqlite3 *database = swap->session->database;
    SinkResult result = sqlite_run(database, "BEGIN IMMEDIATE", "begin", error);
    if (result == SINK_DONE) result = check_run(swap, &swap->job->outcome, error);
    if (result != SINK_DONE || swap->job->outcome) return result;
    result = replace_rows(swap, error);
    if (result != SINK_DONE || swap->job->outcome != SWAP_REPLACED) return result;
    sqlite3_progress_handler(database, 0, NULL, NULL);
    check(!sqlite3_get_autocommit(database));
    (void)failpoint_hit("swap.before-commit");
    result = sqlite_run(database, "COMMIT", "commit", error);
    return result == SINK_DONE ? sqlite_session_check_file(swap->session, error) : result;
}

/* Of a run that is over, the table is no matter any more. */
static SinkResult prepare(const SqliteSwap *swap, Error *error) {
    const SqliteSession *session = swap->session;
    RunMarks marks = {0};
    SinkResult result = sqlite_session_check_file(session, error);
    if (result == SINK_DONE && sqlite_positions_are_kept(session))
        result = sqlite_marks_read(swap->session, swap->job->target, &marks, error);
    if (result == SINK_DONE) swap->job->outcome = swap_outcome_of_marks(swap->job, &marks);
    run_marks_deinit(&marks);
    if (result != SINK_DONE || swap->job->outcome) return result;
    result = sqlite_table_prepare(session->database, session->ledger, session->positions, swap->job->target, error);
    return result == SINK_DONE ? sqlite_side_extend(session->database, swap->job->target, error) : result;
}

SinkResult sqlite_swap(SinkSession *sink_session, SwapJob *job, Error *error) {
    SqliteSwap swap = {.session = (SqliteSession *)(void *)sink_session, .job = job};
    sqlite3 *database = swap.session->database;
    check(sqlite3_get_autocommit(database));
    swap_begin(job);
    side_target_init(&swap.side, job->target);
    SinkResult result = prepare(&swap, error);
    if (job->progress) sqlite3_progress_handler(database, STEPS_BETWEEN_PROGRESS, look_around, &swap);
    if (result == SINK_DONE && !job->outcome) result = run_swap(&swap, error);
    sqlite3_progress_handler(database, 0, NULL, NULL);
    sqlite_roll_back(database);
    if (result != SINK_DONE && swap.told_to_stop) {
        (void)error_set(error, -ECANCELED, "The replacement of the rows was interrupted.");
        result = SINK_RETRY;
    }
    if (result != SINK_DONE) swap_begin(job);
    side_target_deinit(&swap.side);
    return result;
}
