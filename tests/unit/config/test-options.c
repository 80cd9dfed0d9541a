#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/options.h"
#include "sinks/driver.h"

/* A config file of this text; remove with remove_file. */
static char *make_file(const char *text) {
    char *path = strdup("/tmp/sluice-options-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    return path;
}

static void remove_file(char *path) {
    assert_int_equal(unlink(path), 0);
    free(path);
}

static Options load(const char *text, char *const *arguments) {
    Options options = {0};
    Error error = {0};
    char *path = text ? make_file(text) : NULL;
    if (options_load(path, arguments, connection_types, &options, &error) != 0) fail_msg("%s", error.text);
    if (path) remove_file(path);
    return options;
}

static void assert_refused(const char *text, char *const *arguments, const char *says) {
    Options options = {0};
    Error error = {0};
    char *path = text ? make_file(text) : NULL;
    assert_int_equal(options_load(path, arguments, connection_types, &options, &error), -EINVAL);
    if (strstr(error.text, says) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, says);
    assert_null(options.data);
    if (path) remove_file(path);
}

static int clear_environment(void **state) {
    return unsetenv("SLUICE_INTAKE") + unsetenv("SLUICE_ADMIN") + unsetenv("SLUICE_DISK_BUDGET") + unsetenv("SLUICE_THREADS");
}

static void defaults_are_those_of_the_contract(void **state) {
    Options options = load(NULL, NULL);
    assert_string_equal(options.data, "./data");
    assert_string_equal(options.intake, "0.0.0.0:7000");
    assert_string_equal(options.admin, "127.0.0.1:7001");
    assert_string_equal(options.public_url, "");
    assert_string_equal(options.branch, "default");
    assert_int_equal(options.project, 1);
    assert_int_equal(options.connections, 10000);
    assert_int_equal(options.connections_an_address, 1000);
    assert_true(options.keep_alive_idle == 75 * USEC_SECOND && options.head_timeout == 10 * USEC_SECOND);
    assert_true(options.body_timeout == 30 * USEC_SECOND && options.body_longest == 75 * USEC_SECOND &&
                options.write_timeout == 30 * USEC_SECOND);
    assert_true(options.event_bytes == 1 << 20 && options.body_bytes == 8 << 20 && options.header_bytes == 16 << 10);
    assert_true(options.unfinished_bytes == 256 << 20 && options.row_bytes == 1536 << 10 && options.request_rows_bytes == 256 << 20);
    assert_true(options.in_flight_bytes == 64 << 20);
    assert_int_equal(options.sources_max, 10000);
    assert_true(options.disk_budget == 0 && options.disk_share_percent == 25);
    assert_true(options.retain_imported == USEC_DAY && options.retain_failed == 7 * USEC_DAY && options.retain_expired == 0);
    assert_true(options.retain_rejects == 30 * USEC_DAY && options.rejects_bytes == 1 << 30);
    assert_true(options.template_stack == 500 && options.template_memory == 256 << 20 && options.template_wall == USEC_SECOND);
    assert_true(options.template_zygotes == 64 && options.shutdown_deadline == 30 * USEC_SECOND);
    const Connection *local = connections_find(&options.list, "local");
    assert_non_null(local);
    assert_ptr_equal(local->type, &connection_type_sqlite);
    assert_string_equal(connection_value(local, "path"), "tables.db");
    assert_null(connections_find(&options.list, "warehouse"));
    options_deinit(&options);
}

static void later_ones_win(void **state) {
    char *const arguments[] = {"--intake", "127.0.0.1:3", "--limits.body=2MB", "--admin-insecure", "--threads", "3", NULL};
    setenv("SLUICE_INTAKE", "127.0.0.1:2", 1);
    setenv("SLUICE_DISK_BUDGET", "10GB", 1);
    setenv("SLUICE_THREADS", "", 1);
    setenv("SLUICE_TOKEN", "x", 1);
    Options options = load("intake: 127.0.0.1:1\ndisk: {budget: 5GB, share: 50}\nlimits.body: 1MB\nproject: 12\n", arguments);
    assert_string_equal(options.intake, "127.0.0.1:3");
    assert_true(options.disk_budget == 10ULL << 30);
    assert_int_equal(options.disk_share_percent, 50);
    assert_true(options.body_bytes == 2 << 20);
    assert_int_equal(options.project, 12);
    assert_int_equal(options.threads, 3);
    assert_true(options.admin_insecure);
    options_deinit(&options);
    unsetenv("SLUICE_TOKEN");
    clear_environment(NULL);
    char *const spelled_out[] = {"--admin-insecure", "false", "--project=2", NULL};
    options = load(NULL, spelled_out);
    assert_false(options.admin_insecure);
    assert_int_equal(options.project, 2);
    options_deinit(&options);
}

/* A map of keys in the file is what a list is elsewhere; names may be in camel case there. */
static void keys_of_masks(void **state) {
    Options options = load("maskKeyFile: /etc/k\nmask-keys: {crm: /etc/a b, x-1: /etc/c=d}\ndisk: {logHighMark: 32MB}\n", NULL);
    assert_string_equal(options.mask_key_file, "/etc/k");
    assert_string_equal(options.mask_keys, "crm=/etc/a b,x-1=/etc/c=d");
    assert_true(options.log_high_mark == 32 << 20);
    options_deinit(&options);
    char *const arguments[] = {"--mask-keys", "a=/x, b=y", NULL};
    options = load("maskKeys: {crm: z}\n", arguments);
    assert_string_equal(options.mask_keys, "a=/x, b=y");
    assert_string_equal(options.mask_key_file, "");
    options_deinit(&options);
}

static void the_admin_url_of_the_client_is_passed_over(void **state) {
    setenv("SLUICE_ADMIN", "http://127.0.0.1:9999", 1);
    Options options = load(NULL, NULL);
    assert_string_equal(options.admin, "127.0.0.1:7001");
    options_deinit(&options);
    setenv("SLUICE_ADMIN", "127.0.0.1:9999", 1);
    options = load(NULL, NULL);
    assert_string_equal(options.admin, "127.0.0.1:9999");
    options_deinit(&options);
    clear_environment(NULL);
}

static void wrong_values_name_place_and_range(void **state) {
    static const struct {
        const char *text, *says;
    } files[] = {
        {"intake: 127.0.0.1:1\nintaek: x\n", ":2:1: there is no option \"intaek\": did you mean \"intake\"?"},
        {"connexions: {}\n", ":1:1: there is no option \"connexions\""},
        {"mask-keys: {crm: 5}\n", ":1:18: mask-keys: a key must have a file"},
        {"mask-keys: {crm: 'a,b'}\n", "whose name contains no comma"},
        {"mask-keys: {'a b': c}\n", "must be NAME=FILE"},
        {"mask-keys: a=b,a=c\n", "where the names differ"},
        {"mask-keys: a=\n", "must be NAME=FILE"},
        {"maskKeyfile: a\n", "there is no option \"mask-keyfile\": did you mean \"mask-key-file\""},
        {"disk:\n  budgte: 5\n", ":2:3: there is no option \"disk.budgte\": did you mean \"disk.budget\"?"},
        {"tls-cert: x\n", ":1:1: there is no option \"tls-cert\""},
        {"limits:\n  body: 16MB\n", ":2:9: limits.body must be a size such as 8MB in 1KB..15MB, not \"16MB\""},
        {"threads: 1.5\n", ":1:10: threads must have one value, not a number with a fraction"},
        {"intake: [a]\n", ":1:1: intake must have one value, not an array"},
        {"intake: 7000\n", ":1:9: intake must be ADDR:PORT"},
        {"admin-insecure: 1\n", ":1:17: admin-insecure must be true or false, not \"1\""},
        {"timeouts.head: 10\n", ":1:16: timeouts.head must be a length of time such as 30s in 100ms..10m, not \"10\""},
        {"log-level: loud\n", ":1:12: log-level must be one of debug, info, warning, error"},
        {"- a\n", ":1:1: the config file must be a map"},
        {"a: 1\n---\nb: 2\n", ":3:1: a config file is one YAML document"},
        {"admin: 0.0.0.0:7001\n", "admin 0.0.0.0:7001 is reachable from other machines"},
        {"intake: 127.0.0.1:7001\n", "must not be the same address"},
        {"connections: 5\n", ":1:14: Field \"connections\" must be a map"},
        {"connections:\n  a b: {}\n", ":2:3: Field \"connections.a b\" must have a name"},
        {"connections:\n  w: {}\n", ":2:3: Field \"connections.w\" needs a \"type\""},
        {"connections:\n  w: {type: oracle}\n", ":2:13: Field \"connections.w.type\" must be one of sqlite, postgres"},
        {"connections:\n  w: {type: sqlite}\n", ":2:3: Field \"connections.w\" needs a \"path\""},
        {"connections:\n  w: {type: postgres}\n", "needs a \"uri\""},
        {"connections:\n  w: {type: postgres, uri: 'host=x'}\n", ":2:28: Field \"connections.w.uri\" must begin with postgresql://"},
        {"connections:\n  w: {type: postgres, uri: 'postgres://h', password: x}\n", "passwordFile"},
        {"connections:\n  w: {type: postgres, uri: 'postgres://h', port: 5}\n", ":2:44: Field \"connections.w.port\" is not known here"},
        {"connections:\n  local: {type: postgres, uri: 'postgres://h'}\n", "of the connection \"local\" is always sqlite"},
        {"connections:\n  w: {type: sqlite, path: tables.db}\n", "has the path of connection \"local\""},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) assert_refused(files[i].text, NULL, files[i].says);
    static const struct {
        char *arguments[3];
        const char *says;
    } lines[] = {
        {{"--intaek", "x"}, "there is no option --intaek: did you mean \"intake\"?"},
        {{"--intake"}, "--intake needs a value"},
        {{"intake", "x"}, "\"intake\" is not an option"},
        {{"--project", "0"}, "--project must be a whole number in 1..4294967295, not \"0\""},
        {{"--project=-1"}, "--project must be"},
        {{"--project=4294967296"}, "--project must be"},
        {{"--project=99999999999999999999"}, "--project must be"},
        {{"--limits.body=99999999999TB"}, "--limits.body must be"},
        {{"--data="}, "--data must not be empty"},
        {{"--data=a\nb"}, "--data must be at most"},
        {{"--branch=main"}, "--branch must be \"default\" or a number"},
        {{"--public-url=ftp://x"}, "--public-url must be a URL"},
        {{"--public-url=http://a b"}, "--public-url must be a URL"},
        {{"--trusted-proxies=10.0.0.0/33"}, "--trusted-proxies must be networks"},
        {{"--trusted-proxies=10.0.0.0/8,"}, "--trusted-proxies must be networks"},
        {{"--timeouts.body=2m"}, "timeouts.body-longest must not be less"},
        {{"--disk.budget=63MB"}, "disk.budget must be at least 64MB"},
        {{"--"}, "there is no option --"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) assert_refused(NULL, lines[i].arguments, lines[i].says);
    setenv("SLUICE_THREADS", "many", 1);
    assert_refused(NULL, NULL, "environment variable SLUICE_THREADS: threads must be a whole number in 0..64, not \"many\"");
    clear_environment(NULL);
    Options options;
    Error error = {0};
    assert_int_equal(options_load("/nonexistent/x", NULL, connection_types, &options, &error), -ENOENT);
}

static void addresses_and_urls(void **state) {
    static char *const good[][2] = {{"--intake=[::1]:0"},
                                    {"--intake=localhost:80"},
                                    {"--intake=0.0.0.0:65535"},
                                    {"--public-url=https://x.example/a/"},
                                    {"--trusted-proxies=10.0.0.0/8, ::1/128,127.0.0.1"},
                                    {"--branch=1234"},
                                    {"--admin=[::1]:5"}};
    static char *const bad[][2] = {{"--intake=[::1]"}, {"--intake=::1:80"},   {"--intake=1.2.3.4:65536"}, {"--intake=1.2.3.4:"},
                                   {"--intake=:80"},   {"--intake=1.2.3:80"}, {"--intake=a.example:80"},  {"--intake="},
                                   {"--admin=[::]:5"}, {"--admin=10.0.0.1:5"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        Options options = load(NULL, good[i]);
        if (i == 3) assert_string_equal(options.public_url, "https://x.example/a");
        options_deinit(&options);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_refused(NULL, bad[i], "");
}

static void a_password_in_a_uri_is_refused_and_not_shown(void **state) {
    static const char *const bad[] = {"postgresql://u:hush@h/d",          "postgres://u:@h",
                                      "postgresql://h/d?password=hush",   "postgresql://h/d?a=b&password=hush",
                                      "postgresql://h/d?%70assword=hush", "postgresql://h?sslpassword=hush",
                                      "postgresql://u:hu/sh@h/d"};
    static const char *const good[] = {"postgresql://u@h:5432/d?sslmode=require&passfile=/x", "postgresql://h1:5,h2:6/d", "postgres://",
                                       "postgresql://u@[::1]:5/d"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "connections:\n  w: {type: postgres, uri: '%s'}\n", bad[i]);
        char *path = make_file(text);
        Options options;
        Error error = {0};
        assert_int_equal(options_load(path, NULL, connection_types, &options, &error), -EINVAL);
        assert_non_null(strstr(error.text, "passwordFile"));
        assert_null(strstr(error.text, "hush"));
        remove_file(path);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "connections:\n  w: {type: postgres, uri: '%s', passwordFile: /p, ledgerTable: a.b}\n", good[i]);
        Options options = load(text, NULL);
        const Connection *connection = connections_find(&options.list, "w");
        assert_string_equal(connection_value(connection, "uri"), good[i]);
        assert_string_equal(connection_value(connection, "passwordFile"), "/p");
        assert_string_equal(connection_value(connection, "ledgerTable"), "a.b");
        assert_non_null(connections_find(&options.list, "local"));
        options_deinit(&options);
    }
}

static void what_is_printed_can_be_read_again(void **state) {
    char *const arguments[] = {"--data=a \"b\" \\ ${ENV:X}", "--disk.budget=100000001", "--timeouts.head=1500ms", NULL};
    Options options = load("connections:\n  w: {type: postgres, uri: 'postgresql://u@h/d', passwordFile: p}\n", arguments);
    Buffer first = {0}, second = {0};
    options_print(&options, &first);
    assert_non_null(strstr(buffer_text(&first), "# Maximum size of a request body, before and after its decompression. (default 8MB; "
                                                "1KB..15MB; needs a restart)\nlimits.body: 8MB\n"));
    Options again = load(buffer_text(&first), NULL);
    options_print(&again, &second);
    assert_string_equal(buffer_text(&first), buffer_text(&second));
    assert_string_equal(again.data, "a \"b\" \\ ${ENV:X}");
    buffer_deinit(&first);
    buffer_deinit(&second);
    options_deinit(&again);
    options_deinit(&options);
}

#define KAFKA "connections:\n  k: {type: kafka, brokers: 'a:1,b:2'"

static void a_map_keeps_its_entries(void **state) {
    Options options = load(
        KAFKA ", properties: {socket.timeout.ms: 5000, log.thread.name: true, client.rack: 'a \"b\"', ssl.cipher.suites: ''}}\n", NULL);
    const Connection *connection = connections_find(&options.list, "k");
    assert_string_equal(connection_value(connection, "properties"),
                        "client.rack=a \"b\"\nlog.thread.name=true\nsocket.timeout.ms=5000\nssl.cipher.suites=\n");
    const char *at = connection_value(connection, "properties");
    Span name, value;
    assert_true(connection_next(&at, &name, &value));
    assert_memory_equal(name.data, "client.rack", name.size);
    assert_memory_equal(value.data, "a \"b\"", value.size);
    for (int i = 0; i < 3; i++) assert_true(connection_next(&at, &name, &value));
    assert_int_equal(value.size, 0);
    assert_false(connection_next(&at, &name, &value));
    at = NULL;
    assert_false(connection_next(&at, &name, &value));
    Buffer first = {0}, second = {0};
    options_print(&options, &first);
    Options again = load(buffer_text(&first), NULL);
    options_print(&again, &second);
    assert_string_equal(buffer_text(&first), buffer_text(&second));
    assert_non_null(strstr(buffer_text(&first), "\"client.rack\": \"a \\\"b\\\"\""));
    assert_string_equal(connection_value(connections_find(&again.list, "k"), "properties"), connection_value(connection, "properties"));
    buffer_deinit(&first);
    buffer_deinit(&second);
    options_deinit(&again);
    options_deinit(&options);
    options = load(KAFKA ", properties: {}}\n", NULL);
    assert_null(connection_value(connections_find(&options.list, "k"), "properties"));
    options_deinit(&options);
}

static void connections_to_kafka_are_checked(void **state) {
    static const char *const good[] = {
        "}",
        ", securityProtocol: SASL_SSL, saslMechanism: SCRAM-SHA-512, saslUsername: u, saslPasswordFile: p, sslCa: c, clientId: x}",
        ", securityProtocol: ssl, sslCertificate: c, sslKey: k, sslKeyPasswordFile: p}",
    };
    static const char *const bad[][2] = {
        {", securityProtocol: tls}", "\"connections.k.securityProtocol\" must be plaintext, ssl, sasl_plaintext or sasl_ssl"},
        {", securityProtocol: sasl_ssl, saslMechanism: PLAIN, saslUsername: u}", "\"connections.k.saslPasswordFile\" is needed"},
        {", securityProtocol: sasl_ssl, saslMechanism: GSSAPI, saslUsername: u, saslPasswordFile: p}", "saslMechanism\" must be PLAIN"},
        {", saslUsername: u}", "saslUsername\" has no effect"},
        {", sslCa: c}", "sslCa\" has no effect"},
        {", securityProtocol: ssl, sslKey: k}", "sslKey\" needs \"sslCertificate\""},
        {", securityProtocol: ssl, sslKeyPasswordFile: k}", "sslKeyPasswordFile\" needs \"sslKey\""},
        {", saslPassword: hush}", "saslPassword\" is not allowed here: put it in a file and name the file in \"saslPasswordFile\""},
        {", uri: x}", "is only for connections of type \"postgres\""},
        {", properties: [a]}", "properties\" must be a map of names to values"},
        {", properties: {nonsense: 1}}", "properties.nonsense\" is not a property of librdkafka"},
        {", properties: {socket.timeout.ms: soon}}", "properties.socket.timeout.ms\" cannot be set: "},
        {", properties: {socket.timeout.ms: [1]}}", "socket.timeout.ms\" must be"},
        {", properties: {'a=b': 1}}", "has a name that"},
        {", properties: {group.id: x}}", "properties.group.id\" is set by Sluice: each source has its own group"},
        {", properties: {partition.assignment.strategy: cooperative-sticky}}",
         "cooperative-sticky can hang or read twice in librdkafka before 2.6.1"},
        {", properties: {enable.auto.commit: true}}", "positions are stored at the destination"},
        {", properties: {isolation.level: read_uncommitted}}", "only what was committed is read"},
        {", properties: {plugin.library.paths: /x.so}}", "it loads code"},
        {", properties: {sasl.password: hush}}", "put it in a file and name the file in \"saslPasswordFile\""},
        {", properties: {bootstrap.servers: 'c:1'}}", "has its own field: \"brokers\""},
    };
    static const char *const brokers[][2] = {{"", "brokers"},
                                             {"a:1,,b:2", "must be host:port"},
                                             {"u:hush@a:1", "must not contain a login"},
                                             {"SSL://a:1", "without a protocol"}};
    char text[400];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        (void)snprintf(text, sizeof text, KAFKA "%s\n", good[i]);
        Options options = load(text, NULL);
        options_deinit(&options);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, KAFKA "%s\n", bad[i][0]);
        assert_refused(text, NULL, bad[i][1]);
    }
    for (size_t i = 0; i < sizeof brokers / sizeof *brokers; i++) {
        (void)snprintf(text, sizeof text, "connections:\n  k: {type: kafka, brokers: '%s'}\n", brokers[i][0]);
        assert_refused(text, NULL, brokers[i][1]);
    }
}

