/*
 * Checks the tokens of a template before libjsonnet gets it. `import`, `importstr`, `std.extVar`,
 * `std.native` and `std.trace` are refused outside of strings, text blocks and comments. This is
 * the first of two protections: a template that makes such a name at run time (`std['na' +
 * 'tive']`) gets functions that refuse. Strings, comments and brackets without an end are refused,
 * too, so that an accepted text stays inside the brackets that are put around it. libjsonnet checks
 * whether it is Jsonnet. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"
#include "config/meta_field.h"

/* Called for each `std.NAME` and `std['NAME']` with a span into the template. For `std` alone,
 * which is passed on or bound again, it is called with an empty span (data NULL). */
typedef void (*TemplateStdVisit)(void *context, Span name);

/* Checks a template. Returns 0, or -EINVAL "line L, column C: …". `visit` may be NULL. */
int template_lex(Span text, TemplateStdVisit visit, void *context, Error *error);

/*
 * Returns the first call of Meta for a field that is not in `fields` (META_BIT), as a span into the
 * template: `Meta` if `fields` is empty, otherwise the name of the field. Data is NULL if there is
 * no such call, or if only the evaluation knows it: the name is not written out, or the template
 * binds Meta again. For a text that template_lex accepts.
 */
Span template_find_meta(Span text, unsigned fields);

/* A part of an event that a template reads. */
typedef enum TemplateFunction { TEMPLATE_BODY, TEMPLATE_BODY_TEXT, TEMPLATE_HEADER, TEMPLATE_HEADER_TEXT, TEMPLATE_META } TemplateFunction;

typedef struct TemplateRead {
    TemplateFunction function;
    bool is_whole;   /* the whole body, or all headers */
    bool is_unknown; /* only the evaluation knows the part: the name is not written out, or the function is passed on or bound again */
    Span name;       /* otherwise the path or the name, as it is written in the template */
} TemplateRead;

typedef void (*TemplateReadVisit)(void *context, const TemplateRead *read);
/* Calls `visit` for each place where the template names one of these functions, in their order. For
 * a text that template_lex accepts. */
void template_visit_reads(Span text, TemplateReadVisit visit, void *context);

/* Returns the line and the column of `at`, which is in the text or at its end, as editors count
 * them: all line ends count, and a character is one column. Both from 1. */
void template_place_at(Span text, const char *at, unsigned *ret_line, unsigned *ret_column);
/* Returns the number of lines as libjsonnet counts them: it ignores line ends in verbatim
 * strings. */
unsigned template_line_count(Span text);
/* Converts the line and the byte column of libjsonnet (from 1) to those of template_place_at. */
void template_place(Span text, unsigned *line, unsigned *column);
