/*
 * The whole gateway in one process: what is started, in which order, and how it ends. One App owns
 * everything; nothing else does.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

typedef struct App App;

/* Starts everything, or nothing: on an error, which is logged, all that was started is stopped
 * again. `config_file` may be NULL; `arguments` as in options_load, NULL-terminated; both must live
 * as long as the App. `give_up_missing_packs`: rows that wait and whose staging files are missing
 * are quarantined and printed on stdout; else a start without them is refused. Main thread. */
int app_start(const char *config_file, char *const *arguments, bool give_up_missing_packs, App **ret_app, Error *error);
/* Runs until SIGTERM or SIGINT, then drains: stop accepting, finish the requests in flight, commit,
 * within the shutdown deadline. 0: all of that was done; -ETIMEDOUT: the deadline came first
 * (nothing that was acknowledged is lost); -EIO: the writer broke. */
int app_run(App *app);
void app_stop(App *app); /* NULL-safe */
