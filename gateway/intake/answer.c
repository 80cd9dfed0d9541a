/* What the sender is told: the short OK, the JSON of everything else, and the header lines that
 * stand on all of it. */
#include <stdio.h>

#include "base/metrics.h"
#include "gateway/http/origin.h"
#include "gateway/intake/cors.h"
#include "gateway/intake/parts.h"

#define HEADER_BYTES_MAX 1024

/* ---- header lines ---------------------------------------------------------------------------- */

typedef struct Lines {
    size_t size;
    char text[HEADER_BYTES_MAX];
} Lines;

/* Without clearing the text: that would take as many instructions as all that is put there. */
static void lines_init(Lines *lines) {
    lines->size = 0;
}

static inline void put(Lines *lines, Span text) {
    check(lines->size + text.size <= sizeof lines->text);
    memcpy(lines->text + lines->size, text.data, text.size);
    lines->size += text.size;
}

static void put_number(Lines *lines, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    put(lines, (Span){digits + at, sizeof digits - at});
}

static void put_request_id(Lines *lines, Intake *intake) {
    put(lines, SPAN("X-Request-Id: "));
    check(lines->size + UUID_TEXT_SIZE <= sizeof lines->text);
    http_loop_request_id(intake->loop, lines->text + lines->size);
    lines->size += UUID_TEXT_SIZE;
}

static void put_cors(Lines *lines, h2o_req_t *request) {
    check(sizeof lines->text - lines->size >= CORS_BYTES_MAX);
    lines->size += cors_put(lines->text + lines->size, http_request_origin(request));
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_text(Buffer *out, Span text) {
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte < 0x20 || byte == 0x7f)
            buffer_printf(out, "\\u%04x", byte);
        else if (byte == '"' || byte == '\\')
            buffer_append(out, (char[]){'\\', (char)byte}, 2);
        else
            buffer_append_byte(out, (char)byte);
    }
    buffer_append_byte(out, '"');
}

static void json_member(Buffer *out, const char *name, const char *text) {
    buffer_printf(out, "\"%s\":", name);
    json_text(out, span_of(text));
}

/* "statusCode":N,"error":"stream.in.NAME","message":"…" */
static void json_result(Buffer *out, int status, const char *name, const char *message) {
    buffer_printf(out, "\"statusCode\":%d,", status);
    if (name) buffer_printf(out, "\"error\":\"stream.in.%s\",", name);
    json_member(out, "message", message);
}

static void json_source(Buffer *out, const Intake *intake, const SnapshotSource *source) {
    buffer_printf(out, ",\"sources\":[{\"projectId\":%u,", intake->options.project);
    json_member(out, "sourceId", source->source->source_id);
    buffer_append_byte(out, ',');
    json_member(out, "branchId", intake->branch);
    buffer_append_byte(out, ',');
}

void intake_error_body(void *context, int status, const char *name, const char *message, Buffer *out) {
    (void)context;
    buffer_append_byte(out, '{');
    json_result(out, status, name, message);
    buffer_append_text(out, "}\n");
}

/* ---- 2xx ------------------------------------------------------------------------------------- */

void intake_answer_stored(Intake *intake, h2o_req_t *request, int status, const Uuid *event, uint64_t stored, Span body) {
    Lines lines;
    lines_init(&lines);
    put_request_id(&lines, intake);
    if (event) {
        put(&lines, SPAN("\r\nSluice-Event-Id: "));
        uuid_format(event, lines.text + lines.size);
        lines.size += UUID_TEXT_SIZE;
    }
    put(&lines, SPAN("\r\nSluice-Events: "));
    put_number(&lines, stored);
    if (body.size)
        put(&lines, SPAN("\r\nContent-Type: application/json\r\n"));
    else
        put(&lines, SPAN("\r\nContent-Type: text/plain\r\n"));
    put_cors(&lines, request);
    HttpReply reply = {.status = status, .headers = {lines.text, lines.size}, .body = body.size ? body : SPAN("OK"), .body_lasts = true};
    http_reply(request, &reply);
}

