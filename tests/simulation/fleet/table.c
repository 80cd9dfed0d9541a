/* A destination with rows, a ledger and positions in transactions: it commits, fails and lies about
 * it, and other nodes come in between. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "mapping/row.h"
#include "sinks/import_runs.h"
#include "tests/simulation/fleet/fleet.h"

struct SinkSession {
    int nothing;
};

static FleetDestination *destination(void) {
    return &fleet->destination;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void table_deinit(FleetTable *table) {
    for (size_t i = 0; i < table->ledger_count; i++) free(table->ledger[i].outcomes);
    free(table->ledger);
    free(table->positions);
    free(table->rows);
    *table = (FleetTable){0};
}

static void *copy_of(const void *items, size_t bytes) {
    void *copy = malloc(bytes + 1);
    check(copy);
    if (bytes > 0) memcpy(copy, items, bytes);
    return copy;
}

static void table_copy(FleetTable *to, const FleetTable *from) {
    table_deinit(to);
    *to = *from;
    to->position_capacity = from->position_count;
    to->ledger_capacity = from->ledger_count;
    to->row_capacity = from->row_count;
    to->positions = copy_of(from->positions, from->position_count * sizeof *from->positions);
    to->ledger = copy_of(from->ledger, from->ledger_count * sizeof *from->ledger);
    to->rows = copy_of(from->rows, from->row_count * sizeof *from->rows);
    for (size_t i = 0; i < to->ledger_count; i++)
        if (to->ledger[i].outcomes) to->ledger[i].outcomes = strdup(from->ledger[i].outcomes);
}

static void count_rows(void) {
    for (size_t i = 0; i < fleet->broker.topic_count; i++) {
        FleetTopic *topic = &fleet->broker.topics[i];
        for (size_t k = 0; k < topic->partition_count; k++)
            for (int64_t at = 0; at < topic->partitions[k].end; at++)
                memset(topic->partitions[k].entries[at].copies, 0, sizeof topic->partitions[k].entries[at].copies);
    }
    for (size_t i = 0; i < destination()->now.row_count; i++) {
        const FleetRow *row = &destination()->now.rows[i];
        broker_find(row->topic, row->partition)->entries[row->offset].copies[row->sink]++;
    }
}

void destination_back_up(void) {
    table_copy(&destination()->saved, &destination()->now);
    destination()->has_backup = true;
}

void destination_restore(void) {
    if (!destination()->has_backup) return;
    say("the destination is restored: %zu rows instead of %zu", destination()->saved.row_count, destination()->now.row_count);
    table_copy(&destination()->now, &destination()->saved);
    count_rows();
    destination()->restores++;
}

void destination_deinit(void) {
    table_deinit(&destination()->now);
    table_deinit(&destination()->saved);
}

static unsigned sink_of(const SinkTarget *target) {
    unsigned sink = (unsigned)strtoul(target->table.table_id + 1, NULL, 10);
    expect(sink < fleet->sink_count);
    return sink;
}

static FleetPosition *find_position(const char *table, const PartitionKey *key) {
    expect(strcmp(key->cluster, CLUSTER) == 0 && strcmp(key->group, GROUP) == 0);
    for (size_t i = 0; i < destination()->now.position_count; i++) {
        FleetPosition *position = &destination()->now.positions[i];
        if (position->partition == key->partition && position->generation == key->generation && strcmp(position->topic, key->topic) == 0 &&
            strcmp(position->table, table) == 0)
            return position;
    }
    return NULL;
}

FleetPosition *destination_position(unsigned sink, const char *topic, int32_t partition) {
    char table[16];
    (void)snprintf(table, sizeof table, "t%u", sink);
    return find_position(table, &(PartitionKey){.cluster = CLUSTER, .group = GROUP, .topic = topic, .partition = partition});
}

static void add_position(const char *table, const PartitionKey *key, int64_t next) {
    FleetTable *now = &destination()->now;
    array_reserve(now->positions, now->position_count, now->position_capacity);
    FleetPosition *position = &now->positions[now->position_count++];
    *position = (FleetPosition){.generation = key->generation, .partition = key->partition, .next = next};
    (void)snprintf(position->table, sizeof position->table, "%s", table);
    (void)snprintf(position->topic, sizeof position->topic, "%s", key->topic);
}

static void read_positions(const char *table, ImportPosition *positions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const FleetPosition *found = find_position(table, &positions[i].key);
        positions[i].found = found != NULL;
        positions[i].read = found ? found->next : 0;
    }
}

/* Compare-and-set, all or none. */
static bool set_positions(const char *table, const ImportPosition *positions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (positions[i].next == positions[i].read) continue;
        const FleetPosition *found = find_position(table, &positions[i].key);
        if (!found || found->next != positions[i].read) return false;
    }
    for (size_t i = 0; i < count; i++)
        if (positions[i].next != positions[i].read) find_position(table, &positions[i].key)->next = positions[i].next;
    return true;
}

