#include "sinks/postgres_swap.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "sinks/postgres_position_rows.h"
#include "sinks/postgres_side.h"
#include "sinks/postgres_table.h"
#include "sinks/postgres_transaction.h"
#include "sinks/swap.h"
#include "sinks/table_shape.h"

typedef struct PostgresSwap {
    PostgresSession *session;
    SwapJob *job;
    SinkTarget side;
} PostgresSwap;

/* ---- may it be done? Each sets job->outcome when it may not. ---- */

static SinkResult check_marks(const PostgresSwap *swap, Error *error) {
    RunMarks marks;
    SinkResult result = postgres_marks_read(swap->session, swap->job->target, &marks, error);
    if (result == SINK_DONE) swap->job->outcome = swap_outcome_of_marks(swap->job, &marks);
    run_marks_deinit(&marks);
    return result;
}

static SinkResult check_side(const PostgresSwap *swap, Error *error) {
    bool is_there = false;
    SinkResult result = postgres_side_find(swap->session, &swap->side, &is_there, error);
    if (result == SINK_DONE && !is_there) swap->job->outcome = SWAP_NOT_COMPLETE;
    return result == SINK_DONE && is_there ? postgres_side_lock(swap->session, &swap->side, error) : result;
}

static SinkResult check_positions(const PostgresSwap *swap, Error *error) {
    SwapJob *job = swap->job;
    _cleanup_free_ ImportPosition *positions = swap_positions(job);
    SinkResult result = postgres_position_rows_read(swap->session, job->target, positions, job->limit_count, error);
    if (result == SINK_DONE && !swap_is_complete(job, positions)) job->outcome = SWAP_NOT_COMPLETE;
    return result;
}

/* ---- rows ---- */

/* A statement that the server may work on for long. */
static SinkResult work(const PostgresSwap *swap, Buffer *sql, PGresult **ret_answer, Error *error) {
    check(postgres_session_is(swap->session, POSTGRES_TRANSACTION));
    return postgres_run(swap->session, swap->session->statement_limit, buffer_text(sql), 0, NULL, ret_answer, error);
}

static SinkResult count_rows(const PostgresSwap *swap, const SinkTarget *target, uint64_t *ret_count, Error *error) {
    Buffer sql = {0};
    PGresult *answer = NULL;
    buffer_append_text(&sql, "SELECT pg_catalog.count(*) FROM ");
    postgres_put_table(&sql, target);
    SinkResult result = work(swap, &sql, &answer, error);
    if (result == SINK_DONE) result = postgres_expect(swap->session, &answer, 1, 1, error);
    if (result == SINK_DONE) *ret_count = strtoull(PQgetvalue(answer, 0, 0), NULL, 10);
    PQclear(answer);
    buffer_deinit(&sql);
    return result;
}

/* Nobody else writes to it from now on. Who waits for the lock holds up others who write, so it
 * does not wait for long. */
static SinkResult lock_table(const PostgresSwap *swap, Error *error) {
    Buffer sql = {0};
    buffer_printf(&sql, "SET LOCAL lock_timeout = %d; LOCK TABLE ", POSTGRES_BRIEF_LOCK_MS);
    postgres_put_table(&sql, swap->job->target);
    buffer_printf(&sql, " IN SHARE ROW EXCLUSIVE MODE; SET LOCAL lock_timeout = %d", POSTGRES_LOCK_MS);
    SinkResult result = work(swap, &sql, NULL, error);
    buffer_deinit(&sql);
    return result;
}

static void put_insert(Buffer *sql, const PostgresSwap *swap) {
    buffer_append_text(sql, "INSERT INTO ");
    postgres_put_table(sql, swap->job->target);
    buffer_append_text(sql, " (");
    sql_put_columns(sql, swap->job->target, false);
    buffer_append_text(sql, ") SELECT ");
    sql_put_columns(sql, swap->job->target, false);
    buffer_append_text(sql, " FROM ");
    postgres_put_table(sql, &swap->side);
}

/* `pointed_at`: by foreign keys. The count makes the server end the DELETE before the first
 * INSERT. */
static SinkResult move_rows(const PostgresSwap *swap, bool pointed_at, uint64_t *ret_inserted, Error *error) {
    Buffer sql = {0};
    PGresult *answer = NULL;
    buffer_append_text(&sql, pointed_at ? "WITH gone AS (DELETE FROM " : "DELETE FROM ");
    postgres_put_table(&sql, swap->job->target);
    buffer_append_text(&sql, pointed_at ? " RETURNING 1) " : "; ");
    put_insert(&sql, swap);
    if (pointed_at) buffer_append_text(&sql, " WHERE (SELECT pg_catalog.count(*) FROM gone) >= 0");
    SinkResult result = work(swap, &sql, &answer, error);
    if (result == SINK_DONE) *ret_inserted = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    buffer_deinit(&sql);
    return result;
}

