/*
 * From events to rows, and a turn's Append: one list of sinks with their rows, in the arena of the Append, that goes to the writer after
 * the turn. Row buffers and Appends come back and are used again.
 */
#include <malloc.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/intake/parts.h"

#define KEPT_BUFFER_BYTES ((size_t)2 * 1024 * 1024) /* a larger one was needed once */
#define LARGE_ARENA_BYTES ((size_t)32 * 1024 * 1024)
#define LOST_LOG_INTERVAL USEC_SECOND
#define KEPT_BYTES ((size_t)16 * 1024 * 1024) /* of all buffers that wait to be used again */

/* ---- what is used again ------------------------------------------------------------------------------------------------------------------ */

static Buffer take_buffer(Intake *intake) {
    if (intake->free_buffer_count == 0) return (Buffer){0};
    Buffer buffer = intake->free_buffers[--intake->free_buffer_count];
    intake->free_buffer_bytes -= buffer.capacity;
    return buffer;
}

static void keep_buffer(Intake *intake, Buffer *buffer) {
    if (buffer->capacity > KEPT_BUFFER_BYTES || intake->free_buffer_bytes + buffer->capacity > KEPT_BYTES) {
        buffer_deinit(buffer);
        return;
    }
    array_reserve(intake->free_buffers, intake->free_buffer_count, intake->free_buffer_room);
    buffer_clear(buffer);
    intake->free_buffer_bytes += buffer->capacity;
    intake->free_buffers[intake->free_buffer_count++] = *buffer;
}

static TurnAppend *take_append(Intake *intake) {
    TurnAppend *append = intake->free_appends;
    if (append) {
        intake->free_appends = append->next_free;
        append->next_free = NULL;
        return append;
    }
    append = calloc(1, sizeof *append);
    check(append);
    return append;
}

static void keep_append(Intake *intake, TurnAppend *append) {
    Arena arena = append->append.arena;
    bool large = arena.used_bytes > LARGE_ARENA_BYTES;
    arena_reset(&arena);
    if (large) (void)malloc_trim(0); /* its many blocks are too small to go back to the system by themselves */
    *append = (TurnAppend){.append.arena = arena, .next_free = intake->free_appends};
    intake->free_appends = append;
}

void intake_recycle_free(Intake *intake) {
    while (intake->free_buffer_count) buffer_deinit(&intake->free_buffers[--intake->free_buffer_count]);
    free(intake->free_buffers);
    while (intake->free_appends) {
        TurnAppend *append = intake->free_appends;
        intake->free_appends = append->next_free;
        arena_deinit(&append->append.arena);
        free(append);
    }
}

/* ---- the turn ---------------------------------------------------------------------------------------------------------------------------- */

static Arena *turn_arena(Intake *intake) {
    return &intake->turn->append->append.arena;
}

/* All that is gathered was mapped by one snapshot: the fence of a changed definition counts on it. */
static void turn_begin(Intake *intake, Snapshot *snapshot) {
    Turn *turn = intake->turn;
    if (turn->append && turn->append->append.snapshot != snapshot) intake_flush(intake);
    if (turn->append) return;
    turn->append = take_append(intake);
    turn->append->append.snapshot = snapshot_ref(snapshot);
    turn->rejects_tail = &turn->rejects;
    turn->tickets_tail = (Ticket **)&turn->append->append.tickets;
}

static TurnSource *turn_source(Intake *intake, SnapshotSource *source) {
    Turn *turn = intake->turn;
    if (turn->last && turn->last->source == source) return turn->last;
    TurnSource **bucket = &turn->buckets[((uintptr_t)source >> 5) * 0x9e3779b1u % TURN_BUCKETS];
    for (TurnSource *found = *bucket; found; found = found->next_in_bucket)
        if (found->source == source) return turn->last = found;
    Arena *arena = turn_arena(intake);
    TurnSource *made = arena_zalloc(arena, sizeof *made);
    made->source = source;
    made->count = plan_sink_count(source->plan);
    made->sinks = arena_zalloc(arena, made->count * sizeof *made->sinks);
    made->rows = arena_alloc(arena, made->count * sizeof *made->rows);
    for (size_t i = 0; i < made->count; i++) {
        const Sink *sink = plan_sink(source->plan, i);
        made->sinks[i].append.sink = sink->number;
        made->sinks[i].append.mapping_version = sink->mapping_version;
        made->sinks[i].append.rows = take_buffer(intake);
        made->rows[i] = &made->sinks[i].append.rows;
    }
    made->next_in_bucket = *bucket;
    *bucket = made;
    made->next = turn->sources;
    turn->sources = made;
    return turn->last = made;
}

