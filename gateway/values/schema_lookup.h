/* Looks up one schema at a registry at a time, on its own thread. See schema_registry.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

typedef struct SchemaLookup SchemaLookup;

#define SCHEMA_LOOKUP_MAX (20 * USEC_SECOND) /* maximum time of one lookup */

typedef enum SchemaAnswerKind {
    SCHEMA_ANSWER_TEXT,
    SCHEMA_ANSWER_UNKNOWN,  /* the registry has no schema with that number */
    SCHEMA_ANSWER_TOO_LONG, /* the schema is larger than the limit */
    SCHEMA_ANSWER_FAILED,   /* the lookup failed: `error` */
} SchemaAnswerKind;

typedef struct SchemaAnswer {
    SchemaAnswerKind kind;
    uint32_t number;
    bool has_references;
    char type[32]; /* "AVRO", "JSON", "PROTOBUF" */
    Buffer text;   /* text of the schema */
    Error error;
} SchemaAnswer;

void schema_answer_deinit(SchemaAnswer *answer);

/* `url` has no slash at its end. `user` and `password_file` may be NULL. All texts are copied. */
int schema_lookup_open(const char *url, const char *user, const char *password_file, SchemaLookup **ret_lookup, Error *error);
void schema_lookup_close(SchemaLookup *lookup); /* ends a running lookup; NULL-safe */

/* Starts a lookup. No lookup may be running, and the last answer must have been taken. */
void schema_lookup_start(SchemaLookup *lookup, uint32_t number);
bool schema_lookup_is_busy(const SchemaLookup *lookup); /* started, and its answer not taken */
/* Takes the answer. Returns false if there is none yet. */
bool schema_lookup_take(SchemaLookup *lookup, SchemaAnswer *ret_answer);
/* Waits until there is an answer or no lookup is running, at most for this time. */
void schema_lookup_wait(SchemaLookup *lookup, usec_t most);
