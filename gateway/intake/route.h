/* Which of the intake's few routes a request target is. By hand: there are four. Pure; any
 * thread. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

#define ROUTE_BYTES_MAX 1024 /* of a path that holds percent escapes; a longer one is no route */

typedef enum RouteKind {
    ROUTE_NONE,
    ROUTE_STREAM, /* /stream/{projectId}/{sourceId}[/{secret}] */
    ROUTE_HEALTH, /* /health-check, /health */
    ROUTE_READY,  /* /ready */
    ROUTE_SERVER, /* * (of OPTIONS) */
} RouteKind;

typedef struct Route {
    RouteKind kind;
    Span project, source, secret; /* of ROUTE_STREAM; may be empty but for source */
    bool secret_in_url;
    bool verbose; /* ?verbose=true */
} Route;

/* `target` as sent: path and query, or a whole URL. Percent escapes are decoded into `scratch`,
 * which the spans may point to. */
Route route_of(Span target, char scratch[static ROUTE_BYTES_MAX]);
