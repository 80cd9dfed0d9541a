"""What docs/inference.md says and shows, done as it stands there."""

import json
import re
import subprocess

from sluice import BINARY, NEVER, ROOT, wait_until

PAGE = (ROOT / "docs" / "inference.md").read_text()
FORM = "application/x-www-form-urlencoded"


def command(gateway, *words):
    words = [BINARY, *words, "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def fields(gateway, source, sink="events"):
    """The inferred columns, {name: data type}."""
    columns = gateway.api("GET", f"/sources/{source}/sinks/{sink}").json["table"]["mapping"]["columns"]
    return {column["name"]: column.get("dataType", "text") for column in columns if column.get("inferred") in ("field", "variant")}


def wait_fields(gateway, source, wanted):
    wait_until(f"{wanted}, not {fields(gateway, source)}", lambda: wanted.items() <= fields(gateway, source).items())


def apply_page(gateway, connection="local"):
    """The manifest of the page."""
    manifest = gateway.directory / "events.yaml"
    text = re.search(r"```yaml\n(kind: source.*?)```", PAGE, re.S)[1]
    manifest.write_text(text.replace("tableId: shop.events", f"tableId: shop.events\n      connection: {connection}"))
    done = command(gateway, "apply", "-f", str(manifest))
    assert done.returncode == 0, done
    gateway.set("/sources/shop/sinks/events", NEVER)
    return gateway.source_url("shop"), manifest


def test_the_first_example(destination_of):
    gateway, connection, rows = destination_of()
    url, manifest = apply_page(gateway, connection)
    event = json.loads(re.search(r"events such as `(.*?)`", PAGE)[1])
    assert gateway.post(url, event).status == 200
    wait_fields(gateway, "shop", {"id": "integer", "price": "decimal", "zip": "text"})
    assert gateway.post(url, event).status == 200
    # A type hint pins: the number goes to the variant. A young field is in the rest of its first event.
    for _ in range(2):
        assert gateway.post(url, {"id": 2, "zip": 1234, "price": "cheap"}).status == 200
        wait_fields(gateway, "shop", {"zip__v_integer": "integer", "price__v_text": "text"})
    gateway.flush("shop", "events")
    if connection == "local":
        (statement,) = re.findall(r"`(SELECT .*?)`", PAGE)
        assert rows(statement + " ORDER BY _at") == [(None, None, None), (1, "9.5", "01234"), (2, None, None), (2, None, None)]
        expression = re.search(r"in SQLite:\s`(.*?)`", PAGE)[1]
        prices = [(9.5,), ("9.5",), ("cheap",), ("cheap",)]
        table = '"shop.events"'
    else:
        expression = re.search(r"In PostgreSQL:\s`(.*?)`", PAGE)[1]
        prices = [(9.5,), (9.5,), ("cheap",), ("cheap",)]
        table = "shop.events WHERE _rest IS NULL OR " + re.search(r"`WHERE (_rest::text NOT LIKE .*?)`", PAGE)[1]
    assert rows(f"SELECT {expression} FROM {table} ORDER BY _at") == prices
    assert rows(f"SELECT zip__v_integer FROM {table} ORDER BY _at")[-1] == (1234,)
    assert "password" not in str(rows(f"SELECT * FROM {table}"))
    # A manifest ends what it leaves out.
    shown = lambda: gateway.api("GET", "/sources/shop/sinks/events").json["table"]["mapping"]["infer"]  # noqa: E731
    assert shown()["exclude"] == ["password"]
    manifest.write_text(re.sub(r"infer: \{.*\}", "infer: {depth: 1}", manifest.read_text()))
    assert command(gateway, "apply", "-f", str(manifest)).returncode == 0
    assert shown() == {"depth": 1, "maxColumns": 200}


def test_forms_and_other_bodies(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("shop")
    table = {"tableId": "events", "mapping": {"infer": {"depth": 2, "typeHints": {"n": "integer"}}}}
    gateway.change("POST", "/sources/shop/sinks", {"sinkId": "events", "name": "Events", "table": table})
    gateway.set("/sources/shop/sinks/events", NEVER)
    form = "a=1&b[x]=2&tags[]=a&tags[]=b&at=2024-01-01T12:00:00%2B02:00&yes=true&empty=&n=5"
    wanted = {"a": "text", "b__x": "text", "tags": "json", "at": "timestamp", "yes": "text", "empty": "text", "n": "integer"}
    for more in ({}, {"n__v_text": "text"}, {}):
        assert gateway.post(url, form, FORM).status == 200
        wait_fields(gateway, "shop", {**wanted, **more})
    for _ in range(2):
        assert gateway.post(url, {"a": 5, "b": {"x": 1.5}}).status == 200
        wait_fields(gateway, "shop", {"a__v_integer": "integer", "b__x__v_decimal": "decimal"})
    assert gateway.post(url, "", FORM).status == 200  # an empty form
    for body, kind in [("a,b\n1,2\n", "text/csv"), ("--x\r\n\r\n--x--", "multipart/form-data; boundary=x")]:
        answer = gateway.post(url, body, kind)
        assert answer.status == 422 and "neither JSON nor a form" in answer.json["message"], answer
    assert "not a form at byte 2" in gateway.post(url, "a=%zz", FORM).json["message"]
    gateway.flush("shop", "events")
    found = gateway.rows("SELECT a, b__x, tags, at, yes, empty, n, n__v_text, a__v_integer, b__x__v_decimal, _rest FROM events ORDER BY _at")
    assert json.loads(found[0][-1]) == {
        "a": "1", "b": {"x": "2"}, "tags": ["a", "b"], "at": "2024-01-01T12:00:00+02:00", "yes": "true", "empty": "", "n": "5"}
    assert found[1][:-1] == ("1", "2", '["a","b"]', "2024-01-01T10:00:00.000000Z", "true", "", None, None, None, None)
    assert json.loads(found[1][-1]) == {"n": "5"}
    assert found[2] == ("1", "2", '["a","b"]', "2024-01-01T10:00:00.000000Z", "true", "", None, "5", None, None, None)
    assert found[4] == (None,) * 8 + (5, "1.5", None) and found[5] == (None,) * 11 and len(found) == 6
