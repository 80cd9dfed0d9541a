#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "config/manifest.h"
#include "config/options.h"
#include "gateway/commands.h"
#include "gateway/dry_run.h"
#include "gateway/templates.h"
#include "mapping/row.h"

#define HEADERS_MOST 100
#define INPUT_BYTES_MOST (256u << 20)

typedef struct Request {
    const char *manifest, *event, *content_type, *source;
    EventHeader headers[HEADERS_MOST];
    size_t header_count;
    bool csv;
} Request;

static int parse(int argc, char **argv, Request *ret_request) {
    Arguments arguments = {.argc = argc, .argv = argv};
    *ret_request = (Request){0};
    while (arguments.at < argc) {
        const char *value;
        if ((value = arguments_value(&arguments, "-f"))) {
            ret_request->manifest = value;
        } else if ((value = arguments_value(&arguments, "--event"))) {
            ret_request->event = value;
        } else if ((value = arguments_value(&arguments, "--content-type"))) {
            ret_request->content_type = value;
        } else if ((value = arguments_value(&arguments, "--source"))) {
            ret_request->source = value;
        } else if ((value = arguments_value(&arguments, "--format"))) {
            if (strcmp(value, "csv") != 0 && strcmp(value, "json") != 0)
                return arguments_wrong(&command_map, "--format is csv or json, not", value);
            ret_request->csv = strcmp(value, "csv") == 0;
        } else if ((value = arguments_value(&arguments, "--header"))) {
            const char *colon = strchr(value, ':');
            if (!colon || colon == value) return arguments_wrong(&command_map, "--header wants 'Name: value', not", value);
            if (ret_request->header_count == HEADERS_MOST) return arguments_wrong(&command_map, "there are too many headers", NULL);
            ret_request->headers[ret_request->header_count++] = (EventHeader){
                .name = {.data = value, .size = (size_t)(colon - value)},
                .value = span_of(colon + 1 + strspn(colon + 1, " \t")),
            };
        } else {
            return arguments_wrong(&command_map, "there is no argument", argv[arguments.at]);
        }
    }
    if (!ret_request->manifest) return arguments_wrong(&command_map, "name a manifest with -f", NULL);
    return 0;
}

static int read_input(const char *name, Buffer *out, Error *error) {
    FILE *in = name ? fopen(name, "rbe") : stdin;
    if (!in) return error_set(error, -errno, "%s: %s", name, strerrordesc_np(errno));
    size_t n;
    while ((n = fread(buffer_reserve(out, 65536), 1, 65536, in)) > 0 && out->size <= INPUT_BYTES_MOST) out->size += n;
    bool failed = ferror(in) != 0;
    if (name) (void)fclose(in);
    if (failed) return error_set(error, -EIO, "%s cannot be read", name ? name : "standard input");
    if (out->size > INPUT_BYTES_MOST) return error_set(error, -EFBIG, "the input is longer than %u bytes", INPUT_BYTES_MOST);
    return 0;
}

typedef struct Printer {
    const Request *request;
    Options options; /* limits: the defaults, and what the environment says */
    size_t failures;
    RowReader reader;
} Printer;

static json_t *row_as_json(Printer *printer, const Sink *sink, Span row) {
    RowCell cells[COLUMNS_A_SINK_MAX];
    printer->reader.text = row;
    check(row_read(&printer->reader, cells, sink->table.column_count) == 0);
    json_t *columns = json_object();
    for (size_t i = 0; i < sink->table.column_count; i++) {
        (void)json_object_set_new(columns, sink->table.columns[i].name, dry_run_cell_json(&cells[i]));
    }
    return columns;
}

static void print_row(void *context, size_t event, const Sink *sink, const MapFailure *failure, Span row) {
    Printer *printer = context;
    if (failure) {
        printer->failures++;
        (void)fprintf(stderr, "event %zu, sink %s%s%s: %s\n", event, sink->sink_id, failure->column ? ", column " : "",
                      failure->column ? failure->column : "", failure->message);
        return;
    }
    if (printer->request->csv) {
        (void)fwrite(row.data, 1, row.size, stdout);
        return;
    }
    json_t *line = json_pack("{s:s, s:s, s:o}", "sinkId", sink->sink_id, "tableId", sink->table.table_id, "row",
                             row_as_json(printer, sink, row));
    _cleanup_free_ char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    (void)printf("%s\n", text);
}

