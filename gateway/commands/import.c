/* `sluice import`: the packs of a staging folder into their tables, without a database of the
 * gateway. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/options.h"
#include "gateway/commands/commands.h"
#include "gateway/delivery/file_rows.h"
#include "gateway/delivery/narrow_import.h"
#include "sinks/driver.h"
#include "storage/names.h"
#include "storage/pack.h"

#define BAD_ROWS_MAX 100000

/* A folder of packs whose files are found by the id of the pack, whatever their names are. */
typedef struct PackFiles {
    Files files; /* first */
    Files *folder;
    Uuid *ids;
    char **names;
    size_t count, id_room, name_room;
} PackFiles;

typedef struct Found {
    SliceRecord slice;
    Uuid instance;
} Found;

typedef struct Import {
    const char *folder, *connection, *rejects;
    bool as_is;
    Options options;
    PackFiles packs;
    Found *found; /* owned; by sink, first row and file */
    size_t count, room;
    FILE *reject_file;
    size_t imported, known, refused;
} Import;

/* ---- the folder ------------------------------------------------------------------------------ */

static const char *name_of(const PackFiles *packs, const char *path) {
    for (size_t i = 0; i < packs->count; i++) {
        char known[64];
        pack_path(&packs->ids[i], known);
        if (strcmp(known, path) == 0) return packs->names[i];
    }
    return path;
}

static int packs_open(Files *files, const char *path, File **ret_file, Error *error) {
    PackFiles *packs = (PackFiles *)files;
    return packs->folder->open(packs->folder, name_of(packs, path), ret_file, error);
}

static int packs_read(Files *files, File *file, uint64_t offset, void *buffer, size_t size, Error *error) {
    Files *folder = ((PackFiles *)files)->folder;
    return folder->read(folder, file, offset, buffer, size, error);
}

static int packs_info(Files *files, const char *path, FileInfo *ret_info, Error *error) {
    PackFiles *packs = (PackFiles *)files;
    return packs->folder->info(packs->folder, name_of(packs, path), ret_info, error);
}

static void packs_close(Files *files, File *file) {
    Files *folder = ((PackFiles *)files)->folder;
    folder->close(folder, file);
}

/* A damaged pack costs only itself, and the files that have rows in it. */
static int add_pack(Import *import, const char *name, Error *error) {
    PackFiles *packs = &import->packs;
    PackDirectory directory;
    Error why = {0};
    int r = pack_read_directory(packs->folder, name, &directory, &why);
    if (r == -EBADMSG || r == -ENODATA) {
        (void)printf("%s: not read: %s\n", name, why.text);
        import->refused++;
        return 0;
    }
    if (r < 0) return error_set(error, r, "%s", why.text);
    array_reserve(packs->ids, packs->count, packs->id_room);
    array_reserve(packs->names, packs->count, packs->name_room);
    packs->ids[packs->count] = directory.id;
    packs->names[packs->count++] = text_copy(name);
    for (size_t i = 0; i < directory.count; i++) {
        array_reserve(import->found, import->count, import->room);
        import->found[import->count++] = (Found){.slice = directory.slices[i], .instance = directory.instance};
        import->found[import->count - 1].slice.pack = directory.id;
    }
    pack_directory_deinit(&directory);
    return 0;
}

static int by_row(const void *a, const void *b) {
    const Found *x = a, *y = b;
    int instance = memcmp(x->instance.bytes, y->instance.bytes, sizeof x->instance.bytes);
    if (instance != 0) return instance;
    if (x->slice.sink != y->slice.sink) return x->slice.sink < y->slice.sink ? -1 : 1;
    if (x->slice.first_row != y->slice.first_row) return x->slice.first_row < y->slice.first_row ? -1 : 1;
    int file = memcmp(x->slice.file.bytes, y->slice.file.bytes, sizeof x->slice.file.bytes);
    return file != 0 ? file : memcmp(x->slice.pack.bytes, y->slice.pack.bytes, sizeof x->slice.pack.bytes);
}

static int read_folder(Import *import, Error *error) {
    PackFiles *packs = &import->packs;
    Names names = {0};
    int r = files_open(import->folder, &packs->folder, error);
    if (r < 0) return r;
    packs->files = (Files){.open = packs_open, .read = packs_read, .info = packs_info, .close = packs_close};
    r = names_list(packs->folder, "", &names, error);
    for (size_t i = 0; i < names.count && r == 0; i++)
        if (text_ends(span_of(names.names[i]), SPAN(".pack"))) r = add_pack(import, names.names[i], error);
    names_deinit(&names);
    if (import->count > 1) qsort(import->found, import->count, sizeof *import->found, by_row);
    return r;
}

