"""Where an event is: `GET /v1/branches/{branch}/events/{id}` and `sluice where`, from the log to the table and the rejects."""

import json
import os
import subprocess

from sluice import BINARY, NEVER, wait_until

STAGE = {**NEVER, "storage.level.staging.upload.trigger.count": 1}
CLOSE = {**STAGE, "storage.level.target.import.trigger.count": 1}
ID = {"name": "event", "type": "id"}
N = {"name": "n", "type": "path", "path": "n", "dataType": "integer"}
TEMPLATE = {"name": "t", "type": "template", "template": {"language": "jsonnet", "content": "Body('n')"}}
SINKS = {"exact": [ID, N], "plain": [N], "template": [TEMPLATE, {**ID, "dataType": "uuid"}]}
UNKNOWN = "019d2c7a-51c3-7a04-8f0e-3d7f6f0c2b11"


def where(gateway, event, expect=200, query=""):
    return gateway.api("GET", f"/events/{event}{query}", expect=expect).json


def places_of(gateway, event, query=""):
    """By sink."""
    found = where(gateway, event, query=query)
    assert found["eventId"] == event and found["complete"] and found["damaged"] == 0
    return {place["sinkId"]: place for place in found["places"]}


def sluice(gateway, *arguments, expect=0):
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}, "SLUICE_DATA": str(gateway.data)}
    command = [BINARY, "where", *arguments, "--admin", f"http://{gateway.admin}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def states(places):
    return {sink: (place["state"], place["precision"]) for sink, place in places.items()}


def wait_states(gateway, event, expected):
    wait_until(f"the event is {expected}", lambda: states(places_of(gateway, event)) == expected)
    return places_of(gateway, event)


def test_each_state(destination_of):
    gateway, connection, rows = destination_of()
    url = gateway.add_source("shop", framing="ndjson")
    for sink, columns in SINKS.items():
        gateway.add_sink("shop", sink, columns, NEVER, connection, f"in.{sink}")
        gateway.change("PUT", f"/sources/shop/sinks/{sink}/pause")
    gateway.post(url, b'{"n":0}')
    answer = gateway.post(url, b'{"n":1}\n{"n":2}\n{"n":3}\n')
    assert answer.status == 200, answer
    first = answer.headers["sluice-event-id"]

    in_log = {"exact": ("log", "row"), "plain": ("log", "group"), "template": ("log", "row")}
    places = places_of(gateway, first)
    assert states(places) == in_log
    assert (places["exact"]["firstRow"], places["exact"]["rows"]) == (2, 1)
    assert places["plain"]["firstRow"] <= 2 < places["plain"]["firstRow"] + places["plain"]["rows"]
    assert places["exact"]["commit"] == places["plain"]["commit"] > 0 and "note" in places["plain"]
    assert (places["exact"]["connection"], places["exact"]["tableId"]) == (connection, "in.exact")
    gateway.kill()
    gateway.start()
    assert states(places_of(gateway, first)) == in_log

    for sink in SINKS:
        gateway.set(f"/sources/shop/sinks/{sink}", STAGE)
    staged = {"exact": ("staged", "row"), "plain": ("staged", "file"), "template": ("staged", "row")}
    places = wait_states(gateway, first, staged)
    pack = gateway.data / "staging" / f"{places['exact']['pack']}.pack"
    assert pack.is_file() and places["exact"]["firstRow"] == 2 and places["exact"]["fileState"] == "writing"
    for sink in SINKS:
        gateway.set(f"/sources/shop/sinks/{sink}", CLOSE)
    wait_states(gateway, first, {sink: ("waiting", precision) for sink, (_, precision) in staged.items()})
    gateway.kill()
    gateway.start()
    for sink in SINKS:
        gateway.change("PUT", f"/sources/shop/sinks/{sink}/resume")
    places = wait_states(gateway, first, {sink: ("imported", precision) for sink, (_, precision) in staged.items()})
    assert places["exact"]["importedAt"] and places["exact"]["fileState"] == "imported"

    # Each event of the batch is followed by its own id.
    ids = [row[0] for row in rows('select event from "in"."exact" order by n' if connection != "local" else 'select event from "in.exact" order by n')]
    assert len(ids) == 4 and first == ids[1]
    for row, event in enumerate(ids):
        place = places_of(gateway, event)["exact"]
        assert (place["state"], place["precision"], place["firstRow"], place["rows"]) == ("imported", "row", row + 1, 1)


def test_rejects(destination_of):
    gateway, connection, _ = destination_of()
    url = gateway.add_source("shop")
    key = [{**N, "primaryKey": True}, ID]
    gateway.add_sink("shop", "keyed", key, {**NEVER, **CLOSE}, connection, "in.keyed", onInvalid="quarantine", strategy="append")
    first, second, invalid = (gateway.post(url, json.dumps({"n": n})).headers["sluice-event-id"] for n in (1, 1, "x"))
    wait_until("the other row is refused", lambda: states(places_of(gateway, second)) == {"keyed": ("rejected", "row")})
    place = places_of(gateway, second)["keyed"]
    assert place["reason"] and place["rejectId"] > 0 and place["firstRow"] == 2 and place["fileId"]
    assert states(places_of(gateway, first)) == {"keyed": ("imported", "row")}
    place = places_of(gateway, invalid)["keyed"]
    assert (place["state"], place["precision"]) == ("rejected", "row") and "not an integer" in place["reason"] and "firstRow" not in place
    assert "rejected" in sluice(gateway, invalid).stdout


def test_commands_and_what_is_not_there(gateway_factory):
    gateway = gateway_factory(arguments=["--retention.imported", "0s"]).start()
    url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", [ID, N], NEVER, table="in.orders")
    gateway.add_source("other")
    where(gateway, UNKNOWN, 404)
    event = gateway.post(url, b'{"n":1}').headers["sluice-event-id"]
    assert states(places_of(gateway, event, "?sourceId=shop")) == {"orders": ("log", "row")}
    assert where(gateway, event, 404, "?sourceId=other")["error"] == "stream.api.eventNotFound"
    assert where(gateway, event, 404, "?sourceId=none")["error"] == "stream.api.sourceNotFound"
    assert where(gateway, "x", 400)["error"] == "stream.api.badRequest"

    shown = sluice(gateway, event).stdout
    assert shown.startswith("shop/orders: log, row 1\n") and "in.orders of connection local" in shown
    assert json.loads(sluice(gateway, event, "-o", "json", "--source", "shop").stdout)["places"][0]["state"] == "log"
    assert "Nothing is known" in sluice(gateway, UNKNOWN, expect=1).stderr
    assert "is a UUID, not" in sluice(gateway, "7", expect=2).stderr

    # Behind the retention nothing is known, and the answer says from when on it is.
    gateway.flush("shop", "orders")
    gateway.kill()
    gateway.start()  # looks at once for what is not retained any more
    wait_until("the staging files are removed", lambda: not list((gateway.data / "staging").glob("*.pack")))
    wait_until("the event is forgotten", lambda: gateway.api("GET", f"/events/{event}").status == 404)
    assert "were received since 20" in where(gateway, event, 404)["message"]
