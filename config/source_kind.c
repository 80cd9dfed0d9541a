#include "config/source_kind.h"

#include <stddef.h>

const SourceKind *const source_kinds[] = {&source_kind_http, NULL};
const char *const source_kind_names[] = {"http", NULL};
const char *const kinds_not_built[] = {"kafka", "nats", "stream", NULL};
