#include "sinks/sqlite_positions.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/import_runs.h"
#include "sinks/ledger_entry.h"
#include "sinks/sqlite_position_rows.h"
#include "sinks/sqlite_side.h"
#include "sinks/sqlite_statement.h"
#include "sinks/sqlite_swap.h"
#include "sinks/sqlite_table.h"
#include "sinks/table_shape.h"

static SqliteSession *session_of(SinkSession *session) {
    return (SqliteSession *)(void *)session;
}

/* ---- within a transaction ---- */

static SinkResult read_rows(SqliteSession *session, const SinkTarget *target, ImportPosition *positions, size_t count, Error *error) {
    if (sqlite_positions_are_kept(session)) return sqlite_position_rows_read(session, target, positions, count, error);
    (void)error_set(error, -ENODATA, "positionsMissing: there is no table \"%s\" of positions; a seek creates it.", session->positions);
    return SINK_REFUSED;
}

/* Of a table that is replaced: only the open run has positions that count. */
SinkResult sqlite_positions_read(SqliteSession *session, const SinkTarget *target, ImportPosition *positions, size_t count, Error *error) {
    check(positions_are_ordered(positions, count) && !sqlite3_get_autocommit(session->database));
    SinkResult result = read_rows(session, target, positions, count, error);
    if (result != SINK_DONE || target->table.strategy != STRATEGY_REPLACE) return result;
    RunMarks marks;
    result = sqlite_marks_read(session, target, &marks, error);
    if (result == SINK_DONE) run_marks_evaluate(&marks, positions, count);
    run_marks_deinit(&marks);
    return result;
}

SinkResult sqlite_positions_set(SqliteSession *session, const PositionsOwner *owner, const SinkTarget *target,
                                const ImportPosition *positions, size_t count, Error *error) {
    check(!sqlite3_get_autocommit(session->database));
    STATEMENT update = NULL;
    _cleanup_free_ size_t *changed = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    size_t changes = positions_changed(positions, count, &changed);
    if (changes == 0) return SINK_DONE;
    SinkResult result = sqlite_positions_statement(session,
                                                   "UPDATE @ SET next_offset = ?7, sink = ?9, instance = ?10, at = " SQLITE_NOW
                                                   " WHERE " SQLITE_SAME_KEY " AND next_offset = ?8",
                                                   &update, error);
    if (result == SINK_DONE) sqlite_bind_owner(update, 9, owner);
    for (size_t i = 0; i < changes && result == SINK_DONE; i++) {
        const ImportPosition *position = &positions[changed[i]];
        int64_t hit = 0;
        sqlite_bind_key(update, &position->key, table);
        (void)sqlite3_bind_int64(update, 7, position->next);
        (void)sqlite3_bind_int64(update, 8, position->read);
        result = sqlite_step_once(session, update, &hit, error);
        if (result == SINK_DONE && hit != 1) {
            (void)error_set(error, -EBUSY, "A position changed within the transaction that sets it.");
            result = SINK_RETRY;
        }
    }
    return result;
}

/* Has the table of positions any of the claim's group and table? */
static SinkResult group_has_any(SqliteSession *session, const PartitionKey *key, const char *table, bool *ret_has, Error *error) {
    STATEMENT select = NULL;
    SinkResult result = sqlite_positions_statement(
        session, "SELECT 1 FROM @ WHERE cluster = ?1 AND group_id = ?2 AND table_name = ?3 LIMIT 1", &select, error);
    if (result != SINK_DONE) return result;
    sqlite_bind_text(select, 1, key->cluster);
    sqlite_bind_text(select, 2, key->group);
    sqlite_bind_text(select, 3, table);
    int r = sqlite3_step(select);
    *ret_has = r == SQLITE_ROW;
    return r == SQLITE_ROW || r == SQLITE_DONE ? SINK_DONE : sqlite_failure(session->database, "read positions", error);
}

