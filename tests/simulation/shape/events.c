/*
 * Events whose fields and types change, and what must have become of them. This file knows the
 * rules of docs/inference.md by itself: it shares no code with what it checks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/array.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "mapping/row.h"
#include "tests/simulation/shape/shape.h"

#define FIELDS_MOST 20
#define KEYS_MAX 3
#define PATH_BYTES 1024
#define JSON_READ (JSON_DECODE_ANY | JSON_ALLOW_NUL)

typedef enum Kind {
    KIND_INTEGER,
    KIND_DECIMAL,
    KIND_BOOLEAN,
    KIND_TIME,
    KIND_TEXT,
    KIND_ODD,
    KIND_LIST,
    KIND_OBJECT,
    KIND_NULL,
    KINDS
} Kind;

typedef struct Field {
    const char *keys[KEYS_MAX];
    unsigned key_count;
    Kind kind;        /* that it has mostly */
    unsigned changes; /* percent of values of any other kind */
    unsigned comes;   /* percent of events that have it */
    size_t since;     /* the event that has it first */
    char path[PATH_BYTES];
} Field;

static Field fields[FIELDS_MOST];
static size_t field_count;

/* ---- paths ----------------------------------------------------------------------------------- */

static bool is_plain(const char *key) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return *key && strspn(key, letters) == strlen(key) && !(*key >= '0' && *key <= '9');
}

/* The canonical path of a key below `path`. */
static void put_key(char path[static PATH_BYTES], const char *key) {
    size_t size = strlen(path);
    expect(size + 2 * strlen(key) + 8 < PATH_BYTES);
    if (is_plain(key)) {
        (void)sprintf(path + size, "%s%s", size > 0 ? "." : "", key);
        return;
    }
    char *to = path + size;
    *to++ = '[';
    *to++ = '"';
    for (; *key; key++) {
        if (*key == '"' || *key == '\\') *to++ = '\\';
        *to++ = *key;
    }
    (void)strcpy(to, "\"]");
}

/* All that a column could be of. */
static void note_paths(const json_t *object, const json_t *keys_above, const char *path_above, unsigned level) {
    const char *key;
    json_t *value;
    if (!json_is_object(object) || level > 5) return;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof path, "%s", path_above);
        put_key(path, key);
        json_t *keys = json_copy((json_t *)(uintptr_t)keys_above);
        check(keys && json_array_append_new(keys, json_string(key)) == 0);
        note_paths(value, keys, path, level + 1);
        check(json_object_set_new(world->sent.paths, path, keys) == 0);
    }
}

const char *events_draw_path(unsigned depth) {
    for (unsigned i = 0; i < 10; i++) {
        const Field *field = &fields[below(field_count)];
        if (field->key_count <= depth) return field->path;
    }
    return NULL;
}

/* ---- making ---------------------------------------------------------------------------------- */

void events_begin(void) {
    static const char *const keys[] = {
        "a",
        "A",
        "b",
        "price",
        "Price",
        "x.y",
        "x y",
        "x_y",
        "\xc3\xbc",
        "\xc3\x9c",
        "1st",
        "select",
        "_id",
        "_rest",
        "rowid",
        "q\"uote",
        "back\\slash",
        "n",
        "a__v_text",
        "a__b",
        "o",
        "o",
        "o",
        "p",
        "p",
        "",
        "a name that is longer than a name in a table may ever be, so that it is cut somewhere in here, one",
        "a name that is longer than a name in a table may ever be, so that it is cut somewhere in here, two",
    };
    field_count = 4 + (size_t)below(world->is_small ? 5 : FIELDS_MOST - 3);
    world->sent.paths = json_object();
    for (size_t i = 0; i < field_count; i++) {
        Field *field = &fields[i];
        *field = (Field){.key_count = chance(60) ? 1 : 2 + (unsigned)below(2),
                         .comes = 20 + (unsigned)below(80),
                         .since = below(world->is_small ? 25 : 60)};
        field->kind = (Kind)below(chance(70) ? KIND_ODD : KINDS);
        field->changes = chance(40) ? 0 : (unsigned)below(60);
        for (unsigned k = 0; k < field->key_count; k++) {
            field->keys[k] = keys[below(sizeof keys / sizeof *keys)];
            put_key(field->path, field->keys[k]);
        }
    }
}

