#include "tests/unit/sinks/nats-script.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/text.h"
#include "base/thread.h"

#define SUBSCRIPTIONS_MAX 64
#define SUBJECTS_MAX 4096
#define WAIT_SECONDS 30
#define INFO "INFO {\"server_id\":\"script\",\"version\":\"2.9.10\",\"headers\":true,\"max_payload\":1048576}"

struct Script {
    Thread thread;
    pthread_mutex_t lock; /* recursive: `publish` sends */
    ScriptRules rules;    /* under the lock, as all below */
    int listener, port, peer;
    bool ends;
    unsigned connects;
    char *subjects[SUBJECTS_MAX]; /* of what was published */
    unsigned subject_count;
    struct {
        char subject[128], number[24];
    } subscriptions[SUBSCRIPTIONS_MAX];
    size_t subscription_count;
    bool was_cut;
    size_t sent; /* bytes of messages, on all connections */
    Buffer in;
};

static void lock(Script *script) {
    check(pthread_mutex_lock(&script->lock) == 0);
}

static void unlock(Script *script) {
    check(pthread_mutex_unlock(&script->lock) == 0);
}

static void put(Script *script, const char *data, size_t size) {
    while (size > 0 && script->peer >= 0) {
        ssize_t n = send(script->peer, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        data += n;
        size -= (size_t)n;
    }
}

static void end_peer(Script *script) {
    if (script->peer >= 0) (void)shutdown(script->peer, SHUT_RDWR);
}

void script_send(Script *script, const char *inbox, const char *subject, const char *reply, const char *headers, const char *body) {
    lock(script);
    const char *number = NULL;
    for (size_t i = 0; i < script->subscription_count && !number; i++) {
        const char *pattern = script->subscriptions[i].subject;
        size_t size = strlen(pattern) - 1; /* "INBOX.*" */
        if (strncmp(pattern, inbox, size) == 0) number = script->subscriptions[i].number;
    }
    Buffer text = {0};
    size_t head = headers ? strlen(headers) + 2 : 0, data = strlen(body);
    if (headers)
        buffer_printf(&text, "HMSG %s %s %s %zu %zu\r\n%s\r\n%s\r\n", subject, number ? number : "", reply, head, head + data, headers,
                      body);
    else
        buffer_printf(&text, "MSG %s %s %s %zu\r\n%s\r\n", subject, number ? number : "", reply, data, body);
    size_t cut = script->rules.cut;
    if (number && cut > 0 && script->sent + text.size >= cut) {
        put(script, text.data, cut - script->sent);
        script->rules.cut = 0;
        script->was_cut = true;
        end_peer(script);
    } else if (number) {
        put(script, text.data, text.size);
    }
    script->sent += text.size;
    buffer_deinit(&text);
    unlock(script);
}

static void take_publish(Script *script, char *line, const char *body) {
    char *save = NULL;
    char *words[5] = {0};
    size_t count = 0;
    for (char *word = strtok_r(line, " ", &save); word && count < 5; word = strtok_r(NULL, " ", &save)) words[count++] = word;
    const char *subject = words[1], *reply = count == 4 ? words[2] : "";
    if (script->subject_count < SUBJECTS_MAX) script->subjects[script->subject_count++] = text_copy(subject);
    const char *denied = script->rules.denied;
    if (denied && strncmp(subject, denied, strlen(denied)) == 0) {
        char text[300];
        int size = snprintf(text, sizeof text, "-ERR 'Permissions Violation for Publish to \"%s\"'\r\n", subject);
        put(script, text, (size_t)size);
    } else if (script->rules.publish) {
        script->rules.publish(script->rules.context, script, subject, reply, body);
    }
}

static void take_line(Script *script, char *line) {
    if (strncmp(line, "PING", 4) == 0) {
        const char *login = script->rules.login ? script->rules.login : "PONG\r\n";
        put(script, login, strlen(login));
        if (script->rules.ends_at_login) end_peer(script);
    } else if (strncmp(line, "CONNECT", 7) == 0) {
        script->connects++;
    } else if (strncmp(line, "SUB ", 4) == 0 && script->subscription_count < SUBSCRIPTIONS_MAX) {
        size_t at = script->subscription_count++;
        check(sscanf(line, "SUB %127s %23s", script->subscriptions[at].subject, script->subscriptions[at].number) == 2);
    }
}

/* False: there is no whole line, with its body. */
static bool take_one(Script *script) {
    char *start = script->in.data, *end = script->in.size ? memmem(start, script->in.size, "\r\n", 2) : NULL;
    if (!end) return false;
    size_t used = (size_t)(end - start) + 2;
    char *line = text_copy_span((Span){start, used - 2});
    bool whole = true;
    if (strncmp(line, "PUB ", 4) == 0) {
        size_t size = strtoul(strrchr(line, ' ') + 1, NULL, 10);
        whole = script->in.size >= used + size + 2;
        if (whole) {
            char *body = text_copy_span((Span){start + used, size});
            take_publish(script, line, body);
            free(body);
            used += size + 2;
        }
    } else {
        take_line(script, line);
    }
    free(line);
    if (!whole) return false;
    memmove(script->in.data, script->in.data + used, script->in.size - used);
    script->in.size -= used;
    return true;
}

static void serve_peer(Script *script) {
    char part[4096];
    const char *info = script->rules.info ? script->rules.info : INFO "\r\n";
    put(script, info, strlen(info));
    for (;;) {
        unlock(script);
        ssize_t n = recv(script->peer, part, sizeof part, 0); /* nobody else changes peer */
        lock(script);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || script->ends) return;
        buffer_append(&script->in, part, (size_t)n);
        while (take_one(script)) {
        }
    }
}

