/* Sources that read a broker: how they are, reading from elsewhere, and going on behind a
 * record. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "config/bridge_request.h"
#include "config/source_bridge.h"
#include "gateway/api/bridge_json.h"

#define SEEKS_MAX 32
#define SKIPS_MAX 32
#define RETRY_AFTER 5 /* seconds */
/* A destination may be busy with an import, or not answer for a while: the call does not wait for
 * it longer. */
#define ANSWER_LONGEST (60 * USEC_SECOND)

/* false: answered. */
static bool is_bridge(ApiRequest *request) {
    const Source *source = request->source->source;
    if (source->kind->bridge) return true;
    api_fail(request, 404, "notABridge", "Source \"%s\" is of type %s, which does not read a broker.", source->source_id,
             source->kind->name);
    return false;
}

void api_bridge_get(ApiRequest *request) {
    ApiPage page;
    if (!is_bridge(request) || !api_page(request, request->parameters[0], request->parameters[1], &page)) return;
    const Source *source = request->source->source;
    BridgeStatus *status = control_bridge_status(request->control, source);
    api_answer(request, 200, bridge_to_json(source, status, &page));
    bridge_status_unref(status);
}

/* ---- what both have -------------------------------------------------------------------------- */

static void fail_later(ApiCall *take_call, int status, const char *name, const char *message) {
    take_call->retry_after = RETRY_AFTER;
    api_call_fail(take_call, status, name, message);
}

static void fail_ended(const Control *control, ApiCall *take_call, const char *message) {
    if (control_view(control)->draining)
        fail_later(take_call, 503, "shutdown", "The gateway is shutting down.");
    else
        api_call_fail(take_call, 409, "bridgeNotRunning", message);
}

static void overdue(Control *control, PendingRequest *pending) {
    (void)control;
    if (pending->call)
        fail_later(steal(pending->call), 503, "notYetDone", "It was not done within 60 s and may still happen: the log shows the result.");
}

/* Answers the call unless somebody reads the source: then the pending takes the call. */
static bool ask(ApiRequest *request, PendingRequest *pending, Request *message) {
    const Source *source = request->source->source;
    /* That of a disabled source may go on until the next start: the answer does not hang on
     * that. */
    if (!source->disabled && control_ask_bridge(request->control, pending, source, message)) {
        Clock *clock = request->view->clock;
        pending->call = api_keep(request);
        pending->due = clock->boot(clock) + ANSWER_LONGEST;
        pending->overdue = overdue;
        return true;
    }
    request_drop(message);
    pending_request_end(pending);
    api_fail(request, 409, "bridgeNotRunning", "Source \"%s\" is not read at present%s.", source->source_id,
             source->disabled ? ": it is disabled" : ": try again later");
    return false;
}

/* ---- seek ------------------------------------------------------------------------------------ */

typedef struct Seek {
    PendingRequest pending; /* first */
    char *source_id;
    Sink *sinks[SINKS_A_SOURCE_MAX]; /* references: those of the source when it was asked */
    size_t sink_count;
} Seek;

static void seek_drop(PendingRequest *pending) {
    Seek *seek = (Seek *)pending;
    for (size_t i = 0; i < seek->sink_count; i++) sink_unref(seek->sinks[i]);
    free(seek->source_id);
}

static void seek_message_drop(Request *request) {
    BridgeSeek *message = (BridgeSeek *)request;
    free(message->topic);
    free(message->sinks);
    free(message);
}

static const char *sink_name(const Seek *seek, uint32_t number) {
    for (size_t i = 0; i < seek->sink_count; i++)
        if (seek->sinks[i]->number == number) return seek->sinks[i]->sink_id;
    return "(unknown)";
}

static json_t *sink_results(const Seek *seek, const BridgeSeek *message) {
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < message->sink_count; i++) {
        const BridgeSeekSink *sink = &message->sinks[i];
        bool done = sink->result == SINK_DONE;
        json_t *why = done ? json_null() : json_string(sink->error.text);
        if (!why) why = json_string("The destination's message is not UTF-8.");
        json_t *json = json_pack("{s:s, s:b, s:o}", "sinkId", sink_name(seek, sink->sink), "done", (int)done, "message", why);
        check(json && json_array_append_new(list, json) == 0);
    }
    return list;
}

static void answer_done(const Seek *seek, const BridgeSeek *message, ApiCall *take_call) {
    json_t *json = json_pack("{s:s, s:I, s:o}", "sourceId", seek->source_id, "partitions", (json_int_t)message->partitions, "sinks",
                             sink_results(seek, message));
    check(json);
    api_call_answer(take_call, 200, json);
}

