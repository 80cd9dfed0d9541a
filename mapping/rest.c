#include "mapping/rest.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "base/keyed_hash.h"
#include "config/column_name.h"
#include "config/inference.h"
#include "config/inferred_type.h"
#include "mapping/field_value.h"
#include "mapping/json_text.h"

void rest_deinit(Rest *rest) {
    free(rest->items);
    free(rest->order);
    free(rest->misfits);
    free(rest->found);
    free(rest->chosen_in);
    free(rest->chosen);
    arena_deinit(&rest->arena);
    buffer_deinit(&rest->json);
    buffer_deinit(&rest->path);
    buffer_deinit(&rest->scratch);
    *rest = (Rest){0};
}

void rest_trim(Rest *rest, Scanner *scanner, size_t bytes) {
    if (scanner->note_capacity * sizeof *scanner->notes > bytes) {
        free(scanner->notes);
        scanner->notes = NULL;
        scanner->note_count = scanner->note_capacity = 0;
    }
    if (rest->item_room * sizeof *rest->items > bytes) {
        free(rest->items);
        rest->items = NULL;
        rest->item_room = 0;
    }
    if (rest->order_room * sizeof *rest->order > bytes) {
        free(rest->order);
        rest->order = NULL;
        rest->order_room = 0;
    }
    if (rest->json.capacity > bytes) buffer_deinit(&rest->json);
    if (rest->scratch.capacity > bytes) buffer_deinit(&rest->scratch);
}

void rest_begin_event(Rest *rest) {
    rest->found_count = 0;
    arena_reset(&rest->arena);
}

void rest_begin_row(Rest *rest, const PlanFields *fields) {
    rest->row++;
    rest->found_before = rest->found_count;
    rest->misfit_count = 0;
    if (rest->chosen_room >= fields->field_count) return;
    rest->chosen_room = fields->field_count;
    free(rest->chosen_in);
    free(rest->chosen);
    rest->chosen_in = calloc(rest->chosen_room, sizeof *rest->chosen_in);
    rest->chosen = calloc(rest->chosen_room, sizeof *rest->chosen);
    check(rest->chosen_in && rest->chosen);
}

void rest_misfit(Rest *rest, uint32_t field) {
    array_reserve(rest->misfits, rest->misfit_count, rest->misfit_room);
    rest->misfits[rest->misfit_count++] = field;
}

uint32_t rest_column(Rest *rest, const PlanSink *sink, uint32_t number, const ScanValue *value) {
    check_debug(number < sink->fields->field_count && number < rest->chosen_room);
    if (rest->chosen_in[number] == rest->row) return rest->chosen[number];
    const PlanField *field = &sink->fields->fields[number];
    const uint32_t *columns = sink->fields->columns + field->column_first;
    uint32_t chosen = REST_NONE;
    for (uint32_t i = 0; i < field->column_count && chosen == REST_NONE; i++)
        if (field_value_fits(value, sink->columns[columns[i]].column->data_type, &rest->scratch)) chosen = columns[i];
    if (chosen == REST_NONE) rest_misfit(rest, number);
    rest->chosen_in[number] = rest->row;
    rest->chosen[number] = chosen;
    return chosen;
}

/* Does the value of a field without columns go to the rest? One that is an object leaves it to its
 * members. */
static bool is_of_rest(const PlanField *field, const ScanValue *value) {
    if (!value) return false;
    return field->place == PATH_NONE || value->kind != SCAN_OBJECT || field_value_is_empty_object(value);
}

bool rest_loose_is_empty(const Scanner *scanner, const PlanFields *fields) {
    for (uint32_t i = 0; i < fields->loose_count; i++) {
        const PlanField *field = &fields->fields[fields->loose[i]];
        if (is_of_rest(field, scanner_value(scanner, field->slot))) return false;
    }
    return true;
}

/* -- what there is, as a tree -- */

/* What does not change while it is made. */
typedef struct Make {
    Rest *rest;
    const Scanner *scanner;
    const PathSet *paths;
    const PlanFields *fields;
    const char *end;
    uint32_t sink;
    size_t found; /* of this sink */
} Make;

static uint32_t add_item(Rest *rest, RestItem item) {
    check(rest->item_count < REST_NONE);
    if (item.is_step) item.is_odd = item.key.size > 0 && memchr(item.key.data, 0, item.key.size);
    item.first = item.last = item.next = REST_NONE;
    array_reserve(rest->items, rest->item_count, rest->item_room);
    rest->items[rest->item_count] = item;
    return (uint32_t)rest->item_count++;
}

/* It becomes the last one of its object, and the object of its own, if they are not there yet. The
 * body, item 0, always is. */
static void link_item(Rest *rest, uint32_t number) {
    while (number != 0 && !rest->items[number].is_linked) {
        RestItem *parent = &rest->items[rest->items[number].parent];
        rest->items[number].is_linked = true;
        if (parent->first == REST_NONE)
            parent->first = number;
        else
            rest->items[parent->last].next = number;
        parent->last = number;
        number = rest->items[number].parent;
    }
}

