#include <errno.h>
#include <netinet/in.h>
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

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "tests/unit/gateway/intake/intake_case.h"

/* ---- HTTP ------------------------------------------------------------------------------------ */

static void ambiguous_requests_are_refused_and_closed(void **state) {
    (void)state;
    static const char *const heads[] = {
        "Host: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Host: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "Content-Length: 2\r\n\r\nok",
        "Host: h\r\nHost: i\r\nContent-Length: 2\r\n\r\nok",
        "Host: h\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Host: h\r\nContent-Length: 2x\r\n\r\nok",
        "Host: h\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "Host: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "Host: h\nContent-Length: 2\n\nok",
    };
    IntakeOptions options = fake_options();
    start(&options, 1);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int fd = client_connect(gateway);
        client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\n");
        client_send(fd, heads[i]);
        client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nsmuggled");
        _cleanup_free_ char *answer = client_answer(fd);
        if (status_of(answer) != 400) fail_msg("%s was answered\n%s", heads[i], answer);
        holds(answer, "\r\nConnection: close\r\n");
        if (!client_closed(fd)) fail_msg("%s: still open", heads[i]);
        close(fd);
    }
    rows_are(1, "");
}

static void chunked_bodies(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    int fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client_send(fd, "2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n");
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 200);
    holds(answer, "\r\nConnection: close\r\n");
    assert_true(client_closed(fd));
    close(fd);
    rows_are(1, "abcde\n");
    fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    usleep(1000);
    client_send(fd, "late");
    _cleanup_free_ char *continued = client_answer(fd);
    assert_int_equal(status_of(continued), 200);
    close(fd);
    rows_are(1, "abcde\nlate\n");
}

static void pipelined_requests_are_answered_in_order(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    int fd = client_connect(gateway);
    Buffer all = {0};
    for (unsigned i = 0; i < 50; i++)
        buffer_printf(&all, "POST " PATH "%s HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n%03u",
                      i % 5 == 4 ? "nobody/" FAKE_SECRET : "body/" FAKE_SECRET, i);
    client_send_bytes(fd, all.data, all.size);
    for (unsigned i = 0; i < 50; i++) {
        _cleanup_free_ char *answer = client_answer(fd);
        assert_int_equal(status_of(answer), i % 5 == 4 ? 404 : 200);
    }
    close(fd);
    buffer_clear(&all);
    for (unsigned i = 0; i < 50; i++)
        if (i % 5 != 4) buffer_printf(&all, "%03u\n", i);
    rows_are(1, buffer_text(&all));
    buffer_deinit(&all);
}

/* Refusals are answered at once, probes too, rows after their commit, and large bodies use up a
 * share of a turn alone. */
static void a_long_pipeline_keeps_its_order(void **state) {
    (void)state;
    enum { REQUESTS = 400 };
    static const struct {
        const char *line;
        int status;
    } kinds[] = {
        {"GET /none", 404},
        {"POST " PATH "body/" FAKE_SECRET, 200},
        {"GET /health", 200},
        {"POST " PATH "nobody/" FAKE_SECRET, 404},
        {"PUT " PATH "body/" FAKE_SECRET, 405},
        {"POST " PATH "lines/" FAKE_SECRET, 200},
    };
    enum { KINDS = sizeof kinds / sizeof *kinds };
    IntakeOptions options = fake_options();
    start(&options, 1);
    Buffer all = {0}, rows = {0};
    static char large[100000];
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = '\n';
    for (unsigned i = 0; i < REQUESTS; i++) {
        unsigned kind = i % KINDS;
        size_t size = kind == 5 && i < 60 ? sizeof large : kind == 0 || kind == 2 ? 0 : 3;
        buffer_printf(&all, "%s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", kinds[kind].line, size);
        if (size == 3)
            buffer_printf(&all, "%03u", i);
        else
            buffer_append(&all, large, size);
        if (kind == 1) buffer_printf(&rows, "%03u\n", i);
    }
    int fd = client_connect(gateway);
    client_send_bytes(fd, all.data, all.size);
    for (unsigned i = 0; i < REQUESTS; i++) {
        _cleanup_free_ char *answer = client_answer(fd);
        if (status_of(answer) != kinds[i % KINDS].status) fail_msg("request %u was answered\n%s", i, answer);
    }
    close(fd);
    rows_are(1, buffer_text(&rows));
    buffer_deinit(&all);
    buffer_deinit(&rows);
}

