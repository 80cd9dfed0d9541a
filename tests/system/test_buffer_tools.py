"""The commands that look into the data directory of a stopped gateway: `sluice verify` and `sluice dump`."""

import csv
import hashlib
import io
import json
import os
import pathlib
import subprocess

import pytest

from sluice import BINARY, NEVER, wait_until

STAGE = {**NEVER, "storage.level.staging.upload.trigger.count": 1}
COLUMNS = [
    {"name": "id", "type": "path", "path": "id", "dataType": "integer", "primaryKey": True},
    {"name": "price", "type": "path", "path": "price", "dataType": "decimal", "optional": True},
    {"name": "paid", "type": "path", "path": "paid", "dataType": "boolean", "optional": True},
    {"name": "note", "type": "path", "path": "note", "rawString": True, "optional": True},
    {"name": "all", "type": "path", "path": "more", "dataType": "json", "optional": True},
]


def sluice(*arguments, expect=0):
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120, env={k: v for k, v in os.environ.items() if k != "SLUICE_DATA"})
    assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def files_of(folder):
    """What each file holds; LMDB's table of readers and the lock are written by every process that looks."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_file() and path.name not in ("lock", "lock.mdb")
    }


def dump(*arguments, expect=0):
    return [json.loads(line) for line in sluice("dump", *arguments, expect=expect).stdout.splitlines()]


def event(n):
    return {"id": n, "price": 1.5, "paid": n % 2 == 0, "note": f'a "b", {n}\nö', "more": {"list": [n, None]}}


def values(n):
    return {"id": n, "price": 1.5, "paid": n % 2 == 0, "note": f'a "b", {n}\nö', "all": {"list": [n, None]}}


def statistics_of(gateway, level):
    return gateway.statistics("shop", "orders")["levels"][level]["recordsCount"]


@pytest.fixture
def shop(gateway_factory):
    """A gateway with a source and a sink whose rows are neither staged nor imported by themselves."""
    gateway = gateway_factory().start()
    gateway.url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, NEVER, table="in.orders")
    return gateway


def send(gateway, first, count):
    """The ids of the events."""
    answers = [gateway.post(gateway.url, event(n)) for n in range(first, first + count)]
    assert all(answer.status == 200 for answer in answers)
    return [answer.headers["sluice-event-id"] for answer in answers]


def stage(gateway, rows):
    gateway.set("/sources/shop/sinks/orders", STAGE)
    wait_until("the rows are staged", lambda: statistics_of(gateway, "staging") >= rows)
    gateway.set("/sources/shop/sinks/orders", NEVER)


def packs(gateway):
    return sorted((gateway.data / "staging").glob("*.pack"))


def test_rows_of_the_log_and_of_packs(shop):
    shop.change("PUT", "/sources/shop/sinks/orders/pause")
    ids = send(shop, 1, 5)
    stage(shop, 5)
    ids += send(shop, 6, 4)
    shop.kill()
    before = files_of(shop.data)

    found = sluice("verify", "--data", shop.data)
    assert "everything is complete and valid" in found.stdout, found.stdout
    rows = dump("--data", shop.data)
    assert [(row["sink"], row["row"], row["values"]) for row in rows] == [("shop/orders", n, values(n)) for n in range(1, 10)]
    assert dump("--data", shop.data, "--sink", "shop/orders") == rows
    text = sluice("dump", "--data", shop.data, "--format", "csv").stdout
    records = list(csv.DictReader(io.StringIO(text)))
    assert [(record["_sink"], int(record["_row"]), int(record["id"]), record["note"]) for record in records] == [
        ("shop/orders", n, n, values(n)["note"]) for n in range(1, 10)
    ]
    assert [json.loads(record["all"]) for record in records] == [values(n)["all"] for n in range(1, 10)]
    # A pack says the number of its sink and not its name.
    assert [row["values"] for row in dump(*packs(shop))] == [values(n) for n in range(1, 6)]
    # Each part of the log and each slice says between which ids its events lie.
    for listed, count in ((dump("--data", shop.data, "--list"), 9), (dump("--list", *packs(shop)), 5)):
        assert sum(part["rows"] for part in listed) == count
        for part in listed:
            of_it = ids[part["firstRow"] - 1 : part["firstRow"] - 1 + part["rows"]]
            assert (part["firstEventId"], part["lastEventId"]) == (min(of_it), max(of_it))
            assert ("commit" in part) == (part["firstRow"] > 5) and ("pack" in part) == (part["firstRow"] <= 5)
    assert "--list has no other format" in sluice("dump", "--list", "--format", "csv", expect=2).stderr
    assert files_of(shop.data) == before

    # What was imported is in no dump of the directory, and what is refused names what is right.
    shop.start()
    shop.change("PUT", "/sources/shop/sinks/orders/resume")
    shop.flush("shop", "orders")
    shop.wait_rows("in.orders", 9)
    wait_until("nothing waits", lambda: statistics_of(shop, "target") == 9)
    assert "in use by process" in sluice("verify", "--data", shop.data, expect=2).stderr
    assert "in use by process" in sluice("dump", "--data", shop.data, expect=2).stderr
    shop.stop()
    assert dump("--data", shop.data) == []
    assert sluice("verify", "--data", shop.data).stdout.startswith("catalog: ")
    assert 'no sink "shop/none"' in sluice("dump", "--data", shop.data, "--sink", "shop/none", expect=1).stderr


def test_what_is_no_data_directory(tmp_path):
    for command in ("verify", "dump"):
        assert "is not a data directory" in sluice(command, "--data", tmp_path, expect=2).stderr
        assert "cannot find the data directory" in sluice(command, "--data", tmp_path / "none", expect=2).stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.pack").write_bytes(b"no pack" * 100)
    assert 'the pack "x.pack" is damaged' in sluice("dump", tmp_path / "x.pack", expect=1).stderr
    assert "cannot open" in sluice("dump", tmp_path / "none.pack", expect=2).stderr
    assert "--format must be ndjson or csv" in sluice("dump", "--format", "xml", expect=2).stderr


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_damage_is_named_and_costs_only_itself(shop):
    shop.change("PUT", "/sources/shop/sinks/orders/pause")
    send(shop, 1, 3)
    stage(shop, 3)
    known = set(packs(shop))
    send(shop, 4, 3)
    stage(shop, 6)
    send(shop, 7, 1)
    shop.kill()
    second = next(path for path in packs(shop) if path not in known)

    # A bit of the rows in a pack.
    content = second.read_bytes()
    flip(second, content.index(b"\x28\xb5\x2f\xfd") + 20)
    found = sluice("verify", "--data", shop.data, expect=1).stdout
    assert f"damaged: staging/{second.name}: the slice of sink" in found and "everything" not in found, found
    assert [row["row"] for row in dump("--data", shop.data, expect=1)] == [1, 2, 3, 7]
    flip(second, content.index(b"\x28\xb5\x2f\xfd") + 20)
    sluice("verify", "--data", shop.data)

    # A pack that is not there.
    second.rename(shop.directory / "away")
    found = sluice("verify", "--data", shop.data, expect=1).stdout
    assert f"damaged: staging/{second.name}: rows 4 to 6 of shop/orders wait for their import" in found, found
    (shop.directory / "away").rename(second)

    # A bit of the rows in the log: the page of the last commit.
    database = shop.data / "sluice.mdb" / "data.mdb"
    marks = []
    content = database.read_bytes()
    at = content.find(b'""b"", 7')
    while at >= 0:
        marks.append(at)
        at = content.find(b'""b"", 7', at + 1)
    assert marks
    for mark in marks:
        flip(database, mark)
    found = sluice("verify", "--data", shop.data, expect=1).stdout
    assert "the checksum of rows 7 to 7 of shop/orders differs" in found, found
    assert [row["row"] for row in dump("--data", shop.data, expect=1)] == [1, 2, 3, 4, 5, 6]


def test_rows_of_two_versions_and_of_deletions(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("shop", framing="ndjson")
    columns = [COLUMNS[0], {"name": "note", "type": "path", "path": "note", "rawString": True, "optional": True}]
    gateway.add_sink("shop", "orders", columns, NEVER, strategy="merge", onSchemaDrift="evolve", deleteOn={"path": "gone", "equals": "true"})
    gateway.change("PUT", "/sources/shop/sinks/orders/pause")
    assert gateway.post(url, '{"id":1,"note":"x"}\n{"id":1,"gone":true}\n').status == 200
    more = {"mapping": {"columns": [*columns, {"name": "more", "type": "path", "path": "more", "optional": True}]}}
    gateway.change("PATCH", "/sources/shop/sinks/orders", {"table": more})
    assert gateway.post(url, '{"id":2,"more":"y"}\n').status == 200
    gateway.kill()
    rows = dump("--data", gateway.data)
    assert [(row.get("deleted"), row["values"]) for row in rows] == [
        (None, {"id": 1, "note": "x"}),
        (True, {"id": 1, "note": None}),
        (None, {"id": 2, "note": None, "more": '"y"'}),
    ]
    text = sluice("dump", "--data", gateway.data, "--format", "csv").stdout
    assert text.splitlines() == [
        "_sink,_row,id,note,_deleted",
        "shop/orders,1,1,x,",
        "shop/orders,2,1,,d",
        "_sink,_row,id,note,more,_deleted",
        'shop/orders,3,2,,"""y""",',
    ]
