/* What the control thread says of sinks and connections, with the catalog in one transaction. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_define(Writer *writer, Define *define);
/* Those that waited for a Stage: again. */
void writer_run_held(Writer *writer);
