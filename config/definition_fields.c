/* The common fields of sources, and the fields of sinks. */
#include <errno.h>
#include <string.h>

#include "base/span.h"
#include "base/text.h"
#include "config/definition.h"
#include "config/definition_parts.h"
#include "config/settings_parts.h"
#include "config/source_bridge.h"
#include "config/source_bridge_parts.h"
#include "config/source_kind.h"

#define NAME_CHARACTERS_MAX 40
#define DESCRIPTION_BYTES_MAX 4096

#define BY_ENABLE "is changed through …/enable and …/disable; leave it out"
#define BY_PAUSE "is changed through …/pause and …/resume; leave it out"
#define BY_RESUME "is set by the server; a new run is requested through …/resume; leave it out"
#define BY_DELETE "is changed through DELETE and …/undelete; leave it out"

/* ---- ids and names: the same for sources and sinks ------------------------------------------- */

static int check_name(Fault *fault, const Node *field) {
    const char *text = json_string_value(field->value);
    Span name = span_of(text);
    size_t characters = text_characters(name);
    if (characters > NAME_CHARACTERS_MAX)
        return fault_at(fault, field, "must have 1 to %d characters, not %zu", NAME_CHARACTERS_MAX, characters);
    if (strspn(text, " ") == name.size) return fault_at(fault, field, "must not be blank");
    return 0;
}

static int check_id(Fault *fault, const Node *field) {
    if (identifier_valid(json_string_value(field->value))) return 0;
    return fault_at(fault, field, "must have 1 to 48 characters (a-z, 0-9, '-' and '_') and begin with a letter or digit");
}

/* Name and id: each may stand for the other when it is missing. */
static int complete_identity(Fault *fault, const Node *node, const char *id_field, char **id, char **name) {
    if (*name == NULL && *id == NULL) return fault_at(fault, node, "needs a \"name\" (or at least a \"%s\")", id_field);
    if (*id == NULL) {
        *id = identifier_slug(*name);
        Node name_node = node_member(node, "name");
        if ((*id)[0] == 0) return fault_at(fault, &name_node, "has no letter or digit for an id: give \"%s\" as well", id_field);
    }
    /* An id may be longer than a name, and is one byte a character. */
    if (*name == NULL) *name = strndup(*id, NAME_CHARACTERS_MAX);
    check(*name);
    return 0;
}

#define ID_ROW(field_name, Owner, member, id_words)                                                                                        \
    {                                                                                                                                      \
        .name = (field_name), .type = FIELD_TEXT, .offset = offsetof(Owner, member), .default_words = "the slug of `name`",                \
        .most = INT32_MAX, .range_words = "1..48 of `a-z 0-9 - _`, the first one a letter or digit", .validate = check_id,                 \
        .sentence = "Identifier, used in paths. " id_words                                                                                 \
    }
#define NAME_ROW(Owner, id)                                                                                                                \
    {                                                                                                                                      \
        .name = "name", .type = FIELD_TEXT, .offset = offsetof(Owner, name), .default_words = "as `" id "`, which must be there then",     \
        .least = 1, .most = 4 * NAME_CHARACTERS_MAX, .range_words = "1..40 characters", .is_plain = true, .validate = check_name,          \
        .sentence = "Name for people."                                                                                                     \
    }
#define DESCRIPTION_ROW(Owner)                                                                                                             \
    {                                                                                                                                      \
        .name = "description", .type = FIELD_TEXT, .offset = offsetof(Owner, description), .default_value = "",                            \
        .most = DESCRIPTION_BYTES_MAX, .sentence = "Description for people."                                                               \
    }

/* ---- what the server decides ----------------------------------------------------------------- */

static json_t *write_version(const void *place) {
    const DefinitionVersion *version = place;
    char at[25];
    clock_format_utc(version->at, at);
    return json_pack("{s:I, s:s, s:s, s:s}", "number", (json_int_t)version->number, "at", at, "by", version->by ? version->by : "",
                     "description", version->description ? version->description : "");
}

static json_t *write_pause(const void *place) {
    const Pause *pause = place;
    return pause->at != 0 ? pause_to_json(pause) : NULL;
}

