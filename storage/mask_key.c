#include "storage/mask_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/random.h"

enum { RANDOM_BYTES = 32 };

static int make(Files *files, MaskKeys *keys, Error *error) {
    unsigned char bytes[RANDOM_BYTES];
    char text[2 * RANDOM_BYTES + 2];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[2 * RANDOM_BYTES] = '\n';
    int r = files_replace(files, MASK_KEY_FILE, (Span){text, 2 * RANDOM_BYTES + 1}, 0600, error);
    if (r == 0) mask_keys_set_own(keys, (Span){text, 2 * RANDOM_BYTES});
    explicit_bzero(text, sizeof text);
    explicit_bzero(bytes, sizeof bytes);
    return r < 0 ? error_prefix(error, "the mask key of the data directory") : 0;
}

int mask_key_own(Files *files, MaskKeys *keys, bool *ret_made, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    Span key;
    *ret_made = false;
    int r = files_read_all(files, MASK_KEY_FILE, (size_t)MASK_KEY_BYTES_MAX * 2, &text, &size, error);
    if (r == -ENOENT) {
        r = make(files, keys, error);
        *ret_made = r == 0;
        return r;
    }
    if (r == 0) r = mask_key_of_file((Span){text, size}, &key, error);
    if (r == 0) mask_keys_set_own(keys, key);
    if (text) explicit_bzero(text, size);
    return r < 0 ? error_prefix(error, "the mask key of the data directory, " MASK_KEY_FILE) : 0;
}