/* Strangers whose requests are all there already: the loop goes round, so that another's request
 * waits for a few of them only. */
static void pipelines_take_turns(void **state) {
    (void)state;
    enum { STRANGERS = 20, REQUESTS = 4000 };
    IntakeOptions options = fake_options();
    start(&options, 1);
    static const char request[] = "GET /none HTTP/1.1\r\nHost: h\r\n\r\n";
    Buffer flood = {0};
    for (unsigned i = 0; i < REQUESTS; i++) buffer_append_text(&flood, request);
    int honest = client_connect(gateway), strangers[STRANGERS];
    uint64_t before = metrics_read(METRIC_REQUESTS);
    for (unsigned i = 0; i < STRANGERS; i++) {
        strangers[i] = client_connect(gateway);
        client_send_bytes(strangers[i], flood.data, flood.size);
    }
    unsigned posts = 0;
    uint64_t most = 0;
    for (; posts < 5; posts++) {
        uint64_t sent = metrics_read(METRIC_REQUESTS);
        client_send(honest, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok");
        _cleanup_free_ char *answer = client_answer(honest);
        assert_int_equal(status_of(answer), 200);
        uint64_t meanwhile = metrics_read(METRIC_REQUESTS) - sent;
        if (meanwhile > most) most = meanwhile;
    }
    /* The flood is large enough that it was not over before. */
    assert_true(metrics_read(METRIC_REQUESTS) - before < STRANGERS * REQUESTS);
    assert_true(most < STRANGERS * REQUESTS / 8);
    for (unsigned i = 0; i < STRANGERS; i++) {
        for (unsigned k = 0; i == 0 && k < REQUESTS; k++) {
            _cleanup_free_ char *answer = client_answer(strangers[i]);
            assert_int_equal(status_of(answer), 404);
        }
        close(strangers[i]);
    }
    close(honest);
    buffer_deinit(&flood);
}

/* The body behind an expectation that is not known was not read: it must not be taken for the
 * next request. */
static void an_unknown_expectation_closes(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    static const char inner[] = "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nsmuggled";
    Buffer all = {0};
    buffer_printf(&all, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nExpect: much\r\nContent-Length: %zu\r\n\r\n%s",
                  sizeof inner - 1, inner);
    int fd = client_connect(gateway);
    client_send_bytes(fd, all.data, all.size);
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 417);
    holds(answer, "\r\nConnection: close\r\n");
    assert_true(client_closed(fd));
    close(fd);
    rows_are(1, "");
    buffer_deinit(&all);
}

typedef struct Load {
    pthread_t thread;
    unsigned number, requests, answered;
} Load;

static void *run_load(void *context) {
    Load *load = context;
    int fd = client_connect(gateway);
    char request[300], body[40];
    for (unsigned i = 0; i < load->requests; i++) {
        int size = snprintf(body, sizeof body, "{\"a\":\"%u-%u\"}", load->number, i);
        (void)snprintf(request, sizeof request, "POST " PATH "path/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s",
                       size, body);
        client_send(fd, request);
        _cleanup_free_ char *answer = client_answer(fd);
        load->answered += status_of(answer) == 200;
    }
    close(fd);
    return NULL;
}

