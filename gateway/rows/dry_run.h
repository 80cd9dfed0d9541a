/*
 * Maps events without HTTP and without storing them, for POST …/test and `sluice map`. Decoding,
 * framing, templates and mapping are the same as in the intake. There are two steps, because other
 * processes evaluate templates: the caller posts the batch, and maps when it is back.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/uuid.h"
#include "config/source_bridge.h"
#include "gateway/templates/broker.h"
#include "mapping/plan.h"
#include "mapping/row.h"

typedef struct DryRun DryRun;

typedef struct DryRunRequest {
    Span body;                  /* as sent, with its Content-Encoding */
    bool resumes;               /* `body` is a later part of a body */
    Span content_type;          /* empty: none sent */
    const EventHeader *headers; /* if there is no Content-Type among them, content_type is added */
    size_t header_count;
    const EventMeta *meta; /* of each event; NULL: none */
    const BridgeSource
        *bridge; /* its records are such events: a text is not read as JSON, bytes become base64. Avro and JSON Schema are given in
                                 * their JSON form. NULL: the events are sent, and the Content-Type says what they are */
    Span ip;
    usec_t received; /* wall time */
    UuidSource *ids; /* source of the events' ids */
    size_t events_max;
    /* limits of the options; body_bytes: maximum of a decoded body */
    size_t body_bytes, event_bytes, row_bytes;
} DryRunRequest;

/* Copies the request, decodes it and splits it into events. -EOPNOTSUPP: no such encoding. -EFBIG:
 * the decoded body or an event is over its limit, or there are too many events. -EBADMSG: the
 * encoding is broken, or the body does not fit the framing. */
int dry_run_new(Plan *plan, Framing framing, const DryRunRequest *request, DryRun **ret_run, Error *error);
void dry_run_free(DryRun *run); /* NULL-safe */
size_t dry_run_events(const DryRun *run);
/* Returns the line of the decoded body in which the event begins, from 0. Ask for events in
 * order. */
size_t dry_run_line(DryRun *run, size_t event);
/* Returns the events for the template broker, or NULL if the plan has no template. The run must
 * exist until the batch is back. */
TemplateBatch *dry_run_batch(DryRun *run, Mailbox *reply, int reply_kind);
/* Called for an event and a sink. Either `failure` is NULL, and `rows` is the text of its rows,
 * which may be empty; or the event could not be mapped for the sink. */
typedef void (*DryRunVisit)(void *context, size_t event, const Sink *sink, const MapFailure *failure, Span rows);
/* Returns a cell of such a row for people: null or a string, which says so if the bytes are not
 * UTF-8. New reference. */
json_t *dry_run_cell_json(const RowCell *cell);
/* Maps one event for the sinks of the plan, in order. `results`: the batch that came back, or NULL
 * if there was none. */
void dry_run_map(DryRun *run, size_t event, const TemplateBatch *results, DryRunVisit visit, void *context);
