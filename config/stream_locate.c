/* Faults of what a stream manifest was translated into, at their places in the manifest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/stream_manifest.h"

#define STEPS_MAX 16

/* How many bytes of `path` are that origin's field, or hold it; 0: not. */
static size_t matches(const StreamOrigin *origin, const char *path) {
    size_t size = strlen(origin->to);
    return strncmp(path, origin->to, size) == 0 && (path[size] == '/' || !path[size]) ? size : 0;
}

/* Of a pointer: '~0' and '~1' are '~' and '/'. */
static char *step_text(const char *step, size_t size) {
    char *text = text_copy_span((Span){step, size}), *to = text;
    for (const char *from = text; *from; from++) {
        bool is_escaped = *from == '~' && (from[1] == '0' || from[1] == '1');
        *to++ = is_escaped ? (from[1] == '1' ? '/' : '~') : *from;
        from += is_escaped;
    }
    *to = 0;
    return text;
}

static Node step_into(const Node *parent, const char *step) {
    if (json_is_array(parent->value)) return node_item(parent, strtoul(step, NULL, 10));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)parent->value, key, value) /* the key must outlive `step` */
        if (strcmp(key, step) == 0) return (Node){.value = value, .parent = parent, .key = key};
    return (Node){0};
}

/* The fault is said of the deepest field on the way of the pointer that the manifest has. */
static void say_of(const Node *root, const char *pointer, Fault *fault) {
    static const char start[] = "Field \"";
    const char *end = fault->error ? strstr(fault->error->text, "\" ") : NULL;
    Node way[STEPS_MAX] = {*root};
    size_t count = 1;
    while (*pointer && count < STEPS_MAX) {
        size_t size = strcspn(pointer, "/");
        _cleanup_free_ char *step = step_text(pointer, size);
        Node next = step_into(&way[count - 1], step);
        if (!next.value) break;
        way[count++] = next;
        pointer += size + (pointer[size] == '/');
    }
    bool at_key = fault->at_key && !*pointer;
    if (count > 1 && end && strncmp(fault->error->text, start, strlen(start)) == 0) {
        _cleanup_free_ char *words = text_copy(end + strlen("\" "));
        (void)fault_at(fault, &way[count - 1], "%s", words);
        fault->at_key = at_key;
    }
}

void stream_translation_locate(const StreamTranslation *translation, const Node *root, Fault *fault) {
    const StreamOrigin *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < translation->origin_count; i++) { /* of equal ones the last: options come behind the address */
        size_t size = matches(&translation->origins[i], fault->path);
        if (size == 0 || size < most) continue;
        best = &translation->origins[i];
        most = size;
    }
    char path[2 * sizeof fault->path];
    (void)snprintf(path, sizeof path, "%s%s", best ? best->from : "spec", best ? fault->path + most : "");
    if (strlen(path) >= sizeof fault->path) return;
    memcpy(fault->path, path, strlen(path) + 1);
    if (best) say_of(root, path, fault);
}
