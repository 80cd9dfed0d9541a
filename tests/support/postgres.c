#include "tests/support/postgres.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"

#define START_SECONDS 120

static _Noreturn void fail(TestPostgres *server, const char *what) {
    (void)fprintf(stderr, "tests/support/postgres: %s\n", what);
    if (server && server->directory) {
        char line[512], path[512];
        (void)snprintf(path, sizeof path, "%s/log", server->directory);
        FILE *log = fopen(path, "r");
        while (log && fgets(line, sizeof line, log)) (void)fputs(line, stderr);
        if (log) (void)fclose(log);
    }
    abort();
}

static char *find_binaries(void) {
    glob_t found = {0};
    char *folder = NULL;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0 && found.gl_pathc > 0) {
        folder = strdup(found.gl_pathv[found.gl_pathc - 1]);
        check(folder);
        *strrchr(folder, '/') = '\0';
    }
    globfree(&found);
    return folder;
}

static const struct passwd *server_user(void) {
    const struct passwd *user = getpwnam("postgres");
    return user ? user : getpwnam("nobody");
}

/* PostgreSQL refuses to run as root. */
static void drop_root(void) {
    if (geteuid() != 0) return;
    const struct passwd *user = server_user();
    if (!user || setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0) _exit(126);
}

static pid_t spawn(TestPostgres *server, const char *program, char *arguments[]) {
    char path[512], log[512];
    if (program[0] == '/')
        (void)snprintf(path, sizeof path, "%s", program);
    else
        (void)snprintf(path, sizeof path, "%s/%s", server->binaries, program);
    (void)snprintf(log, sizeof log, "%s/log", server->directory);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0) return pid;
    drop_root();
    /* Set after the change of user, which would clear it. */
    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) != 0 || getppid() != parent) _exit(126);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(server->directory) != 0) _exit(126);
    (void)setenv("LC_ALL", "C.UTF-8", 1);
    (void)unsetenv("LD_PRELOAD");
    arguments[0] = path; /* by which the programs find each other */
    execv(path, arguments);
    _exit(127);
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

static void write_file(TestPostgres *server, const char *name, const char *text) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", server->directory, name);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) fail(server, "cannot write a configuration file");
}

static void make_cluster(TestPostgres *server) {
    char data[512];
    (void)snprintf(data, sizeof data, "%s/data", server->directory);
    char *arguments[] = {"initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", NULL};
    pid_t pid = spawn(server, "initdb", arguments);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) fail(server, "initdb failed");
    write_file(server, "data/pg_hba.conf",
               "local all all trust\nhost all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n");
}

static bool answers(TestPostgres *server) {
    return PQping(server->uri) == PQPING_OK;
}

static void pause_a_little(void) {
    (void)nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

/* false: the port was taken meanwhile. */
static bool run_on_port(TestPostgres *server) {
    char data[512], port[16];
    (void)snprintf(data, sizeof data, "%s/data", server->directory);
    (void)snprintf(port, sizeof port, "%d", server->port);
    char *arguments[] = {"postgres",
                         "-D",
                         data,
                         "-k",
                         server->directory,
                         "-p",
                         port,
                         "-c",
                         "listen_addresses=127.0.0.1",
                         "-c",
                         "fsync=off",
                         "-c",
                         "shared_buffers=32MB",
                         "-c",
                         "max_connections=40",
                         "-c",
                         "full_page_writes=off",
                         "-c",
                         "autovacuum=off",
                         NULL};
    free(server->uri);
    check(asprintf(&server->uri, "postgresql://postgres@127.0.0.1:%d/postgres", server->port) > 0);
    server->pid = spawn(server, "postgres", arguments);
    check(server->pid > 0);
    for (time_t end = time(NULL) + START_SECONDS; time(NULL) < end;) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = 0;
            return false;
        }
        if (answers(server)) return true;
        pause_a_little();
    }
    fail(server, "the server does not answer");
}

TestPostgres *test_postgres_start(void) {
    char *binaries = find_binaries();
    if (!binaries) return NULL;
    TestPostgres *server = calloc(1, sizeof *server);
    check(server);
    server->binaries = binaries;
    const char *folder = getenv("TMPDIR");
    check(asprintf(&server->directory, "%s/sluice-pg-XXXXXX", folder ? folder : "/tmp") > 0);
    if (!mkdtemp(server->directory)) fail(NULL, "no temporary directory");
    if (geteuid() == 0) {
        const struct passwd *user = server_user();
        if (!user || chown(server->directory, user->pw_uid, user->pw_gid) != 0) fail(NULL, "no user to run PostgreSQL as");
    }
    make_cluster(server);
    for (int i = 0; i < 5 && server->pid == 0; i++) {
        server->port = free_port();
        (void)run_on_port(server);
    }
    if (server->pid == 0) fail(server, "the server does not start");
    test_postgres_sql(server, "CREATE ROLE guarded LOGIN PASSWORD 'correct horse'");
    return server;
}

