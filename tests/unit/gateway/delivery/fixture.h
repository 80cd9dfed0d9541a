/*
 * A writer, a stager and loaders without threads, around a fake clock, files in memory, a real
 * environment in a temporary directory, and a destination that does what the test says. For the
 * tests of these three; the simulation has its own, richer world.
 */
#pragma once

#include "base/buffer.h"
#include "base/clock.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/stager.h"
#include "gateway/delivery/writer/writer.h"

#define FIXTURE_SINKS 8

typedef struct FixtureClock {
    Clock clock; /* first */
    usec_t wall_now, boot_now;
} FixtureClock;

typedef struct Fixture {
    char directory[256];
    FixtureClock clock;
    Files *files;
    Environment *environment;
    Usage usage;
    Mailbox *loop, *control;
    Stager *stager;
    Writer *writer;
    Loaders *loaders;
    Connections connections;
    WriterOptions options; /* used by the next start */
    uint64_t map_bytes;
    Source *source;
    SinkGate *gates[FIXTURE_SINKS];
    Sink *sinks[FIXTURE_SINKS];
    int64_t upload_rows;      /* sinks that are made known from now on are staged at so many rows; 0: not before they are imported */
    usec_t connection_paused; /* running time of its pause; 0: it is not paused */
    /* the destination */
    SinkResult result;    /* of every import and connect, unless `refused` decides */
    char refused[32];     /* rows that contain it are refused one by one; files that contain "FILE" as a whole */
    uint64_t fast_rows;   /* an import of more rows takes too long; 0: none does */
    bool unproven;        /* such an import may have been committed */
    int64_t positions[8]; /* by partition of topic "orders" */
    bool missing[8];      /* it has no such position */
    unsigned advances;    /* jobs of positions alone */
    uint64_t in_ledger;   /* not 0: the ledger has the next file already, with so many rows */
    Buffer table;         /* all rows that arrived, in the order of arrival */
    uint64_t arrived, imports, connects;
    size_t settled;
    bool real; /* it is SQLite, see fixture_use_sqlite */
    /* what came back */
    unsigned done, full, rejects_full, failed, misplaced;
    const char *mark; /* of the next Append, once; NULL: none */
    int64_t ends[8];  /* of the runs of the first sink of the Append that was misplaced last */
    unsigned drained, broken;
    int close_result;
    uint64_t close_rows;
    unsigned closes;
    Define *define; /* the last one; owned */
} Fixture;

int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_start(Fixture *fixture);
/* The destination is a real SQLite database from now on, "tables.db" in the directory. Starts
 * anew. */
void fixture_use_sqlite(Fixture *fixture);
/* The staging files are real ones from now on, in the directory, so they outlive the process. Stops;
 * the caller starts. */
void fixture_use_real_files(Fixture *fixture);
/* orderly: the writer is closed; else it is thrown away. Files in memory keep everything. */
void fixture_stop(Fixture *fixture, bool orderly);
/* Makes the sink known: keyed by its first column, with these import conditions (upload ones are
 * never met before). */
void fixture_define(Fixture *fixture, uint32_t sink, bool keyed, int64_t import_rows, usec_t import_age);
/* Changes where a sink's rows go, by a new mapping version: the name of its second column, and its
 * table; NULL: as it is. */
void fixture_redefine(Fixture *fixture, uint32_t sink, const char *column, const char *table);
/* Pauses or resumes a sink that fixture_define made known, and a connection. Of one that is paused
 * it is the same pause: what a start says. */
void fixture_pause(Fixture *fixture, uint32_t sink, bool paused);
void fixture_pause_connection(Fixture *fixture, const char *name, bool paused);
void fixture_discard(Fixture *fixture, uint32_t sink);
/* Posts rows "PREFIX-0,…" to the sink, each of about `bytes`. */
void fixture_append(Fixture *fixture, uint32_t sink, const char *prefix, unsigned rows, size_t bytes);
/* A run of records of partition `partition` of topic "orders": its rows are
 * "PARTITION:FIRST-0,…". */
typedef struct FixtureRun {
    uint32_t sink;
    int32_t partition;
    int64_t first, next;
    unsigned rows;
    bool sets_end;
    size_t bytes; /* of a row; 0: as few as there can be */
} FixtureRun;
/* Posts one Append of all runs, by ascending sink. */
void fixture_append_runs(Fixture *fixture, const FixtureRun *runs, size_t count);
/* What a bridge is told of a sink and the partitions of "orders". */
typedef struct FixtureProgress {
    SinkProgress sink; /* without the partitions */
    PartitionProgress partitions[8];
    uint32_t numbers[8];
    char mark[64];
} FixtureProgress;
FixtureProgress fixture_progress(Fixture *fixture, uint32_t sink, bool look_now);
/* Of sink 1: its chain of the partition is this one (-1, -1: there is none). */
void fixture_chain_is(Fixture *fixture, size_t partition, int64_t from, int64_t end);
/* Of sink 1: as the writer has it, without reading it; and once it was read. */
int64_t fixture_position_told(Fixture *fixture, size_t partition);
int64_t fixture_position_of(Fixture *fixture, size_t partition);
/* Appends records of partition 0 to sink 1, each a row, by tens. */
void fixture_append_tens(Fixture *fixture, int64_t first, int64_t next, bool sets_end);
/* The end that is stored; -1: none. */
int64_t fixture_stored_end(Fixture *fixture, uint32_t sink, uint32_t partition);
/* Imports what waits. */
void fixture_flush(Fixture *fixture, uint32_t sink);
/* As after a crash. */
void fixture_restart(Fixture *fixture);
/* Deletes the file with that index among those of the sink that wait. Returns the result. */
int fixture_delete_file(Fixture *fixture, uint32_t sink, unsigned index);
void fixture_close(Fixture *fixture, uint32_t sink, CloseReason reason);
/* Runs all three until nothing is left to do at this moment. */
void fixture_run(Fixture *fixture);
/* At once, as if the machine slept. */
void fixture_pass(Fixture *fixture, usec_t time);
/* Passes and runs in steps of 10 minutes: the gateway works all the time. */
void fixture_live(Fixture *fixture, usec_t time);
SinkStatistics fixture_statistics(Fixture *fixture, uint32_t sink);
bool fixture_has(Fixture *fixture, const char *text); /* in the table */
