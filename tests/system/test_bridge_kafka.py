"""Sources of type kafka: records of a real broker become rows, each once, whatever happens to the gateway."""

import contextlib
import datetime
import json
import signal
import sys
import threading
import time
import uuid

import psycopg2
import pytest

from sluice import AT_ONCE, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from kafka import Kafka, Unavailable  # noqa: E402

pytestmark = pytest.mark.kafka

LONG = 120
FEW = {"storage.level.target.import.trigger.count": 700, "storage.level.target.import.trigger.interval": "30s"}
COLUMNS = [
    {"name": "p", "type": "meta", "field": "partition", "dataType": "integer"},
    {"name": "o", "type": "meta", "field": "offset", "dataType": "integer"},
    {"name": "n", "type": "path", "path": "n", "dataType": "integer"},
]


@pytest.fixture(scope="module")
def kafka():
    try:
        broker = Kafka()
    except Unavailable as why:
        pytest.skip(f"no Kafka: {why}")
    yield broker
    broker.close()


@pytest.fixture
def topic(kafka):
    return f"t-{uuid.uuid4().hex[:8]}"


def config(kafka, postgres=None):
    text = f"connections:\n  events: {{type: kafka, brokers: \"{kafka.brokers}\"}}\n"
    if postgres:
        text += f"  warehouse: {{type: postgres, uri: \"{postgres.uri}\"}}\n"
    return text


def quick(kafka, postgres=None):
    """A member that is gone is noticed soon."""
    text = config(kafka, postgres)
    properties = "{session.timeout.ms: 3000, heartbeat.interval.ms: 500, topic.metadata.refresh.interval.ms: 1000}"
    return text.replace("events: {type: kafka,", f"events: {{type: kafka, properties: {properties},")


def numbers(first, count):
    return [json.dumps({"n": n}) for n in range(first, first + count)]


def add(gateway, topic, table="t", connection="local", columns=COLUMNS, sink=None, **fields):
    settings = fields.pop("settings", {})
    kafka = {"connection": "events", "topics": [topic], **fields}
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "kafka", "kafka": kafka})
    gateway.add_sink("s", "k", columns, {**AT_ONCE, **settings}, connection=connection, table=table, **(sink or {}))


def expected(kafka, topic):
    """[(partition, offset)] of what the broker has."""
    return sorted((partition, offset) for partition, offset, _ in kafka.records(topic))


def local_rows(gateway, table="t"):
    return gateway.rows(f'SELECT p, o FROM "{table}" ORDER BY 1, 2')


def wait_for(what, rows, wanted, deadline=LONG):
    try:
        wait_until(what, lambda: len(rows()) >= len(wanted), deadline)
    except AssertionError:
        raise AssertionError(f"{what}: {len(rows())} of {len(wanted)} rows") from None
    assert rows() == wanted


def test_records_become_rows(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 1000))
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    kafka.produce(topic, numbers(1000, 500))
    wait_for("more rows", lambda: local_rows(gateway), expected(kafka, topic))
    assert gateway.rows("SELECT n FROM t ORDER BY n") == [(n,) for n in range(1500)]


def test_a_restart_goes_on(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 300))
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    gateway.stop()
    kafka.produce(topic, numbers(300, 300))
    gateway.start()
    wait_for("rows after the restart", lambda: local_rows(gateway), expected(kafka, topic))
    assert "misplaced" not in gateway.log_text()


def test_kill_nine_in_load(kafka, topic, gateway_factory):
    """Rows are with the gateway, or on their way to the table, when it is killed."""
    gateway = gateway_factory(quick(kafka)).start()
    add(gateway, topic, batchSize=100, settings={"storage.level.target.import.trigger.count": 500})
    for turn in range(6):
        before = len(local_rows(gateway))
        kafka.produce(topic, numbers(turn * 2000, 2000))
        wait_until("something is imported", lambda: len(local_rows(gateway)) > before, LONG)
        gateway.kill()
        gateway.start()
    gateway.set("/sources/s/sinks/k", AT_ONCE)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))


