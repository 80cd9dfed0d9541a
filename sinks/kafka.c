#include "sinks/kafka.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "sinks/kafka_consumer_parts.h"

#define QUEUED_BYTES_DEFAULT ((size_t)8 << 20)
#define QUEUED_BYTES_MIN ((size_t)1 << 20)
#define LOCAL_LIMIT_MS 10000 /* what the library's main thread may take for a change of its own state */
#define HANG_UPS_MAX 3
#define STALL (5 * USEC_MS)         /* see wake_fetchers */
#define WAKES_MAX ((size_t)64)      /* partitions that are woken at once */
#define WITHOUT_GROUP "sluice-none" /* the library assigns only with a group's name; it is never joined */

/* ---- open and close -------------------------------------------------------------------------- */

static void free_consumer(KafkaConsumer *consumer) {
    kafka_consumer_begin_call(consumer);
    kafka_consumer_drop_held(consumer, KAFKA_NO_INDEX);
    while (consumer->pending_count > 0) kafka_consumer_remove_pending(consumer, consumer->pending_count - 1);
    kafka_consumer_free_offered(consumer);
    kafka_consumer_free_assigned(consumer);
    free(consumer->headers);
    free(consumer->name);
    free(consumer);
}

static int set_number(rd_kafka_conf_t *configuration, const char *name, size_t value, Error *error) {
    char text[32];
    (void)snprintf(text, sizeof text, "%zu", value);
    return kafka_configuration_set(configuration, name, text, error);
}

static int configure(KafkaConsumer *consumer, rd_kafka_conf_t *configuration, const KafkaOptions *options, Error *error) {
    int r = kafka_configuration_set(configuration, "group.id", options->group ? options->group : WITHOUT_GROUP, error);
    if (r == 0) r = set_number(configuration, "queued.max.messages.kbytes", consumer->queued_bytes / 1024, error);
    /* What one broker sends at once goes beyond the queue's limit: not by more than the limit
     * itself. */
    if (r == 0) r = set_number(configuration, "fetch.max.bytes", consumer->queued_bytes, error);
    kafka_consumer_set_callbacks(consumer, configuration);
    return r;
}

