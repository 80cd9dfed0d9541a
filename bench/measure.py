"""
Runs the gateway and its limits in turn and compares them: figures are ratios of medians, taken in one run on one machine.
What each row means stands in docs/performance.md.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

import bridge_rows
from harness import BUILD, COLUMNS, EVENT, Intake, Yardstick, alternate, machine, print_table, row, wrk
from mapping_rows import count_instructions, measure_added_sinks, measure_mapping, measure_templates
from path_instructions import count_path

from postgres import Postgres, programs  # found through harness
from sluice import NEVER, Gateway, wait_until

MANY = 100
ROWS = ["P1", "P2", "P3", "P4", "P5", "P6", "P11", *bridge_rows.ROWS]


def measure_posts(options, directory):
    """P1 and P2, with one source and with 100: one event per POST."""
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
        bare = figures["bare"]
        rows.append(row(name, f"one event per POST, {text}", "bare libh2o handler", figures[name], bare, "POST/s", goal))
        rows.append(row(name, f"the same, {MANY} active sinks", "bare libh2o handler", figures[f"{name}-many"], bare, "POST/s", goal))
        rows.append(row(name, "(the prototype without mapping)", "bare libh2o handler", figures[f"prototype-{mode}"], bare, "POST/s", ""))
    return rows


def measure_batches(options, directory):
    """P3: 100 events per POST, events a second."""
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
    limit, baseline, goal = "prototype without mapping", figures["prototype"], "1,000,000 events/s"
    return [
        row("P3", "100 events per POST (ndjson), synced", limit, figures["P3"], baseline, "events/s", goal),
        row("P3", f"the same, {MANY} active sinks", limit, figures["P3-many"], baseline, "events/s", goal),
    ]


def measure_import(options, directory):
    """P6: import of rows that are staged already, baseline psql \\copy of the same CSV."""
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
    what = f"import of {count:,} rows, 7 columns, into PostgreSQL"
    return [row("P6", what, "psql \\copy, same CSV", figures["sluice"], figures["copy"], "rows/s", "0.9")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--import-rows", type=int, default=1_000_000)
    parser.add_argument("--template-events", type=int, default=1_000_000, help="of P5's memory")
    parser.add_argument("--records", type=int, default=1_000_000, help="of P17")
    parser.add_argument("--messages", type=int, default=200_000, help="of P19")
    parser.add_argument("--lag", type=int, default=10_000_000, help="records that wait while memory is measured")
    parser.add_argument("--instructions", action="store_true", help="count instructions with callgrind, measure nothing else")
    parser.add_argument("--whole", action="store_true", help="with --instructions: of the gateway from HTTP to the commit, not of the mapping")
    parser.add_argument("--baseline", metavar="SLUICE", help="with --whole: another program to compare with")
    parser.add_argument("rows", nargs="*", default=ROWS, help=" ".join(ROWS))
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; rows are {', '.join(ROWS)}")
    if options.instructions:
        if options.whole:
            count_path(options.baseline)
        else:
            count_instructions()
        return
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    rows = []
    try:
        if {"P1", "P2"} & set(options.rows):
            rows += measure_posts(options, directory)
        if "P3" in options.rows:
            rows += measure_batches(options, directory)
        if {"P4", "P11"} & set(options.rows):
            rows += measure_mapping(options)
        if "P5" in options.rows:
            rows += measure_templates(options, directory)
        if "P6" in options.rows:
            rows += measure_import(options, directory)
        if "P11" in options.rows:
            rows += measure_added_sinks(options, directory)
        rows += bridge_rows.measure_bridges(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)

    results = {"machine": machine(), "rounds": options.rounds, "seconds": options.seconds, "rows": rows}
    (BUILD / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{results['machine']}; median of {options.rounds} alternating rounds of {options.seconds} s\n")
    print_table(rows)


main()
