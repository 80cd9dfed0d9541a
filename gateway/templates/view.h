/*
 * One event as a template reads it: fields of the body by path, headers under their canonical
 * names, the time. The body is scanned at most once for all paths that templates of this process
 * have asked for so far. Nothing is read before a template asks. One thread. The memory of the
 * event must exist while the view is used.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "mapping/template_message.h"

typedef struct TemplateView TemplateView;

TemplateView *template_view_new(void);
void template_view_set(TemplateView *view, const TemplateEventMessage *event);

enum { VIEW_MISSING = 1, VIEW_FAILED = 2 };
/* Returns the JSON text at a path, valid until the next event. It was checked against RFC 8259
 * together with the whole body. A form is read as its JSON. VIEW_MISSING: there is no value.
 * VIEW_FAILED: the body is not JSON, or the path is not valid; the reason is appended to
 * `reason`. */
int template_view_find(TemplateView *view, Span path, Span *ret_json, Buffer *reason);

/* Returns the cell of a `headers` column: a JSON object of canonical names (`X-Header-1`) in order.
 * Valid until the next event. */
Span template_view_headers(TemplateView *view);
/* Returns the next header: name and value as JSON strings with quotes. Begin with *at NULL; false
 * if there are no more. */
bool template_view_next_header(TemplateView *view, const char **at, Span *ret_name, Span *ret_value);
/* Finds a header by its name, in any case; the value is a JSON string. */
bool template_view_header(TemplateView *view, Span name, Span *ret_value);

enum { VIEW_NOW_BYTES_MAX = 4096 };
/* Appends the receive time in UTC by strftime(3); %f is milliseconds. Returns false if the text is
 * longer than VIEW_NOW_BYTES_MAX. */
bool template_view_now(const TemplateView *view, const char *format, Buffer *out);
