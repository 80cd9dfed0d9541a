#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "tests/unit/gateway/intake/intake_case.h"

/* ---- answers --------------------------------------------------------------------------------- */

static void an_event_is_stored(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    post("body", "", "hello", 200, "\r\n\r\nOK", "Sluice-Event-Id: ", "Sluice-Events: 1\r\n", "Content-Type: text/plain", NULL);
    post("path", "Content-Type: application/json; charset=utf-8\r\n", "{\"a\":1}", 200, "OK", NULL);
    post("body?verbose=true", "", "x", 401, NULL); /* what follows is the query and no secret */
    _cleanup_free_ char *verbose = client_post(gateway, PATH "body/" FAKE_SECRET "?x=1&verbose=true", "", "again");
    holds(verbose, "Content-Type: application/json");
    holds(verbose, "\"statusCode\":200");
    holds(verbose, "\"sources\":[{\"projectId\":1,\"sourceId\":\"body\",\"branchId\":\"default\",\"statusCode\":200");
    holds(verbose, "\"sinks\":[{\"sinkId\":\"k1\",\"statusCode\":200");
    holds(verbose, "\"message\":\"processed\"");
    _cleanup_free_ char *in_memory = client_post(gateway, PATH "fast/" FAKE_SECRET "?verbose=true", "", "x");
    assert_int_equal(status_of(in_memory), 202);
    holds(in_memory, "\"sinks\":[{\"sinkId\":\"k6\",\"statusCode\":202,\"message\":\"accepted\"}]");
    _cleanup_free_ char *whole_url = client_post(gateway, "http://localhost" PATH "body/" FAKE_SECRET, "", "url");
    assert_int_equal(status_of(whole_url), 200);
    _cleanup_free_ char *escaped = client_post(gateway, "/stre%61m/1/body/" FAKE_SECRET, "", "esc");
    assert_int_equal(status_of(escaped), 200);
    rows_are(1, "hello\nagain\nurl\nesc\n");
    rows_are(2, "1\n");
}

