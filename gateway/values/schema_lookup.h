/* One lookup of a schema at a registry, and the thread that does one after the other. See
 * schema_registry.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

typedef struct SchemaLookup SchemaLookup;

#define SCHEMA_LOOKUP_MAX (20 * USEC_SECOND) /* of time, for all of one lookup */

typedef enum SchemaAnswerKind {
    SCHEMA_ANSWER_TEXT,
    SCHEMA_ANSWER_UNKNOWN,  /* the registry has no schema of that number */
    SCHEMA_ANSWER_TOO_LONG, /* it has one that no limit allows */
    SCHEMA_ANSWER_FAILED,   /* nothing is known: `error` */
} SchemaAnswerKind;

typedef struct SchemaAnswer {
    SchemaAnswerKind kind;
    uint32_t number;
    bool has_references;
    char type[32]; /* "AVRO", "JSON", "PROTOBUF" */
    Buffer text;   /* of the schema */
    Error error;
} SchemaAnswer;

void schema_answer_deinit(SchemaAnswer *answer);

/* `url` without a slash at its end; `user` and `password_file` may be NULL. All are copied. */
int schema_lookup_open(const char *url, const char *user, const char *password_file, SchemaLookup **ret_lookup, Error *error);
void schema_lookup_close(SchemaLookup *lookup); /* ends what is on its way; NULL-safe */

/* Nothing may be on its way, and the last answer must have been taken. */
void schema_lookup_start(SchemaLookup *lookup, uint32_t number);
bool schema_lookup_is_busy(const SchemaLookup *lookup); /* started, and its answer not taken */
/* false: no answer has come. */
bool schema_lookup_take(SchemaLookup *lookup, SchemaAnswer *ret_answer);
/* Waits until an answer has come, or nothing is on its way, at most so long. */
void schema_lookup_wait(SchemaLookup *lookup, usec_t most);
