/* A manifest says all of a definition: what it leaves out has its default again, and what is shown
 * of a definition as a manifest gives the same one. For random definitions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/definition_parts.h"
#include "config/manifest.h"
#include "config/manifest_form.h"
#include "config/manifest_keeps.h"
#include "config/source_http.h"
#include "config/yaml_write.h"
#include "tests/support/random-definition.h"

#define ROUNDS 400

static const char *const kinds[] = {"http", "kafka", "nats"};

static Source *make_source(const json_t *body) {
    Source *source;
    Error error = {0};
    if (source_from_request(body, &source, &error) < 0) fail_msg("%s", error.text);
    return source;
}

static Sink *make_sink(const Source *source, const json_t *body) {
    Sink *sink;
    Error error = {0};
    if (sink_from_request(body, false, &sink, &error) < 0) fail_msg("%s", error.text);
    sink_complete(source, sink);
    return sink;
}

static const json_t *at_path(const json_t *object, const char *path) {
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) object = json_object_getn(object, path, (size_t)(dot - path));
    return json_object_get(object, path);
}

static bool alike(const json_t *a, const json_t *b) {
    return a && b ? json_equal(a, b) : a == b;
}

static void assert_alike(const json_t *now, const json_t *wanted, const json_t *body) {
    if (alike(now, wanted)) return;
    char *is = json_dumps(now, JSON_SORT_KEYS), *should = json_dumps(wanted, JSON_SORT_KEYS), *by = json_dumps(body, JSON_SORT_KEYS);
    fail_msg("\n%s declares\n%s and not\n%s", by, is, should);
}

/* ---- what is left out ------------------------------------------------------------------------ */

/* By path: how often it was left out, and how often that took something back. */
typedef struct Seen {
    json_t *paths;
    unsigned *lacks, *back;
} Seen;

static Seen seen_of(const char *kind) {
    Seen seen = {.paths = random_definition_paths(kind)};
    size_t count = json_array_size(seen.paths);
    seen.lacks = calloc(count, sizeof *seen.lacks);
    seen.back = calloc(count, sizeof *seen.back);
    assert_true(seen.lacks && seen.back);
    return seen;
}

/* `was`, `now`: forms before and after `body` was declared. */
static void see(Seen *seen, const char *of, const json_t *was, const json_t *now, const json_t *body) {
    size_t i;
    json_t *path;
    json_array_foreach(seen->paths, i, path) {
        const char *name = json_string_value(path);
        if (strstr(name, "[]") || at_path(body, name)) continue;
        seen->lacks[i]++;
        bool stays = alike(at_path(was, name), at_path(now, name));
        if (manifest_keeps_field(of, name)) {
            if (!stays) fail_msg("%s of a %s is not kept", name, of);
        } else {
            seen->back[i] += !stays;
        }
    }
}

static void assert_seen(Seen *seen, const char *of) {
    size_t i;
    json_t *path;
    json_array_foreach(seen->paths, i, path) {
        const char *name = json_string_value(path);
        bool identity = strcmp(name, "type") == 0 || strcmp(name, "sourceId") == 0 || strcmp(name, "sinkId") == 0;
        if (identity || seen->lacks[i] == 0 || manifest_keeps_field(of, name)) continue; /* it is needed when it is never left out */
        if (seen->back[i] == 0) fail_msg("%s of a %s was never taken back", name, of);
    }
    json_decref(seen->paths);
    free(seen->lacks);
    free(seen->back);
}

/* What `old` would be made of `body` alone, but for what is kept. */
static json_t *wanted_of(const char *of, json_t *take_fresh, const json_t *old, const json_t *body) {
    for (const ManifestKeep *row = manifest_keeps; row->what; row++)
        if (row->field && strcmp(row->of, of) == 0 && !json_object_get(body, row->field) && json_object_get(old, row->field))
            assert_int_equal(json_object_set(take_fresh, row->field, json_object_get(old, row->field)), 0);
    return take_fresh;
}

static void declare_source(RandomJson *random, const char *kind, Seen *seen) {
    json_t *first = random_source(random, kind, "shop"), *body = random_source(random, kind, "shop");
    Source *old = make_source(first), *now, *fresh = make_source(body);
    Error error = {0};
    assert_int_equal(source_declared(old, body, &now, &error), 0);
    json_t *was = source_request_form(old), *is = source_request_form(now);
    json_t *wanted = wanted_of("source", source_request_form(fresh), was, body);
    assert_alike(is, wanted, body);
    see(seen, "source", was, is, body);
    json_decref(was);
    json_decref(is);
    json_decref(wanted);
    json_decref(first);
    json_decref(body);
    source_unref(old);
    source_unref(now);
    source_unref(fresh);
}

