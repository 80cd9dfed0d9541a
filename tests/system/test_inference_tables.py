"""Sinks that infer: tables that are made of what events hold, hostile senders, and people who change the tables meanwhile."""

import contextlib
import json
import re
import sqlite3
import subprocess

import pytest
from sluice import NEVER, request, wait_until

CONFIG = "connections:\n  warehouse:\n    type: postgres\n    uri: {uri}\n"


class Shop:
    """A source, and sinks of it that infer, at one destination."""

    def __init__(self, destination):
        self.gateway, self.connection, self.rows = destination
        self.url = self.gateway.add_source("shop", framing="ndjson")

    def infer(self, table="events", drift=None, **fields):
        target = {"connection": self.connection, "tableId": table, "mapping": {"infer": fields}}
        if drift:
            target["onSchemaDrift"] = drift
        self.gateway.change("POST", "/sources/shop/sinks", {"sinkId": table, "name": table, "table": target})
        self.gateway.set(f"/sources/shop/sinks/{table}", NEVER)

    def post(self, *events):
        lines = (json.dumps(event, separators=(",", ":")) + "\n" for event in events)
        answer = self.gateway.post(self.url, "".join(lines))
        assert answer.status == 200, answer

    def sink(self, table="events"):
        return self.gateway.api("GET", f"/sources/shop/sinks/{table}").json

    def columns(self, table="events"):
        return {column["name"]: column for column in self.sink(table)["table"]["mapping"]["columns"]}

    def wait_columns(self, *names, table="events"):
        wait_until(f"columns {names}", lambda: set(names) <= set(self.columns(table)))

    def flush(self, table="events"):
        self.gateway.flush("shop", table)


@pytest.fixture
def destination(destination_of):
    return Shop(destination_of())


def test_fields_become_columns(destination):
    destination.infer()
    destination.post({"id": 1, "Order-No": "a", "paid": True, "at": "2026-01-02T03:04:05Z"})
    destination.wait_columns("id", "order_no", "paid", "at")
    version = destination.sink()["version"]
    assert version["by"] == "inferred" and version["number"] >= 2
    destination.post({"id": 2, "Order-No": "b", "price": 1.5}, {"id": "three", "Order-No": None, "paid": False})
    destination.wait_columns("price", "id__v_text")
    destination.post({"id": "four", "price": 7})
    destination.flush()
    rows = destination.rows("SELECT id, order_no, paid, price, id__v_text, _rest FROM events ORDER BY _at, _id")
    rest = [json.loads(row[5]) if isinstance(row[5], str) else row[5] for row in rows]
    assert rest[0] == {"id": 1, "Order-No": "a", "paid": True, "at": "2026-01-02T03:04:05Z"}  # there were no columns yet
    assert rest[1] == {"price": 1.5} and rest[2] == {"id": "three"}
    assert [row[0] for row in rows] == [None, 2, None, None]
    assert rows[3][4] == "four" and float(rows[3][3]) == 7 and rest[3] is None
    logged = destination.gateway.log_text()
    assert "ADD COLUMN" in logged and 'order_no' in logged


def test_a_restart_keeps_the_columns(destination):
    destination.infer()
    destination.post({"a": 1})
    destination.wait_columns("a")
    destination.gateway.stop()
    destination.gateway.start()
    assert destination.columns()["a"] == {
        "name": "a",
        "type": "path",
        "dataType": "integer",
        "path": "a",
        "rawString": True,
        "inferred": "field",
    }
    destination.post({"a": 2})
    destination.flush()
    assert sorted(row[0] or 0 for row in destination.rows("SELECT a FROM events")) == [0, 2]


def test_an_event_with_many_new_fields_makes_no_wider_a_table_than_it_may(destination):
    destination.infer(maxColumns=50)
    many = {f"{i:x}": 1 for i in range(100000)}
    destination.post(many)
    wait_until("the table is full", lambda: len(destination.columns()) == 50)
    versions = destination.sink()["version"]["number"]
    destination.post({f"other {i}": i for i in range(5000)}, {"0": "x", "field-0": 2})
    destination.flush()
    assert len(destination.columns()) == 50
    assert destination.sink()["version"]["number"] == versions
    assert destination.gateway.log_text().count("which is the limit (maxColumns)") == 1
    rows = destination.rows("SELECT _rest FROM events ORDER BY _at, _id")
    rest = [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in rows]
    assert rest[0] == many
    assert len(rest[1]) == 5000 and rest[2]["field-0"] == 2


