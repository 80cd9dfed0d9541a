/* The end of the writer: nothing new is given out, and who waits for more is refused. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_begin_drain(Writer *writer);
void writer_mind_drain(Writer *writer);
