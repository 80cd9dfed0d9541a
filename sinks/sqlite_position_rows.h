/* SQLite: the rows of the table of positions, with the marks of runs (replace_run.h). For an open
 * transaction, but for the first two. */
#pragma once

#include "sinks/sqlite_session.h"

typedef struct sqlite3_stmt sqlite3_stmt;

/* Is there a table of positions? */
bool sqlite_positions_are_kept(const SqliteSession *session);
/* `sql` with the name of the table of positions in the place of each @; sqlite3_finalize(). */
SinkResult sqlite_positions_statement(SqliteSession *session, const char *sql, sqlite3_stmt **ret_statement, Error *error);
void sqlite_bind_text(sqlite3_stmt *statement, int place, const char *text); /* copies; NULL is NULL */
/* Of statements about one partition: ?1 to ?5 are the key, ?6 the name of the table. */
#define SQLITE_SAME_KEY "cluster = ?1 AND group_id = ?2 AND topic = ?3 AND generation = ?4 AND partition = ?5 AND table_name = ?6"
#define SQLITE_NOW "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
void sqlite_bind_key(sqlite3_stmt *statement, const PartitionKey *key, const char *table);
void sqlite_bind_owner(sqlite3_stmt *statement, int place, const PositionsOwner *owner); /* label and instance */
/* Runs it once, for another set of values; *ret_changes: rows. */
SinkResult sqlite_step_once(SqliteSession *session, sqlite3_stmt *statement, int64_t *ret_changes, Error *error);

/* Sets found and read, as the rows are. The table of positions is there. */
SinkResult sqlite_position_rows_read(SqliteSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                     Error *error);
/* Of the table; run_marks_deinit(), also after a failure. The table of positions is there. */
SinkResult sqlite_marks_read(SqliteSession *session, const SinkTarget *target, RunMarks *marks, Error *error);
/* `topic`: which mark. */
SinkResult sqlite_marks_set(SqliteSession *session, const PositionsOwner *owner, const SinkTarget *target, const char *topic,
                            const char *run_group, Error *error);