void events_end(void) {
    Sent *sent = &world->sent;
    for (size_t i = 0; i < sent->event_count; i++) json_decref(sent->events[i].body);
    for (size_t i = 0; i < sent->row_count; i++) {
        free(sent->rows[i].text);
        json_decref(sent->rows[i].left_out);
    }
    for (size_t i = 0; i < sent->version_count; i++) sink_unref(sent->versions[i].sink);
    free(sent->requests);
    free(sent->events);
    free(sent->rows);
    free(sent->versions);
    json_decref(sent->paths);
    *sent = (Sent){0};
}

/* `full`: an object has members. */
static json_t *make_value(Kind kind, bool full) {
    static const json_int_t integers[] = {0, -5, 42, 1000000, INT64_MAX, INT64_MIN};
    static const double decimals[] = {1.5, -0.25, 1e20, 1000.0, 0.1};
    static const char *const times[] = {"2024-02-29T12:00:00Z", "2024-02-29T12:00:00+02:00", "2024-02-29T12:00:00.123456-11:30"};
    static const char *const texts[] = {
        "", "abc", "a,b\n\"c\"", "12", "2024-02-29", "2024-02-29 12:00:00Z", "\xc3\xa9\xf0\x9f\x98\x80", "null", "\\x41", " ", "true"};
    switch (kind) {
    case KIND_INTEGER: return json_integer(integers[below(6)]);
    case KIND_DECIMAL: return json_real(decimals[below(5)]);
    case KIND_BOOLEAN: return json_boolean(chance(50));
    case KIND_TIME: return json_string(times[below(3)]);
    case KIND_TEXT: return json_string(texts[below(sizeof texts / sizeof *texts)]);
    case KIND_ODD: return json_stringn("a\0b", 3);
    case KIND_LIST: return chance(30) ? json_array() : json_pack("[i,{s:n},s]", 1, "x", "y");
    case KIND_OBJECT: return !full && chance(20) ? json_object() : json_pack("{s:i,s:{s:[],s:n}}", "z", 3, "y", "x", "w");
    case KIND_NULL: return json_null();
    case KINDS: break;
    }
    unreachable();
}

static void put_field(json_t *body, const Field *field, json_t *take_value) {
    json_t *object = body;
    for (unsigned k = 0; k + 1 < field->key_count; k++) {
        json_t *inside = json_object_get(object, field->keys[k]);
        if (!inside) {
            inside = json_object();
            check(json_object_set_new(object, field->keys[k], inside) == 0);
        } else if (!json_is_object(inside)) {
            json_decref(take_value);
            return;
        }
        object = inside;
    }
    if (json_object_get(object, field->keys[field->key_count - 1]))
        json_decref(take_value);
    else
        check(json_object_set_new(object, field->keys[field->key_count - 1], take_value) == 0);
}

static json_t *make_items(void) {
    json_t *items = json_array();
    for (uint64_t i = below(4); i > 0; i--)
        check(json_array_append_new(items, json_pack("{s:i,s:s}", "n", (int)below(100), "s", chance(50) ? "plain" : "a,\"b\"")) == 0);
    return items;
}

char *events_make(bool all, json_t **ret_body) {
    *ret_body = NULL;
    if (!all && chance(1)) return strdup(chance(50) ? "[1]" : "\"text\"");
    json_t *body = json_object();
    check(body && json_object_set_new(body, "k", json_integer((json_int_t)below(6))) == 0);
    if (all || chance(90)) check(json_object_set_new(body, "t", json_integer((json_int_t)below(30))) == 0);
    if (all || chance(60)) check(json_object_set_new(body, "op", json_string(!all && chance(30) ? "d" : "u")) == 0);
    if (all || chance(90)) check(json_object_set_new(body, "items", make_items()) == 0);
    for (size_t i = 0; i < field_count; i++) {
        const Field *field = &fields[i];
        if (!all && (world->sent.event_count < field->since || !chance(field->comes))) continue;
        put_field(body, field, make_value(!all && chance(field->changes) ? (Kind)below(KINDS) : field->kind, all));
    }
    char *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
    check(text);
    if (chance(5)) { /* a second one of some key does not count */
        char *longer = NULL;
        text[strlen(text) - 1] = '\0';
        check(asprintf(&longer, "%s,\"k\":\"second\"}", text) > 0);
        free(text);
        text = longer;
    }
    json_t *keys = json_array();
    note_paths(body, keys, "", 1);
    json_decref(keys);
    *ret_body = body;
    return text;
}

