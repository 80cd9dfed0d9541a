/* One gateway: a real writer, stager, loaders and bridge on a real LMDB environment and a file
 * system in memory. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failpoint.h"
#include "config/source_kafka.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/stager.h"
#include "gateway/delivery/writer/writer.h"
#include "gateway/sources/bridge.h"
#include "mapping/plan.h"
#include "storage/commit_log.h"
#include "storage/environment.h"
#include "storage/ledger.h"
#include "tests/simulation/fleet/fleet.h"
#include "tests/support/memory-files.h"

struct Gateway {
    unsigned index;
    char directory[256];
    Uuid instance;
    Files *files;
    Random files_random;
    bool runs, dispatching;
    unsigned depth; /* of calls that are in the middle of it */
    usec_t asleep_until;
    unsigned broken, seeks;
    Environment *environment;
    Usage usage;
    Mailbox *control;
    Mailbox *on_its_way; /* what the bridge sends to the writer: it may come late, and never when the node is killed */
    Stager *stager;
    Writer *writer;
    Loaders *loaders;
    Connection connections[2];
    Connections list;
    SinkGate *gates[FLEET_SINKS_MAX];
    Source *source;
    Sink *sinks[FLEET_SINKS_MAX];
    Plan *plan;
    SnapshotSource *snapshot_source;
    Snapshot *snapshot;
    Bridge *bridge;
    BridgeBoard *board;
};

static Gateway *running;

Gateway *node_running(void) {
    return running;
}

/* ---- definitions ----------------------------------------------------------------------------- */

static Source *make_source(void) {
    json_t *body = json_pack("{s:s, s:s, s:{s:s, s:[s], s:s, s:i, s:s}}", "sourceId", "simulated", "type", "kafka", "kafka", "connection",
                             "events", "topics", "^topic-.*", "groupId", GROUP, "batchSize", 1 + (int)below(chance(50) ? 5 : 50),
                             "tombstones", fleet->deletes ? "event" : "skip");
    Source *source;
    Error error = {0};
    check(body);
    if (source_from_request(body, &source, &error) < 0) fail("%s", error.text);
    json_decref(body);
    source->number = 1;
    return source;
}

static void set_settings(Settings *settings) {
    static const int64_t counts[] = {1, 2, 5, 40, 1000};
    static const int64_t sizes[] = {50, 1000, 20000, 1 << 20};
    const SettingId upload[] = {SETTING_UPLOAD_COUNT, SETTING_UPLOAD_SIZE, SETTING_UPLOAD_INTERVAL};
    const SettingId import[] = {SETTING_IMPORT_COUNT, SETTING_IMPORT_SIZE, SETTING_IMPORT_INTERVAL};
    for (size_t i = 0; i < 3; i++) settings->set[upload[i]] = settings->set[import[i]] = true;
    settings->value[SETTING_UPLOAD_COUNT] = counts[below(5)];
    settings->value[SETTING_UPLOAD_SIZE] = sizes[below(4)];
    settings->value[SETTING_UPLOAD_INTERVAL] = (int64_t)(1 + below(60)) * USEC_SECOND;
    settings->value[SETTING_IMPORT_COUNT] = counts[below(5)];
    settings->value[SETTING_IMPORT_SIZE] = sizes[below(4)];
    settings->value[SETTING_IMPORT_INTERVAL] = (int64_t)(30 + below(200)) * USEC_SECOND;
}

static Sink *make_sink(unsigned index) {
    Sink *made = calloc(1, sizeof *made);
    check(made);
    atomic_init(&made->references, 1);
    made->number = index + 1;
    made->mapping_version = 1;
    char text[32];
    (void)snprintf(text, sizeof text, "sink%u", index);
    made->sink_id = strdup(text);
    made->name = strdup(text);
    made->description = strdup("");
    made->version.by = strdup("");
    made->version.description = strdup("");
    made->on_invalid = ON_INVALID_QUARANTINE;
    (void)snprintf(text, sizeof text, "t%u", index);
    made->target.table.table_id = strdup(text);
    made->target.connection = strdup("tables");
    made->target.column_count = 2;
    made->target.columns = calloc(2, sizeof(Column));
    check(made->target.columns);
    made->target.columns[0] = (Column){.name = strdup("bridge"), .type = COLUMN_META, .data_type = DATA_TEXT, .meta_field = META_BRIDGE};
    made->target.columns[1] = (Column){
        .name = strdup("v"), .type = COLUMN_PATH, .data_type = DATA_TEXT, .raw_string = true, .path = strdup("v")};
    if (fleet->deletes && index + 1 == fleet->sink_count) {
        made->target.table.strategy = STRATEGY_MERGE;
        made->target.table.delete_on.tombstone = true;
        made->target.columns[0].primary_key = true;
    }
    set_settings(&made->settings);
    return made;
}

