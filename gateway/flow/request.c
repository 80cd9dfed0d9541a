#include "gateway/flow/request.h"

#include <stdlib.h>

void request_drop(Request *request) {
    if (request->drop) {
        request->drop(request);
    } else {
        free(request);
    }
}
