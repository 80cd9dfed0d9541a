#include <string.h>

#include "config/source_bridge.h"
#include "gateway/control/change_parts.h"
#include "gateway/control/expiry.h"
#include "sinks/replace_run.h"

int change_check_version(const ChangeRequest *request, uint32_t number, Failure *failure) {
    if (request->if_version == 0 || request->if_version == number) return 0;
    return failure_set(failure, 409, "versionMismatch", "The version is %u, not %u: it was changed meanwhile. Read it again.", number,
                       request->if_version);
}

int failure_no_connection(const Control *control, const char *name, Failure *failure) {
    const Connections *list = &control->options.options->list;
    _cleanup_(buffer_deinit) Buffer names = {0};
    for (size_t i = 0; i < connections_total(list); i++) {
        const Connection *connection = connections_at(list, i);
        if (connection) buffer_printf(&names, "%s\"%s\"", i ? ", " : "", connection->name);
    }
    return failure_set(failure, 400, "badRequest", "There is no connection \"%s\". There are: %s.", name, buffer_text(&names));
}

static const ConnectionType *type_named(Span name) {
    for (size_t i = 0; connection_types[i]; i++)
        if (span_equal(span_of(connection_types[i]->name), name)) return connection_types[i];
    return NULL;
}

const ConnectionType *change_connection_type(const Control *control, const char *name) {
    const Connection *found = connections_find(&control->options.options->list, name);
    if (found) return found->type;
    size_t size = strlen(name);
    for (const char *at = control->assumed; at && *at; at += *at == ',') {
        size_t item = strcspn(at, ",");
        if (item > size && strncmp(at, name, size) == 0 && at[size] == ':') return type_named((Span){at + size + 1, item - size - 1});
        at += item;
    }
    return NULL;
}

int change_check_connection(const Control *control, const Source *source, const Sink *sink, Failure *failure) {
    if (bridge_check_sink(source, sink, failure) < 0) return -1;
    const char *name = sink->target.connection;
    const ConnectionType *type = change_connection_type(control, name);
    if (!type) return failure_no_connection(control, name, failure);
    const SinkDriver *driver = sink_driver_of(type);
    if (!driver)
        return failure_set(failure, 400, "badRequest",
                           "Connection \"%s\" is of type %s: it is for sources only, and no sink can import there.", name, type->name);
    if (driver->positions || !source_keeps_positions(source)) return 0;
    return failure_set(
        failure, 400, "badRequest",
        "Connection \"%s\" is of type %s, which keeps no positions: a source of type %s stores them with the rows, and no sink "
        "of it can import there.",
        name, type->name, source_kind_name(source));
}

/* One destination may have several names in the config file. */
bool change_same_destination(const Control *control, const char *a, const char *b) {
    const Connections *list = &control->options.options->list;
    if (strcmp(a, b) == 0) return true;
    const Connection *first = connections_find(list, a), *second = connections_find(list, b);
    if (!first || !second || first->type != second->type) return false;
    return strcmp(connection_place(first), connection_place(second)) == 0;
}

bool change_same_table(const Control *control, const Sink *a, const Sink *b) {
    const Connections *list = &control->options.options->list;
    if (!change_same_destination(control, a->target.connection, b->target.connection)) return false;
    const Connection *connection = connections_find(list, a->target.connection);
    const SinkDriver *driver = connection ? sink_driver_of(connection->type) : NULL;
    return !driver || driver->same_target(&a->target, &b->target);
}

static bool has_target(const Control *control, const Sink *sink, const SinkTarget *target) {
    const Connection *connection = connections_find(&control->options.options->list, sink->target.connection);
    const SinkDriver *driver = connection ? sink_driver_of(connection->type) : NULL;
    return !driver || driver->same_target(&sink->target, target);
}

/* A side table is dropped with all that is in it. */
static bool uses_side_table(const Control *control, const Sink *sink, const Sink *replacing) {
    SinkTarget side;
    if (replacing->target.type != TARGET_TABLE || replacing->target.table.strategy != STRATEGY_REPLACE) return false;
    if (!change_same_destination(control, sink->target.connection, replacing->target.connection)) return false;
    side_target_init(&side, &replacing->target);
    bool same = has_target(control, sink, &side);
    side_target_deinit(&side);
    return same;
}

static bool disturb(const Control *control, const Sink *a, const Sink *b) {
    return change_same_table(control, a, b) || uses_side_table(control, a, b) || uses_side_table(control, b, a);
}

static bool same_sink(const char *source_id, const Sink *sink, const char *other_source_id, const Sink *other) {
    return strcmp(source_id, other_source_id) == 0 && strcmp(sink->sink_id, other->sink_id) == 0;
}

const Sink *change_becomes(const ChangeOutcome *outcome, const Sink *sink) {
    for (size_t i = 0; i < outcome->sink_count; i++)
        if (outcome->sinks[i]->number == sink->number) return outcome->sinks[i];
    return sink;
}

