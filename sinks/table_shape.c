#include "sinks/table_shape.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

FoundColumn *found_table_add(FoundTable *found, const char *name, const char *type) {
    array_reserve(found->columns, found->count, found->capacity);
    FoundColumn *column = &found->columns[found->count++];
    *column = (FoundColumn){.name = strdup(name), .type = strdup(type), .kind = strdup(type)};
    check(column->name && column->type && column->kind);
    return column;
}

void found_table_deinit(FoundTable *found) {
    for (size_t i = 0; i < found->count; i++) {
        free(found->columns[i].name);
        free(found->columns[i].type);
        free(found->columns[i].kind);
        free(found->columns[i].labels);
    }
    free(found->columns);
    free(found->key_name);
    *found = (FoundTable){0};
}

static bool same_name(const TypeRules *rules, const char *a, const char *b) {
    return rules->ignore_case ? span_equal_nocase(span_of(a), span_of(b)) : strcmp(a, b) == 0;
}

static const FoundColumn *find_found(const FoundTable *found, const TypeRules *rules, const char *name) {
    for (size_t i = 0; i < found->count; i++) {
        if (same_name(rules, found->columns[i].name, name)) return &found->columns[i];
    }
    return NULL;
}

static const Column *find_wanted(const SinkTarget *target, const TypeRules *rules, const char *name) {
    for (size_t i = 0; i < target->column_count; i++) {
        if (same_name(rules, target->columns[i].name, name)) return &target->columns[i];
    }
    return NULL;
}

/* One text of differences; those that do not fit in an error are counted. */
typedef struct Differences {
    Buffer text;
    size_t count, left_out;
    TableChanges changes;
} Differences;
enum {
    DIFFERENCES_BYTES = 600,
    PREFIX_BYTES = 120, /* of what callers put before the text */
};

static void change(Differences *differences, TableChangeKind kind, const Column *column, const FoundColumn *there) {
    TableChanges *changes = &differences->changes;
    for (size_t i = 0; kind == TABLE_CHANGE_KEY && i < changes->count; i++) {
        if (changes->items[i].kind == kind) return;
    }
    array_reserve(changes->items, changes->count, changes->capacity);
    changes->items[changes->count++] = (TableChange){.kind = kind, .column = column, .there = there};
}

static void __attribute__((format(printf, 2, 3))) differ(Differences *differences, const char *format, ...) {
    differences->count++;
    char one[400];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(one, sizeof one, format, arguments);
    va_end(arguments);
    if (size < 0 || differences->text.size + (size_t)size > DIFFERENCES_BYTES) {
        differences->left_out++;
        return;
    }
    if (differences->text.size > 0) buffer_append_text(&differences->text, "; ");
    buffer_append_text(&differences->text, one);
}

/* No import can do without it. */
static bool is_needed(const SinkTarget *target, const Column *column) {
    if (column->primary_key) return true;
    if (target->table.on_schema_drift != SCHEMA_DRIFT_IGNORE) return false; /* it can be added */
    return column->type == COLUMN_REST || (target->table.newer_by && strcmp(target->table.newer_by, column->name) == 0);
}

enum { DATA_TYPES_BYTES = 200 };

/* ", or the sink's dataType integer or number": those that fit the table's column as it is. Returns
 * `out`, which is empty when there is none. */
static const char *put_data_types(const SinkTarget *target, const Column *column, const FoundColumn *there, const TypeRules *rules,
                                  char out[static DATA_TYPES_BYTES]) {
    const char *names[DATA_TYPE_COUNT];
    size_t count = 0, size = 0;
    out[0] = '\0';
    if (column->type != COLUMN_PATH && column->type != COLUMN_TEMPLATE) return out;
    for (int i = 0; i < DATA_TYPE_COUNT; i++) {
        Column other = *column;
        other.data_type = (DataType)i;
        if (rules->compatible(target, &other, there)) names[count++] = data_type_name(other.data_type);
    }
    for (size_t i = 0; i < count; i++) {
        const char *separator = i == 0 ? ", or the sink's dataType " : i + 1 < count ? ", " : " or ";
        size += (size_t)snprintf(out + size, DATA_TYPES_BYTES - size, "%s%s", separator, names[i]);
        check(size < DATA_TYPES_BYTES);
    }
    return out;
}