def test_names_that_collide_and_types_that_flip(destination):
    destination.infer()
    destination.post({"Name": 1, "name": 2, "NAME": 3, "na me": 4, "na-me": 5, "xmin": 6, "_id": 7, "rowid": 8, "": 9})
    wait_until("all have columns", lambda: len(destination.columns()) == 3 + 9)
    names = [name.lower() for name in destination.columns()]
    assert len(set(names)) == len(names)
    destination.post({"Name": 10, "name": 20, "NAME": 30, "na me": 40, "na-me": 50, "xmin": 60, "_id": 70, "rowid": 80, "": 90})
    destination.flush()
    paths = {column["path"]: name for name, column in destination.columns().items() if column["type"] == "path"}
    wanted = {"Name": 10, "name": 20, "NAME": 30, '["na me"]': 40, '["na-me"]': 50, "xmin": 60, "_id": 70, "rowid": 80, '[""]': 90}
    assert set(paths) == set(wanted)
    chosen = ", ".join(f'"{paths[path]}"' for path in wanted)
    assert destination.rows(f"SELECT {chosen} FROM events WHERE _rest IS NULL") == [tuple(wanted.values())]
    for _ in range(3):
        destination.post(*[{"name": value} for value in (1, "x", True, {"a": 1}, [1], 1.5, "2026-01-01T00:00:00Z")] * 100)
    variants = {"name__v_text", "name__v_boolean", "name__v_json", "name__v_decimal"}
    wait_until("variants", lambda: sum("__v_" in name for name in destination.columns()) == len(variants))
    destination.flush()
    assert len(destination.columns()) == 3 + 9 + len(variants)


def test_changes_are_limited_and_neighbours_do_not_notice(destination):
    destination.infer()
    neighbour = destination.gateway.add_source("quiet", framing="ndjson")
    destination.gateway.add_sink("quiet", "plain", [{"name": "body", "type": "body"}], NEVER, connection=destination.connection)
    for i in range(200):
        destination.post({f"f{i}": i, "x": i})
        assert destination.gateway.post(neighbour, "{}\n").status == 200
    version = destination.sink()["version"]["number"]
    assert version <= 1 + 1 + 10  # the sink, its settings, and changes within a minute
    assert destination.gateway.api("GET", "/sources/quiet/sinks/plain").json["version"]["number"] == 2
    destination.gateway.flush("quiet", "plain")
    assert destination.rows("SELECT count(*) FROM plain") == [(200,)]
    if destination.connection != "local":
        destination.rows("DROP TABLE plain")


def test_what_is_around_a_mask_gets_no_column_and_stops_no_other(destination):
    masked = [{"name": "email", "type": "path", "path": "user.email", "rawString": True, "mask": "redact", "optional": True}]
    target = {"connection": destination.connection, "tableId": "events", "mapping": {"infer": {"depth": 2}, "columns": masked}}
    destination.gateway.change("POST", "/sources/shop/sinks", {"sinkId": "events", "name": "events", "table": target})
    destination.gateway.set("/sources/shop/sinks/events", NEVER)
    destination.post({"user": "ann", "k": 1}, {"user": [{"email": "x"}]}, {"user": {"email": "a@b", "name": "A"}, "k": 2})
    destination.wait_columns("k", "user__name")
    destination.post({"user": "bea", "late": 1}, {"user": {"email": "c@d", "name": "C"}, "k": 3})
    destination.wait_columns("late")
    destination.post({"user": {"email": "c@d", "name": "C"}, "k": 4, "late": 2})
    destination.flush()
    assert "user" not in destination.columns()
    assert destination.rows("SELECT email, user__name, k, late FROM events WHERE late = 2") == [("REDACTED", "C", 4, 2)]
    assert len(destination.rows("SELECT k FROM events")) == 6


def change_mapping(destination, **mapping):
    destination.gateway.change("PATCH", "/sources/shop/sinks/events", {"table": {"mapping": mapping}})


