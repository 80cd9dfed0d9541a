#include "sinks/postgres_positions.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/import_runs.h"
#include "sinks/ledger_entry.h"
#include "sinks/postgres_array.h"
#include "sinks/postgres_table.h"
#include "sinks/postgres_transaction.h"

#define KEY "cluster, group_id, topic, generation, partition"
#define WANTED_KEYS "unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[]"
/* Of a row `p` of the table and a line `w` of what is wanted; $6 is the table's name. */
#define SAME_KEY                                                                                                                           \
    "p.table_name = $6 AND (p.cluster, p.group_id, p.topic, p.generation, p.partition)"                                                    \
    " = (w.cluster, w.group_id, w.topic, w.generation, w.partition)"

/* What a statement has about partitions: a line for each. */
typedef struct PositionLines {
    Buffer cluster, group, topic, generation, partition; /* $1 to $5 */
    Buffer table;                                        /* $6 */
    Buffer first, second, ids;                           /* $7 and so on, as the statement wants them */
} PositionLines;

static PostgresSession *session_of(SinkSession *session) {
    return (PostgresSession *)(void *)session;
}

static void lines_init(PositionLines *lines, const SinkTarget *target) {
    *lines = (PositionLines){0};
    postgres_put_table_name(&lines->table, target);
}

static void lines_add(PositionLines *lines, const PartitionKey *key) {
    check(key->generation <= INT32_MAX);
    postgres_array_add(&lines->cluster, span_of(key->cluster));
    postgres_array_add(&lines->group, span_of(key->group));
    postgres_array_add(&lines->topic, span_of(key->topic));
    postgres_array_add_number(&lines->generation, key->generation);
    postgres_array_add_number(&lines->partition, key->partition);
}

/* Fills $1 to $6. */
static void lines_end(PositionLines *lines, const char **values) {
    values[0] = postgres_array_end(&lines->cluster);
    values[1] = postgres_array_end(&lines->group);
    values[2] = postgres_array_end(&lines->topic);
    values[3] = postgres_array_end(&lines->generation);
    values[4] = postgres_array_end(&lines->partition);
    values[5] = buffer_text(&lines->table);
}

static void lines_deinit(PositionLines *lines) {
    Buffer *const all[] = {&lines->cluster, &lines->group, &lines->topic,  &lines->generation, &lines->partition,
                           &lines->table,   &lines->first, &lines->second, &lines->ids};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) buffer_deinit(all[i]);
}

/* `sql` with the name of the table of positions in the place of each @. */
static SinkResult run(PostgresSession *session, const char *sql, size_t count, const char *const *values, PGresult **ret_rows,
                      Error *error) {
    Buffer text = {0};
    for (const char *at; (at = strchr(sql, '@')); sql = at + 1) {
        buffer_append(&text, sql, (size_t)(at - sql));
        postgres_put_positions(&text, session);
    }
    buffer_append_text(&text, sql);
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&text), count, values, ret_rows, error);
    buffer_deinit(&text);
    return result;
}

static bool has_no_table(const PostgresSession *session, SinkResult result) {
    return result == SINK_REFUSED && (strcmp(session->failure.sqlstate, "42P01") == 0 || strcmp(session->failure.sqlstate, "3F000") == 0);
}

/* ---- within a transaction ---- */

/* Sets found and read by a query for place and offset. */
static SinkResult read_by(PostgresSession *session, const char *sql, const SinkTarget *target, ImportPosition *positions, size_t count,
                          Error *error) {
    PositionLines lines;
    const char *values[6];
    lines_init(&lines, target);
    for (size_t i = 0; i < count; i++) lines_add(&lines, &positions[i].key);
    lines_end(&lines, values);
    PGresult *rows = NULL;
    SinkResult result = run(session, sql, 6, values, &rows, error);
    lines_deinit(&lines);
    if (has_no_table(session, result))
        (void)error_set(error, -ENODATA, "positionsMissing: there is no table %s.%s of positions; a seek makes it.",
                        session->positions_schema, session->positions_table);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 0, 2, error);
    if (result != SINK_DONE) return result;
    for (size_t i = 0; i < count; i++) {
        positions[i].found = false;
        positions[i].read = 0;
    }
    for (int i = 0; i < PQntuples(rows); i++) {
        size_t place = strtoull(PQgetvalue(rows, i, 0), NULL, 10);
        if (place < 1 || place > count) continue; /* nobody asked for it */
        positions[place - 1].found = true;
        positions[place - 1].read = strtoll(PQgetvalue(rows, i, 1), NULL, 10);
    }
    PQclear(rows);
    return SINK_DONE;
}

SinkResult postgres_positions_read(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                   Error *error) {
    check(positions_are_ordered(positions, count));
    return read_by(session,
                   "SELECT w.place, p.next_offset FROM " WANTED_KEYS ") WITH ORDINALITY AS w (" KEY ", place) JOIN @ AS p ON " SAME_KEY,
                   target, positions, count, error);
}

