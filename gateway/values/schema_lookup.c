#include "gateway/values/schema_lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/http_client.h"
#include "base/text.h"
#include "base/thread.h"
#include "gateway/values/avro_form.h"
#include "gateway/values/avro_text.h"

enum {
    ANSWER_BYTES_MAX = 6 * AVRO_SCHEMA_BYTES_MAX + 65536, /* with each character escaped */
    PASSWORD_BYTES_MAX = 1024,
    NOT_FOUND = 40403, /* of the API: no schema of that number */
};
#define SILENCE_MAX (10 * USEC_SECOND)

typedef enum LookupStage { IDLE, WANTED, ANSWERED } LookupStage;

struct SchemaLookup {
    char *url, *user, *password_file; /* never change */
    Thread thread;
    atomic_bool closing;
    _Atomic LookupStage stage;
    uint32_t number;      /* set before WANTED */
    SchemaAnswer answer;  /* set before ANSWERED */
    pthread_mutex_t lock; /* changes of stage and closing */
    pthread_cond_t changed;
};

void schema_answer_deinit(SchemaAnswer *answer) {
    buffer_deinit(&answer->text);
}

/* Without the end of its line. */
static int read_password(const char *path, Buffer *password, Error *error) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(error, -errno, "the password file %s cannot be read: %s", path, strerrordesc_np(errno));
    char *to = buffer_reserve(password, PASSWORD_BYTES_MAX);
    ssize_t n = read(fd, to, PASSWORD_BYTES_MAX);
    if (n < 0) return error_set(error, -errno, "the password file %s cannot be read: %s", path, strerrordesc_np(errno));
    if (n == PASSWORD_BYTES_MAX) return error_set(error, -EINVAL, "the password file %s is too long for a password", path);
    while (n > 0 && (to[n - 1] == '\n' || to[n - 1] == '\r')) n--;
    password->size += (size_t)n;
    return 0;
}

static void wipe(Buffer *secret) {
    if (secret->data) explicit_bzero(secret->data, secret->capacity);
    buffer_deinit(secret);
}

/* The header of HTTP's Basic authentication (RFC 7617). */
static int put_login(const SchemaLookup *lookup, Buffer *header, Error *error) {
    Buffer pair = {0};
    buffer_append_text(&pair, lookup->user);
    buffer_append_byte(&pair, ':');
    (void)buffer_reserve(&pair, PASSWORD_BYTES_MAX); /* it does not move while a secret is in it */
    int r = lookup->password_file ? read_password(lookup->password_file, &pair, error) : 0;
    if (r == 0) {
        (void)buffer_reserve(header, 64 + pair.size * 2);
        buffer_append_text(header, "Authorization: Basic ");
        avro_put_base64(header, buffer_span(&pair));
    }
    wipe(&pair);
    return r;
}

static int status_failure(const SchemaLookup *lookup, int status, Error *error) {
    const char *hint = status == 401 || status == 403  ? ": the user or the password is wrong, or has no right to read schemas"
                       : status == 404                 ? ": the URL must be that of its Confluent API (of Apicurio: …/apis/ccompat/v7)"
                       : status >= 300 && status < 400 ? ": redirects are not followed"
                                                       : "";
    return error_set(error, -EIO, "%s answers %d%s", lookup->url, status, hint);
}

/* -EPROTO: it is not what the API answers. */
static int read_answer(const SchemaLookup *lookup, const HttpClientAnswer *http, SchemaAnswer *answer) {
    json_t *json = json_loadb(http->body.size ? http->body.data : "", http->body.size, JSON_ALLOW_NUL, NULL);
    int r = 0;
    if (http->status == 404 && json_integer_value(json_object_get(json, "error_code")) == NOT_FOUND) {
        answer->kind = SCHEMA_ANSWER_UNKNOWN;
    } else if (http->status != 200) {
        r = status_failure(lookup, http->status, &answer->error);
    } else {
        const json_t *schema = json_object_get(json, "schema"), *type = json_object_get(json, "schemaType");
        if (json_is_string(schema)) {
            answer->kind = SCHEMA_ANSWER_TEXT;
            buffer_append(&answer->text, json_string_value(schema), json_string_length(schema));
            (void)snprintf(answer->type, sizeof answer->type, "%s", json_is_string(type) ? json_string_value(type) : "AVRO");
            answer->has_references = json_array_size(json_object_get(json, "references")) > 0;
        } else {
            r = error_set(&answer->error, -EPROTO, "the answer of %s is not a schema: is it a schema registry?", lookup->url);
        }
    }
    json_decref(json);
    return r;
}

