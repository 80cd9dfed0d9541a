/* Records in, an Append out: without a broker, a writer or template workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "base/random.h"
#include "gateway/sources/micro_batch.h"
#include "mapping/record_id.h"

#define ROW_BYTES 300000
#define PART_BYTES ((size_t)64 << 20)
#define EVENT_BYTES 200000
#define PARTITIONS 4

#define SINK(name, more, columns)                                                                                                          \
    "{\"name\":\"" name "\",\"type\":\"table\"," more "\"table\":{\"tableId\":\"" name "\",\"mapping\":{\"columns\":[" columns "]}}}"
#define META(name) "{\"name\":\"" name "\",\"type\":\"meta\",\"field\":\"" name "\"}"
#define PATH "{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\"}"
#define BODY "{\"name\":\"body\",\"type\":\"body\"}"
#define ID "{\"name\":\"id\",\"type\":\"id\"}"
#define TEMPLATE                                                                                                                           \
    "{\"name\":\"t\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"Body().a + Meta('offset') + "              \
    "Header('h')\"}}"
#define QUARANTINE "\"onInvalid\":\"quarantine\","
#define REJECT "\"onInvalid\":\"reject\","
#define PLACED(name, more) SINK(name, more, META("partition") "," META("offset") "," PATH)

typedef struct World {
    Usage usage;
    Mailbox *gone;
    Snapshot *snapshot;
    SnapshotSource *source;
    size_t sinks;
    RowMaker *maker;
    RecordReader reader;
    MicroOptions options;
    MicroBatch *batch;
    MicroPartition partitions[PARTITIONS];
    int64_t next[PARTITIONS][3];
    bool sets_end[PARTITIONS][3];
    /* of the last one that was made */
    Append *append;
    const MicroResult *results;
    size_t result_count;
    MicroCounts counts;
} World;

static World world;
static usec_t now;
static usec_t tell_now(Clock *clock) {
    (void)clock;
    return now;
}
static Clock test_clock = {.wall = tell_now, .boot = tell_now};

/* ---- the world --------------------------------------------------------------------------------------------------------------------------- */

static json_t *json_of(const char *text) {
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    return value;
}

static SnapshotSource *source_of(const char *kind, const char *const *texts, size_t count, uint32_t skipped) {
    char text[100];
    Error error = {0};
    Source *source;
    Sink *sinks[3];
    SinkGate *gates[3];
    bool waits[3] = {true, true, true};
    Plan *plan;
    (void)snprintf(text, sizeof text, "{\"sourceId\":\"s\",\"name\":\"s\",\"type\":\"%s\"}", kind);
    json_t *json = json_of(text);
    if (source_from_request(json, &source, &error) != 0) fail_msg("%s", error.text);
    json_decref(json);
    for (size_t i = 0; i < count; i++) {
        json = json_of(texts[i]);
        if (sink_from_request(json, false, &sinks[i], &error) != 0) fail_msg("%s", error.text);
        json_decref(json);
        sinks[i]->number = (uint32_t)i + 1;
        sinks[i]->mapping_version = 7;
        gates[i] = sink_gate_new();
    }
    if (plan_compile(source, sinks, count, &plan, &error) != 0) fail_msg("%s", error.text);
    SnapshotSource *made = snapshot_source_new(source, plan, gates, waits, &skipped, skipped ? 1 : 0, NULL);
    for (size_t i = 0; i < count; i++) {
        sink_unref(sinks[i]);
        sink_gate_unref(gates[i]);
    }
    plan_unref(plan);
    source_unref(source);
    return made;
}

