/*
 * A schema, and records of it: what is not `\n\n` is the schema, and behind it each part that ends
 * with `\n\n` is a record. Any schema is refused with a sentence or compiled; any record is
 * refused, with nothing written, or becomes JSON within the limits. A record that was read is
 * refused without its last byte and with one more.
 */
#include <errno.h>

#include "base/buffer.h"
#include "base/text.h"
#include "gateway/values/avro_form.h"
#include "mapping/scanner.h"
#include "tests/fuzz/fuzz.h"

#define JSON_MAX ((size_t)64 << 10)

static Guard guard;

static Span next_part(Span *left) {
    const char *at = left->size ? memmem(left->data, left->size, "\n\n", 2) : NULL;
    Span part = fuzz_take(left, at ? (size_t)(at - left->data) : left->size);
    (void)fuzz_take(left, 2);
    return part;
}

static void check_record(AvroForm *form, Span record) {
    Buffer out = {0};
    Error error = {0};
    buffer_append_text(&out, "before");
    int r = avro_form_read(form, fuzz_guarded(&guard, record), JSON_MAX, &out, &error);
    check(r == 0 || ((r == -EBADMSG || r == -EFBIG) && out.size == 6 && text_is_plain(span_of(error.text))));
    check(memcmp(out.data, "before", 6) == 0);
    if (r == 0) {
        Span json = {out.data + 6, out.size - 6};
        ScanFault fault;
        check(json.size <= JSON_MAX && scan_validate(json, &fault) == 0);
        Buffer other = {0};
        if (record.size > 0) check(avro_form_read(form, (Span){record.data, record.size - 1}, JSON_MAX, &other, NULL) == -EBADMSG);
        buffer_append_span(&other, record);
        buffer_append_byte(&other, '\0');
        check(avro_form_read(form, buffer_span(&other), JSON_MAX, &out, NULL) == -EBADMSG);
        buffer_deinit(&other);
    }
    buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Span left = fuzz_input(data, size);
    Span schema = next_part(&left);
    AvroForm *form = NULL;
    Error error = {0};
    int r = avro_form_new(fuzz_guarded(&guard, schema), &form, &error);
    if (r < 0) {
        check(r == -EINVAL && !form && text_is_plain(span_of(error.text)));
        return 0;
    }
    do check_record(form, next_part(&left));
    while (left.size > 0);
    avro_form_free(form);
    return 0;
}
