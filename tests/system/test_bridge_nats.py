"""Sources of type nats: messages of a real nats-server become rows, each once, whatever happens to the gateway and to the server."""

import base64
import json
import signal
import subprocess
import sys
import time

import pytest

from sluice import AT_ONCE, BINARY, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

import nats_server  # noqa: E402
from nats_server import Nats, NatsError, free_port  # noqa: E402

LONG = 150  # a durable delivers again after half a minute what was on its way when the server was killed
COLUMNS = [
    {"name": "q", "type": "meta", "field": "sequence", "dataType": "integer"},
    {"name": "n", "type": "path", "path": "n", "dataType": "integer"},
]
BOTH = pytest.mark.parametrize("durable", ["none", "own"])


@pytest.fixture
def nats():
    server = Nats("max_payload: 16MB")
    server.create_stream("ORDERS", ["orders.>"])
    yield server
    server.close()


def config(nats, postgres=None):
    text = f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n'
    if postgres:
        text += f'  warehouse: {{type: postgres, uri: "{postgres.uri}"}}\n'
    return text


def numbers(first, count):
    return [json.dumps({"n": n}) for n in range(first, first + count)]


def add(gateway, durable, columns=COLUMNS, connection="local", table="t", settings=None, sink=None, **fields):
    nats = {"connection": "events", "stream": "ORDERS", "durable": durable, **fields}
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "nats", "nats": nats})
    gateway.add_sink("s", "k", columns, {**AT_ONCE, **(settings or {})}, connection=connection, table=table, **(sink or {}))


def local(gateway, column="q"):
    return [value for (value,) in gateway.rows(f"SELECT {column} FROM t ORDER BY 1")]


def remote(postgres, table):
    return [value for (value,) in postgres.rows(f"SELECT q FROM {table} ORDER BY 1")]


def status(gateway):
    answer = gateway.api("GET", "/sources/s/bridge").json
    return {"state": None, "error": None, "stopped": None, "partitions": [], **answer}


def wait_for(rows, wanted, deadline=LONG):
    """As many rows, and then exactly these."""
    wanted = list(wanted)
    try:
        wait_until("rows", lambda: len(rows()) >= len(wanted), deadline)
    except AssertionError:
        missing = sorted(set(wanted) - set(rows()))
        raise AssertionError(f"{len(missing)} of {len(wanted)} rows are missing, from {missing[:5]}") from None
    assert rows() == wanted


@BOTH
@pytest.mark.threads
def test_messages_become_rows(gateway_factory, nats, durable):
    nats.publish("orders.a", numbers(1, 1000))
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable)
    wait_for(lambda: local(gateway), range(1, 1001))
    nats.publish("orders.b", numbers(1001, 500))
    wait_for(lambda: local(gateway), range(1, 1501))
    assert local(gateway, "n") == list(range(1, 1501))


@BOTH
def test_the_first_messages_have_inferred_columns(gateway_factory, nats, durable):
    """They wait for the columns; a topic that waited in the broker leaves nothing in _rest."""
    nats.publish("orders.a", [json.dumps({"n": n, "name": f"x{n}"}) for n in range(1, 301)])
    gateway = gateway_factory(config(nats)).start()
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "nats", "nats": {"connection": "events", "stream": "ORDERS", "durable": durable}})
    gateway.change("POST", "/sources/s/sinks", {"sinkId": "k", "name": "k", "table": {"connection": "local", "tableId": "t", "mapping": {"infer": {}}}})
    gateway.set("/sources/s/sinks/k", AT_ONCE)
    wait_until("rows", lambda: len(gateway.rows("SELECT _sequence FROM t")) == 300, LONG)
    assert gateway.rows("SELECT _sequence, n, name, _subject, _rest FROM t ORDER BY 1") == [(n, n, f"x{n}", "orders.a", None) for n in range(1, 301)]
    nats.publish("orders.b", ['{"n":301,"more":true}'])
    wait_until("the next row", lambda: gateway.rows("SELECT 1 FROM t WHERE _sequence = 301"), LONG)
    assert gateway.rows("SELECT more, _rest FROM t WHERE _sequence = 301") == [(1, None)]


