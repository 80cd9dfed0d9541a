#include "gateway/template_throw.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "base/error.h"

/* std::type_info of the Itanium C++ ABI. */
typedef struct TypeInfo {
    const void *table;
    const char *name;
} TypeInfo;

/* struct RuntimeError { std::vector<TraceFrame> stackTrace; std::string msg; } of libjsonnet 0.18, with the containers of libstdc++. */
typedef struct RuntimeError {
    const void *trace[3];
    const char *text;
    size_t size;
} RuntimeError;

enum { MESSAGE_BYTES_MAX = 1 << 20 };

/* Nothing reaches __cxa_throw but this: the one piece of state of the worker program that is not passed along. */
static struct {
    void (*end)(void *context, Span message);
    void *context;
} watch;

void template_throw_watch(void (*end)(void *context, Span message), void *context) {
    watch.context = context;
    watch.end = end;
}

/* The name is the ABI's. */
_Noreturn void __cxa_throw(void *object, void *type, void (*destroy)(void *)); /* NOLINT */

_Noreturn void __cxa_throw(void *object, void *type, void (*destroy)(void *)) { /* NOLINT */
    const TypeInfo *info = type;
    if (watch.end && info && info->name && strcmp(info->name, "12RuntimeError") == 0) {
        const RuntimeError *error = object;
        /* A std::string ends with a NUL: a layout that is not this one is noticed. */
        if (error->text && error->size < MESSAGE_BYTES_MAX && error->text[error->size] == '\0')
            watch.end(watch.context, (Span){error->text, error->size});
    }
    typedef void (*Throw)(void *, void *, void (*)(void *));
    Throw next;
    void *symbol = dlsym(RTLD_NEXT, "__cxa_throw");
    check(symbol);
    memcpy(&next, &symbol, sizeof next); /* C has no cast for it */
    next(object, type, destroy);
    abort();
}
