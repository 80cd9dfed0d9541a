/* The `table` part of a sink: connection, table, strategy and columns. */
#include <errno.h>
#include <string.h>

#include "base/span.h"
#include "base/text.h"
#include "config/definition.h"
#include "config/definition_parts.h"

#define COLUMN_NAME_BYTES_MAX 63
#define TABLE_NAME_BYTES_MAX 63 /* what PostgreSQL keeps of a name */
#define PATH_BYTES_MAX 1024
#define DEFAULT_BYTES_MAX 65536
#define TEMPLATE_BYTES_MAX 65536

#define NOT_BUILT "is not supported by this build yet"

static int read_column_name(Fault *fault, const Node *column, char **ret_name) {
    Node node = node_member(column, "name");
    if (!node_given(&node)) return fault_at(fault, column, "needs a \"name\"");
    const char *name;
    int r = node_text(fault, &node, 1, COLUMN_NAME_BYTES_MAX, &name);
    if (r < 0) return r;
    if (!text_is_plain(span_of(name))) return fault_at(fault, &node, "must not hold control characters");
    *ret_name = text_copy(name);
    return 0;
}

static int read_column_type(Fault *fault, const Node *column, ColumnType *ret_type) {
    static const char *const names[] = {"id", "datetime", "ip", "body", "headers", "path", "template", "uuid", "json", NULL};
    static const ColumnType types[] = {COLUMN_ID,   COLUMN_DATETIME, COLUMN_IP, COLUMN_BODY, COLUMN_HEADERS,
                                       COLUMN_PATH, COLUMN_TEMPLATE, COLUMN_ID, COLUMN_PATH};
    static const Refusal refused[] = {{"meta", "which " NOT_BUILT " (it comes with the bridges)"}, {0}};
    Node node = node_member(column, "type");
    if (!node_given(&node)) return fault_at(fault, column, "needs a \"type\"");
    int choice;
    int r = node_choice(fault, &node, names, refused, &choice);
    if (r == 0) *ret_type = types[choice];
    return r;
}

/* Types that can never hold what such a column gives are refused here, not event by event. */
static bool can_hold(ColumnType column, DataType data) {
    if (data == DATA_TEXT || data == DATA_BYTES) return true;
    switch (column) {
    case COLUMN_ID:
    case COLUMN_IP: return false;
    case COLUMN_DATETIME: return data == DATA_TIMESTAMP || data == DATA_DATE;
    case COLUMN_HEADERS: return data == DATA_JSON;
    case COLUMN_BODY:
    case COLUMN_PATH:
    case COLUMN_TEMPLATE: return true;
    }
    unreachable();
}

static int read_data_type(Fault *fault, const Node *column, Column *out) {
    Node node = node_member(column, "dataType");
    if (!node_given(&node)) return 0;
    int choice;
    int r = node_choice(fault, &node, data_type_names, NULL, &choice);
    if (r < 0) return r;
    out->data_type = (DataType)choice;
    if (!can_hold(out->type, out->data_type))
        return fault_at(fault, &node, "is \"%s\", which a column of type \"%s\" never fits", data_type_names[choice],
                        column_type_name(out->type));
    return 0;
}

static int read_path(Fault *fault, const Node *column, Column *out) {
    Node path = node_member(column, "path"), default_value = node_member(column, "defaultValue");
    const char *text;
    int r;
    if (out->type != COLUMN_PATH) {
        if (node_given(&path)) return fault_at(fault, &path, "belongs to columns of type \"path\" only");
        if (node_given(&default_value)) return fault_at(fault, &default_value, "belongs to columns of type \"path\" only");
        return 0;
    }
    if (!node_given(&path)) return fault_at(fault, column, "needs a \"path\" (\".\" is the whole body)");
    r = node_text(fault, &path, 1, PATH_BYTES_MAX, &text);
    if (r < 0) return r;
    out->path = text_copy(text);
    if (!node_given(&default_value)) return 0;
    r = node_text(fault, &default_value, 0, DEFAULT_BYTES_MAX, &text);
    if (r == 0) out->default_value = text_copy(text);
    return r;
}

