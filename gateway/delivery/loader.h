/*
 * The loaders D: a small pool of threads that run jobs at destinations through the sinks' drivers. Jobs are taken in order of arrival among
 * those that may run, so that no destination and no table holds the others up:
 *   - one import a sink, one job an SQLite file;
 *   - each connection has one loader of its own, whatever the others do;
 *   - the rest of `threads` is shared. A connection gets of them only while it makes progress: a job of it got a row further or ended with an
 *     answer, and none of those that run has been without progress for two seconds. One job that is no import may run there all the same;
 *   - what somebody waits for, the check of a table, a claim and a seek, goes before imports;
 *   - a sink whose last import failed leaves the last shared loader to others;
 *   - tests of connections have a loader of their own, on sessions of their own: they are answered while imports hang.
 */
#pragma once

#include "gateway/delivery/loader_options.h"

int loaders_start(const LoadersOptions *options, Loaders **ret_loaders, Error *error);
void loaders_post(Loaders *loaders, LoadJob *take_job); /* any thread */
bool loaders_step(Loaders *loaders);                    /* runs one job on the calling thread; false if there is none */
/* Begins the end. Waiting jobs, and jobs that are posted later, come back with SINK_RETRY. A
 * running import may continue while its destination makes progress. A job that waits for a
 * connection, checks a table or tests a connection, or waits for a lock or a silent destination, is
 * ended. Any thread. */
void loaders_drain(Loaders *loaders);
/* Asks running imports to give up, and joins the threads. The writer must still be stepped in the
 * meantime, because an import may wait for it to store rejects. Drains first. NULL-safe. */
void loaders_stop(Loaders *loaders);
void loaders_free(Loaders *loaders); /* stops them first; no thread may post any more. NULL-safe */
