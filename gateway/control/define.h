/* Making a Define (messages.h): the catalog changes and sink orders of one transaction of the
 * writer. Control thread. */
#pragma once

#include <jansson.h>

#include "gateway/flow/messages.h"

Define *define_new(Mailbox *reply, void *context);
/* Drops the references too. NULL-safe. */
void define_free(Define *define);
/* Copies key and document. */
void define_put(Define *define, Collection collection, Span key, const json_t *document);
void define_remove(Define *define, Collection collection, Span key);
/* Takes references. The returned order is valid until the next one; its flags are the caller's to
 * set. */
SinkOrder *define_order(Define *define, const Source *source, const Sink *sink, SinkGate *gate);
/* The writer forgets the sink of that number, which has nothing that waits. */
void define_erase_sink(Define *define, uint32_t sink);
void define_order_connection(Define *define, const char *connection, const Pause *pause); /* `at` 0: it is not paused */
