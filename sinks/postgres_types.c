#include "sinks/postgres_types.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"

const char *postgres_type_of(const Column *column) {
    switch (column->data_type) {
    case DATA_TEXT: return "text";
    case DATA_INTEGER: return "bigint";
    case DATA_NUMBER: return "double precision";
    case DATA_DECIMAL: return "numeric";
    case DATA_BOOLEAN: return "boolean";
    case DATA_TIMESTAMP: return "timestamp with time zone";
    case DATA_DATE: return "date";
    case DATA_JSON: return column->inferred == COLUMN_DECLARED ? "jsonb" : "json"; /* any JSON may be inferred */
    case DATA_BYTES: return "bytea";
    case DATA_UUID: return "uuid";
    case DATA_JSON_TEXT: return "json";
    }
    unreachable();
}

#define ONLY(column_type) ((int)(column_type) + 1)

/* One type that the columns of a data type may have. */
typedef struct Accepted {
    DataType data_type;
    const char *type; /* as format_type writes it, without modifiers */
    int only;         /* ONLY(type of the column); 0: any */
    /* With a modifier, as the 20 of varchar(20), it fits when that is this or more; 0: it never
     * does. */
    int modifier_min;
    bool refuses; /* it may refuse a value of the data type */
} Accepted;

static const Accepted accepted[] = {
    {.data_type = DATA_TEXT, .type = "text"},
    {.data_type = DATA_TEXT, .type = "character varying", .modifier_min = 1},
    {.data_type = DATA_TEXT, .type = POSTGRES_CITEXT},
    {.data_type = DATA_TEXT, .type = POSTGRES_ENUM, .refuses = true},
    {.data_type = DATA_TEXT, .type = "uuid", .refuses = true},
    {.data_type = DATA_TEXT, .type = "inet", .refuses = true},
    {.data_type = DATA_TEXT, .type = "cidr", .refuses = true},
    {.data_type = DATA_TEXT, .type = "macaddr", .refuses = true},
    {.data_type = DATA_TEXT, .type = "xml", .refuses = true},
    {.data_type = DATA_TEXT, .type = "json", .only = ONLY(COLUMN_HEADERS)},
    {.data_type = DATA_TEXT, .type = "jsonb", .only = ONLY(COLUMN_HEADERS)},
    {.data_type = DATA_TEXT, .type = "timestamp with time zone", .only = ONLY(COLUMN_DATETIME), .modifier_min = 3},
    {.data_type = DATA_TEXT, .type = "timestamp without time zone", .only = ONLY(COLUMN_DATETIME), .modifier_min = 3},
    {.data_type = DATA_INTEGER, .type = "bigint"},
    {.data_type = DATA_INTEGER, .type = "integer", .refuses = true},
    {.data_type = DATA_INTEGER, .type = "smallint", .refuses = true},
    {.data_type = DATA_INTEGER, .type = "numeric"},
    {.data_type = DATA_NUMBER, .type = "double precision"},
    {.data_type = DATA_NUMBER, .type = "numeric"},
    {.data_type = DATA_DECIMAL, .type = "numeric"},
    {.data_type = DATA_BOOLEAN, .type = "boolean"},
    {.data_type = DATA_TIMESTAMP, .type = "timestamp with time zone", .modifier_min = 6},
    {.data_type = DATA_TIMESTAMP, .type = "timestamp without time zone", .modifier_min = 6},
    {.data_type = DATA_DATE, .type = "date"},
    {.data_type = DATA_JSON, .type = "json"},
    {.data_type = DATA_JSON, .type = "jsonb", .refuses = true},
    {.data_type = DATA_BYTES, .type = "bytea"},
    {.data_type = DATA_UUID, .type = "uuid"},
    {.data_type = DATA_JSON_TEXT, .type = "json"},
};

/* "numeric(10,2)" without what stands in brackets, which is *ret_modifier, the first one if there
 * are two; 0: there are no brackets. */
static void split_type(const char *type, Buffer *out, int *ret_modifier) {
    const char *open = strchr(type, '('), *close = open ? strchr(open, ')') : NULL;
    *ret_modifier = 0;
    if (!close) {
        buffer_append_text(out, type);
        return;
    }
    *ret_modifier = atoi(open + 1);
    buffer_append(out, type, (size_t)(open - type));
    buffer_append_text(out, close + 1);
}

static const Accepted *find(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    Buffer type = {0};
    int modifier;
    const Accepted *found = NULL;
    split_type(there->kind, &type, &modifier);
    bool has_modifier = type.size != strlen(there->kind);
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0] && !found; i++) {
        const Accepted *row = &accepted[i];
        if (row->data_type != column->data_type || strcmp(row->type, buffer_text(&type)) != 0) continue;
        if (row->only != 0 && row->only != ONLY(column->type)) continue;
        if (!has_modifier || (row->modifier_min > 0 && modifier >= row->modifier_min)) found = row;
    }
    buffer_deinit(&type);
    /* An id of an element, `UUID#N`, is none. */
    if (found && column->type == COLUMN_ID && target && target->explode && strcmp(found->type, "uuid") == 0) return NULL;
    return found;
}

static bool compatible(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    return find(target, column, there) != NULL;
}

static bool holds_all(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    const Accepted *found = find(target, column, there);
    return found && !found->refuses;
}

const TypeRules postgres_type_rules = {.type_of = postgres_type_of, .compatible = compatible, .holds_all = holds_all, .ignore_case = false};
