/*
 * Sinks that replace their tables: a run is claimed, its rows are collected at the destination, and
 * when all of it is imported they replace those of the table, in one transaction there
 * (sinks/replace_run.h). The destination knows what became of a run, so that each step may be asked
 * for again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"
#include "gateway/sources/bridge_parts.h"

#define LOOK_AGAIN (6 * USEC_SECOND) /* the writer has read the positions anew by then */
#define SWAP_AGAIN_MAX USEC_MINUTE

void replace_forget(Bridge *bridge) {
    for (size_t i = 0; i < bridge->run_count; i++) free(bridge->runs[i].error);
    free(steal(bridge->runs));
    bridge->run_count = 0;
    free(steal(bridge->anew));
}

void replace_begin(Bridge *bridge) {
    for (size_t i = 0; i < bridge->run_count; i++) {
        bridge->runs[i].rewinds = false;
        if (bridge->runs[i].state != BRIDGE_RUN_REPLACED) bridge->runs[i].state = BRIDGE_RUN_NONE;
    }
}

static BridgeRun *find_run(const Bridge *bridge, uint32_t sink) {
    for (size_t i = 0; i < bridge->run_count; i++)
        if (bridge->runs[i].sink == sink) return &bridge->runs[i];
    return NULL;
}

const BridgeRun *replace_run(const Bridge *bridge, uint32_t sink) {
    return bridge->replaces ? find_run(bridge, sink) : NULL;
}

static BridgeRun *run_of(Bridge *bridge, size_t sink) {
    uint32_t number = bridge->sinks[sink].sink->number;
    BridgeRun *found = find_run(bridge, number);
    if (found) return found;
    array_extend(bridge->runs, bridge->run_count);
    found = &bridge->runs[bridge->run_count++];
    *found = (BridgeRun){.sink = number, .rows = -1};
    return found;
}

static bool is_over(const BridgeRun *run) {
    return run && run->state > BRIDGE_RUN_OPEN;
}

bool replace_is_over(const Bridge *bridge, size_t sink) {
    return is_over(replace_run(bridge, bridge->sinks[sink].sink->number));
}

bool replace_are_over(const Bridge *bridge) {
    for (size_t i = 0; i < bridge->sink_count; i++)
        if (!replace_is_over(bridge, i)) return false;
    return bridge->replaces;
}

/* It is given nothing any more. */
static void leave(Bridge *bridge, size_t sink) {
    BridgeSink *of = &bridge->sinks[sink];
    of->look = LOOK_NONE;
    of->began = true;
    for (size_t i = 0; i < bridge->part_count; i++) *bridge_next(bridge, i, sink) = -1;
    for (size_t i = 0; i < bridge->part_count; i++) part_rejoin(bridge, i);
    bridge->status_at = 0;
}

static void supersede(Bridge *bridge, size_t sink, uint64_t later) {
    BridgeRun *run = run_of(bridge, sink);
    char at[25];
    run->later = later <= (uint64_t)INT64_MAX / USEC_MS ? (usec_t)later * USEC_MS : 0;
    clock_format_utc(run->later, at);
    if (run->state != BRIDGE_RUN_SUPERSEDED)
        log_warning("sink %s: the run of %s has replaced the table, so this run ends without effect", bridge->sinks[sink].label, at);
    run->state = BRIDGE_RUN_SUPERSEDED;
}

bool replace_claimed(Bridge *bridge, size_t sink, const LoadJob *job) {
    BridgeRun *run = run_of(bridge, sink);
    run->look_after = bridge_now(bridge) + LOOK_AGAIN;
    switch (job->run_state) {
    case RUN_OPEN: run->state = BRIDGE_RUN_OPEN; return true;
    case RUN_DONE: run->state = BRIDGE_RUN_REPLACED; break;
    case RUN_SUPERSEDED: supersede(bridge, sink, job->later_run); break;
    }
    leave(bridge, sink);
    return false;
}

