#include "sinks/postgres_load.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/csv_record.h"
#include "sinks/postgres_columns.h"
#include "sinks/postgres_table.h"
#include "sinks/row_search.h"
#include "sinks/table_shape.h"

#define UNCLEAR_MAX 100 /* rows refused for what may be the table's fault, before any row went through */

SinkResult postgres_load_begin(PostgresLoad *load, PostgresSession *session, ImportJob *job, const SinkTarget *target,
                               const PostgresRules *rules, bool has_row_security, Error *error) {
    *load = (PostgresLoad){
        .session = session, .job = job, .target = target, .rules = rules, .is_direct = !sink_table_has_key(target) && !has_row_security};
    thread_owner_bind(&load->owner);
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    Buffer clears = {0};
    SinkResult result = SINK_DONE;
    if (target->infer && target->table.strategy == STRATEGY_MERGE) result = postgres_columns_put_clears(session, target, &clears, error);
    postgres_statements_init(&load->statements, target, load->is_direct, &clears);
    buffer_deinit(&clears);
    if (result != SINK_DONE) return result;
    if (load->is_direct) return SINK_DONE;
    return postgres_run(session, session->silence_limit, buffer_text(&load->statements.temporary_table), 0, NULL, NULL, error);
}

void postgres_load_deinit(PostgresLoad *load) {
    sink_rejects_deinit(&load->rejects);
    postgres_statements_deinit(&load->statements);
}

/* ---- one attempt ---- */

typedef struct Attempt {
    const ImportFile *file;
    uint64_t from;   /* in: the first row is the first with a number >= from */
    uint64_t window; /* in: numbers from the first row on; UINT64_MAX: to the end */
    uint64_t first;  /* out: number of the first row, when there is one */
    uint64_t next;   /* out: behind the last row */
    uint64_t rows;   /* out: sent */
    bool at_end;     /* out: no rows come after these */
    /* Out, of an attempt that failed: a statement that had the rows in it was refused. */
    bool carried_rows;
    /* Out, of one that did not: the table has them, or they are refused or swallowed by name; */
    uint64_t stored;
    uint64_t existing;  /* of those: they change nothing, since their keys were there (ImportJob.existing_rows) */
    bool has_swallowed; /* some were swallowed, and are known by name */
    bool is_mixed;      /* but when some were swallowed, and it takes a search to know which: then nothing is done, the savepoint stands */
} Attempt;

static SinkResult simple(PostgresLoad *load, const char *sql, PGresult **ret_result, Error *error) {
    check_on_thread(&load->owner);
    check(postgres_session_is(load->session, POSTGRES_TRANSACTION));
    return postgres_run(load->session, load->session->statement_limit, sql, 0, NULL, ret_result, error);
}

/* A statement that moves the rows of the attempt. */
static SinkResult carry(PostgresLoad *load, Attempt *attempt, Buffer *sql, PGresult **ret_result, Error *error) {
    check(!load->is_direct && load->has_savepoint && attempt->rows > 0);
    attempt->carried_rows = true;
    SinkResult result = simple(load, buffer_text(sql), ret_result, error);
    if (result == SINK_DONE) attempt->carried_rows = false;
    return result;
}

static SinkResult count(PostgresLoad *load, Buffer *sql, uint64_t *ret_count, Error *error) {
    PGresult *answer = NULL;
    SinkResult result = simple(load, buffer_text(sql), &answer, error);
    if (result == SINK_DONE) result = postgres_expect(load->session, &answer, 1, 1, error);
    if (result == SINK_DONE) *ret_count = strtoull(PQgetvalue(answer, 0, 0), NULL, 10);
    PQclear(answer);
    return result;
}

/* The savepoint, and the COPY behind it: rows may follow. */
static SinkResult open_savepoint(PostgresLoad *load, Error *error) {
    check(!load->has_savepoint);
    SinkResult result = simple(load, buffer_text(&load->statements.start), NULL, error);
    check(result != SINK_DONE || postgres_session_is(load->session, POSTGRES_COPYING));
    load->has_savepoint = true; /* also when the COPY was refused */
    return result;
}

