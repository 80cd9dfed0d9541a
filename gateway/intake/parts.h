/*
 * What the intake's files share: intake.c (thread, routes), request.c (body to events), long.c
 * (requests of many events), append.c (a turn's requests and their rows), templates.c (requests
 * that wait for templates), answer.c (answers). All of it on the loop's thread.
 */
#pragma once

#include <h2o.h>
#include <semaphore.h>

#include "base/uuid.h"
#include "config/source_http.h"
#include "gateway/http/client_address.h"
#include "gateway/http/decode.h"
#include "gateway/http/head.h"
#include "gateway/http/reply.h"
#include "gateway/intake/credential.h"
#include "gateway/intake/intake.h"
#include "gateway/intake/route.h"
#include "gateway/rows/row_batch.h"
#include "mapping/framing.h"

/* Beside the kinds of messages.h. */
enum {
    INTAKE_MESSAGE_STOP = -1,      /* intake_stop -> loop: tell when nothing is out */
    INTAKE_MESSAGE_TEMPLATES = -2, /* loop -> T -> loop: the TemplateBatch of a long request */
};

/* What a source says that is found by its URL: those of other kinds are not. */
static inline const HttpSource *http_of(const SnapshotSource *source) {
    return source_http(source->source);
}

#define TURN_BYTES ((size_t)4 * 1024 * 1024)
#define HEADERS_MAX 128                      /* more than libh2o takes */
#define FRAMES_MOST 1000                     /* a request of more events is long */
#define REJECTED_SHOWN 100                   /* events that an answer lists */
#define LARGE_KEPT_BYTES ((size_t)64 * 1024) /* of an event that is over its limit */
#define RETRY_AFTER_OVERLOAD 2               /* seconds */

/* ---- requests that wait ---------------------------------------------------------------------- */

/* A request that is answered from a later turn. It may die first: then its pool clears `request`
 * through the guard. */
typedef struct Waiter {
    h2o_req_t *request; /* NULL: it died */
    struct Waiter **guard;
} Waiter;

void waiter_init(Waiter *waiter, h2o_req_t *request);
/* Before it is answered or forgotten; gives the request, NULL when it died. */
h2o_req_t *waiter_release(Waiter *waiter);

/* ---- one request ----------------------------------------------------------------------------- */

/* Why a request is refused. */
typedef struct CallRefusal {
    int status;
    const char *name;     /* "badRequest": error is "stream.in.badRequest" */
    unsigned retry_after; /* seconds; 0: no header */
    const char *headers;  /* more header lines, constant; NULL: none */
    const Sink *sink;     /* that refused; NULL: it is not about one */
    bool hides;           /* the page that sent it may not read why */
    bool rejected;        /* one of many events is why: it is described in the intake's `rejected` text */
    char message[640];
} CallRefusal;

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
    UsageClaim claim; /* bytes in flight that it has already: while its events were with the template broker */
} Call;

/* ---- a turn ---------------------------------------------------------------------------------- */

typedef struct Ticket {
    Waiter waiter;
    struct Ticket *next;
    Uuid event;
    uint64_t stored, rejected;
    Span body; /* JSON in the request's pool; empty: OK */
} Ticket;

/* Of the requests that wait for an Append: its `tickets`, in its arena. */
typedef struct TurnNotes {
    Ticket *tickets, **tail;
    uint64_t promised; /* rows, and events for rejects, of requests that were answered with 202 already */
} TurnNotes;

/* A request on its way into a turn. */
typedef struct Gather {
    RowPart part;
    Uuid first;              /* id of the first event */
    uint64_t rejected_shown; /* in the intake's `rejected` text */
} Gather;

typedef struct Parked Parked;
typedef struct LongCall LongCall;

struct Intake {
    IntakeOptions options; /* of the texts only branch is kept */
    char *branch;
    TrustedProxies *proxies;
    HttpLoop *loop;
    Snapshot *snapshot; /* the newest */
    UuidSource ids;
    RowMaker *rows;
    Decoder *decoder;
    /* scratch of one request */
    Buffer decoded, text;
    Buffer own_rejected, *rejected; /* the latter: of the request at hand */
    Frame frames[FRAMES_MOST];
    EventHeader headers[HEADERS_MAX];
    char ip[ADDRESS_TEXT_BYTES];
    Buffer forwarded;
    uint64_t discarded; /* events of sources without a sink, since the log last said so */
    usec_t discard_told_at;
    uint64_t lost; /* promised and not committed, since the log last said so */
    usec_t lost_told_at;
    /* turns */
    RowBatch own_turn, *turn; /* the latter: of the request at hand */
    size_t appends_out;
    /* templates */
    Parked *parked, **parked_tail; /* of this turn; not posted yet */
    size_t batches_out;
    /* the writer's disk, as of the last look */
    usec_t stall_looked_at;
    bool stalled;
    /* long requests */
    LongCall *long_ready; /* wait for their next slice; the first one is worked on */
    usec_t turn_began;    /* processor time of the loop's thread; 0: it had no long request then */
    size_t long_count;    /* of these and of those that wait for templates */
    /* draining */
    bool http_drained, drained_told;
    /* stopping */
    bool stop_asked, stopped;
    sem_t may_stop; /* posted by the loop: nothing of it is with others */
};

