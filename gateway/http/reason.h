/* The words of HTTP statuses. Any thread. */
#pragma once

/* "Not Found"; for a status that is not known, the name of its class. */
const char *http_reason(int status);
