#include "storage/data_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "storage/environment.h"
#include "storage/instance.h"

#define FORMAT_FILE "format"
#define FORMAT_BYTES_MAX 4096
#define STAGING "staging"
#define ENVIRONMENT "sluice.mdb"
#define META_PAGES 2
#define RESERVE (1u << 20) /* for a record that is written here, also when the map is full */

typedef struct Format {
    bool exists;
    Uuid instance;
    bool same_program; /* and the same format */
} Format;

/* Its parent is synced also when the folder exists: an earlier start may have made it and died
 * before. A parent that this user may not read was not written by such a start. */
static int make_root(const char *path, Error *error) {
    Files *files;
    bool existed = mkdir(path, 0700) < 0;
    if (existed && errno != EEXIST)
        return error_set(error, -errno, "cannot create the data directory \"%s\": %s", path, strerrordesc_np(errno));
    Buffer text = {0};
    buffer_printf(&text, "%s/..", path);
    _cleanup_free_ char *parent = buffer_take(&text);
    Error why = {0};
    int result = files_open(parent, &files, &why);
    if (result == 0) {
        result = files->sync_directory(files, "", &why);
        files_free(files);
    }
    /* Not a folder: that is found, with a better sentence, by whoever opens what should be in
     * it. */
    if (existed && (result == -EACCES || result == -EPERM || result == -EROFS || result == -ENOTDIR)) return 0;
    if (result < 0 && error) *error = why;
    return result;
}

/* The path may be relative, and its parents may be missing. */
static int make_path(const char *path, Error *error) {
    _cleanup_free_ char *part = strdup(path);
    check(part);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int result = make_root(part, error);
        if (result < 0) return result;
        *slash = '/';
    }
    return make_root(part, error);
}

static int lock_held(int fd, const char *path, Error *error) {
    char pid[32] = "";
    ssize_t size = pread(fd, pid, sizeof pid - 1, 0);
    pid[size > 0 ? strcspn(pid, "\n") : 0] = '\0';
    return error_set(error, -EBUSY, "the data directory \"%s\" is in use by process %s: only one process can use it", path,
                     *pid ? pid : "(unknown)");
}

/* Not blocking. Taken by flock, which does not meddle with LMDB's own locks (those of fcntl, on
 * lock.mdb). */
static int lock_file(int fd) {
    int result;
    do result = flock(fd, LOCK_EX | LOCK_NB);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

static int take_lock(const char *path, int *ret_fd, Error *error) {
    Buffer text = {0};
    buffer_printf(&text, "%s/lock", path);
    _cleanup_free_ char *name = buffer_take(&text);
    /* Closed on exec, so that a worker process never holds the directory for a gateway that is
     * gone. */
    _cleanup_close_ int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set(error, -errno, "cannot open \"%s\": %s", name, strerrordesc_np(errno));
    int result = lock_file(fd);
    if (result == -EWOULDBLOCK) return lock_held(fd, path, error);
    if (result < 0) return error_set(error, result, "cannot lock \"%s\": %s", name, strerrordesc_np(-result));
    char pid[32];
    int size = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* Only for the message to a second process: the lock is what counts. */
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)size, 0) != size) log_warning("cannot write the process id into \"%s\"", name);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int bad_format(const DataDirectory *directory, const char *why, Error *error) {
    return error_set(error, -EBADMSG, "\"%s/" FORMAT_FILE "\" is damaged (%s): put it back from a copy of the data directory",
                     directory->path, why);
}

static int parse_format(const DataDirectory *directory, const json_t *json, Format *ret_format, Error *error) {
    const json_t *number = json_object_get(json, "format");
    const char *program = json_string_value(json_object_get(json, "program"));
    const char *instance = json_string_value(json_object_get(json, "instance"));
    if (!json_is_integer(number) || json_integer_value(number) < 1 || !program)
        return bad_format(directory, "the format number or the program is missing", error);
    if (json_integer_value(number) > DATA_FORMAT)
        return error_set(error, -EPROTO,
                         "the data directory \"%s\" has format %lld, written by version %s; this is version %s, which reads formats up to "
                         "%d: start a newer "
                         "version",
                         directory->path, (long long)json_integer_value(number), program, SLUICE_VERSION, DATA_FORMAT);
    if (!instance || !uuid_parse(span_of(instance), &ret_format->instance))
        return bad_format(directory, "the instance id is missing", error);
    ret_format->exists = true;
    ret_format->same_program = json_integer_value(number) == DATA_FORMAT && strcmp(program, SLUICE_VERSION) == 0;
    return 0;
}