static SinkResult read_and_lock(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count, Error *error) {
    return read_by(session,
                   "SELECT w.place, p.next_offset FROM " WANTED_KEYS ") WITH ORDINALITY AS w (" KEY ", place) JOIN @ AS p ON " SAME_KEY
                   " ORDER BY w.place FOR UPDATE OF p",
                   target, positions, count, error);
}

SinkResult postgres_positions_set(PostgresSession *session, const PositionsOwner *owner, const SinkTarget *target,
                                  const ImportPosition *positions, size_t count, bool *ret_lost, Error *error) {
    /* The first part locks the rows in the order of the lines, and waits for who has locked one; what it set then is seen. */
    static const char sql[] =
        "WITH locked AS MATERIALIZED (SELECT w.* FROM " WANTED_KEYS ", $7::bigint[], $8::bigint[]) WITH ORDINALITY AS w (" KEY
        ", was, will, place) JOIN @ AS p ON " SAME_KEY " WHERE p.next_offset = w.was ORDER BY w.place FOR UPDATE OF p)"
        " UPDATE @ AS p SET next_offset = w.will, sink = $9, instance = $10::uuid, at = pg_catalog.now() FROM locked AS w WHERE " SAME_KEY
        " AND p.next_offset = w.was";
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    *ret_lost = false;
    _cleanup_free_ size_t *changed = NULL;
    size_t changes = positions_changed(positions, count, &changed);
    if (changes == 0) return SINK_DONE;
    PositionLines lines;
    char instance[UUID_TEXT_SIZE + 1];
    const char *values[10];
    lines_init(&lines, target);
    for (size_t i = 0; i < changes; i++) {
        const ImportPosition *position = &positions[changed[i]];
        check(position->found);
        lines_add(&lines, &position->key);
        postgres_array_add_number(&lines.first, position->read);
        postgres_array_add_number(&lines.second, position->next);
    }
    lines_end(&lines, values);
    ledger_file_text(&owner->instance, instance);
    values[6] = postgres_array_end(&lines.first);
    values[7] = postgres_array_end(&lines.second);
    values[8] = owner->sink_label;
    values[9] = instance;
    PGresult *answer = NULL;
    SinkResult result = run(session, sql, 10, values, &answer, error);
    lines_deinit(&lines);
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
    SinkResult result = run(session, sql, 3, (const char *const[]){key->cluster, key->group, buffer_text(&table)}, NULL, error);
    buffer_deinit(&table);
    return result;
}

static SinkResult insert_claims(PostgresSession *session, const ClaimJob *job, Error *error) {
    static const char sql[] =
        "INSERT INTO @ (" KEY ", next_offset, topic_id, table_name, sink, instance) SELECT w.cluster, w.group_id, w.topic, w.generation,"
        " w.partition, CASE WHEN EXISTS (SELECT 1 FROM @ AS p WHERE p.cluster = ($1::text[])[1] AND p.group_id = ($2::text[])[1]"
        " AND p.table_name = $6) THEN w.earliest ELSE w.start END, w.topic_id, $6, $10, $11::uuid FROM " WANTED_KEYS
        ", $7::bigint[], $8::bigint[], $9::text[]) WITH ORDINALITY AS w (" KEY ", start, earliest, topic_id, place) ORDER BY w.place"
        " ON CONFLICT (cluster, group_id, table_name, topic, generation, partition) DO NOTHING";
    PositionLines lines;
    char instance[UUID_TEXT_SIZE + 1];
    const char *values[11];
    lines_init(&lines, job->target);
    for (size_t i = 0; i < job->count; i++) {
        const PositionClaim *claim = &job->claims[i];
        lines_add(&lines, &claim->key);
        postgres_array_add_number(&lines.first, claim->start);
        postgres_array_add_number(&lines.second, claim->earliest);
        if (claim->topic_id)
            postgres_array_add(&lines.ids, span_of(claim->topic_id));
        else
            postgres_array_add_null(&lines.ids);
    }
    lines_end(&lines, values);
    ledger_file_text(&job->owner.instance, instance);
    values[6] = postgres_array_end(&lines.first);
    values[7] = postgres_array_end(&lines.second);
    values[8] = postgres_array_end(&lines.ids);
    values[9] = job->owner.sink_label;
    values[10] = instance;
    SinkResult result = run(session, sql, 11, values, NULL, error);
    lines_deinit(&lines);
    return result;
}

