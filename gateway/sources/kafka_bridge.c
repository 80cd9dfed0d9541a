#include "gateway/sources/kafka_bridge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "config/source_kafka.h"
#include "mapping/headers.h"
#include "sinks/kafka.h"

/* Of the type that bridge_client.h names; of a Kafka source. */
typedef struct KafkaBridge {
    KafkaConsumer *consumer;
    Source *source; /* a reference */
    const KafkaSource *kafka;
    const SinkPatience *patience;
    bool has_group;
    EventHeader *headers; /* of the record that was handed out */
    size_t header_room;
    ClientPartition *offered; /* of the assignment that was handed out */
    size_t offered_room;
} KafkaBridge;

static KafkaBridge *bridge_of(BridgeClient *client) {
    return (KafkaBridge *)(void *)client;
}

static const KafkaConsumer *consumer_of(const BridgeClient *client) {
    return ((const KafkaBridge *)(const void *)client)->consumer;
}

/* ---- open and close -------------------------------------------------------------------------- */

static int kafka_open(const Source *source, const Connection *connection, const char *data_directory, uint32_t project,
                      const SinkPatience *patience, BridgeClient **ret_client, SinkFault *ret_fault, Error *error) {
    const KafkaSource *kafka = source_kafka(source);
    check(kafka);
    _cleanup_free_ char *group = kafka->bridge.loop ? kafka_source_group(source, project) : NULL;
    KafkaOptions options = {.group = group};
    if (group) {
        options.topics = (const char *const *)kafka->topics;
        options.topic_count = kafka->topic_count;
    }
    KafkaConsumer *consumer;
    int r = kafka_consumer_open(connection, data_directory, &options, &consumer, ret_fault, error);
    if (r < 0) return r;
    KafkaBridge *bridge = calloc(1, sizeof *bridge);
    check(bridge);
    *bridge = (KafkaBridge){
        .consumer = consumer, .source = source_ref(source), .kafka = kafka, .patience = patience, .has_group = group != NULL};
    *ret_client = (BridgeClient *)(void *)bridge;
    return 0;
}

