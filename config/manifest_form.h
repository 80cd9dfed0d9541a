/* What the API shows of a source and its sinks as a manifest that would make the same ones. */
#pragma once

#include <jansson.h>

/* `source` and each of `sinks`: as shown; `settings` of the source and `sink_settings` of the
 * sinks, in their order: lists as shown, of which what differs from the default is taken. What the
 * server decides is left out, and columns that it inferred. New reference. */
json_t *manifest_form(const json_t *source, const json_t *settings, const json_t *sinks, const json_t *sink_settings);
