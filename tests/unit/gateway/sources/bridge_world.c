#include "bridge_world.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "config/source_kind.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"

World world;

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_kafka, &source_kind_nats, NULL};
const char *const source_kind_names[] = {"http", "kafka", "nats", NULL};
const char *const kinds_not_built[] = {NULL};

static usec_t tell_now(Clock *clock) {
    (void)clock;
    return world.now;
}
static Clock test_clock = {.wall = tell_now, .boot = tell_now};

/* ---- the broker ------------------------------------------------------------------------------ */

struct BridgeClient {
    int unused;
};
static BridgeClient the_client;

static int client_open(const Source *source, const Connection *connection, const char *data_directory, uint32_t project,
                       const SinkPatience *patience, BridgeClient **ret_client, SinkFault *ret_fault, Error *error) {
    (void)source, (void)data_directory, (void)project, (void)patience, (void)ret_fault, (void)error;
    assert_false(world.is_open);
    assert_string_equal(connection->name, "events");
    world.is_open = true;
    world.opened++;
    world.offers = world.has_group;
    world.revokes = false;
    world.assigned_count = 0;
    *ret_client = &the_client;
    return 0;
}

static bool client_close(BridgeClient *client, usec_t limit) {
    (void)limit;
    assert_ptr_equal(client, &the_client);
    world.is_open = false;
    world.assigned_count = 0;
    return true;
}

static ClientEventKind offer(ClientEvent *event) {
    static ClientPartition partitions[WORLD_PARTITIONS];
    world.offers = false;
    for (int i = 0; i < world.offered_count; i++) partitions[i] = (ClientPartition){.topic = "t", .partition = world.offered[i]};
    event->partitions = partitions;
    event->partition_count = (size_t)world.offered_count;
    event->generation = 7;
    return CLIENT_ASSIGNED;
}

static ClientEventKind hand_out(int index, ClientEvent *event) {
    static const Span values[] = {{NULL, 0}, {"{\"a\":\"x\"}", 9}, {"{", 1}, {"\0\0\0\0\1x", 6}};
    const WorldPartition *partition = &world.partitions[world.assigned[index]];
    int64_t *at = &world.at[index];
    event->index = (size_t)index;
    if (world.paused[index] || world.out_of_range[index]) return CLIENT_NOTHING;
    if (*at < partition->first || *at > partition->end) {
        world.out_of_range[index] = true;
        event->offset = *at;
        return CLIENT_OUT_OF_RANGE;
    }
    while (*at < partition->end && partition->records[*at] == RECORD_NONE) ++*at;
    if (*at == partition->end) {
        if (world.told_end[index] == *at) return CLIENT_NOTHING;
        world.told_end[index] = event->offset = *at;
        return CLIENT_END;
    }
    event->record = (ClientRecord){.offset = *at, .timestamp = world.now, .value = values[partition->records[*at]]};
    ++*at;
    world.handed_out++;
    return CLIENT_RECORD;
}

static ClientEventKind client_poll(BridgeClient *client, usec_t wait, ClientEvent *event) {
    (void)client, (void)wait;
    assert_true(world.is_open);
    world.polls++;
    if (world.is_down) return CLIENT_NOTHING;
    if (world.ends) {
        world.ends = false;
        (void)error_set(&event->error, -EIO, "it is of no use any more");
        return CLIENT_END_OF_CLIENT;
    }
    if (world.revokes) {
        world.revokes = false;
        world.assigned_count = 0;
        return CLIENT_REVOKED;
    }
    if (world.offers) return offer(event);
    if (world.trouble && world.assigned_count > 0) {
        *event = (ClientEvent){.id = world.trouble, .offset = world.trouble_at};
        (void)error_set(&event->error, -EIO, "it is in trouble");
        world.trouble = NULL;
        return CLIENT_PARTITION_TROUBLE;
    }
    for (int i = 0; i < world.assigned_count; i++) {
        ClientEventKind kind = hand_out(world.turn, event);
        if (kind != CLIENT_RECORD) world.turn = (world.turn + 1) % world.assigned_count;
        if (kind != CLIENT_NOTHING) return kind;
    }
    return CLIENT_NOTHING;
}

