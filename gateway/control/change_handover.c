/*
 * Which sink of the source each sink of a manifest is. Most often it is the one with its id. A sink
 * that gets the table of another one, which the manifest gives up or gives a table that is free now,
 * is that other one from then on, under its own id: with its number, and so with its rows, positions,
 * statistics and rejects. So nothing is between the two, and rows are imported in their order.
 */
#include <string.h>

#include "config/source_bridge.h"
#include "gateway/control/change_parts.h"

typedef struct Handover {
    const Control *control;
    const ChangeRequest *request;
    const RegistrySource *known;
    const ManifestSource *manifest;
    Sink *sinks[SINKS_A_SOURCE_MAX];               /* as they are declared; owned */
    const RegistrySink *own[SINKS_A_SOURCE_MAX];   /* with the same id; NULL: it is new */
    const RegistrySink *wants[SINKS_A_SOURCE_MAX]; /* another one, whose table it gets; NULL: none */
} Handover;

static const char *id_of(const Handover *handover, size_t index) {
    return json_string_value(json_object_get(handover->manifest->sinks[index], "sinkId"));
}

static bool is_live(const RegistrySink *sink) {
    return sink && sink->sink->deleted == 0;
}

/* Index of the declared sink with the id of that one; the number of sinks: none is. */
static size_t declared_as(const Handover *handover, const RegistrySink *sink) {
    size_t i = 0;
    while (i < handover->manifest->sink_count && strcmp(id_of(handover, i), sink->sink->sink_id) != 0) i++;
    return i;
}

/* Does it give up its table? */
static bool leaves(const Handover *handover, const RegistrySink *sink) {
    size_t at = declared_as(handover, sink);
    if (at == handover->manifest->sink_count) return handover->request->prune;
    return !change_same_table(handover->control, handover->sinks[at], sink->sink);
}

static const RegistrySink *wanted(const Handover *handover, size_t index) {
    for (size_t i = 0; i < handover->known->sink_count; i++) {
        const RegistrySink *sink = handover->known->sinks[i];
        if (!is_live(sink) || !change_same_table(handover->control, handover->sinks[index], sink->sink)) continue;
        return sink != handover->own[index] && leaves(handover, sink) ? sink : NULL;
    }
    return NULL;
}

static bool is_wanted(const Handover *handover, const bool *gets, const RegistrySink *sink) {
    for (size_t i = 0; i < handover->manifest->sink_count; i++)
        if (gets[i] && handover->wants[i] == sink) return true;
    return false;
}

/* It can be the other one if somebody is what it was itself, and what has the id of the other one is
 * something else. */
static bool can_get(const Handover *handover, const bool *gets, size_t index) {
    if (is_live(handover->own[index]) && !is_wanted(handover, gets, handover->own[index])) return false;
    size_t at = declared_as(handover, handover->wants[index]);
    return at == handover->manifest->sink_count || gets[at];
}

static bool has_key(const Sink *sink) {
    for (size_t i = 0; i < sink->target.column_count; i++)
        if (sink->target.columns[i].primary_key) return true;
    return false;
}

/* Without a key the order of rows does not matter, and without positions nothing is read twice. */
static int check_two_owners(const Handover *handover, size_t index, Failure *failure) {
    const char *source_id = handover->request->source_id, *from = handover->wants[index]->sink->sink_id, *to = id_of(handover, index);
    if (!source_keeps_positions(handover->known->source) && !has_key(handover->sinks[index]) && !has_key(handover->wants[index]->sink))
        return 0;
    bool ends = declared_as(handover, handover->wants[index]) == handover->manifest->sink_count;
    return failure_set(failure, 409, "tableTaken",
                       "Table \"%s\" of connection \"%s\" cannot go from sink \"%s/%s\" to sink \"%s/%s\" while %s: rows that wait for it "
                       "could be imported in the wrong order. First apply a manifest in which only \"%s\" changes, wait until none of its "
                       "rows wait, then apply this one.",
                       sink_target_name(&handover->sinks[index]->target), handover->sinks[index]->target.connection, source_id, from,
                       source_id, to, ends ? "that one has a table of its own" : "the first one gets another table", from);
}

static int find(Handover *handover, const RegistrySink **ret_of, Failure *failure) {
    size_t count = handover->manifest->sink_count;
    bool gets[SINKS_A_SOURCE_MAX];
    for (size_t i = 0; i < count; i++) {
        if (sink_from_request(handover->manifest->sinks[i], false, &handover->sinks[i], &failure->error) < 0)
            return failure_bad_request(failure);
        handover->own[i] = registry_find_sink(handover->known, id_of(handover, i));
        if (handover->own[i] && !is_live(handover->own[i]))
            return failure_deleted_sink(failure, handover->request->source_id, id_of(handover, i));
    }
    for (size_t i = 0; i < count; i++) {
        handover->wants[i] = wanted(handover, i);
        for (size_t k = 0; k < i; k++) /* of two one is refused, as its table is taken */
            if (handover->wants[k] == handover->wants[i]) handover->wants[i] = NULL;
        gets[i] = handover->wants[i] != NULL;
    }
    for (bool again = true; again;) { /* what one cannot get, others cannot get either */
        again = false;
        for (size_t i = 0; i < count; i++) {
            if (!gets[i] || can_get(handover, gets, i)) continue;
            gets[i] = false;
            again = true;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (handover->wants[i] && !gets[i] && check_two_owners(handover, i, failure) < 0) return -1;
        ret_of[i] = gets[i] ? handover->wants[i] : handover->own[i];
    }
    return 0;
}

int handover_find(const Control *control, const ChangeRequest *request, const RegistrySource *known, const ManifestSource *manifest,
                  const RegistrySink **ret_of, Failure *failure) {
    check(manifest->sink_count <= SINKS_A_SOURCE_MAX);
    Handover handover = {.control = control, .request = request, .known = known, .manifest = manifest};
    int r = find(&handover, ret_of, failure);
    for (size_t i = 0; i < manifest->sink_count; i++) sink_unref(handover.sinks[i]);
    return r;
}
