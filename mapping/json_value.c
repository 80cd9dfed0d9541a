#include "mapping/json_value.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/error.h"
#include "mapping/json_text.h"
#include "mapping/value.h"
#include "mapping/words.h"

#define FEW_KEYS 8 /* are compared with each other */

typedef struct Member {
    Span key;               /* what it means */
    const char *from, *end; /* from the comma before it, or its object's bracket, to behind its value */
} Member;

typedef struct Walk {
    const char *end;
    Member *members; /* of the objects that are open, the innermost ones last */
    size_t count, room;
    Member *repeated; /* that are to be left out */
    size_t repeated_count, repeated_room;
    Arena arena; /* keys with escapes */
    const char *reason;
} Walk;

static const char *pass_space(const char *p) {
    while (text_is_space(*p)) p++;
    return p;
}

static unsigned hex4(const char *p) {
    return (unsigned)(text_hex(p[0]) << 12 | text_hex(p[1]) << 8 | text_hex(p[2]) << 4 | text_hex(p[3]));
}

/* Of the text between quotes. NULL: all of it has a meaning that can be stored. */
static const char *wrong_escape(const char *p, const char *end) {
    while ((p = memchr(p, '\\', (size_t)(end - p)))) {
        bool is_code = p[1] == 'u';
        unsigned code = is_code ? hex4(p + 2) : 1;
        p += is_code ? 6 : 2;
        if (code == 0) return "contains the character \\u0000, which a json column cannot store; a jsonText column can";
        if (code < 0xd800 || code > 0xdfff) continue;
        bool is_pair = code <= 0xdbff && end - p >= 6 && p[0] == '\\' && p[1] == 'u' && hex4(p + 2) >= 0xdc00 && hex4(p + 2) <= 0xdfff;
        if (!is_pair) return "contains half a surrogate pair, which a json column cannot store; a jsonText column can";
        p += 6;
    }
    return NULL;
}

/* Behind the string that begins at `p`. */
static const char *pass_string(Walk *walk, const char *p, bool *ret_escaped) {
    const char *start = ++p;
    *ret_escaped = false;
    for (;;) {
        const char *quote = memchr(p, '"', (size_t)(walk->end - p));
        check(quote);
        const char *escape = memchr(p, '\\', (size_t)(quote - p));
        if (!escape) {
            if (*ret_escaped && !walk->reason) walk->reason = wrong_escape(start, quote);
            return quote + 1;
        }
        *ret_escaped = true;
        p = escape + 2;
    }
}

static const char *pass_number(Walk *walk, const char *p) {
    const char *start = p;
    while (p < walk->end && (text_is_digit(*p) || strchr("+-.eE", *p))) p++;
    if (!value_is_json_number((Span){start, (size_t)(p - start)}) && !walk->reason)
        walk->reason = "holds a number with more than 131,072 digits before or 16,383 after the point, which a json column cannot store";
    return p;
}

static int compare_keys(const Member *a, const Member *b) {
    if (a->key.size != b->key.size) return a->key.size < b->key.size ? -1 : 1;
    return a->key.size ? memcmp(a->key.data, b->key.data, a->key.size) : 0;
}

/* Equal keys stand together, in their order in the text. */
static int compare_members(const void *a, const void *b) {
    const Member *x = a, *y = b;
    int order = compare_keys(x, y);
    return order ? order : x->from < y->from ? -1 : x->from > y->from;
}

static int compare_places(const void *a, const void *b) {
    const Member *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

static void add_repeated(Walk *walk, const Member *member) {
    array_reserve(walk->repeated, walk->repeated_count, walk->repeated_room);
    walk->repeated[walk->repeated_count++] = *member;
}

/* Those from `first` on are the members of an object that ends. */
static void find_repeated(Walk *walk, size_t first) {
    Member *members = walk->members + first;
    size_t count = walk->count - first;
    if (count <= FEW_KEYS) {
        for (size_t i = 1; i < count; i++)
            for (size_t k = 0; k < i; k++) {
                if (compare_keys(&members[k], &members[i]) != 0) continue;
                add_repeated(walk, &members[i]);
                break;
            }
    } else {
        qsort(members, count, sizeof *members, compare_members);
        for (size_t i = 1; i < count; i++)
            if (compare_keys(&members[i - 1], &members[i]) == 0) add_repeated(walk, &members[i]);
    }
    walk->count = first;
}

static const char *pass_value(Walk *walk, const char *p);

static const char *pass_object(Walk *walk, const char *p) {
    size_t first = walk->count;
    while (*p != '}') {
        Member member = {.from = p};
        const char *key = pass_space(p + 1);
        if (*key == '}') {
            p = key;
            break;
        }
        bool escaped;
        p = pass_string(walk, key, &escaped);
        member.key = (Span){key + 1, (size_t)(p - key) - 2};
        if (escaped && !walk->reason) {
            Buffer meant = {0};
            check(json_unescape(&meant, member.key) == 0); /* it has no half of a pair */
            member.key = (Span){arena_copy(&walk->arena, buffer_span(&meant)), meant.size};
            buffer_deinit(&meant);
        }
        array_reserve(walk->members, walk->count, walk->room);
        size_t number = walk->count++;
        walk->members[number] = member;
        p = pass_space(p);
        check(*p == ':');
        p = pass_value(walk, p + 1);
        walk->members[number].end = p;
        p = pass_space(p);
    }
    find_repeated(walk, first);
    return p + 1;
}

static const char *pass_array(Walk *walk, const char *p) {
    while (*p != ']') {
        p = pass_space(p + 1);
        if (*p == ']') break;
        p = pass_space(pass_value(walk, p));
    }
    return p + 1;
}

/* It calls itself at most as deep as a document that is accepted is nested. */
static const char *pass_value(Walk *walk, const char *p) {
    bool escaped;
    p = pass_space(p);
    switch (*p) {
    case '"': return pass_string(walk, p, &escaped);
    case '{': return pass_object(walk, p);
    case '[': return pass_array(walk, p);
    case 't':
    case 'n': return p + 4;
    case 'f': return p + 5;
    default: return pass_number(walk, p);
    }
}

static void put_without(const Walk *walk, Span json, Buffer *out) {
    const char *at = json.data;
    for (size_t i = 0; i < walk->repeated_count; i++) {
        const Member *member = &walk->repeated[i];
        if (member->from < at) continue; /* inside of one that is left out */
        check(*member->from == ',');     /* the first member of an object repeats none */
        buffer_append(out, at, (size_t)(member->from - at));
        at = member->end;
    }
    buffer_append(out, at, (size_t)(json.data + json.size - at));
}

int json_value_read(Span json, Buffer *ret_unique, const char **ret_reason) {
    Walk walk = {.end = json.data + json.size};
    (void)pass_value(&walk, json.data);
    int r = walk.reason ? JSON_VALUE_DOES_NOT_FIT : walk.repeated_count > 0 ? JSON_VALUE_REPEATS : 0;
    *ret_reason = walk.reason;
    if (r == JSON_VALUE_REPEATS) {
        qsort(walk.repeated, walk.repeated_count, sizeof *walk.repeated, compare_places);
        put_without(&walk, json, ret_unique);
    }
    free(walk.members);
    free(walk.repeated);
    arena_deinit(&walk.arena);
    return r;
}
