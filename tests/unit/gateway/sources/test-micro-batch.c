/* Records in, an Append out: without a broker, a writer or template workers. */
#include <errno.h>
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
#include "tests/support/definitions.h"
#include "tests/support/scripted-registry.h"

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

/* ---- the world ------------------------------------------------------------------------------- */

static json_t *json_of(const char *text) {
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    return value;
}

/* With `infers`, the first sink has at most so many columns, of which the last are inferred. */
static uint32_t infers;
static InferredColumn inferred[4];
static size_t inferred_count;

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
        if (infers && i == 0) {
            test_infer(source, sinks[i], 1, infers);
            (void)inference_add(&sinks[i]->target, inferred, inferred_count);
        }
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
    world.reader = (RecordReader){.kind = kind, .event_bytes_max = EVENT_BYTES};
    world.options = (MicroOptions){.maker = world.maker,
                                   .reader = &world.reader,
                                   .event_bytes = EVENT_BYTES,
                                   .records_max = 3000,
                                   .bytes_max = (size_t)8 << 20,
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
    infers = 0;
    inferred_count = 0;
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
            assert_true(piece->bytes <= 1 << 20 || rows == 1);
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

/* As "PARTITION:FIRST-NEXT=ROWS", with a ! behind one that sets the end; pieces are divided by
 * |. */
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

/* ---- rows and runs --------------------------------------------------------------------------- */

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
    assert_int_equal(world.append->bytes, sizeof(AppendRun));
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

/* ---- records that fail ----------------------------------------------------------------------- */

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
    for (size_t p = 0; p < 3; p++) micro_batch_forget(world.batch, p); /* whoever looks at the results may do so */
    micro_batch_forget(world.batch, CLIENT_NO_INDEX);
    stops(0, MICRO_POISON, 4, "Sink \"p\": Column \"a\": there is no value at path \"a\", and no defaultValue.");
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
    if (reject->place.size < 6 || memcmp(reject->place.data, "kafka:", 6) != 0)
        fail_msg("%.*s", (int)reject->place.size, reject->place.data);
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
    assert_true(span_equal(reject->place, SPAN("kafka:t:1:3")));
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
                                                "schema, as in the Confluent wire format.")));
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
    EventHeader header = {.name = SPAN("h"), .value = {huge, EVENT_BYTES}};
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 2, .value = {huge, 70000}, .headers = &header, .header_count = 1});
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

/* ---- pieces ---------------------------------------------------------------------------------- */

static char *text_of(size_t size, char c) {
    char *text = malloc(size + 1);
    memset(text, c, size);
    text[size] = 0;
    return text;
}

static void a_run_is_cut_where_its_piece_is_full(void **state) {
    (void)state;
    begin_world(RECORD_TEXT, SINK("b", QUARANTINE, BODY), SINK("o", QUARANTINE, META("offset")), NULL);
    char *text = text_of(150000, 'x');
    world.next[1][0] = 7;
    world.sets_end[1][0] = true;
    add(0, 0, "1");
    for (int64_t i = 0; i < 8; i++) add(1, 10 * i, text);
    add(1, 80, "\xff"); /* has no row of the first sink */
    add(1, 90, text);
    add(2, 5, text);
    add(3, 0, "2");
    make();
    /* Six rows are 900 kB and some, a seventh would be over 1 MiB. */
    runs_are(1, "0:0-1=1 1:7-70=6! | 1:70-91=2 2:0-6=1 3:0-1=1");
    runs_are(2, "0:0-1=1 1:0-91=10 2:0-6=1 3:0-1=1");
    assert_int_equal(world.append->reject_count, 1);
    free(text);
    /* A partition whose first row does not fit, and a row that is larger than a piece. */
    back(APPEND_DONE);
    row_maker_free(world.maker);
    world.options.maker = world.maker = row_maker_new(1500000, PART_BYTES, &world.usage);
    world.options.event_bytes = 1000000;
    anew();
    text = text_of(140000, '"'); /* each is two in the row */
    for (int64_t i = 0; i < 3; i++) add(1, 100 + 2 * i, text);
    add(2, 8, text);
    free(text);
    text = text_of(600000, '"');
    add(2, 9, text);
    add(2, 10, "1");
    add(3, 1, "1");
    make();
    runs_are(1, "1:91-105=3 | 2:6-9=1 | 2:9-10=1 | 2:10-11=1 3:1-2=1");
    free(text);
}

