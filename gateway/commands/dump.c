/* `sluice dump`: rows of the buffer as ndjson or CSV, without a gateway. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/row_dump.h"
#include "gateway/commands/stopped.h"
#include "gateway/delivery/writer/versions.h"
#include "mapping/json_text.h"
#include "storage/catalog.h"
#include "storage/commit_log.h"
#include "storage/pack.h"
#include "storage/totals.h"

typedef struct Dump {
    RowDump rows;
    const char *only;  /* "SOURCE/SINK", or NULL */
    bool list;         /* the parts, and not their rows */
    size_t damaged;    /* parts that could not be read */
    Stopped *stopped;  /* NULL: of pack files */
    uint32_t sink;     /* that `only` names; 0: all */
    FileRecord *files; /* that wait; owned */
    size_t file_count, file_room;
} Dump;

/* A damaged part costs only itself: the others are written. */
static int leave_out(Dump *dump, const Error *why) {
    (void)fprintf(stderr, "sluice dump: %s\n", why->text);
    dump->damaged++;
    return 0;
}

/* ---- lines of a list ------------------------------------------------------------------------- */

static void put_id(Buffer *out, const char *name, const Uuid *id) {
    char text[UUID_TEXT_SIZE + 1] = {0};
    uuid_format(id, text);
    if (!uuid_is_nil(id)) buffer_printf(out, ",\"%s\":\"%s\"", name, text);
}

/* What a part of the log and a slice have in common. */
static int list_part(const char *label, const SliceRecord *slice, uint64_t commit, Error *error) {
    _cleanup_(buffer_deinit) Buffer line = {0};
    char from[25], to[25];
    clock_format_utc(slice->first_time, from);
    clock_format_utc(slice->last_time, to);
    buffer_append_text(&line, "{\"sink\":");
    json_quote(&line, span_of(label));
    buffer_printf(&line, ",\"firstRow\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"firstTime\":\"%s\",\"lastTime\":\"%s\"", slice->first_row,
                  slice->rows, from, to);
    put_id(&line, "firstEventId", &slice->ids.first);
    put_id(&line, "lastEventId", &slice->ids.last);
    if (commit > 0) buffer_printf(&line, ",\"commit\":%" PRIu64, commit);
    put_id(&line, "pack", &slice->pack);
    put_id(&line, "file", &slice->file);
    buffer_append_text(&line, "}\n");
    if (fwrite(line.data, 1, line.size, stdout) == line.size) return 0;
    return error_set(error, -EIO, "cannot write: %s", strerrordesc_np(errno));
}

static int list_entry(const char *label, const GroupView *group, const GroupEntry *entry, Error *error) {
    SliceRecord part = {.first_row = entry->first_row,
                        .rows = entry->rows,
                        .first_time = entry->first_time,
                        .last_time = entry->last_time,
                        .ids = entry->ids};
    return list_part(label, &part, group->commit, error);
}

/* The ids of a slice are in its description, and not in the directory of its pack. */
static void read_ids(const json_t *description, UuidRange *ret_ids) {
    UuidRange ids;
    const char *first = json_string_value(json_object_get(description, "firstEventId"));
    const char *last = json_string_value(json_object_get(description, "lastEventId"));
    if (first && last && uuid_parse(span_of(first), &ids.first) && uuid_parse(span_of(last), &ids.last)) *ret_ids = ids;
}

/* ---- slices ---------------------------------------------------------------------------------- */

static int dump_reader(Dump *dump, SliceReader *reader, const SliceRecord *slice, Error *error) {
    uint64_t row = slice->first_row, left = slice->rows;
    Span rows;
    int r;
    while ((r = slice_read(reader, &rows, error)) == 0) {
        uint64_t before = dump->rows.rows;
        r = row_dump_rows(&dump->rows, row, rows, error);
        if (r < 0) return r;
        row += dump->rows.rows - before;
        left -= dump->rows.rows - before <= left ? dump->rows.rows - before : left;
    }
    return r == SLICE_READ_DAMAGED ? -EBADMSG : r == SLICE_READ_END ? 0 : r;
}

/* ---- a file of staging/ ---------------------------------------------------------------------- */

/* The description says where the rows go. Packs say the sink's number, but not its id. */
static int dump_described(Dump *dump, SliceReader *reader, const SliceRecord *slice, Error *error) {
    _cleanup_(buffer_deinit) Buffer description = {0};
    int r = slice_description(reader, &description, error);
    if (r != 0) return r > 0 ? -EBADMSG : r;
    json_t *json = json_loadb(description.data, description.size, 0, NULL);
    char *target = json_dumps(json_object_get(json, "target"), JSON_COMPACT);
    SliceRecord described = *slice;
    read_ids(json, &described.ids);
    json_decref(json);
    if (!target)
        return error_set(error, -EBADMSG, "the slice of sink %" PRIu32 " from row %" PRIu64 " does not say its columns", slice->sink,
                         slice->first_row);
    char label[32];
    (void)snprintf(label, sizeof label, "sink %" PRIu32, slice->sink);
    if (dump->list) {
        free(target);
        return list_part(label, &described, 0, error);
    }
    r = row_dump_target(&dump->rows, label, span_of(target), error);
    free(target);
    return r == 0 ? dump_reader(dump, reader, slice, error) : r;
}

