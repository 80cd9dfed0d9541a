/*
 * The client of a schema registry with the Confluent API: schemas by their number, GET
 * …/schemas/ids/N.
 *
 * A separate thread does the lookups, one number at a time. So the thread of a bridge never waits
 * for a registry that hangs, because it must send heartbeats and react to a stop. Results are kept.
 * The least recently used schema is removed if there are too many or they take too much memory. The
 * schema of a number never changes, so it is requested once. A number that the registry does not
 * know is requested again after SCHEMA_UNKNOWN_AGAIN, because replicas of a registry may be behind.
 *
 * If a registry is down, refuses the login, or gives an answer that does not fit the API, it is
 * asked again after 1 s, 2 s, and so on up to SCHEMA_DOWN_AGAIN_MAX. The failure and its reason are
 * logged once, and are in the state of the registry.
 *
 * One thread, except for the lookups.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "gateway/values/avro_form.h"

#define SCHEMA_COUNT_MAX 256
#define SCHEMA_BYTES_MAX ((size_t)32 << 20) /* maximum size of all kept schemas; the last one is kept whatever its size is */
#define SCHEMA_UNKNOWN_AGAIN (5 * USEC_SECOND)
#define SCHEMA_DOWN_AGAIN_MAX (30 * USEC_SECOND)

typedef struct SchemaRegistry SchemaRegistry;

typedef enum SchemaKind { SCHEMA_AVRO, SCHEMA_JSON } SchemaKind;

typedef struct SchemaRegistrySettings {
    const char *url;           /* of the API: http://host:8081, https://host/apis/ccompat/v7 */
    const char *user;          /* NULL: without login */
    const char *password_file; /* a path; read for each lookup, so that a new password counts at once; NULL: an empty password */
    SchemaKind kind;           /* kind of the schemas */
} SchemaRegistrySettings;

/* Copies the settings and starts the thread. -EINVAL: the URL is not valid, or contains a user; the
 * text has the reason. */
int schema_registry_open(const SchemaRegistrySettings *settings, Clock *clock, SchemaRegistry **ret_registry, Error *error);
/* Ends a running lookup within about one second. NULL-safe. */
void schema_registry_close(SchemaRegistry *registry);

typedef enum SchemaResult {
    SCHEMA_FOUND,
    SCHEMA_WAIT,    /* it is being looked up, or waits for another lookup, or the registry is down: ask again */
    SCHEMA_UNKNOWN, /* the registry does not know the number; asking again may find it */
    SCHEMA_UNFIT,   /* it is of another kind, has references, or cannot be read: `why` has the reason */
} SchemaResult;

/* Finds a schema. Never waits. `ret_form` (for SCHEMA_AVRO) is set if the schema is found, and is
 * valid until the next call. */
SchemaResult schema_registry_find(SchemaRegistry *registry, uint32_t number, AvroForm **ret_form, Error *why);

/* Waits until no lookup is running, so that the next find has its answer, at most for this time. */
void schema_registry_wait(SchemaRegistry *registry, usec_t most);

typedef struct SchemaRegistryState {
    usec_t down_since;         /* wall time; 0: the last lookup was answered, or there was none */
    char why[ERROR_TEXT_SIZE]; /* why it is down, without secrets */
    uint64_t lookups;          /* that have ended */
    size_t schemas;            /* that are kept, of all results */
    size_t bytes;              /* what they take */
} SchemaRegistryState;

void schema_registry_state(const SchemaRegistry *registry, SchemaRegistryState *ret_state);
