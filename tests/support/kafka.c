/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/support/kafka.h"

#include "base/text.h"
#include "sinks/driver.h"

void kafka_connection_set(Connection *connection, const char *field, const char *value) {
    size_t count = 0;
    while (connection_type_kafka.fields[count].name) count++;
    if (!connection->values) {
        *connection = (Connection){.name = text_copy("events"), .type = &connection_type_kafka};
        connection->values = calloc(count + 1, sizeof *connection->values);
        assert_non_null(connection->values);
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(connection_type_kafka.fields[i].name, field) != 0) continue;
        free(connection->values[i]);
        connection->values[i] = text_copy(value);
        return;
    }
    fail_msg("no field %s", field);
}

void kafka_connection_free(Connection *connection) {
    for (size_t i = 0; connection_type_kafka.fields[i].name; i++) free(connection->values[i]);
    free(connection->values);
    free(connection->name);
}

void mock_cluster_start(MockCluster *cluster, int brokers) {
    char words[256];
    rd_kafka_conf_t *configuration = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(configuration, "client.id", "test", words, sizeof words), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(configuration, "log_level", "0", words, sizeof words), RD_KAFKA_CONF_OK);
    *cluster = (MockCluster){.handle = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, words, sizeof words)};
    assert_non_null(cluster->handle);
    cluster->mock = rd_kafka_mock_cluster_new(cluster->handle, brokers);
    assert_non_null(cluster->mock);
    assert_int_equal(rd_kafka_brokers_add(cluster->handle, rd_kafka_mock_cluster_bootstraps(cluster->mock)), brokers);
    kafka_connection_set(&cluster->connection, "brokers", rd_kafka_mock_cluster_bootstraps(cluster->mock));
    /* Faster than by default: a member that waits for a rebalance hears of it at its next
     * heartbeat. */
    kafka_connection_set(&cluster->connection, "properties",
                         "heartbeat.interval.ms=100\nreconnect.backoff.max.ms=200\nreconnect.backoff.ms=50\nsession.timeout.ms=6000\n");
}

void mock_cluster_end(MockCluster *cluster) {
    rd_kafka_mock_cluster_destroy(cluster->mock);
    rd_kafka_destroy(cluster->handle);
    kafka_connection_free(&cluster->connection);
}

void mock_cluster_topic(MockCluster *cluster, const char *topic, int partitions) {
    assert_int_equal(rd_kafka_mock_topic_create(cluster->mock, topic, partitions, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void mock_cluster_produce(MockCluster *cluster, const char *topic, int32_t partition, const char *value) {
    assert_int_equal(rd_kafka_producev(cluster->handle, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(cluster->handle, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void mock_cluster_produce_many(MockCluster *cluster, const char *topic, int32_t partition, size_t from, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char value[32];
        (void)snprintf(value, sizeof value, "%zu", from + i);
        assert_int_equal(rd_kafka_producev(cluster->handle, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                           RD_KAFKA_V_VALUE(value, strlen(value)), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                           RD_KAFKA_V_END),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    assert_int_equal(rd_kafka_flush(cluster->handle, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
}
