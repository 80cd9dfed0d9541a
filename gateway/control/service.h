/*
 * What a handler of the management API sees of control: what there is (ControlView), what it can
 * have done, and how it asks the threads behind control. Nothing else of this folder is for
 * gateway/api (tests/unit/test-includes.py). Control thread.
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

/* ---- what there is --------------------------------------------------------------------------- */

/* All borrowed; what it points to changes from turn to turn. */
typedef struct ControlView {
    const Options *options;
    const Registry *registry;
    const Pauses *pauses; /* of connections */
    const Usage *usage;
    Clock *clock;
    Environment *environment; /* for short read transactions */
    const char *intake_url;   /* "http://127.0.0.1:7000"; NULL until it is connected */
    usec_t started;           /* boot time */
    bool connected;           /* to the threads that it asks */
    bool draining;            /* the gateway shuts down */
} ControlView;

const ControlView *control_view(const Control *control);
/* Does the writer's disk hang at present (usage.h)? */
bool control_is_stalled(const Control *control);
/* Whose token is it? NULL: nobody's. */
const Token *control_find_token(const Control *control, Span text);

/* ---- what can be done ------------------------------------------------------------------------ */

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
    CHANGE_RUN,      /* of a source that ends: another run, since a topic was made anew; see RunAnew */
    CHANGE_INFER,    /* of a sink: columns of fields that were found; body: what inference.c made */
    CHANGE_MANIFEST, /* of a source that is there or not, with its sinks and settings */
} ChangeKind;

typedef struct ChangeRequest {
    ChangeKind kind;
    bool of_sink;
    const char *source_id; /* NULL: a source is created */
    const char *sink_id;   /* NULL unless an existing sink is meant */
    json_t *body;          /* borrowed; create, patch, settings and manifest */
    uint32_t if_version;   /* only if the definition has this version; 0: whatever it has */
    bool discard;          /* delete: drop what waits */
    bool prune;            /* manifest: delete the sinks that it does not name */
    bool reset_settings;   /* manifest: those that it does not name have their default, whoever set them */
    bool keep_positions;   /* patch of a sink, manifest: another table has the positions of the one before */
    const char *assumed;   /* preview: "NAME:TYPE,NAME:TYPE", connections that count as if they were declared; NULL: none */
    const char *by;        /* who */
} ChangeRequest;

/* Why not, as the API says it. */
typedef struct Failure {
    int status;           /* HTTP */
    const char *name;     /* "sourceNotFound" */
    Error error;          /* a sentence */
    unsigned retry_after; /* seconds; 0: no header */
} Failure;

/*
 * Each of these takes the call and answers it, now or later, and returns 0; or it returns -1 and
 * why not, and the call is still the caller's. A call whose new templates have to be checked first
 * is routed again when that is done.
 */

/* With the change's task. */
int control_change(Control *control, const ChangeRequest *request, ApiCall *call, Failure *failure);
/* With what a CHANGE_MANIFEST would do. */
int control_preview(Control *control, const ChangeRequest *request, ApiCall *call, Failure *failure);
/* With the task of an import of what waits. */
int control_flush(Control *control, const RegistrySource *source, const RegistrySink *sink, ApiCall *call, Failure *failure);
/* With the task of that id; `source_id`: only of that source, NULL: of any. */
int control_show_task(Control *control, const char *task_id, const char *source_id, ApiCall *call, Failure *failure);
/* Holds back the imports of a connection (`pauses`) or lets them go on. When that is stored,
 * `answer` takes the call. */
int control_pause_connection(Control *control, const char *connection, bool pauses, const char *by, ApiCall *call,
                             void (*answer)(const Control *control, ApiCall *take_call, const char *connection), Failure *failure);

/* What becomes of a connection that is declared (config/declared.h). */
typedef enum Declaring {
    DECLARING_CREATES,
    DECLARING_CHANGES, /* what is in its files */
    DECLARING_NOTHING, /* it is as declared */
} Declaring;

/* At once; `dry_run`: only says what it would do. -1 and why not, else 0. */
int control_declare_connection(Control *control, const char *name, const json_t *body, bool dry_run, const char *by, Declaring *ret_result,
                               Failure *failure);
/* Removes a declared connection that no source and no sink names. The same. */
int control_withdraw_connection(Control *control, const char *name, const char *by, Failure *failure);

/* ---- asking other threads -------------------------------------------------------------------- */

/* Who asked the writer, a loader or the templates, and goes on when the message is back. One
 * message at a time. It is the first member of a structure in memory of its own. */
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

/* The request is complete but for whom it comes back to. */
void control_ask_writer(Control *control, PendingRequest *pending, Request *take_request);
void control_ask_loaders(Control *control, PendingRequest *pending, LoadJob *take_job);
void control_ask_templates(Control *control, PendingRequest *pending, TemplateBatch *take_batch);
/* Of who reads the broker of a source. false: nobody does (it is disabled, has just been made, or
 * the gateway ends); the request is the caller's still, and the pending is not on its way. */
bool control_ask_bridge(Control *control, PendingRequest *pending, const Source *source, Request *take_request);
/* How it is: a reference on its last status (flow/bridge_status.h); NULL: nobody reads the broker,
 * or nothing was said yet. */
BridgeStatus *control_bridge_status(const Control *control, const Source *source);
/* What stands in the sink's statistics of fields that get no column (nameless.h); NULL: it infers
 * none. */
json_t *control_nameless_json(const Control *control, const Sink *sink);
/* All-zero but for what is given, and as large as the structure that it is the first member of. */
void *pending_request_new(size_t bytes, void (*back)(Control *control, PendingRequest *pending, Message *take_message),
                          void (*drop)(PendingRequest *pending), ApiCall *take_call);
/* It asks nothing more, on its way or not: frees it. */
void pending_request_end(PendingRequest *pending);
/* PendingRequests on their way that go back there. */
size_t control_pending_requests(const Control *control, void (*back)(Control *control, PendingRequest *pending, Message *take_message));
/* Fills in the statistics from the memory that the writer lends while its disk hangs; false: it
 * lends none now. */
bool control_lent_statistics(const Control *control, TotalsQuery *query);
