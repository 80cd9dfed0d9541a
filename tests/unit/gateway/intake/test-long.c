/* Requests of many events, which are mapped in slices; and how bytes in flight are shared. */
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

static Buffer repeated(const char *event, const char *between, size_t count) {
    Buffer body = {0};
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buffer_append_text(&body, between);
        buffer_append_text(&body, event);
    }
    return body;
}

static char *post_long(const char *source, const char *headers, const Buffer *body) {
    char path[200];
    (void)snprintf(path, sizeof path, PATH "%s/" FAKE_SECRET, source);
    return client_request(gateway, "POST", path, headers, body->data, body->size);
}

static size_t count_rows(uint32_t sink) {
    _cleanup_free_ char *rows = fake_rows(gateway, sink);
    size_t count = 0;
    for (const char *row = rows; (row = strchr(row, '\n')); row++) count++;
    return count;
}

/* ---- slices ---------------------------------------------------------------------------------- */

typedef struct Sender {
    const Buffer *body;
    atomic_bool sent, answered;
    usec_t sent_at, answered_at;
    int status;
} Sender;

static void *send_long(void *context) {
    Sender *sender = context;
    char head[300];
    int fd = client_connect(gateway);
    struct timeval patience = {.tv_sec = 60};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)snprintf(head, sizeof head, "POST " PATH "lines/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                   sender->body->size);
    client_send(fd, head);
    client_send_bytes(fd, sender->body->data, sender->body->size);
    sender->sent_at = now();
    atomic_store(&sender->sent, true);
    char answer[4096];
    ssize_t got = recv(fd, answer, sizeof answer - 1, 0);
    sender->answered_at = now();
    answer[got > 0 ? got : 0] = 0;
    sender->status = status_of(answer);
    atomic_store(&sender->answered, true);
    close(fd);
    return NULL;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TURN_LIMIT (80 * USEC_MS)
#else
#define TURN_LIMIT (10 * USEC_MS)
#endif

/* One loop: while 8 MB of tiny lines are mapped, others are answered. */
static void others_are_served_meanwhile(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    gateway->keep_rows = false;
    Buffer body = repeated("{\"a\":1}\n", "", (8u << 20) / 8);
    Sender sender = {.body = &body};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_long, &sender), 0);
    while (!atomic_load(&sender.sent)) usleep(100);
    usec_t worst = 0;
    unsigned served = 0;
    while (!atomic_load(&sender.answered)) {
        usec_t from = now();
        post("body", "", "small", 200, NULL);
        usec_t took = now() - from;
        if (took > worst) worst = took;
        served++;
    }
    pthread_join(thread, NULL);
    usec_t whole = sender.answered_at - sender.sent_at;
    print_message("%u requests in %lld ms, the slowest took %lld ms\n", served, (long long)(whole / USEC_MS), (long long)(worst / USEC_MS));
    assert_int_equal(sender.status, 200);
    assert_true(served >= 10);
    assert_true(worst < whole / 2);
    usec_t turn = atomic_load(&gateway->usage.turn_longest);
    print_message("the longest turn took %lld us of processor time\n", (long long)turn);
    assert_true(turn > 0);
    assert_true(turn < TURN_LIMIT);
    buffer_deinit(&body);
    assert_true(eventually(all_released));
    assert_true(eventually(nothing_unfinished));
}

static void long_requests_are_whole_or_nothing(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    options.limits.event_bytes = 2000;
    options.limits.request_rows_bytes = 100000;
    start(&options, 1);
    /* array: refuses events that it cannot map */
    Buffer body = {0};
    for (unsigned i = 0; i < 5000; i++) buffer_printf(&body, "%c{\"a\":%u}", i ? ',' : '[', i);
    size_t whole = body.size;
    _cleanup_free_ char *no_end = post_long("array", "", &body);
    assert_int_equal(status_of(no_end), 400);
    holds(no_end, "the array has no end");
    buffer_append_text(&body, ",{\"b\":1}]");
    _cleanup_free_ char *unmapped = post_long("array", "", &body);
    assert_int_equal(status_of(unmapped), 422);
    holds(unmapped, "Event 5000: sink \\\"k5\\\"");
    holds(unmapped, "\"index\":5000");
    body.size = whole;
    buffer_printf(&body, ",{\"a\":\"%03000d\"}]", 0);
    _cleanup_free_ char *too_large = post_long("array", "", &body);
    assert_int_equal(status_of(too_large), 413);
    holds(too_large, "Event 5000 has 30");
    rows_are(5, "");
    body.size = whole;
    buffer_append_text(&body, "]");
    _cleanup_free_ char *good = post_long("array", "", &body);
    assert_int_equal(status_of(good), 200);
    holds(good, "Sluice-Events: 5000\r\n");
    assert_int_equal(count_rows(5), 5000);
    buffer_deinit(&body);
    /* lines: keeps them as rejects, which count as what the rows of a request may have */
    body = repeated("x\n", "", 5000);
    _cleanup_free_ char *too_many = post_long("lines", "", &body);
    assert_int_equal(status_of(too_many), 413);
    holds(too_many, "limits.request-rows");
    assert_int_equal(gateway->reject_count, 0);
    rows_are(4, "");
    buffer_deinit(&body);
    /* A request of blank lines only has no event. */
    body = repeated(" \n\r\n", "", 300000);
    _cleanup_free_ char *blank = post_long("lines", "", &body);
    holds(blank, "Sluice-Events: 0\r\n");
    buffer_deinit(&body);
    assert_true(eventually(all_released));
    assert_true(eventually(nothing_unfinished));
}

