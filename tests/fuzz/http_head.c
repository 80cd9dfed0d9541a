/*
 * Heads of HTTP/1 requests: any bytes (what letters a name may have is libh2o's question). A head
 * that is taken is inside them, ends where its empty line does, and says the same whatever follows
 * it; none of its beginnings is taken; its lines are what http_head_next gives, and none of them is
 * folded or lacks a name.
 */
#include <string.h>

#include "base/buffer.h"
#include "gateway/http/head.h"
#include "tests/fuzz/fuzz.h"

static Guard guard;

static bool inside(Span part, Span whole) {
    return part.data >= whole.data && part.size <= whole.size && part.data - whole.data <= (ptrdiff_t)(whole.size - part.size);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

static void check_lines(const HttpHead *head) {
    Span lines = head->lines, name, value;
    size_t lengths = 0, hosts = 0, encodings = 0;
    while (http_head_next(&lines, &name, &value)) {
        check(name.size > 0 && inside(name, head->lines) && inside(value, head->lines));
        check(!memchr(name.data, ':', name.size) && !memchr(name.data, '\n', name.size));
        check(!is_space(name.data[0]) && !is_space(name.data[name.size - 1]));
        if (value.size) check(!memchr(value.data, '\n', value.size) && !memchr(value.data, '\r', value.size));
        if (value.size) check(!is_space(value.data[0]) && !is_space(value.data[value.size - 1]));
        if (span_equal_nocase(name, SPAN("content-length"))) lengths++;
        if (span_equal_nocase(name, SPAN("host"))) hosts++;
        if (span_equal_nocase(name, SPAN("transfer-encoding"))) encodings++;
        check(http_head_find(head, name).data != NULL);
    }
    check(lines.size == 0);
    check(lengths == (head->has_length ? 1 : 0) && encodings == (head->chunked ? 1 : 0) && !(head->has_length && head->chunked));
    check(hosts == 1 || (hosts == 0 && head->minor == 0));
}

static void check_good(Span bytes, const HttpHead *head) {
    Span whole = {bytes.data, head->size};
    check(head->size <= bytes.size && head->size > 4);
    check(inside(head->method, whole) && inside(head->target, whole) && inside(head->lines, whole));
    check(head->method.size && head->target.size && head->minor <= 9);
    check(bytes.data[head->size - 1] == '\n');
    check_lines(head);
    HttpHead other;
    size_t step = head->size / 32 + 1;
    for (size_t size = 0; size < head->size; size += step) check(http_head_check((Span){bytes.data, size}, &other) != HEAD_OK);
    check(http_head_check((Span){bytes.data, head->size - 1}, &other) != HEAD_OK);
    check(http_head_check(whole, &other) == HEAD_OK && other.size == head->size && other.length == head->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Span bytes = fuzz_guarded(&guard, fuzz_input(data, size));
    HttpHead head = {0};
    switch (http_head_check(bytes, &head)) {
    case HEAD_OK: check_good(bytes, &head); break;
    case HEAD_INCOMPLETE: break;
    case HEAD_BAD: check(head.reason && head.reason[0]); break;
    }
    return 0;
}