#define STATE_ROWS(Owner)                                                                                                                  \
    {.name = "version",                                                                                                                    \
     .type = FIELD_OWN,                                                                                                                    \
     .offset = offsetof(Owner, version),                                                                                                   \
     .read_only = FIELD_BY_SERVER,                                                                                                         \
     .write = write_version,                                                                                                               \
     .sentence = "The change that made the present definition: `number` (from 1), `at`, `by` and `description`."},                         \
        {.name = "created",                                                                                                                \
         .type = FIELD_TIME,                                                                                                               \
         .offset = offsetof(Owner, created),                                                                                               \
         .read_only = FIELD_BY_SERVER,                                                                                                     \
         .sentence = "Time when it was created."},                                                                                         \
        {.name = "disabled",                                                                                                               \
         .type = FIELD_BOOL,                                                                                                               \
         .offset = offsetof(Owner, disabled),                                                                                              \
         .read_only = BY_ENABLE,                                                                                                           \
         .is_optional = true,                                                                                                              \
         .sentence = "`true` while it gets no events. Left out while it is enabled."},                                                     \
        {.name = "paused",                                                                                                                 \
         .type = FIELD_OWN,                                                                                                                \
         .offset = offsetof(Owner, paused),                                                                                                \
         .read_only = BY_PAUSE,                                                                                                            \
         .write = write_pause,                                                                                                             \
         .sentence = "Since when (`at`), and by whom (`by`), no import starts, and a source of a broker is not read; left out while it "   \
                     "is not paused."},                                                                                                    \
        {.name = "deleted",                                                                                                                \
         .type = FIELD_TIME,                                                                                                               \
         .offset = offsetof(Owner, deleted),                                                                                               \
         .read_only = BY_DELETE,                                                                                                           \
         .is_optional = true,                                                                                                              \
         .sentence = "Time when it was deleted. Left out while it is not deleted."},                                                       \
    {                                                                                                                                      \
        0                                                                                                                                  \
    }

#define RUN_ROW                                                                                                                            \
    {                                                                                                                                      \
        .name = "run", .type = FIELD_TIME, .offset = offsetof(Source, run), .read_only = BY_RESUME, .is_optional = true,                   \
        .sentence = "Of a source with `loop: false`: when its present run was asked for."                                                  \
    }

static const FieldInfo source_state_rows[] = {RUN_ROW, STATE_ROWS(Source)};
const FieldTable source_state_fields = {.owners = "sources", .fields = source_state_rows, .size = sizeof(Source)};
static const FieldInfo sink_state_rows[] = {STATE_ROWS(Sink)};
const FieldTable sink_state_fields = {.owners = "sinks", .fields = sink_state_rows, .size = sizeof(Sink)};

/* ---- sources --------------------------------------------------------------------------------- */

/* source_read knows the kind already. */
static int read_kind(Fault *fault, const Node *field, void *place) {
    (void)fault, (void)field, (void)place;
    return 0;
}

static json_t *write_kind(const void *place) {
    const SourceKind *const *kind = place;
    return json_string((*kind)->name);
}

static int complete_source(Fault *fault, const Node *node, void *object) {
    Source *source = object;
    return complete_identity(fault, node, "sourceId", &source->source_id, &source->name);
}

static const Refusal source_refusals[] = {
    {"idempotency", FIELD_NOT_BUILT},
    {"number", FIELD_BY_SERVER},
    {"settings", "has its own endpoint: …/settings"},
    {"sinks", "has its own endpoint: …/sinks"},
    {0},
};
static const FieldInfo source_rows[] = {
    ID_ROW("sourceId", Source, source_id, "It cannot be changed."),
    NAME_ROW(Source, "sourceId"),
    DESCRIPTION_ROW(Source),
    {.name = "type",
     .type = FIELD_OWN,
     .offset = offsetof(Source, kind),
     .default_words = "http",
     .choices = source_kind_names,
     .read = read_kind,
     .write = write_kind,
     .sentence = "How events arrive. It cannot be changed. The fields in this table exist for all types."},
    {.name = "bodyPolicy",
     .type = FIELD_CHOICE,
     .offset = offsetof(Source, body_policy),
     .default_value = "drop",
     .choices = body_policy_names,
     .is_optional = true,
     .sentence = "For a source with a masked column: whether rejects keep the event, and columns may hold the whole event."},
    {0},
};
const FieldTable source_fields = {
    .owners = "sources", .fields = source_rows, .size = sizeof(Source), .refused = source_refusals, .complete = complete_source};

