/*
 * The mask key of a data directory: the file `mask.key` (0600), 64 hexadecimal digits, made when
 * the first column with a mask needs it and no other key is given. Whoever loses it masks
 * differently from then on. Control thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/files.h"
#include "config/mask_keys.h"

#define MASK_KEY_FILE "mask.key"

/*
 * Gives `keys`, which have no main key, that of the directory, which is made when there is none
 * (*ret_made). -EINVAL: what the file holds is no key; or the errno of the file. `keys` have no
 * main key then, and the text names the file.
 */
int mask_key_own(Files *files, MaskKeys *keys, bool *ret_made, Error *error);
