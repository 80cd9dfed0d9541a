/* What is there at the brokers: topics and offsets. */
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "sinks/kafka_parts.h"

#define TURN_MIN (100 * USEC_MS) /* of waiting for an answer: the caller's patience is asked between, and a slow answer needs a long one */
#define TURN_MAX (2 * USEC_SECOND)
#define OFFSETS_AT_ONCE ((size_t)1000)

/* ---- topics ---------------------------------------------------------------------------------- */

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* All topics, or those that the library knows by name. */
static int ask_metadata(KafkaConsumer *consumer, bool all, usec_t deadline, const SinkPatience *patience,
                        const struct rd_kafka_metadata **ret_metadata, SinkFault *ret_fault, Error *error) {
    rd_kafka_t *handle = kafka_consumer_handle(consumer);
    const char *name = kafka_consumer_name(consumer);
    for (usec_t turn = TURN_MIN;; turn = turn * 2 < TURN_MAX ? turn * 2 : TURN_MAX) {
        usec_t left = deadline - now();
        if (turn > left) turn = left > USEC_MS ? left : USEC_MS;
        rd_kafka_resp_err_t code = rd_kafka_metadata(handle, all, NULL, ret_metadata, (int)(turn / USEC_MS));
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            kafka_consumer_answered(consumer);
            return 0;
        }
        int r = kafka_consumer_trouble(consumer, now() < deadline, ret_fault, error);
        if (r < 0) return r;
        *ret_fault = kafka_fault_of(code, NULL);
        if (sink_patience_is_over(patience)) return error_set(error, -ECANCELED, "Connection \"%s\": the wait was ended.", name);
        if (now() >= deadline)
            return error_set(error, -ETIMEDOUT, "Connection \"%s\": no broker answers: %s.", name, rd_kafka_err2str(code));
    }
}

static void put_topic(KafkaTopics *topics, const struct rd_kafka_metadata_topic *from) {
    topics->items = reallocarray(topics->items, topics->count + 1, sizeof *topics->items);
    check(topics->items);
    KafkaTopic *topic = &topics->items[topics->count++];
    bool is_there = from->err == RD_KAFKA_RESP_ERR_NO_ERROR && from->partition_cnt > 0;
    *topic = (KafkaTopic){.name = text_copy(from->topic),
                          .partition_count = is_there ? (size_t)from->partition_cnt : 0,
                          .fault = is_there ? SINK_SOUND : kafka_fault_of(from->err, NULL)};
}

static bool is_expression(const char *topic) {
    return topic[0] == '^';
}

static bool is_wanted(const char *name, const char *const *topics, size_t count, const regex_t *expressions) {
    for (size_t i = 0; i < count; i++)
        if (is_expression(topics[i]) ? regexec(&expressions[i], name, 0, NULL, 0) == 0 : strcmp(topics[i], name) == 0) return true;
    return false;
}

static int compare_topics(const void *a, const void *b) {
    return strcmp(((const KafkaTopic *)a)->name, ((const KafkaTopic *)b)->name);
}

static void take_metadata(const struct rd_kafka_metadata *metadata, const char *const *topics, size_t count, const regex_t *expressions,
                          bool all, KafkaTopics *into) {
    into->broker_count = (size_t)metadata->broker_cnt;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
        bool named = false;
        for (size_t k = 0; k < count && !named; k++) named = !is_expression(topics[k]) && strcmp(topics[k], topic->topic) == 0;
        /* The second answer has those that are named, too, if they may be seen. */
        if (all ? !named && is_wanted(topic->topic, topics, count, expressions) : named) put_topic(into, topic);
    }
}

static int compile(KafkaConsumer *consumer, const char *const *topics, size_t count, regex_t *expressions, size_t *ret_compiled,
                   Error *error) {
    for (*ret_compiled = 0; *ret_compiled < count; (*ret_compiled)++) {
        const char *topic = topics[*ret_compiled];
        int r = is_expression(topic) ? regcomp(&expressions[*ret_compiled], topic, REG_EXTENDED | REG_NOSUB) : 0;
        char words[128], excerpt[TEXT_EXCERPT_SIZE];
        if (r == 0) continue;
        (void)regerror(r, &expressions[*ret_compiled], words, sizeof words);
        return error_set(error, -EINVAL, "Connection \"%s\": \"%s\" is not a regular expression: %s.", kafka_consumer_name(consumer),
                         text_excerpt(span_of(topic), excerpt), words);
    }
    return 0;
}

