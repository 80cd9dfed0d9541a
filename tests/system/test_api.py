"""The management API: definitions, settings, tasks, statistics, errors, the fence of a changed mapping."""

import json
import pathlib
import shutil
import socket
import threading
import time

import pytest
from load import COLUMNS as LOAD_COLUMNS
from load import Sender
from sluice import AT_ONCE, BINARY, DEADLINE, NEVER, request, wait_until

COLUMNS = [{"type": "path", "name": "a", "path": "a", "rawString": True}]
SINK = {"sinkId": "k", "name": "K", "type": "table", "table": {"connection": "local", "tableId": "k", "mapping": {"columns": COLUMNS}}}
BASE = "/v1/branches/default"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from sluice import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("api")).start()
    gateway.add_source("one")
    gateway.add_sink("one", "k", COLUMNS, NEVER)
    yield gateway
    gateway.close()


def assert_error(answer, status, name=None):
    assert answer.status == status, answer
    assert answer.json["statusCode"] == status and answer.json["error"].startswith("stream.api."), answer
    assert answer.json["message"].endswith("."), answer
    if name:
        assert answer.json["error"] == f"stream.api.{name}", answer


def test_credentials(shared):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-StorageApi-Token": "wrong"}, {"Authorization": "Basic x"}):
        answer = request(shared.admin, "GET", BASE + "/sources", headers=headers)
        assert_error(answer, 401)
        assert "www-authenticate" in answer.headers
    assert request(shared.admin, "GET", BASE + "/sources", headers={"X-StorageApi-Token": shared.token}).status == 200
    for path in ("/v1", "/health-check", "/ready"):
        assert request(shared.admin, "GET", path).status == 200


def test_source_life(gateway):
    task = gateway.change("POST", "/sources", {"name": "Můj Zdroj", "type": "http", "description": "d"})
    assert task["status"] == "success" and task["isFinished"] and "/" not in task["taskId"] and task["finishedAt"] and task["duration"] >= 0
    source = gateway.api("GET", "/sources/muj-zdroj", expect=200).json
    assert source["name"] == "Můj Zdroj" and source["type"] == "http" and source["framing"] == "single"
    assert source["version"]["number"] == 1 and source["http"]["url"].startswith("http://")
    assert_error(gateway.api("POST", "/sources", {"name": "Můj Zdroj", "type": "http"}), 409)

    gateway.change("PATCH", "/sources/muj-zdroj", {"description": "other"})
    patched = gateway.api("GET", "/sources/muj-zdroj").json
    assert patched["description"] == "other" and patched["version"]["number"] == 2 and patched["http"]["url"] == source["http"]["url"]
    stale = gateway.api("PATCH", "/sources/muj-zdroj", {"description": "x"}, headers={"If-Match": "1"})
    assert stale.status in (409, 412), stale

    gateway.change("DELETE", "/sources/muj-zdroj")
    assert_error(gateway.api("GET", "/sources/muj-zdroj"), 404, "sourceNotFound")
    again = gateway.api("POST", "/sources", {"name": "Můj Zdroj", "type": "http"})
    assert_error(again, 409)
    assert "undelete" in again.json["message"]


def test_an_encoded_slash_is_no_separator(shared):
    assert shared.api("GET", "/sources/%6fne").status == 200
    assert_error(shared.api("GET", "/sources/one%2fsinks"), 400)


def test_a_patch_with_an_unknown_null_is_refused(shared):
    answer = shared.api("PATCH", "/sources/one", {"colour": None})
    assert_error(answer, 400)
    assert "colour" in answer.json["message"]


def test_lists_have_pages(gateway):
    for number in range(5):
        gateway.add_source(f"s{number}")
    first = gateway.api("GET", "/sources?limit=2", expect=200).json
    assert [s["sourceId"] for s in first["sources"]] == ["s0", "s1"] and first["page"]["totalCount"] == 5 and first["page"]["limit"] == 2
    second = gateway.api("GET", f"/sources?limit=2&afterId={first['page']['lastId']}", expect=200).json
    assert [s["sourceId"] for s in second["sources"]] == ["s2", "s3"]
    for wrong in ("limit=0", "limit=101", "limit=x", "nothing=1"):
        assert_error(gateway.api("GET", f"/sources?{wrong}"), 400)


