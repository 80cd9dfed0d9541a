/*
 * Is a text well-formed XML content, as a PostgreSQL column of the type xml takes it: any number of
 * elements and text, or a document with its declaration? Stricter than XML 1.0: a DOCTYPE is
 * refused, and with it all entities but the five that XML itself has. Names with characters beyond
 * ASCII are not checked further. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/span.h"

/* The text must be UTF-8 without NUL. */
bool xml_is_content(Span text);
