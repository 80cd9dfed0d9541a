/* `sluice backup`: a backup by the running gateway. `sluice restore`: a data directory from one. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"
#include "storage/backup_folder.h"
#include "storage/data_directory.h"
#include "storage/missing.h"
#include "storage/names.h"

/* ---- backup ---------------------------------------------------------------------------------- */

static int backup(const ApiClient *client, void *context, Error *error) {
    const char *name = context;
    _cleanup_free_ char *path = NULL;
    json_t *answer = NULL;
    check(asprintf(&path, "/v1/backup%s%s", name ? "?name=" : "", name ? name : "") > 0);
    int r = api_client_expect(client, "POST", path, NULL, &answer, error);
    if (r < 0) return r;
    const json_t *outputs = json_object_get(answer, "outputs");
    (void)printf("%s: %lld bytes, %lld staging files\n", screen_text(outputs, "path"),
                 (long long)json_integer_value(json_object_get(outputs, "bytes")),
                 (long long)json_integer_value(json_object_get(outputs, "stagingFiles")));
    json_decref(answer);
    return 0;
}

static int run_backup(const Arguments *arguments) {
    const char *name = arguments->operand_count > 0 ? arguments->operands[0] : NULL;
    if (name && !backup_name_is_valid(name))
        return arguments_wrong(arguments->command,
                               "the name of a backup has up to 64 letters, digits, \".\", \"_\" and \"-\", and begins with a letter or "
                               "digit; it is not",
                               name);
    return remote_run(arguments, backup, (void *)(uintptr_t)name);
}

/* ---- restore --------------------------------------------------------------------------------- */

typedef struct Restore {
    const char *from;
    char *to;     /* owned */
    char *unique; /* owned: its temporary name */
    bool older;
    BackupManifest manifest;
    uint64_t packs, bytes;
} Restore;

static char *without_slashes(const char *path) {
    char *copy = text_copy(path);
    for (size_t size = strlen(copy); size > 1 && copy[size - 1] == '/'; size--) copy[size - 1] = '\0';
    return copy;
}

static char *parent_of(const char *path) {
    char *parent = text_copy(path), *slash = strrchr(parent, '/');
    if (!slash) {
        free(parent);
        return text_copy(".");
    }
    slash[slash == parent ? 1 : 0] = '\0';
    return parent;
}

/* Nothing may be there but an empty directory. */
static int check_target(const Restore *restore, Error *error) {
    DIR *open = opendir(restore->to);
    if (!open) return errno == ENOENT ? 0 : error_set(error, -errno, "cannot open \"%s\": %s", restore->to, strerrordesc_np(errno));
    size_t entries = 0;
    for (const struct dirent *entry; (entry = readdir(open));)
        entries += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(open);
    if (entries == 0) return 0;
    return error_set(error, -EEXIST, "\"%s\" is not empty: move it away first, so that nothing in it is lost", restore->to);
}

/* How many later backups of the same gateway stand in the same directory. */
static uint64_t count_later(const Restore *restore) {
    _cleanup_free_ char *from = without_slashes(restore->from), *parent = parent_of(from);
    uint64_t later = 0;
    DIR *open = opendir(parent);
    if (!open) return 0;
    for (const struct dirent *entry; (entry = readdir(open));) {
        if (entry->d_name[0] == '.') continue;
        _cleanup_free_ char *path = name_in(parent, entry->d_name);
        BackupManifest other = {0};
        if (backup_manifest_read(path, &other, NULL) < 0) continue;
        later += uuid_equal(&other.instance, &restore->manifest.instance) && other.number > restore->manifest.number;
        backup_manifest_deinit(&other);
    }
    (void)closedir(open);
    return later;
}

static int check_backup(Restore *restore, Error *error) {
    int r = backup_manifest_read(restore->from, &restore->manifest, error);
    if (r == -ENOENT)
        return error_set(error, -EINVAL, "\"%s\" is no complete backup: it has no file \"" BACKUP_MANIFEST "\"", restore->from);
    if (r < 0) return r;
    if (restore->manifest.format > DATA_FORMAT)
        return error_set(error, -EPROTO, "the backup has format %u, and this version of Sluice reads formats up to %d: use a newer version",
                         restore->manifest.format, DATA_FORMAT);
    uint64_t later = count_later(restore);
    if (later < restore->manifest.kept || restore->older) return 0;
    return error_set(error, -EINVAL,
                     "there are %" PRIu64 " later backups of this gateway: rows that waited in this one and were imported since could be "
                     "imported twice. Restore a later backup, or use --older",
                     later);
}

static int copy_file(Restore *restore, const BackupFile *file, Error *error) {
    _cleanup_free_ char *from = name_in(restore->from, file->path), *to = name_in(restore->unique, file->path), *folder = parent_of(to);
    uint64_t bytes, checksum;
    int r = backup_make_folder(folder, error);
    if (r == 0) r = backup_copy_file(from, to, NULL, &bytes, &checksum, error);
    if (r == 0) r = backup_check_file(to, file, error);
    if (r == 0) restore->bytes += bytes;
    return r;
}

static int copy_folder(Restore *restore, const char *name, Error *error) {
    _cleanup_free_ char *folder = name_in(restore->from, name), *to = name_in(restore->unique, name);
    int r = backup_make_folder(to, error);
    DIR *open = r == 0 ? opendir(folder) : NULL;
    if (!open) return r < 0 || errno == ENOENT ? r : error_set(error, -errno, "cannot open \"%s\": %s", folder, strerrordesc_np(errno));
    for (const struct dirent *entry; r == 0 && (entry = readdir(open));) {
        _cleanup_free_ char *from = name_in(folder, entry->d_name), *copy = name_in(to, entry->d_name);
        uint64_t bytes, checksum;
        struct stat info;
        if (lstat(from, &info) < 0 || !S_ISREG(info.st_mode)) continue;
        r = backup_copy_file(from, copy, NULL, &bytes, &checksum, error);
        if (r < 0) break;
        restore->packs++;
        restore->bytes += bytes;
    }
    (void)closedir(open);
    return r;
}