static SinkResult close_savepoint(PostgresLoad *load, const char *sql, Error *error) {
    check(load->has_savepoint);
    SinkResult result = simple(load, sql, NULL, error);
    if (result == SINK_DONE) load->has_savepoint = false;
    return result;
}

static SinkResult keep_savepoint(PostgresLoad *load, Error *error) {
    return close_savepoint(load, "RELEASE SAVEPOINT sluice_attempt", error);
}

static SinkResult undo_savepoint(PostgresLoad *load, Error *error) {
    return close_savepoint(load, "ROLLBACK TO SAVEPOINT sluice_attempt; RELEASE SAVEPOINT sluice_attempt", error);
}

/* A COPY that cannot be ended well: the connection goes, and the server rolls back. */
static SinkResult abandon(PostgresLoad *load) {
    postgres_session_break(load->session);
    return SINK_RETRY;
}

static SinkResult send_rows(PostgresLoad *load, Attempt *attempt, Error *error) {
    SinkRows *reader = load->reader;
    PostgresSession *session = load->session;
    load->checked.sends_originals = false;
    uint64_t done_before = session->rows_done;
    check(postgres_session_is(session, POSTGRES_COPYING) && attempt->rows == 0 && attempt->window > 0);
    if (reader->seek(reader, attempt->from, error) < 0) return abandon(load);
    for (;;) {
        Span csv;
        uint64_t first, rows;
        int r = reader->block(reader, &csv, &first, &rows, error);
        if (r < 0 && load->checked.has_failed) {
            postgres_copy_cancel(session);
            return SINK_REFUSED;
        }
        if (r < 0 || sink_failpoint("import.within-rows", error) != SINK_DONE) return abandon(load);
        if (r == SINK_ROWS_END) {
            attempt->at_end = true;
            break;
        }
        if (rows == 0) continue;
        if (attempt->rows == 0) attempt->first = first;
        if (first - attempt->first >= attempt->window) break;
        if (rows > attempt->window - (first - attempt->first)) {
            rows = attempt->window - (first - attempt->first);
            csv.size = csv_record_sizes(csv, rows);
            if (csv.size == 0) {
                (void)error_set(error, -EBADMSG, "A block of rows ends before its last row (row %llu).", (unsigned long long)first);
                return abandon(load);
            }
        }
        SinkResult result = postgres_copy_put(session, csv, error);
        if (result != SINK_DONE) return result;
        attempt->rows += rows;
        attempt->next = first + rows;
        session->rows_done = done_before + attempt->rows;
        if (attempt->next - attempt->first >= attempt->window) break;
        if (session->progress && session->progress(session->progress_context, session->rows_done, false)) {
            (void)error_set(error, -ECANCELED, "The import was interrupted.");
            return abandon(load);
        }
        if (postgres_copy_has_answer(session)) break;
    }
    return SINK_DONE;
}

static SinkResult miscounted(PostgresLoad *load, uint64_t wanted, uint64_t counted, Error *error) {
    load->session->failure = (PostgresFailure){0};
    (void)error_set(error, -EIO, "The server counted %" PRIu64 " rows of %" PRIu64 "; nothing was changed.", counted, wanted);
    return SINK_RETRY;
}

static SinkResult may_swallow(PostgresLoad *load, bool *ret_may, Error *error) {
    if (load->swallows == POSTGRES_SWALLOWS_UNKNOWN) {
        bool may = false;
        SinkResult result = postgres_table_may_swallow(load->session, load->target, &may, error);
        if (result != SINK_DONE) return result;
        load->swallows = may ? POSTGRES_SWALLOWS : POSTGRES_SWALLOWS_NOT;
    }
    *ret_may = load->swallows == POSTGRES_SWALLOWS;
    return SINK_DONE;
}

/* The rows of the attempt as the file has them. */
static int walk_originals(PostgresLoad *load, CsvWalk *walk, const Attempt *attempt, Error *error) {
    load->checked.sends_originals = true;
    return csv_walk_start(walk, load->reader, attempt->first, error);
}