/* ---- sinks ----------------------------------------------------------------------------------- */

static int complete_sink(Fault *fault, const Node *node, void *object) {
    Sink *sink = object;
    return complete_identity(fault, node, "sinkId", &sink->sink_id, &sink->name);
}

static const char *const sink_types[] = {"table", NULL};
static const Refusal sink_refusals[] = {
    {"number", FIELD_BY_SERVER},
    {"settings", "has its own endpoint: …/settings"},
    {0},
};
static int read_start(Fault *fault, const Node *field, void *place) {
    SinkStart *start = place;
    int r = bridge_read_start_with_sequence(fault, field, &start->at);
    start->given = r == 0;
    return r;
}

static json_t *write_start(const void *place) {
    const SinkStart *start = place;
    return start->given ? bridge_write_start(&start->at) : NULL;
}

static const FieldInfo sink_rows[] = {
    ID_ROW("sinkId", Sink, sink_id, "A manifest can give a sink [another id](#another-id-for-a-sink)."),
    NAME_ROW(Sink, "sinkId"),
    DESCRIPTION_ROW(Sink),
    {.name = "type", .type = FIELD_WORD, .choices = sink_types, .sentence = "Type of the destination of its rows."},
    {.name = "onInvalid",
     .type = FIELD_CHOICE,
     .offset = offsetof(Sink, on_invalid),
     .default_words = "reject for the first sink of a source of type http with `framing: single`, else quarantine",
     .choices = on_invalid_names,
     .sentence = "What happens to an event that cannot be mapped: its request is refused, or the event becomes a reject of the sink."},
    {.name = "startFrom",
     .type = FIELD_OWN,
     .type_words = "text",
     .offset = offsetof(Sink, start),
     .default_words = "where the source is then",
     .range_words = "`earliest`, `latest`, a time (RFC 3339), or for NATS `{sequence: N}`",
     .read = read_start,
     .write = write_start,
     .sentence =
         "Only for sinks whose source keeps positions: Kafka, or NATS with `durable: none`. Where the sink begins if its table has no "
         "position of the source yet."},
    {.name = "table",
     .type = FIELD_OBJECT,
     .offset = offsetof(Sink, target),
     .fields = &table_fields,
     .needed = "a \"table\"",
     .sentence = "The table that its rows go to, and their columns."},
    {0},
};
const FieldTable sink_fields = {
    .owners = "sinks", .fields = sink_rows, .size = sizeof(Sink), .refused = sink_refusals, .complete = complete_sink};

/* ---- all tables ------------------------------------------------------------------------------ */

void source_check(const Source *source) {
    check(identifier_valid(source->source_id) && source->name);
    check(fields_hold(&source_fields, source) && fields_hold(source->kind->fields, source->part));
    check(settings_hold(&source->settings));
}

void sink_check(const Sink *sink) {
    check(identifier_valid(sink->sink_id) && sink->name);
    check(fields_hold(&sink_fields, sink) && settings_hold(&sink->settings));
}

static void bridge_check(const BridgeKind *bridge) {
    check(bridge->connection_type && bridge->keeps_positions && bridge->group && bridge->new_key && bridge->reads);
}

void definition_check_tables(void) {
    field_table_check(&source_fields);
    field_table_check(&source_state_fields);
    field_table_check(&sink_fields);
    field_table_check(&sink_state_fields);
    for (unsigned type = 0; type < DATA_TYPE_COUNT; type++) { /* no row is forgotten: it would be all-zero */
        const DataTraits *traits = &data_traits[type];
        check(traits->holds_any || traits->holds_number || traits->holds_time || traits->holds_json || traits->may_be_key);
    }
    check(source_kinds[0]);
    for (size_t i = 0; source_kinds[i]; i++) {
        const SourceKind *kind = source_kinds[i];
        check(kind->name && kind->first_sink_rejects && kind->framing && kind->without_sink);
        if (kind->bridge) bridge_check(kind->bridge);
        field_table_check(kind->fields);
        for (size_t k = 0; k < i; k++) check(strcmp(kind->name, source_kinds[k]->name) != 0);
        check(source_kind_names[i] && strcmp(kind->name, source_kind_names[i]) == 0);
        for (size_t k = 0; kinds_not_built[k]; k++) check(strcmp(kind->name, kinds_not_built[k]) != 0);
    }
}