static int read_format(const DataDirectory *directory, Format *ret_format, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size;
    *ret_format = (Format){0};
    int result = files_read_all(directory->files, FORMAT_FILE, FORMAT_BYTES_MAX, &text, &size, error);
    if (result == -ENOENT) return 0;
    if (result < 0) return result;
    json_error_t where;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!json) return bad_format(directory, where.text, error);
    result = parse_format(directory, json, ret_format, error);
    json_decref(json);
    return result;
}

static int write_format(const DataDirectory *directory, const Uuid *instance, Error *error) {
    check(!uuid_is_nil(instance));
    _cleanup_(buffer_deinit) Buffer text = {0};
    char id[UUID_TEXT_SIZE + 1] = "";
    uuid_format(instance, id);
    buffer_printf(&text, "{\"format\":%d,\"instance\":\"%s\",\"program\":\"%s\"}\n", DATA_FORMAT, id, SLUICE_VERSION);
    return files_replace(directory->files, FORMAT_FILE, buffer_span(&text), 0600, error);
}

static int count_pack(void *context, const char *name, const FileInfo *info) {
    size_t size = strlen(name);
    if (!info->is_directory && size > 5 && strcmp(name + size - 5, ".pack") == 0) ++*(size_t *)context;
    return 0;
}

static int count_packs(const DataDirectory *directory, size_t *ret_packs, Error *error) {
    *ret_packs = 0;
    int result = directory->files->names(directory->files, STAGING, count_pack, ret_packs, error);
    return result == -ENOENT ? 0 : result;
}

static int make_folders(const DataDirectory *directory, Error *error) {
    Files *files = directory->files;
    int result = files->make_directory(files, STAGING, 0700, error);
    if (result == 0) result = files->make_directory(files, STAGING "/orphans", 0700, error);
    if (result == 0) result = files->make_directory(files, STAGING "/expired", 0700, error);
    if (result == 0) result = files->sync_directory(files, STAGING, error);
    return result == 0 ? files->sync_directory(files, "", error) : result;
}

/* Only then are they counted: there may be very many. */
static int refuse_packs(const DataDirectory *directory, const char *why, Error *error) {
    size_t packs;
    int result = count_packs(directory, &packs, error);
    if (result < 0 || packs == 0) return result;
    return error_set(error, -EILSEQ,
                     "\"%s\" holds %zu staged files, but %s: put back the " ENVIRONMENT " that belongs to them, or move " STAGING
                     "/ away to start without them (each can be read with `zstd -dc`)",
                     directory->path, packs, why);
}

/* Nothing was ever stored here: a new instance. Its id is in the format file before it is in the
 * environment. */
static int begin_instance(DataDirectory *directory, Environment *environment, Error *error) {
    check(!directory->is_new && uuid_is_nil(&directory->instance));
    UuidSource source = {0};
    Clock *clock = clock_system();
    uuid_next(&source, clock->wall(clock), &directory->instance);
    directory->is_new = true;
    int result = write_format(directory, &directory->instance, error);
    if (result == 0) result = failpoint_error("storage.before-instance", error);
    return result == 0 ? instance_write(environment, &directory->instance, error) : result;
}

/* It stands in the format file, too. That one is not trusted alone: the environment may have been
 * put here from another directory. */
static int restore_instance(const DataDirectory *directory, const Format *format, Environment *environment, const char *why, Error *error) {
    InstanceEvidence evidence;
    size_t packs = 0;
    int result = instance_look_for(environment, directory->files, &format->instance, &evidence, error);
    if (result == 0 && evidence != INSTANCE_PROVEN) result = count_packs(directory, &packs, error);
    if (result < 0) return result;
    if (evidence != INSTANCE_PROVEN && packs > 0)
        return error_set(error, -EILSEQ,
                         "the instance id in \"%s/" ENVIRONMENT "\" is damaged (%s), and %s: put back the " ENVIRONMENT
                         " that belongs to the staged files, or start without them: mv '%s/" STAGING "' '%s/" STAGING ".away'",
                         directory->path, why,
                         evidence == INSTANCE_FOREIGN ? "its staged files are those of another instance than the file \"" FORMAT_FILE
                                                        "\" names"
                                                      : "it knows none of the staged files that can be read",
                         directory->path, directory->path);
    result = instance_write(environment, &format->instance, error);
    if (result < 0) return result;
    metrics_add(METRIC_DAMAGED_RECORDS, 1);
    log_error("the instance id in \"" ENVIRONMENT "\" is damaged (%s): it is restored from the file \"" FORMAT_FILE "\", nothing is lost",
              why);
    return 0;
}