static SinkResult put_claims(SqliteSession *session, const ClaimJob *job, const ImportPosition *positions, Error *error) {
    STATEMENT insert = NULL;
    _cleanup_free_ char *table = sqlite_table_name(job->target);
    bool has_any = false;
    SinkResult result = group_has_any(session, &job->claims[0].key, table, &has_any, error);
    if (result == SINK_DONE)
        result = sqlite_positions_statement(
            session,
            "INSERT INTO @ (cluster, group_id, topic, generation, partition, table_name, next_offset, topic_id, sink, instance)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            &insert, error);
    if (result == SINK_DONE) sqlite_bind_owner(insert, 9, &job->owner);
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        PositionClaim *claim = &job->claims[i];
        claim->was_there = positions[i].found;
        claim->next = positions[i].found ? positions[i].read : has_any || job->state ? claim->earliest : claim->start;
        if (claim->was_there) continue;
        int64_t hit;
        sqlite_bind_key(insert, &claim->key, table);
        (void)sqlite3_bind_int64(insert, 7, claim->next);
        sqlite_bind_text(insert, 8, claim->topic_id);
        result = sqlite_step_once(session, insert, &hit, error);
    }
    return result;
}

static SinkResult put_seeks(SqliteSession *session, const SeekJob *job, Error *error) {
    STATEMENT insert = NULL;
    _cleanup_free_ char *table = sqlite_table_name(job->target);
    SinkResult result = sqlite_positions_statement(
        session,
        "INSERT INTO @ (cluster, group_id, topic, generation, partition, table_name, next_offset, sink, instance)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset,"
        " sink = excluded.sink, instance = excluded.instance, at = " SQLITE_NOW,
        &insert, error);
    if (result == SINK_DONE) sqlite_bind_owner(insert, 8, &job->owner);
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        int64_t hit;
        sqlite_bind_key(insert, &job->positions[i].key, table);
        (void)sqlite3_bind_int64(insert, 7, job->positions[i].next);
        result = sqlite_step_once(session, insert, &hit, error);
    }
    return result;
}

/* ---- the driver's functions ---- */

static SinkResult begin(SqliteSession *session, bool makes, Error *error) {
    check(sqlite3_get_autocommit(session->database));
    SinkResult result = sqlite_session_check_file(session, error);
    if (result == SINK_DONE) result = sqlite_run(session->database, "BEGIN IMMEDIATE", "begin", error);
    return result == SINK_DONE && makes ? sqlite_table_prepare_positions(session->database, session->ledger, session->positions, error)
                                        : result;
}

/* Statements must have ended. */
static SinkResult end(SqliteSession *session, SinkResult result, Error *error) {
    if (result == SINK_DONE) result = sqlite_run(session->database, "COMMIT", "commit", error);
    if (result == SINK_DONE) result = sqlite_session_check_file(session, error);
    sqlite_roll_back(session->database);
    return result;
}

/* Of all positions of the group in the table. */
static SinkResult remove_group(SqliteSession *session, const SinkTarget *target, const char *group, Error *error) {
    STATEMENT statement = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    int64_t hit = 0;
    SinkResult result = sqlite_positions_statement(session, "DELETE FROM @ WHERE group_id = ?1 AND table_name = ?2", &statement, error);
    if (result != SINK_DONE) return result;
    sqlite_bind_text(statement, 1, group);
    sqlite_bind_text(statement, 2, table);
    return sqlite_step_once(session, statement, &hit, error);
}

/* Nothing is left of an earlier run, nor of this one. */
static SinkResult begin_run(SqliteSession *session, const ClaimJob *job, const SinkTarget *side, const RunMarks *marks, Error *error) {
    const char *group = job->claims[0].key.group;
    SinkResult result = sqlite_side_make(session->database, job->target, side, error);
    if (result == SINK_DONE && marks->run_group) result = remove_group(session, job->target, marks->run_group, error);
    if (result == SINK_DONE && marks->done_group) result = remove_group(session, job->target, marks->done_group, error);
    if (result == SINK_DONE) result = remove_group(session, job->target, group, error);
    return result == SINK_DONE ? sqlite_marks_set(session, &job->owner, job->target, REPLACE_MARK_RUN, group, error) : result;
}

