#include "sinks/postgres_probe.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/thread.h"
#include "sinks/postgres_failure.h"

#define OVERRIDES 6

typedef enum ProbeState { PROBE_RESTS, PROBE_CONNECTS, PROBE_ASKS } ProbeState;

struct PostgresProbe {
    ThreadOwner owner;
    PGconn *watched, *connection;
    char *pid, *began;
    usec_t interval;
    ProbeState state;
    usec_t next;        /* boot: when it asks again */
    usec_t asked;       /* boot: when it began what it does now */
    usec_t unanswered;  /* boot: since when nothing was answered; 0: the last question was */
    bool has_seen_work; /* not told yet */
    bool is_pooled;     /* the watched session goes through a pooler */
    short events;
    PostgresPollingStatusType polling;
    char refusal[300]; /* the server's words, when it refused the last session; "": it did not */
};

PostgresProbe *postgres_probe_new(PGconn *watched, const char *pid, const char *began, usec_t interval) {
    PostgresProbe *probe = calloc(1, sizeof *probe);
    check(probe);
    check(interval > 0);
    *probe = (PostgresProbe){.watched = watched, .pid = strdup(pid), .began = strdup(began), .interval = interval};
    /* A pooler gives its clients numbers of its own. */
    probe->is_pooled = atoi(pid) != PQbackendPID(watched);
    check(probe->pid && probe->began);
    return probe;
}

static void hang_up(PostgresProbe *probe) {
    PQfinish(probe->connection);
    probe->connection = NULL;
}

void postgres_probe_free(PostgresProbe *probe) {
    if (!probe) return;
    hang_up(probe);
    free(probe->pid);
    free(probe->began);
    free(probe);
}

static void rest(PostgresProbe *probe, usec_t now) {
    probe->state = PROBE_RESTS;
    probe->next = now + probe->interval;
}

static void answered(PostgresProbe *probe, bool at_work) {
    probe->unanswered = 0;
    probe->refusal[0] = '\0';
    probe->has_seen_work = probe->has_seen_work || at_work;
}

/* As the watched session, to the very server that it reached. */
static PGconn *connect_again(PGconn *watched) {
    PQconninfoOption *options = PQconninfo(watched);
    if (!options) return NULL;
    size_t count = 0, used = 0;
    for (PQconninfoOption *option = options; option->keyword; option++) count++;
    const char **keywords = calloc(count + OVERRIDES, sizeof *keywords), **values = calloc(count + OVERRIDES, sizeof *values);
    check(keywords && values);
    const char *const own[] = {"host", "hostaddr", "port", "target_session_attrs", "application_name", NULL};
    for (PQconninfoOption *option = options; option->keyword; option++) {
        bool is_own = false;
        for (size_t i = 0; own[i]; i++) is_own = is_own || strcmp(option->keyword, own[i]) == 0;
        if (is_own || !option->val) continue;
        keywords[used] = option->keyword;
        values[used++] = option->val;
    }
    const char *address = PQhostaddr(watched);
    const char *const own_values[] = {PQhost(watched), address, PQport(watched), "any", "sluice probe"};
    for (size_t i = 0; own[i]; i++) {
        if (!own_values[i] || !own_values[i][0]) continue;
        keywords[used] = own[i];
        values[used++] = own_values[i];
    }
    PGconn *made = PQconnectStartParams(keywords, values, 0);
    free(keywords);
    free(values);
    PQconninfoFree(options);
    return made;
}

static void begin_connecting(PostgresProbe *probe, usec_t now) {
    check(!probe->connection && probe->state == PROBE_RESTS);
    probe->connection = connect_again(probe->watched);
    if (!probe->connection || PQstatus(probe->connection) == CONNECTION_BAD) {
        hang_up(probe);
        rest(probe, now);
        return;
    }
    (void)PQsetErrorVerbosity(probe->connection, PQERRORS_VERBOSE); /* for the SQLSTATE of a refusal */
    probe->state = PROBE_CONNECTS;
    probe->polling = PGRES_POLLING_WRITING;
    probe->events = POLLOUT;
}