@BOTH
def test_what_a_message_has(gateway_factory, nats, durable):
    columns = [
        {"name": "stream", "type": "meta", "field": "stream"},
        {"name": "q", "type": "meta", "field": "sequence", "dataType": "integer"},
        {"name": "subject", "type": "meta", "field": "subject"},
        {"name": "bridge", "type": "meta", "field": "bridge"},
        {"name": "headers", "type": "headers"},
        {"name": "body", "type": "body"},
    ]
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable, columns, value="text")
    nats.publish("orders.a", ["one"], [("X-Two", "a"), ("X-Two", "b"), ("Authorization", "secret")])
    nats.publish("orders.b.c", [""])
    large = "x" * (8 << 20)
    nats.publish("orders.d", [large[: (1 << 20) - 100]])
    nats.publish("orders.e", ["last"])
    wait_until("rows", lambda: len(gateway.rows("SELECT q FROM t")) == 4, LONG)
    rows = gateway.rows("SELECT stream, q, subject, bridge, headers, body FROM t ORDER BY q")
    assert rows[0][:4] == ("ORDERS", 1, "orders.a", "nats:ORDERS:1") and rows[0][5] == "one"
    assert json.loads(rows[0][4]) == {"X-Two": "a, b"}
    assert rows[1][2:4] == ("orders.b.c", "nats:ORDERS:2") and rows[1][5] in ("", None)
    assert len(rows[2][5]) == (1 << 20) - 100 and rows[3][5] == "last"


@BOTH
def test_messages_that_are_no_events(gateway_factory, nats, durable):
    """An empty one, one that is no JSON, one above the limit: rejects, and the others go on."""
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable)
    nats.publish("orders.a", [*numbers(1, 3), "", "{", b"\xff\xfe", b"x" * (8 << 20), *numbers(8, 3)])
    wait_for(lambda: local(gateway), [1, 2, 3, 8, 9, 10])
    wait_until("rejects", lambda: gateway.statistics("s", "k")["rejects"]["events"] == 4)
    rejects = gateway.api("GET", "/sources/s/sinks/k/rejects", expect=200).json["rejects"]
    assert sorted(reject["bridge"] for reject in rejects) == [f"nats:ORDERS:{sequence}" for sequence in (4, 5, 6, 7)], rejects


@BOTH
def test_a_restart_goes_on(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 300))
    add(gateway, durable)
    wait_for(lambda: local(gateway), range(1, 301))
    gateway.stop()
    nats.publish("orders.a", numbers(301, 300))
    gateway.start()
    wait_for(lambda: local(gateway), range(1, 601))


@BOTH
def test_the_gateway_is_killed_in_load(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable, batchSize=50, settings={"storage.level.target.import.trigger.count": 500})
    last = 0
    for _ in range(5):
        before = len(local(gateway))
        last = nats.publish("orders.a", numbers(last + 1, 1500))
        wait_until("something is imported", lambda before=before: len(local(gateway)) > before, LONG)
        gateway.kill()
        gateway.start()
    gateway.set("/sources/s/sinks/k", AT_ONCE)
    wait_for(lambda: local(gateway), range(1, last + 1))


@BOTH
def test_the_server_is_killed_in_load(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable, batchSize=50)
    last = 0
    for _ in range(4):
        before = len(local(gateway))
        last = nats.publish("orders.a", numbers(last + 1, 1500))
        wait_until("something is imported", lambda before=before: len(local(gateway)) > before, LONG)
        nats.restart(signal.SIGKILL)
    last = nats.publish("orders.a", numbers(last + 1, 100))
    wait_for(lambda: local(gateway), range(1, last + 1))


