"""A topic of 40 sets of fields, which its senders changed over the years, becomes the table that a person would have written for it.

tests/inference/orders.ndjson holds the events, one for each set, in the order in which they were sent. An empty line is a break of the
senders, in which the gateway made the columns. A part is in the stream before the gateway reads on. Within a part, fields come before
values that do not fit, and no type has to be widened, so the table does not depend on how many messages are read at once.
tests/inference/orders.sql is the table as a person writes it. PostgreSQL itself says whether the two are equal: pg_dump reads both.
"""

import json
import subprocess
import sys

import pytest

from postgres import programs
from sluice import AT_ONCE, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from nats_server import Nats  # noqa: E402

FOLDER = ROOT / "tests" / "inference"
LONG = 120
INFER = {"depth": 2, "exclude": ["cardNumber"], "typeHints": {"customer.zip": "text", "shipTo.zip": "text"}}
KEY = {"name": "order_id", "type": "path", "path": "orderId", "dataType": "integer", "primaryKey": True}


@pytest.fixture
def nats():
    server = Nats()
    server.create_stream("ORDERS", ["orders.>"])
    yield server
    server.close()


def parts():
    """Of each part its events, as text."""
    return [part.splitlines() for part in (FOLDER / "orders.ndjson").read_text().strip().split("\n\n")]


def ddl(postgres, table):
    """The statements that make the table, without what pg_dump says of the session and of itself."""
    command = [programs() / "pg_dump", "--schema-only", "--no-owner", "--no-privileges", "--table", table, postgres.uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    aside = ("--", "SET ", "SELECT ", "\\")
    return [line for line in done.stdout.splitlines() if line and not line.startswith(aside)]


def rows_of(postgres, table):
    is_there = postgres.rows("SELECT to_regclass(%s) IS NOT NULL", table)[0][0]
    return postgres.rows(f"SELECT count(*) FROM {table}")[0][0] if is_there else 0


def shape(event, path=()):
    """The fields of an event and what kind of value each has."""
    found = set()
    for key, value in event.items():
        found |= shape(value, (*path, key)) if isinstance(value, dict) else {((*path, key), type(value).__name__)}
    return frozenset(found)


def test_forty_sets_of_fields_become_the_table_that_a_person_writes(gateway_factory, nats, postgres):
    sent = parts()
    assert len({shape(json.loads(text)) for part in sent for text in part}) == sum(map(len, sent)) == 40
    nats.publish("orders.new", sent[0])  # they are there before the table is
    config = f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n  warehouse: {{type: postgres, uri: "{postgres.uri}"}}\n'
    gateway = gateway_factory(config).start()
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "nats", "nats": {"connection": "events", "stream": "ORDERS"}})
    table = {"connection": "warehouse", "tableId": "public.orders", "strategy": "merge", "mapping": {"infer": INFER, "columns": [KEY]}}
    gateway.change("POST", "/sources/s/sinks", {"sinkId": "k", "name": "k", "table": table})
    gateway.set("/sources/s/sinks/k", AT_ONCE)
    count = 0
    for number, part in enumerate(sent):
        if number > 0:
            gateway.change("PUT", "/sources/s/pause")
            nats.publish("orders.new", part)
            gateway.change("PUT", "/sources/s/resume")
        count += len(part)
        wait_until(f"the rows of part {number}", lambda: rows_of(postgres, "public.orders") == count, LONG)
    gateway.stop()
    made = ddl(postgres, "public.orders")
    # No event was too early for its columns; null alone makes none.
    assert postgres.rows("SELECT order_id, _rest::text FROM public.orders WHERE _rest IS NOT NULL") == [(4, '{"coupon":null}')]
    postgres.rows("DROP TABLE public.orders")
    postgres.rows((FOLDER / "orders.sql").read_text())
    written = ddl(postgres, "public.orders")
    assert made == written, "\n".join(made)
