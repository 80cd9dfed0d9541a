#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/space_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "gateway/delivery/writer/backup_state.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/repaired.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/waiting.h"
#include "storage/copies.h"
#include "storage/pack.h"
#include "storage/recovery.h"

#define TRIM_GROUPS_MAX 1000
#define RESERVE_BESIDE_LOG (256u << 20)
#define RECORD_RESERVE (16u << 20) /* a pack with 2,000 slices and the trim that goes with it take about 4 MB */
#define PACKS_FORGOTTEN_MAX 200
#define SPACE_EVERY USEC_SECOND
#define RETAINED_EVERY USEC_MINUTE
#define EXPIRY_EVERY USEC_HOUR
#define RUNNING_STORED_EVERY (10 * USEC_MINUTE)

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t writer_record_reserve(const Writer *writer) {
    uint64_t used, map;
    environment_usage(writer->options.environment, &used, &map);
    return least(RECORD_RESERVE, map / 16);
}

/* ---- the log --------------------------------------------------------------------------------- */

void writer_find_trim(Writer *writer) {
    uint64_t needed = writer->log->last_commit + 1;
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        const SinkState *sink = writer->sinks->items[i];
        const SinkLog *log = sink ? sink->log : NULL;
        uint64_t oldest = log ? sink_log_oldest(log) : 0;
        if (oldest == 0) continue;
        if (!sink->stopped) {
            needed = least(needed, oldest);
        } else if (log->count > 0) {
            log_state_keep(writer->log, log->runs[0].from_commit, log->runs[log->count - 1].to_commit);
        }
    }
    log_state_let_go(writer->log, needed);
}

int writer_trim(Writer *writer, Txn *txn, Error *error) {
    size_t deleted;
    if (!writer->log->trim_more) return 0;
    int r = failpoint_error("writer.before-trim", error);
    if (r < 0) return r;
    /* The rows of a stopped sink stay for somebody to look at them; what came later is not held up
     * by them. */
    bool keeps = writer->log->kept_to > 0;
    uint64_t before = keeps ? least(writer->log->trim_to, writer->log->kept_from) : writer->log->trim_to;
    r = commit_log_trim(txn, before, TRIM_GROUPS_MAX, &deleted, error);
    bool goes_on = keeps && writer->log->kept_to < writer->log->trim_to; /* there may be more behind what is kept */
    if (r == 0 && goes_on && deleted == 0)
        r = commit_log_trim_from(txn, writer->log->kept_to + 1, writer->log->trim_to, TRIM_GROUPS_MAX, &deleted, error);
    else if (r == 0 && goes_on)
        deleted = TRIM_GROUPS_MAX;
    if (r < 0) return r;
    if (deleted < TRIM_GROUPS_MAX) log_state_trimmed(writer->log);
    return 0;
}

void writer_trim_rest(Writer *writer) {
    Txn *txn;
    Error error = {0};
    if (!writer->log->trim_more || !writer_record_begin(writer, &txn)) return;
    int r = writer_trim(writer, txn, &error);
    (void)writer_record_end(writer, txn, r, "cannot trim the log", &error);
}

/* The log is over its high mark: every sink that has rows in its oldest groups stages them, so that
 * these can go. */
static void press(Writer *writer) {
    /* Of a small budget the log may take a part only, or intake would stop before the mark is
     * reached. */
    uint64_t mark = least(writer->options.log_high_mark, writer->options.disk_budget / 8);
    if (writer->log->bytes <= mark || writer->log->trim_more) return;
    uint64_t target = log_state_oldest(writer->log, writer->log->bytes - mark / 4 * 3);
    if (target <= writer->log->forced_to) return;
    writer->log->forced_to = target;
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (!sink || sink->log->count == 0 || sink->log->runs[0].from_commit > target) continue;
        sink->stage->forced = true;
        writer_schedule(writer, sink);
    }
}

/* ---- what is retained ------------------------------------------------------------------------ */

static void remove_pack(Writer *writer, const ForgottenPack *pack) {
    Error error = {0};
    Files *files = writer->options.files;
    (void)failpoint_hit("retained.before-unlink"); /* a crash here leaves packs that the ledger has forgotten */
    /* Somebody may still get something out of it, or has put it back after its rows were given
     * up. */
    int r = pack->quarantined ? recovery_set_aside(files, &pack->id, writer->now->wall, &error) : pack_remove(files, &pack->id, &error);
    if (r < 0 && r != -ENOENT) log_failure(LOG_WARNING, "cannot remove a staging file", &error);
    writer->space->staging_bytes -= pack->bytes < writer->space->staging_bytes ? pack->bytes : writer->space->staging_bytes;
}

