"""
Runs the gateway and its limits in turn and compares them: figures are ratios of medians, taken in one run on one machine.
What each row means stands in docs/performance.md.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import bridge_rows
from backlog_rows import measure_backlog
from delivery_rows import measure_delivery
from harness import BUILD, machine, print_table
from import_rows import measure_imports
from intake_rows import measure_intake
from mapping_rows import count_instructions, measure_added_sinks, measure_mapping, measure_templates
from path_instructions import count_path
from recorded_instructions import check_record, write_record

# What measures which rows, in the order of the run. Those of P6 and P1 come first: others are compared with them.
MEASURES = (
    (("P1", "P2", "P3", "P8", "P12"), measure_intake),
    (("P4", "P11"), measure_mapping),
    (("P5",), measure_templates),
    (("P6", "P7"), measure_imports),
    (("P9", "P10"), measure_backlog),
    (("P11",), measure_added_sinks),
    (("P13", "P14", "P15"), measure_delivery),
    (bridge_rows.ROWS, bridge_rows.measure_bridges),
)
ROWS = sorted({name for names, _ in MEASURES for name in names}, key=lambda name: (not name.startswith("P"), len(name), name))
# Brokers take long to start: these rows are measured with --long, or when they are asked for.
LONG_ROWS = set(bridge_rows.ROWS)
# Figures of a run with --long, and those of one without it.
SIZES = {
    "rounds": (5, 3),
    "seconds": (4, 2),
    "import_rows": (1_000_000, 300_000),
    "upsert_rows": (1_000_000, 100_000),
    "template_events": (1_000_000, 200_000),
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="all rows, more rounds, and P13 for 30 minutes")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--import-rows", type=int, help="of P6, and the backlog of P15")
    parser.add_argument("--upsert-rows", type=int, help="of P7")
    parser.add_argument("--template-events", type=int, help="of P5's memory")
    parser.add_argument("--backlog", type=int, default=10_000_000, help="rows of P9 and P10")
    parser.add_argument("--records", type=int, default=1_000_000, help="of P17")
    parser.add_argument("--messages", type=int, default=200_000, help="of P19")
    parser.add_argument("--lag", type=int, default=10_000_000, help="records that wait while memory is measured")
    parser.add_argument("--instructions", action="store_true", help="count instructions with callgrind, measure nothing else")
    parser.add_argument("--whole", action="store_true", help="with --instructions: of the gateway from HTTP to the commit, not of the mapping")
    parser.add_argument("--baseline", metavar="SLUICE", help="with --whole: another program to compare with")
    parser.add_argument("--check", action="store_true", help="with --instructions: compare with bench/instructions.json; exit code 1 if one grew by 2 %%")
    parser.add_argument("--record", action="store_true", help="with --instructions: write bench/instructions.json")
    parser.add_argument("rows", nargs="*", help=" ".join(ROWS))
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; rows are {', '.join(ROWS)}")
    options.rows = options.rows or [name for name in ROWS if options.long or name not in LONG_ROWS]
    for name, (long, short) in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, long if options.long else short)
    options.rates = {}  # of rows that others are compared with
    return options


def measure(options):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    rows = []
    try:
        for names, measure_rows in MEASURES:
            wanted = [name for name in names if name in options.rows]
            if not wanted:
                continue
            begin = time.monotonic()
            rows += measure_rows(options, directory)
            print(f"{' '.join(wanted)}: measured in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return rows


def count(options):
    if options.record:
        write_record()
    elif options.check:
        return check_record()
    elif options.whole:
        count_path(options.baseline)
    else:
        count_instructions()
    return 0


def main():
    options = parse()
    if options.instructions:
        sys.exit(count(options))
    rows = measure(options)
    results = {"machine": machine(), "rounds": options.rounds, "seconds": options.seconds, "rows": rows}
    (BUILD / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{results['machine']}; median of {options.rounds} alternating rounds of {options.seconds} s\n")
    print_table(rows)


main()
