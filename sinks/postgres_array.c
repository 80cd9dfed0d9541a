#include "sinks/postgres_array.h"

static void begin_element(Buffer *array) {
    buffer_append_byte(array, array->size == 0 ? '{' : ',');
}

void postgres_array_add(Buffer *array, Span text) {
    begin_element(array);
    buffer_append_byte(array, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') buffer_append_byte(array, '\\');
        buffer_append_byte(array, text.data[i]);
    }
    buffer_append_byte(array, '"');
}

void postgres_array_add_null(Buffer *array) {
    begin_element(array);
    buffer_append_text(array, "NULL");
}

void postgres_array_add_number(Buffer *array, int64_t number) {
    begin_element(array);
    buffer_printf(array, "%" PRId64, number);
}

const char *postgres_array_end(Buffer *array) {
    buffer_append_text(array, array->size == 0 ? "{}" : "}");
    return buffer_text(array);
}
