#include "gateway/templates/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
    CONTROL_FD = 3,
    KILL_AFTER_USEC = 1000000,
    REAP_EVERY_MS = 5,
};

typedef struct EndingProcess {
    pid_t pid;
    usec_t kill_at;
} EndingProcess;

static int spawn(const char *worker_path, int control, pid_t *ret_pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    check(posix_spawn_file_actions_init(&actions) == 0);
    check(posix_spawnattr_init(&attributes) == 0);
    sigset_t none, all;
    check(sigemptyset(&none) == 0);
    check(sigfillset(&all) == 0);
    check(posix_spawnattr_setsigmask(&attributes, &none) == 0);
    check(posix_spawnattr_setsigdefault(&attributes, &all) == 0);
    check(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) == 0);

    /* The control socket first: it may itself be one of 0..2 when the program was started without
     * them. */
    int r = posix_spawn_file_actions_adddup2(&actions, control, CONTROL_FD);
    for (int fd = 0; r == 0 && fd <= 2; fd++)
        r = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
    if (r == 0) r = posix_spawn_file_actions_addclosefrom_np(&actions, CONTROL_FD + 1);
    if (r == 0) {
        char name[] = "sluice-template-worker";
        char *arguments[] = {name, NULL};
        char bind_now[] = "LD_BIND_NOW=1"; /* else each forked process would resolve the functions of libjsonnet anew */
        char *environment[] = {bind_now, NULL};
        r = posix_spawn(ret_pid, worker_path, &actions, &attributes, arguments, environment);
    }
    check(posix_spawnattr_destroy(&attributes) == 0);
    check(posix_spawn_file_actions_destroy(&actions) == 0);
    return -r;
}

int template_process_start(const char *worker_path, pid_t *ret_pid, int *ret_control, Error *error) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set(error, -errno, "cannot make a socket for a template worker: %s", strerrordesc_np(errno));
    pid_t pid;
    int r = spawn(worker_path, ends[1], &pid);
    (void)close(ends[1]);
    if (r == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) bug_at(__FILE__, __LINE__, "a socket cannot be set to O_NONBLOCK");
    if (r < 0) {
        (void)close(ends[0]);
        return error_set(error, r, "cannot start the template worker %s: %s", worker_path, strerrordesc_np(-r));
    }
    check(pid > 1);
    *ret_pid = pid;
    *ret_control = ends[0];
    return 0;
}

static size_t ending_count(const Reaper *reaper) {
    return reaper->ending.size / sizeof(EndingProcess);
}

void reaper_end(Reaper *reaper, pid_t pid, usec_t boot) {
    check_on_thread(&reaper->owner);
    check(pid > 1);
    for (size_t i = 0; i < ending_count(reaper); i++) check(((EndingProcess *)(void *)reaper->ending.data)[i].pid != pid); /* once */
    (void)kill(pid, SIGUSR1);
    EndingProcess ending = {.pid = pid, .kill_at = boot + KILL_AFTER_USEC};
    buffer_append(&reaper->ending, &ending, sizeof ending);
}

void reaper_step(Reaper *reaper, usec_t boot) {
    check_on_thread(&reaper->owner);
    EndingProcess *endings = (EndingProcess *)(void *)reaper->ending.data;
    size_t count = ending_count(reaper), kept = 0;
    for (size_t i = 0; i < count; i++) {
        int status;
        if (waitpid(endings[i].pid, &status, WNOHANG) != 0) continue;
        if (boot >= endings[i].kill_at) {
            (void)kill(endings[i].pid, SIGKILL);
            endings[i].kill_at = boot + KILL_AFTER_USEC;
        }
        endings[kept++] = endings[i];
    }
    check(kept <= count);
    reaper->ending.size = kept * sizeof *endings;
}

bool reaper_is_empty(const Reaper *reaper) {
    return reaper->ending.size == 0;
}

void reaper_finish(Reaper *reaper, Clock *clock) {
    for (;;) {
        reaper_step(reaper, clock->boot(clock));
        if (reaper_is_empty(reaper)) break;
        (void)poll(NULL, 0, REAP_EVERY_MS);
    }
    buffer_deinit(&reaper->ending);
}

char *template_worker_path(void) {
    static const char name[] = "sluice-template-worker";
    char path[PATH_MAX + sizeof name];
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX);
    size_t folder = 0;
    for (ssize_t i = 0; i < size; i++)
        if (path[i] == '/') folder = (size_t)i + 1;
    check(folder + sizeof name <= sizeof path);
    memcpy(path + folder, name, sizeof name);
    char *copy = strdup(path);
    check(copy);
    return copy;
}