static int no_format(const DataDirectory *directory, Error *error) {
    return error_set(error, -EILSEQ,
                     "\"%s\" contains an environment, but no file \"" FORMAT_FILE "\": put it back from a copy of the data directory",
                     directory->path);
}

static int match(DataDirectory *directory, const Format *format, Environment *environment, Error *error) {
    Uuid stored;
    Error why = {0};
    int result = instance_read(environment, &stored, &why);
    if (result < 0) return error_set(error, result, "%s", why.text);
    if (result == INSTANCE_DAMAGED) {
        if (!format->exists) return no_format(directory, error);
        result = restore_instance(directory, format, environment, why.text, error);
        if (result < 0) return result;
        stored = format->instance;
    }
    if (uuid_is_nil(&stored)) {
        result = refuse_packs(directory, ENVIRONMENT " is new", error);
        return result == 0 ? begin_instance(directory, environment, error) : result;
    }
    if (!format->exists) return no_format(directory, error);
    directory->instance = stored;
    if (uuid_equal(&format->instance, &stored) && format->same_program) return 0;
    if (!uuid_equal(&format->instance, &stored)) {
        result = refuse_packs(directory, ENVIRONMENT " belongs to another instance", error);
        if (result < 0) return result;
        log_warning("the environment in \"%s\" belongs to another instance; its id is used", directory->path);
    }
    return write_format(directory, &stored, error);
}

static int has_environment(const DataDirectory *directory, bool *ret_has, Error *error) {
    FileInfo info;
    int result = directory->files->info(directory->files, ENVIRONMENT "/data.mdb", &info, error);
    if (result < 0 && result != -ENOENT && result != -ENOTDIR) return result;
    *ret_has = result == 0;
    return 0;
}

/* Held until the directory is closed. */
static int lock_environment(DataDirectory *directory, const char *environment_path, Error *error) {
    _cleanup_free_ char *name = NULL;
    check(asprintf(&name, "%s/data.mdb", environment_path) >= 0);
    _cleanup_close_ int fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0) return error_set(error, -errno, "cannot open \"%s\": %s", name, strerrordesc_np(errno));
    int result = lock_file(fd);
    if (result == -EWOULDBLOCK)
        return error_set(error, -EBUSY,
                         "the environment in the data directory \"%s\" is in use by another process, though its file `lock` was removed: "
                         "only one process can use it",
                         directory->path);
    if (result < 0) return error_set(error, result, "cannot lock \"%s\": %s", name, strerrordesc_np(-result));
    directory->environment_lock_fd = fd;
    fd = -1;
    return 0;
}

/*
 * A first start that ended before the file `format` was written has stored nothing. If the power was
 * lost, its data.mdb may have a part of its two meta pages, and LMDB would not open it. Such a file
 * is removed.
 */
static int remove_unfinished(const DataDirectory *directory, const Format *format, bool *has, Error *error) {
    FileInfo info;
    if (!*has || format->exists) return 0;
    int result = directory->files->info(directory->files, ENVIRONMENT "/data.mdb", &info, error);
    if (result < 0 || info.is_directory || info.bytes > META_PAGES * (uint64_t)sysconf(_SC_PAGESIZE)) return result;
    result = refuse_packs(directory, ENVIRONMENT " is empty", error);
    if (result == 0) result = directory->files->remove(directory->files, ENVIRONMENT "/data.mdb", error);
    if (result < 0) return result;
    log_warning("an earlier first start in \"%s\" did not finish, and had stored nothing: it begins again", directory->path);
    *has = false;
    return 0;
}