/* Is what the database names there? */
static int check_copy(const Restore *restore, Error *error) {
    DataDirectory directory;
    Environment *environment;
    Txn *txn;
    MissingSlices missing = {0};
    int r = data_directory_inspect(restore->unique, &directory, &environment, error);
    if (r < 0) return r;
    if (!uuid_equal(&directory.instance, &restore->manifest.instance))
        r = error_set(error, -EBADMSG, "the database of the backup belongs to another gateway than its manifest says");
    if (r == 0) r = txn_begin_read(environment, &txn, error);
    if (r == 0) {
        r = missing_find(directory.files, txn, &missing, error);
        txn_abort(txn);
    }
    if (r == 0 && missing.count > 0)
        r = error_set(error, -EBADMSG, "%zu staging files of the backup are missing or too short, with %" PRIu64 " rows that wait",
                      missing.packs, missing.rows);
    missing_deinit(&missing);
    environment_close(environment);
    data_directory_close(&directory);
    return r;
}

static int copy_all(Restore *restore, Error *error) {
    int r = backup_remove_tree(restore->unique, error);
    if (r == 0) r = backup_make_folder(restore->unique, error);
    for (size_t i = 0; i < restore->manifest.count && r == 0; i++) r = copy_file(restore, &restore->manifest.files[i], error);
    if (r == 0) r = copy_folder(restore, "staging", error);
    if (r == 0) r = copy_folder(restore, "staging/expired", error);
    if (r == 0) r = copy_folder(restore, "staging/orphans", error);
    if (r == 0) r = check_copy(restore, error);
    return r;
}

static int put_in_place(const Restore *restore, Error *error) {
    _cleanup_free_ char *lock = name_in(restore->unique, "lock"), *parent = parent_of(restore->to);
    (void)unlink(lock);
    int r = backup_sync_tree(restore->unique, error);
    if (r == 0 && rename(restore->unique, restore->to) < 0)
        r = error_set(error, -errno, "cannot rename \"%s\" to \"%s\": %s", restore->unique, restore->to, strerrordesc_np(errno));
    return r == 0 ? backup_sync_folder(parent, error) : r;
}

static int restore_all(Restore *restore, Error *error) {
    int r = check_target(restore, error);
    if (r == 0) r = check_backup(restore, error);
    if (r < 0) return r;
    r = copy_all(restore, error);
    if (r == 0) r = put_in_place(restore, error);
    if (r < 0) (void)backup_remove_tree(restore->unique, NULL);
    return r;
}

static int run_restore(const Arguments *arguments) {
    const char *path = arguments_value(arguments, "data"), *from_environment = getenv("SLUICE_DATA");
    if (!path) path = from_environment && *from_environment ? from_environment : "data";
    Restore restore = {.from = arguments->operands[0], .to = without_slashes(path), .older = arguments_flag(arguments, "older")};
    check(asprintf(&restore.unique, "%s.restoring", restore.to) > 0);
    Error error = {0};
    int r = restore_all(&restore, &error);
    if (r < 0) {
        (void)fprintf(stderr, "sluice restore: %s\n", error.text);
    } else {
        char at[25];
        clock_format_utc(restore.manifest.at, at);
        (void)printf("%s: restored from %s as of %s (%" PRIu64 " staging files, %" PRIu64 " bytes)\n", restore.to, restore.from, at,
                     restore.packs, restore.bytes);
        (void)printf("%" PRIu64 " rows wait for their import; those that are in their table already are found there. What was received "
                     "after the backup is not in it.\n",
                     restore.manifest.rows);
    }
    backup_manifest_deinit(&restore.manifest);
    free(restore.to);
    free(restore.unique);
    bool invalid = r == -EINVAL || r == -EBADMSG || r == -EEXIST || r == -EPROTO || r == -EILSEQ;
    return r == 0 ? EXIT_SUCCESS : invalid ? EXIT_INVALID : EXIT_RUNTIME;
}

/* ---- the tables ------------------------------------------------------------------------------ */

static const CommandOption backup_options[] = {REMOTE_OPTIONS, {0}};

const Command command_backup = {
    .name = "backup",
    .summary = "Make a backup of the running gateway, in its directory of backups.",
    .options = backup_options,
    .operands = "[NAME]",
    .operands_max = 1,
    .notes = "The gateway writes the backup into the directory of its option backup.directory. Without NAME, the name is the\n"
             "time. A backup whose directory has the file backup.json is complete.\n",
    .run = run_backup,
};

const Command command_restore = {
    .name = "restore",
    .summary = "Make a data directory from a backup.",
    .options =
        (const CommandOption[]){
            {.name = "data",
             .letter = 'd',
             .argument = "DIR",
             .sentence = "Data directory to make; it must not exist, or be empty (default: SLUICE_DATA, else `data`)."},
            {.name = "older", .sentence = "Restore a backup that has too many later ones. Rows may be imported twice."},
            {0},
        },
    .operands = "BACKUP",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "It checks the backup, copies it, and changes nothing in it. Start the gateway with `sluice serve --data DIR` then.\n"
             "The gateway that was lost must not run any more.\n",
    .run = run_restore,
};
