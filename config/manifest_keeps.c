#include "config/manifest_keeps.h"

#include <string.h>

const ManifestKeep manifest_keeps[] = {
    {"`secret` of a source", "source", "secret", "A manifest with another secret changes it."},
    {"`onInvalid` of a sink", "sink", "onInvalid", "It is chosen when the sink is created. A manifest with the other value changes it."},
    {"settings that were set by the API",
     .sentence = "The plan lists them as kept. `apply --reset-settings` takes them back, and so does a manifest with the value `null`."},
    {"columns that `infer` made", .sentence = "They stay with the sink for as long as it has `infer` and the same table."},
    {"disabled sources and sinks", .sentence = "They are enabled through the API."},
    {"paused sources and sinks", .sentence = "`sluice resume` ends the pause."},
    {"positions of a source that reads a broker", .sentence = "`sluice seek` changes them."},
    {"sinks that the manifest does not name", .sentence = "`apply --prune` deletes them."},
    {0},
};

bool manifest_keeps_field(const char *of, const char *field) {
    for (const ManifestKeep *row = manifest_keeps; row->what; row++)
        if (row->field && strcmp(row->of, of) == 0 && strcmp(row->field, field) == 0) return true;
    return false;
}

void manifest_keeps_document(Buffer *out) {
    buffer_append_text(out, "| what stays as it is | how it is changed |\n|---|---|\n");
    for (const ManifestKeep *row = manifest_keeps; row->what; row++) buffer_printf(out, "| %s | %s |\n", row->what, row->sentence);
}
