"""
The instructions per event that are recorded in bench/instructions.json, and the comparison with those of today's build. They repeat on one
machine; another processor or C library has other numbers, so the file names those that it is from.
"""

import json
import platform
import subprocess

from harness import ROOT, machine
from mapping_rows import count_mapping
from path_instructions import count_parts

RECORD = ROOT / "bench" / "instructions.json"
GROWTH_MOST = 0.02


def count():
    """{"load or corpus: part": instructions per event}"""
    counted = {f"{load}: {part}": n for load, parts in count_parts().items() for part, n in parts.items()}
    counted.update({f"mapping alone, {corpus} events": n for corpus, n in count_mapping().items()})
    return {name: round(n, 1) for name, n in counted.items()}


def place():
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {"machine": machine(), "libc": " ".join(platform.libc_ver()), "valgrind": valgrind}


def write_record():
    RECORD.write_text(json.dumps({"place": place(), "instructions": count()}, indent=2) + "\n")
    print(f"recorded in {RECORD.relative_to(ROOT)}")


def grown(recorded, counted):
    """Names of what takes more than GROWTH_MOST more instructions, and of what is not recorded."""
    return [name for name, n in counted.items() if n > (1 + GROWTH_MOST) * recorded.get(name, 0)]


def check_record():
    """0: nothing has grown. 1: the exit code of a run in which something has."""
    record, counted, here = json.loads(RECORD.read_text()), count(), place()
    recorded = record["instructions"]
    print("\n| instructions per event | recorded | now | difference |\n|---|---|---|---|")
    for name, n in counted.items():
        before = recorded.get(name)
        print(f"| {name} | {'' if before is None else f'{before:,.0f}'} | {n:,.0f} | {'' if not before else f'{100 * (n / before - 1):+.1f} %'} |")
    for what, text in here.items():
        if record["place"][what] != text:
            print(f"The record is of another {what}: {record['place'][what]}; this one is {text}.")
    missing = sorted(set(recorded) - set(counted))
    if missing:
        print(f"Recorded, but not counted any more: {', '.join(missing)}.")
    names = grown(recorded, counted)
    if names:
        print(f"More than {100 * GROWTH_MOST:.0f} % more instructions than recorded: {', '.join(names)}.")
    return 1 if names or missing else 0
