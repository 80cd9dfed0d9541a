#include "gateway/sources/bridge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/delivery/load_job.h"
#include "gateway/sources/bridge_parts.h"

#define CLOSE_LIMIT (5 * USEC_SECOND) /* of the client; then it is left behind */
#define AGAIN_MAX (30 * USEC_SECOND)
#define TELL_EVERY (10 * USEC_SECOND) /* another trouble, in the log */

/* ---- the definition -------------------------------------------------------------------------- */

static BridgeWant want_of(const Bridge *bridge) {
    const SnapshotSource *source = bridge->source;
    if (bridge->draining || !source || source->source->deleted != 0) return WANT_END;
    if (source->source->disabled) return WANT_DISABLED;
    if (source->source->paused.at != 0) return WANT_PAUSED;
    return source->plan ? WANT_READ : WANT_IDLE;
}

static bool replaces(const Plan *plan) {
    return plan && plan_sink(plan, 0)->target.table.strategy == STRATEGY_REPLACE;
}

/* Each run has positions of its own. */
static char *group_of(const Bridge *bridge, const Source *source) {
    char *group = source->kind->bridge->group(source, bridge->options.project);
    if (!bridge->replaces) return group;
    check(source->run >= USEC_MS);
    char *of_run = run_group(group, (uint64_t)(source->run / USEC_MS));
    free(group);
    return of_run;
}

static void define(Bridge *bridge) {
    BridgeWant before = bridge->want;
    char *group = steal(bridge->group);
    bridge->definition = NULL;
    bridge->replaces = bridge->source && replaces(bridge->source->plan);
    if (bridge->source) {
        const Source *source = bridge->source->source;
        bridge->definition = source_bridge(source);
        check(bridge->definition);
        bridge->group = group_of(bridge, source);
        bridge->has_group = source->kind->bridge->divides_partitions && bridge->definition->loop;
    }
    if (!group || !bridge->group || strcmp(group, bridge->group) != 0) replace_forget(bridge);
    free(group);
    bridge->want = want_of(bridge);
    if (before != WANT_READ) finish_forget(bridge);
    bridge->status_at = 0;
}

static bool is_over(void *context) {
    const Bridge *bridge = context;
    return bridge_is_expedited(bridge);
}

Bridge *bridge_new(const BridgeOptions *options, Snapshot *snapshot, const SnapshotSource *source) {
    Bridge *bridge = calloc(1, sizeof *bridge);
    check(bridge);
    bridge->options = *options;
    bridge->mailbox = mailbox_new(NULL, NULL);
    bridge->number = source->source->number;
    bridge->id = text_copy(source->source->source_id);
    bridge->patience = (SinkPatience){.is_over = is_over, .context = bridge};
    bridge->snapshot = snapshot_ref(snapshot);
    bridge->source = snapshot_find(snapshot, span_of(bridge->id));
    check(bridge->source == source);
    bridge->delaying = -1;
    bridge->maker = row_maker_new(options->row_bytes, options->rows_bytes, options->usage);
    define(bridge);
    return bridge;
}

Mailbox *bridge_mailbox(Bridge *bridge) {
    return bridge->mailbox;
}

bool bridge_has_ended(const Bridge *bridge) {
    return bridge->ended;
}

bool bridge_is_owed_nothing(const Bridge *bridge) {
    return bridge->owed == 0;
}

void bridge_expedite(Bridge *bridge) {
    atomic_store(&bridge->expedited, true);
}

/* ---- the client ------------------------------------------------------------------------------ */

void bridge_trouble(Bridge *bridge, const Error *error) {
    usec_t now = bridge_now(bridge);
    bridge->trouble_at = bridge->options.clock->wall(bridge->options.clock);
    bridge->status_at = 0;
    free(bridge->trouble);
    bridge->trouble = text_copy(error->text);
    /* A client says the same of each server, again and again, in turns. */
    if (bridge->told && (strcmp(bridge->told, error->text) == 0 || now - bridge->told_at < TELL_EVERY)) return;
    log_warning("source %s: %s", bridge->id, error->text);
    free(bridge->told);
    bridge->told = text_copy(error->text);
    bridge->told_at = now;
}

void bridge_works(Bridge *bridge) {
    if (bridge->told) log_info("source %s: its broker works again", bridge->id);
    bridge->failures = 0;
    free(steal(bridge->trouble));
    free(steal(bridge->told));
}

