#include "gateway/rows/template_events.h"

uint64_t template_events_bytes(const Plan *plan, const Frame *frames, size_t count) {
    /* What an event takes beside its text is the most of it when it is short: its text is kept twice, by two spans. */
    uint64_t each = sizeof(TemplateEvent) + plan_template_count(plan) * sizeof(TemplateResult) + 4 * sizeof(Span);
    uint64_t bytes = count * each;
    for (size_t i = 0; i < count; i++) bytes += frames[i].body.size;
    return bytes;
}

static Span kept(Arena *arena, Span bytes) {
    return (Span){arena_copy(arena, bytes), bytes.size};
}

void template_events_fill(TemplateBatch *batch, size_t at, const Event *common, const Frame *frames, size_t count, UuidSource *ids,
                          void *cookie) {
    Arena *arena = &batch->arena;
    Event event = *common;
    EventHeader *headers = arena_alloc(arena, (event.header_count + 1) * sizeof *headers);
    for (size_t i = 0; i < event.header_count; i++)
        headers[i] = (EventHeader){kept(arena, common->headers[i].name), kept(arena, common->headers[i].value)};
    event.headers = headers;
    event.ip = kept(arena, event.ip);
    for (size_t i = 0; i < count; i++) {
        event.body = kept(arena, frames[i].body);
        event.kind = frames[i].kind;
        uuid_next(ids, event.received, &event.id);
        batch->events[at + i].event = event;
        batch->events[at + i].cookie = cookie;
    }
}
