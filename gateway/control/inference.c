/*
 * Columns of fields that were found. What loops and bridges say is gathered for a moment, gets its
 * names at the destination, and becomes a change of the sink as any other. A destination that is
 * down is asked again; until then the fields go to _rest.
 *
 *   discovered -> gathers -> a loader names the columns -> CHANGE_INFER -> gathers ...
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "config/inference.h"
#include "config/inferred_type.h"
#include "gateway/control/change_parts.h"
#include "gateway/control/nameless.h"
#include "gateway/delivery/load_job.h"

#define GATHER_FOR (250 * USEC_MS) /* fields of one kind of event come together */
#define CHANGES_MAX 10             /* of a sink within CHANGES_WITHIN */
#define CHANGES_WITHIN (60 * USEC_SECOND)
#define RETRY_FIRST USEC_SECOND
#define RETRY_LONGEST (60 * USEC_SECOND)
/* A sink has as many columns at most; more variants of them than that are somebody's game, and come
 * again. */
#define FOUND_MAX ((size_t)4 * COLUMNS_INFERRED_MAX)

/* A sink that has fields without columns. It stays for the limit of changes when it has none. */
typedef struct Inferring {
    PendingRequest pending; /* first; its due time is when the sink's fields are looked at next */
    uint32_t sink;          /* number */
    InferredColumn *found;  /* that wait; owned */
    size_t count, room;
    bool is_asked;               /* a loader names columns */
    usec_t changes[CHANGES_MAX]; /* boot times of the last changes, a ring */
    size_t next_change;
    /* After a destination that could not be asked, or an answer or a change that gave no column: */
    usec_t retry_after;  /* length of the pause; 0: the last time it worked */
    usec_t not_before;   /* boot time: its end */
    size_t changed_from; /* number of the sink's columns when its last change began; 0: that change has ended well */
    bool said_unnamed;   /* it was logged that the destination cannot be asked */
    bool said_full;      /* it was logged that the sink has no room */
    bool said_no_room;   /* the same of its table, or of the map there */
    Nameless nameless;   /* fields that get no column */
} Inferring;

static void look(Control *control, PendingRequest *pending);
static void named(Control *control, PendingRequest *pending, Message *take_message);

static void forget(Inferring *inferring) {
    inferred_columns_free(inferring->found, inferring->count);
    inferring->found = NULL;
    inferring->count = inferring->room = 0;
}

static void inferring_drop(PendingRequest *pending) {
    Inferring *inferring = (Inferring *)pending;
    forget(inferring);
    nameless_deinit(&inferring->nameless);
}

static usec_t boot_now(const Control *control) {
    return control->options.clock->boot(control->options.clock);
}

static Inferring *find(const Control *control, uint32_t sink) {
    for (PendingRequest *pending = control->pending_requests; pending; pending = pending->next) {
        Inferring *inferring = (Inferring *)pending;
        if (pending->back == named && inferring->sink == sink) return inferring;
    }
    return NULL;
}

/* NULL: it is gone, or infers nothing (any more). */
static const RegistrySink *find_sink(const Control *control, uint32_t number, const RegistrySource **ret_source) {
    const Registry *registry = &control->registry;
    for (size_t i = 0; i < registry->count; i++)
        for (size_t k = 0; k < registry->sources[i]->sink_count; k++) {
            const RegistrySink *known = registry->sources[i]->sinks[k];
            if (known->sink->number != number) continue;
            if (known->sink->deleted != 0 || known->sink->disabled || !known->sink->target.infer) return NULL;
            *ret_source = registry->sources[i];
            return known;
        }
    return NULL;
}

/* ---- gathering ------------------------------------------------------------------------------- */

static void gather(Inferring *inferring, const InferredColumn *column) {
    for (size_t i = 0; i < inferring->count; i++) {
        if (!inferred_column_same(&inferring->found[i], column)) continue;
        if (!column->is_variant) inferring->found[i].type = inferred_type_widen(inferring->found[i].type, column->type);
        return;
    }
    if (inferring->count >= FOUND_MAX) return;
    array_reserve(inferring->found, inferring->count, inferring->room);
    InferredColumn copy = inferred_column_copy(column);
    free(copy.name);
    copy.name = NULL;
    inferring->found[inferring->count++] = copy;
}