static void routes_and_credentials(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    const char *unknown = "\"error\":\"stream.in.noSourceFound\"";
    expect("POST", PATH "body/0123456789abcdefghijklmnopqrstuvwxyz0123456789AC", "", 404, unknown);
    expect("POST", PATH "body/", "", 404, unknown);
    expect("POST", PATH "nobody/" FAKE_SECRET, "", 404, unknown);
    expect("POST", "/stream/2/body/" FAKE_SECRET, "", 404, unknown);
    expect("POST", "/stream/99999999999999999999999/body/" FAKE_SECRET, "", 404, unknown);
    expect("POST", "/stream/x1/body/" FAKE_SECRET, "", 400, "Invalid project ID");
    expect("POST", PATH "body/" FAKE_SECRET "/", "", 404, "routeNotFound");
    expect("POST", PATH "body%2f" FAKE_SECRET, "", 404, "routeNotFound");
    expect("POST", PATH, "", 404, "routeNotFound");
    expect("POST", "/stream", "", 404, "routeNotFound");
    expect("GET", "/", "", 404, "routeNotFound");
    expect("POST", PATH "off/" FAKE_SECRET, "", 404, "\"error\":\"stream.in.disabledSource\"");
    expect("POST", PATH "off/0123456789abcdefghijklmnopqrstuvwxyz0123456789AC", "", 404, unknown);
    expect("POST", PATH "body", "Authorization: Bearer " FAKE_SECRET "\r\n", 200, "\r\n\r\nOK");
    expect("POST", PATH "body", "X-Api-Key: " FAKE_SECRET "\r\n", 200, "\r\n\r\nOK");
    expect("POST", PATH "body", "Authorization: Basic eDowMTIzNDU2Nzg5YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU2Nzg5QUI=\r\n", 200,
           "\r\n\r\nOK");
    expect("POST", PATH "body", "X-Api-Key: wrong\r\n", 401, "WWW-Authenticate: Bearer");
    expect("POST", PATH "nobody", "X-Api-Key: " FAKE_SECRET "\r\n", 401, "WWW-Authenticate: Bearer");
    expect("POST", PATH "body", "", 401, "WWW-Authenticate: Bearer");
    expect("OPTIONS", PATH "body/" FAKE_SECRET, "", 200, "\r\nAllow: OPTIONS, POST\r\n");
    expect("GET", PATH "body/" FAKE_SECRET, "", 405, "\r\nAllow: OPTIONS, POST\r\n");
    expect("FUNNY", PATH "body/" FAKE_SECRET, "", 405, "\r\nAllow: OPTIONS, POST\r\n");
    expect("OPTIONS", "*", "", 200, "\r\nAllow: ");
    expect("GET", "/health-check", "", 200, "\r\n\r\nOK");
    expect("GET", "/health", "", 200, "\r\n\r\nOK");
    expect("GET", "/ready", "", 200, "\r\n\r\nOK");
    expect("POST", "/health", "", 405, "\r\nAllow: ");
    expect("POST", PATH "body/" FAKE_SECRET, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
           200, "OK");
    int fd = client_connect(gateway);
    client_send(fd, "HEAD /health HTTP/1.1\r\nHost: h\r\n\r\nHEAD /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    char all[8192];
    size_t size = 0;
    for (ssize_t got; (got = recv(fd, all + size, sizeof all - 1 - size, 0)) > 0;) size += (size_t)got;
    all[size] = 0;
    close(fd);
    const char *second = strstr(all, "HTTP/1.1 404");
    assert_non_null(second);
    assert_int_equal(status_of(all), 200);
    assert_memory_equal(second - 4, "\r\n\r\n", 4);     /* no body between them */
    assert_memory_equal(all + size - 4, "\r\n\r\n", 4); /* nor behind */
    /* The same answer, but for its request id, whether the source or the secret is wrong. */
    _cleanup_free_ char *a = client_post(gateway, PATH "nobody/" FAKE_SECRET, "", "x");
    _cleanup_free_ char *b = client_post(gateway, PATH "body/1123456789abcdefghijklmnopqrstuvwxyz0123456789AB", "", "x");
    assert_string_equal(body_of(a), body_of(b));
    assert_int_equal(strlen(a), strlen(b));
}

/* What a browser wants to know before a page of another origin may send, and may read the
 * answer. */
static void pages_of_other_origins(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    static const char any[] = "\r\nAccess-Control-Allow-Origin: *\r\n";
    static const char shop[] =
        "\r\nAccess-Control-Allow-Origin: https://shop.example\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n";
    static const struct {
        const char *method, *path, *headers, *body;
        int status;
        const char *holds, *lacks;
    } cases[] = {
        {"POST", PATH "body/" FAKE_SECRET, "Origin: https://shop.example\r\n", "a", 200, shop, any},
        {"POST", PATH "body/" FAKE_SECRET, "Origin: null\r\n", "b", 200, "\r\nAccess-Control-Allow-Origin: null\r\n", any},
        /* No browser sends these. */
        {"POST", PATH "body/" FAKE_SECRET, "Origin: a b\r\n", "c", 200, any, "Vary"},
        {"POST", PATH "body/" FAKE_SECRET, "Origin:\r\n", "d", 200, any, "Vary"},
        /* A preflight gets its names back, also that of a source that nobody knows. */
        {"OPTIONS", PATH "body/" FAKE_SECRET, "Origin: https://shop.example\r\nAccess-Control-Request-Headers: content-type,x-api-key\r\n",
         "", 200, "\r\nAccess-Control-Allow-Headers: content-type,x-api-key\r\n", any},
        {"OPTIONS", PATH "nobody", "Origin: https://shop.example\r\nAccess-Control-Request-Headers: authorization\r\n", "", 200,
         "\r\nAccess-Control-Allow-Headers: authorization\r\n", any},
        {"OPTIONS", PATH "body", "Origin: https://shop.example\r\nAccess-Control-Request-Headers: a;b\r\n", "", 200, shop, "Allow-Headers"},
        {"OPTIONS", PATH "body", "Origin: https://shop.example\r\n", "", 200, "\r\nAccess-Control-Max-Age: 7200\r\n", "Allow-Headers"},
        {"OPTIONS", PATH "body/" FAKE_SECRET, "", "", 200, "\r\nAccess-Control-Allow-Headers: *, Authorization\r\n", "Vary"},
        /* Pages may read why something was refused. */
        {"POST", PATH "nobody/" FAKE_SECRET, "Origin: https://shop.example\r\n", "e", 404, shop, any},
        {"POST", PATH "path/" FAKE_SECRET, "Origin: https://shop.example\r\n", "{", 422, shop, any},
        {"GET", "/health", "Origin: https://shop.example\r\n", "", 200, shop, any},
        {"POST", PATH "body/" FAKE_SECRET, "Origin: https://shop.example\r\nExpect: wonders\r\n", "f", 417, shop, any},
        /* A source that lists its origins. */
        {"OPTIONS", PATH "listed/" FAKE_SECRET, "Origin: https://shop.example\r\nAccess-Control-Request-Headers: content-type\r\n", "", 200,
         shop, any},
        {"POST", PATH "listed/" FAKE_SECRET, "Origin: https://shop.example\r\n", "g", 200, shop, any},
        {"POST", PATH "listed/" FAKE_SECRET, "Origin: http://localhost:8080\r\n", "h", 200,
         "\r\nAccess-Control-Allow-Origin: http://localhost:8080\r\n", any},
        {"POST", PATH "listed/" FAKE_SECRET, "", "i", 200, any, "Vary"},
        {"OPTIONS", PATH "listed/" FAKE_SECRET, "Origin: https://shop.example.evil\r\nAccess-Control-Request-Headers: content-type\r\n", "",
         200, "\r\nVary: Origin\r\n", "Access-Control"},
        {"POST", PATH "listed/" FAKE_SECRET, "Origin: http://shop.example\r\n", "j", 403, "stream.in.originNotAllowed", "Access-Control"},
        {"POST", PATH "listed", "Origin: null\r\nX-Api-Key: " FAKE_SECRET "\r\n", "k", 403, "stream.in.originNotAllowed", "Access-Control"},
        /* Who has no secret learns nothing of the list. */
        {"OPTIONS", PATH "listed", "Origin: http://evil.example\r\n", "", 200, "\r\nAccess-Control-Allow-Origin: http://evil.example\r\n",
         any},
        {"OPTIONS", PATH "listed/0123456789abcdefghijklmnopqrstuvwxyz0123456789AC", "Origin: http://evil.example\r\n", "", 200,
         "\r\nAccess-Control-Allow-Origin: http://evil.example\r\n", any},
        {"POST", PATH "listed", "Origin: http://evil.example\r\n", "l", 401, "\r\nAccess-Control-Allow-Origin: http://evil.example\r\n",
         any},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_free_ char *answer = client_request(gateway, cases[i].method, cases[i].path, cases[i].headers, cases[i].body,
                                                     strlen(cases[i].body));
        if (status_of(answer) != cases[i].status) fail_msg("case %zu: %s", i, answer);
        holds(answer, cases[i].holds);
        holds_not(answer, cases[i].lacks);
        holds(answer, "\r\nX-Request-Id: ");
    }
    char longer[400] = "Origin: https://";
    memset(longer + strlen(longer), 'a', 300);
    strcpy(longer + strlen("Origin: https://") + 300, "\r\n");
    _cleanup_free_ char *answer = client_request(gateway, "POST", PATH "body/" FAKE_SECRET, longer, "m", 1);
    holds(answer, any);
    /* The loop's own answer, to a head whose body does not come. */
    int fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET
                    " HTTP/1.1\r\nHost: h\r\nOrigin: https://shop.example\r\nContent-Length: 99000000\r\n\r\nx");
    _cleanup_free_ char *declared = client_answer(fd);
    assert_int_equal(status_of(declared), 413);
    holds(declared, shop);
    holds_not(declared, any);
    close(fd);
}

