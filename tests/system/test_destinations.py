"""Destinations that live their own life: a PostgreSQL server that is restarted, triggers and policies of the tables."""

import re

import pytest
from postgres import Postgres
from sluice import AT_ONCE, request, wait_until

COLUMNS = [{"type": "path", "name": "n", "path": "n", "dataType": "integer"}]


@pytest.fixture
def server():
    made = Postgres()
    yield made
    made.close()


@pytest.fixture
def gateway(gateway_factory, server):
    return gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {server.uri}\n").start()


def metric(gateway, name):
    answer = request(gateway.admin, "GET", "/metrics", None, {"Authorization": f"Bearer {gateway.token}"})
    text = answer.body.decode()
    return int(re.search(rf"^{name} (\d+)$", text, re.MULTILINE).group(1))


def test_restart_of_the_server_while_sessions_are_idle(gateway, server):
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "rows", COLUMNS, AT_ONCE, connection="warehouse", table="rows")
    expected = 0
    for _ in range(3):
        # More than one loader keeps a session now.
        for _ in range(4):
            expected += 1
            assert gateway.post(url, f'{{"n":{expected}}}').status == 200
            wait_until("the row", lambda: server.rows("SELECT count(*) FROM rows") == [(expected,)])
        server.stop()
        server.start()
    gateway.flush("shop", "rows")
    gateway.add_sink("shop", "more", COLUMNS, AT_ONCE, connection="warehouse", table="more")
    server.stop()
    server.start()
    assert gateway.post(url, '{"n":0}').status == 200
    wait_until("the row", lambda: server.rows("SELECT count(*) FROM rows") == [(expected + 1,)])
    wait_until("the row", lambda: server.rows("SELECT count(*) FROM more") == [(1,)])
    assert metric(gateway, "sluice_import_failures_total") == 0
    assert "import of shop/rows failed" not in gateway.log_text()