static int subscribe(const KafkaConsumer *consumer, const KafkaOptions *options, Error *error) {
    if (!options->group) return 0;
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new((int)options->topic_count);
    check(topics);
    for (size_t i = 0; i < options->topic_count; i++) rd_kafka_topic_partition_list_add(topics, options->topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->handle, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : kafka_consumer_failed(consumer, "the topics cannot be subscribed", code, error);
}

static int start(KafkaConsumer *consumer, rd_kafka_conf_t *configuration, const KafkaOptions *options, SinkFault *ret_fault, Error *error) {
    char words[512] = "", text[KAFKA_WORDS_SIZE];
    int r = configure(consumer, configuration, options, error);
    consumer->handle = r == 0 ? rd_kafka_new(RD_KAFKA_CONSUMER, configuration, words, sizeof words) : NULL;
    if (!consumer->handle) {
        *ret_fault = strstr(words, "ssl.") || strstr(words, "SSL") ? SINK_FAULT_TLS : SINK_FAULT_OTHER;
        kafka_words(RD_KAFKA_RESP_ERR__INVALID_ARG, words, text);
        if (r == 0) r = error_set(error, -EINVAL, "Connection \"%s\": %s.", consumer->name, text);
        rd_kafka_conf_destroy(configuration);
        return r;
    }
    /* All callbacks come out of consumer_poll, those of the log (log.queue) too. */
    (void)rd_kafka_poll_set_consumer(consumer->handle);
    check(rd_kafka_set_log_queue(consumer->handle, NULL) == RD_KAFKA_RESP_ERR_NO_ERROR);
    r = subscribe(consumer, options, error);
    if (r < 0) *ret_fault = SINK_FAULT_OTHER;
    return r;
}

int kafka_consumer_open(const Connection *connection, const char *data_directory, const KafkaOptions *options, KafkaConsumer **ret_consumer,
                        SinkFault *ret_fault, Error *error) {
    check(options->group ? options->topic_count > 0 : options->topic_count == 0);
    SinkFault fault = SINK_FAULT_OTHER;
    rd_kafka_conf_t *configuration;
    int r = kafka_configuration_new(connection, data_directory, &configuration, &fault, error);
    if (r < 0) {
        char text[sizeof((Error *)0)->text];
        if (error) {
            (void)snprintf(text, sizeof text, "%s", error->text);
            (void)error_set(error, r, "Connection \"%s\": %.600s.", connection->name, text);
        }
    } else {
        KafkaConsumer *consumer = calloc(1, sizeof *consumer);
        check(consumer);
        consumer->name = text_copy(connection->name);
        consumer->has_group = options->group;
        consumer->queued_bytes = options->queued_bytes ? options->queued_bytes : QUEUED_BYTES_DEFAULT;
        if (consumer->queued_bytes < QUEUED_BYTES_MIN) consumer->queued_bytes = QUEUED_BYTES_MIN;
        kafka_consumer_forget_look_up(consumer);
        r = start(consumer, configuration, options, &fault, error);
        if (r == 0)
            *ret_consumer = consumer;
        else if (consumer->handle)
            (void)kafka_consumer_close(consumer, 5 * USEC_SECOND);
        else
            free_consumer(consumer);
    }
    if (r < 0 && ret_fault) *ret_fault = fault;
    return r;
}

static void free_closed(void *context) {
    KafkaConsumer *consumer = context;
    thread_owner_bind(&consumer->owner);
    free_consumer(consumer);
}

bool kafka_consumer_close(KafkaConsumer *take_consumer, usec_t limit) {
    if (!take_consumer) return true;
    kafka_consumer_begin_call(take_consumer);
    kafka_consumer_drop_held(take_consumer, KAFKA_NO_INDEX);
    take_consumer->closing = true;
    return kafka_end(take_consumer->handle, free_closed, take_consumer, take_consumer->name, limit);
}

/* ---- poll ------------------------------------------------------------------------------------ */

static void hand_out(KafkaConsumer *consumer, KafkaEvent *ret_event) {
    consumer->handed = consumer->pending[0];
    consumer->pending[0].topic = NULL;
    kafka_consumer_remove_pending(consumer, 0);
    const Pending *from = &consumer->handed;
    *ret_event = (KafkaEvent){.kind = from->kind,
                              .index = from->index,
                              .offset = from->offset,
                              .timestamp = KAFKA_NOT_THERE,
                              .generation = from->generation,
                              .lost = from->lost,
                              .verdict = from->verdict,
                              .fault = from->fault,
                              .topic = from->topic,
                              .partition = from->partition,
                              .error = from->error};
    if (from->kind != KAFKA_ASSIGNED) return;
    ret_event->partitions = consumer->offered;
    ret_event->partition_count = consumer->offered_count;
}

/* Not `error`: it is large, and a record has none. */
static KafkaEventKind set_event(KafkaEvent *event, KafkaEventKind kind, size_t index, int64_t offset) {
    event->kind = kind;
    event->index = index;
    event->offset = offset;
    event->key = event->value = (Span){0};
    event->timestamp = KAFKA_NOT_THERE;
    event->partitions = NULL;
    event->partition_count = 0;
    event->generation = 0;
    event->lost = false;
    event->verdict = KAFKA_PASSES;
    event->fault = SINK_SOUND;
    event->topic = NULL;
    event->partition = -1;
    return kind;
}

static Span span_or_null(const void *data, size_t size) {
    return (Span){data, size};
}

static KafkaEventKind take_record(KafkaConsumer *consumer, rd_kafka_message_t *take_message, size_t index, KafkaEvent *ret_event) {
    Assigned *assigned = &consumer->assigned[index];
    consumer->current = take_message;
    assigned->position = take_message->offset + 1;
    assigned->at_end = assigned->fresh = false;
    consumer->bytes_since_empty += take_message->len + take_message->key_len;
    (void)set_event(ret_event, KAFKA_RECORD, index, take_message->offset);
    ret_event->key = span_or_null(take_message->key, take_message->key_len);
    ret_event->value = span_or_null(take_message->payload, take_message->len);
    ret_event->topic = assigned->topic;
    ret_event->partition = assigned->partition;
    rd_kafka_timestamp_type_t type;
    int64_t timestamp = rd_kafka_message_timestamp(take_message, &type);
    ret_event->timestamp = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? KAFKA_NOT_THERE : timestamp;
    return KAFKA_RECORD;
}

/* Is it about a record, which is passed over by the library? Whoever does not stop there loses
 * it. */
static bool is_of_record(rd_kafka_resp_err_t code) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: return true;
    default: return false;
    }
}

