#include "config/field_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "config/scalar.h"
#include "config/units.h"

#define FIELDS_MAX 64 /* of all parts of one object */

static void *place_in(const FieldInfo *field, void *object) {
    return (char *)object + field->offset;
}

static const void *place_of(const FieldInfo *field, const void *object) {
    return (const char *)object + field->offset;
}

static size_t *count_in(const FieldInfo *field, void *object) {
    return (size_t *)(void *)((char *)object + field->count_offset);
}

static size_t count_of(const FieldInfo *field, const void *object) {
    return *(const size_t *)(const void *)((const char *)object + field->count_offset);
}

static char **texts_of(const FieldInfo *field, const void *object) {
    return *(char **const *)place_of(field, object);
}

static void *item_in(const FieldInfo *field, void *object, size_t index) {
    return *(char **)place_in(field, object) + index * field->fields->size;
}

static void *pointer_in(const FieldInfo *field, void *object) {
    return *(void **)place_in(field, object);
}

static const void *pointer_of(const FieldInfo *field, const void *object) {
    return *(void *const *)place_of(field, object);
}

static bool is_list(const FieldInfo *field) {
    return field->type == FIELD_LIST || field->type == FIELD_MAP;
}

static const void *item_of(const FieldInfo *field, const void *object, size_t index) {
    return *(char *const *)place_of(field, object) + index * field->fields->size;
}

/* ---- choices --------------------------------------------------------------------------------- */

/* An enum has the memory of an unsigned. */
static unsigned choice_of(const FieldInfo *field, const void *object) {
    unsigned value;
    memcpy(&value, place_of(field, object), sizeof value);
    return value;
}

static void set_choice(const FieldInfo *field, void *object, unsigned value) {
    memcpy(place_in(field, object), &value, sizeof value);
}

static unsigned value_at(const FieldInfo *field, int index) {
    return field->values ? field->values[index] : (unsigned)index;
}

/* NULL: no choice has that value. */
static const char *choice_name(const FieldInfo *field, unsigned value) {
    for (int i = 0; field->choices[i]; i++)
        if (value_at(field, i) == value) return field->choices[i];
    return NULL;
}

/* -1: none. */
static int choice_index(const FieldInfo *field, const char *name) {
    for (int i = 0; field->choices[i]; i++)
        if (strcmp(field->choices[i], name) == 0) return i;
    return -1;
}

static const FieldInfo *find(const FieldTable *table, const char *name) {
    for (const FieldInfo *field = table->fields; field->name; field++)
        if (strcmp(field->name, name) == 0) return field;
    return NULL;
}

bool field_table_has(const FieldTable *table, const char *name) {
    return find(table, name) != NULL;
}

bool field_table_is_secret(const FieldTable *table, const char *name) {
    const FieldInfo *field = find(table, name);
    return field && field->is_secret;
}

bool field_table_takes(const FieldTable *table, const char *name) {
    const FieldInfo *field = find(table, name);
    return field && !field->read_only;
}

static const FieldInfo *kind_field(const FieldTable *table) {
    const FieldInfo *field = find(table, table->kind);
    check(field && field->type == FIELD_CHOICE);
    return field;
}

static bool has_field(const FieldTable *table, const void *object, const FieldInfo *field) {
    return field->kinds == 0 || (field->kinds >> choice_of(kind_field(table), object)) & 1;
}

/* ---- reading --------------------------------------------------------------------------------- */

static uint32_t default_count(const FieldInfo *field) {
    return field->default_value ? (uint32_t)strtoul(field->default_value, NULL, 10) : 0;
}

static uint64_t default_size(const FieldInfo *field) {
    uint64_t bytes = 0;
    check(!field->default_value || units_parse_size(span_of(field->default_value), &bytes) == 0);
    return bytes;
}

static usec_t default_duration(const FieldInfo *field) {
    usec_t usec = 0;
    check(!field->default_value || units_parse_time(span_of(field->default_value), &usec) == 0);
    return usec;
}

