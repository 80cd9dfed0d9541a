#include "gateway/values/avro_form.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/uuid.h"
#include "gateway/values/avro_form_parts.h"
#include "gateway/values/avro_text.h"
#include "mapping/json_text.h"

#define KEPT_MEMORY_BYTES ((size_t)1 << 20) /* that a form keeps for the next record */

/* A record, array or map that has begun. */
typedef struct AvroFrame {
    const AvroNode *node;
    size_t begun; /* fields or items */
} AvroFrame;

/*
 * One record on its way. libavro's callbacks come in the order of the text that is written, but
 * none says that a record has ended: it has when the value of its last field has. `done`: the whole
 * value has.
 */
typedef struct Reading {
    Buffer *out;
    size_t out_max; /* of out->size */
    char *memory;   /* what libavro allocates while it reads: a stack, as it frees in reverse order */
    size_t memory_size, memory_used;
    AvroFrame frames[AVRO_FORM_DEPTH_MAX];
    size_t depth;
    bool done;
    int failed; /* what was found wrong here, not by libavro: a negated errno, `why` says it */
    const char *why;
} Reading;

enum { GO_ON = 0, STOP = 1 }; /* what callbacks return: libavro passes up what is not 0 */

/* Strings and bytes of the record, and keys of maps, each with a NUL: all that are in use at a time
 * stand in the record side by side. */
static void *record_memory(void *context, void *block, size_t old_bytes, size_t bytes) {
    Reading *reading = context;
    if (block) {
        check((char *)block >= reading->memory && (char *)block <= reading->memory + reading->memory_size);
        size_t at = (size_t)((char *)block - reading->memory);
        if (at < reading->memory_used) reading->memory_used = at;
        check(bytes == 0);
        return NULL;
    }
    /* Of a length of -1 libavro makes 0 bytes, and writes before them. */
    if (bytes == 0 || bytes > reading->memory_size - reading->memory_used) return NULL;
    reading->memory_used += bytes;
    return reading->memory + reading->memory_used - bytes;
}

/* The values of strings, bytes and fixed are the callback's. */
static void give_back(Reading *reading, const void *value) {
    (void)record_memory(reading, (void *)(uintptr_t)value, 0, 0);
}

static int stop(Reading *reading, int code, const char *why) {
    if (reading->failed == 0) {
        reading->failed = code;
        reading->why = why;
    }
    return STOP;
}

static int bounded(Reading *reading) {
    return reading->out->size <= reading->out_max ? GO_ON : stop(reading, -EFBIG, "the JSON form is larger than an event may be");
}

static const AvroFrame *top(const Reading *reading) {
    return reading->depth > 0 ? &reading->frames[reading->depth - 1] : NULL;
}

static int value_begins(Reading *reading) {
    return reading->done ? stop(reading, -EBADMSG, "a block has too many items") : GO_ON;
}

static int value_ended(Reading *reading) {
    for (; reading->depth > 0; reading->depth--) {
        const AvroFrame *frame = top(reading);
        if (!is_avro_record(frame->node->consumer.schema) || frame->begun < frame->node->count) return bounded(reading);
        buffer_append_byte(reading->out, '}');
    }
    reading->done = true;
    return bounded(reading);
}

static int put_text(Reading *reading, const char *text) {
    buffer_append_text(reading->out, text);
    return value_ended(reading);
}

static int push(Reading *reading, const AvroNode *node, char begin) {
    if (value_begins(reading) != GO_ON) return STOP;
    if (reading->depth == AVRO_FORM_DEPTH_MAX) return stop(reading, -EFBIG, "the JSON form is deeper than 128 levels");
    reading->frames[reading->depth++] = (AvroFrame){.node = node};
    buffer_append_byte(reading->out, begin);
    return bounded(reading);
}

