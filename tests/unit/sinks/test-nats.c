/* The NATS client against servers that do wrong, answer late, or not at all. */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "tests/unit/sinks/nats-case.h"
#include "tests/unit/sinks/nats-script.h"

#define MADE "{\"name\":\"one\",\"config\":{\"ack_policy\":\"explicit\"}}"
#define SHORT (300 * USEC_MS)

/* What a script answers, by the start of the subject; and the message of a pull. */
typedef struct Answer {
    const char *subject;
    const char *body;   /* NULL: none */
    const char *status; /* instead: "NATS/1.0 409 ...\r\n" */
} Answer;

typedef struct Plan {
    const Answer *answers; /* ends with one without subject; the first that fits */
    atomic_uint messages;  /* that each pull gives, as long as it is so */
    uint64_t sequence;
    uint64_t delivery;
} Plan;

static void send_message(Plan *plan, Script *script, const char *inbox) {
    char reply[128], body[32];
    (void)snprintf(reply, sizeof reply, "$JS.ACK.S.one.1.%" PRIu64 ".%" PRIu64 ".1700000000000000000.0", ++plan->sequence,
                   ++plan->delivery);
    (void)snprintf(body, sizeof body, "%" PRIu64, plan->sequence);
    script_send(script, inbox, "orders.a", reply, NULL, body);
}

static void serve(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Plan *plan = context;
    for (const Answer *answer = plan->answers; answer && answer->subject; answer++) {
        if (strncmp(subject, answer->subject, strlen(answer->subject)) != 0) continue;
        if (answer->body || answer->status) script_send(script, reply, reply, "", answer->status, answer->body ? answer->body : "");
        break;
    }
    if (strstr(subject, ".CREATE.")) plan->delivery = 0;
    if (strstr(subject, "MSG.NEXT"))
        for (unsigned i = atomic_load(&plan->messages); i > 0; i--) send_message(plan, script, reply);
}

static const Answer durable_answers[] = {{"$JS.API.CONSUMER.INFO.", MADE, NULL}, {"$JS.API.CONSUMER.DURABLE.CREATE.", MADE, NULL}, {0}};
static const NatsConsumerOptions durable = {
    .stream = "S", .durable = "one", .batch = 4, .ack_wait = USEC_SECOND, .heartbeat = 200 * USEC_MS, .expires = USEC_SECOND};

/* ---- logins ---- */