/* When the sink may be changed again. */
static usec_t next_time(const Control *control, const Inferring *inferring) {
    usec_t due = boot_now(control) + GATHER_FOR, oldest = inferring->changes[inferring->next_change];
    if (due < inferring->not_before) due = inferring->not_before;
    bool is_full = oldest != 0 && oldest + CHANGES_WITHIN > due;
    return is_full ? oldest + CHANGES_WITHIN : due;
}

/* Nothing came of it: the next time comes later. */
static void set_back(const Control *control, Inferring *inferring) {
    inferring->retry_after = inferring->retry_after == 0 ? RETRY_FIRST : 2 * inferring->retry_after;
    if (inferring->retry_after > RETRY_LONGEST) inferring->retry_after = RETRY_LONGEST;
    inferring->not_before = boot_now(control) + inferring->retry_after;
}

static void worked(Inferring *inferring) {
    inferring->retry_after = inferring->not_before = 0;
}

static void plan_look(const Control *control, Inferring *inferring) {
    if (inferring->count > 0 && !inferring->is_asked && inferring->pending.due == 0) inferring->pending.due = next_time(control, inferring);
}

void inference_discovered(Control *control, uint32_t sink, const InferredColumn *columns, size_t count) {
    const RegistrySource *source;
    check_on_thread(&control->owner);
    if (!find_sink(control, sink, &source) || control->view.draining) return;
    Inferring *inferring = find(control, sink);
    if (!inferring) {
        inferring = pending_request_new(sizeof *inferring, named, inferring_drop, NULL);
        inferring->sink = sink;
        inferring->pending.overdue = look;
        pending_request_begin(control, &inferring->pending);
    }
    usec_t now = boot_now(control);
    for (size_t i = 0; i < count; i++)
        if (!nameless_has(&inferring->nameless, &columns[i], now)) gather(inferring, &columns[i]);
    plan_look(control, inferring);
}

void inference_redefined(Control *control, uint32_t sink) {
    Inferring *inferring = find(control, sink);
    check_on_thread(&control->owner);
    if (!inferring) return;
    nameless_deinit(&inferring->nameless);
    inferring->said_full = inferring->said_no_room = false;
    worked(inferring);
}

json_t *control_nameless_json(const Control *control, const Sink *sink) {
    static const Nameless none = {0};
    if (!sink->target.infer) return NULL;
    const Inferring *inferring = find(control, sink->number);
    return nameless_json(inferring ? &inferring->nameless : &none);
}

/* ---- asking for names ------------------------------------------------------------------------ */

static bool has_column(const SinkTarget *target, const InferredColumn *column) {
    return inference_has_column(target, column->path, column->is_variant ? COLUMN_VARIANT : COLUMN_INFERRED, column->type);
}

static void say_full(Inferring *inferring, const Sink *sink) {
    if (inferring->said_full) return;
    inferring->said_full = true;
    log_warning("sink \"%s\" has %u columns, which is the limit (maxColumns): other fields go to _rest", sink->sink_id,
                sink->target.infer->max_columns);
}

/* A field gets no column, and is not asked for again soon. Many fields can find no room: one of
 * them is in the log. */
static void leave_nameless(const Control *control, Inferring *inferring, const Sink *sink, const InferredColumn *column, NamelessWhy why) {
    if (!nameless_add(&inferring->nameless, column, why, boot_now(control))) return;
    if (why == NAMELESS_NO_ROOM && inferring->said_no_room) return;
    inferring->said_no_room = inferring->said_no_room || why == NAMELESS_NO_ROOM;
    log_warning("sink \"%s\": field %.200s%s%s gets no column and stays in _rest: %s (statistics: fieldsWithoutColumn)", sink->sink_id,
                column->path, column->is_variant ? " of type " : "", column->is_variant ? data_type_name(column->type) : "",
                nameless_words(why));
}

/* An object at its place has columns of what is in it; anything else there stays in _rest: a column
 * would be refused, and others with it. */
