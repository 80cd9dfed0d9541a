"""What people see and do of sources that read a broker: the API, the commands, statistics and metrics, on a real nats-server."""

import contextlib
import json
import re
import sqlite3
import subprocess
import sys

import pytest

from postgres import Postgres
from sluice import AT_ONCE, BINARY, ROOT, request, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from nats_server import Nats  # noqa: E402

LONG = 120
COLUMNS = [
    {"name": "q", "type": "meta", "field": "sequence", "dataType": "integer"},
    {"name": "n", "type": "path", "path": "n", "dataType": "integer"},
]


@pytest.fixture
def nats():
    server = Nats()
    server.create_stream("ORDERS", ["orders.>"])
    yield server
    server.close()


@pytest.fixture
def warehouse():
    server = Postgres()
    yield server
    server.close()


def config(nats, warehouse=None):
    text = f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n'
    if warehouse:
        text += f'  warehouse: {{type: postgres, uri: "{warehouse.uri}"}}\n'
    return text


def numbers(first, count):
    return [json.dumps({"n": n}) for n in range(first, first + count)]


def add_source(gateway, durable="none", **fields):
    reads = {"connection": "events", "stream": "ORDERS", "durable": durable, **fields}
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "nats", "nats": reads})


def bridge(gateway):
    return gateway.api("GET", "/sources/s/bridge", expect=200).json


def wait_bridge(gateway, what, condition):
    """Its answer, as soon as the condition holds for it."""
    answer = None

    def holds():
        nonlocal answer
        answer = bridge(gateway)
        return condition(answer)

    try:
        wait_until(what, holds, LONG)
    except AssertionError:
        raise AssertionError(f"{what}: {answer}") from None
    return answer


def is_through(answer, end):
    parts = answer["partitions"]
    return answer["lag"]["records"] == 0 and parts and all(sink["position"] == end for sink in parts[0]["sinks"])


def local(gateway, table="k"):
    return [value for (value,) in gateway.rows(f"SELECT q FROM {table} ORDER BY q")]


def wait_local(gateway, wanted, table="k"):
    wanted = list(wanted)
    wait_until(f"{len(wanted)} rows, not {len(local(gateway, table))}", lambda: len(local(gateway, table)) >= len(wanted), LONG)
    assert local(gateway, table) == wanted


