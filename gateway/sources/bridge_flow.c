/*
 * Records -> micro-batches -> Appends. One micro-batch is gathered while one that is sealed waits
 * for its templates or for room, and at most two Appends are with the writer.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "config/source_kafka.h"
#include "gateway/sources/bridge_parts.h"

#define BATCH_BYTES ((size_t)8 << 20)
#define EVENTS_A_STEP 2000          /* of the client; then messages are looked at */
#define POLL_SOON (10 * USEC_MS)    /* while something is on its way */
#define POLL_IDLE (100 * USEC_MS)   /* while nothing is */
#define NO_ROOM_WAIT (20 * USEC_MS) /* until bytes in flight are asked for again */
#define HELD_LONGEST USEC_SECOND    /* without polling; then partitions are paused, and what the client has fetched is thrown away */
#define FULL_WAIT USEC_SECOND
#define REJECTS_FULL_WAIT (5 * USEC_SECOND) /* somebody has to delete rejects */
#define LATER_WAIT USEC_SECOND
#define COLUMNS_WAIT (5 * USEC_SECOND)  /* for columns that a micro-batch lacks */
#define COLUMNS_REST (60 * USEC_SECOND) /* after it was waited in vain */

/* ---- begin and end --------------------------------------------------------------------------- */

static void close_reader(Bridge *bridge) {
    schema_registry_close(bridge->reader.registry);
    record_reader_deinit(&bridge->reader);
    bridge->reader = (RecordReader){0};
}

static void open_reader(Bridge *bridge) {
    const BridgeSource *definition = bridge->definition;
    bridge->reader = (RecordReader){.kind = definition->value, .event_bytes_max = bridge->options.event_bytes};
    if (definition->value != RECORD_AVRO && definition->value != RECORD_JSON_SCHEMA) return;
    SchemaRegistrySettings settings = {
        .url = definition->registry_url,
        .user = definition->registry_user,
        .kind = definition->value == RECORD_AVRO ? SCHEMA_AVRO : SCHEMA_JSON,
    };
    _cleanup_free_ char *file = NULL;
    const char *password = definition->registry_password_file;
    if (password) {
        if (password[0] == '/')
            file = text_copy(password);
        else
            check(asprintf(&file, "%s/%s", bridge->options.data_directory, password) >= 0);
        settings.password_file = file;
    }
    Error error = {0};
    int r = schema_registry_open(&settings, bridge->options.clock, &bridge->reader.registry, &error);
    if (r < 0) bridge_client_failed(bridge, &error); /* the definition was checked: the machine has no thread left */
}

static void free_batches(Bridge *bridge) {
    check(!bridge->templates_out);
    micro_batch_free(steal(bridge->gathered));
    micro_batch_free(steal(bridge->sealed));
    bridge->has_sealed = false;
}

void flow_open(Bridge *bridge) {
    const KafkaSource *kafka = source_kafka(bridge->source->source);
    free_batches(bridge);
    close_reader(bridge);
    open_reader(bridge);
    if (!bridge->client) return;
    MicroOptions options = {
        .maker = bridge->maker,
        .reader = &bridge->reader,
        .event_bytes = bridge->options.event_bytes,
        .records_max = bridge->definition->batch_size,
        .bytes_max = BATCH_BYTES,
        .tombstones_are_events = kafka && kafka->tombstones_are_events,
        .is_nats = !kafka,
        .acks = bridge->type->acks,
        .clock = bridge->options.clock,
    };
    bridge->gathered = micro_batch_new(&options);
    bridge->sealed = micro_batch_new(&options);
    bridge->resync = false;
    bridge->full_since = 0;
    bridge->back_pressure = false;
    buffer_clear(&bridge->room);
}

void flow_deinit(Bridge *bridge) {
    bridge->templates_out = false;
    free_batches(bridge);
    close_reader(bridge);
    buffer_deinit(&bridge->room);
}

bool flow_is_empty(const Bridge *bridge) {
    return bridge->in_flight == 0 && !bridge->has_sealed && (!bridge->gathered || micro_batch_is_empty(bridge->gathered));
}