static void set_default(const FieldInfo *field, void *object) {
    if (!field->default_value) return;
    switch (field->type) {
    case FIELD_TEXT: *(char **)place_in(field, object) = text_copy(field->default_value); return;
    case FIELD_BOOL: *(bool *)place_in(field, object) = strcmp(field->default_value, "true") == 0; return;
    case FIELD_COUNT: *(uint32_t *)place_in(field, object) = default_count(field); return;
    case FIELD_SIZE: *(uint64_t *)place_in(field, object) = default_size(field); return;
    case FIELD_DURATION: *(usec_t *)place_in(field, object) = default_duration(field); return;
    case FIELD_CHOICE: set_choice(field, object, value_at(field, choice_index(field, field->default_value))); return;
    default: return; /* nothing is stored, or what is there stays */
    }
}

static char *kept_text(const Fault *fault, const FieldInfo *field, const char *text) {
    return field->keep ? field->keep(text, fault->is_stored) : text_copy(text);
}

static int read_text(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    const char *text;
    int r = node_text(fault, node, (size_t)field->least, (size_t)field->most, &text);
    if (r == 0 && field->is_plain && !text_is_plain(span_of(text))) r = fault_at(fault, node, "must not contain control characters");
    if (r == 0 && field->validate) r = field->validate(fault, node);
    if (r == 0) *(char **)place_in(field, object) = kept_text(fault, field, text);
    return r;
}

static ScalarKind *kind_in(const FieldInfo *field, void *object) {
    return (ScalarKind *)(void *)((char *)object + field->kind_offset);
}

static ScalarKind kind_of(const FieldInfo *field, const void *object) {
    return *(const ScalarKind *)(const void *)((const char *)object + field->kind_offset);
}

static int read_value(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    const char *text;
    if (json_is_object(node->value) || json_is_array(node->value))
        return fault_at(fault, node, "must be a text, a number, a boolean or null, not %s", json_kind(node->value));
    int r = json_is_string(node->value) ? node_text(fault, node, (size_t)field->least, (size_t)field->most, &text) : 0;
    if (r == 0) *kind_in(field, object) = scalar_read(node->value, place_in(field, object));
    return r;
}

static int read_one_text(Fault *fault, const Node *node, const FieldInfo *field, char *const *others, size_t other_count, char **ret_text) {
    const char *text;
    int r = node_text(fault, node, 1, (size_t)field->item_max, &text);
    if (r == 0 && !text_is_plain(span_of(text))) r = fault_at(fault, node, "must not contain control characters");
    if (r == 0 && field->validate) r = field->validate(fault, node);
    if (r != 0) return r;
    char *kept = kept_text(fault, field, text);
    for (size_t i = 0; r == 0 && i < other_count; i++)
        if (strcmp(others[i], kept) == 0) r = fault_at(fault, node, "is a duplicate of item %zu", i);
    if (r == 0)
        *ret_text = kept;
    else
        free(kept);
    return r;
}

static int read_texts(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    int r = node_array(fault, node, (size_t)field->least, (size_t)field->most);
    if (r < 0) return r;
    size_t count = json_array_size(node->value);
    char **texts = calloc(count + 1, sizeof *texts);
    check(texts);
    *(char ***)place_in(field, object) = texts;
    for (size_t i = 0; r == 0 && i < count; i++) {
        Node item = node_item(node, i);
        r = read_one_text(fault, &item, field, texts, i, &texts[i]);
        if (r == 0) *count_in(field, object) = i + 1;
    }
    return r;
}

static int read_count(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    int64_t count = 0;
    int r = node_integer(fault, node, field->least, field->most, &count);
    if (r == 0) *(uint32_t *)place_in(field, object) = (uint32_t)count;
    return r;
}

