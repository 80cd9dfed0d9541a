#include "gateway/sources/nats_bridge_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RETRY (500 * USEC_MS)        /* after something failed that passes */
#define RETRY_LONG (5 * USEC_SECOND) /* and that somebody has to change */
#define RETRY_MISSING USEC_SECOND    /* and a stream that is not there */
#define SAID_AGAIN USEC_MINUTE       /* the same trouble */

SinkFault nats_bridge_fault(BridgeClient *bridge, NatsResult result) {
    NatsClientStatus status;
    switch (result) {
    case NATS_RESULT_DONE: return SINK_SOUND;
    case NATS_RESULT_MISSING: return SINK_FAULT_TOPIC;
    case NATS_RESULT_NO_JETSTREAM: return SINK_FAULT_DATABASE;
    case NATS_RESULT_NO_RIGHTS: return SINK_FAULT_RIGHTS;
    case NATS_RESULT_REFUSED: return SINK_FAULT_OTHER;
    case NATS_RESULT_RETRY:
        nats_client_status(bridge->client, &status);
        return !status.connected && status.fault != SINK_SOUND ? status.fault : SINK_FAULT_UNREACHABLE;
    }
    unreachable();
}

/* One trouble once, and again after a while. */
static bool is_news(BridgeClient *bridge, const Error *error) {
    usec_t now = nats_bridge_now();
    if (strcmp(bridge->said, error->text) == 0 && now - bridge->said_at < SAID_AGAIN) return false;
    (void)snprintf(bridge->said, sizeof bridge->said, "%s", error->text);
    bridge->said_at = now;
    return true;
}

ClientEventKind nats_bridge_pass(BridgeClient *bridge, SinkFault fault, const Error *error, ClientEvent *ret_event) {
    if (!is_news(bridge, error)) return CLIENT_NOTHING;
    ret_event->fault = fault;
    ret_event->error = *error;
    return CLIENT_PASSING_TROUBLE;
}

ClientEventKind nats_bridge_end(BridgeClient *bridge, SinkFault fault, ClientEvent *ret_event) {
    nats_bridge_close_consumer(bridge);
    bridge->is_over = true;
    ret_event->fault = fault;
    return CLIENT_END_OF_CLIENT;
}

static const char *id_of(NatsResult result) {
    switch (result) {
    case NATS_RESULT_MISSING: return "topicMissing";
    case NATS_RESULT_NO_JETSTREAM: return "noJetStream";
    case NATS_RESULT_NO_RIGHTS: return "noRights";
    default: return "consumerRefused";
    }
}

/* Something that somebody has to change, or that passes. */
ClientEventKind nats_bridge_tell(BridgeClient *bridge, NatsResult result, const Error *error, ClientEvent *ret_event) {
    SinkFault fault = nats_bridge_fault(bridge, result);
    bool passes = result == NATS_RESULT_RETRY;
    bridge->retry_at = nats_bridge_now() + (passes ? RETRY : result == NATS_RESULT_MISSING ? RETRY_MISSING : RETRY_LONG);
    if (error->code == -ECANCELED) return CLIENT_NOTHING;
    if (passes || (!bridge->assigned && !bridge->acks)) return nats_bridge_pass(bridge, fault, error, ret_event);
    bridge->stopped = true;
    if (!is_news(bridge, error)) return CLIENT_NOTHING;
    ret_event->index = NATS_PART;
    ret_event->id = id_of(result);
    ret_event->offset = bridge->next;
    ret_event->fault = fault;
    ret_event->error = *error;
    return CLIENT_PARTITION_TROUBLE;
}

ClientEventKind nats_bridge_not_connected(BridgeClient *bridge, ClientEvent *ret_event) {
    NatsClientStatus status;
    nats_client_status(bridge->client, &status);
    return status.fault == SINK_SOUND ? CLIENT_NOTHING : nats_bridge_pass(bridge, status.fault, &status.error, ret_event);
}
