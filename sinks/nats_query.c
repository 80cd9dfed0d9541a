/* What the API of JetStream says about streams, accounts and rights. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "config/nats_name.h"
#include "sinks/nats_parts.h"

static bool read_time(const json_t *value, int64_t *ret_nsec) {
    return json_is_string(value) && clock_parse((Span){json_string_value(value), json_string_length(value)}, ret_nsec);
}

void nats_put_time(int64_t nsec, char ret_text[static NATS_TIME_SIZE]) {
    int64_t rest = nsec % 1000000000;
    if (rest < 0) rest += 1000000000;
    time_t seconds = (time_t)((nsec - rest) / 1000000000);
    struct tm parts;
    char day[32];
    check(gmtime_r(&seconds, &parts) && strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts) > 0);
    (void)snprintf(ret_text, NATS_TIME_SIZE, "%.20s.%09" PRId64 "Z", day, rest);
}

uint64_t nats_number(const json_t *object, const char *name) {
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 0;
}

static NatsResult bad_name(const NatsClient *client, const char *what, const char *name, Error *error) {
    (void)error_set(error, -EINVAL, "Connection \"%s\": \"%.100s\" cannot be the name of a %s.", client->options.connection->name,
                    name ? name : "", what);
    return NATS_RESULT_REFUSED;
}

NatsResult nats_client_jetstream(NatsClient *client, Error *error) {
    json_t *answer = NULL;
    NatsResult result = nats_request(client, "INFO", NULL, &answer, error);
    json_decref(answer);
    return result;
}

NatsResult nats_client_stream(NatsClient *client, const char *stream, NatsStream *ret_stream, Error *error) {
    char what[300];
    if (!nats_name_valid(span_of(stream))) return bad_name(client, "stream", stream, error);
    (void)snprintf(what, sizeof what, "STREAM.INFO.%s", stream);
    json_t *answer = NULL;
    NatsResult result = nats_request(client, what, NULL, &answer, error);
    if (result == NATS_RESULT_MISSING)
        (void)error_set(error, -ENOENT, "Connection \"%s\": there is no stream \"%s\".", client->options.connection->name, stream);
    if (result != NATS_RESULT_DONE) return result;
    const json_t *state = json_object_get(answer, "state");
    const char *retention = json_string_value(json_object_get(json_object_get(answer, "config"), "retention"));
    NatsStream found = {.first_sequence = nats_number(state, "first_seq"),
                        .last_sequence = nats_number(state, "last_seq"),
                        .messages = nats_number(state, "messages"),
                        .keeps_messages = retention && strcmp(retention, "limits") == 0};
    /* An empty stream says 0 for both, or the next for the first. */
    if (found.messages == 0 && found.first_sequence <= found.last_sequence) found.first_sequence = found.last_sequence + 1;
    bool valid = json_is_object(state) && read_time(json_object_get(answer, "created"), &found.created_nsec);
    json_decref(answer);
    if (valid) {
        *ret_stream = found;
        return NATS_RESULT_DONE;
    }
    (void)error_set(error, -EBADMSG, "Connection \"%s\": the information on stream \"%s\" lacks its state or when it was created.",
                    client->options.connection->name, stream);
    return NATS_RESULT_REFUSED;
}

/*
 * A consumer that is made for a question: it counts what it would deliver, and stands before its
 * first message. `take_start` has where it begins. *ret_answer: json_decref.
 */
