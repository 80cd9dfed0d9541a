"""Sinks that infer lose no value: random streams of objects that change their shape, and an oracle that puts each row together again.

What a row says is its columns at their paths, and its rest. It is compared with the event as JSON has it: numbers by value, RFC 3339 text by
instant, the first of equal keys, null as if it were missing.

    SLUICE_SEED=N      the same streams again
    SLUICE_EVENTS=N    how many events a destination (6,000)
"""

import contextlib
import datetime
import decimal
import json
import os
import random
import re

import pytest
from sluice import DEADLINE, NEVER, wait_until

CONFIG = "connections:\n  warehouse:\n    type: postgres\n    uri: {uri}\n"
EVENTS = int(os.environ.get("SLUICE_EVENTS", "6000"))
SEED = int(os.environ.get("SLUICE_SEED", "20261130"))
PHASES = 12
# Of RFC 3339, what a timestamp keeps whole: microseconds at most, and no leap second.
EXACT_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:(?!60)\d\d(\.\d{1,6}0*)?([Zz]|[+-]\d\d:\d\d)")

# ---- values as JSON has them ----------------------------------------------------------------------------------------------------------------


def first_of_equal_keys(pairs):
    found = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def parse(text):
    return json.loads(text, object_pairs_hook=first_of_equal_keys, parse_int=decimal.Decimal, parse_float=decimal.Decimal)


def instant(text):
    """None: it is no time that a timestamp keeps whole."""
    if not EXACT_TIME.fullmatch(text):
        return None
    text = re.sub(r"(\.\d{6})0+", r"\1", text.upper().replace("Z", "+00:00"))
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.datetime.fromisoformat(re.sub(r"\.(\d+)", lambda found: "." + found[1].ljust(6, "0"), text)).astimezone(datetime.UTC)
    return None


def plain(value):
    """In a form in which equal values are equal, and others are not: 1 is not true."""
    if isinstance(value, str):
        at = instant(value)
        return ("time", at) if at else ("text", value)
    if isinstance(value, list):
        return ("list", [plain(item) for item in value])
    if isinstance(value, dict):
        return ("object", {key: plain(item) for key, item in value.items()})
    return (type(value).__name__, value)


def leaves(event, depth, path=()):
    found = {}
    for key, value in event.items():
        at = (*path, key)
        if isinstance(value, dict) and value and len(at) < depth:
            found.update(leaves(value, depth, at))
        elif value is not None:
            found[at] = plain(value)
    return found


def steps(path):
    """Of a column's path: bare steps, and JSON strings in brackets."""
    return tuple(json.loads(quoted) if quoted else bare for bare, quoted in re.findall(r"\.?([^.\[\]]+)|\[(\"(?:[^\"\\]|\\.)*\")\]", path))


def cell(column, value):
    kind = column.get("dataType", "text")
    if kind in ("integer", "decimal"):
        return plain(decimal.Decimal(str(value)))
    if kind == "boolean":
        return plain(value in (True, 1, "true", "t"))
    if kind == "timestamp":
        if isinstance(value, datetime.datetime):
            return ("time", value.astimezone(datetime.UTC))
        return ("time", instant(value))
    if kind == "json":
        return plain(parse(value))
    return plain(value)


def leaves_of_row(columns, row, depth):
    found = {}
    for column, value in zip(columns, row):
        if value is None or column["type"] != "path":
            continue
        at = steps(column["path"])
        assert at not in found, (at, row)
        found[at] = cell(column, value)
    if row[-1] is not None:
        rest = leaves(parse(row[-1]), depth)
        assert not set(rest) & set(found), (rest, found)
        found.update(rest)
    return found


# ---- streams --------------------------------------------------------------------------------------------------------------------------------

NAMES = ["id", "Name", "name", "order-no", "order no", "straße", "日本", "a.b", "", "1", "x\"y", "x\\y", "tab\there", "_rest", "oid"]
NAMES += [f"field{number}" for number in range(30)] + ["a rather long name of a field that is cut at the end of what a column may be called " + end for end in "ab"]