static void declare_sink(RandomJson *random, const char *kind, Seen *seen) {
    json_t *of_source = random_source(random, kind, "shop");
    Source *source = make_source(of_source);
    json_t *first = random_sink(random, source, "orders"), *body = random_sink(random, source, "orders");
    Sink *old = make_sink(source, first), *now, *fresh = make_sink(source, body);
    Error error = {0};
    assert_int_equal(sink_declared(old, body, &now, &error), 0);
    json_t *was = sink_request_form(old), *is = sink_request_form(now);
    json_t *wanted = wanted_of("sink", sink_request_form(fresh), was, body);
    assert_alike(is, wanted, body);
    see(seen, "sink", was, is, body);
    json_decref(was);
    json_decref(is);
    json_decref(wanted);
    json_decref(first);
    json_decref(body);
    json_decref(of_source);
    source_unref(source);
    sink_unref(old);
    sink_unref(now);
    sink_unref(fresh);
}

static void a_field_that_is_left_out_has_its_default_again(void **state) {
    (void)state;
    Seen of_sinks = seen_of(NULL);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        Seen of_sources = seen_of(kinds[kind]);
        for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
            RandomJson random = {.state = seed};
            declare_source(&random, kinds[kind], &of_sources);
            declare_sink(&random, kinds[kind], &of_sinks);
        }
        assert_seen(&of_sources, "source");
    }
    assert_seen(&of_sinks, "sink");
}

static void all_fields_have_values_here(void **state) {
    (void)state;
    random_definition_check();
}

static void ids_and_types_do_not_change(void **state) {
    (void)state;
    RandomJson random = {.state = 1};
    json_t *http = random_source(&random, "http", "shop"), *other = random_source(&random, "http", "other"),
           *nats = random_source(&random, "nats", "shop");
    Source *old = make_source(http), *now;
    Error error = {0};
    assert_int_equal(source_declared(old, other, &now, &error), -EINVAL);
    assert_non_null(strstr(error.text, "\"sourceId\" cannot be changed"));
    assert_int_equal(source_declared(old, nats, &now, &error), -EINVAL);
    assert_non_null(strstr(error.text, "\"type\" cannot be changed"));
    json_decref(http);
    json_decref(other);
    json_decref(nats);
    source_unref(old);
}

/* ---- settings -------------------------------------------------------------------------------- */

#define COUNT_KEY "storage.level.target.import.trigger.count"
#define SIZE_KEY "storage.level.target.import.trigger.size"

static void set_by(int (*setter)(Settings *, const json_t *, Error *), Settings *settings, const char *text) {
    json_t *items = json_loads(text, 0, NULL);
    assert_non_null(items);
    assert_int_equal(setter(settings, items, NULL), 0);
    json_decref(items);
}

static int by_manifest(Settings *settings, const json_t *items, Error *error) {
    return settings_declare(settings, items, false, error);
}

static void assert_kept(const Settings *settings, const char *text) {
    json_t *kept = settings_kept(settings), *wanted = json_loads(text, 0, NULL);
    assert_alike(kept, wanted, NULL);
    json_decref(kept);
    json_decref(wanted);
}

static void settings_of_the_api_stay_and_those_of_a_manifest_go(void **state) {
    (void)state;
    Settings settings = {0};
    set_by(by_manifest, &settings, "[{\"key\":\"" COUNT_KEY "\",\"value\":7}]");
    set_by(settings_apply, &settings, "[{\"key\":\"" SIZE_KEY "\",\"value\":\"1MB\"}]");
    assert_kept(&settings, "[{\"key\":\"" SIZE_KEY "\",\"value\":\"1MB\"}]");
    set_by(by_manifest, &settings, "[]");
    assert_false(settings.set[SETTING_IMPORT_COUNT]);
    assert_true(settings.set[SETTING_IMPORT_SIZE]);
    /* What a manifest had set, and the API since, is the API's. */
    set_by(by_manifest, &settings, "[{\"key\":\"" COUNT_KEY "\",\"value\":7}]");
    set_by(settings_apply, &settings, "[{\"key\":\"" COUNT_KEY "\",\"value\":8}]");
    assert_int_equal(settings_declare(&settings, NULL, false, NULL), 0);
    assert_int_equal(settings.value[SETTING_IMPORT_COUNT], 8);
    /* A manifest with a value takes it over, and null takes it back. */
    set_by(by_manifest, &settings, "[{\"key\":\"" COUNT_KEY "\",\"value\":8},{\"key\":\"" SIZE_KEY "\",\"value\":null}]");
    assert_kept(&settings, "[]");
    assert_false(settings.set[SETTING_IMPORT_SIZE]);
    set_by(settings_apply, &settings, "[{\"key\":\"" SIZE_KEY "\",\"value\":\"1MB\"}]");
    assert_int_equal(settings_declare(&settings, NULL, true, NULL), 0);
    assert_true(settings_equal(&settings, &(Settings){0}) && settings_declared_equal(&settings, &(Settings){0}));
}

