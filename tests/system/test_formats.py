"""Data directories of earlier programs are read, and nothing in them is lost. See tests/fixtures/README.md."""

import json
import sqlite3
import tarfile

import pytest
from sluice import ROOT, wait_until

FIXTURES = ROOT / "tests" / "fixtures"
CONFIG = """connections:
  local: {type: sqlite, path: tables.db}
  other: {type: sqlite, path: away/other.db}
"""
FORMATS = [1, 2, 3]
INSTANCE = {
    1: "01a22b3b-64db-7681-81e5-44f96de15fdd",
    2: "01a22c2d-6e5c-75e7-a567-69f5f143509f",
    3: "01a22f8a-124a-7770-b475-28756962eff3",
}
SHOP = {
    1: "/stream/1/shop/n8ayi65mabUyv7Pe8F9qXy5gqkB2nx9L92ZOTKQTiFiqPtSn",
    2: "/stream/1/shop/A4mdvU4U5YPugZTFSHw1g8RrH0hWDDJCKGaLGHxVkp26koCZ",
    3: "/stream/1/shop/Udfbc3j9JIvZpgaQnRLqoHUCNhnoExaQDMEuZnK1tn4aIBAx",
}
OLD = {
    1: "/stream/1/old/VoYW7LGx3KTWTSeSSySfIeEauk7SsW288jORcNNeQHGXgqSK",
    2: "/stream/1/old/5POk616uN7kCTm9lzYwEcGudSBNpzXU3ByzY3Td1nQt8C07B",
    3: "/stream/1/old/nhZxja5yhlAm88TeUjGkSsUtiJz6hOmDz4DgOLIZKy8Vvp3u",
}
ROWS = [(n, f'text {n}, "quoted"') for n in range(30)]


def of_format(gateway_factory, number):
    gateway = gateway_factory(CONFIG, arguments=["--disk.budget", "256MB"])
    with tarfile.open(FIXTURES / f"format-{number}.tar.gz") as fixture:
        fixture.extractall(gateway.directory)
    return gateway


def rows_of(path, table):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return database.execute(f'SELECT n, text FROM "{table}" ORDER BY n').fetchall()
    finally:
        database.close()


@pytest.mark.parametrize("number", FORMATS)
def test_earlier_format_is_read_and_nothing_is_lost(gateway_factory, number):
    gateway = of_format(gateway_factory, number)
    (gateway.data / "away").mkdir()
    gateway.start()
    program = json.loads((gateway.data / "format").read_text())
    assert program["format"] == 4 and program["instance"] == INSTANCE[number]

    # Before anything is imported anew: what the old program counted is what this one shows.
    # (What waits is staged, and some day imported, because the directory is older than the intervals: its level is not the point.)
    for sink in ("at-once", "keyed", "staged", "buffered"):
        statistics = gateway.statistics("shop", sink)
        levels = statistics["levels"]
        assert sum(levels[level]["recordsCount"] for level in ("local", "staging", "target")) == 30, (sink, statistics)
        assert levels["target"]["recordsCount"] == 30 or sink in ("staged", "buffered"), (sink, statistics)
        assert statistics["rejects"]["events"] == 1
    rejects = gateway.api("GET", "/sources/shop/sinks/buffered/rejects", expect=200).json["rejects"]
    assert [reject["event"] for reject in rejects] == ['{"n":"not a number"}']
    sinks = gateway.api("GET", "/sources/shop/sinks", expect=200).json["sinks"]
    assert sorted(sink["sinkId"] for sink in sinks) == ["at-once", "buffered", "failing", "keyed", "staged"]

    # What waited arrives once.
    for sink in ("staged", "buffered", "failing"):
        gateway.flush("shop", sink)
    assert rows_of(gateway.data / "tables.db", "staged") == ROWS
    assert rows_of(gateway.data / "tables.db", "buffered") == ROWS
    # The folder of the other database was lost with its first 20 rows; the file that failed arrives.
    assert rows_of(gateway.data / "away" / "other.db", "failing") == ROWS[20:]
    for sink in ("at-once", "keyed"):
        assert rows_of(gateway.data / "tables.db", sink) == ROWS

    # The sources go on as they were.
    assert gateway.post(SHOP[number], '{"n": 30, "t": "new"}', "application/x-ndjson").status == 200
    assert gateway.post(OLD[number], '{"n": 2, "t": "new"}').status == 404
    gateway.wait_rows("at-once", 31)
    gateway.change("PUT", "/sources/old/enable")
    assert gateway.post(OLD[number], '{"n": 2, "t": "new"}').status == 200
    gateway.wait_rows("one", 2)

    # And again, now in today's format.
    gateway.stop()
    gateway.start()
    assert gateway.statistics("shop", "buffered")["total"]["recordsCount"] == 31
    assert gateway.flush("shop", "buffered")["outputs"]["rows"] == 1
    assert gateway.rows('SELECT count(*) FROM "buffered"') == [(31,)]


