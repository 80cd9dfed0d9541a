/*
 * A consumer of a Kafka cluster: librdkafka, wrapped. No type of the library leaves this header.
 *
 * Threads. A consumer belongs to the thread that opened it: every function here is called on that
 * thread, and events are handed out there. The library's own threads never call into the caller.
 * The functions with a time limit ask the brokers and wait for them that long; all others return at
 * once.
 *
 * Groups. With a group the members share the partitions: KAFKA_ASSIGNED says which ones this member
 * has got, and reading begins when the caller answers it with kafka_consumer_assign, at offsets
 * that the caller chose. KAFKA_REVOKED takes all of them away; by the time it is handed out,
 * reading has ended, and until then what the caller asks of a partition does nothing. Without a
 * group the caller assigns what it likes. Nothing of an earlier assignment is handed out after a
 * revoke or another assign, nothing of a partition while it is paused, and after a seek nothing but
 * what is there from that offset on.
 *
 * Offsets. The library neither stores nor commits offsets, and never resets a position: what is
 * read is decided by the caller alone. Records of aborted transactions are not handed out, so
 * offsets have gaps.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "sinks/driver.h"

typedef struct KafkaConsumer KafkaConsumer;

typedef struct KafkaOptions {
    const char *group; /* NULL: none */
    /* What a group reads; a leading ^ makes a regular expression (POSIX, extended) of it. With a
     * group only. */
    const char *const *topics;
    size_t topic_count;
    size_t queued_bytes; /* of records that were fetched and not handed out yet, about: at least 1 MB; 0: 8 MB */
} KafkaOptions;

typedef struct KafkaPartition {
    const char *topic;
    int32_t partition;
    int64_t offset; /* where reading begins: at 0 or above, or KAFKA_EARLIEST or KAFKA_LATEST */
} KafkaPartition;

enum { KAFKA_LATEST = -1, KAFKA_EARLIEST = -2, KAFKA_NOT_THERE = -1 };
#define KAFKA_NO_INDEX SIZE_MAX

typedef enum KafkaEventKind {
    KAFKA_NOTHING, /* the time is over */
    KAFKA_RECORD,  /* index, offset, key, value, timestamp; kafka_consumer_headers */
    KAFKA_END,     /* index, offset: all before this offset was handed out, or will never be; no more is there now */
    KAFKA_ASSIGNED, /* partitions (their offsets are KAFKA_NOT_THERE), generation: answer with kafka_consumer_assign, soon, also when empty */
    KAFKA_REVOKED,      /* lost: the group went on without this member, so others may have the partitions already */
    KAFKA_OUT_OF_RANGE, /* index, offset: it is not there (any more, or yet). The partition is not read until kafka_consumer_seek */
    KAFKA_TROUBLE,      /* verdict, fault, error; topic and partition or index where it concerns one */
} KafkaEventKind;

typedef enum KafkaVerdict {
    KAFKA_PASSES,         /* the library tries again by itself; for people to see */
    KAFKA_STOP_PARTITION, /* this partition, or this topic, is not read until it is changed at the broker, or until a seek behind the record */
    KAFKA_STOP_ALL,       /* the consumer is of no use any more: close it. A new one reads the secrets again */
} KafkaVerdict;

typedef struct KafkaEvent {
    KafkaEventKind kind;
    size_t index; /* of the partition among those that were assigned last; KAFKA_NO_INDEX: none of them */
    int64_t offset;
    Span key, value;                  /* valid until the next call on the consumer; data NULL: null */
    int64_t timestamp;                /* ms since 1970, as the producer or the broker set it; KAFKA_NOT_THERE: none */
    const KafkaPartition *partitions; /* valid until the next call on the consumer */
    size_t partition_count;
    uint64_t generation; /* of the assignment that is offered */
    bool lost;
    KafkaVerdict verdict;
    SinkFault fault;
    const char *topic; /* NULL: none; valid until the next call on the consumer */
    int32_t partition; /* -1: none */
    Error error;
} KafkaEvent;

typedef struct KafkaHeader {
    const char *name;
    Span value; /* data NULL: null */
} KafkaHeader;

/*
 * Reads the secrets of the connection, starts the library's threads and subscribes; waits for no
 * broker. 0; or < 0: a file cannot be read or a setting is wrong, with *ret_fault (may be NULL).
 */
int kafka_consumer_open(const Connection *connection, const char *data_directory, const KafkaOptions *options, KafkaConsumer **ret_consumer,
                        SinkFault *ret_fault, Error *error);
