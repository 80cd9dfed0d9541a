#include "gateway/control/nameless.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "base/keyed_hash.h"
#include "base/text.h"

static const struct {
    const char *name, *words;
} reasons[] = {
    [NAMELESS_NO_ROOM] = {"noRoom", "its table has as many columns as maxColumns, or the destination, allows"},
    [NAMELESS_TAKEN] = {"taken", "its name in the map of columns is the name of another column of the sink"},
    [NAMELESS_MASKED] = {"masked", "its column would hold a masked value"},
};

static uint64_t hash_of(const InferredColumn *column) {
    return keyed_hash(hash_key_of_process(), column->path, strlen(column->path));
}

/* nameless->count: none. */
static size_t find(const Nameless *nameless, const InferredColumn *column) {
    uint64_t hash = hash_of(column);
    size_t i = 0;
    for (; i < nameless->count; i++) {
        const NamelessField *field = &nameless->fields[i];
        if (field->hash != hash || field->is_variant != column->is_variant) continue;
        if (column->is_variant && field->type != column->type) continue;
        if (strcmp(field->path, column->path) == 0) break;
    }
    return i;
}

void nameless_deinit(Nameless *nameless) {
    for (size_t i = 0; i < nameless->count; i++) free(nameless->fields[i].path);
    free(nameless->fields);
    *nameless = (Nameless){0};
}

bool nameless_has(const Nameless *nameless, const InferredColumn *column, usec_t now) {
    size_t at = find(nameless, column);
    return at < nameless->count && now < nameless->fields[at].asked + NAMELESS_FOR;
}

bool nameless_add(Nameless *nameless, const InferredColumn *column, NamelessWhy why, usec_t now) {
    size_t at = find(nameless, column);
    if (at < nameless->count) {
        NamelessField *known = &nameless->fields[at];
        bool is_news = known->why != why;
        known->why = why;
        known->asked = now;
        return is_news;
    }
    if (nameless->count == NAMELESS_MAX) {
        at = nameless->oldest;
        nameless->oldest = (at + 1) % NAMELESS_MAX;
        free(nameless->fields[at].path);
    } else {
        array_reserve(nameless->fields, nameless->count, nameless->room);
        nameless->count++;
    }
    nameless->fields[at] = (NamelessField){.path = text_copy(column->path),
                                           .hash = hash_of(column),
                                           .is_variant = column->is_variant,
                                           .type = column->type,
                                           .why = why,
                                           .asked = now};
    return true;
}

void nameless_remove(Nameless *nameless, const InferredColumn *column) {
    size_t at = find(nameless, column);
    if (at == nameless->count) return;
    free(nameless->fields[at].path);
    nameless->count--;
    memmove(&nameless->fields[at], &nameless->fields[at + 1], (nameless->count - at) * sizeof *nameless->fields);
    nameless->oldest = 0;
}

const char *nameless_words(NamelessWhy why) {
    return reasons[why].words;
}

json_t *nameless_json(const Nameless *nameless) {
    json_t *first = json_array();
    check(first);
    for (size_t i = 0; i < nameless->count && i < NAMELESS_SHOWN; i++) {
        const NamelessField *field = &nameless->fields[i];
        json_t *one = json_pack("{s:s, s:s}", "path", field->path, "why", reasons[field->why].name);
        check(one);
        if (field->is_variant) check(json_object_set_new(one, "variant", json_string(data_type_name(field->type))) == 0);
        check(json_array_append_new(first, one) == 0);
    }
    json_t *json = json_pack("{s:I, s:o}", "count", (json_int_t)nameless->count, "first", first);
    check(json);
    return json;
}
