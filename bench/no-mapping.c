/*
 * The yardstick of P1-P3 that does what the gateway must do at least: a turn of the loop is
 * gathered into one message, a writer thread copies it into one LMDB value, commits with sync and
 * completes per message. It maps nothing: of each line of a body it commits the first 110 bytes.
 * Usage: no-mapping PORT DIRECTORY [nowait]
 */
#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/yardstick.h"

#define ROW_BYTES 110
#define REQUESTS_MAX 4096
#define BATCH_BYTES (8u << 20)
#define MAP_BYTES ((size_t)16 << 30)
#define KEPT_COMMITS 256 /* older ones are trimmed, so that the map stays small */

typedef struct Batch {
    h2o_multithread_message_t message;
    struct Batch *next;
    size_t requests, bytes;
    h2o_req_t *request[REQUESTS_MAX];
    char *rows;
} Batch;

static Yardstick yardstick;
static bool answer_after_sync = true;
static h2o_multithread_receiver_t receiver;
/* loop */
static Batch *current, *spare;
/* shared, under the lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static Batch *waiting, **waiting_tail = &waiting;

static void must(int result, const char *what) {
    if (result == 0) return;
    (void)fprintf(stderr, "%s: %s\n", what, mdb_strerror(result));
    exit(1);
}

static int on_request(h2o_handler_t *handler, h2o_req_t *request) {
    if (!current) {
        current = spare;
        if (current) {
            spare = current->next;
        } else {
            current = calloc(1, sizeof *current);
            current->rows = malloc(BATCH_BYTES);
        }
        current->message = (h2o_multithread_message_t){{NULL, NULL}};
        current->requests = current->bytes = 0;
    }
    const char *at = request->entity.base, *end = at + request->entity.len;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end) line_end = end;
        size_t size = (size_t)(line_end - at) < ROW_BYTES ? (size_t)(line_end - at) : ROW_BYTES;
        if (current->bytes + ROW_BYTES > BATCH_BYTES) break;
        memcpy(current->rows + current->bytes, at, size);
        current->bytes += size;
        at = line_end + 1;
    }
    current->request[current->requests++] = request;
    if (!answer_after_sync) yardstick_answer(request);
    return 0;
}

static void post_turn(void) {
    if (!current) return;
    (void)pthread_mutex_lock(&lock);
    current->next = NULL;
    *waiting_tail = current;
    waiting_tail = &current->next;
    (void)pthread_cond_signal(&filled);
    (void)pthread_mutex_unlock(&lock);
    current = NULL;
}

static void on_done(h2o_multithread_receiver_t *from, h2o_linklist_t *messages) {
    while (!h2o_linklist_is_empty(messages)) {
        h2o_multithread_message_t *message = H2O_STRUCT_FROM_MEMBER(h2o_multithread_message_t, link, messages->next);
        Batch *batch = H2O_STRUCT_FROM_MEMBER(Batch, message, message);
        h2o_linklist_unlink(&message->link);
        for (size_t i = 0; answer_after_sync && i < batch->requests; i++) yardstick_answer(batch->request[i]);
        batch->next = spare;
        spare = batch;
    }
}

static void *run_writer(void *context) {
    MDB_env *environment = context;
    MDB_dbi database;
    MDB_txn *txn;
    must(mdb_txn_begin(environment, NULL, 0, &txn), "begin");
    must(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &database), "open");
    must(mdb_txn_commit(txn), "commit");
    for (size_t number = 1;; number++) {
        (void)pthread_mutex_lock(&lock);
        while (!waiting) (void)pthread_cond_wait(&filled, &lock);
        Batch *batches = waiting;
        waiting = NULL;
        waiting_tail = &waiting;
        (void)pthread_mutex_unlock(&lock);

        size_t bytes = 0;
        for (Batch *batch = batches; batch; batch = batch->next) bytes += batch->bytes;
        must(mdb_txn_begin(environment, NULL, 0, &txn), "begin");
        MDB_val key = {sizeof number, &number}, value = {bytes, NULL};
        must(mdb_put(txn, database, &key, &value, MDB_APPEND | MDB_RESERVE), "put");
        char *to = value.mv_data;
        for (Batch *batch = batches; batch; batch = batch->next) {
            memcpy(to, batch->rows, batch->bytes);
            to += batch->bytes;
        }
        if (number > KEPT_COMMITS) {
            size_t old = number - KEPT_COMMITS;
            MDB_val old_key = {sizeof old, &old};
            must(mdb_del(txn, database, &old_key, NULL), "trim");
        }
        must(mdb_txn_commit(txn), "commit");
        for (Batch *batch = batches, *next; batch; batch = next) {
            next = batch->next;
            h2o_multithread_send_message(&receiver, &batch->message);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 3) return 1;
    answer_after_sync = argc == 3;
    MDB_env *environment;
    must(mdb_env_create(&environment), "create");
    must(mdb_env_set_mapsize(environment, MAP_BYTES), "map");
    must(mdb_env_open(environment, argv[2], 0, 0600), "open");
    yardstick_start(&yardstick, atoi(argv[1]), on_request);
    h2o_multithread_register_receiver(h2o_multithread_create_queue(yardstick.context.loop), &receiver, on_done);
    pthread_t writer;
    if (pthread_create(&writer, NULL, run_writer, environment) != 0) return 1;
    while (h2o_evloop_run(yardstick.context.loop, INT32_MAX) == 0) post_turn();
    return 0;
}