static void try_later(Bridge *bridge) {
    usec_t pause = BRIDGE_AGAIN;
    for (unsigned i = 0; i < bridge->failures && pause < AGAIN_MAX; i++) pause *= 2;
    bridge->failures++;
    bridge->again = bridge_now(bridge) + (pause < AGAIN_MAX ? pause : AGAIN_MAX);
}

void bridge_close_client(Bridge *bridge) {
    if (!bridge->client) return;
    flow_forget(bridge, CLIENT_NO_INDEX);
    if (bridge->phase == BRIDGE_READING) bridge_close_files(bridge);
    usec_t limit = CLOSE_LIMIT, now = bridge_now(bridge);
    if (bridge->draining && bridge->drain_until - now < limit) limit = bridge->drain_until > now ? bridge->drain_until - now : 0;
    if (!bridge->type->close(steal(bridge->client), limit))
        log_warning("source %s: its connection does not close in time and is abandoned", bridge->id);
    bridge->phase = BRIDGE_CLOSED;
    acks_end(bridge);
    bridge->offered = false;
    parts_drop(bridge);
    if (bridge->world.cluster) {
        free(bridge->last_cluster);
        bridge->last_cluster = text_copy(bridge->world.cluster);
    }
    topics_forget(bridge);
}

void bridge_client_failed(Bridge *bridge, const Error *error) {
    bridge_trouble(bridge, error);
    bridge_close_client(bridge);
    try_later(bridge);
}

void bridge_open_client(Bridge *bridge) {
    Error error = {0};
    SinkFault fault = SINK_FAULT_OTHER;
    const Source *source = bridge->source->source;
    const BridgeOptions *options = &bridge->options;
    const Connection *connection = connections_find(options->connections, bridge->definition->connection);
    const char *wanted = source->kind->bridge->connection_type;
    if (!connection || strcmp(connection->type->name, wanted) != 0) { /* the config file has changed since the source was declared */
        if (!connection)
            (void)error_set(&error, -ENOENT, "there is no connection \"%s\"", bridge->definition->connection);
        else
            (void)error_set(&error, -EINVAL, "connection \"%s\" is of type %s, not %s", connection->name, connection->type->name, wanted);
        bridge_trouble(bridge, &error);
        try_later(bridge);
        return;
    }
    bridge->type = options->client ? options->client : bridge_client_of(source);
    if (!bridge->type) {
        (void)error_set(&error, -ENOSYS, "there is no client for this type of source");
        bridge_trouble(bridge, &error);
        try_later(bridge);
        return;
    }
    int r = bridge->type->open(source, connection, options->data_directory, options->project, &bridge->patience, &bridge->client, &fault,
                               &error);
    if (r < 0) {
        bridge->client = NULL;
        bridge_trouble(bridge, &error);
        try_later(bridge);
        return;
    }
    bridge->phase = BRIDGE_OPEN;
    bridge->again = 0;
    if (bridge->want == WANT_READ && !bridge->finished) known_forget(bridge);
    sinks_set_up(bridge);
    flow_open(bridge);
}

/* ---- messages -------------------------------------------------------------------------------- */

void bridge_post_writer(Bridge *bridge, Request *take_request, MessageKind kind, void (*drop)(Request *request)) {
    Request *request = take_request;
    request->message.kind = (int)kind;
    request->reply = bridge->mailbox;
    request->drop = drop;
    bridge->owed++;
    mailbox_post(bridge->options.writer, &request->message);
}

void bridge_post_job(Bridge *bridge, LoadJob *take_job) {
    bridge->owed++;
    bridge->options.post_job(bridge->options.post_job_context, take_job);
}

void bridge_close_files(Bridge *bridge) {
    for (size_t i = 0; i < bridge->sink_count; i++) {
        Close *close = calloc(1, sizeof *close);
        check(close);
        close->sink = bridge->sinks[i].sink->number;
        close->reason = CLOSE_FLUSH;
        bridge_post_writer(bridge, &close->request, MESSAGE_CLOSE, NULL);
    }
}

static void refuse(Request *request) {
    request_refuse(request, "The source is not read any more.");
}

