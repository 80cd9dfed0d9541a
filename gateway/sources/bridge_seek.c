/* What an admin asks for: to read from elsewhere, and to go on behind a record. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"
#include "gateway/sources/bridge_parts.h"

#define SEEK_LONGEST (20 * USEC_SECOND) /* until the broker has said what there is */
#define NO_SUCH_PLACE "The source does not read such a topic or partition."

struct BridgeSeeking {
    BridgeSeek *seek;
    usec_t until; /* boot: for the broker */
    bool posted;
    size_t left; /* jobs on their way */
    /* as they are set: by topic and partition of the world */
    ClientOffset *targets; /* owned; their topics are of the world */
    size_t target_count;
};

static void answer(Bridge *bridge, int result, const char *text) {
    BridgeSeeking *seeking = steal(bridge->seeking);
    Request *request = &seeking->seek->request;
    request->result = result;
    if (text) (void)error_set(&request->error, result < 0 ? result : -EIO, "%s", text);
    request_answer(request);
    free(seeking->targets);
    free(seeking);
}

void seek_end(Bridge *bridge, const char *text) {
    if (bridge->seeking) answer(bridge, -ECANCELED, text);
}

static bool reads_a_durable(const Bridge *bridge) {
    const BridgeClientType *type = bridge->options.client;
    return (type ? type : bridge_client_of(bridge->source->source))->acks;
}

void seek_forget_world(Bridge *bridge) {
    BridgeSeeking *seeking = bridge->seeking;
    if (!seeking) return;
    free(steal(seeking->targets));
    seeking->target_count = 0;
}

void seek_asked(Bridge *bridge, BridgeSeek *seek) {
    const char *why = NULL;
    int result = -EINVAL;
    if (bridge->want == WANT_END) {
        why = "The source is not read any more.";
        result = -ECANCELED;
    } else if (!bridge->source || !bridge->source->plan) {
        why = "The source has no enabled sink.";
    } else if (reads_a_durable(bridge)) {
        why = "Its durable consumer records what was read: with another \"durable\" it starts from the beginning.";
    } else if (bridge->replaces) {
        why = "The source replaces its tables: each run reads from the first record.";
    } else if (seek->to == SEEK_OFFSET && seek->at < 0) {
        why = "An offset must be 0 or more.";
    } else if (bridge->seeking) {
        why = "Another seek is in progress.";
        result = -EBUSY;
    }
    if (why) {
        seek->request.result = error_set(&seek->request.error, result, "%s", why);
        request_answer(&seek->request);
        return;
    }
    bridge->seeking = calloc(1, sizeof *bridge->seeking);
    check(bridge->seeking);
    bridge->seeking->seek = seek;
    bridge->seeking->until = bridge_now(bridge) + SEEK_LONGEST;
}

/* ---- where to -------------------------------------------------------------------------------- */

static size_t put_targets(const Bridge *bridge, const BridgeSeek *seek, ClientOffset *targets) {
    static const ClientWhen whens[] = {
        [SEEK_EARLIEST] = CLIENT_EARLIEST, [SEEK_LATEST] = CLIENT_LATEST, [SEEK_OFFSET] = CLIENT_LATEST, [SEEK_TIME] = CLIENT_AT_TIME};
    size_t count = 0;
    for (size_t i = 0; i < bridge->world.topic_count; i++) {
        const BridgeTopic *topic = &bridge->world.topics[i];
        if (seek->topic && strcmp(seek->topic, topic->name) != 0) continue;
        for (size_t k = 0; k < topic->partition_count; k++) {
            if (seek->partition >= 0 && (size_t)seek->partition != k) continue;
            if (targets)
                targets[count] = (ClientOffset){.topic = topic->name, .partition = (int32_t)k, .when = whens[seek->to], .time = seek->at};
            count++;
        }
    }
    return count;
}

static int by_place(const void *a, const void *b) {
    const ClientOffset *one = a, *other = b;
    int order = strcmp(one->topic, other->topic);
    return order != 0 ? order : (one->partition > other->partition) - (one->partition < other->partition);
}

static uint32_t generation_of(const Bridge *bridge, const char *topic) {
    for (size_t i = 0; i < bridge->world.topic_count; i++)
        if (strcmp(bridge->world.topics[i].name, topic) == 0) return bridge->world.topics[i].generation;
    return 0;
}

static void post(Bridge *bridge, size_t sink, const ImportPosition *positions) {
    BridgeSeeking *seeking = bridge->seeking;
    const BridgeSink *of = &bridge->sinks[sink];
    SeekContext *context = calloc(1, sizeof *context);
    check(context);
    *context = (SeekContext){.epoch = bridge->epoch, .sink = sink, .number = of->sink->number};
    seeking->left++;
    bridge_post_job(bridge, seek_job_new(&of->sink->target, of->label, of->sink->number, positions, seeking->target_count,
                                         seeking->seek->backwards, false, bridge->mailbox, context));
}

