/*
 * The control thread without the threads around it, on the calling thread: a real catalog in a
 * temporary directory; a writer that stores definitions and answers at once; a loader and loops
 * that do what the test says. One turn moves everybody once, in a fixed order.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "config/options.h"
#include "gateway/control/call.h"
#include "gateway/control/parts.h"
#include "gateway/sources/http_runner.h"

#define HARNESS_LOOPS 2

typedef struct Harness {
    char directory[64];
    DataDirectory data;
    Environment *environment;
    Options options;
    Usage usage;
    Control *control;
    Mailbox *writer, *loops[HARNESS_LOOPS], *client;
    HttpRunner http_sources;
    SourceRunner others[4];        /* of kinds that only the test has: they run nothing */
    SourceRunner *runners[6];      /* ends with NULL */
    Snapshot *held[HARNESS_LOOPS]; /* what each loop runs */
    char token[64];                /* sent with each call; the first start's admin token */

    /* what the test may set */
    const char *config; /* text of a config file, read at each start; NULL: none */
    usec_t time_passed; /* added to both clocks, and the running time */
    usec_t wall_jump;   /* added to the wall clock */
    bool loops_stand;   /* the loops take nothing: a fence does not pass */
    bool writer_stands;
    int define_result;  /* what the writer answers to the next Define that has orders; 0: it stores it */
    SinkResult prepare; /* what the loader answers */
    const char *prepare_says;
    const char *refused_table; /* of this one: SINK_REFUSED, whatever `prepare` says; NULL: none */
    const char *known_table;   /* this one is there; all others would be created; NULL: none is */
    SinkResult naming;         /* what the loader answers when it is to name columns */
    const char *nameless;      /* the path of a field that it gives no name; NULL: none */
    bool loader_stands;
    bool foreign_positions; /* another gateway has set them */
    char positions[256];    /* what was done to all positions of groups */
    SinkFault fault;        /* what a test of a connection finds; with prepare_says */
    bool connections_fail;
    bool checks_stand;    /* of templates */
    bool templates_stand; /* and their evaluation */

    /* what happened */
    usec_t drain_until[HARNESS_LOOPS]; /* of the MESSAGE_DRAIN that each loop got */
    unsigned namings, defines, prepares, inspections, closes, flushes;
    size_t checked_templates;                                     /* that were asked about */
    size_t tested_tables;                                         /* of the last test of a connection */
    char tested[256];                                             /* their names, with a space behind each */
    bool tested_positions;                                        /* of that test */
    size_t largest_query;                                         /* sinks in one question to the writer */
    SinkOrder last_order;                                         /* its references are not held: look at the flags only */
    bool last_sink_paused, last_source_paused, last_sink_deleted; /* of that order */
    uint32_t last_closed;                                         /* sink number */
    bool define_before_snapshot; /* the loops have never been told of a mapping version that the writer did not know */
    uint32_t known_versions[64]; /* by sink number: the newest that the writer knows */
} Harness;

/* Starts on the harness's directory (made when it has none): calling it again after harness_stop is
 * a restart. */
void harness_start(Harness *harness);
void harness_stop(Harness *harness);
void harness_remove(Harness *harness); /* the directory */

/* For cmocka: a harness in *state that has started, in a directory of its own; its end, with what
 * must have held all the time. */
int harness_setup(void **state);
int harness_teardown(void **state);

/* Moves everybody once. */
void harness_turn(Harness *harness);
/* Sends a request; `body` NULL: none. */
ApiCall *harness_send(Harness *harness, const char *method, const char *path_and_query, const char *body, usec_t wait);
/* The answer to the oldest open request when it is there, else NULL; api_call_free(). */
ApiCall *harness_answer(Harness *harness);
/* Sends it and turns until it is answered; the status, and the JSON (new reference; NULL when it is
 * none) unless ret_json is NULL. */
int harness_call(Harness *harness, const char *method, const char *path_and_query, const char *body, json_t **ret_json);
/* As above with `Prefer: wait`: the status of the task ("success"), as static text; the task when
 * ret_json is given. */
const char *harness_task(Harness *harness, const char *method, const char *path_and_query, const char *body, json_t **ret_json);

extern const char *const harness_sink; /* the body of a sink "orders" on table "orders" with the columns id and body */
