#include "sinks/postgres_positions.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/import_runs.h"
#include "sinks/ledger_entry.h"
#include "sinks/postgres_array.h"
#include "sinks/postgres_position_rows.h"
#include "sinks/postgres_side.h"
#include "sinks/postgres_swap.h"
#include "sinks/postgres_table.h"
#include "sinks/postgres_transaction.h"

static PostgresSession *session_of(SinkSession *session) {
    return (PostgresSession *)(void *)session;
}

/* ---- within a transaction ---- */

/* Of a table that is replaced: only the open run has positions that count. */
SinkResult postgres_positions_read(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                   Error *error) {
    SinkResult result = postgres_position_rows_read(session, target, positions, count, error);
    if (result != SINK_DONE || target->table.strategy != STRATEGY_REPLACE) return result;
    RunMarks marks;
    result = postgres_marks_read(session, target, &marks, error);
    if (result == SINK_DONE) run_marks_evaluate(&marks, positions, count);
    run_marks_deinit(&marks);
    return result;
}

SinkResult postgres_positions_set(PostgresSession *session, const PositionsOwner *owner, const SinkTarget *target,
                                  const ImportPosition *positions, size_t count, bool *ret_lost, Error *error) {
    /* The first part locks the rows in the order of the lines, and waits for who has locked one;
     * what it set then is seen. */
    static const char sql[] = "WITH locked AS MATERIALIZED (SELECT w.* FROM " POSTGRES_WANTED_KEYS
                              ", $7::bigint[], $8::bigint[]) WITH ORDINALITY AS w (" POSTGRES_KEY
                              ", was, will, place) JOIN @ AS p ON " POSTGRES_SAME_KEY
                              " WHERE p.next_offset = w.was ORDER BY w.place FOR UPDATE OF p)"
                              " UPDATE @ AS p SET next_offset = w.will, sink = $9, instance = $10::uuid, at = pg_catalog.now() FROM locked "
                              "AS w WHERE " POSTGRES_SAME_KEY " AND p.next_offset = w.was";
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    *ret_lost = false;
    _cleanup_free_ size_t *changed = NULL;
    size_t changes = positions_changed(positions, count, &changed);
    if (changes == 0) return SINK_DONE;
    PositionLines lines;
    char instance[UUID_TEXT_SIZE + 1];
    const char *values[10];
    position_lines_init(&lines, target);
    for (size_t i = 0; i < changes; i++) {
        const ImportPosition *position = &positions[changed[i]];
        check(position->found);
        position_lines_add(&lines, &position->key);
        postgres_array_add_number(&lines.first, position->read);
        postgres_array_add_number(&lines.second, position->next);
    }
    position_lines_end(&lines, values);
    ledger_file_text(&owner->instance, instance);
    values[6] = postgres_array_end(&lines.first);
    values[7] = postgres_array_end(&lines.second);
    values[8] = owner->sink_label;
    values[9] = instance;
    PGresult *answer = NULL;
    SinkResult result = postgres_run_on_positions(session, sql, 10, values, &answer, error);
    position_lines_deinit(&lines);
    if (result != SINK_DONE) return result;
    uint64_t hit = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    check(hit <= changes);
    *ret_lost = hit < changes;
    if (*ret_lost) (void)error_set(error, -EBUSY, "Another session has set a position that this one was about to set.");
    return *ret_lost ? SINK_RETRY : SINK_DONE;
}

