"""What the rows of bench/run share: the gateway under load, its baselines, alternating rounds, and the table."""

import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
OPEN_LOOP = str(BUILD / "bench" / "open-loop")
os.environ["SLUICE_BINARY"] = str(BUILD / "sluice")
sys.path.insert(0, str(ROOT / "tests" / "system"))

from postgres import free_port  # noqa: E402
from sluice import NEVER, Gateway  # noqa: E402

EVENT_PATH = ROOT / "tests" / "mapping" / "event.json"
EVENT = EVENT_PATH.read_text().strip()
COLUMNS = [
    {"type": "id", "name": "id"},
    {"type": "datetime", "name": "received"},
    {"type": "path", "name": "issue_id", "path": "issue.id", "rawString": True},
    {"type": "path", "name": "issue_key", "path": "issue.key", "rawString": True},
    {"type": "path", "name": "summary", "path": "issue.fields.summary", "rawString": True},
    {"type": "path", "name": "user_name", "path": "user.name", "rawString": True},
    {"type": "path", "name": "amount", "path": "amount", "rawString": True},
]


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


def run_json(*command):
    return json.loads(subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True).stdout)


class Yardstick:
    def __init__(self, name, *arguments):
        self.port = free_port()
        self.process = subprocess.Popen([str(BUILD / "bench" / name), str(self.port), *arguments], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def port_of(gateway):
    return int(gateway.intake.rsplit(":", 1)[1])


class Intake:
    """A gateway with one loop, its conditions at their maximum, so that intake alone is measured."""

    def __init__(self, directory, sources=1, framing="single", wait=True, sinks=1, columns=None):
        directory.mkdir()
        self.gateway = Gateway(directory, arguments=["--threads", "1"]).start()
        self.paths = []
        for number in range(sources):
            name = f"s{number}"
            self.paths.append(self.gateway.add_source(name, framing=framing))
            for sink in range(sinks):
                settings = {**NEVER, "storage.level.local.encoding.sync.wait": wait}
                self.gateway.add_sink(name, name if sink == 0 else f"{name}-{sink}", columns or COLUMNS, settings)
        self.port = port_of(self.gateway)

    def start(self):
        """Once more, after gateway.stop()."""
        self.gateway.start()
        self.port = port_of(self.gateway)

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


def row(number, what, limit, sluice, baseline, unit, goal, ratio=None, loops=1):
    """One line of the table. `limit`, `baseline`: name and figure of the baseline, or None; `ratio`: if it is not sluice / baseline."""
    if ratio is None and baseline is not None:
        ratio = sluice / baseline
    return {
        "row": number,
        "what": what,
        "limit": limit,
        "loops": loops,
        "sluice": sluice,
        "baseline": baseline,
        "unit": unit,
        "ratio": ratio,
        "goal": goal,
    }


def figure(value):
    """Three digits that mean something."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_table(rows):
    print("| # | measure | baseline | loops | Sluice | baseline | ratio | goal |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        ratio = "" if r["ratio"] is None else figure(r["ratio"]) if r["ratio"] >= 100 else f"{r['ratio']:.2f}"
        print(
            f"| {r['row']} | {r['what']} | {r['limit'] or ''} | {r['loops']} | {figure(r['sluice'])} {r['unit']} | {figure(r['baseline'])} "
            f"| {ratio} | {r['goal']} |"
        )


def machine():
    name = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) // 1024 // 1024
    return f"{name}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release().split('-')[0]}, {platform.freedesktop_os_release()['PRETTY_NAME']}"
