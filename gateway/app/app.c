#include "gateway/app/app.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "config/options.h"
#include "gateway/api/admin.h"
#include "gateway/api/router.h"
#include "gateway/app/descriptors.h"
#include "gateway/commands/commands.h"
#include "gateway/control/control.h"
#include "gateway/delivery/backup.h"
#include "gateway/delivery/finder.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/stager.h"
#include "gateway/delivery/writer/writer.h"
#include "gateway/flow/usage.h"
#include "gateway/intake/intake.h"
#include "gateway/sources/bridge_runner.h"
#include "gateway/sources/http_runner.h"
#include "gateway/templates/broker.h"
#include "storage/data_directory.h"
#include "storage/declared_files.h"
#include "storage/environment.h"
#include "storage/mask_key.h"

#define LOOPS_MAX 64
#define DATABASE_RESERVE_MIN (16u << 20)
#define DATABASE_RESERVE_MAX (64u << 20)
#define BAD_ROWS_MAX 100000      /* refused rows of one file, above which it fails as a whole */
#define RUNNERS_MAX 8            /* kinds of sources */
#define DESCRIPTORS_WANTED 65536 /* or more, if limits.connections says so */

struct App {
    const char *config_file;
    char *const *arguments;
    bool give_up_missing_packs;
    Options options;
    uint64_t disk_budget; /* bytes; never 0 */
    DataDirectory directory;
    Environment *environment;
    Usage usage;       /* of the intake */
    Usage admin_usage; /* the admin listener has connections and bodies of its own */
    HttpListener intake_listener, admin_listener;
    char *intake_url; /* as this machine reaches it; public-url goes before it */
    Control *control;
    Templates *templates;
    Stager *stager;
    Thread stager_thread;
    bool stager_runs;
    Finder *finder;
    Thread finder_thread;
    bool finder_runs;
    Writer *writer;
    Thread writer_thread;
    bool writer_runs;
    bool writer_drains;      /* it has its MESSAGE_DRAIN */
    atomic_bool end_threads; /* the thin threads of W, S and F look at it */
    Loaders *loaders;
    Backups *backups;         /* NULL: none are made */
    Snapshot *first_snapshot; /* until the loops have it */
    Intake *intakes[LOOPS_MAX];
    Mailbox *loops[LOOPS_MAX];
    size_t loop_count;
    HttpRunner http_sources;
    BridgeRunner kafka_sources, nats_sources;
    SourceRunner *runners[RUNNERS_MAX + 1]; /* one a kind of source, see add_runner; ends with NULL */
    Admin *admin;
    Thread deadline_thread; /* ends the process at the shutdown deadline */
    Mailbox *deadline_box;  /* it sleeps there; NULL: it does not run */
    usec_t deadline;        /* length; set before it starts, as the exit code */
    int deadline_code;
    atomic_bool deadline_off;
};

/* ---- thin threads around the state machines -------------------------------------------------- */

static void *run_writer(void *context) {
    App *app = context;
    while (!atomic_load(&app->end_threads)) {
        usec_t next = writer_step(app->writer);
        (void)mailbox_wait(writer_mailbox(app->writer), next);
    }
    return NULL;
}

static void *run_stager(void *context) {
    App *app = context;
    while (!atomic_load(&app->end_threads))
        if (!stager_step(app->stager)) (void)mailbox_wait(stager_mailbox(app->stager), USEC_NEVER);
    return NULL;
}

static void *run_finder(void *context) {
    App *app = context;
    while (!atomic_load(&app->end_threads))
        if (!finder_step(app->finder)) (void)mailbox_wait(finder_mailbox(app->finder), USEC_NEVER);
    return NULL;
}

static void post_import(void *context, LoadJob *take_job) {
    App *app = context;
    loaders_post(app->loaders, take_job);
}

/* ---- starting -------------------------------------------------------------------------------- */

