/*
 * The ids of events that were read from a broker. An id is made from the place of the record. So a
 * record that is read again, by any node and for any sink, gives the same ids. Pure; any thread.
 *
 * They are UUIDs of RFC 9562 version 8. Like name-based UUIDs, they are a hash of a name in a
 * space. The hash is XXH3-128 and not the SHA-1 of version 5, because it is much faster and an id
 * is made for every record. It does not have to resist attacks, because a sender chooses neither
 * names nor offsets. docs/formats.md has the bytes and examples.
 */
#pragma once

#include "base/uuid.h"

/* Makes the space of one partition of one generation of a topic. It is made once and used for all
 * its records. For JetStream the topic is the stream, and the partition is 0. */
void record_id_space(Span cluster, Span topic, uint32_t generation, int32_t partition, Uuid *ret_space);
/* Makes the id of an event. `row`: number of the event in its record, from 0. */
void record_id(const Uuid *space, int64_t offset, uint32_t row, Uuid *ret_id);
