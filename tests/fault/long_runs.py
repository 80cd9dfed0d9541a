"""Rounds of faults, seeds of the simulations and soaks of one commit, in as many runs as needed; see tests/fault/run."""

import argparse
import collections
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BINARY = pathlib.Path(os.environ["SLUICE_BINARY"])
BUILD = BINARY.parent
SIMULATIONS = {"writer": "test-simulation", "fleet": "fleet/test-fleet", "shape": "shape/test-shape"}
CHUNK = 50  # seeds of a simulation that one process runs


class State:
    """What is done, one line of JSON each: {kind, commit, first, count, ...}. Lines of other commits stay and count for nothing."""

    def __init__(self, path, kind, commit):
        self.path, self.kind, self.commit = pathlib.Path(path), kind, commit
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.lines = [one for one in map(json.loads, lines) if one["kind"] == kind and one["commit"] == commit]

    def add(self, first, count, **fields):
        one = {"kind": self.kind, "commit": self.commit, "first": first, "count": count, **fields, "at": time.strftime("%F %T")}
        self.lines.append(one)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a") as file:
            file.write(json.dumps(one) + "\n")
        return one

    def seeds(self):
        return {seed for one in self.lines for seed in range(one["first"], one["first"] + one["count"])}

    def missing(self, first, count, chunk=1):
        """(first, count) of at most `chunk` seeds each."""
        done = self.seeds()
        pieces = []
        for seed in range(first, first + count):
            if seed in done:
                continue
            if pieces and sum(pieces[-1]) == seed and pieces[-1][1] < chunk:
                pieces[-1] = (pieces[-1][0], pieces[-1][1] + 1)
            else:
                pieces.append((seed, 1))
        return pieces


def ranges(seeds):
    """1-5, 7"""
    found = []
    for seed in sorted(seeds):
        if found and found[-1][1] == seed - 1:
            found[-1][1] = seed
        else:
            found.append([seed, seed])
    return ", ".join(f"{first}-{last}" if first < last else str(first) for first, last in found)


def is_good(one):
    return one.get("wrong") is None and not any(one.get(name) for name in ("lost", "doubled", "strange"))