/* ---- imports --------------------------------------------------------------------------------- */

typedef struct Transaction {
    ImportJob *job;
    const char *table;
    unsigned sink;
    FleetRow *rows;
    size_t row_count, row_capacity;
} Transaction;

static FleetLedger *find_ledger(const Uuid *file) {
    for (size_t i = 0; i < destination()->now.ledger_count; i++)
        if (uuid_equal(&destination()->now.ledger[i].file, file)) return &destination()->now.ledger[i];
    return NULL;
}

static void take_row(Transaction *transaction, Span text) {
    char bridge[128], copy[256];
    expect(text.size < sizeof copy);
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    array_reserve(transaction->rows, transaction->row_count, transaction->row_capacity);
    FleetRow *row = &transaction->rows[transaction->row_count++];
    *row = (FleetRow){.sink = transaction->sink};
    /* kafka:TOPIC:PARTITION:OFFSET and TOPIC/PARTITION/OFFSET, perhaps quoted */
    char value[128];
    char *unquoted = copy;
    for (char *c = copy; *c; c++)
        if (*c != '"' && *c != '\n') *unquoted++ = *c;
    *unquoted = '\0';
    bool is_deletion = sscanf(copy, "%127[^,],,%127s", bridge, value) == 2 && strcmp(value, "d") == 0;
    if (!is_deletion && sscanf(copy, "%127[^,],%127[^,]", bridge, value) != 2) fail("a row is \"%s\"", copy);
    char topic[16], topic_of_value[16];
    int partition, partition_of_value;
    long long offset, offset_of_value;
    if (sscanf(bridge, "kafka:%15[^:]:%d:%lld", topic, &partition, &offset) != 3) fail("the bridge column is \"%s\"", bridge);
    if (is_deletion) (void)snprintf(value, sizeof value, "%s/%d/%lld", topic, partition, offset);
    if (sscanf(value, "%15[^/]/%d/%lld", topic_of_value, &partition_of_value, &offset_of_value) != 3) fail("the value is \"%s\"", value);
    if (strcmp(topic, topic_of_value) != 0 || partition != partition_of_value || offset != offset_of_value)
        fail("the row of %s is of %s", bridge, value);
    (void)snprintf(row->topic, sizeof row->topic, "%s", topic);
    row->partition = partition;
    row->offset = offset;
    const FleetPartition *found = broker_find(topic, partition);
    if (!found || offset >= found->end || found->entries[offset].kind != ENTRY_RECORD)
        fail("a row of %s, which is no committed record", bridge);
    if (is_deletion != found->entries[offset].tombstone) fail("the row of %s is \"%s\"", bridge, copy);
}

