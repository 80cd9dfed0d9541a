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
bool loaders_step(Loaders *loaders);                    /* runs one job on the calling thread; false: nothing to do */
/* Begins the end: jobs that wait, and those that are posted from now on, come back SINK_RETRY. Of
 * the running jobs an import may go on while its destination gets on with it; what waits for a
 * connection, the check of a table, a test, a lock or a silent destination is ended. Any thread. */
void loaders_drain(Loaders *loaders);
/* Running imports are asked to give up, and the threads are joined: the writer must still be
 * stepped meanwhile, since an import may wait for it to store rejects. Drains first. NULL-safe. */
void loaders_stop(Loaders *loaders);
void loaders_free(Loaders *loaders); /* stops them first; nobody posts any more. NULL-safe */
