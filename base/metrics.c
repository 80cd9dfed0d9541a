#include "base/metrics.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"

typedef struct MetricInfo {
    const char *name;
    const char *help;
} MetricInfo;

static const MetricInfo infos[METRIC_COUNT_] = {
    [METRIC_REQUESTS] = {"sluice_requests_total", "Requests received, on all listeners."},
    [METRIC_REQUESTS_REFUSED] = {"sluice_requests_refused_total", "Requests answered with a 4xx status."},
    [METRIC_REQUESTS_OVERLOADED] = {"sluice_requests_overloaded_total", "Requests answered with 503 because a limit or the disk was full."},
    [METRIC_EVENTS_STORED] = {"sluice_events_stored_total", "Events made durable on the local disk."},
    [METRIC_EVENTS_REJECTED] = {"sluice_events_rejected_total", "Events that could not be mapped in any sink."},
    [METRIC_EVENTS_WITHOUT_SINK] = {"sluice_events_without_sink_total",
                                    "Events answered with 200 and discarded: their source has no enabled sink and has `discard: true`."},
    [METRIC_ROWS_LOST] = {"sluice_rows_lost_total",
                          "Rows, and events for rejects, that were answered with 202 and could not be committed."},
    [METRIC_CONNECTIONS_ACCEPTED] = {"sluice_connections_accepted_total", "Connections accepted."},
    [METRIC_CONNECTIONS_REFUSED] = {"sluice_connections_refused_total",
                                    "Connections answered with 503 at once because too many were open or the gateway was stopping."},
    [METRIC_CONNECTIONS_TIMED_OUT] = {"sluice_connections_timed_out_total", "Connections closed because the peer was too slow."},
    [METRIC_CONNECTIONS_EVICTED] = {"sluice_connections_evicted_total", "Silent or idle connections closed to make room for others."},
    [METRIC_COMMITS] = {"sluice_commits_total", "Commit groups written to the log."},
    [METRIC_COMMITTED_BYTES] = {"sluice_committed_bytes_total", "Bytes of the commit groups written to the log."},
    [METRIC_SLICES_STAGED] = {"sluice_slices_staged_total", "Slices written to staging files."},
    [METRIC_FILES_IMPORTED] = {"sluice_files_imported_total", "Files imported into their table."},
    [METRIC_IMPORT_FAILURES] = {"sluice_import_failures_total", "Imports that failed and are tried again."},
    [METRIC_ROWS_IMPORTED] = {"sluice_rows_imported_total", "Rows imported into tables."},
    [METRIC_ROWS_REJECTED] = {"sluice_rows_rejected_total", "Rows that a destination refused."},
    [METRIC_ROWS_SWALLOWED] = {"sluice_rows_swallowed_total", "Rows that were not stored by a trigger or rule of the table."},
    [METRIC_VALUES_LEFT_OUT] = {"sluice_values_left_out_total", "Values of columns that the table lacks and imports left out."},
    [METRIC_ORPHANS] = {"sluice_orphans_total", "Staging files found that the ledger does not know."},
    [METRIC_DAMAGED_RECORDS] = {"sluice_damaged_records_total", "Damaged records found in the local database."},
    [METRIC_COPIES_REMOVED_ROWS] = {"sluice_copies_removed_rows_total",
                                    "Rows in orphans and copies of expired files that were removed after their retention."},
    [METRIC_TEMPLATE_EVENTS] = {"sluice_template_events_total", "Events evaluated by templates."},
    [METRIC_TEMPLATE_FAILURES] = {"sluice_template_failures_total", "Events on which a template failed."},
    [METRIC_TEMPLATE_RESTARTS] = {"sluice_template_restarts_total", "Template workers that were started again."},
    [METRIC_LOG_LINES_DROPPED] = {"sluice_log_lines_dropped_total", "Log lines dropped because stderr was not read fast enough."},
    [METRIC_CLIENTS_ABANDONED] = {"sluice_clients_abandoned_total",
                                  "Clients of a broker that did not close in time; their memory was not freed."},
    [METRIC_BACKUP_FAILURES] = {"sluice_backup_failures_total", "Backups that failed."},
};