static void how_a_login_fails(void **state) {
    static const struct {
        const char *info, *login;
        bool ends;
        SinkFault fault;
        const char *words;
        bool silent; /* the client waits in vain */
    } cases[] = {
        {NULL, "-ERR 'Authorization Violation'\r\n", true, SINK_FAULT_LOGIN, "Authorization Violation"},
        {NULL, "-ERR 'User Authentication Expired'\r\n", true, SINK_FAULT_LOGIN, "Authentication Expired"},
        {NULL, "-ERR 'maximum connections exceeded'\r\n", true, SINK_FAULT_UNREACHABLE, "maximum connections exceeded"},
        {NULL, "HELLO\r\n", false, SINK_FAULT_UNREACHABLE, "HELLO"},
        {NULL, "", true, SINK_FAULT_UNREACHABLE, "ended the connection"},
        {NULL, "", false, SINK_FAULT_UNREACHABLE, "does not answer in time", .silent = true},
        {"HTTP/1.1 400 Bad Request\r\n", NULL, false, SINK_FAULT_UNREACHABLE, "Unexpected protocol"},
        {"INFO {\r\n", NULL, false, SINK_FAULT_UNREACHABLE, "events"},
        {"INFO {}", NULL, false, SINK_FAULT_UNREACHABLE, "events", .silent = true},
        {"INFO {\"tls_required\":true}\r\n", "x", false, SINK_FAULT_TLS, "events", .silent = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Script *script = script_start(&(ScriptRules){.info = cases[i].info, .login = cases[i].login, .ends_at_login = cases[i].ends});
        NatsClient *client = case_client(script_port(script), cases[i].silent ? SHORT : CASE_DEADLINE, SHORT);
        NatsClientStatus status = {0};
        for (usec_t end = case_now() + CASE_DEADLINE; status.failed_rounds == 0 && case_now() < end;) {
            assert_false(nats_client_poll(client, 20 * USEC_MS));
            nats_client_status(client, &status);
        }
        bool fits = status.fault == cases[i].fault || (cases[i].fault == SINK_FAULT_TLS && status.fault == SINK_FAULT_UNREACHABLE);
        if (!fits || !strstr(status.error.text, cases[i].words)) fail_msg("%zu: %d %s", i, status.fault, status.error.text);
        assert_false(status.connected);
        NatsStream stream;
        Error error = {0};
        assert_int_equal(nats_client_stream(client, "S", &stream, &error), NATS_RESULT_RETRY);
        assert_true(error.code < 0 && error.text[0]);
        /* The same client gets on as soon as the server is as it should be. */
        script_change(script, &(ScriptRules){0});
        script_hang_up(script);
        assert_true(nats_client_poll(client, CASE_DEADLINE));
        script_stop(script);
        case_close(client);
    }
}

static void wait_for_left(unsigned count) {
    for (usec_t end = case_now() + CASE_DEADLINE; nats_left_behind() != count && case_now() < end;)
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    assert_int_equal(nats_left_behind(), count);
}

/* libnats waits for the PONG of a login without a limit. */
static void a_close_does_not_wait_for_a_silent_server(void **state) {
    wait_for_left(0);
    Script *script = script_start(&(ScriptRules){.login = ""});
    NatsClient *client = case_client(script_port(script), CASE_DEADLINE, SHORT);
    for (usec_t end = case_now() + CASE_DEADLINE; script_connects(script) == 0 && case_now() < end;)
        (void)nats_client_poll(client, 10 * USEC_MS);
    usec_t began = case_now();
    assert_false(nats_client_close(client, SHORT));
    assert_true(case_now() - began < 20 * USEC_SECOND);
    assert_int_equal(nats_left_behind(), 1);
    script_stop(script);
    wait_for_left(0);
    case_forget(client);
}

static bool over(void *context) {
    return case_now() >= *(usec_t *)context;
}

static void all_calls_end_with_the_patience(void **state) {
    Plan plan = {.answers = durable_answers};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &plan});
    usec_t end = INT64_MAX;
    SinkPatience patience = {.is_over = over, .context = &end};
    NatsClient *client = case_client_with(script_port(script), 0, 0, &patience);
    assert_true(nats_client_poll(client, CASE_DEADLINE));
    NatsConsumer *consumer = case_consumer(client, &durable);
    NatsMessage *message;
    NatsStream stream;
    Error error = {0};
    end = case_now() + SHORT;
    assert_int_equal(nats_consumer_next(consumer, 600 * USEC_SECOND, &message, NULL), NATS_NEXT_QUIET);
    assert_int_equal(nats_client_stream(client, "S", &stream, &error), NATS_RESULT_RETRY);
    assert_int_equal(error.code, -ECANCELED);
    script_stop(script);
    end = case_now() + SHORT;
    while (nats_client_poll(client, 0)) (void)nats_consumer_next(consumer, USEC_MS, &message, NULL);
    assert_false(nats_client_poll(client, 600 * USEC_SECOND));
    assert_int_equal(nats_consumer_next(consumer, 600 * USEC_SECOND, &message, NULL), NATS_NEXT_DOWN);
    nats_consumer_close(consumer);
    case_close(client);
}

/* ---- the API ---- */

