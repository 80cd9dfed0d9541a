/*
 * A look at a template's tokens before libjsonnet sees it: `import`, `importstr`, `std.extVar`, `std.native` and `std.trace` are refused, wherever
 * they stand outside strings, text blocks and comments. It is the first of two fences: a template that builds such a name at run time
 * (`std['na' + 'tive']`) meets functions that refuse. Strings, comments and brackets that do not end
 * are refused, too, so that a text that passes stays inside the brackets that are put around it. Whether it is Jsonnet at all is libjsonnet's
 * question. Pure; any thread.
 */
#pragma once

#include "base/error.h"
#include "base/span.h"

/* Called for each `std.NAME` and `std['NAME']` with a span into the template, and with an empty one (data NULL) for a `std` that stands
 * alone: it is handed on, or bound anew. */
typedef void (*TemplateStdVisit)(void *context, Span name);

/* 0, or -EINVAL "line L, column C: …". `visit` may be NULL. */
int template_lex(Span text, TemplateStdVisit visit, void *context, Error *error);

/* The column in characters of a byte column, both from 1, in the given line (from 1) of the template: libjsonnet counts bytes. */
unsigned template_column(Span text, unsigned line, unsigned byte_column);