static SinkResult name_all_swallowed(PostgresLoad *load, const Attempt *attempt, Error *error) {
    CsvWalk walk;
    if (walk_originals(load, &walk, attempt, error) < 0) return SINK_RETRY;
    for (uint64_t i = 0; i < attempt->rows; i++) {
        Span csv;
        uint64_t row;
        int r = csv_walk_next(&walk, &csv, &row, error);
        if (r == SINK_ROWS_END) (void)error_set(error, -EIO, "Row %" PRIu64 " of an import cannot be read again.", attempt->first + i);
        if (r != 0) return SINK_RETRY;
        sink_rejects_add_swallowed(&load->rejects, load->job, attempt->file, row, csv);
    }
    return SINK_DONE;
}

/* `missing` rows of `wanted`, which are those of the attempt or fewer (one of each key), are not in
 * the table, and no error said so. */
static SinkResult settle_missing(PostgresLoad *load, Attempt *attempt, uint64_t wanted, uint64_t missing, Error *error) {
    if (missing == 0) return SINK_DONE;
    bool may = false;
    SinkResult result = may_swallow(load, &may, error);
    if (result != SINK_DONE) return result;
    check(wanted <= attempt->rows);
    if (!may || missing > wanted) return miscounted(load, wanted, wanted - missing, error);
    bool all = missing == attempt->rows;
    if (!all && sink_rejects_may_name(&load->rejects, load->job, missing)) {
        attempt->is_mixed = true;
        return SINK_DONE;
    }
    check(missing <= attempt->rows && !attempt->is_mixed);
    attempt->stored = attempt->rows - missing;
    attempt->has_swallowed = all && sink_rejects_may_name(&load->rejects, load->job, missing);
    if (attempt->has_swallowed) return name_all_swallowed(load, attempt, error);
    sink_rejects_count_swallowed(&load->rejects, missing);
    return SINK_DONE;
}

/* A row that an append did not insert, as the statement names it. */
typedef struct Absentee {
    uint64_t place; /* in the attempt, from 1 */
    bool is_in_file, is_in_table;
} Absentee;

static Absentee absentee_of(const PGresult *places, int i) {
    return (Absentee){.place = strtoull(PQgetvalue(places, i, 0), NULL, 10),
                      .is_in_file = PQgetvalue(places, i, 1)[0] == 't',
                      .is_in_table = PQgetvalue(places, i, 2)[0] == 't'};
}

/* Refuses them as duplicates; `swallows`: those that are none were swallowed. */
static SinkResult settle_absentees(PostgresLoad *load, Attempt *attempt, const PGresult *places, bool swallows, Error *error) {
    CsvWalk walk;
    uint64_t place = 0, swallowed = 0;
    for (int i = 0; i < PQntuples(places); i++) {
        Absentee absentee = absentee_of(places, i);
        swallowed += swallows && !absentee.is_in_file && !absentee.is_in_table;
    }
    bool by_name = sink_rejects_may_name(&load->rejects, load->job, swallowed);
    if (!by_name) sink_rejects_count_swallowed(&load->rejects, swallowed);
    if (walk_originals(load, &walk, attempt, error) < 0) return SINK_RETRY;
    for (int i = 0; i < PQntuples(places); i++) {
        Absentee absentee = absentee_of(places, i);
        bool is_swallowed = swallows && !absentee.is_in_file && !absentee.is_in_table;
        if (is_swallowed && !by_name) continue;
        if (absentee.is_in_table && sink_target_keeps_rows(load->target)) {
            attempt->existing++;
            continue;
        }
        uint64_t row = 0;
        Span csv = {0};
        for (; place < absentee.place; place++) {
            int r = csv_walk_next(&walk, &csv, &row, error);
            if (r == SINK_ROWS_END) (void)error_set(error, -EIO, "Row %" PRIu64 " of an import cannot be read again.", absentee.place);
            if (r != 0) return SINK_RETRY;
        }
        if (is_swallowed) {
            sink_rejects_add_swallowed(&load->rejects, load->job, attempt->file, row, csv);
            continue;
        }
        const char *reason = absentee.is_in_file ? "duplicate key: an earlier row of the same import has the same primary key"
                                                 : "duplicate key: the table already has a row with this primary key";
        SinkResult result = sink_rejects_add(&load->rejects, load->job, attempt->file, row, reason, csv, error);
        if (result != SINK_DONE) return result;
    }
    attempt->stored = attempt->rows - (uint64_t)PQntuples(places) + attempt->existing;
    return SINK_DONE;
}

