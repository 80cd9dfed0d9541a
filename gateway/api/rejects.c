/* Rejects of a sink: what its mapping (events) or its destination (rows) refused. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/api/router.h"
#include "storage/rejects.h"

#define PAGE_BYTES_MAX (4u << 20)
#define PAGE_SEEN_MAX 20000 /* the control thread looks at no more at once */

/* Which rejects are shown. All-zero: all. */
typedef struct Filter {
    const char *kind;   /* "event" or "row"; NULL: both */
    const char *reason; /* that is in the reason; NULL: any */
    usec_t from, to;    /* wall time, `to` itself not; 0: without an end */
} Filter;

typedef struct Page {
    json_t *list; /* of the page */
    size_t limit;
    size_t bytes; /* of the rejects' data in it */
    Filter filter;
    size_t seen;   /* rejects that were looked at */
    uint64_t last; /* number of the last one that was looked at */
    bool more;     /* there may be others behind it */
} Page;

/* Bytes as text under `name`, or as base64 under `base64_name`. */
static void set_bytes(json_t *object, const char *name, const char *base64_name, Span bytes) {
    if (text_is_utf8(bytes)) {
        check(json_object_set_new(object, name, json_stringn(bytes.data ? bytes.data : "", bytes.size)) == 0);
        return;
    }
    _cleanup_free_ unsigned char *text = malloc(bytes.size / 3 * 4 + 5);
    check(text && bytes.size <= INT32_MAX);
    (void)EVP_EncodeBlock(text, (const unsigned char *)bytes.data, (int)bytes.size);
    check(json_object_set_new(object, base64_name, json_string((const char *)text)) == 0);
}

/* Who exports it must see that there is nothing to send again. */
static void set_dropped(json_t *object, const Reject *reject) {
    check(json_object_set_new(object, "event", json_null()) == 0);
    check(json_object_set_new(object, "eventBytes", json_integer((json_int_t)reject->event_bytes)) == 0);
    check(json_object_set_new(
              object, "eventDropped",
              json_string(
                  "the source masks values, and its bodyPolicy is drop: the event was not kept, so only its sender can send it again")) ==
          0);
}

static json_t *show(const Reject *reject) {
    char id[UUID_TEXT_SIZE + 1] = {0}, at[25];
    uuid_format(&reject->id, id);
    clock_format_utc(reject->at, at);
    json_t *json = json_pack("{s:I, s:s, s:s, s:s, s:I}", "rejectId", (json_int_t)reject->number, "time", at, "kind",
                             reject->is_row ? "row" : "event", reject->is_row ? "fileId" : "eventId", id, "version",
                             (json_int_t)reject->mapping_version);
    check(json);
    set_bytes(json, "reason", "reasonBase64", reject->reason);
    if (reject->column.size > 0) set_bytes(json, "column", "columnBase64", reject->column);
    if (reject->is_row) {
        check(json_object_set_new(json, "rowNumber", json_integer((json_int_t)reject->row)) == 0);
        set_bytes(json, "row", "rowBase64", reject->data);
    } else {
        set_bytes(json, "contentType", "contentTypeBase64", reject->content_type);
        if (reject->place.size > 0) set_bytes(json, "bridge", "bridgeBase64", reject->place);
        if (reject->dropped) {
            set_dropped(json, reject);
        } else {
            set_bytes(json, "event", "eventBase64", reject->data);
        }
    }
    return json;
}

static bool is_wanted(const Filter *filter, const Reject *reject) {
    if (filter->kind && strcmp(filter->kind, reject->is_row ? "row" : "event") != 0) return false;
    if (filter->reason && !memmem(reject->reason.data, reject->reason.size, filter->reason, strlen(filter->reason))) return false;
    return reject->at >= filter->from && (filter->to == 0 || reject->at < filter->to);
}

static int visit(void *context, const Reject *reject, Error *error) {
    Page *page = context;
    if (json_array_size(page->list) >= page->limit || page->bytes >= PAGE_BYTES_MAX || page->seen >= PAGE_SEEN_MAX) {
        page->more = true;
        return error_set(error, -ECANCELED, "enough");
    }
    page->seen++;
    page->last = reject->number;
    if (!is_wanted(&page->filter, reject)) return 0;
    check(json_array_append_new(page->list, show(reject)) == 0);
    page->bytes += reject->data.size;
    return 0;
}

/* RFC 3339; false: answered. */
static bool read_time(ApiRequest *request, const char *name, const char *text, usec_t *value) {
    int64_t nsec;
    if (!text || !text[0]) return true;
    if (!clock_parse(span_of(text), &nsec) || nsec < 0) {
        api_fail(request, 400, "badRequest", "Parameter \"%s\" must be a time such as 2026-01-31T08:00:00Z.", name);
        return false;
    }
    *value = nsec / 1000;
    return true;
}

