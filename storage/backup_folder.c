#include "storage/backup_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/text.h"

#define COPY_BYTES (1u << 20)
#define MANIFEST_VERSION 1
#define TREE_DESCRIPTORS 16

static int failure(Error *error, const char *what, const char *path) {
    int code = errno;
    return error_set(error, -code, "cannot %s \"%s\": %s", what, path, strerrordesc_np(code));
}

bool backup_name_is_valid(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t size = strlen(name);
    return size > 0 && size <= BACKUP_NAME_MAX && !strchr("._-", name[0]) && strspn(name, letters) == size;
}

/* ---- copies ---------------------------------------------------------------------------------- */

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -1;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

/* `to`: -1: only reads. */
static int pump(int from, const char *from_name, int to, const char *to_name, const atomic_bool *cancel, uint64_t *ret_bytes,
                uint64_t *ret_checksum, Error *error) {
    _cleanup_free_ char *buffer = malloc(COPY_BYTES);
    Checksum *checksum = checksum_new();
    uint64_t bytes = 0;
    int r = 0;
    check(buffer);
    for (;;) {
        if (cancel && atomic_load(cancel)) {
            r = error_set(error, -ECANCELED, "the gateway is shutting down");
            break;
        }
        ssize_t size = read(from, buffer, COPY_BYTES);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) r = failure(error, "read", from_name);
        if (size <= 0) break;
        checksum_add(checksum, buffer, (size_t)size);
        bytes += (uint64_t)size;
        if (to >= 0 && write_all(to, buffer, (size_t)size) < 0) {
            r = failure(error, "write", to_name);
            break;
        }
    }
    if (r == 0) {
        *ret_bytes = bytes;
        *ret_checksum = checksum_end(checksum);
    }
    checksum_free(checksum);
    return r;
}

static int copy_from(int from, const char *from_name, const char *to, const atomic_bool *cancel, uint64_t *ret_bytes,
                     uint64_t *ret_checksum, Error *error) {
    _cleanup_close_ int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return failure(error, "create", to);
    int r = pump(from, from_name, fd, to, cancel, ret_bytes, ret_checksum, error);
    if (r == 0 && fsync(fd) < 0) r = failure(error, "sync", to);
    return r;
}

int backup_copy_stream(int fd, const char *to, const atomic_bool *cancel, uint64_t *ret_bytes, uint64_t *ret_checksum, Error *error) {
    return copy_from(fd, "the copy of the database", to, cancel, ret_bytes, ret_checksum, error);
}

int backup_copy_file(const char *from, const char *to, const atomic_bool *cancel, uint64_t *ret_bytes, uint64_t *ret_checksum,
                     Error *error) {
    _cleanup_close_ int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return failure(error, "open", from);
    return copy_from(fd, from, to, cancel, ret_bytes, ret_checksum, error);
}

int backup_link_file(const char *from, const char *to, const atomic_bool *cancel, uint64_t *ret_bytes, Error *error) {
    struct stat info;
    uint64_t checksum;
    if (link(from, to) < 0) {
        bool cannot = errno == EXDEV || errno == EPERM || errno == EMLINK || errno == EOPNOTSUPP || errno == ENOSYS;
        if (!cannot) return failure(error, "link", from);
        return backup_copy_file(from, to, cancel, ret_bytes, &checksum, error);
    }
    if (lstat(to, &info) < 0) return failure(error, "look at", to);
    *ret_bytes = (uint64_t)info.st_size;
    return 0;
}

int backup_check_file(const char *path, const BackupFile *file, Error *error) {
    uint64_t bytes = 0, checksum = 0;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return failure(error, "open", path);
    int r = pump(fd, path, -1, NULL, NULL, &bytes, &checksum, error);
    if (r < 0) return r;
    if (bytes != file->bytes)
        return error_set(error, -EBADMSG, "\"%s\" has %" PRIu64 " bytes, and the manifest of the backup says %" PRIu64, path, bytes,
                         file->bytes);
    if (checksum != file->checksum) return error_set(error, -EBADMSG, "\"%s\" is damaged: its checksum differs from the manifest", path);
    return 0;
}

/* ---- folders --------------------------------------------------------------------------------- */

int backup_make_folder(const char *path, Error *error) {
    _cleanup_free_ char *part = text_copy(path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST) return failure(error, "create", part);
        *slash = '/';
    }
    return mkdir(path, 0700) < 0 && errno != EEXIST ? failure(error, "create", path) : 0;
}

int backup_sync_folder(const char *path, Error *error) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return failure(error, "open", path);
    return fsync(fd) < 0 ? failure(error, "sync", path) : 0;
}

static int sync_entry(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info;
    (void)where;
    return type == FTW_DP || type == FTW_D ? backup_sync_folder(path, NULL) : 0;
}

