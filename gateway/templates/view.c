#include "gateway/templates/view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "mapping/form.h"
#include "mapping/headers.h"
#include "mapping/pathset.h"
#include "mapping/scanner.h"

enum {
    KNOWN_PATHS_MAX = 256, /* found by the one scan; a template that makes up paths starts the set anew */
    FRESH_PATHS_MAX = 64,  /* of one event: beyond these a path is scanned for each time it is asked for */
};

typedef struct KnownPath {
    char *text;
    size_t size;
    uint32_t slot;
} KnownPath;

/* A path that this event was the first to ask for. */
typedef struct FreshPath {
    char *text;
    size_t size;
    Span json; /* data NULL: nothing there */
} FreshPath;

struct TemplateView {
    const TemplateEventMessage *event;

    PathSet *paths;
    KnownPath known[KNOWN_PATHS_MAX];
    size_t known_count;
    FreshPath fresh[FRESH_PATHS_MAX];
    size_t fresh_count;
    Scanner scanner;      /* of `paths` */
    Scanner once_scanner; /* of a fresh path */

    bool scanned; /* the body; `json` and `fault` say with what result */
    bool is_json;
    Span json;
    Buffer form; /* the body's nested form as JSON */
    Buffer fault;

    bool headers_ready;
    HeaderWriter header_writer;
    Buffer headers;
};

TemplateView *template_view_new(void) {
    TemplateView *view = calloc(1, sizeof *view);
    check(view);
    view->paths = pathset_new();
    check(pathset_seal(view->paths, NULL) == 0);
    return view;
}

static void forget_known(TemplateView *view) {
    for (size_t i = 0; i < view->known_count; i++) free(view->known[i].text);
    view->known_count = 0;
}

/* `kept` become the known paths. False: together they need more places than a set has; the caller's
 * again. */
static bool set_known(TemplateView *view, KnownPath *kept, size_t count) {
    check(count <= KNOWN_PATHS_MAX);
    pathset_free(view->paths);
    view->paths = pathset_new();
    view->known_count = 0;
    for (size_t i = 0; i < count; i++)
        check(pathset_add(view->paths, (Span){kept[i].text, kept[i].size}, &kept[i].slot, NULL) == 0); /* each was accepted before */
    if (pathset_seal(view->paths, NULL) < 0) return false;
    memcpy(view->known, kept, count * sizeof *kept);
    view->known_count = count;
    return true;
}

/* What the last event asked for in addition is found by the first scan from now on. */
static void learn(TemplateView *view) {
    if (view->fresh_count == 0) return;

    KnownPath kept[KNOWN_PATHS_MAX];
    if (view->known_count + view->fresh_count > KNOWN_PATHS_MAX) forget_known(view);
    size_t count = view->known_count;
    check(count + view->fresh_count <= KNOWN_PATHS_MAX);
    memcpy(kept, view->known, count * sizeof *kept);
    for (size_t i = 0; i < view->fresh_count; i++) kept[count++] = (KnownPath){.text = view->fresh[i].text, .size = view->fresh[i].size};
    view->fresh_count = 0;
    if (set_known(view, kept, count)) return;

    for (size_t i = 0; i < count; i++) free(kept[i].text);
    check(set_known(view, NULL, 0));
}

void template_view_set(TemplateView *view, const TemplateEventMessage *event) {
    learn(view);
    check(event && view->fresh_count == 0 && view->known_count <= KNOWN_PATHS_MAX);
    view->event = event;
    view->scanned = false;
    view->headers_ready = false;
    buffer_clear(&view->fault);
    if (view->form.capacity > 1 << 20) buffer_deinit(&view->form);
}

static void scan_body(TemplateView *view) {
    const TemplateEventMessage *event = view->event;
    check(event && !view->scanned && view->fault.size == 0);
    view->scanned = true;
    view->is_json = false;
    view->json = event->body;
    if (event->kind == BODY_OTHER) {
        buffer_append_text(&view->fault, "the body is neither JSON nor a form, by its content type");
        return;
    }
    if (event->kind == BODY_FORM) {
        Error error = {0};
        buffer_clear(&view->form);
        if (form_to_json(event->body, &view->form, &error)) {
            buffer_printf(&view->fault, "the body is not a form: %s", error.text);
            return;
        }
        view->json = buffer_span(&view->form);
    }
    ScanFault fault;
    if (scanner_run(&view->scanner, view->paths, view->json, &fault)) {
        buffer_printf(&view->fault, "the body is not JSON: %s at byte %zu", fault.what, fault.offset);
        return;
    }
    view->is_json = true;
}

