#include "sinks/replace_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "sinks/table_shape.h"

char *run_group(const char *group, uint64_t run) {
    char *text = NULL;
    check(run > 0 && run <= INT64_MAX);
    check(asprintf(&text, "%s#%" PRIu64, group, run) >= 0);
    return text;
}

uint64_t run_of_group(const char *group) {
    const char *hash = strrchr(group, '#');
    if (!hash || hash[1] < '1' || hash[1] > '9') return 0;
    uint64_t run = 0;
    for (const char *digit = hash + 1; *digit; digit++) {
        if (*digit < '0' || *digit > '9' || run > (uint64_t)INT64_MAX / 10) return 0;
        run = run * 10 + (uint64_t)(*digit - '0');
    }
    return run <= INT64_MAX ? run : 0;
}

bool run_is_earlier(const char *run_group, const char *than_run_group) {
    const char *hash = strrchr(run_group, '#');
    if (!hash || run_of_group(run_group) == 0) return false;
    return strncmp(run_group, than_run_group, (size_t)(hash - run_group) + 1) == 0 &&
           run_of_group(run_group) < run_of_group(than_run_group);
}

void run_marks_add(RunMarks *marks, const char *topic, int64_t next_offset, const char *topic_id) {
    if (next_offset <= 0 || !topic_id) return;
    if (strcmp(topic, REPLACE_MARK_RUN) == 0) {
        free(marks->run_group);
        marks->run = (uint64_t)next_offset;
        marks->run_group = text_copy(topic_id);
    } else if (strcmp(topic, REPLACE_MARK_DONE) == 0) {
        free(marks->done_group);
        marks->done = (uint64_t)next_offset;
        marks->done_group = text_copy(topic_id);
    }
}

void run_marks_deinit(RunMarks *marks) {
    free(marks->run_group);
    free(marks->done_group);
    *marks = (RunMarks){0};
}

static bool names(const char *mark, const char *run_group) {
    return mark && strcmp(mark, run_group) == 0;
}

bool run_marks_open(const RunMarks *marks, const char *run_group) {
    return names(marks->run_group, run_group) && !names(marks->done_group, run_group);
}

static bool is_later(uint64_t run, const char *group, uint64_t than_run, const char *than_group) {
    return group && (run != than_run ? run > than_run : strcmp(group, than_group) > 0);
}

RunState run_marks_state(const RunMarks *marks, const char *run_group, bool *ret_is_new) {
    uint64_t run = run_of_group(run_group);
    check(run > 0);
    *ret_is_new = false;
    if (names(marks->done_group, run_group)) return RUN_DONE;
    if (is_later(marks->run, marks->run_group, run, run_group) || is_later(marks->done, marks->done_group, run, run_group))
        return RUN_SUPERSEDED;
    *ret_is_new = !names(marks->run_group, run_group);
    return RUN_OPEN;
}

uint64_t run_marks_last(const RunMarks *marks) {
    return marks->run > marks->done ? marks->run : marks->done;
}

void run_marks_evaluate(const RunMarks *marks, ImportPosition *positions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ImportPosition *position = &positions[i];
        position->over = !run_marks_open(marks, position->key.group);
        if (!position->over) continue;
        position->found = false;
        position->read = 0;
    }
}

void side_target_init(SinkTarget *side, const SinkTarget *target) {
    check(target->type == TARGET_TABLE && target->table.strategy == STRATEGY_REPLACE);
    *side = *target;
    side->table.table_id = NULL;
    check(asprintf(&side->table.table_id, "%s%s", target->table.table_id, REPLACE_SIDE_SUFFIX) >= 0);
    side->table.strategy = sink_table_has_key(target) ? STRATEGY_MERGE : STRATEGY_APPEND;
}

void side_target_deinit(SinkTarget *side) {
    free(side->table.table_id);
    side->table.table_id = NULL;
}