def test_a_lost_data_directory(kafka, topic, gateway_factory, postgres):
    """What the destination has decides, so what was lost is read again."""
    table = topic.replace("-", "_")
    first = gateway_factory(quick(kafka, postgres)).start()
    kafka.produce(topic, numbers(0, 2000))
    add(first, topic, table=f"public.{table}", connection="warehouse", settings=FEW)
    rows = lambda: rows_of(postgres, table)  # noqa: E731
    wait_until("some rows", lambda: len(rows()) > 0)
    first.kill()
    second = gateway_factory(quick(kafka, postgres)).start()
    add(second, topic, table=f"public.{table}", connection="warehouse")
    kafka.produce(topic, numbers(2000, 100))
    wait_for("all rows", rows, expected(kafka, topic))


def rows_of(postgres, table, columns="p, o"):
    try:
        return postgres.rows(f'SELECT {columns} FROM "{table}" ORDER BY 1, 2')
    except psycopg2.errors.UndefinedTable:
        return []


def test_two_nodes_share_a_group(kafka, topic, gateway_factory, postgres):
    table = topic.replace("-", "_")
    rows = lambda: rows_of(postgres, table)  # noqa: E731
    nodes = [gateway_factory(quick(kafka, postgres)).start() for _ in range(2)]
    kafka.produce(topic, numbers(0, 100))
    for node in nodes:
        add(node, topic, table=f"public.{table}", connection="warehouse", batchSize=50)
    produced = 100
    for turn in range(4):
        for _ in range(5):
            kafka.produce(topic, numbers(produced, 300))
            produced += 300
        victim = nodes[turn % 2]
        if turn < 2:
            victim.kill()
        else:
            victim.process.send_signal(signal.SIGSTOP)
        kafka.produce(topic, numbers(produced, 300))
        produced += 300
        wait_until("the other one goes on", lambda: len(rows()) >= produced - 600, LONG)
        if turn < 2:
            victim.start()
        else:
            wait_until("the other one has all partitions", lambda: len(rows()) == produced, LONG)
            victim.process.send_signal(signal.SIGCONT)
    kafka.produce(topic, numbers(produced, 300))
    wait_for("all rows", rows, expected(kafka, topic))


def test_a_paused_source_reads_nothing(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 100))
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    gateway.change("PUT", "/sources/s/pause")
    kafka.produce(topic, numbers(100, 100))
    gateway.change("PUT", "/sources/s/resume")
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))


def test_a_source_that_ends(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 1000))
    settings = {"storage.level.target.import.trigger.count": 10000000, "storage.level.target.import.trigger.interval": "24h"}
    add(gateway, topic, loop=False, settings=settings)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    wait_until("it says that it is finished", lambda: "all records that existed at its start are imported" in gateway.log_text())
    kafka.produce(topic, numbers(1000, 10))
    gateway.change("PUT", "/sources/s/pause")
    gateway.change("PUT", "/sources/s/resume")
    wait_for("the rest", lambda: local_rows(gateway), expected(kafka, topic))


def test_a_table_that_is_replaced(kafka, topic, gateway_factory):
    """A run begins at the first record of all partitions, and one that is done begins anew only when it is asked for."""
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 1000))
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "kafka", "kafka": {"connection": "events", "topics": [topic], "loop": False}})
    gateway.change("POST", "/sources/s/sinks", {"sinkId": "k", "name": "k", "type": "table", "table": {"connection": "local", "tableId": "t", "strategy": "replace", "mapping": {"columns": COLUMNS}}})

    def finished(run):
        bridge = gateway.api("GET", "/sources/s/bridge").json
        return bridge["state"] == "finished" and bridge["run"] > run and bridge["sinks"][0]["run"]["state"] == "replaced"

    wait_until("it is finished", lambda: finished(""), 120)
    first = expected(kafka, topic)
    assert local_rows(gateway) == first and len(first) == 1000
    run = gateway.api("GET", "/sources/s").json["run"]
    kafka.produce(topic, numbers(1000, 10))
    gateway.kill()
    gateway.start()
    wait_until("it is still finished", lambda: finished(""), 120)
    assert local_rows(gateway) == first
    gateway.change("PUT", "/sources/s/resume")
    wait_until("the next run", lambda: finished(run), 120)
    assert local_rows(gateway) == expected(kafka, topic)