typedef struct NodeDefine {
    Define define; /* first */
    SinkOrder order;
} NodeDefine;

static void post_define(Gateway *node, unsigned index) {
    NodeDefine *message = calloc(1, sizeof *message);
    check(message);
    message->define.request.message.kind = MESSAGE_DEFINE;
    message->define.request.reply = node->control;
    message->define.sinks = &message->order;
    message->define.sink_count = 1;
    message->order = (SinkOrder){
        .source = source_ref(node->source), .sink = sink_ref(node->sinks[index]), .gate = sink_gate_ref(node->gates[index])};
    mailbox_post(writer_mailbox(node->writer), &message->define.request.message);
}

void node_define(Gateway *node) {
    if (!node->runs) return;
    for (unsigned i = 0; i < fleet->sink_count; i++) {
        Sink *now = make_sink(i);
        sink_unref(node->sinks[i]);
        node->sinks[i] = now;
        post_define(node, i);
    }
}

static void define_back(NodeDefine *message) {
    source_unref(message->order.source);
    sink_unref(message->order.sink);
    sink_gate_unref(message->order.gate);
    free(message);
}

static void deliver(Gateway *node) {
    for (Message *message = mailbox_take(node->on_its_way), *next; message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_APPEND && !fleet->quiet && chance(3)) { /* there was no room for it; a smaller one behind it fits */
            ((Append *)message)->result = APPEND_FULL;
            fleet->refused++;
            mailbox_post(((Append *)message)->reply, message);
            continue;
        }
        mailbox_post(writer_mailbox(node->writer), message);
    }
}

/* The writer is gone. */
static void send_back(Gateway *node) {
    for (Message *message = mailbox_take(node->on_its_way), *next; message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_APPEND) {
            ((Append *)message)->result = APPEND_FAILED;
            mailbox_post(((Append *)message)->reply, message);
        } else {
            request_refuse((Request *)message, "The writer has ended.");
        }
    }
}

static void seek_back(Gateway *node, BridgeSeek *seek) {
    say("node %u: a seek ends with %d %s", node->index, seek->request.result, seek->request.error.text);
    node->seeks--;
    free(seek->sinks);
    free(seek->topic);
    free(seek);
}

void node_seek(Gateway *node, unsigned sink, const char *topic, int32_t partition, int64_t offset) {
    if (!node->runs || node_is_asleep(node) || node->seeks > 0) return;
    say("node %u: seek of sink %u, %s/%d, to %lld", node->index, sink, topic, partition, (long long)offset);
    BridgeSeek *seek = calloc(1, sizeof *seek);
    check(seek);
    seek->request.message.kind = MESSAGE_BRIDGE_SEEK;
    seek->request.reply = node->control;
    seek->topic = strdup(topic);
    seek->partition = partition;
    seek->to = SEEK_OFFSET;
    seek->at = offset;
    seek->sink = sink + 1;
    node->seeks++;
    mailbox_post(bridge_mailbox(node->bridge), &seek->request.message);
}

static void collect(Gateway *node) {
    for (Message *message = mailbox_take(node->control), *next; message; message = next) {
        next = message->next;
        switch (message->kind) {
        case MESSAGE_DEFINE: define_back((NodeDefine *)message); break;
        case MESSAGE_BROKEN:
            node->broken++;
            free(message);
            break;
        case MESSAGE_BRIDGE_SEEK: seek_back(node, (BridgeSeek *)message); break;
        case MESSAGE_SNAPSHOT_GONE: snapshot_gone_free((SnapshotGone *)message); break;
        case MESSAGE_DRAINED: free(message); break;
        default: fail("a message of kind %d", message->kind);
        }
    }
}

/* ---- start and end --------------------------------------------------------------------------- */

static const SinkDriver *driver_of(void *context, const ConnectionType *type) {
    return &fleet_driver;
}