static void ask(PostgresProbe *probe, usec_t now) {
    /* A server that waits for us, or for what it wrote to be read, does not work. Without
     * track_activities there is no more to know than that the backend is there. */
    check(probe->connection && PQtransactionStatus(probe->connection) != PQTRANS_ACTIVE); /* one question at a time */
    static const char sql[] = "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = $1::pg_catalog.int4 AND (state = 'disabled'"
                              " OR (state = 'active' AND xact_start = $2::pg_catalog.timestamptz"
                              " AND wait_event_type IS DISTINCT FROM 'Client'))";
    const char *const values[] = {probe->pid, probe->began};
    probe->state = PROBE_ASKS;
    probe->events = POLLIN;
    if (PQsetnonblocking(probe->connection, 1) == 0 && PQsendQueryParams(probe->connection, sql, 2, NULL, values, NULL, NULL, 0) &&
        PQflush(probe->connection) == 0)
        return; /* a few hundred bytes on an idle connection always fit */
    hang_up(probe);
    rest(probe, now);
}

/* Without words of a server nothing was answered. */
static void refused(PostgresProbe *probe) {
    char sqlstate[6];
    postgres_connection_words(probe->connection, sizeof probe->refusal, probe->refusal, sqlstate);
    if (postgres_refusal_is_life(sqlstate, probe->is_pooled)) answered(probe, true);
    if (!sqlstate[0]) probe->refusal[0] = '\0';
}

static void go_on_connecting(PostgresProbe *probe, usec_t now) {
    check(probe->connection && probe->polling != PGRES_POLLING_OK && probe->polling != PGRES_POLLING_FAILED);
    struct pollfd poller = {.fd = PQsocket(probe->connection), .events = probe->events};
    if (poll(&poller, 1, 0) <= 0) return;
    probe->polling = PQconnectPoll(probe->connection);
    switch (probe->polling) {
    case PGRES_POLLING_OK:
        /* The question may have to wait for room in a full pool, which our own transaction
         * takes. */
        if (probe->is_pooled) answered(probe, true);
        ask(probe, now);
        return;
    case PGRES_POLLING_FAILED:
        refused(probe);
        hang_up(probe);
        rest(probe, now);
        return;
    default: probe->events = probe->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    }
}

static void read_answer(PostgresProbe *probe, usec_t now) {
    if (!PQconsumeInput(probe->connection)) {
        hang_up(probe);
        rest(probe, now);
        return;
    }
    if (PQisBusy(probe->connection)) return;
    for (PGresult *result; (result = PQgetResult(probe->connection));) {
        answered(probe, PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0);
        PQclear(result);
    }
    rest(probe, now);
}

int postgres_probe_descriptor(const PostgresProbe *probe, short *ret_events) {
    *ret_events = probe->events;
    return probe->state == PROBE_RESTS ? -1 : PQsocket(probe->connection);
}

bool postgres_probe_step(PostgresProbe *probe, usec_t now) {
    check_on_thread(&probe->owner);
    check(probe->state == PROBE_RESTS || probe->connection);
    check(!probe->unanswered || probe->unanswered <= now);
    if (probe->next == 0) probe->next = now + probe->interval;
    if (probe->state == PROBE_RESTS && now >= probe->next) {
        probe->asked = now;
        if (!probe->unanswered) probe->unanswered = now;
        if (probe->connection)
            ask(probe, now);
        else
            begin_connecting(probe, now);
    }
    if (probe->state == PROBE_CONNECTS) go_on_connecting(probe, now);
    if (probe->state == PROBE_ASKS) read_answer(probe, now);
    /* A session that does not answer may be dead by itself: the next question goes through a new
     * one. */
    if (probe->state != PROBE_RESTS && now - probe->asked > 2 * probe->interval) {
        hang_up(probe);
        probe->state = PROBE_RESTS;
        probe->next = now;
    }
    bool seen = probe->has_seen_work;
    probe->has_seen_work = false;
    return seen;
}

bool postgres_probe_is_deaf(const PostgresProbe *probe, usec_t now) {
    return probe->unanswered > 0 && now - probe->unanswered > probe->interval;
}

const char *postgres_probe_refusal(const PostgresProbe *probe) {
    return probe->refusal;
}