static int read_rows(Transaction *transaction, ImportFile *file, Error *error) {
    uint64_t rows = 0;
    int r = file->reader->seek(file->reader, file->first_row, error);
    while (r == 0) {
        Span csv;
        uint64_t first, count;
        r = file->reader->block(file->reader, &csv, &first, &count, error);
        for (; r == 0 && count > 0; count--, rows++) {
            size_t size = row_size(csv);
            expect(size > 0);
            take_row(transaction, (Span){csv.data, size});
            csv.data += size;
            csv.size -= size;
        }
    }
    if (r < 0) return r;
    if (rows != file->rows - file->left_out)
        fail("a file of %llu rows less %llu gave %llu", (unsigned long long)file->rows, (unsigned long long)file->left_out,
             (unsigned long long)rows);
    return 0;
}

static void begin_file(Transaction *transaction, size_t index) {
    ImportJob *job = transaction->job;
    ImportFile *file = &job->files[index];
    const FleetLedger *there = find_ledger(&file->id);
    file->already_imported = there != NULL;
    import_runs_decide(job, index);
    if (!there) return;
    expect(there->first_row == file->first_row && there->checksum == file->checksum);
    import_runs_take_back(job, index);
    if (there->outcomes) {
        expect(runs_take_outcomes(file->runs, file->run_count, there->outcomes));
    } else {
        for (size_t i = 0; i < file->run_count; i++) file->runs[i].outcome = RUN_TAKEN;
    }
    file->left_out = there->left_out;
    destination()->found_imported++;
}

static void commit(Transaction *transaction) {
    ImportJob *job = transaction->job;
    FleetTable *now = &destination()->now;
    for (size_t i = 0; i < job->file_count; i++) {
        const ImportFile *file = &job->files[i];
        for (size_t k = 0; k < file->run_count; k++) {
            destination()->overtaken += file->runs[k].outcome == RUN_OVERTAKEN;
            destination()->returned += file->runs[k].outcome == RUN_RETURNED;
        }
        if (file->already_imported) continue;
        Buffer outcomes = {0};
        runs_put_outcomes(file->runs, file->run_count, &outcomes);
        array_reserve(now->ledger, now->ledger_count, now->ledger_capacity);
        now->ledger[now->ledger_count++] = (FleetLedger){.file = file->id,
                                                         .first_row = file->first_row,
                                                         .rows = file->rows,
                                                         .bytes = file->bytes,
                                                         .checksum = file->checksum,
                                                         .left_out = file->left_out,
                                                         .outcomes = strdup(buffer_text(&outcomes))};
        buffer_deinit(&outcomes);
    }
    for (size_t i = 0; i < job->settled_count; i++) {
        FleetLedger *row = find_ledger(&job->settled[i]);
        if (!row) continue;
        free(row->outcomes);
        *row = now->ledger[--now->ledger_count];
    }
    for (size_t i = 0; i < transaction->row_count; i++) {
        const FleetRow *row = &transaction->rows[i];
        FleetEntry *entry = &broker_find(row->topic, row->partition)->entries[row->offset];
        if (entry->copies[row->sink]++ > 0)
            fail("sink %u has %s/%d/%lld a second time", row->sink, row->topic, row->partition, (long long)row->offset);
        array_reserve(now->rows, now->row_count, now->row_capacity);
        now->rows[now->row_count++] = *row;
    }
    destination()->imports++;
}

static SinkResult try_once(Transaction *transaction, bool *ret_collided, Error *error) {
    ImportJob *job = transaction->job;
    transaction->row_count = 0;
    *ret_collided = false;
    read_positions(transaction->table, job->positions, job->position_count);
    SinkResult result = import_runs_begin(job, error);
    if (result != SINK_DONE) return result;
    for (size_t i = 0; i < job->file_count; i++) begin_file(transaction, i);
    for (size_t i = 0; i < job->file_count; i++) {
        ImportFile *file = &job->files[i];
        if (file->already_imported) continue;
        import_runs_leave_out(file);
        if (read_rows(transaction, file, error) < 0) return SINK_RETRY;
    }
    if (chance(40)) fleet_interrupt();
    for (size_t i = 0; i < job->file_count; i++) { /* the insert of an id waits for another session's */
        if (!job->files[i].already_imported && find_ledger(&job->files[i].id)) {
            *ret_collided = true;
            return SINK_DONE;
        }
    }
    *ret_collided = !set_positions(transaction->table, job->positions, job->position_count);
    return SINK_DONE;
}

