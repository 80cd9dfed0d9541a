/*
 * Sources of type kafka and nats, by the API: which connections they may have, what changes of them
 * mean, and what a test of a connection looks for. The list of drivers that this program defines
 * goes before that of sinks/driver_list.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "config/source_kafka.h"
#include "config/source_nats.h"
#include "sinks/driver.h"
#include "tests/unit/gateway/control/harness.h"

/* A destination that keeps no positions. */
static const ConnectionField plain_fields[] = {{.name = "path", .bytes_max = 100, .needed = "\"path\"", .sentence = "Where it is."}, {0}};
static const ConnectionType plain_type = {.name = "plain", .fields = plain_fields, .place = "path"};
static bool same_target(const SinkTarget *target, const SinkTarget *other) {
    return strcmp(sink_target_name(target), sink_target_name(other)) == 0;
}
static const SinkDriver plain_driver = {.type = &plain_type, .same_target = same_target};

const SinkDriver *const sink_drivers[] = {&sink_driver_sqlite, &sink_driver_postgres, &plain_driver, NULL};
const ConnectionType *const connection_types[] = {
    &connection_type_sqlite, &connection_type_postgres, &connection_type_kafka, &connection_type_nats, &plain_type, NULL};

#define BRANCH "/v1/branches/default"
#define SOURCES BRANCH "/sources"
#define SINK(id, connection, table)                                                                                                        \
    "{\"sinkId\":\"" id "\",\"table\":{\"connection\":\"" connection "\",\"tableId\":\"" table                                             \
    "\",\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":\"meta\",\"field\":\"bridge\"}]}}}"
#define KAFKA(id, connection, topics)                                                                                                      \
    "{\"sourceId\":\"" id "\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"" connection "\",\"topics\":" topics "}}"
#define NATS(id, more) "{\"sourceId\":\"" id "\",\"type\":\"nats\",\"nats\":{\"connection\":\"jet\",\"stream\":\"ORDERS\"" more "}}"

static int start(void **state) {
    Harness *harness = calloc(1, sizeof *harness);
    assert_non_null(harness);
    harness->config = "connections:\n"
                      "  events: {type: kafka, brokers: \"127.0.0.1:9\"}\n"
                      "  other: {type: kafka, brokers: \"127.0.0.1:10\"}\n"
                      "  jet: {type: nats, servers: \"nats://127.0.0.1:9\"}\n"
                      "  warehouse: {type: postgres, uri: \"postgresql://127.0.0.1:9/w\"}\n"
                      "  heap: {type: plain, path: x}\n";
    harness_start(harness);
    *state = harness;
    return 0;
}

static void refuses(Harness *harness, const char *method, const char *path, const char *body, const char *part) {
    json_t *answer;
    int status = harness_call(harness, method, path, body, &answer);
    _cleanup_free_ char *text = answer ? json_dumps(answer, JSON_COMPACT) : strdup("");
    if (status != 400 || !strstr(text, part)) fail_msg("%s %s: %d %s lacks %s", path, body, status, text, part);
    json_decref(answer);
}

static void does(Harness *harness, const char *method, const char *path, const char *body, const char *result) {
    json_t *task = NULL;
    const char *status = harness_task(harness, method, path, body, &task);
    const char *text = json_string_value(json_object_get(task, "result"));
    if (strcmp(status, "success") != 0 || !text || strcmp(text, result) != 0)
        fail_msg("%s %s: %s %s, not %s", method, path, status, text, result);
    json_decref(task);
}

static void its_connection_is_there_and_of_its_type(void **state) {
    Harness *harness = *state;
    refuses(harness, "POST", SOURCES, KAFKA("s", "nowhere", "[\"a\"]"),
            "There is no connection \\\"nowhere\\\". There are: \\\"local\\\", \\\"events\\\"");
    refuses(harness, "POST", SOURCES, KAFKA("s", "local", "[\"a\"]"),
            "Connection \\\"local\\\" is of type sqlite: a source of type kafka reads a connection of type kafka.");
    refuses(harness, "POST", SOURCES, KAFKA("s", "jet", "[\"a\"]"), "\\\"jet\\\" is of type nats: a source of type kafka reads");
    refuses(harness, "PUT", SOURCES "/s/manifest", KAFKA("s", "jet", "[\"a\"]"),
            "\\\"jet\\\" is of type nats: a source of type kafka reads");
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    refuses(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"connection\":\"heap\"}}", "\\\"heap\\\" is of type plain");
    refuses(harness, "PUT", SOURCES "/s/manifest", KAFKA("s", "heap", "[\"a\"]"), "\\\"heap\\\" is of type plain");
}

