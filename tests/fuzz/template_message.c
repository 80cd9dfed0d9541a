/*
 * The frames between the template broker and its workers. The first byte chooses. Even: the rest is
 * what came over a socket. Each frame is read by its kind; what is accepted must be what writing it
 * again gives. Odd: a message is made of the rest, written, and read back; every shorter piece of
 * it is told to be incomplete.
 */
#include <errno.h>

#include "base/buffer.h"
#include "mapping/template_message.h"
#include "tests/fuzz/fuzz.h"

static Guard guard;

/* A RESULT frame inside DIED is read like one over the data socket. */
static void read_stream(Span left, unsigned depth);

static int read_and_write(const TemplateFrame *frame, Arena *arena, Buffer *out, unsigned depth) {
    TemplateLoad load;
    TemplateEventMessage event;
    TemplateResultMessage result;
    TemplateChildMessage child;
    TemplateDiedMessage died;
    Span reason;
    int r = -EBADMSG;
    switch (frame->kind) {
    case TEMPLATE_FRAME_LOAD:
        r = template_read_load(frame->payload, arena, &load);
        if (r == 0) template_put_load(out, &load);
        break;
    case TEMPLATE_FRAME_EVENT:
        r = template_read_event(frame->payload, arena, &event);
        if (r) break;
        check(event.kind <= BODY_OTHER && event.budget_usec > 0);
        check(template_event_bytes(&event) == frame->bytes);
        template_put_event(out, &event);
        break;
    case TEMPLATE_FRAME_RESULT:
        r = template_read_result(frame->payload, &result);
        if (r == 0) template_put_result(out, &result);
        break;
    case TEMPLATE_FRAME_CHILD:
        r = template_read_child(frame->payload, &child);
        if (r == 0) template_put_child(out, &child);
        break;
    case TEMPLATE_FRAME_DIED:
        r = template_read_died(frame->payload, &died);
        if (r) break;
        check(died.death <= TEMPLATE_DEATH_KILLED);
        if (depth == 0) read_stream(died.results, depth + 1);
        template_put_died(out, &died);
        break;
    case TEMPLATE_FRAME_REFUSED:
        r = template_read_refused(frame->payload, &reason);
        if (r == 0) template_put_refused(out, reason);
        break;
    default: unreachable();
    }
    return r;
}

static void read_stream(Span left, unsigned depth) {
    Arena arena = {0};
    Buffer out = {0};
    for (;;) {
        TemplateFrame frame;
        int r = template_frame_next(left, &frame);
        if (r == TEMPLATE_FRAME_INCOMPLETE) check(frame.bytes > left.size);
        check(r == 0 || r == TEMPLATE_FRAME_INCOMPLETE || r == -EBADMSG);
        if (r) break;
        check(frame.bytes <= left.size && frame.bytes == frame.payload.size + TEMPLATE_FRAME_HEAD_BYTES);
        buffer_clear(&out);
        r = read_and_write(&frame, &arena, &out, depth);
        check(r == 0 ? span_equal(buffer_span(&out), (Span){left.data, frame.bytes}) : r == -EBADMSG);
        (void)fuzz_take(&left, frame.bytes);
        arena_reset(&arena);
    }
    arena_deinit(&arena);
    buffer_deinit(&out);
}

/* A text of the length that two bytes say. */
static Span take_text(Span *left) {
    size_t size = fuzz_number(left, 2) % 1200;
    return fuzz_take(left, size);
}

static Span cut(Span text, size_t most) {
    return (Span){text.data, text.size < most ? text.size : most};
}

static TemplateFrame one_frame(const Buffer *frame, TemplateFrameKind kind) {
    Span bytes = fuzz_guarded(&guard, buffer_span(frame));
    TemplateFrame got;
    size_t step = bytes.size / 64 + 1;
    for (size_t size = 0; size < bytes.size; size += step) {
        check(template_frame_next((Span){bytes.data, size}, &got) == TEMPLATE_FRAME_INCOMPLETE);
        check(got.bytes == (size < TEMPLATE_FRAME_HEAD_BYTES ? TEMPLATE_FRAME_HEAD_BYTES : bytes.size));
    }
    check(template_frame_next(bytes, &got) == 0);
    check(got.kind == kind && got.bytes == bytes.size);
    return got;
}

static void load_returns(Span left, Arena *arena, Buffer *out) {
    Span texts[8];
    TemplateLoad load = {.check_only = fuzz_byte(&left) & 1}, got;
    load.stack_frames = 1 + (uint32_t)fuzz_number(&left, 3);
    load.memory_bytes = 1 + fuzz_number(&left, 7);
    load.count = 1 + fuzz_byte(&left) % 8;
    for (uint32_t i = 0; i < load.count; i++) texts[i] = take_text(&left);
    load.texts = texts;
    template_put_load(out, &load);
    TemplateFrame frame = one_frame(out, TEMPLATE_FRAME_LOAD);
    check(template_read_load(frame.payload, arena, &got) == 0);
    check(got.check_only == load.check_only && got.stack_frames == load.stack_frames && got.memory_bytes == load.memory_bytes);
    check(got.count == load.count);
    for (uint32_t i = 0; i < load.count; i++) check(span_equal(got.texts[i], texts[i]));
}

