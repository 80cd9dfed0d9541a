/* The connections of type kafka: what stands in the config file. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "sinks/kafka_parts.h"

#define FILE_WORDS "A relative path is relative to the data directory."
#define OWNED "is set by Sluice: "
#define HAS_FIELD(field) "has its own field: \"" field "\""
#define SECRET(field) "is not allowed here: put it in a file and name the file in \"" field "\""

/* What a source decides, what exactly once rests on, what loads code into the gateway, what has a
 * field, and secrets. */
static const Refusal refused_properties[] = {
    {"group.id", OWNED "each source has its own group"},
    {"group.instance.id", OWNED "several sources and nodes use one connection, but each member needs its own name"},
    {"isolation.level", OWNED "only what was committed is read"},
    {"enable.auto.commit", OWNED "positions are stored at the destination, with the rows"},
    {"auto.commit.enable", OWNED "positions are stored at the destination, with the rows"},
    {"auto.commit.interval.ms", OWNED "positions are stored at the destination, with the rows"},
    {"enable.auto.offset.store", OWNED "positions are stored at the destination, with the rows"},
    {"offset.store.method", OWNED "positions are stored at the destination, with the rows"},
    {"auto.offset.reset", OWNED "a source has startFrom, and nothing is skipped or read again automatically"},
    {"partition.assignment.strategy", OWNED "range and roundrobin; cooperative-sticky can hang or read twice in librdkafka before 2.6.1"},
    {"enable.partition.eof", OWNED "the end of a partition is a part of its position"},
    {"check.crcs", OWNED "a damaged record is never imported"},
    {"allow.auto.create.topics", OWNED "reading creates no topics"},
    {"queued.max.messages.kbytes", OWNED "the source limits the memory"},
    {"fetch.max.bytes", OWNED "the source limits the memory"},
    {"log.connection.close", OWNED "its log shows brokers that expect TLS"},
    {"log.queue", OWNED "the library's log goes into the gateway's log"},
    {"statistics.interval.ms", OWNED "the lag is taken from fetched records"},
    {"plugin.library.paths", "is refused: it loads code into the gateway"},
    {"ssl.engine.location", "is refused: it loads code into the gateway"},
    {"ssl.engine.id", "is refused: it loads code into the gateway"},
    {"sasl.kerberos.kinit.cmd", "is refused: it runs a program"},
    {"test.mock.num.brokers", "is refused: it replaces the brokers"},
    {"bootstrap.servers", HAS_FIELD("brokers")},
    {"metadata.broker.list", HAS_FIELD("brokers")},
    {"security.protocol", HAS_FIELD("securityProtocol")},
    {"sasl.mechanism", HAS_FIELD("saslMechanism")},
    {"sasl.mechanisms", HAS_FIELD("saslMechanism")},
    {"sasl.username", HAS_FIELD("saslUsername")},
    {"ssl.ca.location", HAS_FIELD("sslCa")},
    {"ssl.certificate.location", HAS_FIELD("sslCertificate")},
    {"ssl.key.location", HAS_FIELD("sslKey")},
    {"client.id", HAS_FIELD("clientId")},
    {"sasl.password", SECRET("saslPasswordFile")},
    {"ssl.key.password", SECRET("sslKeyPasswordFile")},
    {"ssl.key.pem", SECRET("sslKey")},
    {"ssl.keystore.password", "is not allowed here: use \"sslCertificate\" and \"sslKey\""},
    {"sasl.oauthbearer.client.secret", "is not allowed here, and OAUTHBEARER is not supported"},
    {0},
};

