"""The short form of tests/fault/run: each kind of fault once while some thousand records flow, and each record is one row."""

import os
import pathlib
import sys
import time

import pytest
from sluice import ROOT

sys.path.insert(0, str(ROOT / "tests" / "fault"))
sys.path.insert(0, str(ROOT / "tests" / "services"))

from kafka import Unavailable, fetch  # noqa: E402
from kafka_round import KafkaRound  # noqa: E402
from nats_round import NatsRound  # noqa: E402

SEED = int(os.environ.get("SLUICE_SEED", time.time_ns() % 1000000))


def checked(kind):
    """The same round, which shows at its end that it would have seen a lost, a doubled and a wrong row."""

    class Checked(kind):
        def compare(self):
            found = super().compare()
            if not any(found[1:]):
                one, two, three = self.server.rows('SELECT "partition", "offset" FROM flow ORDER BY n LIMIT 3')
                where = 'WHERE "partition" = %s AND "offset" = %s'
                self.server.rows(f"DELETE FROM flow {where}", *one)
                self.server.rows(f"INSERT INTO flow SELECT * FROM flow {where}", *two)
                self.server.rows(f"UPDATE flow SET n = -1 {where}", *three)
                assert super().compare() == (found[0], 1, 1, 1)
            return found

    return Checked


def run(kind, tmp_path, records, rate, **fields):
    said = checked(kind)(tmp_path, SEED, records, rate, gaps=(0.2, 1.0), **fields).run()
    course = pathlib.Path(tmp_path / "course.log").read_text()
    assert said["wrong"] is None and said["lost"] == said["doubled"] == said["strange"] == 0, f"seed {SEED}, {tmp_path}: {said}\n{course}"
    assert said["records"] >= 0.9 * records
    # What is of no meaning without new records has its time only while they flow: on a loaded machine it may find none.
    always = set(kind.kinds) - kind.while_flowing - ({"empty"} if fields["version"] == "durable" else set())
    assert all(said["faults"].get(fault) for fault in always), said


@pytest.mark.kafka
def test_kafka(tmp_path):
    try:
        fetch("3.9")
    except Unavailable as reason:
        pytest.skip(str(reason))
    run(KafkaRound, tmp_path, 8000, 500, version="3.9")


@pytest.mark.parametrize("durable", ["durable", "none"])
def test_nats(tmp_path, durable):
    run(NatsRound, tmp_path, 4000, 400, version=durable)