static void forget(Bridge *bridge, size_t part) {
    micro_batch_forget(bridge->gathered, part);
    if (!bridge->has_sealed) return;
    micro_batch_forget(bridge->sealed, part); /* also while its templates are out */
    bridge->has_sealed = !micro_batch_is_empty(bridge->sealed);
    if (!bridge->has_sealed) bridge->columns_until = 0;
}

void flow_forget(Bridge *bridge, size_t part) {
    if (!bridge->gathered) return;
    if (bridge_acks(bridge)) acks_give_back(bridge);
    forget(bridge, part);
    if (bridge_acks(bridge)) acks_forgot(bridge);
}

/* ---- back to the positions ------------------------------------------------------------------ */

void flow_resync(Bridge *bridge, usec_t wait) {
    usec_t at = bridge_now(bridge) + wait;
    bridge->resync = true;
    if (at > bridge->resync_at) bridge->resync_at = at;
}

/* All Appends are back. */
static void resync(Bridge *bridge) {
    bridge->resync = false;
    bridge->resync_at = 0;
    if (bridge_acks(bridge)) return; /* what was refused comes again */
    flow_forget(bridge, CLIENT_NO_INDEX);
    for (size_t i = 0; i < bridge->sink_count; i++) {
        if (bridge->sinks[i].stopped) continue;
        for (size_t k = 0; k < bridge->part_count; k++) part_leave(bridge, k, i);
        claims_look(bridge, i, LOOK_CHAIN);
    }
    for (size_t i = 0; i < bridge->part_count; i++) {
        BridgePart *part = &bridge->parts[i];
        if (part->refused >= 0 && part->refused < part->made) part->made = part->refused;
        part->refused = -1;
        part->read =
            -1; /* what was gathered is forgotten, so the client goes back, also where the least offset is that of a stopped sink */
        part_rejoin(bridge, i);
    }
}

/* ---- room ------------------------------------------------------------------------------------ */

/* Says in `room` why nothing is taken now. */
static bool has_room(Bridge *bridge, usec_t now) {
    const Usage *usage = bridge->options.usage;
    uint64_t most = bridge->definition->max_waiting_bytes;
    bool waited = bridge->room.size > 0;
    buffer_clear(&bridge->room);
    bridge->delaying = -1;
    if (atomic_load_explicit(&usage->broken, memory_order_relaxed)) {
        buffer_append_text(&bridge->room, "The gateway cannot write.");
    } else if (atomic_load_explicit(&usage->intake_stopped, memory_order_relaxed)) {
        buffer_append_text(&bridge->room, "The disk budget is used up.");
    } else if (now < bridge->no_room_until) {
        buffer_append_text(&bridge->room, "The bytes in flight are used up.");
    } else if (now < bridge->full_until) {
        buffer_append_text(&bridge->room, bridge->full_of_rejects ? "The limit of rejects is reached (retention.rejects-size)."
                                                                  : "There is no space on the disk for the records.");
    }
    for (size_t i = 0; bridge->room.size == 0 && i < bridge->sink_count; i++) {
        const BridgeSink *sink = &bridge->sinks[i];
        uint64_t waiting = sink->waiting_bytes + sink->posted_bytes;
        bool closed = atomic_load_explicit(&bridge->source->gates[i]->closed, memory_order_relaxed);
        /* Not too eager to go on: what was fetched is thrown away at each pause. */
        bool ahead = waiting > (waited && bridge->back_pressure ? most - most / 4 : most);
        if (sink->stopped || !(closed || ahead)) continue;
        bridge->delaying = (int)i;
        buffer_printf(&bridge->room,
                      closed ? "Sink \"%s\" has used up its share of the disk." : "Sink \"%s\" is too far behind (maxWaiting).",
                      sink->sink->sink_id);
    }
    return bridge->room.size == 0;
}

static void apply_back_pressure(Bridge *bridge, bool on) {
    if (bridge->back_pressure == on) return;
    bridge->back_pressure = on;
    bridge->status_at = 0;
    for (size_t i = 0; i < bridge->part_count && bridge->client; i++) {
        if (on)
            part_hold(bridge, i, HOLD_PRESSURE);
        else
            part_release(bridge, i, HOLD_PRESSURE);
    }
}

