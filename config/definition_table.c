/* The fields of a sink's `table`: connection, table, strategy and columns. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/span.h"
#include "base/text.h"
#include "config/definition.h"
#include "config/definition_parts.h"
#include "config/inference.h"
#include "config/mask_table.h"
#include "config/path_text.h"

#define COLUMN_NAME_BYTES_MAX 63
#define TABLE_NAME_BYTES_MAX 63 /* what PostgreSQL keeps of a name */
#define PATH_BYTES_MAX INFERENCE_PATH_BYTES_MAX
#define DEFAULT_BYTES_MAX 65536
#define TEMPLATE_BYTES_MAX 65536
#define MASK_BYTES_MAX 1024
#define FORMAT_BYTES_MAX 256

#define KIND(type) (1U << (type))

static int check_path(Fault *fault, const Node *node) {
    _cleanup_(buffer_deinit) Buffer right = {0};
    const char *what;
    if (fault->is_stored || !path_is_misspelt(span_of(json_string_value(node->value)), &what, &right)) return 0;
    return fault_at(fault, node, "%s, write it as %s", what, buffer_text(&right));
}

/* ---- columns --------------------------------------------------------------------------------- */

static int check_mask(Fault *fault, const Node *node) {
    Mask mask;
    Error why = {0};
    if (mask_parse(span_of(json_string_value(node->value)), &mask, &why) == 0) return 0;
    return fault_at(fault, node, "%s", why.text);
}

static int complete_mask(Fault *fault, const Node *node, const Column *column) {
    Node field = node_member(node, "mask");
    Mask mask;
    Error why = {0};
    check(mask_parse(span_of(column->mask), &mask, NULL) == 0);
    if (mask_check_type(&mask, column->data_type, &why) < 0) return fault_at(fault, &field, "%s", why.text);
    if (column->primary_key && !mask.info->may_be_key)
        return fault_at(fault, &field,
                        "is \"%s\", which can give different values the same key: a primary key may have \"hash\", \"hmac:KEYNAME\", "
                        "\"md5\" or \"uuid\"",
                        mask.info->name);
    return 0;
}

/* What is the default is not kept. */
static char *keep_format(const char *text, bool is_stored) {
    (void)is_stored;
    return strcmp(text, "rfc3339") == 0 ? NULL : text_copy(text);
}

static int complete_column(Fault *fault, const Node *node, void *object) {
    const Column *column = object;
    if (column->type == COLUMN_REST && column->inferred != COLUMN_BASE) {
        Node type = node_member(node, "type");
        return fault_at(fault, &type, "is \"rest\", a column that only Sluice creates");
    }
    if (!column_type_fits(column)) {
        Node data = node_member(node, "dataType");
        if (column->type == COLUMN_META)
            return fault_at(fault, &data, "is \"%s\", which the meta field \"%s\" can never have", data_type_name(column->data_type),
                            meta_field_name(column->meta_field));
        return fault_at(fault, &data, "is \"%s\", which a column of type \"%s\" can never have", data_type_name(column->data_type),
                        column_type_name(column->type));
    }
    if (column->optional && (column->primary_key || column->default_value)) {
        Node optional = node_member(node, "optional");
        return fault_at(fault, &optional, "cannot be combined with \"%s\"", column->primary_key ? "primaryKey" : "defaultValue");
    }
    if (column->primary_key && column->default_value && column->default_kind == SCALAR_NULL) {
        Node missing = node_member(node, "defaultValue");
        return fault_at(fault, &missing, "is null, but a primary key cannot be NULL");
    }
    if (column->primary_key && !data_traits[column->data_type].may_be_key) {
        Node key = node_member(node, "primaryKey");
        return fault_at(fault, &key, "cannot be used with dataType \"%s\", which no database can compare",
                        data_type_name(column->data_type));
    }
    Node format = node_member(node, "format");
    if (node_given(&format) && column->data_type != DATA_TIMESTAMP && column->data_type != DATA_DATE)
        return fault_at(fault, &format, "is only for columns of dataType \"timestamp\" and \"date\"; this column has \"%s\"",
                        data_type_name(column->data_type));
    if (node_given(&format) && column->type == COLUMN_META && column->meta_field != META_KEY)
        return fault_at(fault, &format, "cannot be used with the meta field \"%s\", whose format is fixed",
                        meta_field_name(column->meta_field));
    return column->mask ? complete_mask(fault, node, column) : 0;
}

