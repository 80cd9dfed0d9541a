#include "tests/support/nats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <nats/nats.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

#define START_SECONDS 60

static _Noreturn void fail(const TestNats *server, const char *what) {
    (void)fprintf(stderr, "nats-server of the test in %s: %s\n", server->directory, what);
    exit(1);
}

static const char *find_program(void) {
    static const char *const paths[] = {"/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], X_OK) == 0) return paths[i];
    return NULL;
}

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
          getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void configure(const TestNats *server) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/server.conf", server->directory);
    FILE *file = fopen(path, "w");
    if (!file ||
        fprintf(file, "listen: \"127.0.0.1:%d\"\njetstream { store_dir: \"%s/store\" }\n%s\n", server->port, server->directory,
                server->settings) < 0 ||
        fclose(file) != 0)
        fail(server, "cannot write its configuration");
}

static pid_t spawn(const TestNats *server) {
    char path[512], log[512];
    (void)snprintf(path, sizeof path, "%s/server.conf", server->directory);
    (void)snprintf(log, sizeof log, "%s/log", server->directory);
    pid_t pid = fork();
    if (pid != 0) return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(126);
    (void)unsetenv("LD_PRELOAD");
    char *arguments[] = {(char *)(uintptr_t) "nats-server", (char *)(uintptr_t) "-c", path, NULL};
    execv(find_program(), arguments);
    _exit(127);
}

static natsConnection *connection_of(TestNats *server) {
    if (server->connection && natsConnection_IsClosed(server->connection)) {
        natsConnection_Destroy(server->connection);
        server->connection = NULL;
    }
    natsOptions *options = NULL;
    natsConnection *connection = NULL;
    if (server->connection) return server->connection;
    check(natsOptions_Create(&options) == NATS_OK && natsOptions_SetURL(options, server->uri) == NATS_OK &&
          natsOptions_SetAllowReconnect(options, false) == NATS_OK);
    if (natsConnection_Connect(&connection, options) == NATS_OK) server->connection = connection;
    natsOptions_Destroy(options);
    return server->connection;
}

/* NULL: no answer. */
static natsMsg *request(TestNats *server, natsMsg *message) {
    natsMsg *answer = NULL;
    natsConnection *connection = connection_of(server);
    natsStatus status = connection ? natsConnection_RequestMsg(&answer, connection, message, 5000) : NATS_CONNECTION_CLOSED;
    return status == NATS_OK ? answer : NULL;
}

void test_nats_run(TestNats *server) {
    configure(server);
    server->pid = spawn(server);
    check(server->pid > 0);
    for (time_t end = time(NULL) + START_SECONDS; time(NULL) < end;) {
        natsMsg *question = NULL;
        check(natsMsg_Create(&question, "$JS.API.INFO", NULL, "", 0) == NATS_OK);
        natsMsg *answer = request(server, question);
        natsMsg_Destroy(question);
        natsMsg_Destroy(answer);
        if (answer) return;
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) fail(server, "it ended");
        (void)nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    }
    fail(server, "it does not answer");
}

TestNats *test_nats_start(const char *settings) {
    if (!find_program()) return NULL;
    TestNats *server = calloc(1, sizeof *server);
    check(server);
    const char *folder = getenv("TMPDIR");
    check(asprintf(&server->directory, "%s/sluice-nats-XXXXXX", folder ? folder : "/tmp") > 0 && mkdtemp(server->directory));
    server->settings = text_copy(settings ? settings : "");
    server->port = free_port();
    check(asprintf(&server->uri, "nats://127.0.0.1:%d", server->port) > 0);
    test_nats_run(server);
    return server;
}

void test_nats_kill(TestNats *server) {
    if (server->connection) natsConnection_Destroy(server->connection);
    server->connection = NULL;
    if (server->pid == 0) return;
    (void)kill(server->pid, SIGKILL);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    server->pid = 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    return remove(path);
}

void test_nats_stop(TestNats *server) {
    if (!server) return;
    test_nats_kill(server);
    (void)nftw(server->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(server->directory);
    free(server->settings);
    free(server->uri);
    free(server);
}

char *test_nats_ask(TestNats *server, const char *subject, const char *body) {
    natsMsg *question = NULL;
    check(natsMsg_Create(&question, subject, NULL, body, (int)strlen(body)) == NATS_OK);
    natsMsg *answer = request(server, question);
    natsMsg_Destroy(question);
    if (!answer) fail(server, subject);
    char *text = text_copy_span((Span){natsMsg_GetData(answer), (size_t)natsMsg_GetDataLength(answer)});
    natsMsg_Destroy(answer);
    return text;
}

void test_nats_publish(TestNats *server, const char *subject, const char *headers, const void *body, size_t size) {
    natsMsg *message = NULL;
    check(natsMsg_Create(&message, subject, NULL, body, (int)size) == NATS_OK);
    for (const char *line = headers; line && *line;) {
        const char *colon = strstr(line, ": "), *end = strstr(line, "\r\n");
        char *name = text_copy_span((Span){line, (size_t)(colon - line)}),
             *value = text_copy_span((Span){colon + 2, (size_t)(end - colon - 2)});
        check(natsMsgHeader_Add(message, name, value) == NATS_OK);
        free(name);
        free(value);
        line = end + 2;
    }
    natsMsg *answer = request(server, message);
    natsMsg_Destroy(message);
    if (!answer || memmem(natsMsg_GetData(answer), (size_t)natsMsg_GetDataLength(answer), "\"error\"", 7))
        fail(server, "a message was not stored");
    natsMsg_Destroy(answer);
}
