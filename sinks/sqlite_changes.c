#include "sinks/sqlite_changes.h"

#include <string.h>

#include "base/text.h"
#include "sinks/sqlite_table.h"

static void put_name(Buffer *out, const TableChanges *changes, const char *suffix) {
    Buffer name = {0};
    buffer_printf(&name, "%s%s", changes->target->table.table_id, suffix);
    sql_put_identifier(out, buffer_text(&name));
    buffer_deinit(&name);
}

static void put_alter(Buffer *out, const TableChanges *changes) {
    buffer_append_text(out, "ALTER TABLE ");
    put_name(out, changes, "");
}

static void put_additions(Buffer *out, const TableChanges *changes, size_t room) {
    Buffer one = {0};
    size_t before = out->size;
    for (size_t i = 0; i < changes->count; i++) {
        buffer_clear(&one);
        buffer_append_text(&one, i > 0 ? " " : ": ");
        put_alter(&one, changes);
        buffer_append_text(&one, " ADD COLUMN ");
        sql_put_identifier(&one, changes->items[i].column->name);
        buffer_printf(&one, " %s;", sqlite_type_rules.type_of(changes->items[i].column));
        if (out->size - before + one.size > room) break;
        buffer_append_span(out, buffer_span(&one));
    }
    buffer_deinit(&one);
}

static bool has_column(const FoundTable *found, const char *name) {
    for (size_t i = 0; i < found->count; i++) {
        if (span_equal_nocase(span_of(found->columns[i].name), span_of(name))) return true;
    }
    return false;
}

/* "INSERT INTO NEW (…) SELECT … FROM OLD;": what both have. */
static void put_copy(Buffer *out, const TableChanges *changes) {
    Buffer columns = {0};
    for (size_t i = 0; i < changes->target->column_count; i++) {
        const char *name = changes->target->columns[i].name;
        if (!has_column(changes->found, name)) continue;
        if (columns.size > 0) buffer_append_text(&columns, ", ");
        sql_put_identifier(&columns, name);
    }
    if (columns.size > 0) {
        buffer_append_text(out, " INSERT INTO ");
        put_name(out, changes, "");
        buffer_printf(out, " (%s) SELECT %s FROM ", buffer_text(&columns), buffer_text(&columns));
        put_name(out, changes, "_old");
        buffer_append_byte(out, ';');
    }
    buffer_deinit(&columns);
}

static void put_new_table(Buffer *out, const TableChanges *changes, size_t room) {
    Buffer whole = {0}, rename = {0};
    put_alter(&rename, changes);
    buffer_append_text(&rename, " RENAME TO ");
    put_name(&rename, changes, "_old");
    buffer_append_byte(&rename, ';');
    buffer_printf(&whole, " (SQLite cannot change a column, so this copies the rows into a new table): BEGIN; %s CREATE TABLE ",
                  buffer_text(&rename));
    put_name(&whole, changes, "");
    buffer_append_text(&whole, " (");
    sql_put_definition(&whole, changes->target, &sqlite_type_rules);
    buffer_append_text(&whole, ") STRICT;");
    put_copy(&whole, changes);
    buffer_append_text(&whole, " COMMIT;");
    if (whole.size > room) {
        buffer_clear(&whole);
        buffer_printf(&whole, " (SQLite cannot change a column; Sluice creates a new table): %s", buffer_text(&rename));
    }
    if (whole.size <= room) buffer_append_span(out, buffer_span(&whole));
    buffer_deinit(&whole);
    buffer_deinit(&rename);
}

void sqlite_put_changes(Buffer *out, const TableChanges *changes, size_t room) {
    for (size_t i = 0; i < changes->count; i++) {
        if (changes->items[i].kind == TABLE_CHANGE_ADD) continue;
        put_new_table(out, changes, room);
        return;
    }
    put_additions(out, changes, room);
}