static const MetricFamilyInfo families[FAMILY_COUNT_] = {
    [FAMILY_IN_FLIGHT_BYTES] =
        {"sluice_in_flight_bytes", SCOPE_GATEWAY, "gauge", "Bytes of accepted requests that are not committed yet.", {0}},
    [FAMILY_UNFINISHED_BYTES] =
        {"sluice_unfinished_bytes", SCOPE_GATEWAY, "gauge", "Bytes of request bodies that are still arriving.", {0}},
    [FAMILY_CONNECTIONS] = {"sluice_connections", SCOPE_GATEWAY, "gauge", "Open connections of the intake.", {0}},
    [FAMILY_INTAKE_STOPPED] =
        {"sluice_intake_stopped", SCOPE_GATEWAY, "gauge", "1 while the disk budget is used up and no events are accepted.", {0}},
    [FAMILY_DATABASE_USED_BYTES] = {"sluice_database_used_bytes", SCOPE_GATEWAY, "gauge", "Bytes in use in the local database.", {0}},
    [FAMILY_DATABASE_LIMIT_BYTES] = {"sluice_database_limit_bytes", SCOPE_GATEWAY, "gauge", "Bytes that the local database can hold.", {0}},
    [FAMILY_SOURCES] = {"sluice_sources", SCOPE_GATEWAY, "gauge", "Sources that are not deleted.", {0}},
    [FAMILY_BACKUP_TIME] = {"sluice_backup_last_success_timestamp_seconds",
                            SCOPE_GATEWAY,
                            "gauge",
                            "Unix time at which the last backup since the start ended. 0: there was none.",
                            {0}},
    [FAMILY_BACKUP_DURATION] =
        {"sluice_backup_last_duration_milliseconds", SCOPE_GATEWAY, "gauge", "Duration of the last backup since the start.", {0}},
    [FAMILY_BACKUP_BYTES] = {"sluice_backup_last_bytes", SCOPE_GATEWAY, "gauge", "Bytes of the last backup since the start.", {0}},
    [FAMILY_CONNECTION_UP] = {"sluice_connection_up",
                              SCOPE_CONNECTION,
                              "gauge",
                              "0 while the last import could not reach the destination. Brokers do not have this series.",
                              {"connection"}},
    [FAMILY_CONNECTION_PAUSED] =
        {"sluice_connection_paused", SCOPE_CONNECTION, "gauge", "1 while the connection is paused.", {"connection"}},
    [FAMILY_SINK_ROWS] = {"sluice_sink_rows",
                          SCOPE_SINK,
                          "gauge",
                          "Rows that wait in the commit log (local) and in staging files (staging), and all that were imported (target).",
                          {"source", "sink", "level"}},
    [FAMILY_SINK_REJECTS] = {"sluice_sink_rejects_total",
                             SCOPE_SINK,
                             "counter",
                             "Events that the mapping refused (event), and rows that the destination refused (row), since the sink exists.",
                             {"source", "sink", "kind"}},
    [FAMILY_SINK_DROPPED_ROWS] = {"sluice_sink_dropped_rows_total",
                                  SCOPE_SINK,
                                  "counter",
                                  "Rows that were discarded, expired or damaged, since the sink exists.",
                                  {"source", "sink"}},
    [FAMILY_SINK_SKIPPED_EVENTS] = {"sluice_sink_skipped_events_total",
                                    SCOPE_SINK,
                                    "counter",
                                    "Events that the sink did not get while it was disabled, since the sink exists.",
                                    {"source", "sink"}},
    [FAMILY_SINK_EMPTY_EVENTS] =
        {"sluice_sink_empty_events_total",
         SCOPE_SINK,
         "counter",
         "Events that gave no row in the sink, because the array that it explodes was empty; since the sink exists.",
         {"source", "sink"}},
    [FAMILY_SINK_OLDEST_SECONDS] = {"sluice_sink_oldest_waiting_seconds",
                                    SCOPE_SINK,
                                    "gauge",
                                    "Age of the oldest waiting row; 0 when no row is waiting.",
                                    {"source", "sink"}},
    [FAMILY_SINK_FAILING] = {"sluice_sink_failing",
                             SCOPE_SINK,
                             "gauge",
                             "1 while its last import failed, its connection cannot be reached, or it is stopped.",
                             {"source", "sink"}},
    [FAMILY_SINK_PAUSED] = {"sluice_sink_paused", SCOPE_SINK, "gauge", "1 while imports of the sink are paused.", {"source", "sink"}},
    [FAMILY_BRIDGE_STATE] = {"sluice_bridge_state",
                             SCOPE_BRIDGE,
                             "gauge",
                             "1 for the present state of the source, 0 for the other states.",
                             {"source", "state"}},
    [FAMILY_BRIDGE_LAG_RECORDS] =
        {"sluice_bridge_lag_records",
         SCOPE_BRIDGE,
         "gauge",
         "Records of the partitions read by this gateway that are not imported by every sink yet. No series while unknown.",
         {"source"}},
    [FAMILY_BRIDGE_LAG_SECONDS] = {"sluice_bridge_lag_seconds",
                                   SCOPE_BRIDGE,
                                   "gauge",
                                   "Age of the record that was read last; 0 when all are read. No series while unknown.",
                                   {"source"}},
    [FAMILY_BRIDGE_PARTITIONS] = {"sluice_bridge_partitions", SCOPE_BRIDGE, "gauge", "Partitions that this gateway reads.", {"source"}},
    [FAMILY_BRIDGE_STOPPED_PARTITIONS] =
        {"sluice_bridge_stopped_partitions", SCOPE_BRIDGE, "gauge", "Partitions of this gateway that are stopped.", {"source"}},
    [FAMILY_BRIDGE_RECORDS] =
        {"sluice_bridge_records_total", SCOPE_BRIDGE, "counter", "Records read from the broker since the start.", {"source"}},
    [FAMILY_BRIDGE_BYTES] =
        {"sluice_bridge_bytes_total", SCOPE_BRIDGE, "counter", "Bytes of the records read from the broker since the start.", {"source"}},
    [FAMILY_BRIDGE_EXCEPTIONS] =
        {"sluice_bridge_exceptions_total",
         SCOPE_BRIDGE,
         "counter",
         "Records that were not mapped in the normal way, since the start: stored as rejects (poisoned), skipped by an admin (skipped), "
         "ignored because they had no value (tombstone), removed by the broker before they were read (lost).",
         {"source", "kind"}},
    [FAMILY_BRIDGE_REBALANCES] =
        {"sluice_bridge_rebalances_total", SCOPE_BRIDGE, "counter", "Assignments of partitions by the group since the start.", {"source"}},
};

