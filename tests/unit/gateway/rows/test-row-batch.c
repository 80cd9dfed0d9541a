/* Events in, rows of all sinks out: without HTTP, and without a writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "base/random.h"
#include "gateway/rows/row_batch.h"
#include "gateway/rows/template_events.h"
#include "mapping/meta.h"
#include "tests/support/definitions.h"

#define ROW_BYTES 5000
#define PART_BYTES ((size_t)8 << 20)

#define BODY_SINK(more)                                                                                                                    \
    "{\"name\":\"b\",\"type\":\"table\"," more "\"table\":{\"tableId\":\"b\",\"mapping\":{\"columns\":["                                   \
    "{\"name\":\"body\",\"type\":\"body\"}]}}}"
#define PATH_SINK(more)                                                                                                                    \
    "{\"name\":\"p\",\"type\":\"table\"," more "\"table\":{\"tableId\":\"p\",\"mapping\":{\"columns\":["                                   \
    "{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\"}]}}}"
#define EXPLODE_SINK(more)                                                                                                                 \
    "{\"name\":\"e\",\"type\":\"table\"," more "\"table\":{\"tableId\":\"e\",\"mapping\":{\"explode\":\"i\",\"columns\":["                 \
    "{\"name\":\"k\",\"type\":\"path\",\"path\":\"k\"},{\"name\":\"i\",\"type\":\"path\",\"path\":\"i\",\"dataType\":\"integer\"}]}}}"
#define MASK_SINK(more)                                                                                                                    \
    "{\"name\":\"m\",\"type\":\"table\"," more "\"table\":{\"tableId\":\"m\",\"mapping\":{\"columns\":["                                   \
    "{\"name\":\"m\",\"type\":\"path\",\"path\":\"m\",\"rawString\":true,\"mask\":\"stars\"}]}}}"
#define TEMPLATE_SINK                                                                                                                      \
    "{\"name\":\"t\",\"type\":\"table\",\"table\":{\"tableId\":\"t\",\"mapping\":{\"columns\":["                                           \
    "{\"name\":\"t\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"Body()\"}}]}}}"
#define INFER_SINK                                                                                                                         \
    "{\"name\":\"i\",\"type\":\"table\",\"onInvalid\":\"quarantine\",\"table\":{\"tableId\":\"i\",\"mapping\":{\"columns\":["              \
    "{\"name\":\"declared\",\"type\":\"path\",\"path\":\"declared\",\"dataType\":\"integer\",\"defaultValue\":\"0\"}]}}}"
#define QUARANTINE "\"onInvalid\":\"quarantine\","
#define REJECT "\"onInvalid\":\"reject\","

typedef struct World {
    Usage usage;
    Mailbox *gone;
    Snapshot *snapshot;
    SnapshotSource *sources[4];
    size_t source_count;
    uint32_t sinks;
    RowMaker *maker;
    RowBatch batch;
} World;

static World world;

static json_t *json_of(const char *text) {
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    return value;
}

/* Sinks are numbered on from 1. */
static void add_source(const char *first, const char *second, uint32_t skipped) {
    char id[8], text[100];
    const char *texts[] = {first, second};
    Error error = {0};
    Source *source;
    Sink *sinks[2];
    SinkGate *gates[2];
    bool waits[2] = {true, true};
    size_t count = 0;
    Plan *plan;
    (void)snprintf(id, sizeof id, "s%zu", world.source_count);
    (void)snprintf(text, sizeof text, "{\"sourceId\":\"%s\",\"name\":\"%s\",\"type\":\"http\"}", id, id);
    json_t *json = json_of(text);
    assert_int_equal(source_from_request(json, &source, &error), 0);
    json_decref(json);
    for (; count < 2 && texts[count]; count++) {
        json = json_of(texts[count]);
        if (sink_from_request(json, false, &sinks[count], &error) != 0) fail_msg("%s", error.text);
        json_decref(json);
        sinks[count]->number = ++world.sinks;
        sinks[count]->mapping_version = 7;
        if (strcmp(texts[count], INFER_SINK) == 0) test_infer(source, sinks[count], 1, 6);
        gates[count] = sink_gate_new();
    }
    if (plan_compile(source, sinks, count, &plan, &error) != 0) fail_msg("%s", error.text);
    world.sources[world.source_count++] = snapshot_source_new(source, plan, gates, waits, &skipped, skipped ? 1 : 0, NULL);
    for (size_t i = 0; i < count; i++) {
        sink_unref(sinks[i]);
        sink_gate_unref(gates[i]);
    }
    plan_unref(plan);
    source_unref(source);
}

static void begin_world(size_t part_bytes, uint64_t in_flight) {
    world.usage.in_flight_limit = in_flight;
    world.gone = mailbox_new(NULL, NULL);
    world.snapshot = snapshot_new(1, world.sources, world.source_count, world.gone);
    world.maker = row_maker_new(ROW_BYTES, part_bytes, &world.usage);
    world.batch.maker = world.maker;
}

static int set_up(void **state) {
    (void)state;
    memset(&world, 0, sizeof world);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    row_batch_drop(&world.batch);
    row_maker_free(world.maker);
    assert_int_equal(world.usage.in_flight_bytes + world.usage.large_bytes, 0);
    for (size_t i = 0; i < world.source_count; i++) {
        assert_int_equal(world.sources[i]->usage->in_flight_bytes, 0);
        snapshot_source_unref(world.sources[i]);
    }
    if (world.snapshot) {
        snapshot_unref(world.snapshot);
        Message *message = mailbox_take(world.gone); /* nothing holds it any more */
        assert_non_null(message);
        snapshot_gone_free((SnapshotGone *)message);
        mailbox_free(world.gone);
    }
    return 0;
}

