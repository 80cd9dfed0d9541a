/*
 * The requests of a turn and their rows: gathered into one RowBatch, which goes to the writer as an
 * Append after the turn; answered when that is back.
 */
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/intake/parts.h"

#define LOST_LOG_INTERVAL USEC_SECOND

/* ---- the turn -------------------------------------------------------------------------------- */

static TurnNotes *notes_of(Append *append) {
    if (append->tickets) return append->tickets;
    TurnNotes *notes = arena_zalloc(&append->arena, sizeof *notes);
    notes->tail = &notes->tickets;
    return append->tickets = notes;
}

void intake_flush(Intake *intake) {
    Append *append = row_batch_seal(intake->turn);
    if (!append) return;
    append->message.kind = MESSAGE_APPEND;
    append->reply = http_loop_mailbox(intake->loop);
    intake->appends_out++;
    if (!append_is_empty(append)) {
        (void)failpoint_hit("intake.before-append");
        mailbox_post(intake->options.writer, &append->message);
    } else { /* everything that was gathered was refused after all */
        append->result = APPEND_DONE;
        intake_append_back(intake, append);
    }
}

static void answer_ticket(Intake *intake, Ticket *ticket, AppendResult result) {
    h2o_req_t *request = waiter_release(&ticket->waiter);
    if (!request) return;
    if (result == APPEND_DONE) {
        intake_answer_stored(intake, request, 200, &ticket->event, ticket->stored, ticket->body);
        return;
    }
    CallRefusal refusal = {.status = 503, .name = "overloaded", .retry_after = RETRY_AFTER_OVERLOAD};
    const char *why = result == APPEND_FULL           ? "The disk budget is used up; nothing was stored."
                      : result == APPEND_REJECTS_FULL ? "The limit of rejects is reached (retention.rejects-size); nothing was stored."
                                                      : "The gateway cannot write; it is not known whether the rows were stored.";
    (void)snprintf(refusal.message, sizeof refusal.message, "%s", why);
    intake_refuse(intake, request, NULL, &refusal);
}

void intake_append_back(Intake *intake, Append *append) {
    TurnNotes *notes = append->tickets;
    check(intake->appends_out > 0);
    (void)failpoint_hit("intake.before-answer"); /* a crash here leaves rows that were stored and not acknowledged */
    intake->appends_out--;
    row_maker_settle(intake->rows, append);
    if (notes && notes->promised && append->result != APPEND_DONE) {
        metrics_add(METRIC_ROWS_LOST, notes->promised);
        intake->lost += notes->promised;
    }
    for (Ticket *ticket = notes ? notes->tickets : NULL, *next; ticket; ticket = next) {
        next = ticket->next;
        answer_ticket(intake, ticket, append->result);
    }
    row_maker_recycle(intake->rows, append);
}

void intake_tell_lost(Intake *intake) {
    usec_t now = intake->options.clock->boot(intake->options.clock);
    if (intake->lost == 0 || (intake->lost_told_at && now < intake->lost_told_at + LOST_LOG_INTERVAL)) return;
    log_error(
        "%llu rows were answered with 202 and are lost: they could not be committed (sync.wait is false in all sinks of their sources)",
        (unsigned long long)intake->lost);
    intake->lost = 0;
    intake->lost_told_at = now;
}

void intake_ticket(Intake *intake, h2o_req_t *request, const Gather *gather, Span body) {
    Append *append = intake->turn->append;
    TurnNotes *notes = notes_of(append);
    Ticket *ticket = arena_alloc(&append->arena, sizeof *ticket);
    *ticket = (Ticket){.event = gather->first, .stored = gather->part.tally.stored, .rejected = gather->part.tally.rejected, .body = body};
    waiter_init(&ticket->waiter, request);
    http_request_parked(request);
    *notes->tail = ticket;
    notes->tail = &ticket->next;
}

void intake_promise(Intake *intake, uint64_t rows) {
    notes_of(intake->turn->append)->promised += rows;
}

/* ---- one request ----------------------------------------------------------------------------- */

static bool refused_by_sink(Intake *intake, size_t index, const Call *call, const Sink *sink, const MapFailure *failure,
                            CallRefusal *refusal) {
    bool too_large = failure->error == MAP_ROW_TOO_LARGE;
    *refusal = (CallRefusal){.status = too_large ? 413 : 422, .name = too_large ? "payloadTooLarge" : "unprocessableContent", .sink = sink};
    int size = 0;
    if (call->count > 1) size = snprintf(refusal->message, sizeof refusal->message, "Event %zu: ", index);
    size += snprintf(refusal->message + size, sizeof refusal->message - (size_t)size, "sink \"%.64s\"", sink->sink_id);
    if (failure->column)
        size += snprintf(refusal->message + size, sizeof refusal->message - (size_t)size, ", column \"%.64s\"", failure->column);
    (void)snprintf(refusal->message + size, sizeof refusal->message - (size_t)size, ": %s%s", failure->message,
                   too_large && failure->column ? " (option limits.row)" : "");
    buffer_clear(intake->rejected); /* what was quarantined is not stored */
    if (call->count > 1) intake_describe_reject(intake, index, sink, failure);
    refusal->rejected = call->count > 1;
    return false;
}

