/* librdkafka's configuration, its words, and its end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "base/thread.h"
#include "sinks/kafka_parts.h"

#define SECRET_BYTES_MAX 4096

/* ---- configuration --------------------------------------------------------------------------- */

int kafka_configuration_set(rd_kafka_conf_t *configuration, const char *name, const char *value, Error *error) {
    char words[512] = "";
    switch (rd_kafka_conf_set(configuration, name, value, words, sizeof words)) {
    case RD_KAFKA_CONF_OK: return 0;
    case RD_KAFKA_CONF_UNKNOWN: return error_set(error, -EINVAL, "is not a property of librdkafka %s", rd_kafka_version_str());
    case RD_KAFKA_CONF_INVALID: break;
    }
    return error_set(error, -EINVAL, "cannot be set: %s", words);
}

/* What Sluice needs of librdkafka, for 2.0.2 (Debian 12), each with its reason. [S]: read in its
 * source. */
static const char *const needed[][2] = {
    {"enable.auto.commit", "false"},       /* positions are at the destination */
    {"enable.auto.offset.store", "false"}, /* the same: nothing is stored behind the caller's back at a revoke or close */
    {"auto.offset.reset", "error"},        /* an offset that is gone is lost data: the caller decides, and says so */
    {"isolation.level", "read_committed"}, /* rows of aborted transactions never come in */
    {"check.crcs", "true"},                /* damage on the way is no row */
    {"enable.partition.eof", "true"},      /* the position behind gaps at the end of a partition is known by it alone */
    {"allow.auto.create.topics", "false"}, /* a source that names a missing topic does not make it */
    /* [S] cooperative-sticky spins, hangs at close or reads again before 2.6.1 */
    {"partition.assignment.strategy", "range,roundrobin"},
    {"socket.keepalive.enable", "true"},                /* a firewall that forgot the connection is noticed */
    {"log.queue", "true"},                              /* its log comes out on the caller's thread */
    {"ssl.endpoint.identification.algorithm", "https"}, /* the name in the certificate counts, in older versions too */
    /* Of one partition at once; a record that is larger comes all the same. */
    {"fetch.message.max.bytes", "1048576"},
    /* Errors of a partition, a moved leader among them, are tried again after this; the default of
     * 500 ms shows in the latency. */
    {"fetch.error.backoff.ms", "100"},
    {"reconnect.backoff.max.ms", "5000"}, /* a broker that is back is found soon */
};

/* One newline at its end is dropped. The text is a secret: clear it. */
static int read_secret(const char *path, const char *what, char out[static SECRET_BYTES_MAX], Error *error) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_set(error, -errno, "the %s %s cannot be read: %s", what, path, strerrordesc_np(errno));
    size_t size = 0;
    for (;;) {
        ssize_t n = read(fd, out + size, SECRET_BYTES_MAX - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(error, -errno, "the %s %s cannot be read: %s", what, path, strerrordesc_np(errno));
        if (n == 0) break;
        size += (size_t)n;
        if (size == SECRET_BYTES_MAX) return error_set(error, -EFBIG, "the %s %s is too long", what, path);
    }
    if (size > 0 && out[size - 1] == '\n') size--;
    out[size] = '\0';
    return 0;
}

static char *place_of(const char *data_directory, const char *path) {
    char *place;
    bool absolute = path[0] == '/';
    check(asprintf(&place, "%s%s%s", absolute ? "" : data_directory, absolute ? "" : "/", path) >= 0);
    return place;
}

static int set_secret(rd_kafka_conf_t *configuration, const char *name, const char *path, const char *what, Error *error) {
    char secret[SECRET_BYTES_MAX];
    int r = read_secret(path, what, secret, error);
    /* The words of a refusal could show a part of it. */
    if (r == 0 && kafka_configuration_set(configuration, name, secret, NULL) < 0)
        r = error_set(error, -EINVAL, "the %s %s cannot be used", what, path);
    explicit_bzero(secret, sizeof secret);
    return r;
}

typedef struct Setting {
    const char *field, *property, *what; /* what: it is a file */
    bool is_secret;
    SinkFault fault;
} Setting;

static const Setting settings[] = {
    {"brokers", "bootstrap.servers", NULL, false, SINK_FAULT_OTHER},
    {"clientId", "client.id", NULL, false, SINK_FAULT_OTHER},
    {"securityProtocol", "security.protocol", NULL, false, SINK_FAULT_TLS},
    {"saslMechanism", "sasl.mechanisms", NULL, false, SINK_FAULT_LOGIN},
    {"saslUsername", "sasl.username", NULL, false, SINK_FAULT_LOGIN},
    {"saslPasswordFile", "sasl.password", "password file", true, SINK_FAULT_LOGIN},
    {"sslCa", "ssl.ca.location", "file of authorities", false, SINK_FAULT_TLS},
    {"sslCertificate", "ssl.certificate.location", "certificate", false, SINK_FAULT_TLS},
    {"sslKey", "ssl.key.location", "key", false, SINK_FAULT_TLS},
    {"sslKeyPasswordFile", "ssl.key.password", "password file of the key", true, SINK_FAULT_TLS},
};

