#include "gateway/templates/throw.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"

/* std::type_info of the Itanium C++ ABI. */
typedef struct TypeInfo {
    const void *table;
    const char *name;
} TypeInfo;

/* What libjsonnet 0.18 throws, with the containers of libstdc++:
 * struct RuntimeError { std::vector<TraceFrame> stackTrace; std::string msg; }
 * struct TraceFrame { LocationRange location; std::string name; }
 * struct LocationRange { std::string file; struct { unsigned long line, column; } begin, end; } */
typedef struct Text {
    const char *data;
    size_t size;
    char rest[16];
} Text;

typedef struct TraceFrame {
    Text file;
    unsigned long line, column, end_line, end_column;
    Text name;
} TraceFrame;

typedef struct RuntimeError {
    const TraceFrame *first, *end, *capacity;
    Text text;
} RuntimeError;

enum {
    MESSAGE_BYTES_MAX = 1 << 20,
    NAME_BYTES_MAX = 4096,
    FRAMES_MAX = 1 << 20,
    PLACE_MAX = 1 << 24, /* lines, columns */
};

/* Nothing reaches __cxa_throw but this: the one piece of state of the worker program that is not
 * passed along. */
static struct {
    void (*end)(void *context, Span message, const TemplatePlace *place);
    void *context;
    Span documents;
    unsigned last_line;
} watch;

void template_throw_watch(Span documents, unsigned last_line, void (*end)(void *context, Span message, const TemplatePlace *place),
                          void *context) {
    check(end && !watch.end && documents.size > 0); /* once a process */
    watch.last_line = last_line;
    watch.documents = documents;
    watch.context = context;
    watch.end = end;
}

/* A std::string ends with a NUL: a layout that is not this one is noticed. */
static bool is_text(const Text *text, size_t most) {
    return text->data && text->size < most && text->data[text->size] == '\0';
}

/* The innermost frame that is in one of the templates: what is further in is the standard
 * library's, or the wrapper's below them. */
static bool find_place(const RuntimeError *error, TemplatePlace *ret_place) {
    uintptr_t first = (uintptr_t)error->first, end = (uintptr_t)error->end;
    if (!first || end < first || (end - first) % sizeof(TraceFrame) != 0 || (end - first) / sizeof(TraceFrame) > FRAMES_MAX) return false;
    for (const TraceFrame *frame = error->first; frame < error->end; frame++) {
        if (!is_text(&frame->file, NAME_BYTES_MAX)) return false;
        if (frame->file.size <= watch.documents.size || memcmp(frame->file.data, watch.documents.data, watch.documents.size) != 0) continue;
        if (frame->line > watch.last_line && frame->line <= PLACE_MAX) continue;
        if (frame->line == 0 || frame->line > PLACE_MAX || frame->column > PLACE_MAX) return false;
        ret_place->document = (unsigned)strtoul(frame->file.data + watch.documents.size, NULL, 10);
        ret_place->line = (unsigned)frame->line;
        ret_place->column = (unsigned)frame->column;
        return true;
    }
    return false;
}

/* The name is the ABI's. */
_Noreturn void __cxa_throw(void *object, void *type, void (*destroy)(void *)); /* NOLINT */

_Noreturn void __cxa_throw(void *object, void *type, void (*destroy)(void *)) { /* NOLINT */
    const TypeInfo *info = type;
    if (watch.end && info && info->name && strcmp(info->name, "12RuntimeError") == 0) {
        const RuntimeError *error = object;
        TemplatePlace place;
        if (is_text(&error->text, MESSAGE_BYTES_MAX))
            watch.end(watch.context, (Span){error->text.data, error->text.size}, find_place(error, &place) ? &place : NULL);
    }
    typedef void (*Throw)(void *, void *, void (*)(void *));
    Throw next;
    void *symbol = dlsym(RTLD_NEXT, "__cxa_throw");
    check(symbol);
    memcpy(&next, &symbol, sizeof next); /* C has no cast for it */
    next(object, type, destroy);
    abort();
}
