#include "sinks/nats_test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "sinks/nats.h"

#define LIMIT (10 * USEC_SECOND) /* of the whole test */
#define CONNECT_LIMIT (4 * USEC_SECOND)
#define REQUEST_LIMIT (2 * USEC_SECOND)
#define CLOSE_LIMIT (500 * USEC_MS)

/* The test's own end, and the caller's patience. */
typedef struct Limits {
    const SinkPatience *patience;
    usec_t end; /* boot */
} Limits;

static bool is_over(void *context) {
    const Limits *limits = context;
    return sink_patience_is_over(limits->patience) || clock_system()->boot(clock_system()) >= limits->end;
}

static SinkFault fault_of(NatsResult result) {
    switch (result) {
    case NATS_RESULT_DONE: return SINK_SOUND;
    case NATS_RESULT_RETRY: return SINK_FAULT_UNREACHABLE;
    case NATS_RESULT_MISSING: return SINK_FAULT_TOPIC;
    case NATS_RESULT_NO_JETSTREAM: return SINK_FAULT_DATABASE;
    case NATS_RESULT_NO_RIGHTS: return SINK_FAULT_RIGHTS;
    case NATS_RESULT_REFUSED: return SINK_FAULT_OTHER;
    }
    unreachable();
}

/* Until it is connected, or all servers were tried. */
static SinkFault connect(NatsClient *client, const Limits *limits, const char *name, Error *error) {
    NatsClientStatus status;
    for (;;) {
        if (nats_client_poll(client, 0)) return SINK_SOUND;
        nats_client_status(client, &status);
        if (status.failed_rounds > 0) break;
        if (!is_over((void *)(uintptr_t)limits)) {
            (void)nats_client_poll(client, SINK_PATIENCE_TURN / 10);
            continue;
        }
        if (status.fault != SINK_SOUND) break;
        (void)error_set(error, -ETIMEDOUT, "Connection \"%s\" cannot be opened: no answer within 10 s.", name);
        return SINK_FAULT_UNREACHABLE;
    }
    (void)error_set(error, status.error.code, "%s", status.error.text);
    return status.fault;
}

/* A stream that a source reads, as "STREAM" or "STREAM/CONSUMER". */
static SinkFault test_stream(NatsClient *client, const char *id, Error *error) {
    const char *slash = strchr(id, '/');
    _cleanup_free_ char *stream = text_copy_span((Span){id, slash ? (size_t)(slash - id) : strlen(id)});
    NatsStream found;
    NatsResult result = nats_client_stream(client, stream, &found, error);
    if (result == NATS_RESULT_DONE) result = nats_client_rights(client, stream, slash ? slash + 1 : NULL, error);
    return fault_of(result);
}

SinkFault nats_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error) {
    Limits limits = {.patience = test->patience, .end = clock_system()->boot(clock_system()) + LIMIT - CLOSE_LIMIT};
    SinkPatience patience = {.is_over = is_over, .context = &limits};
    NatsClientOptions options = {.connection = connection,
                                 .data_directory = data_directory,
                                 .name = "sluice test",
                                 .patience = &patience,
                                 .connect_limit = CONNECT_LIMIT,
                                 .request_limit = REQUEST_LIMIT,
                                 .retry_min = LIMIT};
    test->version[0] = test->note[0] = '\0';
    NatsClient *client = nats_client_new(&options);
    test->fault = connect(client, &limits, connection->name, error);
    if (test->fault == SINK_SOUND) (void)snprintf(test->version, sizeof test->version, "NATS");
    if (test->fault == SINK_SOUND) test->fault = fault_of(nats_client_jetstream(client, error));
    for (size_t i = 0; i < test->table_count && test->fault == SINK_SOUND; i++) test->fault = test_stream(client, test->tables[i], error);
    (void)nats_client_close(client, CLOSE_LIMIT);
    return test->fault;
}
