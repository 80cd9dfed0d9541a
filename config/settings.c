#include "config/settings.h"

#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/settings_parts.h"
#include "config/units.h"

#define KB 1024LL
#define MB (1024 * KB)

static const SettingInfo table[SETTING_COUNT_] = {
    [SETTING_SYNC_WAIT] = {"storage.level.local.encoding.sync.wait", SETTING_BOOL, 1, 0, 1, false,
                           "Answer the sender after the rows are synced to disk; if false, when they are accepted in memory."},
    [SETTING_UPLOAD_COUNT] = {"storage.level.staging.upload.trigger.count", SETTING_NUMBER, 10000, 1, 10000000, false,
                              "Stage the buffered rows when this many rows are waiting."},
    [SETTING_UPLOAD_SIZE] = {"storage.level.staging.upload.trigger.size", SETTING_SIZE, 5 * MB, 100, 50 * MB, false,
                             "Stage the buffered rows when the waiting rows reach this size."},
    [SETTING_UPLOAD_INTERVAL] = {"storage.level.staging.upload.trigger.interval", SETTING_TIME, 30 * USEC_SECOND, USEC_SECOND,
                                 30 * USEC_MINUTE, false, "Stage the buffered rows when the oldest row has waited this long."},
    [SETTING_IMPORT_COUNT] = {"storage.level.target.import.trigger.count", SETTING_NUMBER, 50000, 1, 10000000, true,
                              "Import into the table when this many rows are waiting."},
    [SETTING_IMPORT_SIZE] = {"storage.level.target.import.trigger.size", SETTING_SIZE, 50 * MB, 100, 500 * MB, true,
                             "Import into the table when the waiting rows reach this size."},
    [SETTING_IMPORT_INTERVAL] = {"storage.level.target.import.trigger.interval", SETTING_TIME, USEC_MINUTE, 30 * USEC_SECOND,
                                 24 * USEC_HOUR, true, "Import into the table when the oldest row has waited this long."},
};

const SettingInfo *settings_info(SettingId id) {
    check(id < SETTING_COUNT_);
    return &table[id];
}

int settings_find(const char *key) {
    for (int i = 0; i < SETTING_COUNT_; i++)
        if (strcmp(table[i].key, key) == 0) return i;
    return -1;
}

int64_t settings_effective(SettingId id, const Settings *source, const Settings *sink) {
    check(id < SETTING_COUNT_);
    if (sink && sink->set[id]) return sink->value[id];
    if (source && source->set[id]) return source->value[id];
    return table[id].default_value;
}

static const char *type_name(SettingType type) {
    switch (type) {
    case SETTING_BOOL: return "boolean";
    case SETTING_NUMBER: return "number";
    case SETTING_SIZE: return "size";
    case SETTING_TIME: return "time";
    }
    unreachable();
}

static void format_value(Buffer *out, SettingType type, int64_t value) {
    switch (type) {
    case SETTING_BOOL: buffer_append_text(out, value ? "true" : "false"); return;
    case SETTING_NUMBER: buffer_printf(out, "%lld", (long long)value); return;
    case SETTING_SIZE: units_format_size(out, (uint64_t)value); return;
    case SETTING_TIME: units_format_time(out, value); return;
    }
    unreachable();
}

static json_t *value_to_json(SettingType type, int64_t value) {
    if (type == SETTING_BOOL) return json_boolean(value);
    if (type == SETTING_NUMBER) return json_integer(value);
    _cleanup_(buffer_deinit) Buffer text = {0};
    format_value(&text, type, value);
    return json_string(buffer_text(&text));
}

static int refuse_range(Fault *fault, const Node *value, const SettingInfo *info) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    format_value(&text, info->type, info->least);
    buffer_append_text(&text, " to ");
    format_value(&text, info->type, info->most);
    return fault_plain(fault, value, "Setting \"%s\" must be %s", info->key, buffer_text(&text));
}

static int refuse_kind(Fault *fault, const Node *value, const SettingInfo *info) {
    static const char *const wanted[] = {"true or false", "an integer", "a size such as \"5MB\"", "a length of time such as \"30s\""};
    char excerpt[TEXT_EXCERPT_SIZE];
    if (json_is_string(value->value) && info->type >= SETTING_SIZE)
        return fault_plain(fault, value, "Setting \"%s\" must be %s, not \"%s\"", info->key, wanted[info->type],
                           text_excerpt((Span){json_string_value(value->value), json_string_length(value->value)}, excerpt));
    return fault_plain(fault, value, "Setting \"%s\" must be %s, not %s", info->key, wanted[info->type], json_kind(value->value));
}

/* What the JSON says, before the range is looked at: -EINVAL: the wrong kind, -ERANGE: beyond any
 * range. */
