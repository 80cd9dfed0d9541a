/* The program `sluice`: its commands, and what finds them. */
#pragma once

#include "base/buffer.h"
#include "gateway/commands/arguments.h"

extern const Command command_serve;

/* Runs the command that argv names, or prints the overview, a help or the version. Gives the exit
 * code. */
int program_run(int argc, char **argv);
/* The Markdown table of all commands and their options for docs/operations.md. */
void program_document(Buffer *out);
