/* Consumers of a client: making them, pulling, and messages. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/nats_name.h"
#include "sinks/nats_parts.h"

#define EXPIRES (30 * USEC_SECOND)
#define HEARTBEAT (5 * USEC_SECOND)
#define GRACE (1 * USEC_SECOND)    /* how much later than it says the server may be */
#define REST (200 * USEC_MS)       /* after a request that the server did not take */
#define INACTIVE (5 * USEC_MINUTE) /* how long the server keeps a consumer without a durable that nobody asks */
#define PULLS_MAX 2
#define NSEC(usec) ((json_int_t)((usec)*1000))

typedef struct Pull {
    uint64_t token;
    uint32_t left; /* messages that may still come; 0: it is over */
    bool any;      /* one came */
    usec_t end;    /* when it is given up */
} Pull;

struct NatsConsumer {
    NatsClient *client;
    NatsConsumerOptions options;
    char *stream, *durable, *subject; /* what the options point to */
    char name[256];
    bool made;                  /* the server knows it, as far as is known */
    natsSubscription *messages; /* of one connection */
    uint64_t generation;        /* of that */
    char inbox[48];
    char next[640]; /* the subject of requests */
    Pull pulls[PULLS_MAX];
    uint64_t token;
    uint64_t violations;
    usec_t heard_at;
    usec_t retry_at;
    bool alone;             /* the next request is for one message of any size */
    uint64_t last_sequence; /* of the stream: the last that was given */
    uint64_t last_delivery; /* of the consumer */
    NatsConsumerCounts counts;
};

/* ---- making ---- */

static void put(json_t *object, const char *name, json_t *take_value) {
    check(json_object_set_new(object, name, take_value) == 0);
}

static void put_start(const NatsConsumer *consumer, json_t *config) {
    static const char *const policies[] = {[NATS_START_ALL] = "all",
                                           [NATS_START_NEW] = "new",
                                           [NATS_START_SEQUENCE] = "by_start_sequence",
                                           [NATS_START_TIME] = "by_start_time"};
    const NatsConsumerOptions *options = &consumer->options;
    NatsStart start = consumer->last_sequence > 0 ? NATS_START_SEQUENCE : options->start;
    put(config, "deliver_policy", json_string(policies[start]));
    if (start == NATS_START_SEQUENCE)
        put(config, "opt_start_seq", json_integer((json_int_t)(consumer->last_sequence ? consumer->last_sequence + 1 : options->sequence)));
    if (start == NATS_START_TIME) {
        char text[NATS_TIME_SIZE];
        nats_put_time(options->time_nsec, text);
        put(config, "opt_start_time", json_string(text));
    }
}

static json_t *config_of(const NatsConsumer *consumer) {
    const NatsConsumerOptions *options = &consumer->options;
    json_t *config = json_object();
    check(config);
    put_start(consumer, config);
    put(config, "replay_policy", json_string("instant"));
    put(config, "max_deliver", json_integer(-1));
    if (options->subject) put(config, "filter_subject", json_string(options->subject));
    if (options->durable) {
        put(config, "durable_name", json_string(options->durable));
        put(config, "ack_policy", json_string("explicit"));
        put(config, "ack_wait", json_integer(NSEC(options->ack_wait)));
        /* Below two batches the server would hold back the second one until the first is acked. */
        put(config, "max_ack_pending", json_integer(options->batch < 500 ? 1000 : (json_int_t)options->batch * 2));
    } else {
        put(config, "ack_policy", json_string("none"));
        put(config, "inactive_threshold", json_integer(NSEC(INACTIVE)));
        put(config, "mem_storage", json_true());
        put(config, "num_replicas", json_integer(1));
    }
    return config;
}

/* Where an existing one starts cannot be changed and is not for us to decide; an option that we do
 * not know stays as it is. */
static void keep_of_existing(const json_t *existing, json_t *config) {
    static const char *const starts[] = {"deliver_policy", "opt_start_seq", "opt_start_time"};
    const char *name;
    json_t *value;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) (void)json_object_del(config, starts[i]);
    json_object_foreach((json_t *)(uintptr_t)existing, name, value) {
        bool ours = json_object_get(config, name) || strcmp(name, "filter_subject") == 0;
        if (!ours) check(json_object_set(config, name, value) == 0);
    }
}