static KafkaEventKind take_trouble(KafkaConsumer *consumer, const rd_kafka_message_t *message, size_t index, KafkaEvent *ret_event) {
    const char *topic = message->rkt ? rd_kafka_topic_name(message->rkt) : NULL;
    /* [S] what is of a topic as a whole comes with partition 0, and without an offset. */
    bool of_topic = topic && index == KAFKA_NO_INDEX && message->offset == RD_KAFKA_OFFSET_INVALID;
    if (topic && index == KAFKA_NO_INDEX && !of_topic) return KAFKA_NOTHING; /* not assigned any more */
    if (!topic && !consumer->has_group) return KAFKA_NOTHING;                /* of the group that is not joined */
    if (index != KAFKA_NO_INDEX && is_of_record(message->err)) consumer->assigned[index].stopped = true;
    check(consumer->pending_count == 0);
    kafka_consumer_add_trouble(consumer, message->err, rd_kafka_message_errstr(message), topic, of_topic ? -1 : message->partition, index,
                               topic && message->offset >= 0 ? message->offset : KAFKA_NOT_THERE);
    hand_out(consumer, ret_event);
    return KAFKA_TROUBLE;
}

/* What becomes of a message; KAFKA_NOTHING: it is of no use. Takes it. */
static KafkaEventKind take_message(KafkaConsumer *consumer, rd_kafka_message_t *take, KafkaEvent *ret_event) {
    size_t index = kafka_consumer_index_of(consumer, take);
    Assigned *assigned = index == KAFKA_NO_INDEX ? NULL : &consumer->assigned[index];
    KafkaEventKind kind = KAFKA_NOTHING;
    bool silent = assigned && (assigned->paused || assigned->stopped);
    if (assigned) assigned->came = true;
    if (take->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (assigned && !silent && take->offset >= assigned->position) return take_record(consumer, take, index, ret_event);
    } else if (take->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (assigned && !silent && take->offset >= assigned->position) {
            assigned->position = take->offset;
            assigned->at_end = true;
            assigned->fresh = false;
            kind = set_event(ret_event, KAFKA_END, index, take->offset);
        }
    } else if (take->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
        /* [S] a fetch that was on its way before a seek may fail behind it, and then librdkafka
         * reads nothing: it is told again. */
        if (assigned && !assigned->stopped && assigned->fresh && assigned->position >= 0 && take->offset != assigned->position) {
            assigned->seeks = consumer->has_changes = true;
        } else if (assigned && !assigned->stopped) {
            assigned->stopped = true;
            kind = set_event(ret_event, KAFKA_OUT_OF_RANGE, index, assigned->position);
        }
    } else {
        kind = take_trouble(consumer, take, index, ret_event);
    }
    if (kind != KAFKA_NOTHING && kind != KAFKA_TROUBLE) {
        ret_event->topic = assigned->topic;
        ret_event->partition = assigned->partition;
    }
    rd_kafka_message_destroy(take);
    return kind;
}

/*
 * [S] librdkafka 2.0.2 does not notice that its queue has room again: a broker's thread that found
 * it full sleeps for up to a second, or until something else wakes it. A seek does, and one to
 * where reading is changes nothing, since the queue is empty. Only after a whole queue was handed
 * out without a break: else the thread was not asleep, and what it is fetching would be thrown
 * away.
 */
static void wake_fetchers(KafkaConsumer *consumer) {
    if (consumer->bytes_since_empty < consumer->queued_bytes / 4 * 3) return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)WAKES_MAX);
    check(list);
    for (size_t i = 0; i < consumer->assigned_count && list->cnt < (int)WAKES_MAX; i++) {
        const Assigned *at = &consumer->assigned[i];
        if (at->position >= 0 && !at->at_end && !at->paused && !at->stopped)
            rd_kafka_topic_partition_list_add(list, at->topic, at->partition)->offset = at->position;
    }
    if (list->cnt > 0) rd_kafka_error_destroy(rd_kafka_seek_partitions(consumer->handle, list, LOCAL_LIMIT_MS));
    rd_kafka_topic_partition_list_destroy(list);
}

