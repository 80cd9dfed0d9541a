#include "mapping/template_message.h"

#include <errno.h>

#include "base/cursor.h"
#include "base/error.h"

/* Largest payload of each kind, 0 for an unknown kind: a larger size is refused before anything is
 * read or allocated for it. */
static size_t payload_max(unsigned kind) {
    switch (kind) {
    case TEMPLATE_FRAME_LOAD:
    case TEMPLATE_FRAME_EVENT: return TEMPLATE_FRAME_BYTES_MAX;
    case TEMPLATE_FRAME_RESULT: return TEMPLATE_RESULT_BYTES_MAX + 64;
    case TEMPLATE_FRAME_CHILD: return 4;
    case TEMPLATE_FRAME_DIED: return TEMPLATE_RESULTS_LEFT_BYTES_MAX + TEMPLATE_REASON_BYTES_MAX + 64;
    case TEMPLATE_FRAME_REFUSED: return TEMPLATE_REASON_BYTES_MAX + 4;
    default: return 0;
    }
}

int template_frame_next(Span bytes, TemplateFrame *ret_frame) {
    *ret_frame = (TemplateFrame){.bytes = TEMPLATE_FRAME_HEAD_BYTES};
    if (bytes.size < TEMPLATE_FRAME_HEAD_BYTES) return TEMPLATE_FRAME_INCOMPLETE;

    Cursor cursor = cursor_of(bytes);
    size_t size = cursor_u32(&cursor);
    unsigned kind = cursor_u8(&cursor);
    size_t most = payload_max(kind);
    if (most == 0 || size > most) return -EBADMSG;
    ret_frame->bytes = TEMPLATE_FRAME_HEAD_BYTES + size;
    if (bytes.size < ret_frame->bytes) return TEMPLATE_FRAME_INCOMPLETE;
    ret_frame->kind = (TemplateFrameKind)kind;
    ret_frame->payload = (Span){.data = bytes.data + TEMPLATE_FRAME_HEAD_BYTES, .size = size};
    return 0;
}

/* Room for the head; the size is filled in when the frame is whole. */
static size_t frame_begin(Buffer *out, TemplateFrameKind kind) {
    check(payload_max((unsigned)kind) > 0);
    size_t start = out->size;
    buffer_put_u32(out, 0);
    buffer_put_u8(out, (unsigned char)kind);
    return start;
}

static void frame_end(Buffer *out, size_t start) {
    check(out->size >= start + TEMPLATE_FRAME_HEAD_BYTES);
    size_t size = out->size - start - TEMPLATE_FRAME_HEAD_BYTES;
    check(size <= payload_max((unsigned char)out->data[start + 4]));
    uint32_t field = (uint32_t)size;
    memcpy(out->data + start, &field, sizeof field);
}

static Span cut(Span text, size_t most) {
    return (Span){.data = text.data, .size = text.size < most ? text.size : most};
}

void template_put_load(Buffer *out, const TemplateLoad *load) {
    check(load->count >= 1 && load->count <= TEMPLATES_MAX && load->texts);
    check(load->stack_frames > 0 && load->memory_bytes > 0);
    size_t start = frame_begin(out, TEMPLATE_FRAME_LOAD);
    buffer_put_u8(out, load->check_only);
    buffer_put_u32(out, load->stack_frames);
    buffer_put_u64(out, load->memory_bytes);
    buffer_put_u32(out, load->count);
    for (uint32_t i = 0; i < load->count; i++) buffer_put_block(out, load->texts[i]);
    frame_end(out, start);
}

enum { EVENT_FIXED_BYTES = 8 + 4 + 8 + 1 + 8 + 4 + 4 + 4 + 4 };

/* META_BIT of the fields that are not NULL. */
static unsigned meta_there(const EventMeta *meta) {
    unsigned there = 0;
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++)
        if (meta->values[field].data) there |= META_BIT(field);
    return there;
}

size_t template_event_bytes(const TemplateEventMessage *event) {
    size_t bytes = TEMPLATE_FRAME_HEAD_BYTES + EVENT_FIXED_BYTES + event->body.size + event->ip.size;
    for (uint32_t i = 0; i < event->header_count; i++) bytes += 8 + event->headers[i].name.size + event->headers[i].value.size;
    if (!event->meta || !event->meta->fields) return bytes;
    bytes += 4;
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++)
        if (event->meta->values[field].data) bytes += 4 + event->meta->values[field].size;
    return bytes;
}

