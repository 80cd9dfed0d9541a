/* What control knows of sources that read a broker, beside what it does for all. */
#include <string.h>

#include "base/cleanup.h"
#include "config/source_kafka.h"
#include "config/source_nats.h"
#include "gateway/control/change_parts.h"

static bool shares(const Control *control, const Source *source, const Source *other) {
    const BridgeSource *bridge = source_bridge(source), *of_other = source_bridge(other);
    return other->kind == source->kind && other->deleted == 0 && strcmp(other->source_id, source->source_id) != 0 &&
           strcmp(bridge->connection, of_other->connection) == 0 &&
           source->kind->bridge->shares(source, other, control->options.options->project);
}

/* Looks at what is on its way, too. */
static int check_shared(const Control *control, const Source *source, Failure *failure) {
    const char *taken = NULL;
    for (size_t i = 0; i < control->registry.count && !taken; i++) {
        const Source *other = control->registry.sources[i]->source;
        if (shares(control, source, other)) taken = other->source_id;
    }
    for (const Change *change = control->changes; change && !taken; change = change->next) {
        const Source *other = change->outcome.source;
        if (other && shares(control, source, other)) taken = other->source_id;
    }
    if (!taken) return 0;
    _cleanup_free_ char *group = source->kind->bridge->group(source, control->options.options->project);
    return failure_set(
        failure, 409, "groupTaken",
        "Source \"%s\" reads as \"%s\" already: each of the two would get a part of the records only. Give this one another \"%s\".", taken,
        group, source->kind->bridge->group_field);
}

int bridge_check_source(const Control *control, const Source *source, Failure *failure) {
    const BridgeSource *bridge = source_bridge(source);
    if (!bridge) return 0;
    const char *type = source->kind->bridge->connection_type;
    const Connection *found = connections_find(&control->options.options->list, bridge->connection);
    if (!found) return failure_no_connection(control, bridge->connection, failure);
    if (strcmp(found->type->name, type) == 0) return check_shared(control, source, failure);
    return failure_set(failure, 400, "badRequest", "Connection \"%s\" is of type %s: a source of type %s reads a connection of type %s.",
                       found->name, found->type->name, source->kind->name, type);
}

static void begin_sentence(Buffer *text) {
    if (text->size > 0) buffer_append_byte(text, ' ');
}

static bool starts_alike(const BridgeStart *a, const BridgeStart *b) {
    return a->kind == b->kind && a->time == b->time && a->sequence == b->sequence;
}

void bridge_say_change(const Control *control, const Source *old, const Source *now, Buffer *text) {
    const BridgeSource *was = source_bridge(old), *is = source_bridge(now);
    if (!was) return;
    check(old->kind == now->kind && is);
    const char *field = now->kind->bridge->new_key(old, now, control->options.options->project);
    if (field) {
        begin_sentence(text);
        buffer_printf(text,
                      "What it has read is kept by \"%s\", which is another one now: it starts anew, as \"startFrom\" says, unless it was "
                      "read under that before.",
                      field);
    } else if (!starts_alike(&was->start, &is->start)) {
        begin_sentence(text);
        buffer_append_text(text, "Its \"startFrom\" counts only where nothing was read yet.");
    }
}

void bridge_say_target(const Source *source, const Sink *old, const Sink *now, Buffer *text) {
    bool moves = strcmp(old->target.connection, now->target.connection) != 0 ||
                 strcmp(sink_target_name(&old->target), sink_target_name(&now->target)) != 0;
    if (!moves || !source_keeps_positions(source)) return;
    begin_sentence(text);
    buffer_append_text(
        text, "Positions belong to the table: where the new one has none of this source, it goes on behind the last record of the old one, "
              "or begins as \"startFrom\" says if the source is not read now.");
}
