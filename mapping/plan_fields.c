#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "config/column_name.h"
#include "config/inference.h"
#include "mapping/json_text.h"
#include "mapping/plan_parts.h"

void plan_fields_free(PlanFields *fields) {
    if (!fields) return;
    free(fields->fields);
    free(fields->places);
    free(fields->places_sorted);
    free(fields->columns);
    free(fields->loose);
    free(fields);
}

/* While the fields of a plan are found. All by slot; SLOT_NONE where there is none. */
typedef struct Find {
    Plan *plan;
    uint32_t *field_paths; /* the slot of the same steps, all of them quoted, where they are no more than the greatest depth */
    uint32_t *parents;     /* of such a slot: that of one step less */
    uint32_t slot_count, slot_room;
    uint32_t depth_max;
} Find;

#define SLOT_NONE UINT32_MAX

static void note_slot(Find *find, uint32_t slot) {
    while (find->slot_count <= slot) {
        if (find->slot_count == find->slot_room) {
            find->slot_room = find->slot_room ? 2 * find->slot_room : 64;
            find->field_paths = reallocarray(find->field_paths, find->slot_room, sizeof *find->field_paths);
            find->parents = reallocarray(find->parents, find->slot_room, sizeof *find->parents);
            check(find->field_paths && find->parents);
        }
        find->field_paths[find->slot_count] = SLOT_NONE;
        find->parents[find->slot_count++] = SLOT_NONE;
    }
}

/* Adds the slots of the steps of `slot`, one by one, with all of them quoted. */
static int add_steps(Find *find, uint32_t slot, Error *error) {
    PathSet *paths = find->plan->paths;
    size_t steps = pathset_step_count(paths, slot);
    _cleanup_(buffer_deinit) Buffer path = {0};
    uint32_t parent = SLOT_NONE, at;
    note_slot(find, slot);
    for (size_t level = 0; level <= steps && level <= find->depth_max; level++) {
        if (level > 0) {
            buffer_append_byte(&path, '[');
            json_quote(&path, pathset_step(paths, slot, level - 1));
            buffer_append_byte(&path, ']');
        }
        if (path.size > PATH_BYTES_MAX) return 0; /* no field has such a path */
        int r = pathset_add(paths, level > 0 ? buffer_span(&path) : SPAN("."), &at, error);
        if (r < 0) return r;
        note_slot(find, at);
        find->field_paths[at] = at;
        find->parents[at] = parent;
        parent = at;
        if (level == steps) find->field_paths[slot] = at;
    }
    return 0;
}

/* Of the inference of a sink. `what` is its field. */
static int add_path(Find *find, const Sink *sink, const char *what, const char *path, uint32_t *ret_slot, Error *error) {
    PathSet *paths = find->plan->paths;
    int r = pathset_add(paths, span_of(path), ret_slot, error);
    if (r == 0 && pathset_step_count(paths, *ret_slot) == 0) r = error_set(error, -EINVAL, "is the whole body, which is not a field");
    if (r == 0 && pathset_step_count(paths, *ret_slot) > sink->target.infer->depth)
        r = error_set(error, -EINVAL, "has more steps than the depth (%u): deeper values are part of a JSON value",
                      sink->target.infer->depth);
    if (r == 0) r = add_steps(find, *ret_slot, error);
    if (r == 0 && find->field_paths[*ret_slot] == SLOT_NONE) r = error_set(error, -EINVAL, "is too long");
    if (r < 0) (void)error_prefix(error, "sink \"%s\", %s, path \"%.200s\"", sink->sink_id, what, path);
    return r;
}

/* While the fields of one sink are listed; by slot. */
typedef struct Listing {
    uint32_t *fields; /* 1 + index; 0: none */
    bool *declared, *excluded;
    const TypeHint **hints;
} Listing;

static void list_columns(const Find *find, const PlanSink *sink, Listing *listing) {
    for (uint32_t i = 0; i < sink->column_count; i++) {
        const Column *column = sink->columns[i].column;
        if (column->type != COLUMN_PATH || column->inferred != COLUMN_DECLARED) continue;
        uint32_t slot = find->field_paths[sink->columns[i].slot];
        if (slot != SLOT_NONE) listing->declared[slot] = true;
    }
}

static int list_options(Find *find, const Sink *sink, uint32_t *slots, Error *error) {
    const Inference *infer = sink->target.infer;
    int r = 0;
    for (size_t i = 0; i < infer->hint_count && r == 0; i++) r = add_path(find, sink, "typeHints", infer->hints[i].path, slots++, error);
    for (size_t i = 0; i < infer->exclude_count && r == 0; i++) r = add_path(find, sink, "exclude", infer->exclude[i], slots++, error);
    return r;
}