/* UTF-8, NUL included. */
static bool is_text(Span text) {
    for (;;) {
        size_t at = text_check(text);
        if (at == text.size) return true;
        if (text.data[at] != '\0') return false;
        text = (Span){text.data + at + 1, text.size - at - 1};
    }
}

static int put_string(Reading *reading, Span text) {
    if (!is_text(text)) return stop(reading, -EBADMSG, "a string is not UTF-8");
    json_quote(reading->out, text);
    return bounded(reading);
}

static const AvroNode *node_of(const avro_consumer_t *consumer) {
    return (const AvroNode *)(const void *)consumer;
}

/* For a child of a node, as libavro wants it. */
static void hand_out(AvroNode *child, avro_consumer_t **ret_consumer, void **ret_reading, void *reading) {
    *ret_consumer = &child->consumer;
    *ret_reading = reading;
}

static int on_null(avro_consumer_t *consumer, void *context) {
    return value_begins(context) != GO_ON ? STOP : put_text(context, "null");
}

static int on_boolean(avro_consumer_t *consumer, int value, void *context) {
    if (value_begins(context) != GO_ON) return STOP;
    if (value != 0 && value != 1) return stop(context, -EBADMSG, "a boolean is neither 0 nor 1");
    return put_text(context, value ? "true" : "false");
}

static int put_whole(const AvroNode *node, int64_t value, Reading *reading) {
    if (value_begins(reading) != GO_ON) return STOP;
    Buffer *out = reading->out;
    size_t before = out->size;
    bool put = false;
    if (node->logical != AVRO_PLAIN) {
        buffer_append_byte(out, '"');
        if (node->logical == AVRO_DATE) put = avro_put_date(out, value);
        if (node->logical == AVRO_TIME) put = avro_put_time(out, value, node->digits);
        if (node->logical == AVRO_TIMESTAMP) put = avro_put_timestamp(out, value, node->digits);
    }
    if (put) {
        buffer_append_byte(out, '"');
    } else {
        out->size = before;
        char *to = buffer_reserve(out, 24);
        out->size += (size_t)snprintf(to, 24, "%lld", (long long)value);
    }
    return value_ended(reading);
}

static int on_int(avro_consumer_t *consumer, int32_t value, void *context) {
    return put_whole(node_of(consumer), value, context);
}

static int on_long(avro_consumer_t *consumer, int64_t value, void *context) {
    return put_whole(node_of(consumer), value, context);
}

static int on_float(avro_consumer_t *consumer, float value, void *context) {
    Reading *reading = context;
    if (value_begins(reading) != GO_ON) return STOP;
    avro_put_float(reading->out, value);
    return value_ended(reading);
}

static int on_double(avro_consumer_t *consumer, double value, void *context) {
    Reading *reading = context;
    if (value_begins(reading) != GO_ON) return STOP;
    avro_put_double(reading->out, value);
    return value_ended(reading);
}

static int on_string(avro_consumer_t *consumer, const void *value, size_t size, void *context) {
    check(size > 0); /* with its NUL */
    int r = value_begins(context) != GO_ON ? STOP : put_string(context, (Span){value, size - 1});
    give_back(context, value);
    return r == GO_ON ? value_ended(context) : r;
}

static int put_bytes(const AvroNode *node, Span bytes, Reading *reading) {
    if (value_begins(reading) != GO_ON) return STOP;
    Buffer *out = reading->out;
    if (node->logical == AVRO_DECIMAL) {
        if (!avro_put_decimal(out, bytes, node->scale)) return stop(reading, -EBADMSG, "a decimal has more than 1,000 digits");
        return bounded(reading);
    }
    buffer_append_byte(out, '"');
    if (node->logical == AVRO_UUID) {
        check(bytes.size == sizeof(Uuid));
        Uuid id;
        memcpy(&id, bytes.data, sizeof id);
        uuid_format(&id, buffer_reserve(out, UUID_TEXT_SIZE));
        out->size += UUID_TEXT_SIZE;
    } else {
        avro_put_base64(out, bytes);
    }
    buffer_append_byte(out, '"');
    return bounded(reading);
}

