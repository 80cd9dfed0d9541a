/* What librdkafka tells a consumer beside records: assignments, revokes and trouble, which become
 * events that wait to be handed out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "sinks/kafka_consumer_parts.h"

#define LOG_LEVEL_SHOWN 5 /* of syslog: a notice */

void kafka_consumer_remove_pending(KafkaConsumer *consumer, size_t at) {
    free(consumer->pending[at].topic);
    memmove(&consumer->pending[at], &consumer->pending[at + 1], (consumer->pending_count - at - 1) * sizeof *consumer->pending);
    consumer->pending_count--;
}

static Pending *add_pending(KafkaConsumer *consumer, KafkaEventKind kind) {
    for (size_t i = 0; consumer->pending_count == PENDING_MAX; i++) {
        check(i < PENDING_MAX);
        if (consumer->pending[i].kind == KAFKA_TROUBLE) kafka_consumer_remove_pending(consumer, i);
    }
    Pending *pending = &consumer->pending[consumer->pending_count++];
    *pending = (Pending){.kind = kind, .index = KAFKA_NO_INDEX, .offset = KAFKA_NOT_THERE, .partition = -1};
    return pending;
}

/* Of what was assigned: it is no more. */
static void drop_pending_partitions(KafkaConsumer *consumer) {
    for (size_t i = consumer->pending_count; i-- > 0;)
        if (consumer->pending[i].kind == KAFKA_ASSIGNED || consumer->pending[i].index != KAFKA_NO_INDEX)
            kafka_consumer_remove_pending(consumer, i);
}

void kafka_consumer_drop_held(KafkaConsumer *consumer, size_t index) {
    if (!consumer->held || (index != KAFKA_NO_INDEX && kafka_consumer_index_of(consumer, consumer->held) != index)) return;
    if (index != KAFKA_NO_INDEX) consumer->assigned[index].seeks = true; /* it is to come again */
    rd_kafka_message_destroy(consumer->held);
    consumer->held = NULL;
}

/* What was handed out is not valid any more. */
void kafka_consumer_begin_call(KafkaConsumer *consumer) {
    check_on_thread(&consumer->owner);
    if (consumer->current) rd_kafka_message_destroy(consumer->current);
    consumer->current = NULL;
    free(consumer->handed.topic);
    consumer->handed = (Pending){0};
}

/* The most telling one is kept: what ends the consumer, else what is more than "not reached". */
static void note_trouble(KafkaConsumer *consumer, SinkFault fault, KafkaVerdict verdict, const Error *error) {
    bool tells = fault != SINK_FAULT_UNREACHABLE;
    if (tells && verdict == KAFKA_PASSES) consumer->hang_ups++;
    if (consumer->has_trouble && consumer->trouble_verdict == KAFKA_STOP_ALL) return;
    if (consumer->has_trouble && consumer->trouble_fault != SINK_FAULT_UNREACHABLE && !tells) return;
    consumer->has_trouble = true;
    consumer->trouble = *error;
    consumer->trouble_fault = fault;
    consumer->trouble_verdict = verdict;
}

void kafka_consumer_add_trouble(KafkaConsumer *consumer, rd_kafka_resp_err_t code, const char *words, const char *topic, int32_t partition,
                                size_t index, int64_t offset) {
    Pending *pending = add_pending(consumer, KAFKA_TROUBLE);
    char text[KAFKA_WORDS_SIZE];
    kafka_words(code, words, text);
    pending->index = index;
    pending->offset = offset;
    pending->topic = text_copy(topic);
    pending->partition = partition;
    pending->fault = kafka_fault_of(code, words);
    pending->verdict = kafka_verdict_of(code);
    (void)error_set(&pending->error, -EIO, "Connection \"%s\": %s.", consumer->name, text);
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        consumer->all_down = true;
    else if (!topic)
        note_trouble(consumer, pending->fault, pending->verdict, &pending->error);
}

/* ---- callbacks: on the thread that polls, or the one that closes ----------------------------- */

void kafka_consumer_resume_all(KafkaConsumer *consumer) {
    rd_kafka_topic_partition_list_t *paused = kafka_consumer_list_where(consumer, kafka_consumer_is_paused_there);
    /* [S] a pause outlives the assignment in librdkafka 2.0.2: the partition would stay silent when
     * it comes back. */
    if (paused->cnt > 0) (void)rd_kafka_resume_partitions(consumer->handle, paused);
    rd_kafka_topic_partition_list_destroy(paused);
}

