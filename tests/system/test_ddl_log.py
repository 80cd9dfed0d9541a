"""The log of the gateway has every statement by which it changes the tables of a destination: compared with what the server was asked."""

import json
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "services"))

from nats_server import Nats  # noqa: E402
from postgres import Postgres  # noqa: E402
from sluice import AT_ONCE, wait_until  # noqa: E402

NUMBER = {"name": "n", "type": "path", "path": "n", "dataType": "integer", "primaryKey": True}
MORE = {"name": "more", "type": "path", "path": "more", "optional": True}


@pytest.fixture
def server():
    server = Postgres({"log_statement": "ddl", "log_line_prefix": "%a|"})
    yield server
    server.close()


@pytest.fixture
def nats():
    server = Nats("max_payload: 16MB")
    server.create_stream("ORDERS", ["orders.>"])
    yield server
    server.close()


def statements(server):
    """Those of the gateway, but for its temporary tables, which end with their transaction."""
    text = (server.directory / "log").read_text()
    found = re.findall(r"^sluice [^|\n]*\|LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", text, re.MULTILINE)
    return [statement for statement in found if "TEMPORARY TABLE" not in statement]


def use(gateway, connection, rows, nats):
    """All that makes, changes or drops a table."""
    url = gateway.add_source("shop", framing="ndjson")
    gateway.set("/sources/shop", AT_ONCE)
    gateway.add_sink("shop", "wide", [NUMBER], connection=connection, table="wide", onSchemaDrift="evolve")
    table = {"mapping": {"columns": [NUMBER, MORE]}}
    gateway.change("PATCH", "/sources/shop/sinks/wide", {"table": table})
    inferred = {"connection": connection, "tableId": "inferred", "mapping": {"infer": {}}}
    gateway.change("POST", "/sources/shop/sinks", {"sinkId": "inferred", "table": inferred})
    for number, event in enumerate(({"n": 1}, {"n": 2, "more": "x", "field": 1.5}, {"n": 3, "field": "text"})):
        assert gateway.post(url, json.dumps(event)).status == 200
        wait_until("the row", lambda: rows("SELECT count(*) FROM inferred") == [(number + 1,)])
    wait_until("the columns are made", lambda: "field" in gateway.api("GET", "/sources/shop/sinks/inferred").body.decode())
    for name in ("first", "second"):
        nats.publish("orders.a", [json.dumps({"n": 1, "more": name})])
        source = {"sourceId": "runs", "type": "nats", "settings": AT_ONCE}
        source["nats"] = {"connection": "events", "stream": "ORDERS", "durable": "none", "loop": False}
        table = {"connection": connection, "tableId": "runs", "strategy": "replace", "mapping": {"columns": [NUMBER, MORE] if name == "first" else [NUMBER]}}
        gateway.change("PUT", "/sources/runs/manifest", {**source, "sinks": [{"sinkId": "k", "table": table}]})
        wait_until("it is finished", lambda: gateway.api("GET", "/sources/runs/bridge").json.get("state") == "finished", 150)


def logged(gateway):
    return [json.loads(line)["message"] for line in gateway.log_text().splitlines() if line.startswith("{")]


def test_postgres(gateway_factory, server, nats):
    connections = f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n  warehouse: {{type: postgres, uri: "{server.uri}"}}\n'
    gateway = gateway_factory(connections).start()
    use(gateway, "warehouse", server.rows, nats)
    gateway.stop()
    asked, said = statements(server), logged(gateway)
    for kind in ("CREATE SCHEMA", "CREATE TABLE", "ALTER TABLE", "DROP TABLE"):
        assert any(kind in statement for statement in asked), (kind, asked)
    plain = lambda text: " ".join(text.split()).strip("; ")  # noqa: E731
    said = sorted((plain(message.removeprefix("connection warehouse: ")) for message in said if message.startswith("connection warehouse: ")), key=len)
    for statement in asked:
        rest = plain(statement)  # without what the log has, it changes no table
        for text in reversed(said):
            rest = rest.replace(text, "")
        assert not re.search(r"\b(CREATE|ALTER|DROP|COMMENT ON)\b", rest), statement


def test_sqlite(gateway_factory, nats):
    gateway = gateway_factory(f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n').start()
    use(gateway, "local", gateway.rows, nats)
    said = logged(gateway)
    made = {name for name, in gateway.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")}
    assert {"wide", "inferred", "runs", "_sluice_files"} <= made
    for name in made | {"runs__replace"}:
        assert any(re.search(rf'CREATE TABLE (IF NOT EXISTS )?"{name}"', message) for message in said), name
    for column in ("more", "field"):
        assert any("ALTER TABLE" in message and f'ADD COLUMN "{column}"' in message for message in said), column
    assert any('DROP TABLE "runs__replace"' in message for message in said)
