#include "gateway/delivery/writer/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/writer/backup_point.h"
#include "gateway/delivery/writer/chains.h"
#include "gateway/delivery/writer/closed.h"
#include "gateway/delivery/writer/damage.h"
#include "gateway/delivery/writer/give_up.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/settled.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/sums.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiting.h"
#include "storage/partitions.h"
#include "storage/recovery.h"

#define NEXT_TRY_MAX (10 * USEC_MINUTE)

typedef struct Recovery {
    Writer *writer;
    bool may_repair;
    uint32_t next_sink; /* no sink has this number or a greater one */
    uint64_t as_of;     /* the stored totals are true for this commit */
    uint64_t damaged_groups;
    uint64_t last_damaged;
    ChainSearch *chains;
} Recovery;

/* Boot time of a moment of the wall clock, which may have jumped: never in the future. */
static usec_t boot_of(const Writer *writer, usec_t wall) {
    usec_t age = writer->now->wall > wall ? writer->now->wall - wall : 0;
    return writer->now->boot - age;
}

/* ---- totals, versions, files, packs ---------------------------------------------------------- */

static int load_totals(void *context, const SinkTotals *totals, Error *error) {
    writer_sink_added(context, totals->sink)->totals = *totals;
    return 0;
}

static int load_end(void *context, uint32_t sink, uint32_t partition, int64_t end, int64_t left, Error *error) {
    sink_ends_load(writer_sink_added(context, sink)->ends, partition, end, left);
    return 0;
}

static int load_version(void *context, Span key, Span document, Error *error) {
    const Recovery *recovery = context;
    Writer *writer = recovery->writer;
    uint32_t number;
    int r = versions_sink_of(key, &number, error);
    if (r < 0 || number == 0 || number >= recovery->next_sink) {
        log_error("the record of a target of a sink has a damaged key: it is ignored");
        metrics_add(METRIC_DAMAGED_RECORDS, 1);
        return 0;
    }
    if (r == 0) versions_load(writer_sink_added(writer, number)->versions, key, document);
    return r;
}

static int load_file(void *context, const FileRecord *file, Error *error) {
    Writer *writer = context;
    SinkState *sink = writer_sink_added(writer, file->sink);
    if (file->state == FILE_OPEN) {
        if (sink->open->exists) return error_set(error, -EBADMSG, "sink %s has two open files", file->label);
        sink->open->exists = true;
        sink->open->since = boot_of(writer, file->first_time);
        return file_record_copy(file, &sink->open->file);
    }
    if (file->state == FILE_CLOSED) {
        WaitingFile *waiting = writer_add_waiting(writer, sink, file, false, error);
        if (!waiting) return -EBADMSG;
        usec_t pause = file->next_try > writer->now->wall ? file->next_try - writer->now->wall : 0;
        waiting->next_try = writer->now->boot + (pause < NEXT_TRY_MAX ? pause : NEXT_TRY_MAX);
        if (file->attempts > 0) {
            sink->imports->failures = 1;
            if (file->last_error) sink_set_error(sink, file->last_error);
        }
        writer_schedule(writer, sink);
    }
    return 0;
}

/* Of a sink that stays stopped: what waits stays where it is. */
static int skip_file(void *context, uint32_t number, Error *error) {
    const SinkState *sink = writer_sink(context, number);
    return sink && sink->stopped ? 0 : -EBADMSG;
}

/* ---- the log --------------------------------------------------------------------------------- */

/* Numbers that a damaged group took with it: the stager meets them as damaged rows. */
static void bridge_totals(SinkTotals *totals, uint64_t commit, usec_t commit_time, const GroupEntry *entry) {
    uint64_t missing = entry->first_row - totals->next_row;
    GroupEntry gap = *entry;
    gap.first_row = totals->next_row;
    gap.rows = missing;
    gap.bytes = 0;
    check(totals_add(totals, commit, commit_time, &gap, NULL) == 0);
}

static void replay_totals(Recovery *recovery, SinkState *sink, const GroupView *group, const GroupEntry *entry) {
    SinkTotals *totals = &sink->totals;
    Error error = {0};
    /* What totals whose commit is not known include already. */
    if (recovery->as_of == 0 && entry->first_row + entry->rows <= totals->next_row) return;
    if (sink->stopped) {
        if (entry->first_row + entry->rows > totals->next_row) totals->next_row = entry->first_row + entry->rows;
        return;
    }
    if (entry->first_row > totals->next_row && recovery->damaged_groups > 0)
        bridge_totals(totals, group->commit, group->commit_time, entry);
    if (totals_add(totals, group->commit, group->commit_time, entry, &error) < 0) {
        writer_stop_sink(sink, error.text);
        if (entry->first_row + entry->rows > totals->next_row) totals->next_row = entry->first_row + entry->rows;
    }
    writer_mark_dirty(recovery->writer, sink);
}

