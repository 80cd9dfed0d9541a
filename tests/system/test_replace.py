"""Tables that are replaced: each run of a source that ends brings all of its rows at once, or none of them."""

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from sluice import AT_ONCE, BINARY, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from nats_server import Nats  # noqa: E402

LONG = 150
ROUNDS = int(os.environ.get("SLUICE_REPLACE_ROUNDS", "20"))
SEED = int(os.environ.get("SLUICE_SEED", "1"))
COLUMNS = [
    {"name": "q", "type": "meta", "field": "sequence", "dataType": "integer"},
    {"name": "g", "type": "path", "path": "g", "dataType": "integer"},
    {"name": "n", "type": "path", "path": "n", "dataType": "integer"},
]
KEYED = [{"name": "n", "type": "path", "path": "n", "dataType": "integer", "primaryKey": True}, *COLUMNS[:2]]


@pytest.fixture
def nats():
    server = Nats("max_payload: 16MB")
    server.create_stream("ORDERS", ["orders.>"])
    yield server
    server.close()


class Place:
    """A gateway that reads the stream into table t of a destination."""

    def __init__(self, nats, gateway, connection, rows):
        self.nats, self.gateway, self.connection, self.rows = nats, gateway, connection, rows

    def add(self, columns=COLUMNS, **table):
        nats = {"connection": "events", "stream": "ORDERS", "durable": "none", "loop": False}
        self.gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "nats", "nats": nats})
        table = {"connection": self.connection, "tableId": "t", "strategy": "replace", "mapping": {"columns": columns}, **table}
        self.gateway.change("POST", "/sources/s/sinks", {"sinkId": "k", "name": "k", "type": "table", "table": table})
        self.gateway.set("/sources/s/sinks/k", AT_ONCE)

    def publish(self, generation, count):
        self.nats.publish("orders.a", [json.dumps({"g": generation, "n": n}) for n in range(count)])

    def put(self, generation, count):
        """The stream has these messages, and no others."""
        self.nats.purge("ORDERS")
        self.publish(generation, count)

    def bridge(self):
        answer = self.gateway.api("GET", "/sources/s/bridge").json
        return {"state": None, "reason": None, "run": None, "sinks": [], **answer}

    def run(self):
        return {"state": None, **self.bridge()["sinks"][0].get("run", {})}

    def wait_finished(self, run="replaced"):
        wait_until(f"it is finished: {run}", lambda: self.bridge()["state"] == "finished" and self.run()["state"] == run, LONG)

    def resume(self):
        assert "read once more" in self.gateway.change("PUT", "/sources/s/resume")["result"]

    def write(self, statement):
        if self.connection != "local":
            self.rows(statement)
            return
        database = sqlite3.connect(self.gateway.data / "tables.db", timeout=30, isolation_level=None)
        database.execute(statement)
        database.close()

    def waiting(self):
        """Rows that wait in the gateway."""
        levels = self.gateway.statistics("s", "k")["levels"]
        return levels["local"]["recordsCount"] + levels["staging"]["recordsCount"]

    def have(self):
        return self.rows("SELECT g, n FROM t ORDER BY n, g")

    def sides(self):
        if self.connection == "local":
            return self.rows("SELECT name FROM sqlite_master WHERE name LIKE '%\\_\\_replace' ESCAPE '\\'")
        return self.rows("SELECT relname FROM pg_class WHERE relname LIKE '%\\_\\_replace'")


def config(nats, postgres=None):
    text = f'connections:\n  events: {{type: nats, servers: "{nats.uri}"}}\n'
    return text + (f'  warehouse: {{type: postgres, uri: "{postgres.uri}"}}\n' if postgres else "")


def clean(postgres):
    postgres.rows("DROP TABLE IF EXISTS u, t, u__replace, t__replace CASCADE")
    postgres.rows("DROP SCHEMA IF EXISTS sluice CASCADE")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, gateway_factory, nats):
    if request.param == "sqlite":
        gateway = gateway_factory(config(nats)).start()
        yield Place(nats, gateway, "local", gateway.rows)
        return
    postgres = request.getfixturevalue("postgres")
    clean(postgres)
    yield Place(nats, gateway_factory(config(nats, postgres)).start(), "warehouse", postgres.rows)
    clean(postgres)


def rows_of(generation, count):
    return [(generation, n) for n in range(count)]