static const char *const template_languages[] = {"jsonnet", NULL};
static const FieldInfo template_rows[] = {
    {.name = "language",
     .type = FIELD_WORD,
     .choices = template_languages,
     .needed = "a \"language\": \"jsonnet\"",
     .sentence = "Language of the template."},
    {.name = "content",
     .type = FIELD_TEXT,
     .offset = offsetof(Column, template_text),
     .least = 1,
     .most = TEMPLATE_BYTES_MAX,
     .needed = "a \"content\"",
     .sentence = "Text of the template."},
    {0},
};
static const FieldTable template_fields = {.owners = "templates", .fields = template_rows, .size = sizeof(Column)};

/* "uuid" and "json" are other names; what is written is the first name of a type. */
static const unsigned type_values[] = {COLUMN_ID,       COLUMN_DATETIME, COLUMN_IP,   COLUMN_BODY, COLUMN_HEADERS, COLUMN_PATH,
                                       COLUMN_TEMPLATE, COLUMN_META,     COLUMN_REST, COLUMN_ID,   COLUMN_PATH};
static const char *const origin_names[] = {"declared", "base", "field", "variant", NULL};

static const FieldInfo column_rows[] = {
    {.name = "name",
     .type = FIELD_TEXT,
     .offset = offsetof(Column, name),
     .least = 1,
     .most = COLUMN_NAME_BYTES_MAX,
     .needed = "a \"name\"",
     .is_plain = true,
     .sentence = "Name of the column in the table. Names differ by more than case."},
    {.name = "type",
     .type = FIELD_CHOICE,
     .offset = offsetof(Column, type),
     .choices = column_type_names,
     .values = type_values,
     .needed = "a \"type\"",
     .sentence = "Source of its values. `uuid` is another name of `id`, and `json` of `path`. `rest` is the column `_rest`, which only "
                 "`infer` makes."},
    {.name = "primaryKey",
     .type = FIELD_BOOL,
     .offset = offsetof(Column, primary_key),
     .is_optional = true,
     .sentence = "Whether the column is part of the table's primary key."},
    {.name = "dataType",
     .type = FIELD_CHOICE,
     .offset = offsetof(Column, data_type),
     .default_value = "text",
     .choices = data_type_names,
     .is_optional = true,
     .sentence = "Data type of its values."},
    {.name = "path",
     .type = FIELD_TEXT,
     .offset = offsetof(Column, path),
     .least = 1,
     .most = PATH_BYTES_MAX,
     .validate = check_path,
     .keep = path_keep,
     .kinds = KIND(COLUMN_PATH),
     .needed = "a \"path\" (\".\" is the whole body)",
     .sentence = "Path of its value in the event. `.` or `$` is the whole body."},
    {.name = "defaultValue",
     .type = FIELD_VALUE,
     .offset = offsetof(Column, default_value),
     .kind_offset = offsetof(Column, default_kind),
     .most = DEFAULT_BYTES_MAX,
     .kinds = KIND(COLUMN_PATH),
     .sentence = "Value if the event has none. `null` is NULL. Without a default such an event cannot be mapped."},
    {.name = "format",
     .type = FIELD_TEXT,
     .offset = offsetof(Column, format),
     .least = 1,
     .most = FORMAT_BYTES_MAX,
     .kinds = KIND(COLUMN_PATH) | KIND(COLUMN_TEMPLATE) | KIND(COLUMN_BODY) | KIND(COLUMN_META),
     .default_words = "`rfc3339`",
     .range_words = "`rfc3339`, `unix`, `unixMs`, `unixUs`, `unixNs`, or a pattern of strptime, see [times](mapping.md#times)",
     .is_optional = true,
     .sentence = "How the values of a `timestamp` or `date` are written.",
     .keep = keep_format},
    {.name = "optional",
     .type = FIELD_BOOL,
     .offset = offsetof(Column, optional),
     .kinds = KIND(COLUMN_PATH),
     .is_optional = true,
     .sentence = "Whether the value is NULL if the event has none."},
    {.name = "rawString",
     .type = FIELD_BOOL,
     .offset = offsetof(Column, raw_string),
     .kinds = KIND(COLUMN_PATH) | KIND(COLUMN_TEMPLATE),
     .is_optional = true,
     .sentence = "Whether a JSON string is stored without its quotes and escapes."},
    {.name = "template",
     .type = FIELD_OBJECT,
     .fields = &template_fields,
     .kinds = KIND(COLUMN_TEMPLATE),
     .needed = "a \"template\": {\"language\": \"jsonnet\", \"content\": …}",
     .sentence = "The template that gives its value."},
    {.name = "field",
     .type = FIELD_CHOICE,
     .offset = offsetof(Column, meta_field),
     .choices = meta_field_names,
     .kinds = KIND(COLUMN_META),
     .needed = "a \"field\"",
     .sentence = "The part of the record that it contains. The type of the source decides which parts exist."},
    {.name = "inferred",
     .type = FIELD_CHOICE,
     .offset = offsetof(Column, inferred),
     .default_value = "declared",
     .choices = origin_names,
     .is_optional = true,
     .sentence = "Who made the column, if the sink has `infer`. In a request, columns other than `declared` ones are ignored."},
    {.name = "mask",
     .type = FIELD_TEXT,
     .offset = offsetof(Column, mask),
     .least = 1,
     .most = MASK_BYTES_MAX,
     .range_words = "`NAME` or `NAME:PARAMETER`, see [masking](masking.md)",
     .validate = check_mask,
     .sentence = "The mask that replaces its value before anything is stored."},
    {0},
};
const FieldTable column_fields = {
    .owners = "columns", .fields = column_rows, .size = sizeof(Column), .kind = "type", .complete = complete_column};