static void take_cluster(KafkaConsumer *consumer, KafkaTopics *topics) {
    char *cluster = rd_kafka_clusterid(kafka_consumer_handle(consumer), 1000); /* the metadata had it: no wait */
    (void)snprintf(topics->cluster, sizeof topics->cluster, "%s", cluster ? cluster : "");
    if (cluster) rd_kafka_mem_free(kafka_consumer_handle(consumer), cluster);
}

static int ask_topics(KafkaConsumer *consumer, const char *const *names, size_t count, const regex_t *expressions, usec_t deadline,
                      const SinkPatience *patience, KafkaTopics *topics, SinkFault *ret_fault, Error *error) {
    const struct rd_kafka_metadata *metadata;
    bool any = count == 0;
    int r = ask_metadata(consumer, false, deadline, patience, &metadata, ret_fault, error);
    if (r < 0) return r;
    take_metadata(metadata, names, count, expressions, false, topics);
    rd_kafka_metadata_destroy(metadata);
    for (size_t i = 0; i < count && !any; i++) any = is_expression(names[i]);
    if (any && count > 0) {
        r = ask_metadata(consumer, true, deadline, patience, &metadata, ret_fault, error);
        if (r < 0) return r;
        take_metadata(metadata, names, count, expressions, true, topics);
        rd_kafka_metadata_destroy(metadata);
    }
    if (topics->count > 0) qsort(topics->items, topics->count, sizeof *topics->items, compare_topics);
    take_cluster(consumer, topics);
    return 0;
}

int kafka_consumer_topics(KafkaConsumer *consumer, const char *const *topics, size_t count, usec_t limit, const SinkPatience *patience,
                          KafkaTopics *ret_topics, SinkFault *ret_fault, Error *error) {
    rd_kafka_t *handle = kafka_consumer_handle(consumer);
    regex_t *expressions = calloc(count + 1, sizeof *expressions);
    rd_kafka_topic_t **known = calloc(count + 1, sizeof *known);
    check(expressions && known);
    size_t compiled;
    SinkFault fault = SINK_FAULT_OTHER;
    KafkaTopics found = {0};
    int r = compile(consumer, topics, count, expressions, &compiled, error);
    if (r == 0) {
        /* The library asks for the topics that it has a handle of: all in one request. */
        for (size_t i = 0; i < count; i++)
            if (!is_expression(topics[i])) known[i] = rd_kafka_topic_new(handle, topics[i], NULL);
        r = ask_topics(consumer, topics, count, expressions, now() + limit, patience, &found, &fault, error);
    }
    for (size_t i = 0; i < count; i++) {
        if (known[i]) rd_kafka_topic_destroy(known[i]);
        if (i < compiled && is_expression(topics[i])) regfree(&expressions[i]);
    }
    free(known);
    free(expressions);
    if (r < 0) {
        kafka_topics_deinit(&found);
        if (ret_fault) *ret_fault = fault;
        return r;
    }
    *ret_topics = found;
    return 0;
}

void kafka_topics_deinit(KafkaTopics *topics) {
    for (size_t i = 0; i < topics->count; i++) free(topics->items[i].name);
    free(topics->items);
    *topics = (KafkaTopics){0};
}

/* ---- offsets --------------------------------------------------------------------------------- */

typedef enum OffsetPass { PASS_EARLIEST, PASS_TIMES, PASS_LATEST, PASS_BEYOND } OffsetPass;

static bool is_of_pass(const KafkaOffset *offset, OffsetPass pass) {
    switch (pass) {
    case PASS_EARLIEST: return offset->at == KAFKA_EARLIEST;
    case PASS_TIMES: return offset->at >= 0;
    case PASS_LATEST: return offset->at == KAFKA_LATEST;
    case PASS_BEYOND: return offset->at >= 0 && !offset->failed && offset->offset < 0;
    }
    unreachable();
}

