/*
 * The last results of template checks. A check takes a process and about 50 ms, and a sink may have
 * 100 templates. So a request that needs results is repeated when they are there. Control thread.
 */
#pragma once

#include "base/error.h"

typedef struct TemplateVerdicts TemplateVerdicts;

TemplateVerdicts *template_verdicts_new(void);
void template_verdicts_free(TemplateVerdicts *verdicts); /* NULL-safe */
enum { TEMPLATE_UNKNOWN = 1 };
/* Returns the stored TemplateCheck.result. A failure is returned once and then forgotten, because
 * the machine may have been the cause. TEMPLATE_UNKNOWN: check the template. */
int template_verdicts_find(TemplateVerdicts *verdicts, const char *text, Error *error);
/* Stores `result` and `error` of one text. The oldest result is removed if there is no room. */
void template_verdicts_set(TemplateVerdicts *verdicts, const char *text, int result, const Error *error);