static int client_topics(BridgeClient *client, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error) {
    (void)client, (void)limit;
    *ret_fault = SINK_FAULT_UNREACHABLE;
    if (world.is_down) return error_set(error, -EHOSTUNREACH, "the broker is down");
    ret_topics->items = arena_zalloc(arena, 2 * sizeof *ret_topics->items);
    ret_topics->items[0] = (ClientTopic){.name = "t", .partition_count = (size_t)world.partition_count, .topic_id = world.topic_id};
    ret_topics->items[1] = (ClientTopic){.name = "u", .fault = SINK_FAULT_TOPIC};
    ret_topics->count = world.lacks_topic ? 2 : 1;
    ret_topics->cluster = "c";
    return 0;
}

static int client_offsets(BridgeClient *client, ClientOffset *offsets, size_t count, usec_t limit, Error *error) {
    (void)client, (void)limit;
    if (world.is_down) return error_set(error, -EHOSTUNREACH, "the broker is down");
    for (size_t i = 0; i < count; i++) {
        const WorldPartition *partition = &world.partitions[offsets[i].partition];
        bool latest = offsets[i].when == CLIENT_LATEST || (offsets[i].start && offsets[i].start->kind == BRIDGE_START_LATEST);
        offsets[i].offset = latest ? partition->end : partition->first;
    }
    return 0;
}

static int client_assign(BridgeClient *client, uint64_t generation, const ClientPartition *partitions, size_t count, Error *error) {
    (void)client, (void)error;
    assert_int_equal(generation, world.has_group ? 7 : 0);
    if (world.revokes) return CLIENT_ASSIGN_STALE;
    world.assigned_count = (int)count;
    world.turn = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(partitions[i].offset >= 0);
        world.assigned[i] = partitions[i].partition;
        world.at[i] = partitions[i].offset;
        world.told_end[i] = -1;
        world.paused[i] = world.out_of_range[i] = false;
    }
    return 0;
}

static int client_seek(BridgeClient *client, size_t index, int64_t offset, Error *error) {
    (void)client, (void)error;
    assert_true((int)index < world.assigned_count && offset >= 0);
    world.at[index] = offset;
    world.told_end[index] = -1;
    world.out_of_range[index] = false;
    world.seeks++;
    return 0;
}

static int client_pause(BridgeClient *client, size_t index, Error *error) {
    (void)client, (void)error;
    assert_true((int)index < world.assigned_count && !world.paused[index]);
    world.paused[index] = true;
    return 0;
}

static int client_resume(BridgeClient *client, size_t index, Error *error) {
    (void)client;
    assert_true((int)index < world.assigned_count && world.paused[index]);
    if (world.fails_to_resume) return error_set(error, -EIO, "it cannot be resumed");
    world.paused[index] = false;
    return 0;
}

static void client_bounds(const BridgeClient *client, size_t index, int64_t *ret_first, int64_t *ret_end) {
    (void)client;
    *ret_first = world.partitions[world.assigned[index]].first;
    *ret_end = world.partitions[world.assigned[index]].end;
}

static void client_commit(BridgeClient *client, const ClientPartition *offsets, size_t count) {
    (void)client;
    for (size_t i = 0; i < count; i++) world.committed[offsets[i].partition] = offsets[i].offset;
}

static const BridgeClientType client_type = {.name = "world",
                                             .open = client_open,
                                             .close = client_close,
                                             .poll = client_poll,
                                             .topics = client_topics,
                                             .offsets = client_offsets,
                                             .assign = client_assign,
                                             .seek = client_seek,
                                             .pause = client_pause,
                                             .resume = client_resume,
                                             .bounds = client_bounds,
                                             .commit = client_commit};

void world_put(int partition, unsigned records, WorldRecord kind) {
    WorldPartition *of = &world.partitions[partition];
    for (unsigned i = 0; i < records; i++) {
        assert_true(of->end < WORLD_OFFSETS);
        of->records[of->end++] = (uint8_t)kind;
    }
}

/* ---- the writer ------------------------------------------------------------------------------ */

/* Of the run, where tables are replaced. */
static const char *group_name(void) {
    static char name[60];
    if (!world.replaces) return "sluice-1-s";
    (void)snprintf(name, sizeof name, "sluice-1-s#%lld", (long long)(world.run / USEC_MS));
    return name;
}

