#include "config/source_bridge.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/source_bridge_parts.h"

const char *const record_kind_names[] = {"json", "text", "bytes", "avro", "jsonSchema", NULL};

const char *source_paths_wrong(const Source *source) {
    const BridgeSource *bridge = source->kind && source->kind->bridge ? source->part : NULL;
    if (bridge && bridge->value == RECORD_TEXT) return "but the \"value\" of the source is \"text\", which has no paths: use \"body\"";
    if (bridge && bridge->value == RECORD_BYTES) return "but the \"value\" of the source is \"bytes\", which has no paths: use \"body\"";
    return NULL;
}

char *source_positions_key(const Source *source, uint32_t project) {
    const BridgeKind *kind = source->kind->bridge;
    _cleanup_free_ char *group = kind->group(source, project), *stream = kind->divides_partitions ? NULL : kind->reads(source, project, 0);
    char *key;
    check(asprintf(&key, "%s %s%s%s", source_bridge(source)->connection, group, stream ? " " : "", stream ? stream : "") > 0);
    return key;
}

char *source_sink_start_wrong(const Source *source, const Sink *sink) {
    char *text = NULL;
    if (!sink->start.given) return NULL;
    if (!source->kind->bridge)
        check(asprintf(&text, "is only for sinks of sources that read a broker: events are sent to a source of type \"%s\"",
                       source->kind->name) > 0);
    else if (!source_keeps_positions(source))
        check(asprintf(&text,
                       "is not allowed here: the broker keeps the messages that the source has not acknowledged, for all sinks together") >
              0);
    else if (sink->start.at.kind == BRIDGE_START_SEQUENCE && source->kind->bridge->divides_partitions)
        check(asprintf(&text, "must not be a sequence: a source of type \"%s\" has offsets by partition", source->kind->name) > 0);
    return text;
}

char *source_sink_replace_wrong(const Source *source, const Sink *sink) {
    const char *why = NULL;
    if (sink->target.table.strategy != STRATEGY_REPLACE) return NULL;
    if (!source_ends(source))
        why = "needs a source that ends: of type \"kafka\" or \"nats\", with \"loop\": false";
    else if (!source_keeps_positions(source))
        why = "needs a source that keeps positions: give it \"durable\": \"none\"";
    else if (source_bridge(source)->start.kind != BRIDGE_START_EARLIEST)
        why = "reads from the first record: the source must not have another \"startFrom\"";
    else if (sink->start.given)
        why = "reads from the first record: the sink must not have \"startFrom\"";
    if (!why) return NULL;
    char *text = NULL;
    check(asprintf(&text, "is \"replace\", which %s", why) > 0);
    return text;
}

/* ---- the registry ---------------------------------------------------------------------------- */

const char *registry_url_wrong(const char *url) {
    size_t scheme = strncasecmp(url, "http://", 7) == 0 ? 7 : strncasecmp(url, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0 || url[scheme] == '\0' || url[scheme] == '/') return "must begin with http:// or https:// and a host";
    if (strpbrk(url, "@?# \r\n")) return "must not contain a user, a question mark or a '#': give a login in \"user\" and \"passwordFile\"";
    return NULL;
}

static int check_registry_url(Fault *fault, const Node *field) {
    const char *wrong = registry_url_wrong(json_string_value(field->value));
    return wrong ? fault_at(fault, field, "%s", wrong) : 0;
}

static int complete_registry(Fault *fault, const Node *node, void *object) {
    const BridgeSource *bridge = object;
    if (bridge->registry_user || !bridge->registry_password_file) return 0;
    Node file = node_member(node, "passwordFile");
    return fault_at(fault, &file, "needs \"user\" with it");
}

static const FieldInfo registry_rows[] = {
    {.name = "url",
     .type = FIELD_TEXT,
     .offset = offsetof(BridgeSource, registry_url),
     .least = 1,
     .most = 2048,
     .range_words = "`http://` or `https://`",
     .needed = "the \"url\" of a schema registry",
     .is_plain = true,
     .validate = check_registry_url,
     .sentence = "URL of its API, without a login."},
    {.name = "user",
     .type = FIELD_TEXT,
     .offset = offsetof(BridgeSource, registry_user),
     .least = 1,
     .most = 255,
     .is_plain = true,
     .is_optional = true,
     .sentence = "User of the login (Basic)."},
    {.name = "passwordFile",
     .type = FIELD_TEXT,
     .offset = offsetof(BridgeSource, registry_password_file),
     .least = 1,
     .most = 4096,
     .is_plain = true,
     .is_optional = true,
     .sentence = "File with the user's password. It is read for each request. A relative path is relative to the data directory."},
    {0},
};
static const Refusal registry_refusals[] = {
    {"password", "is not allowed here: put it in a file and name the file in \"passwordFile\""},
    {0},
};
const FieldTable bridge_registry_fields = {.owners = "registries",
                                           .fields = registry_rows,
                                           .size = sizeof(BridgeSource),
                                           .refused = registry_refusals,
                                           .complete = complete_registry};

