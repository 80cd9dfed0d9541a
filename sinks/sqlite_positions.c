#include "sinks/sqlite_positions.h"

#include <ctype.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/import_runs.h"
#include "sinks/ledger_entry.h"
#include "sinks/sqlite_table.h"
#include "sinks/table_shape.h"

#define SAME_KEY "cluster = ?1 AND group_id = ?2 AND topic = ?3 AND generation = ?4 AND partition = ?5 AND table_name = ?6"
#define NOW "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

static SqliteSession *session_of(SinkSession *session) {
    return (SqliteSession *)(void *)session;
}

static void cleanup_statement(sqlite3_stmt **statement) {
    (void)sqlite3_finalize(*statement);
}
#define STATEMENT _cleanup_(cleanup_statement) sqlite3_stmt *

/* `sql` with the name of the table of positions in the place of each @. */
static SinkResult prepare(SqliteSession *session, const char *sql, sqlite3_stmt **ret_statement, Error *error) {
    Buffer text = {0};
    for (const char *at; (at = strchr(sql, '@')); sql = at + 1) {
        buffer_append(&text, sql, (size_t)(at - sql));
        sql_put_identifier(&text, session->positions);
    }
    buffer_append_text(&text, sql);
    int r = sqlite3_prepare_v2(session->database, buffer_text(&text), -1, ret_statement, NULL);
    buffer_deinit(&text);
    return r == SQLITE_OK ? SINK_DONE : sqlite_failure(session->database, "use the positions", error);
}

static void bind_text(sqlite3_stmt *statement, int place, const char *text) {
    (void)sqlite3_bind_text(statement, place, text, -1, SQLITE_TRANSIENT); /* NULL is NULL */
}

static void bind_key(sqlite3_stmt *statement, const PartitionKey *key, const char *table) {
    bind_text(statement, 1, key->cluster);
    bind_text(statement, 2, key->group);
    bind_text(statement, 3, key->topic);
    (void)sqlite3_bind_int64(statement, 4, key->generation);
    (void)sqlite3_bind_int64(statement, 5, key->partition);
    bind_text(statement, 6, table);
}

static void bind_owner(sqlite3_stmt *statement, int place, const PositionsOwner *owner) {
    char instance[UUID_TEXT_SIZE + 1];
    ledger_file_text(&owner->instance, instance);
    bind_text(statement, place, owner->sink_label);
    bind_text(statement, place + 1, instance);
}

/* Runs it once, for another set of values; *ret_changes: rows. */
static SinkResult step(SqliteSession *session, sqlite3_stmt *statement, int64_t *ret_changes, Error *error) {
    int r = sqlite3_step(statement);
    SinkResult result = r == SQLITE_DONE ? SINK_DONE : sqlite_failure(session->database, "set positions", error);
    *ret_changes = sqlite3_changes64(session->database);
    (void)sqlite3_reset(statement);
    return result;
}

