#include "sinks/postgres_types.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/text.h"
#include "sinks/postgres_changes.h"
#include "sinks/postgres_values.h"

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
    const char *type;   /* as format_type writes it, without modifiers, such as the 20 of varchar(20) */
    CellCheck check;    /* NULL: each value fits. Without one, the type has no modifier */
    bool with_modifier; /* without a modifier each value fits */
    int only;           /* ONLY(type of the column); 0: any */
} Accepted;

static const Accepted accepted[] = {
    {DATA_TEXT, "text", NULL},
    {DATA_TEXT, "character varying", postgres_check_length, .with_modifier = true},
    {DATA_TEXT, "character", postgres_check_length, .with_modifier = true},
    {DATA_TEXT, "bpchar", NULL},
    {DATA_TEXT, POSTGRES_CITEXT, NULL},
    {DATA_TEXT, POSTGRES_ENUM, postgres_check_label},
    {DATA_TEXT, "uuid", NULL, .only = ONLY(COLUMN_ID)},
    {DATA_TEXT, "uuid", postgres_check_uuid},
    {DATA_TEXT, "inet", NULL, .only = ONLY(COLUMN_IP)},
    {DATA_TEXT, "inet", postgres_check_inet},
    {DATA_TEXT, "cidr", postgres_check_cidr},
    {DATA_TEXT, "macaddr", postgres_check_macaddr},
    {DATA_TEXT, "time without time zone", postgres_check_time},
    {DATA_TEXT, "interval", postgres_check_interval},
    {DATA_TEXT, "xml", postgres_check_xml},
    {DATA_TEXT, "json", NULL, .only = ONLY(COLUMN_HEADERS)},
    {DATA_TEXT, "jsonb", NULL, .only = ONLY(COLUMN_HEADERS)},
    {DATA_TEXT, "timestamp with time zone", postgres_check_seconds, .with_modifier = true, .only = ONLY(COLUMN_DATETIME)},
    {DATA_TEXT, "timestamp without time zone", postgres_check_seconds, .with_modifier = true, .only = ONLY(COLUMN_DATETIME)},
    {DATA_INTEGER, "bigint", NULL},
    {DATA_INTEGER, "integer", postgres_check_integer},
    {DATA_INTEGER, "smallint", postgres_check_smallint},
    {DATA_INTEGER, "numeric", postgres_check_numeric, .with_modifier = true},
    {DATA_INTEGER, "double precision", postgres_check_whole_double},
    {DATA_INTEGER, "real", postgres_check_whole_real},
    {DATA_NUMBER, "double precision", NULL},
    {DATA_NUMBER, "real", postgres_check_real},
    {DATA_NUMBER, "numeric", postgres_check_numeric, .with_modifier = true},
    {DATA_DECIMAL, "numeric", postgres_check_numeric, .with_modifier = true},
    {DATA_BOOLEAN, "boolean", NULL},
    {DATA_TIMESTAMP, "timestamp with time zone", postgres_check_seconds, .with_modifier = true},
    {DATA_TIMESTAMP, "timestamp without time zone", postgres_check_seconds, .with_modifier = true},
    {DATA_DATE, "date", NULL},
    {DATA_JSON, "json", NULL},
    {DATA_JSON, "jsonb", NULL},
    {DATA_JSON, "text[]", postgres_check_array},
    {DATA_JSON, "character varying[]", postgres_check_array},
    {DATA_BYTES, "bytea", NULL},
    {DATA_UUID, "uuid", NULL},
    {DATA_JSON_TEXT, "json", NULL},
};

/* A row of the table above for one column of a table. */
typedef struct Fit {
    const Accepted *accepted;
    bool has_modifier;
    int modifiers[2]; /* -1: none */
} Fit;

/* "numeric(10,2)" without what stands in brackets, which goes to the fit. */
static void split_type(const char *type, Buffer *out, Fit *fit) {
    const char *open = strchr(type, '('), *close = open ? strchr(open, ')') : NULL;
    *fit = (Fit){.has_modifier = close, .modifiers = {-1, -1}};
    if (!close) {
        buffer_append_text(out, type);
        return;
    }
    const char *comma = memchr(open, ',', (size_t)(close - open));
    fit->modifiers[0] = atoi(open + 1);
    if (comma) fit->modifiers[1] = atoi(comma + 1);
    buffer_append(out, type, (size_t)(open - type));
    buffer_append_text(out, close + 1);
}

