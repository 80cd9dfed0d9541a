#include "gateway/templates/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

/* -- batches -- */

static void drop_batch(Request *request) {
    template_batch_free((TemplateBatch *)request);
}

TemplateBatch *template_batch_new(Plan *take_plan, size_t count, Mailbox *reply, int reply_kind) {
    TemplateBatch *batch = calloc(1, sizeof *batch);
    check(batch);
    batch->plan = take_plan;
    batch->request.reply = reply;
    batch->request.drop = drop_batch;
    batch->reply_kind = reply_kind;
    batch->count = batch->left = count;
    batch->events = arena_zalloc(&batch->arena, count * sizeof *batch->events);
    size_t templates = plan_template_count(take_plan);
    TemplateResult *results = arena_alloc(&batch->arena, count * templates * sizeof *results);
    for (size_t i = 0; i < count * templates; i++)
        results[i] = (TemplateResult){.failed = true, .text = SPAN("the server is shutting down")};
    for (size_t i = 0; i < count; i++) batch->events[i] = (TemplateEvent){.results = results + i * templates, .unavailable = true};
    return batch;
}

void template_batch_free(TemplateBatch *batch) {
    if (!batch) return;
    check(batch->left == 0 || batch->left == batch->count); /* the broker gives it back whole */
    plan_unref(batch->plan);
    arena_deinit(&batch->arena);
    free(batch);
}

/* -- checks -- */

static void drop_check(Request *request) {
    template_check_free((TemplateCheck *)request);
}

TemplateCheck *template_check_new(Mailbox *reply, int reply_kind) {
    TemplateCheck *asked = calloc(1, sizeof *asked);
    check(asked);
    asked->request.reply = reply;
    asked->request.drop = drop_check;
    asked->reply_kind = reply_kind;
    return asked;
}

void template_check_add(TemplateCheck *asked, const char *text) {
    for (size_t i = 0; i < asked->count; i++)
        if (strcmp(asked->texts[i], text) == 0) return;
    array_extend(asked->texts, asked->count);
    asked->texts[asked->count++] = text_copy(text);
}

void template_check_free(TemplateCheck *asked) {
    if (!asked) return;
    for (size_t i = 0; i < asked->count; i++) free(asked->texts[i]);
    free(asked->texts);
    free(asked);
}