static bool has_table(SqliteSession *session) {
    return sqlite3_table_column_metadata(session->database, "main", session->positions, NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

/* ---- within a transaction ---- */

SinkResult sqlite_positions_read(SqliteSession *session, const SinkTarget *target, ImportPosition *positions, size_t count, Error *error) {
    check(positions_are_ordered(positions, count) && !sqlite3_get_autocommit(session->database));
    if (!has_table(session)) {
        (void)error_set(error, -ENODATA, "positionsMissing: there is no table \"%s\" of positions; a seek makes it.", session->positions);
        return SINK_REFUSED;
    }
    STATEMENT select = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    SinkResult result = prepare(session, "SELECT next_offset FROM @ WHERE " SAME_KEY, &select, error);
    for (size_t i = 0; i < count && result == SINK_DONE; i++) {
        bind_key(select, &positions[i].key, table);
        int r = sqlite3_step(select);
        positions[i].found = r == SQLITE_ROW;
        positions[i].read = positions[i].found ? sqlite3_column_int64(select, 0) : 0;
        if (r != SQLITE_ROW && r != SQLITE_DONE) result = sqlite_failure(session->database, "read positions", error);
        (void)sqlite3_reset(select);
    }
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
    SinkResult result = prepare(
        session, "UPDATE @ SET next_offset = ?7, sink = ?9, instance = ?10, at = " NOW " WHERE " SAME_KEY " AND next_offset = ?8", &update,
        error);
    if (result == SINK_DONE) bind_owner(update, 9, owner);
    for (size_t i = 0; i < changes && result == SINK_DONE; i++) {
        const ImportPosition *position = &positions[changed[i]];
        int64_t hit = 0;
        bind_key(update, &position->key, table);
        (void)sqlite3_bind_int64(update, 7, position->next);
        (void)sqlite3_bind_int64(update, 8, position->read);
        result = step(session, update, &hit, error);
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
    SinkResult result = prepare(session, "SELECT 1 FROM @ WHERE cluster = ?1 AND group_id = ?2 AND table_name = ?3 LIMIT 1", &select,
                                error);
    if (result != SINK_DONE) return result;
    bind_text(select, 1, key->cluster);
    bind_text(select, 2, key->group);
    bind_text(select, 3, table);
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
        result = prepare(
            session,
            "INSERT INTO @ (cluster, group_id, topic, generation, partition, table_name, next_offset, topic_id, sink, instance)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            &insert, error);
    if (result == SINK_DONE) bind_owner(insert, 9, &job->owner);
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        PositionClaim *claim = &job->claims[i];
        claim->was_there = positions[i].found;
        claim->next = positions[i].found ? positions[i].read : has_any ? claim->earliest : claim->start;
        if (claim->was_there) continue;
        int64_t hit;
        bind_key(insert, &claim->key, table);
        (void)sqlite3_bind_int64(insert, 7, claim->next);
        bind_text(insert, 8, claim->topic_id);
        result = step(session, insert, &hit, error);
    }
    return result;
}

static SinkResult put_seeks(SqliteSession *session, const SeekJob *job, Error *error) {
    STATEMENT insert = NULL;
    _cleanup_free_ char *table = sqlite_table_name(job->target);
    SinkResult result = prepare(session,
                                "INSERT INTO @ (cluster, group_id, topic, generation, partition, table_name, next_offset, sink, instance)"
                                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset,"
                                " sink = excluded.sink, instance = excluded.instance, at = " NOW,
                                &insert, error);
    if (result == SINK_DONE) bind_owner(insert, 8, &job->owner);
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        int64_t hit;
        bind_key(insert, &job->positions[i].key, table);
        (void)sqlite3_bind_int64(insert, 7, job->positions[i].next);
        result = step(session, insert, &hit, error);
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

static SinkResult sqlite_claim(SinkSession *sink_session, ClaimJob *job, Error *error) {
    SqliteSession *session = session_of(sink_session);
    _cleanup_free_ ImportPosition *positions = claim_positions(job);
    SinkResult result = begin(session, true, error);
    if (result == SINK_DONE) result = sqlite_positions_read(session, job->target, positions, job->count, error);
    if (result == SINK_DONE) result = put_claims(session, job, positions, error);
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
    if (result == SINK_DONE) result = sqlite_positions_read(session, job->target, job->positions, job->count, error);
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
    if (result != SINK_DONE || !has_table(session)) return result;
    STATEMENT select = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    result = prepare(session,
                     "SELECT cluster, topic, generation, partition, topic_id, next_offset FROM @ WHERE group_id = ?1 AND table_name = ?2"
                     " ORDER BY cluster, topic, generation, partition",
                     &select, error);
    if (result != SINK_DONE) return result;
    bind_text(select, 1, group);
    bind_text(select, 2, table);
    List list = {.arena = arena};
    const char *own_group = arena_copy(arena, span_of(group));
    int r;
    while ((r = sqlite3_step(select)) == SQLITE_ROW) list_add(&list, select, own_group);
    if (r != SQLITE_DONE) return sqlite_failure(session->database, "read positions", error);
    *ret_list = list.items;
    *ret_count = list.count;
    return SINK_DONE;
}

/* A statement with ?1 = group, ?2 = table, ?3 = `third` (NULL: null). Without a table of positions it changes nothing. */
static SinkResult change(SqliteSession *session, const char *sql, const char *group, const SinkTarget *target, const char *third,
                         uint64_t *ret_count, Error *error) {
    *ret_count = 0;
    SinkResult result = begin(session, false, error);
    if (result == SINK_DONE && has_table(session)) {
        STATEMENT statement = NULL;
        _cleanup_free_ char *table = sqlite_table_name(target);
        int64_t hit = 0;
        result = prepare(session, sql, &statement, error);
        if (result == SINK_DONE) {
            bind_text(statement, 1, group);
            bind_text(statement, 2, table);
            if (third) bind_text(statement, 3, third);
            result = step(session, statement, &hit, error);
            *ret_count = (uint64_t)hit;
        }
    }
    return end(session, result, error);
}

static SinkResult sqlite_remove(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance,
                                uint64_t *ret_count, Error *error) {
    static const char sql[] = "DELETE FROM @ WHERE group_id = ?1 AND table_name = ?2 AND NOT EXISTS"
                              " (SELECT 1 FROM @ AS o WHERE o.group_id = ?1 AND o.table_name = ?2 AND o.instance <> ?3)";
    char own[UUID_TEXT_SIZE + 1];
    if (instance) ledger_file_text(instance, own);
    return change(session_of(session), sql, group, target, instance ? own : NULL, ret_count, error);
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
    .copy = sqlite_copy,
};