static void framings(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    post("array", "", "[{\"a\":1},{\"a\":2}]", 200, "Sluice-Events: 2\r\n", NULL);
    post("array", "", "{\"a\":3}", 200, "Sluice-Events: 1\r\n", NULL);
    post("array", "", "[]", 200, "Sluice-Events: 0\r\n", "\r\n\r\nOK", NULL);
    post("array", "", "[{\"a\":4}", 400, "stream.in.badRequest", "framing", NULL);
    post("array", "Content-Type: application/x-ndjson\r\n", "{\"a\":5}\n\n{\"a\":6}\r\n", 200, "Sluice-Events: 2\r\n", NULL);
    rows_are(5, "1\n2\n3\n5\n6\n");
    post("path", "Content-Type: application/jsonl\r\n", "{\"a\":7}\n{\"a\":8}", 200, "Sluice-Events: 2\r\n", NULL);
    post("path", "Content-Type: application/cloudevents-batch+json\r\n", "[{\"a\":9}]", 200, "Sluice-Events: 1\r\n", NULL);
    post("path", "Content-Type: application/x-www-form-urlencoded\r\n", "a=ten", 200, "Sluice-Events: 1\r\n", NULL);
    rows_are(2, "7\n8\n9\n\"\"\"ten\"\"\"\n");
    /* What curl -d sends by default. */
    post("path", "Content-Type: application/x-www-form-urlencoded\r\n", "\n{\"a\":\"b=c&a=d\"}", 200, "Sluice-Events: 1\r\n", NULL);
    rows_are(2, "7\n8\n9\n\"\"\"ten\"\"\"\n\"\"\"b=c&a=d\"\"\"\n");
    post("path", "Content-Type: application/x-www-form-urlencoded\r\n", "{\"a\":1", 422, "(the body was read as a form)", NULL);
    post("array", "", "{\"a\":7}\n{\"a\":8}", 400, "at byte 8: ", NULL);
    post("array", "", "<html>", 400, "at byte 0: ", NULL);
    post("body", "", "", 200, "Sluice-Events: 1\r\n", NULL);
    rows_are(1, "\"\"\n");
}

