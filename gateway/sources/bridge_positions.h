/*
 * Where a sink of a bridge goes on with a partition: decisions by what the writer and the
 * destination have said. Pure.
 *
 * The writer's chain is what it has of the partition for the sink: the records [from, end), as far
 * as the destination has not decided about them. The position is what the destination had when it
 * was asked, after the writer was.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/flow/messages.h"

typedef struct BridgeAim {
    int64_t next;  /* offset that the sink is given next; -1: nobody knows, so it takes nothing */
    bool sets_end; /* its next run begins a chain: it does not go on where the writer's chain ends */
} BridgeAim;

typedef struct BridgeChain {
    int64_t from, end; /* as PartitionProgress: -1, or from <= end */
} BridgeChain;

/* `position` -1: the destination did not answer. The end of a chain that holds the position; else
 * the position; else the chain's end as it is. */
BridgeAim bridge_aim(BridgeChain chain, int64_t position);
/* The same for a sink that is read for already, while its destination was asked: `from` is of
 * before that, `now` of now. */
BridgeAim bridge_aim_again(BridgeAim now, int64_t from, int64_t position);

/* The least offset that a sink is given next; -1: none is given any. */
int64_t bridge_min(const int64_t *next, size_t count);

typedef enum BridgeNews {
    BRIDGE_NEWS_NONE,
    BRIDGE_NEWS_LOOK,    /* the sink does not go on where the bridge thinks: ask the destination */
    BRIDGE_NEWS_MISSING, /* the destination has no position, though a run needed it */
} BridgeNews;

/* What an answer of the writer says about a sink that goes on as `now` says. `posted_since`: runs
 * of the partition were posted after the question. */
BridgeNews bridge_news(const PartitionProgress *progress, BridgeAim now, bool posted_since);
