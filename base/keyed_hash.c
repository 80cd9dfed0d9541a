#include "base/keyed_hash.h"

#include <pthread.h>

#include "base/error.h"
#include "base/random.h"

static HashKey process_key;
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void make_process_key(void) {
    random_bytes(&process_key, sizeof process_key);
    process_key.middle |= 1;
    process_key.end |= 1;
}

const HashKey *hash_key_of_process(void) {
    check(pthread_once(&process_key_once, make_process_key) == 0);
    return &process_key;
}

static void leave_process_key(void) {
}

void hash_key_fix(uint64_t seed) {
    process_key = hash_key_of_seed(seed);
    check(pthread_once(&process_key_once, leave_process_key) == 0);
}

HashKey hash_key_of_seed(uint64_t seed) {
    Random random = {.state = seed};
    HashKey key = {.first = random_next(&random), .last = random_next(&random)};
    key.middle = random_next(&random) | 1;
    key.end = random_next(&random) | 1;
    return key;
}