/* request.c: decodes, splits, maps and stores or answers. */
void intake_take(Intake *intake, Call *call, ContentEncoding encoding, const HttpHead *head);

/* append.c */
/* Maps all events of the call into the turn, whole or not at all; false: *refusal says why. The
 * caller answers. */
bool intake_gather(Intake *intake, const Call *call, Gather *gather, CallRefusal *refusal);
/* The same in steps: begin, then the events, then end or undo. A step that refuses has undone
 * nothing yet. */
void intake_gather_begin(Intake *intake, const Call *call, Gather *gather);
/* `large`: as in Frame. */
bool intake_gather_event(Intake *intake, const Call *call, Gather *gather, const Event *event, size_t large, size_t index,
                         CallRefusal *refusal);
bool intake_gather_admit(Intake *intake, Gather *gather, CallRefusal *refusal);
void intake_gather_end(Intake *intake, Gather *gather);
void intake_gather_undo(Intake *intake, Gather *gather);
void intake_refuse_in_flight(CallRefusal *refusal);
/* The gathered call is answered when the turn's Append is back. `body` as in Ticket. */
void intake_ticket(Intake *intake, h2o_req_t *request, const Gather *gather, Span body);
/* It was answered with 202. */
void intake_promise(Intake *intake, uint64_t rows);
void intake_flush(Intake *intake);
void intake_append_back(Intake *intake, Append *append);
/* The log says what was lost of what was promised, once in a while. */
void intake_tell_lost(Intake *intake);

/* templates.c */
/* The call's events go to the template broker after the turn; the request is parked. false:
 * *refusal says why. */
bool intake_park(Intake *intake, const Call *call, CallRefusal *refusal);
void intake_post_templates(Intake *intake);
void intake_templates_back(Intake *intake, TemplateBatch *batch);
void intake_parked_drop(Intake *intake);
/* The refusal of a request one of whose events the templates could not evaluate, without being to
 * blame: it is to be sent again. */
void intake_unavailable(const TemplateEvent *event, CallRefusal *refusal);
/* request.c: gathers, and answers now or by ticket. */
void intake_store(Intake *intake, const Call *call);
/* What was gathered is answered, now or by ticket. */
void intake_answer_gathered(Intake *intake, const Call *call, const Gather *gather);
void intake_answer_none(Intake *intake, const Call *call);
/* The event, number call->count, is over its limit. true: all sinks quarantine, so its beginning is
 * kept for the rejects. */
bool intake_cut_event(const Intake *intake, const Call *call, Frame *frame, CallRefusal *refusal);
/* `error` of frames_next. */
void intake_refuse_misfit(const Error *error, CallRefusal *refusal);
/* Charges call->count events to the source's rate. */
bool intake_within_rate(const Intake *intake, const Call *call, CallRefusal *refusal);

/* long.c */
/* The request is mapped in slices, between other requests. `decoded`: `body` lies in the intake's
 * scratch, which it takes. false: *refusal says why not. */
bool intake_take_long(Intake *intake, const Call *call, Span body, bool decoded, CallRefusal *refusal);
bool intake_work(Intake *intake); /* one slice; true: there is more */
void intake_long_templates_back(Intake *intake, TemplateBatch *batch);

/* answer.c */
/* 2xx. `body` as in Ticket, lasting as long as the request. */
void intake_answer_stored(Intake *intake, h2o_req_t *request, int status, const Uuid *event, uint64_t stored, Span body);
/* The JSON of a 2xx into the request's pool. */
Span intake_stored_body(Intake *intake, const Call *call, const RowTally *tally, int status, const char *message);
/* `source` NULL: it is not known, or not to be told. */
void intake_refuse(Intake *intake, h2o_req_t *request, const SnapshotSource *source, const CallRefusal *refusal);
void intake_error_body(void *context, int status, const char *name, const char *message, Buffer *out);
void intake_error_headers(Span origin, Buffer *out); /* for HttpHandler */
/* To OPTIONS of a source's URL: what a browser asks before it sends what a page wants to send.
 * `source` NULL: it is not known, or not to be told. */
void intake_answer_preflight(Intake *intake, h2o_req_t *request, const SnapshotSource *source);
void intake_answer_plain(Intake *intake, h2o_req_t *request, const char *headers, Span body);
/* Appends {index, sinkId, column, error, message} to intake->rejected. */
void intake_describe_reject(Intake *intake, size_t index, const Sink *sink, const MapFailure *failure);
