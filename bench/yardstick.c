#include "bench/yardstick.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void on_accept(h2o_socket_t *listener, const char *error) {
    if (error) return;
    Yardstick *yardstick = listener->data;
    h2o_socket_t *socket;
    while ((socket = h2o_evloop_socket_accept(listener))) h2o_accept(&yardstick->accept, socket);
}

void yardstick_start(Yardstick *yardstick, int port, int (*on_request)(h2o_handler_t *, h2o_req_t *)) {
    (void)signal(SIGPIPE, SIG_IGN);
    h2o_config_init(&yardstick->config);
    yardstick->config.http1.upgrade_to_http2 = 0;
    h2o_hostconf_t *host = h2o_config_register_host(&yardstick->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/stream", 0);
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_request;
    h2o_context_init(&yardstick->context, h2o_evloop_create(), &yardstick->config);
    yardstick->accept.ctx = &yardstick->context;
    yardstick->accept.hosts = yardstick->config.hosts;

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) fail("socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0) fail("bind");
    h2o_socket_t *listener = h2o_evloop_socket_create(yardstick->context.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->data = yardstick;
    h2o_socket_read_start(listener, on_accept);
    (void)puts("ready");
    (void)fflush(stdout);
}

void yardstick_answer(h2o_req_t *request) {
    request->res.status = 200;
    request->res.reason = "OK";
    h2o_add_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("text/plain"));
    h2o_send_inline(request, H2O_STRLIT("OK"));
}
