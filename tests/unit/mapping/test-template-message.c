#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "mapping/template_message.h"

/* SPAN for static objects. */
#define TEXT(literal)                                                                                                                      \
    { .data = literal, .size = sizeof(literal) - 1 }

static Span payload_of(const Buffer *frame, TemplateFrameKind kind) {
    TemplateFrame got;
    assert_int_equal(template_frame_next(buffer_span(frame), &got), 0);
    assert_int_equal(got.kind, kind);
    assert_int_equal(got.bytes, frame->size);
    return got.payload;
}

/* Decodes a copy of its exact size, so that a read past the end is a fault. */
static int read_any(TemplateFrameKind kind, Span payload) {
    char *copy = malloc(payload.size + 1);
    assert_non_null(copy);
    if (payload.size > 0) memcpy(copy, payload.data, payload.size);
    char *exact = realloc(copy, payload.size > 0 ? payload.size : 1);
    assert_non_null(exact);
    Span bytes = {exact, payload.size};
    Arena arena = {0};
    TemplateLoad load;
    TemplateEventMessage event;
    TemplateResultMessage result;
    TemplateChildMessage child;
    TemplateDiedMessage died;
    Span reason;
    int r = -1;
    switch (kind) {
    case TEMPLATE_FRAME_LOAD: r = template_read_load(bytes, &arena, &load); break;
    case TEMPLATE_FRAME_EVENT: r = template_read_event(bytes, &arena, &event); break;
    case TEMPLATE_FRAME_RESULT: r = template_read_result(bytes, &result); break;
    case TEMPLATE_FRAME_CHILD: r = template_read_child(bytes, &child); break;
    case TEMPLATE_FRAME_DIED: r = template_read_died(bytes, &died); break;
    case TEMPLATE_FRAME_REFUSED: r = template_read_refused(bytes, &reason); break;
    }
    arena_deinit(&arena);
    free(exact);
    return r;
}

static const Span texts[] = {TEXT("Body('a')"), TEXT(""), TEXT("1\n+ 2")};
static const EventHeader headers[] = {{TEXT("accept"), TEXT("*/*")}, {TEXT("x"), TEXT("")}};

static const EventMeta meta = {.fields = META_BIT(META_TOPIC) | META_BIT(META_KEY) | META_BIT(META_OFFSET) | META_BIT(META_BRIDGE),
                               .values = {[META_TOPIC] = TEXT("t"), [META_KEY] = TEXT(""), [META_BRIDGE] = TEXT("\xff\0")}};

static void put_each(Buffer frames[6]) {
    template_put_load(&frames[0],
                      &(TemplateLoad){.check_only = true, .stack_frames = 500, .memory_bytes = 1u << 28, .count = 3, .texts = texts});
    template_put_event(&frames[1], &(TemplateEventMessage){.number = UINT64_MAX,
                                                           .first_template = 7,
                                                           .budget_usec = 1000000,
                                                           .kind = BODY_FORM,
                                                           .received = -5,
                                                           .body = SPAN("a=\0b"),
                                                           .ip = SPAN("::1"),
                                                           .headers = headers,
                                                           .header_count = 2,
                                                           .meta = &meta});
    template_put_result(&frames[2], &(TemplateResultMessage){.number = 9, .template_index = 2, .failed = true, .text = SPAN("why")});
    template_put_child(&frames[3], &(TemplateChildMessage){.serial = 3});
    template_put_died(&frames[4], &(TemplateDiedMessage){.serial = 3,
                                                         .death = TEMPLATE_DEATH_TIME,
                                                         .number = 11,
                                                         .template_index = 1,
                                                         .used_usec = 99,
                                                         .reason = SPAN("late"),
                                                         .results = SPAN("xyz")});
    template_put_refused(&frames[5], SPAN("no"));
}

static void free_each(Buffer frames[6]) {
    for (size_t i = 0; i < 6; i++) buffer_deinit(&frames[i]);
}

