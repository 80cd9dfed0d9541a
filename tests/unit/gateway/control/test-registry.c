#include "gateway/control/registry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "config/source_http.h"
#include "storage/catalog.h"
#include "tests/unit/storage/fixture.h"

static Source *source_new_with(const char *name, uint32_t number) {
    Error error = {0};
    json_t *body = json_pack("{s:s}", "name", name);
    Source *source = NULL;
    assert_int_equal(source_from_request(body, &source, &error), 0);
    json_decref(body);
    source->number = number;
    source_stamp(source, 1, 1000, "test", "created");
    return source;
}

static Sink *sink_new_with(const char *name, uint32_t number, const char *path) {
    Error error = {0};
    json_t *body = json_pack("{s:s, s:{s:s, s:s, s:{s:[{s:s, s:s, s:s}]}}}", "name", name, "table", "connection", "local", "tableId", name,
                             "mapping", "columns", "name", "c", "type", "path", "path", path);
    Sink *sink = NULL;
    assert_int_equal(sink_from_request(body, true, &sink, &error), 0);
    json_decref(body);
    sink->number = number;
    sink_stamp(sink, 1, 1000, "test", "created");
    return sink;
}

static void test_order_and_pages(void **state) {
    (void)state;
    Registry registry = {.next_source = 1, .next_sink = 1};
    static const char *const names[] = {"m", "c", "z", "a", "k"};
    for (size_t i = 0; i < 5; i++) (void)registry_put(&registry, source_new_with(names[i], registry.next_source++));
    assert_int_equal(registry.count, 5);
    for (size_t i = 1; i < registry.count; i++)
        assert_true(strcmp(registry.sources[i - 1]->source->source_id, registry.sources[i]->source->source_id) < 0);
    assert_int_equal(registry_after(&registry, NULL), 0);
    assert_int_equal(registry_after(&registry, "c"), 2);
    assert_int_equal(registry_after(&registry, "d"), 2); /* also of an id that is not there (any more) */
    assert_int_equal(registry_after(&registry, "zz"), 5);
    assert_null(registry_find(&registry, "d"));

    RegistrySource *known = registry_find(&registry, "k");
    Source *changed = source_copy(known->source);
    changed->deleted = 5;
    assert_ptr_equal(registry_put(&registry, changed), known);
    assert_int_equal(registry_live_sources(&registry), 4);
    registry_remove(&registry, known);
    assert_int_equal(registry.count, 4);
    registry_deinit(&registry);
}

static void test_compile(void **state) {
    (void)state;
    Error error = {0};
    Registry registry = {.next_source = 2, .next_sink = 4};
    RegistrySource *source = registry_put(&registry, source_new_with("s", 1));
    SnapshotSource *shown;
    assert_int_equal(registry_compile(&registry, source, NULL, NULL, NULL, 0, &shown, &error), 0);
    assert_null(shown->plan);
    assert_int_equal(shown->skipped_count, 0);
    source->shown = shown;

    /* By number, whatever the names; a disabled one is skipped and not in the plan, a deleted one
     * neither. */
    (void)registry_put_sink(source, sink_new_with("b", 1, "x"), NULL);
    (void)registry_put_sink(source, sink_new_with("a", 2, "y"), NULL);
    Sink *disabled = sink_new_with("c", 3, "z");
    disabled->disabled = true;
    (void)registry_put_sink(source, disabled, NULL);
    assert_int_equal(registry_compile(&registry, source, NULL, NULL, NULL, 0, &shown, &error), 0);
    assert_int_equal(plan_sink_count(shown->plan), 2);
    assert_string_equal(plan_sink(shown->plan, 0)->sink_id, "b");
    assert_ptr_equal(shown->gates[1], registry_find_sink(source, "a")->gate);
    assert_int_equal(shown->skipped_count, 1);
    assert_int_equal(shown->skipped[0], 3);
    assert_true(shown->any_sync_wait);
    assert_ptr_equal(shown->usage, source->shown->usage); /* one for all generations */
    snapshot_source_unref(shown);

    /* What a change would make of it. */
    Sink *gone = sink_copy(registry_find_sink(source, "b")->sink);
    gone->deleted = 9;
    assert_int_equal(registry_compile(&registry, source, NULL, &gone, NULL, 1, &shown, &error), 0);
    assert_int_equal(plan_sink_count(shown->plan), 1);
    assert_int_equal(shown->skipped_count, 1);
    snapshot_source_unref(shown);
    sink_unref(gone);

    Sink *wrong = sink_new_with("d", 4, "a[");
    SinkGate *gate = sink_gate_new();
    assert_int_equal(registry_compile(&registry, source, NULL, &wrong, &gate, 1, &shown, &error), -EINVAL);
    sink_unref(wrong);
    sink_gate_unref(gate);

    Source *deleted = source_copy(source->source);
    deleted->deleted = 9;
    assert_int_equal(registry_compile(&registry, source, deleted, NULL, NULL, 0, &shown, &error), 0);
    assert_null(shown);
    source_unref(deleted);
    registry_deinit(&registry);
}