static void its_sinks_keep_positions(void **state) {
    Harness *harness = *state;
    const char *says =
        "Connection \\\"heap\\\" is of type plain, which keeps no positions: a source of type kafka stores them with the rows";
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    refuses(harness, "POST", SOURCES "/s/sinks", SINK("k", "events", "t"),
            "\\\"events\\\" is of type kafka: it is for sources only, and no sink");
    refuses(harness, "POST", SOURCES "/s/sinks", SINK("k", "heap", "t"), says);
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    refuses(harness, "PATCH", SOURCES "/s/sinks/k", "{\"table\":{\"connection\":\"heap\"}}", says);
    refuses(harness, "PUT", SOURCES "/s/manifest",
            "{\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",\"topics\":[\"a\"]},\"sinks\":[" SINK("n", "heap", "u") "]}", says);
    /* A durable consumer acknowledges: nobody keeps positions for it, until it is one without. */
    does(harness, "POST", SOURCES, NATS("d", ""), "The source is created.");
    does(harness, "POST", SOURCES "/d/sinks", SINK("k", "heap", "v"), "The sink is created.");
    refuses(harness, "PATCH", SOURCES "/d", "{\"nats\":{\"durable\":\"none\"}}", "\\\"heap\\\" is of type plain, which keeps no positions");
    does(harness, "DELETE", SOURCES "/d/sinks/k", NULL, "The sink is deleted; waiting rows are imported.");
    does(harness, "PATCH", SOURCES "/d", "{\"nats\":{\"durable\":\"none\"}}",
         "The source is changed. What it has read is recorded by \"nats.durable\", which has changed: it starts again as \"startFrom\" "
         "says, unless that one was used before.");
}

static void a_change_says_what_becomes_of_what_was_read(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"topics\":[\"a\",\"b\"]}}", "The source is changed.");
    does(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"startFrom\":\"latest\"}}",
         "The source is changed. Its \"startFrom\" is used only where nothing was read yet.");
    does(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"groupId\":\"g\"}}",
         "The source is changed. What it has read is recorded by \"kafka.groupId\", which has changed: it starts again as \"startFrom\" "
         "says, unless that one was used before.");
    does(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"groupId\":\"g\"}}", "Nothing was changed.");
    does(harness, "PUT", SOURCES "/s/manifest",
         "{\"type\":\"kafka\",\"kafka\":{\"connection\":\"other\",\"topics\":[\"a\"]},\"sinks\":[" SINK("k", "local", "u") "]}",
         "The source and its sinks are as declared. What it has read is recorded by \"kafka.connection\", which has changed: it starts "
         "again as \"startFrom\" says, unless that one was used before. Positions belong to the table: where the new one has none of this "
         "source, it continues after the last record of the old one.");
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"table\":{\"tableId\":\"w\"}}",
         "The sink is changed. Positions belong to the table: where the new one has none of this source, it continues after the last "
         "record of the old one.");
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"startFrom\":\"latest\",\"table\":{\"tableId\":\"w2\"}}",
         "The sink is changed. Positions belong to the table: where the new one has none of this source, it begins as the sink's "
         "\"startFrom\" says.");
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"table\":{\"onSchemaDrift\":\"evolve\"}}", "The sink is changed.");
    does(harness, "POST", SOURCES, "{\"sourceId\":\"h\"}", "The source is created.");
    does(harness, "POST", SOURCES "/h/sinks",
         "{\"sinkId\":\"k\",\"table\":{\"tableId\":\"z\",\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":\"body\"}]}}}",
         "The sink is created.");
    does(harness, "PATCH", SOURCES "/h/sinks/k", "{\"table\":{\"tableId\":\"y\"}}", "The sink is changed.");
}

/* What the bridge goes by is stored: which sinks came to others, and where the rows of a sink went
 * before. */
static void where_a_sink_begins_is_stored(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("l", "local", "u"), "The sink is created.");
    does(harness, "PUT", SOURCES "/s/sinks/k/disable", NULL,
         "The sink is disabled; waiting rows are imported. When it is enabled again, it continues where it stopped.");
    for (int i = 0; i < 6; i++) {
        char body[60];
        (void)snprintf(body, sizeof body, "{\"table\":{\"tableId\":\"v%d\"}}", i % 5);
        json_t *task = NULL;
        assert_string_equal(harness_task(harness, "PATCH", SOURCES "/s/sinks/k", body, &task), "success");
        json_decref(task);
    }
    for (int starts = 0; starts < 2; starts++) {
        const RegistrySource *source = registry_find(&harness->control->registry, "s");
        const SinkOrigin *k = &registry_find_sink(source, "k")->sink->origin, *l = &registry_find_sink(source, "l")->sink->origin;
        assert_false(k->joins);
        assert_true(l->joins);
        assert_int_equal(l->former_count, 0);
        assert_int_equal(k->former_count, SINK_FORMER_MAX);
        for (int i = 0; i < SINK_FORMER_MAX; i++) { /* it is at v0 again */
            char name[8];
            (void)snprintf(name, sizeof name, "v%d", 4 - i);
            assert_string_equal(sink_target_name(&k->former[i]), name);
        }
        harness_stop(harness);
        harness_start(harness);
    }
}