static void what_is_too_much_for_one_append_is_for_the_next(void **state) {
    (void)state;
    begin_world(RECORD_TEXT, SINK("b", QUARANTINE, BODY), SINK("c", REJECT, BODY), NULL);
    row_maker_free(world.maker);
    world.options.maker = world.maker = row_maker_new(ROW_BYTES, 250000, &world.usage);
    anew();
    char *text = text_of(100000, 'x');
    for (int64_t i = 0; i < 3; i++) add(0, i, text);
    add(1, 4, "small");
    make();
    runs_are(1, "0:0-1=1 1:0-5=1");
    runs_are(2, "0:0-1=1 1:0-5=1");
    stops(0, MICRO_LATER, 1, "The micro-batch has too many rows; the rest of it is read again.");
    goes_on(1, 5);
    free(text);
    /* What never fits fails: the one sink refuses it. */
    text = text_of(140000, 'x');
    micro_batch_clear(world.batch);
    add(0, 1, text);
    add(0, 2, "small");
    make();
    assert_null(world.append);
    assert_int_equal(result_of(0)->stop, MICRO_POISON);
    /* The other one alone quarantines it. */
    world.next[0][1] = 2;
    row_maker_free(world.maker);
    world.options.maker = world.maker = row_maker_new(ROW_BYTES, 100000, &world.usage);
    anew();
    add(0, 1, text);
    add(0, 2, "small");
    make();
    assert_int_equal(reject_at(0, 1)->body.size, 65536);
    rows_are(1, "small\n");
    runs_are(1, "0:1-3=1");
    free(text);
}

/* ---- room ------------------------------------------------------------------------------------ */

static void without_room_everything_is_as_before(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), SINK("b", QUARANTINE, BODY), NULL);
    Append *append = NULL;
    const MicroResult *results = NULL;
    size_t count = 77;
    MicroCounts counts;
    UsageClaim other = {0}, large = {0};
    world.usage.in_flight_limit = 1000;
    SourceUsage *somebody = source_usage_new();
    assert_true(usage_resize(&world.usage, somebody, &large, 5000) && large.large); /* the one that may be */
    assert_true(usage_resize(&world.usage, somebody, &other, 700));
    world.next[0][0] = 3;
    world.sets_end[0][0] = true;
    char text[100];
    for (int64_t i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof text, "{\"a\":%d,\"padding\":\"to be some bytes\"}", (int)i);
        add(0, i, text);
    }
    add(1, 0, "poison");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(micro_batch_make(world.batch, world.snapshot, world.source, world.partitions, &append, &results, &count, &counts),
                         MICRO_NO_ROOM);
        assert_null(append);
        assert_int_equal(count, 77);
        assert_int_equal(world.next[0][0], 3);
        assert_int_equal(world.next[1][0], 0);
        assert_true(world.sets_end[0][0]);
        assert_int_equal(world.usage.in_flight_bytes, 700);
    }
    assert_int_equal(micro_batch_bytes(world.batch), 10 * strlen(text) + 6);
    usage_release(&world.usage, somebody, &other);
    usage_release(&world.usage, somebody, &large);
    source_usage_unref(somebody);
    make();
    runs_are(1, "0:3-10=7! 1:0-1=0");
    runs_are(2, "0:0-10=10 1:0-1=1");
    assert_int_equal(world.append->reject_count, 1);
    assert_int_equal(world.counts.records, 11);
    assert_int_equal(world.counts.poisoned, 1);
    assert_int_equal(world.usage.in_flight_bytes + world.usage.large_bytes, world.append->bytes);
}

static void a_batch_is_full_and_is_forgotten(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), NULL, NULL);
    world.options.records_max = 4;
    world.options.bytes_max = 100;
    anew();
    for (int64_t i = 0; i < 4; i++) {
        assert_false(micro_batch_is_full(world.batch));
        add((size_t)i % 2, i, "{\"a\":1}");
    }
    assert_true(micro_batch_is_full(world.batch));
    micro_batch_forget(world.batch, 3); /* nothing is there of it */
    micro_batch_forget(world.batch, 300);
    micro_batch_forget(world.batch, 0);
    assert_false(micro_batch_is_full(world.batch));
    assert_int_equal(micro_batch_bytes(world.batch), 14);
    add(0, 8, "{\"a\":8}"); /* from elsewhere */
    make();
    runs_are(1, "1:0-4=2 0:0-9=1");
    rows_are(1, "1,1,1\n1,3,1\n0,8,8\n");
    micro_batch_clear(world.batch);
    add(0, 9, "{\"a\":9}");
    micro_batch_end(world.batch, 1, 7);
    micro_batch_forget(world.batch, 1);
    assert_false(micro_batch_is_empty(world.batch));
    micro_batch_forget(world.batch, 0);
    assert_true(micro_batch_is_empty(world.batch));
    assert_int_equal(micro_batch_since(world.batch), USEC_NEVER);
    add(0, 9, "{\"a\":9}");
    micro_batch_forget(world.batch, CLIENT_NO_INDEX);
    assert_true(micro_batch_is_empty(world.batch));
    char *text = text_of(101, '1');
    add(0, 9, text);
    assert_true(micro_batch_is_full(world.batch));
    free(text);
    micro_batch_free(NULL);
}

/* ---- what a record has besides its value ----------------------------------------------------- */