static bool is_any(const Assigned *assigned) {
    return assigned;
}

static bool is_to_pause(const Assigned *assigned) {
    return assigned->paused && !assigned->library_paused;
}

static bool is_to_resume(const Assigned *assigned) {
    return !assigned->paused && assigned->library_paused;
}

static bool is_to_seek(const Assigned *assigned) {
    return assigned->seeks && !assigned->paused;
}

/* All that is assigned, from its positions. */
static rd_kafka_resp_err_t assign_all(KafkaConsumer *consumer) {
    rd_kafka_topic_partition_list_t *all = kafka_consumer_list_where(consumer, is_any),
                                    *paused = kafka_consumer_list_where(consumer, kafka_consumer_is_paused_there);
    rd_kafka_resp_err_t code = rd_kafka_assign(consumer->handle, all);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && paused->cnt > 0) code = rd_kafka_pause_partitions(consumer->handle, paused);
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_topic_partition_list_destroy(paused);
    return code;
}

static rd_kafka_resp_err_t seek_all(KafkaConsumer *consumer, rd_kafka_topic_partition_list_t *seeks) {
    rd_kafka_error_t *refusal = rd_kafka_seek_partitions(consumer->handle, seeks, LOCAL_LIMIT_MS);
    bool refused = refusal;
    rd_kafka_error_destroy(refusal);
    for (int i = 0; i < seeks->cnt && !refused; i++) refused = seeks->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR;
    /* [S] a partition that is out of range, or not begun yet, takes no seek; and one alone cannot
     * be assigned anew. */
    return refused ? assign_all(consumer) : RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Tells the library of pauses, resumes and seeks: all at once, for each call of it waits until its
 * own threads have done it. */
static void apply_changes(KafkaConsumer *consumer) {
    rd_kafka_topic_partition_list_t *pauses = kafka_consumer_list_where(consumer, is_to_pause),
                                    *resumes = kafka_consumer_list_where(consumer, is_to_resume);
    rd_kafka_topic_partition_list_t *seeks = kafka_consumer_list_where(consumer, is_to_seek);
    consumer->has_changes = false;
    for (size_t i = 0; i < consumer->assigned_count; i++) {
        Assigned *at = &consumer->assigned[i];
        at->library_paused = at->paused;
        if (is_to_seek(at)) at->seeks = at->came = false;
    }
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (pauses->cnt > 0) code = rd_kafka_pause_partitions(consumer->handle, pauses);
    if (resumes->cnt > 0 && code == RD_KAFKA_RESP_ERR_NO_ERROR) code = rd_kafka_resume_partitions(consumer->handle, resumes);
    if (seeks->cnt > 0 && code == RD_KAFKA_RESP_ERR_NO_ERROR) code = seek_all(consumer, seeks);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) kafka_consumer_add_trouble(consumer, code, NULL, NULL, -1, KAFKA_NO_INDEX, KAFKA_NOT_THERE);
    rd_kafka_topic_partition_list_destroy(pauses);
    rd_kafka_topic_partition_list_destroy(resumes);
    rd_kafka_topic_partition_list_destroy(seeks);
}

static int to_ms(usec_t wait) {
    if (wait <= 0) return 0;
    return wait > 60 * USEC_SECOND ? 60000 : (int)((wait + USEC_MS - 1) / USEC_MS);
}

static rd_kafka_message_t *poll_library(KafkaConsumer *consumer, usec_t wait) {
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->handle, 0);
    if (message || consumer->pending_count > 0) return message;
    if (wait > STALL && consumer->bytes_since_empty > 0) {
        message = rd_kafka_consumer_poll(consumer->handle, to_ms(STALL));
        if (!message && consumer->pending_count == 0) wake_fetchers(consumer);
        if (!message) consumer->bytes_since_empty = 0;
        if (message || consumer->pending_count > 0) return message;
        wait -= STALL;
    }
    return wait > 0 ? rd_kafka_consumer_poll(consumer->handle, to_ms(wait)) : NULL;
}