/* A source that reads as another group starts anew: where its sinks were before says nothing. */
static void where_a_sink_began_counts_for_its_group(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("l", "local", "u"), "The sink is created.");
    json_t *task = NULL;
    assert_string_equal(harness_task(harness, "PATCH", SOURCES "/s/sinks/l", "{\"table\":{\"tableId\":\"v\"}}", &task), "success");
    json_decref(task);
    assert_string_equal(harness_task(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"groupId\":\"g\"}}", &task), "success");
    json_decref(task);
    assert_string_equal(harness_task(harness, "PATCH", SOURCES "/s/sinks/l", "{\"table\":{\"tableId\":\"w\"}}", &task), "success");
    json_decref(task);
    harness_stop(harness);
    harness_start(harness);
    const RegistrySource *source = registry_find(&harness->control->registry, "s");
    const SinkOrigin *origin = &registry_find_sink(source, "l")->sink->origin;
    assert_false(origin->joins);
    assert_int_equal(origin->former_count, 1);
    assert_string_equal(sink_target_name(&origin->former[0]), "v");
    assert_string_equal(origin->key, "events g");
}

static void where_a_sink_begins_is_of_positions_alone(void **state) {
    Harness *harness = *state;
    const char *body = "{\"sinkId\":\"k\",\"startFrom\":\"latest\",\"table\":{\"tableId\":\"t\",\"mapping\":{\"columns\":[{\"name\":\"b\","
                       "\"type\":\"body\"}]}}}";
    does(harness, "POST", SOURCES, "{\"sourceId\":\"h\"}", "The source is created.");
    refuses(harness, "POST", SOURCES "/h/sinks", body, "Field \\\"startFrom\\\" is only for sinks of sources that read a broker");
    does(harness, "POST", SOURCES, NATS("d", ""), "The source is created.");
    refuses(harness, "POST", SOURCES "/d/sinks", body, "the broker keeps the messages that the source has not acknowledged");
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", body, "The sink is created.");
    refuses(harness, "PATCH", SOURCES "/s/sinks/k", "{\"startFrom\":{\"sequence\":3}}", "must not be a sequence");
    refuses(harness, "PATCH", SOURCES "/s/sinks/k", "{\"startFrom\":\"soon\"}", "must be earliest, latest or a time");
    refuses(harness, "PUT", SOURCES "/h/manifest",
            "{\"sinks\":[{\"sinkId\":\"k\",\"startFrom\":\"latest\",\"table\":{\"tableId\":\"u\",\"mapping\":{\"columns\":[{\"name\":\"b\","
            "\"type\":\"body\"}]}}}]}",
            "sinks[0].startFrom");
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"startFrom\":null}", "The sink is changed.");
    const RegistrySource *source = registry_find(&harness->control->registry, "s");
    assert_false(registry_find_sink(source, "k")->sink->start.given);
}

static void another_table_keeps_the_positions(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "PATCH", SOURCES "/s/sinks/k?positions=keep", "{\"description\":\"d\"}", "The sink is changed.");
    assert_string_equal(harness->positions, "");
    does(harness, "PATCH", SOURCES "/s/sinks/k?positions=keep", "{\"table\":{\"tableId\":\"u\"}}",
         "The sink is changed. The new table continues at the positions of the old one.");
    assert_string_equal(harness->positions, "copy sluice-1-s t>u ");
    does(harness, "PUT", SOURCES "/s/sinks/k/disable", NULL,
         "The sink is disabled; waiting rows are imported. The source has no enabled sink now: nothing is read, and new records wait in "
         "the broker.");
    harness->positions[0] = '\0';
    json_t *task = NULL;
    assert_string_equal(
        harness_task(
            harness, "PUT", SOURCES "/s/manifest?positions=keep",
            "{\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",\"topics\":[\"a\"]},\"sinks\":[" SINK("k", "local", "w") "]}", &task),
        "success");
    assert_string_equal(harness->positions, "copy sluice-1-s u>w ");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(task, "outputs"), "copiedPositions")), 3);
    json_decref(task);

    refuses(harness, "PATCH", SOURCES "/s/sinks/k?positions=drop", "{}", "Parameter \\\"positions\\\" must be keep");
    refuses(harness, "PATCH", SOURCES "/s?positions=keep", "{}", "positions");
    refuses(harness, "PATCH", SOURCES "/s/sinks/k?positions=keep", "{\"table\":{\"connection\":\"warehouse\"}}",
            "connections \\\"local\\\" and \\\"warehouse\\\" are two");
    does(harness, "POST", SOURCES, "{\"sourceId\":\"h\"}", "The source is created.");
    does(harness, "POST", SOURCES "/h/sinks",
         "{\"sinkId\":\"k\",\"table\":{\"tableId\":\"z\",\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":\"body\"}]}}}",
         "The sink is created.");
    refuses(harness, "PATCH", SOURCES "/h/sinks/k?positions=keep", "{\"table\":{\"tableId\":\"y\"}}", "source \\\"h\\\" does not");

    harness->prepare = SINK_UNREACHABLE;
    harness->prepare_says = "it is down";
    assert_string_equal(harness_task(harness, "PATCH", SOURCES "/s/sinks/k?positions=keep", "{\"table\":{\"tableId\":\"x\"}}", &task),
                        "error");
    const char *text = json_string_value(json_object_get(task, "error"));
    assert_true(text && strstr(text, "could not be copied: it is down"));
    json_decref(task);
    harness->prepare = SINK_DONE;
}

