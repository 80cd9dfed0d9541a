#include "sinks/nats.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/random.h"
#include "base/text.h"
#include "sinks/nats_parts.h"

#define LIMIT (5 * USEC_SECOND) /* of a connect and of a request, unless the options say otherwise */
#define RETRY_MIN (100 * USEC_MS)
#define RETRY_MAX (5 * USEC_SECOND)
#define PING_INTERVAL (10 * USEC_SECOND) /* with the next one unanswered the connection counts as lost */
#define WRITE_LIMIT (5 * USEC_SECOND)    /* how long one write may wait for a peer that does not read */
#define LEFT_MAX 16                      /* threads that are left behind: with more of them nobody connects */
#define ANSWER_BYTES_MAX ((size_t)4 << 20)

/* ---- notes of libnats' own threads ---- */

static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;
static NatsNotes *all_notes;        /* under notes_lock */
static uintptr_t last_notes_number; /* under notes_lock */

static void lock(pthread_mutex_t *mutex) {
    check(pthread_mutex_lock(mutex) == 0);
}

static void unlock(pthread_mutex_t *mutex) {
    check(pthread_mutex_unlock(mutex) == 0);
}

static NatsNotes *notes_new(void) {
    NatsNotes *notes = calloc(1, sizeof *notes);
    check(notes);
    lock(&notes_lock);
    notes->number = ++last_notes_number;
    notes->next = all_notes;
    all_notes = notes;
    unlock(&notes_lock);
    return notes;
}

static void notes_free(NatsNotes *notes) {
    lock(&notes_lock);
    for (NatsNotes **at = &all_notes; *at; at = &(*at)->next) {
        if (*at != notes) continue;
        *at = notes->next;
        break;
    }
    unlock(&notes_lock);
    free(notes);
}

/* On a thread of libnats. */
static void note_error(natsConnection *connection, natsSubscription *subscription, natsStatus status, void *number) {
    const char *words = NULL;
    if (status != NATS_NOT_PERMITTED) return;
    (void)natsConnection_GetLastError(connection, &words); /* its result is the error itself */
    if (!words) words = "";
    lock(&notes_lock);
    for (NatsNotes *notes = all_notes; notes; notes = notes->next) {
        if (notes->number != (uintptr_t)number) continue;
        notes->violations++;
        (void)snprintf(notes->violation, sizeof notes->violation, "%s", words);
    }
    unlock(&notes_lock);
}

uint64_t nats_violations(NatsClient *client) {
    lock(&notes_lock);
    uint64_t count = client->notes->violations;
    unlock(&notes_lock);
    return count;
}

bool nats_violated(NatsClient *client, uint64_t before, const char *subject, Error *error) {
    char words[sizeof client->notes->violation];
    lock(&notes_lock);
    bool is_new = client->notes->violations != before;
    memcpy(words, client->notes->violation, sizeof words);
    unlock(&notes_lock);
    if (!is_new || !strstr(words, subject)) return false;
    (void)error_set(error, -EPERM, "Connection \"%s\": the login may not %s \"%s\".", client->options.connection->name,
                    strstr(words, "Subscription") ? "subscribe to" : "publish to", subject);
    return true;
}

/* ---- tasks: what libnats does without a limit ---- */

struct NatsTask {
    Thread thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned users;             /* under the lock: its thread, and who waits for it */
    bool done;                  /* under the lock */
    bool left;                  /* under the lock: it is counted in left_behind */
    natsOptions *options;       /* of a connect; NULL: a close */
    natsConnection *connection; /* of a connect: its result */
    natsStatus status;
    char words[256];
};

static atomic_uint left_behind;

static void task_free(NatsTask *task) {
    natsOptions_Destroy(task->options);
    check(pthread_mutex_destroy(&task->lock) == 0 && pthread_cond_destroy(&task->changed) == 0);
    free(task);
}

static void end_connection(natsConnection *connection) {
    natsConnection_Close(connection);
    natsConnection_Destroy(connection);
}

