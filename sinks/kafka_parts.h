/* What the files of the Kafka client share: librdkafka's configuration and its words. The library's
 * types stay in them. */
#pragma once

#include <librdkafka/rdkafka.h>

#include "sinks/kafka.h"

/* A new configuration with all that the connection says, secrets included, and what Sluice needs of
 * the library. 0, or < 0 with the fault. */
int kafka_configuration_new(const Connection *connection, const char *data_directory, rd_kafka_conf_t **ret_configuration,
                            SinkFault *ret_fault, Error *error);
/* Sets one property; a refusal becomes the error. */
int kafka_configuration_set(rd_kafka_conf_t *configuration, const char *name, const char *value, Error *error);

/* What an error of the library is about. `words` tell more than its code where a connection
 * breaks. */
SinkFault kafka_fault_of(rd_kafka_resp_err_t code, const char *words);
KafkaVerdict kafka_verdict_of(rd_kafka_resp_err_t code);
#define KAFKA_WORDS_SIZE 512
/* The library's words as one clause without a period at its end: without thread names, durations
 * and line ends. `words` may be NULL. */
void kafka_words(rd_kafka_resp_err_t code, const char *words, char out[static KAFKA_WORDS_SIZE]);

/* Ends the library's handle within the limit (see kafka_consumer_close), and then calls
 * free_context, on a thread of its own. */
bool kafka_end(rd_kafka_t *take_handle, void (*free_context)(void *context), void *take_context, const char *name, usec_t limit);

/* For kafka_query.c. */
rd_kafka_t *kafka_consumer_handle(KafkaConsumer *consumer);
const char *kafka_consumer_name(const KafkaConsumer *consumer);
/* Serves what waits without handing anything out. < 0: there is trouble; with `waits` only if no
 * waiting helps. */
int kafka_consumer_trouble(KafkaConsumer *consumer, bool waits, SinkFault *ret_fault, Error *error);
void kafka_consumer_answered(KafkaConsumer *consumer); /* a broker did: trouble before that is over */