@pytest.mark.parametrize(
    "body, word",
    [
        ({}, "name"),
        ({"name": "x" * 41, "type": "http"}, "name"),
        ({"name": "x", "type": "ftp"}, "must be one of http, kafka, nats, not"),
        ({"name": "x", "rate": {"events": 0}}, "rate.events"),
        ({"name": "x", "type": "kafka"}, 'needs "kafka"'),
        ({"name": "x", "type": "kafka", "kafka": {"connection": "nowhere", "topics": ["a"]}}, 'There is no connection "nowhere"'),
        ({"name": "x", "type": "nats", "nats": {"connection": "local", "stream": "S"}}, "reads a connection of type nats"),
        ({"name": "x", "type": "http", "colour": "red"}, "colour"),
        ({"name": "x", "type": "http", "sourceId": "Has Space"}, "sourceId"),
        ({"name": "x", "type": "http", "framing": "xml"}, "framing"),
        ({"name": "x", "type": "http", "secret": "short"}, "secret"),
        ([], "object"),
    ],
)
def test_wrong_sources_are_named(shared, body, word):
    answer = shared.api("POST", "/sources", body)
    assert_error(answer, 400)
    assert word in answer.json["message"], answer


def column(**fields):
    return {**SINK, "sinkId": "new", "table": {**SINK["table"], "tableId": "new", "mapping": {"columns": [{k: v for k, v in {"name": "a", "type": "path", "path": "a", **fields}.items() if v is not None}]}}}


@pytest.mark.parametrize(
    "body, word",
    [
        ({**SINK, "sinkId": "new", "table": {**SINK["table"], "connection": "nowhere"}}, "nowhere"),
        ({**SINK, "sinkId": "new", "table": {**SINK["table"], "mapping": {"columns": []}}}, "columns"),
        ({**SINK, "sinkId": "new", "table": {**SINK["table"], "mapping": {"columns": COLUMNS * 2}}}, "a"),
        ({**SINK, "sinkId": "new", "table": {**SINK["table"], "strategy": "replace"}}, "replace"),
        ({**SINK, "sinkId": "new", "table": {**SINK["table"], "strategy": "merge"}}, "primaryKey"),
        (column(path="a["), "path"),
        (column(type="template"), "path"),
        (column(type="template", path=None), "template"),
        (column(mask="x"), "mask"),
        (column(dataType="uint8"), "dataType"),
        (column(dataType="integer", defaultValue="many"), "default"),
    ],
)
def test_wrong_sinks_are_named(shared, body, word):
    answer = shared.api("POST", "/sources/one/sinks", body)
    assert_error(answer, 400)
    assert word.lower() in answer.json["message"].lower(), answer


@pytest.mark.parametrize("content, place", [("{a: ", "line 1"), ("local x = 1;\nBdy('a')", "line 2"), ("import 'x'", "import"), ("std.extVar('x')", "extVar")])
def test_wrong_templates_are_named(shared, content, place):
    columns = [{"name": "t", "type": "template", "template": {"language": "jsonnet", "content": content}}]
    body = {**SINK, "sinkId": "new", "table": {**SINK["table"], "tableId": "new", "mapping": {"columns": columns}}}
    answer = shared.api("POST", "/sources/one/sinks", body)
    assert_error(answer, 400)
    assert place in answer.json["message"], answer


