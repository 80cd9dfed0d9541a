#include "gateway/templates/verdicts.h"

#include <stdlib.h>
#include <string.h>

#include "config/definition.h"

#define VERDICTS_MOST (2 * COLUMNS_A_SINK_MAX) /* those of one sink must be there together */

typedef struct Verdict {
    char *text; /* owned; NULL: free */
    int result;
    Error error;
} Verdict;

struct TemplateVerdicts {
    Verdict items[VERDICTS_MOST];
    size_t next; /* the oldest */
};

TemplateVerdicts *template_verdicts_new(void) {
    TemplateVerdicts *verdicts = calloc(1, sizeof *verdicts);
    check(verdicts);
    return verdicts;
}

static void forget(Verdict *verdict) {
    free(verdict->text);
    *verdict = (Verdict){0};
}

void template_verdicts_free(TemplateVerdicts *verdicts) {
    if (!verdicts) return;
    for (size_t i = 0; i < VERDICTS_MOST; i++) forget(&verdicts->items[i]);
    free(verdicts);
}

int template_verdicts_find(TemplateVerdicts *verdicts, const char *text, Error *error) {
    for (size_t i = 0; i < VERDICTS_MOST; i++) {
        Verdict *verdict = &verdicts->items[i];
        if (!verdict->text || strcmp(verdict->text, text) != 0) continue;
        int result = verdict->result;
        if (result < 0) {
            *error = verdict->error;
            forget(verdict);
        }
        return result;
    }
    return TEMPLATE_UNKNOWN;
}

void template_verdicts_set(TemplateVerdicts *verdicts, const char *text, int result, const Error *error) {
    Verdict *verdict = &verdicts->items[verdicts->next];
    verdicts->next = (verdicts->next + 1) % VERDICTS_MOST;
    forget(verdict);
    verdict->text = strdup(text);
    check(verdict->text && result <= 0);
    verdict->result = result;
    verdict->error = *error;
}
