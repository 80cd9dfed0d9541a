/* What the admin of a node asks for: sources, sinks and settings, and other ones than there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/shape/node_parts.h"

const char *const node_sink_ids[SINK_KINDS] = {"wide", "keyed", "rows"};

static json_t *make_infer(const Gateway *node, SinkKind kind) {
    const ShapePlan *plan = &world->plans[node->index];
    json_t *infer = json_pack("{s:i,s:i}", "depth", (int)plan->depth, "maxColumns", (int)plan->max_columns[kind]);
    json_t *hints = json_object();
    static const char *const types[] = {"integer", "decimal", "boolean", "timestamp", "text", "json"};
    for (uint64_t i = chance(40) ? 1 + below(2) : 0; i > 0; i--) {
        const char *path = events_draw_path(plan->depth);
        if (path && strcmp(path, "k") != 0 && strcmp(path, "t") != 0)
            check(json_object_set_new(hints, path, json_string(types[below(6)])) == 0);
    }
    check(infer && json_object_set_new(infer, "typeHints", hints) == 0);
    return infer;
}

static json_t *make_sink(const Gateway *node, SinkKind kind) {
    const ShapePlan *plan = &world->plans[node->index];
    char table_id[32];
    (void)snprintf(table_id, sizeof table_id, plan->own_table[kind] ? "%s%u" : "%s", node_sink_ids[kind], node->index);
    json_t *mapping = kind == SINK_ROWS ? json_pack("{s:s}", "explode", "items") : json_pack("{s:o}", "infer", make_infer(node, kind));
    json_t *table = json_pack("{s:s,s:s,s:s,s:o}", "connection", CONNECTION, "tableId", table_id, "strategy",
                              kind == SINK_KEYED ? "merge" : "append", "mapping", mapping);
    json_t *columns = NULL;
    check(table);
    if (kind == SINK_WIDE && world->ignores) check(json_object_set_new(table, "onSchemaDrift", json_string("ignore")) == 0);
    if (kind == SINK_KEYED)
        columns = json_pack("[{s:s,s:s,s:s,s:s,s:b},{s:s,s:s,s:s,s:s,s:b}]", "name", "k", "type", "path", "path", "k", "dataType",
                            "integer", "primaryKey", 1, "name", "t", "type", "path", "path", "t", "dataType", "integer", "optional", 1);
    if (kind == SINK_ROWS)
        columns = json_pack("[{s:s,s:s},{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:b}]", "name", "id", "type", "id", "name", "k",
                            "type", "path", "path", "k", "dataType", "integer", "name", "n", "type", "path", "path", "items.n", "dataType",
                            "integer", "name", "s", "type", "path", "path", "items.s", "rawString", 1);
    if (columns) check(json_object_set_new(mapping, "columns", columns) == 0);
    if (kind == SINK_KEYED && plan->newer_by) check(json_object_set_new(table, "mergeIf", json_pack("{s:s}", "newerBy", "t")) == 0);
    if (kind == SINK_KEYED && plan->delete_on)
        check(json_object_set_new(table, "deleteOn", json_pack("{s:s,s:s}", "path", "op", "equals", "d")) == 0);
    json_t *sink = json_pack("{s:s,s:s,s:s,s:o}", "sinkId", node_sink_ids[kind], "name", node_sink_ids[kind], "onInvalid", "quarantine",
                             "table", table);
    check(sink);
    return sink;
}

static json_t *make_settings(void) {
    static const char *const counts[] = {"1", "5", "40", "1000"};
    static const char *const sizes[] = {"100B", "1000B", "20KB", "1MB"};
    char upload[16], import[16];
    (void)snprintf(upload, sizeof upload, "%us", 1 + (unsigned)below(60));
    (void)snprintf(import, sizeof import, "%us", 30 + (unsigned)below(200));
    json_t *settings = json_pack("{s:[{s:s,s:I},{s:s,s:s},{s:s,s:s},{s:s,s:I},{s:s,s:s},{s:s,s:s}]}", "settings", "key",
                                 "storage.level.staging.upload.trigger.count", "value", (json_int_t)atoll(counts[below(4)]), "key",
                                 "storage.level.staging.upload.trigger.size", "value", sizes[below(4)], "key",
                                 "storage.level.staging.upload.trigger.interval", "value", upload, "key",
                                 "storage.level.target.import.trigger.count", "value", (json_int_t)atoll(counts[below(4)]), "key",
                                 "storage.level.target.import.trigger.size", "value", sizes[below(4)], "key",
                                 "storage.level.target.import.trigger.interval", "value", import);
    check(settings);
    return settings;
}

static void change(Gateway *node, ChangeKind kind, const char *sink_id, bool of_sink, bool creates_source, json_t *take_body) {
    ChangeRequest request = {.kind = kind,
                             .of_sink = of_sink,
                             .source_id = creates_source ? NULL : SOURCE,
                             .sink_id = sink_id,
                             .body = take_body,
                             .by = "admin"};
    Task *task;
    TemplateCheck *needed = NULL;
    Failure failure = {0};
    int r = change_start(node->control, &request, &task, &needed, &failure);
    if (r != 0) fail("node %u: a change is refused: %s", node->index, failure.error.text);
    json_decref(take_body);
}

void node_define(Gateway *node) {
    if (changes_are_pending(node->control, SOURCE)) return;
    const RegistrySource *source = registry_find(&node->control->registry, SOURCE);
    node->is_named = false;
    if (!source) {
        change(node, CHANGE_CREATE, NULL, false, true, json_pack("{s:s,s:s}", "sourceId", SOURCE, "name", SOURCE));
        return;
    }
    for (SinkKind kind = 0; kind < SINK_KINDS; kind++) {
        if (world->plans[node->index].lacks[kind] || registry_find_sink(source, node_sink_ids[kind])) continue;
        change(node, CHANGE_CREATE, NULL, true, false, make_sink(node, kind));
        return;
    }
    node->is_named = true;
    if (node->settings == 0) {
        node->settings = 1;
        change(node, CHANGE_SETTINGS, NULL, false, false, make_settings());
    }
}

void node_patch(Gateway *node) {
    if (!node->runs || node->depth > 0) return;
    node_define(node);
    if (!node->is_named || changes_are_pending(node->control, SOURCE)) return;
    sum.patches++;
    if (chance(30)) {
        change(node, CHANGE_SETTINGS, NULL, false, false, make_settings());
        return;
    }
    SinkKind kind = chance(50) ? SINK_WIDE : SINK_KEYED;
    ShapePlan *plan = &world->plans[node->index];
    if (plan->lacks[kind]) kind = !plan->lacks[SINK_WIDE] ? SINK_WIDE : SINK_KEYED;
    const char *path = events_draw_path(plan->depth);
    json_t *infer;
    if (chance(20)) {
        infer = make_infer(node, kind);
    } else if (chance(50) && path && strcmp(path, "k") != 0 && strcmp(path, "t") != 0) {
        infer = json_pack("{s:[s]}", "exclude", path);
    } else if (chance(50)) {
        infer = json_pack("{s:[]}", "exclude");
    } else {
        plan->max_columns[kind] += (unsigned)below(10);
        infer = json_pack("{s:i}", "maxColumns", (int)plan->max_columns[kind]);
    }
    change(node, CHANGE_PATCH, node_sink_ids[kind], true, false, json_pack("{s:{s:{s:o}}}", "table", "mapping", "infer", infer));
}