/* Which sinks quarantine the event, for the answer. */
static void describe_rejects(Intake *intake, const Call *call, Gather *gather, size_t index) {
    for (size_t i = 0; i < plan_sink_count(call->source->plan) && gather->rejected_shown < REJECTED_SHOWN; i++) {
        const MapFailure *failure = row_batch_failure(intake->turn, i);
        if (!failure) continue;
        gather->rejected_shown++;
        intake_describe_reject(intake, index, plan_sink(call->source->plan, i), failure);
    }
}

void intake_gather_begin(Intake *intake, const Call *call, Gather *gather) {
    RowBatch *turn = intake->turn;
    if (turn->append && turn->append->snapshot != call->snapshot) intake_flush(intake);
    row_batch_begin(turn, call->snapshot, call->source, call->claim, &gather->part);
    gather->rejected_shown = 0;
    buffer_clear(intake->rejected);
}

void intake_gather_undo(Intake *intake, Gather *gather) {
    row_batch_undo(intake->turn, &gather->part);
}

/* Some sinks failed. */
static __attribute__((noinline)) bool may_quarantine(Intake *intake, const Call *call, Gather *gather, size_t index, CallRefusal *refusal) {
    const MapFailure *failure;
    const Sink *sink = row_batch_refuser(intake->turn, &gather->part, &failure);
    if (sink) return refused_by_sink(intake, index, call, sink, failure, refusal);
    describe_rejects(intake, call, gather, index);
    return true;
}

static __attribute__((noinline)) bool refuse_rows(const Intake *intake, CallRefusal *refusal) {
    *refusal = (CallRefusal){.status = 413, .name = "payloadTooLarge"};
    (void)snprintf(refusal->message, sizeof refusal->message,
                   "The rows of the request have more than %zu bytes (option limits.request-rows).",
                   intake->options.limits.request_rows_bytes);
    return false;
}

static __attribute__((noinline)) size_t fail_large(Intake *intake, Gather *gather, size_t large) {
    char sentence[200];
    int size = snprintf(sentence, sizeof sentence, "The event has %zu bytes; the limit is %zu (option limits.event).", large,
                        intake->options.limits.event_bytes);
    return row_batch_fail(intake->turn, &gather->part, NULL, (Span){sentence, (size_t)size});
}

static inline bool gather_event(Intake *intake, const Call *call, Gather *gather, const Event *event, size_t large, size_t index,
                                CallRefusal *refusal) {
    if (index == 0) gather->first = event->id;
    size_t failed = __builtin_expect(large > 0, 0) ? fail_large(intake, gather, large) : row_batch_map(intake->turn, &gather->part, event);
    if (failed && !may_quarantine(intake, call, gather, index, refusal)) return false;
    return row_batch_keep(intake->turn, &gather->part, event, call->content_type) || refuse_rows(intake, refusal);
}

bool intake_gather_event(Intake *intake, const Call *call, Gather *gather, const Event *event, size_t large, size_t index,
                         CallRefusal *refusal) {
    return gather_event(intake, call, gather, event, large, index, refusal);
}

void intake_refuse_in_flight(CallRefusal *refusal) {
    *refusal = (CallRefusal){.status = 503,
                             .name = "overloaded",
                             .retry_after = RETRY_AFTER_OVERLOAD,
                             .message = "Too many bytes are in flight; nothing was stored."};
}

bool intake_gather_admit(Intake *intake, Gather *gather, CallRefusal *refusal) {
    if (row_batch_admit(intake->turn, &gather->part)) return true;
    intake_refuse_in_flight(refusal);
    return false;
}

void intake_gather_end(Intake *intake, Gather *gather) {
    row_batch_end(intake->turn, &gather->part);
}

bool intake_gather(Intake *intake, const Call *call, Gather *gather, CallRefusal *refusal) {
    Event common = call->prepared ? (Event){0} : call->common;
    bool taken = true;
    intake_gather_begin(intake, call, gather);
    for (size_t index = 0; index < call->count && taken; index++) {
        const Event *event = &common;
        size_t large;
        if (call->prepared) {
            event = &call->prepared[index].event;
            large = call->prepared[index].large;
        } else {
            large = call->frames[index].large;
            common.body = call->frames[index].body;
            common.kind = call->frames[index].kind;
            uuid_next(&intake->ids, call->received, &common.id);
        }
        taken = gather_event(intake, call, gather, event, large, index, refusal);
    }
    if (taken && intake_gather_admit(intake, gather, refusal)) {
        intake_gather_end(intake, gather);
        return true;
    }
    intake_gather_undo(intake, gather);
    return false;
}
