/*
 * The client of a schema registry that speaks the Confluent API: schemas by their number, GET
 * …/schemas/ids/N.
 *
 * A thread of its own looks up, one number at a time, so that the thread of a bridge never waits
 * for a registry that hangs: that one has a heartbeat to keep, and a stop to obey. What was found
 * is kept; the least recently used goes when there are too many or they take too much memory.
 * Schemas of a number never change, so nothing is asked twice; a number that the registry does not
 * know is asked again each SCHEMA_UNKNOWN_AGAIN, as replicas of a registry are late.
 *
 * A registry that is down, refuses the login, or answers something else than the API does, is asked
 * again after 1 s, 2 s, and so on to SCHEMA_DOWN_AGAIN_MAX; that it is down and why is logged once,
 * and stands in its state.
 *
 * One thread, but for the lookups.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "gateway/values/avro_form.h"

#define SCHEMA_COUNT_MAX 256
#define SCHEMA_BYTES_MAX ((size_t)32 << 20) /* of all that are kept; the last one is kept whatever it takes */
#define SCHEMA_UNKNOWN_AGAIN (5 * USEC_SECOND)
#define SCHEMA_DOWN_AGAIN_MAX (30 * USEC_SECOND)

typedef struct SchemaRegistry SchemaRegistry;

typedef enum SchemaKind { SCHEMA_AVRO, SCHEMA_JSON } SchemaKind;

typedef struct SchemaRegistrySettings {
    const char *url;           /* of the API: http://host:8081, https://host/apis/ccompat/v7 */
    const char *user;          /* NULL: without login */
    const char *password_file; /* a path; read for each lookup, so that a new password counts at once; NULL: an empty password */
    SchemaKind kind;           /* of the schemas that are looked for */
} SchemaRegistrySettings;

/* Copies the settings and starts the thread. -EINVAL: the URL is none, or holds a user; the text
 * says it. */
int schema_registry_open(const SchemaRegistrySettings *settings, Clock *clock, SchemaRegistry **ret_registry, Error *error);
/* Ends a lookup within about a second. NULL-safe. */
void schema_registry_close(SchemaRegistry *registry);

typedef enum SchemaResult {
    SCHEMA_FOUND,
    SCHEMA_WAIT,    /* it is being looked up, or is behind another one, or the registry is down: ask again */
    SCHEMA_UNKNOWN, /* the registry does not know the number; asking again may find it */
    SCHEMA_UNFIT,   /* it is of another kind, or has references, or cannot be read: `why` says it */
} SchemaResult;

/* Never waits. `ret_form` (for SCHEMA_AVRO) is set when it is found, and valid until the next
 * call. */
SchemaResult schema_registry_find(SchemaRegistry *registry, uint32_t number, AvroForm **ret_form, Error *why);

/* Waits until no lookup is on its way, so that the next find has its answer, at most so long. */
void schema_registry_wait(SchemaRegistry *registry, usec_t most);

typedef struct SchemaRegistryState {
    usec_t down_since;         /* wall time; 0: the last lookup was answered, or there was none */
    char why[ERROR_TEXT_SIZE]; /* why it is down, without secrets */
    uint64_t lookups;          /* that have ended */
    size_t schemas;            /* that are kept, of all results */
    size_t bytes;              /* what they take */
} SchemaRegistryState;

void schema_registry_state(const SchemaRegistry *registry, SchemaRegistryState *ret_state);
