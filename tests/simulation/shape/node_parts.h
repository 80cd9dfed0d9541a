/* The inside of a node, shared by node.c (its loops, its life) and definitions.c (what its admin
 * asks of it). */
#pragma once

#include "gateway/control/change_parts.h"
#include "gateway/delivery/stager.h"
#include "gateway/rows/row_batch.h"
#include "gateway/sources/http_runner.h"
#include "tests/simulation/shape/shape.h"

typedef struct Loop {
    Mailbox *mailbox;
    Snapshot *snapshot; /* reference */
    RowMaker *maker;
    RowBatch batch;
} Loop;

struct Gateway {
    unsigned index, life;
    char directory[200], config[240];
    DataDirectory data; /* path, files and instance only */
    Random files_random;
    bool runs;
    bool is_named;    /* it has all definitions */
    unsigned depth;   /* of calls that are in the middle of it */
    unsigned dies_in; /* steps; 0: it does not */
    uint64_t in_flight;
    size_t settings; /* the sink whose settings are set next */
    Options options;
    Environment *environment;
    Usage usage;
    Control *control;
    Stager *stager;
    Writer *writer;
    Loaders *loaders;
    Loop loops[LOOPS];
    Mailbox *mailboxes[LOOPS];
    HttpRunner http;
    SourceRunner others[4];
    SourceRunner *runners[6];
};

extern const char *const node_sink_ids[SINK_KINDS];
/* What it does not have yet is created: the first time, when an earlier change failed, and on a new
 * disk. */
void node_define(Gateway *node);
