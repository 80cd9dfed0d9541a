/* The program `sluice`: its commands, and how they are found. */
#pragma once

#include "base/buffer.h"
#include "gateway/commands/arguments.h"

extern const Command command_serve;

/* Runs the command that argv names, or prints the overview, a help text or the version. Returns the
 * exit code. */
int program_run(int argc, char **argv);
/* Writes the Markdown table of all commands and their options for docs/operations.md. */
void program_document(Buffer *out);
