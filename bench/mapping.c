/*
 * The mapping alone, one process, one thread, beside simdjson and jansson on the same bytes: GB/s
 * of JSON by processor time, medians of alternating rounds. docs/performance.md says what P4 and
 * P11 are; bench/run runs this.
 *
 *   mapping EVENT.json [--rounds N] [--seconds S] [--sinks N] [--corpus NAME] [--only NAME]… [--events FILE.ndjson] [--json]
 *   mapping EVENT.json --corpus NAME --only NAME --passes N    no clock: N times through the corpus, for callgrind; two N, and the difference
 *   mapping EVENT.json --list                                  what there is, as JSON
 *
 * Contenders: map (the whole mapping for one sink), map-sinks (for --sinks of them), map-infer (for
 * a sink that has inferred a column for each field of the corpus), map-columns (for a sink that
 * declares the same columns), scan-KERNEL (the scanner with the plan's paths), simdjson (DOM of
 * each event, parser and padding there already), simdjson-many (DOM of all of them as ndjson),
 * jansson.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buffer.h"
#include "base/keyed_hash.h"
#include "base/text.h"
#include "bench/corpus.h"
#include "config/column_name.h"
#include "config/inference.h"
#include "config/inferred_type.h"
#include "mapping/plan_parts.h"
#include "mapping/scanner.h"
#include "tests/support/number.h"
#include "tests/support/simdjson_peer.h"

enum { CONTENDERS_MAX = 16, CORPORA_MAX = 16, ROUNDS_MAX = 101, ONLY_MAX = 8 };
enum { ROW_BYTES_MAX = 2 << 20, ROWS_KEPT_BYTES = 64 << 10, MANY_BATCH_BYTES = 1000000 };

/* One plan with what it writes to. */
typedef struct Mapping {
    Plan *plan;
    Mapper *mapper;
    Buffer buffers[SINKS_A_SOURCE_MAX];
    Buffer *rows[SINKS_A_SOURCE_MAX];
    MapFailure failures[SINKS_A_SOURCE_MAX];
    usec_t now;
    uint64_t events;
} Mapping;

typedef struct Bench {
    Mapping one, many;
    Mapping infer[CORPORA_MAX], columns[CORPORA_MAX]; /* by corpus; made when they are asked for */
    const Corpus *corpora;
    Scanner scanner;
    SimdjsonPeer *simdjson, *simdjson_many;
} Bench;

typedef struct Contender {
    char name[32];
    void (*run)(Bench *bench, const struct Contender *self, const Corpus *corpus);
    const ScanKernel *kernel;
    double seen[CORPORA_MAX][ROUNDS_MAX]; /* GB/s */
} Contender;

static _Noreturn void die(const char *what, const char *detail) {
    (void)fprintf(stderr, "mapping: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
    exit(1);
}

/* -- contenders -- */

static Sink *make_sink(size_t number, bool with_defaults) {
    static const char *const paths[][2] = {{"issue_id", "issue.id"},
                                           {"issue_key", "issue.key"},
                                           {"summary", "issue.fields.summary"},
                                           {"user_name", "user.name"},
                                           {"amount", "amount"}};
    json_t *columns = json_pack("[{s:s,s:s},{s:s,s:s}]", "type", "id", "name", "id", "type", "datetime", "name", "received");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        json_t *column = json_pack("{s:s,s:s,s:s,s:b}", "type", "path", "name", paths[i][0], "path", paths[i][1], "rawString", 1);
        check(column);
        if (with_defaults) json_object_set_new(column, "defaultValue", json_string(""));
        json_array_append_new(columns, column);
    }
    char id[32];
    (void)snprintf(id, sizeof id, "sink-%zu", number);
    json_t *body = json_pack("{s:s,s:s,s:s,s:{s:s,s:{s:o}}}", "sinkId", id, "name", id, "type", "table", "table", "tableId", id, "mapping",
                             "columns", columns);
    check(body);
    Sink *sink;
    Error error = {0};
    if (sink_from_request(body, true, &sink, &error) < 0) die("no sink", error.text);
    json_decref(body);
    return sink;
}

