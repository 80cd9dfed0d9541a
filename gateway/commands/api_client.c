#include "gateway/commands/api_client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/http_client.h"
#include "gateway/commands/screen.h"

#define ANSWER_BYTES_MAX (64u << 20)
#define SILENCE_MAX (90 * USEC_SECOND) /* longer than any Prefer: wait that is sent */
#define TASK_WAIT_SECONDS 30
#define TASK_ROUNDS_MAX 120

/* -ENOENT: there is no such file, or no such folder. */
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
    if (r < 0) return error_prefix(error, "the token file %s", path), r;
    size_t size;
    r = files_read_all(files, name, 4096, ret_token, &size, error);
    files_free(files);
    if (r < 0) return error_prefix(error, "the token file %s", path), r;
    if (files_open_to_others(path))
        (void)fprintf(stderr, "sluice: warning: the token file %s can be read by other users: make it private with chmod go=\n", path);
    while (size > 0 && isspace((unsigned char)(*ret_token)[size - 1])) (*ret_token)[--size] = '\0';
    return 0;
}

/* Gives "http://HOST:PORT" without a slash at the end; a URL without scheme is http. */
static int base_url(const char *url, char **ret_url, Error *error) {
    bool schemed = strstr(url, "://") != NULL;
    size_t size = strlen(url);
    while (size > 0 && url[size - 1] == '/') size--;
    if (size == 0 || url[0] == ':' || strpbrk(url, " \r\n\t"))
        return error_set(error, -EINVAL, "%s is not an admin URL such as http://127.0.0.1:7001 (--admin URL or SLUICE_ADMIN)", url);
    check(asprintf(ret_url, "%s%.*s", schemed ? "" : "http://", (int)size, url) > 0);
    return 0;
}

/* The token of the gateway whose data directory is `data`. */
static int read_token_of(const char *data, char **ret_token, Error *error) {
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, "%s/admin.token", data) > 0);
    int r = read_token(path, ret_token, error);
    if (r == -ENOENT)
        return error_set(error, r, "no token: give --token-file, SLUICE_TOKEN, or --data DIR of the gateway (there is no %s)", path);
    return r;
}

int api_client_init(ApiClient *client, const char *url, const char *token_file, const char *data, Error *error) {
    *client = (ApiClient){0};
    if (!url) url = getenv("SLUICE_ADMIN");
    if (!url || !url[0]) url = "http://127.0.0.1:7001";
    int r = base_url(url, &client->url, error);
    if (r < 0) return r;

    const char *token = getenv("SLUICE_TOKEN");
    if (!data) data = getenv("SLUICE_DATA");
    if (token_file) {
        r = read_token(token_file, &client->token, error);
    } else if (token) {
        client->token = strdup(token);
        check(client->token);
    } else {
        r = read_token_of(data && data[0] ? data : "./data", &client->token, error);
    }
    if (r < 0) {
        api_client_deinit(client);
        return r;
    }
    for (const char *c = client->token; *c; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f) {
            api_client_deinit(client);
            return error_set(error, -EINVAL, "the token has a character that is not allowed in tokens");
        }
    }
    return 0;
}

void api_client_deinit(ApiClient *client) {
    free(client->url);
    free(client->token);
    *client = (ApiClient){0};
}