static void begin(RowPart *part, size_t source) {
    row_batch_begin(&world.batch, world.snapshot, world.sources[source], (UsageClaim){0}, part);
}

static Event event_of(const char *body, unsigned id) {
    return (Event){.body = span_of(body), .kind = BODY_JSON, .id.bytes[0] = (unsigned char)id, .received = 1000 + id};
}

static size_t map(RowPart *part, const char *body, unsigned id) {
    Event event = event_of(body, id);
    return row_batch_map(&world.batch, part, &event);
}

static bool keep(RowPart *part, const char *body, unsigned id) {
    Event event = event_of(body, id);
    return row_batch_keep(&world.batch, part, &event, SPAN("text/x"));
}

static void add(RowPart *part, const char *body, unsigned id) {
    (void)map(part, body, id);
    assert_true(keep(part, body, id));
}

static void end(RowPart *part) {
    assert_true(row_batch_admit(&world.batch, part));
    row_batch_end(&world.batch, part);
}

static const AppendSink *sink_of(const Append *append, uint32_t number) {
    for (size_t i = 0; i < append->sink_count; i++)
        if (append->sinks[i].sink == number) return &append->sinks[i];
    return NULL;
}

/* Pieces cover whole rows, without a gap; "" when there is no such sink. */
static void sink_has(const Append *append, uint32_t number, const char *rows) {
    const AppendSink *sink = sink_of(append, number);
    if (!sink) {
        assert_string_equal(rows, "");
        return;
    }
    size_t at = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < sink->piece_count; i++) {
        assert_int_equal(sink->pieces[i].offset, at);
        assert_true(sink->pieces[i].rows > 0 && sink->pieces[i].bytes <= 1 << 20);
        at += sink->pieces[i].bytes;
        count += sink->pieces[i].rows;
    }
    assert_int_equal(at, sink->rows.size);
    assert_int_equal(sink->rows.size, strlen(rows));
    assert_memory_equal(sink->rows.data, rows, sink->rows.size);
    uint64_t lines = 0;
    for (const char *p = rows; (p = strchr(p, '\n')); p++) lines++;
    assert_int_equal(count, lines);
    assert_int_equal(sink->mapping_version, 7);
}

static void back(Append *append, AppendResult result) {
    append->result = result;
    row_maker_settle(world.maker, append);
    row_maker_recycle(world.maker, append);
}

static void row_is(const RowPart *part, size_t sink, const char *text) {
    Span row = row_batch_row(part, sink);
    assert_int_equal(row.size, strlen(text));
    if (row.size) assert_memory_equal(row.data, text, row.size);
}

/* ---- one part -------------------------------------------------------------------------------- */

static void rows_of_all_sinks_are_gathered(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(QUARANTINE), PATH_SINK(QUARANTINE), 9);
    begin_world(PART_BYTES, 1000000);
    uint64_t stored = metrics_read(METRIC_EVENTS_STORED);
    begin(&part, 0);
    assert_int_equal(map(&part, "{\"a\":1}", 1), 0);
    row_is(&part, 0, "\"{\"\"a\"\":1}\"\n");
    row_is(&part, 1, "1\n");
    assert_null(row_batch_failure(&world.batch, 0));
    assert_true(keep(&part, "{\"a\":1}", 1));
    add(&part, "{\"a\":\"x\"}", 2);
    end(&part);
    assert_int_equal(world.usage.in_flight_bytes, part.bytes);
    Append *append = row_batch_seal(&world.batch);
    assert_null(world.batch.append);
    assert_ptr_equal(append->snapshot, world.snapshot);
    sink_has(append, 1, "\"{\"\"a\"\":1}\"\n\"{\"\"a\"\":\"\"x\"\"}\"\n");
    sink_has(append, 2, "1\n\"\"\"x\"\"\"\n");
    assert_int_equal(sink_of(append, 1)->first_time, 1001);
    assert_int_equal(sink_of(append, 1)->last_time, 1002);
    assert_int_equal(append->bytes, part.bytes);
    assert_int_equal(append->reject_count, 0);
    assert_int_equal(append->skip_count, 1);
    assert_int_equal(append->skips[0].sink, 9);
    assert_int_equal(append->skips[0].events, 2);
    assert_int_equal(part.tally.events, 2);
    assert_int_equal(part.tally.stored, 2);
    back(append, APPEND_DONE);
    assert_int_equal(world.usage.in_flight_bytes, 0);
    assert_int_equal(metrics_read(METRIC_EVENTS_STORED), stored + 2);
    /* What could not be stored is not counted. */
    begin(&part, 0);
    add(&part, "{\"a\":1}", 1);
    end(&part);
    back(row_batch_seal(&world.batch), APPEND_FULL);
    assert_int_equal(metrics_read(METRIC_EVENTS_STORED), stored + 2);
    assert_null(row_batch_seal(&world.batch));
}

/* One event that a sink refuses is told, with the sink and why, and those before and after it
 * stay. */