static void post_job(void *context, LoadJob *take_job) {
    Gateway *node = context;
    if (node->loaders)
        loaders_post(node->loaders, take_job);
    else
        request_refuse(&take_job->request, "The loaders have ended.");
}

static void dispatch(void *context) {
    Gateway *node = context;
    node->dispatching = true;
    (void)writer_step(node->writer);
    node->dispatching = false;
}

static void no_templates(void *context, TemplateBatch *take_batch) {
    fail("the plan has no templates");
}

static void start_writer(Gateway *node) {
    Error error = {0};
    WriterOptions writer = {
        .checks_all = true,
        .environment = node->environment,
        .files = node->files,
        .clock = &course.clock.clock,
        .usage = &node->usage,
        .instance = node->instance,
        .stager = stager_mailbox(node->stager),
        .control = node->control,
        .post_import = post_job,
        .post_import_context = node,
        .seed = random_next(&course.random),
        .disk_budget = 1u << 30,
        .disk_share_percent = 50,
        .log_high_mark = chance(30) ? 20000 : 256u << 20,
        .retain_imported = chance(50) ? 0 : (usec_t)below((uint64_t)USEC_HOUR),
        .retain_failed = USEC_MINUTE,
        .retain_expired = 30 * USEC_DAY,
        .retain_orphans = 7 * USEC_DAY,
        .retain_rejects = 300 * USEC_DAY,
        .rejects_bytes = 1u << 30,
    };
    int r;
    while ((r = writer_open(&writer, &node->writer, &error)) < 0) {
        if (r == -EBADMSG || r == -EILSEQ) fail("cannot open: %s", error.text);
        memory_files_fail(node->files, 0, 0, false);
    }
}

static void start_loaders(Gateway *node) {
    Error error = {0};
    LoadersOptions loaders = {
        .connections = &node->list,
        .data_directory = "",
        .files = node->files,
        .instance = node->instance,
        .writer = writer_mailbox(node->writer),
        .import_timeout = USEC_HOUR,
        .bad_rows_max = 10000,
        .driver_of = driver_of,
        .dispatch = dispatch,
        .dispatch_context = node,
    };
    if (loaders_start(&loaders, &node->loaders, &error) < 0) fail("%s", error.text);
}

static void start_bridge(Gateway *node) {
    Error error = {0};
    bool sync_wait[FLEET_SINKS_MAX] = {true, true};
    if (plan_compile(node->source, node->sinks, fleet->sink_count, &node->plan, &error) < 0) fail("%s", error.text);
    node->snapshot_source = snapshot_source_new(node->source, node->plan, node->gates, sync_wait, NULL, 0, NULL);
    node->snapshot = snapshot_new(1, &node->snapshot_source, 1, node->control);
    node->board = bridge_board_new();
    BridgeOptions options = {
        .clock = &course.clock.clock,
        .usage = &node->usage,
        .connections = &node->list,
        .data_directory = "",
        .writer = node->on_its_way,
        .post_job = post_job,
        .post_job_context = node,
        .post_templates = no_templates,
        .board = node->board,
        .client = &fleet_client,
        .project = 1,
        .event_bytes = 1 << 20,
        .row_bytes = 1 << 20,
        .rows_bytes = 8 << 20,
    };
    node->bridge = bridge_new(&options, node->snapshot, node->snapshot_source);
}

void node_start(Gateway *node) {
    expect(!node->runs && node->depth == 0);
    say("node %u starts", node->index);
    Error error = {0};
    EnvironmentOptions options = {.path = node->directory, .map_bytes = 64u << 20, .no_sync = true};
    if (environment_open(&options, &node->environment, &error) < 0) fail("%s", error.text);
    node->usage = (Usage){.in_flight_limit = 64u << 20};
    node->control = mailbox_new(NULL, NULL);
    node->on_its_way = mailbox_new(NULL, NULL);
    node->stager = stager_new(node->environment, node->files, &node->instance);
    node->source = make_source();
    for (unsigned i = 0; i < fleet->sink_count; i++) {
        node->gates[i] = sink_gate_new();
        node->sinks[i] = make_sink(i);
    }
    start_writer(node);
    start_loaders(node);
    for (unsigned i = 0; i < fleet->sink_count; i++) post_define(node, i);
    start_bridge(node);
    node->runs = true;
    node->asleep_until = 0;
    node->broken = 0;
}