static const ConnectionField fields[] = {
    {.name = "brokers",
     .bytes_max = 4096,
     .needed = "\"brokers\": \"host:port,host:port\"",
     .sentence =
         "Some brokers of the cluster as host:port, comma-separated. The default port is 9092. The other brokers are found through them."},
    {.name = "securityProtocol", .bytes_max = 32, .default_value = "plaintext", .sentence = "plaintext, ssl, sasl_plaintext or sasl_ssl."},
    {.name = "saslMechanism",
     .bytes_max = 32,
     .sentence = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Needed with sasl_plaintext and sasl_ssl."},
    {.name = "saslUsername", .bytes_max = 1024, .sentence = "User name of the login."},
    {.name = "saslPasswordFile",
     .bytes_max = 4096,
     .is_secret_file = true,
     .sentence = "File with the password. It is read at each connect. One newline at its end is ignored. " FILE_WORDS},
    {.name = "sslCa",
     .bytes_max = 4096,
     .is_open_file = true,
     .sentence = "PEM file with the trusted certificate authorities. Default: those of the system. " FILE_WORDS},
    {.name = "sslCertificate",
     .bytes_max = 4096,
     .is_open_file = true,
     .sentence = "PEM file with the client certificate and its chain, for brokers that ask for one. " FILE_WORDS},
    {.name = "sslKey",
     .bytes_max = 4096,
     .is_secret_file = true,
     .sentence = "PEM file with the key of the client certificate. " FILE_WORDS},
    {.name = "sslKeyPasswordFile",
     .bytes_max = 4096,
     .is_secret_file = true,
     .sentence = "File with the password of the key, like `saslPasswordFile`."},
    {.name = "clientId",
     .bytes_max = 249,
     .default_value = "sluice",
     .sentence = "Name of this client in the logs and quotas of the brokers."},
    {.name = "properties",
     .bytes_max = 4096,
     .is_map = true,
     .refused_names = refused_properties,
     .sentence = "Further properties of librdkafka (see its CONFIGURATION.md). Properties that Sluice sets itself are refused."},
    {0},
};

static const Refusal refused[] = {
    {"saslPassword", SECRET("saslPasswordFile")},
    {"sslKeyPassword", SECRET("sslKeyPasswordFile")},
    {0},
};

static int wrong(ConnectionPlace *ret_place, const char *field, Error *error, const char *text) {
    ret_place->field = field;
    return error_set(error, -EINVAL, "%s", text);
}

static bool is_one_of(const char *text, const char *const *words) {
    for (; *words; words++)
        if (strcasecmp(text, *words) == 0) return true;
    return false;
}

static int validate_brokers(const Connection *connection, ConnectionPlace *ret_place, Error *error) {
    for (const char *at = connection_value(connection, "brokers");;) {
        size_t size = strcspn(at, ",");
        Span broker = text_trim((Span){at, size});
        if (broker.size == 0) return wrong(ret_place, "brokers", error, "must be host:port, comma-separated");
        if (memchr(broker.data, '@', broker.size))
            return wrong(ret_place, "brokers", error, "must not contain a login: use \"saslUsername\" and \"saslPasswordFile\"");
        if (memmem(broker.data, broker.size, "://", 3))
            return wrong(ret_place, "brokers", error, "must be host:port without a protocol: use \"securityProtocol\"");
        if (!at[size]) return 0;
        at += size + 1;
    }
}

static int validate_login(const Connection *connection, bool uses_sasl, ConnectionPlace *ret_place, Error *error) {
    static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", NULL};
    static const char *const names[] = {"saslMechanism", "saslUsername", "saslPasswordFile"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = connection_value(connection, names[i]);
        if (uses_sasl && !value) return wrong(ret_place, names[i], error, "is needed with this \"securityProtocol\"");
        if (!uses_sasl && value)
            return wrong(ret_place, names[i], error, "has no effect without a \"securityProtocol\" of sasl_plaintext or sasl_ssl");
    }
    if (uses_sasl && !is_one_of(connection_value(connection, "saslMechanism"), mechanisms))
        return wrong(ret_place, "saslMechanism", error, "must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512");
    return 0;
}

static int validate_tls(const Connection *connection, bool uses_tls, ConnectionPlace *ret_place, Error *error) {
    static const char *const names[] = {"sslCa", "sslCertificate", "sslKey", "sslKeyPasswordFile"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!uses_tls && connection_value(connection, names[i]))
            return wrong(ret_place, names[i], error, "has no effect without a \"securityProtocol\" of ssl or sasl_ssl");
    bool has_certificate = connection_value(connection, "sslCertificate"), has_key = connection_value(connection, "sslKey");
    if (has_certificate && !has_key) return wrong(ret_place, "sslCertificate", error, "needs \"sslKey\" as well");
    if (has_key && !has_certificate) return wrong(ret_place, "sslKey", error, "needs \"sslCertificate\" as well");
    if (connection_value(connection, "sslKeyPasswordFile") && !has_key)
        return wrong(ret_place, "sslKeyPasswordFile", error, "needs \"sslKey\" as well");
    return 0;
}

/* The library says whether it knows a property, and takes its value. */
static int validate_properties(const Connection *connection, ConnectionPlace *ret_place, Error *error) {
    const char *at = connection_value(connection, "properties");
    rd_kafka_conf_t *scratch = rd_kafka_conf_new();
    check(scratch);
    Span name, value;
    int r = 0;
    while (r == 0 && connection_next(&at, &name, &value)) {
        _cleanup_free_ char *property = text_copy_span(name), *text = text_copy_span(value);
        r = kafka_configuration_set(scratch, property, text, error);
        if (r < 0) *ret_place = (ConnectionPlace){.field = "properties", .entry = name};
    }
    rd_kafka_conf_destroy(scratch);
    return r;
}

static int validate(const Connection *connection, ConnectionPlace *ret_place, Error *error) {
    static const char *const protocols[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl", NULL};
    const char *protocol = connection_effective(connection, "securityProtocol");
    if (!is_one_of(protocol, protocols))
        return wrong(ret_place, "securityProtocol", error, "must be plaintext, ssl, sasl_plaintext or sasl_ssl");
    int r = validate_brokers(connection, ret_place, error);
    if (r == 0) r = validate_login(connection, tolower((unsigned char)protocol[1]) == 'a', ret_place, error);
    if (r == 0)
        r = validate_tls(connection, strlen(protocol) > 2 && strcasecmp(protocol + strlen(protocol) - 3, "ssl") == 0, ret_place, error);
    return r < 0 ? r : validate_properties(connection, ret_place, error);
}

const ConnectionType connection_type_kafka = {
    .name = "kafka",
    .fields = fields,
    .refused = refused,
    .place = "brokers",
    .validate = validate,
    .may_be_declared = true,
};
