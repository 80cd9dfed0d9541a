"""Staging files that are away or damaged: what waits in them is kept, and only a person gives up what is away."""

import json
import os
import re
import subprocess

from load import COLUMNS, TEXT, assert_exactly_once
from sluice import DEADLINE, NEVER, wait_until

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


def crash_after_the_commit_at_the_destination(gateway):
    """The gateway must run with the failpoint loader.after-import=crash."""
    try:
        gateway.api("POST", "/sources/s/sinks/rows/flush", wait=5)
    except OSError:
        pass
    gateway.process.wait(timeout=DEADLINE)


def test_given_up_rows_that_the_destination_has_count_as_imported(gateway_factory):
    gateway = gateway_factory().start(environment={"SLUICE_FAILPOINTS": "loader.after-import=crash"})
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, STAGED)
    names = send(gateway, url, "committed")
    wait_until("the rows are staged", lambda: packs(gateway))
    crash_after_the_commit_at_the_destination(gateway)
    for pack in packs(gateway):
        pack.rename(gateway.directory / pack.name)
    gateway.start("--give-up-missing-packs")
    gateway.flush("s", "rows")
    names += send(gateway, url, "later", 10)
    gateway.flush("s", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])
    statistics = gateway.statistics("s", "rows")
    assert statistics["levels"]["target"]["recordsCount"] == 110
    assert statistics["droppedRows"] == 0


def flip_a_bit(pack):
    """In the rows of its first slice. The bytes that it had."""
    good = pack.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 3] ^= 0x10
    pack.write_bytes(bad)
    return good


def stage_one_by_one(gateway, url, prefixes, count):
    """One pack for each prefix, in this order; their rows."""
    names = []
    for i, prefix in enumerate(prefixes):
        names.append(send(gateway, url, prefix, count))
        wait_until("the rows are staged", lambda: len(packs(gateway)) == i + 1)
    return names


def test_what_an_import_leaves_out_is_recorded_before_it_commits(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, STAGED)
    names = stage_one_by_one(gateway, url, ["damaged", "whole"], 50)[1]
    gateway.stop()
    pack = packs(gateway)[0]
    good = flip_a_bit(pack)
    gateway.start(environment={"SLUICE_FAILPOINTS": "loader.after-import=crash"})
    crash_after_the_commit_at_the_destination(gateway)
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])
    pack.write_bytes(good)
    gateway.start()
    gateway.flush("s", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])
    statistics = gateway.statistics("s", "rows")
    assert statistics["droppedRows"] == 50
    assert statistics["levels"]["target"]["recordsCount"] == 50


def test_damaged_slices_do_not_pause_their_connection(gateway_factory, postgres):
    gateway = gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n").start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, STAGED, connection="warehouse", table="damaged_slices")
    names = stage_one_by_one(gateway, url, ["a", "b", "c", "d", "e"], 20)[4]
    for pack in packs(gateway)[:4]:
        flip_a_bit(pack)
    gateway.flush("s", "rows")
    assert_exactly_once(postgres.rows("SELECT n, text FROM damaged_slices"), names, [])
    assert gateway.statistics("s", "rows")["droppedRows"] == 80
    assert "cannot be reached" not in gateway.log_text()
    assert not re.search(r"import of s/rows failed", gateway.log_text())


# -- starts that fail leave nothing behind ------------------------------------------------------------------------------------------