static void begin_world(RecordKind kind, const char *first, const char *second, const char *third) {
    const char *texts[3] = {first, second, third};
    world.sinks = third ? 3 : second ? 2 : 1;
    world.source = source_of("tap", texts, world.sinks, 9);
    world.usage.in_flight_limit = 1u << 30;
    world.gone = mailbox_new(NULL, NULL);
    world.snapshot = snapshot_new(1, &world.source, 1, world.gone);
    world.maker = row_maker_new(ROW_BYTES, PART_BYTES, &world.usage);
    world.reader = (RecordReader){.kind = kind, .event_bytes_most = EVENT_BYTES};
    world.options = (MicroOptions){.maker = world.maker,
                                   .reader = &world.reader,
                                   .event_bytes = EVENT_BYTES,
                                   .records_most = 3000,
                                   .bytes_most = (size_t)8 << 20,
                                   .clock = &test_clock};
    world.batch = micro_batch_new(&world.options);
    for (int p = 0; p < PARTITIONS; p++) {
        MicroPartition *partition = &world.partitions[p];
        *partition = (MicroPartition){
            .key = {.cluster = (char *)"c", .group = (char *)"g", .topic = (char *)"t", .topic_id = (char *)"", .partition = p},
            .skip = -1,
            .next = world.next[p],
            .sets_end = world.sets_end[p]};
        record_id_space(SPAN("c"), SPAN("t"), 0, p, &partition->space);
    }
}

static void anew(void) {
    micro_batch_free(world.batch);
    world.batch = micro_batch_new(&world.options);
}

static int set_up(void **state) {
    (void)state;
    memset(&world, 0, sizeof world);
    now = 1000 * USEC_SECOND;
    return 0;
}

static void back(AppendResult result) {
    if (!world.append) return;
    world.append->result = result;
    row_maker_settle(world.maker, world.append);
    row_maker_recycle(world.maker, world.append);
    world.append = NULL;
}

static int tear_down(void **state) {
    (void)state;
    back(APPEND_FAILED);
    micro_batch_free(world.batch);
    row_maker_free(world.maker);
    record_reader_deinit(&world.reader);
    assert_int_equal(world.usage.in_flight_bytes + world.usage.large_bytes, 0);
    assert_int_equal(world.source->usage->in_flight_bytes, 0);
    snapshot_source_unref(world.source);
    snapshot_unref(world.snapshot);
    Message *message = mailbox_take(world.gone); /* nothing holds it any more */
    assert_non_null(message);
    snapshot_gone_free((SnapshotGone *)message);
    mailbox_free(world.gone);
    return 0;
}

static void add(size_t partition, int64_t offset, const char *value) {
    micro_batch_add(world.batch, partition, &(ClientRecord){.offset = offset, .timestamp = CLIENT_NO_TIME, .value = span_of(value)});
}

/* What holds of every Append with runs: see messages.h. */
static void append_holds(const Append *append) {
    for (size_t i = 0; i < append->sink_count; i++) {
        const AppendSink *sink = &append->sinks[i];
        int64_t ends[PARTITIONS];
        size_t at = 0, run = 0;
        for (size_t p = 0; p < PARTITIONS; p++) ends[p] = -1;
        assert_true(sink->piece_count > 0 && sink->run_count > 0);
        for (size_t k = 0; k < sink->piece_count; k++) {
            const AppendPiece *piece = &sink->pieces[k];
            uint64_t rows = 0, lines = 0;
            assert_int_equal(piece->offset, at);
            assert_true(piece->run_count > 0 && piece->run_count <= 65000);
            for (size_t r = 0; r < piece->run_count; r++) rows += sink->runs[run + r].rows;
            for (size_t b = 0; b < piece->bytes; b++) lines += sink->rows.data[at + b] == '\n';
            assert_int_equal(rows, piece->rows);
            assert_int_equal(rows, lines);
            assert_true(piece->bytes <= 1 << 20);
            at += piece->bytes;
            run += piece->run_count;
        }
        assert_int_equal(at, sink->rows.size);
        assert_int_equal(run, sink->run_count);
        for (size_t r = 0; r < sink->run_count; r++) {
            const AppendRun *of = &sink->runs[r];
            assert_true(of->partition < append->partition_count);
            assert_true(of->first >= 0 && of->first < of->next);
            if (ends[of->partition] >= 0) {
                assert_int_equal(of->first, ends[of->partition]);
                assert_false(of->sets_end);
            }
            ends[of->partition] = of->next;
        }
        assert_true(sink->first_time > 0 && sink->first_time <= sink->last_time);
        assert_int_equal(sink->mapping_version, 7);
    }
}

static void make(void) {
    back(APPEND_DONE);
    assert_int_equal(micro_batch_make(world.batch, world.snapshot, world.source, world.partitions, &world.append, &world.results,
                                      &world.result_count, &world.counts),
                     MICRO_MADE);
    if (world.append && !world.options.acks) append_holds(world.append);
}

