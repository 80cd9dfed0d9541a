#include "gateway/sources/micro_batch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/error.h"
#include "gateway/sources/micro_parts.h"
#include "mapping/record_id.h"

#define LARGE_KEPT_BYTES ((size_t)64 * 1024) /* of the value of a record that is too large */
#define UNKNOWN_USEC (5 * USEC_MINUTE)       /* replicas of a registry are late, but not longer than that */

/* ---- a batch --------------------------------------------------------------------------------- */

MicroBatch *micro_batch_new(const MicroOptions *options) {
    MicroBatch *batch = calloc(1, sizeof *batch);
    check(batch);
    batch->options = *options;
    batch->since = USEC_NEVER;
    return batch;
}

static void drop_evaluated(MicroBatch *batch) {
    while (batch->evaluated_count > 0) template_batch_free(batch->evaluated[--batch->evaluated_count]);
}

void micro_batch_free(MicroBatch *batch) {
    if (!batch) return;
    drop_evaluated(batch);
    free(batch->evaluated);
    buffer_deinit(&batch->bytes);
    free(batch->records);
    free(batch->lists);
    free(batch->listed);
    free(batch->unknown);
    free(batch->results);
    free(batch->tokens);
    free(batch->headers);
    arena_deinit(&batch->reasons);
    record_meta_deinit(&batch->meta);
    free(batch);
}

/* What came to more than the batch shall have is not kept. */
static void clear_bytes(MicroBatch *batch) {
    size_t most = batch->options.bytes_max;
    if (batch->bytes.capacity / 2 > most)
        buffer_deinit(&batch->bytes);
    else
        buffer_clear(&batch->bytes);
}

void micro_batch_clear(MicroBatch *batch) {
    for (size_t i = 0; i < batch->listed_count; i++) batch->lists[batch->listed[i]] = (MicroList){0};
    batch->listed_count = 0;
    clear_bytes(batch);
    batch->record_count = batch->live = 0;
    batch->live_bytes = 0;
    batch->since = USEC_NEVER;
    batch->was_made = false;
    batch->refused = 0;
    batch->out = NULL; /* it is freed when it is back */
    drop_evaluated(batch);
    arena_reset(&batch->reasons);
}

/* ---- gathering ------------------------------------------------------------------------------- */

static MicroList *list_of(MicroBatch *batch, size_t partition) {
    if (partition >= batch->list_count) {
        size_t count = partition + 1 > 2 * batch->list_count ? partition + 1 : 2 * batch->list_count;
        MicroList *lists = realloc(batch->lists, count * sizeof *lists);
        check(lists);
        memset(lists + batch->list_count, 0, (count - batch->list_count) * sizeof *lists);
        batch->lists = lists;
        batch->list_count = count;
    }
    MicroList *list = &batch->lists[partition];
    if (list->is_listed) return list;
    if (batch->listed_count == 0) batch->since = batch->options.clock->boot(batch->options.clock);
    array_reserve(batch->listed, batch->listed_count, batch->listed_room);
    batch->listed[batch->listed_count++] = partition;
    *list = (MicroList){.is_listed = true, .end = -1};
    return list;
}

static void put(char **to, Span bytes) {
    if (bytes.size > 0) memcpy(*to, bytes.data, bytes.size);
    *to += bytes.size;
}

static void put_header_sizes(char **to, const EventHeader *header) {
    uint32_t sizes[2] = {(uint32_t)header->name.size, (uint32_t)header->value.size};
    put(to, (Span){(const char *)sizes, sizeof sizes});
}

static uint64_t header_bytes(const ClientRecord *record) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < record->header_count; i++) bytes += record->headers[i].name.size + record->headers[i].value.size;
    return bytes;
}

