/*
 * Loaded in front of libc (LD_PRELOAD) into the whole program, for what no seam of it reaches: the
 * calls of LMDB and SQLite. It makes one call fail, and records what was written and synced. Only
 * calls on files below SLUICE_SHIM_ROOT count, and only those of the process that was started, not
 * of its children.
 *
 *   SLUICE_SHIM_FAIL=N:WHAT[:for-good]  the Nth call on a file of LMDB or SQLite fails (so do all
 *                                       later ones): EIO, ENOSPC, EINTR, or SHORT (a write stores half)
 *   SLUICE_SHIM_STATE=FILE              a file of 128 bytes, created by the test: calls so far (8
 *                                       bytes), failed calls (8 bytes), names of the first of them
 *   SLUICE_SHIM_LOG=FILE                what happened, appended in order; see tests/system/power_loss.py
 *
 * A mutex around each call and its record keeps the order of the records that of the calls.
 */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 65536
#define VISIBLE __attribute__((visibility("default")))

typedef struct State {
    _Atomic uint64_t calls, failed;
    char first[112];
} State;

typedef struct Descriptor {
    bool known;    /* below the root */
    bool database; /* of LMDB or SQLite */
    bool folder;
    bool synced; /* each write is durable when it returns */
    uint64_t inode;
} Descriptor;

static Descriptor descriptors[DESCRIPTORS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_size;
static pid_t owner;
static uint64_t fail_at;
static int fail_with; /* errno; 0: SHORT */
static bool fails_for_good;
static State *state;
static int log_fd = -1;

#define REAL(name) ((__typeof__(&(name)))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static bool active(void) {
    return root_size > 0 && getpid() == owner;
}

/* ---- the n-th call ---- */

/* 0: the call happens. */
static int decide(const char *call, const char *name) {
    if (!state) return 0;
    uint64_t number = ++state->calls;
    if (fail_at == 0 || number < fail_at || (number > fail_at && !fails_for_good)) return 0;
    if (state->failed++ == 0) (void)snprintf(state->first, sizeof state->first, "%s %s", call, name);
    return fail_with ? fail_with : -1;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_database(const char *path) {
    const char *name = last_part(path);
    return strcmp(name, "data.mdb") == 0 || strcmp(name, "lock.mdb") == 0 || strncmp(name, "tables.db", 9) == 0;
}

/* true: errno is set, and the call has failed. */
static bool fails(const char *call, const char *name) {
    int code = decide(call, name);
    if (code == 0) return false;
    errno = code > 0 ? code : ENOSPC; /* only a write can be short */
    return true;
}

static Descriptor *descriptor_of(int fd) {
    return active() && fd >= 0 && fd < DESCRIPTORS && descriptors[fd].known ? &descriptors[fd] : NULL;
}

/* ---- the record ---- */

static void put(char what, uint64_t inode, uint64_t offset, const void *data, uint64_t size) {
    if (log_fd < 0) return;
    char head[25] = {what};
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &size, 8);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)(uintptr_t)data, size}};
    if (REAL(writev)(log_fd, parts, size ? 2 : 1) != (ssize_t)(sizeof head + size)) abort();
}

/* "FROM\nTO", relative to the root */
static void put_names(char what, uint64_t inode, const char *from, const char *to) {
    char text[2 * PATH_MAX + 2];
    int size = snprintf(text, sizeof text, "%s\n%s", from + root_size, to ? to + root_size : "");
    put(what, inode, 0, text, (uint64_t)size);
}

static void put_write(const Descriptor *file, uint64_t offset, const void *data, ssize_t size) {
    if (size > 0) put(file->synced ? 'D' : 'W', file->inode, offset, data, (uint64_t)size);
}

/* ---- names ---- */

static bool resolve(int folder, const char *path, char out[static PATH_MAX]) {
    if (path[0] == '/') {
        (void)snprintf(out, PATH_MAX, "%s", path);
    } else {
        char link[64];
        if (folder == AT_FDCWD)
            (void)snprintf(link, sizeof link, "/proc/self/cwd");
        else
            (void)snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, out, PATH_MAX - 1);
        if (size < 0) return false;
        (void)snprintf(out + size, PATH_MAX - (size_t)size, "%s%s", *path ? "/" : "", path);
    }
    return strncmp(out, root, root_size) == 0 && (out[root_size] == '/' || out[root_size] == '\0');
}