int api_client_call(const ApiClient *client, const char *method, const char *path, const json_t *body, unsigned wait_seconds,
                    int *ret_status, json_t **ret_answer, Error *error) {
    _cleanup_free_ char *document = body ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    _cleanup_free_ char *url = NULL, *token = NULL;
    char wait[40];
    check(asprintf(&url, "%s%s", client->url, path) > 0 && asprintf(&token, "Authorization: Bearer %s", client->token) > 0);
    const char *headers[3] = {token};
    size_t header_count = 1;
    if (wait_seconds > 0) {
        (void)snprintf(wait, sizeof wait, "Prefer: wait=%u", wait_seconds);
        headers[header_count++] = wait;
    }
    if (document) headers[header_count++] = "Content-Type: application/json";
    HttpClientRequest request = {
        .method = method,
        .url = url,
        .headers = headers,
        .header_count = header_count,
        .body = span_of(document),
        .has_body = strcmp(method, "GET") != 0,
        .silence_max = SILENCE_MAX,
        .answer_bytes_max = ANSWER_BYTES_MAX,
    };
    HttpClientAnswer answer;
    int r = http_client_call(&request, &answer, error);
    if (r == -ECONNREFUSED || r == -EHOSTUNREACH)
        return error_prefix(error, "no gateway answers at %s (--admin URL or SLUICE_ADMIN name another address)", client->url);
    if (r == -EPROTO || r == -EIO)
        return error_prefix(error, "is %s the admin address (--admin URL or SLUICE_ADMIN name another one)?", client->url);
    if (r < 0) return error_prefix(error, "the admin URL %s (--admin URL or SLUICE_ADMIN)", client->url);
    json_error_t place;
    *ret_status = answer.status;
    *ret_answer = answer.body.size > 0 ? json_loadb(answer.body.data, answer.body.size, JSON_DECODE_ANY, &place) : NULL;
    http_client_answer_deinit(&answer);
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

/* What an answer that is not 2xx, or not from a management API, says. */
static int refused(const ApiClient *client, int status, const json_t *answer, Error *error) {
    const char *message = screen_text(answer, "message"), *name = screen_text(answer, "error");
    bool is_intake = status == 404 && strncmp(name, "stream.in.", 10) == 0;
    if (is_intake || strncmp(name, "stream.", 7) != 0)
        return error_set(error, -EPROTO, "there is no management API at %s (HTTP %d): --admin URL or SLUICE_ADMIN name another address",
                         client->url, status);
    if (status == 401)
        return error_set(error, -EACCES,
                         "the gateway at %s does not know the token (HTTP 401): --token-file FILE, SLUICE_TOKEN or --data DIR name another "
                         "token, --admin URL or SLUICE_ADMIN another gateway",
                         client->url);
    return error_set(error, status_code(status), "%s%s(HTTP %d)", message, message[0] ? " " : "", status);
}

int api_client_expect(const ApiClient *client, const char *method, const char *path, const json_t *body, json_t **ret_answer,
                      Error *error) {
    json_t *answer = NULL;
    int status;
    int r = api_client_call(client, method, path, body, TASK_WAIT_SECONDS, &status, &answer, error);
    for (int round = 0; r == 0; round++) {
        if (status < 200 || status > 299 || (!answer && strcmp(method, "GET") == 0)) {
            r = refused(client, status, answer, error);
            break;
        }
        const json_t *finished = json_object_get(answer, "isFinished");
        if (!finished) break;
        if (json_is_true(finished)) {
            if (strcmp(screen_text(answer, "status"), "error") == 0) r = error_set(error, -EINVAL, "%s", screen_text(answer, "error"));
            break;
        }
        if (round == TASK_ROUNDS_MAX) {
            r = error_set(error, -ETIMEDOUT, "the task %s is still running; check it later", screen_text(answer, "taskId"));
            break;
        }
        _cleanup_free_ char *task = NULL;
        check(asprintf(&task, "/v1/tasks/%s", screen_text(answer, "taskId")) > 0);
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

int api_client_list(const ApiClient *client, const char *path, const char *key, const char *id, json_t **ret_answer, Error *error) {
    json_t *all = NULL, *answer = NULL;
    _cleanup_free_ char *page_path = NULL;
    check(asprintf(&page_path, "%s?limit=100", path) > 0);
    for (;;) {
        int r = api_client_expect(client, "GET", page_path, NULL, &answer, error);
        if (r < 0) {
            json_decref(all);
            return r;
        }
        json_t *items = json_object_get(answer, key);
        bool more = json_array_size(items) > 0;
        if (more) {
            const char *last = screen_text(json_object_get(answer, "page"), "lastId");
            free(page_path);
            page_path = NULL;
            check(asprintf(&page_path, "%s?limit=100&afterId=%s", path, last) > 0);
            more = *last;
        }
        if (!all) {
            all = json_incref(answer);
        } else {
            check(json_array_extend(json_object_get(all, key), items) == 0);
        }
        json_decref(answer);
        size_t total = (size_t)json_integer_value(json_object_get(json_object_get(all, "page"), "totalCount"));
        if (!more || json_array_size(json_object_get(all, key)) >= total) break;
    }
    const json_t *items = json_object_get(all, key);
    json_t *page = json_object_get(all, "page"), *last = json_object_get(json_array_get(items, json_array_size(items) - 1), id);
    if (page) check(json_object_set_new(page, "limit", json_integer((json_int_t)json_array_size(items))) == 0);
    if (page && last) check(json_object_set(page, "lastId", last) == 0);
    *ret_answer = all;
    return 0;
}