void intake_answer_plain(Intake *intake, h2o_req_t *request, const char *headers, Span body) {
    Lines lines;
    lines_init(&lines);
    put_request_id(&lines, intake);
    put(&lines, SPAN("\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n"));
    put_cors(&lines, request);
    if (headers) put(&lines, span_of(headers));
    HttpReply reply = {.status = 200, .headers = {lines.text, lines.size}, .body = body, .body_lasts = true};
    http_reply(request, &reply);
}

static Span header_of(const h2o_req_t *request, Span name) {
    ssize_t at = h2o_find_header_by_str(&request->headers, name.data, name.size, -1);
    if (at < 0) return (Span){0};
    const h2o_header_t *header = &request->headers.entries[at];
    return (Span){header->value.base, header->value.len};
}

void intake_answer_preflight(Intake *intake, h2o_req_t *request, const SnapshotSource *source) {
    Lines lines;
    Buffer *out = &intake->text;
    Span origin = http_request_origin(request);
    lines_init(&lines);
    put_request_id(&lines, intake);
    put(&lines, SPAN("\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nAllow: OPTIONS, POST\r\n"));
    buffer_clear(out);
    buffer_append(out, lines.text, lines.size);
    if (source && !cors_allows(http_of(source), origin))
        buffer_append_text(out, CORS_REFUSED);
    else
        cors_put_preflight(out, origin, header_of(request, SPAN("access-control-request-headers")));
    http_reply(request, &(HttpReply){.status = 200, .headers = buffer_span(out)});
}

void intake_error_headers(Span origin, Buffer *out) {
    char lines[CORS_BYTES_MAX];
    buffer_append(out, lines, cors_put(lines, origin));
}

static void json_sink_stored(Buffer *out, const Sink *sink, int status, uint64_t rejected, size_t events) {
    char message[120];
    buffer_append_byte(out, '{');
    json_member(out, "sinkId", sink->sink_id);
    buffer_append_byte(out, ',');
    if (rejected == 0) {
        const char *done = status == 202 ? "accepted" : "processed"; /* 202: in memory */
        json_result(out, status, NULL, done);
    } else {
        (void)snprintf(message, sizeof message, "%llu of %zu events are in the sink's rejects.", (unsigned long long)rejected, events);
        json_result(out, rejected == events ? 422 : status, rejected == events ? "unprocessableContent" : NULL, message);
    }
    buffer_append_byte(out, '}');
}

Span intake_stored_body(Intake *intake, const Call *call, const RowTally *tally, int status, const char *message) {
    Buffer *out = &intake->text;
    const Plan *plan = call->source->plan;
    size_t sinks = plan ? plan_sink_count(plan) : 0;
    bool full = http_of(call->source)->error_detail == ERROR_DETAIL_FULL;
    buffer_clear(out);
    buffer_append_byte(out, '{');
    json_result(out, status, NULL, message);
    if (full) {
        json_source(out, intake, call->source);
        json_result(out, status, NULL, message);
        buffer_append_text(out, ",\"sinks\":[");
        for (size_t i = 0; i < sinks; i++) {
            if (i > 0) buffer_append_byte(out, ',');
            json_sink_stored(out, plan_sink(plan, i), status, tally->sink_rejected[i], call->count);
        }
        buffer_append_text(out, "]}]");
    }
    if (call->count != 1 || tally->rejected) {
        buffer_printf(out, ",\"events\":{\"accepted\":%llu,\"rejected\":%llu,\"duplicate\":0}", (unsigned long long)tally->stored,
                      (unsigned long long)tally->rejected);
        if (tally->rejected && full) {
            buffer_append_text(out, ",\"rejected\":[");
            buffer_append_span(out, buffer_span(intake->rejected));
            buffer_append_byte(out, ']');
        }
    }
    buffer_append_text(out, "}\n");
    h2o_iovec_t copy = h2o_strdup(&call->request->pool, out->data, out->size);
    return (Span){copy.base, copy.len};
}