static int read_choice(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    int index;
    int r = node_choice(fault, node, field->choices, field->not_choices, &index);
    if (r == 0 && field->type == FIELD_CHOICE) set_choice(field, object, value_at(field, index));
    return r;
}

static int read_given(Fault *fault, const Node *node, const FieldInfo *field, void *object);

static int read_object(Fault *fault, const Node *node, const FieldTable *table, void *object) {
    FieldPart part = {table, object};
    return fields_read(fault, node, &part, 1, NULL);
}

static int read_list(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    int r = node_array(fault, node, (size_t)field->least, (size_t)field->most);
    if (r < 0) return r;
    size_t count = json_array_size(node->value);
    char *items = calloc(count + 1, field->fields->size);
    check(items);
    *(char **)place_in(field, object) = items;
    for (size_t i = 0; i < count; i++) {
        Node item = node_item(node, i);
        *count_in(field, object) = i + 1;
        int one = read_object(fault, &item, field->fields, items + i * field->fields->size);
        if (one == 0) continue;
        r = one;
        if (!fault_goes_on(fault, one)) return r;
    }
    return r;
}

static int read_optional(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    void *inner = calloc(1, field->fields->size);
    check(inner);
    *(void **)place_in(field, object) = inner;
    return read_object(fault, node, field->fields, inner);
}

/* A name is text as any other one, and an error in it is one of its member. */
static int read_map_name(Fault *fault, const Node *member, const FieldInfo *name, void *item) {
    json_t *text = json_string(member->key);
    check(text);
    Node node = *member;
    node.value = text;
    int r = read_text(fault, &node, name, item);
    if (r < 0) fault->at_key = true;
    json_decref(text);
    return r;
}

static int read_map(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    if (!json_is_object(node->value)) return fault_at(fault, node, "must be an object, not %s", json_kind(node->value));
    size_t count = json_object_size(node->value), at = 0;
    if (count < (size_t)field->least || count > (size_t)field->most)
        return fault_at(fault, node, "must have %lld to %lld members, not %zu", (long long)field->least, (long long)field->most, count);
    char *items = calloc(count + 1, field->fields->size);
    check(items);
    *(char **)place_in(field, object) = items;
    const FieldInfo *rows = field->fields->fields;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node->value, key, value) {
        Node member = node_member(node, key);
        void *item = items + at * field->fields->size;
        *count_in(field, object) = ++at;
        int r = read_map_name(fault, &member, &rows[0], item);
        if (r == 0) r = read_given(fault, &member, &rows[1], item);
        if (r != 0) return r;
    }
    return 0;
}

static int read_given(Fault *fault, const Node *node, const FieldInfo *field, void *object) {
    switch (field->type) {
    case FIELD_TEXT: return read_text(fault, node, field, object);
    case FIELD_TEXTS: return read_texts(fault, node, field, object);
    case FIELD_VALUE: return read_value(fault, node, field, object);
    case FIELD_BOOL: return node_bool(fault, node, place_in(field, object));
    case FIELD_COUNT: return read_count(fault, node, field, object);
    case FIELD_SIZE: return node_size(fault, node, (uint64_t)field->least, (uint64_t)field->most, place_in(field, object));
    case FIELD_DURATION: return node_duration(fault, node, field->least, field->most, place_in(field, object));
    case FIELD_CHOICE:
    case FIELD_WORD: return read_choice(fault, node, field, object);
    case FIELD_OBJECT: return read_object(fault, node, field->fields, place_in(field, object));
    case FIELD_OPTIONAL: return read_optional(fault, node, field, object);
    case FIELD_LIST: return read_list(fault, node, field, object);
    case FIELD_MAP: return read_map(fault, node, field, object);
    case FIELD_OWN: return field->read(fault, node, place_in(field, object));
    case FIELD_TIME: break;
    }
    unreachable();
}

/* `is only for columns of type "path" and "template"`, where "type" is the name of the table's
 * `kind` */