static void what_is_put_is_read(void **state) {
    Buffer frames[6] = {0};
    put_each(frames);
    Arena arena = {0};

    TemplateLoad load;
    assert_int_equal(template_read_load(payload_of(&frames[0], TEMPLATE_FRAME_LOAD), &arena, &load), 0);
    assert_true(load.check_only && load.stack_frames == 500 && load.memory_bytes == 1u << 28 && load.count == 3);
    for (size_t i = 0; i < 3; i++) assert_true(span_equal(load.texts[i], texts[i]));

    TemplateEventMessage event;
    assert_int_equal(template_read_event(payload_of(&frames[1], TEMPLATE_FRAME_EVENT), &arena, &event), 0);
    assert_true(event.number == UINT64_MAX && event.first_template == 7 && event.budget_usec == 1000000);
    assert_true(event.kind == BODY_FORM && event.received == -5 && event.header_count == 2);
    assert_true(span_equal(event.body, SPAN("a=\0b")) && span_equal(event.ip, SPAN("::1")));
    for (size_t i = 0; i < 2; i++)
        assert_true(span_equal(event.headers[i].name, headers[i].name) && span_equal(event.headers[i].value, headers[i].value));
    assert_int_equal(event.meta->fields, meta.fields);
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++) {
        assert_int_equal(event.meta->values[field].data != NULL, meta.values[field].data != NULL);
        assert_true(span_equal(event.meta->values[field], meta.values[field]));
    }
    assert_int_equal(template_event_bytes(&event), frames[1].size);

    TemplateResultMessage result;
    assert_int_equal(template_read_result(payload_of(&frames[2], TEMPLATE_FRAME_RESULT), &result), 0);
    assert_true(result.number == 9 && result.template_index == 2 && result.failed && span_equal(result.text, SPAN("why")));

    TemplateChildMessage child;
    assert_int_equal(template_read_child(payload_of(&frames[3], TEMPLATE_FRAME_CHILD), &child), 0);
    assert_int_equal(child.serial, 3);

    TemplateDiedMessage died;
    assert_int_equal(template_read_died(payload_of(&frames[4], TEMPLATE_FRAME_DIED), &died), 0);
    assert_true(died.serial == 3 && died.death == TEMPLATE_DEATH_TIME && died.number == 11 && died.template_index == 1 &&
                died.used_usec == 99);
    assert_true(span_equal(died.reason, SPAN("late")) && span_equal(died.results, SPAN("xyz")));

    Span reason;
    assert_int_equal(template_read_refused(payload_of(&frames[5], TEMPLATE_FRAME_REFUSED), &reason), 0);
    assert_true(span_equal(reason, SPAN("no")));
    arena_deinit(&arena);
    free_each(frames);
}

static void a_frame_that_is_cut_is_incomplete(void **state) {
    Buffer frames[6] = {0};
    put_each(frames);
    for (size_t i = 0; i < 6; i++) {
        TemplateFrame frame;
        for (size_t size = 0; size < frames[i].size; size++) {
            assert_int_equal(template_frame_next((Span){frames[i].data, size}, &frame), TEMPLATE_FRAME_INCOMPLETE);
            assert_true(frame.bytes > size);
        }
        /* A payload that is cut, or longer than its fields, is none. */
        TemplateFrameKind kind = (TemplateFrameKind)(i + 1);
        Span payload = payload_of(&frames[i], kind);
        assert_int_equal(read_any(kind, payload), 0);
        for (size_t size = 0; size < payload.size; size++) assert_int_equal(read_any(kind, (Span){payload.data, size}), -EBADMSG);
        buffer_append_byte(&frames[i], 'x');
        assert_int_equal(read_any(kind, (Span){frames[i].data + TEMPLATE_FRAME_HEAD_BYTES, payload.size + 1}), -EBADMSG);
    }
    free_each(frames);
}

static void a_head_that_is_wrong_is_refused_before_its_payload_comes(void **state) {
    static const struct {
        uint32_t size;
        unsigned char kind;
        int result;
    } heads[] = {
        {0, 0, -EBADMSG},
        {0, TEMPLATE_FRAME_REFUSED + 1, -EBADMSG},
        {0, 255, -EBADMSG},
        {5, TEMPLATE_FRAME_CHILD, -EBADMSG},
        {UINT32_MAX, TEMPLATE_FRAME_EVENT, -EBADMSG},
        {TEMPLATE_FRAME_BYTES_MAX + 1, TEMPLATE_FRAME_EVENT, -EBADMSG},
        {TEMPLATE_FRAME_BYTES_MAX, TEMPLATE_FRAME_EVENT, TEMPLATE_FRAME_INCOMPLETE},
        {TEMPLATE_RESULT_BYTES_MAX + 65, TEMPLATE_FRAME_RESULT, -EBADMSG},
        {1 << 20, TEMPLATE_FRAME_DIED, -EBADMSG},
        {1 << 20, TEMPLATE_FRAME_REFUSED, -EBADMSG},
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        Buffer frame = {0};
        buffer_put_u32(&frame, heads[i].size);
        buffer_put_u8(&frame, heads[i].kind);
        TemplateFrame got;
        assert_int_equal(template_frame_next(buffer_span(&frame), &got), heads[i].result);
        buffer_deinit(&frame);
    }
}

