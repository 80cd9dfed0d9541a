/*
 * Ends an evaluation at the place where libjsonnet throws its error, instead of where it catches
 * it. Between the two places libjsonnet frees the syntax trees of its standard library, node by
 * node. This takes 10 ms, or 20 ms in a forked process, where each modified page has to be copied
 * first. The evaluating process needs only the message. So the worker program defines __cxa_throw,
 * which libjsonnet.so calls, and looks at the thrown object. If it is not certain about the object,
 * the C++ library continues as usual, which costs the 20 ms. For the worker executable only; one
 * thread.
 */
#pragma once

#include "base/span.h"

/* A place in a document that libjsonnet imported; line and column (in bytes) from 1. */
typedef struct TemplatePlace {
    unsigned document; /* the number behind the documents' common name */
    unsigned line, column;
} TemplatePlace;

/* From now on `end` is called with the message of libjsonnet's RuntimeError and the place where it
 * arose, NULL when it was in none of the documents whose name begins with `documents` (which must
 * stay), or below `last_line`. It does not return. */
void template_throw_watch(Span documents, unsigned last_line, void (*end)(void *context, Span message, const TemplatePlace *place),
                          void *context);