/* Those that are not staged: rows from `from` on, and what follows them. */
static void search_runs(Recovery *recovery, const GroupEntry *entry, const OffsetRun *runs, size_t run_count, uint64_t from) {
    uint64_t row = entry->first_row;
    for (size_t i = 0; i < run_count; i++) {
        if (row >= from) chain_search_run(recovery->chains, entry->sink, &runs[i], row);
        row += runs[i].rows;
    }
}

static void replay_rows(Recovery *recovery, SinkState *sink, const GroupView *group, size_t index) {
    const GroupEntry *entry = &group->entries[index];
    const OffsetRun *runs = NULL;
    size_t run_count = group_runs(group, index, &runs);
    usec_t since = boot_of(recovery->writer, group->commit_time);
    if (entry->rows == 0) {
        /* Those before the next row may have been staged or imported: deciding about them again
         * does no harm. */
        if (entry->first_row < sink->totals.staged_row || sink->stopped) return;
        search_runs(recovery, entry, runs, run_count, entry->first_row);
        sink_log_add(sink->log, group->commit, group->commit_time, entry, runs, run_count, since);
        return;
    }
    uint64_t expected = sink_log_end(sink->log, sink->totals.staged_row), end = entry->first_row + entry->rows;
    if (end <= expected || sink->stopped) return;
    if (entry->first_row > expected && recovery->damaged_groups == 0) {
        char why[160];
        (void)snprintf(why, sizeof why, "rows %" PRIu64 " to %" PRIu64 " are neither staged nor in the log", expected,
                       entry->first_row - 1);
        writer_stop_sink(sink, why);
        return;
    }
    GroupEntry waiting = *entry;
    waiting.first_row = expected;
    waiting.rows = end - expected;
    search_runs(recovery, entry, runs, run_count, expected);
    sink_log_add(sink->log, group->commit, group->commit_time, &waiting, runs, run_count, since);
}

static int replay_log(Recovery *recovery, Txn *txn, Error *error) {
    Writer *writer = recovery->writer;
    CommitLogReader *reader;
    int r = commit_log_reader_new(txn, 1, &reader, error);
    if (r < 0) return r;
    for (;;) {
        GroupView group;
        r = commit_log_read(reader, &group, error);
        if (r < 0 || r == COMMIT_LOG_READ_END) break;
        log_state_grew(writer->log, group.commit, group.value_bytes);
        if (group.commit > writer->log->last_commit) writer->log->last_commit = group.commit;
        if (r == COMMIT_LOG_READ_DAMAGED) {
            log_error("commit group %" PRIu64 " of the log is damaged: its rows cannot be read", group.commit);
            recovery->damaged_groups++;
            recovery->last_damaged = group.commit;
            continue;
        }
        if (group.commit_time > writer->log->last_commit_time) writer->log->last_commit_time = group.commit_time;
        for (size_t i = 0; i < group.count; i++) {
            SinkState *sink = writer_sink_added(writer, group.entries[i].sink);
            if (group.commit > recovery->as_of) replay_totals(recovery, sink, &group, &group.entries[i]);
            replay_rows(recovery, sink, &group, i);
        }
    }
    commit_log_reader_free(reader);
    return r < 0 ? r : 0;
}

/* Groups with rows of a stopped sink that are not staged are never trimmed, also those behind its
 * hole. */
static int keep_stopped(Writer *writer, Txn *txn, Error *error) {
    CommitLogReader *reader;
    GroupView group;
    bool any = false;
    for (size_t i = 0; i < writer->sinks->capacity; i++) any = any || (writer->sinks->items[i] && writer->sinks->items[i]->stopped);
    if (!any) return 0;
    int r = commit_log_reader_new(txn, 1, &reader, error);
    if (r < 0) return r;
    while ((r = commit_log_read(reader, &group, error)) >= 0 && r != COMMIT_LOG_READ_END) {
        for (size_t i = 0; r != COMMIT_LOG_READ_DAMAGED && i < group.count; i++) {
            const SinkState *sink = writer_sink(writer, group.entries[i].sink);
            if (!sink->stopped || group.entries[i].first_row + group.entries[i].rows <= sink->totals.staged_row) continue;
            log_state_keep(writer->log, group.commit, group.commit);
        }
    }
    commit_log_reader_free(reader);
    return r < 0 ? r : 0;
}

