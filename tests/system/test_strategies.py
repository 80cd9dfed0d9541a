"""Strategies of tables: which of several rows with one key is there in the end."""

import json

import pytest
from sluice import NEVER, wait_until

CONFIG = "connections:\n  warehouse:\n    type: postgres\n    uri: {uri}\n"


def path(name, data_type="text", **fields):
    return {"type": "path", "name": name, "path": name, "dataType": data_type, "rawString": True, **fields}


class Destination:
    """A gateway and one of its destinations."""

    def __init__(self, gateway, connection, rows):
        self.gateway = gateway
        self.connection = connection
        self.rows = rows


@pytest.fixture(params=["sqlite", "postgres"])
def destination(request, gateway_factory, postgres):
    if request.param == "sqlite":
        gateway = gateway_factory().start()
        yield Destination(gateway, "local", gateway.rows)
        return
    gateway = gateway_factory(CONFIG.format(uri=postgres.uri)).start()
    yield Destination(gateway, "warehouse", postgres.rows)
    postgres.rows("DROP TABLE IF EXISTS orders")


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
