"""Rows of intake alone: P1, P2, P3, P8 and P12. Nothing is imported meanwhile."""

import os
import statistics
import subprocess
import time

from harness import BUILD, COLUMNS, EVENT, EVENT_PATH, OPEN_LOOP, Intake, Yardstick, alternate, row, run_json, wrk

from sluice import NEVER  # found through harness

RETAINED = BUILD / "tests" / "support" / "retained"
MANY = 100
SOURCES = 10_000
NDJSON = "application/x-ndjson"
PROTOTYPE = "no-mapping prototype"


def measure_posts(options, directory):
    """P1 and P2, with one source and with 100: one event per POST. The bare handler shows what HTTP alone costs."""
    contenders, open_things, rows = {}, [], []

    def add(name, thing, paths):
        open_things.append(thing)
        contenders[name] = lambda: wrk(directory, thing.port, paths, EVENT, "application/json", options.seconds)

    for name, wait, extra in (("P1", True, []), ("P2", False, ["nowait"])):
        if name not in options.rows:
            continue
        for suffix, sources in (("", 1), ("-many", MANY)):
            intake = Intake(directory / f"{name}{suffix}", sources=sources, wait=wait)
            add(f"{name}{suffix}", intake, intake.paths)
        folder = directory / f"prototype-{name}"
        folder.mkdir()
        # The baselines get the same requests, with a path as long.
        add(f"prototype-{name}", Yardstick("no-mapping", str(folder), *extra), intake.paths[:1])
    add("bare", Yardstick("bare-handler"), intake.paths[:1])
    figures = alternate(options.rounds, contenders)
    for thing in open_things:
        thing.close()
    for name, text in (("P1", "synced before the 200"), ("P2", "202 before the sync")):
        if name not in options.rows:
            continue
        ours, peer, bare = figures[name], figures[f"prototype-{name}"], figures["bare"]
        options.rates[name] = ours
        rows.append(row(name, f"one event per POST, {text}", PROTOTYPE, ours, peer, "POST/s", "0.85"))
        rows.append(row(name, f"the same, {MANY} active sinks", PROTOTYPE, figures[f"{name}-many"], peer, "POST/s", "0.85"))
        rows.append(row(name, "(the same, one sink)", "bare libh2o handler", ours, bare, "POST/s", ""))
        rows.append(row(name, f"({PROTOTYPE})", "bare libh2o handler", peer, bare, "POST/s", ""))
    return rows


def rate_of_posts(options, directory, intake):
    """That of P1, or of one round if P1 was not measured."""
    if "P1" not in options.rates:
        options.rates["P1"] = wrk(directory, intake.port, intake.paths, EVENT, "application/json", options.seconds)
    return options.rates["P1"]


def measure_batches(options, directory):
    """P3: 100 events per POST, events a second."""
    body = "\n".join([EVENT] * 100)
    folder = directory / "prototype-batches"
    folder.mkdir()
    prototype = Yardstick("no-mapping", str(folder))
    one = Intake(directory / "P3", framing="ndjson")
    many = Intake(directory / "P3-many", framing="ndjson", sources=MANY)

    def load(thing, paths):
        return lambda: 100 * wrk(directory, thing.port, paths, body, NDJSON, options.seconds, connections=32)

    figures = alternate(
        options.rounds,
        {"prototype": load(prototype, one.paths), "P3": load(one, one.paths), "P3-many": load(many, many.paths)},
    )
    for thing in (prototype, one, many):
        thing.close()
    what, peer = "100 events per POST (ndjson), synced", figures["prototype"]
    return [
        row("P3", what, PROTOTYPE, figures["P3"], peer, "events/s", "0.65"),
        row("P3", f"the same, {MANY} active sinks", PROTOTYPE, figures["P3-many"], peer, "events/s", "0.65"),
    ]


class Syncs:
    """Pairs of fdatasync of one file that is written anew, as a commit does: the times of all pairs, in milliseconds."""

    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self.file, bytes(1 << 20), 0)
        os.fdatasync(self.file)

    def measure(self, seconds):
        took, end, page = [], time.monotonic() + seconds, os.urandom(4096)
        while time.monotonic() < end:
            begin = time.monotonic()
            for offset in (4096 * (1 + len(took) % 200), 0):
                os.pwrite(self.file, page, offset)
                os.fdatasync(self.file)
            took.append(1000 * (time.monotonic() - begin))
        return took

    def close(self):
        os.close(self.file)


def share(values, part):
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def measure_latency(options, directory):
    """P8: latencies of a synced POST at half the rate of P1. The baseline is what the disk takes for two syncs."""
    intake = Intake(directory / "P8")
    syncs = Syncs(directory / "syncs")
    rate = int(rate_of_posts(options, directory, intake) / 2)
    ours, disk = [], []

    def post():
        answer = run_json(OPEN_LOOP, intake.port, intake.paths[0], EVENT_PATH, "--rate", rate, "--seconds", options.seconds)
        assert answer["refused"] == 0, answer
        ours.append(answer["microseconds"])
        return 0

    def sync():
        disk.append(syncs.measure(options.seconds / 2))
        return 0

    alternate(options.rounds, {"post": post, "sync": sync})
    intake.close()
    syncs.close()
    rows = []
    for name, part, goal in (("p50", 0.5, ""), ("p99", 0.99, "under 4"), ("p99.9", 0.999, "")):
        figure = statistics.median(one[name] for one in ours) / 1000
        limit = statistics.median(share(one, part) for one in disk)
        what = f"latency of a synced POST at {rate:,} POST/s, half of P1: {name}"
        rows.append(row("P8", what, f"two fdatasyncs: {name}", figure, limit, "ms", goal))
    return rows


def measure_sources(options, directory):
    """P12: one active source, and 10,000 that all send."""
    one = Intake(directory / "P12-one")
    many = Intake(directory / "P12-many")
    many.gateway.stop()
    # Copies of the first source and its sink, made in the stopped gateway's data.
    subprocess.run([RETAINED, many.gateway.data, str(SOURCES), "0", "1"], check=True)
    many.start()
    first = many.paths[0].split("/")
    many.paths += ["/".join([*first[:-2], f"copy{number}", first[-1]]) for number in range(2, SOURCES + 1)]

    def load(intake):
        return lambda: wrk(directory, intake.port, intake.paths, EVENT, "application/json", options.seconds)

    figures = alternate(options.rounds, {"one": load(one), "many": load(many)})
    one.close()
    many.close()
    return [row("P12", f"{SOURCES:,} active sources, one event per POST, synced", "one source", figures["many"], figures["one"], "POST/s", "0.95")]


def measure_intake(options, directory):
    rows = []
    if {"P1", "P2"} & set(options.rows):
        rows += measure_posts(options, directory)
    for name, measure in (("P3", measure_batches), ("P8", measure_latency), ("P12", measure_sources)):
        if name in options.rows:
            rows += measure(options, directory)
    return rows
