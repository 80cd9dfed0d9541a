/* JSON as a YAML document (libyaml) that yaml_parse reads as the same JSON. Any thread. */
#pragma once

#include <jansson.h>

#include "base/buffer.h"

/* Appends it, in blocks with two spaces. An object or array of nothing but scalars, below the first
 * level, stands in one line while it is short. */
void yaml_write(const json_t *value, Buffer *out);