def test_a_record_that_is_refused(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 10) + ["{"] + numbers(10, 10), partition=0)
    kafka.produce(topic, numbers(20, 10), partition=1)
    add(gateway, topic, sink={"onInvalid": "reject"})
    wanted = [(0, o) for o in range(10)] + [(1, o) for o in range(10)]
    wait_for("rows before the record, and of the other partition", lambda: local_rows(gateway), wanted)
    wait_until("it says so", lambda: "stops at offset 10 (poisonRecord)" in gateway.log_text())
    gateway.change("PATCH", "/sources/s/sinks/k", {"onInvalid": "quarantine"})
    wanted = [(0, o) for o in range(21) if o != 10] + [(1, o) for o in range(10)]
    wait_for("rows behind it", lambda: local_rows(gateway), wanted)


def bridge(gateway):
    return gateway.api("GET", "/sources/s/bridge", expect=200).json


def wait_bridge(gateway, what, condition):
    def holds():
        answer = bridge(gateway)
        return answer if condition(answer) else None

    return wait_until(what, holds, LONG)


def seek(gateway, to, duplicates=False, **fields):
    return gateway.api("POST", f"/sources/s/bridge/seek?duplicates={str(duplicates).lower()}", {"to": to, **fields})


def test_where_it_reads_and_seeks(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.create_topic(topic, 4)
    for partition in range(4):
        kafka.produce(topic, numbers(0, 10), partition=partition)
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    answer = wait_bridge(gateway, "all is imported", lambda answer: len(answer["partitions"]) == 4 and answer["lag"]["records"] == 0)
    assert answer["state"] == "running" and answer["type"] == "kafka" and answer["group"] == "sluice-1-s" and answer["cluster"], answer
    assert [part["partitionId"] for part in answer["partitions"]] == [f"{topic}:{partition}" for partition in range(4)], answer
    for part in answer["partitions"]:
        assert (part["read"], part["first"], part["end"], part["lagSeconds"]) == (10, 0, 10, 0), part
        assert part["sinks"] == [{"sinkId": "k", "next": 10, "position": 10, "lag": 0}], part
    page = gateway.api("GET", f"/sources/s/bridge?limit=3&afterId={topic}:0", expect=200).json
    assert [part["partition"] for part in page["partitions"]] == [1, 2, 3] and page["page"]["totalCount"] == 4, page

    refused = seek(gateway, "earliest", partition=2)
    assert refused.status == 409 and refused.json["error"] == "stream.api.seekGoesBack", refused
    answer = seek(gateway, {"offset": 7}, True, topic=topic, partition=2)
    assert answer.status == 200 and answer.json["partitions"] == 1, answer
    wanted = sorted(expected(kafka, topic) + [(2, 7), (2, 8), (2, 9)])
    wait_for("rows that come twice", lambda: local_rows(gateway), wanted)
    # All were written after that time, and none before the next one is.
    assert seek(gateway, {"time": "2001-01-01T00:00:00Z"}, True, partition=1).status == 200
    wanted = sorted(wanted + [(1, offset) for offset in range(10)])
    wait_for("a partition that comes twice", lambda: local_rows(gateway), wanted)
    assert seek(gateway, {"time": "2200-01-01T00:00:00Z"}).json["partitions"] == 4
    assert seek(gateway, "latest", topic="others").status == 404
    assert seek(gateway, "latest", partition=4).status == 404
    kafka.produce(topic, numbers(10, 1), partition=3)
    wait_for("what comes next", lambda: local_rows(gateway), sorted([*wanted, (3, 10)]))


def test_sinks_come_and_go(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 100))
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    before = expected(kafka, topic)
    gateway.add_sink("s", "more", COLUMNS, AT_ONCE)
    kafka.produce(topic, numbers(100, 100))
    since = [one for one in expected(kafka, topic) if one not in before]
    wait_for("rows of the first", lambda: local_rows(gateway), expected(kafka, topic))
    wait_for("rows of the one that is new", lambda: local_rows(gateway, "more"), since)
    gateway.change("PUT", "/sources/s/sinks/more/disable")
    kafka.produce(topic, numbers(200, 100))
    wait_for("rows of the first", lambda: local_rows(gateway), expected(kafka, topic))
    gateway.change("PUT", "/sources/s/sinks/more/enable")
    since = [one for one in expected(kafka, topic) if one not in before]
    wait_for("it goes on where it stopped", lambda: local_rows(gateway, "more"), since)
    gateway.change("DELETE", "/sources/s")


