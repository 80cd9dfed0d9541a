/*
 * The way of an event without HTTP and without storing it: for POST …/test and `sluice map`. The
 * same decoding, framing, templates and mapping as the intake. In two steps, since templates are
 * evaluated by other processes: whoever runs it posts the batch and maps when it is back.
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
    bool resumes;               /* `body` is a later part of what was sent */
    Span content_type;          /* empty: none sent */
    const EventHeader *headers; /* Content-Type not among them is added */
    size_t header_count;
    const EventMeta *meta; /* of each event; NULL: none */
    const BridgeSource
        *bridge; /* its records are such events: a text is not read as JSON, bytes become base64. Avro and JSON Schema are given in
                                 * their JSON form. NULL: the events are sent, and the Content-Type says what they are */
    Span ip;
    usec_t received; /* wall time */
    UuidSource *ids; /* where the events get their ids */
    size_t events_max;
    /* limits, as the options say; body_bytes: of a body that is decoded */
    size_t body_bytes, event_bytes, row_bytes;
} DryRunRequest;

/* Copies the request, decodes it and splits it into events. -EOPNOTSUPP: no such encoding. -EFBIG:
 * the decoded body or an event is over its limit, or there are too many events. -EBADMSG: the
 * encoding is broken, or the body does not fit the framing. */
int dry_run_new(Plan *plan, Framing framing, const DryRunRequest *request, DryRun **ret_run, Error *error);
void dry_run_free(DryRun *run); /* NULL-safe */
size_t dry_run_events(const DryRun *run);
/* In which line of the decoded body the event begins, from 0. Ask for events in order. */
size_t dry_run_line(DryRun *run, size_t event);
/* The events for the template broker, NULL when the plan has no template. The run must live until
 * the batch is back. */
TemplateBatch *dry_run_batch(DryRun *run, Mailbox *reply, int reply_kind);
/* `failure` is NULL and `rows` the text of its rows, of which there may be none, or the sink could
 * not be mapped. */
typedef void (*DryRunVisit)(void *context, size_t event, const Sink *sink, const MapFailure *failure, Span rows);
/* A cell of such a row as people read it: null or a string, which says so when the bytes are not
 * UTF-8; new reference. */
json_t *dry_run_cell_json(const RowCell *cell);
/* One event, the plan's sinks in order. `results`: the batch that came back; NULL when there was
 * none. */
void dry_run_map(DryRun *run, size_t event, const TemplateBatch *results, DryRunVisit visit, void *context);