static SinkResult end_import(Transaction *transaction, Error *error) {
    bool faulty = !fleet->quiet && chance(fleet->fault_percent);
    uint64_t kind = below(4);
    commit(transaction);
    if (faulty && kind == 0) {
        (void)error_set(error, -ECONNRESET, "The connection was cut around the commit.");
        return SINK_RETRY;
    }
    return SINK_DONE;
}

static SinkResult fleet_import(SinkSession *session, ImportJob *job, Error *error) {
    if (destination()->down) {
        (void)error_set(error, -ECONNRESET, "The destination went down.");
        return SINK_UNREACHABLE;
    }
    if (!fleet->quiet && chance(fleet->fault_percent / 2)) {
        (void)error_set(error, -ETIMEDOUT, "The connection was cut before the commit.");
        return SINK_RETRY;
    }
    expect(import_has_runs(job));
    job->proven_absent = false;
    Transaction transaction = {.job = job, .table = job->target->table.table_id, .sink = sink_of(job->target)};
    SinkResult result = SINK_DONE;
    bool collided = true;
    for (unsigned i = 0; i < IMPORT_STARTS_MAX && collided && result == SINK_DONE; i++) {
        result = try_once(&transaction, &collided, error);
        destination()->collisions += collided;
    }
    if (result == SINK_DONE && collided) {
        (void)error_set(error, -EBUSY, "A position changes all the time.");
        result = SINK_RETRY;
    }
    if (result == SINK_DONE) result = end_import(&transaction, error);
    if (result != SINK_DONE) import_runs_forget(job);
    free(transaction.rows);
    return result;
}

/* ---- positions ------------------------------------------------------------------------------- */

static SinkResult may_answer(Error *error) {
    if (!destination()->down && (fleet->quiet || !chance(fleet->fault_percent / 4))) return SINK_DONE;
    (void)error_set(error, -ECONNRESET, "The destination does not answer.");
    return SINK_UNREACHABLE;
}

static void must_have(unsigned sink, const PartitionKey *key, int64_t from) {
    broker_find(key->topic, key->partition)->must_from[sink] = from;
}

static SinkResult fleet_claim(SinkSession *session, ClaimJob *job, Error *error) {
    SinkResult result = may_answer(error);
    if (result != SINK_DONE) return result;
    const char *table = job->target->table.table_id;
    bool any = false;
    for (size_t i = 0; i < destination()->now.position_count; i++) any = any || strcmp(destination()->now.positions[i].table, table) == 0;
    free(claim_positions(job));
    for (size_t i = 0; i < job->count; i++) {
        PositionClaim *claim = &job->claims[i];
        const FleetPosition *found = find_position(table, &claim->key);
        claim->was_there = found != NULL;
        claim->next = found ? found->next : any ? claim->earliest : claim->start;
        if (found) continue;
        add_position(table, &claim->key, claim->next);
        must_have(sink_of(job->target), &claim->key, claim->next);
    }
    return !fleet->quiet && chance(fleet->fault_percent / 4) ? SINK_RETRY : SINK_DONE; /* done, and nobody hears of it */
}

static SinkResult fleet_advance(SinkSession *session, PositionsJob *job, Error *error) {
    SinkResult result = may_answer(error);
    if (result != SINK_DONE) return result;
    const char *table = job->target->table.table_id;
    for (unsigned i = 0; i < IMPORT_STARTS_MAX; i++) {
        read_positions(table, job->positions, job->position_count);
        result = positions_job_decide(job, error);
        if (result != SINK_DONE) return result;
        if (chance(20)) fleet_interrupt();
        if (set_positions(table, job->positions, job->position_count)) return SINK_DONE;
    }
    (void)error_set(error, -EBUSY, "A position changes all the time.");
    return SINK_RETRY;
}