def test_a_local_destination_is_not_shared(kafka, topic, gateway_factory):
    nodes = [gateway_factory(config(kafka)).start() for _ in range(2)]
    kafka.produce(topic, numbers(0, 100))
    add(nodes[0], topic)
    wait_for("rows", lambda: local_rows(nodes[0]), expected(kafka, topic))
    add(nodes[1], topic)
    wait_until("it says so", lambda: any("other nodes read a part of the topics" in node.log_text() for node in nodes), LONG)
    nodes[1].change("PUT", "/sources/s/disable")
    kafka.produce(topic, numbers(100, 100))
    wait_for("rows", lambda: local_rows(nodes[0]), expected(kafka, topic))


def test_partitions_are_added(kafka, topic, gateway_factory):
    """Nobody has read what they had before they were noticed, so they are read from their beginning, also with `latest`."""
    gateway = gateway_factory(quick(kafka)).start()
    kafka.produce(topic, numbers(0, 100))
    old = expected(kafka, topic)
    add(gateway, topic, startFrom="latest")
    wait_until("the positions are there", lambda: gateway.rows("SELECT count(*) FROM _sluice_positions") == [(4,)])
    kafka.add_partitions(topic, 6)
    for partition in range(6):
        kafka.produce(topic, numbers(100, 10), partition=partition)
    new = [one for one in expected(kafka, topic) if one not in old]
    wait_for("rows of all partitions", lambda: local_rows(gateway), new)


def test_the_broker_and_the_database_are_away(kafka, topic, gateway_factory, postgres):
    table = topic.replace("-", "_")
    rows = lambda: rows_of(postgres, table)  # noqa: E731
    gateway = gateway_factory(quick(kafka, postgres)).start()
    kafka.produce(topic, numbers(0, 500))
    add(gateway, topic, table=f"public.{table}", connection="warehouse")
    wait_for("rows", rows, expected(kafka, topic))
    postgres.stop()
    kafka.produce(topic, numbers(500, 500))
    gateway.kill()
    gateway.start()
    kafka.restart(signal.SIGKILL)
    kafka.produce(topic, numbers(1000, 500))
    postgres.start()
    wait_for("all rows", rows, expected(kafka, topic))


def test_records_that_were_removed_before_they_were_read(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 100), partition=0)
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    gateway.change("PUT", "/sources/s/pause")
    kafka.produce(topic, numbers(100, 100), partition=0)
    kafka.delete_records({(topic, 0): 150})
    gateway.change("PUT", "/sources/s/resume")
    wanted = [(0, o) for o in range(200) if not 100 <= o < 150]
    wait_for("rows around the gap", lambda: local_rows(gateway), wanted)
    assert "the broker has removed 50 records, from offset 100 on" in gateway.log_text()
    # The partition is shown as stopped until what was read before the gap is imported; the rows may be seen before that is shown.
    answer = wait_bridge(gateway, "they are counted", lambda answer: answer["counts"]["lost"] == 50 and answer["state"] == "running")
    assert [part["lost"] for part in answer["partitions"] if part["partition"] == 0] == [50], answer


def test_a_topic_that_is_made_anew(kafka, topic, gateway_factory):
    """With librdkafka 2.0 nothing says that it is another topic, but that it ends before the position."""
    gateway = gateway_factory(config(kafka)).start()
    kafka.produce(topic, numbers(0, 100), partition=0)
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    gateway.change("PUT", "/sources/s/pause")
    kafka.delete_topic(topic)
    wait_until("the topic is gone", lambda: topic not in kafka.topic_command("--list"))
    kafka.create_topic(topic, 4)
    kafka.produce(topic, numbers(0, 10), partition=0)
    gateway.change("PUT", "/sources/s/resume")
    wait_until("it stops", lambda: "stops at offset 100 (positionBeyondEnd)" in gateway.log_text(), LONG)
    assert len(local_rows(gateway)) == 100
    stopped = wait_bridge(gateway, "it says so", lambda answer: answer["state"] == "stopped")["stopped"]
    assert stopped["id"] == "positionBeyondEnd" and stopped["topic"] == topic and stopped["partition"] == 0, stopped
    assert seek(gateway, "earliest", True, partition=0).status == 200
    wait_for("the new ones", lambda: local_rows(gateway), sorted([(0, o) for o in range(100)] + [(0, o) for o in range(10)]))
    wait_bridge(gateway, "it reads", lambda answer: answer["state"] == "running" and answer["stopped"] is None)


