#include "config/source_nats.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/nats_name.h"
#include "config/source_bridge_parts.h"

#define NO_DURABLE "none"

_Static_assert(offsetof(NatsSource, bridge) == 0, "the rows of all bridges are of the begin of the part");

static int check_name(Fault *fault, const Node *field) {
    if (nats_name_valid(span_of(json_string_value(field->value)))) return 0;
    return fault_at(fault, field, "must be 1 to %d bytes without spaces, control characters, '.', '*', '>', '/' and '\\'",
                    NATS_NAME_BYTES_MAX);
}

static int check_subject(Fault *fault, const Node *field) {
    if (nats_filter_valid(span_of(json_string_value(field->value)))) return 0;
    return fault_at(fault, field, "must be a subject as orders.*.eu or orders.>, of at most %d bytes", NATS_NAME_BYTES_MAX);
}

static const FieldInfo nats_rows[] = {
    BRIDGE_CONNECTION_ROW("name of a connection of type `nats`", "\"connection\": the name of a connection of type nats"),
    {.name = "stream",
     .type = FIELD_TEXT,
     .offset = offsetof(NatsSource, stream),
     .least = 1,
     .most = NATS_NAME_BYTES_MAX,
     .needed = "\"stream\": the name of a JetStream stream",
     .is_plain = true,
     .validate = check_name,
     .sentence = "JetStream stream that it reads."},
    {.name = "subject",
     .type = FIELD_TEXT,
     .offset = offsetof(NatsSource, subject),
     .default_words = "all of the stream",
     .least = 1,
     .most = NATS_NAME_BYTES_MAX,
     .is_plain = true,
     .is_optional = true,
     .validate = check_subject,
     .sentence = "Subject of the messages that it reads. Wildcards are allowed."},
    {.name = "durable",
     .type = FIELD_TEXT,
     .offset = offsetof(NatsSource, durable),
     .default_words = "sluice-PROJECT-SOURCE",
     .least = 1,
     .most = NATS_NAME_BYTES_MAX,
     .range_words = "a name, or `none`",
     .is_plain = true,
     .is_optional = true,
     .validate = check_name,
     .sentence =
         "Its durable consumer, which acknowledges messages. Only one node may use it. With `none` there is no durable consumer, and the "
         "position is stored at the destination. Use `none` for streams that keep messages up to a limit."},
    BRIDGE_START_ROW(
        bridge_read_start_with_sequence, "`earliest`, `latest`, a time (RFC 3339), or `{sequence: N}`",
        "Where a durable consumer begins that does not exist yet. With `none`: where a sink begins that has no position yet. A change "
        "does not affect existing ones."),
    BRIDGE_READING_ROWS("100"),
    {0},
};
static const FieldTable nats_fields = {.owners = "sources", .fields = nats_rows, .size = sizeof(NatsSource), .kind = "value"};

static const FieldInfo part_rows[] = {
    {.name = "nats",
     .type = FIELD_OBJECT,
     .fields = &nats_fields,
     .needed = "\"nats\" with \"connection\" and \"stream\"",
     .sentence = "What the source reads."},
    {0},
};
static const FieldTable part_fields = {.owners = "sources", .fields = part_rows, .size = sizeof(NatsSource)};

static bool has_durable(const NatsSource *nats) {
    return !nats->durable || strcmp(nats->durable, NO_DURABLE) != 0;
}

char *nats_source_durable(const Source *source, uint32_t project) {
    const NatsSource *nats = source_nats(source);
    check(nats);
    return has_durable(nats) ? nats_source_group(source, project) : NULL;
}

char *nats_source_group(const Source *source, uint32_t project) {
    const NatsSource *nats = source_nats(source);
    check(nats);
    return nats->durable && has_durable(nats) ? text_copy(nats->durable) : bridge_default_group(source, project);
}

static bool keeps_positions(const void *part) {
    return !has_durable(part);
}

static const char *new_key(const Source *old, const Source *now, uint32_t project) {
    const NatsSource *was = source_nats(old), *is = source_nats(now);
    if (strcmp(was->bridge.connection, is->bridge.connection) != 0) return "nats.connection";
    if (strcmp(was->stream, is->stream) != 0) return "nats.stream";
    _cleanup_free_ char *old_group = nats_source_group(old, project), *group = nats_source_group(now, project);
    return has_durable(was) != has_durable(is) || strcmp(old_group, group) != 0 ? "nats.durable" : NULL;
}

static char *reads(const Source *source, uint32_t project, size_t index) {
    if (index > 0) return NULL;
    const NatsSource *nats = source_nats(source);
    _cleanup_free_ char *durable = nats_source_durable(source, project);
    if (!durable) return text_copy(nats->stream);
    _cleanup_(buffer_deinit) Buffer text = {0};
    buffer_printf(&text, "%s/%s", nats->stream, durable);
    return text_copy(buffer_text(&text));
}

/* A durable consumer gives each message to one of those who ask. */
static bool shares(const Source *a, const Source *b, uint32_t project) {
    _cleanup_free_ char *durable = nats_source_durable(a, project), *other = nats_source_durable(b, project);
    return durable && other && strcmp(durable, other) == 0 && strcmp(source_nats(a)->stream, source_nats(b)->stream) == 0;
}

static const BridgeKind nats_bridge = {.connection_type = "nats",
                                       .keeps_positions = keeps_positions,
                                       .group_field = "durable",
                                       .group = nats_source_group,
                                       .new_key = new_key,
                                       .shares = shares,
                                       .reads = reads};

const SourceKind source_kind_nats = {
    .name = "nats",
    .fields = &part_fields,
    .first_sink_rejects = bridge_first_sink_rejects,
    .framing = bridge_framing,
    .without_sink = bridge_without_sink,
    .meta_fields = META_NATS,
    .bridge = &nats_bridge,
};