static void close_piece(TurnSink *sink, Arena *arena) {
    AppendSink *append = &sink->append;
    if (sink->piece.rows == 0) return;
    if (append->piece_count == sink->piece_room) {
        size_t room = sink->piece_room ? sink->piece_room * 2 : 4;
        AppendPiece *pieces = arena_alloc(arena, room * sizeof *pieces);
        if (append->piece_count) memcpy(pieces, append->pieces, append->piece_count * sizeof *pieces);
        append->pieces = pieces;
        sink->piece_room = room;
    }
    append->pieces[append->piece_count++] = sink->piece;
    sink->piece = (AppendPiece){.offset = sink->piece.offset + sink->piece.bytes};
}

/* One row was written behind the others; its bytes. */
static size_t count_row(TurnSink *sink, Arena *arena, usec_t received) {
    size_t row = sink->append.rows.size - (sink->piece.offset + sink->piece.bytes);
    if (sink->piece.bytes + row > PIECE_BYTES) close_piece(sink, arena);
    if (sink->piece.rows == 0 && sink->append.piece_count == 0) sink->append.first_time = received;
    sink->append.last_time = received;
    sink->piece.bytes += row;
    sink->piece.rows++;
    return row;
}

/* What disabled sinks did not get of what was gathered. */
static void note_skips(const Turn *turn, Append *append, size_t most) {
    append->skips = arena_alloc(&append->arena, most * sizeof *append->skips);
    append->skip_count = 0;
    for (const TurnSource *source = turn->sources; source; source = source->next) {
        if (source->events == 0) continue;
        for (size_t i = 0; i < source->source->skipped_count; i++)
            append->skips[append->skip_count++] = (AppendSkip){.sink = source->source->skipped[i], .events = source->events};
    }
}

void intake_flush(Intake *intake) {
    Turn *turn = intake->turn;
    if (!turn->append) return;
    TurnAppend *gathered = turn->append;
    Append *append = &gathered->append;
    size_t sinks = 0, used = 0, skips = 0;
    for (TurnSource *source = turn->sources; source; source = source->next) {
        sinks += source->count;
        skips += source->source->skipped_count;
    }
    append->sinks = arena_alloc(&append->arena, (sinks + 1) * sizeof *append->sinks);
    for (TurnSource *source = turn->sources; source; source = source->next) {
        turn->buckets[((uintptr_t)source->source >> 5) * 0x9e3779b1u % TURN_BUCKETS] = NULL;
        for (size_t i = 0; i < source->count; i++) {
            TurnSink *sink = &source->sinks[i];
            close_piece(sink, &append->arena);
            if (sink->append.piece_count)
                append->sinks[used++] = sink->append;
            else
                keep_buffer(intake, &sink->append.rows);
        }
    }
    append->sink_count = used;
    append->rejects = arena_alloc(&append->arena, (turn->reject_count + 1) * sizeof *append->rejects);
    append->reject_count = 0;
    for (TurnReject *reject = turn->rejects; reject; reject = reject->next) append->rejects[append->reject_count++] = reject->reject;
    if (skips > 0) note_skips(turn, append, skips);
    gathered->sources = turn->sources;
    turn->append = NULL;
    turn->sources = turn->last = NULL;
    turn->rejects = NULL;
    turn->reject_count = 0;
    append->message.kind = MESSAGE_APPEND;
    append->reply = http_loop_mailbox(intake->loop);
    intake->appends_out++;
    if (append->sink_count || append->reject_count) {
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
    (void)snprintf(refusal.message, sizeof refusal.message, "%s",
                   result == APPEND_FULL ? "The disk budget is used up; nothing was stored."
                                         : "The gateway cannot write; nothing was stored.");
    intake_refuse(intake, request, NULL, &refusal);
}

void intake_append_back(Intake *intake, Append *append) {
    TurnAppend *gathered = (TurnAppend *)append;
    check(intake->appends_out > 0);
    intake->appends_out--;
    /* Before the answers: who has one finds the room. */
    for (TurnSource *source = gathered->sources; source; source = source->next)
        usage_release(intake->options.usage, source->source->usage, &source->claim);
    usage_release(intake->options.usage, NULL, &gathered->large);
    if (append->result != APPEND_DONE && gathered->promised) {
        metrics_add(METRIC_ROWS_LOST, gathered->promised);
        intake->lost += gathered->promised;
    }
    if (append->result == APPEND_DONE) {
        if (gathered->stored) metrics_add(METRIC_EVENTS_STORED, gathered->stored);
        if (gathered->rejected) metrics_add(METRIC_EVENTS_REJECTED, gathered->rejected);
    }
    for (Ticket *ticket = append->tickets, *next; ticket; ticket = next) {
        next = ticket->next;
        answer_ticket(intake, ticket, append->result);
    }
    for (size_t i = 0; i < append->sink_count; i++) keep_buffer(intake, &append->sinks[i].rows);
    snapshot_unref(append->snapshot);
    keep_append(intake, gathered);
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

void intake_ticket(Intake *intake, h2o_req_t *request, const CallOutcome *outcome, Span body) {
    Ticket *ticket = arena_alloc(turn_arena(intake), sizeof *ticket);
    *ticket = (Ticket){.event = outcome->first, .stored = outcome->stored, .rejected = outcome->rejected, .body = body};
    waiter_init(&ticket->waiter, request);
    http_request_parked(request);
    *intake->turn->tickets_tail = ticket;
    intake->turn->tickets_tail = &ticket->next;
}

/* ---- one request ------------------------------------------------------------------------------------------------------------------------- */

static Span keep(Arena *arena, Span bytes) {
    return (Span){arena_copy(arena, bytes), bytes.size};
}

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
                   too_large ? " (option limits.row)" : "");
    buffer_clear(intake->rejected); /* what was quarantined is not stored */
    if (call->count > 1) intake_describe_reject(intake, index, sink, failure);
    refusal->rejected = call->count > 1;
    return false;
}

