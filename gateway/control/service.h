/*
 * The interface of gateway/control for the handlers of the management API: the present state
 * (ControlView), the changes that a handler can request, and requests to other threads. gateway/api
 * includes no other interface of control (tests/unit/test-includes.py). Control thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/options.h"
#include "gateway/control/call.h"
#include "gateway/control/pauses.h"
#include "gateway/control/registry.h"
#include "gateway/control/tokens.h"
#include "gateway/flow/bridge_status.h"
#include "gateway/flow/messages.h"
#include "gateway/flow/usage.h"
#include "gateway/templates/batch.h"
#include "storage/environment.h"

typedef struct Control Control;

/* ---- state ----------------------------------------------------------------------------------- */

/* The last backup that was completed since the start. */
typedef struct LastBackup {
    usec_t at;   /* wall time of its end; 0: there was none */
    usec_t took; /* length */
    uint64_t bytes;
} LastBackup;

/* All pointers are borrowed. Their content may change in each turn of the control thread. */
typedef struct ControlView {
    const Options *options;
    const Registry *registry;
    const Pauses *pauses; /* of connections */
    const Usage *usage;
    Clock *clock;
    Environment *environment; /* for short read transactions */
    const char *intake_url;   /* "http://127.0.0.1:7000"; NULL until it is connected */
    usec_t started;           /* boot time */
    LastBackup last_backup;
    bool connected; /* to the threads that it asks */
    bool draining;  /* the gateway shuts down */
} ControlView;

const ControlView *control_view(const Control *control);
/* true: the writer's disk hangs at present (usage.h). */
bool control_is_stalled(const Control *control);
/* Returns the token with this text, borrowed. NULL: there is none. */
const Token *control_find_token(const Control *control, Span text);

/* ---- changes --------------------------------------------------------------------------------- */

typedef enum ChangeKind {
    CHANGE_CREATE,
    CHANGE_PATCH,
    CHANGE_SETTINGS,
    CHANGE_ENABLE,
    CHANGE_DISABLE,
    CHANGE_DELETE,
    CHANGE_UNDELETE,
    CHANGE_PAUSE,
    CHANGE_RESUME,
    CHANGE_RUN,      /* another run of a source that ends, because a topic was created again; see RunAnew */
    CHANGE_INFER,    /* of a sink: columns of fields that were found; body: what inference.c made */
    CHANGE_MANIFEST, /* a new or existing source with its sinks and settings */
} ChangeKind;

typedef struct ChangeRequest {
    ChangeKind kind;
    bool of_sink;
    const char *source_id; /* NULL: a source is created */
    const char *sink_id;   /* NULL unless an existing sink is meant */
    json_t *body;          /* borrowed; create, patch, settings and manifest */
    uint32_t if_version;   /* only if the definition has this version; 0: any version */
    bool discard;          /* delete: drop the rows that wait for import */
    bool prune;            /* manifest: delete the sinks that it does not name */
    bool reset_settings;   /* manifest: settings that it does not name return to their defaults, whoever set them */
    bool keep_positions;   /* patch of a sink, manifest: a new table gets the positions of the old one */
    const char *assumed;   /* preview: "NAME:TYPE,NAME:TYPE", connections that count as if they were declared; NULL: none */
    const char *by;        /* who */
} ChangeRequest;

/* Why a request failed, as the API reports it. */
typedef struct Failure {
    int status;           /* HTTP */
    const char *name;     /* "sourceNotFound" */
    Error error;          /* a sentence */
    unsigned retry_after; /* seconds; 0: no header */
} Failure;

/*
 * Each of these functions returns 0 and takes the call; it answers the call now or later. When it
 * fails, it returns -1 with `failure` set, and the caller still owns the call. A call whose new
 * templates must be checked first is routed again after the check.
 */

/* Starts the change. The answer is its task. */
int control_change(Control *control, const ChangeRequest *request, ApiCall *call, Failure *failure);
/* The answer is what a CHANGE_MANIFEST would do. Nothing is changed. */
int control_preview(Control *control, const ChangeRequest *request, ApiCall *call, Failure *failure);
/* Starts an import of the rows that wait. The answer is its task. */
int control_flush(Control *control, const RegistrySource *source, const RegistrySink *sink, ApiCall *call, Failure *failure);
/* Starts a backup. The answer is its task. `name`: NULL: the time. */
int control_backup(Control *control, const char *name, const char *by, ApiCall *call, Failure *failure);
/* The answer is the task with that id. `source_id`: only a task of this source; NULL: of any. */
int control_show_task(Control *control, const char *task_id, const char *source_id, ApiCall *call, Failure *failure);
/* Pauses (`pauses`) or resumes the imports of a connection. After that is stored, `answer` takes
 * the call. */