/* What is deleted for long goes with its positions, but not as long as these cannot be removed, and
 * not those that others have set. */
static void positions_go_with_their_sink(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("l", "local", "u"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("m", "local", "v"), "The sink is created.");
    for (int i = 0; i < 3; i++) {
        json_t *task = NULL;
        char path[60];
        (void)snprintf(path, sizeof path, SOURCES "/s/sinks/%c", "klm"[i]);
        assert_string_equal(harness_task(harness, "DELETE", path, NULL, &task), "success");
        json_decref(task);
    }
    does(harness, "POST", SOURCES "/s/sinks", SINK("n", "local", "v"), "The sink is created."); /* goes on with those of m */
    harness->prepare = SINK_UNREACHABLE;
    harness->prepare_says = "it is down";
    harness->time_passed += 8 * USEC_DAY;
    for (int i = 0; i < 20; i++) harness_turn(harness);
    const RegistrySource *source = registry_find(&harness->control->registry, "s");
    assert_string_equal(harness->positions, "remove sluice-1-s t remove sluice-1-s u ");
    assert_true(registry_find_sink(source, "k") && registry_find_sink(source, "l"));
    assert_null(registry_find_sink(source, "m"));
    harness->positions[0] = '\0';
    harness->prepare = SINK_DONE;
    harness->time_passed += 2 * USEC_HOUR;
    for (int i = 0; i < 20; i++) harness_turn(harness);
    assert_string_equal(harness->positions, "remove sluice-1-s t remove sluice-1-s u ");
    assert_null(registry_find_sink(source, "k"));
    assert_null(registry_find_sink(source, "l"));
    assert_non_null(registry_find_sink(source, "n"));
    harness->foreign_positions = true;
    does(harness, "DELETE", SOURCES "/s/sinks/n", NULL, "The sink is deleted; waiting rows are imported.");
    harness->time_passed += 8 * USEC_DAY;
    for (int i = 0; i < 20; i++) harness_turn(harness);
    assert_null(registry_find_sink(source, "n"));
}

static void delete_sink(Harness *harness, const char *path) {
    json_t *task = NULL;
    assert_string_equal(harness_task(harness, "DELETE", path, NULL, &task), "success");
    json_decref(task);
}

/* It would begin anew, into a table that has its rows. */
static void a_sink_whose_positions_are_removed_does_not_come_back(void **state) {
    Harness *harness = *state;
    json_t *answer;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("l", "local", "u"), "The sink is created.");
    delete_sink(harness, SOURCES "/s/sinks/k");
    does(harness, "PUT", SOURCES "/s/sinks/k/undelete", "", "The sink is restored.");
    delete_sink(harness, SOURCES "/s/sinks/k");
    delete_sink(harness, SOURCES "/s");
    harness->loader_stands = true;
    harness->time_passed += 8 * USEC_DAY;
    for (int i = 0; i < 20; i++) harness_turn(harness);
    assert_non_null(registry_find(&harness->control->registry, "s"));
    assert_int_equal(harness_call(harness, "PUT", SOURCES "/s/undelete", "", &answer), 404);
    json_decref(answer);
    harness->loader_stands = false;
    for (int i = 0; i < 20; i++) harness_turn(harness);
    assert_null(registry_find(&harness->control->registry, "s"));
}

/* The other one goes to another table: that its connection cannot be asked does not make them
 * one. */
static void positions_of_an_unknown_connection_are_not_forgotten(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "warehouse", "t"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("l", "warehouse", "u"), "The sink is created.");
    delete_sink(harness, SOURCES "/s/sinks/k");
    harness_stop(harness);
    harness->config = "connections:\n  events: {type: kafka, brokers: \"127.0.0.1:9\"}\n";
    harness_start(harness);
    harness->prepare = SINK_UNREACHABLE;
    harness->prepare_says = "it is not there";
    harness->time_passed += 8 * USEC_DAY;
    for (int i = 0; i < 20; i++) harness_turn(harness);
    assert_string_equal(harness->positions, "remove sluice-1-s t ");
    assert_non_null(registry_find_sink(registry_find(&harness->control->registry, "s"), "k"));
}

/* Who applies a manifest reads it in the plan, also before it is done. */
static void the_plan_of_a_manifest_has_it_too(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("l", "local", "u"), "The sink is created.");
    const char *body = "{\"type\":\"kafka\",\"kafka\":{\"connection\":\"other\",\"topics\":[\"a\"]},\"sinks\":[" SINK(
        "k", "local", "v") "," SINK("l", "local", "u") "]}";
    json_t *plan;
    assert_int_equal(harness_call(harness, "PUT", SOURCES "/s/manifest?dryRun=true", body, &plan), 200);
    const char *of_source = json_string_value(json_object_get(json_object_get(plan, "source"), "note"));
    const json_t *sinks = json_object_get(plan, "sinks");
    const char *of_sink = json_string_value(json_object_get(json_array_get(sinks, 0), "note"));
    assert_true(of_source && strncmp(of_source, "What it has read is recorded by \"kafka.connection\", which", 53) == 0);
    assert_true(of_sink && strncmp(of_sink, "Positions belong to the table:", 30) == 0);
    assert_null(json_object_get(json_array_get(sinks, 1), "note"));
    json_decref(plan);
    json_t *task = NULL;
    assert_string_equal(harness_task(harness, "PUT", SOURCES "/s/manifest", body, &task), "success");
    const json_t *outputs = json_object_get(task, "outputs");
    assert_non_null(json_object_get(json_object_get(outputs, "source"), "note"));
    json_decref(task);
}