/* The fields of the source; unless there are none, those that are not NULL, and their values. */
static void put_meta(Buffer *out, const EventMeta *meta) {
    buffer_put_u32(out, meta ? meta->fields : 0);
    if (!meta || !meta->fields) return;
    unsigned there = meta_there(meta);
    check((there & ~meta->fields) == 0);
    buffer_put_u32(out, there);
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++)
        if (there & META_BIT(field)) buffer_put_block(out, meta->values[field]);
}

void template_put_event(Buffer *out, const TemplateEventMessage *event) {
    check(event->budget_usec > 0);
    size_t start = frame_begin(out, TEMPLATE_FRAME_EVENT);
    buffer_put_u64(out, event->number);
    buffer_put_u32(out, event->first_template);
    buffer_put_u64(out, event->budget_usec);
    buffer_put_u8(out, (unsigned char)event->kind);
    buffer_put_u64(out, (uint64_t)event->received);
    buffer_put_block(out, event->body);
    buffer_put_block(out, event->ip);
    buffer_put_u32(out, event->header_count);
    for (uint32_t i = 0; i < event->header_count; i++) {
        buffer_put_block(out, event->headers[i].name);
        buffer_put_block(out, event->headers[i].value);
    }
    put_meta(out, event->meta);
    frame_end(out, start);
    check(out->size - start == template_event_bytes(event)); /* what the broker counts on */
}

void template_put_result(Buffer *out, const TemplateResultMessage *result) {
    check(result->failed || result->text.size <= TEMPLATE_RESULT_BYTES_MAX);
    size_t start = frame_begin(out, TEMPLATE_FRAME_RESULT);
    buffer_put_u64(out, result->number);
    buffer_put_u32(out, result->template_index);
    buffer_put_u8(out, result->failed);
    buffer_put_block(out, result->failed ? cut(result->text, TEMPLATE_REASON_BYTES_MAX) : result->text);
    frame_end(out, start);
}

void template_put_child(Buffer *out, const TemplateChildMessage *child) {
    check(child->serial > 0);
    size_t start = frame_begin(out, TEMPLATE_FRAME_CHILD);
    buffer_put_u32(out, child->serial);
    frame_end(out, start);
}

void template_put_died(Buffer *out, const TemplateDiedMessage *died) {
    check(died->results.size <= TEMPLATE_RESULTS_LEFT_BYTES_MAX && died->death <= TEMPLATE_DEATH_KILLED && died->serial > 0);
    size_t start = frame_begin(out, TEMPLATE_FRAME_DIED);
    buffer_put_u32(out, died->serial);
    buffer_put_u8(out, (unsigned char)died->death);
    buffer_put_u64(out, died->number);
    buffer_put_u32(out, died->template_index);
    buffer_put_u64(out, died->used_usec);
    buffer_put_block(out, cut(died->reason, TEMPLATE_REASON_BYTES_MAX));
    buffer_put_block(out, died->results);
    frame_end(out, start);
}

void template_put_refused(Buffer *out, Span reason) {
    size_t start = frame_begin(out, TEMPLATE_FRAME_REFUSED);
    buffer_put_block(out, cut(reason, TEMPLATE_REASON_BYTES_MAX));
    frame_end(out, start);
}

static int finished(const Cursor *cursor) {
    return cursor->failed || cursor->at != cursor->end ? -EBADMSG : 0;
}

/* A flag is 0 or 1 and nothing else. */
static bool read_flag(Cursor *cursor) {
    unsigned value = cursor_u8(cursor);
    if (value > 1) cursor->failed = true;
    return value == 1;
}

/* Can `count` items of at least `bytes_each` still follow? Asked before memory is taken for
 * them. */
static bool may_hold(const Cursor *cursor, uint32_t count, size_t bytes_each) {
    return !cursor->failed && (size_t)(cursor->end - cursor->at) / bytes_each >= count;
}

int template_read_load(Span payload, Arena *arena, TemplateLoad *ret_load) {
    Cursor cursor = cursor_of(payload);
    TemplateLoad load = {.check_only = read_flag(&cursor)};
    load.stack_frames = cursor_u32(&cursor);
    load.memory_bytes = cursor_u64(&cursor);
    load.count = cursor_u32(&cursor);
    if (load.count < 1 || load.count > TEMPLATES_MAX || !may_hold(&cursor, load.count, 4)) return -EBADMSG;
    Span *texts = arena_alloc(arena, load.count * sizeof *texts);
    for (uint32_t i = 0; i < load.count; i++) texts[i] = cursor_block(&cursor);
    if (finished(&cursor) < 0 || load.stack_frames == 0 || load.memory_bytes == 0) return -EBADMSG;
    load.texts = texts;
    *ret_load = load;
    return 0;
}

