"""`sluice status`, `sluice connections`, the API behind them, and the metrics of sinks and connections."""

import json
import re
import socket
import subprocess
import threading

import pytest
from postgres import free_port
from sluice import AT_ONCE, BINARY, NEVER, request, wait_until

COLUMNS = [{"type": "path", "name": "a", "path": "a", "rawString": True}]
SERIES = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\d+)')


def sluice(gateway, *arguments):
    command = [BINARY, *arguments, "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def metrics(gateway):
    """{(name, labels): value}; each line and the order of families is held to the exposition format."""
    answer = request(gateway.admin, "GET", "/metrics", headers={"Authorization": f"Bearer {gateway.token}"})
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer
    found, family, seen = {}, None, set()
    lines = answer.body.decode().split("\n")
    assert lines.pop() == ""
    for line in lines:
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in seen, line
            seen.add(family)
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2:] in ([family, "counter"], [family, "gauge"]), line
        else:
            name, labels, value = SERIES.fullmatch(line).groups()
            assert name == family and (name, labels) not in found, line
            found[(name, labels)] = int(value)
    return found


def connections(gateway):
    return {item["name"]: item for item in gateway.api("GET", "/connections", expect=200).json["connections"]}


def config_of(*items):
    return "connections:\n" + "".join(f'  {name}: {{type: postgres, uri: "{uri}"}}\n' for name, uri in items)


def test_a_sink_is_seen_in_all_places(gateway):
    url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, AT_ONCE)
    gateway.add_sink("shop", "later", COLUMNS, NEVER, onInvalid="quarantine")
    for n in range(3):
        assert gateway.post(url, {"a": n}).status == 200
    gateway.wait_rows("orders", 3)

    def target():
        return metrics(gateway)[("sluice_sink_rows", 'source="shop",sink="orders",level="target"')] == 3

    wait_until("the import is counted", target)
    found = metrics(gateway)
    later = 'source="shop",sink="later"'
    assert found[("sluice_sink_rows", later + ',level="local"')] + found[("sluice_sink_rows", later + ',level="staging"')] == 3
    assert found[("sluice_sink_rows", later + ',level="target"')] == 0
    assert found[("sluice_connection_up", 'connection="local"')] == 1

    gateway.api("PUT", "/sources/shop/sinks/later/pause")
    status = json.loads(sluice(gateway, "status", "-o", "json").stdout)
    assert status["ready"] and status["notReady"] is None and status["sourcesCount"] == 1 and status["sinksCount"] == 2
    assert 0 < status["disk"]["used"] < status["disk"]["budget"]
    sinks = {sink["sinkId"]: sink for sink in status["sources"][0]["sinks"]}
    assert sinks["orders"]["statistics"]["levels"]["target"]["recordsCount"] == 3
    assert sinks["orders"]["statistics"]["oldestWaiting"] is None
    assert sinks["later"]["statistics"]["oldestWaiting"]["seconds"] >= 0
    assert sinks["later"]["statistics"] == {**gateway.statistics("shop", "later"), "oldestWaiting": sinks["later"]["statistics"]["oldestWaiting"]}
    assert metrics(gateway)[("sluice_sink_paused", later)] == 1

    screen = sluice(gateway, "status")
    assert screen.returncode == 0 and screen.stdout.startswith("sluice ") and ", ready\n" in screen.stdout, screen
    assert re.search(r"^shop/orders +0 +0 +3 +- +0  ok$", screen.stdout, re.M), screen.stdout
    assert re.search(r"^shop/later .* 0  paused$", screen.stdout, re.M), screen.stdout

    gateway.change("DELETE", "/sources/shop/sinks/later")
    assert not any("later" in (labels or "") for _, labels in metrics(gateway))


def test_many_sources(gateway):
    for n in range(130):
        gateway.api("POST", "/sources", {"sourceId": f"s{n:03}", "name": f"s{n}"}, wait=0, expect=202)
    wait_until("all sources are there", lambda: gateway.api("GET", "/status", expect=200).json["sourcesCount"] == 130)
    gateway.add_sink("s129", "last", COLUMNS, NEVER)
    gateway.add_sink("s000", "first", COLUMNS, NEVER)
    screen = sluice(gateway, "status")
    assert screen.returncode == 0 and "s000/first " in screen.stdout and "s129/last " in screen.stdout, screen
    status = json.loads(sluice(gateway, "status", "-o", "json").stdout)
    assert [source["sourceId"] for source in status["sources"]] == [f"s{n:03}" for n in range(130)]


def test_the_series_have_a_bound(gateway_factory):
    gateway = gateway_factory(arguments=["--limits.metrics-sinks", "1"]).start()
    url = gateway.add_source("shop")
    for sink in ("one", "two", "three"):
        gateway.add_sink("shop", sink, COLUMNS, NEVER)
    assert gateway.post(url, {"a": 1}).status == 200
    waiting = {labels: value for (name, labels), value in metrics(gateway).items() if name == "sluice_sink_rows"}
    assert sum(value for labels, value in waiting.items() if 'sink="one"' in labels) == 1
    assert sum(value for labels, value in waiting.items() if 'source="(other)",sink="(other)"' in labels) == 2
    assert len(waiting) == 6