/* Recorded first, unlinked second. true: there may be more. */
static bool forget_packs(Writer *writer, usec_t done_before) {
    Txn *txn;
    ForgottenPack *packs = NULL;
    size_t count = 0;
    Error error = {0};
    bool any = false;
    if (writer->backup->keeps_packs) return false;
    int due = txn_begin_read(writer->options.environment, &txn, &error);
    if (due == 0) {
        due = ledger_any_to_forget(txn, done_before, &any, &error);
        txn_abort(txn);
    }
    if (due == 0 && !any) return false;
    if (!writer_record_begin(writer, &txn)) return false;
    int r = ledger_forget_packs(txn, done_before, PACKS_FORGOTTEN_MAX, &packs, &count, &error);
    if ((r == 0 && count == 0) || r == -EBADMSG) {
        txn_abort(txn);
        if (r == 0) return false;
        log_failure(LOG_ERROR, "cannot forget staging files", &error);
        return writer_repaired(writer, &error);
    }
    if (writer_record_end(writer, txn, r, "cannot forget staging files", &error))
        for (size_t i = 0; i < count; i++) remove_pack(writer, &packs[i]);
    free(packs);
    return count == PACKS_FORGOTTEN_MAX;
}

void writer_expired_path(const Uuid *file, char out[static 80]) {
    char id[UUID_TEXT_SIZE + 1] = {0};
    uuid_format(file, id);
    (void)snprintf(out, 80, "staging/expired/%s.slices", id);
}

static int add_bytes(void *context, const char *name, const FileInfo *info) {
    *(uint64_t *)context += info->bytes;
    return 0;
}

static int newest_before(void *context, const Reject *reject, Error *error) {
    struct Cut {
        usec_t before; /* running */
        uint64_t number;
    } *cut = context;
    if (reject->running >= cut->before) return -ECANCELED; /* younger from here on */
    cut->number = reject->number;
    return 0;
}

static void expire_rejects(Writer *writer) {
    for (size_t i = 0; i < writer->sinks->capacity && !writer->broken; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (!sink || (sink->totals.rejected_events == 0 && sink->totals.rejected_rows == 0)) continue;
        struct Cut {
            usec_t before;
            uint64_t number;
        } cut = {.before = writer->now->running - writer->options.retain_rejects};
        Txn *txn;
        Error error = {0};
        uint64_t removed;
        if (txn_begin_read(writer->options.environment, &txn, &error) < 0) return;
        int r = rejects_visit(txn, sink->totals.sink, 0, newest_before, &cut, &error);
        txn_abort(txn);
        if (r < 0 && r != -ECANCELED) log_failure(LOG_WARNING, "cannot read rejects", &error);
        if (cut.number == 0 || !writer_record_begin(writer, &txn)) continue;
        r = rejects_remove(txn, sink->totals.sink, cut.number, &removed, &error);
        if (writer_record_end(writer, txn, r, "cannot remove old rejects", &error))
            log_info("%" PRIu64 " rejects of sink %s are removed: their retention has passed", removed, sink->label ? sink->label : "?");
    }
}

/* Recorded first, unlinked second. true: there may be more. */
static bool expire_copies(Writer *writer) {
    Error error = {0};
    Copies copies = {0};
    Txn *txn;
    Files *files = writer->options.files;
    CopiesKept kept = {.orphans = writer->options.retain_orphans, .expired = writer->options.retain_expired};
    int r = txn_begin_read(writer->options.environment, &txn, &error);
    if (r == 0) {
        r = copies_review(files, txn, writer->now->running, &kept, &copies, &error);
        txn_abort(txn);
    }
    if (r < 0) {
        log_failure(LOG_WARNING, "cannot read the copies of expired files and orphans", &error);
        return false;
    }
    bool recorded = copies.count > 0 && writer_record_begin(writer, &txn);
    if (recorded) {
        r = copies_record(txn, &copies, writer->now->running, &error);
        recorded = writer_record_end(writer, txn, r, "cannot record copies of expired files and orphans", &error);
    }
    if (recorded) (void)failpoint_hit("retained.before-copies");
    if (recorded) copies_remove(files, &copies);
    bool more = recorded && copies.more;
    copies_deinit(&copies);
    return more;
}

/* true: there may be more. */
static bool expire_old(Writer *writer) {
    Files *files = writer->options.files;
    bool more = writer->backup->keeps_packs || expire_copies(writer);
    writer->space->expired_bytes = 0;
    (void)files->list(files, "staging/expired", add_bytes, &writer->space->expired_bytes, NULL);
    if (!writer->broken) expire_rejects(writer);
    return more;
}

/* A gateway that has nothing to do ages, too. */
static void store_running(Writer *writer) {
    Txn *txn;
    Error error = {0};
    if (writer_record_begin(writer, &txn)) (void)writer_record_end(writer, txn, 0, "cannot store the running time", &error);
}