static NatsResult make(NatsConsumer *consumer, json_t *take_config, Error *error) {
    const NatsConsumerOptions *options = &consumer->options;
    char what[600];
    if (options->durable)
        (void)snprintf(what, sizeof what, "CONSUMER.DURABLE.CREATE.%s.%s", options->stream, options->durable);
    else
        (void)snprintf(what, sizeof what, "CONSUMER.CREATE.%s", options->stream);
    json_t *body = json_pack("{s:s, s:o}", "stream_name", options->stream, "config", take_config), *answer = NULL;
    check(body);
    NatsResult result = nats_request(consumer->client, what, body, &answer, error);
    json_decref(body);
    const char *name = json_string_value(json_object_get(answer, "name"));
    if (result == NATS_RESULT_DONE && (!name || !nats_name_valid(span_of(name)))) {
        (void)error_set(error, -EBADMSG, "Connection \"%s\": the answer to %s names no consumer.",
                        consumer->client->options.connection->name, what);
        result = NATS_RESULT_REFUSED;
    }
    if (result == NATS_RESULT_DONE) {
        (void)snprintf(consumer->name, sizeof consumer->name, "%s", name);
        (void)snprintf(consumer->next, sizeof consumer->next, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", options->stream, consumer->name);
        consumer->made = true;
        consumer->last_delivery = 0;
    }
    json_decref(answer);
    return result;
}

static NatsResult ask_info(NatsConsumer *consumer, const char *name, json_t **ret_info, Error *error) {
    char what[600];
    (void)snprintf(what, sizeof what, "CONSUMER.INFO.%s.%s", consumer->options.stream, name);
    NatsResult result = nats_request(consumer->client, what, NULL, ret_info, error);
    if (result != NATS_RESULT_DONE || json_is_object(json_object_get(*ret_info, "config"))) return result;
    json_decref(*ret_info);
    *ret_info = NULL;
    (void)error_set(error, -EBADMSG, "Connection \"%s\": the information on consumer \"%s\" lacks its configuration.",
                    consumer->client->options.connection->name, name);
    return NATS_RESULT_REFUSED;
}

static bool same(const json_t *existing, const json_t *config) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, name, value) if (!json_equal(json_object_get(existing, name), value)) return false;
    return json_object_get(config, "filter_subject") || !json_object_get(existing, "filter_subject");
}