/* ---- Appends --------------------------------------------------------------------------------- */

static void take_results(Bridge *bridge, const MicroResult *results, size_t count, usec_t now) {
    uint64_t epoch = bridge->epoch;
    for (size_t i = 0; i < count && bridge->epoch == epoch; i++) {
        const MicroResult *result = &results[i];
        BridgePart *part = &bridge->parts[result->partition];
        part->made = result->offset;
        if (result->stop != MICRO_LATER && part->pending >= 0) bridge->status_at = 0;
        if (result->stop != MICRO_LATER) part->pending = -1;
        if (result->stop == MICRO_GOES_ON) continue;
        part_read_from(bridge, result->partition, result->offset); /* what was gathered behind it is forgotten */
        if (epoch != bridge->epoch) return;
        if (result->stop == MICRO_POISON) {
            part_stop(bridge, result->partition, "poisonRecord", result->offset, result->reason);
        } else {
            part->later = now + LATER_WAIT;
            if (part->pending != result->offset) bridge->status_at = 0;
            part->pending = result->offset;
            free(part->reason);
            part->reason = text_copy(result->reason);
            part_hold(bridge, result->partition, HOLD_LATER);
        }
    }
}

static void post_append(Bridge *bridge, Append *append, const MicroResult *results, size_t count) {
    BridgePosted *posted = arena_alloc(&append->arena, sizeof *posted);
    *posted = (BridgePosted){.number = ++bridge->posted, .epoch = bridge->epoch, .part_count = count};
    posted->parts = arena_alloc(&append->arena, count * sizeof *posted->parts);
    append->tickets = posted;
    append->message.kind = MESSAGE_APPEND;
    append->reply = bridge->mailbox;
    for (size_t i = 0; i < count; i++) {
        BridgePart *part = &bridge->parts[results[i].partition];
        part->posted = posted->number;
        posted->parts[i] = (struct BridgePostedPart){.part = results[i].partition, .from = part->made};
    }
    for (size_t i = 0; i < append->sink_count; i++)
        for (size_t k = 0; k < bridge->sink_count; k++)
            if (bridge->sinks[k].sink->number == append->sinks[i].sink) bridge->sinks[k].posted_bytes += append->sinks[i].rows.size;
    bridge->in_flight++;
    bridge->owed++;
    mailbox_post(bridge->options.writer, &append->message);
}

void flow_recycle(Bridge *bridge, Append *take_append) {
    row_maker_settle(bridge->maker, take_append);
    row_maker_recycle(bridge->maker, take_append);
}

/*
 * A sink's run never begins before what is gathered: the records between would be left out without
 * a word. Whoever changes an offset has the partition read from there (part_rejoin), so there is
 * nothing to do here; but a record that is lost is worse than one that is read twice.
 */
static void begin_where_gathered(Bridge *bridge) {
    for (size_t i = 0; i < bridge->part_count && !bridge_acks(bridge); i++) {
        const BridgePart *part = &bridge->parts[i];
        int64_t least = bridge_min(bridge->micro[i].next, bridge->sink_count);
        if (least < 0 || least >= part->made) continue;
        log_error("bug: partition %d of \"%s\" was gathered from offset %lld on, and a sink wants %lld: it is read again", part->partition,
                  bridge->world.topics[part->topic].name, (long long)part->made, (long long)least);
        part_rejoin(bridge, i);
    }
}

/*
 * What is sealed may wait for columns that its records lack, so that the first rows of a topic have
 * some: from the moment that it is seen until a new version of the sink is there, or for some
 * seconds. What is in vain once (the destination is down, or definitions change too often) is left
 * for a while.
 */
static bool waits_for_columns(Bridge *bridge, usec_t now) {
    if (bridge->columns_until == 0) return false;
    if (now < bridge->columns_until) return snapshot_generation(bridge->snapshot) == bridge->columns_snapshot;
    bridge->columns_until = 0;
    bridge->columns_rest_until = now + COLUMNS_REST;
    return false;
}

