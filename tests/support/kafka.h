/*
 * librdkafka's mock cluster: brokers inside the test that can be told to fail, topics, and a
 * connection of type kafka that leads there. A failure ends the test. cmocka must be included
 * before it.
 */
#pragma once

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "config/connection.h"

typedef struct MockCluster {
    rd_kafka_t *handle; /* the producer, which owns the cluster */
    rd_kafka_mock_cluster_t *mock;
    Connection connection; /* "events" */
} MockCluster;

void mock_cluster_start(MockCluster *cluster, int brokers);
void mock_cluster_end(MockCluster *cluster);
void mock_cluster_topic(MockCluster *cluster, const char *topic, int partitions);
/* Waits until the broker has them; the texts of _many are the numbers from `from` on. */
void mock_cluster_produce(MockCluster *cluster, const char *topic, int32_t partition, const char *value);
void mock_cluster_produce_many(MockCluster *cluster, const char *topic, int32_t partition, size_t from, size_t count);

/* Makes the connection, if it is all-zero, and sets a field of it; NULL: not given. */
void kafka_connection_set(Connection *connection, const char *field, const char *value);
void kafka_connection_free(Connection *connection);
