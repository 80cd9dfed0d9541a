#include "gateway/delivery/writer/recorded.h"

#include "base/failpoint.h"
#include "gateway/delivery/writer/import.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/stage.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/transaction.h"

void writer_record_ended(Writer *writer) {
    Txn *txn;
    Error error = {0};
    bool any_stages = writer->stages->ended, any_imports = writer->imports->ended;
    if (!any_stages && !any_imports) return;
    (void)failpoint_hit("writer.before-record");
    bool recorded = writer_record_begin(writer, &txn);
    if (recorded) {
        /* Imports first: what was staged of their sinks may be enough for the next one. */
        int r = any_imports ? writer_record_imports(writer, txn, &error) : 0;
        if (r == 0 && any_stages) r = writer_record_stages(writer, txn, &error);
        recorded = writer_record_end(writer, txn, r, "cannot record what was staged and imported", &error);
    }
    if (any_stages) writer_stages_recorded(writer, recorded);
    if (any_imports) writer_imports_recorded(writer, recorded);
}