/* ---- the mapping ----------------------------------------------------------------------------- */

static int refuse_twins(Fault *fault, const Node *columns, const SinkTarget *target, size_t last) {
    for (size_t i = 0; i < last; i++) {
        if (!span_equal_nocase(span_of(target->columns[i].name), span_of(target->columns[last].name))) continue;
        char excerpt[TEXT_EXCERPT_SIZE];
        Node column = node_item(columns, last), name = node_member(&column, "name");
        return fault_at(fault, &name, "is \"%s\", the same name as column %zu (case is ignored)",
                        text_excerpt(span_of(target->columns[last].name), excerpt), i);
    }
    return 0;
}

/* What the server made of an earlier request comes back in answers, and is not declared. */
static void drop_inferred(SinkTarget *target) {
    size_t kept = 0;
    for (size_t i = 0; i < target->column_count; i++) {
        Column *column = &target->columns[i];
        if (column->inferred == COLUMN_DECLARED)
            target->columns[kept++] = *column;
        else
            fields_free(&column_fields, column);
    }
    target->column_count = kept;
}

static int check_declared(Fault *fault, const Node *node, const SinkTarget *target) {
    Node columns = node_member(node, "columns");
    size_t declared = 0;
    for (size_t i = 0; i < target->column_count; i++) declared += target->columns[i].inferred == COLUMN_DECLARED;
    if (!node_given(&columns) && !target->infer) return fault_at(fault, node, "needs \"columns\", or \"infer\"");
    if ((declared == 0 && !target->infer) || declared > COLUMNS_A_SINK_MAX)
        return fault_at(fault, &columns, "must have 1 to %d items, not %zu", COLUMNS_A_SINK_MAX, declared);
    return 0;
}

