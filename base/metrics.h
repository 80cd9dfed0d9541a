/*
 * Metrics of two kinds. Counters have one cell per thread and metric, which are summed when they
 * are read, so counting threads never wait for each other. Families have series, with or without
 * labels, whose values are read from the existing objects when somebody asks. A series ends when
 * its object ends. Both kinds are tables in metrics.c (name in Prometheus style, type, labels, one
 * sentence of help).
 */
#pragma once

#include <stdint.h>

#include "base/buffer.h"

typedef enum Metric {
    METRIC_REQUESTS,
    METRIC_REQUESTS_REFUSED,
    METRIC_REQUESTS_OVERLOADED,
    METRIC_EVENTS_STORED,
    METRIC_EVENTS_REJECTED,
    METRIC_EVENTS_WITHOUT_SINK,
    METRIC_ROWS_LOST,
    METRIC_CONNECTIONS_ACCEPTED,
    METRIC_CONNECTIONS_REFUSED,
    METRIC_CONNECTIONS_TIMED_OUT,
    METRIC_CONNECTIONS_EVICTED,
    METRIC_COMMITS,
    METRIC_COMMITTED_BYTES,
    METRIC_SLICES_STAGED,
    METRIC_FILES_IMPORTED,
    METRIC_IMPORT_FAILURES,
    METRIC_ROWS_IMPORTED,
    METRIC_ROWS_REJECTED,
    METRIC_ROWS_SWALLOWED,
    METRIC_VALUES_LEFT_OUT,
    METRIC_ORPHANS,
    METRIC_DAMAGED_RECORDS,
    METRIC_COPIES_REMOVED_ROWS,
    METRIC_TEMPLATE_EVENTS,
    METRIC_TEMPLATE_FAILURES,
    METRIC_TEMPLATE_RESTARTS,
    METRIC_LOG_LINES_DROPPED,
    METRIC_CLIENTS_ABANDONED,
    METRIC_BACKUP_FAILURES,
    METRIC_COUNT_
} Metric;

void metrics_add(Metric metric, uint64_t amount); /* any thread; never waits */
uint64_t metrics_read(Metric metric);             /* the sum of all threads, also of ended ones */
void metrics_format(Buffer *out);                 /* Prometheus text exposition format 0.0.4: all counters */

typedef enum MetricFamily {
    FAMILY_IN_FLIGHT_BYTES,
    FAMILY_UNFINISHED_BYTES,
    FAMILY_CONNECTIONS,
    FAMILY_INTAKE_STOPPED,
    FAMILY_DATABASE_USED_BYTES,
    FAMILY_DATABASE_LIMIT_BYTES,
    FAMILY_SOURCES,
    FAMILY_BACKUP_TIME,
    FAMILY_BACKUP_DURATION,
    FAMILY_BACKUP_BYTES,
    FAMILY_CONNECTION_UP,
    FAMILY_CONNECTION_PAUSED,
    FAMILY_SINK_ROWS,
    FAMILY_SINK_REJECTS,
    FAMILY_SINK_DROPPED_ROWS,
    FAMILY_SINK_SKIPPED_EVENTS,
    FAMILY_SINK_EMPTY_EVENTS,
    FAMILY_SINK_OLDEST_SECONDS,
    FAMILY_SINK_FAILING,
    FAMILY_SINK_PAUSED,
    FAMILY_BRIDGE_STATE,
    FAMILY_BRIDGE_LAG_RECORDS,
    FAMILY_BRIDGE_LAG_SECONDS,
    FAMILY_BRIDGE_PARTITIONS,
    FAMILY_BRIDGE_STOPPED_PARTITIONS,
    FAMILY_BRIDGE_RECORDS,
    FAMILY_BRIDGE_BYTES,
    FAMILY_BRIDGE_EXCEPTIONS,
    FAMILY_BRIDGE_REBALANCES,
    FAMILY_COUNT_
} MetricFamily;

/* What the series of a family are about. The first labels follow from it. */
typedef enum MetricScope {
    SCOPE_GATEWAY = 1, /* one series, without labels */
    SCOPE_CONNECTION,  /* labels: connection */
    SCOPE_SINK,        /* labels: source, sink, and for some families one more */
    SCOPE_BRIDGE,      /* for sources that read a broker; labels: source, and for some families one more */
} MetricScope;

#define METRIC_LABELS_MAX 3

typedef struct MetricFamilyInfo {
    const char *name;
    MetricScope scope;
    const char *type; /* "gauge" or "counter" */
    const char *help;
    const char *labels[METRIC_LABELS_MAX + 1]; /* names; NULL ends them */
} MetricFamilyInfo;

const MetricFamilyInfo *metrics_family(MetricFamily family); /* static */
/* Writes the HELP and TYPE lines. All series of the family must follow before the next family
 * begins. */
void metrics_begin(Buffer *out, MetricFamily family);
/* Writes one series. `labels` has a value for each label of the family, in order, any UTF-8. NULL
 * if the family has no labels. */
void metrics_put(Buffer *out, MetricFamily family, const char *const *labels, uint64_t value);