void test_postgres_kill(TestPostgres *server) {
    if (server->pid == 0) return;
    (void)kill(server->pid, SIGQUIT);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    server->pid = 0;
}

void test_postgres_run(TestPostgres *server) {
    if (!run_on_port(server)) fail(server, "the server does not start again");
}

/* ---- the pooler ---- */

static const char *find_pooler(void) {
    static const char *const paths[] = {"/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/sbin/pgbouncer",
                                        "/usr/local/bin/pgbouncer"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (access(paths[i], X_OK) == 0) return paths[i];
    }
    return NULL;
}

static void configure_pooler(TestPostgres *server, const TestPooler *pooler) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "[databases]\npostgres = host=127.0.0.1 port=%d user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"
                   "unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 1\nmax_client_conn = 50\n"
                   "server_check_query =\nserver_reset_query =\nserver_login_retry = 1\n",
                   server->port, pooler->port);
    write_file(server, "pgbouncer.ini", text);
}

static bool run_pooler(TestPostgres *server, TestPooler *pooler, const char *program) {
    pooler->port = free_port();
    configure_pooler(server, pooler);
    free(pooler->uri);
    check(asprintf(&pooler->uri, "postgresql://postgres@127.0.0.1:%d/postgres", pooler->port) > 0);
    char configuration[512];
    (void)snprintf(configuration, sizeof configuration, "%s/pgbouncer.ini", server->directory);
    char *arguments[] = {"pgbouncer", configuration, NULL};
    pooler->pid = spawn(server, program, arguments);
    check(pooler->pid > 0);
    for (time_t end = time(NULL) + START_SECONDS; time(NULL) < end;) {
        if (waitpid(pooler->pid, NULL, WNOHANG) == pooler->pid) {
            pooler->pid = 0;
            return false;
        }
        if (PQping(pooler->uri) == PQPING_OK) return true;
        pause_a_little();
    }
    fail(server, "the pooler does not answer");
}

TestPooler *test_pooler_start(TestPostgres *server) {
    const char *program = find_pooler();
    if (!program) return NULL;
    TestPooler *pooler = calloc(1, sizeof *pooler);
    check(pooler);
    for (int i = 0; i < 5 && pooler->pid == 0; i++) (void)run_pooler(server, pooler, program);
    if (pooler->pid == 0) fail(server, "the pooler does not start");
    return pooler;
}

void test_pooler_stop(TestPooler *pooler) {
    if (!pooler) return;
    (void)kill(pooler->pid, SIGTERM);
    while (waitpid(pooler->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    free(pooler->uri);
    free(pooler);
}

/* ---- the end ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    return remove(path);
}

void test_postgres_stop(TestPostgres *server) {
    if (!server) return;
    test_postgres_kill(server);
    (void)nftw(server->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(server->directory);
    free(server->binaries);
    free(server->uri);
    free(server);
}

static void drop_notice(void *context, const PGresult *result) {
}

static PGresult *query(TestPostgres *server, const char *sql, PGconn **ret_connection) {
    *ret_connection = PQconnectdb(server->uri);
    if (PQstatus(*ret_connection) != CONNECTION_OK) fail(server, PQerrorMessage(*ret_connection));
    (void)PQsetNoticeReceiver(*ret_connection, drop_notice, NULL);
    PGresult *result = PQexec(*ret_connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        (void)fprintf(stderr, "%s\n", sql);
        fail(NULL, PQerrorMessage(*ret_connection));
    }
    return result;
}

void test_postgres_sql(TestPostgres *server, const char *sql) {
    PGconn *connection;
    PQclear(query(server, sql, &connection));
    PQfinish(connection);
}

char *test_postgres_rows(TestPostgres *server, const char *sql) {
    PGconn *connection;
    PGresult *result = query(server, sql, &connection);
    Buffer text = {0};
    for (int row = 0; row < PQntuples(result); row++) {
        if (row > 0) buffer_append_byte(&text, '\n');
        for (int column = 0; column < PQnfields(result); column++) {
            if (column > 0) buffer_append_byte(&text, '|');
            buffer_append_text(&text, PQgetisnull(result, row, column) ? "NULL" : PQgetvalue(result, row, column));
        }
    }
    PQclear(result);
    PQfinish(connection);
    (void)buffer_text(&text);
    return buffer_take(&text);
}
