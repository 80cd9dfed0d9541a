"""Strategies of tables: which of several rows with one key is there in the end."""

import json
import re

import pytest
from sluice import NEVER, request, wait_until

CONFIG = "connections:\n  warehouse:\n    type: postgres\n    uri: {uri}\n"


def path(name, data_type="text", **fields):
    return {"type": "path", "name": name, "path": name, "dataType": data_type, "rawString": True, **fields}


@pytest.fixture
def destination(destination_of):
    return destination_of()


def post_events(gateway, url, *events):
    answer = gateway.post(url, "".join(json.dumps(event) + "\n" for event in events))
    assert answer.status == 200, answer


def test_an_older_row_never_replaces_a_newer_one(destination):
    gateway = destination.gateway
    url = gateway.add_source("shop", framing="ndjson")
    columns = [path("id", "integer", primaryKey=True), path("status"), path("at", "timestamp", defaultValue="2026-01-01T00:00:00Z")]
    gateway.add_sink(
        "shop", "orders", columns, NEVER, connection=destination.connection, strategy="merge", mergeIf={"newerBy": "at"}
    )
    post_events(
        gateway,
        url,
        {"id": 1, "status": "paid", "at": "2026-01-03T00:00:00Z"},
        {"id": 1, "status": "new", "at": "2026-01-02T23:59:59.999999Z"},
        {"id": 2, "status": "new"},
    )
    gateway.flush("shop", "orders")
    post_events(
        gateway,
        url,
        {"id": 1, "status": "late", "at": "2026-01-03T01:00:00+02:00"},
        {"id": 2, "status": "paid", "at": "2026-01-01T00:00:00Z"},
        {"id": 3, "status": "new"},
    )
    gateway.flush("shop", "orders")
    assert destination.rows("SELECT id, status FROM orders ORDER BY id") == [(1, "paid"), (2, "paid"), (3, "new")]
    # What did not replace a newer row is imported all the same.
    wait_until("all are imported", lambda: gateway.statistics("shop", "orders")["levels"]["target"]["recordsCount"] == 6)


def metric(gateway, name):
    answer = request(gateway.admin, "GET", "/metrics", None, {"Authorization": f"Bearer {gateway.token}"})
    return re.search(rf"^{name}{{[^}}]*}} (\d+)$", answer.body.decode(), re.MULTILINE).group(1)


def test_each_element_of_an_array_gives_a_row(destination):
    gateway = destination.gateway
    url = gateway.add_source("shop", framing="ndjson")
    columns = [
        {"type": "id", "name": "id", "primaryKey": True},
        {"type": "path", "name": "o", "path": "order", "dataType": "integer"},
        {"type": "path", "name": "sku", "path": "items.sku", "rawString": True},
    ]
    gateway.add_sink("shop", "orders", columns, NEVER, connection=destination.connection, explode="items", onInvalid="quarantine")
    answer = gateway.post(
        url + "?verbose=true",
        '{"order":1,"items":[{"sku":"a"},{"sku":"b"},{"sku":"c"}]}\n{"order":2,"items":[]}\n{"order":3}\n{"order":4,"items":[{"sku":"d"}]}\n',
    )
    assert answer.status == 200
    assert answer.headers["sluice-events"] == "2"
    assert answer.json["events"] == {"accepted": 2, "rejected": 1, "duplicate": 0}
    # Nothing but an empty array: no row anywhere, and counted all the same.
    assert gateway.post(url, '{"order":5,"items":[]}\n').headers["sluice-events"] == "0"
    gateway.flush("shop", "orders")
    assert destination.rows("SELECT o, sku FROM orders ORDER BY o, sku") == [(1, "a"), (1, "b"), (1, "c"), (4, "d")]
    ids = [id for (id,) in destination.rows("SELECT id FROM orders WHERE o = 1 ORDER BY sku")]
    assert [id[36:] for id in ids] == ["#0", "#1", "#2"]
    assert len({id[:36] for id in ids}) == 1
    statistics = gateway.statistics("shop", "orders")
    assert statistics["emptyEvents"] == 2
    assert statistics["rejects"]["events"] == 1
    assert metric(gateway, "sluice_sink_empty_events_total") == "2"
    # They are still counted after a start.
    gateway.stop()
    gateway.start()
    assert gateway.statistics("shop", "orders")["emptyEvents"] == 2


