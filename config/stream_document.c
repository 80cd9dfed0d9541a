/* The table of a stream manifest's fields as a document, and what its rows promise. */
#include <string.h>

#include "config/stream_parts.h"

typedef struct StreamPlace {
    unsigned place;
    const char *prefix, *suffix; /* of a field's name */
} StreamPlace;

static const StreamPlace places[] = {
    {STREAM_TOP, "", ""},
    {STREAM_SPEC, "spec.", ""},
    {STREAM_SOURCE, "spec.source.", ""},
    {STREAM_SOURCE_OPTIONS, "spec.source.options.", ""},
    {STREAM_KAFKA, "kafka://?", "="},
    {STREAM_NATS, "nats+jetstream://…?", "="},
    {STREAM_KAFKA_DEPOT, "dataos://NAME?", "= (Kafka)"},
    {STREAM_NATS_DEPOT, "dataos://NAME?", "= (NATS)"},
    {STREAM_SINK, "spec.sink.", ""},
    {STREAM_SINK_OPTIONS, "spec.sink.options.", ""},
    {STREAM_POSTGRES, "postgresql://…?", "="},
    {STREAM_SINK_DEPOT, "dataos://NAME?", "= (sink)"},
};
#define PLACES (sizeof places / sizeof *places)

static void put_target(Buffer *out, const StreamField *field, unsigned place) {
    if (field->becomes) {
        buffer_append_text(out, field->becomes);
        return;
    }
    bool is_nats = place & STREAM_IN_NATS, is_kafka = place & STREAM_IN_KAFKA;
    switch (field->into) {
    case STREAM_NOWHERE: return;
    case STREAM_PART: buffer_printf(out, "`%s%s`", is_nats ? "nats." : is_kafka ? "kafka." : "", field->field); return;
    case STREAM_CONNECTION: buffer_printf(out, "`%s` of the connection", field->field); return;
    case STREAM_SECRET:
    case STREAM_FILE: buffer_printf(out, "a file of the connection: `%s`", field->field); return;
    case STREAM_TABLE: buffer_printf(out, "`table.%s`", field->field); return;
    }
}

static void put_row(Buffer *out, const StreamPlace *place, const StreamField *field) {
    buffer_printf(out, "| `%s%s%s`", place->prefix, field->name, place->suffix[0] == '=' ? "=" : "");
    if (place->suffix[0] == '=' && place->suffix[1]) buffer_append_text(out, place->suffix + 1);
    if (field->alias) buffer_printf(out, ", or `%s`", field->alias);
    buffer_printf(out, " | %s | ", field->needed ? "(required)" : field->default_words ? field->default_words : "");
    if (field->use == STREAM_IGNORED) buffer_append_text(out, "ignored");
    if (field->use == STREAM_REFUSED) buffer_append_text(out, "refused");
    if (field->use == STREAM_TAKEN) put_target(out, field, place->place);
    buffer_printf(out, " | %s%s |\n", field->use == STREAM_REFUSED ? "It " : "", field->sentence);
}

void stream_manifest_document(Buffer *out) {
    buffer_append_text(out, "| field | default | becomes | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < PLACES; i++)
        for (const StreamField *field = stream_fields; field->name; field++)
            if (field->places & places[i].place) put_row(out, &places[i], field);
}

void stream_manifest_check_table(void) {
    unsigned known = 0;
    for (size_t i = 0; i < PLACES; i++) known |= places[i].place;
    size_t count = 0;
    for (const StreamField *field = stream_fields; field->name; field++, count++) {
        check(field->places && (field->places & ~known) == 0 && field->sentence);
        size_t size = strlen(field->sentence);
        check(size > 1 && field->sentence[size - 1] == '.');
        check(field->use == STREAM_TAKEN || (!field->take && field->into == STREAM_NOWHERE && !field->needed));
        check((field->into == STREAM_NOWHERE) == !field->field);
        check(field->form != STREAM_COUNT || (field->into == STREAM_PART && field->least < field->most));
        check(field->form != STREAM_SECONDS || field->into == STREAM_PART);
        for (const StreamField *other = stream_fields; other != field; other++)
            check(!(other->places & field->places) || strcmp(other->name, field->name) != 0);
    }
    check(count <= STREAM_FIELDS_MAX);
}