static uint32_t add_place(PlanFields *fields, size_t *room, PlanPlace place) {
    if (fields->place_count == *room) {
        *room = *room ? 2 * *room : 8;
        fields->places = reallocarray(fields->places, *room, sizeof *fields->places);
        check(fields->places);
    }
    fields->places[fields->place_count] = place;
    return fields->place_count++;
}

/* The fields at one level: those whose parents are places. */
static void list_level(const Find *find, PlanFields *fields, Listing *listing, uint32_t level, size_t *place_room) {
    PathSet *paths = find->plan->paths;
    for (uint32_t slot = 0; slot < find->slot_count; slot++) {
        if (find->field_paths[slot] != slot || pathset_step_count(paths, slot) != level) continue;
        PlanField field = {.slot = slot, .place = PATH_NONE};
        if (level > 1) {
            uint32_t parent = listing->fields[find->parents[slot]];
            if (parent == 0 || fields->fields[parent - 1].place == PATH_NONE) continue;
            field.parent = fields->fields[parent - 1].place;
        }
        field.is_declared = listing->declared[slot];
        field.is_excluded = listing->excluded[slot];
        if (listing->hints[slot]) {
            field.is_hinted = true;
            field.hint = listing->hints[slot]->type;
        }
        if (level < fields->depth && !field.is_declared && !field.is_excluded) {
            field.place = add_place(fields, place_room, (PlanPlace){.field = fields->field_count, .parent = field.parent, .level = level});
            pathset_watch(paths, slot);
        }
        fields->fields[fields->field_count++] = field;
        listing->fields[slot] = fields->field_count;
    }
}

static PlanOp field_op(const PlanField *field, DataType type) {
    if (field->column_count != 1) return PLAN_FIELD_OTHER;
    switch (type) {
    case DATA_TEXT: return PLAN_FIELD_TEXT;
    case DATA_INTEGER: return PLAN_FIELD_INTEGER;
    case DATA_DECIMAL: return PLAN_FIELD_DECIMAL;
    case DATA_BOOLEAN: return PLAN_FIELD_BOOLEAN;
    case DATA_JSON: return PLAN_FIELD_JSON;
    default: return PLAN_FIELD_OTHER;
    }
}

/* Gives the columns that were made to their fields: `variants` is what a column is now. */
static void assign_columns(const Find *find, PlanSink *sink, const Listing *listing, bool variants) {
    PlanFields *fields = sink->fields;
    for (uint32_t i = 0; i < sink->column_count; i++) {
        PlanColumn *compiled = &sink->columns[i];
        const Column *column = compiled->column;
        if (column->inferred != (variants ? COLUMN_VARIANT : COLUMN_INFERRED)) continue;
        PlanField *field = &fields->fields[listing->fields[find->field_paths[compiled->slot]] - 1];
        compiled->slot = field->slot;
        compiled->field = (uint32_t)(field - fields->fields);
        if (!variants) field->has_own = true;
        fields->columns[field->column_first + field->column_count++] = i;
    }
}

/* Each column that was made has its field, which is neither declared nor excluded: a definition
 * that says something else is not compiled. */
static int count_columns(const Find *find, PlanSink *sink, const Listing *listing, Error *error) {
    PlanFields *fields = sink->fields;
    uint32_t *counts = calloc(fields->field_count + 1, sizeof *counts);
    check(counts);
    int r = 0;
    for (uint32_t i = 0; i < sink->column_count && r == 0; i++) {
        const Column *column = sink->columns[i].column;
        if (!column_is_inferred(column)) continue;
        uint32_t slot = column->type == COLUMN_PATH ? find->field_paths[sink->columns[i].slot] : SLOT_NONE;
        uint32_t number = slot == SLOT_NONE ? 0 : listing->fields[slot];
        if (number == 0 || fields->fields[number - 1].is_declared || fields->fields[number - 1].is_excluded)
            r = error_set(error, -EINVAL, "sink \"%s\", column \"%s\": it is inferred, but its path is not a field that can be inferred",
                          sink->sink->sink_id, column->name);
        else
            counts[number - 1]++;
    }
    for (uint32_t i = 0; i < fields->field_count && r == 0; i++) {
        fields->fields[i].column_first = fields->column_count;
        fields->column_count += counts[i];
    }
    free(counts);
    return r;
}

