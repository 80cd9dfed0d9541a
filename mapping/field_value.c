#include "mapping/field_value.h"

#include "base/error.h"
#include "mapping/json_text.h"
#include "mapping/value.h"

/* What the string means; false: a text cannot hold it. */
static bool read_text(const ScanValue *value, Buffer *scratch, Span *ret_text) {
    Span inner = {value->text.data + 1, value->text.size - 2};
    *ret_text = inner;
    if (!value->escaped) return true; /* a NUL is an escape in JSON */
    buffer_clear(scratch);
    if (json_unescape(scratch, inner)) return false;
    *ret_text = buffer_span(scratch);
    return ret_text->size == 0 || !memchr(ret_text->data, 0, ret_text->size);
}

bool field_value_type(const ScanValue *value, Buffer *scratch, DataType *ret_type) {
    Span text;
    *ret_type = DATA_JSON;
    switch ((ScanKind)value->kind) {
    case SCAN_NULL: return false;
    case SCAN_BOOLEAN: *ret_type = DATA_BOOLEAN; return true;
    case SCAN_NUMBER:
        if (value_is_plain_integer(value->text))
            *ret_type = DATA_INTEGER;
        else if (value_is_decimal(value->text))
            *ret_type = DATA_DECIMAL;
        return true;
    case SCAN_STRING:
        if (read_text(value, scratch, &text)) *ret_type = value_is_exact_time(text) ? DATA_TIMESTAMP : DATA_TEXT;
        return true;
    case SCAN_OBJECT:
    case SCAN_ARRAY: return true;
    }
    unreachable();
}

bool field_value_fits(const ScanValue *value, DataType type, Buffer *scratch) {
    Span text;
    check_debug(value->kind != SCAN_NULL);
    switch (type) {
    case DATA_INTEGER: return value->kind == SCAN_NUMBER && value_is_plain_integer(value->text);
    case DATA_DECIMAL: return value->kind == SCAN_NUMBER && value_is_decimal(value->text);
    case DATA_BOOLEAN: return value->kind == SCAN_BOOLEAN;
    case DATA_TEXT: return value->kind == SCAN_STRING && read_text(value, scratch, &text);
    case DATA_TIMESTAMP: return value->kind == SCAN_STRING && read_text(value, scratch, &text) && value_is_exact_time(text);
    case DATA_JSON: return true;
    case DATA_NUMBER:
    case DATA_DATE:
    case DATA_BYTES:
    case DATA_UUID:
    case DATA_JSON_TEXT: return false;
    }
    unreachable();
}

ScanValue field_value_of(Span text) {
    check(text.size > 0);
    ScanValue value = {.text = text, .kind = (uint8_t)scan_kind(text)};
    value.escaped = value.kind == SCAN_STRING && memchr(text.data, '\\', text.size);
    value.spaced = value.kind == SCAN_OBJECT || value.kind == SCAN_ARRAY;
    return value;
}

bool field_value_is_empty_object(const ScanValue *value) {
    if (value->kind != SCAN_OBJECT) return false;
    const char *p = value->text.data + 1;
    while (text_is_space(*p)) p++;
    return *p == '}';
}