static int refuse_of_other_kind(Fault *fault, const Node *node, const FieldTable *table, const FieldInfo *field) {
    const FieldInfo *kind = kind_field(table);
    _cleanup_(buffer_deinit) Buffer names = {0};
    for (unsigned value = 0, left = field->kinds; left; value++, left >>= 1) {
        if (!(left & 1)) continue;
        buffer_printf(&names, "%s\"%s\"", names.size == 0 ? "" : left >> 1 ? ", " : " and ", choice_name(kind, value));
    }
    return fault_at(fault, node, "is only for %s of %s %s", table->owners, table->kind, buffer_text(&names));
}

static int read_field(Fault *fault, const Node *owner, const FieldPart *part, const FieldInfo *field) {
    Node node = node_member(owner, field->name);
    bool has = has_field(part->table, part->object, field);
    /* Only for a value null is one; elsewhere it is as if the field were missing. */
    if (node_given(&node) || (node.value && field->type == FIELD_VALUE))
        return has ? read_given(fault, &node, field, part->object) : refuse_of_other_kind(fault, &node, part->table, field);
    if (has && field->needed) return fault_at(fault, owner, "needs %s", field->needed);
    if (has) set_default(field, part->object);
    return 0;
}

typedef struct FieldNames {
    const char *allowed[FIELDS_MAX + 1];
    size_t allowed_count;
    Refusal refused[FIELDS_MAX + 1];
    size_t refused_count;
} FieldNames;

static void add_refusal(FieldNames *names, Refusal refusal) {
    check(names->refused_count < FIELDS_MAX);
    names->refused[names->refused_count++] = refusal;
}

static void add_refusals(FieldNames *names, const Refusal *refused) {
    for (; refused && refused->name; refused++) add_refusal(names, *refused);
}

static void add_names(FieldNames *names, const FieldTable *table) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        check(names->allowed_count < FIELDS_MAX);
        if (field->read_only)
            add_refusal(names, (Refusal){field->name, field->read_only});
        else
            names->allowed[names->allowed_count++] = field->name;
    }
    add_refusals(names, table->refused);
}

int fields_read(Fault *fault, const Node *node, const FieldPart *parts, size_t count, const Refusal *refused) {
    FieldNames names = {0};
    for (size_t i = 0; i < count; i++) add_names(&names, parts[i].table);
    add_refusals(&names, refused);
    int r = node_object(fault, node, names.allowed, names.refused);
    if (!fault_goes_on(fault, r) || !json_is_object(node->value)) return r;
    for (size_t i = 0; i < count; i++)
        for (const FieldInfo *field = parts[i].table->fields; field->name; field++) {
            int one = field->read_only ? 0 : read_field(fault, node, &parts[i], field);
            if (one == 0) continue;
            r = one;
            /* Which other fields there are depends on the kind. */
            if (!fault_goes_on(fault, one) || (parts[i].table->kind && strcmp(field->name, parts[i].table->kind) == 0)) return r;
        }
    for (size_t i = 0; r == 0 && i < count; i++)
        if (parts[i].table->complete) r = parts[i].table->complete(fault, node, parts[i].object);
    return r;
}

/* ---- writing --------------------------------------------------------------------------------- */

static json_t *write_text(const char *text) {
    return text ? json_string(text) : NULL;
}

static json_t *write_texts(const FieldInfo *field, const void *object) {
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < count_of(field, object); i++) check(json_array_append_new(list, json_string(texts_of(field, object)[i])) == 0);
    return list;
}

static json_t *write_units(const FieldInfo *field, const void *place) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    if (field->type == FIELD_SIZE)
        units_format_size(&text, *(const uint64_t *)place);
    else
        units_format_time(&text, *(const usec_t *)place);
    return json_string(buffer_text(&text));
}

static json_t *write_object(const FieldTable *table, const void *object, bool with_secrets) {
    json_t *json = json_object();
    check(json);
    fields_write(table, object, with_secrets, json);
    return json;
}

