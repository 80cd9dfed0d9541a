/*
 * `sluice apply`: brings a running gateway to what a manifest declares, through the API. Only what the manifest names is compared and sent, so
 * that applying it again changes nothing and what an admin tuned elsewhere stays.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/definition.h"
#include "config/manifest.h"
#include "config/settings.h"
#include "gateway/commands/api_client.h"
#include "gateway/commands/commands.h"

#define SOURCES_PATH "/v1/branches/default/sources"

typedef struct Apply {
    ApiClient client;
    bool dry_run, prune;
    unsigned changes;
} Apply;

/* ---- what differs -------------------------------------------------------------------------------------------------------------------- */

/* Appends to `out` the paths at which `server` differs from `wanted` (the manifest in the API's complete form), looking only where the manifest
 * says something (`given`). Arrays are compared whole: they are replaced whole. */
static void find_differences(const char *path, const json_t *given, const json_t *wanted, const json_t *server, Buffer *out) {
    if (json_is_object(given) && json_is_object(wanted) && json_is_object(server)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)given, key, value) {
            const json_t *want = json_object_get(wanted, key);
            if (!want) continue; /* an alias, or what the server never shows; see secret_differs */
            _cleanup_free_ char *below = NULL;
            check(asprintf(&below, "%s%s%s", path, path[0] ? "." : "", key) >= 0);
            find_differences(below, value, want, json_object_get(server, key), out);
        }
        return;
    }
    if (wanted && server && json_equal(wanted, server)) return;
    buffer_printf(out, "%s%s", out->size ? ", " : "", path);
}

static bool secret_differs(const json_t *given, const json_t *server) {
    const char *secret = json_string_value(json_object_get(given, "secret"));
    const char *url = json_string_value(json_object_get(json_object_get(server, "http"), "url"));
    if (!secret || !url) return false;
    size_t size = strlen(secret), url_size = strlen(url);
    return url_size < size || strcmp(url + url_size - size, secret) != 0;
}

static void say(Apply *apply, char mark, const char *source, const char *sink, const char *what) {
    if (mark != '=') apply->changes++;
    (void)printf("%c %s%s%s%s%s\n", mark, source, sink ? "/" : "", sink ? sink : "", what && what[0] ? ": " : "", what ? what : "");
}

/* 0 and the answer, or 1 when there is no such thing. */
static int get(Apply *apply, const char *path, json_t **ret_answer, Error *error) {
    int status;
    int r = api_client_call(&apply->client, "GET", path, NULL, 0, &status, ret_answer, error);
    if (r < 0) return r;
    if (status == 200) return 0;
    const char *message = json_string_value(json_object_get(*ret_answer, "message"));
    if (status != 404) r = error_set(error, -EPROTO, "%s (HTTP %d)", message ? message : path, status);
    json_decref(*ret_answer);
    *ret_answer = NULL;
    return status == 404 ? 1 : r;
}

static int send_change(Apply *apply, const char *method, const char *path, const json_t *body, Error *error) {
    return apply->dry_run ? 0 : api_client_expect(&apply->client, method, path, body, NULL, error);
}

/* ---- settings ------------------------------------------------------------------------------------------------------------------------ */

/* Does the value in the API's list equal the manifest's, whatever way it is written? */
static bool setting_equal(const json_t *item, const json_t *listed, Error *error) {
    const char *key = json_string_value(json_object_get(item, "key"));
    for (size_t i = 0; i < json_array_size(listed); i++) {
        const json_t *have = json_array_get(listed, i);
        const char *have_key = json_string_value(json_object_get(have, "key"));
        if (!key || !have_key || strcmp(key, have_key) != 0) continue;
        if (json_is_null(json_object_get(item, "value"))) return !json_is_true(json_object_get(have, "overwritten"));
        if (!json_is_true(json_object_get(have, "overwritten"))) return false;
        Settings wanted = {0}, server = {0};
        json_t *wanted_list = json_pack("[{s:s, s:O}]", "key", key, "value", json_object_get(item, "value"));
        json_t *server_list = json_pack("[{s:s, s:O}]", "key", key, "value", json_object_get(have, "value"));
        bool equal = settings_apply(&wanted, wanted_list, error) == 0 && settings_apply(&server, server_list, error) == 0 &&
                     settings_equal(&wanted, &server);
        json_decref(wanted_list);
        json_decref(server_list);
        return equal;
    }
    return false;
}