class Crew:
    """`jobs` threads that work through pieces until there are no more, the time is over, or the run is interrupted."""

    def __init__(self, jobs, minutes):
        self.jobs, self.lock = jobs, threading.Lock()
        self.until = time.monotonic() + 60 * minutes if minutes else None
        self.ended = False
        signal.signal(signal.SIGTERM, self.end)
        signal.signal(signal.SIGINT, self.end)

    def end(self, *_):
        self.ended = True

    def is_over(self):
        return self.ended or (self.until is not None and time.monotonic() >= self.until)

    def work(self, pieces, worker):
        """worker(take): takes pieces as long as take() gives any."""
        left = queue.SimpleQueue()
        for piece in pieces:
            left.put(piece)

        def take():
            try:
                return None if self.is_over() else left.get_nowait()
            except queue.Empty:
                return None

        threads = [threading.Thread(target=worker, args=(take,)) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(timeout=0.5)  # so that signals are handled


def run_http(options, state, crew):
    directory = ROOT / "build" / "fault" / "rounds"

    def worker(take):
        command = [sys.executable, str(HERE / "http_round.py"), str(directory), str(options.seconds), options.only]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            while piece := take():
                process.stdin.write(f"{piece[0]}\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                found = json.loads(answer) if answer else {"seed": piece[0], "wrong": "the round died", "faults": {}}
                with crew.lock:
                    one = state.add(found.pop("seed"), 1, **found)
                    if not is_good(one):
                        print(f"seed {one['first']}: {json.dumps(one)}; evidence: {directory}/http-{one['first']}", file=sys.stderr, flush=True)
                if not answer:
                    return
            process.stdin.close()
            process.wait()

    crew.work(state.missing(options.seed, options.rounds), worker)
    print("| commit | seeds | rounds | acknowledged | rows compared | `kill -9` | crashes at a failpoint | other faults | lost | doubled | failed |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    faults = collections.Counter()
    for one in state.lines:
        faults.update(one["faults"])
    reached = faults.pop("reached", 0)
    kills = faults.pop("kill", 0) + faults.pop("failpoint", 0)
    sums = [sum(one.get(name) or 0 for one in state.lines) for name in ("acknowledged", "rows", "lost", "doubled")]
    failed = sum(not is_good(one) for one in state.lines)
    others = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))
    head = [state.commit, ranges(state.seeds()), f"{len(state.lines):,}", f"{sums[0]:,}", f"{sums[1]:,}", f"{kills:,}", f"{reached:,}", others]
    print("| " + " | ".join([*head, *map(str, sums[2:]), str(failed)]) + " |")


def run_simulation(options, state, crew):
    program = BUILD / "tests" / "simulation" / SIMULATIONS[options.simulation]

    def worker(take):
        while piece := take():
            begin = time.monotonic()
            ended = subprocess.run(
                [str(program), str(piece[0]), str(piece[1])], capture_output=True, text=True, errors="replace", start_new_session=True
            )
            wrong = None if ended.returncode == 0 else f"{ended.returncode}: {(ended.stdout + ended.stderr)[-2000:]}"
            with crew.lock:
                state.add(*piece, wrong=wrong, seconds=round(time.monotonic() - begin, 1))
                if wrong:
                    print(f"seeds {piece[0]} to {sum(piece) - 1}: {wrong}", file=sys.stderr, flush=True)

    crew.work(state.missing(options.seed, options.seeds, CHUNK), worker)
    print("| simulation | commit | seeds | count | processor seconds | runs that failed |\n|---|---|---|---|---|---|")
    seeds = state.seeds()
    seconds = sum(one["seconds"] for one in state.lines)
    failed = sum(not is_good(one) for one in state.lines)
    print(f"| {options.simulation} | {state.commit} | {ranges(seeds)} | {len(seeds):,} | {seconds:,.0f} | {failed} |")


def run_soak(options, state, seconds):
    from soak import Soak

    directory = ROOT / "build" / "fault" / f"soak-{options.seed}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    soak = Soak(directory, options.seed, seconds, options.rate)
    found = soak.run()
    one = state.add(options.seed, 1, **found, grown=getattr(soak, "grown", None))
    if not is_good(one):
        print(f"{json.dumps(one)}; evidence: {directory}", file=sys.stderr)
    grown = ", ".join(f"{name} {before:,} / {after:,}" for name, (before, after) in (one["grown"] or {}).items())
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(one["faults"].items()))
    print("| commit | seed | seconds | acknowledged | rows compared | faults | lost | doubled | highest in the second / the last quarter |")
    print("|---|---|---|---|---|---|---|---|---|")
    cells = [state.commit, one["first"], f"{one['seconds']:,}", f"{one['acknowledged']:,}", f"{one['rows']:,}", faults, one["lost"], one["doubled"], grown]
    print("| " + " | ".join(map(str, cells)) + " |")


def seconds_of(text):
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1])
    return float(text[:-1]) * factor if factor else float(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--simulation", nargs="?", const="writer", choices=SIMULATIONS)
    parser.add_argument("--soak", metavar="TIME", type=seconds_of)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seconds", type=float, default=5, help="of faults in a round")
    parser.add_argument("--only", default="", help="kinds of faults, with commas between")
    parser.add_argument("--rate", type=int, default=100, help="events a second of each sender of a soak")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, help="begin nothing later than this")
    parser.add_argument("--state", default=str(ROOT / "build" / "fault" / "state.jsonl"))
    options = parser.parse_args()
    kind = "soak" if options.soak else "http" if options.http else f"simulation {options.simulation}"
    state = State(options.state, kind, (BUILD / "commit").read_text().strip())
    if options.soak:
        run_soak(options, state, options.soak)
    elif options.http:
        run_http(options, state, Crew(options.jobs, options.minutes))
    else:
        run_simulation(options, state, Crew(options.jobs, options.minutes))
    return 0 if all(map(is_good, state.lines)) else 1


if __name__ == "__main__":
    sys.exit(main())
