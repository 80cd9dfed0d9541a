#include <errno.h>
#include <string.h>

#include "base/random.h"
#include "base/span.h"
#include "base/text.h"
#include "config/definition.h"
#include "config/definition_parts.h"

#define NAME_CHARACTERS_MAX 40
#define DESCRIPTION_BYTES_MAX 4096
#define SECRET_CHARACTERS 48
#define SECRET_CHARACTERS_MIN 32
#define SECRET_CHARACTERS_MAX 256
#define RATE_MAX 10000000

#define NOT_BUILT "is not supported by this build yet"
#define BY_SERVER "is decided by the server; leave it out"

static const char *const source_fields[] = {"sourceId", "name",    "description", "type",   "framing",
                                            "rate",     "discard", "errorDetail", "secret", NULL};
static const Refusal source_refusals[] = {
    {"idempotency", NOT_BUILT},
    {"kafka", NOT_BUILT},
    {"nats", NOT_BUILT},
    {"http", BY_SERVER},
    {"version", BY_SERVER},
    {"number", BY_SERVER},
    {"created", BY_SERVER},
    {"disabled", "is changed through …/enable and …/disable; leave it out"},
    {"paused", "is changed through …/pause and …/resume; leave it out"},
    {"deleted", "is changed through DELETE and …/undelete; leave it out"},
    {"settings", "has an endpoint of its own: …/settings"},
    {"sinks", "has an endpoint of its own: …/sinks"},
    {0},
};
static const char *const sink_fields[] = {"sinkId", "name", "description", "type", "onInvalid", "table", NULL};
static const Refusal sink_refusals[] = {
    {"version", BY_SERVER},
    {"number", BY_SERVER},
    {"created", BY_SERVER},
    {"disabled", "is changed through …/enable and …/disable; leave it out"},
    {"paused", "is changed through …/pause and …/resume; leave it out"},
    {"deleted", "is changed through DELETE and …/undelete; leave it out"},
    {"settings", "has an endpoint of its own: …/settings"},
    {0},
};
static const Refusal source_type_refusals[] = {{"kafka", "which " NOT_BUILT ": use http"},
                                               {"nats", "which " NOT_BUILT ": use http"},
                                               {"stream", "which " NOT_BUILT ": use http"},
                                               {0}};

/* ---- ids, names, descriptions: the same for sources and sinks ---- */

static int read_name(Fault *fault, const Node *body, const char **ret_name) {
    Node node = node_member(body, "name");
    int r = node_text(fault, &node, 1, 4 * NAME_CHARACTERS_MAX, ret_name);
    if (r != 0) return r;
    Span name = {*ret_name, strlen(*ret_name)};
    if (!text_is_plain(name)) return fault_at(fault, &node, "must not hold control characters");
    size_t characters = text_characters(name);
    if (characters > NAME_CHARACTERS_MAX)
        return fault_at(fault, &node, "must have 1 to %d characters, not %zu", NAME_CHARACTERS_MAX, characters);
    if (strspn(*ret_name, " ") == name.size) return fault_at(fault, &node, "must not be blank");
    return 0;
}

/* Name and id; each may stand for the other when it is missing. */
static int read_identity(Fault *fault, const Node *body, const char *id_field, char **ret_id, char **ret_name) {
    Node id_node = node_member(body, id_field), name_node = node_member(body, "name");
    const char *id = NULL, *name = NULL;
    int r = 0;
    if (node_given(&name_node)) r = read_name(fault, body, &name);
    if (r == 0 && node_given(&id_node)) {
        r = node_text(fault, &id_node, 1, SIZE_MAX, &id);
        if (r == 0 && !identifier_valid(id))
            r = fault_at(fault, &id_node, "must be 1 to 48 of a-z, 0-9, '-' and '_', and begin with a letter or digit");
    }
    if (r != 0) return r;
    if (name == NULL && id == NULL) return fault_at(fault, body, "needs a \"name\" (or at least a \"%s\")", id_field);
    _cleanup_free_ char *own_id = id ? text_copy(id) : identifier_slug(name);
    if (own_id[0] == 0) return fault_at(fault, &name_node, "holds no letter or digit to make an id of: give \"%s\" too", id_field);
    /* An id may be longer than a name, and is one byte a character. */
    char *own_name = name ? text_copy(name) : strndup(own_id, NAME_CHARACTERS_MAX);
    check(own_name != NULL);
    *ret_name = own_name;
    *ret_id = steal(own_id);
    return 0;
}