static SinkResult append_new_keys(PostgresLoad *load, Attempt *attempt, Error *error) {
    SinkResult result = simple(load, "SAVEPOINT sluice_append", NULL, error);
    PGresult *answer = NULL;
    if (result == SINK_DONE) result = carry(load, attempt, &load->statements.insert, &answer, error);
    if (result != SINK_DONE) return result;
    uint64_t inserted = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    if (inserted == attempt->rows) return SINK_DONE;
    bool swallows = false;
    result = may_swallow(load, &swallows, error);
    if (result == SINK_DONE) result = simple(load, "ROLLBACK TO SAVEPOINT sluice_append", NULL, error);
    answer = NULL;
    if (result == SINK_DONE) result = carry(load, attempt, &load->statements.duplicates, &answer, error);
    if (result == SINK_DONE) result = postgres_expect(load->session, &answer, 0, 3, error);
    if (result != SINK_DONE) return result;
    /* A trigger that changes keys, or that swallows a row whose key comes again, makes names that
     * are not those of the missing rows. */
    if (swallows && inserted + (uint64_t)PQntuples(answer) != attempt->rows && attempt->rows > 1)
        attempt->is_mixed = true;
    else if ((uint64_t)PQntuples(answer) > attempt->rows)
        result = miscounted(load, attempt->rows, (uint64_t)PQntuples(answer), error);
    else
        result = settle_absentees(load, attempt, answer, swallows, error);
    PQclear(answer);
    return result;
}

/* Where a trigger may swallow rows: how many of `wanted` are not as the merge should have made
 * them. */
static SinkResult settle_unsettled(PostgresLoad *load, Attempt *attempt, uint64_t wanted, Error *error) {
    uint64_t unsettled = 0;
    SinkResult result = count(load, &load->statements.count_unsettled, &unsettled, error);
    if (result == SINK_DONE && unsettled > wanted) return miscounted(load, wanted, unsettled, error);
    return result == SINK_DONE ? settle_missing(load, attempt, wanted, unsettled, error) : result;
}

static SinkResult erase(PostgresLoad *load, Attempt *attempt, Error *error) {
    if (load->statements.erase.size == 0) return SINK_DONE;
    PGresult *answer = NULL;
    SinkResult result = carry(load, attempt, &load->statements.erase, &answer, error);
    PQclear(answer);
    return result;
}

/* Leaves out the rows whose keys were there before the import, if the target keeps those. */
static SinkResult set_aside(PostgresLoad *load, Attempt *attempt, Error *error) {
    if (load->statements.set_aside.size == 0) return SINK_DONE;
    PGresult *answer = NULL;
    SinkResult result = carry(load, attempt, &load->statements.set_aside, &answer, error);
    if (result != SINK_DONE) return result;
    attempt->existing = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    return attempt->existing > attempt->rows ? miscounted(load, attempt->rows, attempt->existing, error) : SINK_DONE;
}

static SinkResult merge_rows(PostgresLoad *load, Attempt *attempt, uint64_t rows, Error *error) {
    const SinkTarget *target = load->target;
    PGresult *answer = NULL;
    SinkResult result = erase(load, attempt, error);
    if (result == SINK_DONE) result = carry(load, attempt, &load->statements.insert, &answer, error);
    if (result != SINK_DONE) return result;
    uint64_t merged = strtoull(PQcmdTuples(answer), NULL, 10), keys = 0;
    PQclear(answer);
    if (merged == rows) return SINK_DONE;
    if (sink_table_is_all_key(target)) {
        /* DO NOTHING does not count the rows that were there. */
        bool may = false;
        result = may_swallow(load, &may, error);
        return result == SINK_DONE && may ? settle_unsettled(load, attempt, rows, error) : result;
    }
    result = count(load, &load->statements.count_keys, &keys, error);
    if (result == SINK_DONE && (merged > keys || keys > rows)) return miscounted(load, keys, merged, error);
    if (result != SINK_DONE) return result;
    if (sink_target_deletes(target)) return settle_unsettled(load, attempt, rows, error);
    /* Older rows do not count. */
    if (target->table.newer_by && merged < keys) return settle_unsettled(load, attempt, keys, error);
    return settle_missing(load, attempt, keys, keys - merged, error);
}

