"""
Runs the gateway and its limits in turn and compares them: figures are ratios of medians, taken in one run on one machine.
What each row means stands in docs/performance.md.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
os.environ["SLUICE_BINARY"] = str(BUILD / "sluice")
sys.path.insert(0, str(ROOT / "tests" / "system"))

from postgres import Postgres, free_port, programs  # noqa: E402
from sluice import NEVER, Gateway, wait_until  # noqa: E402

EVENT = (ROOT / "tests" / "mapping" / "event.json").read_text().strip()
COLUMNS = [
    {"type": "id", "name": "id"},
    {"type": "datetime", "name": "received"},
    {"type": "path", "name": "issue_id", "path": "issue.id", "rawString": True},
    {"type": "path", "name": "issue_key", "path": "issue.key", "rawString": True},
    {"type": "path", "name": "summary", "path": "issue.fields.summary", "rawString": True},
    {"type": "path", "name": "user_name", "path": "user.name", "rawString": True},
    {"type": "path", "name": "amount", "path": "amount", "rawString": True},
]
MANY = 100


def wrk(directory, port, paths, body, content_type, seconds, connections=256):
    """Requests a second of one wrk thread that walks through `paths`."""
    script = directory / "load.lua"
    listed = ", ".join(f'"{path}"' for path in paths)
    script.write_text(
        f"local paths = {{{listed}}}\nlocal n = 0\n"
        f"wrk.method = 'POST'\nwrk.body = [=====[{body}]=====]\nwrk.headers['Content-Type'] = '{content_type}'\n"
        "local made = {}\n"
        "function init() for i, path in ipairs(paths) do made[i] = wrk.format(nil, path) end end\n"
        "function request() n = n % #made + 1; return made[n] end\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), f"http://127.0.0.1:{port}/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    assert not bad, output
    return float(re.search(r"Requests/sec:\s*([\d.]+)", output).group(1))


class Yardstick:
    def __init__(self, name, *arguments):
        self.port = free_port()
        self.process = subprocess.Popen([str(BUILD / "bench" / name), str(self.port), *arguments], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)


class Intake:
    """A gateway with one loop, its conditions at their maximum, so that intake alone is measured."""

    def __init__(self, directory, sources=1, framing="single", wait=True):
        directory.mkdir()
        self.gateway = Gateway(directory, arguments=["--threads", "1"]).start()
        self.paths = []
        for number in range(sources):
            name = f"s{number}"
            self.paths.append(self.gateway.add_source(name, framing=framing))
            self.gateway.add_sink(name, name, COLUMNS, {**NEVER, "storage.level.local.encoding.sync.wait": wait})
        self.port = int(self.gateway.intake.rsplit(":", 1)[1])

    def close(self):
        self.gateway.close()
        shutil.rmtree(self.gateway.directory, ignore_errors=True)


def alternate(rounds, contenders):
    """Median of alternating rounds: {name: value}."""
    seen = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            seen[name].append(measure())
    return {name: statistics.median(values) for name, values in seen.items()}


def row(number, what, limit, figures, ours, theirs, unit, goal, loops=1):
    return {
        "row": number,
        "what": what,
        "limit": limit,
        "loops": loops,
        "sluice": figures[ours],
        "beside": figures[theirs],
        "unit": unit,
        "ratio": figures[ours] / figures[theirs],
        "goal": goal,
    }


def measure_posts(options, directory):
    """P1 and P2, with one source and with 100: one event a POST."""
    contenders, open_things, rows = {}, [], []

    def add(name, thing, paths, body=EVENT, kind="application/json"):
        open_things.append(thing)
        contenders[name] = lambda: wrk(directory, thing.port, paths, body, kind, options.seconds)

    add("bare", Yardstick("bare-handler"), ["/stream/1/x/y"])
    for kind, extra in (("wait", []), ("nowait", ["nowait"])):
        folder = directory / f"prototype-{kind}"
        folder.mkdir()
        add(f"prototype-{kind}", Yardstick("no-mapping", str(folder), *extra), ["/stream/1/x/y"])
    for name, wait, sources in (("P1", True, 1), ("P1-many", True, MANY), ("P2", False, 1), ("P2-many", False, MANY)):
        if name[:2] in options.rows:
            intake = Intake(directory / name, sources=sources, wait=wait)
            add(name, intake, intake.paths)
    figures = alternate(options.rounds, contenders)
    for thing in open_things:
        thing.close()
    for name, goal, mode, text in (("P1", "0.55", "wait", "synced before the 200"), ("P2", "0.72", "nowait", "202 before the sync")):
        if name not in options.rows:
            continue
        rows.append(row(name, f"one event a POST, {text}", "bare libh2o handler", figures, name, "bare", "POST/s", goal))
        rows.append(row(name, f"the same, {MANY} active sinks", "bare libh2o handler", figures, f"{name}-many", "bare", "POST/s", goal))
        rows.append(row(name, "(the prototype without mapping)", "bare libh2o handler", figures, f"prototype-{mode}", "bare", "POST/s", ""))
    return rows


def measure_batches(options, directory):
    """P3: 100 events a POST, events a second."""
    body = "\n".join([EVENT] * 100)
    folder = directory / "prototype-batches"
    folder.mkdir()
    prototype = Yardstick("no-mapping", str(folder))
    one = Intake(directory / "P3", framing="ndjson")
    many = Intake(directory / "P3-many", framing="ndjson", sources=MANY)

    def load(thing, paths):
        return lambda: 100 * wrk(directory, thing.port, paths, body, "application/x-ndjson", options.seconds, connections=32)

    figures = alternate(
        options.rounds,
        {"prototype": load(prototype, ["/stream/1/x/y"]), "P3": load(one, one.paths), "P3-many": load(many, many.paths)},
    )
    for thing in (prototype, one, many):
        thing.close()
    limit = "prototype without mapping"
    return [
        row("P3", "100 events a POST (ndjson), synced", limit, figures, "P3", "prototype", "events/s", "1,000,000 events/s"),
        row("P3", f"the same, {MANY} active sinks", limit, figures, "P3-many", "prototype", "events/s", "1,000,000 events/s"),
    ]


def measure_import(options, directory):
    """P6: import of rows that are staged already, beside psql \\copy of the same CSV."""
    count = options.import_rows
    server = Postgres()
    config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {server.uri}\n"
    folder = directory / "P6"
    folder.mkdir()
    gateway = Gateway(folder, config, arguments=["--threads", "1"]).start()
    path = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS, NEVER, connection="warehouse", table="rows")
    staged = {"storage.level.staging.upload.trigger.size": "20MB"}
    gateway.set("/sources/s/sinks/rows", staged)
    batch = "\n".join([EVENT] * 5000)
    csv = directory / "rows.csv"

    def fill():
        for _ in range(count // 5000):
            answer = gateway.post(path, batch, content_type="application/x-ndjson")
            assert answer.status == 200, answer
        gateway.set("/sources/s/sinks/rows", {"storage.level.staging.upload.trigger.interval": "1s"})
        wait_until("all is staged", lambda: gateway.statistics("s", "rows")["levels"]["local"]["recordsCount"] == 0, 120)
        gateway.set("/sources/s/sinks/rows", {"storage.level.staging.upload.trigger.interval": "30m"})

    def ours():
        server.rows("TRUNCATE rows")
        fill()
        begin = time.monotonic()
        gateway.flush("s", "rows")
        took = time.monotonic() - begin
        assert server.rows("SELECT count(*) FROM rows") == [(count,)]
        return count / took

    def theirs():
        server.rows("CREATE TABLE IF NOT EXISTS copied (LIKE rows INCLUDING ALL)")
        server.rows("TRUNCATE copied")
        psql = [str(programs() / "psql"), "-q", "-v", "ON_ERROR_STOP=1", server.uri, "-c"]
        if not csv.exists():
            subprocess.run([*psql, f"\\copy rows TO '{csv}' (FORMAT csv)"], check=True)
        begin = time.monotonic()
        subprocess.run([*psql, f"\\copy copied FROM '{csv}' (FORMAT csv)"], check=True)
        took = time.monotonic() - begin
        assert server.rows("SELECT count(*) FROM copied") == [(count,)]
        return count / took

    figures = alternate(options.rounds, {"sluice": ours, "copy": theirs})
    gateway.close()
    server.close()
    return [row("P6", f"import of {count:,} rows, 7 columns, into PostgreSQL", "psql \\copy, same CSV", figures, "sluice", "copy", "rows/s", "0.9")]


def machine():
    name = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) // 1024 // 1024
    return f"{name}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release().split('-')[0]}, {platform.freedesktop_os_release()['PRETTY_NAME']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--import-rows", type=int, default=1_000_000)
    parser.add_argument("rows", nargs="*", default=["P1", "P2", "P3", "P6"])
    options = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    rows = []
    try:
        if {"P1", "P2"} & set(options.rows):
            rows += measure_posts(options, directory)
        if "P3" in options.rows:
            rows += measure_batches(options, directory)
        if "P6" in options.rows:
            rows += measure_import(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)

    results = {"machine": machine(), "rounds": options.rounds, "seconds": options.seconds, "rows": rows}
    (BUILD / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{results['machine']}; median of {options.rounds} alternating rounds of {options.seconds} s\n")
    print("| # | measure | beside | loops | Sluice | beside it | ratio | goal |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['row']} | {r['what']} | {r['limit']} | {r['loops']} | {r['sluice']:,.0f} {r['unit']} | {r['beside']:,.0f} | {r['ratio']:.2f} | {r['goal']} |"
        )


main()