/* Nobody else claims or seeks for the group and the table until the end of the transaction. */
static SinkResult lock_group(PostgresSession *session, const PartitionKey *key, const SinkTarget *target, Error *error) {
    static const char sql[] = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended("
                              "pg_catalog.concat_ws(E'\\x01', 'sluice positions', $1::text, $2::text, $3::text), 0))";
    Buffer table = {0};
    postgres_put_table_name(&table, target);
    SinkResult result = postgres_run_on_positions(session, sql, 3, (const char *const[]){key->cluster, key->group, buffer_text(&table)},
                                                  NULL, error);
    buffer_deinit(&table);
    return result;
}

static SinkResult insert_claims(PostgresSession *session, const ClaimJob *job, Error *error) {
    static const char sql[] =
        "INSERT INTO @ (" POSTGRES_KEY
        ", next_offset, topic_id, table_name, sink, instance) SELECT w.cluster, w.group_id, w.topic, w.generation,"
        " w.partition, CASE WHEN EXISTS (SELECT 1 FROM @ AS p WHERE p.cluster = ($1::text[])[1] AND p.group_id = ($2::text[])[1]"
        " AND p.table_name = $6) THEN w.earliest ELSE w.start END, w.topic_id, $6, $10, $11::uuid FROM " POSTGRES_WANTED_KEYS
        ", $7::bigint[], $8::bigint[], $9::text[]) WITH ORDINALITY AS w (" POSTGRES_KEY
        ", start, earliest, topic_id, place) ORDER BY w.place"
        " ON CONFLICT (cluster, group_id, table_name, topic, generation, partition) DO NOTHING";
    PositionLines lines;
    char instance[UUID_TEXT_SIZE + 1];
    const char *values[11];
    position_lines_init(&lines, job->target);
    for (size_t i = 0; i < job->count; i++) {
        const PositionClaim *claim = &job->claims[i];
        position_lines_add(&lines, &claim->key);
        postgres_array_add_number(&lines.first, job->state ? claim->earliest : claim->start);
        postgres_array_add_number(&lines.second, claim->earliest);
        if (claim->topic_id)
            postgres_array_add(&lines.ids, span_of(claim->topic_id));
        else
            postgres_array_add_null(&lines.ids);
    }
    position_lines_end(&lines, values);
    ledger_file_text(&job->owner.instance, instance);
    values[6] = postgres_array_end(&lines.first);
    values[7] = postgres_array_end(&lines.second);
    values[8] = postgres_array_end(&lines.ids);
    values[9] = job->owner.sink_label;
    values[10] = instance;
    SinkResult result = postgres_run_on_positions(session, sql, 11, values, NULL, error);
    position_lines_deinit(&lines);
    return result;
}

static SinkResult put_seeks(PostgresSession *session, const SeekJob *job, Error *error) {
    static const char sql[] =
        "INSERT INTO @ (" POSTGRES_KEY
        ", next_offset, table_name, sink, instance) SELECT w.cluster, w.group_id, w.topic, w.generation, w.partition,"
        " w.will, $6, $8, $9::uuid FROM " POSTGRES_WANTED_KEYS ", $7::bigint[]) WITH ORDINALITY AS w (" POSTGRES_KEY
        ", will, place) ORDER BY w.place"
        " ON CONFLICT (cluster, group_id, table_name, topic, generation, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset,"
        " sink = EXCLUDED.sink, instance = EXCLUDED.instance, at = pg_catalog.now()";
    PositionLines lines;
    char instance[UUID_TEXT_SIZE + 1];
    const char *values[9];
    position_lines_init(&lines, job->target);
    for (size_t i = 0; i < job->count; i++) {
        position_lines_add(&lines, &job->positions[i].key);
        postgres_array_add_number(&lines.first, job->positions[i].next);
    }
    position_lines_end(&lines, values);
    ledger_file_text(&job->owner.instance, instance);
    values[6] = postgres_array_end(&lines.first);
    values[7] = job->owner.sink_label;
    values[8] = instance;
    SinkResult result = postgres_run_on_positions(session, sql, 9, values, NULL, error);
    position_lines_deinit(&lines);
    return result;
}

/* ---- the driver's functions ---- */

static SinkResult end(PostgresSession *session, SinkResult result, const char *what, Error *error) {
    if (result == SINK_DONE) result = postgres_commit(session, what, error);
    postgres_roll_back(session);
    check(postgres_session_is(session, POSTGRES_IDLE));
    return result;
}

static SinkResult begin_making(PostgresSession *session, Error *error) {
    SinkResult result = postgres_table_prepare_positions(session, error);
    return result == SINK_DONE ? postgres_begin(session, true, "", NULL, error) : result;
}

/* Nothing is left of an earlier run, nor of this one. The side table first: who imports into it has
 * locked it before its positions. */
static SinkResult begin_run(PostgresSession *session, const ClaimJob *job, const SinkTarget *side, const RunMarks *marks, Error *error) {
    const char *const groups[] = {marks->run_group, marks->done_group, job->claims[0].key.group};
    SinkResult result = postgres_side_drop(session, side, error);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0] && result == SINK_DONE; i++)
        if (groups[i]) result = postgres_position_rows_remove(session, job->target, groups[i], error);
    if (result == SINK_DONE) result = postgres_side_make(session, job->target, side, error);
    if (result != SINK_DONE) return result;
    return postgres_marks_set(session, &job->owner, job->target, REPLACE_MARK_RUN, groups[2], error);
}