/* `slots`: of the hints, then of the excluded paths. */
static int list_fields(const Find *find, PlanSink *sink, const uint32_t *slots, Error *error) {
    PlanFields *fields = sink->fields;
    const Inference *infer = sink->sink->target.infer;
    size_t count = (size_t)find->slot_count + 1, place_room = 0;
    Listing listing = {.fields = calloc(count, sizeof *listing.fields),
                       .declared = calloc(count, sizeof *listing.declared),
                       .excluded = calloc(count, sizeof *listing.excluded),
                       .hints = calloc(count, sizeof *listing.hints)};
    fields->fields = calloc(count, sizeof *fields->fields);
    fields->columns = calloc(sink->column_count, sizeof *fields->columns);
    check(listing.fields && listing.declared && listing.excluded && listing.hints && fields->fields && fields->columns);
    fields->depth = infer->depth;
    fields->room = inference_room(&sink->sink->target);
    list_columns(find, sink, &listing);
    for (size_t i = 0; i < infer->hint_count; i++) listing.hints[find->field_paths[*slots++]] = &infer->hints[i];
    for (size_t i = 0; i < infer->exclude_count; i++) listing.excluded[find->field_paths[*slots++]] = true;
    (void)add_place(fields, &place_room, (PlanPlace){.field = PATH_NONE});
    pathset_watch(find->plan->paths, fields->root_slot);
    for (uint32_t level = 1; level <= fields->depth; level++) list_level(find, fields, &listing, level, &place_room);
    int r = count_columns(find, sink, &listing, error);
    if (r == 0) {
        assign_columns(find, sink, &listing, false);
        assign_columns(find, sink, &listing, true);
        for (uint32_t i = 0; i < sink->column_count; i++) {
            PlanColumn *compiled = &sink->columns[i];
            if (compiled->op == PLAN_FIELD_OTHER) compiled->op = field_op(&fields->fields[compiled->field], compiled->column->data_type);
        }
    }
    free(listing.fields);
    free(listing.declared);
    free(listing.excluded);
    free(listing.hints);
    return r;
}

int plan_fields_add(Plan *plan, Error *error) {
    Find find = {.plan = plan};
    size_t option_count = 0;
    for (size_t i = 0; i < plan->sink_count; i++) {
        const Inference *infer = plan->sinks[i].sink->target.infer;
        if (!infer) continue;
        option_count += infer->hint_count + infer->exclude_count;
        if (infer->depth > find.depth_max) find.depth_max = infer->depth;
    }
    if (find.depth_max == 0) return 0;
    uint32_t *slots = calloc(option_count + 1, sizeof *slots), *at = slots;
    check(slots);
    int r = 0;
    for (uint32_t slot = 0, count = plan->paths->slot_count; slot < count && r == 0; slot++) r = add_steps(&find, slot, error);
    for (size_t i = 0; i < plan->sink_count && r == 0; i++) {
        PlanSink *sink = &plan->sinks[i];
        if (!sink->fields) continue;
        r = pathset_add(plan->paths, SPAN("."), &sink->fields->root_slot, error);
        if (r == 0) r = list_options(&find, sink->sink, at, error);
        at += sink->sink->target.infer->hint_count + sink->sink->target.infer->exclude_count;
    }
    at = slots;
    for (size_t i = 0; i < plan->sink_count && r == 0; i++) {
        PlanSink *sink = &plan->sinks[i];
        if (!sink->fields) continue;
        r = list_fields(&find, sink, at, error);
        at += sink->sink->target.infer->hint_count + sink->sink->target.infer->exclude_count;
    }
    free(slots);
    free(find.field_paths);
    free(find.parents);
    return r;
}

static int compare_places(const void *a, const void *b, void *context) {
    const PlanPlace *places = context;
    uint32_t x = places[*(const uint32_t *)a].node, y = places[*(const uint32_t *)b].node;
    return x < y ? -1 : x > y;
}

/* No column looks at the value, or it is an object that a column leaves to the places inside. */
static bool is_loose(const PlanField *field) {
    return !field->is_declared && !field->is_excluded && field->column_count == 0;
}

void plan_fields_finish(Plan *plan) {
    for (size_t i = 0; i < plan->sink_count; i++) {
        PlanFields *fields = plan->sinks[i].fields;
        if (!fields) continue;
        fields->places_sorted = calloc(fields->place_count, sizeof *fields->places_sorted);
        fields->loose = calloc(fields->field_count + 1, sizeof *fields->loose);
        check(fields->places_sorted && fields->loose);
        for (uint32_t k = 0; k < fields->place_count; k++) {
            PlanPlace *place = &fields->places[k];
            place->node = pathset_node(plan->paths, place->field == PATH_NONE ? fields->root_slot : fields->fields[place->field].slot);
            fields->places_sorted[k] = k;
        }
        qsort_r(fields->places_sorted, fields->place_count, sizeof *fields->places_sorted, compare_places, fields->places);
        for (uint32_t k = 0; k < fields->field_count; k++)
            if (is_loose(&fields->fields[k])) fields->loose[fields->loose_count++] = k;
    }
}
