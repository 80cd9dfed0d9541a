"""The program is killed at each failpoint while it works, and started again. Or what it does there fails once, and then it is killed.
Every acknowledged event is then in the table once.

A run goes through all failpoints on one data directory, in an order and at passages that its seed says, and looks at the tables at its
end. SLUICE_FAILPOINT_ROUNDS: the long form, so many times, with an error at each failpoint.
"""

import http.client
import os
import random
import re
import signal
import sqlite3
import threading
import time
import typing

import pytest
from load import COLUMNS, Sender, assert_exactly_once
from sluice import ROOT, wait_until

SETTINGS = {
    "storage.level.staging.upload.trigger.count": 20,
    "storage.level.target.import.trigger.count": 60,
}


class Point(typing.NamedTuple):
    """Where a failpoint is passed. `most`: the highest passage at which the program is killed."""

    where: str
    most: int = 1
    after: str = ""  # the failpoint of a crash before, which leaves something for a start to find


POINTS = {
    "storage.before-create": Point("new"),
    "storage.before-instance": Point("new"),
    "storage.before-folders": Point("new"),
    "app.start": Point("start", 17),
    "app.stop": Point("stop", 8),
    "recovery.after-totals": Point("start"),
    "recovery.after-log": Point("start"),
    "recovery.before-sync": Point("start"),
    "recovery.before-remove-temporary": Point("start", after="pack.before-rename"),
    "recovery.before-unknown-pack": Point("start", after="pack.after-rename"),
    "storage.before-commit": Point("load", 40),
    "storage.after-commit": Point("load", 40),
    "intake.before-append": Point("load", 60),
    "intake.before-answer": Point("load", 60),
    "writer.before-group": Point("load", 60),
    "writer.before-commit": Point("load", 60),
    "writer.after-commit": Point("load", 60),
    "writer.before-close": Point("close", 2),
    "writer.before-record": Point("load", 20),
    "writer.cursors-moved": Point("load", 10),
    "writer.before-trim": Point("load", 10),
    "writer.pending-rejects": Point("load", 2),
    "writer.rejects-published": Point("load", 3),
    "writer.import-recorded": Point("load", 3),
    "stager.before-pack": Point("load", 10),
    "pack.after-create": Point("load", 10),
    "pack.within-slice": Point("load", 10),
    "pack.before-sync": Point("load", 10),
    "pack.before-rename": Point("load", 10),
    "pack.after-rename": Point("load", 10),
    "pack.after-publish": Point("load", 10),
    "retained.before-unlink": Point("retention"),
    "loader.after-prepare": Point("load", 2),
    "loader.before-import": Point("load", 3),
    "import.before-begin": Point("load", 3),
    "import.after-ledger": Point("load", 3),
    "import.within-rows": Point("load", 20),
    "import.before-commit": Point("load", 3),
    "import.after-commit": Point("load", 3),
    "loader.after-import": Point("load", 3),
    "change.before-store": Point("change"),
    "catalog.before-commit": Point("change"),
    "catalog.after-commit": Point("change"),
    "change.before-publish": Point("change"),
    "change.after-publish": Point("change"),
}
# What a whole gateway would take days or a broker for: the tests that kill a process there.
ELSEWHERE = {
    "tests/unit/gateway/delivery/test-writer-crash.c": (
        "stager.before-divide",
        "divide.before-record",
        "expiry.before-sync",
        "expiry.before-rename",
        "expiry.after-rename",
        "expiry.before-record",
        "retained.before-copies",
    ),
    "tests/system/test_backup.py": ("backup.after-point", "backup.before-rename"),
    "tests/system/test_replace.py": ("loader.before-swap", "loader.after-swap"),
    "tests/unit/sinks/test-sqlite-replace.c": ("swap.before-commit",),
}
ERROR_UNSEEN = ("writer.before-group",)  # its error is a full log: the requests are refused, and nothing is logged about it
ERRORS_SHORT = 4  # of the short form: at how many something fails
OF_THE_DESTINATION = [name for name in POINTS if name.split(".")[0] in ("import", "loader")] + [
    "writer.pending-rejects",
    "writer.rejects-published",
    "writer.import-recorded",
]


