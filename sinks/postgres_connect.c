#include "sinks/postgres_connect.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "sinks/postgres_failure.h"

#define CONNECT_LIMIT (15 * USEC_SECOND)
#define PASSWORD_BYTES_MAX 4096

/* One trailing newline is dropped. The text is a secret: clear it. */
static int read_password(const char *path, char out[static PASSWORD_BYTES_MAX], Error *error) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(error, -errno, "The password file %s cannot be read: %s.", path, strerrordesc_np(errno));
    size_t size = 0;
    for (;;) {
        ssize_t n = read(fd, out + size, PASSWORD_BYTES_MAX - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(error, -errno, "The password file %s cannot be read: %s.", path, strerrordesc_np(errno));
        if (n == 0) break;
        size += (size_t)n;
        if (size == PASSWORD_BYTES_MAX) return error_set(error, -EFBIG, "The password file %s is too long.", path);
    }
    if (size > 0 && out[size - 1] == '\n') size--;
    out[size] = '\0';
    return 0;
}

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* Waits for the socket until `deadline` (boot clock). poll's result for `events`, 0 at the
 * deadline, -ECANCELED when the patience is over. */
static int poll_until(int fd, short events, usec_t deadline, const SinkPatience *patience) {
    for (;;) {
        usec_t left = deadline - now();
        if (left < 0) left = 0;
        struct pollfd poller = {.fd = fd, .events = events};
        usec_t turn = left < SINK_PATIENCE_TURN ? left : SINK_PATIENCE_TURN;
        int r = poll(&poller, 1, (int)((turn + USEC_MS - 1) / USEC_MS));
        if (r > 0 || (r < 0 && errno != EINTR)) return r < 0 ? -errno : r;
        if (sink_patience_is_over(patience)) return -ECANCELED;
        if (r == 0 && turn == left) return 0;
    }
}

static SinkFault connect_fault(const char *sqlstate, const char *words) {
    if (strncmp(sqlstate, "28", 2) == 0) return SINK_FAULT_LOGIN;
    if (strcmp(sqlstate, "3D000") == 0) return SINK_FAULT_DATABASE;
    if (strcmp(sqlstate, "42501") == 0) return SINK_FAULT_RIGHTS;
    /* Without a word of the server it is libpq that speaks, in English, since no locale is set. */
    if (!sqlstate[0] && strstr(words, "password supplied")) return SINK_FAULT_LOGIN;
    if (!sqlstate[0] && (strstr(words, "SSL") || strstr(words, "certificate") || strstr(words, "TLS"))) return SINK_FAULT_TLS;
    return SINK_FAULT_UNREACHABLE;
}

static SinkResult cannot_connect(const Connection *connection, PGconn *libpq, const char *secret, SinkFault *ret_fault, Error *error) {
    char words[1000], sqlstate[6];
    postgres_connection_words(libpq, sizeof words, words, sqlstate);
    *ret_fault = connect_fault(sqlstate, words);
    postgres_hide(words, secret);
    (void)error_set(error, -ECONNREFUSED, "Connection \"%s\" cannot be opened: %s", connection->name, words);
    return SINK_UNREACHABLE;
}

/* The uri's own connect_timeout, else the default. *ret_valid: can the uri be read at all? */
static usec_t connect_limit(const char *uri, bool *ret_valid) {
    usec_t limit = CONNECT_LIMIT;
    char *words = NULL;
    PQconninfoOption *options = PQconninfoParse(uri, &words);
    for (PQconninfoOption *option = options; option && option->keyword; option++) {
        if (strcmp(option->keyword, "connect_timeout") != 0 || !option->val) continue;
        long seconds = strtol(option->val, NULL, 10);
        if (seconds > 0 && seconds < 3600) limit = seconds * USEC_SECOND;
    }
    *ret_valid = options;
    PQconninfoFree(options);
    PQfreemem(words);
    return limit;
}

static SinkResult connect_to(const Connection *connection, const char *password, const char *application_name, const SinkPatience *patience,
                             PGconn **ret_libpq, SinkFault *ret_fault, Error *error) {
    bool valid;
    usec_t limit = connect_limit(connection_value(connection, "uri"), &valid);
    if (!valid) {
        /* libpq's words would repeat parts of it, and it may hold a password against the rules. */
        *ret_fault = SINK_FAULT_OTHER;
        (void)error_set(error, -EINVAL, "The uri of connection \"%s\" is not a PostgreSQL URI.", connection->name);
        return SINK_REFUSED;
    }
    /* What stands before dbname is overridden by the uri, what stands behind overrides it. */
    const char *const keywords[] = {
        "gssencmode",           "keepalives", "keepalives_idle",  "keepalives_interval", "keepalives_count",           "tcp_user_timeout",
        "target_session_attrs", "dbname",     "application_name", "client_encoding",     password ? "password" : NULL, NULL};
    const char *const values[] = {"disable",        "1",    "30",     "10", "3", "60000", "read-write", connection_value(connection, "uri"),
                                  application_name, "UTF8", password, NULL};
    PGconn *libpq = PQconnectStartParams(keywords, values, 1);
    if (libpq) (void)PQsetErrorVerbosity(libpq, PQERRORS_VERBOSE);
    usec_t deadline = now() + limit;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (libpq && PQstatus(libpq) != CONNECTION_BAD && status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
        int r = poll_until(PQsocket(libpq), status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, patience);
        if (r <= 0) {
            bool given_up = r == -ECANCELED;
            if (given_up)
                (void)error_set(error, -ECANCELED, "Opening connection \"%s\" was cancelled.", connection->name);
            else
                (void)error_set(error, -ETIMEDOUT, "Connection \"%s\" cannot be opened: no answer within %lld s.", connection->name,
                                (long long)(limit / USEC_SECOND));
            *ret_fault = SINK_FAULT_UNREACHABLE;
            PQfinish(libpq);
            return given_up ? SINK_RETRY : SINK_UNREACHABLE;
        }
        status = PQconnectPoll(libpq);
    }
    if (libpq && PQstatus(libpq) == CONNECTION_OK && PQsetnonblocking(libpq, 1) == 0) {
        (void)PQsetErrorVerbosity(libpq, PQERRORS_DEFAULT);
        *ret_libpq = libpq;
        return SINK_DONE;
    }
    SinkResult result = cannot_connect(connection, libpq, password, ret_fault, error);
    PQfinish(libpq);
    return result;
}

SinkResult postgres_connect(const Connection *connection, const char *data_directory, const char *application_name,
                            const SinkPatience *patience, PGconn **ret_libpq, SinkFault *ret_fault, Error *error) {
    SinkFault unasked;
    if (!ret_fault) ret_fault = &unasked;
    char password[PASSWORD_BYTES_MAX];
    const char *password_file = connection_value(connection, "passwordFile");
    if (password_file) {
        bool absolute = password_file[0] == '/';
        _cleanup_free_ char *path = NULL;
        check(asprintf(&path, "%s%s%s", absolute ? "" : data_directory, absolute ? "" : "/", password_file) >= 0);
        if (read_password(path, password, error) < 0) {
            (void)error_prefix(error, "connection \"%s\"", connection->name);
            *ret_fault = SINK_FAULT_LOGIN;
            return SINK_UNREACHABLE;
        }
    }
    SinkResult result = connect_to(connection, password_file ? password : NULL, application_name, patience, ret_libpq, ret_fault, error);
    explicit_bzero(password, sizeof password);
    return result;
}