static bool shown_paused(const Harness *harness, const char *source_id) {
    const SnapshotSource *shown = snapshot_find(harness->held[0], span_of(source_id));
    assert_non_null(shown);
    return shown->source->paused.at != 0;
}

/* Who reads a broker has to hear of a pause: it closes its consumer. */
static void a_pause_is_shown(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "POST", SOURCES, "{\"sourceId\":\"h\"}", "The source is created.");
    assert_false(shown_paused(harness, "s"));
    does(harness, "PUT", SOURCES "/s/pause", NULL, "The source is paused: nothing is read, and no import of its sinks starts.");
    assert_true(harness->last_source_paused);
    assert_true(shown_paused(harness, "s"));
    does(harness, "PATCH", SOURCES "/s", "{\"description\":\"d\"}", "The source is changed.");
    assert_true(shown_paused(harness, "s"));
    harness_stop(harness);
    harness_start(harness);
    assert_true(shown_paused(harness, "s"));
    does(harness, "PUT", SOURCES "/s/resume", NULL, "The source is resumed.");
    assert_false(shown_paused(harness, "s"));

    /* The task waits until nobody goes by the old snapshot. */
    uint64_t generation = harness->control->generation;
    harness->loops_stand = true;
    ApiCall *call = harness_send(harness, "PUT", SOURCES "/s/pause", NULL, 10 * USEC_SECOND);
    for (int i = 0; i < 20; i++) harness_turn(harness);
    assert_int_equal(harness->control->generation, generation + 1);
    assert_null(harness_answer(harness));
    harness->loops_stand = false;
    ApiCall *answer = NULL;
    for (int i = 0; i < 20 && !answer; i++) {
        harness_turn(harness);
        answer = harness_answer(harness);
    }
    assert_ptr_equal(answer, call);
    api_call_free(answer);

    generation = harness->control->generation;
    does(harness, "PUT", SOURCES "/h/pause", NULL, "The source is paused: events are accepted, but no import of its sinks starts.");
    assert_int_equal(harness->control->generation, generation);
}

/* ---- runs of sources that end ---- */

static struct {
    BridgeState state;
    usec_t run, later;
} shown_status;

static BridgeStatus *show_status(SourceRunner *runner, uint32_t source) {
    (void)runner, (void)source;
    BridgeStatus *status = bridge_status_new();
    status->state = shown_status.state;
    status->run = shown_status.run;
    status->later_run = shown_status.later;
    return status;
}

static void let_it_say(Harness *harness, BridgeState state, usec_t run) {
    for (size_t i = 0; harness->runners[i]; i++)
        if (harness->runners[i]->kind == &source_kind_kafka) harness->runners[i]->status = show_status;
    shown_status.state = state;
    shown_status.run = run;
}

static usec_t run_of(Harness *harness, const char *source_id) {
    char path[100], text[40];
    json_t *answer;
    (void)snprintf(path, sizeof path, SOURCES "/%s", source_id);
    assert_int_equal(harness_call(harness, "GET", path, NULL, &answer), 200);
    const json_t *run = json_object_get(answer, "run");
    usec_t known = registry_find(&harness->control->registry, source_id)->source->run;
    clock_format_utc(known, text);
    if (known != 0)
        assert_string_equal(json_string_value(run), text);
    else
        assert_null(run);
    json_decref(answer);
    return known;
}

#define ENDS(id, more)                                                                                                                     \
    "{\"sourceId\":\"" id "\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",\"topics\":[\"a\"],\"loop\":false" more "}}"