def texts(chance):
    yield str(chance.randrange(-5, 100))
    yield str(chance.randrange(-(2**70), 2**70))
    yield chance.choice(["0.5", "-0", "1e3", "1E-7", "12.50", "0.1234567890123456789012345678901234567890", "9223372036854775808", "-0.0"])
    yield chance.choice(["true", "false"])
    yield "null"
    yield chance.choice(['""', '"x"', '"1"', '" true "', '"a,b"', '"two\\nlines"', '"\\u00e9\\ud83d\\ude00"', '"é"', '"x\\"y"'])
    yield chance.choice(['"2026-11-30T16:00:00Z"', '"2026-11-30t16:00:00.123456+02:00"', '"2026-11-30T16:00:00.5-11:30"'])
    yield chance.choice(['"2026-11-30T16:00:00.1234567Z"', '"2016-12-31T23:59:60Z"', '"2026-11-30 16:00:00Z"', '"2026-11-30"'])
    yield chance.choice(["[]", "[1,2.50]", '[{"a":1,"a":2,"b":null}]', "{}", "[[],{}]"])


def value(chance, name, kind, level):
    if level < 4 and name in ("Name", "order-no", "field1", "field7", "field9") and chance.random() < 0.5:
        return stream_object(chance, ["Name", "id", "a.b", "field1"], {"id": 0, "a.b": 5}, level + 1)
    options = list(texts(chance))
    return options[kind] if chance.random() < 0.93 else chance.choice(options)


def stream_object(chance, names, kinds, level=1):
    members = []
    for name in names:
        if chance.random() < 0.3:
            continue
        key = json.dumps(name, ensure_ascii=chance.random() < 0.5)
        members.append(f"{key}{chance.choice([':', ' : '])}{value(chance, name, kinds.setdefault(name, chance.randrange(9)), level)}")
        if chance.random() < 0.02:
            members.append(f"{key}:{value(chance, name, 0, level)}")  # a second one of the same name
    chance.shuffle(members)
    return "{" + chance.choice([",", " , "]).join(members) + "}"


def stream(chance, first, count, kinds, phase):
    """Events of one phase: some names of it, some of all."""
    names = NAMES[phase : phase + 12] + chance.sample(NAMES, 4)
    for number in range(first, first + count):
        text = stream_object(chance, list(dict.fromkeys(names)), kinds)
        more = f',{text[1:]}' if text != "{}" else "}"
        yield f'{{"seq":{number}{more}'


# ---- the test -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def destination(request, gateway_factory, postgres):
    if request.param == "sqlite":
        gateway = gateway_factory().start()
        yield gateway, "local", gateway.rows
        return
    gateway = gateway_factory(CONFIG.format(uri=postgres.uri)).start()
    yield gateway, "warehouse", postgres.rows
    for table in ("flat", "deep"):
        postgres.rows(f"DROP TABLE IF EXISTS {table}")
    postgres.rows("DROP TABLE IF EXISTS sluice.columns")


def columns_of(gateway, sink):
    return gateway.api("GET", f"/sources/shop/sinks/{sink}").json["table"]["mapping"]["columns"]


def compare(gateway, rows, connection, sink, depth, events):
    columns = columns_of(gateway, sink)
    assert columns[-1]["name"] == "_rest"
    as_text = "::text" if connection != "local" else ""
    quoted = ", ".join('"' + column["name"].replace('"', '""') + '"' + (as_text if column.get("dataType") == "json" else "") for column in columns)
    seen = set()
    for row in rows(f"SELECT {quoted} FROM {sink}"):
        found = leaves_of_row(columns, row, depth)
        number = int(found[("seq",)][1])
        assert number not in seen
        seen.add(number)
        wanted = leaves(parse(events[number]), depth)
        assert found == wanted, (sink, events[number], {at: (found.get(at), wanted.get(at)) for at in found.keys() | wanted.keys() if found.get(at) != wanted.get(at)})
    assert seen == set(range(len(events)))
    return columns


