#include "base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"

typedef struct RealFiles {
    Files files; /* first: the seam's pointer is ours */
    int root;    /* descriptor of the directory */
} RealFiles;

struct File {
    int fd;
    int failed; /* negated errno of the first append or sync that failed: what is on disk is not known any more */
    char path[];
};

static int root_of(Files *files) {
    return ((RealFiles *)files)->root;
}

/* The root itself is "" at the seam and "." for the kernel. */
static const char *real_path(const char *path) {
    return *path ? path : ".";
}

bool files_path_inside(const char *path) {
    if (*path == '/') return false;
    for (const char *part = path; part;) {
        const char *end = strchr(part, '/');
        size_t size = end ? (size_t)(end - part) : strlen(part);
        if (size == 2 && part[0] == '.' && part[1] == '.') return false;
        part = end ? end + 1 : NULL;
    }
    return true;
}

/* Of the errno that is set. */
static int fail(Error *error, const char *what, const char *path) {
    int code = errno;
    return error_set(error, -code, "cannot %s \"%s\": %s", what, path, strerrordesc_np(code));
}

static int fail_outside(Error *error, const char *path) {
    return error_set(error, -EINVAL, "the path \"%s\" leaves its folder", path);
}

static int file_new(Files *files, const char *path, int flags, mode_t mode, const char *what, File **ret_file, Error *error) {
    if (!files_path_inside(path)) return fail_outside(error, path);

    int fd;
    do fd = openat(root_of(files), path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return fail(error, what, path);

    size_t size = strlen(path) + 1;
    File *file = malloc(sizeof(File) + size);
    if (!file) bug_at(__FILE__, __LINE__, "out of memory");
    file->fd = fd;
    file->failed = 0;
    memcpy(file->path, path, size);
    *ret_file = file;
    return 0;
}

static int real_create(Files *files, const char *path, mode_t mode, File **ret_file, Error *error) {
    return file_new(files, path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL, mode, "create", ret_file, error);
}

static int real_open(Files *files, const char *path, File **ret_file, Error *error) {
    /* Not blocking: whoever put a pipe there may never write to it. */
    int result = file_new(files, path, O_RDONLY | O_NONBLOCK, 0, "open", ret_file, error);
    struct stat status;
    if (result < 0) return result;
    if (fstat((*ret_file)->fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) return 0;
    files->close(files, *ret_file);
    return error_set(error, -EINVAL, "cannot open \"%s\": it is not a regular file", path);
}

static int fail_again(const File *file, Error *error) {
    return error_set(error, file->failed, "\"%s\" failed before: it has to be written anew", file->path);
}

static int real_append(Files *files, File *file, Span bytes, Error *error) {
    if (file->failed) return fail_again(file, error);
    while (bytes.size > 0) {
        ssize_t written = write(file->fd, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            if (written == 0) errno = EIO;
            return file->failed = fail(error, "write to", file->path);
        }
        bytes.data += written;
        bytes.size -= (size_t)written;
    }
    return 0;
}

static int real_read(Files *files, File *file, uint64_t offset, void *buffer, size_t size, Error *error) {
    char *at = buffer;
    if (offset > INT64_MAX - (uint64_t)size || size > INT64_MAX) return error_set(error, -ENODATA, "\"%s\" ends too early", file->path);
    while (size > 0) {
        ssize_t got = pread(file->fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(error, "read", file->path);
        if (got == 0) return error_set(error, -ENODATA, "\"%s\" ends too early", file->path);
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return 0;
}

static FileInfo info_of(const struct stat *status) {
    return (FileInfo){
        .bytes = (uint64_t)status->st_size,
        .modified = (usec_t)status->st_mtim.tv_sec * USEC_SECOND + status->st_mtim.tv_nsec / 1000,
        .is_directory = S_ISDIR(status->st_mode),
    };
}

static int real_info(Files *files, const char *path, FileInfo *ret_info, Error *error) {
    struct stat status;
    if (!files_path_inside(path)) return fail_outside(error, path);
    if (fstatat(root_of(files), real_path(path), &status, AT_SYMLINK_NOFOLLOW) < 0) return fail(error, "look at", path);
    *ret_info = info_of(&status);
    return 0;
}

static int real_sync(Files *files, File *file, Error *error) {
    int result;
    if (file->failed) return fail_again(file, error);
    do result = fdatasync(file->fd);
    while (result < 0 && errno == EINTR);
    if (result < 0) return file->failed = fail(error, "sync", file->path);
    return 0;
}

static void real_close(Files *files, File *file) {
    if (!file) return;
    /* Linux frees the descriptor whatever close says; what had to be durable was synced. */
    (void)close(file->fd);
    free(file);
}

static int real_rename(Files *files, const char *from, const char *to, Error *error) {
    if (!files_path_inside(from)) return fail_outside(error, from);
    if (!files_path_inside(to)) return fail_outside(error, to);
    if (renameat(root_of(files), from, root_of(files), to) < 0) {
        int result = fail(error, "rename", from);
        error_prefix(error, "to \"%s\"", to);
        return result;
    }
    return 0;
}

static int real_remove(Files *files, const char *path, Error *error) {
    if (!files_path_inside(path)) return fail_outside(error, path);
    if (unlinkat(root_of(files), path, 0) == 0) return 0;
    if (errno == EISDIR && unlinkat(root_of(files), path, AT_REMOVEDIR) == 0) return 0;
    return fail(error, "remove", path);
}

static int real_make_directory(Files *files, const char *path, mode_t mode, Error *error) {
    struct stat status;
    if (!files_path_inside(path)) return fail_outside(error, path);
    if (mkdirat(root_of(files), real_path(path), mode) == 0) return 0;
    if (errno == EEXIST) {
        if (fstatat(root_of(files), real_path(path), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) return 0;
        errno = EEXIST;
    }
    return fail(error, "make the folder", path);
}

static int open_directory(Files *files, const char *path, Error *error) {
    int fd;
    if (!files_path_inside(path)) return fail_outside(error, path);
    do fd = openat(root_of(files), real_path(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return fail(error, "open the folder", path);
    return fd;
}

static int real_sync_directory(Files *files, const char *path, Error *error) {
    _cleanup_close_ int fd = open_directory(files, path, error);
    if (fd < 0) return fd;
    int result;
    do result = fsync(fd);
    while (result < 0 && errno == EINTR);
    if (result < 0) return fail(error, "sync the folder", path);
    return 0;
}

/* Pipes, sockets and devices: nothing here reads them. */
enum { NOT_A_FILE = 1 };

static int look_at(DIR *directory, const struct dirent *entry, bool names_only, FileInfo *ret_info) {
    struct stat status;
    if (names_only && entry->d_type != DT_UNKNOWN) {
        *ret_info = (FileInfo){.is_directory = entry->d_type == DT_DIR};
        bool is_other = entry->d_type == DT_FIFO || entry->d_type == DT_SOCK || entry->d_type == DT_CHR || entry->d_type == DT_BLK;
        return is_other ? NOT_A_FILE : 0;
    }
    if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0) return -errno;
    *ret_info = info_of(&status);
    return S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISLNK(status.st_mode) ? 0 : NOT_A_FILE;
}

static int walk(DIR *directory, const char *path, bool names_only, FilesVisit visit, void *context, Error *error) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry) return errno ? fail(error, "list", path) : 0;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;

        FileInfo info;
        int result = look_at(directory, entry, names_only, &info);
        if (result == -ENOENT) continue; /* removed meanwhile */
        if (result < 0) return fail(error, "look at", entry->d_name);
        if (result == NOT_A_FILE) continue;
        result = visit(context, entry->d_name, &info);
        if (result != 0) return result;
    }
}

static int list(Files *files, const char *path, bool names_only, FilesVisit visit, void *context, Error *error) {
    int fd = open_directory(files, path, error);
    if (fd < 0) return fd;
    DIR *directory = fdopendir(fd);
    if (!directory) {
        int result = fail(error, "list", path);
        (void)close(fd);
        return result;
    }
    int result = walk(directory, path, names_only, visit, context, error);
    (void)closedir(directory);
    return result;
}

static int real_list(Files *files, const char *path, FilesVisit visit, void *context, Error *error) {
    return list(files, path, false, visit, context, error);
}

static int real_names(Files *files, const char *path, FilesVisit visit, void *context, Error *error) {
    return list(files, path, true, visit, context, error);
}

static int real_space(Files *files, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, Error *error) {
    struct statvfs status;
    int result;
    do result = fstatvfs(root_of(files), &status);
    while (result < 0 && errno == EINTR);
    if (result < 0) return fail(error, "look at", "the file system");
    *ret_free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    *ret_total_bytes = (uint64_t)status.f_blocks * status.f_frsize;
    return 0;
}

static void real_free(Files *files) {
    (void)close(root_of(files));
    free(files);
}

int files_open(const char *root, Files **ret_files, Error *error) {
    int fd;
    do fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return fail(error, "open the folder", root);

    RealFiles *real = malloc(sizeof *real);
    if (!real) bug_at(__FILE__, __LINE__, "out of memory");
    *real = (RealFiles){
        .files =
            {
                .create = real_create,
                .open = real_open,
                .append = real_append,
                .read = real_read,
                .info = real_info,
                .sync = real_sync,
                .close = real_close,
                .rename = real_rename,
                .remove = real_remove,
                .make_directory = real_make_directory,
                .sync_directory = real_sync_directory,
                .list = real_list,
                .names = real_names,
                .space = real_space,
                .free = real_free,
            },
        .root = fd,
    };
    *ret_files = &real->files;
    return 0;
}

void files_free(Files *files) {
    if (files) files->free(files);
}

static int write_and_sync(Files *files, const char *path, Span bytes, mode_t mode, Error *error) {
    File *file;
    int result = files->create(files, path, mode, &file, error);
    if (result < 0) return result;
    result = files->append(files, file, bytes, error);
    if (result == 0) result = files->sync(files, file, error);
    files->close(files, file);
    return result;
}

bool files_open_to_others(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0;
}

int files_replace(Files *files, const char *path, Span bytes, mode_t mode, Error *error) {
    Buffer name = {0};
    buffer_printf(&name, "%s.new", path);
    _cleanup_free_ char *new_path = buffer_take(&name);
    const char *slash = strrchr(path, '/');
    if (slash) buffer_append(&name, path, (size_t)(slash - path));
    _cleanup_free_ char *folder = buffer_take(&name);

    int result = files->remove(files, new_path, error);
    if (result < 0 && result != -ENOENT) return result;
    result = write_and_sync(files, new_path, bytes, mode, error);
    if (result == 0) result = files->rename(files, new_path, path, error);
    if (result < 0) {
        (void)files->remove(files, new_path, NULL);
        return result;
    }
    return files->sync_directory(files, folder, error);
}

int files_read_all(Files *files, const char *path, size_t max_bytes, char **ret_text, size_t *ret_bytes, Error *error) {
    FileInfo info;
    int result = files->info(files, path, &info, error);
    if (result < 0) return result;
    if (info.is_directory) return error_set(error, -EISDIR, "cannot read \"%s\": %s", path, strerrordesc_np(EISDIR));
    if (info.bytes > max_bytes) return error_set(error, -EFBIG, "\"%s\" is larger than %zu bytes", path, max_bytes);

    File *file;
    result = files->open(files, path, &file, error);
    if (result < 0) return result;
    size_t size = (size_t)info.bytes;
    char *text = malloc(size + 1);
    if (!text) bug_at(__FILE__, __LINE__, "out of memory");
    result = files->read(files, file, 0, text, size, error);
    files->close(files, file);
    if (result < 0) {
        free(text);
        return result;
    }
    text[size] = '\0';
    *ret_text = text;
    if (ret_bytes) *ret_bytes = size;
    return 0;
}
