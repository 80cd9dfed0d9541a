#include "sinks/sqlite_lock.h"

#include <sqlite3.h>
#include <time.h>

#define BUSY_MAX (2 * USEC_SECOND)
#define PAUSE_MAX (50 * USEC_MS) /* between two looks at the lock; the first ones are shorter */

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* SQLite's busy handler. 0: no more, the statement is SQLITE_BUSY. */
static int wait_for_lock(void *context, int tries) {
    SqliteLock *lock = context;
    if (tries == 0) lock->since = now();
    if (sink_patience_is_over(lock->patience) || now() - lock->since >= BUSY_MAX) return 0;
    usec_t pause = (tries + 1) * USEC_MS;
    if (pause > PAUSE_MAX) pause = PAUSE_MAX;
    struct timespec time = {.tv_nsec = pause * 1000};
    (void)nanosleep(&time, NULL);
    return 1;
}

void sqlite_lock_use(SqliteLock *lock, sqlite3 *database) {
    (void)sqlite3_busy_handler(database, wait_for_lock, lock);
}
