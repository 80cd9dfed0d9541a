#include "gateway/commands/stopped.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cursor.h"
#include "base/text.h"
#include "storage/catalog.h"

typedef struct SinkLabel {
    uint32_t source, sink;
    char *text; /* owned */
} SinkLabel;

struct SinkLabels {
    SinkLabel *items;
    size_t count, room;
    SinkLabel *sources; /* of these `sink` is 0 */
    size_t source_count, source_room;
};

/* The text of `field` of a stored definition; "?" where it has none. */
static char *id_of(Span document, const char *field) {
    json_t *stored = json_loadb(document.data, document.size, 0, NULL);
    const char *id = json_string_value(json_object_get(json_object_get(stored, "definition"), field));
    char *copy = text_copy(id ? id : "?");
    json_decref(stored);
    return copy;
}

static int add_source(void *context, Span key, Span document, Error *error) {
    SinkLabels *labels = context;
    (void)error;
    if (key.size != 4) return 0;
    array_reserve(labels->sources, labels->source_count, labels->source_room);
    labels->sources[labels->source_count++] = (SinkLabel){.source = load_be32(key.data), .text = id_of(document, "sourceId")};
    return 0;
}

static int add_sink(void *context, Span key, Span document, Error *error) {
    SinkLabels *labels = context;
    (void)error;
    if (key.size != 8) return 0;
    uint32_t source = load_be32(key.data);
    const char *source_id = "?";
    for (size_t i = 0; i < labels->source_count; i++)
        if (labels->sources[i].source == source) source_id = labels->sources[i].text;
    char *sink_id = id_of(document, "sinkId"), *text = NULL;
    check(asprintf(&text, "%s/%s", source_id, sink_id) >= 0);
    free(sink_id);
    array_reserve(labels->items, labels->count, labels->room);
    labels->items[labels->count++] = (SinkLabel){.source = source, .sink = load_be32(key.data + 4), .text = text};
    return 0;
}

int stopped_open(const Arguments *arguments, Stopped *ret_stopped, Error *error) {
    const char *path = arguments_value(arguments, "data"), *from_environment = getenv("SLUICE_DATA");
    if (!path) path = from_environment && *from_environment ? from_environment : "data";
    Stopped stopped = {.labels = calloc(1, sizeof *stopped.labels)};
    check(stopped.labels);
    int r = data_directory_inspect(path, &stopped.directory, &stopped.environment, error);
    if (r < 0) {
        free(stopped.labels);
        return r;
    }
    r = txn_begin_read(stopped.environment, &stopped.txn, error);
    if (r == 0) r = catalog_visit(stopped.txn, CATALOG_SOURCES, (Span){0}, add_source, stopped.labels, error);
    if (r == 0) r = catalog_visit(stopped.txn, CATALOG_SINKS, (Span){0}, add_sink, stopped.labels, error);
    if (r < 0)
        stopped_close(&stopped);
    else
        *ret_stopped = stopped;
    return r;
}

void stopped_close(Stopped *stopped) {
    SinkLabels *labels = stopped->labels;
    txn_abort(stopped->txn);
    environment_close(stopped->environment);
    data_directory_close(&stopped->directory);
    for (size_t i = 0; i < labels->count; i++) free(labels->items[i].text);
    for (size_t i = 0; i < labels->source_count; i++) free(labels->sources[i].text);
    free(labels->items);
    free(labels->sources);
    free(labels);
    *stopped = (Stopped){0};
}

const char *stopped_label(Stopped *stopped, uint32_t sink) {
    SinkLabels *labels = stopped->labels;
    for (size_t i = 0; i < labels->count; i++)
        if (labels->items[i].sink == sink) return labels->items[i].text;
    char *text = NULL;
    check(asprintf(&text, "sink %" PRIu32, sink) >= 0);
    array_reserve(labels->items, labels->count, labels->room);
    labels->items[labels->count++] = (SinkLabel){.sink = sink, .text = text};
    return text;
}

uint32_t stopped_sink(const Stopped *stopped, const char *label) {
    const SinkLabels *labels = stopped->labels;
    for (size_t i = 0; i < labels->count; i++)
        if (strcmp(labels->items[i].text, label) == 0) return labels->items[i].sink;
    return 0;
}
