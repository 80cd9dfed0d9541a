"""What a change of a source of type nats means for what it reads, on a real server: pauses, sinks that come and go, another key of its positions."""

import pathlib
import subprocess
import sys

import pytest
from sluice import BINARY, wait_until

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "services"))

from nats_server import Nats  # noqa: E402

AT_ONCE = {"storage.level.staging.upload.trigger.count": 1, "storage.level.target.import.trigger.count": 1}
COLUMNS = [{"name": "message", "type": "meta", "field": "bridge"}, {"name": "body", "type": "body"}]
KINDS = ["none", "reader"]  # without a durable consumer, and with one


@pytest.fixture
def server():
    made = Nats()
    for stream in ("ORDERS", "OTHERS"):
        made.create_stream(stream, [stream.lower() + ".>"])
    yield made
    made.close()


@pytest.fixture
def gateway(gateway_factory, server):
    return gateway_factory(f'connections:\n  jet: {{type: nats, servers: "{server.uri}"}}\n').start()


def add(gateway, durable, *sinks, **nats):
    gateway.change("POST", "/sources", {"sourceId": "s", "type": "nats", "nats": {"connection": "jet", "stream": "ORDERS", "durable": durable, **nats}})
    for sink in sinks:
        gateway.add_sink("s", sink, COLUMNS, settings=AT_ONCE)


def bodies(gateway, sink="k"):
    """In the order in which they were imported."""
    return [row[0] for row in gateway.rows(f'SELECT body FROM "{sink}" ORDER BY rowid')]


def wait_bodies(gateway, expected, sink="k"):
    try:
        wait_until("the rows are there", lambda: len(bodies(gateway, sink)) >= len(expected))
    finally:
        assert bodies(gateway, sink) == expected, gateway.log_text()[-3000:]


def reads_nothing(gateway, server, subject, sink="k"):
    """What is published now is not there while another source, which is begun now, has read it."""
    before = bodies(gateway, sink)
    server.publish(subject, ["unread"])
    gateway.change("POST", "/sources", {"sourceId": "w", "type": "nats", "nats": {"connection": "jet", "stream": "ORDERS", "durable": "none"}})
    gateway.add_sink("w", "w", COLUMNS, settings=AT_ONCE)
    wait_until("the other source has read it", lambda: "unread" in bodies(gateway, "w"))
    gateway.change("DELETE", "/sources/w?discard=true")
    assert bodies(gateway, sink) == before


@pytest.mark.parametrize("durable", KINDS)
def test_a_pause_ends_reading_also_behind_a_restart(gateway, server, durable):
    add(gateway, durable, "k")
    server.publish("orders.a", ["1", "2"])
    wait_bodies(gateway, ["1", "2"])
    task = gateway.change("PUT", "/sources/s/pause")
    assert task["result"] == "The source is paused: nothing is read, and no import of its sinks starts."
    reads_nothing(gateway, server, "orders.a")
    gateway.stop()
    gateway.start()
    assert gateway.api("GET", "/sources/s", expect=200).json["paused"]["by"] == "admin.token"
    assert bodies(gateway) == ["1", "2"]
    gateway.change("PUT", "/sources/s/resume")
    wait_bodies(gateway, ["1", "2", "unread"])
    server.publish("orders.a", ["3"])
    wait_bodies(gateway, ["1", "2", "unread", "3"])


def test_a_disabled_sink_goes_on_where_it_stopped(gateway, server):
    add(gateway, "none", "k", "l")
    server.publish("orders.a", ["1"])
    for sink in "kl":
        wait_bodies(gateway, ["1"], sink)
    result = gateway.change("PUT", "/sources/s/sinks/k/disable")["result"]
    assert result.endswith("When it is enabled again, it continues where it stopped."), result
    server.publish("orders.a", ["2", "3"])
    wait_bodies(gateway, ["1", "2", "3"], "l")
    result = gateway.change("PUT", "/sources/s/sinks/l/disable")["result"]
    assert result.endswith("nothing is read, and new records wait in the broker."), result
    server.publish("orders.a", ["4"])
    gateway.change("PUT", "/sources/s/sinks/k/enable")
    wait_bodies(gateway, ["1", "2", "3", "4"], "k")
    assert bodies(gateway, "l") == ["1", "2", "3"]
    gateway.change("PUT", "/sources/s/sinks/l/enable")
    wait_bodies(gateway, ["1", "2", "3", "4"], "l")