static void on_revoked(KafkaConsumer *consumer) {
    bool known = consumer->offer_holds;
    for (size_t i = 0; i < consumer->pending_count; i++) known = known && consumer->pending[i].kind != KAFKA_ASSIGNED;
    bool lost = rd_kafka_assignment_lost(consumer->handle);
    kafka_consumer_resume_all(consumer);
    (void)rd_kafka_assign(consumer->handle, NULL);
    consumer->offer_holds = false;
    drop_pending_partitions(consumer);
    kafka_consumer_drop_held(consumer, KAFKA_NO_INDEX);
    kafka_consumer_free_assigned(consumer);
    if (!known) return; /* nobody has heard of the assignment */
    add_pending(consumer, KAFKA_REVOKED)->lost = lost;
    /* Before the trouble that waits: the caller uses indexes of the assignment until it hears of
     * the revoke. */
    Pending revoked = consumer->pending[consumer->pending_count - 1];
    memmove(&consumer->pending[1], &consumer->pending[0], (consumer->pending_count - 1) * sizeof revoked);
    consumer->pending[0] = revoked;
}

static void on_assigned(KafkaConsumer *consumer, const rd_kafka_topic_partition_list_t *partitions) {
    drop_pending_partitions(consumer);
    kafka_consumer_free_offered(consumer);
    consumer->offered_count = (size_t)partitions->cnt;
    consumer->offered = calloc(consumer->offered_count + 1, sizeof *consumer->offered);
    check(consumer->offered);
    for (size_t i = 0; i < consumer->offered_count; i++)
        consumer->offered[i] = (KafkaPartition){
            .topic = text_copy(partitions->elems[i].topic), .partition = partitions->elems[i].partition, .offset = KAFKA_NOT_THERE};
    consumer->offer_holds = true;
    add_pending(consumer, KAFKA_ASSIGNED)->generation = ++consumer->generation;
}

static void on_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *partitions, void *context) {
    KafkaConsumer *consumer = context;
    consumer->handle = handle;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !consumer->closing)
        on_assigned(consumer, partitions); /* rd_kafka_assign follows when the caller knows the offsets: the library waits for it */
    else
        on_revoked(consumer);
}

static void on_error(rd_kafka_t *handle, int code, const char *words, void *context) {
    KafkaConsumer *consumer = context;
    char fatal[512];
    if (consumer->closing) return;
    if (code == RD_KAFKA_RESP_ERR__FATAL && rd_kafka_fatal_error(handle, fatal, sizeof fatal) != RD_KAFKA_RESP_ERR_NO_ERROR) words = fatal;
    kafka_consumer_add_trouble(consumer, (rd_kafka_resp_err_t)code, words, NULL, -1, KAFKA_NO_INDEX, KAFKA_NOT_THERE);
}

static void on_commit(rd_kafka_t *handle, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *offsets, void *context) {
    const KafkaConsumer *consumer = context;
    (void)handle;
    (void)offsets;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__NO_OFFSET) return;
    log_info("connection %s: the group's offsets were not committed (positions are not affected): %s", consumer->name,
             rd_kafka_err2str(code));
}

/*
 * What matters comes as an event as well, but for one thing: a broker that expects TLS hangs up on
 * plain text, and the library only logs what that may mean.
 */
static void on_log(const rd_kafka_t *handle, int level, const char *facility, const char *words) {
    KafkaConsumer *consumer = rd_kafka_opaque(handle);
    if (level <= LOG_LEVEL_SHOWN)
        log_info("connection %s: librdkafka: %s: %s", consumer->name, facility, words);
    else
        log_debug("connection %s: librdkafka: %s: %s", consumer->name, facility, words);
    if (!strstr(words, "incorrect security.protocol") || consumer->closing) return;
    char text[KAFKA_WORDS_SIZE];
    Error error = {0};
    kafka_words(RD_KAFKA_RESP_ERR__TRANSPORT, words, text);
    (void)error_set(&error, -EIO, "Connection \"%s\": %s.", consumer->name, text);
    note_trouble(consumer, SINK_FAULT_TLS, KAFKA_PASSES, &error);
}

void kafka_consumer_set_callbacks(KafkaConsumer *consumer, rd_kafka_conf_t *configuration) {
    rd_kafka_conf_set_opaque(configuration, consumer);
    rd_kafka_conf_set_rebalance_cb(configuration, on_rebalance);
    rd_kafka_conf_set_error_cb(configuration, on_error);
    rd_kafka_conf_set_offset_commit_cb(configuration, on_commit);
    rd_kafka_conf_set_log_cb(configuration, on_log);
}