static json_t *write_list(const FieldInfo *field, const void *object, bool with_secrets) {
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < count_of(field, object); i++)
        check(json_array_append_new(list, write_object(field->fields, item_of(field, object, i), with_secrets)) == 0);
    return list;
}

static json_t *write_value(const FieldInfo *field, const void *object, bool with_secrets);

static json_t *write_map(const FieldInfo *field, const void *object, bool with_secrets) {
    json_t *map = json_object();
    const FieldInfo *rows = field->fields->fields;
    check(map);
    for (size_t i = 0; i < count_of(field, object); i++) {
        const void *item = item_of(field, object, i);
        const char *name = *(char *const *)place_of(&rows[0], item);
        check(json_object_set_new(map, name, write_value(&rows[1], item, with_secrets)) == 0);
    }
    return map;
}

static json_t *write_time(usec_t wall) {
    char text[25];
    clock_format_utc(wall, text);
    return json_string(text);
}

static json_t *write_value(const FieldInfo *field, const void *object, bool with_secrets) {
    const void *place = place_of(field, object);
    switch (field->type) {
    case FIELD_TEXT: return write_text(*(char *const *)place);
    case FIELD_TEXTS: return write_texts(field, object);
    case FIELD_VALUE: return *(char *const *)place ? scalar_write(kind_of(field, object), *(char *const *)place) : NULL;
    case FIELD_BOOL: return json_boolean(*(const bool *)place);
    case FIELD_COUNT: return json_integer(*(const uint32_t *)place);
    case FIELD_SIZE:
    case FIELD_DURATION: return write_units(field, place);
    case FIELD_CHOICE: return json_string(choice_name(field, choice_of(field, object)));
    case FIELD_WORD: return json_string(field->choices[0]);
    case FIELD_OBJECT: return write_object(field->fields, place, with_secrets);
    case FIELD_OPTIONAL: return pointer_of(field, object) ? write_object(field->fields, pointer_of(field, object), with_secrets) : NULL;
    case FIELD_LIST: return write_list(field, object, with_secrets);
    case FIELD_MAP: return write_map(field, object, with_secrets);
    case FIELD_TIME: return write_time(*(const usec_t *)place);
    case FIELD_OWN: return field->write ? field->write(place) : NULL;
    }
    unreachable();
}

/* Has the field what it has when it is not given? */
static bool is_default(const FieldInfo *field, const void *object) {
    const void *place = place_of(field, object);
    switch (field->type) {
    case FIELD_TEXT: {
        const char *text = *(char *const *)place, *missing = field->default_value;
        return text && missing ? strcmp(text, missing) == 0 : text == missing;
    }
    case FIELD_VALUE: return *(char *const *)place == NULL;
    case FIELD_BOOL: return *(const bool *)place == (field->default_value && strcmp(field->default_value, "true") == 0);
    case FIELD_COUNT: return *(const uint32_t *)place == default_count(field);
    case FIELD_SIZE: return *(const uint64_t *)place == default_size(field);
    case FIELD_DURATION: return *(const usec_t *)place == default_duration(field);
    case FIELD_CHOICE:
        return choice_of(field, object) == (field->default_value ? value_at(field, choice_index(field, field->default_value)) : 0);
    case FIELD_WORD: return true;
    case FIELD_OBJECT:
        for (const FieldInfo *inner = field->fields->fields; inner->name; inner++)
            if (!is_default(inner, place)) return false;
        return true;
    case FIELD_OPTIONAL: return pointer_of(field, object) == NULL;
    case FIELD_TEXTS:
    case FIELD_LIST:
    case FIELD_MAP: return count_of(field, object) == 0;
    case FIELD_TIME: return *(const usec_t *)place == 0;
    case FIELD_OWN: return false;
    }
    unreachable();
}