static void a_refused_event_leaves_its_neighbours(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(REJECT), PATH_SINK(REJECT), 0);
    begin_world(PART_BYTES, 1000000);
    begin(&part, 0);
    add(&part, "{\"a\":1}", 1);
    assert_int_equal(map(&part, "{\"b\":2}", 2), 1);
    const MapFailure *failure = NULL;
    const Sink *sink = row_batch_refuser(&world.batch, &part, &failure);
    assert_non_null(sink);
    assert_int_equal(sink->number, 2);
    assert_ptr_equal(failure, row_batch_failure(&world.batch, 1));
    assert_int_equal(failure->error, MAP_MISSING);
    assert_string_equal(failure->column, "a");
    row_is(&part, 0, "\"{\"\"b\"\":2}\"\n"); /* what the other sink would have got */
    row_is(&part, 1, "");
    row_batch_leave(&part);
    row_is(&part, 0, "");
    add(&part, "{\"a\":3}", 3);
    assert_int_equal(map(&part, "no JSON", 4), 1);
    assert_ptr_equal(row_batch_refuser(&world.batch, &part, &failure), plan_sink(world.sources[0]->plan, 1)); /* a body is any text */
    row_batch_leave(&part);
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    sink_has(append, 1, "\"{\"\"a\"\":1}\"\n\"{\"\"a\"\":3}\"\n");
    sink_has(append, 2, "1\n3\n");
    assert_int_equal(append->reject_count, 0);
    assert_int_equal(part.tally.events, 2);
    back(append, APPEND_DONE);
}

static void a_quarantined_event_is_a_reject_of_its_sink(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(QUARANTINE), PATH_SINK(QUARANTINE), 0);
    begin_world(PART_BYTES, 1000000);
    uint64_t rejected = metrics_read(METRIC_EVENTS_REJECTED);
    begin(&part, 0);
    add(&part, "{\"a\":1}", 1);
    assert_int_equal(map(&part, "{\"b\":2}", 2), 1);
    const MapFailure *failure = NULL;
    assert_null(row_batch_refuser(&world.batch, &part, &failure));
    assert_true(keep(&part, "{\"b\":2}", 2));
    end(&part);
    assert_int_equal(part.tally.events, 2);
    assert_int_equal(part.tally.stored, 2);
    assert_int_equal(part.tally.rejected, 1);
    assert_int_equal(part.tally.sink_rejected[0], 0);
    assert_int_equal(part.tally.sink_rejected[1], 1);
    Append *append = row_batch_seal(&world.batch);
    sink_has(append, 1, "\"{\"\"a\"\":1}\"\n\"{\"\"b\"\":2}\"\n");
    sink_has(append, 2, "1\n");
    assert_int_equal(append->reject_count, 1);
    const AppendReject *reject = &append->rejects[0];
    assert_int_equal(reject->sink, 2);
    assert_int_equal(reject->mapping_version, 7);
    assert_int_equal(reject->event.bytes[0], 2);
    assert_int_equal(reject->at, 1002);
    assert_true(span_equal(reject->column, SPAN("a")));
    assert_true(span_equal(reject->body, SPAN("{\"b\":2}")));
    assert_true(span_equal(reject->content_type, SPAN("text/x")));
    assert_true(reject->reason.size > 0);
    back(append, APPEND_DONE);
    assert_int_equal(metrics_read(METRIC_EVENTS_REJECTED), rejected + 1);
}

/* Of an event of a source with a mask nothing is kept but its rows, whichever sink refuses it,
 * unless the source says so. */
static void a_masking_source_keeps_no_event(void **state) {
    (void)state;
    RowPart part;
    add_source(MASK_SINK(QUARANTINE), PATH_SINK(QUARANTINE), 0);
    begin_world(PART_BYTES, 1000000);
    begin(&part, 0);
    add(&part, "{\"a\":1,\"m\":\"hush\"}", 1);
    assert_int_equal(map(&part, "{\"m\":\"hush\"}", 2), 1);
    assert_true(keep(&part, "{\"m\":\"hush\"}", 2));
    assert_int_equal(map(&part, "{\"m\":\"hush", 3), 2);
    assert_true(keep(&part, "{\"m\":\"hush", 3));
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    sink_has(append, 1, "****\n****\n");
    assert_int_equal(append->reject_count, 3);
    for (size_t i = 0; i < append->reject_count; i++) {
        const AppendReject *reject = &append->rejects[i];
        assert_int_equal(reject->body.size, 0);
        assert_true(reject->dropped);
        assert_int_equal(reject->event_bytes, i == 0 ? 12 : 10);
        assert_true(reject->reason.size > 0 && !memmem(reject->reason.data, reject->reason.size, "hush", 4));
    }
    back(append, APPEND_DONE);
}

static void what_is_too_much_is_left_out(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(QUARANTINE), PATH_SINK(QUARANTINE), 0);
    begin_world(100, 1000000);
    begin(&part, 0);
    add(&part, "{\"a\":1}", 1);
    char large[200];
    (void)snprintf(large, sizeof large, "{\"a\":%0100d}", 0);
    large[5] = '1'; /* a number of 100 digits */
    assert_int_equal(map(&part, large, 2), 0);
    uint64_t before = part.bytes;
    assert_false(keep(&part, large, 2));
    assert_int_equal(map(&part, "{\"b\":1}", 3), 1); /* the reject is over the limit */
    assert_false(keep(&part, "{\"b\":1}", 3));
    assert_int_equal(part.bytes, before);
    add(&part, "{\"a\":4}", 4);
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    sink_has(append, 1, "\"{\"\"a\"\":1}\"\n\"{\"\"a\"\":4}\"\n");
    sink_has(append, 2, "1\n4\n");
    assert_int_equal(append->reject_count, 0);
    assert_int_equal(part.tally.events, 2);
    assert_int_equal(part.tally.rejected, 0);
    back(append, APPEND_DONE);
}

