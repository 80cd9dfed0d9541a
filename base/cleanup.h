/* Cleanup attributes: an object is released automatically when it leaves its scope, also at an
 * early return. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

/* _cleanup_(fn) T x = …;   calls fn(&x) when x leaves its scope. */
#define _cleanup_(function) __attribute__((cleanup(function)))

/* Declares cleanup_FUNCTION(T **p), which calls FUNCTION on *p if *p is not NULL. For use with
 * _cleanup_. */
#define DEFINE_CLEANUP(type, function)                                                                                                     \
    static inline void cleanup_##function(__typeof__(type) **pointer) {                                                                    \
        if (*pointer) function(*pointer);                                                                                                  \
    }

/* Passes ownership of a pointer on: evaluates to the pointer and sets the variable to NULL. */
#define steal(pointer)                                                                                                                     \
    (__extension__({                                                                                                                       \
        __typeof__(pointer) stolen_ = (pointer);                                                                                           \
        (pointer) = NULL;                                                                                                                  \
        stolen_;                                                                                                                           \
    }))

static inline void cleanup_freep(void *pointer) {
    free(*(void **)pointer);
}

static inline void cleanup_closep(int *fd) {
    if (*fd >= 0) (void)close(*fd);
}

#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)
