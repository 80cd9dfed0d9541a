/* What must be in the tables and in the map, by looks of the simulation itself. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/array.h"
#include "config/inference.h"
#include "mapping/row.h"
#include "tests/simulation/shape/shape.h"

#define MAP "_sluice_columns"

/* What was committed to a table that merges, in this order. */
typedef struct Arrival {
    size_t row, import;
} Arrival;

typedef struct Renamed {
    char *table, *from, *to;
} Renamed;

static sqlite3 *database;
static json_t *map; /* table -> "path\1variant" -> [name, type], as it was seen last */
static Arrival *arrivals;
static size_t arrival_count, arrival_room, import_count;
static Renamed *renamed;
static size_t renamed_count, renamed_room;

/* ---- looking --------------------------------------------------------------------------------- */

static sqlite3_stmt *query(const char *sql) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK) fail("%s: %s", sql, sqlite3_errmsg(database));
    return statement;
}

static bool next_row(sqlite3_stmt *statement) {
    int r = sqlite3_step(statement);
    if (r != SQLITE_ROW && r != SQLITE_DONE) fail("%s: %s", sqlite3_sql(statement), sqlite3_errmsg(database));
    return r == SQLITE_ROW;
}

static const char *text_at(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

/* sqlite3_table_column_metadata would say what this connection knows of the schema, not what there
 * is. */
static bool has_column(const char *table, const char *column) {
    sqlite3_stmt *select = query("SELECT count(*) FROM pragma_table_info(?1) WHERE ?2 IS NULL OR name = ?2 COLLATE NOCASE");
    (void)sqlite3_bind_text(select, 1, table, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(select, 2, column, -1, SQLITE_STATIC);
    expect(next_row(select));
    bool has = sqlite3_column_int(select, 0) > 0;
    check(sqlite3_finalize(select) == SQLITE_OK);
    return has;
}

static bool has_table(const char *name) {
    return has_column(name, NULL);
}

static bool was_renamed(const char *table, const char *column) {
    for (size_t i = 0; i < renamed_count; i++)
        if (strcmp(renamed[i].table, table) == 0 && strcasecmp(renamed[i].from, column) == 0) return true;
    return false;
}

void tables_begin(const char *path) {
    if (sqlite3_open(path, &database) != SQLITE_OK) fail("%s: %s", path, sqlite3_errmsg(database));
    check(sqlite3_exec(database, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF", NULL, NULL, NULL) == SQLITE_OK);
    map = json_object();
    arrival_count = import_count = 0;
}

void tables_note_arrival(const SentRow *row) {
    if (world->sent.versions[row->version].kind != SINK_KEYED) return;
    array_reserve(arrivals, arrival_count, arrival_room);
    arrivals[arrival_count++] = (Arrival){.row = (size_t)(row - world->sent.rows), .import = import_count};
}

void tables_note_import(void) {
    import_count++;
}

void tables_end(void) {
    check(sqlite3_close(database) == SQLITE_OK);
    json_decref(map);
    for (size_t i = 0; i < renamed_count; i++) {
        free(renamed[i].table);
        free(renamed[i].from);
        free(renamed[i].to);
    }
    renamed_count = 0;
}

/* ---- the map --------------------------------------------------------------------------------- */

static const char *const inferred_types[] = {"integer", "decimal", "boolean", "timestamp", "text", "json"};

static void check_line(const char *table, const char *path, const char *variant, const char *name, const char *type, json_t *now) {
    json_t *lines = json_object_get(now, table);
    if (!lines) {
        lines = json_object();
        check(json_object_set_new(now, table, lines) == 0);
    }
    char key[1200];
    (void)snprintf(key, sizeof key, "%s\1%s", path, variant);
    bool known = false;
    for (size_t i = 0; i < sizeof inferred_types / sizeof *inferred_types; i++) known = known || strcmp(type, inferred_types[i]) == 0;
    if (!known || (*variant && strcmp(variant, type) != 0)) fail("the map says that %s of %s is %s", path, table, type);
    const char *other;
    json_t *line;
    json_object_foreach(lines, other, line) {
        if (strcasecmp(json_string_value(json_array_get(line, 0)), name) == 0) fail("the map has the column \"%s\" twice", name);
    }
    const json_t *before = json_object_get(json_object_get(map, table), key);
    line = json_pack("[s,s]", name, type);
    check(line);
    if (before && !json_equal(before, line)) fail("the map has another column for %s of %s than it had: %s", path, table, name);
    /* The line and the column came in one transaction. */
    if (!before && has_table(table) && !has_column(table, name) && !was_renamed(table, name))
        fail("the map has the column \"%s\" for %s, and table %s has not", name, path, table);
    check(json_object_set_new(lines, key, line) == 0);
}

/* Nodes that share a table do not exceed the largest of their limits together. A column that is
 * gone leaves its place to another, and may come back. */
static void check_limit(const char *table, size_t count) {
    unsigned most = 0;
    SinkKind kind = events_kind(table);
    for (size_t i = 0; i < world->node_count; i++)
        if (world->plans[i].max_columns[kind] > most) most = world->plans[i].max_columns[kind];
    size_t own = kind == SINK_KEYED ? 5 : 3;
    if (count + own > most + renamed_count)
        fail("the map has %zu columns for %s, and the limit is %u with %zu others", count, table, most, own);
}

void tables_check_map(void) {
    if (!has_table(MAP)) return;
    json_t *now = json_object();
    sqlite3_stmt *select = query("SELECT table_name, path, variant, column_name, data_type FROM " MAP " ORDER BY rowid");
    while (next_row(select))
        check_line(text_at(select, 0), text_at(select, 1), text_at(select, 2), text_at(select, 3), text_at(select, 4), now);
    check(sqlite3_finalize(select) == SQLITE_OK);
    const char *table, *key;
    json_t *lines, *line;
    json_object_foreach(now, table, lines) check_limit(table, json_object_size(lines));
    json_object_foreach(map, table, lines) {
        json_object_foreach(lines, key, line) {
            if (!json_object_get(json_object_get(now, table), key)) fail("the map of %s has lost the column of %s", table, key);
        }
    }
    json_decref(map);
    map = now;
}

void tables_check_probe(const SentRow *row) {
    const SinkTarget *target = &world->sent.versions[row->version].sink->target;
    size_t own = 0, count = sink_target_cells(target);
    for (size_t i = 0; i < target->column_count; i++)
        own += target->columns[i].inferred == COLUMN_BASE || target->columns[i].inferred == COLUMN_DECLARED;
    size_t mapped = json_object_size(json_object_get(map, target->table.table_id));
    if (inference_room(target) == 0 || own + mapped >= target->infer->max_columns) return;
    RowReader reader = {.text = {row->text, row->size}};
    RowCell *cells = calloc(count, sizeof *cells);
    check(cells && row_read(&reader, cells, count) == 0);
    const RowCell *rest = &cells[target->column_count - 1];
    char *text = rest->is_null ? NULL : strndup(rest->data, rest->size);
    if (events_has_rest(row, text)) fail("event %zu: what asks for columns gets none in %s: %s", row->event, target->table.table_id, text);
    free(text);
    free(cells);
    row_reader_deinit(&reader);
}

void tables_check_versions(void) {
    tables_check_map();
    for (size_t i = 0; i < world->sent.version_count; i++) {
        const Version *version = &world->sent.versions[i];
        const SinkTarget *target = &version->sink->target;
        if (target->infer && target->column_count > target->infer->max_columns)
            fail("sink %s of node %u has %zu columns", version->sink->sink_id, version->node, target->column_count);
        for (size_t k = 0; k < target->column_count; k++) {
            const Column *column = &target->columns[k];
            if (column->inferred != COLUMN_INFERRED && column->inferred != COLUMN_VARIANT) continue;
            char key[1200];
            (void)snprintf(key, sizeof key, "%s\1%s", column->path,
                           column->inferred == COLUMN_VARIANT ? data_type_name(column->data_type) : "");
            const json_t *line = json_object_get(json_object_get(map, target->table.table_id), key);
            if (!line || strcmp(json_string_value(json_array_get(line, 0)), column->name) != 0 ||
                strcmp(json_string_value(json_array_get(line, 1)), data_type_name(column->data_type)) != 0)
                fail("sink %s of node %u has the column \"%s\" (%s) for %s, and the map has not", version->sink->sink_id, version->node,
                     column->name, data_type_name(column->data_type), column->path);
        }
    }
}

void tables_rename_column(void) {
    const char *key, *table = "wide";
    json_t *line;
    size_t at = 0, count = json_object_size(json_object_get(map, table));
    size_t wanted = count > 0 ? (size_t)below(count) : 0;
    json_object_foreach(json_object_get(map, table), key, line) {
        if (at++ != wanted) continue;
        const char *name = json_string_value(json_array_get(line, 0));
        if (!has_table(table) || !has_column(table, name)) return;
        array_reserve(renamed, renamed_count, renamed_room);
        Renamed *entry = &renamed[renamed_count];
        *entry = (Renamed){.table = strdup(table), .from = strdup(name)};
        check(asprintf(&entry->to, "was %zu", renamed_count) > 0);
        char *sql = sqlite3_mprintf("ALTER TABLE \"%w\" RENAME COLUMN \"%w\" TO \"%w\"", table, entry->from, entry->to);
        if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK) fail("%s: %s", sql, sqlite3_errmsg(database));
        say("%s", sql);
        sqlite3_free(sql);
        renamed_count++;
        sum.renamed++;
        return;
    }
}

/* ---- what must be in the tables -------------------------------------------------------------- */

/* By key of the table that merges: the row that must be there; SIZE_MAX: none. */
#define KEYS_MAX 16
typedef struct KeyedTable {
    size_t rows[KEYS_MAX];
    struct {
        bool is_there;
        bool has_value;
        long long value;
    } deleted[KEYS_MAX]; /* of the import that is looked at */
    size_t import;
} KeyedTable;

/* NULL is older than all values. */
static bool newer_value(size_t row, long long *ret_value) {
    const json_t *t = json_object_get(world->sent.events[world->sent.rows[row].event].body, "t");
    *ret_value = json_integer_value(t);
    return json_is_integer(t);
}

static bool is_newer(bool a_has, long long a, bool b_has, long long b) {
    return a_has && (!b_has || a > b);
}

/* docs/operations.md: of a key's rows and deletions the last one of an import counts, and with
 * newerBy the newest one; a deletion leaves no mark. */
static void apply(KeyedTable *table, size_t number, size_t import, bool newer_by) {
    const SentRow *row = &world->sent.rows[number];
    json_int_t key = json_integer_value(json_object_get(world->sent.events[row->event].body, "k"));
    expect(key >= 0 && key < KEYS_MAX);
    if (import != table->import) memset(table->deleted, 0, sizeof table->deleted);
    table->import = import;
    long long value, there_value = 0;
    bool has = newer_value(number, &value), there = table->rows[key] != SIZE_MAX;
    bool there_has = there && newer_value(table->rows[key], &there_value);
    bool is_older = newer_by && there && is_newer(there_has, there_value, has, value);
    if (row->deletes) {
        if (!is_older) table->rows[key] = SIZE_MAX;
        if (!table->deleted[key].is_there || !is_newer(table->deleted[key].has_value, table->deleted[key].value, has, value)) {
            table->deleted[key].is_there = true;
            table->deleted[key].has_value = has;
            table->deleted[key].value = value;
        }
        return;
    }
    bool was_deleted = newer_by && table->deleted[key].is_there &&
                       is_newer(table->deleted[key].has_value, table->deleted[key].value, has, value);
    if (!is_older && !was_deleted) table->rows[key] = number;
}

static void mark_keyed(const char *table_id) {
    KeyedTable table = {.import = SIZE_MAX};
    for (size_t i = 0; i < KEYS_MAX; i++) table.rows[i] = SIZE_MAX;
    for (size_t i = 0; i < arrival_count; i++) {
        const SinkTarget *target = &world->sent.versions[world->sent.rows[arrivals[i].row].version].sink->target;
        if (strcmp(target->table.table_id, table_id) == 0)
            apply(&table, arrivals[i].row, arrivals[i].import, target->table.newer_by != NULL);
    }
    for (size_t i = 0; i < KEYS_MAX; i++)
        if (table.rows[i] != SIZE_MAX) world->sent.rows[table.rows[i]].wanted = true;
}

/* The value of a column in a row of the table, wherever people have moved it. */
static const char *find_cell(sqlite3_stmt *select, const char *table, const char *name) {
    for (int i = 0; i < sqlite3_column_count(select); i++) {
        const char *found = sqlite3_column_name(select, i);
        if (sqlite3_column_type(select, i) == SQLITE_NULL) continue;
        if (strcasecmp(found, name) == 0) return text_at(select, i);
        for (size_t k = 0; k < renamed_count; k++)
            if (strcmp(renamed[k].to, found) == 0 && strcmp(renamed[k].table, table) == 0 && strcasecmp(renamed[k].from, name) == 0)
                return text_at(select, i);
    }
    return NULL;
}

/* Columns that the version of the row does not have are NULL. */
static void check_others(sqlite3_stmt *select, const SinkTarget *target, const SentRow *row) {
    size_t filled = 0, known = 0;
    for (int i = 0; i < sqlite3_column_count(select); i++) filled += sqlite3_column_type(select, i) != SQLITE_NULL;
    for (size_t i = 0; i < target->column_count; i++) known += find_cell(select, target->table.table_id, target->columns[i].name) != NULL;
    if (filled != known)
        fail("the row of event %zu in %s fills %zu columns that it does not have", row->event, target->table.table_id, filled - known);
}

static SentRow *row_of(const char *table, SinkKind kind, const char *id) {
    unsigned element;
    const SentEvent *event = &world->sent.events[events_number(id, strlen(id), &element)];
    for (size_t i = event->first_row; i < event->first_row + event->row_count; i++) {
        SentRow *row = &world->sent.rows[i];
        const Version *version = &world->sent.versions[row->version];
        if (version->kind == kind && row->element == element && strcmp(version->sink->target.table.table_id, table) == 0) return row;
    }
    fail("table %s has a row of \"%s\", which has none", table, id);
}

static void check_table(const char *table) {
    SinkKind kind = events_kind(table);
    char sql[100];
    (void)snprintf(sql, sizeof sql, "SELECT * FROM \"%s\"", table);
    sqlite3_stmt *select = query(sql);
    if (kind == SINK_KEYED) mark_keyed(table);
    while (next_row(select)) {
        SentRow *row = row_of(table, kind, text_at(select, 0));
        const SinkTarget *target = &world->sent.versions[row->version].sink->target;
        if (row->seen) fail("table %s has the row of event %zu twice", table, row->event);
        if (kind == SINK_KEYED && !row->wanted)
            fail("table %s has the row of event %zu, which is not the last one of its key", table, row->event);
        row->seen = true;
        const char **cells = calloc(target->column_count, sizeof *cells);
        check(cells);
        for (size_t i = 0; i < target->column_count; i++) cells[i] = find_cell(select, table, target->columns[i].name);
        check_others(select, target, row);
        events_compare(row, cells);
        free(cells);
    }
    check(sqlite3_finalize(select) == SQLITE_OK);
}

/* A request is there whole, or not at all; what was acknowledged is there, if its node has its
 * disk. */
static void check_request(const SentRequest *request) {
    size_t there = 0, all = 0, rejects = 0, failed = 0;
    bool is_lossy = false;
    expect(request->fate != FATE_OPEN);
    for (size_t i = request->first_event; i < request->first_event + request->event_count; i++) {
        const SentEvent *event = &world->sent.events[i];
        is_lossy = node_lost_life(event->node, event->life);
        failed += event->failed;
        rejects += event->rejects_seen;
        for (size_t k = event->first_row; k < event->first_row + event->row_count; k++) {
            const SentRow *row = &world->sent.rows[k];
            all++;
            there += row->arrived;
            sum.lost_rows += is_lossy && row->arrived == 0;
            bool wanted = world->sent.versions[row->version].kind == SINK_KEYED ? row->wanted : row->arrived > 0;
            if (wanted != row->seen)
                fail("the row of event %zu for %s is %s", i, world->sent.versions[row->version].sink->sink_id,
                     wanted ? "not there" : "there");
        }
    }
    if (is_lossy) return;
    if (request->fate == FATE_ACKNOWLEDGED && (there != all || rejects != failed))
        fail("event %zu was acknowledged: %zu of %zu rows are there, and %zu of %zu rejects", request->first_event, there, all, rejects,
             failed);
    if (request->fate == FATE_REFUSED &&
        ((there != 0 && there != all) || (rejects != 0 && rejects != failed) || (all > 0 && failed > 0 && (there > 0) != (rejects > 0))))
        fail("event %zu was refused: %zu of %zu rows are there, and %zu of %zu rejects", request->first_event, there, all, rejects, failed);
}

/* How sure it is that the rows of a deletion's request are there. */
static unsigned certainty(const SentRow *row) {
    const SentRequest *request = &world->sent.requests[world->sent.events[row->event].request];
    if (request->fate == FATE_ACKNOWLEDGED) return 2;
    for (size_t i = request->first_event; i < request->first_event + request->event_count; i++) {
        const SentEvent *event = &world->sent.events[i];
        if (event->rejects_seen > 0) return 1;
        for (size_t k = event->first_row; k < event->first_row + event->row_count; k++)
            if (!world->sent.rows[k].deletes && world->sent.rows[k].arrived > 0) return 1;
    }
    return 0;
}

static bool is_alike(const SentRow *a, const SentRow *b) {
    const SentEvent *of_a = &world->sent.events[a->event], *of_b = &world->sent.events[b->event];
    return of_a->node == of_b->node && of_a->life == of_b->life && a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

/* Deletions of one text cannot be told apart: those that arrived are of the requests that are
 * there. */
static void share_deletions(void) {
    for (size_t i = 0; i < world->sent.row_count; i++) {
        SentRow *first = &world->sent.rows[i];
        if (!first->deletes || first->is_shared) continue;
        unsigned arrived = 0;
        for (size_t k = i; k < world->sent.row_count; k++) {
            SentRow *row = &world->sent.rows[k];
            if (!row->deletes || !is_alike(first, row)) continue;
            row->is_shared = true;
            arrived += row->arrived;
            row->arrived = 0;
        }
        for (unsigned sure = 3; sure-- > 0;)
            for (size_t k = i; k < world->sent.row_count && arrived > 0; k++) {
                SentRow *row = &world->sent.rows[k];
                if (!row->deletes || row->arrived > 0 || !is_alike(first, row) || certainty(row) != sure) continue;
                row->arrived = 1;
                arrived--;
            }
        expect(arrived == 0);
    }
}

void tables_check_rows(void) {
    for (size_t i = 0; i < world->sent.row_count; i++) world->sent.rows[i].is_shared = false;
    share_deletions();
    for (size_t i = 0; i < world->sent.row_count; i++) world->sent.rows[i].seen = world->sent.rows[i].wanted = false;
    sqlite3_stmt *select = query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_sluice%' ESCAPE '\\'");
    while (next_row(select)) check_table(text_at(select, 0));
    check(sqlite3_finalize(select) == SQLITE_OK);
    for (size_t i = 0; i < world->sent.request_count; i++) check_request(&world->sent.requests[i]);
}