void micro_batch_add(MicroBatch *batch, size_t partition, const ClientRecord *record) {
    check(!batch->was_made && record->offset >= 0);
    MicroList *list = list_of(batch, partition);
    Span key = record->key, value = record->value;
    size_t header_count = record->header_count;
    uint64_t headers = header_bytes(record), size = key.size + value.size + headers, large = 0;
    if (size > batch->options.event_bytes) {
        large = size;
        if (value.size > LARGE_KEPT_BYTES) value.size = LARGE_KEPT_BYTES;
        key = (Span){0};
        header_count = headers = 0;
    }
    array_reserve(batch->records, batch->record_count, batch->record_room);
    MicroRecord *kept = &batch->records[batch->record_count++];
    *kept = (MicroRecord){
        .offset = record->offset,
        .timestamp = record->timestamp,
        .received = batch->options.clock->wall(batch->options.clock),
        .partition = partition,
        .at = batch->bytes.size,
        .key_bytes = (uint32_t)key.size,
        .value_bytes = (uint32_t)value.size,
        .subject_bytes = (uint32_t)record->subject.size,
        .token_bytes = (uint32_t)record->token.size,
        .header_count = (uint32_t)header_count,
        .has_key = key.data,
        .has_value = value.data,
        .large_bytes = large,
    };
    size_t room = key.size + value.size + record->subject.size + record->token.size + header_count * 2 * sizeof(uint32_t) + headers;
    char *to = buffer_reserve(&batch->bytes, room);
    put(&to, key);
    put(&to, value);
    put(&to, record->subject);
    put(&to, record->token);
    for (size_t i = 0; i < header_count; i++) put_header_sizes(&to, &record->headers[i]);
    for (size_t i = 0; i < header_count; i++) {
        put(&to, record->headers[i].name);
        put(&to, record->headers[i].value);
    }
    batch->bytes.size += room;
    if (list->last)
        batch->records[list->last - 1].next = batch->record_count;
    else
        list->first = batch->record_count;
    list->last = batch->record_count;
    batch->live++;
    batch->live_bytes += micro_record_bytes(batch, kept);
}

uint64_t micro_record_bytes(const MicroBatch *batch, const MicroRecord *record) {
    size_t next = (size_t)(record - batch->records) + 1;
    size_t end = next < batch->record_count ? batch->records[next].at : batch->bytes.size;
    return end - record->at;
}

void micro_batch_end(MicroBatch *batch, size_t partition, int64_t offset) {
    check(!batch->was_made && offset >= 0);
    MicroList *list = list_of(batch, partition);
    if (offset > list->end) list->end = offset;
}

static void forget_records(MicroBatch *batch, const MicroList *list) {
    for (size_t at = list->first; at; at = batch->records[at - 1].next) {
        MicroRecord *record = &batch->records[at - 1];
        record->is_gone = true;
        batch->live--;
        batch->live_bytes -= micro_record_bytes(batch, record);
    }
}

void micro_batch_forget(MicroBatch *batch, size_t partition) {
    size_t at = 0;
    if (batch->was_made) return; /* its results may still be read */
    if (partition == CLIENT_NO_INDEX) {
        micro_batch_clear(batch);
        return;
    }
    if (partition >= batch->list_count || !batch->lists[partition].is_listed) return;
    forget_records(batch, &batch->lists[partition]);
    batch->lists[partition] = (MicroList){0};
    while (batch->listed[at] != partition) at++;
    batch->listed_count--;
    memmove(batch->listed + at, batch->listed + at + 1, (batch->listed_count - at) * sizeof *batch->listed);
    if (batch->listed_count == 0) micro_batch_clear(batch);
}

bool micro_batch_is_empty(const MicroBatch *batch) {
    return batch->listed_count == 0;
}

/* Also of what is gone: the memory is. */
bool micro_batch_is_full(const MicroBatch *batch) {
    return batch->live >= batch->options.records_max || batch->bytes.size >= batch->options.bytes_max;
}

void micro_batch_set_patience(MicroBatch *batch, bool is_patient) {
    batch->is_patient = is_patient;
}

usec_t micro_batch_since(const MicroBatch *batch) {
    return batch->since;
}

uint64_t micro_batch_bytes(const MicroBatch *batch) {
    return batch->live_bytes;
}

static size_t list_tokens(MicroBatch *batch, bool left, const Span **ret_tokens) {
    size_t count = 0;
    for (size_t i = 0; i < batch->record_count; i++) {
        const MicroRecord *record = &batch->records[i];
        if (record->is_gone || (batch->was_made && !record->is_made) != left) continue;
        array_reserve(batch->tokens, count, batch->token_room);
        batch->tokens[count++] = micro_token(batch, record);
    }
    *ret_tokens = batch->tokens;
    return count;
}

size_t micro_batch_tokens(MicroBatch *batch, const Span **ret_tokens) {
    return list_tokens(batch, false, ret_tokens);
}

size_t micro_batch_left_tokens(MicroBatch *batch, const Span **ret_tokens) {
    return list_tokens(batch, true, ret_tokens);
}

/* ---- what the files share -------------------------------------------------------------------- */

static void read_headers(MicroBatch *batch, const MicroRecord *record, Event *event) {
    const char *sizes = micro_token(batch, record).data + record->token_bytes;
    const char *from = sizes + record->header_count * 2 * sizeof(uint32_t);
    for (size_t i = 0; i < record->header_count; i++) {
        uint32_t of[2];
        memcpy(of, sizes + i * sizeof of, sizeof of);
        array_reserve(batch->headers, i, batch->header_room);
        batch->headers[i] = (EventHeader){.name = {from, of[0]}, .value = {from + of[0], of[1]}};
        from += of[0] + of[1];
    }
    event->headers = batch->headers;
    event->header_count = record->header_count;
}

