#include "config/inference.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/definition_parts.h"

#define REST_NAME "_rest"
#define ID_NAME "_id"

/* What stands before the declared columns. */
static const struct {
    const char *name;
    ColumnType type;
    DataType data_type;
    MetaField meta_field; /* COLUMN_META */
} base_columns[] = {
    {ID_NAME, COLUMN_ID, DATA_TEXT, 0},
    {"_at", COLUMN_DATETIME, DATA_TIMESTAMP, 0},
    {"_topic", COLUMN_META, DATA_TEXT, META_TOPIC},
    {"_partition", COLUMN_META, DATA_INTEGER, META_PARTITION},
    {"_offset", COLUMN_META, DATA_INTEGER, META_OFFSET},
    {"_subject", COLUMN_META, DATA_TEXT, META_SUBJECT},
    {"_sequence", COLUMN_META, DATA_INTEGER, META_SEQUENCE},
};
#define BASE_COUNT (sizeof base_columns / sizeof *base_columns)

bool inference_reserves(Span name) {
    for (size_t i = 0; i < BASE_COUNT; i++)
        if (span_equal_nocase(name, span_of(base_columns[i].name))) return true;
    return span_equal_nocase(name, SPAN(REST_NAME));
}

static const Column *declared_as(const SinkTarget *target, const char *name) {
    for (size_t i = 0; i < target->column_count; i++)
        if (target->columns[i].inferred == COLUMN_DECLARED && strcmp(target->columns[i].name, name) == 0) return &target->columns[i];
    return NULL;
}

bool inference_is_base(const Column *column) {
    for (size_t i = 0; i < BASE_COUNT; i++)
        if (strcmp(column->name, base_columns[i].name) == 0)
            return column->type == base_columns[i].type && column->data_type == base_columns[i].data_type &&
                   (column->type != COLUMN_META || column->meta_field == base_columns[i].meta_field);
    return false;
}

json_t *inference_base_form(const char *name, unsigned meta_fields) {
    for (size_t i = 0; i < BASE_COUNT; i++) {
        if (strcmp(name, base_columns[i].name) != 0) continue;
        bool is_meta = base_columns[i].type == COLUMN_META;
        if (is_meta && !(meta_fields & META_BIT(base_columns[i].meta_field))) return NULL;
        json_t *form = json_pack("{s:s, s:s, s:s, s:s*}", "name", name, "type", column_type_name(base_columns[i].type), "dataType",
                                 data_type_name(base_columns[i].data_type), "field",
                                 is_meta ? meta_field_name(base_columns[i].meta_field) : NULL);
        check(form);
        return form;
    }
    return NULL;
}

bool inference_base_type(const char *name, DataType *ret_type) {
    for (size_t i = 0; i < BASE_COUNT; i++) {
        if (strcmp(name, base_columns[i].name) != 0) continue;
        *ret_type = base_columns[i].data_type;
        return true;
    }
    return false;
}

char *inference_wrong(const SinkTarget *target, bool *ret_is_newer_by) {
    unsigned least = 0;
    const char *newer_by = target->table.newer_by;
    bool has_newer_by = !newer_by;
    char *text = NULL;
    check(target->infer);
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        bool is_own = !column_is_inferred(column);
        least += is_own;
        has_newer_by = has_newer_by || (is_own && strcmp(column->name, newer_by) == 0);
    }
    *ret_is_newer_by = !has_newer_by;
    if (!has_newer_by)
        check(asprintf(&text, "is \"%s\", a column that sources of this type do not have", newer_by) > 0);
    else if (target->infer->max_columns < least)
        check(asprintf(&text, "must be at least %u, not %u: the sink has %u columns before columns are inferred", least,
                       target->infer->max_columns, least) > 0);
    return text;
}

size_t inference_room(const SinkTarget *target) {
    if (!target->infer || target->infer->max_columns <= target->column_count) return 0;
    return target->infer->max_columns - target->column_count;
}

