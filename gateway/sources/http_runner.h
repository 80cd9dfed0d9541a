/* Sources of type http run in the loops of the intake: each loop looks a request's source up in the
 * snapshot that it was shown last. */
#pragma once

#include "base/mailbox.h"
#include "gateway/flow/source_runner.h"

typedef struct HttpRunner {
    SourceRunner runner; /* first */
    Mailbox *const *loops;
    size_t loop_count;
} HttpRunner;

/* `loops`: mailboxes of the intakes; borrowed. A loop posts its own MESSAGE_DRAINED. */
void http_runner_init(HttpRunner *runner, Mailbox *const *loops, size_t loop_count);