static void end(Gateway *node, bool orderly) {
    expect(node->runs && node->depth == 0);
    failpoint_clear();
    loaders_free(node->loaders);
    node->loaders = NULL;
    stager_free(node->stager);
    if (orderly)
        writer_close(node->writer);
    else
        writer_abandon(node->writer);
    fleet->broker.kills = !orderly;
    if (!bridge_has_ended(node->bridge)) drain_post(bridge_mailbox(node->bridge), 0);
    for (unsigned i = 0; i < 3; i++) {
        (void)bridge_step(node->bridge);
        send_back(node);
    }
    bridge_free(node->bridge);
    fleet->broker.kills = false;
    send_back(node);
    mailbox_free(node->on_its_way);
    bridge_board_unref(node->board);
    snapshot_unref(node->snapshot);
    snapshot_source_unref(node->snapshot_source);
    plan_unref(node->plan);
    collect(node);
    mailbox_free(node->control);
    environment_close(node->environment);
    for (unsigned i = 0; i < fleet->sink_count; i++) {
        sink_gate_unref(node->gates[i]);
        sink_unref(node->sinks[i]);
    }
    source_unref(node->source);
    memory_files_fail(node->files, 0, 0, false);
    if (!orderly) memory_files_crash(node->files);
    node->runs = false;
}

void node_kill(Gateway *node) {
    say("node %u is killed", node->index);
    end(node, false);
}

void node_stop(Gateway *node) {
    say("node %u stops", node->index);
    drain_post(bridge_mailbox(node->bridge), course.clock.boot_now + 10 * USEC_SECOND);
    for (unsigned i = 0; i < 200 && !bridge_has_ended(node->bridge); i++) {
        (void)bridge_step(node->bridge);
        deliver(node);
        (void)writer_step(node->writer);
        collect(node);
        course_pass_time(100 * USEC_MS);
    }
    if (!bridge_has_ended(node->bridge)) fail("the bridge of node %u does not end", node->index);
    end(node, true);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    return remove(path);
}

static void make_disk(Gateway *node) {
    Error error = {0};
    node->files_random.state = random_next(&course.random);
    node->files = memory_files_new(&node->files_random, &course.clock.clock);
    static const char *const folders[] = {"staging", "staging/orphans", "staging/expired"};
    for (size_t i = 0; i < 3; i++)
        if (node->files->make_directory(node->files, folders[i], 0700, &error) < 0) fail("%s", error.text);
    (void)node->files->sync_directory(node->files, "", NULL);
    (void)node->files->sync_directory(node->files, "staging", NULL);
    uint64_t id = random_next(&course.random);
    memcpy(node->instance.bytes, &id, sizeof id);
}