@pytest.mark.parametrize("number", FORMATS)
def test_earlier_format_is_verified(gateway_factory, number):
    """A kill in the middle of the first start on an old directory costs nothing: the next start finds all of it."""
    gateway = of_format(gateway_factory, number)
    (gateway.data / "away").mkdir()
    for passage in (1, 2, 3):
        gateway.process = None
        try:
            gateway.start(environment={"SLUICE_FAILPOINTS": f"storage.before-commit=crash@{passage}"})
        except AssertionError as problem:  # before it was ready
            assert "exit code -9" in str(problem)
        wait_until("the kill", lambda: gateway.process.poll() == -9)
    gateway.start()
    for sink in ("staged", "buffered"):
        gateway.flush("shop", sink)
        assert rows_of(gateway.data / "tables.db", sink) == ROWS
    wait_until("the failed file", lambda: (gateway.data / "away" / "other.db").exists())


def test_targets_of_format_2_are_read(gateway_factory):
    """Columns that were inferred, masks, exploded arrays, keys that newer rows and deletions change: of rows that wait, too."""
    gateway = of_format(gateway_factory, "2-targets")
    gateway.start()
    assert json.loads((gateway.data / "format").read_text())["format"] == 4
    shop = "/stream/1/shop/gL9N77W0LyCAUC0fjoZkh1JNel6zHwk5h4QHB6PAyNTVi0uR"
    free = "/stream/1/free/f8tyhjHGr0fZ0qYqYpoqgG7IoIxWiopjGcXbkPT5DPDWS3wP"
    more = {"n": 1, "t": 3, "mail": "m1@example.com", "items": ["late"], "gone": "no"}  # older than the row of its key
    assert gateway.post(shop, more).status == 200
    assert gateway.post(free, {"n": "ten", "zip": "9", "secret": "s"}).status == 200
    for source, sink in [("shop", "masked"), ("shop", "parts"), ("shop", "last"), ("free", "inferred")]:
        gateway.flush(source, sink)
    masked = gateway.rows("SELECT mail FROM masked WHERE n = 1 ORDER BY rowid")
    assert len(gateway.rows("SELECT mail FROM masked")) == 11
    assert masked[0] == masked[2] and masked[0][0] == "f4e9a1a9ac418f0a10bbddd506474581a74f93937f0e08307de699fb9c5a388c"
    assert gateway.rows("SELECT part FROM parts ORDER BY rowid") == [(f"{n}{c}",) for n in range(10) for c in "ab"] + [("late",)]
    assert gateway.rows("SELECT n, t FROM last ORDER BY n") == [(0, 5), (1, 6), (2, 7), (4, 9)]
    found = gateway.rows("SELECT n, n__v_text, price, zip, _rest FROM inferred ORDER BY _at")
    assert found[6] == (6, None, "6.5", "01234", None) and found[10] == (None, "ten", None, "9", None), found
    assert [json.loads(row[4])["n"] for row in found[:6]] == list(range(6)) and len(found) == 11
