/* What a connection says about login and TLS, for libnats. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "sinks/nats_key.h"
#include "sinks/nats_parts.h"

#define SECRET_BYTES_MAX 8192

/* The path of a field's file; NULL: the field is not given. free(). */
static char *path_of(const NatsClient *client, const char *field) {
    const char *file = connection_value(client->options.connection, field), *directory = client->options.data_directory;
    if (!file) return NULL;
    char *path;
    bool absolute = file[0] == '/';
    check(asprintf(&path, "%s%s%s", absolute ? "" : directory, absolute ? "" : "/", file) >= 0);
    return path;
}

static int cannot_read(const char *field, const char *path, int code, Error *error) {
    return error_set(error, code, "The %s %s cannot be read: %s.", field, path, strerrordesc_np(-code));
}

/* The whole file without one newline at its end, NUL-terminated. A secret: clear it. */
static int read_secret(const char *field, const char *path, char out[static SECRET_BYTES_MAX], Error *error) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return cannot_read(field, path, -errno, error);
    size_t size = 0;
    for (;;) {
        ssize_t n = read(fd, out + size, SECRET_BYTES_MAX - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return cannot_read(field, path, -errno, error);
        if (n == 0) break;
        size += (size_t)n;
        if (size == SECRET_BYTES_MAX) return error_set(error, -EFBIG, "The %s %s is too long.", field, path);
    }
    if (size > 0 && out[size - 1] == '\n') size--;
    out[size] = '\0';
    if (strlen(out) != size) return error_set(error, -EINVAL, "The %s %s contains a NUL.", field, path);
    return 0;
}

static SinkFault fault_of_options(natsStatus status, const char *what, SinkFault fault, Error *error) {
    if (status == NATS_OK) return SINK_SOUND;
    (void)error_set(error, -EINVAL, "The %s cannot be used: %s.", what, natsStatus_GetText(status));
    return fault;
}

/* libnats reads the seed itself, but wants to be told whose it is. */
static SinkFault set_key(natsOptions *options, const char *path, const char *secret, Error *error) {
    char public[NATS_KEY_SIZE];
    if (nats_key_public(span_of(secret), public, error) < 0) {
        (void)error_prefix(error, "The nkeySeedFile %s cannot be used", path);
        return SINK_FAULT_LOGIN;
    }
    return fault_of_options(natsOptions_SetNKeyFromSeed(options, public, path), "nkeySeedFile", SINK_FAULT_LOGIN, error);
}

static SinkFault set_login(natsOptions *options, const char *user, const char *field, const char *path, Error *error) {
    char secret[SECRET_BYTES_MAX];
    SinkFault fault = SINK_FAULT_LOGIN;
    natsStatus status = NATS_OK;
    if (read_secret(field, path, secret, error) == 0) {
        if (strcmp(field, "nkeySeedFile") == 0) {
            fault = set_key(options, path, secret, error);
        } else {
            if (strcmp(field, "passwordFile") == 0) status = natsOptions_SetUserInfo(options, user, secret);
            if (strcmp(field, "tokenFile") == 0) status = natsOptions_SetToken(options, secret);
            if (strcmp(field, "credentialsFile") == 0) status = natsOptions_SetUserCredentialsFromFiles(options, path, NULL);
            fault = fault_of_options(status, field, SINK_FAULT_LOGIN, error);
        }
    }
    OPENSSL_cleanse(secret, sizeof secret);
    return fault;
}

static SinkFault check_readable(const char *field, const char *path, Error *error) {
    if (!path || access(path, R_OK) == 0) return SINK_SOUND;
    (void)cannot_read(field, path, -errno, error);
    return SINK_FAULT_TLS;
}

bool nats_login_demands_tls(const NatsClient *client, Span server) {
    return text_begins(server, SPAN("tls://")) || connection_value(client->options.connection, "tlsCa") ||
           connection_value(client->options.connection, "tlsCertificate");
}

/* TLS is demanded where the connection speaks of it: libnats itself would go on without it. */
static SinkFault set_tls(const NatsClient *client, natsOptions *options, Span server, Error *error) {
    _cleanup_free_ char *ca = path_of(client, "tlsCa");
    _cleanup_free_ char *certificate = path_of(client, "tlsCertificate");
    _cleanup_free_ char *key = path_of(client, "tlsKey");
    SinkFault fault = check_readable("tlsCa", ca, error);
    if (fault == SINK_SOUND) fault = check_readable("tlsCertificate", certificate, error);
    if (fault == SINK_SOUND) fault = check_readable("tlsKey", key, error);
    if (fault != SINK_SOUND) return fault;
    if (ca) fault = fault_of_options(natsOptions_LoadCATrustedCertificates(options, ca), "tlsCa", SINK_FAULT_TLS, error);
    if (certificate && fault == SINK_SOUND)
        fault = fault_of_options(natsOptions_LoadCertificatesChain(options, certificate, key), "tlsCertificate with its tlsKey",
                                 SINK_FAULT_TLS, error);
    if (fault != SINK_SOUND || !nats_login_demands_tls(client, server)) return fault;
    return fault_of_options(natsOptions_SetSecure(options, true), "TLS library", SINK_FAULT_TLS, error);
}

SinkFault nats_login_set(const NatsClient *client, natsOptions *options, Span server, Error *error) {
    static const char *const logins[] = {"passwordFile", "tokenFile", "credentialsFile", "nkeySeedFile"};
    const char *user = connection_value(client->options.connection, "user");
    for (size_t i = 0; i < sizeof logins / sizeof *logins; i++) {
        _cleanup_free_ char *path = path_of(client, logins[i]);
        SinkFault fault = path ? set_login(options, user, logins[i], path, error) : SINK_SOUND;
        if (fault != SINK_SOUND) return fault;
    }
    return set_tls(client, options, server, error);
}