static void what_the_api_answers(void **state) {
#define STATE "\"state\":{\"messages\":3,\"first_seq\":4,\"last_seq\":9}"
    static const struct {
        const char *body;
        NatsResult result;
        const char *words;
    } cases[] = {
        {"{\"created\":\"2023-11-14T22:13:20.000000001Z\"," STATE "}", NATS_RESULT_DONE, ""},
        {"{\"created\":\"2023-11-15T00:13:20.000000001+02:00\"," STATE "}", NATS_RESULT_DONE, ""},
        {"{\"created\":\"yesterday\"," STATE "}", NATS_RESULT_REFUSED, "lacks"},
        {"{\"created\":\"2023-11-14T22:13:20\"," STATE "}", NATS_RESULT_REFUSED, "lacks"},
        {"{" STATE "}", NATS_RESULT_REFUSED, "lacks"},
        {"{\"created\":\"2023-11-14T22:13:20Z\"}", NATS_RESULT_REFUSED, "lacks"},
        {"{\"created\":1," STATE "}", NATS_RESULT_REFUSED, "lacks"},
        {"", NATS_RESULT_REFUSED, "not a JSON object"},
        {"[]", NATS_RESULT_REFUSED, "not a JSON object"},
        {"{\"created\":", NATS_RESULT_REFUSED, "not a JSON object"},
        {"{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}", NATS_RESULT_MISSING,
         "there is no stream \"S\""},
        {"{\"error\":{\"code\":503,\"err_code\":10076,\"description\":\"jetstream not enabled\"}}", NATS_RESULT_NO_JETSTREAM,
         "not enabled"},
        {"{\"error\":{\"code\":503,\"err_code\":10039,\"description\":\"not enabled for account\"}}", NATS_RESULT_NO_JETSTREAM,
         "for account"},
        {"{\"error\":{\"code\":503,\"err_code\":10008,\"description\":\"temporarily unavailable\"}}", NATS_RESULT_RETRY, "unavailable"},
        {"{\"error\":{\"code\":400}}", NATS_RESULT_REFUSED, "(400)"},
        {"{\"error\":7}", NATS_RESULT_REFUSED, "(0)"},
        {NULL, NATS_RESULT_RETRY, "no answer in time"},
    };
    Plan plan = {0};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &plan});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NatsClient *client = case_client(script_port(script), CASE_DEADLINE, cases[i].body ? CASE_DEADLINE : SHORT);
        Answer answers[] = {{"$JS.API.STREAM.INFO.S", cases[i].body, NULL}, {0}};
        Plan own = {.answers = answers};
        script_change(script, &(ScriptRules){.publish = serve, .context = &own});
        assert_true(nats_client_poll(client, CASE_DEADLINE));
        NatsStream stream = {0};
        Error error = {0};
        NatsResult result = nats_client_stream(client, "S", &stream, &error);
        if (result != cases[i].result || !strstr(error.text, cases[i].words)) fail_msg("%zu: %d %s", i, result, error.text);
        case_close(client);
        if (result != NATS_RESULT_DONE) continue;
        assert_int_equal(stream.created_nsec, 1700000000000000001);
        assert_true(stream.messages == 3 && stream.first_sequence == 4 && stream.last_sequence == 9 && !stream.keeps_messages);
    }
    script_stop(script);
}

/* Nobody serves the subject: the server says so at once. */
static void no_responders(void **state) {
    static const Answer answers[] = {{"$JS.API.INFO", NULL, "NATS/1.0 503\r\n"}, {0}};
    Plan plan = {.answers = answers};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &plan});
    NatsClient *client = case_connected(script_port(script));
    Error error = {0};
    assert_int_equal(nats_client_jetstream(client, &error), NATS_RESULT_NO_JETSTREAM);
    assert_non_null(strstr(error.text, "JetStream is not enabled"));
    script_stop(script);
    case_close(client);
}

/* What belongs to a request that was given up is not taken for the answer to a later one. */
static void an_answer_that_comes_too_late(void **state) {
    Plan plan = {0};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &plan});
    NatsClient *client = case_client(script_port(script), 0, SHORT);
    char account[NATS_ACCOUNT_SIZE];
    assert_true(nats_client_poll(client, CASE_DEADLINE));
    assert_int_equal(nats_client_account(client, account, NULL), NATS_RESULT_RETRY);
    static const Answer answers[] = {{"$SYS.REQ.USER.INFO", "{\"data\":{\"account\":\"SHOP\"}}", NULL}, {"$JS.API.INFO", "{}", NULL}, {0}};
    Plan later = {.answers = answers};
    script_change(script, &(ScriptRules){.publish = serve, .context = &later});
    /* Its limit is short, so it may be asked more than once. */
    NatsResult result = NATS_RESULT_RETRY;
    for (usec_t end = case_now() + CASE_DEADLINE; result == NATS_RESULT_RETRY && case_now() < end;)
        result = nats_client_account(client, account, NULL);
    assert_int_equal(result, NATS_RESULT_DONE);
    assert_string_equal(account, "SHOP");
    result = NATS_RESULT_RETRY;
    for (usec_t end = case_now() + CASE_DEADLINE; result == NATS_RESULT_RETRY && case_now() < end;)
        result = nats_client_jetstream(client, NULL);
    assert_int_equal(result, NATS_RESULT_DONE);
    script_stop(script);
    case_close(client);
}