static void bytes_in_flight_are_of_rows_and_of_what_is_elsewhere(void **state) {
    (void)state;
    RowPart part, other;
    add_source(BODY_SINK(""), NULL, 0);
    add_source(BODY_SINK(""), NULL, 0);
    begin_world(PART_BYTES, 1000);
    UsageClaim claim = {0};
    assert_true(usage_resize(&world.usage, world.sources[0]->usage, &claim, 300));
    row_batch_begin(&world.batch, world.snapshot, world.sources[0], claim, &part);
    part.elsewhere = 200;
    assert_true(row_batch_admit(&world.batch, &part)); /* fewer than before */
    assert_int_equal(world.usage.in_flight_bytes, 200);
    add(&part, "1", 1);
    assert_true(row_batch_admit(&world.batch, &part));
    assert_int_equal(world.usage.in_flight_bytes, 200 + part.bytes);
    part.elsewhere = 0;
    end(&part);
    assert_int_equal(world.usage.in_flight_bytes, part.bytes);
    begin(&other, 1);
    other.elsewhere = 999; /* too small to be the large one, and there is no room */
    assert_false(row_batch_admit(&world.batch, &other));
    other.elsewhere = 5;
    assert_true(row_batch_admit(&world.batch, &other));
    row_batch_undo(&world.batch, &other);
    assert_int_equal(world.usage.in_flight_bytes, part.bytes);
    begin(&other, 1);
    add(&other, "2", 2);
    other.elsewhere = 5000; /* would never fit: it goes beside the others */
    assert_true(row_batch_admit(&world.batch, &other));
    assert_int_equal(world.usage.in_flight_bytes, part.bytes);
    other.elsewhere = 0;
    end(&other);
    assert_int_equal(world.usage.large_bytes, other.bytes);
    back(row_batch_seal(&world.batch), APPEND_FAILED);
    assert_int_equal(world.usage.large_bytes + world.usage.in_flight_bytes, 0);
}

static void ids_are(const Append *append, uint32_t number, size_t piece, unsigned first, unsigned last) {
    const UuidRange *ids = &sink_of(append, number)->pieces[piece].ids;
    assert_int_equal(ids->first.bytes[0], first);
    assert_int_equal(ids->last.bytes[0], last);
}

/* Of each piece: the ids of the events that gave its rows, whatever their order, and none of an
 * event that gave it no row or was taken back. */
static void pieces_have_the_ids_of_their_events(void **state) {
    static char large[4000];
    RowPart part;
    add_source(BODY_SINK(QUARANTINE), PATH_SINK(QUARANTINE), 0);
    begin_world(PART_BYTES, 64 << 20);
    memset(large, ' ', sizeof large - 1);
    memcpy(large, "{\"a\":1}", 7);
    begin(&part, 0);
    add(&part, "{\"b\":1}", 4); /* no row for the second sink */
    add(&part, "{\"a\":1}", 5);
    add(&part, "{\"a\":1}", 6);
    add(&part, "{\"b\":1}", 7);
    end(&part);
    begin(&part, 0);
    add(&part, "{\"a\":1}", 3); /* a part with an older id */
    end(&part);
    begin(&part, 0);
    add(&part, "{\"a\":1}", 1);
    add(&part, "{\"a\":1}", 9);
    row_batch_undo(&world.batch, &part);
    Append *append = row_batch_seal(&world.batch);
    ids_are(append, 1, 0, 3, 7);
    ids_are(append, 2, 0, 3, 6);
    back(append, APPEND_DONE);

    begin(&part, 0);
    for (unsigned id = 1; id <= 250; id++) add(&part, id == 250 ? "{\"a\":1}" : large, id);
    for (unsigned i = 0; i < 50; i++) add(&part, large, 250);
    end(&part);
    append = row_batch_seal(&world.batch);
    const AppendSink *sink = sink_of(append, 1);
    assert_true(sink->piece_count == 2 && sink->pieces[0].rows < 300);
    unsigned before = sink->pieces[0].rows < 250 ? (unsigned)sink->pieces[0].rows : 250;
    ids_are(append, 1, 0, 1, before);
    ids_are(append, 1, 1, before < 250 ? before + 1 : 250, 250);
    back(append, APPEND_DONE);
}

static void nothing_is_stored_of_a_dry_run(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(""), NULL, 0);
    begin_world(PART_BYTES, 1);
    RowMaker *maker = row_maker_new(ROW_BYTES, SIZE_MAX, NULL);
    RowBatch batch = {.maker = maker};
    SnapshotSource source = {.plan = world.sources[0]->plan};
    row_batch_begin(&batch, NULL, &source, (UsageClaim){0}, &part);
    for (unsigned i = 0; i < 3; i++) {
        Event event = event_of("5", i);
        assert_int_equal(row_batch_map(&batch, &part, &event), 0);
        row_is(&part, 0, "5\n");
        row_batch_leave(&part);
    }
    row_batch_drop(&batch);
    row_batch_drop(&batch);
    row_maker_free(maker);
    row_maker_free(NULL);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static const Partition quiet = {.cluster = (char *)"c", .group = (char *)"g", .topic = (char *)"t", .partition = 5};

