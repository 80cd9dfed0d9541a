#include "gateway/commands/api_client.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/files.h"

#define ANSWER_BYTES_MOST (64u << 20)
#define SILENCE_MOST_MS 90000 /* longer than any Prefer: wait that is sent */
#define TASK_WAIT_SECONDS 30
#define TASK_ROUNDS_MOST 120

static int read_token(const char *path, char **ret_token, Error *error) {
    _cleanup_free_ char *folder = strdup(path);
    check(folder);
    const char *name = path;
    char *slash = strrchr(folder, '/');
    if (slash) {
        *slash = '\0';
        name = path + (slash - folder) + 1;
    }
    Files *files;
    int r = files_open(slash ? (folder[0] ? folder : "/") : ".", &files, error);
    if (r < 0) return r;
    size_t size;
    r = files_read_all(files, name, 4096, ret_token, &size, error);
    files_free(files);
    if (r < 0) return error_prefix(error, "the token file %s", path), r;
    while (size > 0 && isspace((unsigned char)(*ret_token)[size - 1])) (*ret_token)[--size] = '\0';
    return 0;
}

int api_client_init(ApiClient *client, const char *url, const char *token_file, const char *data, Error *error) {
    *client = (ApiClient){0};
    if (!url) url = getenv("SLUICE_ADMIN");
    if (!url || !url[0]) url = "http://127.0.0.1:7001";
    if (strncmp(url, "https://", 8) == 0) return error_set(error, -EINVAL, "%s: the commands speak http:// only", url);
    const char *at = strncmp(url, "http://", 7) == 0 ? url + 7 : url;
    size_t size = strcspn(at, "/");
    const char *colon = NULL;
    for (size_t i = 0; i < size; i++)
        if (at[i] == ':' && (at[0] != '[' || (i > 0 && at[i - 1] == ']'))) colon = at + i;
    size_t host_size = colon ? (size_t)(colon - at) : size;
    if (host_size == 0 || (colon && (size_t)(at + size - colon) < 2))
        return error_set(error, -EINVAL, "%s is not an admin URL such as http://127.0.0.1:7001", url);
    bool bracketed = at[0] == '[' && at[host_size - 1] == ']';
    client->host = bracketed ? strndup(at + 1, host_size - 2) : strndup(at, host_size);
    client->port = colon ? strndup(colon + 1, (size_t)(at + size - colon - 1)) : strdup("80");
    check(client->host && client->port);

    const char *token = token_file ? NULL : getenv("SLUICE_TOKEN");
    if (token) {
        client->token = strdup(token);
        check(client->token);
    } else {
        _cleanup_free_ char *path = NULL;
        if (!token_file) {
            check(asprintf(&path, "%s/admin.token", data ? data : "./data") > 0);
            token_file = path;
        }
        int r = read_token(token_file, &client->token, error);
        if (r < 0) {
            api_client_deinit(client);
            return r;
        }
    }
    for (const char *c = client->token; *c; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f) {
            api_client_deinit(client);
            return error_set(error, -EINVAL, "the token holds a character that no token has");
        }
    }
    return 0;
}

void api_client_deinit(ApiClient *client) {
    free(client->host);
    free(client->port);
    free(client->token);
    *client = (ApiClient){0};
}

static int open_connection(const ApiClient *client, Error *error) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int r = getaddrinfo(client->host, client->port, &hints, &found);
    if (r != 0) return error_set(error, -EHOSTUNREACH, "%s:%s: %s", client->host, client->port, gai_strerror(r));
    int fd = -1, last = ECONNREFUSED;
    for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            last = errno;
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd < 0) return error_set(error, -last, "no gateway answers on %s:%s: %s", client->host, client->port, strerrordesc_np(last));
    return fd;
}

static int send_all(int fd, Span bytes, Error *error) {
    while (bytes.size > 0) {
        ssize_t n = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(error, -errno, "the gateway closed the connection: %s", strerrordesc_np(errno));
        bytes.data += n;
        bytes.size -= (size_t)n;
    }
    return 0;
}