static NatsResult ask_with_consumer(NatsClient *client, const char *stream, json_t *take_start, json_t **ret_answer, Error *error) {
    char what[600], subject[640];
    json_t *body = json_pack("{s:s, s:o}", "stream_name", stream, "config", take_start), *answer = NULL;
    json_t *more = json_pack("{s:s, s:I, s:b, s:i}", "ack_policy", "none", "inactive_threshold", (json_int_t)5000000000, "mem_storage", 1,
                             "num_replicas", 1);
    check(body && more && json_object_update(take_start, more) == 0);
    json_decref(more);
    (void)snprintf(what, sizeof what, "CONSUMER.CREATE.%s", stream);
    NatsResult result = nats_name_valid(span_of(stream)) ? nats_request(client, what, body, &answer, error)
                                                         : bad_name(client, "stream", stream, error);
    json_decref(body);
    if (result == NATS_RESULT_MISSING)
        (void)error_set(error, -ENOENT, "Connection \"%s\": there is no stream \"%s\".", client->options.connection->name, stream);
    if (result != NATS_RESULT_DONE) return result;
    const char *name = json_string_value(json_object_get(answer, "name"));
    if (name && nats_name_valid(span_of(name)) && json_is_integer(json_object_get(answer, "num_pending")) &&
        json_is_integer(json_object_get(json_object_get(answer, "delivered"), "stream_seq"))) {
        (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DELETE.%s.%s", stream, name);
        (void)nats_publish(client, subject, NULL, SPAN("")); /* else it ends by itself in 5 s */
        *ret_answer = answer;
        return NATS_RESULT_DONE;
    }
    json_decref(answer);
    (void)error_set(error, -EBADMSG, "Connection \"%s\": the answer to %s does not have the consumer's position.",
                    client->options.connection->name, what);
    return NATS_RESULT_REFUSED;
}

NatsResult nats_client_sequence_at(NatsClient *client, const char *stream, int64_t time_nsec, uint64_t *ret_sequence, Error *error) {
    char time[NATS_TIME_SIZE];
    json_t *answer = NULL;
    nats_put_time(time_nsec > 0 ? time_nsec : 0, time);
    json_t *start = json_pack("{s:s, s:s}", "deliver_policy", "by_start_time", "opt_start_time", time);
    check(start);
    NatsResult result = ask_with_consumer(client, stream, start, &answer, error);
    if (result == NATS_RESULT_DONE) *ret_sequence = nats_number(json_object_get(answer, "delivered"), "stream_seq") + 1;
    json_decref(answer);
    return result;
}

NatsResult nats_client_count(NatsClient *client, const char *stream, const char *subject, uint64_t first, uint64_t *ret_count,
                             Error *error) {
    json_t *answer = NULL;
    json_t *start = json_pack("{s:s, s:I, s:s*}", "deliver_policy", "by_start_sequence", "opt_start_seq",
                              (json_int_t)(first > 0 ? first : 1), "filter_subject", subject);
    check(start);
    NatsResult result = ask_with_consumer(client, stream, start, &answer, error);
    if (result == NATS_RESULT_DONE) *ret_count = nats_number(answer, "num_pending");
    json_decref(answer);
    return result;
}

NatsResult nats_client_account(NatsClient *client, char ret_account[static NATS_ACCOUNT_SIZE], Error *error) {
    json_t *answer = NULL;
    NatsResult result = nats_ask(client, "$SYS.REQ.USER.INFO", NULL, &answer, error);
    const char *account = json_string_value(json_object_get(json_object_get(answer, "data"), "account"));
    bool said = account && strlen(account) < NATS_ACCOUNT_SIZE;
    if (said) (void)snprintf(ret_account, NATS_ACCOUNT_SIZE, "%s", account);
    json_decref(answer);
    if (said || result == NATS_RESULT_RETRY || result == NATS_RESULT_NO_RIGHTS) return result;
    (void)error_set(error, -ENOENT, "Connection \"%s\": the server does not say which account the login has: nats-server does since 2.10.",
                    client->options.connection->name);
    return NATS_RESULT_MISSING;
}

/* May the login publish to the subject? Without a reply subject there is no answer, but to the
 * request behind it. */
static NatsResult may_publish(NatsClient *client, const char *subject, const char *body, Error *error) {
    uint64_t violations = nats_violations(client);
    if (!nats_publish(client, subject, NULL, span_of(body))) return nats_not_connected(client, error);
    /* -ERR stands before the answer to a request that is sent behind; its note is made on another thread, a moment later. */
    json_t *answer = NULL;
    NatsResult result = nats_request(client, "INFO", NULL, &answer, error);
    json_decref(answer);
    if (result != NATS_RESULT_DONE) return result;
    for (usec_t end = nats_now() + SINK_PATIENCE_TURN; nats_now() < end;) {
        if (nats_violated(client, violations, subject, error)) return NATS_RESULT_NO_RIGHTS;
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    return NATS_RESULT_DONE;
}

NatsResult nats_client_rights(NatsClient *client, const char *stream, const char *durable, Error *error) {
    /* A body that is no JSON is refused before anything is done; sequence 0 is that of no
     * message. */
    static const char *const subjects[][2] = {{"$JS.API.CONSUMER.INFO.%s.%s", ""},
                                              {"$JS.API.CONSUMER.DURABLE.CREATE.%s.%s", "{"},
                                              {"$JS.API.CONSUMER.MSG.NEXT.%s.%s", "{"},
                                              {"$JS.ACK.%s.%s.1.0.0.0.0", "+WPI"}};
    if (!nats_name_valid(span_of(stream))) return bad_name(client, "stream", stream, error);
    if (durable && !nats_name_valid(span_of(durable))) return bad_name(client, "consumer", durable, error);
    NatsResult result = nats_client_jetstream(client, error);
    char subject[640];
    if (!durable && result == NATS_RESULT_DONE) {
        (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s", stream);
        return may_publish(client, subject, "{", error);
    }
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects && result == NATS_RESULT_DONE; i++) {
        const char *at = strstr(subjects[i][0], "%s");
        int head = (int)(at - subjects[i][0]);
        (void)snprintf(subject, sizeof subject, "%.*s%s.%s%s", head, subjects[i][0], stream, durable, at + strlen("%s.%s"));
        result = may_publish(client, subject, subjects[i][1], error);
    }
    return result;
}
