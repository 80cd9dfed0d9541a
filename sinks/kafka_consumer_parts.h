/* What the files of a consumer of Kafka share: kafka.c, which opens, polls and closes it,
 * kafka_assigned.c and kafka_callbacks.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"
#include "sinks/kafka_parts.h"

#define PENDING_MAX 64 /* events of callbacks that wait to be handed out: older trouble gives way */

typedef struct Assigned {
    char *topic;
    int32_t partition;
    int64_t position;            /* what follows what was handed out */
    bool paused, library_paused; /* what is wanted, and what the library was told; they differ until the next poll */
    bool seeks;                  /* the library is to be told the position, when it is not paused */
    bool came;                   /* it has handed us something since it was told */
    bool stopped;                /* out of range, or at a record that cannot be read: nothing is handed out until a seek */
    bool at_end;
    bool fresh; /* nothing has been handed out since it was assigned or sought */
} Assigned;

typedef struct Pending {
    KafkaEventKind kind;
    size_t index;
    int64_t offset;
    uint64_t generation;
    bool lost;
    KafkaVerdict verdict;
    SinkFault fault;
    char *topic;
    int32_t partition;
    Error error;
} Pending;

struct KafkaConsumer {
    ThreadOwner owner;
    rd_kafka_t *handle;
    char *name; /* of the connection; a copy, for what is given up may outlive that */
    bool has_group;
    bool closing; /* the thread that closes it has it now */
    size_t queued_bytes, bytes_since_empty;
    /* What the group offered last. */
    KafkaPartition *offered;
    size_t offered_count;
    uint64_t generation;
    bool offer_holds;
    Assigned *assigned;
    size_t assigned_count;
    bool has_changes;                   /* pauses, resumes and seeks that the library was not told of yet */
    size_t *by_name;                    /* indexes of assigned, by topic and partition */
    const rd_kafka_topic_t *last_topic; /* the last look-up: records of a partition come in a row */
    int32_t last_partition;
    size_t last_index;
    Pending pending[PENDING_MAX];
    size_t pending_count;
    Pending handed;              /* the last one that was handed out: its texts are valid until the next call */
    rd_kafka_message_t *current; /* handed out */
    rd_kafka_message_t *held;    /* came with a callback, whose event goes first */
    KafkaHeader *headers;
    size_t header_room;
    /* The last trouble with connections, for who waits for an answer. */
    bool all_down;
    unsigned hang_ups; /* of brokers that expect TLS, a login or a certificate, or are just being stopped */
    bool has_trouble;
    SinkFault trouble_fault;
    KafkaVerdict trouble_verdict;
    Error trouble;
};

/* ---- kafka_assigned.c ---- */

/* Of a record that the library handed out; KAFKA_NO_INDEX: its partition is not assigned. */
size_t kafka_consumer_index_of(KafkaConsumer *consumer, const rd_kafka_message_t *message);
void kafka_consumer_forget_look_up(KafkaConsumer *consumer);                      /* what is assigned has changed */
int kafka_consumer_compare_indexes(const void *a, const void *b, void *assigned); /* of by_name, for qsort_r */
/* A list of the library: those that are assigned and `which` holds for, at their positions. */
rd_kafka_topic_partition_list_t *kafka_consumer_list_where(const KafkaConsumer *consumer, bool (*which)(const Assigned *assigned));
bool kafka_consumer_is_paused_there(const Assigned *assigned);
void kafka_consumer_free_assigned(KafkaConsumer *consumer);
void kafka_consumer_free_offered(KafkaConsumer *consumer);
/* -EIO: what the library says. */
int kafka_consumer_failed(const KafkaConsumer *consumer, const char *what, rd_kafka_resp_err_t code, Error *error);

/* ---- kafka_callbacks.c ---- */

/* Callbacks run on the thread that polls, or on the one that closes. */
void kafka_consumer_set_callbacks(KafkaConsumer *consumer, rd_kafka_conf_t *configuration);
void kafka_consumer_resume_all(KafkaConsumer *consumer); /* of those that the library holds back */
void kafka_consumer_remove_pending(KafkaConsumer *consumer, size_t at);
void kafka_consumer_add_trouble(KafkaConsumer *consumer, rd_kafka_resp_err_t code, const char *words, const char *topic, int32_t partition,
                                size_t index, int64_t offset);
/* A record that waits behind an event comes again; KAFKA_NO_INDEX: of any partition, and it does
 * not. */
void kafka_consumer_drop_held(KafkaConsumer *consumer, size_t index);
void kafka_consumer_begin_call(KafkaConsumer *consumer); /* what was handed out is not valid any more */