static SinkResult merge(PostgresLoad *load, Attempt *attempt, Error *error) {
    SinkResult result = set_aside(load, attempt, error);
    if (result != SINK_DONE || attempt->existing == attempt->rows) return result;
    result = merge_rows(load, attempt, attempt->rows - attempt->existing, error);
    if (result != SINK_DONE || attempt->is_mixed || load->statements.note_new.size == 0) return result;
    return simple(load, buffer_text(&load->statements.note_new), NULL, error);
}

static SinkResult append_all(PostgresLoad *load, Attempt *attempt, Error *error) {
    PGresult *answer = NULL;
    SinkResult result = carry(load, attempt, &load->statements.insert, &answer, error);
    if (result != SINK_DONE) return result;
    uint64_t inserted = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    if (inserted > attempt->rows) return miscounted(load, attempt->rows, inserted, error);
    return settle_missing(load, attempt, attempt->rows, attempt->rows - inserted, error);
}

static SinkResult move_rows(PostgresLoad *load, Attempt *attempt, Error *error) {
    const SinkTarget *target = load->target;
    if (!sink_table_has_key(target)) return append_all(load, attempt, error);
    return target->table.strategy == STRATEGY_MERGE ? merge(load, attempt, error) : append_new_keys(load, attempt, error);
}

/* On SINK_DONE, but for is_mixed, the rows are in the table, refused, or swallowed. Otherwise the
 * savepoint stands, if the session does. */
static SinkResult try_rows(PostgresLoad *load, Attempt *attempt, Error *error) {
    SinkResult result = open_savepoint(load, error);
    if (result == SINK_DONE) result = send_rows(load, attempt, error);
    if (result != SINK_DONE) return result;
    check(attempt->rows == 0 || attempt->next - attempt->first >= attempt->rows); /* numbers may have holes */
    check(attempt->rows == 0 || attempt->next - attempt->first <= attempt->window);
    attempt->stored = attempt->rows;
    attempt->carried_rows = true;
    uint64_t counted = 0;
    result = postgres_copy_end(load->session, &counted, error);
    if (result != SINK_DONE) return result;
    attempt->carried_rows = false;
    if (counted > attempt->rows || (!load->is_direct && counted != attempt->rows)) return miscounted(load, attempt->rows, counted, error);
    if (load->is_direct)
        result = settle_missing(load, attempt, attempt->rows, attempt->rows - counted, error);
    else if (attempt->rows > 0)
        result = move_rows(load, attempt, error);
    if (result == SINK_DONE && !attempt->is_mixed) result = keep_savepoint(load, error);
    check(result != SINK_DONE || load->has_savepoint == attempt->is_mixed);
    return result;
}

/* ---- around bad rows ---- */

/* The row of the attempt whose text holds the server's line; ROW_SEARCH_NONE: none. */
static int row_of_line(PostgresLoad *load, const Attempt *attempt, uint64_t line, uint64_t *ret_row, Error *error) {
    CsvWalk walk;
    uint64_t lines = 0;
    *ret_row = ROW_SEARCH_NONE;
    load->checked.sends_originals = false; /* a changed cell may have other newlines */
    int r = csv_walk_start(&walk, load->reader, attempt->first, error);
    if (r < 0) return r;
    for (uint64_t i = 0; i < attempt->rows && line > 0; i++) {
        Span csv;
        uint64_t row;
        r = csv_walk_next(&walk, &csv, &row, error);
        if (r != 0) return r < 0 ? r : 0;
        for (const char *at = csv.data, *end = csv.data + csv.size; (at = memchr(at, '\n', (size_t)(end - at))); at++) lines++;
        if (lines < line) continue;
        *ret_row = row;
        return 0;
    }
    return 0;
}