/* The event as it came, for each sink that quarantines it; false: a sink wants the whole request refused. */
static bool quarantine(Intake *intake, const Call *call, Gather *gather, const Event *event, size_t index, CallOutcome *outcome,
                       CallRefusal *refusal) {
    Arena *arena = turn_arena(intake);
    Span body = {0}, content_type = {0};
    for (size_t i = 0; i < gather->source->count; i++) {
        const MapFailure *failure = &intake->failures[i];
        const Sink *sink = plan_sink(call->source->plan, i);
        if (failure->error == MAP_OK) continue;
        if (sink->on_invalid == ON_INVALID_REJECT) return refused_by_sink(intake, index, call, sink, failure, refusal);
        if (!body.data) {
            body = keep(arena, event->body);
            content_type = keep(arena, call->content_type);
            gather->bytes += body.size + content_type.size;
        }
        TurnReject *node = arena_zalloc(arena, sizeof *node);
        node->reject = (AppendReject){.sink = sink->number,
                                      .mapping_version = sink->mapping_version,
                                      .event = event->id,
                                      .at = event->received,
                                      .column = keep(arena, span_of(failure->column)),
                                      .reason = keep(arena, span_of(failure->message)),
                                      .content_type = content_type,
                                      .body = body};
        gather->bytes += sizeof *node + node->reject.reason.size + node->reject.column.size;
        *intake->turn->rejects_tail = node;
        intake->turn->rejects_tail = &node->next;
        intake->turn->reject_count++;
        outcome->sink_rejected[i]++;
        if (outcome->rejected_shown == REJECTED_SHOWN) continue;
        outcome->rejected_shown++;
        intake_describe_reject(intake, index, sink, failure);
    }
    return true;
}

void intake_gather_begin(Intake *intake, const Call *call, Gather *gather) {
    turn_begin(intake, call->snapshot);
    TurnSource *source = turn_source(intake, call->source);
    for (size_t i = 0; i < source->count; i++) {
        const TurnSink *sink = &source->sinks[i];
        gather->marks[i] = (Mark){sink->append.rows.size, sink->append.piece_count, sink->piece, sink->append.first_time,
                                  sink->append.last_time};
    }
    gather->source = source;
    gather->rejects_tail = intake->turn->rejects_tail;
    gather->reject_count = intake->turn->reject_count;
    gather->bytes = gather->elsewhere = 0;
    gather->claim = call->claim;
    buffer_clear(intake->rejected);
}

