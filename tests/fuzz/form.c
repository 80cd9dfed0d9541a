/*
 * Form bodies: any bytes. What form_read gives is JSON for the scanner and for jansson, an object
 * whose leaves are strings, and writing these out as a form again gives the same JSON.
 */
#include <errno.h>
#include <jansson.h>

#include "base/buffer.h"
#include "mapping/form.h"
#include "mapping/scanner.h"
#include "tests/fuzz/fuzz.h"

static Guard guard;

static void put_escaped(Buffer *out, Span text) {
    char *to = buffer_reserve(out, text.size * 3 + 1);
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte >= 'a' && byte <= 'z') {
            *to++ = (char)byte;
            continue;
        }
        *to++ = '%';
        *to++ = "0123456789abcdef"[byte >> 4];
        *to++ = "0123456789ABCDEF"[byte & 15];
    }
    out->size = (size_t)(to - out->data);
}

/* `name` is of the value's place, escaped; pairs are appended to `out`. */
static void put_pairs(Buffer *out, const Buffer *name, const json_t *value, size_t depth, size_t *leaves) {
    check(depth <= FORM_DEPTH_MAX + 1);
    if (json_is_string(value)) {
        if (out->size) buffer_append_byte(out, '&');
        buffer_append_span(out, buffer_span(name));
        buffer_append_byte(out, '=');
        put_escaped(out, (Span){json_string_value(value), json_string_length(value)});
        ++*leaves;
        return;
    }
    Buffer inner = {0};
    if (json_is_array(value)) {
        check(depth > 0 && json_array_size(value) > 0);
        for (size_t i = 0; i < json_array_size(value); i++) {
            buffer_clear(&inner);
            buffer_append_span(&inner, buffer_span(name));
            buffer_printf(&inner, "[%zu]", i);
            put_pairs(out, &inner, json_array_get(value, i), depth + 1, leaves);
        }
    } else {
        check(json_is_object(value) && (depth == 0 || json_object_size(value) > 0));
        const char *key;
        json_t *item;
        json_object_foreach((json_t *)(uintptr_t)value, key, item) {
            buffer_clear(&inner);
            buffer_append_span(&inner, buffer_span(name));
            if (depth > 0) buffer_append_byte(&inner, '[');
            put_escaped(&inner, span_of(key));
            if (depth > 0) buffer_append_byte(&inner, ']');
            put_pairs(out, &inner, item, depth + 1, leaves);
        }
    }
    buffer_deinit(&inner);
}

static void check_json(Form *form, Span json) {
    ScanFault fault;
    check(scan_validate(json, &fault) == 0);
    json_error_t error;
    json_t *value = json_loadb(json.data, json.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!value) {
        check(json_error_code(&error) == json_error_null_byte_in_key);
        return;
    }
    Buffer pairs = {0}, name = {0}, again = {0};
    size_t leaves = 0;
    put_pairs(&pairs, &name, value, 0, &leaves);
    check(leaves <= FORM_PAIRS_MAX);
    check(form_read(form, buffer_span(&pairs), &again, &fault) == 0);
    check(span_equal(buffer_span(&again), json));
    json_decref(value);
    buffer_deinit(&pairs);
    buffer_deinit(&name);
    buffer_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Span body = fuzz_guarded(&guard, fuzz_input(data, size));
    Form form = {0};
    Buffer out = {0}, other = {0};
    ScanFault fault = {0};
    buffer_append_text(&out, "before");
    int r = form_read(&form, body, &out, &fault);
    check(form_to_json(body, &other, NULL) == (r ? -EBADMSG : 0));
    if (r) {
        check(r == FORM_NOT_A_FORM && fault.what && fault.offset <= size);
    } else {
        Span json = {out.data + 6, out.size - 6};
        check(memcmp(out.data, "before", 6) == 0 && span_equal(json, buffer_span(&other)));
        check_json(&form, json);
    }
    form_deinit(&form);
    buffer_deinit(&out);
    buffer_deinit(&other);
    return 0;
}
