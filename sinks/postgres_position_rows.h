/* PostgreSQL: the rows of the table of positions, with the marks of runs (replace_run.h). */
#pragma once

#include "sinks/postgres_session.h"

#define POSTGRES_KEY "cluster, group_id, topic, generation, partition"
#define POSTGRES_WANTED_KEYS "unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[]"
/* Of a row `p` of the table and a line `w` of what is wanted; $6 is the table's name. */
#define POSTGRES_SAME_KEY                                                                                                                  \
    "p.table_name = $6 AND (p.cluster, p.group_id, p.topic, p.generation, p.partition)"                                                    \
    " = (w.cluster, w.group_id, w.topic, w.generation, w.partition)"

/* What a statement has about partitions: a line for each. */
typedef struct PositionLines {
    Buffer cluster, group, topic, generation, partition; /* $1 to $5 */
    Buffer table;                                        /* $6 */
    Buffer first, second, ids;                           /* $7 and so on, as the statement wants them */
} PositionLines;

void position_lines_init(PositionLines *lines, const SinkTarget *target);
void position_lines_add(PositionLines *lines, const PartitionKey *key);
/* Fills $1 to $6. */
void position_lines_end(PositionLines *lines, const char **values);
void position_lines_deinit(PositionLines *lines);

/* `sql` with the name of the table of positions in the place of each @; else as postgres_run. */
SinkResult postgres_run_on_positions(PostgresSession *session, const char *sql, size_t count, const char *const *values,
                                     PGresult **ret_rows, Error *error);
/* Was the result a refusal since there is no table of positions? */
bool postgres_has_no_positions(const PostgresSession *session, SinkResult result);

/* The rest is for an open transaction. */

/* Sets found and read, as the rows are, without a lock. SINK_REFUSED with -ENODATA when there is no
 * table of positions. */
SinkResult postgres_position_rows_read(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                       Error *error);
SinkResult postgres_position_rows_lock(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                       Error *error);
/* Removes all of a group in the table, in key order. */
SinkResult postgres_position_rows_remove(PostgresSession *session, const SinkTarget *target, const char *group, Error *error);

/* Nobody else claims, swaps or removes runs of the table until the end of the transaction. */
SinkResult postgres_marks_lock(PostgresSession *session, const SinkTarget *target, Error *error);
/* Of the table; run_marks_deinit(), also after a failure. The table of positions is there. */
SinkResult postgres_marks_read(PostgresSession *session, const SinkTarget *target, RunMarks *marks, Error *error);
/* `topic`: which mark. */
SinkResult postgres_marks_set(PostgresSession *session, const PositionsOwner *owner, const SinkTarget *target, const char *topic,
                              const char *run_group, Error *error);
/* Those that name the group, unless `instance` (NULL: any) has not set them, or positions of the
 * group are left; *ret_count: how many. */
SinkResult postgres_marks_remove(PostgresSession *session, const SinkTarget *target, const char *run_group, const char *instance,
                                 uint64_t *ret_count, Error *error);
