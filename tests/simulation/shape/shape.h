/*
 * A world of gateways whose sinks infer their columns: several nodes, each with a real control,
 * writer, stager and loaders, and loops that map events whose fields and types come and go. All
 * import into one SQLite file by the real driver. Everything follows from one seed. Parts: events.c
 * (what is sent, and whether a row says the same), driver.c (the driver with its faults), table.c
 * (what must be in the tables), node.c (a gateway, its deaths and its disk), definitions.c (what
 * its admin asks for), shape.c (the actors and their order).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/definition.h"
#include "sinks/driver.h"
#include "tests/simulation/course.h"

#define NODES_MOST 3
#define LOOPS 2
#define SOURCE "simulated"
#define CONNECTION "tables"

/* ---- what is sent ---------------------------------------------------------------------------- */

/* The sinks of each node. */
typedef enum SinkKind {
    SINK_WIDE,  /* appends; all columns are inferred */
    SINK_KEYED, /* merges by the field `k`: newerBy, deleteOn; the other columns are inferred */
    SINK_ROWS,  /* explodes the field `items` */
    SINK_KINDS
} SinkKind;

/* A request is stored whole or not at all. */
typedef enum Fate { FATE_OPEN, FATE_ACKNOWLEDGED, FATE_REFUSED } Fate;

/* One sink's definition as a node had it when it mapped with it. */
typedef struct Version {
    unsigned node, life; /* a node that loses its disk begins another life */
    SinkKind kind;
    Sink *sink; /* reference */
} Version;

typedef struct SentRow {
    size_t event;
    unsigned element; /* of the array that was exploded */
    size_t version;   /* index of Version */
    bool deletes;
    char *text; /* owned: CSV with its newline */
    size_t size;
    unsigned arrived; /* committed imports that brought it */
    uint64_t tick;    /* when the last of them was committed */
    json_t *left_out; /* owned; names of columns that it left out, since the table lacked them. NULL: none */
    bool seen;        /* in the table, at the end */
    bool is_shared;   /* a deletion that was looked at */
    uint64_t look;    /* at a file, that found it last */
    bool wanted;      /* of a key: the one that must be in the table */
} SentRow;

typedef struct SentEvent {
    json_t *body; /* owned; as it was meant: of equal keys the first. NULL: no JSON object */
    size_t request;
    unsigned node, life;
    size_t first_row, row_count; /* its rows follow each other */
    unsigned failed;             /* sinks that could not map it */
    unsigned rejects_seen;
} SentEvent;

typedef struct SentRequest {
    Fate fate;
    size_t first_event, event_count;
} SentRequest;

/* A field that a column may be of: paths of it and of all that is above it are known by their
 * canonical text. */
typedef struct Sent {
    SentRequest *requests;
    size_t request_count, request_room;
    SentEvent *events;
    size_t event_count, event_room;
    SentRow *rows;
    size_t row_count, row_room;
    Version *versions;
    size_t version_count, version_room;
    json_t *paths; /* canonical path -> its keys */
} Sent;

/* Draws which fields there are, and how they are. */
void events_begin(void);
void events_end(void);
/* A body that is not NUL-terminated; free(). `all`: with every field that there is, each with a
 * value of its first type. */
char *events_make(bool all, json_t **ret_body);
/* A path of a field of at most `depth` keys, drawn; borrowed. NULL: there is none. */
const char *events_draw_path(unsigned depth);
/* The id of an event tells its number. */
void events_id(size_t number, Uuid *ret_id);
size_t events_number(const char *id, size_t size, unsigned *ret_element);
/* Does the row, as it stands in the table, give the event back, with each value in its place?
 * `cells`: by column of the version; NULL: NULL. Fails with words of its own. */
void events_compare(const SentRow *row, const char *const *cells);
/* Has any value of the event that a column may be made of no column in that row? */
bool events_has_rest(const SentRow *row, const char *rest);
/* The Version for a sink that a node maps with; fails when it was another one before. */
size_t events_version(unsigned node, unsigned life, const Sink *sink);
/* A file's copy of the target is that of the version, but for the columns that the table lacks now
 * if the sink ignores that: their names, owned. NULL: none. */
json_t *events_check_target(const Version *version, const SinkTarget *target);
/* The cells of the row as it was sent, by column of its version; NULL: NULL. The array and its
 * texts are to be freed. */