static void a_reload_takes_what_can_change(void **state) {
    Options options = load(NULL, NULL);
    Options fresh = load("intake: 127.0.0.1:5\nlimits.body: 1MB\nlimits.sources: 7\nlog-level: debug\nthreads: 2\nconnections: {w: {type: "
                         "sqlite, path: x}}\n",
                         NULL);
    Buffer ignored = {0};
    options_reload(&options, &fresh, &ignored);
    assert_string_equal(buffer_text(&ignored), "intake, threads, limits.body, connections");
    assert_true(options.body_bytes == 8 << 20);
    assert_int_equal(options.sources_max, 7);
    assert_string_equal(options.log_level, "debug");
    assert_string_equal(options.intake, "0.0.0.0:7000");
    assert_int_equal(options.threads, 0);
    buffer_deinit(&ignored);
    options_deinit(&fresh);
    options_deinit(&options);
}

static void options_are_documented(void **state) {
    Buffer out = {0};
    options_document(&out);
    assert_non_null(strstr(buffer_text(&out), "| `limits.body` | size | 8MB | 1KB..15MB | restart |"));
    assert_non_null(strstr(buffer_text(&out), "| `limits.sources` | number | 10000 | 1..1000000 | SIGHUP |"));
    buffer_deinit(&out);
}

