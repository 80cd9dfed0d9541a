#include "tests/unit/gateway/intake/fake_gateway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

/* ---- sources --------------------------------------------------------------------------------- */

static json_t *json_of(const char *text) {
    json_error_t why;
    json_t *value = json_loads(text, 0, &why);
    if (!value) {
        fprintf(stderr, "%s: %s\n", text, why.text);
        abort();
    }
    return value;
}

static void must(int result, const Error *error) {
    if (result == 0) return;
    fprintf(stderr, "%s:%d: %s\n", error->file, error->line, error->text);
    abort();
}

static SnapshotSource *make_source(FakeGateway *gateway, const FakeSource *fake, uint32_t *number) {
    Error error = {0};
    Source *source = NULL;
    json_t *json = json_of(fake->source);
    if (!json_object_get(json, "secret")) json_object_set_new(json, "secret", json_string(FAKE_SECRET));
    must(source_from_request(json, &source, &error), &error);
    json_decref(json);
    source->disabled = fake->disabled;
    Sink *sinks[4] = {0};
    SinkGate *gates[4] = {0};
    bool waits[4];
    size_t count = 0;
    for (; count < 4 && fake->sinks[count]; count++) {
        json = json_of(fake->sinks[count]);
        must(sink_from_request(json, count == 0 && source_first_sink_rejects(source), &sinks[count], &error), &error);
        json_decref(json);
        sinks[count]->number = ++*number;
        sinks[count]->mapping_version = 1;
        check(*number < FAKE_SINKS);
        if (!gateway->gates[*number]) gateway->gates[*number] = sink_gate_new();
        gates[count] = gateway->gates[*number];
        waits[count] = !fake->no_wait;
    }
    Plan *plan = NULL;
    if (count) must(plan_compile(source, sinks, count, &plan, &error), &error);
    SnapshotSource *made = snapshot_source_new(source, plan, gates, waits, &fake->skipped, fake->skipped ? 1 : 0, NULL);
    if (plan) plan_unref(plan);
    for (size_t i = 0; i < count; i++) sink_unref(sinks[i]);
    source_unref(source);
    return made;
}

Snapshot *fake_snapshot(FakeGateway *gateway, const FakeSource *sources, uint64_t generation) {
    SnapshotSource *made[FAKE_SINKS] = {0};
    size_t count = 0;
    uint32_t number = 0;
    for (; sources[count].source; count++) made[count] = make_source(gateway, &sources[count], &number);
    Snapshot *snapshot = snapshot_new(generation, made, count, gateway->control);
    for (size_t i = 0; i < count; i++) snapshot_source_unref(made[i]);
    return snapshot;
}

/* ---- writer ---------------------------------------------------------------------------------- */

static void text_of(char *out, size_t size, Span span) {
    size_t used = span.size < size - 1 ? span.size : size - 1;
    if (used) memcpy(out, span.data, used);
    out[used] = 0;
}

static void keep(FakeGateway *gateway, const Append *append) {
    for (size_t i = 0; i < append->sink_count; i++) {
        const AppendSink *sink = &append->sinks[i];
        size_t end = 0;
        check(sink->sink > 0 && sink->sink < FAKE_SINKS && sink->piece_count > 0);
        check(sink->first_time > 0 && sink->first_time <= sink->last_time);
        for (size_t p = 0; p < sink->piece_count; p++) {
            check(sink->pieces[p].offset == end && sink->pieces[p].rows > 0);
            check(sink->pieces[p].bytes <= (1u << 20) || sink->pieces[p].rows == 1);
            end += sink->pieces[p].bytes;
            check(sink->rows.data[end - 1] == '\n');
        }
        check(end == sink->rows.size);
        gateway->pieces += sink->piece_count;
        if (gateway->keep_rows) buffer_append_span(&gateway->rows[sink->sink], buffer_span(&sink->rows));
    }
    for (size_t i = 0; i < append->skip_count; i++) gateway->skipped[append->skips[i].sink] += append->skips[i].events;
    for (size_t i = 0; i < append->reject_count && gateway->reject_count < 64; i++) {
        FakeReject *reject = &gateway->rejects[gateway->reject_count++];
        reject->sink = append->rejects[i].sink;
        text_of(reject->column, sizeof reject->column, append->rejects[i].column);
        text_of(reject->reason, sizeof reject->reason, append->rejects[i].reason);
        text_of(reject->body, sizeof reject->body, append->rejects[i].body);
        reject->body_bytes = append->rejects[i].body.size;
        text_of(reject->content_type, sizeof reject->content_type, append->rejects[i].content_type);
    }
}