char **events_cells(const SentRow *row);
SinkKind events_kind(const char *table_id);
/* The row of that text. `look`: a number for all rows of a file, of which each is another row. */
SentRow *events_find_row(const char *text, size_t size, const SinkTarget *target, uint64_t look);

/* ---- the destination ------------------------------------------------------------------------- */

extern const SinkDriver shape_driver;
/* Opens the file, for the looks of the simulation itself. */
void tables_begin(const char *path);
void tables_end(void);
/* A row was committed; an import was, with all rows that were noted since the one before. */
void tables_note_arrival(const SentRow *row);
void tables_note_import(void);
/* Somebody renames a column that was inferred; what is in it stays there. */
void tables_rename_column(void);
/* Where sinks ignore it, somebody drops such a column, with what is in it, or makes one again. */
void tables_drop_column(void);
void tables_add_column(void);
bool tables_has_column(const char *table, const char *column);
/* The map only grows; a version's columns are those of the map. */
void tables_check_map(void);
void tables_check_versions(void);
/* All rows are there that must be, once, and no others, and give back their events. */
void tables_check_rows(void);
/* A row of an event whose fields came again and again: what asks for a column has one, if there is
 * room. */
void tables_check_probe(const SentRow *row);
/* What the statistics of a sink say of fields that get no column: they have none, and where that is
 * for want of room there is none. */
void tables_check_nameless(const SinkTarget *target, const json_t *nameless);

/* ---- nodes ----------------------------------------------------------------------------------- */

typedef struct Gateway Gateway;

Gateway *node_new(unsigned index, const char *directory);
void node_free(Gateway *node);
bool node_runs(const Gateway *node);
void node_kill(Gateway *node);
void node_stop(Gateway *node);
void node_start(Gateway *node);
void node_lose_disk(Gateway *node); /* of one that does not run */
/* One thing that the seed chooses. */
void node_act(Gateway *node);
void node_disturb(Gateway *node);
/* An admin changes what a sink infers. */
void node_patch(Gateway *node);
/* Sends an event with all fields; false: it has no sinks yet. */
bool node_probe(Gateway *node);
/* All that can be done now is done. */
void node_run(Gateway *node);
/* Commit groups, files, changes, and definitions that wait. */
size_t node_waiting(Gateway *node);
void node_verify(Gateway *node);
void node_count_rejects(Gateway *node);
void node_check_nameless(Gateway *node);
void node_tell(Gateway *node);
/* The node that runs dies after so many of its steps. */
void node_dies_in(unsigned steps);
/* Was the disk lost on which that life had its rows? */
bool node_lost_life(unsigned index, unsigned life);
/* Is it the node that does something now, in that life? */
bool node_is_running(unsigned index, unsigned life);
/* The sink as its loops map with it now; NULL: none. */
const Sink *node_sink(Gateway *node, SinkKind kind);

/* ---- the world ------------------------------------------------------------------------------- */

/* What a seed draws of the sinks; each node has its own where they differ. */
typedef struct ShapePlan {
    unsigned depth;
    unsigned max_columns[SINK_KINDS];
    bool newer_by, delete_on;
    bool own_table[SINK_KINDS]; /* no other node imports into it */
    bool lacks[SINK_KINDS];     /* the node does not have that sink */
} ShapePlan;

typedef struct World {
    Sent sent;
    ShapePlan plans[NODES_MOST];
    size_t node_count;
    bool is_small;          /* as most are: few nodes, fields and steps */
    bool ignores;           /* SINK_WIDE leaves out columns that its table lacks */
    uint64_t tick;          /* of commits, and of columns that somebody took away */
    unsigned fault_percent; /* of what destinations are asked */
    bool quiet;             /* no faults any more */
    bool down;              /* the destination */
    char connection_path[200];
} World;

extern World *world;

/* What all seeds together did. */
typedef struct Sum {
    uint64_t requests, refused, events, rows, deletions, rejects, imports, found_imported, versions, inferred, variants, columns_jobs,
        in_doubt, ddl_failed, renamed, dropped, added, left_out, lost_values, nameless, kills, stops, lost_disks, patches, lost_rows,
        with_rest, nodes_together;
    uint64_t died_naming; /* around the transaction that names columns */
    uint64_t died_at[8];  /* a change by inference was on its way, by its step */
} Sum;

extern Sum sum;
/* The others do a few things while one is at the destination. */
void shape_interrupt(void);