static int value_from_json(const SettingInfo *info, const json_t *value, int64_t *ret_value) {
    if (info->type == SETTING_BOOL) {
        if (!json_is_boolean(value)) return -EINVAL;
        *ret_value = json_is_true(value);
        return 0;
    }
    if (json_is_integer(value) && info->type != SETTING_TIME) {
        *ret_value = json_integer_value(value);
        return 0;
    }
    if (!json_is_string(value) || info->type == SETTING_NUMBER) return -EINVAL;
    Span text = {json_string_value(value), json_string_length(value)};
    if (info->type == SETTING_TIME) return units_parse_time(text, ret_value);
    uint64_t bytes;
    int r = units_parse_size(text, &bytes);
    if (r < 0) return r;
    if (bytes > INT64_MAX) return -ERANGE;
    *ret_value = (int64_t)bytes;
    return 0;
}

static int refuse_key(Fault *fault, const Node *node, const char *key) {
    const char *names[SETTING_COUNT_];
    for (int i = 0; i < SETTING_COUNT_; i++) names[i] = table[i].key;
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer near = {0};
    text_near(&near, span_of(key), names, SETTING_COUNT_);
    return fault_plain(fault, node, "There is no setting \"%s\"%s%s%s", text_excerpt(span_of(key), excerpt),
                       near.size > 0 ? ": did you mean " : "", buffer_text(&near), near.size > 0 ? "?" : "");
}

int settings_apply_one(Fault *fault, Settings *settings, const char *key, const Node *key_node, const Node *value) {
    int id = settings_find(key);
    if (id < 0) {
        int r = refuse_key(fault, key_node, key);
        fault->at_key = true;
        return r;
    }
    const SettingInfo *info = &table[id];
    settings->declared[id] = false;
    if (json_is_null(value->value)) {
        settings->set[id] = false;
        settings->value[id] = 0;
        return 0;
    }
    int64_t number = 0;
    int r = value_from_json(info, value->value, &number);
    if (r == -EINVAL) return refuse_kind(fault, value, info);
    if (r < 0 || number < info->least || number > info->most) return refuse_range(fault, value, info);
    settings->set[id] = true;
    settings->value[id] = number;
    return 0;
}

static int apply_item(Fault *fault, Settings *settings, const Node *item, bool seen[static SETTING_COUNT_]) {
    static const char *const fields[] = {"key", "value", NULL};
    int r = node_object(fault, item, fields, NULL);
    if (r < 0) return r;
    Node key = node_member(item, "key"), value = node_member(item, "value");
    const char *name;
    r = node_text(fault, &key, 1, 255, &name);
    if (r < 0) return r;
    if (value.value == NULL) return fault_at(fault, item, "needs a \"value\" (null resets the setting)");
    int id = settings_find(name);
    if (id >= 0 && seen[id]) return fault_plain(fault, &key, "Setting \"%s\" is given twice", name);
    if (id >= 0) seen[id] = true;
    return settings_apply_one(fault, settings, name, &key, &value);
}

int settings_apply_list(Fault *fault, Settings *settings, const Node *items) {
    Settings changed = *settings;
    bool seen[SETTING_COUNT_] = {0};
    int r = node_array(fault, items, 0, 100);
    for (size_t i = 0; r == 0 && i < json_array_size(items->value); i++) {
        Node item = node_item(items, i);
        r = apply_item(fault, &changed, &item, seen);
    }
    if (r == 0) *settings = changed;
    return r;
}

int settings_apply_any(Fault *fault, Settings *settings, const Node *node) {
    if (!json_is_object(node->value)) {
        if (!json_is_array(node->value))
            return fault_at(fault, node, "must be a list of {key, value} or a map of keys to values, not %s", json_kind(node->value));
        return settings_apply_list(fault, settings, node);
    }
    Settings changed = *settings;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)node->value, key, member) {
        Node value = {.value = member, .parent = node, .key = key};
        int r = settings_apply_one(fault, &changed, key, &value, &value);
        if (r < 0) return r;
    }
    *settings = changed;
    return 0;
}

int settings_apply(Settings *settings, const json_t *items, Error *error) {
    Fault fault = {.error = error};
    Node root = {0}, node = {.value = items, .parent = &root, .key = "settings"};
    return settings_apply_list(&fault, settings, &node);
}

/* Also with null. */
static bool names(const json_t *items, const char *key) {
    for (size_t i = 0; i < json_array_size(items); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(items, i), "key")), key) == 0) return true;
    return false;
}

int settings_declare(Settings *settings, const json_t *items, bool resets, Error *error) {
    Settings given = {0};
    int r = items ? settings_apply(&given, items, error) : 0;
    if (r < 0) return r;
    for (int i = 0; i < SETTING_COUNT_; i++) {
        bool stays = settings->set[i] && !settings->declared[i] && !resets && !names(items, table[i].key);
        given.declared[i] = given.set[i];
        if (!stays) continue;
        given.set[i] = true;
        given.value[i] = settings->value[i];
    }
    *settings = given;
    return 0;
}