static void *run_task(void *context) {
    NatsTask *task = context;
    if (task->options) {
        task->status = natsConnection_Connect(&task->connection, task->options);
        const char *words = task->status == NATS_OK ? NULL : nats_GetLastError(NULL);
        const char *place = words ? strstr(words, "): ") : NULL; /* "(conn.c:1905): Authorization Violation" */
        (void)snprintf(task->words, sizeof task->words, "%s", place ? place + 3 : words ? words : "");
    } else {
        end_connection(task->connection);
    }
    lock(&task->lock);
    bool alone = task->users == 1;
    unlock(&task->lock);
    if (alone && task->options && task->connection) end_connection(steal(task->connection)); /* nobody wants it any more */
    nats_ReleaseThreadMemory();
    lock(&task->lock);
    task->done = true;
    if (task->left) (void)atomic_fetch_sub(&left_behind, 1);
    bool last = --task->users == 0;
    check(pthread_cond_broadcast(&task->changed) == 0);
    unlock(&task->lock);
    if (last && task->options && task->connection) end_connection(steal(task->connection));
    if (last) task_free(task);
    return NULL;
}

/* Takes both, one of which is NULL. NULL: there is no thread to be had. */
static NatsTask *task_start(natsOptions *take_options, natsConnection *take_connection, Error *error) {
    NatsTask *task = calloc(1, sizeof *task);
    check(task);
    pthread_condattr_t attributes;
    check(pthread_condattr_init(&attributes) == 0 && pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    check(pthread_mutex_init(&task->lock, NULL) == 0 && pthread_cond_init(&task->changed, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
    task->options = take_options;
    task->connection = take_connection;
    task->users = 2;
    lock(&task->lock); /* its thread gets no further than this until the handle is set */
    int r = thread_start(&task->thread, take_options ? "nats-connect" : "nats-close", run_task, task, error);
    if (r == 0) check(pthread_detach(task->thread.handle) == 0);
    unlock(&task->lock);
    if (r == 0) return task;
    if (take_connection) end_connection(take_connection);
    task_free(task);
    return NULL;
}

/* Waits at most `wait`. */
static bool task_wait(NatsTask *task, usec_t wait) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    usec_t end = (usec_t)until.tv_sec * USEC_SECOND + until.tv_nsec / 1000 + wait;
    until = (struct timespec){.tv_sec = end / USEC_SECOND, .tv_nsec = end % USEC_SECOND * 1000};
    lock(&task->lock);
    while (!task->done && wait > 0 && pthread_cond_timedwait(&task->changed, &task->lock, &until) == 0) {
    }
    bool done = task->done;
    unlock(&task->lock);
    return done;
}

/* The caller has no more to do with it. Its thread ends by itself, or is left behind until libnats
 * lets it go on. */
static bool task_drop(NatsTask *task) {
    lock(&task->lock);
    bool done = task->done, last = --task->users == 0;
    if (!done) {
        task->left = true;
        (void)atomic_fetch_add(&left_behind, 1);
    }
    unlock(&task->lock);
    if (last) {
        if (task->options && task->connection) end_connection(steal(task->connection));
        task_free(task);
    }
    return done;
}

unsigned nats_left_behind(void) {
    return atomic_load(&left_behind);
}

bool nats_end(usec_t limit) {
    return nats_CloseAndWait(limit / USEC_MS) == NATS_OK;
}

/* ---- the connection ---- */

usec_t nats_now(void) {
    return clock_system()->boot(clock_system());
}

static usec_t or_default(usec_t value, usec_t otherwise) {
    return value > 0 ? value : otherwise;
}

static size_t count_servers(const NatsClient *client) {
    size_t count = 0;
    for (NatsServers walk = {.rest = connection_value(client->options.connection, "servers")}; nats_servers_next(&walk);) count++;
    return count;
}

static Span server_at(const NatsClient *client, size_t index) {
    NatsServers walk = {.rest = connection_value(client->options.connection, "servers")};
    for (size_t i = 0; i <= index; i++) check(nats_servers_next(&walk));
    return walk.url;
}

void nats_make_inbox(char out[static 48]) {
    char secret[23];
    random_secret(secret, sizeof secret - 1);
    (void)snprintf(out, 48, "_INBOX.%s", secret);
}

NatsClient *nats_client_new(const NatsClientOptions *options) {
    NatsClient *client = calloc(1, sizeof *client);
    check(client);
    client->options = *options;
    client->options.connect_limit = or_default(options->connect_limit, LIMIT);
    client->options.request_limit = or_default(options->request_limit, LIMIT);
    client->options.retry_min = or_default(options->retry_min, RETRY_MIN);
    client->options.retry_max = or_default(options->retry_max, RETRY_MAX);
    client->name = text_copy(options->name);
    client->notes = notes_new();
    client->pause = client->options.retry_min;
    uint64_t random;
    random_bytes(&random, sizeof random);
    client->server = (size_t)(random % count_servers(client)); /* so that the clients of a cluster spread */
    return client;
}

static SinkFault fault_of(natsStatus status, const char *words) {
    switch (status) {
    case NATS_CONNECTION_AUTH_FAILED:
    case NATS_NOT_PERMITTED: return SINK_FAULT_LOGIN;
    case NATS_SSL_ERROR:
    case NATS_SECURE_CONNECTION_REQUIRED:
    case NATS_SECURE_CONNECTION_WANTED: return SINK_FAULT_TLS;
    default:
        /* The server's words about a credential that it does not take; those of a file of
         * credentials that libnats cannot read. */
        if (strcasestr(words, "authenti") || strcasestr(words, "authoriz") || strcasestr(words, "credential") || strcasestr(words, "seed"))
            return SINK_FAULT_LOGIN;
        return strcasestr(words, "tls") || strcasestr(words, "ssl") || strcasestr(words, "certificate") ? SINK_FAULT_TLS
                                                                                                        : SINK_FAULT_UNREACHABLE;
    }
}

/* The server that is tried did not take the login. The next one, or all rest for a while. */
static void try_next(NatsClient *client, SinkFault fault, const Error *error) {
    /* Of one round the most telling is kept: a server that answers says more than one that does
     * not. */
    if (client->tried == 0 || fault != SINK_FAULT_UNREACHABLE || client->status.fault == SINK_FAULT_UNREACHABLE) {
        client->status.fault = fault;
        client->status.error = *error;
    }
    size_t count = count_servers(client);
    client->server = (client->server + 1) % count;
    if (++client->tried < count) return;
    client->tried = 0;
    client->status.failed_rounds++;
    uint32_t random;
    random_bytes(&random, sizeof random);
    client->retry_at = nats_now() + client->pause / 2 + (usec_t)(random % (uint64_t)(client->pause / 2 + 1));
    client->pause = client->pause * 2 < client->options.retry_max ? client->pause * 2 : client->options.retry_max;
}

/* `words`: of libnats or of the server, made one sentence. */
static void fail_attempt(NatsClient *client, SinkFault fault, int code, const char *words) {
    Error error = {0};
    size_t size = strlen(words);
    while (size > 0 && strchr(". \r\n", words[size - 1])) size--;
    (void)error_set(&error, code, "Connection \"%s\" cannot be opened: %s: %.*s.", client->options.connection->name, client->status.server,
                    (int)size, words);
    for (char *at = error.text; *at; at++)
        if ((unsigned char)*at < ' ') *at = ' ';
    try_next(client, fault, &error);
}

static void evaluate_failure(NatsClient *client, const NatsTask *task) {
    SinkFault fault = fault_of(task->status, task->words);
    const char *words = task->words[0] ? task->words : natsStatus_GetText(task->status);
    /* With TLS 1.3 a server refuses the client's certificate only after the client's part of the
     * handshake. */
    bool ended = strcmp(words, "Expected 'PONG', got ''") == 0;
    if (ended && nats_login_demands_tls(client, server_at(client, client->server))) {
        fault = SINK_FAULT_TLS;
        words = "the server ended the encrypted connection at once: it may demand another client certificate";
    } else if (ended) {
        words = "the server ended the connection at the login";
    }
    fail_attempt(client, fault, -ECONNREFUSED, words);
}

static bool set_options(const NatsClient *client, natsOptions *options, const char *url) {
    /* Not libnats but this module connects again; no line of the server's is delayed. */
    return natsOptions_SetURL(options, url) == NATS_OK && natsOptions_SetAllowReconnect(options, false) == NATS_OK &&
           natsOptions_SetName(options, client->name) == NATS_OK &&
           natsOptions_SetTimeout(options, client->options.connect_limit / USEC_MS) == NATS_OK &&
           natsOptions_SetPingInterval(options, PING_INTERVAL / USEC_MS) == NATS_OK && natsOptions_SetMaxPingsOut(options, 1) == NATS_OK &&
           natsOptions_SetWriteDeadline(options, WRITE_LIMIT / USEC_MS) == NATS_OK &&
           natsOptions_SetIgnoreDiscoveredServers(options, true) == NATS_OK &&
           natsOptions_SetErrorHandler(options, note_error, (void *)client->notes->number) == NATS_OK;
}

static void start_attempt(NatsClient *client) {
    Span server = server_at(client, client->server);
    (void)snprintf(client->status.server, sizeof client->status.server, "%.*s", (int)server.size, server.data);
    _cleanup_free_ char *url = text_copy_span(server);
    natsOptions *options = NULL;
    nats_library_begin();
    check(natsOptions_Create(&options) == NATS_OK);
    Error error = {0};
    SinkFault fault = SINK_FAULT_OTHER;
    if (!set_options(client, options, url))
        (void)error_set(&error, -EINVAL, "libnats does not take its options.");
    else
        fault = nats_login_set(client, options, server, &error);
    nats_ReleaseThreadMemory(); /* where the last error of an option is */
    if (fault != SINK_SOUND) {
        natsOptions_Destroy(options);
        (void)error_prefix(&error, "Connection \"%s\" cannot be opened", client->options.connection->name);
        try_next(client, fault, &error);
        return;
    }
    client->attempt = task_start(options, NULL, &error);
    client->attempt_end = nats_now() + client->options.connect_limit;
    if (!client->attempt) try_next(client, SINK_FAULT_OTHER, &error);
}

static void adopt(NatsClient *client, natsConnection *connection) {
    client->connection = connection;
    client->generation++;
    client->tried = 0;
    client->pause = client->options.retry_min;
    client->status.connected = true;
    client->status.connects++;
    client->status.failed_rounds = 0;
    client->status.fault = SINK_SOUND;
    client->status.error = (Error){0};
}

static void look_at_attempt(NatsClient *client) {
    NatsTask *task = client->attempt;
    if (task_wait(task, 0)) {
        client->attempt = NULL;
        if (task->status == NATS_OK)
            adopt(client, steal(task->connection));
        else
            evaluate_failure(client, task);
        (void)task_drop(task);
    } else if (nats_now() >= client->attempt_end) {
        (void)task_drop(steal(client->attempt));
        fail_attempt(client, SINK_FAULT_UNREACHABLE, -ETIMEDOUT, "the server accepts the connection but does not answer in time");
    }
}

static void drop_connection(NatsClient *client) {
    natsSubscription_Destroy(steal(client->answers));
    NatsTask *task = task_start(NULL, steal(client->connection), NULL);
    if (task) (void)task_drop(task);
    client->status.connected = false;
}

static void lose_connection(NatsClient *client) {
    const char *words = NULL;
    natsStatus status = natsConnection_GetLastError(client->connection, &words);
    if (status == NATS_OK || !words || !words[0]) words = "the server ended it";
    char copy[256];
    (void)snprintf(copy, sizeof copy, "%s", words);
    drop_connection(client);
    client->retry_at = nats_now();
    client->status.fault = fault_of(status, copy);
    (void)error_set(&client->status.error, -ECONNRESET, "Connection \"%s\" to %s was lost: %s.", client->options.connection->name,
                    client->status.server, copy);
}

static void advance(NatsClient *client) {
    check_on_thread(&client->owner);
    if (client->connection) {
        if (natsConnection_IsClosed(client->connection)) lose_connection(client);
    } else if (client->attempt) {
        look_at_attempt(client);
    }
    if (!client->connection && !client->attempt && nats_now() >= client->retry_at && nats_left_behind() < LEFT_MAX) start_attempt(client);
}

uint64_t nats_client_connects(const NatsClient *client) {
    return client->status.connects;
}

bool nats_client_poll(NatsClient *client, usec_t wait) {
    advance(client);
    if (client->connection || wait <= 0) return client->connection;
    for (usec_t end = nats_now() + wait;;) {
        advance(client);
        usec_t left = end - nats_now();
        if (client->connection || left <= 0 || sink_patience_is_over(client->options.patience)) return client->connection;
        usec_t turn = left < SINK_PATIENCE_TURN ? left : SINK_PATIENCE_TURN;
        if (client->attempt) {
            (void)task_wait(client->attempt, turn);
            continue;
        }
        usec_t rest = client->retry_at - nats_now();
        if (rest > 0 && rest < turn) turn = rest;
        (void)nanosleep(&(struct timespec){.tv_nsec = turn * 1000}, NULL);
    }
}

void nats_client_status(NatsClient *client, NatsClientStatus *ret_status) {
    check_on_thread(&client->owner);
    *ret_status = client->status;
}

bool nats_client_close(NatsClient *client, usec_t limit) {
    if (!client) return true;
    check_on_thread(&client->owner);
    bool done = true;
    usec_t end = nats_now() + limit;
    natsSubscription_Destroy(client->answers);
    if (client->connection) {
        NatsTask *task = task_start(NULL, client->connection, NULL);
        if (task) {
            (void)task_wait(task, limit);
            done = task_drop(task);
        }
    }
    if (client->attempt) {
        (void)task_wait(client->attempt, end - nats_now());
        done = task_drop(client->attempt) && done;
    }
    notes_free(client->notes);
    free(client->name);
    free(client);
    return done;
}

/* ---- requests ---- */

bool nats_publish(NatsClient *client, const char *subject, const char *reply, Span data) {
    advance(client);
    if (!client->connection) return false;
    natsStatus status = reply ? natsConnection_PublishRequest(client->connection, subject, reply, data.data, (int)data.size)
                              : natsConnection_Publish(client->connection, subject, data.data, (int)data.size);
    return status == NATS_OK;
}

static bool acknowledge(NatsClient *client, const char *reply, Span word) {
    check(nats_subject_is_ack(span_of(reply)));
    return nats_publish(client, reply, NULL, word);
}

bool nats_client_ack(NatsClient *client, const char *reply) {
    return acknowledge(client, reply, SPAN("+ACK"));
}

bool nats_client_working(NatsClient *client, const char *reply) {
    return acknowledge(client, reply, SPAN("+WPI"));
}

bool nats_client_give_back(NatsClient *client, const char *reply) {
    return acknowledge(client, reply, SPAN("-NAK"));
}

NatsResult nats_not_connected(const NatsClient *client, Error *error) {
    if (client->status.error.code)
        (void)error_set(error, client->status.error.code, "%s", client->status.error.text);
    else
        (void)error_set(error, -ENOTCONN, "Connection \"%s\" is not open yet.", client->options.connection->name);
    return NATS_RESULT_RETRY;
}

static NatsResult no_answer(NatsClient *client, const char *subject, int code, const char *why, Error *error) {
    (void)error_set(error, code, "Connection \"%s\": %s to a request to %s.", client->options.connection->name, why, subject);
    return NATS_RESULT_RETRY;
}

static NatsResult nobody_serves(const NatsClient *client, const char *subject, Error *error) {
    (void)error_set(error, -ENOSYS,
                    "Connection \"%s\": JetStream is not enabled on the server, or not for this account: there is no answer to %s.",
                    client->options.connection->name, subject);
    return NATS_RESULT_NO_JETSTREAM;
}

/* *ret_message is the answer to the request with this reply subject. */
static NatsResult await(NatsClient *client, const char *subject, const char *reply, uint64_t violations, natsMsg **ret_message,
                        Error *error) {
    for (usec_t end = nats_now() + client->options.request_limit;;) {
        usec_t left = end - nats_now(), turn = left < SINK_PATIENCE_TURN ? left : SINK_PATIENCE_TURN;
        natsMsg *message = NULL;
        natsStatus status = natsSubscription_NextMsg(&message, client->answers, turn > USEC_MS ? turn / USEC_MS : 1);
        if (status == NATS_OK && strcmp(natsMsg_GetSubject(message), reply) == 0) {
            *ret_message = message;
            return NATS_RESULT_DONE;
        }
        natsMsg_Destroy(message); /* an answer that came too late */
        if (status == NATS_NO_RESPONDERS) return nobody_serves(client, subject, error);
        if (nats_violated(client, violations, subject, error) || nats_violated(client, violations, client->inbox, error))
            return NATS_RESULT_NO_RIGHTS;
        advance(client);
        if (!client->connection || !client->answers) return nats_not_connected(client, error);
        if (sink_patience_is_over(client->options.patience))
            return no_answer(client, subject, -ECANCELED, "there was no answer yet", error);
        if (nats_now() >= end) return no_answer(client, subject, -ETIMEDOUT, "the server gave no answer in time", error);
    }
}

static NatsResult subscribe_to_answers(NatsClient *client, Error *error) {
    char subject[sizeof client->inbox + 4];
    if (client->answers) return NATS_RESULT_DONE;
    nats_make_inbox(client->inbox);
    (void)snprintf(subject, sizeof subject, "%s.*", client->inbox);
    natsStatus status = natsConnection_SubscribeSync(&client->answers, client->connection, subject);
    if (status == NATS_OK) return NATS_RESULT_DONE;
    return no_answer(client, subject, -EIO, natsStatus_GetText(status), error);
}

static NatsResult refused_by(NatsClient *client, const char *subject, const json_t *wrong, Error *error) {
    json_int_t code = json_integer_value(json_object_get(wrong, "code")), number = json_integer_value(json_object_get(wrong, "err_code"));
    const char *words = json_string_value(json_object_get(wrong, "description"));
    (void)error_set(error, code == 404 ? -ENOENT : -EINVAL, "Connection \"%s\": the server answered %s with \"%.300s\" (%" PRIdMAX ").",
                    client->options.connection->name, subject, words ? words : "", (intmax_t)(number ? number : code));
    if (number == 10076 || number == 10039) return NATS_RESULT_NO_JETSTREAM; /* not enabled there, or not for the account */
    return code == 404 ? NATS_RESULT_MISSING : code == 503 || code == 408 ? NATS_RESULT_RETRY : NATS_RESULT_REFUSED;
}

static NatsResult read_answer(NatsClient *client, const char *subject, natsMsg *message, json_t **ret_answer, Error *error) {
    const char *name = client->options.connection->name;
    size_t size = (size_t)natsMsg_GetDataLength(message);
    json_t *answer = size <= ANSWER_BYTES_MAX ? json_loadb(natsMsg_GetData(message), size, 0, NULL) : NULL;
    if (!json_is_object(answer)) {
        json_decref(answer);
        (void)error_set(error, -EBADMSG, "Connection \"%s\": the answer to %s is not a JSON object.", name, subject);
        return NATS_RESULT_REFUSED;
    }
    const json_t *wrong = json_object_get(answer, "error");
    NatsResult result = wrong ? refused_by(client, subject, wrong, error) : NATS_RESULT_DONE;
    if (result == NATS_RESULT_DONE)
        *ret_answer = answer;
    else
        json_decref(answer);
    return result;
}

NatsResult nats_ask(NatsClient *client, const char *subject, const json_t *body, json_t **ret_answer, Error *error) {
    char reply[80];
    if (!nats_client_poll(client, client->options.request_limit)) return nats_not_connected(client, error);
    NatsResult result = subscribe_to_answers(client, error);
    if (result != NATS_RESULT_DONE) return result;
    (void)snprintf(reply, sizeof reply, "%s.%" PRIu64, client->inbox, ++client->requests);
    _cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    uint64_t violations = nats_violations(client);
    if (!nats_publish(client, subject, reply, span_of(text))) return nats_not_connected(client, error);
    natsMsg *message = NULL;
    result = await(client, subject, reply, violations, &message, error);
    if (result == NATS_RESULT_DONE) result = read_answer(client, subject, message, ret_answer, error);
    natsMsg_Destroy(message);
    return result;
}

NatsResult nats_request(NatsClient *client, const char *what, const json_t *body, json_t **ret_answer, Error *error) {
    char subject[640];
    check((size_t)snprintf(subject, sizeof subject, "$JS.API.%s", what) < sizeof subject);
    return nats_ask(client, subject, body, ret_answer, error);
}