/* ---- the budget ------------------------------------------------------------------------------ */

/* How much is used beyond what intake may use; 0: it fits. `slack`: for hysteresis. */
static bool is_short(Writer *writer, uint64_t slack) {
    uint64_t used, map, budget = writer->options.disk_budget;
    environment_usage(writer->options.environment, &used, &map);
    uint64_t reserve = least(writer->options.log_high_mark + writer->space->largest_file + RESERVE_BESIDE_LOG, budget / 2);
    bool over_budget = used + writer->space->staging_bytes + writer->space->expired_bytes + slack > budget - reserve;
    bool map_full = used + slack / 4 > map - map / 8;
    bool disk_full = writer->space->free_bytes < least(RESERVE_BESIDE_LOG, budget / 8) + slack / 4;
    return over_budget || map_full || disk_full;
}

/* Nothing but imports makes space now: conditions that were meant for easy times do not hold up
 * what waits. */
static void let_all_go(Writer *writer) {
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (sink && (sink->log->count > 0 || sink->open->exists)) writer_schedule(writer, sink);
    }
}

static void mind_budget(Writer *writer) {
    Files *files = writer->options.files;
    uint64_t total;
    Error error = {0};
    writer->space->checked = writer->now->boot;
    if (files->space(files, &writer->space->free_bytes, &total, &error) < 0) {
        log_failure(LOG_WARNING, "cannot read the free space", &error);
        writer->space->free_bytes = UINT64_MAX;
    }
    Usage *usage = writer->options.usage;
    bool was_short = writer->space->is_short;
    bool now_short = is_short(writer, was_short ? writer->options.disk_budget / 16 : 0);
    /* Retained files are the first to go. */
    if (now_short && writer->space->staging_bytes > 0) {
        while (forget_packs(writer, INT64_MAX)) continue; /* also what a clock that went back calls younger than now */
        now_short = is_short(writer, was_short ? writer->options.disk_budget / 16 : 0);
    }
    if (now_short) let_all_go(writer);
    if (now_short && !was_short) log_error("the disk budget is used up: events are refused until there is space again");
    if (!now_short && was_short) log_info("there is disk space again: events are accepted");
    writer->space->is_short = now_short;
    atomic_store(&usage->intake_stopped, now_short);
}

void writer_mind_share(Writer *writer, SinkState *sink) {
    if (!sink->rules->gate || sink->stopped) return;
    uint64_t share = writer->options.disk_budget / 100 * writer->options.disk_share_percent;
    uint64_t waits = sink->log->bytes + sink->waiting->bytes + (sink->open->exists ? sink->open->file.bytes : 0);
    bool closed = atomic_load(&sink->rules->gate->closed);
    if (!closed && waits > share) {
        atomic_store(&sink->rules->gate->closed, true);
        log_warning("sink %s is over its share of the disk: its events are refused until it is imported", sink->label);
    } else if (closed && waits < share - share / 16) {
        atomic_store(&sink->rules->gate->closed, false);
    }
}

void writer_check_space_soon(Writer *writer) {
    writer->space->checked = writer->now->boot - USEC_DAY;
}

void writer_mind_space(Writer *writer) {
    press(writer);
    if (writer->now->boot - writer->space->checked >= SPACE_EVERY) mind_budget(writer);
    if (!writer->broken && writer->now->boot - writer->space->retained_checked >= RETAINED_EVERY) {
        bool more = forget_packs(writer, writer->now->running - writer->options.retain_imported);
        writer->space->retained_checked = more ? writer->now->boot - RETAINED_EVERY : writer->now->boot;
    }
    if (!writer->broken && writer->now->boot - writer->space->expiry_checked >= EXPIRY_EVERY) {
        bool more = expire_old(writer);
        writer->space->expiry_checked = more ? writer->now->boot - EXPIRY_EVERY + USEC_MINUTE : writer->now->boot;
    }
    if (!writer->broken && writer->now->boot - writer->stored->at >= RUNNING_STORED_EVERY) store_running(writer);
}

usec_t writer_space_next(const Writer *writer) {
    usec_t next = writer->space->expiry_checked + EXPIRY_EVERY;
    if (writer->stored->at + RUNNING_STORED_EVERY < next) next = writer->stored->at + RUNNING_STORED_EVERY;
    usec_t retained = writer->space->retained_checked + RETAINED_EVERY;
    if (writer->space->staging_bytes > 0 && retained < next) next = retained;
    usec_t space = writer->space->checked + SPACE_EVERY;
    if ((writer->space->is_short || atomic_load(&writer->options.usage->intake_stopped)) && space < next) next = space;
    return next;
}
