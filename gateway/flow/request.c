#include "gateway/flow/request.h"

#include <errno.h>
#include <stdlib.h>

void request_drop(Request *request) {
    if (request->drop) {
        request->drop(request);
    } else {
        free(request);
    }
}

void request_refuse(Request *request, const char *text) {
    request->result = error_set(&request->error, -ECANCELED, "%s", text);
    request_answer(request);
}
