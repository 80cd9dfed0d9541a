/* `sluice verify`: is everything that a stopped gateway left in its data directory there and valid? */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "base/text.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/stopped.h"
#include "storage/backup_marks.h"
#include "storage/catalog.h"
#include "storage/commit_log.h"
#include "storage/missing.h"
#include "storage/names.h"
#include "storage/pack.h"
#include "storage/rejects.h"
#include "storage/totals.h"

typedef struct Verification {
    Stopped stopped;
    size_t faults;
} Verification;

__attribute__((format(printf, 2, 3))) static void fault(Verification *verify, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("damaged: ", stdout);
    (void)vprintf(format, arguments);
    (void)putchar('\n');
    va_end(arguments);
    verify->faults++;
}

/* ---- the log --------------------------------------------------------------------------------- */

static void check_group(Verification *verify, const GroupView *group, uint64_t *rows) {
    for (size_t i = 0; i < group->count; i++) {
        const GroupEntry *entry = &group->entries[i];
        *rows += entry->rows;
        if (!group_rows_intact(entry, group->rows[i]))
            fault(verify, "commit %" PRIu64 " of the log: the checksum of rows %" PRIu64 " to %" PRIu64 " of %s differs", group->commit,
                  entry->first_row, entry->first_row + entry->rows - 1, stopped_label(&verify->stopped, entry->sink));
    }
}

static int check_log(Verification *verify, Error *error) {
    CommitLogReader *reader;
    GroupView group;
    uint64_t first, last, next = 0, groups = 0, rows = 0;
    size_t before = verify->faults;
    int r = commit_log_bounds(verify->stopped.txn, &first, &last, error);
    if (r == 0) r = commit_log_reader_new(verify->stopped.txn, 0, &reader, error);
    if (r < 0) return r;
    while ((r = commit_log_read(reader, &group, error)) == 0 || r == COMMIT_LOG_READ_DAMAGED) {
        if (next != 0 && group.commit != next)
            fault(verify, "the log: commits %" PRIu64 " to %" PRIu64 " are missing", next, group.commit - 1);
        next = group.commit + 1;
        groups++;
        if (r == COMMIT_LOG_READ_DAMAGED)
            fault(verify, "commit %" PRIu64 " of the log: its header or directory", group.commit);
        else
            check_group(verify, &group, &rows);
    }
    commit_log_reader_free(reader);
    if (r < 0) return r;
    (void)printf("log: %" PRIu64 " commits, %" PRIu64 " rows%s\n", groups, rows, verify->faults == before ? ", valid" : "");
    return 0;
}

/* ---- the ledger and the statistics ------------------------------------------------------------ */

typedef struct Sinks {
    Verification *verify;
    size_t count;
} Sinks;

static void totals_damaged(void *context, uint32_t sink, const char *why) {
    Verification *verify = context;
    fault(verify, "the statistics of %s: %s", stopped_label(&verify->stopped, sink), why);
}

/* What does not hold is no failure of the command. */
static int settle_result(Verification *verify, const char *what, int result, const Error *why, Error *error) {
    if (result == -EBADMSG)
        fault(verify, "%s: %s", what, why->text);
    else if (result < 0)
        return error_set(error, result, "%s", why->text);
    return 0;
}

static int count_reject(void *context, const Reject *reject, Error *error) {
    (void)reject;
    (void)error;
    ++*(uint64_t *)context;
    return 0;
}

static int check_sink(void *context, const SinkTotals *totals, Error *error) {
    Sinks *sinks = context;
    Verification *verify = sinks->verify;
    Txn *txn = verify->stopped.txn;
    char what[160];
    uint64_t found = 0, counted = 0;
    Error why = {0};
    sinks->count++;
    (void)snprintf(what, sizeof what, "the ledger of %s", stopped_label(&verify->stopped, totals->sink));
    int r = settle_result(verify, what, ledger_verify(txn, totals->sink, totals->staged_row, &why), &why, error);
    if (r < 0) return r;
    (void)snprintf(what, sizeof what, "the rejects of %s", stopped_label(&verify->stopped, totals->sink));
    int read = rejects_visit(txn, totals->sink, 0, count_reject, &found, &why);
    if (read == 0) read = rejects_count(txn, totals->sink, &counted, &why);
    r = settle_result(verify, what, read, &why, error);
    if (r == 0 && read == 0 && found != counted)
        fault(verify, "%s: %" PRIu64 " are there, and %" PRIu64 " are counted", what, found, counted);
    return r;
}

static int check_ledger(Verification *verify, Error *error) {
    Txn *txn = verify->stopped.txn;
    Sinks sinks = {.verify = verify};
    size_t before = verify->faults;
    bool differs = false;
    BackupMarks backups = {0};
    Error why = {0};
    int r = totals_find_damaged(txn, totals_damaged, verify, error);
    if (r == 0 && verify->faults == before) r = totals_load(txn, check_sink, &sinks, error);
    if (r == 0) r = settle_result(verify, "the backups", backup_marks_load(txn, &backups, &why), &why, error);
    backup_marks_deinit(&backups);
    if (r == 0) r = settle_result(verify, "the ledger of packs", ledger_verify_packs(txn, &why), &why, error);
    if (r == 0) r = settle_result(verify, "the index of the ledger", ledger_index_differs(txn, &differs, &why), &why, error);
    if (r < 0) return r;
    if (differs) fault(verify, "the index of the ledger: it is not what the ledger says");
    (void)printf("ledger: %zu sinks%s\n", sinks.count, verify->faults == before ? ", valid" : "");
    return 0;
}

