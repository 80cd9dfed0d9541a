/*
 * Long requests: those of many events, or of a large body of several. They are split and mapped in
 * slices of a few milliseconds, one after another, and the loop serves its other connections
 * between the slices. No list of all events is made: what a request takes is its body and its rows.
 * Bodies that wait count as unfinished bytes, rows as bytes in flight from the first slice on.
 *
 * The sources take turns: one request of each that has any is mapped, then the next one of each. A
 * request that waits for templates waits apart, so it holds nobody up.
 *
 * A request keeps its connection unread meanwhile, so its body and its head stay where they are.
 * Where the source has templates, a slice ends with a batch for the broker, and the next one begins
 * when it is back.
 */
#include <stdlib.h>

#include "gateway/intake/parts.h"
#include "gateway/rows/template_events.h"

#define SLICE (2 * USEC_MS)
#define BETWEEN_LOOKS ((size_t)16 * 1024) /* work between two looks at the clock, in bytes and … */
#define EVENT_COST ((size_t)256)          /* … what an event costs beside its bytes */
#define BATCH_EVENTS ((size_t)512)
#define BATCH_BYTES ((size_t)1024 * 1024)

struct LongCall {
    Waiter waiter;
    LongCall *next;
    uint64_t round; /* sources take turns by it: a request has the one after the last of its source */
    Call call;      /* `request` is the waiter's */
    Buffer decoded;
    Span body;
    uint64_t held_bytes; /* of the bytes that wait */
    FrameReader frames;
    size_t split;  /* events that were split off */
    size_t mapped; /* events that were mapped */
    bool counting; /* events are only counted: for the rate, or since no sink wants them */
    bool begun;    /* `gather` and `turn` are in use */
    RowBatch turn;
    Gather gather;
    Buffer rejected;
    TemplateBatch *batch; /* is back */
    size_t batch_at;      /* its next event */
};

typedef enum Step {
    STEP_ON,
    STEP_END,     /* all events are mapped */
    STEP_REFUSED, /* with *refusal */
    STEP_WAITS,   /* for templates */
} Step;

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* By round, and never before the one that is worked on, which is the first. */
static void make_ready(Intake *intake, LongCall *job) {
    const SourceUsage *source = job->call.source->usage; /* all generations of a source have the same */
    LongCall **place = &intake->long_ready;
    job->round = *place ? (*place)->round : 0;
    for (const LongCall *other = *place; other; other = other->next)
        if (other->call.source->usage == source) job->round = other->round + 1;
    while (*place && (*place)->round <= job->round) place = &(*place)->next;
    job->next = *place;
    *place = job;
}

static void start_frames(LongCall *job) {
    frames_start(&job->frames, http_of(job->call.source)->framing, job->call.content_type, job->body);
    job->split = 0;
}

bool intake_take_long(Intake *intake, const Call *call, Span body, bool decoded, CallRefusal *refusal) {
    Usage *usage = intake->options.usage;
    h2o_req_t *request = call->request;
    uint64_t held = body.size + (decoded ? request->entity.len : 0);
    uint64_t before = atomic_fetch_add(&usage->waiting_bytes, held);
    if (before > 0 && before + held > usage->unfinished_limit) {
        atomic_fetch_sub(&usage->waiting_bytes, held);
        *refusal = (CallRefusal){.status = 503,
                                 .name = "overloaded",
                                 .retry_after = RETRY_AFTER_OVERLOAD,
                                 .message = "Too many requests wait (option limits.unfinished); nothing was stored."};
        return false;
    }
    atomic_fetch_add(&usage->unfinished_bytes, held); /* unfinished ones make room for it, slowest first */
    LongCall *job = calloc(1, sizeof *job);
    check(job);
    job->call = *call;
    job->call.request = NULL;
    job->call.snapshot = snapshot_ref(call->snapshot);
    job->body = body;
    job->held_bytes = held;
    job->turn.maker = intake->rows;
    job->counting = !call->source->plan || http_of(call->source)->rate_events > 0;
    if (decoded) {
        job->decoded = intake->decoded;
        intake->decoded = (Buffer){0};
    }
    /* The scratch of this request is used again by the next one. */
    size_t count = call->common.header_count;
    EventHeader *headers = h2o_mem_alloc_pool(&request->pool, (count + 1) * sizeof *headers);
    if (count > 0) memcpy(headers, call->common.headers, count * sizeof *headers);
    job->call.common.headers = headers;
    h2o_iovec_t ip = h2o_strdup(&request->pool, call->common.ip.size ? call->common.ip.data : "", call->common.ip.size);
    job->call.common.ip = (Span){ip.base, ip.len};
    start_frames(job);
    waiter_init(&job->waiter, request);
    intake->long_count++;
    make_ready(intake, job);
    return true;
}