static void close_folder(Import *import) {
    PackFiles *packs = &import->packs;
    for (size_t i = 0; i < packs->count; i++) free(packs->names[i]);
    free(packs->names);
    free(packs->ids);
    files_free(packs->folder);
    free(import->found);
}

/* ---- one file -------------------------------------------------------------------------------- */

/* The slices of one file, in row order, each once. */
typedef struct Whole {
    SliceRecord *slices; /* owned */
    size_t count;
    Uuid instance;
    uint64_t first_row, end, rows, bytes, checksum;
    bool has_hole, has_runs;
    bool begins, ends; /* it is known that nothing of it comes before, or after */
} Whole;

static bool same_sink(const Found *a, const Found *b) {
    return a->slice.sink == b->slice.sink && uuid_equal(&a->instance, &b->instance);
}

/* Files of a sink follow each other without a gap: what stands next to it says where it begins and
 * ends. */
static void look_around(const Import *import, size_t first, size_t last, Whole *whole) {
    const Found *found = import->found;
    whole->begins = whole->first_row == 1;
    if (first > 0 && same_sink(&found[first - 1], &found[first]))
        whole->begins = whole->begins || found[first - 1].slice.first_row + found[first - 1].slice.rows == whole->first_row;
    if (last + 1 < import->count && same_sink(&found[last], &found[last + 1])) whole->ends = found[last + 1].slice.first_row == whole->end;
}

/* From the slice at `first`, which is the first one of its file. */
static Whole collect(const Import *import, size_t first) {
    const Found *found = &import->found[first];
    Whole whole = {.first_row = found->slice.first_row, .end = found->slice.first_row, .instance = found->instance};
    size_t room = 0, last = first;
    for (size_t i = first; i < import->count && same_sink(found, &import->found[i]); i++) {
        const SliceRecord *slice = &import->found[i].slice;
        if (!uuid_equal(&slice->file, &found->slice.file)) continue;
        last = i;
        bool again = whole.count > 0 && slice->first_row == whole.slices[whole.count - 1].first_row;
        if (again) continue; /* a copy of the same slice in another pack */
        if (slice->first_row != whole.end) whole.has_hole = true;
        array_reserve(whole.slices, whole.count, room);
        whole.slices[whole.count++] = *slice;
        whole.end = slice->first_row + slice->rows;
        whole.rows += slice->rows;
        whole.bytes += slice->bytes;
        whole.checksum = ledger_fold_checksum(whole.checksum, slice->checksum);
    }
    look_around(import, first, last, &whole);
    return whole;
}

/* The target of its rows, from the description of its first slice. */
static int read_target(Import *import, Whole *whole, SinkTarget *ret_target, Error *error) {
    SliceReader *reader;
    _cleanup_(buffer_deinit) Buffer text = {0};
    int r = slice_open(&import->packs.files, &whole->slices[0], &reader, error);
    if (r < 0) return r;
    r = slice_description(reader, &text, error);
    slice_close(reader);
    if (r != 0) return r < 0 ? r : -EBADMSG;
    json_t *json = json_loadb(text.data, text.size, 0, NULL);
    const json_t *target = json_object_get(json, "target");
    whole->has_runs = json_object_get(json, "runs") != NULL;
    r = json_is_object(target) ? sink_target_load(target, ret_target, error) : error_set(error, -EBADMSG, "it does not say its table");
    json_decref(json);
    return r;
}

/* ---- rejects --------------------------------------------------------------------------------- */

/* Each call replaces what the call before stored for this file. */
typedef struct Keeping {
    Import *import;
    long begin; /* of its rejects in the file */
} Keeping;

static int keep_rejects(void *context, const SinkReject *rejects, size_t count, Error *error) {
    Keeping *keeping = context;
    FILE *file = keeping->import->reject_file;
    const char *path = keeping->import->rejects;
    bool failed = fseek(file, keeping->begin, SEEK_SET) != 0 || ftruncate(fileno(file), keeping->begin) < 0;
    for (size_t i = 0; i < count && !failed; i++) {
        char id[UUID_TEXT_SIZE + 1] = "";
        uuid_format(rejects[i].file, id);
        json_t *json = json_pack("{s:s, s:I, s:s, s:s%}", "file", id, "row", (json_int_t)rejects[i].row, "reason",
                                 text_is_utf8(span_of(rejects[i].reason)) ? rejects[i].reason : "", "csv", rejects[i].csv.data,
                                 rejects[i].csv.size);
        char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
        failed = !line || fprintf(file, "%s\n", line) < 0;
        free(line);
    }
    if (failed || fflush(file) != 0 || fsync(fileno(file)) < 0)
        return error_set(error, -EIO, "cannot write the refused rows to \"%s\": %s", path, strerrordesc_np(errno));
    return 0;
}

