#include "gateway/control/left_runs.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "config/source_bridge.h"
#include "gateway/control/change_parts.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"

/* A claim that was on its way when the sink let go of the run may begin it once more: what is
 * removed counts only if it is removed so long after that. */
#define CLAIMS_END (60 * USEC_SECOND)
#define AGAIN (60 * USEC_SECOND)

/* The one request of this file; it is never ended. */
typedef struct LeftRuns {
    PendingRequest pending; /* first; due: of the next round */
    bool is_asked;          /* a round is on its way */
    bool again;             /* another one follows it at once */
    bool rests;             /* something of it is to be done again later */
    uint32_t sink;          /* number of the one that is looked at, or was */
    size_t entry;           /* index in Sink.left; left_count: the run of a deleted sink */
    char *told;             /* owned: the failure that was logged last; NULL: none */
} LeftRuns;

static bool replaces(const SinkTarget *target) {
    return target->table.strategy == STRATEGY_REPLACE;
}

void left_runs_note(const Control *control, const RegistrySource *known, const ChangeOutcome *outcome) {
    for (size_t i = 0; known && i < outcome->sink_count; i++) {
        Sink *sink = outcome->sinks[i];
        const RegistrySink *old = sink->number > 0 ? registry_sink_numbered(known, sink->number) : NULL;
        if (!old || known->source->run == 0 || !replaces(&old->sink->target)) continue;
        if (replaces(&sink->target) && sink_target_same_place(&old->sink->target, &sink->target)) continue;
        _cleanup_free_ char *group = bridge_group(control, known->source, &old->sink->target);
        if (!sink_note_left(sink, &old->sink->target, group))
            log_warning("sink %s/%s has left many tables: what a run has left at the first of them stays", known->source->source_id,
                        sink->sink_id);
    }
}

/* ---- a round: all sinks, by number ------------------------------------------------------------- */

static bool gives_up(const RegistrySource *source, const RegistrySink *sink) {
    return sink->sink->deleted != 0 && source->source->run != 0 && replaces(&sink->sink->target) && !sink->gave_up;
}

/* The sink with the least number, from that one on; NULL: there is none any more. */
static RegistrySink *find_next(const Control *control, uint32_t from, RegistrySource **ret_source) {
    RegistrySink *best = NULL;
    for (size_t i = 0; i < control->registry.count; i++) {
        RegistrySource *source = control->registry.sources[i];
        for (size_t k = 0; k < source->sink_count; k++) {
            RegistrySink *sink = source->sinks[k];
            if (sink->sink->number < from || (best && sink->sink->number > best->sink->number)) continue;
            if (sink->sink->left_count == 0 && !gives_up(source, sink)) continue;
            best = sink;
            *ret_source = source;
        }
    }
    return best;
}

static LoadJob *next_job(const Control *control, LeftRuns *runs) {
    RegistrySource *source;
    for (const RegistrySink *found; (found = find_next(control, runs->sink, &source)); runs->sink++) {
        const Sink *sink = found->sink;
        _cleanup_free_ char *label = NULL, *group = NULL;
        if (sink->number != runs->sink) runs->entry = 0;
        runs->sink = sink->number;
        check(asprintf(&label, "%s/%s", source->source->source_id, sink->sink_id) > 0);
        if (runs->entry < sink->left_count) {
            const LeftRun *left = &sink->left[runs->entry];
            return remove_job_new(&left->target, label, sink->number, left->group, control->mailbox, &runs->pending);
        }
        if (runs->entry == sink->left_count && gives_up(source, found)) {
            group = bridge_group(control, source->source, &sink->target);
            return give_up_job_new(&sink->target, label, sink->number, group, control->mailbox, &runs->pending);
        }
        runs->entry = 0;
    }
    return NULL;
}

static void go_on(Control *control, LeftRuns *runs) {
    LoadJob *job = control->view.draining ? NULL : next_job(control, runs);
    if (job) {
        runs->is_asked = true;
        control_ask_loaders(control, &runs->pending, job);
        return;
    }
    bool again = runs->again, rests = runs->rests;
    runs->is_asked = runs->again = false;
    if (again) left_runs_step(control);
    if (!again && rests) runs->pending.due = control->options.clock->boot(control->options.clock) + AGAIN;
}