def test_statuses(shared):
    assert_error(shared.api("GET", "/sources/nobody"), 404, "sourceNotFound")
    assert_error(shared.api("GET", "/sources/one/sinks/nobody"), 404, "sinkNotFound")
    assert_error(shared.api("GET", "/v1/tasks/nobody"), 404, "taskNotFound")
    assert_error(shared.api("GET", "/v1/nothing"), 404)
    assert_error(shared.api("GET", "/v1/branches/7/sources"), 404)
    assert_error(shared.api("PUT", "/sources"), 405)
    assert_error(shared.api("POST", "/sources/one/sinks", SINK), 409)
    twice = {**SINK, "sinkId": "k2"}
    assert_error(shared.api("POST", "/sources/one/sinks", twice), 409)
    for text in (b"{", b'{"name":"a","name":"b"}', b"\xff", b"[" * 5000):
        headers = {"Authorization": f"Bearer {shared.token}", "Content-Type": "application/json"}
        assert_error(request(shared.admin, "POST", BASE + "/sources", text, headers), 400)


def test_settings(gateway):
    gateway.add_source("one")
    gateway.add_sink("one", "k", COLUMNS)
    key = "storage.level.target.import.trigger.interval"
    items = {item["key"]: item for item in gateway.api("GET", "/sources/one/sinks/k/settings", expect=200).json["settings"]}
    assert items[key]["value"] == "1m" and items[key]["defaultValue"] == "1m" and not items[key]["overwritten"] and items[key]["description"]
    gateway.set("/sources/one", {key: "5m"})
    items = {item["key"]: item for item in gateway.api("GET", "/sources/one/sinks/k/settings").json["settings"]}
    assert items[key]["value"] == "5m"
    gateway.set("/sources/one/sinks/k", {key: "2m"})
    items = {item["key"]: item for item in gateway.api("GET", "/sources/one/sinks/k/settings").json["settings"]}
    assert items[key]["value"] == "2m" and items[key]["overwritten"]
    gateway.set("/sources/one/sinks/k", {key: None})
    for wrong_key, value, word in ((key, "1s", "30s"), (key, "soon", key), ("no.such.key", 1, "no.such.key")):
        answer = gateway.api("PATCH", "/sources/one/sinks/k/settings", {"settings": [{"key": wrong_key, "value": value}]})
        assert_error(answer, 400)
        assert word in answer.json["message"], answer
    gateway.stop()
    gateway.start()
    items = {item["key"]: item for item in gateway.api("GET", "/sources/one/sinks/k/settings").json["settings"]}
    assert items[key]["value"] == "5m" and not items[key]["overwritten"]


def test_changed_condition_imports_at_once(gateway):
    url = gateway.add_source("one")
    gateway.add_sink("one", "k", COLUMNS, NEVER)
    for number in range(5):
        assert gateway.post(url, {"a": number}).status == 200
    assert gateway.rows("SELECT count(*) FROM k") in ([], [(0,)])
    gateway.set("/sources/one/sinks/k", {"storage.level.target.import.trigger.count": 1000})
    gateway.wait_rows("k", 5)
    gateway.post(url, {"a": 5})
    assert gateway.statistics("one", "k")["levels"]["target"]["recordsCount"] == 5
    gateway.set("/sources/one/sinks/k", AT_ONCE)
    gateway.wait_rows("k", 6)


def test_count_time_and_size_conditions(gateway):
    url = gateway.add_source("one", framing="ndjson")
    gateway.add_sink("one", "by-count", COLUMNS, {**NEVER, "storage.level.target.import.trigger.count": 10})
    gateway.add_sink("one", "by-size", COLUMNS, {**NEVER, "storage.level.target.import.trigger.size": "100B"})
    gateway.add_sink("one", "staged-by-time", COLUMNS, {**NEVER, "storage.level.staging.upload.trigger.interval": "1s"})
    lines = "\n".join(json.dumps({"a": "x" * 7}) for _ in range(9))
    assert gateway.post(url, lines).status == 200
    wait_until("staged by time", lambda: gateway.statistics("one", "staged-by-time")["levels"]["staging"]["recordsCount"] == 9)
    assert gateway.statistics("one", "by-count")["levels"]["local"]["recordsCount"] == 9
    assert gateway.statistics("one", "by-size")["levels"]["local"]["recordsCount"] == 9
    assert gateway.post(url, lines).status == 200
    gateway.wait_rows("by-count", 18)
    gateway.wait_rows("by-size", 18)


