"""Destinations that live their own life: a PostgreSQL server that is restarted, triggers and policies of the tables."""

import json
import re
import sqlite3
import subprocess
import time

import pytest
from lying_postgres import LIES, LyingPostgres
from postgres import Postgres
from sluice import AT_ONCE, BINARY, NEVER, request, wait_until

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
    assert "the table rows of shop/rows was missing and is created again" in log
    assert log.count('connection warehouse: CREATE TABLE') == 3 and log.count("answers again") == 1, log  # the ledger, and rows twice
    server.rows("ALTER TABLE rows RENAME TO former")
    assert gateway.post(url, '{"n":4}').status == 200
    wait_until("the row", lambda: server.rows("SELECT to_regclass('rows')") != [(None,)] and server.rows("SELECT n FROM rows") == [(4,)])
    assert server.rows("SELECT n FROM former") == [(3,)]
    assert gateway.log_text().count("the table rows of shop/rows was missing and is created again") == 2


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


MANIFEST = """kind: source
sourceId: shop
name: Shop
framing: ndjson
sinks:
  - sinkId: rows
    table:
      connection: %s
      tableId: existing
      onSchemaDrift: fail
      mapping:
        columns:
          - {name: n, type: path, path: n, dataType: integer}
          - {name: note, type: path, path: note, rawString: true}
          - {name: the time at which somebody wrote the note, type: path, path: at, dataType: timestamp, defaultValue: null}
    settings: {storage.level.staging.upload.trigger.count: 1, storage.level.target.import.trigger.count: 1}
"""


def sluice(*arguments, gateway):
    arguments = (*arguments, "--admin", f"http://{gateway.admin}", "--data", gateway.data)
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def execute(path, sql):
    database = sqlite3.connect(path, timeout=30)
    with database:
        database.execute(sql)
    database.close()


def statements(text):
    """What a refusal ends with, ready to run."""
    found = re.search(r'(ALTER TABLE .*;)$', text.strip().splitlines()[-1])
    assert found, text
    return [part + ";" for part in found.group(1).split(";") if part.strip()]


def user_of(gateway, connection, rows):
    """Runs SQL there as a user would; and the table "existing". The server's user has a schema of its own name, that of the ledger."""
    if connection == "local":
        return lambda sql: execute(gateway.data / "tables.db", sql), "existing"
    return rows, "public.existing"


def test_a_refusal_ends_with_statements_that_help(destination_of, tmp_path):
    """In the plan, in what apply says, in the task, in lastError and in the log."""
    gateway, connection, rows = destination_of()
    run, table = user_of(gateway, connection, rows)
    gateway.add_source("first")
    gateway.add_sink("first", "made", COLUMNS, AT_ONCE, connection=connection, table="made")  # there is a database now
    run(f"CREATE TABLE {table} (n bigint)")
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST % connection)
    dry = sluice("apply", "--dry-run", "-f", path, gateway=gateway)
    assert dry.returncode == 2 and len(statements(next(line for line in dry.stdout.splitlines() if "! shop/rows" in line))) == (1 if connection != "local" else 2), dry
    applied = sluice("apply", "-f", path, gateway=gateway)
    assert applied.returncode == 2, applied
    for sql in statements(next(line for line in applied.stderr.splitlines() if "ALTER TABLE" in line)):
        run(sql)
    assert sluice("apply", "-f", path, gateway=gateway).returncode == 0
    # Somebody changes the table while the sink is there.
    run(f"ALTER TABLE {table} DROP COLUMN note")
    run(f'ALTER TABLE {table} DROP COLUMN "the time at which somebody wrote the note"')
    run(f"ALTER TABLE {table} RENAME COLUMN n TO m")
    assert gateway.post(gateway.source_url("shop"), '{"n":1,"note":"x"}').status == 200
    wait_until("the difference is named", lambda: "differs" in (gateway.statistics("shop", "rows").get("lastError") or ""))
    last = gateway.statistics("shop", "rows")["lastError"]
    assert last in [json.loads(line)["message"].split(": ", 1)[1] for line in gateway.log_text().splitlines() if "import of shop/rows failed" in line]
    assert len(last) > 256, last  # whole, however long
    for sql in statements(last):
        run(sql)
    gateway.flush("shop", "rows")
    assert rows(f"SELECT n, note FROM {table}") == [(1, "x")]


def test_a_key_that_fills_itself_needs_no_column_of_the_sink(destination_of):
    gateway, connection, rows = destination_of()
    run, table = user_of(gateway, connection, rows)
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "made", COLUMNS, AT_ONCE, connection=connection, table="made")
    run(f"CREATE TABLE {table} (id %s, n bigint)" % ("serial PRIMARY KEY" if connection != "local" else "INTEGER PRIMARY KEY"))
    gateway.add_sink("shop", "rows", COLUMNS, AT_ONCE, connection=connection, table="existing")
    assert gateway.post(url, '{"n":7}\n{"n":8}').status == 200
    wait_until("the rows", lambda: rows(f"SELECT n FROM {table} ORDER BY n") == [(7,), (8,)])
    assert rows(f"SELECT count(DISTINCT id), count(*) FROM {table}") == [(2, 2)]
