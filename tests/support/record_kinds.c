/*
 * Two kinds of sources whose events are records: "tap" has the meta fields of Kafka, "nap" those of
 * NATS. A program that this file is a part of has them beside http: its list goes before that of
 * config/source_kind.c. Nothing runs such sources; they can be declared, and tested.
 */
#include "config/source_kind.h"
#include "mapping/meta.h"

typedef struct RecordSource {
    char *well;
} RecordSource;

static const FieldInfo rows[] = {
    {.name = "well", .type = FIELD_TEXT, .offset = offsetof(RecordSource, well), .most = 20, .sentence = "Where from."},
    {0},
};
static const FieldTable fields = {.owners = "sources", .fields = rows, .size = sizeof(RecordSource)};

static bool quarantines(const void *part) {
    (void)part;
    return false;
}

static Framing one_by_one(const void *part) {
    (void)part;
    return FRAMING_SINGLE;
}

static const char *waits(const void *part) {
    (void)part;
    return "records wait.";
}

static const SourceKind tap = {.name = "tap",
                               .fields = &fields,
                               .first_sink_rejects = quarantines,
                               .framing = one_by_one,
                               .without_sink = waits,
                               .meta_fields = META_KAFKA};
static const SourceKind nap = {.name = "nap",
                               .fields = &fields,
                               .first_sink_rejects = quarantines,
                               .framing = one_by_one,
                               .without_sink = waits,
                               .meta_fields = META_NATS};

const SourceKind *const source_kinds[] = {&source_kind_http, &tap, &nap, NULL};
const char *const source_kind_names[] = {"http", "tap", "nap", NULL};
const char *const kinds_not_built[] = {NULL};