static void a_source_without_an_enabled_sink(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    post("empty", "", "x", 503, "stream.in.noEnabledSink", "\r\nRetry-After: 60\r\n", NULL);
    uint64_t before = metrics_read(METRIC_EVENTS_WITHOUT_SINK);
    post("gone", "", "1\n2\n", 200, "Sluice-Events: 0\r\n", NULL);
    assert_int_equal(metrics_read(METRIC_EVENTS_WITHOUT_SINK), before + 2);
    _cleanup_free_ char *verbose = client_post(gateway, PATH "gone/" FAKE_SECRET "?verbose=true", "", "x");
    assert_int_equal(status_of(verbose), 200);
    holds(verbose, "No enabled sink found");
    assert_int_equal(gateway->appends, 0);
}

/* A disabled sink beside an enabled one: what it did not get is counted, and only what its source
 * took. */
static void what_a_disabled_sink_did_not_get_is_counted(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    post("half", "", "{\"a\":1}\nno\n{\"a\":2}\n", 200, "Sluice-Events: 2\r\n", NULL);
    post("half", "", "", 200, NULL);
    post("half", "", "{\"a\":3}", 200, "Sluice-Events: 1\r\n", NULL);
    assert_int_equal(gateway->skipped[60], 4);
    gateway->result = APPEND_FULL;
    post("half", "", "{\"a\":4}", 503, NULL);
    assert_int_equal(gateway->skipped[60], 4);
}

static void invalid_events(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    /* reject: nothing is stored, and the answer says what, where and why */
    post("path", "", "{\"b\":1}", 422, "stream.in.unprocessableContent", "\"sinkId\":\"k2\"", "sink \\\"k2\\\", column \\\"a\\\"", NULL);
    post("path", "", "not json", 422, "stream.in.unprocessableContent", NULL);
    post("array", "", "[{\"a\":1},{\"a\":2},{\"b\":3},{\"a\":4}]", 422, "Event 2: sink \\\"k5\\\", column \\\"a\\\"",
         "\"events\":{\"accepted\":0,\"rejected\":1,\"duplicate\":0},\"rejected\":[{\"index\":2,\"sinkId\":\"k5\",\"column\":\"a\",", NULL);
    rows_are(2, "");
    rows_are(5, "");
    _cleanup_free_ char *quiet = client_post(gateway, PATH "quiet/" FAKE_SECRET, "", "{\"b\":1}");
    assert_int_equal(status_of(quiet), 422);
    holds(quiet, "unprocessableContent");
    holds_not(quiet, "k12");
    holds_not(quiet, "column");
    /* quarantine: the event is stored in the other sink, and kept for this one */
    post("lines", "Content-Type: text/plain\r\n", "{\"a\":1}\n{\"b\":2}\nnonsense\n{\"a\":4}\n", 200, "Sluice-Events: 4\r\n",
         "\"events\":{\"accepted\":4,\"rejected\":2,\"duplicate\":0}", "{\"index\":1,\"sinkId\":\"k3\",\"column\":\"a\"",
         "\"index\":2,\"sinkId\":\"k3\"", "\"error\":\"stream.in.unprocessableContent\"", NULL);
    rows_are(3, "1\n4\n");
    rows_are(4, "\"{\"\"a\"\":1}\"\n\"{\"\"b\"\":2}\"\nnonsense\n\"{\"\"a\"\":4}\"\n");
    assert_int_equal(gateway->reject_count, 2);
    assert_int_equal(gateway->rejects[0].sink, 3);
    assert_string_equal(gateway->rejects[0].body, "{\"b\":2}");
    assert_string_equal(gateway->rejects[0].column, "a");
    assert_string_equal(gateway->rejects[0].content_type, "text/plain");
    assert_int_not_equal(gateway->rejects[0].reason[0], 0);
    assert_string_equal(gateway->rejects[1].body, "nonsense");
    assert_int_equal(gateway->usage.in_flight_bytes, 0);
}

