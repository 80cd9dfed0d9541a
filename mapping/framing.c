#include "mapping/framing.h"

#include <errno.h>

#include "base/error.h"
#include "mapping/content_type.h"
#include "mapping/json_check.h"
#include "mapping/words.h"

#define BYTE_ORDER_MARK SPAN("\xef\xbb\xbf")

static Span without_mark(Span text) {
    size_t size = BYTE_ORDER_MARK.size;
    if (text.size < size || memcmp(text.data, BYTE_ORDER_MARK.data, size) != 0) return text;
    return (Span){text.data + size, text.size - size};
}

/* What the types that always mean one framing make of the source's. */
static Framing framing_of(Framing framing, Span content_type) {
    Span type = content_type_essence(content_type);
    if (span_equal_nocase(type, SPAN("application/x-ndjson")) || span_equal_nocase(type, SPAN("application/jsonl"))) return FRAMING_NDJSON;
    if (span_equal_nocase(type, SPAN("application/cloudevents+json"))) return FRAMING_SINGLE;
    if (span_equal_nocase(type, SPAN("application/cloudevents-batch+json"))) return FRAMING_ARRAY;
    return framing;
}

void frames_resume(FrameReader *reader, Framing framing, Span content_type, Span body) {
    bool is_json = span_equal(content_type, SPAN("application/json")); /* most often, and as it is written most often */
    if (!is_json) framing = framing_of(framing, content_type);
    if (!body.data) body.data = "";
    bool splits_json = framing != FRAMING_SINGLE && framing != FRAMING_LINES;
    *reader = (FrameReader){
        .framing = framing, .kind = is_json || splits_json ? BODY_JSON : body_kind(content_type), .left = body, .begin = body.data};
}

void frames_start(FrameReader *reader, Framing framing, Span content_type, Span body) {
    frames_resume(reader, framing, content_type, body);
    bool is_opaque = reader->framing == FRAMING_SINGLE && reader->kind == BODY_OTHER;
    if (!is_opaque) reader->left = without_mark(reader->left);
}

static void advance(FrameReader *reader, const char *to) {
    check_debug(to >= reader->left.data && (size_t)(to - reader->left.data) <= reader->left.size);
    reader->left.size -= (size_t)(to - reader->left.data);
    reader->left.data = to;
}

static const char *end_of(const FrameReader *reader) {
    return reader->left.data + reader->left.size;
}

static int misfit(const FrameReader *reader, const char *at, const char *what, Error *error) {
    check(at >= reader->begin && at <= end_of(reader));
    return error_set(error, -EBADMSG, "the body does not fit the source's framing at byte %zu: %s", (size_t)(at - reader->begin), what);
}

static const char *pass_space(const char *p, const char *end) {
    while (p < end && text_is_space(*p)) p++;
    return p;
}

/* The first line that is not blank; many blank ones take one pass. */
static const char *pass_blank_lines(const char *p, const char *end) {
    const char *line = p;
    for (; p < end && text_is_space(*p); p++)
        if (*p == '\n') line = p + 1;
    return p == end ? end : line;
}

static const char *pass_empty_lines(const char *p, const char *end) {
    while (p < end && (*p == '\n' || (*p == '\r' && end - p > 1 && p[1] == '\n'))) p += *p == '\n' ? 1 : 2;
    return p;
}

static int next_line(FrameReader *reader, Span *ret_event) {
    const char *start = reader->left.data, *const end = end_of(reader);
    if (start < end && text_is_space(*start))
        start = reader->framing == FRAMING_NDJSON ? pass_blank_lines(start, end) : pass_empty_lines(start, end);
    const char *newline = start < end ? memchr(start, '\n', (size_t)(end - start)) : NULL, *stop = newline ? newline : end;
    advance(reader, newline ? newline + 1 : end);
    if (newline && stop[-1] == '\r') stop--;
    if (stop == start) return FRAMES_END; /* a line with nothing, or with nothing but space, has been passed over */
    *ret_event = (Span){start, (size_t)(stop - start)};
    return 0;
}

/* Behind the string that begins at `p`, or NULL when it has no end. */
static const char *pass_string(const char *p, const char *end) {
    check_debug(p < end && *p == '"');
    for (p++; (p = text_skip_plain(p, end)) < end && *p != '"';) {
        size_t size = *p == '\\' ? 2 : 1;
        if ((size_t)(end - p) <= size) return NULL;
        p += size;
    }
    return p < end ? p + 1 : NULL;
}

/* Behind the object or array that begins at `p`, whatever stands in it; NULL when it has no end. */
static const char *pass_container(const char *p, const char *end) {
    size_t depth = 0;
    while (p < end) {
        switch (*p) {
        case '"':
            p = pass_string(p, end);
            if (!p) return NULL;
            break;
        case '{':
        case '[':
            depth++;
            p++;
            break;
        case '}':
        case ']':
            check_debug(depth > 0); /* the first byte opens */
            p++;
            if (--depth == 0) return p;
            break;
        default: p++;
        }
    }
    return NULL;
}

static bool begins_value(char c) {
    return c != 0 && strchr("{[\"-0123456789tfn", c);
}

