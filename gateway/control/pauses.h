/*
 * Connections whose imports are held back by an admin, as the catalog has them: by name, also of
 * one that the config file no longer names. (A pause of a source or a sink is part of its
 * definition.) Control thread.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "config/definition.h"
#include "gateway/control/define.h"
#include "storage/environment.h"

typedef struct PausedConnection {
    char *name;  /* owned */
    Pause pause; /* owned; has begun */
} PausedConnection;

typedef struct Pauses {
    PausedConnection *items; /* owned */
    size_t count;
} Pauses;

/* -EBADMSG names the record that cannot be read. */
int pauses_load(Pauses *pauses, Environment *environment, Error *error);
void pauses_deinit(Pauses *pauses);
/* NULL: it is not paused. Valid until the next change. */
const Pause *pauses_find(const Pauses *pauses, const char *connection);
/* Memory follows what is stored. `pause` with `at` 0 ends it. */
void pauses_set(Pauses *pauses, const char *connection, const Pause *pause);
/* The change of one connection for the catalog and the writer; memory does not change. */
void pauses_store(Define *define, const char *connection, const Pause *pause);
/* What the writer must know when it starts. */
void pauses_order_all(const Pauses *pauses, Define *define);

/* What holds back the imports of a sink: the sink, else its source, else its connection. NULL:
 * nothing. `ret_what`: "sink", "source" or "connection" (static text). */
const Pause *pauses_of_sink(const Pauses *pauses, const Source *source, const Sink *sink, const char **ret_what);
