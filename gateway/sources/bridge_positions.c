#include "gateway/sources/bridge_positions.h"

BridgeAim bridge_aim(BridgeChain chain, int64_t position) {
    bool there = chain.end >= 0;
    check(!there || (chain.from >= 0 && chain.from <= chain.end));
    if (position < 0) return (BridgeAim){.next = there ? chain.end : -1};
    if (there && chain.from <= position && position <= chain.end) return (BridgeAim){.next = chain.end};
    return (BridgeAim){.next = position, .sets_end = true};
}

BridgeAim bridge_aim_again(BridgeAim now, int64_t from, int64_t position) {
    check(now.next >= 0 && position >= 0);
    if (now.sets_end || from < 0) return now.next == position ? now : (BridgeAim){.next = position, .sets_end = true};
    /* The chain has only grown since, and the position only moved on within it, unless somebody
     * else moved it. */
    if (from <= position && position <= now.next) return now;
    return (BridgeAim){.next = position, .sets_end = true};
}

int64_t bridge_min(const int64_t *next, size_t count) {
    int64_t least = -1;
    for (size_t i = 0; i < count; i++)
        if (next[i] >= 0 && (least < 0 || next[i] < least)) least = next[i];
    return least;
}

BridgeNews bridge_news(const PartitionProgress *progress, BridgeAim now, bool posted_since) {
    if (progress->missing) return BRIDGE_NEWS_MISSING;
    if (now.next < 0) return BRIDGE_NEWS_NONE; /* it is asked for, or stopped */
    if (now.sets_end) {
        /* Whatever chain the writer has is not gone on with. */
        return progress->position >= 0 && progress->position != now.next && !posted_since ? BRIDGE_NEWS_LOOK : BRIDGE_NEWS_NONE;
    }
    if (posted_since) return BRIDGE_NEWS_NONE; /* a chain that is lost makes the writer refuse what was posted */
    return progress->end == now.next ? BRIDGE_NEWS_NONE : BRIDGE_NEWS_LOOK;
}