static int open_matching(DataDirectory *directory, const Format *format, Error *error) {
    Environment *environment;
    Buffer text = {0};
    bool has;
    int result = has_environment(directory, &has, error);
    if (result == 0) result = remove_unfinished(directory, format, &has, error);
    if (result < 0) return result;
    if (!has) result = refuse_packs(directory, ENVIRONMENT " is missing", error);
    if (result < 0) return result;

    buffer_printf(&text, "%s/" ENVIRONMENT, directory->path);
    _cleanup_free_ char *path = buffer_take(&text);
    /* Before anything of it is touched; a new one, when it is there. */
    if (has) result = lock_environment(directory, path, error);
    if (result == 0) result = environment_open(&(EnvironmentOptions){.path = path, .reserve_bytes = RESERVE}, &environment, error);
    if (result < 0) return result;
    if (!has) result = lock_environment(directory, path, error);
    if (result == 0) result = match(directory, format, environment, error);
    environment_close(environment);
    return result;
}

static int open_locked(DataDirectory *directory, Error *error) {
    Format format;
    int result = files_open(directory->path, &directory->files, error);
    if (result == 0) result = read_format(directory, &format, error);
    if (result == 0) result = open_matching(directory, &format, error);
    /* Of an instance that has rows, staging/ may just not be mounted: then nothing may be made in
     * its place before its packs were looked for. */
    if (result == 0 && directory->is_new) result = failpoint_error("storage.before-folders", error);
    if (result == 0 && directory->is_new) result = make_folders(directory, error);
    return result;
}

int data_directory_open(const char *path, DataDirectory *ret_directory, Error *error) {
    DataDirectory directory = {.lock_fd = -1, .environment_lock_fd = -1};
    if (!*path) return error_set(error, -EINVAL, "the path of the data directory is empty");
    int result = make_path(path, error);
    if (result < 0) return result;
    directory.path = realpath(path, NULL);
    if (!directory.path) return error_set(error, -errno, "cannot find the data directory \"%s\": %s", path, strerrordesc_np(errno));
    result = take_lock(directory.path, &directory.lock_fd, error);
    if (result == 0) result = open_locked(&directory, error);
    if (result < 0) {
        data_directory_close(&directory);
        return result;
    }
    check(!uuid_is_nil(&directory.instance) && directory.lock_fd >= 0 && directory.environment_lock_fd >= 0);
    *ret_directory = directory;
    return 0;
}

/* What is no data directory gets no file `lock` either. */
static int look_for(const char *path, Error *error) {
    Buffer text = {0};
    buffer_printf(&text, "%s/" ENVIRONMENT "/data.mdb", path);
    _cleanup_free_ char *name = buffer_take(&text);
    if (access(name, F_OK) == 0) return 0;
    if (errno == ENOENT || errno == ENOTDIR)
        return error_set(error, -ENOENT, "\"%s\" is not a data directory: it has no " ENVIRONMENT, path);
    return error_set(error, -errno, "cannot read \"%s\": %s", name, strerrordesc_np(errno));
}

static int inspect_locked(DataDirectory *directory, Environment **ret_environment, Error *error) {
    Format format;
    Buffer text = {0};
    int result = files_open(directory->path, &directory->files, error);
    if (result == 0) result = read_format(directory, &format, error);
    if (result < 0) return result;
    buffer_printf(&text, "%s/" ENVIRONMENT, directory->path);
    _cleanup_free_ char *path = buffer_take(&text);
    result = lock_environment(directory, path, error);
    if (result < 0) return result;
    directory->instance = format.instance;
    return environment_open(&(EnvironmentOptions){.path = path}, ret_environment, error);
}

int data_directory_inspect(const char *path, DataDirectory *ret_directory, Environment **ret_environment, Error *error) {
    DataDirectory directory = {.lock_fd = -1, .environment_lock_fd = -1};
    directory.path = realpath(path, NULL);
    if (!directory.path) return error_set(error, -errno, "cannot find the data directory \"%s\": %s", path, strerrordesc_np(errno));
    int result = look_for(directory.path, error);
    if (result == 0) result = take_lock(directory.path, &directory.lock_fd, error);
    if (result == 0) result = inspect_locked(&directory, ret_environment, error);
    if (result < 0)
        data_directory_close(&directory);
    else
        *ret_directory = directory;
    return result;
}

void data_directory_close(DataDirectory *directory) {
    files_free(directory->files);
    if (directory->environment_lock_fd >= 0) (void)close(directory->environment_lock_fd);
    if (directory->lock_fd >= 0) (void)close(directory->lock_fd);
    free(directory->path);
    *directory = (DataDirectory){.lock_fd = -1, .environment_lock_fd = -1};
}