/* Two sinks on one table would overwrite each other's keys, in an order that nobody chose. Looks at
 * what is on its way, too. */
int change_check_table(const Control *control, const char *source_id, const Sink *sink, const ChangeOutcome *outcome, Failure *failure) {
    const char *taken_source = NULL;
    const Sink *taken_sink = NULL;
    for (size_t i = 0; i < control->registry.count && !taken_sink; i++) {
        const RegistrySource *source = control->registry.sources[i];
        if (source->source->deleted != 0) continue;
        bool own = strcmp(source_id, source->source->source_id) == 0;
        for (size_t k = 0; k < source->sink_count; k++) {
            const Sink *other = own ? change_becomes(outcome, source->sinks[k]->sink) : source->sinks[k]->sink;
            if (other->deleted != 0 || !disturb(control, sink, other) || same_sink(source_id, sink, source->source->source_id, other))
                continue;
            taken_source = source->source->source_id;
            taken_sink = other;
        }
    }
    for (size_t i = 0; i < outcome->sink_count && !taken_sink; i++) { /* new ones */
        const Sink *other = outcome->sinks[i];
        if (other->deleted != 0 || !disturb(control, sink, other) || same_sink(source_id, sink, source_id, other)) continue;
        taken_source = source_id;
        taken_sink = other;
    }
    for (const Change *change = control->changes; change && !taken_sink; change = change->next) {
        for (size_t k = 0; k < change->outcome.sink_count; k++) {
            const Sink *other = change->outcome.sinks[k];
            if (other->deleted != 0 || !disturb(control, sink, other) || same_sink(source_id, sink, change->request.source_id, other))
                continue;
            taken_source = change->request.source_id;
            taken_sink = other;
        }
    }
    if (!taken_sink) return 0;
    if (!change_same_table(control, sink, taken_sink))
        return failure_set(
            failure, 409, "tableTaken",
            "Table \"%s\" and table \"%s\" of sink \"%s/%s\" cannot both be used: one of them is the side table of the other "
            "one, which has the strategy \"replace\".",
            sink_target_name(&sink->target), sink_target_name(&taken_sink->target), taken_source, taken_sink->sink_id);
    return failure_set(failure, 409, "tableTaken",
                       "Sink \"%s/%s\" imports into table \"%s\" of connection \"%s\" already. Delete it or give it another table first.",
                       taken_source, taken_sink->sink_id, sink_target_name(&sink->target), sink->target.connection);
}

int change_check_source(const Control *control, const RegistrySource *known, const Source *now, Failure *failure) {
    if (bridge_check_source(control, now, failure) < 0) return -1;
    if (source_keeps_positions(known->source) || !source_keeps_positions(now)) return 0;
    for (size_t i = 0; i < known->sink_count; i++) {
        const Sink *sink = known->sinks[i]->sink;
        if (sink->deleted == 0 && change_check_connection(control, now, sink, failure) < 0) return -1;
    }
    return 0;
}

int change_check_source_limit(const Control *control, Failure *failure) {
    size_t live = registry_live_sources(&control->registry);
    for (const Change *change = control->changes; change; change = change->next) live += change_adds_source(control, &change->outcome);
    uint32_t most = control->options.options->sources_max;
    if (live < most) return 0;
    return failure_set(failure, 422, "resourceLimitReached", "There are %zu sources, and limits.sources is %u.", live, most);
}

int change_check_one_more(const Control *control, const RegistrySource *known, const Sink *sink, const ChangeOutcome *outcome,
                          Failure *failure) {
    if (registry_live_sinks(known) >= SINKS_A_SOURCE_MAX)
        return failure_set(failure, 422, "resourceLimitReached", "A source has at most %d sinks.", SINKS_A_SOURCE_MAX);
    return change_check_connection(control, known->source, sink, failure) < 0
               ? -1
               : change_check_table(control, known->source->source_id, sink, outcome, failure);
}

int failure_deleted_source(Failure *failure, const char *source_id) {
    return failure_set(failure, 409, "sourceAlreadyExists",
                       "Source \"%s\" was deleted and is kept for 7 days: restore it with PUT …/sources/%s/undelete.", source_id,
                       source_id);
}

int failure_deleted_sink(Failure *failure, const char *source_id, const char *sink_id) {
    return failure_set(failure, 409, "sinkAlreadyExists",
                       "Sink \"%s\" was deleted and is kept for 7 days: restore it with PUT …/sources/%s/sinks/%s/undelete.", sink_id,
                       source_id, sink_id);
}

/* Its positions are removed now, or were: without them it would begin anew, into a table that has
 * its rows. */
int change_check_positions_kept(const Control *control, const Source *source, const Sink *sink, Failure *failure) {
    if (!source_keeps_positions(source) || !over_age(control, sink->deleted, sink->deleted_running)) return 0;
    return failure_set(failure, 404, "sinkNotFound",
                       "Sink \"%s\" of source \"%s\" was deleted over 7 days ago and is removed with its positions.", sink->sink_id,
                       source->source_id);
}
