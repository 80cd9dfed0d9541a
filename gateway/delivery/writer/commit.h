/* Group commit: the rows of all Appends that wait become commit groups, in one transaction. */
#pragma once

#include "gateway/delivery/writer/state.h"

struct GroupBuilder *group_builder_new(void);
void group_builder_free(struct GroupBuilder *builder); /* NULL-safe */
/* Commits the Appends, in order, and answers them. */
void writer_commit(Writer *writer, Append **appends, size_t count);