static void too_large_events_of_long_requests_are_rejects(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    options.limits.event_bytes = 2000;
    start(&options, 1);
    static const struct {
        const char *source;
        uint32_t sink;
        const char *event;
        unsigned large;
    } cases[] = {{"half", 13, "{\"a\":1}\n", 3008}, {"kept", 14, "1\n", 3001}};
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(buffer_deinit) Buffer body = repeated(cases[i].event, "", 3000);
        buffer_printf(&body, i == 0 ? "{\"a\":\"%03000d\"}\n" : "%03001d\n", 0);
        buffer_append_text(&body, cases[i].event);
        char reason[200];
        (void)snprintf(reason, sizeof reason, "The event has %u bytes; the limit is 2000 (option limits.event).", cases[i].large);
        _cleanup_free_ char *answer = post_long(cases[i].source, "", &body);
        assert_int_equal(status_of(answer), 200);
        holds(answer, "Sluice-Events: 3001\r\n");
        holds(answer, "\"index\":3000");
        assert_int_equal(count_rows(cases[i].sink), 3001);
        assert_int_equal(gateway->reject_count, i + 1);
        assert_int_equal(gateway->rejects[i].sink, cases[i].sink);
        assert_int_equal(gateway->rejects[i].body_bytes, cases[i].large);
        assert_string_equal(gateway->rejects[i].reason, reason);
    }
    Buffer body = repeated(cases[0].event, "", 3000);
    buffer_printf(&body, "{\"a\":\"%03000d\"}\n", 0);
    _cleanup_free_ char *refused = post_long("mixed", "", &body);
    assert_int_equal(status_of(refused), 413);
    holds(refused, "Event 3000 has 3008 bytes");
    buffer_deinit(&body);
    assert_true(eventually(all_released));
}

static void long_requests_are_counted_for_rates_and_without_a_sink(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    Buffer body = repeated("1\n", "", 1500);
    uint64_t before = metrics_read(METRIC_EVENTS_WITHOUT_SINK);
    _cleanup_free_ char *gone = post_long("gone", "", &body);
    assert_int_equal(status_of(gone), 200);
    assert_int_equal(metrics_read(METRIC_EVENTS_WITHOUT_SINK), before + 1500);
    _cleanup_free_ char *first = post_long("rated", "", &body); /* the bucket is full */
    assert_int_equal(status_of(first), 200);
    assert_int_equal(count_rows(8), 1500);
    _cleanup_free_ char *second = post_long("rated", "", &body);
    assert_int_equal(status_of(second), 429);
    post("rated", "", "1\n", 429, NULL);
    assert_int_equal(count_rows(8), 1500);
    buffer_deinit(&body);
}

static void long_requests_are_decoded(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    Buffer body = repeated("{\"a\":1}\n", "", 20000), zipped = {0};
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (unsigned char *)body.data;
    stream.avail_in = (unsigned)body.size;
    size_t room = deflateBound(&stream, body.size);
    stream.next_out = (unsigned char *)buffer_reserve(&zipped, room);
    stream.avail_out = (unsigned)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    zipped.size = stream.total_out;
    deflateEnd(&stream);
    for (unsigned i = 1; i <= 3; i++) {
        _cleanup_free_ char *answer = post_long("lines", "Content-Encoding: gzip\r\n", &zipped);
        assert_int_equal(status_of(answer), 200);
        assert_int_equal(count_rows(3), 20000 * i);
    }
    buffer_deinit(&body);
    buffer_deinit(&zipped);
}

