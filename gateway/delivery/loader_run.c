#include "gateway/delivery/loader_run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/file_rows.h"
#include "gateway/delivery/loader_positions.h"
#include "gateway/delivery/narrow_import.h"

#define DRAIN_SILENCE USEC_SECOND /* what an import may be without progress when the loaders drain */

/* ---- sessions -------------------------------------------------------------------------------- */

static void drop_session(Kept *kept) {
    if (!kept->connection) return;
    check(kept->driver && kept->session);
    kept->driver->disconnect(kept->session);
    *kept = (Kept){0};
}

void loader_drop_sessions(Loader *loader) {
    for (size_t i = 0; i < SESSIONS_A_LOADER; i++) drop_session(&loader->kept[i]);
}

/* *ret_fresh: it was opened for this job. */
static SinkResult find_session(Loader *loader, LoadJob *job, Kept **ret_kept, bool *ret_fresh) {
    const LoadersOptions *options = &loader->loaders->options;
    const Connection *connection = connections_find(options->connections, job->connection);
    if (!connection) {
        (void)error_set(&job->request.error, -ENOENT, "There is no connection \"%s\" in the configuration.", job->connection);
        return SINK_REFUSED;
    }
    const SinkDriver *driver = driver_of(loader->loaders, connection);
    if (!driver) { /* the configuration was changed under a sink */
        (void)error_set(&job->request.error, -EINVAL, "Connection \"%s\" is of type %s, which is for sources only.", connection->name,
                        connection->type->name);
        return SINK_REFUSED;
    }
    Kept *oldest = &loader->kept[0];
    for (size_t i = 0; i < SESSIONS_A_LOADER; i++) {
        Kept *kept = &loader->kept[i];
        if (kept->connection == connection) {
            kept->used = ++loader->jobs;
            *ret_kept = kept;
            *ret_fresh = false;
            return SINK_DONE;
        }
        if (kept->connection && strcmp(kept->connection->name, connection->name) == 0) drop_session(kept); /* it was changed since */
        if (kept->used < oldest->used) oldest = kept;
    }
    drop_session(oldest);
    check(driver->transactional && driver->keeps_ledger && driver->keeps_order);
    char name[256];
    (void)snprintf(name, sizeof name, "sluice %s", job->label);
    SinkSession *session;
    SinkResult result = driver->connect(connection, options->data_directory, name, &loader->patience, &session, &job->request.error);
    if (result != SINK_DONE) {
        expansions_hide(connection->expansions, &job->request.error);
        return result;
    }
    *oldest = (Kept){.connection = connection, .driver = driver, .session = session, .used = ++loader->jobs};
    *ret_kept = oldest;
    *ret_fresh = true;
    return SINK_DONE;
}

/* The job got further: others of its connection may start. */
static void note_progress(Loader *loader, bool is_first) {
    Loaders *loaders = loader->loaders;
    usec_t now = boot_now(), before = atomic_exchange(&loader->progress_at, now);
    if (!is_first && now - before <= STALLED) return;
    loaders_lock(loaders);
    lane_of(loaders, loader->running->connection)->answers = true;
    check(pthread_cond_broadcast(&loaders->changed) == 0);
    loaders_unlock(loaders);
}

/* ---- imports --------------------------------------------------------------------------------- */

/* Of an import or a swap. */
typedef struct ImportContext {
    Loader *loader;
    LoadJob *job;
    const ImportFile *files; /* of an import */
    NarrowImport *narrow;    /* of an import into a table that lacks columns; else NULL */
    uint64_t rows_done;
    usec_t began; /* boot */
    usec_t since; /* boot: the last sign of progress */
    bool got_further;
    const char *out_of_time; /* why it was interrupted for time; NULL: it was not */
} ImportContext;

bool loader_patience_is_over(void *context) {
    const Loader *loader = context;
    check_on_thread(&loader->owner);
    switch (atomic_load(&loader->loaders->phase)) {
    case LOADERS_RUN: return false;
    case LOADERS_DRAIN: return !loader->import || boot_now() - loader->import->since > DRAIN_SILENCE;
    case LOADERS_STOP: return true;
    }
    unreachable();
}

