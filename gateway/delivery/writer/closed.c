#include "gateway/delivery/writer/closed.h"

#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiting.h"

WaitingFile *writer_add_waiting(Writer *writer, SinkState *sink, const FileRecord *file, bool runs, Error *error) {
    bool keyed;
    struct WriterConnection *connection = versions_connection_of(sink->versions, writer->connections, file->target, &keyed, error);
    if (!connection) return NULL;
    WaitingFile waiting = {
        .id = file->id,
        .mapping_version = file->mapping_version,
        .attempts = file->attempts,
        .first_row = file->first_row,
        .rows = file->rows,
        .bytes = file->bytes,
        .damaged = file->rows - file_readable_rows(file),
        .digest = target_digest(file->target),
        .first_time = file->first_time,
        .last_time = file->last_time,
        .waits_since = writer->now->running,
        .first_failed = file->first_failed,
        .connection = connection,
        .keyed = keyed || sink_ends_any(sink->ends),
        .bridge = runs,
    };
    if (file->bytes > writer->space->largest_file) writer->space->largest_file = file->bytes;
    return waiting_add(sink->waiting, &waiting);
}