static void read_meta(MicroBatch *batch, const MicroRecord *record, const Partition *key) {
    Span topic = span_of(key->topic);
    if (batch->options.is_nats) {
        record_meta_nats(&batch->meta, micro_subject(batch, record), topic, key->generation, (uint64_t)record->offset, record->timestamp);
        return;
    }
    int64_t ms = record->timestamp >= 0 ? record->timestamp / USEC_MS : -1;
    record_meta_kafka(&batch->meta, topic, key->generation, key->partition, record->offset, micro_key(batch, record), ms);
}

void micro_event(MicroBatch *batch, const MicroRecord *record, const MicroPartition *partition, unsigned needs, Event *ret_event) {
    *ret_event = (Event){.received = record->received, .is_tombstone = !record->has_value};
    record_id(&partition->space, record->offset, 0, &ret_event->id);
    if ((needs & PLAN_NEEDS_HEADERS) && record->header_count > 0) read_headers(batch, record, ret_event);
    if (needs & PLAN_NEEDS_META) micro_meta(batch, record, partition, ret_event);
}

void micro_meta(MicroBatch *batch, const MicroRecord *record, const MicroPartition *partition, Event *event) {
    read_meta(batch, record, &partition->key);
    event->meta = &batch->meta.meta;
}

static MicroUnknown *find_unknown(MicroBatch *batch, const Uuid *space) {
    for (size_t i = 0; i < batch->unknown_count; i++)
        if (uuid_equal(&batch->unknown[i].space, space)) return &batch->unknown[i];
    return NULL;
}

/* Has the registry not known the schema of this record for too long? */
static bool is_unknown_for_good(MicroBatch *batch, const MicroRecord *record, const Uuid *space) {
    usec_t now = batch->options.clock->boot(batch->options.clock);
    MicroUnknown *unknown = find_unknown(batch, space);
    if (!unknown) {
        array_reserve(batch->unknown, batch->unknown_count, batch->unknown_room);
        unknown = &batch->unknown[batch->unknown_count++];
        *unknown = (MicroUnknown){.space = *space, .offset = -1};
    }
    if (unknown->offset != record->offset) *unknown = (MicroUnknown){.space = *space, .offset = record->offset, .since = now};
    return now - unknown->since >= UNKNOWN_USEC;
}

static void forget_unknown(MicroBatch *batch, const MicroRecord *record, const Uuid *space) {
    MicroUnknown *unknown = find_unknown(batch, space);
    if (unknown && unknown->offset == record->offset) *unknown = batch->unknown[--batch->unknown_count];
}

static void end_sentence(Error *why) {
    size_t size = strlen(why->text);
    if (size > 0 && why->text[size - 1] != '.' && size + 1 < sizeof why->text) memcpy(why->text + size, ".", 2);
}

/* The registry is down, or the answer is on its way. */
static void say_why_later(MicroBatch *batch, const MicroRecord *record, const Uuid *space, Error *why) {
    SchemaRegistryState state;
    schema_registry_state(batch->options.reader->registry, &state);
    if (state.down_since > 0) {
        forget_unknown(batch, record, space); /* nobody can tell whether it is known by now */
        (void)error_set(why, -EAGAIN, "The schema registry does not work: %s", state.why);
    } else {
        (void)error_set(why, -EAGAIN, "The schema of the record is being looked up.");
    }
}

RecordResult micro_read(MicroBatch *batch, const MicroRecord *record, const MicroPartition *partition, Span *ret_body, BodyKind *ret_kind,
                        Error *why) {
    RecordReader *reader = batch->options.reader;
    if (!record->has_value) { /* there is nothing to decode */
        *ret_body = (Span){"", 0};
        *ret_kind = reader->kind == RECORD_TEXT || reader->kind == RECORD_BYTES ? BODY_OTHER : BODY_JSON;
        return RECORD_READ;
    }
    RecordResult result = record_value_read(reader, micro_value(batch, record), ret_body, ret_kind, why);
    switch (result) {
    case RECORD_READ: break;
    case RECORD_LATER:
        say_why_later(batch, record, &partition->space, why);
        end_sentence(why);
        return RECORD_LATER;
    case RECORD_UNKNOWN_ID: result = is_unknown_for_good(batch, record, &partition->space) ? RECORD_POISON : RECORD_LATER; break;
    case RECORD_POISON: break;
    }
    if (batch->unknown_count > 0 && result == RECORD_READ) forget_unknown(batch, record, &partition->space);
    if (result == RECORD_READ) return result;
    (void)error_prefix(why, "The value cannot be read%s", result == RECORD_LATER ? " yet" : "");
    end_sentence(why);
    return result;
}
