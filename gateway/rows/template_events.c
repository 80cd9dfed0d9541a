#include "gateway/rows/template_events.h"

#include "mapping/meta.h"

uint64_t template_events_bytes(const Plan *plan, const Frame *frames, size_t count) {
    /* What an event takes beside its text is the most of it when it is short: its text is kept
     * twice, by two spans. */
    uint64_t each = sizeof(TemplateEvent) + plan_template_count(plan) * sizeof(TemplateResult) + 4 * sizeof(Span);
    uint64_t bytes = count * each;
    for (size_t i = 0; i < count; i++) bytes += frames[i].body.size;
    return bytes;
}

static Span kept(Arena *arena, Span bytes) {
    return (Span){arena_copy(arena, bytes), bytes.size};
}

/* What an event has besides its body. */
static void keep_rest(Arena *arena, Event *event) {
    EventHeader *headers = arena_alloc(arena, (event->header_count + 1) * sizeof *headers);
    for (size_t i = 0; i < event->header_count; i++)
        headers[i] = (EventHeader){kept(arena, event->headers[i].name), kept(arena, event->headers[i].value)};
    event->headers = headers;
    event->ip = kept(arena, event->ip);
    if (event->meta) event->meta = event_meta_copy(arena, event->meta);
}

void template_events_put(TemplateBatch *batch, size_t at, const Event *event, void *cookie) {
    Event copy = *event;
    check(at < batch->count && !event->templates);
    keep_rest(&batch->arena, &copy);
    copy.body = kept(&batch->arena, event->body);
    batch->events[at].event = copy;
    batch->events[at].cookie = cookie;
}

void template_events_fill(TemplateBatch *batch, size_t at, const Event *common, const Frame *frames, size_t count, UuidSource *ids,
                          void *cookie) {
    Arena *arena = &batch->arena;
    Event event = *common;
    keep_rest(arena, &event);
    for (size_t i = 0; i < count; i++) {
        event.body = kept(arena, frames[i].body);
        event.kind = frames[i].kind;
        uuid_next(ids, event.received, &event.id);
        batch->events[at + i].event = event;
        batch->events[at + i].cookie = cookie;
        batch->events[at + i].large = frames[i].large;
    }
}
