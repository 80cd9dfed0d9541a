"""Bytes of the data directory are damaged while no gateway runs. The program notices it, names what is damaged, and does not crash. What is
not damaged arrives, and no row arrives with other bytes or twice."""

import http.client
import json
import os
import random
import shutil
import subprocess
import time

import pytest
from load import COLUMNS, TEXT, Sender
from sluice import BINARY, NEVER, Gateway, wait_until

STAGED = {**NEVER, "storage.level.staging.upload.trigger.count": 20}
PAGE = 4096
ROUNDS = int(os.environ.get("SLUICE_DAMAGE_ROUNDS", 4))


@pytest.fixture
def chance():
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns()))
    print("SLUICE_SEED:", seed)
    return random.Random(seed)


def packs_of(gateway):
    return sorted((gateway.data / "staging").glob("*.pack"))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Rows in the log, in packs and in tables of two sources, of a gateway that was killed. `sent`: names by table."""
    gateway = Gateway(tmp_path_factory.mktemp("template")).start()
    sent, imported = {}, set()
    for table in ("one", "two"):
        url = gateway.add_source(table, framing="ndjson")
        gateway.add_sink(table, table, COLUMNS, STAGED)
        senders = [Sender(gateway.intake, url, f"{table}-{part}", count=50, batch=10) for part in ("imported", "staged", "buffered")]
        known = set(packs_of(gateway))
        senders[0].run()
        gateway.flush(table, table)
        imported |= set(packs_of(gateway)) - known
        senders[1].run()
        wait_until("rows are staged", lambda: gateway.statistics(table, table)["levels"]["staging"]["recordsCount"] >= 40)
        gateway.set(f"/sources/{table}/sinks/{table}", NEVER)
        senders[2].run()
        sent[table] = [name for sender in senders for name in sender.acknowledged]
        assert len(sent[table]) == 150
    gateway.kill()
    gateway.sent, gateway.waiting = sent, sorted(pack.name for pack in set(packs_of(gateway)) - imported)
    assert gateway.waiting
    return gateway


def copy_of(template, make):
    gateway = make()
    shutil.copytree(template.data, gateway.data)
    return gateway


def messages(gateway):
    return "\n".join(json.loads(line)["message"] if line.startswith("{") else line for line in gateway.log_text().splitlines())


def flushed(gateway, table):
    """Asks for what waits; whatever comes of it."""
    try:
        answer = gateway.api("POST", f"/sources/{table}/sinks/{table}/flush", wait=5)
        return answer.status in (200, 202) and answer.json.get("status") == "success"
    except (OSError, http.client.HTTPException, ValueError):
        return False  # it ended


def rows_are_true(gateway, table, sent):
    """Of what was sent, nothing twice, each byte as it was; returns the names."""
    rows = gateway.rows(f"SELECT n, text FROM {table}")
    names = [name for name, _ in rows]
    assert len(set(names)) == len(names) and set(names) <= set(sent)
    assert all(text == TEXT for _, text in rows)
    return set(names)


def damage_page(chance, content, kinds):
    """One page that is in use, but neither of the meta pages."""
    pages = [at for at in range(2 * PAGE, len(content), PAGE) if any(content[at : at + PAGE])]
    at, kind = chance.choice(pages), chance.choice(kinds)
    if kind == "zeros":
        content[at : at + PAGE] = bytes(PAGE)
    elif kind == "header":
        content[at + 8 : at + 16] = chance.randbytes(8)
    else:
        content[at + chance.randrange(64)] ^= 1 << chance.randrange(8)
    return f"{kind} in page {at // PAGE}"


def verify(gateway, what):
    """Reads everything. Whatever is damaged, it says so."""
    done = subprocess.run([BINARY, "verify", "--data", gateway.data], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1, 2), (what, done)
    assert done.returncode != 2 or str(gateway.data / "sluice.mdb") in done.stderr, (what, done)


def test_pages_of_the_environment(template, gateway_factory, chance):
    """LMDB's pages have no checksum. Rows may be lost with them, but the process ends with a message or goes on. LMDB trusts the header of
    a page that it writes to, so pages with another header are only read here."""
    for _ in range(ROUNDS):
        gateway = copy_of(template, gateway_factory)
        file = gateway.data / "sluice.mdb" / "data.mdb"
        whole = file.read_bytes()
        content = bytearray(whole)
        what = damage_page(chance, content, ("header", "bit"))
        file.write_bytes(content)
        verify(gateway, what)

        content = bytearray(whole)
        what = damage_page(chance, content, ("zeros",))
        file.write_bytes(content)
        verify(gateway, what)
        try:
            gateway.start()
            for table in ("one", "two"):
                flushed(gateway, table)
            if gateway.process.poll() is None:
                gateway.process.terminate()
        except AssertionError:
            pass
        code = gateway.process.wait(timeout=60)
        assert code in (0, 2), (what, code, gateway.log_text()[-3000:])
        if code == 2:
            assert str(gateway.data) in messages(gateway) and "sluice verify" in messages(gateway), (what, gateway.log_text()[-3000:])
        for table in ("one", "two"):
            rows_are_true(gateway, table, template.sent[table])


def test_bits_of_packs(template, gateway_factory, chance):
    for _ in range(ROUNDS):
        gateway = copy_of(template, gateway_factory)
        pack = gateway.data / "staging" / chance.choice(template.waiting)
        content = bytearray(pack.read_bytes())
        at = chance.randrange(len(content))
        content[at] ^= 1 << chance.randrange(8)
        pack.write_bytes(content)
        gateway.start()
        missing = {}
        for table in ("one", "two"):
            wait_until(f"the rows of {table} arrive", lambda: flushed(gateway, table))
            missing[table] = set(template.sent[table]) - rows_are_true(gateway, table, template.sent[table])
        assert not missing["one"] or not missing["two"]
        lost = missing["one"] | missing["two"]
        assert all("staged" in name for name in lost) and len(lost) <= 50, (pack, at)
        if lost:
            assert "damaged" in messages(gateway) and "quarantined" in messages(gateway), gateway.log_text()[-3000:]
        gateway.stop()


def test_rows_in_the_log(template, gateway_factory, chance):
    """Of one request, in whatever page they are: the rows of its commit group are lost, and no other."""
    gateway = copy_of(template, gateway_factory)
    file = gateway.data / "sluice.mdb" / "data.mdb"
    number = chance.randrange(50)
    name = f"one-buffered-{number}".encode()
    content = bytearray(file.read_bytes())
    at = content.find(name + b",")
    assert at > 0
    bit = chance.randrange(8 * len(name))
    while at > 0:  # also in pages that are free
        content[at + bit // 8] ^= 1 << bit % 8
        at = content.find(name + b",", at + 1)
    file.write_bytes(content)
    verify(gateway, name)
    gateway.start()
    missing = {}
    for table in ("one", "two"):
        wait_until(f"the rows of {table} arrive", lambda: flushed(gateway, table))
        missing[table] = set(template.sent[table]) - rows_are_true(gateway, table, template.sent[table])
    assert not missing["two"]
    assert missing["one"] == {f"one-buffered-{n}" for n in range(number // 10 * 10, number // 10 * 10 + 10)}
    assert "are damaged in the log" in messages(gateway) and "quarantined" in messages(gateway)
    gateway.stop()


def test_packs_that_are_cut_off(template, gateway_factory, chance):
    """A start is refused. While the gateway runs, the rows wait, and nothing else does: the file may be back for the next try."""
    gateway = copy_of(template, gateway_factory)
    for _ in range(2):
        pack = gateway.data / "staging" / chance.choice(template.waiting)
        content = pack.read_bytes()
        cut = content[: chance.randrange(len(content) // 3)]  # the footer at the end is not needed
        pack.write_bytes(cut)
        with pytest.raises(AssertionError, match="exit code 2 at start"):
            gateway.start()
        assert pack.name in messages(gateway) and "put the files back" in messages(gateway)
        pack.write_bytes(content)
    gateway.start()
    pack.write_bytes(cut)
    done = {table: flushed(gateway, table) for table in ("one", "two")}
    assert sorted(done.values()) == [False, True]
    pack.write_bytes(content)
    for table in ("one", "two"):
        wait_until(f"the rows of {table} arrive", lambda: flushed(gateway, table))
        assert rows_are_true(gateway, table, template.sent[table]) == set(template.sent[table])
    gateway.stop()


def test_the_file_of_the_tables(template, gateway_factory, chance):
    gateway = copy_of(template, gateway_factory)
    file = gateway.data / "tables.db"
    for suffix in ("-wal", "-shm"):  # the rows are in the file itself
        assert subprocess.run(["sqlite3", file, "PRAGMA wal_checkpoint(TRUNCATE)"], capture_output=True).returncode == 0
        (gateway.data / f"tables.db{suffix}").unlink(missing_ok=True)
    content = file.read_bytes()
    file.write_bytes(chance.randbytes(2 * PAGE) + content[2 * PAGE :])
    gateway.start()
    assert not flushed(gateway, "one")
    wait_until("the log says so", lambda: "tables.db" in messages(gateway) and "not a database" in messages(gateway))
    gateway.stop()
    file.write_bytes(content)
    gateway.start()
    for table in ("one", "two"):
        wait_until(f"the rows of {table} arrive", lambda: flushed(gateway, table))
        assert rows_are_true(gateway, table, template.sent[table]) == set(template.sent[table])
    gateway.stop()
