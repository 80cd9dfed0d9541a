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

/* A column was renamed or dropped. */
typedef struct Removed {
    char *table, *column, *type;
    uint64_t tick;
    bool keeps; /* its values, under another name */
} Removed;

static sqlite3 *database;
static json_t *map; /* table -> "path\1variant" -> [name, type], as it was seen last */
static Arrival *arrivals;
static size_t arrival_count, arrival_room, import_count;
static Renamed *renamed;
static size_t renamed_count, renamed_room;
static Removed *removed;
static size_t removed_count, removed_room, dropped_count;

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

bool tables_has_column(const char *table, const char *column) {
    return has_column(table, column);
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
    for (size_t i = 0; i < removed_count; i++) {
        free(removed[i].table);
        free(removed[i].column);
        free(removed[i].type);
    }
    renamed_count = removed_count = dropped_count = 0;
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
    if (count + own > most + renamed_count + dropped_count)
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

/* May the map get another column for the sink? */
static bool has_room(const SinkTarget *target) {
    size_t own = 0;
    for (size_t i = 0; i < target->column_count; i++)
        own += target->columns[i].inferred == COLUMN_BASE || target->columns[i].inferred == COLUMN_DECLARED;
    size_t mapped = json_object_size(json_object_get(map, target->table.table_id));
    return inference_room(target) > 0 && own + mapped < target->infer->max_columns;
}

void tables_check_nameless(const SinkTarget *target, const json_t *nameless) {
    size_t i;
    const json_t *field, *first = json_object_get(nameless, "first");
    expect(json_is_array(first) && (size_t)json_integer_value(json_object_get(nameless, "count")) >= json_array_size(first));
    json_array_foreach(first, i, field) {
        const char *path = json_string_value(json_object_get(field, "path"));
        const char *variant = json_string_value(json_object_get(field, "variant"));
        const char *why = json_string_value(json_object_get(field, "why"));
        if (!json_object_get(world->sent.paths, path)) fail("%s gets no column, and no event has it", path);
        for (size_t k = 0; k < target->column_count; k++) {
            const Column *column = &target->columns[k];
            bool is_it = column->inferred == (variant ? COLUMN_VARIANT : COLUMN_INFERRED) && strcmp(column->path, path) == 0 &&
                         (!variant || strcmp(data_type_name(column->data_type), variant) == 0);
            if (is_it) fail("%s of %s has the column \"%s\", and is said to get none", path, target->table.table_id, column->name);
        }
        if (strcmp(why, "noRoom") == 0 && has_room(target)) fail("%s of %s finds no room, and there is room", path, target->table.table_id);
        sum.nameless++;
    }
}

void tables_check_probe(const SentRow *row) {
    const SinkTarget *target = &world->sent.versions[row->version].sink->target;
    size_t count = sink_target_cells(target);
    if (!has_room(target)) return;
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

/* ---- people who change a table ---------------------------------------------------------------- */

#define CHANGED "wide" /* the table */

static void alter(char *take_sql) {
    if (sqlite3_exec(database, take_sql, NULL, NULL, NULL) != SQLITE_OK) fail("%s: %s", take_sql, sqlite3_errmsg(database));
    say("%s", take_sql);
    sqlite3_free(take_sql);
}

/* A column of the map that the table has; borrowed from the map. NULL: none. */
static const char *draw_column(void) {
    const char *key, *found = NULL;
    json_t *line;
    size_t at = 0, count = json_object_size(json_object_get(map, CHANGED));
    size_t wanted = count > 0 ? (size_t)below(count) : 0;
    json_object_foreach(json_object_get(map, CHANGED), key, line) {
        if (at++ == wanted) found = json_string_value(json_array_get(line, 0));
    }
    return found && has_table(CHANGED) && has_column(CHANGED, found) ? found : NULL;
}

/* It is about to be gone. */
static void note_removal(const char *column, bool keeps) {
    sqlite3_stmt *select = query("SELECT type FROM pragma_table_info('" CHANGED "') WHERE name = ?1 COLLATE NOCASE");
    (void)sqlite3_bind_text(select, 1, column, -1, SQLITE_STATIC);
    expect(next_row(select));
    array_reserve(removed, removed_count, removed_room);
    removed[removed_count++] = (Removed){
        .table = strdup(CHANGED), .column = strdup(column), .type = strdup(text_at(select, 0)), .tick = ++world->tick, .keeps = keeps};
    check(sqlite3_finalize(select) == SQLITE_OK);
}

void tables_rename_column(void) {
    const char *name = draw_column();
    if (!name) return;
    note_removal(name, true);
    array_reserve(renamed, renamed_count, renamed_room);
    Renamed *entry = &renamed[renamed_count];
    *entry = (Renamed){.table = strdup(CHANGED), .from = strdup(name)};
    check(asprintf(&entry->to, "was %zu", renamed_count) > 0);
    alter(sqlite3_mprintf("ALTER TABLE " CHANGED " RENAME COLUMN \"%w\" TO \"%w\"", entry->from, entry->to));
    renamed_count++;
    sum.renamed++;
}

void tables_drop_column(void) {
    const char *name = world->ignores ? draw_column() : NULL;
    if (!name) return;
    note_removal(name, false);
    alter(sqlite3_mprintf("ALTER TABLE " CHANGED " DROP COLUMN \"%w\"", name));
    dropped_count++;
    sum.dropped++;
}

void tables_add_column(void) {
    if (!world->ignores || removed_count == 0) return;
    const Removed *again = &removed[below(removed_count)];
    if (has_column(again->table, again->column)) return;
    alter(sqlite3_mprintf("ALTER TABLE \"%w\" ADD COLUMN \"%w\" %s", again->table, again->column, again->type));
    sum.added++;
}

/* May the row's value of the column be in the table no more: an import left it out, or it was in
 * the column when that was dropped? */
static bool is_gone(const SentRow *row, const char *table, const char *column) {
    size_t i;
    json_t *name;
    json_array_foreach(row->left_out, i, name) {
        if (strcmp(json_string_value(name), column) == 0) return true;
    }
    for (i = 0; i < removed_count; i++) /* the first removal since takes it away, or keeps it elsewhere */
        if (removed[i].tick > row->tick && strcmp(removed[i].table, table) == 0 && strcasecmp(removed[i].column, column) == 0)
            return !removed[i].keeps;
    return false;
}

/* Such values are in no column; for the comparison of the event they are put back. */
static void put_back(const SentRow *row, const SinkTarget *target, char *const *sent, const char **cells) {
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (!is_gone(row, target->table.table_id, column->name)) continue;
        if (cells[i]) fail("the row of event %zu has a value in \"%s\", which was left out", row->event, column->name);
        if (!sent[i]) continue;
        cells[i] = column->data_type != DATA_BOOLEAN ? sent[i] : *sent[i] == 't' || *sent[i] == '1' ? "1" : "0";
        if (row->left_out)
            sum.left_out++;
        else
            sum.lost_values++;
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
        char **sent = events_cells(row);
        put_back(row, target, sent, cells);
        events_compare(row, cells);
        for (size_t i = 0; i < sink_target_cells(target); i++) free(sent[i]);
        free(sent);
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