/* ---- into the table -------------------------------------------------------------------------- */

typedef struct Result {
    bool known;
    uint64_t refused_rows;
} Result;

static SinkResult import_whole(Import *import, const SinkDriver *driver, SinkSession *session, const Whole *whole, const SinkTarget *target,
                               Result *ret_result, Error *error) {
    TableInspection inspection = {0};
    Keeping keeping = {.import = import};
    char label[32];
    SinkResult result = driver->look_up(session, &whole->slices[0].file, &ret_result->known, error);
    if (result != SINK_DONE || ret_result->known) return result;
    result = driver->inspect(session, target, &inspection, error);
    NarrowImport *narrow = result == SINK_DONE ? narrow_import_new(target, inspection.lacks) : NULL;
    table_inspection_deinit(&inspection);
    if (result != SINK_DONE) return result;
    if (import->reject_file) keeping.begin = ftell(import->reject_file);
    FileRows *rows = file_rows_new(&import->packs.files, whole->slices, whole->count, sink_target_cells(target));
    ImportFile file = {.id = whole->slices[0].file,
                       .first_row = whole->first_row,
                       .rows = whole->rows,
                       .bytes = whole->bytes,
                       .checksum = whole->checksum,
                       .reader = narrow ? narrow_import_add(narrow, file_rows_reader(rows)) : file_rows_reader(rows)};
    (void)snprintf(label, sizeof label, "sink %" PRIu32, whole->slices[0].sink);
    ImportJob job = {.instance = whole->instance,
                     .sink_label = label,
                     .target = narrow ? narrow_import_target(narrow) : target,
                     .files = &file,
                     .file_count = 1,
                     .bad_rows_max = import->reject_file ? BAD_ROWS_MAX : 0,
                     .store_rejects = keep_rejects,
                     .context = &keeping,
                     .longest = import->options.import_longest,
                     .patience = import->options.import_timeout};
    result = driver->import(session, &job, error);
    ret_result->known = file.already_imported;
    ret_result->refused_rows = job.rejected_rows;
    file_rows_free(rows);
    narrow_import_free(narrow);
    return result;
}

static int connect_and_import(Import *import, const Whole *whole, const SinkTarget *target, Result *ret_result, Error *error) {
    const char *name = import->connection ? import->connection : target->connection;
    const Connection *connection = connections_find(&import->options.list, name);
    const SinkDriver *driver = connection ? sink_driver_of(connection->type) : NULL;
    SinkSession *session;
    if (!driver) return error_set(error, -EINVAL, "there is no connection \"%.60s\" to a database: name one with --connection", name);
    SinkResult result = driver->connect(connection, import->options.data, "sluice import", NULL, &session, error);
    if (result != SINK_DONE) return -EIO;
    result = driver->prepare(session, target, error);
    if (result == SINK_DONE) result = import_whole(import, driver, session, whole, target, ret_result, error);
    driver->disconnect(session);
    return result == SINK_DONE ? 0 : -EIO;
}

/* Why it may not be imported; 0: it may. */
static int check_whole(const Import *import, const Whole *whole, const SinkTarget *target, Error *error) {
    if (whole->has_runs)
        return error_set(error, -EINVAL, "its rows were read from a broker, which has them: positions decide about them, not files");
    if (target->table.strategy == STRATEGY_REPLACE) return error_set(error, -EINVAL, "its table is replaced as a whole");
    if (import->as_is) return 0;
    if (whole->has_hole) return error_set(error, -EINVAL, "rows between its first and its last one are missing");
    if (!whole->begins) return error_set(error, -EINVAL, "nothing says that it begins with row %" PRIu64 ": see --as-is", whole->first_row);
    if (!whole->ends) return error_set(error, -EINVAL, "nothing says that it ends with row %" PRIu64 ": see --as-is", whole->end - 1);
    return 0;
}

