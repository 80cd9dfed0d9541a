/* Who goes when there are more connections than places (places.c has the whole). Loop thread only,
 * but http_loop_join_places. */
#pragma once

#include "gateway/http/parts.h"

/* Room for one more connection, which is counted already; false: it must be refused. `ret_above`:
 * it is taken above the limit, and another loop ends one. */
bool http_loop_has_room(HttpLoop *loop, bool *ret_above, usec_t now);
/* Until when a new connection is spared. */
usec_t http_connection_spare(bool above, usec_t now);
/* The same among those of one address. */
bool http_loop_has_room_of_address(HttpLoop *loop, unsigned slot, usec_t now);
/* While there are more connections than may be: ends those that may go. */
void http_loop_make_room(HttpLoop *loop, usec_t now);
/* Are all places taken? */
bool http_loop_places_are_scarce(const HttpLoop *loop);
/* What the other loops see of this one's connections: before its thread starts, at each sweep, for
 * a new connection, at its end. */
void http_loop_join_places(HttpLoop *loop);
void http_loop_publish_places(HttpLoop *loop, usec_t now);
void http_loop_publish_new(HttpLoop *loop, const HttpConnection *connection);
void http_loop_leave_places(HttpLoop *loop);
