/* Where an event is: the answer of the finder, with the names of sources and sinks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/api/router.h"
#include "gateway/api/statistics.h"
#include "gateway/delivery/finder.h"

#define SEARCHES_MAX 8 /* on their way at once: they run one after another */

static void set(json_t *object, const char *name, json_t *take_value) {
    check(json_object_set_new(object, name, take_value) == 0);
}

static json_t *uuid_json(const Uuid *id) {
    char text[UUID_TEXT_SIZE + 1] = {0};
    uuid_format(id, text);
    return json_string(text);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static const char *state_name(EventState state) {
    static const char *const names[] = {
        [EVENT_IN_LOG] = "log",          [EVENT_STAGED] = "staged",       [EVENT_WAITING] = "waiting",  [EVENT_IMPORTED] = "imported",
        [EVENT_REJECTED] = "rejected",   [EVENT_EXPIRED] = "expired",     [EVENT_DELETED] = "deleted",  [EVENT_QUARANTINED] = "quarantined",
        [EVENT_DISCARDED] = "discarded", [EVENT_OVERTAKEN] = "overtaken", [EVENT_RETURNED] = "returned"};
    return names[state];
}

static const char *precision_name(EventPrecision precision) {
    static const char *const names[] = {[EVENT_TO_FILE] = "file", [EVENT_TO_GROUP] = "group", [EVENT_TO_ROW] = "row"};
    return names[precision];
}

/* The source of the sink with this number; NULL: it is gone. */
static const RegistrySource *find_source(const Registry *registry, uint32_t sink, const RegistrySink **ret_sink) {
    for (size_t i = 0; i < registry->count; i++) {
        *ret_sink = registry_sink_numbered(registry->sources[i], sink);
        if (*ret_sink) return registry->sources[i];
    }
    return NULL;
}

static const char *note_of(const FoundPlace *place) {
    if (place->is_unread) return "These rows could not be read, so it is not known whether the event is among them.";
    if (place->precision == EVENT_TO_ROW) return NULL;
    return "The table has no column of type id that shows the row: the event is among these rows if it gave this sink one.";
}

static void set_file(json_t *json, const FoundPlace *place) {
    set(json, "fileId", uuid_json(&place->file));
    if (!place->has_file) return;
    set(json, "fileState", json_string(files_state_name(place->file_state)));
    set(json, "closedAt", statistics_time_json(place->closed));
    set(json, place->file_state == FILE_IMPORTED ? "importedAt" : "endedAt", statistics_time_json(place->done));
    set(json, "attempts", json_integer(place->attempts));
    set(json, "nextTryAt", statistics_time_json(place->next_try));
    set(json, "lastError", statistics_error_json(place->last_error ? place->last_error : ""));
}

static void set_text(json_t *json, const char *name, const char *text) {
    if (text) set(json, name, text_is_utf8(span_of(text)) ? json_string(text) : json_null());
}

static json_t *place_json(const Registry *registry, const FoundPlace *place) {
    const RegistrySink *sink = NULL;
    const RegistrySource *source = find_source(registry, place->sink, &sink);
    json_t *json = json_pack("{s:s?, s:s?, s:s, s:s, s:I}", "sourceId", source ? source->source->source_id : NULL, "sinkId",
                             sink ? sink->sink->sink_id : NULL, "state", state_name(place->state), "precision",
                             precision_name(place->precision), "version", (json_int_t)place->mapping_version);
    check(json);
    if (place->rows > 0) {
        set(json, "firstRow", json_integer((json_int_t)place->first_row));
        set(json, "rows", json_integer((json_int_t)place->rows));
    }
    set(json, "receivedFrom", statistics_time_json(place->first_time));
    set(json, "receivedTo", statistics_time_json(place->last_time));
    set_text(json, "connection", place->connection);
    set_text(json, "tableId", place->table);
    if (place->commit > 0) {
        set(json, "commit", json_integer((json_int_t)place->commit));
        set(json, "committedAt", statistics_time_json(place->commit_time));
    }
    if (!uuid_is_nil(&place->pack)) {
        set(json, "pack", uuid_json(&place->pack));
        set(json, "packOffset", json_integer((json_int_t)place->pack_offset));
    }
    if (!uuid_is_nil(&place->file)) set_file(json, place);
    if (place->reject > 0) set(json, "rejectId", json_integer((json_int_t)place->reject));
    set_text(json, "reason", place->reason);
    set_text(json, "note", note_of(place));
    return json;
}

static json_t *found_json(const ControlView *view, const FindEvent *find) {
    json_t *places = json_array();
    check(places);
    for (size_t i = 0; i < find->place_count; i++) check(json_array_append_new(places, place_json(view->registry, &find->places[i])) == 0);
    uint64_t ms;
    bool has_time = uuid_time(&find->id, &ms) && ms <= INT64_MAX / USEC_MS;
    json_t *json = json_pack("{s:o, s:o, s:b, s:I, s:o}", "eventId", uuid_json(&find->id), "receivedAt",
                             statistics_time_json(has_time ? (usec_t)ms * USEC_MS : 0), "complete", !find->is_cut, "damaged",
                             (json_int_t)find->damaged, "places", places);
    check(json);
    return json;
}

static void answer_nothing(const FindEvent *find, ApiCall *take_call) {
    _cleanup_(buffer_deinit) Buffer message = {0};
    char id[UUID_TEXT_SIZE + 1] = {0}, since[25];
    uuid_format(&find->id, id);
    if (find->is_cut) {
        take_call->retry_after = 5;
        buffer_printf(&message,
                      "The search for event %s took too long, and was ended before everything was looked at. With ?sourceId=ID it "
                      "looks at one source alone.",
                      id);
        api_call_fail(take_call, 503, "searchIncomplete", buffer_text(&message));
        return;
    }
    buffer_printf(&message, "Nothing is known of event %s. ", id);
    if (find->since > 0) {
        clock_format_utc(find->since, since);
        buffer_printf(&message,
                      "Rows that were received since %s are still known for each sink. An event that was received earlier may have been "
                      "imported and forgotten, so it cannot be followed. ",
                      since);
    }
    buffer_append_text(&message, "An event that gave no row and no reject cannot be followed either.");
    if (find->damaged > 0) buffer_printf(&message, " %zu damaged records or slices could not be looked at.", find->damaged);
    api_call_fail(take_call, 404, "eventNotFound", buffer_text(&message));
}

static void find_back(Control *control, PendingRequest *pending, Message *take_message) {
    FindEvent *find = (FindEvent *)take_message;
    ApiCall *call = steal(pending->call);
    if (find->request.result == -ECANCELED) {
        api_call_fail(call, 503, "shutdown", "The gateway is shutting down.");
    } else if (find->request.result < 0) {
        log_failure(LOG_ERROR, "an event cannot be looked for", &find->request.error);
        api_call_fail(call, 500, "internalError", "The search failed: the database cannot be read.");
    } else if (find->place_count == 0) {
        answer_nothing(find, call);
    } else {
        api_call_answer(call, 200, found_json(control_view(control), find));
    }
    find_event_free(find);
    pending_request_end(pending);
}

/* ---- the question ---------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* Of all sources, or of one; deleted ones too, whose rows may still wait. */
static void add_sinks(const Registry *registry, const RegistrySource *only, FindEvent *find) {
    size_t room = 0;
    for (size_t i = 0; i < registry->count; i++) {
        const RegistrySource *source = registry->sources[i];
        for (size_t k = 0; k < source->sink_count && (!only || source == only); k++) {
            array_reserve(find->sinks, find->sink_count, room);
            find->sinks[find->sink_count++] = source->sinks[k]->sink->number;
        }
    }
    if (find->sink_count > 1) qsort(find->sinks, find->sink_count, sizeof *find->sinks, by_number);
}

void api_events_get(ApiRequest *request) {
    const char *source_id = request->parameters[0];
    const RegistrySource *source = source_id ? registry_find(request->view->registry, source_id) : NULL;
    Uuid id;
    if (!uuid_parse(span_of(request->event_id), &id)) {
        api_fail(request, 400, "badRequest", "\"%.60s\" is not the id of an event: that is a UUID, such as Sluice-Event-Id of an answer.",
                 request->event_id);
        return;
    }
    if (source_id && !source) {
        api_fail(request, 404, "sourceNotFound", "There is no source \"%.60s\".", source_id);
        return;
    }
    if (!api_has_room(request, find_back, SEARCHES_MAX, "searches for events")) return;
    FindEvent *find = find_event_new(&id);
    add_sinks(request->view->registry, source, find);
    PendingRequest *pending = pending_request_new(sizeof *pending, find_back, NULL, api_keep(request));
    if (control_ask_finder(request->control, pending, &find->request)) return;
    api_call_fail(steal(pending->call), 503, "shutdown", "The gateway cannot look for events now.");
    find_event_free(find);
    pending_request_end(pending);
}