/* An error that says of each sink what became of it. */
static void answer_refused(const Seek *seek, const BridgeSeek *message, ApiCall *take_call, int status, const char *name,
                           const char *sentence) {
    json_t *json = json_pack("{s:i, s:o, s:s, s:I, s:o}", "statusCode", status, "error", json_sprintf("stream.api.%s", name), "message",
                             sentence, "partitions", (json_int_t)message->partitions, "sinks", sink_results(seek, message));
    check(json);
    if (status == 503) take_call->retry_after = RETRY_AFTER;
    api_call_answer(take_call, status, json);
}

static bool some_goes_back(const BridgeSeek *message) {
    for (size_t i = 0; i < message->sink_count; i++)
        if (message->sinks[i].error.code == -ERANGE) return true;
    return false;
}

static void answer_seek(const Control *control, const Seek *seek, const BridgeSeek *message, ApiCall *take_call) {
    const char *why = message->request.error.text;
    switch (message->request.result) {
    case 0: answer_done(seek, message, take_call); return;
    case -EINVAL: api_call_fail(take_call, 409, "bridgeNotRunning", why); return;
    case -ENOENT: api_call_fail(take_call, 404, "partitionNotFound", why); return;
    case -EDOM: api_call_fail(take_call, 409, "offsetBeyondEnd", why); return;
    case -ENOTCONN: fail_later(take_call, 503, "brokerUnreachable", why); return;
    case -EBUSY: fail_later(take_call, 503, "overloaded", why); return;
    case -ECANCELED: fail_ended(control, take_call, why); return;
    default: break;
    }
    check(message->request.result == 1 || message->request.result == -ERANGE);
    if (some_goes_back(message))
        answer_refused(seek, message, take_call, 409, "seekGoesBack",
                       "The position would go back, so records would come twice: use duplicates=true if this is intended.");
    else
        answer_refused(seek, message, take_call, 503, "seekIncomplete",
                       "The positions of some sinks were not changed, because their destinations did not set them: try again.");
}

static void seek_back(Control *control, PendingRequest *pending, Message *take_message) {
    Seek *seek = (Seek *)pending;
    BridgeSeek *message = (BridgeSeek *)take_message;
    const Request *request = &message->request;
    for (size_t i = 0; i < message->sink_count; i++) {
        const BridgeSeekSink *sink = &message->sinks[i];
        log_info("seek of %s/%s: %s", seek->source_id, sink_name(seek, sink->sink), sink->result == SINK_DONE ? "done" : sink->error.text);
    }
    if (message->sink_count == 0) log_info("seek of %s: %s", seek->source_id, request->result == 0 ? "done" : request->error.text);
    if (pending->call) answer_seek(control, seek, message, steal(pending->call));
    seek_message_drop(&message->request);
    pending_request_end(pending);
}

/* The number of the sink that the body names, 0 when it names none. false: answered. */
static bool find_sink(ApiRequest *request, const char *sink_id, uint32_t *ret_number) {
    *ret_number = 0;
    if (!sink_id) return true;
    const RegistrySink *found = registry_find_sink(request->source, sink_id);
    if (!found || found->sink->deleted != 0) {
        api_fail(request, 404, "sinkNotFound", "Source \"%.60s\" has no sink \"%.60s\".", request->source_id, sink_id);
        return false;
    }
    *ret_number = found->sink->number;
    return true;
}

static void log_seek(const ApiRequest *request, const BridgeSeekBody *body, bool duplicates) {
    char goal[64], partition[16] = "all";
    if (body->to == BRIDGE_TO_OFFSET)
        (void)snprintf(goal, sizeof goal, "offset %" PRId64, body->at);
    else if (body->to == BRIDGE_TO_TIME)
        (void)snprintf(goal, sizeof goal, "the time %" PRId64 " ms", body->at);
    else
        (void)snprintf(goal, sizeof goal, "%s", body->to == BRIDGE_TO_EARLIEST ? "the earliest" : "the latest");
    if (body->partition >= 0) (void)snprintf(partition, sizeof partition, "%d", (int)body->partition);
    log_info("%s seeks source %s to %s: topic %s, partition %s, sink %s, duplicates=%s", request->by, request->source_id, goal,
             body->topic ? body->topic : "all", partition, body->sink ? body->sink : "all", duplicates ? "true" : "false");
}

