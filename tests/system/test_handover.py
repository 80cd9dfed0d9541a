"""A table goes to a sink with another id, in one task of a manifest: under load, with rows that wait, through crashes, and of bridges."""

import json
import pathlib
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "services"))

from nats_server import Nats  # noqa: E402
from sluice import AT_ONCE, BINARY, NEVER, wait_until  # noqa: E402

KEY = {"name": "k", "type": "path", "path": "k", "dataType": "integer", "primaryKey": True}
VALUE = {"name": "n", "type": "path", "path": "n", "dataType": "integer"}
LONG = 150


def sink(sink_id, table, columns, **fields):
    return {"sinkId": sink_id, "table": {"tableId": table, "mapping": {"columns": columns}, **fields}}


def shop(*sinks, **fields):
    return {"sourceId": "shop", "name": "shop", "framing": "ndjson", "settings": AT_ONCE, **fields, "sinks": list(sinks)}


def put(gateway, body, query="?prune=true"):
    return gateway.change("PUT", f"/sources/{body['sourceId']}/manifest{query}", body)["outputs"]


def test_under_load(gateway_factory):
    """Two tables change their sinks' ids again and again while events come: each event is in both tables once."""
    gateway = gateway_factory().start()
    keyed, plain = [{**VALUE, "primaryKey": True}], [VALUE]
    put(gateway, shop(sink("one", "t", keyed), sink("two", "u", plain)))
    url = gateway.source_url("shop")
    answers, stop = [], threading.Event()

    def send(sender):
        number = sender
        while not stop.is_set():
            answers.append((number, gateway.post(url, f'{{"n":{number}}}\n', "application/x-ndjson").status))
            number += 3

    senders = [threading.Thread(target=send, args=(i,)) for i in range(3)]
    for sender in senders:
        sender.start()
    try:
        for ids in [("three", "two"), ("two", "three"), ("one", "three"), ("three", "one"), ("one", "two")]:
            seen = len(answers)
            wait_until("events go on", lambda: len(answers) > seen + 5)
            plan = put(gateway, shop(sink(ids[0], "t", keyed), sink(ids[1], "u", plain)))
            assert {entry["action"] for entry in plan["sinks"]} <= {"update", "unchanged"}, plan
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert {status for _, status in answers} == {200}
    wanted = sorted((number,) for number, _ in answers)
    for table, sink_id in (("t", "one"), ("u", "two")):
        gateway.flush("shop", sink_id)
        assert gateway.rows(f"SELECT n FROM {table} ORDER BY n") == wanted
        total = gateway.statistics("shop", sink_id)["levels"]["target"]
        assert total["recordsCount"] == len(wanted), total
    assert gateway.api("GET", "/sources/shop/sinks/three").status == 404


def test_rows_that_wait_go_first(gateway):
    """The row of the old id comes before the row of the new one: of one key the later one stays."""
    put(gateway, shop(sink("old", "t", [KEY, VALUE], strategy="merge"), settings=NEVER))
    url = gateway.source_url("shop")
    for n in range(1, 6):
        assert gateway.post(url, f'{{"k":1,"n":{n}}}\n', "application/x-ndjson").status == 200
        ids = ["old", "new"] if n % 2 == 0 else ["new", "old"]
        plan = put(gateway, shop(sink(ids[0], "t", [KEY, VALUE], strategy="merge"), settings=NEVER))
        assert plan["sinks"][0]["renamedFrom"] == ids[1], plan
    levels = gateway.statistics("shop", "new")["levels"]
    assert levels.get("local", {}).get("recordsCount", 0) + levels.get("staging", {}).get("recordsCount", 0) == 5, levels
    gateway.flush("shop", "new")
    assert gateway.rows("SELECT k, n FROM t") == [(1, 5)]


@pytest.mark.parametrize("point", ["storage.before-commit", "storage.after-commit"])
def test_a_crash_leaves_one_owner(gateway_factory, point):
    """A crash at each commit from the start of the process on, until the task gets through."""
    gateway = gateway_factory().start()
    put(gateway, shop(sink("old", "t", [VALUE])))
    url, posted, passage, owners = gateway.source_url("shop"), 0, 0, set()
    while owners != {"old", "new"}:
        passage += 1
        assert passage < 40
        gateway.stop()
        try:
            gateway.start(environment={"SLUICE_FAILPOINTS": f"{point}=crash@{passage}"})
            put(gateway, shop(sink("new", "t", [VALUE])))
        except (AssertionError, OSError):  # the process ended at its start, or with the request
            pass
        if gateway.process.poll() is None:
            gateway.kill()
        gateway.process.wait(timeout=60)
        gateway.start()
        sinks = gateway.api("GET", "/sources/shop/sinks", expect=200).json["sinks"]
        assert len(sinks) == 1 and sinks[0]["table"]["tableId"] == "t", sinks
        owners.add(sinks[0]["sinkId"])
        assert gateway.post(url, f'{{"n":{posted}}}\n', "application/x-ndjson").status == 200
        posted += 1
        gateway.flush("shop", sinks[0]["sinkId"])
        assert gateway.rows("SELECT n FROM t ORDER BY n") == [(n,) for n in range(posted)]


