#include "gateway/values/record_value.h"

#include <errno.h>

#include "base/cursor.h"
#include "gateway/values/avro_text.h"

enum { FRAME_BYTES = 5 };

void record_reader_deinit(RecordReader *reader) {
    buffer_deinit(&reader->body);
}

/* Without its frame. */
static RecordResult read_framed(RecordReader *reader, Span value, Span *ret_body, Error *why) {
    check(reader->registry);
    if (value.size < FRAME_BYTES || value.data[0] != '\0') {
        (void)error_set(why, -EBADMSG,
                        "the value does not begin with a byte 0 and the number of a schema, as in the Confluent wire format");
        return RECORD_POISON;
    }
    uint32_t number = load_be32(value.data + 1);
    Span framed = {value.data + FRAME_BYTES, value.size - FRAME_BYTES};
    AvroForm *form = NULL;
    switch (schema_registry_find(reader->registry, number, &form, why)) {
    case SCHEMA_WAIT: return RECORD_LATER;
    case SCHEMA_UNKNOWN: return RECORD_UNKNOWN_ID;
    case SCHEMA_UNFIT: return RECORD_POISON;
    case SCHEMA_FOUND: break;
    }
    *ret_body = framed;
    if (reader->kind == RECORD_JSON_SCHEMA) return RECORD_READ;
    check(form);
    if (avro_form_read(form, framed, reader->event_bytes_max, &reader->body, why) < 0) {
        (void)error_prefix(why, "not a record of schema %u", number);
        return RECORD_POISON;
    }
    *ret_body = buffer_span(&reader->body);
    return RECORD_READ;
}

RecordResult record_value_read(RecordReader *reader, Span value, Span *ret_body, BodyKind *ret_kind, Error *why) {
    buffer_clear(&reader->body);
    switch (reader->kind) {
    case RECORD_JSON:
        *ret_body = value;
        *ret_kind = BODY_JSON;
        return RECORD_READ;
    case RECORD_TEXT:
        *ret_body = value;
        *ret_kind = BODY_OTHER;
        return RECORD_READ;
    case RECORD_BYTES:
        avro_put_base64(&reader->body, value);
        *ret_body = buffer_span(&reader->body);
        *ret_kind = BODY_OTHER;
        return RECORD_READ;
    case RECORD_AVRO:
    case RECORD_JSON_SCHEMA: *ret_kind = BODY_JSON; return read_framed(reader, value, ret_body, why);
    }
    unreachable();
}