void fields_write(const FieldTable *table, const void *object, bool with_secrets, json_t *out) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        if ((field->is_secret && !with_secrets) || (field->is_optional && is_default(field, object))) continue;
        if (!has_field(table, object, field)) continue;
        json_t *value = write_value(field, object, with_secrets);
        bool may_lack = field->type == FIELD_TEXT || field->type == FIELD_VALUE || field->type == FIELD_OWN ||
                        field->type == FIELD_OPTIONAL;
        check(value || may_lack);
        if (value) check(json_object_set_new(out, field->name, value) == 0);
    }
}

/* ---- objects as a whole ---------------------------------------------------------------------- */

static void unshare_list(const FieldInfo *field, void *object) {
    size_t count = count_of(field, object), size = field->fields->size;
    char *items = calloc(count + 1, size);
    check(items);
    if (count > 0) memcpy(items, *(char **)place_in(field, object), count * size);
    *(char **)place_in(field, object) = items;
    for (size_t i = 0; i < count; i++) fields_unshare(field->fields, items + i * size);
}

static void unshare_optional(const FieldInfo *field, void *object) {
    if (!pointer_in(field, object)) return;
    void *inner = calloc(1, field->fields->size);
    check(inner);
    memcpy(inner, pointer_in(field, object), field->fields->size);
    *(void **)place_in(field, object) = inner;
    fields_unshare(field->fields, inner);
}

static void unshare_texts(const FieldInfo *field, void *object) {
    size_t count = count_of(field, object);
    char **old = texts_of(field, object), **texts = calloc(count + 1, sizeof *texts);
    check(texts);
    for (size_t i = 0; i < count; i++) texts[i] = text_copy(old[i]);
    *(char ***)place_in(field, object) = texts;
}

void fields_unshare(const FieldTable *table, void *object) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        void *place = place_in(field, object);
        if (field->type == FIELD_TEXT || field->type == FIELD_VALUE) *(char **)place = text_copy(*(char **)place);
        if (field->type == FIELD_OBJECT) fields_unshare(field->fields, place);
        if (field->type == FIELD_OPTIONAL) unshare_optional(field, object);
        if (is_list(field)) unshare_list(field, object);
        if (field->type == FIELD_TEXTS) unshare_texts(field, object);
    }
}

static void free_list(const FieldInfo *field, void *object) {
    for (size_t i = 0; i < count_of(field, object); i++) fields_free(field->fields, item_in(field, object, i));
    free(*(char **)place_in(field, object));
    *(char **)place_in(field, object) = NULL;
    *count_in(field, object) = 0;
}

static void free_optional(const FieldInfo *field, void *object) {
    if (!pointer_in(field, object)) return;
    fields_free(field->fields, pointer_in(field, object));
    free(pointer_in(field, object));
    *(void **)place_in(field, object) = NULL;
}

static void free_texts(const FieldInfo *field, void *object) {
    char **texts = texts_of(field, object);
    for (size_t i = 0; i < count_of(field, object); i++) free(texts[i]);
    free(texts);
    *(char ***)place_in(field, object) = NULL;
    *count_in(field, object) = 0;
}

void fields_free(const FieldTable *table, void *object) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        void *place = place_in(field, object);
        if (field->type == FIELD_OBJECT) fields_free(field->fields, place);
        if (field->type == FIELD_OPTIONAL) free_optional(field, object);
        if (is_list(field)) free_list(field, object);
        if (field->type == FIELD_TEXTS) free_texts(field, object);
        if (field->type != FIELD_TEXT && field->type != FIELD_VALUE) continue;
        free(*(char **)place);
        *(char **)place = NULL;
    }
}

static bool equal_lists(const FieldInfo *field, const void *a, const void *b) {
    if (count_of(field, a) != count_of(field, b)) return false;
    for (size_t i = 0; i < count_of(field, a); i++)
        if (!fields_equal(field->fields, item_of(field, a, i), item_of(field, b, i))) return false;
    return true;
}