void inferred_columns_free(InferredColumn *columns, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(columns[i].path);
        free(columns[i].name);
    }
    free(columns);
}

InferredColumn inferred_column_copy(const InferredColumn *column) {
    InferredColumn copy = *column;
    copy.path = text_copy(column->path);
    copy.name = text_copy(column->name);
    return copy;
}

bool inferred_column_same(const InferredColumn *a, const InferredColumn *b) {
    return a->is_variant == b->is_variant && (!a->is_variant || a->type == b->type) && strcmp(a->path, b->path) == 0;
}

static bool has_key(const SinkTarget *target) {
    bool keyed = false;
    for (size_t i = 0; i < target->column_count; i++)
        keyed = keyed || (target->columns[i].primary_key && target->columns[i].inferred != COLUMN_BASE);
    return keyed;
}

/* A merge needs a key: without one that is declared, events are told apart by their ids. */
static Column base_column(size_t index, bool keyed) {
    Column column = {.name = text_copy(base_columns[index].name),
                     .type = base_columns[index].type,
                     .data_type = base_columns[index].data_type,
                     .meta_field = base_columns[index].meta_field,
                     .primary_key = keyed && base_columns[index].type == COLUMN_ID,
                     .inferred = COLUMN_BASE};
    return column;
}

void inference_complete(unsigned meta_fields, SinkTarget *target) {
    check(target->infer);
    Column *columns = calloc(target->column_count + BASE_COUNT + 1, sizeof *columns);
    check(columns);
    size_t count = 0;
    bool keyed = target->table.strategy == STRATEGY_MERGE && !has_key(target);
    for (size_t i = 0; i < BASE_COUNT; i++) {
        const Column *declared = declared_as(target, base_columns[i].name);
        if (declared)
            columns[count++] = *declared;
        else if (base_columns[i].type != COLUMN_META || meta_fields & META_BIT(base_columns[i].meta_field))
            columns[count++] = base_column(i, keyed);
    }
    for (size_t i = 0; i < target->column_count; i++) {
        Column *column = &target->columns[i];
        if (column->inferred == COLUMN_BASE)
            fields_free(&column_fields, column);
        else if (!inference_is_base(column))
            columns[count++] = *column;
    }
    columns[count++] = (Column){.name = text_copy(REST_NAME), .type = COLUMN_REST, .data_type = DATA_JSON, .inferred = COLUMN_BASE};
    free(target->columns);
    target->columns = columns;
    target->column_count = count;
}

bool inference_has_column(const SinkTarget *target, const char *path, ColumnOrigin origin, DataType variant) {
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (column->inferred == origin && column->path && strcmp(column->path, path) == 0 &&
            (origin != COLUMN_VARIANT || column->data_type == variant))
            return true;
    }
    return false;
}

/* Has the target a column of that name, or one for what it is for? */
static bool has_column(const SinkTarget *target, const Column *column) {
    for (size_t i = 0; i < target->column_count; i++)
        if (span_equal_nocase(span_of(target->columns[i].name), span_of(column->name))) return true;
    return inference_has_column(target, column->path, column->inferred, column->data_type);
}

/* Takes over what `column` owns. */
static void insert_column(SinkTarget *target, size_t at, Column column) {
    Column *columns = reallocarray(target->columns, target->column_count + 1, sizeof *columns);
    check(columns);
    memmove(&columns[at + 1], &columns[at], (target->column_count - at) * sizeof *columns);
    columns[at] = column;
    target->columns = columns;
    target->column_count++;
}

