/* A destination that does what its ledger contract says, and around that everything that real ones
 * do: refuse, vanish, answer late. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mapping/row.h"
#include "tests/simulation/world.h"

struct SinkSession {
    Destination *destination;
};

/* One row in a transaction that is not committed. */
typedef struct Arrival {
    size_t row;
    uint64_t number;
} Arrival;

typedef struct Transaction {
    Destination *destination;
    ImportJob *job;
    uint32_t sink; /* number */
    LedgerRow ledger[32];
    size_t ledger_count;
    Arrival *arrivals;
    size_t count, capacity;
    SinkReject *rejects;
    Buffer reject_texts;
    size_t *reject_offsets;
    size_t reject_count, reject_capacity;
} Transaction;

static SinkResult simulated_connect(const Connection *connection, const char *data_directory, const char *application_name,
                                    const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    Destination *destination = &world->destinations[strcmp(connection->name, "second") == 0];
    if (destination->down) {
        (void)error_set(error, -ECONNREFUSED, "The destination is down.");
        return SINK_UNREACHABLE;
    }
    SinkSession *session = calloc(1, sizeof *session);
    check(session);
    session->destination = destination;
    *ret_session = session;
    return SINK_DONE;
}

static SinkResult simulated_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    expect(target->column_count == COLUMNS);
    return SINK_DONE;
}

static SinkResult simulated_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    *ret_inspection = (TableInspection){0};
    return SINK_DONE;
}

static LedgerRow *find_ledger(Destination *destination, const Uuid *file) {
    for (size_t i = 0; i < destination->ledger_count; i++)
        if (uuid_equal(&destination->ledger[i].file, file)) return &destination->ledger[i];
    return NULL;
}

/* No course of the simulation makes the data directory older than the destination. */
static void judge_history(const Transaction *transaction) {
    LedgerHistory *history = transaction->job->history;
    Error error = {0};
    if (!history) return;
    ledger_history_begin(history);
    for (size_t i = 0; i < transaction->destination->ledger_count; i++) {
        const LedgerRow *row = &transaction->destination->ledger[i];
        if (row->sink == transaction->sink) ledger_history_note(history, &row->file, row->first_row, row->rows);
    }
    transaction->destination->judged++;
    if (ledger_history_judge(history, &error) < 0) fail("%s", error.text);
}

static SinkResult enter_ledger(Transaction *transaction, ImportFile *file, Error *error) {
    const LedgerRow entry = {.file = file->id,
                             .sink = transaction->sink,
                             .first_row = file->first_row,
                             .rows = file->rows,
                             .bytes = file->bytes,
                             .checksum = file->checksum};
    const LedgerRow *there = find_ledger(transaction->destination, &file->id);
    file->already_imported = there != NULL;
    transaction->destination->found_imported += file->already_imported;
    if (!there) {
        expect(transaction->ledger_count < sizeof transaction->ledger / sizeof *transaction->ledger);
        transaction->ledger[transaction->ledger_count++] = entry;
        return SINK_DONE;
    }
    if (there->first_row == entry.first_row && there->rows == entry.rows && there->bytes == entry.bytes &&
        there->checksum == entry.checksum)
        return SINK_DONE;
    fail("ledgerConflict");
}

static bool is_refused(const Transaction *transaction, Span text) {
    if (!transaction->destination->refuses_bad_rows) return false;
    return memmem(text.data, text.size, "BAD", 3) != NULL;
}

static void take_row(Transaction *transaction, const ImportFile *file, Span text, uint64_t number) {
    ModelRow *row = model_find(&world->model, text);
    const SinkTarget *target = transaction->job->target;
    if (strtoul(target->columns[2].name + 1, NULL, 10) != row->version)
        fail("a row of mapping version %u went to a table of %s", row->version, target->columns[2].name);
    expect(row->number == 0 || row->number == number);
    if (is_refused(transaction, text)) {
        if (transaction->reject_count == transaction->reject_capacity) {
            transaction->reject_capacity = transaction->reject_capacity ? 2 * transaction->reject_capacity : 16;
            transaction->rejects = realloc(transaction->rejects, transaction->reject_capacity * sizeof *transaction->rejects);
            transaction->reject_offsets = realloc(transaction->reject_offsets,
                                                  transaction->reject_capacity * sizeof *transaction->reject_offsets);
            check(transaction->rejects && transaction->reject_offsets);
        }
        transaction->reject_offsets[transaction->reject_count] = transaction->reject_texts.size;
        transaction->rejects[transaction->reject_count++] = (SinkReject){
            .row = number, .file = &file->id, .reason = "a check constraint", .csv = {.size = text.size}};
        buffer_append_span(&transaction->reject_texts, text);
        return;
    }
    if (transaction->count == transaction->capacity) {
        transaction->capacity = transaction->capacity ? 2 * transaction->capacity : 64;
        transaction->arrivals = realloc(transaction->arrivals, transaction->capacity * sizeof *transaction->arrivals);
        check(transaction->arrivals);
    }
    transaction->arrivals[transaction->count++] = (Arrival){.row = (size_t)(row - world->model.rows), .number = number};
}

