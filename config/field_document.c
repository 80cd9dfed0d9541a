#include <string.h>

#include "base/cleanup.h"
#include "config/field_table.h"
#include "config/units.h"

static const char *const type_names[] = {[FIELD_TEXT] = "text",
                                         [FIELD_TEXTS] = "list of texts",
                                         [FIELD_SIZE] = "size",
                                         [FIELD_DURATION] = "length of time",
                                         [FIELD_BOOL] = "boolean",
                                         [FIELD_COUNT] = "number",
                                         [FIELD_CHOICE] = "choice",
                                         [FIELD_WORD] = "choice",
                                         [FIELD_OBJECT] = "object",
                                         [FIELD_LIST] = "list",
                                         [FIELD_TIME] = "time",
                                         [FIELD_OWN] = "object",
                                         [FIELD_OPTIONAL] = "object",
                                         [FIELD_MAP] = "object",
                                         [FIELD_VALUE] = "text, number, boolean or null"};

static const char *type_name(const FieldInfo *field) {
    if (field->type_words) return field->type_words;
    return field->choices ? type_names[FIELD_CHOICE] : type_names[field->type];
}

static void put_choices(const FieldInfo *field, Buffer *out) {
    for (int i = 0; field->choices[i]; i++) buffer_printf(out, "%s`%s`", i > 0 ? ", " : "", field->choices[i]);
}

static void put_range(const FieldInfo *field, Buffer *out) {
    if (field->range_words) {
        buffer_append_text(out, field->range_words);
    } else if (field->choices) {
        put_choices(field, out);
    } else if (field->type == FIELD_TEXT || field->type == FIELD_VALUE) {
        buffer_printf(out, "%lld..%lld bytes", (long long)field->least, (long long)field->most);
    } else if (field->type == FIELD_COUNT) {
        buffer_printf(out, "%lld..%lld %s", (long long)field->least, (long long)field->most, field->unit);
    } else if (field->type == FIELD_SIZE) {
        units_format_size(out, (uint64_t)field->least);
        buffer_append_text(out, "..");
        units_format_size(out, (uint64_t)field->most);
    } else if (field->type == FIELD_DURATION) {
        units_format_time(out, field->least);
        buffer_append_text(out, "..");
        units_format_time(out, field->most);
    } else if (field->type == FIELD_LIST || field->type == FIELD_TEXTS || field->type == FIELD_MAP) {
        buffer_printf(out, "%lld..%lld items", (long long)field->least, (long long)field->most);
    } else if (field->type == FIELD_BOOL) {
        buffer_append_text(out, "true, false");
    }
}

static void put_default(const FieldInfo *field, Buffer *out) {
    if (field->default_words)
        buffer_append_text(out, field->default_words);
    else if (field->needed)
        buffer_append_text(out, "(required)");
    else if (field->default_value)
        buffer_append_text(out, *field->default_value ? field->default_value : "(empty)");
    else if (field->type == FIELD_WORD)
        buffer_append_text(out, field->choices[0]);
    else if (field->type == FIELD_BOOL)
        buffer_append_text(out, "false");
    else
        buffer_append_text(out, "(none)");
}

/* Which values of the table's `kind` have the field. */
static void put_kinds(const FieldTable *table, const FieldInfo *field, Buffer *out) {
    const FieldInfo *kind = table->fields;
    if (!field->kinds) return;
    while (strcmp(kind->name, table->kind) != 0) kind++;
    if (strcmp(table->kind, "type") == 0)
        buffer_append_text(out, "Type ");
    else
        buffer_printf(out, "`%s` ", table->kind);
    const char *separator = "";
    for (unsigned value = 0; field->kinds >> value; value++) {
        if (!((field->kinds >> value) & 1)) continue;
        for (size_t i = 0; kind->choices[i]; i++) {
            if ((kind->values ? kind->values[i] : i) != value) continue;
            buffer_printf(out, "%s`%s`", separator, kind->choices[i]);
            break;
        }
        separator = ", ";
    }
    buffer_append_text(out, " only. ");
}

static void put_rows(const FieldTable *table, const char *prefix, bool read_only, Buffer *out) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        if ((field->read_only != NULL) != read_only) continue;
        buffer_printf(out, "| `%s%s` | %s | ", prefix, field->name, type_name(field));
        if (!read_only) {
            put_default(field, out);
            buffer_append_text(out, " | ");
            put_range(field, out);
            buffer_append_text(out, " | ");
        }
        put_kinds(table, field, out);
        buffer_printf(out, "%s |\n", field->sentence);
        if ((field->type != FIELD_OBJECT && field->type != FIELD_OPTIONAL) || read_only) continue;
        _cleanup_(buffer_deinit) Buffer path = {0};
        buffer_printf(&path, "%s%s.", prefix, field->name);
        put_rows(field->fields, buffer_text(&path), false, out);
    }
}

void field_table_document(const FieldTable *table, Buffer *out) {
    bool read_only = true;
    for (const FieldInfo *field = table->fields; field->name; field++) read_only = read_only && field->read_only;
    buffer_append_text(out, read_only ? "| field | type | meaning |\n|---|---|---|\n"
                                      : "| field | type | default | range | meaning |\n|---|---|---|---|---|\n");
    put_rows(table, "", read_only, out);
}
