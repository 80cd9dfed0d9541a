/*
 * Templates alone: the broker and real worker processes without HTTP, one source, one worker.
 * docs/performance.md says what P5 is; bench/run runs this.
 *
 *   templates WORKER EVENT.json [--rounds N] [--seconds S] [--batch N]    events a second, medians of alternating rounds, as JSON
 *   templates WORKER EVENT.json --memory N                                N events through one worker, its memory on the way, as JSON
 *
 * Contenders: each event good; every tenth one fails at random; jsonnet_evaluate_snippet for each
 * event, what one would write first. An event is a message of the broker as the intake posts it, in
 * batches of as many events as the intake posts at most; two batches are under way, as there are
 * with two loops. Each result is compared.
 */
#include <dirent.h>
#include <getopt.h>
#include <jansson.h>
#include <libjsonnet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "bench/corpus.h"
#include "gateway/templates/broker.h"
#include "tests/support/number.h"

enum { ROUNDS_MAX = 101, BATCHES_OUT = 2, PROCESSES_MAX = 64, FAILING_ONE_IN = 10 };

static const char template_text[] = "{id: Body('issue.id'), who: std.asciiUpper(Body('user.name'))}";

typedef struct Bench {
    const char *worker_path;
    Plan *plan;
    Random random;
    size_t batch_events;
    Corpus good;
    Span broken;   /* an event without user.name */
    Span expected; /* of the first good event */
} Bench;