static SinkResult put_seeks(PostgresSession *session, const SeekJob *job, Error *error) {
    static const char sql[] =
        "INSERT INTO @ (" KEY ", next_offset, table_name, sink, instance) SELECT w.cluster, w.group_id, w.topic, w.generation, w.partition,"
        " w.will, $6, $8, $9::uuid FROM " WANTED_KEYS ", $7::bigint[]) WITH ORDINALITY AS w (" KEY ", will, place) ORDER BY w.place"
        " ON CONFLICT (cluster, group_id, table_name, topic, generation, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset,"
        " sink = EXCLUDED.sink, instance = EXCLUDED.instance, at = pg_catalog.now()";
    PositionLines lines;
    char instance[UUID_TEXT_SIZE + 1];
    const char *values[9];
    lines_init(&lines, job->target);
    for (size_t i = 0; i < job->count; i++) {
        lines_add(&lines, &job->positions[i].key);
        postgres_array_add_number(&lines.first, job->positions[i].next);
    }
    lines_end(&lines, values);
    ledger_file_text(&job->owner.instance, instance);
    values[6] = postgres_array_end(&lines.first);
    values[7] = job->owner.sink_label;
    values[8] = instance;
    SinkResult result = run(session, sql, 9, values, NULL, error);
    lines_deinit(&lines);
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
    SinkResult result = postgres_session_use(session, error);
    if (result == SINK_DONE) result = postgres_table_prepare_positions(session, error);
    return result == SINK_DONE ? postgres_begin(session, true, "", NULL, error) : result;
}

static SinkResult pg_claim(SinkSession *sink_session, ClaimJob *job, Error *error) {
    PostgresSession *session = session_of(sink_session);
    _cleanup_free_ ImportPosition *positions = claim_positions(job);
    SinkResult result = begin_making(session, error);
    if (result == SINK_DONE) result = lock_group(session, &positions[0].key, job->target, error);
    if (result == SINK_DONE) result = postgres_positions_read(session, job->target, positions, job->count, error);
    bool complete = true;
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        job->claims[i].was_there = positions[i].found;
        complete = complete && positions[i].found;
    }
    if (result == SINK_DONE && !complete) {
        result = insert_claims(session, job, error);
        if (result == SINK_DONE) result = postgres_positions_read(session, job->target, positions, job->count, error);
    }
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        if (!positions[i].found) {
            (void)error_set(error, -EAGAIN, "A position was removed while it was claimed.");
            result = SINK_RETRY;
        }
        job->claims[i].next = positions[i].read;
    }
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
    for (int starts = 0; lost && starts < IMPORT_STARTS_MOST; starts++) result = advance_once(session, job, &lost, error);
    if (result == SINK_DONE && error) *error = (Error){0};
    return result;
}

static SinkResult pg_seek(SinkSession *sink_session, SeekJob *job, Error *error) {
    PostgresSession *session = session_of(sink_session);
    seek_assert(job);
    _cleanup_free_ ImportPosition *before = calloc(job->count, sizeof *before);
    check(before);
    memcpy(before, job->positions, job->count * sizeof *before);
    SinkResult result = begin_making(session, error);
    if (result == SINK_DONE) result = lock_group(session, &job->positions[0].key, job->target, error);
    if (result == SINK_DONE) result = read_and_lock(session, job->target, job->positions, job->count, error);
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
    result = run(session, sql, 2, (const char *const[]){group, buffer_text(&table)}, &rows, error);
    buffer_deinit(&table);
    if (has_no_table(session, result)) return SINK_DONE;
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
    if (result == SINK_DONE) result = run(session, sql, count, values, &answer, error);
    bool nothing = has_no_table(session, result);
    if (result == SINK_DONE) *ret_count = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    result = end(session, result, "change of positions", error);
    if (nothing && error) *error = (Error){0};
    return nothing ? SINK_DONE : result;
}

static SinkResult pg_remove(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance, uint64_t *ret_count,
                            Error *error) {
    static const char sql[] =
        "WITH w AS MATERIALIZED (SELECT " KEY " FROM @ WHERE group_id = $1 AND table_name = $2"
        " AND NOT EXISTS (SELECT 1 FROM @ AS o WHERE o.group_id = $1 AND o.table_name = $2 AND o.instance <> $3::uuid)"
        " ORDER BY cluster COLLATE \"C\", topic COLLATE \"C\", generation, partition FOR UPDATE)"
        " DELETE FROM @ AS p USING w WHERE p.table_name = $2 AND (p.cluster, p.group_id, p.topic, p.generation, p.partition)"
        " = (w.cluster, w.group_id, w.topic, w.generation, w.partition)";
    Buffer table = {0};
    postgres_put_table_name(&table, target);
    char own[UUID_TEXT_SIZE + 1];
    if (instance) ledger_file_text(instance, own);
    SinkResult result = change(session_of(session), sql, 3, (const char *const[]){group, buffer_text(&table), instance ? own : NULL},
                               ret_count, error);
    buffer_deinit(&table);
    return result;
}

static SinkResult pg_copy(SinkSession *session, const SinkTarget *from, const SinkTarget *to, const char *group, uint64_t *ret_count,
                          Error *error) {
    static const char sql[] = "INSERT INTO @ (" KEY ", next_offset, topic_id, table_name, sink, instance) SELECT " KEY
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
    .copy = pg_copy,
};