static Buffer gzipped(const char *text) {
    Buffer out = {0};
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)text;
    stream.avail_in = (uInt)strlen(text);
    stream.next_out = (Bytef *)buffer_reserve(&out, strlen(text) + 100);
    stream.avail_out = (uInt)strlen(text) + 100;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.size = stream.total_out;
    deflateEnd(&stream);
    return out;
}

/* One event that is too large is a reject like any other, where no sink wants the sender to be
 * refused. */
static void too_large_events(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    options.limits.event_bytes = 100000;
    start(&options, 1);
    Buffer body = {0};
    buffer_append_text(&body, "{\"a\":1}\n");
    buffer_printf(&body, "{\"a\":\"%065529d", 0); /* 65535 bytes: the next character does not fit */
    for (unsigned i = 0; i < 30000; i++) buffer_append_text(&body, "\xc3\xa9");
    buffer_append_text(&body, "\"}\n{\"a\":3}\n");
    post("lines", "Content-Type: application/json\r\n", body.data, 200, "Sluice-Events: 2\r\n",
         "\"events\":{\"accepted\":2,\"rejected\":1,\"duplicate\":0}",
         "{\"index\":1,\"sinkId\":\"k3\",\"error\":", "The event has 125537 bytes; the limit is 100000 (option limits.event).", NULL);
    rows_are(3, "1\n3\n");
    assert_int_equal(gateway->reject_count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(gateway->rejects[i].sink, 3 + i);
        assert_int_equal(gateway->rejects[i].body_bytes, 65535);
        assert_memory_equal(gateway->rejects[i].body, "{\"a\":\"000", 9);
        assert_string_equal(gateway->rejects[i].content_type, "application/json");
        assert_non_null(strstr(gateway->rejects[i].reason, "limits.event"));
    }
    post("mixed", "", body.data, 413, "stream.in.bodyTooLarge", "Event 1 has 125537 bytes; the limit is 100000", NULL);
    rows_are(15, "");
    post("gone", "", body.data, 413, "stream.in.bodyTooLarge", NULL);
    /* with templates: whatever they made of its beginning */
    buffer_clear(&body);
    buffer_printf(&body, "1\n%0125537d\n3\n", 2);
    post("kept", "", body.data, 200, "Sluice-Events: 2\r\n", NULL);
    rows_are(14, "\"\"\"result of 1\"\"\"\n\"\"\"result of 3\"\"\"\n");
    assert_int_equal(gateway->reject_count, 3);
    assert_int_equal(gateway->rejects[2].sink, 14);
    assert_non_null(strstr(gateway->rejects[2].reason, "125537"));
    assert_int_equal(gateway->usage.in_flight_bytes, 0);
    buffer_deinit(&body);
}

static void encodings_and_sizes(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    options.limits.body_bytes = options.http.body_bytes = 100000;
    options.limits.event_bytes = 50000;
    options.limits.row_bytes = 1000;
    start(&options, 1);
    Buffer zipped = gzipped("{\"a\":\"zipped\"}");
    _cleanup_free_ char *answer = client_request(gateway, "POST", PATH "path/" FAKE_SECRET, "Content-Encoding: gzip\r\n", zipped.data,
                                                 zipped.size);
    assert_int_equal(status_of(answer), 200);
    rows_are(2, "\"\"\"zipped\"\"\"\n");
    post("path", "Content-Encoding: gzip\r\n", "{\"a\":1}", 400, "stream.in.badRequest", "gzip", NULL);
    post("path", "Content-Encoding: br\r\n", "{\"a\":1}", 415, "stream.in.unsupportedMediaType", "Accept-Encoding: gzip, deflate, zstd\r\n",
         NULL);
    post("path", "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", "{\"a\":1}", 415, NULL);
    buffer_deinit(&zipped);
    char *large = malloc(200001);
    assert_non_null(large);
    memset(large, 'x', 200000);
    large[200000] = 0;
    zipped = gzipped(large);
    _cleanup_free_ char *bomb = client_request(gateway, "POST", PATH "body/" FAKE_SECRET, "Content-Encoding: gzip\r\n", zipped.data,
                                               zipped.size);
    assert_int_equal(status_of(bomb), 413);
    holds(bomb, "stream.in.bodyTooLarge");
    buffer_deinit(&zipped);
    post("body", "", large, 413, "stream.in.bodyTooLarge", "200000", "100000", "limits.body", NULL);
    large[60000] = 0;
    post("body", "", large, 413, "stream.in.bodyTooLarge", "limits.event", NULL);
    large[2000] = 0;
    post("body", "", large, 413, "stream.in.payloadTooLarge", "limits.row", NULL);
    /* The connection is kept after a 413. */
    int fd = client_connect(gateway);
    memset(large, 'y', 200000);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
    client_send_bytes(fd, large, 200000);
    _cleanup_free_ char *first = client_answer(fd);
    assert_int_equal(status_of(first), 413);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok");
    _cleanup_free_ char *second = client_answer(fd);
    assert_int_equal(status_of(second), 200);
    large[17000] = 0;
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nX: ");
    client_send(fd, large);
    client_send(fd, "\r\n\r\nok");
    _cleanup_free_ char *third = client_answer(fd);
    assert_int_equal(status_of(third), 413);
    holds(third, "stream.in.headerTooLarge");
    close(fd);
    free(large);
    /* Above what the library takes: its answer, as JSON. */
    fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 99000000\r\n\r\nx");
    _cleanup_free_ char *declared = client_answer(fd);
    assert_int_equal(status_of(declared), 413);
    holds(declared, "stream.in.bodyTooLarge");
    holds(declared, "Access-Control-Allow-Origin: *");
    holds(declared, "X-Request-Id: ");
    assert_true(client_closed(fd));
    close(fd);
    fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: wonders\r\n\r\nok");
    _cleanup_free_ char *expectation = client_answer(fd);
    assert_int_equal(status_of(expectation), 417);
    holds(expectation, "stream.in.badRequest");
    close(fd);
}