static bool equal_texts(const FieldInfo *field, const void *a, const void *b) {
    if (count_of(field, a) != count_of(field, b)) return false;
    for (size_t i = 0; i < count_of(field, a); i++)
        if (strcmp(texts_of(field, a)[i], texts_of(field, b)[i]) != 0) return false;
    return true;
}

static bool equal_field(const FieldInfo *field, const void *a, const void *b) {
    const void *x = place_of(field, a), *y = place_of(field, b);
    switch (field->type) {
    case FIELD_TEXT: {
        const char *left = *(char *const *)x, *right = *(char *const *)y;
        return left && right ? strcmp(left, right) == 0 : left == right;
    }
    case FIELD_VALUE: {
        const char *left = *(char *const *)x, *right = *(char *const *)y;
        if (!left || !right) return left == right;
        return kind_of(field, a) == kind_of(field, b) && strcmp(left, right) == 0;
    }
    case FIELD_BOOL: return *(const bool *)x == *(const bool *)y;
    case FIELD_TEXTS: return equal_texts(field, a, b);
    case FIELD_COUNT: return *(const uint32_t *)x == *(const uint32_t *)y;
    case FIELD_SIZE: return *(const uint64_t *)x == *(const uint64_t *)y;
    case FIELD_DURATION: return *(const usec_t *)x == *(const usec_t *)y;
    case FIELD_CHOICE: return choice_of(field, a) == choice_of(field, b);
    case FIELD_WORD: return true;
    case FIELD_OBJECT: return fields_equal(field->fields, x, y);
    case FIELD_OPTIONAL: {
        const void *left = pointer_of(field, a), *right = pointer_of(field, b);
        return left && right ? fields_equal(field->fields, left, right) : left == right;
    }
    case FIELD_LIST:
    case FIELD_MAP: return equal_lists(field, a, b);
    case FIELD_TIME: return *(const usec_t *)x == *(const usec_t *)y;
    case FIELD_OWN: return true; /* compared by its owner */
    }
    unreachable();
}

bool fields_equal(const FieldTable *table, const void *a, const void *b) {
    for (const FieldInfo *field = table->fields; field->name; field++)
        if (!equal_field(field, a, b)) return false;
    return true;
}

static bool text_holds(const FieldInfo *field, const char *text) {
    if (!text) return !field->needed;
    int64_t size = (int64_t)strlen(text);
    Span span = span_of(text);
    return size >= field->least && size <= field->most && (field->is_plain ? text_is_plain(span) : text_is_utf8(span));
}

static bool list_holds(const FieldInfo *field, const void *object) {
    size_t count = count_of(field, object);
    bool holds = count >= (size_t)field->least && count <= (size_t)field->most;
    for (size_t i = 0; holds && i < count; i++) holds = fields_hold(field->fields, item_of(field, object, i));
    return holds;
}

static bool texts_hold(const FieldInfo *field, const void *object) {
    size_t count = count_of(field, object);
    bool holds = count >= (size_t)field->least && count <= (size_t)field->most;
    for (size_t i = 0; holds && i < count; i++) {
        Span text = span_of(texts_of(field, object)[i]);
        holds = text.size > 0 && (int64_t)text.size <= field->item_max && text_is_plain(text);
    }
    return holds;
}

