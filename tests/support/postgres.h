/*
 * A PostgreSQL server of the test's own: initdb in a temporary directory, a Unix socket there and a
 * free loopback port, no fsync. It dies with the test. Tests stop with a message when it does not
 * start; only a machine without the binaries makes them skip.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

typedef struct TestPostgres {
    char *directory; /* also the folder of the socket */
    char *binaries;
    int port;
    pid_t pid; /* of the postmaster; 0: stopped */
    char *uri; /* postgresql://postgres@127.0.0.1:PORT/postgres */
} TestPostgres;

/* NULL: there are no PostgreSQL binaries on this machine. User "guarded" (password "correct horse")
 * needs its password, others none. */
TestPostgres *test_postgres_start(void);
/* Stops the postmaster at once, as a crash would (SIGQUIT), and starts it again on the same data
 * and port. */
void test_postgres_kill(TestPostgres *server);
void test_postgres_run(TestPostgres *server);
/* Stops the server and removes everything; NULL-safe. */
void test_postgres_stop(TestPostgres *server);

/* PgBouncer in front of the server: pool_mode=transaction with one server connection, which all its
 * clients take turns on. */
typedef struct TestPooler {
    int port;
    pid_t pid;
    char *uri; /* as the server's, with the pooler's port */
} TestPooler;

/* NULL: there is no pgbouncer on this machine. */
TestPooler *test_pooler_start(TestPostgres *server);
void test_pooler_stop(TestPooler *pooler); /* NULL-safe */

/* Runs SQL as the superuser; ends the test when it fails. */
void test_postgres_sql(TestPostgres *server, const char *sql);
/* The rows of a query, cells separated by '|', rows by '\n' (none behind the last), NULL as "NULL";
 * free(). */
char *test_postgres_rows(TestPostgres *server, const char *sql);
