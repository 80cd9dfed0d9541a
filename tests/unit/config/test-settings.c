#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "config/settings.h"
#include "config/settings_parts.h"

#define COUNT_KEY "storage.level.target.import.trigger.count"
#define SIZE_KEY "storage.level.staging.upload.trigger.size"
#define TIME_KEY "storage.level.target.import.trigger.interval"

static json_t *parse(const char *text) {
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    return json;
}

static int apply(Settings *settings, const char *text, Error *error) {
    json_t *json = parse(text);
    int r = settings_apply(settings, json, error);
    json_decref(json);
    return r;
}

static void defaults_are_those_of_the_contract(void **state) {
    static const int64_t defaults[SETTING_COUNT_] = {1, 10000, 5 << 20, 30 * USEC_SECOND, 50000, 50 << 20, USEC_MINUTE};
    for (int i = 0; i < SETTING_COUNT_; i++) {
        assert_true(settings_effective((SettingId)i, NULL, NULL) == defaults[i]);
        assert_int_equal(settings_find(settings_info((SettingId)i)->key), i);
    }
    assert_int_equal(settings_find("storage"), -1);
}

static void a_sink_overrides_its_source(void **state) {
    Settings source = {0}, sink = {0};
    assert_int_equal(apply(&source, "[{\"key\":\"" COUNT_KEY "\",\"value\":7},{\"key\":\"" SIZE_KEY "\",\"value\":\"1MB\"}]", NULL), 0);
    assert_int_equal(apply(&sink, "[{\"key\":\"" COUNT_KEY "\",\"value\":1}]", NULL), 0);
    assert_int_equal(settings_effective(SETTING_IMPORT_COUNT, &source, &sink), 1);
    assert_int_equal(settings_effective(SETTING_UPLOAD_SIZE, &source, &sink), 1 << 20);
    assert_int_equal(apply(&sink, "[{\"key\":\"" COUNT_KEY "\",\"value\":null}]", NULL), 0);
    assert_int_equal(settings_effective(SETTING_IMPORT_COUNT, &source, &sink), 7);
}

