/*
 * What is shared and changes: how full the gateway is. Atomics only; the writer sets what the disk
 * tells, loops add and take what is in flight. Everything that a peer can make grow is counted here
 * or in the loop's own budgets.
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
    atomic_uint_fast64_t in_flight_bytes;  /* shared by all sources: of rows that are not committed, and of requests that wait */
    atomic_uint_fast64_t large_bytes;      /* of the one large request that is in flight beside them; 0: there is none */
    atomic_uint_fast64_t unfinished_bytes; /* of request bodies that are still arriving, all loops */
    atomic_uint_fast64_t waiting_bytes;    /* of those in unfinished_bytes: whole bodies that are being mapped, or wait for it */
    atomic_uint connections;               /* open, all loops */
    atomic_uint loops;                     /* that share this, each with an index */
    /* boot time at which the connection that goes first was heard last, by rank and loop; 0: none
     * (gateway/http/places.c) */
    atomic_int_fast64_t first_heard[USAGE_RANKS][USAGE_LOOPS_MAX];
    atomic_uint connections_of[USAGE_ADDRESS_SLOTS]; /* by hash of the peer's address, all loops */
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

/* What is shared of a sink while this process runs: its share of the disk, which the writer closes
 * and opens, and loops look at. Reference counted, any thread. */
typedef struct SinkGate {
    atomic_uint references;
    atomic_bool closed;
    DefaultCounts *defaults; /* of its columns */
} SinkGate;

SinkGate *sink_gate_new(void);
SinkGate *sink_gate_ref(SinkGate *gate);
void sink_gate_unref(SinkGate *gate); /* NULL-safe */

/* The running time: what ages of things that are removed some day count from. */
static inline usec_t usage_running(const Usage *usage) {
    return atomic_load(&usage->running);
}

/* Has the writer, since the boot time `now` less the limit, had work and finished no commit? Then
 * its disk hangs, and new requests are refused. */
static inline bool usage_is_stalled(const Usage *usage, usec_t now) {
    usec_t since = atomic_load_explicit(&usage->busy_since, memory_order_relaxed);
    return usage->stall_limit > 0 && since > 0 && now - since > usage->stall_limit;
}

/* What one source uses, shared by all loops and all generations of the source. Reference counted,
 * any thread. */
typedef struct SourceUsage {
    atomic_uint references;
    _Atomic int64_t rate_full_at;         /* token bucket of HttpSource.rate_events: boot time (usec) at which it is full again */
    atomic_uint_fast64_t in_flight_bytes; /* its part of Usage.in_flight_bytes */
} SourceUsage;

SourceUsage *source_usage_new(void);
SourceUsage *source_usage_ref(SourceUsage *source);
void source_usage_unref(SourceUsage *source); /* NULL-safe */

/*
 * Bytes in flight are shared by source: a source may have at most four times as much in flight as
 * is still free. One busy source leaves a fifth, n of them leave one part in 4 n + 1: something is
 * always left for the small requests of the others.
 *
 * So that no legal request is refused for ever, one at a time may be large: one that would not fit
 * alone, or one that has grown to a good part of the limit when there is no more room. It is not
 * counted among the shared bytes.
 */
typedef struct UsageClaim {
    uint64_t bytes;
    bool large;
} UsageClaim;

/* Makes the claim `bytes` large (all-zero: a new one). It may always become smaller; false: there
 * is no room to grow, and it is as before. What belongs together is one claim: of two, the first
 * may take the room that the second needs, for ever. */
bool usage_resize(Usage *usage, SourceUsage *source, UsageClaim *claim, uint64_t bytes);
void usage_release(Usage *usage, SourceUsage *source, UsageClaim *claim); /* leaves it all-zero */
