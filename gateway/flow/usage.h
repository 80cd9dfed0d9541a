/*
 * The shared counters that say how full the gateway is. They are atomics. The writer sets the
 * values of the disk; loops add and subtract the bytes in flight. Everything that a peer can make
 * grow is counted here or in the loop's own budgets.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "gateway/flow/default_counts.h"

#define USAGE_ADDRESS_SLOTS 4096
#define USAGE_RANKS 3
#define USAGE_LOOPS_MAX 64 /* as many as the option threads allows */

typedef struct Usage {
    /* loops */
    atomic_uint_fast64_t in_flight_bytes;  /* shared by all sources: bytes of rows that are not committed, and of requests that wait */
    atomic_uint_fast64_t large_bytes;      /* bytes of the one large request that is in flight in addition; 0: there is none */
    atomic_uint_fast64_t unfinished_bytes; /* bytes of request bodies that are still arriving, in all loops */
    atomic_uint_fast64_t waiting_bytes;    /* part of unfinished_bytes: complete bodies that are being mapped, or wait for it */
    atomic_uint connections;               /* open, all loops */
    atomic_uint loops;                     /* number of loops that share this; each has an index */
    /* boot time at which the connection that goes first was heard last, by rank and loop; 0: none
     * (gateway/http/places.c) */
    atomic_int_fast64_t first_heard[USAGE_RANKS][USAGE_LOOPS_MAX];
    atomic_uint connections_of[USAGE_ADDRESS_SLOTS]; /* by hash of the peer's address, all loops */
    atomic_int_fast64_t turn_longest; /* processor time of the longest turn of a loop while it had a long request; 0: none yet */
    /* writer */
    atomic_bool intake_stopped;     /* the disk budget is reached: 503 for all */
    atomic_bool broken;             /* the writer cannot write: 503 for all until the process ends */
    atomic_int_fast64_t running;    /* running time (storage/totals.h) at the writer's last step, an hour old at most */
    atomic_int_fast64_t busy_since; /* boot: when the writer's last commit ended, or its step began; 0: it has nothing to do */
    /* limits, set before the threads start */
    uint64_t in_flight_limit, unfinished_limit;
    unsigned connections_limit;
    usec_t stall_limit; /* of busy_since; 0: none */
} Usage;

/* The shared data of a sink while this process runs: its share of the disk. The writer closes and
 * opens it, and loops read it. Reference counted, any thread. */
typedef struct SinkGate {
    atomic_uint references;
    atomic_bool closed;
    DefaultCounts *defaults; /* of its columns */
} SinkGate;

SinkGate *sink_gate_new(void);
SinkGate *sink_gate_ref(SinkGate *gate);
void sink_gate_unref(SinkGate *gate); /* NULL-safe */

/* The running time, from which the ages of all retained things count. */
static inline usec_t usage_running(const Usage *usage) {
    return atomic_load(&usage->running);
}

/* Has the writer had work for longer than the limit, without finishing a commit? Then its disk
 * hangs, and new requests are refused. `now`: boot time. */
static inline bool usage_is_stalled(const Usage *usage, usec_t now) {
    usec_t since = atomic_load_explicit(&usage->busy_since, memory_order_relaxed);
    return usage->stall_limit > 0 && since > 0 && now - since > usage->stall_limit;
}

/* The usage of one source, shared by all loops and all generations of the source. Reference
 * counted, any thread. */
typedef struct SourceUsage {
    atomic_uint references;
    _Atomic int64_t rate_full_at;         /* token bucket of HttpSource.rate_events: boot time (usec) at which it is full again */
    atomic_uint_fast64_t in_flight_bytes; /* its part of Usage.in_flight_bytes */
} SourceUsage;

SourceUsage *source_usage_new(void);
SourceUsage *source_usage_ref(SourceUsage *source);
void source_usage_unref(SourceUsage *source); /* NULL-safe */

/*
 * Sources share the bytes in flight fairly: a source may have at most four times as much in flight
 * as is still free. One busy source leaves a fifth, and n busy sources leave one part in 4 n + 1.
 * So there is always some room for small requests of the others.
 *
 * So that no valid request is refused for ever, one request at a time may be large. It is a request
 * that would not fit alone, or one that has grown to a large part of the limit when there is no
 * more room. It is not counted in the shared bytes.
 */
typedef struct UsageClaim {
    uint64_t bytes;
    bool large;
} UsageClaim;

/* Sets the size of a claim to `bytes` (all-zero: a new claim). It may always decrease. Returns
 * false if there is no room to increase; then it is unchanged. Things that belong together need one
 * claim: with two claims, the first one could use the room that the second one needs, for ever. */
bool usage_resize(Usage *usage, SourceUsage *source, UsageClaim *claim, uint64_t bytes);
void usage_release(Usage *usage, SourceUsage *source, UsageClaim *claim); /* leaves it all-zero */