static void tell(LeftRuns *runs, const LoadJob *job) {
    if (job->request.result == SINK_DONE) {
        free(steal(runs->told));
        return;
    }
    if (runs->told && strcmp(runs->told, job->request.error.text) == 0) return;
    free(runs->told);
    runs->told = text_copy(job->request.error.text);
    log_warning("sink %s: what its last run has left for table \"%s\" of connection \"%s\" cannot be removed yet: %s", job->label,
                sink_target_name(&job->target), job->connection, job->request.error.text);
}

static bool is_old(const Control *control, usec_t at) {
    usec_t now = control->options.clock->wall(control->options.clock);
    return now < at || now - at >= CLAIMS_END; /* a clock that went back holds up nothing */
}

/* Memory forgets at once: should the writer fail to, it is removed once more after the next
 * start. */
static void forget(Control *control, LeftRuns *runs, RegistrySource *source, const RegistrySink *known) {
    Sink *sink = sink_copy(known->sink);
    sink_forget_left(sink, runs->entry);
    (void)registry_put_sink(source, sink, NULL);
    Define *define = define_new(control->mailbox, &runs->pending);
    registry_store_sink(&control->registry, define, source->source, sink);
    control_ask_writer(control, &runs->pending, &define->request);
}

/* true: the writer is asked, and the round goes on when it has answered. */
static bool take_job(Control *control, LeftRuns *runs, const LoadJob *job) {
    RegistrySource *source = NULL;
    RegistrySink *known = find_next(control, runs->sink, &source);
    bool done = job->request.result == SINK_DONE;
    tell(runs, job);
    if (!known || known->sink->number != runs->sink) return false; /* it has gone meanwhile */
    const Sink *sink = known->sink;
    if (job->deed == GROUP_GIVE_UP) {
        known->gave_up = done && is_old(control, sink->deleted);
        runs->rests = runs->rests || !known->gave_up;
        runs->entry++;
        return false;
    }
    bool same = runs->entry < sink->left_count && strcmp(sink->left[runs->entry].group, job->group) == 0 &&
                sink_target_same_place(&sink->left[runs->entry].target, &job->target);
    /* A change that is on its way has a copy of the sink as it is. */
    if (done && same && is_old(control, sink->version.at) && !changes_are_pending(control, source->source->source_id)) {
        forget(control, runs, source, known);
        return true;
    }
    runs->rests = true;
    runs->entry++;
    return false;
}

static void back(Control *control, PendingRequest *pending, Message *take_message) {
    LeftRuns *runs = (LeftRuns *)pending;
    if (take_message->kind == MESSAGE_DEFINE) {
        Define *define = (Define *)take_message;
        if (define->request.result < 0) log_failure(LOG_WARNING, "a run that was removed stays noted", &define->request.error);
        define_free(define);
    } else {
        LoadJob *job = (LoadJob *)take_message;
        check(take_message->kind == MESSAGE_GROUP_POSITIONS && runs->is_asked);
        bool waits = take_job(control, runs, job);
        load_job_free(job);
        if (waits) return;
    }
    go_on(control, runs);
}

/* ---- rounds ------------------------------------------------------------------------------------ */

static void overdue(Control *control, PendingRequest *pending) {
    (void)pending;
    left_runs_step(control);
}

static void drop(PendingRequest *pending) {
    free(((LeftRuns *)pending)->told);
}

static LeftRuns *find(const Control *control) {
    for (PendingRequest *pending = control->pending_requests; pending; pending = pending->next)
        if (pending->back == back) return (LeftRuns *)pending;
    return NULL;
}

void left_runs_step(Control *control) {
    RegistrySource *source;
    LeftRuns *runs = find(control);
    check_on_thread(&control->owner);
    if (runs && runs->is_asked) {
        runs->again = true;
        return;
    }
    if (!control->view.connected || control->view.draining || !find_next(control, 0, &source)) return;
    if (!runs) {
        runs = pending_request_new(sizeof *runs, back, drop, NULL);
        runs->pending.overdue = overdue;
        pending_request_begin(control, &runs->pending);
    }
    runs->sink = 0;
    runs->entry = 0;
    runs->rests = false;
    runs->pending.due = 0;
    go_on(control, runs);
}
