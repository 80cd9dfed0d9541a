/*
 * Where each sink goes on: first the writer is asked what it has, then the destination where it
 * stands. In this order, since a position moves on by imports alone, it is inside of what the
 * writer had, unless somebody else has moved it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"
#include "gateway/sources/bridge_parts.h"

#define ASK_EVERY USEC_SECOND
#define ASK_EVERY_WAITING (250 * USEC_MS) /* while there is no room */
#define CLAIMS_MAX 2                      /* of a sink, on their way: those of earlier assignments may hang with its destination */
#define LEAVE_AFTER (5 * USEC_MINUTE)     /* of a destination that takes nothing: others may have the partitions */

/* A question to the writer; its answer is dropped when the partitions or sinks have changed
 * since. */
typedef struct Question {
    Progress progress; /* first */
    uint64_t number, epoch;
    uint64_t posted; /* number of the last Append before it */
    bool settled;    /* none was on its way */
} Question;

typedef struct ClaimContext {
    uint64_t epoch;
    size_t sink;
    uint32_t number; /* of the sink */
    bool only_listed;
} ClaimContext;

void claims_look(Bridge *bridge, size_t sink, BridgeLook look) {
    BridgeSink *of = &bridge->sinks[sink];
    of->began = of->began || bridge_acks(bridge);
    if (of->stopped || bridge_acks(bridge)) return;
    if (replace_is_over(bridge, sink) && bridge->phase == BRIDGE_READING) return;
    if (of->look < look) of->look = look;
    of->look_after = bridge->progress_number;
    bridge->progress_due = 0;
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void drop_question(Request *request) {
    Progress *progress = (Progress *)request;
    arena_deinit(&progress->arena);
    free(progress);
}

static void ask_writer(Bridge *bridge, usec_t now) {
    Question *question = calloc(1, sizeof *question);
    check(question);
    Progress *progress = &question->progress;
    Arena *arena = &progress->arena;
    question->number = ++bridge->progress_number;
    question->epoch = bridge->epoch;
    question->posted = bridge->posted;
    question->settled = bridge->in_flight == 0;
    progress->partition_count = bridge->part_count;
    progress->partitions = arena_zalloc(arena, (bridge->part_count + 1) * sizeof *progress->partitions);
    for (size_t i = 0; i < bridge->part_count; i++) {
        const Partition *key = &bridge->micro[i].key;
        Partition *copy = &progress->partitions[i];
        *copy = *key;
        copy->cluster = i > 0 && key->cluster == bridge->micro[0].key.cluster ? progress->partitions[0].cluster
                                                                              : arena_copy(arena, span_of(key->cluster));
        copy->group = i > 0 && key->group == bridge->micro[0].key.group ? progress->partitions[0].group
                                                                        : arena_copy(arena, span_of(key->group));
        copy->topic = arena_copy(arena, span_of(key->topic));
        copy->topic_id = arena_copy(arena, span_of(key->topic_id));
    }
    progress->sink_count = bridge->sink_count;
    progress->sinks = arena_zalloc(arena, (bridge->sink_count + 1) * sizeof *progress->sinks);
    for (size_t i = 0; i < bridge->sink_count; i++) {
        progress->sinks[i].sink = bridge->sinks[i].sink->number;
        bridge->sinks[i].asked_bytes = bridge->sinks[i].posted_bytes;
    }
    progress->look_now = bridge->look_now;
    progress->was_sought = bridge->was_sought;
    bridge->look_now = bridge->was_sought = false;
    bridge->progress_out = true;
    bridge->progress_due = now + (bridge->room.size > 0 || bridge->phase == BRIDGE_CLOSED ? ASK_EVERY_WAITING : ASK_EVERY);
    bridge_post_writer(bridge, &progress->request, MESSAGE_PROGRESS, drop_question);
}

static BridgeAim aim_now(const Bridge *bridge, size_t part, size_t sink) {
    return (BridgeAim){.next = *bridge_next(bridge, part, sink), .sets_end = bridge->micro[part].sets_end[sink]};
}

static void sink_missing(Bridge *bridge, size_t sink) {
    BridgeSink *of = &bridge->sinks[sink];
    if (of->stopped) return;
    of->stopped = "positionsMissing";
    of->reason = "Its destination has no position of a partition that was read already: set one with seek.";
    of->look = LOOK_NONE;
    of->began = true;
    log_warning("sink %s stops: its destination has no position of a partition that was read already; set one with seek", of->label);
    for (size_t i = 0; i < bridge->part_count; i++) *bridge_next(bridge, i, sink) = -1;
    for (size_t i = 0; i < bridge->part_count; i++) part_rejoin(bridge, i);
    bridge->status_at = 0;
}

/* Where the destination of the sink stands, of which no claim is on its way. */
static void take_heard(Bridge *bridge, size_t sink, const SinkProgress *progress) {
    for (size_t i = 0; i < bridge->part_count; i++) {
        const PartitionProgress *said = &progress->partitions[i];
        if (said->missing)
            bridge->parts[i].slots[sink].position = -1;
        else if (said->position >= 0)
            bridge->parts[i].slots[sink].position = said->position;
    }
}

/* Somebody has set the positions. Of a partition that came meanwhile there is none yet: it is
 * claimed then. */
static void end_missing(Bridge *bridge, size_t sink, const SinkProgress *progress) {
    BridgeSink *of = &bridge->sinks[sink];
    if (strcmp(of->stopped, "positionsMissing") != 0) return;
    take_heard(bridge, sink, progress);
    for (size_t i = 0; i < bridge->part_count; i++)
        if (progress->partitions[i].missing || !progress->partitions[i].known) return;
    of->stopped = of->reason = NULL;
    bridge->status_at = 0;
    log_info("sink %s continues: its destination has all positions", of->label);
    claims_look(bridge, sink, LOOK_POSITION);
}

static void take_figures(Bridge *bridge, size_t sink, const SinkProgress *progress) {
    BridgeSink *of = &bridge->sinks[sink];
    of->waiting_bytes = progress->waiting_bytes;
    of->posted_bytes -= of->asked_bytes;
    of->asked_bytes = 0;
    of->failing_since = progress->failing_since;
    of->paused = progress->paused;
    of->made_table = progress->made_table;
    if (of->claiming || of->look != LOOK_NONE) return; /* its claim has its own words */
    free(of->error);
    of->error = progress->error[0] ? text_copy(progress->error) : NULL;
}

static void take_news(Bridge *bridge, const Question *question, size_t sink) {
    const SinkProgress *progress = &question->progress.sinks[sink];
    if (replace_is_over(bridge, sink)) return;
    if (bridge->replaces && replace_heard(bridge, sink, progress)) {
        claims_look(bridge, sink, LOOK_POSITION);
        return;
    }
    take_heard(bridge, sink, progress);
    for (size_t i = 0; i < bridge->part_count; i++) {
        const BridgePart *part = &bridge->parts[i];
        const PartitionProgress *said = &progress->partitions[i];
        switch (bridge_news(said, aim_now(bridge, i, sink), part->posted > question->posted)) {
        case BRIDGE_NEWS_NONE: break;
        case BRIDGE_NEWS_MISSING:
            if (!bridge->replaces) sink_missing(bridge, sink); /* a run that is gone is claimed anew */
            return;
        case BRIDGE_NEWS_LOOK:
            part_leave(bridge, i, sink);
            part_rejoin(bridge, i);
            claims_look(bridge, sink, LOOK_POSITION);
            break;
        }
    }
}

/* ---- the destinations ------------------------------------------------------------------------ */

static ClaimContext *context_of(const Bridge *bridge, size_t sink) {
    ClaimContext *context = calloc(1, sizeof *context);
    check(context);
    *context = (ClaimContext){.epoch = bridge->epoch, .sink = sink, .number = bridge->sinks[sink].sink->number};
    return context;
}

static void post(Bridge *bridge, size_t sink, LoadJob *take_job) {
    BridgeSink *of = &bridge->sinks[sink];
    if (!of->claiming) {
        of->was_waited_for = false;
        of->asked = bridge_now(bridge);
    }
    of->claiming = true;
    of->claims_out++;
    bridge_post_job(bridge, take_job);
}

static void post_claim(Bridge *bridge, size_t sink) {
    const BridgeWorld *world = &bridge->world;
    const BridgeSink *of = &bridge->sinks[sink];
    size_t count = 0;
    PositionClaim *claims = calloc(world->partition_count + 1, sizeof *claims);
    check(claims);
    for (size_t i = 0; i < world->topic_count; i++) {
        const BridgeTopic *topic = &world->topics[i];
        for (size_t k = 0; k < topic->partition_count; k++)
            claims[count++] = (PositionClaim){
                .key = {.cluster = world->cluster,
                        .group = world->group,
                        .topic = topic->name,
                        .generation = topic->generation,
                        .partition = (int32_t)k},
                .topic_id = topic->topic_id,
                .start = origin_start(bridge, sink, i, (int32_t)k),
                .earliest = topic->earliest[k],
            };
    }
    ClaimContext *context = context_of(bridge, sink);
    context->only_listed = origin_is_to_be_asked(bridge, sink);
    LoadJob *job = claim_job_new(&of->sink->target, of->label, of->sink->number, claims, count, context->only_listed, bridge->mailbox,
                                 context);
    free(claims);
    post(bridge, sink, job);
}

/* The next question to a destination, or the claim, when it is known where the sink begins. */
static void ask_origin(Bridge *bridge, size_t sink) {
    ClaimContext *context = context_of(bridge, sink);
    LoadJob *job = origin_job(bridge, sink, context);
    if (job) {
        post(bridge, sink, job);
        return;
    }
    free(context);
    post_claim(bridge, sink);
}

/* The destination does not answer: its sink goes on where the writer's chain ends, or not at
 * all. */
static void go_on_without(Bridge *bridge, size_t sink) {
    for (size_t i = 0; i < bridge->part_count; i++) {
        if (*bridge_next(bridge, i, sink) >= 0) continue;
        bridge_set_aim(bridge, i, sink, bridge_aim(bridge->parts[i].slots[sink].chain, -1));
        part_rejoin(bridge, i);
    }
}

static void claim_failed(Bridge *bridge, size_t sink, usec_t again) {
    BridgeSink *of = &bridge->sinks[sink];
    of->again = again;
    of->began = true;
    go_on_without(bridge, sink);
    claims_look(bridge, sink, LOOK_POSITION);
}

/* The writer has answered: what it has of the sink is what the position is compared with. */
static void take_chains(Bridge *bridge, const Question *question, size_t sink, usec_t now) {
    BridgeSink *of = &bridge->sinks[sink];
    const SinkProgress *progress = &question->progress.sinks[sink];
    bool all = true;
    for (size_t i = 0; i < bridge->part_count; i++) {
        BridgeSlot *slot = &bridge->parts[i].slots[sink];
        slot->chain = (BridgeChain){progress->partitions[i].from, progress->partitions[i].end};
        slot->behind = progress->partitions[i].left;
        if (of->look != LOOK_CHAIN || *bridge_next(bridge, i, sink) >= 0) continue;
        BridgeAim aim = bridge_aim(slot->chain, slot->position);
        if (aim.sets_end) aim.next = -1; /* the position may be an old one */
        all = all && aim.next >= 0;
        bridge_set_aim(bridge, i, sink, aim);
    }
    for (size_t i = 0; i < bridge->part_count; i++) part_rejoin(bridge, i);
    bool chain = of->look == LOOK_CHAIN;
    of->look = LOOK_NONE;
    if (chain && all) {
        of->began = true;
        return;
    }
    if (of->claiming) return; /* its answer may be older than the writer's: one more follows it */
    if (bridge->world.partition_count == 0)
        of->began = true;
    else if (of->claims_out < CLAIMS_MAX)
        post_claim(bridge, sink);
    else
        claim_failed(bridge, sink, now + BRIDGE_AGAIN);
}

void claims_progress_back(Bridge *bridge, Progress *take_progress) {
    Question *question = (Question *)take_progress;
    usec_t now = bridge_now(bridge);
    bridge->progress_out = false;
    if (question->epoch != bridge->epoch || question->progress.request.result != 0) {
        bridge->progress_due = question->progress.request.result != 0 ? now + BRIDGE_AGAIN : 0;
        drop_question(&question->progress.request);
        return;
    }
    uint64_t epoch = bridge->epoch;
    for (size_t i = 0; i < bridge->sink_count && bridge->epoch == epoch; i++) {
        BridgeSink *of = &bridge->sinks[i];
        take_figures(bridge, i, &question->progress.sinks[i]);
        if (bridge_acks(bridge)) continue;
        if (of->stopped) {
            end_missing(bridge, i, &question->progress.sinks[i]);
            continue;
        }
        if (of->look == LOOK_NONE)
            take_news(bridge, question, i);
        else if (question->number > of->look_after && !of->claiming && now >= of->again)
            take_chains(bridge, question, i, now);
    }
    if (bridge_acks(bridge) && bridge->client && bridge->phase == BRIDGE_BEGINS && question->settled)
        acks_begin(bridge, question->progress.mark);
    drop_question(&question->progress.request);
}

/* ---- a claim is back ------------------------------------------------------------------------- */

static bool raise_generations(Bridge *bridge, const LoadJob *job) {
    BridgeWorld *world = &bridge->world;
    bool raised = false;
    for (size_t i = 0; i < world->topic_count; i++) {
        BridgeTopic *topic = &world->topics[i];
        const PositionClaim *claim = claim_job_find(job, topic->name, 0);
        const ListedPosition *listed = claim_job_listed(job, topic->name);
        if (!claim) continue;
        uint32_t generation = claim->key.generation > topic->generation ? claim->key.generation : topic->generation;
        bool anew = listed && listed->key.generation == generation && listed->topic_id && listed->topic_id[0] && topic->topic_id &&
                    strcmp(listed->topic_id, topic->topic_id) != 0;
        if (anew && bridge->replaces) {
            replace_anew(bridge, topic->name);
            return false;
        }
        if (anew) {
            log_warning("source %s: \"%s\" was created again: it is read from its beginning", bridge->id, topic->name);
            generation++;
        }
        if (generation == topic->generation) continue;
        if (anew) memcpy(topic->start, topic->earliest, topic->partition_count * sizeof *topic->start);
        topic_raise(bridge, i, generation);
        raised = true;
    }
    return raised;
}

static void take_positions(Bridge *bridge, size_t sink, const LoadJob *job) {
    for (size_t i = 0; i < bridge->part_count; i++) {
        BridgePart *part = &bridge->parts[i];
        const PositionClaim *claim = claim_job_find(job, bridge->world.topics[part->topic].name, part->partition);
        check(claim);
        if (claim->next < 0) continue; /* somebody has put it there: it is none */
        BridgeSlot *slot = &part->slots[sink];
        BridgeAim now = aim_now(bridge, i, sink);
        slot->position = claim->next;
        bridge_set_aim(bridge, i, sink,
                       now.next < 0 ? bridge_aim(slot->chain, claim->next) : bridge_aim_again(now, slot->chain.from, claim->next));
    }
    for (size_t i = 0; i < bridge->part_count; i++) part_rejoin(bridge, i);
}

static usec_t try_again_at(const Bridge *bridge, SinkResult result) {
    return bridge_now(bridge) + (result == SINK_REFUSED ? 5 : 1) * BRIDGE_AGAIN;
}

static ClaimContext take_context(Bridge *bridge, const LoadJob *job) {
    ClaimContext context = *(ClaimContext *)job->request.context;
    free(job->request.context);
    for (size_t i = 0; i < bridge->sink_count; i++)
        if (bridge->sinks[i].sink->number == context.number && bridge->sinks[i].claims_out > 0) bridge->sinks[i].claims_out--;
    check(context.epoch != bridge->epoch || bridge->sinks[context.sink].claiming);
    return context;
}

static void origin_failed(Bridge *bridge, size_t sink) {
    BridgeSink *of = &bridge->sinks[sink];
    SinkResult result;
    free(of->error);
    of->error = text_copy(origin_error(of, &result));
    origin_forget(of);
    of->claiming = false;
    if (!of->stopped) claim_failed(bridge, sink, try_again_at(bridge, result));
}

void claims_origin_back(Bridge *bridge, LoadJob *take_job) {
    ClaimContext context = take_context(bridge, take_job);
    if (context.epoch == bridge->epoch) {
        if (origin_back(bridge, context.sink, take_job))
            ask_origin(bridge, context.sink);
        else
            origin_failed(bridge, context.sink);
        bridge->status_at = 0;
    }
    load_job_free(take_job);
}

void claims_back(Bridge *bridge, LoadJob *take_job) {
    LoadJob *job = take_job;
    ClaimContext context = take_context(bridge, job);
    bool begins = job->request.result == SINK_DONE && !job->claimed;
    if (context.epoch == bridge->epoch && begins) {
        if (origin_ask(bridge, context.sink))
            ask_origin(bridge, context.sink);
        else
            origin_failed(bridge, context.sink);
    } else if (context.epoch == bridge->epoch) {
        BridgeSink *of = &bridge->sinks[context.sink];
        of->claiming = false;
        origin_forget(of);
        free(steal(of->error));
        if (job->request.result == SINK_DONE) {
            bool over = bridge->replaces && job->run_state != RUN_OPEN; /* it has its rows, whatever became of the topics */
            bool raised = !over && raise_generations(bridge, job);
            of->began = of->began || !raised;
            of->is_new = of->is_new && raised;
            of->moved = of->moved && raised;
            bool open = !bridge->replaces || raised || replace_claimed(bridge, context.sink, job);
            if (open && !raised && !of->stopped) take_positions(bridge, context.sink, job);
            if (open && !raised && bridge->replaces) replace_rewind(bridge, context.sink);
        } else if (!of->stopped) {
            of->error = text_copy(job->request.error.text);
            claim_failed(bridge, context.sink, try_again_at(bridge, (SinkResult)job->request.result));
        }
        bridge->status_at = 0;
    }
    load_job_free(job);
}

/* ---- time ------------------------------------------------------------------------------------ */

bool claims_have_begun(const Bridge *bridge) {
    if (bridge_acks(bridge) && !bridge->acks.ready) return false;
    for (size_t i = 0; i < bridge->sink_count; i++)
        if (!bridge->sinks[i].began) return false;
    return true;
}

static bool takes_nothing(const Bridge *bridge, usec_t now) {
    for (size_t i = 0; i < bridge->sink_count; i++)
        if (bridge->sinks[i].failing_since > 0 && now - bridge->sinks[i].failing_since >= LEAVE_AFTER) return true;
    return false;
}

void claims_step(Bridge *bridge, usec_t now) {
    for (size_t i = 0; i < bridge->sink_count; i++) {
        BridgeSink *of = &bridge->sinks[i];
        if (!of->claiming || of->was_waited_for || now - of->asked < BRIDGE_PATIENCE || bridge->phase < BRIDGE_BEGINS) continue;
        of->began = of->was_waited_for = true;
        go_on_without(bridge, i);
    }
    if (bridge->phase >= BRIDGE_BEGINS) {
        if (bridge->back_pressure && takes_nothing(bridge, now)) {
            log_warning("source %s: a destination accepts nothing for a long time; other nodes may read the partitions until it does",
                        bridge->id);
            bridge->left_for_destination = true;
            bridge_close_client(bridge);
        }
    } else if (bridge->left_for_destination && !takes_nothing(bridge, now)) {
        bridge->left_for_destination = false;
        bridge->again = 0;
    }
    bool asks = bridge->phase >= BRIDGE_BEGINS || bridge->left_for_destination;
    if (asks && !bridge->progress_out && now >= bridge->progress_due) ask_writer(bridge, now);
}