static int apply_settings(Apply *apply, const char *source, const char *sink, const char *owner_path, const json_t *items, Error *error) {
    if (json_array_size(items) == 0) return 0;
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, "%s/settings", owner_path) > 0);
    json_t *answer = NULL;
    int r = get(apply, path, &answer, error);
    if (r < 0) return r;
    Buffer differences = {0};
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        if (answer && setting_equal(item, json_object_get(answer, "settings"), error)) continue;
        buffer_printf(&differences, "%s%s", differences.size ? ", " : "", json_string_value(json_object_get(item, "key")));
    }
    r = 0;
    if (differences.size > 0) {
        say(apply, '~', source, sink, buffer_text(&differences));
        json_t *body = json_pack("{s:O}", "settings", items);
        r = send_change(apply, "PATCH", path, body, error);
        json_decref(body);
    }
    buffer_deinit(&differences);
    json_decref(answer);
    return r;
}

/* ---- sources and sinks --------------------------------------------------------------------------------------------------------------- */

/* Creates or patches what is at `path`; `wanted` is `given` in the API's complete form. */
static int apply_one(Apply *apply, const char *source, const char *sink, const char *list_path, const char *path, const json_t *given,
                     const json_t *wanted, Error *error) {
    json_t *server = NULL;
    int r = get(apply, path, &server, error);
    if (r < 0) return r;
    if (r == 1) {
        say(apply, '+', source, sink, "");
        return send_change(apply, "POST", list_path, given, error);
    }
    Buffer differences = {0};
    find_differences("", given, wanted, server, &differences);
    if (secret_differs(given, server)) buffer_printf(&differences, "%ssecret", differences.size ? ", " : "");
    say(apply, differences.size ? '~' : '=', source, sink, buffer_text(&differences));
    r = differences.size ? send_change(apply, "PATCH", path, given, error) : 0;
    buffer_deinit(&differences);
    json_decref(server);
    return r;
}

static int apply_sink(Apply *apply, const char *source_id, const char *source_path, const json_t *given, const json_t *settings, bool first,
                      Error *error) {
    _cleanup_(cleanup_sink_unref) Sink *sink = NULL;
    int r = sink_from_request(given, first, &sink, error);
    if (r < 0) return r;
    _cleanup_free_ char *list_path = NULL, *path = NULL;
    check(asprintf(&list_path, "%s/sinks", source_path) > 0 && asprintf(&path, "%s/%s", list_path, sink->sink_id) > 0);
    json_t *wanted = sink_to_json(sink);
    r = apply_one(apply, source_id, sink->sink_id, list_path, path, given, wanted, error);
    json_decref(wanted);
    if (r == 0) r = apply_settings(apply, source_id, sink->sink_id, path, settings, error);
    return r < 0 ? error_prefix(error, "%s/%s", source_id, sink->sink_id) : 0;
}

/* Deletes the source's sinks that the manifest does not name. */
static int prune_sinks(Apply *apply, const char *source_id, const char *source_path, const ManifestSource *declared, Error *error) {
    _cleanup_free_ char *list_path = NULL;
    check(asprintf(&list_path, "%s/sinks?limit=100", source_path) > 0);
    json_t *answer = NULL;
    int r = get(apply, list_path, &answer, error);
    const json_t *sinks = json_object_get(answer, "sinks");
    for (size_t i = 0; r == 0 && i < json_array_size(sinks); i++) {
        const char *id = json_string_value(json_object_get(json_array_get(sinks, i), "sinkId"));
        bool named = false;
        for (size_t k = 0; k < declared->sink_count; k++) {
            const char *wanted = json_string_value(json_object_get(declared->sinks[k], "sinkId"));
            named = named || (wanted && strcmp(wanted, id) == 0);
        }
        if (named) continue;
        _cleanup_free_ char *path = NULL;
        check(asprintf(&path, "%s/sinks/%s", source_path, id) > 0);
        say(apply, '-', source_id, id, "");
        r = send_change(apply, "DELETE", path, NULL, error);
    }
    json_decref(answer);
    return r == 1 ? 0 : r;
}