/* A definition that decides about rows begins another run; whatever else happens does not. */
static void a_source_that_ends_has_runs(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("o", "other", "[\"a\"]"), "The source is created.");
    assert_int_equal(run_of(harness, "o"), 0);
    does(harness, "POST", SOURCES, ENDS("s", ""), "The source is created.");
    usec_t run = run_of(harness, "s"), last = run;
    assert_true(run > 0 && run % USEC_MS == 0);
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    run = run_of(harness, "s");
    assert_true(run > last);
    last = run;

    /* No clock that goes back makes an earlier run. */
    harness->wall_jump = -USEC_MINUTE;
    does(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"batchSize\":7}}", "The source is changed.");
    run = run_of(harness, "s");
    assert_int_equal(run, last + USEC_MS);
    last = run;
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"onInvalid\":\"reject\"}", "The sink is changed.");
    run = run_of(harness, "s");
    assert_int_equal(run, last + USEC_MS);
    last = run;
    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(run_of(harness, "s"), last);

    does(harness, "PATCH", SOURCES "/s", "{\"description\":\"d\"}", "The source is changed.");
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"name\":\"n\"}", "The sink is changed.");
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"onInvalid\":\"reject\"}", "Nothing was changed.");
    does(harness, "PATCH", SOURCES "/s/sinks/k/settings",
         "{\"settings\":[{\"key\":\"storage.level.local.encoding.sync.wait\",\"value\":false}]}", "The settings are changed.");
    does(harness, "PUT", SOURCES "/s/disable", NULL, "The source is disabled; waiting rows are imported.");
    does(harness, "PUT", SOURCES "/s/enable", NULL, "The source is enabled.");
    does(harness, "PUT", SOURCES "/s/pause", NULL, "The source is paused: nothing is read, and no import of its sinks starts.");
    does(harness, "PUT", SOURCES "/s/resume", NULL, "The source is resumed.");
    assert_int_equal(run_of(harness, "s"), last);
}

static void resume_comes_too_early(Harness *harness, const char *path) {
    json_t *answer;
    int status = harness_call(harness, "PUT", path, NULL, &answer);
    const char *id = json_string_value(json_object_get(answer, "error")), *text = json_string_value(json_object_get(answer, "message"));
    assert_int_equal(status, 409);
    assert_string_equal(id, "stream.api.bridgeNotRunning");
    assert_non_null(strstr(text, "it is not known yet whether it is finished"));
    json_decref(answer);
}

static void a_source_that_is_finished_is_resumed(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, ENDS("s", ""), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    usec_t run = run_of(harness, "s");
    const char *neither = "The source is neither paused nor finished: nothing was changed.";
    resume_comes_too_early(harness, SOURCES "/s/resume"); /* nobody has said anything of it */
    let_it_say(harness, BRIDGE_STARTING, run);
    resume_comes_too_early(harness, SOURCES "/s/resume");
    let_it_say(harness, BRIDGE_RUNNING, run);
    does(harness, "PUT", SOURCES "/s/resume", NULL, neither);
    let_it_say(harness, BRIDGE_FINISHED, run - USEC_MS); /* of the run before: it has not heard of this one */
    does(harness, "PUT", SOURCES "/s/resume", NULL, neither);
    assert_int_equal(run_of(harness, "s"), run);
    let_it_say(harness, BRIDGE_FINISHED, run);
    does(harness, "PUT", SOURCES "/s/pause", NULL, "The source is paused: nothing is read, and no import of its sinks starts.");
    does(harness, "PUT", SOURCES "/s/resume", NULL, "The source is resumed."); /* the pause alone */
    assert_int_equal(run_of(harness, "s"), run);
    does(harness, "PUT", SOURCES "/s/resume", NULL, "The source was finished, and is read once more.");
    assert_true(run_of(harness, "s") > run);
    SnapshotSource *shown = snapshot_find(harness->held[0], SPAN("s"));
    assert_int_equal(shown->source->run, run_of(harness, "s"));
    does(harness, "PUT", SOURCES "/s/resume", NULL, neither);
    /* Another source is not asked about runs. */
    does(harness, "POST", SOURCES, KAFKA("o", "other", "[\"a\"]"), "The source is created.");
    does(harness, "PUT", SOURCES "/o/resume", NULL, "Nothing was changed.");
}

#define REPLACES(id, table, more)                                                                                                          \
    "{\"sinkId\":\"" id "\"" more ",\"table\":{\"strategy\":\"replace\",\"tableId\":\"" table                                              \
    "\",\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":\"meta\",\"field\":\"bridge\"}]}}}"