static int dump_pack(Dump *dump, Files *files, const char *name, Error *error) {
    PackDirectory directory;
    int r = pack_read_directory(files, name, &directory, error);
    if (r < 0) return r;
    for (size_t i = 0; i < directory.count && r == 0; i++) {
        SliceReader *reader;
        Error why = {0};
        int result = slice_open_at(files, name, &directory.slices[i], &reader, &why);
        if (result == 0) {
            result = dump_described(dump, reader, &directory.slices[i], &why);
            slice_close(reader);
        }
        if (result == -EBADMSG)
            r = leave_out(dump, &why);
        else if (result < 0)
            r = error_set(error, result, "%s", why.text);
    }
    pack_directory_deinit(&directory);
    return r;
}

/* The path of a file anywhere: `Files` has a root, which is its folder. */
static int dump_path(Dump *dump, const char *path, Error *error) {
    _cleanup_free_ char *whole = realpath(path, NULL);
    if (!whole) return error_set(error, -errno, "cannot open \"%s\": %s", path, strerrordesc_np(errno));
    char *slash = strrchr(whole, '/');
    check(slash);
    *slash = '\0';
    Files *files;
    int r = files_open(*whole ? whole : "/", &files, error);
    if (r < 0) return r;
    r = dump_pack(dump, files, slash + 1, error);
    files_free(files);
    return r;
}

/* ---- a data directory: what waits ------------------------------------------------------------- */

static int dump_slice(void *context, const SliceRecord *slice, Error *error) {
    Dump *dump = context;
    SliceReader *reader;
    Error why = {0};
    if (dump->list) return list_part(stopped_label(dump->stopped, slice->sink), slice, 0, error);
    int r = slice_open(dump->stopped->directory.files, slice, &reader, &why);
    if (r == 0) {
        r = dump_reader(dump, reader, slice, &why);
        slice_close(reader);
    }
    if (r == -EBADMSG || r == -ENOENT || r == -ENODATA) return leave_out(dump, &why);
    return r < 0 ? error_set(error, r, "%s", why.text) : 0;
}

static int dump_file(Dump *dump, const FileRecord *file, Error *error) {
    Error why = {0};
    const char *label = stopped_label(dump->stopped, file->sink);
    if (row_dump_target(&dump->rows, label, span_of(file->target), &why) < 0) return leave_out(dump, &why);
    return ledger_visit_slices(dump->stopped->txn, file->sink, file->first_row, file->rows, dump_slice, dump, error);
}

static int dump_waiting_file(void *context, const FileRecord *file, Error *error) {
    Dump *dump = context;
    return dump->sink == 0 || dump->sink == file->sink ? dump_file(dump, file, error) : 0;
}

static int damaged_file(void *context, uint32_t sink, Error *error) {
    Dump *dump = context;
    Error why = {0};
    (void)error;
    (void)error_set(&why, -EBADMSG, "a file of %s in the ledger is damaged", stopped_label(dump->stopped, sink));
    return leave_out(dump, &why);
}

static int dump_entry(Dump *dump, const GroupView *group, const GroupEntry *entry, Span rows, Error *error) {
    Stopped *stopped = dump->stopped;
    SinkTotals totals = {0};
    Span target;
    Error why = {0};
    if (entry->rows == 0 || (dump->sink != 0 && dump->sink != entry->sink)) return 0;
    int r = totals_find(stopped->txn, entry->sink, &totals, &why);
    if (r == -EBADMSG) return leave_out(dump, &why);
    if (r < 0) return error_set(error, r, "%s", why.text);
    uint64_t from = r == 0 ? totals.staged_row : 0;
    if (entry->first_row + entry->rows <= from) return 0; /* all of them are staged */
    const char *label = stopped_label(stopped, entry->sink);
    if (dump->list) return list_entry(label, group, entry, error);
    if (!group_rows_intact(entry, rows)) {
        (void)error_set(&why, -EBADMSG, "commit %" PRIu64 " of the log: the checksum of the rows of %s differs", group->commit, label);
        return leave_out(dump, &why);
    }
    r = versions_find_stored(stopped->txn, entry->sink, entry->mapping_version, &target, &why);
    if (r == CATALOG_NOT_FOUND)
        (void)error_set(&why, -EBADMSG, "commit %" PRIu64 " of the log: the columns of %s, version %" PRIu32 ", are not known",
                        group->commit, label, entry->mapping_version);
    if (r != 0) return leave_out(dump, &why);
    uint64_t row = entry->first_row;
    for (; row < from && rows.size > 0; row++) {
        size_t size = row_size(rows);
        rows = (Span){.data = rows.data + size, .size = rows.size - size};
    }
    r = row_dump_target(&dump->rows, label, target, &why);
    if (r == 0) r = row_dump_rows(&dump->rows, row, rows, &why);
    if (r == -EBADMSG) return leave_out(dump, &why);
    return r < 0 ? error_set(error, r, "%s", why.text) : 0;
}