/* Somebody else has ended the run, or taken away what is collected. */
bool replace_heard(Bridge *bridge, size_t sink, const SinkProgress *progress) {
    const BridgeSink *of = &bridge->sinks[sink];
    BridgeRun *run = run_of(bridge, sink);
    bool lost = of->failing_since > 0;
    for (size_t i = 0; i < bridge->part_count; i++)
        lost = lost || progress->partitions[i].missing || (progress->partitions[i].known && progress->partitions[i].position < 0);
    usec_t now = bridge_now(bridge);
    if (!lost || run->state != BRIDGE_RUN_OPEN || now < run->look_after) return false;
    run->look_after = now + LOOK_AGAIN;
    return true;
}

void replace_look(Bridge *bridge, usec_t now) {
    for (size_t k = 0; bridge->replaces && k < bridge->sink_count; k++) {
        BridgeRun *run = run_of(bridge, k);
        bool behind = false;
        for (size_t i = 0; i < bridge->part_count; i++) behind = behind || bridge->parts[i].slots[k].position < bridge->parts[i].limit;
        if (!behind || run->state != BRIDGE_RUN_OPEN || now < run->look_after) continue;
        run->look_after = now + LOOK_AGAIN;
        run->rewinds = true;
        claims_look(bridge, k, LOOK_POSITION);
    }
}

void replace_rewind(Bridge *bridge, size_t sink) {
    BridgeRun *run = run_of(bridge, sink);
    if (!run->rewinds) return;
    run->rewinds = false;
    for (size_t i = 0; i < bridge->part_count; i++) {
        int64_t position = bridge->parts[i].slots[sink].position;
        if (position >= 0 && position < *bridge_next(bridge, i, sink))
            bridge_set_aim(bridge, i, sink, (BridgeAim){.next = position, .sets_end = true});
    }
    for (size_t i = 0; i < bridge->part_count; i++) part_rejoin(bridge, i);
}

/* ---- swaps ----------------------------------------------------------------------------------- */

static void post_swap(Bridge *bridge, size_t sink, usec_t now) {
    const BridgeSink *of = &bridge->sinks[sink];
    BridgeRun *run = run_of(bridge, sink);
    SwapLimit *limits = calloc(bridge->part_count + 1, sizeof *limits);
    check(limits);
    for (size_t i = 0; i < bridge->part_count; i++) {
        const Partition *key = &bridge->micro[i].key;
        limits[i] = (SwapLimit){.key = {.cluster = key->cluster,
                                        .group = key->group,
                                        .topic = key->topic,
                                        .generation = key->generation,
                                        .partition = key->partition},
                                .limit = bridge->parts[i].limit};
    }
    run->swapping = true;
    run->swap_begun = now;
    bridge_post_job(bridge, swap_job_new(&of->sink->target, of->label, of->sink->number, bridge->group, limits, bridge->part_count,
                                         of->sink->target.table.allow_empty, bridge->mailbox, NULL));
    free(limits);
}

static bool may_swap(Bridge *bridge, size_t sink, usec_t now) {
    const BridgeRun *run = run_of(bridge, sink);
    return !is_over(run) && !run->swapping && !bridge->sinks[sink].paused && now >= run->swap_again;
}

/* Is what was read all of what there is? Else the rows of topics that are gone would replace all. */
static bool check_topics(Bridge *bridge, usec_t now) {
    const char *topic;
    Error error = {0};
    int r = range_check(bridge, &topic, &error);
    if (r == 0) return true;
    if (r == RANGE_ANEW) {
        replace_anew(bridge, topic);
        return false;
    }
    if (r != -ECANCELED) bridge_trouble(bridge, &error);
    for (size_t i = 0; i < bridge->sink_count; i++) run_of(bridge, i)->swap_again = now + BRIDGE_AGAIN;
    return false;
}

bool replace_step(Bridge *bridge, usec_t now) {
    bool any = false;
    if (!bridge->replaces) return true;
    for (size_t i = 0; i < bridge->sink_count; i++) any = any || may_swap(bridge, i, now);
    if (any && !check_topics(bridge, now)) return false;
    for (size_t i = 0; i < bridge->sink_count; i++)
        if (may_swap(bridge, i, now)) post_swap(bridge, i, now);
    return replace_are_over(bridge);
}

