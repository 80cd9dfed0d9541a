/*
 * The whole gateway in one process: what is started, in which order, and how it ends. One App owns
 * everything.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

typedef struct App App;

/* Starts everything. On an error, which is logged, everything that was started is stopped again.
 * `config_file` may be NULL. `arguments` as in options_load, NULL-terminated. Both must exist as
 * long as the App. `give_up_missing_packs`: waiting rows whose staging files are missing are
 * quarantined and printed on stdout; otherwise a start without these files is refused. Main
 * thread. */
int app_start(const char *config_file, char *const *arguments, bool give_up_missing_packs, App **ret_app, Error *error);
/* Runs until SIGTERM or SIGINT. Then it drains: it accepts no more connections, finishes the
 * requests in flight and commits, within the shutdown deadline. Returns 0 if all of that was done;
 * -ETIMEDOUT if the deadline passed before (no acknowledged row is lost); -EIO if the writer
 * failed. */
int app_run(App *app);
void app_stop(App *app); /* NULL-safe */