static SinkResult replace_rows(const PostgresSwap *swap, Error *error) {
    SwapJob *job = swap->job;
    uint64_t collected = 0, inserted = 0, there = 0;
    bool pointed_at = false, fits = true;
    SinkResult result = count_rows(swap, &swap->side, &collected, error);
    if (result != SINK_DONE) return result;
    if (collected == 0 && !job->allow_empty) {
        job->outcome = SWAP_EMPTY;
        return SINK_DONE;
    }
    result = lock_table(swap, error);
    if (result == SINK_DONE) result = postgres_side_fits(swap->session, job->target, &fits, error);
    if (result == SINK_DONE && !fits) {
        job->outcome = SWAP_NOT_COMPLETE; /* the claim begins the run anew */
        return SINK_DONE;
    }
    if (result == SINK_DONE) result = postgres_side_check_table(swap->session, job->target, &pointed_at, error);
    if (result == SINK_DONE) result = move_rows(swap, pointed_at, &inserted, error);
    if (result == SINK_DONE) result = count_rows(swap, job->target, &there, error);
    if (result == SINK_DONE) result = swap_check_counts(job, collected, inserted, there, error);
    if (result != SINK_DONE || job->outcome) return result;
    result = postgres_side_drop(swap->session, &swap->side, error);
    return result == SINK_DONE ? postgres_marks_set(swap->session, &job->owner, job->target, REPLACE_MARK_DONE, job->group, error) : result;
}

static SinkResult run_swap(const PostgresSwap *swap, Error *error) {
    SwapJob *job = swap->job;
    SinkResult result = postgres_begin_watched(swap->session, true, job->patience, error);
    if (result == SINK_DONE) result = postgres_marks_lock(swap->session, job->target, error);
    if (result == SINK_DONE) result = check_marks(swap, error);
    if (result == SINK_DONE && !job->outcome) result = check_side(swap, error);
    if (result == SINK_DONE && !job->outcome) result = check_positions(swap, error);
    if (result != SINK_DONE || job->outcome) return result;
    result = replace_rows(swap, error);
    if (result != SINK_DONE || job->outcome) return result;
    (void)failpoint_hit("swap.before-commit");
    result = postgres_commit(swap->session, "replacement of the rows", error);
    if (result == SINK_DONE) job->outcome = SWAP_REPLACED;
    return result;
}

/* Of a run that is over, the table is no matter any more. */
static SinkResult prepare(const PostgresSwap *swap, Error *error) {
    SinkResult result = check_marks(swap, error);
    if (postgres_has_no_positions(swap->session, result)) {
        if (error) *error = (Error){0};
        swap->job->outcome = SWAP_NOT_COMPLETE;
        return SINK_DONE;
    }
    return result == SINK_DONE && !swap->job->outcome ? postgres_side_prepare(swap->session, swap->job->target, error) : result;
}

SinkResult postgres_swap(SinkSession *sink_session, SwapJob *job, Error *error) {
    PostgresSwap swap = {.session = (PostgresSession *)(void *)sink_session, .job = job};
    PostgresSession *session = swap.session;
    usec_t began = clock_system()->boot(clock_system());
    swap_begin(job);
    side_target_init(&swap.side, job->target);
    session->progress_context = job->context;
    session->rows_done = 0;
    if (job->longest > 0) session->statement_limit = job->longest;
    session->looked = began;
    SinkResult result = postgres_session_use(session, error);
    if (result == SINK_DONE) result = prepare(&swap, error);
    session->progress = job->progress;
    if (result == SINK_DONE && !job->outcome) result = run_swap(&swap, error);
    postgres_session_unwatch(session);
    if (result != SINK_DONE) {
        /* Others may cancel a statement as well. */
        bool canceled = strcmp(session->failure.sqlstate, "57014") == 0;
        swap_begin(job);
        job->took_too_long = canceled && clock_system()->boot(clock_system()) - began >= postgres_server_limit(session);
    }
    postgres_roll_back(session);
    session->progress = NULL;
    side_target_deinit(&swap.side);
    check(postgres_session_is(session, POSTGRES_IDLE));
    return result;
}
