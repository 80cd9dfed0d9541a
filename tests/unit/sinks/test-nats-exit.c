/*
 * The end of a process that used libnats with TLS and has ended it: OpenSSL's memory is freed once.
 * Sanitizers see what happens behind main, and the exit code is theirs. OpenSSL is used before
 * libnats, as in the gateway.
 */
#include <openssl/ssl.h>

#include "tests/unit/sinks/nats-case.h"

/* Nobody is there, but libnats has begun with TLS. */
static void a_client_with_tls(void **state) {
    (void)state;
    char *values[16] = {"tls://127.0.0.1:1"};
    assert_string_equal(connection_type_nats.fields[0].name, "servers");
    Connection connection = {.name = "away", .type = &connection_type_nats, .values = values};
    NatsClient *client = nats_client_new(&(NatsClientOptions){.connection = &connection, .data_directory = "/", .name = "test"});
    NatsClientStatus status;
    usec_t end = clock_system()->boot(clock_system()) + 30 * USEC_SECOND;
    do {
        (void)nats_client_poll(client, 10 * USEC_MS);
        nats_client_status(client, &status);
    } while (status.failed_rounds == 0 && clock_system()->boot(clock_system()) < end);
    assert_int_equal(status.fault, SINK_FAULT_UNREACHABLE);
    assert_true(nats_client_close(client, 10 * USEC_SECOND));
}

int main(void) {
    if (OPENSSL_init_ssl(0, NULL) != 1) return 1;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method()); /* makes the list of compression methods */
    SSL_CTX_free(context);
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_client_with_tls)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (nats_left_behind() > 0 || !nats_end(10 * USEC_SECOND)) failed++;
    return failed;
}
