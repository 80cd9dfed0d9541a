/*
 * Messages for a JetStream server, and what a stream has of them.
 *
 *   nats-load publish URL SUBJECT COUNT EVENT-FILE        the same body COUNT times, as fast as acks come
 *   nats-load fetch   URL STREAM DURABLE COUNT BATCH      fetches batches and acks each message, and nothing else; prints JSON
 *   nats-load list    URL STREAM                          a line SEQUENCE,N of each message whose body begins with {"n":N
 */
#include <nats/nats.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/error.h"
#include "tests/support/number.h"

enum { BODY_MAX = 65536, PATIENCE_MS = 60000, ACKS_WAITING_MAX = 4000 };

static void done(const char *what, natsStatus status) {
    if (status == NATS_OK) return;
    (void)fprintf(stderr, "nats-load: %s: %s\n", what, natsStatus_GetText(status));
    exit(1);
}

static double seconds_now(void) {
    struct timespec time;
    check(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double processor_seconds(void) {
    struct rusage usage;
    check(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void publish(jsCtx *stream, const char *subject, unsigned long count, const char *path) {
    char body[BODY_MAX];
    FILE *file = fopen(path, "re");
    if (!file) done(path, NATS_NOT_FOUND);
    size_t size = fread(body, 1, sizeof body, file);
    (void)fclose(file);
    while (size && body[size - 1] == '\n') size--;
    double began = seconds_now();
    for (unsigned long i = 0; i < count; i++) done("publish", js_PublishAsync(stream, subject, body, (int)size, NULL));
    jsPubOptions patience;
    done("publish", jsPubOptions_Init(&patience));
    patience.MaxWait = PATIENCE_MS;
    done("acks of what was published", js_PublishAsyncComplete(stream, &patience));
    printf("{\"messages\":%lu,\"seconds\":%.3f}\n", count, seconds_now() - began);
}

static void fetch(jsCtx *stream, const char *name, const char *durable, unsigned long count, int batch) {
    jsConsumerConfig consumer;
    done("options", jsConsumerConfig_Init(&consumer));
    consumer.Durable = durable;
    consumer.AckPolicy = js_AckExplicit;
    consumer.MaxAckPending = 10 * batch;
    done("consumer", js_AddConsumer(NULL, stream, name, &consumer, NULL, NULL));
    jsSubOptions options;
    done("options", jsSubOptions_Init(&options));
    options.Stream = name;
    options.Consumer = durable;
    natsSubscription *subscription;
    done("subscription", js_PullSubscribe(&subscription, stream, NULL, durable, NULL, &options, NULL));
    double began = seconds_now(), processor = processor_seconds();
    unsigned long long bytes = 0;
    for (unsigned long seen = 0; seen < count;) {
        natsMsgList list;
        done("fetch", natsSubscription_Fetch(&list, subscription, batch, PATIENCE_MS, NULL));
        for (int i = 0; i < list.Count; i++) {
            bytes += (unsigned long long)natsMsg_GetDataLength(list.Msgs[i]);
            done("ack", natsMsg_Ack(list.Msgs[i], NULL));
        }
        seen += (unsigned long)list.Count;
        natsMsgList_Destroy(&list);
    }
    printf("{\"messages\":%lu,\"bytes\":%llu,\"seconds\":%.3f,\"processor\":%.3f}\n", count, bytes, seconds_now() - began,
           processor_seconds() - processor);
    natsSubscription_Destroy(subscription);
}

static void list_messages(jsCtx *stream, const char *name) {
    jsStreamInfo *info;
    done("stream", js_GetStreamInfo(&info, stream, name, NULL, NULL));
    uint64_t last = info->State.LastSeq, left = info->State.Msgs;
    jsStreamInfo_Destroy(info);
    jsSubOptions options;
    done("options", jsSubOptions_Init(&options));
    options.Stream = name;
    options.Ordered = true;
    natsSubscription *subscription = NULL;
    if (left) done("subscription", js_SubscribeSync(&subscription, stream, ">", NULL, &options, NULL));
    for (uint64_t at = 0; left && at < last;) {
        natsMsg *message;
        done("next message", natsSubscription_NextMsg(&message, subscription, PATIENCE_MS));
        jsMsgMetaData *data;
        done("sequence", natsMsg_GetMetaData(&data, message));
        at = data->Sequence.Stream;
        jsMsgMetaData_Destroy(data);
        const char *body = natsMsg_GetData(message);
        if (natsMsg_GetDataLength(message) > 5 && memcmp(body, "{\"n\":", 5) == 0)
            printf("%llu,%.*s\n", (unsigned long long)at, (int)strspn(body + 5, "0123456789"), body + 5);
        natsMsg_Destroy(message);
    }
    natsSubscription_Destroy(subscription);
    (void)fprintf(stderr, "%llu\n", (unsigned long long)last);
}

int main(int argc, char **argv) {
    const char *command = argc > 3 ? argv[1] : "";
    natsOptions *options;
    natsConnection *connection;
    jsCtx *stream;
    jsOptions limits;
    done("options", natsOptions_Create(&options));
    done("options", natsOptions_SetURL(options, argc > 2 ? argv[2] : ""));
    done("options", natsOptions_SetMaxPendingMsgs(options, 1000000));
    done("connection", natsConnection_Connect(&connection, options));
    done("options", jsOptions_Init(&limits));
    limits.PublishAsync.MaxPending = ACKS_WAITING_MAX;
    limits.PublishAsync.StallWait = PATIENCE_MS;
    limits.Wait = PATIENCE_MS;
    done("JetStream", natsConnection_JetStream(&stream, connection, &limits));
    if (strcmp(command, "publish") == 0 && argc == 6) {
        publish(stream, argv[3], number_of(argv[4], 1, 1000000000), argv[5]);
    } else if (strcmp(command, "fetch") == 0 && argc == 7) {
        fetch(stream, argv[3], argv[4], number_of(argv[5], 1, 1000000000), (int)number_of(argv[6], 1, 10000));
    } else if (strcmp(command, "list") == 0 && argc == 4) {
        list_messages(stream, argv[3]);
    } else {
        (void)fprintf(stderr, "nats-load publish|fetch|list URL ...\n");
        return 1;
    }
    jsCtx_Destroy(stream);
    natsConnection_Destroy(connection);
    natsOptions_Destroy(options);
    nats_Close();
    return 0;
}
