#include "mapping/form.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/keyed_hash.h"
#include "mapping/json_text.h"
#include "mapping/words.h"

#define NO_NODE UINT32_MAX
#define NOT_AN_INDEX (-1)
#define INDEX_MAX 999999999

/* A place in the form's tree; texts are in Form.text, places in Form.nodes, both by number since
 * they move. */
typedef struct FormNode {
    uint64_t key_hash; /* long names that differ at their ends only would take long to compare with each other */
    uint32_t key_at, key_size;
    uint32_t value_at, value_size; /* of a leaf */
    uint32_t first, last, next;    /* children in order, next sibling */
    int64_t index;                 /* of a key that is a number up to INDEX_MAX */
    int64_t next_index;            /* that [] takes */
    uint32_t child_count;
    bool leaf;
    bool list; /* the keys so far are 0, 1, 2, … */
} FormNode;

static FormNode *node_at(const Form *form, uint32_t number) {
    check_debug((size_t)number < form->nodes.size / sizeof(FormNode));
    return (FormNode *)(void *)form->nodes.data + number;
}

static uint32_t node_new(Form *form, FormNode node) {
    check(form->nodes.size / sizeof node < NO_NODE);
    uint32_t number = (uint32_t)(form->nodes.size / sizeof node);
    node.first = node.last = node.next = NO_NODE;
    node.list = true;
    buffer_append(&form->nodes, &node, sizeof node);
    return number;
}

static int64_t index_of(Span key) {
    if (key.size == 0 || key.size > 9 || (key.size > 1 && *key.data == '0')) return NOT_AN_INDEX;
    int64_t value = 0;
    for (size_t i = 0; i < key.size; i++) {
        if (!text_is_digit(key.data[i])) return NOT_AN_INDEX;
        value = value * 10 + (key.data[i] - '0');
    }
    return value;
}

/* The child of `parent` with this key, made if it is not there. A key of size 0 with `append` is
 * []. */
static uint32_t child_of(Form *form, uint32_t parent, Span key, bool append) {
    int64_t index = append ? node_at(form, parent)->next_index : index_of(key);
    uint64_t hash = index == NOT_AN_INDEX ? keyed_hash(hash_key_of_process(), key.data, key.size) : 0;
    if (!append) {
        for (uint32_t at = node_at(form, parent)->first; at != NO_NODE; at = node_at(form, at)->next) {
            const FormNode *node = node_at(form, at);
            if (index != NOT_AN_INDEX ? node->index == index
                                      : node->index == NOT_AN_INDEX && node->key_hash == hash &&
                                            span_equal((Span){form->text.data + node->key_at, node->key_size}, key))
                return at;
        }
    }
    FormNode fresh = {.index = index};
    if (index == NOT_AN_INDEX) {
        check(key.data >= form->text.data && key.data + key.size <= form->text.data + form->text.size);
        fresh.key_at = (uint32_t)(key.data - form->text.data);
        fresh.key_size = (uint32_t)key.size;
        fresh.key_hash = hash;
    }
    uint32_t number = node_new(form, fresh);
    FormNode *node = node_at(form, parent);
    if (node->last == NO_NODE)
        node->first = number;
    else
        node_at(form, node->last)->next = number;
    check((node->last == NO_NODE) == (node->child_count == 0) && !node->leaf); /* a leaf has no children */
    node->last = number;
    node->list = node->list && index == (int64_t)node->child_count;
    node->child_count++;
    if (index >= node->next_index) node->next_index = index + 1;
    return number;
}

/* Percent and plus decoding, appended to the text (which has room). NULL, or where it is wrong. */
static const char *decode(Form *form, Span part, Span *ret, const char **ret_what) {
    char *start = form->text.data + form->text.size;
    const char *wrong;
    ptrdiff_t size = text_percent_decode(part, true, start, &wrong);
    *ret_what = "% needs two hexadecimal digits";
    if (size < 0) return wrong;
    *ret = (Span){start, (size_t)size};
    check(ret->size <= form->text.capacity - form->text.size); /* decoding makes nothing longer */
    form->text.size += ret->size;
    *ret_what = "the decoded text is not UTF-8";
    for (size_t at = 0; at < ret->size; at++) { /* NUL is text here */
        at += text_check((Span){start + at, ret->size - at});
        if (at < ret->size && start[at]) return part.data;
    }
    return NULL;
}

/* Does `name` end in whole brackets, how many, and where do they begin? name.size: no brackets. */
static size_t brackets_at(Span name, size_t *ret_count) {
    *ret_count = 0;
    const char *open = name.size ? memchr(name.data, '[', name.size) : NULL;
    if (!open || open == name.data) return name.size;
    const char *p = open, *end = name.data + name.size;
    size_t count = 0;
    for (; p < end; count++) {
        const char *close = *p == '[' ? memchr(p, ']', (size_t)(end - p)) : NULL;
        if (!close) return name.size;
        p = close + 1;
    }
    *ret_count = count;
    return (size_t)(open - name.data);
}

