"""One node of a durable consumer, or several that need none, and a real nats-server with JetStream."""

import copy
import json
import random
import signal
import subprocess
import threading
import time

from faults import CONDITIONS, SUPPORT, Node, Round, Wrong

from nats_server import Nats, NatsError  # found through faults

LOAD = SUPPORT / "nats-load"
STREAM = "FLOW"
COLUMNS = [
    {"type": "meta", "name": "offset", "field": "sequence", "dataType": "integer"},
    {"type": "path", "name": "n", "path": "n", "dataType": "integer"},
]


class Publisher(threading.Thread):
    """Publishes until `records` messages are acknowledged. What was not acknowledged is published again, so some are there twice."""

    def __init__(self, server, records, rate, seed, say):
        super().__init__(daemon=True)
        self.client = copy.copy(server)
        self.client.connection = None  # one of its own
        self.records, self.rate, self.chance = records, rate, random.Random(seed)
        self.ended = threading.Event()
        self.stored = 0
        self.say = say

    def run(self):
        made = 0
        while self.stored < self.records and not self.ended.is_set():
            bodies = []
            for _ in range(min(self.chance.randint(1, 400), self.records - self.stored)):
                made += 1
                bodies.append(json.dumps({"n": made, "pad": "x" * self.chance.randrange(300)}, separators=(",", ":")))
            begin = time.monotonic()
            try:
                self.client.publish(f"flow.{self.chance.randrange(3)}", bodies)
                self.stored += len(bodies)
            except (OSError, NatsError, ValueError, LookupError) as problem:
                self.say(f"not acknowledged at {self.stored}: {problem!r}")
                self.client.connection = None
                self.ended.wait(0.1)
            if self.rate:
                self.ended.wait(max(0, len(bodies) / self.rate - (time.monotonic() - begin)))


class NatsRound(Round):
    def __init__(self, directory, seed, records, rate, nodes=1, version="durable", **fields):
        super().__init__(directory, seed, records, rate, **fields)
        self.durable = version == "durable"
        if self.durable:
            self.wanted = [kind for kind in self.wanted if kind != "empty"]  # what was acked is lost with the disk
        elif nodes == 1:
            nodes = 2
        self.node_count = nodes
        self.broker = None
        self.publisher = None

    def connections(self):
        events = {"type": "nats", "servers": self.broker.uri}
        warehouse = {"type": "postgres", "uri": self.server.uri}
        return f"connections:\n  events: {json.dumps(events)}\n  warehouse: {json.dumps(warehouse)}\n"

    def begin(self):
        self.broker = Nats()
        self.broker.create_stream(STREAM, ["flow.>"])
        self.server.rows('ALTER TABLE flow ALTER "partition" SET DEFAULT 0')
        source = {
            "type": "nats",
            "nats": {
                "connection": "events",
                "stream": STREAM,
                "subject": "flow.>",
                "durable": "sluice-flow" if self.durable else "none",
                "startFrom": "earliest",
                "batchSize": self.chance.choice([10, 100, 500]),
            },
        }
        for number in range(self.node_count):
            self.nodes.append(Node(self.directory, number, self.connections(), source, COLUMNS, self.chance.choice(CONDITIONS)))
        self.publisher = Publisher(self.broker, self.records, self.rate, self.seed, self.say)
        self.publisher.start()

    def flowing(self):
        if not self.publisher.is_alive() and self.publisher.stored < self.records:
            raise Wrong(f"the publisher ended at {self.publisher.stored}")
        return self.publisher.is_alive()

    def restart_broker(self):
        kind = self.chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        self.say(f"the server restarts ({kind.name})")
        self.broker.restart(kind)
        return True

    while_flowing = {"sessions"}
    kinds = {
        "kill": Round.kill_node,
        "empty": Round.empty_node,
        "stop": lambda self: self.stop_node(35 if self.chance.random() < 0.2 else 3),  # some longer than a message may be without ack
        "end": Round.end_node,
        "broker": restart_broker,
        "database": Round.restart_database,
        "sessions": Round.end_sessions,
    }

    def list_broker(self, path):
        with open(path, "w") as out:
            ended = subprocess.run([LOAD, "list", self.broker.uri, STREAM], stdout=out, stderr=subprocess.PIPE, text=True, timeout=600)
        if ended.returncode != 0:
            raise Wrong(f"nats-load list: {ended.stderr}")
        path.write_text("".join(f"0,{line}\n" for line in path.read_text().splitlines()))
        return {0: int(ended.stderr)}

    def poll_imported(self, ends):
        super().poll_imported(ends)
        if self.durable:

            def through():
                consumer = self.broker.consumer(STREAM, "sluice-flow")
                return consumer["num_pending"] == consumer["num_ack_pending"] == 0

            self.poll("all is acked", through, 90)
        else:
            self.poll(f"position {ends[0] + 1}", lambda: self.positions() == {0: ends[0] + 1}, 90)

    def close(self):
        if self.publisher:
            self.publisher.ended.set()
            self.publisher.join(timeout=60)
        if self.broker:
            self.broker.close()