void events_id(size_t number, Uuid *ret_id) {
    *ret_id = (Uuid){.bytes = {0x01, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80}};
    for (unsigned i = 0; i < 6; i++) ret_id->bytes[15 - i] = (uint8_t)(number >> (8 * i));
}

size_t events_number(const char *id, size_t size, unsigned *ret_element) {
    char digits[13] = "";
    if (size < UUID_TEXT_SIZE) fail("an id is \"%.*s\"", (int)size, id);
    memcpy(digits, id + UUID_TEXT_SIZE - 12, 12);
    size_t number = (size_t)strtoull(digits, NULL, 16);
    if (number >= world->sent.event_count) fail("an event that nobody sent: %.*s", (int)size, id);
    *ret_element = size > UUID_TEXT_SIZE ? (unsigned)strtoul(id + UUID_TEXT_SIZE + 1, NULL, 10) : 0;
    return number;
}

/* ---- versions -------------------------------------------------------------------------------- */

SinkKind events_kind(const char *table_id) {
    switch (table_id[0]) {
    case 'w': return SINK_WIDE;
    case 'k': return SINK_KEYED;
    case 'r': return SINK_ROWS;
    default: fail("a table %s", table_id);
    }
}

/* Is it the same, as far as rows depend on it? */
static bool is_same_column(const Column *x, const Column *y) {
    if (strcmp(x->name, y->name) != 0 || x->data_type != y->data_type || x->inferred != y->inferred) return false;
    return !x->path == !y->path && (!x->path || strcmp(x->path, y->path) == 0);
}

/* Is `b` the target `a`, but for columns that it leaves out? */
static bool is_part(const SinkTarget *a, const SinkTarget *b) {
    size_t at = 0;
    for (size_t i = 0; i < a->column_count; i++) at += at < b->column_count && is_same_column(&a->columns[i], &b->columns[at]);
    return at == b->column_count && strcmp(a->table.table_id, b->table.table_id) == 0;
}

static bool is_same(const SinkTarget *a, const SinkTarget *b) {
    return a->column_count == b->column_count && is_part(a, b);
}

size_t events_version(unsigned node, unsigned life, const Sink *sink) {
    Sent *sent = &world->sent;
    for (size_t i = sent->version_count; i-- > 0;) {
        const Version *known = &sent->versions[i];
        if (known->node != node || known->life != life || known->sink->number != sink->number ||
            known->sink->mapping_version != sink->mapping_version)
            continue;
        if (!is_same(&known->sink->target, &sink->target))
            fail("node %u: mapping version %u of sink %s has two forms", node, sink->mapping_version, sink->sink_id);
        return i;
    }
    array_reserve(sent->versions, sent->version_count, sent->version_room);
    sent->versions[sent->version_count] = (Version){
        .node = node, .life = life, .kind = events_kind(sink->target.table.table_id), .sink = sink_ref(sink)};
    sum.versions++;
    return sent->version_count++;
}

json_t *events_check_target(const Version *version, const SinkTarget *target) {
    const SinkTarget *whole = &version->sink->target;
    if (is_same(whole, target)) return NULL;
    if (whole->table.on_schema_drift != SCHEMA_DRIFT_IGNORE || !is_part(whole, target))
        fail("a file of sink %s has not the target of its rows", version->sink->sink_id);
    json_t *left_out = json_array();
    for (size_t i = 0, at = 0; i < whole->column_count; i++) {
        const Column *column = &whole->columns[i];
        if (at < target->column_count && is_same_column(column, &target->columns[at])) {
            at++;
            continue;
        }
        if (tables_has_column(whole->table.table_id, column->name))
            fail("an import of sink %s leaves out \"%s\", and the table has it", version->sink->sink_id, column->name);
        check(json_array_append_new(left_out, json_string(column->name)) == 0);
    }
    return left_out;
}

char **events_cells(const SentRow *row) {
    size_t count = sink_target_cells(&world->sent.versions[row->version].sink->target);
    RowReader reader = {.text = {row->text, row->size}};
    RowCell *read = calloc(count, sizeof *read);
    char **cells = calloc(count, sizeof *cells);
    check(read && cells && row_read(&reader, read, count) == 0);
    for (size_t i = 0; i < count; i++) {
        if (read[i].is_null) continue;
        cells[i] = strndup(read[i].data, read[i].size);
        check(cells[i]);
    }
    free(read);
    row_reader_deinit(&reader);
    return cells;
}