/* All of the body is one value: what is no array is an array of one. */
static int lone_value(FrameReader *reader, const char *start, Span *ret_event, Error *error) {
    check(reader->framing == FRAMING_ARRAY && reader->index == 0);
    const char *end = end_of(reader), *stop = start;
    if (*start == '{') {
        stop = pass_container(start, end);
    } else if (*start == '"') {
        stop = pass_string(start, end);
    } else {
        ScanFault fault;
        while (stop < end && !text_is_space(*stop)) stop++;
        if (scan_validate((Span){start, (size_t)(stop - start)}, &fault))
            return misfit(reader, start, "neither an array nor a JSON value begins here", error);
    }
    if (!stop) return misfit(reader, start, "the value that begins here has no end", error);
    const char *rest = pass_space(stop, end);
    if (rest < end) return misfit(reader, rest, "something follows the value, which is not in an array", error);
    *ret_event = (Span){start, (size_t)(stop - start)};
    reader->ended = true;
    return 0;
}

/* Behind the element of an array that begins at `p`: at its comma or the array's bracket; NULL when
 * there is none. */
static const char *pass_element(const char *p, const char *end) {
    while (p && p < end && *p != ',' && *p != ']') {
        if (*p == '"')
            p = pass_string(p, end);
        else if (*p == '{' || *p == '[')
            p = pass_container(p, end);
        else
            p++;
    }
    return p == end ? NULL : p;
}

static int next_element(FrameReader *reader, Span *ret_event, Error *error) {
    const char *end = end_of(reader), *p = pass_space(reader->left.data, end);
    if (reader->ended) return FRAMES_END;
    if (!reader->started) {
        reader->started = true;
        if (p == end) return misfit(reader, p, "there is no array", error);
        if (*p != '[') return lone_value(reader, p, ret_event, error);
        p = pass_space(p + 1, end);
        if (p < end && *p == ']') {
            reader->ended = true;
            p = pass_space(p + 1, end);
            return p < end ? misfit(reader, p, "something follows the array", error) : FRAMES_END;
        }
    }
    const char *stop = pass_element(p, end);
    if (!stop) return misfit(reader, end, "the array has no end", error);
    const char *last = stop;
    while (last > p && text_is_space(last[-1])) last--;
    if (last == p) return misfit(reader, p, "an element of the array is missing", error);
    if (*stop == ']') {
        reader->ended = true;
        const char *rest = pass_space(stop + 1, end);
        if (rest < end) return misfit(reader, rest, "something follows the array", error);
    }
    *ret_event = (Span){p, (size_t)(last - p)};
    advance(reader, stop + 1);
    return 0;
}

static int next_concatenated(FrameReader *reader, Span *ret_event, Error *error) {
    const char *end = end_of(reader), *start = reader->left.data;
    while (start < end && (text_is_space(*start) || *start == ',')) start++;
    if (start == end) return FRAMES_END;
    if (!reader->started && !begins_value(*start)) return misfit(reader, start, "no JSON value begins here", error);
    reader->started = true;
    const char *p = start;
    if (*p == '{' || *p == '[') {
        p = pass_container(p, end);
    } else if (*p == '"') {
        p = pass_string(p, end);
    } else {
        while (p < end && !text_is_space(*p) && !strchr(",{}[]\"", *p)) p++;
        if (p == start) return misfit(reader, p, *p ? "a bracket closes what was not opened" : "NUL is not JSON", error);
    }
    if (!p) return misfit(reader, start, "the value that begins here has no end", error);
    *ret_event = (Span){start, (size_t)(p - start)};
    advance(reader, p);
    return 0;
}

static int next_frame(FrameReader *reader, Span *ret_event, Error *error) {
    switch (reader->framing) {
    case FRAMING_SINGLE:
        if (reader->ended) return FRAMES_END;
        reader->ended = true;
        *ret_event = reader->left;
        return 0;
    case FRAMING_NDJSON:
    case FRAMING_LINES: return next_line(reader, ret_event);
    case FRAMING_ARRAY: return next_element(reader, ret_event, error);
    case FRAMING_CONCATENATED: return next_concatenated(reader, ret_event, error);
    }
    unreachable();
}

/* curl -d and others call everything a form; a form that is meant as one does not begin with a
 * bracket and go on as JSON. */
static bool is_json_in_a_form(Span event) {
    ScanFault fault;
    const char *end = event.data + event.size, *first = pass_space(event.data, end);
    return first < end && (*first == '{' || *first == '[') && scan_validate(event, &fault) == 0;
}

int frames_next(FrameReader *reader, Frame *ret_frame, Error *error) {
    int r = next_frame(reader, &ret_frame->body, error);
    if (r != 0) return r;
    check_debug(ret_frame->body.data >= reader->begin && ret_frame->body.data + ret_frame->body.size <= end_of(reader));
    reader->index++;
    ret_frame->kind = reader->kind;
    ret_frame->large = 0;
    if (reader->kind == BODY_FORM && is_json_in_a_form(ret_frame->body)) ret_frame->kind = BODY_JSON;
    return 0;
}