static void a_right_that_is_missing_is_named_at_once(void **state) {
    Plan plan = {.answers = durable_answers};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &plan, .denied = "$JS.API.STREAM"});
    NatsClient *client = case_client(script_port(script), 0, 600 * USEC_SECOND);
    NatsStream stream;
    Error error = {0};
    assert_int_equal(nats_client_stream(client, "S", &stream, &error), NATS_RESULT_NO_RIGHTS);
    assert_string_equal(error.text, "Connection \"events\": the login may not publish to \"$JS.API.STREAM.INFO.S\".");
    NatsConsumer *consumer = case_consumer(client, &durable);
    script_change(script, &(ScriptRules){.publish = serve, .context = &plan, .denied = "$JS.API.CONSUMER.MSG.NEXT"});
    for (int i = 0; i < 2; i++) { /* it is asked again each time */
        error = (Error){0};
        assert_int_equal(case_end(consumer, &error), NATS_NEXT_REFUSED);
        assert_non_null(strstr(error.text, "$JS.API.CONSUMER.MSG.NEXT.S.one"));
    }
    script_change(script, &(ScriptRules){.publish = serve, .context = &plan});
    atomic_store(&plan.messages, 1);
    nats_message_free(case_next(consumer));
    nats_consumer_close(consumer);
    script_stop(script);
    case_close(client);
}

/* ---- pulling ---- */

static void what_ends_a_request(void **state) {
    static const struct {
        const char *status;
        NatsNext next; /* NATS_NEXT_QUIET: it just asks again */
    } cases[] = {
        {"NATS/1.0 404 No Messages\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 408 Request Timeout\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 409 Exceeded MaxWaiting\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 409 Leadership Change\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 409 Server Shutdown\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 409 Batch Completed\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 409 Message Size Exceeds MaxBytes\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 409 Consumer Deleted\r\n", NATS_NEXT_QUIET}, /* and it is there again */
        {"NATS/1.0 503\r\n", NATS_NEXT_QUIET},
        {"NATS/1.0 409 Exceeded MaxRequestBatch of 2\r\n", NATS_NEXT_REFUSED},
        {"NATS/1.0 409 Consumer is push based\r\n", NATS_NEXT_REFUSED},
        {"NATS/1.0 400 Bad Request\r\n", NATS_NEXT_REFUSED},
        {"NATS/1.0 999\r\n", NATS_NEXT_REFUSED},
    };
    Plan first = {.answers = durable_answers};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &first});
    NatsClient *client = case_connected(script_port(script));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Answer answers[] = {{"$JS.API.CONSUMER.MSG.NEXT", NULL, cases[i].status}, durable_answers[0], durable_answers[1], {0}};
        Plan wrong = {.answers = answers}, right = {.answers = durable_answers, .messages = 1};
        script_change(script, &(ScriptRules){.publish = serve, .context = &wrong});
        NatsConsumer *consumer = case_consumer(client, &durable);
        NatsMessage *message = NULL;
        Error error = {0};
        unsigned before = script_published(script, "$JS.API.CONSUMER.MSG.NEXT");
        NatsNext next = NATS_NEXT_QUIET;
        while (next == NATS_NEXT_QUIET && script_published(script, "$JS.API.CONSUMER.MSG.NEXT") < before + 3)
            next = nats_consumer_next(consumer, 20 * USEC_MS, &message, &error);
        if (next != cases[i].next) fail_msg("%s: %d %s", cases[i].status, next, error.text);
        script_change(script, &(ScriptRules){.publish = serve, .context = &right});
        next = NATS_NEXT_QUIET;
        for (usec_t end = case_now() + CASE_DEADLINE; next != NATS_NEXT_MESSAGE && case_now() < end;)
            next = nats_consumer_next(consumer, 20 * USEC_MS, &message, &error); /* an answer to an earlier request may come first */
        assert_int_equal(next, NATS_NEXT_MESSAGE);
        assert_true(span_equal(message->data, SPAN("1")));
        nats_message_free(message);
        nats_consumer_close(consumer);
        script_change(script, &(ScriptRules){.publish = serve, .context = &first});
    }
    script_stop(script);
    case_close(client);
}

