/* The broker against workers that lie: this program is started again as the worker, and the
 * template's text says what it does wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "gateway/templates/broker.h"
#include "mapping/template_message.h"

enum { CONTROL_FD = 3, REPLY = 5, EVENTS = 5 };
#define PATIENCE (60 * USEC_SECOND)

/* -- the worker -- */

static void send_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0) _exit(0);
        data += sent;
        size -= (size_t)sent;
    }
}

static void send_frame(int fd, Buffer *frame) {
    send_all(fd, frame->data, frame->size);
    buffer_deinit(frame);
}

static void send_child(uint32_t serial, int descriptor, size_t descriptors) {
    Buffer frame = {0};
    template_put_child(&frame, &(TemplateChildMessage){.serial = serial});
    char room[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec part = {.iov_base = frame.data, .iov_len = frame.size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors > 0) {
        message.msg_control = room;
        message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
        for (size_t i = 0; i < descriptors; i++) memcpy(CMSG_DATA(head) + i * sizeof(int), &descriptor, sizeof(int));
    }
    if (sendmsg(CONTROL_FD, &message, MSG_NOSIGNAL) != (ssize_t)frame.size) _exit(0);
    buffer_deinit(&frame);
}

static void send_died(const TemplateDiedMessage *died) {
    Buffer frame = {0};
    template_put_died(&frame, died);
    send_frame(CONTROL_FD, &frame);
}

static void receive(int fd, Buffer *in, TemplateFrame *ret_frame) {
    for (;;) {
        int r = template_frame_next(buffer_span(in), ret_frame);
        if (r == 0) return;
        if (r < 0) _exit(1);
        ssize_t got = read(fd, buffer_reserve(in, 4096), 4096);
        if (got <= 0) _exit(0);
        in->size += (size_t)got;
    }
}

static void send_result(int data, uint64_t number, uint32_t template_index) {
    Buffer frame = {0};
    template_put_result(&frame, &(TemplateResultMessage){.number = number, .template_index = template_index, .text = SPAN("\"lie\"")});
    send_frame(data, &frame);
}

static bool is(Span text, const char *name) {
    return span_equal(text, span_of(name));
}

static _Noreturn void wait_for_the_end(void) {
    for (;;) (void)pause();
}

/* Children that end at once, one after the other: no frame of it is wrong by itself. */
static _Noreturn void die_for_ever(void) {
    for (uint32_t serial = 1;; serial++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) _exit(1);
        send_child(serial, ends[1], 1);
        (void)close(ends[0]);
        (void)close(ends[1]);
        send_died(&(TemplateDiedMessage){.serial = serial, .death = TEMPLATE_DEATH_KILLED, .number = UINT64_MAX});
    }
}

static _Noreturn void lie_about_data(Span text, int data, uint64_t number) {
    if (is(text, "other number")) send_result(data, number + 1, 0);
    if (is(text, "number before")) send_result(data, number - 1, 0);
    if (is(text, "largest number")) send_result(data, UINT64_MAX, 0);
    if (is(text, "other template")) send_result(data, number, 1);
    if (is(text, "largest template")) send_result(data, number, UINT32_MAX);
    if (is(text, "twice")) {
        send_result(data, number, 0);
        send_result(data, number, 0);
    }
    if (is(text, "huge frame")) send_all(data, "\xff\xff\xff\xff\x03", 5);
    if (is(text, "unknown kind")) send_all(data, "\1\0\0\0\x63\0", 6);
    if (is(text, "short result")) send_all(data, "\2\0\0\0\3\0\0", 7);
    if (is(text, "size beyond")) send_all(data, "\x11\0\0\0\3\1\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\x7f", 22);
    if (is(text, "late refusal")) {
        Buffer frame = {0};
        template_put_refused(&frame, SPAN("lie"));
        send_frame(CONTROL_FD, &frame);
    }
    if (is(text, "died with results")) {
        Buffer results = {0};
        for (unsigned i = 0; i < 1000; i++)
            template_put_result(&results, &(TemplateResultMessage){.number = number + i, .text = SPAN("\"lie\"")});
        send_died(&(TemplateDiedMessage){.serial = 1, .results = buffer_span(&results)});
    }
    if (is(text, "died with half a result")) send_died(&(TemplateDiedMessage){.serial = 1, .results = SPAN("\x20\0\0")});
    if (is(text, "other one died")) send_died(&(TemplateDiedMessage){.serial = 9});
    if (is(text, "died with much time"))
        send_died(&(TemplateDiedMessage){.serial = 1, .death = TEMPLATE_DEATH_ERROR, .number = number, .used_usec = UINT64_MAX});
    if (is(text, "end of data")) {
        (void)close(data);
    }
    wait_for_the_end();
}

static void answer_all(int data, Buffer *in) {
    for (;;) {
        TemplateFrame frame;
        receive(data, in, &frame);
        Arena arena = {0};
        TemplateEventMessage event;
        if (template_read_event(frame.payload, &arena, &event) < 0) _exit(1);
        arena_deinit(&arena);
        size_t rest = in->size - frame.bytes;
        uint64_t number = event.number;
        memmove(in->data, in->data + frame.bytes, rest);
        in->size = rest;
        send_result(data, number, 0);
    }
}