static SinkResult refuse_row(PostgresLoad *load, const Attempt *attempt, const char *reason, Error *error) {
    CsvWalk walk;
    Span csv;
    uint64_t row;
    int r = walk_originals(load, &walk, attempt, error);
    if (r == 0) r = csv_walk_next(&walk, &csv, &row, error);
    if (r == SINK_ROWS_END) (void)error_set(error, -EIO, "Row %" PRIu64 " of an import cannot be read again.", attempt->first);
    if (r != 0) return SINK_RETRY;
    return sink_rejects_add(&load->rejects, load->job, attempt->file, row, reason, csv, error);
}

/* After an attempt of several rows was refused. */
static SinkResult search_narrow(PostgresLoad *load, RowSearch *search, const Attempt *attempt, const PostgresFailure *failure,
                                Error *error) {
    uint64_t suspect;
    check(attempt->rows > 1);
    if (row_of_line(load, attempt, failure->line, &suspect, error) < 0) return SINK_RETRY;
    row_search_refused(search, attempt->first, attempt->next, suspect);
    return SINK_DONE;
}

/* ---- bad rows that the server finds ---- */

/* The search itself, in a savepoint that is undone. SINK_DONE: *ret_found says whether it found
 * rows that may be left out. */
static SinkResult ask_for_bad_rows(PostgresLoad *load, const Attempt *attempt, bool *ret_found, Error *error) {
    Attempt searched = {.file = attempt->file, .from = attempt->first, .next = attempt->first, .window = attempt->next - attempt->first};
    PGresult *answer = NULL;
    uint64_t copied = 0;
    SinkResult result = simple(load, buffer_text(&load->statements.find_start), NULL, error);
    load->has_savepoint = true;
    if (result == SINK_DONE) result = send_rows(load, &searched, error);
    if (result == SINK_DONE) result = postgres_copy_end(load->session, &copied, error);
    if (result == SINK_DONE && copied == attempt->rows) result = simple(load, buffer_text(&load->statements.find), &answer, error);
    if (result == SINK_DONE && answer) result = postgres_expect(load->session, &answer, 0, 5, error);
    if (result == SINK_DONE && answer) {
        load->checked.sends_originals = true;
        int r = postgres_find_take(&load->found, load->target, answer, load->reader, attempt->first, attempt->next, error);
        if (r < 0) result = SINK_RETRY;
        *ret_found = r > 0;
    }
    PQclear(answer);
    return result;
}

/*
 * Only of small ranges: what the server does for one statement is bounded. Where a trigger or rule
 * may swallow rows, an INSERT is not what COPY is. If the server cannot search (a role without the
 * right to make temporary tables, a row that cannot be copied there), it is not asked again for
 * this file.
 */
static SinkResult find_bad_rows(PostgresLoad *load, const Attempt *attempt, bool *ret_found, Error *error) {
    bool swallows = false;
    *ret_found = false;
    if (!load->may_find || attempt->rows > FIND_ROWS_MAX || load->statements.find.size == 0) return SINK_DONE;
    SinkResult result = load->is_direct ? may_swallow(load, &swallows, error) : SINK_DONE;
    if (result != SINK_DONE || swallows) return result;
    Error failure = {0};
    SinkResult outcome = ask_for_bad_rows(load, attempt, ret_found, &failure);
    if (load->session->is_broken || load->checked.has_failed) {
        if (error) *error = failure;
        return outcome == SINK_DONE ? SINK_RETRY : outcome;
    }
    result = undo_savepoint(load, error);
    load->may_find = *ret_found;
    if (result == SINK_DONE && *ret_found) skipped_rows_set(&load->skipped, load->found.numbers, load->found.count);
    return result;
}

static void forget_found(PostgresLoad *load) {
    postgres_find_clear(&load->found);
    skipped_rows_set(&load->skipped, NULL, 0);
}

/* The rows around them went through, or there are none. */
static SinkResult refuse_found(PostgresLoad *load, uint64_t *rows, Error *error) {
    *rows += load->found.count;
    skipped_rows_set(&load->skipped, NULL, 0);
    return postgres_find_refuse(&load->found, &load->rejects, load->job, load->file, error);
}

/* ---- is it the table? ---- */