static int read_template(Fault *fault, const Node *column, Column *out) {
    static const char *const fields[] = {"language", "content", NULL};
    static const char *const languages[] = {"jsonnet", NULL};
    Node node = node_member(column, "template");
    if (out->type != COLUMN_TEMPLATE) return node_given(&node) ? fault_at(fault, &node, "belongs to columns of type \"template\" only") : 0;
    if (!node_given(&node)) return fault_at(fault, column, "needs a \"template\": {\"language\": \"jsonnet\", \"content\": …}");
    int r = node_object(fault, &node, fields, NULL);
    if (r < 0) return r;
    Node language = node_member(&node, "language"), content = node_member(&node, "content");
    int choice;
    const char *text;
    if (!node_given(&language)) return fault_at(fault, &node, "needs a \"language\": \"jsonnet\"");
    r = node_choice(fault, &language, languages, NULL, &choice);
    if (r < 0) return r;
    if (!node_given(&content)) return fault_at(fault, &node, "needs a \"content\"");
    r = node_text(fault, &content, 1, TEMPLATE_BYTES_MAX, &text);
    if (r == 0) out->template_text = text_copy(text);
    return r;
}

static int read_column(Fault *fault, const Node *node, Column *out) {
    static const char *const fields[] = {"name", "type", "primaryKey", "dataType", "path", "defaultValue", "rawString", "template", NULL};
    static const Refusal refused[] = {{"mask", NOT_BUILT}, {0}};
    int r = node_object(fault, node, fields, refused);
    if (r == 0) r = read_column_name(fault, node, &out->name);
    if (r == 0) r = read_column_type(fault, node, &out->type);
    if (r == 0) r = read_data_type(fault, node, out);
    if (r == 0) r = read_path(fault, node, out);
    if (r == 0) r = read_template(fault, node, out);
    if (r == 0) r = node_optional_bool(fault, node, "rawString", &out->raw_string);
    if (r == 0) r = node_optional_bool(fault, node, "primaryKey", &out->primary_key);
    if (r < 0) return r;
    if (out->raw_string && out->type != COLUMN_PATH && out->type != COLUMN_TEMPLATE) {
        Node raw = node_member(node, "rawString");
        return fault_at(fault, &raw, "belongs to columns of type \"path\" and \"template\" only");
    }
    if (out->primary_key && out->data_type == DATA_JSON) {
        Node key = node_member(node, "primaryKey");
        return fault_at(fault, &key, "cannot stand on dataType \"json\", which no database compares");
    }
    return 0;
}

static int refuse_twins(Fault *fault, const Node *columns, const TableTarget *table, size_t last) {
    for (size_t i = 0; i < last; i++) {
        if (!span_equal_nocase(span_of(table->columns[i].name), span_of(table->columns[last].name))) continue;
        char excerpt[TEXT_EXCERPT_SIZE];
        Node column = node_item(columns, last), name = node_member(&column, "name");
        return fault_at(fault, &name, "is \"%s\", and so is the name of column %zu (case is not told apart)",
                        text_excerpt(span_of(table->columns[last].name), excerpt), i);
    }
    return 0;
}

static int read_columns(Fault *fault, const Node *table_node, TableTarget *table) {
    static const char *const fields[] = {"columns", NULL};
    Node mapping = node_member(table_node, "mapping");
    if (!node_given(&mapping)) return fault_at(fault, table_node, "needs a \"mapping\" with \"columns\"");
    int r = node_object(fault, &mapping, fields, NULL);
    if (r < 0) return r;
    Node columns = node_member(&mapping, "columns");
    if (!node_given(&columns)) return fault_at(fault, &mapping, "needs \"columns\"");
    r = node_array(fault, &columns, 1, COLUMNS_A_SINK_MAX);
    if (r < 0) return r;
    size_t count = json_array_size(columns.value);
    table->columns = calloc(count, sizeof *table->columns);
    check(table->columns != NULL);
    for (size_t i = 0; i < count; i++) {
        Node column = node_item(&columns, i);
        table->column_count = i + 1;
        r = read_column(fault, &column, &table->columns[i]);
        if (r == 0) r = refuse_twins(fault, &columns, table, i);
        if (r < 0) return r;
    }
    return 0;
}

static bool starts_nocase(Span text, Span start) {
    return text.size >= start.size && span_equal_nocase((Span){text.data, start.size}, start);
}

