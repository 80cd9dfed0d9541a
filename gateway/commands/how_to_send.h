/* What `sluice apply` prints of a source that it made or changed: where events go to, and a curl
 * line that sends one, or what the source reads. Any thread. */
#pragma once

#include <jansson.h>

#include "base/buffer.h"
#include "config/expansions.h"
#include "config/manifest.h"

/* Appends lines, each with its newline. `source` is the source as the API shows it, `declared` the
 * manifest that it comes from. A secret that comes from ${ENV:…} or ${FILE:…} is shown as that. */
void how_to_send(const json_t *source, const ManifestSource *declared, const Expansions *expansions, Buffer *out);
