/*
 * Statistics of many sinks for one answer. The writer is asked for a portion at a time, so that it
 * goes on committing between two of them. While its disk hangs, the answer comes from the memory
 * that it lends. Control thread.
 */
#pragma once

#include "gateway/api/router.h"

typedef struct Survey Survey;
struct Survey {
    PendingRequest pending; /* first; its call is NULL once it is answered */
    /* What is asked for: numbers of sinks, names of connections. Owned; the names are not. */
    uint32_t *sinks;
    size_t count;
    ConnectionStatistics *connections; /* out */
    const Connection **listed;         /* the same ones, of the options */
    size_t connection_count;
    DiskStatistics disk; /* out */
    /* Of sinks[index], in order. May be NULL when there are none. */
    void (*see)(Survey *survey, size_t index, const SinkStatistics *statistics);
    /* Everything was seen, or (`complete` false) the disk hangs and there is no more to see, also
     * of connections and disk. Answers the call: steal(survey->pending.call). */
    void (*end)(Control *control, Survey *survey, bool complete);
    void (*drop)(Survey *survey); /* frees what the structure around it owns; NULL: nothing */
    /* own */
    size_t seen;                      /* sinks */
    SinkStatistics *statistics;       /* what the writer fills at present */
    ConnectionStatistics *being_seen; /* the same */
};

/* All-zero but for what is given, and as large as the structure that it is the first member of. */
void *survey_new(size_t bytes, void (*see)(Survey *survey, size_t index, const SinkStatistics *statistics),
                 void (*end)(Control *control, Survey *survey, bool complete), void (*drop)(Survey *survey));
/* What is asked for is set. Takes the request's call, and the survey, which is freed when it has
 * ended. */
void survey_start(ApiRequest *request, Survey *take_survey);
/* Asks for all connections. */
void survey_all_connections(const ControlView *view, Survey *survey);
/* A survey of all connections and the disk alone. */
void survey_connections_start(ApiRequest *request, void (*end)(Control *control, Survey *survey, bool complete));
/* The list of all connections, with what the survey saw of them when it was complete. */
json_t *api_connections_json(const ControlView *view, const Survey *survey, bool complete);
