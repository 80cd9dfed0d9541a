"""The log on stderr: a reader that does not read holds up nothing, and is told what it missed."""

import fcntl
import os
import re
import signal
import subprocess
import time

import pytest
from load import COLUMNS
from sluice import AT_ONCE, DEADLINE, request, wait_until

SMALL_PIPE = 8192


class Pipe:
    """The reading end of a gateway's stderr, in the hand of the test."""

    def __init__(self, gateway, *arguments, full=False):
        self.text = b""
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
        os.set_blocking(self.reading, False)
        if full:
            os.write(writing, b"x" * SMALL_PIPE)
        self.gateway = gateway
        gateway.process = subprocess.Popen(gateway.command(*arguments), stdin=subprocess.DEVNULL, stderr=writing)
        os.close(writing)

    def read(self):
        """What is there now; false at the end of the pipe."""
        try:
            data = os.read(self.reading, 65536)
        except BlockingIOError:
            return True
        self.text += data
        return bool(data)

    def wait_for(self, pattern):
        def found():
            self.read()
            return re.search(pattern, self.text)

        return wait_until(f"{pattern} in the log", found)

    def wait_start(self):
        found = self.wait_for(rb"takes events on (\S+), admins on (\S+), data in")
        self.gateway.intake, self.gateway.admin = found.group(1).decode(), found.group(2).decode()
        self.gateway.token = (self.gateway.data / "admin.token").read_text().strip()

    def read_rest(self):
        while self.read():
            time.sleep(0.001)

    def close(self):
        """The end of the test; the gateway has ended, and sanitizers had nothing to say."""
        if self.gateway.process.poll() is None:
            self.gateway.kill()
        self.read_rest()
        os.close(self.reading)
        for mark in (b"Sanitizer", b"runtime error:", b": bug: "):
            assert mark not in self.text, self.text[-4000:]


@pytest.fixture
def piped(gateway_factory):
    gateway = gateway_factory()
    pipe = Pipe(gateway)
    yield gateway, pipe
    pipe.close()


def dropped(gateway):
    text = request(gateway.admin, "GET", "/metrics", headers={"Authorization": f"Bearer {gateway.token}"}).body.decode()
    return int(re.search(r"^sluice_log_lines_dropped_total (\d+)$", text, re.M).group(1))


@pytest.mark.threads
def test_a_log_pipe_that_nobody_reads_holds_up_nothing(piped):
    gateway, pipe = piped
    pipe.wait_start()
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, AT_ONCE)
    # Each failed task is a line of some 800 bytes: the table lacks what this sink wants.
    columns = COLUMNS + [{"name": f"missing_{i}", "type": "path", "path": f"m{i}"} for i in range(60)]
    sink = {"sinkId": "other", "name": "other", "type": "table", "table": {"connection": "local", "tableId": "taken", "mapping": {"columns": columns}}}
    gateway.add_source("t")
    gateway.add_sink("t", "taken", COLUMNS, table="taken")
    gateway.change("DELETE", "/sources/t/sinks/taken")

    calls = 0

    def lines_are_dropped():
        nonlocal calls
        answer = gateway.api("POST", "/sources/t/sinks", sink)
        assert answer.status == 202 and answer.json["status"] == "error", answer
        gateway.change("PATCH", "/sources/s", {"description": f"call {calls}"})
        assert gateway.post(url, {"n": calls, "text": "t"}).status == 200
        calls += 1
        return calls >= 150 and dropped(gateway) > 0

    wait_until("lines are dropped", lines_are_dropped, 4 * DEADLINE)
    gateway.wait_rows("rows", calls, DEADLINE)

    # It reads again: one line tells what it missed, and new lines come.
    missed = dropped(gateway)
    found = pipe.wait_for(rb'"message":"(\d+) log lines dropped: ')
    assert int(found.group(1)) >= missed
    gateway.change("DELETE", "/sources/t")
    pipe.wait_for(rb"source.delete of t")
    assert all(line.startswith(b'{"time":') and line.endswith(b"}") for line in pipe.text.splitlines()), pipe.text

    # Nobody reads again, and it ends all the same.
    for i in range(30):
        gateway.change("PATCH", "/sources/s", {"description": f"call {i}"})
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(timeout=DEADLINE) == 0


def test_the_log_is_whole_at_the_end(piped):
    gateway, pipe = piped
    pipe.wait_start()
    gateway.add_source("s")
    gateway.process.send_signal(signal.SIGTERM)
    pipe.read_rest()
    assert gateway.process.wait(timeout=DEADLINE) == 0
    assert b"source.create of s" in pipe.text and b"stopping: requests in progress are finished first" in pipe.text


def test_a_full_pipe_does_not_hold_up_a_start_that_fails(gateway_factory):
    pipe = Pipe(gateway_factory(), "--admin", "0.0.0.0:0", full=True)
    try:
        assert pipe.gateway.process.wait(timeout=DEADLINE) == 1
    finally:
        pipe.close()
