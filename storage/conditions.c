#include "storage/conditions.h"

static uint64_t setting(SettingId id, const Settings *source, const Settings *sink) {
    int64_t value = settings_effective(id, source, sink);
    return value > 0 ? (uint64_t)value : 0;
}

void conditions_from_settings(Conditions *conditions, const Settings *source, const Settings *sink) {
    *conditions = (Conditions){
        .upload_rows = setting(SETTING_UPLOAD_COUNT, source, sink),
        .upload_bytes = setting(SETTING_UPLOAD_SIZE, source, sink),
        .upload_age = settings_effective(SETTING_UPLOAD_INTERVAL, source, sink),
        .import_rows = setting(SETTING_IMPORT_COUNT, source, sink),
        .import_bytes = setting(SETTING_IMPORT_SIZE, source, sink),
        .import_age = settings_effective(SETTING_IMPORT_INTERVAL, source, sink),
    };
}

static CloseReason close_reason(const Conditions *conditions, uint64_t rows, uint64_t bytes, usec_t age, bool failing) {
    if (rows >= conditions->import_rows) return CLOSE_COUNT;
    if (bytes >= conditions->import_bytes) return CLOSE_SIZE;
    if (age >= conditions->import_age && !failing) return CLOSE_TIME;
    return CLOSE_NONE;
}

static usec_t earlier(usec_t a, usec_t b) {
    return a < b ? a : b;
}

ConditionsVerdict conditions_evaluate(const Conditions *conditions, const Waiting *waiting, bool failing) {
    ConditionsVerdict verdict = {.next = USEC_NEVER};
    bool in_log = waiting->log_rows > 0, in_file = waiting->file_rows > 0;
    if (!in_log && !in_file) return verdict;

    usec_t log_age = in_log ? waiting->log_age : 0;
    usec_t age = in_file && waiting->file_age > log_age ? waiting->file_age : log_age;
    verdict.close = close_reason(conditions, waiting->log_rows + waiting->file_rows, waiting->log_bytes + waiting->file_bytes, age,
                                 failing);
    verdict.stage = in_log && (verdict.close != CLOSE_NONE || waiting->log_rows >= conditions->upload_rows ||
                               waiting->log_bytes >= conditions->upload_bytes || log_age >= conditions->upload_age);

    /* Of what holds already the caller knows: only what is still to come counts. */
    if (in_log && !verdict.stage) verdict.next = conditions->upload_age - log_age;
    if (verdict.close == CLOSE_NONE && !failing) verdict.next = earlier(verdict.next, conditions->import_age - age);
    check(verdict.next > 0 && (verdict.close == CLOSE_NONE || !in_log || verdict.stage));
    return verdict;
}