static int refuse_base_name(Fault *fault, const Node *columns, const SinkTarget *target, size_t index) {
    const Column *column = &target->columns[index];
    if (!target->infer || column->inferred != COLUMN_DECLARED || !inference_reserves(span_of(column->name)) || inference_is_base(column))
        return 0;
    Node item = node_item(columns, index), name = node_member(&item, "name");
    return fault_at(fault, &name, "is \"%s\", a column that \"infer\" creates, and that has other contents", column->name);
}

static int complete_mapping(Fault *fault, const Node *node, void *object) {
    SinkTarget *target = object;
    Node columns = node_member(node, "columns");
    if (!fault->is_stored) drop_inferred(target);
    int r = check_declared(fault, node, target);
    if (r == 0 && target->infer && target->explode) {
        Node explode = node_member(node, "explode");
        r = fault_at(fault, &explode, "cannot be combined with \"infer\": declare the columns");
    }
    for (size_t i = 0; r == 0 && i < target->column_count; i++) {
        if (target->explode && target->columns[i].type == COLUMN_ID && data_traits[target->columns[i].data_type].holds_uuid) {
            Node item = node_item(&columns, i), data = node_member(&item, "dataType");
            return fault_at(fault, &data, "cannot be combined with \"explode\": the id of an element is the id of its event with a number");
        }
        r = refuse_twins(fault, &columns, target, i);
        if (r == 0) r = refuse_base_name(fault, &columns, target, i);
    }
    return r;
}

static const char *const hint_names[] = {"integer", "decimal", "boolean", "timestamp", "text", "json", NULL};
static const unsigned hint_values[] = {DATA_INTEGER, DATA_DECIMAL, DATA_BOOLEAN, DATA_TIMESTAMP, DATA_TEXT, DATA_JSON};
static const FieldInfo hint_rows[] = {
    {.name = "path",
     .type = FIELD_TEXT,
     .offset = offsetof(TypeHint, path),
     .least = 1,
     .most = PATH_BYTES_MAX,
     .validate = check_path,
     .keep = path_keep,
     .needed = "a path",
     .sentence = "A field."},
    {.name = "type",
     .type = FIELD_CHOICE,
     .offset = offsetof(TypeHint, type),
     .choices = hint_names,
     .values = hint_values,
     .needed = "a type",
     .sentence = "Data type of its column."},
    {0},
};
static const FieldTable hint_fields = {.owners = "type hints", .fields = hint_rows, .size = sizeof(TypeHint)};

static const FieldInfo inference_rows[] = {
    {.name = "depth",
     .type = FIELD_COUNT,
     .offset = offsetof(Inference, depth),
     .default_value = "1",
     .least = 1,
     .most = 5,
     .unit = "levels",
     .sentence = "Depth to which the members of objects become columns of their own. Deeper objects are one JSON value."},
    {.name = "typeHints",
     .type = FIELD_MAP,
     .offset = offsetof(Inference, hints),
     .count_offset = offsetof(Inference, hint_count),
     .most = INFERENCE_PATHS_MAX,
     .fields = &hint_fields,
     .range_words = "paths of fields; `integer`, `decimal`, `boolean`, `timestamp`, `text`, `json`",
     .is_optional = true,
     .sentence = "Data types of columns, instead of the types that the values have."},
    {.name = "exclude",
     .type = FIELD_TEXTS,
     .offset = offsetof(Inference, exclude),
     .count_offset = offsetof(Inference, exclude_count),
     .most = INFERENCE_PATHS_MAX,
     .item_max = PATH_BYTES_MAX,
     .validate = check_path,
     .keep = path_keep,
     .is_optional = true,
     .sentence = "Paths of fields that are not stored."},
    {.name = "maxColumns",
     .type = FIELD_COUNT,
     .offset = offsetof(Inference, max_columns),
     .default_value = "200",
     .least = 1,
     .most = COLUMNS_INFERRED_MAX,
     .unit = "columns",
     .sentence = "Maximum number of columns of the sink. Further fields go to `_rest`."},
    {0},
};
static const FieldTable inference_fields = {.owners = "inferences", .fields = inference_rows, .size = sizeof(Inference)};

