"""
Kafka Connect as a sender: a real broker, a real worker, and real connectors with the files of docs/kafka-connect.md. Aiven's sink is not on
Maven Central: tests/services/JdkHttpSink.java sends what it sends. Skipped where Java or the jars cannot be had.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from postgres import Postgres
from sluice import BINARY, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from cache import Unavailable  # noqa: E402
from connect import STAND_IN_CLASS, Connect  # noqa: E402
from kafka import Kafka, free_ports  # noqa: E402

pytestmark = pytest.mark.kafka

OUTAGE_SECONDS = int(os.environ.get("SLUICE_CONNECT_OUTAGE", 5))
ROUNDS = int(os.environ.get("SLUICE_CONNECT_ROUNDS", 1))
SEED = int(os.environ.get("SLUICE_SEED", time.time_ns()))
PAGE = (ROOT / "docs" / "kafka-connect.md").read_text()
SINKS = ("camel", "aiven")


def block(name):
    """The text of a file that stands on the page."""
    [text] = re.findall(rf"^```\w+\n# {re.escape(name)}\n(.*?)^```$", PAGE, re.S | re.M)
    return text


def properties(name, replaced=()):
    """`replaced`: what stands there -> what shall, wherever it stands."""
    text = block(name)
    for old in replaced:
        text = text.replace(old, replaced[old])
    return dict(line.split("=", 1) for line in text.splitlines())


class Chain:
    """A worker, and what the tests put before and behind it. Names of the page are replaced, and little else."""

    def __init__(self, kafka, connect, secrets):
        self.kafka, self.connect, self.secrets = kafka, connect, secrets
        self.topics = 0

    def topic(self):
        self.topics += 1
        name = f"orders-{self.topics}"
        self.kafka.create_topic(name, 2)
        return name

    def add_secret(self, name, secret):
        with open(self.secrets, "a") as secrets:
            secrets.write(f"{name}={secret}\n")

    def add_source(self, gateway, source, file="orders.yaml", change=lambda text: text):
        """The source of the page, under another name."""
        text = change(block(file)).replace("sourceId: orders", f"sourceId: {source}").replace("tableId: orders", f"tableId: {source}")
        manifest = gateway.directory / f"{source}.yaml"
        manifest.write_text(text)
        command = [BINARY, "apply", "-f", str(manifest), "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        self.add_secret(source, gateway.source_url(source).rsplit("/", 1)[1])

    def add_sink(self, gateway, file, source, topic, **changes):
        """The connector of the page that sends the topic to that source; `changes`: `_` for `.`, None: not set."""
        names = {
            "sluice.example.com:7000": gateway.intake,
            "/stream/1/orders": f"/stream/1/{source}",
            "/etc/kafka-connect/secrets:orders": f"{self.secrets}:{source}",
            "shop.orders": topic,
            "sluice-orders": source,
            "io.aiven.kafka.connect.http.HttpSinkConnector": STAND_IN_CLASS,
        }
        changes = {name.replace("_", "."): value for name, value in changes.items()}
        config = {name: value for name, value in {**properties(f"{file}.properties", names), **changes}.items() if value is not None}
        self.connect.add(config)

    def end(self):
        for name in list(self.connect.connectors):
            self.connect.remove(name)


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    secrets = tmp_path_factory.mktemp("connect") / "secrets"
    secrets.touch()
    kafka = connect = None
    try:
        kafka = Kafka()
        # a worker that is killed again and again gets on
        connect = Connect(kafka, {**properties("worker.properties"), "offset.flush.interval.ms": 10000}).start()
        yield Chain(kafka, connect, secrets)
    except Unavailable as reason:
        pytest.skip(str(reason))
    finally:
        for service in (connect, kafka):
            if service:
                service.close()


@pytest.fixture
def chain(worker):
    yield worker
    worker.end()


@pytest.fixture
def gateway(gateway_factory):
    """On a port that stays the same when it is started again. A sink may have 655 KB of its disk."""
    [port] = free_ports(1)
    limits = ["--disk.budget", "64MB", "--disk.share", "1", "--limits.event", "100KB"]
    return gateway_factory(arguments=["--intake", f"127.0.0.1:{port}", *limits]).start()


def order(number):
    return json.dumps({"id": number, "amount": number + 0.5, "text": "ä" * 20})


class Feed(threading.Thread):
    """Produces orders until stop() is called, not faster than Camel can send them: one at a time, each synced before the next."""

    def __init__(self, kafka, topic):
        super().__init__(daemon=True)
        self.kafka, self.topic = kafka, topic
        self.ending = threading.Event()
        self.produced = 0
        self.start()

    def run(self):
        while not self.ending.wait(0.1):
            self.kafka.produce(self.topic, [order(self.produced + i) for i in range(20)])
            self.produced += 20

    def stop(self):
        self.ending.set()
        self.join(timeout=120)
        assert not self.is_alive()


def taken(gateway, source, sink="orders"):
    """Rows that the gateway took for it, wherever they are now; of a record that was sent twice there are two."""
    return sum(level["recordsCount"] for level in gateway.statistics(source, sink)["levels"].values())



def batches(gateway, table):
    """How many requests brought its rows: those of one were received at one moment."""
    return gateway.rows(f"SELECT count(DISTINCT received_at) FROM {table}")[0][0]


def rejects(gateway, source, sink="orders"):
    return gateway.statistics(source, sink)["rejects"]["events"]


def is_order(value):
    try:
        return isinstance(json.loads(value)["id"], int) and isinstance(json.loads(value)["amount"], float)
    except (ValueError, KeyError, TypeError):
        return False


def wait_all(chain, gateway, source, topic):
    """Each order of the topic is in the table, once, at its place."""
    wanted = sorted((partition, offset, json.loads(value)["id"]) for partition, offset, value in chain.kafka.records(topic) if is_order(value))

    def there():
        chain.connect.assert_running(source)
        gateway.flush(source, "orders")
        found = gateway.rows(f'SELECT count(*) FROM "{source}" WHERE kafka_topic = ?', topic)
        return found and found[0][0] >= len(wanted)

    wait_until(f"{len(wanted)} orders of {source}", there, 120)
    assert gateway.rows(f'SELECT kafka_partition, kafka_offset, order_id FROM "{source}" WHERE kafka_topic = ? ORDER BY 1, 2', topic) == wanted
    return len(wanted)


def wait_more(gateway, chance, deadline=120):
    """Until both have sent more, up to a random record."""
    begin, more = [taken(gateway, sink) for sink in SINKS], chance.randrange(20, 300)
    wait_until("both send", lambda: all(taken(gateway, sink) > count + more for sink, count in zip(SINKS, begin)), deadline)


def check_all(chain, gateway, topic, feed, seed):
    feed.stop()
    for sink in SINKS:
        try:
            assert wait_all(chain, gateway, sink, topic) == feed.produced
        except AssertionError as problem:
            raise AssertionError(f"seed {seed}: {problem}") from None
    print(f"seed {seed}: {feed.produced} records, taken {[taken(gateway, sink) for sink in SINKS]}")


def start_both(chain, gateway, topic):
    for sink in SINKS:
        chain.add_source(gateway, sink)
        more = {"batch_max_size": "4"} if sink == "aiven" else {}
        chain.add_sink(gateway, sink, sink, topic, **more)
    return Feed(chain.kafka, topic)


def test_batches_poison_records_and_tombstones(chain, gateway):
    topic = chain.topic()
    poison = ['{"id":"seventeen"}', '{"amount":1.5}', json.dumps({"id": 1, "amount": 1, "text": "x" * 200_000})]
    for start in range(0, 1000, 500):
        chain.kafka.produce(topic, [order(start + i) for i in range(250)] + poison[:1] + [order(start + 250 + i) for i in range(250)])
        chain.kafka.produce(topic, poison[1:])
        chain.kafka.produce(topic, ["gone:"] * 2, arguments=["-K", ":", "-Z"])
    for sink in SINKS:
        chain.add_source(gateway, sink)
        chain.add_sink(gateway, sink, sink, topic)
    for sink in SINKS:
        assert wait_all(chain, gateway, sink, topic) == 1000
    # Camel sends a tombstone as an empty body; the filter of the page keeps it from Aiven.
    wait_until("the last record", lambda: [rejects(gateway, sink) for sink in SINKS] == [6 + 4, 6])
    assert [taken(gateway, sink) for sink in SINKS] == [1000, 1000]
    assert batches(gateway, "aiven") <= 50
    listed = gateway.api("GET", "/sources/aiven/sinks/orders/rejects?limit=100", expect=200).json["rejects"]
    assert sum("seventeen" in json.dumps(reject) for reject in listed) == 2
    for sink in SINKS:
        chain.connect.assert_running(sink)


def test_values_as_they_are(chain, gateway):
    def key_of_the_event(text):
        text = re.sub(r".*name: kafka_.*\n", "", text)
        return text.replace("path: id,", "path: id, primaryKey: true,")

    topic = chain.topic()
    poison = ["not JSON", '{"id":1', '"', "[1,2", "\x01"]
    values = [f'{{"amount": {number}.50, "id": {number}}}' for number in range(200)]
    for start in range(0, 200, 40):
        chain.kafka.produce(topic, values[start : start + 40] + poison)
    text = {name.replace(".", "_"): value for name, value in properties("text.properties").items()}
    for sink in SINKS:
        chain.add_source(gateway, sink, change=key_of_the_event)
    chain.add_sink(gateway, "camel", "camel", topic, transforms=None, camel_sink_marshal=None, **text)
    chain.add_sink(gateway, "aiven", "aiven", topic, transforms="present", **text)
    for sink in SINKS:
        wait_until("all records", lambda: (taken(gateway, sink), rejects(gateway, sink)) == (200, 25))
        gateway.flush(sink, "orders")
        assert gateway.rows(f"SELECT order_id, amount FROM {sink} ORDER BY order_id") == [(number, f"{number}.50") for number in range(200)]
        chain.connect.assert_running(sink)


FRAMINGS = {
    "array": {"batch_prefix": "[", "batch_separator": ",", "batch_suffix": "]"},
    "concatenated": {"batch_separator": ",", "batch_suffix": ""},
}


def test_other_framings(chain, gateway):
    """Those that the page names of Aiven and of Confluent."""
    topic = chain.topic()
    chain.kafka.produce(topic, [order(number) for number in range(300)] + ['{"id":"seventeen"}'] + [order(300)])
    for framing, settings in FRAMINGS.items():
        chain.add_source(gateway, framing, change=lambda text: text.replace("framing: single", f"framing: {framing}"))
        chain.add_sink(gateway, "aiven", framing, topic, http_headers_content_type="application/json", batch_max_size="50", **settings)
    for framing in FRAMINGS:
        assert wait_all(chain, gateway, framing, topic) == 301
        wait_until("the poison record", lambda: rejects(gateway, framing) == 1)
        assert batches(gateway, framing) <= 50


def test_gateway_killed(chain, gateway):
    topic, chance = chain.topic(), random.Random(SEED)
    feed = start_both(chain, gateway, topic)
    for _ in range(2 * ROUNDS):
        wait_more(gateway, chance)
        produced = feed.produced
        gateway.kill()
        wait_until("records wait", lambda: feed.produced > produced + 50)
        gateway.start()
    wait_more(gateway, chance)
    check_all(chain, gateway, topic, feed, SEED)


def test_worker_killed(chain, gateway):
    topic, chance = chain.topic(), random.Random(SEED)
    feed = start_both(chain, gateway, topic)
    for _ in range(ROUNDS):
        wait_more(gateway, chance)
        chain.connect.stop(signal.SIGKILL)
        chain.connect.start()
    wait_more(gateway, chance)
    check_all(chain, gateway, topic, feed, SEED)
    # What the worker had not committed was sent again: it is the same rows.
    assert all(taken(gateway, sink) > feed.produced for sink in SINKS)


def test_gateway_refuses_for_a_while(chain, gateway):
    """A real reason: imports are held back, and the sinks have used up their share of the disk."""
    topic, chance = chain.topic(), random.Random(SEED)
    feed = start_both(chain, gateway, topic)
    wait_more(gateway, chance)
    for sink in SINKS:
        gateway.change("PUT", f"/sources/{sink}/pause")
    filler = json.dumps({"_topic": "filler", "_partition": 0, "_offset": 0, "id": 0, "amount": 0}) + "\n"
    for sink in SINKS:
        url = gateway.source_url(sink)
        wait_until("503", lambda: gateway.post(url, filler * 1000, content_type="application/x-ndjson").status == 503)
    began, before = time.monotonic(), feed.produced
    stands = [taken(gateway, sink) for sink in SINKS]
    wait_until("the outage was long enough", lambda: time.monotonic() > began + OUTAGE_SECONDS and feed.produced > before + 50, OUTAGE_SECONDS + 60)
    assert [taken(gateway, sink) for sink in SINKS] == stands
    for sink in SINKS:
        chain.connect.assert_running(sink)
        gateway.change("PUT", f"/sources/{sink}/resume")
    check_all(chain, gateway, topic, feed, SEED)


def test_changes_of_a_table_by_debezium(chain, gateway):
    database = Postgres({"wal_level": "logical"})
    try:
        database.rows("CREATE TABLE customers (id int PRIMARY KEY, name text, credit numeric(10,2))")
        database.rows("INSERT INTO customers VALUES (1, 'Ada', 12.50), (2, 'Grace', 0)")
        chain.add_source(gateway, "customers", "customers.yaml")
        chain.add_secret("database", "unused")
        topic = "shop.public.customers"
        assert topic in PAGE
        chain.kafka.create_topic(topic, 2)
        names = {"db.example.com": "127.0.0.1", "5432": str(database.port), "user=debezium": "user=sluice", "dbname=shop": "dbname=postgres"}
        chain.connect.add(properties("debezium.properties", {**names, "/etc/kafka-connect/secrets": str(chain.secrets)}))
        chain.add_sink(gateway, "camel", "customers", topic)

        def changes():
            gateway.flush("customers", "changes")
            found = gateway.rows('SELECT op, customer_id, before, after FROM customer_changes ORDER BY lsn, kafka_offset')
            return [(op, number, before and json.loads(before), after and json.loads(after)) for op, number, before, after in found]

        ada, grace = {"id": 1, "name": "Ada", "credit": "12.50"}, {"id": 2, "name": "Grace", "credit": "0.00"}
        wait_until("the snapshot", lambda: len(changes()) == 2)
        assert sorted(changes(), key=str) == [("r", 1, None, ada), ("r", 2, None, grace)]
        database.rows("INSERT INTO customers VALUES (3, 'Mary', 1.25)")
        database.rows("UPDATE customers SET credit = 7 WHERE id = 3")
        database.rows("DELETE FROM customers WHERE id = 3")
        wait_until("the changes", lambda: len(changes()) == 5)
        mary = {"id": 3, "name": "Mary", "credit": "1.25"}
        richer, gone = {**mary, "credit": "7.00"}, {"id": 3, "name": None, "credit": None}
        assert changes()[2:] == [("c", 3, None, mary), ("u", 3, None, richer), ("d", 3, gone, None)]
        assert rejects(gateway, "customers", "changes") == 0
    finally:
        chain.end()
        database.close()