static bool find(const SinkTarget *target, const Column *column, const FoundColumn *there, Fit *ret_fit) {
    Buffer type = {0};
    split_type(there->kind, &type, ret_fit);
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0] && !ret_fit->accepted; i++) {
        const Accepted *row = &accepted[i];
        if (row->data_type != column->data_type || strcmp(row->type, buffer_text(&type)) != 0) continue;
        if (row->only != 0 && row->only != ONLY(column->type)) continue;
        if (row->check || !ret_fit->has_modifier) ret_fit->accepted = row;
    }
    buffer_deinit(&type);
    if (!ret_fit->accepted) return false;
    /* An id of an element, `UUID#N`, is no UUID, and what has no column of its own is no array. */
    if (column->type == COLUMN_ID && target->explode && strcmp(ret_fit->accepted->type, "uuid") == 0) return false;
    return column->type != COLUMN_REST || ret_fit->accepted->check != postgres_check_array;
}

/* What the cells of the column have to pass; NULL: nothing. */
static CellCheck check_of(const Column *column, const Fit *fit) {
    if (fit->accepted->with_modifier && !fit->has_modifier) return NULL;
    int digits = column->type == COLUMN_DATETIME ? 3 : 6; /* of a second, that mapping writes */
    return fit->accepted->check == postgres_check_seconds && fit->modifiers[0] >= digits ? NULL : fit->accepted->check;
}

static bool compatible(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    Fit fit;
    return find(target, column, there, &fit);
}

static bool holds_all(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    Fit fit;
    return find(target, column, there, &fit) && !check_of(column, &fit);
}

const TypeRules postgres_type_rules = {.type_of = postgres_type_of,
                                       .compatible = compatible,
                                       .holds_all = holds_all,
                                       .put_changes = postgres_put_changes,
                                       .ignore_case = false};

/* ---- rules ---- */

/* "676c6164,736164": what the labels are in hexadecimal digits, separated by commas. */
static void read_labels(Arena *arena, const char *digits, PostgresValueType *type) {
    size_t count = 1, size = strlen(digits);
    for (const char *c = digits; *c; c++) count += *c == ',';
    Span *labels = arena_alloc(arena, count * sizeof *labels);
    char *text = arena_alloc(arena, size / 2 + 1);
    for (size_t i = 0; i < count; i++) {
        labels[i] = (Span){.data = text};
        for (; *digits && *digits != ','; digits += 2) *text++ = (char)(text_hex(digits[0]) << 4 | text_hex(digits[1]));
        labels[i].size = (size_t)(text - labels[i].data);
        if (*digits == ',') digits++;
    }
    type->labels = labels;
    type->label_count = count;
}

static void add_rule(PostgresRules *rules, const SinkTarget *target, size_t index, const FoundColumn *there, const Fit *fit) {
    if (!rules->rules) {
        rules->rules = arena_alloc(&rules->arena, target->column_count * sizeof *rules->rules);
        memset(rules->rules, 0, target->column_count * sizeof *rules->rules);
    }
    PostgresValueType *type = arena_alloc(&rules->arena, sizeof *type);
    *type = (PostgresValueType){.precision = fit->modifiers[0], .scale = fit->modifiers[1]};
    if (there->labels) read_labels(&rules->arena, there->labels, type);
    Buffer subject = {0};
    buffer_printf(&subject, "column \"%s\" is %s", there->name, there->type);
    rules->rules[index] = (CellRule){.test = check_of(&target->columns[index], fit),
                                     .context = type,
                                     .subject = arena_copy(&rules->arena, (Span){buffer_text(&subject), subject.size})};
    buffer_deinit(&subject);
}

void postgres_rules_init(PostgresRules *rules, const SinkTarget *target, const FoundTable *found) {
    *rules = (PostgresRules){0};
    for (size_t i = 0; i < target->column_count; i++) {
        for (size_t k = 0; k < found->count; k++) {
            Fit fit;
            if (strcmp(found->columns[k].name, target->columns[i].name) != 0) continue;
            if (find(target, &target->columns[i], &found->columns[k], &fit) && check_of(&target->columns[i], &fit))
                add_rule(rules, target, i, &found->columns[k], &fit);
        }
    }
}

void postgres_rules_deinit(PostgresRules *rules) {
    arena_deinit(&rules->arena);
    *rules = (PostgresRules){0};
}