/* ---- the catalog ------------------------------------------------------------------------------ */

static int count_document(void *context, Span key, Span document, Error *error) {
    (void)key;
    (void)document;
    (void)error;
    ++*(size_t *)context;
    return 0;
}

/* A walk leaves a damaged document out, and counts it. */
static int check_catalog(Verification *verify, Error *error) {
    size_t documents = 0;
    uint64_t before = metrics_read(METRIC_DAMAGED_RECORDS);
    int r = 0;
    for (Collection collection = CATALOG_SOURCES; collection <= CATALOG_META && r == 0; collection++)
        r = catalog_visit(verify->stopped.txn, collection, (Span){0}, count_document, &documents, error);
    if (r < 0) return r;
    uint64_t damaged = metrics_read(METRIC_DAMAGED_RECORDS) - before;
    if (damaged > 0) fault(verify, "the catalog: %" PRIu64 " documents", damaged);
    (void)printf("catalog: %zu documents%s\n", documents, damaged == 0 ? ", valid" : "");
    return 0;
}

/* ---- packs ----------------------------------------------------------------------------------- */

static int check_missing(Verification *verify, Error *error) {
    MissingSlices missing = {0};
    int r = missing_find(verify->stopped.directory.files, verify->stopped.txn, &missing, error);
    if (r < 0) return r;
    for (size_t i = 0; i < missing.count; i++) {
        const SliceRecord *slice = &missing.items[i].slice;
        char path[64];
        pack_path(&slice->pack, path);
        fault(verify, "%s: rows %" PRIu64 " to %" PRIu64 " of %s wait for their import, and are not in it or it is not there", path,
              slice->first_row, slice->first_row + slice->rows - 1, missing.items[i].label);
    }
    missing_deinit(&missing);
    return 0;
}

static int check_pack(Verification *verify, const char *path, uint64_t *rows, Error *error) {
    Files *files = verify->stopped.directory.files;
    PackDirectory directory;
    Error why = {0};
    int r = pack_read_directory(files, path, &directory, &why);
    if (r < 0) return settle_result(verify, path, r, &why, error);
    for (size_t i = 0; i < directory.count && r == 0; i++) {
        int result = slice_verify_at(files, path, &directory.slices[i], &why);
        if (result == SLICE_READ_DAMAGED || result == -ENODATA)
            fault(verify, "%s: %s", path, why.text);
        else if (result < 0)
            r = error_set(error, result, "%s", why.text);
        else
            *rows += directory.slices[i].rows;
    }
    pack_directory_deinit(&directory);
    return r;
}

static int check_packs(Verification *verify, const char *folder, Error *error) {
    Names names = {0};
    uint64_t rows = 0;
    size_t before = verify->faults, packs = 0;
    int r = names_list(verify->stopped.directory.files, folder, &names, error);
    for (size_t i = 0; i < names.count && r == 0; i++) {
        if (!text_ends(span_of(names.names[i]), SPAN(".pack"))) continue;
        _cleanup_free_ char *path = name_in(folder, names.names[i]);
        packs++;
        r = check_pack(verify, path, &rows, error);
    }
    names_deinit(&names);
    if (r == 0) (void)printf("%s: %zu packs, %" PRIu64 " rows%s\n", folder, packs, rows, verify->faults == before ? ", valid" : "");
    return r;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int check_all(Verification *verify, Error *error) {
    int r = check_catalog(verify, error);
    if (r == 0) r = check_log(verify, error);
    if (r == 0) r = check_ledger(verify, error);
    if (r == 0) r = check_missing(verify, error);
    if (r == 0) r = check_packs(verify, "staging", error);
    if (r == 0) r = check_packs(verify, "staging/expired", error);
    if (r == 0) r = check_packs(verify, "staging/orphans", error);
    return r;
}

static int run(const Arguments *arguments) {
    Error error = {0};
    Verification verify = {0};
    int r = stopped_open(arguments, &verify.stopped, &error);
    if (r == 0) {
        r = check_all(&verify, &error);
        if (r == -EBADMSG) /* a key that cannot be: what else is there cannot be read either */
            (void)error_prefix(&error, "the environment \"%s/sluice.mdb\" is damaged", verify.stopped.directory.path);
        stopped_close(&verify.stopped);
    }
    if (r < 0) {
        (void)fprintf(stderr, "sluice verify: %s\n", error.text);
        return EXIT_RUNTIME;
    }
    if (verify.faults == 0) (void)puts("everything is complete and valid");
    return verify.faults == 0 ? EXIT_SUCCESS : EXIT_INVALID;
}

const Command command_verify = {
    .name = "verify",
    .summary = "Reads all that a stopped gateway left in its data directory, and reports what is damaged or missing.",
    .options =
        (const CommandOption[]){
            {.name = "data", .letter = 'd', .argument = "DIR", .sentence = "Data directory (default: SLUICE_DATA, else `data`)."},
            {0},
        },
    .notes = "Nothing is changed. The exit code is 0 when everything is complete and valid, 1 when something is damaged or\n"
             "missing, and 2 when the directory cannot be read or a gateway runs on it. Damaged records and packs are\n"
             "handled at the next start: docs/operations.md says how.\n",
    .run = run,
};