/* What is stored goes on, and a change of it is refused. */
static void what_is_stored_in_the_clear_goes_on(void **state) {
    Error error = {0};
    Registry registry = {.next_source = 2, .next_sink = 3};
    RegistrySource *source = registry_put(&registry, source_new_with("s", 1));
    Sink *masked = sink_new_with("m", 1, "a.b");
    masked->target.columns[0].mask = strdup("redact");
    (void)registry_put_sink(source, masked, NULL);
    (void)registry_put_sink(source, sink_new_with("c", 2, "a"), NULL);
    SnapshotSource *shown;
    assert_int_equal(registry_compile(&registry, source, NULL, NULL, NULL, 0, &shown, &error), 0);
    assert_int_equal(plan_sink_count(shown->plan), 2);
    assert_true(plan_drops_bodies(shown->plan));
    snapshot_source_unref(shown);
    assert_int_equal(registry_compile(&registry, source, source->source, NULL, NULL, 0, &shown, &error), -EINVAL);
    assert_non_null(strstr(error.text, "sink \"c\", column \"c\": the value at path \"a\" contains a masked value"));

    Sink *changed = sink_copy(registry_find_sink(source, "c")->sink);
    changed->disabled = true;
    assert_int_equal(registry_compile(&registry, source, NULL, &changed, NULL, 1, &shown, &error), 0);
    snapshot_source_unref(shown);
    sink_unref(changed);
    registry_deinit(&registry);
}

static void apply(Environment *environment, Define *define) {
    Error error = {0};
    Txn *txn;
    assert_int_equal(txn_begin_write(environment, &txn, &error), 0);
    for (size_t i = 0; i < define->change_count; i++) {
        const CatalogChange *change = &define->changes[i];
        assert_int_equal(change->document.data ? catalog_put(txn, change->collection, change->key, change->document, &error)
                                               : catalog_remove(txn, change->collection, change->key, &error),
                         0);
    }
    assert_int_equal(txn_commit(txn, &error), 0);
    define_free(define);
}

static int count_one(void *context, Span key, Span document, Error *error) {
    (void)key;
    (void)document;
    (void)error;
    ++*(size_t *)context;
    return 0;
}

static size_t count_of(Environment *environment, Collection collection) {
    Error error = {0};
    Txn *txn;
    size_t count = 0;
    assert_int_equal(txn_begin_read(environment, &txn, &error), 0);
    assert_int_equal(catalog_visit(txn, collection, (Span){0}, count_one, &count, &error), 0);
    txn_abort(txn);
    return count;
}

static void test_stored(void **state) {
    (void)state;
    Error error = {0};
    Fixture fixture;
    fixture_init(&fixture, 16 << 20);
    Environment *environment = fixture.environment;
    Registry registry;
    assert_int_equal(registry_load(&registry, environment, &error), 0);
    assert_int_equal(registry.next_source, 1);

    Define *define = define_new(NULL, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "s%u", 19 - i);
        RegistrySource *source = registry_put(&registry, source_new_with(name, registry.next_source++));
        registry_store_source(&registry, define, source->source);
        Sink *sink = sink_new_with("k", registry.next_sink++, "a.b");
        registry_store_sink(&registry, define, source->source, sink);
        (void)registry_put_sink(source, sink, NULL);
    }
    registry.next_sink += 10; /* given and lost: never given again */
    registry_store_source(&registry, define, registry.sources[0]->source);
    apply(environment, define);
    assert_int_equal(count_of(environment, CATALOG_VERSIONS), 40);

    Registry loaded;
    assert_int_equal(registry_load(&loaded, environment, &error), 0);
    assert_int_equal(loaded.count, 20);
    assert_int_equal(loaded.next_source, 21);
    assert_int_equal(loaded.next_sink, 31);
    for (size_t i = 0; i < 20; i++) {
        assert_string_equal(loaded.sources[i]->source->source_id, registry.sources[i]->source->source_id);
        assert_string_equal(source_http(loaded.sources[i]->source)->secret, source_http(registry.sources[i]->source)->secret);
        assert_int_equal(loaded.sources[i]->sink_count, 1);
        assert_int_equal(loaded.sources[i]->sinks[0]->sink->number, registry.sources[i]->sinks[0]->sink->number);
    }
    define = define_new(NULL, NULL);
    registry_order_all(&loaded, define);
    assert_int_equal(define->sink_count, 20);
    for (size_t i = 0; i < 20; i++) assert_non_null(define->sinks[i].gate);
    define_free(define);

    define = define_new(NULL, NULL);
    registry_erase_sink(define, loaded.sources[3]->source, loaded.sources[3]->sinks[0]->sink);
    registry_erase_source(define, loaded.sources[3]->source);
    apply(environment, define);
    assert_int_equal(count_of(environment, CATALOG_VERSIONS), 38);
    assert_int_equal(count_of(environment, CATALOG_SOURCES), 19);
    assert_int_equal(count_of(environment, CATALOG_SINKS), 19);
    registry_deinit(&loaded);
    registry_deinit(&registry);
    fixture_deinit(&fixture);
}

