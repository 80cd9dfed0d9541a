/* What the files worker*.c share; nobody else includes it. One process, one thread. */
#pragma once

#include <libjsonnet.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "gateway/templates/throw.h"
#include "gateway/templates/view.h"
#include "gateway/templates/zygote.h"
#include "mapping/template_message.h"

typedef struct JsonnetJsonValue Value;
typedef const Value *const *NativeArguments;

typedef struct Worker {
    struct JsonnetVm *vm;
    Zygote *zygote;
    TemplateView *view;
    TemplateLoad load;
    char name[33]; /* of the document that holds the templates, followed by a 0: nobody can guess it */
    bool running;  /* in the evaluating process */

    const TemplateEventMessage *event;
    uint32_t template_index;
    Buffer failure; /* why the template's result must not count; empty: it counts */
    Buffer text;    /* scratch */
    Span found;     /* JSON that hasBody found last; no data: there is none */
} Worker;

/* ---- worker_values.c: JSON as libjsonnet takes it -------------------------------------------- */

/* The first failure stands. Natives go on with null, since an error would end the evaluation, and a
 * new process costs far more. */
void worker_note(Worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));
Value *worker_make_null(Worker *worker);
/* From text that the scanner accepted: no deeper than SCAN_DEPTH_MAX. */
Value *worker_make_value(Worker *worker, const char **cursor, const char *end);

/* ---- worker_natives.c: what templates call, by way of the wrapper program -------------------- */

void worker_add_natives(Worker *worker);

/* ---- worker_program.c: the program around the templates, and places in their text ------------ */

void worker_put_program(const Worker *worker, Buffer *program);
/* The part of it above all else: the templates as a function of what they may use. */
void worker_put_templates(const Worker *worker, Buffer *program);
/* A JsonnetImportCallback. The one document is the template that is checked alone. */
char *worker_import(void *context, const char *base, const char *path, char **ret_found, int *ret_ok);
/* Puts "line 3, column 1: ", as the template's author counts; nothing for a place that is in no
 * template's own text. */
void worker_put_place(const Worker *worker, const TemplatePlace *place, Buffer *out);
/* Of the templates in the program; what is below is the wrapper's. */
unsigned worker_last_line(const Worker *worker);
/* "STATIC ERROR: NAME0:4:1-4: Unknown variable: bar" -> "line 3, column 1: Unknown variable:
 * bar" */
void worker_describe(const Worker *worker, const char *message, Buffer *out);
Span worker_first_line(Span text);

/* ---- worker_check.c: are templates well-formed? ---------------------------------------------- */

/* The one template of the load: says so or why not to the gateway, and ends the process. */
_Noreturn void worker_check_template(Worker *worker);
/* Many at once, with one reading of the standard library: says only that all are well-formed, or
 * not all of them. */
_Noreturn void worker_check_together(Worker *worker);

/* ---- worker.c -------------------------------------------------------------------------------- */

/* libjsonnet owns the result. */
char *worker_evaluate(Worker *worker, const char *name, Buffer *program, int *ret_failed);
_Noreturn void worker_refuse_load(Span reason);
