"""Destinations that hang, are locked or slow: what they may hold up, and what not."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import sqlite3
import threading
import time

import psycopg2
import pytest
from fault_proxy import FaultProxy
from load import COLUMNS, Sender, assert_exactly_once
from postgres import Postgres
from sluice import AT_ONCE, DEADLINE, NEVER, wait_until


@pytest.fixture
def server():
    """A server of the test's own, which it may stop."""
    made = Postgres()
    yield made
    made.close()


def family(server):
    """The postmaster and what it made."""
    pids = [server.process.pid]
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == server.process.pid:
            pids.append(int(status.parent.name))
    return pids


class Stopped:
    """The server as a machine sees it that hangs: connections are taken and nothing answers."""

    def __init__(self, server):
        self.server = server

    def send(self, number):
        for pid in family(self.server):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def __enter__(self):
        self.send(signal.SIGSTOP)

    def __exit__(self, *unused):
        self.send(signal.SIGCONT)


def connections(server, *names):
    return "connections:\n" + "".join(f"  {name}:\n    type: postgres\n    uri: {server.uri}\n" for name in names)


def test_two_destinations_that_hang_leave_the_others_alone(gateway_factory, server):
    gateway = gateway_factory(connections(server, "one", "two")).start()
    url = gateway.add_source("load", framing="ndjson")
    for connection in ("one", "two"):
        for i in range(3):
            gateway.add_sink("load", f"{connection}{i}", COLUMNS, AT_ONCE, connection=connection, table=f"{connection}{i}")
    gateway.add_sink("load", "here", COLUMNS, AT_ONCE)
    warm = Sender(gateway.intake, url, "w", count=5)
    warm.run()
    wait_until("the first rows", lambda: server.rows("SELECT count(*) FROM one0") == [(5,)])
    with Stopped(server):
        sender = Sender(gateway.intake, url, "a", count=200)
        sender.run()
        assert len(sender.acknowledged) == 200
        gateway.wait_rows("here", 205, deadline=40)
    wanted = warm.acknowledged + sender.acknowledged
    for connection in ("one", "two"):
        for i in range(3):
            gateway.flush("load", f"{connection}{i}")
            assert_exactly_once(server.rows(f"SELECT n, text FROM {connection}{i}"), wanted, [])


def test_locked_tables_do_not_delay_the_other_sinks_of_their_connection(gateway_factory, server):
    gateway = gateway_factory(connections(server, "warehouse"), arguments=["--loaders", "2"]).start()
    url = gateway.add_source("load", framing="ndjson")
    for name in ("locked0", "locked1", "locked2", "free"):
        gateway.add_sink("load", name, COLUMNS, AT_ONCE, connection="warehouse", table=name)
    holder = psycopg2.connect(server.uri)
    acknowledged = []
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE locked0, locked1, locked2")
        for turn in range(4):
            sender = Sender(gateway.intake, url, f"t{turn}", count=10)
            sender.run()
            acknowledged += sender.acknowledged
            wait_until("the rows of the other table", lambda: server.rows("SELECT count(*) FROM free") == [(len(acknowledged),)], 15)
        assert server.rows("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted")[0][0] >= 3
    finally:
        holder.rollback()
        holder.close()
    for name in ("locked0", "locked1", "locked2", "free"):
        gateway.flush("load", name)
        assert_exactly_once(server.rows(f"SELECT n, text FROM {name}"), acknowledged, [])