static void compare_columns(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, bool *missing,
                            Differences *differences) {
    size_t missing_count = 0;
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        const FoundColumn *there = find_found(found, rules, column->name);
        if (missing) missing[i] = !there;
        missing_count += !there;
        if (!there) {
            if (missing && !is_needed(target, column)) continue;
            differ(differences, "column \"%s\" (%s) is missing", column->name, rules->type_of(column));
            change(differences, TABLE_CHANGE_ADD, column, NULL);
        } else if (there->is_generated) {
            differ(differences, "column \"%s\" is generated by the table and cannot be written", column->name);
            change(differences, TABLE_CHANGE_WRITABLE, column, there);
        } else if (!rules->compatible(target, column, there)) {
            char others[DATA_TYPES_BYTES];
            differ(differences, "column \"%s\" is %s and should be %s%s", column->name, there->type[0] ? there->type : "without type",
                   rules->type_of(column), put_data_types(target, column, there, rules, others));
            change(differences, TABLE_CHANGE_TYPE, column, there);
        }
    }
    if (missing && missing_count == target->column_count && target->table.on_schema_drift == SCHEMA_DRIFT_IGNORE) {
        differ(differences, "it has none of the sink's columns");
        for (size_t i = 0; i < target->column_count; i++) {
            if (!is_needed(target, &target->columns[i])) change(differences, TABLE_CHANGE_ADD, &target->columns[i], NULL);
        }
    }
    for (size_t i = 0; i < found->count; i++) {
        const FoundColumn *there = &found->columns[i];
        if (!there->needs_value || there->is_generated || find_wanted(target, rules, there->name)) continue;
        differ(differences, "column \"%s\" is not in the sink, but is NOT NULL without a default", there->name);
        change(differences, TABLE_CHANGE_NULLABLE, NULL, there);
    }
}

/* Every row gets a key of its own by the table itself, so the sink need not know of it. */
static bool key_fills_itself(const SinkTarget *target, const FoundTable *found, const TypeRules *rules) {
    if (target->table.strategy != STRATEGY_APPEND || sink_table_has_key(target)) return false;
    for (size_t i = 0; i < found->count; i++) {
        const FoundColumn *there = &found->columns[i];
        if (there->is_primary_key && there->fills_itself && !find_wanted(target, rules, there->name)) return true;
    }
    return false;
}

static void compare_keys(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, Differences *differences) {
    if (key_fills_itself(target, found, rules)) return;
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        const FoundColumn *there = find_found(found, rules, column->name);
        if (!column->primary_key || (there && there->is_primary_key)) continue;
        if (there) differ(differences, "column \"%s\" is not part of the table's primary key", column->name);
        change(differences, TABLE_CHANGE_KEY, NULL, NULL); /* a missing one was named as such */
    }
    for (size_t i = 0; i < found->count; i++) {
        const FoundColumn *there = &found->columns[i];
        if (!there->is_primary_key) continue;
        const Column *column = find_wanted(target, rules, there->name);
        if (column && column->primary_key) continue;
        differ(differences, "column \"%s\" is part of the table's primary key, but not of the sink's", there->name);
        change(differences, TABLE_CHANGE_KEY, NULL, NULL);
    }
}

/* " Change the sink, or the table: SQL"; nothing when no statement fits. */
static void put_help(Buffer *out, const TableChanges *changes, const TypeRules *rules) {
    static const char words[] = " Change the sink, or the table";
    size_t taken = out->size + strlen(words) + PREFIX_BYTES, before = out->size;
    if (!rules->put_changes || changes->count == 0 || taken >= ERROR_TEXT_SIZE) return;
    buffer_append_text(out, words);
    rules->put_changes(out, changes, ERROR_TEXT_SIZE - taken);
    if (out->size == before + strlen(words)) out->size = before;
}