/* The places of the sink are the first items. */
static void add_places(const Make *make) {
    for (uint32_t i = 0; i < make->fields->place_count; i++) {
        const PlanPlace *place = &make->fields->places[i];
        RestItem item = {.parent = place->parent, .field = place->field, .level = (uint8_t)place->level, .is_step = true};
        if (place->level > 0) item.key = pathset_step(make->paths, make->fields->fields[place->field].slot, place->level - 1);
        (void)add_item(make->rest, item);
    }
}

static uint32_t find_place(const PlanFields *fields, uint32_t node) {
    uint32_t first = 0, count = fields->place_count;
    while (count > 0) {
        uint32_t middle = first + count / 2, number = fields->places_sorted[middle];
        if (fields->places[number].node == node) return number;
        if (fields->places[number].node < node) {
            first = middle + 1;
            count -= count / 2 + 1;
        } else {
            count /= 2;
        }
    }
    return REST_NONE;
}

static uint64_t hash_of(const HashKey *key, const RestItem *item) {
    return keyed_hash_join(key, keyed_hash(key, item->meant.data, item->meant.size), (uint64_t)item->is_odd << 32 | item->parent);
}

static bool is_same_key(const RestItem *a, const RestItem *b) {
    return a->parent == b->parent && a->is_odd == b->is_odd && span_equal(a->meant, b->meant);
}

/* Equal keys of one object stand together, in the order of the event. */
static int compare_order(const void *a, const void *b, void *context) {
    const RestOrder *x = a, *y = b;
    const RestItem *items = context, *one = &items[x->item], *other = &items[y->item];
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    if (!is_same_key(one, other)) {
        if (one->parent != other->parent) return one->parent < other->parent ? -1 : 1;
        if (one->is_odd != other->is_odd) return one->is_odd ? 1 : -1;
        if (one->meant.size != other->meant.size) return one->meant.size < other->meant.size ? -1 : 1;
        return memcmp(one->meant.data, other->meant.data, one->meant.size);
    }
    return x->item < y->item ? -1 : x->item > y->item;
}

#define FEW_ITEMS 8 /* are compared with each other */

/* Of those from `first` on. */
static void mark_repeated(Rest *rest, size_t first) {
    size_t count = rest->item_count - first;
    if (count <= FEW_ITEMS) {
        for (size_t i = first + 1; i < rest->item_count; i++)
            for (size_t k = first; k < i && !rest->items[i].is_repeated; k++)
                rest->items[i].is_repeated = is_same_key(&rest->items[k], &rest->items[i]);
        return;
    }
    if (rest->order_room < count) {
        free(rest->order);
        rest->order_room = 2 * count;
        rest->order = calloc(rest->order_room, sizeof *rest->order);
        check(rest->order);
    }
    const HashKey *key = hash_key_of_process();
    for (size_t i = 0; i < count; i++)
        rest->order[i] = (RestOrder){.hash = hash_of(key, &rest->items[first + i]), .item = (uint32_t)(first + i)};
    qsort_r(rest->order, count, sizeof *rest->order, compare_order, rest->items);
    for (size_t i = 1; i < count; i++)
        rest->items[rest->order[i].item].is_repeated = is_same_key(&rest->items[rest->order[i - 1].item],
                                                                   &rest->items[rest->order[i].item]);
}

/* A member that no path names. */
static void add_unknown(const Make *make, uint32_t parent, uint8_t level, Span key, Span value) {
    Rest *rest = make->rest;
    RestItem item = {.key = key, .meant = key, .value = value, .parent = parent, .field = PATH_NONE, .level = level};
    if (key.size > 0 && memchr(key.data, '\\', key.size)) {
        buffer_clear(&rest->scratch);
        item.is_odd = json_unescape(&rest->scratch, key) != 0;
        if (!item.is_odd) {
            item.meant = (Span){arena_copy(&rest->arena, buffer_span(&rest->scratch)), rest->scratch.size};
            item.is_odd = memchr(item.meant.data, 0, item.meant.size) != NULL;
        }
    }
    link_item(rest, add_item(rest, item));
}

/* Is the value an object whose members are fields? */
static bool is_open(const Make *make, const RestItem *item) {
    if (item->field != PATH_NONE || item->level >= make->fields->depth || !item->value.data || *item->value.data != '{') return false;
    ScanValue value = {.text = item->value, .kind = SCAN_OBJECT};
    return !field_value_is_empty_object(&value);
}

static const char *pass_space(const char *p) {
    while (text_is_space(*p)) p++;
    return p;
}

/* Its members, in the place of its value. */
static void open_item(const Make *make, uint32_t number) {
    RestItem *item = &make->rest->items[number];
    uint8_t level = (uint8_t)(item->level + 1);
    const char *p = pass_space(item->value.data + 1);
    item->value = (Span){0};
    while (*p != '}') {
        const char *key_end = scan_value_end(p, make->end) - 1, *value = pass_space(pass_space(key_end + 1) + 1);
        const char *stop = scan_value_end(value, make->end);
        add_unknown(make, number, level, (Span){p + 1, (size_t)(key_end - p - 1)}, (Span){value, (size_t)(stop - value)});
        p = pass_space(stop);
        if (*p == ',') p = pass_space(p + 1);
    }
}

