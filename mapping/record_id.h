/*
 * The ids of events that were read from a broker: made of the place where the record stands, so
 * that a record that is read again, by whatever node and for whatever sink, gives the same ids.
 * Pure; any thread.
 *
 * They are UUIDs of RFC 9562 version 8: as in its name-based versions, a hash of a name in a space.
 * The hash is XXH3-128 and not the SHA-1 of version 5: it takes far less time, an id is made for
 * every record, and nobody gains by two places with one id, since a sender chooses neither names
 * nor offsets. docs/formats.md has the bytes and examples.
 */
#pragma once

#include "base/uuid.h"

/* The space of one partition of one generation of a topic: made once, then used for its records.
 * For JetStream the topic is the stream, and the partition is 0. */
void record_id_space(Span cluster, Span topic, uint32_t generation, int32_t partition, Uuid *ret_space);
/* `row`: which event of the record it is, from 0. */
void record_id(const Uuid *space, int64_t offset, uint32_t row, Uuid *ret_id);
