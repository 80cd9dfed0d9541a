/*
 * The clients of sources of type nats (bridge_client.h), made of the client in sinks/nats.h.
 *
 * bridge_client_nats: without a durable. An ordered consumer of the client's own from the position
 * on; offsets are sequences of the stream. It leaves nothing at the server.
 * bridge_client_nats_durable: a durable consumer with acks. The server remembers what is acked;
 * tokens are those of nats_token.h.
 *
 * The key of positions. `cluster` is "nats:" and the name of the connection: a server of Debian 12
 * says neither its account nor, unless it is one of a cluster, any name that it keeps over a
 * restart. So the gateways that share a stream give the connection the same name, and those that
 * read different servers into one table different ones. `topic_id` is the time when the stream was
 * created: a stream that was made anew has another one.
 *
 * A stream that is not there, a right that is missing and the like are said once
 * (CLIENT_PARTITION_TROUBLE) and looked at again now and then; when they are over, and when the
 * stream was made anew, the client ends (CLIENT_END_OF_CLIENT), so that the next one begins from
 * what is there then.
 */
#pragma once

#include "gateway/sources/bridge_client.h"

/* "nats:CONNECTION"; free(). */
char *nats_bridge_cluster(const Connection *connection);