/* The leaf of `name`; NO_NODE: an earlier pair has its place; or a fault. */
static int find_leaf(Form *form, Span name, uint32_t *ret_leaf, const char **ret_what) {
    size_t depth, at = brackets_at(name, &depth);
    *ret_what = "a name has more than 32 brackets";
    if (depth > FORM_DEPTH_MAX) return FORM_NOT_A_FORM;
    uint32_t place = child_of(form, 0, (Span){name.data, at}, false);
    while (at < name.size && !node_at(form, place)->leaf) {
        const char *start = name.data + at + 1, *close = memchr(start, ']', name.size - at - 1);
        check(close); /* brackets_at has seen it */
        Span key = {start, (size_t)(close - start)};
        *ret_what = "no index can follow 999999999 for []";
        if (key.size == 0 && node_at(form, place)->next_index > INDEX_MAX) return FORM_NOT_A_FORM;
        place = child_of(form, place, key, key.size == 0);
        at = (size_t)(close + 1 - name.data);
    }
    const FormNode *node = node_at(form, place);
    *ret_leaf = at < name.size || node->leaf || node->child_count ? NO_NODE : place;
    return 0;
}

static void put_node(const Form *form, Buffer *out, uint32_t number) {
    const FormNode *node = node_at(form, number);
    if (node->leaf) {
        json_quote(out, (Span){form->text.data + node->value_at, node->value_size});
        return;
    }
    bool array = node->list && number != 0;
    buffer_append_byte(out, array ? '[' : '{');
    for (uint32_t at = node->first; at != NO_NODE; at = node_at(form, at)->next) {
        const FormNode *child = node_at(form, at);
        if (at != node->first) buffer_append_byte(out, ',');
        if (!array) {
            char digits[24];
            Span key = {form->text.data + child->key_at, child->key_size};
            if (child->index != NOT_AN_INDEX) key = (Span){digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, child->index)};
            json_quote(out, key);
            buffer_append_byte(out, ':');
        }
        put_node(form, out, at); /* at most FORM_DEPTH_MAX + 1 levels */
    }
    buffer_append_byte(out, array ? ']' : '}');
}

static int fault_at(Span body, const char *at, const char *what, ScanFault *ret_fault) {
    *ret_fault = (ScanFault){.offset = (size_t)(at - body.data), .what = what};
    return FORM_NOT_A_FORM;
}

int form_read(Form *form, Span body, Buffer *out, ScanFault *ret_fault) {
    check(body.size < UINT32_MAX);
    if (!body.data) body.data = "";
    buffer_clear(&form->text);
    buffer_clear(&form->nodes);
    buffer_reserve(&form->text, body.size + 1);
    node_new(form, (FormNode){.index = NOT_AN_INDEX});
    size_t pairs = 0;
    for (size_t at = 0; at < body.size;) {
        const char *start = body.data + at, *stop = memchr(start, '&', body.size - at);
        size_t size = stop ? (size_t)(stop - start) : body.size - at;
        at += size + 1;
        if (size == 0) continue;
        if (++pairs > FORM_PAIRS_MAX) return fault_at(body, start, "more than 1,000 fields", ret_fault);
        const char *equals = memchr(start, '=', size), *what = NULL;
        Span name = {start, equals ? (size_t)(equals - start) : size};
        Span value = {name.data + name.size + (equals ? 1 : 0), size - name.size - (equals ? 1 : 0)};
        const char *bad = decode(form, name, &name, &what);
        if (!bad) bad = decode(form, value, &value, &what);
        if (bad) return fault_at(body, bad, what, ret_fault);
        uint32_t leaf;
        if (find_leaf(form, name, &leaf, &what)) return fault_at(body, start, what, ret_fault);
        if (leaf == NO_NODE) continue;
        FormNode *node = node_at(form, leaf);
        check(!node->leaf && node->child_count == 0);
        node->leaf = true;
        node->value_at = (uint32_t)(value.data - form->text.data);
        node->value_size = (uint32_t)value.size;
    }
    check(pairs <= FORM_PAIRS_MAX && form->text.size <= body.size + 1);
    put_node(form, out, 0);
    return 0;
}

void form_deinit(Form *form) {
    buffer_deinit(&form->text);
    buffer_deinit(&form->nodes);
}

int form_to_json(Span body, Buffer *out, Error *error) {
    Form form = {0};
    ScanFault fault;
    int r = form_read(&form, body, out, &fault);
    form_deinit(&form);
    return r ? error_set(error, -EBADMSG, "%s at byte %zu", fault.what, fault.offset) : 0;
}