KafkaEventKind kafka_consumer_poll(KafkaConsumer *consumer, usec_t wait, KafkaEvent *ret_event) {
    kafka_consumer_begin_call(consumer);
    Clock *clock = clock_system();
    usec_t deadline = 0;
    for (;;) {
        if (consumer->has_changes) apply_changes(consumer);
        if (consumer->pending_count > 0) {
            hand_out(consumer, ret_event);
            return ret_event->kind;
        }
        rd_kafka_message_t *message = consumer->held ? steal(consumer->held) : poll_library(consumer, wait);
        if (consumer->pending_count > 0) { /* what the callbacks brought came before the message */
            if (message && kafka_consumer_index_of(consumer, message) == KAFKA_NO_INDEX && message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                rd_kafka_message_destroy(message);
            else
                consumer->held = message;
            continue;
        }
        if (message) {
            KafkaEventKind kind = take_message(consumer, message, ret_event);
            if (kind != KAFKA_NOTHING) return kind;
        }
        usec_t now = clock->boot(clock);
        if (deadline == 0) deadline = now + (message ? wait : 0);
        if (!message || now >= deadline) return set_event(ret_event, KAFKA_NOTHING, KAFKA_NO_INDEX, KAFKA_NOT_THERE);
        wait = deadline - now;
    }
}

size_t kafka_consumer_headers(KafkaConsumer *consumer, const KafkaHeader **ret_headers) {
    check_on_thread(&consumer->owner);
    rd_kafka_headers_t *headers;
    *ret_headers = consumer->headers;
    if (!consumer->current || rd_kafka_message_headers(consumer->current, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    size_t count = rd_kafka_header_cnt(headers);
    if (count > consumer->header_room) {
        consumer->headers = reallocarray(consumer->headers, count, sizeof *consumer->headers);
        check(consumer->headers);
        consumer->header_room = count;
    }
    for (size_t i = 0; i < count; i++) {
        const void *value;
        size_t size;
        KafkaHeader *header = &consumer->headers[i];
        check(rd_kafka_header_get_all(headers, i, &header->name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR);
        header->value = span_or_null(value, size);
    }
    *ret_headers = consumer->headers;
    return count;
}

/* ---- what the caller decides ----------------------------------------------------------------- */

int kafka_consumer_assign(KafkaConsumer *consumer, uint64_t generation, const KafkaPartition *partitions, size_t count, Error *error) {
    check_on_thread(&consumer->owner); /* not begin_call: the partitions may be those of the event */
    if (consumer->has_group && (!consumer->offer_holds || generation != consumer->generation)) return KAFKA_ASSIGN_STALE;
    kafka_consumer_resume_all(consumer);
    kafka_consumer_drop_held(consumer, KAFKA_NO_INDEX);
    for (size_t i = consumer->pending_count; i-- > 0;)
        if (consumer->pending[i].index != KAFKA_NO_INDEX) kafka_consumer_remove_pending(consumer, i);
    kafka_consumer_free_assigned(consumer);
    consumer->assigned = calloc(count + 1, sizeof *consumer->assigned);
    consumer->by_name = calloc(count + 1, sizeof *consumer->by_name);
    check(consumer->assigned && consumer->by_name);
    consumer->assigned_count = count;
    for (size_t i = 0; i < count; i++) {
        check(partitions[i].offset >= KAFKA_EARLIEST);
        consumer->by_name[i] = i;
        consumer->assigned[i] = (Assigned){
            .topic = text_copy(partitions[i].topic), .partition = partitions[i].partition, .position = partitions[i].offset, .fresh = true};
    }
    qsort_r(consumer->by_name, count, sizeof *consumer->by_name, kafka_consumer_compare_indexes, consumer->assigned);
    for (size_t i = 1; i < count; i++)
        check(kafka_consumer_compare_indexes(&consumer->by_name[i - 1], &consumer->by_name[i], consumer->assigned) < 0);
    kafka_consumer_begin_call(consumer);
    consumer->has_changes = false;
    rd_kafka_resp_err_t code = assign_all(consumer);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : kafka_consumer_failed(consumer, "the partitions cannot be assigned", code, error);
}

/* NULL: all was revoked, in a call that asked the brokers, and the caller does not know yet. */
static Assigned *find_assigned(const KafkaConsumer *consumer, size_t index) {
    if (index < consumer->assigned_count) return &consumer->assigned[index];
    check(consumer->pending_count > 0 && consumer->pending[0].kind == KAFKA_REVOKED);
    return NULL;
}

void kafka_consumer_seek(KafkaConsumer *consumer, size_t index, int64_t offset) {
    kafka_consumer_begin_call(consumer);
    check(offset >= KAFKA_EARLIEST);
    Assigned *assigned = find_assigned(consumer, index);
    if (!assigned) return;
    kafka_consumer_drop_held(consumer, index);
    for (size_t i = consumer->pending_count; i-- > 0;)
        if (consumer->pending[i].index == index) kafka_consumer_remove_pending(consumer, i);
    bool is_there = offset == assigned->position && !assigned->stopped && !assigned->library_paused;
    if (!is_there) assigned->seeks = true;
    assigned->position = offset;
    assigned->stopped = assigned->at_end = false;
    assigned->fresh = true;
    consumer->has_changes = true;
}

void kafka_consumer_pause(KafkaConsumer *consumer, size_t index) {
    kafka_consumer_begin_call(consumer);
    Assigned *assigned = find_assigned(consumer, index);
    if (!assigned) return;
    kafka_consumer_drop_held(consumer, index);
    assigned->paused = true;
    consumer->has_changes = true;
}

void kafka_consumer_resume(KafkaConsumer *consumer, size_t index) {
    kafka_consumer_begin_call(consumer);
    Assigned *assigned = find_assigned(consumer, index);
    /* [S] resuming what was not paused throws away what was fetched, and may read it again. */
    if (!assigned || !assigned->paused) return;
    assigned->paused = false;
    /* The library goes on behind what it handed to us, which may be more than was handed out. */
    if (!assigned->stopped && assigned->library_paused && assigned->came) assigned->seeks = true;
    consumer->has_changes = true;
}

int64_t kafka_consumer_position(const KafkaConsumer *consumer, size_t index) {
    check_on_thread(&consumer->owner);
    const Assigned *at = find_assigned(consumer, index);
    return at ? at->position : KAFKA_NOT_THERE;
}

void kafka_consumer_bounds(const KafkaConsumer *consumer, size_t index, int64_t *ret_first, int64_t *ret_end) {
    check_on_thread(&consumer->owner);
    const Assigned *at = find_assigned(consumer, index);
    *ret_first = *ret_end = KAFKA_NOT_THERE;
    int64_t first, end;
    if (!at || rd_kafka_get_watermark_offsets(consumer->handle, at->topic, at->partition, &first, &end) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    if (first >= 0) *ret_first = first;
    if (end >= 0) *ret_end = end;
}

int kafka_consumer_commit(KafkaConsumer *consumer, const KafkaPartition *offsets, size_t count, Error *error) {
    check_on_thread(&consumer->owner);
    check(consumer->has_group);
    if (count == 0) return 0;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    check(list);
    for (size_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(list, offsets[i].topic, offsets[i].partition)->offset = offsets[i].offset;
    rd_kafka_resp_err_t code = rd_kafka_commit(consumer->handle, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : kafka_consumer_failed(consumer, "the group's offsets cannot be committed", code, error);
}

/* ---- for kafka_query.c ----------------------------------------------------------------------- */

rd_kafka_t *kafka_consumer_handle(KafkaConsumer *consumer) {
    kafka_consumer_begin_call(consumer);
    return consumer->handle;
}

const char *kafka_consumer_name(const KafkaConsumer *consumer) {
    return consumer->name;
}

int kafka_consumer_trouble(KafkaConsumer *consumer, bool waits, SinkFault *ret_fault, Error *error) {
    check_on_thread(&consumer->owner);
    if (!consumer->held) consumer->held = rd_kafka_consumer_poll(consumer->handle, 0);
    bool helpless = consumer->all_down || consumer->hang_ups >= HANG_UPS_MAX || consumer->trouble_verdict == KAFKA_STOP_ALL;
    if (!consumer->has_trouble || (waits && !helpless)) return 0;
    *ret_fault = consumer->trouble_fault;
    return error_set(error, consumer->trouble.code, "%s", consumer->trouble.text);
}

void kafka_consumer_answered(KafkaConsumer *consumer) {
    consumer->all_down = consumer->has_trouble = false;
    consumer->hang_ups = 0;
}
