/*
 * A gateway of which only the intake is real: sources from JSON, a writer thread that keeps rows in
 * memory and completes Appends, and a template broker that answers from a thread of its own.
 * Clients are plain sockets. For tests.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "gateway/intake/intake.h"

#define FAKE_SINKS 64

typedef struct FakeSource {
    const char *source;   /* JSON as for POST /sources; NULL ends the list */
    const char *sinks[4]; /* JSON as for POST …/sinks; numbers count on from 1 over all sources */
    bool no_wait;         /* sync.wait false */
    bool disabled;
    uint32_t skipped; /* number of a disabled sink; 0: none */
} FakeSource;

typedef struct FakeReject {
    uint32_t sink;
    char column[64], reason[400], body[200], content_type[64];
    size_t body_bytes;
} FakeReject;

typedef struct FakeGateway {
    Usage usage;
    Mailbox *writer, *control;
    Snapshot *snapshot;
    SinkGate *gates[FAKE_SINKS]; /* by sink number */
    Intake *intakes[4];
    size_t intake_count;
    HttpListener listener;
    unsigned port;
    /* writer thread; under `mutex` */
    pthread_mutex_t mutex;
    pthread_t writer_thread;
    Buffer rows[FAKE_SINKS]; /* by sink number */
    uint64_t skipped[FAKE_SINKS];
    FakeReject rejects[64];
    size_t reject_count, appends, pieces;
    AppendResult result;
    bool keep_rows;
    atomic_bool hold; /* Appends are not completed while it is set */
    atomic_bool stop;
    /* templates; under `mutex` */
    bool hold_templates; /* batches wait for fake_templates_release */
    TemplateBatch *batches[16];
    size_t batch_count, batches_seen;
} FakeGateway;

/* Options for the intake that tests shorten before fake_start. */
IntakeOptions fake_options(void);
#define FAKE_SECRET "0123456789abcdefghijklmnopqrstuvwxyz0123456789AB"
void fake_start(FakeGateway *gateway, const FakeSource *sources, const IntakeOptions *options, size_t loops);
/* A new generation with the given sources; sinks keep their numbers by position. */
Snapshot *fake_snapshot(FakeGateway *gateway, const FakeSource *sources, uint64_t generation);
void fake_stop(FakeGateway *gateway);
/* Answers the batches that wait: each template gives "result of BODY", and fails for a body that
 * holds `fail`. */
void fake_templates_release(FakeGateway *gateway);
/* A copy of the rows of a sink so far; free(). */
char *fake_rows(FakeGateway *gateway, uint32_t sink);

/* ---- clients ---- */

int client_connect(const FakeGateway *gateway);
void client_send(int fd, const char *text); /* all of it; a peer that closed is no error */
void client_send_bytes(int fd, const void *data, size_t size);
/* One answer, head and body, up to 5 s; free(). "" when the peer closed without one. */
char *client_answer(int fd);
/* Did the peer close within 5 s? */
bool client_closed(int fd);
/* One request on a new connection, and its answer. `headers`: whole lines, may be "". */
char *client_request(const FakeGateway *gateway, const char *method, const char *path, const char *headers, const char *body, size_t size);
char *client_post(const FakeGateway *gateway, const char *path, const char *headers, const char *body);