static int find_fresh(TemplateView *view, Span path, Span *ret_json, Buffer *reason) {
    check(view->scanned && view->is_json);
    PathSet *set = pathset_new();
    Error error = {0};
    uint32_t slot;
    if (pathset_add(set, path, &slot, &error) < 0 || pathset_seal(set, &error) < 0) {
        buffer_append_text(reason, error.text);
        pathset_free(set);
        return VIEW_FAILED;
    }
    ScanFault fault;
    check(scanner_run(&view->once_scanner, set, view->json, &fault) == 0); /* it was accepted before */
    const ScanValue *value = scanner_value(&view->once_scanner, slot);
    Span json = value ? value->text : (Span){0};
    pathset_free(set);
    if (view->fresh_count < FRESH_PATHS_MAX) {
        char *text = malloc(path.size + 1);
        check(text);
        memcpy(text, path.data, path.size);
        view->fresh[view->fresh_count++] = (FreshPath){.text = text, .size = path.size, .json = json};
    }
    *ret_json = json;
    return json.data ? 0 : VIEW_MISSING;
}

int template_view_find(TemplateView *view, Span path, Span *ret_json, Buffer *reason) {
    if (!view->scanned) scan_body(view);
    if (!view->is_json) {
        buffer_append_span(reason, buffer_span(&view->fault));
        return VIEW_FAILED;
    }
    for (size_t i = 0; i < view->known_count; i++) {
        const KnownPath *known = &view->known[i];
        if (known->size != path.size || memcmp(known->text, path.data, path.size) != 0) continue;
        const ScanValue *value = scanner_value(&view->scanner, known->slot);
        if (!value) return VIEW_MISSING;
        *ret_json = value->text;
        return 0;
    }
    for (size_t i = 0; i < view->fresh_count; i++) {
        const FreshPath *fresh = &view->fresh[i];
        if (fresh->size != path.size || memcmp(fresh->text, path.data, path.size) != 0) continue;
        if (!fresh->json.data) return VIEW_MISSING;
        *ret_json = fresh->json;
        return 0;
    }
    return find_fresh(view, path, ret_json, reason);
}

Span template_view_headers(TemplateView *view) {
    if (!view->headers_ready) {
        buffer_clear(&view->headers);
        headers_to_json(&view->header_writer, view->event->headers, view->event->header_count, &view->headers);
        view->headers_ready = true;
    }
    return buffer_span(&view->headers);
}

/* From the quote that `at` is on; NULL: there is none. */
static const char *read_quoted(const char *at, const char *end, Span *ret_text) {
    if (at >= end || *at != '"') return NULL;
    const char *stop = at + 1;
    while (stop < end && *stop != '"') stop += *stop == '\\' ? 2 : 1;
    if (stop >= end) return NULL;
    *ret_text = (Span){at, (size_t)(stop + 1 - at)};
    return stop + 1;
}

bool template_view_next_header(TemplateView *view, const char **at, Span *ret_name, Span *ret_value) {
    Span json = template_view_headers(view);
    const char *end = json.data + json.size;
    const char *place = *at ? *at : json.data;
    /* On the brace or comma before a name, or on the last brace. */
    place = read_quoted(place + 1, end, ret_name);
    if (place) place = read_quoted(place + 1, end, ret_value);
    *at = place;
    return place != NULL;
}

bool template_view_header(TemplateView *view, Span name, Span *ret_value) {
    Span found;
    for (const char *at = NULL; template_view_next_header(view, &at, &found, ret_value);)
        if (span_equal_nocase((Span){found.data + 1, found.size - 2}, name)) return true;
    return false;
}

bool template_view_now(const TemplateView *view, const char *format, Buffer *out) {
    usec_t received = view->event->received;
    time_t seconds = received / USEC_SECOND;
    usec_t rest = received % USEC_SECOND;
    if (rest < 0) {
        rest += USEC_SECOND;
        seconds--;
    }
    struct tm parts;
    if (strlen(format) > VIEW_NOW_BYTES_MAX || !gmtime_r(&seconds, &parts)) return false;

    /* The leading byte tells an empty text from one that did not fit. */
    Buffer expanded = {0};
    buffer_append_byte(&expanded, '=');
    for (const char *at = format; *at; at++) {
        if (at[0] == '%' && at[1] == 'f') {
            buffer_printf(&expanded, "%03d", (int)(rest / USEC_MS));
            at++;
        } else {
            buffer_append_byte(&expanded, *at);
            if (at[0] == '%' && at[1]) buffer_append_byte(&expanded, *++at);
        }
    }
    char *text = buffer_reserve(out, VIEW_NOW_BYTES_MAX + 2);
    size_t before = out->size;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t size = strftime(text, VIEW_NOW_BYTES_MAX + 2, buffer_text(&expanded), &parts);
#pragma GCC diagnostic pop
    buffer_deinit(&expanded);
    if (size == 0) return false;
    check(size <= VIEW_NOW_BYTES_MAX + 1 && text[0] == '=');
    memmove(text, text + 1, size - 1);
    out->size = before + size - 1;
    return true;
}
