#include "sinks/column_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/inferred_type.h"

static bool type_named(const char *name, DataType *ret_type) {
    for (unsigned type = 0; type < DATA_TYPE_COUNT; type++) {
        if (strcmp(data_type_name(type), name) != 0) continue;
        *ret_type = (DataType)type;
        return inferred_type_valid((DataType)type);
    }
    return false;
}

static void add(ColumnMap *map, InferredColumn take_column) {
    array_reserve(map->items, map->count, map->capacity);
    map->items[map->count++] = take_column;
}

bool column_map_add(ColumnMap *map, const char *path, const char *variant, const char *name, const char *type) {
    InferredColumn column = {.is_variant = *variant != 0};
    if (!type_named(type, &column.type) || (column.is_variant && strcmp(variant, type) != 0)) return false;
    if (!*path || !*name || strlen(name) >= COLUMN_NAME_SIZE || !text_is_plain(span_of(name)) || !text_is_utf8(span_of(path))) return false;
    column.path = text_copy(path);
    column.name = text_copy(name);
    add(map, column);
    map->known = map->count;
    return true;
}

void column_map_deinit(ColumnMap *map) {
    inferred_columns_free(map->items, map->count);
    free(map->there);
    *map = (ColumnMap){0};
}

const char *column_map_variant(const InferredColumn *column) {
    return column->is_variant ? data_type_name(column->type) : "";
}

/* A field has one column, and a variant for each type. */
static bool is_same(const InferredColumn *a, const InferredColumn *b) {
    return a->is_variant == b->is_variant && (!a->is_variant || a->type == b->type) && strcmp(a->path, b->path) == 0;
}

static const InferredColumn *find(const ColumnMap *map, const InferredColumn *wanted) {
    for (size_t i = 0; i < map->count; i++)
        if (is_same(&map->items[i], wanted)) return &map->items[i];
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

static bool is_taken(void *context, const char *name) {
    const NameSearch *names = context;
    const SinkTarget *target = names->job->target;
    for (size_t i = 0; i < names->map->count; i++)
        if (span_equal_nocase(span_of(names->map->items[i].name), span_of(name))) return true;
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        bool is_declared = column->inferred == COLUMN_DECLARED || column->inferred == COLUMN_BASE;
        if (is_declared && span_equal_nocase(span_of(column->name), span_of(name))) return true;
    }
    const FoundColumn *there = find_found(names->found, name);
    return there && (strcmp(there->name, name) != 0 || there->is_generated || there->is_primary_key ||
                     !names->rules->compatible(target, names->column, there->type));
}

void column_map_extend(ColumnMap *map, const ColumnsJob *job, const FoundTable *found, const TypeRules *rules, size_t room) {
    map->known = map->count;
    map->there = calloc(job->wanted_count + 1, sizeof *map->there);
    check(map->there);
    for (size_t i = 0; i < job->wanted_count && map->count < job->most && room > 0; i++) {
        const InferredColumn *wanted = &job->wanted[i];
        if (find(map, wanted)) continue;
        Column column = {.type = COLUMN_PATH, .data_type = wanted->type};
        NameSearch names = {.map = map, .job = job, .found = found, .rules = rules, .column = &column};
        char name[COLUMN_NAME_SIZE];
        if (wanted->is_variant) {
            const InferredColumn field = {.path = wanted->path};
            const InferredColumn *of = find(map, &field);
            if (!of) continue; /* its field has no column: there is nothing to differ from */
            column_name_of_variant(of->name, span_of(wanted->path), wanted->type, is_taken, &names, name);
        } else {
            column_name_of_field(span_of(wanted->path), is_taken, &names, name);
        }
        bool there = find_found(found, name) != NULL;
        map->there[map->count - map->known] = there;
        room -= !there;
        InferredColumn named = inferred_column_copy(wanted);
        free(named.name);
        named.name = text_copy(name);
        add(map, named);
    }
}

void column_map_answer(const ColumnMap *map, ColumnsJob *job) {
    job->columns = calloc(job->wanted_count + 1, sizeof *job->columns);
    check(job->columns);
    job->count = 0;
    for (size_t i = 0; i < job->wanted_count; i++) {
        const InferredColumn *column = find(map, &job->wanted[i]);
        if (column) job->columns[job->count++] = inferred_column_copy(column);
    }
}