def test_templates_and_a_definition_that_changes_in_load(kafka, topic, gateway_factory):
    """What is on its way to the template workers is evaluated anew for the new definition; each record is one row."""
    template = {"type": "template", "rawString": True, "template": {"language": "jsonnet", "content": "Body('n') + ':' + Meta('offset')"}}
    gateway = gateway_factory(config(kafka)).start()
    add(gateway, topic, columns=[*COLUMNS, {"name": "m", **template}], batchSize=200, sink={"onSchemaDrift": "evolve"})
    columns = [*COLUMNS, {"name": "m", **template}]
    for turn in range(4):
        kafka.produce(topic, numbers(turn * 1000, 1000))
        columns = [*columns, {"name": f"more{turn}", "type": "meta", "field": "bridge"}]
        gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"mapping": {"columns": columns}}})
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    for p, o, n, m, more in gateway.rows("SELECT p, o, n, m, more0 FROM t"):
        assert m == f"{n}:{o}"
        assert more in (None, f"kafka:{topic}:{p}:{o}")
    kafka.produce(topic, numbers(4000, 10))
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    assert gateway.rows("SELECT count(*) FROM t WHERE more3 IS NOT NULL")[0][0] >= 10


def test_a_destination_that_is_away_delays_no_other(kafka, topic, gateway_factory, postgres):
    """Its sink is joined when it answers: the source goes back for it, and the other one gets nothing twice.

    It came to a source that was paused, and begins where the source was then, not where it is when the destination answers.
    """
    table = topic.replace("-", "_")
    rows = lambda: rows_of(postgres, table)  # noqa: E731
    gateway = gateway_factory(config(kafka, postgres)).start()
    kafka.produce(topic, numbers(0, 300))
    add(gateway, topic)
    wait_for("rows before the pause", lambda: local_rows(gateway), expected(kafka, topic))
    gateway.change("PUT", "/sources/s/pause")
    before = set(expected(kafka, topic))
    gateway.add_sink("s", "far", COLUMNS, AT_ONCE, connection="warehouse", table=f"public.{table}")
    postgres.stop()
    try:
        gateway.change("PUT", "/sources/s/resume")
        kafka.produce(topic, numbers(300, 300))
        wait_for("rows of the one that is there", lambda: local_rows(gateway), expected(kafka, topic))
    finally:
        postgres.start()
    since = lambda: sorted(set(expected(kafka, topic)) - before)  # noqa: E731
    assert len(since()) == 300
    wait_for("rows of the other one", rows, since())
    kafka.produce(topic, numbers(600, 100))
    wait_for("rows of both", rows, since())
    wait_for("rows of both", lambda: local_rows(gateway), expected(kafka, topic))


def test_a_stop_while_the_broker_hangs(kafka, topic, gateway_factory):
    gateway = gateway_factory(config(kafka), arguments=["--shutdown-deadline", "20s"]).start()
    kafka.produce(topic, numbers(0, 100))
    add(gateway, topic)
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))
    broker = kafka.nodes[0].process
    broker.send_signal(signal.SIGSTOP)
    try:
        gateway.stop()
        gateway.start()
        gateway.stop()
    finally:
        broker.send_signal(signal.SIGCONT)
    gateway.start()
    kafka.produce(topic, numbers(100, 100))
    wait_for("rows", lambda: local_rows(gateway), expected(kafka, topic))


def test_a_sink_moves_to_another_table_in_load(kafka, topic, gateway_factory):
    """Each record is in one of the tables: what was read and not given to the writer goes into the new one."""
    gateway = gateway_factory(quick(kafka)).start()
    kafka.create_topic(topic, 4)
    add(gateway, topic, table="t0", settings=FEW)
    for turn in range(1, 5):
        producers = [threading.Thread(target=kafka.produce, args=(topic, numbers(0, 3000))) for _ in range(2)]
        for producer in producers:
            producer.start()
        gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"tableId": f"t{turn}"}})
        for producer in producers:
            producer.join()
    gateway.set("/sources/s/sinks/k", AT_ONCE)
    rows = lambda: sorted(row for turn in range(5) for row in local_rows(gateway, f"t{turn}"))  # noqa: E731
    wait_for("rows of all tables", rows, expected(kafka, topic))