/* Two messages from where the consumer begins, then it is deleted. */
static void give_two(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Plan *plan = context;
    const char *start = strstr(body, "\"opt_start_seq\":");
    if (strstr(subject, ".CREATE.")) plan->sequence = start ? strtoull(start + 16, NULL, 10) - 1 : 0;
    if (strstr(subject, "MSG.NEXT") && plan->delivery == 0) {
        send_message(plan, script, reply);
        send_message(plan, script, reply);
    }
    serve(plan, script, subject, reply, body);
}

static void a_consumer_that_is_gone(void **state) {
    static const Answer answers[] = {
        {"$JS.API.CONSUMER.MSG.NEXT", NULL, "NATS/1.0 409 Consumer Deleted\r\n"},
        {"$JS.API.CONSUMER.INFO.", "{\"error\":{\"code\":404,\"err_code\":10014,\"description\":\"consumer not found\"}}", NULL},
        {"$JS.API.CONSUMER.DURABLE.CREATE.", MADE, NULL},
        {"$JS.API.CONSUMER.CREATE.", MADE, NULL},
        {0}};
    Plan plan = {.answers = answers};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &plan});
    NatsClient *client = case_connected(script_port(script));
    NatsConsumer *consumer = case_consumer(client, &durable);
    assert_int_equal(case_end(consumer, NULL), NATS_NEXT_GONE);
    nats_consumer_close(consumer);

    /* One without a durable is made again behind what was given. */
    NatsConsumerOptions options = {.stream = "S", .batch = 4};
    Plan two = {.answers = answers};
    script_change(script, &(ScriptRules){.publish = give_two, .context = &two});
    consumer = case_consumer(client, &options);
    for (uint64_t i = 1; i <= 6; i++) {
        NatsMessage *message = case_next(consumer);
        assert_int_equal(message->delivery.stream_sequence, i);
        nats_message_free(message);
    }
    assert_true(nats_consumer_counts(consumer).remade >= 1);
    nats_consumer_close(consumer);
    script_stop(script);
    case_close(client);
}

/* The server that the consumer lived on is gone: nobody answers for it, and another server of the
 * cluster makes a new one. */
typedef struct Cluster {
    Plan plan;
    const char *loss;    /* what a pull from a dead consumer meets; NULL: nothing */
    unsigned made, dead; /* consumers, in the order of their making; those up to `dead` are gone */
    uint64_t starts[4];  /* where they begin */
} Cluster;

static void lose_one(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Cluster *cluster = context;
    if (strstr(subject, ".CREATE.")) {
        const char *start = strstr(body, "\"opt_start_seq\":");
        char answer[64];
        unsigned number = ++cluster->made;
        cluster->plan.sequence = start ? strtoull(start + 16, NULL, 10) - 1 : 0;
        cluster->plan.delivery = 0;
        if (number < 4) cluster->starts[number] = cluster->plan.sequence + 1;
        (void)snprintf(answer, sizeof answer, "{\"name\":\"c%u\",\"config\":{}}", number);
        script_send(script, reply, reply, "", NULL, answer);
        return;
    }
    const char *next = strstr(subject, "MSG.NEXT.S.c");
    if (!next) return; /* INFO of a dead one has no answer either */
    if (strtoul(next + strlen("MSG.NEXT.S.c"), NULL, 10) > cluster->dead)
        send_message(&cluster->plan, script, reply);
    else if (cluster->loss)
        script_send(script, reply, reply, "", cluster->loss, "");
    if (cluster->dead < cluster->made && cluster->dead < 2 && cluster->plan.delivery > 0) cluster->dead++;
}

