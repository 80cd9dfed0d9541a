#include "gateway/api/admin.h"

#include <h2o.h>
#include <semaphore.h>
#include <stdlib.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "base/text.h"
#include "base/thread.h"
#include "base/uuid.h"
#include "gateway/flow/messages.h"
#include "gateway/http/head.h"
#include "gateway/http/origin.h"
#include "gateway/http/reply.h"
#include "mapping/headers.h"

#define WAIT_SECONDS_MAX 3600 /* what a number can say; tasks wait for less */
/* Pages of all origins may ask: what lets them in is a token, and no browser sends that by itself. */
#define CORS "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Request-Id, Location, Retry-After\r\n"
#define PREFLIGHT "Access-Control-Allow-Methods: GET, POST, PUT, PATCH, DELETE\r\nAccess-Control-Max-Age: 7200\r\n"

/* A request that the control thread has. The loop's thread; freed when the call comes back, or at
 * the end. */
typedef struct AdminTicket {
    struct AdminTicket *next, **link;
    h2o_req_t *request;         /* NULL: it died */
    struct AdminTicket **guard; /* in the request's memory; valid while `request` is */
} AdminTicket;

struct Admin {
    HttpLoop *loop;
    Mailbox *control;
    ThreadOwner owner;    /* the loop's */
    AdminTicket *tickets; /* loop's thread; at the end the one that stops it */
};

/* The last message that the loop gets: when it is handled, nothing waits in the mailbox any
 * more. */
typedef struct LastMessage {
    Message message;
    sem_t handled;
} LastMessage;

#define MESSAGE_LAST (-1)

/* ---- requests in, calls out ------------------------------------------------------------------ */

static void on_request_died(void *memory) {
    AdminTicket **guard = memory;
    if (*guard) (*guard)->request = NULL;
}

static AdminTicket *ticket_new(Admin *admin, h2o_req_t *request) {
    AdminTicket *ticket = calloc(1, sizeof *ticket);
    check(ticket);
    ticket->request = request;
    ticket->guard = h2o_mem_alloc_shared(&request->pool, sizeof *ticket->guard, on_request_died);
    *ticket->guard = ticket;
    ticket->next = admin->tickets;
    ticket->link = &admin->tickets;
    if (ticket->next) ticket->next->link = &ticket->next;
    admin->tickets = ticket;
    return ticket;
}

static void ticket_free(AdminTicket *ticket) {
    if (ticket->request) *ticket->guard = NULL;
    *ticket->link = ticket->next;
    if (ticket->next) ticket->next->link = ticket->link;
    free(ticket);
}

/* Percent-decoded; NULL: not well-formed, or it holds a control character or an encoded slash,
 * which no id has. */