static LoadFile *find_file(LoadJob *job, const Uuid *id) {
    for (size_t i = 0; i < job->file_count; i++)
        if (uuid_equal(&job->files[i].file.id, id)) return &job->files[i];
    return NULL;
}

static int store_rejects(void *context, const SinkReject *rejects, size_t count, Error *error) {
    ImportContext *import = context;
    Loader *loader = import->loader;
    const LoadersOptions *options = &loader->loaders->options;
    if (import->narrow && narrow_import_widen(import->narrow, import->files, rejects, count, &rejects, error) < 0)
        return error_prefix(error, "the refused rows cannot be read");
    Uuid *files = calloc(import->job->file_count, sizeof *files);
    check(files);
    PendingRejects message = {.request.message.kind = MESSAGE_PENDING_REJECTS,
                              .request.reply = loader->mailbox,
                              .sink = import->job->sink,
                              .files = files,
                              .rejects = rejects,
                              .count = count};
    for (size_t i = 0; i < import->job->file_count; i++)
        if (!import->files[i].already_imported) files[message.file_count++] = import->files[i].id;
    mailbox_post(options->writer, &message.request.message);
    while (!mailbox_take(loader->mailbox)) {
        if (options->dispatch) {
            options->dispatch(options->dispatch_context);
        } else {
            (void)mailbox_wait(loader->mailbox, USEC_NEVER);
        }
    }
    free(files);
    for (size_t i = 0; i < import->job->file_count; i++) import->job->files[i].rejected_rows = 0; /* this call replaces an earlier one */
    if (message.request.result < 0)
        return error_set(error, message.request.result, "the refused rows cannot be kept: %s", message.request.error.text);
    if (count > 0) import->job->rejects_pending = true; /* for another try of this job */
    (void)snprintf(import->job->refusal, sizeof import->job->refusal, "%.255s", count > 0 ? rejects[0].reason : "");
    for (size_t i = 0; i < count; i++) {
        LoadFile *file = find_file(import->job, rejects[i].file);
        check(file);
        file->rejected_rows++;
    }
    return 0;
}

static bool progress(void *context, uint64_t rows_done, bool working) {
    ImportContext *import = context;
    const Loaders *loaders = import->loader->loaders;
    const LoadersOptions *options = &loaders->options;
    if (is_stopping(loaders)) return true;
    usec_t now = boot_now();
    if (working || rows_done != import->rows_done) {
        note_progress(import->loader, !import->got_further);
        import->got_further = true;
        import->since = now;
    }
    import->rows_done = rows_done;
    if (now - import->since > options->import_timeout)
        import->out_of_time = "No progress within the time limit of imports (import-timeout)";
    if (options->import_longest > 0 && now - import->began > options->import_longest)
        import->out_of_time = "It took longer than import-longest";
    return import->out_of_time;
}

static SinkResult prepare(Kept *kept, const SinkTarget *target, uint64_t digest, Error *error) {
    for (size_t i = 0; i < kept->prepared_count; i++)
        if (kept->prepared[i] == digest) return SINK_DONE;
    SinkResult result = kept->driver->prepare(kept->session, target, error);
    if (result == SINK_DONE) result = sink_failpoint("loader.after-prepare", error);
    if (result != SINK_DONE) return result;
    if (kept->prepared_count == PREPARED_A_SESSION) kept->prepared_count = 0;
    kept->prepared[kept->prepared_count++] = digest;
    return SINK_DONE;
}

/*
 * A definition is taken only with its table. So somebody has dropped or renamed a table that is not
 * there when rows are imported, and it is not made again without a word. Of a broker's rows, those
 * that were in it are not read again, since their positions stayed.
 */
static SinkResult prepare_for_import(Kept *kept, LoadJob *job, uint64_t digest, TableInspection *inspection) {
    Error *error = &job->request.error;
    bool is_prepared = false;
    for (size_t i = 0; i < kept->prepared_count; i++) is_prepared = is_prepared || kept->prepared[i] == digest;
    /* A column that is there again gets values again. */
    if (is_prepared && job->target.table.on_schema_drift != SCHEMA_DRIFT_IGNORE) return SINK_DONE;
    SinkResult result = kept->driver->inspect(kept->session, &job->target, inspection, error);
    if (result != SINK_DONE || (is_prepared && !inspection->creates)) return result;
    result = is_prepared ? kept->driver->prepare(kept->session, &job->target, error) : prepare(kept, &job->target, digest, error);
    /* Of a table that is replaced, the rows come whole with the run. */
    if (result != SINK_DONE || !inspection->creates || job->target.table.strategy == STRATEGY_REPLACE) return result;
    job->made_table = true;
    log_warning("the table %s of %s was missing and is created again: %s", job->target.table.table_id, job->label,
                job->position_count > 0
                    ? "its earlier rows are not read again, because the positions of the source did not change; use seek to read them again"
                    : "rows that were imported before are in the renamed table, or lost");
    return result;
}