def ends(gateway, *arguments, environment=None):
    """Runs it until it ends by itself; its exit code."""
    with open(gateway.log_path, "ab") as log:
        process = subprocess.Popen(
            gateway.command(*arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
        )
    try:
        return process.wait(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()


def sizes(gateway):
    """Names and bytes of all files but the lock, which holds a process id."""
    files = [path for path in gateway.data.rglob("*") if path.is_file() and path.name not in ("lock", "lock.mdb")]
    return {str(path.relative_to(gateway.data)): path.stat().st_size for path in files}


SPARE_PAGES = 16 * 4096  # LMDB writes a commit into free pages; how many it needs at once depends on who reads meanwhile


def assert_nothing_more(gateway, before, what):
    """The same files with the same bytes; only LMDB's file may have a few free pages more, over all starts together."""
    environment = "sluice.mdb/data.mdb"
    now = sizes(gateway)
    assert {**now, environment: 0} == {**before, environment: 0}, what
    assert now[environment] <= before[environment] + SPARE_PAGES, what


def leave_rows_at_each_level(gateway):
    gateway.start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, STAGED)
    gateway.add_sink("s", "log", COLUMNS, NEVER)
    names = send(gateway, url, "row", 200)
    wait_until("the rows are staged", lambda: gateway.statistics("s", "rows")["levels"]["staging"]["recordsCount"] == 200)
    gateway.kill()
    return names


def test_failing_starts_leave_nothing_more(gateway_factory):
    gateway = gateway_factory()
    names = leave_rows_at_each_level(gateway)
    failures = [f"app.start=error@{step}" for step in range(3, 13)] + [f"app.start=crash@{step}" for step in range(3, 13)]
    assert ends(gateway, environment={"SLUICE_FAILPOINTS": failures[-1]}) != 0  # whatever the first start has to do is done
    before = sizes(gateway)
    for failure in failures:
        assert ends(gateway, environment={"SLUICE_FAILPOINTS": failure}) != 0, failure
        assert_nothing_more(gateway, before, failure)
    assert ends(gateway, "--disk.budget", "1MB") == 1
    assert ends(gateway, "--intake", "127.0.0.1:1" if os.getuid() else "203.0.113.1:7000") != 0
    assert_nothing_more(gateway, before, "options that cannot work")
    gateway.start()
    for sink in ("rows", "log"):
        gateway.flush("s", sink)
        assert_exactly_once(gateway.rows(f"SELECT n, text FROM {sink}"), names, [])


def test_kills_in_the_middle_of_staging_pile_nothing_up(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, {**NEVER, "storage.level.staging.upload.trigger.interval": "1s"})
    names = send(gateway, url, "row", 200)
    gateway.kill()
    for _ in range(20):
        assert ends(gateway, environment={"SLUICE_FAILPOINTS": "pack.after-rename=crash"}) == -9
        assert len(packs(gateway)) <= 1
        assert not list((gateway.data / "staging" / "orphans").iterdir())
    gateway.start()
    gateway.flush("s", "rows")
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), names, [])
    assert "was not recorded, but all its rows are in the log" in gateway.log_text()


def test_a_budget_below_what_is_used_only_stops_the_intake(gateway_factory):
    gateway = gateway_factory(arguments=["--limits.body", "15MB", "--limits.event", "1MB"])
    gateway.start("--disk.budget", "2GB")
    urls = []
    for i in range(3):
        urls.append(gateway.add_source(f"s{i}", framing="ndjson"))
        gateway.add_sink(f"s{i}", f"rows{i}", COLUMNS, NEVER)
    event = json.dumps({"n": "n", "text": "x" * 900_000})
    for url in urls:  # 120 MB, all of it in the log
        for _ in range(4):
            assert gateway.post(url, "\n".join([event] * 11)).status == 200
    gateway.kill()
    for _ in range(3):
        gateway.start("--disk.budget", "64MB")
        wait_until("the intake is stopped", lambda: gateway.post(urls[0], {"n": "n", "text": "t"}).status == 503)
        gateway.kill()
    assert not list((gateway.data / "staging" / "orphans").iterdir())
    gateway.start("--disk.budget", "64MB")
    for i in range(3):
        gateway.flush(f"s{i}", f"rows{i}")
        assert gateway.rows(f"SELECT count(*), sum(length(text)) FROM rows{i}") == [(44, 44 * 900_000)]
    wait_until("events are taken again", lambda: gateway.post(urls[0], {"n": "n", "text": "t"}).status == 200)