static NatsResult make_or_bind(NatsConsumer *consumer, Error *error) {
    json_t *config = config_of(consumer), *info = NULL;
    if (!consumer->options.durable) return make(consumer, config, error);
    Error missing = {0};
    NatsResult result = ask_info(consumer, consumer->options.durable, &info, &missing);
    if (result == NATS_RESULT_MISSING) return make(consumer, config, error);
    if (result != NATS_RESULT_DONE) {
        json_decref(config);
        (void)error_set(error, missing.code, "%s", missing.text);
        return result;
    }
    const json_t *existing = json_object_get(info, "config");
    keep_of_existing(existing, config);
    const char *push = json_string_value(json_object_get(existing, "deliver_subject"));
    const char *acks = json_string_value(json_object_get(existing, "ack_policy"));
    if ((push && push[0]) || !acks || strcmp(acks, "explicit") != 0) {
        json_decref(config);
        (void)error_set(error, -EEXIST, "Connection \"%s\": the consumer \"%s\" of stream \"%s\" belongs to another program: %s.",
                        consumer->client->options.connection->name, consumer->options.durable, consumer->options.stream,
                        push && push[0] ? "messages are pushed to it" : "its messages are not acked one by one");
        result = NATS_RESULT_REFUSED;
    } else if (same(existing, config)) {
        json_decref(config);
        (void)snprintf(consumer->name, sizeof consumer->name, "%s", consumer->options.durable);
        (void)snprintf(consumer->next, sizeof consumer->next, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", consumer->options.stream, consumer->name);
        consumer->made = true;
    } else {
        result = make(consumer, config, error);
    }
    json_decref(info);
    return result;
}

static usec_t or_expires(usec_t expires) {
    return expires > 0 ? expires : EXPIRES;
}

static NatsResult check_options(const NatsClient *client, const NatsConsumerOptions *options, Error *error) {
    const char *name = client->options.connection->name;
    check(options->batch >= 1 && options->heartbeat <= or_expires(options->expires) / 2);
    check(!options->durable || options->ack_wait > 0);
    check(options->start != NATS_START_SEQUENCE || options->sequence > 0);
    if (!nats_name_valid(span_of(options->stream)))
        (void)error_set(error, -EINVAL, "Connection \"%s\": \"%.100s\" cannot be the name of a stream.", name, options->stream);
    else if (options->durable && !nats_name_valid(span_of(options->durable)))
        (void)error_set(error, -EINVAL, "Connection \"%s\": \"%.100s\" cannot be the name of a consumer.", name, options->durable);
    else if (options->subject && !nats_filter_valid(span_of(options->subject)))
        (void)error_set(error, -EINVAL, "Connection \"%s\": \"%.100s\" cannot be a subject.", name, options->subject);
    else
        return NATS_RESULT_DONE;
    return NATS_RESULT_REFUSED;
}

NatsResult nats_consumer_open(NatsClient *client, const NatsConsumerOptions *options, NatsConsumer **ret_consumer, Error *error) {
    check_on_thread(&client->owner);
    NatsResult result = check_options(client, options, error);
    if (result != NATS_RESULT_DONE) return result;
    NatsConsumer *consumer = calloc(1, sizeof *consumer);
    check(consumer);
    consumer->client = client;
    consumer->options = *options;
    consumer->options.expires = or_expires(options->expires);
    if (options->heartbeat == 0) {
        usec_t most = consumer->options.expires / 2;
        consumer->options.heartbeat = HEARTBEAT < most ? HEARTBEAT : most;
    }
    consumer->options.stream = consumer->stream = text_copy(options->stream);
    consumer->options.durable = consumer->durable = text_copy(options->durable);
    consumer->options.subject = consumer->subject = text_copy(options->subject);
    result = make_or_bind(consumer, error);
    if (result == NATS_RESULT_DONE)
        *ret_consumer = consumer;
    else
        nats_consumer_close(consumer);
    return result;
}

/* Without a durable: the server need not keep it until it counts as inactive. Nobody waits for an
 * answer. */
static void remove_it(NatsConsumer *consumer) {
    char subject[640];
    check(!consumer->durable);
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DELETE.%s.%s", consumer->stream, consumer->name);
    (void)nats_publish(consumer->client, subject, NULL, SPAN(""));
}

void nats_consumer_close(NatsConsumer *consumer) {
    if (!consumer) return;
    check_on_thread(&consumer->client->owner);
    if (consumer->made && !consumer->durable) remove_it(consumer);
    natsSubscription_Destroy(consumer->messages);
    free(consumer->stream);
    free(consumer->durable);
    free(consumer->subject);
    free(consumer);
}

NatsConsumerCounts nats_consumer_counts(const NatsConsumer *consumer) {
    return consumer->counts;
}

NatsResult nats_consumer_info(NatsConsumer *consumer, NatsConsumerInfo *ret_info, Error *error) {
    json_t *info = NULL;
    NatsResult result = ask_info(consumer, consumer->name, &info, error);
    if (result != NATS_RESULT_DONE) return result;
    const json_t *delivered = json_object_get(info, "delivered");
    *ret_info = (NatsConsumerInfo){.pending = nats_number(info, "num_pending"),
                                   .ack_pending = nats_number(info, "num_ack_pending"),
                                   .redelivered = nats_number(info, "num_redelivered"),
                                   .delivered_stream_sequence = nats_number(delivered, "stream_seq"),
                                   .delivered_consumer_sequence = nats_number(delivered, "consumer_seq"),
                                   .acked_stream_sequence = nats_number(json_object_get(info, "ack_floor"), "stream_seq")};
    json_decref(info);
    return NATS_RESULT_DONE;
}

/* ---- messages ---- */

typedef struct HeldMessage {
    NatsMessage message; /* first */
    natsMsg *held;
    NatsHeader *headers;
} HeldMessage;

void nats_message_free(NatsMessage *message) {
    if (!message) return;
    HeldMessage *held = (HeldMessage *)message;
    natsMsg_Destroy(held->held);
    free(held->headers);
    free(held);
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Headers that libnats cannot read are none. */
static void take_headers(HeldMessage *held) {
    const char **keys = NULL;
    int count = 0;
    size_t capacity = 0;
    if (natsMsgHeader_Keys(held->held, &keys, &count) != NATS_OK) return;
    qsort(keys, (size_t)count, sizeof *keys, compare_keys);
    for (int i = 0; i < count; i++) {
        const char **values = NULL;
        int value_count = 0;
        if (natsMsgHeader_Values(held->held, keys[i], &values, &value_count) != NATS_OK) continue;
        for (int k = 0; k < value_count; k++) {
            array_reserve(held->headers, held->message.header_count, capacity);
            held->headers[held->message.header_count++] = (NatsHeader){keys[i], values[k]};
        }
        free(values);
    }
    free(keys);
    held->message.headers = held->headers;
}

static NatsMessage *message_new(natsMsg *take_message, const NatsDelivery *delivery) {
    HeldMessage *held = calloc(1, sizeof *held);
    check(held);
    held->held = take_message;
    held->message = (NatsMessage){.subject = natsMsg_GetSubject(take_message),
                                  .data = {natsMsg_GetData(take_message), (size_t)natsMsg_GetDataLength(take_message)},
                                  .delivery = *delivery,
                                  .reply = natsMsg_GetReply(take_message)};
    take_headers(held);
    return &held->message;
}

/* ---- pulling ---- */

static void forget_pulls(NatsConsumer *consumer) {
    memset(consumer->pulls, 0, sizeof consumer->pulls);
}

static uint32_t on_their_way(const NatsConsumer *consumer) {
    uint32_t sum = 0;
    for (size_t i = 0; i < PULLS_MAX; i++) sum += consumer->pulls[i].left;
    return sum;
}

static void rest(NatsConsumer *consumer) {
    consumer->retry_at = nats_now() + REST;
}

/* Without a durable: the next one that is made goes on behind what was given. */
static void make_again(NatsConsumer *consumer) {
    if (consumer->made) {
        consumer->counts.remade++;
        remove_it(consumer);
    }
    consumer->made = false;
    natsSubscription_Destroy(steal(consumer->messages)); /* what of it still comes is not in order */
    forget_pulls(consumer);
}

/* Subscribed on the connection that there is now; what was asked for on another one does not come
 * any more. */
static bool subscribe(NatsConsumer *consumer) {
    NatsClient *client = consumer->client;
    if (consumer->messages && consumer->generation == client->generation) return true;
    bool is_anew = consumer->generation != client->generation && consumer->generation != 0;
    natsSubscription_Destroy(steal(consumer->messages));
    forget_pulls(consumer);
    if (!consumer->durable && is_anew) make_again(consumer);
    char subject[sizeof consumer->inbox + 4];
    nats_make_inbox(consumer->inbox);
    (void)snprintf(subject, sizeof subject, "%s.*", consumer->inbox);
    if (natsConnection_SubscribeSync(&consumer->messages, client->connection, subject) != NATS_OK) return false;
    /* The requests bound what waits there: nothing is thrown away. */
    (void)natsSubscription_SetPendingLimits(consumer->messages, -1, -1);
    consumer->generation = client->generation;
    consumer->violations = nats_violations(client);
    return true;
}

static void request_more(NatsConsumer *consumer) {
    const NatsConsumerOptions *options = &consumer->options;
    usec_t now = nats_now();
    for (size_t i = 0; i < PULLS_MAX; i++)
        if (consumer->pulls[i].left > 0 && now > consumer->pulls[i].end) consumer->pulls[i].left = 0;
    uint32_t coming = on_their_way(consumer);
    if (coming > options->batch / 2 || now < consumer->retry_at) return;
    Pull *free_pull = NULL;
    for (size_t i = 0; i < PULLS_MAX && !free_pull; i++)
        if (consumer->pulls[i].left == 0) free_pull = &consumer->pulls[i];
    if (!free_pull || (consumer->alone && coming > 0)) return;
    uint32_t count = consumer->alone ? 1 : options->batch - coming;
    char body[200], reply[80], size[48] = "";
    if (options->bytes_max > 0 && !consumer->alone) (void)snprintf(size, sizeof size, ",\"max_bytes\":%" PRIu64, options->bytes_max);
    (void)snprintf(body, sizeof body, "{\"batch\":%" PRIu32 ",\"expires\":%" PRIdMAX ",\"idle_heartbeat\":%" PRIdMAX "%s}", count,
                   (intmax_t)NSEC(options->expires), (intmax_t)NSEC(options->heartbeat), size);
    (void)snprintf(reply, sizeof reply, "%s.%" PRIu64, consumer->inbox, ++consumer->token);
    if (!nats_publish(consumer->client, consumer->next, reply, span_of(body))) return;
    *free_pull = (Pull){.token = consumer->token, .left = count, .end = now + options->expires + GRACE};
    if (coming == 0) consumer->heard_at = now;
    consumer->alone = false;
    consumer->counts.requests++;
}

/* The oldest that is open gives what comes. */
static void count_message(NatsConsumer *consumer) {
    Pull *oldest = NULL;
    for (size_t i = 0; i < PULLS_MAX; i++)
        if (consumer->pulls[i].left > 0 && (!oldest || consumer->pulls[i].token < oldest->token)) oldest = &consumer->pulls[i];
    if (!oldest) return;
    oldest->left--;
    oldest->any = true;
}

static Pull *pull_of(NatsConsumer *consumer, const char *subject) {
    size_t size = strlen(consumer->inbox);
    if (strncmp(subject, consumer->inbox, size) != 0 || subject[size] != '.') return NULL;
    uint64_t token = strtoull(subject + size + 1, NULL, 10);
    for (size_t i = 0; i < PULLS_MAX; i++)
        if (consumer->pulls[i].token == token && consumer->pulls[i].left > 0) return &consumer->pulls[i];
    return NULL;
}

enum { GO_ON = -1 }; /* beside NatsNext: nothing to say yet */

static int refused(const NatsConsumer *consumer, int code, const char *words, Error *error) {
    (void)error_set(error, code, "Connection \"%s\": consumer \"%s\" of stream \"%s\": the server answered \"%.200s\".",
                    consumer->client->options.connection->name, consumer->name, consumer->stream, words);
    return NATS_NEXT_REFUSED;
}

/* Nobody serves the request: it is not there, or the server has just started and does not know it
 * yet. */
static int look_for_it(NatsConsumer *consumer, Error *error) {
    rest(consumer);
    forget_pulls(consumer);
    json_t *info = NULL;
    NatsResult result = ask_info(consumer, consumer->name, &info, error);
    json_decref(info);
    if (result == NATS_RESULT_NO_RIGHTS || result == NATS_RESULT_REFUSED) return NATS_NEXT_REFUSED;
    if (consumer->durable) return result == NATS_RESULT_MISSING ? NATS_NEXT_GONE : GO_ON;
    /* Without a durable it lives on one server of a cluster: when that is gone, nobody answers for
     * it, and it comes back with it alone. */
    if (result != NATS_RESULT_DONE) make_again(consumer);
    return GO_ON;
}

/* The server's word on a request: "404 No Messages" and the like. */
static int take_status(NatsConsumer *consumer, natsMsg *message, const char *status, Error *error) {
    const char *words = NULL;
    if (natsMsgHeader_Get(message, "Description", &words) != NATS_OK || !words) words = "";
    Pull *pull = pull_of(consumer, natsMsg_GetSubject(message));
    if (strcmp(status, "100") == 0 || !pull) return GO_ON; /* a heartbeat, or of a request that is over */
    pull->left = 0;
    if (strcmp(status, "404") == 0 || strcmp(status, "408") == 0) return GO_ON; /* it ended with less than it might have had */
    if (strcmp(status, "409") == 0) {
        if (strcasestr(words, "deleted")) return look_for_it(consumer, error);
        if (strcasestr(words, "exceeds maxbytes")) { /* the next message is larger than a request may be */
            consumer->alone = !pull->any;
            return GO_ON;
        }
        if (strcasestr(words, "completed")) return GO_ON;
        rest(consumer);
        /* Limits of the consumer, or one that pushes: somebody has to change something. Else the
         * leader changes or the server stops. */
        bool lasts = strcasestr(words, "maxrequest") || strcasestr(words, "push based");
        return lasts ? refused(consumer, -EINVAL, words, error) : GO_ON;
    }
    rest(consumer);
    return refused(consumer, -EINVAL, words[0] ? words : status, error);
}

static int take(NatsConsumer *consumer, natsMsg *take_message, NatsMessage **ret_message, Error *error) {
    const char *reply = natsMsg_GetReply(take_message), *status = NULL;
    NatsDelivery delivery;
    consumer->heard_at = nats_now();
    if (reply && nats_subject_parse(span_of(reply), &delivery)) {
        count_message(consumer);
        bool in_order = consumer->durable || delivery.consumer_sequence == consumer->last_delivery + 1;
        if (!in_order) {
            natsMsg_Destroy(take_message);
            make_again(consumer);
            return GO_ON;
        }
        consumer->last_delivery = delivery.consumer_sequence;
        consumer->last_sequence = consumer->durable ? 0 : delivery.stream_sequence;
        *ret_message = message_new(take_message, &delivery);
        return NATS_NEXT_MESSAGE;
    }
    int next = GO_ON;
    bool is_status = natsMsg_GetDataLength(take_message) == 0 && natsMsgHeader_Get(take_message, "Status", &status) == NATS_OK && status;
    if (is_status)
        next = take_status(consumer, take_message, status, error);
    else
        consumer->counts.ignored++;
    natsMsg_Destroy(take_message);
    return next;
}

/* Made again where that is needed. */
static int make_sure(NatsConsumer *consumer, Error *error) {
    if (consumer->made || nats_now() < consumer->retry_at) return GO_ON;
    rest(consumer);
    NatsResult result = make_or_bind(consumer, error);
    if (result == NATS_RESULT_DONE) consumer->retry_at = 0;
    if (result == NATS_RESULT_MISSING) return NATS_NEXT_GONE;
    return result == NATS_RESULT_REFUSED || result == NATS_RESULT_NO_RIGHTS ? NATS_NEXT_REFUSED : GO_ON;
}

static void notice_silence(NatsConsumer *consumer) {
    if (on_their_way(consumer) == 0 || nats_now() - consumer->heard_at <= consumer->options.heartbeat * 2 + GRACE / 2) return;
    consumer->counts.missed_heartbeats++;
    forget_pulls(consumer);
    if (!consumer->durable) make_again(consumer); /* see look_for_it */
}

/* One turn, of at most `turn`. */
static int step(NatsConsumer *consumer, usec_t turn, NatsMessage **ret_message, Error *error) {
    NatsClient *client = consumer->client;
    if (!nats_client_poll(client, turn) || !subscribe(consumer)) return GO_ON;
    int next = make_sure(consumer, error);
    if (next != GO_ON || !consumer->made || !consumer->messages) {
        if (next == GO_ON && turn > 0) (void)nanosleep(&(struct timespec){.tv_nsec = (turn < REST / 10 ? turn : REST / 10) * 1000}, NULL);
        return next;
    }
    request_more(consumer);
    natsMsg *message = NULL;
    /* 0: what is there */
    natsStatus status = natsSubscription_NextMsg(&message, consumer->messages, (turn + USEC_MS - 1) / USEC_MS);
    if (status == NATS_OK) return take(consumer, message, ret_message, error);
    if (status == NATS_NO_RESPONDERS) return look_for_it(consumer, error);
    if (nats_violated(client, consumer->violations, consumer->next, error) ||
        nats_violated(client, consumer->violations, consumer->inbox, error)) {
        consumer->violations = nats_violations(client);
        forget_pulls(consumer);
        rest(consumer);
        return NATS_NEXT_REFUSED;
    }
    notice_silence(consumer);
    return GO_ON;
}

NatsNext nats_consumer_next(NatsConsumer *consumer, usec_t wait, NatsMessage **ret_message, Error *error) {
    NatsClient *client = consumer->client;
    usec_t end = wait > 0 ? nats_now() + wait : 0;
    for (usec_t left = wait > 0 ? wait : 0;; left = end - nats_now()) {
        if (left < 0) left = 0;
        int next = step(consumer, left < SINK_PATIENCE_TURN ? left : SINK_PATIENCE_TURN, ret_message, error);
        if (next != GO_ON) return (NatsNext)next;
        if (left == 0 || nats_now() >= end || sink_patience_is_over(client->options.patience))
            return nats_client_poll(client, 0) ? NATS_NEXT_QUIET : NATS_NEXT_DOWN;
    }
}