static bool field_holds(const FieldInfo *field, const void *object) {
    const void *place = place_of(field, object);
    switch (field->type) {
    case FIELD_TEXT:
    case FIELD_VALUE: return text_holds(field, *(char *const *)place);
    case FIELD_COUNT:
        return is_default(field, object) || (*(const uint32_t *)place >= field->least && *(const uint32_t *)place <= field->most);
    case FIELD_SIZE: {
        uint64_t bytes = *(const uint64_t *)place;
        return bytes >= (uint64_t)field->least && bytes <= (uint64_t)field->most;
    }
    case FIELD_DURATION: {
        usec_t usec = *(const usec_t *)place;
        return usec >= field->least && usec <= field->most;
    }
    case FIELD_CHOICE: return choice_name(field, choice_of(field, object));
    case FIELD_TEXTS: return texts_hold(field, object);
    case FIELD_OBJECT: return (!field->needed && is_default(field, object)) || fields_hold(field->fields, place);
    case FIELD_OPTIONAL: return pointer_of(field, object) ? fields_hold(field->fields, pointer_of(field, object)) : !field->needed;
    case FIELD_LIST:
    case FIELD_MAP: return list_holds(field, object);
    case FIELD_BOOL:
    case FIELD_WORD:
    case FIELD_TIME:
    case FIELD_OWN: return true;
    }
    unreachable();
}

bool fields_hold(const FieldTable *table, const void *object) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        bool has = has_field(table, object, field);
        if (has ? !field_holds(field, object) : !is_default(field, object)) return false;
    }
    return true;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void check_default(const FieldInfo *field) {
    if (!field->default_value) return;
    int64_t size = (int64_t)strlen(field->default_value);
    switch (field->type) {
    case FIELD_TEXT: check(size >= field->least && size <= field->most); return;
    case FIELD_BOOL: check(strcmp(field->default_value, "true") == 0 || strcmp(field->default_value, "false") == 0); return;
    case FIELD_COUNT:
        check(default_count(field) == 0 || (default_count(field) >= field->least && default_count(field) <= field->most));
        return;
    case FIELD_SIZE: check(default_size(field) >= (uint64_t)field->least && default_size(field) <= (uint64_t)field->most); return;
    case FIELD_DURATION: check(default_duration(field) >= field->least && default_duration(field) <= field->most); return;
    case FIELD_CHOICE: check(choice_index(field, field->default_value) >= 0); return;
    default: check(false); return; /* has none */
    }
}

static void check_row(const FieldTable *table, const FieldInfo *field) {
    size_t sentence = field->sentence ? strlen(field->sentence) : 0;
    check(sentence > 1 && field->sentence[sentence - 1] == '.');
    check(find(table, field->name) == field); /* no name twice */
    check(!field->needed || (!field->default_value && !field->is_optional && !field->read_only));
    check((field->type == FIELD_CHOICE || field->type == FIELD_WORD) == (field->choices != NULL) || field->type == FIELD_OWN);
    check(field->type != FIELD_WORD || (field->choices[0] && !field->choices[1]));
    check((field->type == FIELD_OBJECT || field->type == FIELD_OPTIONAL || is_list(field)) == (field->fields != NULL));
    if (field->type == FIELD_MAP) {
        const FieldInfo *rows = field->fields->fields;
        check(rows[0].name && rows[0].type == FIELD_TEXT && rows[1].name && !rows[2].name && !field->fields->complete);
    }
    check(field->least <= field->most && (field->type != FIELD_COUNT || (field->least >= 0 && field->most <= UINT32_MAX && field->unit)));
    bool has_units = field->type == FIELD_SIZE || field->type == FIELD_DURATION;
    check(!has_units || (field->default_value && field->least >= 0)); /* all-zero is rarely in the range */
    check((field->type == FIELD_TEXTS) == (field->item_max > 0));
    check(field->type != FIELD_TIME || field->read_only);
    check(field->type != FIELD_OWN || field->read_only || (field->read && field->write));
    check(!field->kinds || kind_field(table) < field);
    for (unsigned value = 0; field->kinds >> value; value++) check(!((field->kinds >> value) & 1) || choice_name(kind_field(table), value));
    check_default(field);
}

void field_table_check(const FieldTable *table) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        check_row(table, field);
        if (field->fields) field_table_check(field->fields);
    }
    for (const Refusal *refused = table->refused; refused && refused->name; refused++) check(!find(table, refused->name));
}