static void mapping_start(Mapping *mapping, Sink **sinks, size_t sink_count) {
    json_t *body = json_pack("{s:s}", "name", "bench");
    Source *source = NULL;
    Error error = {0};
    if (source_from_request(body, &source, &error) < 0) die("no source", error.text);
    json_decref(body);
    plan_unref(mapping->plan);
    mapping->plan = NULL;
    if (plan_compile(source, sinks, sink_count, &mapping->plan, &error) < 0) die("no plan", error.text);
    source_unref(source);
    for (size_t i = 0; i < sink_count; i++) mapping->rows[i] = &mapping->buffers[i];
    if (!mapping->mapper) mapping->mapper = mapper_new(ROW_BYTES_MAX);
    mapping->now = 1795262400 * USEC_SECOND;
}

static void mapping_init(Mapping *mapping, size_t sink_count, bool with_defaults) {
    Sink *sinks[SINKS_A_SOURCE_MAX] = {NULL};
    for (size_t i = 0; i < sink_count; i++) sinks[i] = make_sink(i, with_defaults);
    mapping_start(mapping, sinks, sink_count);
    for (size_t i = 0; i < sink_count; i++) sink_unref(sinks[i]);
}

static void mapping_deinit(Mapping *mapping) {
    for (size_t i = 0; i < SINKS_A_SOURCE_MAX; i++) buffer_deinit(&mapping->buffers[i]);
    mapper_free(mapping->mapper);
    plan_unref(mapping->plan);
}

static void map_events(Mapping *mapping, const Corpus *corpus) {
    size_t sinks = plan_sink_count(mapping->plan);
    Event event = {.kind = BODY_JSON};
    for (size_t i = 0; i < corpus->count; i++) {
        event.body = corpus->events[i];
        event.received = mapping->now += 3;
        uint64_t number = ++mapping->events;
        memcpy(event.id.bytes, &number, sizeof number);
        if (mapper_map(mapping->mapper, mapping->plan, &event, mapping->rows, mapping->failures))
            die("an event was not mapped", mapping->failures[0].message);
        if (mapping->buffers[0].size < ROWS_KEPT_BYTES) continue;
        for (size_t k = 0; k < sinks; k++) buffer_clear(&mapping->buffers[k]);
    }
}

/* -- columns that are inferred, and the same ones declared -- */

typedef struct Fields {
    InferredColumn *items;
    size_t count;
} Fields;

static void note_field(Fields *fields, const MapDiscovery *found) {
    for (size_t i = 0; i < fields->count; i++) {
        if (!span_equal(span_of(fields->items[i].path), found->path)) continue;
        fields->items[i].type = inferred_type_widen(fields->items[i].type, found->type);
        return;
    }
    fields->items = reallocarray(fields->items, fields->count + 1, sizeof *fields->items);
    check(fields->items);
    char name[32];
    (void)snprintf(name, sizeof name, "c%zu", fields->count);
    fields->items[fields->count++] = (InferredColumn){
        .path = strndup(found->path.data, found->path.size), .type = found->type, .name = text_copy(name)};
}

/* Of what the sink lacks for the corpus. */
static Fields find_fields(Mapping *mapping, const Corpus *corpus) {
    Fields fields = {0};
    for (size_t i = 0; i < corpus->count; i++) {
        Event event = {.kind = BODY_JSON, .body = corpus->events[i]};
        size_t count;
        buffer_clear(&mapping->buffers[0]);
        if (mapper_map(mapping->mapper, mapping->plan, &event, mapping->rows, mapping->failures))
            die("an event was not mapped", mapping->failures[0].message);
        const MapDiscovery *found = mapper_discoveries(mapping->mapper, &count);
        for (size_t k = 0; k < count; k++) note_field(&fields, &found[k]);
    }
    buffer_clear(&mapping->buffers[0]);
    return fields;
}