static int partition_of(const Partition *key) {
    assert_string_equal(key->cluster, "c");
    assert_string_equal(key->group, group_name());
    assert_string_equal(key->topic, "t");
    return key->partition;
}

/* The positions and chains of a sink are those of one generation; those of earlier ones are of no
 * use here. */
static void meet_generation(WorldSink *sink, uint32_t generation) {
    assert_true(generation >= sink->generation);
    if (generation == sink->generation) return;
    sink->generation = generation;
    for (int p = 0; p < WORLD_PARTITIONS; p++) sink->positions[p] = sink->from[p] = sink->end[p] = sink->heard[p] = -1;
}

/* Does each run go on where the chain of its sink ends? */
static bool is_placed(Append *append) {
    bool placed = true;
    for (size_t i = 0; i < append->sink_count; i++) {
        const AppendSink *sink = &append->sinks[i];
        int64_t ends[WORLD_PARTITIONS];
        memcpy(ends, world.sinks[sink->sink - 1].end, sizeof ends);
        for (size_t k = 0; k < sink->run_count; k++) {
            AppendRun *run = &sink->runs[k];
            int partition = partition_of(&append->partitions[run->partition]);
            assert_true(run->first >= 0 && run->first < run->next);
            assert_int_equal(append->partitions[run->partition].generation, world.sinks[sink->sink - 1].generation);
            run->end = world.sinks[sink->sink - 1].end[partition];
            placed = placed && (run->sets_end || run->first == ends[partition]);
            ends[partition] = run->next;
        }
    }
    return placed;
}

/* Its rows, "PARTITION,OFFSET,…" each, lie in the order of the runs. */
static void store(const Append *append) {
    for (size_t i = 0; i < append->sink_count; i++) {
        const AppendSink *sink = &append->sinks[i];
        WorldSink *to = &world.sinks[sink->sink - 1];
        const char *at = sink->rows.data;
        for (size_t k = 0; k < sink->run_count; k++) {
            const AppendRun *run = &sink->runs[k];
            int partition = partition_of(&append->partitions[run->partition]);
            if (to->run_count == to->run_room) {
                to->run_room = to->run_room ? 2 * to->run_room : 16;
                to->runs = realloc(to->runs, to->run_room * sizeof *to->runs);
                assert_non_null(to->runs);
            }
            WorldRun *kept = &to->runs[to->run_count++];
            *kept = (WorldRun){.partition = partition, .first = run->first, .next = run->next};
            for (uint64_t row = 0; row < run->rows; row++) {
                char *end;
                assert_int_equal(strtol(at, &end, 10), partition); /* sscanf() would look for the end of a text, and there is none */
                assert_int_equal(*end, ',');
                long long offset = strtoll(end + 1, &end, 10);
                assert_int_equal(*end, ',');
                assert_true(offset >= run->first && offset < run->next);
                kept->rows[(offset - run->first) / 8] |= (uint8_t)(1 << (offset - run->first) % 8);
                at = strchr(at, '\n') + 1;
            }
            if (run->sets_end) to->from[partition] = run->first;
            to->end[partition] = run->next;
            to->left[partition] = -1;
        }
        assert_ptr_equal(at, sink->rows.data + sink->rows.size);
    }
}

static void answer_append(Append *append) {
    append->result = world.result;
    world.result = APPEND_DONE;
    if (append->result == APPEND_DONE && !is_placed(append)) append->result = APPEND_MISPLACED;
    world.misplaced += append->result == APPEND_MISPLACED;
    world.appends++;
    if (append->result == APPEND_DONE) store(append);
    mailbox_post(append->reply, &append->message);
}

static void hear(WorldSink *sink, int partition) {
    int64_t position = sink->positions[partition];
    if (sink->hangs || sink->refuses) return;
    sink->heard[partition] = position;
    if (position < sink->from[partition] || position > sink->end[partition]) sink->from[partition] = sink->end[partition] = -1;
}

