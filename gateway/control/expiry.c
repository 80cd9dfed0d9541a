#include "gateway/control/expiry.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/log.h"
#include "config/source_bridge.h"
#include "gateway/control/change_parts.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"
#include "storage/catalog.h"

typedef struct Expiry {
    PendingRequest pending; /* first */
    uint32_t *sinks;        /* numbers of those that are over age, ascending */
    SinkStatistics *statistics;
    bool *cleared; /* nothing of it is left at its destination but its rows */
    size_t count;
    size_t at; /* the sink whose positions are removed */
} Expiry;

static void expiry_drop(PendingRequest *pending) {
    Expiry *expiry = (Expiry *)pending;
    free(expiry->sinks);
    free(expiry->statistics);
    free(expiry->cleared);
}

bool over_age(const Control *control, usec_t deleted, usec_t deleted_running) {
    return deleted != 0 && usage_running(control->options.usage) - deleted_running > DELETED_KEPT_FOR;
}

/* The tables that old rows of the sink went to: the writer's notes among the versions. */
static int remove_target(void *context, Span key, Span document, Error *error) {
    (void)document;
    (void)error;
    define_remove(context, CATALOG_VERSIONS, key);
    return 0;
}

static void erase_sink(Control *control, Define *define, const Source *source, const Sink *sink) {
    check(sink->deleted != 0);
    registry_erase_sink(define, source, sink);
    define_erase_sink(define, sink->number);
    char prefix[5] = {'t'};
    store_be32(prefix + 1, sink->number);
    Txn *txn;
    Error error = {0};
    int r = txn_begin_read(control->options.environment, &txn, &error);
    if (r == 0) {
        r = catalog_visit(txn, CATALOG_VERSIONS, (Span){.data = prefix, .size = sizeof prefix}, remove_target, define, &error);
        txn_abort(txn);
    }
    if (r < 0) log_failure(LOG_WARNING, "old tables of a deleted sink stay in the catalog", &error);
}

static int compare_numbers(const void *a, const void *b) {
    uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;
    return first < second ? -1 : first > second;
}

static const uint32_t *find_sink(const Expiry *expiry, const Sink *sink) {
    return bsearch(&sink->number, expiry->sinks, expiry->count, sizeof *expiry->sinks, compare_numbers);
}

static bool is_idle(const Expiry *expiry, const Sink *sink) {
    const uint32_t *found = find_sink(expiry, sink);
    if (!found) return false;
    const SinkStatistics *statistics = &expiry->statistics[found - expiry->sinks];
    return statistics->local.rows == 0 && statistics->staging.rows == 0;
}

/* ---- positions at destinations: a deleted sink of a bridge keeps them until it goes ---------- */

/* Of a connection that is not in the config file any more the names are compared. */
static bool same_positions(const Control *control, const Sink *a, const Sink *b) {
    bool is_known = connections_find(&control->options.options->list, a->target.connection);
    return is_known ? change_same_table(control, a, b) : sink_target_same_place(&a->target, &b->target);
}

/* Another sink goes on with them, or will remove them. */
static bool shares_positions(const Control *control, const Source *source, const Sink *sink) {
    uint32_t project = control->options.options->project;
    _cleanup_free_ char *group = source->kind->bridge->group(source, project);
    for (size_t i = 0; i < control->registry.count; i++) {
        const RegistrySource *other = control->registry.sources[i];
        if (!source_keeps_positions(other->source) || other->source->kind != source->kind) continue;
        _cleanup_free_ char *of_other = other->source->kind->bridge->group(other->source, project);
        if (strcmp(group, of_other) != 0) continue;
        for (size_t k = 0; k < other->sink_count; k++) {
            const Sink *found = other->sinks[k]->sink;
            bool goes_before = over_age(control, found->deleted, found->deleted_running) && found->number < sink->number;
            if (found->number != sink->number && !goes_before && same_positions(control, sink, found)) return true;
        }
    }
    return false;
}

/* The sink of that number, if it goes now. */
static const Sink *find_going(const Control *control, const Expiry *expiry, uint32_t number, const Source **ret_source) {
    for (size_t i = 0; i < control->registry.count; i++) {
        const RegistrySource *source = control->registry.sources[i];
        if (changes_are_pending(control, source->source->source_id)) continue;
        for (size_t k = 0; k < source->sink_count; k++) {
            const Sink *sink = source->sinks[k]->sink;
            if (sink->number != number || !over_age(control, sink->deleted, sink->deleted_running) || !is_idle(expiry, sink)) continue;
            *ret_source = source->source;
            return sink;
        }
    }
    return NULL;
}