static void post_all(Bridge *bridge) {
    BridgeSeeking *seeking = bridge->seeking;
    BridgeSeek *seek = seeking->seek;
    ImportPosition *positions = calloc(seeking->target_count, sizeof *positions);
    seek->sinks = calloc(bridge->sink_count + 1, sizeof *seek->sinks);
    check(positions && seek->sinks);
    for (size_t i = 0; i < seeking->target_count; i++) {
        const ClientOffset *target = &seeking->targets[i];
        positions[i] = (ImportPosition){.key = {.cluster = bridge->world.cluster,
                                                .group = bridge->world.group,
                                                .topic = target->topic,
                                                .generation = generation_of(bridge, target->topic),
                                                .partition = target->partition},
                                        .next = target->offset};
    }
    seeking->posted = true;
    seek->partitions = seeking->target_count;
    for (size_t i = 0; i < bridge->sink_count; i++) {
        if (seek->sink != 0 && bridge->sinks[i].sink->number != seek->sink) continue;
        seek->sinks[seek->sink_count++] = (BridgeSeekSink){.sink = bridge->sinks[i].sink->number, .result = SINK_RETRY};
        post(bridge, i, positions);
    }
    free(positions);
    if (seek->sink_count == 0) answer(bridge, -EINVAL, "The source has no enabled sink of this name.");
}

/* The targets have the ends: an offset may not be behind one. false: answered. */
static bool take_offset(Bridge *bridge) {
    BridgeSeeking *seeking = bridge->seeking;
    int64_t at = seeking->seek->at;
    Error error = {0};
    for (size_t i = 0; i < seeking->target_count; i++) {
        const ClientOffset *target = &seeking->targets[i];
        if (at <= target->offset) continue;
        (void)error_set(&error, -EDOM, "Partition %d of \"%s\" ends at offset %" PRId64 ", so nothing goes on at %" PRId64 ".",
                        target->partition, target->topic, target->offset, at);
        answer(bridge, -EDOM, error.text);
        return false;
    }
    for (size_t i = 0; i < seeking->target_count; i++) seeking->targets[i].offset = at;
    return true;
}

void seek_step(Bridge *bridge, usec_t now) {
    BridgeSeeking *seeking = bridge->seeking;
    Error error = {0};
    if (!seeking || seeking->posted) return;
    if (!bridge->client && (bridge->want != WANT_READ || bridge->finished) && !bridge->templates_out) bridge_open_client(bridge);
    bool known = bridge->client && (bridge->world.cluster || topics_find(bridge));
    if (!bridge->seeking) return;
    if (!known && bridge->left_for_destination) {
        answer(bridge, -ENOTCONN,
               "The source is not read, because its destination has accepted nothing for a long time: pause the source, then seek.");
        return;
    }
    if (!known) {
        if (now >= seeking->until || bridge->draining)
            answer(bridge, -ENOTCONN, bridge->trouble ? bridge->trouble : "The broker does not answer.");
        return;
    }
    seeking->target_count = put_targets(bridge, seeking->seek, NULL);
    if (seeking->target_count == 0) {
        answer(bridge, -ENOENT, NO_SUCH_PLACE);
        return;
    }
    seeking->targets = calloc(seeking->target_count, sizeof *seeking->targets);
    check(seeking->targets);
    (void)put_targets(bridge, seeking->seek, seeking->targets);
    qsort(seeking->targets, seeking->target_count, sizeof *seeking->targets, by_place);
    int r = bridge->type->offsets(bridge->client, seeking->targets, seeking->target_count, BRIDGE_ASK_LIMIT, &error);
    if (r == -ECANCELED && !bridge->draining) {
        free(steal(seeking->targets)); /* a message comes; then again */
        return;
    }
    if (r < 0) {
        answer(bridge, -ENOTCONN, error.text);
        return;
    }
    if (seeking->seek->to != SEEK_OFFSET || take_offset(bridge)) post_all(bridge);
}

/* ---- the destinations have answered ---------------------------------------------------------- */

/* They are in this order. */
static const ClientOffset *find_target(const BridgeSeeking *seeking, const char *topic, int32_t partition) {
    const ClientOffset wanted = {.topic = topic, .partition = partition};
    return bsearch(&wanted, seeking->targets, seeking->target_count, sizeof wanted, by_place);
}

/* The sink goes on where it was set to; what waits of it is returned. */
static void go_there(Bridge *bridge, size_t sink) {
    const BridgeSeeking *seeking = bridge->seeking;
    BridgeSink *of = &bridge->sinks[sink];
    if (of->stopped && strcmp(of->stopped, "positionsMissing") == 0) {
        of->stopped = of->reason = NULL;
        claims_look(bridge, sink, LOOK_POSITION);
    }
    for (size_t i = 0; i < bridge->part_count; i++) {
        BridgePart *part = &bridge->parts[i];
        const ClientOffset *target = find_target(seeking, bridge->world.topics[part->topic].name, part->partition);
        if (!target) continue;
        part->slots[sink] = (BridgeSlot){.position = target->offset, .chain = {-1, -1}, .left = -1};
        if (!of->stopped) bridge_set_aim(bridge, i, sink, (BridgeAim){.next = target->offset, .sets_end = true});
        part->range_told = false;
        part_go_on(bridge, i);
        part_rejoin(bridge, i);
    }
}