static SinkResult prepare_asked(Kept *kept, LoadJob *job) {
    table_inspection_deinit(&job->inspection); /* of an earlier try */
    SinkResult result = kept->driver->inspect(kept->session, &job->target, &job->inspection, &job->request.error);
    return result == SINK_DONE && !job->inspects ? kept->driver->prepare(kept->session, &job->target, &job->request.error) : result;
}

/*
 * If damage ended the reading of the file, all of its damaged slices are found now. The file was
 * entered anew by this try, so none of its rows are at the destination.
 */
static bool find_damage(Loader *loader, LoadFile *file, FileRows *rows) {
    const Loaders *loaders = loader->loaders;
    SinkRows *reader = file_rows_reader(rows);
    if (file_rows_damaged(rows) < 0) return false;
    file->slice_damaged = calloc(file->slice_count, sizeof *file->slice_damaged);
    check(file->slice_damaged);
    for (ptrdiff_t slice; (slice = file_rows_damaged(rows)) >= 0;) {
        file->slice_damaged[slice] = true;
        file_rows_skip(rows, (size_t)slice);
        Span csv;
        uint64_t first, count;
        int r = reader->seek(reader, file->slices[slice].first_row, NULL);
        while (r == 0 && !is_stopping(loaders)) {
            r = reader->block(reader, &csv, &first, &count, NULL);
            note_progress(loader, false);
        }
    }
    return true;
}

static void note_swallowed(const LoadJob *job, uint64_t rows) {
    if (rows == 0) return;
    metrics_add(METRIC_ROWS_SWALLOWED, rows);
    log_warning("%" PRIu64 " rows of %s were not stored by a trigger of the table %s", rows, job->label, job->target.table.table_id);
}

static void note_existing(const LoadJob *job, uint64_t rows) {
    if (rows == 0) return;
    log_info("%" PRIu64 " rows of %s changed nothing in the table %s, because their keys were there", rows, job->label,
             job->target.table.table_id);
}

/* One try at the destination. */
static SinkResult import_once(Loader *loader, Kept *kept, LoadJob *job, ImportFile *files, FileRows **rows, NarrowImport *narrow,
                              Error *error) {
    const LoadersOptions *options = &loader->loaders->options;
    ImportContext context = {.loader = loader, .job = job, .files = files, .narrow = narrow, .began = boot_now(), .since = boot_now()};
    for (size_t i = 0; i < job->file_count; i++) {
        const FileRecord *file = &job->files[i].file;
        uint64_t bytes;
        job->files[i].rejected_rows = 0;
        files[i] = (ImportFile){.id = file->id,
                                .first_row = file->first_row,
                                .bytes = file->bytes,
                                .damaged_rows = file->rows - file_readable_rows(file),
                                .checksum = file->checksum,
                                .reader = narrow ? narrow_import_add(narrow, file_rows_reader(rows[i])) : file_rows_reader(rows[i]),
                                .runs = job->files[i].runs,
                                .run_count = job->files[i].run_count};
        file_rows_size(rows[i], &files[i].rows, &bytes);
        check(files[i].rows == file_readable_rows(file));                                                   /* slices_read */
        check(i == 0 || file->first_row >= job->files[i - 1].file.first_row + job->files[i - 1].file.rows); /* in row order */
    }
    ImportJob import = {
        .instance = options->instance,
        .sink_label = job->label,
        .target = narrow ? narrow_import_target(narrow) : &job->target,
        .files = files,
        .file_count = job->file_count,
        .positions = job->positions,
        .position_count = job->position_count,
        .settled = job->settled,
        .settled_count = job->settled_count,
        .history = job->history,
        .bad_rows_max = options->bad_rows_max,
        .store_none = job->rejects_pending,
        .store_rejects = store_rejects,
        .progress = progress,
        .context = &context,
        .patience = options->import_timeout,
        .longest = options->import_longest,
    };
    check(!loader->import);
    loader->import = &context;
    SinkResult result = sink_failpoint("loader.before-import", error);
    if (result == SINK_DONE) result = kept->driver->import(kept->session, &import, error);
    loader->import = NULL;
    check(!(result == SINK_DONE && import.took_too_long));
    if (result != SINK_DONE && context.out_of_time) (void)error_prefix(error, "%s", context.out_of_time);
    job->out_of_time = result != SINK_DONE && (context.out_of_time || import.took_too_long);
    job->proven_absent = result != SINK_DONE && import.proven_absent;
    if (result == SINK_DONE) {
        note_swallowed(job, import.swallowed_rows);
        note_existing(job, import.existing_rows);
        if (narrow) narrow_import_note(narrow, job->label);
        (void)failpoint_hit("loader.after-import"); /* a crash here finds the file in the destination's ledger */
        job->rejected_rows = import.rejected_rows;
        for (size_t i = 0; i < job->file_count; i++) {
            uint64_t readable, bytes;
            file_rows_size(rows[i], &readable, &bytes);
            job->files[i].already_imported = files[i].already_imported;
            if (!files[i].already_imported) continue;
            check(files[i].rows >= readable);
            job->files[i].found_rows = files[i].rows - readable;
        }
    }
    return result;
}