static bool holds_masked(const RegistrySource *source, const char *field) {
    if (source->source->body_policy != BODY_POLICY_DROP) return false;
    for (size_t i = 0; i < source->sink_count; i++)
        if (inference_holds_masked(&source->sinks[i]->sink->target, field)) return true;
    return false;
}

/* What the sink has no columns for yet, as many as it may get; fields before variants, whose names
 * follow from theirs. */
static void take_wanted(const Control *control, Inferring *inferring, const RegistrySource *source, const Sink *sink, LoadJob *job) {
    size_t room = inference_room(&sink->target);
    job->wanted = calloc(inferring->count + 1, sizeof *job->wanted);
    check(job->wanted);
    for (int variants = 0; variants < 2; variants++)
        for (size_t i = 0; i < inferring->count; i++) {
            const InferredColumn *column = &inferring->found[i];
            if (column->is_variant != (variants == 1) || has_column(&sink->target, column) ||
                inference_leaves_out(&sink->target, column->path))
                continue;
            if (holds_masked(source, column->path))
                leave_nameless(control, inferring, sink, column, NAMELESS_MASKED);
            else if (job->wanted_count < room)
                job->wanted[job->wanted_count++] = inferred_column_copy(column);
            else
                say_full(inferring, sink);
        }
}

/* Those that it has before any is inferred. */
static size_t own_columns(const SinkTarget *target) {
    size_t count = 0;
    for (size_t i = 0; i < target->column_count; i++) count += !column_is_inferred(&target->columns[i]);
    return count;
}

static void look(Control *control, PendingRequest *pending) {
    Inferring *inferring = (Inferring *)pending;
    const RegistrySource *source = NULL;
    const RegistrySink *known = find_sink(control, inferring->sink, &source);
    check(!inferring->is_asked);
    if (!known || control->view.draining) {
        forget(inferring);
        return;
    }
    if (changes_are_pending(control, source->source->source_id)) { /* what comes of it counts */
        plan_look(control, inferring);
        return;
    }
    const Sink *sink = known->sink;
    if (inferring->changed_from > 0 && inferring->changed_from >= sink->target.column_count)
        set_back(control, inferring); /* its last change has failed */
    else if (inferring->changed_from > 0)
        worked(inferring);
    inferring->changed_from = 0;
    LoadJob *job = change_prepare_job(control, source->source->source_id, sink, pending);
    job->request.message.kind = MESSAGE_COLUMNS;
    take_wanted(control, inferring, source, sink, job);
    forget(inferring);
    if (job->wanted_count == 0) {
        load_job_free(job);
        return;
    }
    size_t own = own_columns(&sink->target);
    job->columns_max = sink->target.infer->max_columns > own ? sink->target.infer->max_columns - own : 0;
    inferring->is_asked = true;
    control_ask_loaders(control, pending, job);
}

/* ---- the change ------------------------------------------------------------------------------ */

/* What inference_change reads. */
static json_t *body_of(const LoadJob *job) {
    json_t *columns = json_array();
    check(columns);
    for (size_t i = 0; i < job->named_count; i++) {
        const InferredColumn *column = &job->named[i];
        json_t *one = json_pack("{s:s, s:b, s:i, s:s}", "path", column->path, "variant", column->is_variant, "type", (int)column->type,
                                "name", column->name);
        check(one && json_array_append_new(columns, one) == 0);
    }
    json_t *body = json_pack("{s:s, s:s, s:o}", "connection", job->target.connection, "table", sink_target_name(&job->target), "columns",
                             columns);
    check(body);
    return body;
}

Sink *inference_change(const Sink *old, const json_t *body, size_t *ret_count) {
    Sink *sink = sink_copy(old);
    const json_t *columns = json_object_get(body, "columns");
    bool is_same_table = strcmp(json_string_value(json_object_get(body, "connection")), old->target.connection) == 0 &&
                         strcmp(json_string_value(json_object_get(body, "table")), sink_target_name(&old->target)) == 0;
    *ret_count = 0;
    if (!old->target.infer || !is_same_table) return sink; /* somebody was faster */
    size_t count = json_array_size(columns);
    InferredColumn *named_columns = calloc(count + 1, sizeof *named_columns);
    check(named_columns);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(columns, i);
        named_columns[i] = (InferredColumn){.path = text_copy(json_string_value(json_object_get(one, "path"))),
                                            .name = text_copy(json_string_value(json_object_get(one, "name"))),
                                            .is_variant = json_is_true(json_object_get(one, "variant")),
                                            .type = (DataType)json_integer_value(json_object_get(one, "type"))};
    }
    *ret_count = inference_add(&sink->target, named_columns, count);
    inferred_columns_free(named_columns, count);
    if (*ret_count > 0) sink->mapping_version = 0; /* the next stamp gives it its number */
    return sink;
}

