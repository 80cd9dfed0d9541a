#include "gateway/flow/usage.h"

#include <stdlib.h>

#include "base/error.h"

SinkGate *sink_gate_new(void) {
    SinkGate *gate = calloc(1, sizeof *gate);
    check(gate);
    atomic_init(&gate->references, 1);
    gate->defaults = default_counts_new();
    return gate;
}

SinkGate *sink_gate_ref(SinkGate *gate) {
    unsigned before = atomic_fetch_add_explicit(&gate->references, 1, memory_order_relaxed);
    check(before > 0);
    return gate;
}

void sink_gate_unref(SinkGate *gate) {
    if (!gate) return;
    unsigned before = atomic_fetch_sub_explicit(&gate->references, 1, memory_order_acq_rel);
    check(before > 0);
    if (before > 1) return;
    default_counts_free(gate->defaults);
    free(gate);
}

SourceUsage *source_usage_new(void) {
    SourceUsage *source = calloc(1, sizeof *source);
    check(source);
    atomic_init(&source->references, 1);
    return source;
}

SourceUsage *source_usage_ref(SourceUsage *source) {
    unsigned before = atomic_fetch_add_explicit(&source->references, 1, memory_order_relaxed);
    check(before > 0);
    return source;
}

void source_usage_unref(SourceUsage *source) {
    if (!source) return;
    unsigned before = atomic_fetch_sub_explicit(&source->references, 1, memory_order_acq_rel);
    check(before > 0);
    if (before == 1) free(source);
}

#define SHARE_FACTOR 4 /* of what is free, for one source */
#define LARGE_PART 8   /* a claim that grows beyond this part of the limit may become the large one */

static bool admit_shared(Usage *usage, SourceUsage *source, uint64_t bytes) {
    const uint64_t limit = usage->in_flight_limit;
    uint64_t own = atomic_load_explicit(&source->in_flight_bytes, memory_order_relaxed);
    uint_fast64_t in_flight = atomic_load_explicit(&usage->in_flight_bytes, memory_order_relaxed);
    do {
        uint64_t free_bytes = in_flight < limit ? limit - in_flight : 0;
        if (bytes > free_bytes || own + bytes > SHARE_FACTOR * free_bytes) return false;
    } while (!atomic_compare_exchange_weak_explicit(&usage->in_flight_bytes, &in_flight, in_flight + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    (void)atomic_fetch_add_explicit(&source->in_flight_bytes, bytes, memory_order_relaxed);
    return true;
}

static void release_shared(Usage *usage, SourceUsage *source, uint64_t bytes) {
    uint_fast64_t before = atomic_fetch_sub_explicit(&usage->in_flight_bytes, bytes, memory_order_relaxed);
    check(before >= bytes);
    before = atomic_fetch_sub_explicit(&source->in_flight_bytes, bytes, memory_order_relaxed);
    check(before >= bytes);
}

static bool become_large(Usage *usage, SourceUsage *source, UsageClaim *claim, uint64_t bytes) {
    bool grown = claim->bytes > 0 && bytes > usage->in_flight_limit / LARGE_PART;
    uint_fast64_t none = 0;
    if (!grown && bytes <= usage->in_flight_limit) return false;
    if (!atomic_compare_exchange_strong_explicit(&usage->large_bytes, &none, bytes, memory_order_relaxed, memory_order_relaxed))
        return false;
    if (claim->bytes > 0) release_shared(usage, source, claim->bytes);
    *claim = (UsageClaim){.bytes = bytes, .large = true};
    return true;
}

static void give_back(Usage *usage, SourceUsage *source, UsageClaim *claim, uint64_t bytes) {
    if (claim->large) {
        uint_fast64_t before = atomic_fetch_sub_explicit(&usage->large_bytes, bytes, memory_order_relaxed);
        check(before == claim->bytes);
    } else if (bytes > 0) {
        release_shared(usage, source, bytes);
    }
    claim->bytes -= bytes;
    claim->large = claim->large && claim->bytes > 0; /* without a byte another one may be it */
}

bool usage_resize(Usage *usage, SourceUsage *source, UsageClaim *claim, uint64_t bytes) {
    if (bytes <= claim->bytes) {
        give_back(usage, source, claim, claim->bytes - bytes);
        return true;
    }
    if (claim->large)
        (void)atomic_fetch_add_explicit(&usage->large_bytes, bytes - claim->bytes, memory_order_relaxed);
    else if (!admit_shared(usage, source, bytes - claim->bytes))
        return become_large(usage, source, claim, bytes);
    claim->bytes = bytes;
    return true;
}

void usage_release(Usage *usage, SourceUsage *source, UsageClaim *claim) {
    give_back(usage, source, claim, claim->bytes);
}