static SinkResult import_with(Loader *loader, Kept *kept, LoadJob *job) {
    uint64_t digest = checksum_of(job->files[0].file.target, strlen(job->files[0].file.target));
    bool has_positions = job->position_count > 0;
    SinkResult result = has_positions ? loader_takes_positions(kept, job) : SINK_DONE;
    TableInspection inspection = {0};
    if (result == SINK_DONE) result = prepare_for_import(kept, job, digest, &inspection);
    NarrowImport *narrow = result == SINK_DONE ? narrow_import_new(&job->target, inspection.lacks) : NULL;
    table_inspection_deinit(&inspection);
    if (result != SINK_DONE) return result;

    ImportFile *files = calloc(job->file_count, sizeof *files);
    FileRows **rows = calloc(job->file_count, sizeof(FileRows *));
    check(files && rows);
    for (size_t i = 0; i < job->file_count; i++)
        rows[i] = file_rows_new(loader->loaders->options.files, job->files[i].slices, job->files[i].slice_count,
                                sink_target_cells(&job->target));
    result = import_once(loader, kept, job, files, rows, narrow, &job->request.error);
    for (size_t i = 0; i < job->file_count && result != SINK_DONE; i++)
        if (find_damage(loader, &job->files[i], rows[i])) job->found_damage = true;
    if (job->found_damage) {
        log_failure(LOG_WARNING, "a staging file is damaged; importing without the damaged rows", &job->request.error);
        job->out_of_time = false;
        result = SINK_RETRY;
    }
    narrow_import_free(narrow);
    for (size_t i = 0; i < job->file_count; i++) file_rows_free(rows[i]);
    free(rows);
    free(files);
    return result;
}

/*
 * Did only the session fail that was kept from an earlier job? It may have died while it was idle
 * (the server was restarted, a firewall forgot it), and every loader may keep such a one. A server
 * that stays silent costs a time limit, once: -ETIMEDOUT. -ESTALE: see sinks/driver.h.
 *
 * An import that is refused may be so since somebody changed the table after it was checked through
 * that session: a fresh one looks at the table again, makes what onSchemaDrift says, or names what
 * is wrong.
 */
static bool is_worth_another_session(const Loader *loader, const LoadJob *job, bool fresh) {
    if (atomic_load(&loader->loaders->phase) != LOADERS_RUN) return false;
    if (job->request.result == SINK_RETRY) return job->request.error.code == -ESTALE;
    if (job->request.result == SINK_REFUSED) return !fresh && job->request.message.kind == MESSAGE_IMPORT;
    return job->request.result == SINK_UNREACHABLE && !fresh && job->request.error.code != -ETIMEDOUT;
}