@pytest.mark.threads
def test_changed_mapping_loses_and_mixes_nothing(gateway):
    """Under load the table gets a new column; each row has either the old shape or the new one, none is lost, and after the task says success every
    later event has the new shape."""
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", LOAD_COLUMNS, {**AT_ONCE, "storage.level.staging.upload.trigger.count": 50}, onSchemaDrift="evolve")
    stop = threading.Event()
    senders = [Sender(gateway.intake, url, f"s{i}", stop=stop) for i in range(3)]
    for sender in senders:
        sender.start()
    wait_until("load", lambda: all(len(sender.acknowledged) > 20 for sender in senders))
    columns = LOAD_COLUMNS + [{"type": "path", "name": "extra", "path": "missing", "defaultValue": "new", "rawString": True}]
    gateway.change("PATCH", "/sources/load/sinks/rows", {"table": {"mapping": {"columns": columns}}})
    marks = [len(sender.acknowledged) + 1 for sender in senders]  # one may have been in flight when the task ended
    wait_until("more load", lambda: all(len(sender.acknowledged) > mark + 20 for sender, mark in zip(senders, marks)))
    stop.set()
    for sender in senders:
        sender.join(timeout=60)
    gateway.flush("load", "rows")
    rows = dict(gateway.rows("SELECT n, extra FROM rows"))
    assert len(rows) == gateway.rows("SELECT count(*) FROM rows")[0][0]
    for sender, mark in zip(senders, marks):
        assert set(sender.acknowledged) <= set(rows)
        assert all(rows[name] == "new" for name in sender.acknowledged[mark:])
    assert None in rows.values() and "new" in rows.values()


def test_existing_table_that_differs_is_refused(gateway):
    gateway.add_source("one")
    gateway.add_sink("one", "k", COLUMNS, AT_ONCE)
    import sqlite3

    database = sqlite3.connect(gateway.data / "tables.db")
    database.execute("CREATE TABLE other (a INTEGER, c TEXT NOT NULL) STRICT")
    database.commit()
    database.close()
    columns = COLUMNS + [{"type": "datetime", "name": "b"}]
    body = {**SINK, "sinkId": "other", "table": {**SINK["table"], "tableId": "other", "mapping": {"columns": columns}}}
    task = gateway.api("POST", "/sources/one/sinks", body).json
    assert task["status"] == "error", task
    for name in ("a", "b", "c"):
        assert f'"{name}"' in task["error"] or f" {name} " in task["error"], task
    assert_error(gateway.api("GET", "/sources/one/sinks/other"), 404)


