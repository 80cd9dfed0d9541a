/* GET /metrics: the counters of all threads, and series of what is there: the gateway, connections,
 * sinks. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/metrics.h"
#include "gateway/api/bridge_metrics.h"
#include "gateway/api/statistics.h"
#include "sinks/driver.h"

/* One sink, or the sum of those that have no series of their own. */
typedef struct Sample {
    Source *source; /* references; NULL: the sum */
    Sink *sink;
    uint64_t local, staging, target, rejected_events, rejected_rows, dropped, skipped, empty;
    uint64_t waiting_seconds; /* of the sum: the longest */
    uint64_t failing, paused; /* 0 or 1; of the sum: how many */
} Sample;

typedef struct Scrape {
    Survey survey;   /* first */
    Sample *samples; /* `own`, and one for the sum */
    size_t own;
    usec_t now; /* wall */
} Scrape;

/* ---- from the definitions and the writer ----------------------------------------------------- */

typedef struct MetricsSink {
    Source *source;
    Sink *sink;
} MetricsSink;

/* By number, as they were made: a new sink takes no series from an older one. */
static int compare_age(const void *a, const void *b) {
    uint32_t x = ((const MetricsSink *)a)->sink->number, y = ((const MetricsSink *)b)->sink->number;
    return (x > y) - (x < y);
}

static MetricsSink *find_sinks(const Registry *registry, size_t *ret_count) {
    MetricsSink *found = NULL;
    size_t count = 0, room = 0;
    for (size_t i = 0; i < registry->count; i++) {
        const RegistrySource *source = registry->sources[i];
        for (size_t k = 0; source->source->deleted == 0 && k < source->sink_count; k++) {
            if (source->sinks[k]->sink->deleted != 0) continue;
            array_reserve(found, count, room);
            found[count++] = (MetricsSink){.source = source->source, .sink = source->sinks[k]->sink};
        }
    }
    if (count > 1) qsort(found, count, sizeof *found, compare_age);
    *ret_count = count;
    return found;
}

static void add(Sample *sample, const SinkStatistics *statistics, usec_t now) {
    const SinkTotals *totals = &statistics->totals;
    uint64_t waiting = (uint64_t)(statistics_waiting(statistics, now) / USEC_SECOND);
    sample->local += statistics->local.rows;
    sample->staging += statistics->staging.rows;
    sample->target += totals->imported.rows;
    sample->rejected_events += totals->rejected_events;
    sample->rejected_rows += totals->rejected_rows;
    sample->dropped += totals->dropped_rows;
    sample->skipped += totals->skipped_events;
    sample->empty += totals->empty_events;
    sample->failing += statistics->failing || statistics->last_error[0];
    sample->paused += statistics->paused;
    if (waiting > sample->waiting_seconds) sample->waiting_seconds = waiting;
}

static void see(Survey *survey, size_t index, const SinkStatistics *statistics) {
    Scrape *scrape = (Scrape *)survey;
    add(&scrape->samples[index < scrape->own ? index : scrape->own], statistics, scrape->now);
}

/* ---- the text -------------------------------------------------------------------------------- */

static uint64_t value_of_gateway(const ControlView *view, MetricFamily family) {
    const Usage *usage = view->usage;
    uint64_t used = 0, limit = 0;
    switch (family) {
    case FAMILY_IN_FLIGHT_BYTES: return atomic_load(&usage->in_flight_bytes) + atomic_load(&usage->large_bytes);
    case FAMILY_UNFINISHED_BYTES: return atomic_load(&usage->unfinished_bytes);
    case FAMILY_CONNECTIONS: return atomic_load(&usage->connections);
    case FAMILY_INTAKE_STOPPED: return atomic_load(&usage->intake_stopped);
    case FAMILY_DATABASE_USED_BYTES:
    case FAMILY_DATABASE_LIMIT_BYTES:
        environment_usage(view->environment, &used, &limit);
        return family == FAMILY_DATABASE_USED_BYTES ? used : limit;
    case FAMILY_SOURCES: return registry_live_sources(view->registry);
    case FAMILY_BACKUP_TIME: return (uint64_t)(view->last_backup.at / USEC_SECOND);
    case FAMILY_BACKUP_DURATION: return (uint64_t)(view->last_backup.took / USEC_MS);
    case FAMILY_BACKUP_BYTES: return view->last_backup.bytes;
    default: unreachable();
    }
}

static void put_gateway(const ControlView *view, Buffer *out) {
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++) {
        if (metrics_family(family)->scope != SCOPE_GATEWAY) continue;
        metrics_begin(out, family);
        metrics_put(out, family, NULL, value_of_gateway(view, family));
    }
}