static void a_hundred_connections(void **state) {
    (void)state;
    enum { CLIENTS = 100, REQUESTS = 30 };
    IntakeOptions options = fake_options();
    start(&options, 2);
    Load loads[CLIENTS] = {0};
    for (unsigned i = 0; i < CLIENTS; i++) {
        loads[i] = (Load){.number = i, .requests = REQUESTS};
        assert_int_equal(pthread_create(&loads[i].thread, NULL, run_load, &loads[i]), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(loads[i].thread, NULL);
        assert_int_equal(loads[i].answered, REQUESTS);
    }
    _cleanup_free_ char *rows = fake_rows(gateway, 2);
    static unsigned next[CLIENTS];
    memset(next, 0, sizeof next);
    size_t count = 0;
    for (const char *row = rows; *row; row = strchr(row, '\n') + 1, count++) {
        unsigned number, index;
        assert_int_equal(sscanf(row, "\"\"\"%u-%u\"\"\"", &number, &index), 2);
        assert_in_range(number, 0, CLIENTS - 1);
        assert_int_equal(next[number]++, index); /* in the order of each connection */
    }
    assert_int_equal(count, CLIENTS * REQUESTS);
    assert_in_range(gateway->appends, 1, CLIENTS * REQUESTS);
    assert_int_equal(gateway->usage.in_flight_bytes, 0);
}

/* ---- slow and hostile ------------------------------------------------------------------------ */

static void slow_requests_time_out(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    options.http.head_timeout = 200 * USEC_MS;
    options.http.body_timeout = 300 * USEC_MS;
    options.http.body_longest = 2 * USEC_SECOND;
    options.http.keep_alive_idle = 400 * USEC_MS;
    start(&options, 1);
    int head = client_connect(gateway), body = client_connect(gateway), idle = client_connect(gateway);
    client_send(head, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nConte");
    client_send(body,
                "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nOrigin: https://shop.example\r\nContent-Length: 10\r\n\r\nhal");
    _cleanup_free_ char *first = client_answer(head), *second = client_answer(body);
    assert_int_equal(status_of(first), 408);
    assert_int_equal(status_of(second), 408);
    holds(second, "stream.in.requestTimeout");
    holds(second, "\r\nConnection: close\r\n");
    holds(first, "Access-Control-Allow-Origin: *");
    holds(second, "Access-Control-Allow-Origin: https://shop.example\r\nVary: Origin\r\n");
    assert_true(client_closed(head) && client_closed(body));
    assert_true(client_closed(idle)); /* without a word */
    close(head);
    close(body);
    close(idle);
}

static void who_does_not_read_is_left(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    options.http.write_timeout = 300 * USEC_MS;
    start(&options, 1);
    uint64_t before = metrics_read(METRIC_CONNECTIONS_TIMED_OUT);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)gateway->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    /* Requests without end, whose answers fill what the kernel holds for both sides. */
    static const char request[] = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
    bool ended = false;
    for (usec_t end = now() + 20 * USEC_SECOND; !ended && now() < end;) {
        if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) continue;
        if (errno == EAGAIN)
            usleep(5000);
        else
            ended = true;
    }
    close(fd);
    assert_true(ended);
    assert_true(metrics_read(METRIC_CONNECTIONS_TIMED_OUT) > before);
}

static void a_head_without_end_is_refused(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    char filler[20001];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = 0;
    int fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nX: ");
    client_send(fd, filler);
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 413);
    holds(answer, "stream.in.headerTooLarge");
    assert_true(client_closed(fd));
    close(fd);
}

