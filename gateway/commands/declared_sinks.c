#include "gateway/commands/declared_sinks.h"

#include <stdlib.h>
#include <string.h>

void declared_sinks_deinit(DeclaredSinks *sinks) {
    for (size_t i = 0; i < sinks->count; i++) sink_unref(sinks->sinks[i]);
    free(sinks->sinks);
    source_unref(sinks->source);
    *sinks = (DeclaredSinks){0};
}

int declared_sinks_make(const ManifestSource *declared, const char *only_sink, DeclaredSinks *ret_sinks, Error *error) {
    *ret_sinks = (DeclaredSinks){0};
    int r = source_from_request(declared->source, &ret_sinks->source, error);
    if (r < 0) return r;
    ret_sinks->sinks = calloc(declared->sink_count + 1, sizeof(Sink *));
    check(ret_sinks->sinks);
    for (size_t i = 0; i < declared->sink_count && r == 0; i++) {
        const char *id = json_string_value(json_object_get(declared->sinks[i], "sinkId"));
        if (only_sink && strcmp(only_sink, id) != 0) continue;
        bool rejects = i == 0 && source_first_sink_rejects(ret_sinks->source);
        r = sink_from_request(declared->sinks[i], rejects, &ret_sinks->sinks[ret_sinks->count], error);
        if (r == 0) sink_complete(ret_sinks->source, ret_sinks->sinks[ret_sinks->count++]);
    }
    if (r < 0) declared_sinks_deinit(ret_sinks);
    return r;
}