void intake_gather_undo(Intake *intake, const Call *call, Gather *gather) {
    Turn *turn = intake->turn;
    for (size_t i = 0; i < gather->source->count; i++) {
        TurnSink *sink = &gather->source->sinks[i];
        const Mark *mark = &gather->marks[i];
        sink->append.rows.size = mark->rows_size;
        sink->append.piece_count = mark->piece_count;
        sink->piece = mark->piece;
        sink->append.first_time = mark->first_time;
        sink->append.last_time = mark->last_time;
    }
    turn->rejects_tail = gather->rejects_tail;
    *turn->rejects_tail = NULL;
    turn->reject_count = gather->reject_count;
    usage_release(intake->options.usage, call->source->usage, &gather->claim);
}

bool intake_gather_event(Intake *intake, const Call *call, Gather *gather, const Event *event, size_t index, CallOutcome *outcome,
                         CallRefusal *refusal) {
    TurnSource *source = gather->source;
    if (index == 0) outcome->first = event->id;
    size_t failed = mapper_map(intake->mapper, call->source->plan, event, source->rows, intake->failures);
    if (failed) {
        outcome->rejected++;
        if (!quarantine(intake, call, gather, event, index, outcome, refusal)) return false;
    }
    outcome->stored += failed < source->count;
    Arena *arena = turn_arena(intake);
    for (size_t i = 0; i < source->count; i++)
        if (!failed || intake->failures[i].error == MAP_OK) gather->bytes += count_row(&source->sinks[i], arena, call->received);
    if (gather->bytes <= intake->options.limits.request_rows_bytes) return true;
    *refusal = (CallRefusal){.status = 413, .name = "payloadTooLarge"};
    (void)snprintf(refusal->message, sizeof refusal->message,
                   "The rows of the request have more than %zu bytes (option limits.request-rows).",
                   intake->options.limits.request_rows_bytes);
    return false;
}

bool intake_admit(Intake *intake, const Call *call, UsageClaim *claim, uint64_t bytes, CallRefusal *refusal) {
    if (usage_resize(intake->options.usage, call->source->usage, claim, bytes)) return true;
    *refusal = (CallRefusal){.status = 503,
                             .name = "overloaded",
                             .retry_after = RETRY_AFTER_OVERLOAD,
                             .message = "Too many bytes are in flight; nothing was stored."};
    return false;
}

bool intake_gather_admit(Intake *intake, const Call *call, Gather *gather, CallRefusal *refusal) {
    return intake_admit(intake, call, &gather->claim, gather->bytes + gather->elsewhere, refusal);
}

void intake_gather_end(Intake *intake, const Call *call, Gather *gather, const CallOutcome *outcome) {
    TurnAppend *append = intake->turn->append;
    UsageClaim *claim = gather->claim.large ? &append->large : &gather->source->claim;
    claim->large = gather->claim.large; /* there is one large request at a time */
    claim->bytes += gather->claim.bytes;
    gather->source->events += call->count;
    append->append.bytes += gather->bytes;
    append->stored += outcome->stored;
    append->rejected += outcome->rejected;
}

bool intake_gather(Intake *intake, Call *call, CallOutcome *outcome, CallRefusal *refusal) {
    Gather gather;
    Event common = call->prepared ? (Event){0} : call->common;
    bool taken = true;
    intake_gather_begin(intake, call, &gather);
    for (size_t index = 0; index < call->count && taken; index++) {
        const Event *event = &common;
        if (call->prepared) {
            event = &call->prepared[index].event;
        } else {
            common.body = call->frames[index].body;
            common.kind = call->frames[index].kind;
            uuid_next(&intake->ids, call->received, &common.id);
        }
        taken = intake_gather_event(intake, call, &gather, event, index, outcome, refusal);
    }
    if (taken && intake_gather_admit(intake, call, &gather, refusal)) {
        intake_gather_end(intake, call, &gather, outcome);
        return true;
    }
    intake_gather_undo(intake, call, &gather);
    return false;
}
