"""Staging files that are away: what waits in them is kept, and only a person gives it up."""

import json
import re
import subprocess

from load import COLUMNS, TEXT, assert_exactly_once
from sluice import NEVER, wait_until

STAGED = {**NEVER, "storage.level.staging.upload.trigger.count": 1}


def send(gateway, url, prefix, count=100):
    names = [f"{prefix}-{i}" for i in range(count)]
    answer = gateway.post(url, "\n".join(json.dumps({"n": name, "text": TEXT}) for name in names))
    assert answer.status == 200, answer
    return names


def packs(gateway):
    return sorted((gateway.data / "staging").glob("*.pack"))


def refused_start(gateway, *arguments):
    result = subprocess.run(gateway.command(*arguments), capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stderr
    return result.stderr


def tree(gateway):
    return sorted(str(path.relative_to(gateway.data)) for path in gateway.data.rglob("*"))


def test_an_unmounted_staging_folder_refuses_the_start(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, STAGED)
    names = send(gateway, url, "row", 1000)
    wait_until("the rows are staged", lambda: packs(gateway))
    gateway.stop()
    staging, elsewhere = gateway.data / "staging", gateway.directory / "elsewhere"
    staging.rename(elsewhere)
    staging.mkdir()
    before = tree(gateway)
    for _ in range(2):
        text = refused_start(gateway)
        assert "1000 rows" in text and "s/rows" in text and "--give-up-missing-packs" in text, text
    assert tree(gateway) == before
    staging.rmdir()
    elsewhere.rename(staging)
    gateway.start()
    gateway.flush("s", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])


def test_packs_that_vanish_while_it_runs_and_come_back(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, STAGED)
    names = send(gateway, url, "row")
    wait_until("the rows are staged", lambda: packs(gateway))
    away = [(pack, gateway.directory / pack.name) for pack in packs(gateway)]
    for pack, place in away:
        pack.rename(place)
    answer = gateway.api("POST", "/sources/s/sinks/rows/flush").json
    assert answer["status"] == "error" and "cannot be read from their staging file" in answer["error"], answer
    assert gateway.statistics("s", "rows")["droppedRows"] == 0
    for pack, place in away:
        place.rename(pack)
    gateway.flush("s", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])


def test_missing_packs_are_given_up_for_one_start(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, STAGED)
    send(gateway, url, "lost")
    wait_until("the rows are staged", lambda: packs(gateway))
    lost = packs(gateway)
    names = send(gateway, url, "kept", 50)
    wait_until("these too", lambda: len(packs(gateway)) > len(lost))
    gateway.stop()
    for pack in lost:
        pack.rename(gateway.directory / pack.name)
    refused_start(gateway)
    gateway.start("--give-up-missing-packs")
    shown = re.search(r"given up: sink s/rows, rows 1 to 100 \(100\), received from \S+Z to \S+Z", gateway.log_text())
    assert shown, gateway.log_text()
    assert "rows 1 to 100 of sink s/rows" in gateway.log_text()
    gateway.flush("s", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])
    assert gateway.statistics("s", "rows")["droppedRows"] == 100
    # It was for one start; the next one needs nothing, and nothing is given up twice.
    gateway.stop()
    gateway.start()
    assert gateway.log_text().count("given up: sink") == 1