static _Noreturn void die(const char *what, const char *detail) {
    (void)fprintf(stderr, "templates: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
    exit(1);
}

static double now_seconds(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* -- the processes below this one -- */

typedef struct Process {
    pid_t pid, parent;
    double cpu; /* seconds, with the children that it has waited for */
} Process;

static bool read_process(pid_t pid, Process *ret) {
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[size] = 0;
    char *rest = strrchr(text, ')'); /* the name may hold anything */
    unsigned long user, system;
    long children_user, children_system;
    int parent;
    if (!rest || sscanf(rest + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &parent, &user, &system, &children_user,
                        &children_system) != 5)
        return false;
    *ret = (Process){.pid = pid, .parent = parent};
    ret->cpu = (double)(user + system + (unsigned long)children_user + (unsigned long)children_system) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

/* Children and their children: zygotes and what they forked. */
static size_t descendants(Process *out) {
    static Process all[65536];
    size_t all_count = 0, count = 0;
    DIR *folder = opendir("/proc");
    check(folder);
    for (struct dirent *entry; (entry = readdir(folder)) && all_count < sizeof all / sizeof *all;) {
        int pid = atoi(entry->d_name);
        if (pid > 0 && read_process(pid, &all[all_count])) all_count++;
    }
    (void)closedir(folder);
    for (size_t i = 0; i < all_count && count < PROCESSES_MAX; i++)
        if (all[i].parent == getpid()) out[count++] = all[i];
    size_t children = count;
    for (size_t i = 0; i < all_count && count < PROCESSES_MAX; i++)
        for (size_t k = 0; k < children; k++)
            if (all[i].parent == out[k].pid) {
                out[count++] = all[i];
                break;
            }
    return count;
}

static double workers_cpu(void) {
    Process processes[PROCESSES_MAX];
    size_t count = descendants(processes);
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += processes[i].cpu;
    return sum;
}

static long rss_kilobytes(pid_t pid) {
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    long kilobytes = 0;
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kilobytes) == 1) break;
    (void)fclose(file);
    return kilobytes;
}

/* The process that evaluates: it is a child of a child. */
static pid_t evaluating_process(void) {
    Process processes[PROCESSES_MAX];
    size_t count = descendants(processes);
    for (size_t i = 0; i < count; i++)
        if (processes[i].parent != getpid()) return processes[i].pid;
    die("no process evaluates", NULL);
}

/* -- the broker -- */

static Plan *make_plan(void) {
    json_t *body = json_pack("{s:s,s:s,s:s,s:{s:s,s:{s:[{s:s,s:s,s:{s:s,s:s}}]}}}", "sinkId", "sink", "name", "sink", "type", "table",
                             "table", "tableId", "t", "mapping", "columns", "type", "template", "name", "made", "template", "language",
                             "jsonnet", "content", template_text);
    check(body);
    Sink *sink;
    Plan *plan;
    Error error = {0};
    if (sink_from_request(body, true, &sink, &error) < 0) die("no sink", error.text);
    json_decref(body);
    Source source = {.source_id = (char *)"bench"};
    if (plan_compile(&source, &sink, 1, &plan, &error) < 0) die("no plan", error.text);
    sink_unref(sink);
    return plan;
}

typedef struct Run {
    Bench *bench;
    Templates *templates;
    Mailbox *reply;
    bool failing;
    size_t out; /* batches */
    uint64_t events, failed;
} Run;

static void post(Run *run) {
    Bench *bench = run->bench;
    TemplateBatch *batch = template_batch_new(plan_ref(bench->plan), bench->batch_events, run->reply, 1);
    batch->source_number = 1;
    for (size_t i = 0; i < batch->count; i++) {
        bool broken = run->failing && random_below(&bench->random, FAILING_ONE_IN) == 0;
        batch->events[i].event = (Event){
            .body = broken ? bench->broken : bench->good.events[0], .kind = BODY_JSON, .received = 1795262400000000};
        batch->events[i].cookie = broken ? batch : NULL;
    }
    run->out++;
    templates_post(run->templates, batch);
}

static void take(Run *run) {
    if (!mailbox_wait(run->reply, USEC_MINUTE)) die("no batch came back", NULL);
    for (Message *message = mailbox_take(run->reply); message;) {
        TemplateBatch *batch = (TemplateBatch *)(void *)message;
        message = message->next;
        for (size_t i = 0; i < batch->count; i++) {
            const TemplateEvent *event = &batch->events[i];
            if (event->results[0].failed != (event->cookie != NULL) ||
                (!event->cookie && !span_equal(event->results[0].text, run->bench->expected)))
                die("not the result that was expected", arena_copy(&batch->arena, event->results[0].text));
            run->failed += event->results[0].failed;
        }
        run->events += batch->count;
        run->out--;
        template_batch_free(batch);
    }
}

static void start(Run *run, Bench *bench, bool failing) {
    *run = (Run){.bench = bench, .reply = mailbox_new(NULL, NULL), .failing = failing};
    TemplateLimits limits = {.stack_frames = 500, .memory_bytes = 256u << 20, .wall_usec = USEC_SECOND, .workers = 1, .zygotes = 1};
    Error error = {0};
    if (templates_start(&limits, bench->worker_path, &run->templates, &error) < 0) die("no broker", error.text);
    post(run); /* warm: the worker loads its template */
    while (run->out) take(run);
    run->events = run->failed = 0;
}

static void finish(Run *run) {
    while (run->out) take(run);
    templates_free(run->templates);
    mailbox_free(run->reply);
}

typedef struct Figure {
    double wall, worker, everything; /* events a second: of wall time, of the worker's processor time, of all processor time */
} Figure;

static double own_cpu(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static Figure measure_worker(Bench *bench, bool failing, double seconds) {
    Run run;
    start(&run, bench, failing);
    double cpu = workers_cpu(), own = own_cpu(), begin = now_seconds();
    while (run.out < BATCHES_OUT) post(&run);
    while (now_seconds() - begin < seconds) {
        take(&run);
        while (run.out < BATCHES_OUT) post(&run);
    }
    while (run.out) take(&run);
    double took = now_seconds() - begin;
    own = own_cpu() - own;
    cpu = workers_cpu() - cpu;
    double events = (double)run.events;
    if (failing == (run.failed == 0)) die("the wrong number of events failed", NULL);
    finish(&run);
    return (Figure){.wall = events / took, .worker = events / cpu, .everything = events / (cpu + own)};
}

static Figure measure_snippet(Bench *bench, double seconds) {
    Buffer text = {0};
    buffer_append_text(&text, "local event = ");
    buffer_append_span(&text, bench->good.events[0]);
    buffer_append_text(&text, "; {id: event.issue.id, who: std.asciiUpper(event.user.name)}");
    double own = own_cpu(), begin = now_seconds(), took;
    size_t events = 0;
    do {
        struct JsonnetVm *vm = jsonnet_make();
        check(vm);
        int failed;
        char *result = jsonnet_evaluate_snippet(vm, "template", buffer_text(&text), &failed);
        if (failed) die("libjsonnet refused the snippet", result);
        jsonnet_realloc(vm, result, 0);
        jsonnet_destroy(vm);
        events++;
        took = now_seconds() - begin;
    } while (took < seconds);
    own = own_cpu() - own;
    buffer_deinit(&text);
    return (Figure){.wall = (double)events / took, .worker = (double)events / own, .everything = (double)events / own};
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const Figure *figures, unsigned count, size_t offset) {
    double values[ROUNDS_MAX];
    for (unsigned i = 0; i < count; i++) memcpy(&values[i], (const char *)&figures[i] + offset, sizeof *values);
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static json_t *medians(const Figure *figures, unsigned count) {
    json_t *result = json_pack("{s:f,s:f,s:f}", "wall", median(figures, count, offsetof(Figure, wall)), "worker",
                               median(figures, count, offsetof(Figure, worker)), "everything",
                               median(figures, count, offsetof(Figure, everything)));
    check(result);
    return result;
}

static json_t *rounds(Bench *bench, unsigned count, double seconds) {
    static Figure good[ROUNDS_MAX], failing[ROUNDS_MAX], snippet[ROUNDS_MAX];
    for (unsigned i = 0; i < count; i++) {
        good[i] = measure_worker(bench, false, seconds);
        failing[i] = measure_worker(bench, true, seconds);
        snippet[i] = measure_snippet(bench, seconds < 1 ? seconds : 1);
    }
    return json_pack("{s:o,s:o,s:o}", "good", medians(good, count), "failing", medians(failing, count), "snippet", medians(snippet, count));
}

/* Memory of the evaluating process after a tenth, half and all of `events`; it must be the same
 * process all the while. */
static json_t *memory(Bench *bench, uint64_t events) {
    static const unsigned percents[] = {10, 50, 100};
    json_t *list = json_array();
    Run run;
    start(&run, bench, false);
    pid_t process = evaluating_process();
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        while (run.events < events * percents[i] / 100) {
            while (run.out < BATCHES_OUT) post(&run);
            take(&run);
        }
        if (evaluating_process() != process) die("the process that evaluates was replaced", NULL);
        json_array_append_new(list, json_pack("{s:i,s:I,s:I}", "percent", (int)percents[i], "events", (json_int_t)run.events, "kilobytes",
                                              (json_int_t)rss_kilobytes(process)));
    }
    finish(&run);
    return list;
}

int main(int argc, char **argv) {
    static const struct option known[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"batch", required_argument, NULL, 'b'},
                                          {"memory", required_argument, NULL, 'm'},
                                          {NULL, 0, NULL, 0}};
    unsigned count = 5;
    double seconds = 1;
    unsigned long memory_events = 0;
    Bench bench = {.batch_events = 512};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) >= 0;) switch (option) {
        case 'r': count = (unsigned)number_of(optarg, 1, ROUNDS_MAX); break;
        case 's': seconds = strtod(optarg, NULL); break;
        case 'b': bench.batch_events = number_of(optarg, 1, 65536); break;
        case 'm': memory_events = number_of(optarg, 1, UINT32_MAX); break;
        default: return 2;
        }
    if (argc - optind != 2) die("give the worker's program and the file of the event", NULL);
    bench.worker_path = argv[optind];
    Error error = {0};
    if (corpus_read(&bench.good, argv[optind + 1], &error) < 0) die(error.text, NULL);
    bench.expected = SPAN("{\"id\":123456,\"who\":\"JANE DOE\"}");
    bench.broken = SPAN(
        "{\"issue\":{\"id\":123456,\"key\":\"PROJ-12\"},\"user\":{\"id\":\"u-918273\",\"email\":\"jane@example.com\"},\"ok\":true}");
    bench.plan = make_plan();

    json_t *results = memory_events ? memory(&bench, memory_events) : rounds(&bench, count, seconds);
    check(results);
    (void)json_dumpf(results, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(results);
    plan_unref(bench.plan);
    corpus_deinit(&bench.good);
    return 0;
}
