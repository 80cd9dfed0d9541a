#include <errno.h>

#include "base/array.h"
#include "base/error.h"
#include "gateway/rows/template_events.h"
#include "gateway/sources/micro_parts.h"

void micro_drop_stale(MicroBatch *batch, const Plan *plan) {
    bool stale = false;
    for (size_t i = 0; i < batch->evaluated_count; i++) stale = stale || batch->evaluated[i]->plan != plan;
    if (!stale) return;
    for (size_t i = 0; i < batch->record_count; i++) batch->records[i].evaluated = NULL;
    while (batch->evaluated_count > 0) template_batch_free(batch->evaluated[--batch->evaluated_count]);
}

/* Whether some sink is given the record, if it can be read. */
static bool is_event(const MicroBatch *batch, const MicroRecord *record, const MicroPartition *partition, size_t sink_count) {
    if (record->large_bytes > 0 || record->offset == partition->skip) return false;
    if (!record->has_value && !batch->options.tombstones_are_events) return false;
    if (batch->options.acks) return true;
    for (size_t i = 0; i < sink_count; i++)
        if (partition->next[i] >= 0 && partition->next[i] <= record->offset) return true;
    return false;
}

/* Copies the records of a partition up to the first one that cannot be read now. */
static void put_events(MicroBatch *batch, const Plan *plan, const MicroPartition *partition, const MicroList *list, TemplateBatch *to,
                       size_t *count) {
    for (size_t at = list->first; at; at = batch->records[at - 1].next) {
        const MicroRecord *record = &batch->records[at - 1];
        Error why = {0};
        Event event;
        Span body;
        BodyKind kind;
        if (record->evaluated || !is_event(batch, record, partition, plan_sink_count(plan))) continue;
        RecordResult result = micro_read(batch, record, partition, &body, &kind, &why);
        if (result == RECORD_LATER) return;
        if (result == RECORD_POISON) continue;
        micro_event(batch, record, partition, plan_needs(plan), &event);
        event.body = body;
        event.kind = kind;
        template_events_put(to, (*count)++, &event, (void *)at);
    }
}

static size_t count_left(const MicroBatch *batch) {
    size_t count = 0;
    for (size_t i = 0; i < batch->record_count; i++) count += !batch->records[i].is_gone && !batch->records[i].evaluated;
    return count;
}

TemplateBatch *micro_batch_templates(MicroBatch *batch, const SnapshotSource *source, const MicroPartition *partitions, Mailbox *reply) {
    const Plan *plan = source->plan;
    check(!batch->out && !batch->was_made);
    micro_drop_stale(batch, plan);
    size_t count = plan_template_count(plan) > 0 ? count_left(batch) : 0;
    if (count == 0) return NULL;
    TemplateBatch *out = template_batch_new(plan_ref(source->plan), count, reply, MESSAGE_TEMPLATES);
    out->source_number = source->source->number;
    count = 0;
    for (size_t i = 0; i < batch->listed_count; i++) {
        size_t partition = batch->listed[i];
        put_events(batch, plan, &partitions[partition], &batch->lists[partition], out, &count);
    }
    if (count == 0) {
        template_batch_free(out);
        return NULL;
    }
    out->count = out->left = count;
    return batch->out = out;
}

int micro_batch_evaluated(MicroBatch *batch, TemplateBatch *take_templates, Error *error) {
    const TemplateEvent *unavailable = NULL;
    if (take_templates != batch->out) { /* what it was for is gone */
        template_batch_free(take_templates);
        return 0;
    }
    batch->out = NULL;
    for (size_t i = 0; i < take_templates->count; i++) {
        TemplateEvent *event = &take_templates->events[i];
        event->event.templates = event->results;
        if (event->unavailable)
            unavailable = event;
        else
            batch->records[(size_t)event->cookie - 1].evaluated = event;
    }
    array_reserve(batch->evaluated, batch->evaluated_count, batch->evaluated_room);
    batch->evaluated[batch->evaluated_count++] = take_templates;
    if (!unavailable) return 0;
    Span reason = unavailable->results[0].text;
    return error_set(error, -EAGAIN, "the templates cannot be evaluated at present (%.*s)", (int)(reason.size < 200 ? reason.size : 200),
                     reason.data);
}