static void a_piece_has_no_more_runs_than_a_group_takes(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(""), PATH_SINK(QUARANTINE), 9);
    begin_world(PART_BYTES, 1u << 30);
    begin(&part, 0);
    for (int64_t i = 0; i < 25000; i++) {
        row_batch_runs_begin(&world.batch, &part, (const int64_t[]){i, i % 2 ? -1 : 7}, (const bool[]){false, true});
        part.record = i;
        if (i == 24000) { /* a row among them */
            Event event = event_of("5", 1);
            (void)row_batch_map_some(&world.batch, &part, &event, (const bool[]){true, false});
            assert_true(row_batch_keep(&world.batch, &part, &event, SPAN("")));
        }
        row_batch_runs_end(&world.batch, &part, &quiet, i % 3 == 2 ? i : i + 1);
    }
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    const AppendSink *sink = sink_of(append, 1);
    assert_int_equal(sink->run_count, 25000 / 3 * 2 + 1);
    assert_int_equal(sink->piece_count, 2);
    assert_int_equal(sink->pieces[0].run_count, 10000);
    assert_int_equal(sink->pieces[0].rows, 0);
    assert_int_equal(sink->pieces[1].run_count, sink->run_count - 10000);
    assert_int_equal(sink->pieces[1].rows, 1);
    assert_int_equal(sink->runs[16000].first, 24000);
    assert_int_equal(sink->runs[16000].rows, 1);
    sink = sink_of(append, 2);
    for (size_t i = 0; i < sink->run_count; i++) assert_true(sink->runs[i].first == 7 && sink->runs[i].sets_end && sink->runs[i].end == -1);
    assert_int_equal(append->skip_count, 0);
    assert_true(append->partition_count > sink_of(append, 1)->run_count - 10); /* only those that have runs */
    assert_true(append->partition_count < 25000);
    assert_int_equal(append->partitions[0].partition, 5);
    assert_int_equal(append->bytes, part.bytes);
    back(append, APPEND_DONE);
}

static void runs_are_undone_and_dropped(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(""), PATH_SINK(QUARANTINE), 0);
    begin_world(PART_BYTES, 1000000);
    const int64_t next[] = {0, 0};
    const bool sets_end[] = {false, false};
    for (int round = 0; round < 4; round++) {
        begin(&part, 0);
        row_batch_runs_begin(&world.batch, &part, next, sets_end);
        add(&part, "{\"a\":1}", 1);
        if (round % 2 == 0) row_batch_runs_end(&world.batch, &part, &quiet, 1);
        if (round < 2) row_batch_undo(&world.batch, &part);
        if (round < 2) { /* it begins anew in the same batch */
            begin(&part, 0);
            row_batch_runs_begin(&world.batch, &part, next, sets_end);
            row_batch_runs_end(&world.batch, &part, &quiet, 4);
            end(&part);
            Append *append = row_batch_seal(&world.batch);
            assert_int_equal(append->partition_count, 1);
            assert_int_equal(append->sink_count, 2);
            assert_int_equal(append->sinks[0].run_count, 1);
            assert_int_equal(append->sinks[0].runs[0].next, 4);
            assert_int_equal(append->sinks[0].pieces[0].run_count, 1);
            assert_int_equal(append->sinks[0].rows.size, 0);
            back(append, APPEND_DONE);
        } else {
            row_batch_drop(&world.batch);
        }
    }
}

/* ---- an event of no row, or of several ------------------------------------------------------- */

static void an_event_gives_a_row_for_each_element(void **state) {
    (void)state;
    RowPart part;
    add_source(BODY_SINK(""), EXPLODE_SINK(QUARANTINE), 0);
    add_source(EXPLODE_SINK(QUARANTINE), NULL, 0);
    begin_world(PART_BYTES, 1000000);
    begin(&part, 0);
    assert_int_equal(map(&part, "{\"k\":1,\"i\":[7,8]}", 1), 0);
    row_is(&part, 1, "1,7\n1,8\n");
    assert_true(keep(&part, "{\"k\":1,\"i\":[7,8]}", 1));
    add(&part, "{\"k\":2,\"i\":[]}", 2);
    add(&part, "{\"k\":3,\"i\":[9,\"x\"]}", 3); /* none of its rows */
    add(&part, "{\"k\":4}", 4);
    assert_int_equal(part.tally.events, 4);
    assert_int_equal(part.tally.stored, 4); /* by the other sink */
    assert_int_equal(part.tally.rejected, 2);
    end(&part);
    begin(&part, 1);
    add(&part, "{\"k\":5,\"i\":[]}", 5);
    row_batch_undo(&world.batch, &part);
    begin(&part, 1);
    add(&part, "{\"k\":6,\"i\":[]}", 6);
    add(&part, "{\"k\":7,\"i\":[]}", 7);
    assert_int_equal(part.tally.events, 2);
    assert_int_equal(part.tally.stored, 0);
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    sink_has(append, 2, "1,7\n1,8\n");
    assert_null(sink_of(append, 3));
    assert_int_equal(append->reject_count, 2);
    assert_int_equal(append->skip_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(append->skips[i].events, 0);
        assert_int_equal(append->skips[i].empty, append->skips[i].sink == 2 ? 1 : 2);
    }
    back(append, APPEND_DONE);
    begin(&part, 1);
    add(&part, "{\"k\":6,\"i\":[]}", 6);
    end(&part);
    append = row_batch_seal(&world.batch);
    assert_false(append_is_empty(append)); /* it has no row, but is counted */
    back(append, APPEND_DONE);
}

/* Records of 0 to 99 rows of some 100 bytes, more than a piece holds. A run has the rows of its
 * records, and no piece ends inside a record. */