def test_a_tombstone_deletes_the_row_of_its_key(kafka, topic, gateway_factory, postgres):
    table = topic.replace("-", "_")
    gateway = gateway_factory(quick(kafka, postgres)).start()
    columns = [
        {"type": "meta", "name": "k", "field": "key", "primaryKey": True},
        {"type": "path", "name": "n", "path": "n", "dataType": "integer"},
    ]
    keyed = ["-K", "|", "-Z"]  # KEY|VALUE; an empty value is none
    kafka.produce(topic, ['a|{"n":1}', 'b|{"n":2}', 'c|{"n":3}', "a|", "b|", 'b|{"n":4}'], arguments=keyed)
    sink = {"strategy": "merge", "deleteOn": {"tombstone": True}}
    add(gateway, topic, table=f"public.{table}", connection="warehouse", columns=columns, sink=sink, tombstones="event")
    rows = lambda: postgres.rows(f"SELECT k, n FROM public.{table} ORDER BY k")  # noqa: E731
    wait_until("the rows that are left", lambda: rows() == [("b", 4), ("c", 3)], LONG)
    kafka.produce(topic, ["c|", 'd|{"n":5}'], arguments=keyed)
    wait_until("the next deletion", lambda: rows() == [("b", 4), ("d", 5)], LONG)


# ---- columns that are inferred ---------------------------------------------------------------------------------------

COLUMNS_WAIT = 5  # seconds that records wait for their columns


def columns_come(gateway, name):
    """Waits for the column. Did it come while records still wait for it, on any machine?"""
    began = time.time()  # or later: the source does not read while it starts

    def is_there():
        nonlocal began
        state = gateway.api("GET", "/sources/s/bridge").json
        if state.get("state") == "starting" and state.get("at"):
            began = max(began, datetime.datetime.fromisoformat(state["at"].replace("Z", "+00:00")).timestamp())
        return name in [column["name"] for column in gateway.api("GET", "/sources/s/sinks/k").json["table"]["mapping"]["columns"]]

    wait_until(f"column {name}", is_there, LONG)
    return time.time() - began < COLUMNS_WAIT


@contextlib.contextmanager
def names_taken(postgres, table):
    """Nobody names columns of the table meanwhile. Gives a function: does somebody wait to do so?"""
    key = "pg_advisory_lock(hashtextextended(concat_ws(E'\\x01', 'sluice columns', %s), 0))"
    connection = psycopg2.connect(postgres.uri)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {key}", (table,))
        yield lambda: postgres.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") != [(0,)]
    finally:
        connection.close()


def test_records_wait_for_the_columns_that_are_inferred(kafka, topic, gateway_factory, postgres):
    """Of the first records of a topic, and of later ones with a new field; the gateway is killed while these wait."""
    table = f"public.{topic.replace('-', '_')}"
    gateway = gateway_factory(quick(kafka, postgres)).start()
    kafka.produce(topic, [json.dumps({"n": n, "first": f"a{n}"}) for n in range(200)])
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "kafka", "kafka": {"connection": "events", "topics": [topic]}})
    target = {"connection": "warehouse", "tableId": table, "mapping": {"infer": {}}}
    gateway.change("POST", "/sources/s/sinks", {"sinkId": "k", "name": "k", "table": target})
    gateway.set("/sources/s/sinks/k", AT_ONCE)
    first_in_time = columns_come(gateway, "first")
    places = lambda: rows_of(postgres, topic.replace("-", "_"), "_partition, _offset")  # noqa: E731
    wait_for("rows", places, expected(kafka, topic))
    with names_taken(postgres, table) as somebody_waits:
        sent = time.time()
        kafka.produce(topic, [json.dumps({"n": n, "first": f"a{n}", "second": n * 2}) for n in range(200, 400)])
        wait_until("it asks for a name", somebody_waits)
        gateway.kill()
        if time.time() - sent < COLUMNS_WAIT:
            assert len(places()) == 200
    gateway.start()
    second_in_time = columns_come(gateway, "second")
    wait_for("rows behind the kill", places, expected(kafka, topic))
    # What was late for its column is in _rest; nothing is lost, and nothing is there twice.
    early = postgres.rows(f"SELECT n FROM {table} WHERE _rest IS NOT NULL")
    assert not early or not (first_in_time and second_in_time), early
    whole = "coalesce(to_jsonb({0}), _rest::jsonb->'{0}')"
    fields = ", ".join(whole.format(name) for name in ("n", "first", "second"))
    wanted = [(n, f"a{n}", n * 2 if n >= 200 else None) for n in range(400)]
    assert sorted(postgres.rows(f"SELECT {fields} FROM {table}")) == wanted
