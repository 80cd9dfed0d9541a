/* The inside of changes, shared by the files of control that make or show them. */
#pragma once

#include "config/inference.h"
#include "config/manifest.h"
#include "gateway/control/parts.h"

/* What becomes of one sink. */
typedef struct SinkOutcome {
    bool is_new;    /* needs a number and a gate */
    bool stamps;    /* has a new version; else it only goes or comes with its source */
    bool adopts;    /* a manifest sets what somebody had set to the same: it is only stored */
    bool keeps;     /* its new table is given the positions of the old one */
    bool prepares;  /* its table is to be looked at */
    bool closes;    /* its open file goes to another table or has other columns, or it ends while its source goes on */
    SinkGate *gate; /* owned; of a new one, once the change has begun */
} SinkOutcome;

/* What the definitions become, and what the change needs, beside the catalog. */
typedef struct ChangeOutcome {
    Source *source;        /* owned; NULL: as it is */
    bool source_is_new;    /* needs a number */
    bool source_stamps;    /* has a new version */
    Sink **sinks;          /* owned; those that change */
    SinkOutcome *of_sinks; /* owned; by index of `sinks` */
    size_t sink_count;
    const char *done; /* the sentence of success; static text, or `text`. NULL: nothing differs from what is there */
    const char *same; /* static: what is said then; NULL: that nothing had to be changed */
    char *text;       /* owned */
    bool runs;        /* the source ends (source_ends), and is to be read once more: it begins another run */
    bool shows;       /* the loops run something else: a snapshot and its fence */
    bool withdraws;   /* something ends: new events are refused first (shows, too) */
    json_t *plan;     /* owned object; of a manifest: what becomes of its parts. NULL: none */
} ChangeOutcome;

/* In this order, some left out. From CHANGE_DEFINING on the writer has been told. */
typedef enum ChangeStep {
    CHANGE_QUEUED,
    CHANGE_HELD, /* others are at its connection */
    CHANGE_PREPARING,
    CHANGE_COPYING, /* positions */
    CHANGE_WITHDRAWING,
    CHANGE_DEFINING,
    CHANGE_FENCING,
    CHANGE_CLOSING,
} ChangeStep;

/* A connection that could not be reached. Changes that were asked before that was known share the
 * failure: else each would wait for its own, one after the other. */
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
    ChangeOutcome outcome; /* while it is queued: as it was when it was asked for, without numbers and gates */
    size_t copied;         /* index of the sink whose positions are copied, or next */
    size_t at;             /* index of the sink whose table is prepared, or whose file is closed */
    Buffer made;           /* text: the tables that were made or grew so far */
    SnapshotSource *shown; /* what the loops will run */
    uint64_t fence;        /* no generation older than this may live */
    uint64_t discarded_rows;
    uint64_t positions; /* that were copied */
};

void outcome_deinit(ChangeOutcome *outcome);
/* Adds a sink that changes; the answer is valid until the next one is added. */
SinkOutcome *outcome_add_sink(ChangeOutcome *outcome, Sink *take_sink);
/* The sentence of success; takes what is in `text`. */
void outcome_set_done(ChangeOutcome *outcome, Buffer *text);
/* From what is committed now. -1: why not. Numbers and versions are not given yet. */
int change_build(Control *control, const ChangeRequest *request, ChangeOutcome *ret_outcome, Failure *failure);
/* As above, of CHANGE_MANIFEST; `outcome` is empty, and filled as far as it went when it fails. */
int change_build_manifest(Control *control, const ChangeRequest *request, ChangeOutcome *outcome, Failure *failure);
/* Does what is on its way already speak against it? 0, or -1 and why not. Not of a change that is
 * on its way itself. */
int change_check_pending(const Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, Failure *failure);
/* Will there be one source more? */
bool change_adds_source(const Control *control, const ChangeOutcome *outcome);
/* What can be said at once of an outcome: paths, defaults, templates. As change_start. */
int change_check(Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, TemplateCheck **ret_needed,
                 Failure *failure);
/* The job for a loader that looks at the sink's table; it comes back to `context`. */
LoadJob *change_prepare_job(Control *control, const char *source_id, const Sink *sink, PendingRequest *context);
/* Why the table of a job that was not SINK_DONE cannot be had, a sentence; free(). */
char *change_prepare_failure(const LoadJob *job);