/* Sets the state, and begins the run when it is to begin. */
static SinkResult claim_run(SqliteSession *session, ClaimJob *job, Error *error) {
    const PartitionKey *key = &job->claims[0].key;
    _cleanup_free_ char *table = sqlite_table_name(job->target);
    RunMarks marks;
    SinkTarget side;
    bool is_new = false, has_side = false, has_any = false;
    side_target_init(&side, job->target);
    SinkResult result = sqlite_marks_read(session, job->target, &marks, error);
    if (result == SINK_DONE) {
        job->state = run_marks_state(&marks, key->group, &is_new);
        job->later_run = job->state == RUN_SUPERSEDED ? run_marks_last(&marks) : 0;
    }
    if (result == SINK_DONE && job->state == RUN_OPEN) {
        result = sqlite_side_find(session->database, &side, &has_side, error);
        if (result == SINK_DONE) result = group_has_any(session, key, table, &has_any, error);
        if (result == SINK_DONE && (is_new || !has_side || !has_any)) result = begin_run(session, job, &side, &marks, error);
    }
    side_target_deinit(&side);
    run_marks_deinit(&marks);
    return result;
}

/* Of a run that is over, the table is no matter any more. */
static SinkResult prepare_run(SqliteSession *session, const ClaimJob *job, Error *error) {
    RunMarks marks = {0};
    bool is_new, over = false;
    SinkResult result = sqlite_positions_are_kept(session) ? sqlite_marks_read(session, job->target, &marks, error) : SINK_DONE;
    if (result == SINK_DONE) over = run_marks_state(&marks, job->claims[0].key.group, &is_new) != RUN_OPEN;
    run_marks_deinit(&marks);
    if (result != SINK_DONE || over) return result;
    return sqlite_table_prepare(session->database, session->ledger, session->positions, job->target, error);
}

/* The claims of a run that is over, as far as they are there. */
static void read_back(const ClaimJob *job, const ImportPosition *positions) {
    for (size_t i = 0; i < job->count; i++) {
        job->claims[i].was_there = positions[i].found;
        job->claims[i].next = positions[i].read;
    }
}

static SinkResult sqlite_claim(SinkSession *sink_session, ClaimJob *job, Error *error) {
    SqliteSession *session = session_of(sink_session);
    bool replaced = job->target->table.strategy == STRATEGY_REPLACE;
    _cleanup_free_ ImportPosition *positions = claim_positions(job);
    job->state = 0;
    job->later_run = 0;
    SinkResult result = sqlite_session_check_file(session, error);
    if (result == SINK_DONE && replaced) result = prepare_run(session, job, error);
    if (result == SINK_DONE) result = begin(session, true, error);
    if (result == SINK_DONE && replaced) result = claim_run(session, job, error);
    if (result == SINK_DONE) result = read_rows(session, job->target, positions, job->count, error);
    if (result == SINK_DONE && replaced && job->state != RUN_OPEN)
        read_back(job, positions);
    else if (result == SINK_DONE)
        result = put_claims(session, job, positions, error);
    return end(session, result, error);
}

static SinkResult sqlite_advance(SinkSession *sink_session, PositionsJob *job, Error *error) {
    SqliteSession *session = session_of(sink_session);
    SinkResult result = begin(session, false, error);
    if (result == SINK_DONE) result = sqlite_positions_read(session, job->target, job->positions, job->position_count, error);
    if (result == SINK_DONE) result = positions_job_decide(job, error);
    if (result == SINK_DONE) result = sqlite_positions_set(session, &job->owner, job->target, job->positions, job->position_count, error);
    return end(session, result, error);
}

static SinkResult sqlite_seek(SinkSession *sink_session, SeekJob *job, Error *error) {
    SqliteSession *session = session_of(sink_session);
    seek_assert(job);
    _cleanup_free_ ImportPosition *before = calloc(job->count, sizeof *before);
    check(before);
    memcpy(before, job->positions, job->count * sizeof *before);
    SinkResult result = begin(session, true, error);
    if (result == SINK_DONE) result = read_rows(session, job->target, job->positions, job->count, error);
    if (result == SINK_DONE) result = seek_check(job, before, error);
    if (result == SINK_DONE) result = put_seeks(session, job, error);
    return end(session, result, error);
}