static Sink *sink_of(json_t *take_mapping) {
    json_t *body = json_pack("{s:s,s:s,s:s,s:{s:s,s:o}}", "sinkId", "b", "name", "b", "type", "table", "table", "tableId", "b", "mapping",
                             take_mapping);
    Sink *sink;
    Error error = {0};
    check(body);
    if (sink_from_request(body, true, &sink, &error) < 0) die("no sink", error.text);
    json_decref(body);
    return sink;
}

/* The columns of a sink that infers, without its rest. */
static json_t *declared(const Sink *inferred) {
    static const char *const defaults[DATA_TYPE_COUNT] = {[DATA_INTEGER] = "0",
                                                          [DATA_DECIMAL] = "0",
                                                          [DATA_BOOLEAN] = "false",
                                                          [DATA_TIMESTAMP] = "2026-01-01T00:00:00Z",
                                                          [DATA_JSON] = "null"};
    json_t *columns = json_array();
    for (size_t i = 0; i + 1 < inferred->target.column_count; i++) {
        const Column *from = &inferred->target.columns[i];
        if (from->inferred == COLUMN_DECLARED) continue; /* the one that every sink must have */
        json_t *column = json_pack("{s:s,s:s,s:s}", "type", column_type_name(from->type), "name", from->name, "dataType",
                                   data_type_name(from->data_type));
        check(column);
        if (from->type == COLUMN_PATH) {
            const char *missing = defaults[from->data_type];
            json_object_set_new(column, "path", json_string(from->path));
            json_object_set_new(column, "rawString", json_boolean(from->raw_string));
            json_object_set_new(column, "defaultValue", json_string(missing ? missing : ""));
        }
        json_array_append_new(columns, column);
    }
    return json_pack("{s:o}", "columns", columns);
}

static void prepare_fields(Bench *bench, const Corpus *corpus) {
    size_t number = (size_t)(corpus - bench->corpora);
    Mapping *infer = &bench->infer[number], *columns = &bench->columns[number];
    if (infer->plan) return;
    json_t *one = json_pack("{s:[{s:s,s:s}]}", "columns", "type", "id", "name", "own_id");
    Sink *sink = sink_of(one);
    json_t *body = json_pack("{s:s}", "name", "bench");
    Source *source = NULL;
    Error error = {0};
    if (source_from_request(body, &source, &error) < 0) die("no source", error.text);
    json_decref(body);
    sink->target.infer = calloc(1, sizeof *sink->target.infer);
    check(sink->target.infer);
    *sink->target.infer = (Inference){.depth = 5, .max_columns = COLUMNS_INFERRED_MAX};
    sink_complete(source, sink);
    source_unref(source);
    mapping_start(infer, &sink, 1);
    Fields fields = find_fields(infer, corpus);
    Sink *full = sink_copy(sink);
    (void)inference_add(&full->target, fields.items, fields.count);
    sink_unref(sink);
    mapping_start(infer, &full, 1);
    inferred_columns_free(fields.items, fields.count);
    fields = find_fields(infer, corpus);
    if (fields.count > 0) die("the corpus has a shape that is not stable", fields.items[0].path);
    sink = sink_of(declared(full));
    mapping_start(columns, &sink, 1);
    sink_unref(sink);
    sink_unref(full);
}

static void run_map_infer(Bench *bench, const Contender *self, const Corpus *corpus) {
    (void)self;
    prepare_fields(bench, corpus);
    map_events(&bench->infer[corpus - bench->corpora], corpus);
}

static void run_map_columns(Bench *bench, const Contender *self, const Corpus *corpus) {
    (void)self;
    prepare_fields(bench, corpus);
    map_events(&bench->columns[corpus - bench->corpora], corpus);
}

static void run_map(Bench *bench, const Contender *self, const Corpus *corpus) {
    (void)self;
    map_events(&bench->one, corpus);
}

