#include "storage/page_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <lmdb.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/error.h"

#define EXIT_CODE 2        /* as after a commit that failed */
#define TEXT_WAITS_MS 1000 /* for a reader of stderr */
#define TEXT_SIZE 1200
#define ADVICE "stop the gateway and check it with `sluice verify`; put back a good copy of it, or move it and staging/ away to start empty"

/* Written while nobody uses the environment, read by the handler. */
typedef struct Range {
    _Atomic uintptr_t start, end;
} Range;

static Range map, instructions; /* the map of data.mdb, and the instructions of LMDB */
static char path_text[TEXT_SIZE / 2], fault_text[TEXT_SIZE], advice_text[TEXT_SIZE];
static struct sigaction before[2];

static const int signals[2] = {SIGSEGV, SIGBUS};

static _Noreturn void end(const char *text) {
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, TEXT_WAITS_MS) > 0) (void)!write(STDERR_FILENO, text, strlen(text));
    _exit(EXIT_CODE);
}

static bool is_in(const Range *range, uintptr_t at) {
    return atomic_load(&range->start) <= at && at < atomic_load(&range->end);
}

/* Of the instruction that met the fault; 0: not known on this processor. */
static uintptr_t instruction_of(const void *context) {
#if defined(__x86_64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
#else
    return 0;
#endif
}

/* Only what a signal handler may call. */
static void on_fault(int number, siginfo_t *info, void *context) {
    bool is_fault = info->si_code > 0; /* else somebody sent it */
    if (is_fault && (is_in(&map, (uintptr_t)info->si_addr) || is_in(&instructions, instruction_of(context)))) end(fault_text);
    for (size_t i = 0; i < 2; i++)
        if (signals[i] == number) (void)sigaction(number, &before[i], NULL); /* the instruction is repeated */
    if (!is_fault) (void)raise(number);
}

static void on_assertion(MDB_env *env, const char *message) {
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof text, "the environment \"%.*s\" is damaged (LMDB: %.300s): " ADVICE "\n", (int)sizeof path_text - 1,
                   path_text, message);
    end(text);
}

/* Somebody else may have set a handler since. */
static void watch_signals(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK}, there;
    for (size_t i = 0; i < 2; i++) {
        check(sigaction(signals[i], NULL, &there) == 0);
        if ((there.sa_flags & SA_SIGINFO) && there.sa_sigaction == on_fault) continue;
        before[i] = there;
        check(sigaction(signals[i], &action, NULL) == 0);
    }
}

static void set(Range *range, uintptr_t start, uintptr_t stop) {
    atomic_store(&range->start, start);
    atomic_store(&range->end, stop);
}

/* LMDB does not say where its map is. */
static void find_ranges(MDB_env *env) {
    mdb_filehandle_t fd;
    struct stat file;
    FILE *maps = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t room = 0;
    bool known = maps && mdb_env_get_fd(env, &fd) == 0 && fstat(fd, &file) == 0;
    while (known && getline(&line, &room, maps) > 0) {
        uintptr_t start, stop;
        unsigned long inode;
        char rights[8];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*s %*s %lu", &start, &stop, rights, &inode) != 4) continue;
        if (inode == (unsigned long)file.st_ino && strstr(line, "/data.mdb")) set(&map, start, stop);
        if (rights[2] == 'x' && strstr(line, "/liblmdb.so")) set(&instructions, start, stop);
    }
    free(line);
    if (maps) (void)fclose(maps);
}

void page_guard_begin(MDB_env *env, const char *path) {
    (void)snprintf(path_text, sizeof path_text, "%s", path);
    (void)snprintf(fault_text, sizeof fault_text, "the environment \"%s\" is damaged, or its disk cannot be read: " ADVICE "\n", path_text);
    (void)snprintf(advice_text, sizeof advice_text, ": the environment \"%s\" is damaged: " ADVICE, path_text);
    (void)mdb_env_set_assert(env, on_assertion);
    find_ranges(env);
    watch_signals();
}

void page_guard_end(void) {
    set(&map, 0, 0);
    set(&instructions, 0, 0);
}

const char *page_guard_advice(int code) {
    bool damaged = code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_CURSOR_FULL || code == MDB_PAGE_FULL;
    return damaged ? advice_text : "";
}