static void end_seek(Bridge *bridge) {
    const BridgeSeek *seek = bridge->seeking->seek;
    size_t done = 0, back = 0;
    for (size_t i = 0; i < seek->sink_count; i++) {
        done += seek->sinks[i].result == SINK_DONE;
        back += seek->sinks[i].error.code == -ERANGE;
    }
    bridge->was_sought = bridge->was_sought || done > 0;
    bridge->look_now = true; /* the writer forgets what does not go on there */
    bridge->progress_due = 0;
    bridge->known.due = 0;
    if (done == seek->sink_count)
        answer(bridge, 0, NULL);
    else if (back > 0 && done == 0)
        answer(bridge, -ERANGE, "The position would go back, so records would come twice.");
    else
        answer(bridge, 1, NULL);
}

void seek_back(Bridge *bridge, LoadJob *take_job) {
    LoadJob *job = take_job;
    SeekContext context = *(SeekContext *)job->request.context;
    bool is_current = context.epoch == bridge->epoch;
    free(job->request.context);
    if (context.of_range) {
        if (is_current) range_seek_back(bridge, &context, job);
    } else if (bridge->seeking) {
        BridgeSeek *seek = bridge->seeking->seek;
        for (size_t i = 0; i < seek->sink_count; i++) {
            if (seek->sinks[i].sink != context.number) continue;
            seek->sinks[i].result = job->request.result;
            seek->sinks[i].error = job->request.error;
        }
        if (is_current && job->request.result == SINK_DONE) go_there(bridge, context.sink);
        check(!bridge->seeking || bridge->seeking->left > 0);
        if (bridge->seeking && --bridge->seeking->left == 0) end_seek(bridge);
    }
    load_job_free(job);
}

/* ---- skip ------------------------------------------------------------------------------------ */

/* As far as the broker has said what there is. */
static bool reads_elsewhere(const Bridge *bridge, const BridgeSkip *skip) {
    if (!bridge->world.cluster) return true;
    BridgeSeek place = {.topic = skip->topic, .partition = skip->partition, .to = SEEK_EARLIEST};
    return put_targets(bridge, &place, NULL) > 0;
}

/* The record cannot be handed out: what follows it is read. */
static void read_behind(Bridge *bridge, size_t part, int64_t offset) {
    BridgePart *of = &bridge->parts[part];
    Error error = {0};
    if (bridge->phase != BRIDGE_READING || of->read > offset) return;
    micro_batch_end(bridge->gathered, part, offset + 1);
    of->read = offset + 1;
    bridge->counts.skipped++;
    if (bridge->type->seek(bridge->client, part, offset + 1, &error) < 0) bridge_client_failed(bridge, &error);
}

void skip_asked(Bridge *bridge, BridgeSkip *skip) {
    for (size_t i = 0; i < bridge->part_count; i++) {
        BridgePart *part = &bridge->parts[i];
        const char *topic = bridge->world.topics[part->topic].name;
        if (part->partition != skip->partition || strcmp(topic, skip->topic) != 0) continue;
        bool stopped = part->holds & HOLD_STOPPED;
        if (!stopped || part->stopped_at != skip->offset) {
            if (stopped)
                skip->request.result = error_set(&skip->request.error, -ENOENT,
                                                 "The partition stopped at offset %" PRId64 ", not at %" PRId64 ".", part->stopped_at,
                                                 skip->offset);
            else
                skip->request.result = error_set(&skip->request.error, -ENOENT, "The partition is not stopped.");
            request_answer(&skip->request);
            return;
        }
        log_info("source %s: offset %" PRId64 " of partition %d of \"%s\" is skipped", bridge->id, skip->offset, part->partition, topic);
        if (strcmp(part->stopped, "poisonRecord") == 0) {
            bridge->micro[i].skip = skip->offset;
            part_go_on(bridge, i);
        } else {
            uint64_t epoch = bridge->epoch;
            part->stopped = NULL;
            free(steal(part->reason));
            read_behind(bridge, i, skip->offset);
            if (epoch == bridge->epoch) part_release(bridge, i, HOLD_STOPPED);
        }
        skip->request.result = 0;
        request_answer(&skip->request);
        return;
    }
    if (reads_elsewhere(bridge, skip))
        skip->request.result = error_set(&skip->request.error, -ENOENT, "The partition is not read by this gateway now.");
    else
        skip->request.result = error_set(&skip->request.error, -ENXIO, NO_SUCH_PLACE);
    request_answer(&skip->request);
}
