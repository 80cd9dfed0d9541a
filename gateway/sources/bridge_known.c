/*
 * The positions of a source that nobody reads, since it is paused, disabled or finished: what waits
 * of it is still imported, so its destinations are asked now and then, for people.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"
#include "gateway/sources/bridge_parts.h"

#define ASK_FIRST USEC_SECOND /* until they are asked again, while positions move */
#define ASK_MAX (USEC_MINUTE) /* while they do not */

void known_forget(Bridge *bridge) {
    BridgeKnown *known = &bridge->known;
    for (size_t i = 0; i < known->count; i++) load_job_free(known->sinks[i].answer);
    free(known->sinks);
    *known = (BridgeKnown){.number = known->number + 1};
}

static void begin(Bridge *bridge, const Plan *plan) {
    BridgeKnown *known = &bridge->known;
    known_forget(bridge);
    known->plan = plan;
    known->count = plan_sink_count(plan);
    known->sinks = calloc(known->count, sizeof *known->sinks);
    check(known->sinks);
    known->wait = ASK_FIRST;
    for (size_t i = 0; i < known->count; i++) known->sinks[i].sink = plan_sink(plan, i);
}

static void ask(Bridge *bridge, BridgeKnownSink *of) {
    _cleanup_free_ char *label = NULL;
    uint64_t *number = malloc(sizeof *number);
    check(number && asprintf(&label, "%s/%s", bridge->id, of->sink->sink_id) >= 0);
    *number = bridge->known.number;
    of->asked = true;
    bridge_post_job(bridge, list_job_new(&of->sink->target, label, of->sink->number, bridge->group, bridge->mailbox, number));
}

void known_step(Bridge *bridge, usec_t now) {
    BridgeKnown *known = &bridge->known;
    const Plan *plan = bridge->source->plan;
    const BridgeClientType *type = bridge->options.client ? bridge->options.client : bridge_client_of(bridge->source->source);
    if (!plan || !type || type->acks) {
        if (known->plan) known_forget(bridge);
        return;
    }
    if (known->plan != plan) begin(bridge, plan);
    if (now < known->due) return;
    for (size_t i = 0; i < known->count; i++)
        if (!known->sinks[i].asked) ask(bridge, &known->sinks[i]);
    known->due = now + known->wait;
    known->wait = known->wait * 2 < ASK_MAX ? known->wait * 2 : ASK_MAX;
}

static bool same_positions(const LoadJob *a, const LoadJob *b) {
    if (a->listed_count != b->listed_count) return false;
    for (size_t i = 0; i < a->listed_count; i++)
        if (a->listed[i].next != b->listed[i].next || partition_key_compare(&a->listed[i].key, &b->listed[i].key) != 0) return false;
    return true;
}

void known_back(Bridge *bridge, LoadJob *take_job) {
    LoadJob *job = take_job;
    BridgeKnown *known = &bridge->known;
    uint64_t number = *(uint64_t *)job->request.context;
    free(steal(job->request.context));
    for (size_t i = 0; i < known->count && number == known->number; i++) {
        BridgeKnownSink *of = &known->sinks[i];
        if (of->sink->number != job->sink) continue;
        of->asked = false;
        if (job->request.result != SINK_DONE) break; /* what it said last stays */
        if (!of->answer || !same_positions(of->answer, job)) {
            known->wait = ASK_FIRST;
            known->due = bridge_now(bridge) + ASK_FIRST;
            bridge->status_at = 0;
        }
        load_job_free(of->answer);
        of->answer = steal(job);
        break;
    }
    load_job_free(job);
}

/* ---- the status ------------------------------------------------------------------------------ */

typedef struct Place {
    const PartitionKey *key;
    size_t sink;
    int64_t position;
} Place;

/* The highest generation of a topic comes first. */
static int by_place(const void *a, const void *b) {
    const Place *x = a, *y = b;
    int order = strcmp(x->key->topic, y->key->topic);
    if (order == 0) order = (x->key->generation < y->key->generation) - (x->key->generation > y->key->generation);
    if (order == 0) order = (x->key->partition > y->key->partition) - (x->key->partition < y->key->partition);
    return order != 0 ? order : (x->sink > y->sink) - (x->sink < y->sink);
}

/* Of several clusters that the group was read from: the one that was read last, as far as is
 * known. */
static const char *cluster_of(const Bridge *bridge) {
    const BridgeKnown *known = &bridge->known;
    const char *last = NULL;
    for (size_t i = 0; i < known->count; i++) {
        const LoadJob *answer = known->sinks[i].answer;
        for (size_t k = 0; answer && k < answer->listed_count; k++) {
            last = answer->listed[k].key.cluster;
            if (bridge->last_cluster && strcmp(last, bridge->last_cluster) == 0) return last;
        }
    }
    return last;
}

static Place *find_places(const Bridge *bridge, size_t *ret_count) {
    const BridgeKnown *known = &bridge->known;
    const char *cluster = cluster_of(bridge);
    size_t count = 0, most = 0;
    for (size_t i = 0; i < known->count; i++) most += known->sinks[i].answer ? known->sinks[i].answer->listed_count : 0;
    Place *places = calloc(most + 1, sizeof *places);
    check(places);
    for (size_t i = 0; i < known->count; i++) {
        const LoadJob *answer = known->sinks[i].answer;
        for (size_t k = 0; answer && k < answer->listed_count; k++)
            if (strcmp(answer->listed[k].key.cluster, cluster) == 0)
                places[count++] = (Place){.key = &answer->listed[k].key, .sink = i, .position = answer->listed[k].next};
    }
    if (count > 1) qsort(places, count, sizeof *places, by_place);
    *ret_count = count;
    return places;
}

static BridgePartitionStatus *add_partition(const Bridge *bridge, const PartitionKey *key, BridgeStatus *status) {
    size_t sinks = bridge->known.count;
    BridgePartitionStatus *to = &status->known[status->known_count++];
    *to = (BridgePartitionStatus){.topic = arena_copy(&status->arena, span_of(key->topic)),
                                  .generation = key->generation,
                                  .partition = key->partition,
                                  .read = -1,
                                  .first = -1,
                                  .end = -1,
                                  .lag = -1,
                                  .lag_seconds = -1,
                                  .sinks = arena_alloc(&status->arena, (sinks + 1) * sizeof *to->sinks)};
    for (size_t i = 0; i < sinks; i++) to->sinks[i] = (BridgeSinkPosition){.next = -1, .position = -1};
    return to;
}

void known_put(const Bridge *bridge, BridgeStatus *status) {
    const BridgeKnown *known = &bridge->known;
    if (!known->plan || bridge->part_count > 0) return;
    status->sink_count = known->count;
    status->sinks = arena_alloc(&status->arena, (known->count + 1) * sizeof *status->sinks);
    for (size_t i = 0; i < known->count; i++) {
        const Sink *sink = known->sinks[i].sink;
        status->sinks[i] = (BridgeSinkStatus){.sink = sink->number, .name = arena_copy(&status->arena, span_of(sink->sink_id))};
    }
    size_t count;
    _cleanup_free_ Place *places = find_places(bridge, &count);
    status->known = arena_alloc(&status->arena, (count + 1) * sizeof *status->known);
    BridgePartitionStatus *last = NULL;
    for (size_t i = 0; i < count; i++) {
        const PartitionKey *key = places[i].key;
        bool same_topic = last && strcmp(last->topic, key->topic) == 0;
        if (same_topic && key->generation < last->generation) continue;
        if (!same_topic || key->partition != last->partition) last = add_partition(bridge, key, status);
        last->sinks[places[i].sink].position = places[i].position;
    }
}