def test_another_key_starts_anew(gateway, server):
    add(gateway, "reader", "k")
    server.publish("orders.a", ["1", "2"])
    server.publish("others.a", ["9"])
    wait_bodies(gateway, ["1", "2"])
    result = gateway.change("PATCH", "/sources/s", {"nats": {"batchSize": 7, "startFrom": "latest"}})["result"]
    assert result == 'The source is changed. Its "startFrom" is used only where nothing was read yet.'
    server.publish("orders.a", ["3"])
    wait_bodies(gateway, ["1", "2", "3"])
    result = gateway.change("PATCH", "/sources/s", {"nats": {"durable": "second", "startFrom": {"sequence": 2}}})["result"]
    assert '"nats.durable", which has changed: it starts again' in result, result
    wait_bodies(gateway, ["1", "2", "3", "2", "3"])
    result = gateway.change("PATCH", "/sources/s", {"nats": {"stream": "OTHERS", "startFrom": "earliest"}})["result"]
    assert '"nats.stream", which has changed' in result, result
    wait_bodies(gateway, ["1", "2", "3", "2", "3", "9"])
    result = gateway.change("PATCH", "/sources/s", {"nats": {"stream": "ORDERS", "durable": "reader"}})["result"]
    server.publish("orders.a", ["4"])
    wait_bodies(gateway, ["1", "2", "3", "2", "3", "9", "4"])  # read under that before


def test_apply_says_it_before_and_after(gateway, server, tmp_path):
    add(gateway, "none", "k")
    server.publish("orders.a", ["1"])
    wait_bodies(gateway, ["1"])
    (tmp_path / "s.yaml").write_text("kind: source\nsourceId: s\ntype: nats\nnats: {connection: jet, stream: OTHERS, durable: none}\n")
    for more in (["--dry-run"], []):
        command = [BINARY, "apply", "-f", str(tmp_path / "s.yaml"), "--admin", f"http://{gateway.admin}", "--data", str(gateway.data), *more]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert told.returncode == 0, told
        assert '~ s: nats.stream\n  s: What it has read is recorded by "nats.stream", which has changed: it starts again' in told.stdout, told
    server.publish("others.a", ["9"])
    wait_bodies(gateway, ["1", "9"])


@pytest.mark.parametrize("value, body, stored", [("json", '{"a": 1}', '{"a": 1}'), ("text", "plain \u00fc", "plain \u00fc"), ("bytes", b"\xff\x00", "/wA=")])
def test_what_a_value_is(gateway, server, value, body, stored):
    add(gateway, "none", "k", value=value)
    server.publish("orders.a", [body])
    wait_bodies(gateway, [stored])


def test_a_connection_that_the_config_file_has_no_more(gateway, server):
    """Its source says so, and goes on when it is back."""
    add(gateway, "none", "k")
    server.publish("orders.a", ["1"])
    wait_bodies(gateway, ["1"])
    right = gateway.config.read_text()
    other = 'connections: {jet: {type: postgres, uri: "postgresql://nobody@127.0.0.1:1/none"}}\n'
    for text, says in ((other, 'connection "jet" is of type postgres, not nats'), ("", 'there is no connection "jet"')):
        gateway.stop()
        gateway.config.write_text(text)
        gateway.start()

        def told():
            answer = gateway.api("GET", "/sources/s/bridge")
            return answer.status == 200 and says in str(answer.json)

        wait_until(f"the source says: {says}", told)
    gateway.stop()
    gateway.config.write_text(right)
    gateway.start()
    server.publish("orders.a", ["2"])
    wait_bodies(gateway, ["1", "2"])