int backup_sync_tree(const char *path, Error *error) {
    int r = nftw(path, sync_entry, TREE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
    if (r == -1) return failure(error, "walk through", path);
    return r < 0 ? error_set(error, r, "cannot sync \"%s\": %s", path, strerrordesc_np(-r)) : 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info;
    (void)type;
    (void)where;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int backup_remove_tree(const char *path, Error *error) {
    struct stat info;
    if (lstat(path, &info) < 0) return errno == ENOENT ? 0 : failure(error, "look at", path);
    return nftw(path, remove_entry, TREE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS) < 0 ? failure(error, "remove", path) : 0;
}

/* ---- the manifest ---------------------------------------------------------------------------- */

void backup_manifest_add(BackupManifest *manifest, const char *path, uint64_t bytes, uint64_t checksum) {
    array_reserve(manifest->files, manifest->count, manifest->capacity);
    manifest->files[manifest->count++] = (BackupFile){.path = text_copy(path), .bytes = bytes, .checksum = checksum};
}

static json_t *to_json(const BackupManifest *manifest) {
    char instance[UUID_TEXT_SIZE + 1] = "", at[25], checksum[17];
    json_t *files = json_array();
    check(files);
    uuid_format(&manifest->instance, instance);
    clock_format_utc(manifest->at, at);
    for (size_t i = 0; i < manifest->count; i++) {
        const BackupFile *file = &manifest->files[i];
        (void)snprintf(checksum, sizeof checksum, "%016" PRIx64, file->checksum);
        json_t *item = json_pack("{s:s, s:I, s:s}", "path", file->path, "bytes", (json_int_t)file->bytes, "checksum", checksum);
        check(item && json_array_append_new(files, item) == 0);
    }
    json_t *json = json_pack("{s:i, s:s, s:i, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "backup", MANIFEST_VERSION, "program",
                             SLUICE_VERSION, "format", (int)manifest->format, "instance", instance, "number", (json_int_t)manifest->number,
                             "at", at, "atMicroseconds", (json_int_t)manifest->at, "commit", (json_int_t)manifest->commit, "waitingRows",
                             (json_int_t)manifest->rows, "kept", (json_int_t)manifest->kept, "packs", (json_int_t)manifest->packs,
                             "packBytes", (json_int_t)manifest->pack_bytes, "files", files);
    check(json);
    return json;
}

int backup_manifest_write(const char *folder, const BackupManifest *manifest, Error *error) {
    _cleanup_free_ char *path = NULL, *text = NULL;
    check(asprintf(&path, "%s/" BACKUP_MANIFEST, folder) > 0);
    json_t *json = to_json(manifest);
    text = json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    check(text);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return failure(error, "create", path);
    if (write_all(fd, text, strlen(text)) < 0 || write_all(fd, "\n", 1) < 0) return failure(error, "write", path);
    if (fsync(fd) < 0) return failure(error, "sync", path);
    return backup_sync_folder(folder, error);
}

/* It is inside the folder. */
static bool is_inside(const char *path) {
    return path[0] && path[0] != '/' && strcmp(path, "..") != 0 && strncmp(path, "../", 3) != 0 && !strstr(path, "/../") &&
           !text_ends(span_of(path), SPAN("/.."));
}

static uint64_t number_of(const json_t *json, const char *name) {
    json_int_t value = json_integer_value(json_object_get(json, name));
    return value > 0 ? (uint64_t)value : 0;
}

static bool read_files(const json_t *list, BackupManifest *manifest) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *path = json_string_value(json_object_get(item, "path")),
                   *checksum = json_string_value(json_object_get(item, "checksum"));
        if (!path || !is_inside(path) || !checksum || strlen(checksum) != 16) return false;
        char *end;
        uint64_t value = strtoull(checksum, &end, 16);
        if (*end) return false;
        backup_manifest_add(manifest, path, number_of(item, "bytes"), value);
    }
    return json_is_array(list);
}

int backup_manifest_read(const char *folder, BackupManifest *ret_manifest, Error *error) {
    _cleanup_free_ char *path = NULL;
    json_error_t where;
    BackupManifest manifest = {0};
    check(asprintf(&path, "%s/" BACKUP_MANIFEST, folder) > 0);
    if (access(path, R_OK) < 0) return failure(error, "read", path);
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!json) return error_set(error, -EBADMSG, "\"%s\" is damaged: %s", path, where.text);
    const char *instance = json_string_value(json_object_get(json, "instance"));
    json_int_t version = json_integer_value(json_object_get(json, "backup"));
    manifest.number = number_of(json, "number");
    manifest.commit = number_of(json, "commit");
    manifest.rows = number_of(json, "waitingRows");
    manifest.at = (usec_t)number_of(json, "atMicroseconds");
    manifest.format = (unsigned)number_of(json, "format");
    manifest.kept = number_of(json, "kept");
    manifest.packs = number_of(json, "packs");
    manifest.pack_bytes = number_of(json, "packBytes");
    bool valid = version > 0 && instance && uuid_parse(span_of(instance), &manifest.instance) && manifest.number > 0 && manifest.format > 0;
    int r = 0;
    if (version > MANIFEST_VERSION)
        r = error_set(error, -EPROTO, "\"%s\" was written by a newer version of Sluice: use that version", path);
    else if (!valid || !read_files(json_object_get(json, "files"), &manifest))
        r = error_set(error, -EBADMSG, "\"%s\" is damaged: a field is missing or not valid", path);
    json_decref(json);
    if (r < 0)
        backup_manifest_deinit(&manifest);
    else
        *ret_manifest = manifest;
    return r;
}

void backup_manifest_deinit(BackupManifest *manifest) {
    for (size_t i = 0; i < manifest->count; i++) free(manifest->files[i].path);
    free(manifest->files);
    *manifest = (BackupManifest){0};
}