static void long_free(Intake *intake, LongCall *job) {
    (void)waiter_release(&job->waiter);
    template_batch_free(job->batch);
    atomic_fetch_sub(&intake->options.usage->unfinished_bytes, job->held_bytes);
    atomic_fetch_sub(&intake->options.usage->waiting_bytes, job->held_bytes);
    snapshot_unref(job->call.snapshot);
    buffer_deinit(&job->decoded);
    buffer_deinit(&job->rejected);
    intake->long_count--;
    free(job);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* STEP_ON: there is one. */
static Step next_frame(Intake *intake, LongCall *job, Frame *ret_frame, CallRefusal *refusal) {
    Error error = {0};
    int r = frames_next(&job->frames, ret_frame, &error);
    if (r == FRAMES_END) return STEP_END;
    if (r < 0) {
        intake_refuse_misfit(&error, refusal);
        return STEP_REFUSED;
    }
    job->call.count = job->split;
    if (ret_frame->body.size > intake->options.limits.event_bytes && !intake_cut_event(intake, &job->call, ret_frame, refusal))
        return STEP_REFUSED;
    job->split++;
    return STEP_ON;
}

static Step count_event(Intake *intake, LongCall *job, size_t *work, CallRefusal *refusal) {
    Frame frame;
    Step step = next_frame(intake, job, &frame, refusal);
    if (step == STEP_ON) *work += frame.body.size + EVENT_COST / 8;
    if (step != STEP_END) return step;
    job->call.count = job->split;
    if (!intake_within_rate(intake, &job->call, refusal)) return STEP_REFUSED;
    if (!job->call.source->plan) return STEP_END;
    job->counting = false;
    start_frames(job);
    return STEP_ON;
}

static void begin(Intake *intake, LongCall *job) {
    if (!job->begun) intake_gather_begin(intake, &job->call, &job->gather);
    job->begun = true;
}

static Step map_event(Intake *intake, LongCall *job, const Event *event, size_t large, CallRefusal *refusal) {
    begin(intake, job);
    job->call.count = job->mapped + 2; /* how many is not known yet; they are several */
    return intake_gather_event(intake, &job->call, &job->gather, event, large, job->mapped++, refusal) ? STEP_ON : STEP_REFUSED;
}

static Step map_frame(Intake *intake, LongCall *job, size_t *work, CallRefusal *refusal) {
    Frame frame;
    Step step = next_frame(intake, job, &frame, refusal);
    if (step != STEP_ON) return step;
    Event event = job->call.common;
    event.body = frame.body;
    event.kind = frame.kind;
    uuid_next(&intake->ids, job->call.received, &event.id);
    *work += (frame.body.size + EVENT_COST) * plan_sink_count(job->call.source->plan);
    return map_event(intake, job, &event, frame.large, refusal);
}

/* ---- templates ------------------------------------------------------------------------------- */

static Step send_batch(Intake *intake, LongCall *job, CallRefusal *refusal) {
    size_t count = 0, bytes = 0;
    Step step = STEP_ON;
    while (count < BATCH_EVENTS && bytes < BATCH_BYTES) {
        step = next_frame(intake, job, &intake->frames[count], refusal);
        if (step != STEP_ON) break;
        bytes += intake->frames[count++].body.size;
    }
    if (step == STEP_REFUSED || count == 0) return step;
    SnapshotSource *source = job->call.source;
    begin(intake, job);
    job->gather.part.elsewhere = template_events_bytes(source->plan, intake->frames, count);
    if (!intake_gather_admit(intake, &job->gather, refusal)) return STEP_REFUSED;
    TemplateBatch *batch = template_batch_new(plan_ref(source->plan), count, http_loop_mailbox(intake->loop), INTAKE_MESSAGE_TEMPLATES);
    batch->source_number = source->source->number;
    template_events_fill(batch, 0, &job->call.common, intake->frames, count, &intake->ids, job);
    intake->batches_out++;
    templates_post(intake->options.templates, batch);
    return STEP_WAITS;
}

static Step map_result(Intake *intake, LongCall *job, size_t *work, CallRefusal *refusal) {
    TemplateBatch *batch = job->batch;
    TemplateEvent *next = &batch->events[job->batch_at++];
    if (next->unavailable) {
        intake_unavailable(next, refusal);
        return STEP_REFUSED;
    }
    next->event.templates = next->results;
    *work += next->event.body.size + EVENT_COST;
    Step step = map_event(intake, job, &next->event, next->large, refusal);
    if (job->batch_at < batch->count) return step;
    job->batch = NULL;
    template_batch_free(batch);
    job->gather.part.elsewhere = 0;
    return step;
}

void intake_long_templates_back(Intake *intake, TemplateBatch *batch) {
    LongCall *job = batch->events[0].cookie;
    check(intake->batches_out > 0);
    intake->batches_out--;
    job->batch = batch;
    job->batch_at = 0;
    make_ready(intake, job);
}

/* ---- slices ---------------------------------------------------------------------------------- */

static Step next_step(Intake *intake, LongCall *job, size_t *work, CallRefusal *refusal) {
    if (job->counting) return count_event(intake, job, work, refusal);
    if (job->batch) return map_result(intake, job, work, refusal);
    if (plan_template_count(job->call.source->plan) > 0) return send_batch(intake, job, refusal);
    return map_frame(intake, job, work, refusal);
}

/* STEP_ON: the time is up. */
static Step slice(Intake *intake, LongCall *job, usec_t until, CallRefusal *refusal) {
    size_t work = 0;
    Step step;
    while ((step = next_step(intake, job, &work, refusal)) == STEP_ON) {
        if (work < BETWEEN_LOOKS) continue;
        work = 0;
        if (now() >= until) break;
    }
    bool is_ours = step == STEP_ON || step == STEP_END; /* else it ends, or the broker has its events */
    if (is_ours && job->begun && !intake_gather_admit(intake, &job->gather, refusal)) return STEP_REFUSED;
    return step;
}

static void answer(Intake *intake, LongCall *job, Step step, const CallRefusal *refusal) {
    Call *call = &job->call;
    call->request = waiter_release(&job->waiter);
    if (step == STEP_REFUSED || !call->request) {
        if (job->begun) intake_gather_undo(intake, &job->gather);
        intake_flush(intake);
        if (call->request) intake_refuse(intake, call->request, call->source, refusal);
        return;
    }
    call->count = job->split;
    if (!job->begun) {
        intake_answer_none(intake, call);
        return;
    }
    intake_gather_end(intake, &job->gather);
    intake_answer_gathered(intake, call, &job->gather);
    intake_flush(intake);
}

/* false: it needs more time. */
static bool work_on(Intake *intake, LongCall *job, usec_t until) {
    CallRefusal refusal;
    RowBatch *turn = intake->turn;
    Buffer *rejected = intake->rejected;
    intake->turn = &job->turn;
    intake->rejected = &job->rejected;
    Step step = job->waiter.request ? slice(intake, job, until, &refusal) : STEP_END;
    bool ends = step == STEP_END || step == STEP_REFUSED;
    if (ends) answer(intake, job, step, &refusal);
    intake->turn = turn;
    intake->rejected = rejected;
    if (step == STEP_ON) return false;
    intake->long_ready = job->next;
    if (ends) long_free(intake, job);
    return true;
}

bool intake_work(Intake *intake) {
    if (!intake->long_ready) return false;
    usec_t until = now() + SLICE;
    while (intake->long_ready && work_on(intake, intake->long_ready, until) && now() < until) continue;
    return intake->long_ready != NULL;
}
