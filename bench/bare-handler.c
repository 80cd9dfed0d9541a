/* The limit of P1 and P2: a libh2o handler that answers `OK` and does nothing else. Usage:
 * bare-handler PORT */
#include <stdlib.h>

#include "bench/yardstick.h"

static int on_request(h2o_handler_t *handler, h2o_req_t *request) {
    yardstick_answer(request);
    return 0;
}

int main(int argc, char **argv) {
    static Yardstick yardstick;
    if (argc != 2) return 1;
    yardstick_start(&yardstick, atoi(argv[1]), on_request);
    while (h2o_evloop_run(yardstick.context.loop, INT32_MAX) == 0) continue;
    return 0;
}
