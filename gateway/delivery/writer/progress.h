/* What a bridge asks: how far its sinks are with its partitions. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Fills it in and answers it, also when the writer is broken (then without a mark). Its partitions
 * are watched from now on (watch.h). */
void writer_answer_progress(Writer *writer, Progress *take_progress);
