#include "sinks/kafka_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "sinks/kafka.h"

#define LIMIT (8 * USEC_SECOND)       /* for all answers */
#define CLOSE_LIMIT (2 * USEC_SECOND) /* so that the whole test ends within 10 s */
#define READ_MAX ((size_t)500)        /* topics that are read */

typedef struct Trial {
    const char *name;
    const SinkTest *test;
    KafkaConsumer *consumer;
    usec_t deadline; /* boot */
    KafkaTopics topics;
} Trial;

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

static SinkFault evaluate_topics(const Trial *trial, Error *error) {
    for (size_t i = 0; i < trial->topics.count; i++) {
        const KafkaTopic *topic = &trial->topics.items[i];
        switch (topic->fault) {
        case SINK_SOUND: break;
        case SINK_FAULT_TOPIC:
            (void)error_set(error, -ENOENT, "Connection \"%s\": the topic \"%s\" is missing, or the user lacks Describe on it.",
                            trial->name, topic->name);
            return SINK_FAULT_TOPIC;
        case SINK_FAULT_RIGHTS:
            (void)error_set(error, -EPERM, "Connection \"%s\": the user lacks Describe on the topic \"%s\".", trial->name, topic->name);
            return SINK_FAULT_RIGHTS;
        default:
            (void)error_set(error, -EAGAIN, "Connection \"%s\": the brokers do not know at present where the topic \"%s\" is.", trial->name,
                            topic->name);
            return SINK_FAULT_OTHER;
        }
    }
    return SINK_SOUND;
}

/* Polls until each of them is at its end, or something is wrong. */
static SinkFault read_ends(const Trial *trial, size_t count, Error *error) {
    KafkaEvent event;
    Error last = {0};
    SinkFault last_fault = SINK_FAULT_UNREACHABLE;
    for (size_t ended = 0; ended < count;) {
        if (now() >= trial->deadline || sink_patience_is_over(trial->test->patience)) {
            if (last.code)
                (void)error_set(error, -ETIMEDOUT, "%s", last.text);
            else
                (void)error_set(error, -ETIMEDOUT, "Connection \"%s\": the brokers do not send the topics' records in time.", trial->name);
            return last_fault;
        }
        switch (kafka_consumer_poll(trial->consumer, SINK_PATIENCE_TURN, &event)) {
        case KAFKA_END: ended++; break;
        case KAFKA_TROUBLE:
            last = event.error;
            last_fault = event.fault;
            if (event.fault == SINK_FAULT_RIGHTS && event.topic)
                (void)error_set(&last, -EPERM, "Connection \"%s\": the user lacks Read on the topic \"%s\".", trial->name, event.topic);
            if (event.verdict == KAFKA_PASSES) break;
            (void)error_set(error, last.code, "%s", last.text);
            return last_fault;
        default: break;
        }
    }
    return SINK_SOUND;
}

static SinkFault try_reading(const Trial *trial, Error *error) {
    size_t count = trial->topics.count < READ_MAX ? trial->topics.count : READ_MAX;
    if (count == 0) return SINK_SOUND;
    _cleanup_free_ KafkaPartition *partitions = calloc(count, sizeof *partitions);
    check(partitions);
    for (size_t i = 0; i < count; i++) partitions[i] = (KafkaPartition){.topic = trial->topics.items[i].name, .offset = KAFKA_LATEST};
    return kafka_consumer_assign(trial->consumer, 0, partitions, count, error) < 0 ? SINK_FAULT_OTHER : read_ends(trial, count, error);
}

static SinkFault run(Trial *trial, SinkTest *test, Error *error) {
    SinkFault fault = SINK_FAULT_OTHER;
    if (kafka_consumer_topics(trial->consumer, test->tables, test->table_count, LIMIT, test->patience, &trial->topics, &fault, error) < 0)
        return fault;
    (void)snprintf(test->version, sizeof test->version, "Kafka, cluster %s", trial->topics.cluster);
    fault = evaluate_topics(trial, error);
    if (fault == SINK_SOUND) fault = try_reading(trial, error);
    if (fault != SINK_SOUND) return fault;
    if (test->table_count == 0)
        (void)snprintf(test->note, sizeof test->note,
                       "No source reads topics of this connection yet: permissions on topics were not tested.");
    else if (trial->topics.count > READ_MAX)
        (void)snprintf(test->note, sizeof test->note, "There are %zu topics; reading was tested for %zu.", trial->topics.count, READ_MAX);
    return SINK_SOUND;
}

SinkFault kafka_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error) {
    Trial trial = {.name = connection->name, .test = test, .deadline = now() + LIMIT};
    test->version[0] = test->note[0] = '\0';
    test->fault = SINK_FAULT_OTHER;
    if (kafka_consumer_open(connection, data_directory, &(KafkaOptions){0}, &trial.consumer, &test->fault, error) < 0) return test->fault;
    test->fault = run(&trial, test, error);
    kafka_topics_deinit(&trial.topics);
    (void)kafka_consumer_close(trial.consumer, CLOSE_LIMIT);
    return test->fault;
}
