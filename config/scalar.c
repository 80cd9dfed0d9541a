#include "config/scalar.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

#define DIGITS_OF_ANY_DOUBLE 17

/* By jansson, whose texts do not depend on the locale. */
static char *write_real(const json_t *value) {
    for (size_t digits = 15;; digits++) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        check(text);
        json_t *again = json_loads(text, JSON_DECODE_ANY, NULL);
        bool same = json_is_real(again) && json_real_value(again) == json_real_value(value);
        json_decref(again);
        if (same || digits == DIGITS_OF_ANY_DOUBLE) return text;
        free(text);
    }
}

ScalarKind scalar_read(const json_t *value, char **ret_text) {
    *ret_text = NULL;
    switch (json_typeof(value)) {
    case JSON_NULL: *ret_text = text_copy("null"); return SCALAR_NULL;
    case JSON_TRUE: *ret_text = text_copy("true"); return SCALAR_LITERAL;
    case JSON_FALSE: *ret_text = text_copy("false"); return SCALAR_LITERAL;
    case JSON_REAL: *ret_text = write_real(value); return SCALAR_LITERAL;
    case JSON_INTEGER: *ret_text = json_dumps(value, JSON_ENCODE_ANY); return SCALAR_LITERAL;
    case JSON_STRING:
        if (strlen(json_string_value(value)) == json_string_length(value)) *ret_text = text_copy(json_string_value(value));
        return SCALAR_TEXT;
    case JSON_OBJECT:
    case JSON_ARRAY: break;
    }
    return SCALAR_TEXT;
}

json_t *scalar_write(ScalarKind kind, const char *text) {
    json_t *value = kind == SCALAR_TEXT ? json_string(text) : json_loads(text, JSON_DECODE_ANY, NULL);
    check(value);
    return value;
}