static void test_connection(const Loader *loader, LoadJob *job) {
    const Loaders *loaders = loader->loaders;
    const Connection *connection = connections_find(loaders->options.connections, job->connection);
    if (!connection) {
        (void)error_set(&job->request.error, -ENOENT, "There is no connection \"%s\" in the configuration.", job->connection);
        job->request.result = SINK_REFUSED;
        return;
    }
    job->test->tables = (const char *const *)job->tables;
    job->test->table_count = job->table_count;
    job->test->needs = job->needs;
    job->test->patience = &loader->patience;
    const char *directory = loaders->options.data_directory;
    SinkFault fault = loaders->options.driver_of
                          ? driver_of(loaders, connection)->test(connection, directory, job->test, &job->request.error)
                          : sink_connection_test(connection, directory, job->test, &job->request.error);
    check(fault == job->test->fault);
    job->test->patience = NULL;
    if (fault != SINK_SOUND) expansions_hide(connection->expansions, &job->request.error);
    job->request.result = SINK_DONE;
}

static SinkResult name_columns(const Loader *loader, const Kept *kept, LoadJob *job) {
    if (!kept->driver->columns) {
        (void)error_set(&job->request.error, -EINVAL, "Connection \"%s\" cannot store a map of columns, so columns cannot be inferred.",
                        job->connection);
        return SINK_REFUSED;
    }
    ColumnsJob columns = {.owner = {.instance = loader->loaders->options.instance, .sink_label = job->label},
                          .target = &job->target,
                          .wanted = job->wanted,
                          .wanted_count = job->wanted_count,
                          .most = job->columns_max};
    SinkResult result = kept->driver->columns(kept->session, &columns, &job->request.error);
    if (result != SINK_DONE) return result;
    job->named = columns.columns;
    job->named_count = columns.count;
    return SINK_DONE;
}

static SinkResult swap_watched(Loader *loader, Kept *kept, LoadJob *job) {
    const LoadersOptions *options = &loader->loaders->options;
    ImportContext context = {.loader = loader, .job = job, .began = boot_now(), .since = boot_now()};
    SwapJob swap = {.progress = progress, .context = &context, .patience = options->import_timeout, .longest = options->import_longest};
    check(!loader->import);
    loader->import = &context;
    SinkResult result = loader_swap(loader, kept, job, &swap);
    loader->import = NULL;
    if (result != SINK_DONE && context.out_of_time) (void)error_prefix(&job->request.error, "%s", context.out_of_time);
    job->out_of_time = result != SINK_DONE && (context.out_of_time || swap.took_too_long);
    if (result == SINK_DONE && swap.outcome == SWAP_REPLACED) note_swallowed(job, swap.swallowed_rows);
    return result;
}

static SinkResult run_once(Loader *loader, Kept *kept, LoadJob *job) {
    switch ((MessageKind)job->request.message.kind) {
    case MESSAGE_PREPARE: return prepare_asked(kept, job);
    case MESSAGE_POSITIONS: return loader_advance(loader, kept, job);
    case MESSAGE_CLAIM: return loader_claim(loader, kept, job);
    case MESSAGE_GROUP_POSITIONS: return loader_group(loader, kept, job);
    case MESSAGE_SWAP: return swap_watched(loader, kept, job);
    case MESSAGE_SEEK: return loader_seek(loader, kept, job);
    case MESSAGE_LIST:
    case MESSAGE_ORIGIN: return loader_list(kept, job);
    case MESSAGE_COLUMNS: return name_columns(loader, kept, job);
    case MESSAGE_IMPORT: return import_with(loader, kept, job);
    default: unreachable();
    }
}

void loader_run(Loader *loader, LoadJob *job) {
    check_on_thread(&loader->owner);
    if (is_test(job)) {
        test_connection(loader, job);
        return;
    }
    for (unsigned tries = 0; tries < 2; tries++) {
        Kept *kept = NULL;
        bool fresh = false;
        job->request.error = (Error){0};
        job->request.result = (int)find_session(loader, job, &kept, &fresh);
        if (job->request.result != SINK_DONE) return;
        job->request.result = (int)run_once(loader, kept, job);
        if (job->request.result == SINK_DONE) return;
        /* Whatever went wrong, the next job begins on a fresh connection and looks at its table
         * again. */
        drop_session(kept);
        if (!is_worth_another_session(loader, job, fresh)) return;
    }
}
