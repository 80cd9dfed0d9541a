/*
 * Requests of sources with templates: their events are copied into a batch for the template broker
 * after the turn, one batch a source, and are mapped when it is back. The request may die
 * meanwhile; its rows are then not stored.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/intake/parts.h"
#include "gateway/rows/template_events.h"

#define BATCH_EVENTS ((size_t)512)
#define BATCH_BYTES ((size_t)4 * 1024 * 1024)

struct Parked {
    Waiter waiter;
    struct Parked *next;
    Call call; /* request is the waiter's; texts lie in the request's pool, later in the batch */
};

static Span pooled(h2o_req_t *request, Span bytes) {
    h2o_iovec_t copy = h2o_strdup(&request->pool, bytes.data ? bytes.data : "", bytes.size);
    return (Span){copy.base, copy.len};
}

static void parked_free(Intake *intake, Parked *parked) {
    (void)waiter_release(&parked->waiter);
    usage_release(intake->options.usage, parked->call.source->usage, &parked->call.claim);
    snapshot_unref(parked->call.snapshot);
    free(parked);
}

void intake_parked_drop(Intake *intake) {
    while (intake->parked) {
        Parked *parked = intake->parked;
        intake->parked = parked->next;
        parked_free(intake, parked);
    }
    intake->parked_tail = &intake->parked;
}

bool intake_park(Intake *intake, const Call *call, CallRefusal *refusal) {
    UsageClaim claim = {0};
    uint64_t bytes = template_events_bytes(call->source->plan, call->frames, call->count);
    if (!usage_resize(intake->options.usage, call->source->usage, &claim, bytes)) {
        intake_refuse_in_flight(refusal);
        return false;
    }
    Parked *parked = calloc(1, sizeof *parked);
    check(parked);
    h2o_req_t *request = call->request;
    parked->call = *call;
    parked->call.request = NULL;
    parked->call.snapshot = snapshot_ref(call->snapshot);
    parked->call.claim = claim;
    /* The scratch of this request is used again by the next one of the same turn. */
    Frame *frames = h2o_mem_alloc_pool(&request->pool, call->count * sizeof *frames);
    for (size_t i = 0; i < call->count; i++) {
        frames[i] = call->frames[i];
        frames[i].body = pooled(request, frames[i].body);
    }
    EventHeader *headers = h2o_mem_alloc_pool(&request->pool, (call->common.header_count + 1) * sizeof *headers);
    for (size_t i = 0; i < call->common.header_count; i++)
        headers[i] = (EventHeader){pooled(request, call->common.headers[i].name), pooled(request, call->common.headers[i].value)};
    parked->call.frames = frames;
    parked->call.common.headers = headers;
    parked->call.common.ip = pooled(request, call->common.ip);
    parked->call.content_type = pooled(request, call->content_type);
    waiter_init(&parked->waiter, request);
    *intake->parked_tail = parked;
    intake->parked_tail = &parked->next;
    return true;
}

static void fill_batch(Intake *intake, TemplateBatch *batch, size_t at, Parked *parked) {
    const Call *call = &parked->call;
    template_events_fill(batch, at, &call->common, call->frames, call->count, &intake->ids, parked);
    parked->call.content_type = (Span){arena_copy(&batch->arena, call->content_type), call->content_type.size};
    parked->call.prepared = &batch->events[at];
    parked->call.frames = NULL;
    parked->call.common = (Event){0};
}

/* Takes those of one source off the list, in order, as many as a batch should hold, at least
 * one. */
static Parked *take_group(Intake *intake, size_t *ret_events) {
    Parked *group = NULL, **group_tail = &group, **link = &intake->parked;
    const SnapshotSource *source = intake->parked->call.source;
    uint64_t bytes = 0;
    *ret_events = 0;
    while (*link) {
        Parked *parked = *link;
        if (parked->call.source != source) {
            link = &parked->next;
            continue;
        }
        if (group && (*ret_events + parked->call.count > BATCH_EVENTS || bytes + parked->call.claim.bytes > BATCH_BYTES)) break;
        *ret_events += parked->call.count;
        bytes += parked->call.claim.bytes;
        *link = parked->next;
        parked->next = NULL;
        *group_tail = parked;
        group_tail = &parked->next;
    }
    return group;
}

void intake_post_templates(Intake *intake) {
    /* What died in this turn already needs no evaluation. */
    for (Parked **link = &intake->parked; *link;) {
        Parked *parked = *link;
        if (parked->waiter.request) {
            link = &parked->next;
            continue;
        }
        *link = parked->next;
        parked_free(intake, parked);
    }
    while (intake->parked) {
        size_t events, at = 0;
        Parked *group = take_group(intake, &events);
        SnapshotSource *source = group->call.source;
        TemplateBatch *batch = template_batch_new(plan_ref(source->plan), events, http_loop_mailbox(intake->loop), MESSAGE_TEMPLATES);
        batch->source_number = source->source->number;
        for (Parked *parked = group; parked; parked = parked->next) {
            fill_batch(intake, batch, at, parked);
            at += parked->call.count;
        }
        for (Parked *parked = group; parked; parked = parked->next)
            if (parked->waiter.request) http_request_parked(parked->waiter.request);
        intake->batches_out++;
        templates_post(intake->options.templates, batch);
    }
    intake->parked_tail = &intake->parked;
}

/* The first event that could not be evaluated by no fault of its own. */
static const TemplateEvent *find_unavailable(const Call *call) {
    for (size_t i = 0; i < call->count; i++)
        if (call->prepared[i].unavailable) return &call->prepared[i];
    return NULL;
}

void intake_unavailable(const TemplateEvent *event, CallRefusal *refusal) {
    *refusal = (CallRefusal){.status = 503, .name = "templatesUnavailable", .retry_after = RETRY_AFTER_OVERLOAD};
    Span reason = event->results[0].text;
    (void)snprintf(refusal->message, sizeof refusal->message, "The templates cannot be evaluated at present (%.*s); nothing was stored.",
                   (int)(reason.size < 200 ? reason.size : 200), reason.data);
}

static void refuse_unavailable(Intake *intake, h2o_req_t *request, const TemplateEvent *event) {
    CallRefusal refusal;
    intake_unavailable(event, &refusal);
    intake_refuse(intake, request, NULL, &refusal);
}

void intake_templates_back(Intake *intake, TemplateBatch *batch) {
    check(intake->batches_out > 0);
    intake->batches_out--;
    for (size_t i = 0; i < batch->count;) {
        Parked *parked = batch->events[i].cookie;
        i += parked->call.count;
        for (size_t e = 0; e < parked->call.count; e++) parked->call.prepared[e].event.templates = parked->call.prepared[e].results;
        parked->call.request = waiter_release(&parked->waiter);
        const TemplateEvent *unavailable = find_unavailable(&parked->call);
        h2o_req_t *request = parked->call.request;
        if (request && unavailable) refuse_unavailable(intake, request, unavailable);
        if (request && !unavailable) {
            intake_store(intake, &parked->call);
            parked->call.claim = (UsageClaim){0}; /* it is of its rows now */
        }
        parked_free(intake, parked);
    }
    template_batch_free(batch);
}