static void what_columns_see_of_the_request(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    options.trusted_proxies = "127.0.0.0/8";
    start(&options, 1);
    _cleanup_free_ char *answer = client_post(
        gateway, PATH "headers",
        "X-Api-Key: " FAKE_SECRET "\r\nCookie: c\r\nProxy-Authorization: p\r\nx-storageapi-token: t\r\nX-One: 1\r\nx-one: 2\r\n", "12345");
    assert_int_equal(status_of(answer), 200);
    _cleanup_free_ char *rows = fake_rows(gateway, 10);
    assert_string_equal(
        rows, "\"{\"\"Connection\"\":\"\"close\"\",\"\"Content-Length\"\":\"\"5\"\",\"\"Host\"\":\"\"localhost\"\",\"\"X-One\"\":\"\"1, "
              "2\"\"}\"\n");
    /* The credential of this request is in its URL; these are those of somebody else. */
    post("headers", "AUTHORIZATION: Bearer secret\r\nX-API-Key: secret\r\n", "1", 200, NULL);
    _cleanup_free_ char *more = fake_rows(gateway, 10);
    holds(more, "Content-Length");
    assert_null(strstr(more, "secret"));
    post("ip", "", "x", 200, NULL);
    post("ip", "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-For: 127.0.0.8\r\n", "x", 200, NULL);
    post("ip", "Forwarded: for=203.0.113.10;proto=https\r\n", "x", 200, NULL);
    rows_are(11, "127.0.0.1\n203.0.113.9\n203.0.113.10\n");
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void clients_that_die_are_forgotten(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    atomic_store(&gateway->hold, true);
    for (unsigned i = 0; i < 20; i++) {
        int fd = client_connect(gateway);
        client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nokPOST");
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        if (i % 2) (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        if (i % 3 == 0) assert_true(eventually(something_in_flight));
        close(fd);
    }
    assert_true(eventually(something_in_flight));
    atomic_store(&gateway->hold, false);
    assert_true(eventually(all_released));
    post("body", "", "after", 200, NULL);
}

static void answers_wait_for_the_writer_or_not(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    atomic_store(&gateway->hold, true);
    post("fast", "", "1", 202, "\r\n\r\nOK", "Sluice-Events: 1\r\n", NULL);
    int fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    char byte;
    struct timeval patience = {.tv_usec = 200000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(recv(fd, &byte, 1, 0), -1); /* nothing yet */
    atomic_store(&gateway->hold, false);
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 200);
    close(fd);
    rows_are(6, "1\n");
    uint64_t lost = metrics_read(METRIC_ROWS_LOST);
    gateway->result = APPEND_FULL;
    post("fast", "", "2", 202, NULL);
    for (int i = 0; i < 5000 && metrics_read(METRIC_ROWS_LOST) == lost; i++) (void)usleep(1000);
    assert_int_equal(metrics_read(METRIC_ROWS_LOST), lost + 1);
    post("body", "", "full", 503, "stream.in.overloaded", "The disk budget is used up", "\r\nRetry-After: ", NULL);
    gateway->result = APPEND_REJECTS_FULL;
    post("body", "", "full", 503, "stream.in.overloaded", "The limit of rejects is reached (retention.rejects-size)", NULL);
    gateway->result = APPEND_FAILED;
    post("body", "", "failed", 503, "stream.in.overloaded", NULL);
    gateway->result = APPEND_DONE;
    rows_are(1, "x\n");
}

static void limits_in_flight(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    gateway->usage.in_flight_limit = 10;
    start(&options, 1);
    post("body", "", "this alone is more than ten bytes", 200, NULL); /* nothing else is in flight */
    atomic_store(&gateway->hold, true);
    int fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123456789");
    assert_true(eventually(something_in_flight));
    post("body", "", "another", 503, "stream.in.overloaded", "\r\nRetry-After: ", NULL);
    atomic_store(&gateway->hold, false);
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 200);
    close(fd);
    assert_int_equal(gateway->usage.in_flight_bytes, 0);
    atomic_store(&gateway->gates[1]->closed, true);
    post("body", "", "closed", 503, "stream.in.overloaded", "\"sinkId\":\"k1\"", NULL);
    post("path", "", "{\"a\":1}", 200, NULL); /* its source alone */
    atomic_store(&gateway->usage.intake_stopped, true);
    post("path", "", "{\"a\":1}", 503, "stream.in.overloaded", NULL);
    expect("GET", "/ready", "", 503, "\r\nRetry-After: ");
    expect("GET", "/health", "", 200, NULL);
    atomic_store(&gateway->usage.intake_stopped, false);
    atomic_store(&gateway->usage.broken, true);
    post("path", "", "{\"a\":1}", 503, "stream.in.shutdown", NULL);
}

static void rates(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 2);
    post("rated", "", "1\n2\n3\n", 200, NULL);
    post("rated", "", "4\n5\n6\n", 429, "stream.in.rateLimit", "\r\nRetry-After: 1\r\n", NULL);
    for (unsigned i = 0; i < 1000; i++) {
        _cleanup_free_ char *answer = client_post(gateway, PATH "rated/" FAKE_SECRET, "", "7\n");
        if (status_of(answer) == 200) break;
        assert_int_equal(status_of(answer), 429);
        usleep(5000);
    }
    rows_are(8, "1\n2\n3\n7\n");
}