/* Of fixed values too: those of libavro's callbacks are alike, but when the one of a fixed fails,
 * libavro frees its value itself, which does nothing more then. */
static int on_bytes(avro_consumer_t *consumer, const void *value, size_t size, void *context) {
    int r = put_bytes(node_of(consumer), (Span){value, size}, context);
    give_back(context, value);
    return r == GO_ON ? value_ended(context) : r;
}

static int on_enum(avro_consumer_t *consumer, int value, void *context) {
    const AvroNode *node = node_of(consumer);
    Reading *reading = context;
    if (value_begins(reading) != GO_ON) return STOP;
    if (value < 0 || (size_t)value >= node->count) return stop(reading, -EBADMSG, "an enum has no symbol of that number");
    buffer_append_span(reading->out, node->words[value]);
    return value_ended(reading);
}

/* libavro counts in 64 bits and says 32: a block of 2^32 items looks like the empty one that ends
 * an array. Then items follow, for which there is no frame or another one, and at the end frames
 * are missing. */
static int block_starts(const AvroNode *node, bool first, unsigned count, Reading *reading, const char *brackets) {
    if (first && push(reading, node, brackets[0]) != GO_ON) return STOP;
    const AvroFrame *frame = top(reading);
    if (!frame || frame->node != node) return stop(reading, -EBADMSG, "a block has too many items");
    if (count > 0) return GO_ON;
    buffer_append_byte(reading->out, brackets[1]);
    reading->depth--;
    return value_ended(reading);
}

static int item_starts(const AvroNode *node, unsigned index, Reading *reading) {
    if (reading->depth == 0) return stop(reading, -EBADMSG, "a block has too many items");
    AvroFrame *frame = &reading->frames[reading->depth - 1];
    if (frame->node != node || frame->begun != index) return stop(reading, -EBADMSG, "a block has too many items");
    if (frame->begun++ > 0) buffer_append_byte(reading->out, ',');
    return bounded(reading);
}

static int on_array_block(avro_consumer_t *consumer, int first, unsigned count, void *context) {
    return block_starts(node_of(consumer), first, count, context, "[]");
}

static int on_map_block(avro_consumer_t *consumer, int first, unsigned count, void *context) {
    return block_starts(node_of(consumer), first, count, context, "{}");
}

static int on_item(avro_consumer_t *consumer, unsigned index, avro_consumer_t **ret_consumer, void **ret_context, void *context) {
    hand_out(node_of(consumer)->children[0], ret_consumer, ret_context, context);
    return item_starts(node_of(consumer), index, context);
}

static int on_entry(avro_consumer_t *consumer, unsigned index, const char *key, avro_consumer_t **ret_consumer, void **ret_context,
                    void *context) {
    Reading *reading = context;
    hand_out(node_of(consumer)->children[0], ret_consumer, ret_context, context);
    if (item_starts(node_of(consumer), index, reading) != GO_ON) return STOP;
    /* The last that was allocated, with its NUL: one may be in the key, too. */
    check(key >= reading->memory && key < reading->memory + reading->memory_used);
    Span text = {key, (size_t)(reading->memory + reading->memory_used - key) - 1};
    if (put_string(reading, text) != GO_ON) return STOP;
    buffer_append_byte(reading->out, ':');
    return GO_ON;
}

static int on_record(avro_consumer_t *consumer, void *context) {
    if (push(context, node_of(consumer), '{') != GO_ON) return STOP;
    return node_of(consumer)->count == 0 ? value_ended(context) : GO_ON;
}

static int on_field(avro_consumer_t *consumer, unsigned index, avro_consumer_t **ret_consumer, void **ret_context, void *context) {
    const AvroNode *node = node_of(consumer);
    Reading *reading = context;
    check(index < node->count);
    hand_out(node->children[index], ret_consumer, ret_context, context);
    if (item_starts(node, index, reading) != GO_ON) return STOP;
    buffer_append_span(reading->out, node->words[index]);
    return GO_ON;
}