/* What is sealed becomes rows. */
static void make(Bridge *bridge, usec_t now) {
    begin_where_gathered(bridge);
    if (!bridge->has_sealed || !bridge->client) return;
    Append *append = NULL;
    const MicroResult *results;
    size_t count;
    MicroCounts counts = {0};
    micro_batch_set_patience(bridge->sealed, now >= bridge->columns_rest_until);
    MicroMade made = micro_batch_make(bridge->sealed, bridge->snapshot, bridge->source, bridge->micro, &append, &results, &count, &counts);
    if (made == MICRO_NO_ROOM) {
        bridge->no_room_until = now + NO_ROOM_WAIT;
        return;
    }
    if (made == MICRO_WAITS) {
        if (bridge->columns_until == 0) bridge->columns_until = now + COLUMNS_WAIT;
        bridge->columns_snapshot = snapshot_generation(bridge->snapshot);
        return;
    }
    bridge->columns_until = 0;
    bridge->counts.records += counts.records;
    bridge->counts.bytes += counts.bytes;
    bridge->counts.tombstones += counts.tombstones;
    bridge->counts.poisoned += counts.poisoned;
    bridge->counts.skipped += counts.skipped;
    if (bridge_acks(bridge) && !acks_made(bridge, append)) {
        append->result = APPEND_FAILED;
        flow_recycle(bridge, steal(append));
        flow_resync(bridge, FULL_WAIT);
    }
    if (append) post_append(bridge, append, results, count);
    bridge->has_sealed = false; /* before the results, which may forget partitions */
    take_results(bridge, results, count, now);
    if (bridge->sealed) micro_batch_clear(bridge->sealed);
    if (bridge->client && bridge_acks(bridge)) acks_forgot(bridge);
}

void flow_append_back(Bridge *bridge, Append *take_append) {
    Append *append = take_append;
    const BridgePosted *posted = append->tickets;
    check(bridge->in_flight > 0);
    bridge->in_flight--;
    if (bridge_acks(bridge)) acks_append_back(bridge, append->result == APPEND_DONE);
    for (size_t i = 0; i < posted->part_count && append->result != APPEND_DONE && posted->epoch == bridge->epoch; i++) {
        BridgePart *part = &bridge->parts[posted->parts[i].part];
        if (part->refused < 0 || posted->parts[i].from < part->refused) part->refused = posted->parts[i].from;
    }
    usec_t wait = append->result == APPEND_MISPLACED ? 0 : FULL_WAIT;
    if (append->result == APPEND_FULL || append->result == APPEND_REJECTS_FULL) {
        bridge->full_of_rejects = append->result == APPEND_REJECTS_FULL;
        if (bridge->full_of_rejects) wait = REJECTS_FULL_WAIT;
        bridge->full_until = bridge_now(bridge) + wait;
        bridge->status_at = 0;
    }
    if (append->result != APPEND_DONE && posted->epoch == bridge->epoch) flow_resync(bridge, wait);
    flow_recycle(bridge, append);
}

/* ---- templates ------------------------------------------------------------------------------- */

void flow_templates_back(Bridge *bridge, TemplateBatch *take_batch) {
    Error error = {0};
    check(bridge->templates_out && bridge->sealed);
    bridge->templates_out = false;
    if (micro_batch_evaluated(bridge->sealed, take_batch, &error) == 0) return;
    bridge->templates_again = bridge_now(bridge) + BRIDGE_AGAIN;
    bridge_trouble(bridge, &error);
}

/* Are all templates of what is sealed evaluated? */
static bool has_templates(Bridge *bridge, usec_t now) {
    if (bridge->templates_out || now < bridge->templates_again) return false;
    TemplateBatch *batch = micro_batch_templates(bridge->sealed, bridge->source, bridge->micro, bridge->mailbox);
    if (!batch) return true;
    bridge->templates_out = true;
    bridge->owed++;
    bridge->options.post_templates(bridge->options.post_templates_context, batch);
    return false;
}

/* ---- records --------------------------------------------------------------------------------- */