static void failed(Bridge *bridge, BridgeRun *run, const char *label, const Error *error) {
    usec_t pause = BRIDGE_AGAIN;
    for (unsigned i = 0; i < run->failures && pause < SWAP_AGAIN_MAX; i++) pause *= 2;
    run->failures++;
    run->swap_again = bridge_now(bridge) + (pause < SWAP_AGAIN_MAX ? pause : SWAP_AGAIN_MAX);
    if (!run->error || strcmp(run->error, error->text) != 0)
        log_warning("sink %s: its table keeps its rows, because those of the run cannot replace them: %s", label, error->text);
    free(run->error);
    run->error = text_copy(error->text);
}

static bool find_index(const Bridge *bridge, uint32_t number, size_t *ret_sink) {
    for (size_t i = 0; i < bridge->sink_count; i++)
        if (bridge->sinks[i].sink->number == number) {
            *ret_sink = i;
            return true;
        }
    return false;
}

static void take_outcome(Bridge *bridge, BridgeRun *run, size_t sink, const LoadJob *job) {
    const BridgeSink *of = &bridge->sinks[sink];
    switch (job->swap_outcome) {
    case SWAP_REPLACED:
        run->state = BRIDGE_RUN_REPLACED;
        run->rows = (int64_t)job->rows;
        run->replaced = bridge->options.clock->wall(bridge->options.clock);
        log_info("sink %s: %" PRIu64 " rows have replaced those of table \"%s\", in %.1f s", of->label, job->rows,
                 sink_target_name(&of->sink->target), (double)(bridge_now(bridge) - run->swap_begun) / (double)USEC_SECOND);
        break;
    case SWAP_DONE_BEFORE:
        run->state = BRIDGE_RUN_REPLACED;
        log_info("sink %s: the rows of the run have replaced those of table \"%s\" before", of->label, sink_target_name(&of->sink->target));
        break;
    case SWAP_SUPERSEDED: supersede(bridge, sink, job->later_run); break;
    case SWAP_EMPTY:
        run->state = BRIDGE_RUN_EMPTY;
        run->swallowed = job->swallowed_rows;
        if (run->swallowed > 0) {
            log_warning("sink %s: a trigger or rule of table \"%s\" has stored none of the %" PRIu64
                        " rows of the run, so the table keeps its rows; with \"allowEmpty\" such a run empties it",
                        of->label, sink_target_name(&of->sink->target), run->swallowed);
            break;
        }
        log_warning("sink %s: the run has no row, so table \"%s\" keeps its rows; with \"allowEmpty\" such a run empties it", of->label,
                    sink_target_name(&of->sink->target));
        break;
    case SWAP_NOT_COMPLETE:
        run->swap_again = bridge_now(bridge) + BRIDGE_AGAIN;
        claims_look(bridge, sink, LOOK_POSITION);
        return;
    }
    leave(bridge, sink);
}

void replace_swap_back(Bridge *bridge, LoadJob *take_job) {
    LoadJob *job = take_job;
    BridgeRun *run = find_run(bridge, job->sink);
    size_t sink;
    if (run && bridge->replaces && bridge->group && strcmp(job->group, bridge->group) == 0) {
        run->swapping = false;
        bool known = find_index(bridge, job->sink, &sink);
        if (job->request.result != SINK_DONE) {
            failed(bridge, run, job->label, &job->request.error);
        } else if (known) {
            run->failures = 0;
            free(steal(run->error));
            take_outcome(bridge, run, sink, job);
        }
        bridge->status_at = 0;
    }
    load_job_free(job);
}

/* ---- topics that are made anew ----------------------------------------------------------------- */

void replace_anew(Bridge *bridge, const char *topic) {
    check(bridge->replaces);
    if (bridge->anew) return;
    bridge->anew = text_copy(topic);
    bridge->anew_again = 0;
    bridge->status_at = 0;
    log_warning("source %s: \"%s\" was created again since the run began: another run begins, and what this one has collected is dropped",
                bridge->id, topic);
}

void replace_wait_anew(Bridge *bridge, usec_t now) {
    bridge_close_client(bridge);
    if (now < bridge->anew_again) return;
    bridge->anew_again = now + LOOK_AGAIN;
    RunAnew *news = calloc(1, sizeof *news);
    check(news && bridge->options.control);
    *news = (RunAnew){.message = {.kind = MESSAGE_RUN_ANEW}, .source = bridge->number, .run = bridge->source->source->run};
    mailbox_post(bridge->options.control, &news->message);
}
