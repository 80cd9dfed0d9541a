/* What leaves the log: which sinks are due, what the stager gets next, and what it brought back;
 * closing files. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_evaluate(Writer *writer, SinkState *sink);
void writer_give_out_stages(Writer *writer);
void writer_stage_back(Writer *writer, Stage *take_stage);
/* Of those that came back in this step: what they brought, within the transaction that records it
 * (recorded.h); then what follows from that. */
int writer_record_stages(Writer *writer, Txn *txn, Error *error);
void writer_stages_recorded(Writer *writer, bool recorded);
void writer_close_files(Writer *writer); /* those in the close queue */
/* The sink is not staged in the next Stages after all. */
void writer_unqueue_stage(Writer *writer, SinkState *sink);
/* May rows of it leave the log? Not if it is stopped, or if the record of their target is damaged. */
bool writer_can_stage(const SinkState *sink);
void stage_free(Stage *stage);