static void the_server_of_a_consumer_is_gone(void **state) {
    static const char *const losses[] = {NULL, "NATS/1.0 503\r\n", "NATS/1.0 409 Consumer Deleted\r\n"};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        Cluster cluster = {.loss = losses[i]};
        Script *script = script_start(&(ScriptRules){.publish = lose_one, .context = &cluster});
        NatsClient *client = case_client(script_port(script), 5 * USEC_SECOND, SHORT);
        while (!nats_client_poll(client, 100 * USEC_MS)) {
        }
        NatsConsumerOptions options = {.stream = "S", .batch = 1, .heartbeat = 200 * USEC_MS, .expires = USEC_SECOND};
        NatsConsumer *consumer = case_consumer(client, &options);
        for (uint64_t k = 1; k <= 4; k++) {
            NatsMessage *message = case_next(consumer);
            assert_int_equal(message->delivery.stream_sequence, k);
            nats_message_free(message);
        }
        uint64_t remade = nats_consumer_counts(consumer).remade;
        assert_true(remade >= 2);                                                          /* more often where the answers are slow */
        assert_int_equal(script_published(script, "$JS.API.CONSUMER.DELETE.S.c"), remade); /* in case it is only cut off */
        nats_consumer_close(consumer);
        script_stop(script);
        case_close(client);
        if (cluster.made > 3) continue;
        assert_int_equal(cluster.starts[2], 2);
        assert_int_equal(cluster.starts[3], 3);
    }
}

static void missed_heartbeats(void **state) {
    Plan plan = {.answers = durable_answers};
    Script *script = script_start(&(ScriptRules){.publish = serve, .context = &plan});
    NatsClient *client = case_connected(script_port(script));
    NatsConsumerOptions options = durable;
    options.expires = 600 * USEC_SECOND;
    NatsConsumer *consumer = case_consumer(client, &options);
    NatsMessage *message = NULL;
    while (nats_consumer_counts(consumer).missed_heartbeats < 2)
        assert_int_equal(nats_consumer_next(consumer, 100 * USEC_MS, &message, NULL), NATS_NEXT_QUIET);
    assert_in_range(nats_consumer_counts(consumer).requests, 2, 3);
    atomic_store(&plan.messages, 4);
    for (int i = 0; i < 4; i++) nats_message_free(case_next(consumer));
    atomic_store(&plan.messages, 0);
    nats_consumer_close(consumer);
    script_stop(script);
    case_close(client);
}

/* A request that the server forgot ends at its own deadline, also while there are heartbeats. */
static void beat(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Plan *plan = context;
    serve(plan, script, subject, reply, body);
    if (strstr(subject, "MSG.NEXT"))
        for (int i = 0; i < 50; i++) script_send(script, reply, reply, "", "NATS/1.0 100 Idle Heartbeat\r\n", "");
}

static void a_request_has_an_end_of_its_own(void **state) {
    Plan plan = {.answers = durable_answers};
    Script *script = script_start(&(ScriptRules){.publish = beat, .context = &plan});
    NatsClient *client = case_connected(script_port(script));
    NatsConsumerOptions options = durable;
    options.expires = 100 * USEC_MS;
    options.heartbeat = 50 * USEC_MS;
    NatsConsumer *consumer = case_consumer(client, &options);
    NatsMessage *message = NULL;
    while (nats_consumer_counts(consumer).requests < 3)
        assert_int_equal(nats_consumer_next(consumer, 50 * USEC_MS, &message, NULL), NATS_NEXT_QUIET);
    nats_consumer_close(consumer);
    script_stop(script);
    case_close(client);
}

static void mislead(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Plan *plan = context;
    serve(plan, script, subject, reply, body);
    if (!strstr(subject, "MSG.NEXT")) return;
    script_send(script, reply, "orders.a", "", NULL, "no reply");
    script_send(script, reply, "orders.a", "$JS.ACK.S.one.x.1.1.1.1", NULL, "a wrong reply");
    script_send(script, reply, "orders.a", "", "NATS/1.0\r\nStatus: 404\r\n", "a body");
    script_send(script, reply, "_INBOX.another.1", "", "NATS/1.0 408 Timeout\r\n", "");
    script_send(script, reply, "orders.a", "$JS.ACK.S.one.1.77.1.1700000000000000000.0", "rubbish without an end", "77");
    send_message(plan, script, reply);
}

static void messages_of_others_are_left_out(void **state) {
    Plan plan = {.answers = durable_answers};
    Script *script = script_start(&(ScriptRules){.publish = mislead, .context = &plan});
    NatsClient *client = case_connected(script_port(script));
    NatsConsumer *consumer = case_consumer(client, &durable);
    NatsMessage *message = case_next(consumer);
    assert_int_equal(message->delivery.stream_sequence, 77); /* its headers cannot be read: it has none */
    assert_int_equal(message->header_count, 0);
    nats_message_free(message);
    message = case_next(consumer);
    assert_int_equal(message->delivery.stream_sequence, 1);
    nats_message_free(message);
    assert_true(nats_consumer_counts(consumer).ignored >= 3);
    nats_consumer_close(consumer);
    script_stop(script);
    case_close(client);
}