/* ---- fields of all kinds --------------------------------------------------------------------- */

int bridge_check_connection(Fault *fault, const Node *field) {
    if (identifier_valid(json_string_value(field->value))) return 0;
    return fault_at(fault, field, "must be the name of a connection: 1 to 48 characters (a-z, 0-9, '-' and '_')");
}

#define START_WORDS "earliest, latest or a time as 2006-01-02T15:04:05Z (RFC 3339)"

static int read_start_text(Fault *fault, const Node *field, const char *wanted, BridgeStart *start) {
    const char *text = json_string_value(field->value);
    int64_t nsec;
    if (strcmp(text, "earliest") == 0) {
        *start = (BridgeStart){.kind = BRIDGE_START_EARLIEST};
    } else if (strcmp(text, "latest") == 0) {
        *start = (BridgeStart){.kind = BRIDGE_START_LATEST};
    } else if (!clock_parse((Span){text, json_string_length(field->value)}, &nsec)) {
        char excerpt[TEXT_EXCERPT_SIZE];
        return fault_at(fault, field, "must be %s, not \"%s\"", wanted, text_excerpt(span_of(text), excerpt));
    } else if (nsec < 0) {
        return fault_at(fault, field, "must not be before 1970");
    } else {
        *start = (BridgeStart){.kind = BRIDGE_START_TIME, .time = nsec / 1000};
    }
    return 0;
}

int bridge_read_start(Fault *fault, const Node *field, void *place) {
    if (json_is_string(field->value)) return read_start_text(fault, field, START_WORDS, place);
    return fault_at(fault, field, "must be " START_WORDS ", not %s", json_kind(field->value));
}

int bridge_read_start_with_sequence(Fault *fault, const Node *field, void *place) {
    static const char wanted[] = START_WORDS ", or {sequence: N}";
    static const char *const names[] = {"sequence", NULL};
    if (json_is_string(field->value)) return read_start_text(fault, field, wanted, place);
    if (!json_is_object(field->value)) return fault_at(fault, field, "must be %s, not %s", wanted, json_kind(field->value));
    Node sequence = node_member(field, "sequence");
    int64_t number = 0;
    int r = node_object(fault, field, names, NULL);
    if (r == 0 && !node_given(&sequence)) r = fault_at(fault, field, "needs a \"sequence\"");
    if (r == 0) r = node_integer(fault, &sequence, 1, INT64_MAX, &number);
    if (r == 0) *(BridgeStart *)place = (BridgeStart){.kind = BRIDGE_START_SEQUENCE, .sequence = (uint64_t)number};
    return r;
}

/* Milliseconds, or microseconds where there are some. */
static json_t *write_time(usec_t time) {
    char text[25];
    clock_format_utc(time, text);
    int micros = (int)(time % USEC_MS);
    return micros ? json_sprintf("%.23s%03dZ", text, micros) : json_string(text);
}

json_t *bridge_write_start(const void *place) {
    const BridgeStart *start = place;
    switch (start->kind) {
    case BRIDGE_START_EARLIEST: return json_string("earliest");
    case BRIDGE_START_LATEST: return json_string("latest");
    case BRIDGE_START_TIME: return write_time(start->time);
    case BRIDGE_START_SEQUENCE: return json_pack("{s:I}", "sequence", (json_int_t)start->sequence);
    }
    unreachable();
}

/* ---- what all kinds answer alike ------------------------------------------------------------- */

char *bridge_default_group(const Source *source, uint32_t project) {
    char *group = NULL;
    check(asprintf(&group, "sluice-%u-%s", project, source->source_id) > 0);
    return group;
}

bool bridge_first_sink_rejects(const void *part) {
    (void)part;
    return false;
}

Framing bridge_framing(const void *part) {
    (void)part;
    return FRAMING_SINGLE;
}

const char *bridge_without_sink(const void *part) {
    (void)part;
    return "nothing is read, and new records wait in the broker.";
}