static void remove_disk(Gateway *node) {
    files_free(node->files);
    (void)nftw(node->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void node_lose_disk(Gateway *node) {
    expect(!node->runs);
    say("node %u loses its disk", node->index);
    remove_disk(node);
    make_disk(node);
}

Gateway *node_new(unsigned index, const char *directory) {
    Gateway *node = calloc(1, sizeof *node);
    check(node);
    node->index = index;
    (void)snprintf(node->directory, sizeof node->directory, "%s/%llu-%u", directory, (unsigned long long)course.seed, index);
    static const ConnectionType tables = {.name = "simulated"};
    node->connections[0] = (Connection){.name = (char *)(uintptr_t) "tables", .type = &tables};
    node->connections[1] = (Connection){.name = (char *)(uintptr_t) "events", .type = &connection_type_kafka};
    node->list = (Connections){.items = node->connections, .count = 2};
    make_disk(node);
    return node;
}

void node_free(Gateway *node) {
    if (node->runs) node_kill(node);
    remove_disk(node);
    free(node);
}

bool node_runs(const Gateway *node) {
    return node->runs;
}

void node_sleep(Gateway *node, usec_t time) {
    say("node %u sleeps for %lld s", node->index, (long long)(time / USEC_SECOND));
    node->asleep_until = course.clock.boot_now + time;
}

bool node_is_asleep(const Gateway *node) {
    return node->asleep_until > course.clock.boot_now;
}

BridgeStatus *node_status(Gateway *node) {
    return node->runs ? bridge_board_get(node->board) : NULL;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void step_loaders(Gateway *node) {
    Gateway *before = running;
    running = node;
    node->depth++;
    (void)loaders_step(node->loaders);
    node->depth--;
    running = before;
}

bool node_act(Gateway *node) {
    if (!node->runs || node_is_asleep(node) || node->depth > 0) return false;
    uint64_t what = below(100);
    if (what < 35) {
        (void)bridge_step(node->bridge);
    } else if (what < 65) {
        if (chance(80)) deliver(node);
        (void)writer_step(node->writer);
    } else if (what < 80) {
        (void)stager_step(node->stager);
    } else {
        step_loaders(node);
    }
    collect(node);
    if (node->broken) node_kill(node);
    return true;
}

void node_disturb(Gateway *node) {
    if (!node->runs || node->depth > 0) return;
    static const int codes[] = {EIO, ENOSPC};
    if (chance(50)) {
        memory_files_fail(node->files, 1 + below(12), codes[below(2)], false);
        return;
    }
    static const char *const names[] = {
        "storage.before-commit", "storage.after-commit", "writer.before-group",      "writer.before-commit",   "writer.before-close",
        "writer.cursors-moved",  "writer.before-trim",   "writer.rejects-published", "writer.import-recorded", "stager.before-pack",
        "pack.after-create",     "pack.within-slice",    "pack.before-sync",         "pack.before-rename",     "pack.after-rename",
        "pack.after-publish",    "stager.before-divide", "divide.before-record",     "expiry.before-sync",     "expiry.before-rename",
        "expiry.after-rename",   "expiry.before-record", "loader.after-prepare",     "loader.before-import"};
    char text[64];
    (void)snprintf(text, sizeof text, "%s=error@%u", names[below(sizeof names / sizeof *names)], 1 + (unsigned)below(6));
    Error error = {0};
    if (failpoint_set(text, &error) < 0) fail("%s", error.text);
}

static int draw_pack(void *context, const char *name, const FileInfo *info) {
    char *drawn = context;
    size_t size = strlen(name);
    if (!info->is_directory && size > 5 && strcmp(name + size - 5, ".pack") == 0 && (drawn[0] == '\0' || chance(50)))
        (void)snprintf(drawn, 80, "staging/%s", name);
    return 0;
}

bool node_damage(Gateway *node) {
    char name[80] = "";
    Error error = {0};
    (void)node->files->list(node->files, "staging", draw_pack, name, NULL);
    if (!name[0]) return false;
    if (memory_files_flip(node->files, name, below(chance(50) ? 400 : 8000), &error) < 0) return false;
    say("a bit of %s of node %u flips", name, node->index);
    return true;
}

bool node_run(Gateway *node) {
    bool worked = false;
    if (!node->runs) return false;
    (void)bridge_step(node->bridge);
    deliver(node);
    (void)writer_step(node->writer);
    while (stager_step(node->stager)) worked = true;
    Gateway *before = running;
    running = node;
    while (loaders_step(node->loaders)) worked = true;
    running = before;
    collect(node);
    expect(!node->broken);
    return worked;
}

/* ---- what is there --------------------------------------------------------------------------- */

static int count_waiting(void *context, const FileRecord *file, Error *error) {
    if (file->state == FILE_OPEN || file->state == FILE_CLOSED) ++*(size_t *)context;
    if (file->state == FILE_EXPIRED) fail("a file of a bridge has expired");
    return 0;
}

size_t node_waiting(Gateway *node) {
    Txn *txn;
    Error error = {0};
    size_t files = 0;
    uint64_t first, last;
    if (!node->runs) return 0;
    if (txn_begin_read(node->environment, &txn, &error) < 0) fail("%s", error.text);
    if (ledger_visit_files(txn, 0, count_waiting, &files, &error) < 0) fail("%s", error.text);
    if (commit_log_bounds(txn, &first, &last, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
    return files + (first > 0 ? (size_t)(last - first + 1) : 0);
}

void node_verify(Gateway *node) {
    Txn *txn;
    Error error = {0};
    if (!node->runs) return;
    if (txn_begin_read(node->environment, &txn, &error) < 0) fail("%s", error.text);
    for (unsigned i = 0; i < fleet->sink_count; i++) {
        uint64_t end_row;
        if (ledger_end_row(txn, i + 1, &end_row, &error) < 0) fail("%s", error.text);
        if (ledger_verify(txn, i + 1, end_row, &error) < 0) fail("%s", error.text);
    }
    if (ledger_verify_packs(txn, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
}
