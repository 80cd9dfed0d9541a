#include "mapping/meta.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "mapping/value.h"

enum {
    NUMBERS_BYTES = 2 * 20,                        /* partition and offset */
    TIME_BYTES = 27,                               /* 2006-01-02T15:04:05.123456Z */
    BRIDGE_BYTES = 6 + NUMBERS_BYTES + 3 * 1 + 11, /* "kafka:", numbers, colons, ".N"; without the name */
    FIXED_BYTES = NUMBERS_BYTES + TIME_BYTES + 1 + BRIDGE_BYTES,
};

#define YEAR_1 (-719162 * USEC_DAY)
#define YEAR_10000 (253402300800 * USEC_SECOND)

/* The room was reserved: what was put before does not move. */
static Span put_number(Buffer *out, uint64_t value) {
    char digits[20];
    size_t count = 0;
    do digits[sizeof digits - ++count] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    check(out->capacity - out->size >= count);
    Span span = {out->data + out->size, count};
    buffer_append(out, digits + sizeof digits - count, count);
    return span;
}

/* `micro`: with microseconds. */
static Span put_time(Buffer *out, usec_t at, bool micro) {
    if (at < YEAR_1 || at >= YEAR_10000) return (Span){0};
    check(out->capacity - out->size > TIME_BYTES);
    char *to = out->data + out->size;
    clock_format_utc(at, to);
    size_t size = 24;
    if (micro) {
        usec_t rest = at % USEC_MS;
        if (rest < 0) rest += USEC_MS;
        to[23] = (char)('0' + rest / 100);
        to[24] = (char)('0' + rest / 10 % 10);
        to[25] = (char)('0' + rest % 10);
        to[26] = 'Z';
        size = TIME_BYTES;
    }
    out->size += size;
    return (Span){to, size};
}

static void put_name(Buffer *out, Span kind, Span name, uint32_t generation) {
    buffer_append_span(out, kind);
    buffer_append_span(out, name);
    if (generation == 0) return;
    buffer_append_byte(out, '.');
    (void)put_number(out, generation);
}

static void begin(RecordMeta *record, unsigned fields, size_t name_bytes) {
    record->meta = (EventMeta){.fields = fields};
    buffer_clear(&record->text);
    (void)buffer_reserve(&record->text, FIXED_BYTES + name_bytes);
}

void record_meta_kafka(RecordMeta *record, Span topic, uint32_t generation, int32_t partition, int64_t offset, Span key,
                       int64_t timestamp) {
    check(partition >= 0 && offset >= 0 && topic.size > 0);
    begin(record, META_KAFKA, topic.size);
    Span *values = record->meta.values;
    Buffer *text = &record->text;
    values[META_TOPIC] = topic;
    values[META_KEY] = key;
    if (timestamp >= 0 && timestamp < YEAR_10000 / USEC_MS) values[META_TIMESTAMP] = put_time(text, timestamp * USEC_MS, false);
    size_t start = text->size;
    put_name(text, SPAN("kafka:"), topic, generation);
    buffer_append_byte(text, ':');
    values[META_PARTITION] = put_number(text, (uint64_t)partition);
    buffer_append_byte(text, ':');
    values[META_OFFSET] = put_number(text, (uint64_t)offset);
    values[META_BRIDGE] = (Span){text->data + start, text->size - start};
}

void record_meta_nats(RecordMeta *record, Span subject, Span stream, uint32_t generation, uint64_t sequence, usec_t timestamp) {
    check(stream.size > 0);
    begin(record, META_NATS, stream.size);
    Span *values = record->meta.values;
    Buffer *text = &record->text;
    values[META_SUBJECT] = subject;
    values[META_STREAM] = stream;
    values[META_TIMESTAMP] = put_time(text, timestamp, true);
    size_t start = text->size;
    put_name(text, SPAN("nats:"), stream, generation);
    buffer_append_byte(text, ':');
    values[META_SEQUENCE] = put_number(text, sequence);
    values[META_BRIDGE] = (Span){text->data + start, text->size - start};
}

