#include "gateway/api/bridge_metrics.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/metrics.h"
#include "config/source_bridge.h"
#include "gateway/api/bridge_json.h"

#define STATES (BRIDGE_FINISHED + 1)
#define VALUES_MAX STATES

/* One source, or the sum of those that have no series of their own. */
typedef struct BridgeSample {
    const char *source; /* its id */
    uint64_t states[STATES];
    BridgeLag lag; /* as far as it is known */
    bool has_records, has_seconds;
    uint64_t partitions, stopped_partitions, records, bytes, poisoned, skipped, tombstones, lost, rebalances;
} BridgeSample;

static int compare_age(const void *a, const void *b) {
    uint32_t x = (*(const Source *const *)a)->number, y = (*(const Source *const *)b)->number;
    return (x > y) - (x < y);
}

static const Source **find_bridges(const Registry *registry, size_t *ret_count) {
    const Source **found = NULL;
    size_t count = 0, room = 0;
    for (size_t i = 0; i < registry->count; i++) {
        const Source *source = registry->sources[i]->source;
        if (source->deleted != 0 || !source->kind->bridge) continue;
        array_reserve(found, count, room);
        found[count++] = source;
    }
    if (count > 1) qsort(found, count, sizeof *found, compare_age);
    *ret_count = count;
    return found;
}

static void add_lag(BridgeSample *sample, const BridgeStatus *status) {
    BridgeLag lag = bridge_lag(status);
    if (lag.records >= 0) {
        sample->has_records = true;
        sample->lag.records += lag.records;
    }
    if (lag.seconds >= 0) {
        sample->has_seconds = true;
        if (lag.seconds > sample->lag.seconds) sample->lag.seconds = lag.seconds;
    }
}

static void add(BridgeSample *sample, const Source *source, const BridgeStatus *status) {
    sample->states[bridge_state_of(source, status)]++;
    add_lag(sample, status);
    if (!status) return;
    for (size_t i = 0; i < status->partition_count; i++) sample->stopped_partitions += status->partitions[i].stopped != NULL;
    sample->partitions += status->partition_count;
    sample->records += status->records;
    sample->bytes += status->bytes;
    sample->poisoned += status->poisoned;
    sample->skipped += status->skipped;
    sample->tombstones += status->tombstones;
    sample->lost += status->lost;
    sample->rebalances += status->rebalances;
}

/* The values of a family, and what divides them; none: it has no series now. */
typedef struct Values {
    size_t count;
    uint64_t numbers[VALUES_MAX];
    const char *labels[VALUES_MAX]; /* NULL: it has no second label */
} Values;

static void put_value(Values *values, const char *label, uint64_t number) {
    check(values->count < VALUES_MAX);
    values->labels[values->count] = label;
    values->numbers[values->count++] = number;
}

static void set_values(Values *values, MetricFamily family, const BridgeSample *sample) {
    switch (family) {
    case FAMILY_BRIDGE_STATE:
        for (BridgeState state = 0; state < STATES; state++) put_value(values, bridge_state_name(state), sample->states[state]);
        return;
    case FAMILY_BRIDGE_LAG_RECORDS:
        if (sample->has_records) put_value(values, NULL, (uint64_t)sample->lag.records);
        return;
    case FAMILY_BRIDGE_LAG_SECONDS:
        if (sample->has_seconds) put_value(values, NULL, (uint64_t)sample->lag.seconds);
        return;
    case FAMILY_BRIDGE_PARTITIONS: put_value(values, NULL, sample->partitions); return;
    case FAMILY_BRIDGE_STOPPED_PARTITIONS: put_value(values, NULL, sample->stopped_partitions); return;
    case FAMILY_BRIDGE_RECORDS: put_value(values, NULL, sample->records); return;
    case FAMILY_BRIDGE_BYTES: put_value(values, NULL, sample->bytes); return;
    case FAMILY_BRIDGE_EXCEPTIONS:
        put_value(values, "poisoned", sample->poisoned);
        put_value(values, "skipped", sample->skipped);
        put_value(values, "tombstone", sample->tombstones);
        put_value(values, "lost", sample->lost);
        return;
    case FAMILY_BRIDGE_REBALANCES: put_value(values, NULL, sample->rebalances); return;
    default: unreachable();
    }
}

static void put_family(Buffer *out, MetricFamily family, const BridgeSample *samples, size_t count) {
    metrics_begin(out, family);
    for (size_t i = 0; i < count; i++) {
        Values values = {0};
        set_values(&values, family, &samples[i]);
        for (size_t k = 0; k < values.count; k++)
            metrics_put(out, family, (const char *const[]){samples[i].source, values.labels[k]}, values.numbers[k]);
    }
}

void bridge_metrics_put(const Control *control, Buffer *out) {
    const ControlView *view = control_view(control);
    size_t count, most = view->options->metrics_sinks;
    _cleanup_free_ const Source **sources = find_bridges(view->registry, &count);
    size_t own = count < most ? count : most;
    _cleanup_free_ BridgeSample *samples = calloc(own + 1, sizeof *samples);
    check(samples);
    samples[own].source = METRICS_OTHER;
    for (size_t i = 0; i < count; i++) {
        BridgeSample *sample = &samples[i < own ? i : own];
        if (i < own) sample->source = sources[i]->source_id;
        BridgeStatus *status = control_bridge_status(control, sources[i]);
        add(sample, sources[i], status);
        bridge_status_unref(status);
    }
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++)
        if (metrics_family(family)->scope == SCOPE_BRIDGE) put_family(out, family, samples, own + (count > own));
}
