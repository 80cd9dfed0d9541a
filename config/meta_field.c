#include "config/meta_field.h"

#include "base/error.h"

const char *const meta_field_names[] = {"topic",  "partition", "offset",    "key",    "subject",
                                        "stream", "sequence",  "timestamp", "bridge", NULL};

const char *meta_field_name(MetaField field) {
    check(field < META_FIELD_COUNT_);
    return meta_field_names[field];
}

bool meta_field_find(Span name, MetaField *ret_field) {
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++) {
        if (!span_equal(name, span_of(meta_field_names[field]))) continue;
        *ret_field = field;
        return true;
    }
    return false;
}

void meta_fields_list(unsigned fields, Buffer *out) {
    const char *separator = "";
    check(fields != 0);
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++) {
        if (!(fields & META_BIT(field))) continue;
        buffer_append_text(out, separator);
        buffer_append_text(out, meta_field_names[field]);
        separator = ", ";
    }
}