static void *run_writer(void *context) {
    FakeGateway *gateway = context;
    Message *held = NULL, **tail = &held;
    while (!atomic_load(&gateway->stop)) {
        (void)mailbox_wait(gateway->writer, 5 * USEC_MS);
        for (*tail = mailbox_take(gateway->writer); *tail; tail = &(*tail)->next) continue;
        if (atomic_load(&gateway->hold)) continue;
        pthread_mutex_lock(&gateway->mutex);
        for (Message *message = held, *next; message; message = next) {
            next = message->next;
            message->next = NULL;
            check(message->kind == MESSAGE_APPEND);
            Append *append = (Append *)message;
            append->result = gateway->result;
            gateway->appends++;
            if (append->result == APPEND_DONE) keep(gateway, append);
            mailbox_post(append->reply, message);
        }
        pthread_mutex_unlock(&gateway->mutex);
        held = NULL;
        tail = &held;
    }
    return NULL;
}

char *fake_rows(FakeGateway *gateway, uint32_t sink) {
    pthread_mutex_lock(&gateway->mutex);
    char *copy = strndup(gateway->rows[sink].data ? gateway->rows[sink].data : "", gateway->rows[sink].size);
    pthread_mutex_unlock(&gateway->mutex);
    check(copy);
    return copy;
}

/* ---- templates: the broker's three functions that the intake uses ---------------------------- */

TemplateBatch *template_batch_new(Plan *take_plan, size_t count, Mailbox *reply, int reply_kind) {
    TemplateBatch *batch = calloc(1, sizeof *batch);
    check(batch);
    batch->plan = take_plan;
    batch->request.reply = reply;
    batch->reply_kind = reply_kind;
    batch->count = count;
    batch->events = arena_zalloc(&batch->arena, count * sizeof *batch->events);
    for (size_t i = 0; i < count; i++)
        batch->events[i].results = arena_zalloc(&batch->arena, plan_template_count(take_plan) * sizeof(TemplateResult));
    return batch;
}

void template_batch_free(TemplateBatch *batch) {
    if (!batch) return;
    plan_unref(batch->plan);
    arena_deinit(&batch->arena);
    free(batch);
}

static void evaluate(TemplateBatch *batch) {
    size_t templates = plan_template_count(batch->plan);
    for (size_t i = 0; i < batch->count * templates; i++) {
        TemplateEvent *event = &batch->events[i / templates];
        bool fail = memmem(event->event.body.data, event->event.body.size, "fail", 4) != NULL;
        char *text = arena_alloc(&batch->arena, event->event.body.size + 16);
        int size = fail ? sprintf(text, "it was asked to")
                        : sprintf(text, "\"result of %.*s\"", (int)event->event.body.size, event->event.body.data);
        event->unavailable = memmem(event->event.body.data, event->event.body.size, "gone", 4) != NULL;
        fail = fail || event->unavailable;
        event->results[i % templates] = (TemplateResult){.failed = fail, .text = {text, (size_t)size}};
    }
    batch->request.message.kind = batch->reply_kind;
    request_answer(&batch->request);
}

void templates_post(Templates *templates, TemplateBatch *take_batch) {
    FakeGateway *gateway = (FakeGateway *)templates;
    pthread_mutex_lock(&gateway->mutex);
    gateway->batches_seen++;
    bool hold = gateway->hold_templates;
    if (hold) {
        check(gateway->batch_count < 16);
        gateway->batches[gateway->batch_count++] = take_batch;
    }
    pthread_mutex_unlock(&gateway->mutex);
    if (!hold) evaluate(take_batch);
}

void fake_templates_release(FakeGateway *gateway) {
    pthread_mutex_lock(&gateway->mutex);
    gateway->hold_templates = false;
    while (gateway->batch_count) evaluate(gateway->batches[--gateway->batch_count]);
    pthread_mutex_unlock(&gateway->mutex);
}

/* ---- start and stop -------------------------------------------------------------------------- */

IntakeOptions fake_options(void) {
    return (IntakeOptions){
        .project = 1,
        .limits = {.event_bytes = 1 << 20, .body_bytes = 8 << 20, .row_bytes = 3 << 19, .request_rows_bytes = 256 << 20},
        .http = {.keep_alive_idle = 75 * USEC_SECOND,
                 .head_timeout = 10 * USEC_SECOND,
                 .body_timeout = 30 * USEC_SECOND,
                 .body_longest = 75 * USEC_SECOND,
                 .write_timeout = 30 * USEC_SECOND,
                 .body_rate_min = 1024,
                 .body_bytes = 8 << 20,
                 .header_bytes = 16 << 10,
                 .connections_an_address = 1000},
        .clock = clock_system(),
    };
}

