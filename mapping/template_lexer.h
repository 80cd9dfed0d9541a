/*
 * A look at a template's tokens before libjsonnet sees it: `import`, `importstr`, `std.extVar`,
 * `std.native` and `std.trace` are refused, wherever they stand outside strings, text blocks and
 * comments. It is the first of two fences: a template that builds such a name at run time
 * (`std['na' + 'tive']`) meets functions that refuse. Strings, comments and brackets that do not
 * end are refused, too, so that a text that passes stays inside the brackets that are put around
 * it. Whether it is Jsonnet at all is libjsonnet's question. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"
#include "config/meta_field.h"

/* Called for each `std.NAME` and `std['NAME']` with a span into the template, and with an empty one
 * (data NULL) for a `std` that stands alone: it is handed on, or bound anew. */
typedef void (*TemplateStdVisit)(void *context, Span name);

/* 0, or -EINVAL "line L, column C: …". `visit` may be NULL. */
int template_lex(Span text, TemplateStdVisit visit, void *context, Error *error);

/*
 * The first call of Meta for a field that is not among `fields` (META_BIT): a span of `Meta` or,
 * when other fields are there, of the field's name in the template. Data NULL: there is none, or
 * only the evaluation knows, as of a name that is not written out, or when the template binds Meta
 * anew. For a text that template_lex accepts.
 */
Span template_find_meta(Span text, unsigned fields);

/* What a template reads of an event. */
typedef enum TemplateFunction { TEMPLATE_BODY, TEMPLATE_BODY_TEXT, TEMPLATE_HEADER, TEMPLATE_HEADER_TEXT, TEMPLATE_META } TemplateFunction;

typedef struct TemplateRead {
    TemplateFunction function;
    bool is_whole;   /* the whole body, or all headers */
    bool is_unknown; /* only the evaluation knows what: the name is not written out, or the function is handed on or bound anew */
    Span name;       /* else the path, or the name, as it stands in the template */
} TemplateRead;

typedef void (*TemplateReadVisit)(void *context, const TemplateRead *read);
/* Called for each place where the template names one of these functions, in their order. For a text
 * that template_lex accepts. */
void template_visit_reads(Span text, TemplateReadVisit visit, void *context);

/* Where `at`, in the text or at its end, is for people: all line ends count, and a character is one
 * column. Both from 1. */
void template_place_at(Span text, const char *at, unsigned *ret_line, unsigned *ret_column);
/* Lines of the text as libjsonnet counts them: it counts none inside a verbatim string. */
unsigned template_line_count(Span text);
/* From libjsonnet's line and byte column, from 1, to those of template_place_at. */
void template_place(Span text, unsigned *line, unsigned *column);
