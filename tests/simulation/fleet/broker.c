/* A broker in memory: partitions that grow, transactions, retention, and a group whose members may
 * be asleep. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "tests/simulation/fleet/fleet.h"

#define SESSION_TIMEOUT (45 * USEC_SECOND)
#define READ_MAX (TOPICS_MOST * PARTITIONS_MAX)

typedef struct ReadPartition {
    FleetTopic *topic;
    int32_t partition;
    int64_t next;
    int64_t told_end; /* of which CLIENT_END was given; -1: none */
    bool paused;
    bool out_of_range; /* and told: not read until a seek */
} ReadPartition;

struct BridgeClient {
    bool grouped;
    bool has;              /* an assignment */
    bool evicted;          /* the group went on without it, which it does not know yet */
    bool dead;             /* its process was killed: the group waits for it until the session timeout */
    unsigned last_records; /* that it hands out all the same: they were fetched before */
    uint64_t generation;   /* of the assignment that it has, or that was offered */
    ReadPartition reads[READ_MAX];
    size_t read_count;
    ClientPartition offered[READ_MAX];
    usec_t polled_at; /* boot */
    char key[32], value[160];
    EventHeader headers[1];
};

/* ---- what is there --------------------------------------------------------------------------- */

static FleetBroker *broker(void) {
    return &fleet->broker;
}

FleetPartition *broker_find(const char *topic, int32_t partition) {
    for (size_t i = 0; i < broker()->topic_count; i++) {
        FleetTopic *found = &broker()->topics[i];
        if (strcmp(found->name, topic) != 0) continue;
        return partition >= 0 && (size_t)partition < found->partition_count ? &found->partitions[partition] : NULL;
    }
    return NULL;
}

static void add_partition(FleetTopic *topic) {
    expect(topic->partition_count < PARTITIONS_MAX);
    FleetPartition *partition = &topic->partitions[topic->partition_count++];
    for (size_t i = 0; i < FLEET_SINKS_MAX; i++) partition->must_from[i] = INT64_MAX;
}

void broker_begin(void) {
    broker()->topic_count = 1 + (size_t)below(TOPICS_MOST);
    for (size_t i = 0; i < broker()->topic_count; i++) {
        FleetTopic *topic = &broker()->topics[i];
        (void)snprintf(topic->name, sizeof topic->name, "topic-%u", (unsigned)i % 10);
        for (uint64_t count = 1 + below(3); count > 0; count--) add_partition(topic);
    }
}

void broker_deinit(void) {
    for (size_t i = 0; i < broker()->member_count; i++) {
        expect(broker()->members[i]->dead);
        free(broker()->members[i]);
    }
    for (size_t i = 0; i < broker()->topic_count; i++)
        for (size_t k = 0; k < broker()->topics[i].partition_count; k++) free(broker()->topics[i].partitions[k].entries);
}

static FleetEntry *add_entry(FleetPartition *partition, EntryKind kind) {
    size_t count = (size_t)partition->end;
    array_reserve(partition->entries, count, partition->capacity);
    FleetEntry *entry = &partition->entries[partition->end++];
    *entry = (FleetEntry){.kind = kind, .at = course.clock.wall_now};
    return entry;
}

static FleetPartition *any_partition(void) {
    FleetTopic *topic = &broker()->topics[below(broker()->topic_count)];
    return &topic->partitions[below(topic->partition_count)];
}

void broker_produce(void) {
    FleetPartition *partition = any_partition();
    EntryKind kind = chance(80) ? ENTRY_RECORD : chance(50) ? ENTRY_GAP : ENTRY_OPEN;
    for (uint64_t count = 1 + below(chance(10) ? 60 : 8); count > 0; count--) {
        FleetEntry *entry = add_entry(partition, kind);
        entry->tombstone = chance(5);
        entry->invalid = chance(5);
        broker()->produced += kind == ENTRY_RECORD;
        broker()->aborted += kind == ENTRY_GAP;
    }
    if (kind == ENTRY_RECORD && chance(20)) (void)add_entry(partition, ENTRY_GAP); /* a control record */
}

