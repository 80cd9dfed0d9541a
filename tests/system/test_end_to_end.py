"""The main job: an event POSTed becomes a row."""

import json
import subprocess

from sluice import AT_ONCE, BINARY, NEVER, ROOT, wait_until

EVENT = (ROOT / "tests" / "mapping" / "event.json").read_text()

COLUMNS = [
    {"type": "id", "name": "id", "primaryKey": True},
    {"type": "datetime", "name": "received"},
    {"type": "path", "name": "issue", "path": "issue.id", "dataType": "integer"},
    {"type": "path", "name": "summary", "path": "issue.fields.summary", "rawString": True},
    {"type": "path", "name": "amount", "path": "amount", "dataType": "decimal"},
    {"type": "path", "name": "labels", "path": "issue.fields.labels", "dataType": "jsonText"},
]


def test_one_event_becomes_a_row(gateway):
    url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, AT_ONCE)
    answer = gateway.post(url, EVENT)
    assert (answer.status, answer.body) == (200, b"OK")
    gateway.wait_rows("orders", 1)
    rows = gateway.rows("SELECT id, issue, summary, amount, labels FROM orders")
    assert rows == [(answer.headers["sluice-event-id"], 123456, "some event summary text", "1234.56", '["a","b","c"]')]


def test_demo_manifest_as_run_does(gateway):
    apply = [BINARY, "apply", "-f", str(ROOT / "config/examples/demo.yaml"), "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    first = subprocess.run(apply, capture_output=True, text=True, timeout=60)
    assert first.returncode == 0, first.stderr
    again = subprocess.run(apply, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and again.stdout.endswith("0 changes\n"), again.stdout + again.stderr

    url = gateway.source_url("demo")
    assert gateway.post(url, EVENT).status == 200
    gateway.wait_rows("orders", 1)
    lines = "".join(json.dumps({**json.loads(EVENT), "n": n}) + "\n" for n in range(1000))
    answer = gateway.post(url, lines, content_type="application/x-ndjson")
    assert answer.status == 200 and answer.headers["sluice-events"] == "1000"
    gateway.wait_rows("orders", 1001)
    assert gateway.rows("SELECT count(DISTINCT id) FROM orders") == [(1001,)]


def test_two_sinks_get_the_same_rows(gateway_factory, postgres):
    config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n"
    gateway = gateway_factory(config).start()
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "local", COLUMNS, AT_ONCE)
    gateway.add_sink("shop", "warehouse", COLUMNS, AT_ONCE, connection="warehouse", table="in.c-shop.orders")
    count = 1000
    lines = "".join(json.dumps({**json.loads(EVENT), "issue": {**json.loads(EVENT)["issue"], "id": n}}) + "\n" for n in range(count))
    answer = gateway.post(url, lines, content_type="application/x-ndjson")
    assert answer.status == 200, answer
    gateway.wait_rows("local", count)
    table = '"in.c-shop".orders'
    wait_until("the rows are in PostgreSQL", lambda: postgres.rows(f"SELECT count(*) FROM {table}")[0][0] >= count)
    mine = gateway.rows("SELECT id, issue, summary, amount, labels FROM local ORDER BY id")
    theirs = postgres.rows(f"SELECT id, issue, summary, amount::text, labels::text FROM {table} ORDER BY id COLLATE \"C\"")
    assert len(mine) == count and mine == theirs
    assert postgres.rows("SELECT sum(rows) FROM sluice.files WHERE sink = 'shop/warehouse'")[0][0] == count


def test_statistics_follow_the_rows(gateway):
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "orders", COLUMNS, NEVER)
    gateway.post(url, EVENT * 1 + "\n" + EVENT, content_type="application/x-ndjson")
    levels = gateway.statistics("shop", "orders")["levels"]
    assert levels["local"]["recordsCount"] == 2 and levels["target"]["recordsCount"] == 0
    gateway.flush("shop", "orders")
    levels = gateway.statistics("shop", "orders")["levels"]
    assert [levels[name]["recordsCount"] for name in ("local", "staging", "target")] == [0, 0, 2]
    assert gateway.rows("SELECT count(*) FROM orders") == [(2,)]