@BOTH
def test_a_server_that_is_back_is_in_the_log(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable)
    nats.publish("orders.a", numbers(1, 1))
    wait_for(lambda: local(gateway), [1])
    nats.stop()
    wait_until("its loss is in the log", lambda: '"message":"source s: ' in gateway.log_text(), LONG)
    assert "its broker works again" not in gateway.log_text()
    nats.start()
    wait_until("its return is in the log", lambda: "source s: its broker works again" in gateway.log_text(), LONG)
    nats.publish("orders.a", numbers(2, 1))
    wait_for(lambda: local(gateway), [1, 2])


@BOTH
def test_a_source_that_ends(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 700))
    add(gateway, durable, loop=False)
    wait_for(lambda: local(gateway), range(1, 701))
    finished = "all records that existed at its start are imported"
    wait_until("it is finished", lambda: finished in gateway.log_text(), LONG)
    nats.publish("orders.a", numbers(701, 50))
    gateway.stop()
    gateway.start()
    wait_for(lambda: local(gateway), range(1, 751))
    wait_until("it is finished again", lambda: gateway.log_text().count(finished) == 2, LONG)


@BOTH
def test_a_source_that_is_finished_is_resumed(gateway_factory, nats, durable):
    """It reads what came since; it does so when it is asked to, and once."""
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 100))
    add(gateway, durable, loop=False)

    def resume():
        command = [BINARY, "resume", "s", "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    for last in (200, 300):
        wait_until("it is finished", lambda: status(gateway)["state"] == "finished", LONG)
        assert local(gateway) == list(range(1, last - 99))
        run = status(gateway)["run"]
        nats.publish("orders.a", numbers(last - 99, 100))
        assert resume() == "s: The source was finished, and is read once more.\n"
        assert status(gateway)["run"] > run
        wait_for(lambda: local(gateway), range(1, last + 1))
    wait_until("it is finished", lambda: status(gateway)["state"] == "finished", LONG)
    gateway.change("PUT", "/sources/s/pause")
    assert resume() == "s: resumed\n"
    gateway.change("PUT", "/sources/s/disable")
    assert resume() == "s: The source is neither paused nor finished: nothing was changed.\n"


@BOTH
def test_a_part_of_a_stream(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable, subject="orders.*.eu")
    for n in range(1, 101):
        nats.publish("orders.x.eu" if n % 3 == 0 else "orders.x.us", numbers(n, 1))
    wait_for(lambda: local(gateway), range(3, 101, 3))


@BOTH
def test_a_stream_that_is_not_there_yet(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    nats.delete_stream("ORDERS")
    add(gateway, durable)
    wait_until("it says so", lambda: (status(gateway)["error"] or "").endswith('there is no "ORDERS"'))
    nats.create_stream("ORDERS", ["orders.>"])
    nats.publish("orders.a", numbers(1, 10))
    wait_for(lambda: local(gateway), range(1, 11))


def test_a_subject_that_the_stream_does_not_have(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    add(gateway, "none", subject="elsewhere.>")
    wait_until("it says so", lambda: (status(gateway)["stopped"] or {}).get("id") == "consumerRefused")


@BOTH
def test_a_stream_that_is_made_anew(gateway_factory, nats, durable):
    """Its sequences begin at 1 again: they are other messages, with other ids."""
    columns = [*COLUMNS, {"name": "bridge", "type": "meta", "field": "bridge"}]
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable, columns)
    nats.publish("orders.a", numbers(1, 20))
    wait_for(lambda: local(gateway, "n"), range(1, 21))
    nats.delete_stream("ORDERS")
    nats.create_stream("ORDERS", ["orders.>"])
    nats.publish("orders.a", numbers(101, 40))
    wait_for(lambda: local(gateway, "n"), [*range(1, 21), *range(101, 141)])
    assert sorted(local(gateway)) == sorted([*range(1, 21), *range(1, 41)])
    names = local(gateway, "bridge")
    assert sorted(names) == sorted([*(f"nats:ORDERS:{n}" for n in range(1, 21)), *(f"nats:ORDERS.1:{n}" for n in range(1, 41))])
    gateway.stop()
    gateway.start()
    nats.publish("orders.a", numbers(141, 1))
    wait_for(lambda: local(gateway, "n"), [*range(1, 21), *range(101, 142)])
    assert "nats:ORDERS.1:41" in local(gateway, "bridge")


def test_messages_that_were_removed_before_they_were_read(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 20))
    add(gateway, "none")
    wait_for(lambda: local(gateway), range(1, 21))
    gateway.stop()
    nats.publish("orders.a", numbers(21, 100))
    nats.purge("ORDERS", seq=61)
    gateway.start()
    wait_for(lambda: local(gateway), [*range(1, 21), *range(61, 121)])
    wait_until("it is told", lambda: "the broker has removed 40 records, from offset 21 on" in gateway.log_text())


def test_a_durable_that_is_deleted(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 50))
    add(gateway, "own", startFrom="earliest")
    wait_for(lambda: local(gateway), range(1, 51))
    nats.jetstream("CONSUMER.DELETE.ORDERS.own")
    nats.publish("orders.a", numbers(51, 50))
    wait_for(lambda: local(gateway), range(1, 101))
    gateway.stop()
    nats.jetstream("CONSUMER.DELETE.ORDERS.own")
    nats.publish("orders.a", numbers(101, 50))
    gateway.start()
    wait_for(lambda: local(gateway), range(1, 151))