static int on_union(avro_consumer_t *consumer, unsigned branch, avro_consumer_t **ret_consumer, void **ret_context, void *context) {
    const AvroNode *node = node_of(consumer);
    if (branch >= node->count) return stop(context, -EBADMSG, "a union has no type of that number");
    hand_out(node->children[branch], ret_consumer, ret_context, context);
    return GO_ON;
}

void avro_consumer_init(avro_consumer_t *consumer, avro_schema_t schema) {
    *consumer = (avro_consumer_t){
        .schema = schema,
        .null_value = on_null,
        .boolean_value = on_boolean,
        .int_value = on_int,
        .long_value = on_long,
        .float_value = on_float,
        .double_value = on_double,
        .string_value = on_string,
        .bytes_value = on_bytes,
        .fixed_value = on_bytes,
        .enum_value = on_enum,
        .array_start_block = on_array_block,
        .array_element = on_item,
        .map_start_block = on_map_block,
        .map_element = on_entry,
        .record_start = on_record,
        .record_field = on_field,
        .union_branch = on_union,
    };
}

/* "a.b": the fields that had begun. */
static void name_place(const Reading *reading, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < reading->depth && used < size - 1; i++) {
        const AvroFrame *frame = &reading->frames[i];
        if (!is_avro_record(frame->node->consumer.schema) || frame->begun == 0) continue;
        Span word = frame->node->words[frame->begun - 1]; /* `"name":` */
        int n = snprintf(text + used, size - used, "%s%.*s", used ? "." : "", (int)(word.size - 3), word.data + 1);
        used += (size_t)n < size - used ? (size_t)n : size - used - 1;
    }
}

static int explain(const Reading *reading, int result, Error *error) {
    int code = reading->failed < 0 ? reading->failed : -EBADMSG;
    const char *why = reading->failed < 0 ? reading->why
                      : result == EILSEQ  ? "a number has more than 10 bytes"
                      : result == ERANGE  ? "an int has more than 32 bits"
                                          : "a length is wrong, or the record ends before its value does";
    char place[200];
    name_place(reading, place, sizeof place);
    if (place[0]) return error_set(error, code, "field \"%s\": %s", place, why);
    return error_set(error, code, "%s", why);
}

static int read_record(AvroForm *form, Reading *reading, Span record, Error *error) {
    avro_reader_memory_set_source(form->reader, record.size ? record.data : "", (int64_t)record.size);
    int r = avro_consume_binary(form->reader, &form->root->consumer, reading);
    if (r != 0) return explain(reading, r, error);
    if (!reading->done) return error_set(error, -EBADMSG, "a block has too many items");
    /* libavro does not say where it is in memory, but it cannot skip a byte at the end. */
    if (avro_skip(form->reader, 1) == 0)
        return error_set(error, -EBADMSG, "bytes follow the record's end: it was written with another schema");
    return 0;
}

int avro_form_read(AvroForm *form, Span record, size_t json_bytes_max, Buffer *out, Error *error) {
    size_t before = out->size, room = record.size + AVRO_FORM_DEPTH_MAX + 2; /* a NUL for each key that is in use */
    Reading reading;
    reading.out = out;
    reading.out_max = before + json_bytes_max;
    reading.memory = buffer_reserve(&form->memory, room);
    reading.memory_size = room;
    reading.memory_used = reading.depth = 0;
    reading.done = false;
    reading.failed = 0;

    avro_lock(record_memory, &reading);
    int r = read_record(form, &reading, record, error);
    avro_unlock();
    if (r < 0) out->size = before;
    if (form->memory.capacity > KEPT_MEMORY_BYTES) buffer_deinit(&form->memory);
    return r;
}