static int apply(rd_kafka_conf_t *configuration, const Connection *connection, const char *data_directory, const Setting *setting,
                 Error *error) {
    const char *value = connection_effective(connection, setting->field);
    if (!value) return 0;
    if (!setting->what) return kafka_configuration_set(configuration, setting->property, value, error);
    _cleanup_free_ char *path = place_of(data_directory, value);
    if (setting->is_secret) return set_secret(configuration, setting->property, path, setting->what, error);
    /* The library's words for a missing file are OpenSSL's. */
    if (access(path, R_OK) < 0)
        return error_set(error, -errno, "the %s %s cannot be read: %s", setting->what, path, strerrordesc_np(errno));
    return kafka_configuration_set(configuration, setting->property, path, error);
}

static int apply_properties(rd_kafka_conf_t *configuration, const Connection *connection, Error *error) {
    const char *at = connection_value(connection, "properties");
    Span name, value;
    int r = 0;
    while (r == 0 && connection_next(&at, &name, &value)) {
        _cleanup_free_ char *property = text_copy_span(name), *text = text_copy_span(value);
        r = kafka_configuration_set(configuration, property, text, error);
        if (r < 0) (void)error_prefix(error, "%s", property);
    }
    return r;
}

/*
 * A rebalance of a group waits for a member that is alive and does not come back as long as that
 * member's max.poll.interval.ms, by default 5 minutes, and whoever joins waits as well. Nothing
 * that the caller does takes so long.
 */
#define POLL_LONGEST_MS 60000

static int bound_polls(rd_kafka_conf_t *configuration, const Connection *connection, Error *error) {
    const char *at = connection_value(connection, "properties");
    Span name, value;
    while (connection_next(&at, &name, &value))
        if (span_equal(name, SPAN("max.poll.interval.ms"))) return 0;
    char session[32] = "";
    size_t size = sizeof session;
    check(rd_kafka_conf_get(configuration, "session.timeout.ms", session, &size) == RD_KAFKA_CONF_OK);
    /* The library wants it to be no shorter than the session. */
    bool longer = strtoul(session, NULL, 10) > POLL_LONGEST_MS;
    char longest[32];
    (void)snprintf(longest, sizeof longest, "%d", POLL_LONGEST_MS);
    return kafka_configuration_set(configuration, "max.poll.interval.ms", longer ? session : longest, error);
}

int kafka_configuration_new(const Connection *connection, const char *data_directory, rd_kafka_conf_t **ret_configuration,
                            SinkFault *ret_fault, Error *error) {
    rd_kafka_conf_t *configuration = rd_kafka_conf_new();
    check(configuration);
    int r = 0;
    SinkFault fault = SINK_FAULT_OTHER;
    for (size_t i = 0; r == 0 && i < sizeof needed / sizeof *needed; i++)
        r = kafka_configuration_set(configuration, needed[i][0], needed[i][1], error);
    check(r == 0);
    r = apply_properties(configuration, connection, error);
    if (r == 0) r = bound_polls(configuration, connection, error);
    for (size_t i = 0; r == 0 && i < sizeof settings / sizeof *settings; i++) {
        r = apply(configuration, connection, data_directory, &settings[i], error);
        if (r < 0) fault = settings[i].fault;
    }
    if (r < 0) {
        rd_kafka_conf_destroy(configuration);
        *ret_fault = fault;
        return r;
    }
    *ret_configuration = configuration;
    return 0;
}

/* ---- words ----------------------------------------------------------------------------------- */

static bool has(const char *words, const char *part) {
    return words && strstr(words, part);
}

SinkFault kafka_fault_of(rd_kafka_resp_err_t code, const char *words) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE: return SINK_FAULT_LOGIN;
    case RD_KAFKA_RESP_ERR__SSL: return SINK_FAULT_TLS;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: return SINK_FAULT_RIGHTS;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: return SINK_FAULT_TOPIC;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        if (has(words, "require SASL")) return SINK_FAULT_LOGIN;
        /* A broker that expects TLS hangs up on plain text, and one that refuses a certificate does
         * so in an alert. */
        if (has(words, "SSL") || has(words, "ssl/") || has(words, "certificate") || has(words, "security.protocol")) return SINK_FAULT_TLS;
        return has(words, "SASL") ? SINK_FAULT_LOGIN : SINK_FAULT_UNREACHABLE;
    default: return SINK_FAULT_OTHER;
    }
}

KafkaVerdict kafka_verdict_of(rd_kafka_resp_err_t code) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
    case RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL:
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE: return KAFKA_STOP_ALL;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG: /* a checksum that is wrong */
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET: return KAFKA_STOP_PARTITION;
    /* Of a broken connection too, whatever the words guess: a broker that is stopped hangs up in
     * the middle as well. */
    default: return KAFKA_PASSES; /* the library tries again */
    }
}