def test_a_destination_that_is_down(gateway_factory):
    port = free_port()
    gateway = gateway_factory(config_of(("warehouse", f"postgresql://sluice@127.0.0.1:{port}/db"))).start()
    assert metrics(gateway)[("sluice_connection_up", 'connection="warehouse"')] == 1  # nothing was tried yet
    tested = sluice(gateway, "connections", "test", "warehouse")
    assert tested.returncode == 2 and tested.stdout.startswith("warehouse: unreachable: ") and "refused" in tested.stdout, tested
    everything = sluice(gateway, "connections", "test")
    assert everything.returncode == 2 and re.search(r"^local: ok, SQLite 3\.", everything.stdout, re.M), everything
    assert sluice(gateway, "connections", "test", "local").returncode == 0
    assert sluice(gateway, "connections", "test", "moon").returncode == 2
    assert sluice(gateway, "connections", "probe").returncode == 2


def test_an_outage_is_seen_and_ends(gateway_factory, postgres):
    gateway = gateway_factory(config_of(("warehouse", postgres.uri))).start()
    url = gateway.add_source("shop")
    gateway.add_sink("shop", "outage", COLUMNS, AT_ONCE, connection="warehouse", table="outage")
    assert sluice(gateway, "connections", "test", "warehouse").returncode == 0
    postgres.stop()
    try:
        assert gateway.post(url, {"a": 1}).status == 200
        wait_until("the outage is seen", lambda: connections(gateway)["warehouse"]["failing"])
        known = connections(gateway)["warehouse"]
        assert "warehouse" in known["lastError"]
        found = metrics(gateway)
        assert found[("sluice_connection_up", 'connection="warehouse"')] == 0
        assert found[("sluice_connection_up", 'connection="local"')] == 1
        assert found[("sluice_sink_failing", 'source="shop",sink="outage"')] == 1
        screen = sluice(gateway, "status")
        assert screen.returncode == 0 and re.search(r"^warehouse +postgres +unreachable: ", screen.stdout, re.M), screen.stdout
        listed = sluice(gateway, "connections")
        assert listed.returncode == 0 and re.search(r"^local +sqlite +ok$", listed.stdout, re.M), listed.stdout
    finally:
        postgres.start()
    wait_until("the row is imported", lambda: postgres.rows("SELECT count(*) FROM outage") == [(1,)])
    wait_until("the connection is up again", lambda: not connections(gateway)["warehouse"]["failing"])
    assert connections(gateway)["warehouse"]["lastError"] is None
    assert metrics(gateway)[("sluice_connection_up", 'connection="warehouse"')] == 1


def test_what_a_test_of_a_connection_finds(gateway_factory, postgres):
    postgres.rows("CREATE ROLE nosy LOGIN")
    base = f"127.0.0.1:{postgres.port}"
    try:
        gateway = gateway_factory(
            config_of(
                ("well", postgres.uri),
                ("nowhere", f"postgresql://sluice@{base}/nowhere"),
                ("stranger", f"postgresql://stranger@{base}/postgres"),
                ("encrypted", f"postgresql://sluice@{base}/postgres?sslmode=require"),
                ("nosy", f"postgresql://nosy@{base}/postgres"),
            )
            + f'  unprepared: {{type: postgres, uri: "postgresql://nosy@{base}/postgres", ledgerTable: unprepared.files}}\n'
        ).start()
        before = postgres.rows("SELECT count(*) FROM pg_class")
        faults = {}
        for name in ("well", "nowhere", "stranger", "encrypted", "unprepared"):
            answer = gateway.api("POST", f"/connections/{name}/test", expect=200).json
            faults[name] = answer["fault"]
            assert answer["ok"] == (answer["fault"] is None) == (answer["message"] is None), answer
            assert answer["name"] == name and answer["type"] == "postgres" and answer["duration"] >= 0
            if answer["ok"]:
                assert answer["version"].startswith("PostgreSQL "), answer
        assert faults == {"well": None, "nowhere": "database", "stranger": "login", "encrypted": "tls", "unprepared": "rights"}

        # the tables of its sinks count
        postgres.rows("CREATE TABLE watched (a text)")
        gateway.add_source("shop")
        gateway.add_sink("shop", "watched", COLUMNS, NEVER, connection="well", table="watched")
        assert gateway.api("POST", "/connections/well/test", expect=200).json["ok"]
        assert postgres.rows("SELECT count(*) FROM pg_class WHERE relname = 'unprepared'") == [(0,)]
        assert before[0][0] <= postgres.rows("SELECT count(*) FROM pg_class")[0][0]
        assert gateway.api("POST", "/connections/moon/test").status == 404
    finally:
        postgres.rows("DROP TABLE IF EXISTS watched")
        postgres.rows("DROP OWNED BY nosy")
        postgres.rows("DROP ROLE nosy")


def test_a_destination_that_never_answers_holds_nobody_up(gateway_factory):
    """The test waits for its connection, on a thread of its own; the API and the intake go on."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    gateway = gateway_factory(config_of(("deaf", f"postgresql://sluice@127.0.0.1:{port}/db?connect_timeout=4"))).start()
    url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, AT_ONCE)
    answers = []
    tester = threading.Thread(target=lambda: answers.append(gateway.api("POST", "/connections/deaf/test")))
    tester.start()
    try:
        taken, _ = listener.accept()
        assert gateway.post(url, {"a": 1}).status == 200
        gateway.wait_rows("orders", 1)
        assert gateway.api("GET", "/status", expect=200).json["ready"]
    finally:
        tester.join(timeout=60)
    assert not tester.is_alive()
    assert answers[0].status == 200 and answers[0].json["fault"] == "unreachable" and "no answer within" in answers[0].json["message"], answers
    taken.close()
    listener.close()


@pytest.mark.parametrize("role_path", ["/status", "/aggregation/sources", "/connections/local/test"])
def test_a_token_is_needed(gateway, role_path):
    method = "POST" if role_path.endswith("test") else "GET"
    assert request(gateway.admin, method, "/v1/branches/default" + role_path).status == 401