static void runs_are_of_records_and_not_of_rows(void **state) {
    (void)state;
    enum { RECORDS = 1000 };
    RowPart part;
    Buffer body = {0};
    uint64_t rows_before[RECORDS + 1] = {0};
    add_source(EXPLODE_SINK(""), EXPLODE_SINK(""), 0);
    begin_world(PART_BYTES, 1u << 30);
    begin(&part, 0);
    row_batch_runs_begin(&world.batch, &part, (const int64_t[]){100, 600}, (const bool[]){true, false});
    for (int64_t record = 0; record < RECORDS; record++) {
        uint64_t rows = (uint64_t)record * 7 % 100;
        buffer_clear(&body);
        buffer_printf(&body, "{\"k\":\"%090d\",\"i\":[", (int)record);
        for (uint64_t i = 0; i < rows; i++) buffer_printf(&body, "%s%d", i > 0 ? "," : "", (int)i);
        buffer_append_text(&body, "]}");
        Event event = {.body = buffer_span(&body), .kind = BODY_JSON};
        part.record = 100 + record;
        assert_int_equal(row_batch_map_some(&world.batch, &part, &event, (const bool[]){true, part.record >= 600}), 0);
        assert_true(row_batch_keep(&world.batch, &part, &event, SPAN("")));
        rows_before[record + 1] = rows_before[record] + rows;
    }
    buffer_deinit(&body);
    row_batch_runs_end(&world.batch, &part, &quiet, 100 + RECORDS);
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    for (uint32_t number = 1; number <= 2; number++) {
        const AppendSink *sink = sink_of(append, number);
        int64_t at = number == 1 ? 100 : 600;
        size_t run = 0;
        assert_true(sink->piece_count > 2);
        for (size_t i = 0; i < sink->piece_count; i++) {
            uint64_t rows = 0, lines = 0;
            for (size_t k = 0; k < sink->pieces[i].run_count; k++, run++) {
                assert_int_equal(sink->runs[run].first, at);
                at = sink->runs[run].next;
                assert_int_equal(sink->runs[run].rows, rows_before[at - 100] - rows_before[sink->runs[run].first - 100]);
                rows += sink->runs[run].rows;
            }
            for (size_t k = 0; k < sink->pieces[i].bytes; k++) lines += sink->rows.data[sink->pieces[i].offset + k] == '\n';
            assert_int_equal(sink->pieces[i].rows, rows);
            assert_int_equal(lines, rows);
        }
        assert_int_equal(at, 100 + RECORDS);
        assert_int_equal(run, sink->run_count);
    }
    assert_int_equal(append->skip_count, 2);
    for (size_t i = 0; i < 2; i++) assert_int_equal(append->skips[i].empty, append->skips[i].sink == 1 ? 10 : 5);
    back(append, APPEND_DONE);
}

static void an_event_that_cannot_be_mapped_fails_with_a_sentence(void **state) {
    (void)state;
    RowPart part;
    const MapFailure *failure;
    add_source(BODY_SINK(REJECT), PATH_SINK(QUARANTINE), 0);
    begin_world(PART_BYTES, 1000000);
    begin(&part, 0);
    assert_int_equal(row_batch_fail(&world.batch, &part, NULL, SPAN("It is torn.")), 2);
    assert_ptr_equal(row_batch_refuser(&world.batch, &part, &failure), plan_sink(world.sources[0]->plan, 0));
    assert_string_equal(failure->message, "It is torn.");
    assert_null(failure->column);
    row_is(&part, 0, "");
    row_batch_leave(&part);
    char text[400];
    memset(text, 'x', sizeof text);
    memcpy(text + 318, "\xc3\xa4", 2); /* 319 bytes are kept */
    assert_int_equal(row_batch_fail(&world.batch, &part, (const bool[]){false, true}, (Span){text, sizeof text}), 1);
    assert_null(row_batch_refuser(&world.batch, &part, &failure));
    assert_null(row_batch_failure(&world.batch, 0));
    assert_int_equal(strlen(row_batch_failure(&world.batch, 1)->message), 318);
    assert_true(keep(&part, "torn", 3));
    assert_int_equal(part.tally.rejected, 1);
    assert_int_equal(part.tally.stored, 0);
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    assert_int_equal(append->sink_count, 0);
    assert_int_equal(append->reject_count, 1);
    assert_true(span_equal(append->rejects[0].body, SPAN("torn")));
    back(append, APPEND_DONE);
}

/* ---- many ------------------------------------------------------------------------------------ */

#define SINKS 4
static Buffer model[SINKS + 1]; /* by sink number: what must be there */
static size_t model_rejects;

static void put_model(uint32_t sink, const char *format, const char *text) {
    buffer_printf(&model[sink], format, text);
}

/* One event of any kind, kept or left, and told as the model has it. */
static void random_event(Random *random, RowPart *part, size_t source, unsigned number, bool *is_kept) {
    char body[4100];
    size_t size = 1 + random_below(random, random_below(random, 20) ? 30 : 4000);
    bool good = random_below(random, 4) > 0;
    (void)snprintf(body, sizeof body, "%0*u", (int)size, number);
    body[0] = '1';
    char text[4200];
    (void)snprintf(text, sizeof text, "{\"%c\":%s}", good ? 'a' : 'b', body);
    assert_int_equal(map(part, text, number), good ? 0 : 1);
    *is_kept = random_below(random, 5) > 0;
    if (!*is_kept) {
        row_batch_leave(part);
        return;
    }
    assert_true(keep(part, text, number));
    put_model((uint32_t)source * 2 + 1, good ? "\"{\"\"a\"\":%s}\"\n" : "\"{\"\"b\"\":%s}\"\n", body);
    if (good)
        put_model((uint32_t)source * 2 + 2, "%s\n", body);
    else
        model_rejects++;
}

/* Parts of two sources, some undone, events kept and left, batches sealed and their memory used
 * again. */
