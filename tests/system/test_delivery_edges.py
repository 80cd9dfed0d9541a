"""What somebody does to a table or a definition while rows are on their way costs no row and doubles none."""

import json
import os
import sqlite3

from load import COLUMNS, TEXT, assert_exactly_once
from sluice import AT_ONCE, NEVER, wait_until


def send(gateway, url, prefix, count=50):
    names = [f"{prefix}-{i}" for i in range(count)]
    answer = gateway.post(url, "\n".join(json.dumps({"n": name, "text": TEXT}) for name in names))
    assert answer.status == 200, answer
    return names


def count_of(gateway, table):
    found = gateway.rows(f"SELECT count(*) FROM {table}")
    return found[0][0] if found else 0


def test_rows_of_old_mappings_wait_in_the_log_through_kills(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("edges", framing="ndjson")
    gateway.add_sink("edges", "rows", COLUMNS, NEVER, onSchemaDrift="evolve")
    gateway.add_sink("edges", "gone", COLUMNS, NEVER)
    names = send(gateway, url, "first")
    wider = COLUMNS + [{"type": "path", "name": "again", "path": "n", "rawString": True}]
    gateway.change("PATCH", "/sources/edges/sinks/rows", {"table": {"mapping": {"columns": wider}}})
    names += send(gateway, url, "wider")
    gateway.kill()
    gateway.start()
    names += send(gateway, url, "later")
    gateway.change("PATCH", "/sources/edges/sinks/rows", {"table": {"tableId": "other"}})
    elsewhere = send(gateway, url, "elsewhere")
    gateway.kill()
    gateway.start()
    task = gateway.change("DELETE", "/sources/edges/sinks/gone?discard=true")
    assert task["outputs"]["discardedRows"] == 200
    gateway.kill()
    gateway.start()
    gateway.flush("edges", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])
    assert_exactly_once(gateway.rows("SELECT n, text FROM other"), elsewhere, [])
    assert gateway.rows("SELECT count(*) FROM rows WHERE again = n") == [(100,)]
    assert count_of(gateway, "gone") == 0


def test_tables_that_are_removed_or_altered_while_they_are_open(gateway):
    url = gateway.add_source("edges", framing="ndjson")
    gateway.add_sink("edges", "rows", COLUMNS, AT_ONCE)
    for i in range(20):
        send(gateway, url, f"before-{i}", count=5)
    gateway.flush("edges", "rows")
    assert count_of(gateway, "rows") == 100
    descriptors = f"/proc/{gateway.process.pid}/fd"
    open_before = len(os.listdir(descriptors))

    for ending in ("", "-wal", "-shm"):
        (gateway.data / f"tables.db{ending}").unlink(missing_ok=True)
    names = send(gateway, url, "after")
    wait_until("the rows are in a table that can be read", lambda: count_of(gateway, "rows") == 50)

    user = sqlite3.connect(gateway.data / "tables.db", timeout=30)
    user.execute('ALTER TABLE rows RENAME COLUMN "text" TO kept')
    user.commit()
    names += send(gateway, url, "altered")
    wait_until("the import fails", lambda: gateway.statistics("edges", "rows")["files"]["failed"] == 1)
    user.execute('ALTER TABLE rows RENAME COLUMN kept TO "text"')
    user.commit()
    user.close()
    gateway.flush("edges", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])
    assert len(os.listdir(descriptors)) <= open_before + 16  # sessions of the loaders; nothing grows with imports