void broker_end_transactions(void) {
    for (size_t i = 0; i < broker()->topic_count; i++) {
        for (size_t k = 0; k < broker()->topics[i].partition_count; k++) {
            FleetPartition *partition = &broker()->topics[i].partitions[k];
            EntryKind kind = chance(50) ? ENTRY_RECORD : ENTRY_GAP;
            bool any = false;
            for (int64_t at = partition->first; at < partition->end; at++) {
                FleetEntry *entry = &partition->entries[at];
                if (entry->kind != ENTRY_OPEN) continue;
                entry->kind = kind;
                any = true;
                broker()->produced += kind == ENTRY_RECORD;
            }
            if (any) (void)add_entry(partition, ENTRY_GAP);
        }
    }
}

int64_t broker_stable_end(const FleetPartition *partition) {
    for (int64_t at = partition->first; at < partition->end; at++)
        if (partition->entries[at].kind == ENTRY_OPEN) return at;
    return partition->end;
}

void broker_add_partition(void) {
    FleetTopic *topic = &broker()->topics[below(broker()->topic_count)];
    if (topic->partition_count == PARTITIONS_MAX) return;
    add_partition(topic);
    if (chance(50)) broker()->group_generation++; /* members notice it by their metadata, now or at some later time */
    say("%s has %zu partitions", topic->name, topic->partition_count);
}

void broker_trim(void) {
    FleetPartition *partition = any_partition();
    int64_t end = broker_stable_end(partition);
    if (end <= partition->first) return;
    int64_t count = 1 + (int64_t)below((uint64_t)(end - partition->first));
    partition->first += count;
    broker()->trimmed += (uint64_t)count;
    say("retention: a partition begins at %lld now", (long long)partition->first);
}

size_t broker_body(const char *topic, int32_t partition, int64_t offset, const FleetEntry *entry, char *out, size_t size) {
    int length = entry->invalid ? snprintf(out, size, "{\"no\": %lld}", (long long)offset)
                                : snprintf(out, size, "{\"v\": \"%s/%d/%lld\"}", topic, partition, (long long)offset);
    expect(length > 0 && (size_t)length < size);
    return (size_t)length;
}

/* ---- the group ------------------------------------------------------------------------------- */

static void join(BridgeClient *client) {
    expect(broker()->member_count < sizeof broker()->members / sizeof *broker()->members);
    broker()->members[broker()->member_count++] = client;
    broker()->group_generation++;
    client->evicted = false;
}

static void leave(BridgeClient *client) {
    for (size_t i = 0; i < broker()->member_count; i++) {
        if (broker()->members[i] != client) continue;
        memmove(&broker()->members[i], &broker()->members[i + 1], (--broker()->member_count - i) * sizeof *broker()->members);
        broker()->group_generation++;
        return;
    }
}

void broker_evict(void) {
    for (size_t i = broker()->member_count; i-- > 0;) {
        BridgeClient *client = broker()->members[i];
        if (course.clock.boot_now - client->polled_at <= SESSION_TIMEOUT) continue;
        say("a member is evicted");
        client->evicted = true;
        client->last_records = (unsigned)below(20);
        leave(client);
        if (client->dead) free(client);
        broker()->evictions++;
    }
}

/* Has every member let go of what it had? */
static bool is_ready(void) {
    for (size_t i = 0; i < broker()->member_count; i++) {
        const BridgeClient *member = broker()->members[i];
        if (member->has && member->generation != broker()->group_generation) return false;
    }
    return true;
}

static size_t assignment_of(const BridgeClient *client, ClientPartition *ret_partitions) {
    size_t count = 0, place = 0;
    while (place < broker()->member_count && broker()->members[place] != client) place++;
    for (size_t i = 0; i < broker()->topic_count; i++) {
        FleetTopic *topic = &broker()->topics[i];
        for (size_t k = 0; k < topic->partition_count; k++) {
            if (client->grouped && (k + broker()->group_generation) % broker()->member_count != place) continue;
            ret_partitions[count++] = (ClientPartition){.topic = topic->name, .partition = (int32_t)k};
        }
    }
    return count;
}

/* ---- a member -------------------------------------------------------------------------------- */

static int client_open(const Source *source, const Connection *connection, const char *data_directory, uint32_t project,
                       const SinkPatience *patience, BridgeClient **ret_client, SinkFault *ret_fault, Error *error) {
    BridgeClient *client = calloc(1, sizeof *client);
    check(client);
    client->grouped = true;
    client->polled_at = course.clock.boot_now;
    join(client);
    *ret_client = client;
    return 0;
}

