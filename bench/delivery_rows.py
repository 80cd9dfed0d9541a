"""Rows of intake and import at once: P13 (sustained), P14 (lag) and P15 (catching up)."""

import statistics
import subprocess
import threading
import time

from harness import COLUMNS, EVENT, EVENT_PATH, OPEN_LOOP, alternate, port_of, row, run_json, wrk
from import_rows import rate_of_imports
from intake_rows import rate_of_posts

from postgres import Postgres  # found through harness
from sluice import AT_ONCE, Gateway, wait_until

NDJSON = "application/x-ndjson"
EVENTS = 100  # of a POST
STEP, LEAST, MOST = 0.1, 0.1, 1.2  # of P6's rate
LAG_RATE = 10_000
STAMPED = [*COLUMNS[:6], {"type": "path", "name": "due", "path": "due", "dataType": "integer"}]
LONG_SECONDS = 1800
PATIENCE = 600


class Delivery:
    """A gateway with one loop whose sink imports at once into PostgreSQL."""

    def __init__(self, directory, columns=COLUMNS, framing="ndjson", settings=None):
        self.server = Postgres({"track_commit_timestamp": "on", "max_wal_size": "4GB", **(settings or {})})
        directory.mkdir()
        config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {self.server.uri}\n"
        self.gateway = Gateway(directory, config, arguments=["--threads", "1"]).start()
        self.paths = [self.gateway.add_source("s", framing=framing)]
        self.gateway.add_sink("s", "rows", columns, AT_ONCE, connection="warehouse")
        self.port = port_of(self.gateway)
        self.directory = directory

    def waiting(self):
        levels = self.gateway.statistics("s", "rows")["levels"]
        return levels["local"]["recordsCount"] + levels["staging"]["recordsCount"]

    def imported(self):
        return self.gateway.statistics("s", "rows")["levels"]["target"]["recordsCount"]

    def wait_until_empty(self):
        wait_until("all rows are in the table", lambda: self.waiting() == 0, PATIENCE)

    def post(self, rate, seconds, body=EVENT_PATH, kind="application/json", *more):
        return run_json(OPEN_LOOP, self.port, self.paths[0], body, "--rate", int(rate), "--seconds", seconds, "--type", kind, *more)

    def close(self):
        self.gateway.close()
        self.server.close()


class Watch:
    """How many rows wait, four times a second, while the block runs."""

    def __init__(self, delivery):
        self.delivery, self.seen, self.over = delivery, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.25):
            self.seen.append(self.delivery.waiting())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *reason):
        self.over.set()
        self.thread.join()