bool inference_leaves_out(const SinkTarget *target, const char *field) {
    if (field_path_levels(span_of(field)) > target->infer->depth) return true;
    for (size_t i = 0; i < target->infer->exclude_count; i++) {
        _cleanup_(buffer_deinit) Buffer path = {0};
        if (!field_path_canonical(span_of(target->infer->exclude[i]), &path)) continue; /* refused when the plan is made */
        if (field_path_within(span_of(field), buffer_span(&path))) return true;
    }
    for (size_t i = 0; i < target->column_count; i++) {
        _cleanup_(buffer_deinit) Buffer path = {0};
        if (target->columns[i].inferred != COLUMN_DECLARED || !target->columns[i].path) continue;
        if (!field_path_canonical(span_of(target->columns[i].path), &path)) continue;
        if (field_path_within(span_of(field), buffer_span(&path))) return true;
    }
    return false;
}

bool inference_holds_masked(const SinkTarget *masking, const char *field) {
    for (size_t i = 0; i < masking->column_count; i++) {
        _cleanup_(buffer_deinit) Buffer path = {0};
        if (!masking->columns[i].mask || !masking->columns[i].path) continue;
        if (!field_path_canonical(span_of(masking->columns[i].path), &path)) continue;
        if (path.size > strlen(field) && field_path_within(buffer_span(&path), span_of(field))) return true;
    }
    return false;
}

size_t inference_add(SinkTarget *target, const InferredColumn *columns, size_t count) {
    size_t added = 0;
    check(target->infer && target->column_count > 0 && target->columns[target->column_count - 1].type == COLUMN_REST);
    for (size_t i = 0; i < count && inference_room(target) > 0; i++) {
        Column column = {.name = columns[i].name,
                         .type = COLUMN_PATH,
                         .data_type = columns[i].type,
                         .path = columns[i].path,
                         .raw_string = columns[i].type != DATA_JSON,
                         .inferred = columns[i].is_variant ? COLUMN_VARIANT : COLUMN_INFERRED};
        check(column.name && column.path);
        if (has_column(target, &column) || inference_leaves_out(target, column.path)) continue;
        column.name = text_copy(column.name);
        column.path = text_copy(column.path);
        insert_column(target, target->column_count - 1, column);
        added++;
    }
    return added;
}

/* Without the last base column: _rest. */
static bool is_front(const Column *column) {
    return column->inferred == COLUMN_BASE && column->type != COLUMN_REST;
}

static void keep(SinkTarget *now, size_t at, const Column *column) {
    Column copy = *column;
    fields_unshare(&column_fields, &copy);
    if (copy.type == COLUMN_ID && copy.inferred == COLUMN_BASE) copy.primary_key = now->table.strategy == STRATEGY_MERGE && !has_key(now);
    insert_column(now, at, copy);
}

/* A declared column takes the place of the base column of its name; false: there is none. */
static bool move_declared(SinkTarget *target, const char *name, size_t to) {
    const Column *declared = declared_as(target, name);
    if (!declared) return false;
    size_t from = (size_t)(declared - target->columns);
    check(from >= to);
    Column column = *declared;
    memmove(&target->columns[to + 1], &target->columns[to], (from - to) * sizeof column);
    target->columns[to] = column;
    return true;
}

void inference_keep(const SinkTarget *old, SinkTarget *now) {
    if (!now->infer || !old->infer) return;
    size_t front = 0;
    for (size_t i = 0; i < old->column_count; i++)
        if (is_front(&old->columns[i]) && !move_declared(now, old->columns[i].name, front++)) keep(now, front - 1, &old->columns[i]);
    /* The names of columns are those that the table has. */
    bool is_other = strcmp(old->connection, now->connection) != 0 || strcmp(old->table.table_id, now->table.table_id) != 0;
    for (size_t i = 0; i < old->column_count && !is_other; i++) {
        const Column *column = &old->columns[i];
        if (!column_is_inferred(column)) continue;
        bool fits = now->column_count + 1 < COLUMNS_INFERRED_MAX && !has_column(now, column) && !inference_leaves_out(now, column->path);
        if (fits) keep(now, now->column_count, column);
    }
    keep(now, now->column_count, &old->columns[old->column_count - 1]);
    check(now->columns[now->column_count - 1].type == COLUMN_REST);
}
