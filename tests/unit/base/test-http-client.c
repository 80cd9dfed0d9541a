#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/http_client.h"
#include "base/thread.h"

/* A server of one exchange: it reads a request, says `says`, and closes, or keeps silent until the
 * client is gone. */
typedef struct Server {
    int listener;
    const char *says;
    size_t body_expected; /* bytes behind the head that it reads before it answers */
    bool silent;
    atomic_bool *given_up; /* set when the request was heard; may be NULL */
    Buffer heard;
    Thread thread;
    char url[64];
} Server;

static void *serve(void *context) {
    Server *server = context;
    int fd = accept(server->listener, NULL, NULL);
    assert_true(fd >= 0);
    for (;;) {
        const char *end = strstr(buffer_text(&server->heard), "\r\n\r\n");
        if (end && server->heard.size - (size_t)(end + 4 - server->heard.data) >= server->body_expected) break;
        ssize_t n = recv(fd, buffer_reserve(&server->heard, 4096), 4096, 0);
        if (n <= 0) break;
        server->heard.size += (size_t)n;
    }
    if (server->given_up) atomic_store(server->given_up, true);
    for (size_t sent = 0, size = strlen(server->says); sent < size;) {
        ssize_t n = send(fd, server->says + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += (size_t)n;
    }
    char byte;
    if (server->silent) (void)!recv(fd, &byte, 1, 0);
    (void)close(fd);
    return NULL;
}

static int listen_somewhere(char *url, size_t size) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(url, size, "http://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* Asks a server that says `says`; the client's result. */
static int ask(Server *server, const HttpClientRequest *more, HttpClientAnswer *ret_answer, Error *error) {
    server->listener = listen_somewhere(server->url, sizeof server->url);
    assert_int_equal(thread_start(&server->thread, "server", serve, server, NULL), 0);
    char url[128];
    (void)snprintf(url, sizeof url, "%s%s", server->url, more && more->url ? more->url : "/a");
    HttpClientRequest request = more ? *more : (HttpClientRequest){0};
    request.url = url;
    if (!request.method) request.method = "GET";
    if (!request.answer_bytes_max) request.answer_bytes_max = 1000;
    if (!request.silence_max) request.silence_max = 30 * USEC_SECOND;
    int r = http_client_call(&request, ret_answer, error);
    thread_join(&server->thread);
    (void)close(server->listener);
    return r;
}

static void an_answer_comes_with_status_and_body(void **state) {
    static const struct {
        const char *says;
        int status;
        const char *body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", 404, "{}"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, "abcde"},
        {"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end"},
        {"HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, ""}, /* not followed */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Server server = {.says = cases[i].says};
        HttpClientAnswer answer;
        Error error = {0};
        assert_int_equal(ask(&server, NULL, &answer, &error), 0);
        assert_int_equal(answer.status, cases[i].status);
        assert_string_equal(buffer_text(&answer.body), cases[i].body);
        http_client_answer_deinit(&answer);
        buffer_deinit(&server.heard);
    }
}

static void the_request_is_sent_as_given(void **state) {
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1); /* never used */
    Server server = {.says = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .body_expected = 7};
    const char *const headers[] = {"Authorization: Bearer abc", "Content-Type: application/json"};
    HttpClientRequest request = {
        .method = "PATCH", .url = "/v1/x?y=z", .headers = headers, .header_count = 2, .body = SPAN("{\"a\":1}"), .has_body = true};
    HttpClientAnswer answer;
    assert_int_equal(ask(&server, &request, &answer, NULL), 0);
    const char *heard = buffer_text(&server.heard);
    assert_ptr_equal(strstr(heard, "PATCH /v1/x?y=z HTTP/1.1\r\n"), heard);
    assert_non_null(strstr(heard, "\r\nAuthorization: Bearer abc\r\n"));
    assert_non_null(strstr(heard, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(heard, "\r\nContent-Length: 7\r\n"));
    assert_null(strstr(heard, "Expect"));
    assert_non_null(strstr(heard, "\r\n\r\n{\"a\":1}"));
    http_client_answer_deinit(&answer);
    buffer_deinit(&server.heard);
    (void)unsetenv("http_proxy");
}

static void failures_have_a_code_and_name_the_place(void **state) {
    static const struct {
        const char *says;
        bool silent;
        int code;
    } cases[] = {
        {"220 mail.example ESMTP\r\n", false, -EPROTO},
        {"", false, -EPROTO},                                                /* closed without a word */
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", false, -EIO}, /* ends early */
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", true, -ETIMEDOUT},
        {"", true, -ETIMEDOUT},
        {"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nelevenbytes", false, -EFBIG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Server server = {.says = cases[i].says, .silent = cases[i].silent};
        HttpClientRequest request = {.silence_max = USEC_SECOND, .answer_bytes_max = cases[i].code == -EFBIG ? 10 : 100};
        HttpClientAnswer answer;
        Error error = {0};
        assert_int_equal(ask(&server, &request, &answer, &error), cases[i].code);
        assert_int_equal(error.code, cases[i].code);
        assert_non_null(strstr(error.text, server.url + strlen("http://")));
        buffer_deinit(&server.heard);
    }
}

static void a_call_ends_at_its_time_and_when_it_is_given_up(void **state) {
    atomic_bool given_up = false;
    for (size_t i = 0; i < 2; i++) {
        Server server = {.says = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", .silent = true, .given_up = i ? &given_up : NULL};
        HttpClientRequest request = {.whole_max = i ? 0 : 300 * USEC_MS, .answer_bytes_max = 100, .given_up = &given_up};
        HttpClientAnswer answer;
        Error error = {0};
        usec_t start = clock_system()->boot(clock_system());
        assert_int_equal(ask(&server, &request, &answer, &error), i ? -ECANCELED : -ETIMEDOUT);
        assert_true(clock_system()->boot(clock_system()) - start < 20 * USEC_SECOND); /* silence_max is 30 s */
        assert_non_null(strstr(error.text, server.url + strlen("http://")));
        buffer_deinit(&server.heard);
    }
}

static void an_answer_of_exactly_the_limit_is_taken(void **state) {
    Server server = {.says = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nelevenbytes"};
    HttpClientRequest request = {.answer_bytes_max = 11};
    HttpClientAnswer answer;
    assert_int_equal(ask(&server, &request, &answer, NULL), 0);
    assert_string_equal(buffer_text(&answer.body), "elevenbytes");
    http_client_answer_deinit(&answer);
    buffer_deinit(&server.heard);
}

static void no_secret_of_a_url_is_in_an_error(void **state) {
    char url[64], with_password[128];
    int fd = listen_somewhere(url, sizeof url);
    (void)close(fd); /* now that port refuses */
    (void)snprintf(with_password, sizeof with_password, "http://user:hidden@%s/secret-path", url + strlen("http://"));
    HttpClientRequest request = {.method = "GET", .url = with_password, .answer_bytes_max = 10, .silence_max = USEC_SECOND};
    HttpClientAnswer answer;
    Error error = {0};
    assert_int_equal(http_client_call(&request, &answer, &error), -ECONNREFUSED);
    assert_null(strstr(error.text, "hidden"));
    assert_null(strstr(error.text, "secret-path"));

    static const char *const wrong[] = {"ftp://127.0.0.1/", "http://127.0.0.1:99999/", "http://", "file:///etc/passwd"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        request.url = wrong[i];
        assert_int_equal(http_client_call(&request, &answer, &error), -EINVAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_with_status_and_body),    cmocka_unit_test(the_request_is_sent_as_given),
        cmocka_unit_test(failures_have_a_code_and_name_the_place), cmocka_unit_test(an_answer_of_exactly_the_limit_is_taken),
        cmocka_unit_test(no_secret_of_a_url_is_in_an_error),       cmocka_unit_test(a_call_ends_at_its_time_and_when_it_is_given_up),
    };
    return cmocka_run_group_tests_name("http-client", tests, NULL, NULL);
}