typedef struct OffsetQuery {
    KafkaConsumer *consumer;
    KafkaOffset *offsets;
    size_t count;
    usec_t deadline;
    const SinkPatience *patience;
} OffsetQuery;

static rd_kafka_topic_partition_list_t *list_pass(const OffsetQuery *query, OffsetPass pass) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)query->count);
    check(list);
    /* The library puts the "time" into the request as it is, and there -2 and -1 mean the beginning
     * and the end. */
    for (size_t i = 0; i < query->count; i++) {
        const KafkaOffset *offset = &query->offsets[i];
        if (is_of_pass(offset, pass))
            rd_kafka_topic_partition_list_add(list, offset->topic, offset->partition)->offset = pass == PASS_BEYOND ? KAFKA_LATEST
                                                                                                                    : offset->at;
    }
    return list;
}

/* Asks until there is an answer. The time that a turn takes grows, since each asks anew. */
static rd_kafka_resp_err_t ask_list(const OffsetQuery *query, OffsetPass pass, rd_kafka_topic_partition_list_t **ret_list) {
    for (usec_t turn = TURN_MAX;; turn = turn * 2 < TURN_MAX ? turn * 2 : TURN_MAX) {
        usec_t left = query->deadline - now();
        if (turn > left) turn = left > USEC_MS ? left : USEC_MS;
        *ret_list = list_pass(query, pass);
        if ((*ret_list)->cnt == 0) return RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(kafka_consumer_handle(query->consumer), *ret_list, (int)(turn / USEC_MS));
        if (code != RD_KAFKA_RESP_ERR__TIMED_OUT || now() >= query->deadline || sink_patience_is_over(query->patience)) return code;
        rd_kafka_topic_partition_list_destroy(*ret_list);
    }
}

static int ask_pass(const OffsetQuery *query, OffsetPass pass, Error *error) {
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code = ask_list(query, pass, &list);
    bool ended = code == RD_KAFKA_RESP_ERR__TIMED_OUT && sink_patience_is_over(query->patience);
    int r = 0, at = 0; /* the answers stay in order */
    for (size_t i = 0; i < query->count; i++) {
        KafkaOffset *offset = &query->offsets[i];
        if (!is_of_pass(offset, pass)) continue;
        const rd_kafka_topic_partition_t *answer = &list->elems[at++];
        check(answer->partition == offset->partition && strcmp(answer->topic, offset->topic) == 0);
        rd_kafka_resp_err_t wrong = code ? code : answer->err;
        offset->failed = wrong != RD_KAFKA_RESP_ERR_NO_ERROR;
        if (!offset->failed) offset->offset = answer->offset;
        if (!offset->failed || r < 0) continue;
        const char *name = kafka_consumer_name(query->consumer);
        r = ended ? error_set(error, -ECANCELED, "Connection \"%s\": the wait was ended.", name)
                  : error_set(error, -EIO, "Connection \"%s\": the offset of %s, partition %d, is not known: %s.", name, offset->topic,
                              offset->partition, rd_kafka_err2str(wrong));
    }
    rd_kafka_topic_partition_list_destroy(list);
    return r;
}

int kafka_consumer_offsets(KafkaConsumer *consumer, KafkaOffset *offsets, size_t count, usec_t limit, const SinkPatience *patience,
                           Error *error) {
    usec_t deadline = now() + limit;
    int r = 0;
    for (size_t i = 0; i < count; i++) {
        check(offsets[i].at >= KAFKA_EARLIEST);
        offsets[i].offset = KAFKA_NOT_THERE;
        offsets[i].failed = false;
    }
    for (size_t at = 0; at < count; at += OFFSETS_AT_ONCE) {
        size_t left = count - at;
        OffsetQuery query = {consumer, offsets + at, left < OFFSETS_AT_ONCE ? left : OFFSETS_AT_ONCE, deadline, patience};
        for (OffsetPass pass = PASS_EARLIEST; pass <= PASS_BEYOND; pass++) {
            int code = ask_pass(&query, pass, r == 0 ? error : NULL);
            if (r == 0) r = code;
        }
    }
    return r;
}
