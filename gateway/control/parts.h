/*
 * Internals of the control thread, shared by the files of this folder. All of it is used by the
 * control thread only.
 *
 *   control.c          the loop, messages, start and end
 *   change_ask.c       checks and starts a requested change of definitions
 *   change.c           the steps of a change
 *   change_build.c     builds the new definitions of a change and checks them
 *   change_pending.c   conflicts with pending changes
 *   change_manifest.c  builds the new definitions of a manifest
 *   preview.c          what a manifest would do
 *   inference.c        columns of fields that were found
 *   flush.c            an import of the waiting rows, as a task
 *   backup.c           a backup, as a task
 *   bridges.c          requests to bridges
 *   connection_pause.c pause and resume of a connection
 *   expiry.c           removes old tasks and deleted definitions
 *   left_runs.c        removes what abandoned runs left at destinations
 */
#pragma once

#include "base/thread.h"
#include "gateway/control/change.h"
#include "gateway/control/control.h"
#include "gateway/control/service.h"
#include "gateway/control/tasks.h"
#include "gateway/templates/verdicts.h"

typedef struct Unreachable Unreachable; /* change_parts.h */

typedef struct ParkedCall ParkedCall; /* control.c */

struct Control {
    ControlOptions options;
    ControlPeers peers;
    ControlView view;
    Mailbox *mailbox;
    int wake_fd;   /* eventfd of the mailbox */
    int signal_fd; /* -1 until control_run */
    ThreadOwner owner;

    Registry registry;
    MaskKeys *mask_keys;
    Tokens tokens;
    Pauses pauses;
    Tasks *tasks;
    Change *changes;          /* in order of arrival */
    Unreachable *unreachable; /* at most one a connection */
    unsigned previews;        /* on their way */
    const char *assumed;      /* while a preview is built: see ChangeRequest */
    PendingRequest *pending_requests;
    TemplateVerdicts *verdicts;
    ParkedCall *parked; /* calls that wait for verdicts on templates */
    size_t parked_count;

    Snapshot *current; /* reference; what every loop has been told to run */
    uint64_t generation;
    uint64_t *living; /* generations that somebody may hold, the current one too */
    size_t living_count, living_room;

    bool broken, terminated;
    size_t source_threads, sources_drained; /* those that shall tell, and that have told */
    bool writer_drained;
    usec_t next_expiry; /* boot time: when old tasks and deleted definitions are looked at */
};

void pending_request_begin(Control *control, PendingRequest *pending); /* `back` and `drop` are set */
/* The call comes again when there are verdicts on the texts of the check, or its time is over. 0,
 * or -1: too many wait for that already; the check is freed, the call still the caller's. */
int control_park(Control *control, ApiCall *call, TemplateCheck *take_check, Failure *failure);

/* Makes a new generation of the snapshot from the registry and sends it to every loop. */
void control_publish(Control *control);
/* true: nobody holds a snapshot older than `generation`. */
bool control_fenced(const Control *control, uint64_t generation);
/* Works off what waits in the mailbox, timers too; returns how long nothing will happen by
 * itself. */
usec_t control_turn(Control *control);
/* Stores a task that may take long: after a restart it is then known, and shown as failed. Before
 * the message that may store its end. */
void control_note_task(Control *control, const Task *task);
/* Stores an ended task; memory lets go of it when it is stored. */
void control_store_task(Control *control, Task *task);
