"""Which data directory and which destination belong together: directories that are lost, put back or copied."""

import shutil

import pytest
from load import COLUMNS, Sender, assert_exactly_once
from sluice import NEVER, wait_until

STAGED = {**NEVER, "storage.level.staging.upload.trigger.count": 1}


def begin(destination, sink="rows"):
    url = destination.gateway.add_source("load", framing="ndjson")
    destination.gateway.add_sink("load", sink, COLUMNS, STAGED, connection=destination.connection, table="rows")
    return url


def send(gateway, url, prefix, count=30):
    sender = Sender(gateway.intake, url, prefix, count=count, batch=10)
    sender.run()
    assert len(sender.acknowledged) == count
    return sender.acknowledged


def put_back(gateway, copy):
    """The directory becomes what it was; the tables, which may be in it, stay."""
    for path in gateway.data.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("tables.db"):
            path.unlink()
    shutil.copytree(copy, gateway.data, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tables.db*"))


def last_error(gateway, sink):
    return gateway.api("GET", f"/sources/load/sinks/{sink}/statistics/files", expect=200).body.decode()


def test_a_wiped_directory_adds_rows_and_repeats_none(destination_of):
    destination = destination_of()
    gateway = destination.gateway
    first = send(gateway, begin(destination), "a")
    gateway.flush("load", "rows")
    gateway.stop()
    kept = {path: path.read_bytes() for path in gateway.data.glob("tables.db*")}
    shutil.rmtree(gateway.data)
    gateway.data.mkdir(mode=0o700)
    for path, content in kept.items():
        path.write_bytes(content)
    gateway.start()
    second = send(gateway, begin(destination), "b")
    gateway.flush("load", "rows")
    assert_exactly_once(destination.rows("SELECT n, text FROM rows"), first + second, [])


@pytest.mark.parametrize("waits", ["in a file", "in the log"])
def test_an_older_directory_that_is_put_back_doubles_nothing(destination_of, tmp_path, waits):
    """Its rows were imported by the gateway that went on; the ids of most files have left the ledger there."""
    destination = destination_of()
    gateway = destination.gateway
    url = begin(destination)
    if waits == "in the log":
        gateway.set("/sources/load/sinks/rows", NEVER)
    sent = send(gateway, url, "a")
    if waits == "in a file":
        wait_until("the rows are staged", lambda: gateway.statistics("load", "rows")["levels"]["staging"]["recordsCount"] == 30)
        gateway.api("PUT", f"/connections/{destination.connection}/pause", expect=200)
        gateway.api("POST", "/sources/load/sinks/rows/flush", wait=0)
    gateway.stop()
    copy = tmp_path / "copy"
    shutil.copytree(gateway.data, copy)
    gateway.start()
    gateway.api("PUT", f"/connections/{destination.connection}/resume")
    for prefix in "bcd":
        gateway.flush("load", "rows")
        sent += send(gateway, url, prefix)
    gateway.flush("load", "rows")
    rows = destination.rows("SELECT n, text FROM rows")
    assert_exactly_once(rows, sent, [])
    gateway.stop()
    put_back(gateway, copy)
    gateway.start()
    gateway.api("PUT", f"/connections/{destination.connection}/resume")
    more = send(gateway, url, "e")
    answer = gateway.api("POST", "/sources/load/sinks/rows/flush", wait=30)
    assert "directoryOutdated" in answer.body.decode(), answer
    assert destination.rows("SELECT n, text FROM rows") == rows
    # Whoever knows better removes what the ledger has of the sink.
    ledger = "_sluice_files" if destination.connection == "local" else "sluice.files"
    remove(destination, f"DELETE FROM {ledger} WHERE sink = 'load/rows'")
    gateway.flush("load", "rows")
    names = [name for name, _ in destination.rows("SELECT n, text FROM rows")]
    assert set(names) == set(sent) | set(more)


def remove(destination, statement):
    if destination.connection != "local":
        destination.rows(statement)
        return
    import sqlite3

    database = sqlite3.connect(destination.gateway.data / "tables.db", timeout=30)
    with database:
        database.execute(statement)
    database.close()


def test_two_gateways_fill_one_table(gateway_factory, postgres):
    config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n"
    sent, gateways = [], []
    for number in range(2):
        gateway = gateway_factory(config).start()
        gateways.append(gateway)
        url = gateway.add_source("load", framing="ndjson")
        gateway.add_sink("load", "rows", COLUMNS, STAGED, connection="warehouse", table="rows")
        sent += send(gateway, url, f"g{number}")
        gateway.flush("load", "rows")
    for number, gateway in enumerate(gateways):
        gateway.kill()
        gateway.start()
        sent += send(gateway, gateway.source_url("load"), f"h{number}")
        gateway.flush("load", "rows")
    assert_exactly_once(postgres.rows("SELECT n, text FROM rows"), sent, [])
    assert len(postgres.rows("SELECT DISTINCT instance FROM sluice.files")) == 2