/* Is it the row, with the cells of `target` alone? */
static bool is_part_of_row(const SentRow *row, const char *text, size_t size, const SinkTarget *target) {
    const SinkTarget *whole = &world->sent.versions[row->version].sink->target;
    if (is_same(whole, target) || !is_part(whole, target)) return false;
    char **cells = events_cells(row);
    RowReader reader = {.text = {text, size}};
    RowCell *part = calloc(target->column_count, sizeof *part);
    check(part);
    bool is_equal = row_read(&reader, part, target->column_count) == 0;
    for (size_t i = 0, at = 0; i < whole->column_count; i++) {
        bool is_there = at < target->column_count && is_same_column(&whole->columns[i], &target->columns[at]);
        const RowCell *cell = is_there && is_equal ? &part[at++] : NULL;
        if (cell &&
            (cell->is_null != !cells[i] || (cells[i] && (strlen(cells[i]) != cell->size || memcmp(cells[i], cell->data, cell->size) != 0))))
            is_equal = false;
        free(cells[i]);
    }
    free(cells);
    free(part);
    row_reader_deinit(&reader);
    return is_equal;
}

/* The text of a deletion tells its key, and not its event: of those that have it, one that was
 * stored and is not there yet, else any. */
static SentRow *find_deletion(const char *text, size_t size, const SinkTarget *target, uint64_t look) {
    SentRow *found = NULL;
    unsigned found_rank = 0;
    for (size_t i = 0; i < world->sent.row_count; i++) {
        SentRow *row = &world->sent.rows[i];
        if (!row->deletes || row->look == look || row->size != size || memcmp(row->text, text, size) != 0) continue;
        const Version *version = &world->sent.versions[row->version];
        const SentEvent *event = &world->sent.events[row->event];
        if (!node_is_running(version->node, version->life) || !is_same(&version->sink->target, target)) continue;
        Fate fate = world->sent.requests[event->request].fate;
        unsigned rank = row->arrived > 0 ? 1 : fate == FATE_ACKNOWLEDGED ? 4 : fate == FATE_OPEN ? 3 : 2;
        if (rank <= found_rank) continue;
        found = row;
        found_rank = rank;
    }
    if (!found) fail("a deletion that nobody sent: %.*s", (int)size, text);
    found->look = look;
    return found;
}

SentRow *events_find_row(const char *text, size_t size, const SinkTarget *target, uint64_t look) {
    if (*text == ',') return find_deletion(text, size, target, look);
    const char *end = memchr(text, ',', size);
    unsigned element;
    if (!end) fail("a row without cells: %.*s", (int)size, text);
    const SentEvent *event = &world->sent.events[events_number(text, (size_t)(end - text), &element)];
    for (size_t i = event->first_row; i < event->first_row + event->row_count; i++) {
        SentRow *row = &world->sent.rows[i];
        bool is_of_sink = world->sent.versions[row->version].kind == events_kind(target->table.table_id);
        if (!is_of_sink) continue;
        if ((row->size == size && memcmp(row->text, text, size) == 0) || is_part_of_row(row, text, size, target)) return row;
    }
    fail("a row that was not made of its event: %.*s", (int)size, text);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool to_instant(const char *text, long long *ret_usec) {
    struct tm tm = {0};
    int used = 0, hours = 0, minutes = 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    long long usec = 0;
    const char *p = text + used;
    if (*p == '.') {
        char digits[7] = "000000";
        size_t count = strspn(p + 1, "0123456789");
        memcpy(digits, p + 1, count < 6 ? count : 6);
        usec = strtoll(digits, NULL, 10);
        p += 1 + count;
    }
    if (*p != 'Z' && sscanf(p + 1, "%2d:%2d", &hours, &minutes) != 2) return false;
    int away = (*p == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    *ret_usec = ((long long)timegm(&tm) - away) * 1000000 + usec;
    return true;
}

static bool is_time(const json_t *value) {
    return json_is_string(value) && strncmp(json_string_value(value), "2024-02-29T", 11) == 0;
}

/* docs/inference.md, "Types". */
static bool fits(const json_t *value, DataType type) {
    switch (type) {
    case DATA_INTEGER: return json_is_integer(value);
    case DATA_DECIMAL: return json_is_number(value);
    case DATA_BOOLEAN: return json_is_boolean(value);
    case DATA_TIMESTAMP: return is_time(value);
    case DATA_TEXT: return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value);
    case DATA_JSON: return !json_is_null(value);
    case DATA_NUMBER:
    case DATA_DATE:
    case DATA_BYTES:
    case DATA_UUID:
    case DATA_JSON_TEXT: break;
    }
    fail("an inferred column is of type %s", data_type_name(type));
}

/* Numbers by value. */
static bool is_equal(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) {
        if (json_is_integer(a) && json_is_integer(b)) return json_integer_value(a) == json_integer_value(b);
        return json_number_value(a) == json_number_value(b);
    }
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b)) return false;
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!is_equal(json_array_get(a, i), json_array_get(b, i))) return false;
        return true;
    }
    if (!json_is_object(a)) return json_equal(a, b);
    const char *key;
    json_t *value;
    if (json_object_size(a) != json_object_size(b)) return false;
    json_object_foreach((json_t *)(uintptr_t)a, key, value) {
        const json_t *other = json_object_get(b, key);
        if (!other || !is_equal(value, other)) return false;
    }
    return true;
}