static void note_open(int fd, const char *path, int flags, bool existed, uint64_t size_before) {
    struct stat status;
    if (fd < 0 || fd >= DESCRIPTORS || fstat(fd, &status) < 0) return;
    descriptors[fd] = (Descriptor){.known = true,
                                   .database = is_database(path),
                                   .folder = S_ISDIR(status.st_mode),
                                   .synced = (flags & O_DSYNC) != 0,
                                   .inode = (uint64_t)status.st_ino};
    if (S_ISDIR(status.st_mode)) return;
    if (!existed) put_names('C', descriptors[fd].inode, path, NULL);
    if (existed && (flags & O_TRUNC) && size_before > 0) put('T', descriptors[fd].inode, 0, NULL, 0);
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!active() || !resolve(folder, path, whole)) return REAL(openat)(folder, path, flags, mode);
    pthread_mutex_lock(&mutex);
    int fd = -1;
    struct stat status;
    bool existed = stat(whole, &status) == 0;
    if (!is_database(whole) || !fails("open", last_part(whole))) {
        fd = REAL(openat)(folder, path, flags, mode);
        int code = errno;
        note_open(fd, whole, flags, existed, existed ? (uint64_t)status.st_size : 0);
        errno = code;
    }
    pthread_mutex_unlock(&mutex);
    return fd;
}

static mode_t mode_of(int flags, va_list list) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(list, int) : 0;
}

#define OPEN(name)                                                                                                                         \
    VISIBLE int name(const char *path, int flags, ...) {                                                                                   \
        va_list list;                                                                                                                      \
        va_start(list, flags);                                                                                                             \
        mode_t mode = mode_of(flags, list);                                                                                                \
        va_end(list);                                                                                                                      \
        return open_at(AT_FDCWD, path, flags, mode);                                                                                       \
    }
#define OPENAT(name)                                                                                                                       \
    VISIBLE int name(int folder, const char *path, int flags, ...) {                                                                       \
        va_list list;                                                                                                                      \
        va_start(list, flags);                                                                                                             \
        mode_t mode = mode_of(flags, list);                                                                                                \
        va_end(list);                                                                                                                      \
        return open_at(folder, path, flags, mode);                                                                                         \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

VISIBLE int close(int fd) {
    if (descriptor_of(fd)) descriptors[fd] = (Descriptor){0};
    return REAL(close)(fd);
}

static int rename_at(int from_folder, const char *from, int to_folder, const char *to) {
    char old[PATH_MAX], new[PATH_MAX];
    if (!active() || !resolve(from_folder, from, old) || !resolve(to_folder, to, new))
        return REAL(renameat)(from_folder, from, to_folder, to);
    pthread_mutex_lock(&mutex);
    int result = -1;
    if (!is_database(old) || !fails("rename", last_part(old))) result = REAL(renameat)(from_folder, from, to_folder, to);
    if (result == 0) put_names('R', 0, old, new);
    pthread_mutex_unlock(&mutex);
    return result;
}

VISIBLE int rename(const char *from, const char *to) {
    return rename_at(AT_FDCWD, from, AT_FDCWD, to);
}

VISIBLE int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return rename_at(from_folder, from, to_folder, to);
}

static int unlink_at(int folder, const char *path, int flags) {
    char whole[PATH_MAX];
    if (!active() || !resolve(folder, path, whole)) return REAL(unlinkat)(folder, path, flags);
    pthread_mutex_lock(&mutex);
    int result = -1;
    if (!is_database(whole) || !fails("unlink", last_part(whole))) result = REAL(unlinkat)(folder, path, flags);
    if (result == 0) put_names('U', 0, whole, NULL);
    pthread_mutex_unlock(&mutex);
    return result;
}

VISIBLE int unlink(const char *path) {
    return unlink_at(AT_FDCWD, path, 0);
}

VISIBLE int unlinkat(int folder, const char *path, int flags) {
    return unlink_at(folder, path, flags);
}

static int make_directory(int folder, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    if (!active() || !resolve(folder, path, whole)) return REAL(mkdirat)(folder, path, mode);
    pthread_mutex_lock(&mutex);
    int result = REAL(mkdirat)(folder, path, mode);
    if (result == 0) put_names('M', 0, whole, NULL);
    pthread_mutex_unlock(&mutex);
    return result;
}

VISIBLE int mkdir(const char *path, mode_t mode) {
    return make_directory(AT_FDCWD, path, mode);
}

VISIBLE int mkdirat(int folder, const char *path, mode_t mode) {
    return make_directory(folder, path, mode);
}

/* ---- contents ---- */

