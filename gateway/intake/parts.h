/*
 * What the intake's files share: intake.c (thread, routes), intake_request.c (body to events), intake_append.c (events to rows, a turn's
 * Append), intake_templates.c (requests that wait for templates), intake_answer.c (what the sender is told). All of it on the loop's thread.
 */
#pragma once

#include <h2o.h>
#include <semaphore.h>

#include "base/uuid.h"
#include "gateway/http/client_address.h"
#include "gateway/http/decode.h"
#include "gateway/http/head.h"
#include "gateway/http/reply.h"
#include "gateway/intake/credential.h"
#include "gateway/intake/intake.h"
#include "gateway/intake/route.h"
#include "mapping/framing.h"

enum { INTAKE_MESSAGE_STOP = -1 }; /* intake_stop -> loop: tell when nothing is out; beside the kinds of messages.h */

#define PIECE_BYTES ((size_t)1024 * 1024)
#define TURN_BYTES ((size_t)4 * 1024 * 1024)
#define HEADERS_MOST 128       /* more than libh2o takes */
#define REJECTED_SHOWN 100     /* events that an answer lists */
#define RETRY_AFTER_OVERLOAD 2 /* seconds */

/* ---- requests that wait --------------------------------------------------------------------------------------------------------------- */

/* A request that is answered from a later turn. It may die first: then its pool clears `request` through the guard. */
typedef struct Waiter {
    h2o_req_t *request; /* NULL: it died */
    struct Waiter **guard;
} Waiter;

void waiter_init(Waiter *waiter, h2o_req_t *request);
/* Before it is answered or forgotten; gives the request, NULL when it died. */
h2o_req_t *waiter_release(Waiter *waiter);

/* ---- one request ---------------------------------------------------------------------------------------------------------------------- */

/* Why a request is refused. */
typedef struct Refusal {
    int status;
    const char *name;     /* "badRequest": error is "stream.in.badRequest" */
    unsigned retry_after; /* seconds; 0: no header */
    const char *headers;  /* more header lines, constant; NULL: none */
    const Sink *sink;     /* that refused; NULL: it is not about one */
    bool rejected;        /* one of many events is why: it is described in the intake's `rejected` text */
    char message[640];
} Refusal;

/* A request whose source and secret are known good. */
typedef struct Call {
    h2o_req_t *request;
    SnapshotSource *source; /* lives as long as `snapshot` */
    Snapshot *snapshot;
    usec_t received;
    bool verbose;
    Span content_type;
    Event common;            /* of all its events: received, ip, headers */
    const Frame *frames;     /* its events; they and the headers last until on_request returns */
    TemplateEvent *prepared; /* instead of frames and common: events with their template results */
    size_t count;
} Call;

/* What became of the events of a request. */
typedef struct Outcome {
    Uuid first;              /* id of the first event */
    uint64_t stored;         /* events that at least one sink took */
    uint64_t rejected;       /* events that at least one sink refused */
    uint64_t rejected_shown; /* in the intake's `rejected` text */
    uint64_t sink_rejected[SINKS_A_SOURCE_MAX];
} Outcome;

/* ---- a turn ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct Ticket {
    Waiter waiter;
    struct Ticket *next;
    Uuid event;
    uint64_t stored, rejected;
    Span body; /* JSON in the request's pool; empty: OK */
} Ticket;

/* An Append as the loop that made it sees it. */
typedef struct TurnAppend {
    Append append; /* first */
    struct TurnAppend *next_free;
    uint64_t stored, rejected; /* events */
    uint64_t promised;         /* rows, and events for rejects, of requests that were answered with 202 already */
} TurnAppend;

typedef struct TurnSink {
    AppendSink append;
    AppendPiece piece; /* open; offset + bytes is the end of the rows so far */
    size_t piece_room;
} TurnSink;

typedef struct TurnSource {
    struct TurnSource *next, *next_in_bucket;
    SnapshotSource *source;
    TurnSink *sinks; /* by index of the plan's sinks */
    Buffer **rows;
    size_t count;
    uint64_t events; /* that were taken */
} TurnSource;