static void run_map_sinks(Bench *bench, const Contender *self, const Corpus *corpus) {
    (void)self;
    map_events(&bench->many, corpus);
}

static void run_scan(Bench *bench, const Contender *self, const Corpus *corpus) {
    ScanFault fault;
    /* As scanner_run does for the kernel of its choice; it also makes the room that a path set
     * needs. */
    if (scanner_run(&bench->scanner, bench->one.plan->paths, SPAN("{}"), &fault)) die("{} was refused", fault.what);
    for (size_t i = 0; i < corpus->count; i++) {
        scanner_renew(&bench->scanner);
        if (self->kernel->run(&bench->scanner, bench->one.plan->paths, corpus->events[i], &fault)) die("an event was refused", fault.what);
    }
}

static void run_simdjson(Bench *bench, const Contender *self, const Corpus *corpus) {
    (void)self;
    for (size_t i = 0; i < corpus->count; i++)
        if (!simdjson_peer_parse(bench->simdjson, corpus->events[i].data, corpus->events[i].size)) die("simdjson refused an event", NULL);
}

static void run_simdjson_many(Bench *bench, const Contender *self, const Corpus *corpus) {
    (void)self;
    size_t batch = corpus->longest < MANY_BATCH_BYTES ? MANY_BATCH_BYTES : corpus->longest + 1;
    if (simdjson_peer_parse_many(bench->simdjson_many, corpus->text.data, corpus->text.size, batch) != (long)corpus->count)
        die("simdjson refused an event", NULL);
}

static void run_jansson(Bench *bench, const Contender *self, const Corpus *corpus) {
    (void)bench, (void)self;
    for (size_t i = 0; i < corpus->count; i++) {
        json_error_t error;
        json_t *document = json_loadb(corpus->events[i].data, corpus->events[i].size, 0, &error);
        if (!document) die("jansson refused an event", error.text);
        json_decref(document);
    }
}

/* -- rounds -- */

