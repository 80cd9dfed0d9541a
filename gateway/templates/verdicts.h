/*
 * What the template broker said of the templates that were asked about last. A check takes a
 * process and about 50 ms, and a sink may have 100 templates: a request that needs verdicts comes
 * again when they are there. Control thread.
 */
#pragma once

#include "base/error.h"

typedef struct TemplateVerdicts TemplateVerdicts;

TemplateVerdicts *template_verdicts_new(void);
void template_verdicts_free(TemplateVerdicts *verdicts); /* NULL-safe */
enum { TEMPLATE_UNKNOWN = 1 };
/* As TemplateCheck.result, from memory; a failure is told once and then forgotten, since it may
 * have been the machine's. TEMPLATE_UNKNOWN: check. */
int template_verdicts_find(TemplateVerdicts *verdicts, const char *text, Error *error);
/* `result` and `error` of one text. The oldest verdict goes. */
void template_verdicts_set(TemplateVerdicts *verdicts, const char *text, int result, const Error *error);