static void *run(void *context) {
    Script *script = context;
    lock(script);
    while (!script->ends) {
        unlock(script);
        int peer = accept4(script->listener, NULL, NULL, SOCK_CLOEXEC);
        lock(script);
        if (peer < 0) continue;
        script->peer = peer;
        script->in.size = 0;
        script->subscription_count = 0;
        if (!script->ends) serve_peer(script);
        (void)close(peer);
        script->peer = -1;
    }
    unlock(script);
    return NULL;
}

Script *script_start(const ScriptRules *rules) {
    Script *script = calloc(1, sizeof *script);
    check(script);
    pthread_mutexattr_t attributes;
    check(pthread_mutexattr_init(&attributes) == 0 && pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE) == 0 &&
          pthread_mutex_init(&script->lock, &attributes) == 0);
    script->rules = *rules;
    script->peer = -1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    script->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(script->listener >= 0 && bind(script->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
          listen(script->listener, 16) == 0 && getsockname(script->listener, (struct sockaddr *)&address, &size) == 0);
    script->port = ntohs(address.sin_port);
    check(thread_start(&script->thread, "script", run, script, NULL) == 0);
    return script;
}

void script_change(Script *script, const ScriptRules *rules) {
    lock(script);
    script->rules = *rules;
    script->sent = 0;
    script->was_cut = false;
    unlock(script);
}

int script_port(const Script *script) {
    return script->port;
}

unsigned script_connects(Script *script) {
    lock(script);
    unsigned count = script->connects;
    unlock(script);
    return count;
}

unsigned script_published(Script *script, const char *start) {
    unsigned count = 0;
    lock(script);
    for (unsigned i = 0; i < script->subject_count; i++) count += strncmp(script->subjects[i], start, strlen(start)) == 0;
    unlock(script);
    return count;
}

void script_wait(Script *script, const char *start, unsigned count) {
    for (time_t end = time(NULL) + WAIT_SECONDS; script_published(script, start) < count;) {
        check(time(NULL) < end);
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    }
}

bool script_was_cut(Script *script) {
    lock(script);
    bool was_cut = script->was_cut;
    unlock(script);
    return was_cut;
}

void script_hang_up(Script *script) {
    lock(script);
    end_peer(script);
    unlock(script);
}

void script_stop(Script *script) {
    if (!script) return;
    lock(script);
    script->ends = true;
    end_peer(script);
    (void)shutdown(script->listener, SHUT_RDWR);
    unlock(script);
    thread_join(&script->thread);
    (void)close(script->listener);
    for (unsigned i = 0; i < script->subject_count; i++) free(script->subjects[i]);
    buffer_deinit(&script->in);
    (void)pthread_mutex_destroy(&script->lock);
    free(script);
}
