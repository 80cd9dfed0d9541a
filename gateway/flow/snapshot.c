#include "gateway/flow/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/keyed_hash.h"
#include "gateway/flow/messages.h"

typedef struct Slot {
    uint64_t hash;          /* of the id */
    SnapshotSource *source; /* NULL: free */
} Slot;

struct Snapshot {
    SnapshotGone gone; /* first: the message is the memory of the whole */
    atomic_uint references;
    uint64_t generation;
    Mailbox *mailbox;
    Slot *slots;       /* open addressing, at most half full */
    size_t slot_count; /* a power of two */
};

/* Those of the sink with that number (a reference), or NULL. */
static Discoveries *same_discoveries(const SnapshotSource *previous, uint32_t sink) {
    size_t count = previous && previous->infers ? plan_sink_count(previous->plan) : 0;
    for (size_t i = 0; i < count; i++)
        if (previous->discoveries[i] && discoveries_sink(previous->discoveries[i]) == sink)
            return discoveries_ref(previous->discoveries[i]);
    return NULL;
}

SnapshotSource *snapshot_source_new(Source *source, Plan *plan, SinkGate *const *gates, const bool *sync_wait, const uint32_t *skipped,
                                    size_t skipped_count, const SnapshotSource *previous) {
    size_t count = plan ? plan_sink_count(plan) : 0;
    SnapshotSource *made = calloc(1, sizeof *made);
    check(made);
    made->gates = calloc(count + 1, sizeof *made->gates);
    made->sync_wait = calloc(count + 1, sizeof *made->sync_wait);
    made->skipped = calloc(skipped_count + 1, sizeof *made->skipped);
    check(made->gates && made->sync_wait && made->skipped);
    atomic_init(&made->references, 1);
    made->source = source_ref(source);
    made->plan = plan ? plan_ref(plan) : NULL;
    made->skipped_count = skipped_count;
    if (skipped_count > 0) memcpy(made->skipped, skipped, skipped_count * sizeof *skipped);
    for (size_t i = 0; i < count; i++) {
        made->gates[i] = sink_gate_ref(gates[i]);
        made->sync_wait[i] = sync_wait[i];
        made->any_sync_wait = made->any_sync_wait || sync_wait[i];
    }
    made->tells = plan && plan_has_defaults(plan);
    made->usage = previous ? source_usage_ref(previous->usage) : source_usage_new();
    made->discoveries = calloc(count + 1, sizeof(Discoveries *));
    check(made->discoveries);
    for (size_t i = 0; i < count; i++) {
        const Sink *sink = plan_sink(plan, i);
        if (!sink->target.infer) continue;
        made->infers = made->tells = true;
        made->discoveries[i] = same_discoveries(previous, sink->number);
        if (!made->discoveries[i]) made->discoveries[i] = discoveries_new(sink->number);
    }
    return made;
}

static SnapshotSource *snapshot_source_ref(SnapshotSource *source) {
    unsigned before = atomic_fetch_add_explicit(&source->references, 1, memory_order_relaxed);
    check(before > 0);
    return source;
}

void snapshot_source_unref(SnapshotSource *source) {
    if (!source) return;
    unsigned before = atomic_fetch_sub_explicit(&source->references, 1, memory_order_acq_rel);
    check(before > 0);
    if (before > 1) return;
    size_t count = source->plan ? plan_sink_count(source->plan) : 0;
    for (size_t i = 0; i < count; i++) {
        sink_gate_unref(source->gates[i]);
        discoveries_unref(source->discoveries[i]);
    }
    free(source->discoveries);
    free(source->gates);
    free(source->sync_wait);
    free(source->skipped);
    if (source->plan) plan_unref(source->plan);
    source_unref(source->source);
    source_usage_unref(source->usage);
    free(source);
}

static uint64_t hash_of(Span id) {
    return keyed_hash(hash_key_of_process(), id.data, id.size);
}

Snapshot *snapshot_new(uint64_t generation, SnapshotSource *const *sources, size_t count, Mailbox *gone) {
    Snapshot *snapshot = calloc(1, sizeof *snapshot);
    check(snapshot);
    atomic_init(&snapshot->references, 1);
    snapshot->generation = generation;
    snapshot->mailbox = gone;
    snapshot->slot_count = 1;
    while (snapshot->slot_count < 2 * count + 1) snapshot->slot_count *= 2;
    snapshot->slots = calloc(snapshot->slot_count, sizeof *snapshot->slots);
    check(snapshot->slots);
    for (size_t i = 0; i < count; i++) {
        uint64_t hash = hash_of(span_of(sources[i]->source->source_id));
        size_t at = hash & (snapshot->slot_count - 1);
        while (snapshot->slots[at].source) at = (at + 1) & (snapshot->slot_count - 1);
        snapshot->slots[at] = (Slot){.hash = hash, .source = snapshot_source_ref(sources[i])};
    }
    return snapshot;
}

Snapshot *snapshot_ref(Snapshot *snapshot) {
    unsigned before = atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    check(before > 0);
    return snapshot;
}

void snapshot_unref(Snapshot *snapshot) {
    if (!snapshot) return;
    /* Acquire and release: what any holder did with this generation happens before the control
     * thread hears that it is gone. */
    unsigned before = atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel);
    check(before > 0);
    if (before > 1) return;
    for (size_t i = 0; i < snapshot->slot_count; i++) snapshot_source_unref(snapshot->slots[i].source);
    free(snapshot->slots);
    snapshot->slots = NULL;
    snapshot->gone.message.kind = MESSAGE_SNAPSHOT_GONE;
    snapshot->gone.generation = snapshot->generation;
    mailbox_post(snapshot->mailbox, &snapshot->gone.message);
}

void snapshot_discovered(const Snapshot *snapshot, const SnapshotSource *source, const MapDiscovery *found) {
    check(found->sink < plan_sink_count(source->plan));
    discoveries_add(source->discoveries[found->sink], found, snapshot->mailbox);
}

void snapshot_gone_free(SnapshotGone *message) {
    free(message); /* the first member of its snapshot */
}

uint64_t snapshot_generation(const Snapshot *snapshot) {
    return snapshot->generation;
}

SnapshotSource *snapshot_find(const Snapshot *snapshot, Span source_id) {
    uint64_t hash = hash_of(source_id);
    size_t at = hash & (snapshot->slot_count - 1);
    for (; snapshot->slots[at].source; at = (at + 1) & (snapshot->slot_count - 1)) {
        const Slot *slot = &snapshot->slots[at];
        if (slot->hash == hash && span_equal(span_of(slot->source->source->source_id), source_id)) return slot->source;
    }
    return NULL;
}

SnapshotSource *snapshot_next(const Snapshot *snapshot, size_t *at) {
    while (*at < snapshot->slot_count) {
        SnapshotSource *source = snapshot->slots[(*at)++].source;
        if (source) return source;
    }
    return NULL;
}