typedef struct List {
    Arena *arena;
    ListedPosition *items; /* of the arena */
    size_t count, capacity;
} List;

static void list_add(List *list, sqlite3_stmt *row, const char *group) {
    if (list->count == list->capacity) {
        ListedPosition *items = arena_alloc(list->arena, (list->capacity * 2 + 16) * sizeof *items);
        if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = list->capacity * 2 + 16;
    }
    const char *id = (const char *)sqlite3_column_text(row, 4);
    list->items[list->count++] = (ListedPosition){
        .key = {.cluster = arena_copy(list->arena, span_of((const char *)sqlite3_column_text(row, 0))),
                .group = group,
                .topic = arena_copy(list->arena, span_of((const char *)sqlite3_column_text(row, 1))),
                .generation = (uint32_t)sqlite3_column_int64(row, 2),
                .partition = (int32_t)sqlite3_column_int64(row, 3)},
        .topic_id = id ? arena_copy(list->arena, span_of(id)) : NULL,
        .next = sqlite3_column_int64(row, 5),
    };
}

static SinkResult sqlite_list(SinkSession *sink_session, const SinkTarget *target, const char *group, Arena *arena,
                              ListedPosition **ret_list, size_t *ret_count, Error *error) {
    SqliteSession *session = session_of(sink_session);
    *ret_list = NULL;
    *ret_count = 0;
    SinkResult result = sqlite_session_check_file(session, error);
    if (result != SINK_DONE || !sqlite_positions_are_kept(session)) return result;
    STATEMENT select = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    result = sqlite_positions_statement(
        session,
        "SELECT cluster, topic, generation, partition, topic_id, next_offset FROM @ WHERE group_id = ?1 AND table_name = ?2"
        " ORDER BY cluster, topic, generation, partition",
        &select, error);
    if (result != SINK_DONE) return result;
    sqlite_bind_text(select, 1, group);
    sqlite_bind_text(select, 2, table);
    List list = {.arena = arena};
    const char *own_group = arena_copy(arena, span_of(group));
    int r;
    while ((r = sqlite3_step(select)) == SQLITE_ROW) list_add(&list, select, own_group);
    if (r != SQLITE_DONE) return sqlite_failure(session->database, "read positions", error);
    *ret_list = list.items;
    *ret_count = list.count;
    return SINK_DONE;
}

/* A statement with ?1 = group, ?2 = table, ?3 = `third` (NULL: null). Without a table of positions
 * it changes nothing. */
static SinkResult change(SqliteSession *session, const char *sql, const char *group, const SinkTarget *target, const char *third,
                         uint64_t *ret_count, Error *error) {
    *ret_count = 0;
    SinkResult result = begin(session, false, error);
    if (result == SINK_DONE && sqlite_positions_are_kept(session)) {
        STATEMENT statement = NULL;
        _cleanup_free_ char *table = sqlite_table_name(target);
        int64_t hit = 0;
        result = sqlite_positions_statement(session, sql, &statement, error);
        if (result == SINK_DONE) {
            sqlite_bind_text(statement, 1, group);
            sqlite_bind_text(statement, 2, table);
            if (third) sqlite_bind_text(statement, 3, third);
            result = sqlite_step_once(session, statement, &hit, error);
            *ret_count = (uint64_t)hit;
        }
    }
    return end(session, result, error);
}

#define REMOVE                                                                                                                             \
    "DELETE FROM @ WHERE group_id = ?1 AND table_name = ?2 AND NOT EXISTS"                                                                 \
    " (SELECT 1 FROM @ AS o WHERE o.group_id = ?1 AND o.table_name = ?2 AND o.instance <> ?3)"

/* Marks that name the group; *ret_hit: how many. */
static SinkResult remove_marks(SqliteSession *session, const SinkTarget *target, const char *group, const char *instance, int64_t *ret_hit,
                               Error *error) {
    STATEMENT statement = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    SinkResult result = sqlite_positions_statement(
        session,
        "DELETE FROM @ WHERE cluster = '' AND group_id = '' AND topic_id = ?1 AND table_name = ?2"
        " AND NOT EXISTS (SELECT 1 FROM @ AS o WHERE o.group_id = ?1 AND o.table_name = ?2)"
        " AND (?3 IS NULL OR instance = ?3)",
        &statement, error);
    if (result != SINK_DONE) return result;
    sqlite_bind_text(statement, 1, group);
    sqlite_bind_text(statement, 2, table);
    sqlite_bind_text(statement, 3, instance);
    return sqlite_step_once(session, statement, ret_hit, error);
}

