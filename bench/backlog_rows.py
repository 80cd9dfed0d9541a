"""Rows of a buffer with a backlog: P9 (memory) and P10 (start)."""

import http.client
import pathlib
import statistics
import subprocess
import threading
import time

from harness import COLUMNS, EVENT, Intake, free_port, row, wrk

from postgres import Postgres  # found through harness
from sluice import Gateway, wait_until

NDJSON = "application/x-ndjson"
CONNECTION = "connections:\n  warehouse:\n    type: postgres\n    uri: {uri}\n"


def processes_of(pid):
    """The process and all that it has started."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes_of(int(child))
    yield pid


def memory_kib(gateway):
    """Memory that is no file's, worker processes included."""
    total = 0
    for pid in processes_of(gateway.process.pid):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1])
    return total


class MemoryWatch:
    """The most memory that a gateway has while the block runs."""

    def __init__(self, gateway):
        self.gateway, self.most, self.over = gateway, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, memory_kib(self.gateway))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *reason):
        self.over.set()
        self.thread.join()


def memory_of_posts(options, directory):
    intake = Intake(directory / "P9-posts")
    with MemoryWatch(intake.gateway) as watch:
        wrk(directory, intake.port, intake.paths, EVENT, "application/json", 2 * options.seconds)
    intake.close()
    return row("P9", "anonymous memory under the load of P1", None, watch.most / 1024, None, "MiB", "under 24 MiB")


class Backlog:
    """A gateway whose destination is down, and its rows."""

    def __init__(self, directory):
        server = Postgres()
        directory.mkdir()
        self.port = free_port()
        arguments = ["--threads", "1", "--disk.budget", "16GB", "--disk.share", "100", "--intake", f"127.0.0.1:{self.port}"]
        self.gateway = Gateway(directory, CONNECTION.format(uri=server.uri), arguments=arguments).start()
        self.path = self.gateway.add_source("s", framing="ndjson")
        self.gateway.add_sink("s", "rows", COLUMNS, connection="warehouse")
        server.close()

    def count(self):
        levels = self.gateway.statistics("s", "rows")["levels"]
        return levels["local"]["recordsCount"] + levels["staging"]["recordsCount"]

    def fill(self, directory, count):
        body = "\n".join([EVENT] * 100)
        while self.count() < count:
            wrk(directory, self.port, [self.path], body, NDJSON, 1, connections=32)

    def first_answer(self):
        """Seconds from the start of the process to the first 200."""
        with open(self.gateway.log_path, "ab") as log:
            begin = time.monotonic()
            self.gateway.process = subprocess.Popen(self.gateway.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while True:
            assert self.gateway.process.poll() is None, self.gateway.log_text()[-3000:]
            assert time.monotonic() - begin < 120
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request("POST", self.path, EVENT, {"Content-Type": NDJSON})
                if connection.getresponse().status == 200:
                    return time.monotonic() - begin
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.002)


def measure_backlog(options, directory):
    """P9 and P10, on one backlog."""
    rows, marks = [], []
    if "P9" in options.rows:
        rows.append(memory_of_posts(options, directory))
    backlog = Backlog(directory / "backlog")
    for part in (4, 2, 1):
        with MemoryWatch(backlog.gateway) as watch:
            backlog.fill(directory, options.backlog // part)
        marks.append((options.backlog // part, watch.most / 1024))
    if "P9" in options.rows:
        for count, most in marks:
            what = f"anonymous memory, {count:,} rows wait, destination down"
            rows.append(row("P9", what, f"with {marks[0][0]:,} rows", most, marks[0][1], "MiB", "under 24 MiB, flat"))
    if "P10" in options.rows:
        waiting, times = backlog.count(), []
        for _ in range(options.rounds):
            backlog.gateway.kill()
            times.append(backlog.first_answer())
        assert waiting >= options.backlog
        what = f"start after SIGKILL with {waiting:,} buffered rows, to the first 200"
        rows.append(row("P10", what, None, statistics.median(times), None, "s", "under 0.2 s"))
    backlog.gateway.kill()
    return rows
