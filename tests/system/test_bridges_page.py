"""
The steps of docs/bridges.md and docs/streams.md as written, from a broker with records to rows in SQLite. Only ports differ; and the command `nats`, which Debian does
not have, is done by the client of tests/services, with the arguments that the page has.
"""

import os
import pathlib
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from sluice import BINARY, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from kafka import Kafka, Unavailable  # noqa: E402
from nats_server import Nats  # noqa: E402

PAGE = (ROOT / "docs" / "bridges.md").read_text()
LONG = 120


def steps(heading, page=PAGE):
    """("yaml", text, file name) and ("sh", text, None) of a section, in order."""
    section = re.search(rf"^##+ {heading}\n(.*?)(?=^##)", page, re.M | re.S).group(1)
    for block in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```", section, re.M | re.S):
        kind, text = block.group(2), textwrap.dedent(block.group(3))
        name = re.findall(r"`(\w+\.yaml)`", section[: block.start()])[-1] if kind == "yaml" else None
        yield kind, text, name


class Reader:
    """Does what the page says, in a directory of its own."""

    def __init__(self, gateway, ports):
        self.gateway, self.ports = gateway, ports
        self.directory = gateway.directory
        (self.directory / "build").mkdir()
        (self.directory / "build" / "release").symlink_to(pathlib.Path(BINARY).resolve().parent)
        self.said = {}

    def follow(self, heading, other=None, page=PAGE):
        """`other`: takes the lines of a block that this machine has no command for; true: it did."""
        for kind, text, name in steps(heading, page):
            for written, there in self.ports.items():
                text = text.replace(written, there)
            if kind == "yaml":
                (self.directory / name).write_text(text)
            elif not (other and other(text)):
                self.run(text)

    def run(self, text):
        if re.search(r" serve\b", text):
            line = text.strip()
            assert "\n" not in line, line
            self.gateway.command = lambda *_: ["bash", "-c", f"cd {shlex.quote(str(self.directory))} && exec {line}"]
            self.gateway.start()
        elif text.startswith("sqlite3"):
            # "a moment later"
            wait_until(text, lambda: re.search(r"^1000\b", self.shell(text, check=False).stdout, re.M), LONG)
            self.said["rows"] = self.shell(text).stdout
        else:
            words = [word for word in text.splitlines()[-1].split() if "=" not in word]
            self.said[words[1]] = self.shell(text).stdout

    def shell(self, text, check=True):
        environment = {**os.environ, "SLUICE_ADMIN": f"http://{getattr(self.gateway, 'admin', '')}"}
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=LONG)
        assert not check or done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}{self.gateway.log_text()[-3000:]}"
        return done

    def positions(self, source):
        """Sum of the positions, of all partitions that `get positions` shows."""
        text = self.shell(f"build/release/sluice get positions {source}").stdout
        return sum(int(number) for number in re.findall(r"^\S+:\d+ +\S+ +(\d+)", text, re.M)), text


@pytest.fixture
def gateway(gateway_factory):
    return gateway_factory(environment={"SLUICE_INTAKE": "127.0.0.1:0", "SLUICE_ADMIN": "127.0.0.1:0"})


@pytest.fixture
def kafka():
    try:
        broker = Kafka()
    except Unavailable as why:
        pytest.skip(f"no Kafka: {why}")
    yield broker
    broker.close()


@pytest.fixture
def nats():
    server = Nats()
    yield server
    server.close()


@pytest.mark.kafka
def test_from_a_topic_to_a_table(kafka, gateway):
    reader = Reader(gateway, {"127.0.0.1:9092": kafka.brokers})
    reader.follow("Kafka")
    assert "Ann" in reader.said["rows"] and "customer" in reader.said["rows"], reader.said
    assert "orders (kafka): " in reader.said["get"] and "shop.orders:0" in reader.said["get"], reader.said
    wait_until("all is imported", lambda: reader.positions("orders")[0] == 1000)
    # Each record once, also after a restart (test_bridge_kafka.py has crashes, for which the group waits until the session is over).
    wanted = sorted((partition, offset) for partition, offset, _ in kafka.records("shop.orders"))
    rows = lambda: gateway.rows('SELECT partition, "offset" FROM orders ORDER BY 1, 2')  # noqa: E731
    assert rows() == wanted
    assert gateway.rows("SELECT id, amount, customer FROM orders ORDER BY 1") == [(n, f"{n}.50", "Ann") for n in range(1, 1001)]
    gateway.stop()
    gateway.start()
    reader.run(next(text for _, text, _ in steps("Kafka") if "kcat" in text).replace("127.0.0.1:9092", kafka.brokers))
    wanted = sorted((partition, offset) for partition, offset, _ in kafka.records("shop.orders"))
    assert len(wanted) == 2000
    wait_until("the next thousand", lambda: len(rows()) >= 2000, LONG)
    assert rows() == wanted


@pytest.mark.kafka
def test_a_stream_manifest(kafka, gateway):
    reader = Reader(gateway, {"127.0.0.1:9092": kafka.brokers})
    reader.follow("From a topic to a table", page=STREAMS_PAGE)
    assert "Ann" in reader.said["rows"] and "1000" in reader.said["rows"], reader.said
    assert "ignored: version" in reader.said["apply"] and "+ orders-stream" in reader.said["apply"], reader.said
    assert reader.said["get"].startswith("kind: source\n") and "groupId: orders-etl" in reader.said["get"], reader.said
    rows = gateway.rows("SELECT coalesce(id, json_extract(_rest, '$.id')) FROM orders ORDER BY 1")
    assert rows == [(n,) for n in range(1, 1001)]
    wait_until("it is finished", lambda: gateway.api("GET", "/sources/orders-stream/bridge").json["state"] == "finished")


def nats_command_of(nats):
    def nats_command(text):
        if not text.startswith("nats "):
            return False
        for line in text.splitlines():
            words = shlex.split(line)
            if words[1:3] == ["stream", "add"]:
                nats.create_stream(words[3], [words[words.index("--subjects") + 1]])
            else:
                assert words[1] == "pub" and words[3] == "--count", line
                nats.publish(words[2], [words[5].replace("{{Count}}", str(n + 1)) for n in range(int(words[4]))])
        return True

    return nats_command


STREAMS_PAGE = (ROOT / "docs" / "streams.md").read_text()


def serve_as_above(reader):
    """The block that starts the gateway, of the first steps of docs/streams.md."""
    (start,) = [text for kind, text, _ in steps("From a topic to a table", STREAMS_PAGE) if re.search(r" serve\b", text)]
    reader.run(start)


def test_a_stream_manifest_of_nats(nats, gateway):
    reader = Reader(gateway, {"127.0.0.1:4222": f"127.0.0.1:{nats.port}"})
    serve_as_above(reader)
    nats.create_stream("OTHERS", ["others.>"])
    nats.publish("others.x", ["{}"] * 10)
    reader.follow("From a NATS stream to a table", nats_command_of(nats), page=STREAMS_PAGE)
    nats.publish("orders.paid", ["{}"] * 10)
    assert "12.5" in reader.said["rows"] and "Ann" in reader.said["rows"] and "orders.new" in reader.said["rows"], reader.said
    assert "ignored: version" in reader.said["apply"] and "+ messages-stream" in reader.said["apply"], reader.said
    wait_until("it is finished", lambda: gateway.api("GET", "/sources/messages-stream/bridge").json["state"] == "finished")
    assert gateway.rows("SELECT _sequence, coalesce(id, _rest->>'id') FROM messages ORDER BY 1") == [(n, n) for n in range(1, 1001)]


def test_placeholders_of_a_stream_manifest(gateway):
    nats = Nats('authorization { token: "s3cret{}%41" }', login={"auth_token": "s3cret{}%41"})
    try:
        nats.create_stream("ORDERS", ["orders.>"])
        nats.publish("orders.new", ['{"id":1}'] * 1000)
        reader = Reader(gateway, {"127.0.0.1:4222": f"127.0.0.1:{nats.port}"})
        (reader.directory / "token.txt").write_text("s3cret{}%41\n")
        serve_as_above(reader)
        reader.follow("Placeholders", page=STREAMS_PAGE)
        gateway.wait_rows("secret_orders", 1000, LONG)
        assert "s3cret" not in gateway.log_text()
    finally:
        nats.close()


def test_from_a_stream_to_a_table(nats, gateway):
    reader = Reader(gateway, {"127.0.0.1:4222": f"127.0.0.1:{nats.port}"})
    reader.follow("NATS", nats_command_of(nats))
    assert "orders.new" in reader.said["rows"] and "12.50" in reader.said["rows"], reader.said
    assert "messages (nats): " in reader.said["get"] and "ORDERS:0" in reader.said["get"], reader.said
    wait_until("all is imported", lambda: reader.positions("messages")[0] == 1001)
    assert gateway.rows("SELECT sequence, id FROM messages ORDER BY 1") == [(n, n) for n in range(1, 1001)]
    gateway.kill()
    gateway.start()
    nats.publish("orders.new", ['{"id":0,"amount":1}'] * 500)
    wait_until("500 more", lambda: len(gateway.rows("SELECT sequence FROM messages")) >= 1500, LONG)
    assert gateway.rows("SELECT sequence FROM messages ORDER BY 1") == [(n,) for n in range(1, 1501)]


    # The section on tables that are replaced begins with this stream.
    reader.follow("Tables that are replaced")
    wait_until("the table", lambda: len(gateway.rows("SELECT id FROM current")) == 1500, LONG)
    nats.purge("ORDERS")
    nats.publish("orders.new", ['{"id":7}'])
    wait_until("it is finished", lambda: gateway.api("GET", "/sources/current/bridge").json["state"] == "finished", LONG)
    assert "read once more" in reader.shell("build/release/sluice resume current").stdout
    wait_until("the next run", lambda: gateway.rows("SELECT id FROM current") == [(7,)], LONG)


def test_a_new_sink_with_the_history_and_a_table_that_is_begun_anew(nats, gateway):
    """What the page says under "New sinks" and "Seek"."""
    nats.create_stream("ORDERS", ["orders.>"])
    nats.publish("orders.new", ['{"id":1,"amount":1}'] * 1000)
    reader = Reader(gateway, {"127.0.0.1:4222": f"127.0.0.1:{nats.port}"})
    reader.follow("NATS", lambda text: text.startswith("nats "))
    program, manifest = "build/release/sluice", reader.directory / "messages.yaml"
    table = lambda name: [number for (number,) in gateway.rows(f"SELECT sequence FROM {name} ORDER BY 1")]  # noqa: E731

    def add_sink(name, *fields):
        head, sink = manifest.read_text().split("sinks:\n")
        first = sink.split("  - sinkId: ")[1]
        more = first.replace("orders\n", "".join(f"{line}\n" for line in (name, *fields)), 1).replace("tableId: messages", f"tableId: {name}")
        manifest.write_text(f"{head}sinks:\n{sink}  - sinkId: {more}")
        reader.shell(f"{program} apply -f messages.yaml")

    add_sink("later")
    nats.publish("orders.new", ['{"id":2,"amount":1}'] * 100)
    wait_until("what came since", lambda: len(table("later")) >= 100, LONG)
    add_sink("history", "    startFrom: earliest")
    wait_until("the history", lambda: len(table("history")) >= 1100, LONG)
    reader.shell(f"{program} pause messages")
    reader.shell("sqlite3 -cmd '.timeout 10000' data/tables.db 'DELETE FROM messages'")
    reader.shell(f"{program} seek messages --sink orders --to earliest --duplicates")
    reader.shell(f"{program} resume messages")
    wait_until("all once more", lambda: len(table("messages")) >= 1100, LONG)
    nats.publish("orders.new", ['{"id":3,"amount":1}'] * 10)
    for name, first in (("messages", 1), ("history", 1), ("later", 1001)):
        wait_until(name, lambda name=name, first=first: len(table(name)) >= 1111 - first, LONG)
        assert table(name) == list(range(first, 1111)), name


@pytest.mark.parametrize("durable", ["none", "sluice-1-messages"])
def test_the_rights_are_enough(durable, gateway):
    """The rights of the page's table, and no others."""
    rows = re.findall(r"^\| `(\$JS\.\S+)` \| (x?) *\| (x?) *\|$", PAGE, re.M)
    subjects = [subject for subject, none, own in rows if (none if durable == "none" else own)]
    assert len(subjects) >= 5, rows
    allowed = ", ".join(f'"{subject}"' for subject in subjects)
    users = '{user: test, password: "test"}, {user: sluice, password: "secret", permissions: '
    users += f'{{publish: [{allowed}], subscribe: ["_INBOX.>"]}}}}'
    server = Nats(f"authorization {{ users: [ {users} ] }}", login={"user": "test", "pass": "test"})
    try:
        server.create_stream("ORDERS", ["orders.>"])
        reader = Reader(gateway, {})
        for kind, text, name in steps("NATS"):
            if kind == "yaml":
                text = text.replace("nats://127.0.0.1:4222", server.uri).replace("durable: none", f"durable: {durable}")
                text = text.replace("type: nats\n    servers", "type: nats\n    user: sluice\n    passwordFile: password\n    servers")
                (reader.directory / name).write_text(text)
        gateway.data.mkdir(mode=0o700)
        password = gateway.data / "password"
        password.touch(0o600)
        password.write_text("secret")
        reader.run("build/release/sluice serve --config jetstream.yaml")
        reader.shell("build/release/sluice apply -f messages.yaml")
        assert "jetstream: ok" in reader.shell("build/release/sluice connections test jetstream").stdout
        table = lambda: [number for (number,) in gateway.rows("SELECT sequence FROM messages ORDER BY 1")]  # noqa: E731
        for last in (500, 1000):
            server.publish("orders.new", ['{"id":1,"amount":1}'] * 500)
            wait_until("rows", lambda last=last: len(table()) >= last, LONG)
            server.restart()  # with a new connection as well
        server.publish("orders.new", ['{"id":1,"amount":1}'] * 500)
        wait_until("rows", lambda: len(table()) >= 1500, LONG)
        assert table() == list(range(1, 1501))
        assert "ermission" not in gateway.log_text(), gateway.log_text()
    finally:
        server.close()


def test_a_restored_table_and_a_lost_data_directory(nats, gateway):
    """Of the table under "What is promised": SQLite, with the database file outside of the data directory. No primary key keeps rows apart."""
    nats.create_stream("ORDERS", ["orders.>"])
    reader = Reader(gateway, {"127.0.0.1:4222": f"127.0.0.1:{nats.port}"})
    for kind, text, name in steps("NATS"):
        if kind == "yaml":
            text = text.replace("nats://127.0.0.1:4222", nats.uri).replace("connections:\n", "connections:\n  local: {type: sqlite, path: ../tables.db}\n")
            (reader.directory / name).write_text(text)
    reader.run("build/release/sluice serve --config jetstream.yaml")
    reader.shell("build/release/sluice apply -f messages.yaml")

    def query(*statements):
        database = sqlite3.connect(reader.directory / "tables.db", timeout=30, isolation_level=None)
        try:
            for statement in statements:
                rows = database.execute(statement).fetchall()
            return rows
        except sqlite3.OperationalError as problem:
            if "no such table" not in str(problem):
                raise
            return []
        finally:
            database.close()

    def expect(last):
        wait_until(f"{last} rows", lambda: len(query("SELECT 1 FROM messages")) >= last, LONG)
        assert query("SELECT sequence FROM messages ORDER BY 1") == [(n,) for n in range(1, last + 1)]

    nats.publish("orders.new", ['{"id":1,"amount":1}'] * 1000)
    expect(1000)
    # As a backup of both has it: nothing else happens on the stream.
    query("BEGIN IMMEDIATE", "DELETE FROM messages WHERE sequence > 400", "UPDATE _sluice_positions SET next_offset = 401", "COMMIT")
    expect(1000)
    nats.publish("orders.new", ['{"id":1,"amount":1}'] * 200)
    gateway.kill()
    shutil.rmtree(gateway.data)
    gateway.start()
    reader.shell("build/release/sluice apply -f messages.yaml")
    expect(1200)
