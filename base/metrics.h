/*
 * Counters, one cell a thread and metric, summed when read: counting never contends. Metrics are one table in metrics.c
 * (name in Prometheus style, type, one-sentence help).
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
    METRIC_ORPHANS,
    METRIC_DAMAGED_RECORDS,
    METRIC_COPIES_REMOVED_ROWS,
    METRIC_TEMPLATE_EVENTS,
    METRIC_TEMPLATE_FAILURES,
    METRIC_TEMPLATE_RESTARTS,
    METRIC_LOG_LINES_DROPPED,
    METRIC_COUNT_
} Metric;

void metrics_add(Metric metric, uint64_t amount); /* any thread; wait-free */
uint64_t metrics_read(Metric metric);             /* sum over all threads that ever counted */
void metrics_format(Buffer *out);                 /* Prometheus text exposition format 0.0.4 */