static void import_file(Import *import, size_t first) {
    Whole whole = collect(import, first);
    SinkTarget target = {0};
    Error error = {0};
    Result result = {0};
    char id[UUID_TEXT_SIZE + 1] = "";
    uuid_format(&whole.slices[0].file, id);
    (void)printf("%s (sink %" PRIu32 ", rows %" PRIu64 " to %" PRIu64 "): ", id, whole.slices[0].sink, whole.first_row, whole.end - 1);
    int r = read_target(import, &whole, &target, &error);
    bool has_target = r == 0;
    if (r == 0) r = check_whole(import, &whole, &target, &error);
    if (r == 0) r = connect_and_import(import, &whole, &target, &result, &error);
    if (r < 0) {
        (void)printf("refused: %s\n", error.text);
        import->refused++;
    } else if (result.known) {
        (void)printf("already there\n");
        import->known++;
    } else {
        (void)printf("imported into %s, %" PRIu64 " rows", sink_target_name(&target), whole.rows - result.refused_rows);
        if (result.refused_rows > 0)
            (void)printf(", %" PRIu64 " refused by the table and written to %s", result.refused_rows, import->rejects);
        (void)printf("\n");
        import->imported++;
    }
    if (has_target) sink_target_deinit(&target);
    free(whole.slices);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* The slice is the first one of its file. */
static bool is_first(const Import *import, size_t index) {
    const Found *found = import->found;
    for (size_t i = index; i > 0 && same_sink(&found[i - 1], &found[index]); i--)
        if (uuid_equal(&found[i - 1].slice.file, &found[index].slice.file)) return false;
    return true;
}

static int import_all(Import *import, Error *error) {
    int r = read_folder(import, error);
    if (r == 0 && import->packs.count == 0 && import->refused == 0) r = error_set(error, -EINVAL, "\"%s\" has no packs", import->folder);
    if (r == 0 && import->rejects) {
        import->reject_file = fopen(import->rejects, "a+");
        if (!import->reject_file) r = error_set(error, -errno, "cannot open \"%s\": %s", import->rejects, strerrordesc_np(errno));
        if (r == 0 && fseek(import->reject_file, 0, SEEK_END) != 0) r = error_set(error, -errno, "cannot seek in \"%s\"", import->rejects);
    }
    for (size_t i = 0; i < import->count && r == 0; i++)
        if (is_first(import, i)) import_file(import, i);
    if (import->reject_file && fclose(import->reject_file) != 0 && r == 0)
        r = error_set(error, -EIO, "cannot close \"%s\"", import->rejects);
    close_folder(import);
    return r;
}

static int run(const Arguments *arguments) {
    static char *const none[] = {NULL};
    Import import = {.folder = arguments->operands[0],
                     .connection = arguments_value(arguments, "connection"),
                     .rejects = arguments_value(arguments, "rejects"),
                     .as_is = arguments_flag(arguments, "as-is")};
    Error error = {0};
    int r = options_load(arguments_value(arguments, "config"), none, connection_types, &import.options, &error);
    if (r == 0) {
        r = import_all(&import, &error);
        options_deinit(&import.options);
    }
    if (r < 0) {
        (void)fprintf(stderr, "sluice import: %s\n", error.text);
        return r == -EINVAL ? EXIT_INVALID : EXIT_RUNTIME;
    }
    (void)printf("%zu files imported, %zu already there, %zu refused\n", import.imported, import.known, import.refused);
    return import.refused > 0 ? EXIT_INVALID : EXIT_SUCCESS;
}

const Command command_import = {
    .name = "import",
    .summary = "Import the files of a staging folder into their tables, without a gateway and its database.",
    .options =
        (const CommandOption[]){
            {.name = "config", .argument = "FILE", .sentence = "Config file of the server, for its connections."},
            {.name = "connection", .argument = "NAME", .sentence = "Import into this connection (default: that of each file)."},
            {.name = "rejects",
             .argument = "FILE",
             .sentence = "Append rows that a table refuses to this file (ndjson). Without it, such a file is refused."},
            {.name = "as-is", .sentence = "Also import files of which rows may be missing: the rows that are there."},
            {0},
        },
    .operands = "DIR",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "A file is imported if its rows have no hole and the files before and behind it are in DIR, so that it is known\n"
             "where it begins and ends. The last file of each sink needs --as-is. If more rows of a file turn up after it was\n"
             "imported with --as-is, these rows are not imported any more: its id is in the ledger of the destination.\n",
    .run = run,
};
