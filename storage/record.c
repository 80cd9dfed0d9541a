#include "storage/record.h"

#include <errno.h>

#include "base/checksum.h"

void record_begin(Buffer *out, uint8_t kind, uint8_t version) {
    check(kind && version);
    buffer_clear(out);
    buffer_put_u8(out, kind);
    buffer_put_u8(out, version);
}

void record_seal(Buffer *out) {
    check(out->size >= 2 && out->data[0] && out->data[1]); /* begun */
    buffer_put_u64(out, checksum_of(out->data, out->size));
}

int record_open(Span value, uint8_t kind, uint8_t newest, const char *what, Cursor *ret_fields, Error *error) {
    if (value.size < RECORD_OVERHEAD) return error_set(error, -EBADMSG, "the record of %s is damaged: too short", what);
    Cursor end = cursor_of((Span){.data = value.data + value.size - 8, .size = 8});
    if (cursor_u64(&end) != checksum_of(value.data, value.size - 8))
        return error_set(error, -EBADMSG, "the record of %s is damaged: its checksum differs", what);

    Cursor fields = cursor_of((Span){.data = value.data, .size = value.size - 8});
    uint8_t found_kind = cursor_u8(&fields);
    uint8_t version = cursor_u8(&fields);
    if (found_kind != kind) return error_set(error, -EBADMSG, "the record of %s is of another kind", what);
    if (version == 0 || version > newest)
        return error_set(error, -EBADMSG, "the record of %s has version %u, this program reads up to %u", what, version, newest);
    *ret_fields = fields;
    return 0;
}

int record_read_whole(const Cursor *fields, const char *what, Error *error) {
    if (fields->failed || fields->at != fields->end)
        return error_set(error, -EBADMSG, "the record of %s is damaged: its length is wrong", what);
    return 0;
}
