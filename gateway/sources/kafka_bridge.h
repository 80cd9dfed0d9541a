/*
 * The client of sources of type kafka (bridge_client.h, bridge_client_kafka), on sinks/kafka.h.
 *
 * With `loop` the source's group shares the partitions of its topics; without, there is no group,
 * and the bridge assigns what it likes. TLS, logins and properties come with the connection. A
 * record's headers are its own, in order, a name as often as it is there, a null value as an empty
 * one.
 *
 * A partition that cannot be read has one of these ids: "topicMissing", "noRights",
 * "recordUnreadable" (the record at `offset` is broken, or compressed in a way that is not known
 * here). Of the first two the library tries again by itself. Trouble with a topic as a whole comes
 * as CLIENT_PASSING_TROUBLE, with its id, also when a topic that is read is deleted; `topics` says
 * which ones cannot be read. One that is made anew is read on at the old position, or is
 * CLIENT_OUT_OF_RANGE there.
 */
#pragma once

#include "gateway/sources/bridge_client.h"
