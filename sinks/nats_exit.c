/*
 * When libnats was closed and its TLS was used, its exit handler frees the list of compression
 * methods, which is OpenSSL's: OpenSSL's own handler uses and frees it again (libnats 3.4.1,
 * OpenSSL 3.0). So the list is not there while the handler of libnats runs. Exit handlers run in
 * the opposite order of their registration: take_list, then that of libnats, then give_list_back,
 * then that of OpenSSL.
 */
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "sinks/nats_parts.h"

static STACK_OF(SSL_COMP) * list; /* at exit only */

static void take_list(void) {
    list = SSL_COMP_set0_compression_methods(NULL);
}

static void give_list_back(void) {
    (void)SSL_COMP_set0_compression_methods(list);
}

static void begin(void) {
    check(OPENSSL_init_ssl(0, NULL) == 1);
    check(atexit(give_list_back) == 0);
    check(nats_Open(-1) == NATS_OK);
    check(atexit(take_list) == 0);
}

void nats_library_begin(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    check(pthread_once(&once, begin) == 0);
}