static int read_blocks(Transaction *transaction, ImportFile *file, uint64_t *rows, Error *error) {
    for (;;) {
        Span csv;
        uint64_t first, count;
        int r = file->reader->block(file->reader, &csv, &first, &count, error);
        if (r != 0) return r;
        for (; count > 0; count--, first++, ++*rows) {
            size_t size = row_size(csv);
            expect(size > 0);
            take_row(transaction, file, (Span){csv.data, size}, first);
            csv.data += size;
            csv.size -= size;
        }
        expect(csv.size == 0);
    }
}

static int read_cells(Transaction *transaction, ImportFile *file, uint64_t *rows, Error *error) {
    Buffer text = {0};
    int r;
    for (;;) {
        SinkCell cells[COLUMNS];
        uint64_t number;
        r = file->reader->next(file->reader, cells, &number, error);
        if (r != 0) break;
        buffer_clear(&text);
        for (size_t i = 0; i < COLUMNS; i++) {
            if (i > 0) row_next_cell(&text);
            if (cells[i].is_null) {
                row_put_null(&text);
            } else {
                row_put(&text, (Span){cells[i].data, cells[i].size});
            }
        }
        row_end(&text);
        take_row(transaction, file, buffer_span(&text), number);
        ++*rows;
    }
    buffer_deinit(&text);
    return r;
}

static SinkResult read_file(Transaction *transaction, ImportFile *file, Error *error) {
    uint64_t rows = 0;
    if (file->reader->seek(file->reader, file->first_row, error) < 0) return SINK_RETRY;
    int r = chance(50) ? read_blocks(transaction, file, &rows, error) : read_cells(transaction, file, &rows, error);
    if (r < 0) return SINK_RETRY;
    if (rows != file->rows) fail("a file of %llu rows gave %llu", (unsigned long long)file->rows, (unsigned long long)rows);
    return SINK_DONE;
}

static void put_key(Destination *destination, const ModelRow *row, size_t index, uint64_t number) {
    for (size_t i = 0; i < destination->key_count; i++) {
        KeyValue *value = &destination->keys[i];
        if (value->sink != row->sink || value->key != row->key) continue;
        if (number <= value->number) fail("sink %u: an older row came after a newer one of its key", row->sink);
        value->number = number;
        value->row = index;
        return;
    }
    if (destination->key_count == destination->key_capacity) {
        destination->key_capacity = destination->key_capacity ? 2 * destination->key_capacity : 64;
        destination->keys = realloc(destination->keys, destination->key_capacity * sizeof *destination->keys);
        check(destination->keys);
    }
    destination->keys[destination->key_count++] = (KeyValue){.sink = row->sink, .key = row->key, .number = number, .row = index};
}

bool backup_has(const BackupFiles *files, const Uuid *id) {
    for (size_t i = 0; i < files->count; i++)
        if (uuid_equal(&files->ids[i], id)) return true;
    return false;
}

static void commit(Transaction *transaction) {
    Destination *destination = transaction->destination;
    for (size_t i = 0; i < transaction->ledger_count; i++) {
        if (destination->ledger_count == destination->ledger_capacity) {
            destination->ledger_capacity = destination->ledger_capacity ? 2 * destination->ledger_capacity : 64;
            destination->ledger = realloc(destination->ledger, destination->ledger_capacity * sizeof *destination->ledger);
            check(destination->ledger);
        }
        destination->ledger[destination->ledger_count++] = transaction->ledger[i];
    }
    for (size_t i = 0; i < transaction->job->settled_count; i++) {
        const Uuid *settled = &transaction->job->settled[i];
        LedgerRow *row = find_ledger(destination, settled);
        if (uuid_equal(settled, &destination->last_file[transaction->sink])) fail("the sink's last file is to leave the ledger");
        if (backup_has(&world->complete, settled) || backup_has(&world->begun, settled)) fail("a file of a backup is to leave the ledger");
        if (row) *row = destination->ledger[--destination->ledger_count];
    }
    for (size_t i = 0; i < transaction->count; i++) {
        const Arrival *arrival = &transaction->arrivals[i];
        ModelRow *row = &world->model.rows[arrival->row];
        if (row->arrived > 0) fail("row %zu of sink %u was imported a second time", arrival->row, row->sink);
        row->arrived++;
        row->number = arrival->number;
        if (world->model.sinks[row->sink - 1].keyed) put_key(destination, row, arrival->row, arrival->number);
    }
    for (size_t i = 0; i < transaction->reject_count; i++) model_find(&world->model, transaction->rejects[i].csv)->turned_away = true;
    destination->last_file[transaction->sink] = transaction->job->files[transaction->job->file_count - 1].id;
    destination->imports++;
}