/* `count` header lines with Host and Content-Length, for a body of two bytes. */
static void put_head(Buffer *out, unsigned count) {
    buffer_append_text(out, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n");
    for (unsigned i = 2; i < count; i++) buffer_printf(out, "x%u: y\r\n", i);
    buffer_append_text(out, "\r\n");
}

static void more_than_a_hundred_headers(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    Buffer most = {0}, more = {0};
    put_head(&most, 100);
    buffer_append_text(&most, "ok");
    put_head(&more, 101);
    for (unsigned kept = 0; kept < 3; kept++) { /* answered requests on the connection before it */
        int fd = client_connect(gateway);
        for (unsigned i = 0; i < kept; i++) {
            client_send_bytes(fd, most.data, most.size);
            _cleanup_free_ char *answer = client_answer(fd);
            assert_int_equal(status_of(answer), 200);
        }
        client_send_bytes(fd, more.data, more.size / 2); /* also in two parts */
        if (kept == 2) usleep(20 * 1000);
        client_send_bytes(fd, more.data + more.size / 2, more.size - more.size / 2);
        _cleanup_free_ char *answer = client_answer(fd);
        assert_int_equal(status_of(answer), 413);
        holds(answer, "stream.in.headerTooLarge");
        holds(answer, "more than 100 header lines");
        assert_true(client_closed(fd));
        close(fd);
    }
    /* Behind a request that is not answered yet the library's parser sees it first. */
    int fd = client_connect(gateway);
    Buffer both = {0};
    buffer_append_span(&both, buffer_span(&most));
    buffer_append_span(&both, buffer_span(&more));
    client_send_bytes(fd, both.data, both.size);
    _cleanup_free_ char *first = client_answer(fd), *second = client_answer(fd);
    assert_int_equal(status_of(first), 200);
    assert_int_equal(status_of(second), 400);
    assert_true(client_closed(fd));
    close(fd);
    buffer_deinit(&most);
    buffer_deinit(&more);
    buffer_deinit(&both);
    rows_are(1, "ok\nok\nok\nok\n");
}

/* Longer than what the library looks at: without an end it would close the connection, and the
 * sender would see a reset. */
static void heads_far_too_large(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    static const char good[] = "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok";
    Buffer large = {0};
    buffer_append_text(&large, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nX: ");
    size_t filler = 900000;
    memset(buffer_reserve(&large, filler), 'x', filler);
    large.size += filler;
    enum { FRESH, KEPT, AFTER_LARGE, PIPELINED, WAYS };
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned way = FRESH; way < WAYS; way++) {
            int fd = client_connect(gateway);
            if (way == AFTER_LARGE) { /* whoever was let through once with a large body */
                Buffer body = {0};
                buffer_printf(&body, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
                memset(buffer_reserve(&body, 100000), 'y', 100000);
                body.size += 100000;
                client_send_bytes(fd, body.data, body.size);
                buffer_deinit(&body);
            }
            if (way == KEPT) client_send(fd, good);
            if (way == KEPT || way == AFTER_LARGE) {
                _cleanup_free_ char *answer = client_answer(fd);
                assert_int_equal(status_of(answer), 200);
            }
            if (way == PIPELINED) {
                Buffer both = {0};
                buffer_append_text(&both, good);
                buffer_append_span(&both, buffer_span(&large));
                client_send_bytes(fd, both.data, both.size);
                buffer_deinit(&both);
                _cleanup_free_ char *answer = client_answer(fd);
                assert_int_equal(status_of(answer), 200);
            } else {
                client_send_bytes(fd, large.data, large.size);
            }
            _cleanup_free_ char *answer = client_answer(fd);
            if (status_of(answer) != 413) fail_msg("way %u, round %u: %s", way, round, answer);
            holds(answer, "stream.in.headerTooLarge");
            assert_true(client_closed(fd));
            close(fd);
        }
    }
    buffer_deinit(&large);
}

#define CHUNKED "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

/* The decoder skips extensions and trailers without end, and nobody else sees them. */
static void framing_of_chunks_has_a_limit(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    static const struct {
        const char *begin, *end;
        size_t filler;
        int status;
    } cases[] = {
        {"2;x=", "\r\nok\r\n0\r\n\r\n", 1000, 200},
        {"2;x=", "\r\nok\r\n0\r\n\r\n", 20000, 413},
        {"2\r\nok\r\n0\r\nT: ", "\r\n\r\n", 1000, 200},
        {"2\r\nok\r\n0\r\nT: ", "\r\n\r\n", 20000, 413},
        {"2;x=", "", 20000000, 413}, /* goes on and on */
        {"2\r\nok\r\n0\r\nT: ", "", 20000000, 413},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buffer request = {0};
        buffer_append_text(&request, CHUNKED);
        buffer_append_text(&request, cases[i].begin);
        memset(buffer_reserve(&request, cases[i].filler), 'x', cases[i].filler);
        request.size += cases[i].filler;
        buffer_append_text(&request, cases[i].end);
        int fd = client_connect(gateway);
        client_send_bytes(fd, request.data, request.size);
        _cleanup_free_ char *answer = client_answer(fd);
        if (status_of(answer) != cases[i].status) fail_msg("case %zu: %s", i, answer);
        if (cases[i].status == 413) holds(answer, "stream.in.headerTooLarge");
        assert_true(client_closed(fd));
        close(fd);
        buffer_deinit(&request);
    }
    /* Chunks of one byte are mostly framing, and fine. */
    Buffer request = {0};
    buffer_append_text(&request, CHUNKED);
    for (unsigned i = 0; i < 20000; i++) buffer_append_text(&request, "1\r\nx\r\n");
    buffer_append_text(&request, "0\r\n\r\n");
    int fd = client_connect(gateway);
    client_send_bytes(fd, request.data, request.size);
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 200);
    close(fd);
    buffer_deinit(&request);
}

