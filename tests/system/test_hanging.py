"""Destinations that hang, are locked or slow: what they may hold up, and what not."""

import os
import pathlib
import signal

import psycopg2
import pytest
from load import COLUMNS, Sender, assert_exactly_once
from postgres import Postgres
from sluice import AT_ONCE, NEVER, wait_until


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