static void large_requests_come_in_pieces(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    Buffer body = {0};
    for (unsigned i = 0; i < 60000; i++) buffer_printf(&body, "{\"a\":\"%096u\"}\n", i);
    _cleanup_free_ char *answer = client_request(gateway, "POST", PATH "lines/" FAKE_SECRET, "", body.data, body.size);
    assert_int_equal(status_of(answer), 200);
    holds(answer, "Sluice-Events: 60000\r\n");
    assert_true(gateway->pieces >= 10); /* their sizes are checked where they arrive */
    _cleanup_free_ char *rows = fake_rows(gateway, 3);
    size_t count = 0;
    for (const char *row = rows; *row; row = strchr(row, '\n') + 1) count++;
    assert_int_equal(count, 60000);
    buffer_deinit(&body);
    assert_int_equal(gateway->usage.in_flight_bytes, 0);
}

/* ---- snapshots, templates, drain ------------------------------------------------------------- */

static uint64_t generation_gone(void) {
    Message *message = mailbox_take(gateway->control);
    if (!message) return 0;
    assert_int_equal(message->kind, MESSAGE_SNAPSHOT_GONE);
    assert_null(message->next);
    uint64_t generation = ((SnapshotGone *)message)->generation;
    snapshot_gone_free((SnapshotGone *)message);
    return generation;
}

static bool first_generation_gone(void) {
    return generation_gone() == 1;
}

static void publish(const FakeSource *list, uint64_t generation) {
    Snapshot *fresh = fake_snapshot(gateway, list, generation);
    for (size_t i = 0; i < gateway->intake_count; i++) {
        SnapshotNews *news = calloc(1, sizeof *news);
        assert_non_null(news);
        news->message.kind = MESSAGE_SNAPSHOT;
        news->snapshot = snapshot_ref(fresh);
        mailbox_post(intake_mailbox(gateway->intakes[i]), &news->message);
    }
    snapshot_unref(gateway->snapshot);
    gateway->snapshot = fresh;
}

