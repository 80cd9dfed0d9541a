/*
 * Control: the main thread. Owns the definitions (registry.h), the tasks of the management API
 * (tasks.h) and the snapshots; takes signals. It never blocks on a destination or a process:
 * whatever waits (a table check, a commit, the check of a template, the fence of a changed plan) is
 * a message that comes back.
 */
#pragma once

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mailbox.h"
#include "config/options.h"
#include "gateway/control/call.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/writer/writer.h"
#include "gateway/flow/messages.h"
#include "gateway/flow/snapshot.h"
#include "gateway/flow/source_runner.h"
#include "gateway/templates/broker.h"
#include "storage/data_directory.h"
#include "storage/environment.h"

typedef struct Control Control; /* service.h, too */

typedef struct ControlOptions {
    Options *options; /* borrowed, as all of these; reload changes it */
    DataDirectory *directory;
    Environment *environment;
    Clock *clock;
    const char *config_file; /* NULL: none; read again on SIGHUP */
    char *const *arguments;  /* as given to options_load, for the reload */
    Usage *usage;
    /* Answers a call to the management API, now or later: the room above, gateway/api. Control
     * thread. */
    void (*route)(Control *control, ApiCall *take_call);
    /* Without a thread of the writer: called while control_begin waits for it, so that somebody
     * steps it (simulation). NULL: it has one. */
    void (*dispatch)(void *context);
    void *dispatch_context;
} ControlOptions;

#define TOKEN_FILE "admin.token" /* in the data directory */

/* Loads the definitions and tokens from the catalog. The first start makes an admin token and
 * writes it to admin.token (0600). */
int control_new(const ControlOptions *options, Control **ret_control, Error *error);
/* Wakes an eventfd that control_run polls. */
Mailbox *control_mailbox(Control *control);

/* What control talks to; set before control_publish and control_run. */
typedef struct ControlPeers {
    Mailbox *writer;
    Writer *lender; /* the writer, for writer_lent_statistics; NULL: none (tests) */
    Loaders *loaders;
    Mailbox *backups;             /* of the thread of backups; NULL: none (tests) */
    Mailbox *finder;              /* NULL: none (tests) */
    Templates *templates;         /* for POST …/test, and checks of templates */
    SourceRunner *const *runners; /* one a kind of source; ends with NULL */
    const char *intake_url;       /* "http://127.0.0.1:7000": for http.url when public-url is not set */
} ControlPeers;

/* Tells the writer of every sink and waits for its answer (it runs already); makes the first
 * snapshot. Before the loops start. */
int control_begin(Control *control, Mailbox *writer, Snapshot **ret_first, Error *error);
void control_connect(Control *control, const ControlPeers *peers);

/* Log level and format as the options say. Any thread. */
void control_setup_log(const Options *options);

typedef enum ControlEnd { CONTROL_TERMINATED, CONTROL_BROKEN } ControlEnd;
/* Runs until SIGTERM or SIGINT (blocked in all threads; taken by signalfd) or MESSAGE_BROKEN.
 * SIGHUP reloads the options. */
ControlEnd control_run(Control *control);
/* After control_run: ends all sources (SourceRunner.drain), or waits for the writer, which has its
 * MESSAGE_DRAIN; works messages off until they have told that they are drained, or until the
 * deadline (boot time). true: they are. Sources at most once. */
bool control_drain_sources(Control *control, usec_t until, usec_t deadline);
bool control_drain_writer(Control *control, usec_t deadline);
void control_free(Control *control); /* NULL-safe */
