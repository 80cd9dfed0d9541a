/* Internals of changes, shared by the files of gateway/control that build, run or show changes.
 * Control thread. Unless its comment says otherwise, a function that takes
 * a Failure returns 0, or -1 with `failure` set. */
#pragma once

#include "config/inference.h"
#include "config/manifest.h"
#include "gateway/control/parts.h"

/* What a change does to one sink. */
typedef struct SinkOutcome {
    bool is_new;    /* needs a number and a gate */
    bool stamps;    /* gets a new version; else it is only deleted or restored with its source */
    bool adopts;    /* a manifest sets what somebody had set to the same: it is only stored */
    bool keeps;     /* its new table gets the positions of the old one */
    bool prepares;  /* a loader must check or create its table */
    bool closes;    /* its open file goes to another table or has other columns, or it ends while its source goes on */
    SinkGate *gate; /* owned; of a new one, once the change has begun */
} SinkOutcome;

/* The definitions after the change, and which steps the change needs. */
typedef struct ChangeOutcome {
    Source *source;        /* owned; NULL: the source does not change */
    bool source_is_new;    /* needs a number */
    bool source_stamps;    /* the source gets a new version */
    Sink **sinks;          /* owned; those that change */
    SinkOutcome *of_sinks; /* owned; by index of `sinks` */
    size_t sink_count;
    const char *done; /* the sentence of success; static text, or `text`. NULL: nothing differs from what is there */
    const char *same; /* static: the sentence when `done` is NULL; NULL: the sentence that nothing had to be changed */
    char *text;       /* owned */
    bool runs;        /* the source ends (source_ends) and must be read again: another run begins */
    bool shows;       /* the loops run something else: a snapshot and its fence */
    bool withdraws;   /* a source or sink ends: new events are refused first; implies `shows` */
    json_t *plan;     /* owned object: what a manifest does to each of its parts; NULL: no manifest */
} ChangeOutcome;

/* The steps run in this order; a change skips those that it does not need. From CHANGE_DEFINING on,
 * the writer has the request. */
typedef enum ChangeStep {
    CHANGE_QUEUED,
    CHANGE_HELD, /* waits for other changes that use the same connection */
    CHANGE_PREPARING,
    CHANGE_COPYING, /* positions */
    CHANGE_WITHDRAWING,
    CHANGE_DEFINING,
    CHANGE_FENCING,
    CHANGE_CLOSING,
} ChangeStep;

/* A connection that could not be reached. Changes that were requested before the failure was known
 * share it. Otherwise each of them would wait for its own failure, one after the other. */
struct Unreachable {
    Unreachable *next;
    char *connection;
    char *text;  /* of the failed tasks */
    usec_t when; /* boot time */
};

struct Change {
    PendingRequest pending; /* first */
    Change *next;
    Task *task;
    ChangeRequest request; /* own copies */
    ChangeStep step;
    usec_t asked;          /* boot time */
    ChangeOutcome outcome; /* while queued: as built at the request, without numbers and gates */
    size_t copied;         /* index of the sink whose positions are copied, or next */
    size_t at;             /* index of the sink whose table is prepared, or whose file is closed */
    Buffer made;           /* text: the tables that were created or extended so far */
    SnapshotSource *shown; /* what the loops run after the change */
    uint64_t fence;        /* no generation older than this may live */
    uint64_t discarded_rows;
    uint64_t positions; /* that were copied */
};

void outcome_deinit(ChangeOutcome *outcome);
/* Adds a sink that changes. The returned pointer is valid until the next sink is added. */
SinkOutcome *outcome_add_sink(ChangeOutcome *outcome, Sink *take_sink);
/* Sets the sentence of success. Takes the content of `text`. */
void outcome_set_done(ChangeOutcome *outcome, Buffer *text);
/* Builds the outcome from the committed definitions. Numbers and versions are not assigned yet. */
int change_build(Control *control, const ChangeRequest *request, ChangeOutcome *ret_outcome, Failure *failure);
/* The same for CHANGE_MANIFEST. `outcome` must be empty. After a failure it may be partly filled.
 * */
int change_build_manifest(Control *control, const ChangeRequest *request, ChangeOutcome *outcome, Failure *failure);
/* Checks that the change does not conflict with pending changes. The change itself must not be
 * pending yet. */
int change_check_pending(const Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, Failure *failure);
/* true: the change adds a source. */
bool change_adds_source(const Control *control, const ChangeOutcome *outcome);
/* Checks what needs no other server: paths, defaults, templates. Returns the same values as
 * change_start. */
int change_check(Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, TemplateCheck **ret_needed,
                 Failure *failure);
/* Makes the job with which a loader checks the sink's table. The job returns to `context`. */
LoadJob *change_prepare_job(Control *control, const char *source_id, const Sink *sink, PendingRequest *context);
/* A sentence that says why the table of a job without SINK_DONE cannot be used. The caller frees it
 * with free(). */
char *change_prepare_failure(const LoadJob *job);

/* ---- change_check.c, for those that build outcomes; those that return int with a Failure return -1 when they fail ---- */
int failure_set(Failure *failure, int status, const char *name, const char *format, ...) __attribute__((format(printf, 4, 5)));
int failure_bad_request(Failure *failure); /* 400; failure->error is set already */
/* 409: a deleted source or sink that is still kept has this name. */
int failure_deleted_source(Failure *failure, const char *source_id);
int failure_deleted_sink(Failure *failure, const char *source_id, const char *sink_id);
/* 400: the config file names no such connection. */
int failure_no_connection(const Control *control, const char *name, Failure *failure);
int change_check_version(const ChangeRequest *request, uint32_t number, Failure *failure);
/* 400: the fields of a complete sink with inferred columns contradict each other
 * (config/inference.h). */