/* Do what the log holds and what is staged make up all numbers that were given? */
static int check_sink(Recovery *recovery, Txn *txn, SinkState *sink, Error *error) {
    SinkTotals *totals = &sink->totals;
    uint64_t staged_row;
    int r = ledger_end_row(txn, totals->sink, &staged_row, error);
    if (r < 0 && !(r == -EBADMSG && sink->stopped)) return r;
    if (r < 0) staged_row = totals->staged_row;
    char why[200];
    if (staged_row != totals->staged_row && recovery->may_repair && !sink->stopped)
        return error_set(error, -EBADMSG, "the ranges of sink %" PRIu32 " end at row %" PRIu64 ", but rows below %" PRIu64 " are staged",
                         totals->sink, staged_row, totals->staged_row);
    if (staged_row != totals->staged_row) {
        (void)snprintf(why, sizeof why, "its statistics say that rows up to %" PRIu64 " are staged, its ledger ends at %" PRIu64,
                       totals->staged_row - 1, staged_row - 1);
        writer_stop_sink(sink, why);
    }
    uint64_t end = sink_log_end(sink->log, sink->totals.staged_row);
    if (!sink->stopped && end < totals->next_row && recovery->damaged_groups > 0) {
        uint32_t version = sink->log->count ? sink->log->runs[sink->log->count - 1].mapping_version : 0;
        if (version == 0 && sink->versions->count) version = sink->versions->items[sink->versions->count - 1].version;
        GroupEntry lost = {.sink = totals->sink, .mapping_version = version, .first_row = end, .rows = totals->next_row - end};
        sink_log_add(sink->log, recovery->last_damaged, recovery->writer->log->last_commit_time, &lost, NULL, 0,
                     recovery->writer->now->boot);
    } else if (!sink->stopped && end != totals->next_row) {
        (void)snprintf(why, sizeof why, "rows %" PRIu64 " to %" PRIu64 " are neither staged nor in the log", end, totals->next_row - 1);
        writer_stop_sink(sink, why);
    }
    totals->first_commit = sink->log->count ? sink->log->runs[0].from_commit : 0;
    totals->oldest_commit_time = sink->log->count ? sink->log->runs[0].commit_time : 0;
    if (sink->log->count > 0) writer_schedule(recovery->writer, sink);
    /* A file that waits may be missing where those are looked for. */
    if (recovery->may_repair && !sink->stopped && recovery->damaged_groups == 0 && sums_unaccounted(sink) != 0)
        return error_set(error, -EBADMSG, "the numbers of rows of sink %" PRIu32 " do not add up", totals->sink);
    bool has_rows = sink->log->count > 0 || sink->open->exists;
    r = has_rows ? versions_read(sink->versions, recovery->writer->connections, error) : 0;
    return r == -EBADMSG && sink->stopped ? 0 : r;
}

/* The stager's first work: what it finds takes long when very many packs are retained, and nobody
 * waits for it. */
static int sweep(Writer *writer, Error *error) {
    int r = recovery_make_folders(writer->options.files, error);
    if (r < 0) return r;
    Sweep *message = calloc(1, sizeof *message);
    check(message);
    message->message.kind = MESSAGE_SWEEP;
    message->now = writer->now->wall;
    mailbox_post(writer->options.stager, &message->message);
    return 0;
}

static int recover_totals(Recovery *recovery, Txn *txn, Error *error) {
    Writer *writer = recovery->writer;
    TotalsAsOf as_of;
    int r = totals_load_as_of(txn, &as_of, error);
    if (r < 0) return r;
    recovery->as_of = writer->log->last_commit = writer->stored->commit = as_of.commit;
    writer->log->last_commit_time = as_of.commit_time;
    writer->now->running = writer->stored->running = writer->now->opened = as_of.running;
    atomic_store(&writer->options.usage->running, writer->now->running);
    environment_reads(writer->options.environment, true);
    r = totals_load(txn, load_totals, writer, error);
    environment_reads(writer->options.environment, false);
    if (r == 0) r = writer_backup_load(writer, txn, error);
    if (r == 0) r = partitions_load(txn, writer->partitions, error);
    if (r == 0) r = partition_ends_visit(txn, 0, load_end, writer, error);
    return r;
}