static bool kafka_close(BridgeClient *take_client, usec_t limit) {
    if (!take_client) return true;
    KafkaBridge *bridge = bridge_of(take_client);
    bool closed = kafka_consumer_close(bridge->consumer, limit);
    source_unref(bridge->source);
    free(bridge->headers);
    free(bridge->offered);
    free(bridge);
    return closed;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Not all of it: a record has no error, which is large. */
static ClientEventKind set_event(ClientEvent *event, ClientEventKind kind, const KafkaEvent *from) {
    event->kind = kind;
    event->index = from->index;
    event->offset = from->offset;
    event->partitions = NULL;
    event->partition_count = 0;
    event->generation = 0;
    event->id = NULL;
    event->fault = SINK_SOUND;
    return kind;
}

static usec_t time_of(int64_t milliseconds) {
    if (milliseconds == KAFKA_NOT_THERE || milliseconds > INT64_MAX / USEC_MS || milliseconds < INT64_MIN / USEC_MS) return CLIENT_NO_TIME;
    return milliseconds * USEC_MS;
}

static void set_record(KafkaBridge *bridge, const KafkaEvent *from, ClientRecord *record) {
    const KafkaHeader *headers;
    size_t count = kafka_consumer_headers(bridge->consumer, &headers), kept = 0;
    if (count > bridge->header_room) {
        bridge->headers = reallocarray(bridge->headers, count, sizeof *bridge->headers);
        check(bridge->headers);
        bridge->header_room = count;
    }
    for (size_t i = 0; i < count; i++) {
        Span name = span_of(headers[i].name);
        if (header_is_secret(name)) continue;
        bridge->headers[kept++] = (EventHeader){.name = name, .value = headers[i].value.data ? headers[i].value : SPAN("")};
    }
    *record = (ClientRecord){.offset = from->offset,
                             .timestamp = time_of(from->timestamp),
                             .key = from->key,
                             .value = from->value,
                             .headers = bridge->headers,
                             .header_count = kept};
}

static void set_assignment(KafkaBridge *bridge, const KafkaEvent *from, ClientEvent *event) {
    if (from->partition_count > bridge->offered_room) {
        bridge->offered = reallocarray(bridge->offered, from->partition_count, sizeof *bridge->offered);
        check(bridge->offered);
        bridge->offered_room = from->partition_count;
    }
    for (size_t i = 0; i < from->partition_count; i++)
        bridge->offered[i] = (ClientPartition){
            .topic = from->partitions[i].topic, .partition = from->partitions[i].partition, .offset = KAFKA_NOT_THERE};
    event->partitions = bridge->offered;
    event->partition_count = from->partition_count;
    event->generation = from->generation;
}

static const char *id_of(const KafkaEvent *from) {
    if (from->fault == SINK_FAULT_TOPIC) return "topicMissing";
    if (from->fault == SINK_FAULT_RIGHTS) return "noRights";
    return "recordUnreadable";
}

static ClientEventKind set_trouble(const KafkaEvent *from, ClientEvent *event) {
    ClientEventKind kind = CLIENT_PASSING_TROUBLE;
    if (from->verdict == KAFKA_STOP_ALL) kind = CLIENT_END_OF_CLIENT;
    if (from->verdict == KAFKA_STOP_PARTITION && from->index != KAFKA_NO_INDEX) kind = CLIENT_PARTITION_TROUBLE;
    (void)set_event(event, kind, from);
    if (from->verdict == KAFKA_STOP_PARTITION) event->id = id_of(from);
    event->fault = from->fault;
    event->error = from->error;
    return kind;
}

static ClientEventKind kafka_poll(BridgeClient *client, usec_t wait, ClientEvent *ret_event) {
    KafkaBridge *bridge = bridge_of(client);
    KafkaEvent from;
    switch (kafka_consumer_poll(bridge->consumer, wait, &from)) {
    case KAFKA_NOTHING: return set_event(ret_event, CLIENT_NOTHING, &from);
    case KAFKA_RECORD: set_record(bridge, &from, &ret_event->record); return set_event(ret_event, CLIENT_RECORD, &from);
    case KAFKA_END: return set_event(ret_event, CLIENT_END, &from);
    case KAFKA_ASSIGNED:
        (void)set_event(ret_event, CLIENT_ASSIGNED, &from);
        set_assignment(bridge, &from, ret_event);
        return CLIENT_ASSIGNED;
    case KAFKA_REVOKED: return set_event(ret_event, CLIENT_REVOKED, &from);
    case KAFKA_OUT_OF_RANGE: return set_event(ret_event, CLIENT_OUT_OF_RANGE, &from);
    case KAFKA_TROUBLE: return set_trouble(&from, ret_event);
    }
    unreachable();
}

/* ---- what is there --------------------------------------------------------------------------- */

static int kafka_topics(BridgeClient *client, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error) {
    KafkaBridge *bridge = bridge_of(client);
    KafkaTopics found;
    int r = kafka_consumer_topics(bridge->consumer, (const char *const *)bridge->kafka->topics, bridge->kafka->topic_count, limit,
                                  bridge->patience, &found, ret_fault, error);
    if (r < 0) return r;
    if (!found.cluster[0]) {
        kafka_topics_deinit(&found);
        if (ret_fault) *ret_fault = SINK_FAULT_OTHER;
        return error_set(error, -EPROTO,
                         "Connection \"%s\": the brokers do not report the id of their cluster, so positions cannot be stored.",
                         bridge->kafka->bridge.connection);
    }
    *ret_topics = (ClientTopics){.items = arena_zalloc(arena, (found.count + 1) * sizeof *ret_topics->items),
                                 .count = found.count,
                                 .cluster = arena_copy(arena, span_of(found.cluster))};
    for (size_t i = 0; i < found.count; i++)
        ret_topics->items[i] = (ClientTopic){.name = arena_copy(arena, span_of(found.items[i].name)),
                                             .partition_count = found.items[i].partition_count,
                                             .fault = found.items[i].fault};
    kafka_topics_deinit(&found);
    return 0;
}

static int64_t at_time(usec_t time) {
    return time < 0 ? 0 : time; /* below are the names of the ends */
}

static int64_t when_of(const BridgeSource *source, const ClientOffset *offset) {
    switch (offset->when) {
    case CLIENT_EARLIEST: return KAFKA_EARLIEST;
    case CLIENT_LATEST: return KAFKA_LATEST;
    case CLIENT_AT_TIME: return at_time(offset->time);
    case CLIENT_START: break;
    }
    const BridgeStart *start = offset->start ? offset->start : &source->start;
    switch (start->kind) {
    case BRIDGE_START_EARLIEST: return KAFKA_EARLIEST;
    case BRIDGE_START_LATEST: return KAFKA_LATEST;
    case BRIDGE_START_TIME: return at_time((start->time + USEC_MS - 1) / USEC_MS);
    case BRIDGE_START_SEQUENCE: break; /* of NATS */
    }
    unreachable();
}

static int kafka_offsets(BridgeClient *client, ClientOffset *offsets, size_t count, usec_t limit, Error *error) {
    KafkaBridge *bridge = bridge_of(client);
    _cleanup_free_ KafkaOffset *asked = calloc(count + 1, sizeof *asked);
    check(asked);
    for (size_t i = 0; i < count; i++)
        asked[i] = (KafkaOffset){
            .topic = offsets[i].topic, .partition = offsets[i].partition, .at = when_of(&bridge->kafka->bridge, &offsets[i])};
    int r = kafka_consumer_offsets(bridge->consumer, asked, count, limit, bridge->patience, error);
    for (size_t i = 0; i < count; i++) {
        offsets[i].offset = asked[i].offset;
        offsets[i].failed = asked[i].failed;
    }
    return r;
}

/* ---- what the bridge decides ----------------------------------------------------------------- */

static KafkaPartition *to_kafka(const ClientPartition *partitions, size_t count) {
    KafkaPartition *list = calloc(count + 1, sizeof *list);
    check(list);
    for (size_t i = 0; i < count; i++) {
        check(partitions[i].offset >= 0);
        list[i] = (KafkaPartition){.topic = partitions[i].topic, .partition = partitions[i].partition, .offset = partitions[i].offset};
    }
    return list;
}

static int kafka_assign(BridgeClient *client, uint64_t generation, const ClientPartition *partitions, size_t count, Error *error) {
    _cleanup_free_ KafkaPartition *list = to_kafka(partitions, count);
    int r = kafka_consumer_assign(bridge_of(client)->consumer, generation, list, count, error);
    return r == KAFKA_ASSIGN_STALE ? CLIENT_ASSIGN_STALE : r;
}

static int kafka_seek(BridgeClient *client, size_t index, int64_t offset, Error *error) {
    check(offset >= 0);
    kafka_consumer_seek(bridge_of(client)->consumer, index, offset);
    return 0;
}

static int kafka_pause(BridgeClient *client, size_t index, Error *error) {
    kafka_consumer_pause(bridge_of(client)->consumer, index);
    return 0;
}

static int kafka_resume(BridgeClient *client, size_t index, Error *error) {
    kafka_consumer_resume(bridge_of(client)->consumer, index);
    return 0;
}

static void kafka_bounds(const BridgeClient *client, size_t index, int64_t *ret_first, int64_t *ret_end) {
    kafka_consumer_bounds(consumer_of(client), index, ret_first, ret_end);
}

static void kafka_commit(BridgeClient *client, const ClientPartition *offsets, size_t count) {
    KafkaBridge *bridge = bridge_of(client);
    if (!bridge->has_group || count == 0) return;
    _cleanup_free_ KafkaPartition *list = to_kafka(offsets, count);
    Error error = {0};
    if (kafka_consumer_commit(bridge->consumer, list, count, &error) < 0)
        log_failure(LOG_INFO, "the group's offsets are not committed (positions are not affected)", &error);
}

const BridgeClientType bridge_client_kafka = {
    .name = "kafka",
    .open = kafka_open,
    .close = kafka_close,
    .poll = kafka_poll,
    .topics = kafka_topics,
    .offsets = kafka_offsets,
    .assign = kafka_assign,
    .seek = kafka_seek,
    .pause = kafka_pause,
    .resume = kafka_resume,
    .bounds = kafka_bounds,
    .commit = kafka_commit,
};