/* The next positions that are to be removed; NULL: there are none any more. */
static LoadJob *next_positions(const Control *control, Expiry *expiry) {
    for (; expiry->at < expiry->count; expiry->at++) {
        const Source *source;
        const Sink *sink = find_going(control, expiry, expiry->sinks[expiry->at], &source);
        if (!sink) continue;
        expiry->cleared[expiry->at] = true;
        if (!source_keeps_positions(source) || shares_positions(control, source, sink)) continue;
        expiry->cleared[expiry->at] = false;
        _cleanup_free_ char *group = bridge_group(control, source, &sink->target), *label = NULL;
        check(asprintf(&label, "%s/%s", source->source_id, sink->sink_id) > 0);
        return remove_job_new(&sink->target, label, sink->number, group, control->mailbox, expiry);
    }
    return NULL;
}

static void note_positions(Expiry *expiry, const LoadJob *job) {
    bool done = job->request.result == SINK_DONE;
    const char *table = sink_target_name(&job->target);
    if (!done)
        log_warning("deleted sink %s stays, since its positions for table \"%s\" of connection \"%s\" cannot be removed: %s", job->label,
                    table, job->connection, job->request.error.text);
    else if (job->listed_count > 0)
        log_warning("positions of deleted sink %s for table \"%s\" of connection \"%s\" stay: another gateway has set them since",
                    job->label, table, job->connection);
    else
        log_info("%llu positions of deleted sink %s are removed from connection \"%s\"", (unsigned long long)job->changed, job->label,
                 job->connection);
    expiry->cleared[expiry->at++] = done;
}

static bool goes(const Expiry *expiry, const Sink *sink) {
    bool has_left = sink->left_count > 0; /* at other tables: see left_runs.h */
    return !has_left && is_idle(expiry, sink) && expiry->cleared[find_sink(expiry, sink) - expiry->sinks];
}

/* Memory forgets at once: should the writer fail to, the next start finds them again. */
static void erase(Control *control, const Expiry *expiry, Define *define) {
    Registry *registry = &control->registry;
    for (size_t i = registry->count; i-- > 0;) {
        RegistrySource *source = registry->sources[i];
        if (changes_are_pending(control, source->source->source_id)) continue;
        for (size_t k = source->sink_count; k-- > 0;) {
            RegistrySink *sink = source->sinks[k];
            if (!over_age(control, sink->sink->deleted, sink->sink->deleted_running) || !goes(expiry, sink->sink)) continue;
            erase_sink(control, define, source->source, sink->sink);
            registry_remove_sink(source, sink);
        }
        if (source->sink_count > 0 || !over_age(control, source->source->deleted, source->source->deleted_running)) continue;
        registry_erase_source(define, source->source);
        registry_remove(registry, source);
    }
}

static void expiry_back(Control *control, PendingRequest *pending, Message *take_message) {
    Expiry *expiry = (Expiry *)pending;
    if (take_message->kind == MESSAGE_DEFINE) {
        Define *define = (Define *)take_message;
        if (define->request.result < 0) log_failure(LOG_WARNING, "old tasks and definitions could not be removed", &define->request.error);
        define_free(define);
        pending_request_end(pending);
        return;
    }
    if (take_message->kind == MESSAGE_GROUP_POSITIONS) {
        note_positions(expiry, (LoadJob *)take_message);
        load_job_free((LoadJob *)take_message);
    } else {
        check(take_message->kind == MESSAGE_TOTALS);
        free(take_message);
    }
    LoadJob *job = next_positions(control, expiry);
    if (job) {
        control_ask_loaders(control, pending, job);
        return;
    }
    Define *define = define_new(control->mailbox, NULL);
    erase(control, expiry, define);
    Error error = {0};
    if (tasks_expire(control->tasks, define, &error) < 0) log_failure(LOG_WARNING, "old tasks cannot be found", &error);
    control_ask_writer(control, pending, &define->request);
}

void expire(Control *control) {
    if (control_pending_requests(control, expiry_back) > 0) return; /* a destination is slow */
    Expiry *expiry = pending_request_new(sizeof *expiry, expiry_back, expiry_drop, NULL);
    for (size_t i = 0; i < control->registry.count; i++) {
        const RegistrySource *source = control->registry.sources[i];
        for (size_t k = 0; k < source->sink_count; k++) {
            if (!over_age(control, source->sinks[k]->sink->deleted, source->sinks[k]->sink->deleted_running)) continue;
            array_extend(expiry->sinks, expiry->count);
            expiry->sinks[expiry->count++] = source->sinks[k]->sink->number;
        }
    }
    if (expiry->count > 1) qsort(expiry->sinks, expiry->count, sizeof *expiry->sinks, compare_numbers);
    for (size_t i = 1; i < expiry->count; i++) check(expiry->sinks[i - 1] < expiry->sinks[i]);
    expiry->statistics = calloc(expiry->count + 1, sizeof *expiry->statistics);
    expiry->cleared = calloc(expiry->count + 1, sizeof *expiry->cleared);
    check(expiry->statistics && expiry->cleared);

    TotalsQuery *query = calloc(1, sizeof *query);
    check(query);
    query->request.message.kind = MESSAGE_TOTALS;
    query->sinks = expiry->sinks;
    query->statistics = expiry->statistics;
    query->count = expiry->count;
    control_ask_writer(control, &expiry->pending, &query->request);
}