static SinkResult group_has_any(PostgresSession *session, const SinkTarget *target, const PartitionKey *key, bool *ret_has, Error *error) {
    Buffer table = {0};
    PGresult *rows = NULL;
    postgres_put_table_name(&table, target);
    SinkResult result = postgres_run_on_positions(session,
                                                  "SELECT 1 FROM @ WHERE cluster = $1 AND group_id = $2 AND table_name = $3 LIMIT 1", 3,
                                                  (const char *const[]){key->cluster, key->group, buffer_text(&table)}, &rows, error);
    buffer_deinit(&table);
    *ret_has = result == SINK_DONE && PQntuples(rows) > 0;
    PQclear(rows);
    return result;
}

/* Sets the state, and begins the run when it is to begin. */
static SinkResult claim_run(PostgresSession *session, ClaimJob *job, Error *error) {
    const PartitionKey *key = &job->claims[0].key;
    RunMarks marks = {0};
    SinkTarget side;
    bool is_new = false, has_side = false, has_any = false;
    side_target_init(&side, job->target);
    SinkResult result = postgres_marks_lock(session, job->target, error);
    if (result == SINK_DONE) result = postgres_marks_read(session, job->target, &marks, error);
    if (result == SINK_DONE) {
        job->state = run_marks_state(&marks, key->group, &is_new);
        job->later_run = job->state == RUN_SUPERSEDED ? run_marks_last(&marks) : 0;
    }
    if (result == SINK_DONE && job->state == RUN_OPEN) {
        result = postgres_side_find(session, &side, &has_side, error);
        if (result == SINK_DONE && has_side) result = postgres_side_fits(session, job->target, &has_side, error);
        if (result == SINK_DONE) result = group_has_any(session, job->target, key, &has_any, error);
        if (result == SINK_DONE && (is_new || !has_side || !has_any)) result = begin_run(session, job, &side, &marks, error);
    }
    side_target_deinit(&side);
    run_marks_deinit(&marks);
    return result;
}

/* Of a run that is over, the table is no matter any more. */
static SinkResult prepare_run(PostgresSession *session, const ClaimJob *job, Error *error) {
    RunMarks marks;
    bool is_new, over = false;
    SinkResult result = postgres_marks_read(session, job->target, &marks, error);
    if (result == SINK_DONE) over = run_marks_state(&marks, job->claims[0].key.group, &is_new) != RUN_OPEN;
    run_marks_deinit(&marks);
    if (result != SINK_DONE && !postgres_has_no_positions(session, result)) return result;
    if (error) *error = (Error){0};
    return over ? SINK_DONE : postgres_side_prepare(session, job->target, error);
}