static void take_record(Bridge *bridge, const ClientEvent *event) {
    BridgePart *part = &bridge->parts[event->index];
    const ClientRecord *record = &event->record;
    if (part->holds || (bridge_acks(bridge) ? !acks_wants(bridge, record) : record->offset < part->read)) return;
    if (!bridge_acks(bridge) && part->limit >= 0 && record->offset >= part->limit) {
        part->read = part->limit; /* all before it was handed out */
        micro_batch_end(bridge->gathered, event->index, part->limit);
        return;
    }
    micro_batch_add(bridge->gathered, event->index, record);
    if (part->read <= record->offset) part->read = record->offset + 1;
    part->record_time = record->timestamp == CLIENT_NO_TIME ? 0 : record->timestamp;
}

static void take_end(Bridge *bridge, const ClientEvent *event) {
    BridgePart *part = &bridge->parts[event->index];
    int64_t offset = event->offset;
    if (bridge_acks(bridge)) bridge->acks.ended_at = offset;
    if (part->holds || bridge_acks(bridge)) return;
    if (part->limit >= 0 && offset > part->limit) offset = part->limit;
    if (offset <= part->read) return;
    micro_batch_end(bridge->gathered, event->index, offset);
    part->read = offset;
}

static void take_assignment(Bridge *bridge, const ClientEvent *event) {
    Error error = {0};
    bridge_works(bridge);
    flow_forget(bridge, CLIENT_NO_INDEX);
    parts_drop(bridge);
    assigned_set(bridge, event->partitions, event->partition_count, event->generation);
    bridge->phase = BRIDGE_OPEN;
    bridge->again = 0;
    bridge->rebalances++;
    if (event->partition_count > 0) return;
    bridge->offered = false;
    if (bridge->type->assign(bridge->client, event->generation, NULL, 0, &error) < 0) bridge_client_failed(bridge, &error);
}

static void take_revoke(Bridge *bridge) {
    flow_forget(bridge, CLIENT_NO_INDEX);
    if (bridge->phase == BRIDGE_READING) bridge_close_files(bridge);
    bridge->phase = BRIDGE_OPEN;
    bridge->offered = false;
    parts_drop(bridge);
    bridge->status_at = 0;
}

/* At a record it stops until somebody does something; else the client reads it again as soon as it
 * can. */
static void take_trouble(Bridge *bridge, const ClientEvent *event) {
    if (bridge->phase != BRIDGE_READING || event->index >= bridge->part_count)
        bridge_trouble(bridge, &event->error);
    else if (event->offset >= 0)
        part_stop(bridge, event->index, event->id, event->offset, event->error.text);
    else
        part_note(bridge, event->index, event->id, event->error.text);
}

/* Is the event about a partition that is read? */
static bool is_read(const Bridge *bridge, const ClientEvent *event) {
    return bridge->phase == BRIDGE_READING && event->index < bridge->part_count;
}

/* It reads again. */
static void forget_trouble(Bridge *bridge, size_t part) {
    part_forget_note(bridge, part);
    if (!bridge->trouble) return;
    bridge_works(bridge);
    bridge->status_at = 0;
}

static void take_event(Bridge *bridge, const ClientEvent *event) {
    switch (event->kind) {
    case CLIENT_NOTHING: return;
    case CLIENT_RECORD:
        if (!is_read(bridge, event)) return;
        forget_trouble(bridge, event->index);
        take_record(bridge, event);
        return;
    case CLIENT_END:
        if (!is_read(bridge, event)) return;
        forget_trouble(bridge, event->index);
        take_end(bridge, event);
        return;
    case CLIENT_ASSIGNED: take_assignment(bridge, event); return;
    case CLIENT_REVOKED: take_revoke(bridge); return;
    case CLIENT_OUT_OF_RANGE:
        if (is_read(bridge, event)) range_out(bridge, event->index);
        return;
    case CLIENT_PARTITION_TROUBLE: take_trouble(bridge, event); return;
    case CLIENT_PASSING_TROUBLE: bridge_trouble(bridge, &event->error); return;
    case CLIENT_END_OF_CLIENT: bridge_client_failed(bridge, &event->error); return;
    }
}

/* ---- the step -------------------------------------------------------------------------------- */

static void release_later(Bridge *bridge, usec_t now) {
    for (size_t i = 0; i < bridge->part_count && bridge->client; i++)
        if ((bridge->parts[i].holds & HOLD_LATER) && now >= bridge->parts[i].later) part_release(bridge, i, HOLD_LATER);
}