static int dump_log(Dump *dump, Error *error) {
    CommitLogReader *reader;
    GroupView group;
    int r = commit_log_reader_new(dump->stopped->txn, 0, &reader, error);
    while (r >= 0 && (r = commit_log_read(reader, &group, error)) != COMMIT_LOG_READ_END && r >= 0) {
        if (r == COMMIT_LOG_READ_DAMAGED) {
            Error why = {0};
            (void)error_set(&why, -EBADMSG, "commit %" PRIu64 " of the log is damaged", group.commit);
            r = leave_out(dump, &why);
            continue;
        }
        for (size_t i = 0; i < group.count && r >= 0; i++) r = dump_entry(dump, &group, &group.entries[i], group.rows[i], error);
    }
    commit_log_reader_free(reader);
    return r < 0 ? r : 0;
}

static int dump_directory(Dump *dump, const Arguments *arguments, Error *error) {
    Stopped stopped;
    int r = stopped_open(arguments, &stopped, error);
    if (r < 0) return r;
    dump->stopped = &stopped;
    if (dump->only) {
        dump->sink = stopped_sink(&stopped, dump->only);
        if (dump->sink == 0) r = error_set(error, -EINVAL, "there is no sink \"%s\" in the data directory", dump->only);
    }
    if (r == 0) r = ledger_visit_waiting_files(stopped.txn, dump_waiting_file, damaged_file, dump, error);
    if (r == 0) r = dump_log(dump, error);
    stopped_close(&stopped);
    return r;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run(const Arguments *arguments) {
    const char *format = arguments_value(arguments, "format");
    if (format && strcmp(format, "csv") != 0 && strcmp(format, "ndjson") != 0)
        return arguments_wrong(arguments->command, "--format must be ndjson or csv, not", format);
    if (arguments->operand_count > 0 && (arguments_value(arguments, "data") || arguments_value(arguments, "sink")))
        return arguments_wrong(arguments->command, "--data and --sink are for the rows of a data directory, and not for files", NULL);
    Error error = {0};
    if (format && arguments_flag(arguments, "list")) return arguments_wrong(arguments->command, "--list has no other format:", format);
    Dump dump = {.rows = {.out = stdout, .csv = format && strcmp(format, "csv") == 0},
                 .only = arguments_value(arguments, "sink"),
                 .list = arguments_flag(arguments, "list")};
    int r = arguments->operand_count == 0 ? dump_directory(&dump, arguments, &error) : 0;
    for (size_t i = 0; i < arguments->operand_count && r == 0; i++) r = dump_path(&dump, arguments->operands[i], &error);
    if (r == 0 && fflush(stdout) != 0) r = error_set(&error, -EIO, "cannot write the rows: %s", strerrordesc_np(errno));
    row_dump_deinit(&dump.rows);
    if (r < 0) (void)fprintf(stderr, "sluice dump: %s\n", error.text);
    if (r == -EINVAL || r == -EBADMSG) return EXIT_INVALID;
    if (r < 0) return EXIT_RUNTIME;
    return dump.damaged > 0 ? EXIT_INVALID : EXIT_SUCCESS;
}

const Command command_dump = {
    .name = "dump",
    .summary = "Writes rows of the buffer to the standard output, without a gateway.",
    .options =
        (const CommandOption[]){
            {.name = "data",
             .letter = 'd',
             .argument = "DIR",
             .sentence = "Data directory of a stopped gateway (default: SLUICE_DATA, else `data`)."},
            {.name = "sink", .argument = "SOURCE/SINK", .sentence = "Only the rows of this sink."},
            {.name = "format", .argument = "FORMAT", .sentence = "`ndjson` (default) or `csv`."},
            {.name = "list",
             .sentence = "No rows, but a line for each part of a commit group and each slice, with its rows, times and the "
                         "smallest and greatest id of its events."},
            {0},
        },
    .operands = "[FILE.pack...]",
    .operands_max = SIZE_MAX,
    .notes = "Without FILE: the rows in the data directory that are not in their table yet, each once. With FILE: all rows\n"
             "of the staged files, in any state. A part that is damaged is reported and left out, and the exit code is 1.\n",
    .run = run,
};