static void a_record_has_meta_values_and_headers(void **state) {
    (void)state;
    begin_world(RECORD_JSON,
                SINK("m", QUARANTINE,
                     META("key") "," META("topic") "," META("timestamp") "," META("bridge") ",{\"name\":\"h\",\"type\":\"headers\"}"),
                SINK("i", QUARANTINE, ID ",{\"name\":\"ip\",\"type\":\"ip\"},{\"name\":\"at\",\"type\":\"datetime\"}"), NULL);
    EventHeader headers[] = {{SPAN("trace"), SPAN("1")}, {SPAN("empty"), {0}}, {SPAN("trace"), SPAN("2")}};
    char key[] = "k,1", value[] = "1";
    world.partitions[2].key.generation = 3;
    ClientRecord record = {
        .offset = 5, .timestamp = 1700000000123456, .key = span_of(key), .value = span_of(value), .headers = headers, .header_count = 3};
    micro_batch_add(world.batch, 2, &record);
    memset(key, 0, sizeof key); /* it was copied */
    memset(value, 0, sizeof value);
    headers[0].name = headers[2].value = SPAN("zzzzz");
    micro_batch_add(world.batch, 2, &(ClientRecord){.offset = 6, .timestamp = CLIENT_NO_TIME, .key = {"", 0}, .value = SPAN("1")});
    micro_batch_add(world.batch, 2, &(ClientRecord){.offset = 7, .timestamp = -1, .value = SPAN("1")});
    make();
    rows_are(1, "\"k,1\",t,2023-11-14T22:13:20.123Z,kafka:t.3:2:5,\"{\"\"Empty\"\":\"\"\"\",\"\"Trace\"\":\"\"1, 2\"\"}\"\n"
                "\"\",t,,kafka:t.3:2:6,{}\n"
                ",t,,kafka:t.3:2:7,{}\n");
    char rows[400], id[UUID_TEXT_SIZE];
    size_t size = 0;
    for (int64_t i = 5; i < 8; i++) {
        Uuid uuid;
        record_id(&world.partitions[2].space, i, 0, &uuid);
        uuid_format(&uuid, id);
        size += (size_t)snprintf(rows + size, sizeof rows - size, "%.36s,,1970-01-01T00:16:40.000Z\n", id);
    }
    rows_are(2, rows);
}

static void a_message_of_jetstream_has_its_own(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), NULL, NULL);
    snapshot_unref(world.snapshot);
    snapshot_gone_free((SnapshotGone *)mailbox_take(world.gone));
    snapshot_source_unref(world.source);
    const char *sink = SINK("n", QUARANTINE,
                            META("subject") "," META("stream") "," META("sequence") "," META("timestamp") "," META("bridge"));
    world.source = source_of("nap", &sink, 1, 0);
    world.snapshot = snapshot_new(2, &world.source, 1, world.gone);
    world.options.is_nats = true;
    anew();
    micro_batch_add(
        world.batch, 0,
        &(ClientRecord){.offset = 41, .timestamp = 1700000000123456, .value = SPAN("1"), .subject = SPAN("orders.eu"), .token = SPAN("T")});
    make();
    rows_are(1, "orders.eu,t,41,2023-11-14T22:13:20.123456Z,nats:t:41\n");
    runs_are(1, "0:0-42=1");
}

/* ---- a client that acks ---------------------------------------------------------------------- */

static void add_message(int64_t sequence, const char *value, const char *token) {
    micro_batch_add(world.batch, 0,
                    &(ClientRecord){.offset = sequence, .timestamp = now, .value = span_of(value), .token = span_of(token)});
}