static const FieldInfo mapping_rows[] = {
    {.name = "infer",
     .type = FIELD_OPTIONAL,
     .offset = offsetof(SinkTarget, infer),
     .fields = &inference_fields,
     .sentence = "Columns are made from the fields of the events."},
    {.name = "explode",
     .type = FIELD_TEXT,
     .offset = offsetof(SinkTarget, explode),
     .least = 1,
     .most = PATH_BYTES_MAX,
     .validate = check_path,
     .keep = path_keep,
     .is_optional = true,
     .sentence = "Path of an array in the event. Each element gives a row. Without it an event gives one row."},
    {.name = "columns",
     .type = FIELD_LIST,
     .offset = offsetof(SinkTarget, columns),
     .count_offset = offsetof(SinkTarget, column_count),
     .most = COLUMNS_A_SINK_MAX + COLUMNS_INFERRED_MAX,
     .fields = &column_fields,
     .default_words = "(required, but with `infer`)",
     .range_words = "1..100 items",
     .sentence = "The columns, in order."},
    {0},
};
static const FieldTable mapping_fields = {
    .owners = "mappings", .fields = mapping_rows, .size = sizeof(SinkTarget), .complete = complete_mapping};

/* ---- the table ------------------------------------------------------------------------------- */

static bool starts_nocase(Span text, Span start) {
    return text.size >= start.size && span_equal_nocase((Span){text.data, start.size}, start);
}

/* Schema up to the last dot, then the table; both become quoted names at the destination. */
static int check_table_id(Fault *fault, const Node *node) {
    const char *id = json_string_value(node->value);
    if (!text_is_plain(span_of(id)) || strpbrk(id, "\"\\/"))
        return fault_at(fault, node, "must not contain control characters, '\"', '\\' or '/'");
    const char *dot = strrchr(id, '.');
    Span schema = {.data = id, .size = dot ? (size_t)(dot - id) : 0}, table = span_of(dot ? dot + 1 : id);
    if (table.size == 0 || (dot && schema.size == 0)) return fault_at(fault, node, "must be \"table\" or \"schema.table\"");
    if (table.size > TABLE_NAME_BYTES_MAX || schema.size > TABLE_NAME_BYTES_MAX)
        return fault_at(fault, node, "must have at most %d bytes before and after the last dot", TABLE_NAME_BYTES_MAX);
    if (id[0] == ' ' || schema.data[schema.size > 0 ? schema.size - 1 : 0] == ' ' || table.data[0] == ' ' ||
        table.data[table.size - 1] == ' ')
        return fault_at(fault, node, "must not begin or end with a space");
    /* The destination's own tables, and the ledgers that make every file arrive once. */
    if (starts_nocase(span_of(id), SPAN("sqlite_")) || starts_nocase(table, SPAN("_sluice_")) || span_equal_nocase(schema, SPAN("sluice")))
        return fault_at(fault, node, "is reserved (names with sqlite_…, _sluice_… and sluice.… are)");
    return 0;
}

static int check_connection(Fault *fault, const Node *node) {
    if (identifier_valid(json_string_value(node->value))) return 0;
    return fault_at(fault, node, "must be the name of a connection of the config file");
}

/* Rows with one key replace each other, in the table or while those of a run are collected. */
static bool merges(const SinkTarget *target) {
    bool keyed = false;
    for (size_t i = 0; i < target->column_count; i++) keyed = keyed || target->columns[i].primary_key;
    return target->table.strategy == STRATEGY_MERGE || (target->table.strategy == STRATEGY_REPLACE && keyed);
}