def test_an_import_that_takes_longer_than_it_may_goes_on_in_parts(gateway_factory, server):
    """A trigger that takes its time for each row: the whole file can never be imported within the limit, so smaller parts are."""
    gateway = gateway_factory(connections(server, "warehouse"), arguments=["--import-longest", "3s"]).start()
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "slow", COLUMNS, NEVER, connection="warehouse", table="slow")
    server.rows(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;"
        "CREATE TRIGGER linger BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION linger()"
    )
    sender = Sender(gateway.intake, url, "a", count=200)
    sender.run()
    gateway.api("POST", "/sources/load/sinks/slow/flush", wait=0)
    wait_until("some parts", lambda: server.rows("SELECT count(*) FROM slow")[0][0] > 0, 120)
    gateway.kill()  # between parts, or in one
    gateway.start()
    gateway.api("POST", "/sources/load/sinks/slow/flush", wait=0)
    wait_until("all rows", lambda: server.rows("SELECT count(*) FROM slow") == [(200,)], 120)
    assert_exactly_once(server.rows("SELECT n, text FROM slow"), sender.acknowledged, [])


def test_a_statement_at_which_the_server_works_is_not_interrupted(gateway_factory, server):
    gateway = gateway_factory(connections(server, "warehouse"), arguments=["--import-timeout", "2s"]).start()
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "slow", COLUMNS, AT_ONCE, connection="warehouse", table="slow")
    server.rows(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(8); RETURN NULL; END $$;"
        "CREATE TRIGGER linger AFTER INSERT ON slow FOR EACH STATEMENT EXECUTE FUNCTION linger()"
    )
    sender = Sender(gateway.intake, url, "a", count=20, batch=20)
    sender.run()
    wait_until("the rows", lambda: server.rows("SELECT count(*) FROM slow") == [(20,)])
    assert "tried again" not in gateway.log_text()


# -- stops ---------------------------------------------------------------------------------------------------------------


def assert_stops_soon(gateway, seconds=4):
    """At a destination that is silent nothing can be finished, so that a stop need not wait for it."""
    start = time.monotonic()
    gateway.stop()
    took = time.monotonic() - start
    assert took < seconds, f"the stop took {took:.1f} s"


def staged(gateway, source, sinks, rows):
    def all_staged():
        levels = [gateway.statistics(source, sink)["levels"] for sink in sinks]
        return all(level["staging"]["recordsCount"] == rows for level in levels)

    wait_until("the rows wait for their import", all_staged)


def test_a_stop_while_nobody_answers_a_new_connection(gateway_factory):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)
        uri = f"postgresql://sluice@127.0.0.1:{hole.getsockname()[1]}/d"
        gateway = gateway_factory(f"connections: {{hole: {{type: postgres, uri: '{uri}'}}}}\n").start()
        gateway.add_source("s")
        table = {"connection": "hole", "tableId": "k", "mapping": {"columns": COLUMNS}}
        gateway.api("POST", "/sources/s/sinks", {"sinkId": "k", "name": "K", "table": table}, wait=0, expect=202)
        silent, _ = hole.accept()  # kept: it stays open
        assert_stops_soon(gateway)
        silent.close()
    gateway.start()
    assert gateway.api("GET", "/sources/s/sinks").json["sinks"] == []


def test_a_stop_while_a_test_of_a_connection_waits(gateway_factory):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)
        uri = f"postgresql://sluice@127.0.0.1:{hole.getsockname()[1]}/d"
        gateway = gateway_factory(f"connections: {{hole: {{type: postgres, uri: '{uri}'}}}}\n").start()

        def ask():
            with contextlib.suppress(OSError):  # whether there is an answer depends on which of the two ends first
                gateway.api("POST", "/connections/hole/test")

        asker = threading.Thread(target=ask)
        asker.start()
        silent, _ = hole.accept()
        assert_stops_soon(gateway)
        silent.close()
        asker.join(timeout=DEADLINE)
        assert not asker.is_alive()


