/*
 * The mask key of a data directory: the file `mask.key` (0600) with 64 hexadecimal digits. It is
 * created when the first column with a mask needs it and no other key is given. If it is lost,
 * masks give other values from then on. Control thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/files.h"
#include "config/mask_keys.h"

#define MASK_KEY_FILE "mask.key"

/*
 * Sets the key of the directory as the main key of `keys`, which have none. The file is created if
 * there is none (*ret_made). -EINVAL: the content of the file is not a key; or the errno of the
 * file. Then `keys` have no main key, and the text names the file.
 */
int mask_key_own(Files *files, MaskKeys *keys, bool *ret_made, Error *error);
