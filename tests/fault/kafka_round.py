"""Several nodes of one consumer group on one table without a primary key, and a real Kafka broker."""

import itertools
import json
import signal
import subprocess

from faults import CONDITIONS, SUPPORT, Node, Round, Wrong

from kafka import Kafka  # found through faults

LOAD = SUPPORT / "kafka-load"
TOPIC = "flow"
GROUP = "sluice-flow"
SESSION_SECONDS = 6
PARTITIONS, PARTITIONS_MAX = 4, 8
COLUMNS = [
    {"type": "meta", "name": "partition", "field": "partition", "dataType": "integer"},
    {"type": "meta", "name": "offset", "field": "offset", "dataType": "integer"},
    {"type": "path", "name": "n", "path": "n", "dataType": "integer"},
]


class Producer:
    """A process of kafka-load that may be killed: another one produces what is missing."""

    def __init__(self, round_, name, records, arguments):
        self.round, self.name, self.left, self.arguments = round_, name, records, arguments
        self.generation = 0
        self.process = None

    def start(self):
        self.generation += 1
        self.path = self.round.directory / f"{self.name}-{self.generation}.out"
        command = [LOAD, "flow", self.round.broker.brokers, TOPIC, self.left, "--name", self.name, *self.arguments]
        command += ["--first", next(self.round.numbers)]
        command += ["--seed", self.round.seed * 1000 + self.generation]
        with open(self.path, "w") as out, open(self.path.with_suffix(".err"), "w") as errors:
            self.process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=errors, start_new_session=True)

    def flows(self):
        """A producer that gave up for good is replaced."""
        if self.process.poll() is None:
            return True
        if self.process.returncode == 0:
            return False
        self.replace()
        return self.left > 0

    def replace(self):
        self.process.kill()
        self.process.wait()
        said = self.path.read_text().split()
        self.left = max(0, self.left - (int(said[-1]) if said else 0))
        if self.left:
            self.start()
        elif self.process.returncode != 0:
            self.process.returncode = 0


class KafkaRound(Round):
    def __init__(self, directory, seed, records, rate, nodes=3, version="3.9", broker=None, **fields):
        super().__init__(directory, seed, records, rate, **fields)
        self.version, self.node_count = version, nodes
        self.borrowed = broker is not None
        self.broker = broker
        self.partitions = PARTITIONS
        self.producers = []
        self.numbers = itertools.count(0, 10**9)  # no two records of a round have the same value

    def connections(self):
        properties = {
            "session.timeout.ms": str(SESSION_SECONDS * 1000),
            "heartbeat.interval.ms": "500",
            "topic.metadata.refresh.interval.ms": "3000",
            "reconnect.backoff.max.ms": "1000",
        }
        events = {"type": "kafka", "brokers": self.broker.brokers, "properties": properties}
        warehouse = {"type": "postgres", "uri": self.server.uri}
        return f"connections:\n  events: {json.dumps(events)}\n  warehouse: {json.dumps(warehouse)}\n"

    def begin(self):
        if not self.borrowed:
            self.broker = Kafka(self.version)
        self.broker.create_topic(TOPIC, PARTITIONS)
        source = {
            "type": "kafka",
            "kafka": {"connection": "events", "topics": [TOPIC], "groupId": GROUP, "startFrom": "earliest", "batchSize": self.chance.choice([50, 500, 3000])},
        }
        for number in range(self.node_count):
            self.nodes.append(Node(self.directory, number, self.connections(), source, COLUMNS, self.chance.choice(CONDITIONS)))
        half = self.records // 2
        each = ["--tombstones", "3", *(["--rate", max(1, self.rate // 2)] if self.rate else [])]
        most = self.chance.choice([20, 500] if self.records < 50_000 else [200, 1000, 5000])  # small ones take long
        self.producers = [
            Producer(self, "plain", half, each),
            Producer(self, "transactions", self.records - half, [*each, "--transactions", most, "--abort", "20"]),
        ]
        for producer in self.producers:
            producer.start()

    def flowing(self):
        return any([producer.flows() for producer in self.producers])

    def add_partitions(self):
        if "broker" in self.busy or self.partitions >= PARTITIONS_MAX:
            return False
        self.partitions += self.chance.randint(1, 2)
        self.say(f"{self.partitions} partitions")
        self.in_background("broker", lambda: self.broker.add_partitions(TOPIC, self.partitions))
        return True

    def restart_broker(self):
        if "broker" in self.busy:
            return False
        kind = self.chance.choice([signal.SIGKILL, signal.SIGTERM])
        self.say(f"the broker restarts ({kind.name})")
        self.in_background("broker", lambda: self.broker.restart(kind))
        return True

    def kill_producer(self):
        flowing = [producer for producer in self.producers if producer.process.poll() is None]
        if not flowing:
            return False
        producer = self.chance.choice(flowing)
        self.say(f"producer {producer.name} kill -9")
        producer.replace()
        return True

    while_flowing = {"producer", "sessions"}
    kinds = {
        "kill": Round.kill_node,
        "empty": Round.empty_node,
        "stop": lambda self: self.stop_node(SESSION_SECONDS),
        "end": Round.end_node,
        "partitions": add_partitions,
        "broker": restart_broker,
        "database": Round.restart_database,
        "sessions": Round.end_sessions,
        "producer": kill_producer,
    }

    def list_broker(self, path):
        with open(path, "w") as out:
            ended = subprocess.run([LOAD, "list", self.broker.brokers, TOPIC], stdout=out, stderr=subprocess.PIPE, text=True, timeout=600)
        if ended.returncode != 0:
            raise Wrong(f"kafka-load list: {ended.stderr}")
        return {int(partition): end for partition, end in json.loads(ended.stderr.splitlines()[-1]).items()}

    def poll_imported(self, ends):
        super().poll_imported(ends)
        self.poll(f"positions {ends}", lambda: self.positions() == ends, 90)

    def close(self):
        for producer in self.producers:
            if producer.process and producer.process.poll() is None:
                producer.process.kill()
                producer.process.wait()
        if self.broker and not self.borrowed:
            self.broker.close()
        elif self.broker:
            self.broker.delete_topic(TOPIC)
