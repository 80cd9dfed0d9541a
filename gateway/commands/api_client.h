/* A blocking client of the management API, for the commands, on base/http_client.h. Any thread. */
#pragma once

#include <jansson.h>

#include "base/error.h"

typedef struct ApiClient {
    char *url;   /* "http://127.0.0.1:7001"; owned */
    char *token; /* owned; sent as Authorization: Bearer */
} ApiClient;

/* `url`: http:// or https://, "127.0.0.1:7001" is http; NULL: SLUICE_ADMIN, else
 * http://127.0.0.1:7001. `token_file`: NULL: SLUICE_TOKEN (the token itself), or admin.token in
 * `data`, whose NULL is SLUICE_DATA, else ./data. */
int api_client_init(ApiClient *client, const char *url, const char *token_file, const char *data, Error *error);
void api_client_deinit(ApiClient *client);

/* Sends `body` (borrowed, NULL for none) and reads the JSON answer (new reference; NULL when it has
 * none). `wait_seconds` > 0 adds Prefer: wait. 0 when an answer came, whatever its status. */
int api_client_call(const ApiClient *client, const char *method, const char *path, const json_t *body, unsigned wait_seconds,
                    int *ret_status, json_t **ret_answer, Error *error);
/* As above, and an answer that is not 2xx is an error with its message (-ENOENT for 404, -EACCES
 * 401 and 403, -EEXIST 409, -EINVAL 400 and 422). A started task is waited for until it ends; its
 * error is an error. */
int api_client_expect(const ApiClient *client, const char *method, const char *path, const json_t *body, json_t **ret_answer, Error *error);
/* All pages of a list as one answer: {KEY: […], "page": that of the whole}. `id`: the field by
 * which it is paged. */
int api_client_list(const ApiClient *client, const char *path, const char *key, const char *id, json_t **ret_answer, Error *error);