/* ---- a definition as a manifest -------------------------------------------------------------- */

static void set_settings(RandomJson *random, Settings *settings) {
    json_t *map = random_settings(random), *items = json_array(), *value;
    const char *key;
    json_object_foreach(map, key, value) json_array_append_new(items, json_pack("{s:s, s:O}", "key", key, "value", value));
    assert_int_equal(settings_apply(settings, items, NULL), 0);
    json_decref(map);
    json_decref(items);
}

static bool replaces(const Sink *sink) {
    return sink->target.table.strategy == STRATEGY_REPLACE;
}

/* One to three sinks, which go together. */
static size_t some_sinks(RandomJson *random, const Source *source, Sink *sinks[static 3]) {
    size_t count = 1 + random_json_below(random, 3);
    for (size_t i = 0; i < count;) {
        char id[16];
        (void)snprintf(id, sizeof id, "sink-%zu", i);
        json_t *body = random_sink(random, source, id);
        sinks[i] = make_sink(source, body);
        json_decref(body);
        if (replaces(sinks[i]) != replaces(sinks[0])) {
            sink_unref(sinks[i]);
            continue;
        }
        set_settings(random, &sinks[i]->settings);
        sinks[i]->disabled = random_json_below(random, 2) == 0;
        if (random_json_below(random, 2) == 0) pause_begin(&sinks[i]->paused, 1, 1, "somebody");
        i++;
    }
    return count;
}

static void assert_same(json_t *take_differences, const char *text) {
    char *list = json_dumps(take_differences, 0);
    if (json_array_size(take_differences) > 0) fail_msg("differs in %s:\n%s", list, text);
    free(list);
    json_decref(take_differences);
}

static void read_back(const Source *source, Sink *const *sinks, size_t count, const char *text) {
    Manifest manifest;
    Error error = {0};
    if (manifest_parse("shop.yaml", text, strlen(text), NULL, &manifest, &error) < 0) fail_msg("%s\n%s", error.text, text);
    assert_int_equal(manifest.count, 1);
    const ManifestSource *declared = &manifest.sources[0];
    Source *now;
    assert_int_equal(source_declared(source, declared->source, &now, &error), 0);
    assert_int_equal(settings_declare(&now->settings, declared->settings, true, &error), 0);
    assert_same(source_differences(source, now), text);
    source_unref(now);
    assert_int_equal(declared->sink_count, count);
    for (size_t i = 0; i < count; i++) {
        Sink *sink;
        assert_int_equal(sink_declared(sinks[i], declared->sinks[i], &sink, &error), 0);
        assert_int_equal(settings_declare(&sink->settings, declared->sink_settings[i], true, &error), 0);
        assert_same(sink_differences(sinks[i], sink), text);
        sink_unref(sink);
    }
    manifest_deinit(&manifest);
}

static void go_round(RandomJson *random, const char *kind) {
    json_t *body = random_source(random, kind, "shop"), *list = json_array(), *settings_list = json_array();
    Source *source = make_source(body);
    Sink *sinks[3];
    size_t count = some_sinks(random, source, sinks);
    set_settings(random, &source->settings);
    if (random_json_below(random, 2) == 0) pause_begin(&source->paused, 1, 1, "somebody");
    source->disabled = random_json_below(random, 2) == 0;
    json_t *shown = source_to_json(source, "http://x", 1, true), *settings = settings_to_json(&source->settings, NULL, false);
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, sink_to_json(sinks[i]));
        json_array_append_new(settings_list, settings_to_json(&source->settings, &sinks[i]->settings, true));
    }
    json_t *form = manifest_form(shown, settings, list, settings_list);
    Buffer text = {0};
    yaml_write(form, &text);
    if (source_http(source)) assert_null(strstr(buffer_text(&text), source_http(source)->secret));
    read_back(source, sinks, count, buffer_text(&text));
    buffer_deinit(&text);
    json_decref(form);
    json_decref(shown);
    json_decref(settings);
    json_decref(list);
    json_decref(settings_list);
    json_decref(body);
    for (size_t i = 0; i < count; i++) sink_unref(sinks[i]);
    source_unref(source);
}

static void what_is_shown_as_a_manifest_is_the_same_definition(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        RandomJson random = {.state = seed};
        go_round(&random, kinds[seed % (sizeof kinds / sizeof *kinds)]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fields_have_values_here),
        cmocka_unit_test(a_field_that_is_left_out_has_its_default_again),
        cmocka_unit_test(ids_and_types_do_not_change),
        cmocka_unit_test(settings_of_the_api_stay_and_those_of_a_manifest_go),
        cmocka_unit_test(what_is_shown_as_a_manifest_is_the_same_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