def test_an_id_of_an_element_is_no_uuid(gateway_factory, postgres):
    gateway = gateway_factory(CONFIG.format(uri=postgres.uri)).start()
    gateway.add_source("shop", framing="ndjson")
    postgres.rows("CREATE TABLE public.exploded (id uuid)")
    table = {"connection": "warehouse", "tableId": "exploded", "mapping": {"explode": "i", "columns": [{"type": "id", "name": "id"}]}}
    task = gateway.api("POST", "/sources/shop/sinks", {"sinkId": "s", "name": "s", "type": "table", "table": table}).json
    assert task["status"] == "error"
    assert 'column "id" is uuid and should be text' in task["error"]
    postgres.rows("DROP TABLE public.exploded")


def test_an_event_deletes_the_row_of_its_key(destination):
    gateway = destination.gateway
    url = gateway.add_source("shop", framing="ndjson")
    columns = [path("id", "integer", primaryKey=True), path("status"), path("at", "integer")]
    gateway.add_sink(
        "shop",
        "orders",
        columns,
        NEVER,
        connection=destination.connection,
        strategy="merge",
        mergeIf={"newerBy": "at"},
        deleteOn={"path": "op", "equals": "d"},
        onInvalid="quarantine",
    )
    events = [{"id": n, "status": "new", "at": n} for n in range(1, 6)]
    post_events(gateway, url, *events)
    gateway.flush("shop", "orders")
    assert destination.rows("SELECT count(*) FROM orders") == [(5,)]
    answer = gateway.api("POST", "/sources/shop/test", {"id": 1, "at": 9, "op": "d"}, wait=0, expect=200).json
    (row,) = answer["tables"][0]["rows"]
    assert row["deletes"] is True
    assert [column["value"] for column in row["columns"]] == ["1", None, "9"]
    post_events(
        gateway,
        url,
        {"id": 1, "at": 9, "op": "d"},
        {"id": 2, "at": 1, "op": "d"},  # older than the row
        {"id": 3, "at": 9, "op": "d"},
        {"id": 3, "at": 8, "status": "older than its deletion"},
        {"id": 4, "at": 9, "op": "d"},
        {"id": 4, "at": 10, "status": "again"},
        {"id": 5, "at": 9, "op": "u", "status": "paid"},
        {"id": 9, "at": 9, "op": "d"},
        {"at": 9, "op": "d"},  # which row?
    )
    gateway.flush("shop", "orders")
    assert destination.rows("SELECT id, status FROM orders ORDER BY id") == [(2, "new"), (4, "again"), (5, "paid")]
    statistics = gateway.statistics("shop", "orders")
    assert statistics["levels"]["target"]["recordsCount"] == 13
    assert statistics["rejects"] == {"events": 1, "rows": 0}


def test_without_deletions_the_next_rows_have_no_mark(destination):
    """Rows of two definitions wait side by side, with and without the mark."""
    gateway = destination.gateway
    url = gateway.add_source("shop", framing="ndjson")
    columns = [path("id", "integer", primaryKey=True), path("status", defaultValue="")]
    gateway.add_sink("shop", "orders", columns, NEVER, connection=destination.connection, deleteOn={"path": "op", "equals": "d"})
    post_events(gateway, url, {"id": 1, "status": "new"}, {"id": 2, "status": "new"}, {"id": 1, "op": "d"})
    gateway.change("PATCH", "/sources/shop/sinks/orders", {"table": {"deleteOn": None}})
    post_events(gateway, url, {"id": 2, "op": "d"}, {"id": 3, "status": "new"})
    gateway.change("PATCH", "/sources/shop/sinks/orders", {"table": {"deleteOn": {"path": "op", "equals": "d"}}})
    post_events(gateway, url, {"id": 3, "op": "d"}, {"id": 4, "status": "new"})
    gateway.flush("shop", "orders")
    assert destination.rows("SELECT id, status FROM orders ORDER BY id") == [(2, ""), (4, "new")]


def test_tombstones_need_a_source_that_has_them(gateway):
    gateway.add_source("shop", framing="ndjson")
    column = {"type": "template", "name": "k", "primaryKey": True, "template": {"language": "jsonnet", "content": "Header('X-K')"}}
    table = {"tableId": "t", "mapping": {"columns": [column]}, "deleteOn": {"tombstone": True}}
    answer = gateway.api("POST", "/sources/shop/sinks", {"sinkId": "s", "name": "s", "type": "table", "table": table})
    text = answer.body.decode()
    assert 'needs a source of type \\"kafka\\" with \\"tombstones\\": \\"event\\"' in text, text