def sluice(gateway, *arguments):
    command = [BINARY, *arguments, "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def scrape(gateway):
    return request(gateway.admin, "GET", "/metrics", headers={"Authorization": f"Bearer {gateway.token}"}).body.decode()


def seek(gateway, to, query="", **fields):
    return gateway.api("POST", f"/sources/s/bridge/seek{query}", {"to": to, **fields})


def test_what_it_shows(gateway_factory, nats):
    nats.publish("orders.a", numbers(1, 100))
    gateway = gateway_factory(config(nats)).start()
    add_source(gateway)
    assert wait_bridge(gateway, "idle", lambda answer: answer["state"] == "idle")["partitions"] == []
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    wait_local(gateway, range(1, 101))
    answer = wait_bridge(gateway, "all is imported", lambda answer: is_through(answer, 101))
    assert answer["state"] == "running" and answer["stopped"] is None and answer["error"] is None, answer
    assert answer["type"] == "nats" and answer["cluster"] and answer["group"] == "sluice-1-s", answer
    assert answer["counts"]["records"] == 100 and answer["counts"]["bytes"] > 0 and answer["counts"]["poisoned"] == 0, answer
    (part,) = answer["partitions"]
    assert (part["topic"], part["partition"], part["read"], part["first"], part["end"]) == ("ORDERS", 0, 101, 1, 101), part
    assert part["lagSeconds"] == 0 and part["stopped"] is None and part["lost"] == 0, part
    assert [sink["sinkId"] for sink in answer["sinks"]] == ["k"]
    assert gateway.statistics("s", "k")["lag"] == {"records": 0, "seconds": 0}
    (source,) = gateway.api("GET", "/aggregation/sources", expect=200).json["sources"]
    assert source["bridge"]["state"] == "running" and source["bridge"]["lag"]["records"] == 0, source

    text = scrape(gateway)
    for line in (
        'sluice_bridge_state{source="s",state="running"} 1',
        'sluice_bridge_lag_records{source="s"} 0',
        'sluice_bridge_records_total{source="s"} 100',
    ):
        assert f"\n{line}\n" in text, line

    shown = sluice(gateway, "status")
    assert shown.returncode == 0 and re.search(r"^s +nats +1 +0 +0s +running$", shown.stdout, re.M), shown
    shown = sluice(gateway, "get", "positions", "s")
    assert shown.returncode == 0 and "s (nats): running, lag 0 records, 0.0 s\n" in shown.stdout, shown
    assert re.search(r"^ORDERS:0 +k +101 +101 +1 +101 +0 +0\.0", shown.stdout, re.M), shown
    shown = sluice(gateway, "get", "positions", "s", "-o", "json")
    assert shown.returncode == 0 and json.loads(shown.stdout)["partitions"][0]["partitionId"] == "ORDERS:0", shown


def test_what_waits_is_lag(gateway_factory, nats, warehouse):
    """A destination that is down: the position stays, and the lag grows."""
    gateway = gateway_factory(config(nats, warehouse)).start()
    add_source(gateway)
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    gateway.add_sink("s", "w", COLUMNS, AT_ONCE, connection="warehouse", table="public.w")
    # A sink that comes later begins where the source is then.
    wait_bridge(gateway, "both begin", lambda answer: len(answer["sinks"]) == 2 and is_through(answer, 1))
    nats.publish("orders.a", numbers(1, 50))
    wait_bridge(gateway, "all is imported", lambda answer: is_through(answer, 51))
    warehouse.stop()
    nats.publish("orders.a", numbers(51, 70))
    wait_local(gateway, range(1, 121))

    def positions(answer):
        return {sink["sinkId"]: sink["position"] for sink in answer["partitions"][0]["sinks"]}

    answer = wait_bridge(gateway, "the positions", lambda answer: positions(answer) == {"k": 121, "w": 51})
    assert answer["lag"]["records"] == 70, answer
    assert gateway.statistics("s", "k")["lag"]["records"] == 0
    assert gateway.statistics("s", "w")["lag"]["records"] == 70
    # Of a seek each sink says for itself what became of it.
    refused = seek(gateway, "latest")
    assert refused.status == 503 and refused.json["error"] == "stream.api.seekIncomplete", refused
    assert {sink["sinkId"]: sink["done"] for sink in refused.json["sinks"]} == {"k": True, "w": False}, refused
    assert int(refused.headers["retry-after"]) > 0
    shown = sluice(gateway, "seek", "s", "--to", "latest", "--sink", "w")
    assert shown.returncode == 2 and shown.stdout.startswith("s/w: ") and "(HTTP 503)" in shown.stderr, shown
    warehouse.start()
    wait_bridge(gateway, "all is imported", lambda answer: is_through(answer, 121))
    assert warehouse.rows("SELECT count(*), count(DISTINCT q) FROM public.w") == [(120, 120)]


def test_seek(gateway_factory, nats):
    nats.publish("orders.a", numbers(1, 40))
    gateway = gateway_factory(config(nats)).start()
    add_source(gateway)
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    wait_local(gateway, range(1, 41))
    wait_bridge(gateway, "all is imported", lambda answer: is_through(answer, 41))

    refused = seek(gateway, {"offset": 31})
    assert refused.status == 409 and refused.json["error"] == "stream.api.seekGoesBack", refused
    assert "duplicates=true" in refused.json["message"] and refused.json["sinks"][0]["done"] is False, refused
    answer = seek(gateway, {"offset": 31}, "?duplicates=true")
    assert answer.status == 200 and answer.json == {"sourceId": "s", "partitions": 1, "sinks": [{"sinkId": "k", "done": True, "message": None}]}, answer
    wait_local(gateway, sorted([*range(1, 41), *range(31, 41)]))
    wait_bridge(gateway, "all is imported again", lambda answer: is_through(answer, 41))
    assert "admin.token seeks source s to offset 31" in gateway.log_text() and "seek of s/k: done" in gateway.log_text()

    # Forward, while nothing is read: what is passed over never comes.
    gateway.change("PUT", "/sources/s/pause")
    wait_bridge(gateway, "paused", lambda answer: answer["state"] == "paused")
    nats.publish("orders.a", numbers(41, 20))
    shown = sluice(gateway, "seek", "s", "--to", "latest", "--topic", "ORDERS", "--partition", "0")
    assert shown.returncode == 0 and shown.stdout == "s/k: 1 position set\n", shown

    # What its destination has is shown while nothing is read, also by another process.
    for restarts in (False, True):
        if restarts:
            gateway.stop()
            gateway.start()
        answer = wait_bridge(gateway, "positions", lambda answer: answer["partitions"] and answer["partitions"][0]["sinks"][0]["position"] == 61)
        partition = answer["partitions"][0]
        assert answer["state"] == "paused" and answer["lag"]["records"] is None and answer["partitionsCount"] == 0, answer
        assert partition["partitionId"] == "ORDERS:0" and partition["read"] is None and partition["end"] is None, answer
        shown = sluice(gateway, "get", "positions", "s")
        assert shown.returncode == 0 and re.search(r"^ORDERS:0 +k +61 +- ", shown.stdout, re.M), shown
    nats.publish("orders.a", numbers(61, 5))
    gateway.change("PUT", "/sources/s/resume")
    wait_local(gateway, sorted([*range(1, 41), *range(31, 41), *range(61, 66)]))
    wait_bridge(gateway, "all is imported", lambda answer: is_through(answer, 66))

    # By a time: all are from this year.
    answer = seek(gateway, {"time": "2001-01-01T00:00:00Z"}, "?duplicates=true", sink="k")
    assert answer.status == 200, answer
    wait_local(gateway, sorted([*range(1, 41), *range(31, 41), *range(61, 66), *range(1, 66)]))
    assert seek(gateway, {"time": "2200-01-01T00:00:00Z"}).status == 200
    refused = seek(gateway, {"offset": 4711})
    assert refused.status == 409 and refused.json["error"] == "stream.api.offsetBeyondEnd", refused
    assert 'Partition 0 of "ORDERS" ends at offset ' in refused.json["message"], refused

    for wrong, status, error in (
        ({"to": "latest", "topic": "OTHERS"}, 404, "partitionNotFound"),
        ({"to": "latest", "partition": 1}, 404, "partitionNotFound"),
        ({"to": "latest", "sink": "none"}, 404, "sinkNotFound"),
        ({"to": "now"}, 400, "badRequest"),
        ({"to": {"offset": -1}}, 400, "badRequest"),
    ):
        refused = gateway.api("POST", "/sources/s/bridge/seek", wrong)
        assert refused.status == status and refused.json["error"] == f"stream.api.{error}", (wrong, refused)
    gateway.change("PUT", "/sources/s/disable")
    assert wait_bridge(gateway, "idle", lambda answer: answer["state"] == "idle")["reason"] == "The source is disabled."
    refused = seek(gateway, "latest")
    assert refused.status == 409 and refused.json["error"] == "stream.api.bridgeNotRunning", refused


def test_a_table_that_was_dropped_is_not_made_anew_without_a_word(gateway_factory, nats):
    nats.publish("orders.a", numbers(1, 10))
    gateway = gateway_factory(config(nats)).start()
    add_source(gateway)
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    wait_local(gateway, range(1, 11))
    gateway.stop()
    with contextlib.closing(sqlite3.connect(gateway.data / "tables.db")) as database:
        database.execute("DROP TABLE k")
        database.commit()
    gateway.start()
    nats.publish("orders.a", numbers(11, 5))
    wait_local(gateway, range(11, 16))
    words = "Its table was missing and was created again at "
    wait_bridge(gateway, "the note", lambda answer: words in (answer["sinks"] or [{}])[0].get("reason", "") if answer["reason"] else False)
    assert "is created again: its earlier rows are not read again" in gateway.log_text()
    for shown in (sluice(gateway, "status"), sluice(gateway, "get", "positions", "s")):
        assert shown.returncode == 0 and words in shown.stdout, shown
    assert seek(gateway, "earliest", "?duplicates=true").status == 200
    wait_bridge(gateway, "no note", lambda answer: answer["reason"] is None and is_through(answer, 16))
    assert local(gateway) == sorted([*range(1, 16), *range(11, 16)])


@pytest.mark.parametrize("durable", ["none", "own"])
def test_a_poison_record_is_skipped(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    add_source(gateway, durable)
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE, onInvalid="reject")
    nats.publish("orders.a", [*numbers(1, 10), "{", *numbers(12, 5)])
    wait_local(gateway, range(1, 11))
    answer = wait_bridge(gateway, "stopped", lambda answer: answer["state"] == "stopped")
    stopped = answer["stopped"]
    assert stopped["id"] == "poisonRecord" and stopped["topic"] == "ORDERS" and stopped["partition"] == 0 and stopped["offset"] == 11, answer
    assert '"n"' in stopped["reason"] or "JSON" in stopped["reason"], answer
    shown = sluice(gateway, "status")
    assert shown.returncode == 0 and "stopped, poisonRecord at offset 11 of partition 0 of ORDERS: " in shown.stdout, shown
    shown = sluice(gateway, "get", "positions", "s")
    assert shown.returncode == 0 and "stopped at 11, poisonRecord: " in shown.stdout, shown
    assert 'sluice_bridge_stopped_partitions{source="s"} 1\n' in scrape(gateway)

    body = {"topic": "ORDERS", "partition": 0, "offset": 12}
    refused = gateway.api("POST", "/sources/s/bridge/skip", body)
    assert refused.status == 409 and refused.json["error"] == "stream.api.notStoppedThere" and "offset 11" in refused.json["message"], refused
    for nowhere in ({"partition": 1}, {"topic": "OTHERS"}):
        refused = gateway.api("POST", "/sources/s/bridge/skip", {**body, "offset": 11, **nowhere})
        assert refused.status == 404 and refused.json["error"] == "stream.api.partitionNotFound", (nowhere, refused)
    assert local(gateway) == list(range(1, 11))
    shown = sluice(gateway, "skip", "s", "--topic", "ORDERS", "--partition", "0", "--offset", "11")
    assert shown.returncode == 0 and shown.stdout == "s: offset 11 of partition 0 of ORDERS is skipped\n", shown
    wait_local(gateway, [*range(1, 11), *range(12, 17)])
    answer = wait_bridge(gateway, "the count", lambda answer: answer["counts"]["skipped"] == 1)
    assert answer["state"] == "running" and answer["stopped"] is None, answer
    assert "admin.token skips offset 11 of partition 0 of \\\"ORDERS\\\" of source s" in gateway.log_text()


def test_a_durable_has_no_positions(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    add_source(gateway, "own")
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    nats.publish("orders.a", numbers(1, 30))
    wait_local(gateway, range(1, 31))
    answer = wait_bridge(gateway, "all is acknowledged", lambda answer: answer["lag"]["records"] == 0)
    assert answer["state"] == "running" and answer["group"] == "own" and is_through(answer, 31), answer
    refused = seek(gateway, "earliest", "?duplicates=true")
    assert refused.status == 409 and refused.json["error"] == "stream.api.noPositions", refused
    gateway.change("PUT", "/sources/s/pause")
    wait_bridge(gateway, "paused", lambda answer: answer["state"] == "paused")


def test_a_broker_that_is_down(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    add_source(gateway)
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    nats.publish("orders.a", numbers(1, 3))
    wait_local(gateway, range(1, 4))
    nats.stop()
    answer = wait_bridge(gateway, "the trouble", lambda answer: answer["error"])
    assert answer["errorAt"] and '"events"' in answer["error"] and answer["state"] == "running", answer
    assert "events" in sluice(gateway, "status").stdout
    nats.start()
    wait_bridge(gateway, "the trouble is over, though nothing is new", lambda answer: answer["error"] is None)
    nats.publish("orders.a", numbers(4, 3))
    wait_local(gateway, range(1, 7))