/* Of one thread at a time. Never freed: the counts of a thread that ended stay, and the next new
 * thread counts on in its cells. */
typedef struct Cells Cells;
struct Cells {
    alignas(64) _Atomic uint64_t values[METRIC_COUNT_]; /* owner writes, any thread reads */
    Cells *next;                                        /* set before it is published */
    atomic_bool taken;
};

static _Atomic(Cells *) all_cells;
static _Thread_local Cells *own_cells;
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;

static void give_back(void *argument) {
    Cells *cells = argument;
    own_cells = NULL;
    atomic_store_explicit(&cells->taken, false, memory_order_release);
}

static void make_exit_key(void) {
    check(pthread_key_create(&exit_key, give_back) == 0);
}

static Cells *cells_take(void) {
    for (Cells *cells = atomic_load_explicit(&all_cells, memory_order_acquire); cells; cells = cells->next) {
        bool taken = false;
        if (atomic_compare_exchange_strong_explicit(&cells->taken, &taken, true, memory_order_acquire, memory_order_relaxed)) return cells;
    }

    Cells *cells = aligned_alloc(alignof(Cells), sizeof(Cells));
    if (!cells) bug_at(__FILE__, __LINE__, "out of memory");
    for (int i = 0; i < METRIC_COUNT_; i++) atomic_init(&cells->values[i], 0);
    atomic_init(&cells->taken, true);
    cells->next = atomic_load_explicit(&all_cells, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&all_cells, &cells->next, cells, memory_order_release, memory_order_relaxed)) {
    }
    return cells;
}

static __attribute__((noinline)) Cells *cells_register(void) {
    check(pthread_once(&exit_key_once, make_exit_key) == 0);
    own_cells = cells_take();
    check(pthread_setspecific(exit_key, own_cells) == 0);
    return own_cells;
}

void metrics_add(Metric metric, uint64_t amount) {
    Cells *cells = own_cells;
    if (__builtin_expect(!cells, 0)) cells = cells_register();
    check((unsigned)metric < METRIC_COUNT_);
    /* One writer: a load and a store do, no locked instruction. */
    _Atomic uint64_t *value = &cells->values[metric];
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + amount, memory_order_relaxed);
}

uint64_t metrics_read(Metric metric) {
    check((unsigned)metric < METRIC_COUNT_);
    uint64_t sum = 0;
    for (Cells *cells = atomic_load_explicit(&all_cells, memory_order_acquire); cells; cells = cells->next)
        sum += atomic_load_explicit(&cells->values[metric], memory_order_relaxed);
    return sum;
}

void metrics_format(Buffer *out) {
    for (int i = 0; i < METRIC_COUNT_; i++) {
        check(infos[i].name);
        buffer_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %lu\n", infos[i].name, infos[i].help, infos[i].name, infos[i].name,
                      metrics_read((Metric)i));
    }
}

/* ---- families -------------------------------------------------------------------------------- */

const MetricFamilyInfo *metrics_family(MetricFamily family) {
    check((unsigned)family < FAMILY_COUNT_ && families[family].name);
    return &families[family];
}

void metrics_begin(Buffer *out, MetricFamily family) {
    const MetricFamilyInfo *info = metrics_family(family);
    buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name, info->type);
}

static void put_label_value(Buffer *out, const char *value) {
    for (; *value; value++) {
        if (*value == '\n') {
            buffer_append_text(out, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\') buffer_append_byte(out, '\\');
        buffer_append_byte(out, *value);
    }
}

void metrics_put(Buffer *out, MetricFamily family, const char *const *labels, uint64_t value) {
    const MetricFamilyInfo *info = metrics_family(family);
    buffer_append_text(out, info->name);
    for (size_t i = 0; info->labels[i]; i++) {
        buffer_printf(out, "%c%s=\"", i == 0 ? '{' : ',', info->labels[i]);
        put_label_value(out, labels[i]);
        buffer_append_byte(out, '"');
    }
    buffer_printf(out, "%s %lu\n", info->labels[0] ? "}" : "", value);
}
