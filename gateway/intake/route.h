/* Finds the route of a request target. The intake has only four routes, so this is written by hand.
 * Pure; any thread. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

#define ROUTE_BYTES_MAX 1024 /* maximum size of a path with percent escapes; a longer one is not a route */

typedef enum RouteKind {
    ROUTE_NONE,
    ROUTE_STREAM, /* /stream/{projectId}/{sourceId}[/{secret}] */
    ROUTE_HEALTH, /* /health-check, /health */
    ROUTE_READY,  /* /ready */
    ROUTE_SERVER, /* * (of OPTIONS) */
} RouteKind;

typedef struct Route {
    RouteKind kind;
    Span project, source, secret; /* for ROUTE_STREAM; all except source may be empty */
    bool secret_in_url;
    bool verbose; /* ?verbose=true */
} Route;

/* `target` as sent: path and query, or a whole URL. Percent escapes are decoded into `scratch`,
 * which the spans may point to. */
Route route_of(Span target, char scratch[static ROUTE_BYTES_MAX]);