/* Old versions go when there are too many. */
static void test_versions_kept(void **state) {
    (void)state;
    Fixture fixture;
    fixture_init(&fixture, 16 << 20);
    Environment *environment = fixture.environment;
    Registry registry = {.next_source = 2, .next_sink = 1};
    Source *source = source_new_with("s", 1);
    Define *define = define_new(NULL, NULL);
    for (uint32_t version = 1; version <= VERSIONS_KEPT + 5; version++) {
        source_stamp(source, version, 1000, "test", "");
        registry_store_source(&registry, define, source);
    }
    apply(environment, define);
    assert_int_equal(count_of(environment, CATALOG_VERSIONS), VERSIONS_KEPT);
    define = define_new(NULL, NULL);
    registry_erase_source(define, source);
    apply(environment, define);
    assert_int_equal(count_of(environment, CATALOG_VERSIONS), 0);
    source_unref(source);
    fixture_deinit(&fixture);
}

static void put(Environment *environment, Collection collection, Span key, const char *document) {
    Error error = {0};
    Txn *txn;
    assert_int_equal(txn_begin_write(environment, &txn, &error), 0);
    assert_int_equal(catalog_put(txn, collection, key, span_of(document), &error), 0);
    assert_int_equal(txn_commit(txn, &error), 0);
}

static void test_damaged(void **state) {
    (void)state;
    Error error = {0};
    Fixture fixture;
    fixture_init(&fixture, 16 << 20);
    Environment *environment = fixture.environment;
    Registry registry;
    put(environment, CATALOG_SOURCES, (Span){.data = "\0\0\0\1", .size = 4}, "{\"half\":");
    /* It is left out, and its number is not given again. */
    assert_int_equal(registry_load(&registry, environment, &error), 0);
    assert_int_equal(registry.count, 0);
    assert_int_equal(registry.next_source, 2);
    registry_deinit(&registry);

    /* A sink without its source: the source goes on without it. */
    Source *source = source_new_with("s", 1);
    Sink *sink = sink_new_with("k", 7, "a");
    registry = (Registry){.next_source = 2, .next_sink = 8};
    Define *define = define_new(NULL, NULL);
    registry_store_source(&registry, define, source);
    source->number = 9;
    registry_store_sink(&registry, define, source, sink);
    apply(environment, define);
    assert_int_equal(registry_load(&registry, environment, &error), 0);
    assert_int_equal(registry.count, 1);
    assert_int_equal(registry.sources[0]->sink_count, 0);
    assert_int_equal(registry.next_sink, 8);
    registry_deinit(&registry);

    /* Numbers that were given are not given again when their record is damaged, too. */
    put(environment, CATALOG_META, SPAN("control.numbers"), "{}");
    assert_int_equal(registry_load(&registry, environment, &error), 0);
    assert_true(registry.next_sink >= 8 && registry.next_source >= 2);
    registry_deinit(&registry);
    source_unref(source);
    sink_unref(sink);
    fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_pages), cmocka_unit_test(test_compile),       cmocka_unit_test(what_is_stored_in_the_clear_goes_on),
        cmocka_unit_test(test_stored),          cmocka_unit_test(test_versions_kept), cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