static bool client_close(BridgeClient *take_client, usec_t limit) {
    if (!take_client) return true;
    if (broker()->kills && !take_client->evicted) {
        take_client->dead = true;
        return true;
    }
    leave(take_client);
    free(take_client);
    return true;
}

static ClientEventKind give_record(BridgeClient *client, size_t index, ClientEvent *ret_event) {
    ReadPartition *read = &client->reads[index];
    const FleetEntry *entry = &read->topic->partitions[read->partition].entries[read->next];
    size_t size = broker_body(read->topic->name, read->partition, read->next, entry, client->value, sizeof client->value);
    (void)snprintf(client->key, sizeof client->key, "key-%lld", (long long)(read->next % 7));
    *ret_event = (ClientEvent){.kind = CLIENT_RECORD, .index = index, .offset = read->next};
    ret_event->record = (ClientRecord){.offset = read->next,
                                       .timestamp = entry->at,
                                       .key = span_of(client->key),
                                       .value = entry->tombstone ? (Span){0} : (Span){client->value, size},
                                       .headers = client->headers};
    read->next++;
    return CLIENT_RECORD;
}

/* CLIENT_NOTHING: there is nothing of it. */
static ClientEventKind read_partition(BridgeClient *client, size_t index, ClientEvent *ret_event) {
    ReadPartition *read = &client->reads[index];
    FleetPartition *partition = &read->topic->partitions[read->partition];
    if (read->paused || read->out_of_range) return CLIENT_NOTHING;
    if (read->next < partition->first || read->next > partition->end) {
        read->out_of_range = true;
        broker()->out_of_range++;
        *ret_event = (ClientEvent){.kind = CLIENT_OUT_OF_RANGE, .index = index, .offset = read->next};
        return CLIENT_OUT_OF_RANGE;
    }
    int64_t end = broker_stable_end(partition);
    while (read->next < end && partition->entries[read->next].kind == ENTRY_GAP) read->next++;
    if (read->next < end) return give_record(client, index, ret_event);
    if (read->next > end || read->told_end == read->next) return CLIENT_NOTHING;
    read->told_end = read->next;
    *ret_event = (ClientEvent){.kind = CLIENT_END, .index = index, .offset = read->next};
    return CLIENT_END;
}

static ClientEventKind read_any(BridgeClient *client, ClientEvent *ret_event) {
    size_t start = client->read_count > 0 ? (size_t)below(client->read_count) : 0;
    for (size_t i = 0; i < client->read_count; i++) {
        ClientEventKind kind = read_partition(client, (start + i) % client->read_count, ret_event);
        if (kind != CLIENT_NOTHING) return kind;
    }
    return CLIENT_NOTHING;
}

static ClientEventKind lose(BridgeClient *client, ClientEvent *ret_event) {
    client->has = false;
    client->read_count = 0;
    *ret_event = (ClientEvent){.kind = CLIENT_REVOKED, .index = CLIENT_NO_INDEX};
    return CLIENT_REVOKED;
}

static ClientEventKind client_poll(BridgeClient *client, usec_t wait, ClientEvent *ret_event) {
    *ret_event = (ClientEvent){.kind = CLIENT_NOTHING, .index = CLIENT_NO_INDEX};
    client->polled_at = course.clock.boot_now;
    if (client->evicted) {
        if (client->has && client->last_records > 0) {
            client->last_records--;
            ClientEventKind kind = read_any(client, ret_event);
            if (kind != CLIENT_NOTHING) return kind;
        }
        join(client);
        if (client->has) return lose(client, ret_event);
    }
    if (broker()->down) {
        if (chance(80)) return CLIENT_NOTHING;
        ret_event->kind = CLIENT_PASSING_TROUBLE;
        (void)error_set(&ret_event->error, -ECONNREFUSED, "The broker is down.");
        return CLIENT_PASSING_TROUBLE;
    }
    if (client->grouped && (!client->has || client->generation != broker()->group_generation)) {
        if (client->has) return lose(client, ret_event);
        if (!is_ready()) return CLIENT_NOTHING;
        client->generation = broker()->group_generation;
        *ret_event = (ClientEvent){.kind = CLIENT_ASSIGNED,
                                   .index = CLIENT_NO_INDEX,
                                   .generation = client->generation,
                                   .partitions = client->offered,
                                   .partition_count = assignment_of(client, client->offered)};
        client->has = true; /* others wait until it lets go, as from here on it may read */
        client->read_count = 0;
        broker()->rebalances++;
        return CLIENT_ASSIGNED;
    }
    if (!fleet->quiet && chance(10)) return CLIENT_NOTHING; /* not fetched yet */
    ClientEventKind kind = read_any(client, ret_event);
    ret_event->kind = kind;
    return kind;
}