def test_each_run_replaces_the_rows(place):
    place.put(1, 300)
    place.add()
    place.wait_finished()
    assert place.have() == rows_of(1, 300)
    assert place.run()["rows"] == 300 and place.run()["at"]
    assert place.sides() == []
    place.write("INSERT INTO t (g, n) VALUES (7, 7)")
    place.put(2, 40)

    # Neither of these begins a run.
    source = place.gateway.api("GET", "/sources/s").json
    manifest = {"type": "nats", "nats": source["nats"]}
    assert place.gateway.change("PUT", "/sources/s/manifest", manifest)["result"] == "Nothing was changed."
    place.gateway.change("PUT", "/sources/s/pause")
    place.gateway.change("PUT", "/sources/s/resume")
    place.wait_finished()
    place.gateway.stop()
    place.gateway.start()
    place.wait_finished()
    assert (7, 7) in place.have() and len(place.have()) == 301
    assert place.bridge()["run"] == source["run"]

    place.resume()
    wait_until("the next run", lambda: place.have() == rows_of(2, 40), LONG)
    place.wait_finished()
    assert place.bridge()["run"] > source["run"] and place.sides() == []
    assert "40 rows have replaced those of table" in place.gateway.log_text()
    positions = "_sluice_positions" if place.connection == "local" else "sluice.positions"
    groups = {group for (group,) in place.rows(f"SELECT group_id FROM {positions} WHERE group_id <> ''")}
    assert len(groups) == 1, groups


def test_a_changed_definition_is_another_run(place):
    place.put(1, 30)
    place.add()
    place.wait_finished()
    run = place.bridge()["run"]
    place.gateway.change("PATCH", "/sources/s", {"description": "other words"})
    assert place.bridge()["run"] == run
    place.put(2, 20)
    place.gateway.change("PATCH", "/sources/s", {"nats": {"subject": "orders.a"}})
    wait_until("the next run", lambda: place.have() == rows_of(2, 20), LONG)
    place.wait_finished()
    assert place.bridge()["run"] > run


def test_a_run_without_rows(place):
    place.put(1, 30)
    place.add()
    place.wait_finished()
    place.nats.purge("ORDERS")
    place.resume()
    place.wait_finished("empty")
    assert place.have() == rows_of(1, 30)
    assert "allowEmpty" in place.bridge()["reason"]
    status = [BINARY, "status", "--admin", f"http://{place.gateway.admin}", "--data", str(place.gateway.data)]
    assert "the table keeps its rows" in subprocess.run(status, capture_output=True, text=True, timeout=60).stdout
    place.gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"allowEmpty": True}})
    place.wait_finished()
    assert place.have() == [] and place.run()["rows"] == 0


def test_no_other_sink_uses_the_side_table(place):
    gateway = place.gateway
    place.add(tableId="u")
    gateway.add_source("h")

    def sink(table):
        table = {"connection": place.connection, "tableId": table, "mapping": {"columns": COLUMNS[1:]}}
        return {"sinkId": "x", "name": "x", "type": "table", "table": table}

    answer = gateway.api("POST", "/sources/h/sinks", sink("u__replace"))
    assert answer.status == 409 and "side table" in answer.json["message"], answer
    # The other way round as well.
    gateway.change("POST", "/sources/h/sinks", sink("t__replace"))
    answer = gateway.api("PATCH", "/sources/s/sinks/k", {"table": {"tableId": "t"}})
    assert answer.status == 409 and "side table" in answer.json["message"], answer
    place.write("DROP TABLE t__replace")


def test_a_table_of_runs_is_not_appended_to(place):
    """Its rows would be read once more."""
    place.put(1, 30)
    place.add()
    place.wait_finished()
    answer = place.gateway.api("PATCH", "/sources/s/sinks/k", {"table": {"strategy": "append"}})
    assert answer.status == 400 and "would be stored twice" in answer.json["message"], answer
    assert place.have() == rows_of(1, 30)
    place.gateway.change("PATCH", "/sources/s/sinks/k", {"table": {"strategy": "append", "tableId": "u"}})


def test_rows_with_one_key(place):
    place.publish(1, 30)
    place.publish(2, 20)
    place.add(KEYED)
    place.wait_finished()
    assert place.have() == [(2, n) for n in range(20)] + [(1, n) for n in range(20, 30)]


def test_a_run_that_is_resumed_before_it_ends(place):
    """What was collected of the run before is dropped; its files are left out."""
    place.put(1, 50)
    place.add()
    place.wait_finished()
    place.put(2, 3000)
    place.gateway.change("PUT", "/sources/s/sinks/k/pause")
    place.resume()
    wait_until("rows wait", lambda: place.waiting() == 3000, LONG)
    place.put(3, 60)
    place.gateway.change("PATCH", "/sources/s", {"nats": {"batchSize": 50}})
    place.gateway.change("PUT", "/sources/s/sinks/k/resume")
    wait_until("the last run", lambda: place.have() == rows_of(3, 60), LONG)
    place.wait_finished()
    assert place.waiting() == 0