/* false: answered. */
static bool read_filter(ApiRequest *request, Filter *filter) {
    const char *kind = request->parameters[3], *reason = request->parameters[4];
    if (kind && kind[0] && strcmp(kind, "event") != 0 && strcmp(kind, "row") != 0) {
        api_fail(request, 400, "badRequest", "Parameter \"kind\" must be event or row.");
        return false;
    }
    filter->kind = kind && kind[0] ? kind : NULL;
    filter->reason = reason && reason[0] ? reason : NULL;
    return read_time(request, "from", request->parameters[5], &filter->from) &&
           read_time(request, "to", request->parameters[6], &filter->to);
}

/* A number of a reject; false: answered. */
static bool read_number(ApiRequest *request, const char *name, const char *text, uint64_t *value) {
    if (!text || !text[0]) return true;
    char *end = NULL;
    errno = 0;
    unsigned long long number = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end || errno != 0) {
        api_fail(request, 400, "badRequest", "Parameter \"%s\" must be the rejectId of a reject.", name);
        return false;
    }
    *value = number;
    return true;
}

static int read_page(ApiRequest *request, uint64_t after, Page *page, uint64_t *ret_total, Error *error) {
    Txn *txn;
    int r = txn_begin_read(request->view->environment, &txn, error);
    if (r < 0) return r;
    uint32_t sink = request->sink->sink->number;
    r = rejects_visit(txn, sink, after, visit, page, error);
    if (r == 0 || r == -ECANCELED) r = rejects_count(txn, sink, ret_total, error);
    txn_abort(txn);
    return r;
}

static void answer_lines(ApiRequest *request, const json_t *list) {
    ApiCall *call = api_keep(request);
    for (size_t i = 0; i < json_array_size(list); i++) {
        _cleanup_free_ char *line = json_dumps(json_array_get(list, i), JSON_COMPACT);
        check(line);
        buffer_append_text(&call->response, line);
        buffer_append_byte(&call->response, '\n');
    }
    call->status = 200;
    call->content_type = "application/x-ndjson";
    mailbox_post(call->reply, &call->message);
}

void api_rejects_list(ApiRequest *request) {
    ApiPage page_asked;
    uint64_t after = 0;
    const char *format = request->parameters[2] ? request->parameters[2] : "json";
    if (strcmp(format, "json") != 0 && strcmp(format, "ndjson") != 0) {
        api_fail(request, 400, "badRequest", "Parameter \"format\" must be json or ndjson.");
        return;
    }
    if (!api_page(request, request->parameters[0], request->parameters[1], &page_asked) ||
        !read_number(request, "afterId", request->parameters[0], &after))
        return;
    Page page = {.limit = page_asked.limit};
    if (!read_filter(request, &page.filter)) return;
    page.list = json_array();
    check(page.list);
    uint64_t total = 0;
    Error error = {0};
    if (read_page(request, after, &page, &total, &error) < 0) {
        json_decref(page.list);
        log_failure(LOG_ERROR, "the rejects of a sink cannot be read", &error);
        api_fail(request, 500, "internalError", "The rejects cannot be read.");
        return;
    }
    if (strcmp(format, "ndjson") == 0) {
        answer_lines(request, page.list);
        json_decref(page.list);
        return;
    }
    char last[24] = "";
    if (json_array_size(page.list) > 0 || page.more) (void)snprintf(last, sizeof last, "%llu", (unsigned long long)page.last);
    json_t *answer = json_pack("{s:o, s:o}", "rejects", page.list, "page", api_page_json(&page_asked, total, last));
    check(answer);
    api_answer(request, 200, answer);
}

/* ---- removal --------------------------------------------------------------------------------- */

static void removal_back(Control *control, PendingRequest *pending, Message *take_message) {
    (void)control;
    RejectsRemove *message = (RejectsRemove *)take_message;
    if (message->request.result < 0) log_failure(LOG_ERROR, "rejects cannot be removed", &message->request.error);
    if (!pending->call) {
        /* answered meanwhile */
    } else if (message->request.result < 0) {
        api_call_fail(steal(pending->call), 503, "notStored", "The rejects cannot be removed at present.");
    } else {
        api_call_answer(steal(pending->call), 200, json_pack("{s:I}", "removed", (json_int_t)message->removed));
    }
    free(message);
    pending_request_end(pending);
}

static void removal_late(Control *control, PendingRequest *pending) {
    (void)control;
    if (pending->call) api_call_fail_stalled(steal(pending->call));
}

void api_rejects_delete(ApiRequest *request) {
    uint64_t up_to = UINT64_MAX;
    if (!read_number(request, "upToId", request->parameters[0], &up_to)) return;
    const Sink *sink = request->sink->sink;
    log_info("%s removes the rejects of %s/%s", request->by, request->source_id, sink->sink_id);
    PendingRequest *removal = pending_request_new(sizeof *removal, removal_back, NULL, api_keep(request));
    removal->late = removal_late;
    RejectsRemove *message = calloc(1, sizeof *message);
    check(message);
    message->request.message.kind = MESSAGE_REJECTS_REMOVE;
    message->sink = sink->number;
    message->up_to_number = up_to;
    control_ask_writer(request->control, removal, &message->request);
}