static int read_description(Fault *fault, const Node *body, char **ret_description) {
    Node node = node_member(body, "description");
    const char *text = "";
    if (node_given(&node)) {
        int r = node_text(fault, &node, 0, DESCRIPTION_BYTES_MAX, &text);
        if (r != 0) return r;
    }
    *ret_description = text_copy(text);
    return 0;
}

/* One of `choices` into an int that keeps its value when the field is missing. */
static int read_choice(Fault *fault, const Node *body, const char *field, const char *const *choices, const Refusal *refused, int *choice) {
    Node node = node_member(body, field);
    return node_given(&node) ? node_choice(fault, &node, choices, refused, choice) : 0;
}

/* ---- source ---- */

static int read_secret(Fault *fault, const Node *body, const Source *old, char **ret_secret) {
    Node node = node_member(body, "secret");
    if (!node_given(&node)) {
        if (old) {
            *ret_secret = text_copy(old->secret);
            return 0;
        }
        char secret[SECRET_CHARACTERS + 1];
        random_secret(secret, SECRET_CHARACTERS);
        *ret_secret = text_copy(secret);
        return 0;
    }
    const char *text;
    int r = node_text(fault, &node, 0, SIZE_MAX, &text);
    if (r != 0) return r;
    size_t length = strlen(text);
    size_t valid = strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-");
    if (length < SECRET_CHARACTERS_MIN || length > SECRET_CHARACTERS_MAX || valid != length)
        return fault_at(fault, &node, "must be %d to %d of 0-9, A-Z, a-z, '_' and '-'", SECRET_CHARACTERS_MIN, SECRET_CHARACTERS_MAX);
    *ret_secret = text_copy(text);
    return 0;
}

static int read_rate(Fault *fault, const Node *body, Source *source) {
    static const char *const fields[] = {"events", "burst", NULL};
    Node node = node_member(body, "rate");
    if (!node_given(&node)) return 0;
    int r = node_object(fault, &node, fields, NULL);
    if (r != 0) return r;
    Node events_node = node_member(&node, "events"), burst_node = node_member(&node, "burst");
    if (!node_given(&events_node)) return fault_at(fault, &node, "needs \"events\" (a second)");
    int64_t events = 0, burst = 0;
    r = node_integer(fault, &events_node, 1, RATE_MAX, &events);
    if (r != 0) return r;
    burst = events;
    if (node_given(&burst_node)) r = node_integer(fault, &burst_node, 1, RATE_MAX, &burst);
    if (r != 0) return r;
    source->rate_events = (uint32_t)events;
    source->rate_burst = (uint32_t)burst;
    return 0;
}

int source_read(Fault *fault, const Node *body, const Source *old, Source **ret_source) {
    static const char *const types[] = {"http", NULL};
    int r = node_object(fault, body, source_fields, source_refusals);
    if (r != 0) return r;
    _cleanup_(cleanup_source_unref) Source *source = source_new();
    int type = 0, framing = FRAMING_SINGLE, detail = ERROR_DETAIL_FULL;
    r = read_identity(fault, body, "sourceId", &source->source_id, &source->name);
    if (r == 0) r = read_description(fault, body, &source->description);
    if (r == 0) r = read_choice(fault, body, "type", types, source_type_refusals, &type);
    if (r == 0) r = read_choice(fault, body, "framing", framing_names, NULL, &framing);
    if (r == 0) r = read_choice(fault, body, "errorDetail", error_detail_names, NULL, &detail);
    if (r == 0) r = read_rate(fault, body, source);
    if (r == 0) r = node_optional_bool(fault, body, "discard", &source->discard);
    if (r == 0) r = read_secret(fault, body, old, &source->secret);
    if (r != 0) return r;
    source->framing = (Framing)framing;
    source->error_detail = (ErrorDetail)detail;
    *ret_source = steal(source);
    return 0;
}

int source_from_request(const json_t *body, Source **ret_source, Error *error) {
    Fault fault = {.error = error};
    Node root = {.value = body};
    return source_read(&fault, &root, NULL, ret_source);
}

/* ---- sink ---- */

int sink_read(Fault *fault, const Node *body, bool first_of_single, const Sink *old, Sink **ret_sink) {
    static const char *const types[] = {"table", NULL};
    int r = node_object(fault, body, sink_fields, sink_refusals);
    if (r != 0) return r;
    _cleanup_(cleanup_sink_unref) Sink *sink = sink_new();
    Node table = node_member(body, "table");
    int type = 0, on_invalid = old ? (int)old->on_invalid : first_of_single ? ON_INVALID_REJECT : ON_INVALID_QUARANTINE;
    r = read_identity(fault, body, "sinkId", &sink->sink_id, &sink->name);
    if (r == 0) r = read_description(fault, body, &sink->description);
    if (r == 0) r = read_choice(fault, body, "type", types, NULL, &type);
    if (r == 0) r = read_choice(fault, body, "onInvalid", on_invalid_names, NULL, &on_invalid);
    if (r == 0 && !node_given(&table)) r = fault_at(fault, body, "needs a \"table\"");
    if (r == 0) r = table_read(fault, &table, &sink->table);
    if (r != 0) return r;
    sink->on_invalid = (OnInvalid)on_invalid;
    *ret_sink = steal(sink);
    return 0;
}