static const AppendSink *sink_of(uint32_t number) {
    for (size_t i = 0; world.append && i < world.append->sink_count; i++)
        if (world.append->sinks[i].sink == number) return &world.append->sinks[i];
    return NULL;
}

/* "": the Append has nothing of the sink. */
static void rows_are(uint32_t number, const char *rows) {
    const AppendSink *sink = sink_of(number);
    Span have = sink ? buffer_span(&sink->rows) : (Span){0};
    if (!span_equal(have, span_of(rows))) fail_msg("sink %u has: %.*s", number, (int)have.size, have.size ? have.data : "");
}

/* As "PARTITION:FIRST-NEXT=ROWS", with a ! behind one that sets the end; pieces are divided by |. */
static void runs_are(uint32_t number, const char *runs) {
    const AppendSink *sink = sink_of(number);
    Buffer text = {0};
    size_t run = 0;
    for (size_t k = 0; sink && k < sink->piece_count; k++) {
        if (k) buffer_append_text(&text, " |");
        for (size_t r = 0; r < sink->pieces[k].run_count; r++, run++) {
            const AppendRun *of = &sink->runs[run];
            buffer_printf(&text, "%s%d:%ld-%ld=%lu%s", text.size ? " " : "", world.append->partitions[of->partition].partition, of->first,
                          of->next, of->rows, of->sets_end ? "!" : "");
        }
    }
    assert_string_equal(buffer_text(&text), runs);
    buffer_deinit(&text);
}

static const MicroResult *result_of(size_t partition) {
    for (size_t i = 0; i < world.result_count; i++)
        if (world.results[i].partition == partition) return &world.results[i];
    fail_msg("no result of partition %zu", partition);
    return NULL;
}

static void goes_on(size_t partition, int64_t offset) {
    const MicroResult *result = result_of(partition);
    if (result->stop != MICRO_GOES_ON) fail_msg("%s", result->reason);
    assert_int_equal(result->offset, offset);
}

static void stops(size_t partition, MicroStop stop, int64_t offset, const char *reason) {
    const MicroResult *result = result_of(partition);
    assert_int_equal(result->stop, stop);
    assert_int_equal(result->offset, offset);
    assert_string_equal(result->reason, reason);
}

/* ---- rows and runs ----------------------------------------------------------------------------------------------------------------------- */

static void records_become_rows_and_runs(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), SINK("b", QUARANTINE, BODY), NULL);
    world.next[0][0] = world.next[0][1] = 5;
    world.sets_end[0][0] = true;
    assert_true(micro_batch_is_empty(world.batch));
    assert_int_equal(micro_batch_since(world.batch), USEC_NEVER);
    add(0, 5, "{\"a\":1}");
    now += 7;
    add(1, 0, "{\"a\":2}");
    add(0, 8, "{\"a\":3}"); /* 6 and 7 are not there */
    assert_false(micro_batch_is_empty(world.batch));
    assert_int_equal(micro_batch_since(world.batch), now - 7);
    assert_int_equal(micro_batch_bytes(world.batch), 3 * 7);
    uint64_t stored = metrics_read(METRIC_EVENTS_STORED);
    make();
    rows_are(1, "0,5,1\n0,8,3\n1,0,2\n");
    rows_are(2, "\"{\"\"a\"\":1}\"\n\"{\"\"a\"\":3}\"\n\"{\"\"a\"\":2}\"\n");
    runs_are(1, "0:5-9=2! 1:0-1=1");
    runs_are(2, "0:5-9=2 1:0-1=1");
    goes_on(0, 9);
    goes_on(1, 1);
    assert_int_equal(world.result_count, 2);
    assert_int_equal(world.next[0][0], 9);
    assert_int_equal(world.next[1][1], 1);
    assert_false(world.sets_end[0][0]);
    assert_int_equal(world.counts.records, 3);
    assert_int_equal(world.counts.bytes, 21);
    assert_int_equal(world.counts.tombstones + world.counts.poisoned + world.counts.skipped, 0);
    assert_int_equal(sink_of(1)->first_time, now - 7);
    assert_int_equal(sink_of(1)->last_time, now);
    assert_ptr_equal(world.append->snapshot, world.snapshot);
    assert_int_equal(world.append->skip_count, 0); /* a disabled sink gets them when it is enabled */
    assert_int_equal(world.append->partition_count, 2);
    assert_string_equal(world.append->partitions[1].topic, "t");
    assert_int_equal(world.append->reject_count, 0);
    assert_int_equal(world.usage.in_flight_bytes, world.append->bytes);
    back(APPEND_DONE);
    assert_int_equal(metrics_read(METRIC_EVENTS_STORED), stored + 3);
    micro_batch_clear(world.batch);
    assert_true(micro_batch_is_empty(world.batch));
    assert_int_equal(micro_batch_bytes(world.batch), 0);
}