static void any_course_gives_what_was_kept(void **state) {
    (void)state;
    Random random = {.state = 20240229};
    add_source(BODY_SINK(QUARANTINE), PATH_SINK(QUARANTINE), 0);
    add_source(BODY_SINK(QUARANTINE), PATH_SINK(QUARANTINE), 0);
    begin_world(PART_BYTES, 1u << 30);
    for (unsigned round = 0; round < 60; round++) {
        size_t parts = 1 + random_below(&random, 6), events_max = round % 10 == 0 ? 1500 : 20;
        uint64_t bytes = 0;
        for (size_t p = 0; p < parts; p++) {
            RowPart part;
            size_t source = random_below(&random, 2), sizes[SINKS + 1], rejects = model_rejects, kept = 0;
            for (size_t i = 1; i <= SINKS; i++) sizes[i] = model[i].size;
            begin(&part, source);
            for (size_t e = random_below(&random, (unsigned)events_max); e > 0; e--) {
                bool is_kept;
                random_event(&random, &part, source, (unsigned)e, &is_kept);
                kept += is_kept;
            }
            assert_int_equal(part.tally.events, kept);
            assert_int_equal(part.tally.rejected, model_rejects - rejects);
            if (random_below(&random, 3) > 0) {
                end(&part);
                bytes += part.bytes;
                continue;
            }
            if (random_below(&random, 2)) assert_true(row_batch_admit(&world.batch, &part));
            row_batch_undo(&world.batch, &part);
            for (size_t i = 1; i <= SINKS; i++) model[i].size = sizes[i];
            model_rejects = rejects;
        }
        Append *append = row_batch_seal(&world.batch);
        assert_int_equal(append->bytes, bytes);
        assert_int_equal(world.usage.in_flight_bytes, bytes);
        assert_int_equal(append->reject_count, model_rejects);
        for (uint32_t i = 1; i <= SINKS; i++) {
            sink_has(append, i, buffer_text(&model[i]));
            buffer_clear(&model[i]);
        }
        model_rejects = 0;
        back(append, APPEND_DONE);
    }
    for (size_t i = 1; i <= SINKS; i++) buffer_deinit(&model[i]);
}

/* A part that lasts in a batch of its own, while others come and go. */
static void batches_of_one_maker_are_apart(void **state) {
    (void)state;
    RowPart lasting, part;
    add_source(BODY_SINK(""), NULL, 0);
    begin_world(PART_BYTES, 1000000);
    RowBatch own = {.maker = world.maker};
    row_batch_begin(&own, world.snapshot, world.sources[0], (UsageClaim){0}, &lasting);
    for (unsigned i = 0; i < 5; i++) {
        Event event = event_of("[1]", i);
        assert_int_equal(row_batch_map(&own, &lasting, &event), 0);
        assert_true(row_batch_keep(&own, &lasting, &event, SPAN("")));
        begin(&part, 0);
        add(&part, "[2]", i);
        end(&part);
        Append *append = row_batch_seal(&world.batch);
        sink_has(append, 1, "[2]\n");
        back(append, APPEND_DONE);
    }
    assert_true(row_batch_admit(&own, &lasting));
    row_batch_end(&own, &lasting);
    Append *append = row_batch_seal(&own);
    sink_has(append, 1, "[1]\n[1]\n[1]\n[1]\n[1]\n");
    back(append, APPEND_DONE);
}

/* ---- events for the template broker ---------------------------------------------------------- */

static void events_are_copied_for_the_broker(void **state) {
    (void)state;
    add_source(TEMPLATE_SINK, NULL, 0);
    begin_world(PART_BYTES, 1000000);
    Plan *plan = world.sources[0]->plan;
    char one[] = "{\"a\":1}", two[] = "2", name[] = "X-A", value[] = "v", ip[] = "::1";
    EventHeader header = {{name, 3}, {value, 1}};
    Event common = {.received = 5000000, .headers = &header, .header_count = 1, .ip = {ip, 3}};
    Frame frames[] = {{{one, 7}, BODY_JSON}, {{two, 1}, BODY_FORM}};
    UuidSource ids = {0};
    int cookie;
    assert_true(template_events_bytes(plan, frames, 2) > template_events_bytes(plan, frames, 1) + sizeof(TemplateEvent));
    assert_int_equal(template_events_bytes(plan, frames, 0), 0);
    TemplateBatch *batch = template_batch_new(plan_ref(plan), 3, world.gone, 1);
    template_events_fill(batch, 1, &common, frames, 2, &ids, &cookie);
    memset(one, 0, sizeof one); /* the sender's memory is used again */
    memset(two, 0, sizeof two);
    memset(name, 0, sizeof name);
    memset(value, 0, sizeof value);
    memset(ip, 0, sizeof ip);
    header = (EventHeader){0};
    const Event *first = &batch->events[1].event, *second = &batch->events[2].event;
    assert_true(span_equal(first->body, SPAN("{\"a\":1}")) && span_equal(second->body, SPAN("2")));
    assert_int_equal(second->kind, BODY_FORM);
    assert_true(span_equal(first->headers[0].name, SPAN("X-A")) && span_equal(second->headers[0].value, SPAN("v")));
    assert_true(span_equal(second->ip, SPAN("::1")));
    assert_memory_not_equal(&first->id, &second->id, sizeof first->id);
    assert_int_equal(first->received, 5000000);
    assert_ptr_equal(batch->events[2].cookie, &cookie);
    assert_null(batch->events[0].cookie);
    template_batch_free(batch);
}

