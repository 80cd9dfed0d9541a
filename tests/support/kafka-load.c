/*
 * Records for a Kafka broker, and what the broker has of them.
 *
 *   kafka-load produce BROKERS TOPIC COUNT --event FILE [--rate N] [--stamp]
 *   kafka-load flow    BROKERS TOPIC COUNT [--rate N] [--seed N] [--name NAME] [--first N] [--transactions MOST]
 *                                          [--abort PERCENT] [--tombstones N] [--bad N]
 *   kafka-load count   BROKERS TOPIC COUNT
 *   kafka-load list    BROKERS TOPIC
 *
 * `produce` sends the same value COUNT times, to the partitions in turn, as fast as it can or at a
 * fixed rate. With --stamp it begins with {"n": number, "due": when it was due at that rate,
 * microseconds since 1970. Prints JSON, with the milliseconds from the call that sends a record to
 * its acknowledgement: of half of them at most, of 99 %, and of all.
 *
 * `flow` is a producer that lives through faults of the broker: it ends when COUNT records are
 * known to be stored. Records that are stored without that being known come beside them, so what
 * counts is what `list` says. With --transactions it writes transactions of up to MOST records, and
 * aborts PERCENT of them. Of a thousand records N are tombstones, and N are not JSON. Values are
 * {"n":number,...} of different sizes, numbered from --first on. Each second it prints how many
 * records are stored.
 *
 * `count` reads COUNT records with rd_kafka_consumer_poll, and nothing else: the limit of what a
 * consumer can do. Prints JSON.
 *
 * `list` prints a line PARTITION,OFFSET,N of each committed record that is neither a tombstone nor
 * bad, and on standard error the offset behind the last of each partition as JSON.
 */
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/error.h"
#include "tests/support/number.h"

enum { VALUE_MAX = 65536, PATIENCE_MS = 60000, PARTITIONS_MAX = 10000 };
#define SECOND INT64_C(1000000)

typedef struct Load {
    const char *brokers, *topic, *name;
    uint64_t count, rate, seed, first;
    bool stamp;
    char event[VALUE_MAX];
    size_t event_size;
    unsigned transactions, abort_percent, tombstones, bad;
    int64_t *took; /* microseconds until the acknowledgement, by delivery; owned; NULL: not measured */

    rd_kafka_t *client;
    uint64_t made;      /* numbers given to records, by all producers of this process */
    uint64_t delivered; /* acknowledged by the broker, of the producer that there is now, in the transaction that is open */
    uint64_t failed;    /* the same, not delivered */
    uint64_t stored;    /* known to be there for good */
    int64_t began, said;
} Load;

static _Noreturn void die(const char *what, const char *why) {
    (void)fprintf(stderr, "kafka-load: %s: %s\n", what, why);
    exit(1);
}

static int64_t now(clockid_t clock) {
    struct timespec time;
    check(clock_gettime(clock, &time) == 0);
    return (int64_t)time.tv_sec * SECOND + time.tv_nsec / 1000;
}