@pytest.mark.parametrize("kept", [True, False], ids=["on a session that was kept", "while it connects"])
def test_a_stop_while_imports_wait_for_a_server_that_hangs(gateway_factory, server, kept):
    gateway = gateway_factory(connections(server, "one")).start()
    url = gateway.add_source("s", framing="ndjson")
    sinks = ["a", "b", "c"]
    for sink in sinks:
        gateway.add_sink("s", sink, COLUMNS, AT_ONCE, connection="one", table=sink)
    with Stopped(server):
        if not kept:
            gateway.stop()
            gateway.start()
        assert gateway.post(url, '{"n":"x","text":"t"}').status == 200
        staged(gateway, "s", sinks, 1)
        assert_stops_soon(gateway)
    gateway.start()
    for sink in sinks:
        gateway.flush("s", sink)
        assert server.rows(f"SELECT n FROM {sink}") == [("x",)]


def test_a_stop_while_the_tables_are_locked(gateway_factory):
    """Imports and the check of a new table wait for the lock, one after another: SQLite takes one job at a time."""
    gateway = gateway_factory().start()
    url = gateway.add_source("s", framing="ndjson")
    sinks = [f"k{i}" for i in range(6)]
    for sink in sinks:
        gateway.add_sink("s", sink, COLUMNS, AT_ONCE)
    database = sqlite3.connect(gateway.data / "tables.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    assert gateway.post(url, '{"n":"x","text":"t"}').status == 200
    staged(gateway, "s", sinks, 1)
    table = {"connection": "local", "tableId": "late", "mapping": {"columns": COLUMNS}}
    gateway.api("POST", "/sources/s/sinks", {"sinkId": "late", "name": "L", "table": table}, wait=0, expect=202)
    assert_stops_soon(gateway)
    database.execute("ROLLBACK")
    database.close()
    gateway.start()
    for sink in sinks:
        gateway.flush("s", sink)
        assert gateway.rows(f"SELECT n FROM {sink}") == [("x",)]


# -- between the gateway and the server -------------------------------------------------------------------------------------


def test_a_network_that_is_bad_costs_only_time(gateway_factory, postgres):
    """Connections are cut, pass little, pass nothing or are refused: other sinks go on, and all rows are there once afterwards."""
    proxy = FaultProxy(postgres.port, pace=20000)
    uri = postgres.uri.replace(str(postgres.port), str(proxy.port)) + "?sslmode=disable"
    config = f"connections: {{warehouse: {{type: postgres, uri: '{uri}'}}}}\n"
    gateway = gateway_factory(config).start()
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "there", COLUMNS, AT_ONCE, connection="warehouse", table="there")
    gateway.add_sink("load", "here", COLUMNS, AT_ONCE)
    sent = []
    try:
        for mode in ("slow", "hole", "refuse", "pass"):
            proxy.mode = mode
            sender = Sender(gateway.intake, url, mode, count=20, batch=5)
            sender.run()
            sent += sender.acknowledged
            assert len(sender.acknowledged) == 20
            gateway.wait_rows("here", len(sent))
            proxy.cut()
        gateway.flush("load", "there")
        assert_exactly_once(postgres.rows("SELECT n, text FROM there"), sent, [])
    finally:
        proxy.close()


def test_a_sink_that_always_has_work_starves_no_other(gateway_factory):
    gateway = gateway_factory(arguments=["--loaders", "1"]).start()
    busy, quiet = (gateway.add_source(source, framing="ndjson") for source in ("busy", "quiet"))
    for source in ("busy", "quiet"):
        gateway.add_sink(source, source, COLUMNS, AT_ONCE)
    stop = threading.Event()
    senders = [Sender(gateway.intake, busy, f"b{i}", stop=stop) for i in range(2)]
    for sender in senders:
        sender.start()
    try:
        for number in range(5):
            assert gateway.post(quiet, json.dumps({"n": number, "text": "t"})).status == 200
            gateway.wait_rows("quiet", number + 1)
    finally:
        stop.set()
        for sender in senders:
            sender.join(timeout=DEADLINE)
    gateway.flush("busy", "busy")
    assert_exactly_once(gateway.rows("SELECT n, text FROM busy"), [name for sender in senders for name in sender.acknowledged], [])