int sink_from_request(const json_t *body, bool first_of_single, Sink **ret_sink, Error *error) {
    Fault fault = {.error = error};
    Node root = {.value = body};
    return sink_read(&fault, &root, first_of_single, NULL, ret_sink);
}

/* ---- changes ---- */

#define PATCH_DEPTH_MAX 32

/* RFC 7396. `target` is a form of ours: shallow, and not shared. */
static int merge(json_t *target, const json_t *patch, int depth, Error *error) {
    if (depth > PATCH_DEPTH_MAX) return error_set(error, -EINVAL, "The change is nested deeper than %d levels", PATCH_DEPTH_MAX);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value) {
        if (json_is_null(value)) {
            /* A field that is not there stays as null, which is read as missing: so that a name that nobody knows is still found. */
            if (json_object_del(target, key) != 0) check(json_object_set(target, key, value) == 0);
            continue;
        }
        if (!json_is_object(value)) {
            check(json_object_set(target, key, value) == 0);
            continue;
        }
        json_t *member = json_object_get(target, key);
        if (!json_is_object(member)) {
            member = json_object();
            check(member != NULL && json_object_set_new(target, key, member) == 0);
        }
        int r = merge(member, value, depth + 1, error);
        if (r != 0) return r;
    }
    return 0;
}

static void json_drop(json_t **json) {
    json_decref(*json);
}

static int merge_form(json_t *form, const json_t *patch, Error *error) {
    if (!json_is_object(patch)) return error_set(error, -EINVAL, "The change must be an object, not %s", json_kind(patch));
    return merge(form, patch, 0, error);
}

static int refuse_new_id(const char *field, const json_t *patch, const char *old, Error *error) {
    const json_t *id = json_object_get(patch, field);
    if (id == NULL || (json_is_string(id) && strcmp(json_string_value(id), old) == 0)) return 0;
    return error_set(error, -EINVAL, "Field \"%s\" cannot be changed", field);
}

int source_patched(const Source *old, const json_t *patch, Source **ret_source, Error *error) {
    _cleanup_(json_drop) json_t *form = source_request_form(old);
    _cleanup_(cleanup_source_unref) Source *source = NULL;
    Fault fault = {.error = error};
    Node root = {.value = form};
    int r = merge_form(form, patch, error);
    if (r == 0) r = refuse_new_id("sourceId", patch, old->source_id, error);
    if (r == 0) r = source_read(&fault, &root, old, &source);
    if (r != 0) return r;
    source->number = old->number;
    source->settings = old->settings;
    source_stamp(source, old->version.number, old->version.at, old->version.by, old->version.description);
    source->created = old->created;
    source->disabled = old->disabled;
    pause_copy(&source->paused, &old->paused);
    source->deleted = old->deleted;
    source->deleted_running = old->deleted_running;
    *ret_source = steal(source);
    return 0;
}

int sink_patched(const Sink *old, const json_t *patch, Sink **ret_sink, Error *error) {
    _cleanup_(json_drop) json_t *form = sink_request_form(old);
    _cleanup_(cleanup_sink_unref) Sink *sink = NULL;
    Fault fault = {.error = error};
    Node root = {.value = form};
    int r = merge_form(form, patch, error);
    if (r == 0) r = refuse_new_id("sinkId", patch, old->sink_id, error);
    if (r == 0) r = sink_read(&fault, &root, false, old, &sink);
    if (r != 0) return r;
    sink->number = old->number;
    sink->settings = old->settings;
    sink_stamp(sink, old->version.number, old->version.at, old->version.by, old->version.description);
    /* 0 asks the next stamp for its number: the table changed with that version. */
    sink->mapping_version = sink_table_differs(old, sink) ? 0 : old->mapping_version;
    sink->created = old->created;
    sink->disabled = old->disabled;
    pause_copy(&sink->paused, &old->paused);
    sink->deleted = old->deleted;
    sink->deleted_running = old->deleted_running;
    *ret_sink = steal(sink);
    return 0;
}
