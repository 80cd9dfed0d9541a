"""`sluice import`: a staging folder into its tables, without a gateway and its database."""

import json
import os
import shutil
import subprocess

import pytest
from sluice import BINARY, NEVER, wait_until

COLUMNS = [{"name": "n", "type": "path", "path": "n", "dataType": "integer"}]
STAGE = {**NEVER, "storage.level.staging.upload.trigger.count": 1}


class Shop:
    """A gateway whose files wait; its staging folder is all that is left of it afterwards."""

    def __init__(self, destination):
        self.gateway, self.connection, self.rows = destination
        self.gateway.url = self.gateway.add_source("shop")
        self.gateway.add_sink("shop", "orders", COLUMNS, STAGE, connection=self.connection)
        self.gateway.change("PUT", "/sources/shop/sinks/orders/pause")
        self.sent = 0
        self.folder = self.gateway.data.parent / "left"

    def send(self, count):
        """Rows that are each in a pack of their own, and all in one file."""
        for _ in range(count):
            self.sent += 1
            assert self.gateway.post(self.gateway.url, {"n": self.sent}).status == 200
            wait_until("the row is staged", lambda: self.gateway.statistics("shop", "orders")["levels"]["staging"]["recordsCount"] == self.sent)
        task = self.gateway.change("POST", "/v1/backup?name=" + f"b{self.sent}")  # it closes the file
        assert task["outputs"]["waitingRows"] == self.sent

    def lose(self):
        self.gateway.kill()
        shutil.copytree(self.gateway.data / "staging", self.folder)
        shutil.rmtree(self.gateway.data / "staging")
        return sorted(self.folder.glob("*.pack"))

    def run(self, *arguments, expect=0):
        config = ["--config", self.gateway.config] if self.gateway.config else []
        environment = {**os.environ, "SLUICE_DATA": str(self.gateway.data)}
        command = [BINARY, "import", self.folder, *config, *arguments]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == expect, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout.splitlines()

    def numbers(self):
        return sorted(n for (n,) in self.rows("SELECT n FROM orders"))


@pytest.fixture
def shop(destination_of):
    return Shop(destination_of())


def test_files_are_imported_once(shop):
    shop.send(2)
    shop.send(1)
    shop.send(2)
    shop.lose()
    # Of the last one nothing says that it is whole.
    *files, last, summary = shop.run(expect=1)
    assert len(files) == 2 and all("imported into orders" in line for line in files)
    assert "refused" in last and "--as-is" in last and summary == "2 files imported, 0 already there, 1 refused"
    assert shop.numbers() == [1, 2, 3]
    assert shop.run("--as-is")[-1] == "1 files imported, 2 already there, 0 refused"
    assert shop.run("--as-is")[-1] == "0 files imported, 3 already there, 0 refused"
    assert shop.numbers() == [1, 2, 3, 4, 5]
    ledger = "_sluice_files" if shop.connection == "local" else "sluice.files"
    assert sorted(shop.rows(f"SELECT first_row, rows FROM {ledger}")) == [(1, 2), (3, 1), (4, 2)]


def test_a_file_with_a_hole_is_refused(shop):
    shop.send(3)
    shop.send(1)
    packs = shop.lose()
    packs[1].unlink()
    packs[3].write_bytes(packs[3].read_bytes()[:-10])
    damaged, file, summary = shop.run(expect=1)
    assert packs[3].name in damaged and "are missing" in file and summary.startswith("0 files imported")
    assert shop.run("--as-is", expect=1)[-1] == "1 files imported, 0 already there, 1 refused"
    assert shop.numbers() == [1, 3]


def test_rows_that_the_table_refuses_are_written_to_a_file(shop, tmp_path):
    shop.gateway.change("PUT", "/sources/shop/sinks/orders/resume")
    shop.gateway.flush("shop", "orders")
    shop.gateway.change("PUT", "/sources/shop/sinks/orders/pause")
    shop.send(3)
    shop.lose()
    if shop.connection == "local":
        import sqlite3

        database = sqlite3.connect(shop.gateway.data / "tables.db", timeout=20)
        database.execute("CREATE TRIGGER t BEFORE INSERT ON orders WHEN NEW.n = 2 BEGIN SELECT RAISE(ABORT, 'no two'); END")
        database.commit()
        database.close()
    else:
        shop.rows("ALTER TABLE orders ADD CONSTRAINT two CHECK (n <> 2)")
    assert "refused" in shop.run("--as-is", expect=1)[0]
    assert shop.numbers() == []
    rejects = tmp_path / "rejects.ndjson"
    line, _ = shop.run("--as-is", "--rejects", rejects)
    assert "2 rows, 1 refused by the table" in line
    (reject,) = [json.loads(text) for text in rejects.read_text().splitlines()]
    assert (reject["row"], reject["csv"]) == (2, "2\n") and "two" in reject["reason"]
    assert shop.numbers() == [1, 3]
