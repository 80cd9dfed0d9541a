/*
 * Records of a broker to an Append, one thread: what a bridge's thread does besides the broker's
 * client.
 *
 *   micro EVENT.json [--batches N] [--records N] [--partitions N] [--meta]
 *
 * Batches of records of one event, each with a key of 12 bytes, into one sink of 7 columns (an id,
 * a time, 5 paths; --meta: partition and offset in the place of two paths). Prints nanoseconds of
 * processor time a record: of all of it, of its two halves, and of the mapping of the same events
 * alone.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/sources/micro_batch.h"
#include "mapping/record_id.h"
#include "tests/support/number.h"

enum { PARTITIONS_MAX = 1000, ROW_BYTES = 1 << 20, ROWS_BYTES = 1 << 28 };

typedef struct Bench {
    unsigned long batches, records, partitions;
    bool meta;
    Usage usage;
    SnapshotSource *source;
    Snapshot *snapshot;
    Mailbox *gone;
    RowMaker *maker;
    MicroBatch *batch;
    MicroPartition *at;
    Span event;
    double add, make, map; /* seconds */
    uint64_t row_bytes;
} Bench;

static double cpu_seconds(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void make_source(Bench *bench) {
    static const char *const paths[][2] = {{"issue_id", "issue.id"},
                                           {"issue_key", "issue.key"},
                                           {"summary", "issue.fields.summary"},
                                           {"user_name", "user.name"},
                                           {"amount", "amount"}};
    json_t *columns = json_pack("[{s:s,s:s},{s:s,s:s}]", "type", "id", "name", "id", "type", "datetime", "name", "received");
    size_t first = bench->meta ? 2 : 0;
    if (bench->meta) {
        json_array_append_new(columns, json_pack("{s:s,s:s,s:s}", "type", "meta", "name", "place", "field", "partition"));
        json_array_append_new(columns, json_pack("{s:s,s:s,s:s}", "type", "meta", "name", "at", "field", "offset"));
    }
    for (size_t i = first; i < sizeof paths / sizeof *paths; i++)
        json_array_append_new(columns,
                              json_pack("{s:s,s:s,s:s,s:b}", "type", "path", "name", paths[i][0], "path", paths[i][1], "rawString", 1));
    json_t *body = json_pack("{s:s,s:s,s:s,s:{s:s,s:{s:o}}}", "sinkId", "t", "name", "t", "type", "table", "table", "tableId", "t",
                             "mapping", "columns", columns);
    json_t *declared = json_pack("{s:s,s:s,s:s}", "sourceId", "s", "name", "s", "type", "tap");
    Source *source;
    Sink *sink;
    Plan *plan;
    Error error = {0};
    check(body && declared && source_from_request(declared, &source, &error) == 0);
    if (sink_from_request(body, true, &sink, &error) < 0 || plan_compile(source, &sink, 1, &plan, &error) < 0) {
        (void)fprintf(stderr, "micro: %s\n", error.text);
        exit(1);
    }
    sink->number = 1;
    SinkGate *gate = sink_gate_new();
    bool waits = true;
    bench->source = snapshot_source_new(source, plan, &gate, &waits, NULL, 0, NULL);
    sink_gate_unref(gate);
    plan_unref(plan);
    sink_unref(sink);
    source_unref(source);
    json_decref(body);
    json_decref(declared);
}

static void make_partitions(Bench *bench) {
    bench->at = calloc(bench->partitions, sizeof *bench->at);
    check(bench->at);
    for (unsigned long i = 0; i < bench->partitions; i++) {
        MicroPartition *partition = &bench->at[i];
        *partition = (MicroPartition){.key = {.cluster = (char *)"MkU3OEVBNTcwNTJENDM2Qg",
                                              .group = (char *)"sluice-1-orders",
                                              .topic = (char *)"shop.orders",
                                              .topic_id = (char *)"",
                                              .partition = (int32_t)i},
                                      .skip = -1,
                                      .next = calloc(1, sizeof(int64_t)),
                                      .sets_end = calloc(1, sizeof(bool))};
        record_id_space(span_of(partition->key.cluster), span_of(partition->key.topic), 0, (int32_t)i, &partition->space);
    }
}

static void run_batch(Bench *bench) {
    Append *append;
    const MicroResult *results;
    size_t result_count;
    MicroCounts counts;
    double start = cpu_seconds();
    for (unsigned long i = 0; i < bench->records; i++) {
        unsigned long partition = i % bench->partitions;
        ClientRecord record = {.offset = bench->at[partition].next[0] + (int64_t)(i / bench->partitions),
                               .timestamp = 1700000000000000,
                               .key = SPAN("customer-012"),
                               .value = bench->event};
        micro_batch_add(bench->batch, partition, &record);
    }
    double added = cpu_seconds();
    check(micro_batch_make(bench->batch, bench->snapshot, bench->source, bench->at, &append, &results, &result_count, &counts) ==
          MICRO_MADE);
    check(append && counts.records == bench->records && append->reject_count == 0);
    bench->row_bytes += append->sinks[0].rows.size;
    append->result = APPEND_DONE;
    row_maker_settle(bench->maker, append);
    row_maker_recycle(bench->maker, append);
    micro_batch_clear(bench->batch);
    bench->add += added - start;
    bench->make += cpu_seconds() - added;
}

static void map_alone(Bench *bench) {
    Mapper *mapper = mapper_new(ROW_BYTES);
    Buffer rows = {0}, *const buffers[] = {&rows};
    MapFailure failure;
    EventMeta meta = {.values[META_PARTITION] = SPAN("0"), .values[META_OFFSET] = SPAN("1234567")};
    Event event = {.body = bench->event, .kind = BODY_JSON, .received = 1700000000000000, .meta = &meta};
    double start = cpu_seconds();
    for (unsigned long i = 0; i < bench->batches * bench->records; i++) {
        if (i % bench->records == 0) buffer_clear(&rows);
        check(mapper_map(mapper, bench->source->plan, &event, buffers, &failure) == 0);
    }
    bench->map = cpu_seconds() - start;
    mapper_free(mapper);
    buffer_deinit(&rows);
}

static void run(Bench *bench) {
    bench->usage.in_flight_limit = 1u << 30;
    bench->gone = mailbox_new(NULL, NULL);
    bench->snapshot = snapshot_new(1, &bench->source, 1, bench->gone);
    bench->maker = row_maker_new(ROW_BYTES, ROWS_BYTES, &bench->usage);
    RecordReader reader = {.kind = RECORD_JSON, .event_bytes_max = ROW_BYTES};
    bench->batch = micro_batch_new(&(MicroOptions){.maker = bench->maker,
                                                   .reader = &reader,
                                                   .event_bytes = ROW_BYTES,
                                                   .records_max = bench->records,
                                                   .bytes_max = 8 << 20,
                                                   .clock = clock_system()});
    for (int i = 0; i < 3; i++) run_batch(bench);
    bench->add = bench->make = 0;
    bench->row_bytes = 0;
    for (unsigned long i = 0; i < bench->batches; i++) run_batch(bench);
    micro_batch_free(bench->batch);
    row_maker_free(bench->maker);
    record_reader_deinit(&reader);
}

static void end(Bench *bench) {
    for (unsigned long i = 0; i < bench->partitions; i++) {
        free(bench->at[i].next);
        free(bench->at[i].sets_end);
    }
    free(bench->at);
    snapshot_source_unref(bench->source);
    snapshot_unref(bench->snapshot);
    snapshot_gone_free((SnapshotGone *)mailbox_take(bench->gone));
    mailbox_free(bench->gone);
}

static char *read_event(const char *path) {
    char *text = NULL;
    size_t room = 0;
    FILE *file = fopen(path, "re");
    ssize_t size = file ? getline(&text, &room, file) : -1;
    if (size <= 0) {
        (void)fprintf(stderr, "micro: %s cannot be read\n", path);
        exit(1);
    }
    (void)fclose(file);
    text[strcspn(text, "\n")] = 0;
    return text;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"batches", required_argument, NULL, 'b'},
                                            {"records", required_argument, NULL, 'r'},
                                            {"partitions", required_argument, NULL, 'p'},
                                            {"meta", no_argument, NULL, 'm'},
                                            {0}};
    Bench bench = {.batches = 300, .records = 3000, .partitions = 4};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (option) {
        case 'b': bench.batches = number_of(optarg, 1, 1000000); break;
        case 'r': bench.records = number_of(optarg, 1, 100000); break;
        case 'p': bench.partitions = number_of(optarg, 1, PARTITIONS_MAX); break;
        case 'm': bench.meta = true; break;
        default: return 2;
        }
    if (optind + 1 != argc) return 2;
    char *event = read_event(argv[optind]);
    bench.event = span_of(event);
    make_source(&bench);
    make_partitions(&bench);
    run(&bench);
    map_alone(&bench);
    double records = (double)(bench.batches * bench.records), nano = 1e9 / records;
    (void)printf("%zu B of JSON, %.0f B a row: %.0f ns a record (gather %.0f, rows and runs %.0f; the mapping alone %.0f)\n",
                 bench.event.size, (double)bench.row_bytes / records, (bench.add + bench.make) * nano, bench.add * nano, bench.make * nano,
                 bench.map * nano);
    end(&bench);
    free(event);
    return 0;
}