static void an_end_covers_what_is_not_there(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), NULL, NULL);
    add(0, 3, "{\"a\":1}");
    micro_batch_end(world.batch, 0, 10);
    micro_batch_end(world.batch, 1, 4);
    micro_batch_end(world.batch, 2, 0);
    make();
    rows_are(1, "0,3,1\n");
    runs_are(1, "0:0-10=1 1:0-4=0");
    goes_on(0, 10);
    goes_on(1, 4);
    goes_on(2, 0);
    /* Alone, and once more, which nobody has to know. */
    micro_batch_clear(world.batch);
    micro_batch_end(world.batch, 1, 6);
    make();
    rows_are(1, "");
    runs_are(1, "1:4-6=0");
    assert_int_equal(sink_of(1)->piece_count, 1);
    assert_int_equal(sink_of(1)->first_time, now);
    micro_batch_clear(world.batch);
    micro_batch_end(world.batch, 1, 6);
    make();
    assert_null(world.append);
    goes_on(1, 6);
    micro_batch_clear(world.batch);
    make(); /* of nothing */
    assert_null(world.append);
    assert_int_equal(world.result_count, 0);
}

static void each_sink_begins_where_it_wants_to(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), PLACED("q", QUARANTINE), PLACED("r", REJECT));
    world.next[0][0] = 2;
    world.next[0][1] = 4;
    world.next[0][2] = -1;
    world.sets_end[0][1] = world.sets_end[0][2] = true;
    add(0, 1, "{\"a\":1}"); /* nobody wants it */
    add(0, 2, "{\"a\":2}");
    add(0, 3, "poison");
    add(0, 5, "{\"a\":5}");
    make();
    rows_are(1, "0,2,2\n0,5,5\n");
    rows_are(2, "0,5,5\n");
    rows_are(3, "");
    runs_are(1, "0:2-6=2");
    runs_are(2, "0:4-6=1!");
    assert_null(sink_of(3));
    assert_int_equal(world.append->reject_count, 1); /* only of the one that wants it */
    assert_int_equal(world.append->rejects[0].sink, 1);
    assert_int_equal(world.counts.records, 3);
    assert_int_equal(world.counts.poisoned, 1);
    assert_int_equal(world.next[0][2], -1);
    assert_true(world.sets_end[0][2]);
    /* One that is ahead is left alone. */
    micro_batch_clear(world.batch);
    world.next[0][0] = 3;
    add(0, 3, "{\"a\":3}");
    add(0, 4, "{\"a\":4}");
    make();
    rows_are(1, "0,3,3\n0,4,4\n");
    runs_are(1, "0:3-5=2");
    assert_null(sink_of(2));
    assert_int_equal(world.next[0][1], 6);
    /* A record that was there already. */
    micro_batch_clear(world.batch);
    add(0, 5, "{\"a\":5}");
    add(0, 5, "{\"a\":6}");
    add(0, 4, "{\"a\":7}");
    make();
    rows_are(1, "0,5,5\n");
    runs_are(1, "0:5-6=1");
}

