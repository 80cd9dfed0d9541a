#include "gateway/flow/usage.h"

#include <stdlib.h>

#include "base/error.h"

SinkGate *sink_gate_new(void) {
    SinkGate *gate = calloc(1, sizeof *gate);
    check(gate);
    atomic_init(&gate->references, 1);
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
    if (before == 1) free(gate);
}

bool usage_admit(Usage *usage, uint64_t bytes) {
    uint_fast64_t in_flight = atomic_load_explicit(&usage->in_flight_bytes, memory_order_relaxed);
    do {
        bool fits = bytes <= usage->in_flight_limit && in_flight <= usage->in_flight_limit - bytes;
        if (!fits && in_flight > 0) return false;
    } while (!atomic_compare_exchange_weak_explicit(&usage->in_flight_bytes, &in_flight, in_flight + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void usage_release(Usage *usage, uint64_t bytes) {
    uint_fast64_t before = atomic_fetch_sub_explicit(&usage->in_flight_bytes, bytes, memory_order_relaxed);
    check(before >= bytes);
}
