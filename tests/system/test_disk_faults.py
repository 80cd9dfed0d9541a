"""A call of LMDB or SQLite fails once, or for good, in the whole program: nothing that was acknowledged is lost or doubled, the process
does not crash, and its log says why.

The calls are counted from the start of the program. The short form takes some of them, as its seed says. SLUICE_DISK_FAULTS=FIRST-LAST: the
long form, each of these calls with each error, once and for good.
"""

import http.client
import json
import os
import random
import shutil
import time

import pytest
from disk_shim import Shim
from load import COLUMNS, Sender, assert_exactly_once
from sluice import wait_until

SETTINGS = {
    "storage.level.staging.upload.trigger.count": 10,
    "storage.level.target.import.trigger.count": 20,
}
# LMDB repeats a write that is interrupted, so it would repeat for ever one that is interrupted each time.
FAULTS = [(what, for_good) for what in ("EIO", "ENOSPC", "EINTR", "SHORT") for for_good in (False, True) if (what, for_good) != ("EINTR", True)]
SHORT_FORM = 4  # runs
REQUESTS = 14
BROKEN = 2  # the documented exit code of a process that cannot write


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A data directory with a source, a sink and a table that has rows."""
    from sluice import Gateway

    directory = tmp_path_factory.mktemp("template")
    gateway = Gateway(directory).start()
    gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, SETTINGS)
    gateway.stop()
    return gateway


def work(gateway, environment):
    """Starts, takes some requests, and ends. Returns the sender and the exit code."""
    sender = Sender("", gateway.source, "s", count=3 * REQUESTS, batch=3)
    try:
        gateway.start(environment=environment)
    except AssertionError:
        return sender, gateway.process.returncode
    sender.address = gateway.intake
    sender.run()
    try:
        gateway.api("POST", "/sources/load/sinks/rows/flush", wait=1)
    except (OSError, http.client.HTTPException):
        pass
    if gateway.process.poll() is None:
        try:
            gateway.process.terminate()
        except ProcessLookupError:
            pass
    return sender, gateway.process.wait(timeout=60)


def copy_of(template, gateway):
    shutil.copytree(template.data, gateway.data)
    gateway.source = template_source(template)


def template_source(template):
    if not hasattr(template, "source"):
        template.start()
        template.source = template.source_url("load")
        template.stop()
    return template.source


def errors_of(gateway):
    lines = [json.loads(line) for line in gateway.log_text().splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line["level"] in ("error", "warning")]


def run(template, gateway, number, what, for_good):
    copy_of(template, gateway)
    shim = Shim(gateway.directory, gateway.data)
    plan = f"{number}:{what}{':for-good' if for_good else ''}"
    sender, code = work(gateway, shim.environment(plan))
    calls, failed, first = shim.counted()
    about = f"{plan} of {calls} ({first}), exit code {code}:\n{gateway.log_text()[-3000:]}"
    assert code in (0, BROKEN), about
    if code == BROKEN:
        assert errors_of(gateway), about
    print(plan, first, code, len(sender.acknowledged), errors_of(gateway)[:2])
    gateway.start()
    gateway.flush("load", "rows")
    try:
        assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), sender.acknowledged, sender.unknown)
    except AssertionError as problem:
        raise AssertionError(f"{problem}\n{about}") from None
    gateway.close()
    shutil.rmtree(gateway.data)
    return failed


def test_a_call_of_the_databases_fails(template, gateway_factory):
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns()))
    chance = random.Random(seed)
    print("SLUICE_SEED:", seed)
    gateway = gateway_factory()
    copy_of(template, gateway)
    shim = Shim(gateway.directory, gateway.data)
    _, code = work(gateway, shim.environment())
    calls, _, _ = shim.counted()
    assert code == 0 and calls > 50
    gateway.close()
    long_form = os.environ.get("SLUICE_DISK_FAULTS")
    if long_form:
        first, last = map(int, long_form.split("-"))
        plans = [(number, *fault) for number in range(first, min(last, calls) + 1) for fault in FAULTS]
    else:
        numbers = chance.sample(range(1, calls * 3 // 4), SHORT_FORM)  # the number of calls differs between runs
        plans = [(number, *chance.choice(FAULTS)) for number in numbers]
    failed, problems = 0, []
    for plan in plans:
        try:
            failed += run(template, gateway_factory(), *plan) > 0
        except AssertionError as problem:
            problems.append(str(problem))
            print(problem, flush=True)
    assert not problems, "\n\n".join(problems)
    assert failed > 0