json_t *settings_kept(const Settings *settings) {
    json_t *kept = json_array();
    check(kept);
    for (int i = 0; i < SETTING_COUNT_; i++) {
        if (!settings->set[i] || settings->declared[i]) continue;
        json_t *value = value_to_json(table[i].type, settings->value[i]);
        check(json_array_append_new(kept, json_pack("{s:s, s:o}", "key", table[i].key, "value", value)) == 0);
    }
    return kept;
}

static json_t *item_to_json(SettingId id, const Settings *source, const Settings *sink, bool of_sink) {
    const SettingInfo *info = &table[id];
    const Settings *own = of_sink ? sink : source;
    _cleanup_(buffer_deinit) Buffer validation = {0};
    if (info->type != SETTING_BOOL) {
        buffer_append_text(&validation, "minimum=");
        format_value(&validation, info->type, info->least);
        buffer_append_text(&validation, ",maximum=");
        format_value(&validation, info->type, info->most);
    }
    json_t *item = json_pack("{s:s, s:s, s:s, s:o, s:o, s:b, s:b, s:s}", "key", info->key, "type", type_name(info->type), "description",
                             info->description, "value", value_to_json(info->type, settings_effective(id, source, of_sink ? sink : NULL)),
                             "defaultValue", value_to_json(info->type, info->default_value), "overwritten", own && own->set[id],
                             "protected", 0, "validation", buffer_text(&validation));
    check(item != NULL);
    return item;
}

json_t *settings_to_json(const Settings *source, const Settings *sink, bool of_sink) {
    json_t *items = json_array();
    check(items != NULL);
    for (int i = 0; i < SETTING_COUNT_; i++) check(json_array_append_new(items, item_to_json((SettingId)i, source, sink, of_sink)) == 0);
    return items;
}

json_t *settings_store(const Settings *settings) {
    json_t *stored = json_object();
    check(stored != NULL);
    for (int i = 0; i < SETTING_COUNT_; i++)
        if (settings->set[i]) check(json_object_set_new(stored, table[i].key, value_to_json(table[i].type, settings->value[i])) == 0);
    return stored;
}

json_t *settings_store_declared(const Settings *settings) {
    json_t *keys = NULL;
    for (int i = 0; i < SETTING_COUNT_; i++) {
        if (!settings->declared[i]) continue;
        if (!keys) keys = json_array();
        check(keys && json_array_append_new(keys, json_string(table[i].key)) == 0);
    }
    return keys;
}

static int load_declared(Fault *fault, Settings *settings, const Node *keys) {
    int r = keys->value ? node_array(fault, keys, 0, SETTING_COUNT_) : 0;
    for (size_t i = 0; r == 0 && i < json_array_size(keys->value); i++) {
        Node item = node_item(keys, i);
        const char *key = "";
        r = node_text(fault, &item, 1, 255, &key);
        if (r < 0) break;
        int id = settings_find(key);
        if (id < 0 || !settings->set[id]) return fault_at(fault, &item, "is \"%s\", which is not set", key);
        settings->declared[id] = true;
    }
    return r;
}

int settings_load(Settings *settings, const json_t *stored, const json_t *declared, Error *error) {
    Fault fault = {.error = error};
    Node root = {0}, node = {.value = stored, .parent = &root, .key = "settings"};
    Node keys = {.value = declared, .parent = &root, .key = "declaredSettings"};
    Settings loaded = {0};
    if (!json_is_object(stored)) return fault_at(&fault, &node, "must be an object, not %s", json_kind(stored));
    int r = settings_apply_any(&fault, &loaded, &node);
    if (r == 0) r = load_declared(&fault, &loaded, &keys);
    if (r == 0) *settings = loaded;
    return r;
}

bool settings_equal(const Settings *a, const Settings *b) {
    for (int i = 0; i < SETTING_COUNT_; i++)
        if (a->set[i] != b->set[i] || (a->set[i] && a->value[i] != b->value[i])) return false;
    return true;
}

bool settings_declared_equal(const Settings *a, const Settings *b) {
    return memcmp(a->declared, b->declared, sizeof a->declared) == 0;
}

void settings_check_table(void) {
    for (int i = 0; i < SETTING_COUNT_; i++) {
        const SettingInfo *info = &table[i];
        check(info->key && settings_find(info->key) == i);
        check(info->description && *info->description && info->description[strlen(info->description) - 1] == '.');
        check(info->least <= info->default_value && info->default_value <= info->most);
    }
}

bool settings_hold(const Settings *settings) {
    for (int i = 0; i < SETTING_COUNT_; i++) {
        int64_t value = settings->value[i];
        if (settings->declared[i] && !settings->set[i]) return false;
        if (settings->set[i] ? value < table[i].least || value > table[i].most : value != 0) return false;
    }
    return true;
}