static void tables_are_replaced_by_sources_that_end(void **state) {
    Harness *harness = *state;
    const char *ends = "Field \\\"table.strategy\\\" is \\\"replace\\\", which needs a source that ends";
    does(harness, "POST", SOURCES, "{\"sourceId\":\"h\"}", "The source is created.");
    refuses(harness, "POST", SOURCES "/h/sinks",
            "{\"sinkId\":\"k\",\"table\":{\"strategy\":\"replace\",\"tableId\":\"t\",\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":"
            "\"body\"}]}}}",
            ends);
    does(harness, "POST", SOURCES, KAFKA("l", "other", "[\"a\"]"), "The source is created.");
    refuses(harness, "POST", SOURCES "/l/sinks", REPLACES("k", "t", ""), ends);
    does(harness, "POST", SOURCES, NATS("d", ",\"loop\":false"), "The source is created.");
    refuses(harness, "POST", SOURCES "/d/sinks", REPLACES("k", "t", ""),
            "needs a source that keeps positions: give it \\\"durable\\\": \\\"none\\\"");
    does(harness, "POST", SOURCES, ENDS("f", ",\"groupId\":\"f\",\"startFrom\":\"latest\""), "The source is created.");
    refuses(harness, "POST", SOURCES "/f/sinks", REPLACES("k", "t", ""), "the source must not have another \\\"startFrom\\\"");
    does(harness, "POST", SOURCES, ENDS("s", ""), "The source is created.");
    refuses(harness, "POST", SOURCES "/s/sinks", REPLACES("k", "t", ",\"startFrom\":\"earliest\""),
            "the sink must not have \\\"startFrom\\\"");
    does(harness, "POST", SOURCES "/s/sinks", REPLACES("k", "t", ""), "The sink is created.");
    /* All sinks, or none. */
    const char *all = "it must be in all sinks of a source, or in none";
    refuses(harness, "POST", SOURCES "/s/sinks", SINK("n", "local", "u"), all);
    refuses(harness, "PUT", SOURCES "/s/manifest",
            "{\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",\"topics\":[\"a\"],\"loop\":false},\"sinks\":[" SINK("n", "local",
                                                                                                                           "u") "]}",
            all);
    does(harness, "POST", SOURCES "/s/sinks", REPLACES("m", "u", ""), "The sink is created.");
    refuses(harness, "PATCH", SOURCES "/s/sinks/m", "{\"table\":{\"strategy\":\"append\"}}", all);
    refuses(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"loop\":true}}", ends);
    refuses(harness, "PATCH", SOURCES "/s", "{\"kafka\":{\"startFrom\":\"latest\"}}", "the source must not have another");
    does(harness, "PATCH", SOURCES "/s/sinks/m", "{\"table\":{\"tableId\":\"v\"}}", "The sink is changed.");
    refuses(harness, "PATCH", SOURCES "/s/sinks/m?positions=keep", "{\"table\":{\"tableId\":\"w\"}}",
            "\\\"positions\\\" is not for the strategy \\\"replace\\\"");
    /* A deleted one does not count, and does not come back beside others. */
    does(harness, "DELETE", SOURCES "/s/sinks/m", NULL, "The sink is deleted; waiting rows are imported.");
    refuses(harness, "PATCH", SOURCES "/s/sinks/k", "{\"table\":{\"strategy\":\"append\"}}", "would be stored twice");
    does(harness, "PATCH", SOURCES "/s/sinks/k", "{\"table\":{\"strategy\":\"append\",\"tableId\":\"w\"}}",
         "The sink is changed. The source is read from its first record into the new table.");
    refuses(harness, "PUT", SOURCES "/s/sinks/m/undelete", NULL, all);
}

/* Another gateway's clock may be ahead: the next run is behind the one that won. */
static void a_run_begins_behind_one_that_won(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, ENDS("s", ""), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", REPLACES("k", "t", ""), "The sink is created.");
    usec_t run = run_of(harness, "s"), later = run + USEC_DAY;
    let_it_say(harness, BRIDGE_FINISHED, run);
    shown_status.later = later;
    does(harness, "PUT", SOURCES "/s/resume", NULL, "The source was finished, and is read once more.");
    assert_int_equal(run_of(harness, "s"), later + USEC_MS);
    shown_status.later = 0;
}

static void a_disabled_sink_goes_on_later(void **state) {
    Harness *harness = *state;
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"a\"]"), "The source is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("k", "local", "t"), "The sink is created.");
    does(harness, "POST", SOURCES "/s/sinks", SINK("l", "local", "u"), "The sink is created.");
    does(harness, "PUT", SOURCES "/s/sinks/k/disable", NULL,
         "The sink is disabled; waiting rows are imported. When it is enabled again, it continues where it stopped.");
    does(harness, "PUT", SOURCES "/s/sinks/l/disable", NULL,
         "The sink is disabled; waiting rows are imported. The source has no enabled sink now: nothing is read, and new records wait in "
         "the broker.");
}

static void tests(Harness *harness, const char *connection, const char *names, bool positions) {
    char path[100];
    (void)snprintf(path, sizeof path, BRANCH "/connections/%s/test", connection);
    assert_int_equal(harness_call(harness, "POST", path, NULL, NULL), 200);
    assert_string_equal(harness->tested, names);
    assert_int_equal(harness->tested_positions, positions);
}

static void a_test_of_a_connection_looks_for_what_is_read(void **state) {
    Harness *harness = *state;
    tests(harness, "events", "", false);
    does(harness, "POST", SOURCES, KAFKA("s", "events", "[\"b\",\"^a.*\"]"), "The source is created.");
    does(harness, "POST", SOURCES, KAFKA("t", "events", "[\"c\",\"b\"]"), "The source is created.");
    does(harness, "POST", SOURCES, KAFKA("u", "other", "[\"d\"]"), "The source is created.");
    tests(harness, "events", "b ^a.* c ", false);
    tests(harness, "other", "d ", false);
    does(harness, "DELETE", SOURCES "/t", NULL, "The source is deleted; waiting rows are imported.");
    tests(harness, "events", "b ^a.* ", false);
    does(harness, "POST", SOURCES, NATS("d", ""), "The source is created.");
    does(harness, "POST", SOURCES, NATS("e", ",\"durable\":\"none\""), "The source is created.");
    tests(harness, "jet", "ORDERS/sluice-1-d ORDERS ", false);
    does(harness, "POST", SOURCES "/d/sinks", SINK("k", "local", "t"), "The sink is created.");
    tests(harness, "local", "t ", false);
    does(harness, "POST", SOURCES "/e/sinks", SINK("k", "local", "u"), "The sink is created.");
    tests(harness, "local", "t u ", true);
}

