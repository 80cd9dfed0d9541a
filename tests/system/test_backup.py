"""Backups of a running gateway, and data directories that are restored from them (docs/operations.md, Backup and restore)."""

import json
import os
import shutil
import sqlite3
import subprocess
import threading

import pytest

from sluice import AT_ONCE, BINARY, NEVER, request, wait_until

COLUMNS = [{"name": "n", "type": "path", "path": "n", "dataType": "integer"}]  # no key: a row that is imported twice is there twice


def sluice(*arguments, expect=0):
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120, env={k: v for k, v in os.environ.items() if k != "SLUICE_DATA"})
    assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def backup(gateway, name, expect=0):
    return sluice("backup", name, "--admin", gateway.admin, "--data", gateway.data, expect=expect)


def lose(gateway):
    """The gateway is killed and its data directory is gone; only the backups are left, elsewhere."""
    gateway.kill()
    kept = gateway.data.parent / "kept"
    if (gateway.data / "backups").exists():
        shutil.move(gateway.data / "backups", kept)
    shutil.rmtree(gateway.data)
    return kept


def restore(gateway, folder, *arguments, expect=0):
    return sluice("restore", folder, "--data", gateway.data, *arguments, expect=expect)


def send(gateway, first, count):
    for n in range(first, first + count):
        assert gateway.post(gateway.url, {"n": n}).status == 200


class Destination:
    """A destination outside of the data directory, which is newer than a backup."""

    def __init__(self, kind, request, tmp_path):
        if kind == "postgres":
            postgres = request.getfixturevalue("postgres")
            self.config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n"
            self.rows = postgres.rows
        else:
            path = tmp_path / "warehouse.db"
            self.config = f"connections:\n  warehouse:\n    type: sqlite\n    path: {path}\n"
            self.rows = lambda statement: list(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10).execute(statement))

    def numbers(self):
        return sorted(n for (n,) in self.rows("SELECT n FROM orders"))


@pytest.fixture(params=["sqlite", "postgres"])
def destination(request, tmp_path):
    return Destination(request.param, request, tmp_path)


def test_what_was_imported_after_the_backup_is_not_imported_again(gateway_factory, destination):
    gateway = gateway_factory(destination.config).start()
    gateway.url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, NEVER, connection="warehouse")
    send(gateway, 1, 2)
    gateway.flush("shop", "orders")
    gateway.change("PUT", "/sources/shop/sinks/orders/pause")
    send(gateway, 3, 5)
    backup(gateway, "first")
    manifest = json.loads((gateway.data / "backups/first/backup.json").read_text())
    assert (manifest["waitingRows"], manifest["packs"], manifest["kept"]) == (5, 2, 3)

    # After it: what waits in the backup is imported, and more, so that old ids leave the ledger of the destination.
    gateway.change("PUT", "/sources/shop/sinks/orders/resume")
    for n in range(10, 14):
        send(gateway, n, 1)
        gateway.flush("shop", "orders")
    send(gateway, 20, 1)  # never imported, and not in the backup: it is lost with the gateway
    before = destination.numbers()
    assert before == [*range(1, 8), *range(10, 14)]

    folder = lose(gateway)
    assert "5 rows wait" in restore(gateway, folder / "first").stdout
    gateway.start()
    gateway.change("PUT", "/sources/shop/sinks/orders/resume")
    send(gateway, 30, 1)
    gateway.flush("shop", "orders")
    assert destination.numbers() == [*before, 30]
    assert gateway.statistics("shop", "orders")["levels"]["target"]["recordsCount"] == 8  # 1 to 7, and 30


def test_backup_in_load(gateway_factory):
    """All that was acknowledged before the backup is there once; the embedded tables are a part of it."""
    gateway = gateway_factory().start()
    gateway.url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, AT_ONCE)
    gateway.add_sink("shop", "late", COLUMNS, NEVER)
    sent, stops, failures = [], threading.Event(), []

    def load(thread):
        n = 0
        while not stops.is_set():
            number = thread * 1_000_000 + n
            try:
                answer = gateway.post(gateway.url, {"n": number})
            except OSError:
                return  # it was killed
            if answer.status != 200:
                failures.append(answer)
            else:
                sent.append(number)
            n += 1

    threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until("rows are imported", lambda: len(gateway.rows("SELECT n FROM orders")) > 20)
        before = set(sent)
        backup(gateway, "in-load")
        wait_until("it goes on", lambda: len(sent) > len(before) + 20)
        folder = lose(gateway)
    finally:
        stops.set()
        for thread in threads:
            thread.join()
    assert failures == []
    restore(gateway, folder / "in-load")
    sluice("verify", "--data", gateway.data)
    gateway.start()
    for sink in ("orders", "late"):
        gateway.flush("shop", sink)
        numbers = [n for (n,) in gateway.rows(f"SELECT n FROM {sink}")]
        assert len(set(numbers)) == len(numbers) and before <= set(numbers) <= set(sent) | {3_000_000}, sink