static int check_newer_by(Fault *fault, const Node *node, const SinkTarget *target) {
    Node merge_if = node_member(node, "mergeIf"), newer_by = node_member(&merge_if, "newerBy");
    if (!target->table.newer_by) return 0;
    if (!merges(target)) return fault_at(fault, &merge_if, "is only for the strategy \"merge\", and for \"replace\" with a primary key");
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (strcmp(column->name, target->table.newer_by) != 0) continue;
        if (column->primary_key)
            return fault_at(fault, &newer_by, "is \"%s\", which is part of the primary key: all rows with the same key have the same value",
                            column->name);
        if (column->mask)
            return fault_at(fault, &newer_by, "is \"%s\", which has a mask: masked values do not show which row is newer", column->name);
        if (data_traits[column->data_type].has_order) return 0;
        return fault_at(fault, &newer_by,
                        "is \"%s\" of dataType \"%s\", and must be of \"integer\", \"number\", \"decimal\", \"timestamp\" or \"date\"",
                        column->name, data_type_name(column->data_type));
    }
    DataType type;
    if (target->infer && inference_base_type(target->table.newer_by, &type) && data_traits[type].has_order) return 0;
    char excerpt[TEXT_EXCERPT_SIZE];
    if (target->infer)
        return fault_at(fault, &newer_by,
                        "is \"%s\", which is neither a declared column nor one of \"_at\", \"_partition\", \"_offset\" and \"_sequence\": "
                        "an inferred column does not exist for the first rows, so declare it",
                        text_excerpt(span_of(target->table.newer_by), excerpt));
    return fault_at(fault, &newer_by, "is \"%s\", which is not the name of a column",
                    text_excerpt(span_of(target->table.newer_by), excerpt));
}

/* A record without a value has no body to take a value from. */
static bool has_tombstones(const Column *column) {
    return column->type == COLUMN_META || column->type == COLUMN_TEMPLATE;
}

static int check_delete_on(Fault *fault, const Node *node, const SinkTarget *target) {
    const DeleteOn *on = &target->table.delete_on;
    Node delete_on = node_member(node, "deleteOn"), tombstone = node_member(&delete_on, "tombstone");
    if (!node_given(&delete_on)) return 0;
    if (!merges(target)) return fault_at(fault, &delete_on, "is only for the strategy \"merge\", and for \"replace\" with a primary key");
    if (!on->path != !on->equals) return fault_at(fault, &delete_on, "needs \"path\" and \"equals\" together");
    if (!on->path && !on->tombstone) return fault_at(fault, &delete_on, "needs \"path\" and \"equals\", or \"tombstone\": true");
    if (!on->tombstone) return 0;
    if (target->explode) return fault_at(fault, &tombstone, "cannot be combined with \"explode\": a tombstone has no array");
    bool keyed = false;
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (column->inferred == COLUMN_BASE) continue; /* none is of the body */
        keyed = keyed || column->primary_key;
        bool is_newer_by = target->table.newer_by && strcmp(column->name, target->table.newer_by) == 0;
        if ((!column->primary_key && !is_newer_by) || has_tombstones(column)) continue;
        return fault_at(fault, &tombstone,
                        "needs columns of type \"meta\" or \"template\" as %s: a tombstone has no value for column \"%s\" of type \"%s\"",
                        is_newer_by ? "\"newerBy\"" : "the primary key", column->name, column_type_name(column->type));
    }
    if (!keyed && !fault->is_stored)
        return fault_at(fault, &tombstone,
                        "needs a primary key: without it, the key is \"_id\", which a tombstone never shares with another record");
    return 0;
}

#define SIDE_TABLE_BYTES 9 /* "__replace", sinks/replace_run.h */