def test_a_side_table_that_somebody_drops_is_collected_anew(place):
    place.put(1, 50)
    place.add()
    place.wait_finished()
    place.put(2, 60)
    place.gateway.change("PUT", "/sources/s/sinks/k/pause")
    place.resume()
    wait_until("rows wait", lambda: place.waiting() == 60 and place.sides(), LONG)
    place.write("DROP TABLE t__replace")
    place.gateway.change("PUT", "/sources/s/sinks/k/resume")
    wait_until("the run ends", lambda: place.have() == rows_of(2, 60), LONG)
    place.wait_finished()


def make_stream_anew(nats):
    nats.delete_stream("ORDERS")
    nats.create_stream("ORDERS", ["orders.>"])


@pytest.mark.parametrize("meanwhile", ["sink paused", "gateway down"])
def test_a_stream_that_is_made_anew_in_a_run_begins_another_one(place, meanwhile):
    """The rows of the former stream, or of both, replace nothing."""
    place.put(1, 30)
    place.add()
    place.wait_finished()
    place.gateway.change("PUT", "/sources/s/sinks/k/pause")
    place.put(2, 50)
    place.resume()
    wait_until("rows wait", lambda: place.waiting() == 50 and place.sides(), LONG)
    run = place.bridge()["run"]
    if meanwhile == "gateway down":
        place.gateway.stop()
    make_stream_anew(place.nats)
    place.publish(5, 7)
    if meanwhile == "gateway down":
        place.gateway.start()
    place.gateway.change("PUT", "/sources/s/sinks/k/resume")
    wait_until("the last run", lambda: place.have() == rows_of(5, 7), LONG)
    place.wait_finished()
    assert place.bridge()["run"] > run and place.run()["rows"] == 7 and place.sides() == []
    assert "another run begins" in place.gateway.log_text()
    assert place.gateway.api("GET", "/sources/s").json["version"]["description"] == "another run, since a topic was created again"


def left_at_destination(place):
    """Positions and marks of runs, and side tables."""
    positions = "_sluice_positions" if place.connection == "local" else "sluice.positions"
    return place.sides() + place.rows(f"SELECT group_id, topic FROM {positions} WHERE group_id LIKE '%#%' OR group_id = ''")


def begin_run_that_waits(place):
    """A run is done, and the next one has its rows in the gateway."""
    place.put(1, 30)
    place.add()
    place.wait_finished()
    place.put(2, 50)
    place.gateway.change("PUT", "/sources/s/sinks/k/pause")
    place.resume()
    wait_until("rows wait", lambda: place.waiting() == 50 and place.sides(), LONG)


@pytest.mark.parametrize("change", [{"strategy": "merge"}, {"tableId": "u"}])
def test_a_table_that_is_replaced_no_more_keeps_nothing_of_runs(place, change):
    begin_run_that_waits(place)
    if "strategy" in change:
        change = {**change, "mapping": {"columns": KEYED}, "tableId": "u"}
    place.gateway.change("PATCH", "/sources/s/sinks/k", {"table": change})
    place.gateway.change("PUT", "/sources/s/sinks/k/resume")
    wait_until("the new table", lambda: len(place.rows("SELECT n FROM u")) == 50, LONG)
    place.wait_finished("replaced" if "strategy" not in change else None)
    table = "t" if place.connection == "local" else "public.t"
    positions = "_sluice_positions" if place.connection == "local" else "sluice.positions"
    wait_until("nothing is left", lambda: place.rows(f"SELECT * FROM {positions} WHERE table_name = '{table}'") == [], LONG)
    assert place.sides() == [] and place.have() == rows_of(1, 30)


@pytest.mark.parametrize("of", ["/sources/s/sinks/k", "/sources/s"])
def test_a_deletion_in_a_run_leaves_no_side_table(place, of):
    begin_run_that_waits(place)
    place.gateway.change("DELETE", of)
    wait_until("the side table is gone", lambda: place.sides() == [], LONG)
    assert len(left_at_destination(place)) == 1, "the mark of the run that is done"
    place.gateway.change("PUT", f"{of}/undelete")
    wait_until("the run is collected anew", lambda: place.have() == rows_of(2, 50), LONG)
    place.wait_finished()


