#include "gateway/commands/remote.h"

#include <stdio.h>
#include <stdlib.h>

int remote_run(const Arguments *arguments, RemoteWork *work, void *context) {
    ApiClient client;
    Error error = {0};
    int r = api_client_init(&client, arguments_value(arguments, "admin"), arguments_value(arguments, "token-file"),
                            arguments_value(arguments, "data"), &error);
    if (r == 0) {
        r = work(&client, context, &error);
        api_client_deinit(&client);
    }
    if (r >= 0) return r;
    (void)fprintf(stderr, "sluice %s: %s\n", arguments->command->name, error.text);
    return EXIT_RUNTIME;
}