static void answer_progress(Progress *progress) {
    for (size_t i = 0; i < progress->sink_count; i++) {
        SinkProgress *to = &progress->sinks[i];
        WorldSink *sink = &world.sinks[to->sink - 1];
        to->partitions = arena_zalloc(&progress->arena, (progress->partition_count + 1) * sizeof *to->partitions);
        to->waiting_bytes = sink->waiting_bytes;
        to->failing_since = sink->failing_since;
        if (progress->was_sought) sink->made_table = 0;
        to->made_table = sink->made_table;
        for (size_t k = 0; k < progress->partition_count; k++) {
            int partition = partition_of(&progress->partitions[k]);
            if (progress->partitions[k].generation != sink->generation) {
                to->partitions[k] = (PartitionProgress){-1, -1, -1, -1, false, false};
                continue;
            }
            if (progress->look_now || world.now / (5 * USEC_SECOND) != (world.now - USEC_SECOND) / (5 * USEC_SECOND)) hear(sink, partition);
            to->partitions[k] = (PartitionProgress){sink->from[partition],  sink->end[partition], sink->left[partition],
                                                    sink->heard[partition], sink->missing,        true};
        }
    }
    request_answer(&progress->request);
}

static void answer_close(Close *close) {
    WorldSink *sink = &world.sinks[close->sink - 1];
    sink->closes++;
    world_import((int)close->sink - 1);
    if (close->wait_imported && sink->run_count > 0) close->request.result = error_set(&close->request.error, -ECANCELED, "it is down");
    request_answer(&close->request);
}

static void answer(Message *message) {
    switch (message->kind) {
    case MESSAGE_APPEND: answer_append((Append *)message); return;
    case MESSAGE_PROGRESS: answer_progress((Progress *)message); return;
    case MESSAGE_CLOSE: answer_close((Close *)message); return;
    default: fail();
    }
}

/* In the order of the messages: what comes behind an Append that is held waits, too. */
static void run_writer(void) {
    for (Message *message = mailbox_take(world.writer), *next; message; message = next) {
        next = message->next;
        assert_true(world.held_count < sizeof world.held / sizeof *world.held);
        world.held[world.held_count++] = message;
    }
    if (!world.holds_appends) world_release_appends();
}

void world_release_appends(void) {
    size_t count = world.held_count;
    world.held_count = 0;
    for (size_t i = 0; i < count; i++) answer(world.held[i]);
}

size_t world_appends_held(void) {
    size_t count = 0;
    for (size_t i = 0; i < world.held_count; i++) count += world.held[i]->kind == MESSAGE_APPEND;
    return count;
}

/* ---- the destinations ------------------------------------------------------------------------ */

void world_import(int sink) {
    WorldSink *of = &world.sinks[sink];
    if (of->hangs || of->refuses) return;
    for (size_t i = 0; i < of->run_count; i++) {
        const WorldRun *run = &of->runs[i];
        int64_t *position = &of->positions[run->partition];
        if (world.replaces && *position < 0) continue; /* its run is over: it is left out */
        assert_true(*position >= 0);                   /* an import never makes one */
        if (run->first == *position) {
            for (int64_t offset = run->first; offset < run->next; offset++)
                if (run->rows[(offset - run->first) / 8] & 1 << (offset - run->first) % 8) of->table[run->partition][offset]++;
            *position = run->next;
        } else if (run->next > *position) { /* returned */
            of->from[run->partition] = of->end[run->partition] = -1;
        }
        if (of->from[run->partition] >= 0 && of->from[run->partition] < *position && *position <= of->end[run->partition])
            of->from[run->partition] = *position;
        of->heard[run->partition] = *position;
    }
    of->run_count = 0;
}

void world_overtake(int sink, int partition, int64_t next) {
    WorldSink *of = &world.sinks[sink];
    int64_t *position = &of->positions[partition];
    if (*position < 0) return;
    for (; *position < next; ++*position)
        if (world.partitions[partition].records[*position] == RECORD_GOOD) of->table[partition][*position]++;
}

static void list(LoadJob *job, const WorldSink *sink, const int64_t *positions) {
    job->listed = arena_zalloc(&job->arena, WORLD_PARTITIONS * sizeof *job->listed);
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        if (positions[p] < 0) continue;
        PartitionKey key = {.cluster = "c", .group = group_name(), .topic = "t", .generation = sink->generation, .partition = p};
        job->listed[job->listed_count++] = (ListedPosition){.key = key, .topic_id = sink->topic_id, .next = positions[p]};
    }
}

