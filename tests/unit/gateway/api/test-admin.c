#include "gateway/api/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "gateway/flow/messages.h"

/* The admin listener, real, before a control thread that is this test. */
typedef struct Fixture {
    HttpListener listener;
    Usage usage;
    Mailbox *control;
    Admin *admin;
    char *address;
} Fixture;

static int start(void **state) {
    Fixture *fixture = calloc(1, sizeof *fixture);
    Error error = {0};
    assert_int_equal(http_bind("127.0.0.1:0", &fixture->listener, &error), 0);
    fixture->address = http_listener_address(&fixture->listener);
    fixture->usage.connections_limit = 100;
    fixture->usage.unfinished_limit = 64 << 20;
    fixture->control = mailbox_new(NULL, NULL);
    HttpLimits limits = {
        .keep_alive_idle = 75 * USEC_SECOND,
        .head_timeout = 10 * USEC_SECOND,
        .body_timeout = 30 * USEC_SECOND,
        .body_longest = 75 * USEC_SECOND,
        .write_timeout = 30 * USEC_SECOND,
        .body_bytes = 1 << 20,
        .header_bytes = 16 << 10,
    };
    assert_int_equal(admin_start(&fixture->listener, &limits, &fixture->usage, fixture->control, &fixture->admin, &error), 0);
    *state = fixture;
    return 0;
}

static int stop(void **state) {
    Fixture *fixture = *state;
    admin_stop(fixture->admin);
    for (Message *message = mailbox_take(fixture->control), *next; message; message = next) {
        next = message->next;
        api_call_free((ApiCall *)message);
    }
    mailbox_free(fixture->control);
    http_listener_deinit(&fixture->listener);
    free(fixture->address);
    free(fixture);
    return 0;
}

static int connect_to(const Fixture *fixture) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)strtoul(strrchr(fixture->address, ':') + 1, NULL, 10));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void send_text(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static ApiCall *next_call(Fixture *fixture) {
    assert_true(mailbox_wait(fixture->control, 20 * USEC_SECOND));
    Message *message = mailbox_take(fixture->control);
    assert_int_equal(message->kind, MESSAGE_API_CALL);
    assert_null(message->next);
    return (ApiCall *)message;
}

/* Reads until `end` has come, or the connection ends. */
static void receive(int fd, const char *end, char *out, size_t size) {
    size_t got = 0;
    out[0] = '\0';
    while (got + 1 < size && !strstr(out, end)) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 20000), 1);
        ssize_t n = recv(fd, out + got, size - got - 1, 0);
        if (n <= 0) break;
        got += (size_t)n;
        out[got] = '\0';
    }
}