static void tokens_are(const char *tokens) {
    const Span *items;
    size_t count = micro_batch_tokens(world.batch, &items), size = 0;
    char text[100] = "";
    for (size_t i = 0; i < count; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%.*s ", (int)items[i].size, items[i].data);
    assert_string_equal(text, tokens);
}

static void messages_that_are_acked_have_no_runs(void **state) {
    (void)state;
    begin_world(RECORD_JSON, PLACED("p", QUARANTINE), PLACED("q", REJECT), NULL);
    world.options.acks = true;
    anew();
    world.partitions[0].next = NULL;
    world.partitions[0].sets_end = NULL;
    add_message(7, "{\"a\":1}", "A");
    add_message(3, "{\"a\":2}", "B"); /* it comes again */
    add_message(9, "{\"a\":3}", "C");
    add_message(10, "poison", "D");
    add_message(11, "{\"a\":4}", "E");
    tokens_are("A B C D E ");
    make();
    rows_are(1, "0,7,1\n0,3,2\n0,9,3\n");
    rows_are(2, "0,7,1\n0,3,2\n0,9,3\n");
    assert_int_equal(world.result_count, 1);
    assert_int_equal(result_of(0)->stop, MICRO_POISON);
    assert_int_equal(result_of(0)->offset, 10);
    tokens_are("A B C "); /* the others are not to be acked */
    const AppendSink *sink = sink_of(1);
    assert_int_equal(sink->run_count, 0);
    assert_null(sink->runs);
    assert_int_equal(sink->piece_count, 1);
    assert_int_equal(sink->pieces[0].run_count, 0);
    assert_int_equal(world.append->partition_count, 1);
    assert_string_equal(world.append->partitions[0].topic, "t");
    assert_int_equal(world.append->mark.size, 0);
    assert_int_equal(world.append->skip_count, 1); /* a disabled sink never gets them */
    assert_int_equal(world.append->skips[0].events, 3);
    assert_int_equal(world.counts.records, 3);
    /* Nothing but what is left out. */
    micro_batch_clear(world.batch);
    tokens_are("");
    world.partitions[0].skip = 10;
    add_message(10, "poison", "D");
    make();
    assert_null(world.append);
    goes_on(0, 11);
    tokens_are("D ");
}

/* ---- templates ------------------------------------------------------------------------------- */

static TemplateBatch *ask(void) {
    return micro_batch_templates(world.batch, world.source, world.partitions, world.gone);
}

/* What the broker does: the result is a number, or it fails. */
static void evaluate(TemplateBatch *templates, const char *const *results) {
    for (size_t i = 0; i < templates->count; i++) {
        TemplateEvent *event = &templates->events[i];
        if (!results[i]) continue;
        event->unavailable = false;
        bool failed = results[i][0] == '!';
        event->results[0] = (TemplateResult){.failed = failed, .text = span_of(results[i] + failed)};
    }
    templates->left = 0;
}

static void templates_are_evaluated_elsewhere(void **state) {
    (void)state;
    Error error = {0};
    begin_world(RECORD_JSON, SINK("t", QUARANTINE, META("offset") "," TEMPLATE), SINK("o", QUARANTINE, META("offset")), NULL);
    world.next[0][0] = world.next[0][1] = 1;
    world.partitions[0].skip = 4;
    EventHeader header = {SPAN("h"), SPAN("v")};
    assert_null(ask()); /* nothing is there */
    add(0, 0, "nobody wants it");
    micro_batch_add(
        world.batch, 0,
        &(ClientRecord){.offset = 1, .timestamp = CLIENT_NO_TIME, .value = SPAN("{\"a\":1}"), .headers = &header, .header_count = 1});
    micro_batch_add(world.batch, 0, &(ClientRecord){.offset = 2}); /* a tombstone */
    add(0, 3, "{\"a\":3}");
    add(0, 4, "skipped");
    add(1, 0, "{\"a\":9}");
    TemplateBatch *templates = ask();
    assert_non_null(templates);
    assert_int_equal(templates->count, 3);
    assert_int_equal(templates->reply_kind, MESSAGE_TEMPLATES);
    const Event *event = &templates->events[0].event;
    assert_true(span_equal(event->body, SPAN("{\"a\":1}")) && event->kind == BODY_JSON && event->received == now);
    assert_true(event->header_count == 1 && span_equal(event->headers[0].value, SPAN("v")));
    assert_true(span_equal(event->meta->values[META_OFFSET], SPAN("1")));
    evaluate(templates, (const char *const[]){"11", "!it broke", "19"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    assert_null(ask());
    make();
    rows_are(1, "1,11\n0,19\n");
    rows_are(2, "1\n3\n0\n");
    runs_are(1, "0:1-5=1 1:0-1=1");
    runs_are(2, "0:1-5=2 1:0-1=1");
    assert_int_equal(world.append->reject_count, 1);
    reject_is(reject_at(0, 1), "application/json", SPAN("{\"a\":3}"));
    assert_true(span_equal(reject_at(0, 1)->reason, SPAN("Column \"t\": it broke")));
}

static void messages_that_are_acked_have_templates(void **state) {
    (void)state;
    Error error = {0};
    begin_world(RECORD_JSON, SINK("t", QUARANTINE, META("offset") "," TEMPLATE), NULL, NULL);
    world.options.acks = true;
    anew();
    world.partitions[0].next = NULL;
    add_message(7, "{}", "A");
    add_message(3, "{}", "B");
    TemplateBatch *templates = ask();
    assert_non_null(templates);
    evaluate(templates, (const char *const[]){"1", "2"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    make();
    rows_are(1, "7,1\n3,2\n");
    goes_on(0, 8);
}

static void what_could_not_be_evaluated_is_asked_for_again(void **state) {
    (void)state;
    Error error = {0};
    begin_world(RECORD_JSON, SINK("t", QUARANTINE, META("offset") "," TEMPLATE), NULL, NULL);
    for (int64_t i = 0; i < 3; i++) add(0, i, "{}");
    TemplateBatch *templates = ask();
    evaluate(templates, (const char *const[]){"1", NULL, "3"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), -EAGAIN);
    assert_string_equal(error.text, "the templates cannot be evaluated at present (the server is shutting down)");
    add(0, 3, "{}"); /* meanwhile */
    templates = ask();
    assert_int_equal(templates->count, 2);
    evaluate(templates, (const char *const[]){"2", "4"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    add(0, 4, "{}");
    make();
    rows_are(1, "0,1\n1,2\n2,3\n3,4\n");
    stops(0, MICRO_LATER, 4, "The templates of the record are not evaluated yet.");
    runs_are(1, "0:0-4=4");
}

static void results_that_come_too_late_are_dropped(void **state) {
    (void)state;
    Error error = {0};
    begin_world(RECORD_JSON, SINK("t", QUARANTINE, META("offset") "," TEMPLATE), NULL, NULL);
    add(0, 0, "{}");
    TemplateBatch *late = ask();
    micro_batch_clear(world.batch);
    add(0, 5, "{}");
    TemplateBatch *templates = ask();
    evaluate(late, (const char *const[]){"1"});
    assert_int_equal(micro_batch_evaluated(world.batch, late, &error), 0);
    evaluate(templates, (const char *const[]){"2"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    make();
    rows_are(1, "5,2\n");
    /* One of two partitions is forgotten while they are evaluated. */
    micro_batch_clear(world.batch);
    add(0, 6, "{}");
    add(1, 1, "{}");
    templates = ask();
    micro_batch_forget(world.batch, 0);
    add(0, 8, "{}");
    evaluate(templates, (const char *const[]){"6", "7"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    templates = ask();
    assert_int_equal(templates->count, 1);
    evaluate(templates, (const char *const[]){"8"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    make();
    rows_are(1, "1,7\n8,8\n");
    /* Another plan is run in between. */
    micro_batch_clear(world.batch);
    add(0, 9, "{}");
    templates = ask();
    evaluate(templates, (const char *const[]){"1"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    back(APPEND_DONE);
    snapshot_unref(world.snapshot);
    snapshot_gone_free((SnapshotGone *)mailbox_take(world.gone));
    snapshot_source_unref(world.source);
    const char *sink = SINK("t", QUARANTINE, META("offset") "," TEMPLATE "," META("topic"));
    world.source = source_of("tap", &sink, 1, 0);
    world.snapshot = snapshot_new(2, &world.source, 1, world.gone);
    templates = ask();
    assert_non_null(templates);
    evaluate(templates, (const char *const[]){"3"});
    assert_int_equal(micro_batch_evaluated(world.batch, templates, &error), 0);
    make();
    rows_are(1, "9,3,t\n");
    /* It ends while they are away. */
    micro_batch_clear(world.batch);
    add(0, 10, "{}");
    templates = ask();
    micro_batch_free(world.batch);
    world.batch = NULL;
    template_batch_free(templates);
}

/* ---- schemas --------------------------------------------------------------------------------- */

#define FRAMED(number, value)                                                                                                              \
    { "\0\0\0\0" number value, 5 + sizeof(value) - 1 }
#define UNKNOWN "{\"error_code\":40403,\"message\":\"Schema not found\"}"

static void add_span(size_t partition, int64_t offset, Span value) {
    micro_batch_add(world.batch, partition, &(ClientRecord){.offset = offset, .timestamp = CLIENT_NO_TIME, .value = value});
}

static void a_schema_that_is_looked_up_holds_its_partition(void **state) {
    (void)state;
    Error error = {0};
    begin_world(RECORD_AVRO, SINK("b", REJECT, META("offset") "," BODY), NULL, NULL);
    ScriptedRegistry *server = scripted_registry_start();
    scripted_registry_answer(server, 200, "{\"schema\":\"\\\"int\\\"\"}");
    SchemaRegistrySettings settings = {.url = scripted_registry_url(server)};
    assert_int_equal(schema_registry_open(&settings, &test_clock, &world.reader.registry, &error), 0);
    for (int round = 0; round < 2; round++) {
        add_span(0, 0, (Span)FRAMED("\7", "\x0e"));
        micro_batch_add(world.batch, 1, &(ClientRecord){.offset = 0}); /* a tombstone has no schema */
        make();
        goes_on(1, 1);
        if (round == 0) {
            stops(0, MICRO_LATER, 0, "The schema of the record is being looked up.");
            rows_are(1, "");
            runs_are(1, "1:0-1=0");
            schema_registry_wait(world.reader.registry, 60 * USEC_SECOND);
        } else {
            goes_on(0, 1);
            rows_are(1, "0,7\n");
        }
        micro_batch_clear(world.batch);
    }
    /* A number that is not known: for later, for 5 minutes. */
    scripted_registry_answer(server, 404, UNKNOWN);
    usec_t begin = now;
    for (int tries = 0; now < begin + 5 * USEC_MINUTE; now += 30 * USEC_SECOND) {
        add_span(0, 1, (Span)FRAMED("\x8", "\x0e"));
        make();
        schema_registry_wait(world.reader.registry, 60 * USEC_SECOND);
        stops(0, MICRO_LATER, 1,
              tries == 0 ? "The schema of the record is being looked up."
                         : "The value cannot be read yet: the schema registry has no schema 8.");
        if (tries++ == 1) begin = now; /* the time counts from then on */
        micro_batch_clear(world.batch);
    }
    add_span(0, 1, (Span)FRAMED("\x8", "\x0e"));
    make();
    stops(0, MICRO_POISON, 1, "Sink \"b\": The value cannot be read: the schema registry has no schema 8.");
    micro_batch_clear(world.batch);
    /* While the registry is down nobody can tell, and the time begins anew. */
    scripted_registry_answer(server, 500, "{}");
    now += 10 * USEC_SECOND;
    for (int i = 0; i < 3; i++) {
        add_span(0, 1, (Span)FRAMED("\x8", "\x0e"));
        make();
        schema_registry_wait(world.reader.registry, 60 * USEC_SECOND);
        if (i == 2 && !strstr(result_of(0)->reason, "The schema registry does not work: ")) fail_msg("%s", result_of(0)->reason);
        micro_batch_clear(world.batch);
    }
    scripted_registry_answer(server, 404, UNKNOWN);
    now += 60 * USEC_SECOND;
    for (int i = 0; i < 3; i++) {
        add_span(0, 1, (Span)FRAMED("\x8", "\x0e"));
        make();
        schema_registry_wait(world.reader.registry, 60 * USEC_SECOND);
        assert_int_equal(result_of(0)->stop, MICRO_LATER);
        micro_batch_clear(world.batch);
    }
    /* The next record has its own time. */
    add_span(0, 2, (Span)FRAMED("\x8", "\x0e"));
    make();
    assert_int_equal(result_of(0)->stop, MICRO_LATER);
    micro_batch_clear(world.batch);
    /* A record that is not of its schema is poison at once. */
    add_span(0, 2, (Span)FRAMED("\7", ""));
    make();
    assert_int_equal(result_of(0)->stop, MICRO_POISON);
    schema_registry_close(world.reader.registry);
    scripted_registry_stop(server);
}

static void a_registry_that_is_down_is_named(void **state) {
    (void)state;
    Error error = {0};
    begin_world(RECORD_JSON_SCHEMA, SINK("t", QUARANTINE, META("offset") "," TEMPLATE), NULL, NULL);
    ScriptedRegistry *server = scripted_registry_start();
    scripted_registry_answer(server, 500, "{}");
    SchemaRegistrySettings settings = {.url = scripted_registry_url(server), .kind = SCHEMA_JSON};
    assert_int_equal(schema_registry_open(&settings, &test_clock, &world.reader.registry, &error), 0);
    add_span(0, 0, (Span)FRAMED("\7", "{}"));
    add_span(0, 1, (Span)FRAMED("\7", "{}"));
    assert_null(ask());
    schema_registry_wait(world.reader.registry, 60 * USEC_SECOND);
    assert_null(ask()); /* nothing that can be read now */
    make();
    assert_null(world.append);
    assert_int_equal(result_of(0)->stop, MICRO_LATER);
    if (!strstr(result_of(0)->reason, "The schema registry does not work: ")) fail_msg("%s", result_of(0)->reason);
    schema_registry_close(world.reader.registry);
    scripted_registry_stop(server);
}

/* ---- any course ------------------------------------------------------------------------------ */

enum { RECORDS = 120, KINDS = 6 };
typedef enum RecordSort { GAP, GOOD, LARGE, BAD, TOMBSTONE, TORN } RecordSort;

typedef struct Broker {
    RecordSort sorts[PARTITIONS][RECORDS];
    bool skipped[PARTITIONS][RECORDS];
    int64_t begin[PARTITIONS][3];  /* where the sink begins */
    int64_t stored[PARTITIONS][3]; /* what is stored of it ends here */
    Buffer rows[3];
    unsigned rejects[3][PARTITIONS][RECORDS];
    Uuid ids[PARTITIONS][RECORDS];
    char *large;
} Broker;

static void add_of(const Broker *broker, size_t partition, int64_t offset) {
    char text[40];
    switch (broker->sorts[partition][offset]) {
    case GAP: return;
    case GOOD:
        (void)snprintf(text, sizeof text, "{\"a\":%d}", (int)offset);
        add(partition, offset, text);
        return;
    case LARGE: add(partition, offset, broker->large); return;
    case BAD: add(partition, offset, "{\"b\":1}"); return;
    case TOMBSTONE: micro_batch_add(world.batch, partition, &(ClientRecord){.offset = offset}); return;
    case TORN: add(partition, offset, "{\"a\":"); return;
    }
}

/* A writer that takes it, or does not. */
static void store(Broker *broker) {
    for (size_t i = 0; i < world.append->sink_count; i++) {
        const AppendSink *sink = &world.append->sinks[i];
        for (size_t r = 0; r < sink->run_count; r++) {
            int64_t *stored = &broker->stored[world.append->partitions[sink->runs[r].partition].partition][sink->sink - 1];
            assert_int_equal(sink->runs[r].sets_end, *stored < 0);
            if (*stored < 0) *stored = sink->runs[r].first;
            assert_int_equal(sink->runs[r].first, *stored);
            *stored = sink->runs[r].next;
        }
        buffer_append_span(&broker->rows[sink->sink - 1], buffer_span(&sink->rows));
    }
    for (size_t i = 0; i < world.append->reject_count; i++)
        for (size_t p = 0; p < PARTITIONS; p++)
            for (size_t o = 0; o < RECORDS; o++)
                if (uuid_equal(&broker->ids[p][o], &world.append->rejects[i].event))
                    broker->rejects[world.append->rejects[i].sink - 1][p][o]++;
}

static void go_back(const Broker *broker) {
    for (size_t p = 0; p < PARTITIONS; p++)
        for (size_t s = 0; s < world.sinks; s++) {
            world.next[p][s] = broker->stored[p][s] < 0 ? broker->begin[p][s] : broker->stored[p][s];
            world.sets_end[p][s] = broker->stored[p][s] < 0;
        }
}

static bool is_through(const Broker *broker) {
    for (size_t p = 0; p < PARTITIONS; p++)
        for (size_t s = 0; s < world.sinks; s++)
            if (broker->stored[p][s] < RECORDS) return false;
    return true;
}

static void one_batch(Broker *broker, Random *random) {
    for (size_t p = 0; p < PARTITIONS; p++) {
        int64_t at = RECORDS, left = (int64_t)random_below(random, 30);
        for (size_t s = 0; s < world.sinks; s++) at = world.next[p][s] < at ? world.next[p][s] : at;
        for (; left > 0 && at < RECORDS; left--, at++) add_of(broker, p, at);
        if (left > 0) micro_batch_end(world.batch, p, at);
        if (random_below(random, 20) == 0) micro_batch_forget(world.batch, p);
    }
    make();
    for (size_t i = 0; i < world.result_count; i++) {
        const MicroResult *result = &world.results[i];
        world.partitions[result->partition].skip = -1;
        if (result->stop == MICRO_GOES_ON) continue;
        assert_int_equal(result->stop, MICRO_POISON);
        RecordSort sort = broker->sorts[result->partition][result->offset];
        assert_true(sort == BAD || sort == TORN);
        if (random_below(random, 2)) { /* somebody does */
            world.partitions[result->partition].skip = result->offset;
            broker->skipped[result->partition][result->offset] = true;
        }
    }
    bool refused = world.append && random_below(random, 5) == 0;
    if (world.append && !refused) store(broker);
    if (refused || random_below(random, 10) == 0) go_back(broker);
    back(refused ? APPEND_MISPLACED : APPEND_DONE);
    micro_batch_clear(world.batch);
}

static bool is_row(RecordSort sort) {
    return sort == GOOD || sort == LARGE;
}

/* Each record from where a sink began is a row, a reject or nothing, once, in order. */
static void sink_is_whole(const Broker *broker, size_t sink) {
    int64_t at[PARTITIONS];
    for (size_t p = 0; p < PARTITIONS; p++) at[p] = broker->begin[p][sink];
    for (const char *row = broker->rows[sink].data, *stop = row + broker->rows[sink].size; row < stop;) {
        char *end;
        long partition = strtol(row, &end, 10), offset = strtol(end + 1, NULL, 10);
        for (; at[partition] < offset; at[partition]++) assert_false(is_row(broker->sorts[partition][at[partition]]));
        assert_int_equal(at[partition]++, offset);
        assert_true(is_row(broker->sorts[partition][offset]));
        row = (const char *)memchr(row, '\n', (size_t)(stop - row)) + 1;
    }
    for (size_t p = 0; p < PARTITIONS; p++) {
        for (; at[p] < RECORDS; at[p]++) assert_false(is_row(broker->sorts[p][at[p]]));
        for (int64_t o = 0; o < RECORDS; o++) {
            bool bad = o >= broker->begin[p][sink] && (broker->sorts[p][o] == BAD || broker->sorts[p][o] == TORN);
            unsigned rejects = broker->rejects[sink][p][o];
            assert_true(rejects <= bad && (sink > 0 || rejects == 0));
            assert_true(!bad || rejects == 1 || broker->skipped[p][o]);
        }
    }
}

static void any_course_gives_each_record_once(void **state) {
    (void)state;
    Random random = {.state = 20250301};
    begin_world(RECORD_JSON, PLACED("p", REJECT), PLACED("q", QUARANTINE), PLACED("r", QUARANTINE));
    Broker *broker = calloc(1, sizeof *broker);
    broker->large = text_of(190000, ' ');
    memcpy(broker->large, "{\"a\":\"", 6);
    memset(broker->large + 6, 'x', 189000);
    memcpy(broker->large + 189006, "\"}", 2);
    for (unsigned round = 0; round < 100; round++) {
        for (size_t s = 0; s < 3; s++) buffer_clear(&broker->rows[s]);
        memset(broker->rejects, 0, sizeof broker->rejects);
        memset(broker->skipped, 0, sizeof broker->skipped);
        unsigned good = (unsigned)random_below(&random, 100);
        for (size_t p = 0; p < PARTITIONS; p++) {
            for (size_t o = 0; o < RECORDS; o++) {
                RecordSort sort = random_below(&random, 100) < good ? GOOD : (RecordSort)random_below(&random, KINDS);
                if (sort == LARGE && random_below(&random, 3)) sort = TOMBSTONE;
                broker->sorts[p][o] = sort;
                record_id(&world.partitions[p].space, (int64_t)o, 0, &broker->ids[p][o]);
            }
            for (size_t s = 0; s < 3; s++) {
                broker->begin[p][s] = (int64_t)random_below(&random, random_below(&random, 2) ? 1 : RECORDS);
                broker->stored[p][s] = -1;
            }
        }
        go_back(broker);
        for (unsigned batches = 0; !is_through(broker); batches++) {
            assert_true(batches < 20000);
            one_batch(broker, &random);
        }
        for (size_t s = 0; s < 3; s++) sink_is_whole(broker, s);
    }
    for (size_t s = 0; s < 3; s++) buffer_deinit(&broker->rows[s]);
    free(broker->large);
    free(broker);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* ---- columns that are inferred --------------------------------------------------------------- */

static MicroMade try_make(void) {
    return micro_batch_make(world.batch, world.snapshot, world.source, world.partitions, &world.append, &world.results, &world.result_count,
                            &world.counts);
}

/* The message of the snapshot's mailbox; how many columns were discovered. */
static size_t discovered(void) {
    size_t count;
    Message *message = mailbox_take(world.gone);
    if (!message) return 0;
    assert_null(message->next);
    Discoveries *told = discoveries_of(message);
    InferredColumn *columns = discoveries_take(told, &count);
    inferred_columns_free(columns, count);
    discoveries_unref(told);
    return count;
}

/* A batch waits for the columns that it lacks, and has them when they are there; without patience
 * they are in the rest. */
static void a_batch_waits_for_columns(void **state) {
    (void)state;
    infers = 100;
    begin_world(RECORD_JSON, SINK("i", QUARANTINE, "{\"name\":\"body\",\"type\":\"body\"}"), SINK("b", QUARANTINE, BODY), NULL);
    micro_batch_set_patience(world.batch, true);
    add(0, 0, "{\"n\":1}");
    add(1, 0, "not JSON");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(try_make(), MICRO_WAITS);
        assert_null(world.append);
        assert_false(micro_batch_is_empty(world.batch));
        assert_int_equal(world.usage.in_flight_bytes, 0);
        assert_int_equal(world.next[0][0], 0);
        assert_int_equal(discovered(), 1);
    }
    /* The new version. */
    inferred[0] = (InferredColumn){.path = (char *)(uintptr_t) "n", .type = DATA_INTEGER, .name = (char *)(uintptr_t) "n"};
    inferred_count = 1;
    const char *texts[2] = {SINK("i", QUARANTINE, "{\"name\":\"body\",\"type\":\"body\"}"), SINK("b", QUARANTINE, BODY)};
    SnapshotSource *old = world.source;
    Snapshot *before = world.snapshot;
    world.source = source_of("tap", texts, 2, 9);
    world.snapshot = snapshot_new(2, &world.source, 1, world.gone);
    snapshot_source_unref(old);
    snapshot_unref(before);
    snapshot_gone_free((SnapshotGone *)mailbox_take(world.gone));
    make();
    assert_non_null(strstr(buffer_text(&world.append->sinks[0].rows), ",\"{\"\"n\"\":1}\",1,\n"));
    assert_int_equal(world.append->reject_count, 1);
    assert_int_equal(discovered(), 0);
    runs_are(1, "0:0-1=1 1:0-1=0");
    /* Another field, and no patience any more. */
    micro_batch_clear(world.batch);
    add(0, 1, "{\"n\":2,\"m\":3}");
    assert_int_equal(try_make(), MICRO_WAITS);
    micro_batch_set_patience(world.batch, false);
    make();
    assert_non_null(strstr(buffer_text(&world.append->sinks[0].rows), ",2,\"{\"\"m\"\":3}\"\n"));
    runs_are(1, "0:1-2=1");
    assert_int_equal(discovered(), 1);
}

/* A sink that is full lacks nothing. */
static void a_full_sink_does_not_wait(void **state) {
    (void)state;
    infers = 4;
    begin_world(RECORD_JSON, SINK("i", QUARANTINE, BODY), NULL, NULL);
    micro_batch_set_patience(world.batch, true);
    add(0, 0, "{\"n\":1}");
    make();
    assert_int_equal(discovered(), 0);
    runs_are(1, "0:0-1=1");
}

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
        TEST(a_run_is_cut_where_its_piece_is_full),
        TEST(what_is_too_much_for_one_append_is_for_the_next),
        TEST(without_room_everything_is_as_before),
        TEST(a_batch_is_full_and_is_forgotten),
        TEST(a_record_has_meta_values_and_headers),
        TEST(a_message_of_jetstream_has_its_own),
        TEST(messages_that_are_acked_have_no_runs),
        TEST(templates_are_evaluated_elsewhere),
        TEST(messages_that_are_acked_have_templates),
        TEST(what_could_not_be_evaluated_is_asked_for_again),
        TEST(results_that_come_too_late_are_dropped),
        TEST(a_schema_that_is_looked_up_holds_its_partition),
        TEST(a_registry_that_is_down_is_named),
        TEST(any_course_gives_each_record_once),
        TEST(a_batch_waits_for_columns),
        TEST(a_full_sink_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
