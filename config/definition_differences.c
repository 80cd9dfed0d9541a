#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/definition.h"
#include "config/definition_parts.h"
#include "config/source_kind.h"

#define VALUE_BYTES_MAX 200 /* of a value that is shown */
#define CHANGES_MAX 200

static void add(json_t *list, const char *path) {
    check(json_array_append_new(list, json_string(path)) == 0);
}

/* Objects are walked, all else is compared whole: arrays are replaced whole, too. Either may be
 * NULL. */
static void compare(const char *path, const json_t *old, const json_t *now, json_t *list) {
    if (!json_is_object(old) || !json_is_object(now)) {
        if (!old || !now || json_equal(old, now) != 1) add(list, path);
        return;
    }
    const json_t *const sides[] = {old, now};
    for (int side = 0; side < 2; side++) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)sides[side], key, value) {
            if (side == 1 && json_object_get(old, key)) continue; /* seen from the other side */
            _cleanup_free_ char *below = NULL;
            check(asprintf(&below, "%s%s%s", path, path[0] ? "." : "", key) >= 0);
            compare(below, json_object_get(old, key), json_object_get(now, key), list);
        }
    }
}

static json_t *differences(json_t *take_old, json_t *take_now, const Settings *old, const Settings *now) {
    json_t *list = json_array();
    check(list);
    compare("", take_old, take_now, list);
    json_decref(take_old);
    json_decref(take_now);
    for (int i = 0; i < SETTING_COUNT_; i++) {
        if (old->set[i] == now->set[i] && (!now->set[i] || old->value[i] == now->value[i])) continue;
        _cleanup_free_ char *name = NULL;
        check(asprintf(&name, "settings.%s", settings_info((SettingId)i)->key) > 0);
        add(list, name);
    }
    return list;
}

json_t *source_differences(const Source *old, const Source *now) {
    return differences(source_request_form(old), source_request_form(now), &old->settings, &now->settings);
}

json_t *sink_differences(const Sink *old, const Sink *now) {
    return differences(sink_request_form(old), sink_request_form(now), &old->settings, &now->settings);
}

/* ---- with their values ----------------------------------------------------------------------- */

/* What is longer than a line becomes the beginning of its text. */
static json_t *shortened(const json_t *value) {
    _cleanup_free_ char *dump = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *text = dump ? dump : json_string_value(value);
    check(text);
    size_t size = strlen(text);
    if (size <= VALUE_BYTES_MAX) return json_incref((json_t *)(uintptr_t)value);
    for (size = VALUE_BYTES_MAX; ((unsigned char)text[size] & 0xC0) == 0x80;) size--;
    return json_sprintf("%.*s…", (int)size, text);
}

/* Either value may be NULL: the field is missing there. */
static void add_change(json_t *list, const char *path, const json_t *old, const json_t *now, bool is_secret) {
    if (json_array_size(list) == CHANGES_MAX) return;
    json_t *change = json_pack("{s:s}", "path", path);
    check(change);
    if (is_secret) check(json_object_set_new(change, "hidden", json_true()) == 0);
    if (old && !is_secret) check(json_object_set_new(change, "old", shortened(old)) == 0);
    if (now && !is_secret) check(json_object_set_new(change, "new", shortened(now)) == 0);
    check(json_array_append_new(list, change) == 0);
}

static const json_t *named(const json_t *items, const json_t *like) {
    const char *name = json_string_value(json_object_get(like, "name"));
    for (size_t i = 0; name && i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        const char *other = json_string_value(json_object_get(item, "name"));
        if (other && strcmp(other, name) == 0) return item;
    }
    return NULL;
}

/* The names of those that `others` has too. */
static json_t *names_of_both(const json_t *items, const json_t *others) {
    json_t *names = json_array();
    check(names);
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        if (named(others, item)) check(json_array_append(names, json_object_get(item, "name")) == 0);
    }
    return names;
}

static void change_values(const char *path, const json_t *old, const json_t *now, const FieldTable *fields, json_t *list);

/* Columns are told apart by their names. */
static void change_columns(const char *path, const json_t *old, const json_t *now, json_t *list) {
    const json_t *const sides[] = {old, now};
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < json_array_size(sides[side]); i++) {
            const json_t *item = json_array_get(sides[side], i), *other = named(sides[1 - side], item);
            if (side == 1 && other) continue; /* seen from the other side */
            _cleanup_free_ char *below = NULL;
            check(asprintf(&below, "%s[%s]", path, json_string_value(json_object_get(item, "name"))) >= 0);
            change_values(below, side == 0 ? item : other, side == 0 ? other : item, NULL, list);
        }
    }
    json_t *old_order = names_of_both(old, now), *order = names_of_both(now, old);
    if (json_equal(old_order, order) != 1) add_change(list, path, old_order, order, false);
    json_decref(old_order);
    json_decref(order);
}

/* `fields`: of the object, where some are secret; NULL: none is. */
static void change_values(const char *path, const json_t *old, const json_t *now, const FieldTable *fields, json_t *list) {
    if (old && now && json_equal(old, now) == 1) return;
    if (strcmp(path, "table.mapping.columns") == 0 && (json_is_array(old) || json_is_array(now))) {
        change_columns(path, old, now, list);
        return;
    }
    if (!json_is_object(old) || !json_is_object(now)) {
        add_change(list, path, old, now, false);
        return;
    }
    const json_t *const sides[] = {old, now};
    for (int side = 0; side < 2; side++) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)sides[side], key, value) {
            const json_t *was = json_object_get(old, key), *is = json_object_get(now, key);
            if ((side == 1 && was) || (was && is && json_equal(was, is) == 1)) continue;
            _cleanup_free_ char *below = NULL;
            check(asprintf(&below, "%s%s%s", path, path[0] ? "." : "", key) >= 0);
            if (fields && field_table_is_secret(fields, key))
                add_change(list, below, was, is, true);
            else
                change_values(below, was, is, NULL, list);
        }
    }
}

static json_t *changes(json_t *take_old, json_t *take_now, const FieldTable *fields, const Settings *old, const Settings *now) {
    json_t *list = json_array();
    check(list);
    change_values("", take_old, take_now, fields, list);
    json_decref(take_old);
    json_decref(take_now);
    json_t *old_settings = settings_store(old), *settings = settings_store(now);
    for (int i = 0; i < SETTING_COUNT_; i++) {
        const char *key = settings_info((SettingId)i)->key;
        const json_t *was = json_object_get(old_settings, key), *is = json_object_get(settings, key);
        _cleanup_free_ char *path = NULL;
        check(asprintf(&path, "settings.%s", key) > 0);
        if (was != is && !(was && is && json_equal(was, is) == 1)) add_change(list, path, was, is, false);
    }
    json_decref(old_settings);
    json_decref(settings);
    return list;
}

json_t *source_changes(const Source *old, const Source *now) {
    return changes(source_request_form(old), source_request_form(now), now->kind->fields, &old->settings, &now->settings);
}

json_t *sink_changes(const Sink *old, const Sink *now) {
    return changes(sink_request_form(old), sink_request_form(now), NULL, &old->settings, &now->settings);
}