void record_meta_deinit(RecordMeta *record) {
    buffer_deinit(&record->text);
    *record = (RecordMeta){0};
}

EventMeta *event_meta_copy(Arena *arena, const EventMeta *meta) {
    EventMeta *copy = arena_zalloc(arena, sizeof *copy);
    copy->fields = meta->fields;
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++) {
        Span value = meta->values[field];
        if (value.data) copy->values[field] = (Span){value.size > 0 ? arena_copy(arena, value) : "", value.size};
    }
    return copy;
}

/* Does a record of a broker have such a value? */
static bool is_value(MetaField field, Span text) {
    bool number = field == META_PARTITION || field == META_OFFSET || field == META_SEQUENCE;
    const char *reason;
    Buffer cell = {0};
    if (field == META_KEY) return true;
    if (text.size == 0 || !value_is_text(text)) return false;
    if (number && text.data[0] == '0' && text.size > 1) return false;
    for (size_t i = 0; number && i < text.size; i++)
        if (text.data[i] < '0' || text.data[i] > '9') return false;
    DataType type = number ? DATA_INTEGER : field == META_TIMESTAMP ? DATA_TIMESTAMP : DATA_TEXT;
    bool fits = value_put(&cell, type, text, 0, &reason) == 0;
    buffer_deinit(&cell);
    return fits;
}

int event_meta_set(EventMeta *meta, const Source *source, Span name, Span text, Error *error) {
    static const char *const wanted[META_FIELD_COUNT_] = {
        [META_TOPIC] = "a text",
        [META_PARTITION] = "a whole number from 0",
        [META_OFFSET] = "a whole number from 0",
        [META_SUBJECT] = "a text",
        [META_STREAM] = "a text",
        [META_SEQUENCE] = "a whole number from 0",
        [META_TIMESTAMP] = "RFC 3339",
        [META_BRIDGE] = "a text",
    };
    MetaField field;
    char excerpt[TEXT_EXCERPT_SIZE];
    if (!meta_field_find(name, &field) || !(meta->fields & META_BIT(field))) {
        _cleanup_(buffer_deinit) Buffer words = {0};
        source_meta_words(source, &words);
        return error_set(error, -EINVAL, "there is no meta field \"%s\": %s", text_excerpt(name, excerpt), buffer_text(&words));
    }
    if (meta->values[field].data) return error_set(error, -EINVAL, "the meta field \"%s\" is given twice", meta_field_name(field));
    if (!is_value(field, text))
        return error_set(error, -EINVAL, "the meta field \"%s\" is \"%s\", which is not %s", meta_field_name(field),
                         text_excerpt(text, excerpt), wanted[field]);
    meta->values[field] = (Span){text.data ? text.data : "", text.size};
    return 0;
}

void event_meta_complete(EventMeta *meta, Arena *arena) {
    const Span *values = meta->values;
    bool kafka = values[META_TOPIC].data && values[META_PARTITION].data && values[META_OFFSET].data;
    bool nats = values[META_STREAM].data && values[META_SEQUENCE].data;
    if (values[META_BRIDGE].data || !(meta->fields & META_BIT(META_BRIDGE)) || (!kafka && !nats)) return;
    Buffer text = {0};
    if (kafka) {
        put_name(&text, SPAN("kafka:"), values[META_TOPIC], 0);
        buffer_append_byte(&text, ':');
        buffer_append_span(&text, values[META_PARTITION]);
        buffer_append_byte(&text, ':');
        buffer_append_span(&text, values[META_OFFSET]);
    } else {
        put_name(&text, SPAN("nats:"), values[META_STREAM], 0);
        buffer_append_byte(&text, ':');
        buffer_append_span(&text, values[META_SEQUENCE]);
    }
    meta->values[META_BRIDGE] = (Span){arena_copy(arena, buffer_span(&text)), text.size};
    buffer_deinit(&text);
}
