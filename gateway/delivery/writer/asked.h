/* What the control thread asks for: closing, statistics, rejects, files. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_close_asked(Writer *writer, Close *close);
void writer_answer_totals(Writer *writer, TotalsQuery *query);
void writer_remove_rejects(Writer *writer, RejectsRemove *remove);
void writer_file_action(Writer *writer, FileAction *action);