/* Of a bridge that has ended. */
static void drop_message(Bridge *bridge, Message *message) {
    switch ((MessageKind)message->kind) {
    case MESSAGE_SNAPSHOT:
        snapshot_unref(((SnapshotNews *)message)->snapshot);
        free(message);
        return;
    case MESSAGE_DRAIN: free(message); return;
    case MESSAGE_BRIDGE_SEEK:
    case MESSAGE_BRIDGE_SKIP: refuse((Request *)message); return;
    default: break;
    }
    check(bridge->owed > 0);
    bridge->owed--;
    if (message->kind == MESSAGE_CLAIM || message->kind == MESSAGE_ORIGIN || message->kind == MESSAGE_SEEK || message->kind == MESSAGE_LIST)
        free(((Request *)message)->context);
    if (message->kind == MESSAGE_APPEND)
        flow_recycle(bridge, (Append *)message);
    else
        request_drop((Request *)message);
}

static void begin_drain(Bridge *bridge, Drain *take_drain) {
    bridge->draining = true;
    atomic_store(&bridge->expedited, true);
    bridge->drain_until = take_drain->until;
    bridge->want = WANT_END;
    free(take_drain);
}

static void handle(Bridge *bridge, Message *message) {
    switch ((MessageKind)message->kind) {
    case MESSAGE_SNAPSHOT:
        atomic_store(&bridge->expedited, bridge->draining);
        snapshot_unref(bridge->next_snapshot);
        bridge->next_snapshot = ((SnapshotNews *)message)->snapshot;
        free(message);
        return;
    case MESSAGE_DRAIN: begin_drain(bridge, (Drain *)message); return;
    case MESSAGE_BRIDGE_SEEK: seek_asked(bridge, (BridgeSeek *)message); return;
    case MESSAGE_BRIDGE_SKIP: skip_asked(bridge, (BridgeSkip *)message); return;
    default: break;
    }
    check(bridge->owed > 0);
    bridge->owed--;
    switch ((MessageKind)message->kind) {
    case MESSAGE_APPEND: flow_append_back(bridge, (Append *)message); return;
    case MESSAGE_TEMPLATES: flow_templates_back(bridge, (TemplateBatch *)message); return;
    case MESSAGE_PROGRESS: claims_progress_back(bridge, (Progress *)message); return;
    case MESSAGE_CLAIM: claims_back(bridge, (LoadJob *)message); return;
    case MESSAGE_ORIGIN: claims_origin_back(bridge, (LoadJob *)message); return;
    case MESSAGE_SWAP: replace_swap_back(bridge, (LoadJob *)message); return;
    case MESSAGE_SEEK: seek_back(bridge, (LoadJob *)message); return;
    case MESSAGE_LIST: known_back(bridge, (LoadJob *)message); return;
    case MESSAGE_CLOSE: finish_close_back(bridge, (Close *)message); return;
    default: unreachable();
    }
}

static void take_mail(Bridge *bridge) {
    for (Message *message = mailbox_take(bridge->mailbox), *next; message; message = next) {
        next = message->next;
        if (bridge->ended)
            drop_message(bridge, message);
        else
            handle(bridge, message);
    }
}

/* ---- a newer definition ---------------------------------------------------------------------- */

/* Must the client be opened anew? */
static bool differs(const Source *old, const Source *now) {
    if (old == now) return false;
    const char *const part = now->kind->name;
    json_t *differences = source_differences(old, now);
    bool found = false;
    size_t i;
    json_t *field;
    json_array_foreach(differences, i, field) {
        const char *name = json_string_value(field);
        size_t size = strlen(part);
        found = found || (name && strncmp(name, part, size) == 0 && (name[size] == '\0' || name[size] == '.'));
    }
    json_decref(differences);
    return found;
}

/* Nothing that was mapped with the old one is uncommitted, so letting go of it is the fence. */
static void adopt(Bridge *bridge) {
    Snapshot *old = bridge->snapshot;
    SnapshotSource *before = bridge->source, *now = snapshot_find(bridge->next_snapshot, span_of(bridge->id));
    if (now && now->source->number != bridge->number) now = NULL;
    bridge->snapshot = steal(bridge->next_snapshot);
    bridge->source = now;
    if (now != before) {
        bool changed = now && before && differs(before->source, now->source);
        bool another_run = now && before && now->source->run != before->source->run;
        changed = changed || (another_run && (bridge->replaces || replaces(now->plan)));
        bool reads_on = bridge->client && now && now->plan && before && !changed;
        define(bridge);
        if (changed || another_run) finish_forget(bridge); /* it may go on, or have more to read */
        if (bridge->client && (bridge->want != WANT_READ || !reads_on)) bridge_close_client(bridge);
        if (bridge->client) {
            sinks_set_up(bridge);
            for (size_t i = 0; i < bridge->part_count; i++) part_go_on(bridge, i);
        } else {
            sinks_drop(bridge);
            bridge->again = 0; /* something has changed, so it may go now */
        }
    }
    known_forget(bridge);
    snapshot_unref(old);
}

