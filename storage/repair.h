/*
 * Repairs records of the ledger and the statistics that cannot be read any more, such as one with a
 * flipped bit. Nearly all data of a record is also stored elsewhere: a slice in the footer of its
 * pack, a file in its slices, a pack in the list of its slices, a range in the files around it,
 * totals in the ranges and the log, a partition in the packs that have rows of it. So the record is
 * written again from there. How far a sink has read a partition is forgotten, which does no harm
 * (partitions.h). Rows are lost only if the bytes that say where they are exist nowhere. Then they
 * are quarantined and counted. The writer's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/files.h"
#include "storage/environment.h"

typedef struct Damage {
    uint32_t sink;     /* 0: it does not belong to one sink */
    uint64_t rows;     /* rows that were quarantined because of it */
    uint64_t returned; /* rows of a bridge's sink that were returned because of it */
    bool stays;        /* the records of the sink are still inconsistent, so it must not be used */
    char text[400];    /* what was damaged, and what was done about it */
} Damage;

typedef struct Damages {
    Damage *items; /* owned, free() */
    size_t count, capacity;
} Damages;

/* Reads every record of the ledger and the statistics, and writes damaged ones again. This takes
 * seconds if there are millions of records, so call it only after damage was found. ret_damages has
 * each damaged record and its sink; it is empty if all records can be read. `running`: the running
 * time. */
int repair_records(Txn *txn, Files *files, usec_t running, Damages *ret_damages, Error *error);