/*
 * Leaves the group and frees the consumer; NULL-safe. What takes longer than `limit` goes on in a
 * thread of its own, and the caller with it: the broker hangs, or the library does. Then the memory
 * is given up, which is logged and counted (METRIC_CLIENTS_ABANDONED); false.
 */
bool kafka_consumer_close(KafkaConsumer *take_consumer, usec_t limit);

/* The next event, within `wait`; the kind. The caller comes back within a minute
 * (max.poll.interval.ms), or the group goes on without it. */
KafkaEventKind kafka_consumer_poll(KafkaConsumer *consumer, usec_t wait, KafkaEvent *ret_event);
/* Headers of the record that was handed out last, in order; valid until the next call on the
 * consumer. Returns their number. */
size_t kafka_consumer_headers(KafkaConsumer *consumer, const KafkaHeader **ret_headers);

/*
 * Reading begins, in the place of all that was assigned before: events have the index in
 * `partitions`, which are copied. `generation` is that of the KAFKA_ASSIGNED that is answered;
 * without a group it is 0. 0; KAFKA_ASSIGN_STALE: it was revoked in between, or another one
 * follows; or < 0.
 */
enum { KAFKA_ASSIGN_STALE = 1 };
int kafka_consumer_assign(KafkaConsumer *consumer, uint64_t generation, const KafkaPartition *partitions, size_t count, Error *error);
/*
 * The next three hold at once for what is handed out, and for what is fetched from the next poll
 * on: many of them cost hardly more than one. Seek: from this offset on, whatever was fetched; also
 * of a paused partition, which stays paused, and of one that is out of range. Pause: what was
 * fetched is thrown away, and read again after a resume. Heartbeats go on as long as the caller
 * polls. A pause of a paused partition and a resume of one that is not do nothing.
 */
void kafka_consumer_seek(KafkaConsumer *consumer, size_t index, int64_t offset);
void kafka_consumer_pause(KafkaConsumer *consumer, size_t index);
void kafka_consumer_resume(KafkaConsumer *consumer, size_t index);
/* The offset that follows what was handed out. */
int64_t kafka_consumer_position(const KafkaConsumer *consumer, size_t index);
/* As of the last fetch: the first offset that is there, and the one behind the last;
 * KAFKA_NOT_THERE: not known yet. A paused partition is not fetched. */
void kafka_consumer_bounds(const KafkaConsumer *consumer, size_t index, int64_t *ret_first, int64_t *ret_end);
/* Sends the group's offsets to the broker and waits for nothing; one that is refused is logged. For
 * lag tools only. */
int kafka_consumer_commit(KafkaConsumer *consumer, const KafkaPartition *offsets, size_t count, Error *error);

/* ---- what is there: asks the brokers --------------------------------------------------------- */

typedef struct KafkaTopic {
    char *name;
    size_t partition_count; /* 0 with a fault */
    SinkFault fault;        /* SINK_SOUND, SINK_FAULT_TOPIC (it is not there), SINK_FAULT_RIGHTS, or SINK_FAULT_OTHER: not now */
} KafkaTopic;

typedef struct KafkaTopics {
    KafkaTopic *items; /* by name */
    size_t count;
    char cluster[64]; /* id; "": the broker has none */
    size_t broker_count;
} KafkaTopics;

/* The topics of these names, also those that are not there, and all that match an expression (see
 * KafkaOptions). 0, or < 0 with the fault. */
int kafka_consumer_topics(KafkaConsumer *consumer, const char *const *topics, size_t count, usec_t limit, const SinkPatience *patience,
                          KafkaTopics *ret_topics, SinkFault *ret_fault, Error *error);
void kafka_topics_deinit(KafkaTopics *topics);

typedef struct KafkaOffset {
    const char *topic;
    int32_t partition;
    int64_t at;     /* in: ms since 1970, or KAFKA_EARLIEST or KAFKA_LATEST */
    int64_t offset; /* out: of the first record from that time on; of a time beyond the last record: the end */
    bool failed;    /* out: not known; the first failure is in the error */
} KafkaOffset;

/* A partition is asked for at one time only in a call, beside its ends. With transactions that are
 * open the end is that of what is committed. 0: all are known; or < 0, -ECANCELED when the patience
 * (may be NULL) is over. */
int kafka_consumer_offsets(KafkaConsumer *consumer, KafkaOffset *offsets, size_t count, usec_t limit, const SinkPatience *patience,
                           Error *error);
