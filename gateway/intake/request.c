/* From the body of a request to its events, and what comes before they are mapped: encoding,
 * framing, limits, rate. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/intake/parts.h"
#include "mapping/headers.h"

#define DISCARD_LOG_INTERVAL (10 * USEC_SECOND) /* of each loop */
/* A larger body is long, unless most of it is one event. */
#define AT_ONCE_BYTES ((size_t)256 * 1024)

static bool refuse(CallRefusal *refusal, int status, const char *name, const char *format, ...) __attribute__((format(printf, 4, 5)));

static bool refuse(CallRefusal *refusal, int status, const char *name, const char *format, ...) {
    *refusal = (CallRefusal){.status = status, .name = name};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(refusal->message, sizeof refusal->message, format, arguments);
    va_end(arguments);
    return false;
}

static bool overloaded(CallRefusal *refusal, const char *message) {
    refuse(refusal, 503, "overloaded", "%s", message);
    refusal->retry_after = RETRY_AFTER_OVERLOAD;
    return false;
}

/* ---- body and events ------------------------------------------------------------------------- */

/* The body without its encoding; decoded bytes lie in the intake's scratch until the next
 * request. */
static __attribute__((noinline)) bool decode(Intake *intake, const Call *call, ContentEncoding encoding, Span *ret_body,
                                             CallRefusal *refusal) {
    Span sent = {call->request->entity.base, call->request->entity.len};
    Error error = {0};
    if (encoding == ENCODING_UNSUPPORTED) {
        refuse(refusal, 415, "unsupportedMediaType", "The Content-Encoding is not supported: send " DECODE_ACCEPTED ", or none.");
        refusal->headers = "Accept-Encoding: " DECODE_ACCEPTED "\r\n";
        return false;
    }
    buffer_clear(&intake->decoded);
    size_t most = intake->options.limits.body_bytes;
    int r = decoder_decode(intake->decoder, encoding, sent, most, &intake->decoded, &error);
    if (r == DECODE_TOO_LARGE)
        return refuse(refusal, 413, "bodyTooLarge", "The decoded body has more than %zu bytes (option limits.body).", most);
    if (r < 0) return refuse(refusal, 400, "badRequest", "%s", error.text);
    *ret_body = buffer_span(&intake->decoded);
    return true;
}

static bool all_quarantine(const Plan *plan) {
    for (size_t i = 0; i < plan_sink_count(plan); i++)
        if (plan_sink(plan, i)->on_invalid == ON_INVALID_REJECT) return false;
    return true;
}

bool intake_cut_event(const Intake *intake, const Call *call, Frame *frame, CallRefusal *refusal) {
    size_t size = frame->body.size, kept = size < LARGE_KEPT_BYTES ? size : LARGE_KEPT_BYTES;
    if (!call->source->plan || !all_quarantine(call->source->plan))
        return refuse(refusal, 413, "bodyTooLarge", "Event %zu has %zu bytes; the limit is %zu (option limits.event).", call->count, size,
                      intake->options.limits.event_bytes);
    while (kept > 0 && kept < size && ((unsigned char)frame->body.data[kept] & 0xc0) == 0x80) kept--; /* no half of a character */
    frame->body.size = kept;
    frame->large = size;
    return true;
}

void intake_refuse_misfit(const Error *error, CallRefusal *refusal) {
    refuse(refusal, 400, "badRequest", "T%s.", error->text + 1); /* "the body does not fit …" */
}

typedef enum SplitResult { SPLIT_DONE, SPLIT_REFUSED, SPLIT_LONG } SplitResult;