SinkResult sink_table_compare(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, bool *missing, Error *error) {
    Differences differences = {.changes = {.target = target, .found = found}};
    compare_columns(target, found, rules, missing, &differences);
    compare_keys(target, found, rules, &differences);
    SinkResult result = SINK_DONE;
    if (differences.count > 0) {
        Buffer text = {0};
        buffer_printf(&text, "Table \"%s\" differs from the sink: %s", target->table.table_id, buffer_text(&differences.text));
        if (differences.left_out > 0) buffer_printf(&text, "; and %zu more differences", differences.left_out);
        buffer_append_byte(&text, '.');
        put_help(&text, &differences.changes, rules);
        (void)error_set(error, -EINVAL, "%s", buffer_text(&text));
        buffer_deinit(&text);
        result = SINK_REFUSED;
    }
    free(differences.changes.items);
    buffer_deinit(&differences.text);
    return result;
}

SinkResult sink_table_inspect(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, TableInspection *inspection,
                              Error *error) {
    if (target->table.on_schema_drift == SCHEMA_DRIFT_FAIL) return sink_table_compare(target, found, rules, NULL, error);
    bool **missing = target->table.on_schema_drift == SCHEMA_DRIFT_IGNORE ? &inspection->lacks : &inspection->adds;
    check(!*missing);
    *missing = calloc(target->column_count, sizeof **missing);
    check(*missing);
    return sink_table_compare(target, found, rules, *missing, error);
}

void sql_put_identifier(Buffer *out, const char *name) {
    buffer_append_byte(out, '"');
    for (; *name; name++) {
        if (*name == '"') buffer_append_byte(out, '"');
        buffer_append_byte(out, *name);
    }
    buffer_append_byte(out, '"');
}

void sql_put_columns(Buffer *out, const SinkTarget *target, bool keys_only) {
    const char *separator = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (keys_only && !target->columns[i].primary_key) continue;
        buffer_append_text(out, separator);
        sql_put_identifier(out, target->columns[i].name);
        separator = ", ";
    }
}

bool sink_table_has_key(const SinkTarget *target) {
    for (size_t i = 0; i < target->column_count; i++) {
        if (target->columns[i].primary_key) return true;
    }
    return false;
}

bool sink_target_has_column(const SinkTarget *target, const char *name) {
    for (size_t i = 0; i < target->column_count; i++) {
        if (strcmp(target->columns[i].name, name) == 0) return true;
    }
    return false;
}

bool sink_table_is_all_key(const SinkTarget *target) {
    for (size_t i = 0; i < target->column_count; i++) {
        if (!target->columns[i].primary_key) return false;
    }
    return true;
}

size_t sink_table_newer_by(const SinkTarget *target) {
    if (!target->table.newer_by) return target->column_count;
    for (size_t i = 0; i < target->column_count; i++) {
        if (strcmp(target->columns[i].name, target->table.newer_by) == 0) return i;
    }
    unreachable(); /* a definition that was read names one of its columns */
}

void sql_put_definition(Buffer *out, const SinkTarget *target, const TypeRules *rules) {
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (i > 0) buffer_append_text(out, ", ");
        sql_put_identifier(out, column->name);
        buffer_printf(out, " %s%s", rules->type_of(column), column->primary_key ? " NOT NULL" : "");
    }
    if (sink_table_has_key(target)) {
        buffer_append_text(out, ", PRIMARY KEY (");
        sql_put_columns(out, target, true);
        buffer_append_byte(out, ')');
    }
}

SinkResult sink_table_is_side(const SinkTarget *target, Error *error) {
    (void)error_set(error, -EINVAL,
                    "\"%s\" is the side table of a table that is replaced, and is dropped with it: it cannot have rows of another sink.",
                    target->table.table_id);
    return SINK_REFUSED;
}
