/*
 * Tables that differ from their sinks, and what all drivers have in common about them: the refusal
 * ends with statements; when they have run, the sink works, and the rows that were there are still
 * somewhere. cmocka must be included before it.
 */
#pragma once

#include "sinks/driver.h"
#include "tests/support/sink-case.h"

typedef struct ChangesCase {
    const char *definition; /* what stands behind CREATE TABLE NAME */
    const char *row;        /* what stands behind INSERT INTO NAME; NULL: the table is empty */
    const char *columns;    /* of the sink, as sink_case_init takes them */
    const char *changes;    /* a part of the statements; NULL: any */
} ChangesCase;

/* The destination, as the test program has it. */
typedef struct ChangesPlace {
    const SinkDriver *driver;
    const char *table_id;
    const char *name; /* the table_id, as SQL has it */
    void (*sql)(const char *text);
    char *(*rows)(const char *query); /* free() */
    const char *kept;                 /* a query: how many rows are there that were there before */
    void (*clean)(void);              /* removes the tables of a case */
} ChangesPlace;

void changes_run(const ChangesPlace *place, SinkSession *session, const ChangesCase *cases, size_t count);
/* The statements at the end of a refusal; fails without them. */
const char *changes_statements(const Error *error);
/* Adds a row to the case's file, with a value for each column, and imports it. */
void changes_import(const SinkDriver *driver, SinkSession *session, SinkCase *box);