/* What was asked for and has no column in the sink as it would be: nobody asks for it again. */
static void find_nameless(const Control *control, Inferring *inferring, const LoadJob *job, const Sink *changed) {
    if (strcmp(job->target.connection, changed->target.connection) != 0 ||
        strcmp(sink_target_name(&job->target), sink_target_name(&changed->target)) != 0)
        return; /* the answer is about another table */
    for (size_t i = 0; i < job->wanted_count; i++) {
        const InferredColumn *wanted = &job->wanted[i];
        bool has_name = false;
        for (size_t k = 0; k < job->named_count && !has_name; k++) has_name = inferred_column_same(&job->named[k], wanted);
        if (has_column(&changed->target, wanted))
            nameless_remove(&inferring->nameless, wanted);
        else if (!has_name)
            leave_nameless(control, inferring, changed, wanted, NAMELESS_NO_ROOM);
        else if (!inference_leaves_out(&changed->target, wanted->path) && inference_room(&changed->target) > 0)
            leave_nameless(control, inferring, changed, wanted, NAMELESS_TAKEN);
    }
}

static void change(Control *control, Inferring *inferring, const LoadJob *job) {
    const RegistrySource *source = NULL;
    const RegistrySink *known = find_sink(control, inferring->sink, &source);
    if (!known || control->view.draining) return;
    size_t count;
    json_t *body = body_of(job);
    Sink *changed = inference_change(known->sink, body, &count);
    if (inference_room(&changed->target) == 0) say_full(inferring, changed);
    find_nameless(control, inferring, job, changed);
    /* They stay until the sink has their columns: the change may fail. */
    for (size_t i = 0; i < job->named_count && count > 0; i++)
        if (has_column(&changed->target, &job->named[i])) gather(inferring, &job->named[i]);
    sink_unref(changed);
    if (count == 0) {
        set_back(control, inferring);
        json_decref(body);
        return;
    }
    inferring->changed_from = known->sink->target.column_count;
    ChangeRequest request = {.kind = CHANGE_INFER,
                             .of_sink = true,
                             .source_id = source->source->source_id,
                             .sink_id = known->sink->sink_id,
                             .body = body,
                             .by = "inferred"};
    Task *task;
    TemplateCheck *needed = NULL;
    Failure failure = {0};
    inferring->changes[inferring->next_change] = boot_now(control);
    inferring->next_change = (inferring->next_change + 1) % CHANGES_MAX;
    int r = change_start(control, &request, &task, &needed, &failure);
    check(r != CHANGE_NEEDS_TEMPLATES); /* its templates are those that it had */
    if (r < 0) log_warning("the inferred columns of sink %s cannot be added: %s", job->label, failure.error.text);
    json_decref(body);
}

static void named(Control *control, PendingRequest *pending, Message *take_message) {
    Inferring *inferring = (Inferring *)pending;
    LoadJob *job = (LoadJob *)take_message;
    check(take_message->kind == MESSAGE_COLUMNS && inferring->is_asked);
    inferring->is_asked = false;
    if (job->request.result == SINK_DONE) {
        inferring->said_unnamed = false;
        change(control, inferring, job);
    } else {
        set_back(control, inferring);
        if (!inferring->said_unnamed)
            log_failure(LOG_WARNING, "inferred columns get no names yet; their fields go to _rest", &job->request.error);
        inferring->said_unnamed = true;
        for (size_t i = 0; i < job->wanted_count; i++) gather(inferring, &job->wanted[i]);
    }
    load_job_free(job);
    plan_look(control, inferring);
}