typedef struct TurnReject {
    struct TurnReject *next;
    AppendReject reject;
} TurnReject;

#define TURN_BUCKETS 256

/* What is being gathered; all of it in the arena of `append`. */
typedef struct Turn {
    TurnAppend *append; /* NULL: nothing */
    TurnSource *sources, *last;
    TurnSource *buckets[TURN_BUCKETS];
    TurnReject *rejects, **rejects_tail;
    size_t reject_count;
    Ticket **tickets_tail;
} Turn;

typedef struct Parked Parked;

struct Intake {
    IntakeOptions options; /* of the texts only branch is kept */
    char *branch;
    TrustedProxies *proxies;
    HttpLoop *loop;
    Snapshot *snapshot; /* the newest */
    UuidSource ids;
    Mapper *mapper;
    Decoder *decoder;
    /* scratch of one request */
    Buffer decoded, rejected, text;
    Frame *frames;
    size_t frames_room;
    EventHeader headers[HEADERS_MOST];
    char ip[ADDRESS_TEXT_BYTES];
    Buffer forwarded;
    MapFailure failures[SINKS_A_SOURCE_MAX];
    uint64_t discarded; /* events of sources without a sink, since the log last said so */
    usec_t discard_told_at;
    uint64_t lost; /* promised and not committed, since the log last said so */
    usec_t lost_told_at;
    /* turns */
    Turn turn;
    size_t appends_out;
    TurnAppend *free_appends;
    Buffer *free_buffers;
    size_t free_buffer_count, free_buffer_room, free_buffer_bytes;
    /* templates */
    Parked *parked, **parked_tail; /* of this turn; not posted yet */
    size_t batches_out;
    /* the writer's disk, as of the last look */
    usec_t stall_looked_at;
    bool stalled;
    /* draining */
    bool http_drained, drained_told;
    /* stopping */
    bool stop_asked, stopped;
    sem_t may_stop; /* posted by the loop: nothing of it is with others */
};

/* intake_request.c: decodes, splits, maps and stores or answers. */
void intake_take(Intake *intake, Call *call, ContentEncoding encoding, const HttpHead *head);

/* intake_append.c */
/* Maps all events of the call into the turn, whole or not at all; false: *refusal says why. The caller answers. */
bool intake_gather(Intake *intake, Call *call, Outcome *outcome, Refusal *refusal);
/* The gathered call is answered when the turn's Append is back. `body` as in Ticket. */
void intake_ticket(Intake *intake, h2o_req_t *request, const Outcome *outcome, Span body);
void intake_flush(Intake *intake);
void intake_append_back(Intake *intake, Append *append);
/* The log says what was lost of what was promised, once in a while. */
void intake_tell_lost(Intake *intake);
void intake_recycle_free(Intake *intake);

/* intake_templates.c */
/* The call's events go to the template broker after the turn; the request is parked. false: *refusal says why. */
bool intake_park(Intake *intake, const Call *call, Refusal *refusal);
void intake_post_templates(Intake *intake);
void intake_templates_back(Intake *intake, TemplateBatch *batch);
void intake_parked_drop(Intake *intake);
/* intake_request.c: gathers, and answers now or by ticket. */
void intake_store(Intake *intake, Call *call);

/* intake_answer.c */
extern const char intake_cors[]; /* header lines */
/* 2xx. `body` as in Ticket, lasting as long as the request. */
void intake_answer_stored(Intake *intake, h2o_req_t *request, int status, const Uuid *event, uint64_t stored, Span body);
/* The JSON of a 2xx into the request's pool. */
Span intake_stored_body(Intake *intake, const Call *call, const Outcome *outcome, int status, const char *message);
/* `source` NULL: it is not known, or not to be told. */
void intake_refuse(Intake *intake, h2o_req_t *request, const SnapshotSource *source, const Refusal *refusal);
void intake_error_body(void *context, int status, const char *name, const char *message, Buffer *out);
void intake_answer_plain(Intake *intake, h2o_req_t *request, const char *headers, Span body);
/* Appends {index, sinkId, column, error, message} to intake->rejected. */
void intake_describe_reject(Intake *intake, size_t index, const Sink *sink, const MapFailure *failure);
