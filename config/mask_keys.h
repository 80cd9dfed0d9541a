/*
 * The keys of masks. The main key comes from the option mask-key-file or from the data directory.
 * Named keys come from the option mask-keys. A key is the content of its file without trailing
 * white space. The object is immutable once shared, except for mask_keys_set_own. Only one thread
 * may use the object during that call.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"
#include "config/options.h"

#define MASK_KEY_BYTES_MIN 16
#define MASK_KEY_BYTES_MAX 4096

typedef struct MaskKeys MaskKeys;

/* Reads the key files that the options name. Returns 0, -EINVAL, or the negated errno of a file.
 * The text of the error names the option and the file. */
int mask_keys_load(const Options *options, MaskKeys **ret_keys, Error *error);
typedef void (*MaskKeyFileVisit)(void *context, const char *what, const char *path);
/* Calls `visit` for each key file that the options name. `what`: the option and the key's name. */
void mask_key_files(const Options *options, MaskKeyFileVisit visit, void *context);
MaskKeys *mask_keys_new(void);       /* without keys */
void mask_keys_free(MaskKeys *keys); /* NULL-safe; overwrites the keys */
/* Finds the key in the content of its file: removes trailing white space and checks the size.
 * *ret_key points into `content`. -EINVAL: the text of the error follows the name of the file. */
int mask_key_of_file(Span content, Span *ret_key, Error *error);
/* Returns the main key, borrowed; empty: there is none. *ret_shared (may be NULL): the key is that
 * of mask-key-file, which other nodes may have, too. */
Span mask_keys_main(const MaskKeys *keys, bool *ret_shared);
/* Sets the key of the data directory as the main key. There must be no main key yet. `key` is
 * copied and has MASK_KEY_BYTES_MIN bytes or more. */
void mask_keys_set_own(MaskKeys *keys, Span key);
void mask_keys_set_shared(MaskKeys *keys, Span key);           /* for tests and mask_keys_load; copied */
void mask_keys_set_named(MaskKeys *keys, Span name, Span key); /* the same */
/* Returns the key of that name, borrowed; empty: there is none. */
Span mask_keys_named(const MaskKeys *keys, Span name);