def metric(gateway, name):
    text = request(gateway.admin, "GET", "/metrics", headers={"Authorization": f"Bearer {gateway.token}"}).body.decode()
    return int(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def test_a_backup_that_fails_leaves_nothing(gateway_factory):
    gateway = gateway_factory(environment={"SLUICE_FAILPOINTS": "backup.before-rename=error@1"}).start()
    gateway.url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, AT_ONCE)
    send(gateway, 1, 1)
    assert "failpoint" in backup(gateway, "one", expect=2).stderr
    assert list((gateway.data / "backups").iterdir()) == []
    assert metric(gateway, "sluice_backup_failures_total") == 1 and metric(gateway, "sluice_backup_last_bytes") == 0
    send(gateway, 2, 1)
    gateway.wait_rows("orders", 2)
    backup(gateway, "one")
    assert metric(gateway, "sluice_backup_last_bytes") > 0 and metric(gateway, "sluice_backup_last_success_timestamp_seconds") > 0
    assert "already" in backup(gateway, "one", expect=2).stderr
    assert "name of a backup" in sluice("backup", "../elsewhere", expect=2).stderr
    assert gateway.api("POST", "/v1/backup?name=.hidden").status == 400
    token = gateway.api("POST", "/v1/backup", wait=30)
    assert token.json["status"] == "success" and len(list((gateway.data / "backups").iterdir())) == 2


@pytest.mark.parametrize("point", ["backup.after-point", "backup.before-rename"])
def test_a_killed_backup_is_not_taken_for_a_whole_one(gateway_factory, point):
    gateway = gateway_factory().start(environment={"SLUICE_FAILPOINTS": f"{point}=crash"})
    gateway.url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, NEVER)
    send(gateway, 1, 3)
    sluice("backup", "one", "--admin", gateway.admin, "--data", gateway.data, expect=2)
    gateway.process.wait(timeout=60)
    (unfinished,) = (gateway.data / "backups").iterdir()
    gateway.start()
    gateway.flush("shop", "orders")
    wait_until("it is removed", lambda: not unfinished.exists())
    assert sorted(gateway.rows("SELECT n FROM orders")) == [(1,), (2,), (3,)]


def test_what_restore_refuses(gateway_factory):
    gateway = gateway_factory(arguments=["--backup.kept", "1"]).start()
    gateway.url = gateway.add_source("shop")
    gateway.add_sink("shop", "orders", COLUMNS, NEVER)
    send(gateway, 1, 3)
    gateway.change("PUT", "/sources/shop/sinks/orders/pause")
    backup(gateway, "one")
    backup(gateway, "two")
    assert "is not empty" in restore(gateway, gateway.data / "backups/two", expect=1).stderr
    folder = lose(gateway)
    assert "1 later backups" in restore(gateway, folder / "one", expect=1).stderr
    assert "no complete backup" in restore(gateway, folder, expect=1).stderr
    shutil.copytree(folder / "two", folder / "bad")
    database = folder / "bad/sluice.mdb/data.mdb"
    content = bytearray(database.read_bytes())
    content[len(content) // 2] ^= 1
    database.write_bytes(content)
    assert "damaged" in restore(gateway, folder / "bad", expect=1).stderr
    shutil.rmtree(folder / "bad")
    shutil.copytree(folder / "two", folder / "bad")
    next((folder / "bad/staging").glob("*.pack")).unlink()
    assert "missing" in restore(gateway, folder / "bad", expect=1).stderr
    assert not gateway.data.exists() and sorted(path.name for path in gateway.data.parent.glob("data*")) == []
    restore(gateway, folder / "one", "--older")
    gateway.start()
    gateway.change("PUT", "/sources/shop/sinks/orders/resume")
    gateway.flush("shop", "orders")
    assert sorted(gateway.rows("SELECT n FROM orders")) == [(1,), (2,), (3,)]
