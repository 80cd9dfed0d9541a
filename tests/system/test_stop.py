"""The end of the process, in every state: starts that fail at each step, and stops that miss their deadline while parts wait for one another.
What must hold: it ends by itself, no sanitizer and no assert has anything to say, and the next start has every acknowledged row."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
from load import COLUMNS, Sender, assert_exactly_once
from sluice import AT_ONCE, DEADLINE, NEVER, request, wait_until

pytestmark = pytest.mark.threads

START_STEPS = 17  # of start_list in gateway/app/app.c
STOP_STEPS = 8  # of stop_list there
LOADERS_STOP = 5  # the step that stops the loaders
SINKS = 4


def prepare(gateway, settings=AT_ONCE):
    """A source with some sinks of one SQLite connection, at which one import runs at a time."""
    url = gateway.add_source("s", framing="ndjson")
    for i in range(SINKS):
        gateway.add_sink("s", f"k{i}", COLUMNS, settings)
    return url


class Held:
    """tables.db under a lock, so that imports wait."""

    def __init__(self, gateway):
        self.database = sqlite3.connect(gateway.data / "tables.db", timeout=DEADLINE, isolation_level=None, check_same_thread=False)

    def __enter__(self):
        self.database.execute("BEGIN EXCLUSIVE")
        return self

    def __exit__(self, *_):
        self.database.execute("ROLLBACK")
        self.database.close()


def waits(gateway, rows):
    def all_staged():
        found = [gateway.statistics("s", f"k{i}")["levels"] for i in range(SINKS)]
        return all(level["staging"]["recordsCount"] >= rows for level in found)

    wait_until("the rows wait for their import", all_staged)


def leave_files(gateway):
    """Ends the gateway with a file of each sink that waits for its import."""
    gateway.start()
    url = prepare(gateway)
    with Held(gateway):
        assert gateway.post(url, '{"n":"a","text":"t"}').status == 200
        waits(gateway, 1)
        gateway.kill()


def ends(gateway, *arguments, environment=None):
    """Runs it until it ends by itself; its exit code."""
    with open(gateway.log_path, "ab") as log:
        process = subprocess.Popen(
            gateway.command(*arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
        )
    try:
        return process.wait(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()


def assert_all_there(gateway):
    gateway.start()
    for i in range(SINKS):
        gateway.wait_rows(f"k{i}", 1)
        assert gateway.rows(f"SELECT n FROM k{i}") == [("a",)]


# -- starts that fail ----------------------------------------------------------------------------------------------------


def test_a_start_that_fails_at_any_step(gateway_factory):
    gateway = gateway_factory()
    leave_files(gateway)
    for step in range(1, START_STEPS + 1):
        assert ends(gateway, environment={"SLUICE_FAILPOINTS": f"app.start=error@{step}"}) == 2, gateway.log_text()[-3000:]
    text = gateway.log_text()
    assert text.count("failpoint app.start before") == START_STEPS
    assert "failpoint app.start before stager thread" in text  # the last one: the list above is whole
    assert_all_there(gateway)


def test_a_failed_start_while_imports_are_given_out(gateway_factory):
    """The first import is being recorded when the loaders are stopped: the writer has the next one for them."""
    gateway = gateway_factory()
    leave_files(gateway)
    slow = {"SLUICE_FAILPOINTS": f"app.start=error@{START_STEPS},app.stop=wait:1000@{LOADERS_STOP},storage.before-commit=wait:1500"}
    assert ends(gateway, environment=slow) == 2
    assert_all_there(gateway)


# -- stops ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(1, STOP_STEPS + 1))
def test_a_stop_that_is_slow_at_a_step(gateway_factory, step):
    gateway = gateway_factory(arguments=["--shutdown-deadline", "20s"])
    gateway.start(environment={"SLUICE_FAILPOINTS": f"app.stop=wait:300@{step}"})
    url = prepare(gateway)
    stop = threading.Event()
    senders = [Sender(gateway.intake, url, f"s{i}", stop=stop) for i in range(2)]
    for sender in senders:
        sender.start()
    wait_until("load", lambda: sum(len(sender.acknowledged) for sender in senders) > 20)
    gateway.stop()
    stop.set()
    for sender in senders:
        sender.join(timeout=DEADLINE)
    gateway.start()
    gateway.flush("s", "k0")
    acknowledged = [name for sender in senders for name in sender.acknowledged]
    rows = gateway.rows("SELECT n, text FROM k0")
    assert_exactly_once(rows, acknowledged, [name for sender in senders for name in sender.unknown])


def test_the_deadline_comes_while_the_writer_commits(gateway_factory):
    """Every commit is slow; the drain is given up, and the writer still gives out imports when the loaders have stopped."""
    gateway = gateway_factory(arguments=["--shutdown-deadline", "8s"])
    leave_files(gateway)
    gateway.start(environment={"SLUICE_FAILPOINTS": "storage.before-commit=wait:2500"})
    url = gateway.source_url("s")
    answers = []

    def send_one():
        with contextlib.suppress(OSError):  # the stop may come first; then nothing was promised
            answers.append(gateway.post(url, '{"n":"b","text":"t"}').status)

    sender = threading.Thread(target=send_one)
    sender.start()
    gateway.stop()
    sender.join(timeout=DEADLINE)
    assert_there(gateway, answers)


def assert_there(gateway, answers):
    gateway.start()
    gateway.flush("s", "k0")
    names = [row[0] for row in gateway.rows("SELECT n FROM k0 ORDER BY n")]
    assert names in (["a"], ["a", "b"]) and (answers != [200] or names == ["a", "b"]), (answers, names)


def test_the_deadline_comes_while_a_loader_waits_for_the_writer(gateway_factory):
    """A refused row is on its way to the writer, who does not answer before the drain is given up."""
    gateway = gateway_factory(arguments=["--shutdown-deadline", "8s"])
    gateway.start(environment={"SLUICE_FAILPOINTS": "writer.pending-rejects=wait:7000@1"})
    database = sqlite3.connect(gateway.data / "tables.db", timeout=DEADLINE)
    database.execute("CREATE TABLE k (id TEXT, n TEXT CHECK (n <> 'bad'), text TEXT) STRICT")
    database.commit()
    database.close()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "k", COLUMNS, NEVER)
    assert gateway.post(url, '{"n":"good","text":"t"}\n{"n":"bad","text":"t"}').status == 200
    flush = threading.Thread(target=lambda: gateway.api("POST", "/sources/s/sinks/k/flush", wait=30))
    flush.start()
    # The table is held by the import that waits.
    wait_until("the import runs", lambda: locked(gateway))
    gateway.stop()
    flush.join(timeout=DEADLINE)
    gateway.start()
    gateway.flush("s", "k")
    assert gateway.rows("SELECT n FROM k") == [("good",)]
    assert len(gateway.api("GET", "/sources/s/sinks/k/rejects", expect=200).json["rejects"]) == 1


def locked(gateway):
    database = sqlite3.connect(gateway.data / "tables.db", timeout=0, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
        return False
    except sqlite3.OperationalError:
        return True
    finally:
        database.close()


def test_the_deadline_comes_while_a_template_evaluates(gateway_factory):
    gateway = gateway_factory(arguments=["--shutdown-deadline", "8s", "--templates.wall-clock", "5m"]).start()
    url = gateway.add_source("s")
    endless = {"language": "jsonnet", "content": "local f(x) = f(x + 1) tailstrict; f(1)"}
    gateway.add_sink("s", "k", [{"type": "template", "name": "t", "template": endless}], NEVER)
    answers = []
    senders = [threading.Thread(target=lambda: answers.append(gateway.post(url, "{}"))) for _ in range(3)]
    senders[0].start()
    of_one = wait_until("the first event is with the templates", lambda: in_flight(gateway))
    for sender in senders[1:]:
        sender.start()
    wait_until("the events are with the templates", lambda: in_flight(gateway) == len(senders) * of_one)
    gateway.stop()
    for sender in senders:
        sender.join(timeout=DEADLINE)
    assert [answer.status for answer in answers] == [503] * len(senders), answers


def in_flight(gateway):
    for line in request(gateway.admin, "GET", "/metrics", headers={"Authorization": f"Bearer {gateway.token}"}).body.decode().splitlines():
        if line.startswith("sluice_in_flight_bytes "):
            return int(line.split()[1])
    raise AssertionError("no such metric")


def test_the_deadline_comes_while_api_calls_wait(gateway_factory):
    """Imports that cannot go on, a flush that waits for one of them, and a table that cannot be created."""
    gateway = gateway_factory(arguments=["--shutdown-deadline", "8s"]).start()
    url = prepare(gateway, NEVER)
    answers = []
    with Held(gateway):
        assert gateway.post(url, '{"n":"a","text":"t"}').status == 200
        body = {"sinkId": "new", "name": "New", "table": {"connection": "local", "tableId": "new", "mapping": {"columns": COLUMNS}}}
        calls = [
            threading.Thread(target=lambda: answers.append(gateway.api("POST", "/sources/s/sinks/k0/flush", wait=60).status)),
            threading.Thread(target=lambda: answers.append(gateway.api("POST", "/sources/s/sinks", body, wait=60).status)),
        ]
        for call in calls:
            call.start()
        wait_until("the flush waits", lambda: gateway.statistics("s", "k0")["levels"]["staging"]["recordsCount"] == 1)
        gateway.stop()
        for call in calls:
            call.join(timeout=DEADLINE)
    assert answers == [202, 202]
    gateway.start()
    gateway.flush("s", "k0")
    assert gateway.rows("SELECT n FROM k0") == [("a",)]


def test_a_broken_writer_does_not_wait_for_a_silent_destination(gateway_factory):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)
        uri = f"postgresql://sluice@127.0.0.1:{hole.getsockname()[1]}/d"
        gateway = gateway_factory(f"shutdown-deadline: 2s\nconnections: {{hole: {{type: postgres, uri: '{uri}'}}}}\n")
        # The deadline leaves threads behind that have ended and are not joined yet: no leak.
        sanitizer = os.environ.get("TSAN_OPTIONS", "") + " report_thread_leaks=0"
        gateway.start(environment={"SLUICE_FAILPOINTS": "storage.before-commit=error@60", "TSAN_OPTIONS": sanitizer})
        url = prepare(gateway, NEVER)
        table = {"connection": "hole", "tableId": "k", "mapping": {"columns": COLUMNS}}
        gateway.api("POST", "/sources/s/sinks", {"sinkId": "k", "name": "K", "table": table}, wait=0, expect=202)
        connection, _ = hole.accept()
        acknowledged = 0
        while gateway.post(url, '{"n":"a","text":"t"}').status == 200:
            acknowledged += 1
        start = time.monotonic()
        assert gateway.process.wait(timeout=DEADLINE) == 2
        assert time.monotonic() - start < 10  # the driver alone would wait for 15 s
        connection.close()
    gateway.start()
    gateway.flush("s", "k0")
    assert len(gateway.rows("SELECT n FROM k0")) == acknowledged
