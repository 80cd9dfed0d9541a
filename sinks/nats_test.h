/* The test of connections of type nats, see SinkDriver.test. */
#pragma once

#include "sinks/driver.h"

/* The tables of the test are streams, as "STREAM", or with a durable consumer whose rights are
 * asked for, too, as "STREAM/CONSUMER". Ends within 10 s. Changes nothing at the server. */
SinkFault nats_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