/* Of any sink, or of the table that it went to before. */
static void list_group(LoadJob *job) {
    unsigned number, moves;
    assert_string_equal(job->group, group_name());
    assert_int_equal(sscanf(sink_target_name(&job->target), "t%u_%u", &number, &moves), 2);
    WorldSink *sink = &world.sinks[number];
    sink->lists++;
    if (moves == sink->moves) list(job, sink, sink->positions);
    if (moves + 1 == sink->moves) list(job, sink, sink->former);
}

/* As sinks/replace_run.h has it: a later run forgets what was collected of the one before. */
static bool claim_run(LoadJob *job, WorldSink *sink) {
    uint64_t run = run_of_group(job->claims[0].key.group);
    job->claimed = true;
    job->run_state = run < sink->claimed_run || run < sink->done_run ? RUN_SUPERSEDED : run == sink->done_run ? RUN_DONE : RUN_OPEN;
    job->later_run = sink->claimed_run > sink->done_run ? sink->claimed_run : sink->done_run;
    if (job->run_state != RUN_OPEN) return false;
    if (run > sink->claimed_run) {
        memset(sink->table, 0, sizeof sink->table);
        for (int p = 0; p < WORLD_PARTITIONS; p++) sink->positions[p] = sink->from[p] = sink->end[p] = sink->heard[p] = -1;
        sink->run_count = 0;
    }
    sink->claimed_run = run;
    return true;
}

static void swap(LoadJob *job, WorldSink *sink) {
    uint64_t run = run_of_group(job->group);
    sink->swaps++;
    assert_string_equal(job->group, group_name());
    assert_int_equal(job->limit_count, world.partition_count);
    if (sink->swap_fails) {
        job->request.result = SINK_REFUSED, (void)error_set(&job->request.error, -EINVAL, "a trigger says no");
        return;
    }
    job->swap_outcome = run == sink->done_run ? SWAP_DONE_BEFORE : run < sink->claimed_run ? SWAP_SUPERSEDED : SWAP_REPLACED;
    job->later_run = sink->claimed_run;
    for (size_t i = 0; i < job->limit_count && job->swap_outcome == SWAP_REPLACED; i++)
        if (sink->positions[job->limits[i].key.partition] < job->limits[i].limit) job->swap_outcome = SWAP_NOT_COMPLETE;
    if (job->swap_outcome != SWAP_REPLACED) return;
    uint64_t rows = 0;
    for (int p = 0; p < WORLD_PARTITIONS; p++)
        for (int o = 0; o < WORLD_OFFSETS; o++) rows += sink->table[p][o];
    job->rows = rows;
    if (rows == 0 && !job->allow_empty) {
        job->swap_outcome = SWAP_EMPTY;
        return;
    }
    sink->done_run = run;
    sink->rows = rows;
}

static void claim(LoadJob *job, WorldSink *sink) {
    bool any = false;
    sink->claims++;
    if (world.replaces && !claim_run(job, sink)) return;
    list(job, sink, sink->positions);
    job->claimed = !job->claims_listed || job->listed_count > 0;
    if (!job->claimed) return;
    positions_job_take_generations(job);
    for (int p = 0; p < WORLD_PARTITIONS; p++) any = any || sink->positions[p] >= 0;
    meet_generation(sink, job->claims[0].key.generation);
    for (size_t i = 0; i < job->claim_count; i++) {
        PositionClaim *of = &job->claims[i];
        int64_t *position = &sink->positions[of->key.partition];
        of->was_there = *position >= 0;
        if (*position < 0) {
            *position = any ? of->earliest : of->start;
            sink->topic_id = world.topic_id;
        }
        of->next = *position;
    }
}

static void seek(LoadJob *job, WorldSink *sink) {
    sink->seeks++;
    for (size_t i = 0; i < job->position_count; i++) {
        ImportPosition *of = &job->positions[i];
        int64_t position = sink->positions[of->key.partition];
        bool moved = job->seeks_where_equal && position != of->read;
        of->found = position >= 0;
        of->read = position;
        if (moved) job->request.result = SINK_RETRY, (void)error_set(&job->request.error, -EBUSY, "it was moved");
        if (!job->seeks_backwards && position > of->next)
            job->request.result = SINK_REFUSED, (void)error_set(&job->request.error, -ERANGE, "it would go back");
    }
    for (size_t i = 0; job->request.result == SINK_DONE && i < job->position_count; i++)
        sink->positions[job->positions[i].key.partition] = job->positions[i].next;
}

