/* The media type of a Content-Type header. Pure; any thread. */
#pragma once

#include "base/span.h"

/* Without parameters and white space around it: "application/json; charset=utf-8" ->
 * "application/json". Case is as sent. */
Span content_type_essence(Span content_type);
