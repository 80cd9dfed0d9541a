"""What is promised of acknowledged events: each exactly once in the table, through load, restarts, kills and a dead destination."""

import json
import os
import random
import threading
import time

import pytest
from load import COLUMNS, Sender, assert_exactly_once
from sluice import AT_ONCE, NEVER, wait_until

SMALL = {
    "storage.level.staging.upload.trigger.count": 200,
    "storage.level.target.import.trigger.count": 500,
}


@pytest.mark.threads
def test_eight_clients_twenty_thousand_events(gateway):
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, SMALL)
    senders = [Sender(gateway.intake, url, f"c{i}", count=2500, batch=5 if i % 2 else 1) for i in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(timeout=300)
    acknowledged = [name for sender in senders for name in sender.acknowledged]
    assert len(acknowledged) == 20000
    gateway.flush("load", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), acknowledged, [])
    total = gateway.statistics("load", "rows")["levels"]
    assert total["target"]["recordsCount"] == 20000 and total["local"]["recordsCount"] == 0


def test_order_of_one_connection_is_kept(gateway):
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, SMALL)
    sender = Sender(gateway.intake, url, "c", count=1000)
    sender.run()
    gateway.flush("load", "rows")
    names = [name for (name,) in gateway.rows("SELECT n FROM rows ORDER BY rowid")]
    assert names == sender.acknowledged and len(names) == 1000


@pytest.mark.threads
def test_kill_nine_ten_times_in_load(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, SMALL)
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns()))
    rounds = int(os.environ.get("SLUICE_KILL_ROUNDS", 10))
    chance = random.Random(seed)
    acknowledged, unknown = [], []
    for round_number in range(rounds):
        stop = threading.Event()
        senders = [Sender(gateway.intake, url, f"r{round_number}s{i}", batch=1 + 7 * (i % 2), stop=stop) for i in range(4)]
        for sender in senders:
            sender.start()
        wanted = chance.randrange(1, 1500)
        end = time.monotonic() + chance.uniform(0.05, 1.5)
        wait_until(
            "some load",
            lambda: sum(len(s.acknowledged) for s in senders) >= wanted or (time.monotonic() > end and any(s.acknowledged for s in senders)),
        )
        gateway.kill()
        stop.set()
        for sender in senders:
            sender.join(timeout=60)
        acknowledged += [name for sender in senders for name in sender.acknowledged]
        unknown += [name for sender in senders for name in sender.unknown]
        gateway.start()
    gateway.flush("load", "rows")
    assert len(acknowledged) >= rounds, f"seed {seed}"
    try:
        assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), acknowledged, unknown)
    except AssertionError as problem:
        raise AssertionError(f"seed {seed}: {problem}") from None


def test_restart_with_buffered_and_staged_rows(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "buffered", COLUMNS, NEVER)
    gateway.add_sink("load", "staged", COLUMNS, {**NEVER, "storage.level.staging.upload.trigger.count": 1})
    first = Sender(gateway.intake, url, "a", count=30)
    first.run()
    wait_until("staged", lambda: gateway.statistics("load", "staged")["levels"]["staging"]["recordsCount"] == 30)
    gateway.stop()
    assert gateway.rows("SELECT count(*) FROM buffered") in ([], [(0,)])

    gateway.start()
    url = gateway.source_url("load")
    for sink, level in (("buffered", "local"), ("staged", "staging")):
        assert gateway.statistics("load", sink)["levels"][level]["recordsCount"] == 30
    second = Sender(gateway.intake, url, "b", count=30)
    second.run()
    gateway.flush("load", "buffered")
    gateway.flush("load", "staged")
    for sink in ("buffered", "staged"):
        names = [name for (name,) in gateway.rows(f"SELECT n FROM {sink} ORDER BY rowid")]
        assert names == first.acknowledged + second.acknowledged


def test_dead_destination_holds_nothing_up_and_loses_nothing(gateway_factory, tmp_path):
    from postgres import Postgres

    server = Postgres()
    try:
        config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {server.uri}\n"
        gateway = gateway_factory(config).start()
        url = gateway.add_source("load", framing="ndjson")
        gateway.add_sink("load", "warehouse", COLUMNS, AT_ONCE, connection="warehouse", table="rows")
        gateway.add_sink("load", "here", COLUMNS, AT_ONCE)
        first = Sender(gateway.intake, url, "a", count=50)
        first.run()
        wait_until("the first rows", lambda: server.rows("SELECT count(*) FROM rows") == [(50,)])
        server.stop()
        second = Sender(gateway.intake, url, "b", count=200)
        second.run()
        assert len(second.acknowledged) == 200
        gateway.wait_rows("here", 250)
        wait_until("the failure is shown", lambda: gateway.statistics("load", "warehouse")["levels"]["target"]["recordsCount"] == 50)
        gateway.kill()
        gateway.start()
        server.start()
        gateway.flush("load", "warehouse")
        rows = server.rows("SELECT n, text FROM rows")
        assert_exactly_once(rows, first.acknowledged + second.acknowledged, [])
    finally:
        server.close()


def test_half_imported_file_is_finished_once(gateway_factory):
    """The destination committed, and the process died before it could record that: the ledger at the destination tells."""
    gateway = gateway_factory().start()
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, NEVER)
    sender = Sender(gateway.intake, url, "a", count=40, batch=4)
    sender.run()
    gateway.stop()
    # The commit that records the import is the first one that comes after the rows are in the table.
    gateway.start(environment={"SLUICE_FAILPOINTS": "loader.after-import=crash"})
    answer = None
    try:
        answer = gateway.api("POST", "/sources/load/sinks/rows/flush", wait=0)
    except OSError:
        pass
    wait_until("the crash", lambda: gateway.process.poll() is not None)
    assert gateway.process.returncode == -9, answer
    assert gateway.rows("SELECT count(*) FROM rows") == [(40,)]
    gateway.start()
    gateway.flush("load", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), sender.acknowledged, [])


def test_upsert_by_primary_key(gateway):
    columns = [
        {"type": "path", "name": "k", "path": "k", "rawString": True, "primaryKey": True},
        {"type": "path", "name": "v", "path": "v", "dataType": "integer"},
    ]
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "state", columns, SMALL)
    chance = random.Random(5)
    last = {}
    for start in range(0, 3000, 10):
        events = [{"k": f"k{chance.randrange(40)}", "v": n} for n in range(start, start + 10)]
        last.update({event["k"]: event["v"] for event in events})
        assert gateway.post(url, "\n".join(map(json.dumps, events))).status == 200
    gateway.flush("load", "state")
    assert dict(gateway.rows("SELECT k, v FROM state")) == last


def test_sync_wait_false_answers_202(gateway):
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, {**AT_ONCE, "storage.level.local.encoding.sync.wait": False})
    answer = gateway.post(url, '{"n":"a","text":"t"}')
    assert (answer.status, answer.body) == (202, b"OK")
    gateway.wait_rows("rows", 1)
