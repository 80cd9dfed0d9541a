"""Rows P17 to P19 and the memory of a bridge: records and messages of real brokers that become rows in PostgreSQL."""

import pathlib
import statistics
import subprocess
import sys
import time

import psycopg2
from harness import BUILD, COLUMNS, EVENT_PATH, ROOT, alternate, row, run_json

from postgres import Postgres, programs  # found through harness
from sluice import AT_ONCE, Gateway, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

import kafka  # noqa: E402
import nats_server  # noqa: E402

KAFKA_LOAD = BUILD / "tests" / "support" / "kafka-load"
NATS_LOAD = BUILD / "tests" / "support" / "nats-load"
ROWS = ("P17", "P18", "P19", "memory")
PARTITIONS = 4
RATE = 5000
BATCH = 500
STAMPED = [*COLUMNS[:6], {"type": "path", "name": "due", "path": "due", "dataType": "integer"}]
PATIENCE = 600
# Rows of earlier rounds do not make a later one slower, and each commit says when.
SERVER = {"track_commit_timestamp": "on", "max_wal_size": "4GB"}


def skipped(number, what, goal, reason):
    return row(number, f"{what} (skipped: {' '.join(str(reason).split())[:200]})", None, None, None, "", goal)


class Bridge:
    """A gateway with one loop, and sources that read from a broker into tables of one PostgreSQL server."""

    def __init__(self, directory, connection):
        self.server = Postgres(SERVER)
        directory.mkdir()
        config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {self.server.uri}\n  events:\n{connection}"
        self.gateway = Gateway(directory, config, arguments=["--threads", "1"]).start()

    def add(self, name, columns=COLUMNS, settings=AT_ONCE, **definition):
        """A source of this name, and a sink that imports into a table of this name."""
        self.gateway.change("POST", "/sources", {"sourceId": name, "name": name, **definition})
        self.gateway.add_sink(name, "rows", columns, settings, connection="warehouse", table=name)

    def remove(self, name):
        self.gateway.change("DELETE", f"/sources/{name}")
        self.server.rows(f'DROP TABLE IF EXISTS "{name}"')

    def imported(self, group):
        """How many records are in: of topics that begin at 0 and have no gaps. Positions are set with the rows, and are quicker to count."""
        if self.server.rows("SELECT to_regclass('sluice.positions')") == [(None,)]:
            return 0
        return int(self.server.rows("SELECT coalesce(sum(next_offset), 0) FROM sluice.positions WHERE group_id = %s", group)[0][0])

    def count(self, table):
        if self.server.rows("SELECT to_regclass(%s)", table) == [(None,)]:
            return 0
        return self.server.rows(f'SELECT count(*) FROM "{table}"')[0][0]

    def processor(self):
        """Seconds of all threads until now."""
        fields = pathlib.Path(f"/proc/{self.gateway.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def close(self):
        self.gateway.close()
        self.server.close()


class KafkaBridge(Bridge):
    def __init__(self, directory, broker):
        super().__init__(directory, f"    type: kafka\n    brokers: {broker.brokers}\n")

    def read(self, name, topic, columns=COLUMNS, settings=AT_ONCE, **fields):
        definition = {"connection": "events", "topics": [topic], "groupId": name, "startFrom": "earliest", **fields}
        self.add(name, columns, settings, type="kafka", kafka=definition)


def copy_with_kcat(broker, topic, server, count):
    """Records a second of kcat, and psql that copies what it prints into one text column."""
    server.rows("DROP TABLE IF EXISTS copied")
    server.rows("CREATE TABLE copied (record text)")
    psql = f"'{programs() / 'psql'}' -q -v ON_ERROR_STOP=1 '{server.uri}' -c \"\\copy copied FROM STDIN (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')\""
    kcat = f"kcat -C -q -b {broker.brokers} -t {topic} -o beginning -e -X isolation.level=read_committed"
    begin = time.monotonic()
    subprocess.run(["bash", "-c", f"set -o pipefail; {kcat} | {psql}"], check=True, timeout=PATIENCE)
    took = time.monotonic() - begin
    assert server.rows("SELECT count(*) FROM copied") == [(count,)]
    return count / took


def measure_records(options, bridge, broker):
    """P17: a topic that is full, from the making of the sink to the last visible row."""
    count = options.records
    broker.create_topic("records", PARTITIONS)
    run_json(KAFKA_LOAD, "produce", broker.brokers, "records", count, "--event", EVENT_PATH)
    processor, polled, rounds = [], [], iter(range(1000))

    def ours():
        name = f"p17-{next(rounds)}"
        before = bridge.processor()
        begin = time.monotonic()
        bridge.read(name, "records")
        wait_until("all records are in", lambda: bridge.imported(name) == count, PATIENCE)
        took = time.monotonic() - begin
        processor.append((bridge.processor() - before) * 1e6 / count)
        assert bridge.count(name) == count
        bridge.remove(name)
        return count / took

    def poll():
        said = run_json(KAFKA_LOAD, "count", broker.brokers, "records", count)
        polled.append(said["processor"] * 1e6 / count)
        return count / said["seconds"]

    figures = alternate(
        options.rounds,
        {"sluice": ours, "copy": lambda: copy_with_kcat(broker, "records", bridge.server, count), "poll": poll},
    )
    what = f"Kafka to PostgreSQL, {count:,} records, {PARTITIONS} partitions, 7 columns"
    seconds, limit = statistics.median(processor), "rd_kafka_consumer_poll that only counts"
    return [
        row("P17", what, "kcat into psql \\copy, one text column", figures["sluice"], figures["copy"], "records/s", "0.8"),
        row("P17", "(the same)", limit, figures["sluice"], figures["poll"], "records/s", ""),
        row("P17", "(processor time of the gateway)", limit, seconds, statistics.median(polled), "s per million records", "at most 4"),
    ]


def measure_visibility(options, bridge, broker):
    """P18: from the moment when a record was due to be sent to the commit that makes its row visible. The baseline is the acknowledgement."""
    seen, acknowledged = [], []
    broker.create_topic("warm", PARTITIONS)
    produce = [KAFKA_LOAD, "produce", broker.brokers]
    paced = ["--event", EVENT_PATH, "--rate", RATE, "--stamp"]
    run_json(*produce, "warm", 3 * RATE, *paced)  # what a broker does first it does slowly
    for number in range(options.rounds):
        name = f"p18-{number}"
        count = RATE * max(options.seconds, 2)
        broker.create_topic(name, PARTITIONS)
        run_json(*produce, name, RATE, *paced)
        bridge.read(name, name, STAMPED)
        wait_until("what was there is in", lambda: bridge.imported(name) == RATE, PATIENCE)
        acknowledged.append(run_json(*produce, name, count, *paced)["acknowledged"])
        wait_until("all is in", lambda: bridge.imported(name) == RATE + count, PATIENCE)
        latency = "extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - due / 1000.0"
        shares = "percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY latency)"
        # Without the rows that came while the group was new.
        newest = f'SELECT {latency} AS latency FROM "{name}" ORDER BY due DESC LIMIT {count}'
        [(shares,)] = bridge.server.rows(f"SELECT {shares} FROM ({newest}) AS newest")
        seen.append([float(share) for share in shares])
        bridge.remove(name)
    half, most, longest = (statistics.median(values) for values in zip(*seen))
    ack_half, ack_most, ack_longest = (statistics.median(values) for values in zip(*acknowledged))
    limit = "the producer's acknowledgement"
    what = f"Kafka to a visible row, {RATE:,} records/s, count condition 1"
    return [
        row("P18", f"{what}: p50", limit, half, ack_half, "ms", "under 60 ms"),
        row("P18", f"{what}: p99", limit, most, ack_most, "ms", "under 300 ms"),
        row("P18", "(the longest)", limit, longest, ack_longest, "ms", ""),
    ]


def measure_stalled(options, bridge, broker):
    """Anonymous memory while the destination stands still and the topic is long: the most of it, until the bridge has read what it will."""
    lag = options.lag
    broker.create_topic("long", PARTITIONS)
    run_json(KAFKA_LOAD, "produce", broker.brokers, "long", lag, "--event", EVENT_PATH)
    bridge.read("stalled", "long")
    wait_until("rows come", lambda: bridge.count("stalled") > 0, PATIENCE)
    stall = psycopg2.connect(bridge.server.uri)
    with stall.cursor() as cursor:
        cursor.execute("LOCK TABLE stalled IN ACCESS EXCLUSIVE MODE")
        most, steady, last, end = 0, 0, -1, time.monotonic() + PATIENCE
        # It stands still when it has read nothing for 5 s; its memory is looked at as long.
        while steady < 50 and time.monotonic() < end:
            time.sleep(0.1)
            most = max(most, bridge.gateway.memory_kb())
            levels = bridge.gateway.statistics("stalled", "rows")["levels"]
            waiting = levels["local"]["recordsCount"] + levels["staging"]["recordsCount"]
            steady = steady + 1 if waiting == last else 0
            last = waiting
        stall.rollback()
    stall.close()
    bridge.remove("stalled")
    return [row("memory", f"anonymous memory, destination stalled, {lag:,} records of lag", None, most / 1024, None, "MiB", "under 64 MB")]


def measure_kafka(options, directory):
    """P17, P18 and the memory, on one broker."""
    wanted = {
        "P17": (measure_records, "Kafka to PostgreSQL", "0.8"),
        "P18": (measure_visibility, "Kafka to a visible row", "p50 under 60 ms, p99 under 300 ms"),
        "memory": (measure_stalled, "anonymous memory, destination stalled", "under 64 MB"),
    }
    wanted = {name: one for name, one in wanted.items() if name in options.rows}
    try:
        broker = kafka.Kafka("3.9")
    except kafka.Unavailable as reason:
        return [skipped(name, what, goal, reason) for name, (_, what, goal) in wanted.items()]
    rows = []
    try:
        for name, (measure, _, _) in wanted.items():
            bridge = KafkaBridge(directory / f"kafka-{name}", broker)
            try:
                rows += measure(options, bridge, broker)
            finally:
                bridge.close()
    finally:
        broker.close()
    return rows


def measure_jetstream(options, directory):
    """P19: a stream that is full, from the making of the sink to the last visible row; with a durable consumer each."""
    count = options.messages
    broker = nats_server.Nats()
    broker.create_stream("EVENTS", ["events.>"])
    run_json(NATS_LOAD, "publish", broker.uri, "events.one", count, EVENT_PATH)
    bridge = Bridge(directory / "nats", f"    type: nats\n    servers: {broker.uri}\n")
    rounds = iter(range(1000))
    processor, fetched = [], []

    def ours():
        name = f"p19-{next(rounds)}"
        before = bridge.processor()
        definition = {"connection": "events", "stream": "EVENTS", "subject": "events.>", "durable": name, "batchSize": BATCH}
        begin = time.monotonic()
        bridge.add(name, type="nats", nats={**definition, "startFrom": "earliest"})
        wait_until("all messages are in", lambda: bridge.count(name) == count, PATIENCE)
        took = time.monotonic() - begin
        processor.append((bridge.processor() - before) * 1e6 / count)
        bridge.remove(name)
        return count / took

    def fetch():
        said = run_json(NATS_LOAD, "fetch", broker.uri, "EVENTS", f"fetch-{next(rounds)}", count, BATCH)
        fetched.append(said["processor"] * 1e6 / count)
        return count / said["seconds"]

    try:
        figures = alternate(options.rounds, {"sluice": ours, "fetch": fetch})
    finally:
        bridge.close()
        broker.close()
    what = f"NATS JetStream to PostgreSQL, {count:,} messages in batches of {BATCH}, 7 columns"
    limit = "libnats that fetches and acks only"
    return [
        row("P19", what, limit, figures["sluice"], figures["fetch"], "messages/s", "0.6"),
        row("P19", "(processor time of the gateway)", limit, statistics.median(processor), statistics.median(fetched), "s per million messages", ""),
    ]


def measure_bridges(options, directory):
    rows = []
    if {"P17", "P18", "memory"} & set(options.rows):
        rows += measure_kafka(options, directory)
    if "P19" in options.rows:
        rows += measure_jetstream(options, directory)
    return rows
