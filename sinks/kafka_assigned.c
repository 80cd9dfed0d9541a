/* The partitions that a consumer of Kafka has, found by their places or by a record of theirs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/kafka_consumer_parts.h"

void kafka_consumer_forget_look_up(KafkaConsumer *consumer) {
    consumer->last_topic = NULL;
    consumer->last_index = KAFKA_NO_INDEX;
}

static int compare_place(const char *a, int32_t a_partition, const char *b, int32_t b_partition) {
    int r = strcmp(a, b);
    return r ? r : (a_partition > b_partition) - (a_partition < b_partition);
}

int kafka_consumer_compare_indexes(const void *a, const void *b, void *context) {
    const Assigned *assigned = context, *x = &assigned[*(const size_t *)a], *y = &assigned[*(const size_t *)b];
    return compare_place(x->topic, x->partition, y->topic, y->partition);
}

static size_t find_index(const KafkaConsumer *consumer, const char *topic, int32_t partition) {
    size_t low = 0, high = consumer->assigned_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const Assigned *at = &consumer->assigned[consumer->by_name[middle]];
        int r = compare_place(topic, partition, at->topic, at->partition);
        if (r == 0) return consumer->by_name[middle];
        if (r < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return KAFKA_NO_INDEX;
}

size_t kafka_consumer_index_of(KafkaConsumer *consumer, const rd_kafka_message_t *message) {
    if (!message->rkt) return KAFKA_NO_INDEX;
    if (message->rkt == consumer->last_topic && message->partition == consumer->last_partition) return consumer->last_index;
    consumer->last_index = find_index(consumer, rd_kafka_topic_name(message->rkt), message->partition);
    consumer->last_topic = message->rkt;
    consumer->last_partition = message->partition;
    return consumer->last_index;
}

void kafka_consumer_free_assigned(KafkaConsumer *consumer) {
    for (size_t i = 0; i < consumer->assigned_count; i++) free(consumer->assigned[i].topic);
    free(consumer->assigned);
    free(consumer->by_name);
    consumer->assigned = NULL;
    consumer->by_name = NULL;
    consumer->assigned_count = 0;
    kafka_consumer_forget_look_up(consumer);
}

void kafka_consumer_free_offered(KafkaConsumer *consumer) {
    for (size_t i = 0; i < consumer->offered_count; i++) free((char *)(uintptr_t)consumer->offered[i].topic);
    free(consumer->offered);
    consumer->offered = NULL;
    consumer->offered_count = 0;
}

/* A list of the library: those that are assigned and `which` holds for, at their positions. */
rd_kafka_topic_partition_list_t *kafka_consumer_list_where(const KafkaConsumer *consumer, bool (*which)(const Assigned *assigned)) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    check(list);
    for (size_t i = 0; i < consumer->assigned_count; i++) {
        const Assigned *at = &consumer->assigned[i];
        if (which(at)) rd_kafka_topic_partition_list_add(list, at->topic, at->partition)->offset = at->position;
    }
    return list;
}

bool kafka_consumer_is_paused_there(const Assigned *assigned) {
    return assigned->library_paused;
}

int kafka_consumer_failed(const KafkaConsumer *consumer, const char *what, rd_kafka_resp_err_t code, Error *error) {
    return error_set(error, -EIO, "Connection \"%s\": %s: %s.", consumer->name, what, rd_kafka_err2str(code));
}
