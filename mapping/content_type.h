/* The media type of a Content-Type header. Pure; any thread. */
#pragma once

#include "base/span.h"

/* Returns the type without parameters and surrounding white space: "application/json;
 * charset=utf-8" -> "application/json". The case is not changed. */
Span content_type_essence(Span content_type);
