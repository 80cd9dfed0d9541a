"""A source with its sinks and settings as one task: whole or not at all, also through a crash; and `sluice apply`, which sends it."""

import sqlite3
import subprocess
import threading

import pytest
from sluice import AT_ONCE, BINARY, wait_until

ID = {"name": "id", "type": "id"}
A = {"name": "a", "type": "path", "path": "a", "rawString": True}
COUNT = "storage.level.target.import.trigger.count"


def sink(sink_id, table, columns=(ID, A), connection="local", **fields):
    return {"sinkId": sink_id, "table": {"connection": connection, "tableId": table, "mapping": {"columns": list(columns)}}, **fields}


def manifest(*sinks, **fields):
    return {"name": "Shop", "framing": "ndjson", "settings": AT_ONCE, "sinks": list(sinks), **fields}


def put(gateway, body, query=""):
    answer = gateway.api("PUT", f"/sources/shop/manifest{query}", body)
    assert answer.status == 202, answer
    assert answer.json["isFinished"], answer
    return answer.json


def actions(plan):
    return {"": plan["source"]["action"], **{entry["sinkId"]: entry["action"] for entry in plan["sinks"]}}


def state(gateway):
    """All that a manifest can change, or None."""
    source = gateway.api("GET", "/sources/shop")
    if source.status == 404:
        return None
    sinks = gateway.api("GET", "/sources/shop/sinks", expect=200).json["sinks"]
    settings = [gateway.api("GET", f"/sources/shop{owner}/settings", expect=200).json for owner in ["", *(f"/sinks/{s['sinkId']}" for s in sinks)]]
    return source.json["name"], source.json["version"]["number"], sinks, settings


def test_create_change_prune(gateway):
    body = manifest(sink("one", "t1"), sink("two", "t2", settings={COUNT: 7}))
    task = put(gateway, body)
    assert task["status"] == "success" and task["type"] == "source.manifest" and task["outputs"]["version"] == 1, task
    assert actions(task["outputs"]) == {"": "create", "one": "create", "two": "create"}
    url = gateway.source_url("shop")
    assert gateway.post(url, '{"a":"x"}\n', "application/x-ndjson").status == 200
    gateway.wait_rows("t1", 1)

    before = state(gateway)
    again = put(gateway, body)
    assert again["status"] == "success" and again["result"] == "Nothing was changed.", again
    assert set(actions(again["outputs"]).values()) == {"unchanged"} and state(gateway) == before

    body["name"] = "Shops"
    body["sinks"][1]["settings"][COUNT] = 8
    changed = put(gateway, body)["outputs"]
    assert actions(changed) == {"": "update", "one": "unchanged", "two": "update"}
    assert changed["source"]["fields"] == ["name"] and changed["sinks"][1]["fields"] == [f"settings.{COUNT}"], changed

    # A sink that is not named stays, unless it is pruned. A new sink with the table of such a one is that sink under another id.
    body["sinks"] = [sink("three", "t1")]
    refused = gateway.api("PUT", "/sources/shop/manifest", body)
    assert refused.status == 409 and refused.json["error"] == "stream.api.tableTaken", refused
    pruned = put(gateway, body, "?prune=true")["outputs"]
    assert actions(pruned) == {"": "unchanged", "two": "delete", "three": "update"}
    assert next(entry for entry in pruned["sinks"] if entry["sinkId"] == "three")["renamedFrom"] == "one", pruned
    assert [s["sinkId"] for s in state(gateway)[2]] == ["three"]
    gateway.post(url, '{"a":"y"}\n', "application/x-ndjson")
    gateway.wait_rows("t1", 2)
    gateway.wait_rows("t2", 1)