static void strangers_may_not_send_on(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    static const struct {
        const char *head;
        int status;
        const char *part;
    } cases[] = {
        {"POST " PATH "nobody/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\n", 404, "stream.in.noSourceFound"},
        {"POST " PATH "body/0123456789abcdefghijklmnopqrstuvwxyz0123456789AC HTTP/1.1\r\nHost: h\r\n", 404, "stream.in.noSourceFound"},
        {"POST " PATH "body HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wrong\r\n", 401, "\r\nWWW-Authenticate: Bearer"},
        {"POST /stream/x/body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\n", 400, "Invalid project ID"},
        {"PUT " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\n", 405, "\r\nAllow: OPTIONS, POST\r\n"},
        {"OPTIONS " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\n", 400, "stream.in.badRequest"},
        {"POST /health HTTP/1.1\r\nHost: h\r\n", 405, "\r\nAllow: OPTIONS, GET, HEAD\r\n"},
        {"GET /ready HTTP/1.1\r\nHost: h\r\n", 400, "stream.in.badRequest"},
        {"POST * HTTP/1.1\r\nHost: h\r\n", 404, "stream.in.routeNotFound"},
        {"POST /nothing HTTP/1.1\r\nHost: h\r\n", 404, "stream.in.routeNotFound"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = client_connect(gateway);
        client_send(fd, cases[i].head);
        client_send(fd, "Content-Length: 1000000\r\n\r\nthe beginning");
        usec_t before = now();
        _cleanup_free_ char *answer = client_answer(fd);
        if (status_of(answer) != cases[i].status) fail_msg("%s was answered\n%s", cases[i].head, answer);
        holds(answer, cases[i].part);
        assert_true(client_closed(fd));
        assert_true(now() - before < 3 * USEC_SECOND); /* long before any timeout */
        close(fd);
    }
    /* Who knows the secret goes on. */
    int fd = client_connect(gateway);
    client_send(fd, "POST " PATH "body HTTP/1.1\r\nHost: h\r\nX-Api-Key: " FAKE_SECRET "\r\nContent-Length: 4\r\n\r\nlo");
    usleep(600 * 1000);
    client_send(fd, "ng");
    _cleanup_free_ char *answer = client_answer(fd);
    assert_int_equal(status_of(answer), 200);
    close(fd);
}

enum { SENDERS = 60 };

#define FLOOD_PIECE 16384
typedef struct Flood {
    int fds[SENDERS];
    atomic_bool stop;
    atomic_uint ended;
    _Atomic useconds_t pause; /* between two pieces: each of them is slower than an honest upload */
} Flood;

/* Each of them a little at a time, for ever. */
static void *run_flood(void *context) {
    Flood *flood = context;
    static char piece[FLOOD_PIECE];
    while (!atomic_load(&flood->stop)) {
        for (unsigned i = 0; i < SENDERS; i++) {
            if (flood->fds[i] < 0 || send(flood->fds[i], piece, sizeof piece, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 || errno == EAGAIN)
                continue;
            close(flood->fds[i]);
            flood->fds[i] = -1;
            atomic_fetch_add(&flood->ended, 1);
        }
        usleep(atomic_load(&flood->pause));
    }
    return NULL;
}

/* So that a sender is at most a tenth as fast as an upload of `size` bytes that took `took`, however
 * slow the machine is. */
static useconds_t flood_pause(usec_t took, size_t size) {
    usec_t pause = 10 * took * FLOOD_PIECE / (usec_t)size;
    return (useconds_t)(pause < 10000 ? 10000 : pause > 200000 ? 200000 : pause);
}

/* Senders who know the secret and never finish: the slowest of them go, and honest uploads pass. */
static void unfinished_bodies_have_a_budget(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    gateway->usage.unfinished_limit = 32 << 20;
    start(&options, 1);
    static Flood flood;
    for (unsigned i = 0; i < SENDERS; i++) {
        flood.fds[i] = client_connect(gateway);
        client_send(flood.fds[i], "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 13000000\r\n\r\n");
    }
    size_t size = 7 << 20;
    char *large = malloc(size);
    assert_non_null(large);
    for (size_t i = 0; i < size; i++) large[i] = i % 1000 == 999 ? '\n' : 'x';
    usec_t begun = now();
    _cleanup_free_ char *alone = client_request(gateway, "POST", PATH "lines/" FAKE_SECRET, "", large, size);
    assert_int_equal(status_of(alone), 200);
    gateway->reject_count = 0;
    atomic_store(&flood.pause, flood_pause(now() - begun, size));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_flood, &flood), 0);
    unsigned sent = 0, passed = 0;
    for (usec_t end = now() + 20 * USEC_SECOND; now() < end && (sent < 3 || atomic_load(&flood.ended) < SENDERS / 3); sent++) {
        begun = now();
        _cleanup_free_ char *answer = client_request(gateway, "POST", PATH "lines/" FAKE_SECRET, "", large, size);
        passed += status_of(answer) == 200;
        atomic_store(&flood.pause, flood_pause(now() - begun, size));
        gateway->reject_count = 0;
    }
    atomic_store(&flood.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(passed, sent);
    assert_true(atomic_load(&flood.ended) >= SENDERS / 3);
    /* A sweep counts what came first and ends the slowest then: between the two it may be more. */
    usec_t end = now() + 10 * USEC_SECOND;
    while (atomic_load(&gateway->usage.unfinished_bytes) > (32 << 20) && now() < end) usleep(1000);
    assert_true(atomic_load(&gateway->usage.unfinished_bytes) <= (32 << 20));
    for (unsigned i = 0; i < SENDERS; i++)
        if (flood.fds[i] >= 0) close(flood.fds[i]);
    free(large);
}

/* ---- places for connections ------------------------------------------------------------------ */

static bool a_part_has_come(void) {
    return atomic_load(&gateway->usage.unfinished_bytes) > 0;
}

/* A request on a kept connection, and its answer's status. */
static int ask(int fd) {
    client_send(fd, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    _cleanup_free_ char *answer = client_answer(fd);
    return status_of(answer);
}

static void silent_ones_go_first_then_idle_ones(void **state) {
    (void)state;
    enum { PLACES = 4 };
    IntakeOptions options = fake_options();
    gateway->usage.connections_limit = PLACES;
    start(&options, 1);
    uint64_t evicted = metrics_read(METRIC_CONNECTIONS_EVICTED);
    int silent = client_connect(gateway), begun = client_connect(gateway), idle = client_connect(gateway);
    assert_int_equal(ask(idle), 200); /* all three are accepted now */
    int later = client_connect(gateway);
    client_send(begun, "P");
    assert_true(eventually(a_part_has_come));
    int fresh[PLACES];
    fresh[0] = client_connect(gateway);
    assert_int_equal(ask(fresh[0]), 200);
    assert_true(client_closed(silent));
    fresh[1] = client_connect(gateway);
    assert_int_equal(ask(fresh[1]), 200);
    assert_true(client_closed(later));
    fresh[2] = client_connect(gateway);
    assert_int_equal(ask(fresh[2]), 200);
    _cleanup_free_ char *told = client_answer(begun);
    assert_int_equal(status_of(told), 503);
    holds(told, "\r\nRetry-After: ");
    assert_true(client_closed(begun));
    assert_int_equal(ask(fresh[0]), 200); /* that makes `idle` the one that was idle for the longest */
    fresh[3] = client_connect(gateway);
    assert_int_equal(ask(fresh[3]), 200);
    assert_true(client_closed(idle));
    assert_int_equal(metrics_read(METRIC_CONNECTIONS_EVICTED) - evicted, 4);
    /* A request on its way, whole or not, keeps its place. */
    atomic_store(&gateway->hold, true);
    for (unsigned i = 0; i < PLACES; i++) {
        client_send(fresh[i], "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\no");
        if (i > 0) client_send(fresh[i], "k");
    }
    assert_true(eventually(something_in_flight) && eventually(a_part_has_come));
    int refused = client_connect(gateway);
    _cleanup_free_ char *answer = client_answer(refused);
    assert_int_equal(status_of(answer), 503);
    holds(answer, "\r\nRetry-After: ");
    assert_true(client_closed(refused));
    client_send(fresh[0], "k");
    atomic_store(&gateway->hold, false);
    for (unsigned i = 0; i < PLACES; i++) {
        _cleanup_free_ char *done = client_answer(fresh[i]);
        assert_int_equal(status_of(done), 200);
        close(fresh[i]);
    }
    const int others[] = {silent, begun, idle, later, refused};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) close(others[i]);
    assert_true(eventually(all_released));
}

static bool all_places_are_taken(void) {
    return atomic_load(&gateway->usage.connections) == gateway->usage.connections_limit;
}

/* The loop that gets the new connection may have none that can go, while another has them all. */
static void other_loops_make_room(void **state) {
    (void)state;
    enum { PLACES = 24 };
    IntakeOptions options = fake_options();
    gateway->usage.connections_limit = PLACES;
    start(&options, 3);
    int silent[PLACES], honest[PLACES];
    for (unsigned i = 0; i < PLACES; i++) silent[i] = client_connect(gateway);
    assert_true(eventually(all_places_are_taken));
    for (unsigned i = 0; i < PLACES; i++) {
        honest[i] = client_connect(gateway);
        assert_int_equal(ask(honest[i]), 200);
    }
    for (unsigned i = 0; i < PLACES; i++) assert_true(client_closed(silent[i]));
    for (unsigned i = 0; i < PLACES; i++) {
        close(silent[i]);
        close(honest[i]);
    }
    assert_true(eventually(all_released));
}

static bool is_open(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static uint64_t wanted;

static bool so_many_are_connected(void) {
    return atomic_load(&gateway->usage.connections) == wanted;
}

static bool so_many_were_evicted(void) {
    return metrics_read(METRIC_CONNECTIONS_EVICTED) >= wanted;
}

/* Whichever loop took them, and whichever takes the new ones. */
static void the_longest_silent_of_all_loops_goes_first(void **state) {
    (void)state;
    enum { PLACES = 24, NEW = 16 };
    IntakeOptions options = fake_options();
    gateway->usage.connections_limit = PLACES;
    start(&options, 3);
    uint64_t evicted = metrics_read(METRIC_CONNECTIONS_EVICTED);
    int silent[PLACES], fresh[NEW];
    for (unsigned i = 0; i < PLACES; i++) {
        silent[i] = client_connect(gateway);
        wanted = i + 1;
        assert_true(eventually(so_many_are_connected));
        for (usec_t begin = now(); now() < begin + 40 * USEC_MS;) usleep(1000); /* their order is certain */
    }
    for (unsigned i = 0; i < NEW; i++) {
        fresh[i] = client_connect(gateway);
        wanted = evicted + i + 1;
        assert_true(eventually(so_many_were_evicted));
        assert_true(client_closed(silent[i]));
        for (unsigned k = i + 1; k < PLACES; k++)
            if (!is_open(silent[k])) fail_msg("the silent connection %u went instead of number %u", k, i);
    }
    for (unsigned i = 0; i < PLACES; i++) close(silent[i]);
    for (unsigned i = 0; i < NEW; i++) close(fresh[i]);
    assert_true(eventually(all_released));
}

/* Silence counts from the last byte. A first request that has shown a secret keeps its place while
 * it goes on, and goes after all others when it stalls; a wrong secret shows nothing. */
static void known_requests_keep_their_places(void **state) {
    (void)state;
    enum { PLACES = 5 };
    IntakeOptions options = fake_options();
    gateway->usage.connections_limit = PLACES;
    start(&options, 1);
    uint64_t evicted = metrics_read(METRIC_CONNECTIONS_EVICTED);
    static const char head[] = "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";
    int stalled = client_connect(gateway), goes_on = client_connect(gateway), idle = client_connect(gateway);
    client_send(stalled, head);
    client_send(goes_on, head);
    assert_int_equal(ask(idle), 200);
    int begun = client_connect(gateway), silent = client_connect(gateway);
    client_send(begun, "P");
    assert_true(eventually(a_part_has_come) && eventually(all_places_are_taken));
    usec_t begin = now();
    for (unsigned i = 0; i < 3 && now() < begin + 20 * USEC_SECOND; i++) { /* until the one has stalled for over two seconds */
        client_send(goes_on, "x");
        while (now() < begin + (i + 1) * 800 * USEC_MS) usleep(1000);
    }
    client_send(begun, "O"); /* heard later than the one that says nothing */
    wanted = evicted;
    int fresh[PLACES];
    const int order[] = {silent, begun, idle, stalled};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        fresh[i] = client_connect(gateway);
        assert_int_equal(ask(fresh[i]), 200);
        client_send(fresh[i], head); /* the next one has begun and is known: it is not idle */
        wanted++;
        assert_true(eventually(so_many_were_evicted));
        assert_true(client_closed(order[i]));
        for (size_t k = i + 1; k < sizeof order / sizeof *order; k++) assert_true(is_open(order[k]));
    }
    client_send(goes_on, "x");
    _cleanup_free_ char *answer = client_answer(goes_on);
    assert_int_equal(status_of(answer), 200);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) close(order[i]), close(fresh[i]);
    close(goes_on);
    assert_true(eventually(all_released));
}

/* ---- the end --------------------------------------------------------------------------------- */

#define HALF_A_BODY "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nthe beginning"

static void a_stop_ends_who_owes_nothing_at_once(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    int silent = client_connect(gateway), begun = client_connect(gateway), idle = client_connect(gateway);
    assert_int_equal(ask(idle), 200); /* all three are accepted now */
    client_send(begun, "P");
    assert_true(eventually(a_part_has_come));
    drain(now() + 60 * USEC_SECOND);
    assert_true(eventually(has_drained)); /* long before the head's timeout */
    _cleanup_free_ char *first = client_answer(silent), *second = client_answer(begun), *third = client_answer(idle);
    assert_int_equal(status_of(first), 503);
    assert_int_equal(status_of(second), 503);
    holds(first, "stream.in.shutdown");
    holds(second, "stream.in.shutdown");
    holds(second, "\r\nRetry-After: ");
    assert_string_equal(third, "");
    assert_true(client_closed(silent) && client_closed(begun) && client_closed(idle));
    close(silent);
    close(begun);
    close(idle);
    assert_true(eventually(all_released));
}

static void new_connections_are_answered_during_a_stop(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    atomic_store(&gateway->hold, true);
    int parked = client_connect(gateway);
    client_send(parked, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok");
    assert_true(eventually(something_in_flight));
    int idle = client_connect(gateway);
    assert_int_equal(ask(idle), 200);
    drain(now() + 60 * USEC_SECOND);
    assert_true(client_closed(idle));    /* the drain has begun */
    for (unsigned i = 0; i < 100; i++) { /* more than may linger */
        int fd = client_connect(gateway);
        if (i % 2) client_send(fd, "POST " PATH "body/" FAKE_SECRET " HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nmore");
        _cleanup_free_ char *answer = client_answer(fd);
        assert_int_equal(status_of(answer), 503);
        holds(answer, "stream.in.shutdown");
        holds(answer, "\r\nRetry-After: ");
        assert_true(client_closed(fd));
        close(fd);
    }
    assert_false(has_drained());
    atomic_store(&gateway->hold, false);
    _cleanup_free_ char *answer = client_answer(parked);
    assert_int_equal(status_of(answer), 200);
    assert_true(eventually(has_drained));
    rows_are(1, "ok\n");
    close(parked);
    close(idle);
}

/* One stalls, one brings a byte now and then, and one goes on well until the time that the stop
 * gives it. */
static void half_bodies_hold_a_stop_for_a_moment_only(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    int stalled = client_connect(gateway), trickling = client_connect(gateway), steady = client_connect(gateway);
    client_send(stalled, HALF_A_BODY);
    client_send(trickling, HALF_A_BODY);
    client_send(steady, HALF_A_BODY);
    assert_true(eventually(a_part_has_come));
    usec_t begin = now();
    drain(begin + 4 * USEC_SECOND);
    static char piece[4096];
    memset(piece, 'x', sizeof piece);
    bool drained = false;
    for (usec_t end = begin + 20 * USEC_SECOND; now() < end && !(drained = has_drained());) {
        (void)!send(trickling, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)!send(steady, piece, sizeof piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        usleep(50 * 1000);
    }
    assert_true(drained);
    assert_true(drained);
    assert_true(now() - begin >= 4 * USEC_SECOND); /* the steady one had its time */
    const int fds[] = {stalled, trickling, steady};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        _cleanup_free_ char *answer = client_answer(fds[i]);
        assert_int_equal(status_of(answer), 503);
        holds(answer, "stream.in.shutdown");
        close(fds[i]);
    }
}

static void a_stalled_body_does_not_wait_for_the_deadline(void **state) {
    (void)state;
    IntakeOptions options = fake_options();
    start(&options, 1);
    int stalled = client_connect(gateway);
    client_send(stalled, HALF_A_BODY);
    assert_true(eventually(a_part_has_come));
    usec_t begin = now();
    drain(begin + 60 * USEC_SECOND);
    _cleanup_free_ char *answer = client_answer(stalled);
    assert_int_equal(status_of(answer), 503);
    assert_true(eventually(has_drained));
    close(stalled);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(ambiguous_requests_are_refused_and_closed),
        TEST(chunked_bodies),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(a_long_pipeline_keeps_its_order),
        TEST(pipelines_take_turns),
        TEST(an_unknown_expectation_closes),
        TEST(a_hundred_connections),
        TEST(slow_requests_time_out),
        TEST(who_does_not_read_is_left),
        TEST(a_head_without_end_is_refused),
        TEST(more_than_a_hundred_headers),
        TEST(heads_far_too_large),
        TEST(framing_of_chunks_has_a_limit),
        TEST(strangers_may_not_send_on),
        TEST(unfinished_bodies_have_a_budget),
        TEST(silent_ones_go_first_then_idle_ones),
        TEST(other_loops_make_room),
        TEST(the_longest_silent_of_all_loops_goes_first),
        TEST(known_requests_keep_their_places),
        TEST(a_stop_ends_who_owes_nothing_at_once),
        TEST(new_connections_are_answered_during_a_stop),
        TEST(half_bodies_hold_a_stop_for_a_moment_only),
        TEST(a_stalled_body_does_not_wait_for_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
