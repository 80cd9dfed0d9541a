/* Backups of the gateway. */
#include "gateway/api/router.h"

void api_backup(ApiRequest *request) {
    Failure failure = {0};
    api_taken(request, control_backup(request->control, request->parameters[0], request->by, request->call, &failure), &failure);
}
