#include <stdio.h>
#include <string.h>

#include "config/definition.h"
#include "config/definition_parts.h"

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