void world_answer_jobs(void) {
    size_t kept = 0;
    for (size_t i = 0; i < world.job_count; i++) {
        LoadJob *job = world.jobs[i];
        WorldSink *sink = &world.sinks[job->sink - 1];
        unsigned asked;
        if (job->request.message.kind == MESSAGE_ORIGIN && sscanf(sink_target_name(&job->target), "t%u_", &asked) == 1)
            sink = &world.sinks[asked];
        if (sink->hangs) {
            world.jobs[kept++] = job;
            continue;
        }
        job->request.result = SINK_DONE;
        if (sink->refuses)
            job->request.result = SINK_UNREACHABLE, (void)error_set(&job->request.error, -EHOSTUNREACH, "nobody answers");
        else if (job->request.message.kind == MESSAGE_CLAIM)
            claim(job, sink);
        else if (job->request.message.kind == MESSAGE_LIST)
            list(job, sink, sink->positions);
        else if (job->request.message.kind == MESSAGE_ORIGIN)
            list_group(job);
        else if (job->request.message.kind == MESSAGE_SWAP)
            swap(job, sink);
        else
            seek(job, sink);
        request_answer(&job->request);
    }
    world.job_count = kept;
}

static void post_job(void *context, LoadJob *take_job) {
    (void)context;
    assert_true(world.job_count < 64);
    assert_string_equal(take_job->connection, "local");
    world.jobs[world.job_count++] = take_job;
}

static void post_templates(void *context, TemplateBatch *take_batch) {
    (void)context;
    assert_true(world.has_templates && !world.templates);
    world.templates = take_batch;
}

void world_templates_back(void) {
    TemplateBatch *batch = world.templates;
    assert_non_null(batch);
    world.templates = NULL;
    batch->request.message.kind = batch->reply_kind;
    mailbox_post(batch->request.reply, &batch->request.message);
}

/* ---- definitions ----------------------------------------------------------------------------- */

static json_t *json_of(const char *text) {
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    return value;
}

static void make_origin(Sink *sink, const WorldSink *of, size_t index) {
    sink->origin.joins = of->joins;
    if (of->key) check((sink->origin.key = strdup(of->key)));
    sink->start.given = of->start != NULL;
    if (of->start) sink->start.at.kind = strcmp(of->start, "latest") == 0 ? BRIDGE_START_LATEST : BRIDGE_START_EARLIEST;
    for (unsigned move = 0; move < of->moves; move++) {
        char *table;
        Sink *old = sink_copy(sink);
        check(asprintf(&table, "t%zu_%u", index, move) > 0);
        free(old->target.table.table_id);
        old->target.table.table_id = table;
        sink_note_former(sink, &old->target, NULL);
        sink_unref(old);
    }
}

static SnapshotSource *make_source(void) {
    static const char template_column[] =
        "{\"name\":\"t\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"Body().a\"}},";
    Error error = {0};
    Source *source;
    Sink *sinks[WORLD_SINKS];
    SinkGate *gates[WORLD_SINKS];
    const bool waits[WORLD_SINKS] = {true, true, true};
    Plan *plan = NULL;
    size_t count = 0;
    char text[600];
    (void)snprintf(
        text, sizeof text,
        "{\"sourceId\":\"s\",\"name\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",\"topics\":[\"t\"],\"batchSize\":50,"
        "%s\"loop\":%s}}",
        world.source_settings ? world.source_settings : "", world.has_group ? "true" : "false");
    json_t *json = json_of(text);
    if (source_from_request(json, &source, &error) != 0) fail_msg("%s", error.text);
    json_decref(json);
    source->number = 5;
    source->disabled = world.is_disabled;
    source->run = world.run;
    if (world.is_paused) pause_begin(&source->paused, 1, 1, "somebody");
    for (size_t i = 0; i < WORLD_SINKS; i++) {
        if (!world.sinks[i].enabled) continue;
        (void)snprintf(text, sizeof text,
                       "{\"name\":\"k%zu\",\"type\":\"table\",%s\"table\":{%s\"tableId\":\"t%zu_%u\",\"mapping\":{\"columns\":["
                       "{\"name\":\"p\",\"type\":\"meta\",\"field\":\"partition\"},{\"name\":\"o\",\"type\":\"meta\",\"field\":\"offset\"},"
                       "%s{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\"}]}}}",
                       i, world.sink_settings ? world.sink_settings : "", world.replaces ? "\"strategy\":\"replace\"," : "", i,
                       world.sinks[i].moves, world.has_templates ? template_column : "");
        json = json_of(text);
        if (sink_from_request(json, false, &sinks[count], &error) != 0) fail_msg("%s", error.text);
        json_decref(json);
        sinks[count]->number = (uint32_t)i + 1;
        sinks[count]->mapping_version = 1;
        make_origin(sinks[count], &world.sinks[i], i);
        gates[count] = sink_gate_new();
        count++;
    }
    if (count > 0 && plan_compile(source, sinks, count, &plan, &error) != 0) fail_msg("%s", error.text);
    SnapshotSource *made = snapshot_source_new(source, plan, gates, waits, NULL, 0, world.source);
    for (size_t i = 0; i < count; i++) {
        sink_unref(sinks[i]);
        sink_gate_unref(gates[i]);
    }
    if (plan) plan_unref(plan);
    source_unref(source);
    return made;
}