/* `offset` < 0: at the file's own position, or at its end. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset) {
    const Descriptor *file = descriptor_of(fd);
    if (!file) return offset < 0 ? REAL(writev)(fd, parts, count) : REAL(pwritev)(fd, parts, count, offset);
    pthread_mutex_lock(&mutex);
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    char *bytes = malloc(size + 1), *at = bytes;
    if (!bytes) abort();
    for (int i = 0; i < count; i++) {
        memcpy(at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    int code = file->database ? decide("write", "") : 0;
    ssize_t written = -1;
    off_t begin = offset;
    if (code > 0) {
        errno = code;
    } else {
        if (code < 0) size /= 2;
        if (offset < 0) begin = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
        written = offset < 0 ? REAL(write)(fd, bytes, size) : REAL(pwrite)(fd, bytes, size, offset);
        put_write(file, (uint64_t)begin, bytes, written);
    }
    int error = errno;
    free(bytes);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return written;
}

VISIBLE ssize_t write(int fd, const void *bytes, size_t size) {
    if (!descriptor_of(fd)) return REAL(write)(fd, bytes, size);
    return write_parts(fd, &(struct iovec){(void *)(uintptr_t)bytes, size}, 1, -1);
}

VISIBLE ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!descriptor_of(fd)) return REAL(writev)(fd, parts, count);
    return write_parts(fd, parts, count, -1);
}

VISIBLE ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    if (!descriptor_of(fd)) return REAL(pwrite)(fd, bytes, size, offset);
    return write_parts(fd, &(struct iovec){(void *)(uintptr_t)bytes, size}, 1, offset);
}

VISIBLE ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    return pwrite(fd, bytes, size, offset);
}

VISIBLE ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (!descriptor_of(fd)) return REAL(pwritev)(fd, parts, count, offset);
    return write_parts(fd, parts, count, offset);
}

VISIBLE ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return pwritev(fd, parts, count, offset);
}

/* Of a folder the name counts: its inode is not in the record. */
static void put_folder(int fd) {
    char link[64], path[PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0 || strncmp(path, root, root_size) != 0) return;
    path[size] = '\0';
    put_names('F', 0, path, NULL);
}

static int sync_file(int fd, const char *call, int (*sync)(int fd)) {
    const Descriptor *file = descriptor_of(fd);
    if (!file) return sync(fd);
    pthread_mutex_lock(&mutex);
    int result = file->database && fails(call, "") ? -1 : sync(fd);
    if (result == 0 && !file->folder) put('S', file->inode, 0, NULL, 0);
    if (result == 0 && file->folder) put_folder(fd);
    pthread_mutex_unlock(&mutex);
    return result;
}

VISIBLE int fsync(int fd) {
    return sync_file(fd, "fsync", REAL(fsync));
}

VISIBLE int fdatasync(int fd) {
    return sync_file(fd, "fdatasync", REAL(fdatasync));
}

VISIBLE int ftruncate(int fd, off_t size) {
    const Descriptor *file = descriptor_of(fd);
    if (!file) return REAL(ftruncate)(fd, size);
    pthread_mutex_lock(&mutex);
    int result = file->database && fails("ftruncate", "") ? -1 : REAL(ftruncate)(fd, size);
    if (result == 0) put('T', file->inode, (uint64_t)size, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return result;
}

VISIBLE int ftruncate64(int fd, off64_t size) {
    return ftruncate(fd, size);
}

/* Only with FALLOC_FL_KEEP_SIZE, which changes nothing that can be read. */
VISIBLE int fallocate(int fd, int mode, off_t offset, off_t size) {
    const Descriptor *file = descriptor_of(fd);
    if (file && file->database && fails("fallocate", "")) return -1;
    return REAL(fallocate)(fd, mode, offset, size);
}

VISIBLE int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    return fallocate(fd, mode, offset, size);
}

VISIBLE void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    const Descriptor *file = descriptor_of(fd);
    if (file && file->database && fails("mmap", "")) return MAP_FAILED;
    return REAL(mmap)(address, size, protection, flags, fd, offset);
}

VISIBLE void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t offset) {
    return mmap(address, size, protection, flags, fd, offset);
}

VISIBLE int msync(void *address, size_t size, int flags) {
    if (active() && fails("msync", "")) return -1;
    return REAL(msync)(address, size, flags);
}

/* ---- begin ---- */

static void read_plan(const char *plan) {
    static const struct {
        const char *name;
        int code;
    } kinds[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EINTR", EINTR}, {"SHORT", 0}};
    char *rest;
    fail_at = strtoull(plan, &rest, 10);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(rest + 1, kinds[i].name, strlen(kinds[i].name)) == 0) fail_with = kinds[i].code;
    fails_for_good = strstr(rest, ":for-good") != NULL;
}

__attribute__((constructor)) static void begin(void) {
    const char *given = getenv("SLUICE_SHIM_ROOT"), *plan = getenv("SLUICE_SHIM_FAIL"), *file = getenv("SLUICE_SHIM_STATE");
    const char *log = getenv("SLUICE_SHIM_LOG");
    (void)unsetenv("LD_PRELOAD"); /* the template workers are not of interest */
    if (!given || !realpath(given, root)) return;
    if (log) log_fd = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (plan) read_plan(plan);
    int fd = file ? REAL(open)(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *at = REAL(mmap)(NULL, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void)REAL(close)(fd);
        if (at != MAP_FAILED) state = at;
    }
    owner = getpid();
    root_size = strlen(root);
}
