/*
 * What the changes on their way will have made of the names when they are done, as far as one can
 * tell now. A change that asks for what will not be there any more, or for a name that will be
 * taken, is refused at once; behind the others it could only fail.
 */
#include <string.h>

#include "gateway/control/change_parts.h"

typedef enum PendingState {
    PENDING_NOTHING, /* none of them touches it: it stays as the registry has it */
    PENDING_THERE,
    PENDING_DELETED,
} PendingState;

static bool is_of(const Change *change, const char *source_id) {
    return strcmp(change->request.source_id, source_id) == 0;
}

static PendingState state_of(usec_t deleted) {
    return deleted != 0 ? PENDING_DELETED : PENDING_THERE;
}

static PendingState pending_source(const Control *control, const char *source_id) {
    PendingState state = PENDING_NOTHING;
    for (const Change *change = control->changes; change; change = change->next)
        if (is_of(change, source_id) && change->outcome.source) state = state_of(change->outcome.source->deleted);
    return state;
}

static PendingState pending_sink(const Control *control, const char *source_id, const char *sink_id) {
    PendingState state = PENDING_NOTHING;
    for (const Change *change = control->changes; change; change = change->next) {
        if (!is_of(change, source_id)) continue;
        /* Which sinks come back with the source is seen when it is back. */
        if (!change->request.of_sink && change->request.kind == CHANGE_UNDELETE) state = PENDING_NOTHING;
        for (size_t i = 0; i < change->outcome.sink_count; i++)
            if (strcmp(change->outcome.sinks[i]->sink_id, sink_id) == 0) state = state_of(change->outcome.sinks[i]->deleted);
    }
    return state;
}

/* ---- limits ---------------------------------------------------------------------------------- */

bool change_adds_source(const Control *control, const ChangeOutcome *outcome) {
    if (!outcome->source || outcome->source->deleted != 0) return false;
    const RegistrySource *known = registry_find(&control->registry, outcome->source->source_id);
    return !known || known->source->deleted != 0;
}

static bool is_live_now(const RegistrySource *known, const char *sink_id) {
    const RegistrySink *sink = registry_find_sink(known, sink_id);
    return sink && sink->sink->deleted == 0;
}

/* Is it the first place where this list of changes names the sink? */
static bool is_first(const Control *control, const char *source_id, const Change *at, size_t index) {
    const char *sink_id = at->outcome.sinks[index]->sink_id;
    for (const Change *change = control->changes; change; change = change->next) {
        size_t end = change == at ? index : change->outcome.sink_count;
        for (size_t i = 0; is_of(change, source_id) && i < end; i++)
            if (strcmp(change->outcome.sinks[i]->sink_id, sink_id) == 0) return false;
        if (change == at) return true;
    }
    unreachable();
}

/* Sinks that the source will have. */
static size_t pending_live(const Control *control, const RegistrySource *known) {
    const char *source_id = known->source->source_id;
    size_t live = registry_live_sinks(known);
    for (const Change *change = control->changes; change; change = change->next) {
        for (size_t i = 0; is_of(change, source_id) && i < change->outcome.sink_count; i++) {
            if (!is_first(control, source_id, change, i)) continue;
            const char *sink_id = change->outcome.sinks[i]->sink_id;
            PendingState state = pending_sink(control, source_id, sink_id);
            const RegistrySink *same = registry_sink_numbered(known, change->outcome.sinks[i]->number); /* perhaps with another id */
            bool now = same && same->sink->deleted == 0;
            check(!now || live > 0);
            if (state == PENDING_THERE && !now) live++;
            if (state == PENDING_DELETED && now) live--;
        }
    }
    return live;
}

static int check_room(const Control *control, const ChangeRequest *request, const RegistrySource *known, const ChangeOutcome *outcome,
                      Failure *failure) {
    bool adds = known && request->of_sink && outcome->sink_count == 1 && outcome->sinks[0]->deleted == 0 &&
                !is_live_now(known, outcome->sinks[0]->sink_id);
    if (!adds || pending_live(control, known) < SINKS_A_SOURCE_MAX) return 0;
    return failure_set(failure, 422, "resourceLimitReached", "A source has at most %d sinks, with those that are being created.",
                       SINKS_A_SOURCE_MAX);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int refuse_deleted_source(const char *source_id, Failure *failure) {
    return failure_set(failure, 404, "sourceNotFound", "Source \"%.60s\" is being deleted.", source_id);
}

static int check_create(const Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, Failure *failure) {
    if (!request->of_sink) {
        const char *source_id = outcome->source->source_id;
        if (pending_source(control, source_id) == PENDING_NOTHING) return 0;
        return failure_set(failure, 409, "sourceAlreadyExists", "Source \"%s\" is being created already.", source_id);
    }
    const char *sink_id = outcome->sinks[0]->sink_id;
    if (pending_sink(control, request->source_id, sink_id) == PENDING_NOTHING) return 0;
    return failure_set(failure, 409, "sinkAlreadyExists", "Sink \"%s\" is being created already.", sink_id);
}

/* It may find what is being created: then it changes that. */
static int check_manifest(const Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, Failure *failure) {
    if (pending_source(control, request->source_id) == PENDING_DELETED)
        return failure_set(failure, 409, "sourceAlreadyExists", "Source \"%s\" is being deleted, and is kept for 7 days.",
                           request->source_id);
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(outcome->plan, "sinks"), i, entry) {
        const char *sink_id = json_string_value(json_object_get(entry, "sinkId"));
        check(sink_id);
        bool wanted = strcmp(json_string_value(json_object_get(entry, "action")), "delete") != 0;
        if (wanted && pending_sink(control, request->source_id, sink_id) == PENDING_DELETED)
            return failure_set(failure, 409, "sinkAlreadyExists", "Sink \"%s\" is being deleted, and is kept for 7 days.", sink_id);
    }
    return 0;
}

int change_check_pending(const Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, Failure *failure) {
    if (request->kind == CHANGE_MANIFEST) return check_manifest(control, request, outcome, failure);
    bool undeletes = request->kind == CHANGE_UNDELETE;
    if (request->source_id && (request->of_sink || !undeletes) && pending_source(control, request->source_id) == PENDING_DELETED)
        return refuse_deleted_source(request->source_id, failure);
    if (request->kind == CHANGE_CREATE && check_create(control, request, outcome, failure) < 0) return -1;
    if (request->sink_id && !undeletes && pending_sink(control, request->source_id, request->sink_id) == PENDING_DELETED)
        return failure_set(failure, 404, "sinkNotFound", "Sink \"%.60s\" of source \"%.60s\" is being deleted.", request->sink_id,
                           request->source_id);
    const RegistrySource *known = request->source_id ? registry_find(&control->registry, request->source_id) : NULL;
    return check_room(control, request, known, outcome, failure);
}
