#include "gateway/sources/http_runner.h"

#include <stdlib.h>

#include "gateway/flow/messages.h"
#include "gateway/flow/request.h"

static void show(SourceRunner *runner, Snapshot *snapshot) {
    const HttpRunner *http = (const HttpRunner *)runner;
    for (size_t i = 0; i < http->loop_count; i++) {
        SnapshotNews *news = calloc(1, sizeof *news);
        check(news);
        news->message.kind = MESSAGE_SNAPSHOT;
        news->snapshot = snapshot_ref(snapshot);
        mailbox_post(http->loops[i], &news->message);
    }
}

static size_t drain(SourceRunner *runner, usec_t until) {
    const HttpRunner *http = (const HttpRunner *)runner;
    for (size_t i = 0; i < http->loop_count; i++) drain_post(http->loops[i], until);
    return http->loop_count;
}

void http_runner_init(HttpRunner *runner, Mailbox *const *loops, size_t loop_count) {
    *runner = (HttpRunner){
        .runner = {.kind = &source_kind_http, .show = show, .drain = drain},
        .loops = loops,
        .loop_count = loop_count,
    };
}