/* The statement without rows: what fails then is not a row's fault. */
static SinkResult try_without_rows(PostgresLoad *load, Error *error) {
    PostgresStatements *statements = &load->statements;
    uint64_t counted = 0;
    SinkResult result = open_savepoint(load, error);
    if (result == SINK_DONE) result = postgres_copy_end(load->session, &counted, error);
    if (result == SINK_DONE && statements->set_aside.size > 0) result = simple(load, buffer_text(&statements->set_aside), NULL, error);
    if (result == SINK_DONE && statements->erase.size > 0) result = simple(load, buffer_text(&statements->erase), NULL, error);
    if (result == SINK_DONE && statements->insert.size > 0) result = simple(load, buffer_text(&statements->insert), NULL, error);
    if (result == SINK_DONE && statements->duplicates.size > 0) result = simple(load, buffer_text(&statements->duplicates), NULL, error);
    if (result == SINK_DONE) return keep_savepoint(load, error);
    (void)error_prefix(error, "The table accepts no rows at all");
    return result;
}

/* NULL in a column of the table that the sink does not have: no row could do better. A trigger's
 * other tables are another matter. */
static SinkResult check_foreign_column(PostgresLoad *load, const PostgresFailure *failure, Error *error) {
    const SinkTarget *target = load->target;
    if (strcmp(failure->sqlstate, "23502") != 0 || !failure->column[0]) return SINK_DONE;
    if (sink_target_has_column(target, failure->column)) return SINK_DONE;
    bool is_ours = false;
    SinkResult result = postgres_table_has_part(load->session, target, failure->schema, failure->table, &is_ours, error);
    if (result != SINK_DONE || !is_ours) return result;
    (void)error_set(error, -EINVAL, "Column \"%s\" is not in the sink, but the table does not accept rows without it: %s.", failure->column,
                    failure->reason);
    return SINK_REFUSED;
}

/* After a failure that may be a row's, with its attempt undone: SINK_DONE: it is none of the
 * table's. */
static SinkResult examine_table(PostgresLoad *load, const PostgresFailure *failure, Error *error) {
    SinkResult result = SINK_DONE;
    check(!load->has_savepoint);
    if (!load->is_examined) {
        result = try_without_rows(load, error);
        if (result == SINK_DONE) result = postgres_table_compare(load->session, load->target, error);
        load->is_examined = result == SINK_DONE;
    }
    return result == SINK_DONE ? check_foreign_column(load, failure, error) : result;
}

static SinkResult blame_table(PostgresLoad *load, Error *error) {
    if (error) *error = load->unclear_error;
    (void)error_prefix(error, "The table refuses every row of the import");
    return load->unclear_result == SINK_UNREACHABLE ? SINK_RETRY : load->unclear_result;
}

/* The row that was alone in the attempt. */
static SinkResult refuse_alone(PostgresLoad *load, const Attempt *attempt, const PostgresFailure *failure, SinkResult outcome,
                               const Error *refusal, Error *error) {
    check(attempt->rows == 1 && failure->blame != POSTGRES_BLAME_TABLE && load->is_examined);
    if (failure->blame == POSTGRES_BLAME_MAYBE && load->unclear++ == 0) {
        load->unclear_result = outcome;
        load->unclear_error = *refusal;
    }
    if (load->rows_through == 0 && load->unclear >= UNCLEAR_MAX) return blame_table(load, error);
    return refuse_row(load, attempt, failure->reason, error);
}

/* Of a row that the rules leave out. */
static int refuse_by_rule(void *context, uint64_t row, const char *reason, Span csv, Error *error) {
    PostgresLoad *load = context;
    return sink_rejects_add(&load->rejects, load->job, load->file, row, reason, csv, error) == SINK_DONE ? 0 : -E2BIG;
}