/* Of this thread alone: what else the machine does costs less of the figure's truth. */
static double now_seconds(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* GB/s of passes over the whole corpus for `seconds`. */
static double measure(Bench *bench, const Contender *contender, const Corpus *corpus, double seconds) {
    contender->run(bench, contender, corpus); /* warm */
    size_t passes = 0;
    double begin = now_seconds(), took;
    do {
        contender->run(bench, contender, corpus);
        passes++;
        took = now_seconds() - begin;
    } while (took < seconds);
    return (double)corpus->bytes * (double)passes / took / 1e9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct MappingOptions {
    unsigned rounds;
    double seconds;
    unsigned sinks;
    const char *corpus, *events;
    const char *only[ONLY_MAX];
    size_t only_count;
    unsigned long passes;
    bool json, list;
} MappingOptions;

static bool wanted(const MappingOptions *options, const char *name) {
    for (size_t i = 0; i < options->only_count; i++)
        if (strcmp(options->only[i], name) == 0) return true;
    return options->only_count == 0;
}

static size_t add(Contender *contenders, size_t count, const MappingOptions *options, const char *name,
                  void (*run)(Bench *, const Contender *, const Corpus *), const ScanKernel *kernel) {
    if (!wanted(options, name)) return count;
    check(count < CONTENDERS_MAX);
    Contender *contender = &contenders[count];
    (void)snprintf(contender->name, sizeof contender->name, "%s", name);
    contender->run = run;
    contender->kernel = kernel;
    return count + 1;
}

static size_t list_contenders(Contender *contenders, const MappingOptions *options) {
    size_t count = 0, kernel_count;
    count = add(contenders, count, options, "map", run_map, NULL);
    count = add(contenders, count, options, "map-sinks", run_map_sinks, NULL);
    count = add(contenders, count, options, "map-infer", run_map_infer, NULL);
    count = add(contenders, count, options, "map-columns", run_map_columns, NULL);
    const ScanKernel *kernels = scan_kernels(&kernel_count);
    for (size_t i = 0; i < kernel_count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "scan-%s", kernels[i].name);
        count = add(contenders, count, options, name, run_scan, &kernels[i]);
    }
    count = add(contenders, count, options, "simdjson", run_simdjson, NULL);
    count = add(contenders, count, options, "simdjson-many", run_simdjson_many, NULL);
    count = add(contenders, count, options, "jansson", run_jansson, NULL);
    return count;
}

static json_t *figures(Contender *contender, size_t corpus, const Corpus *of, unsigned rounds) {
    double *seen = contender->seen[corpus];
    qsort(seen, rounds, sizeof *seen, ascending);
    double median = rounds % 2 ? seen[rounds / 2] : (seen[rounds / 2 - 1] + seen[rounds / 2]) / 2;
    json_t *result = json_pack("{s:s,s:f,s:f,s:f,s:f}", "name", contender->name, "gbps", median, "least", seen[0], "most", seen[rounds - 1],
                               "nanoseconds", (double)of->bytes / (double)of->count / median);
    check(result);
    return result;
}

static void print(const json_t *results) {
    size_t i, k;
    json_t *corpus, *contender;
    printf("simdjson's kernel: %s\n", json_string_value(json_object_get(results, "simdjson")));
    json_array_foreach(json_object_get(results, "corpora"), i, corpus) {
        printf("\n%s: %s, %.0f bytes an event\n", json_string_value(json_object_get(corpus, "name")),
               json_string_value(json_object_get(corpus, "what")), json_real_value(json_object_get(corpus, "bytes")));
        json_array_foreach(json_object_get(corpus, "contenders"), k, contender) {
            printf("  %-16s %8.3f GB/s  (%.3f to %.3f) %10.1f ns an event\n", json_string_value(json_object_get(contender, "name")),
                   json_real_value(json_object_get(contender, "gbps")), json_real_value(json_object_get(contender, "least")),
                   json_real_value(json_object_get(contender, "most")), json_real_value(json_object_get(contender, "nanoseconds")));
        }
    }
}

static void rounds(Bench *bench, Contender *contenders, size_t contender_count, const Corpus *corpora, size_t corpus_count,
                   const MappingOptions *options) {
    for (unsigned round = 0; round < options->rounds; round++)
        for (size_t i = 0; i < corpus_count; i++)
            for (size_t k = 0; k < contender_count; k++)
                contenders[k].seen[i][round] = measure(bench, &contenders[k], &corpora[i], options->seconds);

    json_t *list = json_array();
    for (size_t i = 0; i < corpus_count; i++) {
        json_t *of = json_array();
        for (size_t k = 0; k < contender_count; k++) json_array_append_new(of, figures(&contenders[k], i, &corpora[i], options->rounds));
        json_array_append_new(list, json_pack("{s:s,s:s,s:f,s:I,s:o}", "name", corpora[i].name, "what", corpora[i].what, "bytes",
                                              (double)corpora[i].bytes / (double)corpora[i].count, "events", (json_int_t)corpora[i].count,
                                              "contenders", of));
    }
    json_t *results = json_pack("{s:i,s:f,s:i,s:s,s:o}", "rounds", (int)options->rounds, "seconds", options->seconds, "sinks",
                                (int)options->sinks, "simdjson", simdjson_peer_kernel(), "corpora", list);
    check(results);
    if (options->json) {
        (void)json_dumpf(results, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        print(results);
    }
    json_decref(results);
}

static void print_list(const Contender *contenders, size_t contender_count, const Corpus *corpora, size_t corpus_count) {
    json_t *names = json_array(), *list = json_array();
    for (size_t i = 0; i < contender_count; i++) json_array_append_new(names, json_string(contenders[i].name));
    for (size_t i = 0; i < corpus_count; i++)
        json_array_append_new(list, json_pack("{s:s,s:I,s:I}", "name", corpora[i].name, "events", (json_int_t)corpora[i].count, "bytes",
                                              (json_int_t)corpora[i].bytes));
    json_t *all = json_pack("{s:o,s:o}", "contenders", names, "corpora", list);
    check(all);
    (void)json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

static void parse(int argc, char **argv, MappingOptions *options) {
    static const struct option known[] = {{"rounds", required_argument, NULL, 'r'}, {"seconds", required_argument, NULL, 's'},
                                          {"sinks", required_argument, NULL, 'n'},  {"corpus", required_argument, NULL, 'c'},
                                          {"only", required_argument, NULL, 'o'},   {"events", required_argument, NULL, 'e'},
                                          {"passes", required_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'},
                                          {"list", no_argument, NULL, 'l'},         {NULL, 0, NULL, 0}};
    *options = (MappingOptions){.rounds = 5, .seconds = 0.1, .sinks = SINKS_A_SOURCE_MAX};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) >= 0;) switch (option) {
        case 'r': options->rounds = (unsigned)number_of(optarg, 1, ROUNDS_MAX); break;
        case 's': options->seconds = strtod(optarg, NULL); break;
        case 'n': options->sinks = (unsigned)number_of(optarg, 1, SINKS_A_SOURCE_MAX); break;
        case 'c': options->corpus = optarg; break;
        case 'o':
            if (options->only_count == ONLY_MAX) die("too many --only", NULL);
            options->only[options->only_count++] = optarg;
            break;
        case 'e': options->events = optarg; break;
        case 'p': options->passes = number_of(optarg, 1, UINT32_MAX); break;
        case 'j': options->json = true; break;
        case 'l': options->list = true; break;
        default: exit(2);
        }
    if (argc - optind != 1) die("give the file of the event", "tests/mapping/event.json");
}

int main(int argc, char **argv) {
    static Contender contenders[CONTENDERS_MAX];
    static Bench bench;
    Corpus corpora[CORPORA_MAX], file = {0};
    size_t corpus_count = 0;
    MappingOptions options;
    Error error = {0};
    parse(argc, argv, &options);
    json_object_seed(1); /* not a random one, so that instructions repeat */
    hash_key_fix(1);

    if (corpus_read(&file, argv[optind], &error) < 0) die(error.text, NULL);
    for (size_t shape = 0; !options.events && corpus_name(shape); shape++)
        if (!options.corpus || strcmp(options.corpus, corpus_name(shape)) == 0)
            corpus_make(&corpora[corpus_count++], shape, file.events[0]);
    if (options.events) {
        if (corpus_read(&corpora[0], options.events, &error) < 0) die(error.text, NULL);
        corpus_count = 1;
    }
    if (corpus_count == 0) die("no such corpus", options.corpus);

    bench.corpora = corpora;
    mapping_init(&bench.one, 1, options.events);
    mapping_init(&bench.many, options.sinks, options.events);
    bench.simdjson = simdjson_peer_new(0);
    bench.simdjson_many = simdjson_peer_new(0);
    size_t contender_count = list_contenders(contenders, &options);
    if (contender_count == 0) die("no such contender", options.only[0]);

    if (options.list)
        print_list(contenders, contender_count, corpora, corpus_count);
    else if (options.passes)
        for (unsigned long i = 0; i < options.passes; i++) contenders[0].run(&bench, &contenders[0], &corpora[0]);
    else
        rounds(&bench, contenders, contender_count, corpora, corpus_count, &options);

    for (size_t i = 0; i < corpus_count; i++) corpus_deinit(&corpora[i]);
    corpus_deinit(&file);
    mapping_deinit(&bench.one);
    mapping_deinit(&bench.many);
    for (size_t i = 0; i < CORPORA_MAX; i++) {
        mapping_deinit(&bench.infer[i]);
        mapping_deinit(&bench.columns[i]);
    }
    scanner_deinit(&bench.scanner);
    simdjson_peer_free(bench.simdjson);
    simdjson_peer_free(bench.simdjson_many);
    return 0;
}