static int look_up(const SchemaLookup *lookup, SchemaAnswer *answer) {
    Buffer url = {0}, login = {0};
    buffer_printf(&url, "%s/schemas/ids/%u", lookup->url, answer->number);
    const char *headers[2] = {"Accept: application/vnd.schemaregistry.v1+json, application/json"};
    size_t header_count = 1;
    int r = 0;
    if (lookup->user) {
        r = put_login(lookup, &login, &answer->error);
        if (r == 0) headers[header_count++] = buffer_text(&login);
    }
    if (r == 0) {
        HttpClientRequest request = {
            .method = "GET",
            .url = buffer_text(&url),
            .headers = headers,
            .header_count = header_count,
            .silence_max = SILENCE_MAX,
            .whole_max = SCHEMA_LOOKUP_MAX,
            .answer_bytes_max = ANSWER_BYTES_MAX,
            .given_up = &lookup->closing,
        };
        HttpClientAnswer http;
        r = http_client_call(&request, &http, &answer->error);
        if (r == 0) {
            r = read_answer(lookup, &http, answer);
            http_client_answer_deinit(&http);
        } else if (r == -EFBIG) {
            answer->kind = SCHEMA_ANSWER_TOO_LONG;
            r = 0;
        }
    }
    wipe(&login);
    buffer_deinit(&url);
    return r;
}

static void *run(void *context) {
    SchemaLookup *lookup = context;
    check(pthread_mutex_lock(&lookup->lock) == 0);
    for (;;) {
        while (!lookup->closing && lookup->stage != WANTED) check(pthread_cond_wait(&lookup->changed, &lookup->lock) == 0);
        if (lookup->closing) break;
        check(pthread_mutex_unlock(&lookup->lock) == 0);
        SchemaAnswer answer = {.kind = SCHEMA_ANSWER_FAILED, .number = lookup->number};
        if (look_up(lookup, &answer) < 0) answer.kind = SCHEMA_ANSWER_FAILED;
        check(pthread_mutex_lock(&lookup->lock) == 0);
        lookup->answer = answer;
        lookup->stage = ANSWERED;
        check(pthread_cond_broadcast(&lookup->changed) == 0);
    }
    check(pthread_mutex_unlock(&lookup->lock) == 0);
    return NULL;
}

int schema_lookup_open(const char *url, const char *user, const char *password_file, SchemaLookup **ret_lookup, Error *error) {
    SchemaLookup *lookup = calloc(1, sizeof *lookup);
    check(lookup);
    lookup->url = text_copy(url);
    lookup->user = text_copy(user);
    lookup->password_file = text_copy(password_file);
    pthread_condattr_t attributes;
    check(pthread_condattr_init(&attributes) == 0);
    check(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    check(pthread_mutex_init(&lookup->lock, NULL) == 0 && pthread_cond_init(&lookup->changed, &attributes) == 0);
    check(pthread_condattr_destroy(&attributes) == 0);
    int r = thread_start(&lookup->thread, "schemas", run, lookup, error);
    if (r < 0) {
        lookup->closing = true;
        lookup->thread.run = NULL;
        schema_lookup_close(lookup);
        return r;
    }
    *ret_lookup = lookup;
    return 0;
}

void schema_lookup_close(SchemaLookup *lookup) {
    if (!lookup) return;
    check(pthread_mutex_lock(&lookup->lock) == 0);
    lookup->closing = true;
    check(pthread_cond_broadcast(&lookup->changed) == 0);
    check(pthread_mutex_unlock(&lookup->lock) == 0);
    if (lookup->thread.run) thread_join(&lookup->thread);
    check(pthread_mutex_destroy(&lookup->lock) == 0 && pthread_cond_destroy(&lookup->changed) == 0);
    if (lookup->stage == ANSWERED) schema_answer_deinit(&lookup->answer);
    free(lookup->url);
    free(lookup->user);
    free(lookup->password_file);
    free(lookup);
}

void schema_lookup_start(SchemaLookup *lookup, uint32_t number) {
    check(pthread_mutex_lock(&lookup->lock) == 0);
    check(lookup->stage == IDLE);
    lookup->number = number;
    lookup->stage = WANTED;
    check(pthread_cond_broadcast(&lookup->changed) == 0);
    check(pthread_mutex_unlock(&lookup->lock) == 0);
}

bool schema_lookup_is_busy(const SchemaLookup *lookup) {
    return lookup->stage != IDLE;
}

bool schema_lookup_take(SchemaLookup *lookup, SchemaAnswer *ret_answer) {
    /* Asked for each record: without the lock when there is nothing. */
    if (lookup->stage != ANSWERED) return false;
    *ret_answer = lookup->answer;
    lookup->answer = (SchemaAnswer){0};
    lookup->stage = IDLE;
    return true;
}

void schema_lookup_wait(SchemaLookup *lookup, usec_t most) {
    struct timespec deadline;
    check(clock_gettime(CLOCK_MONOTONIC, &deadline) == 0);
    deadline.tv_sec += most / USEC_SECOND;
    deadline.tv_nsec += most % USEC_SECOND * 1000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_nsec -= 1000000000;
        deadline.tv_sec++;
    }
    check(pthread_mutex_lock(&lookup->lock) == 0);
    int r = 0;
    while (r == 0 && lookup->stage == WANTED) r = pthread_cond_timedwait(&lookup->changed, &lookup->lock, &deadline);
    check(r == 0 || r == ETIMEDOUT);
    check(pthread_mutex_unlock(&lookup->lock) == 0);
}
