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

/* The values of one record, and the memory of those that had to be made. All-zero is ready; each
 * call begins anew and keeps the memory. One thread. */
typedef struct RecordMeta {
    EventMeta meta;
    Buffer text;
} RecordMeta;

/* A record of Kafka. `key` without data: NULL. `timestamp`: milliseconds; below 0: it has none. The
 * spans are borrowed. */
void record_meta_kafka(RecordMeta *record, Span topic, uint32_t generation, int32_t partition, int64_t offset, Span key, int64_t timestamp);
/* A message of a JetStream stream. `timestamp`: wall time. */
void record_meta_nats(RecordMeta *record, Span subject, Span stream, uint32_t generation, uint64_t sequence, usec_t timestamp);
void record_meta_deinit(RecordMeta *record);

/* All of it in the arena. */
EventMeta *event_meta_copy(Arena *arena, const EventMeta *meta);

/*
 * What a person gives for a dry run: sets one field, with a text that must be one that the field
 * can have. The text is borrowed. -EINVAL: there is no such field in meta->fields (`source` says
 * which ones there are), or it is given twice, or the text is none for it.
 */
int event_meta_set(EventMeta *meta, const Source *source, Span name, Span text, Error *error);
/* After all were set: `bridge`, when it was not, from topic, partition and offset, or stream and
 * sequence, as of the first generation. */
void event_meta_complete(EventMeta *meta, Arena *arena);