static int receive_all(int fd, Buffer *answer, Error *error) {
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int r = poll(&wait, 1, SILENCE_MOST_MS);
        if (r < 0 && errno == EINTR) continue;
        if (r == 0) return error_set(error, -ETIMEDOUT, "the gateway did not answer within %d s", SILENCE_MOST_MS / 1000);
        ssize_t n = recv(fd, buffer_reserve(answer, 65536), 65536, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(error, -errno, "the answer ended early: %s", strerrordesc_np(errno));
        if (n == 0) return 0;
        answer->size += (size_t)n;
        if (answer->size > ANSWER_BYTES_MOST) return error_set(error, -EFBIG, "the answer is longer than %u bytes", ANSWER_BYTES_MOST);
    }
}

int api_client_call(const ApiClient *client, const char *method, const char *path, const json_t *body, unsigned wait_seconds,
                    int *ret_status, json_t **ret_answer, Error *error) {
    _cleanup_close_ int fd = open_connection(client, error);
    if (fd < 0) return fd;

    _cleanup_(buffer_deinit) Buffer text = {0};
    _cleanup_free_ char *document = body ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    buffer_printf(&text, "%s %s HTTP/1.0\r\nHost: %s:%s\r\nAuthorization: Bearer %s\r\n", method, path, client->host, client->port,
                  client->token);
    if (wait_seconds > 0) buffer_printf(&text, "Prefer: wait=%u\r\n", wait_seconds);
    if (document) buffer_printf(&text, "Content-Type: application/json\r\n");
    buffer_printf(&text, "Content-Length: %zu\r\n\r\n", document ? strlen(document) : 0);
    if (document) buffer_append_text(&text, document);
    int r = send_all(fd, buffer_span(&text), error);
    if (r < 0) return r;

    buffer_clear(&text);
    r = receive_all(fd, &text, error);
    if (r < 0) return r;
    const char *answer = buffer_text(&text);
    const char *end = strstr(answer, "\r\n\r\n");
    if (!end || sscanf(answer, "HTTP/1.%*1[01] %3d", ret_status) != 1)
        return error_set(error, -EPROTO, "%s:%s does not answer in HTTP: is it the admin address?", client->host, client->port);
    json_error_t place;
    *ret_answer = end[4] ? json_loads(end + 4, JSON_DECODE_ANY, &place) : NULL;
    return 0;
}

static int status_code(int status) {
    switch (status) {
    case 401:
    case 403: return -EACCES;
    case 404: return -ENOENT;
    case 409: return -EEXIST;
    case 400:
    case 422: return -EINVAL;
    case 503: return -EAGAIN;
    default: return -EPROTO;
    }
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

int api_client_expect(const ApiClient *client, const char *method, const char *path, const json_t *body, json_t **ret_answer,
                      Error *error) {
    json_t *answer = NULL;
    int status;
    int r = api_client_call(client, method, path, body, TASK_WAIT_SECONDS, &status, &answer, error);
    for (int round = 0; r == 0; round++) {
        if (status < 200 || status > 299) {
            const char *message = text_of(answer, "message");
            r = error_set(error, status_code(status), "%s%s(HTTP %d)", message, message[0] ? " " : "", status);
            break;
        }
        const json_t *finished = json_object_get(answer, "isFinished");
        if (!finished) break;
        if (json_is_true(finished)) {
            if (strcmp(text_of(answer, "status"), "error") == 0) r = error_set(error, -EINVAL, "%s", text_of(answer, "error"));
            break;
        }
        if (round == TASK_ROUNDS_MOST) {
            r = error_set(error, -ETIMEDOUT, "the task %s goes on; look at it later", text_of(answer, "taskId"));
            break;
        }
        _cleanup_free_ char *task = NULL;
        check(asprintf(&task, "/v1/tasks/%s", text_of(answer, "taskId")) > 0);
        json_decref(answer);
        answer = NULL;
        r = api_client_call(client, "GET", task, NULL, TASK_WAIT_SECONDS, &status, &answer, error);
    }
    if (r == 0 && ret_answer) {
        *ret_answer = answer;
        return 0;
    }
    json_decref(answer);
    return r;
}