static SinkResult run(Transaction *transaction, Error *error) {
    ImportJob *job = transaction->job;
    SinkResult result = SINK_DONE;
    uint64_t last = 0;
    judge_history(transaction);
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        expect(job->files[i].first_row > last);
        last = job->files[i].first_row;
        result = enter_ledger(transaction, &job->files[i], error);
    }
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++)
        if (!job->files[i].already_imported) result = read_file(transaction, &job->files[i], error);
    if (result != SINK_DONE) return result;
    for (size_t i = 0; i < transaction->reject_count; i++)
        transaction->rejects[i].csv.data = transaction->reject_texts.data + transaction->reject_offsets[i];
    if (transaction->reject_count > 0 || job->store_none) {
        if (job->store_rejects(job->context, transaction->rejects, transaction->reject_count, error) != 0) return SINK_RETRY;
    }
    bool faulty = !world->quiet && chance(world->fault_percent);
    uint64_t kind = below(5);
    job->proven_absent = transaction->ledger_count == job->file_count;
    if (faulty && kind == 4) {
        (void)error_set(error, -ETIMEDOUT, "It takes too long.");
        job->took_too_long = true;
        transaction->destination->slow_imports += job->proven_absent;
        return SINK_RETRY;
    }
    if (faulty && kind == 0) {
        (void)error_set(error, -ETIMEDOUT, "The connection was cut before the commit.");
        return SINK_RETRY;
    }
    job->proven_absent = false;
    commit(transaction);
    if (faulty && kind == 1) {
        (void)error_set(error, -ECONNRESET, "The connection was cut around the commit.");
        job->took_too_long = chance(50);
        return SINK_RETRY;
    }
    if (faulty && kind == 2) world->crash_soon = true;
    job->rejected_rows = transaction->reject_count;
    return SINK_DONE;
}

static SinkResult simulated_import(SinkSession *session, ImportJob *job, Error *error) {
    Destination *destination = session->destination;
    if (destination->down) {
        (void)error_set(error, -ECONNRESET, "The destination went down.");
        return SINK_UNREACHABLE;
    }
    if (!world->quiet && chance(world->fault_percent / 3)) {
        (void)error_set(error, -EACCES, "Somebody took the rights away.");
        return SINK_REFUSED;
    }
    /* Somebody adds and drops the constraint: what one try refuses, the next one may take. */
    if (!world->quiet && chance(20)) destination->refuses_bad_rows ^= true;
    Transaction transaction = {.destination = destination, .job = job};
    transaction.sink = (uint32_t)strtoul(job->sink_label + strlen("simulated/sink"), NULL, 10);
    expect(transaction.sink > 0 && transaction.sink <= SINKS_MAX);
    SinkResult result = run(&transaction, error);
    free(transaction.arrivals);
    free(transaction.rejects);
    free(transaction.reject_offsets);
    buffer_deinit(&transaction.reject_texts);
    return result;
}

static SinkResult simulated_look_up(SinkSession *session, const Uuid *file, bool *ret_found, Error *error) {
    *ret_found = find_ledger(session->destination, file) != NULL;
    return SINK_DONE;
}

static void simulated_disconnect(SinkSession *session) {
    free(session);
}

const SinkDriver simulated_driver = {
    .transactional = true,
    .keeps_ledger = true,
    .keeps_order = true,
    .connect = simulated_connect,
    .prepare = simulated_prepare,
    .inspect = simulated_inspect,
    .import = simulated_import,
    .look_up = simulated_look_up,
    .disconnect = simulated_disconnect,
};

/* Keyed tables hold for each key the row with the highest number. */
void destination_check(void) {
    for (size_t d = 0; d < 2; d++) {
        const Destination *destination = &world->destinations[d];
        for (size_t i = 0; i < destination->key_count; i++) {
            const KeyValue *value = &destination->keys[i];
            for (size_t k = 0; k < world->model.row_count; k++) {
                const ModelRow *row = &world->model.rows[k];
                if (row->sink != value->sink || row->key != value->key || row->arrived == 0) continue;
                if (row->number > value->number) fail("sink %u: key %u does not hold its last row", value->sink, value->key);
            }
        }
        /* Ids that nobody asks for any more are deleted: the ledger stays small in the user's
         * database. */
        if (destination->ledger_count > 40 * SINKS_MAX) fail("%zu rows in a ledger", destination->ledger_count);
    }
}

void destination_deinit(Destination *destination) {
    free(destination->ledger);
    free(destination->keys);
    *destination = (Destination){0};
}