static const EventMeta *read_meta(Cursor *cursor, Arena *arena) {
    unsigned fields = cursor_u32(cursor);
    if (fields == 0) return NULL;
    unsigned there = cursor_u32(cursor);
    if (fields >= META_BIT(META_FIELD_COUNT_) || there & ~fields) cursor->failed = true;
    EventMeta *meta = arena_zalloc(arena, sizeof *meta);
    meta->fields = fields;
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++)
        if (there & META_BIT(field)) meta->values[field] = cursor_block(cursor);
    return meta;
}

int template_read_event(Span payload, Arena *arena, TemplateEventMessage *ret_event) {
    Cursor cursor = cursor_of(payload);
    TemplateEventMessage event = {.number = cursor_u64(&cursor)};
    event.first_template = cursor_u32(&cursor);
    event.budget_usec = cursor_u64(&cursor);
    unsigned kind = cursor_u8(&cursor);
    event.received = (usec_t)cursor_u64(&cursor);
    event.body = cursor_block(&cursor);
    event.ip = cursor_block(&cursor);
    event.header_count = cursor_u32(&cursor);
    if (kind > BODY_OTHER || event.budget_usec == 0 || !may_hold(&cursor, event.header_count, 8)) return -EBADMSG;
    event.kind = (BodyKind)kind;
    if (event.header_count > 0) {
        EventHeader *headers = arena_alloc(arena, event.header_count * sizeof *headers);
        for (uint32_t i = 0; i < event.header_count; i++) {
            headers[i].name = cursor_block(&cursor);
            headers[i].value = cursor_block(&cursor);
        }
        event.headers = headers;
    }
    event.meta = read_meta(&cursor, arena);
    if (finished(&cursor) < 0) return -EBADMSG;
    *ret_event = event;
    return 0;
}

int template_read_result(Span payload, TemplateResultMessage *ret_result) {
    Cursor cursor = cursor_of(payload);
    TemplateResultMessage result = {.number = cursor_u64(&cursor)};
    result.template_index = cursor_u32(&cursor);
    result.failed = read_flag(&cursor);
    result.text = cursor_block(&cursor);
    if (finished(&cursor) < 0) return -EBADMSG;
    if (result.text.size > (result.failed ? TEMPLATE_REASON_BYTES_MAX : TEMPLATE_RESULT_BYTES_MAX)) return -EBADMSG;
    *ret_result = result;
    return 0;
}

int template_read_child(Span payload, TemplateChildMessage *ret_child) {
    Cursor cursor = cursor_of(payload);
    TemplateChildMessage child = {.serial = cursor_u32(&cursor)};
    if (finished(&cursor) < 0 || child.serial == 0) return -EBADMSG;
    *ret_child = child;
    return 0;
}

int template_read_died(Span payload, TemplateDiedMessage *ret_died) {
    Cursor cursor = cursor_of(payload);
    TemplateDiedMessage died = {.serial = cursor_u32(&cursor)};
    unsigned death = cursor_u8(&cursor);
    died.number = cursor_u64(&cursor);
    died.template_index = cursor_u32(&cursor);
    died.used_usec = cursor_u64(&cursor);
    died.reason = cursor_block(&cursor);
    died.results = cursor_block(&cursor);
    if (finished(&cursor) < 0 || death > TEMPLATE_DEATH_KILLED || died.serial == 0) return -EBADMSG;
    if (died.reason.size > TEMPLATE_REASON_BYTES_MAX || died.results.size > TEMPLATE_RESULTS_LEFT_BYTES_MAX) return -EBADMSG;
    died.death = (TemplateDeath)death;
    *ret_died = died;
    return 0;
}

int template_read_refused(Span payload, Span *ret_reason) {
    Cursor cursor = cursor_of(payload);
    Span reason = cursor_block(&cursor);
    if (finished(&cursor) < 0 || reason.size > TEMPLATE_REASON_BYTES_MAX) return -EBADMSG;
    *ret_reason = reason;
    return 0;
}