static void templates_of_long_requests_go_in_batches(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    Buffer body = {0};
    for (unsigned i = 0; i < 3000; i++) buffer_printf(&body, "%u\n", i);
    _cleanup_free_ char *answer = post_long("template", "Content-Type: application/x-ndjson\r\nX-Some: header\r\n", &body);
    assert_int_equal(status_of(answer), 200);
    holds(answer, "Sluice-Events: 3000\r\n");
    assert_int_equal(count_rows(9), 3000);
    assert_true(gateway->batches_seen >= 5);
    _cleanup_free_ char *rows = fake_rows(gateway, 9);
    assert_memory_equal(rows, "\"\"\"result of 0\"\"\"\n\"\"\"result of 1\"\"\"\n", 36);
    buffer_append_text(&body, "fail\n");
    _cleanup_free_ char *failed = post_long("template", "Content-Type: application/x-ndjson\r\n", &body);
    assert_int_equal(status_of(failed), 422);
    holds(failed, "Event 3000: ");
    assert_int_equal(count_rows(9), 3000);
    buffer_deinit(&body);
    assert_true(eventually(all_released));
}

/* Whose fault it is not is stored or refused whole and sent again, as with short requests: 503,
 * never 422 or a reject. */
static void an_event_that_cannot_be_evaluated_now_is_503(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    Buffer body = {0};
    for (unsigned i = 0; i < 3000; i++) buffer_printf(&body, i == 1700 ? "gone\n" : "%u\n", i);
    _cleanup_free_ char *answer = post_long("template", "Content-Type: application/x-ndjson\r\n", &body);
    assert_int_equal(status_of(answer), 503);
    holds(answer, "templatesUnavailable");
    holds(answer, "Retry-After: ");
    assert_int_equal(count_rows(9), 0);
    assert_int_equal(gateway->reject_count, 0);
    buffer_deinit(&body);
    assert_true(eventually(all_released));
}

/* ---- sources beside each other --------------------------------------------------------------- */

static int send_body(const char *source, const char *headers, const Buffer *body) {
    char head[300];
    int fd = client_connect(gateway);
    struct timeval patience = {.tv_sec = 60};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)snprintf(head, sizeof head, "POST " PATH "%s/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n%s\r\n", source,
                   body->size, headers);
    client_send(fd, head);
    client_send_bytes(fd, body->data, body->size);
    return fd;
}

/* Waits for it. */
static int status_at(int fd) {
    char answer[4096];
    ssize_t got = recv(fd, answer, sizeof answer - 1, 0);
    answer[got > 0 ? got : 0] = 0;
    close(fd);
    return got > 0 ? status_of(answer) : 0;
}