int change_check_inference(const Sink *sink, Failure *failure);
/* Checks that rows of the source can be imported through the connection of the sink. */
int change_check_connection(const Control *control, const Source *source, const Sink *sink, Failure *failure);
/* true: both sinks import into the same table, as far as the config file shows. */
bool change_same_table(const Control *control, const Sink *a, const Sink *b);
/* Checks that no other sink has the table. Sinks of the source that `outcome` changes count as they
 * are after the change. */
int change_check_table(const Control *control, const char *source_id, const Sink *sink, const ChangeOutcome *outcome, Failure *failure);
/* Checks that what the source reads, and its sinks, fit the source as it is after the change. */
int change_check_source(const Control *control, const RegistrySource *known, const Source *now, Failure *failure);
int change_check_source_limit(const Control *control, Failure *failure);
/* Checks that the source may have another sink, which is this one. */
int change_check_one_more(const Control *control, const RegistrySource *known, const Sink *sink, const ChangeOutcome *outcome,
                          Failure *failure);
/* 404: the deleted sink is so old that its positions are removed, so it cannot come back. */
int change_check_positions_kept(const Control *control, const Source *source, const Sink *sink, Failure *failure);
/* Returns what the outcome makes of the committed sink: another version of it, or the sink itself. */
const Sink *change_becomes(const ChangeOutcome *outcome, const Sink *sink);
/* true: the loops need the new settings. Only the settings of waiting for the disk count. */
bool change_sync_wait_differs(const RegistrySource *known, const ChangeOutcome *outcome);

/* ---- of change_handover.c ---- */
/* For each sink of the manifest, by index, finds the sink of `known` that it stands for; NULL: a
 * new sink. -1: one of them is deleted, or a table would be handed to another sink in a way that
 * could change the order of rows. */
int handover_find(const Control *control, const ChangeRequest *request, const RegistrySource *known, const ManifestSource *manifest,
                  const RegistrySink **ret_of, Failure *failure);

/* ---- of inference.c ---- */
/* Fields of a sink were found, or types of their values that no column of theirs takes; without
 * names, copied. */
void inference_discovered(Control *control, uint32_t sink, const InferredColumn *columns, size_t count);
/* The sink was changed by a request: fields that got no column are requested again. */
void inference_redefined(Control *control, uint32_t sink);
/* Returns a copy of the sink with the columns of a CHANGE_INFER. *ret_count: number of new columns.
 * */
Sink *inference_change(const Sink *old, const json_t *body, size_t *ret_count);

/* ---- of change_bridge.c: sources that read a broker; for other sources these do nothing ---- */
/* Checks that the connection of the source exists and can be read from. */
int bridge_check_source(const Control *control, const Source *source, Failure *failure);
/* Appends a sentence about what the change of the source means for what it has already read. A
 * space separates it from earlier text. */
void bridge_say_change(const Control *control, const Source *old, const Source *now, Buffer *text);
/* true: the source ends (source_ends), and its current run is finished. */
bool bridge_is_finished(const Control *control, const Source *source);
/* true: after a start of the gateway, it is not known yet whether the source has read to its end.
 * */
bool bridge_is_starting(const Control *control, const Source *source);
/* true: the change begins another run of a source that ends. */
bool bridge_runs_again(const ChangeRequest *request, const RegistrySource *known, const ChangeOutcome *outcome);
/* A bridge reports that what a run reads was created again. Another run begins, unless one has
 * begun already or a change of the source is pending, because that change may begin one. */
void bridge_run_anew(Control *control, RunAnew *take_news);
/* Checks that the sink's setting of where it begins to read fits the source. */
int bridge_check_sink(const Source *source, const Sink *sink, Failure *failure);
/* Checks that the sinks' strategies, which replace tables or do not, fit the source. `known` NULL:
 * the source is new. */
int bridge_check_strategies(const RegistrySource *known, const ChangeOutcome *outcome, Failure *failure);
/* Number of the present run of a source whose tables are replaced, behind the group of its
 * positions; of others the group alone. free(). */
char *bridge_group(const Control *control, const Source *source, const SinkTarget *target);
/* The earliest wall time at which another run of the source may begin: after a run that has
 * replaced one of its tables. 0: at any time. */
usec_t bridge_run_behind(const Control *control, const Source *source);
/* A sink is new or gets another target: notes in it where it begins to read. */
void bridge_note_new(const Control *control, const RegistrySource *known, Sink *sink);
/* true: its rows go elsewhere, and positions count. `source`: as it will be. */
bool bridge_note_target(const Control *control, const RegistrySource *known, const Source *source, const Sink *old, Sink *now);
/* Checks that the new target of the sink can get the positions of the old one. */
int bridge_check_keep(const Control *control, const Source *source, const Sink *old, const Sink *now, Failure *failure);
/* What a change of the sink's target means for what it has read: appends a sentence, as
 * bridge_say_change does. `keeps`: the new target is given the positions of the old one. */
void bridge_say_target(const Source *source, const Sink *old, const Sink *now, bool keeps, Buffer *text);
/* What a connection of that name is, or would be for the preview that is built; NULL: there is
 * none. */
const ConnectionType *change_connection_type(const Control *control, const char *name);
/* May the two names of connections be of one destination? */
bool change_same_destination(const Control *control, const char *a, const char *b);

/* ---- of change.c, for change_ask.c ---- */
/* Where the messages of a change come back. */
void change_back(Control *control, PendingRequest *pending, Message *take_message);
/* Starts every change that no earlier one of its source holds up. */
void changes_run(Control *control);