static int apply_source(Apply *apply, const ManifestSource *declared, Error *error) {
    _cleanup_(cleanup_source_unref) Source *source = NULL;
    int r = source_from_request(declared->source, &source, error);
    if (r < 0) return r;
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, SOURCES_PATH "/%s", source->source_id) > 0);
    json_t *wanted = source_to_json(source, "", 1, true);
    r = apply_one(apply, source->source_id, NULL, SOURCES_PATH, path, declared->source, wanted, error);
    json_decref(wanted);
    if (r == 0) r = apply_settings(apply, source->source_id, NULL, path, declared->settings, error);
    if (r < 0) return error_prefix(error, "%s", source->source_id);
    for (size_t i = 0; r == 0 && i < declared->sink_count; i++)
        r = apply_sink(apply, source->source_id, path, declared->sinks[i], declared->sink_settings[i],
                       i == 0 && source->framing == FRAMING_SINGLE, error);
    if (r == 0 && apply->prune) r = prune_sinks(apply, source->source_id, path, declared, error);
    return r;
}

static int run(int argc, char **argv) {
    Arguments arguments = {.argc = argc, .argv = argv};
    const char *file = NULL, *admin = NULL, *token_file = NULL, *data = NULL;
    Apply apply = {0};
    while (arguments.at < argc) {
        const char *value;
        if ((value = arguments_value(&arguments, "-f"))) {
            file = value;
        } else if ((value = arguments_value(&arguments, "--admin"))) {
            admin = value;
        } else if ((value = arguments_value(&arguments, "--token-file"))) {
            token_file = value;
        } else if ((value = arguments_value(&arguments, "--data"))) {
            data = value;
        } else if (arguments_flag(&arguments, "--dry-run")) {
            apply.dry_run = true;
        } else if (arguments_flag(&arguments, "--prune")) {
            apply.prune = true;
        } else {
            return arguments_wrong(&command_apply, "there is no argument", argv[arguments.at]);
        }
    }
    if (!file) return arguments_wrong(&command_apply, "name a manifest with -f", NULL);

    Error error = {0};
    Manifest manifest = {0};
    int r = manifest_load(file, &manifest, &error);
    if (r < 0) {
        (void)fprintf(stderr, "%s\n", error.text);
        manifest_deinit(&manifest);
        return EXIT_USAGE;
    }
    r = api_client_init(&apply.client, admin, token_file, data, &error);
    for (size_t i = 0; r == 0 && i < manifest.count; i++) r = apply_source(&apply, &manifest.sources[i], &error);
    if (r < 0) {
        expansions_hide(&manifest.expansions, &error); /* the gateway's words may repeat what it was sent */
        (void)fprintf(stderr, "sluice apply: %s\n", error.text);
    } else {
        (void)printf("%u %s%s\n", apply.changes, apply.changes == 1 ? "change" : "changes",
                     apply.dry_run ? " (dry run: none was made)" : "");
    }
    api_client_deinit(&apply.client);
    manifest_deinit(&manifest);
    return r < 0 ? EXIT_RUNTIME : EXIT_SUCCESS;
}

const Command command_apply = {
    .name = "apply",
    .usage = "-f MANIFEST.yaml [--dry-run] [--prune]",
    .summary = "Create or update sources and sinks.",
    .help = "  -f FILE             a manifest of sources and sinks\n"
            "  --dry-run           only say what would change\n"
            "  --prune             delete the sinks of the manifest's sources that it does not name\n"
            "  --admin URL         the admin address; SLUICE_ADMIN, or http://127.0.0.1:7001\n"
            "  --token-file FILE   holds a token; SLUICE_TOKEN, or admin.token of --data\n"
            "  --data DIR          the data directory of a local gateway, ./data\n\n"
            "Each line says what was created (+), changed (~), deleted (-) or is as declared (=).\n",
    .run = run,
};
