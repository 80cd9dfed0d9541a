/* What control asks those who run sources that read a broker. */
#include "gateway/control/parts.h"

static SourceRunner *runner_of(const Control *control, const Source *source) {
    for (size_t i = 0; control->view.connected && control->peers.runners[i]; i++)
        if (control->peers.runners[i]->kind == source->kind) return control->peers.runners[i];
    return NULL;
}

BridgeStatus *control_bridge_status(const Control *control, const Source *source) {
    check_on_thread(&control->owner);
    SourceRunner *runner = runner_of(control, source);
    return runner && runner->status ? runner->status(runner, source->number) : NULL;
}

bool control_ask_bridge(Control *control, PendingRequest *pending, const Source *source, Request *take_request) {
    check_on_thread(&control->owner);
    SourceRunner *runner = runner_of(control, source);
    if (!runner || !runner->ask) return false;
    take_request->reply = control->mailbox;
    take_request->context = pending;
    if (!runner->ask(runner, source->number, take_request)) return false;
    if (!pending->link) pending_request_begin(control, pending);
    return true;
}