/* Makes those that are missing, and reads them back. */
static SinkResult complete_claims(PostgresSession *session, ClaimJob *job, ImportPosition *positions, bool complete, Error *error) {
    SinkResult result = SINK_DONE;
    if (!complete) {
        result = insert_claims(session, job, error);
        if (result == SINK_DONE) result = postgres_position_rows_read(session, job->target, positions, job->count, error);
    }
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        if (positions[i].found) continue;
        (void)error_set(error, -EAGAIN, "A position was removed while it was claimed.");
        result = SINK_RETRY;
    }
    return result;
}

static SinkResult pg_claim(SinkSession *sink_session, ClaimJob *job, Error *error) {
    PostgresSession *session = session_of(sink_session);
    bool replaced = job->target->table.strategy == STRATEGY_REPLACE, complete = true;
    _cleanup_free_ ImportPosition *positions = claim_positions(job);
    job->state = 0;
    job->later_run = 0;
    SinkResult result = postgres_session_use(session, error);
    if (result == SINK_DONE && replaced) result = prepare_run(session, job, error);
    if (result == SINK_DONE) result = begin_making(session, error);
    if (result == SINK_DONE && !replaced) result = lock_group(session, &positions[0].key, job->target, error);
    if (result == SINK_DONE && replaced) result = claim_run(session, job, error);
    if (result == SINK_DONE) result = postgres_position_rows_read(session, job->target, positions, job->count, error);
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        job->claims[i].was_there = positions[i].found;
        complete = complete && positions[i].found;
    }
    /* Of a run that is over, they are only read. */
    if (result == SINK_DONE && (!replaced || job->state == RUN_OPEN)) result = complete_claims(session, job, positions, complete, error);
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) job->claims[i].next = positions[i].read;
    return end(session, result, "claim", error);
}

static SinkResult advance_once(PostgresSession *session, PositionsJob *job, bool *ret_lost, Error *error) {
    *ret_lost = false;
    SinkResult result = postgres_begin(session, true, "", NULL, error);
    if (result == SINK_DONE) result = postgres_positions_read(session, job->target, job->positions, job->position_count, error);
    if (result == SINK_DONE) result = positions_job_decide(job, error);
    if (result == SINK_DONE)
        result = postgres_positions_set(session, &job->owner, job->target, job->positions, job->position_count, ret_lost, error);
    return end(session, result, "change of positions", error);
}

static SinkResult pg_advance(SinkSession *sink_session, PositionsJob *job, Error *error) {
    PostgresSession *session = session_of(sink_session);
    SinkResult result = postgres_session_use(session, error);
    bool lost = result == SINK_DONE;
    for (int starts = 0; lost && starts < IMPORT_STARTS_MAX; starts++) result = advance_once(session, job, &lost, error);
    if (result == SINK_DONE && error) *error = (Error){0};
    return result;
}

static SinkResult pg_seek(SinkSession *sink_session, SeekJob *job, Error *error) {
    PostgresSession *session = session_of(sink_session);
    seek_assert(job);
    _cleanup_free_ ImportPosition *before = calloc(job->count, sizeof *before);
    check(before);
    memcpy(before, job->positions, job->count * sizeof *before);
    SinkResult result = postgres_session_use(session, error);
    if (result == SINK_DONE) result = begin_making(session, error);
    if (result == SINK_DONE) result = lock_group(session, &job->positions[0].key, job->target, error);
    if (result == SINK_DONE) result = postgres_position_rows_lock(session, job->target, job->positions, job->count, error);
    if (result == SINK_DONE) result = seek_check(job, before, error);
    if (result == SINK_DONE) result = put_seeks(session, job, error);
    return end(session, result, "seek", error);
}

