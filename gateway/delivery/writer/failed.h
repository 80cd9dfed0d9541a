/* What a destination did not take: rejects, and files that are set aside because they failed for
 * too long. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_pending_rejects(Writer *writer, PendingRejects *message);
/* Boot time from which the file may be set aside because its tries fail; USEC_NEVER: they do not,
 * or have not for long enough to say. */
usec_t writer_expires(const Writer *writer, const struct WaitingFile *file);
void writer_begin_expire(Writer *writer, SinkState *sink, struct WaitingFile *file);
void writer_expire_ended(Writer *writer, Expire *take_expire);
void expire_free(Expire *expire);