static unsigned in_flight_max(const Bridge *bridge) {
    return bridge_acks(bridge) ? 1 : BRIDGE_IN_FLIGHT; /* a mark says what all before it have stored */
}

static bool may_seal(const Bridge *bridge, usec_t now) {
    const MicroBatch *gathered = bridge->gathered;
    if (bridge->has_sealed || bridge->templates_out || bridge->resync || bridge->next_snapshot || micro_batch_is_empty(gathered))
        return false;
    if (bridge->quiet && bridge->in_flight < in_flight_max(bridge)) return true;
    return micro_batch_is_full(gathered) || now - micro_batch_since(gathered) >= bridge->definition->batch_timeout;
}

static void move_on(Bridge *bridge, usec_t now, bool room) {
    if (may_seal(bridge, now)) {
        MicroBatch *sealed = bridge->gathered;
        bridge->gathered = bridge->sealed;
        bridge->sealed = sealed;
        bridge->has_sealed = true;
    }
    if (!bridge->has_sealed || bridge->resync || bridge->next_snapshot || !room || bridge->in_flight >= in_flight_max(bridge)) return;
    if (waits_for_columns(bridge, now)) return;
    if (has_templates(bridge, now)) make(bridge, now);
}

/* The client's events until it has none, or the micro-batch is full. Returns whether it was left
 * with none. */
static bool poll_client(Bridge *bridge, usec_t wait) {
    for (unsigned i = 0; i < EVENTS_A_STEP && bridge->client && !micro_batch_is_full(bridge->gathered); i++) {
        ClientEvent event = {0};
        ClientEventKind kind = bridge->type->poll(bridge->client, i == 0 ? wait : 0, &event);
        if (kind == CLIENT_NOTHING) return true;
        event.kind = kind;
        take_event(bridge, &event);
    }
    return false;
}

static usec_t poll_wait(const Bridge *bridge) {
    if (bridge->in_flight >= in_flight_max(bridge) || bridge->templates_out) return 0; /* the mailbox is waited for */
    bool rests = bridge->in_flight == 0 && !bridge->has_sealed && !bridge->progress_out && !bridge->seeking &&
                 bridge->phase == BRIDGE_READING;
    return rests ? POLL_IDLE : POLL_SOON;
}

usec_t flow_step(Bridge *bridge, usec_t now) {
    if (bridge->resync && bridge->in_flight == 0 && !bridge->templates_out && now >= bridge->resync_at) resync(bridge);
    if (bridge->client) release_later(bridge, now);
    if (!bridge->client) return 0;
    bool room = has_room(bridge, now);
    move_on(bridge, now, room);
    if (!bridge->client) return 0;

    /* While nothing can be taken, it is not read; for long, the client is only kept alive. */
    bool full = !room || micro_batch_is_full(bridge->gathered);
    if (!full) {
        bridge->full_since = 0;
        apply_back_pressure(bridge, false);
    } else if (bridge->full_since == 0) {
        bridge->full_since = now;
    }
    bool reading = bridge->phase == BRIDGE_READING;
    if (full && reading && now - bridge->full_since >= HELD_LONGEST) apply_back_pressure(bridge, true);
    if (!bridge->client) return 0;
    if (full && reading && !bridge->back_pressure) return POLL_SOON;

    if (!reading && bridge_acks(bridge)) return POLL_SOON; /* what it hands out now could not be kept */
    bool was_full = micro_batch_is_full(bridge->gathered);
    if (was_full) { /* all is paused: there is no record among what it has */
        ClientEvent event = {0};
        event.kind = bridge->type->poll(bridge->client, 0, &event);
        take_event(bridge, &event);
        return bridge->client && event.kind == CLIENT_NOTHING ? POLL_SOON : 0;
    }
    bridge->quiet = poll_client(bridge, poll_wait(bridge));
    if (!bridge->client) return 0;
    if (bridge->quiet) move_on(bridge, now, room);
    return bridge->quiet && poll_wait(bridge) == 0 ? POLL_SOON : 0;
}
