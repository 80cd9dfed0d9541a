/*
 * The memory of libjsonnet's objects: operator new and delete of the worker executable, which libjsonnet.so and libstdc++.so call.
 *
 * The evaluating process is forked from a heap that parsing the standard library left full of small holes. malloc would fill those first,
 * and each one is a page to copy: 200 pages for ten events, more than their evaluation costs. Here what a new process allocates lies together
 * in pages of its own, and what it frees is used again at once. It also takes a third of malloc's instructions, since there is one thread
 * and nothing is ever put together or given back.
 *
 * For the worker executable only; one thread. Without memory the process aborts, as it would with a std::bad_alloc that nobody catches.
 */
#pragma once

/* What was free so far stays unused: from here on memory is new. Before a fork. */
void template_memory_renew(void);
