"""The power is lost after any of the writes, syncs and renames of the program, of LMDB and of SQLite. What a disk may then hold is made from
their record (power_loss.py), and the program starts on it: each event that was acknowledged before is in the table once.

The short form takes some moments, as its seed says. SLUICE_POWER_LOSSES=N: the long form, N of each kind at each moment (0: the short form).
"""

import os
import random
import shutil
import time

import pytest
from disk_shim import Shim
from load import COLUMNS, Sender, assert_exactly_once
from power_loss import Disk, read_log
from sluice import Gateway

SETTINGS = {
    "storage.level.staging.upload.trigger.count": 10,
    "storage.level.target.import.trigger.count": 20,
}
SHORT_FORM = 6
# Of what is not durable: all is lost, all is kept, or some of it.
SHARES = (0.0, 1.0, 0.5, 0.9)


class Recording:
    """A life of a gateway, from an empty directory to a kill. `marks`: (length of the record, what was acknowledged by then)."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.data, self.log = gateway.data, gateway.directory / "record"
        self.data.mkdir(mode=0o700)
        self.shim = Shim(gateway.directory, self.data, self.log)
        self.marks, self.sent = [], []
        self.token = self.known = None  # length of the record when the token could be read, and when the sink was defined
        self.start()
        self.token = self.length()
        self.url = gateway.add_source("load", framing="ndjson")
        gateway.add_sink("load", "rows", COLUMNS, SETTINGS)
        self.known = self.length()
        self.post("a", 12)
        gateway.stop()
        self.start()
        self.post("b", 12)
        gateway.flush("load", "rows")
        self.post("c", 8)
        gateway.kill()
        self.entries = read_log(self.log)

    def start(self):
        self.gateway.start("--retention.imported", "0s", environment=self.shim.environment())

    def length(self):
        return self.log.stat().st_size

    def post(self, prefix, count):
        sender = Sender(self.gateway.intake, self.url, prefix, count=1, batch=3)
        for number in range(count):
            sender.prefix = f"{prefix}{number}"
            sender.run()
            self.marks.append((self.length(), list(sender.acknowledged)))
            self.sent += sender.names(0)
            sender.acknowledged = []
        assert not sender.unknown and not sender.refused

    def acknowledged_by(self, length):
        return [name for at, names in self.marks if at <= length for name in names]

    def check(self, gateway, disk, moment, share, chance):
        """After the first `moment` entries."""
        gateway.data.mkdir(mode=0o700)
        disk.crash(gateway.data, chance, share)
        length = self.entries[moment - 1].end if moment else 0
        gateway.start()
        acknowledged = self.acknowledged_by(length)
        if self.known <= length or gateway.api("GET", "/sources/load/sinks/rows").status == 200:
            assert gateway.source_url("load") == self.url
            gateway.flush("load", "rows")
            rows = gateway.rows("SELECT n, text FROM rows")
        else:
            rows = []
        assert_exactly_once(rows, acknowledged, self.sent)
        gateway.stop()
        gateway.close()
        shutil.rmtree(gateway.data)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return Recording(Gateway(tmp_path_factory.mktemp("recorded")))


def test_power_is_lost(recording, gateway_factory):
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns()))
    chance = random.Random(seed)
    each = int(os.environ.get("SLUICE_POWER_LOSSES", 0))
    moments = range(len(recording.entries) + 1) if each else sorted(chance.sample(range(len(recording.entries) + 1), SHORT_FORM))
    print("SLUICE_SEED:", seed, "entries:", len(recording.entries))
    disk, happened, problems = Disk(), 0, []
    for moment in moments:
        for entry in recording.entries[happened:moment]:
            disk.happen(entry)
        happened = moment
        for share in SHARES * each if each else (chance.choice(SHARES),):
            state = random.Random(f"{seed} {moment} {share}")
            gateway = gateway_factory()
            try:
                recording.check(gateway, disk, moment, share, state)
            except AssertionError as problem:
                if gateway.process.poll() is None:
                    gateway.kill()
                at = recording.entries[moment - 1]
                problems.append(f"after {moment} entries ({at.what} {at.inode} {at.data[:80]}), share {share}: {problem}")
                print(problems[-1][:1000], flush=True)
                if len(problems) >= 20:
                    raise AssertionError("\n\n".join(problems)) from None
    assert not problems, f"seed {seed}\n" + "\n\n".join(problems)