def parsed(value):
    return json.loads(value) if isinstance(value, str) else value


def test_a_mapping_becomes_less_deep_and_deep_again(destination):
    destination.infer(depth=2)
    destination.post({"a": {"b": 1, "c": "x"}, "k": 1})
    destination.wait_columns("a__b", "a__c", "k")
    change_mapping(destination, infer={"depth": 1})
    assert "a__b" not in destination.columns()
    destination.post({"a": {"b": 2}, "k": 2})
    destination.wait_columns("a")
    destination.post({"a": {"b": 3}, "k": 3})
    change_mapping(destination, infer={"depth": 2})
    destination.post({"a": {"b": 4}, "k": 4})
    destination.wait_columns("a__b")
    destination.post({"a": {"b": 5}, "k": 5})
    destination.flush()
    rows = destination.rows("SELECT k, a, a__b, _rest FROM events WHERE k IS NOT NULL ORDER BY k")
    assert [(k, parsed(a), b, parsed(rest)) for k, a, b, rest in rows] == [
        (2, None, None, {"a": {"b": 2}}),
        (3, {"b": 3}, None, None),
        (4, None, None, {"a": {"b": 4}}),
        (5, None, 5, None),
    ]


def test_the_newer_row_is_told_by_a_base_column(destination):
    key = {"name": "k", "type": "path", "path": "k", "dataType": "integer", "primaryKey": True}
    target = {
        "connection": destination.connection,
        "tableId": "events",
        "strategy": "merge",
        "mergeIf": {"newerBy": "_at"},
        "mapping": {"infer": {"typeHints": {"v": "integer"}}, "columns": [key]},
    }
    destination.gateway.change("POST", "/sources/shop/sinks", {"sinkId": "events", "name": "events", "table": target})
    destination.gateway.set("/sources/shop/sinks/events", NEVER)
    destination.post({"k": 1, "v": 1})
    destination.wait_columns("v")
    for v in (2, 3):
        destination.post({"k": 1, "v": v}, {"k": 2, "v": v})
        destination.flush()
    destination.gateway.stop()
    destination.gateway.start()
    destination.post({"k": 2, "v": 4})
    destination.flush()
    assert destination.rows("SELECT k, v FROM events ORDER BY k") == [(1, 3), (2, 4)]


def test_what_is_above_inferred_columns_is_declared(destination):
    destination.infer(depth=3)
    destination.post({"a": {"b": {"c": 1}, "d": 2}, "k": 1})
    destination.wait_columns("a__b__c", "a__d", "k")
    declared = {"name": "all_of_b", "type": "path", "path": "a.b", "dataType": "json", "optional": True}
    change_mapping(destination, columns=[declared])
    assert "a__b__c" not in destination.columns() and "a__d" in destination.columns()
    destination.post({"a": {"b": {"c": 3}, "d": 4}, "k": 5})
    destination.flush()
    rows = destination.rows("SELECT all_of_b, a__d, _rest FROM events WHERE k = 5")
    assert [(parsed(b), d, rest) for b, d, rest in rows] == [({"c": 3}, 4, None)]


def test_two_gateways_use_the_same_names(gateway_factory, postgres):
    config = CONFIG.format(uri=postgres.uri)
    one = Shop((gateway_factory(config).start(), "warehouse", postgres.rows))
    other = Shop((gateway_factory(config).start(), "warehouse", postgres.rows))
    one.infer()
    other.infer()
    one.post({"Name": 1})
    one.wait_columns("name")
    other.post({"name": "text", "Name": "text"})
    wait_until("both", lambda: sum(column["type"] == "path" for column in other.columns().values()) >= 2)
    paths = {column["path"]: (name, column.get("dataType", "text")) for name, column in other.columns().items() if column["type"] == "path"}
    assert paths["Name"] == ("name", "integer")  # what is there wins, also the type
    assert paths["name"][0].startswith("name_") and paths["name"][1] == "text"
    postgres.rows("DROP TABLE IF EXISTS events")
    postgres.rows("DROP TABLE IF EXISTS sluice.columns")


