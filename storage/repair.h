/*
 * What becomes of records of the ledger and the statistics that cannot be read any more, such as
 * one in which a bit was flipped. Nearly all of each record stands elsewhere, too: a slice in the
 * footer of its pack, a file in its slices, a pack in the list of its slices, a range in the files
 * around it, totals in the ranges and the log, a partition in the packs that have rows of it. How
 * far a sink has read a partition is forgotten: that costs nothing (partitions.h). So it is written
 * anew from there. Rows are lost only when the bytes that say where they are stand nowhere: they
 * are quarantined, and counted. The writer's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/files.h"
#include "storage/environment.h"

typedef struct Damage {
    uint32_t sink;     /* 0: not of one sink */
    uint64_t rows;     /* of these were quarantined because of it */
    uint64_t returned; /* of these, of a bridge's sink, were returned */
    bool stays;        /* what is stored of the sink does not fit together even now: nothing of it may go on */
    char text[400];    /* what was damaged, and what became of it */
} Damage;

typedef struct Damages {
    Damage *items; /* owned, free() */
    size_t count, capacity;
} Damages;

/* Reads every record of the ledger and the statistics and writes those anew that are damaged. Takes
 * seconds where there are millions: only after damage was met. Damages of one record and their
 * sinks are told one by one; none: all can be read. `running`: the running time. */
int repair_records(Txn *txn, Files *files, usec_t running, Damages *ret_damages, Error *error);