def test_a_new_sink_and_another_table_miss_nothing_of_what_comes_then(gateway, server):
    add(gateway, "none", "k")
    server.publish("orders.a", ["1", "2"])
    wait_bodies(gateway, ["1", "2"])
    gateway.add_sink("s", "l", COLUMNS, settings=AT_ONCE)
    server.publish("orders.a", ["3"])
    wait_bodies(gateway, ["3"], "l")
    wait_bodies(gateway, ["1", "2", "3"])
    result = gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"tableId": "kk"}})["result"]
    assert "Positions belong to the table" in result, result
    server.publish("orders.a", ["4"])
    wait_bodies(gateway, ["4"], "kk")
    wait_bodies(gateway, ["3", "4"], "l")
    gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"tableId": "k"}})
    wait_bodies(gateway, ["1", "2", "3", "4"])  # it stands behind 3 there
    assert bodies(gateway, "kk") == ["4"]


def test_another_table_goes_on_behind_the_old_one(gateway, server):
    """Also when nobody reads for the sink then: paused, disabled, and with a start between the change and the first claim."""
    add(gateway, "none", "k")
    gateway.add_sink("s", "l", COLUMNS, settings=AT_ONCE)
    server.publish("orders.a", ["1", "2"])
    wait_bodies(gateway, ["1", "2"])
    gateway.change("PUT", "/sources/s/pause")
    server.publish("orders.a", ["3"])
    gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"tableId": "k2"}})
    gateway.kill()
    gateway.start()
    gateway.change("PUT", "/sources/s/resume")
    server.publish("orders.a", ["4"])
    wait_bodies(gateway, ["3", "4"], "k2")
    gateway.change("PUT", "/sources/s/sinks/k/disable")
    server.publish("orders.a", ["5"])
    gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"tableId": "k3"}})
    wait_bodies(gateway, ["1", "2", "3", "4", "5"], "l")
    gateway.change("PUT", "/sources/s/sinks/k/enable")
    server.publish("orders.a", ["6"])
    wait_bodies(gateway, ["5", "6"], "k3")
    assert (bodies(gateway), bodies(gateway, "k2")) == (["1", "2"], ["3", "4"])


def test_where_a_new_sink_begins(gateway, server):
    add(gateway, "none", "k")
    server.publish("orders.a", ["1", "2"])
    wait_bodies(gateway, ["1", "2"])
    gateway.change("PUT", "/sources/s/pause")
    server.publish("orders.a", ["3"])
    for sink, start in (("present", {}), ("first", {"startFrom": "earliest"}), ("last", {"startFrom": "latest"}), ("second", {"startFrom": {"sequence": 2}})):
        table = {"tableId": sink, "mapping": {"columns": COLUMNS}}
        gateway.change("POST", "/sources/s/sinks", {"sinkId": sink, "table": table, **start})
        gateway.set(f"/sources/s/sinks/{sink}", AT_ONCE)
    gateway.kill()
    gateway.start()
    gateway.change("PUT", "/sources/s/resume")
    for sink, expected in (("present", ["3"]), ("first", ["1", "2", "3"]), ("second", ["2", "3"])):
        wait_bodies(gateway, expected, sink)
    positions = "SELECT count(*) FROM _sluice_positions WHERE table_name LIKE '%last'"
    wait_until("the last one has begun", lambda: gateway.rows(positions) == [(1,)])
    server.publish("orders.a", ["4"])
    wait_bodies(gateway, ["4"], "last")
    wait_bodies(gateway, ["3", "4"], "present")


def test_a_renamed_table_keeps_its_positions(gateway, server):
    add(gateway, "none", "k")
    server.publish("orders.a", ["1", "2"])
    wait_bodies(gateway, ["1", "2"])
    gateway.change("PUT", "/sources/s/sinks/k/disable")
    server.publish("orders.a", ["3"])
    gateway.change("PATCH", "/sources/s/sinks/k?positions=keep", {"table": {"tableId": "renamed"}})
    positions = gateway.rows("SELECT next_offset FROM _sluice_positions ORDER BY table_name")
    assert positions == [(3,), (3,)]
    gateway.change("PUT", "/sources/s/sinks/k/enable")
    wait_bodies(gateway, ["3"], "renamed")
    assert bodies(gateway) == ["1", "2"]
