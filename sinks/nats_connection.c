/* The connections of type nats: what stands in the config file. */
#include <errno.h>
#include <string.h>

#include "base/span.h"
#include "base/text.h"
#include "sinks/driver.h"
#include "sinks/nats_subject.h"

#define FILE_BYTES 4096
#define WHERE " Read at each connect. A relative path is relative to the data directory."
#define SECRET_FILE(label, text)                                                                                                           \
    { .name = (label), .bytes_max = FILE_BYTES, .is_secret_file = true, .sentence = text WHERE }
#define OPEN_FILE(label, text)                                                                                                             \
    { .name = (label), .bytes_max = FILE_BYTES, .is_open_file = true, .sentence = text WHERE }

static const ConnectionField fields[] = {
    {.name = "servers",
     .bytes_max = 4096,
     .needed = "\"servers\": \"nats://host:4222\"",
     .sentence = "URLs of the servers of one cluster, comma-separated. `tls://` requires TLS. No other servers are tried."},
    {.name = "user", .bytes_max = 255, .sentence = "User name of the login. Needs `passwordFile`."},
    SECRET_FILE("passwordFile", "File with the user's password. One newline at its end is ignored."),
    SECRET_FILE("tokenFile", "File with the token of a login without a user. One newline at its end is ignored."),
    SECRET_FILE("credentialsFile", "Credentials file with a user's JWT and seed, as nsc writes it."),
    SECRET_FILE("nkeySeedFile", "File with the seed of a user's nkey (SU...)."),
    OPEN_FILE("tlsCa", "PEM file with certificate authorities that are trusted in addition to those of the system. Requires TLS."),
    OPEN_FILE("tlsCertificate", "PEM file with the client certificate. Requires TLS and needs `tlsKey`."),
    SECRET_FILE("tlsKey", "PEM file with the key of `tlsCertificate`."),
    {0},
};

static const Refusal refused[] = {
    {"password", "is not allowed here: put it in a file and name the file in \"passwordFile\""},
    {"token", "is not allowed here: put it in a file and name the file in \"tokenFile\""},
    {"nkeySeed", "is not allowed here: put it in a file and name the file in \"nkeySeedFile\""},
    {0},
};

/* One URL: a scheme of NATS, a host, perhaps a port, and no login: that would be shown. */
static int check_server(Span url, Error *error) {
    Span rest = url;
    if (text_begins(url, SPAN("nats://")) || text_begins(url, SPAN("tls://"))) {
        size_t scheme = url.data[0] == 'n' ? 7 : 6;
        rest = (Span){url.data + scheme, url.size - scheme};
    } else {
        return error_set(error, -EINVAL, "must be URLs that begin with nats:// or tls://, comma-separated");
    }
    if (memchr(rest.data, '@', rest.size))
        return error_set(error, -EINVAL, "must not contain a login: give it in \"user\" and \"passwordFile\", or in \"tokenFile\"");
    const char *colon = memrchr(rest.data, ':', rest.size), *bracket = memrchr(rest.data, ']', rest.size);
    if (colon && bracket && colon < bracket) colon = NULL;
    size_t host = colon ? (size_t)(colon - rest.data) : rest.size;
    unsigned port = 0;
    for (const char *at = colon ? colon + 1 : NULL; at && at < rest.data + rest.size; at++)
        port = *at >= '0' && *at <= '9' && port <= 65535 ? port * 10 + (unsigned)(*at - '0') : 65536;
    if (host == 0 || memchr(rest.data, '/', rest.size) || memchr(rest.data, ' ', rest.size) || (colon && (port == 0 || port > 65535)))
        return error_set(error, -EINVAL, "must be URLs of a host and a port, as in nats://host:4222");
    return 0;
}

static int validate_servers(const char *servers, Error *error) {
    size_t count = 0;
    for (NatsServers walk = {.rest = servers}; nats_servers_next(&walk);) {
        int r = check_server(walk.url, error);
        if (r < 0) return r;
        if (++count > NATS_SERVERS_MAX) return error_set(error, -EINVAL, "must have at most %d URLs", NATS_SERVERS_MAX);
    }
    return 0;
}

/* At most one kind of login; what belongs together is there together. */
static int validate(const Connection *connection, ConnectionPlace *ret_place, Error *error) {
    static const char *const logins[] = {"user", "tokenFile", "credentialsFile", "nkeySeedFile"};
    static const char *const pairs[][2] = {{"user", "passwordFile"}, {"tlsCertificate", "tlsKey"}};
    ret_place->field = "servers";
    int r = validate_servers(connection_value(connection, "servers"), error);
    if (r < 0) return r;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        for (size_t k = 0; k < 2; k++) {
            ret_place->field = pairs[i][k];
            if (connection_value(connection, pairs[i][k]) && !connection_value(connection, pairs[i][!k]))
                return error_set(error, -EINVAL, "needs \"%s\" with it", pairs[i][!k]);
        }
    }
    const char *first = NULL;
    for (size_t i = 0; i < sizeof logins / sizeof *logins; i++) {
        if (!connection_value(connection, logins[i])) continue;
        ret_place->field = logins[i];
        if (first) return error_set(error, -EINVAL, "cannot be combined with \"%s\": a connection has one login", first);
        first = logins[i];
    }
    return 0;
}

const ConnectionType connection_type_nats = {
    .name = "nats",
    .fields = fields,
    .refused = refused,
    .place = "servers",
    .validate = validate,
    .may_be_declared = true,
};
