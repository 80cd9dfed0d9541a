#include "sinks/column_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/inferred_type.h"

static void add(ColumnMap *map, InferredColumn take_column) {
    array_reserve(map->items, map->count, map->capacity);
    map->items[map->count++] = take_column;
}

bool column_map_add(ColumnMap *map, const char *path, const char *variant, const char *name, const char *type) {
    InferredColumn column = {.is_variant = *variant != 0};
    if (!inferred_type_named(type, &column.type) || (column.is_variant && strcmp(variant, type) != 0)) return false;
    if (!*path || !*name || strlen(name) >= COLUMN_NAME_SIZE || !text_is_plain(span_of(name)) || !text_is_utf8(span_of(path))) return false;
    column.path = text_copy(path);
    column.name = text_copy(name);
    add(map, column);
    map->known = map->count;
    return true;
}

void column_map_deinit(ColumnMap *map) {
    inferred_columns_free(map->items, map->count);
    free(map->states);
    *map = (ColumnMap){0};
}

const char *column_map_variant(const InferredColumn *column) {
    return column->is_variant ? data_type_name(column->type) : "";
}

static const InferredColumn *find(const ColumnMap *map, const InferredColumn *wanted) {
    for (size_t i = 0; i < map->count; i++)
        if (inferred_column_same(&map->items[i], wanted)) return &map->items[i];
    return NULL;
}

typedef struct NameSearch {
    const ColumnMap *map;
    const ColumnsJob *job;
    const FoundTable *found;
    const TypeRules *rules;
    const Column *column; /* that is to be named */
} NameSearch;

static const FoundColumn *find_found(const FoundTable *found, const char *name) {
    for (size_t i = 0; i < found->count; i++)
        if (span_equal_nocase(span_of(found->columns[i].name), span_of(name))) return &found->columns[i];
    return NULL;
}

/* A compatible type may refuse values, as jsonb a text with U+0000; a field's column must not. */
static bool holds_all(const NameSearch *names, const FoundColumn *there) {
    const TypeRules *rules = names->rules;
    if (names->column->data_type == DATA_JSON) return strcmp(rules->type_of(names->column), there->type) == 0;
    return (rules->holds_all ? rules->holds_all : rules->compatible)(names->job->target, names->column, there);
}

static bool is_taken(void *context, const char *name) {
    const NameSearch *names = context;
    const SinkTarget *target = names->job->target;
    for (size_t i = 0; i < names->map->count; i++)
        if (span_equal_nocase(span_of(names->map->items[i].name), span_of(name))) return true;
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (!column_is_inferred(column) && span_equal_nocase(span_of(column->name), span_of(name))) return true;
    }
    const FoundColumn *there = find_found(names->found, name);
    return there && (strcmp(there->name, name) != 0 || there->is_generated || there->is_primary_key || !holds_all(names, there));
}

/* Does the target have the column already? An import makes it again when the table lacks it. */
static bool is_of_target(const SinkTarget *target, const InferredColumn *item) {
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        if (column_is_inferred(column) && strcmp(column->name, item->name) == 0) return true;
    }
    return false;
}

/* Its name, a function of the field and of what has a name; false: its field has no column, so
 * there is nothing to differ from. */
static bool name_of(const NameSearch *names, const InferredColumn *wanted, char ret_name[static COLUMN_NAME_SIZE]) {
    const InferredColumn field = {.path = wanted->path};
    if (!wanted->is_variant) {
        column_name_of_field(span_of(wanted->path), is_taken, (void *)(uintptr_t)names, ret_name);
        return true;
    }
    const InferredColumn *of = find(names->map, &field);
    if (of) column_name_of_variant(of->name, span_of(wanted->path), wanted->type, is_taken, (void *)(uintptr_t)names, ret_name);
    return of != NULL;
}

void column_map_extend(ColumnMap *map, const ColumnsJob *job, const FoundTable *found, const TypeRules *rules, size_t room) {
    size_t used = 0;
    check(!map->states);
    map->known = map->count;
    map->states = calloc(map->count + job->wanted_count + 1, sizeof *map->states);
    check(map->states);
    for (size_t i = 0; i < map->count; i++) {
        bool there = find_found(found, map->items[i].name) != NULL;
        map->states[i] = there || is_of_target(job->target, &map->items[i]) ? COLUMN_MAP_THERE : COLUMN_MAP_GONE;
        used += map->states[i] == COLUMN_MAP_THERE;
    }
    for (size_t i = 0; i < job->wanted_count; i++) {
        const InferredColumn *wanted = &job->wanted[i], *known = find(map, wanted);
        size_t at = known ? (size_t)(known - map->items) : map->count;
        if ((known && map->states[at] != COLUMN_MAP_GONE) || used >= job->most || room == 0) continue;
        if (!known) {
            Column column = {
                .type = COLUMN_PATH, .data_type = wanted->type, .inferred = wanted->is_variant ? COLUMN_VARIANT : COLUMN_INFERRED};
            NameSearch names = {.map = map, .job = job, .found = found, .rules = rules, .column = &column};
            char name[COLUMN_NAME_SIZE];
            if (!name_of(&names, wanted, name)) continue;
            InferredColumn named = inferred_column_copy(wanted);
            free(named.name);
            named.name = text_copy(name);
            add(map, named);
        }
        map->states[at] = find_found(found, map->items[at].name) ? COLUMN_MAP_THERE : COLUMN_MAP_ADDS;
        room -= map->states[at] == COLUMN_MAP_ADDS;
        used++;
    }
}

void column_map_put_clears(Buffer *out, const ColumnMap *map, const FoundTable *found, const SinkTarget *target) {
    for (size_t i = 0; i < map->count; i++) {
        const char *name = map->items[i].name;
        const FoundColumn *there = find_found(found, name);
        bool is_own = false;
        for (size_t k = 0; k < target->column_count && !is_own; k++)
            is_own = span_equal_nocase(span_of(target->columns[k].name), span_of(name));
        if (!there || is_own || there->is_generated || there->is_primary_key) continue;
        buffer_append_text(out, ", ");
        sql_put_identifier(out, there->name);
        buffer_append_text(out, " = NULL");
    }
}

void column_map_answer(const ColumnMap *map, ColumnsJob *job) {
    check(map->states);
    job->columns = calloc(job->wanted_count + 1, sizeof *job->columns);
    check(job->columns);
    job->count = 0;
    for (size_t i = 0; i < job->wanted_count; i++) {
        const InferredColumn *column = find(map, &job->wanted[i]);
        if (column && map->states[column - map->items] != COLUMN_MAP_GONE) job->columns[job->count++] = inferred_column_copy(column);
    }
}