def is_flat(seen, rate, seconds):
    """What waits does not grow: over the second half of the time by less than a twentieth of what came."""
    half = len(seen) // 2
    middle, last = statistics.median(seen[half : half + half // 2]), statistics.median(seen[half + half // 2 :])
    return last - middle < rate * seconds / 4 / 20


def try_rate(delivery, body, rate, seconds):
    """Latencies of the POSTs if the gateway keeps up with so many rows a second, otherwise None."""
    delivery.server.rows("TRUNCATE rows")
    begin = time.monotonic()
    with Watch(delivery) as watch:
        try:
            answer = delivery.post(rate / EVENTS, seconds, body, NDJSON, "--connections", "64")
        except subprocess.CalledProcessError:  # it has given up: the answers come more than 30 s late
            answer = None
    late = time.monotonic() - begin > seconds + 3
    delivery.wait_until_empty()
    kept_up = answer and answer["refused"] == 0 and not late and is_flat(watch.seen, rate, seconds)
    return answer["microseconds"] if kept_up else None


def measure_sustained(options, directory):
    """P13: the highest rate, in steps of a tenth of P6's, at which what waits does not grow."""
    delivery = Delivery(directory / "P13")
    limit = rate_of_imports(options, directory)
    body = directory / "P13.ndjson"
    body.write_text("\n".join([EVENT] * EVENTS))
    part, best, seconds = 0.6, None, max(2 * options.seconds, 4)
    tried = set()
    while LEAST <= part <= MOST and part not in tried:
        tried.add(part)
        latencies = try_rate(delivery, body, part * limit, seconds)
        if latencies:
            best = (part, latencies)
        part = round(part + (STEP if latencies else -STEP), 1)
    while best and options.long:
        seconds = LONG_SECONDS
        latencies = try_rate(delivery, body, best[0] * limit, seconds)
        if latencies:
            best = (best[0], latencies)
            break
        best = (best[0] - STEP / 2, None) if best[0] > LEAST else None
    delivery.close()
    part, latencies = best or (0, None)
    what = f"highest rate with a flat buffer for {seconds:,} s, import running, 100 events per POST"
    rows = [row("P13", what, "P6", part * limit, limit, "rows/s", "0.6")]
    if latencies:
        rows.append(row("P13", "(latency of the POSTs at that rate: p99)", "p50", latencies["p99"] / 1000, latencies["p50"] / 1000, "ms", ""))
    return rows


def measure_lag(options, directory):
    """P14: from the moment when a POST was due to the commit that makes its row visible; the server syncs its commits."""
    delivery = Delivery(directory / "P14", STAMPED, "single", {"fsync": "on"})
    seconds = max(options.seconds, 3)
    count, seen = LAG_RATE * seconds, []

    def lag():
        delivery.server.rows("TRUNCATE rows")
        answer = delivery.post(LAG_RATE, seconds, EVENT_PATH, "application/json", "--stamp")
        assert answer["refused"] == 0, answer
        delivery.wait_until_empty()
        latency = "extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - due / 1000.0"
        newest = f"SELECT {latency} AS latency FROM rows ORDER BY due DESC LIMIT {count}"
        [(shares,)] = delivery.server.rows(f"SELECT percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY latency) FROM ({newest}) AS newest")
        seen.append([float(one) for one in shares])
        return 0

    alternate(options.rounds, {"lag": lag})
    delivery.close()
    half, most = (statistics.median(values) for values in zip(*seen))
    what = f"POST to a visible row in PostgreSQL with fsync, {LAG_RATE:,} POST/s, count condition 1"
    return [
        row("P14", f"{what}: p50", None, half, None, "ms", ""),
        row("P14", f"{what}: p99", None, most, None, "ms", "under 60 ms"),
    ]


def measure_catching_up(options, directory):
    """P15: a backlog goes into the table while intake runs at half of P1."""
    delivery = Delivery(directory / "P15")
    limit, posts = rate_of_imports(options, directory), rate_of_posts(options, directory, delivery) / 2
    delivery.wait_until_empty()
    body = "\n".join([EVENT] * EVENTS)
    rates = []

    def catch_up():
        delivery.server.rows("TRUNCATE rows")
        delivery.gateway.change("PUT", "/sources/s/sinks/rows/pause")
        before = delivery.waiting()
        while delivery.waiting() - before < options.import_rows:
            wrk(delivery.directory, delivery.port, delivery.paths, body, NDJSON, 1, connections=32)
        seconds = 3 + int(2 * delivery.waiting() / limit)
        sender = threading.Thread(target=delivery.post, args=(posts, seconds, EVENT_PATH, NDJSON))
        sender.start()
        begin, had = time.monotonic(), delivery.imported()
        delivery.gateway.change("PUT", "/sources/s/sinks/rows/resume")
        wait_until("the backlog is in the table", lambda: delivery.waiting() < posts / 2, PATIENCE)
        rates.append((delivery.imported() - had) / (time.monotonic() - begin))
        late = not sender.is_alive()
        sender.join()
        assert not late, "the load has ended before the backlog was in"
        delivery.wait_until_empty()
        return rates[-1]

    figures = alternate(options.rounds, {"catch up": catch_up})
    delivery.close()
    what = f"a backlog of {options.import_rows:,} rows and more drains while {posts:,.0f} POST/s come, half of P1"
    return [row("P15", what, "P6", figures["catch up"], limit, "rows/s", "0.6")]


def measure_delivery(options, directory):
    rows = []
    for name, measure in (("P13", measure_sustained), ("P14", measure_lag), ("P15", measure_catching_up)):
        if name in options.rows:
            rows += measure(options, directory)
    return rows
