/*
 * The keys of masks: the main one, of the option mask-key-file or of the data directory, and those
 * with names, of the option mask-keys. The key is the content of its file, without white space at
 * its end. Immutable once shared, but for mask_keys_set_own; one thread then.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"
#include "config/options.h"

#define MASK_KEY_BYTES_MIN 16
#define MASK_KEY_BYTES_MAX 4096

typedef struct MaskKeys MaskKeys;

/* Reads the files that the options name. -EINVAL, or the errno of a file: the text says which
 * option and which file. */
int mask_keys_load(const Options *options, MaskKeys **ret_keys, Error *error);
typedef void (*MaskKeyFileVisit)(void *context, const char *what, const char *path);
/* Called for each key file that the options name; `what`: the option, and the name of the key. */
void mask_key_files(const Options *options, MaskKeyFileVisit visit, void *context);
MaskKeys *mask_keys_new(void);       /* without keys */
void mask_keys_free(MaskKeys *keys); /* NULL-safe; overwrites them */
/* The content of a key's file as a key, without white space at its end. -EINVAL: the rest of a
 * sentence that begins with the file. */
int mask_key_of_file(Span content, Span *ret_key, Error *error);
/* The main key: empty when there is none. *ret_shared (may be NULL): it is that of mask-key-file,
 * which other nodes may have, too. */
Span mask_keys_main(const MaskKeys *keys, bool *ret_shared);
/* The key of the data directory is the main one from then on, of keys that have none. Copied. */
void mask_keys_set_own(MaskKeys *keys, Span key);
void mask_keys_set_shared(MaskKeys *keys, Span key);           /* for tests and for what load does */
void mask_keys_set_named(MaskKeys *keys, Span name, Span key); /* the same */
/* Empty: there is none of that name. */
Span mask_keys_named(const MaskKeys *keys, Span name);
