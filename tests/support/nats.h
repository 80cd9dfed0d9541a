/*
 * A nats-server with JetStream of the test's own: a temporary directory, a free loopback port. It
 * dies with the test. Tests stop with a message when it does not start; only a machine without the
 * program makes them skip.
 */
#pragma once

#include <sys/types.h>

typedef struct TestNats {
    char *directory;
    char *settings;
    int port;
    pid_t pid; /* 0: stopped */
    char *uri; /* nats://127.0.0.1:PORT */
    void *connection;
} TestNats;

/* NULL: there is no nats-server on this machine. `settings` is added to its configuration. */
TestNats *test_nats_start(const char *settings);
void test_nats_kill(TestNats *server); /* SIGKILL */
void test_nats_run(TestNats *server);  /* again, on the same data and port */
void test_nats_stop(TestNats *server); /* and forget it; NULL-safe */
/* A request ("$JS.API.STREAM.CREATE.S"), its answer: free(). */
char *test_nats_ask(TestNats *server, const char *subject, const char *body);
/* Publishes a message, with headers as "Name: value\r\n..." or NULL, and waits until a stream has
 * it. */
void test_nats_publish(TestNats *server, const char *subject, const char *headers, const void *body, size_t size);
