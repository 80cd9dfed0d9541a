#include "sinks/postgres_failure.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool in_class(const char *sqlstate, const char *class) {
    return strncmp(sqlstate, class, strlen(class)) == 0;
}

static bool is_one_of(const char *sqlstate, const char *const *classes) {
    for (; *classes; classes++) {
        if (in_class(sqlstate, *classes)) return true;
    }
    return false;
}

/* Rollbacks, resources, locks and time-outs, system errors. */
static const char *const retry_classes[] = {"40", "53", "55P03", "57014", "58", "25P03", "XX", NULL};
/* 57P: the server is stopping, starting, or was told to end the session. 25006: it has become a
 * read-only standby. */
static const char *const unreachable_classes[] = {"57P", "25006", NULL};
static const char *const connection_classes[] = {"08", "28", NULL};

SinkResult postgres_failure_result(const PostgresFailure *failure) {
    if (failure->sqlstate[0] == '\0' || is_one_of(failure->sqlstate, unreachable_classes)) return SINK_UNREACHABLE;
    /* In a session that goes on it is another connection's, for example that of a trigger to a
     * remote table. */
    if (is_one_of(failure->sqlstate, connection_classes)) return failure->is_fatal ? SINK_UNREACHABLE : SINK_RETRY;
    if (is_one_of(failure->sqlstate, retry_classes)) return SINK_RETRY;
    return SINK_REFUSED;
}

/* Rollbacks, resources, states of objects, an operator, the system. */
static const char *const table_classes[] = {"40", "53", "55", "57", "58", NULL};
/* The server's own classes that speak of its objects, rights and insides rather than of values. */
static const char *const unclear_classes[] = {"00", "01", "03", "08", "0A", "0B", "0F", "0L", "0P", "0Z", "24", "25", "26", "27",
                                              "28", "2B", "2D", "34", "3B", "3D", "3F", "42", "72", "F0", "HV", "XX", NULL};

/*
 * What is in neither list is about values (22, 23, 44, 21, 02, 54), is what a function raises (P0,
 * 2F, 38, 39), or is in a class that PostgreSQL does not have: then a trigger made it up for its
 * rows.
 */
PostgresBlame postgres_blame_of(const char *sqlstate, const char *function) {
    if (sqlstate[0] == '\0' || is_one_of(sqlstate, table_classes)) return POSTGRES_BLAME_TABLE;
    /* 42501 is a missing right, but also a row that a policy of row-level security refuses; the
     * words may be in any language. */
    if (in_class(sqlstate, "42501") && function && strcmp(function, "ExecWithCheckOptions") == 0) return POSTGRES_BLAME_ROW;
    return is_one_of(sqlstate, unclear_classes) ? POSTGRES_BLAME_MAYBE : POSTGRES_BLAME_ROW;
}

/* Without the newlines and spaces at its end. */
static void trim(char *text) {
    for (size_t size = strlen(text); size > 0 && (text[size - 1] == '\n' || text[size - 1] == ' ');) text[--size] = '\0';
}

void postgres_hide(char *text, const char *secret) {
    if (!secret || !secret[0]) return;
    size_t size = strlen(secret);
    for (char *at = text; (at = strstr(at, secret)); at += size) memset(at, '*', size);
}

/*
 * The only way to the SQLSTATE of a refused login is libpq's verbose text: "FATAL:  28P01:
 * words\nLOCATION:  file:line". Leaves the words, and copies the last SQLSTATE (of several servers:
 * of the one tried last); "" when no server said anything.
 */
static void take_sqlstate(char *words, char ret_sqlstate[static 6]) {
    ret_sqlstate[0] = '\0';
    for (char *at; (at = strstr(words, "\nLOCATION:  "));) {
        const char *end = strchr(at + 1, '\n');
        memmove(at, end ? end : "", end ? strlen(end) + 1 : 1);
    }
    for (char *at = words; (at = strstr(at, "FATAL:  "));) {
        at += 8;
        if (strspn(at, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || strncmp(at + 5, ": ", 2) != 0) continue;
        memcpy(ret_sqlstate, at, 5);
        ret_sqlstate[5] = '\0';
        memmove(at, at + 7, strlen(at + 7) + 1);
    }
}

void postgres_connection_words(PGconn *connection, size_t size, char *out, char ret_sqlstate[static 6]) {
    (void)snprintf(out, size, "%s", connection ? PQerrorMessage(connection) : "out of memory");
    take_sqlstate(out, ret_sqlstate);
    trim(out);
    postgres_hide(out, connection ? PQpass(connection) : NULL);
}

bool postgres_refusal_is_life(const char *sqlstate, bool is_pooled) {
    return in_class(sqlstate, "53") || (is_pooled && in_class(sqlstate, "08"));
}

/* "COPY orders, line 12, column total: …", behind the lines of a trigger's function, if any. */
static uint64_t line_of(const char *context) {
    const char *copy = context;
    while (copy && strncmp(copy, "COPY ", 5) != 0) {
        copy = strchr(copy, '\n');
        if (copy) copy++;
    }
    const char *at = copy ? strstr(copy, ", line ") : NULL;
    return at ? strtoull(at + 7, NULL, 10) : 0;
}

static void copy_field(char *out, size_t size, const PGresult *refusal, int field) {
    const char *text = PQresultErrorField(refusal, field);
    (void)snprintf(out, size, "%s", text ? text : "");
}

static void say(PostgresFailure *failure, const char *words, const char *detail) {
    /* The detail of these names the key; that of others repeats the row. */
    bool names_key = in_class(failure->sqlstate, "23505") || in_class(failure->sqlstate, "23503") || in_class(failure->sqlstate, "23P01");
    (void)snprintf(failure->reason, sizeof failure->reason, "%s", words);
    trim(failure->reason);
    failure->words = strlen(failure->reason);
    if (names_key && detail && detail[0])
        (void)snprintf(failure->reason + failure->words, sizeof failure->reason - failure->words, ": %s", detail);
    trim(failure->reason);
}

void postgres_failure_say(PostgresFailure *failure, const char *sqlstate, const char *words, const char *detail) {
    *failure = (PostgresFailure){0};
    (void)snprintf(failure->sqlstate, sizeof failure->sqlstate, "%s", sqlstate);
    say(failure, words, detail);
}

void postgres_failure_init(PostgresFailure *failure, const PGresult *refusal) {
    *failure = (PostgresFailure){0};
    copy_field(failure->sqlstate, sizeof failure->sqlstate, refusal, PG_DIAG_SQLSTATE);
    copy_field(failure->schema, sizeof failure->schema, refusal, PG_DIAG_SCHEMA_NAME);
    copy_field(failure->table, sizeof failure->table, refusal, PG_DIAG_TABLE_NAME);
    copy_field(failure->column, sizeof failure->column, refusal, PG_DIAG_COLUMN_NAME);
    const char *words = PQresultErrorField(refusal, PG_DIAG_MESSAGE_PRIMARY);
    say(failure, words ? words : PQresultErrorMessage(refusal), PQresultErrorField(refusal, PG_DIAG_MESSAGE_DETAIL));
    const char *severity = PQresultErrorField(refusal, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (!severity) severity = PQresultErrorField(refusal, PG_DIAG_SEVERITY); /* a pooler's own */
    failure->is_fatal = severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
    failure->blame = failure->is_fatal ? POSTGRES_BLAME_TABLE
                                       : postgres_blame_of(failure->sqlstate, PQresultErrorField(refusal, PG_DIAG_SOURCE_FUNCTION));
    failure->line = line_of(PQresultErrorField(refusal, PG_DIAG_CONTEXT));
}