static void the_example_is_right(void **state) {
    char *path;
    assert_true(asprintf(&path, "%s/config/examples/sluice.yaml", getenv("SLUICE_TREE") ? getenv("SLUICE_TREE") : ".") > 0);
    Options options;
    Error error = {0};
    if (options_load(path, NULL, connection_types, &options, &error) != 0) fail_msg("%s", error.text);
    assert_ptr_equal(connections_find(&options.list, "warehouse")->type, &connection_type_postgres);
    options_deinit(&options);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(later_ones_win),
        cmocka_unit_test(keys_of_masks),
        cmocka_unit_test(the_admin_url_of_the_client_is_passed_over),
        cmocka_unit_test(wrong_values_name_place_and_range),
        cmocka_unit_test(addresses_and_urls),
        cmocka_unit_test(a_password_in_a_uri_is_refused_and_not_shown),
        cmocka_unit_test(what_is_printed_can_be_read_again),
        cmocka_unit_test(a_map_keeps_its_entries),
        cmocka_unit_test(connections_to_kafka_are_checked),
        cmocka_unit_test(a_reload_takes_what_can_change),
        cmocka_unit_test(options_are_documented),
        cmocka_unit_test(the_example_is_right),
    };
    return cmocka_run_group_tests(tests, clear_environment, NULL);
}
