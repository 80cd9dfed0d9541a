/* What a start finds. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* `may_repair`: what is damaged can be repaired, and is -EBADMSG. Else a sink of which this is
 * known is stopped, and the others go on. */
int writer_recover(Writer *writer, bool may_repair, Error *error);