static double processor_seconds(void) {
    struct rusage usage;
    check(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static uint64_t draw(Load *load, uint64_t below) { /* xorshift */
    load->seed ^= load->seed << 13;
    load->seed ^= load->seed >> 7;
    load->seed ^= load->seed << 17;
    return load->seed % below;
}

static void set(rd_kafka_conf_t *settings, const char *name, const char *value) {
    char error[512];
    if (rd_kafka_conf_set(settings, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) die(name, error);
}

static rd_kafka_t *open_client(Load *load, rd_kafka_type_t type, rd_kafka_conf_t *settings) {
    char error[512];
    set(settings, "bootstrap.servers", load->brokers);
    rd_kafka_conf_set_opaque(settings, load);
    rd_kafka_t *client = rd_kafka_new(type, settings, error, sizeof error);
    if (!client) die("cannot start the library", error);
    return client;
}

static int32_t count_partitions(rd_kafka_t *client, const char *topic) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    rd_kafka_resp_err_t problem = rd_kafka_metadata(client, 0, handle, &metadata, PATIENCE_MS);
    if (problem) die("no metadata", rd_kafka_err2str(problem));
    int32_t count = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    if (count < 1 || count > PARTITIONS_MAX) die(topic, "has no partitions");
    return count;
}

static void note_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *context) {
    Load *load = context;
    if (load->took && !message->err) load->took[load->delivered] = rd_kafka_message_latency(message);
    message->err ? load->failed++ : load->delivered++;
}

/* ---- produce ---- */

static int compare_times(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void produce(Load *load) {
    rd_kafka_conf_t *settings = rd_kafka_conf_new();
    set(settings, "acks", "all");
    /* The library's own value. With 1 ms at 5,000 records/s each record is a request of its own,
     * and a broker that shares two cores with what is measured falls behind. */
    set(settings, "linger.ms", load->rate ? "5" : "20");
    set(settings, "batch.num.messages", "10000");
    set(settings, "queue.buffering.max.messages", "500000");
    rd_kafka_conf_set_dr_msg_cb(settings, note_delivery);
    load->client = open_client(load, RD_KAFKA_PRODUCER, settings);
    load->took = calloc(load->count + 1, sizeof *load->took);
    check(load->took);
    int32_t partitions = count_partitions(load->client, load->topic);
    int64_t began = now(CLOCK_MONOTONIC), epoch = now(CLOCK_REALTIME) - began;
    char value[VALUE_MAX + 128];
    for (uint64_t i = 0; i < load->count; i++) {
        int64_t due = load->rate ? began + (int64_t)(i * (uint64_t)SECOND / load->rate) : now(CLOCK_MONOTONIC);
        while (load->rate && now(CLOCK_MONOTONIC) < due) (void)rd_kafka_poll(load->client, 1);
        const char *sent = load->event;
        size_t size = load->event_size;
        if (load->stamp) {
            int length = snprintf(value, sizeof value, "{\"n\":%llu,\"due\":%lld,%s", (unsigned long long)i, (long long)(due + epoch),
                                  load->event + 1);
            check(length > 0 && (size_t)length < sizeof value);
            sent = value;
            size = (size_t)length;
        }
        for (;;) {
            rd_kafka_resp_err_t problem = rd_kafka_producev(
                load->client, RD_KAFKA_V_TOPIC(load->topic), RD_KAFKA_V_PARTITION((int32_t)(i % (uint64_t)partitions)),
                RD_KAFKA_V_VALUE((void *)(uintptr_t)sent, size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
            if (!problem) break;
            if (problem != RD_KAFKA_RESP_ERR__QUEUE_FULL) die("cannot produce", rd_kafka_err2str(problem));
            (void)rd_kafka_poll(load->client, 10);
        }
        if (i % 1000 == 0) (void)rd_kafka_poll(load->client, 0);
    }
    rd_kafka_resp_err_t problem = rd_kafka_flush(load->client, 2 * PATIENCE_MS);
    if (problem || load->delivered != load->count) die("not all was delivered", rd_kafka_err2str(problem));
    double seconds = (double)(now(CLOCK_MONOTONIC) - began) / SECOND;
    qsort(load->took, load->count, sizeof *load->took, compare_times);
    const int64_t *took = load->took, last = load->count > 0 ? (int64_t)load->count - 1 : 0;
    printf("{\"records\":%llu,\"seconds\":%.3f,\"acknowledged\":[%.1f,%.1f,%.1f]}\n", (unsigned long long)load->count, seconds,
           (double)took[last / 2] / 1e3, (double)took[last * 99 / 100] / 1e3, (double)took[last] / 1e3);
    rd_kafka_destroy(load->client);
    free(load->took);
    load->took = NULL;
}

/* ---- flow ---- */

static void say(Load *load, bool always) {
    if (!always && now(CLOCK_MONOTONIC) - load->said < SECOND) return;
    load->said = now(CLOCK_MONOTONIC);
    printf("%llu\n", (unsigned long long)(load->stored + (load->transactions ? 0 : load->delivered)));
    (void)fflush(stdout);
}

static bool is_fatal(Load *load) {
    char text[512];
    return rd_kafka_fatal_error(load->client, text, sizeof text) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

typedef enum Ending { ENDING_DONE, ENDING_ABORT, ENDING_BROKEN } Ending;

/* What is left to do after a call of the transaction's life. */
static Ending settle(rd_kafka_error_t *take_error, bool *ret_again) {
    *ret_again = false;
    if (!take_error) return ENDING_DONE;
    *ret_again = rd_kafka_error_is_retriable(take_error);
    Ending ending = rd_kafka_error_txn_requires_abort(take_error) ? ENDING_ABORT : ENDING_BROKEN;
    if (!*ret_again) (void)fprintf(stderr, "%s\n", rd_kafka_error_string(take_error));
    rd_kafka_error_destroy(take_error);
    return ending;
}

static Ending end_transaction(Load *load, bool commit) {
    for (bool again = true; again;) {
        Ending ending = settle(commit ? rd_kafka_commit_transaction(load->client, PATIENCE_MS)
                                      : rd_kafka_abort_transaction(load->client, PATIENCE_MS),
                               &again);
        if (!again && (ending != ENDING_ABORT || !commit)) return ending;
        if (!again) {
            (void)end_transaction(load, false);
            return ENDING_ABORT;
        }
    }
    return ENDING_BROKEN;
}

static bool open_producer(Load *load) {
    rd_kafka_conf_t *settings = rd_kafka_conf_new();
    set(settings, "enable.idempotence", "true");
    set(settings, "linger.ms", "5");
    set(settings, "topic.metadata.refresh.interval.ms", "2000"); /* partitions that are added get records soon */
    set(settings, "sticky.partitioning.linger.ms", "0");
    set(settings, "queue.buffering.max.messages", "100000");
    rd_kafka_conf_set_dr_msg_cb(settings, note_delivery);
    if (load->transactions) {
        set(settings, "transactional.id", load->name);
        set(settings, "transaction.timeout.ms", "10000");
    } else {
        set(settings, "message.timeout.ms", "0");
    }
    load->delivered = load->failed = 0;
    load->client = open_client(load, RD_KAFKA_PRODUCER, settings);
    if (!load->transactions) return true;
    for (bool again = true; again;) {
        if (settle(rd_kafka_init_transactions(load->client, PATIENCE_MS), &again) == ENDING_DONE) return true;
    }
    return false;
}

static rd_kafka_resp_err_t send_one(Load *load) {
    char value[1024];
    int length = snprintf(
        value, sizeof value, "{\"n\":%llu,\"by\":\"%s\",\"pad\":\"%.*s\"}", (unsigned long long)(load->first + load->made), load->name,
        (int)draw(load, 400),
        "abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 "
        "abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 "
        "abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 ");
    check(length > 0 && (size_t)length < sizeof value);
    uint64_t kind = draw(load, 1000);
    bool tombstone = kind < load->tombstones;
    if (!tombstone && kind < load->tombstones + load->bad) value[0] = '#';
    load->made++;
    return rd_kafka_producev(load->client, RD_KAFKA_V_TOPIC(load->topic),
                             RD_KAFKA_V_VALUE(tombstone ? NULL : value, tombstone ? 0 : (size_t)length),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
}

/* Until the next record is due. What a fault of the broker held up is not made up for: the load
 * stays even. */
static void wait_turn(Load *load) {
    if (!load->rate) return;
    int64_t due = load->began + (int64_t)(load->made * (uint64_t)SECOND / load->rate);
    int64_t late = now(CLOCK_MONOTONIC) - due;
    if (late > SECOND) load->began += late;
    while (now(CLOCK_MONOTONIC) < due) {
        (void)rd_kafka_poll(load->client, 1);
        say(load, false);
    }
}

/* Sends `count` records at the rate; false: the producer is of no use any more. */
static bool send_some(Load *load, uint64_t count) {
    for (uint64_t i = 0; i < count;) {
        wait_turn(load);
        rd_kafka_resp_err_t problem = send_one(load);
        if (problem == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            (void)rd_kafka_poll(load->client, 10);
            say(load, false);
        } else if (problem) {
            return false;
        } else {
            i++;
        }
        if (i % 100 == 0) (void)rd_kafka_poll(load->client, 0);
    }
    return !is_fatal(load);
}

/* One transaction; false: the producer is of no use any more. */
static bool flow_transaction(Load *load) {
    bool again;
    do {
        if (settle(rd_kafka_begin_transaction(load->client), &again) != ENDING_DONE && !again) return false;
    } while (again);
    uint64_t count = 1 + draw(load, load->transactions);
    bool keep = draw(load, 100) >= load->abort_percent;
    if (!send_some(load, count) && is_fatal(load)) return false;
    if (keep) { /* what was not delivered makes the commit fail */
        Ending ending = end_transaction(load, true);
        if (ending == ENDING_DONE) load->stored += count;
        return ending != ENDING_BROKEN;
    }
    /* So that there is something to abort at the broker. */
    if (draw(load, 2) && rd_kafka_flush(load->client, 1000)) (void)fprintf(stderr, "a transaction is aborted before all of it was sent\n");
    return end_transaction(load, false) == ENDING_DONE;
}

static void flow(Load *load) {
    load->began = now(CLOCK_MONOTONIC);
    while (load->stored < load->count) {
        bool usable = open_producer(load);
        while (usable && load->stored < load->count) {
            if (load->transactions) {
                usable = flow_transaction(load);
            } else {
                usable = send_some(load, load->stored + load->delivered < load->count ? 100 : 0);
                if (load->stored + load->delivered + (uint64_t)rd_kafka_outq_len(load->client) >= load->count) {
                    while (!is_fatal(load) && rd_kafka_flush(load->client, 1000)) say(load, false);
                }
                usable = usable && !is_fatal(load);
                if (load->stored + load->delivered >= load->count) break;
            }
            say(load, false);
        }
        if (!load->transactions) load->stored += load->delivered;
        load->delivered = 0;
        if (!usable) (void)fprintf(stderr, "a new producer is needed\n");
        rd_kafka_destroy(load->client);
    }
    say(load, true);
}

/* ---- count, list ---- */

static int32_t read_from_the_beginning(Load *load, bool ends) {
    rd_kafka_conf_t *settings = rd_kafka_conf_new();
    set(settings, "group.id", "kafka-load");
    set(settings, "enable.auto.commit", "false");
    set(settings, "isolation.level", "read_committed");
    set(settings, "enable.partition.eof", ends ? "true" : "false");
    load->client = open_client(load, RD_KAFKA_CONSUMER, settings);
    (void)rd_kafka_poll_set_consumer(load->client);
    int32_t partitions = count_partitions(load->client, load->topic);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int32_t i = 0; i < partitions; i++) rd_kafka_topic_partition_list_add(list, load->topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_resp_err_t problem = rd_kafka_assign(load->client, list);
    if (problem) die("cannot read", rd_kafka_err2str(problem));
    rd_kafka_topic_partition_list_destroy(list);
    return partitions;
}

static void end_reading(Load *load) {
    (void)rd_kafka_consumer_close(load->client);
    rd_kafka_destroy(load->client);
}

static void count_records(Load *load) {
    int64_t began = now(CLOCK_MONOTONIC), first = began;
    double processor = processor_seconds();
    (void)read_from_the_beginning(load, false);
    uint64_t bytes = 0;
    for (uint64_t seen = 0; seen < load->count;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(load->client, PATIENCE_MS);
        if (!message) die("nothing comes", "a minute");
        if (!message->err) {
            if (!seen++) first = now(CLOCK_MONOTONIC);
            bytes += message->len;
        }
        rd_kafka_message_destroy(message);
    }
    int64_t ended = now(CLOCK_MONOTONIC);
    printf("{\"records\":%llu,\"bytes\":%llu,\"seconds\":%.3f,\"reading\":%.3f,\"processor\":%.3f}\n", (unsigned long long)load->count,
           (unsigned long long)bytes, (double)(ended - began) / SECOND, (double)(ended - first) / SECOND, processor_seconds() - processor);
    end_reading(load);
}

static void list_records(Load *load) {
    int32_t partitions = read_from_the_beginning(load, true);
    int64_t ends[PARTITIONS_MAX];
    for (int32_t i = 0; i < partitions; i++) ends[i] = -1;
    for (int32_t ended = 0; ended < partitions;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(load->client, PATIENCE_MS);
        if (!message) die("nothing comes", "a minute");
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            if (ends[message->partition] < 0) ended++;
            ends[message->partition] = message->offset;
        } else if (message->err) {
            (void)fprintf(stderr, "%s\n", rd_kafka_message_errstr(message));
        } else if (message->len > 5 && memcmp(message->payload, "{\"n\":", 5) == 0) {
            const char *number = (const char *)message->payload + 5;
            printf("%d,%lld,%.*s\n", message->partition, (long long)message->offset, (int)strspn(number, "0123456789"), number);
        }
        rd_kafka_message_destroy(message);
    }
    for (int32_t i = 0; i < partitions; i++) (void)fprintf(stderr, "%s\"%d\":%lld", i ? "," : "{", i, (long long)ends[i]);
    (void)fprintf(stderr, "}\n");
    end_reading(load);
}

static void read_event(Load *load, const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) die(path, "cannot be opened");
    load->event_size = fread(load->event, 1, sizeof load->event - 1, file);
    (void)fclose(file);
    while (load->event_size && load->event[load->event_size - 1] == '\n') load->event_size--;
    load->event[load->event_size] = 0;
    if (load->event_size < 2) die(path, "is empty");
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"event", required_argument, NULL, 'e'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"stamp", no_argument, NULL, 's'},
                                            {"seed", required_argument, NULL, 'S'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"first", required_argument, NULL, 'f'},
                                            {"transactions", required_argument, NULL, 't'},
                                            {"abort", required_argument, NULL, 'a'},
                                            {"tombstones", required_argument, NULL, 'T'},
                                            {"bad", required_argument, NULL, 'b'},
                                            {NULL, 0, NULL, 0}};
    static Load load = {.name = "flow", .seed = 1};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'e': read_event(&load, optarg); break;
        case 'r': load.rate = number_of(optarg, 1, 10000000); break;
        case 's': load.stamp = true; break;
        case 'S': load.seed = number_of(optarg, 0, INT64_MAX) * 0x9e3779b97f4a7c15 + 1; break;
        case 'n': load.name = optarg; break;
        case 'f': load.first = number_of(optarg, 0, INT64_MAX / 2); break;
        case 't': load.transactions = (unsigned)number_of(optarg, 1, 100000); break;
        case 'a': load.abort_percent = (unsigned)number_of(optarg, 0, 99); break;
        case 'T': load.tombstones = (unsigned)number_of(optarg, 0, 999); break;
        case 'b': load.bad = (unsigned)number_of(optarg, 0, 999); break;
        default: return 1;
        }
    }
    if (argc - optind < 3) die("arguments", "COMMAND BROKERS TOPIC");
    const char *command = argv[optind];
    load.brokers = argv[optind + 1];
    load.topic = argv[optind + 2];
    if (strcmp(command, "list") == 0) {
        list_records(&load);
        return 0;
    }
    if (argc - optind < 4) die("arguments", "COUNT is missing");
    load.count = number_of(argv[optind + 3], 1, 1000000000);
    if (strcmp(command, "produce") == 0) {
        if (!load.event_size) die("arguments", "--event is missing");
        produce(&load);
    } else if (strcmp(command, "flow") == 0) {
        flow(&load);
    } else if (strcmp(command, "count") == 0) {
        count_records(&load);
    } else {
        die("there is no command", command);
    }
    return 0;
}