static SinkResult pg_list(SinkSession *sink_session, const SinkTarget *target, const char *group, Arena *arena, ListedPosition **ret_list,
                          size_t *ret_count, Error *error) {
    PostgresSession *session = session_of(sink_session);
    static const char sql[] =
        "SELECT cluster, topic, generation, partition, topic_id, next_offset FROM @ WHERE group_id = $1 AND table_name = $2"
        " ORDER BY cluster COLLATE \"C\", topic COLLATE \"C\", generation, partition";
    *ret_list = NULL;
    *ret_count = 0;
    SinkResult result = postgres_session_use(session, error);
    if (result != SINK_DONE) return result;
    Buffer table = {0};
    postgres_put_table_name(&table, target);
    PGresult *rows = NULL;
    result = postgres_run_on_positions(session, sql, 2, (const char *const[]){group, buffer_text(&table)}, &rows, error);
    buffer_deinit(&table);
    if (postgres_has_no_positions(session, result)) return SINK_DONE;
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 0, 6, error);
    if (result != SINK_DONE) return result;
    *ret_count = (size_t)PQntuples(rows);
    *ret_list = arena_zalloc(arena, (*ret_count + 1) * sizeof **ret_list);
    const char *own_group = arena_copy(arena, span_of(group));
    for (int i = 0; i < PQntuples(rows); i++) {
        (*ret_list)[i] = (ListedPosition){
            .key = {.cluster = arena_copy(arena, span_of(PQgetvalue(rows, i, 0))),
                    .group = own_group,
                    .topic = arena_copy(arena, span_of(PQgetvalue(rows, i, 1))),
                    .generation = (uint32_t)strtoul(PQgetvalue(rows, i, 2), NULL, 10),
                    .partition = (int32_t)strtol(PQgetvalue(rows, i, 3), NULL, 10)},
            .topic_id = PQgetisnull(rows, i, 4) ? NULL : arena_copy(arena, span_of(PQgetvalue(rows, i, 4))),
            .next = strtoll(PQgetvalue(rows, i, 5), NULL, 10),
        };
    }
    PQclear(rows);
    return SINK_DONE;
}

/* A statement that answers how many rows it changed. Without a table of positions: none. */
static SinkResult change(PostgresSession *session, const char *sql, size_t count, const char *const *values, uint64_t *ret_count,
                         Error *error) {
    *ret_count = 0;
    SinkResult result = postgres_session_use(session, error);
    if (result == SINK_DONE) result = postgres_begin(session, true, "", NULL, error);
    PGresult *answer = NULL;
    if (result == SINK_DONE) result = postgres_run_on_positions(session, sql, count, values, &answer, error);
    bool nothing = postgres_has_no_positions(session, result);
    if (result == SINK_DONE) *ret_count = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    result = end(session, result, "change of positions", error);
    if (nothing && error) *error = (Error){0};
    return nothing ? SINK_DONE : result;
}

/* Unless another instance than $3 has set one. */
static const char remove_sql[] =
    "WITH w AS MATERIALIZED (SELECT " POSTGRES_KEY " FROM @ WHERE group_id = $1 AND table_name = $2"
    " AND NOT EXISTS (SELECT 1 FROM @ AS o WHERE o.group_id = $1 AND o.table_name = $2 AND o.instance <> $3::uuid)"
    " ORDER BY cluster COLLATE \"C\", topic COLLATE \"C\", generation, partition FOR UPDATE)"
    " DELETE FROM @ AS p USING w WHERE p.table_name = $2 AND (p.cluster, p.group_id, p.topic, p.generation, p.partition)"
    " = (w.cluster, w.group_id, w.topic, w.generation, w.partition)";