static void tombstones_and_a_record_to_skip_become_nothing(void **state) {
    (void)state;
    begin_world(RECORD_JSON, SINK("b", QUARANTINE, META("offset") "," BODY), NULL, NULL);
    world.partitions[0].skip = 2;
    add(0, 0, "1");
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 1, .key = SPAN("k")});
    add(0, 2, "poison");
    make();
    rows_are(1, "0,1\n");
    runs_are(1, "0:0-3=1");
    assert_int_equal(world.counts.tombstones, 1);
    assert_int_equal(world.counts.skipped, 1);
    assert_int_equal(world.counts.records, 3);
    /* Only a tombstone: a run without rows. */
    micro_batch_clear(world.batch);
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 3, .key = SPAN("k")});
    make();
    runs_are(1, "0:3-4=0");
    /* As events. */
    world.options.tombstones_are_events = true;
    anew();
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 4, .key = SPAN("k")});
    add(0, 5, "");
    make();
    rows_are(1, "4,\"\"\n5,\"\"\n");
    runs_are(1, "0:4-6=2");
    assert_int_equal(world.counts.tombstones, 0);
}

/* ---- records that fail ------------------------------------------------------------------------------------------------------------------- */

static void poison_stops_its_partition_only(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", REJECT), SINK("b", QUARANTINE, META("offset") "," PATH), NULL);
    add(0, 0, "{\"a\":1}");
    add(1, 0, "{\"a\":2}");
    add(0, 4, "{\"b\":1}");
    add(1, 1, "{\"a\":3}");
    add(0, 5, "{\"a\":4}");
    add(2, 7, "poison");
    micro_batch_end(world.batch, 0, 6);
    make();
    rows_are(1, "0,0,1\n1,0,2\n1,1,3\n");
    rows_are(2, "0,1\n0,2\n1,3\n");
    runs_are(1, "0:0-4=1 1:0-2=2 2:0-7=0");
    runs_are(2, "0:0-4=1 1:0-2=2 2:0-7=0");
    assert_int_equal(world.append->reject_count, 0); /* also not of the other sink, which would take it */
    stops(0, MICRO_POISON, 4, "Sink \"p\": Column \"a\": there is no value at path \"a\", and no defaultValue.");
    assert_int_equal(result_of(2)->stop, MICRO_POISON);
    goes_on(1, 2);
    assert_int_equal(world.next[0][1], 4);
    assert_int_equal(world.counts.records, 3);
    assert_int_equal(world.counts.poisoned, 0);
    /* A sink that had it before is not asked. */
    micro_batch_clear(world.batch);
    world.next[0][0] = 5;
    add(0, 4, "{\"b\":1}");
    add(0, 5, "{\"a\":4}");
    make();
    rows_are(1, "0,5,4\n");
    rows_are(2, "5,4\n");
    runs_are(1, "0:5-6=1");
    runs_are(2, "0:4-6=1");
    assert_int_equal(world.append->reject_count, 1);
    /* Poison as the first thing, and nothing else: the writer has nothing to do. */
    micro_batch_clear(world.batch);
    add(0, 6, "poison");
    make();
    assert_null(world.append);
    assert_int_equal(result_of(0)->stop, MICRO_POISON);
    assert_int_equal(result_of(0)->offset, 6);
    /* It is skipped, and the rest follows. */
    micro_batch_clear(world.batch);
    world.partitions[0].skip = 6;
    add(0, 6, "poison");
    add(0, 7, "{\"a\":5}");
    make();
    rows_are(1, "0,7,5\n");
    runs_are(1, "0:6-8=1");
}

static const AppendReject *reject_at(size_t at, uint32_t sink) {
    assert_true(world.append && at < world.append->reject_count);
    const AppendReject *reject = &world.append->rejects[at];
    assert_int_equal(reject->sink, sink);
    assert_int_equal(reject->mapping_version, 7);
    return reject;
}

static void reject_is(const AppendReject *reject, const char *type, Span body) {
    if (!span_equal(reject->content_type, span_of(type))) fail_msg("%.*s", (int)reject->content_type.size, reject->content_type.data);
    if (!span_equal(reject->body, body)) fail_msg("%.*s", (int)reject->body.size, reject->body.data);
}