static void refuses_group(Harness *harness, const char *method, const char *path, const char *body) {
    json_t *answer;
    int status = harness_call(harness, method, path, body, &answer);
    const char *id = json_string_value(json_object_get(answer, "error"));
    if (status != 409 || !id || strcmp(id, "stream.api.groupTaken") != 0) fail_msg("%s %s: %d %s", path, body, status, id ? id : "");
    json_decref(answer);
}

#define GROUP(id, connection, topics, more)                                                                                                \
    "{\"sourceId\":\"" id "\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"" connection "\",\"topics\":" topics more "}}"

static void two_sources_share_no_group(void **state) {
    Harness *harness = *state;
    const char *created = "The source is created.";
    does(harness, "POST", SOURCES, GROUP("a", "events", "[\"t\",\"u\"]", ",\"groupId\":\"g\""), created);
    refuses_group(harness, "POST", SOURCES, GROUP("b", "events", "[\"u\"]", ",\"groupId\":\"g\""));
    refuses_group(harness, "POST", SOURCES, GROUP("b", "events", "[\"^x\"]", ",\"groupId\":\"g\""));
    refuses_group(harness, "PUT", SOURCES "/b/manifest", GROUP("b", "events", "[\"u\"]", ",\"groupId\":\"g\""));
    refuses_group(harness, "POST", SOURCES, GROUP("b", "events", "[\"t\"]", ",\"groupId\":\"g\""));
    does(harness, "POST", SOURCES, GROUP("c", "events", "[\"v\"]", ",\"groupId\":\"g\""), created);
    does(harness, "POST", SOURCES, GROUP("d", "other", "[\"u\"]", ",\"groupId\":\"g\""), created);
    does(harness, "POST", SOURCES, GROUP("e", "events", "[\"u\"]", ",\"groupId\":\"g\",\"loop\":false"), created);
    does(harness, "POST", SOURCES, GROUP("f", "events", "[\"u\"]", ""), created);
    refuses_group(harness, "PATCH", SOURCES "/f", "{\"kafka\":{\"groupId\":\"g\"}}");
    does(harness, "PATCH", SOURCES "/a", "{\"kafka\":{\"topics\":[\"t\",\"u\",\"w\"]}}", "The source is changed.");
    does(harness, "DELETE", SOURCES "/a", NULL, "The source is deleted; waiting rows are imported.");
    does(harness, "PATCH", SOURCES "/f", "{\"kafka\":{\"groupId\":\"g\"}}",
         "The source is changed. What it has read is recorded by \"kafka.groupId\", which has changed: it starts again as \"startFrom\" "
         "says, unless that one was used before.");
    refuses_group(harness, "PUT", SOURCES "/a/undelete", NULL);
    does(harness, "POST", SOURCES, NATS("n", ",\"durable\":\"d\""), created);
    refuses_group(harness, "POST", SOURCES, NATS("m", ",\"durable\":\"d\",\"subject\":\"a\""));
    does(harness, "POST", SOURCES, NATS("m", ",\"durable\":\"none\""), created);
    does(harness, "POST", SOURCES, NATS("o", ",\"durable\":\"none\""), created);
}

int main(void) {
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(its_connection_is_there_and_of_its_type, start, harness_teardown),
        cmocka_unit_test_setup_teardown(its_sinks_keep_positions, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_change_says_what_becomes_of_what_was_read, start, harness_teardown),
        cmocka_unit_test_setup_teardown(where_a_sink_begins_is_stored, start, harness_teardown),
        cmocka_unit_test_setup_teardown(another_table_keeps_the_positions, start, harness_teardown),
        cmocka_unit_test_setup_teardown(positions_go_with_their_sink, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_sink_whose_positions_are_removed_does_not_come_back, start, harness_teardown),
        cmocka_unit_test_setup_teardown(positions_of_an_unknown_connection_are_not_forgotten, start, harness_teardown),
        cmocka_unit_test_setup_teardown(where_a_sink_began_counts_for_its_group, start, harness_teardown),
        cmocka_unit_test_setup_teardown(where_a_sink_begins_is_of_positions_alone, start, harness_teardown),
        cmocka_unit_test_setup_teardown(the_plan_of_a_manifest_has_it_too, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_source_that_ends_has_runs, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_source_that_is_finished_is_resumed, start, harness_teardown),
        cmocka_unit_test_setup_teardown(tables_are_replaced_by_sources_that_end, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_run_begins_behind_one_that_won, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_pause_is_shown, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_disabled_sink_goes_on_later, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_test_of_a_connection_looks_for_what_is_read, start, harness_teardown),
        cmocka_unit_test_setup_teardown(two_sources_share_no_group, start, harness_teardown),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
