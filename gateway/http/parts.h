/* The loop and its connections, as all of its parts see them. Everything here belongs to the loop's
 * thread, but for what says otherwise. */
#pragma once

#include <h2o.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "base/uuid.h"
#include "gateway/flow/usage.h"
#include "gateway/http/chunked.h"
#include "gateway/http/client_address.h"
#include "gateway/http/handler.h"
#include "gateway/http/head.h"
#include "gateway/http/listener.h"

#define LINGERS_MAX 32
_Static_assert(HTTP_LOOP_DESCRIPTORS >= LINGERS_MAX + HTTP_LISTENER_SOCKETS_MAX + 7,
               "listeners, a poller, a queue, and what a moment needs");

/* An unfinished request of so many bytes is looked at. */
#define HTTP_QUESTION_BYTES ((size_t)16 * 1024)
#define HTTP_FRAMED_TOO_MUCH "The chunk extensions and trailers of the request are too large (option limits.headers)."

typedef struct HttpLoop HttpLoop;

typedef enum ConnectionState {
    CONNECTION_IDLE,       /* no byte of a request is there */
    CONNECTION_UNFINISHED, /* a part of a request is there */
    CONNECTION_PARKED,     /* the handler has the request */
    CONNECTION_WRITING,
} ConnectionState;

/* Who goes first when there are more connections than places (places.c). */
typedef enum PlaceRank {
    RANK_SILENT,
    RANK_IDLE,
    RANK_STALLED,
    RANK_KEPT, /* does not go */
} PlaceRank;

/* One connection; lives from accept until libh2o closes the socket. The socket's on_close.data
 * points to it. */
typedef struct HttpConnection {
    h2o_linklist_t order_link; /* in HttpLoop.silent or .served */
    HttpLoop *loop;
    h2o_socket_t *socket;
    HttpHead head;               /* of the request that comes, or that the handler has */
    uint64_t requests;           /* that reached the handler */
    h2o_socket_cb library_read;  /* what libh2o wants called when something was read; http_loop_on_read stands before it */
    h2o_socket_cb library_write; /* the same for what was written; on_written stands before it */
    size_t request_size;         /* of the request that the handler has, head and body; 0: chunked */
    const char *head_at; /* where `head` was read, the begin of the input; NULL: it is not whole or not sound, and `head` says nothing */
    ChunkedBody chunked; /* with head_at and a chunked head: its body, as far as it came */
    bool parked_reads;   /* the handler has it, and it reads all the same: see http_connection_parked */
    bool answered;       /* the answer to the request is being written */
    /* share of a turn */
    uint64_t turn;          /* in which the next two were counted */
    unsigned turn_requests; /* that the handler got in that turn */
    size_t turn_bytes;      /* of their bodies */
    h2o_req_t *deferred;    /* whole, but its share of the turn was used up: the handler gets it in a later turn */
    h2o_linklist_t deferred_link;
    usec_t opened;       /* boot time */
    usec_t heard;        /* boot time of its last byte, at first of `opened`; of its last whole request when it is served */
    usec_t spared_until; /* boot time; until then it is new: what is above the cap is taken from older ones, of any loop */
    bool served;         /* it sent a whole request once */
    bool doomed;         /* the sweep has shut it down: libh2o closes it when its write fails */
    bool linger;         /* its answer should arrive although the peer is still sending */
    /* sweep */
    ConnectionState state; /* as last seen */
    uint64_t seen_requests;
    usec_t since;      /* boot time at which the sweep first saw this state of this request */
    size_t head_size;  /* of the unfinished request; 0: its head is not whole */
    size_t whole_size; /* of the unfinished request, head and body; SIZE_MAX: chunked */
    bool may_send;     /* asked, and yes */
    size_t counted;    /* of its input, in fresh_bytes */
    uint64_t acked;    /* bytes that the peer has acknowledged when `since` was set */
    /* drain */
    usec_t drain_begin, drain_heard; /* boot times at which a drain first saw its unfinished request, and last saw bytes come; 0: not yet */
    size_t drain_first, drain_last;  /* bytes of input then */
    /* address */
    unsigned address_slot; /* in Usage.connections_of; USAGE_ADDRESS_SLOTS: not counted */
    unsigned peer_size;
    char peer[ADDRESS_TEXT_BYTES];
} HttpConnection;

/* A socket whose answer has been written, but whose peer may still be sending: closing it now would
 * reset it before the answer is read. */
typedef struct Linger {
    int fd;
    usec_t until;
} Linger;

struct HttpLoop {
    ThreadOwner owner; /* the loop's thread */
    /* set before the thread starts */
    HttpLimits limits;
    HttpHandler handler;
    Usage *usage;
    HttpListener listener; /* our own dups; each belongs to its h2o socket once there is one */
    Thread thread;
    Mailbox *mailbox;
    /* any thread */
    h2o_multithread_receiver_t receiver; /* only to wake the loop */
    atomic_bool drain_wanted, stop_wanted;
    usec_t drain_until; /* boot time; this and the next two are set before drain_wanted */
    void (*drained)(void *context);
    void *drained_context;
    /* start: the thread tells whether it could */
    sem_t started;
    sem_t released; /* stop: nobody wakes the loop any more, it may be taken apart */
    /* loop thread */
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_evloop_t *evloop;
    h2o_accept_ctx_t accept_context;
    h2o_socket_t *listeners[HTTP_LISTENER_SOCKETS_MAX];
    size_t listener_count;
    bool listener_paused;    /* out of descriptors; tried again by the sweep */
    h2o_linklist_t silent;   /* connections that never sent a whole request, ordered by last activity, the oldest first */
    h2o_linklist_t served;   /* the others, ordered by last request, the oldest first */
    size_t connection_count; /* of both */
    unsigned index;          /* in what the loops of a listener publish of each other (Usage.first_heard) */
    usec_t now;              /* boot time at the end of the last turn */
    usec_t above_since;      /* boot time since when this loop knows that there are too many; 0: there are not */
    bool nobody_may_go;      /* room was wanted and no connection could end; looked at again after the next sweep */
    bool nobody_old;         /* the same, of connections that are not new */
    h2o_linklist_t deferred; /* connections with a deferred request, longest first */
    uint64_t turn;           /* counts turns */
    unsigned turn_extra;     /* requests that the handler got in this turn, without the first of each connection */
    bool draining, drained_told;
    UuidSource ids;
    Buffer scratch;
    /* sweep */
    bool answered;                   /* the last turn answered requests: the library may have callbacks to run */
    usec_t swept_at, sweep_interval; /* boot time */
    uint64_t unfinished_bytes;       /* this loop's part of usage->unfinished_bytes */
    uint64_t fresh_bytes;            /* input that came since the last sweep */
    HttpConnection *reading;         /* the one whose input is being looked at; NULL as soon as it is closed */
    HttpConnection *writing;         /* the one whose answer was written just now; NULL as soon as it is closed */
    Linger lingers[LINGERS_MAX];
    size_t linger_count;
};