/* The events of a request that is mapped at once. */
static SplitResult split(Intake *intake, Call *call, Span body, CallRefusal *refusal) {
    FrameReader frames;
    Error error; /* not cleared, for each request: frames_next sets it when it fails */
    Frame frame;
    int r;
    const size_t event_bytes = intake->options.limits.event_bytes;
    frames_start(&frames, http_of(call->source)->framing, call->content_type, body);
    call->count = 0;
    while ((r = frames_next(&frames, &frame, &error)) == 0) {
        if (call->count == FRAMES_MOST || (body.size > AT_ONCE_BYTES && frame.body.size < body.size / 2)) return SPLIT_LONG;
        if (frame.body.size > event_bytes && !intake_cut_event(intake, call, &frame, refusal)) return SPLIT_REFUSED;
        intake->frames[call->count++] = frame;
    }
    call->frames = intake->frames;
    if (r == FRAMES_END) return SPLIT_DONE;
    intake_refuse_misfit(&error, refusal);
    return SPLIT_REFUSED;
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* The bucket is one number: the time at which it is full again. A request larger than the burst
 * passes when it is full. */
static __attribute__((noinline)) bool charge(const Intake *intake, const Call *call, CallRefusal *refusal) {
    const HttpSource *source = http_of(call->source);
    int64_t rate = source->rate_events, burst = source->rate_burst;
    int64_t cost = (int64_t)call->count * USEC_SECOND / rate, depth = burst * USEC_SECOND / rate;
    usec_t now = intake->options.clock->boot(intake->options.clock);
    int64_t full_at = atomic_load_explicit(&call->source->usage->rate_full_at, memory_order_relaxed);
    for (;;) {
        int64_t from = full_at > now ? full_at : now;
        int64_t missing = from + cost - now - depth;
        if (missing > 0 && from > now) {
            refuse(refusal, 429, "rateLimit", "The source accepts %u events per second (burst %lld).", source->rate_events,
                   (long long)burst);
            int64_t seconds = (missing < from - now ? missing : from - now) / USEC_SECOND + 1;
            refusal->retry_after = seconds > 60 ? 60 : (unsigned)seconds;
            return false;
        }
        if (atomic_compare_exchange_weak_explicit(&call->source->usage->rate_full_at, &full_at, from + cost, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    }
}

bool intake_within_rate(const Intake *intake, const Call *call, CallRefusal *refusal) {
    return http_of(call->source)->rate_events == 0 || call->count == 0 || charge(intake, call, refusal);
}

static bool gates_open(const Call *call, CallRefusal *refusal) {
    size_t count = plan_sink_count(call->source->plan);
    for (size_t i = 0; i < count; i++) {
        if (!atomic_load_explicit(&call->source->gates[i]->closed, memory_order_relaxed)) continue;
        overloaded(refusal,
                   "A sink of the source has used up its share of the disk; events are accepted again when its rows have been imported.");
        refusal->sink = plan_sink(call->source->plan, i);
        return false;
    }
    return true;
}

/* ---- what plans may need --------------------------------------------------------------------- */

/* As received, without what would give secrets away. */
static void set_headers(Intake *intake, Call *call, const HttpHead *head) {
    Span lines = head->lines;
    EventHeader header;
    size_t count = 0;
    while (count < HEADERS_MAX && http_head_next(&lines, &header.name, &header.value)) {
        if (header_is_secret(header.name)) continue;
        intake->headers[count++] = header;
    }
    call->common.headers = intake->headers;
    call->common.header_count = count;
}

/* All values of a header, joined; into the intake's scratch behind what is there. */
static Span joined(Intake *intake, const HttpHead *head, Span name, size_t *start) {
    Span lines = head->lines, found, value;
    *start = intake->forwarded.size;
    while (http_head_next(&lines, &found, &value)) {
        if (!span_equal_nocase(found, name)) continue;
        if (intake->forwarded.size > *start) buffer_append_byte(&intake->forwarded, ',');
        buffer_append_span(&intake->forwarded, value);
    }
    return (Span){NULL, intake->forwarded.size - *start};
}

static void set_ip(Intake *intake, Call *call, const HttpHead *head) {
    Span peer = http_request_peer(call->request);
    call->common.ip = peer;
    if (!trusted_proxies_hold(intake->proxies, peer)) return;
    size_t first, second;
    buffer_clear(&intake->forwarded);
    Span forwarded_for = joined(intake, head, SPAN("x-forwarded-for"), &first);
    Span forwarded = joined(intake, head, SPAN("forwarded"), &second);
    if (forwarded_for.size) forwarded_for.data = intake->forwarded.data + first;
    if (forwarded.size) forwarded.data = intake->forwarded.data + second;
    call->common.ip = client_address(intake->proxies, peer, forwarded_for, forwarded, intake->ip);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void answer_nothing_stored(Intake *intake, const Call *call, const char *message) {
    static const RowTally nothing;
    Span body = call->verbose ? intake_stored_body(intake, call, &nothing, 200, message) : (Span){0};
    intake_answer_stored(intake, call->request, 200, NULL, 0, body);
}

void intake_answer_gathered(Intake *intake, const Call *call, const Gather *gather) {
    const RowTally *tally = &gather->part.tally;
    int status = call->source->any_sync_wait ? 200 : 202;
    Span body = {0};
    if (call->verbose || tally->rejected)
        body = intake_stored_body(intake, call, tally, status, tally->rejected ? "Some events were not accepted by every sink." : "OK");
    if (status == 200) {
        intake_ticket(intake, call->request, gather, body);
    } else {
        intake_promise(intake, call->count * plan_sink_count(call->source->plan));
        intake_answer_stored(intake, call->request, status, &gather->first, tally->stored, body);
    }
    if (intake->turn->append->bytes > TURN_BYTES) intake_flush(intake);
}

void intake_store(Intake *intake, const Call *call) {
    Gather gather;
    CallRefusal refusal;
    if (intake_gather(intake, call, &gather, &refusal))
        intake_answer_gathered(intake, call, &gather);
    else
        intake_refuse(intake, call->request, call->source, &refusal);
}

/* They are gone, and their senders have a 200. */
static void count_discarded(Intake *intake, const Source *source, uint64_t events) {
    usec_t now = intake->options.clock->boot(intake->options.clock);
    metrics_add(METRIC_EVENTS_WITHOUT_SINK, events);
    intake->discarded += events;
    if (events == 0 || (intake->discard_told_at && now < intake->discard_told_at + DISCARD_LOG_INTERVAL)) return;
    log_warning("source \"%s\" has no enabled sink and has discard: true; %llu events of this and other such sources were discarded",
                source->source_id, (unsigned long long)intake->discarded);
    intake->discarded = 0;
    intake->discard_told_at = now;
}

void intake_answer_none(Intake *intake, const Call *call) {
    if (call->source->plan) {
        answer_nothing_stored(intake, call, "OK");
        return;
    }
    count_discarded(intake, call->source->source, call->count);
    answer_nothing_stored(intake, call, "No enabled sink found: the events are discarded, because the source has discard: true.");
}

/* All but the events. */
static bool prepare(Intake *intake, Call *call, const HttpHead *head, CallRefusal *refusal) {
    call->common.received = call->received;
    if (!call->source->plan) return true;
    if (!gates_open(call, refusal)) return false;
    unsigned needs = plan_needs(call->source->plan);
    if (needs & PLAN_NEEDS_HEADERS) set_headers(intake, call, head);
    if (needs & PLAN_NEEDS_IP) set_ip(intake, call, head);
    return true;
}

/* Answers, or leaves that to a later turn; false: the caller refuses. */
static bool take(Intake *intake, Call *call, ContentEncoding encoding, const HttpHead *head, CallRefusal *refusal) {
    const SnapshotSource *source = call->source;
    Span body;
    if (!source->plan && !http_of(source)->discard) {
        refuse(refusal, 503, "noEnabledSink", "No enabled sink found: the source has none, or all of them are disabled.");
        refusal->retry_after = 60;
        return false;
    }
    if (encoding == ENCODING_IDENTITY)
        body = (Span){call->request->entity.base, call->request->entity.len};
    else if (!decode(intake, call, encoding, &body, refusal))
        return false;
    switch (split(intake, call, body, refusal)) {
    case SPLIT_REFUSED: return false;
    case SPLIT_LONG:
        return prepare(intake, call, head, refusal) && intake_take_long(intake, call, body, encoding != ENCODING_IDENTITY, refusal);
    case SPLIT_DONE: break;
    }
    if (!intake_within_rate(intake, call, refusal) || !prepare(intake, call, head, refusal)) return false;
    if (!source->plan || call->count == 0) {
        intake_answer_none(intake, call);
        return true;
    }
    if (plan_template_count(source->plan) > 0) return intake_park(intake, call, refusal);
    intake_store(intake, call);
    return true;
}

void intake_take(Intake *intake, Call *call, ContentEncoding encoding, const HttpHead *head) {
    CallRefusal refusal;
    if (!take(intake, call, encoding, head, &refusal)) intake_refuse(intake, call->request, call->source, &refusal);
}