static void values_out_of_range_are_refused(void **state) {
    Buffer frames[6] = {0};
    put_each(frames);
    char *load = frames[0].data + TEMPLATE_FRAME_HEAD_BYTES, *event = frames[1].data + TEMPLATE_FRAME_HEAD_BYTES;
    char *result = frames[2].data + TEMPLATE_FRAME_HEAD_BYTES, *died = frames[4].data + TEMPLATE_FRAME_HEAD_BYTES;
    load[0] = 2; /* check_only */
    assert_int_equal(read_any(TEMPLATE_FRAME_LOAD, payload_of(&frames[0], TEMPLATE_FRAME_LOAD)), -EBADMSG);
    load[0] = 1;
    memset(load + 13, 0xff, 4); /* count: must not take 64 GB of memory either */
    assert_int_equal(read_any(TEMPLATE_FRAME_LOAD, payload_of(&frames[0], TEMPLATE_FRAME_LOAD)), -EBADMSG);
    memset(load + 13, 0, 4);
    assert_int_equal(read_any(TEMPLATE_FRAME_LOAD, payload_of(&frames[0], TEMPLATE_FRAME_LOAD)), -EBADMSG);
    event[20] = 3; /* kind */
    assert_int_equal(read_any(TEMPLATE_FRAME_EVENT, payload_of(&frames[1], TEMPLATE_FRAME_EVENT)), -EBADMSG);
    event[20] = 0;
    memset(event + 12, 0, 8); /* budget */
    assert_int_equal(read_any(TEMPLATE_FRAME_EVENT, payload_of(&frames[1], TEMPLATE_FRAME_EVENT)), -EBADMSG);
    event[12] = 1;
    assert_int_equal(read_any(TEMPLATE_FRAME_EVENT, payload_of(&frames[1], TEMPLATE_FRAME_EVENT)), 0);
    /* Behind the meta fields of the source and those that have a value there are a text of 1 byte,
     * one of none, and one of 2. */
    char *fields = frames[1].data + frames[1].size - (4 + 1 + 4 + 4 + 2) - 8, *there = fields + 4;
    assert_int_equal((unsigned char)fields[0] | (unsigned)fields[1] << 8, meta.fields);
    fields[1] |= META_BIT(META_FIELD_COUNT_) >> 8; /* a field that there is not */
    assert_int_equal(read_any(TEMPLATE_FRAME_EVENT, payload_of(&frames[1], TEMPLATE_FRAME_EVENT)), -EBADMSG);
    fields[1] ^= META_BIT(META_FIELD_COUNT_) >> 8;
    fields[0] ^= META_BIT(META_TOPIC); /* a value of a field that the source does not have */
    assert_int_equal(read_any(TEMPLATE_FRAME_EVENT, payload_of(&frames[1], TEMPLATE_FRAME_EVENT)), -EBADMSG);
    fields[0] ^= META_BIT(META_TOPIC);
    there[0] ^= META_BIT(META_OFFSET); /* and its value is not there */
    assert_int_equal(read_any(TEMPLATE_FRAME_EVENT, payload_of(&frames[1], TEMPLATE_FRAME_EVENT)), -EBADMSG);
    there[0] ^= META_BIT(META_OFFSET);
    assert_int_equal(read_any(TEMPLATE_FRAME_EVENT, payload_of(&frames[1], TEMPLATE_FRAME_EVENT)), 0);
    result[12] = 2; /* failed */
    assert_int_equal(read_any(TEMPLATE_FRAME_RESULT, payload_of(&frames[2], TEMPLATE_FRAME_RESULT)), -EBADMSG);
    died[4] = TEMPLATE_DEATH_KILLED + 1;
    assert_int_equal(read_any(TEMPLATE_FRAME_DIED, payload_of(&frames[4], TEMPLATE_FRAME_DIED)), -EBADMSG);
    free_each(frames);
}

/* Every byte of every frame turned to something else: whatever comes out, nothing outside the
 * payload is touched. */
static void changed_bytes_are_survived(void **state) {
    Buffer frames[6] = {0};
    put_each(frames);
    static const unsigned char values[] = {0, 1, 0x7f, 0x80, 0xff};
    size_t refused = 0;
    for (size_t i = 0; i < 6; i++) {
        for (size_t at = TEMPLATE_FRAME_HEAD_BYTES; at < frames[i].size; at++) {
            char before = frames[i].data[at];
            for (size_t v = 0; v < sizeof values; v++) {
                frames[i].data[at] = (char)values[v];
                Span payload = {frames[i].data + TEMPLATE_FRAME_HEAD_BYTES, frames[i].size - TEMPLATE_FRAME_HEAD_BYTES};
                refused += read_any((TemplateFrameKind)(i + 1), payload) < 0;
            }
            frames[i].data[at] = before;
        }
    }
    assert_true(refused > 100);
    free_each(frames);
}

static void reasons_are_cut(void **state) {
    char reason[2000];
    memset(reason, 'r', sizeof reason);
    Buffer frame = {0};
    template_put_result(&frame, &(TemplateResultMessage){.failed = true, .text = {reason, sizeof reason}});
    TemplateResultMessage result;
    assert_int_equal(template_read_result(payload_of(&frame, TEMPLATE_FRAME_RESULT), &result), 0);
    assert_int_equal(result.text.size, TEMPLATE_REASON_BYTES_MAX);
    /* A result that is none of the kind is as long as it is. */
    buffer_clear(&frame);
    template_put_result(&frame, &(TemplateResultMessage){.text = {reason, sizeof reason}});
    assert_int_equal(template_read_result(payload_of(&frame, TEMPLATE_FRAME_RESULT), &result), 0);
    assert_int_equal(result.text.size, sizeof reason);
    buffer_deinit(&frame);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_read),
        cmocka_unit_test(a_frame_that_is_cut_is_incomplete),
        cmocka_unit_test(a_head_that_is_wrong_is_refused_before_its_payload_comes),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(changed_bytes_are_survived),
        cmocka_unit_test(reasons_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