int control_pause_connection(Control *control, const char *connection, bool pauses, const char *by, ApiCall *call,
                             void (*answer)(const Control *control, ApiCall *take_call, const char *connection), Failure *failure);

/* The effect of declaring a connection (config/declared.h). */
typedef enum Declaring {
    DECLARING_CREATES,
    DECLARING_CHANGES, /* the content of its files */
    DECLARING_NOTHING, /* it is as declared */
} Declaring;

/* Declares a connection before it returns. `dry_run`: only reports what it would do. Returns 0, or
 * -1 with `failure` set. */
int control_declare_connection(Control *control, const char *name, const json_t *body, bool dry_run, const char *by, Declaring *ret_result,
                               Failure *failure);
/* Removes a declared connection that no source and no sink names. Returns the same values. */
int control_withdraw_connection(Control *control, const char *name, const char *by, Failure *failure);

/* ---- requests to other threads --------------------------------------------------------------- */

/* A request to the writer, a loader, a bridge or the template checks that continues when its
 * message returns. It has at most one message on its way. It is the first member of an allocated
 * structure. */
typedef struct PendingRequest PendingRequest;
struct PendingRequest {
    PendingRequest *next, **link; /* of all that are on their way; `link` NULL: it is not */
    void (*back)(Control *control, PendingRequest *pending,
                 Message *take_message);   /* the message is back: asks again, or ends the pending */
    void (*drop)(PendingRequest *pending); /* frees what the structure owns; NULL: nothing but the call */
    ApiCall *call;                         /* owned: to be answered when it ends; NULL: none, or it is answered */
    /* The writer's disk hangs, so the message will not be back soon: called in each turn; answers
     * the call and keeps the pending. May be NULL. */
    void (*late)(Control *control, PendingRequest *pending);
    /* The message is not back at that time (boot; 0: it may take as long as it likes): called once;
     * answers the call and keeps the pending. */
    usec_t due;
    void (*overdue)(Control *control, PendingRequest *pending);
};

/* These send a message to another thread. The caller sets all but the return address of it. */
void control_ask_writer(Control *control, PendingRequest *pending, Request *take_request);
void control_ask_loaders(Control *control, PendingRequest *pending, LoadJob *take_job);
/* A FindEvent. false: there is no finder; the caller still owns the request, and `pending` is not on
 * its way. */
bool control_ask_finder(Control *control, PendingRequest *pending, Request *take_request);
void control_ask_templates(Control *control, PendingRequest *pending, TemplateBatch *take_batch);
/* Sends the request to the bridge of a source. false: no bridge reads its broker, because the
 * source is disabled or has just been created, or the gateway shuts down. Then the caller still
 * owns the request, and `pending` is not on its way. */
bool control_ask_bridge(Control *control, PendingRequest *pending, const Source *source, Request *take_request);
/* Returns a new reference to the last status of the bridge (flow/bridge_status.h). NULL: no bridge
 * reads the broker, or it has reported nothing yet. */
BridgeStatus *control_bridge_status(const Control *control, const Source *source);
/* The part of the sink's statistics about fields that get no column (nameless.h). NULL: the sink
 * infers no columns. */
json_t *control_nameless_json(const Control *control, const Sink *sink);
/* Allocates `bytes` bytes for the structure whose first member is the request. All members that are
 * not given are zero. */
void *pending_request_new(size_t bytes, void (*back)(Control *control, PendingRequest *pending, Message *take_message),
                          void (*drop)(PendingRequest *pending), ApiCall *take_call);
/* Frees the request and its call, whether or not it is on its way. */
void pending_request_end(PendingRequest *pending);
/* The number of requests on their way whose callback is `back`. */
size_t control_pending_requests(const Control *control, void (*back)(Control *control, PendingRequest *pending, Message *take_message));
/* Fills in the statistics from the memory that the writer lends while its disk hangs. false: the
 * writer lends no memory now. */
bool control_lent_statistics(const Control *control, TotalsQuery *query);
