/*
 * What ${ENV:NAME} and ${FILE:path} were replaced by, so that no message shows it: it may be a
 * secret, also where it stands by mistake. One thread.
 */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"

typedef struct Expansion {
    char *name; /* "${ENV:NAME}" */
    char *value;
    size_t size; /* of the value; never 0 */
} Expansion;

/* All-zero is empty. */
typedef struct Expansions {
    Expansion *items;
    size_t count;
} Expansions;

void expansions_add(Expansions *expansions, Span name, Span value);
void expansions_add_all(Expansions *expansions, const Expansions *more);
void expansions_deinit(Expansions *expansions);

/* Takes the values out of the error's text: a whole one becomes its name, a part of one "…". A part
 * is 4 bytes and more, of long values up to 16, so that a message about a template out of a file
 * can still be read. A name of a field at its beginning, `Field "a.b" `, stays unless a value is in
 * it. `expansions` may be NULL. */
void expansions_hide(const Expansions *expansions, Error *error);
/* Appends `text` with whole values replaced by their names; true when there was one. `expansions`
 * may be NULL. */
bool expansions_name(const Expansions *expansions, const char *text, Buffer *out);