static int check_replace(Fault *fault, const Node *node, const SinkTarget *target) {
    Node allow_empty = node_member(node, "allowEmpty"), table_id = node_member(node, "tableId"), drift = node_member(node, "onSchemaDrift");
    if (target->table.strategy != STRATEGY_REPLACE)
        return target->table.allow_empty ? fault_at(fault, &allow_empty, "is only for the strategy \"replace\"") : 0;
    if (target->table.on_schema_drift == SCHEMA_DRIFT_IGNORE)
        return fault_at(fault, &drift,
                        "is \"ignore\", which is not possible with the strategy \"replace\": it must be \"fail\" or \"evolve\"");
    const char *dot = strrchr(target->table.table_id, '.');
    size_t size = strlen(dot ? dot + 1 : target->table.table_id);
    if (size <= TABLE_NAME_BYTES_MAX - SIDE_TABLE_BYTES) return 0;
    return fault_at(fault, &table_id,
                    "must have at most %d bytes after the last dot with the strategy \"replace\", whose side table has a longer name",
                    TABLE_NAME_BYTES_MAX - SIDE_TABLE_BYTES);
}

/* The primary key decides which strategy is right, and which is the default. */
static int complete_table(Fault *fault, const Node *node, void *object) {
    SinkTarget *target = object;
    bool keyed = false;
    for (size_t i = 0; i < target->column_count; i++) keyed = keyed || target->columns[i].primary_key;
    Node strategy = node_member(node, "strategy");
    if (!node_given(&strategy)) target->table.strategy = keyed ? STRATEGY_MERGE : STRATEGY_APPEND;
    if (check_replace(fault, node, target) < 0) return -EINVAL;
    /* A row of a sink that infers is told from others by its _id, when nothing else is declared. */
    Node drift = node_member(node, "onSchemaDrift");
    if (!node_given(&drift)) target->table.on_schema_drift = target->infer ? SCHEMA_DRIFT_EVOLVE : SCHEMA_DRIFT_FAIL;
    if (target->table.strategy == STRATEGY_MERGE && !keyed && !target->infer)
        return fault_at(fault, &strategy, "is \"merge\", which needs a column with \"primaryKey\": true");
    int r = check_newer_by(fault, node, target);
    return r == 0 ? check_delete_on(fault, node, target) : r;
}

static const FieldInfo delete_on_rows[] = {
    {.name = "path",
     .type = FIELD_TEXT,
     .offset = offsetof(SinkTarget, table.delete_on.path),
     .least = 1,
     .most = PATH_BYTES_MAX,
     .validate = check_path,
     .keep = path_keep,
     .is_optional = true,
     .sentence = "Path of the value that decides whether the event deletes a row."},
    {.name = "equals",
     .type = FIELD_TEXT,
     .offset = offsetof(SinkTarget, table.delete_on.equals),
     .most = DEFAULT_BYTES_MAX,
     .is_optional = true,
     .sentence = "If the value at the path equals this text, number or boolean, the row with the key of the event is deleted."},
    {.name = "tombstone",
     .type = FIELD_BOOL,
     .offset = offsetof(SinkTarget, table.delete_on.tombstone),
     .is_optional = true,
     .sentence = "Whether a record without a value deletes the row with its key."},
    {0},
};
static const FieldTable delete_on_fields = {.owners = "deletions", .fields = delete_on_rows, .size = sizeof(SinkTarget)};

static const FieldInfo merge_if_rows[] = {
    {.name = "newerBy",
     .type = FIELD_TEXT,
     .offset = offsetof(SinkTarget, table.newer_by),
     .least = 1,
     .most = COLUMN_NAME_BYTES_MAX,
     .needed = "\"newerBy\"",
     .range_words = "the name of a column",
     .sentence = "A row replaces the row with its key only if its value in this column is not less."},
    {0},
};
static const FieldTable merge_if_fields = {.owners = "merges", .fields = merge_if_rows, .size = sizeof(SinkTarget)};