static Snapshot *make_snapshot(void) {
    SnapshotSource *made = make_source();
    snapshot_source_unref(world.source);
    world.source = made;
    return snapshot_new(++world.generation, &world.source, 1, world.gone);
}

static void take_gone(void) {
    for (Message *message = mailbox_take(world.gone), *next; message; message = next) {
        next = message->next;
        snapshot_gone_free((SnapshotGone *)message);
    }
}

void world_show(void) {
    SnapshotNews *news = calloc(1, sizeof *news);
    assert_non_null(news);
    news->message.kind = MESSAGE_SNAPSHOT;
    news->snapshot = make_snapshot();
    mailbox_post(bridge_mailbox(world.bridge), &news->message);
}

void world_move(int sink) {
    WorldSink *of = &world.sinks[sink];
    world_import(sink);
    of->moves++;
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        if (of->end[p] >= 0) of->left[p] = of->end[p];
        of->former[p] = of->positions[p];
        of->positions[p] = of->heard[p] = of->from[p] = of->end[p] = -1;
    }
    world_show();
}

/* ---- begin and end --------------------------------------------------------------------------- */

void world_begin(int partitions, int sinks, bool has_group) {
    memset(&world, 0, sizeof world);
    world.now = 1000 * USEC_SECOND;
    world.usage.in_flight_limit = 1u << 30;
    world.has_group = has_group;
    world.partition_count = world.offered_count = partitions;
    for (int i = 0; i < partitions; i++) world.offered[i] = i;
    for (int i = 0; i < WORLD_SINKS; i++) {
        WorldSink *sink = &world.sinks[i];
        sink->enabled = i < sinks;
        for (int p = 0; p < WORLD_PARTITIONS; p++)
            sink->positions[p] = sink->from[p] = sink->end[p] = sink->left[p] = sink->former[p] = sink->heard[p] = -1;
    }
    world.writer = mailbox_new(NULL, NULL);
    world.gone = mailbox_new(NULL, NULL);
    world.control = mailbox_new(NULL, NULL);
    world.board = bridge_board_new();
}

static const Connections *connections(void) {
    static Connection items[2];
    static Connections all;
    items[0] = (Connection){.name = (char *)"local", .type = world.is_local ? &connection_type_sqlite : &connection_type_postgres};
    items[1] = (Connection){.name = (char *)"events", .type = &connection_type_kafka};
    all = (Connections){.items = items, .count = 2};
    return &all;
}

void world_start(void) {
    BridgeOptions options = {
        .control = world.control,
        .clock = &test_clock,
        .usage = &world.usage,
        .connections = connections(),
        .data_directory = "/nowhere",
        .writer = world.writer,
        .post_job = post_job,
        .post_templates = post_templates,
        .board = world.board,
        .project = 1,
        .event_bytes = 100000,
        .row_bytes = 100000,
        .rows_bytes = 64 << 20,
    };
    Snapshot *snapshot = make_snapshot();
    world.bridge = bridge_new(&options, snapshot, world.source);
    snapshot_unref(snapshot);
}

