"""The rejects of a sink by the API's filters, and `sluice rejects`."""

import json
import sqlite3
import subprocess
import urllib.parse

import pytest

from sluice import AT_ONCE, BINARY, wait_until

COLUMNS = [
    {"name": "id", "type": "path", "path": "id", "dataType": "integer"},
    {"name": "note", "type": "path", "path": "note", "rawString": True, "optional": True},
]
REJECTS = "/sources/shop/sinks/orders/rejects"


@pytest.fixture
def shop(gateway):
    """30 events that cannot be mapped, of two kinds, and 2 rows that the table refuses."""
    url = gateway.add_source("shop", framing="ndjson")
    gateway.add_sink("shop", "orders", COLUMNS, AT_ONCE)
    assert gateway.post(url, '{"id":1,"note":"first"}\n').status == 200
    gateway.wait_rows("orders", 1)
    lines = [json.dumps({"id": "no number"} if n % 3 else {"note": f"ä {n}"}, ensure_ascii=False) for n in range(30)]
    assert gateway.post(url, "\n".join(lines)).status == 200
    wait_until("events are rejects", lambda: gateway.api("GET", REJECTS).json["page"]["totalCount"] == 30)
    database = sqlite3.connect(gateway.data / "tables.db", timeout=60)
    database.execute("CREATE TRIGGER no BEFORE INSERT ON orders WHEN NEW.id > 100 BEGIN SELECT RAISE(ABORT, 'too large: 100% \"no\"'); END")
    database.commit()
    database.close()
    assert gateway.post(url, '{"id":101,"note":"x\\u001b[2J"}\n{"id":2}\n{"id":102}\n').status == 200
    wait_until("rows are rejects", lambda: gateway.api("GET", REJECTS).json["page"]["totalCount"] == 32)
    return gateway


def ids(gateway, **parameters):
    """Of all pages."""
    found, last = [], ""
    while True:
        query = urllib.parse.urlencode({**parameters, "afterId": last})
        answer = gateway.api("GET", f"{REJECTS}?{query}", expect=200).json
        found += [reject["rejectId"] for reject in answer["rejects"]]
        last = answer["page"]["lastId"]
        if not last:
            return found


def sluice(gateway, *arguments, expect=0):
    command = [BINARY, "rejects", *map(str, arguments), "--admin", gateway.admin, "--data", str(gateway.data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, (done.args, done.returncode, done.stdout, done.stderr)
    return done


def test_filters(shop):
    everything = ids(shop, limit=7)
    assert everything == list(range(1, 33))
    missing = [number for number in range(1, 31) if number % 3 == 1]
    assert ids(shop, kind="event", reason="no value", limit=4) == missing
    assert ids(shop, kind="row") == [31, 32] and ids(shop, reason='100% "no"', limit=1) == [31, 32]
    assert ids(shop, reason="nowhere") == []
    at = shop.api("GET", f"{REJECTS}?kind=row").json["rejects"][0]["time"]
    assert ids(shop, **{"from": at}) == [31, 32] and ids(shop, to=at) == list(range(1, 31))
    assert ids(shop, **{"from": "2100-01-01T00:00:00+02:00"}) == []
    for query, says in (("kind=x", "kind"), ("from=yesterday", "from"), ("to=2026-13-01T00:00:00Z", "to")):
        answer = shop.api("GET", f"{REJECTS}?{query}")
        assert answer.status == 400 and f'"{says}"' in answer.json["message"]


def test_command(shop):
    lines = sluice(shop, "list", "shop/orders").stdout.splitlines()
    assert len(lines) == 32 and lines[0].startswith("1 ") and "event Column \"id\": there is no value" in lines[0] and "ä 0" in lines[0], lines[0]
    assert "row   " in lines[30] and '100% "no"' in lines[30] and "\x1b" not in lines[30]
    whole = [json.loads(line) for line in sluice(shop, "list", "shop/orders", "-o", "ndjson", "--kind", "event").stdout.splitlines()]
    assert [reject["rejectId"] for reject in whole] == list(range(1, 31)) and whole[0]["event"] == '{"note": "ä 0"}'
    assert sluice(shop, "list", "shop/orders", "--reason", "nowhere").stdout == "no rejects\n"
    shown = sluice(shop, "show", "shop/orders", 32).stdout
    assert "102" in shown and "rowNumber" in shown
    assert "no reject 33" in sluice(shop, "show", "shop/orders", 33, expect=2).stderr
    assert sluice(shop, "delete", "shop/orders", "--up-to", 5).stdout == "5 rejects removed\n"
    assert ids(shop)[0] == 6
    assert sluice(shop, "delete", "shop/orders", "--all").stdout == "27 rejects removed\n"
    assert sluice(shop, "list", "shop/orders").stdout == "no rejects\n"


def test_wrong_command_lines(shop):
    for arguments, says in (
        (("list", "shop"), "SOURCE/SINK"),
        (("drop", "shop/orders"), "list, show or delete"),
        (("show", "shop/orders"), "id of the reject is missing"),
        (("show", "shop/orders", "x"), "is a number"),
        (("list", "shop/orders", "1"), "too many"),
        (("delete", "shop/orders"), "--up-to ID or --all"),
        (("delete", "shop/orders", "--all", "--up-to", "1"), "--up-to ID or --all"),
        (("list", "shop/orders", "--all"), "not for this verb"),
        (("list", "shop/orders", "-o", "csv"), "table or ndjson"),
        (("list", "shop/none"), "none"),
    ):
        assert says in sluice(shop, *arguments, expect=2).stderr, arguments
    assert len(ids(shop)) == 32
