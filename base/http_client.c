#include "base/http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define CONNECT_MAX_MS 10000L

typedef struct Receiver {
    Buffer *body;
    size_t most;
    bool too_long;
} Receiver;

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* libcurl's own memory lives as long as the process: freed behind the last call, so that leak
 * checkers see nothing. */
static void set_up(void) {
    check(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    (void)atexit(curl_global_cleanup);
}

static size_t receive(char *data, size_t one, size_t size, void *context) {
    Receiver *receiver = context;
    check(one == 1);
    if (size > receiver->most - receiver->body->size) {
        receiver->too_long = true;
        return 0;
    }
    buffer_append(receiver->body, data, size);
    return size;
}

/* libcurl asks about once a second, and whenever something moves. */
static int is_given_up(void *context, curl_off_t to_receive, curl_off_t received, curl_off_t to_send, curl_off_t sent) {
    return atomic_load((const atomic_bool *)context);
}

static int code_of(CURLcode code) {
    switch (code) {
    case CURLE_URL_MALFORMAT: return -EINVAL;
    case CURLE_COULDNT_RESOLVE_HOST: return -EHOSTUNREACH;
    case CURLE_COULDNT_CONNECT: return -ECONNREFUSED;
    case CURLE_OPERATION_TIMEDOUT: return -ETIMEDOUT;
    case CURLE_ABORTED_BY_CALLBACK: return -ECANCELED;
    case CURLE_PEER_FAILED_VERIFICATION: return -EACCES;
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9: an answer without a status line */
    case CURLE_GOT_NOTHING:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_SSL_CONNECT_ERROR: return -EPROTO;
    default: return -EIO;
    }
}

/* "host:port" of the URL, for messages: never its user and password. */
static void place_of(const char *url, char *text, size_t size) {
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    check(parts);
    if (curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        (void)snprintf(text, size, "%s:%s", host, port);
    } else {
        (void)snprintf(text, size, "the URL");
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
}

static void set_request(CURL *curl, const HttpClientRequest *request, struct curl_slist *headers, Receiver *receiver, char *says) {
    long silence = (long)((request->silence_max + USEC_SECOND - 1) / USEC_SECOND);
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MAX_MS},
        {CURLOPT_LOW_SPEED_LIMIT, 1},
        {CURLOPT_LOW_SPEED_TIME, silence < 1 ? 1 : silence},
        {CURLOPT_FORBID_REUSE, 1},
        {CURLOPT_TIMEOUT_MS, (long)((request->whole_max + USEC_MS - 1) / USEC_MS)},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        check(curl_easy_setopt(curl, numbers[i].option, numbers[i].value) == CURLE_OK);
    const struct {
        CURLoption option;
        const void *value;
    } pointers[] = {
        {CURLOPT_URL, request->url},           {CURLOPT_CUSTOMREQUEST, request->method},
        {CURLOPT_PROTOCOLS_STR, "http,https"}, {CURLOPT_PROXY, ""},
        {CURLOPT_HTTPHEADER, headers},         {CURLOPT_ERRORBUFFER, says},
        {CURLOPT_WRITEDATA, receiver},
    };
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
        check(curl_easy_setopt(curl, pointers[i].option, pointers[i].value) == CURLE_OK);
    check(curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive) == CURLE_OK);
    if (request->given_up) {
        check(curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_given_up) == CURLE_OK);
        check(curl_easy_setopt(curl, CURLOPT_XFERINFODATA, request->given_up) == CURLE_OK);
        check(curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK);
    }
    if (strcmp(request->method, "HEAD") == 0) check(curl_easy_setopt(curl, CURLOPT_NOBODY, 1L) == CURLE_OK);
    if (!request->has_body) return;
    check(curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size) == CURLE_OK);
    check(curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.size > 0 ? request->body.data : "") == CURLE_OK);
}

/* OpenSSL writes without MSG_NOSIGNAL: a peer that goes away must not end the process. The signal
 * is kept back for this thread, and taken if it came. */
static CURLcode perform(CURL *curl) {
    sigset_t pipe, before, pending;
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, &before);
    (void)sigpending(&pending);
    bool had = sigismember(&pending, SIGPIPE) == 1;
    CURLcode code = curl_easy_perform(curl);
    if (!had) (void)sigtimedwait(&pipe, NULL, &(struct timespec){0});
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

int http_client_call(const HttpClientRequest *request, HttpClientAnswer *ret_answer, Error *error) {
    check(request->method && request->url && request->answer_bytes_max > 0);
    if (strncasecmp(request->url, "http://", 7) != 0 && strncasecmp(request->url, "https://", 8) != 0)
        return error_set(error, -EINVAL, "a URL begins with http:// or https://");
    check(pthread_once(&once, set_up) == 0);
    CURL *curl = curl_easy_init();
    check(curl);
    struct curl_slist *headers = NULL;
    for (size_t i = 0; i < request->header_count; i++) {
        check(!strpbrk(request->headers[i], "\r\n"));
        headers = curl_slist_append(headers, request->headers[i]);
        check(headers);
    }
    /* Else libcurl names a form's content type, and waits a second for a 100. */
    headers = curl_slist_append(headers, "Expect:");
    check(headers);

    HttpClientAnswer answer = {0};
    Receiver receiver = {.body = &answer.body, .most = request->answer_bytes_max};
    char says[CURL_ERROR_SIZE] = "";
    set_request(curl, request, headers, &receiver, says);
    CURLcode code = perform(curl);
    long status = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);

    char place[300];
    int r = 0;
    if (code != CURLE_OK || status == 0) place_of(request->url, place, sizeof place);
    if (receiver.too_long) {
        r = error_set(error, -EFBIG, "%s: the answer is longer than %zu bytes", place, request->answer_bytes_max);
    } else if (code != CURLE_OK) {
        r = error_set(error, code_of(code), "%s: %s", place, says[0] ? says : curl_easy_strerror(code));
    } else if (status == 0) {
        r = error_set(error, -EPROTO, "%s does not answer in HTTP", place);
    }
    if (r < 0) {
        http_client_answer_deinit(&answer);
        return r;
    }
    answer.status = (int)status;
    *ret_answer = answer;
    return 0;
}

void http_client_answer_deinit(HttpClientAnswer *answer) {
    buffer_deinit(&answer->body);
}