static void add_notes(const Make *make) {
    const Scanner *scanner = make->scanner;
    for (size_t i = 0; i < scanner->note_count; i++) {
        const ScanNote *note = &scanner->notes[i];
        uint32_t place = find_place(make->fields, note->node);
        if (place == REST_NONE) continue; /* of another sink, which looks deeper */
        Span value = {note->value, (size_t)(scan_value_end(note->value, make->end) - note->value)};
        uint8_t level = (uint8_t)(make->fields->places[place].level + 1);
        add_unknown(make, place, level, (Span){note->key, note->key_size}, value);
    }
    /* Items that are added here are looked at, too. */
    for (size_t i = make->fields->place_count; i < make->rest->item_count; i++)
        if (is_open(make, &make->rest->items[i])) open_item(make, (uint32_t)i);
    mark_repeated(make->rest, make->fields->place_count);
}

static void add_field(const Make *make, uint32_t number) {
    const PlanField *field = &make->fields->fields[number];
    const ScanValue *value = scanner_value(make->scanner, field->slot);
    check(value);
    uint8_t level = (uint8_t)(make->fields->places[field->parent].level + 1);
    RestItem item = {.key = pathset_step(make->paths, field->slot, level - 1u),
                     .value = value->text,
                     .parent = field->parent,
                     .field = number,
                     .level = level,
                     .is_step = true};
    link_item(make->rest, add_item(make->rest, item));
}

/* -- discoveries -- */

/* Of the item whose path is in rest->path. */
static void discover(Make *make, const RestItem *item) {
    Rest *rest = make->rest;
    if (make->found >= make->fields->room || rest->path.size > INFERENCE_PATH_BYTES_MAX) return;
    ScanValue value = field_value_of(item->value);
    DataType type;
    if (!field_value_type(&value, &rest->scratch, &type)) return;
    if (value.kind == SCAN_OBJECT && item->level < make->fields->depth) return; /* an empty one says nothing of what it may hold */
    bool is_variant = false;
    if (item->field != PATH_NONE) {
        const PlanField *field = &make->fields->fields[item->field];
        is_variant = field->has_own;
        if (is_variant)
            type = inferred_type_of_variant(type);
        else if (field->is_hinted)
            type = field->hint;
    }
    array_reserve(rest->found, rest->found_count, rest->found_room);
    rest->found[rest->found_count++] = (MapDiscovery){
        .sink = make->sink,
        .path = {arena_copy(&rest->arena, buffer_span(&rest->path)), rest->path.size},
        .type = type,
        .is_variant = is_variant,
    };
    make->found++;
}

/* -- the object -- */

/* The items inside of one; it calls itself for each level of the depth, which is small. */
static void put_object(Make *make, const RestItem *object, bool is_odd) {
    Rest *rest = make->rest;
    size_t path_size = rest->path.size;
    buffer_append_byte(&rest->json, '{');
    bool is_first = true;
    for (uint32_t number = object->first; number != REST_NONE; number = rest->items[number].next) {
        const RestItem *item = &rest->items[number];
        bool odd = is_odd || item->is_odd;
        if (item->is_repeated) continue;
        if (!is_first) buffer_append_byte(&rest->json, ',');
        is_first = false;
        if (item->is_step) {
            json_quote(&rest->json, item->key);
        } else {
            buffer_append_byte(&rest->json, '"');
            buffer_append_span(&rest->json, item->key);
            buffer_append_byte(&rest->json, '"');
        }
        buffer_append_byte(&rest->json, ':');
        if (!odd && make->found < make->fields->room) field_path_append(&rest->path, item->is_step ? item->key : item->meant);
        if (!item->value.data) {
            check(item->level <= make->fields->depth);
            put_object(make, item, odd);
        } else {
            json_compact(&rest->json, item->value);
            if (!odd) discover(make, item);
        }
        rest->path.size = path_size;
    }
    buffer_append_byte(&rest->json, '}');
}

Span rest_make(Rest *rest, const Scanner *scanner, const Plan *plan, uint32_t sink, const char *end) {
    const PlanFields *fields = plan->sinks[sink].fields;
    Make make = {.rest = rest, .scanner = scanner, .paths = plan->paths, .fields = fields, .end = end, .sink = sink};
    rest->item_count = 0;
    buffer_clear(&rest->json);
    buffer_clear(&rest->path);
    add_places(&make);
    add_notes(&make);
    for (size_t i = 0; i < rest->misfit_count; i++) add_field(&make, rest->misfits[i]);
    for (uint32_t i = 0; i < fields->loose_count; i++) {
        const PlanField *field = &fields->fields[fields->loose[i]];
        if (is_of_rest(field, scanner_value(scanner, field->slot))) add_field(&make, fields->loose[i]);
    }
    if (rest->items[0].first == REST_NONE) return (Span){0};
    put_object(&make, &rest->items[0], false);
    return buffer_span(&rest->json);
}
