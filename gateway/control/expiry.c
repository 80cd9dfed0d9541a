#include "gateway/control/expiry.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cursor.h"
#include "base/log.h"
#include "gateway/control/parts.h"
#include "storage/catalog.h"

typedef struct Expiry {
    Errand errand;   /* first */
    uint32_t *sinks; /* numbers of those that are over age, ascending */
    SinkStatistics *statistics;
    size_t count;
} Expiry;

static void expiry_drop(Errand *errand) {
    Expiry *expiry = (Expiry *)errand;
    free(expiry->sinks);
    free(expiry->statistics);
}

/* In running time: neither a clock that jumps nor a gateway that was off makes anything old. */
static bool over_age(const Control *control, usec_t deleted, usec_t deleted_running) {
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

static bool is_idle(const Expiry *expiry, const Sink *sink) {
    const uint32_t *found = bsearch(&sink->number, expiry->sinks, expiry->count, sizeof *expiry->sinks, compare_numbers);
    if (!found) return false;
    const SinkStatistics *statistics = &expiry->statistics[found - expiry->sinks];
    return statistics->local.rows == 0 && statistics->staging.rows == 0;
}

/* Memory forgets at once: should the writer fail to, the next start finds them again. */
static void erase(Control *control, const Expiry *expiry, Define *define) {
    Registry *registry = &control->registry;
    for (size_t i = registry->count; i-- > 0;) {
        RegistrySource *source = registry->sources[i];
        if (changes_touch(control, source->source->source_id)) continue;
        for (size_t k = source->sink_count; k-- > 0;) {
            RegistrySink *sink = source->sinks[k];
            if (!over_age(control, sink->sink->deleted, sink->sink->deleted_running) || !is_idle(expiry, sink->sink)) continue;
            erase_sink(control, define, source->source, sink->sink);
            registry_remove_sink(source, sink);
        }
        if (source->sink_count > 0 || !over_age(control, source->source->deleted, source->source->deleted_running)) continue;
        registry_erase_source(define, source->source);
        registry_remove(registry, source);
    }
}

static void expiry_back(Control *control, Errand *errand, Message *take_message) {
    Expiry *expiry = (Expiry *)errand;
    if (take_message->kind == MESSAGE_DEFINE) {
        Define *define = (Define *)take_message;
        if (define->request.result < 0) log_failure(LOG_WARNING, "old tasks and definitions could not be removed", &define->request.error);
        define_free(define);
        errand_end(errand);
        return;
    }
    check(take_message->kind == MESSAGE_TOTALS);
    free(take_message);
    Define *define = define_new(control->mailbox, NULL);
    erase(control, expiry, define);
    Error error = {0};
    if (tasks_expire(control->tasks, define, &error) < 0) log_failure(LOG_WARNING, "old tasks cannot be found", &error);
    control_ask_writer(control, errand, &define->request);
}

void expire(Control *control) {
    Expiry *expiry = errand_new(sizeof *expiry, expiry_back, expiry_drop, NULL);
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
    check(expiry->statistics);

    TotalsQuery *query = calloc(1, sizeof *query);
    check(query);
    query->request.message.kind = MESSAGE_TOTALS;
    query->sinks = expiry->sinks;
    query->statistics = expiry->statistics;
    query->count = expiry->count;
    control_ask_writer(control, &expiry->errand, &query->request);
}