/* ---- the end --------------------------------------------------------------------------------- */

static usec_t end_step(Bridge *bridge, usec_t now) {
    usec_t until = bridge->draining ? bridge->drain_until : USEC_NEVER;
    flow_forget(bridge, CLIENT_NO_INDEX);
    if ((bridge->in_flight > 0 || bridge->templates_out) && now < until) return until == USEC_NEVER ? until : until - now;
    bridge_close_client(bridge);
    seek_end(bridge, "The source is not read any more.");
    sinks_drop(bridge);
    known_forget(bridge);
    snapshot_unref(steal(bridge->next_snapshot));
    bridge->source = NULL;
    bridge->definition = NULL;
    snapshot_unref(steal(bridge->snapshot));
    bridge->ended = true;
    return USEC_NEVER;
}

void bridge_free(Bridge *bridge) {
    if (!bridge) return;
    mailbox_pass(bridge->mailbox);
    thread_owner_bind(&bridge->owner);
    if (!bridge->ended) {
        bridge->draining = true;
        bridge->drain_until = 0;
        (void)end_step(bridge, bridge_now(bridge));
    }
    take_mail(bridge);
    mailbox_free(bridge->mailbox);
    check(bridge->owed == 0);
    flow_deinit(bridge);
    acks_deinit(bridge);
    topics_deinit(bridge);
    replace_forget(bridge);
    buffer_deinit(&bridge->rest);
    row_maker_free(bridge->maker);
    free(bridge->trouble);
    free(bridge->told);
    free(bridge->group);
    free(bridge->last_cluster);
    free(bridge->id);
    free(bridge);
}

/* ---- the step -------------------------------------------------------------------------------- */

static usec_t earlier(usec_t a, usec_t b) {
    return a < b ? a : b;
}

static usec_t work(Bridge *bridge, usec_t now) {
    if (bridge->next_snapshot && bridge->in_flight == 0 && !bridge->templates_out) adopt(bridge);
    if (bridge->want == WANT_END) return end_step(bridge, now);
    if (bridge->want != WANT_READ || bridge->finished) {
        if (bridge->seeking) {
            seek_step(bridge, now);
            return bridge->seeking ? BRIDGE_AGAIN : 0;
        }
        bridge_close_client(bridge);
        known_step(bridge, now);
        return USEC_NEVER;
    }
    if (bridge->anew) {
        replace_wait_anew(bridge, now);
        seek_step(bridge, now); /* it cannot be done, and is answered */
        return bridge->anew_again - now;
    }
    /* A new client begins with new micro-batches: what the template broker has of the old ones
     * comes back first. */
    bool may_open = !bridge->client && !bridge->left_for_destination && !bridge->templates_out;
    if (may_open && now >= bridge->again) bridge_open_client(bridge);
    if (!bridge->client) {
        claims_step(bridge, now);
        seek_step(bridge, now); /* it cannot be done, and is answered */
        return bridge->left_for_destination || bridge->again <= now ? BRIDGE_AGAIN : bridge->again - now;
    }
    if (bridge->phase == BRIDGE_OPEN && (bridge->offered || !bridge->has_group) && now >= bridge->again && topics_find(bridge)) {
        parts_set_up(bridge);
        bridge->phase = BRIDGE_BEGINS;
    }
    claims_step(bridge, now);
    if (bridge->phase == BRIDGE_BEGINS && claims_have_begun(bridge) && !replace_are_over(bridge)) parts_assign(bridge);
    range_step(bridge, now);
    seek_step(bridge, now);
    finish_step(bridge, now);
    if (bridge->client && bridge_acks(bridge)) acks_step(bridge, now);
    return bridge->client ? flow_step(bridge, now) : 0;
}

usec_t bridge_step(Bridge *bridge) {
    check_on_thread(&bridge->owner);
    take_mail(bridge);
    if (bridge->ended) return USEC_NEVER;
    usec_t now = bridge_now(bridge), sleep = work(bridge, now);
    if (!bridge->ended) status_step(bridge, now);
    return earlier(sleep, USEC_SECOND); /* a status is due then */
}