static char *decode_path(Span path) {
    _cleanup_free_ char *text = malloc(path.size + 1);
    check(text);
    ptrdiff_t size = text_path_decode(path, text);
    for (ptrdiff_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return NULL;
    if (size < 0) return NULL;
    text[size] = '\0';
    return steal(text);
}

/* The seconds of `wait=N` among the preferences (RFC 7240). */
static usec_t read_wait(Span value) {
    _cleanup_free_ char *text = text_copy_span(value);
    char *rest = text;
    for (char *item; (item = strsep(&rest, ",;"));) {
        item += strspn(item, " \t");
        if (strncasecmp(item, "wait=", 5) != 0 || item[5] < '0' || item[5] > '9') continue;
        unsigned long seconds = strtoul(item + 5, NULL, 10);
        return (usec_t)(seconds < WAIT_SECONDS_MAX ? seconds : WAIT_SECONDS_MAX) * USEC_SECOND;
    }
    return 0;
}

static void replace(char **field, Span value) {
    free(*field);
    *field = text_copy_span(value);
}

static void read_headers(ApiCall *call, const HttpHead *head) {
    Span lines = head->lines, name, value, bearer = {0}, token = {0};
    while (http_head_next(&lines, &name, &value)) {
        if (span_equal_nocase(name, SPAN("x-storageapi-token"))) {
            token = value;
        } else if (span_equal_nocase(name, SPAN("authorization"))) {
            if (value.size > 7 && strncasecmp(value.data, "Bearer ", 7) == 0)
                bearer = (Span){.data = value.data + 7, .size = value.size - 7};
        } else if (span_equal_nocase(name, SPAN("if-match"))) {
            replace(&call->if_match, value);
        } else if (span_equal_nocase(name, SPAN("prefer"))) {
            if (call->wait == 0) call->wait = read_wait(value);
        } else {
            if (span_equal_nocase(name, SPAN("content-type"))) replace(&call->body_type, value);
            if (header_is_secret(name)) continue;
            if (memchr(value.data ? value.data : "", 0, value.size)) continue;
            buffer_append_span(&call->headers, name);
            buffer_append_byte(&call->headers, 0);
            buffer_append_span(&call->headers, value);
            buffer_append_byte(&call->headers, 0);
        }
    }
    while (bearer.size > 0 && bearer.data[0] == ' ') bearer.data++, bearer.size--;
    replace(&call->token, token.size > 0 ? token : bearer);
}

static ApiCall *read_request(h2o_req_t *request) {
    Span path = {.data = request->path.base, .size = request->path.len}, query = {0};
    const char *mark = path.size ? memchr(path.data, '?', path.size) : NULL;
    if (mark) {
        query = (Span){.data = mark + 1, .size = path.size - (size_t)(mark + 1 - path.data)};
        path.size = (size_t)(mark - path.data);
    }
    char *decoded = decode_path(path);
    if (!decoded) return NULL;
    ApiCall *call = calloc(1, sizeof *call);
    check(call);
    call->message.kind = MESSAGE_API_CALL;
    call->method = text_copy_span((Span){.data = request->method.base, .size = request->method.len});
    call->path = decoded;
    call->query = text_copy_span(query);
    call->token = text_copy_span((Span){0});
    call->if_match = text_copy_span((Span){0});
    call->body_type = text_copy_span((Span){0});
    call->peer = text_copy_span(http_request_peer(request));
    read_headers(call, http_request_head(request));
    buffer_append(&call->body, request->entity.base, request->entity.len);
    return call;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void send_answer(Admin *admin, h2o_req_t *request, const ApiCall *call) {
    char id[UUID_TEXT_SIZE + 1] = {0};
    http_loop_request_id(admin->loop, id);
    _cleanup_(buffer_deinit) Buffer headers = {0};
    buffer_printf(&headers, CORS "Content-Type: %s\r\nX-Request-Id: %s\r\nCache-Control: no-store\r\n",
                  call->content_type ? call->content_type : "application/json", id);
    if (call->location) buffer_printf(&headers, "Location: %s\r\n", call->location);
    if (call->allow) buffer_printf(&headers, "Allow: %s\r\n", call->allow);
    if (call->challenge) buffer_append_text(&headers, "WWW-Authenticate: Bearer realm=\"sluice\"\r\n");
    if (call->retry_after) buffer_printf(&headers, "Retry-After: %u\r\n", call->retry_after);
    HttpReply reply = {.status = call->status, .headers = buffer_span(&headers), .body = buffer_span(&call->response)};
    http_reply(request, &reply);
}

/* A browser asks without the token whether a page may send a request. */
static bool is_preflight(const h2o_req_t *request, const HttpHead *head) {
    return h2o_memis(request->method.base, request->method.len, H2O_STRLIT("OPTIONS")) &&
           http_head_find(head, SPAN("access-control-request-method")).size > 0;
}

static void answer_preflight(h2o_req_t *request, const HttpHead *head) {
    Span wanted = http_head_find(head, SPAN("access-control-request-headers"));
    _cleanup_(buffer_deinit) Buffer headers = {0};
    buffer_append_text(&headers, CORS PREFLIGHT);
    if (http_are_header_names(wanted)) {
        buffer_append_text(&headers, "Access-Control-Allow-Headers: ");
        buffer_append_span(&headers, wanted);
        buffer_append_text(&headers, "\r\n");
    }
    HttpReply reply = {.status = 200, .headers = buffer_span(&headers)};
    http_reply(request, &reply);
}

static void on_request(void *context, h2o_req_t *request) {
    Admin *admin = context;
    check_on_thread(&admin->owner);
    metrics_add(METRIC_REQUESTS, 1);
    if (is_preflight(request, http_request_head(request))) {
        answer_preflight(request, http_request_head(request));
        return;
    }
    ApiCall *call = read_request(request);
    if (!call) {
        ApiCall refusal = {.status = 400};
        api_error_body(400, "badRequest", "The path is not well-formed.", &refusal.response);
        send_answer(admin, request, &refusal);
        buffer_deinit(&refusal.response);
        return;
    }
    call->reply = http_loop_mailbox(admin->loop);
    call->ticket = ticket_new(admin, request);
    http_request_parked(request);
    mailbox_post(admin->control, &call->message);
}

static void on_message(void *context, Message *take_message) {
    Admin *admin = context;
    check_on_thread(&admin->owner);
    if (take_message->kind == MESSAGE_LAST) {
        (void)sem_post(&((LastMessage *)take_message)->handled);
        return;
    }
    check(take_message->kind == MESSAGE_API_CALL);
    ApiCall *call = (ApiCall *)take_message;
    AdminTicket *ticket = call->ticket;
    check(ticket && *ticket->link == ticket && call->status >= 200);
    h2o_req_t *request = ticket->request;
    ticket_free(ticket); /* before the answer: sending may end the request at once */
    if (call->status >= 400 && call->status < 500) metrics_add(METRIC_REQUESTS_REFUSED, 1);
    if (request) send_answer(admin, request, call);
    api_call_free(call);
}

static void error_body(void *context, int status, const char *name, const char *message, Buffer *out) {
    (void)context;
    api_error_body(status, name, message, out);
}

/* ---- start and end --------------------------------------------------------------------------- */

int admin_start(const HttpListener *listener, const HttpLimits *limits, Usage *usage, Mailbox *control, Admin **ret_admin, Error *error) {
    Admin *admin = calloc(1, sizeof *admin);
    check(admin);
    admin->control = control;
    HttpHandler handler = {.on_request = on_request, .on_message = on_message, .error_body = error_body, .context = admin};
    int r = http_loop_start("admin", listener, limits, usage, &handler, &admin->loop, error);
    if (r < 0) {
        free(admin);
        return r;
    }
    *ret_admin = admin;
    return 0;
}

void admin_stop(Admin *admin) {
    if (!admin) return;
    LastMessage last = {.message.kind = MESSAGE_LAST};
    check(sem_init(&last.handled, 0, 0) == 0);
    mailbox_post(http_loop_mailbox(admin->loop), &last.message);
    while (sem_wait(&last.handled) < 0) continue;
    (void)sem_destroy(&last.handled);
    http_loop_stop(admin->loop);
    while (admin->tickets) ticket_free(admin->tickets);
    free(admin);
}