@pytest.mark.parametrize("method, body", [("DELETE", None), ("PATCH", {"table": {"connection": "local"}})])
def test_a_destination_that_is_down_is_cleared_later(gateway_factory, nats, postgres, method, body):
    clean(postgres)
    gateway = gateway_factory(config(nats, postgres)).start()
    place = Place(nats, gateway, "warehouse", postgres.rows)
    begin_run_that_waits(place)
    postgres.stop()
    try:
        gateway.change(method, "/sources/s/sinks/k", body)  # it holds up nothing
        wait_until("it says so", lambda: "cannot be removed yet" in gateway.log_text(), LONG)
    finally:
        postgres.start()
    gateway.stop()
    gateway.start()
    wait_until("the side table is gone", lambda: place.sides() == [], LONG)
    clean(postgres)


class Reader(threading.Thread):
    """Looks at the table all the time: it has the rows of one run, all of them."""

    def __init__(self, place, count):
        super().__init__()
        self.place, self.count, self.looks, self.wrong, self.ends = place, count, 0, [], threading.Event()
        self.start()

    def run(self):
        while not self.ends.is_set():
            try:
                seen = self.place.rows("SELECT count(*), min(g), max(g), sum(n) FROM t")[0]
            except Exception as error:  # a locked SQLite file; a table that is not there yet
                if "locked" in str(error) or "does not exist" in str(error) or "no such table" in str(error):
                    continue
                self.wrong.append(repr(error))
                return
            self.looks += 1
            if seen[0] != 0 and (seen[0] != self.count or seen[1] != seen[2] or seen[3] != self.count * (self.count - 1) // 2):
                self.wrong.append(seen)
            if seen[0] == 0 and self.looks > 1 and self.was_full:
                self.wrong.append("empty")
            self.was_full = seen[0] > 0
            time.sleep(0.005)

    was_full = False

    def stop(self):
        self.ends.set()
        self.join()
        assert self.wrong == [] and self.looks > 10, (self.wrong[:5], self.looks)


def test_readers_see_whole_runs_while_the_gateway_is_killed(place):
    chance = random.Random(SEED)
    count = 1500
    place.put(0, count)
    place.add()
    place.wait_finished()
    reader = Reader(place, count)
    until = time.monotonic() + 240
    try:
        for generation in range(1, ROUNDS + 1):
            place.put(generation, count)
            place.resume()
            time.sleep(chance.random() * 1.5)
            place.gateway.kill()
            place.gateway.start()
            wait_until(f"run {generation}", lambda: place.have() == rows_of(generation, count), LONG)
            place.wait_finished()
            if time.monotonic() > until:
                break
    finally:
        reader.stop()
    assert place.sides() == []


@pytest.mark.parametrize("failpoint", ["loader.before-swap", "loader.after-swap"])
def test_killed_at_the_swap(gateway_factory, nats, postgres, failpoint):
    clean(postgres)
    gateway = gateway_factory(config(nats, postgres)).start()
    place = Place(nats, gateway, "warehouse", postgres.rows)
    place.put(1, 200)
    place.add()
    place.wait_finished()
    place.put(2, 300)
    gateway.stop()
    gateway.start(environment={"SLUICE_FAILPOINTS": f"{failpoint}=crash"})
    place.wait_finished()
    gateway.api("PUT", "/sources/s/resume", wait=0)
    wait_until("it is killed", lambda: gateway.process.poll() is not None, LONG)
    assert place.have() == (rows_of(2, 300) if "after" in failpoint else rows_of(1, 200))
    gateway.process = None
    gateway.start()
    place.wait_finished()
    assert place.have() == rows_of(2, 300)
    clean(postgres)


@pytest.fixture
def refusing(gateway_factory, nats, postgres):
    """A table with the rows of a run, of which the next swap is to be refused."""
    clean(postgres)
    place = Place(nats, gateway_factory(config(nats, postgres)).start(), "warehouse", postgres.rows)
    place.put(1, 10)
    place.add(KEYED)
    place.wait_finished()
    yield place
    clean(postgres)


def test_rows_of_other_tables_do_not_go_along(refusing, postgres):
    place = refusing
    postgres.rows("CREATE TABLE u (n bigint REFERENCES t (n) ON DELETE CASCADE)")
    postgres.rows("INSERT INTO u VALUES (3)")
    place.put(2, 20)
    place.resume()
    wait_until("it says so", lambda: "ON DELETE CASCADE" in (place.bridge()["reason"] or ""), LONG)
    assert place.have() == rows_of(1, 10) and postgres.rows("SELECT n FROM u") == [(3,)]
    postgres.rows("DROP TABLE u")
    wait_until("the next run", lambda: place.have() == rows_of(2, 20), LONG)
    place.wait_finished()


def test_a_run_that_a_trigger_swallows_says_so(place):
    place.put(1, 30)
    place.add()
    place.wait_finished()
    if place.connection == "local":
        place.write("CREATE TRIGGER no BEFORE INSERT ON t BEGIN SELECT RAISE(IGNORE); END")
    else:
        place.write("CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        place.write("CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()")
    place.put(2, 20)
    place.resume()
    place.wait_finished("empty")
    assert "has stored none of the 20 rows of the run" in place.bridge()["reason"]
    assert place.have() == rows_of(1, 30) and "stored none of the 20 rows" in place.gateway.log_text()


def test_masked_values_replace_the_rows(place):
    place.put(1, 30)
    place.add([*COLUMNS[:2], {**COLUMNS[2], "mask": "fixed:0"}])
    place.wait_finished()
    assert {n for _, n in place.have()} == {0} and len(place.have()) == 30


def test_columns_that_are_inferred_come_into_the_side_table(place):
    place.put(1, 30)
    table = {"connection": place.connection, "tableId": "t", "strategy": "replace", "mapping": {"infer": {}}}
    nats = {"connection": "events", "stream": "ORDERS", "durable": "none", "loop": False}
    place.gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "nats", "nats": nats})
    place.gateway.change("POST", "/sources/s/sinks", {"sinkId": "k", "name": "k", "type": "table", "table": table})
    place.gateway.set("/sources/s/sinks/k", AT_ONCE)
    place.wait_finished()
    place.resume()
    wait_until("columns", lambda: place.have() == rows_of(1, 30), LONG)
    place.wait_finished()
    place.nats.publish("orders.a", [json.dumps({"g": 1, "n": 30, "later": "x"})])
    place.resume()
    wait_until("the new field", lambda: len(place.have()) == 31, LONG)
    place.wait_finished()
    place.resume()
    wait_until("its column", lambda: ("x",) in place.rows("SELECT later FROM t"), LONG)
    assert len(place.have()) == 31


