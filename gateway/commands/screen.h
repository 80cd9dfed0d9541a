/* What `sluice status` and `sluice connections` print: texts of others, which must not move the
 * cursor of a terminal. */
#pragma once

#include <jansson.h>

/* To stdout, with '?' for control characters; NULL prints nothing. */
void screen_print(const char *text);
/* The text of a field; "" when it has none. */
const char *screen_text(const json_t *object, const char *key);
/* Indented, on lines of its own. */
void screen_print_json(const json_t *value);
/* "ok", "-" where nothing is imported, or what is wrong with the connection (an item of the API's
 * list), on one line. */
void screen_connection_state(const json_t *connection);