SAMPLES = [
    {"id": 1, "Name": "a", "price": 1, "at": "2026-01-02T03:04:05Z", "tags": ["x"]},
    {"id": 2, "Name": "b", "price": 1.5, "at": "2026-01-02T03:04:05+01:00"},
    {"id": 3, "name": True, "mixed": 1, "secret": "s"},
    {"id": 4, "name": None, "mixed": "x"},
]


def test_samples_give_a_manifest(gateway):
    samples = gateway.directory / "samples.ndjson"
    samples.write_text("".join(json.dumps(event) + "\n" for event in SAMPLES) + "[1]\n")
    command = [gateway.binary, "infer", "-f", str(samples), "--exclude", "secret", "--source", "shop", "--table", "made"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    assert "4 events, and 1 that are no JSON objects" in done.stderr and f"{samples}:5: " in done.stderr
    assert "price" in done.stderr and "50.0%" in done.stderr and "integer 1, decimal 1" in done.stderr
    manifest = gateway.directory / "made.yaml"
    manifest.write_text(done.stdout)
    command = [gateway.binary, "apply", "-f", str(manifest), "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    applied = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert applied.returncode == 0, applied
    columns = gateway.api("GET", "/sources/shop/sinks/shop").json["table"]["mapping"]["columns"]
    types = [(column["name"], column.get("dataType", "text"), column.get("optional", False)) for column in columns[2:]]
    collided = types[5][0]
    assert collided.startswith("name_") and types == [
        ("id", "integer", False),
        ("name", "text", True),
        ("price", "decimal", True),
        ("at", "timestamp", True),
        ("tags", "json", True),
        (collided, "boolean", True),
        ("mixed", "json", True),
    ]
    assert gateway.post(gateway.source_url("shop"), "".join(json.dumps(event) + "\n" for event in SAMPLES)).status == 200
    gateway.flush("shop", "shop")
    assert gateway.rows("SELECT id, name, price, mixed FROM made ORDER BY id") == [
        (1, "a", "1", None),
        (2, "b", "1.5", None),
        (3, None, None, "1"),
        (4, None, None, '"x"'),
    ]


def infer(gateway, samples, *arguments, standard_input=False):
    """Exit code, manifest and report."""
    text = "".join(json.dumps(event) + "\n" for event in samples)
    file = gateway.directory / "typed.ndjson"
    file.write_text(text)
    command = [gateway.binary, "infer", "-f", "-" if standard_input else str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, input=text if standard_input else None)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("standard_input", [False, True])
def test_types_that_are_given_are_tried(gateway, standard_input):
    samples = [{"zip": "01234", "n": 1, "a": {"b": "x"}}, {"zip": 1234, "n": 2.5}, {"zip": "x", "n": "three"}, {"n": None}]
    name = "standard input" if standard_input else str(gateway.directory / "typed.ndjson")

    code, manifest, report = infer(gateway, samples, "--type", "zip=text", "--type", "n=json", standard_input=standard_input)
    assert code == 0, report
    assert '{name: "zip", type: path, path: "zip", dataType: text, rawString: true, optional: true}' in manifest
    assert '{name: "n", type: path, path: "n", dataType: json, optional: true}' in manifest
    assert "text 2" in report and "integer 1" in report and "decimal 1" in report  # what was seen, not what was given
    assert "no sample had is left out" in manifest and "Make a column optional" in manifest

    code, manifest, report = infer(gateway, samples, "--type", "zip=integer", "--type", "n=decimal", standard_input=standard_input)
    assert code == 1 and "dataType: integer" in manifest
    assert f'{name}:3: Column "zip" of dataType integer' in report and f'{name}:3: Column "n" of dataType decimal' in report
    assert f"{name}:1: Column \"zip\"" in report and f"{name}:4" not in report and "3 values do not fit" in report

    for wrong, words in (("zipp=text", "no sample has a value of this field"), ("zip=varchar", "must be one of"), ("zip", "PATH=TYPE"),
                         ("a.b=text", "no sample has a value")):
        code, manifest, report = infer(gateway, samples, "--type", wrong, standard_input=standard_input)
        assert code == 1 and words in report and not manifest, (wrong, report)
    code, manifest, report = infer(gateway, samples, "--depth", "2", "--type", 'a["b"]=text', standard_input=standard_input)
    assert code == 0 and 'path: "a.b"' in manifest, report


def alter(destination, statement):
    if destination.connection != "local":
        destination.rows(statement)
        return
    with contextlib.closing(sqlite3.connect(destination.gateway.data / "tables.db")) as database:
        database.execute(statement)
        database.commit()


LOST = {"dropped": "DROP COLUMN a", "renamed": "RENAME COLUMN a TO kept"}


def start_to_drift(destination, declared, drift):
    """Rows in a table whose columns are declared, or inferred. Columns and mode."""
    if declared:
        columns = [{"name": name, "type": "path", "path": name, "dataType": "integer", "optional": True} for name in ("a", "b")]
        target = {"connection": destination.connection, "tableId": "events", "mapping": {"columns": columns}}
        target |= {"onSchemaDrift": drift} if drift else {}
        destination.gateway.change("POST", "/sources/shop/sinks", {"sinkId": "events", "name": "events", "table": target})
        destination.gateway.set("/sources/shop/sinks/events", NEVER)
    else:
        destination.infer(drift=drift)
        destination.post({"a": 0, "b": 0})
        destination.wait_columns("a", "b")  # with `fail` new fields get columns all the same
    destination.post({"a": 1, "b": 2})
    destination.flush()
    assert destination.rows("SELECT a, b FROM events WHERE b = 2") == [(1, 2)]


def added_again(destination):
    """How often the log says that a statement that adds the column was run. The refusal of a table names such statements, too."""
    text = destination.gateway.log_text().replace('\\"', "")
    return len(re.findall(r'"level":"info","at":"sinks/[^"]*","message":"[^"]*ADD COLUMN (?:IF NOT EXISTS )?a ', text))


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("declared", [False, True])
def test_evolve_makes_a_column_again_and_logs_it(destination, declared, how):
    start_to_drift(destination, declared, "evolve" if declared else None)
    before = added_again(destination)
    alter(destination, f"ALTER TABLE events {LOST[how]}")
    destination.post({"a": 3, "b": 4})
    destination.flush()
    assert destination.rows("SELECT a, b FROM events WHERE b IN (2, 4) ORDER BY b") == [(None, 2), (3, 4)]
    if how == "renamed":
        assert destination.rows("SELECT kept FROM events WHERE b IN (2, 4) ORDER BY b") == [(1,), (None,)]
    assert added_again(destination) > before


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("declared", [False, True])
def test_fail_names_a_column_until_it_is_there_again(destination, declared, how):
    start_to_drift(destination, declared, None if declared else "fail")
    before = added_again(destination)
    alter(destination, f"ALTER TABLE events {LOST[how]}")
    destination.post({"a": 3, "b": 4})
    flush = destination.gateway.api("POST", "/sources/shop/sinks/events/flush").json
    assert flush["status"] == "error" and 'column "a"' in json.dumps(flush).replace('\\"', '"'), flush
    assert added_again(destination) == before
    assert destination.rows("SELECT count(*) FROM events WHERE b = 4") == [(0,)]
    integer = "integer" if destination.connection == "local" else "bigint"
    alter(destination, f"ALTER TABLE events {'RENAME COLUMN kept TO a' if how == 'renamed' else f'ADD COLUMN a {integer}'}")
    destination.flush()
    assert destination.rows("SELECT a, b FROM events WHERE b = 4") == [(3, 4)]


def left_out(gateway):
    """Values that imports left out, in all."""
    text = request(gateway.admin, "GET", "/metrics", None, {"Authorization": f"Bearer {gateway.token}"}).body.decode()
    return int(re.search(r"^sluice_values_left_out_total (\d+)$", text, re.MULTILINE).group(1))


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("declared", [False, True])
def test_ignore_leaves_a_column_out_until_it_is_there_again(destination, declared, how):
    start_to_drift(destination, declared, "ignore")
    before = added_again(destination)
    alter(destination, f"ALTER TABLE events {LOST[how]}")
    destination.post({"a": 3, "b": 4}, {"b": 5})
    destination.flush()
    assert destination.rows("SELECT b FROM events WHERE b IN (2, 4, 5) ORDER BY b") == [(2,), (4,), (5,)]
    if not declared:  # the sink still has the column
        assert destination.rows("SELECT count(*) FROM events WHERE _rest IS NOT NULL AND b = 4") == [(0,)]
    assert left_out(destination.gateway) == 1
    assert '"a" (1)' in destination.gateway.log_text().replace('\\"', '"')
    assert added_again(destination) == before
    integer = "integer" if destination.connection == "local" else "bigint"
    alter(destination, f"ALTER TABLE events {'RENAME COLUMN kept TO a' if how == 'renamed' else f'ADD COLUMN a {integer}'}")
    destination.post({"a": 6, "b": 7})
    destination.flush()
    assert destination.rows("SELECT a, b FROM events WHERE b IN (2, 4, 7) ORDER BY b") == [(1 if how == "renamed" else None, 2), (None, 4), (6, 7)]
    assert left_out(destination.gateway) == 1


def own_table(destination, columns, **fields):
    """A sink with ignore, of a table that a person made with these columns."""
    schema = "" if destination.connection == "local" else "public."  # the search path begins with that of the ledger
    alter(destination, f"CREATE TABLE {schema}events ({columns})")
    mapping = {"columns": [{"name": "k", "type": "path", "path": "k", "rawString": True, "primaryKey": True}]}
    for name in ("a", "b", "c"):
        mapping["columns"].append({"name": name, "type": "path", "path": name, "dataType": "integer", "optional": True})
    table = {"connection": destination.connection, "tableId": "events", "strategy": "merge", "onSchemaDrift": "ignore", "mapping": mapping, **fields}
    return {"sinkId": "events", "name": "events", "table": table}


def test_ignore_with_a_table_of_others(destination):
    columns = "k text PRIMARY KEY, extra integer NOT NULL DEFAULT 7, c bigint CHECK (c < 100), own text"
    sink = own_table(destination, columns)
    plan = destination.gateway.api("PUT", "/sources/shop/manifest?dryRun=true", {"sinks": [sink]}, expect=200).json
    assert plan["canBeApplied"] and plan["sinks"][0]["table"]["action"] == "unchanged", plan
    assert plan["sinks"][0]["table"]["leftOut"] == ["a", "b"], plan
    destination.gateway.change("POST", "/sources/shop/sinks", sink)
    destination.gateway.set("/sources/shop/sinks/events", NEVER)
    destination.post({"k": "x", "a": 11, "c": 1}, {"k": "bad", "a": 12, "b": 13, "c": 100}, {"k": "y, \"z\"\n", "a": 14}, {"k": "x", "b": 15, "c": 2})
    destination.flush()
    assert destination.rows("SELECT k, extra, c, own FROM events ORDER BY k") == [("x", 7, 2, None), ("y, \"z\"\n", 7, None, None)]
    rejects = destination.gateway.api("GET", "/sources/shop/sinks/events/rejects", expect=200).json["rejects"]
    assert [reject["row"].strip() for reject in rejects] == ["bad,12,13,100"]  # with all that it had
    assert left_out(destination.gateway) == 3
    assert '"a" (2), "b" (1)' in destination.gateway.log_text().replace('\\"', '"')

    # What no import can do without is refused, and types are no less strict than before.
    alter(destination, "ALTER TABLE events ADD COLUMN a text")
    destination.post({"k": "z", "a": 16, "c": 3})
    flush = destination.gateway.api("POST", "/sources/shop/sinks/events/flush").json
    assert flush["status"] == "error" and 'column "a" is text' in json.dumps(flush).lower().replace('\\"', '"'), flush
    alter(destination, "ALTER TABLE events DROP COLUMN a")
    destination.flush()
    assert destination.rows("SELECT k, c FROM events WHERE k = 'z'") == [("z", 3)]


@pytest.mark.parametrize(
    "columns, fields, wanted",
    [
        ("b bigint", {}, 'column "k" (text) is missing'),
        ("k text PRIMARY KEY, b bigint", {"mergeIf": {"newerBy": "c"}}, 'column "c"'),
    ],
)
def test_ignore_refuses_a_table_without_what_an_import_needs(destination, columns, fields, wanted):
    sink = own_table(destination, columns, **fields)
    task = destination.gateway.api("POST", "/sources/shop/sinks", sink).json
    assert task["status"] == "error" and wanted in task["error"].replace("TEXT", "text"), task