/* With the marks of the run, and the side table, if it was open. `values`: of remove_sql. */
static SinkResult remove_run(PostgresSession *session, const SinkTarget *target, const char *const *values, bool only_open,
                             uint64_t *ret_count, Error *error) {
    RunMarks marks = {0};
    SinkTarget side;
    PGresult *answer = NULL;
    uint64_t hit_marks = 0;
    side_target_init(&side, target);
    SinkResult result = postgres_begin(session, true, "", NULL, error);
    if (result == SINK_DONE) result = postgres_marks_lock(session, target, error);
    if (result == SINK_DONE) result = postgres_marks_read(session, target, &marks, error);
    bool nothing = postgres_has_no_positions(session, result), open = result == SINK_DONE && run_marks_open(&marks, values[0]);
    bool removes = result == SINK_DONE && (open || !only_open);
    if (open) result = postgres_side_lock(session, &side, error);
    if (result == SINK_DONE && removes) result = postgres_run_on_positions(session, remove_sql, 3, values, &answer, error);
    if (result == SINK_DONE && removes) *ret_count = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    if (result == SINK_DONE && removes) result = postgres_marks_remove(session, target, values[0], values[2], &hit_marks, error);
    if (result == SINK_DONE && open && hit_marks > 0) result = postgres_side_drop(session, &side, error);
    if (result == SINK_DONE && !only_open && marks.done_group && run_is_earlier(marks.done_group, values[0]))
        result = postgres_marks_remove(session, target, marks.done_group, values[2], &hit_marks, error);
    side_target_deinit(&side);
    run_marks_deinit(&marks);
    result = end(session, result, "change of positions", error);
    if (nothing && error) *error = (Error){0};
    return nothing ? SINK_DONE : result;
}

static SinkResult remove_of_group(SinkSession *sink_session, const SinkTarget *target, const char *group, const Uuid *instance,
                                  bool only_open, uint64_t *ret_count, Error *error) {
    PostgresSession *session = session_of(sink_session);
    Buffer table = {0};
    postgres_put_table_name(&table, target);
    char own[UUID_TEXT_SIZE + 1];
    if (instance) ledger_file_text(instance, own);
    const char *const values[] = {group, buffer_text(&table), instance ? own : NULL};
    SinkResult result;
    if (target->table.strategy == STRATEGY_REPLACE) {
        *ret_count = 0;
        result = postgres_session_use(session, error);
        if (result == SINK_DONE) result = remove_run(session, target, values, only_open, ret_count, error);
    } else {
        result = change(session, remove_sql, 3, values, ret_count, error);
    }
    buffer_deinit(&table);
    return result;
}

static SinkResult pg_remove(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance, uint64_t *ret_count,
                            Error *error) {
    return remove_of_group(session, target, group, instance, false, ret_count, error);
}

static SinkResult pg_give_up(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance, uint64_t *ret_count,
                             Error *error) {
    check(target->table.strategy == STRATEGY_REPLACE);
    return remove_of_group(session, target, group, instance, true, ret_count, error);
}

static SinkResult pg_copy(SinkSession *session, const SinkTarget *from, const SinkTarget *to, const char *group, uint64_t *ret_count,
                          Error *error) {
    static const char sql[] = "INSERT INTO @ (" POSTGRES_KEY ", next_offset, topic_id, table_name, sink, instance) SELECT " POSTGRES_KEY
                              ", next_offset, topic_id, $3, sink, instance FROM @ WHERE group_id = $1 AND table_name = $2"
                              " ORDER BY cluster COLLATE \"C\", topic COLLATE \"C\", generation, partition"
                              " ON CONFLICT (cluster, group_id, table_name, topic, generation, partition) DO NOTHING";
    Buffer source = {0}, table = {0};
    postgres_put_table_name(&source, from);
    postgres_put_table_name(&table, to);
    SinkResult result = change(session_of(session), sql, 3, (const char *const[]){group, buffer_text(&source), buffer_text(&table)},
                               ret_count, error);
    buffer_deinit(&source);
    buffer_deinit(&table);
    return result;
}

const PositionsDriver postgres_positions = {
    .claim = pg_claim,
    .advance = pg_advance,
    .seek = pg_seek,
    .list = pg_list,
    .remove = pg_remove,
    .give_up = pg_give_up,
    .copy = pg_copy,
    .swap = postgres_swap,
};