static void what_fails_is_quarantined_as_it_came(void **state) {
    (void)state;
    Uuid id;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), NULL, NULL);
    uint64_t rejected = metrics_read(METRIC_EVENTS_REJECTED);
    add(1, 3, "{\"b\":1}");
    make();
    runs_are(1, "1:0-4=0");
    assert_int_equal(world.append->reject_count, 1);
    const AppendReject *reject = reject_at(0, 1);
    reject_is(reject, "application/json", SPAN("{\"b\":1}"));
    assert_true(span_equal(reject->column, SPAN("a")));
    record_id(&world.partitions[1].space, 3, 0, &id);
    assert_true(uuid_equal(&reject->event, &id));
    assert_int_equal(reject->at, now);
    back(APPEND_DONE);
    assert_int_equal(metrics_read(METRIC_EVENTS_REJECTED), rejected + 1);
    micro_batch_clear(world.batch);
    world.reader.kind = RECORD_TEXT;
    add(0, 0, "{\"a\":1}");
    make();
    reject_is(reject_at(0, 1), "text/plain", SPAN("{\"a\":1}"));
    micro_batch_clear(world.batch);
    world.reader.kind = RECORD_BYTES;
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 1, .value = {"\0\xff", 2}});
    make();
    reject_is(reject_at(0, 1), "application/octet-stream", (Span){"\0\xff", 2}); /* and not its base64 */
    /* A value that is not in the frame of its kind. */
    micro_batch_clear(world.batch);
    world.reader.kind = RECORD_AVRO;
    world.reader.registry = (SchemaRegistry *)(void *)&world; /* it is not asked */
    add(0, 2, "\x07 no Avro");
    make();
    reject = reject_at(0, 1);
    reject_is(reject, "application/octet-stream", SPAN("\x07 no Avro"));
    assert_true(span_equal(reject->reason, SPAN("The value cannot be read: the value does not begin with a byte 0 and the number of a "
                                                "schema, as the Confluent wire format does.")));
    runs_are(1, "0:2-3=0");
    assert_int_equal(world.counts.poisoned, 1);
}

static void a_huge_record_is_cut(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), SINK("b", QUARANTINE, BODY), NULL);
    char *huge = malloc(EVENT_BYTES + 1);
    memset(huge, '7', EVENT_BYTES + 1);
    add(0, 0, "{\"a\":1}");
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 1, .value = {huge, EVENT_BYTES + 1}});
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 2, .key = {huge, 1}, .value = {huge, EVENT_BYTES}});
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 3, .key = {huge, EVENT_BYTES + 1}});
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 4, .value = {huge, EVENT_BYTES}});
    assert_true(micro_batch_bytes(world.batch) < EVENT_BYTES + 200000);
    add(0, 5, "{\"a\":2}");
    make();
    rows_are(1, "0,0,1\n0,5,2\n");
    assert_int_equal(world.append->reject_count, 3 * 2 + 1); /* the last one has no path a */
    for (size_t i = 0; i < 2; i++) reject_is(reject_at(i, (uint32_t)i + 1), "application/json", (Span){huge, 65536});
    assert_true(span_equal(reject_at(0, 1)->reason, SPAN("The record has 200001 bytes; the limit is 200000 (option limits.event).")));
    reject_is(reject_at(2, 1), "application/json", (Span){huge, 65536});
    reject_is(reject_at(4, 1), "application/json", (Span){0});
    runs_are(1, "0:0-6=2");
    runs_are(2, "0:0-6=3");
    free(huge);
}

static void two_sinks_may_differ_about_a_record(void **state) {
    (void)state;
    begin_world(RECORD_JSON, SINK("b", REJECT, BODY), PLACED("p", QUARANTINE), NULL);
    add(0, 0, "no JSON"); /* a body is any text */
    add(0, 1, "\xff");    /* it is no text */
    add(0, 2, "{\"a\":1}");
    make();
    rows_are(1, "no JSON\n");
    runs_are(1, "0:0-1=1");
    runs_are(2, "0:0-1=0");
    assert_int_equal(world.append->reject_count, 1);
    (void)reject_at(0, 2);
    assert_int_equal(result_of(0)->stop, MICRO_POISON);
    assert_int_equal(result_of(0)->offset, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(records_become_rows_and_runs),
        TEST(an_end_covers_what_is_not_there),
        TEST(each_sink_begins_where_it_wants_to),
        TEST(tombstones_and_a_record_to_skip_become_nothing),
        TEST(poison_stops_its_partition_only),
        TEST(what_fails_is_quarantined_as_it_came),
        TEST(a_huge_record_is_cut),
        TEST(two_sinks_may_differ_about_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