/* NULL and a missing field are the same, down to the level of columns. */
static void strip(json_t *object, unsigned levels) {
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(object, next, key, value) {
        bool had = json_is_object(value) && json_object_size(value) > 0;
        if (had && levels > 1) strip(value, levels - 1);
        if (json_is_null(value) || (had && json_object_size(value) == 0)) check(json_object_del(object, key) == 0);
    }
}

static void leave_out(json_t *object, const char *path_above, unsigned levels, const Inference *infer) {
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(object, next, key, value) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof path, "%s", path_above);
        put_key(path, key);
        bool out = false, had = json_is_object(value) && json_object_size(value) > 0;
        for (size_t i = 0; i < infer->exclude_count; i++) out = out || strcmp(path, infer->exclude[i]) == 0;
        if (!out && had && levels > 1) leave_out(value, path, levels - 1, infer);
        if (out || (had && json_object_size(value) == 0)) check(json_object_del(object, key) == 0);
    }
}

static const json_t *get_at(const json_t *object, const json_t *keys) {
    for (size_t i = 0; i < json_array_size(keys) && object; i++)
        object = json_object_get(object, json_string_value(json_array_get(keys, i)));
    return object;
}

static void set_at(json_t *object, const json_t *keys, json_t *take_value, const SentRow *row) {
    size_t count = json_array_size(keys);
    for (size_t i = 0; i + 1 < count; i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        json_t *inside = json_object_get(object, key);
        if (!inside) {
            inside = json_object();
            check(json_object_set_new(object, key, inside) == 0);
        }
        if (!json_is_object(inside)) fail("event %zu: a member is in the place of another value", row->event);
        object = inside;
    }
    const char *last = json_string_value(json_array_get(keys, count - 1));
    if (json_object_get(object, last)) fail("event %zu: the value of \"%s\" is in two places", row->event, last);
    check(json_object_set_new(object, last, take_value) == 0);
}

static json_t *read_json(const char *text, const SentRow *row) {
    json_error_t error;
    json_t *value = json_loads(text, JSON_READ, &error);
    if (!value) fail("event %zu: \"%s\" is no JSON: %s", row->event, text, error.text);
    return value;
}

static json_t *read_cell(const Column *column, const char *cell, const json_t *sent, const SentRow *row) {
    long long a, b;
    switch (column->data_type) {
    case DATA_INTEGER:
    case DATA_DECIMAL: return read_json(cell, row);
    case DATA_BOOLEAN: return json_boolean(strcmp(cell, "1") == 0);
    case DATA_TIMESTAMP:
        if (!is_time(sent) || !to_instant(cell, &a) || !to_instant(json_string_value(sent), &b) || a != b)
            fail("event %zu: column \"%s\" is %s", row->event, column->name, cell);
        return json_copy((json_t *)(uintptr_t)sent);
    case DATA_TEXT: return json_string(cell);
    case DATA_JSON: return read_json(cell, row);
    case DATA_NUMBER:
    case DATA_DATE:
    case DATA_BYTES:
    case DATA_UUID:
    case DATA_JSON_TEXT: break;
    }
    fail("column \"%s\" is of type %s", column->name, data_type_name(column->data_type));
}

/* Each value is in the column of its field, or else in the first variant that takes it, or else in
 * the rest. */
