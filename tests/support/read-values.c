/*
 * Values of records as a bridge reads them, for tests with a real registry: read-values URL
 * avro|jsonSchema. Each line of the input is a value in hexadecimal digits. Each gets a line: `read
 * BODY`, `poison WHY`, `unknown WHY`, or `later WHY` while the registry is down.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/values/record_value.h"

#define LOOKUP_PATIENCE (60 * USEC_SECOND)

static Span bytes_of(char *line) {
    size_t size = strcspn(line, "\n") / 2;
    for (size_t i = 0; i < size; i++) line[i] = (char)(text_hex(line[2 * i]) << 4 | text_hex(line[2 * i + 1]));
    return (Span){line, size};
}

static void answer(RecordReader *reader, Span value) {
    Span body;
    BodyKind kind;
    Error why = {0};
    SchemaRegistryState state;
    RecordResult result = record_value_read(reader, value, &body, &kind, &why);
    if (result == RECORD_LATER) {
        schema_registry_wait(reader->registry, LOOKUP_PATIENCE);
        result = record_value_read(reader, value, &body, &kind, &why);
    }
    switch (result) {
    case RECORD_READ: (void)printf("read %.*s\n", (int)body.size, body.data); break;
    case RECORD_POISON: (void)printf("poison %s\n", why.text); break;
    case RECORD_UNKNOWN_ID: (void)printf("unknown %s\n", why.text); break;
    case RECORD_LATER:
        schema_registry_state(reader->registry, &state);
        (void)printf("later %s\n", state.why);
        break;
    }
    check(fflush(stdout) == 0);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    bool avro = strcmp(argv[2], "avro") == 0;
    SchemaRegistrySettings settings = {.url = argv[1], .kind = avro ? SCHEMA_AVRO : SCHEMA_JSON};
    RecordReader reader = {.kind = avro ? RECORD_AVRO : RECORD_JSON_SCHEMA, .event_bytes_max = 1 << 20};
    Error error;
    if (schema_registry_open(&settings, clock_system(), &reader.registry, &error) < 0) {
        log_failure(LOG_ERROR, "cannot open the registry", &error);
        return 1;
    }
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) answer(&reader, bytes_of(line));
    schema_registry_close(reader.registry);
    record_reader_deinit(&reader);
    return 0;
}
