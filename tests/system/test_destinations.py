"""Destinations that live their own life: a PostgreSQL server that is restarted, triggers and policies of the tables."""

import re
import time

import pytest
from lying_postgres import LIES, LyingPostgres
from postgres import Postgres
from sluice import AT_ONCE, NEVER, request, wait_until

CONFIG = "connections:\n  warehouse:\n    type: postgres\n    uri: {uri}\n"
COLUMNS = [{"type": "path", "name": "n", "path": "n", "dataType": "integer"}]


@pytest.fixture
def server():
    made = Postgres()
    yield made
    made.close()


@pytest.fixture
def gateway(gateway_factory, server):
    return gateway_factory(CONFIG.format(uri=server.uri)).start()


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


def test_a_connection_that_recovers_and_a_table_that_was_dropped_are_in_the_log(gateway, server):
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "rows", COLUMNS, AT_ONCE, connection="warehouse", table="rows")
    assert gateway.post(url, '{"n":1}').status == 200
    wait_until("the row", lambda: server.rows("SELECT count(*) FROM rows") == [(1,)])
    server.stop()
    assert gateway.post(url, '{"n":2}').status == 200
    wait_until("it fails", lambda: "import of shop/rows failed" in gateway.log_text())
    assert "answers again" not in gateway.log_text()
    server.start()
    gateway.flush("shop", "rows")
    wait_until("it is said", lambda: gateway.log_text().count("connection warehouse answers again") == 1)
    server.rows("DROP TABLE rows")
    assert gateway.post(url, '{"n":3}').status == 200
    wait_until("the row", lambda: gateway.statistics("shop", "rows")["tableMadeAt"])
    gateway.flush("shop", "rows")
    assert server.rows("SELECT n FROM rows") == [(3,)]
    log = gateway.log_text()
    assert "the table rows of shop/rows was not there and is made anew" in log
    assert log.count('connection warehouse: CREATE TABLE') == 3 and log.count("answers again") == 1, log  # the ledger, and rows twice
    server.rows("ALTER TABLE rows RENAME TO former")
    assert gateway.post(url, '{"n":4}').status == 200
    wait_until("the row", lambda: server.rows("SELECT to_regclass('rows')") != [(None,)] and server.rows("SELECT n FROM rows") == [(4,)])
    assert server.rows("SELECT n FROM former") == [(3,)]
    assert gateway.log_text().count("the table rows of shop/rows was not there and is made anew") == 2


def test_a_new_column_that_needs_a_value_holds_the_rows_and_rejects_none(gateway, server):
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "rows", COLUMNS, AT_ONCE, connection="warehouse", table="rows")
    assert gateway.post(url, '{"n":1}').status == 200
    wait_until("the row", lambda: server.rows("SELECT count(*) FROM rows") == [(1,)])
    server.rows("ALTER TABLE rows ADD COLUMN region text NOT NULL DEFAULT ''")
    server.rows("ALTER TABLE rows ALTER COLUMN region DROP DEFAULT")
    assert gateway.post(url, '{"n":2}').status == 200
    wait_until("the difference is named", lambda: "region" in (gateway.statistics("shop", "rows").get("lastError") or ""))
    server.rows("ALTER TABLE rows DROP COLUMN region")
    gateway.flush("shop", "rows")
    assert server.rows("SELECT n FROM rows ORDER BY n") == [(1,), (2,)]
    assert "imports of shop/rows succeed again" in gateway.log_text()
    assert metric(gateway, "sluice_rows_rejected_total") == 0


def test_rows_that_a_trigger_takes_are_counted_and_the_rest_goes_on(gateway, server):
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "rows", COLUMNS, NEVER, connection="warehouse", table="rows")
    server.rows(
        "CREATE FUNCTION odd_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.n % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    server.rows("CREATE TRIGGER odd_only BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION odd_only()")
    assert gateway.post(url, "".join(f'{{"n":{n}}}\n' for n in range(20))).status == 200
    gateway.flush("shop", "rows")
    assert server.rows("SELECT count(*), sum(n % 2) FROM rows") == [(10, 10)]
    rejects = gateway.api("GET", "/sources/shop/sinks/rows/rejects", expect=200).json["rejects"]
    assert {reject["reason"] for reject in rejects} == {"not stored by a trigger of the table"}
    assert len(rejects) == 10
    # All of a file: it is how the table works.
    assert gateway.post(url, '{"n":0}\n{"n":2}\n').status == 200
    gateway.flush("shop", "rows")
    assert metric(gateway, "sluice_rows_swallowed_total") == 12
    assert metric(gateway, "sluice_rows_rejected_total") == 10
    assert "2 rows of shop/rows were not stored by a trigger of the table rows" in gateway.log_text()


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_costs_time_and_nothing_else(gateway_factory, postgres, lie):
    """Rows that were promised wait until the connection leads to a real server again; what the other one says ends sessions, not the gateway."""
    table = "lie_" + lie.lower().replace(" ", "_")
    gateway = gateway_factory(CONFIG.format(uri=postgres.uri)).start()
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "rows", COLUMNS, NEVER, connection="warehouse", table=table)
    assert gateway.post(url, '{"n":1}\n{"n":2}').status == 200
    gateway.stop()
    liar = LyingPostgres(lie)
    gateway.config.write_text(CONFIG.format(uri=liar.uri))
    gateway.start()
    test = gateway.api("POST", "/connections/warehouse/test", wait=30)
    assert test.status == 200, test
    flush = gateway.api("POST", "/sources/shop/sinks/rows/flush", wait=20)
    assert flush.status in (200, 202) and flush.json["status"] != "success", flush
    wait_until("the server was asked", lambda: liar.statements > 2)
    assert gateway.process.poll() is None
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 15
    liar.close()
    gateway.config.write_text(CONFIG.format(uri=postgres.uri))
    gateway.start()
    gateway.flush("shop", "rows")
    assert postgres.rows(f"SELECT n FROM {table} ORDER BY n") == [(1,), (2,)]
