"""A real full disk: the data directory on a small tmpfs. What was acknowledged arrives exactly once, and the process lives through it."""

import json
import os
import sqlite3
import subprocess
import threading
import time

import pytest
from load import COLUMNS, TEXT, assert_exactly_once
from sluice import AT_ONCE, NEVER, wait_until

DISK_BYTES = 64 << 20
PADDING = "x" * 200
ELSEWHERE = "connections: {{ elsewhere: {{ type: sqlite, path: {path} }} }}\n"


class Disk:
    """A file system of its own, and a file on it that takes what is left."""

    def __init__(self, path):
        self.path = path
        self.ballast = path / "ballast"

    def free(self):
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    def fill(self):
        """Until not one page is free."""
        with open(self.ballast, "ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
        assert self.free() == 0

    def empty(self):
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"mount is not permitted: {mount.stderr.decode().strip()}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def full_gateway(disk, gateway_factory, tmp_path):
    """A gateway with its data on the disk, and a connection whose tables lie elsewhere."""
    gateway = gateway_factory(config=ELSEWHERE.format(path=tmp_path / "elsewhere.db"))
    gateway.data = disk.path / "data"
    return gateway.start()


def event(name):
    return json.dumps({"n": name, "text": TEXT})


class Load(threading.Thread):
    """Sends without a pause until it is told to stop. Whatever is not a 200 must be a 503 that asks to come back."""

    def __init__(self, gateway, url, name, lines=20):
        super().__init__(daemon=True)
        self.gateway, self.url, self.label, self.lines = gateway, url, name, lines
        self.acknowledged, self.refused, self.wrong = [], 0, []
        self.stopped = threading.Event()

    def run(self):
        for number in range(10**9):
            if self.stopped.is_set():
                return
            names = [f"{self.label}-{number}-{i}-{PADDING}" for i in range(self.lines)]
            body = "\n".join(event(name) for name in names)
            answer = self.gateway.post(self.url, body)
            if answer.status == 200:
                self.acknowledged += names
                continue
            self.refused += 1
            if answer.status != 503 or "retry-after" not in answer.headers:
                self.wrong.append(answer)
            time.sleep(0.01)

    def end(self):
        self.stopped.set()
        self.join(timeout=60)
        assert not self.wrong, self.wrong[:3]
        return self.acknowledged


def start_load(gateway, url, count=3, **options):
    loads = [Load(gateway, url, f"{time.monotonic_ns()}-{i}", **options) for i in range(count)]
    for load in loads:
        load.start()
    return loads


def rows_elsewhere(tmp_path):
    database = sqlite3.connect(f"file:{tmp_path / 'elsewhere.db'}?mode=ro", uri=True, timeout=10)
    try:
        return database.execute("SELECT n, text FROM rows").fetchall()
    finally:
        database.close()


def is_alive(gateway):
    return gateway.process.poll() is None


def takes_again(gateway, url, name):
    wait_until("events are taken again", lambda: gateway.post(url, event(name)).status == 200)
    return [name]


def test_all_in_the_log_and_nothing_staged(disk, full_gateway, tmp_path):
    gateway = full_gateway
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, NEVER, connection="elsewhere")
    loads = start_load(gateway, url)
    wait_until("some load", lambda: sum(len(load.acknowledged) for load in loads) > 2000)
    disk.fill()
    wait_until("events are refused", lambda: all(load.refused > 3 for load in loads))
    acknowledged = [name for load in loads for name in load.end()]
    assert is_alive(gateway), gateway.log_text()[-3000:]
    disk.empty()
    acknowledged += takes_again(gateway, url, "again")
    gateway.flush("load", "rows")
    assert_exactly_once(rows_elsewhere(tmp_path), acknowledged, [])


def test_staging_and_imports_go_on_in_a_full_disk(disk, full_gateway, tmp_path):
    """What is staged and imported is recorded, though nothing can be written anew: it is what makes space."""
    gateway = full_gateway
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, AT_ONCE, connection="elsewhere")
    gateway.add_source("other", framing="ndjson")
    gateway.add_sink("other", "beside", COLUMNS, AT_ONCE)  # its table is on the full disk
    beside = start_load(gateway, gateway.source_url("other"), count=1)
    loads = start_load(gateway, url)
    acknowledged = []
    for _ in range(3):
        before = sum(len(load.acknowledged) for load in loads)
        wait_until("some load", lambda: sum(len(load.acknowledged) for load in loads) > before + 1000)
        refused = [load.refused for load in loads]
        disk.fill()
        wait_until("events are refused", lambda: all(load.refused > was + 50 for load, was in zip(loads, refused)))
        assert is_alive(gateway), gateway.log_text()[-3000:]
        disk.empty()
    acknowledged = [name for load in loads for name in load.end()]
    acknowledged_beside = [name for load in beside for name in load.end()]
    assert is_alive(gateway), gateway.log_text()[-3000:]
    acknowledged += takes_again(gateway, url, "again")
    wait_until("the table beside is written again", lambda: gateway.api("POST", "/sources/other/sinks/beside/flush").json["status"] == "success")
    gateway.flush("load", "rows")
    assert_exactly_once(rows_elsewhere(tmp_path), acknowledged, [])
    assert_exactly_once(gateway.rows("SELECT n, text FROM beside"), acknowledged_beside, [])


def test_killed_and_started_in_a_full_disk(disk, full_gateway, tmp_path):
    gateway = full_gateway
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, NEVER, connection="elsewhere")
    loads = start_load(gateway, url)
    wait_until("some load", lambda: sum(len(load.acknowledged) for load in loads) > 2000)
    disk.fill()
    wait_until("events are refused", lambda: all(load.refused > 3 for load in loads))
    acknowledged = [name for load in loads for name in load.end()]
    gateway.kill()
    disk.fill()
    gateway.start()
    time_limit = time.monotonic() + 3
    while time.monotonic() < time_limit:
        assert gateway.post(url, event("refused")).status == 503
        time.sleep(0.2)
    assert is_alive(gateway), gateway.log_text()[-3000:]
    disk.empty()
    acknowledged += takes_again(gateway, url, "again")
    gateway.flush("load", "rows")
    assert_exactly_once(rows_elsewhere(tmp_path), acknowledged, [])


def test_the_budget_alone(disk, full_gateway, tmp_path):
    """Nobody else takes the disk: the gateway stops at its own budget, gets room by what it stages and imports, and goes on."""
    gateway = full_gateway
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, NEVER, connection="elsewhere")
    loads = start_load(gateway, url, lines=200)
    wait_until("events are refused", lambda: any(load.refused > 0 for load in loads))
    wait_until("and taken again, with conditions that never hold", lambda: has_more(loads))
    acknowledged = [name for load in loads for name in load.end()]
    assert disk.free() > 0 and is_alive(gateway)
    acknowledged += takes_again(gateway, url, "again")
    gateway.flush("load", "rows")
    assert_exactly_once(rows_elsewhere(tmp_path), acknowledged, [])


def has_more(loads):
    """Some load was refused, and has been acknowledged since."""
    for load in loads:
        if load.refused and not hasattr(load, "then"):
            load.then = len(load.acknowledged)
    return any(hasattr(load, "then") and len(load.acknowledged) > load.then + 1000 for load in loads)
