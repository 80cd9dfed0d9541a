#include "config/inferred_type.h"

#include <string.h>

bool inferred_type_valid(DataType type) {
    switch (type) {
    case DATA_INTEGER:
    case DATA_DECIMAL:
    case DATA_BOOLEAN:
    case DATA_TIMESTAMP:
    case DATA_TEXT:
    case DATA_JSON: return true;
    case DATA_NUMBER:
    case DATA_DATE:
    case DATA_BYTES:
    case DATA_UUID:
    case DATA_JSON_TEXT: return false;
    }
    unreachable();
}

bool inferred_type_named(const char *name, DataType *ret_type) {
    for (unsigned type = 0; type < DATA_TYPE_COUNT; type++) {
        if (!inferred_type_valid((DataType)type) || strcmp(data_type_name((DataType)type), name) != 0) continue;
        *ret_type = (DataType)type;
        return true;
    }
    return false;
}

static bool are(DataType a, DataType b, DataType x, DataType y) {
    return (a == x && b == y) || (a == y && b == x);
}

DataType inferred_type_widen(DataType a, DataType b) {
    check(inferred_type_valid(a) && inferred_type_valid(b));
    if (a == b) return a;
    if (are(a, b, DATA_INTEGER, DATA_DECIMAL)) return DATA_DECIMAL;
    if (are(a, b, DATA_TIMESTAMP, DATA_TEXT)) return DATA_TEXT;
    return DATA_JSON;
}

DataType inferred_type_of_variant(DataType seen) {
    check(inferred_type_valid(seen));
    return seen == DATA_TIMESTAMP ? DATA_TEXT : seen;
}