static bool is_answered(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static size_t count_answered(const int *fds, size_t count) {
    size_t answered = 0;
    for (size_t i = 0; i < count; i++) answered += is_answered(fds[i]);
    return answered;
}

static uint64_t awaited; /* of waiting_bytes */
static bool all_wait(void) {
    return atomic_load(&gateway->usage.waiting_bytes) >= awaited;
}

/* Its events are with the broker, which does not answer: long requests of others, and of the same
 * source, are mapped meanwhile. */
static void who_waits_for_templates_holds_nobody_up(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    gateway->hold_templates = true;
    Buffer body = repeated("1\n", "", 1500);
    int waiting = send_body("template", "Content-Type: application/x-ndjson\r\n", &body);
    awaited = body.size;
    assert_true(eventually(all_wait));
    for (unsigned i = 0; i < 3; i++) {
        _cleanup_free_ char *answer = post_long("lines", "", &body);
        assert_int_equal(status_of(answer), 200);
    }
    assert_false(is_answered(waiting));
    fake_templates_release(gateway);
    assert_int_equal(status_at(waiting), 200);
    assert_int_equal(count_rows(9), 1500);
    buffer_deinit(&body);
    assert_true(eventually(all_released));
}

/* One loop, and many long requests of one source: that of another source waits only for the one
 * that is worked on. */
static void sources_take_turns(void **state) {
    (void)state;
    enum { MANY = 8 };
    IntakeOptions options = fake_options();
    start(&options, 1);
    gateway->keep_rows = false;
    Buffer large = repeated("{\"a\":1}\n", "", (1u << 20) / 8), small = repeated("{\"a\":2}\n", "", 1200);
    int busy[MANY];
    for (size_t i = 0; i < MANY; i++) busy[i] = send_body("lines", "", &large);
    awaited = 4 * large.size;
    assert_true(eventually(all_wait));
    size_t before = count_answered(busy, MANY);
    int other = send_body("half", "", &small);
    assert_int_equal(status_at(other), 200);
    size_t after = count_answered(busy, MANY);
    print_message("%zu were answered before, %zu meanwhile\n", before, after - before);
    assert_true(before <= MANY - 4);
    assert_true(after - before <= 2); /* the one that was worked on, and one that ends just then */
    for (size_t i = 0; i < MANY; i++) assert_int_equal(status_at(busy[i]), 200);
    buffer_deinit(&large);
    buffer_deinit(&small);
    assert_true(eventually(all_released));
}

/* ---- bytes in flight ------------------------------------------------------------------------- */

static int send_small(const char *source, size_t size) {
    char request[4096];
    int fd = client_connect(gateway);
    check(size < 2000);
    int length = snprintf(request, sizeof request, "POST " PATH "%s/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%0*d",
                          source, size, (int)size, 7);
    client_send_bytes(fd, request, (size_t)length);
    return fd;
}

/* The writer stands still: a source that sends all it may leaves room for the others. */
static void a_busy_source_leaves_room_for_others(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    gateway->usage.in_flight_limit = 100000;
    start(&options, 1);
    atomic_store(&gateway->hold, true);
    int busy[150], other;
    for (size_t i = 0; i < 150; i++) busy[i] = send_small("body", 1000);
    post("body", "", "0123456789012345678901234567890123456789", 503, "Too many bytes are in flight", NULL);
    uint64_t shared = atomic_load(&gateway->usage.in_flight_bytes);
    assert_true(shared > 60000 && shared < 85000);
    other = send_small("headers", 1);
    usec_t deadline = now() + 10 * USEC_SECOND;
    while (atomic_load(&gateway->usage.in_flight_bytes) == shared && now() < deadline) usleep(1000);
    assert_true(atomic_load(&gateway->usage.in_flight_bytes) > shared);
    atomic_store(&gateway->hold, false);
    _cleanup_free_ char *answer = client_answer(other);
    assert_int_equal(status_of(answer), 200);
    close(other);
    for (size_t i = 0; i < 150; i++) close(busy[i]);
    assert_true(eventually(all_released));
}

/* As many bytes as never fit go one request at a time, and beside the others. */
static void a_large_request_takes_nothing_from_others(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    gateway->usage.in_flight_limit = 10000;
    start(&options, 1);
    Buffer body = repeated("{\"a\":1}\n", "", 20000);
    atomic_store(&gateway->hold, true);
    char head[300];
    int large = client_connect(gateway), other;
    (void)snprintf(head, sizeof head, "POST " PATH "lines/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", body.size);
    client_send(large, head);
    client_send_bytes(large, body.data, body.size);
    usec_t deadline = now() + 10 * USEC_SECOND;
    while (atomic_load(&gateway->usage.unfinished_bytes) == 0 && atomic_load(&gateway->usage.in_flight_bytes) == 0 && now() < deadline)
        usleep(1000);
    while (atomic_load(&gateway->usage.unfinished_bytes) > 0 && now() < deadline) usleep(1000);
    other = send_small("body", 1000);
    while (atomic_load(&gateway->usage.in_flight_bytes) != 1001 && now() < deadline) usleep(1000);
    assert_int_equal(gateway->usage.in_flight_bytes, 1001);
    _cleanup_free_ char *second = post_long("lines", "", &body);
    assert_int_equal(status_of(second), 503);
    atomic_store(&gateway->hold, false);
    _cleanup_free_ char *answer = client_answer(other), *whole = client_answer(large);
    assert_int_equal(status_of(answer), 200);
    assert_int_equal(status_of(whole), 200);
    close(other);
    close(large);
    assert_int_equal(count_rows(3), 20000);
    buffer_deinit(&body);
    assert_true(eventually(all_released));
    assert_int_equal(gateway->usage.large_bytes, 0);
}

/* Alone in the gateway it is taken, whatever its size is beside the bytes in flight: its rows and
 * its events at the broker are one claim. */
static void a_request_with_templates_fits_when_nothing_else_is_in_flight(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    gateway->usage.in_flight_limit = 1 << 20;
    start(&options, 1);
    gateway->keep_rows = false;
    for (size_t size = 20; size <= 120; size += 4) {
        Buffer body = {0};
        for (unsigned i = 0; i < 10000; i++) buffer_printf(&body, "%0*u\n", (int)size, i);
        _cleanup_free_ char *answer = post_long("template", "Content-Type: application/x-ndjson\r\n", &body);
        if (status_of(answer) != 200) fail_msg("10,000 events of %zu bytes: %s", size, answer);
        buffer_deinit(&body);
        assert_true(eventually(all_released));
        assert_int_equal(gateway->usage.large_bytes, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(others_are_served_meanwhile),
        TEST(long_requests_are_whole_or_nothing),
        TEST(too_large_events_of_long_requests_are_rejects),
        TEST(long_requests_are_counted_for_rates_and_without_a_sink),
        TEST(long_requests_are_decoded),
        TEST(templates_of_long_requests_go_in_batches),
        TEST(an_event_that_cannot_be_evaluated_now_is_503),
        TEST(who_waits_for_templates_holds_nobody_up),
        TEST(sources_take_turns),
        TEST(a_busy_source_leaves_room_for_others),
        TEST(a_large_request_takes_nothing_from_others),
        TEST(a_request_with_templates_fits_when_nothing_else_is_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
