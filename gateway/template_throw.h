/*
 * The end of an evaluation at the place where libjsonnet throws its error, instead of at the catch.
 *
 * On the way from one to the other libjsonnet frees the syntax trees of its standard library, node by node: 10 ms, and 20 ms in a forked process,
 * where each page that is touched has to be copied first. The evaluating process has nothing to free, it only wants the message: so the
 * worker program defines __cxa_throw, which libjsonnet.so calls, and looks at what is thrown. What is not known for certain goes on to the
 * C++ library as if nothing had happened, and costs its 20 ms.
 *
 * For the worker executable only; one thread.
 */
#pragma once

#include "base/span.h"

/* From now on `end` is called with the message of libjsonnet's RuntimeError; it does not return. */
void template_throw_watch(void (*end)(void *context, Span message), void *context);