static void event_returns(Span left, Arena *arena, Buffer *out) {
    EventHeader headers[8];
    TemplateEventMessage event = {.number = fuzz_number(&left, 8)}, got;
    event.first_template = (uint32_t)fuzz_number(&left, 4);
    event.budget_usec = 1 + fuzz_number(&left, 7);
    event.kind = (BodyKind)(fuzz_byte(&left) % 3);
    event.received = (usec_t)fuzz_number(&left, 8);
    event.header_count = fuzz_byte(&left) % 9;
    for (uint32_t i = 0; i < event.header_count; i++) headers[i] = (EventHeader){take_text(&left), take_text(&left)};
    event.headers = headers;
    event.ip = take_text(&left);
    EventMeta meta = {.fields = (unsigned)fuzz_number(&left, 2) % META_BIT(META_FIELD_COUNT_)};
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++)
        if (meta.fields & META_BIT(field) && fuzz_byte(&left) & 1) meta.values[field] = take_text(&left);
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++)
        if (meta.values[field].data && meta.values[field].size == 0) meta.values[field].data = "";
    event.meta = &meta;
    event.body = left;
    template_put_event(out, &event);
    check(template_event_bytes(&event) == out->size);
    TemplateFrame frame = one_frame(out, TEMPLATE_FRAME_EVENT);
    check(template_read_event(frame.payload, arena, &got) == 0);
    check(got.number == event.number && got.first_template == event.first_template && got.budget_usec == event.budget_usec);
    check(got.kind == event.kind && got.received == event.received && got.header_count == event.header_count);
    check(span_equal(got.body, event.body) && span_equal(got.ip, event.ip));
    check((got.meta ? got.meta->fields : 0) == meta.fields);
    for (MetaField field = 0; field < META_FIELD_COUNT_ && got.meta; field++)
        check((got.meta->values[field].data != NULL) == (meta.values[field].data != NULL) &&
              span_equal(got.meta->values[field], meta.values[field]));
    for (uint32_t i = 0; i < event.header_count; i++)
        check(span_equal(got.headers[i].name, headers[i].name) && span_equal(got.headers[i].value, headers[i].value));
}

static void result_returns(Span left, Buffer *out) {
    TemplateResultMessage result = {.number = fuzz_number(&left, 8)}, got;
    result.template_index = (uint32_t)fuzz_number(&left, 4);
    result.failed = fuzz_byte(&left) & 1;
    result.text = left;
    template_put_result(out, &result);
    TemplateFrame frame = one_frame(out, TEMPLATE_FRAME_RESULT);
    check(template_read_result(frame.payload, &got) == 0);
    check(got.number == result.number && got.template_index == result.template_index && got.failed == result.failed);
    check(span_equal(got.text, result.failed ? cut(left, TEMPLATE_REASON_BYTES_MAX) : left));
}

static void died_returns(Span left, Buffer *out) {
    TemplateDiedMessage died = {.serial = 1 + (uint32_t)fuzz_number(&left, 3)}, got;
    died.death = (TemplateDeath)(fuzz_byte(&left) % (TEMPLATE_DEATH_KILLED + 1));
    died.number = fuzz_number(&left, 8);
    died.template_index = (uint32_t)fuzz_number(&left, 4);
    died.used_usec = fuzz_number(&left, 8);
    died.reason = take_text(&left);
    died.results = left;
    template_put_died(out, &died);
    TemplateFrame frame = one_frame(out, TEMPLATE_FRAME_DIED);
    check(template_read_died(frame.payload, &got) == 0);
    check(got.serial == died.serial && got.death == died.death && got.number == died.number);
    check(got.template_index == died.template_index && got.used_usec == died.used_usec);
    check(span_equal(got.reason, cut(died.reason, TEMPLATE_REASON_BYTES_MAX)) && span_equal(got.results, died.results));
}

static void short_ones_return(Span left, Buffer *out) {
    TemplateChildMessage child = {.serial = 1 + (uint32_t)fuzz_number(&left, 3)}, got;
    template_put_child(out, &child);
    TemplateFrame frame = one_frame(out, TEMPLATE_FRAME_CHILD);
    check(template_read_child(frame.payload, &got) == 0 && got.serial == child.serial);
    Span reason;
    buffer_clear(out);
    template_put_refused(out, left);
    frame = one_frame(out, TEMPLATE_FRAME_REFUSED);
    check(template_read_refused(frame.payload, &reason) == 0);
    check(span_equal(reason, cut(left, TEMPLATE_REASON_BYTES_MAX)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Span left = fuzz_input(data, size);
    unsigned choice = fuzz_byte(&left);
    if (choice % 2 == 0) {
        read_stream(fuzz_guarded(&guard, left), 0);
        return 0;
    }
    Arena arena = {0};
    Buffer out = {0};
    switch (choice / 2 % 5) {
    case 0: load_returns(left, &arena, &out); break;
    case 1: event_returns(left, &arena, &out); break;
    case 2: result_returns(left, &out); break;
    case 3: died_returns(left, &out); break;
    case 4: short_ones_return(left, &out); break;
    default: unreachable();
    }
    arena_deinit(&arena);
    buffer_deinit(&out);
    return 0;
}
