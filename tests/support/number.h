/* Numbers on the command line of the programs here. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A number from `least` to `most`; anything else is told on standard error and ends the program. */
static inline unsigned long number_of(const char *text, unsigned long least, unsigned long most) {
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (errno == 0 && end != text && *end == 0 && *text != '-' && number >= least && number <= most) return number;
    (void)fprintf(stderr, "not a number from %lu to %lu: %s\n", least, most, text);
    exit(1);
}