def test_inferred_columns_go_along(gateway):
    inferring = lambda sink_id: shop({"sinkId": sink_id, "table": {"tableId": "t", "mapping": {"infer": {}}}})  # noqa: E731
    put(gateway, inferring("old"))
    url = gateway.source_url("shop")
    assert gateway.post(url, '{"n":1}\n', "application/x-ndjson").status == 200
    names = lambda sink_id: [  # noqa: E731
        column["name"] for column in gateway.api("GET", f"/sources/shop/sinks/{sink_id}").json["table"]["mapping"]["columns"]
    ]
    wait_until("the column is made", lambda: "n" in names("old"))
    assert gateway.post(url, '{"n":2}\n', "application/x-ndjson").status == 200
    gateway.flush("shop", "old")
    before = names("old"), gateway.log_text().count("ALTER TABLE")
    put(gateway, inferring("new"))
    assert gateway.post(url, '{"n":3}\n', "application/x-ndjson").status == 200
    gateway.flush("shop", "new")
    assert gateway.rows("SELECT n FROM t ORDER BY _at DESC LIMIT 1") == [(3,)]
    assert (names("new"), gateway.log_text().count("ALTER TABLE")) == before


def test_two_sources(gateway, tmp_path):
    """A table goes from one source to another one: the manifest of the one that has it comes first."""
    put(gateway, shop(sink("a", "t", [VALUE])))
    path = tmp_path / "two.yaml"
    path.write_text(
        "kind: source\nsourceId: other\nsinks:\n"
        "  - {sinkId: b, table: {tableId: t, mapping: {columns: [{name: n, type: path, path: n, dataType: integer}]}}}\n"
        "---\nkind: source\nsourceId: shop\nname: shop\n"
    )
    command = [BINARY, "apply", "-f", str(path), "--prune", "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    first = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert first.returncode == 2, first
    assert 'Sink "shop/a" imports into table "t" of connection "local" already. Delete it or give it another table first.' in first.stderr
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 0 and "+ other/b" in second.stdout, second
    path.write_text(path.read_text().replace("sinkId: b,", "sinkId: c, onInvalid: quarantine,"))
    dry = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, timeout=60)
    assert dry.returncode == 0 and "~ other/c: renamed from b, name, onInvalid\n" in dry.stdout and "would be" not in dry.stdout, dry
    third = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert third.returncode == 0 and "~ other/c: renamed from b, name, onInvalid\n" in third.stdout, third


@pytest.fixture
def nats():
    server = Nats("max_payload: 16MB")
    server.create_stream("ORDERS", ["orders.>"])
    yield server
    server.close()


def stream(*sinks, **fields):
    nats = {"connection": "events", "stream": "ORDERS", "batchTimeout": "10ms", **fields}
    return {"sourceId": "s", "name": "s", "type": "nats", "nats": nats, "settings": AT_ONCE, "sinks": list(sinks)}


@pytest.mark.parametrize("durable", ["none", "own"])
def test_a_bridge_goes_on(gateway_factory, nats, durable):
    """The new id goes on where the old one stopped, with rows that wait: no message is read again."""
    gateway = gateway_factory(f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n').start()
    put(gateway, stream(sink("one", "t", [VALUE]), durable=durable))
    gateway.change("PUT", "/sources/s/sinks/one/pause")
    count, ids = 0, ["one", "two"]
    for _ in range(4):
        nats.publish("orders.a", [json.dumps({"n": n}) for n in range(count, count + 200)])
        count += 200
        plan = put(gateway, stream(sink(ids[1], "t", [VALUE]), durable=durable))
        assert plan["sinks"][0]["renamedFrom"] == ids[0], plan
        ids.reverse()
    gateway.change("PUT", "/sources/s/sinks/one/resume")
    wait_until("all rows", lambda: gateway.rows("SELECT count(*) FROM t") == [(count,)], LONG)
    assert gateway.rows("SELECT n FROM t ORDER BY n") == [(n,) for n in range(count)]
    statistics = gateway.statistics("s", "one")
    assert not statistics.get("returnedRows") and not statistics.get("overtakenRows"), statistics


def test_a_run_goes_on(gateway_factory, nats):
    """A rename in the middle of a run that replaces a table: the run goes on and gives its rows once."""
    gateway = gateway_factory(f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n').start()
    nats.publish("orders.a", [json.dumps({"n": n}) for n in range(500)])
    source = lambda sink_id: stream(sink(sink_id, "t", [VALUE], strategy="replace"), durable="none", loop=False)  # noqa: E731
    gateway.api("PUT", "/connections/local/pause", expect=200)
    put(gateway, source("one"))
    bridge = lambda: gateway.api("GET", "/sources/s/bridge", expect=200).json  # noqa: E731
    run = wait_until("a run has begun", lambda: bridge().get("run"), LONG)
    put(gateway, source("two"))
    assert bridge().get("run") == run
    gateway.kill()
    gateway.start()
    gateway.api("PUT", "/connections/local/resume", expect=200)
    wait_until("it is finished", lambda: bridge()["state"] == "finished", LONG)
    assert [entry["sinkId"] for entry in bridge()["sinks"]] == ["two"]
    assert gateway.rows("SELECT n FROM t ORDER BY n") == [(n,) for n in range(500)]
