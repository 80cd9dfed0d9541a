/*
 * One event as a template sees it: fields of the body by path, headers under their canonical names,
 * the time. The body is scanned at most once for all paths that templates of this process have
 * asked for so far; nothing is looked at before a template asks. One thread; the event's memory
 * must outlive the view's use of it.
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
/* The JSON text at a path, valid until the next event; it was checked against RFC 8259 with the
 * whole body. A form body is its nested form. VIEW_MISSING: nothing there. VIEW_FAILED: the body is
 * not JSON, or the path is none; the reason is appended to `reason`. */
int template_view_find(TemplateView *view, Span path, Span *ret_json, Buffer *reason);

/* The cell of a `headers` column: a JSON object of canonical names (`X-Header-1`) in order. Valid
 * until the next event. */
Span template_view_headers(TemplateView *view);
/* Walks it: the first field from *at on, names and values as JSON strings with quotes. Start with
 * *at NULL; false: no more. */
bool template_view_next_header(TemplateView *view, const char **at, Span *ret_name, Span *ret_value);
/* The value of that name in any case, a JSON string. */
bool template_view_header(TemplateView *view, Span name, Span *ret_value);

enum { VIEW_NOW_BYTES_MAX = 4096 };
/* Receive time by strftime(3) in UTC, %f: milliseconds. False: longer than VIEW_NOW_BYTES_MAX. */
bool template_view_now(const TemplateView *view, const char *format, Buffer *out);