DOCUMENTED = dict(re.findall(r"^\| `([a-z]+\.[a-z-]+)` \| (.*) \|$", (ROOT / "docs/testing.md").read_text(), re.M))


def test_each_failpoint_is_in_the_table():
    documented = set(DOCUMENTED)
    elsewhere = [name for names in ELSEWHERE.values() for name in names]
    assert len(documented) >= 40 and set(POINTS) | set(elsewhere) == documented
    for path, names in ELSEWHERE.items():
        text = (ROOT / path).read_text()
        assert all(name in text for name in names), path


class Course:
    """One data directory, through crashes. The table `strict` refuses names that end with 7."""

    def __init__(self, gateway, connection, chance):
        self.gateway, self.connection, self.chance = gateway, connection, chance
        self.acknowledged, self.unknown = [], []
        self.rounds = 0
        self.url = None

    def add_sinks(self):
        self.gateway.start()
        self.url = self.gateway.add_source("load", framing="ndjson")
        for sink in ("rows", "strict"):
            self.gateway.add_sink("load", sink, COLUMNS, SETTINGS, connection=self.connection)
        self.gateway.stop()

    def spawn(self, failpoint, *arguments):
        """Starts the gateway with the failpoint. Returns whether it took events before it ended."""
        self.log_start = self.gateway.log_path.stat().st_size if self.gateway.log_path.exists() else 0
        try:
            self.gateway.start(*arguments, environment={"SLUICE_FAILPOINTS": failpoint})
        except AssertionError:
            code = self.gateway.process.poll()
            assert code == -signal.SIGKILL or (code == 2 and "error" in failpoint), self.gateway.log_text()[-3000:]
            return False
        return True

    def ends(self, failpoint):
        name, action = failpoint.split("=")
        if action.startswith("error"):
            self.fails(name)
            return
        wait_until(f"the crash at {failpoint}", lambda: self.gateway.process.poll() is not None)
        assert self.gateway.process.returncode == -signal.SIGKILL, (failpoint, self.gateway.log_text()[-3000:])

    def fails(self, name):
        """Something failed at it. The process ended with exit code 2, or goes on and is killed."""
        process = self.gateway.process
        wait_until(f"an error of {name}", lambda: f"failpoint {name}" in self.log_of_this_start() or process.poll() is not None)
        assert f"failpoint {name}" in self.log_of_this_start(), self.gateway.log_text()[-3000:]
        if process.poll() is None:
            self.gateway.kill()
        assert process.returncode in (2, -signal.SIGKILL), (name, process.returncode)

    def log_of_this_start(self):
        return self.gateway.log_path.read_bytes()[self.log_start :].decode(errors="replace")

    def load_until(self, is_over):
        stop = threading.Event()
        self.rounds += 1
        senders = [Sender(self.gateway.intake, self.url, f"r{self.rounds}s{i}", batch=1 + 6 * i, stop=stop, pause=0.002) for i in range(2)]
        for sender in senders:
            sender.start()
        try:
            is_over(senders)
        finally:
            stop.set()
            for sender in senders:
                sender.join(timeout=60)
            self.acknowledged += [name for sender in senders for name in sender.acknowledged]
            self.unknown += [name for sender in senders for name in sender.unknown]

    def load(self, failpoint):
        if self.spawn(failpoint):
            self.load_until(lambda senders: self.ends(failpoint))
        else:
            self.ends(failpoint)

    def start(self, failpoint):
        self.spawn(failpoint)
        self.ends(failpoint)

    def stop(self, failpoint):
        assert self.spawn(failpoint)
        self.gateway.process.send_signal(signal.SIGTERM)
        self.ends(failpoint)

    def retention(self, failpoint):
        """Files that were imported are forgotten at the start."""
        self.spawn(failpoint, "--retention.imported", "0s")
        self.ends(failpoint)

    def change(self, failpoint):
        def change(senders):
            try:
                self.gateway.api("PATCH", "/sources/load/sinks/rows", {"name": f"rows {self.rounds}"}, wait=20)
            except (OSError, http.client.HTTPException):
                pass  # it died
            self.ends(failpoint)

        if self.spawn(failpoint):
            self.load_until(change)
        else:  # a task of an earlier start was stored
            self.ends(failpoint)

    def close(self, failpoint):
        """Files are closed that have all rows already, since somebody asks for it."""
        assert self.spawn(failpoint)
        self.load_until(lambda senders: wait_until("some load", lambda: self.gateway.process.poll() is not None or self.flush_some()))
        self.ends(failpoint)

    def flush_some(self):
        for sink in ("rows", "strict"):
            try:
                self.gateway.api("POST", f"/sources/load/sinks/{sink}/flush", wait=0)
            except (OSError, http.client.HTTPException):
                return True
        return False

    def go_through(self, name, action):
        point = POINTS[name]
        if point.after:
            self.load(f"{point.after}=crash")
        if point.where == "retention":
            self.gateway.start()
            self.load_until(lambda senders: wait_until("some load", lambda: len(senders[1].acknowledged) > 20))
            for sink in ("rows", "strict"):
                self.gateway.flush("load", sink)
            self.gateway.stop()
        passage = self.chance.randint(1, point.most)
        getattr(self, point.where)(f"{name}={action}@{passage}")