static int fill_topics(Arena *arena, ClientTopics *ret_topics) {
    ret_topics->items = arena_zalloc(arena, broker()->topic_count * sizeof *ret_topics->items);
    ret_topics->count = broker()->topic_count;
    ret_topics->cluster = CLUSTER;
    for (size_t i = 0; i < broker()->topic_count; i++)
        ret_topics->items[i] = (ClientTopic){.name = broker()->topics[i].name, .partition_count = broker()->topics[i].partition_count};
    return 0;
}

static bool is_silent(void) {
    return broker()->down || (!fleet->quiet && chance(5));
}

static int client_topics(BridgeClient *client, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error) {
    if (is_silent()) {
        *ret_fault = SINK_FAULT_UNREACHABLE;
        return error_set(error, -ETIMEDOUT, "The broker does not answer.");
    }
    *ret_fault = SINK_SOUND;
    return fill_topics(arena, ret_topics);
}

/* startFrom is the earliest in one half of the seeds, else the latest. */
static int client_offsets(BridgeClient *client, ClientOffset *offsets, size_t count, usec_t limit, Error *error) {
    bool silent = is_silent();
    for (size_t i = 0; i < count; i++) {
        const FleetPartition *partition = broker_find(offsets[i].topic, offsets[i].partition);
        bool latest = offsets[i].when == CLIENT_LATEST || (offsets[i].when == CLIENT_START && course.seed % 2 == 1);
        offsets[i].failed = silent || !partition;
        if (!offsets[i].failed) offsets[i].offset = latest ? broker_stable_end(partition) : partition->first;
    }
    return silent ? error_set(error, -ETIMEDOUT, "The broker does not answer.") : 0;
}

static int client_assign(BridgeClient *client, uint64_t generation, const ClientPartition *partitions, size_t count, Error *error) {
    if (client->grouped && (!client->has || generation != client->generation)) return CLIENT_ASSIGN_STALE;
    expect(count <= READ_MAX);
    client->read_count = count;
    for (size_t i = 0; i < count; i++) {
        FleetTopic *topic = NULL;
        for (size_t k = 0; k < broker()->topic_count; k++)
            if (strcmp(broker()->topics[k].name, partitions[i].topic) == 0) topic = &broker()->topics[k];
        expect(topic);
        client->reads[i] = (ReadPartition){
            .topic = topic, .partition = partitions[i].partition, .next = partitions[i].offset, .told_end = -1};
    }
    return 0;
}

static int client_seek(BridgeClient *client, size_t index, int64_t offset, Error *error) {
    expect(index < client->read_count && offset >= 0);
    client->reads[index].next = offset;
    client->reads[index].told_end = -1;
    client->reads[index].out_of_range = false;
    return 0;
}

static int client_pause(BridgeClient *client, size_t index, Error *error) {
    expect(index < client->read_count);
    client->reads[index].paused = true;
    return 0;
}

static int client_resume(BridgeClient *client, size_t index, Error *error) {
    expect(index < client->read_count);
    client->reads[index].paused = false;
    return 0;
}

static void client_bounds(const BridgeClient *client, size_t index, int64_t *ret_first, int64_t *ret_end) {
    expect(index < client->read_count);
    const FleetPartition *partition = &client->reads[index].topic->partitions[client->reads[index].partition];
    *ret_first = partition->first;
    *ret_end = broker_stable_end(partition);
}

static void client_commit(BridgeClient *client, const ClientPartition *offsets, size_t count) {
}

const BridgeClientType fleet_client = {
    .name = "simulated",
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
    .commit = client_commit,
};