/* A delivery that was lost on the way: what follows is not given, the consumer is made again. */
static void leave_one_out(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Plan *plan = context;
    const char *start = strstr(body, "\"opt_start_seq\":");
    if (strstr(subject, ".CREATE.")) {
        plan->sequence = start ? strtoull(start + 16, NULL, 10) - 1 : 0;
        plan->delivery = 0;
        script_send(script, reply, reply, "", NULL, MADE);
    }
    if (!strstr(subject, "MSG.NEXT")) return;
    send_message(plan, script, reply);
    plan->sequence++; /* the next one is lost */
    plan->delivery++;
    send_message(plan, script, reply);
}

static void a_gap_in_deliveries(void **state) {
    Plan plan = {0};
    Script *script = script_start(&(ScriptRules){.publish = leave_one_out, .context = &plan});
    NatsClient *client = case_connected(script_port(script));
    NatsConsumerOptions options = {.stream = "S", .batch = 10};
    NatsConsumer *consumer = case_consumer(client, &options);
    for (uint64_t i = 1; i <= 5; i++) {
        NatsMessage *message = case_next(consumer);
        assert_int_equal(message->delivery.stream_sequence, i);
        nats_message_free(message);
    }
    assert_true(nats_consumer_counts(consumer).remade >= 4);
    nats_consumer_close(consumer);
    script_stop(script);
    case_close(client);
}

/* As many as were asked for; `messages` counts them. */
static void give_batch(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Plan *plan = context;
    const char *batch = strstr(subject, "MSG.NEXT") ? strstr(body, "\"batch\":") : NULL;
    for (const Answer *answer = durable_answers; answer->subject; answer++)
        if (strncmp(subject, answer->subject, strlen(answer->subject)) == 0) script_send(script, reply, reply, "", NULL, answer->body);
    for (unsigned long i = batch ? strtoul(batch + 8, NULL, 10) : 0; i > 0; i--) {
        (void)atomic_fetch_add(&plan->messages, 1);
        send_message(plan, script, reply);
    }
}

/* At most a batch is on its way, whatever the caller does. */
static void requests_are_bounded(void **state) {
    Plan plan = {0};
    Script *script = script_start(&(ScriptRules){.publish = give_batch, .context = &plan});
    NatsClient *client = case_connected(script_port(script));
    NatsConsumer *consumer = case_consumer(client, &durable);
    for (unsigned i = 1; i <= 1000; i++) {
        NatsMessage *message = case_next(consumer);
        assert_int_equal(message->delivery.stream_sequence, i);
        assert_true(nats_client_ack(client, message->reply));
        nats_message_free(message);
        unsigned sent = atomic_load(&plan.messages);
        assert_in_range(sent, i, i + durable.batch);
    }
    script_wait(script, "$JS.ACK.", 1000);
    NatsConsumerCounts counts = nats_consumer_counts(consumer);
    assert_true(counts.requests <= 502 && counts.missed_heartbeats == 0 && counts.ignored == 0);
    nats_consumer_close(consumer);
    script_stop(script);
    case_close(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_a_login_fails),
        cmocka_unit_test(a_close_does_not_wait_for_a_silent_server),
        cmocka_unit_test(all_calls_end_with_the_patience),
        cmocka_unit_test(what_the_api_answers),
        cmocka_unit_test(no_responders),
        cmocka_unit_test(an_answer_that_comes_too_late),
        cmocka_unit_test(a_right_that_is_missing_is_named_at_once),
        cmocka_unit_test(what_ends_a_request),
        cmocka_unit_test(a_consumer_that_is_gone),
        cmocka_unit_test(the_server_of_a_consumer_is_gone),
        cmocka_unit_test(missed_heartbeats),
        cmocka_unit_test(a_request_has_an_end_of_its_own),
        cmocka_unit_test(messages_of_others_are_left_out),
        cmocka_unit_test(a_gap_in_deliveries),
        cmocka_unit_test(requests_are_bounded),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (nats_left_behind() > 0 || !nats_end(10 * USEC_SECOND)) failed++;
    return failed;
}
