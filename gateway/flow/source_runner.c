#include "gateway/flow/source_runner.h"

void source_runners_check(SourceRunner *const *runners) {
    size_t runner_count = 0, kind_count = 0;
    for (; runners[runner_count]; runner_count++) check(runners[runner_count]->show && runners[runner_count]->drain);
    for (; source_kinds[kind_count]; kind_count++) {
        size_t found = 0;
        for (size_t i = 0; i < runner_count; i++) found += runners[i]->kind == source_kinds[kind_count];
        check(found == 1);
    }
    check(runner_count == kind_count);
}