def run(course, names, rows_of):
    for name, action in names:
        course.go_through(name, action)
    gateway = course.gateway.start()
    for sink in ("rows", "strict"):
        gateway.flush("load", sink)
    assert_exactly_once(rows_of("SELECT n, text FROM rows"), course.acknowledged, course.unknown)
    good = [name for name in course.acknowledged if not name.endswith("7")]
    maybe = [name for name in course.unknown if not name.endswith("7")]
    assert_exactly_once(rows_of("SELECT n, text FROM strict"), good, maybe)
    refused, last = [], ""
    while last is not None:
        page = gateway.api("GET", f"/sources/load/sinks/strict/rejects?limit=100&afterId={last}", expect=200).json
        refused += [re.search(r"r\d+s\d-\d*7\b", str(reject)).group() for reject in page["rejects"]]
        last = page["page"]["lastId"] or None
    assert len(set(refused)) == len(refused)
    assert set(course.acknowledged) - set(good) <= set(refused) <= set(course.acknowledged) | set(course.unknown)
    gateway.stop()


def chosen(names):
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns()))
    chance = random.Random(seed)
    print("SLUICE_SEED:", seed)
    rounds = int(os.environ.get("SLUICE_FAILPOINT_ROUNDS", 0))
    errors = [name for name in names if name not in ERROR_UNSEEN and "(no `error`)" not in DOCUMENTED[name]]
    course = []
    for _ in range(max(rounds, 1)):
        steps = [(name, "crash") for name in names]
        steps += [(name, "error") for name in (errors if rounds else chance.sample(errors, ERRORS_SHORT))]
        course += chance.sample(steps, len(steps))
    return chance, course


STRICT = "CREATE TABLE strict (id {id}, n {text}, text {text}, CHECK (n NOT LIKE '%7'))"


def test_killed_at_failpoints(gateway_factory):
    chance, names = chosen([name for name in POINTS if POINTS[name].where != "new"])
    gateway = gateway_factory()
    gateway.start()
    database = sqlite3.connect(gateway.data / "tables.db", timeout=20)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(STRICT.format(id="TEXT", text="TEXT"))
    database.commit()
    database.close()
    gateway.stop()
    course = Course(gateway, "local", chance)
    course.add_sinks()
    run(course, names, gateway.rows)


def test_killed_at_failpoints_of_postgres(gateway_factory, postgres):
    chance, names = chosen(OF_THE_DESTINATION)
    postgres.rows(STRICT.format(id="uuid", text="text"))
    gateway = gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n")
    course = Course(gateway, "warehouse", chance)
    course.add_sinks()
    run(course, names, postgres.rows)


@pytest.mark.parametrize("name", [name for name in POINTS if POINTS[name].where == "new"])
def test_killed_in_a_new_directory(gateway_factory, name):
    course = Course(gateway_factory(), "local", random.Random(1))
    course.start(f"{name}=crash")
    course.add_sinks()