static void check_places(const json_t *object, const char *path_above, unsigned levels, const SinkTarget *target, const char *const *cells,
                         const json_t *rest, const SentRow *row) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof path, "%s", path_above);
        put_key(path, key);
        if (json_is_object(value) && levels > 1) {
            if (json_object_size(value) > 0) check_places(value, path, levels - 1, target, cells, rest, row);
            continue;
        }
        const Column *wanted = NULL, *own = NULL;
        size_t filled = 0;
        bool is_filled = false;
        for (size_t i = 0; i < target->column_count; i++) {
            const Column *column = &target->columns[i];
            if (column->inferred == COLUMN_BASE || !column->path || strcmp(column->path, path) != 0) continue;
            filled += cells[i] != NULL;
            if (column->inferred != COLUMN_VARIANT) own = column;
            if ((wanted && column->inferred == COLUMN_VARIANT) || !fits(value, column->data_type)) continue;
            wanted = column;
            is_filled = cells[i] != NULL;
        }
        bool in_rest = rest && get_at(rest, json_object_get(world->sent.paths, path)) != NULL;
        if (json_is_null(value)) {
            if (filled > 0) fail("event %zu: null at %s fills a column", row->event, path);
        } else if (wanted ? !is_filled || filled != 1 || in_rest : filled != 0 || !in_rest) {
            fail("event %zu: the value at %s should be in %s, and is in %zu columns%s%s", row->event, path,
                 wanted ? wanted->name : "the rest", filled, in_rest ? " and the rest" : "", own ? "" : "; the field has no column");
        }
    }
}

static void compare_exploded(const SentRow *row, const char *const *cells) {
    const SentEvent *event = &world->sent.events[row->event];
    const json_t *item = json_array_get(json_object_get(event->body, "items"), row->element);
    if (strtoll(cells[1], NULL, 10) != json_integer_value(json_object_get(event->body, "k")) ||
        strtoll(cells[2], NULL, 10) != json_integer_value(json_object_get(item, "n")) ||
        strcmp(cells[3], json_string_value(json_object_get(item, "s"))) != 0)
        fail("event %zu, element %u: the row is %s", row->event, row->element, row->text);
}

void events_compare(const SentRow *row, const char *const *cells) {
    const SentEvent *event = &world->sent.events[row->event];
    const Version *version = &world->sent.versions[row->version];
    const SinkTarget *target = &version->sink->target;
    if (version->kind == SINK_ROWS) {
        compare_exploded(row, cells);
        return;
    }
    unsigned depth = target->infer->depth;
    const char *rest_text = cells[target->column_count - 1];
    json_t *rest = rest_text ? read_json(rest_text, row) : NULL, *result = rest ? json_deep_copy(rest) : json_object();
    json_t *sent = json_deep_copy(event->body);
    check(result && sent);
    if (rest && (!json_is_object(rest) || json_object_size(rest) == 0)) fail("event %zu: the rest is %s", row->event, rest_text);
    sum.with_rest += rest != NULL;
    leave_out(sent, "", depth, target->infer);
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (!cells[i] || column->type != COLUMN_PATH) continue;
        const json_t *keys = json_object_get(world->sent.paths, column->path);
        if (!keys) fail("column \"%s\" is of the path %s, which no event has", column->name, column->path);
        set_at(result, keys, read_cell(column, cells[i], get_at(sent, keys), row), row);
    }
    check_places(sent, "", depth, target, cells, rest, row);
    strip(sent, depth);
    strip(result, depth);
    if (!is_equal(sent, result)) {
        char *a = json_dumps(sent, JSON_SORT_KEYS), *b = json_dumps(result, JSON_SORT_KEYS);
        fail("event %zu was\n%s\nand the row of %s gives\n%s", row->event, a, target->table.table_id, b);
    }
    json_decref(rest);
    json_decref(result);
    json_decref(sent);
}

/* null, an empty object above the depth, and a value that is left out ask for no column. */
static bool asks_for_column(const json_t *object, unsigned levels) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        if (json_is_null(value)) continue;
        if (!json_is_object(value) || levels == 1 || (json_object_size(value) > 0 && asks_for_column(value, levels - 1))) return true;
    }
    return false;
}

bool events_has_rest(const SentRow *row, const char *rest_text) {
    const SinkTarget *target = &world->sent.versions[row->version].sink->target;
    if (!rest_text) return false;
    json_t *rest = read_json(rest_text, row);
    bool has = asks_for_column(rest, target->infer->depth);
    json_decref(rest);
    return has;
}