def test_a_swap_that_is_refused_is_tried_again(refusing, postgres):
    """Visibly, and the table keeps its rows."""
    place = refusing
    postgres.rows("CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END'")
    postgres.rows("CREATE TRIGGER no BEFORE DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION no()")
    place.put(2, 20)
    place.resume()
    wait_until("it says so", lambda: place.bridge()["state"] == "waiting" and "not now" in (place.bridge()["reason"] or ""), LONG)
    assert place.have() == rows_of(1, 10) and place.run()["state"] == "open"
    postgres.rows("DROP TRIGGER no ON t")
    wait_until("the next run", lambda: place.have() == rows_of(2, 20), LONG)
    place.wait_finished()


def test_a_swap_that_is_refused_shows_no_value(refusing, postgres):
    place = refusing
    postgres.rows("CREATE TABLE u AS SELECT DISTINCT g FROM t")
    postgres.rows("ALTER TABLE u ADD PRIMARY KEY (g)")
    postgres.rows("ALTER TABLE t ADD CONSTRAINT known FOREIGN KEY (g) REFERENCES u")
    place.put(777123777, 10)
    place.resume()
    wait_until("it says so", lambda: place.bridge()["state"] == "waiting" and '"known"' in (place.bridge()["reason"] or ""), LONG)
    assert "777123777" not in place.bridge()["reason"] and "777123777" not in place.gateway.log_text()


def test_a_later_run_wins(gateway_factory, nats, postgres):
    """Of two gateways on one table, also after a lost data directory."""
    clean(postgres)
    first = Place(nats, gateway_factory(config(nats, postgres)).start(), "warehouse", postgres.rows)
    first.put(1, 500)
    first.add()
    first.wait_finished()
    first.gateway.change("PUT", "/sources/s/sinks/k/pause")
    first.put(2, 400)
    first.resume()
    wait_until("rows wait", lambda: first.run()["state"] == "open", LONG)
    second = Place(nats, gateway_factory(config(nats, postgres)).start(), "warehouse", postgres.rows)
    second.add()
    second.wait_finished()
    assert first.have() == rows_of(2, 400)
    first.gateway.change("PUT", "/sources/s/sinks/k/resume")
    first.wait_finished("superseded")
    assert "this run ended without effect" in first.bridge()["reason"]
    assert first.have() == rows_of(2, 400)
    first.put(3, 5)
    first.resume()
    first.wait_finished()
    assert first.have() == rows_of(3, 5)
    clean(postgres)