/* Of sinks of bridges: what the files have of their chains. */
static int search_files(Recovery *recovery, Txn *txn, Error *error) {
    const Writer *writer = recovery->writer;
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (!sink || !sink_ends_any(sink->ends) || sink->stopped) continue;
        int r = chain_search_files(recovery->chains, txn, sink, error);
        if (r == -EBADMSG && !recovery->may_repair) {
            *error = (Error){0};
            chains_forget_all(sink);
            for (size_t k = 0; k < sink->waiting->count; k++) sink->waiting->items[k].bridge = true;
        } else if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int save_chains(Writer *writer, Error *error) {
    bool any = false;
    for (size_t i = 0; i < writer->sinks->capacity; i++)
        any = any || (writer->sinks->items[i] && writer->sinks->items[i]->ends->unsaved > 0);
    if (!any) return 0;
    Txn *txn;
    int r = txn_begin_write(writer->options.environment, &txn, error);
    if (r < 0) return r;
    for (size_t i = 0; i < writer->sinks->capacity && r == 0; i++)
        if (writer->sinks->items[i]) r = chains_store(txn, writer->sinks->items[i], error);
    if (r == 0) return txn_commit(txn, error);
    txn_abort(txn);
    return r;
}

/* Rows that waited are compared with the ledger of the destination once. Records of brokers have
 * positions for that. */
static void remember_waiting(SinkState *sink) {
    if (sink_ends_any(sink->ends) || (sink->waiting->count == 0 && !sink->open->exists && sink->log->count == 0)) return;
    LedgerHistory *history = ledger_history_new(sink->totals.next_row);
    for (size_t i = 0; i < sink->waiting->count; i++) {
        const WaitingFile *file = &sink->waiting->items[i];
        if (!file->bridge)
            ledger_history_add(history, &file->id, file->first_row < sink->settled->backup_row, file->first_row, file->rows,
                               file->first_time);
    }
    const FileRecord *open = &sink->open->file;
    if (sink->open->exists) ledger_history_add(history, &open->id, false, open->first_row, open->rows, open->first_time);
    for (size_t i = 0; i < sink->log->count; i++) {
        const LogRun *run = &sink->log->runs[i];
        ledger_history_add(history, NULL, false, run->first_row, run->rows, run->first_time);
    }
    sink->imports->history = history;
}

static int recover_rest(Recovery *recovery, Txn *txn, Error *error) {
    Writer *writer = recovery->writer;
    int r = catalog_next_sink(txn, &recovery->next_sink, error);
    if (r == 0) r = catalog_visit(txn, CATALOG_VERSIONS, SPAN("t"), load_version, recovery, error);
    if (r == 0) r = writer_load_damage(writer, txn, error);
    if (r == 0) r = ledger_visit_waiting_files(txn, load_file, skip_file, writer, error);
    if (r == 0) r = ledger_pack_bytes(txn, &writer->space->staging_bytes, error);
    if (r == 0) r = search_files(recovery, txn, error);
    if (r == 0) r = replay_log(recovery, txn, error);
    if (r == 0) chain_search_end(recovery->chains, writer);
    environment_reads(writer->options.environment, true);
    for (size_t i = 0; i < writer->sinks->capacity && r == 0; i++)
        if (writer->sinks->items[i]) r = check_sink(recovery, txn, writer->sinks->items[i], error);
    environment_reads(writer->options.environment, false);
    if (r == 0) r = keep_stopped(writer, txn, error);
    if (r < 0) return r;
    for (size_t i = 0; i < writer->sinks->capacity; i++)
        if (writer->sinks->items[i]) remember_waiting(writer->sinks->items[i]);
    writer_find_trim(writer);
    return sweep(writer, error);
}

static int in_transaction(Recovery *recovery, int (*part)(Recovery *recovery, Txn *txn, Error *error), Error *error) {
    Txn *txn;
    int r = txn_begin_read(recovery->writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = part(recovery, txn, error);
    txn_abort(txn);
    return r;
}

/* Of a program that did not keep it. */
static int mind_index(Writer *writer, Error *error) {
    Txn *txn;
    bool has;
    int r = txn_begin_read(writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = ledger_has_index(txn, &has, error);
    txn_abort(txn);
    if (r < 0 || has) return r;
    r = txn_begin_write(writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = ledger_make_index(txn, error);
    if (r == 0) return txn_commit(txn, error);
    txn_abort(txn);
    return r;
}

int writer_recover(Writer *writer, bool may_repair, Error *error) {
    Recovery recovery = {.writer = writer, .may_repair = may_repair};
    int r = mind_index(writer, error);
    if (r == 0) r = in_transaction(&recovery, recover_totals, error);
    if (r == 0) r = failpoint_error("recovery.after-totals", error);
    if (r == 0) r = writer_mind_missing(writer, error);
    if (r < 0) return r;
    recovery.chains = chain_search_new();
    r = in_transaction(&recovery, recover_rest, error);
    chain_search_free(recovery.chains);
    if (r == 0) r = failpoint_error("recovery.after-log", error);
    return r < 0 ? r : save_chains(writer, error);
}
