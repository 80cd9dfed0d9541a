/* A job for a loader (LoadJob of gateway/flow/messages.h): made by the writer or control, freed by
 * who gets it back. */
#pragma once

#include "gateway/flow/messages.h"

/* All-zero but for what is given: an import, a check of a table, or a test of a connection.
 * `context`: of the sender. load_job_free(). */
LoadJob *load_job_new(MessageKind kind, Mailbox *reply, void *context);
void load_job_free(LoadJob *job); /* NULL-safe */