static SinkResult load_file(PostgresLoad *load, const ImportFile *file, Error *error) {
    PostgresSession *session = load->session;
    uint64_t rows = 0, stored = 0, done_before = session->rows_done, refused_before = load->rejects.refused;
    check_on_thread(&load->owner);
    check(!load->has_savepoint && !file->already_imported);
    RowSearch search = row_search_start(file->first_row);
    sink_rejects_begin_file(&load->rejects);
    for (Attempt attempt = {.next = file->first_row}; !attempt.at_end;) {
        attempt = (Attempt){.file = file, .from = attempt.next, .next = attempt.next, .window = search.window};
        if (load->found.count > 0) {
            uint64_t found_next = load->found.next, first_good;
            if (postgres_find_first_good(&load->found, load->skipped.source, &first_good, error) < 0) return SINK_RETRY;
            if (first_good == found_next) {
                SinkResult refused = refuse_found(load, &rows, error);
                if (refused != SINK_DONE) return refused;
                attempt.next = found_next;
                search = row_search_resume(found_next, FIND_ROWS_MAX);
                continue;
            }
            attempt.window = found_next - first_good;
        }
        session->rows_done = done_before + rows;
        Error refusal = {0};
        SinkResult result = try_rows(load, &attempt, &refusal), outcome = result;
        PostgresFailure failure = session->failure;
        if (result == SINK_DONE && !attempt.is_mixed) {
            rows += attempt.rows;
            stored += attempt.stored;
            load->existing_rows += attempt.existing;
            load->rows_through += attempt.rows;
            if (load->found.count > 0) {
                attempt.next = load->found.next;
                search = row_search_resume(attempt.next, FIND_ROWS_MAX);
                result = refuse_found(load, &rows, error);
                if (result != SINK_DONE) return result;
            } else if (attempt.has_swallowed)
                row_search_found(&search, attempt.first);
            else if (attempt.rows > 0)
                row_search_went_through(&search, attempt.next);
            continue;
        }
        if (result != SINK_DONE &&
            (session->is_broken || !attempt.carried_rows || failure.blame == POSTGRES_BLAME_TABLE || attempt.rows == 0)) {
            if (error) *error = refusal;
            return result;
        }
        check(attempt.rows > 0);
        result = undo_savepoint(load, error);
        if (load->found.count > 0) { /* it was no more than a proposal */
            attempt.next = load->found.first;
            attempt.at_end = load->may_find = false;
            search = row_search_resume(attempt.next, load->found.next - attempt.next);
            forget_found(load);
            if (result != SINK_DONE) return result;
            continue;
        }
        if (result == SINK_DONE && outcome != SINK_DONE) result = examine_table(load, &failure, error);
        check(attempt.rows > 1 || !attempt.is_mixed);
        if (result == SINK_DONE && attempt.rows == 1) {
            result = refuse_alone(load, &attempt, &failure, outcome, &refusal, error);
            rows++;
            row_search_found(&search, attempt.first);
        } else if (result == SINK_DONE) {
            bool found = false;
            if (outcome != SINK_DONE) result = find_bad_rows(load, &attempt, &found, error);
            if (result == SINK_DONE && !found) result = search_narrow(load, &search, &attempt, &failure, error);
            attempt.next = attempt.first;
            attempt.at_end = false;
        }
        if (result != SINK_DONE) return result;
    }
    rows += load->checked.refused;
    check(rows == stored + (load->rejects.refused - refused_before) + load->rejects.swallowed);
    sink_rejects_end_file(&load->rejects, load->job, stored);
    if (rows == file->rows - file->left_out) return SINK_DONE;
    (void)error_set(error, -EIO, "The file should have %" PRIu64 " rows, but %" PRIu64 " were read.", file->rows - file->left_out, rows);
    return SINK_RETRY;
}

SinkResult postgres_load_file(PostgresLoad *load, const ImportFile *file, Error *error) {
    load->file = file;
    load->reader = file->reader;
    load->checked = (CheckedRows){0};
    if (load->rules->rules) {
        checked_rows_init(&load->checked, file->reader, load->rules->rules, load->target->column_count, refuse_by_rule, load);
        load->reader = &load->checked.rows;
    }
    load->may_find = true;
    skipped_rows_init(&load->skipped, load->reader);
    load->reader = &load->skipped.rows;
    SinkResult result = load_file(load, file, error);
    postgres_find_clear(&load->found);
    checked_rows_deinit(&load->checked);
    return result;
}

SinkResult postgres_load_end(PostgresLoad *load, Error *error) {
    check_on_thread(&load->owner);
    check(!load->has_savepoint && postgres_session_is(load->session, POSTGRES_TRANSACTION));
    load->job->existing_rows = load->existing_rows;
    return load->rows_through == 0 && load->unclear > 1 ? blame_table(load, error) : SINK_DONE;
}