void api_bridge_seek(ApiRequest *request) {
    static const SeekTo goals[] = {[BRIDGE_TO_EARLIEST] = SEEK_EARLIEST,
                                   [BRIDGE_TO_LATEST] = SEEK_LATEST,
                                   [BRIDGE_TO_OFFSET] = SEEK_OFFSET,
                                   [BRIDGE_TO_TIME] = SEEK_TIME};
    const RegistrySource *source = request->source;
    BridgeSeekBody body;
    Error error = {0};
    bool duplicates = false;
    uint32_t sink;
    if (!is_bridge(request) || !api_boolean(request, "duplicates", request->parameters[0], &duplicates)) return;
    if (bridge_seek_read(request->body, &body, &error) < 0) {
        api_fail(request, 400, "badRequest", "%s", error.text);
        return;
    }
    if (!source_keeps_positions(source->source)) {
        api_fail(request, 409, "noPositions",
                 "Source \"%s\" has no positions: its broker keeps the messages that are not acknowledged. Another \"durable\" starts from "
                 "the beginning.",
                 source->source->source_id);
        return;
    }
    if (!find_sink(request, body.sink, &sink) || !api_has_room(request, seek_back, SEEKS_MAX, "seeks")) return;
    Seek *seek = pending_request_new(sizeof *seek, seek_back, seek_drop, NULL);
    BridgeSeek *message = calloc(1, sizeof *message);
    check(message);
    seek->source_id = text_copy(source->source->source_id);
    for (size_t i = 0; i < source->sink_count && seek->sink_count < SINKS_A_SOURCE_MAX; i++)
        if (source->sinks[i]->sink->deleted == 0) seek->sinks[seek->sink_count++] = sink_ref(source->sinks[i]->sink);
    message->request.message.kind = MESSAGE_BRIDGE_SEEK;
    message->request.drop = seek_message_drop;
    message->topic = body.topic ? text_copy(body.topic) : NULL;
    message->partition = body.partition;
    message->to = goals[body.to];
    message->at = body.at;
    message->sink = sink;
    message->backwards = duplicates;
    if (ask(request, &seek->pending, &message->request)) log_seek(request, &body, duplicates);
}

/* ---- skip ------------------------------------------------------------------------------------ */

typedef struct Skip {
    PendingRequest pending; /* first */
    char *source_id;
} Skip;

static void skip_drop(PendingRequest *pending) {
    free(((Skip *)pending)->source_id);
}

static void skip_message_drop(Request *request) {
    free(((BridgeSkip *)request)->topic);
    free(request);
}

static void answer_skip(const Control *control, const Skip *skip, const BridgeSkip *message, ApiCall *take_call) {
    const char *why = message->request.error.text;
    if (message->request.result == 0) {
        json_t *json = json_pack("{s:s, s:s, s:i, s:I}", "sourceId", skip->source_id, "topic", message->topic, "partition",
                                 (int)message->partition, "offset", (json_int_t)message->offset);
        check(json);
        api_call_answer(take_call, 200, json);
    } else if (message->request.result == -ENOENT) {
        api_call_fail(take_call, 409, "notStoppedThere", why);
    } else if (message->request.result == -ENXIO) {
        api_call_fail(take_call, 404, "partitionNotFound", why);
    } else {
        check(message->request.result == -ECANCELED);
        fail_ended(control, take_call, why);
    }
}

static void skip_back(Control *control, PendingRequest *pending, Message *take_message) {
    Skip *skip = (Skip *)pending;
    BridgeSkip *message = (BridgeSkip *)take_message;
    log_info("skip of offset %" PRId64 " of source %s: %s", message->offset, skip->source_id,
             message->request.result == 0 ? "done" : message->request.error.text);
    if (pending->call) answer_skip(control, skip, message, steal(pending->call));
    skip_message_drop(&message->request);
    pending_request_end(pending);
}

void api_bridge_skip(ApiRequest *request) {
    BridgeSkipBody body;
    Error error = {0};
    if (!is_bridge(request)) return;
    if (bridge_skip_read(request->body, &body, &error) < 0) {
        api_fail(request, 400, "badRequest", "%s", error.text);
        return;
    }
    if (!api_has_room(request, skip_back, SKIPS_MAX, "skips")) return;
    Skip *skip = pending_request_new(sizeof *skip, skip_back, skip_drop, NULL);
    BridgeSkip *message = calloc(1, sizeof *message);
    check(message);
    skip->source_id = text_copy(request->source_id);
    message->request.message.kind = MESSAGE_BRIDGE_SKIP;
    message->request.drop = skip_message_drop;
    message->topic = text_copy(body.topic);
    message->partition = body.partition;
    message->offset = body.offset;
    if (!ask(request, &skip->pending, &message->request)) return;
    log_info("%s skips offset %" PRId64 " of partition %d of \"%s\" of source %s", request->by, body.offset, (int)body.partition,
             body.topic, request->source_id);
}