static const FieldInfo table_rows[] = {
    {.name = "connection",
     .type = FIELD_TEXT,
     .offset = offsetof(SinkTarget, connection),
     .default_value = "local",
     .most = INT32_MAX,
     .range_words = "a name under `connections:`",
     .validate = check_connection,
     .sentence = "Connection of the destination."},
    {.name = "tableId",
     .type = FIELD_TEXT,
     .offset = offsetof(SinkTarget, table.table_id),
     .least = 1,
     .most = 2 * TABLE_NAME_BYTES_MAX + 1,
     .range_words = "`table` or `schema.table`, 1..63 bytes each",
     .needed = "a \"tableId\"",
     .validate = check_table_id,
     .sentence = "Name of the table. The part before the last dot is the schema. SQLite has no schemas: there the whole text is the name. "
                 "SQL needs double quotes around such a name if it has a dot."},
    {.name = "strategy",
     .type = FIELD_CHOICE,
     .offset = offsetof(SinkTarget, table.strategy),
     .default_words = "merge with a primary key, else append",
     .choices = strategy_names,
     .sentence = "What an import does with a row whose primary key is in the table already. append: the row becomes a reject. merge: it "
                 "replaces the stored row. replace: the rows of a run replace all rows of the table, see [strategies](#strategies)."},
    {.name = "allowEmpty",
     .type = FIELD_BOOL,
     .offset = offsetof(SinkTarget, table.allow_empty),
     .is_optional = true,
     .sentence = "Only for the strategy replace. Whether a run that has no rows empties the table. With `false` the table keeps its rows."},
    {.name = "mergeIf",
     .type = FIELD_OBJECT,
     .fields = &merge_if_fields,
     .is_optional = true,
     .sentence =
         "Only for the strategy merge. The condition under which a row replaces the stored row of its key. Without it the later row "
         "always replaces the earlier one."},
    {.name = "deleteOn",
     .type = FIELD_OBJECT,
     .fields = &delete_on_fields,
     .is_optional = true,
     .sentence = "Only for tables with a primary key. The events that delete the row of their key. Without it no event deletes a row."},
    {.name = "onSchemaDrift",
     .type = FIELD_CHOICE,
     .offset = offsetof(SinkTarget, table.on_schema_drift),
     .default_words = "evolve with `table.mapping.infer`, else fail",
     .choices = schema_drift_names,
     .sentence =
         "Whether columns that the table lacks are refused (fail), added to it (evolve), or left out of the import (ignore). ignore is "
         "not for the strategy replace."},
    {.name = "mapping",
     .type = FIELD_OBJECT,
     .fields = &mapping_fields,
     .needed = "a \"mapping\" with \"columns\"",
     .sentence = "How an event becomes a row."},
    {0},
};
const FieldTable table_fields = {.owners = "tables", .fields = table_rows, .size = sizeof(SinkTarget), .complete = complete_table};

/* A field of stored targets only: nobody declares it. */
#define EXISTING_ROWS "existingRows"
#define KEEP "keep"

json_t *sink_target_store(const SinkTarget *target) {
    check(fields_hold(&table_fields, target));
    json_t *json = json_object();
    check(json);
    fields_write(&table_fields, target, true, json);
    if (target->table.keeps_rows) check(json_object_set_new(json, EXISTING_ROWS, json_string(KEEP)) == 0);
    return json;
}

int sink_target_load(const json_t *stored, SinkTarget *ret_target, Error *error) {
    Fault fault = {.error = error, .is_stored = true};
    const char *existing = json_string_value(json_object_get(stored, EXISTING_ROWS));
    bool keeps_rows = existing && strcmp(existing, KEEP) == 0;
    json_t *declared = NULL;
    if (keeps_rows) {
        declared = json_copy((json_t *)(uintptr_t)stored);
        check(declared && json_object_del(declared, EXISTING_ROWS) == 0);
    }
    Node root = {0}, node = {.value = declared ? declared : stored, .parent = &root, .key = "table"};
    SinkTarget target = {.type = TARGET_TABLE, .table.keeps_rows = keeps_rows};
    FieldPart part = {&table_fields, &target};
    int r = fields_read(&fault, &node, &part, 1, NULL);
    json_decref(declared);
    if (r != 0) {
        sink_target_deinit(&target);
        return r;
    }
    *ret_target = target;
    return 0;
}
