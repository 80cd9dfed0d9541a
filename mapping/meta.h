/*
 * The meta values of an event: what a record of a broker has besides its value. Each is a text,
 * made once for all columns and templates that take it.
 *
 * topic, subject, stream      as the broker names them
 * partition, offset, sequence as digits
 * key                         its bytes; NULL: the record has none
 * timestamp                   of the record, RFC 3339 in UTC with milliseconds (Kafka) or microseconds (NATS); NULL: it has none, or one
 *                             outside of the years 0001..9999
 * bridge                      kafka:TOPIC:PARTITION:OFFSET, nats:STREAM:SEQUENCE; from the second generation of a topic or stream on
 *                             TOPIC.N or STREAM.N, where N is its generation (1: made anew once)
 */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "mapping/plan.h"

/* The values of one record, and memory for those that have to be made. All-zero is valid. Each call
 * replaces the values and reuses the memory. One thread. */
typedef struct RecordMeta {
    EventMeta meta;
    Buffer text;
} RecordMeta;

/* Sets the values of a Kafka record. `key` without data: NULL. `timestamp`: milliseconds since
 * 1970; below 0: the record has none. The spans are borrowed. */
void record_meta_kafka(RecordMeta *record, Span topic, uint32_t generation, int32_t partition, int64_t offset, Span key, int64_t timestamp);
/* Sets the values of a message of a JetStream stream. `timestamp`: wall time. The spans are
 * borrowed. */
void record_meta_nats(RecordMeta *record, Span subject, Span stream, uint32_t generation, uint64_t sequence, usec_t timestamp);
void record_meta_deinit(RecordMeta *record);

/* Copies all values into the arena. */
EventMeta *event_meta_copy(Arena *arena, const EventMeta *meta);

/*
 * Sets one field for a dry run. The text must be a possible value of that field; it is borrowed.
 * -EINVAL: meta->fields has no such field (the error lists those of `source`), the field is given
 * twice, or the text is not a value for it.
 */
int event_meta_set(EventMeta *meta, const Source *source, Span name, Span text, Error *error);
/* Call it after all fields were set: makes `bridge`, if it was not set, from topic, partition and
 * offset, or stream and sequence, for the first generation. */
void event_meta_complete(EventMeta *meta, Arena *arena);