static void kinds_and_ranges_are_named(void **state) {
    static const struct {
        const char *items, *says;
    } cases[] = {
        {"[{\"key\":\"" COUNT_KEY "\",\"value\":0}]", "\"" COUNT_KEY "\" must be 1 to 10000000"},
        {"[{\"key\":\"" COUNT_KEY "\",\"value\":\"10\"}]", "must be an integer, not a string"},
        {"[{\"key\":\"" COUNT_KEY "\",\"value\":1.5}]", "must be an integer, not a number with a fraction"},
        {"[{\"key\":\"" SIZE_KEY "\",\"value\":\"99B\"}]", "must be 100B to 50MB"},
        {"[{\"key\":\"" SIZE_KEY "\",\"value\":\"99999999999999TB\"}]", "must be 100B to 50MB"},
        {"[{\"key\":\"" SIZE_KEY "\",\"value\":-5}]", "must be 100B to 50MB"},
        {"[{\"key\":\"" SIZE_KEY "\",\"value\":\"big\"}]", "must be a size such as \"5MB\", not \"big\""},
        {"[{\"key\":\"" TIME_KEY "\",\"value\":60}]", "must be a length of time such as \"30s\", not an integer"},
        {"[{\"key\":\"" TIME_KEY "\",\"value\":\"29s\"}]", "must be 30s to 1d"},
        {"[{\"key\":\"storage.level.local.encoding.sync.wait\",\"value\":1}]", "must be true or false"},
        {"[{\"key\":\"storage.level.target.import.trigger.cuont\",\"value\":1}]", "did you mean \"" COUNT_KEY "\""},
        {"[{\"key\":\"nothing\",\"value\":1}]", "There is no setting \"nothing\""},
        {"[{\"key\":\"" COUNT_KEY "\"}]", "Field \"settings[0]\" needs a \"value\""},
        {"[{\"value\":1}]", "Field \"settings[0].key\" must be a string, not nothing"},
        {"[{\"key\":\"" COUNT_KEY "\",\"value\":1,\"x\":1}]", "Field \"settings[0].x\" is not known here (allowed: key, value)"},
        {"[{\"key\":\"" COUNT_KEY "\",\"value\":1},{\"key\":\"" COUNT_KEY "\",\"value\":2}]", "given twice"},
        {"{\"" COUNT_KEY "\":1}", "Field \"settings\" must be an array, not an object"},
        {"[5]", "Field \"settings[0]\" must be an object, not an integer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Settings settings = {0};
        Error error = {0};
        assert_int_equal(apply(&settings, cases[i].items, &error), -EINVAL);
        if (strstr(error.text, cases[i].says) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, cases[i].says);
    }
    assert_int_equal(settings_apply(&(Settings){0}, NULL, NULL), -EINVAL);
}

static void a_refused_change_changes_nothing(void **state) {
    Settings settings = {0};
    assert_int_equal(apply(&settings, "[{\"key\":\"" COUNT_KEY "\",\"value\":5},{\"key\":\"nothing\",\"value\":5}]", NULL), -EINVAL);
    assert_true(settings_equal(&settings, &(Settings){0}));
}

static void items_show_value_default_and_bounds(void **state) {
    Settings source = {0}, sink = {0};
    assert_int_equal(apply(&source, "[{\"key\":\"" SIZE_KEY "\",\"value\":2048}]", NULL), 0);
    for (int of_sink = 0; of_sink < 2; of_sink++) {
        json_t *items = settings_to_json(&source, &sink, of_sink);
        assert_int_equal(json_array_size(items), SETTING_COUNT_);
        json_t *item = json_array_get(items, SETTING_UPLOAD_SIZE);
        assert_string_equal(json_string_value(json_object_get(item, "key")), SIZE_KEY);
        assert_string_equal(json_string_value(json_object_get(item, "value")), "2KB");
        assert_string_equal(json_string_value(json_object_get(item, "defaultValue")), "5MB");
        assert_string_equal(json_string_value(json_object_get(item, "validation")), "minimum=100B,maximum=50MB");
        assert_int_equal(json_is_true(json_object_get(item, "overwritten")), !of_sink);
        assert_true(json_is_false(json_object_get(item, "protected")));
        item = json_array_get(items, SETTING_IMPORT_COUNT);
        assert_int_equal(json_integer_value(json_object_get(item, "value")), 50000);
        assert_string_equal(json_string_value(json_object_get(item, "validation")), "minimum=1,maximum=10000000");
        assert_true(json_is_true(json_object_get(json_array_get(items, SETTING_SYNC_WAIT), "value")));
        json_decref(items);
    }
}

static void what_is_stored_comes_back(void **state) {
    Settings settings = {0}, loaded = {0};
    assert_int_equal(apply(&settings,
                           "[{\"key\":\"" COUNT_KEY "\",\"value\":3},{\"key\":\"" SIZE_KEY "\",\"value\":1001},{\"key\":\"" TIME_KEY
                           "\",\"value\":\"90s\"},{\"key\":\"storage.level.local.encoding.sync.wait\",\"value\":false}]",
                           NULL),
                     0);
    json_t *stored = settings_store(&settings);
    assert_int_equal(json_object_size(stored), 4);
    assert_int_equal(settings_load(&loaded, stored, NULL, NULL), 0);
    assert_true(settings_equal(&settings, &loaded));
    json_decref(stored);
    assert_true(settings_hold(&settings));
    loaded.value[SETTING_IMPORT_COUNT] = 0;
    assert_false(settings_hold(&loaded)); /* it is set, and below its least */
    loaded = settings;
    Error error = {0};
    assert_int_equal(settings_load(&loaded, NULL, NULL, &error), -EINVAL);
    assert_true(settings_equal(&settings, &loaded));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),  cmocka_unit_test(a_sink_overrides_its_source),
        cmocka_unit_test(kinds_and_ranges_are_named),          cmocka_unit_test(a_refused_change_changes_nothing),
        cmocka_unit_test(items_show_value_default_and_bounds), cmocka_unit_test(what_is_stored_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