void fake_start(FakeGateway *gateway, const FakeSource *sources, const IntakeOptions *options, size_t loops) {
    Error error = {0};
    gateway->usage.in_flight_limit = gateway->usage.in_flight_limit ? gateway->usage.in_flight_limit : 64 << 20;
    gateway->usage.unfinished_limit = gateway->usage.unfinished_limit ? gateway->usage.unfinished_limit : 256 << 20;
    gateway->usage.connections_limit = gateway->usage.connections_limit ? gateway->usage.connections_limit : 10000;
    gateway->keep_rows = true;
    pthread_mutex_init(&gateway->mutex, NULL);
    gateway->writer = mailbox_new(NULL, NULL);
    gateway->control = mailbox_new(NULL, NULL);
    gateway->snapshot = fake_snapshot(gateway, sources, 1);
    check(pthread_create(&gateway->writer_thread, NULL, run_writer, gateway) == 0);
    must(http_bind("127.0.0.1:0", &gateway->listener, &error), &error);
    char *address = http_listener_address(&gateway->listener);
    gateway->port = (unsigned)atoi(strrchr(address, ':') + 1);
    free(address);
    IntakeOptions own = *options;
    own.usage = &gateway->usage;
    own.writer = gateway->writer;
    own.control = gateway->control;
    own.snapshot = gateway->snapshot;
    own.templates = (Templates *)gateway;
    for (size_t i = 0; i < loops; i++) {
        own.index = (int)i;
        must(intake_start(&own, &gateway->listener, &gateway->intakes[i], &error), &error);
    }
    gateway->intake_count = loops;
}

void fake_stop(FakeGateway *gateway) {
    for (size_t i = 0; i < gateway->intake_count; i++) intake_stop(gateway->intakes[i]);
    atomic_store(&gateway->stop, true);
    pthread_join(gateway->writer_thread, NULL);
    http_listener_deinit(&gateway->listener);
    snapshot_unref(gateway->snapshot);
    for (Message *message = mailbox_take(gateway->control), *next; message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_SNAPSHOT_GONE)
            snapshot_gone_free((SnapshotGone *)message);
        else
            free(message);
    }
    mailbox_free(gateway->control);
    mailbox_free(gateway->writer);
    for (size_t i = 0; i < FAKE_SINKS; i++) {
        buffer_deinit(&gateway->rows[i]);
        sink_gate_unref(gateway->gates[i]);
    }
    pthread_mutex_destroy(&gateway->mutex);
}

/* ---- clients --------------------------------------------------------------------------------- */

#define CLIENT_PATIENCE_MS 5000

int client_connect(const FakeGateway *gateway) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)gateway->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

void client_send_bytes(int fd, const void *data, size_t size) {
    const char *at = data;
    while (size) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0) return;
        at += sent;
        size -= (size_t)sent;
    }
}

void client_send(int fd, const char *text) {
    client_send_bytes(fd, text, strlen(text));
}

static bool readable(int fd) {
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    return poll(&poller, 1, CLIENT_PATIENCE_MS) == 1;
}

char *client_answer(int fd) {
    Buffer answer = {0};
    size_t head = 0, body = 0;
    (void)buffer_reserve(&answer, 1);
    while (!head || answer.size < head + body) {
        /* Byte by byte up to the end of the head, so that nothing of the next answer is taken. */
        size_t want = head ? head + body - answer.size : 1;
        if (!readable(fd)) break;
        ssize_t got = recv(fd, buffer_reserve(&answer, want), want, 0);
        if (got <= 0) break;
        answer.size += (size_t)got;
        if (!head && answer.size >= 4 && memcmp(answer.data + answer.size - 4, "\r\n\r\n", 4) == 0) {
            if (strncmp(answer.data, "HTTP/1.1 100", 12) == 0) {
                buffer_clear(&answer);
                continue;
            }
            head = answer.size;
            const char *length = strcasestr(buffer_text(&answer), "\r\ncontent-length:");
            body = length ? (size_t)atol(length + 17) : 0;
        }
    }
    return buffer_take(&answer);
}

bool client_closed(int fd) {
    char byte[4096];
    while (readable(fd)) {
        ssize_t got = recv(fd, byte, sizeof byte, 0);
        if (got <= 0) return true;
    }
    return false;
}

char *client_request(const FakeGateway *gateway, const char *method, const char *path, const char *headers, const char *body, size_t size) {
    int fd = client_connect(gateway);
    Buffer request = {0};
    buffer_printf(&request, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", method, path, size,
                  headers);
    buffer_append(&request, body, size);
    client_send_bytes(fd, request.data, request.size);
    buffer_deinit(&request);
    char *answer = client_answer(fd);
    close(fd);
    return answer;
}

char *client_post(const FakeGateway *gateway, const char *path, const char *headers, const char *body) {
    return client_request(gateway, "POST", path, headers, body, strlen(body));
}