def test_a_dead_destination_holds_nobody_up(gateway_factory):
    """A server that takes connections and never answers: every task ends about when the first one does, and other calls go on meanwhile."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        uri = f"postgresql://sluice@127.0.0.1:{hole.getsockname()[1]}/d"
        gateway = gateway_factory(f"connections: {{hole: {{type: postgres, uri: '{uri}'}}}}\n").start()
        gateway.add_source("one")
        tasks = []
        for number in range(12):
            body = {**SINK, "sinkId": f"k{number}", "table": {**SINK["table"], "connection": "hole", "tableId": f"t{number}"}}
            source = "one" if number % 2 else f"s{number}"
            if source != "one":
                gateway.add_source(source)
            tasks.append(gateway.api("POST", f"/sources/{source}/sinks", body, wait=0, expect=202).json["taskId"])
        gateway.add_source("two")
        gateway.add_sink("two", "k", COLUMNS, NEVER)
        gateway.flush("two", "k")
        assert not gateway.api("GET", f"/v1/tasks/{tasks[0]}", wait=0).json["isFinished"]

        def ended():
            shown = [gateway.api("GET", f"/v1/tasks/{task}", wait=0, expect=200).json for task in tasks]
            return shown if all(task["isFinished"] for task in shown) else None

        for task in wait_until("all tasks end", ended, deadline=40):
            assert task["status"] == "error" and task["error"].count('"hole"') == 1, task
            assert task["error"].startswith("Nothing is changed, try again: "), task


def test_many_templates_hold_nobody_up(gateway):
    """20 sinks of 90 new templates in one call are checked in seconds, and other calls are answered in between."""
    def columns(number):
        return [
            {"name": f"c{n}", "type": "template", "template": {"language": "jsonnet", "content": f"Body('a') + {number * 100 + n}"}}
            for n in range(90)
        ]

    sinks = [{"sinkId": f"s{n}", "table": {"tableId": f"t{n}", "mapping": {"columns": columns(n)}}} for n in range(20)]
    answers = []
    began = time.monotonic()
    asker = threading.Thread(target=lambda: answers.append(gateway.api("PUT", "/sources/one/manifest", {"name": "One", "sinks": sinks})))
    asker.start()
    meanwhile = 0
    while not answers and asker.is_alive():
        gateway.api("GET", "/sources", wait=0, expect=200)
        meanwhile += 1
    asker.join()
    assert answers and answers[0].status == 202, (answers, time.monotonic() - began)
    assert meanwhile > 5
    wanted = columns(3)
    wanted[57]["template"]["content"] = "nobody"
    refused = gateway.api("PATCH", "/sources/one/sinks/s3", {"table": {"mapping": {"columns": wanted}}})
    assert_error(refused, 400)
    assert "c57" in refused.json["message"]


def test_a_task_that_a_crash_interrupts_is_told_to_have_failed(gateway_factory):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        uri = f"postgresql://sluice@127.0.0.1:{hole.getsockname()[1]}/d"
        gateway = gateway_factory(f"connections: {{hole: {{type: postgres, uri: '{uri}'}}}}\n").start()
        gateway.add_source("one")
        body = {**SINK, "table": {**SINK["table"], "connection": "hole"}}
        task = gateway.api("POST", "/sources/one/sinks", body, wait=0, expect=202).json
        gateway.add_source("two")  # committed after the note of the task
        gateway.kill()
        gateway.start()
        again = gateway.api("GET", task["url"], expect=200).json
        assert again["status"] == "error" and again["isFinished"] and "stopped" in again["error"], again
        assert {**again, **{key: task[key] for key in ("status", "isFinished", "error")}} == task


def test_deleted_sink_still_imports_what_waits(gateway):
    url = gateway.add_source("one")
    gateway.add_sink("one", "k", COLUMNS, NEVER)
    gateway.add_sink("one", "dropped", COLUMNS, NEVER)
    for number in range(7):
        gateway.post(url, {"a": number})
    gateway.change("DELETE", "/sources/one/sinks/k")
    gateway.wait_rows("k", 7)
    task = gateway.change("DELETE", "/sources/one/sinks/dropped?discard=true")
    assert task["outputs"]["discardedRows"] == 7, task
    assert gateway.rows("SELECT count(*) FROM dropped") in ([], [(0,)])
    answer = gateway.post(url, {"a": 1})
    assert answer.status == 503, answer


def test_source_dry_run(gateway):
    gateway.add_source("one")
    template = {"name": "t", "type": "template", "template": {"language": "jsonnet", "content": "Body('a') + 1"}}
    gateway.add_sink("one", "k", COLUMNS + [template], NEVER)
    answer = gateway.api("POST", "/sources/one/test", {"a": 41}, expect=200).json
    assert answer["tables"][0]["sinkId"] == "k" and answer["tables"][0]["tableId"] == "k"
    values = {c["name"]: c["value"] for c in answer["tables"][0]["rows"][0]["columns"]}
    assert values == {"a": "41", "t": "42"}
    assert gateway.api("POST", "/sources/one/test", {"b": 1}).status == 422
    # Disabled sinks are tried as well; an event stays without them, and so does a sink that was deleted.
    columns = [{"type": "path", "name": "twice", "path": "a", "dataType": "integer"}]
    gateway.add_sink("one", "other", columns)
    gateway.add_sink("one", "gone", columns)
    gateway.change("PUT", "/sources/one/sinks/other/disable")
    gateway.change("DELETE", "/sources/one/sinks/gone")
    tables = gateway.api("POST", "/sources/one/test", {"a": 41}, expect=200).json["tables"]
    assert [table["sinkId"] for table in tables][1:] == ["other"], tables
    assert tables[1]["rows"] == [{"columns": [{"name": "twice", "value": "41"}]}]
    first = tables[0]["sinkId"]
    gateway.change("PUT", f"/sources/one/sinks/{first}/disable")
    assert len(gateway.api("POST", "/sources/one/test", {"a": 41}, expect=200).json["tables"]) == 2
    assert gateway.statistics("one", "k")["levels"]["local"]["recordsCount"] == 0


def test_definitions_survive_a_restart(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("one", description="text")
    gateway.add_sink("one", "k", COLUMNS, AT_ONCE)
    before = gateway.api("GET", "/sources/one/sinks/k").json
    gateway.kill()
    gateway.start()
    assert gateway.api("GET", "/sources/one/sinks/k").json == before
    assert gateway.source_url("one") == url
    assert gateway.post(url, {"a": 1}).status == 200
    gateway.wait_rows("k", 1)


@pytest.mark.parametrize("what", ["/sources/s/sinks/k", "/sources/s", "/connections/local"])
def test_a_pause_takes_and_stages_and_holds_over_restarts(gateway, what):
    url = gateway.add_source("s")
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    gateway.post(url, {"a": "before"})
    gateway.wait_rows("k", 1)

    paused = gateway.api("PUT", what + "/pause", expect=200 if "connections" in what else 202).json
    assert paused.get("status", "success") == "success", paused
    for number in range(5):
        assert gateway.post(url, {"a": f"paused-{number}"}).status == 200
    staged = wait_until("all is staged", lambda: (s := gateway.statistics("s", "k")) and s["levels"]["staging"]["recordsCount"] == 5 and s)
    assert staged["paused"] and not staged["failing"], staged
    assert staged["pausedBy"]["by"] == "admin.token" and staged["pausedBy"]["what"] in what, staged
    refused = gateway.api("POST", "/sources/s/sinks/k/flush")
    assert_error(refused, 409, "paused")
    assert "admin.token" in refused.json["message"] and "resume" in refused.json["message"]

    gateway.kill()
    gateway.start()
    gateway.post(url, {"a": "after"})
    wait_until("the rest is staged", lambda: gateway.statistics("s", "k")["levels"]["staging"]["recordsCount"] == 6)
    again = gateway.api("PUT", what + "/pause")
    assert again.status in (200, 202), again
    assert gateway.rows("SELECT a FROM k") == [("before",)]
    assert gateway.statistics("s", "k")["pausedBy"]["at"] == staged["pausedBy"]["at"]

    gateway.api("PUT", what + "/resume", expect=200 if "connections" in what else 202)
    gateway.wait_rows("k", 7)
    assert gateway.rows("SELECT count(*) FROM k") == [(7,)]
    assert gateway.statistics("s", "k")["pausedBy"] is None
    gateway.flush("s", "k")


def test_deleting_a_paused_sink_imports_what_waits(gateway):
    url = gateway.add_source("s")
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    gateway.change("PUT", "/sources/s/sinks/k/pause")
    gateway.post(url, {"a": "1"})
    gateway.change("DELETE", "/sources/s/sinks/k")
    gateway.wait_rows("k", 1)


@pytest.mark.parametrize("what", ["/sources/s", "/connections/local"])
def test_what_waits_of_a_deleted_sink_is_imported_when_the_rest_is_resumed(gateway, what):
    url = gateway.add_source("s")
    gateway.add_sink("s", "k", COLUMNS, AT_ONCE)
    gateway.api("PUT", what + "/pause")
    for number in range(3):
        assert gateway.post(url, {"a": str(number)}).status == 200
    deleted = gateway.change("DELETE", "/sources/s/sinks/k")
    assert "when the source is" in deleted["result"] or 'when connection "local" is' in deleted["result"], deleted
    gateway.kill()
    gateway.start()
    # Everything before this import had its turn: the pause holds for what is deleted.
    gateway.change("PUT", "/sources/s/sinks/k/undelete")
    staged = wait_until("all is staged", lambda: (s := gateway.statistics("s", "k")) and s["levels"]["staging"]["recordsCount"] == 3 and s)
    assert staged["paused"] and gateway.rows("SELECT a FROM k") == [], staged
    gateway.change("DELETE", "/sources/s/sinks/k")
    gateway.api("PUT", what + "/resume")
    gateway.wait_rows("k", 3)


def test_a_template_check_that_hangs_holds_nobody_up(gateway_factory, tmp_path):
    """The worker that looks at the text never answers: its own call waits, all others are answered meanwhile."""
    copy = tmp_path / "bin"
    copy.mkdir()
    shutil.copy(BINARY, copy / "sluice")
    worker = copy / "sluice-template-worker"
    worker.write_text("#!/bin/sh\nexec sleep 600\n")
    worker.chmod(0o755)
    gateway = gateway_factory()
    gateway.binary = str(copy / "sluice")
    gateway.start()
    gateway.add_source("s")
    column = {"type": "template", "name": "t", "template": {"language": "jsonnet", "content": "1"}}
    body = {"sinkId": "k", "name": "K", "table": {"tableId": "k", "mapping": {"columns": [column]}}}
    answers = []
    calls = [threading.Thread(target=lambda: answers.append(gateway.api("POST", "/sources/s/sinks", body))) for _ in range(8)]
    for call in calls:
        call.start()
    wait_until("the check runs", lambda: children(gateway.process.pid))
    for _ in range(20):
        assert gateway.api("GET", "/sources/s", expect=200).json["sourceId"] == "s"
        assert gateway.api("GET", "/sources/s/sinks", expect=200).json["sinks"] == []
    assert answers == []
    gateway.change("PATCH", "/sources/s", {"description": "changed meanwhile"})
    assert answers == []
    gateway.stop()
    for call in calls:
        call.join(timeout=DEADLINE)
    assert [answer.status for answer in answers] == [503] * len(calls), answers


def children(parent):
    return [child for task in pathlib.Path(f"/proc/{parent}/task").iterdir() for child in (task / "children").read_text().split()]


def test_a_table_of_the_schema_public_is_one_table(gateway_factory, postgres):
    uri = postgres.uri
    gateway = gateway_factory(f"connections: {{w: {{type: postgres, uri: '{uri}'}}}}\n").start()
    gateway.add_source("s")
    for first, second in (("du", "public.du"), ("public.un", "un")):
        gateway.add_sink("s", first.replace(".", "-"), COLUMNS, connection="w", table=first)
        table = {"connection": "w", "tableId": second, "mapping": {"columns": COLUMNS}}
        answer = gateway.api("POST", "/sources/s/sinks", {"sinkId": "other", "name": "Other", "table": table})
        assert answer.status == 409 and answer.json["error"] == "stream.api.tableTaken", answer
    gateway.add_sink("s", "elsewhere", COLUMNS, connection="w", table="shop.du")


def test_many_rejects_are_counted_exactly(gateway):
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "k", [{"name": "a", "type": "path", "path": "a"}], onInvalid="quarantine")
    body = "{}\n" * 20001
    for _ in range(5):
        answer = gateway.post(url, body)
        assert answer.status == 200, answer
    answer = gateway.api("GET", "/sources/s/sinks/k/rejects?limit=2", expect=200).json
    assert len(answer["rejects"]) == 2 and answer["page"]["totalCount"] == 5 * 20001, answer["page"]
    gateway.api("DELETE", f"/sources/s/sinks/k/rejects?upToId={5 * 20001 - 7}", expect=200)
    answer = gateway.api("GET", "/sources/s/sinks/k/rejects?limit=2", expect=200).json
    assert answer["page"]["totalCount"] == 7, answer["page"]