static void a_definition_is_held_until_its_rows_are_committed(void **state) {
    (void)state;
    static const FakeSource changed[] = {{SOURCE("other", ""), {BODY_SINK("k1", "")}}, {NULL, {NULL}}};
    IntakeOptions options = fake_options();
    start(&options, 2);
    atomic_store(&gateway->hold, true);
    int fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    assert_true(eventually(something_in_flight));
    publish(changed, 2);
    for (unsigned i = 0; i < 1000; i++) { /* both loops take it */
        expect("GET", "/health", "", 200, NULL);
        _cleanup_free_ char *answer = client_post(gateway, PATH "path/" FAKE_SECRET, "", "{}");
        if (status_of(answer) == 404) break;
    }
    assert_int_equal(generation_gone(), 0);
    atomic_store(&gateway->hold, false);
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 200);
    assert_true(eventually(first_generation_gone));
    post("other", "", "y", 200, NULL);
    close(fd);
}

static bool a_batch_waits(void) {
    pthread_mutex_lock(&gateway->mutex);
    bool waits = gateway->batch_count > 0;
    pthread_mutex_unlock(&gateway->mutex);
    return waits;
}

static void templates(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    post("template", "", "7", 200, "\r\n\r\nOK", "Sluice-Event-Id: ", NULL);
    post("template", "", "\"fail\"", 422, "stream.in.unprocessableContent", "it was asked to", NULL);
    post("template", "Content-Type: application/x-ndjson\r\n", "1\n2\n", 200, "Sluice-Events: 2\r\n", NULL);
    rows_are(9, "\"\"\"result of 7\"\"\"\n\"\"\"result of 1\"\"\"\n\"\"\"result of 2\"\"\"\n");
    /* Some die while their templates are evaluated; what they sent is not stored, and the others
     * are answered. */
    gateway->hold_templates = true;
    int dying = client_connect(gateway), living = client_connect(gateway);
    client_send(dying, "POST " PATH "template/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n8");
    client_send(living, "POST " PATH "template/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n9");
    assert_true(eventually(a_batch_waits) && eventually(something_in_flight));
    close(dying);
    publish(sources, 2); /* while they wait: theirs must stay */
    post("body", "", "x", 200, NULL);
    assert_int_equal(generation_gone(), 0);
    fake_templates_release(gateway);
    _cleanup_free_ char *answer = client_answer(living);
    assert_int_equal(status_of(answer), 200);
    assert_true(eventually(first_generation_gone));
    close(living);
    assert_true(eventually(all_released));
}

static void draining(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    int parked = client_connect(gateway), idle = client_connect(gateway), unfinished = client_connect(gateway);
    client_send(idle, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    _cleanup_free_ char *healthy = client_answer(idle);
    assert_int_equal(status_of(healthy), 200);
    atomic_store(&gateway->hold, true);
    client_send(parked, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    client_send(unfinished, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\ny");
    assert_true(eventually(something_in_flight));
    drain(now() + 60 * USEC_SECOND);
    assert_true(client_closed(idle));
    _cleanup_free_ char *ready = client_request(gateway, "GET", "/ready", "", "", 0);
    assert_int_equal(status_of(ready), 503);
    holds(ready, "stream.in.shutdown");
    holds(ready, "\r\nConnection: close\r\n");
    holds(ready, "\r\nRetry-After: ");
    assert_false(has_drained());
    atomic_store(&gateway->hold, false);
    _cleanup_free_ char *answer = client_answer(parked);
    assert_int_equal(status_of(answer), 200);
    holds(answer, "\r\nConnection: close\r\n");
    assert_false(has_drained());
    client_send(unfinished, "z");
    _cleanup_free_ char *second = client_answer(unfinished);
    assert_int_equal(status_of(second), 200);
    assert_true(eventually(has_drained));
    rows_are(1, "x\nyz\n");
    close(parked);
    close(idle);
    close(unfinished);
}

static void stopping_with_open_connections(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 2);
    for (unsigned i = 0; i < 10; i++) {
        int fd = client_connect(gateway); /* left to the end of the process */
        client_send(fd, i % 2 ? "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx"
                              : "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_event_is_stored),
        TEST(routes_and_credentials),
        TEST(pages_of_other_origins),
        TEST(framings),
        TEST(a_source_without_an_enabled_sink),
        TEST(what_a_disabled_sink_did_not_get_is_counted),
        TEST(invalid_events),
        TEST(too_large_events),
        TEST(encodings_and_sizes),
        TEST(what_columns_see_of_the_request),
        TEST(clients_that_die_are_forgotten),
        TEST(answers_wait_for_the_writer_or_not),
        TEST(limits_in_flight),
        TEST(rates),
        TEST(large_requests_come_in_pieces),
        TEST(a_definition_is_held_until_its_rows_are_committed),
        TEST(templates),
        TEST(draining),
        TEST(stopping_with_open_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