def test_acks(gateway_factory, nats):
    """What is committed is acknowledged: nothing waits at the server."""
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 500))
    add(gateway, "own", batchSize=600, batchTimeout="2s")
    wait_for(lambda: local(gateway), range(1, 501))
    wait_until("all is acknowledged", lambda: nats.consumer("ORDERS", "own")["ack_floor"]["stream_seq"] == 500)
    settings = nats.consumer("ORDERS", "own")["config"]
    assert settings["ack_wait"] == 32_000_000_000 and settings["max_ack_pending"] >= 1200


def test_a_lost_data_directory(gateway_factory, nats, postgres):
    """Without a durable all that counts is at the destination."""
    table = "nats_lost"
    for turn in range(3):
        gateway = gateway_factory(config(nats, postgres)).start()
        add(gateway, "none", connection="warehouse", table=table)
        nats.publish("orders.a", numbers(turn * 500 + 1, 500))
        wait_until("something is imported", lambda: len(remote(postgres, table)) > turn * 500, LONG)
        gateway.kill()
    gateway = gateway_factory(config(nats, postgres)).start()
    add(gateway, "none", connection="warehouse", table=table)
    wait_for(lambda: remote(postgres, table), range(1, 1501))


def test_two_gateways_without_a_durable(gateway_factory, nats, postgres):
    """The second one is a standby: what it reads is overtaken, whoever is killed."""
    table = "nats_two"
    gateways = [gateway_factory(config(nats, postgres)).start() for _ in range(2)]
    for gateway in gateways:
        add(gateway, "none", connection="warehouse", table=table)
    last = 0
    for turn in range(4):
        last = nats.publish("orders.a", numbers(last + 1, 1000))
        gateways[turn % 2].kill()
        gateways[turn % 2].start()
    wait_for(lambda: remote(postgres, table), range(1, last + 1))


def test_two_gateways_share_a_durable(gateway_factory, nats, postgres):
    """The weaker promise: nothing is lost. What was not acknowledged by the one comes to the other as well, so it may be there twice."""
    table = "nats_shared"
    gateways = [gateway_factory(config(nats, postgres)).start() for _ in range(2)]
    for gateway in gateways:
        add(gateway, "own", connection="warehouse", table=table)
    last = nats.publish("orders.a", numbers(1, 3000))
    wait_until("rows", lambda: len(set(remote(postgres, table))) == last, LONG)
    assert remote(postgres, table) == list(range(1, last + 1))  # nobody was killed
    for gateway in gateways:
        last = nats.publish("orders.a", numbers(last + 1, 1000))
        gateway.kill()
        gateway.start()
    wait_until("rows", lambda: len(set(remote(postgres, table))) == last, LONG)