def test_no_value_is_lost(destination):
    gateway, connection, rows = destination
    chance = random.Random(SEED)
    print(f"SLUICE_SEED={SEED}")
    url = gateway.add_source("shop", framing="ndjson")
    depths = {"flat": 1, "deep": 3}
    for sink, depth in depths.items():
        infer = {"depth": depth, "maxColumns": 60 if sink == "flat" else 400, "typeHints": {"field3": "text", "field4": "timestamp"}}
        target = {"connection": connection, "tableId": sink, "mapping": {"infer": infer}}
        gateway.change("POST", "/sources/shop/sinks", {"sinkId": sink, "name": sink, "table": target})
        gateway.set(f"/sources/shop/sinks/{sink}", NEVER)
    events, kinds = [], {}

    def send(made):
        for at in range(0, len(made), 250):
            answer = gateway.post(url, "".join(event + "\n" for event in made[at : at + 250]))
            assert answer.status == 200, answer
        events.extend(made)

    def has_variants():
        """The number of changes per minute is limited, and a kill forgets what was found: more events find it again."""
        send(list(stream(chance, len(events), 20, kinds, 0)))
        return sum("__v_" in column["name"] for column in columns_of(gateway, "deep")) >= 3

    for phase in range(PHASES):
        before = {sink: len(columns_of(gateway, sink)) for sink in depths}
        made = list(stream(chance, len(events), EVENTS // PHASES, kinds, phase * 3))
        if phase == 0:  # so that there are columns early
            send(made[:250])
            wait_until("columns", lambda: all(len(columns_of(gateway, sink)) > before[sink] for sink in depths))
            made = made[250:]
        send(made)
        if phase % 4 == 2:
            for sink in depths:
                gateway.flush("shop", sink)
        if phase % 5 == 3:
            gateway.kill()
            gateway.start()
    wait_until("columns of variants", has_variants, 3 * DEADLINE)
    for sink in depths:
        gateway.flush("shop", sink)
    found = {sink: compare(gateway, rows, connection, sink, depth, events) for sink, depth in depths.items()}
    assert len(found["flat"]) <= 60
    assert {column["name"] for column in found["deep"] if column.get("path") == "field3"} <= {"field3"} | {
        f"field3__v_{kind}" for kind in ("integer", "decimal", "boolean", "json")
    }


def test_the_oracle_sees_a_lost_value(destination):
    gateway, connection, rows = destination
    url = gateway.add_source("shop", framing="ndjson")
    target = {"connection": connection, "tableId": "flat", "mapping": {"infer": {}}}
    gateway.change("POST", "/sources/shop/sinks", {"sinkId": "flat", "name": "flat", "table": target})
    events = ['{"seq":0,"a":1}', '{"seq":1,"a":"x","b":{"c":[1]}}']
    assert gateway.post(url, "\n".join(events)).status == 200
    gateway.flush("shop", "flat")
    compare(gateway, rows, connection, "flat", 1, events)
    for wrong in ('{"seq":1,"a":"y","b":{"c":[1]}}', '{"seq":1,"a":"x","b":{"c":[true]}}', '{"seq":1,"a":"x"}', '{"seq":1,"a":"x","b":{"c":[1]},"d":0}'):
        with pytest.raises(AssertionError):
            compare(gateway, rows, connection, "flat", 1, [events[0], wrong])
    with pytest.raises(AssertionError):
        compare(gateway, rows, connection, "flat", 1, [*events, '{"seq":2}'])


def test_a_dry_run_shows_the_rest(destination):
    gateway, connection, _ = destination
    gateway.add_source("shop", framing="ndjson")
    target = {"connection": connection, "tableId": "flat", "mapping": {"infer": {}}}
    gateway.change("POST", "/sources/shop/sinks", {"sinkId": "flat", "name": "flat", "table": target})
    version = gateway.api("GET", "/sources/shop/sinks/flat").json["version"]
    answer = gateway.api("POST", "/sources/shop/test", {"a": 1, "b": {"c": "x"}}, expect=200)
    assert '{\\"a\\":1,\\"b\\":{\\"c\\":\\"x\\"}}' in answer.body.decode(), answer
    assert gateway.api("GET", "/sources/shop/sinks/flat").json["version"] == version  # it discovers nothing