static uint64_t value_of_connection(const ConnectionStatistics *connection, MetricFamily family) {
    switch (family) {
    case FAMILY_CONNECTION_UP: return !connection->failing;
    case FAMILY_CONNECTION_PAUSED: return connection->paused;
    default: unreachable();
    }
}

/* Nothing is imported into a connection that serves sources only: whether it is up is not known
 * here. */
static bool connection_has(const Connection *connection, MetricFamily family) {
    return family != FAMILY_CONNECTION_UP || sink_driver_of(connection->type);
}

static void put_connections(const ControlView *view, const Survey *survey, Buffer *out) {
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++) {
        if (metrics_family(family)->scope != SCOPE_CONNECTION) continue;
        metrics_begin(out, family);
        for (size_t i = 0; i < survey->connection_count; i++)
            if (connection_has(survey->listed[i], family))
                metrics_put(out, family, &survey->connections[i].name, value_of_connection(&survey->connections[i], family));
    }
}

static void put_sample(Buffer *out, MetricFamily family, const Sample *sample) {
    const char *labels[METRIC_LABELS_MAX] = {sample->source ? sample->source->source_id : METRICS_OTHER,
                                             sample->sink ? sample->sink->sink_id : METRICS_OTHER};
    const char *third[] = {NULL, NULL, NULL};
    uint64_t values[3] = {0};
    switch (family) {
    case FAMILY_SINK_ROWS:
        third[0] = "local", third[1] = "staging", third[2] = "target";
        values[0] = sample->local, values[1] = sample->staging, values[2] = sample->target;
        break;
    case FAMILY_SINK_REJECTS:
        third[0] = "event", third[1] = "row";
        values[0] = sample->rejected_events, values[1] = sample->rejected_rows;
        break;
    case FAMILY_SINK_DROPPED_ROWS: values[0] = sample->dropped; break;
    case FAMILY_SINK_SKIPPED_EVENTS: values[0] = sample->skipped; break;
    case FAMILY_SINK_EMPTY_EVENTS: values[0] = sample->empty; break;
    case FAMILY_SINK_OLDEST_SECONDS: values[0] = sample->waiting_seconds; break;
    case FAMILY_SINK_FAILING: values[0] = sample->failing; break;
    case FAMILY_SINK_PAUSED: values[0] = sample->paused; break;
    default: unreachable();
    }
    for (size_t i = 0; i < 3 && (i == 0 || third[i]); i++) {
        labels[2] = third[i];
        metrics_put(out, family, labels, values[i]);
    }
}

static void put_sinks(const Scrape *scrape, Buffer *out) {
    size_t count = scrape->own + (scrape->survey.count > scrape->own);
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++) {
        if (metrics_family(family)->scope != SCOPE_SINK) continue;
        metrics_begin(out, family);
        for (size_t i = 0; i < count; i++) put_sample(out, family, &scrape->samples[i]);
    }
}

/* ---- the call -------------------------------------------------------------------------------- */

static void end(Control *control, Survey *survey, bool complete) {
    ApiCall *call = steal(survey->pending.call);
    metrics_format(&call->response);
    put_gateway(control_view(control), &call->response);
    bridge_metrics_put(control, &call->response);
    if (complete) {
        put_connections(control_view(control), survey, &call->response);
        put_sinks((Scrape *)survey, &call->response);
    }
    call->status = 200;
    call->content_type = "text/plain; version=0.0.4; charset=utf-8";
    mailbox_post(call->reply, &call->message);
}

static void drop(Survey *survey) {
    Scrape *scrape = (Scrape *)survey;
    for (size_t i = 0; i < scrape->own; i++) {
        source_unref(scrape->samples[i].source);
        sink_unref(scrape->samples[i].sink);
    }
    free(scrape->samples);
}

void api_metrics(ApiRequest *request) {
    const ControlView *view = request->view;
    Scrape *scrape = survey_new(sizeof *scrape, see, end, drop);
    Survey *survey = &scrape->survey;
    scrape->now = view->clock->wall(view->clock);
    _cleanup_free_ MetricsSink *sinks = find_sinks(view->registry, &survey->count);
    size_t most = view->options->metrics_sinks;
    scrape->own = survey->count < most ? survey->count : most;
    scrape->samples = calloc(scrape->own + 1, sizeof *scrape->samples);
    survey->sinks = calloc(survey->count + 1, sizeof *survey->sinks);
    check(scrape->samples && survey->sinks);
    for (size_t i = 0; i < survey->count; i++) {
        survey->sinks[i] = sinks[i].sink->number;
        if (i >= scrape->own) continue;
        scrape->samples[i].source = source_ref(sinks[i].source);
        scrape->samples[i].sink = sink_ref(sinks[i].sink);
    }
    survey_all_connections(view, survey);
    survey_start(request, survey);
}
