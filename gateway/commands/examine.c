#include "gateway/commands/examine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/rows/map_events.h"
#include "sinks/driver.h"

/* ---- mapping --------------------------------------------------------------------------------- */

static int compile(const Examination *examination, const Source *source, Sink *const *sinks, size_t count, Plan **ret_plan, Error *error) {
    const PlanMasks masks = {.keys = examination->keys->keys};
    return plan_compile_masked(source, sinks, count, &masks, ret_plan, error);
}

/* Templates are evaluated nowhere: no event comes. */
static int try_templates(const Examination *examination, const Source *source, Sink *sink, Plan *plan, Error *error) {
    if (plan_template_count(plan) == 0) return 0;
    MapTarget target = {.source = (Source *)(uintptr_t)source, .sinks = &sink, .sink_count = 1, .plan = plan};
    MapInput input = {.fd = open("/dev/null", O_RDONLY | O_CLOEXEC), .name = "/dev/null", .lines = true};
    MapCounts counts;
    int r = input.fd < 0 ? error_set(error, -errno, "/dev/null cannot be opened")
                         : map_events(&target, 1, &input, false, examination->options, &counts, error);
    if (input.fd >= 0) (void)close(input.fd);
    return r;
}

/* Each column by itself, so that each error has its place. Masks depend on the other columns, and
 * are left to the whole. */
static bool examine_columns(const Examination *examination, const Source *source, const Sink *sink, size_t index, ManifestPlace *place) {
    Sink *alone = sink_copy(sink);
    const SinkTarget whole = alone->target;
    bool valid = true;
    alone->target.column_count = 1;
    alone->target.explode = NULL;
    alone->target.table.newer_by = NULL;
    alone->target.table.delete_on = (DeleteOn){0};
    for (size_t i = 0; i < whole.column_count; i++) {
        if (whole.columns[i].mask) continue;
        alone->target.columns = &whole.columns[i];
        Plan *plan = NULL;
        Error error = {0};
        int r = compile(examination, source, &alone, 1, &plan, &error);
        if (r == 0) r = try_templates(examination, source, alone, plan, &error);
        if (r < 0) {
            char path[96];
            (void)snprintf(path, sizeof path, "sinks/%zu/table/mapping/columns/%zu", index, i);
            manifest_find(place, path, "%s", error.text);
            valid = false;
        }
        plan_unref(plan);
    }
    alone->target = whole;
    sink_unref(alone);
    return valid;
}

/* A sink whose columns are valid, as a whole. */
static bool examine_mapping(const Examination *examination, const Source *source, Sink *sink, size_t index, ManifestPlace *place) {
    char path[64];
    Plan *plan = NULL;
    Error error = {0};
    (void)snprintf(path, sizeof path, "sinks/%zu/table/mapping", index);
    int r = compile(examination, source, &sink, 1, &plan, &error);
    if (r == 0 && sink->target.infer) r = try_templates(examination, source, sink, plan, &error);
    if (r < 0) manifest_find(place, path, "%s", error.text);
    plan_unref(plan);
    return r == 0;
}

static void examine_mappings(const Examination *examination, const Source *source, Sink *const *sinks, size_t count, ManifestPlace *place) {
    bool valid = count > 0;
    for (size_t i = 0; i < count; i++) {
        bool columns = sinks[i]->target.infer || examine_columns(examination, source, sinks[i], i, place);
        if (!columns || !examine_mapping(examination, source, sinks[i], i, place)) valid = false;
    }
    Plan *plan = NULL;
    Error error = {0};
    if (valid && compile(examination, source, sinks, count, &plan, &error) < 0) manifest_find(place, "sinks", "%s", error.text);
    plan_unref(plan);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static const Connection *find_connection(const Examination *examination, const char *name) {
    const Connection *found = NULL;
    for (size_t i = 0; i < examination->config_count && !found; i++) found = connections_find(&examination->configs[i]->list, name);
    return found ? found : connections_find(&examination->options->list, name);
}

static bool same_table(const Examination *examination, const Sink *a, const Sink *b) {
    const Connection *first = find_connection(examination, a->target.connection),
                     *second = find_connection(examination, b->target.connection);
    bool same_name = strcmp(a->target.connection, b->target.connection) == 0;
    bool same_place = first && second && first->type == second->type && strcmp(connection_place(first), connection_place(second)) == 0;
    if (!same_name && !same_place) return false;
    const SinkDriver *driver = first ? sink_driver_of(first->type) : NULL;
    return driver ? driver->same_target(&a->target, &b->target) : strcmp(sink_target_name(&a->target), sink_target_name(&b->target)) == 0;
}

static void examine_table(Examination *examination, const Source *source, const Sink *sink, size_t index, ManifestPlace *place) {
    char path[64];
    (void)snprintf(path, sizeof path, "sinks/%zu/table/tableId", index);
    for (size_t i = 0; i < examination->sink_count; i++) {
        const ExaminedSink *other = &examination->sinks[i];
        if (!same_table(examination, other->sink, sink)) continue;
        manifest_find(place, path, "Sink \"%s/%s\" imports into table \"%s\" of connection \"%s\" already.", other->source,
                      other->sink->sink_id, sink_target_name(&other->sink->target), other->sink->target.connection);
        break;
    }
    array_extend(examination->sinks, examination->sink_count);
    examination->sinks[examination->sink_count++] = (ExaminedSink){.sink = sink_ref(sink), .source = text_copy(source->source_id)};
}

/* ---- all of it ------------------------------------------------------------------------------- */

void examine_source(Examination *examination, const Source *source, Sink *const *sinks, size_t count, ManifestPlace *place) {
    check_masks_imagine(examination->keys, sinks, count);
    examine_mappings(examination, source, sinks, count, place);
    for (size_t i = 0; i < count; i++) examine_table(examination, source, sinks[i], i, place);
}

void examination_deinit(Examination *examination) {
    for (size_t i = 0; i < examination->sink_count; i++) {
        sink_unref(examination->sinks[i].sink);
        free(examination->sinks[i].source);
    }
    free(examination->sinks);
    examination->sinks = NULL;
    examination->sink_count = 0;
}
