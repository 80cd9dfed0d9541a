/*
 * The kinds of sources (`type`). A source has a common part, which is the same for all, and a part
 * of its kind: what is declared there, and what follows from it, is behind one struct of functions.
 * Nothing else compares kinds. How the sources of a kind run is the other half:
 * gateway/flow/source_runner.h.
 *
 * A kind's fields stand in the definition beside the common ones; one with many has an object of
 * its own name there, as one field of type FIELD_OBJECT. A field of another kind is refused by
 * name.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "config/definition.h"
#include "config/field_table.h"

/* Where the senders of this gateway reach it. */
typedef struct SourcePlace {
    const char *public_url;
    uint32_t project;
    bool show_secret;
} SourcePlace;

typedef struct BridgeKind BridgeKind; /* source_bridge.h */

struct SourceKind {
    const char *name;         /* the value of `type` */
    const FieldTable *fields; /* of its part */
    /* After the fields were read: fills in what is missing and has no constant default. `old`: the
     * part before a change; NULL: it is new. May be NULL. */
    void (*complete)(void *part, const void *old);
    /* Adds to an answer of the API what the server knows of the source. May be NULL. */
    void (*describe)(const Source *source, const SourcePlace *place, json_t *answer);
    /* Is `onInvalid` of its first sink `reject` by default (else `quarantine`)? */
    bool (*first_sink_rejects)(const void *part);
    /* How a body that is not sent but given, for a test, is divided into events. */
    Framing (*framing)(const void *part);
    /* What becomes of its events while it has no enabled sink: a clause that follows "The source
     * has no enabled sink now: ". */
    const char *(*without_sink)(const void *part);
    unsigned meta_fields;     /* META_BIT of those that its events have; 0: none */
    const BridgeKind *bridge; /* of a kind whose sources read a broker (source_bridge.h); NULL: events are sent to them */
};

/* All of them; ends with NULL. The first one is the default of `type`. */
extern const SourceKind *const source_kinds[];
extern const char *const source_kind_names[]; /* in the same order; ends with NULL */
/* Kinds that people try and that are not built: as a `type`, and as a field (the object of that
 * kind), they are refused with this reason. None of them is in source_kinds. Ends with NULL. */
extern const char *const kinds_not_built[];

extern const SourceKind source_kind_http, source_kind_kafka, source_kind_nats;