/* Templates run in their own processes, as in the gateway. */
static int evaluate_templates(const Options *options, DryRun *run, Mailbox *mailbox, TemplateBatch **ret_batch, Error *error) {
    TemplateBatch *batch = dry_run_batch(run, mailbox, 1);
    *ret_batch = NULL;
    if (!batch) return 0;
    TemplateLimits limits = template_limits_of(options);
    Templates *templates;
    int r = templates_start(&limits, NULL, &templates, error);
    if (r < 0) {
        template_batch_free(batch);
        return r;
    }
    templates_post(templates, batch);
    while (!mailbox_wait(mailbox, USEC_NEVER)) continue;
    Message *message = mailbox_take(mailbox);
    *ret_batch = (TemplateBatch *)message;
    templates_stop(templates);
    return 0;
}

static int map_source(const ManifestSource *declared, Printer *printer, Span input, Error *error) {
    Source *source = NULL;
    int r = source_from_request(declared->source, &source, error);
    if (r < 0) return r;
    Sink **sinks = calloc(declared->sink_count + 1, sizeof *sinks);
    check(sinks);
    for (size_t i = 0; i < declared->sink_count && r == 0; i++)
        r = sink_from_request(declared->sinks[i], i == 0 && source->framing == FRAMING_SINGLE, &sinks[i], error);

    Plan *plan = NULL;
    DryRun *run = NULL;
    if (r == 0) r = plan_compile(source, sinks, declared->sink_count, &plan, error);
    if (r == 0) {
        DryRunRequest request = {
            .body = input,
            .content_type = span_of(printer->request->content_type),
            .headers = printer->request->headers,
            .header_count = printer->request->header_count,
            .ip = SPAN("127.0.0.1"),
            .received = clock_system()->wall(clock_system()),
            .row_bytes = printer->options.row_bytes,
        };
        /* From standard input come many events, from a file the body of one request. */
        bool is_stream = !printer->request->event && !printer->request->content_type;
        r = dry_run_new(plan, is_stream ? FRAMING_NDJSON : source->framing, &request, &run, error);
    }
    if (r == 0) {
        Mailbox *mailbox = mailbox_new(NULL, NULL);
        TemplateBatch *batch = NULL;
        r = evaluate_templates(&printer->options, run, mailbox, &batch, error);
        if (r == 0) dry_run_map(run, batch, print_row, printer);
        template_batch_free(batch);
        mailbox_free(mailbox);
    }

    dry_run_free(run);
    plan_unref(plan);
    for (size_t i = 0; i < declared->sink_count; i++) sink_unref(sinks[i]);
    free(sinks);
    source_unref(source);
    return r;
}

static int run(int argc, char **argv) {
    Request request;
    int code = parse(argc, argv, &request);
    if (code != 0) return code;

    Error error = {0};
    Manifest manifest = {0};
    Buffer input = {0};
    Printer printer = {.request = &request};
    size_t mapped = 0;
    char *none[] = {NULL};
    int r = options_load(NULL, none, &printer.options, &error);
    if (r == 0) r = manifest_load(request.manifest, &manifest, &error);
    if (r == 0) r = read_input(request.event, &input, &error);
    for (size_t i = 0; i < manifest.count && r == 0; i++) {
        const char *id = json_string_value(json_object_get(manifest.sources[i].source, "sourceId"));
        if (request.source && strcmp(request.source, id) != 0) continue;
        mapped++;
        r = map_source(&manifest.sources[i], &printer, buffer_span(&input), &error);
    }
    if (r == 0 && mapped == 0) r = error_set(&error, -ENOENT, "%s declares no such source", request.manifest);
    if (r < 0) (void)fprintf(stderr, "sluice map: %s\n", error.text);
    manifest_deinit(&manifest);
    buffer_deinit(&input);
    row_reader_deinit(&printer.reader);
    options_deinit(&printer.options);
    return r < 0 || printer.failures > 0 ? EXIT_USAGE : EXIT_SUCCESS;
}

const Command command_map = {
    .name = "map",
    .usage = "-f MANIFEST.yaml [--event FILE] [--header 'K: V'] [--content-type T]",
    .summary = "Dry run: print the rows that each sink would get.",
    .help = "  -f FILE             a manifest of sources and sinks\n"
            "  --event FILE        the body of one request, read by the source's framing; without it: ndjson on standard input\n"
            "  --content-type T    as a sender would give it\n"
            "  --header 'K: V'     a header of the request; may be given again\n"
            "  --source ID         only this source of the manifest\n"
            "  --format json|csv   json (default): one object a row; csv: the row text as it is staged\n\n"
            "Nothing is stored and no gateway is needed. The exit code is 1 when an event could not be mapped.\n",
    .run = run,
};
