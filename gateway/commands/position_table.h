/* `sluice get positions SOURCE`: where a source reads its broker, and what its sinks have of it. */
#pragma once

#include "gateway/commands/remote.h"

/* The exit code. `source`: an id, plain in a path. */
int position_table_run(const Arguments *arguments, const char *source, bool as_json);