void intake_describe_reject(Intake *intake, size_t index, const Sink *sink, const MapFailure *failure) {
    Buffer *out = intake->rejected;
    if (out->size) buffer_append_byte(out, ',');
    buffer_printf(out, "{\"index\":%zu,", index);
    json_member(out, "sinkId", sink->sink_id);
    if (failure->column) {
        buffer_append_byte(out, ',');
        json_member(out, "column", failure->column);
    }
    buffer_printf(out, ",\"error\":\"stream.in.%s\",", failure->error == MAP_ROW_TOO_LARGE ? "payloadTooLarge" : "unprocessableContent");
    json_member(out, "message", failure->message);
    buffer_append_byte(out, '}');
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* What may be said of a source that wants its senders to learn little. */
static const char *minimal_message(const CallRefusal *refusal) {
    if (refusal->status == 413) return "The request is too large.";
    return refusal->status == 422 ? "An event cannot be mapped to the table." : refusal->message;
}

static void json_sinks_refused(Buffer *out, const SnapshotSource *source, const CallRefusal *refusal) {
    size_t sinks = source->plan ? plan_sink_count(source->plan) : 0;
    buffer_append_text(out, ",\"sinks\":[");
    bool first = true;
    for (size_t i = 0; i < sinks; i++) {
        const Sink *sink = plan_sink(source->plan, i);
        if (refusal->sink && refusal->sink != sink) continue;
        if (!first) buffer_append_byte(out, ',');
        first = false;
        buffer_append_byte(out, '{');
        json_member(out, "sinkId", sink->sink_id);
        buffer_append_byte(out, ',');
        json_result(out, refusal->status, refusal->name, refusal->message);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

void intake_refuse(Intake *intake, h2o_req_t *request, const SnapshotSource *source, const CallRefusal *refusal) {
    Lines lines;
    lines_init(&lines);
    Buffer *out = &intake->text;
    bool minimal = source && http_of(source)->error_detail == ERROR_DETAIL_MINIMAL;
    const char *message = minimal ? minimal_message(refusal) : refusal->message;
    metrics_add(refusal->status == 503 || refusal->status == 429 ? METRIC_REQUESTS_OVERLOADED : METRIC_REQUESTS_REFUSED, 1);
    buffer_clear(out);
    buffer_append_byte(out, '{');
    json_result(out, refusal->status, refusal->name, message);
    if (source && !minimal) {
        json_source(out, intake, source);
        json_result(out, refusal->status, refusal->name, message);
        json_sinks_refused(out, source, refusal);
        buffer_append_text(out, "}]");
    }
    if (refusal->rejected) {
        buffer_append_text(out, ",\"events\":{\"accepted\":0,\"rejected\":1,\"duplicate\":0}");
        if (!minimal) {
            buffer_append_text(out, ",\"rejected\":[");
            buffer_append_span(out, buffer_span(intake->rejected));
            buffer_append_byte(out, ']');
        }
    }
    buffer_append_text(out, "}\n");
    put_request_id(&lines, intake);
    put(&lines, SPAN("\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"));
    if (refusal->hides)
        put(&lines, SPAN(CORS_REFUSED));
    else
        put_cors(&lines, request);
    if (refusal->retry_after) {
        unsigned seconds = refusal->retry_after > 60 ? 60 : refusal->retry_after;
        put(&lines, SPAN("Retry-After: "));
        put_number(&lines, seconds);
        put(&lines, SPAN("\r\n"));
    }
    if (refusal->headers) put(&lines, span_of(refusal->headers));
    HttpReply reply = {.status = refusal->status, .headers = {lines.text, lines.size}, .body = buffer_span(out)};
    http_reply(request, &reply);
}