static int start_options(App *app, Error *error) {
    int r = options_load(app->config_file, app->arguments, connection_types, &app->options, error);
    if (r < 0) return r;

    control_setup_log(&app->options);

    /* Signals are taken by the control thread alone, by signalfd: block them before any thread
     * exists. */
    sigset_t taken;
    (void)sigemptyset(&taken);
    (void)sigaddset(&taken, SIGTERM);
    (void)sigaddset(&taken, SIGINT);
    (void)sigaddset(&taken, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &taken, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

static size_t loops_wanted(const App *app) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = app->options.threads ? app->options.threads : cores > 0 ? (size_t)cores : 1;
    return wanted < LOOPS_MAX ? wanted : LOOPS_MAX;
}

static unsigned brokers_of(const Connections *connections) {
    unsigned count = 0;
    for (size_t i = 0; i < connections_total(connections); i++) {
        const Connection *connection = connections_at(connections, i);
        count += connection && !sink_driver_of(connection->type);
    }
    return count;
}

/* The limits of both listeners follow what the process may open, so that peers never take the
 * descriptors of files and destinations. */
static int start_descriptors(App *app, Error *error) {
    DescriptorNeeds needs = {
        .loops = (unsigned)loops_wanted(app),
        .loaders = app->options.loaders + (unsigned)connections_total(&app->options.list), /* each connection has one of its own */
        .destinations = (unsigned)connections_total(&app->options.list),
        .brokers = brokers_of(&app->options.list),
        .zygotes = app->options.template_zygotes,
        .intake = app->options.connections,
    };
    DescriptorShares shares;
    struct rlimit descriptors;
    check(getrlimit(RLIMIT_NOFILE, &descriptors) == 0);
    int r = descriptors_share(descriptors.rlim_max, &needs, &shares, error);
    if (r < 0) return r;
    rlim_t wanted = shares.wanted < DESCRIPTORS_WANTED ? DESCRIPTORS_WANTED : shares.wanted;
    if (wanted > descriptors.rlim_max) wanted = descriptors.rlim_max;
    if (descriptors.rlim_cur < wanted) {
        struct rlimit raised = {.rlim_cur = wanted, .rlim_max = descriptors.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) descriptors = raised;
    }
    r = descriptors_share(descriptors.rlim_cur, &needs, &shares, error);
    if (r < 0) return r;
    if (shares.intake < needs.intake)
        log_warning("limits.connections is %u, but the process may open %llu descriptors (ulimit -n, LimitNOFILE): the intake accepts %u "
                    "connections, the admin listener %u",
                    needs.intake, (unsigned long long)descriptors.rlim_cur, shares.intake, shares.admin);
    app->usage.connections_limit = shares.intake;
    app->admin_usage.connections_limit = shares.admin;
    return 0;
}

static int start_listeners(App *app, Error *error) {
    int r = http_bind(app->options.intake, &app->intake_listener, error);
    if (r < 0) return r;
    r = http_bind(app->options.admin, &app->admin_listener, error);
    if (r < 0) return r;

    HttpListener first = {.fds = {app->intake_listener.fds[0]}, .count = 1};
    char *bound = http_listener_address(&first);
    const char *port = strrchr(bound, ':');
    bool any = strncmp(bound, "0.0.0.0:", 8) == 0 || strncmp(bound, "[::]:", 5) == 0;
    if (asprintf(&app->intake_url, "http://%s%s", any ? "127.0.0.1" : bound, any ? port : "") < 0) app->intake_url = NULL;
    free(bound);
    check(app->intake_url);
    return 0;
}

static void warn_if_open(const char *directory, const char *file, const char *what) {
    _cleanup_free_ char *path = NULL;
    bool absolute = file[0] == '/';
    check(asprintf(&path, "%s%s%s", absolute ? "" : directory, absolute ? "" : "/", file) >= 0);
    if (files_open_to_others(path)) log_warning("%s can be read by other users: make it private with chmod go=", what);
}

static void warn_of_mask_key(void *context, const char *what, const char *path) {
    if (files_open_to_others(path)) log_warning("the key file of %s can be read by other users: make it private with chmod go=", what);
}

static int start_directory(App *app, Error *error) {
    int r = data_directory_open(app->options.data, &app->directory, error);
    if (r < 0) return r;
    warn_if_open(app->directory.path, "", "the data directory");
    warn_if_open(app->directory.path, TOKEN_FILE, "the file of the admin token, " TOKEN_FILE ",");
    warn_if_open(app->directory.path, MASK_KEY_FILE, "the mask key of the data directory, " MASK_KEY_FILE ",");
    mask_key_files(&app->options, warn_of_mask_key, NULL);
    for (size_t i = 0; i < app->options.list.count; i++) {
        const Connection *connection = &app->options.list.items[i];
        for (const ConnectionField *field = connection->type->fields; field->name; field++) {
            const char *file = connection_value(connection, field->name);
            char what[128];
            if (!field->is_secret_file || !file) continue;
            (void)snprintf(what, sizeof what, "the %s of connection \"%s\"", field->name, connection->name);
            warn_if_open(app->directory.path, file, what);
        }
    }
    return declared_files_load(app->directory.files, connection_types, &app->options.list, error);
}

static int start_environment(App *app, Error *error) {
    app->disk_budget = app->options.disk_budget;
    if (app->disk_budget == 0) {
        uint64_t free_bytes, total_bytes;
        int r = app->directory.files->space(app->directory.files, &free_bytes, &total_bytes, error);
        if (r < 0) return r;
        app->disk_budget = total_bytes / 2;
    }
    char *path = NULL;
    check(asprintf(&path, "%s/sluice.mdb", app->directory.path) > 0);
    /* The budget only stops the intake. What is over it, since the budget was made smaller, still
     * has to be staged, imported and trimmed. */
    uint64_t reserve = app->disk_budget / 4;
    if (reserve > DATABASE_RESERVE_MAX) reserve = DATABASE_RESERVE_MAX;
    if (reserve < DATABASE_RESERVE_MIN) reserve = DATABASE_RESERVE_MIN;
    EnvironmentOptions options = {.path = path, .map_bytes = app->disk_budget, .reserve_bytes = reserve};
    int r = environment_open(&options, &app->environment, error);
    free(path);
    return r;
}

static int start_control(App *app, Error *error) {
    ControlOptions options = {
        .options = &app->options,
        .directory = &app->directory,
        .environment = app->environment,
        .clock = clock_system(),
        .config_file = app->config_file,
        .arguments = app->arguments,
        .usage = &app->usage,
        .route = api_route,
    };
    return control_new(&options, &app->control, error);
}

static int start_templates(App *app, Error *error) {
    TemplateLimits limits = template_limits_of(&app->options);
    return templates_start(&limits, NULL, &app->templates, error);
}

static void print_given_up(void *context, const GivenUp *given_up) {
    char from[25], to[25];
    (void)context;
    clock_format_utc(given_up->first_time, from);
    clock_format_utc(given_up->last_time, to);
    (void)printf("given up: sink %s, rows %" PRIu64 " to %" PRIu64 " (%" PRIu64 "), received from %s to %s\n", given_up->label,
                 given_up->first_row, given_up->first_row + given_up->rows - 1, given_up->rows, from, to);
    (void)fflush(stdout);
}

static int start_writer(App *app, Error *error) {
    app->stager = stager_new(app->environment, app->directory.files, &app->directory.instance);
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    WriterOptions options = {
        .environment = app->environment,
        .files = app->directory.files,
        .clock = clock_system(),
        .usage = &app->usage,
        .instance = app->directory.instance,
        .stager = stager_mailbox(app->stager),
        .control = control_mailbox(app->control),
        .post_import = post_import,
        .post_import_context = app,
        .seed = seed,
        .disk_budget = app->disk_budget,
        .disk_share_percent = app->options.disk_share_percent,
        .log_high_mark = app->options.log_high_mark,
        .retain_imported = app->options.retain_imported,
        .retain_failed = app->options.retain_failed,
        .retain_expired = app->options.retain_expired,
        .retain_orphans = app->options.retain_orphans,
        .retain_rejects = app->options.retain_rejects,
        .rejects_bytes = app->options.rejects_bytes,
        .backups_kept = app->options.backups_kept,
        .give_up_missing = app->give_up_missing_packs,
        .given_up = print_given_up,
    };
    return writer_open(&options, &app->writer, error);
}

static int start_loaders(App *app, Error *error) {
    LoadersOptions options = {
        .connections = &app->options.list,
        .data_directory = app->directory.path,
        .files = app->directory.files,
        .instance = app->directory.instance,
        .writer = writer_mailbox(app->writer),
        .threads = app->options.loaders,
        .import_timeout = app->options.import_timeout,
        .import_longest = app->options.import_longest,
        .bad_rows_max = BAD_ROWS_MAX,
    };
    return loaders_start(&options, &app->loaders, error);
}

static int start_writer_thread(App *app, Error *error) {
    int r = thread_start(&app->writer_thread, "writer", run_writer, app, error);
    app->writer_runs = r == 0;
    return r;
}

/* Last: its first work is to look through staging/, for which nobody waits and which would take
 * processor and disk from the steps before. */
static int start_stager_thread(App *app, Error *error) {
    int r = thread_start(&app->stager_thread, "stager", run_stager, app, error);
    app->stager_runs = r == 0;
    return r;
}

/* What a backup has besides the database, the staging files and the tables. */
static const char *const backed_up_files[] = {"format", TOKEN_FILE, MASK_KEY_FILE, NULL};
static const char *const backed_up_folders[] = {"connections", NULL};

static int start_backups(App *app, Error *error) {
    if (!app->options.backup_directory[0]) return 0;
    BackupsOptions options = {
        .environment = app->environment,
        .data_directory = app->directory.path,
        .directory = app->options.backup_directory,
        .connections = &app->options.list,
        .files = backed_up_files,
        .folders = backed_up_folders,
        .instance = app->directory.instance,
        .format = DATA_FORMAT,
        .kept = app->options.backups_kept,
        .writer = writer_mailbox(app->writer),
        .clock = clock_system(),
    };
    return backups_start(&options, &app->backups, error);
}

static int start_finder(App *app, Error *error) {
    app->finder = finder_new(app->environment, app->directory.files, clock_system(), &app->end_threads);
    int r = thread_start(&app->finder_thread, "finder", run_finder, app, error);
    app->finder_runs = r == 0;
    return r;
}

static int start_definitions(App *app, Error *error) {
    return control_begin(app->control, writer_mailbox(app->writer), &app->first_snapshot, error);
}

static HttpLimits http_limits(const Options *options) {
    return (HttpLimits){
        .keep_alive_idle = options->keep_alive_idle,
        .head_timeout = options->head_timeout,
        .body_timeout = options->body_timeout,
        .body_longest = options->body_longest,
        .write_timeout = options->write_timeout,
        .body_rate_min = options->body_rate_min,
        .body_bytes = options->body_bytes,
        .header_bytes = options->header_bytes,
        .connections_an_address = options->connections_an_address,
    };
}

/* Control checks that each kind of source has one. */
static void add_runner(App *app, SourceRunner *runner) {
    size_t count = 0;
    while (app->runners[count]) count++;
    check(count < RUNNERS_MAX);
    app->runners[count] = runner;
}

static void post_templates(void *context, TemplateBatch *take_batch) {
    App *app = context;
    templates_post(app->templates, take_batch);
}

/* A thread for each source that reads from a broker. */
static int start_bridges(App *app, Error *error) {
    (void)error;
    BridgeOptions options = {
        .clock = clock_system(),
        .usage = &app->usage,
        .connections = &app->options.list,
        .data_directory = app->directory.path,
        .writer = writer_mailbox(app->writer),
        .control = control_mailbox(app->control),
        .post_job = post_import,
        .post_job_context = app,
        .post_templates = post_templates,
        .post_templates_context = app,
        .project = app->options.project,
        .event_bytes = app->options.event_bytes,
        .row_bytes = app->options.row_bytes,
        .rows_bytes = app->options.request_rows_bytes,
    };
    const struct {
        BridgeRunner *runner;
        const SourceKind *kind;
    } kinds[] = {{&app->kafka_sources, &source_kind_kafka}, {&app->nats_sources, &source_kind_nats}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        SourceRunner *runner = &kinds[i].runner->runner;
        bridge_runner_init(kinds[i].runner, kinds[i].kind, &options, control_mailbox(app->control));
        runner->show(runner, app->first_snapshot);
        add_runner(app, runner);
    }
    return 0;
}

static int start_intake(App *app, Error *error) {
    size_t wanted = loops_wanted(app);
    for (size_t i = 0; i < wanted; i++) {
        IntakeOptions options = {
            .index = (int)i,
            .project = app->options.project,
            .branch = app->options.branch,
            .limits =
                {
                    .event_bytes = app->options.event_bytes,
                    .body_bytes = app->options.body_bytes,
                    .row_bytes = app->options.row_bytes,
                    .request_rows_bytes = app->options.request_rows_bytes,
                },
            .http = http_limits(&app->options),
            .trusted_proxies = app->options.trusted_proxies,
            .usage = &app->usage,
            .writer = writer_mailbox(app->writer),
            .control = control_mailbox(app->control),
            .templates = app->templates,
            .snapshot = app->first_snapshot,
            .clock = clock_system(),
        };
        int r = intake_start(&options, &app->intake_listener, &app->intakes[i], error);
        if (r < 0) return r;
        app->loops[i] = intake_mailbox(app->intakes[i]);
        app->loop_count = i + 1;
    }
    snapshot_unref(steal(app->first_snapshot));
    http_runner_init(&app->http_sources, app->loops, app->loop_count);
    add_runner(app, &app->http_sources.runner);
    return 0;
}

static int start_admin(App *app, Error *error) {
    ControlPeers peers = {
        .writer = writer_mailbox(app->writer),
        .lender = app->writer,
        .loaders = app->loaders,
        .backups = app->backups ? backups_mailbox(app->backups) : NULL,
        .finder = finder_mailbox(app->finder),
        .templates = app->templates,
        .runners = app->runners,
        .intake_url = app->intake_url,
    };
    control_connect(app->control, &peers);
    HttpLimits limits = http_limits(&app->options);
    return admin_start(&app->admin_listener, &limits, &app->admin_usage, control_mailbox(app->control), &app->admin, error);
}

/* The whole of it, in order. A taken port or data directory is found before anything runs. */
static const struct {
    const char *name;
    int (*start)(App *app, Error *error);
} start_list[] = {
    {"options", start_options},
    {"descriptors", start_descriptors},
    {"data directory", start_directory},
    {"listeners", start_listeners},
    {"environment", start_environment},
    {"control", start_control},
    {"templates", start_templates},
    {"writer", start_writer},
    {"loaders", start_loaders},
    {"writer thread", start_writer_thread},
    {"definitions", start_definitions},
    {"backups", start_backups},
    {"bridges", start_bridges},
    {"intake", start_intake},
    {"finder", start_finder},
    {"admin", start_admin},
    {"stager thread", start_stager_thread},
};

static int start_step(App *app, size_t i, Error *error) {
    if (failpoint_hit("app.start")) return error_set(error, -EIO, "failpoint app.start before %s", start_list[i].name);
    return start_list[i].start(app, error);
}

int app_start(const char *config_file, char *const *arguments, bool give_up_missing_packs, App **ret_app, Error *error) {
    App *app = calloc(1, sizeof *app);
    check(app);
    app->config_file = config_file;
    app->arguments = arguments;
    app->give_up_missing_packs = give_up_missing_packs;
    app->directory.lock_fd = app->directory.environment_lock_fd = -1;
    for (size_t i = 0; i < sizeof start_list / sizeof *start_list; i++) {
        int r = start_step(app, i, error);
        if (r < 0) {
            /* Before the stop, which the deadline may end. */
            expansions_hide(app->options.list.expansions, error);
            if (r == -EBADMSG) /* a record that cannot be, and that could not be repaired */
                (void)error_prefix(error, "the environment \"%s/sluice.mdb\" is damaged, check it with `sluice verify`", app->options.data);
            log_error("sluice cannot start: %s", error->text);
            app_stop(app);
            return r;
        }
        if (i == 0) { /* the limits are known now */
            app->usage.stall_limit = app->options.stall_timeout;
            app->usage.in_flight_limit = app->options.in_flight_bytes;
            app->usage.unfinished_limit = app->options.unfinished_bytes;
            app->admin_usage = app->usage;
        }
    }
    char *intake = http_listener_address(&app->intake_listener);
    char *admin = http_listener_address(&app->admin_listener);
    log_info("sluice takes events on %s, admins on %s, data in %s", intake, admin, app->directory.path);
    free(intake);
    free(admin);
    *ret_app = app;
    return 0;
}

/* ---- running and stopping -------------------------------------------------------------------- */

/* Nothing that was acknowledged needs what is left to do: a destination that does not answer must
 * not hold us up. */
static void *run_deadline(void *context) {
    App *app = context;
    (void)mailbox_wait(app->deadline_box, app->deadline);
    if (atomic_load(&app->deadline_off)) return NULL;
    log_warning("the shutdown deadline has passed: what is still in progress is stopped; all acknowledged events are on disk");
    log_flush();
    _exit(app->deadline_code);
}

static void set_deadline(App *app, usec_t deadline, int exit_code) {
    Error error = {0};
    app->deadline = deadline;
    app->deadline_code = exit_code;
    app->deadline_box = mailbox_new(NULL, NULL);
    if (thread_start(&app->deadline_thread, "deadline", run_deadline, app, &error) == 0) return;
    log_failure(LOG_WARNING, "the shutdown has no deadline", &error);
    mailbox_free(steal(app->deadline_box));
}

static void end_deadline(App *app) {
    if (!app->deadline_box) return;
    atomic_store(&app->deadline_off, true);
    mailbox_interrupt(app->deadline_box);
    thread_join(&app->deadline_thread);
    mailbox_free(steal(app->deadline_box));
}

/* The writer first: what comes back from the loaders then is no failed try. */
static void drain_delivery(App *app) {
    if (!app->writer_runs || app->writer_drains) return;
    app->writer_drains = true;
    drain_post(writer_mailbox(app->writer), 0);
    loaders_drain(app->loaders);
}

int app_run(App *app) {
    ControlEnd end = control_run(app->control);
    if (end == CONTROL_BROKEN) {
        log_error("the writer cannot write any more: stopping; all acknowledged events are on disk");
        return -EIO;
    }

    /* Half is for requests that are not whole yet. A quarter is left for imports that give up and
     * for closing. */
    usec_t now = clock_system()->boot(clock_system()), quarter = app->options.shutdown_deadline / 4;
    usec_t deadline = now + 3 * quarter;
    set_deadline(app, app->options.shutdown_deadline, EXIT_SUCCESS);
    log_info("stopping: requests in progress are finished first");
    bool drained = control_drain_sources(app->control, now + 2 * quarter, deadline);
    drain_delivery(app);
    drained = control_drain_writer(app->control, deadline) && drained;
    if (!drained) log_warning("the shutdown deadline passed before everything was finished; all acknowledged events are on disk");
    return drained ? 0 : -ETIMEDOUT;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void stop_admin(App *app) {
    admin_stop(app->admin);
}

static void stop_backups(App *app) {
    backups_stop(app->backups);
}

static void stop_bridges(App *app) {
    bridge_runner_stop(&app->kafka_sources);
    bridge_runner_stop(&app->nats_sources);
}

static void stop_templates(App *app) {
    templates_stop(app->templates);
}

static void stop_loaders(App *app) {
    drain_delivery(app); /* it gives out no more imports */
    loaders_stop(app->loaders);
}

static void stop_intake(App *app) {
    for (size_t i = 0; i < app->loop_count; i++) intake_stop(app->intakes[i]);
    /* What is left to do takes a moment: nobody accepts any more, so that new connections are
     * refused at once. */
    http_listener_deinit(&app->intake_listener);
}

static void stop_storage_threads(App *app) {
    atomic_store(&app->end_threads, true);
    if (app->finder_runs) {
        mailbox_interrupt(finder_mailbox(app->finder));
        thread_join(&app->finder_thread);
    }
    if (app->stager_runs) {
        mailbox_interrupt(stager_mailbox(app->stager));
        thread_join(&app->stager_thread);
    }
    if (app->writer_runs) {
        mailbox_interrupt(writer_mailbox(app->writer));
        thread_join(&app->writer_thread);
    }
}

/* Nothing but this thread runs any more. What still waits in a mailbox goes back to its sender, so
 * who may be sent to goes last. */
static void free_all(App *app) {
    finder_free(app->finder);
    stager_free(app->stager);
    writer_close(app->writer);
    loaders_free(app->loaders);
    backups_free(app->backups);
    templates_free(app->templates);
    bridge_runner_free(&app->kafka_sources);
    bridge_runner_free(&app->nats_sources);
    snapshot_unref(app->first_snapshot);
    control_free(app->control);
    environment_close(app->environment);
    http_listener_deinit(&app->admin_listener);
    data_directory_close(&app->directory);
    free(app->intake_url);
    options_deinit(&app->options);
}

/* First whoever asks for something, last whoever answers: no step waits for one before it. Until
 * all threads are joined nothing is freed that another thread may still use: stopped templates and
 * loaders take what is posted to them and send it back at once. A loader may wait for the writer
 * (rejects), a loop and a bridge for the writer, the loaders and the templates. The control thread
 * is this one. */
static void (*const stop_list[])(App *app) = {stop_admin,   stop_backups, stop_bridges,         stop_templates,
                                              stop_loaders, stop_intake,  stop_storage_threads, free_all};

/* Each step is safe when its part never started. */
void app_stop(App *app) {
    if (!app) return;
    /* Also a start that failed, or a broken writer, may leave a loader with a destination that does
     * not answer. */
    if (!app->deadline_box && app->options.shutdown_deadline > 0) set_deadline(app, app->options.shutdown_deadline, EXIT_RUNTIME);
    for (size_t i = 0; i < sizeof stop_list / sizeof *stop_list; i++) {
        (void)failpoint_hit("app.stop");
        stop_list[i](app);
    }
    end_deadline(app);
    free(app);
}
