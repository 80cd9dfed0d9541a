"""The files of a sink through the management API: states, why they were closed, failures, and what holds them back."""

import datetime

import pytest

from sluice import AT_ONCE, NEVER, wait_until

COLUMNS = [{"name": "id", "type": "path", "path": "id", "dataType": "integer", "primaryKey": True}, {"name": "body", "type": "body"}]
FILES = "/sources/shop/sinks/orders/statistics/files"


@pytest.fixture
def shop(gateway_factory, postgres):
    gateway = gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n").start()
    gateway.url = gateway.add_source("shop")
    return gateway


def files(gateway, query=""):
    return gateway.api("GET", FILES + query, expect=200).json["files"]


def send(gateway, first, count):
    for n in range(first, first + count):
        assert gateway.post(gateway.url, {"id": n}).status == 200


def staged(gateway):
    return gateway.statistics("shop", "orders")["levels"]["staging"]["recordsCount"]


def test_states_of_files(shop, postgres):
    shop.add_sink("shop", "orders", COLUMNS, {**NEVER, "storage.level.staging.upload.trigger.count": 1}, connection="warehouse")
    assert files(shop) == []
    send(shop, 1, 3)
    wait_until("the rows are staged", lambda: staged(shop) == 3)
    (open_file,) = files(shop)
    assert open_file["state"] == "writing" and open_file["closeReason"] is None and open_file["lastError"] is None
    assert open_file["table"] == {"connection": "warehouse", "tableId": "orders"}
    assert open_file["statistics"]["total"]["recordsCount"] == 3 and "staging" in open_file["statistics"]["levels"]
    assert "closingAt" not in open_file and "importedAt" not in open_file

    shop.flush("shop", "orders")
    (done,) = files(shop)
    assert (done["fileId"], done["state"], done["closeReason"]) == (open_file["fileId"], "imported", "flush")
    assert done["openedAt"] <= done["closingAt"] <= done["importedAt"] and done["blockedBy"] is None
    assert done["statistics"]["levels"]["target"]["recordsCount"] == 3
    assert postgres.rows("SELECT file_id::text FROM sluice.files") == [(done["fileId"],)]
    assert files(shop, "?failedFiles=true") == []


def test_failed_files_say_why_and_what_waits_for_them(shop, postgres):
    shop.add_sink("shop", "orders", COLUMNS, AT_ONCE, connection="warehouse")
    postgres.rows("ALTER TABLE orders RENAME COLUMN body TO text")
    send(shop, 1, 1)
    (failed,) = wait_until("the import fails", lambda: files(shop, "?failedFiles=true"))
    assert failed["state"] == "importing" and failed["retryAttempt"] >= 1 and 'column "body"' in failed["retryReason"]
    assert failed["retryAfter"] > failed["closingAt"] and failed["lastError"] == failed["retryReason"] and failed["blockedBy"] is None
    # While imports fail, the open file grows to the size and count conditions: each change of them closes it.
    send(shop, 2, 1)
    wait_until("both are staged", lambda: staged(shop) == 2)
    shop.set("/sources/shop/sinks/orders", NEVER)
    wait_until("the second one waits", lambda: [file["state"] for file in files(shop)] == ["importing", "importing"])
    waiting, first = files(shop)  # those that failed come last
    assert first["fileId"] == failed["fileId"] and waiting["blockedBy"] == failed["fileId"]
    assert files(shop, "?failedFiles=true&limit=1")[0]["fileId"] == failed["fileId"]

    postgres.rows("ALTER TABLE orders RENAME COLUMN text TO body")
    shop.flush("shop", "orders")
    assert [file["state"] for file in files(shop)] == ["imported", "imported"]
    assert {file["blockedBy"] for file in files(shop)} == {None}


@pytest.mark.parametrize("query, says", [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("failedFiles=1", "failedFiles")])
def test_parameters(gateway, query, says):
    gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS)
    answer = gateway.api("GET", f"{FILES}?{query}")
    assert answer.status == 400 and says in answer.json["message"]


def test_a_failed_file_is_retried_or_deleted(shop, postgres):
    columns = [{**COLUMNS[0], "primaryKey": False}, COLUMNS[1]]
    shop.add_sink("shop", "orders", columns, AT_ONCE, connection="warehouse")
    shop.add_sink("shop", "other", columns, NEVER, connection="warehouse")
    postgres.rows("ALTER TABLE orders RENAME COLUMN body TO text")
    send(shop, 1, 1)
    (failed,) = wait_until("the import fails", lambda: files(shop, "?failedFiles=true"))
    path = f"/sources/shop/sinks/orders/files/{failed['fileId']}"
    for _ in range(4):
        before = files(shop)[0]
        answer = wait_until("it is not being imported", lambda: [a for a in [shop.api("POST", f"{path}/retry")] if a.status == 200])[0]
        assert answer.json == {"fileId": failed["fileId"], "state": "importing", "rows": 1}
        wait_until("it was tried", lambda: files(shop)[0]["retryAttempt"] > before["retryAttempt"])
    # By itself it would have been tried later.
    assert datetime.datetime.now(datetime.UTC) < datetime.datetime.fromisoformat(before["retryAfter"])

    assert shop.api("DELETE", path.replace("orders", "other")).json["error"] == "stream.api.fileNotFound"
    assert shop.api("DELETE", path[:-1] + "x").status == 404 and shop.api("POST", "/sources/shop/sinks/orders/files/x/retry").status == 404
    answer = wait_until("it is not being imported", lambda: [a for a in [shop.api("DELETE", path)] if a.status != 409])[0]
    assert answer.status == 200 and answer.json == {"fileId": failed["fileId"], "state": "deleted", "rows": 1}
    assert shop.statistics("shop", "orders")["droppedRows"] == 1
    assert shop.api("DELETE", path).status == 409 and shop.api("POST", f"{path}/retry").json["error"] == "stream.api.fileState"
    assert f"deletes the file {failed['fileId']} of shop/orders" in shop.log_text()

    postgres.rows("ALTER TABLE orders RENAME COLUMN text TO body")
    send(shop, 2, 1)
    shop.flush("shop", "orders")
    assert postgres.rows("SELECT id FROM orders") == [(2,)]
    (done,) = [file for file in files(shop) if file["state"] == "imported"]
    answer = shop.api("POST", f"/sources/shop/sinks/orders/files/{done['fileId']}/retry")
    assert answer.status == 409 and "no longer waiting" in answer.json["message"]