/* ---- for change_build_*.c: -1 and why not ---- */
int failure_set(Failure *failure, int status, const char *name, const char *format, ...) __attribute__((format(printf, 4, 5)));
int failure_bad_request(Failure *failure); /* 400; its text is there already */
/* 409: the name is taken by what was deleted and is kept. */
int failure_deleted_source(Failure *failure, const char *source_id);
int failure_deleted_sink(Failure *failure, const char *source_id, const char *sink_id);
/* 400: the config file names no such connection. */
int failure_no_connection(const Control *control, const char *name, Failure *failure);
int change_check_version(const ChangeRequest *request, uint32_t number, Failure *failure);
/* 400: what a sink that infers, and is complete, says does not go together (config/inference.h). */
int change_check_inference(const Sink *sink, Failure *failure);
/* Can rows of the source go into the connection of the sink? */
int change_check_connection(const Control *control, const Source *source, const Sink *sink, Failure *failure);
/* Do two sinks import into one table, as far as the config file says? */
bool change_same_table(const Control *control, const Sink *a, const Sink *b);
/* Is the table another sink's? `outcome`: what becomes of other sinks of that source; they count as
 * that. */
int change_check_table(const Control *control, const char *source_id, const Sink *sink, const ChangeOutcome *outcome, Failure *failure);
/* Can what it reads, and its sinks, be of the source as it will be? */
int change_check_source(const Control *control, const RegistrySource *known, const Source *now, Failure *failure);
int change_check_source_limit(const Control *control, Failure *failure);
/* Do the loops have to know of other settings? Only of who waits for the disk. */
bool change_sync_wait_differs(const RegistrySource *known, const ChangeOutcome *outcome);

/* ---- of change_handover.c ---- */
/* Which sinks of `known` the sinks of the manifest are, by index; NULL: a new one. -1: one of them
 * is deleted, or a table would go to another sink in a way that could change the order of rows. */
int handover_find(const Control *control, const ChangeRequest *request, const RegistrySource *known, const ManifestSource *manifest,
                  const RegistrySink **ret_of, Failure *failure);

/* ---- of inference.c ---- */
/* Fields of a sink were found, or types of their values that no column of theirs takes; without
 * names, copied. */
void inference_discovered(Control *control, uint32_t sink, const InferredColumn *columns, size_t count);
/* Somebody has changed the sink: fields that got no column are asked for again. */
void inference_redefined(Control *control, uint32_t sink);
/* A copy of the sink with the columns of a CHANGE_INFER; *ret_count: that it did not have. */
Sink *inference_change(const Sink *old, const json_t *body, size_t *ret_count);

/* ---- of change_bridge.c: sources that read a broker; of all others they do and say nothing ---- */
/* Is its connection there, and can it be read? */
int bridge_check_source(const Control *control, const Source *source, Failure *failure);
/* What a change of the source means for what it has read: appends a sentence, with a space before
 * it when something stands there. */
void bridge_say_change(const Control *control, const Source *old, const Source *now, Buffer *text);
/* Has the present run of a source that ends come to its end? */
bool bridge_is_finished(const Control *control, const Source *source);
/* Is it still to be found out whether it has read to the end? After a start of the gateway. */
bool bridge_is_starting(const Control *control, const Source *source);
/* Does the change have a source that ends read once more? */
bool bridge_runs_again(const ChangeRequest *request, const RegistrySource *known, const ChangeOutcome *outcome);
/* A bridge says that what a run reads was made anew: another run begins, unless one has begun, or a
 * change of the source is on its way, which may begin one. */
void bridge_run_anew(Control *control, RunAnew *take_news);
/* Can the sink say where it begins as it does? */
int bridge_check_sink(const Source *source, const Sink *sink, Failure *failure);
/* Can the tables of the source be replaced, or not, as its sinks say? `known` NULL: it is new. */
int bridge_check_strategies(const RegistrySource *known, const ChangeOutcome *outcome, Failure *failure);
/* Number of the present run of a source whose tables are replaced, behind the group of its
 * positions; of others the group alone. free(). */
char *bridge_group(const Control *control, const Source *source, const SinkTarget *target);
/* When another run of the source begins, at the earliest: behind one that has taken a table of it.
 * Wall; 0: whenever. */
usec_t bridge_run_behind(const Control *control, const Source *source);
/* A sink comes to a source, or gets another target: notes what says where it begins to read. */
void bridge_note_new(const Control *control, const RegistrySource *known, Sink *sink);
/* true: its rows go elsewhere, and positions count. `source`: as it will be. */
bool bridge_note_target(const Control *control, const RegistrySource *known, const Source *source, const Sink *old, Sink *now);
/* Can the new target of the sink have the positions of the old one? */
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