/* A seek of an admin says from where on the table must have everything. */
static SinkResult fleet_seek(SinkSession *session, SeekJob *job, Error *error) {
    SinkResult result = may_answer(error);
    if (result != SINK_DONE) return result;
    const char *table = job->target->table.table_id;
    seek_assert(job);
    ImportPosition *before = copy_of(job->positions, job->count * sizeof *job->positions);
    read_positions(table, job->positions, job->count);
    result = seek_check(job, before, error);
    for (size_t i = 0; i < job->count && result == SINK_DONE; i++) {
        const ImportPosition *position = &job->positions[i];
        FleetPosition *found = find_position(table, &position->key);
        const FleetPartition *partition = broker_find(position->key.topic, position->key.partition);
        if (!job->compare && position->next > partition->must_from[sink_of(job->target)])
            must_have(sink_of(job->target), &position->key, position->next);
        if (found)
            found->next = position->next;
        else
            add_position(table, &position->key, position->next);
        destination()->seeks++;
    }
    free(before);
    return result;
}

static int by_key(const void *a, const void *b) {
    return partition_key_compare(&((const ListedPosition *)a)->key, &((const ListedPosition *)b)->key);
}

static SinkResult fleet_list(SinkSession *session, const SinkTarget *target, const char *group, Arena *arena, ListedPosition **ret_list,
                             size_t *ret_count, Error *error) {
    SinkResult result = may_answer(error);
    if (result != SINK_DONE) return result;
    *ret_list = arena_zalloc(arena, (destination()->now.position_count + 1) * sizeof **ret_list);
    *ret_count = 0;
    for (size_t i = 0; i < destination()->now.position_count; i++) {
        const FleetPosition *position = &destination()->now.positions[i];
        if (strcmp(position->table, target->table.table_id) != 0) continue;
        (*ret_list)[(*ret_count)++] = (ListedPosition){
            .key = {.cluster = CLUSTER,
                    .group = GROUP,
                    .topic = arena_copy(arena, span_of(position->topic)),
                    .generation = position->generation,
                    .partition = position->partition},
            .next = position->next,
        };
    }
    qsort(*ret_list, *ret_count, sizeof **ret_list, by_key);
    return SINK_DONE;
}

static const PositionsDriver fleet_positions = {.claim = fleet_claim, .advance = fleet_advance, .seek = fleet_seek, .list = fleet_list};

/* ---- sessions -------------------------------------------------------------------------------- */

static SinkResult fleet_connect(const Connection *connection, const char *data_directory, const char *application_name,
                                const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    if (destination()->down) {
        (void)error_set(error, -ECONNREFUSED, "The destination is down.");
        return SINK_UNREACHABLE;
    }
    *ret_session = calloc(1, sizeof **ret_session);
    check(*ret_session);
    return SINK_DONE;
}

static SinkResult fleet_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    return SINK_DONE;
}

static SinkResult fleet_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    *ret_inspection = (TableInspection){0};
    return SINK_DONE;
}

static SinkResult fleet_look_up(SinkSession *session, const Uuid *file, bool *ret_found, Error *error) {
    *ret_found = find_ledger(file) != NULL;
    return SINK_DONE;
}

static void fleet_disconnect(SinkSession *session) {
    free(session);
}

const SinkDriver fleet_driver = {
    .transactional = true,
    .keeps_ledger = true,
    .keeps_order = true,
    .positions = &fleet_positions,
    .connect = fleet_connect,
    .prepare = fleet_prepare,
    .inspect = fleet_inspect,
    .import = fleet_import,
    .look_up = fleet_look_up,
    .disconnect = fleet_disconnect,
};