static void stop_bridge(void) {
    if (!world.bridge) return;
    for (int i = 0; i < WORLD_SINKS; i++) world.sinks[i].hangs = false;
    Drain *drain = calloc(1, sizeof *drain);
    assert_non_null(drain);
    drain->message.kind = MESSAGE_DRAIN;
    drain->until = world.now;
    mailbox_post(bridge_mailbox(world.bridge), &drain->message);
    for (int i = 0; i < 100 && !bridge_has_ended(world.bridge); i++) (void)bridge_step(world.bridge);
    assert_true(bridge_has_ended(world.bridge));
    assert_false(world.is_open);
    world.holds_appends = false;
    run_writer();
    world_answer_jobs();
    bridge_free(world.bridge);
    world.bridge = NULL;
    take_gone();
}

void world_restart(bool forgets) {
    bool hang[WORLD_SINKS];
    for (int i = 0; i < WORLD_SINKS; i++) hang[i] = world.sinks[i].hangs;
    stop_bridge();
    for (int i = 0; i < WORLD_SINKS; i++) {
        WorldSink *sink = &world.sinks[i];
        sink->hangs = hang[i];
        for (int p = 0; p < WORLD_PARTITIONS; p++) {
            sink->heard[p] = -1;
            if (forgets) sink->from[p] = sink->end[p] = sink->left[p] = -1;
        }
        if (forgets) sink->run_count = 0;
    }
    world_start();
}

void world_end(void) {
    stop_bridge();
    snapshot_source_unref(world.source);
    take_gone();
    for (int i = 0; i < WORLD_SINKS; i++) free(world.sinks[i].runs);
    mailbox_free(world.writer);
    mailbox_free(world.gone);
    mailbox_free(world.control);
    bridge_board_unref(world.board);
    assert_int_equal(world.usage.in_flight_bytes + world.usage.large_bytes, 0);
    (void)world_status();
    world.board = NULL;
}

/* ---- time ------------------------------------------------------------------------------------ */

void world_step(usec_t usec) {
    world.now += usec;
    (void)bridge_step(world.bridge);
    run_writer();
    world_answer_jobs();
    take_gone();
}

bool world_is_settled(void) {
    for (int i = 0; i < WORLD_SINKS; i++)
        for (int p = 0; world.sinks[i].enabled && p < world.partition_count; p++)
            if (world.sinks[i].positions[p] != world.partitions[p].end) return false;
    return true;
}

static void check_tables(void) {
    for (int i = 0; i < WORLD_SINKS; i++)
        for (int p = 0; world.sinks[i].enabled && p < world.partition_count; p++)
            for (int64_t offset = 0; offset < world.partitions[p].end; offset++) {
                unsigned expected = world.partitions[p].records[offset] == RECORD_GOOD;
                if (world.sinks[i].table[p][offset] != expected)
                    fail_msg("sink %d, partition %d, offset %lld: %u times", i, p, (long long)offset, world.sinks[i].table[p][offset]);
            }
}

void world_settle(unsigned seconds) {
    usec_t until = world.now + seconds * USEC_SECOND;
    while (!world_is_settled()) {
        if (world.now >= until) {
            for (int i = 0; i < WORLD_SINKS; i++)
                for (int p = 0; world.sinks[i].enabled && p < world.partition_count; p++)
                    print_message("sink %d partition %d: position %lld of %lld, chain %lld-%lld\n", i, p,
                                  (long long)world.sinks[i].positions[p], (long long)world.partitions[p].end,
                                  (long long)world.sinks[i].from[p], (long long)world.sinks[i].end[p]);
            const BridgeStatus *status = world_status();
            if (status) print_message("state %s, %s, %s\n", bridge_state_name(status->state), status->reason, status->error);
            fail_msg("it did not settle");
        }
        world_step(20 * USEC_MS);
        for (int i = 0; i < WORLD_SINKS; i++) world_import(i);
    }
    check_tables();
}

const BridgeStatus *world_status(void) {
    static BridgeStatus *last;
    bridge_status_unref(last);
    last = world.bridge ? bridge_board_get(world.board) : NULL;
    return last;
}

/* In the place of that of gateway/sources. */
const BridgeClientType *bridge_client_of(const Source *source) {
    (void)source;
    return &client_type;
}

int world_tear_down(void **state) {
    (void)state;
    world_end();
    return 0;
}

void world_run(unsigned steps, usec_t usec) {
    for (unsigned i = 0; i < steps; i++) world_step(usec);
}
