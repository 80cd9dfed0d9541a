#include "gateway/templates/verdicts.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "config/definition.h"

#define VERDICTS_MAX (2 * SINKS_A_SOURCE_MAX * COLUMNS_A_SINK_MAX) /* those of one source must be there together */

typedef struct TemplateVerdict {
    char *text; /* owned; NULL: free */
    uint64_t checksum;
    int result;
    Error error;
} TemplateVerdict;

struct TemplateVerdicts {
    size_t next; /* the oldest */
    TemplateVerdict items[VERDICTS_MAX];
};

TemplateVerdicts *template_verdicts_new(void) {
    TemplateVerdicts *verdicts = calloc(1, sizeof *verdicts);
    check(verdicts);
    return verdicts;
}

static void forget(TemplateVerdict *verdict) {
    free(verdict->text);
    *verdict = (TemplateVerdict){0};
}

void template_verdicts_free(TemplateVerdicts *verdicts) {
    if (!verdicts) return;
    for (size_t i = 0; i < VERDICTS_MAX; i++) forget(&verdicts->items[i]);
    free(verdicts);
}

int template_verdicts_find(TemplateVerdicts *verdicts, const char *text, Error *error) {
    uint64_t checksum = checksum_of(text, strlen(text));
    for (size_t i = 0; i < VERDICTS_MAX; i++) {
        TemplateVerdict *verdict = &verdicts->items[i];
        if (verdict->checksum != checksum || !verdict->text || strcmp(verdict->text, text) != 0) continue;
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
    check(verdicts->next < VERDICTS_MAX && result <= 0);
    TemplateVerdict *verdict = &verdicts->items[verdicts->next];
    verdicts->next = (verdicts->next + 1) % VERDICTS_MAX;
    forget(verdict);
    verdict->text = strdup(text);
    check(verdict->text);
    verdict->checksum = checksum_of(text, strlen(text));
    verdict->result = result;
    verdict->error = *error;
}
