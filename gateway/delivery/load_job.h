/* A job for a loader (LoadJob of gateway/flow/messages.h). The writer or control makes it, and the
 * thread to which it comes back frees it. */
#pragma once

#include "gateway/flow/messages.h"

/* Makes an import, a check of a table, or a test of a connection; all other fields are zero.
 * `context`: data of the sender. load_job_free(). */
LoadJob *load_job_new(MessageKind kind, Mailbox *reply, void *context);
void load_job_free(LoadJob *job); /* NULL-safe */