static void an_event_of_a_record_is_copied_whole(void **state) {
    (void)state;
    add_source(TEMPLATE_SINK, NULL, 0);
    begin_world(PART_BYTES, 1000000);
    Plan *plan = world.sources[0]->plan;
    char body[] = "{\"a\":1}", name[] = "trace", value[] = "v", key[] = "k";
    EventHeader header = {{name, 5}, {value, 1}};
    RecordMeta record = {0};
    record_meta_kafka(&record, SPAN("t"), 0, 1, 2, span_of(key), -1);
    Event event = {
        .id = {{7}}, .body = span_of(body), .kind = BODY_OTHER, .received = 5, .headers = &header, .header_count = 1, .meta = &record.meta};
    TemplateBatch *batch = template_batch_new(plan_ref(plan), 2, world.gone, 1);
    template_events_put(batch, 1, &event, &header);
    memset(body, 0, sizeof body);
    memset(name, 0, sizeof name);
    memset(key, 0, sizeof key);
    record_meta_deinit(&record);
    const Event *copy = &batch->events[1].event;
    assert_true(span_equal(copy->body, SPAN("{\"a\":1}")) && copy->kind == BODY_OTHER && copy->received == 5);
    assert_int_equal(copy->id.bytes[0], 7);
    assert_true(span_equal(copy->headers[0].name, SPAN("trace")) && copy->header_count == 1);
    assert_true(span_equal(copy->meta->values[META_KEY], SPAN("k")) && span_equal(copy->meta->values[META_BRIDGE], SPAN("kafka:t:1:2")));
    assert_null(copy->meta->values[META_TIMESTAMP].data);
    assert_ptr_equal(batch->events[1].cookie, &header);
    template_batch_free(batch);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* What control was told of sink 2, or "". */
static void assert_discovered(const char *wanted) {
    Message *message = mailbox_take(world.gone);
    Buffer text = {0};
    size_t count = 0;
    if (message) {
        assert_null(message->next);
        Discoveries *told = discoveries_of(message);
        assert_int_equal(discoveries_sink(told), 2);
        InferredColumn *columns = discoveries_take(told, &count);
        for (size_t i = 0; i < count; i++) buffer_printf(&text, "%s:%s ", columns[i].path, data_type_name(columns[i].type));
        inferred_columns_free(columns, count);
        discoveries_unref(told);
    }
    assert_string_equal(buffer_text(&text), wanted);
    buffer_deinit(&text);
}

/* Of events that are kept, and of sinks that have a row of them; a dry run tells nobody. */
static void what_kept_events_hold_is_discovered(void **state) {
    add_source(BODY_SINK(""), INFER_SINK, 0);
    begin_world(PART_BYTES, 1 << 20);
    assert_true(world.sources[0]->infers && world.sources[0]->discoveries[1] && !world.sources[0]->discoveries[0]);
    RowPart part;
    begin(&part, 0);
    assert_int_equal(map(&part, "{\"left\":1}", 1), 0);
    row_batch_leave(&part);
    assert_discovered("");
    add(&part, "{\"a\":1,\"declared\":\"no number\"}", 2); /* quarantined */
    assert_discovered("");
    assert_int_equal(part.discovered, 0);
    add(&part, "{\"a\":1,\"b\":\"x\"}", 3);
    assert_int_equal(part.discovered, 2);
    Event event = event_of("{\"c\":1}", 4);
    (void)row_batch_map_some(&world.batch, &part, &event, (bool[]){true, false});
    assert_true(row_batch_keep(&world.batch, &part, &event, SPAN("")));
    assert_int_equal(part.discovered, 2);
    add(&part, "{\"a\":1.5}", 5);
    assert_discovered("a:decimal b:text ");
    end(&part);
    Append *append = row_batch_seal(&world.batch);
    sink_has(append, 2,
             "03000000-0000-0000-0000-000000000000,1970-01-01T00:00:00.001000Z,0,\"{\"\"a\"\":1,\"\"b\"\":\"\"x\"\"}\"\n"
             "05000000-0000-0000-0000-000000000000,1970-01-01T00:00:00.001000Z,0,\"{\"\"a\"\":1.5}\"\n");
    back(append, APPEND_DONE);
    assert_discovered("");
}

/* Generations of a source share what was discovered of a sink that is the same. */
static void generations_share_discoveries(void **state) {
    add_source(BODY_SINK(""), INFER_SINK, 0);
    SnapshotSource *old = world.sources[0];
    SnapshotSource *next = snapshot_source_new(old->source, old->plan, old->gates, old->sync_wait, NULL, 0, old);
    assert_ptr_equal(next->discoveries[1], old->discoveries[1]);
    SnapshotSource *other = snapshot_source_new(old->source, old->plan, old->gates, old->sync_wait, NULL, 0, NULL);
    assert_ptr_not_equal(other->discoveries[1], old->discoveries[1]);
    snapshot_source_unref(next);
    snapshot_source_unref(other);
    begin_world(PART_BYTES, 1 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(rows_of_all_sinks_are_gathered),
        TEST(a_refused_event_leaves_its_neighbours),
        TEST(a_quarantined_event_is_a_reject_of_its_sink),
        TEST(a_masking_source_keeps_no_event),
        TEST(what_is_too_much_is_left_out),
        TEST(bytes_in_flight_are_of_rows_and_of_what_is_elsewhere),
        TEST(pieces_have_the_ids_of_their_events),
        TEST(nothing_is_stored_of_a_dry_run),
        TEST(a_piece_has_no_more_runs_than_a_group_takes),
        TEST(runs_are_undone_and_dropped),
        TEST(an_event_gives_a_row_for_each_element),
        TEST(runs_are_of_records_and_not_of_rows),
        TEST(an_event_that_cannot_be_mapped_fails_with_a_sentence),
        TEST(any_course_gives_what_was_kept),
        TEST(batches_of_one_maker_are_apart),
        TEST(events_are_copied_for_the_broker),
        TEST(an_event_of_a_record_is_copied_whole),
        TEST(what_kept_events_hold_is_discovered),
        TEST(generations_share_discoveries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
