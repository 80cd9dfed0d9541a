"""Runs rounds of faults and keeps their table; see tests/fault/run."""

import argparse
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from faults import BINARY, ROOT

BUILD = ROOT / "build" / "fault"
TABLE = BUILD / "rounds.jsonl"


def commit():
    """Of the build, as tests/fault/run noted it, else of the tree."""
    noted = pathlib.Path(BINARY).parent / "commit"
    if noted.exists():
        return noted.read_text().strip()
    name = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(["git", "-C", str(ROOT), "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    return name + ("+" if changed else "")


def past():
    return [json.loads(line) for line in TABLE.read_text().splitlines()] if TABLE.exists() else []


def is_good(one):
    return one["wrong"] is None and one["lost"] == one["doubled"] == one["strange"] == 0


def line(one):
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(one["faults"].items()))
    numbers = [f"{one[name]:,}" if one[name] is not None else "?" for name in ("records", "lost", "doubled")]
    remark = "" if is_good(one) else f" **{one['strange']} strange rows; {(one['wrong'] or 'compare')[:80]}**".replace("\n", " ")
    return f"| {one['broker']} | {one['commit']} | {one['seed']} | {one['nodes']} | {' | '.join(numbers)} | {faults}{remark} | {one['seconds']} |"


def print_table(rounds):
    print("| broker | commit | seed | nodes | records | lost | doubled | faults | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for one in rounds:
        print(line(one), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", metavar="3.9|4", help="a Kafka broker of this version")
    parser.add_argument("--nats", choices=["durable", "none"], help="a nats-server, and how the source reads it")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, help="of the first round; each later one has the next")
    parser.add_argument("--records", type=int)
    parser.add_argument("--rate", type=int, help="records a second; 0: as fast as it goes")
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--only", default="", help="kinds of faults, with commas between")
    parser.add_argument("--table", action="store_true", help="print all rounds until now")
    options = parser.parse_args()
    if options.table:
        print_table(past())
        return 0
    if bool(options.kafka) == bool(options.nats):
        parser.error("--kafka or --nats")
    # Each needs the programs of its broker only.
    if options.kafka:
        from kafka_round import KafkaRound as Kind

        version = options.kafka.split(".")[0] if options.kafka.startswith("4") else options.kafka
        broker, defaults = f"Kafka {version}", (1_000_000, 20_000, 3)
    else:
        from nats_round import NatsRound as Kind

        version = options.nats
        broker, defaults = f"NATS, durable {version}" if version == "none" else "NATS, durable", (100_000, 4_000, 1 if version == "durable" else 2)
    records, rate, nodes = (default if given is None else given for given, default in zip((options.records, options.rate, options.nodes), defaults))
    seed = options.seed if options.seed is not None else 1 + max((one["seed"] for one in past() if one["broker"] == broker), default=0)
    BUILD.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers do not stay behind
    print_table([])
    bad, built_from = 0, commit()  # the tree may change while they run
    for number in range(seed, seed + options.rounds):
        directory = BUILD / f"round-{broker.replace(' ', '-').replace(',', '')}-{number}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        only = [kind for kind in options.only.split(",") if kind]
        ran = Kind(directory, number, records, rate, nodes=nodes, version=version, only=only)
        one = {"broker": broker, "commit": built_from, "seed": number, "nodes": ran.node_count, **ran.run(), "at": time.strftime("%F %T")}
        with open(TABLE, "a") as table:
            table.write(json.dumps(one) + "\n")
        print(line(one), flush=True)
        if is_good(one):
            shutil.rmtree(directory)
        else:
            bad += 1
            print(f"its logs, data directories and evidence: {directory}", file=sys.stderr, flush=True)
    return 1 if bad else 0


sys.exit(main())