/* Schema up to the last dot, then the table; both become quoted names at the destination. */
static int read_table_id(Fault *fault, const Node *table_node, char **ret_table_id) {
    Node node = node_member(table_node, "tableId");
    if (!node_given(&node)) return fault_at(fault, table_node, "needs a \"tableId\"");
    const char *id;
    int r = node_text(fault, &node, 1, 2 * TABLE_NAME_BYTES_MAX + 1, &id);
    if (r < 0) return r;
    if (!text_is_plain(span_of(id)) || strpbrk(id, "\"\\/"))
        return fault_at(fault, &node, "must not hold control characters, '\"', '\\' or '/'");
    const char *dot = strrchr(id, '.');
    Span schema = {.data = id, .size = dot ? (size_t)(dot - id) : 0}, table = span_of(dot ? dot + 1 : id);
    if (table.size == 0 || (dot && schema.size == 0)) return fault_at(fault, &node, "must be \"table\" or \"schema.table\"");
    if (table.size > TABLE_NAME_BYTES_MAX || schema.size > TABLE_NAME_BYTES_MAX)
        return fault_at(fault, &node, "must have at most %d bytes before and after the last dot", TABLE_NAME_BYTES_MAX);
    if (id[0] == ' ' || schema.data[schema.size > 0 ? schema.size - 1 : 0] == ' ' || table.data[0] == ' ' ||
        table.data[table.size - 1] == ' ')
        return fault_at(fault, &node, "must not begin or end with a space");
    /* The destination's own tables, and the ledgers that make every file arrive once. */
    if (starts_nocase(span_of(id), SPAN("sqlite_")) || starts_nocase(table, SPAN("_sluice_")) || span_equal_nocase(schema, SPAN("sluice")))
        return fault_at(fault, &node, "is reserved (sqlite_…, _sluice_… and sluice.… are)");
    *ret_table_id = text_copy(id);
    return 0;
}

static int read_connection(Fault *fault, const Node *table_node, char **ret_connection) {
    Node node = node_member(table_node, "connection");
    const char *name = "local";
    if (node_given(&node)) {
        int r = node_text(fault, &node, 1, SIZE_MAX, &name);
        if (r < 0) return r;
        if (!identifier_valid(name)) return fault_at(fault, &node, "must be the name of a connection of the config file");
    }
    *ret_connection = text_copy(name);
    return 0;
}

/* After the columns: the primary key decides what is right and what is the default. */
static int read_strategy(Fault *fault, const Node *table_node, TableTarget *table) {
    static const Refusal refused[] = {{"replace", "which " NOT_BUILT}, {0}};
    bool keyed = false;
    for (size_t i = 0; i < table->column_count; i++) keyed = keyed || table->columns[i].primary_key;
    Node node = node_member(table_node, "strategy");
    int choice = keyed ? STRATEGY_MERGE : STRATEGY_APPEND;
    if (node_given(&node)) {
        int r = node_choice(fault, &node, strategy_names, refused, &choice);
        if (r < 0) return r;
    }
    if (choice == STRATEGY_MERGE && !keyed) return fault_at(fault, &node, "is \"merge\", which needs a column with \"primaryKey\": true");
    table->strategy = (Strategy)choice;
    return 0;
}

/* Into an all-zero table, which the caller releases when this fails. */
static int fill_table(Fault *fault, const Node *node, TableTarget *table) {
    static const char *const fields[] = {"connection", "tableId", "strategy", "onSchemaDrift", "mapping", NULL};
    Node drift = node_member(node, "onSchemaDrift");
    int choice = SCHEMA_DRIFT_FAIL;
    int r = node_object(fault, node, fields, NULL);
    if (r == 0) r = read_connection(fault, node, &table->connection);
    if (r == 0) r = read_table_id(fault, node, &table->table_id);
    if (r == 0) r = read_columns(fault, node, table);
    if (r == 0) r = read_strategy(fault, node, table);
    if (r == 0 && node_given(&drift)) r = node_choice(fault, &drift, schema_drift_names, NULL, &choice);
    table->on_schema_drift = (SchemaDrift)choice;
    return r;
}

int table_read(Fault *fault, const Node *node, TableTarget *ret_table) {
    TableTarget table = {0};
    int r = fill_table(fault, node, &table);
    if (r != 0) {
        table_target_deinit(&table);
        return r;
    }
    *ret_table = table;
    return 0;
}

int table_target_load(const json_t *stored, TableTarget *ret_table, Error *error) {
    Fault fault = {.error = error};
    Node root = {0}, node = {.value = stored, .parent = &root, .key = "table"};
    return table_read(&fault, &node, ret_table);
}
