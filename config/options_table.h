/* The table behind options.h; internal to config/. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/options.h"

typedef enum OptionType {
    OPTION_TEXT,
    OPTION_FILE,    /* a path, or empty */
    OPTION_KEYS,    /* NAME=FILE, … */
    OPTION_ADDRESS, /* ADDR:PORT */
    OPTION_URL,     /* http(s)://…, kept without the last '/' */
    OPTION_NETWORKS,
    OPTION_BRANCH,
    OPTION_CHOICE,
    OPTION_BOOL,
    OPTION_COUNT, /* uint32_t */
    OPTION_SIZE,  /* uint64_t, bytes */
    OPTION_TIME   /* usec_t */
} OptionType;

typedef struct OptionInfo {
    const char *name;
    OptionType type;
    size_t offset;             /* of the field in Options */
    const char *default_value; /* as a person would write it */
    int64_t least, most;       /* COUNT, SIZE (bytes), TIME (microseconds) */
    const char *choices;       /* CHOICE: "a, b, c" */
    bool reloadable;
    const char *doc; /* one sentence */
} OptionInfo;

extern const OptionInfo options_table[];
extern const size_t options_table_size;

/* Asserts what the rows promise: names that differ, a sentence, a default that option_set takes. */
void options_table_check(void);
/* The row of a name; NULL: none. */
const OptionInfo *option_find(Span name);
/* Sets the field from text, replacing what was there. -EINVAL: the text of the error begins with
 * the name of the option. */
int option_set(const OptionInfo *info, Options *options, Span text, Error *error);
/* The value as option_set would take it. */
void option_format(const OptionInfo *info, const Options *options, Buffer *out);
/* "1..100", "1s..30m", "a, b, c"; nothing for free text. */
void option_format_range(const OptionInfo *info, Buffer *out);
/* Whether text is what a person would want quoted in YAML. */
bool option_is_text(const OptionInfo *info);