/* Cuts `(after 3ms in state CONNECT, …)` and `(…: 2 identical error(s) suppressed)`, which are for
 * who debugs the library. */
static void cut_asides(char *text) {
    for (char *open = text; (open = strstr(open, " ("));) {
        char *close = strchr(open, ')');
        bool is_count = strstr(open, "identical error") && close && strstr(open, "identical error") < close + 24;
        if (close && is_count) close = strstr(open, "suppressed)") ? strstr(open, "suppressed)") + strlen("suppressed") : close;
        if (close && (strncmp(open, " (after ", 8) == 0 || is_count))
            memmove(open, close + 1, strlen(close + 1) + 1);
        else
            open++;
    }
}

void kafka_words(rd_kafka_resp_err_t code, const char *words, char out[static KAFKA_WORDS_SIZE]) {
    const char *text = words && words[0] ? words : rd_kafka_err2str(code);
    if (strncmp(text, "[thrd:", 6) == 0 && strstr(text, "]: ")) text = strstr(text, "]: ") + 3;
    (void)snprintf(out, KAFKA_WORDS_SIZE, "%s", text);
    for (char *at = out; *at; at++)
        if ((unsigned char)*at < ' ') *at = ' ';
    cut_asides(out);
    for (size_t end = strlen(out); end > 0 && (out[end - 1] == '.' || out[end - 1] == ' '); end--) out[end - 1] = '\0';
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Owned by who is last: the thread that ends the handle, or who waits for it. */
typedef struct ClientEnd {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended, abandoned; /* under the lock */
    rd_kafka_t *handle;
    void (*free_context)(void *context);
    void *context;
    char *name; /* of the connection: the context may be gone when it is logged */
    Thread thread;
} ClientEnd;

static void ending_free(ClientEnd *ending) {
    (void)pthread_mutex_destroy(&ending->lock);
    (void)pthread_cond_destroy(&ending->changed);
    free(ending->name);
    free(ending);
}

static void *end_handle(void *context) {
    ClientEnd *ending = context;
    /* Leaves the group, so that others need not wait for the session's end; revokes what is
     * assigned on the way. */
    (void)rd_kafka_consumer_close(ending->handle);
    rd_kafka_destroy(ending->handle);
    ending->free_context(ending->context);
    check(pthread_mutex_lock(&ending->lock) == 0);
    ending->ended = true;
    bool abandoned = ending->abandoned;
    check(pthread_cond_broadcast(&ending->changed) == 0);
    check(pthread_mutex_unlock(&ending->lock) == 0);
    if (abandoned) ending_free(ending);
    return NULL;
}

static struct timespec deadline_after(usec_t limit) {
    struct timespec deadline;
    check(clock_gettime(CLOCK_MONOTONIC, &deadline) == 0);
    deadline.tv_sec += (time_t)(limit / USEC_SECOND);
    deadline.tv_nsec += (long)(limit % USEC_SECOND) * 1000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_nsec -= 1000000000;
        deadline.tv_sec++;
    }
    return deadline;
}

bool kafka_end(rd_kafka_t *take_handle, void (*free_context)(void *context), void *take_context, const char *name, usec_t limit) {
    ClientEnd *ending = calloc(1, sizeof *ending);
    check(ending);
    ending->handle = take_handle;
    ending->free_context = free_context;
    ending->context = take_context;
    ending->name = text_copy(name);
    pthread_condattr_t attributes;
    check(pthread_mutex_init(&ending->lock, NULL) == 0);
    check(pthread_condattr_init(&attributes) == 0);
    check(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&ending->changed, &attributes) == 0);
    check(pthread_condattr_destroy(&attributes) == 0);
    struct timespec deadline = deadline_after(limit);
    Error error = {0};
    if (thread_start(&ending->thread, "kafka close", end_handle, ending, &error) < 0) {
        log_failure(LOG_WARNING, "a Kafka client cannot be closed; its memory is not freed", &error);
        metrics_add(METRIC_CLIENTS_ABANDONED, 1);
        return false; /* without a thread nothing of it can be freed safely */
    }
    check(pthread_mutex_lock(&ending->lock) == 0);
    while (!ending->ended && pthread_cond_timedwait(&ending->changed, &ending->lock, &deadline) != ETIMEDOUT) {
    }
    bool ended = ending->ended;
    if (!ended) {
        metrics_add(METRIC_CLIENTS_ABANDONED, 1);
        log_warning("the Kafka client of connection %s did not close within %" PRId64 " ms, its memory is given up", ending->name,
                    (int64_t)(limit / USEC_MS));
        ending->abandoned = true; /* the thread frees it */
        check(pthread_detach(ending->thread.handle) == 0);
    }
    check(pthread_mutex_unlock(&ending->lock) == 0);
    if (!ended) return false;
    thread_join(&ending->thread);
    ending_free(ending);
    return true;
}
