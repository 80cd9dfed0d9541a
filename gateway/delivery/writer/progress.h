/* What a bridge asks: how far its sinks are with its partitions. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_answer_progress(Writer *writer, Progress *progress);
