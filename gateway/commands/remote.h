/* What the commands that talk to a running gateway share. */
#pragma once

#include "base/error.h"
#include "gateway/commands/api_client.h"
#include "gateway/commands/arguments.h"

/* Rows of their tables: how to reach the gateway (api_client.h says what holds when one is not
 * given). */
#define REMOTE_OPTIONS                                                                                                                     \
    {.name = "admin", .argument = "URL", .sentence = "URL of the management API. Default: SLUICE_ADMIN, else http://127.0.0.1:7001."},     \
        {.name = "token-file", .argument = "FILE", .sentence = "File with a token. Default: SLUICE_TOKEN, else admin.token of --data."}, { \
        .name = "data", .argument = "DIR", .sentence = "Data directory of a local gateway. Default: SLUICE_DATA, else ./data."             \
    }

/* Makes a client of what the arguments say, and calls `work` with it. Work gives 0 (EXIT_SUCCESS),
 * a negated errno, which is printed with the name of the command (EXIT_RUNTIME), or an exit code >
 * 0. */
typedef int RemoteWork(const ApiClient *client, void *context, Error *error);
int remote_run(const Arguments *arguments, RemoteWork *work, void *context);