def test_where_it_is(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 50))
    add(gateway, "none")
    wait_for(lambda: local(gateway), range(1, 51))

    def has_read_all():
        parts = status(gateway)["partitions"]
        return parts and parts[0]["lag"] == 0

    wait_until("its lag is 0", has_read_all)
    found = status(gateway)
    assert (found["state"], found["type"], found["cluster"]) == ("running", "nats", "nats:events")
    part = found["partitions"][0]
    assert (part["topic"], part["partition"], part["read"], part["first"], part["end"]) == ("ORDERS", 0, 51, 1, 51)


def test_a_seek(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 50))
    add(gateway, "none")
    wait_for(lambda: local(gateway), range(1, 51))
    seek = "/sources/s/bridge/seek"
    assert gateway.api("POST", seek, {"to": {"offset": 41}}).status == 409
    answer = gateway.api("POST", seek + "?duplicates=true", {"to": {"offset": 41}}, expect=200).json
    assert answer["sinks"][0]["done"]
    wait_for(lambda: local(gateway), sorted([*range(1, 51), *range(41, 51)]))


def test_a_seek_of_a_durable_is_refused(gateway_factory, nats):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 50))
    add(gateway, "own")
    wait_for(lambda: local(gateway), range(1, 51))
    answer = gateway.api("POST", "/sources/s/bridge/seek?duplicates=true", {"to": "earliest"})
    assert answer.status in (400, 409, 422) and "durable" in answer.json["message"], answer