def wrong_table(gateway, server):
    """Makes a table "wrong" that no sink of ours can take; returns the connection and how to list tables."""
    if server is None:
        database = sqlite3.connect(gateway.data / "tables.db", timeout=10)
        database.execute("CREATE TABLE wrong (id INTEGER PRIMARY KEY)")
        database.commit()
        database.close()
        return "local", lambda: {name for (name,) in gateway.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    server.rows("DROP TABLE IF EXISTS public.first, public.wrong, public.third; CREATE TABLE public.wrong (id integer PRIMARY KEY)")
    return "warehouse", lambda: {name for (name,) in server.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


@pytest.mark.parametrize("destination", ["sqlite", "postgres"])
def test_a_manifest_with_a_wrong_table_leaves_nothing_behind(gateway_factory, postgres, destination):
    server = postgres if destination == "postgres" else None
    gateway = gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n").start()
    connection, tables = wrong_table(gateway, server)
    body = manifest(*(sink(table, table, connection=connection) for table in ("first", "wrong", "third")))

    before = tables()
    plan = gateway.api("PUT", "/sources/shop/manifest?dryRun=true", body, expect=200).json
    assert plan["dryRun"] and not plan["canBeApplied"], plan
    assert [entry["table"]["action"] for entry in plan["sinks"]] == ["create", "refused", "create"], plan
    for word in ('column "a"', "is missing", "primary key"):
        assert word in plan["sinks"][1]["table"]["message"], plan
    assert tables() == before and state(gateway) is None

    task = put(gateway, body)
    assert task["status"] == "error" and 'column "a"' in task["error"], task
    assert f'stays: table "first" of connection "{connection}".' in task["error"] and '"third"' not in task["error"], task
    assert "first" in tables() and "third" not in tables()
    assert state(gateway) is None
    gateway.kill()
    gateway.start()
    assert state(gateway) is None

    # Of a source that is there, too: nothing of the change holds.
    put(gateway, manifest(sink("first", "first", connection=connection)))
    before = state(gateway)
    body["name"] = "Other"
    assert put(gateway, body, "?prune=true")["status"] == "error"
    assert state(gateway) == before
    url = gateway.source_url("shop")
    assert gateway.post(url, '{"a":"x"}\n', "application/x-ndjson").status == 200
    gateway.flush("shop", "first")


def test_a_dry_run_of_columns_that_would_be_added(gateway):
    put(gateway, manifest(sink("one", "t1")))
    wider = sink("one", "t1", [ID, A, {"name": "b", "type": "path", "path": "b"}])
    plan = gateway.api("PUT", "/sources/shop/manifest?dryRun=true", {"sinks": [wider]}, expect=200).json
    assert plan["sinks"][0]["table"]["action"] == "refused" and plan["sinks"][0]["fields"] == ["table.mapping.columns"], plan
    wider["table"]["onSchemaDrift"] = "evolve"
    plan = gateway.api("PUT", "/sources/shop/manifest?dryRun=true", {"sinks": [wider]}, expect=200).json
    assert plan["canBeApplied"] and plan["sinks"][0]["table"]["columns"] == ["b"], plan
    assert [column for column, in gateway.rows("SELECT name FROM pragma_table_info('t1')")] == ["id", "a"]
    assert put(gateway, {"sinks": [wider]})["status"] == "success"
    assert [column for column, in gateway.rows("SELECT name FROM pragma_table_info('t1')")] == ["id", "a", "b"]


def test_nothing_is_refused_while_sinks_are_replaced(gateway):
    """What goes, goes with the snapshot in which the others come: no event finds a source without a sink, and none is in no table."""
    put(gateway, manifest(sink("s0", "t0")))
    url = gateway.source_url("shop")
    answers, stop = [], threading.Event()

    def send():
        while not stop.is_set():
            answers.append(gateway.post(url, '{"a":"x"}\n', "application/x-ndjson").status)

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    try:
        for number in range(1, 9):
            seen = len(answers)
            wait_until("events go on", lambda: len(answers) > seen + 3)
            assert put(gateway, manifest(sink(f"s{number}", f"t{number}")), "?prune=true")["status"] == "success"
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert set(answers) == {200}, answers
    count = "+".join(f"(SELECT count(*) FROM t{number})" for number in range(9))
    gateway.flush("shop", "s8")
    wait_until("all rows are there", lambda: gateway.rows(f"SELECT {count}") == [(len(answers),)])


@pytest.mark.parametrize("point", ["storage.before-commit", "storage.after-commit"])
def test_a_crash_leaves_all_of_a_manifest_or_nothing(gateway_factory, point):
    """A crash at each commit from the start of the process on, until the task gets through."""
    gateway = gateway_factory().start()
    put(gateway, manifest(sink("old", "t_old"), sink("kept", "t_kept")))
    before, seen = state(gateway), set()
    new = manifest(sink("kept", "t_kept", [A]), sink("n1", "n1", settings={COUNT: 7}), sink("n2", "n2"), name="New", settings={COUNT: 5})
    for passage in range(1, 40):
        gateway.stop()
        through = False
        try:
            gateway.start(environment={"SLUICE_FAILPOINTS": f"{point}=crash@{passage}"})
            through = put(gateway, new, "?prune=true")["isFinished"]
        except (AssertionError, OSError):  # the process ended at its start, or with the request
            gateway.process.wait(timeout=60)
        if through:
            gateway.kill()
        gateway.start()
        after = state(gateway)
        if after != before:
            assert after[0] == "New" and [s["sinkId"] for s in after[2]] == ["kept", "n1", "n2"], after
            values = [{item["key"]: item["value"] for item in settings["settings"]}[COUNT] for settings in after[3]]
            assert values == [5, 5, 7, 5], values
            assert "manifest applied" in {s["version"]["description"] for s in after[2]}
            seen.add("all")
            break
        seen.add("nothing")
    assert seen == {"all", "nothing"}
    url = gateway.source_url("shop")
    assert gateway.post(url, '{"a":"x"}\n', "application/x-ndjson").status == 200
    for name in ("kept", "n1", "n2"):
        gateway.flush("shop", name)


def apply(gateway, path, *arguments):
    command = [BINARY, "apply", "-f", str(path), "--admin", f"http://{gateway.admin}", "--data", str(gateway.data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_apply_does_all_or_nothing(gateway, tmp_path):
    wrong_table(gateway, None)
    path = tmp_path / "shop.yaml"
    columns = "mapping: {columns: [{name: id, type: id}]}"
    text = "kind: source\nsourceId: shop\nname: Shop\nsinks:\n" + "".join(
        f"  - {{sinkId: {name}, table: {{tableId: {name}, {columns}}}}}\n" for name in ("first", "wrong")
    )
    path.write_text(text)
    dry = apply(gateway, path, "--dry-run")
    assert dry.returncode == 2 and 'shop/first: table "first" would be created' in dry.stdout and "! shop/wrong: Table" in dry.stdout, dry
    failed = apply(gateway, path)
    assert failed.returncode == 2 and 'table "first"' in failed.stderr and "is INTEGER" in failed.stderr, failed
    assert state(gateway) is None
    path.write_text(text.replace("wrong", "second"))
    assert apply(gateway, path).returncode == 0
    assert [s["sinkId"] for s in state(gateway)[2]] == ["first", "second"]


def test_what_a_manifest_leaves_out_goes_back(gateway, tmp_path):
    """But the secret, onInvalid, what is disabled or paused, and settings that the API has set: the plan lists these."""
    secret, size = "s" * 32, "storage.level.target.import.trigger.size"
    full = manifest(
        sink("one", "t1", description="text", onInvalid="quarantine", settings={COUNT: 7}),
        description="All of it.",
        rate={"events": 5, "burst": 9},
        cors={"origins": ["https://shop.example"]},
        discard=True,
        errorDetail="minimal",
        secret=secret,
    )
    full["sinks"][0]["table"]["onSchemaDrift"] = "evolve"
    put(gateway, full)
    gateway.api("PUT", "/sources/shop/sinks/one/pause", expect=202)
    gateway.api("PATCH", "/sources/shop/sinks/one/settings", {"settings": [{"key": size, "value": "1MB"}]}, expect=202)
    url, paused = gateway.source_url("shop"), gateway.api("GET", "/sources/shop/sinks/one", expect=200).json["paused"]
    assert secret in url
    path = tmp_path / "shop.yaml"
    path.write_text("kind: source\nsourceId: shop\nsinks:\n  - {sinkId: one, table: {tableId: t1, mapping: {columns: [{name: id, type: id}]}}}\n")
    kept = f'  shop/one: kept: {size} = "1MB" (set by the API)'
    for dry in (["--dry-run"], []):
        result = apply(gateway, path, *dry)
        assert result.returncode == 0 and kept in result.stdout.splitlines(), result
    source = gateway.api("GET", "/sources/shop", expect=200).json
    assert {"rate", "cors", "discard"}.isdisjoint(source), source
    assert (source["name"], source["description"], source["framing"], source["errorDetail"]) == ("shop", "", "single", "full")
    one = gateway.api("GET", "/sources/shop/sinks/one", expect=200).json
    assert (one["name"], one["description"], one["onInvalid"], one["table"]["onSchemaDrift"]) == ("one", "", "quarantine", "fail"), one
    assert one["paused"] == paused and gateway.source_url("shop") == url

    def overwritten():
        items = gateway.api("GET", "/sources/shop/sinks/one/settings", expect=200).json["settings"]
        return {item["key"] for item in items if item["overwritten"]}

    assert overwritten() == {size}
    gateway.kill()
    gateway.start()
    again = apply(gateway, path)
    assert again.stdout.splitlines() == ["= shop", "= shop/one", kept, "0 changes"], again
    reset = apply(gateway, path, "--reset-settings")
    assert reset.returncode == 0 and "kept" not in reset.stdout and "1 change" in reset.stdout, reset
    assert overwritten() == set()


def test_a_setting_belongs_to_who_set_it_last(gateway_factory):
    gateway = gateway_factory().start()
    with_count, without = manifest(sink("one", "t1", settings={COUNT: 7})), manifest(sink("one", "t1"))

    def count():
        items = gateway.api("GET", "/sources/shop/sinks/one/settings", expect=200).json["settings"]
        return next(item["value"] for item in items if item["key"] == COUNT and item["overwritten"])

    def tune(value):
        gateway.api("PATCH", "/sources/shop/sinks/one/settings", {"settings": [{"key": COUNT, "value": value}]}, expect=202)

    put(gateway, with_count)
    tune(8)
    assert put(gateway, without)["outputs"]["sinks"][0]["kept"] == [{"key": COUNT, "value": 8}]
    assert count() == 8
    version = gateway.api("GET", "/sources/shop/sinks/one", expect=200).json["version"]["number"]
    with_count["sinks"][0]["settings"][COUNT] = 8
    assert actions(put(gateway, with_count)["outputs"])["one"] == "unchanged"  # and it is the manifest's from now on
    assert gateway.api("GET", "/sources/shop/sinks/one", expect=200).json["version"]["number"] == version
    gateway.kill()
    gateway.start()
    gone = put(gateway, without)["outputs"]["sinks"][0]
    assert gone["fields"] == [f"settings.{COUNT}"] and "kept" not in gone, gone
    with pytest.raises(StopIteration):
        count()


def test_the_plan_shows_old_and_new_values(gateway, tmp_path, monkeypatch):
    path, old, new = tmp_path / "shop.yaml", "o" * 40, "n" * 40
    text = """kind: source
sourceId: shop
description: ${ENV:WORDS}
secret: SECRET
rate: {events: 5}
sinks:
  - sinkId: one
    table:
      tableId: t1
      onSchemaDrift: evolve
      mapping:
        columns: [{name: id, type: id}, {name: a, type: path, path: a, rawString: true}, {name: b, type: path, path: b}]
    settings: {storage.level.target.import.trigger.count: 7}
"""
    monkeypatch.setenv("WORDS", "the first words")
    path.write_text(text.replace("SECRET", old))
    assert apply(gateway, path).returncode == 0
    monkeypatch.setenv("WORDS", "quite others")
    long = "x" * 300
    path.write_text(
        text.replace("SECRET", new).replace("rate: {events: 5}\n", f"name: {long[:40]}\n").replace("count: 7", "count: 8")
        .replace("{name: b, type: path, path: b}", "{name: c, type: path, path: b}").replace("path: a, rawString: true", f"path: a, defaultValue: {long}")
    )
    for dry in (["--dry-run"], []):
        done = apply(gateway, path, *dry)
        lines = done.stdout.splitlines()
        for line in [
            "    description: (not shown) -> \"${ENV:WORDS}\"",
            "    secret: (not shown) -> (not shown)",
            f'    name: "shop" -> "{long[:40]}"',
            '    rate: {"events":5,"burst":5} -> (none)',
            "    settings.storage.level.target.import.trigger.count: 7 -> 8",
            "    table.mapping.columns[a].rawString: true -> (none)",
            f'    table.mapping.columns[a].defaultValue: (none) -> "{long[:80]}…"',
            '    table.mapping.columns[b]: {"name":"b","type":"path","path":"b"} -> (none)',
        ]:
            assert line in lines, (line, done)
        assert any(line.startswith("    table.mapping.columns[c]: (none) -> {") for line in lines), done
        plan = "\n".join(line for line in lines if "http://" not in line)  # the URL of a changed source has its secret
        assert old not in plan and new not in plan and "words" not in plan and "others" not in plan, done
    assert "->" not in apply(gateway, path).stdout


def test_get_yaml_is_read_back_without_a_change(gateway, tmp_path):
    put(gateway, manifest(sink("one", "t1", settings={COUNT: 7}), sink("two", "t2"), cors={"origins": ["https://shop.example"]}))
    for verb in ("shop/disable", "shop/sinks/two/pause"):
        gateway.api("PUT", f"/sources/{verb}", expect=202)
    assert gateway.api("PUT", "/sources/other/manifest", {"name": "Other", "sinks": [sink("one", "t3")]}).json["status"] == "success"
    path, secret = tmp_path / "all.yaml", gateway.source_url("shop").rsplit("/", 1)[1]
    for operands, lines in [
        ([], ["= other", "= other/one", "= shop", "= shop/one", "= shop/two", "0 changes"]),
        (["shop"], ["= shop", "= shop/one", "= shop/two", "0 changes"]),
        (["shop/two"], ["= shop", "= shop/two", "0 changes"]),
    ]:
        command = [BINARY, "get", *operands, "-o", "yaml", "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and secret not in done.stdout, done
        path.write_text(done.stdout)
        again = apply(gateway, path, "--reset-settings")
        assert again.returncode == 0 and [line for line in again.stdout.splitlines() if "kept" not in line] == lines, (again, done.stdout)
