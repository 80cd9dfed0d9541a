/* SinkDriver.test of a Kafka cluster: can its topics be read? Within 10 s; see sinks/driver.h. */
#pragma once

#include "sinks/driver.h"

/* The `tables` are the topics that sources read; a leading ^ makes an expression of one. */
SinkFault kafka_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
