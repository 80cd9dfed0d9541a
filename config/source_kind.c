#include "config/source_kind.h"

#include <stddef.h>

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_kafka, &source_kind_nats, NULL};
const char *const source_kind_names[] = {"http", "kafka", "nats", NULL};
const char *const kinds_not_built[] = {"stream", NULL};