/* With the marks of the run, and the side table, if it was open. */
static SinkResult remove_run(SqliteSession *session, const SinkTarget *target, const char *group, const char *instance, bool only_open,
                             uint64_t *ret_count, Error *error) {
    RunMarks marks = {0};
    SinkTarget side;
    STATEMENT statement = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    int64_t hit = 0, hit_marks = 0;
    side_target_init(&side, target);
    SinkResult result = sqlite_marks_read(session, target, &marks, error);
    bool open = result == SINK_DONE && run_marks_open(&marks, group), removes = result == SINK_DONE && (open || !only_open);
    if (removes) result = sqlite_positions_statement(session, REMOVE, &statement, error);
    if (result == SINK_DONE && removes) {
        sqlite_bind_text(statement, 1, group);
        sqlite_bind_text(statement, 2, table);
        sqlite_bind_text(statement, 3, instance);
        result = sqlite_step_once(session, statement, &hit, error);
    }
    if (result == SINK_DONE && removes) result = remove_marks(session, target, group, instance, &hit_marks, error);
    if (result == SINK_DONE && hit_marks > 0 && open) result = sqlite_side_drop(session->database, &side, error);
    if (result == SINK_DONE && !only_open && marks.done_group && run_is_earlier(marks.done_group, group))
        result = remove_marks(session, target, marks.done_group, instance, &hit_marks, error);
    *ret_count = (uint64_t)hit;
    side_target_deinit(&side);
    run_marks_deinit(&marks);
    return result;
}

static SinkResult remove_of_group(SinkSession *sink_session, const SinkTarget *target, const char *group, const Uuid *instance,
                                  bool only_open, uint64_t *ret_count, Error *error) {
    SqliteSession *session = session_of(sink_session);
    char own[UUID_TEXT_SIZE + 1];
    if (instance) ledger_file_text(instance, own);
    if (target->table.strategy != STRATEGY_REPLACE) return change(session, REMOVE, group, target, instance ? own : NULL, ret_count, error);
    *ret_count = 0;
    SinkResult result = begin(session, false, error);
    if (result == SINK_DONE && sqlite_positions_are_kept(session))
        result = remove_run(session, target, group, instance ? own : NULL, only_open, ret_count, error);
    return end(session, result, error);
}

static SinkResult sqlite_remove(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance,
                                uint64_t *ret_count, Error *error) {
    return remove_of_group(session, target, group, instance, false, ret_count, error);
}

static SinkResult sqlite_give_up(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance,
                                 uint64_t *ret_count, Error *error) {
    check(target->table.strategy == STRATEGY_REPLACE);
    return remove_of_group(session, target, group, instance, true, ret_count, error);
}

static SinkResult sqlite_copy(SinkSession *session, const SinkTarget *from, const SinkTarget *to, const char *group, uint64_t *ret_count,
                              Error *error) {
    static const char sql[] =
        "INSERT INTO @ (cluster, group_id, topic, generation, partition, table_name, next_offset, topic_id, sink, instance)"
        " SELECT cluster, group_id, topic, generation, partition, ?3, next_offset, topic_id, sink, instance FROM @"
        " WHERE group_id = ?1 AND table_name = ?2 ON CONFLICT DO NOTHING";
    _cleanup_free_ char *table = sqlite_table_name(to);
    return change(session_of(session), sql, group, from, table, ret_count, error);
}

const PositionsDriver sqlite_positions = {
    .claim = sqlite_claim,
    .advance = sqlite_advance,
    .seek = sqlite_seek,
    .list = sqlite_list,
    .remove = sqlite_remove,
    .give_up = sqlite_give_up,
    .copy = sqlite_copy,
    .swap = sqlite_swap,
};