@BOTH
def test_a_message_that_is_refused(gateway_factory, nats, durable):
    """A sink with `reject`: the stream stops there until somebody skips it."""
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", [*numbers(1, 20), "{", *numbers(22, 20)])
    add(gateway, durable, sink={"onInvalid": "reject"})
    wait_until("it stops", lambda: (status(gateway)["stopped"] or {}).get("id") == "poisonRecord")
    assert status(gateway)["stopped"]["offset"] == 21
    wait_for(lambda: local(gateway), range(1, 21))
    skip = {"topic": "ORDERS", "partition": 0, "offset": 21}
    assert gateway.api("POST", "/sources/s/bridge/skip", {**skip, "offset": 20}).status == 409
    gateway.api("POST", "/sources/s/bridge/skip", skip, expect=200)
    wait_for(lambda: local(gateway), [*range(1, 21), *range(22, 42)], 20)


@BOTH
def test_a_pause(gateway_factory, nats, durable):
    gateway = gateway_factory(config(nats)).start()
    nats.publish("orders.a", numbers(1, 50))
    add(gateway, durable)
    wait_for(lambda: local(gateway), range(1, 51))
    gateway.change("PUT", "/sources/s/pause")
    wait_until("it is paused", lambda: status(gateway)["state"] == "paused")
    nats.publish("orders.a", numbers(51, 50))
    gateway.change("PUT", "/sources/s/resume")
    wait_for(lambda: local(gateway), range(1, 101))


@BOTH
@pytest.mark.threads
def test_a_stop_while_the_server_hangs(gateway_factory, nats, durable):
    """In load, and while it is asked for the stream: nothing waits for it, and nothing leaks."""
    gateway = gateway_factory(config(nats)).start()
    add(gateway, durable)
    for turn in range(2):
        nats.publish("orders.a", numbers(turn * 3000 + 1, 3000))
        wait_until("something is imported", lambda turn=turn: len(local(gateway)) > turn * 3000, LONG)
        nats.process.send_signal(signal.SIGSTOP)
        try:
            if turn == 1:
                gateway.stop()
                gateway.start()
                wait_until("it asks", lambda: status(gateway)["state"] == "starting")
            began = time.monotonic()
            gateway.stop()
            assert time.monotonic() - began < 40
        finally:
            nats.process.send_signal(signal.SIGCONT)
        gateway.start()
        wait_for(lambda: local(gateway), range(1, turn * 3000 + 3001))


@BOTH
def test_the_leader_of_a_stream_is_killed(gateway_factory, durable, monkeypatch):
    """A cluster of three: what is read goes on with another leader.

    What counts is what the stream has in the end.
    """
    gone = {"gone": True}  # the answer of a stream that has no message of a number
    routes = [free_port() for _ in range(3)]
    urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    servers = []
    try:
        for number, port in enumerate(routes):
            settings = f'server_name: n{number}\ncluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{urls}] }}'
            servers.append(Nats(settings, login=None))
        for server in servers:
            server.login = {}
        monkeypatch.setattr(nats_server, "DEADLINE", 3)  # a node without a leader does not answer

        def ask(what, body=None):
            for server in servers:
                try:
                    if server.process:
                        return server.jetstream(what, body)
                except (OSError, NatsError, ValueError) as problem:
                    server.disconnect()
                    if "no message found" in str(problem):
                        return gone
            return None

        stream = {"name": "ORDERS", "subjects": ["orders.>"], "storage": "file", "retention": "limits", "num_replicas": 3}
        wait_until("the stream is made", lambda: ask("STREAM.INFO.ORDERS") or ask("STREAM.CREATE.ORDERS", stream))

        def publish(first, count):
            """Each number once: what has no answer may be there all the same, and is told by its id."""

            def sent(number):
                for server in servers:
                    try:
                        if server.process:
                            return server.publish("orders.a", numbers(number, 1), [("Nats-Msg-Id", str(number))])
                    except (OSError, NatsError, ValueError, KeyError):
                        server.disconnect()
                return None

            for number in range(first, first + count):
                wait_until("it is published", lambda number=number: sent(number))

        def in_the_stream():
            """The numbers of all its messages, or None while nobody says."""
            last = (ask("STREAM.INFO.ORDERS") or {}).get("state", {}).get("last_seq", 0)
            found = []
            for sequence in range(1, last + 1):
                message = ask("STREAM.MSG.GET.ORDERS", {"seq": sequence})
                if message == gone:
                    continue
                if not message:
                    return None
                found.append(json.loads(base64.b64decode(message["message"]["data"]))["n"])
            return sorted(found)

        def all_are_rows(published):
            """What a server that was just elected says may not last, so both are asked again."""
            there, rows = in_the_stream(), local(gateway, "n")
            assert set(rows) <= set(range(1, published + 1)) and len(rows) == len(set(rows))
            # A message that was read, and that the next leader does not have, is a row all the same.
            return there is not None and len(there) >= 0.95 * published and set(there) <= set(rows)

        text = ",".join(server.uri for server in servers)
        gateway = gateway_factory(f'connections:\n  events: {{type: nats, servers: "{text}"}}\n').start()
        publish(1, 50)
        add(gateway, durable, batchSize=10)
        wait_until("rows", lambda: len(local(gateway)) == 50)
        for turn in range(2):
            leader = wait_until("there is a leader", lambda: (ask("STREAM.INFO.ORDERS") or {}).get("cluster", {}).get("leader"))
            victim = servers[int(leader[1:])]
            publish(51 + 100 * turn, 50)
            victim.stop(signal.SIGKILL)
            publish(101 + 100 * turn, 50)
            try:
                wait_until("rows", lambda turn=turn: all_are_rows(150 + 100 * turn), LONG)
            except AssertionError:
                there, rows = in_the_stream() or [], local(gateway, "n")
                raise AssertionError(f"{len(there)} are there; no rows {sorted(set(there) - set(rows))}, only rows {sorted(set(rows) - set(there))}") from None
            monkeypatch.setattr(nats_server, "DEADLINE", 60)
            victim.login = None
            victim.start()
            monkeypatch.setattr(nats_server, "DEADLINE", 3)
            victim.login = {}
        wait_until("rows", lambda: all_are_rows(250), LONG)
    finally:
        for server in servers:
            server.close()