static _Noreturn void work(void) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    Buffer in = {0};
    Arena arena = {0};
    TemplateFrame frame;
    TemplateLoad load;
    receive(CONTROL_FD, &in, &frame);
    if (template_read_load(frame.payload, &arena, &load) < 0) _exit(1);
    Span text = load.texts[0];
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) _exit(1);

    if (is(text, "silence")) wait_for_the_end();
    if (is(text, "end")) _exit(0);
    if (is(text, "for ever")) die_for_ever();
    if (is(text, "noise"))
        for (;;) send_all(CONTROL_FD, "noise", 5);
    if (is(text, "died before")) send_died(&(TemplateDiedMessage){.serial = 1});
    send_child(is(text, "other serial") ? 7 : 1, ends[1], is(text, "no descriptor") ? 0 : is(text, "two descriptors") ? 2 : 1);
    if (is(text, "two children")) send_child(2, ends[1], 1);
    (void)close(ends[1]);
    Buffer data_in = {0};
    if (is(text, "honest")) answer_all(ends[0], &data_in);
    TemplateEventMessage event;
    receive(ends[0], &data_in, &frame);
    if (template_read_event(frame.payload, &arena, &event) < 0) _exit(1);
    lie_about_data(text, ends[0], event.number);
}

/* -- the broker -- */

static char own_path[4096];
static const TemplateLimits limits = {
    .stack_frames = 500, .memory_bytes = 256u << 20, .wall_usec = USEC_SECOND / 10, .workers = 2, .zygotes = 8};

static size_t descriptors(void) {
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder)) count++;
    (void)closedir(folder);
    return count;
}

static TemplateBatch *batch_of(const char *text, Mailbox *reply) {
    json_t *body = json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:[{s:s, s:s, s:{s:s, s:s}}]}}}", "sinkId", "k", "name", "k", "type", "table",
                             "table", "tableId", "k", "mapping", "columns", "type", "template", "name", "t", "template", "language",
                             "jsonnet", "content", text);
    assert_non_null(body);
    Sink *sink;
    Plan *plan;
    Error error = {0};
    if (sink_from_request(body, true, &sink, &error) < 0) fail_msg("%s", error.text);
    json_decref(body);
    Source source = {.source_id = (char *)"source"};
    if (plan_compile(&source, &sink, 1, &plan, &error) < 0) fail_msg("%s", error.text);
    sink_unref(sink);
    TemplateBatch *batch = template_batch_new(plan, EVENTS, reply, REPLY);
    for (size_t i = 0; i < EVENTS; i++) batch->events[i].event = (Event){.body = SPAN("{}"), .kind = BODY_JSON};
    return batch;
}

static TemplateBatch *take(Mailbox *reply) {
    if (!mailbox_wait(reply, PATIENCE)) fail_msg("no batch came back");
    return (TemplateBatch *)(void *)mailbox_take(reply);
}

static size_t count_failed(const TemplateBatch *batch) {
    size_t failed = 0;
    for (size_t i = 0; i < EVENTS; i++) failed += batch->events[i].results[0].failed;
    return failed;
}

static void start(Templates **ret_templates) {
    Error error = {0};
    assert_int_equal(templates_start(&limits, own_path, ret_templates, &error), 0);
}

static void a_lie_fails_the_events_that_it_is_about(void **state) {
    static const struct {
        const char *text;
        size_t true_ones; /* results that were right when they came */
    } lies[] = {
        {"end", 0},
        {"noise", 0},
        {"died before", 0},
        {"other serial", 0},
        {"no descriptor", 0},
        {"other number", 0},
        {"number before", 0},
        {"largest number", 0},
        {"other template", 0},
        {"largest template", 0},
        {"huge frame", 0},
        {"unknown kind", 0},
        {"short result", 0},
        {"size beyond", 0},
        {"late refusal", 0},
        {"other one died", 0},
        {"two descriptors", 0},
        {"died with half a result", 0},
        {"two children", 0},
        {"twice", EVENTS},
        {"died with results", EVENTS},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        size_t before = descriptors();
        Templates *templates;
        start(&templates);
        Mailbox *reply = mailbox_new(NULL, NULL);
        templates_post(templates, batch_of(lies[i].text, reply));
        TemplateBatch *batch = take(reply);
        if (count_failed(batch) != EVENTS - lies[i].true_ones)
            fail_msg("%s: %zu failed, %.*s", lies[i].text, count_failed(batch), (int)batch->events[0].results[0].text.size,
                     batch->events[0].results[0].text.data);
        template_batch_free(batch);
        templates_free(templates);
        mailbox_free(reply);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        if (descriptors() != before) fail_msg("%s: %zu descriptors, %zu before", lies[i].text, descriptors(), before);
    }
}

/* While others wait for what never comes, or for one that always has something to say, an honest
 * worker's events go on. */
static void a_liar_holds_nobody_up(void **state) {
    static const char *const lies[] = {"for ever", "silence", "end of data", "died with much time"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        size_t before = descriptors();
        Templates *templates;
        start(&templates);
        Mailbox *lied = mailbox_new(NULL, NULL), *reply = mailbox_new(NULL, NULL);
        templates_post(templates, batch_of(lies[i], lied));
        for (size_t round = 0; round < 20; round++) {
            templates_post(templates, batch_of("honest", reply));
            TemplateBatch *batch = take(reply);
            assert_int_equal(count_failed(batch), 0);
            template_batch_free(batch);
        }
        templates_free(templates);
        TemplateBatch *batch = take(lied);
        assert_int_equal(count_failed(batch), EVENTS);
        template_batch_free(batch);
        mailbox_free(lied);
        mailbox_free(reply);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        if (descriptors() != before) fail_msg("%s: %zu descriptors, %zu before", lies[i], descriptors(), before);
    }
}

int main(int argc, char **argv) {
    if (argc > 0 && strcmp(argv[0], "sluice-template-worker") == 0) work();
    if (readlink("/proc/self/exe", own_path, sizeof own_path - 1) < 0) return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lie_fails_the_events_that_it_is_about),
        cmocka_unit_test(a_liar_holds_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