static void test_request(void **state) {
    Fixture *fixture = *state;
    _cleanup_close_ int fd = connect_to(fixture);
    send_text(fd, "PATCH /v1/branches/default/sources/a%20b?x=%41&y HTTP/1.1\r\nHost: h\r\nAuthorization: bearer   secret\r\n"
                  "Prefer: respond-async, wait=7\r\nIf-Match: \"3\"\r\nContent-Type: application/json\r\nX-Other: v\r\nCookie: c=1\r\n"
                  "Content-Length: 7\r\n\r\n{\"a\":1}");
    ApiCall *call = next_call(fixture);
    assert_string_equal(call->method, "PATCH");
    assert_string_equal(call->path, "/v1/branches/default/sources/a b");
    assert_string_equal(call->query, "x=%41&y"); /* decoded where it is taken apart */
    assert_string_equal(call->token, "secret");
    assert_string_equal(call->if_match, "\"3\"");
    assert_string_equal(call->body_type, "application/json");
    assert_string_equal(call->peer, "127.0.0.1");
    assert_int_equal(call->wait, 7 * USEC_SECOND);
    assert_int_equal(call->body.size, 7);
    assert_memory_equal(call->body.data, "{\"a\":1}", 7);
    bool other = false;
    for (const char *at = call->headers.data, *end = at + call->headers.size; at < end;) {
        const char *name = at, *value = name + strlen(name) + 1;
        at = value + strlen(value) + 1;
        assert_int_not_equal(strcasecmp(name, "cookie"), 0);
        assert_null(strstr(value, "secret"));
        other = other || (strcasecmp(name, "x-other") == 0 && strcmp(value, "v") == 0);
    }
    assert_true(other);

    call->location = strdup("/v1/tasks/1");
    api_call_answer(call, 202, json_pack("{s:i}", "n", 5));
    char answer[4096];
    receive(fd, "{\"n\":5}", answer, sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.1 202 Accepted\r\n"));
    assert_non_null(strstr(answer, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(answer, "Location: /v1/tasks/1\r\n"));
    assert_non_null(strstr(answer, "X-Request-Id: "));

    /* On the same connection; this header wins over the other. */
    send_text(fd, "GET /v1 HTTP/1.1\r\nHost: h\r\nX-StorageApi-Token: t2\r\nAuthorization: Bearer t1\r\n\r\n");
    call = next_call(fixture);
    assert_string_equal(call->token, "t2");
    assert_string_equal(call->query, "");
    assert_int_equal(call->wait, 0);
    call->challenge = true;
    call->allow = strdup("GET, POST");
    call->retry_after = 9;
    api_call_fail(call, 401, "unauthorized", "No.");
    receive(fd, "\"No.\"}", answer, sizeof answer);
    assert_non_null(strstr(answer, "WWW-Authenticate: Bearer"));
    assert_non_null(strstr(answer, "Allow: GET, POST\r\n"));
    assert_non_null(strstr(answer, "Retry-After: 9\r\n"));
    assert_non_null(strstr(answer, "{\"statusCode\":401,\"error\":\"stream.api.unauthorized\",\"message\":\"No.\"}"));
}

/* What is not a path never reaches the control thread. */
static void test_bad_path(void **state) {
    Fixture *fixture = *state;
    static const char *const paths[] = {"/v1/%00", "/v1/%zz", "/v1/%4", "/v1/%0a"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        _cleanup_close_ int fd = connect_to(fixture);
        char request[128], answer[2048];
        (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", paths[i]);
        send_text(fd, request);
        receive(fd, "}", answer, sizeof answer);
        assert_non_null(strstr(answer, "HTTP/1.1 400 "));
        assert_non_null(strstr(answer, "stream.api.badRequest"));
    }
    assert_false(mailbox_wait(fixture->control, 0));
}

/* The asker went away while the control thread worked: its answer is dropped. */
static void test_gone(void **state) {
    Fixture *fixture = *state;
    int fd = connect_to(fixture);
    send_text(fd, "POST /v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
    ApiCall *call = next_call(fixture);
    struct linger reset = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    (void)close(fd);
    api_call_answer(call, 200, json_object());

    _cleanup_close_ int other = connect_to(fixture); /* and the loop goes on */
    send_text(other, "GET /v1 HTTP/1.1\r\nHost: h\r\n\r\n");
    api_call_answer(next_call(fixture), 200, json_object());
    char answer[2048];
    receive(other, "{}", answer, sizeof answer);
    assert_non_null(strstr(answer, "200 OK"));
    usec_t deadline = clock_system()->boot(clock_system()) + 20 * USEC_SECOND;
    while (atomic_load(&fixture->usage.connections) > 1 && clock_system()->boot(clock_system()) < deadline) (void)usleep(1000);
    assert_int_equal(atomic_load(&fixture->usage.connections), 1);
}

/* The end comes while the control thread has a call and another is answered: both askers hear
 * something. */
static void test_stop(void **state) {
    Fixture *fixture = *state;
    int first = connect_to(fixture), second = connect_to(fixture);
    send_text(first, "GET /v1/a HTTP/1.1\r\nHost: h\r\n\r\n");
    ApiCall *open = next_call(fixture);
    send_text(second, "GET /v1/b HTTP/1.1\r\nHost: h\r\n\r\n");
    api_call_answer(next_call(fixture), 200, json_object());
    admin_stop(steal(fixture->admin));
    char answer[2048];
    receive(first, "}", answer, sizeof answer);
    assert_non_null(strstr(answer, "503"));
    receive(second, "}", answer, sizeof answer);
    assert_non_null(strstr(answer, "200 OK"));
    api_call_free(open); /* as control_free does */
    (void)close(first);
    (void)close(second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_request, start, stop),
        cmocka_unit_test_setup_teardown(test_bad_path, start, stop),
        cmocka_unit_test_setup_teardown(test_gone, start, stop),
        cmocka_unit_test_setup_teardown(test_stop, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
